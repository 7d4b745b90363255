"""A frame's rows -> inputs, in chunks of 1,000, column by column. Reads the frame, and never writes to it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import pandas as pd

from ..inputs.encoding import LocalFileCheck, Problem, Row, encode_all, from_columns, from_function, problems, unfit
from ..inputs.mapping import Fields, Label, RowFunction, labels_of
from ..inputs.schema import Check
from ..inputs.values import MISSING, RefusedValueError, clean, treat_as_missing, whole_number

CHUNK: Final = 1_000
KEPT: Final = 4_000_000
"""Bytes of inputs that are kept between the check and the sending: a larger frame's are made again."""

treat_as_missing(type(pd.NA))


class FrameInputs:
    """The inputs that chosen rows of a frame become.

    Parameters
    ----------
    frame : pandas.DataFrame
    positions : numpy.ndarray of int64, shape (n,)
        The rows, by position.
    fields : Fields or callable
        What fills each key; or the user's function, which is called once a row, and whose inputs are kept.
    omit : bool
        Whether a missing value leaves its key out.
    integers : frozenset of str
        Keys where a whole float is sent as an integer.
    local_file : callable, optional
        Finds a file of this machine in an input.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        positions: np.ndarray[Any, np.dtype[np.int64]],
        fields: Fields | RowFunction,
        *,
        omit: bool,
        integers: frozenset[str],
        local_file: LocalFileCheck | None = None,
    ) -> None:
        self._local_file = local_file
        self._frame = frame
        self._positions = positions
        self._omit = omit
        self._integers = integers
        self._fields = fields
        self._kept: list[Row | Problem] | None = None
        self._encoded: list[tuple[bytes, list[int]]] | None = []
        self._weight = 0
        self._places: dict[Label, int] = {label: place for place, label in enumerate(frame.columns)}

    def rows(self) -> Iterator[tuple[list[int], Sequence[Row | Problem]]]:
        """Yield chunk after chunk: the rows' positions, and their inputs."""
        for start in range(0, len(self._positions), CHUNK):
            positions = self._positions[start : start + CHUNK]
            yield positions.tolist(), self._chunk(start, positions)

    def check(self, check: Check | None) -> Iterator[tuple[int, Problem, bool]]:
        """Yield each row's position that cannot be sent, its problem, and whether the schema alone refuses it."""
        for positions, rows in self.rows():
            for place, problem, by_schema in problems(rows, check, self._local_file):
                yield positions[place], problem, by_schema

    def unfit(
        self, positions: Sequence[int], rows: Sequence[Row | Problem], payloads: Sequence[bytes | Problem]
    ) -> list[tuple[int, Problem]]:
        """Return each row's position of a chunk that cannot be sent whatever the schema says, and its problem."""
        return [(positions[place], problem) for place, problem in unfit(rows, payloads, self._local_file)]

    def forget(self) -> None:
        """Keep nothing of what was kept: every row is read once more."""
        self._encoded, self._weight = [], 0

    def keep(self, payloads: Sequence[bytes]) -> None:
        """Keep the JSON of the next rows, in their order, unless that becomes too much."""
        if self._encoded is not None:
            # As one: each by itself would keep the 4 KB in which it was made.
            joined = b"".join(payloads)
            self._weight += len(joined)
            self._encoded = None if self._weight > KEPT else [*self._encoded, (joined, list(map(len, payloads)))]

    def payloads(self, *, without: Container[int]) -> Iterator[tuple[list[int], list[bytes]]]:
        """Yield chunk after chunk the positions and the JSON of all rows but those, made as they are asked for."""
        if self._encoded is not None and sum(len(sizes) for _, sizes in self._encoded) == len(self._positions):
            yield from self._again(self._encoded, without)
            return
        for positions, rows in self.rows():
            sent: list[int] = []
            payloads: list[bytes] = []
            for position, payload in zip(positions, encode_all(rows), strict=True):
                if position in without:
                    continue
                if isinstance(payload, Problem):
                    msg = f"row {position} was valid and no longer is: {payload}"
                    raise ValueError(msg)  # noqa: TRY004 - no wrong type: the frame has changed
                sent.append(position)
                payloads.append(payload)
            yield sent, payloads

    def _again(
        self, encoded: Sequence[tuple[bytes, list[int]]], without: Container[int]
    ) -> Iterator[tuple[list[int], list[bytes]]]:
        """Yield what was kept, cut into rows again."""
        first = 0
        for joined, sizes in encoded:
            positions = self._positions[first : first + len(sizes)].tolist()
            first += len(sizes)
            ends = accumulate(sizes)
            cut = zip(positions, sizes, ends, strict=True)
            kept = [(position, joined[end - size : end]) for position, size, end in cut if position not in without]
            yield [position for position, _ in kept], [payload for _, payload in kept]

    def _chunk(self, start: int, positions: np.ndarray[Any, np.dtype[np.int64]]) -> Sequence[Row | Problem]:
        if not callable(self._fields):
            labels = labels_of(self._fields)
            columns = {label: self._cells(self._places[label], positions) for label in labels}
            return from_columns(columns, len(positions), self._fields, omit=self._omit, integers=self._integers)
        if self._kept is None:
            self._kept = list(self._call(self._fields))
        return self._kept[start : start + len(positions)]

    def _cells(self, place: int, positions: np.ndarray[Any, np.dtype[np.int64]]) -> list[Any]:
        column = self._frame.iloc[:, place]
        first, last = int(positions[0]), int(positions[-1])
        if last - first + 1 == len(positions):
            return column.iloc[first : last + 1].tolist()
        return column.iloc[positions].tolist()

    def _call(self, function: RowFunction) -> Iterator[Row | Problem]:
        """Call the user's function on each row, a dict of Python values with None for what is missing."""
        labels = list(self._frame.columns)
        for start in range(0, len(self._positions), CHUNK):
            positions = self._positions[start : start + CHUNK]
            cells = [self._cells(place, positions) for place in range(len(labels))]
            for record in records(labels, cells, size=len(positions)):
                yield from_function(function, record, omit=self._omit, integers=self._integers)


def records(labels: Sequence[Label], columns: Sequence[Sequence[Any]], *, size: int) -> Iterator[dict[Label, Any]]:
    """Yield each of `size` rows as a user's function is given it: Python values, and None for what is missing.

    A whole float is an integer: whether a column of integers is float64 depends on other rows' missing cells.
    """
    cells = [map(_as_given, column) for column in columns]
    for row in zip(*cells, strict=True) if cells else [()] * size:
        yield dict(zip(labels, row, strict=True))


def _as_given(cell: object) -> object:
    if type(cell) is str or isinstance(cell, list | tuple | dict | np.ndarray):
        return cell
    try:
        return None if clean(cell) is MISSING else whole_number(cell)
    except RefusedValueError:
        return cell
