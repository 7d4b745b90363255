"""The engine's only source of time and randomness. Tests pass their own `Clock`."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

_RANDOM: Final = random.SystemRandom()


class SystemClock:
    """The machine's clocks and random generator."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def epoch(self) -> float:
        """Return seconds since 1970, UTC."""
        return time.time()

    def draw(self) -> float:
        """Return a random number of [0, 1)."""
        return _RANDOM.random()

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)
