"""The rows of one run: reads them, matches a frame's rows to them, and writes those that are new.

Owns the numbers of rows. Begins no transaction: the caller does before rows are written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from ...inputs.fingerprints import SIZE
from ..base import RowChunk
from ..records import RowHint, RunState
from ..row_index import UNSEEN, RowIndex
from .queries import digests_of, write_labels
from .sqlite_errors import translated

CHUNK: Final = 10_000
"""Rows that are written in one transaction: other processes can write in between."""


class ReadExtent(NamedTuple):
    """How far a call has read a run: its number of rows, how many of these it added, and the latest record."""

    rows: int
    added: int
    record: int


class RowTable:
    """The digests and contents of a run's rows, as far as this call has read and written them."""

    def __init__(self, connection: sqlite3.Connection, path: Path, run: int) -> None:
        self._connection = connection
        self._path = path
        self._run = run
        self._added = 0
        self._digests, self._contents = digests_of(connection, path, run) if run else (bytearray(), bytearray())

    def __len__(self) -> int:
        return len(self._contents) // SIZE

    def content(self, number: int) -> bytes:
        """Return the fingerprint of a row's input."""
        return bytes(self._contents[number * SIZE : (number + 1) * SIZE])

    def extent(self, record: int) -> ReadExtent:
        """Return how far this call has read, `record` being the latest record."""
        return ReadExtent(len(self), self._added, record)

    def take_back(self, before: ReadExtent) -> None:
        """Delete the rows that were added since `before`, unless another call has written to the run since."""
        query = "SELECT coalesce(sum(size), 0) FROM sheets WHERE run = ? AND first >= ?"
        (added,) = self._connection.execute(query, (self._run, before.rows)).fetchone()
        if added == self._added - before.added:
            self._connection.execute(
                "DELETE FROM sheets WHERE run = ? AND first >= ? "
                "AND NOT EXISTS (SELECT 1 FROM records WHERE run = ? AND id > ?)",
                (self._run, before.rows, self._run, before.record),
            )

    def read_contents(self, connection: sqlite3.Connection) -> None:
        """Read the contents again, because another call has added rows."""
        _, self._contents = digests_of(connection, self._path, self._run)

    def index(self, *, taken: Sequence[int], latest: bool) -> RowIndex:
        """Return the index of the run's rows; those of `taken` are assigned already."""
        index = RowIndex(self._digests, taken=taken, latest=latest)
        # Needed once, and as large as the run: the next registration reads it again.
        self._digests = bytearray()
        return index

    def catch_up(self, index: RowIndex) -> None:
        """Read the rows that other calls have added since."""
        first = len(self)
        digests, contents = digests_of(self._connection, self._path, self._run, first=first)
        index.extend(first, digests)
        self._contents += contents

    def register(
        self,
        chunks: Iterable[RowChunk],
        index: RowIndex,
        *,
        keyed: bool,
        on_changed: Callable[[int], None] | None,
        add: bool,
        state: RunState,
        before: int,
    ) -> list[int]:
        """Register the rows of one transaction, which come after `before` rows of the frame; see `RunJournal`."""
        numbers: list[int] = []
        for chunk in chunks:
            with translated(self._path):
                assigned = self._find(chunk, index, state)
                if keyed and on_changed is not None:
                    self._renew_changed(chunk, assigned, state, on_changed, before=before + len(numbers))
                if add:
                    self._add(chunk, assigned)
            numbers += assigned
        return numbers

    def _find(self, chunk: RowChunk, index: RowIndex, state: RunState) -> list[int]:
        """Return each row's number; `UNSEEN` if it is new to the run."""
        if not index:
            return [UNSEEN] * len(chunk.digests)
        numbers = chunk.numbers or [UNSEEN] * len(chunk.digests)
        assigned: list[int] = []
        matchers = [
            None,
            *(partial(state.matches, hint) for hint in (RowHint.UNSENT, RowHint.UNKNOWN, RowHint.REFUSED)),
        ]
        for digest, content, hint, number in zip(chunk.digests, chunk.contents, chunk.hints, numbers, strict=True):
            if number == UNSEEN or self.content(number) != content:
                number = index.find(digest, matchers[hint], hint)
            assigned.append(number)
        return assigned

    def _renew_changed(
        self,
        chunk: RowChunk,
        assigned: list[int],
        state: RunState,
        on_changed: Callable[[int], None],
        *,
        before: int,
    ) -> None:
        """Treat a row whose key has another input in the run as new; `on_changed` may refuse that if it was sent."""
        for place, number in enumerate(assigned):
            if number != UNSEEN and self.content(number) != chunk.contents[place]:
                if not state.matches(RowHint.UNSENT, number):
                    on_changed(before + place)
                assigned[place] = UNSEEN

    def _add(self, chunk: RowChunk, assigned: list[int]) -> None:
        """Write the new rows of a chunk, and put their numbers into `assigned`."""
        first = len(self)
        fresh = [place for place, number in enumerate(assigned) if number == UNSEEN]
        if not fresh:
            return
        digests = b"".join([chunk.digests[place] for place in fresh])
        contents = b"".join([chunk.contents[place] for place in fresh])
        labels = write_labels([chunk.labels[place] for place in fresh])
        inputs = b"[" + b",".join([chunk.payloads[place] for place in fresh]) + b"]"
        same = contents == digests
        self._connection.execute(
            "INSERT INTO sheets (run, first, size, digests, contents, labels, inputs) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._run, first, len(fresh), digests, None if same else contents, labels, inputs),
        )
        self._contents += contents
        self._added += len(fresh)
        for number, place in enumerate(fresh, start=first):
            assigned[place] = number


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
