"""What a run follows beside its own sending: answers that were lost, and rows that other calls of the run have sent.

Owns when the search for lost answers begins and ends. How it is done is the search's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from ...aio.tasks import cancel_on
from ...errors import JournalError
from ...journal.base import LostRequest
from ...models import Clock
from ..recorder import Recorder
from .search import LostRequestSearch

logger = logging.getLogger("eachlabs_frames")

PAUSE: Final = 0.5
"""Seconds between two looks at what other calls of the same run have settled."""


class Recovery:
    """The pursuit of one run's missing answers.

    Parameters
    ----------
    books : Bookkeeper
    clock : Clock
    search : callable
        Makes the search, when the first answer is lost.
    timeout : float
        Seconds that one request may take, of this call or of another.
    stop : asyncio.Event
        Set from outside to end at once; what is still looked for stays open in the journal.
    """

    def __init__(
        self,
        books: Recorder,
        clock: Clock,
        *,
        search: Callable[[], LostRequestSearch],
        timeout: float,
        stop: asyncio.Event,
    ) -> None:
        self._books = books
        self._clock = clock
        self._make_search = search
        self._timeout = timeout
        self._stop = stop
        self._search: LostRequestSearch | None = None
        self._searching: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a lost answer is being looked for."""
        return self._search is not None and self._search.busy

    def look_for(self, lost: LostRequest) -> None:
        """Look for a lost answer, beside the sending."""
        if self._search is None:
            self._search = self._make_search()
            self._searching = asyncio.ensure_future(self._search.run(self._stop))
        self._search.lose(lost)

    async def follow_others(self) -> None:
        """Wait for the answers that other calls of this run wait for; those of calls that died are looked for."""
        deadline = self._clock.now() + self._timeout
        while self._books.elsewhere and not self._stop.is_set():
            try:
                died = await self._books.ask_others()
            except JournalError as exc:
                logger.warning("what another call has sent cannot be read from the journal: %s", exc)
                break
            for lost in self._books.lost(died, timeout=self._timeout):
                self.look_for(lost)
            if not self._books.elsewhere or self._clock.now() >= deadline:
                break
            await cancel_on(self._stop, self._clock.sleep(PAUSE))
        self._books.leave_others()

    async def end(self) -> None:
        """Wait until every lost answer is found or given up."""
        if self._search is not None and self._searching is not None:
            self._search.close()
            await self._searching

    async def drop(self) -> None:
        """Leave no task behind, however the run has ended."""
        if self._searching is not None and not self._searching.done():
            self._searching.cancel()
            await asyncio.gather(self._searching, return_exceptions=True)
