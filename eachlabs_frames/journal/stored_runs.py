"""Reads whole runs out of the tables: what a list of runs shows, and the rows of one.

A run that cannot be read is listed with unknown rows.
"""

from __future__ import annotations

import json
import logging
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import compress
from math import isnan
from typing import Final

from ..errors import JournalError, RunError
from ..inputs.fingerprints import SIZE
from ..models import PENDING, UNKNOWN, Json
from ..results import Results
from ..suggestions import MAX_COMPARED, hint
from .base import CapHint, InputsReader, RunContents, RunSpec, RunSummary
from .labels import read_labels
from .records import NEW, NO_CLAIM, SENT, UNANSWERED, RunState, unpack_rows
from .tables import Tables, read_inputs, read_spec, read_state

logger = logging.getLogger("eachlabs_frames")

_NO_SPEC: Final = RunSpec("", "", "")


def cap_hint(tables: Tables, account: str) -> CapHint | None:
    """Return what was last learned of an account's cap."""
    row = tables.execute("SELECT level, cap, at FROM caps WHERE account = ?", (account,)).fetchone()
    return None if row is None else CapHint(*row)


def summaries(tables: Tables) -> list[RunSummary]:
    """Return every run, the newest first."""
    query = "SELECT id, name, pin, created_at FROM runs ORDER BY created_at DESC, id DESC"
    return [_summary(tables, *run) for run in tables.execute(query).fetchall()]


def _summary(tables: Tables, run: int, name: str, stored: str, created_at: int) -> RunSummary:
    spec = _NO_SPEC
    try:
        spec = read_spec(tables, name, stored)
        digests, state = read_state(tables, run)
    except JournalError as exc:
        logger.warning("the rows of run %r count as unknown, and it cannot be resumed: %s", name, exc)
        query = "SELECT coalesce(sum(size), 0) FROM sheets WHERE run = ?"
        rows: int = tables.execute(query, (run,)).fetchone()[0]
        return RunSummary(name, spec, created_at, {UNKNOWN: rows}, 0, 0.0)
    results = state.results
    counts = Counter(
        UNKNOWN if state.phases[row] == SENT else results.status[row] for row in _latest(digests, spec, state)
    )
    cost = state.replaced_cost + sum(value for value in results.cost if value == value)
    unended = tables.execute("SELECT id FROM sessions WHERE run = ? AND ended_at IS NULL", (run,)).fetchall()
    workers = sum(tables.is_running(session) for (session,) in unended)
    return RunSummary(name, spec, created_at, counts, results.accepted + state.replaced, cost, workers)


def _latest(digests: bytearray, spec: RunSpec, state: RunState) -> Sequence[int]:
    """Return the rows that count: where rows have keys, the latest of each key that was sent, or else its latest."""
    size = len(digests) // SIZE
    if spec.key is None:
        return range(size)
    last: dict[bytes, int] = {}
    for row in range(size):
        digest = bytes(digests[row * SIZE : (row + 1) * SIZE])
        if digest not in last or state.phases[row] != NEW or state.phases[last[digest]] == NEW:
            last[digest] = row
    return sorted(last.values())


