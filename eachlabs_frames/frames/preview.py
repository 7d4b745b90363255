"""Implements `preview` and the dry run of a trigger: what rows would send, and an estimate of its cost.

Nothing here triggers an execution or writes to the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import compress
from typing import Final

import numpy as np
import pandas as pd

from ..aio.bridge import Read
from ..api.client import Client
from ..api.requests import checked_id
from ..checks import check_flag
from ..errors import InputError, RunError
from ..inputs.encoding import Problem, Row, encode_all
from ..inputs.file_values import has_files
from ..journal.base import RunSpec
from ..models import Json, Workflow
from ..settings import current
from ..suggestions import listed
from ..uploads.local_files import LocalFiles
from . import columns, source_file
from .costs.cost_sources import CostSources, journaled, read_sources
from .costs.estimate import Estimate, make_estimate, show_estimate
from .display import PreviewFrame
from .file_preview import FileCounts, FilePreview
from .options import TriggerOptions, check_na
from .plan import Plan, misspellings, read_inputs
from .rerun_guard import RepeatedRows, RerunGuard
from .row_actions import RowActions
from .trigger import TriggerCall
from .workflows import read_workflow

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
    settings = current()
    if workflow_id is not None:
        client = Client(settings)
        named = checked_id("workflow_id", workflow_id)
        workflow = read_workflow(named, version_id, read, settings, client=client)
        sources = read_sources(workflow, read, settings, client=client)
    else:
        sources = _sources_of(frame)
    fields = read_inputs(frame, inputs, workflow.input_schema if workflow else None, prefix)
    rows = np.arange(len(frame), dtype=np.int64)
    files = LocalFiles(None if workflow is None else settings)
    plan = Plan.of(frame, rows, fields, workflow=workflow, omit=omit, validate=True, files=files)
    with files:
        out, with_files = _shown(plan)
        repeats = None if workflow is None else _repeats(plan, workflow, na)
    sendable = out["problem"].isna().to_numpy()
    payloads = compress(out["payload"].tolist(), sendable.tolist())
    prices = sources.price(payloads, int(sendable.sum()))
    made = make_estimate(prices, sources, max_concurrency=settings.max_concurrency)
    counts = _name_files(out, FilePreview(files, settings)) if with_files else FileCounts()
    notes = [*_notes(plan, workflow, prefix), *_problem_notes(plan.frame, out)]
    notes = [counts.sentence(), *notes] if counts.files else notes
    out.attrs[ATTRS] = made.facts() | counts.facts()
    if notes:
        out.attrs[NOTES] = notes
    if repeats is not None:
        out.attrs[REPEATS] = repeats.count
        notes = [repeats.facts(), *notes]
    show_estimate(made, notes=notes)
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
    return [f"{rows}: {source_file.commonest_problem(dict(zip(places, problems.tolist(), strict=True)), frame)}"]


def _repeats(plan: Plan, workflow: Workflow, na: str) -> RepeatedRows | None:
    """Return which rows the journal knows as accepted lately, so that triggering them would pay again."""
    settings = current()
    pin = RunSpec(workflow.workflow_id, workflow.version_id, settings.base_url, plan.pinned_spec(), na)
    guard = RerunGuard(settings, pin)
    try:
        return guard.find(plan.fingerprints()) if guard else None
    except InputError:
        return None  # the problems are listed; none of these rows would be sent


def _sources_of(frame: pd.DataFrame) -> CostSources:
    """Return what the journal knows of the version that a frame's own executions are of: nothing is requested."""
    meta = columns.read_meta(frame)
    return CostSources() if meta is None else CostSources(None, journaled(meta.workflow_id, meta.version_id, current()))


def _shown(plan: Plan) -> tuple[pd.DataFrame, bool]:
    """Return the payloads and problems, and whether any row has a file."""
    with_files = False
    payloads: list[Json] = [None] * len(plan.frame)
    reasons: list[str | None] = [None] * len(plan.frame)
    for positions, rows in plan.source.rows():
        for position, row in zip(positions, rows, strict=True):
            payloads[position] = None if isinstance(row, Problem) else row
        with_files = with_files or any(isinstance(made, bytes) and has_files(made) for made in encode_all(rows))
    for position, problem, _ in plan.source.check(plan.check):
        reasons[position] = str(problem)
    out: pd.DataFrame = pd.DataFrame(index=plan.frame.index)
    out["payload"] = pd.Series(payloads, dtype=object).to_numpy()
    out["problem"] = pd.array(reasons, dtype="string")
    return out, with_files


def _name_files(out: pd.DataFrame, named: FilePreview) -> FileCounts:
    """Write the names of files into the payloads; return the files of the rows that can be sent."""
    rows = zip(out["payload"].tolist(), out["problem"].isna().tolist(), strict=True)
    shown = [row if row is None else named.with_names(row, is_sent=can_be_sent) for row, can_be_sent in rows]
    out["payload"] = pd.Series(shown, dtype=object).to_numpy()
    return named.counts()


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
    files : FileCounts
        Of the inputs.
    """

    version_id: str | None
    inputs: Mapping[int, Row]
    problems: Mapping[int, str]
    left_alone: int
    refused: str | None
    estimate: Estimate
    files: FileCounts


def dry_run(frame: pd.DataFrame, workflow_id: str, inputs: object, options: TriggerOptions, read: Read) -> DryRun:
    """Do everything that `bulk_trigger` does before it sends, and say what it would send.

    Raises
    ------
    UsageError, APIError
        As `bulk_trigger` does before it sends.
    """
    call = TriggerCall(frame, workflow_id, inputs, options)
    refused: str | None = None
    actions = RowActions()
    with closing(call):
        try:
            actions = call.rehearse(read)
        except (InputError, RunError) as exc:
            if call.plan is None:
                raise
            refused = str(exc)
        sources = call.cost_sources(read)
        plan = call.plan
        problems = _problems(plan) if refused is not None and plan is not None else actions.refused
        made = {} if plan is None else _inputs(plan, set(actions.send))
    price = sources.price(made.values(), len(made))
    counts = FileCounts()
    if plan is not None and plan.digests:
        named = FilePreview(plan.files, call.settings)
        made = {position: named.with_names(row) for position, row in made.items()}
        counts = named.counts()
    considered = len(made) + len(problems)
    if refused is not None and plan is not None:
        considered = len(plan.positions)
    return DryRun(
        call.result.meta.version_id,
        made,
        problems,
        len(frame) - considered,
        refused,
        make_estimate(price, sources, max_concurrency=call.settings.max_concurrency),
        counts,
    )


def _problems(plan: Plan) -> dict[int, str]:
    return {position: str(problem) for position, problem, _ in plan.source.check(plan.check)}


def _inputs(plan: Plan, wanted: set[int]) -> dict[int, Row]:
    return {
        position: row
        for positions, rows in plan.source.rows()
        for position, row in zip(positions, rows, strict=True)
        if position in wanted and not isinstance(row, Problem)
    }
