"""Runs a sandbox in the foreground, for the command line. Owns the signal handlers while it runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable

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
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        with Sandbox(port=port, dialect=dialect, api_key=api_key, faults=faults, options=options) as sandbox:
            if ready is not None:
                ready(sandbox)
            # Short waits, because on Windows a wait without a timeout does not notice signals.
            while not stop.wait(0.5):
                pass
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)
