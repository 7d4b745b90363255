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
from typing import Final, Literal, TypeAlias

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

MAX_REMEMBERED: Final = 200_000

Fate: TypeAlias = Literal["accepted", "unknown", "mismatched"]

Record: TypeAlias = Callable[[Sequence[Delivery]], Sequence[Fate]]
"""Records deliveries in the journal and returns the fate of each. Blocks on the disk."""

Find: TypeAlias = Callable[[Collection[str]], Mapping[str, KnownExecution]]
"""Returns what a call knows of these executions. Called from another thread."""


class Mailbox:
    """The deliveries to one call; `notify` is called on its loop when there are any, or when a receiver stops."""

    def __init__(self, find: Find, notify: Callable[[], None]) -> None:
        self.find = find
        self._notify = notify
        self._loop = asyncio.get_running_loop()
        self._deliveries: list[Delivery] = []

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries. The caller holds the lock."""
        self._deliveries += deliveries
        self.notify()

    def notify(self) -> None:
        """Call `notify` on the call's loop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._notify)

    def take_all(self) -> list[Delivery]:
        """Return the deliveries and empty the mailbox."""
        with _lock:
            deliveries, self._deliveries = self._deliveries, []
        return deliveries


_lock = threading.Lock()
_mailboxes: list[Mailbox] = []
_without_cost: OrderedDict[str, None] = OrderedDict()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _mailboxes.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def open_mailbox(find: Find, notify: Callable[[], None]) -> Iterator[Mailbox]:
    """Open a mailbox for deliveries to this process; after the block, those left in it are the last.

    `notify` is called on the loop on which the mailbox is opened.
    """
    mailbox = Mailbox(find, notify)
    with _lock:
        _mailboxes.append(mailbox)
    try:
        yield mailbox
    finally:
        with _lock:
            _mailboxes.remove(mailbox)


def notify_all() -> None:
    """Notify all open calls that a receiver has stopped."""
    with _lock:
        for mailbox in _mailboxes:
            mailbox.notify()


def without_cost() -> Collection[str]:
    """Return executions whose end was delivered without a cost, as in the legacy dialect."""
    return _without_cost.keys()


def cost_was_read(execution_id: str) -> None:
    """Note that the cost of an execution was requested."""
    _without_cost.pop(execution_id, None)


