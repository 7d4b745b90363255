"""The one doorway from synchronous code to asyncio, and the only owner of a thread and its event loop.

One daemon thread runs one loop; a call hands it a job and waits. It works from a script, a thread, a notebook cell
whose own loop is running, or inside uvloop, because it never touches the caller's loop. ``bridge="nest"`` is the
exception that a user must ask for. No job's logic is here: a job is a coroutine function of the engine's.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import contextvars
import inspect
import os
import threading
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from ..errors import BridgeError
from ..settings import BridgeName
from ..tracebacks import short
from .interrupts import ended, on_second_interrupt, raised_in_blocking_calls

T = TypeVar("T")

Job: TypeAlias = Callable[[asyncio.Event], Coroutine[Any, Any, T]]
"""A coroutine function; the event that it is given is set when it should come to an end."""

Steps: TypeAlias = Generator[Job[Any], Any, T]
"""Synchronous work that yields the jobs which it needs done: the same for the synchronous and the async dress."""

GRACE: Final = 10.0
"""Seconds that an interrupted call waits for the answers in flight."""

MAX_WRITING: Final = 60.0
"""Seconds that a cancelled call waits for the frame that is being written: perhaps the only record of what was paid."""

_GLANCE: Final = 0.5
_SHUTDOWN: Final = 2.0


class Flight(Generic[T]):
    """A job on its way on a bridge's loop; made first and started then, so that an interrupt always finds it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, job: Job[T]) -> None:
        self._loop = loop
        self._job = job
        self._stop = asyncio.Event()
        self._task: asyncio.Task[T] | None = None
        self._abandoned = False
        self.started = False
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def start(self) -> Flight[T]:
        """Hand the job to the loop."""
        self.started = True
        self._loop.call_soon_threadsafe(self._launch)
        return self

    def _launch(self) -> None:
        if self._abandoned:
            self._cancelled()
            return
        self._task = self._loop.create_task(self._job(self._stop))
        self._task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._cancelled()
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())

    def _cancelled(self) -> None:
        self.future.cancel()
        self.future.set_running_or_notify_cancel()

    def stop(self) -> None:
        """Ask the job to end: nothing new, but the answers in flight are kept. One not launched yet never is."""
        self._abandoned = True
        self._soon(self._stop.set)

    def cancel(self) -> None:
        """End the job where it stands. Not `Future.cancel`, which returns before the task has cleaned up."""
        if self._task is not None:
            self._soon(self._task.cancel)

    def _soon(self, act: Callable[[], object]) -> None:
        # A loop that was closed meanwhile has ended the job already.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended; return whether it has."""
        left = timeout
        while not self.future.done() and (left is None or left > 0):
            # In short glances: an endless wait cannot be interrupted on every system.
            step = _GLANCE if left is None else min(_GLANCE, left)
            concurrent.futures.wait([self.future], timeout=step)
            left = None if left is None else left - step
        return self.future.done()


class Bridge:
    """A daemon thread that runs one event loop."""

    def __init__(self) -> None:
        # Not the policy's: an application's choice (uvloop, a patched loop) is for its own loops.
        self.loop = asyncio.SelectorEventLoop()
        self._closing = False
        self.thread = threading.Thread(target=self._run, name="eachlabs-frames", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self._closing:
            # A SystemExit raised in an observer is its call's, which is given it too; the loop is everybody's.
            with contextlib.suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()
        try:
            self.loop.run_until_complete(_wind_up())
        finally:
            self.loop.close()

    def close(self) -> None:
        """Close the session, end the loop and wait for the thread."""
        if self.thread.is_alive():
            self._closing = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(_SHUTDOWN)


async def _wind_up() -> None:
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_SHUTDOWN / 2)
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
    """Close `resource` with every loop that a bridge uses, and abandon it after a fork."""
    _resources.append(resource)


async def close_resources() -> None:
    """Close what was registered, for the running loop."""
    for resource in _resources:
        await resource.close()


_lock = threading.Lock()
_bridge: Bridge | None = None
_inherited: list[Any] = []


