"""What ``matrix`` shows of a frame, or of two. It reads them, and never writes to them.

Whatever can be wrong with a call is found before anything is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from ...errors import ColumnError, ConfigurationError, FrameTypeError
from ...frames import attrs, columns, lost_attrs
from ...inputs.json_values import MISSING, RefusedValueError, clean
from ...media import cut
from ...models import Json, Outcome
from ...results import NO_TIME, Results
from ...suggestions import hint
from ..common.card import MAX_LABEL_LENGTH, Card
from ..common.source import BETWEEN, Cards, name_of
from .colours import Unit
from .model import AxisHead, AxisHeads, Kind, MatrixValues, table
from .pivot import AxisNames, Pivot, pivot, spread
from .widget import Matrix

SMALLEST, LARGEST = 32, 1_024
OURS: Final = ("output", "cost", "status")
DURATION: Final = "duration"
SIDES: Final = ("A", "B")
MISSING_TEXT: Final = "missing"
MAX_PART_LENGTH: Final = 80

UNITS: Final[Mapping[str, Unit]] = {
    "boolean": "truth",
    **dict.fromkeys(("timedelta", "timedelta64"), "seconds"),
    **dict.fromkeys(("integer", "floating", "mixed-integer-float", "decimal"), "number"),
}
"""Of columns that are numbers, by pandas' word for what they hold. A moment is none: its mean says little."""

_NANO: Final = 1_000_000_000


class FrameValues(NamedTuple):
    """What is shown of each row of one frame; `numbers` where that is a number, NaN where it is missing.

    `bounds` are the least and the greatest number that there can be, where that is known.
    """

    column: pd.Series[Any]
    kind: Kind
    numbers: Sequence[float] = ()
    unit: Unit = "number"
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class FrameSide:
    """One frame, as it is shown."""

    cards: Cards
    labels: Sequence[str]  # by the axes, each cut: of a long prompt the others would not be seen
    results: Results
    axes: Mapping[Hashable, pd.Series[Any]]
    values: FrameValues
    run: str | None


def matrix(
    frame: pd.DataFrame,
    rows: Hashable | Sequence[Hashable],
    columns_: Hashable | Sequence[Hashable],
    value: Hashable,
    by: Hashable | Sequence[Hashable] | None,
    *,
    compare: pd.DataFrame | None,
    size: int,
    prefix: str | None,
) -> Matrix:
    """Lay a frame's rows out."""
    if isinstance(size, bool) or not isinstance(size, int) or not SMALLEST <= size <= LARGEST:
        msg = f"size= is the pixels of a picture's side, {SMALLEST} to {LARGEST}; got {size!r}"
        raise ConfigurationError(msg)
    if compare is not None and not isinstance(compare, pd.DataFrame):
        msg = f"compare= takes a second result, a pandas DataFrame; got {type(compare).__name__}"
        raise FrameTypeError(msg)
    names = _names(frame, {"rows": rows, "columns": columns_, "by": by})
    sides = [_side(frame, names, value, prefix, "")]
    if compare is not None:
        sides.append(_side(compare, names, value, prefix, "compare="))
    called = _called(sides)
    laid = pivot(names, [side.axes for side in sides])
    reading = _reading(value, sides)
    shown = table(laid.grid, _heads(laid), reading, sides=called, size=size)
    spread_ = spread(laid, [side.values.column for side in sides], called)
    return Matrix(shown, _FrameCards(sides, called, spread_, is_output=value == "output" or reading.kind != "cards"))


class _FrameCards:
    """The cards of one frame or two: those of the second go on where the first ends."""

    def __init__(
        self, sides: Sequence[FrameSide], called: Sequence[str], frame: pd.DataFrame, *, is_output: bool
    ) -> None:
        self._sides = sides
        self._called = called
        self._is_output = is_output
        self.frame: Final = frame
        self.size: Final = sum(len(side.cards) for side in sides)

    def cards(self, numbers: Sequence[int]) -> list[Card]:
        """Return these cards."""
        made: dict[int, Card] = {}
        for place, side in enumerate(self._sides):
            rows = [self._place(number)[1] for number in numbers if self._place(number)[0] == place]
            for row, card in zip(rows, side.cards.make([self._outcome(side, row) for row in rows]), strict=True):
                number = card["row"] = row + self._start(place)
                called = f"{self._called[place]}: " if self._called else ""
                card["label"] = cut(called + side.labels[row], MAX_LABEL_LENGTH)
                if not self._is_output:
                    for item in card["media"]:
                        item["has_file"] = False
                made[number] = card
        return [made[number] for number in numbers]

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of what was downloaded of a card's output, in the order of its URLs."""
        if not (self._is_output and 0 <= row < self.size):
            return ()
        place, own = self._place(row)
        return self._sides[place].cards.files(own)

    def _outcome(self, side: FrameSide, row: int) -> Outcome:
        outcome = side.results.outcome(row)
        return outcome if self._is_output else outcome._replace(output=_plain(side.values.column.iloc[row]))

    def _place(self, number: int) -> tuple[int, int]:
        first = len(self._sides[0].cards)
        return (0, number) if number < first else (1, number - first)

    def _start(self, place: int) -> int:
        return len(self._sides[0].cards) if place else 0


