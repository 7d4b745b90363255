"""Implements `Journal` on one SQLite file. A help that is only read, such as past costs, never creates the file.

A run that cannot be read is listed with unknown rows, and can be deleted. `history` answers questions about all runs.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...errors import JournalError, RunError
from ...models import FAILED, INVALID, MAX_BATCH, SettledExecution
from .. import history, settlements, stored_runs
from ..base import CapHint, InputsReader, RecentRun, RunContents, RunSpec, RunSummary
from ..records import CLAIM, NEW, RunState, pack_rows
from ..tables import read_state, spec_of
from ..upload_queue import read_references, read_uploads
from ..upload_records import UploadRecord
from . import integrity, sessions
from .database import FileTables, connect, reading_tables, transaction, translated
from .run_journal import SqliteRunJournal
from .upload_journal import SqliteUploadJournal

logger = logging.getLogger("eachlabs_frames")

_NO_SESSION: Final = 0


@dataclass(frozen=True, slots=True)
class SqliteJournal:
    """The `Journal` in the file at `path`; each method opens and closes it."""

    path: Path

    def exists(self) -> bool:
        return self.path.exists()

    def open(self, run: str) -> SqliteRunJournal:
        return SqliteRunJournal(self.path, run)

    def summaries(self) -> list[RunSummary]:
        with reading_tables(self.path) as tables:
            return stored_runs.summaries(tables)

    def load(self, run: str, take: InputsReader | None = None) -> RunContents:
        with reading_tables(self.path) as tables:
            return stored_runs.load(tables, run, take)

    def delete(self, run: str) -> int:
        with closing(connect(self.path)) as connection:
            # What is deleted is overwritten with zeros.
            connection.execute("PRAGMA secure_delete = ON")
            with transaction(connection, self.path), translated(self.path):
                rows = _delete(connection, self.path, run)
            _shrink(connection, self.path)
        return rows

    def accept_loss(self) -> dict[str, int]:
        # Rows that may have been sent: all without an execution that would be sent as new ones. They are claimed in
        # groups of the size of a request, in their order, which is how most of them were sent.
        mark, has_log = integrity.evidence(self.path)
        with (
            closing(connect(self.path, incomplete=True)) as connection,
            transaction(connection, self.path),
            translated(self.path),
        ):
            if integrity.describe_loss(connection, mark, has_log=has_log) is None:
                return {}
            _end_sessions(connection, self.path)
            *_, written = integrity.read_state(connection)
            # Another id: the old mark then belongs to another journal.
            connection.execute("UPDATE journal SET id = randomblob(16), is_open = 0")
            return _claim_all(connection, self.path, written + 1)

    def spec_of(self, run: str) -> RunSpec | None:
        if not self.exists():
            return None
        with reading_tables(self.path) as tables:
            return spec_of(tables, run)

    def runs_of_ids(self, ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
        with reading_tables(self.path) as tables:
            return history.runs_of_ids(tables, ids)

    def workflow_ids(self, base_url: str) -> list[str]:
        if not self.exists():
            return []
        with reading_tables(self.path) as tables:
            return history.workflow_ids(tables, base_url)

    def settled(
        self, workflow_id: str, version_id: str | None, base_url: str, *, inputs: bool
    ) -> list[SettledExecution]:
        if not self.exists():
            return []
        with reading_tables(self.path) as tables:
            return settlements.read(tables, workflow_id, version_id, base_url, inputs=inputs)

    def recent_runs(self, spec: RunSpec, since: int, *, without: str | None = None) -> list[RecentRun]:
        if not self.exists():
            return []
        with reading_tables(self.path) as tables:
            return history.recent_runs(tables, spec, since, without=without)

    def last_sent(self, run: str) -> float | None:
        with reading_tables(self.path) as tables:
            return history.last_sent(tables, run)

    def workers(self, run: str) -> dict[str, str]:
        if not self.exists():
            return {}
        with reading_tables(self.path) as tables:
            return history.workers(tables, run)

    def cap_hint(self, account: str) -> CapHint | None:
        if not self.exists():
            return None
        with reading_tables(self.path) as tables:
            return stored_runs.cap_hint(tables, account)

    def record_cap_hint(self, account: str, hint: CapHint | None) -> None:
        with closing(connect(self.path)) as connection, transaction(connection, self.path), translated(self.path):
            if hint is None:
                connection.execute("DELETE FROM caps WHERE account = ?", (account,))
            else:
                values = (account, hint.level, hint.cap, hint.at)
                connection.execute("INSERT OR REPLACE INTO caps (account, level, cap, at) VALUES (?, ?, ?, ?)", values)

    def file_references(self) -> dict[str, str]:
        if not self.exists():
            return {}
        with reading_tables(self.path) as tables:
            return read_references(tables)

    def uploads(self, account: str) -> list[UploadRecord]:
        if not self.exists():
            return []
        with reading_tables(self.path) as tables:
            return read_uploads(tables, account)

    def open_uploads(self, account: str) -> SqliteUploadJournal:
        return SqliteUploadJournal(self.path, account)


# -- deleting ---------------------------------------------------------------------------------------------------------


def _delete(connection: sqlite3.Connection, path: Path, name: str) -> int:
    # A run that cannot be read can be deleted too.
    tables = FileTables(connection, path)
    row = connection.execute("SELECT id FROM runs WHERE name = ?", (name,)).fetchone()
    run: int = stored_runs.find(tables, name)[0] if row is None else row[0]
    query = "SELECT id, process FROM sessions WHERE run = ? AND ended_at IS NULL"
    for session, process in connection.execute(query, (run,)).fetchall():
        if sessions.is_running(connection, path.resolve(), session):
            msg = f"run {name!r} is in progress (in process {process}): stop it first"
            raise RunError(msg)
    rows: int = connection.execute("SELECT coalesce(sum(size), 0) FROM sheets WHERE run = ?", (run,)).fetchone()[0]
    # Numbers of records are never used twice.
    connection.execute("UPDATE journal SET floor = max(floor, coalesce((SELECT max(id) FROM records), 0))")
    connection.execute("DELETE FROM runs WHERE id = ?", (run,))
    return rows


def _shrink(connection: sqlite3.Connection, path: Path) -> None:
    """Give free pages back to the system, and leave nothing of what was deleted in the log.

    A file that others write to is not made smaller, for that would make them wait: its free pages are used again.
    """
    with suppress(JournalError), translated(path):
        if not sessions.others_running(connection, path.resolve(), but=0):
            connection.execute("VACUUM")
    busy = 1
    with suppress(JournalError), translated(path):
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        logger.warning(
            "part of the deleted data stays in %s-wal until every process that uses the journal has closed it", path
        )


# -- lost records -----------------------------------------------------------------------------------------------------


def _end_sessions(connection: sqlite3.Connection, path: Path) -> None:
    query = "SELECT id, process FROM sessions WHERE ended_at IS NULL"
    for session, process in connection.execute(query).fetchall():
        if sessions.is_running(connection, path.resolve(), session, unproven=False):
            msg = f"the journal {path} is in use (by process {process}): stop that process, and try again"
            raise JournalError(msg)
        sessions.end_session(connection, session)


def _claim_all(connection: sqlite3.Connection, path: Path, number: int) -> dict[str, int]:
    """Claim the rows of every run that may have been sent since the last record that is left."""
    latest = connection.execute("SELECT max(at) FROM records").fetchone()[0] or 0
    until = str(time.time_ns()).encode()
    claimed: dict[str, int] = {}
    tables = FileTables(connection, path)
    insert = "INSERT INTO records (id, run, session, kind, at, rows, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
    for run, name, created_at in connection.execute("SELECT id, name, created_at FROM runs ORDER BY id").fetchall():
        try:
            state = read_state(tables, run)[1]
        except JournalError:
            continue  # a run that cannot be read is never continued
        rows = [row for row in range(state.results.size) if _may_have_been_sent(state, row)]
        for start in range(0, len(rows), MAX_BATCH):
            packed = pack_rows(rows[start : start + MAX_BATCH])
            connection.execute(insert, (number, run, _NO_SESSION, CLAIM, max(latest, created_at), packed, until))
            number += 1
        if rows:
            claimed[name] = len(rows)
    return claimed


def _may_have_been_sent(state: RunState, row: int) -> bool:
    status = state.results.status[row]
    return (state.phases[row] == NEW and status != INVALID) or (
        status == FAILED and state.results.execution_id[row] is None
    )
