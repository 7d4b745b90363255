"""One call's place in one run: its rows are registered, then claimed before each POST and settled after it.

Owns what is written and when. It never decides whether a row should be sent, only whether it may be: a row that
another call has claimed since is not new any more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final

from ..errors import JournalError, RunError
from ..models import PENDING, UNKNOWN, Claimed, LostRequest, Outcome, RowChunk, RowState, RunSpec
from .presence import Presence
from .queries import add_records, executions_since, pin_of, read_pin, records_of
from .records import ANSWER, CLAIM, CORRECTION, LOOK, SENT, RunState, pack_outcomes, pack_rows, unpack_rows
from .row_index import RowIndex
from .sqlite_errors import PATIENCE, translated
from .sqlite_file import connect
from .sqlite_rows import ReadExtent, RunRowIndex, chunks
from .sqlite_writer import SqliteWriter
from .transactions import transaction
from .unanswered import NANO, lost_requests, taken

_NEW_ROW: Final = RowState("new")


class SqliteRunJournal:
    """A `models.Journal` for one run, for as long as one call is at work in it.

    Parameters
    ----------
    path : pathlib.Path
        The journal's file.
    name : str
        The run's name.
    patience : float
        Seconds that a write waits for another process's.

    Raises
    ------
    JournalError
        The file cannot be opened, read or written.
    """

    def __init__(self, path: Path, name: str, *, patience: float = PATIENCE) -> None:
        self.name = name
        self._path = path
        self._patience = patience
        self._connection = connect(path, patience=patience)
        try:
            self._presence = Presence(self._connection, path)
        except BaseException:
            self._connection.close()
            raise
        self._writer = SqliteWriter(
            self._connection,
            path,
            begin=self._begin,
            finish=self._finish,
            committed=self._presence.committed,
            end=self._presence.end,
        )
        self._session = 0
        self._run = 0
        self._seen = 0
        self._others_wrote = -1
        self._pin = ""
        self._read_until: tuple[int, int] | None = None
        self._theirs: set[int] = set()
        self._notes: list[tuple[int, int, int, int, bytes, bytes | None]] = []
        self._rows = RunRowIndex(self._connection, path, 0)
        self.book = RunState(0)

    # -- before anything is sent ------------------------------------------------------------------------------------

    def pin(self) -> RunSpec | None:
        """Return what the run is pinned to, or None where there is no such run yet, or only its name."""
        with translated(self._path):
            return pin_of(self._connection, self._path, self.name)

    def enter(
        self,
        pin: RunSpec,
        *,
        index_names: Sequence[str | None] = (None,),
        rename: Callable[[], str] | None = None,
    ) -> None:
        """Take a place in the run, which is made where it is not there, and read what is known of its rows.

        Parameters
        ----------
        pin : Pin
            What the run is pinned to, where this call makes it.
        index_names : sequence of str or None
            The names of the frame's index.
        rename : callable, optional
            Where nobody has asked for this run by its name: gives another name while there is a run of this one.

        Raises
        ------
        RunError
            Another call has made a run of this name meanwhile, and of another kind.
        """
        with transaction(self._connection, self._path, self._patience), translated(self._path, self._patience):
            self._presence.check()
            written = _written(pin)
            query = "SELECT id, pin, EXISTS (SELECT 1 FROM sheets WHERE run = runs.id) FROM runs WHERE name = ?"
            found = self._connection.execute(query, (self.name,)).fetchone()
            while found is not None and rename is not None:
                self.name = rename()
                found = self._connection.execute(query, (self.name,)).fetchone()
            if found is not None and not found[2]:
                # A call that was refused before it had a row has left its name behind: it pins nobody.
                self._do("UPDATE runs SET pin = ? WHERE id = ?", (written, found[0]))
                self._run = found[0]
            elif found is None:
                values = (self.name, written, json.dumps(list(index_names)), time.time_ns())
                self._do("INSERT INTO runs (name, pin, index_names, created_at) VALUES (?, ?, ?, ?)", values)
                self._run = self._one("SELECT last_insert_rowid()")
            elif _written(read_pin(self._path, self.name, found[1])) != written:
                msg = f"run {self.name!r} was created by another call in the meantime, with other settings: try again"
                raise RunError(msg)
            else:
                self._run = found[0]
            self._pin = written
            self._session = self._presence.begin(self._run)
            self._read()

    def withdraw(self) -> None:
        """Take the run's name back where this call alone has made it, and has sent and written down no row."""
        with suppress(JournalError), translated(self._path):
            self._do(
                "DELETE FROM runs WHERE id = ? AND NOT EXISTS (SELECT 1 FROM sheets WHERE run = runs.id) "
                "AND NOT EXISTS (SELECT 1 FROM sessions WHERE run = runs.id AND id <> ?)",
                (self._run, self._session),
            )

    def _extent(self) -> tuple[int, int]:
        records = self._one("SELECT coalesce(max(id), 0) FROM records WHERE run = ?", (self._run,))
        return records, self._one("SELECT count(*) FROM sheets WHERE run = ?", (self._run,))

    def _read(self) -> None:
        self._rows = RunRowIndex(self._connection, self._path, self._run)
        self.book = RunState(len(self._rows))
        self._seen = add_records(self.book, records_of(self._connection, self._run), self._path)
        self._read_until = self._extent()

    def register(
        self,
        sheets: Iterable[RowChunk],
        *,
        taken: Sequence[int] = (),
        keyed: bool = False,
        changed: Callable[[int], None] | None = None,
        add: bool = True,
    ) -> list[int]:
        """Give each row of a frame its number in the run; rows that the run has not seen are written down, at once.

        Parameters
        ----------
        sheets : iterable of Sheet
            The frame's rows, read once.
        taken : sequence of int
            Numbers of rows that the frame holds already, by their executions.
        keyed : bool
            Whether digests are those of keys, so that an input may have changed under one.
        changed : callable, optional
            Told the place of a row whose key was sent with another input; it raises where that is not meant.
        add : bool
            Whether rows that the run has not seen become rows of it.

        Returns
        -------
        list of int
            A number for each row, in the frame's order; -1 for a row that was not seen and not added.

        Raises
        ------
        JournalError
            They could not be written; nothing of them is.
        Exception
            Whatever reading a sheet raises; nothing of them is written then, unless another call relies on it by now.
        """
        numbers: list[int] = []
        roll: RowIndex | None = None
        before: ReadExtent | None = None
        try:
            # Sheets are read between the transactions: that takes long, and calls functions of the user's.
            for chunk in chunks(sheets):
                with transaction(self._connection, self._path, self._patience):
                    with translated(self._path):
                        self._presence.check()
                        roll = self._caught_up(roll, taken, latest=keyed)
                    before = before or self._rows.extent(self._seen)
                    numbers += self._rows.register(
                        chunk, roll, keyed=keyed, changed=changed, add=add, book=self.book, before=len(numbers)
                    )
                    self.book.grow(len(self._rows))
        except BaseException:
            if before is not None:
                self._take_back(before)
            raise
        with translated(self._path):
            self._presence.publish()
        return numbers

    def _caught_up(self, roll: RowIndex | None, taken: Sequence[int], *, latest: bool) -> RowIndex:
        """Read what other calls have added since, perhaps the very same rows."""
        if roll is not None:
            self._rows.catch_up(roll)
            self.book.grow(len(self._rows))
            self._catch_up()
            return roll
        self._check_pin()
        if self._extent() != self._read_until:
            self._read()
        self._read_until = None
        return self._rows.roll(taken=taken, latest=latest)

    def _take_back(self, before: ReadExtent) -> None:
        """Delete the rows of a frame that cannot be registered as a whole, unless another call may rely on them."""
        with suppress(JournalError), transaction(self._connection, self._path), translated(self._path):
            if not self._presence.shares(self._run):
                self._rows.take_back(before)

    def _check_pin(self) -> None:
        """See that no other call has made another run of this one while it had no rows yet."""
        (stored,) = self._connection.execute("SELECT pin FROM runs WHERE id = ?", (self._run,)).fetchone()
        if _written(read_pin(self._path, self.name, stored)) != self._pin:
            msg = f"run {self.name!r} was created by another call in the meantime, with other settings: try again"
            raise RunError(msg)

    def content(self, number: int) -> bytes:
        """Return the fingerprint of a row's input."""
        return self._rows.content(number)

    def known_content(self, number: int) -> bytes | None:
        """Return the fingerprint of a row's input, or None for a number that is no row's."""
        return (self._rows.content(number) or None) if number >= 0 else None

    # -- while it is sent -------------------------------------------------------------------------------------------

    async def claim(self, run: str, rows: Sequence[int]) -> Sequence[RowState]:
        """Note durably that `rows` are about to be sent, those of them that no other call has claimed since."""
        assert run == self.name
        standings: Sequence[RowState] = await self._writer.durably(lambda: self._claim(rows))
        return standings

    def _begin(self) -> None:
        """See what others have written: nobody can write more of it until this transaction ends."""
        self._notes.clear()
        self._presence.check()
        others_wrote = self._one("PRAGMA data_version")
        if others_wrote != self._others_wrote:
            self._catch_up()
            self._others_wrote = others_wrote

    def _claim(self, rows: Sequence[int]) -> Sequence[RowState]:
        if len(rows) and self._theirs.isdisjoint(rows):
            self._note(CLAIM, pack_rows(rows), None)
            return [_NEW_ROW] * len(rows)
        standings = [self._standing(row) if row in self._theirs else _NEW_ROW for row in rows]
        mine = [row for row, standing in zip(rows, standings, strict=True) if standing.word == "new"]
        if mine:
            self._note(CLAIM, pack_rows(mine), None)
        return standings

    def settle(self, run: str, outcomes: Sequence[Outcome]) -> None:
        """Note what became of claimed rows: all of it or, for now, nothing."""
        assert run == self.name
        self._soon(ANSWER, outcomes)

    async def adopt(self, run: str, outcomes: Sequence[Outcome], *, since: float) -> bool:
        """Note durably which executions a search has found, unless a row has got one of them: all or nothing."""
        assert run == self.name
        adopted: bool = await self._writer.durably(lambda: self._adopt(outcomes, since))
        return adopted

    def _adopt(self, outcomes: Sequence[Outcome], since: float) -> bool:
        # Within the transaction that writes, and after what was made before it in the same one: two searches may have
        # read the same listing.
        self._finish()
        taken = executions_since(self._connection, int(since * NANO))
        if any(outcome.execution_id in taken for outcome in outcomes):
            return False
        self._note(ANSWER, *_packed(outcomes))
        return True

    def look(self, outcomes: Sequence[Outcome]) -> None:
        """Note how executions of this run stand later on."""
        self._soon(LOOK, outcomes)

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        """Note that rows of this run have other executions than the API's answers said."""
        self._soon(CORRECTION, outcomes)

    def _soon(self, kind: int, outcomes: Sequence[Outcome]) -> None:
        """Pack now, for the outcomes may not outlive the call; write with the next commit."""
        notes: list[tuple[bytes, bytes]] = []
        doubts: list[Outcome] = []
        for _, group in groupby(outcomes, key=attrgetter("bulk_id")):
            same = list(group)
            if kind == ANSWER and any(outcome.status in _DOUBTS for outcome in same):
                doubts += [outcome for outcome in same if outcome.status in _DOUBTS]
                same = [outcome for outcome in same if outcome.status not in _DOUBTS]
            if same:
                notes.append(_packed(same))
        if notes or doubts:
            self._writer.soon(partial(self._write, kind, notes, doubts))

    def _write(self, kind: int, notes: list[tuple[bytes, bytes]], doubts: list[Outcome]) -> None:
        certain = [outcome for outcome in doubts if not self._is_theirs(outcome)]
        for _, group in groupby(certain, key=attrgetter("bulk_id")):
            self._note(kind, *_packed(list(group)))
        for rows, body in notes:
            self._note(kind, rows, body)

    def _is_theirs(self, outcome: Outcome) -> bool:
        """Say whether another call has claimed the row since, so that this one's doubt says nothing of it."""
        row = outcome.position
        if row not in self._theirs or self.book.words[row] != SENT:
            return False
        return outcome.status == PENDING or self._standing(row).alive

    async def flush(self) -> None:
        """Wait until all that was settled is on the disk."""
        await self._writer.durably(_nothing)

    def halted(self, reason: str | None) -> None:
        """Note why rows of this run were not sent, for whoever looks at it later; None: that is over."""
        self._writer.soon(lambda: self._do("UPDATE runs SET note = ? WHERE id = ?", (reason, self._run)))

    async def standings(self, run: str, rows: Sequence[int]) -> Sequence[RowState]:
        """Read what other calls have written since, and say how `rows` stand."""
        assert run == self.name
        standings: Sequence[RowState] = await self._writer.durably(lambda: self._standings(rows))
        return standings

    def _standings(self, rows: Sequence[int]) -> Sequence[RowState]:
        # What this call itself has claimed since is not in its book: there, a row that it retries is as it was before.
        told = [row in self._theirs or self.book.words[row] == SENT for row in rows]
        return [self._standing(row) if known else _NEW_ROW for row, known in zip(rows, told, strict=True)]

    def _catch_up(self) -> None:
        for record in records_of(self._connection, self._run, after=self._seen):
            if record.session != self._session:
                rows = unpack_rows(record.rows)
                self.book.grow(max(rows, default=-1) + 1)
                add_records(self.book, (record,), self._path)
                if record.kind != LOOK:
                    self._theirs.update(rows)
            self._seen = record.number

    def _note(self, kind: int, rows: bytes, body: bytes | None) -> None:
        self._notes.append((self._run, self._session, kind, time.time_ns(), rows, body))

    def _finish(self) -> None:
        """Write the notes of a commit, all at once: their order is that in which they were made."""
        if not self._notes:
            return
        first = self._presence.next_number()
        query = "INSERT INTO records (id, run, session, kind, at, rows, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._connection.executemany(query, [(number, *note) for number, note in enumerate(self._notes, start=first)])
        self._presence.note(first + len(self._notes) - 1)
        self._notes.clear()

    # -- what was sent, and never answered --------------------------------------------------------------------------

    def _standing(self, number: int) -> RowState:
        standing = self.book.standing(number)
        if standing.word == "sent":
            return RowState("sent", alive=self._presence.at_work(self.book.sessions[number]))
        return standing

    def standing(self, number: int) -> RowState:
        """Say how a row stands, as far as this call has read."""
        if self.book.words[number] != SENT:
            return self.book.standing(number)
        with translated(self._path):
            return self._standing(number)

    def lost(self, numbers: Sequence[int], *, timeout: float) -> list[LostRequest]:
        """Return the triggers whose answer none of `numbers` has: all rows of each that wait, for they went together.

        Parameters
        ----------
        numbers : sequence of int
            Rows that were sent.
        timeout : float
            Seconds that such a request may have taken.
        """
        return lost_requests(self._path, self._rows, self.book, numbers, timeout=timeout)

    async def taken(self, since: float) -> Claimed:
        """Read what any run has sent since `since`."""

        def at_work(session: int) -> bool:
            return session != self._session and self._presence.at_work(session)

        found: Claimed = await self._writer.durably(lambda: taken(self._connection, self._path, since, at_work=at_work))
        return found

    def close(self) -> JournalError | None:
        """Write what is left, and leave the run; return what went wrong where something could not be written."""
        return self._writer.close()

    def _do(self, statement: str, values: Sequence[object] = ()) -> None:
        self._connection.execute(statement, values)

    def _one(self, statement: str, values: Sequence[object] = ()) -> int:
        found: int = self._connection.execute(statement, values).fetchone()[0]
        return found


_DOUBTS: Final = frozenset({PENDING, UNKNOWN})
"""What a call may say of a row that another has claimed since, without knowing it."""


def _packed(outcomes: Sequence[Outcome]) -> tuple[bytes, bytes]:
    """Pack outcomes of one bulk operation."""
    return pack_rows([outcome.position for outcome in outcomes]), pack_outcomes(outcomes)


def _written(pin: RunSpec) -> str:
    """Write a pin down, the same for equal ones."""
    return json.dumps(asdict(pin), sort_keys=True)


def _nothing() -> None:
    """Write nothing more than what waits already."""
