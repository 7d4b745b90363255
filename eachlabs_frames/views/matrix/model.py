"""What a matrix shows, as plain data: headers, cells, numbers, colours. Values in, JSON out; no frame and no widget.

A widget, a page, a table and a picture show the same. What is too much for one is cut here, and said.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import isfinite, isnan, nan
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, TypedDict

from ...media import cut
from ...models import COMPLETED
from ..common.card import Card
from .colours import NOTHING, Legend, Scale, Unit, legend, quantity, scale
from .pivot import PivotGrid, Slot

Kind: TypeAlias = Literal["cards", "numbers", "statuses"]

MAX_ROWS: Final = 10_000
"""Rows of the frame that are shown, places without one among them."""

MAX_COLUMNS: Final = 500
MAX_REPEATS: Final = 100
MAX_GAPS: Final = 20
"""Slots of a cell up to which one without a row is marked: of more, `by` names moments rather than an axis."""

MAX_HEAD_LENGTH: Final = 2_000
MAX_SLOT_LENGTH: Final = 100
MAX_STATUS_LENGTH: Final = 24

GAP: Final = "no row"


class AxisHead(TypedDict):
    """An axis: what its levels are called, and each place's texts, one per level."""

    names: list[str]
    places: list[list[str]]


class CellMark(TypedDict):
    """A row of the frame in its slot."""

    at: int  # its position; those of the second frame go on where the first ends
    status: str
    text: str | None  # its number; None where it has none, and where cards are shown


class CellSlot(TypedDict):
    """A slot of a cell: a repeat."""

    label: str  # empty where it is the only one
    marks: list[CellMark | None]  # one per side; None where the frame has no such row
    difference: str | None


class MatrixCell(TypedDict):
    """What stands where a row and a column meet."""

    slots: list[CellSlot]  # none where the frame has no such combination
    more: int  # slots that are not shown
    mean: str | None  # of several numbers, or of several differences
    paint: tuple[str, str] | None  # its colour, and the one of text on it


class MatrixTable(TypedDict):
    """All of a matrix but its cards."""

    kind: Kind
    title: str
    rows: AxisHead
    columns: AxisHead
    sides: list[str]  # what two frames are called; empty where there is one
    cells: list[list[MatrixCell]]
    legend: Legend | None
    size: int  # pixels of a picture's side
    cut: str  # what is not shown, as a sentence


class MatrixValues(NamedTuple):
    """What is shown of each row, those of a second frame after those of the first."""

    kind: Kind
    name: str
    statuses: Sequence[str]
    numbers: Sequence[float] = ()
    unit: Unit = "number"
    bounds: tuple[float, float] | None = None  # the least and the greatest number that there can be, as of a score


class AxisHeads(NamedTuple):
    """The axes' texts; `by` holds the whole label of each place."""

    rows: AxisHead
    columns: AxisHead
    by: Sequence[str]


