"""What ``matrix`` reads from a frame, or from two, and the pivot table that it builds. It never writes to the frames.

Wrong arguments are errors before anything is built. Values are taken by position, never aligned by index.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from ...errors import ColumnError, ConfigurationError, FrameTypeError
from ...frames import attrs, columns, lost_attrs
from ...inputs.file_values import is_file_value
from ...inputs.json_values import MISSING
from ...media import cut
from ...results import NO_TIME, Results
from ...suggestions import hint
from ..common.input_files import InputFiles, as_labels, file_key, names_of, without_digest
from ..common.source import SEPARATOR, Cards, name_of
from .cards import FrameSide, MatrixCards
from .colours import Unit
from .model import AxisHead, MatrixValues, table
from .pivot import GridAxis, PivotGrid, axis, grid
from .widget import Matrix

MIN_SIZE, MAX_SIZE = 32, 1_024
DURATION: Final = "duration"
RUN: Final = "run"
REPEAT: Final = "repeat"
SIDES: Final = ("A", "B")
MISSING_TEXT: Final = "missing"
MAX_PART_LENGTH: Final = 80

UNITS: Final[Mapping[str, Unit]] = {
    "boolean": "truth",
    **dict.fromkeys(("timedelta", "timedelta64"), "seconds"),
    **dict.fromkeys(("integer", "floating", "mixed-integer-float", "decimal"), "number"),
}
"""Units of columns of numbers, by pandas' name for their values. Points in time are none: their mean says little."""

_NANO: Final = 1_000_000_000


class AxisNames(NamedTuple):
    """The columns along each axis, by label."""

    rows: tuple[Hashable, ...]
    columns: tuple[Hashable, ...]
    by: tuple[Hashable, ...]


class Pivot(NamedTuple):
    """A grid, and the values of each axis: a frame per axis, with a row per place and a column per level."""

    names: AxisNames
    grid: PivotGrid
    rows: pd.DataFrame
    columns: pd.DataFrame
    by: pd.DataFrame


def matrix(
    frame: pd.DataFrame,
    rows: Hashable | Sequence[Hashable],
    columns_: Hashable | Sequence[Hashable],
    value: Hashable,
    by: Hashable | Sequence[Hashable] | None,
    *,
    compare: pd.DataFrame | None,
    size: int,
    prefix: str | None,
) -> Matrix:
    """Return the widget that displays a frame's rows in a grid."""
    if isinstance(size, bool) or not isinstance(size, int) or not MIN_SIZE <= size <= MAX_SIZE:
        msg = f"size= is the pixels of a picture's side, {MIN_SIZE} to {MAX_SIZE}; got {size!r}"
        raise ConfigurationError(msg)
    if compare is not None and not isinstance(compare, pd.DataFrame):
        msg = f"compare= takes a second result, a pandas DataFrame; got {type(compare).__name__}"
        raise FrameTypeError(msg)
    axes = _axis_names(frame, {"rows": rows, "columns": columns_, "by": by})
    files = InputFiles()
    sides = [_side(frame, axes, value, prefix, "", files)]
    if compare is not None:
        sides.append(_side(compare, axes, value, prefix, "compare=", files))
    names = _side_names(sides)
    layout = pivot(axes, [side.axes for side in sides])
    values = _all_values(value, sides)
    shown = table(layout.grid, *_heads(layout, files, sides), values, sides=names, size=size)
    cards = MatrixCards(sides, names, shows_output=value == "output" or values.kind != "cards")
    return Matrix(shown, cards, spread(layout, [side.column for side in sides], names))


# -- arguments --------------------------------------------------------------------------------------------------------


def _axis_names(frame: pd.DataFrame, arguments: Mapping[str, Any]) -> AxisNames:
    axes = {name: _labels(frame, name, argument) for name, argument in arguments.items()}
    counts = Counter(label for labels in axes.values() for label in labels)
    twice = next((label for label, count in counts.items() if count > 1), None)
    if twice is not None:
        where = " and ".join(f"{name}=" for name, labels in axes.items() if twice in labels)
        msg = f"{where} name column {twice!r} more than once: a column stands along one axis"
        raise ColumnError(msg)
    return AxisNames(**axes)


