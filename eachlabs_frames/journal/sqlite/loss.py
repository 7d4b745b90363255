"""Continues with a journal that has lost records: rows that may have been sent count as perhaps sent.

Decides which rows these are. Sends and searches nothing: the next call of each run does.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from ...errors import JournalError
from ...models import FAILED, INVALID, MAX_BATCH
from ..records import CLAIM, NEW, RunState, pack_rows
from . import completeness, sessions
from .database import connect
from .queries import state_of
from .sqlite_errors import translated
from .transactions import transaction

_NO_SESSION = 0


def accept(path: Path) -> dict[str, int]:
    """Accept that records of the journal at `path` are gone; return the rows per run that now count as perhaps sent.

    Those are all rows without an execution that would be sent as new ones. They are claimed in groups of the size of a
    request, in their order, which is how most of them were sent. Where nothing is missing, nothing is changed.

    Raises
    ------
    JournalError
        The journal cannot be written, or a call is at work in it.
    """
    outside = completeness.evidence(path)
    connection = connect(path, incomplete=True)
    try:
        with transaction(connection, path), translated(path):
            found = completeness.state(connection)
            if completeness.missing(found, outside) is None:
                return {}
            _end_all(connection, path)
            claimed = _claim_all(connection, path, found.written + 1)
            # Another id: the old mark then speaks of another journal.
            connection.execute("UPDATE journal SET id = randomblob(16), is_open = 0")
    finally:
        connection.close()
    return claimed


def _end_all(connection: sqlite3.Connection, path: Path) -> None:
    query = "SELECT id, process FROM sessions WHERE ended_at IS NULL"
    for session, process in connection.execute(query).fetchall():
        if sessions.at_work(connection, path.resolve(), session, unproven=False):
            msg = f"the journal {path} is in use (by process {process}): stop that process, and try again"
            raise JournalError(msg)
        sessions.end(connection, session)


def _claim_all(connection: sqlite3.Connection, path: Path, number: int) -> dict[str, int]:
    """Claim the rows of every run that may have been sent since the last record that is left."""
    latest = connection.execute("SELECT max(at) FROM records").fetchone()[0] or 0
    until = str(time.time_ns()).encode()
    claimed: dict[str, int] = {}
    insert = "INSERT INTO records (id, run, session, kind, at, rows, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
    for run, name, created_at in connection.execute("SELECT id, name, created_at FROM runs ORDER BY id").fetchall():
        try:
            state = state_of(connection, path, run)[1]
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
