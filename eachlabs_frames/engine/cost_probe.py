"""Learns what one execution costs, where nobody knows: one batch has gone first, and its executions are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ..aio.backoff import poll_delay
from ..aio.tasks import cancel_on
from ..models import FAILED, PENDING, SETTLED, Batch, Clock
from ..results import Results
from .budget import Budget

NO_COSTS: Final = "max_cost= cannot be enforced: the cost of the first executions is not known"


class CostProbe:
    """What the first batch of a run teaches its budget.

    Parameters
    ----------
    budget : Budget
        Told what is learned.
    results : Results
    clock : Clock
    poll : callable
        Looks once at the executions that have not ended.
    max_wait : float
        Seconds that they are waited for.
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
        """Wait until executions of `first` have ended, and take over what they have cost; say why that cannot be.

        Where all of the batch was refused nothing is learned, and the next one may go first.

        Parameters
        ----------
        first : Batch
        stop : asyncio.Event
            Set from outside to end at once.
        searching : callable
            Says whether a lost answer is looked for: it may be this batch's.
        """
        deadline, look = self._clock.now() + self._max_wait, 0
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
            look += 1
            await cancel_on(stop, self._clock.sleep(poll_delay(look, floor=None, draw=self._clock.draw())))
            await self._poll()
        return None

    def _is_refused(self, first: Batch) -> bool:
        results = self._results
        return all(
            results.status[row] in (FAILED, PENDING) and results.execution_id[row] is None for row in first.positions
        )

    def _is_over(self, first: Batch) -> bool:
        return all(self._results.status[row] in SETTLED for row in first.positions)
