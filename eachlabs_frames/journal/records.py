"""Encodes a journal's records, and computes the state of a run's rows from them. Reads and writes no file.

Owns the meaning of records and of their order. A journal is a list of records that only grows. A *claim* says that rows
are about to be sent; an *answer* has the outcomes of a response; an *update* has a later state of executions; a
*correction* gives rows the executions that an answer had given to other rows, or takes them away. The rows of a run are
numbered from 0.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import orjson

from ..decoding import decode, storable
from ..models import COMPLETED, FAILED, INVALID, PENDING, STATUSES, TERMINAL, UNKNOWN, Outcome
from ..results import Results

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


# -- encoding ---------------------------------------------------------------------------------------------------------

_ALL: Final = len(Outcome._fields) - 2
"""Stored fields of an outcome: all but its position and its bulk operation, which are stored once for all."""

_NONES: Final[list[Any]] = [None] * _ALL
_JUST_ACCEPTED: Final = (None,) * len(Outcome._fields[4:])
"""The last fields of nearly every outcome of nearly every answer."""

_WITH_EXECUTION: Final = 2
_COMPRESSED: Final = 1024
"""Bytes from which on a body is compressed: an update with outputs is, an answer without outputs is not."""

_BIG_ENDIAN: Final = array("H", [1]).tobytes() != b"\x01\x00"


def pack_rows(rows: Iterable[int]) -> bytes:
    """Encode row numbers: four bytes each, whatever the machine's byte order."""
    packed = array("I", rows)
    if _BIG_ENDIAN:
        packed.byteswap()
    return packed.tobytes()


def unpack_rows(packed: bytes) -> Sequence[int]:
    """Decode row numbers."""
    rows = array("I")
    rows.frombytes(packed)
    if _BIG_ENDIAN:
        rows.byteswap()
    return rows


def pack_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """Encode outcomes of one bulk operation, without their positions: `pack_rows` encodes these."""
    bulk_id, rows = outcomes[0].bulk_id, [_fields(outcome) for outcome in outcomes]
    try:
        body = orjson.dumps([bulk_id, rows])
    except orjson.JSONEncodeError:
        # A field that cannot be encoded must not lose the execution, nor the other ones.
        body = orjson.dumps([_storable(bulk_id), [list(map(_storable, fields)) for fields in rows]])
    return body if len(body) < _COMPRESSED else zlib.compress(body, 1)


def _storable(value: Any) -> Any:
    try:
        orjson.dumps([[[value]]])
    except orjson.JSONEncodeError:
        return storable(value)
    return value


def _fields(outcome: Outcome) -> list[Any]:
    """Return the stored fields; missing ones at the end are left out.

    New columns come last, so that records of older versions can be read.
    """
    if outcome[4:] == _JUST_ACCEPTED:
        return [outcome.status, outcome.execution_id]
    fields = [outcome.status, *outcome[3:7], outcome.cost, outcome.output, *outcome[9:]]
    while fields[-1] is None:
        fields.pop()
    return fields


def _outcome(row: int, bulk_id: str | None, fields: list[Any]) -> Outcome:
    status, execution_id, error, started_at, completed_at, cost, output, *others = fields + _NONES[len(fields) :]
    status = _STATUSES.get(status, status)
    return Outcome(row, status, bulk_id, execution_id, error, started_at, completed_at, output, cost, *others)


_STATUSES: Final = {status: status for status in STATUSES}


def unpack_outcomes(rows: Sequence[int], body: bytes) -> Iterator[Outcome]:
    """Decode outcomes, with their rows as positions."""
    bulk_id, listed = _decode(body)
    for row, fields in zip(rows, listed, strict=True):
        yield _outcome(row, bulk_id, fields)


def ids_of(body: bytes) -> set[str]:
    """Return the ids of the bulk operation and of the executions in encoded outcomes."""
    bulk_id, listed = _decode(body)
    ids = {fields[1] for fields in listed if len(fields) >= _WITH_EXECUTION} | {bulk_id}
    return ids - {None}


def bulk_id_of(body: bytes) -> str | None:
    """Return the id of the bulk operation in encoded outcomes."""
    bulk_id: str | None = _decode(body)[0]
    return bulk_id


def _decode(body: bytes) -> Any:
    if not body.startswith(b"["):
        try:
            body = zlib.decompress(body)
        except zlib.error as exc:
            raise ValueError(str(exc)) from exc
    return decode(body, check_depth=False)


# -- the state of a run's rows ----------------------------------------------------------------------------------------


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
    """What a frame knows of its row: of several rows of a run with the same digest, it is one in this state."""

    ANY = 0
    UNSENT = 1
    UNKNOWN = 2
    REFUSED = 3


