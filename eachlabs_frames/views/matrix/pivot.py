"""Places the rows of one frame, or of two side by side, in a grid. Values in, values out; no data frames.

No row is lost or merged: rows at the same place are numbered. An axis is in the order of a categorical's categories,
else of first appearance.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple


class GridAxis(NamedTuple):
    """The places along one direction."""

    places: Sequence[int]  # of each row
    first_rows: Sequence[int]  # of each place
    codes: Sequence[tuple[int, ...]]  # of each place, a number per level that stands for its key

    @property
    def size(self) -> int:
        """Number of places."""
        return len(self.first_rows)


class Slot(NamedTuple):
    """The position of a row within its cell: its place along `by`, and its number among the rows there, from 0."""

    by: int
    repeat: int


class PivotGrid(NamedTuple):
    """Rows of one frame, or of two side by side, in a grid."""

    rows: GridAxis
    columns: GridAxis
    by: GridAxis
    slots: Sequence[Sequence[Slot]]  # of each column, those that any of its cells fills, in order
    row_at: Mapping[tuple[int, int, int, Slot], int]  # by side, row, column and slot

    @property
    def is_repeated(self) -> bool:
        """Whether any two rows have the same place, so that only their number distinguishes them."""
        return any(slot.repeat for slots in self.slots for slot in slots)

    def cell(self, row: int, column: int, sides: int = 1) -> Iterator[tuple[Slot, tuple[int | None, ...]]]:
        """Yield each slot of a cell, with the frame's row that each side has there."""
        for slot in self.slots[column]:
            yield slot, tuple(self.row_at.get((side, row, column, slot)) for side in range(sides))


def axis(levels: Sequence[tuple[Sequence[Hashable], Sequence[Hashable]]], size: int) -> GridAxis:
    """Return the places of `size` rows; a single place if there is no level.

    A level is the key of each row, and keys whose order is known beforehand.
    """
    codes = list(zip(*(_encode(keys, order) for keys, order in levels), strict=True)) if levels else [(0,)] * size
    first_rows: dict[tuple[int, ...], int] = {}
    for row, code in enumerate(codes):
        first_rows.setdefault(code, row)
    places = {code: place for place, code in enumerate(sorted(first_rows))}
    return GridAxis([places[code] for code in codes], [first_rows[code] for code in places], list(places))


def grid(rows: GridAxis, columns: GridAxis, by: GridAxis, *, second: int | None = None) -> PivotGrid:
    """Put rows into cells.

    Parameters
    ----------
    rows, columns, by : GridAxis
        Of the same frame rows.
    second : int, optional
        The first row of the second side, if the rows are those of two frames.
    """
    split = len(rows.places) if second is None else second
    counts: dict[tuple[int, int, int, int], int] = {}
    row_at: dict[tuple[int, int, int, Slot], int] = {}
    slots: list[set[Slot]] = [set() for _ in range(columns.size)]
    for at, (row, column, place) in enumerate(zip(rows.places, columns.places, by.places, strict=True)):
        side = int(at >= split)
        key = side, row, column, place
        repeat = counts[key] = counts.get(key, -1) + 1
        slot = Slot(place, repeat)
        row_at[side, row, column, slot] = at
        slots[column].add(slot)
    return PivotGrid(rows, columns, by, [sorted(column_slots) for column_slots in slots], row_at)


def _encode(keys: Sequence[Hashable], order: Sequence[Hashable]) -> list[int]:
    codes = {key: code for code, key in enumerate(dict.fromkeys(order))}
    return [codes.setdefault(key, len(codes)) for key in keys]
