"""Sends the rows of a call with the engine, searches for lost answers, and records why rows were not sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from ..aio.tasks import cancel_on, run_alongside
from ..api import reader
from ..engine.budget import ELSEWHERE, Budget
from ..engine.cap_memory import CapMemory
from ..engine.events import EventEmitter
from ..engine.recorder import Recorder
from ..engine.recovery.resend_check import ResendCheck
from ..engine.recovery.search import LostRequestSearch
from ..engine.runner import INTERRUPTED, Runner
from ..engine.tracker import Tracker
from ..errors import APIError, JournalError
from ..inputs.file_values import references_of
from ..journal import open_journal
from ..journal.base import LostRequest
from ..journal.file_references import FileReferences
from ..models import FAILED, INVALID, PENDING, UNKNOWN, ApiConnection, Batch, Target
from ..results import Results
from ..settings import Settings
from ..uploads.account import account_id
from ..uploads.local_files import LocalFiles
from ..uploads.uploader import Uploader
from . import source_file
from .columns import ResultMeta
from .costs.cost_sources import CostSources, price_of_rows

if TYPE_CHECKING:
    from .options import TriggerOptions
    from .plan import Plan
    from .row_actions import RowActions
    from .run_binding import RunBinding

logger = logging.getLogger("eachlabs_frames")

NO_RUN: Final = ""
_KEPT: Final = "were not sent again and keep their earlier execution"


class Sender:
    """The sending of one call: `prepare` in the caller's thread, then `send` on the loop.

    Parameters
    ----------
    results : Results
    settings : Settings
    options : TriggerOptions
    connection : ApiConnection
    events : EventEmitter
    tracker : Tracker
    binding : RunBinding or None
    """

    def __init__(
        self,
        results: Results,
        settings: Settings,
        options: TriggerOptions,
        connection: ApiConnection,
        events: EventEmitter,
        tracker: Tracker,
        binding: RunBinding | None,
    ) -> None:
        self._results = results
        self._settings = settings
        self._options = options
        self._connection = connection
        self._events = events
        self._tracker = tracker
        self._binding = binding
        self._resends = options.on_unknown == "resend" and not options.retrigger
        self._recorder: Recorder | None = None
        self._runner: Runner | None = None
        self._budget: Budget | None = None
        self._uploader: Uploader | None = None
        self._caps: CapMemory | None = None
        self._is_abandoned = False

    def prepare(
        self,
        plan: Plan,
        actions: RowActions,
        meta: ResultMeta,
        *,
        searches: bool,
        sources: CostSources,
    ) -> None:
        """Read from the journal what is needed to send these rows.

        Parameters
        ----------
        plan : Plan
        actions : RowActions
        meta : ResultMeta
            The version that is sent to.
        searches : bool
            Whether rows that were searched for before are searched for once more.
        sources : CostSources
            What is known of costs, if there is a budget.
        """
        self._plan, self._actions, self._meta = plan, actions, meta
        once_more = self._binding is not None and self._binding.named and not (self._resends or searches)
        unknown = actions.unknown if self._resends or searches or once_more else ()
        if not (actions.send or actions.unanswered or actions.elsewhere or unknown):
            return
        execution_id = self._results.execution_id
        self._earlier = {row: earlier for row in actions.send if (earlier := execution_id[row]) is not None}
        self._recorder = self._make_recorder()
        if plan.digests and (actions.send or self._resends):
            self._uploader = self._make_uploader(plan.files)
        self._lost = self._lost_requests(self._recorder, unknown, once=once_more)
        if self._options.max_cost is not None:
            self._budget = self._make_budget(self._options.max_cost, sources)
        if self._settings.journal is not None:
            journal = open_journal(self._settings.journal)
            self._caps = CapMemory(journal, account_id(self._settings), self._connection.clock)
        self._target = Target(
            meta.workflow_id, str(meta.version_id), self._options.webhook_url, self._options.webhook_secret
        )

    def _make_uploader(self, files: LocalFiles) -> Uploader:
        """Return what uploads the files of the rows to send; it must be closed."""
        uploader = Uploader(
            files,
            open_journal(self._settings.journal, max_wait=self._settings.max_wait),
            self._connection,
            self._settings,
            run=NO_RUN if self._binding is None else self._binding.run_journal.name,
            expires_in=self._options.expires_in,
            on_progress=self._events.uploading,
        )
        if isinstance(self._connection.references, FileReferences):
            self._connection.references.follow(uploader.references)
        uploader.recheck(self._digests([row for row in self._actions.send if self._results.status[row] == FAILED]))
        uploader.add(self._digests(self._actions.send))
        return uploader

    def _digests(self, rows: Sequence[int]) -> Sequence[str]:
        """Return the files of rows, in the order of first use."""
        return references_of(chain.from_iterable(batch.payloads for batch in self._batches(rows))) if rows else ()

    def close(self) -> None:
        """Write what is left to the journal."""
        if self._uploader is not None:
            self._uploader.close()

    async def send(self, stop: asyncio.Event, *, pace: Callable[[], float] | None) -> None:
        """Send the rows, search for lost responses, and send again what was not found, where that is meant.

        Parameters
        ----------
        stop : asyncio.Event
        pace : callable or None
            Returns the seconds between two polls. With it, accepted executions are polled meanwhile.
        """
        recorder = self._recorder
        if recorder is None:
            return
        if stop.is_set():
            self._explain(INTERRUPTED)
            return
        runner = self._runner = self._make_runner(recorder)
        if self._is_abandoned:  # `abandon` takes these steps in reverse order
            runner.abandon()
        try:
            await self._run(runner, self._actions.send, self._lost, stop, pace)
            if self._resends and runner.stop_reason is None:
                again = await self._resendable(recorder, stop)
                if again:
                    logger.warning("%d row(s) were not found and are sent again: on_unknown='resend'", len(again))
                    await self._run(runner, again, [], stop, pace)
        except (APIError, JournalError):
            raise  # nothing was sent, and the exception says why
        except BaseException:
            runner.abandon()
            self._explain(INTERRUPTED)
            raise
        if self._caps is not None:
            await self._caps.flush()
        reason = None if runner.stop_reason is None else runner.stop_reason.reason
        self._explain(INTERRUPTED if stop.is_set() else reason or "the run ended early")
        if self._binding is not None and not stop.is_set():
            self._binding.run_journal.note_stop(reason)

    def abandon(self) -> None:
        """Send and record nothing more, and mark requests in flight as unknown. For the thread that stops waiting."""
        self._is_abandoned = True
        if self._runner is not None:
            self._runner.abandon()

    async def _resendable(self, recorder: Recorder, stop: asyncio.Event) -> list[int]:
        """Return the rows without a response that may be sent again; the error of each other one says why not."""
        not_found = recorder.not_found
        rows = sorted(row for row in not_found if self._is_unknown(row))
        if not rows:
            return []
        if isinstance(self._connection.references, FileReferences):
            self._connection.references.read_again()  # with the URLs that other processes have sent
        check = ResendCheck(self._target, self._connection, owned=recorder.owned_executions)
        pairs = (zip(batch.positions, batch.payloads, strict=True) for batch in self._batches(rows))
        payloads = dict(chain.from_iterable(pairs))
        since = min(not_found[row] for row in rows)
        kept: dict[int, str] | None = await cancel_on(stop, check.run(payloads, since=since))
        if kept is None:
            return []
        if kept:
            logger.warning("%d row(s) stay unknown and are not sent again: see their error", len(kept))
            recorder.keep_unknown(kept)
        return [row for row in rows if row not in kept]

    def _is_unknown(self, row: int) -> bool:
        return self._results.status[row] == UNKNOWN and self._results.execution_id[row] is None

    def _make_recorder(self) -> Recorder:
        journal = open_journal(None).open(NO_RUN) if self._binding is None else self._binding.run_journal
        executions = () if self._binding is None else self._binding.known_executions()
        numbers = self._actions.numbers
        recorder = Recorder(self._results, self._events, journal=journal, numbers=numbers, executions=executions)
        recorder.elsewhere.update(numbers[row] for row in self._actions.elsewhere)
        return recorder

    def _lost_requests(self, recorder: Recorder, unknown: Sequence[int], *, once: bool) -> list[LostRequest]:
        """Return the requests to search for; those that were searched for before perhaps just `once` more."""
        numbers, unanswered, timeout = self._actions.numbers, self._actions.unanswered, self._settings.timeout
        for row in unanswered:
            self._results.note(row, status=UNKNOWN, error="sent by a call that ended before the response arrived")
        lost = recorder.lost((numbers[row] for row in unanswered), timeout=timeout)
        covered = {number for request in lost for number in request.rows}
        rest = {numbers[row] for row in unknown} - covered
        return lost + [replace(request, once=once) for request in recorder.lost(rest, timeout=timeout)]

    async def _run(
        self,
        runner: Runner,
        rows: Sequence[int],
        lost: Sequence[LostRequest],
        stop: asyncio.Event,
        pace: Callable[[], float] | None,
    ) -> None:
        canary = self._options.version_id is not None and not self._options.validate
        sending = runner.run(self._batches(rows), canary=canary, stop=stop, lost=lost, uploads=self._uploader)
        await run_alongside(sending, self._meanwhile(stop, pace))

    def _meanwhile(self, stop: asyncio.Event, pace: Callable[[], float] | None) -> Iterator[Coroutine[Any, Any, None]]:
        yield self._tracker.deliveries.receive()
        if self._uploader is not None:
            yield self._uploader.run(stop)
        if self._caps is not None:
            yield self._caps.write_changes()
        if self._events.has_observer:
            yield self.watch_balance()
        if pace is not None:
            yield self._tracker.poll_repeatedly(pace)

    async def watch_balance(self) -> None:
        """Report the balance now and then, until cancelled."""
        await reader.watch_balance(
            self._events.balance,
            transport=self._connection.transport,
            clock=self._connection.clock,
            dialect=self._settings.dialect,
        )

    async def read_balance_again(self, stop: asyncio.Event) -> None:
        """Report the balance once more, so that the last one that is shown is not from before the executions."""
        connection = self._connection
        await reader.read_balance_again(
            stop,
            self._events.balance,
            transport=connection.transport,
            clock=connection.clock,
            dialect=connection.dialect,
        )

    def _batches(self, rows: Sequence[int]) -> Iterator[Batch]:
        positions = self._plan.positions
        return self._plan.batches(without=() if len(rows) == len(positions) else set(positions.tolist()) - set(rows))

    def _make_runner(self, recorder: Recorder) -> Runner:
        settings = self._settings
        return Runner(
            self._target,
            self._connection,
            recorder,
            settings=settings,
            search=lambda: LostRequestSearch(
                self._target,
                self._connection,
                settle_window=settings.settle_window,
                records=recorder,
                on_count=self._events.searching,
            ),
            poll=self._tracker.poll_quietly,
            budget=self._budget,
            caps=self._caps,
        )

    def _make_budget(self, max_cost: float, sources: CostSources) -> Budget:
        """Return what may be spent: what earlier calls of this run have paid, or may have paid, counts too."""
        if self._binding is None:
            # Without a journal the frame alone knows what was paid.
            spent, rows = self._results.paid()
            spent += self._meta.superseded_cost
            rows += [ELSEWHERE] * self._meta.superseded_unknown
        else:
            spent, numbers = self._binding.paid()
            positions = {number: position for position, number in enumerate(self._actions.numbers) if number >= 0}
            rows = [positions.get(number, ELSEWHERE) for number in numbers]
        price_of = price_of_rows(sources, self._plan, {*self._actions.send, *rows})
        return Budget(max_cost, spent=spent, open_=rows, costs=sources.costs(), price_of=price_of)

    def _explain(self, reason: str) -> None:
        """Give the rows that were not sent the reason why. A row that has an earlier execution keeps its error."""
        if self._is_abandoned:
            return  # the frame is written
        status, execution_id = self._results.status, self._results.execution_id
        invalid = {row: str(self._results.error[row]) for row in self._actions.send if status[row] == INVALID}
        if invalid:
            commonest = source_file.commonest_problem(invalid, self._plan.frame)
            logger.warning("%d row(s) are invalid and were not sent: %s", len(invalid), commonest)
        left = [row for row in self._actions.send if status[row] == PENDING and execution_id[row] is None]
        for row in left:
            self._results.note(row, error=f"not sent: {reason}")
        if left:
            logger.warning("%d row(s) were not sent and are pending: %s", len(left), reason)
        kept = [row for row, known in self._earlier.items() if execution_id[row] == known and status[row] != UNKNOWN]
        refused = {} if self._recorder is None else self._recorder.refused
        unsendable = {row: refused[row] for row in kept if row in refused}
        if unsendable:
            commonest = source_file.commonest_problem(unsendable, self._plan.frame)
            logger.warning("%d row(s) %s: %s", len(unsendable), _KEPT, commonest)
        if len(kept) > len(unsendable):
            logger.warning("%d row(s) %s: %s", len(kept) - len(unsendable), _KEPT, reason)
