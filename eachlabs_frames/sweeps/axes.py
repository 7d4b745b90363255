"""The axes of a sweep: reads the values that a user passes into columns with the dtype that pandas infers.

It never changes a value.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any, Final, TypeAlias

import numpy as np
import orjson
import pandas as pd

from ..errors import ConfigurationError
from ..inputs.file_values import content_key, is_file_value
from ..inputs.fingerprints import fingerprint
from ..inputs.json_values import MISSING, RefusedValueError, clean_local
from ..media import text
from ..suggestions import did_you_mean
from .grid import MAX_INT64, Places

Values: TypeAlias = "pd.Series[Any] | range"

MAX_VALUES: Final = 10_000_000
"""Values of an iterator: one that yields more may be infinite."""

OPTIONS: Final = ("sample", "random_state", "repeats", "where", "allow_large")
"""The options of `sweep`: a misspelt one is an axis."""

_MAX_VALUE_LENGTH: Final = 60


@dataclass(frozen=True, slots=True)
class Axis:
    """A name, the number of places, and the columns: one with the name of the axis, or those of a frame."""

    name: str
    size: int
    columns: Mapping[Hashable, Values]

    def take(self, places: Places) -> Iterator[tuple[Hashable, pd.Series[Any]]]:
        """Yield each column, with a value for each of `places`."""
        for label, values in self.columns.items():
            yield label, _take_range(values, places) if isinstance(values, range) else _take(values, places)


def read_axis(name: object, values: object, *, max_values: int = MAX_VALUES) -> Axis:
    """Return the axis `name` of these values; an iterator is consumed.

    Raises
    ------
    ConfigurationError
        The name or the values are invalid, or a value occurs twice.
    """
    if not isinstance(name, str):
        msg = f"an axis is named by a string, for its column; got {name!r}"
        raise ConfigurationError(msg)
    if isinstance(values, range):
        return Axis(name, _length(values), {name: values})
    if isinstance(values, pd.DataFrame):
        axis = Axis(name, len(values), _columns(name, values))
    else:
        column = _column(name, values, max_values)
        axis = Axis(name, len(column), {name: column})
    _check_no_duplicates(axis)
    return axis


def _length(values: range) -> int:
    """Return the length, also beyond the 64 bits of `len`."""
    least = 1 if values.step > 0 else -1
    return max(0, (values.stop - values.start + values.step - least) // values.step)


def _columns(name: str, frame: pd.DataFrame) -> dict[Hashable, Values]:
    if frame.columns.nlevels > 1:
        msg = f"axis {name!r} is a frame with {frame.columns.nlevels} levels of columns: flatten them to one"
        raise ConfigurationError(msg)
    if not frame.shape[1]:
        msg = f"axis {name!r} is a frame without columns"
        raise ConfigurationError(msg)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        msg = f"axis {name!r} is a frame with two columns named {twice[0]!r}: rename one"
        raise ConfigurationError(msg)
    return {label: frame.iloc[:, place] for place, label in enumerate(frame.columns)}


def _column(name: str, values: object, max_values: int) -> pd.Series[Any]:
    if isinstance(values, pd.MultiIndex):
        msg = f"axis {name!r} is a MultiIndex: for its levels as columns together write {name}=index.to_frame()"
        raise ConfigurationError(msg)
    if isinstance(values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        column: pd.Series[Any] = pd.Series(values)
        return column
    if isinstance(values, np.ndarray) and values.dtype.names is not None:
        msg = f"axis {name!r} is an array of records: for its fields as columns together write {name}=DataFrame(...)"
        raise ConfigurationError(msg)
    if isinstance(values, np.ndarray) and values.ndim:
        if values.ndim > 1:
            msg = f"axis {name!r} is an array of {values.ndim} dimensions: an axis has one; list(array) gives its rows"
            raise ConfigurationError(msg)
        return _inferred(values)
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable) or isinstance(values, np.ndarray):
        kind = type(values).__name__
        near = did_you_mean(name, OPTIONS)
        msg = f"axis {name!r}{near} is one value ({kind} {_repr(values)}): wrap it in a list, as in {name}=[...]"
        raise ConfigurationError(msg)
    if isinstance(values, set | frozenset):
        msg = f"axis {name!r} is a set, which has no order: sort it, or make it a list"
        raise ConfigurationError(msg)
    cells = list(islice(values, max_values + 1))
    if len(cells) > max_values:
        msg = (
            f"axis {name!r} yields more than {max_values:,} values and may be infinite: limit it with "
            "itertools.islice, write range(...) for numbers, or pass sample= or allow_large=True if it really is that "
            "long"
        )
        raise ConfigurationError(msg)
    return _inferred(cells)


def _inferred(cells: Any) -> pd.Series[Any]:
    """Return the column that pandas infers; of objects if it cannot, or if it would change a value."""
    try:
        column: pd.Series[Any] = pd.Series(cells)
    except (UnicodeEncodeError, ValueError, TypeError, OverflowError):
        return _objects(list(cells))
    if isinstance(cells, list) and column.dtype.kind == "f":
        whole = [(place, cell) for place, cell in enumerate(cells) if isinstance(cell, int | np.integer)]
        if any(int(column.iloc[place]) != int(cell) for place, cell in whole):
            return _objects(cells)
    return column


def _objects(cells: list[Any]) -> pd.Series[Any]:
    array = np.empty(len(cells), dtype=object)
    for place, cell in enumerate(cells):
        array[place] = cell
    column: pd.Series[Any] = pd.Series(array, dtype=object)
    return column


def _take_range(values: range, places: Places) -> pd.Series[Any]:
    ends = (values.start, values.start + max(0, _length(values) - 1) * values.step)
    if places.dtype == object or not all(-MAX_INT64 <= end <= MAX_INT64 for end in (*ends, values.step)):
        numbers = [values.start + int(place) * values.step for place in places]
        column: pd.Series[Any] = pd.Series(numbers, dtype=object if numbers else "int64")
        return column
    if values.step != 1:
        places = places * values.step
    stretched: pd.Series[Any] = pd.Series(places, copy=False)
    return stretched + values.start


def _take(values: pd.Series[Any], places: Places) -> pd.Series[Any]:
    array = values.array if isinstance(values.dtype, pd.api.extensions.ExtensionDtype) else values.to_numpy()
    # With its dtype, because pandas would infer strings from an array of texts.
    column: pd.Series[Any] = pd.Series(array.take(places), dtype=values.dtype, copy=False)
    return column


def _check_no_duplicates(axis: Axis) -> None:
    """Refuse equal values, which would be paid for twice and could not be distinguished."""
    columns = [pd.Series(values) for values in axis.columns.values()]
    codes = pd.DataFrame(dict(enumerate(map(_codes, columns))))
    twice = np.flatnonzero(codes.duplicated())
    if not len(twice):
        return
    place = int(twice[0])
    cells = {label: values[place : place + 1].tolist()[0] for label, values in zip(axis.columns, columns, strict=True)}
    what = f"the row {_repr(cells)}" if axis.name not in cells or len(cells) > 1 else _repr(cells[axis.name])
    msg = (
        f"axis {axis.name!r} has {what} twice (at position {place}): drop one, or pass repeats= to run each cell "
        f"several times"
    )
    raise ConfigurationError(msg)


def _codes(column: pd.Series[Any]) -> Any:
    """Return a number for each value; it is the same if the inputs would be the same."""
    if column.dtype != object and not isinstance(column.dtype, pd.ArrowDtype):
        return pd.factorize(column)[0]
    codes: dict[Any, int] = {}
    return [codes.setdefault(_identity(cell), len(codes)) for cell in column]


def _identity(cell: Any) -> Any:
    """Return a key that is equal for cells that are sent alike; unique for a cell that cannot be sent."""
    if is_file_value(cell):
        return "file", content_key(cell)
    try:
        cleaned = clean_local(cell)
        return cleaned if cleaned is MISSING or type(cleaned) is str else fingerprint(cleaned)
    except (RefusedValueError, orjson.JSONEncodeError):
        return object()


def _repr(value: object) -> str:
    if isinstance(value, PurePath):
        shown = str(value)
        return repr(shown if len(shown) <= _MAX_VALUE_LENGTH else f"…{shown[1 - _MAX_VALUE_LENGTH :]}")
    return repr(value)[:_MAX_VALUE_LENGTH] if isinstance(value, str | bytes) else text(value, _MAX_VALUE_LENGTH)
