"""Reads what a search for lost responses must not adopt: executions of all runs, and requests in flight."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ...errors import JournalError
from ...inputs.fingerprints import SIZE
from ..base import Claimed
from ..history import CLOCK_STEP, rows_of
from ..records import ANSWER, CLAIM, NANO, unpack_outcomes, unpack_rows
from ..tables import UNREADABLE, Tables, read_digests

logger = logging.getLogger("eachlabs_frames")

RECENT: Final = 3_600 * NANO
"""What another run sent longer ago cannot be what is under way now."""


def claimed(tables: Tables, since: float, *, is_running: Callable[[int], bool]) -> Claimed:
    """Return the executions and the requests in flight of any run, of what was sent since `since` (epoch seconds)."""
    return Claimed(executions_since(tables, since), _in_flight(tables, is_running))


def executions_since(tables: Tables, since: float) -> set[str]:
    """Return the executions that rows of any run have got since `since` (epoch seconds), and some from before."""
    executions: set[str] = set()
    query = "SELECT id, kind, at, rows, body FROM records ORDER BY id DESC"
    for number, kind, at, packed, body in tables.execute(query):
        if at < int(since * NANO) - CLOCK_STEP:
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


def _in_flight(tables: Tables, is_running: Callable[[int], bool]) -> dict[bytes, float]:
    """Return the inputs of requests that running calls wait for, and when each was first sent (epoch seconds).

    Requests sent before the search's own are included: they may take effect after it.
    """
    unanswered: dict[tuple[int, int], tuple[int, int]] = {}
    answered: set[tuple[int, int]] = set()
    query = "SELECT run, session, kind, at, rows FROM records ORDER BY id DESC"
    earliest = time.time_ns() - RECENT
    for run, session, kind, at, packed in tables.execute(query):
        if at < earliest:
            break
        for row in rows_of(packed) if kind in (CLAIM, ANSWER) else ():
            if kind == ANSWER:
                answered.add((run, row))
            elif (run, row) not in answered:
                unanswered.setdefault((run, row), (session, at))
    running = {session for session in {session for session, _ in unanswered.values()} if is_running(session)}
    in_flight = {row: at for row, (session, at) in unanswered.items() if session in running}
    contents: dict[int, bytearray] = {}
    for run in {run for run, _ in in_flight}:
        with suppress(JournalError):
            contents[run] = read_digests(tables, run)[1]
    first_sent: dict[bytes, float] = {}
    for (run, row), at in in_flight.items():
        content = bytes(contents.get(run, b"")[row * SIZE : (row + 1) * SIZE])
        first_sent[content] = min(at / NANO, first_sent.get(content, math.inf))
    return first_sent
