"""Plans when a waiting call polls next, from what its polls cost and have found. It knows no requests and no rows."""

from __future__ import annotations

from math import inf
from typing import Final

from ..aio.backoff import POLL_FIRST, poll_delay
from ..models import Clock

NEARLY_ALL: Final = 2
"""If this many times more executions have ended since the poll before than are still open, the end is near."""

MARGIN: Final = 1.1
"""The poll that is expected to be the last comes this much later than the last end is expected."""


class PollSchedule:
    """The polls of one call that waits.

    Attributes
    ----------
    polls : int
        Polls until now.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._time = clock.now()
        self._open: int | None = None
        self._requests = 0
        self._remaining = inf
        self.polls = 0

    def polled(self, *, still_open: int, requests: int) -> None:
        """Note a poll: how many executions are open after it, and how many requests it took."""
        now = self._clock.now()
        ended = 0 if self._open is None else self._open - still_open
        is_near = ended > 0 and ended >= NEARLY_ALL * still_open
        self._remaining = (now - self._time) * still_open / ended if is_near else inf
        self._time, self._open, self._requests = now, still_open, requests
        self.polls += 1

    def delay(self, *, floor: float) -> float:
        """Return the seconds until the next poll, and at least `floor`."""
        steady = poll_delay(self.polls, requests=self._requests, floor=None, draw=self._clock.draw())
        return max(floor, min(steady, max(POLL_FIRST, MARGIN * self._remaining)))
