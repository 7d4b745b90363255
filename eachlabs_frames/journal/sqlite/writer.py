"""One thread that writes claims and responses to the journal in groups, one durable commit per group.

Owns when a commit is made and who is notified. A claim is awaited, a response is not; their order is kept. A commit
takes milliseconds of disk time, whatever is in it: so responses wait for the next claim, and a claim for those that the
loop makes in the same iteration. What could not be written is kept and retried until `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from ...errors import JournalError
from .sqlite_errors import translated
from .transactions import transaction

logger = logging.getLogger("eachlabs_frames")

LINGER: Final = 0.02
"""Seconds that a response waits for a claim to share a commit; its own commit would delay that claim."""

CLOSE_TIMEOUT: Final = 30.0

Work = Callable[[], Any]


class _Task(NamedTuple):
    """Work to do in a transaction, and the future that awaits it."""

    work: Work
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[Any] | None = None


class SqliteWriter:
    """Commits what it is given, in order; its thread is started with the first task, and ended by `close`.

    Parameters
    ----------
    connection : sqlite3.Connection
    path : pathlib.Path
    begin, finish : callable
        Called at the start and at the end of each transaction.
    committed : callable
        Called after each commit, before anybody is told of it.
    end : callable
        Called when nothing will be written any more, on whichever thread that is; perhaps twice.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        begin: Callable[[], None],
        finish: Callable[[], None],
        committed: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._path = path
        self._begin = begin
        self._finish = finish
        self._committed = committed
        self._end = end
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._tasks: list[_Task] = []
        self._some = threading.Event()
        self._urgent = threading.Event()
        self._called = False
        self._thread: threading.Thread | None = None
        self._closed = False
        self._unwritten: list[_Task] = []
        self.failure: JournalError | None = None

    def soon(self, work: Work) -> None:
        """Do `work` in the next commit."""
        try:
            self._put(_Task(work))
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
        self._put(_Task(work, loop, future))
        if not self._called:
            self._called = True
            # After what else runs in this iteration of the loop: other workers claim too.
            loop.call_soon(self._urgent.set)
        return await future

    def close(self) -> JournalError | None:
        """Write what is left and end the thread; return what went wrong, where something is lost.

        The thread cleans up by itself, so an interrupt here leaves nothing behind; a second call waits again.
        """
        if os.getpid() != self._process:
            return None
        with self._lock:
            self._closed = True
            if self._thread is None:
                self._end()
                return None
            self._some.set()
            self._urgent.set()
        self._thread.join(CLOSE_TIMEOUT)
        if self._thread.is_alive():
            return JournalError(
                f"the journal {self._path} has accepted no writes for {CLOSE_TIMEOUT:g} s: is its disk available?"
            )
        return self.failure if self._unwritten else None

    def _put(self, task: _Task) -> None:
        if os.getpid() != self._process:
            msg = (
                f"this process is a fork of the one that uses the journal {self._path}: repeat the call in this process"
            )
            raise JournalError(msg)
        with self._lock:
            if self._closed:
                msg = f"this call has already closed the journal {self._path}: repeat the call"
                raise JournalError(msg)
            if self._thread is None:
                self._start()
            self._tasks.append(task)
            if len(self._tasks) == 1:
                self._some.set()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="eachlabs-frames-journal", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            msg = f"no thread can be started to write the journal {self._path} ({exc}): end some threads, or restart"
            raise JournalError(msg) from exc
        self._thread = thread

    def _run(self) -> None:
        try:
            closed = False
            while not closed:
                self._some.wait()
                self._urgent.wait(LINGER)
                with self._lock:
                    group, self._tasks = self._tasks, []
                    self._some.clear()
                    self._urgent.clear()
                    self._called, closed = False, self._closed
                self._commit(group)
        finally:
            self._end()

    def _commit(self, group: list[_Task]) -> None:
        # What could not be written before goes first: an answer is never behind a later claim of the same row.
        group = self._unwritten + group
        if not group:
            return
        try:
            with transaction(self._connection, self._path), translated(self._path):
                self._begin()
                results = [task.work() for task in group]
                self._finish()
        except Exception as exc:  # noqa: BLE001 - any error must reach whoever awaits the commit
            self._fail(group, exc, unwritten=group)
            return
        self._unwritten = []
        try:
            self._committed()
        except Exception as exc:  # noqa: BLE001 - as above
            self._fail(group, exc, unwritten=[])
        else:
            _notify([(task, result, None) for task, result in zip(group, results, strict=True)])

    def _fail(self, group: list[_Task], exc: Exception, *, unwritten: list[_Task]) -> None:
        failure = exc if isinstance(exc, JournalError) else JournalError(f"the journal {self._path} failed: {exc!r}")
        if self.failure is None:
            logger.error("%s", failure)
        self.failure = failure
        self._unwritten = [task for task in unwritten if task.future is None]
        _notify([(task, None, JournalError(str(failure))) for task in group])


def _notify(news: list[tuple[_Task, Any, JournalError | None]]) -> None:
    """Resolve the futures of each loop in one callback."""
    for loop in {task.loop for task, _, _ in news if task.loop is not None}:
        mine = [(task.future, result, error) for task, result, error in news if task.loop is loop]
        with contextlib.suppress(RuntimeError):  # a closed loop waits for nothing
            loop.call_soon_threadsafe(_resolve, mine)


def _resolve(news: list[tuple[asyncio.Future[Any] | None, Any, JournalError | None]]) -> None:
    for future, result, error in news:
        if future is None or future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
