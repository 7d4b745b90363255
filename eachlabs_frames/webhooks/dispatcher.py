"""Routes deliveries to the open calls that own the execution, otherwise to the journal; unknown ones are dropped.

Owns the list of open calls, and how long a delivery of an unknown execution is held: an execution may end before the
response that names it was read. It never sends a request, and never decides what a delivery means for a row.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from .payload import Delivery, KnownExecution, agrees

logger = logging.getLogger("eachlabs_frames")

LINGER: Final = 0.02
"""Seconds for which deliveries are collected, so that a burst is dispatched in few steps."""

SHARE: Final = 10
"""A pause is at least this multiple of the time that dispatching, or writing to the journal, took before it."""

MAX_PAUSE: Final = 1.0
"""Seconds between two attempts to dispatch held deliveries, at most."""

MAX_PENDING: Final = 10_000
"""Held deliveries; beyond that, the oldest go to the journal."""

MAX_WAIT: Final = 120.0
"""Seconds for which a delivery is held: a request may take that long, with the search for its lost reply."""

REMEMBERED: Final = 200_000

Word: TypeAlias = Literal["accepted", "unknown", "mismatched"]

Ask: TypeAlias = Callable[[Sequence[Delivery]], Sequence[Word]]
"""Records deliveries in the journal and returns the fate of each. Blocks on the disk."""


class DeliverySource(Protocol):
    """A receiver of deliveries, as seen by a call."""

    @property
    def listening(self) -> bool:
        """Whether deliveries can arrive."""
        ...

    @property
    def sweep(self) -> float:
        """Seconds between two polls for what may not have been delivered."""
        ...


class Subscriber(Protocol):
    """A call that receives deliveries."""

    def find(self, wanted: Collection[str]) -> Mapping[str, KnownExecution]:
        """Return what it knows of these executions. Called from another thread."""
        ...


class Mailbox:
    """The deliveries of one subscriber; `ring` is called on its loop when there are any, or a receiver stops."""

    def __init__(self, addressee: Subscriber, ring: Callable[[], None]) -> None:
        self.addressee = addressee
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._notices: list[Delivery] = []

    def put(self, notices: Sequence[Delivery]) -> None:
        """Add deliveries. The caller holds the lock."""
        self._notices += notices
        self.ring()

    def ring(self) -> None:
        """Call `ring` on the subscriber's loop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._ring)

    def emptied(self) -> list[Delivery]:
        """Return the deliveries and empty the mailbox."""
        with _lock:
            found, self._notices = self._notices, []
        return found


_lock = threading.Lock()
_open: list[Mailbox] = []
_without_cost: OrderedDict[str, None] = OrderedDict()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def opened(addressee: Subscriber, ring: Callable[[], None]) -> Iterator[Mailbox]:
    """Open a mailbox for deliveries to this process; after the block, those left in it are the last.

    `ring` is called on the loop on which the mailbox is opened.
    """
    box = Mailbox(addressee, ring)
    with _lock:
        _open.append(box)
    try:
        yield box
    finally:
        with _lock:
            _open.remove(box)


def ring_all() -> None:
    """Notify all open calls that a receiver has stopped."""
    with _lock:
        for box in _open:
            box.ring()


def without_cost() -> Collection[str]:
    """Return executions whose end was delivered without a cost, as in the legacy dialect."""
    return _without_cost.keys()


def cost_is_known(execution_id: str) -> None:
    """Note that the cost of an execution was requested."""
    _without_cost.pop(execution_id, None)


class _Pending(NamedTuple):
    notice: Delivery
    since: float


