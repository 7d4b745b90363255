"""Lets Ctrl-C and a notebook's stop button reach a call, whatever its caller waits with.

Owns every wait on a caller's event loop, and the SIGINT handlers that are replaced while a call is at work. It never
decides what an interrupt does to a job.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

MAX_IDLE: Final = 0.2
"""Seconds after which a waiting loop is woken.

ipykernel's SIGINT handler adds a callback to its loop and does not wake it (tornado's ``add_callback``, called on the
loop's own thread, is ``call_soon``), so an idle loop runs the callback only when something else happens.
"""

_DEFERRING: Final = ("ipykernel.ipkernel", "asyncio.runners")
"""Modules whose SIGINT handlers cancel a task of the loop, which code that blocks the loop's thread never notices."""


async def ended(future: concurrent.futures.Future[Any], timeout: float | None = None) -> bool:
    """Wait on the running loop until `future` is done or `timeout` seconds have passed; return whether it is done."""
    loop = asyncio.get_running_loop()
    waker: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not waker.done():
            waker.set_result(None)

    def tell(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(wake)

    future.add_done_callback(tell)
    deadline = None if timeout is None else loop.time() + timeout
    while not future.done():
        left = MAX_IDLE if deadline is None else min(MAX_IDLE, deadline - loop.time())
        if left <= 0:
            break
        await asyncio.wait([waker], timeout=left)
    return future.done()


@contextlib.contextmanager
def raised_in_blocking_calls() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt in the main thread, also inside a coroutine of ipykernel or `asyncio.run`."""
    before = _handler()
    if not _is_of(before, *_DEFERRING):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)


_landing: list[Callable[[], object]] = []
_replaced: Any = None


@contextlib.contextmanager
def on_second_interrupt(act: Callable[[], object]) -> Iterator[None]:
    """Call `act` at a further SIGINT where the handler drops it: ipykernel's heeds only the first one of a cell."""
    global _replaced
    before = _handler()
    if not (_is_of(before, "ipykernel.ipkernel") or before is _pressed):
        yield
        return
    _landing.append(act)
    if before is not _pressed:
        _replaced = before
        signal.signal(signal.SIGINT, _pressed)
    try:
        yield
    finally:
        _landing.remove(act)
        # The kernel may have put back its own meanwhile, at the end of the cell.
        if not _landing and signal.getsignal(signal.SIGINT) is _pressed:
            signal.signal(signal.SIGINT, _replaced)


def _pressed(number: int, frame: FrameType | None) -> None:
    if not _landing:
        signal.default_int_handler(number, frame)
    for act in tuple(_landing):
        act()


def _handler() -> Any:
    """Return the handler of SIGINT; None in any thread but the main one, which alone runs it and may change it."""
    return signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None


def _is_of(handler: Any, *modules: str) -> bool:
    function = getattr(handler, "func", handler)  # `asyncio.Runner` installs a `functools.partial`
    return getattr(function, "__module__", None) in modules
