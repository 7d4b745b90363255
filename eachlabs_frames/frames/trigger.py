"""Implements `bulk_trigger`: plans the rows, sends them, optionally waits, and writes the results back.

Every check of a call comes before the first request. After that the frame is always written, however the call ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

import numpy as np

from ..aio.bridge import Read
from ..aio.clock import SystemClock
from ..aio.tasks import run_alongside
from ..api.client import Client
from ..engine.events import EventEmitter, joined
from ..engine.tracker import Tracker
from ..errors import APIError
from ..inputs.fingerprints import pack
from ..inputs.mapping import Fields, RowFunction
from ..journal import open_journal
from ..journal.base import RunSpec
from ..journal.file_references import FileReferences
from ..journal.updates import JournalUpdater, RunRows
from ..models import INVALID, PENDING, UNKNOWN, ApiConnection, Outcome, Workflow
from ..uploads.local_files import LocalFiles
from . import columns, source_file
from . import progress_bar as bars
from .columns import ResultMeta
from .costs.confirmation import ask, check_person
from .costs.cost_sources import CostSources, read_sources
from .costs.estimate import counted, make_estimate
from .earlier_result import check_kind, check_prefix, check_run, check_workflow, edited_rows, remembered
from .options import SAME_INPUT_ONCE, TriggerOptions, check_na
from .plan import Plan, misspellings, read_inputs
from .rerun_guard import RerunGuard
from .result_frame import FrameCall, ResultFrame
from .row_actions import RowActions, decide_actions, decide_retries, row_hints, rows_of_run, unsent_rows
from .rows import Positions
from .run_binding import RunBinding, check_key
from .send import Sender
from .table import Frame
from .workflows import read_workflow

logger = logging.getLogger("eachlabs_frames")

CLOCK: Final = SystemClock()


class TriggerCall(FrameCall):
    """One call of `bulk_trigger`.

    Parameters
    ----------
    frame : pandas.DataFrame
    workflow_id : str
    inputs : None, list, dict or callable
        As the user wrote it.
    options : TriggerOptions
    only : numpy.ndarray of int64, optional
        The rows to trigger, whatever they hold; by default those that have no execution yet.
    sends : bool
        False: nothing is sent, and lost responses are searched for.
    workflow : Workflow, optional
        The version to trigger, with its schema; by default it is read from the API.

    Attributes
    ----------
    plan : Plan or None
        What the rows become; None before the workflow was read.
    """

    def __init__(
        self,
        frame: Frame,
        workflow_id: str,
        inputs: object,
        options: TriggerOptions,
        *,
        only: Positions | None = None,
        sends: bool = True,
        workflow: Workflow | None = None,
    ) -> None:
        settings = options.checked(workflow_id)
        self._given_workflow = workflow
        self._sends = sends
        self._adds = sends
        self._options = options = options.announced(settings)
        columns.check_columns(frame, options.prefix)
        self._workflow_id = workflow_id
        check_prefix(frame, workflow_id, options)
        state = columns.read_state(frame, options.prefix)
        self._has_result, self._before, self._results = state.is_result, state.meta, state.results
        self._had_executions = self._results.accepted > 0
        meta = self._before or ResultMeta(workflow_id, options.version_id, options.prefix)
        super().__init__(ResultFrame(frame, self._results, meta, inplace=options.inplace), settings)
        self._unsent = self._find_unsent()
        self._only = only
        # A mapping that is written out needs no schema to be read, and should fail before any request.
        self._fields = None if inputs is None else read_inputs(frame, inputs, None, options.prefix)
        if only is None:
            check_kind(self._before, options, self._fields, self._results, settings)
        if options.key is not None and options.key is not SAME_INPUT_ONCE:
            check_key(frame, options.key)
        self._client = Client(settings, hidden=options.secrets())
        self._connection = ApiConnection(
            self._client,
            CLOCK,
            settings.dialect,
            settings.max_concurrency,
            FileReferences(open_journal(settings.journal)),
        )
        self._files = LocalFiles(settings)
        self._resources.callback(self._files.close)
        self._sender: Sender | None = None
        self._pinned: Workflow | None = None
        self._planned: Positions = np.array([], dtype=np.int64)
        self._is_prepared = False
        self._has_foreign_rows = False
        self.plan: Plan | None = None

    def prepare(self, read: Read) -> None:
        """Read the workflow, check every row, enter the rows into the run, and open the progress bar."""
        if self._is_prepared:
            return
        self._display.enter_context(self.result.alone())  # until the frame is written
        self._release_edited()
        sources = self._confirmed(read) if self._options.ask else CostSources()
        binding, actions = self._planned_actions(read)
        if self._options.max_cost is not None and not self._options.ask and self.plan is not None:
            sources = self.cost_sources(read, balance=False)
        wait = self._options.wait
        total = self._results.size - len(self.result.repeats) if wait else len(actions.send) + len(actions.refused)
        if self._options.webhook is not None:
            self._resources.enter_context(self._options.webhook.at_work(self.settings))
        bar = self._display.enter_context(bars.observing(self._options.progress, total=total, what="eachlabs"))
        events = self._events = EventEmitter(
            joined(self.observers, bar), self._results, total=total, done=len(actions.refused), until_settled=wait
        )
        self.tracker = Tracker(
            self._workflow_id,
            self._results,
            self._connection,
            events=events,
            receiver=self._options.webhook,
            rows=self._tracked_rows(binding, actions),
        )
        if self.plan is not None:
            self._sender = Sender(
                self._results, self.settings, self._options, self._connection, events, self.tracker, binding
            )
            self._resources.callback(self._sender.close)
            self._sender.prepare(
                self.plan, actions, self.result.written_meta(), searches=not self._sends, sources=sources
            )
            self._has_foreign_rows = bool(actions.unanswered or actions.elsewhere)
        self._is_prepared = True

    def prepare_early(self, read: Read) -> None:
        """Do what `prepare` does before the call runs in the background, where nobody can be asked."""
        try:
            self.prepare(read)
        except BaseException:
            self.close()
            raise

    def _tracked_rows(self, binding: RunBinding | None, actions: RowActions) -> JournalUpdater | RunRows:
        if binding is not None:
            return RunRows(binding.run_journal, actions.numbers)
        # There is nothing to send, so no run was entered; the outcomes of a wait are recorded all the same.
        journal = open_journal(self.settings.journal, max_wait=self.settings.max_wait)
        updater = JournalUpdater(journal, self.result.meta.run, self._results)
        self._resources.callback(updater.close)
        return updater

    def rehearse(self, read: Read) -> RowActions:
        """Do all that `prepare` does before rows are entered into a run, and return what would be done."""
        self._adds = False
        self._release_edited()
        return self._planned_actions(read)[1]

    def cost_sources(self, read: Read, *, balance: bool = True) -> CostSources:
        """Return what is known of the costs of the version that this call triggers."""
        workflow = self._pinned or Workflow(self._workflow_id, self._version_id or "")
        return read_sources(workflow, read, self.settings, client=self._client, balance=balance)

    def _confirmed(self, read: Read) -> CostSources:
        """Plan the call without entering a row into a run, and ask whether to send; return what costs are known.

        Raises
        ------
        DeclinedError
            The answer was no. Nothing was sent, and the journal has nothing of this call.
        """
        check_person(self._options.ask)
        before = self._results.copy()
        self._adds = False
        outer, self._resources = self._resources, ExitStack()
        try:
            _, actions = self._planned_actions(read)
            sources = self.cost_sources(read)
        finally:
            self._resources.close()  # leaves the run; the call's own resources stay open
            self._resources = outer
        if actions.send and self.plan is not None:
            wanted = set(actions.send)
            prices = sources.price(self.plan.inputs(wanted), len(wanted))
            ask(make_estimate(prices, sources, max_concurrency=self.settings.max_concurrency))
        self._results.restore(before)
        self._adds = True
        return sources

    def _planned_actions(self, read: Read) -> tuple[RunBinding | None, RowActions]:
        binding = self._bind()
        rows = self._rows(binding)
        if not len(rows):
            return binding, RowActions()
        return binding, self._decide(self._make_plan(rows, binding, read), binding)

    async def work(self, stop: asyncio.Event) -> None:
        """Send the rows, and wait where that was asked for."""
        events, tracker, sender = self._events, self.tracker, self._sender
        assert tracker is not None
        with events.stopping(stop):
            try:
                events.started()
                if sender is not None:
                    await sender.send(stop, pace=self.pace if self._options.wait else None)
                    if self._has_foreign_rows:
                        tracker.deliveries.is_complete = False
                if self._options.wait and not stop.is_set():
                    events.tracking()
                    await self._track(tracker, stop)
                events.finished()
            finally:
                tracker.close()

    def abandon(self) -> None:
        """Mark requests in flight as unknown."""
        if self._sender is not None:
            self._sender.abandon()

    def _bind(self) -> RunBinding | None:
        """Bind the frame to a run until the frame is written; None without a journal, or without a row."""
        before = self._before.run if self._before is not None else None
        nothing = not len(self._unsent) and self._only is None and self._options.on_unknown == "keep"
        if self.settings.journal is None or (self._options.run is None and nothing):
            return None
        check_run(before, self._options, self._results)
        binding = RunBinding(self.settings, self._options, self._workflow_id, before=self._before)
        self._resources.callback(binding.leave)
        return binding

    def _find_unsent(self) -> Positions:
        """Return the rows of which the frame itself says that they were not sent."""
        if self._options.retrigger:
            return np.arange(self._results.size, dtype=np.int64)
        check_workflow(self._before, self._workflow_id, self._results)
        return unsent_rows(self._results)

    def _release_edited(self) -> None:
        """Make rows of a result whose input was edited since they were sent rows that were not sent."""
        before, options = self._before, self._options
        if before is None or before.workflow_id != self._workflow_id:
            return
        if self._only is not None or options.retrigger or not self._sends:
            return
        rows = edited_rows(self.result.source, before, options, self._fields, self._results)
        for row in rows.tolist():
            self._results.replace(Outcome(row, PENDING))
        self._unsent = np.union1d(self._unsent, rows)

    def _rows(self, binding: RunBinding | None) -> Positions:
        """Return the rows that this call is about."""
        if self._only is not None:
            return self._only
        if binding is None or self._options.retrigger:
            return self._unsent
        return rows_of_run(self._results, binding, resend=self._options.on_unknown == "resend")

    @property
    def _version_id(self) -> str | None:
        """The version that was asked for, else that of the executions which the frame came with."""
        before, asked = self._before, self._options.version_id
        if asked is not None or before is None or self._options.retrigger or not self._had_executions:
            return asked
        return before.version_id if before.workflow_id == self._workflow_id else None

    @property
    def _canary(self) -> bool:
        """Nothing is asked of the API first, so the first batch goes alone.

        A frame that came from a file needs the schema, to know what its text is sent as.
        """
        from_file = source_file.of(self.result.source) is not None
        return self._options.version_id is not None and not self._options.validate and not from_file

    def _make_plan(self, rows: Positions, binding: RunBinding | None, read: Read) -> Plan:
        """Read the workflow, and make the plan of these rows."""
        if self.plan is not None and self._pinned is not None and np.array_equal(self._planned, rows):
            self._describe_plan(self.plan, self._pinned, binding)
            return self.plan  # a user's function is called once
        fields = self._known_fields(binding)
        version_id = (None if binding is None else binding.version_id) or self._version_id
        workflow = self._workflow(version_id, read)
        options = self._options
        if fields is None:
            fields = read_inputs(self.result.source, None, workflow.input_schema, options.prefix)
        for note in misspellings(self.result.source, fields, workflow.input_schema, options.prefix)[0]:
            logger.warning("%s", note)
        plan = Plan.of(
            self.result.source,
            rows,
            fields,
            workflow=workflow,
            omit=check_na(options.na),
            validate=options.validate,
            files=self._files,
        )
        if binding is not None and binding.same_input_once:
            plan = plan.without_repeats()
            self.result.repeats = plan.repeats
        self._describe_plan(plan, workflow, binding)
        self.plan, self._pinned, self._planned = plan, workflow, rows
        return plan

    def _describe_plan(self, plan: Plan, workflow: Workflow, binding: RunBinding | None) -> None:
        options = self._options
        self.result.meta = ResultMeta(
            self._workflow_id,
            workflow.version_id,
            options.prefix,
            inputs=plan.spec(),
            na=options.na,
            validate=options.validate,
            run=None if binding is None else binding.run_journal.name,
        )

    def _known_fields(self, binding: RunBinding | None) -> Fields | RowFunction | None:
        """Return what fills each key: by the call, else by the run's spec, else by the frame's attrs."""
        if self._fields is not None:
            return self._fields
        fields = None if binding is None else binding.fields(self.result.source)
        if fields is not None:
            return fields
        before = self._before
        return remembered(before) if before is not None and before.workflow_id == self._workflow_id else None

    def _workflow(self, version_id: str | None, read: Read) -> Workflow:
        if self._given_workflow is not None:
            return self._given_workflow
        if version_id is not None and self._canary:
            return Workflow(self._workflow_id, version_id)
        return read_workflow(self._workflow_id, version_id, read, self.settings, client=self._client)

    def _decide(self, plan: Plan, binding: RunBinding | None) -> RowActions:
        """Check every row, find out what the journal knows of it, and mark those that set out and those that do not."""
        results = self._results
        if binding is None:
            deque(plan.with_checksums(), maxlen=0)
            actions = RowActions(plan.compact(), range(results.size))
        else:
            actions = self._sorted_out(plan, binding)
        self.result.sent = (plan.positions, plan.checksums)
        if not self._sends:
            actions.send = []
            return actions
        if plan.refused:
            sent = set(actions.send)
            actions.refused.update((row, reason) for row, reason in plan.refused.items() if row in sent)
        for row in actions.send:
            if results.execution_id[row] is None and (results.status[row] != UNKNOWN or row in actions.refused):
                results.note(row, status=INVALID if row in actions.refused else PENDING, error=actions.refused.get(row))
        if actions.refused:
            reason = source_file.commonest_problem(actions.refused, self.result.source)
            logger.warning("%s cannot be sent: %s", counted(len(actions.refused), "row"), reason)
            actions.send = [row for row in actions.send if row not in actions.refused]
        return actions

    def _sorted_out(self, plan: Plan, binding: RunBinding) -> RowActions:
        """Enter the rows into the run, and sort them by what it knows; see that nothing is paid for again unasked."""
        results = self._results
        spec = binding.new_spec(plan, str(self.result.meta.version_id))
        binding.check_mapping(spec)
        is_new = binding.spec is None
        guard = self._rerun_guard(binding, spec)
        if guard and is_new:
            guard.check(plan.fingerprints())  # before the run is made: a call that is refused leaves none behind
        numbers = binding.enter(
            plan,
            spec,
            executions=results.execution_id,
            hints=row_hints(results, has_result=self._has_result),
            add=self._adds,
            retries=self._sends and self._only is not None,
        )
        self.result.meta = replace(self.result.meta, run=binding.run_journal.name)
        if self._sends and self._only is not None:
            return decide_retries(plan, binding, numbers, results)
        if self._sends and self._options.retrigger:
            return RowActions(plan.compact(), numbers)
        actions = decide_actions(plan, binding, numbers, results, has_result=self._has_result, sends=self._sends)
        if guard and not is_new and self._adds:
            send = [row for row in actions.send if row not in plan.refused]
            guard.check(pack(b"".join(binding.run_journal.content(numbers[row]) or b"" for row in send)))
        return actions

    def _rerun_guard(self, binding: RunBinding, spec: RunSpec) -> RerunGuard | None:
        """Return the guard of a call that neither names its run nor says that it pays again.

        A retry needs it in a new run only, which does not know whether the failed rows were retried before.
        """
        is_retry, is_new = self._only is not None, binding.spec is None
        if binding.named or not self._sends or (not is_new if is_retry else self._options.retrigger):
            return None
        return RerunGuard(self.settings, spec, own=None if is_new else binding.run_journal.name, retries=is_retry)

    async def _track(self, tracker: Tracker, stop: asyncio.Event) -> None:
        sender = self._sender
        watched = sender if self.observers is not None else None
        try:
            await run_alongside(
                tracker.wait(stop, pace=self.pace), [] if watched is None else [watched.watch_balance()]
            )
            if sender is not None and (watched is not None or self._events.balance_usd is not None):
                await sender.read_balance_again(stop)
        except APIError as exc:
            # The rows are accepted and their ids known: the frame is worth more than the exception.
            logger.warning("stopped waiting; the rows stay as they are: %s", exc)
            self._events.stopped(f"the executions are no longer polled: {exc}")
