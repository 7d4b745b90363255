"""Runs as they are stored: lists, loads and deletes them.

A run that cannot be read is listed with unknown rows, and can be deleted. Nothing here takes part in a run.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import orjson

from ...errors import JournalError, RunError
from ...inputs.fingerprints import SIZE
from ...models import PENDING, UNKNOWN, Json
from ...suggestions import MAX_COMPARED, hint
from ..base import RunContents, RunSpec, RunSummary
from ..records import NO_CLAIM, SENT, UNANSWERED, RunState, unpack_rows
from . import sessions
from .database import connect, reading
from .queries import read_labels, read_spec, snapshot, spec_of, state_of
from .sqlite_errors import damaged, translated
from .transactions import transaction

logger = logging.getLogger("eachlabs_frames")

_NO_SPEC: Final = RunSpec("", "", "")


def summaries(path: Path) -> list[RunSummary]:
    """Return every run of the journal, the newest first."""
    with reading(path) as connection, snapshot(connection):
        query = "SELECT id, name, pin, created_at FROM runs ORDER BY created_at DESC, id DESC"
        runs = connection.execute(query).fetchall()
        return [_summary(connection, path, *run) for run in runs]


def _summary(
    connection: sqlite3.Connection, path: Path, run: int, name: str, written: str, created_at: int
) -> RunSummary:
    spec = _NO_SPEC
    try:
        spec = read_spec(path, name, written)
        digests, state = state_of(connection, path, run)
    except JournalError as exc:
        logger.warning("the rows of run %r count as unknown, and it cannot be resumed: %s", name, exc)
        query = "SELECT coalesce(sum(size), 0) FROM sheets WHERE run = ?"
        rows: int = connection.execute(query, (run,)).fetchone()[0]
        return RunSummary(name, spec, created_at, {UNKNOWN: rows}, 0, 0.0)
    results = state.results
    counts = Counter(UNKNOWN if state.phases[row] == SENT else results.status[row] for row in _latest(digests, spec))
    cost = state.replaced_cost + sum(value for value in results.cost if value == value)
    return RunSummary(name, spec, created_at, counts, results.accepted + state.replaced, cost)


def _latest(digests: bytearray, spec: RunSpec) -> list[int]:
    """Return the rows that count: where rows have keys, the latest of each key."""
    size = len(digests) // SIZE
    if spec.key is None:
        return list(range(size))
    last = {bytes(digests[row * SIZE : (row + 1) * SIZE]): row for row in range(size)}
    return sorted(last.values())


def spec_of_run(path: Path, name: str) -> RunSpec | None:
    """Return a run's spec, or None where the journal has none of this name, or one without a row."""
    with reading(path) as connection:
        return spec_of(connection, path, name)


def load(path: Path, name: str) -> RunContents:
    """Return all of one run.

    Raises
    ------
    RunError
        There is no such run.
    """
    with reading(path) as connection, snapshot(connection):
        run, spec, names, note = _found(connection, path, name)
        digests, state = state_of(connection, path, run)
        query = "SELECT session, rows FROM records WHERE run = ? ORDER BY id"
        calls = first_calls(connection.execute(query, (run,)), state.results.size)
        labels: list[Json] = []
        inputs: list[Mapping[str, Json]] = []
        query = "SELECT labels, inputs FROM sheets WHERE run = ? ORDER BY first"
        for packed_labels, packed_inputs in connection.execute(query, (run,)):
            try:
                labels += read_labels(packed_labels)
                inputs += orjson.loads(packed_inputs)
            except ValueError as exc:
                raise damaged(path, f"inputs of run {name!r} cannot be read: {exc}") from exc
    keys = None
    if spec.key is not None:
        # A label is never a list by itself: one that is has its row's key beside it.
        pairs = [label if isinstance(label, list) else [label, None] for label in labels]
        labels, keys = [label for label, _ in pairs], [key for _, key in pairs]
    # With keys, the rows that are left out below are those.
    stale = relabelled(labels, calls) if spec.key is None else [False] * len(labels)
    loaded = RunContents(name, spec, names, labels, inputs, state, keys, is_superseded=stale)
    return _chosen(loaded, _latest(digests, spec), note)


