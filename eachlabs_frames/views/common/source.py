"""What views read from a DataFrame: each row's label, its input, its files, and its card. Never writes to the frame.

A column that does not exist is an error when the view is created. Labels and inputs are read for the rows that are
shown. Which columns are inputs is looked up at that time, because a run without ``inputs=`` learns them from the
workflow's schema.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from ...errors import ColumnError, EachlabsError
from ...frames import attrs, columns, lost_attrs, sent_inputs
from ...frames.columns import ResultMeta
from ...frames.rows import FrameInputs, label_texts
from ...inputs.encoding import Problem, Row, from_columns
from ...inputs.json_values import MISSING, RefusedValueError, clean_local
from ...inputs.mapping import Column, Fields, Label, Literal, Template, from_spec, labels_of
from ...media import cut, kind_of, text
from ...models import Json, Outcome
from ...suggestions import hint
from .card import MAX_LABEL_LENGTH, Card, card


class Cards:
    """What makes the cards of one frame.

    Parameters
    ----------
    frame : pandas.DataFrame
        A result, or a frame of which nothing was triggered yet.
    label : label or list of labels, optional
        Columns whose values a card is called by; by default the axes of a sweep, else the first text among its inputs,
        else the index.
    prefix : str, optional
        Of the result; by default that of the latest.
    origin : callable, optional
        Gives what is known of how the inputs were made, where that is not known from the start.

    Attributes
    ----------
    prefix : str

    Raises
    ------
    ColumnError
        No such column, or one that is there twice.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        label: Hashable | Sequence[Hashable] | None = None,
        prefix: str | None = None,
        origin: Callable[[], ResultMeta | None] | None = None,
    ) -> None:
        self.prefix: Final = lost_attrs.prefix_of(frame, prefix)
        known = None if origin is not None else lost_attrs.known(frame, self.prefix)
        self._frame = columns.snapshot(frame)
        self._origin = origin or (lambda: known)
        self._inputs = sent_inputs.of(frame, self.prefix)
        self._files = attrs.paths(frame, self.prefix)
        # A file is that of the execution which the frame has now; a run may bring its row another one.
        held = columns.is_result(frame, self.prefix)
        self._executions = columns.executions(frame, self.prefix) if held else [None] * len(frame)
        ours = attrs.own_columns(frame, self.prefix)
        self._mine: Final[list[tuple[str, Any]]] = [
            (name_of(one), self._frame.iloc[:, place])
            for place, one in enumerate(frame.columns)
            if one not in ours and (self._files is None or one != self._files.name)
        ]
        self._labels = RowLabels(self._frame, label, prefix=self.prefix, origin=self._origin)

    def __len__(self) -> int:
        return len(self._frame)

    def labels(self, rows: Sequence[int]) -> list[str]:
        """Return what these rows (positions) are called."""
        found = self._labels.of(rows)
        return (
            found
            if all(found)
            else [
                label or index for label, index in zip(found, label_texts(self._frame.index[list(rows)]), strict=True)
            ]
        )

    def outcomes(self) -> list[Outcome]:
        """Return how each row stands in the frame."""
        results = columns.read(self._frame, self.prefix)
        return [results.outcome(row) for row in range(results.size)]

    def make(self, outcomes: Sequence[Outcome]) -> list[Card]:
        """Return the cards of these rows, in this order."""
        rows = [outcome.position for outcome in outcomes]
        made = self._made(rows)
        return [
            card(
                outcome,
                label=label,
                sent=self._own(outcome.position) if isinstance(one, Problem) else one,
                files=self._files_of(outcome),
            )
            for outcome, one, label in zip(self._marked(outcomes, made), made, self.labels(rows), strict=True)
        ]

    def _marked(self, outcomes: Sequence[Outcome], made: Sequence[Row | Problem]) -> Sequence[Outcome]:
        """Say of each row that was edited since it was sent that its output is of another input."""
        fields = self._fields()
        if not fields or not self._inputs or len(fields) < self._keys():
            return outcomes
        executions = [outcome.execution_id for outcome in outcomes]
        edited = self._inputs.differ(executions, sent_inputs.checksums_of(made)).tolist()
        return [
            outcome._replace(error=sent_inputs.noted(outcome.error))
            if is_edited and outcome.execution_id is not None
            else outcome
            for outcome, is_edited in zip(outcomes, edited, strict=True)
        ]

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of what was downloaded of a row's output, in the order of its URLs; empty where nothing."""
        return () if self._files is None else attrs.paths_in(self._files.iloc[row])

    def _files_of(self, outcome: Outcome) -> Sequence[str | None]:
        known = self._executions[outcome.position] == outcome.execution_id
        return self.files(outcome.position) if known else ()

    # -- inputs -----------------------------------------------------------------------------------------------------

    def _made(self, rows: Sequence[int]) -> list[Row | Problem]:
        """Return the inputs of `rows`, as the frame remembers that they were made; else its own columns."""
        fields = self._fields()
        if not rows or not fields:
            return [self._own(row) for row in rows]
        origin = self._origin()
        source = FrameInputs(
            self._frame,
            np.unique(np.array(rows, dtype=np.int64)),  # which reads rows in their order alone
            fields,
            omit=origin is None or origin.na != "null",
            integers=frozenset(),
        )
        made = {row: one for some, chunk in source.rows() for row, one in zip(some, chunk, strict=True)}
        return [made[row] for row in rows]

    def _keys(self) -> int:
        """Return how many keys an input has, with those whose column is gone."""
        origin = self._origin()
        return len(origin.inputs or ()) if origin is not None else 0

    def _fields(self) -> Fields:
        """Return how inputs were made, without what is no column of the frame any more."""
        origin = self._origin()
        if origin is None or not origin.inputs:
            return {}
        try:
            fields = from_spec(origin.inputs)
        except (EachlabsError, KeyError, TypeError, AttributeError):
            return {}  # attrs that somebody else wrote
        held: Counter[Hashable] = Counter(list(self._frame.columns))
        return {key: source for key, source in fields.items() if all(held[label] == 1 for label in _wanted(source))}

    def _own(self, row: int) -> dict[str, Json]:
        """Return the cells of the user's own columns; one that is missing is left out."""
        cells = ((name, cleaned(column.iloc[row])) for name, column in self._mine)
        return {name: cell for name, cell in cells if cell is not MISSING}


