"""Reads the rows of a frame: their inputs, in chunks of 1,000, and their index labels as JSON. It never writes to it.

Inputs are read column by column. A label whose type is not listed here is stored as its text.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import accumulate, compress
from typing import Any, Final
from uuid import UUID

import numpy as np
import pandas as pd

from ..inputs.encoding import LocalFileCheck, Problem, Row, encode_all, from_columns, from_function, invalid, problems
from ..inputs.file_cells import FileCells
from ..inputs.json_values import MISSING, RefusedValueError, clean, treat_as_missing, whole_number
from ..inputs.mapping import Fields, Label, RowFunction, labels_of
from ..inputs.schema import Check
from ..models import Json

CHUNK: Final = 1_000
MAX_CACHED: Final = 4_000_000
"""Bytes of inputs that are cached between the check and the sending; those of a larger frame are built twice."""

Positions = np.ndarray[Any, np.dtype[np.int64]]

treat_as_missing(type(pd.NA))


class FrameInputs:
    """The inputs of some rows of a frame.

    Parameters
    ----------
    frame : pandas.DataFrame
    positions : numpy.ndarray of int64, shape (n,)
        The rows, by position.
    fields : Fields or callable
        What fills each key; or the user's function, which is called once per row and whose results are kept.
    omit : bool
        Whether a missing value leaves its key out.
    integers : frozenset of str
        Keys for which a whole float is sent as an integer.
    local_file : callable, optional
        Finds the path of a local file in an input.
    files : FileCells, optional
        Replaces files by references.

    Attributes
    ----------
    positions : numpy.ndarray of int64
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        positions: Positions,
        fields: Fields | RowFunction,
        *,
        omit: bool,
        integers: frozenset[str],
        local_file: LocalFileCheck | None = None,
        files: FileCells | None = None,
    ) -> None:
        self._local_file = local_file
        self._files = files
        self._frame = frame
        self.positions = positions
        self._omit = omit
        self._integers = integers
        self._fields = fields
        self._from_function: list[Row | Problem] | None = None
        self._cached: list[tuple[bytes, list[int]]] | None = []
        self._cached_size = 0
        self._places: dict[Label, int] = {label: place for place, label in enumerate(frame.columns)}
        self._columns: dict[int, pd.Series[Any]] = {}

    def drop(self, rows: Container[int]) -> None:
        """Leave out these rows from now on; the user's function is not called again."""
        kept = np.array([position not in rows for position in self.positions.tolist()], dtype=bool)
        self.positions = self.positions[kept]
        if self._from_function is not None:
            self._from_function = list(compress(self._from_function, kept.tolist()))
        self.forget()

    def rows(self) -> Iterator[tuple[list[int], Sequence[Row | Problem]]]:
        """Yield the rows in chunks: their positions, and their inputs."""
        for start in range(0, len(self.positions), CHUNK):
            positions = self.positions[start : start + CHUNK]
            yield positions.tolist(), self._chunk(start, positions)

    def check(self, check: Check | None) -> Iterator[tuple[int, Problem, bool]]:
        """Yield each row that cannot be sent: its position, its problem, and whether the others can be sent."""
        for positions, rows in self.rows():
            for index, problem, by_row in problems(rows, check, self._local_file):
                yield positions[index], problem, by_row

    def invalid(
        self, positions: Sequence[int], rows: Sequence[Row | Problem], payloads: Sequence[bytes | Problem]
    ) -> list[tuple[int, Problem]]:
        """Return each row of a chunk that cannot be sent even without a schema: its position, and its problem."""
        return [(positions[index], problem) for index, problem in invalid(rows, payloads, self._local_file)]

    def forget(self) -> None:
        """Clear the cache before every row is read again."""
        self._cached, self._cached_size = [], 0

    def keep(self, payloads: Sequence[bytes]) -> None:
        """Cache the JSON of the next rows, in order, up to a total size."""
        if self._cached is not None:
            # Joined: each would keep the 4 KB buffer in which it was built.
            joined = b"".join(payloads)
            self._cached_size += len(joined)
            self._cached = (
                None if self._cached_size > MAX_CACHED else [*self._cached, (joined, list(map(len, payloads)))]
            )

    def payloads(self, *, without: Container[int]) -> Iterator[tuple[list[int], list[bytes]]]:
        """Yield the positions and the JSON of all other rows, in chunks, built lazily."""
        if self._cached is not None and sum(len(sizes) for _, sizes in self._cached) == len(self.positions):
            yield from self._from_cache(self._cached, without)
            return
        for positions, rows in self.rows():
            sent: list[int] = []
            payloads: list[bytes] = []
            for position, payload in zip(positions, encode_all(rows), strict=True):
                if position in without:
                    continue
                if isinstance(payload, Problem):
                    msg = f"row {position} was valid and no longer is: {payload}"
                    raise ValueError(msg)  # noqa: TRY004 - the frame has changed; its type is correct
                sent.append(position)
                payloads.append(payload)
            yield sent, payloads

    def _from_cache(
        self, cached: Sequence[tuple[bytes, list[int]]], without: Container[int]
    ) -> Iterator[tuple[list[int], list[bytes]]]:
        """Yield the cached JSON, split into rows."""
        first = 0
        for joined, sizes in cached:
            positions = self.positions[first : first + len(sizes)].tolist()
            first += len(sizes)
            ends = accumulate(sizes)
            cut = zip(positions, sizes, ends, strict=True)
            rows = [(position, joined[end - size : end]) for position, size, end in cut if position not in without]
            yield [position for position, _ in rows], [payload for _, payload in rows]

    def _chunk(self, start: int, positions: Positions) -> Sequence[Row | Problem]:
        if not callable(self._fields):
            labels = labels_of(self._fields)
            columns = {label: self._cells(self._places[label], positions) for label in labels}
            return from_columns(
                columns, len(positions), self._fields, omit=self._omit, integers=self._integers, files=self._files
            )
        if self._from_function is None:
            self._from_function = list(self._call(self._fields))
        return self._from_function[start : start + len(positions)]

    def _cells(self, place: int, positions: Positions) -> list[Any]:
        column = self._columns.get(place)
        if column is None:  # taken once, and not for each chunk
            column = self._columns[place] = self._frame.iloc[:, place]
        first, last = int(positions[0]), int(positions[-1])
        if last - first + 1 == len(positions):
            return column.iloc[first : last + 1].tolist()
        return column.iloc[positions].tolist()

    def _call(self, function: RowFunction) -> Iterator[Row | Problem]:
        """Call the user's function on each row, a dict of Python values with None for missing values."""
        labels = list(self._frame.columns)
        for start in range(0, len(self.positions), CHUNK):
            positions = self.positions[start : start + CHUNK]
            cells = [self._cells(place, positions) for place in range(len(labels))]
            for record in records(labels, cells, size=len(positions)):
                yield from_function(function, record, omit=self._omit, integers=self._integers, files=self._files)


