"""Looks for the executions of triggers whose answer was lost, beside the sending. It only ever reads.

Owns when is looked, how long, and when it is given up. It never guesses: what another request may own is left alone,
and what is not found is given up, which costs nobody money.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from ...aio.backoff import SEARCH_FIRST, search_delay
from ...aio.tasks import cancel_on
from ...api.requests import is_filter
from ...api.responses import lacks_details, read_outcome
from ...journal.base import Claimed, LostRequest
from ...models import QUEUED, RUNNING, UNKNOWN, Clock, DialectName, Outcome, Transport
from .clock_skew import UNSURE
from .listing import Entry, Listing, UnreadableError
from .matching import BulkCandidate, Match, match, spans

logger = logging.getLogger("eachlabs_frames")

TICK: Final = 0.01
"""Seconds by which a look is late rather than early: a clock may wake a sleeper a little before its time."""

MIN_DRIFT: Final = 0.5
"""Seconds by which this machine's clock must have been set to be taken notice of: clocks are adjusted all the time."""

RIVALS: Final = "an execution in the workflow's listing may belong to another request with the same inputs"


@dataclass(frozen=True, slots=True, eq=False)
class SearchEntry:
    """A lost trigger, when its time is over, and when also what stands in its way is waited for no longer.

    Both in seconds of the monotonic clock. ``now`` and ``epoch`` are both clocks when the search for it began.
    """

    lost: LostRequest
    due: float
    end: float
    now: float
    epoch: float