def _wanted(source: Column | Literal | Template) -> Iterable[Hashable]:
    if isinstance(source, Column):
        return (source.label,)
    return source.labels if isinstance(source, Template) else ()


BETWEEN: Final = " · "

MAX_LABEL: Final = 200
"""Characters of a label that are shown."""

MIN_PART: Final = 40
MAX_SEARCHED: Final = 10_000
"""Characters of a cell that is no text, as JSON, that are searched."""


class RowLabels:
    """What the rows of one frame are called.

    Parameters
    ----------
    frame : pandas.DataFrame
        It is kept, and must not be written.
    label : label or list of labels, optional
        Columns whose values a row is called by. By default the axes of a sweep, else the first text among its inputs.
    prefix : str
        Of the result in the frame.
    origin : callable
        Gives what is known of how the inputs were made.

    Raises
    ------
    ColumnError
        `label` names no column, or one that is there twice.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        label: Hashable | Sequence[Hashable] | None = None,
        *,
        prefix: str = "",
        origin: Callable[[], ResultMeta | None],
    ) -> None:
        self._frame: Final = frame
        self._chosen: Final = attrs.axes(frame) if label is None else check_label(frame, label)
        self._origin: Final = origin
        held = Counter(frame.columns)
        self._places: Final[dict[Label, int]] = {
            name: place for place, name in enumerate(frame.columns) if held[name] == 1
        }
        self._result: Final = attrs.own_columns(frame, prefix)

    def of(self, rows: Sequence[int]) -> list[str]:
        """Return what these rows (positions) are called, in one line of at most `MAX_LABEL` characters; "" for none."""
        if self._chosen:
            some = self._frame.iloc[list(rows)]
            longest = MAX_LABEL if len(self._chosen) == 1 else max(MIN_PART, MAX_LABEL // len(self._chosen))
            parts = [[cut(_line(part), longest) for part in label_parts(some, name)] for name in self._chosen]
            return [cut(BETWEEN.join(filter(None, row)), MAX_LABEL) for row in zip(*parts, strict=True)]
        found, links = [""] * len(rows), [""] * len(rows)
        for cells in self._inputs(rows):
            for at, cell in enumerate(cells):
                if isinstance(cell, str) and not found[at] and cell.strip() and not cell.startswith("data:"):
                    (found if kind_of(cell) == "text" else links)[at] = cell
            if all(found):
                break
        return [cut(_line(words or link), MAX_LABEL) for words, link in zip(found, links, strict=True)]

    def searched(self) -> list[str]:
        """Return each row's inputs, and what it is called by, as one text."""
        names = dict.fromkeys([*self._chosen, *sorted(labels_of(self._fields()), key=self._places.__getitem__)])
        cells = [_texts(self._frame.iloc[:, self._places[name]].tolist()) for name in names]
        return ["\n".join(row) for row in zip(*cells, strict=True)] if cells else [""] * len(self._frame)

    def _inputs(self, rows: Sequence[int]) -> Iterator[list[Json]]:
        """Yield, input by input, what these rows send; None where that is missing or cannot be sent."""
        for key, source in self._fields().items():
            fields = {key: source}
            cells = {name: self._frame.iloc[list(rows), self._places[name]].tolist() for name in labels_of(fields)}
            made = from_columns(cells, len(rows), fields, omit=True, integers=frozenset())
            yield [row.get(key) if isinstance(row, dict) else None for row in made]

    def _fields(self) -> Fields:
        """Return what fills each input that differs from row to row; the user's own columns where that is not known."""
        origin = self._origin()
        if origin is not None and origin.inputs:
            try:
                fields = from_spec(origin.inputs)
            except (EachlabsError, KeyError, TypeError, AttributeError):
                fields = {}  # attrs are anybody's to write
            varying = {
                key: source
                for key, source in fields.items()
                if not isinstance(source, Literal) and self._places.keys() >= labels_of({key: source})
            }
            if varying:
                return varying
        return {str(name): Column(name) for name in self._places if name not in self._result}


