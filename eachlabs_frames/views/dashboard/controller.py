"""The controller of a dashboard or gallery: the data that it displays, and the actions of its buttons.

Never makes calls itself: `Calls` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ...frames import columns
from ...frames.calls import Calls
from ...frames.rows import label_texts
from ...models import Event, Observer, Outcome
from ...notebook import in_kernel
from ...settings import current
from ..common.source import RowLabels
from .model import DashboardModel
from .source import to_csv

if TYPE_CHECKING:
    from ...frames.run_status import RunStatus
    from ..common.messages import DashboardSnapshot
    from .widget import Dashboard


class DashboardController:
    """Connects one dashboard or gallery to the calls on a result.

    Parameters
    ----------
    calls : Calls
    label : label or list of labels, optional
        Columns whose values are a row's title; see `RowLabels`.

    Attributes
    ----------
    labels : list of str
        Each row's label in the index, as text.

    Raises
    ------
    ColumnError
        `label` names no column, or one that is there twice.
    """

    def __init__(self, calls: Calls, *, label: Hashable | Sequence[Hashable] | None = None) -> None:
        self._calls: Final = calls
        self._titles: Final = _row_labels(calls, label)
        self.labels: Final = label_texts(calls.source.index)
        self._hear: Observer = _ignore
        self._turned: Callable[[], None] = _nothing

    # -- display ----------------------------------------------------------------------------------------------------

    @property
    def frame(self) -> Any:
        """The current result, as a new pandas.DataFrame."""
        return self._calls.frame

    def titles(self, rows: Sequence[int]) -> list[str]:
        """Return the titles of these rows, which are shown beside their labels; "" for a row without a title."""
        return self._titles.of(rows)

    def inputs(self) -> list[str]:
        """Return the text of each row's input, for the search."""
        return self._titles.searched()

    def attend(self, hear: Observer, turned: Callable[[], None]) -> None:
        """Call `hear` with each event and `turned` when a call starts or ends, from other threads."""
        self._hear, self._turned = hear, turned
        self._calls.attend(self)

    def hear(self, event: Event) -> None:
        """Forward an event."""
        self._hear(event)

    def turned(self) -> None:
        """Forward that a call has started or ended."""
        self._turned()

    def outcomes(self, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Return each row's outcome, and call `meanwhile` while no event can occur."""
        return self._calls.outcomes(self, meanwhile)

    def head(self) -> RunStatus:
        """Return the status of the run, without the rows' own counts."""
        return self._calls.head()

    @property
    def can_cancel(self) -> bool:
        """Whether a call that triggers is in progress."""
        return self._calls.can_cancel

    @property
    def can_retry(self) -> bool:
        """Whether failed rows can be triggered again now."""
        return not self._calls.can_cancel

    @property
    def caution(self) -> str | None:
        """A warning for the question before a retry, or None."""
        if current().journal is not None:
            return None
        return "The journal is off, so another cell or dashboard may already have paid for them."

    # -- buttons ----------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Poll the executions once."""
        self._calls.refresh()

    def follow(self, on: bool) -> None:
        """Start or stop polling until all executions have ended, unless a call does so already."""
        self._calls.follow(self, on)

    def pace(self, interval: float) -> None:
        """Set the seconds between two polls, at least.

        Raises
        ------
        ConfigurationError
            It is not a positive number.
        """
        self._calls.interval = interval

    def cancel(self) -> None:
        """Stop the call that triggers."""
        self._calls.cancel()

    def retry(self, rows: Collection[int]) -> None:
        """Trigger the failed rows among `rows` (positions) again. Each is a new paid execution."""
        self._calls.retry(rows)

    def csv(self) -> bytes:
        """Return the frame as a CSV file for spreadsheets."""
        return to_csv(self.frame)

    def close(self) -> None:
        """Stop forwarding and polling for this view. A run or a retry continues."""
        self._hear, self._turned = _ignore, _nothing
        self._calls.leave(self)


def still(calls: Calls) -> DashboardSnapshot:
    """Return a snapshot of a result as it is now."""
    model = DashboardModel(label_texts(calls.source.index), _row_labels(calls).of)
    results = columns.read(calls.frame, calls.origin.prefix)
    model.take([results.outcome(row) for row in range(results.size)], now=None)
    return model.snapshot(calls.head(), time.time())


def shown(controller: DashboardController, *, auto_refresh: bool | None, interval: float) -> Dashboard:
    """Return the dashboard of a controller."""
    from .widget import Dashboard  # imported here because it takes 0.2 s

    controller.pace(interval)
    return Dashboard(controller, interval=interval, auto_refresh=in_kernel() if auto_refresh is None else auto_refresh)


def _row_labels(calls: Calls, label: Hashable | Sequence[Hashable] | None = None) -> RowLabels:
    return RowLabels(calls.source, label, prefix=calls.origin.prefix, origin=lambda: calls.origin)


def _ignore(event: Event) -> None:
    pass


def _nothing() -> None:
    pass
