"""Builds the input of each row, as a dict and as JSON, or the row's problem.

Owns the conversion of cells to inputs and the maximum size of an input. A row's input depends on that row alone, so
that it is the same in any chunk, order or run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from math import isfinite
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from ..models import Json
from .coercion import convert, read_as
from .file_cells import FileCells
from .file_values import UNUSABLE, unusable_reasons
from .fingerprints import SORTED
from .json_values import MISSING, RefusedValueError, clean, clean_local, whole_number
from .mapping import FORMATTER, Column, Fields, File, Label, Literal, RowFunction, Template

MAX_PAYLOAD: Final = 10_000_000
"""Bytes of JSON of one input. A limit of this package: the API states none."""

_UNUSABLE: Final = UNUSABLE.encode()
_ROWS_ONLY: Final = SORTED | orjson.OPT_PASSTHROUGH_DATACLASS  # fails on a Problem
_EXACT: Final = b"%b"
"""Copies what orjson returns, which keeps the 4 KB in which it was built. Allocating these again for each row takes
longer than the copy."""

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
"""Returns the problem of an input with the path of a local file where a URL is expected."""


def from_columns(
    columns: Mapping[Label, Cells],
    size: int,
    fields: Fields,
    *,
    omit: bool,
    integers: frozenset[str],
    files: FileCells | None = None,
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
        Keys for which a whole float is sent as an integer; a float that may have lost digits is a `Problem`.
    files : FileCells, optional
        Replaces files by references. None: the text of a `file` source stays a path, and other files are problems.
    """
    cleaned: dict[str, Cells] = {}
    for key, source in fields.items():
        cells = _fill(key, source, columns, size, omit, files)
        cleaned[key] = [_as_integer(cell) for cell in cells] if key in integers else cells
    types = {key: set(map(type, cells)) for key, cells in cleaned.items()}
    by_row = zip(*cleaned.values(), strict=True)
    if any(RefusedValueError in of_key for of_key in types.values()):
        places = [_place(key, source) for key, source in fields.items()]
        return [_assemble(tuple(fields), cells, places, omit) for cells in by_row]
    rows = list(map(dict, map(zip, repeat(tuple(fields)), by_row)))
    for key, of_key in types.items():
        if type(MISSING) in of_key:
            _omit_missing(rows, key, cleaned[key], omit)
    return rows


def _omit_missing(rows: Sequence[Row], key: str, cells: Cells, omit: bool) -> None:
    for row, cell in zip(rows, cells, strict=True):
        if cell is MISSING:
            if omit:
                del row[key]
            else:
                row[key] = None


def from_function(
    function: RowFunction,
    record: dict[Any, Any],
    *,
    omit: bool,
    integers: frozenset[str],
    files: FileCells | None = None,
) -> Row | Problem:
    """Return the input that `function` returns for a row, or the row's problem if it raises."""
    try:
        returned = function(record)
    except Exception as exc:  # noqa: BLE001 - the user's function may raise anything
        return Problem(f"inputs= raised {type(exc).__name__}: {exc}", cause=exc)
    if not isinstance(returned, Mapping):
        return Problem(f"inputs= must return a dict; it returned {type(returned).__name__}")
    keys = tuple(returned)
    for key in keys:
        if not isinstance(key, str):
            return Problem(f"inputs= returned a key that is not a string: {key!r}")
    values = returned.values() if files is None else [files.returned(key, value) for key, value in returned.items()]
    cells = [_cell(value, omit) for value in values]
    cells = [_as_integer(cell) if key in integers else cell for key, cell in zip(keys, cells, strict=True)]
    return _assemble(keys, cells, [f"key {key!r}" for key in keys], omit)


def encode(row: Row) -> bytes | Problem:
    """Return `row` as JSON, or its problem."""
    try:
        payload = _EXACT % orjson.dumps(row, option=SORTED)
    except orjson.JSONEncodeError as exc:
        return _encoding_problem(row, exc)
    if len(payload) > MAX_PAYLOAD:
        size = f"{len(payload) / 1e6:.1f} MB as JSON, more than the limit of {MAX_PAYLOAD / 1e6:.0f} MB"
        return Problem(f"{size}: upload large values and send their URLs")
    return payload


def encode_all(rows: Sequence[Row | Problem]) -> Sequence[bytes | Problem]:
    """Return each row of a chunk as JSON, or its problem."""
    with suppress(orjson.JSONEncodeError):
        payloads = [_EXACT % orjson.dumps(row, option=_ROWS_ONLY) for row in rows]
        if sum(map(len, payloads)) <= MAX_PAYLOAD:
            return payloads
    return [row if isinstance(row, Problem) else encode(row) for row in rows]


