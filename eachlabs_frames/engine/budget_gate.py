"""Admits rows to sending as far as a budget allows, and waits for executions that may give some of it back.

Owns every wait for costs. What fits is the decision of `engine.budget`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from ..aio.backoff import settle_delay
from ..aio.tasks import cancel_on
from ..models import Clock
from ..results import Results
from .budget import NO_COSTS, Budget

logger = logging.getLogger("eachlabs_frames")

LEARNING: Final = "the first execution to end, to learn what it costs"
RELEASING: Final = "executions to end: max_cost= reserves more for them than they may cost"


class BudgetGate:
    """Reserves a budget for rows, one worker after the other.

    Parameters
    ----------
    budget : Budget or None
        None: everything fits.
    results : Results
        Have the costs.
    clock : Clock
    max_wait : float
        Seconds to wait while no cost becomes known.
    poll : callable
        Polls once the executions that have not ended.
    on_waiting : callable
        Gets a sentence that says what is waited for; None when sending goes on.

    Attributes
    ----------
    stop_reason : str or None
        Why no further row fits; None as long as rows do.
    """

    def __init__(
        self,
        budget: Budget | None,
        *,
        results: Results,
        clock: Clock,
        max_wait: float,
        poll: Callable[[], Coroutine[Any, Any, None]],
        on_waiting: Callable[[str | None], None],
    ) -> None:
        self._budget = budget
        self._results = results
        self._clock = clock
        self._max_wait = max_wait
        self._poll = poll
        self._on_waiting = on_waiting
        self._turn = asyncio.Lock()
        self._has_warned = False
        self.stop_reason: str | None = None

    @property
    def is_learning(self) -> bool:
        """Whether so few costs are known that one batch is sent after the other."""
        return self._budget is not None and self._budget.is_learning

    async def reserve(
        self,
        positions: Sequence[int],
        *,
        stop: asyncio.Event,
        is_over: Callable[[], bool],
        is_searching: Callable[[], bool],
    ) -> int:
        """Wait until the first of these rows fit, and return how many were reserved for; 0 if none ever does.

        Parameters
        ----------
        positions : sequence of int
        stop : asyncio.Event
            Ends a wait.
        is_over : callable
            Returns whether nothing more is sent.
        is_searching : callable
            Returns whether executions of lost requests may still be found.
        """
        budget = self._budget
        if budget is None:
            return len(positions)
        async with self._turn:
            since, polls = self._clock.now(), 0
            try:
                while self.stop_reason is None and not stop.is_set() and not is_over():
                    self._warn(budget, positions[0])
                    if count := budget.reserve(positions):
                        return count
                    if budget.settle(self._results):
                        since, polls = self._clock.now(), 0
                        continue
                    self.stop_reason = self._why_not_wait(budget, positions[0], since, is_searching=is_searching())
                    if self.stop_reason is None:
                        polls += 1
                        await self._pause(polls, stop, LEARNING if budget.knows_nothing(positions[0]) else RELEASING)
                return 0
            finally:
                self._on_waiting(None)

    async def _pause(self, polls: int, stop: asyncio.Event, sentence: str) -> None:
        """Wait a little, and poll the executions once."""
        self._on_waiting(sentence)
        await cancel_on(stop, self._clock.sleep(settle_delay(polls, draw=self._clock.draw())))
        await self._poll()

    def _why_not_wait(self, budget: Budget, position: int, since: float, *, is_searching: bool) -> str | None:
        """Return why it is no use to wait until this row fits; None if it is."""
        reason = budget.stop_reason(position)
        if not budget.may_be_released(position) or not (is_searching or budget.is_settling(self._results)):
            return reason
        if self._clock.now() - since < self._max_wait:
            return None
        if budget.knows_nothing(position):
            return f"{NO_COSTS}: they have not ended within max_wait={self._max_wait:g} s"
        return reason

    def _warn(self, budget: Budget, position: int) -> None:
        if not self._has_warned and budget.knows_nothing(position):
            self._has_warned = True
            logger.warning("this workflow's cost is not known yet: one row is sent first to learn it for max_cost=")

    def release(self, positions: Sequence[int]) -> None:
        """Give back what was reserved for rows of which no execution was created."""
        if self._budget is not None:
            self._budget.release(positions)

    def keep(self, positions: Sequence[int]) -> None:
        """Note that the executions of these rows may exist."""
        if self._budget is not None:
            self._budget.keep(positions)
