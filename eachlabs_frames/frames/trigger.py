"""What a call that triggers does, as steps: plain work on frames that yields the engine's jobs.

Everything that can be wrong with a call is found before a row is sent; from the first request on, nothing that is
known of a row is ever dropped: whatever ends the run, the frame is written.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from ..core.mapping import Fields, RowFunction, from_spec
from ..engine import lookups
from ..engine.client import Client
from ..engine.clock import SystemClock
from ..engine.loop import Steps
from ..engine.pool import beside, until
from ..engine.reporter import Reporter
from ..engine.tracker import Tracker
from ..errors import APIError, ColumnError, MappingError
from ..models import INVALID, PENDING, UNKNOWN, Workflow
from ..settings import Settings
from ..views import progress as bars
from . import results as columns
from .audience import Audience, joined
from .delivery import Delivery
from .enrolment import Enrolment, check_key
from .handover import Handover
from .notes import Notes, RunRows
from .options import Options
from .plan import Plan, Positions, check_na, read_inputs
from .results import Origin
from .todo import Todo, sort_out, sort_out_failed, wishes

logger = logging.getLogger("eachlabs_frames")

CLOCK: Final = SystemClock()


def bulk_trigger(frame: pd.DataFrame, workflow_id: str, inputs: object, options: Options) -> Steps[pd.DataFrame]:
    """Trigger the rows that have no execution yet."""
    return (yield from Trigger(frame, workflow_id, inputs, options).steps())


class Trigger:
    """One call of `bulk_trigger`.

    Parameters
    ----------
    frame : pandas.DataFrame
    workflow_id : str
    inputs : None, list, dict or callable
        As the user wrote it.
    options : Options
    only : numpy.ndarray of int64, optional
        The rows to trigger, whatever they hold; by default those that have no execution yet.
    sends : bool
        False: nothing is sent, and the answers that were lost are looked for.

    Attributes
    ----------
    handover : Handover
        The frame, from before the first request on.
    audience : Audience or None
        Told of each step, beside ``progress=``.
    pace : callable or None
        Gives the seconds between two looks. With it, a call that waits looks at executions already while it sends.
    tracker : Tracker or None
        Looks at the executions; there once the rows were checked.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        workflow_id: str,
        inputs: object,
        options: Options,
        *,
        only: Positions | None = None,
        sends: bool = True,
    ) -> None:
        self._sends = sends
        self._late: KeyboardInterrupt | None = None
        self._settings = options.checked(workflow_id)
        self._options = options = options.announced(self._settings)
        columns.check_columns(frame, options.prefix)
        self._workflow_id = workflow_id
        self._check_prefix(frame)
        self._held = columns.is_result(frame, options.prefix)
        self._before = columns.origin(frame, options.prefix) if self._held else None
        self._results = columns.read(frame, options.prefix)
        self._unsent = self._find_unsent()
        self._only = only
        # A mapping that is written out needs no schema to be read, and should fail before anything is asked.
        self._fields = None if inputs is None else read_inputs(frame, inputs, None, options.prefix)
        if options.key is not None:
            check_key(frame, options.key)
        self._client = Client(self._settings, hidden=options.secrets())
        origin = self._before or Origin(workflow_id, options.version_id, options.prefix)
        self.handover = Handover(frame, self._results, origin, inplace=options.inplace)
        self.audience: Audience | None = None
        self.pace: Callable[[], float] | None = None
        self.tracker: Tracker | None = None

    @property
    def settings(self) -> Settings:
        """What this call was made with."""
        return self._settings

    def steps(self) -> Steps[pd.DataFrame]:
        """Look at the workflow, check every row, send, and wait where that was asked for."""
        with self._enrolled() as enrolment:
            todo = Todo()
            rows = self._rows(enrolment)
            plan = (yield from self._planned(rows, enrolment)) if len(rows) else None
            if plan is not None:
                todo = self._set_out(plan, enrolment)
            yield from self._carried_out(plan, todo, enrolment)
        if self._late is not None:
            raise self.handover.interrupted_late(self._late) from self._late
        return self.handover.written()

    def _carried_out(self, plan: Plan | None, todo: Todo, enrolment: Enrolment | None) -> Steps[None]:
        wait = self._options.wait
        total = self._results.size if wait else len(todo.send) + len(todo.refused)
        # Where nothing was to be sent, no place in the run was taken: what a wait sees is noted all the same.
        webhook = self._options.webhook
        with (
            nullcontext() if webhook is None else webhook.at_work(self._settings),
            closing(Notes(self._settings.journal, self.handover.origin.run, self._results)) as notes,
            self.handover.kept(),
            bars.observing(self._options.progress, total=total, what="eachlabs") as shown,
        ):
            observer = joined(self.audience, shown)
            reporter = Reporter(observer, self._results, total=total, done=len(todo.refused), until_settled=wait)
            reporter.started()
            rows = notes if enrolment is None else RunRows(enrolment.entry, todo.numbers)
            tracker = self._tracker(reporter, rows)
            self.tracker = tracker
            if self.audience is not None:
                self.handover.before_writing = tracker.close
            delivery = None
            if plan is not None:
                delivery = Delivery(
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
                    tracker.hearing.miss()
            if wait:
                reporter.tracking()
                yield from self._follow(tracker, reporter, delivery)
            reporter.finished()

    @contextmanager
    def _enrolled(self) -> Iterator[Enrolment | None]:
        """Take a place in a run, for as long as this call is at work; None without a journal, or without a row."""
        before = self._before.run if self._before is not None else None
        nothing = not len(self._unsent) and self._only is None and self._options.on_unknown == "keep"
        if self._settings.journal is None or (self._options.run is None and nothing):
            yield None
            return
        self._check_run(before)
        enrolment = Enrolment(self._settings, self._options, self._workflow_id, before=self._before)
        try:
            yield enrolment
        finally:
            try:
                enrolment.leave()
            except KeyboardInterrupt as exc:
                # It must not take the place of what is raised already, which has the frame; the next one may.
                self._late = exc
                enrolment.leave()

    def _check_run(self, before: str | None) -> None:
        """Whoever names another run by mistake must not pay for every row once more."""
        named, accepted = self._options.run, self._results.accepted
        if named in (None, before) or before is None or not accepted or self._options.retrigger:
            return
        msg = (
            f"the frame holds results of run {before!r}, not of {named!r}: go on with run={before!r}, pass prefix= to "
            "keep both, or retrigger=True to pay for every row once more"
        )
        raise ColumnError(msg)

    def _check_prefix(self, frame: pd.DataFrame) -> None:
        """Whoever forgets the prefix of a result must not pay for its rows once more, under other names."""
        latest = columns.origin(frame)
        if latest is None or self._options.prefix or self._options.retrigger or not latest.prefix:
            return
        if latest.workflow_id == self._workflow_id and columns.is_result(frame, latest.prefix):
            msg = (
                f"the frame holds results of {self._workflow_id!r} with prefix={latest.prefix!r}: pass that prefix= to "
                "go on with them, or retrigger=True to pay for every row once more"
            )
            raise ColumnError(msg)

    def _find_unsent(self) -> Positions:
        """Return the rows of which the frame itself says that they were not sent."""
        results = self._results
        if self._options.retrigger:
            return np.arange(results.size, dtype=np.int64)
        other = None if self._before is None else self._before.workflow_id
        if other not in (None, self._workflow_id) and results.accepted:
            msg = (
                f"the frame holds results of workflow {other!r}: pass prefix= to keep them "
                "beside the new ones, or retrigger=True to write over them"
            )
            raise ColumnError(msg)
        states = zip(results.execution_id, results.status, strict=True)
        unsent = np.flatnonzero([execution_id is None and status != UNKNOWN for execution_id, status in states])
        if len(unsent) < results.size:
            logger.info("%d row(s) were sent before, and are left alone", results.size - len(unsent))
        return unsent.astype(np.int64, copy=False)

    def _rows(self, enrolment: Enrolment | None) -> Positions:
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
    def _canary(self) -> bool:
        """Nothing is asked of the API first, so the first batch goes alone."""
        return self._options.version_id is not None and not self._options.validate

    def _planned(self, rows: Positions, enrolment: Enrolment | None) -> Steps[Plan]:
        """Read the workflow, and make the plan of these rows."""
        fields = self._known_fields(enrolment)
        version_id = self._options.version_id if enrolment is None else enrolment.version_id
        workflow = yield from self._workflow(version_id)
        options = self._options
        if fields is None:
            fields = read_inputs(self.handover.source, None, workflow.input_schema, options.prefix)
        plan = Plan.of(
            self.handover.source,
            rows,
            fields,
            workflow=workflow,
            omit=check_na(options.na),
            validate=options.validate,
        )
        self.handover.origin = Origin(
            self._workflow_id,
            workflow.version_id,
            options.prefix,
            inputs=plan.spec(),
            na=options.na,
            validate=options.validate,
            run=None if enrolment is None else enrolment.entry.name,
        )
        return plan

    def _known_fields(self, enrolment: Enrolment | None) -> Fields | RowFunction | None:
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
        found: Workflow = yield lambda stop: until(
            stop, lookups.workflow(self._workflow_id, version_id=version_id, transport=self._client, clock=CLOCK)
        )
        return found

    def _set_out(self, plan: Plan, enrolment: Enrolment | None) -> Todo:
        """Check every row, find out what the journal knows of it, and mark those that set out and those that do not."""
        results = self._results
        if enrolment is None:
            deque(plan.checked(), maxlen=0)
            todo = Todo(plan.compact(), range(results.size))
        else:
            version_id = str(self.handover.origin.version_id)
            numbers = enrolment.enter(
                plan, version_id, held=results.execution_id, wishes=wishes(results, held=self._held), add=self._sends
            )
            self.handover.origin = replace(self.handover.origin, run=enrolment.entry.name)
            if self._sends and self._only is not None:
                todo = sort_out_failed(plan, enrolment, numbers, results)
            elif self._sends and self._options.retrigger:
                todo = Todo(plan.compact(), numbers)
            else:
                todo = sort_out(plan, enrolment, numbers, results, held=self._held)
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
            logger.warning("%d row(s) do not fit the workflow's input schema, and are not sent", len(todo.refused))
            todo.send = [row for row in todo.send if row not in todo.refused]
        return todo

    def _tracker(self, reporter: Reporter, rows: Notes | RunRows) -> Tracker:
        return Tracker(
            self._workflow_id,
            self._results,
            transport=self._client,
            clock=CLOCK,
            reporter=reporter,
            dialect=self._settings.dialect,
            workers=self._settings.max_concurrency,
            noted=rows,
            feed=self._options.webhook,
            content=rows.content,
            corrected=rows.correct,
        )

    def _follow(self, tracker: Tracker, reporter: Reporter, delivery: Delivery | None) -> Steps[None]:
        watched = delivery if self.audience is not None else None
        try:
            yield from reporter.stoppable(
                lambda stop: beside(
                    tracker.wait(stop, pace=self.pace), [] if watched is None else [watched.watch_balance()]
                )
            )
        except APIError as exc:
            # The rows are accepted and their ids known: the frame is worth more than the exception.
            logger.warning("stopped waiting, the rows stay as they are: %s", exc)
            reporter.stopped(f"the executions are not looked at any more: {exc}")


def remembered(origin: Origin) -> Fields:
    """Return the mapping that a result was made with: its other rows are to be sent in the same way.

    Raises
    ------
    MappingError
        The frame remembers none: it was a function.
    """
    if origin.inputs is None:
        msg = (
            "the frame does not say how its inputs were made (by a function, or from labels that are no strings, "
            "which are not kept): pass inputs="
        )
        raise MappingError(msg)
    return from_spec(origin.inputs)
