"""Converts a value of a cell to a JSON value of plain Python types, or raises `RefusedValueError`.

Owns the table of types. It never guesses: a type that is not in the table is an error.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from io import IOBase
from pathlib import Path, PurePath
from typing import Any, Final
from uuid import UUID

import numpy as np

from ..models import Json

MAX_DEPTH: Final = 64
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1
EXACT_FLOAT: Final = 2.0**53
"""Up to here, float64 represents every integer exactly."""
MAX_EXACT_DIGITS: Final = 15
"""Significant digits that float64 always preserves (C's DBL_DIG)."""


class _Missing(enum.Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING
"""Stands for None, NaN, NaT and other missing values: the caller leaves the key out, or writes null."""


class RefusedValueError(ValueError):
    """A value that cannot be sent. The caller adds row and column; `path` is the place inside the cell."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"{reason} (at {path} in the value)" if path else reason)
        self.reason = reason
        self.path = path


def clean(value: object, *, omit: bool = True, depth: int = 0) -> Json:
    """Return `value` as JSON, or `MISSING`.

    Parameters
    ----------
    value : object
        A cell, or a part of one.
    omit : bool
        Whether a missing value inside a dict leaves its key out; otherwise it becomes null, as it always does inside a
        list.
    depth : int
        Nesting depth of `value` inside the cell.

    Raises
    ------
    RefusedValueError
        Bytes, infinities, sets, lone surrogates, integers beyond 64 bits, local paths and every type not listed.
    """
    leaf = _LEAVES.get(type(value))
    if leaf is not None:
        return leaf(value)
    kind: Any = type(value)
    container, leaf = _converters(kind)
    if container is None:
        return leaf(value)
    if depth >= MAX_DEPTH:
        msg = f"nested more than {MAX_DEPTH} deep (does it contain itself?)"
        raise RefusedValueError(msg)
    return container(value, omit, depth + 1)


def clean_local(value: object) -> Json:
    """Return `value` as `clean` does, for use on this machine (as a key or label), where a path becomes its text.

    Raises
    ------
    RefusedValueError
        As `clean`.
    """
    return _plain(value) if isinstance(value, PurePath) else clean(value)


def whole_number(value: Any) -> Any:
    """Return a whole float as the integer that it was before pandas converted its column to float64; else the value.

    Floats beyond 64 bits stay floats.

    Raises
    ------
    RefusedValueError
        A whole float that may have lost digits: beyond 2**53, with more than 15 significant ones.
    """
    if isinstance(value, np.floating):
        value = value.item()
    if type(value) is not float or not value.is_integer():
        return value
    if -EXACT_FLOAT <= value <= EXACT_FLOAT:
        return int(value)
    # float64 preserves 15 digits of any integer: if the shortest decimal has no more of them, it is that integer.
    shortest = Decimal(repr(value))
    if not MIN_INTEGER <= shortest <= MAX_INTEGER:
        return value
    if len(shortest.normalize().as_tuple().digits) > MAX_EXACT_DIGITS:
        msg = (
            f"{value!r} is an integer beyond 2**53 in a column of floats, where its last digits are lost: give the "
            "column the dtype Int64, or text"
        )
        raise RefusedValueError(msg)
    return int(shortest)


def treat_as_missing(kind: type) -> None:
    """Let values of `kind` count as missing, such as ``pandas.NA``."""
    _LEAVES[kind] = _missing


def _missing(_: object) -> Json:
    return MISSING


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        msg = f"text with a lone surrogate at character {exc.start} cannot be written as UTF-8"
        raise RefusedValueError(msg) from exc
    return str.__str__(value)


def _integer(value: Any) -> int:
    whole = int(value)
    if not MIN_INTEGER <= whole <= MAX_INTEGER:
        msg = "an integer beyond 64 bits; send it as a string"
        raise RefusedValueError(msg)
    return whole


def _number(value: Any) -> Json:
    number = float(value)
    if math.isnan(number):
        return MISSING
    if math.isinf(number):
        msg = f"{number} is not a JSON number"
        raise RefusedValueError(msg)
    return number


def _decimal(value: Decimal) -> Json:
    if value.is_nan():
        return MISSING
    exponent = value.as_tuple().exponent
    if value.is_finite() and isinstance(exponent, int) and 0 <= exponent <= 19:
        return _integer(value)
    return _number(value)


def _moment(value: Any) -> Json:
    # NaT is a datetime, and the only one that does not equal itself.
    return value.isoformat() if value == value else MISSING


def _duration(value: Any) -> Json:
    return value.total_seconds() if value == value else MISSING


def _member(value: Enum) -> str:
    return _text(value.value if isinstance(value.value, str) else value.name)


def _plain(value: object) -> str:
    return _text(str(value))


def _scalar(value: Any) -> Json:
    """Convert a NumPy scalar by its Python value."""
    if isinstance(value, np.datetime64):
        return MISSING if np.isnat(value) else value.astype("datetime64[us]").item().isoformat()
    if isinstance(value, np.timedelta64):
        return MISSING if np.isnat(value) else float(value / np.timedelta64(1, "s"))
    item = value.item()
    if isinstance(item, np.generic):  # longdouble's item() is itself
        return _number(item) if isinstance(item, np.floating) else _refuse(value)
    return clean(item)


def _refuse(value: object) -> Json:
    if any((base.__module__, base.__name__) == ("PIL.Image", "Image") for base in type(value).__mro__):
        msg = "a PIL image cannot be sent as JSON: as a column of its own it is uploaded as a file"
    else:
        msg = f"a value of type {type(value).__name__} cannot be sent as JSON"
    raise RefusedValueError(msg)


def _refuse_path(_: Path) -> Json:
    msg = (
        "a local path cannot be sent, because a workflow cannot read local files: to upload the file and send its URL, "
        "write inputs={'key': ef.file('column')}; if the text itself is meant, pass str(path)"
    )
    raise RefusedValueError(msg)


def _refuse_file(_: object) -> Json:
    msg = "an open file cannot be sent as JSON: send its text; a column of files opened in binary mode is uploaded"
    raise RefusedValueError(msg)


def _refuse_bytes(_: object) -> Json:
    msg = "bytes cannot be sent as JSON: decode them to text, or write ef.file('column') to upload them as files"
    raise RefusedValueError(msg)


def _sequence(value: Any, omit: bool, depth: int) -> list[Json]:
    out = []
    for position, item in enumerate(value):
        try:
            cleaned = clean(item, omit=omit, depth=depth)
        except RefusedValueError as exc:
            raise RefusedValueError(exc.reason, f"[{position}]{exc.path}") from None
        out.append(None if cleaned is MISSING else cleaned)
    return out


def _array(value: np.ndarray[Any, Any], omit: bool, depth: int) -> Json:
    if value.dtype.kind in "mM":  # tolist() would give bare integers for nanoseconds
        value = np.array([_scalar(item) for item in value.ravel()], dtype=object).reshape(value.shape)
    if value.ndim == 0:
        return clean(value.item(), omit=omit, depth=depth)
    return _sequence(value.tolist(), omit, depth)


def _mapping(value: Mapping[Any, Any], omit: bool, depth: int) -> dict[str, Json]:
    out: dict[str, Json] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            msg = f"the key {key!r} of a dict is not a string"
            raise RefusedValueError(msg)
        try:
            cleaned = clean(item, omit=omit, depth=depth)
        except RefusedValueError as exc:
            raise RefusedValueError(exc.reason, f".{key}{exc.path}") from None
        if cleaned is not MISSING:
            out[_text(key)] = cleaned
        elif not omit:
            out[_text(key)] = None
    return out


def _same(value: object) -> Json:
    return value


_LEAVES: Final[dict[type, Callable[[Any], Json]]] = {
    type(None): _missing,
    _Missing: _missing,
    bool: _same,
    str: _text,
    int: _integer,
    float: _number,
    Decimal: _decimal,
    UUID: _plain,
    datetime: _moment,
    date: _moment,
    time: _moment,
    timedelta: _duration,
    bytes: _refuse_bytes,
    bytearray: _refuse_bytes,
    memoryview: _refuse_bytes,
}

_CONTAINERS: Final[tuple[tuple[type, Callable[[Any, bool, int], Json]], ...]] = (
    (list, _sequence),
    (tuple, _sequence),
    (dict, _mapping),
    (np.ndarray, _array),
)

# Order matters: an Enum may be a str, and NumPy's float64 is a float.
_LEAF_BASES: Final[tuple[tuple[type, Callable[[Any], Json]], ...]] = (
    (Enum, _member),
    (np.bytes_, _refuse_bytes),
    (str, _text),
    (np.generic, _scalar),
    (int, _integer),
    (float, _number),
    (Decimal, _decimal),
    (UUID, _plain),
    (Path, _refuse_path),
    (PurePath, _plain),
    (IOBase, _refuse_file),
    (datetime, _moment),
    (date, _moment),
    (time, _moment),
    (timedelta, _duration),
)


@lru_cache(maxsize=256)
def _converters(kind: type) -> tuple[Callable[[Any, bool, int], Json] | None, Callable[[Any], Json]]:
    """Return the converters for a subclass of a type in the tables: for containers, and for other values."""
    container = next((convert for base, convert in _CONTAINERS if issubclass(kind, base)), None)
    return container, next((leaf for base, leaf in _LEAF_BASES if issubclass(kind, base)), _refuse)
