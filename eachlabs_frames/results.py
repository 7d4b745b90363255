"""The results of a run, column by column, with counts. Owns how later outcomes change a row.

Row i of each column is row i of the frame, whatever order responses arrive in. A list per column, not an object per
row, keeps the result of 100,000 rows small. The columns are those of `models.COLUMNS`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from math import isnan, nan
from operator import itemgetter
from typing import Any, Final

from .models import COLUMNS, FAILED, PENDING, SETTLED, STATUSES, TERMINAL, UNKNOWN, ColumnKind, Json, Outcome

NO_TIME: Final = -(2**63)

_MISSING: Final[Mapping[ColumnKind, Any]] = {"text": None, "time": NO_TIME, "number": nan, "json": None}
_DETAILS: Final = [(name, COLUMNS[name]) for name in Outcome._fields[5:]]
"""The columns that only the API fills in: a later value replaces an earlier one."""

_not_in_flight: Final = itemgetter(*SETTLED, PENDING)


def _new_column(name: str, size: int) -> Any:
    missing = PENDING if name == "status" else _MISSING[COLUMNS[name]]
    typecode = {"time": "q", "number": "d"}.get(COLUMNS[name])
    return [missing] * size if typecode is None else array(typecode, [missing]) * size


class Results:
    """The current state of each row, column by column.

    Attributes
    ----------
    bulk_id, execution_id, status, error, ... : list or array
        Each result column. A missing time is `NO_TIME`, a missing number NaN, anything else None.
    accepted : int
        Rows that have an execution.
    superseded : int
        Executions that rows had before they were triggered again; each was paid all the same.
    superseded_cost : float
        What these cost, in USD, as far as it was known then.
    superseded_unknown : int
        Those of them whose cost was not known.
    """

    bulk_id: list[str | None]
    execution_id: list[str | None]
    status: list[str]
    error: list[str | None]
    started_at: array[int]
    completed_at: array[int]
    output: list[Json]
    cost: array[float]

    def __init__(self, size: int) -> None:
        self.size = size
        self.accepted = 0
        self.superseded = self.superseded_unknown = 0
        self.superseded_cost = 0.0
        self.load(**{name: _new_column(name, size) for name in COLUMNS})

    def load(self, **columns: Any) -> None:
        """Take over whole columns, each of this size, and count again."""
        for name, column in columns.items():
            setattr(self, name, column)
        self._details = [(self.column(name), _MISSING[kind], kind) for name, kind in _DETAILS]
        self._later = self._details[4:]
        self._tally = Counter(self.status)
        self.accepted = len(self.execution_id) - self.execution_id.count(None)

    def copy(self) -> Results:
        """Return results that later outcomes do not change; outputs are shared."""
        other = Results(0)
        other.size = self.size
        other.load(**{name: self.column(name)[:] for name in COLUMNS})
        other._set_superseded(*self._superseded())
        return other

    def restore(self, copied: Results) -> None:
        """Take over the state of a copy that was made before, and is not used any more."""
        self.load(**{name: copied.column(name) for name in COLUMNS})
        self._set_superseded(*copied._superseded())

    def grow(self, more: int) -> None:
        """Add pending rows at the end."""
        for name in COLUMNS:
            self.column(name).extend(_new_column(name, more))
        self.size += more
        self._tally[PENDING] += more

    def outcome(self, row: int) -> Outcome:
        """Return the current state of a row."""
        started_at, completed_at, cost = self.started_at[row], self.completed_at[row], self.cost[row]
        return Outcome(
            row,
            self.status[row],
            self.bulk_id[row],
            self.execution_id[row],
            self.error[row],
            None if started_at == NO_TIME else started_at,
            None if completed_at == NO_TIME else completed_at,
            self.output[row],
            None if isnan(cost) else cost,
            *(self._value(row, *later) for later in self._later),
        )

    def tally(self) -> Mapping[str, int]:
        """Return the rows per status, of the statuses that occur."""
        return {status: count for status, count in self._tally.items() if count}

    def _value(self, row: int, column: Any, missing: Any, kind: ColumnKind) -> Any:
        value = column[row]
        is_missing = isnan(value) if kind == "number" else kind == "time" and value == missing
        return None if is_missing else value

    def store(
        self,
        row: int,
        bulk_id: str | None,
        status: str,
        execution_id: str | None = None,
        error: str | None = None,
        started_at: int | None = None,
        completed_at: int | None = None,
        cost: float | None = None,
        output: Json = None,
        *others: Any,
    ) -> None:
        """Overwrite a row, without counting: call `load` afterwards. The fields are in the order of the journal."""
        # Written out, because a loop over all columns takes twice as long, and a run may have a million rows.
        self.status[row] = status
        self.bulk_id[row] = bulk_id
        self.execution_id[row] = execution_id
        self.error[row] = error
        self.started_at[row] = NO_TIME if started_at is None else started_at
        self.completed_at[row] = NO_TIME if completed_at is None else completed_at
        self.cost[row] = nan if cost is None else cost
        self.output[row] = output
        if self._later:
            for (column, missing, _), value in zip_longest(self._later, others):
                column[row] = missing if value is None else value

    def store_rows(self, first: int, other: Results, start: int, stop: int) -> None:
        """Overwrite the rows from `first` on with those of another's, without counting: call `load` afterwards."""
        for name in COLUMNS:
            self.column(name)[first : first + stop - start] = other.column(name)[start:stop]

    def replace(self, outcome: Outcome) -> None:
        """Overwrite a row with the outcome of a new trigger."""
        row, execution_id = outcome.position, outcome.execution_id
        existing = self.execution_id[row]
        if existing not in (None, execution_id):
            cost = self.cost[row]
            self.superseded += 1
            self.superseded_cost += 0.0 if isnan(cost) else cost
            self.superseded_unknown += isnan(cost)
        self._set_status(row, outcome.status)
        self.accepted += (execution_id is not None) - (existing is not None)
        # The journal stores the cost before the output, and other columns after both.
        self.store(row, outcome.bulk_id, outcome.status, *outcome[3:7], outcome.cost, outcome.output, *outcome[9:])

    def correct(self, outcome: Outcome) -> None:
        """Overwrite a row that has another row's execution: it was not paid in addition."""
        superseded = self._superseded()
        self.replace(outcome)
        self._set_superseded(*superseded)

    def _superseded(self) -> tuple[int, float, int]:
        return self.superseded, self.superseded_cost, self.superseded_unknown

    def _set_superseded(self, count: int, cost: float, unknown: int) -> None:
        self.superseded, self.superseded_cost, self.superseded_unknown = count, cost, unknown

    def merge(self, outcome: Outcome) -> bool:
        """Apply a later state of a row's execution; missing values change nothing. Return whether the row changed."""
        row, status = outcome.position, outcome.status
        if outcome.execution_id != self.execution_id[row] and outcome.execution_id is not None:
            return False  # the row has been triggered again since this state was requested
        before = self.status[row], self.error[row]
        if self.status[row] not in TERMINAL and not (status == UNKNOWN and self.status[row] != UNKNOWN):
            self._set_status(row, status)
        # A trigger's response may contain an error that the execution then recovered from.
        self.error[row] = outcome.error or (self.error[row] if self.status[row] == FAILED else None)
        self.bulk_id[row] = self.bulk_id[row] or outcome.bulk_id
        changed = before != (self.status[row], self.error[row])
        for (column, _, kind), value in zip(self._details, outcome[5:], strict=True):
            if value is not None:
                # Outputs are large, and are not compared.
                changed |= column[row] is None if kind == "json" else column[row] != value
                column[row] = value
        return changed

    def note(self, row: int, *, status: str | None = None, error: str | None) -> None:
        """Set a row's error, and its status if given."""
        if status is not None:
            self._set_status(row, status)
        self.error[row] = error

    def open_rows(self) -> Iterator[int]:
        """Yield the rows whose execution has not ended."""
        for row, execution_id in enumerate(self.execution_id):
            if execution_id is not None and self.status[row] not in TERMINAL and self.status[row] != UNKNOWN:
                yield row

    def in_flight(self) -> int:
        """Return how many executions are accepted and not known to have ended."""
        others: int = sum(_not_in_flight(self._tally))
        return self.size - others

    def paid(self) -> tuple[float, list[int]]:
        """Return what the rows' executions are known to have cost, in USD, and the rows that have no known cost.

        A row whose answer was lost counts: it may be billed.
        """
        cells = enumerate(zip(self.execution_id, self.status, self.cost, strict=True))
        unpriced = [
            row
            for row, (execution_id, status, cost) in cells
            if isnan(cost) and (execution_id is not None or status == UNKNOWN)
        ]
        return sum(cost for cost in self.cost if not isnan(cost)), unpriced

    def column(self, name: str) -> Any:
        """Return one column."""
        return getattr(self, name)

    def drop(self, name: str) -> None:
        """Free one column that was converted, so that a large result is never in memory twice."""
        setattr(self, name, None)
        self._details.clear()

    def _set_status(self, row: int, status: str) -> None:
        if status == self.status[row]:
            return
        self._tally[self.status[row]] -= 1
        self._tally[status] += 1
        self.status[row] = status


def per_bulk(bulk_ids: Iterable[str | None], statuses: Iterable[str]) -> dict[str | None, Counter[str]]:
    """Return a count per status for each bulk operation, in order of first appearance; None: never sent with one."""
    counts: dict[str | None, Counter[str]] = {}
    for bulk_id, status in zip(bulk_ids, statuses, strict=True):
        counts.setdefault(bulk_id, Counter())[status] += 1
    return counts


def status_columns(counts: Mapping[str | None, Counter[str]]) -> list[str]:
    """Return every status of this package, then those of the API that it does not know."""
    statuses = {status for count in counts.values() for status in count}
    return [*STATUSES, *sorted(statuses.difference(STATUSES))]
