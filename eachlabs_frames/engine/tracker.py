"""Follows executions until they have ended, by polling and by webhook deliveries. It only reads from the API.

Owns which requests a poll makes (a listing per bulk operation, or the workflow's own listing where that is far fewer
requests, and the details where a listing lacks them), and when an execution that the API does not list is gone, for
example after an organization's retention.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..aio.tasks import cancel_on, run_alongside, run_workers
from ..api import reader
from ..api.reader import ExecutionPage, read_page, read_pages
from ..api.requests import PAGE_SIZE, details_request, is_filter
from ..api.responses import complete_outcome, details_of, lacks_details, read_outcome, with_default_error
from ..api.verdicts import MAX_RETRY_AFTER, Retry, Stop, Success, judge_read
from ..errors import APIConnectionError, APIError
from ..models import FAILED, TERMINAL, UNKNOWN, ApiConnection, Outcome, Request
from ..results import NO_TIME, Results
from ..webhooks import dispatcher
from ..webhooks.subscription import Subscription
from .assignments import Assignments, Entry, TrackedRows
from .events import EventEmitter
from .listing_search import ListingSearch, is_worth_reading, sample
from .poll_schedule import PollSchedule

if TYPE_CHECKING:
    from ..webhooks.receiver import WebhookReceiver

logger = logging.getLogger("eachlabs_frames")

MAX_MISSED: Final = 3
"""Consecutive polls without an execution after which its details decide, whatever its age: listings and details may lag
behind a trigger, so a young execution that is missing may still appear and is polled again."""

MIN_AGE: Final = 86_400.0
"""Seconds. An execution that was sent longer ago is gone if neither the listing nor its details have it. The API keeps
outputs for at least 24 hours, and no listing or clock is expected to be wrong by a day."""

SHARE: Final = 3
"""The pause after a poll is at least this multiple of its duration, whatever the requested interval."""


Answer = TypeVar("Answer", Success, ExecutionPage)


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
        self._assignments = None if rows is None else Assignments(results, rows.content, connection.references)
        # For each execution: consecutive polls without it, and responses with the details of another execution.
        self._missed: Counter[str] = Counter()
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
        # The latest poll: replies that could be used, requests, and replies that could not be used; its duration.
        self._answers = 0
        self._requests = 0
        self._refusals: list[Retry] = []
        self._duration = 0.0
        self._answered_at = self._clock.epoch()
        self._depth: int | None = None
        self._lock = asyncio.Lock()
        self._closed = False
        self._has_receiver = receiver is not None
        self.deliveries = Subscription(
            workflow_id,
            results,
            receiver=receiver,
            awaited=lambda: self._open.keys(),
            write=self._write,
            content=None if rows is None else rows.content,
            references=connection.references,
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
        await cancel_on(stop, self._read_costs())
        return sum(map(len, self._open.values()))

    async def poll_quietly(self, *, thrifty: bool = True) -> None:
        """Poll once while the run sends. A failure is logged; a later poll asks again."""
        try:
            await self._poll(thrifty=thrifty)
        except APIError as exc:
            logger.warning("the executions could not be polled: %s", exc)

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
        return sum(map(len, self._open.values()))

    async def _wait(self, stop: asyncio.Event, timeout: float | None, pace: Callable[[], float] | None) -> None:
        deadline = None if timeout is None else self._clock.now() + timeout
        schedule = PollSchedule(self._clock)
        self._find_open()
        # Ends of executions sent before the subscription began may not have been delivered.
        needs_poll = self.deliveries.poll_interval is None or not self.deliveries.is_complete
        while True:
            if needs_poll:
                self.deliveries.poll_started()
                # Mostly the executions have just been sent. With a deadline, this poll may be the only one; with a
                # receiver, the next one is far.
                by_sample = schedule.polls == 0 and deadline is None and self.deliveries.poll_interval is None
                await cancel_on(stop, self._bounded(self._poll(by_sample=by_sample), deadline))
                schedule.polled(still_open=len(self._open), requests=self._requests)
            left = None if deadline is None else deadline - self._clock.now()
            if not self._open or stop.is_set() or (left is not None and left <= 0):
                break
            delay = self._pause(pace, schedule)
            if left is not None and left <= delay:
                # There is no time for another poll, but perhaps for the details of released executions.
                await cancel_on(stop, self._bounded(self._release(), deadline))
            await cancel_on(stop, self._rest(delay if left is None else min(delay, left)))
            needs_poll = bool(self._open)
        await cancel_on(stop, self._bounded(self._release() if self._open else self._read_costs(), deadline))

    async def _rest(self, seconds: float) -> None:
        """Wait, until no execution is left to be delivered at the latest."""
        await cancel_on(self.deliveries.delivered(), self._clock.sleep(seconds))

    def _pause(self, pace: Callable[[], float] | None, schedule: PollSchedule | None = None) -> float:
        """Return the seconds until the next poll: those of `pace()`, or as planned by `schedule`."""
        floor = max((refusal.after or 0.0 for refusal in self._refusals), default=0.0)
        interval = self.deliveries.poll_interval
        if pace is None and interval is None and schedule is not None:
            return schedule.delay(floor=floor)
        return max(0.0 if pace is None else pace(), interval or 0.0, SHARE * self._duration, floor)

    async def _bounded(self, poll: Coroutine[Any, Any, None], deadline: float | None) -> None:
        seconds = None if deadline is None else max(deadline - self._clock.now(), 0.001)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(poll, seconds)

    async def _read_costs(self) -> None:
        """Read the costs of executions whose end was delivered without one. A failure is ignored."""
        if self._closed:
            return
        missing = reader.rows_without_cost(self._results, dispatcher.without_cost(), all_completed=self._has_receiver)
        costs = await reader.read_costs(
            self._workflow_id, missing, results=self._results, transport=self._transport, workers=self._workers
        )
        for execution_id in costs:
            dispatcher.cost_was_read(execution_id)
        stated = ((row, cost) for id_, cost in costs.items() if cost is not None for row in missing[id_])
        # Without the output: it is in the frame already and may be large.
        self._write([self._results.outcome(row)._replace(cost=cost, output=None) for row, cost in stated])

    async def _poll(self, *, thrifty: bool = False, by_sample: bool = False) -> None:
        """Poll all open executions once, and report whether the API still replies."""
        async with self._lock:
            if self._closed:
                return
            began = self._clock.now()
            await self._read_open(thrifty=thrifty, by_sample=by_sample)
            self._duration = self._clock.now() - began
            if self._answers:
                self._answered_at = self._clock.epoch()
            self._events.stale(self._answered_at if self._refusals and not self._answers else None)
            throttled = (refusal.reason for refusal in self._refusals if (refusal.after or 0) >= MAX_RETRY_AFTER)
            self._events.throttled(next(throttled, None))

    async def _read_open(self, *, thrifty: bool, by_sample: bool) -> None:
        """Read the open executions: with few requests if they are new (`thrifty`), or only if a sample shows an end."""
        self._answers, self._refusals, self._requests = 0, [], 0
        bulks, alone = self._find_open()
        if is_worth_reading(bulks, depth=self._depth, thrifty=thrifty):
            pages = sample(len(self._open), self._workers) if by_sample else []
            if pages and not await self._shows_an_end(pages):
                self._requests = ceil(len(self._open) / PAGE_SIZE)  # those of the whole poll that is due now
                bulks = {}
            else:
                bulks = await self._read_listing(bulks)
        for bulk_id in [bulk_id for bulk_id in bulks if not is_filter(bulk_id)]:
            alone |= bulks.pop(bulk_id)
        await run_workers(iter(bulks.items()), self._read_bulk, workers=self._workers)
        await run_workers(iter(alone | self._suspects()), self._read_alone, workers=self._workers)
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
        search = ListingSearch(bulks, workers=self._workers)
        brief: list[Outcome] = []

        async def read(offset: int) -> None:
            page = self._answered(await read_page(self._workflow_id, self._get, offset=offset))
            search.add(offset, page)
            brief.extend(self._write_listed(page.executions if page is not None else ()))

        while not search.is_over:
            await run_workers(search.wave(), read, workers=self._workers)
            await run_workers(iter(brief), self._complete, workers=self._workers)
            brief.clear()
        self._missed.update(search.unlisted())
        self._depth = search.depth(self._open)
        return search.unread()

    async def _shows_an_end(self, offsets: Iterable[int]) -> bool:
        """Read these pages; return whether an execution on them has ended."""
        count = len(self._open)
        read = await read_pages(self._workflow_id, self._get, offsets, workers=self._workers)
        await self._take(entry for page in map(self._answered, read) if page is not None for entry in page.executions)
        return len(self._open) < count

    async def _read_bulk(self, bulk: tuple[str, set[str]]) -> None:
        bulk_id, execution_ids = bulk
        page = self._answered(await read_page(self._workflow_id, self._get, bulk_id=bulk_id))
        if page is not None:
            self._missed.update(execution_ids - {entry["execution_id"] for entry in page.executions})
            await self._take(page.executions)

    async def _read_alone(self, execution_id: str) -> None:
        rows = self._open.get(execution_id, ())
        details = await self._read_details(execution_id) if rows else None
        if isinstance(details, Mapping):
            if self._accepts(rows, details):
                self._write([with_default_error(read_outcome(row, details)) for row in rows])
        elif details is not None and (details != reader.FORGOTTEN or self._is_gone(execution_id, rows)):
            rows = self._open.pop(execution_id, ())
            for row in rows:
                self._results.note(row, status=UNKNOWN, error=details)
            self._events.refreshed([self._results.outcome(row) for row in rows])

    def _suspects(self) -> set[str]:
        """Return the open executions that listings lack and whose details are to decide."""
        return {
            execution_id
            for execution_id, rows in self._open.items()
            if (missed := self._missed[execution_id]) >= MAX_MISSED or (missed and self._is_old(rows, default=False))
        }

    def _is_gone(self, execution_id: str, rows: Sequence[int]) -> bool:
        """Return whether missing details mean that the execution is gone; otherwise it may be late."""
        if self._missed[execution_id] < MAX_MISSED and not self._is_old(rows, default=True):
            self._missed[execution_id] += 1
            return self._missed[execution_id] >= MAX_MISSED
        return True

    def _is_old(self, rows: Sequence[int], *, default: bool) -> bool:
        """Return whether an execution is older than `MIN_AGE`, or `default` where its age is not known."""
        started_at = [self._results.started_at[row] for row in rows]
        times = [time / 1e9 for time in started_at if time != NO_TIME]
        if self._rows is not None:
            times += [time for time in map(self._rows.sent_at, rows) if time is not None]
        return self._clock.epoch() - max(times) > MIN_AGE if times else default

    async def _take(self, listed: Iterable[Entry]) -> None:
        """Write a listing's entries into our rows; read the details of entries that lack them."""
        await run_workers(iter(self._write_listed(listed)), self._complete, workers=self._workers)

    def _write_listed(self, listed: Iterable[Entry]) -> list[Outcome]:
        """Write a listing's entries into our rows; return those that lack details."""
        complete: list[Outcome] = []
        brief: list[Outcome] = []
        for entry in listed:
            rows = self._open.get(entry["execution_id"], [])
            self._missed.pop(entry["execution_id"], None)
            if rows and not self._accepts(rows, entry):
                continue
            outcomes = [read_outcome(row, entry) for row in rows]
            if outcomes and lacks_details(outcomes[0]):
                brief.append(outcomes[0])
            else:
                complete += outcomes
        self._write(complete)
        return brief

    async def _complete(self, brief: Outcome) -> None:
        """Write an outcome whose details have to be read."""
        execution_id = str(brief.execution_id)
        rows = self._open.get(execution_id, ())
        details = await self._read_details(execution_id)
        if details is None:
            return  # The row stays open, and the next poll reads it again.
        if isinstance(details, str):
            error = details if brief.status == FAILED else reader.NO_DETAILS.format(reason=details)
            self._write([brief._replace(position=row, error=error) for row in rows])
            return
        if not self._accepts(rows, details):
            return
        whole = complete_outcome(brief, details)
        self._write([whole._replace(position=row) for row in self._open.get(execution_id, ())])

    def _write(self, outcomes: Iterable[Outcome]) -> None:
        if self._closed:
            return
        changed = [outcome for outcome in outcomes if self._results.merge(outcome)]
        ended = [outcome for outcome in changed if outcome.status in TERMINAL]
        for outcome in ended:
            self._open.pop(str(outcome.execution_id), None)
        if self._assignments is not None:
            self._assignments.discard(str(outcome.execution_id) for outcome in ended)
        if changed:
            # The rows as they are now: a poll that a delivery overtook has older values, and so has one for costs.
            self._events.refreshed([self._results.outcome(outcome.position) for outcome in changed])
        if ended and self._rows is not None:
            self._rows.record(ended)

    def _accepts(self, rows: Sequence[int], entry: Entry) -> bool:
        return self._assignments is None or self._assignments.accepts(rows, entry)

    async def _correct(self) -> None:
        """Give executions that turned out to be in the wrong rows to the rows whose inputs they have."""
        if self._assignments is None or self._closed:
            return
        outcomes, entries = self._assignments.settle(self._open)
        if outcomes:
            results = self._results
            for outcome in outcomes:
                self._open.pop(str(results.execution_id[outcome.position]), None)
            for outcome in outcomes:
                results.correct(outcome)
                if outcome.execution_id is not None:
                    self._open[outcome.execution_id] = [outcome.position]
            logger.warning(
                "%d row(s) had executions of other rows, according to the inputs that the API returns: they now have "
                "their own execution, or are unknown",
                len(outcomes),
            )
            if self._rows is not None:
                self._rows.correct(outcomes)
            self._events.refreshed(outcomes)
        await self._take(entries)

    async def _release(self) -> None:
        """Write entries that need not be held back any longer, because this call does not poll again."""
        async with self._lock:
            if self._assignments is not None and not self._closed:
                await self._take(self._assignments.release(self._open))

    async def _read_details(self, execution_id: str) -> Entry | str | None:
        """Return an execution's details, a reason why they cannot be read, or None if a later poll may read them.

        What one execution's details are refused with says nothing of the others; but for 401, which is about the key.
        """
        verdict = await self._get(details_request(self._dialect, execution_id))
        if isinstance(verdict, Stop) and verdict.status != 401:
            self._answers += 1
            return reader.FORGOTTEN if verdict.status in (404, 410) else reader.UNREADABLE.format(reason=verdict.reason)
        answer = self._answered(verdict)
        if answer is None:
            return None
        details = details_of(answer.json, execution_id)
        if details is not None:
            self._others.pop(execution_id, None)
            return details
        self._others[execution_id] += 1
        return reader.OTHER_EXECUTION if self._others[execution_id] >= reader.MAX_OTHERS else None

    async def _get(self, request: Request) -> Success | Retry | Stop:
        self._requests += 1
        verdict = judge_read(await self._transport.send(request))
        if isinstance(verdict, Retry):
            self._refusals.append(verdict)
        elif isinstance(verdict, Success):
            self._answers += 1
        return verdict

    def _answered(self, reply: Answer | Retry | Stop) -> Answer | None:
        """Return a usable reply, or None if a later poll may get it; raise `APIError` if it was refused."""
        if isinstance(reply, Stop):
            raise reply.error(reply.reason, status=reply.status, details=reply.reason)
        return None if isinstance(reply, Retry) else reply
