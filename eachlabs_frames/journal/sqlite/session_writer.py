"""Writes the records of one session: each group of claims and responses in one durable transaction.

Owns what must hold around a commit; `group_writer` owns when it is made.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ...errors import JournalError
from ..group_writer import GroupWriter, Work
from . import integrity, sessions
from .database import Connection, transaction, translated
from .integrity import MarkWriter, file_id

_MAX_PUBLISH: Final = 1.0
_PAUSE: Final = 0.01


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


class SqliteWriter(GroupWriter):
    """Commits each group in one transaction; work is a callable that is called in it.

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
        super().__init__(str(path))
        self._connection = connection
        self._path = path
        self._session = session
        self._begin = begin

    def _write(self, group: Sequence[Work], results: list[Any]) -> None:
        with transaction(self._connection, self._path), translated(self._path):
            self._begin()
            done = [work() for work in group]
            self._session.write_records()
        results += done

    def _confirm(self) -> None:
        self._session.committed()

    def _end(self) -> None:
        self._session.end()
