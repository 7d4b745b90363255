"""What calls remember of the account's cap from one to the next, as a hint in the journal.

A hint may be wrong: another key, a balance that was topped up. `engine.limiter` tests it; nothing here decides what is
sent, and no error of the journal reaches the call.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Final

from ..aio.tasks import in_thread
from ..errors import JournalError
from ..journal.base import CapHint, Journal
from ..models import Clock

logger = logging.getLogger("eachlabs_frames")

WRITE_INTERVAL: Final = 1.0
"""Seconds between two writes: a level may change with each request."""


class CapMemory:
    """The hint of one account: read once, and written while and after a call learns more.

    Parameters
    ----------
    journal : Journal
    account : str
    clock : Clock

    Attributes
    ----------
    hint : CapHint or None
        The hint that the call began with; None if there is none that is new enough.
    """

    def __init__(self, journal: Journal, account: str, clock: Clock) -> None:
        self._journal, self._account, self._clock = journal, account, clock
        self._lock = threading.Lock()
        self._changed = asyncio.Event()
        stored = self._read()
        self.hint = stored if stored is not None and stored.is_current(clock.epoch()) else None
        self._latest = self._written = stored

    def learn(self, level: int | None, cap: int | None) -> None:
        """Remember the level that a call goes on with after a refusal; None if the hint has proved wrong.

        With other calls beside it, a call's share differs from one to the next: the mean with the hint is kept.
        """
        if level is None:
            self._latest = None
        else:
            mean = level if self.hint is None else max(1, round((level + self.hint.level) / 2))
            self._latest = CapHint(mean, cap, self._clock.epoch())
        self._changed.set()

    async def write_changes(self) -> None:
        """Write what is learned while a call sends, until cancelled: other calls may begin meanwhile."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.flush()
            await self._clock.sleep(WRITE_INTERVAL)

    async def flush(self) -> None:
        """Write what was learned last, unless it is written."""
        if self._latest != self._written:
            await in_thread(self._write, on_left=lambda: None)

    def _read(self) -> CapHint | None:
        try:
            return self._journal.cap_hint(self._account)
        except JournalError as exc:
            logger.debug("the cap that an earlier call has learned cannot be read: %s", exc)
            return None

    def _write(self) -> None:
        with self._lock:  # a write that was cancelled may go on in its thread
            latest = self._latest
            try:
                self._journal.record_cap_hint(self._account, latest)
            except JournalError as exc:
                logger.debug("what was learned of the cap is not recorded: %s", exc)
            self._written = latest
