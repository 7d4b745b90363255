"""What a call that triggers would send, and what it would cost, as steps. It sends and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ..aio.bridge import Steps
from ..aio.clock import SystemClock
from ..aio.tasks import cancel_on
from ..api import prices as money
from ..api.client import Client
from ..errors import InputError, RunError
from ..inputs.encoding import Problem
from ..models import Json, Prices
from .estimate import Estimate, estimate
from .options import TriggerOptions
from .plan import Plan
from .preview import journaled_costs
from .row_actions import RowActions
from .trigger import TriggerCall


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a call would do.

    Attributes
    ----------
    version_id : str or None
        The version that would run; None where no row would be looked at.
    inputs : mapping of int to Json
        The input of each row that would be sent, by position.
    problems : mapping of int to str
        Rows that would not be sent, and why.
    left_alone : int
        Rows that have an execution already, or whose answer was lost.
    refused : str or None
        Why nothing at all would be sent: a row has a value or a key that cannot be sent, or an earlier run has sent
        all of them.
    estimate : Estimate
    """

    version_id: str | None
    inputs: Mapping[int, Json]
    problems: Mapping[int, str]
    left_alone: int
    refused: str | None
    estimate: Estimate


def dry_run(frame: pd.DataFrame, workflow_id: str, inputs: object, options: TriggerOptions) -> Steps[DryRun]:
    """Do everything that `bulk_trigger` does before it sends, and say what it would send.

    Raises
    ------
    UsageError, APIError
        As `bulk_trigger` does before it sends.
    """
    call = TriggerCall(frame, workflow_id, inputs, options)
    settings = call.settings
    prices: Prices = yield lambda stop: cancel_on(
        stop, money.prices(workflow_id, transport=Client(settings), clock=SystemClock(), dialect=settings.dialect)
    )
    refused: str | None = None
    todo = RowActions()
    try:
        todo = yield from call.rehearsal()
    except (InputError, RunError) as exc:
        if call.plan is None:
            raise
        refused = str(exc)
    plan = call.plan
    problems = _problems(plan) if refused is not None and plan is not None else todo.refused
    made = {} if plan is None else _inputs(plan, set(todo.send))
    considered = len(made) + len(problems)
    if refused is not None and plan is not None:
        considered = len(plan.positions)
    journaled = journaled_costs(workflow_id) if prices.cost_usd is None else ()
    return DryRun(
        call.handover.origin.version_id,
        made,
        problems,
        len(frame) - considered,
        refused,
        estimate(len(made), prices, journaled=journaled),
    )


def _problems(plan: Plan) -> dict[int, str]:
    return {position: str(problem) for position, problem, _ in plan.source.check(plan.check)}


def _inputs(plan: Plan, wanted: set[int]) -> dict[int, Json]:
    return {
        position: row
        for positions, rows in plan.source.rows()
        for position, row in zip(positions, rows, strict=True)
        if position in wanted and not isinstance(row, Problem)
    }
