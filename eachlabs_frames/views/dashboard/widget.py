"""``Dashboard``: a live view of a frame or run, with buttons.

Owns when the browser is updated; never uses the network.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ...models import FAILED, TERMINAL, Outcome
from ...notebook import in_kernel
from ...settings import current
from ..common import assets
from ..common.live_view import BrowserWidget, LiveView
from ..common.notebook_output import MAX_AGE
from ..common.refresher import MIN_INTERVAL
from ..common.status_text import ACTIVE_PHASES
from . import static
from .controls import Controls
from .model import DashboardModel
from .source import row_texts, to_csv, workers

if TYPE_CHECKING:
    from ...frames.calls import Calls
    from ...frames.run_status import RunStatus
    from ..common.source import RowTexts
    from .messages import DashboardSnapshot

HEARTBEAT: Final = 5.0
"""Seconds between two updates of the run's status without an event: the rate falls by itself."""

RATE_WINDOW: Final = 60.0
"""Seconds over which the rate is computed."""

MAX_LINES_PER_UPDATE: Final = 2
"""Opened lines whose rows are sent with one update: three messages in all."""

NO_JOURNAL: Final = "The journal is off, so another cell or dashboard may already have paid for them."


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

    def __init__(self, calls: Calls, texts: RowTexts, *, auto_refresh: bool, interval: float) -> None:
        self._texts = texts
        self._model = DashboardModel(texts.labels, texts.titles, workers=workers(calls))
        self._opened: dict[int, tuple[int, int]] = {}  # by line: the first row shown, and the version that was sent
        self._settled: deque[tuple[float, int]] = deque()
        self._controls = Controls(
            calls,
            follow=lambda on: calls.follow(self._subscriber, on),
            question=self._retry_question,
            export=self._export,
            auto_refresh=auto_refresh,
            interval=interval,
        )
        super().__init__(calls)
        self.add_class("eachlabs-dashboard-box")
        calls.follow(self._subscriber, auto_refresh)
        self._refresher.schedule()

    @property
    def frame(self) -> Any:
        """The current result as a new pandas.DataFrame; after a retry, with the new executions."""
        return self._calls.frame

    def close(self) -> None:
        """Stop polling and remove the widget. A run or a retry in progress continues."""
        super().close()
        self._controls.close()

    def __repr__(self) -> str:
        return static.text(self._snapshot())

    def _create_widgets(self) -> Sequence[Any]:
        self._browser = _DashboardBrowser(
            lambda: self._snapshot(sent=True), self._on_request, static_key=self._output.key
        )
        self._update_controls()
        return [self._controls.line, self._controls.question, self._browser]

    def _static(self) -> dict[str, str]:
        snapshot = self._snapshot()
        return {"text/html": static.html(snapshot), "text/plain": static.text(snapshot)}

    # -- events and requests ----------------------------------------------------------------------------------------

    def _take(self, outcomes: list[Outcome] | None, now: float | None = None) -> None:
        if outcomes is not None:
            self._settled.clear()
            self._model.take(outcomes, now=now)
        while self._events:
            self._model.take(self._events.popleft().changed, now=now)

    def _on_request(self, request: Mapping[str, object]) -> None:
        """Answer the browser. A request may hold anything."""
        kind, line, offset = request.get("kind"), request.get("line"), request.get("offset")
        text = str(request.get("text", ""))
        inputs = self._texts.searchable() if kind == "find" and text else None  # slow, so not under the lock
        with self._lock:
            if kind == "sync":
                self._browser.send_snapshot()
            elif kind == "find":
                self._browser.send({"kind": "found", "text": text, "lines": self._model.find(text, inputs)})
            elif kind == "open" and isinstance(line, int) and 0 <= line < self._model.size:
                self._send_rows(line, offset if isinstance(offset, int) else 0)
            elif kind == "close" and isinstance(line, int):
                self._opened.pop(line, None)

    def _export(self) -> None:
        name = self._calls.head().get("run") or "eachlabs"
        self._browser.send({"kind": "file", "name": f"{name}.csv", "type": "text/csv"}, [to_csv(self.frame)])

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
            is_active = head["phase"] in ACTIVE_PHASES
            update = self._model.update(head, now)
            if update is not None:
                self._browser.send(dict(update))
            stale = [line for line, (_, version) in self._opened.items() if version != self._model.version(line)]
            for line in stale[:MAX_LINES_PER_UPDATE]:
                self._send_rows(line, self._opened[line][0])
            if outcomes is not None and not is_active:
                self._browser.send_snapshot()
            self._update_controls()
            if self._model.behind or stale[MAX_LINES_PER_UPDATE:]:
                return MIN_INTERVAL
            return HEARTBEAT if is_active else None

    def _send_rows(self, line: int, offset: int) -> None:
        self._opened.pop(line, None)  # and moves to the end, so that each of many lines gets its turn
        self._opened[line] = offset, self._model.version(line)
        self._browser.send({"kind": "rows", "line": line, **self._model.rows(line, offset)})

    def _update_controls(self) -> None:
        can_cancel = self._calls.can_cancel
        self._controls.show(can_retry=not can_cancel and self._model.rows_with(FAILED) > 0, can_cancel=can_cancel)

    def _retry_question(self) -> tuple[Collection[int], float | None, str | None]:
        warning = NO_JOURNAL if current().journal is None else None
        with self._lock:
            return self._model.rows_of(FAILED), self._model.mean_cost_usd, warning

    def _head(self, now: float) -> RunStatus:
        head = self._calls.head()
        head["rate"] = self._rate(now) if head["phase"] in ACTIVE_PHASES else None
        return head

    def _rate(self, now: float) -> float | None:
        """Return the rows settled per minute, over the last minute."""
        settled = sum(self._model.counts.get(status, 0) for status in TERMINAL)
        self._settled.append((now, settled))
        while now - self._settled[0][0] > RATE_WINDOW:
            self._settled.popleft()
        start, settled_at_start = self._settled[0]
        return round((settled - settled_at_start) / (now - start) * 60, 1) if now - start >= 1 else None


def dashboard(
    calls: Calls,
    *,
    label: Hashable | Sequence[Hashable] | None = None,
    auto_refresh: bool | None = None,
    interval: float,
) -> Dashboard:
    """Return a dashboard of a result.

    Raises
    ------
    ColumnError
        `label` names no column, or one that is there twice.
    ConfigurationError
        `interval` is not a positive number.
    """
    texts = row_texts(calls, label)
    calls.interval = interval
    return Dashboard(
        calls, texts, auto_refresh=in_kernel() if auto_refresh is None else auto_refresh, interval=interval
    )
