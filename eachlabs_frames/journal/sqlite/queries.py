"""Reads what a connection finds in the journal of one run: its spec, its rows' digests and its records.

Opens no connection and never writes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ...inputs.fingerprints import SIZE
from ...models import Json
from ..base import RunSpec
from ..records import Record, RunState
from .sqlite_errors import damaged

UNREADABLE: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What reading a record raises that is damaged."""


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Read one state of the journal, whatever others write meanwhile."""
    connection.execute("BEGIN")
    yield
    connection.execute("COMMIT")


def spec_of(connection: sqlite3.Connection, path: Path, name: str) -> RunSpec | None:
    """Return a run's spec, or None where there is no such run, or one without a row."""
    query = "SELECT pin FROM runs WHERE name = ? AND EXISTS (SELECT 1 FROM sheets WHERE run = runs.id)"
    row = connection.execute(query, (name,)).fetchone()
    return None if row is None else read_spec(path, name, row[0])


def read_spec(path: Path, name: str, written: str) -> RunSpec:
    """Read a run's spec.

    Raises
    ------
    JournalError
        It cannot be read.
    """
    try:
        return RunSpec(**json.loads(written))
    except (ValueError, TypeError) as exc:
        raise damaged(path, f"the settings of its run {name!r} cannot be read: {exc}") from exc


def digests_of(connection: sqlite3.Connection, path: Path, run: int, *, first: int = 0) -> tuple[bytearray, bytearray]:
    """Return what the rows of a run are known by, and the fingerprints of their inputs, `SIZE` bytes each.

    Parameters
    ----------
    connection : sqlite3.Connection
    path : pathlib.Path
    run : int
    first : int
        The row to begin with; it must be the first of a sheet.

    Raises
    ------
    JournalError
        They cannot be right. A row that is not known again would be paid for again, so this looks twice.
    """
    digests, contents = bytearray(), bytearray()
    query = "SELECT first, size, digests, contents FROM sheets WHERE run = ? AND first >= ? ORDER BY first"
    for start, size, known_by, of_input in connection.execute(query, (run, first)):
        of_input = known_by if of_input is None else of_input
        whole = len(digests) == (start - first) * SIZE and len(known_by) == len(of_input) == size * SIZE
        # Pages that were lost are read as zeros.
        if not whole or _NOTHING in known_by or _NOTHING in of_input:
            raise damaged(path, f"the rows from {start} on of its run {run} cannot be read")
        digests += known_by
        contents += of_input
    return digests, contents


_NOTHING: Final = bytes(SIZE)


def records_of(connection: sqlite3.Connection, run: int, *, after: int = 0) -> Iterator[Record]:
    """Yield the records of a run, in the order in which they were written."""
    query = "SELECT id, session, kind, at, rows, body FROM records WHERE run = ? AND id > ? ORDER BY id"
    for fields in connection.execute(query, (run, after)):
        yield Record(*fields)


def add_records(state: RunState, records: Iterable[Record], path: Path) -> int:
    """Take records into a state, and return the number of the last.

    Raises
    ------
    JournalError
        One cannot be read.
    """
    last = 0
    for record in records:
        last = record.number
        try:
            state.add(record)
        except UNREADABLE as exc:
            raise damaged(path, f"its record {record.number} cannot be read: {exc}") from exc
    return last


def state_of(connection: sqlite3.Connection, path: Path, run: int) -> tuple[bytearray, RunState]:
    """Return what the rows of a run are known by, and what its records add up to."""
    digests, _ = digests_of(connection, path, run)
    state = RunState(len(digests) // SIZE)
    add_records(state, records_of(connection, run), path)
    return digests, state


def write_labels(labels: Sequence[Json]) -> bytes:
    """Write index labels down: by `json`, for they may be NaN, beyond 64 bits or no whole characters."""
    return json.dumps(labels, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def read_labels(packed: bytes) -> list[Json]:
    """Read what `write_labels` has written."""
    labels: list[Json] = json.loads(packed.decode("utf-8", "surrogatepass"))
    return labels
