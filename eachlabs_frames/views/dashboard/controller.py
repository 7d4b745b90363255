"""The controller of a dashboard or gallery: what it shows of a result, and what its buttons do. `Calls` makes calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Final

import pandas as pd

from ...frames import columns
from ...frames.calls import Calls
from ...frames.rows import label_texts
from ...models import Event, Observer, Outcome
from ...notebook import in_kernel
from ...settings import current
from ..common.source import RowLabels
from .model import DashboardModel
from .spreadsheet import to_csv

if TYPE_CHECKING:
    from ...frames.run_status import RunStatus
    from ..common.messages import DashboardSnapshot
    from .widget import Dashboard


class DashboardController:
    """One dashboard's or gallery's view of a result.

    Parameters
    ----------
    calls : Calls
    label : label or list of labels, optional
        Columns whose values a row is called by; see `RowLabels`.

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
        self._named: Final = _named(calls, label)
        self.labels: Final = label_texts(calls.source.index)
        self._hear: Observer = _ignore
        self._turned: Callable[[], None] = _nothing

    # -- what is shown ----------------------------------------------------------------------------------------------

    @property
    def frame(self) -> pd.DataFrame:
        """The result as it is now, as a frame of the caller's own."""
        return self._calls.frame

    def titles(self, rows: Sequence[int]) -> list[str]:
        """Return what these rows are called beside their labels; "" for one without a title."""
        return self._named.of(rows)

    def inputs(self) -> list[str]:
        """Return the texts of each row's input, to be searched."""
        return self._named.searched()

    def attend(self, hear: Observer, turned: Callable[[], None]) -> None:
        """Call `hear` with each event, and `turned` at each call's begin and end; from other threads."""
        self._hear, self._turned = hear, turned
        self._calls.attend(self)

    def hear(self, event: Event) -> None:
        """Pass on what a call has changed."""
        self._hear(event)

    def turned(self) -> None:
        """Pass on that a call has begun or ended."""
        self._turned()

    def outcomes(self, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Return how each row stands, and do `meanwhile` at that moment; what happens later is heard."""
        return self._calls.outcomes(self, meanwhile)

    def head(self) -> RunStatus:
        """Return what is shown beside the rows' own counts."""
        return self._calls.head()

    @property
    def can_cancel(self) -> bool:
        """Whether a call is at work that triggers."""
        return self._calls.can_cancel

    @property
    def can_retry(self) -> bool:
        """Whether failed rows could be triggered again now."""
        return not self._calls.can_cancel

    @property
    def caution(self) -> str | None:
        """What whoever pays should know beside the number of rows."""
        if current().journal is not None:
            return None
        return "The journal is off, so another cell or dashboard may already have paid for them."

    # -- what its buttons do ----------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the executions now."""
        self._calls.refresh()

    def follow(self, on: bool) -> None:
        """Look again and again until all have ended, where no call does; or do so no longer."""
        self._calls.follow(self, on)

    def pace(self, interval: float) -> None:
        """Have at least so many seconds between two looks.

        Raises
        ------
        ConfigurationError
            No positive number.
        """
        self._calls.interval = interval

    def cancel(self) -> None:
        """Stop the call that triggers."""
        self._calls.cancel()

    def retry(self, rows: Collection[int]) -> None:
        """Trigger those of `rows` (positions) again that have failed: each is paid once more; no other row is."""
        self._calls.retry(rows)

    def csv(self) -> bytes:
        """Return the frame as a CSV file that a spreadsheet may open."""
        return to_csv(self.frame)

    def close(self) -> None:
        """Pass on nothing more, and look no longer for this view. A run or a retry goes on."""
        self._hear, self._turned = _ignore, _nothing
        self._calls.leave(self)


def still(calls: Calls) -> DashboardSnapshot:
    """Return what there is to show of a result, as it is."""
    board = DashboardModel(label_texts(calls.source.index), _named(calls).of)
    results = columns.read(calls.frame, calls.origin.prefix)
    board.take([results.outcome(row) for row in range(results.size)], now=None)
    return board.snapshot(calls.head(), time.time())


def shown(desk: DashboardController, *, auto_refresh: bool | None, interval: float) -> Dashboard:
    """Return a dashboard of a desk."""
    from .widget import Dashboard  # takes 0.2 s to import, and is only for those who look

    desk.pace(interval)
    return Dashboard(desk, interval=interval, auto_refresh=in_kernel() if auto_refresh is None else auto_refresh)


def _named(calls: Calls, label: Hashable | Sequence[Hashable] | None = None) -> RowLabels:
    return RowLabels(calls.source, label, prefix=calls.origin.prefix, origin=lambda: calls.origin)


def _ignore(event: Event) -> None:
    pass


def _nothing() -> None:
    pass
