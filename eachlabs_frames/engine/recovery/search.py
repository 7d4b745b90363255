"""Recovers the executions of triggers whose reply was lost, while the run sends. It only reads from the API.

Owns when to search, for how long, and when to give up. It never guesses: an execution that another request may own is
left alone, and giving up never costs money.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from ...aio.backoff import SEARCH_FIRST, search_delay
from ...aio.tasks import cancel_on
from ...api.requests import is_filter
from ...api.responses import lacks_details, read_outcome
from ...errors import JournalError
from ...journal.base import Claimed, LostRequest
from ...models import QUEUED, RUNNING, UNKNOWN, ApiConnection, Outcome, Target
from ..recorder import Recorder
from .listing import Entry, Facts, Listing, UnreadableError
from .matching import UNSURE, match, spans

logger = logging.getLogger("eachlabs_frames")

TICK: Final = 0.01
"""Seconds added to a wake-up time: a clock may wake a sleeper slightly too early."""

MIN_DRIFT: Final = 0.5
"""Seconds by which this machine's clock must have been set to be noticed: small adjustments happen all the time."""

RIVALS: Final = "an execution in the workflow's listing may belong to another request with the same inputs"


@dataclass(frozen=True, slots=True, eq=False)
class SearchEntry:
    """A lost request, when its time is over (`due`), and when rivals are no longer waited for (`end`).

    Both in seconds of the monotonic clock. `now` and `epoch` are both clocks when the search for it began.
    """

    lost: LostRequest
    due: float
    end: float
    now: float
    epoch: float