class Dispatcher:
    """The deliveries of one receiver.

    Parameters
    ----------
    record : callable
        See `Record`; called in a thread.
    holds_unknown : callable
        Returns whether a call is running that may learn an execution's id after its end was delivered.

    Attributes
    ----------
    counts : Counter
        Deliveries per fate: ``accepted``, ``repeated``, ``unfinished``, ``unknown``, ``mismatched``.
    """

    def __init__(self, record: Record, *, holds_unknown: Callable[[], bool]) -> None:
        self._record = record
        self._holds_unknown = holds_unknown
        # Each with the time at which it arrived.
        self._incoming: list[tuple[Delivery, float]] = []
        self._held: list[tuple[Delivery, float]] = []
        self._unclaimed: list[Delivery] = []
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._has_incoming = asyncio.Event()
        self._has_unclaimed = asyncio.Event()
        self.counts: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Number of deliveries that are not dispatched yet."""
        return len(self._incoming) + len(self._held) + len(self._unclaimed)

    def offer(self, delivery: Delivery) -> bool:
        """Accept a delivery to be dispatched soon; False if there are too many."""
        if len(self._incoming) >= MAX_PENDING:
            return False
        self._incoming.append((delivery, time.monotonic()))
        self._has_incoming.set()
        return True

    async def run(self) -> None:
        """Dispatch deliveries and record them, until cancelled."""
        self._has_incoming, self._has_unclaimed = asyncio.Event(), asyncio.Event()  # of this loop
        self._has_incoming.set()
        tasks = [asyncio.ensure_future(self._dispatch_incoming()), asyncio.ensure_future(self._record_unclaimed())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def drain(self) -> list[Delivery]:
        """Dispatch what is left after `run` has ended; return what the caller must record. See `count_recorded`."""
        self._dispatch(hold=False)
        unclaimed, self._unclaimed = self._unclaimed, []
        return unclaimed

    def count_recorded(self, deliveries: Sequence[Delivery], fates: Sequence[Fate]) -> None:
        """Count the fates that recording has returned."""
        for delivery, fate in zip(deliveries, fates, strict=True):
            self._count(delivery, fate)

    async def _dispatch_incoming(self) -> None:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._has_incoming.wait(), self._next_attempt())
            self._has_incoming.clear()
            began = time.monotonic()
            self._dispatch(hold=self._holds_unknown())
            await asyncio.sleep(max(LINGER, SHARE * (time.monotonic() - began)))

    def _next_attempt(self) -> float | None:
        """Return the seconds until held deliveries are tried again; the response that names them mostly comes soon."""
        if not self._held:
            return None
        _, latest = self._held[-1]
        return min(max(LINGER, (time.monotonic() - latest) / 4), MAX_PAUSE)

    async def _record_unclaimed(self) -> None:
        while True:
            await self._has_unclaimed.wait()
            self._has_unclaimed.clear()
            began = time.monotonic()
            deliveries, self._unclaimed = self._unclaimed, []
            try:
                fates = await asyncio.to_thread(self._record, deliveries)
            except BaseException:
                self._unclaimed = deliveries + self._unclaimed
                raise
            self.count_recorded(deliveries, fates)
            await asyncio.sleep(max(LINGER, SHARE * (time.monotonic() - began)))

    def _dispatch(self, *, hold: bool) -> None:
        pending = [*self._held, *self._incoming]
        self._incoming, self._held = [], []
        now = time.monotonic()
        # Before subscribers are notified: a row that reads as completed must be known to lack its cost.
        for delivery, _ in pending:
            if delivery.ended and delivery.outcome.cost is None and delivery.execution_id not in self._ended:
                _remember(_without_cost, delivery.execution_id)
        fates = _deliver([delivery for delivery, _ in pending], self._ended)
        for (delivery, arrived), fate in zip(pending, fates, strict=True):
            if fate is not None:
                self._count(delivery, fate)
            elif hold and now - arrived < MAX_WAIT:
                self._held.append((delivery, arrived))
            else:
                self._unclaimed.append(delivery)
        excess = max(0, len(self._held) - MAX_PENDING)
        self._unclaimed += [delivery for delivery, _ in self._held[:excess]]
        del self._held[:excess]
        if self._unclaimed:
            self._has_unclaimed.set()

    def _count(self, delivery: Delivery, fate: Fate) -> None:
        execution_id = delivery.execution_id
        if fate != "accepted":
            self.counts[fate] += 1
        elif not delivery.ended:
            self.counts["unfinished"] += 1
        elif execution_id in self._ended:
            self.counts["repeated"] += 1
        else:
            self.counts["accepted"] += 1
            _remember(self._ended, execution_id)


def _remember(ids: OrderedDict[str, None], execution_id: str) -> None:
    ids[execution_id] = None
    if len(ids) > MAX_REMEMBERED:
        ids.popitem(last=False)


def _deliver(deliveries: Sequence[Delivery], ended: Collection[str]) -> list[Fate | None]:
    """Put deliveries into the mailboxes of the calls that own the executions; return None for one that no call owns.

    The first end of an execution counts: once it is in `ended`, no further delivery of it reaches a mailbox.
    """
    fates: list[Fate | None] = [None] * len(deliveries)
    execution_ids = {delivery.execution_id for delivery in deliveries}
    with _lock:
        for mailbox in _mailboxes if execution_ids else ():
            known = mailbox.find(execution_ids)
            matching: dict[tuple[str, bool], Delivery] = {}
            for position, delivery in enumerate(deliveries):
                execution = known.get(delivery.execution_id)
                if execution is None:
                    continue
                if not agrees(delivery, execution):
                    fates[position] = fates[position] or "mismatched"
                    continue
                fates[position] = "accepted"
                if delivery.execution_id not in ended:
                    matching.setdefault((delivery.execution_id, delivery.ended), delivery)
            if matching:
                mailbox.put(list(matching.values()))
    return fates