def _texts(cells: Sequence[Any]) -> list[str]:
    return [cell if type(cell) is str else _text(cell) for cell in cells]


def _text(cell: object) -> str:
    if type(cell) is int:  # most cells that are no text, and quickly written
        return str(cell)
    value = cleaned(cell)
    return "" if value is MISSING else text(value, MAX_SEARCHED)


def _line(words: str) -> str:
    """Return a text on one line; of a long one only as much as can be shown."""
    return " ".join(words[: 4 * MAX_LABEL].split())


def _held(frame: pd.DataFrame) -> Counter[Hashable]:
    return Counter(list(frame.columns))


def cleaned(cell: object) -> Json:
    """Return a cell as JSON, `MISSING` where it is missing; of what cannot be sent the name of its type."""
    try:
        return clean_local(cell)
    except RefusedValueError:
        return f"<{type(cell).__name__}>"


def name_of(label: Hashable) -> str:
    """Return a column's label as people read it."""
    return ", ".join(str(part) for part in label if part != "") if isinstance(label, tuple) else str(label)


def check_label(frame: pd.DataFrame, label: Hashable | Sequence[Hashable]) -> list[Hashable]:
    """Return the columns that ``label=`` names.

    Raises
    ------
    ColumnError
        No such column, or one that is there twice.
    """
    several = isinstance(label, list | pd.Index | np.ndarray) or (isinstance(label, tuple) and label not in frame)
    chosen: list[Hashable] = list(label) if several else [label]  # type: ignore[arg-type]  # it is one that has items
    held = _held(frame)
    for one in chosen:
        if held[one] != 1:
            many = "no column" if not held[one] else f"{held[one]} columns named"
            near = "" if held[one] else hint(one, frame.columns)
            msg = f"label={label!r}: the frame has {many} {one!r}{near}; name columns of the frame"
            raise ColumnError(msg)
    return chosen


def label_parts(frame: pd.DataFrame, label: Hashable) -> list[str]:
    """Return the cells of a column as parts of a label: a text as it is, anything else with the column's name."""
    place = next(place for place, known in enumerate(frame.columns) if known == label)
    cells = (cleaned(cell) for cell in frame.iloc[:, place].tolist())
    return [
        "" if cell is MISSING else cell if isinstance(cell, str) else f"{name_of(label)} {text(cell, MAX_LABEL_LENGTH)}"
        for cell in cells
    ]
