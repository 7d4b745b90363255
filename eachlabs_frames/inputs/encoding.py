"""Builds the input of each row, as a dict and as JSON, or the row's problem.

Owns the conversion of cells to inputs and the maximum size of an input. A row's input depends on that row alone, so
that it is the same in any chunk, order or run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from math import isfinite
from typing import Any, Final, TypeAlias

import orjson

from ..models import Json
from .coercion import convert, read_as
from .fingerprints import SORTED
from .mapping import FORMATTER, Column, Fields, Label, Literal, RowFunction, Template
from .values import MISSING, RefusedValueError, clean, clean_local, whole_number

MAX_PAYLOAD: Final = 10_000_000
"""Bytes of JSON of one input: this package's own limit, the API states none."""

_ROWS_ONLY: Final = SORTED | orjson.OPT_PASSTHROUGH_DATACLASS  # a Problem is no JSON

Row: TypeAlias = dict[str, Json]
Cells: TypeAlias = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot become an input: the reason, the column or key, and the exception of a row function."""

    reason: str
    place: str | None = None
    cause: Exception | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if self.place else self.reason


LocalFileCheck: TypeAlias = Callable[[Row], Problem | None]
"""Says which value of an input is a file of this machine where a URL is wanted."""


def from_columns(
    columns: Mapping[Label, Cells], size: int, fields: Fields, *, omit: bool, integers: frozenset[str]
) -> Sequence[Row | Problem]:
    """Return the inputs of `size` rows, in their order.

    Parameters
    ----------
    columns : mapping of label to sequence of length `size`
        The cells of each column that `fields` needs, as Python objects.
    size : int
        Rows in this chunk.
    fields : mapping of str to Source
        What fills each key.
    omit : bool
        Whether a missing value leaves its key out; it becomes null otherwise.
    integers : frozenset of str
        Keys where a whole float is sent as an integer; one that has lost digits is that row's problem.
    """
    cleaned: dict[str, Cells] = {}
    for key, source in fields.items():
        cells = _fill(source, columns, size, omit)
        cleaned[key] = [_as_integer(cell) for cell in cells] if key in integers else cells
    kinds = {key: set(map(type, cells)) for key, cells in cleaned.items()}
    in_rows = zip(*cleaned.values(), strict=True)
    if any(RefusedValueError in found for found in kinds.values()):
        places = [_place(key, source) for key, source in fields.items()]
        return [_assemble(tuple(fields), cells, places, omit) for cells in in_rows]
    rows = list(map(dict, map(zip, repeat(tuple(fields)), in_rows)))
    for key, found in kinds.items():
        if type(MISSING) in found:
            _settle_missing(rows, key, cleaned[key], omit)
    return rows


def _settle_missing(rows: Sequence[Row], key: str, cells: Cells, omit: bool) -> None:
    for row, cell in zip(rows, cells, strict=True):
        if cell is MISSING:
            if omit:
                del row[key]
            else:
                row[key] = None


def from_function(
    function: RowFunction, record: dict[Any, Any], *, omit: bool, integers: frozenset[str]
) -> Row | Problem:
    """Return the input that `function` makes of one row; what it raises is that row's problem."""
    try:
        made = function(record)
    except Exception as exc:  # noqa: BLE001 - the user's own code: whatever it raises belongs to this row
        return Problem(f"inputs= raised {type(exc).__name__}: {exc}", cause=exc)
    if not isinstance(made, Mapping):
        return Problem(f"inputs= must return a dict; it returned {type(made).__name__}")
    keys = tuple(made)
    odd = next((key for key in keys if not isinstance(key, str)), None)
    if odd is not None:
        return Problem(f"inputs= returned a key that is not a string: {odd!r}")
    cells = [_cell(value, omit) for value in made.values()]
    cells = [_as_integer(cell) if key in integers else cell for key, cell in zip(keys, cells, strict=True)]
    return _assemble(keys, cells, [f"key {key!r}" for key in keys], omit)


def encode(row: Row) -> bytes | Problem:
    """Return `row` as JSON, or why it cannot be sent."""
    try:
        payload = orjson.dumps(row, option=SORTED)
    except orjson.JSONEncodeError as exc:
        return _culprit(row, exc)
    if len(payload) > MAX_PAYLOAD:
        size = f"{len(payload) / 1e6:.1f} MB as JSON, more than the limit of {MAX_PAYLOAD / 1e6:.0f} MB"
        return Problem(f"{size}: upload large values and send their URLs")
    return payload


def encode_all(rows: Sequence[Row | Problem]) -> list[bytes | Problem]:
    """Return each row of a chunk as JSON, or its problem."""
    try:
        payloads: list[bytes | Problem] = [orjson.dumps(row, option=_ROWS_ONLY) for row in rows]
    except orjson.JSONEncodeError:
        return [row if isinstance(row, Problem) else encode(row) for row in rows]
    if sum(map(len, payloads)) > MAX_PAYLOAD:  # type: ignore[arg-type]  # all are bytes here
        return [row if isinstance(row, Problem) else encode(row) for row in rows]
    return payloads


