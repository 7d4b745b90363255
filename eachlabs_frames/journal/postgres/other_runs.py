"""Reads what calls of any run have sent lately: what a search for lost responses must not adopt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from psycopg import sql

from ..records import ANSWER, CLAIM, NANO, unpack_outcomes, unpack_rows
from .connection import Connection
from .known_rows import UNREADABLE

if TYPE_CHECKING:
    from typing_extensions import LiteralString

logger = logging.getLogger("eachlabs_frames")

RECENT: Final = 3_600 * NANO
"""What another run sent longer ago cannot be what is under way now."""

CLOCK_STEP: Final = 300 * NANO
"""By how much the server's clock may have been set back between two records."""

_ANSWERS: Final[LiteralString] = "SELECT id, rows, body FROM {schema}.records WHERE at >= %s AND kind = %s"
_CLAIMS: Final[LiteralString] = """
    SELECT r.run, r.id, r.at, r.rows FROM {schema}.records r JOIN {schema}.sessions s ON s.id = r.session
    WHERE r.at >= {schema}.now_ns() - %s AND r.kind = %s AND s.id <> %s
    AND s.ended_at IS NULL AND s.expires_at > {schema}.now_ns()
"""
_WAITING: Final[LiteralString] = """
    SELECT number, claim, CASE WHEN content = '' THEN digest ELSE content END
    FROM {schema}.read_rows(%s, %s::int[]) WHERE state = 's'
"""


def executions_since(connection: Connection, query: Callable[[LiteralString], sql.Composed], since: int) -> set[str]:
    """Return the executions that rows of any run have got since `since` (the server's ns), and some from before."""
    executions: set[str] = set()
    for number, packed, body in connection.execute(query(_ANSWERS), (max(0, since - CLOCK_STEP), ANSWER)):
        try:
            outcomes = list(unpack_outcomes(unpack_rows(packed), body))
        except UNREADABLE as exc:
            logger.warning("record %d of the journal cannot be read, and is left out: %s", number, exc)
            continue
        executions.update(outcome.execution_id for outcome in outcomes if outcome.execution_id)
    return executions


def in_flight(connection: Connection, query: Callable[[LiteralString], sql.Composed], *, but: int) -> dict[bytes, int]:
    """Return the inputs that running sessions other than `but` wait for, and when each was first sent (server's ns)."""
    sent: dict[int, dict[int, dict[int, int]]] = {}
    for run, claim, at, packed in connection.execute(query(_CLAIMS), (RECENT, CLAIM, but)):
        for number in unpack_rows(packed):
            sent.setdefault(run, {}).setdefault(number, {})[claim] = at
    first_sent: dict[bytes, int] = {}
    for run, of_rows in sent.items():
        for number, claim, content in connection.execute(query(_WAITING), (run, list(of_rows))):
            at = of_rows[number].get(claim)
            if at is not None:
                first_sent[content] = min(at, first_sent.get(content, at))
    return first_sent