def file_problem(row: Row) -> Problem | None:
    """Return why a file of a row cannot be used, or None if all of them can."""
    for key, value in row.items():
        for reason in unusable_reasons(value):
            return Problem(reason, f"key {key!r}")
    return None


def has_unusable_file(payload: bytes) -> bool:
    """Return whether `file_problem` may find a problem in the input with this JSON."""
    return _UNUSABLE in payload


def problems(
    rows: Sequence[Row | Problem], check: Callable[[Row], str | None] | None, local_file: LocalFileCheck | None = None
) -> Iterator[tuple[int, Problem, bool]]:
    """Yield the problems of a chunk: the row's index in it, the problem, and whether the other rows can be sent.

    They can if only the schema rejects the row, or if a file of it cannot be used.
    """
    encodable = _all_encodable(rows)
    for index, row in enumerate(rows):
        if isinstance(row, Problem):
            yield index, row, False
            continue
        payload = b"" if encodable else encode(row)
        if isinstance(payload, Problem):
            yield index, payload, False
            continue
        local = local_file(row) if local_file is not None else None
        if local is not None:
            yield index, local, False
            continue
        unusable = file_problem(row)
        if unusable is not None:
            yield index, unusable, True
            continue
        reason = check(row) if check is not None else None
        if reason is not None:
            yield index, Problem(reason), True


def invalid(
    rows: Sequence[Row | Problem], payloads: Sequence[bytes | Problem], local_file: LocalFileCheck | None = None
) -> Iterator[tuple[int, Problem]]:
    """Yield each row of a chunk that cannot be sent even without a schema: its index in the chunk, and the problem."""
    yield from ((index, payload) for index, payload in enumerate(payloads) if isinstance(payload, Problem))
    for index, (row, payload) in enumerate(zip(rows, payloads, strict=True)):
        if local_file is not None and not isinstance(row, Problem) and not isinstance(payload, Problem):
            problem = local_file(row)
            if problem is not None:
                yield index, problem


def _all_encodable(rows: Sequence[Row | Problem]) -> bool:
    """Return whether every row of a chunk can be encoded and is small: one call of orjson instead of one per row."""
    try:
        return len(orjson.dumps(rows)) <= MAX_PAYLOAD
    except orjson.JSONEncodeError:
        return False


def _fill(
    key: str, source: object, columns: Mapping[Label, Cells], size: int, omit: bool, files: FileCells | None
) -> Cells:
    if isinstance(source, Literal):
        return [source.value] * size
    if isinstance(source, Template):
        return _texts(source, columns, size)
    if isinstance(source, File):
        return _files(source, columns, size, omit, files)
    assert isinstance(source, Column)
    cells = _column(key, columns[source.label], omit, files)
    return [_typed(cell, source, omit) for cell in cells] if source.type or source.by_schema else cells


def _files(source: File, columns: Mapping[Label, Cells], size: int, omit: bool, files: FileCells | None) -> Cells:
    """Return the references of the files that a `file` source names, or their names if no files are read."""
    named = source.source
    if isinstance(named, Path):
        cells: Cells = [named if files is None else files.file(named, source.root)] * size
    else:
        cells = columns[named.label] if isinstance(named, Column) else _texts(named, columns, size)
        cells = cells if files is None else files.files(cells, source.root)
    return [_cell(str(cell) if isinstance(cell, Path) else cell, omit) for cell in cells]


def _column(key: str, cells: Cells, omit: bool, files: FileCells | None) -> Cells:
    types = set(map(type, cells))
    if files is not None:
        cells = files.replaced(key, cells, types)
    # Text that is no UTF-8 and integers beyond 64 bits are left to `encode`: orjson finds them at no cost.
    if types <= {str, bool} or types == {int}:
        return cells
    if types == {float}:
        return [cell if isfinite(cell) else _cell(cell, omit) for cell in cells]
    return [cell if type(cell) is str else _cell(cell, omit) for cell in cells]


def _cell(value: object, omit: bool) -> Json:
    try:
        return clean(value, omit=omit)
    except RefusedValueError as exc:
        return exc


def _typed(cell: Json, source: Column, omit: bool) -> Json:
    """Return a cell as the type that the user has given for its column, else as a type of the schema."""
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
    except Exception as exc:  # noqa: BLE001 - the __format__ of a cell may raise anything
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


def _encoding_problem(row: Row, exc: Exception) -> Problem:
    for key, value in row.items():
        try:
            clean(value)
        except RefusedValueError as refusal:
            return Problem(str(refusal), f"key {key!r}")
    return Problem(f"cannot be written as JSON: {exc}")