class RunState:
    """The state of each row of one run, computed from its records.

    Parameters
    ----------
    size : int
        Rows of the run.

    Attributes
    ----------
    phases : bytearray
        `NEW`, `SENT` or `SETTLED`, for each row.
    claims, sessions : array of int
        The latest claim of each row, and the session that made it; `NO_CLAIM` if there is none.
    replaced, replaced_unpriced : int
        Executions that rows had before they were triggered again, and how many of these have no known cost.
    replaced_cost : float
        The known costs of these executions, in USD.
    replaced_executions : dict of str to int
        These executions, and the row of each.
    """

    def __init__(self, size: int) -> None:
        self._results = Results(size)
        self._counted = True
        self.replaced = self.replaced_unpriced = 0
        self.replaced_cost = 0.0
        self.replaced_executions: dict[str, int] = {}
        self.phases = bytearray(size)
        self.claims = array("q", [NO_CLAIM]) * size
        self.sessions = array("q", [NO_CLAIM]) * size

    @property
    def results(self) -> Results:
        """The results of the rows."""
        if not self._counted:
            self._results.load()
            self._counted = True
        return self._results

    def grow(self, size: int) -> None:
        """Add the rows that the run has got since."""
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
            # Counted later: that is faster, and a run may have a million rows.
            self._counted = False
            apply = {UPDATE: self._update, CORRECTION: self._correct}.get(kind, self._answer)
            bulk_id, listed = _decode(body or b"")
            for row, fields in zip(rows, listed, strict=True):
                apply(row, bulk_id, fields, session)
        return rows

    def _answer(self, row: int, bulk_id: str | None, fields: list[Any], session: int) -> None:
        """Apply an answer. An outcome without an execution never replaces an execution, nor another call's claim."""
        results, phase, status = self._results, self.phases[row], fields[0]
        if status == PENDING:
            # This call created nothing, so the row is what it was before this call's claim.
            if phase == SENT and self.sessions[row] == session:
                self.phases[row] = NEW if results.status[row] in (PENDING, INVALID) else SETTLED
            return
        if status == INVALID:
            if phase != NEW:
                return
        elif phase == SETTLED and results.execution_id[row] is not None:
            # Only the call that claimed the row replaces its execution: what another call found is older.
            if len(fields) < _WITH_EXECUTION or fields[1] is None or self.sessions[row] != session:
                return
        else:
            self.phases[row] = SETTLED
        self._store(row, bulk_id, fields)

    def _correct(self, row: int, bulk_id: str | None, fields: list[Any], _session: int) -> None:
        self.phases[row] = SETTLED
        # The execution that the row loses is another row's: it was not paid in addition.
        self._results.execution_id[row] = None
        self._store(row, bulk_id, fields)

    def _store(self, row: int, bulk_id: str | None, fields: list[Any]) -> None:
        results = self._results
        replaced = results.execution_id[row]
        if replaced is not None and (len(fields) < _WITH_EXECUTION or replaced != fields[1]):
            # Triggered again: the row's earlier execution is paid all the same.
            self.replaced_executions[replaced] = row
            cost = results.cost[row]
            self.replaced += 1
            self.replaced_cost += cost if cost == cost else 0.0
            self.replaced_unpriced += cost != cost
        # One string for all rows of a status, not one for each.
        fields[0] = _STATUSES.get(fields[0], fields[0])
        results.store(row, bulk_id, *fields)

    def _update(self, row: int, bulk_id: str | None, fields: list[Any], _session: int) -> None:
        results = self._results
        execution_id = results.execution_id[row]
        if execution_id is None or len(fields) < _WITH_EXECUTION or fields[1] != execution_id:
            return
        is_complete = len(fields) == _ALL and None not in fields[3:]
        if is_complete and fields[0] == COMPLETED and results.status[row] not in TERMINAL:
            # Nearly every update. `merge` would do the same, but takes longer.
            self._store(row, results.bulk_id[row] or bulk_id, fields)
        else:
            results.merge(_outcome(row, bulk_id, fields))

    def row_state(self, row: int) -> RowState:
        """Return the state of one row; this cannot tell whether the call that sent it is still running."""
        phase, status = self.phases[row], self._results.status[row]
        if phase == SETTLED:
            return RowState("settled", self._results.outcome(row))
        if phase == SENT:
            return RowState("sent")
        return RowState("new", self._results.outcome(row) if status == INVALID else None)

    def matches(self, hint: RowHint, row: int) -> bool:
        """Return whether the state of a row is that of a hint."""
        phase, status = self.phases[row], self._results.status[row]
        if hint == RowHint.UNSENT:
            return phase == NEW
        if self._results.execution_id[row] is not None:
            return False
        return (phase == SENT or status == UNKNOWN) if hint == RowHint.UNKNOWN else status == FAILED

    def executions(self) -> dict[str, int]:
        """Return the executions of the run, and the row of each."""
        return {
            execution_id: row for row, execution_id in enumerate(self._results.execution_id) if execution_id is not None
        }

    def is_untouched(self) -> bool:
        """Return whether nothing was recorded of any row."""
        return not any(self.phases) and self.results.tally().keys() <= {PENDING}

    def paid(self) -> tuple[float, list[int]]:
        """Return the known cost of the run's executions in USD, and the rows of those that have no known cost.

        -1 stands for an execution that no row has any more. A row whose response was lost counts: it may be billed.
        """
        results = self._results
        spent, unpriced = self.replaced_cost, [NO_CLAIM] * self.replaced_unpriced
        for row, execution_id in enumerate(results.execution_id):
            cost = results.cost[row]
            if cost == cost:
                spent += cost
            elif execution_id is not None or self.phases[row] == SENT or results.status[row] == UNKNOWN:
                unpriced.append(row)
        return spent, unpriced

    def unanswered(self) -> Iterator[int]:
        """Yield the rows that were sent and have no response."""
        row = self.phases.find(SENT)
        while row >= 0:
            yield row
            row = self.phases.find(SENT, row + 1)
