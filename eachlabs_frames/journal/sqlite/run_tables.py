"""The rows of one run: finds those of a frame, and writes those that are new to the run.

Owns the numbers of rows. Opens no connection and begins no transaction.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ...inputs.fingerprints import SIZE
from ..base import LostRequest, RowChunk
from ..labels import write_labels
from ..lost_requests import lost_request
from ..records import NANO, RowHint, RunState, unpack_rows
from ..row_index import UNSEEN, RowIndex
from ..tables import read_digests
from .database import FileTables

CHUNK: Final = 10_000
"""Rows that are written in one transaction: other processes can write in between."""


# -- rows -------------------------------------------------------------------------------------------------------------


class RowTable:
    """The digests and contents of a run's rows, as far as this call has read and written them."""

    def __init__(self, connection: sqlite3.Connection, path: Path, run: int) -> None:
        self._connection = connection
        self._path = path
        self._run = run
        self._added = 0
        self._digests, self._contents = (
            read_digests(FileTables(connection, path), run) if run else (bytearray(), bytearray())
        )

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
        _, self._contents = read_digests(FileTables(connection, self._path), self._run)

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
        digests, contents = read_digests(FileTables(self._connection, self._path), self._run, first=len(self))
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
        if not any(chunk.hints) and max(assigned, default=UNSEEN) == UNSEEN:
            in_order = index.find_in_order(chunk.digests)
            if in_order is not None:
                return list(in_order)
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
