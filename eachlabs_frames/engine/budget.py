"""Enforces `max_cost=`: how many more executions a run may pay for.

Owns the sum of what is spent and what is reserved. As the platform does, it reserves for each row the most that its
execution is expected to cost, and gives back what was not used once the cost is known. A row whose reply was lost
counts as paid. It never triggers anything and never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil, isnan
from typing import Final, NamedTuple, TypeAlias

from ..models import CANCELLED, COMPLETED, FAILED, MAX_BATCH, SETTLED
from ..money import format_usd
from ..results import Results

ROUNDING: Final = 1e-9
"""Ten times 0.1 is not more than 1.0."""

UPPER: Final = 0.95
"""The share of the known costs that are no higher than what is reserved for a row without a price of its own."""

MIN_SAMPLES: Final = 3
"""Known costs below which no more than one batch without prices is in flight."""

MAX_TRIALS: Final = MAX_BATCH
"""Rows that are sent one by one while no cost is known."""

NO_COSTS: Final = "max_cost= cannot be enforced: the cost of the first executions is not known"


class Limits(NamedTuple):
    """The least and the most that an execution is expected to cost, in USD."""

    low: float
    high: float


PriceOf: TypeAlias = Callable[[int], Limits | None]
"""Returns the price of a row by its position, or None if it is not known. `ELSEWHERE` is any row."""

ELSEWHERE: Final = -1
"""Stands for the position of a row that is not in the frame."""


def no_prices(_: int) -> None:
    """Return that no row's price is known."""


