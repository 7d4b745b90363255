"""``Dashboard``: a live view of a frame or run, with buttons.

Owns when the browser is updated; never uses the network.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, Protocol

from ...frames.run_status import RunStatus
from ...models import FAILED, TERMINAL, Outcome
from ..common import assets, static_summary
from ..common.live_view import BrowserWidget, LiveData, LiveView
from ..common.messages import DashboardRequest, DashboardSnapshot, FileMessage, FoundLines, RowsMessage
from ..common.notebook_output import MAX_AGE
from ..common.refresher import MIN_INTERVAL
from .controls import Controls, RetryQuestion
from .model import DashboardModel

HEARTBEAT: Final = 5.0
"""Seconds between two updates of the run's status without an event: the rate falls by itself."""

RATE_WINDOW: Final = 60.0
"""Seconds over which the rate is computed."""

ROWS_AT_ONCE: Final = 2
"""Opened lines whose rows are sent with one update: three messages in all."""

AT_WORK: Final = ("preparing", "sending", "tracking")


class DashboardData(LiveData, Protocol):
    """The result that a dashboard displays, and the actions of its buttons."""

    @property
    def labels(self) -> Sequence[str]:
        """Each row's index label, as text."""

    def titles(self, rows: Sequence[int]) -> Sequence[str]:
        """Return the titles of these rows, which are shown beside their labels; "" for a row without a title."""

    def inputs(self) -> Sequence[str]:
        """Return the text of each row's input, for the search."""

    @property
    def frame(self) -> Any:
        """The current result."""

    @property
    def can_cancel(self) -> bool:
        """Whether a call that triggers is in progress."""

    @property
    def can_retry(self) -> bool:
        """Whether failed rows can be triggered again now."""

    def refresh(self) -> None:
        """Poll the executions once."""

    def follow(self, on: bool) -> None:
        """Start or stop polling until all executions have ended."""

    def pace(self, interval: float) -> None:
        """Set the seconds between two polls, at least."""

    def cancel(self) -> None:
        """Stop the call that triggers."""

    @property
    def caution(self) -> str | None:
        """A warning for the question before a retry, or None."""

    def retry(self, rows: Collection[int]) -> None:
        """Trigger the failed rows among `rows` (positions) again."""

    def csv(self) -> bytes:
        """Return the frame as a CSV file."""


class _Opened(NamedTuple):
    """An opened line: the first row that is displayed, and the version of the rows that the browser has."""

    offset: int
    version: int


class _DashboardBrowser(BrowserWidget):
    """The browser side. A message that is lost or comes twice does no harm: the next ``sync`` repairs it."""

    # Texts, because anywidget watches a path for changes and so keeps each widget alive for ever.
    _esm = assets.script("dashboard")
    _css = assets.style("dashboard")


