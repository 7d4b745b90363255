"""What views read from a DataFrame: each row's label, its input, its files, and its card. Never writes to the frame.

A column that does not exist is an error when the view is created. Labels and inputs are read for the rows that are
shown. Which columns are inputs is looked up at that time, because a run without ``inputs=`` learns them from the
workflow's schema.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import PurePath
from typing import Any, Final

import numpy as np
import pandas as pd

from ...errors import ColumnError, EachlabsError
from ...frames import attrs, columns, lost_attrs, sent_inputs
from ...frames.columns import ResultMeta
from ...frames.rows import FrameInputs, label_texts
from ...inputs.encoding import Problem, Row, from_columns
from ...inputs.file_cells import FileCells
from ...inputs.file_values import UNUSABLE, RootedPath, is_file_value, is_reference
from ...inputs.json_values import MISSING, RefusedValueError, clean_local
from ...inputs.mapping import Column, Fields, Label, Literal, labels_of
from ...inputs.mapping_spec import from_spec
from ...media import cut, kind_of, text
from ...models import Json, Outcome
from ...suggestions import hint
from .card import MAX_LABEL_LENGTH, Card, card
from .input_files import InputFiles, file_key, file_text, names_of, without_digest

SEPARATOR: Final = " · "

MAX_TITLE_LENGTH: Final = 200
MIN_PART_LENGTH: Final = 40
_FILE: Final = "\x00file:"
"""Begins the name of a file while the parts of a title are chosen: texts come before files."""

MAX_SEARCHED_LENGTH: Final = 10_000
"""Characters that are searched of a cell that is no text, as JSON."""


class RowTexts:
    """The texts that identify the rows of one frame: labels, titles, and what a search covers.

    Parameters
    ----------
    frame : pandas.DataFrame
        Kept, so it must not be changed.
    label : label or list of labels, optional
        Columns whose values are a row's title. By default the axes of a sweep, else the first text among its inputs.
    prefix : str
        Of the result in the frame.
    origin : callable
        Returns the result's metadata, which says how the inputs are made, as far as it is known at that time.

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
        counts = _column_counts(frame)
        self._places: Final[dict[Label, int]] = {
            name: place for place, name in enumerate(frame.columns) if counts[name] == 1
        }
        self._own: Final = attrs.own_columns(frame, prefix)
        self._names: Final[dict[Hashable, Mapping[Hashable, str]]] = {}

    @cached_property
    def labels(self) -> list[str]:
        """Each row's label in the frame's index, as text."""
        return label_texts(self._frame.index)

    def titles(self, rows: Sequence[int]) -> list[str]:
        """Return the titles of these rows (positions), each on one line; "" for a row without a title."""
        if self._chosen:
            chosen = self._frame.iloc[list(rows)]
            length = max(MIN_PART_LENGTH, MAX_TITLE_LENGTH // len(self._chosen))
            parts = [
                [cut(_one_line(part), length) for part in _label_parts(chosen, name, self._file_names(name))]
                for name in self._chosen
            ]
            return [cut(SEPARATOR.join(filter(None, row)), MAX_TITLE_LENGTH) for row in zip(*parts, strict=True)]
        texts, links = [""] * len(rows), [""] * len(rows)
        for cells in self._inputs(rows):
            for at, cell in enumerate(cells):
                if (
                    isinstance(cell, str)
                    and not texts[at]
                    and cell.strip()
                    and not cell.startswith(("data:", UNUSABLE))
                ):
                    is_text = kind_of(cell) == "text" and not (cell.startswith(_FILE) or is_reference(cell))
                    (texts if is_text else links)[at] = without_digest(cell.removeprefix(_FILE))
            if all(texts):
                break
        return [cut(_one_line(text or link), MAX_TITLE_LENGTH) for text, link in zip(texts, links, strict=True)]

    def searchable(self) -> list[str]:
        """Return each row's inputs and title as one text."""
        names = dict.fromkeys([*self._chosen, *sorted(labels_of(self._varying()), key=self._places.__getitem__)])
        cells = [map(_searchable, self._frame.iloc[:, self._places[name]].tolist()) for name in names]
        return ["\n".join(row) for row in zip(*cells, strict=True)] if cells else [""] * len(self._frame)

    def fields(self) -> Fields:
        """Return how inputs are made, as far as that is known and its columns exist once."""
        origin = self._origin()
        if origin is None or not origin.inputs:
            return {}
        try:
            fields = from_spec(origin.inputs)
        except (EachlabsError, KeyError, TypeError, AttributeError):
            return {}  # any code may write attrs
        return {key: source for key, source in fields.items() if self._places.keys() >= labels_of({key: source})}

    def _file_names(self, label: Hashable) -> Mapping[Hashable, str]:
        """Return the names of the files in a column, by `file_key`."""
        if label not in self._names:
            self._names[label] = names_of(self._frame.iloc[:, self._places[label]].tolist())
        return self._names[label]

    def _varying(self) -> Fields:
        """Return how the inputs that differ from row to row are made; the user's own columns if that is not known."""
        fields: Fields = {key: source for key, source in self.fields().items() if not isinstance(source, Literal)}
        return fields or {str(name): Column(name) for name in self._places if name not in self._own}

    def _inputs(self, rows: Sequence[int]) -> Iterator[list[Json]]:
        """Yield the values of these rows, input by input; None for one that is missing or cannot be sent."""
        for key, source in self._varying().items():
            fields = {key: source}
            cells = {name: self._frame.iloc[list(rows), self._places[name]].tolist() for name in labels_of(fields)}
            files = FileCells(_file_title, any_key=True)
            made = from_columns(cells, len(rows), fields, omit=True, integers=frozenset(), files=files)
            yield [row.get(key) if isinstance(row, dict) else None for row in made]


class Cards:
    """Makes the cards of one frame.

    Parameters
    ----------
    frame : pandas.DataFrame
        A result, or a frame of which nothing was triggered yet.
    label : label or list of labels, optional
        Columns whose values label a card; by default the axes of a sweep, else the first text among its inputs, else
        the index.
    prefix : str, optional
        Of the result; by default that of the latest.
    origin : callable, optional
        Returns the result's metadata, if it may change; by default it is read from the frame.
    input_files : InputFiles, optional
        Of a view of two frames.

    Attributes
    ----------
    prefix : str
    input_files : InputFiles
        The files in the inputs of the cards that were made.

    Raises
    ------
    ColumnError
        `label` names no column, or one that is there twice.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        label: Hashable | Sequence[Hashable] | None = None,
        prefix: str | None = None,
        origin: Callable[[], ResultMeta | None] | None = None,
        input_files: InputFiles | None = None,
    ) -> None:
        self.input_files: Final = input_files or InputFiles()
        self.prefix: Final = lost_attrs.prefix_of(frame, prefix)
        recorded = None if origin is not None else lost_attrs.find_meta(frame, self.prefix)
        self._frame = columns.snapshot(frame)
        self._origin = origin or (lambda: recorded)
        self._sent = sent_inputs.of(frame, self.prefix)
        self._paths = attrs.paths(frame, self.prefix)
        # A file belongs to the execution that the frame has now; a run may give its row another one.
        is_result = columns.is_result(frame, self.prefix)
        self._executions = columns.executions(frame, self.prefix) if is_result else [None] * len(frame)
        ours = attrs.own_columns(frame, self.prefix)
        self._users_columns: Final[list[tuple[str, Any]]] = [
            (name_of(name), self._frame.iloc[:, place])
            for place, name in enumerate(frame.columns)
            if name not in ours and (self._paths is None or name != self._paths.name)
        ]
        self._texts = RowTexts(self._frame, label, prefix=self.prefix, origin=self._origin)

    def __len__(self) -> int:
        return len(self._frame)

    def labels(self, rows: Sequence[int]) -> list[str]:
        """Return the labels of these rows (positions): their titles, or else their labels in the index."""
        return [title or self._texts.labels[row] for row, title in zip(rows, self._texts.titles(rows), strict=True)]

    def outcomes(self) -> list[Outcome]:
        """Return each row's outcome in the frame."""
        results = columns.read(self._frame, self.prefix)
        return [results.outcome(row) for row in range(results.size)]

    def make(self, outcomes: Sequence[Outcome]) -> list[Card]:
        """Return the cards of these rows, in this order."""
        rows = [outcome.position for outcome in outcomes]
        inputs = self._inputs(rows)
        labels, cards = self.labels(rows), []
        for outcome, sent, label in zip(self._marked(outcomes), inputs, labels, strict=True):
            shown, images = self._shown(self._cells(outcome.position) if isinstance(sent, Problem) else sent)
            if sent_inputs.is_noted(outcome.error):
                images = []  # they are not those that were sent
            cards.append(card(outcome, label=label, sent=shown, files=self._files_of(outcome), images=images))
        return cards

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of a row's downloaded files, in the order of the URLs in its output."""
        return () if self._paths is None else attrs.paths_in(self._paths.iloc[row])

    def _files_of(self, outcome: Outcome) -> Sequence[str | None]:
        is_current = self._executions[outcome.position] == outcome.execution_id
        return self.files(outcome.position) if is_current else ()

    def edited(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Return which rows have another input now than their executions were sent with, as far as that is known."""
        fields, origin = self._texts.fields(), self._origin()
        if not outcomes or not fields or not self._sent or origin is None or len(fields) < len(origin.inputs or ()):
            return [False] * len(outcomes)  # without a column of its inputs nobody knows whether a row was edited
        executions = {outcome.position: outcome.execution_id for outcome in outcomes}
        rows = np.unique(np.array(list(executions), dtype=np.int64))
        ids = [executions[row] for row in rows.tolist()]
        omit, read = origin.na != "null", self.input_files.content_reference
        changed = sent_inputs.changes(self._frame, rows, fields, ids, self._sent, omit=omit, read_file=read)
        is_changed = dict(zip(rows.tolist(), changed.tolist(), strict=True))
        return [outcome.execution_id is not None and is_changed[outcome.position] for outcome in outcomes]

    def _marked(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Note in the error of each row that was edited since it was sent that its output belongs to another input."""
        return [
            outcome._replace(error=sent_inputs.noted(outcome.error)) if is_edited else outcome
            for outcome, is_edited in zip(outcomes, self.edited(outcomes), strict=True)
        ]

    # -- inputs -----------------------------------------------------------------------------------------------------

    def _inputs(self, rows: Sequence[int]) -> list[Row | Problem]:
        """Return the inputs of `rows` as the frame records how they are made; else the user's own columns."""
        fields, origin = self._texts.fields(), self._origin()
        if not rows or not fields:
            return [self._cells(row) for row in rows]
        source = FrameInputs(
            self._frame,
            np.unique(np.array(rows, dtype=np.int64)),  # it reads rows in their order only
            fields,
            omit=origin is None or origin.na != "null",
            integers=frozenset(),
            files=FileCells(self.input_files.reference, any_key=True),
        )
        made = {row: sent for chunk, inputs in source.rows() for row, sent in zip(chunk, inputs, strict=True)}
        return [made[row] for row in rows]

    def _cells(self, row: int) -> dict[str, Json]:
        """Return the cells of the user's own columns, without missing ones."""
        referring = self.input_files.with_references
        cells = ((name, cleaned(referring(column.iloc[row]))) for name, column in self._users_columns)
        return {name: cell for name, cell in cells if cell is not MISSING}

    def _shown(self, sent: Mapping[str, Json]) -> tuple[dict[str, Json], list[tuple[str, int]]]:
        """Return an input with the text of each file for its reference, and the images in it by name."""
        shown: dict[str, Json] = {}
        images: list[tuple[str, int]] = []
        for name, value in sent.items():
            shown[name], numbers = self.input_files.describe(value)
            images += [(name, number) for number in numbers]
        return shown, images


# -- cells and columns ------------------------------------------------------------------------------------------------


def _file_title(value: object) -> str:
    """Return what a title says of a file: its name."""
    text = file_text(value)
    return f"{_FILE}{PurePath(text).name if isinstance(value, PurePath | RootedPath) else text}"


def _searchable(cell: object) -> str:
    if type(cell) is str:
        return cell
    if type(cell) is int:  # the most frequent other type, and quickly written
        return str(cell)
    value = cleaned(cell)
    return "" if value is MISSING else text(value, MAX_SEARCHED_LENGTH)


def _one_line(string: str) -> str:
    """Return a text on one line; of a long one only as much as can be shown."""
    return " ".join(string[: 4 * MAX_TITLE_LENGTH].split())


def _column_counts(frame: pd.DataFrame) -> Counter[Hashable]:
    return Counter(list(frame.columns))


def cleaned(cell: object) -> Json:
    """Return a cell as JSON, `MISSING` if it is missing, a file as its text, or the type of what cannot be sent."""
    if is_file_value(cell):
        return file_text(cell)
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
    names: list[Hashable] = [label]
    if isinstance(label, list | pd.Index | np.ndarray) or (isinstance(label, tuple) and label not in frame):
        names = list(label)
    counts = _column_counts(frame)
    for name in names:
        if counts[name] != 1:
            matches = "no column" if not counts[name] else f"{counts[name]} columns named"
            near = "" if counts[name] else hint(name, frame.columns)
            msg = f"label={label!r}: the frame has {matches} {name!r}{near}; name columns of the frame"
            raise ColumnError(msg)
    return names


def _label_parts(frame: pd.DataFrame, label: Hashable, file_names: Mapping[Hashable, str]) -> list[str]:
    """Return the cells of a column as parts of a title: a text or a file as it is, others with the column's name."""
    place = next(place for place, name in enumerate(frame.columns) if name == label)
    parts = []
    for cell in frame.iloc[:, place].tolist():
        value = file_names[file_key(cell)] if is_file_value(cell) else cleaned(cell)
        if not isinstance(value, str):
            value = "" if value is MISSING else f"{name_of(label)} {text(value, MAX_LABEL_LENGTH)}"
        parts.append(without_digest(value))
    return parts