def problems(
    rows: Sequence[Row | Problem], check: Callable[[Row], str | None] | None, local_file: LocalFileCheck | None = None
) -> Iterator[tuple[int, Problem, bool]]:
    """Yield what is wrong in a chunk: its row's place in it, the problem, and whether the schema alone refuses it."""
    encodable = _encodable(rows)
    for place, row in enumerate(rows):
        if isinstance(row, Problem):
            yield place, row, False
            continue
        payload = b"" if encodable else encode(row)
        if isinstance(payload, Problem):
            yield place, payload, False
            continue
        local = local_file(row) if local_file is not None else None
        if local is not None:
            yield place, local, False
            continue
        refused = check(row) if check is not None else None
        if refused is not None:
            yield place, Problem(refused), True


def unfit(
    rows: Sequence[Row | Problem], payloads: Sequence[bytes | Problem], local_file: LocalFileCheck | None = None
) -> Iterator[tuple[int, Problem]]:
    """Yield the rows of a chunk, by their place in it, that cannot be sent whatever the schema says, and why."""
    for place, payload in enumerate(payloads):
        if isinstance(payload, Problem):
            yield place, payload
    if local_file is not None:
        for place, (row, payload) in enumerate(zip(rows, payloads, strict=True)):
            found = None if isinstance(row, Problem) or isinstance(payload, Problem) else local_file(row)
            if found is not None:
                yield place, found


def _encodable(rows: Sequence[Row | Problem]) -> bool:
    """Say in one stroke that every row of a chunk can be encoded and is small: one dump instead of one a row."""
    try:
        return len(orjson.dumps(rows)) <= MAX_PAYLOAD
    except orjson.JSONEncodeError:
        return False


def _fill(source: object, columns: Mapping[Label, Cells], size: int, omit: bool) -> Cells:
    if isinstance(source, Literal):
        return [source.value] * size
    if isinstance(source, Template):
        return _texts(source, columns, size)
    assert isinstance(source, Column)
    cells = _column(columns[source.label], omit)
    return [_typed(cell, source, omit) for cell in cells] if source.type or source.by_schema else cells


def _column(cells: Cells, omit: bool) -> Cells:
    kinds = set(map(type, cells))
    # Text that is no UTF-8 and integers beyond 64 bits are left to `encode`: orjson finds them at no cost.
    if kinds <= {str, bool} or kinds == {int}:
        return cells
    if kinds == {float}:
        return [cell if isfinite(cell) else _cell(cell, omit) for cell in cells]
    return [cell if type(cell) is str else _cell(cell, omit) for cell in cells]


def _cell(value: object, omit: bool) -> Json:
    try:
        return clean(value, omit=omit)
    except RefusedValueError as exc:
        return exc


def _typed(cell: Json, source: Column, omit: bool) -> Json:
    """Return a cell as the type that the user has named for its column, or else the schema."""
    if cell is MISSING or type(cell) is RefusedValueError:
        return cell
    try:
        if source.type is not None:
            return convert(cell, source.type, omit=omit)
        return read_as(cell, source.by_schema, omit=omit)
    except RefusedValueError as exc:
        return exc


def _texts(source: Template, columns: Mapping[Label, Cells], size: int) -> list[Json]:
    rows = zip(*(columns[label] for label in source.labels), strict=True)
    return [_text(source, row) for _, row in zip(range(size), rows, strict=True)]


def _text(source: Template, row: tuple[Any, ...]) -> Json:
    try:
        if any(type(cell) is not str and clean_local(cell) is MISSING for cell in row):
            return MISSING
        return FORMATTER.vformat(source.text, (), dict(zip(source.labels, row, strict=True)))
    except RefusedValueError as exc:
        return exc
    except Exception as exc:  # noqa: BLE001 - a cell's own __format__ may raise anything
        return RefusedValueError(f"template {source.text!r}: {exc}")


def _as_integer(cell: Json) -> Json:
    if type(cell) is not float:
        return cell
    try:
        return whole_number(cell)
    except RefusedValueError as exc:
        return exc


def _place(key: str, source: object) -> str:
    return f"column {source.label!r}" if isinstance(source, Column) else f"key {key!r}"


def _assemble(keys: Sequence[str], cells: Sequence[Json], places: Sequence[str], omit: bool) -> Row | Problem:
    row: Row = {}
    for key, cell, place in zip(keys, cells, places, strict=True):
        if cell is MISSING:
            if not omit:
                row[key] = None
        elif type(cell) is RefusedValueError:
            return Problem(str(cell), place)
        else:
            row[key] = cell
    return row


def _culprit(row: Row, exc: Exception) -> Problem:
    for key, value in row.items():
        try:
            clean(value)
        except RefusedValueError as refused:
            return Problem(str(refused), f"key {key!r}")
    return Problem(f"cannot be written as JSON: {exc}")