class Budget:
    """What a run may spend.

    Parameters
    ----------
    max_cost : float
        USD, for the whole run: including what its earlier calls have paid.
    spent : float
        USD that executions of this run are known to have cost.
    open_ : iterable of int
        The rows of executions of this run whose cost is not known, by position.
    costs : sequence of float
        What executions of this version have cost before.
    price_of : callable, optional
        The published prices of rows.
    """

    def __init__(
        self,
        max_cost: float,
        *,
        spent: float = 0.0,
        open_: Iterable[int] = (),
        costs: Sequence[float] = (),
        price_of: PriceOf = no_prices,
    ) -> None:
        self.max_cost = max_cost
        self._price_of = price_of
        self._spent = spent
        self._samples = sorted(costs)
        # The row that was sent to learn what one costs, and how many such rows were.
        self._trial: int | None = None
        self._trials = 0
        # Rows that are about to be sent, rows whose execution may exist, and those of earlier calls.
        self._reserved: dict[int, Limits | None] = {}
        self._open: dict[int, Limits | None] = {}
        self._earlier: dict[int, Limits | None] = {}
        # What all of them may cost, and how many of them have no price.
        self._low = self._high = 0.0
        self._unpriced = 0
        for position in open_:
            limits = price_of(position)
            self._count(limits, 1)
            if position != ELSEWHERE:
                self._earlier[position] = limits

    # -- what is reserved ----------------------------------------------------------------------------------------------

    def reserve(self, positions: Sequence[int]) -> int:
        """Reserve what the first of these rows may cost, as far as that fits; return their number."""
        count = 0
        for position in positions:
            limits = self._price_of(position)
            if not self._fits(limits):
                break
            if limits is None and not self._samples:
                self._trial = position
                self._trials += 1
            # A row that is sent again: its earlier execution may exist, and stays reserved for.
            self._open.pop(position, None)
            self._earlier.pop(position, None)
            self._reserved[position] = limits
            self._count(limits, 1)
            count += 1
        return count

    def release(self, positions: Iterable[int]) -> None:
        """Give back what was reserved for rows of which no execution was created."""
        for position in positions:
            self._count(self._reserved.pop(position), -1)
            if position == self._trial:
                self._trial = None
                self._trials -= 1

    def keep(self, positions: Iterable[int]) -> None:
        """Note that the executions of these rows may exist. What they do not use is given back by `settle`."""
        for position in positions:
            self._open[position] = self._reserved.pop(position)

    def settle(self, results: Results) -> bool:
        """Take the costs that are known by now for what was reserved; return whether there are any."""
        has_changed = False
        for rows in (self._open, self._earlier):
            for position in [position for position in rows if not isnan(results.cost[position])]:
                cost, has_changed = results.cost[position], True
                self._count(rows.pop(position), -1)
                self._spent += cost
                # A cost of 0 may come from a credit or a cache, and says nothing of the next execution.
                if cost > 0 and results.status[position] == COMPLETED:
                    self._samples.append(cost)
        self._samples.sort()
        return has_changed | self._ends_trial(results)

    def _ends_trial(self, results: Results) -> bool:
        """Note that another row may be tried, if the one that was sent to learn a cost has told none and ended."""
        trial = self._trial
        if trial is None or trial in self._reserved:
            return False
        # The API need not state what a failure has cost: it stays reserved for.
        if trial in self._open and results.status[trial] not in (FAILED, CANCELLED):
            return False
        self._trial = None
        return True

    def is_settling(self, results: Results) -> bool:
        """Return whether executions are in flight whose cost is not known yet."""
        if self._reserved:
            return True
        return any(results.status[position] not in SETTLED for rows in (self._open, self._earlier) for position in rows)

    # -- what that leaves ---------------------------------------------------------------------------------------------

    def may_be_released(self, position: int) -> bool:
        """Return whether a row may fit once the executions in flight have ended, if they cost as little as possible."""
        limits = self._price_of(position)
        if limits is None and not self._samples:
            return self._trials < MAX_TRIALS and self._spent < self.max_cost
        least = self._spent + self._low + self._unpriced * (self._samples[0] if self._samples else 0.0)
        is_crowded = not self._has_evidence(limits) and bool(self._unpriced)
        return least + self._cost(limits).high <= self._ceiling and (is_crowded or not self._is_exact())

    @property
    def is_learning(self) -> bool:
        """Whether so few costs are known that rows without a price are sent one batch after the other."""
        return self._price_of(ELSEWHERE) is None and len(self._samples) < MIN_SAMPLES

    def knows_nothing(self, position: int) -> bool:
        """Return whether a row has no price and no cost is known."""
        return self._price_of(position) is None and not self._samples

    def stop_reason(self, position: int) -> str:
        """Return why this row is not sent."""
        limits = self._price_of(position)
        spent = f"max_cost={self.max_cost:g} would be exceeded"
        if limits is None and not self._samples:
            return f"{spent}: {format_usd(self._spent)} is spent" if self._spent >= self.max_cost else NO_COSTS
        cost = self._cost(limits)
        what = f"costs about {format_usd(cost.high)}"
        if cost.low != cost.high:
            what = f"may cost {format_usd(cost.high)}"
        return f"{spent}: {format_usd(self._committed())} is spent or in flight, and another execution {what}"

    @property
    def _ceiling(self) -> float:
        return self.max_cost * (1 + ROUNDING)

    def _cost(self, limits: Limits | None) -> Limits:
        """Return what a row may cost: by its price, else by the known costs, of which there are some."""
        if limits is not None:
            return limits
        return Limits(self._samples[0], self._samples[ceil(UPPER * len(self._samples)) - 1])

    def _committed(self) -> float:
        unpriced = self._unpriced * self._cost(None).high if self._unpriced and self._samples else 0.0
        return self._spent + self._high + unpriced

    def _fits(self, limits: Limits | None) -> bool:
        if limits is None and not self._samples:
            return self._trial is None and self._trials < MAX_TRIALS and self._spent < self.max_cost
        if not self._has_evidence(limits) and self._unpriced_in_flight() >= MAX_BATCH:
            return False
        return self._committed() + self._cost(limits).high <= self._ceiling

    def _has_evidence(self, limits: Limits | None) -> bool:
        return limits is not None or len(self._samples) >= MIN_SAMPLES

    def _unpriced_in_flight(self) -> int:
        return sum(limits is None for rows in (self._reserved, self._open) for limits in rows.values())

    def _is_exact(self) -> bool:
        """Return whether the executions in flight will cost exactly what is reserved for them."""
        is_priced_exactly = self._high - self._low <= ROUNDING * self.max_cost
        return is_priced_exactly and (not self._unpriced or self._cost(None).low == self._cost(None).high)

    def _count(self, limits: Limits | None, sign: int) -> None:
        if limits is None:
            self._unpriced += sign
        else:
            self._low += sign * limits.low
            self._high += sign * limits.high
