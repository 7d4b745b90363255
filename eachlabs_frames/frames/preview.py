"""What `preview` does, as steps: each row's input and problem. It never triggers anything."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import numpy as np
import pandas as pd

from ..aio.bridge import Steps
from ..aio.clock import SystemClock
from ..aio.tasks import cancel_on
from ..api import prices as money
from ..api import reader
from ..api.client import Client
from ..api.requests import checked_id
from ..errors import InputError, JournalError
from ..inputs.encoding import Problem
from ..models import Json, Prices, RunSpec, Workflow
from ..settings import current
from ..suggestions import listed
from . import columns
from .display import PreviewFrame
from .estimate import estimate, show
from .options import check_flag
from .plan import Plan, check_na, commonest_problem, misspellings, read_inputs
from .rerun import RepeatedRows, RerunGuard
from .workflows import naming_the_nearest

logger = logging.getLogger("eachlabs_frames")

ATTRS: Final = "eachlabs_preview"
"""Where a preview says what the rows would come to; nobody reads it but people."""

NOTES: Final = "eachlabs_notes"
"""Where a preview keeps its notes on columns that are not sent, misspelt names and problems, if there are any."""

REPEATS: Final = "eachlabs_accepted_before"
"""Where a preview says how many rows the journal knows as accepted lately, if there are any."""


def preview(
    frame: pd.DataFrame,
    inputs: object,
    *,
    workflow_id: str | None,
    version_id: str | None,
    na: str,
    prefix: str,
    full: bool = False,
) -> Steps[pd.DataFrame]:
    """Read the workflow, where one is named, make every row's input, and say what they would come to."""
    omit = check_na(na)
    check_flag("full", full)
    workflow: Workflow | None = None
    prices = Prices()
    if workflow_id is not None:
        settings = current()
        client = Client(settings)
        named = checked_id("workflow_id", workflow_id)
        with naming_the_nearest(named, settings):
            workflow = yield lambda stop: cancel_on(
                stop, reader.workflow(named, version_id=version_id, transport=client, clock=SystemClock())
            )
        prices = yield lambda stop: cancel_on(
            stop, money.prices(named, transport=client, clock=SystemClock(), dialect=settings.dialect)
        )
    fields = read_inputs(frame, inputs, workflow.input_schema if workflow else None, prefix)
    rows = np.arange(len(frame), dtype=np.int64)
    plan = Plan.of(frame, rows, fields, workflow=workflow, omit=omit, validate=True)
    out = _shown(plan)
    journaled = _journaled(frame, workflow_id) if prices.cost_usd is None else ()
    made = estimate(int(out["problem"].isna().sum()), prices, journaled=journaled)
    known = asdict(made)
    if made.cost_from is None:
        del known["cost_from"]
    repeats = None if workflow is None else _repeats(plan, workflow, na)
    notes = [*_notes(plan, workflow, prefix), *_problem_notes(plan.frame, out)]
    out.attrs[ATTRS] = known
    if notes:
        out.attrs[NOTES] = notes
    if repeats is not None:
        out.attrs[REPEATS] = repeats.count
        notes = [repeats.facts(), *notes]
    show(made, notes=notes)
    return PreviewFrame.of(out, full=full)


def _notes(plan: Plan, workflow: Workflow | None, prefix: str) -> list[str]:
    """Return what to say of the frame's columns: those that are not sent, and names that are probably misspelt."""
    schema = None if workflow is None else workflow.input_schema
    notes, others = misspellings(plan.frame, plan.fields, schema, prefix)
    return [*notes, f"columns that are not sent: {listed(others)}"] if others else notes


def _problem_notes(frame: pd.DataFrame, out: pd.DataFrame) -> list[str]:
    """Return how many rows cannot be sent, the commonest reason, and a row that has it."""
    problems = out["problem"].dropna()
    if problems.empty:
        return []
    rows = "1 row has a problem" if len(problems) == 1 else f"{len(problems):,} rows have a problem"
    places = np.flatnonzero(out["problem"].notna()).tolist()
    return [f"{rows}: {commonest_problem(dict(zip(places, problems.tolist(), strict=True)), frame)}"]


def _repeats(plan: Plan, workflow: Workflow, na: str) -> RepeatedRows | None:
    """Return which rows the journal knows as accepted lately, so that triggering them would pay again."""
    settings = current()
    pin = RunSpec(workflow.workflow_id, workflow.version_id, settings.base_url, plan.pinned_spec(), na)
    guard = RerunGuard(settings, pin)
    try:
        return guard.find(plan.fingerprints()) if guard else None
    except InputError:
        return None  # the problems are listed; none of these rows would be sent


def _journaled(frame: pd.DataFrame, workflow_id: str | None) -> Sequence[float]:
    """Return what executions of the workflow have cost by the journal: of the one named, or of the frame's own."""
    if workflow_id is None:
        known = columns.origin(frame)
        if known is None:
            return ()
        workflow_id = known.workflow_id
    return journaled_costs(workflow_id)


def journaled_costs(workflow_id: str) -> Sequence[float]:
    """Return what executions of the workflow have cost by the journal."""
    settings = current()
    if settings.journal is None or not settings.journal.exists():
        return ()
    from ..journal import history

    try:
        return history.costs(settings.journal, workflow_id, settings.base_url)
    except JournalError as exc:
        logger.warning("the costs of earlier executions cannot be read from the journal: %s", exc)
        return ()


def _shown(plan: Plan) -> pd.DataFrame:
    payloads: list[Json] = [None] * len(plan.frame)
    reasons: list[str | None] = [None] * len(plan.frame)
    for positions, rows in plan.source.rows():
        for position, row in zip(positions, rows, strict=True):
            payloads[position] = None if isinstance(row, Problem) else row
    for position, problem, _ in plan.source.check(plan.check):
        reasons[position] = str(problem)
    out: pd.DataFrame = pd.DataFrame(index=plan.frame.index)
    out["payload"] = pd.Series(payloads, dtype=object).to_numpy()
    out["problem"] = pd.array(reasons, dtype="string")
    return out
