"""What `preview` does, as steps: each row's input and problem. It never triggers anything."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..core.inputs import Problem
from ..core.wire import checked_id
from ..engine import lookups
from ..engine.client import Client
from ..engine.clock import SystemClock
from ..engine.loop import Steps
from ..engine.pool import until
from ..models import Json, Workflow
from ..settings import current
from .plan import Plan, check_na, read_inputs


def preview(
    frame: pd.DataFrame,
    inputs: object,
    *,
    workflow_id: str | None,
    version_id: str | None,
    na: str,
    prefix: str,
) -> Steps[pd.DataFrame]:
    """Read the workflow, where one is named, and make every row's input."""
    omit = check_na(na)
    workflow: Workflow | None = None
    if workflow_id is not None:
        client = Client(current())
        named = checked_id("workflow_id", workflow_id)
        workflow = yield lambda stop: until(
            stop, lookups.workflow(named, version_id=version_id, transport=client, clock=SystemClock())
        )
    fields = read_inputs(frame, inputs, workflow.input_schema if workflow else None, prefix)
    rows = np.arange(len(frame), dtype=np.int64)
    return _shown(Plan.of(frame, rows, fields, workflow=workflow, omit=omit, validate=True))


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
