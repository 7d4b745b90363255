"""Decides when an execution that the API does not list is gone, for example after an organization's retention.

Owns how often each execution was missing, and how old it is. It never calls the API and never writes a result: the
tracker does.

Listings and details may lag behind a trigger, so a young execution that is missing may still appear and is polled
again. An execution older than `MIN_AGE` cannot be late any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from ..models import Clock
from ..results import NO_TIME, Results

MAX_MISSED: Final = 3
"""Consecutive polls without an execution after which its details decide, whatever its age."""

MIN_AGE: Final = 86_400.0
"""Seconds. An execution that was sent longer ago is gone if neither the listing nor its details have it. The API
keeps outputs for at least 24 hours, and no listing or clock is expected to be wrong by a day."""

NANO: Final = 1_000_000_000


class Absences:
    """The executions of one tracker that the API did not list.

    Parameters
    ----------
    results : Results
    clock : Clock
    sent_at : callable, optional
        Returns the epoch seconds before which a row was sent, or None where that is not known.
    """

    def __init__(self, results: Results, clock: Clock, sent_at: Callable[[int], float | None] | None) -> None:
        self._results = results
        self._clock = clock
        self._sent_at = sent_at
        self._missed: Counter[str] = Counter()

    def note(self, execution_ids: Iterable[str]) -> None:
        """Count a poll that lacked these executions."""
        self._missed.update(execution_ids)

    def forget(self, execution_id: str) -> None:
        """Reset the count of an execution that a poll returned."""
        self._missed.pop(execution_id, None)

    def suspects(self, open_rows: Mapping[str, Sequence[int]]) -> set[str]:
        """Return the executions with open rows whose details are to decide."""
        return {
            execution_id
            for execution_id, rows in open_rows.items()
            if (missed := self._missed[execution_id]) >= MAX_MISSED or (missed and self._is_old(rows, default=False))
        }

    def is_gone(self, execution_id: str, rows: Sequence[int]) -> bool:
        """Return whether missing details mean that the execution is gone; otherwise it may be late."""
        if self._missed[execution_id] >= MAX_MISSED or self._is_old(rows, default=True):
            return True
        self.note([execution_id])
        return self._missed[execution_id] >= MAX_MISSED

    def _is_old(self, rows: Sequence[int], *, default: bool) -> bool:
        """Return whether an execution is older than `MIN_AGE`, or `default` where its age is not known."""
        started_at = [self._results.started_at[row] for row in rows]
        times = [time / NANO for time in started_at if time != NO_TIME]
        if self._sent_at is not None:
            times += [time for time in map(self._sent_at, rows) if time is not None]
        return self._clock.epoch() - max(times) > MIN_AGE if times else default