def _labels(frame: pd.DataFrame, name: str, argument: Any) -> tuple[Hashable, ...]:
    if argument is None and name == "by":
        return ()
    is_list = isinstance(argument, list | pd.Index | np.ndarray)
    is_list = is_list or (isinstance(argument, tuple) and not _has_column(frame, argument))
    labels = tuple(argument) if is_list else (argument,)
    if not labels or any(isinstance(label, list | dict | set) for label in labels):
        msg = f"{name}= takes a column's name, or a list of names; got {argument!r}"
        raise ColumnError(msg)
    return labels


def _has_column(frame: pd.DataFrame, label: object) -> bool:
    try:
        return label in frame.columns
    except TypeError:  # it is not hashable
        return False


def _column(frame: pd.DataFrame, label: Any, argument: str) -> pd.Series[Any]:
    """Return a column, or raise `ColumnError` if there is none of this name, or two."""
    places = [place for place, existing in enumerate(frame.columns) if existing == label]
    if not places:
        msg = f"{argument}{label!r}: the frame has no such column{hint(label, frame.columns)}"
        raise ColumnError(msg)
    if len(places) > 1:
        msg = f"{argument}{label!r}: the frame has {len(places)} columns of this name: rename one"
        raise ColumnError(msg)
    column: pd.Series[Any] = frame.iloc[:, places[0]].reset_index(drop=True)
    return column


def _side(
    frame: pd.DataFrame, names: AxisNames, value: Hashable, prefix: str | None, where: str, files: InputFiles
) -> FrameSide:
    """Read one frame.

    Raises
    ------
    ColumnError
        It holds no result, or does not have the columns that are named.
    """
    try:
        prefix = lost_attrs.prefix_of(frame, prefix)
        columns.require_result(frame, prefix)
    except ColumnError as exc:
        msg = f"{where} {exc}".strip()
        raise ColumnError(msg) from None
    where = where and f"{where} "
    axes = {
        label: _column(frame, label, f"{where}{axis}=")
        for axis, labels in zip(AxisNames._fields, names, strict=True)
        for label in labels
    }
    parts = [_texts(column, name_of(label)) for label, column in axes.items()]
    # Each part is cut, because a long prompt would hide the others.
    labels = [SEPARATOR.join(cut(part, MAX_PART_LENGTH) for part in row) for row in zip(*parts, strict=True)]
    results = columns.read(frame, prefix)
    column, values = _values(frame, value, prefix, results, where)
    meta = lost_attrs.find_meta(frame, prefix)
    cards = Cards(frame, prefix=prefix, origin=lambda: meta, input_files=files)
    return FrameSide(cards, labels, results, axes, column, values, meta.run if meta else None)


# -- values -----------------------------------------------------------------------------------------------------------


def _values(
    frame: pd.DataFrame, value: Hashable, prefix: str, results: Results, where: str
) -> tuple[pd.Series[Any], MatrixValues]:
    if value == "status":
        return pd.Series(results.status, dtype="string"), MatrixValues("statuses")
    if value == "cost":
        return pd.Series(results.cost, dtype="float64"), MatrixValues("numbers", list(results.cost), "usd")
    if value == DURATION and not _has_column(frame, value):
        moments = zip(results.started_at, results.completed_at, strict=True)
        seconds = [np.nan if NO_TIME in (start, end) else (end - start) / _NANO for start, end in moments]
        return pd.Series(seconds, dtype="float64"), MatrixValues("numbers", seconds, "seconds")
    column = _column(frame, columns.label(frame, "output", prefix) if value == "output" else value, f"{where}value=")
    if value == "output":
        return column, MatrixValues("cards")
    return column, _numbers(column)._replace(bounds=attrs.score_range(frame, value))


def _numbers(column: pd.Series[Any]) -> MatrixValues:
    """Return a user's column as numbers if it holds only numbers, booleans or time differences."""
    unit = UNITS.get(pd.api.types.infer_dtype(column, skipna=True))
    if unit is None or isinstance(column.dtype, pd.CategoricalDtype):
        return MatrixValues("cards")
    cells = zip(column.astype(object).tolist(), column.isna().tolist(), strict=True)
    return MatrixValues("numbers", [np.nan if is_missing else _number(cell) for cell, is_missing in cells], unit)


def _number(cell: Any) -> float:
    if hasattr(cell, "total_seconds"):
        return float(cell.total_seconds())
    try:
        return float(cell)
    except OverflowError:  # an integer beyond the largest float
        return np.inf if cell > 0 else -np.inf


