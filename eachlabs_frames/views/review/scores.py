"""A column of scores in a frame that its owner goes on working with. Never writes into a row that is another by now.

By position, whatever the index and the columns are; one cell at a time, so that what its owner writes into the same
column meanwhile is kept.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Hashable
from typing import Any, Final

import pandas as pd

from ...errors import ColumnError, EachlabsError
from ...frames import attrs, columns, lost_attrs
from ...inputs.mapping import Column, Template, from_spec

logger = logging.getLogger("eachlabs_frames")

KEPT: Final = "scores are kept in .frame of this widget"


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
        place = columns.place(frame, self._label)
        missing = pd.Series([pd.NA] * len(frame), dtype="Int64")
        held = columns.nullable(missing if place is None else frame.iloc[:, place])
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
        place = columns.place(frame, self._label)
        held = columns.nullable(pd.Series(self.values, dtype=object))
        if place is None:
            _insert(frame, self._label, held)
        else:
            frame.isetitem(place, held)
        self._note(frame)
        return frame

    def _note(self, frame: pd.DataFrame) -> None:
        if isinstance(self._column, str):
            frame.attrs[attrs.RATING] = attrs.score_columns(frame) | {self._column: self._prefix}
            frame.attrs[attrs.RATING_SCALE] = attrs.score_scales(frame) | {self._column: self._best}

    def _write(self) -> None:
        place = columns.place(self._given, self._label)
        assert place is not None
        held = columns.nullable(self._given.iloc[:, place]).astype("Float64")  # a score of before need not be whole
        for row, score in self._waiting.items():
            held[row] = pd.NA if score is None else score
        # Not by iloc, which would write through a frame that this one is a part of, and warn of it.
        self._given.isetitem(place, columns.nullable(pd.Series(held)))
        self._waiting.clear()

    def _refusal(self) -> str | None:
        """Say why the frame must not be written as it is now."""
        given = self._given
        if not self._is_unchanged():
            return f"the frame's rows were changed or moved in the meantime, so it is no longer written: {KEPT}"
        place = columns.place(given, self._label)
        if place is None:
            return f"the frame has no column {self._label!r} any more: {KEPT}"
        try:
            columns.nullable(given.iloc[:, place])
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


def _label(frame: pd.DataFrame, column: Hashable) -> Hashable:
    """Return the column's whole label: a name is filled up with "" where the columns are a MultiIndex."""
    if isinstance(column, str):
        return columns.label(frame, column, "")
    return column


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
    place = columns.place(frame, label)
    if place is not None:
        columns.nullable(frame.iloc[:, place])


def _inputs(frame: pd.DataFrame, prefix: str) -> set[Hashable]:
    """Return the columns that the rows' inputs were made of, as far as the frame says so."""
    origin = lost_attrs.known(frame, prefix)
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
