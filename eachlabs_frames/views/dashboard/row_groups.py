"""Groups of rows in a dashboard: the rows of each bulk operation, and the rows with the same error message.

Owns their places. Text from outside is cut to size here.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from heapq import nsmallest
from typing import Final

from ..common.outcomes import fit
from .messages import Line

MAX_GROUPS: Final = 50
MAX_LABELS: Final = 5
MAX_MESSAGE_LENGTH: Final = 500
MAX_ID_LENGTH: Final = 200
MAX_WORKER_LENGTH: Final = 80
NOWHERE: Final = -1


class ErrorRows:
    """The rows that have one error message."""

    __slots__ = ("_first", "message", "place", "rows")

    def __init__(self, message: str) -> None:
        self.message = message
        self.place = NOWHERE
        self.rows: set[int] = set()
        self._first: list[int] | None = []

    def join(self, row: int) -> None:
        """Add a row."""
        self.rows.add(row)
        if self._first is not None and (len(self._first) < MAX_LABELS or row < self._first[-1]):
            insort(self._first, row)
            del self._first[MAX_LABELS:]

    def leave(self, row: int) -> None:
        """Remove a row."""
        self.rows.discard(row)
        if self._first is not None and row in self._first:
            self._first = None  # computed when it is read: a retry removes thousands of rows, one by one

    def first(self) -> list[int]:
        """Return the first rows, in the frame's order."""
        if self._first is None:
            self._first = nsmallest(MAX_LABELS, self.rows)
        return self._first


class ErrorGroups:
    """Error messages and their places: a message keeps its place as long as a row has it.

    Parameters
    ----------
    dirty : dict
        Each place that has changed is added to it, as -1 - place.
    """

    def __init__(self, dirty: dict[int, None]) -> None:
        self.shown: list[ErrorRows] = []
        self._dirty = dirty
        self._sent: dict[int, tuple[str, list[int]]] = {}
        self._by_message: dict[str, ErrorRows] = {}
        self._by_row: dict[int, ErrorRows] = {}
        self._free: dict[int, None] = {}  # places whose message no row has; a waiting message gets one at once
        self._waiting: dict[str, ErrorRows] = {}

    @property
    def more(self) -> int:
        """Messages without a place."""
        return len(self._waiting)

    def is_sent(self, place: int) -> bool:
        """Return whether the browser has the current message and labels of this place."""
        return self._sent.get(place) == self._state(place)

    def mark_sent(self, place: int) -> None:
        """Record that the current message and labels of this place are sent."""
        self._sent[place] = self._state(place)

    def mark_all_sent(self) -> None:
        """Record that those of every place are sent."""
        for place in range(len(self.shown)):
            self.mark_sent(place)

    def move(self, row: int, error: str | None) -> None:
        """Move `row` from its group to that of its new error."""
        group = self._by_row.pop(row, None)
        if group is not None:
            group.leave(row)
            self._release(group)
        if error:
            message = fit(error, MAX_MESSAGE_LENGTH)
            group = self._by_message.get(message)
            if group is None:
                group = self._by_message[message] = ErrorRows(message)
                self._assign(group)
            self._by_row[row] = group
            group.join(row)
            if group.place != NOWHERE:
                self._free.pop(group.place, None)
                self._dirty[-1 - group.place] = None

    def _release(self, group: ErrorRows) -> None:
        if group.place != NOWHERE:
            self._dirty[-1 - group.place] = None
        if group.rows:
            return
        if group.place == NOWHERE:
            del self._waiting[group.message], self._by_message[group.message]
            return
        self._free[group.place] = None
        if self._waiting:
            self._assign(self._waiting.pop(next(iter(self._waiting))))

    def _assign(self, group: ErrorRows) -> None:
        """Give a message a new place, or one whose message no row has any more; otherwise it waits."""
        if len(self.shown) < MAX_GROUPS:
            group.place = len(self.shown)
            self.shown.append(group)
        elif self._free:
            group.place, _ = self._free.popitem()
            del self._by_message[self.shown[group.place].message]
            self.shown[group.place] = group
        else:
            self._waiting[group.message] = group
            return
        self._dirty[-1 - group.place] = None

    def _state(self, place: int) -> tuple[str, list[int]]:
        group = self.shown[place]
        return group.message, group.first()[:]


class BulkLine:
    """The rows of one bulk operation."""

    __slots__ = ("_order", "bulk_id", "counts", "created_at", "place", "rows", "version", "worker")

    def __init__(self, bulk_id: str | None, rows: Iterable[int] = (), worker: str = "") -> None:
        self.bulk_id = bulk_id
        self.worker = worker
        self.created_at: float | None = None
        self.place = NOWHERE
        self.rows = set(rows)
        self.counts = {0: len(self.rows)}
        self.version = 0
        self._order: list[int] | None = None

    def join(self, row: int, code: int) -> None:
        """Add a row."""
        self.rows.add(row)
        self.counts[code] = self.counts.get(code, 0) + 1
        self._order = None

    def leave(self, row: int, code: int) -> None:
        """Remove a row."""
        self.rows.discard(row)
        self.counts[code] -= 1
        self._order = None

    def in_order(self) -> list[int]:
        """Return the rows in the frame's order."""
        if self._order is None:
            self._order = sorted(self.rows)
        return self._order

    def pairs(self) -> list[int]:
        """Return ``[code, rows, code, rows, ...]``."""
        return [number for code in sorted(self.counts) if self.counts[code] for number in (code, self.counts[code])]

    def whole(self) -> Line:
        """Return the message for a new line."""
        line = fit(self.bulk_id or "", MAX_ID_LENGTH), self.created_at, self.pairs()
        return (*line, fit(self.worker, MAX_WORKER_LENGTH)) if self.worker else line
