"""Reads the rows of a frame: their inputs, in chunks of 1,000, and their index labels as JSON. Never writes to it.

Inputs are read column by column. A label whose type is not listed here is stored as its text.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final
from uuid import UUID

import numpy as np
import pandas as pd

from ..inputs.encoding import LocalFileCheck, Problem, Row, encode_all, from_columns, from_function, problems, unfit
from ..inputs.json_values import MISSING, RefusedValueError, clean, treat_as_missing, whole_number
from ..inputs.mapping import Fields, Label, RowFunction, labels_of
from ..inputs.schema import Check
from ..models import Json

CHUNK: Final = 1_000
KEPT: Final = 4_000_000
"""Bytes of inputs that are kept between the check and the sending: a larger frame's are made again."""

Positions = np.ndarray[Any, np.dtype[np.int64]]

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
        positions: Positions,
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

    def _chunk(self, start: int, positions: Positions) -> Sequence[Row | Problem]:
        if not callable(self._fields):
            labels = labels_of(self._fields)
            columns = {label: self._cells(self._places[label], positions) for label in labels}
            return from_columns(columns, len(positions), self._fields, omit=self._omit, integers=self._integers)
        if self._kept is None:
            self._kept = list(self._call(self._fields))
        return self._kept[start : start + len(positions)]

    def _cells(self, place: int, positions: Positions) -> list[Any]:
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


# -- index labels ------------------------------------------------------------------------------------------------------

_KIND: Final = "kind"


def _timestamp(written: dict[str, Any]) -> Any:
    moment = pd.Timestamp(written["value"])
    zone = written.get("zone")
    if zone is not None:
        # The offset says which instant is meant, the zone what its clock shows: also in the hour that comes twice.
        with contextlib.suppress(KeyError, ValueError, OSError):  # a zone that this machine does not know
            moment = moment.tz_convert(zone)
    return moment.as_unit(written.get("unit", "ns"))


_MISSING: Final[dict[str | None, Any]] = {None: None, "NaT": pd.NaT, "NA": pd.NA}

_LABEL_READERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "timestamp": _timestamp,
    "timedelta": lambda written: pd.Timedelta(written["value"]),
    "date": lambda written: date.fromisoformat(written["value"]),
    "time": lambda written: time.fromisoformat(written["value"]),
    "period": lambda written: pd.Period(ordinal=written["value"], freq=written["freq"]),
    "interval": lambda written: pd.Interval(
        label_from_json(written["left"]), label_from_json(written["right"]), written["closed"]
    ),
    "uuid": lambda written: UUID(written["value"]),
    "decimal": lambda written: Decimal(written["value"]),
    "bytes": lambda written: base64.b64decode(written["value"]),
    "tuple": lambda written: tuple(map(label_from_json, written["value"])),
    "float": lambda written: float(written["value"]),
    "missing": lambda written: _MISSING.get(written["value"]),
}


def label_to_json(label: Any) -> Json:
    """Return a label as JSON: text and numbers as they are, anything else with its kind."""
    if isinstance(label, np.datetime64 | np.timedelta64):
        label = pd.Timestamp(label) if isinstance(label, np.datetime64) else pd.Timedelta(label)
    elif isinstance(label, np.generic):
        label = label.item()
    if type(label) in (str, int, bool):
        return label if type(label) is not str or _is_utf8(label) else label.encode("utf-8", "replace").decode()
    if type(label) is float:
        return label if np.isfinite(label) else {_KIND: "float", "value": str(label)}
    written = _with_kind(label)
    return str(label) if written is None else written


def _with_kind(label: Any) -> dict[str, Json] | None:
    """Return a label that JSON has no type for as its kind and its value; None where it is of no kind known here."""
    if label is None or label is pd.NaT or label is pd.NA:
        return {_KIND: "missing", "value": next(word for word, value in _MISSING.items() if value is label)}
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
    written: dict[str, Json] = {_KIND: "timestamp", "value": moment.isoformat()}
    # zoneinfo calls it key, pytz zone; a fixed offset has no name, and is in the text.
    zone = getattr(moment.tzinfo, "key", None) or getattr(moment.tzinfo, "zone", None)
    if isinstance(zone, str):
        written["zone"] = zone
    if moment.unit != "ns":
        written["unit"] = moment.unit
    return written


def labels_to_json(found: Sequence[Any]) -> Sequence[Json]:
    """Return each label as JSON; plain numbers and plain text are looked at in one stroke."""
    kinds = set(map(type, found))
    if kinds == {int} or (kinds == {str} and _is_utf8("".join(found))):
        return found
    return [label_to_json(label) for label in found]


def label_from_json(written: Json) -> Any:
    """Return the label that `label_to_json` wrote down."""
    if isinstance(written, dict):
        return _LABEL_READERS[written[_KIND]](written)
    return written


def label_texts(index: pd.Index[Any]) -> list[str]:
    """Return each label of an index as a text."""
    labels: Iterable[object] = index
    if index.nlevels > 1:
        labels = (", ".join(map(str, label)) for label in index)
    return [str(label) for label in labels]


def quoted_label(index: pd.Index[Any], position: int) -> str:
    """Return the label at a position as Python writes it: 3, and not np.int64(3)."""
    return repr(index[position : position + 1].tolist()[0])


def index_from_json(written: Sequence[Json], names: Sequence[str | None]) -> pd.Index[Any]:
    """Return the index of these labels."""
    labels = [label_from_json(one) for one in written]
    if len(names) > 1 and all(isinstance(label, tuple) and len(label) == len(names) for label in labels):
        several: pd.Index[Any] = pd.MultiIndex.from_tuples(labels, names=list(names))
        return several
    single: pd.Index[Any] = pd.Index(labels, name=names[0] if len(names) == 1 else None, tupleize_cols=False)
    return single


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