class LostRequestSearch:
    """The search for the lost answers of one run.

    Parameters
    ----------
    workflow_id : str
    version_id : str or None
        Executions of another version are not ours.
    transport, clock : Transport, Clock
    dialect : {"current", "legacy"}
    settle_window : float
        Seconds after a trigger's last moment in which its executions may appear.
    workers : int
        Questions at once, at most.
    taken : callable
        Says what belongs to somebody already, since a moment (epoch seconds). Asked after the listing was read.
    adopt : callable
        Given what was found of one lost trigger: an outcome per row, whose position is the row. False where somebody
        else has got it meanwhile.
    give_up : callable
        Told of rows that were not found, why, and whether the listing was read to the end: where it was not, or where
        another request may own what it shows, a later look may still find them.
    tell : callable
        Told how many rows are looked for now.
    """

    def __init__(
        self,
        workflow_id: str,
        *,
        version_id: str | None,
        transport: Transport,
        clock: Clock,
        dialect: DialectName,
        settle_window: float,
        workers: int,
        taken: Callable[[float], Awaitable[Claimed]],
        adopt: Callable[[LostRequest, Sequence[Outcome]], Awaitable[bool]],
        give_up: Callable[[LostRequest, Sequence[int], str, bool], None],
        tell: Callable[[int], None],
    ) -> None:
        self._listing = Listing(
            workflow_id, version_id=version_id, transport=transport, clock=clock, dialect=dialect, workers=workers
        )
        self._clock = clock
        self._settle_window = settle_window
        self._taken = taken
        self._adopt = adopt
        self._give_up = give_up
        self._tell = tell
        self._open: list[SearchEntry] = []
        self._told = 0
        self._closed = False
        self._news = asyncio.Event()
        self._looks = 0
        self._ended = -inf
        self._floor = 0.0
        self._draw = 0.0

    @property
    def busy(self) -> bool:
        """Whether something is looked for."""
        return bool(self._open)

    def lose(self, lost: LostRequest) -> None:
        """Look for one more."""
        if not lost.rows:
            return
        # A clock that was set back since must not make this wait for hours.
        now, epoch = lost.clocks or (self._clock.now(), self._clock.epoch())
        due = now + max(0.0, min(lost.until - epoch, lost.until - lost.since) + self._settle_window)
        due, end = (now, now) if lost.once else (due, due + self._settle_window)
        self._open.append(SearchEntry(lost, due, end, now, epoch))
        self._looks = 0
        self._news.set()
        self._count()

    def close(self) -> None:
        """Say that nothing more will be lost: `run` ends with the last that is found or given up."""
        self._closed = True
        self._news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `close` was called and nothing is left, or until `stop` is set: what is open then stays so."""
        try:
            if not stop.is_set():
                await cancel_on(stop, self._run())
        finally:
            self._say(0)

    async def _run(self) -> None:
        while self._open or not self._closed:
            if not self._open:
                self._news.clear()
                await self._news.wait()
                continue
            await self._pause()
            await self._look()

    # -- when -------------------------------------------------------------------------------------------------------

    async def _pause(self) -> None:
        """Wait for the time of the next look, which comes nearer when something more is lost."""
        while (left := self._next() - self._clock.now()) > 0:
            self._news.clear()
            await cancel_on(self._news, self._clock.sleep(left))

    def _next(self) -> float:
        delay = search_delay(max(1, self._looks), floor=None, draw=self._draw)
        times = [moment for one in self._open for moment in (one.due, one.end) if moment > self._ended]
        soonest = min(times, default=inf) + TICK
        moment = min(self._ended + delay, max(soonest, self._ended + SEARCH_FIRST))
        # What may wait no longer is looked for once more, whatever the API would like.
        return min(max(moment, self._ended + self._floor), max(min(one.end for one in self._open), self._ended) + TICK)

    async def _look(self) -> None:
        begun = self._clock.now()
        opened = tuple(self._open)
        try:
            await self._see(opened, begun)
        except UnreadableError as exc:
            self._troubled(exc, opened)
        except Exception as exc:
            logger.exception("the search for lost responses failed")
            self._troubled(UnreadableError(f"{type(exc).__name__}: {exc}", what="the search failed"), opened)
        self._ended = self._clock.now()
        self._draw = self._clock.draw()
        self._looks += 1
        self._count()

    def _lost(self, one: SearchEntry) -> LostRequest:
        """Return a lost trigger, with its moments by this machine's clock as it is set now.

        The two clocks drift apart where the machine's time is set, and where it sleeps: so the stretch only grows.
        """
        drift = (self._clock.epoch() - one.epoch) - (self._clock.now() - one.now)
        if abs(drift) < MIN_DRIFT:
            return one.lost
        return replace(one.lost, since=one.lost.since + min(0.0, drift), until=one.lost.until + max(0.0, drift))

    # -- what -------------------------------------------------------------------------------------------------------

    async def _see(self, opened: Sequence[SearchEntry], begun: float) -> None:
        self._floor = 0.0
        listing, lost = self._listing, [self._lost(one) for one in opened]
        listing.begin()
        unnamed = [one for one in lost if one.bulk_id is None or not is_filter(one.bulk_id)]
        stretches = spans(unnamed, late=self._settle_window, near=2 * UNSURE)
        seen = await listing.read(stretches)
        # After the listing was read: whatever stands in it has been answered by now, or is still waited for.
        taken = await self._taken(min(one.since for one in lost) - UNSURE)
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
        everybody = tuple(self._open)  # also what was lost meanwhile: it may own what is there
        lost = [self._lost(one) for one in everybody]
        whole = self._listing.trouble is None
        barred = {place for place, one in enumerate(lost) if self._has_rivals(one, taken)}
        last = {place for place, one in enumerate(everybody) if whole and begun >= one.due} - barred
        margin = self._listing.skew.margin
        matching = match(
            lost,
            bulks,
            early=margin,
            late=self._settle_window + margin,
            last=last,
            barred=barred,
        )
        outrun = {
            found.lost
            for found in matching.found
            if not await self._found(everybody[found.lost], bulks[found.bulk], found, entries)
        }
        if self._listing.trouble is not None:
            self._troubled(self._listing.trouble, opened)
            return
        for place, one in enumerate(everybody):
            if one not in self._open or place in outrun:
                continue
            if place in last and place not in matching.contested:
                self._drop(one, one.lost.rows, self._not_found(one.lost), looked=True)
            elif begun >= one.end:
                self._drop(one, one.lost.rows, RIVALS, looked=False)

    def _has_rivals(self, lost: LostRequest, taken: Claimed) -> bool:
        """Say whether a request under way may have made executions with a lost trigger's inputs, in its time."""
        if lost.bulk_id is not None:
            return False
        latest = lost.until + self._settle_window + 2 * self._listing.skew.margin
        return any(taken.fingerprints.get(content, inf) <= latest for content in lost.fingerprints)

    async def _found(self, one: SearchEntry, bulk: BulkCandidate, found: Match, entries: Mapping[str, Entry]) -> bool:
        """Write down what was found; return False where somebody has got it since, which the next look will see."""
        rows = {row for row, _ in found.pairs}
        outcomes = [_outcome(row, entries[execution_id], bulk.bulk_id) for row, execution_id in found.pairs]
        if not await self._adopt(self._lost(one), outcomes):
            return False
        self._open.remove(one)
        left = [row for row in one.lost.rows if row not in rows]
        if left:
            self._give_up(one.lost, left, f"not among the executions found for bulk operation {bulk.bulk_id}", True)
        return True

    def _drop(self, one: SearchEntry, rows: Sequence[int], why: str, *, looked: bool) -> None:
        self._open.remove(one)
        self._give_up(one.lost, rows, why, looked)

    def _not_found(self, lost: LostRequest) -> str:
        if lost.once:
            return "not found by a later search either"
        if lost.bulk_id is not None:
            return f"bulk operation {lost.bulk_id} lists no such executions within {self._settle_window:g} s"
        return f"not found in the workflow's listing within {self._settle_window:g} s of the request"

    def _troubled(self, trouble: UnreadableError, opened: Sequence[SearchEntry]) -> None:
        """After a look that saw too little: give up what is not worth another, or may not wait for it."""
        self._floor = trouble.after
        again = self._clock.now() + trouble.after
        for one in opened:
            if one in self._open and (trouble.hopeless or again >= one.end):
                self._drop(one, one.lost.rows, str(trouble), looked=False)

    def _count(self) -> None:
        self._say(sum(len(one.lost.rows) for one in self._open))

    def _say(self, rows: int) -> None:
        if rows != self._told:
            self._told = rows
            self._tell(rows)


def _outcome(row: int, entry: Entry, bulk_id: str) -> Outcome:
    """Return what a row gets: its ids in any case, and what its entry says, where that can be read."""
    try:
        outcome = read_outcome(row, entry)._replace(bulk_id=bulk_id)
    except (TypeError, ValueError, RecursionError):
        return Outcome(row, QUEUED, bulk_id, entry["execution_id"])
    if outcome.status == UNKNOWN:
        return outcome._replace(status=QUEUED)
    # Not ended yet, for what follows a run: it then asks for the details, which say more.
    return outcome._replace(status=RUNNING) if lacks_details(outcome) else outcome
