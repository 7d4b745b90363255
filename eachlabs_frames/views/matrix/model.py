"""What a matrix displays, as plain data: headers, cells, numbers, colours. Values in, JSON out; no frame, no widget.

The widget, the page, the table and the PNG display the same. What exceeds a limit is left out here, and reported.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import isfinite, isnan, nan
from typing import Final, Literal, NamedTuple, TypeAlias, TypedDict

from ...media import cut
from ...models import COMPLETED
from .colours import NOTHING, Legend, Scale, Unit, legend, quantity, scale
from .pivot import PivotGrid, Slot

Kind: TypeAlias = Literal["cards", "numbers", "statuses"]

MAX_ROWS: Final = 10_000
"""Rows of the frame that are displayed, including places without a row."""

MAX_COLUMNS: Final = 500
MAX_REPEATS: Final = 100
MAX_GAPS: Final = 20
"""Slots of a cell up to which those without a row are displayed: if there are more, `by` is hardly an axis."""

MAX_HEAD_LENGTH: Final = 2_000
MAX_SLOT_LENGTH: Final = 100
MAX_STATUS_LENGTH: Final = 24

GAP: Final = "no row"


class AxisHead(TypedDict):
    """An axis: the names of its levels, and for each place and level a text and the number of a picture, if any."""

    names: list[str]
    places: list[list[str]]
    images: list[list[int | None]]


class CellMark(TypedDict):
    """A row of the frame in its slot."""

    at: int  # its number: the position, counted on into the second frame
    status: str
    text: str | None  # its number; None if it has none, or if cards are displayed


class CellSlot(TypedDict):
    """A slot of a cell: a repeat."""

    label: str  # empty if it is the only one
    marks: list[CellMark | None]  # one per side; None if the frame has no such row
    difference: str | None


class MatrixCell(TypedDict):
    """The intersection of a row and a column."""

    slots: list[CellSlot]  # empty if the frame has no such combination
    more: int  # number of slots that are left out
    mean: str | None  # of several numbers, or of several differences
    paint: tuple[str, str] | None  # background and text colour


class MatrixTable(TypedDict):
    """A matrix without its cards."""

    kind: Kind
    title: str
    rows: AxisHead
    columns: AxisHead
    sides: list[str]  # names of two frames; empty for one
    cells: list[list[MatrixCell]]
    legend: Legend | None
    size: int  # pixels of a picture's side
    cut: str  # what is left out, as a sentence


class MatrixValues(NamedTuple):
    """What is displayed of each row; rows of a second frame follow those of the first."""

    kind: Kind
    numbers: Sequence[float] = ()  # NaN if missing
    unit: Unit = "number"
    bounds: tuple[float, float] | None = None  # the least and the greatest possible number, if known
    name: str = ""
    statuses: Sequence[str] = ()


def table(
    grid: PivotGrid,
    rows: AxisHead,
    columns: AxisHead,
    by: Sequence[str],
    values: MatrixValues,
    *,
    sides: Sequence[str],
    size: int,
) -> MatrixTable:
    """Return what a matrix displays.

    Parameters
    ----------
    grid : PivotGrid
    rows, columns : AxisHead
    by : sequence of str
        The label of each place along `by`.
    values : MatrixValues
    sides : sequence of str
        Names of two frames; empty for one.
    size : int
        Pixels of a picture's side.
    """
    sides = [cut(side, MAX_SLOT_LENGTH) for side in sides]
    values = values._replace(name=cut(values.name, MAX_SLOT_LENGTH))
    width = min(grid.columns.size, MAX_COLUMNS)
    marks_per_row = sum(min(len(slots), MAX_REPEATS) for slots in grid.slots[:width]) * max(1, len(sides))
    height = min(grid.rows.size, max(1, MAX_ROWS // max(1, marks_per_row)))
    writer = _CellWriter(grid, by, values, sides)
    axes = " and ".join(", ".join(head["names"]) for head in (rows, columns))
    beside = f": {sides[0]} beside {sides[1]}" if sides else ""
    return {
        "kind": values.kind,
        "title": cut(f"{values.name} by {axes}{beside}", MAX_HEAD_LENGTH),
        "rows": _cut_head(rows, height),
        "columns": _cut_head(columns, width),
        "sides": sides,
        "cells": [[writer.cell(row, column) for column in range(width)] for row in range(height)],
        "legend": None if writer.scale is None else legend(writer.scale, values.name, values.unit, sides),
        "size": size,
        "cut": _describe_cut(grid, height, width),
    }


class _CellWriter:
    """Writes the cells of one grid, on one scale."""

    def __init__(self, grid: PivotGrid, by: Sequence[str], values: MatrixValues, sides: Sequence[str]) -> None:
        self._grid = grid
        self._by = by
        self._values = values
        self._sides = max(1, len(sides))
        self.scale: Final = self._scale()

    def _scale(self) -> Scale | None:
        """Return the scale of the cells' colours."""
        if self._values.kind != "numbers":
            return None
        if self._sides == 1 and self._values.unit == "truth":
            return Scale(0.0, 1.0)
        places = itertools.product(range(self._grid.rows.size), range(self._grid.columns.size))
        numbers = [number for place in places if not isnan(number := self._mean(*place))]
        if numbers and self._values.bounds is not None:
            low, high = self._values.bounds
            numbers += [low - high, high - low] if self._sides > 1 else [low, high]
        return scale(numbers, is_around_zero=self._sides > 1)

    def cell(self, row: int, column: int) -> MatrixCell:
        """Return one cell."""
        slots = list(self._grid.cell(row, column, self._sides))
        is_empty = all(at is None for _, rows in slots for at in rows)
        shown = [
            (slot, rows)
            for slot, rows in slots
            if any(at is not None for at in rows) or not (is_empty or slot.repeat or len(slots) > MAX_GAPS)
        ]
        mean = self._mean(row, column)
        return {
            "slots": [self._slot(slot, rows, is_single=len(slots) == 1) for slot, rows in shown[:MAX_REPEATS]],
            "more": max(0, len(shown) - MAX_REPEATS),
            "mean": self._text(mean) if len(shown) > 1 and not isnan(mean) else None,
            "paint": None if isnan(mean) or self.scale is None else self.scale.paint(mean),
        }

    def _mean(self, row: int, column: int) -> float:
        """Return the mean of a cell's numbers; NaN if there is none, or if there are opposite infinities."""
        numbers = [self._number(rows) for _, rows in self._grid.cell(row, column, self._sides)]
        numbers = [number for number in numbers if not isnan(number)]
        if not numbers:
            return nan
        if not all(map(isfinite, numbers)):
            return sum(number for number in numbers if not isfinite(number))
        # Each is divided first, because the sum may exceed the largest float.
        return sum(number / len(numbers) for number in numbers)

    def _slot(self, slot: Slot, rows: Sequence[int | None], *, is_single: bool) -> CellSlot:
        difference = self._number(rows) if self._sides > 1 else nan
        return {
            "label": "" if is_single else self._label(slot),
            "marks": [None if at is None else self._mark(at) for at in rows],
            "difference": None if isnan(difference) else self._text(difference),
        }

    def _label(self, slot: Slot) -> str:
        name = cut(self._by[slot.by], MAX_SLOT_LENGTH) if self._by else ""
        return f"{name} #{slot.repeat + 1}".strip() if self._grid.is_repeated else name

    def _mark(self, at: int) -> CellMark:
        number = self._values.numbers[at] if self._values.kind == "numbers" else nan
        text = None if isnan(number) else quantity(number, self._values.unit)
        return {"at": at, "status": cut(self._values.statuses[at], MAX_STATUS_LENGTH), "text": text}

    def _number(self, rows: Sequence[int | None]) -> float:
        """Return the number that a slot is coloured by, which is the difference of two sides; NaN if it has none."""
        if self._values.kind != "numbers":
            return nan
        numbers = [nan if at is None else self._values.numbers[at] for at in rows]
        return numbers[1] - numbers[0] if self._sides > 1 else numbers[0]

    def _text(self, number: float) -> str:
        return quantity(number, self._values.unit, signed=self._sides > 1)


def _cut_head(head: AxisHead, size: int) -> AxisHead:
    return {
        "names": [cut(name, MAX_SLOT_LENGTH) for name in head["names"]],
        "places": [[cut(text, MAX_HEAD_LENGTH) for text in texts] for texts in head["places"][:size]],
        "images": head["images"][:size],
    }


def _describe_cut(grid: PivotGrid, rows: int, columns: int) -> str:
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


def marks(table: MatrixTable) -> Iterator[CellMark]:
    """Yield every row that is displayed, in reading order."""
    for cells in table["cells"]:
        for cell in cells:
            for slot in cell["slots"]:
                yield from (mark for mark in slot["marks"] if mark is not None)
