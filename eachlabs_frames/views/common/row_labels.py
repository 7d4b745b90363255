"""What each row is called in a view, and the texts that a dashboard's search looks through.

Reads the frame, and only the rows that it is asked for; never writes to it. Which columns are read is known when a row
is asked for, not before: without ``inputs=``, a run learns them from the workflow's schema.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from ...errors import ColumnError, EachlabsError
from ...frames import attrs
from ...frames.columns import ResultMeta
from ...inputs.encoding import from_columns
from ...inputs.mapping import Column, Fields, Label, Literal, from_spec, labels_of
from ...inputs.values import MISSING, RefusedValueError, clean_local
from ...media import cut, kind_of, text
from ...models import Json
from ...suggestions import hint
from .card import MAX_LABEL_LENGTH

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
