"""One axis of a sweep: what a user may write for it -> columns, with the dtype that pandas gives them.

It reads values, and never changes one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeAlias

import numpy as np
import orjson
import pandas as pd

from ..errors import ConfigurationError
from ..inputs.fingerprints import fingerprint
from ..inputs.json_values import MISSING, RefusedValueError, clean_local
from ..media import text
from ..suggestions import did_you_mean
from .grid import GREATEST, Places

Values: TypeAlias = "pd.Series[Any] | range"

MAX_VALUES: Final = 10_000_000
"""Values of an iterator, at most: whatever gives more may never end."""

OPTIONS: Final = ("sample", "random_state", "repeats", "where", "allow_large")
"""The keywords of `sweep` that are no axes: a misspelt one is taken for an axis."""

_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Axis:
    """A name, how many places it has, and the columns that it fills: one of its own name, or those of a frame."""

    name: str
    size: int
    columns: Mapping[Hashable, Values]

    def take(self, places: Places) -> Iterator[tuple[Hashable, pd.Series[Any]]]:
        """Yield each of its columns, a value for each of `places`."""
        for label, values in self.columns.items():
            yield label, _stretch(values, places) if isinstance(values, range) else _taken(values, places)


def read(name: object, values: object, *, most: int = MAX_VALUES) -> Axis:
    """Return the axis `name` of these values; an iterator is read once, and `most` values of it.

    Raises
    ------
    ConfigurationError
        No name, no values of an axis, or a value that is there twice.
    """
    if not isinstance(name, str):
        msg = f"an axis is named by a string, for its column; got {name!r}"
        raise ConfigurationError(msg)
    if isinstance(values, range):
        return Axis(name, _length(values), {name: values})
    if isinstance(values, pd.DataFrame):
        axis = Axis(name, len(values), _columns(name, values))
    else:
        column = _column(name, values, most)
        axis = Axis(name, len(column), {name: column})
    _check_no_duplicates(axis)
    return axis


def _length(values: range) -> int:
    """Return what `len` does, also where that is beyond 64 bits."""
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


def _column(name: str, values: object, most: int) -> pd.Series[Any]:
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
        msg = f"axis {name!r}{near} is one value ({kind} {_shown(values)}): wrap it in a list, as in {name}=[...]"
        raise ConfigurationError(msg)
    if isinstance(values, set | frozenset):
        msg = f"axis {name!r} is a set, which has no order: sort it, or make it a list"
        raise ConfigurationError(msg)
    cells = list(islice(values, most + 1))
    if len(cells) > most:
        msg = (
            f"axis {name!r} yields more than {most:,} values and may be infinite: limit it with itertools.islice, "
            f"write "
            "range(...) for numbers, or pass sample= or allow_large=True if it really is that long"
        )
        raise ConfigurationError(msg)
    return _inferred(cells)


def _inferred(cells: Any) -> pd.Series[Any]:
    """Return the column that pandas makes of `cells`; of objects, where it can make none or changes one."""
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
    made = np.empty(len(cells), dtype=object)
    for place, cell in enumerate(cells):
        made[place] = cell
    column: pd.Series[Any] = pd.Series(made, dtype=object)
    return column


def _stretch(values: range, places: Places) -> pd.Series[Any]:
    ends = (values.start, values.start + max(0, _length(values) - 1) * values.step)
    if places.dtype == object or not all(-GREATEST <= end <= GREATEST for end in (*ends, values.step)):
        numbers = [values.start + int(place) * values.step for place in places]
        column: pd.Series[Any] = pd.Series(numbers, dtype=object if numbers else "int64")
        return column
    if values.step != 1:
        places = places * values.step
    stretched: pd.Series[Any] = pd.Series(places, copy=False)
    return stretched + values.start


def _taken(values: pd.Series[Any], places: Places) -> pd.Series[Any]:
    array = values.array if isinstance(values.dtype, pd.api.extensions.ExtensionDtype) else values.to_numpy()
    # Its dtype is said: an array of nothing but texts would become a string column.
    column: pd.Series[Any] = pd.Series(array.take(places), dtype=values.dtype, copy=False)
    return column


def _check_no_duplicates(axis: Axis) -> None:
    """Equal cells would be paid for twice, and nobody could tell them apart."""
    columns = [pd.Series(values) for values in axis.columns.values()]
    codes = pd.DataFrame(dict(enumerate(map(_codes, columns))))
    twice = np.flatnonzero(codes.duplicated())
    if not len(twice):
        return
    place = int(twice[0])
    cells = {label: values[place : place + 1].tolist()[0] for label, values in zip(axis.columns, columns, strict=True)}
    what = f"the row {_shown(cells)}" if axis.name not in cells or len(cells) > 1 else _shown(cells[axis.name])
    msg = (
        f"axis {axis.name!r} has {what} twice (at position {place}): drop one, or pass repeats= to run each cell "
        f"several times"
    )
    raise ConfigurationError(msg)


def _codes(column: pd.Series[Any]) -> Any:
    """Return a number for each value, the same where inputs made of them would be the same."""
    if column.dtype != object and not isinstance(column.dtype, pd.ArrowDtype):
        return pd.factorize(column)[0]
    known: dict[Any, int] = {}
    return [known.setdefault(_identity(cell), len(known)) for cell in column]


def _identity(cell: Any) -> Any:
    """Return what a cell is known by; what cannot be sent as it is equals nothing."""
    try:
        cleaned = clean_local(cell)
        return cleaned if cleaned is MISSING or type(cleaned) is str else fingerprint(cleaned)
    except (RefusedValueError, orjson.JSONEncodeError):
        return object()


def _shown(value: object) -> str:
    return repr(value)[:_SHOWN] if isinstance(value, str | bytes) else text(value, _SHOWN)
