"""Recovers the executions of triggers whose reply was lost, while the run sends. It only reads from the API.

Owns when to search, for how long, and when to give up. It never guesses: an execution that another request may own is
left alone, and giving up never costs money.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final, Protocol

from ...aio.backoff import SEARCH_FIRST, search_delay
from ...aio.tasks import cancel_on
from ...api.requests import is_filter
from ...api.responses import lacks_details, read_outcome
from ...errors import JournalError
from ...journal.base import Claimed, LostRequest
from ...models import QUEUED, RUNNING, UNKNOWN, ApiConnection, Clock, Outcome, Target
from .clock_skew import UNSURE
from .listing import Entry, Listing, UnreadableError
from .matching import BulkCandidate, Match, match, spans

logger = logging.getLogger("eachlabs_frames")

TICK: Final = 0.01
"""Seconds added to a wake-up time: a clock may wake a sleeper slightly too early."""

MIN_DRIFT: Final = 0.5
"""Seconds by which this machine's clock must have been set to be noticed: small adjustments happen all the time."""

OTHER_SESSIONS_INTERVAL: Final = 0.5
"""Seconds between two polls of what other calls of the same run have settled."""

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


class SearchRecords(Protocol):
    """What a search needs to know of the rows of all calls, and where it records what it finds."""

    async def claimed(self, since: float) -> Claimed:
        """Return what belongs to rows already, since a moment in epoch seconds."""
        ...

    async def adopt(self, lost: LostRequest, outcomes: Sequence[Outcome]) -> bool:
        """Record the executions of a lost request; False if another call has taken them meanwhile."""
        ...

    def give_up(self, lost: LostRequest, rows: Sequence[int], reason: str, complete: bool) -> None:
        """Record that rows were not found. Unless the search was `complete`, a later one may still find them."""
        ...


class RunRecords(SearchRecords, Protocol):
    """The same, and what other calls of the run have sent."""

    @property
    def elsewhere(self) -> Collection[int]:
        """Rows of the run that another call has sent and waits for."""
        ...

    async def poll_other_sessions(self) -> set[int]:
        """Record what other calls have settled; return the rows of those that died without a reply."""
        ...

    def lost(self, numbers: Iterable[int], *, timeout: float) -> list[LostRequest]:
        """Return the unanswered requests of these rows of the run."""
        ...

    def mark_owned_elsewhere(self) -> None:
        """Record that other calls still wait for their rows."""
        ...


