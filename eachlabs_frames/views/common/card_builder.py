"""A frame's rows as cards: what each is called, what was sent of it, and which files belong to it.

It reads the frame, and never writes to it. A column that is not there is an error before anything is shown; labels and
inputs are made as the cards are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from ...errors import EachlabsError
from ...frames import attrs, columns, lost_attrs, sent_inputs
from ...frames.columns import ResultMeta
from ...frames.rows import FrameInputs, label_texts
from ...inputs.encoding import Problem, Row
from ...inputs.mapping import Column, Fields, Literal, Template, from_spec
from ...inputs.values import MISSING
from ...models import Json, Outcome
from .card import Card, card
from .row_labels import RowLabels, cleaned, name_of


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
