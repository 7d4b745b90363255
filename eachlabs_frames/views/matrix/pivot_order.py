"""A frame's rows -> the cells of a grid. Keys in, positions out: every row is in exactly one place, and none is merged.

It never sees a value. A place on an axis is a tuple of keys; axes are in the order of a categorical's categories where
one is given, and of first appearance where none is.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

ONE: Final = (0,)
"""The places of an axis that nobody asked for."""


class AxisLevel(NamedTuple):
    """A column along an axis: each row's key; `order` holds keys whose order is known beforehand."""

    keys: Sequence[Hashable]
    order: Sequence[Hashable] = ()


class GridAxis(NamedTuple):
    """The places along one direction.

    `of` holds each row's place, `first` a row that has each place, and `codes` each place's key per level, as a number.
    """

    of: Sequence[int]
    first: Sequence[int]
    codes: Sequence[tuple[int, ...]]

    @property
    def size(self) -> int:
        """How many places there are."""
        return len(self.first)


class Slot(NamedTuple):
    """Where a row stands within its cell: its place along `by`, and which of the rows of that place it is, from 0."""

    by: int
    repeat: int


class PivotGrid(NamedTuple):
    """Rows of one frame, or of two side by side, in a grid.

    `slots` holds, for each column, the slots that any of its cells fills, in order; `found` the row in each place, by
    side, row, column and slot.
    """

    rows: GridAxis
    columns: GridAxis
    by: GridAxis
    slots: Sequence[Sequence[Slot]]
    found: Mapping[tuple[int, int, int, Slot], int]

    @property
    def is_repeated(self) -> bool:
        """Whether any two rows have the same place, so that they are told apart by their number alone."""
        return any(slot.repeat for slots in self.slots for slot in slots)

    def cell(self, row: int, column: int, sides: int = 1) -> Iterator[tuple[Slot, tuple[int | None, ...]]]:
        """Yield each slot of a cell, with the frame's row that each side has there."""
        for slot in self.slots[column]:
            yield slot, tuple(self.found.get((side, row, column, slot)) for side in range(sides))


def axis(levels: Sequence[AxisLevel], size: int) -> GridAxis:
    """Return the places that `size` rows have along these levels; a single place where there is no level."""
    codes = list(zip(*map(_coded, levels), strict=True)) if levels else [ONE] * size
    first: dict[tuple[int, ...], int] = {}
    for row, code in enumerate(codes):
        first.setdefault(code, row)
    places = {code: place for place, code in enumerate(sorted(first))}
    return GridAxis([places[code] for code in codes], [first[code] for code in places], list(places))


def grid(rows: GridAxis, columns: GridAxis, by: GridAxis, *, second: int | None = None) -> PivotGrid:
    """Put rows into cells.

    Parameters
    ----------
    rows, columns, by : Axis
        Of the same frame rows.
    second : int, optional
        The first row of the second side, where two frames stand one after the other.
    """
    size = len(rows.of)
    split = size if second is None else second
    counts: dict[tuple[int, int, int, int], int] = {}
    found: dict[tuple[int, int, int, Slot], int] = {}
    slots: list[set[Slot]] = [set() for _ in range(columns.size)]
    for at, (row, column, place) in enumerate(zip(rows.of, columns.of, by.of, strict=True)):
        side = int(at >= split)
        key = side, row, column, place
        repeat = counts[key] = counts.get(key, -1) + 1
        slot = Slot(place, repeat)
        found[side, row, column, slot] = at
        slots[column].add(slot)
    return PivotGrid(rows, columns, by, [sorted(one) for one in slots], found)


def _coded(level: AxisLevel) -> list[int]:
    codes = {key: code for code, key in enumerate(dict.fromkeys(level.order))}
    return [codes.setdefault(key, len(codes)) for key in level.keys]