def records(labels: Sequence[Label], columns: Sequence[Sequence[Any]], *, size: int) -> Iterator[dict[Label, Any]]:
    """Yield each of `size` rows as a dict for a user's function: Python values, and None for missing values.

    A whole float becomes an integer: whether a column of integers is float64 depends on missing cells of other rows.
    """
    cells = [map(_plain_value, column) for column in columns]
    for row in zip(*cells, strict=True) if cells else [()] * size:
        yield dict(zip(labels, row, strict=True))


def _plain_value(cell: object) -> object:
    if type(cell) is str or isinstance(cell, list | tuple | dict | np.ndarray):
        return cell
    try:
        return None if clean(cell) is MISSING else whole_number(cell)
    except RefusedValueError:
        return cell


# -- index labels ------------------------------------------------------------------------------------------------------

_KIND: Final = "kind"


def _timestamp(data: dict[str, Any]) -> Any:
    moment = pd.Timestamp(data["value"])
    zone = data.get("zone")
    if zone is not None:
        # The offset in the text determines the instant, also in the repeated hour when clocks are set back.
        with contextlib.suppress(KeyError, ValueError, OSError):  # the zone is not installed on this machine
            moment = moment.tz_convert(zone)
    return moment.as_unit(data.get("unit", "ns"))


_MISSING: Final[dict[str | None, Any]] = {None: None, "NaT": pd.NaT, "NA": pd.NA}

_LABEL_READERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "timestamp": _timestamp,
    "timedelta": lambda data: pd.Timedelta(data["value"]),
    "date": lambda data: date.fromisoformat(data["value"]),
    "time": lambda data: time.fromisoformat(data["value"]),
    "period": lambda data: pd.Period(ordinal=data["value"], freq=data["freq"]),
    "interval": lambda data: pd.Interval(label_from_json(data["left"]), label_from_json(data["right"]), data["closed"]),
    "uuid": lambda data: UUID(data["value"]),
    "decimal": lambda data: Decimal(data["value"]),
    "bytes": lambda data: base64.b64decode(data["value"]),
    "tuple": lambda data: tuple(map(label_from_json, data["value"])),
    "float": lambda data: float(data["value"]),
    "missing": lambda data: _MISSING.get(data["value"]),
}