# -- what the call says ---------------------------------------------------------------------------------------------


def _names(frame: pd.DataFrame, said: Mapping[str, Any]) -> AxisNames:
    found = {axis: _listed(frame, axis, one) for axis, one in said.items()}
    counted = Counter(label for labels in found.values() for label in labels)
    twice = next((label for label, count in counted.items() if count > 1), None)
    if twice is not None:
        where = " and ".join(f"{axis}=" for axis, labels in found.items() if twice in labels)
        msg = f"{where} name column {twice!r} more than once: a column stands along one axis"
        raise ColumnError(msg)
    return AxisNames(**found)


def _listed(frame: pd.DataFrame, axis: str, said: Any) -> tuple[Hashable, ...]:
    if said is None and axis == "by":
        return ()
    several = isinstance(said, list | pd.Index | np.ndarray) or (isinstance(said, tuple) and not _holds(frame, said))
    labels = tuple(said) if several else (said,)
    if not labels or any(isinstance(label, list | dict | set) for label in labels):
        msg = f"{axis}= takes a column's name, or a list of names; got {said!r}"
        raise ColumnError(msg)
    return labels


def _holds(frame: pd.DataFrame, label: object) -> bool:
    try:
        return label in frame.columns
    except TypeError:  # it cannot be looked up
        return False


def _column(frame: pd.DataFrame, label: Any, said: str) -> pd.Series[Any]:
    """Return one column, by position.

    Raises
    ------
    ColumnError
        There is none, with the nearest name; or there are two.
    """
    places = [place for place, known in enumerate(frame.columns) if known == label]
    if not places:
        msg = f"{said}{label!r}: the frame has no such column{hint(label, frame.columns)}"
        raise ColumnError(msg)
    if len(places) > 1:
        msg = f"{said}{label!r}: the frame has {len(places)} columns of this name: rename one"
        raise ColumnError(msg)
    found: pd.Series[Any] = frame.iloc[:, places[0]]
    return found


def _side(frame: pd.DataFrame, names: AxisNames, value: Hashable, prefix: str | None, where: str) -> FrameSide:
    """Read one frame.

    Raises
    ------
    ColumnError
        It holds no result, or has not the columns that are named.
    """
    try:
        own = lost_attrs.prefix_of(frame, prefix)
        columns.require_result(frame, own)
    except ColumnError as exc:
        msg = f"{where} {exc}".strip()
        raise ColumnError(msg) from None
    axes = {
        label: _column(frame, label, f"{where and f'{where} '}{axis}=").reset_index(drop=True)
        for axis, labels in zip(AxisNames._fields, names, strict=True)
        for label in labels
    }
    parts = [_texts(axes[label], name_of(label)) for labels in names for label in labels]
    labels = [BETWEEN.join(cut(part, MAX_PART_LENGTH) for part in each) for each in zip(*parts, strict=True)]
    results = columns.read(frame, own)
    values = _values(frame, value, own, results, where)
    known = lost_attrs.known(frame, own)
    cards = Cards(frame, prefix=own, origin=lambda: known)
    return FrameSide(cards, labels, results, axes, values, known.run if known else None)


# -- values ---------------------------------------------------------------------------------------------------------


