"""A column of scores in a frame that its owner goes on working with. Never writes into a row that is another by now.

By position, whatever the index and the columns are; one cell at a time, so that what its owner writes into the same
column meanwhile is kept.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from ..core.mapping import Column, Template, from_spec
from ..errors import ColumnError, EachlabsError
from . import origins
from . import results as columns

logger = logging.getLogger("eachlabs_frames")

ATTRS: Final = "eachlabs_rating"
"""Where a frame says which of its columns are scores that were given here, each with the prefix of its result."""

SCALES: Final = "eachlabs_rating_scale"
"""Where a frame says the best score of each of these columns; the worst is 1."""

KEPT: Final = "scores are kept in .frame of this widget"
NUMBERS: Final = ("integer", "floating", "mixed-integer-float")
"""What pandas calls a column of objects that are nothing but numbers, beside missing values."""


class Scores:
    """The score column of one frame.

    Parameters
    ----------
    frame : pandas.DataFrame
        It gets the column at once, all missing, where it has none of that name.
    column : hashable
    prefix : str
        Which result the scores are of.
    best : int
        The best score there can be.

    Attributes
    ----------
    values : list of int, float or None
        Each row's score.
    problem : str or None
        Why the frame itself was not written the last time, in a sentence.
    """

    def __init__(self, frame: pd.DataFrame, column: Hashable, prefix: str, *, best: int) -> None:
        self._column = column
        self._label = _label(frame, column)
        _check(frame, column, self._label, prefix)
        self._given = frame
        self._prefix = prefix
        self._best = best
        self._source = columns.snapshot(frame)
        self._index = frame.index
        self._executions = columns.executions(frame, prefix)
        self._waiting: dict[int, float | None] = {}  # what the frame itself was not given yet
        self.problem: str | None = None
        place = _place(frame, self._label)
        held = pd.array([pd.NA] * len(frame), dtype="Int64") if place is None else _nullable(frame.iloc[:, place])
        self.values: Final = [None if value is pd.NA else value for value in held.tolist()]
        if place is None:
            _insert(frame, self._label, held)
        self._note(frame)

    def put(self, row: int, score: float | None) -> None:
        """Give a row, by position, its score, or none: here, and in the frame where its rows are still those."""
        self.values[row] = score
        self._waiting[row] = score
        self.problem = self._refusal()
        if self.problem is None:
            try:
                self._write()
            except Exception as exc:
                # What somebody has judged is worth more than the column that it goes into.
                logger.exception("a score could not be written into the frame")
                self.problem = f"the frame could not be written ({exc}): {KEPT}"

    @property
    def frame(self) -> pd.DataFrame:
        """A new frame: the rows as they were at first, with the scores as they are now."""
        frame = columns.snapshot(self._source)
        place = _place(frame, self._label)
        held = _nullable(pd.Series(self.values, dtype=object))
        if place is None:
            _insert(frame, self._label, held)
        else:
            frame.isetitem(place, held)
        self._note(frame)
        return frame

    def _note(self, frame: pd.DataFrame) -> None:
        if isinstance(self._column, str):
            frame.attrs[ATTRS] = noted(frame) | {self._column: self._prefix}
            frame.attrs[SCALES] = _scales(frame) | {self._column: self._best}

    def _write(self) -> None:
        place = _place(self._given, self._label)
        assert place is not None
        held = _nullable(self._given.iloc[:, place]).astype("Float64")  # a score of before need not be whole
        for row, score in self._waiting.items():
            held[row] = pd.NA if score is None else score
        # Not by iloc, which would write through a frame that this one is a part of, and warn of it.
        self._given.isetitem(place, _nullable(pd.Series(held)))
        self._waiting.clear()

    def _refusal(self) -> str | None:
        """Say why the frame must not be written as it is now."""
        given = self._given
        if not self._is_unchanged():
            return f"the frame's rows were changed or moved in the meantime, so it is no longer written: {KEPT}"
        place = _place(given, self._label)
        if place is None:
            return f"the frame has no column {self._label!r} any more: {KEPT}"
        try:
            _nullable(given.iloc[:, place])
        except ColumnError:
            return f"the frame's column {self._label!r} has other values now: {KEPT}"
        return None

    def _is_unchanged(self) -> bool:
        """Say whether each row is where it was, by its execution; where it has none, by the whole index."""
        given = self._given
        if not columns.is_result(given, self._prefix):
            return False
        if columns.executions(given, self._prefix) != self._executions:
            return False
        known = None not in self._executions
        return known or given.index is self._index or given.index.identical(self._index)


def noted(frame: pd.DataFrame) -> dict[str, str]:
    """Return the columns of scores, each with the prefix of its result; attrs are anybody's to write."""
    said = frame.attrs.get(ATTRS)
    pairs = said.items() if isinstance(said, Mapping) else ()
    return {name: of for name, of in pairs if isinstance(name, str) and isinstance(of, str)}


