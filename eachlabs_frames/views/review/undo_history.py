"""A person who marks one thing after another: where they are, what they have marked, and each step back.

It knows neither what is marked nor what a mark means; what a mark may be is its caller's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

Mark = TypeVar("Mark")


class MarkHistory(Generic[Mark]):
    """Marks on things that have places 0 to `size` - 1.

    Parameters
    ----------
    size : int
        How many things there are.
    marks : mapping of int to mark
        What was marked before; it is copied.

    Attributes
    ----------
    marks : dict of int to mark
        By place; a place without a mark is left out.
    at : int
        Where one is: at first the first place without a mark, and `size` at the end.
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

    def steps(self, most: int) -> list[tuple[int, Mark | None]]:
        """Return the latest steps that can be taken back, the last one last: a place, and what stood there before."""
        return self._steps[-most:]

    def go(self, place: int) -> None:
        """Go to a place, or to the end."""
        self.at = max(0, min(place, self.size))

    def mark(self, place: int, mark: Mark | None) -> None:
        """Mark a place and go on to the one behind it; None takes its mark away, and stays there."""
        self._steps.append((place, self.marks.get(place)))
        self._put(place, mark)
        self.at = place if mark is None else place + 1

    def undo(self) -> int | None:
        """Take the latest step back and return its place; None where there is none."""
        if not self._steps:
            return None
        self.at, before = self._steps.pop()
        self._put(self.at, before)
        return self.at

    def next_open(self, after: int) -> int | None:
        """Return the next place without a mark, from behind `after` round to it; None where there is none."""
        first = min(after + 1, self.size)
        places = (*range(first, self.size), *range(first))
        return next((place for place in places if place not in self.marks), None)

    def _put(self, place: int, mark: Mark | None) -> None:
        if mark is None:
            self.marks.pop(place, None)
        else:
            self.marks[place] = mark
