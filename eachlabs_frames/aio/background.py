"""Calls that go on while their caller does something else: steps on a thread of their own, which can be told to stop.

A stop is an interrupt, as Ctrl-C is for a call that is waited for: what the steps do about the one they do about the
other. What is still at work when the process ends is stopped and waited for, so that answers in flight are kept.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from ..errors import BridgeError
from .bridge import GRACE, Flight, Job, Steps, bridge, complete, land
from .interrupts import raised_in_blocking_calls

T = TypeVar("T")

logger = logging.getLogger("eachlabs_frames")

PATIENCE: Final = 2.0
"""Seconds that `between` waits for the bridge: one that does not come to it is held up by an observer of its user's."""

_GLANCE: Final = 0.5

_lock = threading.Lock()
_at_work: set[Errand[Any]] = set()
_closing = False


def is_closing() -> bool:
    """Say whether the process ends, so that nothing new is to begin."""
    return _closing


class Errand(Generic[T]):
    """Steps on a thread of their own, in a copy of the context (`contextvars`) in which this is made.

    Attributes
    ----------
    future : concurrent.futures.Future
        What the steps return or raise. Cancelling it does nothing: that is `stop`.
    stopped : bool
        Whether it was told to stop.
    """

    def __init__(self, steps: Steps[T], *, name: str) -> None:
        self._steps = steps
        self._lock = threading.RLock()  # a signal handler may stop what is just being stopped
        self._flight: Flight[Any] | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True)
        self.stopped = False
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self.future.set_running_or_notify_cancel()

    def start(self) -> Errand[T]:
        """Begin."""
        with _lock:
            _at_work.add(self)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Send nothing new, and keep the answers in flight; at the second call, end at once."""
        with self._lock:
            again, self.stopped = self.stopped, True
            flight = self._flight
        if flight is not None:
            (flight.cancel if again else flight.stop)()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the steps have ended; return whether they have.

        Raises
        ------
        BridgeError
            From the bridge's own thread, on which the steps' jobs are done.
        """
        if not self.future.done() and threading.current_thread() is bridge().thread:
            msg = "waiting for a run from inside a progress callback would deadlock: wait for it elsewhere"
            raise BridgeError(msg)
        end = None if timeout is None else time.monotonic() + timeout
        with raised_in_blocking_calls():
            while not self.future.done() and (end is None or time.monotonic() < end):
                # In short glances: an endless wait cannot be interrupted on every system.
                left = _GLANCE if end is None else min(_GLANCE, end - time.monotonic())
                concurrent.futures.wait([self.future], timeout=max(left, 0.0))
        return self.future.done()

    def _run(self) -> None:
        try:
            value = complete(self._steps, call=self._call)
        except BaseException as exc:  # noqa: BLE001 - raised again where the result is asked for
            self._leave()
            self.future.set_exception(exc)
        else:
            self._leave()
            self.future.set_result(value)

    def _leave(self) -> None:
        with _lock:
            _at_work.discard(self)

    def orphan(self) -> None:
        """Say in a forked child, into which the thread did not come along, that there is nothing to wait for."""
        self.future = concurrent.futures.Future()  # the parent's may be locked for ever
        msg = (
            "the run was started by the parent process and continues there: load_run() returns what the journal has "
            "recorded"
        )
        self.future.set_exception(BridgeError(msg))

    def _call(self, job: Job[Any]) -> Any:
        with self._lock:
            if self.stopped:
                raise KeyboardInterrupt
            flight = self._flight = Flight(bridge().loop, job).start()
        while not (flight.wait(_GLANCE) or self.stopped):
            pass
        if self.stopped:
            land(flight)
            error = None if flight.future.cancelled() or not flight.future.done() else flight.future.exception()
            if error is not None:
                logger.warning("a call that was stopped had failed: %s: %s", type(error).__name__, error)
            raise KeyboardInterrupt from error
        return flight.future.result()


def between(act: Callable[[], T]) -> T:
    """Return what `act` gives, done on the bridge's thread between two of its steps, when nothing is half written.

    Where the bridge does not come to it, because somebody's observer holds it up, it is done here: the results are
    whole whenever an observer is told of them.
    """
    if threading.current_thread() is bridge().thread:
        return act()
    turn: concurrent.futures.Future[T] = concurrent.futures.Future()

    def take() -> None:
        if not turn.set_running_or_notify_cancel():
            return
        try:
            turn.set_result(act())
        except BaseException as exc:  # noqa: BLE001 - raised again where it was asked for
            turn.set_exception(exc)

    bridge().loop.call_soon_threadsafe(take)
    try:
        return turn.result(PATIENCE)
    except concurrent.futures.TimeoutError:
        return act() if turn.cancel() else turn.result()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for errand in _at_work:
        errand.orphan()
    _at_work.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _wind_up() -> None:
    """Stop what is at work; registered after the bridge's own end, and so done before it."""
    global _closing
    _closing = True
    with _lock:
        left = list(_at_work)
    for errand in left:
        errand.stop()
    end = time.monotonic() + GRACE
    for errand in left:
        if not errand.wait(max(end - time.monotonic(), 0.0)):
            errand.stop()
            errand.wait(1.0)
    if left:
        logger.warning("%d run(s) were still running when the process exited, and were stopped", len(left))
