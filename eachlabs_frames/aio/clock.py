"""Real time and real chance. The engine's only source of either; tests hand in their own `Clock`."""

from __future__ import annotations

import asyncio
import random
import time


class SystemClock:
    """The machine's monotonic clock, and a generator that is no secret's."""

    def now(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def epoch(self) -> float:
        """Return seconds since 1970, UTC."""
        return time.time()

    def draw(self) -> float:
        """Return a random number of [0, 1)."""
        return random.random()  # noqa: S311 - jitter, not a secret

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
