"""Places the rows of one frame, or of two side by side, in a grid, and builds the pivot table from it.

No row is lost or merged: rows of the same place are numbered. Values are taken by position, never aligned. An axis is
in the order of a categorical's categories, else of first appearance.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from ...inputs.json_values import MISSING

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


RUN: Final = "run"
REPEAT: Final = "repeat"


class AxisNames(NamedTuple):
    """The columns along each axis, by label."""

    rows: tuple[Hashable, ...]
    columns: tuple[Hashable, ...]
    by: tuple[Hashable, ...]


class Pivot(NamedTuple):
    """A grid, and the values of each axis: a frame per axis, a line per place, a column per level."""

    names: AxisNames
    grid: PivotGrid
    rows: pd.DataFrame
    columns: pd.DataFrame
    by: pd.DataFrame


def pivot(names: AxisNames, sides: Sequence[Mapping[Hashable, pd.Series[Any]]]) -> Pivot:
    """Put the rows of one or two frames into one grid.

    Parameters
    ----------
    names : Names
    sides : sequence of mapping
        Each frame's columns along the axes, by label.
    """
    sizes = [len(next(iter(side.values()))) for side in sides]
    columns = {label: [side[label] for side in sides] for labels in names for label in labels}
    axes = [axis([_level(columns[label]) for label in labels], sum(sizes)) for labels in names]
    joined = {label: _joined(each) for label, each in columns.items()}
    made = [_labels(joined, labels, along) for labels, along in zip(names, axes, strict=True)]
    return Pivot(names, grid(*axes, second=sizes[0] if len(sides) > 1 else None), *made)


def spread(pivot: Pivot, values: Sequence[pd.Series[Any]], sides: Sequence[str]) -> pd.DataFrame:
    """Return the values in the grid's shape: a line per place of the rows, a column per slot of the columns.

    Parameters
    ----------
    pivot : Pivot
    values : sequence of Series
        Each side's values, in its frame's order.
    sides : sequence of str
        What the sides are called; empty where there is only one.
    """
    places = [(column, slot) for column, slots in enumerate(pivot.grid.slots) for slot in slots]
    lines = range(pivot.grid.rows.size)
    start, made = 0, []
    for side, column_of_values in enumerate(values):
        plain = column_of_values.set_axis(pd.RangeIndex(len(column_of_values)))
        for column, slot in places:
            found = (pivot.grid.found.get((side, row, column, slot), start - 1) for row in lines)
            made.append(plain.reindex([at - start for at in found]).set_axis(lines))
        start += len(plain)
    # Of columns, not of arrays: what stands in an array of objects would be guessed at.
    frame: pd.DataFrame = pd.DataFrame(dict(enumerate(made)), index=lines)
    frame.index = _index(pivot.rows, list(pivot.names.rows))
    frame.columns = _header(pivot, [*places] * len(values), [side for side in sides for _ in places])
    return frame


def _header(pivot: Pivot, places: Sequence[Any], sides: Sequence[str]) -> pd.Index[Any]:
    """Return the columns of the pivot: side, keys, keys along `by`, and number, each where there is such a thing."""
    columns = pivot.columns.iloc[[column for column, _ in places]].reset_index(drop=True)
    by = pivot.by.iloc[[slot.by for _, slot in places]].reset_index(drop=True)
    levels = [columns.iloc[:, at] for at in range(columns.shape[1])] + [by.iloc[:, at] for at in range(by.shape[1])]
    names: list[Hashable] = [*pivot.names.columns, *pivot.names.by]
    if pivot.grid.is_repeated:
        levels.append(pd.Series([slot.repeat + 1 for _, slot in places], dtype="int64"))
        names.append(REPEAT if REPEAT not in names else "occurrence")
    if sides:
        levels.insert(0, pd.Series(sides, dtype=object))
        names.insert(0, RUN)
    return _index(pd.concat(levels, axis=1, ignore_index=True), names)


def _index(levels: pd.DataFrame, names: list[Any]) -> pd.Index[Any]:
    columns = [levels.iloc[:, at] for at in range(levels.shape[1])]
    if len(columns) == 1:
        single: pd.Index[Any] = pd.Index(columns[0], dtype=columns[0].dtype, name=names[0], tupleize_cols=False)
        return single
    several: pd.Index[Any] = pd.MultiIndex.from_arrays(columns, names=names)
    return several


def _labels(joined: Mapping[Hashable, pd.Series[Any]], labels: Sequence[Hashable], along: GridAxis) -> pd.DataFrame:
    """Return each place's values, a column per level; a value that cannot be looked up becomes its JSON text."""
    lines = range(along.size)
    found = {at: _named(joined[label].iloc[list(along.first)]).set_axis(lines) for at, label in enumerate(labels)}
    frame: pd.DataFrame = pd.DataFrame(found, index=lines)
    return frame


def _named(values: pd.Series[Any]) -> pd.Series[Any]:
    if values.dtype == object:
        written = [value if _is_hashable(value) else written_out(value) for value in values.tolist()]
        # As objects: what pandas would make of them is another value now and then.
        values = pd.Series(written, dtype=object)
    return values


def _joined(columns: Sequence[pd.Series[Any]]) -> pd.Series[Any]:
    """Return the columns one after the other, with their dtype where it is the same."""
    if len(columns) == 1:
        return columns[0]
    if all(column.dtype == columns[0].dtype for column in columns):
        return pd.concat(list(columns), ignore_index=True)
    values = [value for column in columns for value in column.astype(object).tolist()]
    joined: pd.Series[Any] = pd.Series(values, dtype=object).infer_objects()
    return joined


def _level(columns: Sequence[pd.Series[Any]]) -> AxisLevel:
    order = [column.dtype.categories for column in columns if isinstance(column.dtype, pd.CategoricalDtype)]
    return AxisLevel(
        [key for column in columns for key in _keys(column)], [key for known in order for key in _keys(known)]
    )


def _keys(values: pd.Series[Any] | pd.Index[Any]) -> list[Hashable]:
    return [_key(value) for value in values.astype(object).tolist()]


def _key(value: Any) -> Hashable:
    """Return what tells a value from others: all that are missing are one, and True is not 1."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind in (bool, np.bool_):
        return "truth", bool(value)
    if not _is_hashable(value):
        return "json", written_out(value)
    if kind is not tuple and pd.isna(value):
        return MISSING
    known: Hashable = value
    return known


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def written_out(value: object) -> str:
    """Return a list, a dict or an array as JSON; what is in it that JSON has not as its text."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
