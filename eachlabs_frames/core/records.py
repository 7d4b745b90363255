"""A journal's records <-> bytes, and what they add up to: what is known of each row of a run.

Owns the meaning of a record and of their order. It never reads or writes a file.

A journal is a list of records that only grows. A *claim* says that rows are about to be sent; an *answer* says what
became of rows; a *look* says how their executions stand later on. The rows of a run are numbered from 0.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ..models import INVALID, PENDING, STATUSES, Outcome, Standing
from .outcomes import Results

CLAIM: Final = 0
ANSWER: Final = 1
LOOK: Final = 2

NEW: Final = 0
SENT: Final = 1
SETTLED: Final = 2

NO_CLAIM: Final = -1

UNANSWERED: Final = "sent, and no answer was noted: it may have started"


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `at` is in epoch nanoseconds, `session` the call that wrote it."""

    number: int
    session: int
    kind: int
    at: int
    rows: bytes
    body: bytes | None


def pack_rows(rows: Iterable[int]) -> bytes:
    """Write row numbers down: four bytes each, whatever the machine's own order."""
    packed = array("I", rows)
    return packed.tobytes() if _LITTLE else _swapped(packed)


def unpack_rows(packed: bytes) -> Sequence[int]:
    """Read row numbers."""
    rows = array("I")
    rows.frombytes(packed)
    if not _LITTLE:
        rows.byteswap()
    return rows


_LITTLE: Final = array("H", [1]).tobytes() == b"\x01\x00"


def _swapped(packed: array[int]) -> bytes:
    packed.byteswap()
    return packed.tobytes()


def pack_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """Write outcomes of one bulk operation down; their positions are written elsewhere, by `pack_rows`."""
    said = [outcomes[0].bulk_id, [_fields(outcome) for outcome in outcomes]]
    try:
        return orjson.dumps(said)
    except orjson.JSONEncodeError:
        # Half a surrogate pair, an integer of more than 64 bits: no reason to forget an execution.
        return json.dumps(said, separators=(",", ":"), default=str).encode()


def _read(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)


def _fields(outcome: Outcome) -> list[Any]:
    _, status, _, execution_id, error, started_at, completed_at, output, cost = outcome
    fields = [status, execution_id, error, started_at, completed_at, cost, output]
    while fields[-1] is None:
        fields.pop()
    return fields


def unpack_outcomes(rows: Sequence[int], body: bytes) -> Iterator[Outcome]:
    """Read outcomes, with their rows as positions."""
    bulk_id, listed = _read(body)
    for row, fields in zip(rows, listed, strict=True):
        status, execution_id, error, started_at, completed_at, cost, output = fields + [None] * (7 - len(fields))
        # One string for all rows of a status, not one for each.
        status = _WORDS.get(status, status)
        yield Outcome(row, status, bulk_id, execution_id, error, started_at, completed_at, output, cost)


def bulk_id_of(body: bytes) -> str | None:
    """Read which bulk operation outcomes are of."""
    bulk_id: str | None = _read(body)[0]
    return bulk_id


_WORDS: Final = {status: status for status in STATUSES}


class Book:
    """What the records of one run add up to.

    Parameters
    ----------
    size : int
        Rows of the run.
    """

    def __init__(self, size: int) -> None:
        self.results = Results(size)
        self.words = bytearray(size)
        self.claims = array("q", [NO_CLAIM]) * size
        self.sessions = array("q", [NO_CLAIM]) * size

    def grow(self, size: int) -> None:
        """Take in rows that the run got since."""
        more = size - self.results.size
        if more > 0:
            self.results.grow(more)
            self.words += bytearray(more)
            self.claims += array("q", [NO_CLAIM]) * more
            self.sessions += array("q", [NO_CLAIM]) * more

    def add(self, record: Record) -> Sequence[int]:
        """Take in the next record; return the rows that it speaks of."""
        rows = unpack_rows(record.rows)
        if record.kind == CLAIM:
            for row in rows:
                self.words[row] = SENT
                self.claims[row] = record.number
                self.sessions[row] = record.session
        elif record.kind == LOOK:
            for outcome in unpack_outcomes(rows, record.body or b""):
                self._look(outcome)
        else:
            for outcome in unpack_outcomes(rows, record.body or b""):
                self._answer(outcome, record.session)
        return rows

    def _answer(self, outcome: Outcome, session: int) -> None:
        """Take in an answer: what only some call believes never covers an execution, nor another call's request."""
        row, results, word = outcome.position, self.results, self.words[outcome.position]
        mine = self.sessions[row] == session
        if outcome.status == PENDING:
            # Nothing was created by this call, so the row is what it was before this call's claim.
            if word == SENT and mine:
                self.words[row] = NEW if results.status[row] in (PENDING, INVALID) else SETTLED
        elif outcome.status == INVALID:
            if word == NEW:
                results.replace(outcome)
        elif word == SETTLED and results.execution_id[row] is not None and (outcome.execution_id is None or not mine):
            return  # who gave up looking, or found what was sent before, does not know better than who had the answer
        else:
            results.replace(outcome)
            self.words[row] = SETTLED

    def _look(self, outcome: Outcome) -> None:
        row = outcome.position
        if outcome.execution_id is not None and self.results.execution_id[row] == outcome.execution_id:
            self.results.merge(outcome)

    def standing(self, row: int) -> Standing:
        """Say how one row stands."""
        word = self.words[row]
        if word == SETTLED:
            return Standing("settled", self.results.outcome(row))
        return Standing("sent") if word == SENT else Standing("new", self._refusal(row))

    def _refusal(self, row: int) -> Outcome | None:
        return self.results.outcome(row) if self.results.status[row] == INVALID else None

    def unanswered(self) -> Iterator[int]:
        """Yield the rows that were sent and have no answer."""
        row = self.words.find(SENT)
        while row >= 0:
            yield row
            row = self.words.find(SENT, row + 1)
