"""Sends the batches of a run with a fixed pool of workers on one lazy stream.

Owns the order of steps (claim, send, judge, settle, report) and when a run ends. It never decides whether a POST may be
sent again: `api.verdicts.judge_trigger` does, and only a `Retry` or a `Split` is sent again here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ..aio.tasks import cancel_on, run_workers
from ..api.requests import trigger_request
from ..api.verdicts import Done, Retry, Split, Stop, Unknown, Verdict, is_raised, judge_trigger
from ..errors import EachlabsError, JournalError
from ..inputs.batches import cut, halves
from ..journal.base import LostRequest
from ..models import FAILED, UNKNOWN, ApiConnection, Batch, Fault, Reply, Request, Target
from ..settings import Settings
from .batch_files import BatchFiles, Uploads
from .budget import Budget
from .budget_gate import BudgetGate
from .cap_memory import CapMemory
from .events import described
from .fresh_claim import claim_request
from .limiter import Limiter
from .recorder import Recorder
from .recovery.search import LostRequestSearch

logger = logging.getLogger("eachlabs_frames")

MAX_UNANSWERED: Final = 10
"""Consecutive lost replies after which a run stops: each of these requests may be billed."""

OTHER_SESSIONS_INTERVAL: Final = 0.5
"""Seconds between two polls of what other calls of the same run have settled."""

CUT_OFF: Final = "interrupted before its response arrived: it may have started"
UNNAMED: Final = "the response names no execution for this input: it may have started"
NOT_ITS_OWN: Final = (
    "the response names executions of other rows, so it belongs to another request: it may have started"
)
INTERRUPTED: Final = "interrupted before it was sent"


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a run ended before its last batch. ``error`` is raised if nothing was sent at all."""

    reason: str
    error: EachlabsError | None = None


