"""Implements `RunJournal` in PostgreSQL: rows are registered, then claimed before each POST and settled after it.

Owns what is written and when. Never decides whether a row should be sent, only whether it may be: a row that another
call has claimed is not new any more. All statements run on the writer's thread, by one connection; only `lost_requests`
opens another.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import psycopg

from ...errors import JournalError, RunError
from ...models import INVALID, PENDING, Outcome
from ..base import Claimed, LostRequest, RowChunk, RunSpec
from ..lost_requests import lost_request
from ..records import ANSWER, CORRECTION, NANO, NO_CLAIM, UPDATE, Record, RowState, RunState, unpack_rows
from . import other_runs
from .claims_writer import Claim, ClaimsWriter, Entry, Query, Settlement, entry
from .connection import Connection, PostgresDatabase
from .known_rows import KnownRows, StoredRow
from .registration import OtherSpecError, Registration
from .server_session import BEAT, LIFETIME, MAX_OUTAGE, ServerSession

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_NEW_ROW: Final = RowState("new")
_WORDS: Final = {UPDATE: "l", CORRECTION: "c"}

_COLUMNS: Final[LiteralString] = """
    SELECT r.number, r.digest, r.content, r.occurrence, r.state::text, r.session, r.claim, r.answer, r.look,
        coalesce(s.ended_at IS NULL AND s.expires_at > {schema}.now_ns(), false)
"""
_FIND: Final[LiteralString] = (
    _COLUMNS
    + """
    FROM {schema}.find_rows(%s, %s::bytea[]) r LEFT JOIN {schema}.sessions s ON s.id = r.session ORDER BY r.number
"""
)
_READ: Final[LiteralString] = (
    _COLUMNS
    + """
    FROM {schema}.read_rows(%s, %s::int[]) r LEFT JOIN {schema}.sessions s ON s.id = r.session ORDER BY r.number
"""
)
_READ_ALL: Final[LiteralString] = (
    _COLUMNS
    + """
    FROM {schema}.rows r LEFT JOIN {schema}.sessions s ON s.id = r.session WHERE r.run = %s ORDER BY r.number
"""
)
_RECORDS: Final[LiteralString] = """
    SELECT id, session, kind, rows, body FROM {schema}.records WHERE id = ANY (%s::bigint[]) ORDER BY id
"""
_ALL_RECORDS: Final[LiteralString] = """
    SELECT id, session, kind, rows, body FROM {schema}.records WHERE run = %s AND session <> %s ORDER BY id
"""
_SPEC: Final[LiteralString] = "SELECT pin FROM {schema}.runs WHERE name = %s AND size > 0"
_FIND_RUN: Final[LiteralString] = "SELECT id, pin, size FROM {schema}.runs WHERE name = %s FOR UPDATE"
_ADD_RUN: Final[LiteralString] = """
    INSERT INTO {schema}.runs (name, pin, index_names) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING id
"""
_CHANGE_PIN: Final[LiteralString] = "UPDATE {schema}.runs SET pin = %s WHERE id = %s"
_WITHDRAW: Final[LiteralString] = """
    DELETE FROM {schema}.runs r WHERE r.id = %s AND r.size = 0
    AND NOT EXISTS (SELECT 1 FROM {schema}.sessions s WHERE s.run = r.id AND s.id <> %s)
"""
_REMOVE: Final[LiteralString] = "SELECT {schema}.remove_rows(%s, %s, %s, %s)"
_NOTE: Final[LiteralString] = "UPDATE {schema}.runs SET note = %s WHERE id = %s"
_CLAIMS: Final[LiteralString] = """
    SELECT id, at, rows FROM {schema}.records WHERE id = ANY (%s::bigint[]) ORDER BY id
