"""The nested bridge: a job inside the caller's own running loop, by nest-asyncio2. Importing it patches nothing.

Owns which loops may be nested, and what an interrupt does there. No job's logic is here, and no loop is its own.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

import nest_asyncio2

from ..errors import BridgeError

T = TypeVar("T")

Job: TypeAlias = Callable[[asyncio.Event], Coroutine[Any, Any, T]]
"""As in `engine.loop`, which imports this module."""


_borrowed: set[asyncio.AbstractEventLoop] = set()


def nested(
    running: asyncio.AbstractEventLoop,
    job: Job[T],
    *,
    grace: float,
    close: Callable[[], Coroutine[Any, Any, None]],
) -> T:
    """Run `job` inside the caller's running loop, by nest-asyncio2; `close` closes what the call has opened on it.

    Interrupted, it asks the job to end, waits up to `grace` seconds for it and raises; interrupted again, it cancels.

    Raises
    ------
    BridgeError
        The loop cannot be nested, or not without losing a notebook's queued cells. Nothing was started.
    """
    if not isinstance(running, asyncio.BaseEventLoop):
        kind = f"{type(running).__module__}.{type(running).__name__}"
        msg = f"bridge='nest' cannot work inside {kind}: use configure(bridge='thread'), or the _async methods"
        raise BridgeError(msg)
    _check_kernel()
    nest_asyncio2.apply(running)
    # Another coroutine of the caller's may make a nested call during this one: the outermost, which ends last,
    # closes what was opened.
    outermost = running not in _borrowed
    _borrowed.add(running)
    try:
        return _fly(running, job, grace)
    finally:
        if outermost:
            _borrowed.discard(running)
            running.run_until_complete(close())


def _fly(running: asyncio.AbstractEventLoop, job: Job[T], grace: float) -> T:
    stop = asyncio.Event()
    task = running.create_task(job(stop))
    presses = 0

    def land() -> None:
        stop.set()
        running.call_later(grace, task.cancel)

    def pressed(*_: object) -> None:
        nonlocal presses
        presses += 1
        running.call_soon_threadsafe(land if presses == 1 else task.cancel)

    # Python raises a KeyboardInterrupt in whatever runs: here that may be the caller's own task, or the one by
    # which a notebook's kernel reads its messages, and would be the end of it.
    on_main = threading.current_thread() is threading.main_thread()
    ours = on_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, pressed)
    try:
        running.run_until_complete(asyncio.wait([task]))
    except BaseException:
        land()
        running.run_until_complete(asyncio.wait([task], timeout=grace))
        raise
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if not task.done():
            task.cancel()
    if presses:
        task.cancelled() or task.exception()  # looked at, so that asyncio does not speak of it
        raise KeyboardInterrupt
    return task.result()


def _check_kernel() -> None:
    """Refuse a notebook in which cells that wait in the queue would be lost.

    Seen with five queued cells on ipykernel 7.1.0, 7.2.0 and 7.4.0: from 7.1 on, the kernel hands out its messages
    in the context that the running cell is in ("cannot enter context: ... is already entered"), so a cell that
    arrives during a nested call is dropped without a reply. nest-asyncio2 holds such steps back since 1.7.3, which
    this package requires; the archived nest-asyncio never does, and keeps a loop that it has patched. ipykernel
    6.29, 6.31 and 7.0.0 lose none.
    """
    ipykernel, ipython = sys.modules.get("ipykernel"), sys.modules.get("IPython")
    if ipykernel is None or ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return
    if ipykernel.version_info[:2] < (7, 1):
        return
    if hasattr(asyncio, "_nest_patched") and not hasattr(asyncio, "_nest_asyncio2"):
        msg = (
            "bridge='nest' would lose queued cells here, because nest_asyncio has already patched asyncio: "
            "restart the kernel without nest_asyncio.apply(), or use configure(bridge='thread')"
        )
        raise BridgeError(msg)
