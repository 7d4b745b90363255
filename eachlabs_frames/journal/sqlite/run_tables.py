"""The tables of one run: its spec, its rows and its records. Reads them, and writes rows that are new to the run.

Owns the numbers of rows. Opens no connection and begins no transaction.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ...inputs.fingerprints import SIZE
from ...models import Json
from ..base import LostRequest, RowChunk, RunSpec
from ..lost_requests import lost_request
from ..records import NANO, Record, RowHint, RunState, unpack_rows
from ..row_index import UNSEEN, RowIndex
from .integrity import damaged

CHUNK: Final = 10_000
"""Rows that are written in one transaction: other processes can write in between."""

UNREADABLE: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What reading a damaged record raises."""

_ZEROS: Final = bytes(SIZE)


# -- reading ----------------------------------------------------------------------------------------------------------


def spec_of(connection: sqlite3.Connection, path: Path, name: str) -> RunSpec | None:
    """Return a run's spec, or None if there is no such run, or one without a row."""
    query = "SELECT pin FROM runs WHERE name = ? AND EXISTS (SELECT 1 FROM sheets WHERE run = runs.id)"
    row = connection.execute(query, (name,)).fetchone()
    return None if row is None else read_spec(path, name, row[0])


def read_spec(path: Path, name: str, stored: str) -> RunSpec:
    """Decode a run's spec.

    Raises
    ------
    JournalError
        It cannot be read.
    """
    try:
        return RunSpec(**json.loads(stored))
    except (ValueError, TypeError) as exc:
        raise damaged(path, f"the settings of its run {name!r} cannot be read: {exc}") from exc


