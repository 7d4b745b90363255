"""Records every outcome twice: in the frame's results by position, and in the journal by number in the run.

Owns the claim before a request and the outcomes after it. It never decides what a reply means.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import count
from operator import attrgetter, eq
from typing import Final

import orjson

from ..errors import JournalError
from ..inputs.fingerprints import fingerprint
from ..journal.base import Claimed, LostRequest, RunJournal
from ..models import PENDING, UNKNOWN, Batch, Outcome
from ..results import Results
from .events import EventEmitter
from .recovery.matching import UNSURE

logger = logging.getLogger("eachlabs_frames")

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

    # -- before and after a request ---------------------------------------------------------------------------------

    async def claim(self, batch: Batch) -> Batch | None:
        """Claim a batch; return the part that may be sent, or None if other calls have sent all of it.

        Raises
        ------
        JournalError
            The claim could not be written: nothing may be sent.
        """
        numbers = (
            batch.positions
            if self._numbers_are_positions
            else [self._numbers[position] for position in batch.positions]
        )
        try:
            standings = await self._journal.claim(numbers)
        except BaseException:
            # The claim may have been written all the same, and rows that were not sent must not look sent.
            self._journal.settle([Outcome(number, PENDING) for number in numbers])
            raise
        free = [place for place, (state, _, _) in enumerate(standings) if state == "new"]
        if len(free) == len(batch):
            return batch
        known: list[Outcome] = []
        for position, number, standing in zip(batch.positions, numbers, standings, strict=True):
            if standing.outcome is not None and standing.state == "settled":
                known.append(standing.outcome._replace(position=position))
            elif standing.state == "sent":
                self.elsewhere.add(number)
        self._write(known)
        if not free:
            return None
        positions, payloads = batch.positions, batch.payloads
        return Batch(tuple(positions[place] for place in free), tuple(payloads[place] for place in free))

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
        numbered = outcomes
        if not self._numbers_are_positions:
            numbered = [one._replace(position=self._numbers[one.position]) for one in outcomes]
        self._journal.settle(numbered)
        self._write(outcomes)

    def release(self, batch: Batch) -> None:
        """Record that a claimed batch created nothing."""
        if not self._closed:
            numbers = [self._numbers[position] for position in batch.positions]
            self._journal.settle([Outcome(number, PENDING) for number in numbers])

    def mark_unknown(self, batch: Batch, reason: str, bulk_id: str | None, since: float, until: float) -> LostRequest:
        """Record in the frame that a batch has no reply. In the journal its claim stays open.

        So whoever resumes the run searches for it, if this process does not finish its own search.
        """
        self._write([Outcome(position, UNKNOWN, bulk_id, error=reason) for position in batch.positions])
        numbers = tuple(self._numbers[position] for position in batch.positions)
        return LostRequest(numbers, tuple(map(_content, batch.payloads)), since, until, bulk_id)

    async def flush(self) -> None:
        """Wait until every outcome is in the journal. A failure is logged: the frame has the outcomes anyway."""
        try:
            await self._journal.flush()
        except JournalError as exc:
            logger.warning("the frame has results that the journal does not have: %s", exc)

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
        self._note_executions(outcomes)
        self.events.answered(outcomes)

    def _note_executions(self, outcomes: Sequence[Outcome]) -> None:
        self._executions.update(map(_EXECUTION_ID, outcomes))

    # -- lost replies ------------------------------------------------------------------------------------------------

    async def claimed(self, since: float) -> Claimed:
        """Return what a search must not take: what the journal and this frame own, and what is in flight here."""
        known = await self._journal.claimed(since)
        mine = {execution_id for execution_id in self.results.execution_id if execution_id is not None}
        waiting = dict(known.fingerprints)
        for batch, moment in self._in_flight.values():
            for payload in batch.payloads:
                content = _content(payload)
                waiting[content] = min(moment, waiting.get(content, moment))
        return Claimed(mine.union(known.executions), waiting)

    async def adopt(self, lost: LostRequest, outcomes: Sequence[Outcome]) -> bool:
        """Record what a search has found; False if another call owns it by now. Positions are numbers in the run."""
        if self._closed:
            return True
        if not await self._journal.adopt(outcomes, since=lost.since - UNSURE):
            return False
        self._note_executions(outcomes)
        placed = [one._replace(position=self._position(one.position)) for one in outcomes]
        self._replace([one for one in placed if one.position >= 0])
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
            place = self._position(row)
            first = self.results.error[place] if place >= 0 else None
            unknown.append(Outcome(row, UNKNOWN, lost.bulk_id, error=_join_reasons(first, reason)))
        if complete:
            self._journal.settle(unknown)
            self.not_found.update((place, lost.since) for row in rows if (place := self._position(row)) >= 0)
        placed = [one._replace(position=self._position(one.position)) for one in unknown]
        self._replace([one for one in placed if one.position >= 0])

    async def owned_executions(self) -> Set[str]:
        """Return the executions that rows have, of any run of the journal and of this frame."""
        return (await self.claimed(0.0)).executions

    def keep_unknown(self, reasons: Mapping[int, str]) -> None:
        """Record why rows, given by position, stay unknown and are not sent again."""
        outcomes = [
            Outcome(row, UNKNOWN, self.results.bulk_id[row], error=_join_reasons(self.results.error[row], why))
            for row, why in reasons.items()
        ]
        self._journal.settle([one._replace(position=self._numbers[one.position]) for one in outcomes])
        self._replace(outcomes)

    def lost(self, numbers: Iterable[int], *, timeout: float) -> list[LostRequest]:
        """Return the requests of these rows of the run that were never answered."""
        return self._journal.lost_requests(sorted(numbers), timeout=timeout)

    # -- other calls of the run -------------------------------------------------------------------------------------

    async def poll_other_sessions(self) -> set[int]:
        """Record what other calls have settled; return the rows of calls that died without a reply."""
        rows = sorted(self.elsewhere)
        died: set[int] = set()
        known: list[Outcome] = []
        for row, standing in zip(rows, await self._journal.row_states(rows), strict=True):
            if standing.state == "sent" and standing.is_live:
                continue
            self.elsewhere.discard(row)
            if standing.state == "sent":
                died.add(row)
            elif standing.outcome is not None and standing.state == "settled":
                known.append(standing.outcome._replace(position=self._position(row)))
            else:
                self.results.note(self._position(row), error=NOT_SENT_ELSEWHERE)
        self._write(known)
        return died

    async def catch_up(self) -> None:
        """Record what another call has found meanwhile and this one has not."""
        rows = sorted(self._numbers[position] for position in self.not_found)
        try:
            standings = await self._journal.row_states(rows) if rows else []
        except JournalError:
            return  # the rows stay as they are
        found = [standing.outcome for standing in standings if standing.state == "settled" and standing.outcome]
        placed = [one._replace(position=self._position(one.position)) for one in found if one.execution_id is not None]
        self._replace(placed)
        for one in placed:
            self.not_found.pop(one.position, None)

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

    def _position(self, number: int) -> int:
        """Return the position of a row of the run, or -1 where this frame does not have it."""
        if self._positions is None:
            self._positions = {known: place for place, known in enumerate(self._numbers) if known >= 0}
        return self._positions.get(number, -1)


def _join_reasons(first: str | None, why: str) -> str:
    """Join two reasons without repeating one: a row may be searched for many times."""
    if first is None or why in first:
        return first or why
    return f"{first}; {why}"


def _content(payload: bytes) -> bytes:
    return fingerprint(orjson.loads(payload))
