"""Sends a run's batches: a fixed pool of workers on one lazy stream, each obeying the core's verdict.

Owns the order of things (send, judge, write down, tell) and when a run ends. It never decides whether a POST may be
sent again: `core.wire.judge` does, and only a `Retry` or a `Split` comes back here to be sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from ..core.batches import halves
from ..core.outcomes import Results
from ..core.wire import Done, Refused, Retry, Split, Stop, Unknown, Verdict, judge, trigger_request
from ..errors import APIError
from ..models import FAILED, UNKNOWN, Batch, Clock, DialectName, Fault, Outcome, Reply, Request, Target, Transport
from .cooldown import Cooldown
from .pool import drain
from .reporter import Reporter

logger = logging.getLogger("eachlabs_frames")

UNANSWERED_IN_A_ROW: Final = 10
"""Lost answers in a row, with none that came, after which a run stops: each may be billed and cannot be undone."""

CUT_OFF: Final = "interrupted while its answer was on the way: it may have started"
INTERRUPTED: Final = "interrupted before it was sent"


@dataclass(frozen=True, slots=True)
class Halt:
    """Why a run ended before its last batch. ``error`` is what to raise where nothing at all was sent."""

    reason: str
    error: APIError | None = None


class Runner:
    """One run of one target.

    Parameters
    ----------
    target : Target
        What is triggered.
    results : Results
        Where each outcome is written, at its row's position.
    transport, clock : Transport, Clock
        What sends, and what waits.
    reporter : Reporter
        Told of each step.
    dialect : {"current", "legacy"}
        How a request is written.
    max_wait : float
        Seconds that the run waits while the API takes nothing.
    """

    def __init__(
        self,
        target: Target,
        results: Results,
        *,
        transport: Transport,
        clock: Clock,
        reporter: Reporter,
        dialect: DialectName,
        max_wait: float,
    ) -> None:
        self._target = target
        self._results = results
        self._transport = transport
        self._reporter = reporter
        self._dialect = dialect
        self._cooldown = Cooldown(clock, max_wait=max_wait, tell=reporter.waiting)
        self._max_wait = max_wait
        self._unanswered = 0
        self._touched = False
        self._abandoned = False
        self._in_flight: dict[tuple[int, ...], Batch] = {}
        self.halted: Halt | None = None

    async def run(self, batches: Iterator[Batch], *, workers: int, canary: bool, stop: asyncio.Event) -> Halt | None:
        """Send every batch, or as many as can be; return why it ended early, if it did.

        Parameters
        ----------
        batches : iterator of Batch
            Read as batches are sent, never ahead.
        workers : int
            Requests in flight at once.
        canary : bool
            Whether the first batch goes alone, because nothing was asked of the API before it.
        stop : asyncio.Event
            Set from outside to send nothing new; answers in flight are still read.

        Raises
        ------
        APIError
            401, 403 or 404 where no row of this run was accepted, refused or left unknown.
        """
        watch = asyncio.ensure_future(self._watch(stop))
        try:
            if canary and (first := next(batches, None)) is not None:
                await self._deliver(first)
            await drain(self._stream(batches), self._deliver, workers=workers)
        finally:
            watch.cancel()
        if self.halted is not None and self.halted.error is not None and not self._touched:
            raise self.halted.error
        return self.halted

    async def _watch(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._halt(Halt(INTERRUPTED))

    def _stream(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while self.halted is None and not self._abandoned:
            try:
                batch = next(batches, None)
            except Exception as exc:
                # Every row was read once before the first was sent, so the frame has changed since.
                logger.exception("a row could not be read while the run was sending")
                self._halt(Halt(f"the rows could not be read any more: {exc}"))
                return
            if batch is None:
                return
            yield batch

    async def _deliver(self, batch: Batch) -> None:
        """Send a batch, and its halves where it is refused as a whole, until each row has its verdict."""
        parts = [batch]
        while parts:
            part = parts.pop()
            verdict = await self._send(part)
            if verdict is None:
                return
            if isinstance(verdict, Split):
                parts += reversed(halves(part))
            else:
                self._settle(part, verdict)

    async def _send(self, batch: Batch) -> Verdict | None:
        """Send a batch until the verdict is more than "later"; None where it was not sent at the end."""
        worker = object()
        request = trigger_request(self._dialect, self._target, batch)
        try:
            while True:
                await self._cooldown.passed(worker)
                if self.halted is not None:
                    return None
                answer = await self._answer(request, batch)
                if answer is None:
                    return None
                verdict = _judged(answer, batch)
                if not isinstance(verdict, Retry):
                    return verdict
                if not await self._cooldown.refused(worker, verdict):
                    self._halt(Halt(f"gave up after max_wait={self._max_wait:g} s: {verdict.reason}"))
                    return None
        finally:
            self._cooldown.taken(worker)

    async def _answer(self, request: Request, batch: Batch) -> Reply | Fault | None:
        """Send once; None where nobody waits for this run any more, and nothing was sent."""
        # In this order, and `abandon` in the other: whatever the two threads do, a batch is marked or not sent.
        self._in_flight[batch.positions] = batch
        try:
            return None if self._abandoned else await self._transport.send(request)
        except BaseException:
            # Cut off in flight: it may have started, and to call it "not sent" would have it paid for again.
            self._settle(batch, Unknown(CUT_OFF))
            raise
        finally:
            self._in_flight.pop(batch.positions, None)

    def abandon(self) -> None:
        """Send nothing more and write nothing more: nobody waits. What is in flight may have started.

        Called from the thread that gave up, while the loop's own may be stuck in an observer.
        """
        self._abandoned = True
        for batch in tuple(self._in_flight.values()):
            for outcome in _outcomes(batch, Unknown(CUT_OFF)):
                self._results.replace(outcome)

    def _settle(self, batch: Batch, verdict: Verdict) -> None:
        if self._abandoned:
            return
        if isinstance(verdict, Stop):
            error = verdict.error(verdict.reason, status=verdict.status, details=verdict.reason)
            # A balance that is too low is no error of the call: what was accepted goes on, the rest can follow.
            self._halt(Halt(verdict.reason, None if verdict.status == HTTPStatus.PAYMENT_REQUIRED else error))
            return
        self._touched = True
        outcomes = _outcomes(batch, verdict)
        for outcome in outcomes:
            self._results.replace(outcome)
        self._reporter.answered(outcomes)
        self._unanswered = self._unanswered + 1 if isinstance(verdict, Unknown) else 0
        if self._unanswered >= UNANSWERED_IN_A_ROW:
            last = outcomes[-1].error
            self._halt(Halt(f"{UNANSWERED_IN_A_ROW} requests in a row had no usable answer, the last: {last}"))

    def _halt(self, halt: Halt) -> None:
        if self.halted is None:
            self.halted = halt
            self._reporter.stopped(halt.reason)
        self._cooldown.end()


def _judged(answer: Reply | Fault, batch: Batch) -> Verdict:
    """Judge an answer; one that cannot even be read may be the answer to something that started."""
    try:
        return judge(answer, batch)
    except Exception as exc:
        logger.exception("an answer could not be read")
        return Unknown(f"the answer could not be read ({type(exc).__name__}): it may have started")


def _outcomes(batch: Batch, verdict: Verdict) -> tuple[Outcome, ...]:
    if isinstance(verdict, Done):
        return verdict.outcomes
    if isinstance(verdict, Unknown):
        return tuple(Outcome(position, UNKNOWN, verdict.bulk_id, error=verdict.reason) for position in batch.positions)
    assert isinstance(verdict, Refused)
    return tuple(Outcome(position, FAILED, error=verdict.reason) for position in batch.positions)
