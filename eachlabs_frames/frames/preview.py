"""Implements `preview` and the dry run of a trigger: what rows would send, and an estimate of its cost.

Nothing here triggers an execution or writes to the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from math import ceil
from typing import Final

import numpy as np
import pandas as pd

from ..aio.bridge import Read, cancellable
from ..aio.clock import SystemClock
from ..api import reader
from ..api.client import Client
from ..api.requests import checked_id
from ..checks import check_flag
from ..errors import InputError, JournalError, RunError
from ..inputs.encoding import Problem
from ..journal import open_journal
from ..journal.base import RunSpec
from ..models import MAX_BATCH, Json, Prices, Workflow
from ..money import format_usd
from ..settings import Settings, current
from ..suggestions import listed
from . import columns
from .display import PreviewFrame
from .options import TriggerOptions, check_na
from .plan import Plan, commonest_problem, misspellings, read_inputs
from .progress_bar import somebody_looks
from .rerun_guard import RepeatedRows, RerunGuard
from .row_actions import RowActions
from .trigger import TriggerCall
from .workflows import suggesting_workflow_ids

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
    read: Read,
    *,
    workflow_id: str | None,
    version_id: str | None,
    na: str,
    prefix: str,
    full: bool = False,
) -> pd.DataFrame:
    """Read the workflow, where one is named, make every row's input, and say what they would come to."""
    omit = check_na(na)
    check_flag("full", full)
    workflow: Workflow | None = None
    prices = Prices()
    if workflow_id is not None:
        settings = current()
        client = Client(settings)
        named = checked_id("workflow_id", workflow_id)
        with suggesting_workflow_ids(named, settings):
            workflow = read(
                cancellable(
                    lambda: reader.read_workflow(named, version_id=version_id, transport=client, clock=SystemClock())
                )
            )
        prices = _prices(named, read, settings)
    fields = read_inputs(frame, inputs, workflow.input_schema if workflow else None, prefix)
    rows = np.arange(len(frame), dtype=np.int64)
    plan = Plan.of(frame, rows, fields, workflow=workflow, omit=omit, validate=True)
    out = _shown(plan)
    journaled = _journaled(frame, workflow_id) if prices.cost_usd is None else ()
    made = make_estimate(int(out["problem"].isna().sum()), prices, journaled=journaled)
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
    show_estimate(made, notes=notes)
    return PreviewFrame.of(out, full=full)


def _prices(workflow_id: str, read: Read, settings: Settings) -> Prices:
    client, clock = Client(settings), SystemClock()
    return read(
        cancellable(lambda: reader.read_prices(workflow_id, transport=client, clock=clock, dialect=settings.dialect))
    )


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
        known = columns.read_meta(frame)
        if known is None:
            return ()
        workflow_id = known.workflow_id
    return journaled_costs(workflow_id)


def journaled_costs(workflow_id: str) -> Sequence[float]:
    """Return what executions of the workflow have cost by the journal."""
    settings = current()
    try:
        return open_journal(settings.journal).costs(workflow_id, settings.base_url)
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


# -- dry runs ----------------------------------------------------------------------------------------------------------


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


def dry_run(frame: pd.DataFrame, workflow_id: str, inputs: object, options: TriggerOptions, read: Read) -> DryRun:
    """Do everything that `bulk_trigger` does before it sends, and say what it would send.

    Raises
    ------
    UsageError, APIError
        As `bulk_trigger` does before it sends.
    """
    call = TriggerCall(frame, workflow_id, inputs, options)
    prices = _prices(workflow_id, read, call.settings)
    refused: str | None = None
    actions = RowActions()
    with closing(call):
        try:
            actions = call.rehearse(read)
        except (InputError, RunError) as exc:
            if call.plan is None:
                raise
            refused = str(exc)
    plan = call.plan
    problems = _problems(plan) if refused is not None and plan is not None else actions.refused
    made = {} if plan is None else _inputs(plan, set(actions.send))
    considered = len(made) + len(problems)
    if refused is not None and plan is not None:
        considered = len(plan.positions)
    journaled = journaled_costs(workflow_id) if prices.cost_usd is None else ()
    return DryRun(
        call.result.meta.version_id,
        made,
        problems,
        len(frame) - considered,
        refused,
        make_estimate(len(made), prices, journaled=journaled),
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


# -- estimates ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Estimate:
    """What triggering a preview's rows would come to; money in USD, None where nobody knows.

    Attributes
    ----------
    cost_from : str or None
        Whose knowledge the cost is, where it is not the API's.
    """

    rows: int
    requests: int
    cost_usd: float | None
    balance_usd: float | None
    cost_from: str | None = None


def make_estimate(rows: int, prices: Prices, *, journaled: Sequence[float] = ()) -> Estimate:
    """Return what `rows` rows that can be sent come to.

    Parameters
    ----------
    rows : int
    prices : Prices
        What the API says of money.
    journaled : sequence of float
        What executions have cost by the journal, in USD: it counts where the API says nothing.
    """
    each, cost_from = prices.cost_usd, None
    if each is None and journaled:
        each = sum(journaled) / len(journaled)
        cost_from = f"the mean of {_counted(len(journaled), 'execution')} in the journal"
    cost = None if each is None else rows * each
    return Estimate(rows, ceil(rows / MAX_BATCH), cost, prices.balance_usd, cost_from)


def estimate_sentence(made: Estimate) -> str:
    """Return an estimate as a sentence."""
    cost = "cost not known yet" if made.cost_usd is None else f"about {format_usd(made.cost_usd)}"
    if made.cost_from is not None:
        cost += f" (by {made.cost_from})"
    said = f"{_counted(made.rows, 'row')} can be sent, in {_counted(made.requests, 'request')}: {cost}"
    return said if made.balance_usd is None else f"{said}; the balance is {format_usd(made.balance_usd)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def show_estimate(made: Estimate, *, notes: Sequence[str] = ()) -> None:
    """Print an estimate where somebody may be looking, with each note on a line of its own."""
    if somebody_looks():
        print(estimate_sentence(made))
        for note in notes:
            print(note)
