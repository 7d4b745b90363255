"""Encodes a journal's records, and computes the state of a run's rows from them. Reads and writes no file.

Owns the meaning of records and of their order. A journal is a list of records that only grows. A *claim* says that rows
are about to be sent; an *answer* says what became of rows; an *update* gives a later state of their executions; a
*correction* gives rows the executions that an answer had given to other rows, or takes them away. The rows of a run are
numbered from 0.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from math import nan
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import orjson

from ..decoding import decode, storable
from ..models import (
    COMPLETED,
    FAILED,
    INVALID,
    PENDING,
    STATUSES,
    TERMINAL,
    UNKNOWN,
    Outcome,
)
from ..results import NO_TIME, Results

CLAIM: Final = 0
ANSWER: Final = 1
UPDATE: Final = 2
CORRECTION: Final = 3

NEW: Final = 0
SENT: Final = 1
SETTLED: Final = 2

NO_CLAIM: Final = -1

NANO: Final = 1_000_000_000
"""Times of records are nanoseconds since the epoch."""

UNANSWERED: Final = "sent, but no response was recorded: it may have started"


Record: TypeAlias = tuple[int, int, int, bytes, bytes | None]
"""Number, session, kind, packed rows and packed outcomes of a record. A session is the call that wrote it."""


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
    bulk_id, rows = outcomes[0].bulk_id, [_fields(outcome) for outcome in outcomes]
    try:
        body = orjson.dumps([bulk_id, rows])
    except orjson.JSONEncodeError:
        # One field that cannot be encoded must not lose the execution, nor those beside it.
        body = orjson.dumps([_storable(bulk_id), [list(map(_storable, fields)) for fields in rows]])
    return body if len(body) < _LONG else zlib.compress(body, 1)


def _storable(value: Any) -> Any:
    try:
        orjson.dumps([[[value]]])
    except orjson.JSONEncodeError:
        return storable(value)
    return value


_LONG: Final = 1024
"""Bytes from which on a body is compressed: a look with outputs is, a bare answer of ten rows is not."""


def _read(body: bytes) -> Any:
    if not body.startswith(b"["):
        try:
            body = zlib.decompress(body)
        except zlib.error as exc:
            raise ValueError(str(exc)) from exc
    return decode(body, check_depth=False)


_JUST_ACCEPTED: Final = (None,) * 5
"""The end of nearly every outcome of nearly every answer."""


def _fields(outcome: Outcome) -> list[Any]:
    _, status, _, execution_id, error, started_at, completed_at, output, cost = outcome
    if outcome[4:] == _JUST_ACCEPTED:
        return [status, execution_id]
    fields = [status, execution_id, error, started_at, completed_at, cost, output]
    while fields[-1] is None:
        fields.pop()
    return fields


def unpack_outcomes(rows: Sequence[int], body: bytes) -> Iterator[Outcome]:
    """Read outcomes, with their rows as positions."""
    bulk_id, listed = _read(body)
    for row, fields in zip(rows, listed, strict=True):
        yield _outcome(row, bulk_id, fields)


def _outcome(row: int, bulk_id: str | None, fields: list[Any]) -> Outcome:
    status, execution_id, error, started_at, completed_at, cost, output = fields + _NONES[len(fields) :]
    status = _WORDS.get(status, status)
    return Outcome(row, status, bulk_id, execution_id, error, started_at, completed_at, output, cost)


_ALL: Final = 7
_WITH_EXECUTION: Final = 2
_NONES: Final[list[Any]] = [None] * _ALL


def ids_of(body: bytes) -> set[str]:
    """Return the ids of the bulk operation and of the executions that outcomes are of."""
    bulk_id, listed = _read(body)
    ids = {fields[1] for fields in listed if len(fields) >= _WITH_EXECUTION} | {bulk_id}
    return ids - {None}


_WORDS: Final = {status: status for status in STATUSES}
"""One string for all rows of a status, not one for each."""


class RowState(NamedTuple):
    """The state of one row of a run.

    ``new``: nothing was sent, or what was sent certainly created nothing. ``sent``: there is no response; `is_live`
    says whether the call that sent it is still running. ``settled``: `outcome` is the result, its position being the
    row's number in the run.
    """

    state: Literal["new", "sent", "settled"]
    outcome: Outcome | None = None
    is_live: bool = False


class RowHint(IntEnum):
    """What a frame says of its row: of several rows of a run with the same digest, it is one in this state."""

    ANY = 0
    UNSENT = 1
    UNKNOWN = 2
    REFUSED = 3


class RunState:
    """What the records of one run add up to: the state of each row.

    Parameters
    ----------
    size : int
        Rows of the run.

    Attributes
    ----------
    replaced_executions : dict of str to int
        The executions that rows had before they were triggered again, and the row of each.
    """

    def __init__(self, size: int) -> None:
        self._results = Results(size)
        self._counted = True
        self.replaced = self.replaced_open = 0
        self.replaced_cost = 0.0
        self.replaced_executions: dict[str, int] = {}
        self.phases = bytearray(size)
        self.claims = array("q", [NO_CLAIM]) * size
        self.sessions = array("q", [NO_CLAIM]) * size

    @property
    def results(self) -> Results:
        """What is known of each row, column by column."""
        if not self._counted:
            self._results.load()
            self._counted = True
        return self._results

    def grow(self, size: int) -> None:
        """Take in rows that the run got since."""
        # Not `self.results`, which counts every row of the run again after each record.
        more = size - self._results.size
        if more > 0:
            self._results.grow(more)
            self.phases += bytearray(more)
            self.claims += array("q", [NO_CLAIM]) * more
            self.sessions += array("q", [NO_CLAIM]) * more

    def add(self, number: int, session: int, kind: int, packed_rows: bytes, body: bytes | None) -> Sequence[int]:
        """Apply the next record (a `Record`), and return its rows."""
        rows = unpack_rows(packed_rows)
        if kind == CLAIM:
            for row in rows:
                self.phases[row] = SENT
                self.claims[row] = number
                self.sessions[row] = session
        else:
            # Column by column and counted later: that is four times as fast, and a run may have a million rows.
            self._counted = False
            bulk_id, listed = _read(body or b"")
            take = {UPDATE: self._update, CORRECTION: self._correct}.get(kind, self._answer)
            for row, fields in zip(rows, listed, strict=True):
                take(row, bulk_id, fields, session)
        return rows

    def _answer(self, row: int, bulk_id: str | None, fields: list[Any], session: int) -> None:
        """Take in an answer: what only some call believes never covers an execution, nor another call's request."""
        results, word, status = self._results, self.phases[row], fields[0]
        if status == PENDING:
            # Nothing was created by this call, so the row is what it was before this call's claim.
            if word == SENT and self.sessions[row] == session:
                self.phases[row] = NEW if results.status[row] in (PENDING, INVALID) else SETTLED
            return
        if status == INVALID:
            if word != NEW:
                return
        elif word == SETTLED and results.execution_id[row] is not None:
            # Who gave up looking, or found what was sent before, does not know better than who had the answer.
            if len(fields) < _WITH_EXECUTION or fields[1] is None or self.sessions[row] != session:
                return
        else:
            self.phases[row] = SETTLED
        self._put(row, bulk_id, fields)

    def _correct(self, row: int, bulk_id: str | None, fields: list[Any], _session: int) -> None:
        self.phases[row] = SETTLED
        # The execution that the row loses is another row's: it was not paid in addition.
        self._results.execution_id[row] = None
        self._put(row, bulk_id, fields)

    def _put(self, row: int, bulk_id: str | None, fields: list[Any]) -> None:
        results = self._results
        status, execution_id, error, started_at, completed_at, cost, output = fields + _NONES[len(fields) :]
        replaced = results.execution_id[row]
        if replaced is not None and replaced != execution_id:
            # Triggered again: what the row had before is paid all the same.
            self.replaced_executions[replaced] = row
            before = results.cost[row]
            self.replaced += 1
            self.replaced_cost += before if before == before else 0.0
            self.replaced_open += before != before
        results.status[row] = _WORDS.get(status, status)
        results.bulk_id[row], results.execution_id[row], results.error[row] = bulk_id, execution_id, error
        results.started_at[row] = NO_TIME if started_at is None else started_at
        results.completed_at[row] = NO_TIME if completed_at is None else completed_at
        results.cost[row] = nan if cost is None else cost
        results.output[row] = output

    def _update(self, row: int, bulk_id: str | None, fields: list[Any], _session: int) -> None:
        results = self._results
        execution_id = results.execution_id[row]
        if execution_id is None or len(fields) < _WITH_EXECUTION or fields[1] != execution_id:
            return
        whole = len(fields) == _ALL and None not in fields[3:]
        if whole and fields[0] == COMPLETED and results.status[row] not in TERMINAL:
            # As `merge` would, for what nearly every look is.
            fields[1] = execution_id
            self._put(row, results.bulk_id[row] or bulk_id, fields)
        else:
            results.merge(_outcome(row, bulk_id, fields))

    def row_state(self, row: int) -> RowState:
        """Return the state of one row; this cannot tell whether the call that sent it is still running."""
        phase = self.phases[row]
        if phase == SETTLED:
            return RowState("settled", self._results.outcome(row))
        return RowState("sent") if phase == SENT else RowState("new", self._refusal(row))

    def matches(self, hint: RowHint, row: int) -> bool:
        """Return whether a row is what a frame's hint says of its own row."""
        phase, status = self.phases[row], self._results.status[row]
        if hint == RowHint.UNSENT:
            return phase == NEW
        if self._results.execution_id[row] is not None:
            return False
        return (phase == SENT or status == UNKNOWN) if hint == RowHint.UNKNOWN else status == FAILED

    def _refusal(self, row: int) -> Outcome | None:
        return self._results.outcome(row) if self._results.status[row] == INVALID else None

    def executions(self) -> dict[str, int]:
        """Return the executions that the run has, and each one's row."""
        return {
            execution_id: row for row, execution_id in enumerate(self._results.execution_id) if execution_id is not None
        }

    def is_untouched(self) -> bool:
        """Return whether nothing was recorded of any row."""
        return not any(self.phases) and self.results.tally().keys() <= {PENDING}

    def paid(self) -> tuple[float, int]:
        """Return the known cost of the run's executions in USD, and how many have no known cost.

        A row whose response was lost counts: it may be billed.
        """
        results = self._results
        spent, open_ = self.replaced_cost, self.replaced_open
        for row, execution_id in enumerate(results.execution_id):
            cost = results.cost[row]
            if cost == cost:
                spent += cost
            elif execution_id is not None or self.phases[row] == SENT or results.status[row] == UNKNOWN:
                open_ += 1
        return spent, open_

    def unanswered(self) -> Iterator[int]:
        """Yield the rows that were sent and have no answer."""
        row = self.phases.find(SENT)
        while row >= 0:
            yield row
            row = self.phases.find(SENT, row + 1)
