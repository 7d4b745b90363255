"""Writes the records of one session: each group of claims and responses in one durable commit, on one thread.

Owns when a commit is made, what must hold around it, and who is notified. A claim is awaited, a response is not; their
order is kept. A commit takes milliseconds of disk time, whatever is in it: so responses wait for the next claim, and a
claim for those that the loop makes in the same iteration. What could not be written is kept and retried until `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from ...errors import JournalError
from . import integrity, sessions
from .database import Connection, transaction, translated
from .integrity import MarkWriter, file_id

logger = logging.getLogger("eachlabs_frames")

LINGER: Final = 0.02
"""Seconds that a response waits for a claim to share a commit; its own commit would delay that claim."""

CLOSE_TIMEOUT: Final = 30.0

_MAX_PUBLISH: Final = 1.0
_PAUSE: Final = 0.01

Work: TypeAlias = Callable[[], Any]
Task: TypeAlias = tuple[Work, asyncio.Future[Any] | None]
"""Work to do in a transaction, and the future that awaits its commit."""


class Session:
    """One call's part in a journal: its records, its lease and its slot in the mark.

    What it does around a commit lets others know that the session is running, and that no record was lost. `begin`,
    `check`, `append` and `write_records` are called inside a write transaction.
    """

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._real_path = path.resolve()
        self._log = integrity.log_of(path)
        self._main_id, self._log_id = file_id(path), file_id(self._log)
        self._lease: sessions.LeaseFile | None = None
        self._mark: MarkWriter | None = None
        self._run = 0
        self._records: list[tuple[int, int, bytes, bytes | None]] = []
        self._written = 0
        self._uncommitted = 0

    @property
    def number(self) -> int:
        """The session's number; 0 before `begin`."""
        return self._connection.session

    def begin(self, run: int) -> None:
        """Begin a session in a run."""
        self._release()
        self._run = run
        session = self._connection.session = sessions.begin_session(self._connection, run)
        # Before the session is visible: a process that deletes the run must see that it is running.
        self._lease = sessions.acquire_lease(self._real_path, session)
        journal, _, self._written = integrity.read_state(self._connection)
        self._mark = MarkWriter(self._path, journal, session)
        self._mark.open(self._written)
        integrity.set_open(self._connection, is_open=True)

    def is_running(self, session: int) -> bool:
        """Return whether a session is running, or may be."""
        return sessions.is_running(self._connection, self._real_path, session)

    def others_running(self) -> bool:
        """Return whether another session is running in this run."""
        return sessions.others_running(self._connection, self._real_path, but=self.number, run=self._run)

    def check(self) -> None:
        """Check that the files are in place, and replace a lease or a mark that was deleted.

        Raises
        ------
        JournalError
            The main file or its log was moved, deleted or replaced.
        """
        self._records.clear()
        self._uncommitted = 0
        integrity.check_in_place(self._path, self._log, self._main_id, self._log_id)
        if self._lease is not None and self._mark is not None:
            self._lease = sessions.renew_lease(self._lease, self.number, self._real_path)
            self._mark.open(self._written)

    def append(self, kind: int, rows: bytes, body: bytes | None) -> None:
        """Add a record to this commit."""
        self._records.append((kind, time.time_ns(), rows, body))

    def write_records(self) -> None:
        """Write the records of this commit, in the order in which they were added.

        Raises
        ------
        JournalError
            The journal holds fewer records than this session has seen.
        """
        if not self._records:
            return
        *_, written = integrity.read_state(self._connection)
        if written < self._written:
            loss = f"it holds {written} record(s), and held {self._written} a moment ago"
            raise integrity.incomplete(self._path, loss)
        query = "INSERT INTO records (id, run, session, kind, at, rows, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
        numbered = enumerate(self._records, start=written + 1)
        self._connection.executemany(query, [(number, self._run, self.number, *record) for number, record in numbered])
        self._uncommitted = written + len(self._records)
        self._records.clear()

    def committed(self) -> None:
        """Write to the mark what was committed; call this before anybody relies on the commit."""
        if self._uncommitted and self._mark is not None:
            self._written, self._uncommitted = self._uncommitted, 0
            with translated(self._path):
                self._mark.write(self._written)

    def publish(self) -> None:
        """Bring the main file up to date, so that it says by itself that it is open.

        The log is then begun again in place: a claim takes half the time if no file has to grow. This does not wait
        long for a reader that prevents it: the mark tells the same.
        """
        deadline = time.monotonic() + _MAX_PUBLISH
        while True:
            busy, logged, moved = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if (not busy and moved >= logged) or time.monotonic() > deadline:
                return
            time.sleep(_PAUSE)

    def end(self) -> None:
        """End the session and close the connection; a second call does nothing."""
        if self._lease is not None:
            # A failure here only makes the next call check more.
            with contextlib.suppress(JournalError, sqlite3.Error, OSError):
                self._sign_off()
        self._release()
        # Closing moves the log into the file, or leaves that to others: nothing is lost if it fails.
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _sign_off(self) -> None:
        if self._main_id is not None and file_id(self._path) == self._main_id and not self._log.exists():
            # The log was deleted. What this connection still has of it can be saved: nobody can have begun another one.
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        integrity.check_in_place(self._path, self._log, self._main_id, self._log_id)
        with transaction(self._connection, self._path):
            sessions.end_session(self._connection, self.number)
            if not sessions.end_dead_sessions(self._connection, self._real_path, but=self.number):
                integrity.set_open(self._connection, is_open=False)

    def _release(self) -> None:
        lease, self._lease = self._lease, None
        if self._mark is not None:
            self._mark.close()
            self._mark = None
        if lease is not None:
            sessions.release_lease(lease, self.number)


