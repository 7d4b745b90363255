"""What `preview` does, as steps: each row's input and problem. It never triggers anything."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import numpy as np
import pandas as pd

from ..core.inputs import Problem
from ..core.wire import checked_id
from ..engine import lookups, money
from ..engine.client import Client
from ..engine.clock import SystemClock
from ..engine.loop import Steps
from ..engine.pool import until
from ..errors import InputError, JournalError
from ..models import Json, Pin, Prices, Workflow
from ..settings import current
from ..views.estimate import estimate, show
from . import results as columns
from .plan import Plan, check_na, read_inputs
from .rerun import Repeats, RerunGuard

logger = logging.getLogger("eachlabs_frames")

ATTRS: Final = "eachlabs_preview"
"""Where a preview says what the rows would come to; nobody reads it but people."""

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
) -> Steps[pd.DataFrame]:
    """Read the workflow, where one is named, make every row's input, and say what they would come to."""
    omit = check_na(na)
    workflow: Workflow | None = None
    prices = Prices()
    if workflow_id is not None:
        settings = current()
        client = Client(settings)
        named = checked_id("workflow_id", workflow_id)
        workflow = yield lambda stop: until(
            stop, lookups.workflow(named, version_id=version_id, transport=client, clock=SystemClock())
        )
        prices = yield lambda stop: until(
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
    out.attrs[ATTRS] = known
    if repeats is not None:
        out.attrs[REPEATS] = repeats.count
    show(made, note=None if repeats is None else repeats.facts())
    return out


def _repeats(plan: Plan, workflow: Workflow, na: str) -> Repeats | None:
    """Return which rows the journal knows as accepted lately, so that triggering them would pay again."""
    settings = current()
    pin = Pin(workflow.workflow_id, workflow.version_id, settings.base_url, plan.spec(), na)
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
    settings = current()
    if settings.journal is None or not settings.journal.exists():
        return ()
    from ..engine.journal import archive

    try:
        return archive.costs(settings.journal, workflow_id, settings.base_url)
    except JournalError as exc:
        logger.warning("the journal cannot say what earlier executions have cost: %s", exc)
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
