"""How the server's clock stands to ours. Moments in, seconds out; it reads neither clock."""

from __future__ import annotations

from math import inf
from typing import Final

SURE: Final = 2.0
"""Seconds by which times may differ beside what is known of the two clocks: ``created_at`` is cut to whole seconds."""

UNSURE: Final = 30.0
"""The same where the API does not say its own time."""


class ClockSkew:
    """How far the server's clock is ahead of ours, from what its answers say of the time."""

    def __init__(self) -> None:
        self._low, self._high = -inf, inf

    def note(self, said: float, *, before: float, after: float) -> None:
        """Take in whole seconds that the server said between two moments of ours."""
        self._low, self._high = max(self._low, said - after), min(self._high, said + 1.0 - before)

    @property
    def ahead(self) -> float:
        """Seconds, the likeliest."""
        return 0.0 if self._low == -inf else (self._low + self._high) / 2

    @property
    def margin(self) -> float:
        """Seconds by which a time of the server's may be off, when that is taken away."""
        return UNSURE if self._low == -inf else min(UNSURE, SURE + abs(self._high - self._low) / 2)
