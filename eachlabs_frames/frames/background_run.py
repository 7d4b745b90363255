"""Runs a call in the background and gives its status, observers and frame so far. It never changes the call itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import pandas as pd

from ..aio.background import Errand
from ..aio.bridge import Steps
from ..checks import check_positive
from ..engine.events import ObserverList
from ..engine.tracker import Tracker
from ..models import SETTLED, Event, Observer, Outcome
from . import columns
from .result_frame import ResultFrame

if TYPE_CHECKING:
    from ..settings import Settings
    from .columns import ResultMeta
    from .options import TriggerOptions
    from .run_status import Phase, RunStatus

logger = logging.getLogger("eachlabs_frames")

INTERVAL: Final = 2.0
MIN_INTERVAL: Final = 0.2


class Call(Protocol):
    """What a run carries out: a `TriggerCall` or a `WaitCall`."""

    handover: ResultFrame
    audience: ObserverList | None
    pace: Callable[[], float] | None
    tracker: Tracker | None

    @property
    def settings(self) -> Settings:
        """What it was made with."""
        ...

    def steps(self) -> Steps[pd.DataFrame]:
        """Do it."""
        ...


class BackgroundRun:
    """One call, begun when this is made.

    Parameters
    ----------
    call : Call
    inputs : None, list, dict or callable
        As its user wrote them: for another call of the same kind.
    options : TriggerOptions or None
        Those of a call that triggers.
    interval : float
        See `interval`.

    Attributes
    ----------
    errand : Errand
        What waits, stops and ends.
    """

    def __init__(
        self, call: Call, *, inputs: object = None, options: TriggerOptions | None = None, interval: float = INTERVAL
    ) -> None:
        self._interval = check_interval(interval)
        self.inputs: Final = inputs
        self.options: Final = options
        self._started_at: Final = time.time()
        self._ended_at: float | None = None
        self._call = call
        self._phase: Phase = "preparing"
        self._tally = call.handover.tally()
        self._accepted: Final = call.handover.accepted()
        self._audience = call.audience = ObserverList()
        self._audience.add(self._note)
        self._look: Errand[None] | None = None
        call.pace = lambda: self._interval
        self.errand: Errand[pd.DataFrame] = Errand(self._steps(), name="eachlabs-run")
        self.errand.start()

    @property
    def frame(self) -> pd.DataFrame:
        """The result so far: a frame of the caller's own."""
        return self._call.handover.so_far()

    @property
    def prefix(self) -> str:
        """What stands before the result's column names."""
        return self._call.handover.origin.prefix

    @property
    def origin(self) -> ResultMeta:
        """What its frame's attrs will say, as far as that is known."""
        return self._call.handover.origin

    @property
    def described(self) -> ResultMeta:
        """What its frame's attrs say now, with the executions that it has superseded."""
        return self._call.handover.described()

    @property
    def source(self) -> pd.DataFrame:
        """The frame that the call was given: not to be written."""
        return self._call.handover.source

    @property
    def settings(self) -> Settings:
        """What the call was made with, whatever was configured since."""
        return self._call.settings

    @property
    def name(self) -> str | None:
        """The run's name in the journal, once it is known."""
        return self._call.handover.origin.run

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.errand.future.done()

    @property
    def status(self) -> Mapping[str, int]:
        """How many rows have each status."""
        latest = self._audience.latest
        return dict(self._tally if latest is None or self._ended_at is not None else latest.tally)

    @property
    def interval(self) -> float:
        """Seconds between two looks at the executions, at least."""
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._interval = check_interval(seconds)

    @property
    def is_cancelled(self) -> bool:
        """Whether it has ended because it was told to."""
        return self.done and self._is_cancelled(self.errand.future.exception())

    def head(self) -> RunStatus:
        """Return how it stands, as a dashboard's head says it."""
        latest, origin = self._audience.latest, self._call.handover.described()
        counts = dict(self.status)
        waiting_for = None if latest is None else latest.waiting_for
        # Why it has sent no more is no wait any longer, once it has ended; of a cancelled one it is known.
        stopped_by = waiting_for if self.done and not self.is_cancelled else None
        return {
            "workflow": origin.workflow_id,
            "version": origin.version_id,
            "run": origin.run,
            "phase": self._phase,
            "total": sum(counts.values()),
            "accepted": self._accepted if latest is None else latest.accepted,
            "counts": counts,
            "superseded": origin.superseded,
            "superseded_cost_usd": origin.superseded_cost,
            "balance_usd": None if latest is None else latest.balance_usd,
            "started_at": self._started_at,
            "ended_at": self._ended_at,
            "waiting_for": None if self.done else waiting_for,
            "stale_since": None if latest is None else latest.stale_since,
            "problem": self.problem() or stopped_by,
        }

    def problem(self) -> str | None:
        """Return what made it fail."""
        error = self.errand.future.exception() if self.done else None
        return None if error is None or self._is_cancelled(error) else f"{type(error).__name__}: {error}"

    def join(self, observer: Observer, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Tell `observer` of each event from now on, and return how each row stands now; do `meanwhile` just then."""

        def joined() -> None:
            self._audience.add(observer)
            meanwhile()

        return self._call.handover.outcomes(joined)

    def leave(self, observer: Observer) -> None:
        """Tell it nothing more."""
        self._audience.remove(observer)

    def when_done(self, act: Callable[[], None]) -> None:
        """Call `act` when it has ended, from its own thread, or at once."""
        self.errand.future.add_done_callback(lambda _: act())

    def look(self) -> None:
        """Look at the executions now, beside what is going on."""
        tracker, before = self._call.tracker, self._look
        if tracker is not None and not self.done and (before is None or before.future.done()):
            self._look = Errand(_once(tracker), name="eachlabs-look").start()

    @property
    def has_result(self) -> bool:
        """Whether its frame holds what became of its rows; not where it failed before it could send or look."""
        return self._call.handover.is_written

    # -- inside -----------------------------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        if event.kind == "started":
            self._phase = "sending"
        elif event.kind == "tracking":
            self._phase = "tracking"

    def _steps(self) -> Steps[pd.DataFrame]:
        """Do the call, and take down how it ended before anybody hears that it has."""
        try:
            out = yield from self._call.steps()
        except BaseException as exc:
            self._end(exc)
            raise
        self._end(None)
        return out

    def _end(self, error: BaseException | None) -> None:
        self._call.handover.end()
        self._tally = columns.tally(self.frame, self._call.handover.origin.prefix)
        if error is None:
            self._phase = "settled" if SETTLED.union(["pending"]).issuperset(self._tally) else "idle"
        elif self._is_cancelled(error):
            self._phase = "cancelled"
        else:
            self._phase = "failed"
            logger.error("the run in the background failed: %s: %s", type(error).__name__, error)
        self._ended_at = time.time()

    def _is_cancelled(self, error: BaseException | None) -> bool:
        return self.errand.stopped and isinstance(error, KeyboardInterrupt)


def check_interval(seconds: object) -> float:
    """Return the seconds between two looks, no fewer than the API can be asked to bear.

    Raises
    ------
    ConfigurationError
        No positive number.
    """
    return max(check_positive("interval", seconds), MIN_INTERVAL)


def _once(tracker: Tracker) -> Steps[None]:
    try:
        yield lambda stop: tracker.poll_once(stop, is_last=False)
    except Exception as exc:  # noqa: BLE001 - the run itself goes on, and says what is the matter
        logger.warning("the executions could not be polled: %s", exc)
