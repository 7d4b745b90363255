"""Implements `Journal` on one SQLite file. A help that is only read, such as past costs, never creates the file.

A run that cannot be read is listed with unknown rows, and can be deleted. `history` answers questions about all runs.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson

from ...errors import JournalError, RunError
from ...inputs.fingerprints import SIZE
from ...models import FAILED, INVALID, MAX_BATCH, PENDING, UNKNOWN, Json, SettledExecution
from ...suggestions import MAX_COMPARED, hint
from ..base import CapHint, RecentRun, RunContents, RunSpec, RunSummary
from ..records import CLAIM, NEW, NO_CLAIM, SENT, UNANSWERED, RunState, pack_rows, unpack_rows
from ..upload_records import UploadRecord
from . import history, integrity, sessions, settlements
from .database import connect, reading, snapshot, transaction, translated
from .integrity import damaged
from .run_journal import SqliteRunJournal
from .run_tables import read_labels, read_spec, read_state, spec_of
from .upload_journal import SqliteUploadJournal, read_references, read_uploads

logger = logging.getLogger("eachlabs_frames")

_NO_SPEC: Final = RunSpec("", "", "")
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
        with reading(self.path) as connection, snapshot(connection):
            query = "SELECT id, name, pin, created_at FROM runs ORDER BY created_at DESC, id DESC"
            return [_summary(connection, self.path, *run) for run in connection.execute(query).fetchall()]

    def load(self, run: str) -> RunContents:
        with reading(self.path) as connection, snapshot(connection):
            return _load(connection, self.path, run)

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
        with reading(self.path) as connection:
            return spec_of(connection, self.path, run)

    def runs_of_ids(self, ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
        return history.runs_of_ids(self.path, ids)

    def workflow_ids(self, base_url: str) -> list[str]:
        return history.workflow_ids(self.path, base_url) if self.exists() else []

    def settled(
        self, workflow_id: str, version_id: str | None, base_url: str, *, inputs: bool
    ) -> list[SettledExecution]:
        if not self.exists():
            return []
        return settlements.read(self.path, workflow_id, version_id, base_url, inputs=inputs)

    def recent_runs(self, spec: RunSpec, since: int, *, without: str | None = None) -> list[RecentRun]:
        return history.recent_runs(self.path, spec, since, without=without) if self.exists() else []

    def last_sent(self, run: str) -> float | None:
        return history.last_sent(self.path, run)

    def workers(self, run: str) -> dict[str, str]:
        return history.workers(self.path, run) if self.exists() else {}

    def cap_hint(self, account: str) -> CapHint | None:
        if not self.exists():
            return None
        with reading(self.path) as connection:
            row = connection.execute("SELECT level, cap, at FROM caps WHERE account = ?", (account,)).fetchone()
        return None if row is None else CapHint(*row)

    def record_cap_hint(self, account: str, hint: CapHint | None) -> None:
        with closing(connect(self.path)) as connection, transaction(connection, self.path), translated(self.path):
            if hint is None:
                connection.execute("DELETE FROM caps WHERE account = ?", (account,))
            else:
                values = (account, hint.level, hint.cap, hint.at)
                connection.execute("INSERT OR REPLACE INTO caps (account, level, cap, at) VALUES (?, ?, ?, ?)", values)

    def file_references(self) -> dict[str, str]:
        return read_references(self.path) if self.exists() else {}

    def uploads(self, account: str) -> list[UploadRecord]:
        return read_uploads(self.path, account) if self.exists() else []

    def open_uploads(self, account: str) -> SqliteUploadJournal:
        return SqliteUploadJournal(self.path, account)


# -- reading ----------------------------------------------------------------------------------------------------------


def _summary(
    connection: sqlite3.Connection, path: Path, run: int, name: str, stored: str, created_at: int
) -> RunSummary:
    spec = _NO_SPEC
    try:
        spec = read_spec(path, name, stored)
        digests, state = read_state(connection, path, run)
    except JournalError as exc:
        logger.warning("the rows of run %r count as unknown, and it cannot be resumed: %s", name, exc)
        query = "SELECT coalesce(sum(size), 0) FROM sheets WHERE run = ?"
        rows: int = connection.execute(query, (run,)).fetchone()[0]
        return RunSummary(name, spec, created_at, {UNKNOWN: rows}, 0, 0.0)
    results = state.results
    counts = Counter(
        UNKNOWN if state.phases[row] == SENT else results.status[row] for row in _latest(digests, spec, state)
    )
    cost = state.replaced_cost + sum(value for value in results.cost if value == value)
    workers = sessions.count_running(connection, path.resolve(), run)
    return RunSummary(name, spec, created_at, counts, results.accepted + state.replaced, cost, workers)


def _latest(digests: bytearray, spec: RunSpec, state: RunState) -> list[int]:
    """Return the rows that count: where rows have keys, the latest of each key that was sent, or else its latest."""
    size = len(digests) // SIZE
    if spec.key is None:
        return list(range(size))
    last: dict[bytes, int] = {}
    for row in range(size):
        digest = bytes(digests[row * SIZE : (row + 1) * SIZE])
        if digest not in last or state.phases[row] != NEW or state.phases[last[digest]] == NEW:
            last[digest] = row
    return sorted(last.values())


def _load(connection: sqlite3.Connection, path: Path, name: str) -> RunContents:
    run, spec, index_names, note = _find(connection, path, name)
    digests, state = read_state(connection, path, run)
    query = "SELECT session, rows FROM records WHERE run = ? ORDER BY id"
    calls = _first_calls(connection.execute(query, (run,)), state.results.size)
    labels: list[Json] = []
    inputs: list[Mapping[str, Json]] = []
    query = "SELECT labels, inputs FROM sheets WHERE run = ? ORDER BY first"
    for stored_labels, stored_inputs in connection.execute(query, (run,)):
        try:
            labels += read_labels(stored_labels)
            inputs += orjson.loads(stored_inputs)
        except ValueError as exc:
            raise damaged(path, f"inputs of run {name!r} cannot be read: {exc}") from exc
    keys = None
    if spec.key is not None:
        # A label is never a list by itself: one that is has its row's key beside it.
        pairs = [label if isinstance(label, list) else [label, None] for label in labels]
        labels, keys = [label for label, _ in pairs], [key for _, key in pairs]
    # In a run with keys, superseded rows are left out below.
    is_superseded = _is_superseded(labels, calls) if spec.key is None else [False] * len(labels)
    contents = RunContents(name, spec, index_names, labels, inputs, state, keys, is_superseded=is_superseded)
    return _select(contents, _latest(digests, spec, state), note)


def _select(contents: RunContents, rows: list[int], note: str | None) -> RunContents:
    """Keep `rows`, and say of each row without an outcome why it has none."""
    whole = contents.state
    for row in rows:
        if whole.phases[row] == SENT:
            whole.results.note(row, status=UNKNOWN, error=UNANSWERED)
        elif note is not None and whole.results.status[row] == PENDING:
            whole.results.note(row, error=f"not sent: {note}")
    contents = replace(contents, superseded=whole.replaced, superseded_cost=whole.replaced_cost)
    if len(rows) == whole.results.size:
        return contents
    state = RunState(len(rows))
    for place, row in enumerate(rows):
        state.results.replace(whole.results.outcome(row)._replace(position=place))
    return replace(
        contents,
        labels=[contents.labels[row] for row in rows],
        is_superseded=[contents.is_superseded[row] for row in rows],
        inputs=[contents.inputs[row] for row in rows],
        state=state,
        keys=None if contents.keys is None else [contents.keys[row] for row in rows],
        superseded=contents.superseded + whole.results.accepted - state.results.accepted,
        superseded_cost=contents.superseded_cost + whole.results.paid()[0] - state.results.paid()[0],
    )


def _find(connection: sqlite3.Connection, path: Path, name: str) -> tuple[int, RunSpec, list[str | None], str | None]:
    query = "SELECT id, pin, index_names, note FROM runs WHERE name = ?"
    row: tuple[int, str, str, str | None] | None = connection.execute(query, (name,)).fetchone()
    if row is None:
        latest = connection.execute("SELECT name FROM runs ORDER BY created_at DESC LIMIT ?", (MAX_COMPARED,))
        near = hint(name, [other for (other,) in latest], listing="the latest are") or " (it holds none)"
        msg = f"there is no run {name!r} in the journal {path}{near}"
        raise RunError(msg)
    run, stored, index_names, note = row
    return run, read_spec(path, name, stored), json.loads(index_names), note


def _first_calls(records: Iterable[tuple[int, bytes]], size: int) -> Sequence[int]:
    """Return the session that was the first to write something about each row; `NO_CLAIM` where none has.

    Parameters
    ----------
    records : iterable of (int, bytes)
        The session and the packed rows of each record, in their order.
    size : int
        Rows of the run.
    """
    calls = array("q", [NO_CLAIM]) * size
    for session, packed in records:
        for row in unpack_rows(packed):
            if calls[row] == NO_CLAIM:
                calls[row] = session
    return calls


def _is_superseded(labels: Sequence[Json], calls: Sequence[int]) -> list[bool]:
    """Return which rows have a label that a row of a later call has too. Within one call a label may occur twice."""
    latest: dict[str, int] = {}
    out = [False] * len(labels)
    for row in range(len(labels) - 1, -1, -1):
        if calls[row] != NO_CLAIM:
            label = json.dumps(labels[row])
            out[row] = calls[row] < latest.setdefault(label, calls[row])
    return out


# -- deleting ---------------------------------------------------------------------------------------------------------


def _delete(connection: sqlite3.Connection, path: Path, name: str) -> int:
    # A run that cannot be read can be deleted too.
    row = connection.execute("SELECT id FROM runs WHERE name = ?", (name,)).fetchone()
    run: int = _find(connection, path, name)[0] if row is None else row[0]
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
    insert = "INSERT INTO records (id, run, session, kind, at, rows, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
    for run, name, created_at in connection.execute("SELECT id, name, created_at FROM runs ORDER BY id").fetchall():
        try:
            state = read_state(connection, path, run)[1]
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
