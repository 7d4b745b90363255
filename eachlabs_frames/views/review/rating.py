"""What ``rate`` reads of a frame and writes to it: the rows that can be rated, and their column of scores.

Scores are written one cell at a time and by position, so that values that the owner writes to the same column in the
meantime are kept. A row that has changed or moved since is never written.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from ...checks import check_flag
from ...errors import ColumnError, ConfigurationError, EachlabsError
from ...frames import attrs, columns, lost_attrs
from ...inputs.mapping import Column, Template, from_spec
from ...models import COMPLETED, Outcome
from ..common.card import MAX_STATUS_LENGTH, Card
from ..common.source import Cards
from ..common.static_summary import plain

if TYPE_CHECKING:
    from .rating_widget import Rating

WORST_SCALE, BEST_SCALE = 2, 9


class RatingSource:
    """The rows of one frame that can be rated, in the frame's order.

    Attributes
    ----------
    column : str
        The name of the scores.
    left_out : str
        How many rows cannot be rated, and why; empty where there is none.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        column: Hashable,
        *,
        label: Hashable | Sequence[Hashable] | None,
        scale: int,
        only_unrated: bool,
        prefix: str | None,
    ) -> None:
        self._cards = Cards(frame, label=label, prefix=prefix)
        columns.require_result(frame, self._cards.prefix)
        outcomes = self._cards.outcomes()
        self._scores = Scores(frame, column, self._cards.prefix, best=scale)
        held = self._scores.values
        fit = [one for one in outcomes if _is_fit(one)]
        self._outcomes: Final = [one for one in fit if not only_unrated or held[one.position] is None]
        self.column: Final = str(column)
        self.left_out: Final = _left_out(outcomes, len(fit) - len(self._outcomes))

    @property
    def frame(self) -> pd.DataFrame:
        """A new frame with the scores as they are."""
        return self._scores.frame

    @property
    def problem(self) -> str | None:
        """Why the frame that was given is not written, in a sentence."""
        return self._scores.problem

    @property
    def size(self) -> int:
        """How many rows can be rated."""
        return len(self._outcomes)

    def scores(self) -> Mapping[int, float]:
        """Return the scores that were there before, by place."""
        held = ((place, self._scores.values[one.position]) for place, one in enumerate(self._outcomes))
        return {place: score for place, score in held if score is not None}

    def label(self, place: int) -> str:
        """Return what a row is called."""
        return self._cards.labels([self._outcomes[place].position])[0]

    def card(self, place: int) -> Card:
        """Return what is to be seen."""
        return self._cards.make([self._outcomes[place]])[0]

    def rate(self, place: int, score: float | None) -> None:
        """Write a score, or that there is none any more."""
        self._scores.put(self._outcomes[place].position, score)

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of what was downloaded of a row's output, in the order of its URLs."""
        return self._cards.files(row) if 0 <= row < len(self._cards) else ()

    @property
    def rows(self) -> Sequence[int]:
        """The rows that can be rated, in the order in which they are shown."""
        return [one.position for one in self._outcomes]


def rate(
    frame: pd.DataFrame,
    column: Hashable,
    *,
    label: Hashable | Sequence[Hashable] | None,
    scale: int,
    only_unrated: bool,
    prefix: str | None,
) -> Rating:
    """Return the widget that rates the results of `frame`."""
    from .rating_widget import Rating  # takes 0.2 s to import, and is only for those who look

    if isinstance(scale, bool) or not isinstance(scale, int) or not WORST_SCALE <= scale <= BEST_SCALE:
        msg = f"scale must be the best score, a whole number from {WORST_SCALE} to {BEST_SCALE}; got {scale!r}"
        raise ConfigurationError(msg)
    check_flag("only_unrated", only_unrated)
    rated = RatingSource(frame, column, label=label, scale=scale, only_unrated=only_unrated, prefix=prefix)
    return Rating(rated, scale=scale)


def _is_fit(outcome: Outcome) -> bool:
    return outcome.status == COMPLETED and outcome.output is not None


def _left_out(outcomes: Sequence[Outcome], rated: int) -> str:
    unfit = [one.status for one in outcomes if not _is_fit(one)]
    words = Counter(
        "without an output" if status == COMPLETED else plain(status, MAX_STATUS_LENGTH) for status in unfit
    )
    parts = [f"{rows:,} {word}" for word, rows in words.most_common()]
    parts += [f"{rated:,} rated before"] if rated else []
    total = len(unfit) + rated
    return f"{total:,} {'row is' if total == 1 else 'rows are'} left out: {', '.join(parts)}" if total else ""


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
