"""``Dashboard``: a live view of a frame or run, with buttons. Owns when the browser is updated; never uses the network.

Events arrive on the loop's thread and requests from the browser on the kernel's, and a thread of the view updates the
browser: code that reads or writes the board must hold its lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple, Protocol

import ipywidgets

from ...frames.run_status import RunStatus
from ...models import FAILED, TERMINAL, Event, Observer, Outcome
from ..common import static_summary
from ..common.messages import DashboardRequest, DashboardSnapshot
from ..common.notebook_output import MAX_AGE, NotebookOutput
from ..common.refresher import MIN_INTERVAL, Refresher
from .browser import DashboardBrowser
from .controls import Controls, RetryQuestion
from .model import DashboardModel

HEARTBEAT: Final = 5.0
"""Seconds after which the head is looked at though nothing has happened: a rate falls by itself."""

RATED: Final = 60.0
"""Seconds over which the rate is taken."""

ROWS_AT_ONCE: Final = 2
"""Opened lines whose rows go out beside one update: three messages in all."""

AT_WORK: Final = ("preparing", "sending", "tracking")


class DashboardData(Protocol):
    """What a dashboard is about, and what its buttons do with it."""

    @property
    def labels(self) -> Sequence[str]:
        """Each row's label in the index."""

    def titles(self, rows: Sequence[int]) -> Sequence[str]:
        """Return what these rows are called beside that; "" for one without a title."""

    def inputs(self) -> Sequence[str]:
        """Return the texts of each row's input, to be searched."""

    @property
    def frame(self) -> Any:
        """The result as it is now."""

    @property
    def can_cancel(self) -> bool:
        """Whether a call is at work that triggers."""

    @property
    def can_retry(self) -> bool:
        """Whether failed rows could be triggered again now."""

    def attend(self, hear: Observer, turned: Callable[[], None]) -> None:
        """Have `hear` told of each event, and `turned` of each call's begin and end; from any thread."""

    def outcomes(self, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Return how each row stands, and do `meanwhile` at that moment."""

    def head(self) -> RunStatus:
        """Return what is to be said beside the rows' own counts."""

    def refresh(self) -> None:
        """Look at the executions now."""

    def follow(self, on: bool) -> None:
        """Look again and again until all have ended, or no longer."""

    def pace(self, interval: float) -> None:
        """Have at least so many seconds between two looks."""

    def cancel(self) -> None:
        """Stop the call that triggers."""

    @property
    def caution(self) -> str | None:
        """What whoever pays for a retry should know beside the number of rows."""

    def retry(self, rows: Collection[int]) -> None:
        """Trigger those of `rows` (positions) again that have failed."""

    def csv(self) -> bytes:
        """Return the frame as a CSV file."""

    def close(self) -> None:
        """Look no more."""


class _Opened(NamedTuple):
    """From where on an opened line's rows are shown, and what the browser knows of them."""

    offset: int
    version: int


class Dashboard(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A live view of a frame or a run: an entry per ``bulk_id`` with its rows, the errors, and buttons.

    ``df.eachlabs.dashboard()`` and ``run.dashboard()`` return it. It is updated in the background, at most four times
    a second, also while the kernel is busy, until all executions have ended or it is closed. Without widgets it is a
    table (HTML or text); in a notebook, the table is updated at most every 30 s, and when a call starts or ends.
    """

    def __init__(self, subject: DashboardData, *, auto_refresh: bool, interval: float) -> None:
        self._subject = subject
        self._lock = threading.RLock()
        self._board = DashboardModel(subject.labels, subject.titles)
        self._heard: deque[Event] = deque()
        self._has_turned = True
        self._opened: dict[int, _Opened] = {}
        self._settled: deque[tuple[float, int]] = deque()
        self._output = NotebookOutput(self._repr_mimebundle_, self._static)
        self._pulse = Refresher(self._beat)
        self._is_made = False  # what is heard before is shown when there is something to show it
        subject.attend(self._hear, self._turn)
        self._take(self._fetched(), None)
        self._live = DashboardBrowser(lambda: self._written(sent=True), self._asked, static_key=self._output.key)
        self._controls = Controls(
            subject, failed=self._failed, export=self._export, auto_refresh=auto_refresh, interval=interval
        )
        super().__init__([self._controls.line, self._controls.question, self._live])
        self.add_class("eachlabs-dashboard-box")
        self._enable()
        subject.follow(auto_refresh)
        self._is_made = True
        self._pulse.wake()

    @property
    def frame(self) -> Any:
        """The current result as a new pandas.DataFrame; after a retry, with the new executions."""
        return self._subject.frame

    def close(self) -> None:
        """Stop polling and remove the widget. A run or a retry in progress continues."""
        self._pulse.close()
        self._output.remove()
        self._subject.close()
        self._controls.close()
        for widget in (self._live, self):
            if widget.comm is not None:
                widget.layout.close()
        self._live.close()
        super().close()

    def __repr__(self) -> str:
        return static_summary.text(self._written())

    def _ipython_display_(self, **_: Any) -> None:
        """Display the widget, and static HTML that stays when the widget is gone."""
        self._output.display()

    def _repr_mimebundle_(self, **more: Any) -> dict[str, Any]:
        """Offer the widget, and for where there is none the same as a table, in HTML and in text."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**more)
        return bundle | self._static()

    def _static(self) -> dict[str, str]:
        written = self._written()
        return {"text/html": static_summary.html(written), "text/plain": static_summary.text(written)}

    # -- what is heard ----------------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        self._heard.append(event)
        self._wake()

    def _turn(self) -> None:
        self._has_turned = True
        self._wake()

    def _wake(self) -> None:
        if self._is_made:
            self._pulse.wake()

    def _fetched(self) -> list[Outcome] | None:
        """Return how each row stands, where a call has begun or ended. It may wait for the loop: not under the lock."""
        if not self._has_turned:
            return None
        self._has_turned = False
        return self._subject.outcomes(self._heard.clear)

    def _take(self, outcomes: list[Outcome] | None, now: float | None) -> None:
        """Take in what has happened since the last time."""
        if outcomes is not None:
            self._settled.clear()
            self._board.take(outcomes, now=now)
        while self._heard:
            self._board.take(self._heard.popleft().changed, now=now)

    def _asked(self, asked: DashboardRequest) -> None:
        """Answer the browser, which may ask anything."""
        kind, line = asked.get("kind"), asked.get("line")
        text = str(asked.get("text", ""))
        inputs = self._subject.inputs() if kind == "find" and text else None  # it takes a while: not under the lock
        with self._lock:
            if kind == "sync":
                self._live.keep()
            elif kind == "find":
                self._live.show_found(text, self._board.find(text, inputs))
            elif kind == "open" and isinstance(line, int) and 0 <= line < self._board.size:
                offset = asked.get("offset")
                self._show_rows(line, offset if isinstance(offset, int) else 0)
            elif kind == "close" and isinstance(line, int):
                self._opened.pop(line, None)

    def _export(self) -> None:
        name = self._subject.head().get("run") or "eachlabs"
        self._live.save_file(f"{name}.csv", self._subject.csv(), media_type="text/csv")

    # -- what is shown ----------------------------------------------------------------------------------------------

    def _written(self, *, sent: bool = False) -> DashboardSnapshot:
        with self._lock:
            now = time.time()
            return self._board.snapshot(self._head(now), now, sent=sent)

    def _beat(self) -> float | None:
        outcomes = self._fetched()
        again = self._updated(outcomes)
        self._output.refresh(0.0 if outcomes is not None else MAX_AGE)
        return again

    def _updated(self, outcomes: list[Outcome] | None) -> float | None:
        """Send what has changed; return the seconds after which there is more to do."""
        with self._lock:
            now = time.time()
            self._take(outcomes, now)
            head = self._head(now)
            update = self._board.update(head, now)
            if update is not None:
                self._live.tell(update)
            late = [line for line, opened in self._opened.items() if opened.version != self._board.version(line)]
            for line in late[:ROWS_AT_ONCE]:
                self._show_rows(line, self._opened[line].offset)
            if outcomes is not None and head["phase"] not in AT_WORK:
                self._live.keep()
            self._enable()
            if self._board.behind or late[ROWS_AT_ONCE:]:
                return MIN_INTERVAL
            return HEARTBEAT if head["phase"] in AT_WORK else None

    def _show_rows(self, line: int, offset: int) -> None:
        self._opened.pop(line, None)  # so that of many lines each has its turn
        self._opened[line] = _Opened(offset, self._board.version(line))
        self._live.show_rows(line, self._board.rows(line, offset))

    def _enable(self) -> None:
        can_retry = self._subject.can_retry and self._board.rows_with(FAILED) > 0
        self._controls.show(can_retry=can_retry, can_cancel=self._subject.can_cancel)

    def _failed(self) -> RetryQuestion:
        with self._lock:
            return RetryQuestion(self._board.rows_of(FAILED), self._board.mean_cost_usd, self._subject.caution)

    def _head(self, now: float) -> RunStatus:
        head = self._subject.head()
        head["rate"] = self._rate(now) if head["phase"] in AT_WORK else None
        return head

    def _rate(self, now: float) -> float | None:
        """Return the rows settled per minute, over the last minute."""
        settled = sum(self._board.counts.get(status, 0) for status in TERMINAL)
        self._settled.append((now, settled))
        while now - self._settled[0][0] > RATED:
            self._settled.popleft()
        since, before = self._settled[0]
        return round((settled - before) / (now - since) * 60, 1) if now - since >= 1 else None
