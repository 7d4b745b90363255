"""Runs a sandbox in the foreground, for a command line.

Owns the wait for SIGINT or SIGTERM. It never prints: the caller shows the URL.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType

from .faults import Fault
from .options import API_KEY, Dialect, Options
from .server import Sandbox


def serve(
    port: int = 8088,
    *,
    ready: Callable[[Sandbox], None] | None = None,
    dialect: Dialect = "current",
    api_key: str = API_KEY,
    faults: Iterable[Fault] = (),
    options: Options | None = None,
) -> None:
    """Run a sandbox in the foreground until SIGINT or SIGTERM; call from the main thread.

    Parameters
    ----------
    ready
        Called with the sandbox once it listens, for example to print its URL.
    """
    done = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature is Python's
        done.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        with Sandbox(port=port, dialect=dialect, api_key=api_key, faults=faults, options=options) as sandbox:
            if ready is not None:
                ready(sandbox)
            # Short waits, because on Windows a wait without a timeout does not notice signals.
            while not done.wait(0.5):
                pass
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
