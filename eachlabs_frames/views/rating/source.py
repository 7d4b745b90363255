"""What ``rate`` reads from a frame and writes to it: the rows that can be rated, and their column of scores.

Scores are written one cell at a time and by position, so that values that the owner writes to the same column in the
meantime are kept. A row that has changed or moved since is never written.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from ...checks import check_flag
from ...errors import ColumnError, ConfigurationError, EachlabsError
from ...frames import attrs, columns, lost_attrs
from ...inputs.mapping import labels_of
from ...inputs.mapping_spec import from_spec
from ...models import COMPLETED, Outcome
from ..common.card import MAX_STATUS_LENGTH, Card
from ..common.input_files import InputFiles
from ..common.source import Cards
from ..common.static_html import plain

if TYPE_CHECKING:
    from .widget import Rating

logger = logging.getLogger("eachlabs_frames")

MIN_SCALE, MAX_SCALE = 2, 9
KEPT: Final = "scores are kept in .frame of this widget"


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
    from .widget import Rating  # its import takes 0.2 s

    if isinstance(scale, bool) or not isinstance(scale, int) or not MIN_SCALE <= scale <= MAX_SCALE:
        msg = f"scale must be the best score, a whole number from {MIN_SCALE} to {MAX_SCALE}; got {scale!r}"
        raise ConfigurationError(msg)
    check_flag("only_unrated", only_unrated)
    source = RatingSource(frame, column, label=label, scale=scale, only_unrated=only_unrated, prefix=prefix)
    return Rating(source, scale=scale)


class RatingSource:
    """The rows of one frame that can be rated, in the frame's order, and the frame's column of scores.

    A place is the number of a row among those that can be rated.

    Parameters
    ----------
    frame : pandas.DataFrame
        It gets the column immediately, with missing values, if it has none of that name.
    column : hashable
    label : label or list of labels, optional
        Columns that name the rows.
    scale : int
        The best score.
    only_unrated : bool
        Leave out rows that have a score.
    prefix : str, optional
        Of the result.

    Attributes
    ----------
    column : str
        The name of the scores.
    left_out : str
        How many rows cannot be rated, and why; empty if there is none.
    values : list of int, float or None
        Each row's score, by position.
    problem : str or None
        Why the frame itself was not written the last time, as a sentence.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        column: Hashable,
        *,
        label: Hashable | Sequence[Hashable] | None = None,
        scale: int,
        only_unrated: bool = False,
        prefix: str | None = None,
    ) -> None:
        self._cards = Cards(frame, label=label, prefix=prefix)
        self._prefix = self._cards.prefix
        columns.require_result(frame, self._prefix)
        outcomes = self._cards.outcomes()
        self._name = column
        self._label = columns.label(frame, column, "") if isinstance(column, str) else column
        _check_column(frame, column, self._label, self._prefix)
        self._original = frame
        self._scale = scale
        self._snapshot = columns.snapshot(frame)
        self._index = frame.index
        self._executions = columns.executions(frame, self._prefix)
        self._unwritten: dict[int, float | None] = {}
        self.problem: str | None = None
        place = columns.place(frame, self._label)
        missing = pd.Series([pd.NA] * len(frame), dtype="Int64")
        scores = columns.nullable(missing if place is None else frame.iloc[:, place])
        self.values: Final = [None if value is pd.NA else value for value in scores.tolist()]
        if place is None:
            _insert(frame, self._label, scores)
        self._write_attrs(frame)
        suitable = [outcome for outcome in outcomes if _is_suitable(outcome)]
        self._outcomes: Final = [o for o in suitable if not only_unrated or self.values[o.position] is None]
        self.column: Final = str(column)
        self.left_out: Final = _left_out(outcomes, len(suitable) - len(self._outcomes))

    @property
    def frame(self) -> pd.DataFrame:
        """A new frame: the rows as they were at first, with the current scores."""
        frame = columns.snapshot(self._snapshot)
        place = columns.place(frame, self._label)
        scores = columns.nullable(pd.Series(self.values, dtype=object))
        if place is None:
            _insert(frame, self._label, scores)
        else:
            frame.isetitem(place, scores)
        self._write_attrs(frame)
        return frame

    @property
    def size(self) -> int:
        """Number of rows that can be rated."""
        return len(self._outcomes)

    @property
    def rows(self) -> Sequence[int]:
        """The positions of the rows that can be rated, in display order."""
        return [outcome.position for outcome in self._outcomes]

    def marks(self) -> Mapping[int, float]:
        """Return the scores, by place."""
        scores = ((place, self.values[row]) for place, row in enumerate(self.rows))
        return {place: score for place, score in scores if score is not None}

    def label(self, place: int) -> str:
        """Return the label of a row."""
        return self._cards.labels([self._outcomes[place].position])[0]

    def item(self, place: int) -> Card:
        """Return the card of a row."""
        return self._cards.make([self._outcomes[place]])[0]

    @property
    def input_files(self) -> InputFiles:
        """The files in the rows' inputs."""
        return self._cards.input_files

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of a row's downloaded files, in the order of the URLs in its output."""
        return self._cards.files(row) if 0 <= row < len(self._cards) else ()

    def store(self, place: int, score: float | None) -> None:
        """Store a score, or remove it (None): here, and in the frame if its rows are unchanged."""
        row = self._outcomes[place].position
        self.values[row] = self._unwritten[row] = score
        self.problem = self._refusal()
        if self.problem is None:
            try:
                self._write()
            except Exception as exc:
                # The user's judgement must not be lost because a column cannot be written.
                logger.exception("a score could not be written into the frame")
                self.problem = f"the frame could not be written ({exc}): {KEPT}"

    def _write_attrs(self, frame: pd.DataFrame) -> None:
        if isinstance(self._name, str):
            frame.attrs[attrs.RATING] = attrs.score_columns(frame) | {self._name: self._prefix}
            frame.attrs[attrs.RATING_SCALE] = attrs.score_scales(frame) | {self._name: self._scale}

    def _write(self) -> None:
        place = columns.place(self._original, self._label)
        assert place is not None
        scores = columns.nullable(self._original.iloc[:, place]).astype("Float64")  # earlier scores may be fractions
        for row, score in self._unwritten.items():
            scores[row] = pd.NA if score is None else score
        # iloc would write through to a frame of which this one is a part, and warn of it.
        self._original.isetitem(place, columns.nullable(pd.Series(scores)))
        self._unwritten.clear()

    def _refusal(self) -> str | None:
        """Return why the frame must not be written in its present state, if so."""
        frame = self._original
        if not self._is_unchanged():
            return f"the frame's rows were changed or moved in the meantime, so it is no longer written: {KEPT}"
        place = columns.place(frame, self._label)
        if place is None:
            return f"the frame has no column {self._label!r} any more: {KEPT}"
        try:
            columns.nullable(frame.iloc[:, place])
        except ColumnError:
            return f"the frame's column {self._label!r} has other values now: {KEPT}"
        return None

    def _is_unchanged(self) -> bool:
        """Return whether each row is where it was, by its execution; by the whole index if a row has none."""
        frame = self._original
        if not columns.is_result(frame, self._prefix):
            return False
        if columns.executions(frame, self._prefix) != self._executions:
            return False
        return None not in self._executions or frame.index is self._index or frame.index.identical(self._index)