class Runner:
    """One run of one target.

    Parameters
    ----------
    target : Target
        What is triggered.
    connection : ApiConnection
    recorder : Recorder
        Records outcomes and reports each step.
    settings : Settings
        How long one request may take, and how long a run waits while the API accepts nothing.
    search : callable
        Makes the search for lost replies when the first reply is lost.
    poll : callable
        Polls once the executions that have not ended.
    budget : Budget, optional
        What may be spent.
    caps : CapMemory, optional
        What earlier calls have learned of the account's cap.

    Attributes
    ----------
    stop_reason : StopReason or None
        Why the run ended early; None where it did not.
    """

    def __init__(
        self,
        target: Target,
        connection: ApiConnection,
        recorder: Recorder,
        *,
        settings: Settings,
        search: Callable[[], LostRequestSearch],
        poll: Callable[[], Coroutine[Any, Any, None]],
        budget: Budget | None = None,
        caps: CapMemory | None = None,
    ) -> None:
        self._target = target
        self._recorder = recorder
        self._results = recorder.results
        self._events = recorder.events
        self._make_search = search
        self._poll = poll
        self._transport = connection.transport
        self._clock = connection.clock
        self._dialect = connection.dialect
        self._workers = connection.workers
        self._settings = settings
        self._gate = BudgetGate(
            budget,
            results=self._results,
            clock=self._clock,
            max_wait=settings.max_wait,
            poll=poll,
            on_waiting=recorder.events.waiting,
        )
        self._limiter = Limiter(
            self._clock,
            workers=self._workers,
            max_wait=settings.max_wait,
            on_waiting=recorder.events.waiting,
            in_flight=self._results.in_flight,
            poll=poll,
            caps=caps,
        )
        self._search: LostRequestSearch | None = None
        self._searching: asyncio.Future[None] | None = None
        self._files = BatchFiles(None, recorder)
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._unanswered = 0
        self._has_outcomes = False
        self._abandoned = False
        self.stop_reason: StopReason | None = None

    async def run(
        self,
        batches: Iterator[Batch],
        *,
        canary: bool,
        stop: asyncio.Event,
        lost: Sequence[LostRequest] = (),
        uploads: Uploads | None = None,
    ) -> StopReason | None:
        """Send every batch; return why the run ended early, or None.

        Parameters
        ----------
        batches : iterator of Batch
            Read lazily, as batches are sent.
        canary : bool
            Whether the first batch is sent alone, because no request was made before it.
        stop : asyncio.Event
            Set to stop sending; replies in flight are still read.
        lost : sequence of LostRequest
            Requests of an earlier call to search for while this run sends.
        uploads : Uploads, optional
            Uploads the files of the rows.

        Raises
        ------
        APIError
            401, 403 or 404, if no row of this run was accepted, refused or left unknown.
        JournalError
            The first claim could not be written.
        """
        self._stop, self._files = stop, BatchFiles(uploads, self._recorder)
        self._search = self._searching = None
        watch = asyncio.ensure_future(self._watch(stop))
        try:
            for request in lost:
                self._search_for(request)
            await self._send_first(batches, canary=canary)
            await run_workers(self._stream(batches), self._send_batch, workers=self._workers)
            if self._gate.stop_reason is not None:
                self._end(StopReason(self._gate.stop_reason))
            await self._follow_other_sessions()
            if self._search is not None and self._searching is not None:
                self._search.close()
                await self._searching
            await self._recorder.catch_up()
            await self._recorder.flush()
        finally:
            watch.cancel()
            if self._searching is not None and not self._searching.done():
                self._searching.cancel()
                await asyncio.gather(self._searching, return_exceptions=True)
        if self.stop_reason is not None and self.stop_reason.error is not None and not self._has_outcomes:
            raise self.stop_reason.error
        return self.stop_reason

    async def _watch(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._end(StopReason(INTERRUPTED))

    async def _send_first(self, batches: Iterator[Batch], *, canary: bool) -> None:
        """Send the first batch alone if its reply or its cost is needed before more are paid for."""
        # If a batch was refused, nothing is learned from it.
        while (canary or self._gate.is_learning) and (first := next(self._stream(batches), None)) is not None:
            await self._send_batch(first)
            canary = False

    def _stream(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while self.stop_reason is None and self._gate.stop_reason is None and not self._abandoned:
            try:
                batch = next(batches, None)
            except Exception as exc:
                # Every row was read once before the first batch was sent, so the frame has changed since.
                logger.exception("a row could not be read while the run was sending")
                self._end(StopReason(f"the rows could not be read: {described(exc)}"))
                return
            except BaseException as exc:  # noqa: BLE001 - raised again when nothing is in flight
                self._end(StopReason(f"the rows could not be read: {described(exc)}"))
                self._events.interrupt(exc, "a row's value or the inputs= function")
                return
            if batch is None:
                return
            yield batch

    async def _send_batch(self, batch: Batch) -> None:
        """Send a batch until each row has its verdict; in parts if it does not fit or is refused as a whole."""
        parts = [batch]
        worker = object()
        try:
            while parts and await self._send_next_part(worker, parts):
                pass
        finally:
            self._limiter.abandon(worker)

    async def _send_next_part(self, worker: object, parts: list[Batch]) -> bool:
        """Send the last of `parts`, or as much of it as fits; return whether the run continues."""
        part = await self._with_files(parts.pop())  # before anything is reserved: other batches are sent meanwhile
        if part is None:
            return self.stop_reason is None
        parts.append(part)
        part = await self._within_budget(parts)
        if part is None:
            return False
        reserved = await self._limiter.acquire(worker, len(part))
        if not self._may_send(reserved):
            self._gate.release(part.positions)
            return False
        if reserved < len(part):
            part, rest = cut(part, reserved)
            parts.append(rest)
            self._gate.release(rest.positions)
        verdict = await self._send(worker, part, reserved)
        if isinstance(verdict, Split):
            parts += reversed(halves(part))
        elif isinstance(verdict, Retry):
            parts.append(part)
        return verdict is not None

    async def _within_budget(self, parts: list[Batch]) -> Batch | None:
        """Take the last of `parts`, or as much of it as the budget allows; None if that is nothing.

        The run does not end yet then: batches that other workers have reserved are within the budget.
        """
        part = parts.pop()
        room = await self._gate.reserve(
            part.positions,
            stop=self._stop,
            is_over=lambda: self.stop_reason is not None or self._abandoned,
            is_searching=lambda: self._search is not None and self._search.busy,
        )
        if room < len(part):
            part, rest = cut(part, room)
            parts.append(rest)
        return part if room else None

    def _may_send(self, reserved: int) -> bool:
        """Return whether the reserved inputs may be sent; False if the run is over."""
        if self._stop.is_set():
            self._end(StopReason(INTERRUPTED))
        if self.stop_reason is None and self._limiter.exhausted is not None:
            self._end(StopReason(self._limiter.exhausted))
        return bool(reserved) and self.stop_reason is None and not self._abandoned

    async def _send(self, worker: object, batch: Batch, reserved: int) -> Verdict | None:
        """Claim, send and settle a batch; return the verdict, which may ask for another try or for halves.

        None if nothing more is to be sent.
        """
        ready = await self._with_files(batch)  # again: the limiter may have waited until a file expires
        claimed = None if ready is None else await self._claim(ready)
        if claimed is None:
            self._gate.release(batch.positions)
            self._limiter.abandon(worker)
            return None if self.stop_reason is not None else _CLAIMED_ELSEWHERE
        verdict = await self._post(*claimed)
        if verdict is None:
            return None
        created = self._settle(claimed[0], verdict)
        self._gate.keep(created)
        self._gate.release([position for position in batch.positions if position not in created])
        if not isinstance(verdict, Retry):
            self._limiter.release(worker, reserved, len(created))
            return verdict
        if await self._limiter.back_off(worker, verdict, reserved):
            return verdict
        self._may_send(0)  # sets the stop reason
        return None

    async def _with_files(self, batch: Batch) -> Batch | None:
        """Return the rows of a batch whose files are at the API; None if there are none, or if the run has ended."""
        try:
            return await self._files.ready(batch, self._ended)
        except EachlabsError as exc:
            self._end_with(exc)
            return None

    async def _claim(self, batch: Batch) -> tuple[Batch, Request] | None:
        """Return the part of a batch that may be sent, and its request; None if there is none, or if the run ends."""
        try:
            claimed = await claim_request(self._recorder, self._clock, batch, self._request)
        except JournalError as exc:
            self._end_with(exc)
            return None
        if claimed is not None and (self.stop_reason is not None or self._abandoned):
            self._recorder.release(claimed[0])
            return None
        return claimed

    def _request(self, batch: Batch) -> Request:
        return trigger_request(self._dialect, self._target, self._files.as_sent(batch))

    async def _post(self, batch: Batch, request: Request) -> Verdict | None:
        """Send once and judge the reply; None if the run was abandoned and nothing was sent."""
        # `abandon` takes these steps in reverse order, so a batch is marked or not sent, whatever the two threads do.
        since, began = self._clock.epoch(), self._clock.now()
        self._recorder.begin_sending(batch, since)
        try:
            answer = None if self._abandoned else await self._transport.send(request)
        except BaseException:
            # Cancelled in flight: it may have started, and if it were recorded as not sent it would be paid for again.
            self._recorder.mark_unknown(batch, CUT_OFF, None, since, since)
            raise
        finally:
            self._recorder.end_sending(batch)
        if answer is None:
            return None
        verdict = _judge(answer, batch)
        if isinstance(verdict, Done) and self._recorder.has_any(verdict.outcomes):
            verdict = Unknown(NOT_ITS_OWN)
        if isinstance(verdict, Unknown):
            self._search_for_batch(batch, verdict, since, began)
        elif isinstance(verdict, Done):
            return self._search_for_unnamed(batch, verdict, since, began)
        return verdict

    def _search_for_unnamed(self, batch: Batch, verdict: Done, since: float, began: float) -> Done:
        """Return the named outcomes of a good reply; search for inputs without an execution as for a lost request."""
        unnamed = [place for place, outcome in enumerate(verdict.outcomes) if outcome.status == UNKNOWN]
        if not unnamed:
            return verdict
        first = verdict.outcomes[unnamed[0]]
        part = Batch(tuple(batch.positions[at] for at in unnamed), tuple(batch.payloads[at] for at in unnamed))
        self._search_for_batch(part, Unknown(first.error or UNNAMED, first.bulk_id), since, began)
        return Done(tuple(outcome for outcome in verdict.outcomes if outcome.status != UNKNOWN))

    def _search_for_batch(self, batch: Batch, verdict: Unknown, since: float, began: float) -> None:
        # The machine's clock may have been set meanwhile: allow for both times.
        now, ended = self._clock.now(), self._clock.epoch()
        elapsed = now - began
        first, last = min(since, ended - elapsed), max(ended, since + elapsed)
        lost = self._recorder.mark_unknown(batch, verdict.reason, verdict.bulk_id, first, last)
        self._search_for(replace(lost, clocks=(now, ended)))
        self._has_outcomes = True
        self._unanswered += 1
        if self._unanswered >= MAX_UNANSWERED:
            reason = f"{MAX_UNANSWERED} consecutive requests had no usable response, the last: {verdict.reason}"
            self._end(StopReason(reason))

    def _search_for(self, lost: LostRequest) -> None:
        """Search for the executions of a lost request while the run sends."""
        if self._search is None:
            self._search = self._make_search()
            self._searching = asyncio.ensure_future(self._search.run(self._stop))
        self._search.add(lost)

    async def _follow_other_sessions(self) -> None:
        """Wait for the rows that other calls of this run have sent; search for those of calls that died."""
        recorder, timeout = self._recorder, self._settings.timeout
        deadline = self._clock.now() + max(timeout, recorder.session_lifetime + OTHER_SESSIONS_INTERVAL)
        while recorder.elsewhere and not self._stop.is_set():
            died: set[int] = set()
            try:
                died = await recorder.poll_other_sessions()
                for lost in recorder.lost(died, timeout=timeout):
                    self._search_for(lost)
            except JournalError as exc:
                logger.warning("what another call has sent cannot be read from the journal: %s", exc)
                recorder.elsewhere |= died
                break
            if not recorder.elsewhere or self._clock.now() >= deadline:
                break
            await cancel_on(self._stop, self._clock.sleep(OTHER_SESSIONS_INTERVAL))
        recorder.mark_owned_elsewhere()

    def _settle(self, batch: Batch, verdict: Verdict) -> Sequence[int]:
        """Record a verdict; return the rows whose executions may have been created."""
        if isinstance(verdict, Unknown):
            return batch.positions
        if isinstance(verdict, Done):
            outcomes = verdict.outcomes
            self._has_outcomes = True
            if outcomes:
                self._unanswered = 0
            self._recorder.settle(outcomes)
            refused = {
                outcome.position for outcome in outcomes if outcome.status == FAILED and outcome.execution_id is None
            }
            return [position for position in batch.positions if position not in refused]
        self._recorder.release(batch)
        if isinstance(verdict, Stop):
            error = verdict.error(verdict.reason, status=verdict.status, details=verdict.reason)
            self._end_with(error)
        return ()

    def abandon(self) -> None:
        """Send and record nothing more. Called from the thread that stopped waiting."""
        self._abandoned = True
        self._recorder.close(CUT_OFF)

    def _end_with(self, error: EachlabsError) -> None:
        self._end(StopReason(str(error), error if is_raised(error) else None))

    def _end(self, reason: StopReason) -> None:
        if self.stop_reason is None:
            self.stop_reason = reason
            self._events.stopped(reason.reason)
        self._ended.set()
        self._limiter.end()


_CLAIMED_ELSEWHERE: Final = Done(())
"""Other calls have sent the whole batch."""


def _judge(answer: Reply | Fault, batch: Batch) -> Verdict:
    try:
        return judge_trigger(answer, batch)
    except Exception as exc:
        logger.exception("a response could not be read")
        return Unknown(f"the response could not be read ({type(exc).__name__}): it may have started")