class LostRequestSearch:
    """The search for the executions of one run's lost requests.

    Parameters
    ----------
    target : Target
        The workflow; executions of another version are ignored.
    connection : ApiConnection
    settle_window : float
        Seconds after the last moment of a trigger in which its executions may appear.
    records : Recorder
        Knows which executions rows have, and records what is found.
    on_count : callable
        Gets the number of rows that are searched for whenever it changes.
    """

    def __init__(
        self,
        target: Target,
        connection: ApiConnection,
        *,
        settle_window: float,
        records: Recorder,
        on_count: Callable[[int], None],
    ) -> None:
        self._target = target
        self._connection = connection
        self._clock = connection.clock
        self._settle_window = settle_window
        self._records = records
        self._on_count = on_count
        self._facts: dict[str, Facts] = {}
        self._open: list[SearchEntry] = []
        self._count = 0
        self._closed = False
        self._changed = asyncio.Event()
        # The searches since a request was last added, when the latest ended, and the delay that it asks for.
        self._searches = 0
        self._ended = -inf
        self._retry_after = 0.0
        self._draw = 0.0

    @property
    def busy(self) -> bool:
        """Whether something is searched for."""
        return bool(self._open)

    def add(self, lost: LostRequest) -> None:
        """Search for one more lost request."""
        if not lost.rows:
            return
        # If the clock was set back since, this must not wait for hours.
        now, epoch = lost.clocks or (self._clock.now(), self._clock.epoch())
        due = now + max(0.0, min(lost.until - epoch, lost.until - lost.since) + self._settle_window)
        due, end = (now, now) if lost.once else (due, due + self._settle_window)
        self._open.append(SearchEntry(lost, due, end, now, epoch))
        self._searches = 0
        self._changed.set()
        self._update_count()

    def close(self) -> None:
        """Let `run` end with the last request that is recovered or given up: no more are added."""
        self._closed = True
        self._changed.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Search until `close` was called and nothing is left, or until `stop` is set: the rest then stays open."""
        try:
            if not stop.is_set():
                await cancel_on(stop, self._run())
        finally:
            self._report(0)

    async def _run(self) -> None:
        while self._open or not self._closed:
            if not self._open:
                self._changed.clear()
                await self._changed.wait()
                continue
            await self._pause()
            await self._search()

    # -- when -------------------------------------------------------------------------------------------------------

    async def _pause(self) -> None:
        """Wait for the next search, which is sooner when another request is lost."""
        while (left := self._next() - self._clock.now()) > 0:
            self._changed.clear()
            await cancel_on(self._changed, self._clock.sleep(left))

    def _next(self) -> float:
        delay = search_delay(max(1, self._searches), floor=None, draw=self._draw)
        times = [moment for entry in self._open for moment in (entry.due, entry.end) if moment > self._ended]
        soonest = min(times, default=inf) + TICK
        moment = min(self._ended + delay, max(soonest, self._ended + SEARCH_FIRST))
        # A request whose time is up is searched for once more, whatever delay the API asks for.
        latest = max(min(entry.end for entry in self._open), self._ended) + TICK
        return min(max(moment, self._ended + self._retry_after), latest)

    async def _search(self) -> None:
        begun = self._clock.now()
        opened = tuple(self._open)
        try:
            await self._search_listing(opened, begun)
        except UnreadableError as exc:
            self._give_up_unreadable(exc, opened)
        except JournalError as exc:
            self._give_up_unreadable(UnreadableError(str(exc), what="the journal could not be used"), opened)
        except Exception as exc:
            logger.exception("the search for lost responses failed")
            self._give_up_unreadable(UnreadableError(f"{type(exc).__name__}: {exc}", what="the search failed"), opened)
        self._ended = self._clock.now()
        self._draw = self._clock.draw()
        self._searches += 1
        self._update_count()

    def _lost(self, entry: SearchEntry) -> LostRequest:
        """Return a lost request with its times by this machine's clock as it is set now.

        The two clocks drift apart when the machine's time is set and while it sleeps, so the time range only grows.
        """
        lost = entry.lost
        drift = (self._clock.epoch() - entry.epoch) - (self._clock.now() - entry.now)
        if abs(drift) < MIN_DRIFT:
            return lost
        return replace(lost, since=lost.since + min(0.0, drift), until=lost.until + max(0.0, drift))

    # -- what -------------------------------------------------------------------------------------------------------

    async def _search_listing(self, opened: Sequence[SearchEntry], begun: float) -> None:
        self._retry_after = 0.0
        listing = Listing(self._target, self._connection, self._facts)
        lost = [self._lost(entry) for entry in opened]
        unnamed = [request for request in lost if request.bulk_id is None or not is_filter(request.bulk_id)]
        await listing.read(spans(unnamed, late=self._settle_window, near=2 * UNSURE))
        # Read after the listing: every execution in it is recorded by now, or its reply is still awaited.
        claimed = await self._records.claimed(min(request.since for request in lost) - UNSURE)
        bulks, entries = await listing.find_bulks(lost, owned=claimed.executions, late=self._settle_window)

        requests = tuple(self._open)  # including requests lost meanwhile: executions may be theirs
        lost = [self._lost(entry) for entry in requests]
        margin, is_complete = listing.skew.margin, listing.trouble is None
        latest = self._settle_window + 2 * margin
        barred = {index for index, request in enumerate(lost) if _has_rivals(request, claimed, late=latest)}
        last = {index for index, entry in enumerate(requests) if is_complete and begun >= entry.due} - barred
        matches, contested = match(
            lost, bulks, early=margin, late=self._settle_window + margin, last=last, barred=barred
        )
        outrun = {
            index
            for index, (bulk_id, pairs) in matches.items()
            if not await self._adopt(requests[index], bulk_id, pairs, entries)
        }
        if listing.trouble is not None:
            self._give_up_unreadable(listing.trouble, opened)
            return
        for index, entry in enumerate(requests):
            if entry not in self._open or index in outrun:
                continue
            if index in last and index not in contested:
                self._give_up(entry, self._not_found(entry.lost), complete=True)
            elif begun >= entry.end:
                self._give_up(entry, RIVALS, complete=False)

    async def _adopt(
        self, entry: SearchEntry, bulk_id: str, pairs: Sequence[tuple[int, str]], entries: Mapping[str, Entry]
    ) -> bool:
        """Record a match; return False if another call has taken it since, which the next search will see."""
        outcomes = [_outcome(row, entries[execution_id], bulk_id) for row, execution_id in pairs]
        if not await self._records.adopt(self._lost(entry), outcomes):
            return False
        self._open.remove(entry)
        paired = {row for row, _ in pairs}
        left = [row for row in entry.lost.rows if row not in paired]
        if left:
            reason = f"not among the executions found for bulk operation {bulk_id}"
            self._records.give_up(entry.lost, left, reason, complete=True)
        return True

    def _give_up(self, entry: SearchEntry, reason: str, *, complete: bool) -> None:
        self._open.remove(entry)
        self._records.give_up(entry.lost, entry.lost.rows, reason, complete=complete)

    def _not_found(self, lost: LostRequest) -> str:
        if lost.once:
            return "not found by a later search either"
        if lost.bulk_id is not None:
            return f"bulk operation {lost.bulk_id} lists no such executions within {self._settle_window:g} s"
        return f"not found in the workflow's listing within {self._settle_window:g} s of the request"

    def _give_up_unreadable(self, trouble: UnreadableError, opened: Sequence[SearchEntry]) -> None:
        """After a search that read too little: give up what another search cannot help, or what may not wait for it."""
        self._retry_after = trouble.after
        retried_at = self._clock.now() + trouble.after
        for entry in opened:
            if entry in self._open and (trouble.hopeless or retried_at >= entry.end):
                self._give_up(entry, str(trouble), complete=False)

    def _update_count(self) -> None:
        self._report(sum(len(entry.lost.rows) for entry in self._open))

    def _report(self, rows: int) -> None:
        if rows != self._count:
            self._count = rows
            self._on_count(rows)


def _has_rivals(lost: LostRequest, claimed: Claimed, *, late: float) -> bool:
    """Return whether a request in flight may have created executions with the inputs of `lost`, in its time."""
    if lost.bulk_id is not None:
        return False
    return any(claimed.fingerprints.get(content, inf) <= lost.until + late for content in lost.fingerprints)


def _outcome(row: int, entry: Entry, bulk_id: str) -> Outcome:
    """Return the outcome of a row: its ids in any case, and the rest where the entry can be read."""
    try:
        outcome = read_outcome(row, entry)._replace(bulk_id=bulk_id)
    except (TypeError, ValueError, RecursionError):
        return Outcome(row, QUEUED, bulk_id, entry["execution_id"])
    if outcome.status == UNKNOWN:
        return outcome._replace(status=QUEUED)
    # Recorded as running, so that the tracker reads the details, which say more.
    return outcome._replace(status=RUNNING) if lacks_details(outcome) else outcome
