"""What this package's tools record in a frame beside its results: sweeps, downloads and scores.

Owns the keys of ``df.attrs`` that name their columns, and which columns those are. Any code may write attrs, so what is
read from them is checked, and anything unexpected counts as absent.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from ..errors import ColumnError
from . import columns

SWEEP: Final = "eachlabs_sweep"
"""``{"axes": {axis: [column, ...]}, "repeat": column or None}``"""

DOWNLOAD: Final = "eachlabs_download"
"""``{"column": paths, "prefix": prefix of the result, "earlier": {column: prefix}}``; empty values are left out."""

RATING: Final = "eachlabs_rating"
"""``{column of scores: prefix of the result}``"""

RATING_SCALE: Final = "eachlabs_rating_scale"
"""``{column of scores: best score}``; the worst is 1."""

ERROR_SUFFIX: Final = "_error"
"""A download writes a row's errors into the column of paths with this suffix."""


def own_columns(frame: pd.DataFrame, prefix: str) -> frozenset[Hashable]:
    """Return the labels of result columns and of columns that downloads and ratings have written."""
    downloads = [(columns.label(frame, name, ""), error_label(frame, name)) for name in path_columns(frame)]
    # A column of paths without its errors may be a user's column of the same name.
    written = {label for pair in downloads if all(label in frame.columns for label in pair) for label in pair}
    scores = {columns.label(frame, name, "") for name in score_columns(frame)}
    return columns.labels(frame, prefix) | written | scores


def error_label(frame: pd.DataFrame, name: str) -> Hashable:
    """Return the label of the errors that belong to a column of paths."""
    return columns.label(frame, name + ERROR_SUFFIX, "")


def forget_stale(frame: pd.DataFrame, before: pd.DataFrame, prefix: str) -> None:
    """Clear the paths and scores of rows whose execution differs from the one in `before`."""
    paths = [name for name, owner in path_columns(frame).items() if owner == prefix]
    scores = [name for name, owner in score_columns(frame).items() if owner == prefix]
    stale = columns.stale(frame, before, prefix) if paths or scores else []
    if not stale:
        return
    for name in paths:
        for column, dtype in ((name, object), (name + ERROR_SUFFIX, "string")):
            for place in columns.places(frame, column):
                cells = frame.iloc[:, place].tolist()
                for row in stale:
                    cells[row] = None
                frame.isetitem(place, pd.Series(cells, index=frame.index, dtype=dtype))
    for name in scores:
        for place in columns.places(frame, name)[:1]:
            try:
                numbers = pd.array(columns.nullable(frame.iloc[:, place]), copy=True)
            except (ColumnError, ValueError, TypeError, OverflowError):
                continue  # no longer scores; a paid result must be written anyway
            numbers[stale] = pd.NA
            frame.isetitem(place, numbers)


# -- sweeps -----------------------------------------------------------------------------------------------------------


def axes(frame: pd.DataFrame) -> list[Hashable]:
    """Return the columns of a sweep's axes and of its repeats that the frame has exactly once."""
    recorded = _recorded(frame, SWEEP)
    by_axis = recorded.get("axes")
    if not isinstance(by_axis, Mapping):
        return []
    names = [name for labels in by_axis.values() if isinstance(labels, list | tuple) for name in labels]
    counts = Counter(list(frame.columns))
    unique = dict.fromkeys(name for name in (*names, recorded.get("repeat")) if isinstance(name, str))
    return [name for name in unique if counts[name] == 1]


def repeat_columns(frame: pd.DataFrame) -> frozenset[Hashable]:
    """Return the column in which a sweep numbers its repeats: no input unless ``inputs=`` names it."""
    label = _recorded(frame, SWEEP).get("repeat")
    return frozenset({label} if isinstance(label, str) else ())


# -- downloads --------------------------------------------------------------------------------------------------------


def path_columns(frame: pd.DataFrame) -> dict[str, str]:
    """Return the columns of downloaded paths, each with the prefix of its result; the latest is the last."""
    recorded = _recorded(frame, DOWNLOAD)
    earlier = recorded.get("earlier")
    pairs = list(earlier.items()) if isinstance(earlier, Mapping) else []
    latest = (recorded.get("column"), recorded.get("prefix", ""))
    return {name: owner for name, owner in [*pairs, latest] if isinstance(name, str) and isinstance(owner, str)}


def paths(frame: pd.DataFrame, prefix: str) -> Any:
    """Return the column of paths of this result's latest download, as a Series of object, or None."""
    for name, owner in reversed(path_columns(frame).items()):
        places = columns.places(frame, name)
        if owner == prefix and len(places) == 1:
            return frame.iloc[:, places[0]]
    return None


def paths_in(cell: object) -> list[str | None]:
    """Return the paths in one cell of such a column, one for each URL of the output, in their order."""
    entries = list(cell) if isinstance(cell, list | tuple | np.ndarray) else [cell]
    return [os.fspath(entry) if isinstance(entry, str | os.PathLike) else None for entry in entries]


# -- scores -----------------------------------------------------------------------------------------------------------


def score_columns(frame: pd.DataFrame) -> dict[str, str]:
    """Return the columns of scores, each with the prefix of its result."""
    pairs = _recorded(frame, RATING).items()
    return {name: owner for name, owner in pairs if isinstance(name, str) and isinstance(owner, str)}


def score_scales(frame: pd.DataFrame) -> dict[str, int]:
    """Return the best possible score of each column of scores."""
    return {
        name: best
        for name, best in _recorded(frame, RATING_SCALE).items()
        if isinstance(name, str) and type(best) is int
    }


def score_range(frame: pd.DataFrame, column: Hashable) -> tuple[float, float] | None:
    """Return the worst and best possible score of a column; None if it is no column of scores."""
    names = score_columns(frame)
    for name, best in score_scales(frame).items():
        if name in names and column == columns.label(frame, name, ""):
            return (1.0, float(best))
    return None


def _recorded(frame: pd.DataFrame, key: str) -> Mapping[Any, Any]:
    value = frame.attrs.get(key)
    return value if isinstance(value, Mapping) else {}
