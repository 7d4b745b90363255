"""Estimates the difference between the server's clock and ours. It reads neither clock."""

from __future__ import annotations

from math import inf
from typing import Final

SURE: Final = 2.0
"""Seconds by which times may differ beyond the known skew: ``created_at`` is truncated to whole seconds."""

UNSURE: Final = 30.0
"""The same if the API does not send its own time."""


class ClockSkew:
    """How far the server's clock is ahead of ours, from the times in its replies."""

    def __init__(self) -> None:
        self._low, self._high = -inf, inf

    def note(self, server_time: float, *, before: float, after: float) -> None:
        """Take in a server time in whole seconds that was read between two of our times."""
        self._low, self._high = max(self._low, server_time - after), min(self._high, server_time + 1.0 - before)

    @property
    def ahead(self) -> float:
        """The most likely difference in seconds."""
        return 0.0 if self._low == -inf else (self._low + self._high) / 2

    @property
    def margin(self) -> float:
        """Seconds by which a corrected server time may still be off."""
        return UNSURE if self._low == -inf else min(UNSURE, SURE + abs(self._high - self._low) / 2)
