"""What a dashboard is about: one frame, the call that is at work on it, and what its buttons do with both.

One call at a time: a user's run, a look, or a retry. The frame that was given is never written. Nothing is waited for
under the lock: observers are called on the bridge's thread, and may do here what they like.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, TypeAlias

import pandas as pd

from ..core.outcomes import Results
from ..engine import background
from ..errors import ConfigurationError, EachlabsError
from ..models import Event, Observer, Outcome
from ..settings import Settings, current
from ..views.board import Board
from ..views.progress import in_kernel
from . import again, sent_inputs, track
from . import results as columns
from .course import INTERVAL, Call, Course, check_interval
from .labels import texts
from .options import Options
from .results import Origin
from .spreadsheet import to_csv

if TYPE_CHECKING:
    from ..views.dashboard import Dashboard
    from ..views.messages import Head, Snapshot

Make: TypeAlias = Callable[[], tuple[Call, object, "Options | None"]]


class Desk:
    """A frame and the call at work on it.

    Parameters
    ----------
    frame : pandas.DataFrame
        A result, or a frame of which nothing was triggered yet.
    workflow_id, prefix : str or None
        As for `refresh`.
    course : Course, optional
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
        course: Course | None = None,
    ) -> None:
        known = columns.origin(frame, prefix)
        self._origin = known or Origin(workflow_id or "", prefix=prefix or "")
        # Before a widget is made of it, which could not be taken down half made.
        columns.refuse_twins(frame, self._origin.prefix)
        self._workflow_id = workflow_id
        self.labels: Final = texts(frame.index)
        self._where = _where(current() if course is None else course.settings)
        self._lock = threading.RLock()
        self._frame = columns.snapshot(frame)
        self._at_work = course  # until its frame was taken over
        self._paid = course  # the latest call that triggered
        self._looks_only = False
        self._follows = False
        self._interval = INTERVAL
        self._problem: str | None = None
        self._then: Callable[[], None] | None = None
        self._hear: Observer = _deaf
        self._turned: Callable[[], None] = _nothing
        if course is not None:
            self._await(course)

    # -- what is shown ----------------------------------------------------------------------------------------------

    @property
    def frame(self) -> pd.DataFrame:
        """The result as it is now, as a frame of the caller's own."""
        course = self._at_work
        return columns.snapshot(self._frame) if course is None else course.frame

    def attend(self, hear: Observer, turned: Callable[[], None]) -> None:
        """Have `hear` told of each event, and `turned` of each call's begin and end; from other threads."""
        self._hear, self._turned = hear, turned

    def outcomes(self, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Return how each row stands, and do `meanwhile` at that moment; what happens later is heard."""
        course = self._at_work
        if course is not None:
            return course.join(self._hear, meanwhile)
        meanwhile()
        results = columns.read(self._frame, self._origin.prefix)
        sent_inputs.mark(self._frame, results, self._origin.prefix, self._origin)
        return _outcomes(results)

    def head(self) -> Head:
        """Return what is to be said beside the rows' own counts."""
        course, paid = self._at_work, self._paid
        said: Head = {"workflow": self._origin.workflow_id, "version": self._origin.version_id}
        said |= {"run": self._origin.run, "phase": "settled"}
        said |= {"superseded": self._origin.superseded, "superseded_cost_usd": self._origin.superseded_cost}
        if paid is not None:
            said |= paid.head()
        if course is not None and course is not paid:
            now = course.head()
            said |= {"phase": now["phase"], "waiting_for": now["waiting_for"], "stale_since": now["stale_since"]}
        said["problem"] = self._problem or said.get("problem")
        if course is not None:
            said["ended_at"] = None
        elif said["phase"] not in ("cancelled", "failed"):
            said["phase"] = "idle" if self._is_open() else "settled"
        return said

    @property
    def can_cancel(self) -> bool:
        """Whether a call is at work that triggers."""
        return self._at_work is not None and not self._looks_only

    @property
    def can_retry(self) -> bool:
        """Whether failed rows could be triggered again now."""
        return not self.can_cancel

    @property
    def caution(self) -> str | None:
        """What whoever pays should know beside the number of rows."""
        if current().journal is not None:
            return None
        return "The journal is off: nobody knows whether another cell or dashboard has paid for them meanwhile."

    # -- what its buttons do ----------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the executions now."""
        self._take_over()
        course = self._at_work
        if course is None:
            self._begin(lambda: self._watch(once=True), looks_only=True)
        else:
            course.look()

    def follow(self, on: bool) -> None:
        """Look again and again until all have ended, where no call does; or do so no longer."""
        self._take_over()
        self._follows = on
        course = self._at_work
        if on:
            self._go_on()
        elif course is not None and self._looks_only:
            course.errand.stop()

    def pace(self, interval: float) -> None:
        """Have at least so many seconds between two looks.

        Raises
        ------
        ConfigurationError
            No positive number.
        """
        self._interval = check_interval(interval)
        course = self._at_work
        if course is not None:
            course.interval = self._interval

    def cancel(self) -> None:
        """Stop the call that triggers."""
        course = self._at_work
        if course is not None and not self._looks_only:
            course.errand.stop()

    def retry(self, rows: Collection[int]) -> None:
        """Trigger those of `rows` (positions) again that have failed: each is paid once more; no other row is."""
        self._take_over()
        asked = frozenset(rows)
        with self._lock:
            course = self._at_work
            if course is not None and not self._looks_only:
                return  # it was asked for before
            self._then = lambda: self._begin(lambda: self._again(asked))
        if course is not None:
            course.errand.stop()
        else:
            self._do_next()

    def csv(self) -> bytes:
        """Return the frame as a CSV file that a spreadsheet may open."""
        return to_csv(self.frame)

    def close(self) -> None:
        """Look no more, and tell nobody anything. A user's run goes on."""
        hear, self._hear, self._turned = self._hear, _deaf, _nothing
        self._then = None
        self.follow(False)
        course = self._at_work
        if course is not None:
            course.leave(hear)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _is_open(self) -> bool:
        return next(columns.read(self._frame, self._origin.prefix).open_rows(), None) is not None

    def _watch(self, *, once: bool) -> tuple[Call, object, Options | None]:
        self._check_where(self._where[:1])
        paid = None if self._paid is None else self._paid.options
        webhook = None if paid is None else paid.webhook
        watch = track.Watch(
            self._frame,
            workflow_id=self._workflow_id,
            prefix=self._origin.prefix,
            once=once,
            # Where it has stopped meanwhile, asking is all there is.
            webhook=webhook if webhook is not None and webhook.listening else None,
        )
        return watch, None, None

    def _again(self, rows: Collection[int]) -> tuple[Call, object, Options | None]:
        self._check_where(self._where)
        paid = self._paid
        before = Options() if paid is None or paid.options is None else paid.options
        options = Options(
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
        call = again.retry_failed(self._frame, inputs, options, prefix=self._origin.prefix, among=rows)
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
            msg = f"the settings have changed since this dashboard was made: {now}, not {where}; configure() them back"
            raise ConfigurationError(msg)

    def _begin(self, make: Make, *, looks_only: bool = False) -> None:
        with self._lock:
            if self._at_work is not None or background.is_closing():
                return
            self._problem = None
            try:
                call, inputs, options = make()
            except EachlabsError as exc:
                self._problem = f"{type(exc).__name__}: {exc}"
                course = None
            else:
                course = self._at_work = Course(call, inputs=inputs, options=options, interval=self._interval)
                self._looks_only = looks_only
                if not looks_only:
                    self._paid = course
        if course is not None:
            self._await(course)
        self._turned()

    def _await(self, course: Course) -> None:
        """Take over what `course` comes to; it does not keep a desk that nobody needs any more."""
        this = weakref.ref(self)

        def end() -> None:
            desk = this()
            if desk is not None:
                desk._end(course)  # noqa: SLF001 - it is this very one

        course.when_done(end)

    def _take_over(self) -> None:
        """Do what is to be done about a call that has ended just now, whoever comes to it first."""
        course = self._at_work
        if course is not None and course.done:
            self._end(course)

    def _end(self, course: Course) -> None:
        # What a look has seen stays seen, whatever ended it; a retry that could not begin leaves the rows as they were.
        frame = columns.snapshot(course.frame) if course.has_result or self._looks_only else None
        problem = course.problem()
        with self._lock:
            if course is not self._at_work:
                return
            if frame is not None:
                self._frame = frame
                self._origin = columns.origin(frame, self._origin.prefix) or self._origin
            if self._looks_only:
                self._problem = problem
            self._at_work = None
        course.leave(self._hear)
        self._turned()
        if self._then is not None:
            self._do_next()
        elif problem is None:
            self._go_on()

    def _do_next(self) -> None:
        with self._lock:
            then, self._then = self._then, None
        if then is not None:
            then()

    def _go_on(self) -> None:
        if self._follows and self._at_work is None and self._is_open():
            self._begin(lambda: self._watch(once=False), looks_only=True)


def still(frame: pd.DataFrame, prefix: str, head: Head) -> Snapshot:
    """Return what there is to show of a frame, as it is."""
    board = Board(texts(frame.index))
    board.take(_outcomes(columns.read(frame, prefix)), now=None)
    return board.snapshot(head, time.time())


def shown(desk: Desk, *, auto_refresh: bool | None, interval: float) -> Dashboard:
    """Return a dashboard of a desk."""
    from ..views.dashboard import Dashboard  # takes 0.2 s to import, and is only for those who look

    desk.pace(interval)
    return Dashboard(desk, interval=interval, auto_refresh=in_kernel() if auto_refresh is None else auto_refresh)


def _where(settings: Settings) -> tuple[object, ...]:
    return settings.base_url, settings.journal


def _outcomes(results: Results) -> list[Outcome]:
    return [results.outcome(row) for row in range(results.size)]


def _deaf(event: Event) -> None:
    pass


def _nothing() -> None:
    pass
