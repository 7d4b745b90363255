"""Calls that go on while their caller does something else: steps on a thread of their own, which can be told to stop.

A stop is an interrupt, as Ctrl-C is for a call that is waited for: what the steps do about the one they do about the
other. What is still at work when the process ends is stopped and waited for, so that answers in flight are kept.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from ..errors import BridgeError
from .loop import GRACE, Flight, Job, Steps, bridge, complete, land

T = TypeVar("T")

logger = logging.getLogger("eachlabs_frames")

_at_work: weakref.WeakSet[Errand[Any]] = weakref.WeakSet()
_GLANCE: Final = 0.5

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_at_work.clear)  # their threads did not come along


class Errand(Generic[T]):
    """Steps on a thread of their own.

    Attributes
    ----------
    future : concurrent.futures.Future
        What the steps return or raise. Cancelling it does nothing: that is `stop`.
    stopped : bool
        Whether it was told to stop.
    """

    def __init__(self, steps: Steps[T], *, name: str) -> None:
        self._steps = steps
        self._lock = threading.Lock()
        self._flight: Flight[Any] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.stopped = False
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self.future.set_running_or_notify_cancel()

    def start(self) -> Errand[T]:
        """Begin."""
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
            msg = "waiting for a run from inside a progress callback would wait for itself: await it elsewhere"
            raise BridgeError(msg)
        end = None if timeout is None else time.monotonic() + timeout
        while not self.future.done() and (end is None or time.monotonic() < end):
            # In short glances: an endless wait cannot be interrupted on every system.
            left = _GLANCE if end is None else min(_GLANCE, end - time.monotonic())
            concurrent.futures.wait([self.future], timeout=max(left, 0.0))
        return self.future.done()

    def _run(self) -> None:
        try:
            value = complete(self._steps, call=self._call)
        except BaseException as exc:  # noqa: BLE001 - raised again where the result is asked for
            _at_work.discard(self)
            self.future.set_exception(exc)
        else:
            _at_work.discard(self)
            self.future.set_result(value)

    def _call(self, job: Job[Any]) -> Any:
        with self._lock:
            if self.stopped:
                raise KeyboardInterrupt
            flight = self._flight = Flight(bridge().loop, job).start()
        while not (flight.wait(_GLANCE) or self.stopped):
            pass
        if self.stopped:
            land(flight)
            raise KeyboardInterrupt
        return flight.future.result()


def between(act: Callable[[], T]) -> T:
    """Return what `act` gives, done on the bridge's thread between two of its steps, when nothing is half written."""
    if threading.current_thread() is bridge().thread:
        return act()

    async def job(_: asyncio.Event) -> T:
        return act()

    flight = Flight(bridge().loop, job).start()
    flight.wait()
    return flight.future.result()


@atexit.register
def _wind_up() -> None:
    """Stop what is at work; registered after the bridge's own end, and so done before it."""
    left = list(_at_work)
    for errand in left:
        errand.stop()
    end = time.monotonic() + GRACE
    for errand in left:
        if not errand.wait(max(end - time.monotonic(), 0.0)):
            errand.stop()
            errand.wait(1.0)
    if left:
        logger.warning("%d run(s) were at work when the process ended, and were stopped", len(left))