def read_digests(
    connection: sqlite3.Connection, path: Path, run: int, *, first: int = 0
) -> tuple[bytearray, bytearray]:
    """Return the digests of a run's rows and the fingerprints of their inputs, `SIZE` bytes each.

    Parameters
    ----------
    connection : sqlite3.Connection
    path : pathlib.Path
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
    for start, size, of_rows, of_inputs in connection.execute(query, (run, first)):
        is_whole = len(digests) == (start - first) * SIZE and len(of_rows) == len(of_inputs) == size * SIZE
        # Pages that were lost are read as zeros.
        if not is_whole or _ZEROS in of_rows or _ZEROS in of_inputs:
            raise damaged(path, f"the rows from {start} on of its run {run} cannot be read")
        digests += of_rows
        contents += of_inputs
    return digests, contents


def read_records(connection: sqlite3.Connection, run: int, *, after: int = 0) -> Iterator[Record]:
    """Yield the records of a run after number `after`, in the order in which they were written."""
    query = "SELECT id, session, kind, rows, body FROM records WHERE run = ? AND id > ? ORDER BY id"
    yield from connection.execute(query, (run, after))


def add_record(state: RunState, record: Record, path: Path) -> Sequence[int]:
    """Apply a record to a state, and return its rows.

    Raises
    ------
    JournalError
        It cannot be read.
    """
    try:
        return state.add(*record)
    except UNREADABLE as exc:
        raise damaged(path, f"its record {record[0]} cannot be read: {exc}") from exc


def read_state(connection: sqlite3.Connection, path: Path, run: int) -> tuple[bytearray, RunState]:
    """Return the digests of a run's rows, and their state."""
    digests, _ = read_digests(connection, path, run)
    state = RunState(len(digests) // SIZE)
    for record in read_records(connection, run):
        add_record(state, record, path)
    return digests, state


def write_labels(labels: Sequence[Json]) -> bytes:
    """Encode index labels, with `json`: they may be NaN, beyond 64 bits or incomplete characters."""
    return json.dumps(labels, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def read_labels(stored: bytes) -> list[Json]:
    """Decode what `write_labels` returned."""
    labels: list[Json] = json.loads(stored.decode("utf-8", "surrogatepass"))
    return labels


# -- rows -------------------------------------------------------------------------------------------------------------


class RowTable:
    """The digests and contents of a run's rows, as far as this call has read and written them."""

    def __init__(self, connection: sqlite3.Connection, path: Path, run: int) -> None:
        self._connection = connection
        self._path = path
        self._run = run
        self._added = 0
        self._digests, self._contents = read_digests(connection, path, run) if run else (bytearray(), bytearray())

    def __len__(self) -> int:
        return len(self._contents) // SIZE

    def content(self, number: int) -> bytes:
        """Return the fingerprint of a row's input."""
        return bytes(self._contents[number * SIZE : (number + 1) * SIZE])

    def extent(self) -> tuple[int, int]:
        """Return the number of rows, and how many of them this call has added: `remove_since` takes both."""
        return len(self), self._added

    def remove_since(self, extent: tuple[int, int], record: int) -> None:
        """Delete the rows added since `extent`, unless another call has added rows or written after `record`."""
        rows, added = extent
        query = "SELECT coalesce(sum(size), 0) FROM sheets WHERE run = ? AND first >= ?"
        (stored,) = self._connection.execute(query, (self._run, rows)).fetchone()
        if stored == self._added - added:
            self._connection.execute(
                "DELETE FROM sheets WHERE run = ? AND first >= ? "
                "AND NOT EXISTS (SELECT 1 FROM records WHERE run = ? AND id > ?)",
                (self._run, rows, self._run, record),
            )

    def read_contents(self, connection: sqlite3.Connection) -> None:
        """Read the contents again, because another call has added rows."""
        _, self._contents = read_digests(connection, self._path, self._run)

    def index(self, state: RunState, *, taken: Sequence[int], latest: bool) -> RowIndex:
        """Return the index of the run's rows; those of `taken` are assigned already."""
        index = RowIndex(
            self._digests, taken=taken, latest=latest, is_sent=lambda row: not state.matches(RowHint.UNSENT, row)
        )
        # Needed once, and as large as the run: the next registration reads it again.
        self._digests = bytearray()
        return index

    def catch_up(self) -> bytearray:
        """Read the rows that other calls have added since, and return their digests."""
        digests, contents = read_digests(self._connection, self._path, self._run, first=len(self))
        self._contents += contents
        return digests

    def register(
        self,
        chunk: RowChunk,
        index: RowIndex,
        state: RunState,
        *,
        on_changed: Callable[[int], None] | None,
        add: bool,
        before: int,
    ) -> list[int]:
        """Register a chunk, which comes after `before` rows of the frame; see `RunJournal.register`."""
        numbers = self._find(chunk, index, state)
        if on_changed is not None:
            self._renew_changed(chunk, numbers, state, on_changed, before=before)
        if add:
            self._add(chunk, numbers)
        return numbers

    def _find(self, chunk: RowChunk, index: RowIndex, state: RunState) -> list[int]:
        """Return each row's number; `UNSEEN` if it is new to the run."""
        if not index:
            return [UNSEEN] * len(chunk.digests)
        assigned = chunk.numbers or [UNSEEN] * len(chunk.digests)
        numbers: list[int] = []
        matchers = [None, *(partial(state.matches, hint) for hint in RowHint if hint != RowHint.ANY)]
        for digest, content, hint, number in zip(chunk.digests, chunk.contents, chunk.hints, assigned, strict=True):
            if number == UNSEEN or self.content(number) != content:
                number = index.find(digest, matchers[hint], hint)
            numbers.append(number)
        return numbers

    def _renew_changed(
        self, chunk: RowChunk, numbers: list[int], state: RunState, on_changed: Callable[[int], None], *, before: int
    ) -> None:
        """Treat a row whose key has another input in the run as new; `on_changed` may refuse that if it was sent."""
        for place, number in enumerate(numbers):
            if number != UNSEEN and self.content(number) != chunk.contents[place]:
                if not state.matches(RowHint.UNSENT, number):
                    on_changed(before + place)
                numbers[place] = UNSEEN

    def _add(self, chunk: RowChunk, numbers: list[int]) -> None:
        """Write the new rows of a chunk, and put their numbers into `numbers`."""
        first = len(self)
        new = [place for place, number in enumerate(numbers) if number == UNSEEN]
        if not new:
            return
        digests = b"".join([chunk.digests[place] for place in new])
        contents = b"".join([chunk.contents[place] for place in new])
        labels = write_labels([chunk.labels[place] for place in new])
        inputs = b"[" + b",".join([chunk.payloads[place] for place in new]) + b"]"
        self._connection.execute(
            "INSERT INTO sheets (run, first, size, digests, contents, labels, inputs) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._run, first, len(new), digests, None if contents == digests else contents, labels, inputs),
        )
        self._contents += contents
        self._added += len(new)
        for number, place in enumerate(new, start=first):
            numbers[place] = number


def in_transactions(chunks: Iterable[RowChunk]) -> Iterator[list[RowChunk]]:
    """Yield the chunks of one transaction each: `CHUNK` rows or a few more; one empty list if there are none."""
    group: list[RowChunk] = []
    rows, is_first = 0, True
    for chunk in chunks:
        group.append(chunk)
        rows += len(chunk.digests)
        if rows >= CHUNK:
            yield group
            group, rows, is_first = [], 0, False
    if group or is_first:
        yield group


# -- requests without a response --------------------------------------------------------------------------------------


def lost_requests(
    connection: sqlite3.Connection, rows: RowTable, state: RunState, claims: Sequence[int], *, timeout: float
) -> list[LostRequest]:
    """Return the requests of these claims, each with all its rows that have no response.

    A request took at most `timeout` seconds, unless its claim has the time until which it can have been sent
    (`SqliteJournal.accept_loss`).
    """
    if len(rows) < state.results.size:
        rows.read_contents(connection)
    query = "SELECT at, rows, body FROM records WHERE id = ?"
    lost: list[LostRequest] = []
    for claim in claims:
        at, packed, until = connection.execute(query, (claim,)).fetchone()
        since = at / NANO
        # No call waits for it any more, so it was over by now at the latest.
        latest = int(until) / NANO + timeout if until else since + timeout
        until_now = min(latest, max(since, time.time()))
        lost.append(lost_request(state, rows.content, claim, unpack_rows(packed), since, until_now))
    return lost