def _all_values(value: Hashable, sides: Sequence[FrameSide]) -> MatrixValues:
    """Return the values of all rows: as numbers if both frames have numbers."""
    values = [side.values for side in sides]
    kinds, units = {v.kind for v in values}, {v.unit for v in values}
    joined = MatrixValues(
        "cards" if "cards" in kinds else "statuses",
        name=name_of(value),
        statuses=[status for side in sides for status in side.results.status],
    )
    if kinds != {"numbers"}:
        return joined
    bounds = [v.bounds for v in values if v.bounds is not None]
    is_bounded = len(bounds) == len(sides)
    return joined._replace(
        kind="numbers",
        numbers=[number for v in values for number in v.numbers],
        unit=units.pop() if len(units) == 1 else "number",
        bounds=(min(low for low, _ in bounds), max(high for _, high in bounds)) if is_bounded else None,
    )


# -- headers ----------------------------------------------------------------------------------------------------------


def _side_names(sides: Sequence[FrameSide]) -> list[str]:
    """Return the names of two frames: their runs, if these differ."""
    if len(sides) == 1:
        return []
    runs = [side.run for side in sides]
    if runs[0] is not None and runs[0] == runs[1]:
        return [f"{run} ({letter})" for run, letter in zip(runs, SIDES, strict=True)]
    return [run or letter for run, letter in zip(runs, SIDES, strict=True)]


def _heads(layout: Pivot, files: InputFiles, sides: Sequence[FrameSide]) -> tuple[AxisHead, AxisHead, list[str]]:
    """Return the headers of rows and columns, and the label of each place along `by`."""
    heads = []
    placed = ((layout.rows, layout.grid.rows), (layout.columns, layout.grid.columns))
    for labels, (frame, places) in zip(layout.names[:2], placed, strict=True):
        levels = [frame.iloc[:, at] for at in range(frame.shape[1])]
        texts = zip(*map(_texts, levels), strict=True)
        images = list(map(list, zip(*(map(files.image, level.tolist()) for level in levels), strict=True)))
        if any(number is not None for place in images for number in place):
            images = _without_changed(images, places, sides)
        names = [name_of(label) for label in labels]
        heads.append(AxisHead(names=names, places=list(map(list, texts)), images=images))
    by = [_texts(layout.by.iloc[:, at], name_of(label)) for at, label in enumerate(layout.names.by)]
    return heads[0], heads[1], [SEPARATOR.join(parts) for parts in zip(*by, strict=True)]


def _without_changed(
    images: Sequence[list[int | None]], axis: GridAxis, sides: Sequence[FrameSide]
) -> list[list[int | None]]:
    """Return the pictures of each place; none if all of its rows were sent with another input, as of another image."""
    edited = [
        is_edited
        for side in sides
        for is_edited in side.cards.edited([side.results.outcome(row) for row in range(side.results.size)])
    ]
    kept = {place for place, is_edited in zip(axis.places, edited, strict=True) if not is_edited}
    return [place if at in kept else [None] * len(place) for at, place in enumerate(images)]


def _texts(values: pd.Series[Any], name: str = "") -> list[str]:
    """Return each value as a header shows it; with its column's name, if given, unless it is a text or a file."""
    cells = values.astype(object).tolist()
    names = names_of(cells)
    return [names[file_key(cell)] if is_file_value(cell) else _text(cell, name) for cell in cells]


def _text(cell: Any, name: str) -> str:
    if isinstance(cell, str):
        return without_digest(cell) or '""'
    shown = _to_json(cell) if not _is_hashable(cell) else MISSING_TEXT if _is_missing(cell) else str(cell)
    return f"{name} {shown}".strip()


def _is_missing(cell: Any) -> bool:
    return not isinstance(cell, tuple) and bool(pd.isna(cell))


# -- the pivot table --------------------------------------------------------------------------------------------------


def pivot(names: AxisNames, sides: Sequence[Mapping[Hashable, pd.Series[Any]]]) -> Pivot:
    """Put the rows of one or two frames into one grid.

    Parameters
    ----------
    names : AxisNames
    sides : sequence of mapping
        Each frame's columns along the axes, by label.
    """
    sizes = [len(next(iter(side.values()))) for side in sides]
    columns = {label: [side[label] for side in sides] for labels in names for label in labels}
    axes = [axis([_level(columns[label]) for label in labels], sum(sizes)) for labels in names]
    joined = {label: _join(parts) for label, parts in columns.items()}
    rows, columns_, by = (_place_values(joined, labels, of) for labels, of in zip(names, axes, strict=True))
    return Pivot(names, grid(*axes, second=sizes[0] if len(sides) > 1 else None), rows, columns_, by)


