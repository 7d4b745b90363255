"""Lets Ctrl-C and a notebook's stop button reach a call, whatever its caller waits with.

Owns every wait on a caller's event loop, and the SIGINT handlers that are replaced while a call runs. It never decides
what an interrupt does to a call.
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


class StopEvent(asyncio.Event):
    """An event that any thread can request: `is_set` is true at once, and what waits for it wakes when it is set.

    So a job sends nothing more after an interrupt, even if the event loop is busy.
    """

    is_requested = False

    def is_set(self) -> bool:
        """Return whether the event is set or requested."""
        return self.is_requested or super().is_set()


def _max_idle() -> float:
    return MAX_IDLE


async def ended(future: concurrent.futures.Future[Any], check: Callable[[], float] = _max_idle) -> None:
    """Wait on the running loop until `future` is done.

    Parameters
    ----------
    future : concurrent.futures.Future
    check : callable
        Called again and again while this waits; returns the seconds until the next call, at most.
    """
    loop = asyncio.get_running_loop()
    waker: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not waker.done():
            waker.set_result(None)

    def on_done(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(wake)

    future.add_done_callback(on_done)
    while not future.done():
        await asyncio.wait([waker], timeout=min(MAX_IDLE, check()))


class InterruptHandler:
    """Handles SIGINT while a call blocks the main thread, also inside a coroutine of ipykernel or `asyncio.run`.

    A context manager. It does nothing on other threads, and leaves a handler of the application's in place.

    Attributes
    ----------
    action : callable or None
        Called for an interrupt. None: the interrupt raises KeyboardInterrupt.
    count : int
        Number of interrupts so far.
    """

    def __init__(self) -> None:
        self.action: Callable[[], object] | None = None
        self.count = 0
        self._previous: Any = None

    def __enter__(self) -> InterruptHandler:
        previous = _current_handler()
        if previous is signal.default_int_handler or _is_of(previous, *_DEFERRING, __name__):
            self._previous = previous
            signal.signal(signal.SIGINT, self._handle)
            if previous is not signal.default_int_handler and _is_cancelled():
                self.count += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Put the previous handler back. Idempotent."""
        previous, self._previous = self._previous, None
        # The kernel may have restored its own handler meanwhile, at the end of the cell.
        if previous is not None and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, previous)

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was an interrupt: code that ran meanwhile may have suppressed it."""
        if self.count:
            raise KeyboardInterrupt

    def interrupt(self) -> None:
        """Interrupt the call, on any thread: it raises KeyboardInterrupt once it has stopped."""
        self.count += 1
        if self.action is not None:
            self.action()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.interrupt()
        if self.action is None:
            signal.default_int_handler(number, frame)


_actions: list[Callable[[], object]] = []
_replaced: Any = None


@contextlib.contextmanager
def on_second_interrupt(action: Callable[[], object]) -> Iterator[None]:
    """Call `action` for a further SIGINT whose handler ignores it: ipykernel's handles only the first one of a cell."""
    global _replaced
    previous = _current_handler()
    if not (_is_of(previous, "ipykernel.ipkernel") or previous is _call_actions):
        yield
        return
    _actions.append(action)
    if previous is not _call_actions:
        _replaced = previous
        signal.signal(signal.SIGINT, _call_actions)
    try:
        yield
    finally:
        _actions.remove(action)
        # The kernel may have restored its own handler meanwhile, at the end of the cell.
        if not _actions and signal.getsignal(signal.SIGINT) is _call_actions:
            signal.signal(signal.SIGINT, _replaced)


def _call_actions(number: int, frame: FrameType | None) -> None:
    if not _actions:
        signal.default_int_handler(number, frame)
    for action in tuple(_actions):
        action()


def _current_handler() -> Any:
    """Return the handler of SIGINT; None on any thread but the main one, which alone runs it and may change it."""
    return signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None


def _is_cancelled() -> bool:
    """Return whether the running task was cancelled in its present step, as the handler of `asyncio.run` does."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop is running
        return False
    return bool(getattr(task, "_must_cancel", False))  # `Task.cancelling` also counts cancellations that were caught


def _is_of(handler: Any, *modules: str) -> bool:
    function = getattr(handler, "func", handler)  # `asyncio.Runner` installs a `functools.partial`
    return getattr(function, "__module__", None) in modules
