"""Owns the result columns: their names, their kinds, and what is known of each row of a run, with its tallies.

Row i of each column is row i of the frame, whatever order answers come in. A list per column, not an object per row,
keeps the result of 100,000 rows small. No other module lists the columns.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import isnan, nan
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias

from .models import FAILED, PENDING, SETTLED, STATUSES, TERMINAL, UNKNOWN, Json, Outcome

Kind: TypeAlias = Literal["text", "time", "number", "json"]

KINDS: Final[Mapping[str, Kind]] = {
    "bulk_id": "text",
    "execution_id": "text",
    "status": "text",
    "error": "text",
    "started_at": "time",
    "completed_at": "time",
    "output": "json",
    "cost": "number",
}
"""The result columns in their order, and what each holds. Times are nanoseconds since 1970 (UTC), costs USD."""

COLUMNS: Final = tuple(KINDS)
NO_TIME: Final = -(2**63)
_MISSING: Final[Mapping[Kind, Any]] = {"time": NO_TIME, "number": nan}
_not_in_flight: Final = itemgetter(*SETTLED, PENDING)


class Results:
    """What is known of each row, column by column.

    Attributes
    ----------
    superseded : int
        Executions that rows had before they were triggered again; each was paid all the same.
    superseded_cost : float
        What these cost, in USD, as far as it was known then.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.bulk_id: list[str | None] = [None] * size
        self.execution_id: list[str | None] = [None] * size
        self.status: list[str] = [PENDING] * size
        self.error: list[str | None] = [None] * size
        self.started_at = array("q", [NO_TIME]) * size
        self.completed_at = array("q", [NO_TIME]) * size
        self.output: list[Json] = [None] * size
        self.cost = array("d", [nan]) * size
        self.accepted = 0
        self.superseded = 0
        self.superseded_cost = 0.0
        self._tally: Counter[str] = Counter({PENDING: size})

    def load(self, **columns: Any) -> None:
        """Take over whole columns of what was known before, each of this size."""
        for name, column in columns.items():
            setattr(self, name, column)
        self._tally = Counter(self.status)
        self.accepted = sum(execution_id is not None for execution_id in self.execution_id)

    def copy(self) -> Results:
        """Return results that later outcomes do not change; outputs are shared."""
        other = Results(0)
        other.size = self.size
        other.load(**{name: self.column(name)[:] for name in COLUMNS})
        other.superseded, other.superseded_cost = self.superseded, self.superseded_cost
        return other

    def grow(self, more: int) -> None:
        """Add pending rows at the end."""
        for name, kind in KINDS.items():
            self.column(name).extend([PENDING if name == "status" else _MISSING.get(kind)] * more)
        self.size += more
        self._tally[PENDING] += more

    def outcome(self, row: int) -> Outcome:
        """Return what is known of one row."""
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
        )

    def tally(self) -> Mapping[str, int]:
        """Return the rows per status, of the statuses that are there."""
        return {status: count for status, count in self._tally.items() if count}

    def replace(self, outcome: Outcome) -> None:
        """Write a new trigger's outcome over whatever the row held."""
        row, status, bulk_id, execution_id, error, started_at, completed_at, output, cost = outcome
        if self.execution_id[row] not in (None, execution_id):
            before = self.cost[row]
            self.superseded += 1
            self.superseded_cost += 0.0 if isnan(before) else before
        self._set_status(row, status)
        self.accepted += (execution_id is not None) - (self.execution_id[row] is not None)
        self.bulk_id[row] = bulk_id
        self.execution_id[row] = execution_id
        self.error[row] = error
        self.started_at[row] = NO_TIME if started_at is None else started_at
        self.completed_at[row] = NO_TIME if completed_at is None else completed_at
        self.output[row] = output
        self.cost[row] = nan if cost is None else cost

    def correct(self, outcome: Outcome) -> None:
        """Write over whatever the row held by mistake: the execution that it loses is another row's."""
        superseded = self.superseded, self.superseded_cost
        self.replace(outcome)
        self.superseded, self.superseded_cost = superseded

    def merge(self, outcome: Outcome) -> bool:
        """Write a later look at the same execution; what it leaves unsaid stays. Return whether anything changed."""
        row = outcome.position
        status = outcome.status
        if outcome.execution_id != self.execution_id[row] and outcome.execution_id is not None:
            return False  # the row has been triggered again since it was asked about
        before = self._row(row)
        if self.status[row] not in TERMINAL and not (status == UNKNOWN and self.status[row] != UNKNOWN):
            self._set_status(row, status)
        # A trigger's answer may note a failure that the execution then got over.
        self.error[row] = outcome.error or (self.error[row] if self.status[row] == FAILED else None)
        self.bulk_id[row] = self.bulk_id[row] or outcome.bulk_id
        if outcome.started_at is not None:
            self.started_at[row] = outcome.started_at
        if outcome.completed_at is not None:
            self.completed_at[row] = outcome.completed_at
        if outcome.output is not None:
            self.output[row] = outcome.output
        if outcome.cost is not None:
            self.cost[row] = outcome.cost
        return self._row(row) != before

    def note(self, row: int, *, status: str | None = None, error: str | None) -> None:
        """Say why a row was not sent, or what became of it."""
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

    def paid(self) -> tuple[float, int]:
        """Return what the rows' executions are known to have cost, in USD, and how many have no known cost.

        A row whose answer was lost counts: it may be billed.
        """
        known = [cost for cost in self.cost if not isnan(cost)]
        pairs = zip(self.execution_id, self.status, self.cost, strict=True)
        open_ = sum(
            isnan(cost) and (execution_id is not None or status == UNKNOWN) for execution_id, status, cost in pairs
        )
        return sum(known), open_

    def column(self, name: str) -> Any:
        """Return one column, as it is held."""
        return getattr(self, name)

    def let_go(self, name: str) -> None:
        """Forget one column that was handed over, so that a large result never lies in memory twice."""
        setattr(self, name, None)

    def _set_status(self, row: int, status: str) -> None:
        if status == self.status[row]:
            return
        self._tally[self.status[row]] -= 1
        self._tally[status] += 1
        self.status[row] = status

    def _row(self, row: int) -> tuple[Any, ...]:
        times = (self.started_at[row], self.completed_at[row])
        return (self.status[row], self.error[row], *times, self.output[row] is None, str(self.cost[row]))


def per_bulk(bulk_ids: Iterable[str | None], statuses: Iterable[str]) -> dict[str | None, Counter[str]]:
    """Return a count per status for each bulk operation, in order of first appearance; None: never sent with one."""
    lines: dict[str | None, Counter[str]] = {}
    for bulk_id, status in zip(bulk_ids, statuses, strict=True):
        lines.setdefault(bulk_id, Counter())[status] += 1
    return lines


def status_columns(lines: Mapping[str | None, Counter[str]]) -> list[str]:
    """Return every status of this package, then the API's own words that it does not know."""
    seen = {status for line in lines.values() for status in line}
    return [*STATUSES, *sorted(seen.difference(STATUSES))]
