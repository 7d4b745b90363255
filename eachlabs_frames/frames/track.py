"""Implements `refresh`, `wait`, `summary` and `attach`: they poll the API, write what it says, and never trigger."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from math import isnan, nan
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pandas as pd

from ..aio.bridge import Read, ReadCall, cancellable, run
from ..aio.clock import SystemClock
from ..api import reader
from ..api.client import Client
from ..api.requests import checked_id
from ..api.responses import read_outcome as read_entry
from ..engine.events import EventEmitter, joined
from ..engine.tracker import Tracker
from ..errors import ConfigurationError, UnsettledWarning
from ..inputs.mapping import Label
from ..journal import open_journal
from ..journal.file_references import FileReferences
from ..journal.updates import JournalUpdater
from ..models import PENDING, ApiConnection, Observer
from ..results import Results, per_bulk, status_columns
from ..settings import Settings, current
from ..stacklevel import warn
from . import columns, lost_attrs
from . import progress_bar as bars
from .columns import ResultMeta
from .display import CountsFrame
from .options import check_receiver
from .result_frame import FrameCall, ResultFrame

if TYPE_CHECKING:
    from ..webhooks.receiver import WebhookReceiver

logger = logging.getLogger("eachlabs_frames")


def refresh(frame: pd.DataFrame, read: Read, *, workflow_id: str | None, prefix: str | None) -> pd.DataFrame:
    """Poll the open rows once."""
    meta, results = lost_attrs.find(frame, prefix=prefix, workflow_id=workflow_id)
    settings = current()
    journal = open_journal(settings.journal, max_wait=settings.max_wait)
    with closing(JournalUpdater(journal, meta.run, results)) as updates:
        tracker = _make_tracker(meta, results, EventEmitter(None, results, total=results.size), updates)
        read(tracker.poll_once)
    return _written(frame, results, meta)


class WaitCall(FrameCall):
    """One call that polls a result until all of it is settled.

    Parameters
    ----------
    frame : pandas.DataFrame
    workflow_id, prefix : str or None
        As the user wrote them.
    timeout : float or None
        Seconds after which it ends, whatever is open.
    once : bool
        Whether it polls once and ends.
    webhook : WebhookReceiver or None
        Receives the ends of executions.
    progress : bool, callable or None

    Raises
    ------
    ConfigurationError
        `timeout`, `webhook` or `progress` cannot be used.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        workflow_id: str | None = None,
        prefix: str | None = None,
        timeout: float | None = None,
        once: bool = False,
        webhook: WebhookReceiver | None = None,
        progress: bool | Observer | None = False,
    ) -> None:
        is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
        if timeout is not None and not (is_number and timeout >= 0):
            msg = f"timeout must be a number of seconds, 0 or more, or None for no limit; got {timeout!r}"
            raise ConfigurationError(msg)
        bars.check(progress)
        self._meta, self._results = lost_attrs.find(frame, prefix=prefix, workflow_id=workflow_id)
        super().__init__(ResultFrame(frame, self._results, self._meta, inplace=False), current())
        self._webhook = webhook
        if webhook is not None:
            check_receiver(webhook).target(self.settings)
        self._timeout = timeout
        self._once = once
        self._progress = progress
        self._open = 0

    def prepare(self, _read: Read, /) -> None:
        """Open the run in the journal, and the progress bar."""
        results = self._results
        total = results.size - results.tally().get(PENDING, 0)
        journal = open_journal(self.settings.journal, max_wait=self.settings.max_wait)
        updates = JournalUpdater(journal, self._meta.run, results)
        self._resources.callback(updates.close)
        bar = self._display.enter_context(bars.observing(self._progress, total=total, what="eachlabs"))
        self._events = EventEmitter(joined(self.observers, bar), results, total=total, until_settled=True)
        self.tracker = _make_tracker(
            self._meta, results, self._events, updates, settings=self.settings, receiver=self._webhook
        )

    async def work(self, stop: asyncio.Event) -> None:
        """Poll until all rows are settled."""
        tracker = self.tracker
        assert tracker is not None
        with self._events.stopping(stop):
            try:
                self._events.started()
                self._events.tracking()
                if self._once:
                    await tracker.poll_once(stop)
                else:
                    self._open = await tracker.wait(stop, timeout=self._timeout, pace=self.pace)
                self._events.finished()
            finally:
                tracker.close()

    def conclude(self, result: pd.DataFrame) -> pd.DataFrame:
        """Warn if the time was over before all rows were settled."""
        if self._open:
            accepted = self.result.accepted()
            msg = f"{self._open} of {accepted} rows are still open after {self._timeout:g} s: call wait() again"
            warn(msg, UnsettledWarning, result)
        return result