class LostRequestSearch:
    """The search for the executions of one run's lost requests.

    Parameters
    ----------
    target : Target
        The workflow; executions of another version are ignored.
    connection : ApiConnection
    settle_window : float
        Seconds after the last moment of a trigger in which its executions may appear.
    records : SearchRecords
    on_count : callable
        Gets the number of rows that are searched for whenever it changes.
    """

    def __init__(
        self,
        target: Target,
        connection: ApiConnection,
        *,
        settle_window: float,
        records: SearchRecords,
        on_count: Callable[[int], None],
    ) -> None:
        self._listing = Listing(target, connection)
        self._clock = connection.clock
        self._settle_window = settle_window
        self._records = records
        self._on_count = on_count
        self._open: list[SearchEntry] = []
        self._count = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._searches = 0
        self._ended = -inf
        self._floor = 0.0
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
        times = [moment for one in self._open for moment in (one.due, one.end) if moment > self._ended]
        soonest = min(times, default=inf) + TICK
        moment = min(self._ended + delay, max(soonest, self._ended + SEARCH_FIRST))
        # A request whose time is up is searched for once more, whatever delay the API asks for.
        return min(max(moment, self._ended + self._floor), max(min(one.end for one in self._open), self._ended) + TICK)

    async def _search(self) -> None:
        begun = self._clock.now()
        opened = tuple(self._open)
        try:
            await self._search_listing(opened, begun)
        except UnreadableError as exc:
            self._give_up_unreadable(exc, opened)
        except Exception as exc:
            logger.exception("the search for lost responses failed")
            self._give_up_unreadable(UnreadableError(f"{type(exc).__name__}: {exc}", what="the search failed"), opened)
        self._ended = self._clock.now()
        self._draw = self._clock.draw()
        self._searches += 1
        self._update_count()

    def _lost(self, one: SearchEntry) -> LostRequest:
        """Return a lost request with its times by this machine's clock as it is set now.

        The two clocks drift apart when the machine's time is set and while it sleeps, so the time range only grows.
        """
        drift = (self._clock.epoch() - one.epoch) - (self._clock.now() - one.now)
        if abs(drift) < MIN_DRIFT:
            return one.lost
        return replace(one.lost, since=one.lost.since + min(0.0, drift), until=one.lost.until + max(0.0, drift))

    # -- what -------------------------------------------------------------------------------------------------------

    async def _search_listing(self, opened: Sequence[SearchEntry], begun: float) -> None:
        self._floor = 0.0
        listing, lost = self._listing, [self._lost(one) for one in opened]
        listing.begin()
        unnamed = [one for one in lost if one.bulk_id is None or not is_filter(one.bulk_id)]
        stretches = spans(unnamed, late=self._settle_window, near=2 * UNSURE)
        seen = await listing.read(stretches)
        # Read after the listing: every execution in it is recorded by now, or its reply is still awaited.
        taken = await self._records.claimed(min(one.since for one in lost) - UNSURE)
        bulks, entries = await listing.bulks(lost, seen, taken=taken.executions, late=self._settle_window)
        await self._decide(opened, begun, taken, bulks, entries)

    async def _decide(
        self,
        opened: Sequence[SearchEntry],
        begun: float,
        taken: Claimed,
        bulks: Sequence[BulkCandidate],
        entries: Mapping[str, Entry],
    ) -> None:
        requests = tuple(self._open)  # including requests lost meanwhile: executions may be theirs
        lost = [self._lost(one) for one in requests]
        whole = self._listing.trouble is None
        barred = {place for place, one in enumerate(lost) if self._has_rivals(one, taken)}
        last = {place for place, one in enumerate(requests) if whole and begun >= one.due} - barred
        margin = self._listing.skew.margin
        matching = match(
            lost,
            bulks,
            early=margin,
            late=self._settle_window + margin,
            last=last,
            barred=barred,
        )
        taken_meanwhile = {
            found.lost
            for found in matching.found
            if not await self._adopt_match(requests[found.lost], bulks[found.bulk], found, entries)
        }
        if self._listing.trouble is not None:
            self._give_up_unreadable(self._listing.trouble, opened)
            return
        for place, one in enumerate(requests):
            if one not in self._open or place in taken_meanwhile:
                continue
            if place in last and place not in matching.contested:
                self._drop(one, one.lost.rows, self._not_found(one.lost), complete=True)
            elif begun >= one.end:
                self._drop(one, one.lost.rows, RIVALS, complete=False)

    def _has_rivals(self, lost: LostRequest, taken: Claimed) -> bool:
        """Return whether a request in flight may have created executions with the inputs of `lost`, in its time."""
        if lost.bulk_id is not None:
            return False
        latest = lost.until + self._settle_window + 2 * self._listing.skew.margin
        return any(taken.fingerprints.get(content, inf) <= latest for content in lost.fingerprints)

    async def _adopt_match(
        self, one: SearchEntry, bulk: BulkCandidate, match_: Match, entries: Mapping[str, Entry]
    ) -> bool:
        """Record a match; return False if another call has taken it since, which the next search will see."""
        rows = {row for row, _ in match_.pairs}
        outcomes = [_outcome(row, entries[execution_id], bulk.bulk_id) for row, execution_id in match_.pairs]
        if not await self._records.adopt(self._lost(one), outcomes):
            return False
        self._open.remove(one)
        left = [row for row in one.lost.rows if row not in rows]
        if left:
            self._records.give_up(
                one.lost, left, f"not among the executions found for bulk operation {bulk.bulk_id}", True
            )
        return True

    def _drop(self, one: SearchEntry, rows: Sequence[int], why: str, *, complete: bool) -> None:
        self._open.remove(one)
        self._records.give_up(one.lost, rows, why, complete)

    def _not_found(self, lost: LostRequest) -> str:
        if lost.once:
            return "not found by a later search either"
        if lost.bulk_id is not None:
            return f"bulk operation {lost.bulk_id} lists no such executions within {self._settle_window:g} s"
        return f"not found in the workflow's listing within {self._settle_window:g} s of the request"

    def _give_up_unreadable(self, trouble: UnreadableError, opened: Sequence[SearchEntry]) -> None:
        """After a search that read too little: give up what another search cannot help, or what may not wait for it."""
        self._floor = trouble.after
        again = self._clock.now() + trouble.after
        for one in opened:
            if one in self._open and (trouble.hopeless or again >= one.end):
                self._drop(one, one.lost.rows, str(trouble), complete=False)

    def _update_count(self) -> None:
        self._report(sum(len(one.lost.rows) for one in self._open))

    def _report(self, rows: int) -> None:
        if rows != self._count:
            self._count = rows
            self._on_count(rows)


class Recovery:
    """Recovers lost replies of one run while it sends: its own, and those of other calls of the run that died.

    Parameters
    ----------
    records : RunRecords
    clock : Clock
    search : callable
        Makes the search when the first reply is lost.
    timeout : float
        Seconds that one request may take, of this call or of another.
    stop : asyncio.Event
        Set to end at once; what is still missing stays open in the journal.
    """

    def __init__(
        self,
        records: RunRecords,
        clock: Clock,
        *,
        search: Callable[[], LostRequestSearch],
        timeout: float,
        stop: asyncio.Event,
    ) -> None:
        self._records = records
        self._clock = clock
        self._make_search = search
        self._timeout = timeout
        self._stop = stop
        self._search: LostRequestSearch | None = None
        self._searching: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a search is going on."""
        return self._search is not None and self._search.busy

    def search_for(self, lost: LostRequest) -> None:
        """Search for the executions of a lost request while the run sends."""
        if self._search is None:
            self._search = self._make_search()
            self._searching = asyncio.ensure_future(self._search.run(self._stop))
        self._search.add(lost)

    async def follow_others(self) -> None:
        """Wait for the rows that other calls of this run have sent; search for those of calls that died."""
        deadline = self._clock.now() + self._timeout
        while self._records.elsewhere and not self._stop.is_set():
            try:
                died = await self._records.poll_other_sessions()
            except JournalError as exc:
                logger.warning("what another call has sent cannot be read from the journal: %s", exc)
                break
            for lost in self._records.lost(died, timeout=self._timeout):
                self.search_for(lost)
            if not self._records.elsewhere or self._clock.now() >= deadline:
                break
            await cancel_on(self._stop, self._clock.sleep(OTHER_SESSIONS_INTERVAL))
        self._records.mark_owned_elsewhere()

    async def end(self) -> None:
        """Wait until every lost request is recovered or given up."""
        if self._search is not None and self._searching is not None:
            self._search.close()
            await self._searching

    async def cancel(self) -> None:
        """Cancel the search, if it is still running."""
        if self._searching is not None and not self._searching.done():
            self._searching.cancel()
            await asyncio.gather(self._searching, return_exceptions=True)


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