"""
_NOW: Final[LiteralString] = "SELECT {schema}.now_ns()"


class PostgresRunJournal:
    """A `RunJournal` in PostgreSQL. Numbers of rows are those of this call: see `KnownRows`.

    Parameters
    ----------
    database : PostgresDatabase
    name : str
        The run's name.
    beat, lifetime, max_outage : float
        See `server_session`.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        name: str,
        *,
        beat: float = BEAT,
        lifetime: float = LIFETIME,
        max_outage: float = MAX_OUTAGE,
    ) -> None:
        self.name = name
        self._database = database
        self._rows = KnownRows()
        self.lifetime = lifetime
        self._session = ServerSession(database, beat=beat, lifetime=lifetime, max_outage=max_outage)
        self._writer = ClaimsWriter(str(database), self._session, self._rows, refresh=self._refresh, interval=beat)
        self._pin = ""
        # What the server's clock is ahead of this machine's, in nanoseconds: at least, and at most.
        self._offsets = 0, 0

    @property
    def state(self) -> RunState:
        """The state of the rows that this call has read."""
        return self._rows.state

    # -- before anything is sent ------------------------------------------------------------------------------------

    def _do(self, work: Callable[[Connection], Any]) -> Any:
        return self._writer.run(Query(work, waits=False))

    def spec(self) -> RunSpec | None:
        row = self._do(lambda connection: connection.execute(self._session.query(_SPEC), (self.name,)).fetchone())
        return None if row is None else self._spec(row[0])

    def _spec(self, stored: str) -> RunSpec:
        try:
            return RunSpec(**json.loads(stored))
        except (ValueError, TypeError) as exc:
            msg = f"the settings of run {self.name!r} in the journal {self._database} cannot be read: {exc}"
            raise JournalError(msg) from exc

    def enter(
        self, spec: RunSpec, *, index_names: Sequence[str | None] = (None,), rename: Callable[[], str] | None = None
    ) -> None:
        self._do(partial(self._enter, spec, json.dumps(list(index_names)), rename))

    def _enter(self, spec: RunSpec, index_names: str, rename: Callable[[], str] | None, connection: Connection) -> None:
        query, pin = self._session.query, _encoded(spec)
        self._learn_offset(connection)
        with connection.transaction():
            run = None
            while run is None:
                row = connection.execute(query(_FIND_RUN), (self.name,)).fetchone()
                while row is not None and rename is not None:
                    self.name = rename()
                    row = connection.execute(query(_FIND_RUN), (self.name,)).fetchone()
                if row is None:
                    added = connection.execute(query(_ADD_RUN), (self.name, pin, index_names)).fetchone()
                    run = None if added is None else added[0]
                    continue
                run, stored, size = row
                if not size:
                    # A call that was refused before it registered a row left its name behind: its spec binds nobody.
                    connection.execute(query(_CHANGE_PIN), (pin, run))
                elif _encoded(self._spec(stored)) != pin:
                    raise _other_settings(self.name)
                else:
                    pin = stored
            self._pin = pin
            self._session.begin(connection, run)

    def _learn_offset(self, connection: Connection) -> None:
        before = time.time_ns()
        row = connection.execute(self._session.query(_NOW)).fetchone()
        assert row is not None
        self._offsets = row[0] - time.time_ns(), row[0] - before

    def withdraw(self) -> None:
        values = (self._session.run, self._session.number)
        with suppress(JournalError):
            self._do(lambda connection: connection.execute(self._session.query(_WITHDRAW), values))

    def read_all(self) -> None:
        self._do(self._read_all)

    def _read_all(self, connection: Connection) -> None:
        query, run = self._session.query, self._session.run
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            rows = connection.execute(query(_READ_ALL), (run,)).fetchall()
            records = connection.execute(query(_ALL_RECORDS), (run, self._session.number)).fetchall()
        self._rows.replay([StoredRow(*row) for row in rows], records, session=self._session.number)

    def register(
        self,
        chunks: Iterable[RowChunk],
        *,
        assigned: Sequence[int] = (),
        keyed: bool = False,
        on_changed: Callable[[int], None] | None = None,
        add: bool = True,
    ) -> list[int]:
        registration = Registration(set(assigned), keyed, add, self._pin, self._rows, self._session, find=self._find)
        numbers: list[int] = []
        try:
            for chunk in chunks:
                changed = None if on_changed is None else partial(_call_with_offset, on_changed, len(numbers))
                numbers += self._do(partial(registration.register, chunk, changed))
        except BaseException as exc:
            with suppress(JournalError):
                self._remove(registration)
            if isinstance(exc, OtherSpecError):
                raise _other_settings(self.name) from None
            raise
        return numbers

    def _find(self, connection: Connection, digests: Sequence[bytes]) -> list[StoredRow]:
        values = (self._session.run, digests)
        return self._add(connection, connection.execute(self._session.query(_FIND), values).fetchall(), sees=True)

    def _add(self, connection: Connection, fetched: Sequence[Any], *, sees: bool) -> list[StoredRow]:
        """Make rows known that were read, and read the records of their outcomes."""
        rows = [StoredRow(*row) for row in fetched]
        ids = {identifier for row in rows for identifier in (row.answer, row.look) if identifier}
        records: list[Record] = []
        if ids:
            records = connection.execute(self._session.query(_RECORDS), (sorted(ids),)).fetchall()
        self._rows.add(rows, records, session=self._session.number, sees=sees)
        return rows

    def _remove(self, registration: Registration) -> None:
        """Delete the rows of a frame that cannot be registered as a whole, unless another call may rely on them."""
        first = registration.first
        if first < 0:
            return
        values = (self._session.run, self._session.number, first, registration.added)
        removed = self._do(lambda connection: connection.execute(self._session.query(_REMOVE), values).fetchone())
        if removed[0]:
            self._rows.forget(first)

    def content(self, number: int) -> bytes | None:
        return self._rows.content(number) or None

    # -- while it is sent -------------------------------------------------------------------------------------------

    async def claim(self, rows: Sequence[int]) -> Sequence[RowState]:
        states: Sequence[RowState] = await self._writer.durably(Claim(tuple(rows)))
        return states

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        self._write_soon([made for outcome_class in _CLASSES for made in self._entries(outcomes, *outcome_class)])

    def _entries(self, outcomes: Sequence[Outcome], word: str, belongs: Callable[[Outcome], bool]) -> list[Entry]:
        chosen = [outcome for outcome in outcomes if belongs(outcome)]
        if word == "u":  # whether it applies is decided for each row
            return [entry(ANSWER, word, [outcome], self._rows) for outcome in chosen]
        return self._entries_of_bulks(ANSWER, word, chosen)

    def _entries_of_bulks(self, kind: int, word: str, outcomes: Sequence[Outcome]) -> list[Entry]:
        groups = groupby(outcomes, key=attrgetter("bulk_id"))
        return [entry(kind, word, list(group), self._rows) for _, group in groups]

    async def adopt(self, outcomes: Sequence[Outcome], *, since: float) -> bool:
        work = Settlement([entry(ANSWER, "e", outcomes, self._rows)], adopts=True)
        adopted: bool = await self._writer.durably(work)
        return adopted

    def update(self, outcomes: Sequence[Outcome]) -> None:
        self._write_soon(self._entries_of_bulks(UPDATE, "l", outcomes))

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        self._write_soon(self._entries_of_bulks(CORRECTION, "c", outcomes))

    def _write_soon(self, entries: Sequence[Entry]) -> None:
        """Write what is packed by now, because outcomes may change, with the next statement."""
        if entries:
            self._writer.soon(Settlement(entries))

    async def flush(self) -> None:
        await self._writer.durably(Settlement([]))

    def note_stop(self, reason: str | None) -> None:
        values = (reason, self._session.run)
        self._writer.soon(Query(lambda connection: connection.execute(self._session.query(_NOTE), values)))

    async def row_states(self, rows: Sequence[int]) -> Sequence[RowState]:
        states: Sequence[RowState] = await self._writer.durably(Query(partial(self._row_states, rows)))
        return states

    def _row_states(self, rows: Sequence[int], connection: Connection) -> Sequence[RowState]:
        numbers = [self._rows.numbers[row] for row in rows]
        values = (self._session.run, numbers)
        read = self._add(connection, connection.execute(self._session.query(_READ), values).fetchall(), sees=False)
        # The state does not contain this call's own claims: a row that it retries is there as it was before.
        recorded = {self._rows.place(row.number) for row in read if self._is_recorded(row)}
        return [self._rows.row_state(row) if row in recorded else _NEW_ROW for row in rows]

    def _is_recorded(self, row: StoredRow) -> bool:
        """Return whether another call has written about a row since this one has seen it, or is sending it."""
        place = self._rows.place(row.number)
        seen = self._rows.seen_claims[place], self._rows.seen_answers[place]
        return row.session != self._session.number and ((row.claim, row.answer) != seen or row.state == "s")

    def _refresh(self, places: Sequence[int]) -> Sequence[RowState]:
        """Read, on the writer's thread, the states of rows that were not granted."""
        values = (self._session.run, [self._rows.numbers[place] for place in places])

        def read(connection: Connection) -> Sequence[RowState]:
            rows = connection.execute(self._session.query(_READ), values).fetchall()
            if len(rows) < len(places):
                msg = f"rows of run {self.name!r} are not in the journal any more: nothing may be sent"
                raise JournalError(msg)
            self._add(connection, rows, sees=False)
            return [self._rows.row_state(place) for place in places]

        return self._session.do(read)

    # -- what was sent, without a response --------------------------------------------------------------------------

    def row_state(self, number: int) -> RowState:
        return self._rows.row_state(number)

    def lost_requests(self, rows: Sequence[int], *, timeout: float) -> list[LostRequest]:
        claims = sorted({self.state.claims[row] for row in rows} - {NO_CLAIM})
        if not claims:
            return []
        # By a connection of its own: this call's may be waiting for the server.
        try:
            with closing(self._database.connect()) as connection:
                return self._lost_requests(connection, claims, timeout)
        except psycopg.Error as exc:
            raise self._database.error(exc) from exc

    def _lost_requests(self, connection: Connection, claims: Sequence[int], timeout: float) -> list[LostRequest]:
        self._learn_offset(connection)
        records = connection.execute(self._session.query(_CLAIMS), (claims,)).fetchall()
        sent = {number for _, _, packed in records for number in unpack_rows(packed)}
        unknown = [number for number in sent if not self._rows.knows(number)]
        if unknown:
            values = (self._session.run, unknown)
            self._add(connection, connection.execute(self._session.query(_READ), values).fetchall(), sees=True)
        least, most = self._offsets
        lost: list[LostRequest] = []
        for claim, at, packed in records:
            since, latest = (at - most) / NANO, (at - least) / NANO + timeout
            places = [self._rows.place(number) for number in unpack_rows(packed)]
            until = min(latest, max(since, time.time()))
            lost.append(lost_request(self.state, self._rows.content, claim, places, since, until))
        return lost

    async def claimed(self, since: float) -> Claimed:
        result: Claimed = await self._writer.durably(Query(partial(self._claimed, since)))
        return result

    def _claimed(self, since: float, connection: Connection) -> Claimed:
        self._learn_offset(connection)
        least, most = self._offsets
        executions = other_runs.executions_since(connection, self._session.query, round(since * NANO) + least)
        in_flight = other_runs.in_flight(connection, self._session.query, but=self._session.number)
        return Claimed(executions, {content: (at - most) / NANO for content, at in in_flight.items()})

    def close(self) -> JournalError | None:
        return self._writer.close()


_CLASSES: Final[Sequence[tuple[str, Callable[[Outcome], bool]]]] = (
    ("p", lambda outcome: outcome.status == PENDING),
    ("i", lambda outcome: outcome.status == INVALID),
    ("e", lambda outcome: outcome.execution_id is not None and outcome.status not in (PENDING, INVALID)),
    ("u", lambda outcome: outcome.execution_id is None and outcome.status not in (PENDING, INVALID)),
)
"""The classes of answers: see `functions.settle`."""


def _call_with_offset(on_changed: Callable[[int], None], before: int, index: int) -> None:
    """Call `on_changed` with the place in the frame of a row of a chunk that comes after `before` rows."""
    on_changed(before + index)


def _encoded(spec: RunSpec) -> str:
    """Return a spec as JSON, the same for equal specs."""
    return json.dumps(asdict(spec), sort_keys=True)


def _other_settings(name: str) -> RunError:
    return RunError(f"run {name!r} was created by another call in the meantime, with other settings: try again")
