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

from ..aio import background
from ..errors import ConfigurationError, EachlabsError
from ..models import Event, Outcome
from ..results import Results
from ..settings import Settings, current
from . import columns, lost_attrs, retry, sent_inputs, track
from .background_run import INTERVAL, BackgroundRun, check_interval
from .columns import ResultMeta
from .options import TriggerOptions
from .result_frame import FrameCall
from .table import Frame

if TYPE_CHECKING:
    from .run_status import RunStatus

Make: TypeAlias = Callable[[], tuple[FrameCall, object, "TriggerOptions | None"]]


class ResultView(Protocol):
    """A dashboard or a gallery of the result."""

    def on_event(self, event: Event) -> None:
        """Show what a call has changed."""
        ...

    def on_call_changed(self) -> None:
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
        self, source: Frame | BackgroundRun, *, workflow_id: str | None = None, prefix: str | None = None
    ) -> None:
        run = source if isinstance(source, BackgroundRun) else None
        if isinstance(source, BackgroundRun):
            self._frame, self._meta = source.source, source.meta
        else:
            # Checked here, because a widget that is half made cannot be taken down.
            own = lost_attrs.prefix_of(source, prefix)
            columns.check_no_duplicates(source, own)
            self._meta = lost_attrs.find_meta(source, own) or ResultMeta(workflow_id or "", prefix=own)
            self._frame = columns.snapshot(source)
        self._workflow_id = workflow_id
        self._endpoints = _endpoints(current() if run is None else run.settings)
        self._lock = threading.RLock()
        self._current = run
        self._last: BackgroundRun | None = None  # the result's call; None: the result is the frame that was given
        self._first_trigger = self._last_trigger = run  # the first and the latest call that triggered
        self._only_polls = False
        self._interval = INTERVAL if run is None else run.interval
        self._open: bool | None = None  # whether executions are open, once that was read from the frame
        self._problem: str | None = None
        self._next: Make | None = None
        self._views: tuple[ResultView, ...] = ()
        self._followers: tuple[ResultView, ...] = ()
        if run is not None:
            self._watch_end(run)

    # -- how it stands ----------------------------------------------------------------------------------------------

    @property
    def source(self) -> Frame:
        """The frame that was given: the user's own columns, in the rows' order. Not to be written."""
        return self._frame

    @property
    def origin(self) -> ResultMeta:
        """What the result's attrs say, as far as that is known."""
        run = self._last_trigger if self._current is self._last_trigger else None
        return self._meta if run is None else run.meta

    @property
    def frame(self) -> Frame:
        """The result as it is now, a frame of the caller's own."""
        run = self._latest
        return columns.snapshot(self._frame) if run is None else run.frame

    @property
    def status(self) -> dict[str, int]:
        """How many rows have each status."""
        run = self._latest
        return columns.tally(self._frame, self._meta.prefix) if run is None else dict(run.status)

    @property
    def interval(self) -> float:
        """Seconds between two looks, at least."""
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._interval = check_interval(seconds)
        run = self._current
        if run is not None:
            run.interval = self._interval

    @property
    def can_cancel(self) -> bool:
        """Whether a call that triggers is at work, or was asked for."""
        return self._triggering() is not None

    def outcomes(self, view: ResultView, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Return how each row stands, and do `meanwhile` at that moment; `view` hears what happens later."""
        run = self._current
        if run is not None:
            return run.add_observer(view.on_event, meanwhile)
        meanwhile()
        frame = self.frame
        results = columns.read(frame, self._meta.prefix)
        sent_inputs.mark(frame, results, self._meta.prefix, self._meta)
        return _outcomes(results)

    def head(self) -> RunStatus:
        """Return what a dashboard's head shows beside the counts of the rows."""
        run, trigger = self._current, self._last_trigger
        head: RunStatus = {"workflow": self._meta.workflow_id, "version": self._meta.version_id}
        head |= {"run": self._meta.run, "phase": "settled"}
        head |= {"superseded": self._meta.superseded, "superseded_cost_usd": self._meta.superseded_cost}
        if trigger is not None:
            head |= trigger.head()
        if run is not None and run is not trigger:
            now = run.head()
            head |= {"phase": now["phase"], "waiting_for": now["waiting_for"], "stale_since": now["stale_since"]}
        head["problem"] = self._problem or head.get("problem")
        if run is not None:
            head["ended_at"] = None
        elif head["phase"] not in ("cancelled", "failed"):
            head["phase"] = "idle" if self._is_open() else "settled"
        return head

    def summary(self) -> RunStatus:
        """Return the head with the counts of the rows."""
        head, run = self.head(), self._latest
        if run is not None:
            now = run.head()
            head |= {"total": now["total"], "accepted": now["accepted"], "counts": now["counts"]}
        return head

    # -- waiting for it ---------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether no call that triggers is at work, or was asked for."""
        self._collect()
        return self._triggering() is None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no call that triggers is at work; return whether that is so.

        Raises
        ------
        BridgeError
            From inside a progress callback.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (run := self._triggering()) is not None:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            if not run.wait(left):
                return False
            self._collect()
        return True

    async def ended(self) -> None:
        """Wait as `wait` does, without holding up the running event loop."""
        while (run := self._triggering()) is not None:
            await run.wait_async()
            self._collect()

    def result(self) -> Frame:
        """Return the frame, or raise what ended the latest call that triggered.

        A retry that failed before it could send leaves the rows as they were, so the frame is returned then: the head
        names the error.
        """
        trigger = self._last_trigger
        assert trigger is not None, "only a run has a result"
        error = trigger.exception()
        if error is None or trigger.is_cancelled or (trigger is not self._first_trigger and not trigger.has_result):
            return self.frame  # a new one: what becomes of it does not reach the run's own
        raise error

    # -- what is done with it ---------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the executions now."""
        self._collect()
        run = self._current
        if run is None:
            self._begin(lambda: self._watch(once=True), only_polls=True)
        else:
            run.poll()

    def follow(self, view: ResultView, on: bool) -> None:
        """Look again and again until all have ended, as long as any view asks for it and no other call does it."""
        self._collect()
        with self._lock:
            self._followers = (*_without(self._followers, view), *([view] if on else []))
            run, only_polls = self._current, self._only_polls
            is_followed = bool(self._followers)
        if is_followed:
            self._poll_if_followed()
        elif run is not None and only_polls:
            run.stop()

    def cancel(self) -> None:
        """Stop the call that triggers, and begin none that was asked for; at the second call, stop it at once."""
        with self._lock:
            self._next = None
            run = None if self._only_polls else self._current
        if run is not None:
            run.stop()

    def retry(self, rows: Collection[int]) -> None:
        """Trigger those of `rows` (positions) again that have failed: each is paid for once more; no other row is."""
        self._collect()
        asked = frozenset(rows)
        with self._lock:
            run = self._current
            if run is not None and not self._only_polls:
                return  # it was asked for before
            if run is not None:
                self._next = lambda: self._again(asked)
        if run is None:
            self._begin(lambda: self._again(asked))
        else:
            run.stop()

    def add_view(self, view: ResultView) -> None:
        """Tell `view` of each call's begin and end."""
        with self._lock:
            self._views = (*_without(self._views, view), view)

    def remove_view(self, view: ResultView) -> None:
        """Tell `view` nothing more, and look no longer for it."""
        with self._lock:
            self._views = _without(self._views, view)
        self.follow(view, False)
        run = self._current
        if run is not None:
            run.remove_observer(view.on_event)

    # -- inside -----------------------------------------------------------------------------------------------------

    @property
    def _latest(self) -> BackgroundRun | None:
        """The call that shows the result as it is now; None where that is the frame that was given."""
        return self._current or self._last

    def _triggering(self) -> BackgroundRun | None:
        """Return the call to wait for: one that triggers, or a look that ends so that a retry can begin."""
        with self._lock:
            return self._current if not self._only_polls or self._next is not None else None

    def _is_open(self) -> bool:
        """Say whether executions are open, where no call is at work."""
        if self._open is None:
            results = columns.read(self.frame, self._meta.prefix)
            self._open = next(results.open_rows(), None) is not None
        return self._open

    def _watch(self, *, once: bool) -> tuple[FrameCall, object, TriggerOptions | None]:
        self._check_settings(self._endpoints[:1])
        trigger = None if self._last_trigger is None else self._last_trigger.options
        webhook = None if trigger is None else trigger.webhook
        watch = track.WaitCall(
            self.frame,
            workflow_id=self._workflow_id,
            prefix=self._meta.prefix,
            once=once,
            # Where it has stopped meanwhile, asking is all there is.
            webhook=webhook if webhook is not None and webhook.listening else None,
        )
        return watch, None, None

    def _again(self, rows: Collection[int]) -> tuple[FrameCall, object, TriggerOptions | None]:
        self._check_settings(self._endpoints)
        trigger = self._last_trigger
        before = TriggerOptions() if trigger is None or trigger.options is None else trigger.options
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
        inputs = None if trigger is None or not callable(trigger.inputs) else trigger.inputs
        call = retry.retry_failed(self.frame, inputs, options, prefix=self._meta.prefix, among=rows)
        return call, inputs, options

    def _check_settings(self, expected: tuple[object, ...]) -> None:
        """See that the settings speak of the server and the journal that know these rows.

        Raises
        ------
        ConfigurationError
            They speak of others now.
        """
        now = _endpoints(current())[: len(expected)]
        if now != expected:
            msg = (
                f"the settings have changed since this dashboard was made: {now}, not {expected}; restore them with "
                f"configure()"
            )
            raise ConfigurationError(msg)

    def _begin(self, make: Make, *, only_polls: bool = False) -> None:
        with self._lock:
            if self._current is not None:
                return
            run = self._start_call(make, only_polls=only_polls)
        self._announce(run)

    def _start_call(self, make: Make, *, only_polls: bool = False) -> BackgroundRun | None:
        """Begin a call where none is at work; None where it cannot be, which the head says. Under the lock."""
        if background.is_closing():
            return None
        self._problem = None
        try:
            call, inputs, options = make()
        except EachlabsError as exc:
            self._problem = f"{type(exc).__name__}: {exc}"
            return None
        run = self._current = BackgroundRun(call, inputs=inputs, options=options, interval=self._interval)
        self._only_polls = only_polls
        if not only_polls:
            self._last_trigger = run
        return run

    def _announce(self, run: BackgroundRun | None) -> None:
        if run is not None:
            self._watch_end(run)
        for view in self._views:
            view.on_call_changed()

    def _watch_end(self, run: BackgroundRun) -> None:
        """Take over what `run` comes to. It does not keep this alive where nobody needs it any more."""
        this = weakref.ref(self)

        def end() -> None:
            calls = this()
            if calls is not None:
                calls.finish(run)

        run.when_done(end)

    def _collect(self) -> None:
        """Take over a call that has ended just now, whoever comes to it first."""
        run = self._current
        if run is not None and run.done:
            self.finish(run)

    def finish(self, run: BackgroundRun) -> None:
        """Take over a call that has ended, unless it is taken over already."""
        with self._lock:
            if run is not self._current:
                return
            # What a look has seen stays seen, whatever ended it; a retry that could not begin leaves the rows alone.
            if run.has_result or self._only_polls or run is self._first_trigger:
                self._last, self._meta, self._open = run, run.written_meta, None
            problem = run.problem()
            if self._only_polls:
                self._problem = problem
            self._current = None
            self._only_polls = False
            # Under the same lock: whoever waits for the retry never sees a moment without a call.
            make, self._next = self._next, None
            follows = None if make is None else self._start_call(make)
        for view in self._views:
            run.remove_observer(view.on_event)
        self._announce(follows)
        if make is None and problem is None:
            self._poll_if_followed()

    def _poll_if_followed(self) -> None:
        if self._followers and self._current is None and self._is_open():
            self._begin(lambda: self._watch(once=False), only_polls=True)


def _without(views: tuple[ResultView, ...], view: ResultView) -> tuple[ResultView, ...]:
    return tuple(one for one in views if one is not view)


def _endpoints(settings: Settings) -> tuple[object, ...]:
    return settings.base_url, settings.journal


def _outcomes(results: Results) -> list[Outcome]:
    return [results.outcome(row) for row in range(results.size)]
