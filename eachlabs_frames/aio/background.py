"""Calls that go on in the background while their caller does something else.

Owns the list of them: what still runs when the process ends is stopped and waited for, so that responses in flight are
kept; after a fork, the child has none.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from typing import Any, Final, TypeVar

from .bridge import BridgeTask, check_not_on_loop
from .interrupts import InterruptHandler

T = TypeVar("T")

logger = logging.getLogger("eachlabs_frames")

_WAIT_STEP: Final = 0.2
"""Seconds after which a wait checks whether it was interrupted."""

_lock = threading.Lock()
_running: set[BridgeTask[Any]] = set()
_closing = False


def start(task: BridgeTask[T]) -> BridgeTask[T]:
    """Start a task. When the process ends, it is stopped, and its responses in flight are kept."""
    with _lock:
        _running.add(task)
    task.future.add_done_callback(lambda _: _forget(task))
    return task.start()


def wait(task: BridgeTask[Any], timeout: float | None = None) -> bool:
    """Wait until a background task has ended; return whether it has. An interrupt raises and leaves it running.

    Raises
    ------
    BridgeError
        On the loop thread.
    """
    if not task.done:
        check_not_on_loop("waiting for a run from inside a progress callback would deadlock: wait for it elsewhere")
    end = None if timeout is None else time.monotonic() + timeout
    with InterruptHandler() as handler:
        # Counted, and raised here: raised inside of the future's code, it could leave the future's lock held.
        handler.action = _ignore
        while True:
            handler.check()
            left = _WAIT_STEP if end is None else min(_WAIT_STEP, end - time.monotonic())
            if task.wait(max(left, 0.0)):
                return True
            if left <= 0:
                return False


def is_closing() -> bool:
    """Return whether the process ends, so that nothing new is to be started."""
    return _closing


def _forget(task: BridgeTask[Any]) -> None:
    with _lock:
        _running.discard(task)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for task in _running:
        task.orphan()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _stop_all() -> None:
    """Stop what runs in the background. Registered after the loop thread's own end, and so called before it."""
    global _closing
    _closing = True
    with _lock:
        tasks = list(_running)
    for task in tasks:
        task.stop()
    for task in tasks:
        task.wait()
    if tasks:
        logger.warning("%d run(s) were still running when the process exited, and were stopped", len(tasks))


def _ignore() -> None:
    return None
