"""Implements `refresh`, `wait`, `summary` and `attach`: they poll the API, write what it says, and never trigger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from math import isnan, nan
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pandas as pd

from ..aio.bridge import Job, Steps, call, complete
from ..aio.clock import SystemClock
from ..aio.tasks import cancel_on
from ..api import reader
from ..api.client import Client
from ..api.requests import checked_id
from ..api.responses import read_outcome as read_entry
from ..engine.events import EventEmitter, ObserverList, joined
from ..engine.tracker import Tracker
from ..errors import ConfigurationError, UnsettledWarning
from ..inputs.mapping import Label
from ..journal import open_journal
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
from .result_frame import ResultFrame

if TYPE_CHECKING:
    from ..webhooks.receiver import WebhookReceiver

logger = logging.getLogger("eachlabs_frames")


def refresh(frame: pd.DataFrame, *, workflow_id: str | None, prefix: str | None) -> Steps[pd.DataFrame]:
    """Look once."""
    origin, results = lost_attrs.find(frame, prefix=prefix, workflow_id=workflow_id)
    with closing(JournalUpdater(open_journal(current().journal), origin.run, results)) as notes:
        tracker = _tracker(origin, results, EventEmitter(None, results, total=results.size), notes)
        yield tracker.poll_once
    return _written(frame, results, origin)


def wait(
    frame: pd.DataFrame,
    *,
    timeout: float | None,
    workflow_id: str | None,
    prefix: str | None,
    webhook: WebhookReceiver | None,
    progress: bool | Observer | None,
) -> Steps[pd.DataFrame]:
    """Look until all is settled."""
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0):
        msg = f"timeout must be a number of seconds, 0 or more, or None for no limit; got {timeout!r}"
        raise ConfigurationError(msg)
    bars.check(progress)
    watch = WaitCall(frame, workflow_id=workflow_id, prefix=prefix, timeout=timeout, webhook=webhook, progress=progress)
    out = yield from watch.steps()
    if watch.left:
        msg = f"{watch.left} of {watch.accepted} rows are still open after {timeout:g} s: call wait() again"
        warn(msg, UnsettledWarning, out)
    return out


class WaitCall:
    """One call that looks at a result until all of it is settled.

    Parameters
    ----------
    frame : pandas.DataFrame
    workflow_id, prefix : str or None
        As the user wrote them.
    timeout : float or None
        Seconds after which it ends, whatever is open.
    once : bool
        Whether one look is all.
    webhook : WebhookReceiver or None
        Where the ends of executions are delivered to.
    progress : bool, callable or None

    Attributes
    ----------
    handover : ResultFrame
        The frame, from before the first request on.
    audience : ObserverList or None
        Called with each event, besides ``progress=``.
    pace : callable or None
        Returns the seconds between two polls.
    tracker : Tracker or None
        What looks, while it does.
    left, accepted : int
        Rows that were open in the end, and rows that have an execution.
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
        self._origin, self._results = lost_attrs.find(frame, prefix=prefix, workflow_id=workflow_id)
        self._settings = current()
        self._webhook = webhook
        if webhook is not None:
            check_receiver(webhook).target(self._settings)
        self._timeout = timeout
        self._once = once
        self._progress = progress
        self.handover = ResultFrame(frame, self._results, self._origin, inplace=False)
        self.audience: ObserverList | None = None
        self.pace: Callable[[], float] | None = None
        self.tracker: Tracker | None = None
        self.left = 0
        self.accepted = self._results.accepted

    @property
    def settings(self) -> Settings:
        """What this call was made with."""
        return self._settings

    def steps(self) -> Steps[pd.DataFrame]:
        """Look, and write what was seen."""
        results = self._results
        total = results.size - results.tally().get(PENDING, 0)
        with (
            closing(JournalUpdater(open_journal(self._settings.journal), self._origin.run, results)) as notes,
            self.handover.kept(),
            bars.observing(self._progress, total=total, what="eachlabs") as shown,
        ):
            reporter = EventEmitter(joined(self.audience, shown), results, total=total, until_settled=True)
            tracker = self.tracker = _tracker(
                self._origin, results, reporter, notes, settings=self._settings, receiver=self._webhook
            )
            if self.audience is not None:
                self.handover.before_writing = tracker.close
            reporter.started()
            reporter.tracking()
            looks: Job[int] = lambda stop: tracker.wait(stop, timeout=self._timeout, pace=self.pace)  # noqa: E731 - one line
            self.left = yield from reporter.stoppable(tracker.poll_once if self._once else looks)
            reporter.finished()
        return self.handover.written()


def summary(frame: pd.DataFrame, *, prefix: str | None) -> pd.DataFrame:
    """Count the rows of each bulk operation per status, and sum up what was paid."""
    state = lost_attrs.read_state(frame, prefix)
    origin, results = state.meta, state.results
    lines = per_bulk(results.bulk_id, results.status)
    costs: dict[str | None, list[float]] = {}
    for bulk_id, cost in zip(results.bulk_id, results.cost, strict=True):
        costs.setdefault(bulk_id, []).append(cost)
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
    return complete(_attach(bulk_id, workflow_id, prefix), call=partial(call, kind=current().bridge))


def _attach(bulk_id: str, workflow_id: str, prefix: str) -> Steps[pd.DataFrame]:
    settings = current()
    settings.key()
    checked_id("workflow_id", workflow_id)
    try:
        known = str(UUID(bulk_id))
    except (ValueError, AttributeError, TypeError) as exc:
        msg = f"bulk_id must be a UUID, as bulk_trigger writes it into the frame; got {bulk_id!r}"
        raise ConfigurationError(msg) from exc
    client = Client(settings)
    found = yield lambda stop: cancel_on(
        stop, reader.read_bulk(workflow_id, known, transport=client, clock=SystemClock())
    )
    inputs = [entry.get("inputs") or {} for entry in found]
    keys: dict[Label, None] = dict.fromkeys(key for one in inputs for key in one)
    frame = pd.DataFrame({key: [one.get(key) for one in inputs] for key in keys}, index=range(len(found)))
    columns.check_columns(frame, prefix)
    results = Results(len(found))
    for position, entry in enumerate(found):
        results.replace(read_entry(position, {"bulk_id": known, **entry}))
    origin = ResultMeta(workflow_id, found[0].get("version_id"), prefix)
    tracker = _tracker(origin, results, EventEmitter(None, results, total=results.size))
    yield tracker.poll_once
    return _written(frame, results, origin)


def _tracker(
    origin: ResultMeta,
    results: Results,
    reporter: EventEmitter,
    notes: JournalUpdater | None = None,
    *,
    settings: Settings | None = None,
    receiver: WebhookReceiver | None = None,
) -> Tracker:
    settings = settings or current()
    workflow_id = checked_id("workflow_id", origin.workflow_id)
    return Tracker(
        workflow_id,
        results,
        ApiConnection(Client(settings), SystemClock(), settings.dialect, settings.max_concurrency),
        events=reporter,
        receiver=receiver,
        rows=notes,
    )


def _written(frame: pd.DataFrame, results: Results, origin: ResultMeta) -> pd.DataFrame:
    out = columns.write(columns.snapshot(frame), results, origin.prefix)
    columns.write_meta(out, origin)
    return out
