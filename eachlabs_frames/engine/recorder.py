"""Records every outcome twice: in the frame's results by position, and in the journal by number in the run.

Owns the claim before a request and the outcomes after it. It never decides what a reply means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from itertools import count
from operator import attrgetter, eq
from typing import Final

import orjson

from ..errors import JournalError
from ..inputs.fingerprints import fingerprint
from ..journal.base import Claimed, LostRequest, RunJournal
from ..models import INVALID, PENDING, UNKNOWN, Batch, Outcome
from ..results import Results
from .events import EventEmitter
from .recovery.matching import UNSURE

OWNED_ELSEWHERE: Final = "another call has sent this row and is waiting for the response"
NOT_SENT_ELSEWHERE: Final = "another call had claimed this row but did not send it"

_EXECUTION_ID: Final = attrgetter("execution_id")


class Recorder:
    """The records of one call.

    Parameters
    ----------
    results : Results
        By position in the frame.
    events : EventEmitter
        Gets every change.
    journal : RunJournal
    numbers : sequence of int
        The number in the run of each row of the frame, by position; -1 where the run does not know it.
    executions : iterable of str
        The executions that the run has already, also of rows that are not in the frame.

    Attributes
    ----------
    elsewhere : set of int
        Rows of the run that another call has sent and waits for.
    not_found : dict of int to float
        Positions whose lost reply a complete search has not found, and when they were sent (epoch seconds).
    refused : dict of int to str
        Positions that could not be sent, and why; they may have an earlier execution.
    """

    def __init__(
        self,
        results: Results,
        events: EventEmitter,
        *,
        journal: RunJournal,
        numbers: Sequence[int],
        executions: Iterable[str] = (),
    ) -> None:
        self.results = results
        self.events = events
        self._journal = journal
        self._numbers = numbers
        # In a new run, numbers equal positions, and outcomes need no translation.
        self._numbers_are_positions = all(map(eq, numbers, count()))
        self._positions: dict[int, int] | None = None
        self._in_flight: dict[tuple[int, ...], tuple[Batch, float]] = {}
        self._closed = False
        # None may be in it: a row without an execution.
        self._executions = {*results.execution_id, *executions}
        self.elsewhere: set[int] = set()
        self.not_found: dict[int, float] = {}
        self.refused: dict[int, str] = {}

    # -- before and after a request ---------------------------------------------------------------------------------

    async def claim(self, batch: Batch) -> Batch | None:
        """Claim a batch; return the part that may be sent, or None if other calls have sent all of it.

        Raises
        ------
        JournalError
            The claim could not be written: nothing may be sent.
        """
        numbers = self._numbers_of(batch)
        try:
            states = await self._journal.claim(numbers)
        except BaseException:
            # The claim may have been written all the same, and rows that were not sent must not look sent.
            self._settle_pending(numbers)
            raise
        free = [place for place, (state, _, _) in enumerate(states) if state == "new"]
        if len(free) == len(batch):
            return batch
        settled: list[Outcome] = []
        for position, number, row in zip(batch.positions, numbers, states, strict=True):
            if row.outcome is not None and row.state == "settled":
                settled.append(row.outcome._replace(position=position))
            elif row.state == "sent":
                self.elsewhere.add(number)
        self._write(settled)
        if not free:
            return None
        positions, payloads = batch.positions, batch.payloads
        return Batch(tuple(positions[place] for place in free), tuple(payloads[place] for place in free))

    def refuse(self, reasons: Mapping[int, str]) -> None:
        """Record why rows, given by position, cannot be sent; one that was sent before stays as it is."""
        self.refused.update(reasons)
        status, execution_id = self.results.status, self.results.execution_id
        outcomes = [
            Outcome(row, INVALID, error=reason)
            for row, reason in reasons.items()
            if status[row] == PENDING and execution_id[row] is None
        ]
        if outcomes:
            self.settle(outcomes)

    def begin_sending(self, batch: Batch, moment: float) -> None:
        """Mark a batch as in flight, from `moment` (epoch seconds) on."""
        self._in_flight[batch.positions] = (batch, moment)

    def end_sending(self, batch: Batch) -> None:
        """Unmark it."""
        self._in_flight.pop(batch.positions, None)

    def has_any(self, outcomes: Sequence[Outcome]) -> bool:
        """Return whether a row of the run has one of these executions already."""
        self._executions.discard(None)
        return not self._executions.isdisjoint(map(_EXECUTION_ID, outcomes))

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Record the outcomes of rows."""
        if self._closed:
            return
        # The journal first: the observer is the user's code and may raise anything.
        self._journal.settle(self._numbered(outcomes))
        self._write(outcomes)

    def release(self, batch: Batch) -> None:
        """Record that a claimed batch created nothing."""
        if not self._closed:
            self._settle_pending(self._numbers_of(batch))

    def _settle_pending(self, numbers: Sequence[int]) -> None:
        self._journal.settle([Outcome(number, PENDING) for number in numbers])

    def mark_unknown(self, batch: Batch, reason: str, bulk_id: str | None, since: float, until: float) -> LostRequest:
        """Record in the frame that a batch has no reply. In the journal its claim stays open.

        So whoever resumes the run searches for it, if this process does not finish its own search.
        """
        self._write([Outcome(position, UNKNOWN, bulk_id, error=reason) for position in batch.positions])
        return LostRequest(tuple(self._numbers_of(batch)), tuple(map(_content, batch.payloads)), since, until, bulk_id)

    async def flush(self) -> None:
        """Wait until every outcome is in the journal. The frame has the outcomes anyway.

        A failure was logged by the journal, which tries again when it is closed.
        """
        with suppress(JournalError):
            await self._journal.flush()

    def close(self, reason: str) -> None:
        """Record nothing more, and mark requests in flight as unknown.

        Called from the thread that stopped waiting, while the loop thread may be stuck in an observer.
        """
        self._closed = True
        for batch, _ in tuple(self._in_flight.values()):
            for position in batch.positions:
                self.results.replace(Outcome(position, UNKNOWN, error=reason))

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        if self._closed or not outcomes:
            return
        for outcome in outcomes:
            self.results.replace(outcome)
        self._executions.update(map(_EXECUTION_ID, outcomes))
        self.events.answered(outcomes)

    # -- lost replies ------------------------------------------------------------------------------------------------

    async def claimed(self, since: float) -> Claimed:
        """Return what a search must not take: what the journal and this frame own, and what is in flight here."""
        claimed = await self._journal.claimed(since)
        own = {execution_id for execution_id in self.results.execution_id if execution_id is not None}
        in_flight = dict(claimed.fingerprints)
        for batch, moment in self._in_flight.values():
            for content in map(_content, batch.payloads):
                in_flight[content] = min(moment, in_flight.get(content, moment))
        return Claimed(own.union(claimed.executions), in_flight)

    async def adopt(self, lost: LostRequest, outcomes: Sequence[Outcome]) -> bool:
        """Record what a search has found; False if another call owns it by now. Positions are numbers in the run."""
        if self._closed:
            return True
        if not await self._journal.adopt(outcomes, since=lost.since - UNSURE):
            return False
        self._executions.update(map(_EXECUTION_ID, outcomes))
        self._replace(self._placed(outcomes))
        return True

    def give_up(self, lost: LostRequest, rows: Sequence[int], reason: str, complete: bool) -> None:
        """Record that a search has not found these rows of the run.

        Unless the search was complete, this is recorded in the frame alone: the claim stays open, and the next call of
        the run searches again.
        """
        if self._closed:
            return
        unknown: list[Outcome] = []
        for row in rows:
            position = self._position(row)
            earlier = self.results.error[position] if position >= 0 else None
            unknown.append(Outcome(row, UNKNOWN, lost.bulk_id, error=_join_reasons(earlier, reason)))
        placed = self._placed(unknown)
        if complete:
            self._journal.settle(unknown)
            self.not_found.update((outcome.position, lost.since) for outcome in placed)
        self._replace(placed)

    async def owned_executions(self) -> Set[str]:
        """Return the executions that rows have, of any run of the journal and of this frame."""
        return (await self.claimed(0.0)).executions

    def keep_unknown(self, reasons: Mapping[int, str]) -> None:
        """Record why rows, given by position, stay unknown and are not sent again."""
        outcomes = [
            Outcome(row, UNKNOWN, self.results.bulk_id[row], error=_join_reasons(self.results.error[row], reason))
            for row, reason in reasons.items()
        ]
        self._journal.settle(self._numbered(outcomes))
        self._replace(outcomes)

    def lost(self, numbers: Iterable[int], *, timeout: float) -> list[LostRequest]:
        """Return the requests of these rows of the run that were never answered."""
        return self._journal.lost_requests(sorted(numbers), timeout=timeout)

    # -- other calls of the run -------------------------------------------------------------------------------------

    @property
    def session_lifetime(self) -> float:
        """The seconds for which a call that died may still count as running."""
        return self._journal.lifetime

    async def poll_other_sessions(self) -> set[int]:
        """Record what other calls have settled; return the rows of calls that died without a reply."""
        numbers = sorted(self.elsewhere)
        died: set[int] = set()
        settled: list[Outcome] = []
        for number, row in zip(numbers, await self._journal.row_states(numbers), strict=True):
            if row.state == "sent" and row.is_live:
                continue
            self.elsewhere.discard(number)
            if row.state == "sent":
                died.add(number)
            elif row.outcome is not None and row.state == "settled":
                settled.append(row.outcome._replace(position=self._position(number)))
            else:
                self.results.note(self._position(number), error=NOT_SENT_ELSEWHERE)
        self._write(settled)
        return died

    async def catch_up(self) -> None:
        """Record what another call has found meanwhile and this one has not."""
        numbers = sorted(self._numbers[position] for position in self.not_found)
        try:
            states = await self._journal.row_states(numbers) if numbers else []
        except JournalError:
            return  # the rows stay as they are
        settled = [row.outcome for row in states if row.state == "settled" and row.outcome is not None]
        placed = self._placed([outcome for outcome in settled if outcome.execution_id is not None])
        self._replace(placed)
        for outcome in placed:
            self.not_found.pop(outcome.position, None)

    def mark_owned_elsewhere(self) -> None:
        """Record that other calls still wait for their rows."""
        outcomes = [Outcome(self._position(row), UNKNOWN, error=OWNED_ELSEWHERE) for row in sorted(self.elsewhere)]
        self._write(outcomes)

    def _replace(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        for outcome in outcomes:
            self.results.replace(outcome)
        self.events.refreshed(outcomes)

    def _numbers_of(self, batch: Batch) -> Sequence[int]:
        """Return the number in the run of each row of a batch."""
        if self._numbers_are_positions:
            return batch.positions
        return [self._numbers[position] for position in batch.positions]

    def _numbered(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Return outcomes with numbers in the run for positions."""
        if self._numbers_are_positions:
            return outcomes
        return [outcome._replace(position=self._numbers[outcome.position]) for outcome in outcomes]

    def _placed(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return outcomes with positions for numbers in the run, without those of rows that this frame lacks."""
        placed = [outcome._replace(position=self._position(outcome.position)) for outcome in outcomes]
        return [outcome for outcome in placed if outcome.position >= 0]

    def _position(self, number: int) -> int:
        """Return the position of a row of the run, or -1 where this frame does not have it."""
        if self._positions is None:
            self._positions = {number: position for position, number in enumerate(self._numbers) if number >= 0}
        return self._positions.get(number, -1)


def _join_reasons(first: str | None, second: str) -> str:
    """Join two reasons without repeating one: a row may be searched for many times."""
    if first is None or second in first:
        return first or second
    return f"{first}; {second}"


def _content(payload: bytes) -> bytes:
    return fingerprint(orjson.loads(payload))
