"""The engine's only source of time and randomness. Tests pass their own `Clock`."""

from __future__ import annotations

import asyncio
import random
import time


class SystemClock:
    """The machine's clocks, and a random generator that is not for secrets."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def epoch(self) -> float:
        """Return seconds since 1970, UTC."""
        return time.time()

    def draw(self) -> float:
        """Return a random number of [0, 1)."""
        return random.random()  # noqa: S311 - jitter, not a secret

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)
