"""Finds requests without an answer, and what a search for them must not take. It never writes."""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...errors import JournalError
from ...inputs.fingerprints import SIZE
from ...models import UNKNOWN
from ..base import Claimed, LostRequest
from ..records import ANSWER, CLAIM, SENT, SETTLED, RunState, unpack_outcomes, unpack_rows
from .queries import UNREADABLE, digests_of

if TYPE_CHECKING:
    from .row_table import RowTable

logger = logging.getLogger("eachlabs_frames")

NANO: Final = 1_000_000_000
RECENT: Final = 3_600
"""Seconds: what another run sent longer ago cannot be what is under way now."""


def lost_requests(
    connection: sqlite3.Connection, rows: RowTable, state: RunState, claims: Sequence[int], *, timeout: float
) -> list[LostRequest]:
    """Return the requests of these claims, each with all its rows that have no response.

    A request took at most `timeout` seconds, unless its claim says itself until when it can have been sent (`loss`).
    """
    if len(rows) < state.results.size:
        rows.read_contents(connection)
    query = "SELECT at, rows, body FROM records WHERE id = ?"
    requests = [(claim, *connection.execute(query, (claim,)).fetchone()) for claim in claims]
    lost: list[LostRequest] = []
    for claim, at, packed, until in requests:
        since = at / NANO
        # Nobody waits for it any more, so it was over by now at the latest.
        latest = int(until) / NANO + timeout if until else since + timeout
        lost.append(_lost(state, rows, claim, unpack_rows(packed), since, min(latest, max(since, time.time()))))
    return lost


def _lost(state: RunState, rows: RowTable, claim: int, sent: Sequence[int], since: float, until: float) -> LostRequest:
    results, phases = state.results, state.phases
    together = [row for row in sent if state.claims[row] == claim]
    # What a row held before it was sent once more is no answer to this request.
    unknown = {row for row in together if results.status[row] == UNKNOWN and results.execution_id[row] is None}
    waiting = tuple(row for row in together if phases[row] == SENT or row in unknown)
    # Where some of them were found before, the others are in the same bulk operation or nowhere.
    bulk_ids = (results.bulk_id[row] for row in together if phases[row] == SETTLED)
    bulk_id = next((bulk_id for bulk_id in bulk_ids if bulk_id is not None), None)
    return LostRequest(waiting, tuple(map(rows.content, waiting)), since, until, bulk_id)


def claimed(connection: sqlite3.Connection, path: Path, since: float, *, at_work: Callable[[int], bool]) -> Claimed:
    """Read what any run has sent since `since` (epoch seconds), as far as sessions that are `at_work` wait for it."""
    executions = executions_since(connection, int(since * NANO))
    # Also what was sent before `since`: it may take effect after it.
    rivals = rivals_since(connection, path, int((time.time() - RECENT) * NANO), at_work=at_work)
    return Claimed(executions, rivals)


CLOCK_STEP: Final = 300 * 10**9
"""Nanoseconds by which a machine's clock may have been set back between two records."""


def executions_since(connection: sqlite3.Connection, moment: int) -> set[str]:
    """Return the executions that rows of any run have got since `moment` (epoch nanoseconds), and some from before."""
    executions: set[str] = set()
    query = "SELECT id, kind, at, rows, body FROM records ORDER BY id DESC"
    for number, kind, at, packed, body in connection.execute(query):
        if at < moment - CLOCK_STEP:
            break
        if kind != ANSWER:
            continue
        try:
            outcomes = list(unpack_outcomes(unpack_rows(packed), body))
        except UNREADABLE as exc:
            logger.warning("record %d of the journal cannot be read, and is left out: %s", number, exc)
            continue
        executions.update(outcome.execution_id for outcome in outcomes if outcome.execution_id)
    return executions


def rivals_since(
    connection: sqlite3.Connection, path: Path, moment: int, *, at_work: Callable[[int], bool]
) -> dict[bytes, float]:
    """Return the fingerprints of inputs whose answer a call that is `at_work` waits for, and since when (epoch s)."""
    waiting: dict[tuple[int, int], tuple[int, int]] = {}
    query = "SELECT run, session, kind, at, rows FROM records ORDER BY id DESC"
    answered: set[tuple[int, int]] = set()
    for run, session, kind, at, packed in connection.execute(query):
        if at < moment:
            break
        for row in _rows_of(packed) if kind in (CLAIM, ANSWER) else ():
            if kind == ANSWER:
                answered.add((run, row))
            elif (run, row) not in answered:
                waiting.setdefault((run, row), (session, at))
    alive = {session: at_work(session) for session in {session for session, _ in waiting.values()}}
    rivals = {place: at for place, (session, at) in waiting.items() if alive[session]}
    contents: dict[int, bytearray] = {}
    for run in {run for run, _ in rivals}:
        with suppress(JournalError):
            contents[run] = digests_of(connection, path, run)[1]
    first_sent: dict[bytes, float] = {}
    for (run, row), at in rivals.items():
        content = bytes(contents.get(run, b"")[row * SIZE : (row + 1) * SIZE])
        first_sent[content] = min(at / 1e9, first_sent.get(content, math.inf))
    return first_sent


def _rows_of(packed: bytes) -> Sequence[int]:
    try:
        return unpack_rows(packed)
    except UNREADABLE:
        return ()