def _chosen(loaded: RunContents, rows: list[int], note: str | None) -> RunContents:
    """Keep `rows`, and say of each row without an outcome why it has none."""
    whole = loaded.state
    for row in rows:
        if whole.phases[row] == SENT:
            whole.results.note(row, status=UNKNOWN, error=UNANSWERED)
        elif note is not None and whole.results.status[row] == PENDING:
            whole.results.note(row, error=f"not sent: {note}")
    loaded = replace(loaded, superseded=whole.replaced, superseded_cost=whole.replaced_cost)
    if len(rows) == whole.results.size:
        return loaded
    state = RunState(len(rows))
    for place, row in enumerate(rows):
        state.results.replace(whole.results.outcome(row)._replace(position=place))
    return replace(
        loaded,
        labels=[loaded.labels[row] for row in rows],
        is_superseded=[loaded.is_superseded[row] for row in rows],
        inputs=[loaded.inputs[row] for row in rows],
        state=state,
        keys=None if loaded.keys is None else [loaded.keys[row] for row in rows],
        superseded=loaded.superseded + whole.results.accepted - state.results.accepted,
        superseded_cost=loaded.superseded_cost + whole.results.paid()[0] - state.results.paid()[0],
    )


def _found(connection: sqlite3.Connection, path: Path, name: str) -> tuple[int, RunSpec, list[str | None], str | None]:
    query = "SELECT id, pin, index_names, note FROM runs WHERE name = ?"
    row: tuple[int, str, str, str | None] | None = connection.execute(query, (name,)).fetchone()
    if row is None:
        latest = connection.execute("SELECT name FROM runs ORDER BY created_at DESC LIMIT ?", (MAX_COMPARED,))
        near = hint(name, [other for (other,) in latest], listing="the latest are") or " (it holds none)"
        msg = f"there is no run {name!r} in the journal {path}{near}"
        raise RunError(msg)
    run, written, names, note = row
    return run, read_spec(path, name, written), json.loads(names), note


def first_calls(records: Iterable[tuple[int, bytes]], size: int) -> Sequence[int]:
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


def relabelled(labels: Sequence[Json], calls: Sequence[int]) -> list[bool]:
    """Return which rows have a label that a row of a later call has too. Within one call a label may occur twice."""
    latest: dict[str, int] = {}
    out = [False] * len(labels)
    for row in range(len(labels) - 1, -1, -1):
        if calls[row] != NO_CLAIM:
            label = json.dumps(labels[row])
            out[row] = calls[row] < latest.setdefault(label, calls[row])
    return out


def delete(path: Path, name: str) -> int:
    """Delete a run, and return how many rows it had.

    Raises
    ------
    RunError
        There is no such run, or a call is at work in it.
    """
    connection = connect(path)
    try:
        # What is deleted is overwritten with zeros.
        connection.execute("PRAGMA secure_delete = ON")
        with transaction(connection, path), translated(path):
            # Also a run that cannot be read can be deleted.
            row = connection.execute("SELECT id FROM runs WHERE name = ?", (name,)).fetchone()
            run: int = _found(connection, path, name)[0] if row is None else row[0]
            query = "SELECT id, process FROM sessions WHERE run = ? AND ended_at IS NULL"
            for session, process in connection.execute(query, (run,)).fetchall():
                if sessions.at_work(connection, path.resolve(), session):
                    msg = f"run {name!r} is in progress (in process {process}): stop it first"
                    raise RunError(msg)
            counted = connection.execute("SELECT coalesce(sum(size), 0) FROM sheets WHERE run = ?", (run,))
            rows: int = counted.fetchone()[0]
            # Numbers of records are never given twice.
            connection.execute("UPDATE journal SET floor = max(floor, coalesce((SELECT max(id) FROM records), 0))")
            connection.execute("DELETE FROM runs WHERE id = ?", (run,))
        _shrink(connection, path)
    finally:
        connection.close()
    return rows


def _shrink(connection: sqlite3.Connection, path: Path) -> None:
    """Give free pages back to the system, and leave nothing of what was deleted in the log.

    A file that others write to is not made smaller, for that would make them wait: its free pages are used again.
    """
    with suppress(JournalError), translated(path):
        if not sessions.others_at_work(connection, path.resolve(), but=0):
            connection.execute("VACUUM")
    busy = 1
    with suppress(JournalError), translated(path):
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        logger.warning(
            "part of the deleted data stays in %s-wal until every process that uses the journal has closed it", path
        )
