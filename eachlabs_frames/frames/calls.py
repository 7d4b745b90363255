"""Runs the calls on one result, one at a time (a run, a refresh, a retry), and holds the frame that they produce.

A `Run`, its dashboards and its galleries share one, so each of them shows what another has started. The frame that was
given is never written. Observers are called on other threads and may do anything there, so nothing waits under the
lock.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol, TypeAlias

import pandas as pd

from ..aio import background
from ..aio.interrupts import ended
from ..errors import ConfigurationError, EachlabsError
from ..models import Event, Outcome
from ..results import Results
from ..settings import Settings, current
from . import columns, lost_attrs, retry, sent_inputs, track
from .background_run import INTERVAL, BackgroundRun, Call, check_interval
from .columns import ResultMeta
from .options import TriggerOptions

if TYPE_CHECKING:
    from .run_status import RunStatus

Make: TypeAlias = Callable[[], tuple[Call, object, "TriggerOptions | None"]]


class ResultView(Protocol):
    """A dashboard or a gallery of the result."""

    def hear(self, event: Event) -> None:
        """Take in what a call has changed."""
        ...

    def turned(self) -> None:
        """Note that a call has begun or ended."""
        ...


class Calls:
    """A result, and the call that is at work on it.

    Parameters
    ----------
    source : pandas.DataFrame or BackgroundRun
        A result, a frame of which nothing was triggered yet, or the call that triggers its rows.
    workflow_id, prefix : str or None
        As for `refresh`.
    """

    def __init__(
        self, source: pd.DataFrame | BackgroundRun, *, workflow_id: str | None = None, prefix: str | None = None
    ) -> None:
        course = source if isinstance(source, BackgroundRun) else None
        if isinstance(source, BackgroundRun):
            self._frame, self._origin = source.source, source.origin
        else:
            # Checked here, because a widget that is half made cannot be taken down.
            own = lost_attrs.prefix_of(source, prefix)
            columns.check_no_duplicates(source, own)
            self._origin = lost_attrs.known(source, own) or ResultMeta(workflow_id or "", prefix=own)
            self._frame = columns.snapshot(source)
        self._workflow_id = workflow_id
        self._where = _where(current() if course is None else course.settings)
        self._lock = threading.RLock()
        self._at_work = course
        self._last: BackgroundRun | None = (
            None  # the call that the result comes from; None: it is the frame that was given
        )
        self._first = self._paid = course  # the first and the latest call that triggered
        self._looks_only = False
        self._interval = INTERVAL if course is None else course.interval
        self._open: bool | None = None  # whether executions are open, once that was read from the frame
        self._problem: str | None = None
        self._next: Make | None = None
        self._views: tuple[ResultView, ...] = ()
        self._followers: tuple[ResultView, ...] = ()
        if course is not None:
            self._await(course)

    # -- how it stands ----------------------------------------------------------------------------------------------

    @property
    def source(self) -> pd.DataFrame:
        """The frame that was given: the user's own columns, in the rows' order. Not to be written."""
        return self._frame

    @property
    def origin(self) -> ResultMeta:
        """What the result's attrs say, as far as that is known."""
        course = self._paid if self._at_work is self._paid else None
        return self._origin if course is None else course.origin

    @property
    def frame(self) -> pd.DataFrame:
        """The result as it is now, a frame of the caller's own."""
        course = self._latest
        return columns.snapshot(self._frame) if course is None else course.frame

    @property
    def status(self) -> dict[str, int]:
        """How many rows have each status."""
        course = self._latest
        return columns.tally(self._frame, self._origin.prefix) if course is None else dict(course.status)

    @property
    def interval(self) -> float:
        """Seconds between two looks, at least."""
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._interval = check_interval(seconds)
        course = self._at_work
        if course is not None:
            course.interval = self._interval

    @property
    def can_cancel(self) -> bool:
        """Whether a call that triggers is at work, or was asked for."""
        return self._triggering() is not None

    def outcomes(self, view: ResultView, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Return how each row stands, and do `meanwhile` at that moment; `view` hears what happens later."""
        course = self._at_work
        if course is not None:
            return course.join(view.hear, meanwhile)
        meanwhile()
        frame = self.frame
        results = columns.read(frame, self._origin.prefix)
        sent_inputs.mark(frame, results, self._origin.prefix, self._origin)
        return _outcomes(results)

    def head(self) -> RunStatus:
        """Return what a dashboard's head shows beside the counts of the rows."""
        course, paid = self._at_work, self._paid
        head: RunStatus = {"workflow": self._origin.workflow_id, "version": self._origin.version_id}
        head |= {"run": self._origin.run, "phase": "settled"}
        head |= {"superseded": self._origin.superseded, "superseded_cost_usd": self._origin.superseded_cost}
        if paid is not None:
            head |= paid.head()
        if course is not None and course is not paid:
            now = course.head()
            head |= {"phase": now["phase"], "waiting_for": now["waiting_for"], "stale_since": now["stale_since"]}
        head["problem"] = self._problem or head.get("problem")
        if course is not None:
            head["ended_at"] = None
        elif head["phase"] not in ("cancelled", "failed"):
            head["phase"] = "idle" if self._is_open() else "settled"
        return head

    def summary(self) -> RunStatus:
        """Return the head with the counts of the rows."""
        head, course = self.head(), self._latest
        if course is not None:
            now = course.head()
            head |= {"total": now["total"], "accepted": now["accepted"], "counts": now["counts"]}
        return head

    # -- waiting for it ---------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether no call that triggers is at work, or was asked for."""
        self._take_over()
        return self._triggering() is None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no call that triggers is at work; return whether that is so.

        Raises
        ------
        BridgeError
            From inside a progress callback.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (course := self._triggering()) is not None:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            if not course.errand.wait(left):
                return False
            self._take_over()
        return True

    async def ended(self) -> None:
        """Wait as `wait` does, without holding up the running event loop."""
        while (course := self._triggering()) is not None:
            await ended(course.errand.future)
            self._take_over()

    def result(self) -> pd.DataFrame:
        """Return the frame, or raise what ended the latest call that triggered.

        A retry that failed before it could send leaves the rows as they were, so the frame is returned then: the head
        names the error.
        """
        paid = self._paid
        assert paid is not None, "only a run has a result"
        error = paid.errand.future.exception()
        if error is None or paid.is_cancelled or (paid is not self._first and not paid.has_result):
            return self.frame  # a new one: what becomes of it does not reach the run's own
        raise error

    # -- what is done with it ---------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the executions now."""
        self._take_over()
        course = self._at_work
        if course is None:
            self._begin(lambda: self._watch(once=True), looks_only=True)
        else:
            course.look()

    def follow(self, view: ResultView, on: bool) -> None:
        """Look again and again until all have ended, as long as any view asks for it and no other call does it."""
        self._take_over()
        with self._lock:
            self._followers = (*_without(self._followers, view), *([view] if on else []))
            course, looks_only = self._at_work, self._looks_only
            is_followed = bool(self._followers)
        if is_followed:
            self._go_on()
        elif course is not None and looks_only:
            course.errand.stop()

    def cancel(self) -> None:
        """Stop the call that triggers, and begin none that was asked for; at the second call, stop it at once."""
        with self._lock:
            self._next = None
            course = None if self._looks_only else self._at_work
        if course is not None:
            course.errand.stop()

    def retry(self, rows: Collection[int]) -> None:
        """Trigger those of `rows` (positions) again that have failed: each is paid once more; no other row is."""
        self._take_over()
        asked = frozenset(rows)
        with self._lock:
            course = self._at_work
            if course is not None and not self._looks_only:
                return  # it was asked for before
            if course is not None:
                self._next = lambda: self._again(asked)
        if course is None:
            self._begin(lambda: self._again(asked))
        else:
            course.errand.stop()

    def attend(self, view: ResultView) -> None:
        """Tell `view` of each call's begin and end."""
        with self._lock:
            self._views = (*_without(self._views, view), view)

    def leave(self, view: ResultView) -> None:
        """Tell `view` nothing more, and look no longer for it."""
        with self._lock:
            self._views = _without(self._views, view)
        self.follow(view, False)
        course = self._at_work
        if course is not None:
            course.leave(view.hear)

    # -- inside -----------------------------------------------------------------------------------------------------

    @property
    def _latest(self) -> BackgroundRun | None:
        """The call that shows the result as it is now; None where that is the frame that was given."""
        return self._at_work or self._last

    def _triggering(self) -> BackgroundRun | None:
        """Return the call to wait for: one that triggers, or a look that ends so that a retry can begin."""
        with self._lock:
            return self._at_work if not self._looks_only or self._next is not None else None

    def _is_open(self) -> bool:
        """Say whether executions are open, where no call is at work."""
        if self._open is None:
            results = columns.read(self.frame, self._origin.prefix)
            self._open = next(results.open_rows(), None) is not None
        return self._open

    def _watch(self, *, once: bool) -> tuple[Call, object, TriggerOptions | None]:
        self._check_where(self._where[:1])
        paid = None if self._paid is None else self._paid.options
        webhook = None if paid is None else paid.webhook
        watch = track.WaitCall(
            self.frame,
            workflow_id=self._workflow_id,
            prefix=self._origin.prefix,
            once=once,
            # Where it has stopped meanwhile, asking is all there is.
            webhook=webhook if webhook is not None and webhook.listening else None,
        )
        return watch, None, None

    def _again(self, rows: Collection[int]) -> tuple[Call, object, TriggerOptions | None]:
        self._check_where(self._where)
        paid = self._paid
        before = TriggerOptions() if paid is None or paid.options is None else paid.options
        options = TriggerOptions(
            webhook_url=before.webhook_url,
            webhook_secret=before.webhook_secret,
            webhook=before.webhook,
            max_concurrency=before.max_concurrency,
            max_cost=before.max_cost,
            wait=True,
            progress=False,
        )
        # A frame remembers how its inputs were made, but for a function.
        inputs = None if paid is None or not callable(paid.inputs) else paid.inputs
        call = retry.retry_failed(self.frame, inputs, options, prefix=self._origin.prefix, among=rows)
        return call, inputs, options

    def _check_where(self, where: tuple[object, ...]) -> None:
        """See that the settings speak of the server and the journal that know these rows.

        Raises
        ------
        ConfigurationError
            They speak of others now.
        """
        now = _where(current())[: len(where)]
        if now != where:
            msg = (
                f"the settings have changed since this dashboard was made: {now}, not {where}; restore them with "
                f"configure()"
            )
            raise ConfigurationError(msg)

    def _begin(self, make: Make, *, looks_only: bool = False) -> None:
        with self._lock:
            if self._at_work is not None:
                return
            course = self._started(make, looks_only=looks_only)
        self._announce(course)

    def _started(self, make: Make, *, looks_only: bool = False) -> BackgroundRun | None:
        """Begin a call where none is at work; None where it cannot be, which the head says. Under the lock."""
        if background.is_closing():
            return None
        self._problem = None
        try:
            call, inputs, options = make()
        except EachlabsError as exc:
            self._problem = f"{type(exc).__name__}: {exc}"
            return None
        course = self._at_work = BackgroundRun(call, inputs=inputs, options=options, interval=self._interval)
        self._looks_only = looks_only
        if not looks_only:
            self._paid = course
        return course

    def _announce(self, course: BackgroundRun | None) -> None:
        if course is not None:
            self._await(course)
        for view in self._views:
            view.turned()

    def _await(self, course: BackgroundRun) -> None:
        """Take over what `course` comes to. It does not keep this alive where nobody needs it any more."""
        this = weakref.ref(self)

        def end() -> None:
            calls = this()
            if calls is not None:
                calls._end(course)  # noqa: SLF001 - of this very class

        course.when_done(end)

    def _take_over(self) -> None:
        """Take over a call that has ended just now, whoever comes to it first."""
        course = self._at_work
        if course is not None and course.done:
            self._end(course)

    def _end(self, course: BackgroundRun) -> None:
        with self._lock:
            if course is not self._at_work:
                return
            # What a look has seen stays seen, whatever ended it; a retry that could not begin leaves the rows alone.
            if course.has_result or self._looks_only or course is self._first:
                self._last, self._origin, self._open = course, course.described, None
            problem = course.problem()
            if self._looks_only:
                self._problem = problem
            self._at_work = None
            self._looks_only = False
            # Under the same lock: whoever waits for the retry never sees a moment without a call.
            make, self._next = self._next, None
            follows = None if make is None else self._started(make)
        for view in self._views:
            course.leave(view.hear)
        self._announce(follows)
        if make is None and problem is None:
            self._go_on()

    def _go_on(self) -> None:
        if self._followers and self._at_work is None and self._is_open():
            self._begin(lambda: self._watch(once=False), looks_only=True)


def _without(views: tuple[ResultView, ...], view: ResultView) -> tuple[ResultView, ...]:
    return tuple(one for one in views if one is not view)


def _where(settings: Settings) -> tuple[object, ...]:
    return settings.base_url, settings.journal


def _outcomes(results: Results) -> list[Outcome]:
    return [results.outcome(row) for row in range(results.size)]
