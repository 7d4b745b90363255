"""The rows of a run that one call has read or added: their numbers in the call and in the run, and their state.

A call numbers rows as it meets them, so that it need not read the whole run. Knows no database.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from ...errors import JournalError
from ..records import (
    NEW,
    NO_CLAIM,
    SENT,
    SETTLED,
    UPDATE,
    Record,
    RowState,
    RunState,
    pack_rows,
    unpack_outcomes,
    unpack_rows,
)

UNREADABLE: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What reading a damaged record raises."""

_PHASES: Final = {"n": NEW, "i": NEW, "s": SENT, "d": SETTLED}


class StoredRow(NamedTuple):
    """A row as the database has it: see `migrations`. `is_live`: whether the session that wrote it last is running."""

    number: int
    digest: bytes
    content: bytes
    occurrence: int
    state: str
    session: int
    claim: int
    answer: int
    look: int
    is_live: bool


class KnownRows:
    """The rows that a call knows; it knows each by a number of its own, its *place*.

    Attributes
    ----------
    state : RunState
        The state of each row, by place, without this call's own claims.
    numbers : array of int
        The number in the run of each row.
    seen_claims, seen_answers : array of int
        Its latest claim and answer when the call decided what to send: a row may be claimed again if it is still so.
    key_claims : dict of int to int
        In a run with keys: the latest claim of any row with the key of a row when this call registered it.
    own_claims : array of int
        Its latest claim by this call; 0 if there is none.
    """

    def __init__(self) -> None:
        self.state = RunState(0)
        self.numbers = array("q")
        self.seen_claims = array("q")
        self.seen_answers = array("q")
        self.own_claims = array("q")
        self.key_claims: dict[int, int] = {}
        self._contents = bytearray()
        self._size = 0
        self._places: dict[int, int] = {}
        self._live: set[int] = set()
        # The writer's thread and the caller's may meet the same row.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.numbers)

    def place(self, number: int) -> int:
        """Return the place of a row of the run."""
        return self._places[number]

    def knows(self, number: int) -> bool:
        """Return whether a row of the run has a place."""
        return number in self._places

    def content(self, place: int) -> bytes:
        """Return the fingerprint of a row's input; empty for a place that is no row's."""
        size = self._size
        return bytes(self._contents[place * size : (place + 1) * size]) if place >= 0 else b""

    def expected(self, place: int) -> int:
        """Return the claim that an outcome of a row belongs to."""
        return self.own_claims[place] or max(self.state.claims[place], 0)

    def add_new(self, first: int, contents: Sequence[bytes]) -> list[int]:
        """Add rows that this call has added to the run, numbered from `first`; return their places."""
        return [self._add(number, content, 0, 0) for number, content in enumerate(contents, start=first)]

    def forget(self, first: int) -> None:
        """Forget rows that were removed from the run again: those numbered from `first`."""
        with self._lock:
            for number in [number for number in self._places if number >= first]:
                self.numbers[self._places.pop(number)] = -1
            if not self._places:
                self.key_claims = {}
                self.numbers, self._contents = array("q"), bytearray()
                self.seen_claims, self.seen_answers, self.own_claims = array("q"), array("q"), array("q")
                self.state = RunState(0)

    def add(self, rows: Sequence[StoredRow], records: Iterable[Record], *, session: int, sees: bool) -> list[int]:
        """Add rows that were read, or take over what other sessions than `session` have written; return their places.

        Parameters
        ----------
        rows : sequence of StoredRow
        records : iterable of Record
            Those of their answers and looks, in their order.
        session : int
        sees : bool
            Whether the call decides by this state what it sends: it may then claim a row that stays so.

        Raises
        ------
        JournalError
            A record cannot be read.
        """
        places: list[int] = []
        answers: dict[tuple[int, int], int] = {}
        for row in rows:
            is_new = row.number not in self._places
            place = self._add(row.number, row.content or row.digest, row.claim, row.answer)
            places.append(place)
            if sees:
                self.seen_claims[place], self.seen_answers[place] = row.claim, row.answer
            if row.session == session and not is_new:
                continue
            self._restore(place, row)
            for identifier in (row.answer, row.look):
                answers[identifier, row.number] = place
        for record in records:
            self._apply(record, answers)
        return places

    def _add(self, number: int, content: bytes, claim: int, answer: int) -> int:
        with self._lock:
            place = self._places.get(number)
            if place is None:
                place = len(self.numbers)
                self._size = len(content)
                self._contents += content
                self.seen_claims.append(claim)
                self.seen_answers.append(answer)
                self.own_claims.append(0)
                self.state.grow(place + 1)
                self._places[number] = place
                self.numbers.append(number)
            return place

    def _restore(self, place: int, row: StoredRow) -> None:
        state = self.state
        state.phases[place] = _PHASES[row.state]
        state.claims[place] = row.claim or NO_CLAIM
        state.sessions[place] = row.session if row.state == "s" else NO_CLAIM
        (self._live.add if row.is_live else self._live.discard)(place)

    def _apply(self, record: Record, answers: dict[tuple[int, int], int]) -> None:
        """Take over from a record the outcomes of the rows of which it is the answer or the look."""
        identifier, _, kind, packed, body = record
        try:
            for outcome in unpack_outcomes(unpack_rows(packed), body or b""):
                place = answers.get((identifier, outcome.position))
                if place is None:
                    continue
                placed = outcome._replace(position=place)
                if kind == UPDATE:
                    self.state.results.merge(placed)
                else:
                    self.state.results.correct(placed)
        except UNREADABLE as exc:
            msg = f"its record {identifier} cannot be read: {exc}"
            raise JournalError(msg) from exc

    def replay(self, rows: Sequence[StoredRow], records: Iterable[Record], *, session: int) -> None:
        """Add all rows of the run, and compute their state from all its records, but for those of `session`.

        Raises
        ------
        JournalError
            A record cannot be read.
        """
        self.add(rows, (), session=session, sees=False)
        state = RunState(len(self))
        for identifier, writer, kind, packed, body in records:
            places = [self._places[number] for number in unpack_rows(packed)]
            try:
                state.add(identifier, writer, kind, pack_rows(places), body)
            except UNREADABLE as exc:
                msg = f"its record {identifier} cannot be read: {exc}"
                raise JournalError(msg) from exc
        self.state = state
        for row in rows:
            self._restore(self._places[row.number], row)

    def row_state(self, place: int) -> RowState:
        """Return the state of a row, as it was read."""
        if self.state.phases[place] == SENT:
            return RowState("sent", is_live=place in self._live)
        return self.state.row_state(place)
