"""Builds the columns of a run's inputs, and their checksums, from the chunks in which the journal stores them.

Rows are never held as objects all at once: those of a million inputs take ten times the memory of their columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..inputs.encoding import Row
from ..models import Json
from . import sent_inputs
from .sent_inputs import Checksums


class StoredInputs:
    """The inputs of a run's rows."""

    def __init__(self) -> None:
        self._columns: dict[str, list[pd.Series[Any]]] = {}
        self._sizes: list[int] = []
        self._cells = 0
        self._checksums: list[Checksums] = []

    def add(self, rows: Sequence[Row]) -> None:
        """Add the next rows."""
        for key in dict.fromkeys(key for row in rows for key in row):
            if key not in self._columns:
                self._columns[key] = [column_of([None] * size) for size in self._sizes]
        for key, parts in self._columns.items():
            parts.append(column_of([row.get(key) for row in rows]))
        self._sizes.append(len(rows))
        self._cells += sum(map(len, rows))
        self._checksums.append(sent_inputs.checksums_of(rows))

    @property
    def has_all_keys(self) -> bool:
        """Whether every row has every key."""
        return self._cells == len(self._columns) * sum(self._sizes)

    @property
    def checksums(self) -> Checksums:
        """The checksum of each input."""
        joined: Checksums = np.concatenate([np.empty(0, dtype="<u4"), *self._checksums])
        return joined

    def columns(self) -> dict[str, pd.Series[Any]]:
        """Return the column of each key, in the order in which the keys occur. The inputs are used up."""
        return {key: _joined(self._columns.pop(key)) for key in list(self._columns)}


def column_of(values: Sequence[Json]) -> pd.Series[Any]:
    """Return a column of inputs as they were sent; pandas would convert integers next to other numbers to floats."""
    types = set(map(type, values)) - {type(None)}
    dtype: Any = None if len(types) == 1 and not types & {list, dict, int} else object
    if types == {int}:
        dtype = "Int64" if None in values else "int64"
        if max(abs(value) for value in values if value is not None) >= 2**63:
            dtype = object
    column: pd.Series[Any] = pd.Series(values, dtype=dtype)
    return column


def _joined(parts: Sequence[pd.Series[Any]]) -> pd.Series[Any]:
    """Return the column of these parts: that which `column_of` returns for all of their values."""
    if len({part.dtype for part in parts}) == 1:
        joined: pd.Series[Any] = pd.concat(parts, ignore_index=True)
        return joined
    # The missing values of one part may be those of another kind than the whole column's.
    cells = ((part.tolist(), part.isna().tolist()) for part in parts)
    return column_of([None if is_na else value for part in cells for value, is_na in zip(*part, strict=True)])
