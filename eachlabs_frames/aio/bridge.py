"""Runs calls: from synchronous code, from a coroutine of the caller's, and in the background.

Owns what an interrupt or a cancellation does to a call: it is stopped, gets `GRACE` seconds, and is then cancelled.

A call prepares itself in its caller's thread and is carried out on the loop thread, while the caller only waits. So it
works from a script, a thread, a notebook cell whose own loop is running, or inside uvloop: it never touches the
caller's loop. ``bridge="nest"`` is the exception that a user must ask for. What a call does is not known here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar, cast

from ..errors import BridgeError
from ..settings import BridgeName
from ..tracebacks import is_bare, short
from .interrupts import InterruptHandler, StopEvent, ended, on_second_interrupt
from .loop_thread import SHUTDOWN_TIMEOUT, is_loop_thread, loop_thread, replace_blocked
from .tasks import cancel_on, in_thread

T = TypeVar("T")

Job: TypeAlias = Callable[[asyncio.Event], Coroutine[Any, Any, T]]
"""A coroutine function. It gets an event, and returns soon after the event is set."""

GRACE: Final = 10.0
"""Seconds that a stopped call has for the responses in flight."""

_WAIT_STEP: Final = 0.5
"""Seconds of one blocking wait: an endless one cannot be interrupted on every system."""


def cancellable(read: Callable[[], Coroutine[Any, Any, T]]) -> Job[T]:
    """Return a job that awaits `read()`, and cancels it when the event is set. Never for a paid request."""

    async def job(stop: asyncio.Event) -> T:
        result = await cancel_on(stop, read())
        if stop.is_set():
            raise asyncio.CancelledError
        return cast("T", result)  # None only if it was cancelled

    return job


class Read(Protocol):
    """Runs a job on the loop, blocks until it has ended, and returns its result."""

    def __call__(self, job: Job[T], /) -> T:
        """Run `job`."""
        ...


class Call(Generic[T]):
    """What the bridge runs: `prepare`, `execute`, `close`, in this order."""

    def prepare(self, read: Read, /) -> None:
        """Check and plan, in the caller's thread: functions of the user's run here. Nothing is paid for yet.

        Parameters
        ----------
        read : Read
            Runs the requests that only read.
        """

    async def execute(self, stop: asyncio.Event, /) -> T:
        """Do the work on the loop thread: the only part that pays. Return soon after `stop` is set."""
        raise NotImplementedError

    def close(self) -> None:
        """Release what `prepare` has opened, however the call has ended. In the caller's thread."""

    def conclude(self, result: T) -> T:
        """Warn about the result, in the caller's thread, so that a warning names the caller's line."""
        return result

    def interrupted(self, error: BaseException) -> BaseException:
        """Return the exception to raise for `error`, which has ended the wait for `execute`."""
        return error


class ReadCall(Call[T]):
    """A call that pays for nothing: it only prepares.

    Parameters
    ----------
    function : callable
        Gets a `Read` and returns the result.
    """

    def __init__(self, function: Callable[[Read], T]) -> None:
        self._function = function
        self._results: list[T] = []

    def prepare(self, read: Read) -> None:
        """Call the function."""
        self._results.append(self._function(read))

    async def execute(self, _stop: asyncio.Event, /) -> T:
        """Return what the function has returned."""
        return self._results.pop()