def scale_of(frame: pd.DataFrame, column: Hashable) -> tuple[float, float] | None:
    """Return the worst and the best score that a column can hold; None where it holds none that were given here."""
    names = noted(frame)
    best = (best for name, best in _scales(frame).items() if name in names and column == columns.label(frame, name, ""))
    found = next(best, None)
    return None if found is None else (1.0, float(found))


def _scales(frame: pd.DataFrame) -> dict[str, int]:
    scales = frame.attrs.get(SCALES)
    pairs = scales.items() if isinstance(scales, Mapping) else ()
    return {name: best for name, best in pairs if isinstance(name, str) and type(best) is int}


def own(frame: pd.DataFrame) -> frozenset[Hashable]:
    """Return the labels of the scores: no inputs, unless named."""
    return frozenset(columns.label(frame, name, "") for name in noted(frame))


def forget_stale(frame: pd.DataFrame, before: pd.DataFrame, prefix: str) -> None:
    """Take the scores away from rows whose execution is another than `before`: that one was judged."""
    names = [name for name, of in noted(frame).items() if of == prefix]
    stale = columns.stale(frame, before, prefix) if names else []
    for place in [_place(frame, columns.label(frame, name, "")) for name in names] if stale else []:
        if place is None:
            continue
        try:
            held = pd.array(_nullable(frame.iloc[:, place]), copy=True)
        except (ColumnError, ValueError, TypeError, OverflowError):
            continue  # it holds something else by now, and must not stand between a paid result and its frame
        held[stale] = pd.NA
        frame.isetitem(place, held)


def _label(frame: pd.DataFrame, column: Hashable) -> Hashable:
    """Return the column's whole label: a name is filled up with "" where the columns are a MultiIndex."""
    if isinstance(column, str):
        return columns.label(frame, column, "")
    return column


def _place(frame: pd.DataFrame, label: Hashable) -> int | None:
    return next((place for place, known in enumerate(frame.columns) if known == label), None)


def _check(frame: pd.DataFrame, column: Hashable, label: Hashable, prefix: str) -> None:
    """See that this column may hold scores.

    Raises
    ------
    ColumnError
        It is the result's own, an input, there twice, or holds something else than numbers.
    """
    if label in columns.labels(frame, prefix):
        msg = f"column={column!r} is a column of the result: give the scores another name, such as 'score'"
        raise ColumnError(msg)
    if label in _inputs(frame, prefix):
        msg = f"column={column!r} is an input of these rows: give the scores another name, such as 'score'"
        raise ColumnError(msg)
    if sum(known == label for known in frame.columns) > 1:
        msg = f"the frame has two columns named {column!r}: drop one"
        raise ColumnError(msg)
    place = _place(frame, label)
    if place is not None:
        _nullable(frame.iloc[:, place])


def _inputs(frame: pd.DataFrame, prefix: str) -> set[Hashable]:
    """Return the columns that the rows' inputs were made of, as far as the frame says so."""
    origin = origins.known(frame, prefix)
    if origin is None or origin.inputs is None:
        return set()
    found: set[Hashable] = set()
    try:
        fields = from_spec(origin.inputs)
    except (EachlabsError, KeyError, TypeError, AttributeError):
        return found  # attrs that somebody else wrote
    for source in fields.values():
        if isinstance(source, Column):
            found.add(source.label)
        elif isinstance(source, Template):
            found.update(source.labels)
    return found


def _insert(frame: pd.DataFrame, label: Hashable, held: Any) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
            frame.insert(frame.shape[1], label, held)
    except (TypeError, ValueError) as exc:
        kind = type(frame.columns).__name__
        msg = f"the frame's columns (a {kind}) take no column {label!r} ({exc}): set df.columns = list(df.columns)"
        raise ColumnError(msg) from exc


def _nullable(column: pd.Series[Any]) -> Any:
    """Return a column's numbers as an array that knows missing values: Int64, or Float64 where one is not whole.

    Raises
    ------
    ColumnError
        It holds something that is no number.
    """
    if str(column.dtype) == "Int64":
        return column.array
    if column.isna().all():
        return pd.array([pd.NA] * len(column), dtype="Int64")
    kind = column.dtype.kind
    if kind not in "iuf" and not (kind == "O" and pd.api.types.infer_dtype(column, skipna=True) in NUMBERS):
        first: Sequence[Any] = column[column.notna()].head(1).tolist()
        msg = f"column {column.name!r} holds {first[0]!r}, which is not a score: name a numeric column, or a new one"
        raise ColumnError(msg)
    numbers = column.astype(object).where(column.notna(), np.nan).astype("float64").to_numpy()
    there = numbers[~np.isnan(numbers)]
    whole = bool((np.isfinite(there) & (there == np.floor(there))).all())
    floating = pd.array(numbers, dtype="Float64")
    return floating.astype("Int64") if whole else floating