def _values(frame: pd.DataFrame, value: Hashable, prefix: str, results: Results, where: str) -> FrameValues:
    if value == "status":
        return FrameValues(pd.Series(results.status, dtype="string"), "statuses")
    if value == "cost":
        return FrameValues(pd.Series(results.cost, dtype="float64"), "numbers", list(results.cost), "usd")
    if value == DURATION and not _holds(frame, value):
        seconds = _seconds(results)
        return FrameValues(pd.Series(seconds, dtype="float64"), "numbers", seconds, "seconds")
    label = columns.label(frame, "output", prefix) if value == "output" else value
    column = _column(frame, label, f"{where and f'{where} '}value=").reset_index(drop=True)
    return (
        FrameValues(column, "cards")
        if value == "output"
        else _measured(column)._replace(bounds=attrs.score_range(frame, value))
    )


def _seconds(results: Results) -> list[float]:
    moments = zip(results.started_at, results.completed_at, strict=True)
    return [np.nan if NO_TIME in (start, end) else (end - start) / _NANO for start, end in moments]


def _measured(column: pd.Series[Any]) -> FrameValues:
    """Return a user's column as numbers, where all that it holds are numbers, truths or spans of time."""
    kind = pd.api.types.infer_dtype(column, skipna=True)
    unit = UNITS.get(kind)
    if unit is None or isinstance(column.dtype, pd.CategoricalDtype):
        return FrameValues(column, "cards")
    missing = column.isna().tolist()
    cells = zip(column.astype(object).tolist(), missing, strict=True)
    return FrameValues(column, "numbers", [np.nan if gone else _number(cell) for cell, gone in cells], unit)


def _number(cell: Any) -> float:
    if hasattr(cell, "total_seconds"):
        return float(cell.total_seconds())
    try:
        return float(cell)
    except OverflowError:  # an integer beyond the largest float
        return np.inf if cell > 0 else -np.inf


def _plain(cell: object) -> Json:
    """Return a user's cell as a card shows it."""
    try:
        found = clean(cell)
    except RefusedValueError:
        return str(cell)
    return None if found is MISSING else found


def _reading(value: Hashable, sides: Sequence[FrameSide]) -> MatrixValues:
    """Return what is shown of all rows: as numbers where both frames have such."""
    kinds = {side.values.kind for side in sides}
    units = {side.values.unit for side in sides}
    statuses = [status for side in sides for status in side.results.status]
    name = name_of(value)
    if kinds != {"numbers"}:
        return MatrixValues("cards" if "cards" in kinds else "statuses", name, statuses)
    numbers = [number for side in sides for number in side.values.numbers]
    bounds = [side.values.bounds for side in sides if side.values.bounds is not None]
    whole = (min(low for low, _ in bounds), max(high for _, high in bounds)) if len(bounds) == len(sides) else None
    return MatrixValues("numbers", name, statuses, numbers, units.pop() if len(units) == 1 else "number", whole)


# -- headers --------------------------------------------------------------------------------------------------------


def _called(sides: Sequence[FrameSide]) -> list[str]:
    """Return what two frames are called: by their runs, where they have different ones."""
    if len(sides) == 1:
        return []
    runs = [side.run for side in sides]
    if runs[0] is not None and runs[0] == runs[1]:
        return [f"{run} ({letter})" for run, letter in zip(runs, SIDES, strict=True)]
    return [run or letter for run, letter in zip(runs, SIDES, strict=True)]


def _heads(laid: Pivot) -> AxisHeads:
    texts = [[_texts(along.iloc[:, at]) for at in range(along.shape[1])] for along in (laid.rows, laid.columns)]
    rows, columns_ = (
        AxisHead(
            names=[name_of(label) for label in labels], places=[list(place) for place in zip(*levels, strict=True)]
        )
        for labels, levels in zip(laid.names[:2], texts, strict=True)
    )
    named = zip(laid.names.by, (laid.by.iloc[:, at] for at in range(laid.by.shape[1])), strict=True)
    by = [_texts(column, name_of(label)) for label, column in named]
    return AxisHeads(rows, columns_, [BETWEEN.join(parts) for parts in zip(*by, strict=True)])


def _texts(values: pd.Series[Any], name: str = "") -> list[str]:
    """Return each value as a header says it: with its column's name, where that is given and it is no text itself."""
    cells = values.astype(object).tolist()
    texts = [MISSING_TEXT if _is_missing(cell) else str(cell) or '""' for cell in cells]
    return [
        text if isinstance(cell, str) else f"{name} {text}".strip() for cell, text in zip(cells, texts, strict=True)
    ]


def _is_missing(cell: Any) -> bool:
    return not isinstance(cell, tuple) and bool(pd.isna(cell))