class Dispatcher:
    """The deliveries of one receiver.

    Parameters
    ----------
    ask_journal : callable
        See `Ask`; called in a thread.
    is_held : callable
        Returns whether a call is running that may learn an execution's id after its end was delivered.

    Attributes
    ----------
    counts : Counter
        Deliveries per fate: ``accepted``, ``repeated``, ``unfinished``, ``unknown``, ``mismatched``.
    """

    def __init__(self, ask_journal: Ask, *, is_held: Callable[[], bool]) -> None:
        self._ask_journal = ask_journal
        self._is_held = is_held
        self._came: list[_Pending] = []
        self._held: list[_Pending] = []
        self._unclaimed: list[Delivery] = []
        self._done: OrderedDict[str, None] = OrderedDict()
        self._some = asyncio.Event()
        self._nobodys = asyncio.Event()
        self.counts: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Number of deliveries that are not dispatched yet."""
        return len(self._came) + len(self._held) + len(self._unclaimed)

    def take(self, notice: Delivery) -> bool:
        """Accept a delivery to be dispatched soon; False if there are too many."""
        if len(self._came) >= MAX_PENDING:
            return False
        self._came.append(_Pending(notice, time.monotonic()))
        self._some.set()
        return True

    async def run(self) -> None:
        """Dispatch deliveries and record them, until cancelled."""
        self._some, self._nobodys = asyncio.Event(), asyncio.Event()  # of this loop
        self._some.set()
        tasks = [asyncio.ensure_future(self._sort_on()), asyncio.ensure_future(self._note_on())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def rest(self) -> list[Delivery]:
        """Dispatch what is left after `run` has ended; return what the journal is to record. See `noted`."""
        self._sort(hold=False)
        rest, self._unclaimed = self._unclaimed, []
        return rest

    def noted(self, notices: Sequence[Delivery], words: Sequence[Word]) -> None:
        """Count the fates that the journal returned."""
        for notice, word in zip(notices, words, strict=True):
            self._count(notice, word)

    async def _sort_on(self) -> None:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._some.wait(), self._until_again())
            self._some.clear()
            began = time.monotonic()
            self._sort(hold=self._is_held())
            await asyncio.sleep(max(LINGER, SHARE * (time.monotonic() - began)))

    def _until_again(self) -> float | None:
        """Return the seconds until held deliveries are tried again; the response that names them mostly comes soon."""
        if not self._held:
            return None
        return min(max(LINGER, (time.monotonic() - self._held[-1].since) / 4), MAX_PAUSE)

    async def _note_on(self) -> None:
        while True:
            await self._nobodys.wait()
            self._nobodys.clear()
            began = time.monotonic()
            asked, self._unclaimed = self._unclaimed, []
            try:
                words = await asyncio.to_thread(self._ask_journal, asked)
            except BaseException:
                self._unclaimed = asked + self._unclaimed
                raise
            self.noted(asked, words)
            await asyncio.sleep(max(LINGER, SHARE * (time.monotonic() - began)))

    def _sort(self, *, hold: bool) -> None:
        pending = [*self._held, *self._came]
        self._came, self._held = [], []
        now = time.monotonic()
        # Before subscribers are notified: a row that reads as completed must be known to lack its cost.
        for one in pending:
            if one.notice.ended and one.notice.outcome.cost is None and one.notice.execution_id not in self._done:
                _remember(_without_cost, one.notice.execution_id)
        for one, word in zip(pending, _put([one.notice for one in pending], self._done), strict=True):
            if word is not None:
                self._count(one.notice, word)
            elif hold and now - one.since < MAX_WAIT:
                self._held.append(one)
            else:
                self._unclaimed.append(one.notice)
        over = max(0, len(self._held) - MAX_PENDING)
        self._unclaimed += [one.notice for one in self._held[:over]]
        del self._held[:over]
        if self._unclaimed:
            self._nobodys.set()

    def _count(self, notice: Delivery, word: Word) -> None:
        execution_id = notice.execution_id
        if word != "accepted":
            self.counts[word] += 1
        elif not notice.ended:
            self.counts["unfinished"] += 1
        elif execution_id in self._done:
            self.counts["repeated"] += 1
        else:
            self.counts["accepted"] += 1
            _remember(self._done, execution_id)


def _remember(ids: OrderedDict[str, None], execution_id: str) -> None:
    ids[execution_id] = None
    if len(ids) > REMEMBERED:
        ids.popitem(last=False)


def _put(notices: Sequence[Delivery], done: Collection[str]) -> list[Word | None]:
    """Put deliveries into the mailboxes of the calls that own the executions; return None for one that no call owns.

    The first end of an execution counts: once it is in `done`, no further delivery of it reaches a mailbox.
    """
    words: list[Word | None] = [None] * len(notices)
    wanted = {notice.execution_id for notice in notices}
    with _lock:
        for box in _open if wanted else ():
            known = box.addressee.find(wanted)
            mine: dict[tuple[str, bool], Delivery] = {}
            for place, notice in enumerate(notices):
                facts = known.get(notice.execution_id)
                if facts is None:
                    continue
                if not agrees(notice, facts):
                    words[place] = words[place] or "mismatched"
                    continue
                words[place] = "accepted"
                if notice.execution_id not in done:
                    mine.setdefault((notice.execution_id, notice.ended), notice)
            if mine:
                box.put(list(mine.values()))
    return words
