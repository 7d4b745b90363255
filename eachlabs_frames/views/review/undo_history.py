"""``MarkHistory``: the position, the marks and the undo steps of a user who marks items one by one.

It does not interpret marks: the caller checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

Mark = TypeVar("Mark")


class MarkHistory(Generic[Mark]):
    """Marks of items that have the places 0 to `size` - 1.

    Parameters
    ----------
    size : int
        Number of items.
    marks : mapping of int to mark
        Earlier marks; they are copied.

    Attributes
    ----------
    marks : dict of int to mark
        By place; a place without a mark is not in it.
    at : int
        The current place: initially the first without a mark; `size` at the end.
    """

    def __init__(self, size: int, marks: Mapping[int, Mark]) -> None:
        self.size = size
        self.marks = dict(marks)
        self._steps: list[tuple[int, Mark | None]] = []
        first = self.next_open(-1)
        self.at = size if first is None else first

    @property
    def is_done(self) -> bool:
        """Whether every place has a mark."""
        return len(self.marks) == self.size

    def steps(self, limit: int) -> list[tuple[int, Mark | None]]:
        """Return the latest steps that can be undone, the latest at the end: a place, and its mark before."""
        return self._steps[-limit:]

    def go(self, place: int) -> None:
        """Go to a place, or to the end."""
        self.at = max(0, min(place, self.size))

    def mark(self, place: int, mark: Mark | None) -> None:
        """Mark a place and go to the next; None removes the mark, and the place stays current."""
        self._steps.append((place, self.marks.get(place)))
        self._put(place, mark)
        self.at = place if mark is None else place + 1

    def undo(self) -> int | None:
        """Undo the latest step and return its place; None if there is none."""
        if not self._steps:
            return None
        self.at, before = self._steps.pop()
        self._put(self.at, before)
        return self.at

    def next_open(self, after: int) -> int | None:
        """Return the next place without a mark after `after`, then from the start; None if there is none."""
        first = min(after + 1, self.size)
        places = (*range(first, self.size), *range(first))
        return next((place for place in places if place not in self.marks), None)

    def _put(self, place: int, mark: Mark | None) -> None:
        if mark is None:
            self.marks.pop(place, None)
        else:
            self.marks[place] = mark
