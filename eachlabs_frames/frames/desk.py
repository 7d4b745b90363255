"""What a dashboard is about: one frame, the call that is at work on it, and what its buttons do with both.

One call at a time: a user's run, a look, or a retry. The frame that was given is never written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final

import pandas as pd

from ..errors import ConfigurationError, EachlabsError
from ..models import Event, Observer, Outcome
from ..views.board import Board
from ..views.progress import in_kernel
from . import again, track
from . import results as columns
from .options import Options
from .results import Origin
from .run import INTERVAL, Call, Run

if TYPE_CHECKING:
    from ..views.dashboard import Dashboard
    from ..views.messages import Head, Snapshot

SHORTEST: Final = 0.2


class Desk:
    """A frame and the call at work on it.

    Parameters
    ----------
    frame : pandas.DataFrame
        A result, or a frame of which nothing was triggered yet.
    workflow_id, prefix : str or None
        As for `refresh`.
    run : Run, optional
        The call that `frame` comes from.

    Attributes
    ----------
    labels : list of str
        Each row's label in the index, as text.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        workflow_id: str | None = None,
        prefix: str | None = None,
        run: Run | None = None,
    ) -> None:
        known = columns.origin(frame, prefix)
        self._origin = known or Origin(workflow_id or "", prefix=prefix or "")
        self._workflow_id = workflow_id
        self.labels: Final = _labels(frame)
        self._lock = threading.RLock()
        self._frame = columns.snapshot(frame)
        self._at_work = run
        self._paid = run  # the latest call that triggered
        self._looks_only = False
        self._follows = False
        self._interval = INTERVAL
        self._problem: str | None = None
        self._then: Callable[[], None] | None = None
        self._hear: Observer = _deaf
        self._turned: Callable[[], None] = _nothing
        if run is not None:
            run.when_done(lambda: self._end(run))

    # -- what is shown ----------------------------------------------------------------------------------------------

    @property
    def frame(self) -> pd.DataFrame:
        """The result as it is now, as a frame of the caller's own."""
        run = self._working()
        return columns.snapshot(self._frame) if run is None else run.frame

    def attend(self, hear: Observer, turned: Callable[[], None]) -> None:
        """Have `hear` told of each event, and `turned` of each call's begin and end; from other threads."""
        self._hear, self._turned = hear, turned

    def outcomes(self, meanwhile: Callable[[], None] = lambda: None) -> list[Outcome]:
        """Return how each row stands, and do `meanwhile` at that moment; what happens later is heard."""
        run = self._working()
        if run is not None:
            return run.join(self._hear, meanwhile)
        meanwhile()
        results = columns.read(self._frame, self._origin.prefix)
        return [results.outcome(row) for row in range(results.size)]

    def head(self) -> Head:
        """Return what is to be said beside the rows' own counts."""
        run, paid = self._working(), self._paid
        said: Head = {"workflow": self._origin.workflow_id, "version": self._origin.version_id}
        said |= {"run": self._origin.run, "phase": "settled"}
        if paid is not None:
            said |= paid.head()
        if run is not None and run is not paid:
            now = run.head()
            said |= {"phase": now["phase"], "waiting_for": now["waiting_for"], "stale_since": now["stale_since"]}
        said["problem"] = self._problem or said.get("problem")
        if run is not None:
            said["ended_at"] = None
        elif said["phase"] in ("settled", "idle", "sending", "tracking"):
            said["phase"] = "idle" if self._open() else "settled"
        return said

    @property
    def can_cancel(self) -> bool:
        """Whether a call is at work that triggers."""
        return self._working() is not None and not self._looks_only

    @property
    def can_retry(self) -> bool:
        """Whether failed rows could be triggered again now."""
        return not self.can_cancel

    # -- what its buttons do ----------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the executions now."""
        with self._lock:
            self._problem = None
            run = self._working()
            if run is not None:
                run.look()
            else:
                self._begin(lambda: self._watch(once=True), looks_only=True)

    def follow(self, on: bool) -> None:
        """Look again and again until all have ended, where no call does; or do so no longer."""
        with self._lock:
            self._follows = on
            run = self._working()
            if on:
                self._go_on()
            elif run is not None and self._looks_only:
                run.cancel()

    def pace(self, interval: float) -> None:
        """Have at least so many seconds between two looks.

        Raises
        ------
        ConfigurationError
            No positive number.
        """
        if isinstance(interval, bool) or not isinstance(interval, int | float) or not 0 < interval < inf:
            msg = f"interval must be a positive number of seconds; got {interval!r}"
            raise ConfigurationError(msg)
        self._interval = max(float(interval), SHORTEST)
        run = self._working()
        if run is not None:
            run.interval = self._interval

    def cancel(self) -> None:
        """Stop the call that triggers."""
        run = self._working()
        if run is not None and not self._looks_only:
            run.cancel()

    def retry(self) -> None:
        """Trigger the failed rows again: each is paid once more."""
        with self._lock:
            run = self._working()
            if run is None:
                self._begin(self._again)
            elif self._looks_only:
                self._then = lambda: self._begin(self._again)
                run.cancel()

    def csv(self) -> bytes:
        """Return the frame as a CSV file."""
        text: str = self.frame.to_csv()
        return text.encode("utf-8", "replace")

    def close(self) -> None:
        """Look no more, and tell nobody anything. A user's run goes on."""
        self.follow(False)
        run = self._at_work
        if run is not None:
            run.leave(self._hear)
        self._hear, self._turned = _deaf, _nothing

    # -- inside -----------------------------------------------------------------------------------------------------

    def _working(self) -> Run | None:
        run = self._at_work
        return None if run is None or run.done else run

    def _open(self) -> bool:
        results = columns.read(self._frame, self._origin.prefix)
        return next(results.open_rows(), None) is not None

    def _watch(self, *, once: bool) -> tuple[Call, object, Options | None]:
        watch = track.Watch(self._frame, workflow_id=self._workflow_id, prefix=self._origin.prefix, once=once)
        return watch, None, None

    def _again(self) -> tuple[Call, object, Options | None]:
        paid = self._paid
        before = Options() if paid is None or paid.options is None else paid.options
        options = Options(
            webhook_url=before.webhook_url,
            webhook_secret=before.webhook_secret,
            max_concurrency=before.max_concurrency,
            max_cost=before.max_cost,
            wait=True,
            progress=False,
        )
        # A frame remembers how its inputs were made, but for a function.
        inputs = None if paid is None or not callable(paid.inputs) else paid.inputs
        return again.retry_failed(self._frame, inputs, options), inputs, options

    def _begin(self, make: Callable[[], tuple[Call, object, Options | None]], *, looks_only: bool = False) -> None:
        with self._lock:
            self._problem = None
            try:
                call, inputs, options = make()
            except EachlabsError as exc:
                self._problem = str(exc)
            else:
                run = self._at_work = Run(call, inputs=inputs, options=options, interval=self._interval)
                self._looks_only = looks_only
                if not looks_only:
                    self._paid = run
                run.when_done(lambda: self._end(run))
        self._turned()

    def _end(self, run: Run) -> None:
        with self._lock:
            if run is not self._at_work:
                return
            self._frame = columns.snapshot(run.frame)
            self._origin = columns.origin(self._frame, self._origin.prefix) or self._origin
            if self._looks_only:
                self._problem = run.problem()
            then, self._then = self._then, None
        self._turned()
        if then is not None:
            then()
        elif run.problem() is None:
            self._go_on()

    def _go_on(self) -> None:
        with self._lock:
            if self._follows and self._working() is None and self._open():
                self._begin(lambda: self._watch(once=False), looks_only=True)


def still(frame: pd.DataFrame, prefix: str, head: Head) -> Snapshot:
    """Return what there is to show of a frame, as it is."""
    results = columns.read(frame, prefix)
    board = Board(_labels(frame))
    board.take([results.outcome(row) for row in range(results.size)], now=None)
    return board.snapshot(head, time.time())


def shown(desk: Desk, *, auto_refresh: bool | None, interval: float) -> Dashboard:
    """Return a dashboard of a desk."""
    from ..views.dashboard import Dashboard  # takes 0.2 s to import, and is only for those who look

    desk.pace(interval)
    return Dashboard(desk, interval=interval, auto_refresh=in_kernel() if auto_refresh is None else auto_refresh)


def _labels(frame: pd.DataFrame) -> list[str]:
    if frame.index.nlevels == 1:
        return [str(label) for label in frame.index]
    return [", ".join(map(str, label)) for label in frame.index]


def _deaf(event: Event) -> None:
    pass


def _nothing() -> None:
    pass