def label_to_json(label: Any) -> Json:
    """Return a label as JSON: text and numbers unchanged, other values with their kind."""
    if isinstance(label, np.datetime64 | np.timedelta64):
        label = pd.Timestamp(label) if isinstance(label, np.datetime64) else pd.Timedelta(label)
    elif isinstance(label, np.generic):
        label = label.item()
    if type(label) in (str, int, bool):
        return label if type(label) is not str or _is_utf8(label) else label.encode("utf-8", "replace").decode()
    if type(label) is float:
        return label if np.isfinite(label) else {_KIND: "float", "value": str(label)}
    data = _with_kind(label)
    return str(label) if data is None else data


def _with_kind(label: Any) -> dict[str, Json] | None:
    """Return a label of a type that JSON does not have as its kind and value; None if its type is not supported."""
    if label is None or label is pd.NaT or label is pd.NA:
        return {_KIND: "missing", "value": next(name for name, value in _MISSING.items() if value is label)}
    if isinstance(label, tuple):
        return {_KIND: "tuple", "value": [label_to_json(part) for part in label]}
    if isinstance(label, datetime):  # a pandas.Timestamp too
        return _with_zone(pd.Timestamp(label))
    if isinstance(label, pd.Timedelta):
        return {_KIND: "timedelta", "value": label.isoformat()}
    if isinstance(label, pd.Period):
        return {_KIND: "period", "value": label.ordinal, "freq": label.freqstr}
    if isinstance(label, pd.Interval):
        return {
            _KIND: "interval",
            "left": label_to_json(label.left),
            "right": label_to_json(label.right),
            "closed": label.closed,
        }
    if isinstance(label, date | time):
        return {_KIND: type(label).__name__, "value": label.isoformat()}
    if isinstance(label, UUID | Decimal):
        return {_KIND: type(label).__name__.lower(), "value": str(label)}
    if isinstance(label, bytes):
        return {_KIND: "bytes", "value": base64.b64encode(label).decode()}
    return None


def _with_zone(moment: pd.Timestamp) -> dict[str, Json]:
    data: dict[str, Json] = {_KIND: "timestamp", "value": moment.isoformat()}
    # zoneinfo has `key`, pytz `zone`; a fixed offset has no name, and is part of the text.
    zone = getattr(moment.tzinfo, "key", None) or getattr(moment.tzinfo, "zone", None)
    if isinstance(zone, str):
        data["zone"] = zone
    if moment.unit != "ns":
        data["unit"] = moment.unit
    return data


def labels_to_json(labels: Sequence[Any]) -> Sequence[Json]:
    """Return each label as JSON; a list of plain numbers or texts is checked as a whole."""
    types = set(map(type, labels))
    if types == {int} or (types == {str} and _is_utf8("".join(labels))):
        return labels
    return [label_to_json(label) for label in labels]


def label_from_json(data: Json) -> Any:
    """Return the label from the result of `label_to_json`."""
    if isinstance(data, dict):
        return _LABEL_READERS[data[_KIND]](data)
    return data


def label_texts(index: pd.Index[Any]) -> list[str]:
    """Return each label of an index as text."""
    labels: Iterable[object] = index
    if index.nlevels > 1:
        labels = (", ".join(map(str, label)) for label in index)
    return [str(label) for label in labels]


def quoted_label(index: pd.Index[Any], position: int) -> str:
    """Return the repr of the label at a position as a Python value: 3, not np.int64(3)."""
    return repr(index[position : position + 1].tolist()[0])


def index_from_json(data: Sequence[Json], names: Sequence[str | None]) -> pd.Index[Any]:
    """Return the index of these labels."""
    labels = [label_from_json(label) for label in data]
    if len(names) > 1 and all(isinstance(label, tuple) and len(label) == len(names) for label in labels):
        multi: pd.Index[Any] = pd.MultiIndex.from_tuples(labels, names=list(names))
        return multi
    single: pd.Index[Any] = pd.Index(labels, name=names[0] if len(names) == 1 else None, tupleize_cols=False)
    return single


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
