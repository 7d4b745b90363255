"""A limit of calls per second.

It never reads a clock: the time is an argument.
"""

from __future__ import annotations

from collections import deque


class Window:
    """Counts the calls of the last second."""

    def __init__(self) -> None:
        self._calls: deque[float] = deque()

    def allows(self, limit: int, now: float) -> bool:
        """Count a call at `now` and return True, or return False if the limit is reached."""
        while self._calls and now - self._calls[0] >= 1.0:
            self._calls.popleft()
        if len(self._calls) >= limit:
            return False
        self._calls.append(now)
        return True
