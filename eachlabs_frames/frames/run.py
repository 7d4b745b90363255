"""``Run``: a call that goes on in the background, as its user sees it. It holds one call, and decides nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Generator, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

import pandas as pd

from ..engine.background import Errand
from ..engine.loop import Steps
from ..engine.tracker import Tracker
from ..errors import ConfigurationError
from ..models import SETTLED, Event, Observer, Outcome
from . import results as columns
from .audience import Audience
from .handover import Handover

if TYPE_CHECKING:
    from ..views.dashboard import Dashboard
    from ..views.messages import Head, Phase
    from .options import Options

logger = logging.getLogger("eachlabs_frames")

INTERVAL: Final = 2.0
SHORTEST: Final = 0.2


class Call(Protocol):
    """What a run carries out: a `Trigger` or a `Watch`."""

    handover: Handover
    audience: Audience | None
    pace: Callable[[], float] | None
    tracker: Tracker | None

    def steps(self) -> Steps[pd.DataFrame]:
        """Do it."""
        ...


class Run:
    """A call at work in the background; `start` makes it.

    It goes on whatever the notebook does, and a Ctrl-C that interrupts a wait for it does not end it: `cancel` does.
    When the process ends, what is still at work is stopped as by `cancel`: in a script, ask for the `result`.

    Examples
    --------
    >>> import pandas as pd, eachlabs_frames as ef
    >>> with ef.sandbox.start():
    ...     run = pd.DataFrame({"prompt": ["a fox", "a heron"]}).eachlabs.start("wf_abc123")
    ...     out = run.result()
    >>> run.done, run.status
    (True, {'completed': 2})
    """

    def __init__(
        self, call: Call, *, inputs: object = None, options: Options | None = None, interval: float = INTERVAL
    ) -> None:
        self._interval = check_interval(interval)
        self.inputs: Final = inputs
        self.options: Final = options
        self.started_at: Final = time.time()
        self.ended_at: float | None = None
        self._call = call
        self._phase: Phase = "preparing"
        self._tally = call.handover.tally()
        self._audience = call.audience = Audience()
        self._audience.add(self._note)
        self._look: Errand[None] | None = None
        call.pace = lambda: self._interval
        self._errand: Errand[pd.DataFrame] = Errand(self._steps(), name="eachlabs-run")
        self._errand.start()

    # -- what its user asks -----------------------------------------------------------------------------------------

    @property
    def frame(self) -> pd.DataFrame:
        """The result so far, as `bulk_trigger` returns it: the rows in their order, ``pending`` where not sent yet."""
        return self._call.handover.so_far()

    @property
    def status(self) -> Mapping[str, int]:
        """How many rows have each status; those that none has are left out."""
        latest = self._audience.latest
        return dict(self._tally if latest is None or self.ended_at is not None else latest.tally)

    @property
    def done(self) -> bool:
        """Whether it has ended: all is settled (with ``track=False``, sent), or it was cancelled, or it failed."""
        return self._errand.future.done()

    @property
    def name(self) -> str | None:
        """The run's name in the journal, once it is known: `load_run` takes it."""
        return self._call.handover.origin.run

    @property
    def interval(self) -> float:
        """Seconds between two looks at the executions, at least. May be changed at any time."""
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._interval = check_interval(seconds)

    def cancel(self) -> None:
        """Stop it, as an interrupt would: nothing new is sent, and the answers in flight are kept.

        Returns at once; `result` waits for the end, at most 10 s, or no longer where this is called a second time.
        Executions that the API has accepted go on there, and are paid.
        """
        self._errand.stop()

    def result(self, timeout: float | None = None) -> pd.DataFrame:
        """Wait for the end, and return the frame as `bulk_trigger` would.

        Parameters
        ----------
        timeout : float, optional
            Seconds; None: for as long as it takes.

        Returns
        -------
        pandas.DataFrame
            With every row. After `cancel`, those that were not sent are ``pending``.

        Raises
        ------
        TimeoutError
            It is still at work, and goes on.
        BridgeError
            From inside a progress callback.
        EachlabsError
            What ended it, as `bulk_trigger` would raise it.
        """
        if not self._errand.wait(timeout):
            msg = f"the run is still at work after {timeout:g} s, and goes on: {self!r}"
            raise TimeoutError(msg)
        return self._result()

    def __await__(self) -> Generator[Any, None, pd.DataFrame]:
        """Wait as `result` does, without holding up the running event loop."""
        return self._awaited().__await__()

    def dashboard(self, *, auto_refresh: bool | None = None, interval: float | None = None) -> Dashboard:
        """Show how it goes, per ``bulk_id``, as `df.eachlabs.dashboard` does; with buttons to stop and to mend it."""
        from .desk import Desk, shown

        return shown(Desk(self.frame, run=self), auto_refresh=auto_refresh, interval=interval or self.interval)

    def __repr__(self) -> str:
        from ..views.summary import sentence

        return f"<{sentence(self.head())}>"

    def _repr_html_(self) -> str:
        from ..views.summary import html
        from .desk import still

        return html(still(self.frame, self._call.handover.origin.prefix, self.head()))

    # -- what the views ask -----------------------------------------------------------------------------------------

    def head(self) -> Head:
        """Return how it stands, as a dashboard's head says it."""
        latest, origin = self._audience.latest, self._call.handover.origin
        counts = dict(self.status)
        return {
            "workflow": origin.workflow_id,
            "version": origin.version_id,
            "run": origin.run,
            "phase": self._phase,
            "total": sum(counts.values()),
            "accepted": 0 if latest is None else latest.accepted,
            "counts": counts,
            "balance_usd": None if latest is None else latest.balance_usd,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "waiting_for": None if latest is None else latest.waiting_for,
            "stale_since": None if latest is None else latest.stale_since,
            "problem": self.problem(),
        }

    def problem(self) -> str | None:
        """Return what made it fail."""
        error = self._errand.future.exception() if self.done else None
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
        self._errand.future.add_done_callback(lambda _: act())

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
        self.ended_at = time.time()

    def _is_cancelled(self, error: BaseException) -> bool:
        return self._errand.stopped and isinstance(error, KeyboardInterrupt)

    def _result(self) -> pd.DataFrame:
        error = self._errand.future.exception()
        if error is None or self._is_cancelled(error):
            return self.frame  # a new one: what becomes of it does not reach the run's own
        raise error

    async def _awaited(self) -> pd.DataFrame:
        # By a future of its own: whoever stops waiting does not stop the run.
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def tell(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(ended.set)

        self._errand.future.add_done_callback(tell)
        await ended.wait()
        return self._result()


def check_interval(seconds: object) -> float:
    """Return the seconds between two looks, no fewer than the API can be asked to bear.

    Raises
    ------
    ConfigurationError
        No positive number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < inf:
        msg = f"interval must be a positive number of seconds; got {seconds!r}"
        raise ConfigurationError(msg)
    return max(float(seconds), SHORTEST)


def _once(tracker: Tracker) -> Steps[None]:
    try:
        yield tracker.refresh
    except Exception as exc:  # noqa: BLE001 - the run itself goes on, and says what is the matter
        logger.warning("the executions could not be looked at: %s", exc)
