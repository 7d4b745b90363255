"""The engine's only source of time and randomness. Tests pass their own `Clock`."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Final

_RANDOM: Final = random.SystemRandom()


def _since_boot() -> float:
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    # On Windows this one goes on; on macOS it does not.
    return time.monotonic()


class SystemClock:
    """The machine's clocks and random generator."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def epoch(self) -> float:
        """Return seconds since 1970, UTC."""
        return time.time()

    def since_boot(self) -> float:
        """Return monotonic seconds that go on while the machine is suspended, where the system has such a clock."""
        return _since_boot()

    def draw(self) -> float:
        """Return a random number of [0, 1)."""
        return _RANDOM.random()

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)
