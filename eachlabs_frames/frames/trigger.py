"""What `bulk_trigger` and `retry_failed` do, as steps: plain work on frames that yields the engine's jobs.

Everything that can be wrong with a call is found before a row is sent; from the first request on, nothing that is
known of a row is ever dropped: whatever ends the run, the frame is written.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd

from ..core import wire
from ..core.mapping import Fields, from_spec
from ..engine import lookups
from ..engine.client import Client
from ..engine.clock import SystemClock
from ..engine.loop import Steps
from ..engine.pool import until
from ..engine.reporter import Reporter
from ..engine.runner import INTERRUPTED, Runner
from ..engine.tracker import Tracker
from ..errors import APIError, ColumnError, ConfigurationError, MappingError
from ..models import FAILED, INVALID, PENDING, UNKNOWN, Observer, Target, Workflow
from ..settings import Settings, current
from ..views import progress as bars
from . import results as columns
from .handover import Handover
from .plan import Plan, Positions, check_na, read_inputs
from .results import Origin

logger = logging.getLogger("eachlabs_frames")

CLOCK: Final = SystemClock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keywords of `bulk_trigger`, as they were given."""

    version_id: str | None = None
    webhook_url: str | None = None
    webhook_secret: str | None = None
    na: str = "omit"
    validate: bool = True
    max_concurrency: int | None = None
    retrigger: bool = False
    prefix: str = ""
    inplace: bool = False
    wait: bool = False
    progress: bool | Observer | None = None

    def __repr__(self) -> str:
        return "Options(...)"  # so that no traceback with local variables shows the secret

    def checked(self, workflow_id: str) -> Settings:
        """Return this call's settings.

        Raises
        ------
        ConfigurationError
            No key, or a value that cannot be used.
        """
        settings = current(max_concurrency=self.max_concurrency)
        settings.key()
        wire.checked_id("workflow_id", workflow_id)
        if self.version_id is not None:
            wire.checked_id("version_id", self.version_id)
        wire.check_webhook(settings.dialect, self.webhook_url, self.webhook_secret)
        check_na(self.na)
        bars.check(self.progress)
        for name in ("validate", "retrigger", "inplace", "wait"):
            if not isinstance(getattr(self, name), bool):
                msg = f"{name} must be True or False; got {getattr(self, name)!r}"
                raise ConfigurationError(msg)
        if not isinstance(self.prefix, str):
            msg = f"prefix must be a string; got {type(self.prefix).__name__}"
            raise ConfigurationError(msg)
        return settings


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
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        workflow_id: str,
        inputs: object,
        options: Options,
        *,
        only: Positions | None = None,
    ) -> None:
        self._settings = options.checked(workflow_id)
        columns.check_columns(frame, options.prefix)
        self._options = options
        self._workflow_id = workflow_id
        self._check_prefix(frame)
        held = columns.is_result(frame, options.prefix)
        self._before = columns.origin(frame, options.prefix) if held else None
        self._results = columns.read(frame, options.prefix)
        self._rows = self._unsent() if only is None else only
        if inputs is None and self._before is not None and self._before.workflow_id == workflow_id and len(self._rows):
            inputs = remembered(self._before)
        # A mapping that is written out needs no schema to be read, and should fail before anything is asked.
        self._fields = None if inputs is None else read_inputs(frame, inputs, None, options.prefix)
        self._client = Client(self._settings)
        origin = self._before or Origin(workflow_id, options.version_id, options.prefix)
        self._handover = Handover(frame, self._results, origin, inplace=options.inplace)

    def steps(self) -> Steps[pd.DataFrame]:
        """Look at the workflow, check every row, send, and wait where that was asked for."""
        plan: Plan | None = None
        refused: dict[int, str] = {}
        if len(self._rows):
            workflow = yield from self._workflow()
            plan = self._plan(workflow)
            refused = plan.refused()
            self._set_out(refused)
        wait = self._options.wait
        total = self._results.size if wait else len(self._rows)
        with self._handover.kept(), bars.observing(self._options.progress, total=total, what="eachlabs") as observer:
            reporter = Reporter(observer, self._results, total=total, done=len(refused), until_settled=wait)
            reporter.started()
            if plan is not None:
                yield from self._send(plan, refused, reporter)
            if wait:
                yield from self._follow(reporter)
            reporter.finished()
        return self._handover.written()

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

    def _unsent(self) -> Positions:
        """Return the rows that were certainly not sent: what is unknown may have been, and is left alone."""
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

    @property
    def _canary(self) -> bool:
        """Nothing is asked of the API first, so the first batch goes alone."""
        return self._options.version_id is not None and not self._options.validate

    def _workflow(self) -> Steps[Workflow]:
        version_id = self._options.version_id
        if version_id is not None and self._canary:
            return Workflow(self._workflow_id, version_id)
        found: Workflow = yield lambda stop: until(
            stop, lookups.workflow(self._workflow_id, version_id=version_id, transport=self._client, clock=CLOCK)
        )
        return found

    def _plan(self, workflow: Workflow) -> Plan:
        options = self._options
        fields = self._fields
        if fields is None:
            fields = read_inputs(self._handover.source, None, workflow.input_schema, options.prefix)
        plan = Plan.of(
            self._handover.source,
            self._rows,
            fields,
            workflow=workflow,
            omit=check_na(options.na),
            validate=options.validate,
        )
        self._handover.origin = Origin(
            self._workflow_id,
            workflow.version_id,
            options.prefix,
            inputs=plan.spec(),
            na=options.na,
            validate=options.validate,
        )
        return plan

    def _set_out(self, refused: dict[int, str]) -> None:
        """Mark the rows that set out, and those that do not. A row with an earlier execution keeps it till then."""
        results = self._results
        for row in map(int, self._rows):
            if results.execution_id[row] is None and results.status[row] != UNKNOWN:
                results.note(row, status=INVALID if row in refused else PENDING, error=refused.get(row))
        if refused:
            logger.warning("%d row(s) do not fit the workflow's input schema, and are not sent", len(refused))

    def _send(self, plan: Plan, refused: dict[int, str], reporter: Reporter) -> Steps[None]:
        target = Target(
            self._workflow_id,
            str(self._handover.origin.version_id),
            self._options.webhook_url,
            self._options.webhook_secret,
        )
        runner = Runner(
            target,
            self._results,
            transport=self._client,
            clock=CLOCK,
            reporter=reporter,
            dialect=self._settings.dialect,
            max_wait=self._settings.max_wait,
        )
        batches = plan.batches(without=refused)
        try:
            yield lambda stop: runner.run(
                batches, workers=self._settings.max_concurrency, canary=self._canary, stop=stop
            )
        except APIError:
            raise  # nothing was sent, and the exception says why
        except BaseException:
            runner.abandon()
            self._explain(INTERRUPTED)
            raise
        self._explain(runner.halted.reason if runner.halted is not None else "the run ended early")

    def _explain(self, reason: str) -> None:
        """Give the rows that were not sent the reason why."""
        status, execution_id = self._results.status, self._results.execution_id
        left = [row for row in map(int, self._rows) if status[row] == PENDING and execution_id[row] is None]
        for row in left:
            self._results.note(row, error=f"not sent: {reason}")
        if left:
            logger.warning("%d row(s) were not sent and are pending: %s", len(left), reason)

    def _follow(self, reporter: Reporter) -> Steps[None]:
        tracker = Tracker(
            self._workflow_id,
            self._results,
            transport=self._client,
            clock=CLOCK,
            reporter=reporter,
            dialect=self._settings.dialect,
            workers=self._settings.max_concurrency,
        )
        try:
            yield lambda stop: tracker.wait(stop, timeout=None)
        except APIError as exc:
            # The rows are accepted and their ids known: the frame is worth more than the exception.
            logger.warning("stopped waiting, the rows stay as they are: %s", exc)


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


def retry_failed(frame: pd.DataFrame, inputs: object, options: Options) -> Steps[pd.DataFrame]:
    """Trigger the failed rows again, in the version and with the mapping that the frame remembers."""
    before = columns.origin(frame)
    if before is None:
        msg = (
            "the frame's attrs were lost, so its workflow is not known: name it with "
            "out = out.eachlabs.refresh(workflow_id=...), and pass inputs= to retry_failed"
        )
        raise ColumnError(msg)
    columns.require_result(frame, before.prefix)
    held = columns.read(frame, before.prefix)
    rows = np.array([row for row, status in enumerate(held.status) if status == FAILED], dtype=np.int64)
    known = [held.execution_id[row] for row in rows if held.execution_id[row] is not None]
    if len(set(known)) < len(known):
        msg = "some failed rows are copies of each other (one execution_id), and each would be paid: drop the copies"
        raise ColumnError(msg)
    again = replace(
        options,
        version_id=before.version_id,
        prefix=before.prefix,
        na=before.na,
        validate=before.validate,
        retrigger=True,
    )
    return (yield from Trigger(frame, before.workflow_id, inputs, again, only=rows).steps())
