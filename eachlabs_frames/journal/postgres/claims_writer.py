"""Writes the claims and records of one session: as many as possible in one statement, which is one round trip.

Owns what goes into a statement, and what a reply means. `functions.write` decides what is granted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from ...errors import JournalError
from ...models import INVALID, Outcome
from ..group_writer import Failed, GroupWriter, Work
from ..records import RowState, pack_outcomes, pack_rows
from .connection import Connection
from .known_rows import KnownRows
from .server_session import OutrunError, ServerSession, WriteResult

RIVAL: Final = "its key was sent with another input, by another call of this run: keys must be unique"

_NEW_ROW: Final = RowState("new")


@dataclass(frozen=True, slots=True)
class Claim:
    """A request for the rows at these places, all of one POST."""

    places: Sequence[int]


@dataclass(frozen=True, slots=True)
class Entry:
    """A record to append, of one bulk operation; see `functions.settle` for its class."""

    kind: int
    word: str
    places: Sequence[int]
    packed: bytes
    body: bytes
    hashes: Sequence[int]


@dataclass(frozen=True, slots=True)
class Settlement:
    """Records to append; `adopts`: all or none."""

    entries: Sequence[Entry]
    adopts: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """Work that reads, or may be done twice; `waits`: while the server is away, too."""

    work: Callable[[Connection], Any]
    waits: bool = True


def entry(kind: int, word: str, outcomes: Sequence[Outcome], rows: KnownRows) -> Entry:
    """Encode outcomes of one bulk operation, whose positions are places."""
    places = [outcome.position for outcome in outcomes]
    hashes = [0 if outcome.execution_id is None else hash_of(outcome.execution_id) for outcome in outcomes]
    packed = pack_rows([rows.numbers[place] for place in places])
    return Entry(kind, word, places, packed, pack_outcomes(outcomes), hashes)


def hash_of(execution_id: str) -> int:
    """Return what the table `executions` has for an execution: never 0."""
    digest = blake2b(execution_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1


class ClaimsWriter(GroupWriter):
    """Writes the work of one session.

    Parameters
    ----------
    where : str
    session : ServerSession
    rows : KnownRows
    refresh : callable
        Reads the states of the rows at these places, which others have claimed.
    interval : float
        Seconds between two signs that the session is running.
    """

    def __init__(
        self,
        where: str,
        session: ServerSession,
        rows: KnownRows,
        *,
        refresh: Callable[[Sequence[int]], Sequence[RowState]],
        interval: float,
    ) -> None:
        super().__init__(where, interval=interval)
        self._session = session
        self._rows = rows
        self._refresh = refresh
        # A statement that may have been done: it is repeated, as it is, before any other.
        self._pending: _Statement | None = None

    def close(self) -> JournalError | None:
        """Write what is left, without waiting long for a server that is away; see `GroupWriter.close`."""
        self._session.hurry()
        return super().close()

    def _write(self, group: Sequence[Work], results: list[Any]) -> None:
        if self._pending is not None:
            self._execute(self._pending)
        statement = _Statement()
        for work in group:
            if isinstance(work, Query):
                self._flush(statement, results)
                statement = _Statement()
                results.append(self._query(work))
                continue
            if not statement.accepts(work):
                self._flush(statement, results)
                statement = _Statement()
            statement.add(work)
        self._flush(statement, results)
        self._session.beat()

    def _flush(self, statement: _Statement, results: list[Any]) -> None:
        if not statement.works:
            return
        try:
            reply = self._execute(statement)
        except JournalError as exc:
            if self._pending is not None:
                # It is kept here, so the tasks are not to be written again.
                results += [Failed(JournalError(str(exc))) for _ in statement.works]
            raise
        results += self._results(statement, reply)

    def _execute(self, statement: _Statement) -> WriteResult | None:
        """Return the reply; None if another call has made the adoption first."""
        parameters = statement.parameters(self._rows)
        try:
            reply = self._session.write(parameters, adopt=statement.adopts)
        except OutrunError:
            self._pending = None
            return None
        except JournalError:
            self._pending = statement if self._session.is_away else None
            raise
        self._pending = None
        denied = set(reply.denied)
        for claim, identifier in zip(statement.claims, reply.claims, strict=True):
            for place in claim.places:
                if identifier is not None and self._rows.numbers[place] not in denied:
                    self._rows.own_claims[place] = identifier
        return reply

    def _results(self, statement: _Statement, reply: WriteResult | None) -> list[Any]:
        if reply is None or statement.adopts:
            return [reply is not None]
        denied = [self._rows.place(number) for number in reply.denied]
        states: dict[int, RowState] = {}
        failure: JournalError | None = None
        if denied:
            try:
                states = {
                    place: self._not_granted(place, state)
                    for place, state in zip(denied, self._refresh(denied), strict=True)
                }
            except JournalError as exc:  # what was granted is written all the same
                failure = exc
        return [self._result(work, states, denied, failure) for work in statement.works]

    def _result(
        self, work: Claim | Settlement, states: dict[int, RowState], denied: list[int], failure: JournalError | None
    ) -> Any:
        if isinstance(work, Settlement):
            return None
        if failure is not None and not set(denied).isdisjoint(work.places):
            return Failed(JournalError(str(failure)))
        return [states.get(place, _NEW_ROW) for place in work.places]

    def _not_granted(self, place: int, state: RowState) -> RowState:
        """Return the state of a row that was not granted, as it was read afterwards."""
        if state.state != "new":
            return state
        if self._rows.key_claims:
            return RowState("settled", Outcome(place, INVALID, error=RIVAL))
        # It was released since; this call has no claim all the same.
        return RowState("sent", is_live=True)

    def _query(self, work: Query) -> Any:
        try:
            return self._session.do(work.work, waits=work.waits)
        except JournalError as exc:
            if work.waits:
                raise
            return Failed(exc)
        except Exception as exc:
            if work.waits:
                raise
            return Failed(exc)

    def _is_complete(self) -> bool:
        return self._pending is None

    def _idle(self) -> None:
        self._session.beat()

    def _end(self) -> None:
        self._session.end()


class _Statement:
    """Works that are written in one statement: each row is in one record and one claim at most, the record first."""

    def __init__(self) -> None:
        self.works: list[Claim | Settlement] = []
        self.claims: list[Claim] = []
        self.adopts = False
        self._entries: list[Entry] = []
        self._settled: set[int] = set()
        self._claimed: set[int] = set()
        self._parameters: tuple[Any, ...] | None = None

    def accepts(self, work: Claim | Settlement) -> bool:
        """Return whether work can be added, with the same result as in a statement of its own."""
        if isinstance(work, Claim):
            return not self.adopts and self._claimed.isdisjoint(work.places)
        if self.adopts or (work.adopts and self.works):
            return False
        places = [place for entry in work.entries for place in entry.places]
        return self._claimed.isdisjoint(places) and self._settled.isdisjoint(places)

    def add(self, work: Claim | Settlement) -> None:
        """Add work that is accepted."""
        self.works.append(work)
        if isinstance(work, Claim):
            self.claims.append(work)
            self._claimed.update(work.places)
            return
        self.adopts = work.adopts
        self._entries += work.entries
        self._settled.update(place for entry in work.entries for place in entry.places)

    def parameters(self, rows: KnownRows) -> tuple[Any, ...]:
        """Return the arguments of `functions.write` from `_kinds` on; the same ones whenever it is repeated."""
        if self._parameters is None:
            self._parameters = (*self._records(rows), *self._requests(rows))
        return self._parameters

    def _records(self, rows: KnownRows) -> tuple[Any, ...]:
        entries = self._entries
        of_rows = [
            (index, rows.numbers[place], hashed, rows.expected(place))
            for index, entry in enumerate(entries, start=1)
            for place, hashed in zip(entry.places, entry.hashes, strict=True)
        ]
        places, numbers, hashes, expected = map(list, zip(*of_rows, strict=True)) if of_rows else ([], [], [], [])
        return (
            [entry.kind for entry in entries],
            [entry.word for entry in entries],
            [entry.packed for entry in entries],
            [entry.body for entry in entries],
            places,
            numbers,
            hashes,
            expected,
        )

    def _requests(self, rows: KnownRows) -> tuple[Any, ...]:
        places = [(index, place) for index, claim in enumerate(self.claims, start=1) for place in claim.places]
        return (
            [index for index, _ in places],
            [rows.numbers[place] for _, place in places],
            [rows.seen_claims[place] for _, place in places],
            [rows.seen_answers[place] for _, place in places],
            [rows.key_claims.get(place, 0) for _, place in places] if rows.key_claims else [],
            [pack_rows([rows.numbers[place] for place in claim.places]) for claim in self.claims],
        )
