"""Answers questions about all runs: which run an id belongs to, what executions cost, what was sent lately.

Only reads; a run that cannot be read is left out. Whether a row is sent is decided elsewhere.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np

from ...errors import JournalError
from ...inputs.fingerprints import SIZE
from ...inputs.repeats import pack
from ...models import COMPLETED, UNKNOWN
from ...suggestions import MAX_COMPARED
from ..base import RecentRun, RunSpec
from ..records import ANSWER, CLAIM, UPDATE, ids_of, unpack_outcomes, unpack_rows
from .database import reading
from .lost_requests import CLOCK_STEP
from .queries import UNREADABLE, digests_of, read_spec, snapshot, state_of
from .sessions import at_work

logger = logging.getLogger("eachlabs_frames")

MIN_COSTS: Final = 100
"""Executions whose costs are enough to estimate the next: a page of the API's listing, because prices change."""

MAX_SESSIONS: Final = 100
"""Sessions of a run that are asked whether they are at work, the newest first."""

NOTHING, UNANSWERED, ACCEPTED = range(3)


def runs_of_ids(path: Path, ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
    """Return the run that each of these bulk operations or executions belongs to, of those that the journal knows."""
    runs: dict[str, tuple[str, RunSpec]] = {}
    with reading(path) as connection, snapshot(connection):
        query = "SELECT run, body FROM records WHERE kind = ? ORDER BY id DESC"
        for run, body in connection.execute(query, (ANSWER,)):
            here: set[str] = set()
            with suppress(*UNREADABLE):
                here = ids_of(body) & ids
            for known_id in here - runs.keys():
                name, written = connection.execute("SELECT name, pin FROM runs WHERE id = ?", (run,)).fetchone()
                runs[known_id] = name, read_spec(path, name, written)
            if len(runs) == len(ids):
                break
    return runs


def workflow_ids(path: Path, base_url: str) -> list[str]:
    """Return the workflows of the newest runs on that server, each once."""
    workflows: dict[str, None] = {}
    with reading(path) as connection:
        query = "SELECT name, pin FROM runs ORDER BY id DESC LIMIT ?"
        for name, written in connection.execute(query, (MAX_COMPARED,)):
            with suppress(JournalError):
                spec = read_spec(path, name, written)
                if spec.base_url == base_url:
                    workflows[spec.workflow_id] = None
    return list(workflows)


def costs(path: Path, workflow_id: str, base_url: str) -> list[float]:
    """Return what completed executions of a workflow on that server have cost, in USD: those of its newest runs.

    What cost nothing is no measure of what the next one costs: it may have been a credit or a cache.
    """
    values: list[float] = []
    with reading(path) as connection, snapshot(connection):
        query = "SELECT id, name, pin FROM runs ORDER BY id DESC"
        for run, name, written in connection.execute(query).fetchall():
            try:
                spec = read_spec(path, name, written)
                if (spec.workflow_id, spec.base_url) != (workflow_id, base_url):
                    continue
                results = state_of(connection, path, run)[1].results
            except JournalError:
                continue  # other runs tell what an execution costs, too
            pairs = zip(results.status, results.cost, strict=True)
            values += [cost for status, cost in pairs if status == COMPLETED and cost > 0]
            if len(values) >= MIN_COSTS:
                break
    return values


def recent_runs(path: Path, spec: RunSpec, since: int, *, without: str | None = None) -> list[RecentRun]:
    """Return what was sent since `since` (epoch ns) by other runs of the same workflow, version, server and mapping.

    Parameters
    ----------
    path : pathlib.Path
    spec : RunSpec
        What the other runs have to agree with; by which key they know their rows does not matter.
    since : int
    without : str, optional
        A run that is left out.

    Returns
    -------
    list of RecentRun
        The newest first.

    Raises
    ------
    JournalError
        The journal cannot be read.
    """
    with reading(path) as connection:
        connection.execute("BEGIN")
        runs = [_read(connection, path, *run, since) for run in _matching(connection, spec, since, without)]
        connection.execute("COMMIT")
    return [run for run in runs if run is not None]


def last_sent(path: Path, name: str) -> float | None:
    """Return when the run `name` last sent a row, or got an answer (epoch seconds); None where it never did.

    Raises
    ------
    JournalError
        The journal cannot be read.
    """
    query = "SELECT MAX(at) FROM records WHERE run = (SELECT id FROM runs WHERE name = ?) AND kind IN (?, ?)"
    with reading(path) as connection:
        (at,) = connection.execute(query, (name, CLAIM, ANSWER)).fetchone()
    return None if at is None else at / 10**9


def _matching(
    connection: sqlite3.Connection, spec: RunSpec, since: int, without: str | None
) -> list[tuple[int, str, str | None]]:
    query = "SELECT id, name, pin FROM runs WHERE instr(pin, ?) OR instr(pin, ?) ORDER BY id DESC"
    latest = "SELECT at FROM records WHERE run = ? ORDER BY id DESC LIMIT 1"
    matching: list[tuple[int, str, str | None]] = []
    # The text narrows the runs down before any of them is decoded.
    texts = json.dumps(spec.workflow_id), json.dumps(spec.version_id)
    for run, name, written in connection.execute(query, texts).fetchall():
        try:
            other = RunSpec(**json.loads(written))
        except UNREADABLE:
            continue  # that run cannot be gone on with either, and says so itself
        last = connection.execute(latest, (run,)).fetchone()
        # A clock may have been set back since: the records themselves are compared exactly.
        if name != without and _agrees(other, spec) and last is not None and last[0] >= since - CLOCK_STEP:
            matching.append((run, name, other.key))
    return matching


def _agrees(spec: RunSpec, other: RunSpec) -> bool:
    names = ("version_id", "base_url", "inputs", "na")
    if any(getattr(spec, name) != getattr(other, name) for name in names):
        return False
    # A workflow may be called by its ID or by its slug. A version's UUID belongs to one workflow only.
    return spec.workflow_id == other.workflow_id or _is_uuid(spec.version_id)


def _is_uuid(version_id: str) -> bool:
    try:
        UUID(version_id)
    except ValueError:
        return False
    return True


def _read(
    connection: sqlite3.Connection, path: Path, run: int, name: str, key: str | None, since: int
) -> RecentRun | None:
    try:
        _, contents = digests_of(connection, path, run)
    except JournalError as exc:
        logger.warning("run %r is left out of the comparison with what was sent before: %s", name, exc)
        return None
    inputs = pack(contents)
    states = np.zeros(len(contents) // SIZE, dtype=np.int8)
    latest = _replay(connection, run, states, since)
    if _is_at_work(connection, path, run):
        states[states == NOTHING] = UNANSWERED
    if not states.any() or not latest:
        return None
    return RecentRun(name, key, latest, inputs[states == ACCEPTED], inputs[states == UNANSWERED])


def _replay(connection: sqlite3.Connection, run: int, states: np.ndarray[Any, np.dtype[np.int8]], since: int) -> int:
    """Write into `states` what was sent of each row; return when a row was last sent, 0 for never."""
    latest = 0
    query = "SELECT id, kind, at, rows, body FROM records WHERE run = ? AND kind <> ? AND at >= ? ORDER BY id"
    for number, kind, at, packed, body in connection.execute(query, (run, UPDATE, since)):
        try:
            if _apply(kind, packed, body, states):
                latest = max(latest, at)
        except UNREADABLE as exc:
            # A row whose answer cannot be read stays as its claim left it: perhaps billed.
            logger.warning("record %d of the journal cannot be read, and is left out: %s", number, exc)
    return latest


def _apply(kind: int, packed: bytes, body: bytes, states: np.ndarray[Any, np.dtype[np.int8]]) -> bool:
    """Write into `states` what one record says; return whether a row was sent or accepted."""
    rows = unpack_rows(packed)
    if kind == CLAIM:
        sent = np.asarray(rows)
        states[sent] = np.maximum(states[sent], UNANSWERED)
        return True
    was_accepted = False
    for outcome in unpack_outcomes(rows, body) if kind == ANSWER else ():
        row, before = outcome.position, states[outcome.position]
        if outcome.execution_id is not None:
            states[row] = ACCEPTED
            was_accepted = True
        elif before == UNANSWERED and outcome.status != UNKNOWN:
            states[row] = NOTHING  # given back, or refused: nothing was created
    return was_accepted


def _is_at_work(connection: sqlite3.Connection, path: Path, run: int) -> bool:
    """Say whether a call is at work in the run: rows that it has not sent yet are about to be."""
    query = "SELECT id FROM sessions WHERE run = ? ORDER BY id DESC LIMIT ?"
    listed = connection.execute(query, (run, MAX_SESSIONS)).fetchall()
    shared = path.resolve()
    # Where nothing proves it, only what was claimed counts as sent.
    return any(at_work(connection, shared, session, unproven=False) for (session,) in listed)
