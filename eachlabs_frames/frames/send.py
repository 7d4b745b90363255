"""Sends the rows of a call with the engine, searches for lost answers, and records why rows were not sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from ..aio.bridge import Job, Steps
from ..aio.clock import SystemClock
from ..aio.tasks import cancel_on, run_alongside
from ..api import reader
from ..api.client import Client
from ..engine.budget import Budget
from ..engine.events import EventEmitter
from ..engine.recorder import Recorder
from ..engine.recovery.resend import CONTESTED, UNCERTAIN, Findings, ResendCheck
from ..engine.recovery.search import LostRequestSearch
from ..engine.runner import INTERRUPTED, Runner, StopReason
from ..engine.tracker import Tracker
from ..errors import APIError, JournalError
from ..journal import open_journal
from ..journal.base import LostRequest
from ..models import PENDING, UNKNOWN, ApiConnection, Batch, Target
from ..results import Results
from ..settings import Settings
from .columns import ResultMeta

if TYPE_CHECKING:
    from .options import TriggerOptions
    from .plan import Plan
    from .row_actions import RowActions
    from .run_rows import RunBinding

logger = logging.getLogger("eachlabs_frames")

CLOCK: Final = SystemClock()
NO_RUN: Final = ""


class Sender:
    """The sending of one call; with `looks` also rows are looked for that were looked for before.

    With `pace`, the executions that were accepted are looked at meanwhile.
    """

    def __init__(
        self,
        results: Results,
        settings: Settings,
        options: TriggerOptions,
        *,
        client: Client,
        reporter: EventEmitter,
        tracker: Tracker,
        enrolment: RunBinding | None,
        watched: bool,
        looks: bool,
        pace: Callable[[], float] | None = None,
    ) -> None:
        self._results = results
        self._settings = settings
        self._options = options
        self._client = client
        self._connection = ApiConnection(client, CLOCK, settings.dialect, settings.max_concurrency)
        self._reporter = reporter
        self._tracker = tracker
        self._enrolment = enrolment
        self._watched = watched
        self._looks = looks
        self._pace = pace

    def steps(self, plan: Plan, todo: RowActions, origin: ResultMeta) -> Steps[None]:
        """Send the rows, look for lost answers, and send again what was not found, where that is meant."""
        resend = self._options.on_unknown == "resend" and not self._options.retrigger
        once_more = self._enrolment is not None and self._enrolment.named and not (resend or self._looks)
        looks = resend or self._looks or once_more
        if not (todo.send or todo.unanswered or todo.elsewhere or (looks and todo.unknown)):
            return
        books = self._books(todo)
        lost = self._lost(todo, books, unknown=todo.unknown if looks else (), once=once_more)
        budget = None
        if self._options.max_cost is not None:
            budget = yield lambda _: self._budget(self._options.max_cost or 0.0, origin)
        runner = self._runner(origin, books, budget)
        earlier = {row: known for row in todo.send if (known := self._results.execution_id[row]) is not None}
        try:
            yield from self._reporter.stoppable(self._job(runner, plan, todo.send, lost))
            if resend and runner.stop_reason is None:
                again = sorted(row for row in books.not_found if self._is_unknown(row))
                if again:
                    again = yield self._resendable(plan, again, books, origin)
                if again:
                    logger.warning("%d row(s) were not found and are sent again: on_unknown='resend'", len(again))
                    yield from self._reporter.stoppable(self._job(runner, plan, again, []))
        except (APIError, JournalError):
            raise  # nothing was sent, and the exception says why
        except BaseException:
            runner.abandon()
            self._explain(todo.send, INTERRUPTED, earlier)
            raise
        halted: StopReason | None = runner.stop_reason
        self._explain(todo.send, halted.reason if halted is not None else "the run ended early", earlier)
        if self._enrolment is not None:
            self._enrolment.entry.note_stop(None if halted is None else halted.reason)

    def _resendable(self, plan: Plan, rows: Sequence[int], books: Recorder, origin: ResultMeta) -> Job[list[int]]:
        """Return the job that says which rows may be sent again; the others are told why not."""
        check = ResendCheck(self._target(origin), self._connection, owned=books.owned_executions)
        pairs = (zip(batch.positions, batch.payloads, strict=True) for batch in self._batches(plan, rows))
        payloads = dict(chain.from_iterable(pairs))
        since = min(books.not_found[row] for row in rows)

        async def job(stop: asyncio.Event) -> list[int]:
            found: Findings | None = await cancel_on(stop, check.run(payloads, since=since))
            if found is None:
                return []
            kept = {row: CONTESTED.format(execution_id=known) for row, known in found.contested.items()}
            if found.doubt is not None:
                reason = UNCERTAIN.format(reason=found.doubt)
                kept |= {row: reason for row in rows if row not in kept}
            if kept:
                logger.warning("%d row(s) stay unknown and are not sent again: see their error", len(kept))
                books.keep_unknown(kept)
            return [row for row in rows if row not in kept]

        return job

    def _is_unknown(self, row: int) -> bool:
        return self._results.status[row] == UNKNOWN and self._results.execution_id[row] is None

    def _books(self, todo: RowActions) -> Recorder:
        journal = open_journal(None).open(NO_RUN) if self._enrolment is None else self._enrolment.entry
        executions = () if self._enrolment is None else self._enrolment.executions()
        books = Recorder(self._results, self._reporter, journal=journal, numbers=todo.numbers, executions=executions)
        books.elsewhere.update(todo.numbers[row] for row in todo.elsewhere)
        return books

    def _lost(self, todo: RowActions, books: Recorder, *, unknown: Sequence[int], once: bool) -> list[LostRequest]:
        """Return the requests to look for; those that were looked for before perhaps just `once` more."""
        for row in todo.unanswered:
            self._results.note(row, status=UNKNOWN, error="sent by a call that ended before the response arrived")
        timeout = self._settings.timeout
        lost = books.lost((todo.numbers[row] for row in todo.unanswered), timeout=timeout)
        covered = {number for one in lost for number in one.rows}
        rest = {todo.numbers[row] for row in unknown} - covered
        return lost + [replace(one, once=once) for one in books.lost(rest, timeout=timeout)]

    def _job(
        self, runner: Runner, plan: Plan, rows: Sequence[int], lost: Sequence[LostRequest]
    ) -> Job[StopReason | None]:
        canary = self._options.version_id is not None and not self._options.validate
        batches = self._batches(plan, rows)

        async def job(stop: asyncio.Event) -> StopReason | None:
            return await run_alongside(runner.run(batches, canary=canary, stop=stop, lost=lost), self._meanwhile())

        return job

    def _meanwhile(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield self._tracker.deliveries.receive()
        if self._watched:
            yield self.watch_balance()
        if self._pace is not None:
            yield self._tracker.poll_repeatedly(self._pace)

    async def watch_balance(self) -> None:
        """Tell the balance now and then, until cancelled."""
        await reader.watch_balance(
            self._reporter.balance, transport=self._client, clock=CLOCK, dialect=self._settings.dialect
        )

    async def read_balance_again(self, stop: asyncio.Event) -> None:
        """Report the balance once more, so that the last one that is shown is not from before the executions."""
        await reader.read_balance_again(
            stop, self._reporter.balance, transport=self._client, clock=CLOCK, dialect=self._settings.dialect
        )

    def _batches(self, plan: Plan, rows: Sequence[int]) -> Iterator[Batch]:
        whole = len(rows) == len(plan.positions)
        return plan.batches(without=() if whole else set(plan.positions.tolist()).difference(rows))

    def _target(self, origin: ResultMeta) -> Target:
        options = self._options
        return Target(origin.workflow_id, str(origin.version_id), options.webhook_url, options.webhook_secret)

    def _runner(self, origin: ResultMeta, books: Recorder, budget: Budget | None) -> Runner:
        settings, target = self._settings, self._target(origin)
        return Runner(
            target,
            self._connection,
            books,
            settings=settings,
            search=lambda: LostRequestSearch(
                target,
                self._connection,
                settle_window=settings.settle_window,
                records=books,
                on_count=self._reporter.searching,
            ),
            poll=self._tracker.poll_quietly,
            budget=budget,
        )

    async def _budget(self, max_cost: float, origin: ResultMeta) -> Budget:
        """Return what may be spent: what earlier calls of this run have paid counts too."""
        mean = await reader.mean_cost(origin.workflow_id, transport=self._client)
        if self._enrolment is None:
            # Without a journal the frame alone knows what was paid.
            spent, open_ = self._results.paid()
            spent += origin.superseded_cost
        else:
            spent, open_ = self._enrolment.paid()
        return Budget(max_cost, mean=mean, spent=spent, open_=open_)

    def _explain(self, rows: Sequence[int], reason: str, earlier: Mapping[int, str]) -> None:
        """Give the rows that were not sent the reason why. A row that has an `earlier` execution keeps its error."""
        status, execution_id = self._results.status, self._results.execution_id
        left = [row for row in rows if status[row] == PENDING and execution_id[row] is None]
        for row in left:
            self._results.note(row, error=f"not sent: {reason}")
        if left:
            logger.warning("%d row(s) were not sent and are pending: %s", len(left), reason)
        kept = sum(execution_id[row] == known and status[row] != UNKNOWN for row, known in earlier.items())
        if kept:
            logger.warning("%d row(s) were not sent again and keep their earlier execution: %s", kept, reason)
