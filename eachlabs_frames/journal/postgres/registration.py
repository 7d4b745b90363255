"""Registers the rows of a frame in a run: finds those that the run has, and adds the others.

Owns which row of a run a row of the frame is. Several calls may register the same rows at once: the database lets one
of them add a row, and the others find it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from ...errors import JournalError
from ..base import RowChunk
from ..labels import write_labels
from ..records import RowHint
from ..row_index import UNSEEN, RowIndex
from .connection import Connection
from .known_rows import KnownRows, StoredRow
from .server_session import ServerSession

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_CONFLICT, _OTHER_SPEC, _DELETED = -1, -2, -3
MAX_ATTEMPTS: Final = 100
"""Attempts to add rows while other calls add some of the same rows."""

_PIN: Final[LiteralString] = "SELECT pin FROM {schema}.runs WHERE id = %s"
_ADD: Final[LiteralString] = """
    SELECT {schema}.add_rows(%s, %s, %s::bytea[], %s::int[], %s::bytea[], %s, %s, %s, %s)
"""


@dataclass(slots=True)
class Registration:
    """One registration of a frame: which rows of the run are taken by its rows, and which it has added.

    Attributes
    ----------
    first : int
        The number in the run of the first row that it has added; -1 if it has added none.
    """

    taken: set[int]
    keyed: bool
    add: bool
    pin: str
    rows: KnownRows
    session: ServerSession
    find: Callable[[Connection, Sequence[bytes]], list[StoredRow]]
    first: int = -1
    added: int = 0
    is_checked: bool = False

    def register(
        self,
        chunk: RowChunk,
        on_changed: Callable[[int], None] | None,
        connection: Connection,
    ) -> list[int]:
        """Return the place of each row of a chunk; `UNSEEN` if it is new and not added.

        Raises
        ------
        JournalError
            The rows cannot be added.
        Exception
            What `on_changed` raises.
        """
        if not self.is_checked:
            row = connection.execute(self.session.query(_PIN), (self.session.run,)).fetchone()
            check_added(_DELETED if row is None else _OTHER_SPEC if row[0] != self.pin else 0)
            self.is_checked = True
        for _ in range(MAX_ATTEMPTS):
            stored = self.find(connection, list(dict.fromkeys(chunk.digests)))
            places = self._find(chunk, stored)
            if self.keyed and on_changed is not None:
                self._renew_changed(chunk, places, on_changed)
            new = [index for index, place in enumerate(places) if place == UNSEEN]
            if new and self.add and not self._add(connection, chunk, places, new, stored):
                continue
            if self.keyed:
                self._note_claims(chunk, places, stored)
            self.taken.update(place for place in places if place != UNSEEN)
            return places
        msg = "other calls keep adding the same rows to this run: try again"
        raise JournalError(msg)

    def _find(self, chunk: RowChunk, stored: Sequence[StoredRow]) -> list[int]:
        rows = self.rows
        assigned = chunk.numbers or [UNSEEN] * len(chunk.digests)
        candidates = [rows.place(row.number) for row in stored]
        if not candidates and not any(number != UNSEEN for number in assigned):
            return [UNSEEN] * len(chunk.digests)
        taken = [index for index, place in enumerate(candidates) if place in self.taken]
        state = rows.state
        index = RowIndex(
            b"".join(row.digest for row in stored),
            taken=taken,
            latest=self.keyed,
            is_sent=lambda candidate: not state.matches(RowHint.UNSENT, candidates[candidate]),
        )

        def prefers(hint: RowHint, candidate: int) -> bool:
            return state.matches(hint, candidates[candidate])

        matchers = [None, *(partial(prefers, hint) for hint in RowHint if hint != RowHint.ANY)]
        places: list[int] = []
        for digest, content, hint, place in zip(chunk.digests, chunk.contents, chunk.hints, assigned, strict=True):
            found = place
            if place == UNSEEN or rows.content(place) != content:
                candidate = index.find(digest, matchers[hint], hint)
                found = UNSEEN if candidate == UNSEEN else candidates[candidate]
            places.append(found)
        return places

    def _renew_changed(self, chunk: RowChunk, places: list[int], on_changed: Callable[[int], None]) -> None:
        """Treat a row whose key has another input in the run as new; `on_changed` may refuse that if it was sent."""
        for index, place in enumerate(places):
            if place != UNSEEN and self.rows.content(place) != chunk.contents[index]:
                if not self.rows.state.matches(RowHint.UNSENT, place):
                    on_changed(index)
                places[index] = UNSEEN

    def _note_claims(self, chunk: RowChunk, places: Sequence[int], stored: Sequence[StoredRow]) -> None:
        """Note the latest claim of each key: a row may be sent unless another one of its key is claimed after that."""
        latest: dict[bytes, int] = {}
        for row in stored:
            latest[row.digest] = max(row.claim, latest.get(row.digest, 0))
        for digest, place in zip(chunk.digests, places, strict=True):
            if place != UNSEEN:
                self.rows.key_claims[place] = latest.get(digest, 0)

    def _add(
        self,
        connection: Connection,
        chunk: RowChunk,
        places: list[int],
        new: list[int],
        stored: Sequence[StoredRow],
    ) -> bool:
        """Add the new rows of a chunk and put their places into `places`; False if other calls have been faster."""
        rows = self.rows
        latest = {row.digest: row.occurrence for row in sorted(stored, key=lambda row: row.occurrence)}
        occurrences: list[int] = []
        for index in new:
            digest = chunk.digests[index]
            latest[digest] = latest.get(digest, -1) + 1
            occurrences.append(latest[digest])
        digests = [chunk.digests[index] for index in new]
        contents = [chunk.contents[index] for index in new]
        is_same = digests == contents
        values = (
            self.session.run,
            self.pin,
            digests,
            occurrences,
            [b"" if content == digest else content for digest, content in zip(digests, contents, strict=True)],
            b"".join(digests),
            None if is_same else b"".join(contents),
            write_labels([chunk.labels[index] for index in new]),
            zlib.compress(b"[" + b",".join([chunk.payloads[index] for index in new]) + b"]"),
        )
        row = connection.execute(self.session.query(_ADD), values).fetchone()
        assert row is not None
        first: int = row[0]
        if first == _CONFLICT:
            return False
        check_added(first)
        self.first = first if self.first < 0 else self.first
        self.added += len(new)
        for index, place in zip(new, rows.add_new(first, contents), strict=True):
            places[index] = place
        return True


class OtherSpecError(Exception):
    """Another call has given the run another spec, while it had no rows."""


def check_added(first: int) -> None:
    """Raise if rows could not be added.

    Raises
    ------
    OtherSpecError
    JournalError
        The run was deleted.
    """
    if first == _OTHER_SPEC:
        raise OtherSpecError
    if first == _DELETED:
        msg = "the run was deleted while this call registered its rows: repeat the call"
        raise JournalError(msg)
