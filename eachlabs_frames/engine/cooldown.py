"""One shared pause for a whole run: how long nobody sends, and when patience ends.

The worker whose request was refused first owns the pause: it alone tries again when the pause is over, and opens
the gate for the others once the API takes something. So a run of eight workers knocks once, not eight times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..core.pacing import retry_delay
from ..core.wire import Retry
from ..models import Clock


class Cooldown:
    """The gate that every worker passes before it sends.

    Parameters
    ----------
    clock : Clock
    max_wait : float
        Seconds that a run waits in a row, with nothing taken in between.
    tell : callable
        Told, in a sentence, what is waited for; None when the gate opens.
    """

    def __init__(self, clock: Clock, *, max_wait: float, tell: Callable[[str | None], None]) -> None:
        self._clock = clock
        self._max_wait = max_wait
        self._tell = tell
        self._open = asyncio.Event()
        self._open.set()
        self._over = asyncio.Event()
        self._owner: object = None
        self._since = 0.0
        self._tries = 0

    async def passed(self, worker: object) -> None:
        """Wait until `worker` may send: at once where the gate is open, where it owns the pause, or at the end."""
        if worker is not self._owner:
            await self._open.wait()

    async def refused(self, worker: object, verdict: Retry) -> bool:
        """Wait out one refusal; return False where patience, or the run, is at its end."""
        if self._over.is_set():
            return False
        if self._owner not in (None, worker):
            await self._open.wait()
            return not self._over.is_set()
        if self._owner is None:
            self._owner, self._since, self._tries = worker, self._clock.now(), 0
            self._open.clear()
        self._tries += 1
        delay = retry_delay(self._tries, floor=verdict.after, draw=self._clock.draw())
        if self._clock.now() + delay - self._since > self._max_wait:
            return False
        self._tell(f"{verdict.reason}; next try in {delay:.0f} s")
        await self._sleep(delay)
        return not self._over.is_set()

    def taken(self, worker: object) -> None:
        """Open the gate: the API took `worker`'s request, or answered it in some other way than "later"."""
        if worker is self._owner:
            self._owner = None
            self._open.set()
            self._tell(None)

    def end(self) -> None:
        """Let everybody through and end every pause: the run is over."""
        self._over.set()
        self._open.set()

    async def _sleep(self, delay: float) -> None:
        nap = asyncio.ensure_future(self._clock.sleep(delay))
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({nap, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
            over.cancel()
