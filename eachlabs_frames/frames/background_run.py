"""Runs a call in the background and gives its status, observers and frame so far. It never changes the call itself."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from ..aio import background
from ..aio.bridge import BridgeTask, run_all
from ..checks import check_positive
from ..engine.events import ObserverList
from ..engine.tracker import Tracker
from ..models import SETTLED, Event, Observer, Outcome
from .result_frame import FrameCall
from .table import Frame

if TYPE_CHECKING:
    from ..settings import Settings
    from .columns import ResultMeta
    from .options import TriggerOptions
    from .run_status import Phase, RunStatus

logger = logging.getLogger("eachlabs_frames")

INTERVAL: Final = 2.0
MIN_INTERVAL: Final = 0.2


class BackgroundRun:
    """One call in the background, started when this is made.

    Parameters
    ----------
    call : FrameCall
    inputs : None, list, dict or callable
        As its user wrote them: for another call of the same kind.
    options : TriggerOptions or None
        Those of a call that triggers.
    interval : float
        See `interval`.
    """

    def __init__(
        self,
        call: FrameCall,
        *,
        inputs: object = None,
        options: TriggerOptions | None = None,
        interval: float = INTERVAL,
    ) -> None:
        self._interval = check_interval(interval)
        self.inputs: Final = inputs
        self.options: Final = options
        self._started_at: Final = time.time()
        self._ended_at: float | None = None
        self._call = call
        self._phase: Phase = "preparing"
        self._observers = call.observers = ObserverList()
        self._observers.add(self._note)
        self._poll: BridgeTask[None] | None = None
        call.pace = lambda: self._interval
        self._task: Final = BridgeTask(partial(run_all, lambda: call), on_end=self._end)
        background.start(self._task)

    @property
    def frame(self) -> Frame:
        """The result so far: a frame of the caller's own."""
        return self._call.result.so_far()

    @property
    def prefix(self) -> str:
        """What stands before the result's column names."""
        return self._call.result.meta.prefix

    @property
    def meta(self) -> ResultMeta:
        """What its frame's attrs will say, as far as that is known."""
        return self._call.result.meta

    @property
    def written_meta(self) -> ResultMeta:
        """What its frame's attrs say now, with the executions that it has superseded."""
        return self._call.result.written_meta()

    @property
    def source(self) -> Frame:
        """The frame that the call was given: not to be written."""
        return self._call.result.source

    @property
    def settings(self) -> Settings:
        """What the call was made with, whatever was configured since."""
        return self._call.settings

    @property
    def name(self) -> str | None:
        """The run's name in the journal, once it is known."""
        return self._call.result.meta.run

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._task.done

    def stop(self) -> None:
        """Send nothing new, and keep the responses in flight; the second call ends at once."""
        self._task.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; return whether it has. An interrupt raises and leaves it running."""
        return background.wait(self._task, timeout)

    async def wait_async(self) -> None:
        """Wait until it has ended, without blocking the running loop."""
        await self._task.wait_async()

    def exception(self) -> BaseException | None:
        """Return what has ended it, if that is an exception; it has ended."""
        return self._task.future.exception()

    @property
    def status(self) -> Mapping[str, int]:
        """How many rows have each status."""
        latest = self._observers.latest
        return dict(self._call.result.tally() if latest is None or self._ended_at is not None else latest.tally)

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
        return self.done and self._is_cancelled(self.exception())

    def head(self) -> RunStatus:
        """Return how it stands, as a dashboard's head says it."""
        latest, origin = self._observers.latest, self._call.result.written_meta()
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
            "accepted": self._call.result.accepted() if latest is None else latest.accepted,
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
        error = self.exception() if self.done else None
        return None if error is None or self._is_cancelled(error) else f"{type(error).__name__}: {error}"

    def add_observer(self, observer: Observer, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Tell `observer` of each event from now on, and return how each row stands now; do `meanwhile` just then."""

        def joined() -> None:
            self._observers.add(observer)
            meanwhile()

        return self._call.result.outcomes(joined)

    def remove_observer(self, observer: Observer) -> None:
        """Pass no more events to `observer`."""
        self._observers.remove(observer)

    def when_done(self, action: Callable[[], None]) -> None:
        """Call `action` when it has ended, on a thread of its own: it may start another call."""

        def act(_: object) -> None:
            with suppress(RuntimeError):  # the interpreter ends, and no thread can be started
                threading.Thread(target=action, name="eachlabs-frames-work", daemon=True).start()

        self._task.future.add_done_callback(act)

    def poll(self) -> None:
        """Poll the executions now, beside what is going on."""
        tracker, before = self._call.tracker, self._poll
        if tracker is not None and not self.done and (before is None or before.done):
            self._poll = BridgeTask(partial(_poll_once, tracker)).start()

    @property
    def has_result(self) -> bool:
        """Whether its frame holds what became of its rows; not where it failed before it could send or look."""
        return self._call.result.is_written

    # -- inside -----------------------------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        if event.kind == "started":
            self._phase = "sending"
        elif event.kind == "tracking":
            self._phase = "tracking"

    def _end(self, error: BaseException | None) -> None:
        """Note how the call has ended, before anybody hears that it has."""
        result = self._call.result
        if error is not None:
            self._call.interrupted(error)  # an observer that blocks the loop keeps the call from writing the frame
        result.end()
        if self._is_cancelled(error):
            self._phase = "cancelled"
            if error is not None and not isinstance(error, asyncio.CancelledError):
                logger.warning("a call that was stopped had failed: %s: %s", type(error).__name__, error)
        elif error is None:
            self._phase = "settled" if SETTLED.union(["pending"]).issuperset(result.tally()) else "idle"
        else:
            self._phase = "failed"
            logger.error("the run in the background failed: %s: %s", type(error).__name__, error)
        self._ended_at = time.time()

    def _is_cancelled(self, error: BaseException | None) -> bool:
        return self._task.stopped and (error is not None or self._call.result.is_cut_short)


def check_interval(seconds: object) -> float:
    """Return the seconds between two looks, no fewer than the API can be asked to bear.

    Raises
    ------
    ConfigurationError
        No positive number.
    """
    return max(check_positive("interval", seconds), MIN_INTERVAL)


async def _poll_once(tracker: Tracker, stop: asyncio.Event) -> None:
    try:
        await tracker.poll_once(stop, is_last=False)
    except Exception as exc:  # noqa: BLE001 - the run itself goes on, and reports what is wrong
        logger.warning("the executions could not be polled: %s", exc)
