"""Implements `bulk_trigger`: plans the rows, sends them, optionally waits, and writes the results back.

Every check of a call comes before the first request. From then on the frame is always written, however the run ends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from ..aio.bridge import Steps
from ..aio.clock import SystemClock
from ..aio.tasks import cancel_on, run_alongside
from ..api import reader
from ..api.client import Client
from ..engine.events import EventEmitter, ObserverList, joined
from ..engine.tracker import Tracker
from ..errors import APIError
from ..inputs.fingerprints import pack
from ..inputs.mapping import Fields, RowFunction
from ..journal import open_journal
from ..journal.base import RunSpec
from ..journal.updates import JournalUpdater, RunRows
from ..models import INVALID, PENDING, UNKNOWN, ApiConnection, Outcome, Workflow
from ..settings import Settings
from . import columns, source_file
from . import progress_bar as bars
from .columns import ResultMeta
from .earlier_result import check_kind, check_prefix, check_run, check_workflow, edited_rows, remembered
from .options import TriggerOptions, check_na
from .plan import Plan, commonest_problem, misspellings, read_inputs
from .rerun_guard import RerunGuard
from .result_frame import ResultFrame
from .row_actions import RowActions, row_hints, sort_out, sort_out_failed
from .rows import Positions
from .run_rows import RunBinding, check_key
from .send import Sender
from .workflows import naming_the_nearest

logger = logging.getLogger("eachlabs_frames")

CLOCK: Final = SystemClock()


def bulk_trigger(frame: pd.DataFrame, workflow_id: str, inputs: object, options: TriggerOptions) -> Steps[pd.DataFrame]:
    """Trigger the rows that have no execution yet."""
    return (yield from TriggerCall(frame, workflow_id, inputs, options).steps())


class TriggerCall:
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
        False: nothing is sent, and the answers that were lost are looked for.

    Attributes
    ----------
    handover : ResultFrame
        The frame, from before the first request on.
    audience : ObserverList or None
        Called with each event, besides ``progress=``.
    pace : callable or None
        Gives the seconds between two looks. With it, a call that waits looks at executions already while it sends.
    tracker : Tracker or None
        Looks at the executions; there once the rows were checked.
    plan : Plan or None
        What the rows become; there once the workflow was read.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        workflow_id: str,
        inputs: object,
        options: TriggerOptions,
        *,
        only: Positions | None = None,
        sends: bool = True,
    ) -> None:
        self._sends = sends
        self._adds = sends
        self._late: KeyboardInterrupt | None = None
        self._settings = options.checked(workflow_id)
        self._options = options = options.announced(self._settings)
        columns.check_columns(frame, options.prefix)
        self._workflow_id = workflow_id
        check_prefix(frame, workflow_id, options)
        state = columns.read_state(frame, options.prefix)
        self._held, self._before, self._results = state.is_result, state.meta, state.results
        self._had_executions = self._results.accepted > 0
        self._unsent = self._find_unsent()
        self._only = only
        # A mapping that is written out needs no schema to be read, and should fail before anything is asked.
        self._fields = None if inputs is None else read_inputs(frame, inputs, None, options.prefix)
        if only is None:
            check_kind(self._before, options, self._fields, self._results, self._settings)
        if options.key is not None:
            check_key(frame, options.key)
        self._client = Client(self._settings, hidden=options.secrets())
        origin = self._before or ResultMeta(workflow_id, options.version_id, options.prefix)
        self.handover = ResultFrame(frame, self._results, origin, inplace=options.inplace)
        self.audience: ObserverList | None = None
        self.pace: Callable[[], float] | None = None
        self.tracker: Tracker | None = None
        self.plan: Plan | None = None

    @property
    def settings(self) -> Settings:
        """What this call was made with."""
        return self._settings

    def steps(self) -> Steps[pd.DataFrame]:
        """Look at the workflow, check every row, send, and wait where that was asked for."""
        self._release_edited()
        with self._enrolled() as enrolment:
            todo = RowActions()
            rows = self._rows(enrolment)
            plan = (yield from self._planned(rows, enrolment)) if len(rows) else None
            if plan is not None:
                todo = self._set_out(plan, enrolment)
            yield from self._carried_out(plan, todo, enrolment)
        if self._late is not None:
            raise self.handover.interrupted_late(self._late) from None
        return self.handover.written()

    def rehearsal(self) -> Steps[RowActions]:
        """Do all that `steps` does before it sends, add no row to the run, and return what would be done."""
        self._adds = False
        self._release_edited()
        with self._enrolled() as enrolment:
            rows = self._rows(enrolment)
            if not len(rows):
                return RowActions()
            plan = yield from self._planned(rows, enrolment)
            return self._set_out(plan, enrolment)

    def _carried_out(self, plan: Plan | None, todo: RowActions, enrolment: RunBinding | None) -> Steps[None]:
        wait = self._options.wait
        total = self._results.size if wait else len(todo.send) + len(todo.refused)
        # Where nothing was to be sent, no place in the run was taken: what a wait sees is noted all the same.
        webhook, journal = self._options.webhook, open_journal(self._settings.journal)
        with (
            nullcontext() if webhook is None else webhook.at_work(self._settings),
            closing(JournalUpdater(journal, self.handover.origin.run, self._results)) as notes,
            self.handover.kept(),
            bars.observing(self._options.progress, total=total, what="eachlabs") as shown,
        ):
            observer = joined(self.audience, shown)
            reporter = EventEmitter(observer, self._results, total=total, done=len(todo.refused), until_settled=wait)
            reporter.started()
            rows = notes if enrolment is None else RunRows(enrolment.entry, todo.numbers)
            tracker = self._tracker(reporter, rows)
            self.tracker = tracker
            if self.audience is not None:
                self.handover.before_writing = tracker.close
            delivery = None
            if plan is not None:
                delivery = Sender(
                    self._results,
                    self._settings,
                    self._options,
                    client=self._client,
                    reporter=reporter,
                    tracker=tracker,
                    enrolment=enrolment,
                    watched=observer is not None,
                    pace=self.pace if wait else None,
                    looks=not self._sends,
                )
                yield from delivery.steps(plan, todo, self.handover.described())
                if todo.unanswered or todo.elsewhere:
                    tracker.deliveries.is_complete = False
            if wait:
                reporter.tracking()
                yield from self._follow(tracker, reporter, delivery)
            reporter.finished()

    @contextmanager
    def _enrolled(self) -> Iterator[RunBinding | None]:
        """Take a place in a run, for as long as this call is at work; None without a journal, or without a row."""
        before = self._before.run if self._before is not None else None
        nothing = not len(self._unsent) and self._only is None and self._options.on_unknown == "keep"
        if self._settings.journal is None or (self._options.run is None and nothing):
            yield None
            return
        check_run(before, self._options, self._results)
        enrolment = RunBinding(self._settings, self._options, self._workflow_id, before=self._before)
        try:
            yield enrolment
        finally:
            try:
                enrolment.leave()
            except KeyboardInterrupt as exc:
                # It must not take the place of what is raised already, which has the frame; the next one may.
                self._late = exc
                enrolment.leave()

    def _find_unsent(self) -> Positions:
        """Return the rows of which the frame itself says that they were not sent."""
        results = self._results
        if self._options.retrigger:
            return np.arange(results.size, dtype=np.int64)
        check_workflow(self._before, self._workflow_id, results)
        states = zip(results.execution_id, results.status, strict=True)
        unsent = np.flatnonzero([execution_id is None and status != UNKNOWN for execution_id, status in states])
        if len(unsent) < results.size:
            logger.info("%d row(s) were sent before and are not sent again", results.size - len(unsent))
        return unsent.astype(np.int64, copy=False)

    def _release_edited(self) -> None:
        """Make rows of a result whose input was edited since they were sent rows that were not sent."""
        before, options = self._before, self._options
        if before is None or before.workflow_id != self._workflow_id:
            return
        if self._only is not None or options.retrigger or not self._sends:
            return
        rows = edited_rows(self.handover.source, before, options, self._fields, self._results)
        for row in rows.tolist():
            self._results.replace(Outcome(row, PENDING))
        self._unsent = np.union1d(self._unsent, rows)

    def _rows(self, enrolment: RunBinding | None) -> Positions:
        """Return the rows that this call is about: in a named run all but those of executions which it does not know.

        There, a row's input says whether it was sent, and so a row may have changed since.
        """
        if self._only is not None:
            return self._only
        if enrolment is None or self._options.retrigger:
            return self._unsent
        executions = enrolment.executions()
        resend = self._options.on_unknown == "resend"
        chosen = [
            (execution_id is None and (enrolment.named or resend or status != UNKNOWN))
            or (enrolment.named and execution_id in executions)
            for execution_id, status in zip(self._results.execution_id, self._results.status, strict=True)
        ]
        return np.flatnonzero(chosen).astype(np.int64, copy=False)

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
        from_file = source_file.of(self.handover.source) is not None
        return self._options.version_id is not None and not self._options.validate and not from_file

    def _planned(self, rows: Positions, enrolment: RunBinding | None) -> Steps[Plan]:
        """Read the workflow, and make the plan of these rows."""
        fields = self._known_fields(enrolment)
        version_id = (None if enrolment is None else enrolment.version_id) or self._version_id
        workflow = yield from self._workflow(version_id)
        options = self._options
        if fields is None:
            fields = read_inputs(self.handover.source, None, workflow.input_schema, options.prefix)
        for note in misspellings(self.handover.source, fields, workflow.input_schema, options.prefix)[0]:
            logger.warning("%s", note)
        plan = Plan.of(
            self.handover.source,
            rows,
            fields,
            workflow=workflow,
            omit=check_na(options.na),
            validate=options.validate,
        )
        self.handover.origin = ResultMeta(
            self._workflow_id,
            workflow.version_id,
            options.prefix,
            inputs=plan.spec(),
            na=options.na,
            validate=options.validate,
            run=None if enrolment is None else enrolment.entry.name,
        )
        self.plan = plan
        return plan

    def _known_fields(self, enrolment: RunBinding | None) -> Fields | RowFunction | None:
        """Return what fills each key: as the call says, else as the run is pinned, else as the frame remembers."""
        if self._fields is not None:
            return self._fields
        pinned = None if enrolment is None else enrolment.fields(self.handover.source)
        if pinned is not None:
            return pinned
        before = self._before
        return remembered(before) if before is not None and before.workflow_id == self._workflow_id else None

    def _workflow(self, version_id: str | None) -> Steps[Workflow]:
        if version_id is not None and self._canary:
            return Workflow(self._workflow_id, version_id)
        with naming_the_nearest(self._workflow_id, self._settings):
            found: Workflow = yield lambda stop: cancel_on(
                stop,
                reader.read_workflow(self._workflow_id, version_id=version_id, transport=self._client, clock=CLOCK),
            )
        return found

    def _set_out(self, plan: Plan, enrolment: RunBinding | None) -> RowActions:
        """Check every row, find out what the journal knows of it, and mark those that set out and those that do not."""
        results = self._results
        if enrolment is None:
            deque(plan.noted(), maxlen=0)
            todo = RowActions(plan.compact(), range(results.size))
        else:
            todo = self._sorted_out(plan, enrolment)
        self.handover.sent = (plan.positions, plan.checksums)
        if not self._sends:
            todo.send = []
            return todo
        if plan.refused:
            sent = set(todo.send)
            todo.refused.update((row, reason) for row, reason in plan.refused.items() if row in sent)
        for row in todo.send:
            if results.execution_id[row] is None and (results.status[row] != UNKNOWN or row in todo.refused):
                results.note(row, status=INVALID if row in todo.refused else PENDING, error=todo.refused.get(row))
        if todo.refused:
            logger.warning("%s", self._refused_note(todo.refused))
            todo.send = [row for row in todo.send if row not in todo.refused]
        return todo

    def _refused_note(self, refused: Mapping[int, str]) -> str:
        do, are = ("1 row does", "is") if len(refused) == 1 else (f"{len(refused):,} rows do", "are")
        reason = commonest_problem(refused, self.handover.source)
        return f"{do} not fit the workflow's input schema and {are} not sent: {reason}"

    def _sorted_out(self, plan: Plan, enrolment: RunBinding) -> RowActions:
        """Enter the rows into the run, and sort them by what it knows; see that nothing is paid for again unasked."""
        results = self._results
        pin = enrolment.pin(plan, str(self.handover.origin.version_id))
        enrolment.check_mapping(pin)
        is_new = enrolment.pinned is None
        guard = self._rerun_guard(enrolment, pin)
        if guard and is_new:
            guard.check(plan.fingerprints())  # before the run is made: a call that is refused leaves none behind
        numbers = enrolment.enter(
            plan,
            pin,
            held=results.execution_id,
            hints=row_hints(results, held=self._held),
            add=self._adds,
            retries=self._sends and self._only is not None,
        )
        self.handover.origin = replace(self.handover.origin, run=enrolment.entry.name)
        if self._sends and self._only is not None:
            return sort_out_failed(plan, enrolment, numbers, results)
        if self._sends and self._options.retrigger:
            return RowActions(plan.compact(), numbers)
        todo = sort_out(plan, enrolment, numbers, results, held=self._held, sends=self._sends)
        if guard and not is_new and self._adds:
            send = [row for row in todo.send if row not in plan.refused]
            guard.check(pack(b"".join(enrolment.entry.content(numbers[row]) or b"" for row in send)))
        return todo

    def _rerun_guard(self, enrolment: RunBinding, pin: RunSpec) -> RerunGuard | None:
        """Return the guard of a call that neither names its run nor says that it pays again.

        A retry needs it in a new run only, which does not know whether the failed rows were retried before.
        """
        is_retry, is_new = self._only is not None, enrolment.pinned is None
        if enrolment.named or not self._sends or (not is_new if is_retry else self._options.retrigger):
            return None
        return RerunGuard(self._settings, pin, own=None if is_new else enrolment.entry.name, retries=is_retry)

    def _tracker(self, reporter: EventEmitter, rows: JournalUpdater | RunRows) -> Tracker:
        return Tracker(
            self._workflow_id,
            self._results,
            ApiConnection(self._client, CLOCK, self._settings.dialect, self._settings.max_concurrency),
            events=reporter,
            receiver=self._options.webhook,
            rows=rows,
        )

    def _follow(self, tracker: Tracker, reporter: EventEmitter, delivery: Sender | None) -> Steps[None]:
        watched = delivery if self.audience is not None else None
        try:
            yield from reporter.stoppable(
                lambda stop: run_alongside(
                    tracker.wait(stop, pace=self.pace), [] if watched is None else [watched.watch_balance()]
                )
            )
            if delivery is not None and (watched is not None or reporter.balance_usd is not None):
                yield from reporter.stoppable(delivery.read_balance_again)
        except APIError as exc:
            # The rows are accepted and their ids known: the frame is worth more than the exception.
            logger.warning("stopped waiting; the rows stay as they are: %s", exc)
            reporter.stopped(f"the executions are no longer polled: {exc}")
