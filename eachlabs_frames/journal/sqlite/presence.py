"""One session's presence in a journal: its lease, its slot in the mark, and the checks before each of its commits.

Owns what must hold around a commit so that others can tell that the session is running, and that no record was lost.
Knows nothing of rows.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...errors import JournalError
from . import completeness, leases, sessions
from .file_identity import FileIdentity
from .mark import MarkWriter
from .sqlite_errors import translated
from .transactions import transaction

if TYPE_CHECKING:
    from .database import Connection

logger = logging.getLogger("eachlabs_frames")

_MAX_PUBLISH: Final = 1.0
_PAUSE: Final = 0.01


class Presence:
    """The presence of one session; `begin`, `check` and `next_number` are called inside a write transaction."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._shared = path.resolve()
        self._stamp = FileIdentity.of(path)
        self._hold: leases.Lease | None = None
        self._mark: MarkWriter | None = None
        self._written = 0
        self._uncommitted = 0

    def begin(self, run: int) -> int:
        """Begin a session in a run; return its number."""
        self._release()
        session = self._connection.session = sessions.begin(self._connection, run)
        # Before the session is visible: a process that deletes the run must see that it is running.
        self._hold = leases.hold(self._shared, session)
        found = completeness.state(self._connection)
        self._written = found.written
        self._mark = MarkWriter(self._path, found.id, session)
        self._mark.open(found.written)
        completeness.set_open(self._connection, is_open=True)
        return session

    def at_work(self, session: int) -> bool:
        """Return whether a session is running, or may be."""
        return sessions.at_work(self._connection, self._shared, session)

    def shares(self, run: int) -> bool:
        """Return whether another session is running in a run."""
        return sessions.others_at_work(self._connection, self._shared, but=self._connection.session, run=run)

    def check(self) -> None:
        """Check that the files are in place, and replace a lease or a mark that was deleted.

        Raises
        ------
        JournalError
            The main file or its log was moved, deleted or replaced.
        """
        self._uncommitted = 0
        self._stamp.check()
        if self._hold is not None and self._mark is not None:
            self._hold = leases.renewed(self._shared, self._hold)
            self._mark.open(self._written)

    def next_number(self) -> int:
        """Return the number of the next record.

        Raises
        ------
        JournalError
            The journal holds fewer records than this session has seen.
        """
        written = completeness.state(self._connection).written
        if written < self._written:
            what = f"it holds {written} record(s), and held {self._written} a moment ago"
            raise completeness.incomplete(self._path, what)
        return written + 1

    def note(self, number: int) -> None:
        """Remember the last record of this transaction, for the mark."""
        self._uncommitted = number

    def committed(self) -> None:
        """Write to the mark what was committed; call this before anybody relies on the commit."""
        if self._uncommitted and self._mark is not None:
            self._written, self._uncommitted = self._uncommitted, 0
            with translated(self._path):
                self._mark.write(self._written)

    def publish(self) -> None:
        """Bring the main file up to date, so that it says by itself that it is open.

        The log is then begun again in place: a claim takes half the time where no file has to grow. A reader that
        stands in the way for long is not waited for: the mark tells the same.
        """
        deadline = time.monotonic() + _MAX_PUBLISH
        while True:
            busy, logged, moved = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if (not busy and moved >= logged) or time.monotonic() > deadline:
                return
            time.sleep(_PAUSE)

    def end(self) -> None:
        """End the session and close the connection; a second call does nothing."""
        if self._hold is not None:
            # A failure here only makes the next call check more.
            with contextlib.suppress(JournalError, sqlite3.Error, OSError):
                self._sign_off()
        self._release()
        # Closing moves the log into the file, or leaves that to others: nothing is lost if it fails.
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _sign_off(self) -> None:
        if self._stamp.lost_log():
            # What this connection still has of it can be saved, for nobody can have begun another one.
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._stamp.check()
        with transaction(self._connection, self._path):
            sessions.end(self._connection, self._connection.session)
            if not sessions.end_dead(self._connection, self._shared, but=self._connection.session):
                completeness.set_open(self._connection, is_open=False)

    def _release(self) -> None:
        hold, self._hold = self._hold, None
        if self._mark is not None:
            self._mark.close()
            self._mark = None
        if hold is not None:
            leases.release(hold)