def bridge() -> Bridge:
    """Return the process's bridge, started when it is first asked for."""
    global _bridge
    with _lock:
        if _bridge is None or not _bridge.thread.is_alive():
            _bridge = Bridge()
        return _bridge


@atexit.register
def close() -> None:
    """Close the bridge; a later call starts another."""
    global _bridge
    with _lock:
        closing, _bridge = _bridge, None
    if closing is not None:
        closing.close()


def _after_fork() -> None:
    """Start anew: the thread did not come along, and its sockets are the parent's, so nothing of them is touched."""
    global _bridge, _lock
    _lock = threading.Lock()
    _inherited.append((_bridge, [resource.abandon() for resource in _resources]))
    _bridge = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def call(job: Job[T], *, kind: BridgeName = "thread") -> T:
    """Run `job` and return what it returns; the calling thread waits.

    Interrupted (by Ctrl-C, or anything else that is raised in the waiting thread), it asks the job to end, waits up
    to `GRACE` seconds for it and raises; interrupted again, it cancels the job at once.

    Raises
    ------
    BridgeError
        From the bridge's own thread, or where ``kind="nest"`` cannot work.
    """
    # First of all: nested in the bridge's own loop, a call would end with everybody's session closed.
    if _bridge is not None and threading.current_thread() is _bridge.thread:
        msg = "a synchronous call from inside a progress callback would deadlock: use the _async method"
        raise BridgeError(msg)
    if kind == "nest" and (running := _running_loop()) is not None:
        from .nested import nested  # needs nest-asyncio2: only for those who ask

        return nested(running, job, grace=GRACE, close=close_resources)
    flight = Flight(bridge().loop, job)
    try:
        flight.start().wait()
    except BaseException:
        land(flight)
        raise
    return flight.future.result()


def land(flight: Flight[Any]) -> None:
    """Ask a job to end, and wait for that up to `GRACE` seconds; interrupted meanwhile, no longer."""
    if not flight.started:
        return
    landed = False
    with contextlib.suppress(KeyboardInterrupt):  # interrupted again: at once
        flight.stop()
        landed = flight.wait(GRACE)
    if not landed:
        flight.cancel()
        flight.wait(_SHUTDOWN)


async def call_async(job: Job[T]) -> T:
    """Run `job` on the bridge's loop and await it from any other; cancelled, it does as an interrupted `call`."""
    flight = Flight(bridge().loop, job).start()
    try:
        await ended(flight.future)
    except GeneratorExit:  # the coroutine is closed, so that it cannot wait: its loop was ended by a second Ctrl-C
        flight.stop()
        flight.cancel()
        flight.wait(_SHUTDOWN)
        raise
    except BaseException:
        await _land_async(flight)
        raise
    if flight.future.cancelled():
        raise asyncio.CancelledError
    return flight.future.result()


async def _land_async(flight: Flight[Any]) -> None:
    """Do as `land`, on the caller's loop."""
    landed = False
    flight.stop()
    # Cancelled or interrupted again: at once.
    with on_second_interrupt(flight.cancel), contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        landed = await ended(flight.future, GRACE)
    if not landed:
        flight.cancel()
        await ended(flight.future, _SHUTDOWN)


def complete(steps: Steps[T], *, call: Callable[[Job[Any]], Any] = call) -> T:
    """Go through `steps`, doing each job that they ask for by `call`, and return what they return.

    Whatever is raised while the steps are waiting, in a job or between two of them, is raised inside of them: they
    alone know what was paid for.
    """
    value: Any = None
    error: BaseException | None = None
    with short(), raised_in_blocking_calls():
        while True:
            try:
                turn = _advance(steps, value, error=error)
                if isinstance(turn, _Finished):
                    return turn.value
                value, error = call(turn.job), None
            except BaseException as exc:
                if inspect.getgeneratorstate(steps) != inspect.GEN_SUSPENDED:
                    raise
                value, error = None, exc