def load(tables: Tables, name: str, take: InputsReader | None = None) -> RunContents:
    """Return all rows of one run; see `Journal.load`.

    Raises
    ------
    RunError
        There is no such run.
    """
    run, spec, index_names, note = find(tables, name)
    digests, state = read_state(tables, run)
    query = "SELECT session, rows FROM records WHERE run = ? ORDER BY id"
    calls = _first_calls(tables.execute(query, (run,)), state.results.size)
    rows = _latest(digests, spec, state)
    labels: list[Json] = []
    inputs: list[dict[str, Json]] = []
    is_chosen = bytearray(state.results.size)
    for row in rows:
        is_chosen[row] = True
    query = "SELECT first, labels, inputs FROM sheets WHERE run = ? ORDER BY first"
    for first, stored_labels, stored_inputs in tables.execute(query, (run,)):
        try:
            labels += read_labels(stored_labels)
            chunk = list(compress(read_inputs(stored_inputs), is_chosen[first:]))
        except ValueError as exc:
            problem = f"inputs of run {name!r} cannot be read: {exc}"
            raise tables.damaged(problem) from exc
        inputs.extend(chunk) if take is None else take(chunk)
    keys = None
    if spec.key is not None:
        # A label is never a list by itself: one that is has its row's key beside it.
        pairs = [label if isinstance(label, list) else [label, None] for label in labels]
        labels, keys = [label for label, _ in pairs], [key for _, key in pairs]
    # In a run with keys, superseded rows are left out below.
    is_superseded = _is_superseded(labels, calls) if spec.key is None else [False] * len(labels)
    contents = RunContents(name, spec, index_names, labels, inputs, state, keys, is_superseded=is_superseded)
    return _select(contents, rows, note)


def _select(contents: RunContents, rows: Sequence[int], note: str | None) -> RunContents:
    """Keep `rows`, whose inputs are chosen, and say of each row without an outcome why it has none."""
    whole = contents.state
    for row in rows:
        if whole.phases[row] == SENT:
            whole.results.note(row, status=UNKNOWN, error=UNANSWERED)
        elif note is not None and whole.results.status[row] == PENDING:
            whole.results.note(row, error=f"not sent: {note}")
    contents = replace(
        contents,
        superseded=whole.replaced,
        superseded_cost=whole.replaced_cost,
        superseded_unknown=whole.replaced_unpriced,
    )
    if len(rows) == whole.results.size:
        return contents
    state = RunState(len(rows))
    for place, row in enumerate(rows):
        state.results.replace(whole.results.outcome(row)._replace(position=place))
    return replace(
        contents,
        labels=[contents.labels[row] for row in rows],
        is_superseded=[contents.is_superseded[row] for row in rows],
        state=state,
        keys=None if contents.keys is None else [contents.keys[row] for row in rows],
        superseded=contents.superseded + whole.results.accepted - state.results.accepted,
        superseded_cost=contents.superseded_cost + whole.results.paid()[0] - state.results.paid()[0],
        superseded_unknown=contents.superseded_unknown + _unpriced(whole.results) - _unpriced(state.results),
    )


def _unpriced(results: Results) -> int:
    """Return the number of executions whose cost is not known."""
    pairs = zip(results.execution_id, results.cost, strict=True)
    return sum(execution_id is not None and isnan(cost) for execution_id, cost in pairs)


def find(tables: Tables, name: str) -> tuple[int, RunSpec, list[str | None], str | None]:
    """Return the number of a run, its spec, the names of its index, and why rows were not sent.

    Raises
    ------
    RunError
        There is no such run.
    """
    query = "SELECT id, pin, index_names, note FROM runs WHERE name = ?"
    row: tuple[int, str, str, str | None] | None = tables.execute(query, (name,)).fetchone()
    if row is None:
        raise missing(tables, name)
    run, stored, index_names, note = row
    return run, read_spec(tables, name, stored), json.loads(index_names), note


def missing(tables: Tables, name: str) -> RunError:
    """Return the error for a run that does not exist."""
    latest = tables.execute("SELECT name FROM runs ORDER BY created_at DESC LIMIT ?", (MAX_COMPARED,)).fetchall()
    near = hint(name, [other for (other,) in latest], listing="the latest are") or " (it holds none)"
    return RunError(f"there is no run {name!r} in the journal {tables.where}{near}")


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
    out = [False] * len(labels)
    if len(set(calls) - {NO_CLAIM}) < 2:
        return out
    latest: dict[str, int] = {}
    for row in range(len(labels) - 1, -1, -1):
        if calls[row] != NO_CLAIM:
            label = json.dumps(labels[row])
            out[row] = calls[row] < latest.setdefault(label, calls[row])
    return out