class BridgeTask(Generic[T]):
    """A job on an event loop, which other threads can stop and wait for. It has its maker's context variables.

    Parameters
    ----------
    job : callable
    loop : asyncio.AbstractEventLoop, optional
        The loop thread's by default.
    on_end : callable, optional
        Called with the job's exception or None just before `future` is done.

    Attributes
    ----------
    future : concurrent.futures.Future
        The job's result or exception. Cancelling it has no effect: use `stop`.
    stopped : bool
        Whether it was stopped before it had ended.
    """

    def __init__(
        self,
        job: Job[T],
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        on_end: Callable[[BaseException | None], object] = lambda _: None,
    ) -> None:
        self._job = job
        self._loop = loop_thread().loop if loop is None else loop
        self._on_end = on_end
        self._stop = StopEvent()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._cancelled = False
        self._is_blocked = False  # since it was cancelled, the loop has done nothing
        self._settling = threading.Lock()
        self.stopped = False
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self.future.set_running_or_notify_cancel()

    def start(self) -> BridgeTask[T]:
        """Run the job, soon."""
        self._loop.call_soon_threadsafe(self._begin, context=contextvars.copy_context())
        return self

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._clean_up)

    def _clean_up(self, _: asyncio.Task[None]) -> None:
        self._fail(asyncio.CancelledError())  # has an effect if the task was cancelled before its first step
        if self._timer is not None:
            self._timer.cancel()  # it would keep the result alive

    async def _run(self) -> None:
        # The task itself never raises: a KeyboardInterrupt out of a task would end its loop.
        try:
            result = await self._job(self._stop)
        except BaseException as exc:  # noqa: BLE001 - raised where the result is read
            self._fail(exc)
        else:
            self._settle(None, lambda: self.future.set_result(result))

    def _fail(self, error: BaseException) -> None:
        self._settle(error, lambda: self.future.set_exception(error))

    def _settle(self, error: BaseException | None, settle: Callable[[], None]) -> None:
        # Once: the loop may come to the end of a job that was abandoned.
        if self._settling.acquire(blocking=False):
            try:
                self._on_end(error)
            finally:
                settle()

    def stop(self) -> None:
        """Ask the job to end; responses in flight are kept. A second call cancels it. Works in a signal handler too."""
        if self.future.done():
            return
        if self.stopped:
            self.cancel()
            return
        self.stopped = self._stop.is_requested = True
        self._deadline = time.monotonic() + GRACE
        self._soon(self._set_stop)

    def _set_stop(self) -> None:
        self._stop.set()
        if not self.future.done():
            self._timer = self._loop.call_later(GRACE, self.cancel)

    def cancel(self) -> None:
        """End the job at its next step. Not `Future.cancel`, which returns before the task has cleaned up."""
        if self.future.done() or self._cancelled:
            return
        self._cancelled = self._is_blocked = True
        self._deadline = time.monotonic() + SHUTDOWN_TIMEOUT
        self._soon(self._cancel_task)

    def _cancel_task(self) -> None:
        self._is_blocked = False
        if self._task is not None:
            self._task.cancel()

    def _soon(self, action: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, which has ended the job
            self._loop.call_soon_threadsafe(action)

    @property
    def done(self) -> bool:
        """Whether the job has ended, or was abandoned."""
        self._time_left()
        return self.future.done()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended; return whether it has.

        A stopped job is cancelled after `GRACE` seconds. If it does not end then, because an observer blocks the loop,
        it is abandoned: `future` has a CancelledError, and later calls run on another loop.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not self.done:
            left = _WAIT_STEP if end is None else end - time.monotonic()
            if left <= 0:
                break
            concurrent.futures.wait([self.future], timeout=min(left, self._time_left()))
        return self.future.done()

    async def wait_async(self) -> None:
        """Wait as `wait` does, without blocking the running loop."""
        if not self.done:
            await ended(self.future, self._time_left)

    def _time_left(self) -> float:
        """Return the seconds until a waiter looks again; cancel or abandon a job that is past its deadline."""
        left = _WAIT_STEP if self._deadline is None else self._deadline - time.monotonic()
        if left > 0:
            return min(left, _WAIT_STEP)
        if self._cancelled:
            if self._is_blocked:
                replace_blocked(self._loop)
            self._fail(asyncio.CancelledError())
        else:
            self.cancel()
        return 0.0

    def orphan(self) -> None:
        """In a forked child, where the loop thread does not exist: end with an error."""
        self.future = concurrent.futures.Future()  # the parent's may be locked for ever
        msg = (
            "the run was started by the parent process and continues there: load_run() returns what the journal has "
            "recorded"
        )
        self.future.set_exception(BridgeError(msg))


def run(make: Callable[[], Call[T]], *, kind: BridgeName = "thread", handler: InterruptHandler | None = None) -> T:
    """Make a call, run it and return its result; the calling thread waits.

    An interrupt (Ctrl-C, or anything else that is raised in the waiting thread) during `execute` stops it, waits up to
    `GRACE` seconds and raises what `Call.interrupted` returns; a second interrupt cancels `execute`.

    Parameters
    ----------
    make : callable
        Makes the call, in the calling thread.
    kind : {"thread", "nest"}
    handler : InterruptHandler, optional
        Handles signals already. By default SIGINT is handled until this returns.

    Raises
    ------
    BridgeError
        On the loop thread, or where ``kind="nest"`` cannot work.
    """
    check_not_on_loop("a synchronous call from inside a progress callback would deadlock: use the _async method")
    call: Call[T] | None = None
    with short(), InterruptHandler() if handler is None else contextlib.nullcontext(handler) as handler:
        try:
            try:
                call = make()
                call.prepare(partial(_read, handler=handler, kind=kind))
                result = _wait_for(call.execute, handler, kind)
            finally:
                handler.action = _ignore
                if call is not None:
                    call.close()
            handler.restore()
            handler.check()
            return call.conclude(result)
        except BaseException as exc:
            error = exc if call is None else call.interrupted(exc)
            if error is exc:
                raise
            raise error from (None if is_bare(exc) else exc)


def call(job: Job[T], *, kind: BridgeName = "thread") -> T:
    """Run a job that only reads and return its result; the calling thread waits.

    Raises
    ------
    BridgeError
        As for `run`.
    """
    return run(lambda: ReadCall(lambda read: read(job)), kind=kind)


def _read(job: Job[T], /, *, handler: InterruptHandler, kind: BridgeName) -> T:
    result = _wait_for(job, handler, kind)
    handler.action = None  # functions of the user's are interrupted where they are
    handler.check()
    return result


def _wait_for(job: Job[T], handler: InterruptHandler, kind: BridgeName) -> T:
    """Run `job` and return its result. An interrupt stops the job and raises nothing before that has ended."""
    handler.check()
    running = _running_loop() if kind == "nest" else None
    task = BridgeTask(job, running)
    handler.action = task.stop
    with contextlib.ExitStack() as nesting:
        wait: Callable[[], object] = task.wait
        if running is not None:
            from .nested import nested  # needs nest-asyncio2: only for those who ask

            wait = partial(nesting.enter_context(nested(running)), task.wait_async)
        try:
            task.start()
            wait()
        except BaseException:  # raised by a signal handler of the application's
            while not task.done:
                with contextlib.suppress(KeyboardInterrupt):
                    task.stop()
                    wait()
            raise
    if handler.count:
        error = task.future.exception()
        raise KeyboardInterrupt from (None if isinstance(error, asyncio.CancelledError) else error)
    return task.future.result()


async def run_async(make: Callable[[], Call[T]]) -> T:
    """Make a call, run it on the loop thread, and await it on any other loop, which is never blocked.

    Cancelled, it does what `run` does when interrupted; the CancelledError keeps its class.
    """
    made: list[Call[T]] = []

    def make_here() -> Call[T]:
        made.append(make())
        return made[0]

    with short():
        task = BridgeTask(partial(run_all, make_here)).start()
        try:
            await task.wait_async()
            result = task.future.result()
            return made[0].conclude(result)
        except GeneratorExit:  # the coroutine is closed and cannot wait: a second Ctrl-C has ended its loop
            task.stop()
            task.cancel()
            task.wait()
            raise
        except BaseException as exc:
            await _stop_async(task)
            error = await in_thread(partial(made[0].interrupted, exc)) if made else exc
            if error is exc:
                raise
            raise error from (None if is_bare(exc) else exc)


async def _stop_async(task: BridgeTask[Any]) -> None:
    task.stop()
    with on_second_interrupt(task.stop):
        while not task.done:
            try:
                await task.wait_async()
            except (asyncio.CancelledError, KeyboardInterrupt):
                task.stop()


async def run_all(make: Callable[[], Call[T]], stop: asyncio.Event) -> T:
    """Make a call and run it on the loop thread from beginning to end; `prepare` has a thread of its own."""
    loop = asyncio.get_running_loop()
    made: list[Call[T]] = []

    def close() -> None:
        for call in made:
            call.close()

    def prepare() -> None:
        try:
            made.append(make())
            made[0].prepare(partial(_read_from_thread, stop=stop, loop=loop))
        except BaseException:
            close()
            raise

    await in_thread(prepare, on_left=close)
    await asyncio.sleep(0)  # a stop that was requested before `prepare` has ended is set by now
    call = made[0]
    try:
        if stop.is_set():
            raise asyncio.CancelledError
        return await call.execute(stop)
    finally:
        await in_thread(call.close)


def _read_from_thread(job: Job[T], /, *, stop: asyncio.Event, loop: asyncio.AbstractEventLoop) -> T:
    task = BridgeTask(lambda _: job(stop), loop).start()
    task.wait()
    if stop.is_set():
        raise asyncio.CancelledError
    return task.future.result()


def check_not_on_loop(message: str) -> None:
    """Raise BridgeError on the loop thread, which would wait for itself."""
    if is_loop_thread():
        raise BridgeError(message)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _ignore() -> None:
    return None