def summary(frame: pd.DataFrame, *, prefix: str | None) -> pd.DataFrame:
    """Count the rows of each bulk operation per status, and sum up what was paid."""
    state = lost_attrs.read_state(frame, prefix)
    origin, results = state.meta, state.results
    lines = per_bulk(results.bulk_id, results.status)
    costs: dict[str | None, list[float]] = {}
    counted: set[str] = set()
    for bulk_id, execution_id, cost in zip(results.bulk_id, results.execution_id, results.cost, strict=True):
        is_shared = execution_id in counted  # rows with equal inputs may be one execution (`SAME_INPUT_ONCE`)
        costs.setdefault(bulk_id, []).append(nan if is_shared else cost)
        if execution_id is not None:
            counted.add(execution_id)
    rows: list[dict[str, Any]] = [
        {"bulk_id": bulk_id, "total": line.total(), **line, "superseded": 0, "cost": _sum_known(costs[bulk_id])}
        for bulk_id, line in lines.items()
    ]
    if origin is not None and origin.superseded:
        rows.append({"bulk_id": None, "superseded": origin.superseded, "cost": origin.superseded_cost})
    out: pd.DataFrame = pd.DataFrame({"bulk_id": pd.array([row["bulk_id"] for row in rows], dtype="string")})
    for name in ("total", *status_columns(lines), "superseded"):
        out[name] = pd.array([row.get(name, 0) for row in rows], dtype="int64")
    out["cost"] = pd.array([row["cost"] for row in rows], dtype="float64")
    shown: pd.DataFrame = CountsFrame(out)
    return shown


def _sum_known(costs: Sequence[float]) -> float:
    """Return the sum of the costs that are known; NaN where none is."""
    known = [cost for cost in costs if not isnan(cost)]
    return sum(known) if known else nan


def attach(bulk_id: str, workflow_id: str, *, prefix: str = "") -> pd.DataFrame:
    """Return a frame with the executions of a bulk operation that was triggered elsewhere.

    Parameters
    ----------
    bulk_id : str
        UUID of the bulk operation.
    workflow_id : str
        The workflow that the executions belong to.
    prefix : str, default ""
        Prefix of the result's column names, required if an input has the name of one of them.

    Returns
    -------
    pandas.DataFrame
        One row per execution, oldest first: a column for each key of the inputs, if the API returns them, followed by
        the result columns as in `bulk_trigger`. The frame works with `refresh` and `wait`.

    Raises
    ------
    ConfigurationError
        There is no API key, `bulk_id` is not a UUID, or `workflow_id` is not a valid id.
    ColumnError
        An input has the name of a result column.
    NotFoundError
        The workflow has no executions with this ``bulk_id``.
    APIError
        The API refused a request or did not respond.
    """
    return run(lambda: ReadCall(partial(_attach, bulk_id, workflow_id, prefix)), kind=current().bridge)


def _attach(bulk_id: str, workflow_id: str, prefix: str, read: Read) -> pd.DataFrame:
    settings = current()
    settings.key()
    checked_id("workflow_id", workflow_id)
    try:
        bulk_id = str(UUID(bulk_id))
    except (ValueError, AttributeError, TypeError) as exc:
        msg = f"bulk_id must be a UUID, as bulk_trigger writes it into the frame; got {bulk_id!r}"
        raise ConfigurationError(msg) from exc
    client = Client(settings)
    entries = read(cancellable(lambda: reader.read_bulk(workflow_id, bulk_id, transport=client, clock=SystemClock())))
    inputs = [entry.get("inputs") or {} for entry in entries]
    keys: dict[Label, None] = dict.fromkeys(key for row in inputs for key in row)
    frame = pd.DataFrame({key: [row.get(key) for row in inputs] for key in keys}, index=range(len(entries)))
    columns.check_columns(frame, prefix)
    results = Results(len(entries))
    for position, entry in enumerate(entries):
        results.replace(read_entry(position, {"bulk_id": bulk_id, **entry}))
    meta = ResultMeta(workflow_id, entries[0].get("version_id"), prefix)
    tracker = _make_tracker(meta, results, EventEmitter(None, results, total=results.size))
    read(tracker.poll_once)
    return _written(frame, results, meta)


def _make_tracker(
    meta: ResultMeta,
    results: Results,
    events: EventEmitter,
    updates: JournalUpdater | None = None,
    *,
    settings: Settings | None = None,
    receiver: WebhookReceiver | None = None,
) -> Tracker:
    settings = settings or current()
    workflow_id = checked_id("workflow_id", meta.workflow_id)
    return Tracker(
        workflow_id,
        results,
        ApiConnection(
            Client(settings),
            SystemClock(),
            settings.dialect,
            settings.max_concurrency,
            FileReferences(open_journal(settings.journal)),
        ),
        events=events,
        receiver=receiver,
        rows=updates,
    )


def _written(frame: pd.DataFrame, results: Results, meta: ResultMeta) -> pd.DataFrame:
    out = columns.write(columns.snapshot(frame), results, meta.prefix)
    columns.write_meta(out, meta)
    return out
