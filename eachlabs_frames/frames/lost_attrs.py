"""Finds the run, the workflow and the mapping of a result whose attrs were lost, by its ids in the journal.

Attrs are lost in CSV files, merges and concatenations. Nothing is guessed: rows of two workflows or servers, or rows
that the journal does not know, are an error that says how to go on. It reads the journal and never asks the API.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final

import pandas as pd

from ..errors import ColumnError, EachlabsError, JournalError
from ..journal import open_journal
from ..journal.base import RunSpec
from ..results import Results
from ..settings import current
from . import columns
from .columns import FrameState, ResultMeta

logger = logging.getLogger("eachlabs_frames")

MAX_NAMED: Final = 5
"""Runs that an error names."""


class SeveralRunsError(ColumnError):
    """The rows of a frame belong to several runs."""


def find(
    frame: pd.DataFrame, *, prefix: str | None = None, workflow_id: str | None = None, one_run: bool = False
) -> tuple[ResultMeta, Results]:
    """Return what a result was triggered with, by its attrs or else by the journal, and the rows of that result.

    Parameters
    ----------
    frame : pandas.DataFrame
    prefix : str, optional
        Which result, where the frame holds several; by default the latest, or the only one.
    workflow_id : str, optional
        As the user named it; it takes precedence over attrs and journal.
    one_run : bool
        Whether rows of several runs are an error, even if the runs are of one workflow.

    Raises
    ------
    ColumnError
        The frame holds no result, none of its rows was sent, or nobody knows with which workflow.
    """
    state = read_state(frame, prefix)
    return _meta(state, workflow_id, one_run=one_run), state.results


def read_state(frame: pd.DataFrame, prefix: str | None) -> FrameState:
    """Return what a frame holds of a result: of the one with `prefix`, of the latest, or of the only one.

    Raises
    ------
    ColumnError
        The frame holds no such result, or several and its attrs were lost.
    """
    own = prefix_of(frame, prefix)
    columns.require_result(frame, own)
    return columns.read_state(frame, own)


def _meta(state: FrameState, workflow_id: str | None, *, one_run: bool) -> ResultMeta:
    recorded = state.meta
    if recorded is not None and workflow_id in (None, recorded.workflow_id):
        # A result of several runs records none.
        return recorded if recorded.run is not None or not one_run else _with_run(state.results, recorded)
    try:
        found = _by_ids(state.results, state.prefix, one_run=one_run)
    except ColumnError:
        if workflow_id is None:
            raise
        return ResultMeta(workflow_id, prefix=state.prefix)
    return found if workflow_id in (None, found.workflow_id) else ResultMeta(str(workflow_id), prefix=state.prefix)


def _with_run(results: Results, origin: ResultMeta) -> ResultMeta:
    try:
        found = _by_ids(results, origin.prefix, one_run=True)
    except SeveralRunsError:
        raise
    except ColumnError:
        return origin  # the journal was off, or is another one
    return found if found.workflow_id == origin.workflow_id else origin


def known(frame: pd.DataFrame, prefix: str | None = None) -> ResultMeta | None:
    """Return what `find` returns; None where it raises, or where the frame holds no result."""
    origin = columns.read_meta(frame, prefix)
    if origin is not None:
        return origin
    try:
        return find(frame, prefix=prefix)[0] if columns.is_result(frame, prefix_of(frame, prefix)) else None
    except EachlabsError as exc:
        logger.info("the frame does not record how it was made: %s", exc)
        return None


def prefix_of(frame: pd.DataFrame, prefix: str | None) -> str:
    """Return the prefix of a result: of the latest, where the frame says that, else of the only one.

    Raises
    ------
    ColumnError
        The frame holds several results, its attrs were lost, and `prefix` is None.
    """
    origin = columns.read_meta(frame, prefix)
    if origin is not None:
        return origin.prefix
    if prefix is not None or columns.is_result(frame, ""):
        return prefix or ""
    found = columns.prefixes(frame)
    if len(found) > 1:
        msg = f"the frame holds several results: pass prefix=, one of {', '.join(map(repr, found))}"
        raise ColumnError(msg)
    return found[0] if found else ""


def _by_ids(results: Results, prefix: str, *, one_run: bool) -> ResultMeta:
    ids = [bulk or execution for bulk, execution in zip(results.bulk_id, results.execution_id, strict=True)]
    rows = Counter(one for one in ids if one is not None)
    if not rows:
        msg = (
            "no row of this frame has a bulk_id, so none is known to have been sent: call bulk_trigger, with the "
            "earlier run= if there was one"
        )
        raise ColumnError(msg)
    runs = _runs_of(set(rows))
    if len(runs) < len(rows):
        unknown = sum(count for one, count in rows.items() if one not in runs)
        sent = rows.total()
        msg = (
            f"the frame's attrs were lost, and the journal has {sent - unknown} of its {sent} sent rows: if all are "
            "of one workflow, pass workflow_id= to refresh, wait or dashboard"
        )
        raise ColumnError(msg)
    by_run = Counter[str]()
    pins: dict[str, RunSpec] = {}
    for one, (run, pin) in runs.items():
        by_run[run] += rows[one]
        pins[run] = pin
    _check_server(by_run, pins)
    if len(pins) > 1:
        _check_together(by_run, pins, one_run=one_run)
    versions = {pin.version_id for pin in pins.values()}
    first = next(iter(pins.values()))
    is_same = all((pin.inputs, pin.na) == (first.inputs, first.na) for pin in pins.values())
    return ResultMeta(
        first.workflow_id,
        first.version_id if len(versions) == 1 else None,
        prefix,
        inputs=first.inputs if is_same else None,
        na=first.na if is_same else "omit",
        run=next(iter(pins)) if len(pins) == 1 else None,
    )


def _runs_of(ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
    """Return the run that each of these bulk operations or executions belongs to.

    Raises
    ------
    ColumnError
        There is no journal to tell.
    """
    path = current().journal
    journal = open_journal(path)
    lost = "the frame's attrs were lost, and the journal, which records the workflow,"
    if not journal.exists():
        msg = f"{lost} {'is off' if path is None else 'is empty'}: pass workflow_id= to refresh, wait or dashboard"
        raise ColumnError(msg)
    try:
        return journal.runs_of_ids(ids)
    except JournalError as exc:
        msg = f"{lost} cannot be read ({exc}): pass workflow_id= to refresh, wait or dashboard"
        raise ColumnError(msg) from exc


def _check_server(rows: Counter[str], pins: dict[str, RunSpec]) -> None:
    here = current().base_url
    others = {pin.base_url for pin in pins.values()} - {here}
    if others:
        msg = (
            f"the frame's rows were sent to {' and '.join(sorted(others))} ({_listed(rows)}), and base_url is now "
            f"{here}: restore it with configure(base_url=...)"
        )
        raise ColumnError(msg)


def _check_together(rows: Counter[str], pins: dict[str, RunSpec], *, one_run: bool) -> None:
    workflows = {pin.workflow_id for pin in pins.values()}
    if len(workflows) > 1:
        named = " and ".join(map(repr, sorted(workflows)))
        msg = f"the frame's rows are of different workflows, {named} ({_listed(rows)}): split the frame by its runs"
        raise SeveralRunsError(msg)
    if one_run:
        msg = (
            f"the frame's rows are of {len(rows)} runs ({_listed(rows)}), and its attrs were lost: split it by run, "
            f"or load each run by itself with load_run(run)"
        )
        raise SeveralRunsError(msg)


def _listed(rows: Counter[str]) -> str:
    named = [f"{count} of run {run!r}" for run, count in rows.most_common(MAX_NAMED)]
    return ", ".join(named) + (f" and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else "")
