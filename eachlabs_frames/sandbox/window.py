"""A rate: so many calls in one second.

Owns the count of recent calls. It never reads a clock: the moment is an argument.
"""

from __future__ import annotations

from collections import deque


class Window:
    """At most so many calls in one second."""

    def __init__(self) -> None:
        self._calls: deque[float] = deque()

    def allows(self, limit: int, now: float) -> bool:
        """Count a call at `now`, unless it is one too many."""
        while self._calls and now - self._calls[0] >= 1.0:
            self._calls.popleft()
        if len(self._calls) >= limit:
            return False
        self._calls.append(now)
        return True