def spread(pivot: Pivot, columns: Sequence[pd.Series[Any]], sides: Sequence[str]) -> pd.DataFrame:
    """Return the values as a pivot table: a row per place of the rows, a column per slot of the columns.

    Parameters
    ----------
    pivot : Pivot
    columns : sequence of Series
        Each side's values, in its frame's order.
    sides : sequence of str
        Names of the sides; empty if there is only one.
    """
    places = [(column, slot) for column, slots in enumerate(pivot.grid.slots) for slot in slots]
    lines = range(pivot.grid.rows.size)
    start, spread_columns = 0, []
    for side, values in enumerate(columns):
        by_position = values.set_axis(pd.RangeIndex(len(values)))
        for column, slot in places:
            rows = (pivot.grid.row_at.get((side, row, column, slot), start - 1) for row in lines)
            spread_columns.append(by_position.reindex([row - start for row in rows]).set_axis(lines))
        start += len(values)
    # Of Series, not of arrays: pandas would infer another dtype from an array of objects.
    frame: pd.DataFrame = pd.DataFrame(dict(enumerate(spread_columns)), index=lines)
    frame.index = _index(pivot.rows, list(pivot.names.rows))
    frame.columns = _header(pivot, [*places] * len(columns), [side for side in sides for _ in places])
    return frame


def _header(pivot: Pivot, places: Sequence[Any], sides: Sequence[str]) -> pd.Index[Any]:
    """Return the columns of the pivot table, with levels for the side, the keys, those along `by`, and the repeat."""
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
    columns = [_hashable(levels.iloc[:, at]) for at in range(levels.shape[1])]
    if len(columns) == 1:
        single: pd.Index[Any] = pd.Index(columns[0], dtype=columns[0].dtype, name=names[0], tupleize_cols=False)
        return single
    several: pd.Index[Any] = pd.MultiIndex.from_arrays(columns, names=names)
    return several


def _place_values(joined: Mapping[Hashable, pd.Series[Any]], labels: Sequence[Hashable], of: GridAxis) -> pd.DataFrame:
    """Return each place's values, a column per level."""
    lines = range(of.size)
    levels = {at: joined[label].iloc[list(of.first_rows)].set_axis(lines) for at, label in enumerate(labels)}
    frame: pd.DataFrame = pd.DataFrame(levels, index=lines)
    return frame


def _hashable(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return the values as labels: a path as it is, the content of a file as its name, and a list as its JSON."""
    if values.dtype != object:
        return values
    labels = [label if _is_hashable(label) else _to_json(label) for label in as_labels(values.tolist())]
    hashable: pd.Series[Any] = pd.Series(labels, dtype=object)  # pandas would infer another dtype for some
    return hashable


def _join(parts: Sequence[pd.Series[Any]]) -> pd.Series[Any]:
    """Return the columns one after the other, with their dtype if it is the same."""
    if len(parts) == 1:
        return parts[0]
    if all(part.dtype == parts[0].dtype for part in parts):
        return pd.concat(list(parts), ignore_index=True)
    values = [value for part in parts for value in part.astype(object).tolist()]
    joined: pd.Series[Any] = pd.Series(values, dtype=object).infer_objects()
    return joined


def _level(parts: Sequence[pd.Series[Any]]) -> tuple[list[Hashable], list[Hashable]]:
    """Return the key of each row, and keys in the order of categories."""
    categories = [part.dtype.categories for part in parts if isinstance(part.dtype, pd.CategoricalDtype)]
    keys, order = ([_key(v) for values in each for v in values.astype(object).tolist()] for each in (parts, categories))
    return keys, order


def _key(value: Any) -> Hashable:
    """Return what distinguishes a value: all missing values are equal, and True is not 1."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind in (bool, np.bool_):
        return "truth", bool(value)
    if is_file_value(value):
        return file_key(value)
    if not _is_hashable(value):
        return "json", _to_json(value)
    if kind is not tuple and pd.isna(value):
        return MISSING
    key: Hashable = value
    return key


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _to_json(value: object) -> str:
    """Return a list, a dict or an array as JSON, with the texts of values that JSON does not have."""
    try:
        return json.dumps(
            value, ensure_ascii=False, default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value)
        )
    except (TypeError, ValueError, RecursionError):
        return str(value)
