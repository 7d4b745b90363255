"""Finds the run, the workflow and the mapping of a result whose attrs were lost, by its ids in the journal.

Attrs are lost in CSV files, merges and concatenations. Nothing is guessed: rows of two workflows or servers, or rows
that are not in the journal, are an error that says what to do. It reads the journal and never calls the API.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final

from ..errors import ColumnError, EachlabsError, JournalError
from ..journal import open_journal
from ..journal.base import RunSpec
from ..results import Results
from ..settings import current
from . import columns
from .columns import FrameState, ResultMeta
from .table import Frame

logger = logging.getLogger("eachlabs_frames")

MAX_NAMED: Final = 5
"""Runs that an error message names, at most."""


class SeveralRunsError(ColumnError):
    """The rows of a frame belong to several runs."""


def find(
    frame: Frame, *, prefix: str | None = None, workflow_id: str | None = None, one_run: bool = False
) -> tuple[ResultMeta, Results]:
    """Return what a result was triggered with, from its attrs or else from the journal, and its rows.

    Parameters
    ----------
    frame : pandas.DataFrame
    prefix : str, optional
        Which result, if the frame has several; by default the latest, or the only one.
    workflow_id : str, optional
        As the user passed it; it takes precedence over attrs and journal.
    one_run : bool
        Whether rows of several runs are an error, even if the runs are of one workflow.

    Raises
    ------
    ColumnError
        The frame has no result, none of its rows was sent, or their workflow is not known.
    """
    state = read_state(frame, prefix)
    return _meta(state, workflow_id, one_run=one_run), state.results


def read_state(frame: Frame, prefix: str | None) -> FrameState:
    """Return what a frame has of a result: the one with `prefix`, the latest, or the only one.

    Raises
    ------
    ColumnError
        The frame has no such result, or has several and its attrs were lost.
    """
    prefix = prefix_of(frame, prefix)
    columns.require_result(frame, prefix)
    return columns.read_state(frame, prefix)


def _meta(state: FrameState, workflow_id: str | None, *, one_run: bool) -> ResultMeta:
    recorded = state.meta
    if recorded is not None and workflow_id in (None, recorded.workflow_id):
        # The attrs of a result of several runs have no run.
        return recorded if recorded.run is not None or not one_run else _with_run(state.results, recorded)
    try:
        meta = _by_ids(state.results, state.prefix, one_run=one_run)
    except ColumnError:
        if workflow_id is None:
            raise
        return ResultMeta(workflow_id, prefix=state.prefix)
    return meta if workflow_id in (None, meta.workflow_id) else ResultMeta(str(workflow_id), prefix=state.prefix)


def _with_run(results: Results, meta: ResultMeta) -> ResultMeta:
    try:
        by_ids = _by_ids(results, meta.prefix, one_run=True)
    except SeveralRunsError:
        raise
    except ColumnError:
        return meta  # the journal was off, or another one is configured now
    return by_ids if by_ids.workflow_id == meta.workflow_id else meta


def find_meta(frame: Frame, prefix: str | None = None) -> ResultMeta | None:
    """Return what `find` returns first; None if it raises, or if the frame has no result."""
    meta = columns.read_meta(frame, prefix)
    if meta is not None:
        return meta
    try:
        return find(frame, prefix=prefix)[0] if columns.is_result(frame, prefix_of(frame, prefix)) else None
    except EachlabsError as exc:
        logger.info("the frame does not record how it was made: %s", exc)
        return None


def prefix_of(frame: Frame, prefix: str | None) -> str:
    """Return the prefix of a result: of the latest, if attrs record it, else of the only one.

    Raises
    ------
    ColumnError
        The frame has several results, its attrs were lost, and `prefix` is None.
    """
    meta = columns.read_meta(frame, prefix)
    if meta is not None:
        return meta.prefix
    if prefix is not None or columns.is_result(frame, ""):
        return prefix or ""
    prefixes = columns.prefixes(frame)
    if len(prefixes) > 1:
        msg = f"the frame holds several results: pass prefix=, one of {', '.join(map(repr, prefixes))}"
        raise ColumnError(msg)
    return prefixes[0] if prefixes else ""


def _by_ids(results: Results, prefix: str, *, one_run: bool) -> ResultMeta:
    ids = [bulk or execution for bulk, execution in zip(results.bulk_id, results.execution_id, strict=True)]
    rows = Counter(id_ for id_ in ids if id_ is not None)
    if not rows:
        msg = (
            "no row of this frame has a bulk_id, so none is known to have been sent: call bulk_trigger, with the "
            "earlier run= if there was one"
        )
        raise ColumnError(msg)
    runs = _runs_of(set(rows))
    if len(runs) < len(rows):
        unknown = sum(count for id_, count in rows.items() if id_ not in runs)
        sent = rows.total()
        msg = (
            f"the frame's attrs were lost, and the journal has {sent - unknown} of its {sent} sent rows: if all are "
            "of one workflow, pass workflow_id= to refresh, wait or dashboard"
        )
        raise ColumnError(msg)
    by_run = Counter[str]()
    specs: dict[str, RunSpec] = {}
    for id_, (run, spec) in runs.items():
        by_run[run] += rows[id_]
        specs[run] = spec
    _check_server(by_run, specs)
    if len(specs) > 1:
        _check_one_workflow(by_run, specs, one_run=one_run)
    versions = {spec.version_id for spec in specs.values()}
    first = next(iter(specs.values()))
    is_same = all((spec.inputs, spec.na) == (first.inputs, first.na) for spec in specs.values())
    return ResultMeta(
        first.workflow_id,
        first.version_id if len(versions) == 1 else None,
        prefix,
        inputs=first.inputs if is_same else None,
        na=first.na if is_same else "omit",
        run=next(iter(specs)) if len(specs) == 1 else None,
    )


def _runs_of(ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
    """Return the run that each of these bulk operations or executions belongs to.

    Raises
    ------
    ColumnError
        There is no journal, or it cannot be read.
    """
    path = current().journal
    journal = open_journal(path)
    problem = "the frame's attrs were lost, and the journal, which records the workflow,"
    if not journal.exists():
        msg = f"{problem} {'is off' if path is None else 'is empty'}: pass workflow_id= to refresh, wait or dashboard"
        raise ColumnError(msg)
    try:
        return journal.runs_of_ids(ids)
    except JournalError as exc:
        msg = f"{problem} cannot be read ({exc}): pass workflow_id= to refresh, wait or dashboard"
        raise ColumnError(msg) from exc


def _check_server(rows: Counter[str], specs: dict[str, RunSpec]) -> None:
    base_url = current().base_url
    others = {spec.base_url for spec in specs.values()} - {base_url}
    if others:
        msg = (
            f"the frame's rows were sent to {' and '.join(sorted(others))} ({_listed(rows)}), and base_url is now "
            f"{base_url}: restore it with configure(base_url=...)"
        )
        raise ColumnError(msg)


def _check_one_workflow(rows: Counter[str], specs: dict[str, RunSpec], *, one_run: bool) -> None:
    workflows = {spec.workflow_id for spec in specs.values()}
    if len(workflows) > 1:
        names = " and ".join(map(repr, sorted(workflows)))
        msg = f"the frame's rows are of different workflows, {names} ({_listed(rows)}): split the frame by its runs"
        raise SeveralRunsError(msg)
    if one_run:
        msg = (
            f"the frame's rows are of {len(rows)} runs ({_listed(rows)}), and its attrs were lost: split it by run, "
            f"or load each run by itself with load_run(run)"
        )
        raise SeveralRunsError(msg)


def _listed(rows: Counter[str]) -> str:
    runs = [f"{count} of run {run!r}" for run, count in rows.most_common(MAX_NAMED)]
    return ", ".join(runs) + (f" and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else "")
