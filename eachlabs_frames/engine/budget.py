"""Enforces `max_cost=`: how many more executions a run may pay for, by the mean cost of those that have ended.

Owns the count of what is spent and in flight; a row whose reply was lost counts as paid. It never triggers anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from math import floor
from typing import Any, Final

from ..aio.backoff import poll_delay
from ..aio.tasks import cancel_on
from ..models import FAILED, PENDING, SETTLED, Batch, Clock
from ..money import format_usd
from ..results import Results

ROUNDING: Final = 1e-9
"""Ten times 0.1 is not more than 1.0."""

NO_COSTS: Final = "max_cost= cannot be enforced: the cost of the first executions is not known"


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

    def learn(self, costs: list[float]) -> None:
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


class CostProbe:
    """Learns the mean cost of an execution from the first batch of a run, where the API does not know it.

    Parameters
    ----------
    budget : Budget
        Gets the costs.
    results : Results
    clock : Clock
    poll : callable
        Polls once the executions that have not ended.
    max_wait : float
        Seconds to wait for the executions to end.
    """

    def __init__(
        self,
        budget: Budget,
        results: Results,
        *,
        clock: Clock,
        poll: Callable[[], Coroutine[Any, Any, None]],
        max_wait: float,
    ) -> None:
        self._budget = budget
        self._results = results
        self._clock = clock
        self._poll = poll
        self._max_wait = max_wait

    async def learn(self, first: Batch, stop: asyncio.Event, *, searching: Callable[[], bool]) -> str | None:
        """Wait until executions of `first` have ended and pass their costs to the budget; return why it cannot be.

        If the whole batch was refused, nothing is learned and the next batch may be tried.

        Parameters
        ----------
        first : Batch
        stop : asyncio.Event
            Set to end at once.
        searching : callable
            Returns whether a search for lost replies is going on, which may be of this batch.
        """
        deadline, polls = self._clock.now() + self._max_wait, 0
        while not stop.is_set():
            costs = [self._results.cost[row] for row in first.positions if self._results.cost[row] > 0]
            if costs:
                self._budget.learn(costs)
                return None
            if self._is_refused(first):
                return None
            if self._is_over(first) and not searching():
                return NO_COSTS
            if self._clock.now() >= deadline:
                return f"{NO_COSTS}: they have not ended within max_wait={self._max_wait:g} s"
            polls += 1
            await cancel_on(stop, self._clock.sleep(poll_delay(polls, floor=None, draw=self._clock.draw())))
            await self._poll()
        return None

    def _is_refused(self, first: Batch) -> bool:
        results = self._results
        return all(
            results.status[row] in (FAILED, PENDING) and results.execution_id[row] is None for row in first.positions
        )

    def _is_over(self, first: Batch) -> bool:
        return all(self._results.status[row] in SETTLED for row in first.positions)
