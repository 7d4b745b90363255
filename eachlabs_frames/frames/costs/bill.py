"""Implements `bill`: what a result's executions have cost, by status and by model. It only reads.

The sum of the costs is what was paid, as far as it is known; an execution whose cost is not known is counted apart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from math import fsum, isnan
from typing import Any, Final, NamedTuple

import pandas as pd

from ...aio.bridge import Read
from ...api.responses import read_steps
from ...checks import check_flag
from ...errors import JournalError, RunError
from ...journal import open_journal
from ...journal.base import RunContents
from ...models import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING, UNKNOWN, Observer
from ...results import Results
from ...settings import current
from .. import lost_attrs
from .. import progress_bar as bars
from ..columns import ResultMeta
from ..output_rows import Details, details_of_rows

logger = logging.getLogger("eachlabs_frames")

ATTRS: Final = "eachlabs_bill"
SUPERSEDED: Final = "superseded"
ORDER: Final = (COMPLETED, FAILED, CANCELLED, RUNNING, QUEUED, UNKNOWN, SUPERSEDED)
ROUNDING: Final = 1e-9


class _Item(NamedTuple):
    """An execution, or a model's part of it; a cost of None is not known."""

    status: str
    cost: float | None
    model: str | None = None
    executions: int = 1


def bill(
    frame: pd.DataFrame, read: Read, *, steps: bool, prefix: str | None, progress: bool | Observer | None
) -> pd.DataFrame:
    """Return the bill of a result: of its whole run if the journal has it, else of the frame's rows."""
    bars.check(progress)
    check_flag("steps", steps)
    state = lost_attrs.read_state(frame, prefix)
    run, results, superseded = _from_journal(state.meta, state.results)
    details = details_of_rows(results, progress, read) if steps else {}
    items = [*_items(results, details), *superseded]
    out = _table(items, steps=bool(steps))
    out.attrs[ATTRS] = {"run": run, "from": "the frame" if run is None else "the journal"}
    return out


def _from_journal(meta: ResultMeta | None, results: Results) -> tuple[str | None, Results, list[_Item]]:
    """Return the run's name, its results and what it has superseded by the journal, with costs that the frame knows.

    Where the journal does not have the run: None, and what the frame holds.
    """
    own = (None, results, [] if meta is None else _superseded(meta))
    settings = current()
    if meta is None or meta.run is None or settings.journal is None:
        return own
    try:
        run = open_journal(settings.journal).load(meta.run)
    except (RunError, JournalError) as exc:
        logger.warning("the bill is of the frame's rows alone, because the run cannot be read: %s", exc)
        return own
    recorded = run.state.results
    known = {execution_id: row for row, execution_id in enumerate(results.execution_id) if execution_id is not None}
    for row, execution_id in enumerate(recorded.execution_id):
        if execution_id is not None and isnan(recorded.cost[row]) and execution_id in known:
            recorded.merge(results.outcome(known[execution_id])._replace(position=row))
    return run.name, recorded, _superseded(run)


def _superseded(of: ResultMeta | RunContents) -> list[_Item]:
    known = _Item(SUPERSEDED, of.superseded_cost, executions=of.superseded - of.superseded_unknown)
    unknown = _Item(SUPERSEDED, None, executions=of.superseded_unknown)
    return [item for item in (known, unknown) if item.executions]


def _items(results: Results, details: Mapping[str, Details]) -> Iterator[_Item]:
    for status, execution_id, cost in zip(results.status, results.execution_id, results.cost, strict=True):
        if execution_id is None and status != UNKNOWN:
            continue  # nothing was created
        known = None if isnan(cost) else cost
        of = details.get(execution_id) if execution_id is not None else None
        if known is None or not isinstance(of, Mapping):
            yield _Item(status, known)
        else:
            yield from _parts(status, known, of)


def _parts(status: str, cost: float, details: Mapping[str, Any]) -> Iterator[_Item]:
    """Yield the part of each model, as far as the details state the costs of steps, and the rest."""
    parts: dict[str, float] = {}
    for step in read_steps(details):
        if step.model is not None and step.cost is not None:
            parts[step.model] = parts.get(step.model, 0.0) + step.cost
    rest = cost - fsum(parts.values())
    if rest < -ROUNDING:  # these are not the costs of which `cost` is the sum
        parts, rest = {}, cost
    for model, usd in parts.items():
        yield _Item(status, usd, model)
    if not parts or rest > ROUNDING:
        yield _Item(status, rest)


def _table(items: list[_Item], *, steps: bool) -> pd.DataFrame:
    lines: dict[tuple[str, str | None], list[_Item]] = {}
    for item in items:
        lines.setdefault((item.status, item.model), []).append(item)
    rank = {status: place for place, status in enumerate(ORDER)}
    keys = sorted(lines, key=lambda key: (rank.get(key[0], rank[UNKNOWN]), key[0], key[1] is None, key[1] or ""))
    costs = [fsum(item.cost for item in lines[key] if item.cost is not None) for key in keys]
    total = fsum(costs)
    columns: dict[str, Any] = {"status": pd.array([status for status, _ in keys], dtype="string")}
    if steps:
        columns["model"] = pd.array([model for _, model in keys], dtype="string")
    columns["executions"] = pd.array([sum(item.executions for item in lines[key]) for key in keys], dtype="int64")
    columns["cost"] = pd.array(costs, dtype="float64")
    columns["share"] = pd.array([usd / total if total else float("nan") for usd in costs], dtype="float64")
    unknown = [sum(item.executions for item in lines[key] if item.cost is None) for key in keys]
    columns["unknown"] = pd.array(unknown, dtype="int64")
    out: pd.DataFrame = pd.DataFrame(columns)
    return out