def table(grid: PivotGrid, heads: AxisHeads, reading: MatrixValues, *, sides: Sequence[str], size: int) -> MatrixTable:
    """Return what a matrix shows.

    Parameters
    ----------
    grid : Grid
    heads : Heads
    reading : Reading
    sides : sequence of str
        What two frames are called; empty for one.
    size : int
        Pixels of a picture's side.
    """
    sides = [cut(side, MAX_SLOT_LENGTH) for side in sides]
    reading = reading._replace(name=cut(reading.name, MAX_SLOT_LENGTH))
    columns = min(grid.columns.size, MAX_COLUMNS)
    wide = sum(min(len(slots), MAX_REPEATS) for slots in grid.slots[:columns]) * max(1, len(sides))
    rows = min(grid.rows.size, max(1, MAX_ROWS // max(1, wide)))
    writer = _CellWriter(grid, heads.by, reading, sides)
    return {
        "kind": reading.kind,
        "title": _title(heads, reading, sides),
        "rows": _shown(heads.rows, rows),
        "columns": _shown(heads.columns, columns),
        "sides": sides,
        "cells": [[writer.cell(row, column) for column in range(columns)] for row in range(rows)],
        "legend": None if writer.scale is None else legend(writer.scale, reading.name, reading.unit, sides),
        "size": size,
        "cut": _cut(grid, rows, columns),
    }


class _CellWriter:
    """Writes cells, of one grid and on one scale."""

    def __init__(self, grid: PivotGrid, by: Sequence[str], reading: MatrixValues, sides: Sequence[str]) -> None:
        self._grid = grid
        self._by = by
        self._reading = reading
        self._sides = max(1, len(sides))
        self.scale: Final = self._measured()

    def _measured(self) -> Scale | None:
        """Return the scale of the numbers that cells are coloured by."""
        if self._reading.kind != "numbers":
            return None
        if self._sides == 1 and self._reading.unit == "truth":
            return Scale(0.0, 1.0)
        places = itertools.product(range(self._grid.rows.size), range(self._grid.columns.size))
        numbers = [number for place in places if not isnan(number := self._mean(*place))]
        if numbers and self._reading.bounds is not None:
            low, high = self._reading.bounds
            numbers += [low - high, high - low] if self._sides > 1 else [low, high]
        return scale(numbers, is_around_zero=self._sides > 1)

    def cell(self, row: int, column: int) -> MatrixCell:
        """Return one cell."""
        slots = self._grid.slots[column]
        shown = [
            (slot, found)
            for slot, found in self._held(row, column)
            if any(at is not None for at in found) or (not slot.repeat and len(slots) <= MAX_GAPS)
        ]
        mean = self._mean(row, column)
        paint = None if isnan(mean) or self.scale is None else self.scale.paint(mean)
        return {
            "slots": [self._place(slot, found, is_single=len(slots) == 1) for slot, found in shown[:MAX_REPEATS]],
            "more": max(0, len(shown) - MAX_REPEATS),
            "mean": self._text(mean) if len(shown) > 1 and not isnan(mean) else None,
            "paint": None if paint is None else (paint.colour, paint.ink),
        }

    def _held(self, row: int, column: int) -> list[tuple[Slot, tuple[int | None, ...]]]:
        """Return a cell's slots, and the rows in them; none where no row is in any."""
        slots = list(self._grid.cell(row, column, self._sides))
        return slots if any(at is not None for _, found in slots for at in found) else []

    def _mean(self, row: int, column: int) -> float:
        """Return the mean of the numbers that there are; of opposite infinities, and of nothing, NaN."""
        numbers = [self._number(found) for _, found in self._grid.cell(row, column, self._sides)]
        known = [number for number in numbers if not isnan(number)]
        if not known:
            return nan
        if not all(map(isfinite, known)):
            return sum(number for number in known if not isfinite(number))
        # Each divided first: the sum of large ones may be more than the largest float.
        return sum(number / len(known) for number in known)

    def _place(self, slot: Slot, found: Sequence[int | None], *, is_single: bool) -> CellSlot:
        difference = self._number(found) if self._sides > 1 else nan
        return {
            "label": "" if is_single else self._label(slot),
            "marks": [None if at is None else self._mark(at) for at in found],
            "difference": None if isnan(difference) else self._text(difference),
        }

    def _label(self, slot: Slot) -> str:
        name = self._by[slot.by] if self._by else ""
        if not self._grid.is_repeated:
            return cut(name, MAX_SLOT_LENGTH)
        return f"{cut(name, MAX_SLOT_LENGTH)} #{slot.repeat + 1}".strip()

    def _mark(self, at: int) -> CellMark:
        number = self._reading.numbers[at] if self._reading.kind == "numbers" else nan
        text = None if isnan(number) else quantity(number, self._reading.unit)
        return {"at": at, "status": cut(self._reading.statuses[at], MAX_STATUS_LENGTH), "text": text}

    def _number(self, found: Sequence[int | None]) -> float:
        """Return the number that a slot is coloured by; NaN where it has none."""
        if self._reading.kind != "numbers":
            return nan
        if self._sides > 1:
            return self._difference(*found)
        (at,) = found
        return nan if at is None else self._reading.numbers[at]

    def _difference(self, first: int | None, second: int | None) -> float:
        numbers = self._reading.numbers
        return nan if first is None or second is None else numbers[second] - numbers[first]

    def _text(self, number: float) -> str:
        return quantity(number, self._reading.unit, signed=self._sides > 1)


def _title(heads: AxisHeads, reading: MatrixValues, sides: Sequence[str]) -> str:
    axes = " and ".join(", ".join(head["names"]) for head in (heads.rows, heads.columns))
    return cut(f"{reading.name} by {axes}" + (f": {sides[0]} beside {sides[1]}" if sides else ""), MAX_HEAD_LENGTH)


def _shown(head: AxisHead, most: int) -> AxisHead:
    return {
        "names": [cut(name, MAX_SLOT_LENGTH) for name in head["names"]],
        "places": [[cut(text, MAX_HEAD_LENGTH) for text in texts] for texts in head["places"][:most]],
    }


def _cut(grid: PivotGrid, rows: int, columns: int) -> str:
    """Say what is not shown."""
    parts = [
        f"the first {shown:,} of {size:,} {what}"
        for shown, size, what in ((rows, grid.rows.size, "rows"), (columns, grid.columns.size, "columns"))
        if shown < size
    ]
    return f"Shown: {' and '.join(parts)}. All of it is in the matrix's frame." if parts else ""


def mark_text(mark: CellMark | None, kind: Kind) -> str:
    """Return the text of a row whose output is not shown: its number, else its status."""
    if mark is None:
        return GAP
    if mark["text"] is not None:
        return mark["text"]
    return NOTHING if kind == "numbers" and mark["status"] == COMPLETED else mark["status"]


def cell_lines(cell: MatrixCell, kind: Kind) -> Iterator[str]:
    """Yield the lines of a cell of numbers or statuses."""
    if not cell["slots"]:
        yield GAP
    if cell["mean"] is not None:
        yield f"mean {cell['mean']}"
    for slot in cell["slots"]:
        label = f"{cut(slot['label'], 24)}: " if slot["label"] else ""
        difference = f" ({slot['difference']})" if slot["difference"] else ""
        yield label + " | ".join(mark_text(mark, kind) for mark in slot["marks"]) + difference
    if cell["more"]:
        yield f"and {cell['more']:,} more"


def marks(shown: MatrixTable) -> Iterator[CellMark]:
    """Yield every row that is shown, in reading order."""
    for line in shown["cells"]:
        for cell in line:
            for place in cell["slots"]:
                yield from (mark for mark in place["marks"] if mark is not None)


class CardSource(Protocol):
    """Where a matrix has its cards from, by the numbers that the table's marks have."""

    @property
    def frame(self) -> Any:
        """The pivot."""

    @property
    def size(self) -> int:
        """How many cards there are."""

    def cards(self, numbers: Sequence[int]) -> list[Card]:
        """Return these cards."""

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of a card's downloaded files, in the order of the URLs in its output."""
