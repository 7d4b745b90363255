"""The thread that runs this package's event loop, and what other modules keep on that loop, such as HTTP sessions.

Owns when the thread starts and ends: it is started by the first call, closed at exit, and started anew after a fork or
when its loop is blocked for ever. It knows nothing of the calls that use it.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")

SHUTDOWN_TIMEOUT: Final = 2.0
"""Seconds that a cancelled task, and the loop at its end, has for its cleanup."""

LOOP_TIMEOUT: Final = 2.0
"""Seconds that `run_on_loop` waits for the loop. If it takes longer, an observer of the user's blocks the loop."""


class LoopThread:
    """A daemon thread that runs one event loop."""

    def __init__(self) -> None:
        # Not the policy's: an application's choice (uvloop, a patched loop) is for its own loops.
        self.loop = asyncio.SelectorEventLoop()
        self._closing = False
        self.thread = threading.Thread(target=self._run, name="eachlabs-frames", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self._closing:
            # A callback of the user's may raise SystemExit. The loop belongs to all calls, so it continues.
            with contextlib.suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()
        try:
            self.loop.run_until_complete(_cancel_all())
        finally:
            self.loop.close()

    def close(self) -> None:
        """Close the resources, end the loop and wait for the thread."""
        if self.thread.is_alive():
            self._closing = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(SHUTDOWN_TIMEOUT)


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=SHUTDOWN_TIMEOUT / 2)
    await close_resources()
    await asyncio.get_running_loop().shutdown_asyncgens()


class LoopResource(NamedTuple):
    """Something that other modules keep per event loop, such as HTTP sessions.

    Attributes
    ----------
    close : callable
        Closes what belongs to the running loop.
    abandon : callable
        Called in a forked child: drops everything without closing it and returns it. Its sockets are shared with the
        parent, so the returned object must be kept for as long as the process lives.
    """

    close: Callable[[], Coroutine[Any, Any, None]]
    abandon: Callable[[], Any]


_resources: list[LoopResource] = []


def register_resource(resource: LoopResource) -> None:
    """Close `resource` with every loop that a call uses, and abandon it after a fork."""
    _resources.append(resource)


async def close_resources() -> None:
    """Close the registered resources of the running loop."""
    for resource in _resources:
        await resource.close()


_lock = threading.Lock()
_current: LoopThread | None = None
_blocked: list[LoopThread] = []
_inherited: list[Any] = []


def loop_thread() -> LoopThread:
    """Return the process's loop thread; start it if there is none."""
    global _current
    with _lock:
        if _current is None or not _current.thread.is_alive():
            _current = LoopThread()
        return _current


def is_loop_thread() -> bool:
    """Return whether the current thread is the loop thread, or was it until its loop was blocked."""
    here = threading.current_thread()
    return any(thread is not None and thread.thread is here for thread in (_current, *_blocked))


def replace_blocked(loop: asyncio.AbstractEventLoop) -> None:
    """Let the next call start another loop thread: a function of the user's blocks this loop, perhaps for ever."""
    global _current
    with _lock:
        if _current is not None and _current.loop is loop:
            _blocked.append(_current)
            _current = None


@atexit.register
def close() -> None:
    """Close the loop thread and those that it has replaced; a later call starts another one."""
    global _current
    with _lock:
        closing, _current = [*_blocked, _current], None
        _blocked.clear()
    for thread in closing:
        if thread is not None:
            thread.close()


def run_on_loop(function: Callable[[], T]) -> T:
    """Run `function` on the loop thread and return its result. No task runs concurrently, so results are consistent.

    If an observer of the user's blocks the loop for `LOOP_TIMEOUT` seconds, `function` runs here: results are
    consistent whenever an observer is called.
    """
    if is_loop_thread():
        return function()
    result: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            result.set_result(function())
        except BaseException as exc:  # noqa: BLE001 - raised in the thread that waits
            result.set_exception(exc)

    loop_thread().loop.call_soon_threadsafe(run)
    try:
        return result.result(LOOP_TIMEOUT)
    except concurrent.futures.TimeoutError:
        return function() if result.cancel() else result.result()


def _after_fork() -> None:
    """Start anew: the thread was not copied, and its sockets are the parent's, so none of them is touched."""
    global _current, _lock
    _lock = threading.Lock()
    _inherited.append((_current, [*_blocked], [resource.abandon() for resource in _resources]))
    _current = None
    _blocked.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