async def complete_async(steps: Steps[T]) -> T:
    """Go through `steps` from a coroutine: their synchronous parts run in a thread, so that no loop stands still."""
    with short():
        turn = await _in_thread(steps, patience=GRACE)
        while isinstance(turn, _Wanted):
            try:
                value = await call_async(turn.job)
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as exc:  # noqa: BLE001 - the steps decide what to do with it
                turn = await _in_thread(steps, error=exc)
            else:
                turn = await _in_thread(steps, value)
        return turn.value


@dataclass(frozen=True, slots=True)
class _Wanted:
    job: Job[Any]


@dataclass(frozen=True, slots=True)
class _Finished(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


def _advance(steps: Steps[T], value: Any = None, *, error: BaseException | None = None) -> _Wanted | _Finished[T]:
    try:
        return _Wanted(steps.send(value) if error is None else steps.throw(error))
    except StopIteration as done:
        return _Finished(done.value)


def _attempt(steps: Steps[T], value: Any, error: BaseException | None) -> _Wanted | _Finished[T] | _Raised:
    try:
        return _advance(steps, value, error=error)
    except BaseException as exc:  # noqa: BLE001 - raised again where the steps are awaited
        return _Raised(exc)


class _Part(Generic[T]):
    """A synchronous part of some steps, in a thread that may be left by whoever waits for it."""

    def __init__(self, steps: Steps[T], value: Any, error: BaseException | None) -> None:
        self._steps = steps
        self._given = (value, error)
        self._lock = threading.Lock()
        self._left: BaseException | None = None
        # What the steps raise is a value here: through a future, Python 3.10 would make a CancelledError anew.
        self.future: concurrent.futures.Future[_Wanted | _Finished[T] | _Raised] = concurrent.futures.Future()

    def run(self) -> None:
        turn = _attempt(self._steps, *self._given)
        with self._lock:
            if self._left is None:
                self.future.set_result(turn)
                return
        self._end(turn, self._left)

    def leave(self, error: BaseException) -> bool:
        """Have the thread itself end the steps, by `error`; return False where the part has ended already."""
        with self._lock:
            if not self.future.done():
                self._left = error
            return self._left is not None

    def close(self, error: BaseException) -> None:
        """End the steps by `error`: here, or in the thread where that is still at work."""
        if not self.leave(error):
            self._end(self.future.result(), error)

    def _end(self, turn: _Wanted | _Finished[T] | _Raised, error: BaseException) -> None:
        while isinstance(turn, _Wanted):
            turn = _attempt(self._steps, None, error)


async def _in_thread(
    steps: Steps[T],
    value: Any = None,
    *,
    error: BaseException | None = None,
    patience: float = MAX_WRITING,
) -> _Wanted | _Finished[T]:
    """Advance in a thread. A cancellation waits for the thread, and then reaches the steps as any other error.

    It waits `patience` seconds, however often it is repeated; a part that has not ended by then (a function of the
    user's that hangs) is left to its thread, which ends the steps as soon as it can.
    """
    part = _Part(steps, value, error)
    # The waiter cannot cancel it: a part that has not begun when its caller goes away still has to end the steps.
    asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, part.run)
    interrupt: BaseException | None = None
    loop = asyncio.get_running_loop()
    deadline: float | None = None
    while not part.future.done() and (deadline is None or loop.time() < deadline):
        try:
            await ended(part.future, None if deadline is None else deadline - loop.time())
        except GeneratorExit as exc:
            part.close(exc)
            raise
        except (asyncio.CancelledError, KeyboardInterrupt) as exc:
            interrupt = interrupt or exc
            deadline = deadline or loop.time() + patience
    if interrupt is None:
        turn = part.future.result()
        if isinstance(turn, _Raised):
            raise turn.error
        return turn
    if part.leave(interrupt):
        raise interrupt
    turn = part.future.result()
    if isinstance(turn, _Wanted):
        return await _in_thread(steps, error=interrupt)
    # The steps came to their end meanwhile: what they made, or what their error carries, goes along.
    frame = turn.value if isinstance(turn, _Finished) else getattr(turn.error, "frame", None)
    interrupt.frame = frame  # type: ignore[attr-defined]  # any exception may carry it
    raise interrupt from (turn.error if isinstance(turn, _Raised) else None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
