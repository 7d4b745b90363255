"""Requests without an answer, and what a search for them must leave alone. It reads, and writes nothing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ..models import UNKNOWN, Claimed, LostRequest
from .queries import executions_since, rivals_since
from .records import NO_CLAIM, SENT, SETTLED, RunState, unpack_rows
from .sqlite_file import reading
from .sqlite_rows import RunRowIndex

NANO: Final = 1_000_000_000
RECENT: Final = 3_600
"""Seconds: what another run sent longer ago cannot be what is under way now."""


def lost_requests(
    path: Path, rows: RunRowIndex, book: RunState, numbers: Sequence[int], *, timeout: float
) -> list[LostRequest]:
    """Return the requests whose answer none of the rows `numbers` has, each with all its rows that wait.

    It reads by a connection of its own, so that it never waits for the disk while a commit does. A request took at most
    `timeout` seconds, unless its claim says itself until when it can have been sent (`loss`).
    """
    claims = sorted({book.claims[number] for number in numbers} - {NO_CLAIM})
    if not claims:
        return []
    with reading(path) as connection:
        if len(rows) < book.results.size:
            rows.read_contents(connection)
        query = "SELECT at, rows, body FROM records WHERE id = ?"
        found = [(claim, *connection.execute(query, (claim,)).fetchone()) for claim in claims]
    lost: list[LostRequest] = []
    for claim, at, packed, until in found:
        since = at / NANO
        # Nobody waits for it any more, so it was over by now at the latest.
        latest = int(until) / NANO + timeout if until else since + timeout
        lost.append(_lost(book, rows, claim, unpack_rows(packed), since, min(latest, max(since, time.time()))))
    return lost


def _lost(
    book: RunState, rows: RunRowIndex, claim: int, claimed: Sequence[int], since: float, until: float
) -> LostRequest:
    results, words = book.results, book.words
    together = [row for row in claimed if book.claims[row] == claim]
    # What a row held before it was sent once more is no answer to this request.
    unknown = {row for row in together if results.status[row] == UNKNOWN and results.execution_id[row] is None}
    waiting = tuple(row for row in together if words[row] == SENT or row in unknown)
    # Where some of them were found before, the others are in the same bulk operation or nowhere.
    known = (results.bulk_id[row] for row in together if words[row] == SETTLED)
    bulk_id = next((bulk_id for bulk_id in known if bulk_id is not None), None)
    return LostRequest(waiting, tuple(map(rows.content, waiting)), since, until, bulk_id)


def taken(connection: sqlite3.Connection, path: Path, since: float, *, at_work: Callable[[int], bool]) -> Claimed:
    """Read what any run has sent since `since` (epoch seconds), as far as sessions that are `at_work` wait for it."""
    executions = executions_since(connection, int(since * NANO))
    # Also what was sent before `since`: it may take effect after it.
    rivals = rivals_since(connection, path, int((time.time() - RECENT) * NANO), at_work=at_work)
    return Claimed(executions, rivals)