class Dashboard(LiveView):
    """A live view of a frame or a run: an entry per ``bulk_id`` with its rows, the errors, and buttons.

    ``df.eachlabs.dashboard()`` and ``run.dashboard()`` return it. It is updated in the background, at most four times
    a second, also while the kernel is busy, until all executions have ended or it is closed. Without widgets it is a
    table (HTML or text); in a notebook, the table is updated at most every 30 s, and when a call starts or ends.
    """

    _source: DashboardData

    def __init__(self, source: DashboardData, *, auto_refresh: bool, interval: float) -> None:
        self._model = DashboardModel(source.labels, source.titles)
        self._opened: dict[int, _Opened] = {}
        self._settled: deque[tuple[float, int]] = deque()
        self._controls = Controls(
            source, question=self._retry_question, export=self._export, auto_refresh=auto_refresh, interval=interval
        )
        super().__init__(source)
        self.add_class("eachlabs-dashboard-box")
        source.follow(auto_refresh)
        self._refresher.schedule()

    @property
    def frame(self) -> Any:
        """The current result as a new pandas.DataFrame; after a retry, with the new executions."""
        return self._source.frame

    def close(self) -> None:
        """Stop polling and remove the widget. A run or a retry in progress continues."""
        super().close()
        self._controls.close()

    def __repr__(self) -> str:
        return static_summary.text(self._snapshot())

    def _create_widgets(self) -> Sequence[Any]:
        self._browser = _DashboardBrowser(
            lambda: self._snapshot(sent=True), self._on_request, static_key=self._output.key
        )
        self._update_controls()
        return [self._controls.line, self._controls.question, self._browser]

    def _static(self) -> dict[str, str]:
        snapshot = self._snapshot()
        return {"text/html": static_summary.html(snapshot), "text/plain": static_summary.text(snapshot)}

    # -- events and requests ----------------------------------------------------------------------------------------

    def _take(self, outcomes: list[Outcome] | None, now: float | None = None) -> None:
        if outcomes is not None:
            self._settled.clear()
            self._model.take(outcomes, now=now)
        while self._events:
            self._model.take(self._events.popleft().changed, now=now)

    def _on_request(self, request: DashboardRequest) -> None:
        """Answer the browser. A request may hold anything."""
        kind, line = request.get("kind"), request.get("line")
        text = str(request.get("text", ""))
        inputs = self._source.inputs() if kind == "find" and text else None  # slow, so not under the lock
        with self._lock:
            if kind == "sync":
                self._browser.send_snapshot()
            elif kind == "find":
                self._send_found(text, self._model.find(text, inputs))
            elif kind == "open" and isinstance(line, int) and 0 <= line < self._model.size:
                offset = request.get("offset")
                self._send_rows(line, offset if isinstance(offset, int) else 0)
            elif kind == "close" and isinstance(line, int):
                self._opened.pop(line, None)

    def _send_found(self, text: str, lines: list[int]) -> None:
        message: FoundLines = {"kind": "found", "text": text, "lines": lines}
        self._browser.send(message)

    def _export(self) -> None:
        name = self._source.head().get("run") or "eachlabs"
        message: FileMessage = {"kind": "file", "name": f"{name}.csv", "type": "text/csv"}
        self._browser.send(message, [self._source.csv()])

    # -- display ----------------------------------------------------------------------------------------------------

    def _snapshot(self, *, sent: bool = False) -> DashboardSnapshot:
        with self._lock:
            now = time.time()
            return self._model.snapshot(self._head(now), now, sent=sent)

    def _refresh(self) -> float | None:
        outcomes = self._fetch()
        delay = self._send_update(outcomes)
        self._output.refresh(0.0 if outcomes is not None else MAX_AGE)
        return delay

    def _send_update(self, outcomes: list[Outcome] | None) -> float | None:
        """Send what has changed; return after how many seconds to send more, or None."""
        with self._lock:
            now = time.time()
            self._take(outcomes, now)
            head = self._head(now)
            update = self._model.update(head, now)
            if update is not None:
                self._browser.send(dict(update))
            stale = [line for line, opened in self._opened.items() if opened.version != self._model.version(line)]
            for line in stale[:ROWS_AT_ONCE]:
                self._send_rows(line, self._opened[line].offset)
            if outcomes is not None and head["phase"] not in AT_WORK:
                self._browser.send_snapshot()
            self._update_controls()
            if self._model.behind or stale[ROWS_AT_ONCE:]:
                return MIN_INTERVAL
            return HEARTBEAT if head["phase"] in AT_WORK else None

    def _send_rows(self, line: int, offset: int) -> None:
        self._opened.pop(line, None)  # and moves to the end, so that each of many lines gets its turn
        self._opened[line] = _Opened(offset, self._model.version(line))
        message: RowsMessage = {"kind": "rows", "line": line, **self._model.rows(line, offset)}
        self._browser.send(message)

    def _update_controls(self) -> None:
        can_retry = self._source.can_retry and self._model.rows_with(FAILED) > 0
        self._controls.show(can_retry=can_retry, can_cancel=self._source.can_cancel)

    def _retry_question(self) -> RetryQuestion:
        with self._lock:
            return RetryQuestion(self._model.rows_of(FAILED), self._model.mean_cost_usd, self._source.caution)

    def _head(self, now: float) -> RunStatus:
        head = self._source.head()
        head["rate"] = self._rate(now) if head["phase"] in AT_WORK else None
        return head

    def _rate(self, now: float) -> float | None:
        """Return the rows settled per minute, over the last minute."""
        settled = sum(self._model.counts.get(status, 0) for status in TERMINAL)
        self._settled.append((now, settled))
        while now - self._settled[0][0] > RATE_WINDOW:
            self._settled.popleft()
        start, settled_at_start = self._settled[0]
        return round((settled - settled_at_start) / (now - start) * 60, 1) if now - start >= 1 else None
