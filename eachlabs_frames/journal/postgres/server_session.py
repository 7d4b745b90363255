"""One call's session on the server: its connection, its numbered writes and its beats. Waits for a server that is away.

The connection has no state of its own, so it may be replaced at any time: a write carries the number of its session's
writes, and one that is repeated after a lost connection is done once, whether the first try was committed or not.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg import sql

from ...errors import JournalError
from .connection import Connection, PostgresDatabase, is_away
from .migrations import DELETED, OUTRUN

if TYPE_CHECKING:
    from typing_extensions import LiteralString

T = TypeVar("T")

logger = logging.getLogger("eachlabs_frames")

BEAT: Final = 5.0
"""Seconds between two signs that a session is running."""

LIFETIME: Final = 20.0
"""Seconds after its last sign for which a session counts as running."""

MAX_OUTAGE: Final = 120.0
"""Seconds that a write waits for a server that does not respond; less if `max_wait` is."""

MAX_CLOSING: Final = 10.0
"""Seconds that a call which ends waits for such a server; less if `max_wait` is."""

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_DEADLOCK: Final = "40P01"

_WRITE: Final[LiteralString] = """
    SELECT at, claims, denied FROM {schema}.write(
        %s, %s, %s, %s, %s, %s::int[], %s::text[], %s::bytea[], %s::bytea[], %s::int[], %s::int[], %s::bigint[],
        %s::bigint[], %s::int[], %s::int[], %s::bigint[], %s::bigint[],
        %s::bigint[], %s::bytea[])
"""
_BEGIN: Final[LiteralString] = """
    INSERT INTO {schema}.sessions (run, host, process, expires_at)
    VALUES (%s, %s, %s, {schema}.now_ns() + %s) RETURNING id
"""
_BEAT: Final[LiteralString] = "UPDATE {schema}.sessions SET expires_at = {schema}.now_ns() + %s WHERE id = %s"
_END: Final[LiteralString] = "UPDATE {schema}.sessions SET ended_at = {schema}.now_ns() WHERE id = %s"


class WriteResult(NamedTuple):
    """What a write returns: the record of each claimed request (None: no row granted), and the rows not granted."""

    at: int
    claims: Sequence[int | None]
    denied: Sequence[int]


class OutrunError(Exception):
    """Another call has made an adoption first."""


class ServerSession:
    """The session of one call. All methods but `hurry` are called on one thread.

    Parameters
    ----------
    database : PostgresDatabase
    beat, lifetime, max_outage : float
        See `BEAT`, `LIFETIME` and `MAX_OUTAGE`.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        *,
        beat: float = BEAT,
        lifetime: float = LIFETIME,
        max_outage: float = MAX_OUTAGE,
    ) -> None:
        self.number = 0
        self.run = 0
        self._database = database
        self._beat = beat
        self._lifetime = round(lifetime * 1e9)
        self._max_outage = max_outage
        self._connection: Connection | None = None
        self._writes = 0
        self._renewed = 0.0
        self._ends_at = math.inf
        self.is_away = False

    def query(self, text: LiteralString) -> sql.Composed:
        """Return a statement with the schema's name in it."""
        return sql.SQL(text).format(schema=sql.Identifier(self._database.schema))

    def begin(self, connection: Connection, run: int) -> None:
        """Begin a session in a run, in the transaction of the caller."""
        values = (run, socket.gethostname(), os.getpid(), self._lifetime)
        row = connection.execute(self.query(_BEGIN), values).fetchone()
        assert row is not None
        self.number, self.run, self._writes = row[0], run, 0
        self._renewed = time.monotonic()

    def hurry(self) -> None:
        """Wait for the server for `MAX_CLOSING` seconds at most: the call ends. Any thread may call this."""
        self._ends_at = min(self._ends_at, time.monotonic() + MAX_CLOSING)

    def do(self, work: Callable[[Connection], T], *, waits: bool = True) -> T:
        """Do work that may be done twice; `waits`: again, while the server is away.

        Otherwise again once, if the connection is not new: a server ends one that was idle for too long.

        Raises
        ------
        JournalError
            It failed, or the server was away for too long.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE
        logged = ""
        while True:
            is_new = self._connection is None
            try:
                return self._try(work)
            except psycopg.Error as exc:
                error = self._error(exc)
            if not self.is_away or (is_new and not waits):
                raise error
            waited = time.monotonic() - began
            if waited > min(self._max_outage, self._ends_at - began):
                raise self._give_up(error, waited)
            if str(error) != logged and time.monotonic() - began > _FIRST_PAUSE:
                message = "%s. Waiting for it, up to %g s: nothing is sent meanwhile, and results are kept"
                logger.warning(message, error, self._max_outage)
                logged = str(error)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _give_up(self, error: JournalError, waited: float) -> JournalError:
        """Return the error of a write that has waited for too long; later ones do not wait."""
        if not self._max_outage:
            return error
        self._max_outage = 0.0
        return JournalError(
            f"{error}. It has been away for {waited:.0f} s, so nothing more is sent: once it is back, repeat the call, "
            "which sends only rows that were not sent"
        )

    def _try(self, work: Callable[[Connection], T]) -> T:
        """Do work, by another connection if there is none; note whether the server is away."""
        try:
            if self._connection is None:
                self._connection = self._database.connect()
            result = work(self._connection)
        except psycopg.Error as exc:
            self._drop()
            if exc.sqlstate == OUTRUN:
                raise OutrunError from exc
            self.is_away = is_away(exc) or exc.sqlstate == _DEADLOCK
            raise
        self.is_away = False
        return result

    def _error(self, exc: psycopg.Error) -> JournalError:
        if exc.sqlstate == DELETED:
            return JournalError("the run was deleted while this call was running: nothing more is sent or recorded")
        return self._database.error(exc)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def write(self, parameters: Sequence[Any], *, adopt: bool = False) -> WriteResult:
        """Do the session's next write; if it raises because the server is away, it may have been done.

        Raises
        ------
        JournalError
            See `do`.
        OutrunError
            Another call has made this adoption first.
        """
        values = (self.run, self.number, self._writes + 1, self._lifetime, adopt, *parameters)
        row = self.do(lambda connection: connection.execute(self.query(_WRITE), values).fetchone())
        assert row is not None
        self._writes += 1
        self._renewed = time.monotonic()
        return WriteResult(*row)

    def beat(self) -> None:
        """Show that the session is running, if that was not shown lately."""
        if not self.number or time.monotonic() - self._renewed < self._beat / 2:
            return
        try:
            self.do(
                lambda connection: connection.execute(self.query(_BEAT), (self._lifetime, self.number)), waits=False
            )
        except JournalError as exc:
            logger.debug("a sign of the session was not written: %s", exc)
        self._renewed = time.monotonic()

    def end(self) -> None:
        """End the session and close the connection."""
        if self.number:
            # Otherwise others take it for running for `LIFETIME` seconds.
            with contextlib.suppress(JournalError):
                self.do(lambda connection: connection.execute(self.query(_END), (self.number,)), waits=False)
        self._drop()
