"""Writes a dashboard's frame as CSV for spreadsheets: text that a spreadsheet would run as a formula is escaped.

Prompts and outputs come from outside, and some begin with "=". Files that programs read are not written here.
"""

from __future__ import annotations

import csv
from typing import Any, Final

import pandas as pd

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that spreadsheets run (OWASP, "CSV Injection"), also as full-width characters."""


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return `frame` as UTF-8 CSV in which no text is a formula; the frame is changed."""
    for place, dtype in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            cells: Any = frame.iloc[:, place].astype(object).map(without_formula)
            frame.isetitem(place, cells)
    frame.index, frame.columns = _renamed(frame.index), _renamed(frame.columns)
    # Quoted, so that a spreadsheet with another separator does not begin a cell in the middle of a text.
    text: str = frame.to_csv(quoting=csv.QUOTE_NONNUMERIC)
    return text.encode("utf-8", "replace")


def without_formula(cell: Any) -> Any:
    """Return a text that a spreadsheet would run with an apostrophe before it; anything else as it is."""
    if isinstance(cell, tuple):
        return tuple(map(without_formula, cell))
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _renamed(index: pd.Index[Any]) -> pd.Index[Any]:
    labels = index.tolist()
    changed = [without_formula(label) for label in labels]
    names = [without_formula(name) for name in index.names]
    if index.nlevels > 1:
        return pd.MultiIndex.from_tuples(changed, names=names) if labels else index
    return pd.Index(changed, name=names[0], tupleize_cols=False) if labels else index