def _is_suitable(outcome: Outcome) -> bool:
    return outcome.status == COMPLETED and outcome.output is not None


def _left_out(outcomes: Sequence[Outcome], rated: int) -> str:
    statuses = [outcome.status for outcome in outcomes if not _is_suitable(outcome)]
    reasons = Counter(
        "without an output" if status == COMPLETED else plain(status, MAX_STATUS_LENGTH) for status in statuses
    )
    parts = [f"{rows:,} {reason}" for reason, rows in reasons.most_common()]
    parts += [f"{rated:,} rated before"] if rated else []
    total = len(statuses) + rated
    return f"{total:,} {'row is' if total == 1 else 'rows are'} left out: {', '.join(parts)}" if total else ""


def _check_column(frame: pd.DataFrame, column: Hashable, label: Hashable, prefix: str) -> None:
    """Raise `ColumnError` if the column cannot hold scores.

    It belongs to the result, is an input, occurs twice, or holds something other than numbers.
    """
    if label in columns.labels(frame, prefix):
        msg = f"column={column!r} is a column of the result: give the scores another name, such as 'score'"
        raise ColumnError(msg)
    if label in _inputs(frame, prefix):
        msg = f"column={column!r} is an input of these rows: give the scores another name, such as 'score'"
        raise ColumnError(msg)
    if sum(existing == label for existing in frame.columns) > 1:
        msg = f"the frame has two columns named {column!r}: drop one"
        raise ColumnError(msg)
    place = columns.place(frame, label)
    if place is not None:
        columns.nullable(frame.iloc[:, place])


def _inputs(frame: pd.DataFrame, prefix: str) -> Set[Hashable]:
    """Return the columns that the inputs were made of, if the frame records them."""
    meta = lost_attrs.find_meta(frame, prefix)
    if meta is None or meta.inputs is None:
        return frozenset()
    try:
        return labels_of(from_spec(meta.inputs))
    except (EachlabsError, KeyError, TypeError, AttributeError):
        return frozenset()  # attrs may be written by anybody


def _insert(frame: pd.DataFrame, label: Hashable, scores: Any) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
            frame.insert(frame.shape[1], label, scores)
    except (TypeError, ValueError) as exc:
        kind = type(frame.columns).__name__
        msg = f"the frame's columns (a {kind}) take no column {label!r} ({exc}): set df.columns = list(df.columns)"
        raise ColumnError(msg) from exc
