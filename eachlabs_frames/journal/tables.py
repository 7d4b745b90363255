"""Reads the tables that every implementation has: runs, rows in chunks (`sheets`), and records.

Opens no connection and writes nothing. A `Tables` is a connection that is open, in one state of the journal.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import orjson

from ..errors import JournalError
from ..inputs.fingerprints import SIZE
from ..models import Json
from .base import RunSpec
from .records import Record, RunState

UNREADABLE: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What reading a damaged record raises."""

_ZEROS: Final = bytes(SIZE)


class Cursor(Protocol):
    """The rows of a query."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows that are left."""
        ...


class Tables(Protocol):
    """One state of a journal, open to be read."""

    @property
    def where(self) -> str:
        """The journal, as messages name it."""
        ...

    def execute(self, query: str, values: Sequence[object] = ()) -> Cursor:
        """Run a query, whose values are marked by ``?``."""
        ...

    def is_running(self, session: int) -> bool:
        """Return whether a session is running, which something proves."""
        ...

    def damaged(self, problem: str) -> JournalError:
        """Return the error for content that cannot be right."""
        ...


def spec_of(tables: Tables, name: str) -> RunSpec | None:
    """Return a run's spec, or None if there is no such run, or one without a row."""
    query = "SELECT pin FROM runs WHERE name = ? AND EXISTS (SELECT 1 FROM sheets WHERE run = runs.id)"
    row = tables.execute(query, (name,)).fetchone()
    return None if row is None else read_spec(tables, name, row[0])


def read_spec(tables: Tables, name: str, stored: str) -> RunSpec:
    """Decode a run's spec.

    Raises
    ------
    JournalError
        It cannot be read.
    """
    try:
        return RunSpec(**json.loads(stored))
    except (ValueError, TypeError) as exc:
        problem = f"the settings of its run {name!r} cannot be read: {exc}"
        raise tables.damaged(problem) from exc


def read_digests(tables: Tables, run: int, *, first: int = 0) -> tuple[bytearray, bytearray]:
    """Return the digests of a run's rows and the fingerprints of their inputs, `SIZE` bytes each.

    Parameters
    ----------
    tables : Tables
    run : int
    first : int
        The row to begin with; it must be the first of a chunk.

    Raises
    ------
    JournalError
        They cannot be right. A row that is not recognized would be paid for again, so their size and content are
        checked.
    """
    digests, contents = bytearray(), bytearray()
    query = (
        "SELECT first, size, digests, coalesce(contents, digests) FROM sheets WHERE run = ? AND first >= ? "
        "ORDER BY first"
    )
    for start, size, of_rows, of_inputs in tables.execute(query, (run, first)):
        is_whole = len(digests) == (start - first) * SIZE and len(of_rows) == len(of_inputs) == size * SIZE
        # Pages that were lost are read as zeros.
        if not is_whole or _ZEROS in of_rows or _ZEROS in of_inputs:
            problem = f"the rows from {start} on of its run {run} cannot be read"
            raise tables.damaged(problem)
        digests += of_rows
        contents += of_inputs
    return digests, contents


def read_inputs(stored: bytes) -> list[Json]:
    """Decode the inputs of a chunk, which may be compressed.

    Raises
    ------
    ValueError
        They cannot be read.
    """
    try:
        inputs: list[Json] = orjson.loads(stored if stored.startswith(b"[") else zlib.decompress(stored))
    except zlib.error as exc:
        raise ValueError(str(exc)) from exc
    return inputs


def read_records(tables: Tables, run: int, *, after: int = 0) -> Iterator[Record]:
    """Yield the records of a run after number `after`, in the order in which they were written."""
    query = "SELECT id, session, kind, rows, body FROM records WHERE run = ? AND id > ? ORDER BY id"
    yield from tables.execute(query, (run, after))


def add_record(tables: Tables, state: RunState, record: Record) -> Sequence[int]:
    """Apply a record to a state, and return its rows.

    Raises
    ------
    JournalError
        It cannot be read.
    """
    try:
        return state.add(*record)
    except UNREADABLE as exc:
        problem = f"its record {record[0]} cannot be read: {exc}"
        raise tables.damaged(problem) from exc


def read_state(tables: Tables, run: int) -> tuple[bytearray, RunState]:
    """Return the digests of a run's rows, and their state."""
    digests, _ = read_digests(tables, run)
    state = RunState(len(digests) // SIZE)
    for record in read_records(tables, run):
        add_record(tables, state, record)
    return digests, state
