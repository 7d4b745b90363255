"""Enforces `max_cost=`: how many more executions a run may pay for, by the mean cost of those that have ended.

Owns the count of what is spent and in flight; a row whose reply was lost counts as paid. It never triggers anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Final

from ..money import format_usd

ROUNDING: Final = 1e-9
"""Ten times 0.1 is not more than 1.0."""


class Budget:
    """What a run may spend.

    Parameters
    ----------
    max_cost : float
        USD, for the whole run: including what its earlier calls have paid.
    mean : float or None
        USD of one execution, more than 0; None while it is not known.
    spent : float
        USD that executions of this run are known to have cost.
    open_ : int
        Executions of this run whose cost is not known.
    """

    def __init__(self, max_cost: float, *, mean: float | None, spent: float, open_: int) -> None:
        self.max_cost = max_cost
        self.mean = mean
        self._spent = spent
        self._open = open_

    def affordable(self, count: int) -> int:
        """Return how many of `count` executions may be paid for.

        While the cost of an execution is not known: all of them, unless everything is spent already.
        """
        if self.mean is None:
            return count if self._spent < self.max_cost else 0
        left = self.max_cost - self._spent - self._open * self.mean
        return max(0, min(count, floor(left / self.mean + ROUNDING)))

    def reserve(self, count: int) -> None:
        """Count executions that are about to be sent."""
        self._open += count

    def release(self, count: int) -> None:
        """Count executions that were not created."""
        self._open -= count

    def learn(self, costs: Sequence[float]) -> None:
        """Set the mean cost, and count executions that were open as spent."""
        self._spent += sum(costs)
        self._open -= len(costs)
        self.mean = sum(costs) / len(costs)

    def stop_reason(self) -> str:
        """Return why nothing more is sent."""
        if self.mean is None:
            return f"max_cost={self.max_cost:g} would be exceeded: {format_usd(self._spent)} is spent"
        committed = format_usd(self._spent + self._open * self.mean)
        return (
            f"max_cost={self.max_cost:g} would be exceeded: {committed} is spent or in flight, "
            f"and another execution costs about {format_usd(self.mean)}"
        )
