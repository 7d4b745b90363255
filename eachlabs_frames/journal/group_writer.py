"""Writes what a call records in groups, in order, on one thread.

Owns when a group is written, and who is notified. A claim is awaited, a response is not; their order is kept. A durable
commit takes milliseconds, whatever is in it: so responses wait for the next claim, and a claim for those that the loop
makes in the same iteration. What could not be written is kept and retried until `close`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ..errors import JournalError

logger = logging.getLogger("eachlabs_frames")

LINGER: Final = 0.02
"""Seconds that a response waits for a claim to share a commit; its own commit would delay that claim."""

CLOSE_TIMEOUT: Final = 30.0

Work: TypeAlias = Any
"""What is written: the implementation knows what it means."""

Waiter: TypeAlias = asyncio.Future[Any] | concurrent.futures.Future[Any] | None
Task: TypeAlias = tuple[Work, Waiter]
"""Work to write, and who waits until it is durable."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The result of work that failed by itself, and is not tried again."""

    error: BaseException


class GroupWriter:
    """Writes work in order, on a thread that is started with the first work and ended by `close`.

    A subclass implements `_write`, `_confirm`, `_end` and `_idle`, which are called on that thread alone.

    Parameters
    ----------
    where : str
        The journal, as messages name it.
    interval : float, optional
        Seconds without work after which `_idle` is called.
    """

    def __init__(self, where: str, *, interval: float | None = None) -> None:
        self._where = where
        self._interval = interval
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._tasks: list[Task] = []
        self._has_tasks = threading.Event()
        self._is_urgent = threading.Event()
        self._urgent_is_scheduled = False
        self._thread: threading.Thread | None = None
        self._closed = False
        self._unwritten: list[Task] = []
        self.failure: JournalError | None = None

    def _write(self, group: Sequence[Work], results: list[Any]) -> None:
        """Write a group durably, and append the result of each work to `results`.

        If it raises, work without a result was not written.
        """
        raise NotImplementedError

    def _confirm(self) -> None:
        """Do what must be done before anybody relies on what was written."""

    def _idle(self) -> None:
        """Do what must be done now and then while nothing is written."""

    def _end(self) -> None:
        """End the session: nothing is written any more."""
        raise NotImplementedError

    def _is_complete(self) -> bool:
        """Return whether everything that was taken over from the tasks is written."""
        return True

    def soon(self, work: Work) -> None:
        """Do `work` in the next commit."""
        try:
            self._put((work, None))
        except JournalError as exc:
            logger.warning("a response is not recorded: %s", exc)

    async def durably(self, work: Work) -> Any:
        """Do `work`, and return its result once it is on the disk.

        Raises
        ------
        JournalError
            It could not be written, or nothing can be any more.
        """
        if self.failure is not None:
            raise JournalError(str(self.failure)) from self.failure
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._put((work, future))
        if not self._urgent_is_scheduled:
            self._urgent_is_scheduled = True
            # After what else runs in this iteration of the loop: other workers claim too.
            loop.call_soon(self._is_urgent.set)
        return await future

    def run(self, work: Work) -> Any:
        """Do `work`, and wait for its result in a thread that may be blocked.

        Raises
        ------
        JournalError
            It could not be written.
        Exception
            What the work raises.
        """
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._put((work, future))
        self._is_urgent.set()
        return future.result()

    def close(self) -> JournalError | None:
        """Write what is left and end the thread; return the error if something is lost.

        The thread cleans up by itself, so an interrupt here leaves nothing behind; a second call waits again.
        """
        if os.getpid() != self._process:
            return None
        with self._lock:
            self._closed = True
            if self._thread is None:
                self._end()
                return None
            self._has_tasks.set()
            self._is_urgent.set()
        self._thread.join(CLOSE_TIMEOUT)
        if self._thread.is_alive():
            return JournalError(
                f"the journal {self._where} has accepted no writes for {CLOSE_TIMEOUT:g} s: "
                "is its disk or server available?"
            )
        return self.failure if self._unwritten or not self._is_complete() else None

    def _put(self, task: Task) -> None:
        if os.getpid() != self._process:
            msg = (
                f"this process is a fork of the one that uses the journal {self._where}: "
                "repeat the call in this process"
            )
            raise JournalError(msg)
        with self._lock:
            if self._closed:
                msg = f"this call has already closed the journal {self._where}: repeat the call"
                raise JournalError(msg)
            if self._thread is None:
                self._start()
            self._tasks.append(task)
            if len(self._tasks) == 1:
                self._has_tasks.set()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="eachlabs-frames-journal", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            msg = f"no thread can be started to write the journal {self._where} ({exc}): end some threads, or restart"
            raise JournalError(msg) from exc
        self._thread = thread

    def _run(self) -> None:
        try:
            closed = False
            while not closed:
                if not self._has_tasks.wait(self._interval):
                    self._idle()
                    continue
                self._is_urgent.wait(LINGER)
                with self._lock:
                    group, self._tasks = self._tasks, []
                    self._has_tasks.clear()
                    self._is_urgent.clear()
                    self._urgent_is_scheduled, closed = False, self._closed
                self._commit(group)
        finally:
            self._end()

    def _commit(self, group: list[Task]) -> None:
        # What could not be written before goes first: an answer is never behind a later claim of the same row.
        group = self._unwritten + group
        if not group and self._is_complete():
            return
        results: list[Any] = []
        failure: Exception | None = None
        self._unwritten = []
        try:
            self._write([work for work, _ in group], results)
        except Exception as exc:  # noqa: BLE001 - any error must reach whoever awaits the commit
            failure = exc
        written, left = group[: len(results)], group[len(results) :]
        try:
            if written:
                self._confirm()
        except Exception as exc:  # noqa: BLE001 - as above
            self._fail(written, exc)
        else:
            _notify([(waiter, result) for (_, waiter), result in zip(written, results, strict=True) if waiter])
        if failure is not None:
            self._unwritten = [task for task in left if task[1] is None]
            self._fail(left, failure)

    def _fail(self, group: list[Task], exc: Exception) -> None:
        failure = exc if isinstance(exc, JournalError) else JournalError(f"the journal {self._where} failed: {exc!r}")
        if self.failure is None:
            logger.error("%s", failure)
        self.failure = failure
        _notify([(waiter, Failed(JournalError(str(failure)))) for _, waiter in group if waiter is not None])


Result: TypeAlias = tuple["asyncio.Future[Any] | concurrent.futures.Future[Any]", Any]
"""Who waits for a commit, and the result of the work."""


def _notify(results: list[Result]) -> None:
    """Resolve all futures, those of each loop in one callback."""
    awaited = [(future, result) for future, result in results if isinstance(future, asyncio.Future)]
    for loop in {future.get_loop() for future, _ in awaited}:
        of_loop = [pair for pair in awaited if pair[0].get_loop() is loop]
        with contextlib.suppress(RuntimeError):  # a closed loop waits for nothing
            loop.call_soon_threadsafe(_resolve, of_loop)
    _resolve([pair for pair in results if not isinstance(pair[0], asyncio.Future)])


def _resolve(results: Sequence[Result]) -> None:
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, Failed):
            future.set_exception(result.error)
        else:
            future.set_result(result)