class SqliteWriter:
    """Commits tasks in order, on a thread that is started with the first task and ended by `close`.

    Parameters
    ----------
    connection : sqlite3.Connection
    path : pathlib.Path
    session : Session
        Whose records are written; it ends when nothing will be written any more.
    begin : callable
        Called at the start of each transaction.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, session: Session, *, begin: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._path = path
        self._session = session
        self._begin = begin
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

    def close(self) -> JournalError | None:
        """Write what is left and end the thread; return the error if something is lost.

        The thread cleans up by itself, so an interrupt here leaves nothing behind; a second call waits again.
        """
        if os.getpid() != self._process:
            return None
        with self._lock:
            self._closed = True
            if self._thread is None:
                self._session.end()
                return None
            self._has_tasks.set()
            self._is_urgent.set()
        self._thread.join(CLOSE_TIMEOUT)
        if self._thread.is_alive():
            return JournalError(
                f"the journal {self._path} has accepted no writes for {CLOSE_TIMEOUT:g} s: is its disk available?"
            )
        return self.failure if self._unwritten else None

    def _put(self, task: Task) -> None:
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
                self._has_tasks.set()

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
                self._has_tasks.wait()
                self._is_urgent.wait(LINGER)
                with self._lock:
                    group, self._tasks = self._tasks, []
                    self._has_tasks.clear()
                    self._is_urgent.clear()
                    self._urgent_is_scheduled, closed = False, self._closed
                self._commit(group)
        finally:
            self._session.end()

    def _commit(self, group: list[Task]) -> None:
        # What could not be written before goes first: an answer is never behind a later claim of the same row.
        group = self._unwritten + group
        if not group:
            return
        try:
            with transaction(self._connection, self._path), translated(self._path):
                self._begin()
                results = [work() for work, _ in group]
                self._session.write_records()
        except Exception as exc:  # noqa: BLE001 - any error must reach whoever awaits the commit
            self._fail(group, exc, unwritten=group)
            return
        self._unwritten = []
        try:
            self._session.committed()
        except Exception as exc:  # noqa: BLE001 - as above
            self._fail(group, exc, unwritten=[])
        else:
            pairs = zip(group, results, strict=True)
            _notify([(future, result, None) for (_, future), result in pairs if future is not None])

    def _fail(self, group: list[Task], exc: Exception, *, unwritten: list[Task]) -> None:
        failure = exc if isinstance(exc, JournalError) else JournalError(f"the journal {self._path} failed: {exc!r}")
        if self.failure is None:
            logger.error("%s", failure)
        self.failure = failure
        self._unwritten = [task for task in unwritten if task[1] is None]
        _notify([(future, None, JournalError(str(failure))) for _, future in group if future is not None])


Result: TypeAlias = tuple[asyncio.Future[Any], Any, JournalError | None]
"""Who awaits a commit, the result of its work, and the error if it failed."""


def _notify(results: list[Result]) -> None:
    """Resolve the futures of each loop in one callback."""
    for loop in {future.get_loop() for future, _, _ in results}:
        of_loop = [result for result in results if result[0].get_loop() is loop]
        with contextlib.suppress(RuntimeError):  # a closed loop waits for nothing
            loop.call_soon_threadsafe(_resolve, of_loop)


def _resolve(results: list[Result]) -> None:
    for future, result, error in results:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
