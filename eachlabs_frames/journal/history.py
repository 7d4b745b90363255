"""Reads the records of all runs: which run an id belongs to, and what was sent lately.

Only reads; a run that cannot be read is left out. Whether a row is sent is decided elsewhere.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import numpy as np

from ..errors import JournalError
from ..inputs.fingerprints import SIZE, pack
from ..models import UNKNOWN
from ..suggestions import MAX_COMPARED
from .base import RecentRun, RunSpec
from .records import ANSWER, CLAIM, NANO, UPDATE, bulk_id_of, ids_of, unpack_outcomes, unpack_rows
from .tables import UNREADABLE, Tables, read_digests, read_spec

logger = logging.getLogger("eachlabs_frames")

MAX_SESSIONS: Final = 100
"""Sessions of a run that are tested for whether they are running, the newest first."""

CLOCK_STEP: Final = 300 * NANO
"""By how much a machine's clock may have been set back between two records."""

NOT_SENT, UNANSWERED, ACCEPTED = range(3)


def runs_of_ids(tables: Tables, ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
    """Return the run that each of these bulk operations or executions belongs to, of those that the journal knows."""
    runs: dict[str, tuple[str, RunSpec]] = {}
    query = "SELECT run, body FROM records WHERE kind = ? ORDER BY id DESC"
    for run, body in tables.execute(query, (ANSWER,)):
        matches: set[str] = set()
        with suppress(*UNREADABLE):
            matches = ids_of(body) & ids
        for match in matches - runs.keys():
            name, stored = tables.execute("SELECT name, pin FROM runs WHERE id = ?", (run,)).fetchone()
            runs[match] = name, read_spec(tables, name, stored)
        if len(runs) == len(ids):
            break
    return runs


def workflow_ids(tables: Tables, base_url: str) -> list[str]:
    """Return the workflows of the newest runs on that server, each once."""
    workflows: dict[str, None] = {}
    query = "SELECT name, pin FROM runs ORDER BY id DESC LIMIT ?"
    for name, stored in tables.execute(query, (MAX_COMPARED,)):
        with suppress(JournalError):
            spec = read_spec(tables, name, stored)
            if spec.base_url == base_url:
                workflows[spec.workflow_id] = None
    return list(workflows)


def recent_runs(tables: Tables, spec: RunSpec, since: int, *, without: str | None = None) -> list[RecentRun]:
    """Return what other runs of the same workflow, version, server and mapping have sent since `since` (epoch ns).

    Parameters
    ----------
    tables : Tables
    spec : RunSpec
        What the other runs have in common with this one, apart from the key.
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
    runs = [_read(tables, *run, since) for run in _matching(tables, spec, since, without)]
    return [run for run in runs if run is not None]


def last_sent(tables: Tables, name: str) -> float | None:
    """Return when the run `name` last sent a row or got a response (epoch seconds); None if it never did.

    Raises
    ------
    JournalError
        The journal cannot be read.
    """
    query = "SELECT MAX(at) FROM records WHERE run = (SELECT id FROM runs WHERE name = ?) AND kind IN (?, ?)"
    (at,) = tables.execute(query, (name, CLAIM, ANSWER)).fetchone()
    return None if at is None else at / NANO


def workers(tables: Tables, run: str) -> dict[str, str]:
    """Return which worker has sent each bulk operation of a run; empty if one has sent them all.

    Raises
    ------
    JournalError
        The journal cannot be read.
    """
    query = "SELECT id, host, process FROM sessions WHERE run = (SELECT id FROM runs WHERE name = ?)"
    names = {
        session: f"{(host or '').partition(' ')[0]}:{process}"
        for session, host, process in tables.execute(query, (run,))
    }
    if len(set(names.values())) <= 1:
        return {}
    query = (
        "SELECT session, kind, rows, body FROM records WHERE kind IN (?, ?) "
        "AND run = (SELECT id FROM runs WHERE name = ?) ORDER BY id"
    )
    senders = _senders(tables.execute(query, (CLAIM, ANSWER, run)))
    found = {bulk_id: names[session] for bulk_id, session in senders.items() if session in names}
    return found if len(set(found.values())) > 1 else {}


def _senders(records: Iterable[tuple[int, int, bytes, bytes]]) -> dict[str, int]:
    """Return the session that has sent each bulk operation: not the one that found its executions for another."""
    claims: dict[int, int] = {}
    senders: dict[str, int] = {}
    for session, kind, packed, body in records:
        rows = rows_of(packed)
        if kind == CLAIM:
            claims.update(dict.fromkeys(rows, session))
            continue
        with suppress(*UNREADABLE):
            bulk_id = bulk_id_of(body)
            if bulk_id is not None and rows:
                senders.setdefault(bulk_id, claims.get(rows[0], session))
    return senders


def _matching(tables: Tables, spec: RunSpec, since: int, without: str | None) -> list[tuple[int, str, str | None]]:
    query = (
        "SELECT id, name, pin FROM runs WHERE replace(pin, ?, '') <> pin OR replace(pin, ?, '') <> pin ORDER BY id DESC"
    )
    latest = "SELECT at FROM records WHERE run = ? ORDER BY id DESC LIMIT 1"
    matching: list[tuple[int, str, str | None]] = []
    # The text narrows the runs down before any of them is decoded.
    texts = json.dumps(spec.workflow_id), json.dumps(spec.version_id)
    for run, name, stored in tables.execute(query, texts).fetchall():
        try:
            other = RunSpec(**json.loads(stored))
        except UNREADABLE:
            continue  # that run cannot be continued either: `read_spec` raises
        last = tables.execute(latest, (run,)).fetchone()
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


def _read(tables: Tables, run: int, name: str, key: str | None, since: int) -> RecentRun | None:
    try:
        _, contents = read_digests(tables, run)
    except JournalError as exc:
        logger.warning("run %r is left out of the comparison with what was sent before: %s", name, exc)
        return None
    inputs = pack(contents)
    states = np.zeros(len(contents) // SIZE, dtype=np.int8)
    latest = _replay(tables, run, states, since)
    if _is_in_use(tables, run):
        states[states == NOT_SENT] = UNANSWERED
    if not states.any() or not latest:
        return None
    return RecentRun(name, key, latest, inputs[states == ACCEPTED], inputs[states == UNANSWERED])


def _replay(tables: Tables, run: int, states: np.ndarray[Any, np.dtype[np.int8]], since: int) -> int:
    """Write the state of each row into `states`; return when a row was last sent, 0 for never."""
    latest = 0
    query = "SELECT id, kind, at, rows, body FROM records WHERE run = ? AND kind <> ? AND at >= ? ORDER BY id"
    for number, kind, at, packed, body in tables.execute(query, (run, UPDATE, since)):
        try:
            if _apply(kind, packed, body, states):
                latest = max(latest, at)
        except UNREADABLE as exc:
            # A row whose response cannot be read stays claimed: perhaps billed.
            logger.warning("record %d of the journal cannot be read, and is left out: %s", number, exc)
    return latest


def _apply(kind: int, packed: bytes, body: bytes, states: np.ndarray[Any, np.dtype[np.int8]]) -> bool:
    """Apply one record to `states`; return whether a row was sent or accepted."""
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
            states[row] = NOT_SENT  # released, or refused: nothing was created
    return was_accepted


def _is_in_use(tables: Tables, run: int) -> bool:
    """Return whether a call is running in the run: rows that it has not sent yet are about to be."""
    query = "SELECT id FROM sessions WHERE run = ? ORDER BY id DESC LIMIT ?"
    newest = tables.execute(query, (run, MAX_SESSIONS)).fetchall()
    # If nothing proves that a session is running, only its claims count as sent.
    return any(tables.is_running(session) for (session,) in newest)


def rows_of(packed: bytes) -> Sequence[int]:
    """Decode row numbers; none if they cannot be decoded."""
    try:
        return unpack_rows(packed)
    except UNREADABLE:
        return ()
