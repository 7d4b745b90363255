"""Follows executions until they have ended, by polling and by webhook deliveries. It only reads from the API.

Owns which requests a poll makes: a listing per bulk operation, or the workflow's own listing where that is far fewer
requests, and the details where a listing lacks them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from ..aio.backoff import poll_delay
from ..aio.tasks import cancel_on, run_alongside, run_workers
from ..api import reader
from ..api.reader import FORGOTTEN, MAX_OTHERS, NO_DETAILS, OTHER_EXECUTION, UNREADABLE
from ..api.requests import PAGE_SIZE, details_request, is_filter, listing_request
from ..api.responses import entries, is_details_of, lacks_details, read_outcome, with_default_error
from ..api.verdicts import MAX_RETRY_AFTER, Retry, Stop, Success, is_past_the_end, judge_read
from ..errors import APIConnectionError, APIError
from ..models import FAILED, TERMINAL, UNKNOWN, ApiConnection, Json, Outcome, Request
from ..results import Results
from ..webhooks import dispatcher
from ..webhooks.subscription import Subscription
from .absences import Absences
from .assignments import Assignments, TrackedRows
from .events import EventEmitter

if TYPE_CHECKING:
    from ..webhooks.receiver import WebhookReceiver

logger = logging.getLogger("eachlabs_frames")

FEW_BULKS: Final = 10
"""Up to this many bulk operations are read one by one, whatever the listing would cost."""

WORTH: Final = 5
"""The workflow's listing is read if that takes this many times fewer requests."""

POOR_YIELD: Final = 2
"""Open bulk operations that a page of the workflow's listing must contain to be worth its request."""

SHARE: Final = 3
"""The pause after a poll is at least this multiple of its duration, whatever pace was asked for."""


class Tracker:
    """Follows the open rows of `results`.

    Parameters
    ----------
    workflow_id : str
    results : Results
    connection : ApiConnection
    events : EventEmitter
    receiver : WebhookReceiver or None
        The receiver that the call was given. While it listens, polls are few.
    rows : TrackedRows, optional
        Records what changes. With it, the inputs that the API repeats are compared with those that were sent.

    Attributes
    ----------
    deliveries : Subscription
        Its coroutine `receive` must run while rows are sent; `wait` runs it itself.
    """

    def __init__(
        self,
        workflow_id: str,
        results: Results,
        connection: ApiConnection,
        *,
        events: EventEmitter,
        receiver: WebhookReceiver | None = None,
        rows: TrackedRows | None = None,
    ) -> None:
        self._rows = rows
        self._assignments = None if rows is None else Assignments(results, rows.content)
        self._absences = Absences(results, connection.clock, None if rows is None else rows.sent_at)
        self._others: Counter[str] = Counter()
        self._workflow_id = workflow_id
        self._results = results
        self._transport = connection.transport
        self._clock = connection.clock
        self._dialect = connection.dialect
        self._workers = connection.workers
        self._events = events
        # An execution may stand in several rows, in a frame that was put together from copies.
        self._open: dict[str, list[int]] = {}
        self._answers = 0
        self._refusals: list[Retry] = []
        self._turn = asyncio.Lock()
        self._closed = False
        self._took = 0.0
        self._answered_at = self._clock.epoch()
        self._has_receiver = receiver is not None
        self.deliveries = Subscription(
            workflow_id,
            results,
            receiver=receiver,
            awaited=lambda: self._open.keys(),
            write=self._write,
            content=None if rows is None else rows.content,
        )

    def close(self) -> None:
        """Write nothing more: the results belong to the caller now."""
        self._closed = True
        self.deliveries.close()

    async def poll_once(self, stop: asyncio.Event, *, is_last: bool = True) -> int:
        """Poll once for every open row; return how many are still open. `is_last`: the call does not poll again.

        Raises
        ------
        APIError
            Refused, or no request had a usable reply. The replies that came are kept in the results.
        """
        await cancel_on(stop, self._poll())
        if self._refusals and not self._answers:
            msg = f"no usable response from the API: {self._refusals[-1].reason}"
            raise APIConnectionError(msg)
        if is_last:
            await cancel_on(stop, self._release())
        await cancel_on(stop, self._ask_costs())
        return self._left()

    async def poll_quietly(self, *, thrifty: bool = True) -> None:
        """Poll once while the run sends. A failure is logged; a later poll asks again."""
        try:
            await self._poll(thrifty=thrifty)
        except APIError as exc:
            logger.warning("the executions could not be polled: %s", exc)

    def _left(self) -> int:
        return sum(map(len, self._open.values()))

    async def poll_repeatedly(self, pace: Callable[[], float]) -> None:
        """Poll every `pace()` seconds until cancelled. A failure is logged; a later poll asks again."""
        while True:
            await self._clock.sleep(self._pause(pace))
            await self.poll_quietly(thrifty=False)

    async def wait(
        self, stop: asyncio.Event, *, timeout: float | None = None, pace: Callable[[], float] | None = None
    ) -> int:
        """Poll until every row is settled or `timeout` seconds have passed; return how many are still open.

        A failed poll does not end the wait: the next one follows, after `pace()` seconds if that is given.

        Raises
        ------
        APIError
            Refused: 401, 403, 404.
        """
        await run_alongside(self._wait(stop, timeout, pace), [self.deliveries.receive()])
        return self._left()

    async def _wait(self, stop: asyncio.Event, timeout: float | None, pace: Callable[[], float] | None) -> None:
        deadline = None if timeout is None else self._clock.now() + timeout
        polls = 0
        self._find_open()
        # Ends of executions sent before the subscription began may not have been delivered.
        needs_poll = self.deliveries.poll_interval is None or not self.deliveries.is_complete
        while True:
            if needs_poll:
                self.deliveries.poll_started()
                await cancel_on(stop, self._bounded(self._poll(), deadline))
                polls += 1
            left = None if deadline is None else deadline - self._clock.now()
            if not self._open or stop.is_set() or (left is not None and left <= 0):
                break
            delay = self._delay(polls, pace)
            if left is not None and left <= delay:
                # There is no time for another poll, but perhaps for the details of released executions.
                await cancel_on(stop, self._bounded(self._release(), deadline))
            await cancel_on(stop, self._rest(delay if left is None else min(delay, left)))
            needs_poll = bool(self._open)
        await cancel_on(stop, self._bounded(self._release() if self._open else self._ask_costs(), deadline))

    async def _rest(self, seconds: float) -> None:
        """Wait, until no execution is left to be delivered at the latest."""
        await cancel_on(self.deliveries.delivered(), self._clock.sleep(seconds))

    def _delay(self, polls: int, pace: Callable[[], float] | None) -> float:
        if pace is None and self.deliveries.poll_interval is None:
            return poll_delay(polls, floor=self._floor(), draw=self._clock.draw())
        return self._pause(pace)

    def _pause(self, pace: Callable[[], float] | None) -> float:
        asked = 0.0 if pace is None else pace()
        return max(asked, self.deliveries.poll_interval or 0.0, SHARE * self._took, self._floor())

    def _floor(self) -> float:
        return max((refusal.after or 0.0 for refusal in self._refusals), default=0.0)

    async def _bounded(self, look: Any, deadline: float | None) -> None:
        seconds = None if deadline is None else max(deadline - self._clock.now(), 0.001)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(look, seconds)

    async def _ask_costs(self) -> None:
        """Read the costs of executions whose end was delivered without one. A failure is ignored."""
        if self._closed:
            return
        unasked = dispatcher.without_cost()
        wanted = reader.rows_without_cost(self._results, unasked, all_completed=self._has_receiver)
        found = await reader.read_costs(
            self._workflow_id, wanted, results=self._results, transport=self._transport, workers=self._workers
        )
        for execution_id in found:
            dispatcher.cost_was_read(execution_id)
        rows = ((row, cost) for known, cost in found.items() if cost is not None for row in wanted[known])
        # Without the output: it is in the frame already and may be large.
        self._write([self._results.outcome(row)._replace(cost=cost, output=None) for row, cost in rows])

    async def _poll(self, *, thrifty: bool = False) -> None:
        """Poll all open executions once, and report whether the API still replies."""
        async with self._turn:
            if self._closed:
                return
            began = self._clock.now()
            await self._ask_for_all(thrifty=thrifty)
            self._took = self._clock.now() - began
            if self._answers:
                self._answered_at = self._clock.epoch()
            self._events.stale(self._answered_at if self._refusals and not self._answers else None)
            throttled = (refusal.reason for refusal in self._refusals if (refusal.after or 0) >= MAX_RETRY_AFTER)
            self._events.throttled(next(throttled, None))

    async def _ask_for_all(self, *, thrifty: bool) -> None:
        """Ask; `thrifty` with as few requests as can be, of executions that are new."""
        self._answers, self._refusals = 0, []
        bulks, alone = self._find_open()
        pages = ceil(len(self._open) / PAGE_SIZE)
        few, worth = (1, 1) if thrifty else (FEW_BULKS, WORTH)
        # What the listing cannot be filtered by costs a request for each execution.
        requests = sum(1 if is_filter(bulk_id) else len(ids) for bulk_id, ids in bulks.items())
        if requests > few and requests >= worth * pages:
            bulks = await self._read_listing(bulks)
        for bulk_id in [bulk_id for bulk_id in bulks if not is_filter(bulk_id)]:
            alone |= bulks.pop(bulk_id)
        await run_workers(iter(bulks.items()), self._read_bulk, workers=self._workers)
        await run_workers(iter(alone | self._absences.suspects(self._open)), self._read_alone, workers=self._workers)
        await self._correct()

    def _find_open(self) -> tuple[dict[str, set[str]], set[str]]:
        """Find the open executions; return them by bulk operation, and those whose bulk operation is not known."""
        self._open = {}
        bulks: dict[str, set[str]] = {}
        alone: set[str] = set()
        for row in self._results.open_rows():
            execution_id, bulk_id = str(self._results.execution_id[row]), self._results.bulk_id[row]
            self._open.setdefault(execution_id, []).append(row)
            (alone if bulk_id is None else bulks.setdefault(bulk_id, set())).add(execution_id)
        return bulks, alone

    async def _read_listing(self, bulks: Mapping[str, set[str]]) -> dict[str, set[str]]:
        """Read the workflow's listing, newest first; return the bulk operations that are better read one by one."""
        wanted = {bulk_id: set(ids) for bulk_id, ids in bulks.items()}
        owner = {execution_id: bulk_id for bulk_id, ids in bulks.items() for execution_id in ids}
        offset = 0
        while wanted:
            width = min(self._workers, max(1, ceil(sum(map(len, wanted.values())) / PAGE_SIZE)))
            offsets = range(offset, offset + width * PAGE_SIZE, PAGE_SIZE)
            pages = await self._pages(offsets)
            touched = set()
            for page in pages:
                for entry in page or ():
                    bulk_id = owner.get(entry["execution_id"])
                    if bulk_id in wanted and entry["execution_id"] in wanted[bulk_id]:
                        touched.add(bulk_id)
                        wanted[bulk_id].discard(entry["execution_id"])
            await self._take([entry for page in pages for entry in page or ()])
            wanted = {bulk_id: ids for bulk_id, ids in wanted.items() if ids}
            if any(page is None or len(page) < PAGE_SIZE for page in pages):
                self._absences.note(known for ids in wanted.values() for known in ids if None not in pages)
                return {}
            if len(touched) < POOR_YIELD * width:
                return dict(wanted)
            offset += width * PAGE_SIZE
        return {}

    async def _pages(self, offsets: range) -> list[list[Mapping[str, Any]] | None]:
        pages: dict[int, list[Mapping[str, Any]] | None] = {}

        async def one(offset: int) -> None:
            pages[offset] = await self._page(offset)

        await run_workers(iter(offsets), one, workers=self._workers)
        return [pages[offset] for offset in offsets]

    async def _page(self, offset: int) -> list[Mapping[str, Any]] | None:
        verdict = judge_read(await self._transport.send(listing_request(self._workflow_id, offset=offset)))
        if is_past_the_end(verdict, offset):
            return []
        said = self._said(verdict)
        return None if said is None else list(entries(said))

    async def _read_bulk(self, bulk: tuple[str, set[str]]) -> None:
        bulk_id, wanted = bulk
        said = await self._ask(listing_request(self._workflow_id, bulk_id=bulk_id))
        if said is None:
            return
        found = list(entries(said))
        self._absences.note(wanted - {entry["execution_id"] for entry in found})
        await self._take(found)

    async def _read_alone(self, execution_id: str) -> None:
        rows = self._open.get(execution_id, ())
        details = await self._ask_details(execution_id) if rows else None
        if details is None:
            return
        if not isinstance(details, str):
            if self._accepts(rows, details):
                self._write([with_default_error(read_outcome(row, details)) for row in rows])
            return
        if details == FORGOTTEN and not self._absences.is_gone(execution_id, rows):
            return
        rows = self._open.pop(execution_id, ())
        for row in rows:
            self._results.note(row, status=UNKNOWN, error=details)
        self._events.refreshed([self._results.outcome(row) for row in rows])

    async def _take(self, found: Iterable[Mapping[str, Any]]) -> None:
        """Write a listing's entries into our rows; read the details of entries that lack them."""
        known: list[Outcome] = []
        brief: list[Outcome] = []
        for entry in found:
            rows = self._open.get(entry["execution_id"], [])
            self._absences.forget(entry["execution_id"])
            if rows and not self._accepts(rows, entry):
                continue
            outcomes = [read_outcome(row, entry) for row in rows]
            if outcomes and lacks_details(outcomes[0]):
                brief.append(outcomes[0])
            else:
                known += outcomes
        self._write(known)
        await run_workers(iter(brief), self._ask_more, workers=self._workers)

    async def _ask_more(self, brief: Outcome) -> None:
        execution_id = str(brief.execution_id)
        rows = self._open.get(execution_id, ())
        details = await self._ask_details(execution_id)
        if details is None:
            return  # The row stays open, and the next look asks again.
        if isinstance(details, str):
            error = details if brief.status == FAILED else NO_DETAILS.format(reason=details)
            self._write([brief._replace(position=row, error=error) for row in rows])
            return
        if not self._accepts(rows, details):
            return
        more = read_outcome(brief.position, details)
        whole = brief._replace(
            error=more.error,
            output=more.output,
            bulk_id=more.bulk_id,
            started_at=brief.started_at or more.started_at,
            completed_at=brief.completed_at or more.completed_at,
            cost=more.cost if brief.cost is None else brief.cost,
        )
        self._write([with_default_error(whole._replace(position=row)) for row in self._open.get(execution_id, ())])

    def _write(self, outcomes: Iterable[Outcome]) -> None:
        if self._closed:
            return
        changed = [outcome for outcome in outcomes if self._results.merge(outcome)]
        ended = [outcome for outcome in changed if outcome.status in TERMINAL]
        for outcome in ended:
            self._open.pop(str(outcome.execution_id), None)
        if self._assignments is not None:
            self._assignments.forget(str(outcome.execution_id) for outcome in ended)
        if changed:
            # The rows as they are now: a poll that a delivery overtook has older values, and so has one for costs.
            self._events.refreshed([self._results.outcome(outcome.position) for outcome in changed])
        if ended and self._rows is not None:
            self._rows.record(ended)

    def _accepts(self, rows: Sequence[int], entry: Mapping[str, Any]) -> bool:
        return self._assignments is None or self._assignments.accepts(rows, entry)

    async def _correct(self) -> None:
        """Give executions that turned out to be in the wrong rows to the rows whose inputs they have."""
        if self._assignments is None or self._closed:
            return
        done = self._assignments.settle(self._open)
        if done.outcomes:
            results = self._results
            changed = [outcome.position for outcome in done.outcomes]
            for row in changed:
                self._open.pop(str(results.execution_id[row]), None)
            for outcome in done.outcomes:
                results.correct(outcome)
                if outcome.execution_id is not None:
                    self._open[outcome.execution_id] = [outcome.position]
            labels = f"{len(changed)} row(s) had executions of other rows, according to the inputs that the API returns"
            logger.warning("%s: they now have their own execution, or are unknown", labels)
            if self._rows is not None:
                self._rows.correct(done.outcomes)
            self._events.refreshed(done.outcomes)
        await self._take(done.entries)

    async def _release(self) -> None:
        """Write entries that need not be held back any longer, because this call does not poll again."""
        async with self._turn:
            if self._assignments is not None and not self._closed:
                await self._take(self._assignments.release(self._open))

    async def _ask_details(self, execution_id: str) -> Mapping[str, Any] | str | None:
        """Return an execution's details, a reason why they cannot be read, or None if a later poll may read them.

        What one execution's details are refused with says nothing of the others; but for 401, which is about the key.
        """
        request = details_request(self._dialect, execution_id)
        verdict = judge_read(await self._transport.send(request))
        if isinstance(verdict, Stop) and verdict.status != 401:
            self._answers += 1
            return FORGOTTEN if verdict.status in (404, 410) else UNREADABLE.format(reason=verdict.reason)
        details = self._said(verdict)
        if isinstance(verdict, Retry):
            return None
        if isinstance(details, Mapping) and is_details_of(details, execution_id):
            self._others.pop(execution_id, None)
            return {**details, "execution_id": execution_id}
        self._others[execution_id] += 1
        return OTHER_EXECUTION if self._others[execution_id] >= MAX_OTHERS else None

    async def _ask(self, request: Request) -> Json:
        return self._said(judge_read(await self._transport.send(request)))

    def _said(self, verdict: Success | Retry | Stop) -> Json:
        if isinstance(verdict, Stop):
            raise verdict.error(verdict.reason, status=verdict.status, details=verdict.reason)
        if isinstance(verdict, Retry):
            self._refusals.append(verdict)
            return None
        self._answers += 1
        return verdict.json
