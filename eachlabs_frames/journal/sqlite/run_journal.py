"""Implements `RunJournal`: rows are registered, then claimed before each POST and settled after it.

Owns what is written and when. Never decides whether a row should be sent, only whether it may be: a row that another
call has claimed is not new any more.
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

from ...errors import JournalError, RunError
from ...models import PENDING, UNKNOWN, Outcome
from ..base import Claimed, LostRequest, RowChunk, RunSpec
from ..records import (
    ANSWER,
    CLAIM,
    CORRECTION,
    NO_CLAIM,
    SENT,
    UPDATE,
    RowState,
    RunState,
    pack_outcomes,
    pack_rows,
    unpack_rows,
)
from ..row_index import RowIndex
from .database import connect, reading
from .lost_requests import NANO, claimed, executions_since, lost_requests
from .presence import Presence
from .queries import add_records, read_spec, records_of, spec_of
from .row_table import ReadExtent, RowTable, in_transactions
from .sqlite_errors import BUSY_TIMEOUT, translated
from .transactions import transaction
from .writer import SqliteWriter

_NEW_ROW: Final = RowState("new")


class SqliteRunJournal:
    """A `RunJournal` in an SQLite file.

    Parameters
    ----------
    path : pathlib.Path
        The journal's file.
    name : str
        The run's name.
    patience : float
        Seconds that a write waits for another process.

    Raises
    ------
    JournalError
        The file cannot be opened, read or written.
    """

    def __init__(self, path: Path, name: str, *, patience: float = BUSY_TIMEOUT) -> None:
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
        self._spec = ""
        self._read_until: tuple[int, int] | None = None
        self._theirs: set[int] = set()
        self._notes: list[tuple[int, int, int, int, bytes, bytes | None]] = []
        self._rows = RowTable(self._connection, path, 0)
        self.state = RunState(0)

    # -- before anything is sent ------------------------------------------------------------------------------------

    def spec(self) -> RunSpec | None:
        with translated(self._path):
            return spec_of(self._connection, self._path, self.name)

    def enter(
        self, spec: RunSpec, *, index_names: Sequence[str | None] = (None,), rename: Callable[[], str] | None = None
    ) -> None:
        with transaction(self._connection, self._path, self._patience), translated(self._path, self._patience):
            self._presence.check()
            written = _written(spec)
            query = "SELECT id, pin, EXISTS (SELECT 1 FROM sheets WHERE run = runs.id) FROM runs WHERE name = ?"
            row = self._connection.execute(query, (self.name,)).fetchone()
            while row is not None and rename is not None:
                self.name = rename()
                row = self._connection.execute(query, (self.name,)).fetchone()
            if row is not None and not row[2]:
                # A call that was refused before it registered a row left its name behind: its spec binds nobody.
                self._do("UPDATE runs SET pin = ? WHERE id = ?", (written, row[0]))
                self._run = row[0]
            elif row is None:
                values = (self.name, written, json.dumps(list(index_names)), time.time_ns())
                self._do("INSERT INTO runs (name, pin, index_names, created_at) VALUES (?, ?, ?, ?)", values)
                self._run = self._one("SELECT last_insert_rowid()")
            elif _written(read_spec(self._path, self.name, row[1])) != written:
                msg = f"run {self.name!r} was created by another call in the meantime, with other settings: try again"
                raise RunError(msg)
            else:
                self._run = row[0]
            self._spec = written
            self._session = self._presence.begin(self._run)
            self._read()

    def withdraw(self) -> None:
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
        self._rows = RowTable(self._connection, self._path, self._run)
        self.state = RunState(len(self._rows))
        self._seen = add_records(self.state, records_of(self._connection, self._run), self._path)
        self._read_until = self._extent()

    def register(
        self,
        chunks: Iterable[RowChunk],
        *,
        assigned: Sequence[int] = (),
        keyed: bool = False,
        on_changed: Callable[[int], None] | None = None,
        add: bool = True,
    ) -> list[int]:
        numbers: list[int] = []
        index: RowIndex | None = None
        before: ReadExtent | None = None
        try:
            # Chunks are read between the transactions: reading is slow and may call the user's functions.
            for chunk in in_transactions(chunks):
                with transaction(self._connection, self._path, self._patience):
                    with translated(self._path):
                        self._presence.check()
                        index = self._caught_up(index, assigned, latest=keyed)
                    before = before or self._rows.extent(self._seen)
                    numbers += self._rows.register(
                        chunk, index, keyed=keyed, on_changed=on_changed, add=add, state=self.state, before=len(numbers)
                    )
                    self.state.grow(len(self._rows))
        except BaseException:
            if before is not None:
                self._take_back(before)
            raise
        with translated(self._path):
            self._presence.publish()
        return numbers

    def _caught_up(self, index: RowIndex | None, assigned: Sequence[int], *, latest: bool) -> RowIndex:
        """Read the rows that other calls have added, perhaps the same ones, and return the up-to-date index."""
        if index is not None:
            self._rows.catch_up(index)
            self.state.grow(len(self._rows))
            self._catch_up()
            return index
        self._check_spec()
        if self._extent() != self._read_until:
            self._read()
        self._read_until = None
        return self._rows.index(taken=assigned, latest=latest)

    def _take_back(self, before: ReadExtent) -> None:
        """Delete the rows of a frame that cannot be registered as a whole, unless another call may rely on them."""
        with suppress(JournalError), transaction(self._connection, self._path), translated(self._path):
            if not self._presence.shares(self._run):
                self._rows.take_back(before)

    def _check_spec(self) -> None:
        """Raise if another call has changed the run's spec while the run had no rows."""
        (stored,) = self._connection.execute("SELECT pin FROM runs WHERE id = ?", (self._run,)).fetchone()
        if _written(read_spec(self._path, self.name, stored)) != self._spec:
            msg = f"run {self.name!r} was created by another call in the meantime, with other settings: try again"
            raise RunError(msg)

    def content(self, number: int) -> bytes | None:
        return (self._rows.content(number) or None) if number >= 0 else None

    # -- while it is sent -------------------------------------------------------------------------------------------

    async def claim(self, rows: Sequence[int]) -> Sequence[RowState]:
        states: Sequence[RowState] = await self._writer.durably(lambda: self._claim(rows))
        return states

    def _begin(self) -> None:
        """Read what others have written; nobody can write more until this transaction ends."""
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
        states = [self._row_state(row) if row in self._theirs else _NEW_ROW for row in rows]
        mine = [row for row, row_state in zip(rows, states, strict=True) if row_state.state == "new"]
        if mine:
            self._note(CLAIM, pack_rows(mine), None)
        return states

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        self._soon(ANSWER, outcomes)

    async def adopt(self, outcomes: Sequence[Outcome], *, since: float) -> bool:
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

    def update(self, outcomes: Sequence[Outcome]) -> None:
        self._soon(UPDATE, outcomes)

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        self._soon(CORRECTION, outcomes)

    def _soon(self, kind: int, outcomes: Sequence[Outcome]) -> None:
        """Pack the outcomes now, because they may change; write them with the next commit."""
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
        """Return whether another call has claimed the row since, so that this call's doubt does not concern it."""
        row = outcome.position
        if row not in self._theirs or self.state.phases[row] != SENT:
            return False
        return outcome.status == PENDING or self._row_state(row).is_live

    async def flush(self) -> None:
        await self._writer.durably(_nothing)

    def note_stop(self, reason: str | None) -> None:
        self._writer.soon(lambda: self._do("UPDATE runs SET note = ? WHERE id = ?", (reason, self._run)))

    async def row_states(self, rows: Sequence[int]) -> Sequence[RowState]:
        states: Sequence[RowState] = await self._writer.durably(lambda: self._read_row_states(rows))
        return states

    def _read_row_states(self, rows: Sequence[int]) -> Sequence[RowState]:
        # The state does not contain this call's own claims: a row that it retries is there as it was before.
        recorded = [row in self._theirs or self.state.phases[row] == SENT for row in rows]
        return [
            self._row_state(row) if is_recorded else _NEW_ROW for row, is_recorded in zip(rows, recorded, strict=True)
        ]

    def _catch_up(self) -> None:
        for record in records_of(self._connection, self._run, after=self._seen):
            if record.session != self._session:
                rows = unpack_rows(record.rows)
                self.state.grow(max(rows, default=-1) + 1)
                add_records(self.state, (record,), self._path)
                if record.kind != UPDATE:
                    self._theirs.update(rows)
            self._seen = record.number

    def _note(self, kind: int, rows: bytes, body: bytes | None) -> None:
        self._notes.append((self._run, self._session, kind, time.time_ns(), rows, body))

    def _finish(self) -> None:
        """Write the records of a commit at once, in the order in which they were made."""
        if not self._notes:
            return
        first = self._presence.next_number()
        query = "INSERT INTO records (id, run, session, kind, at, rows, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._connection.executemany(query, [(number, *note) for number, note in enumerate(self._notes, start=first)])
        self._presence.note(first + len(self._notes) - 1)
        self._notes.clear()

    # -- what was sent, without a response --------------------------------------------------------------------------

    def _row_state(self, number: int) -> RowState:
        row_state = self.state.row_state(number)
        if row_state.state == "sent":
            return RowState("sent", is_live=self._presence.at_work(self.state.sessions[number]))
        return row_state

    def row_state(self, number: int) -> RowState:
        if self.state.phases[number] != SENT:
            return self.state.row_state(number)
        with translated(self._path):
            return self._row_state(number)

    def lost_requests(self, rows: Sequence[int], *, timeout: float) -> list[LostRequest]:
        claims = {self.state.claims[row] for row in rows} - {NO_CLAIM}
        if not claims:
            return []
        # By a connection of its own: this call's may be waiting for the disk.
        with reading(self._path) as connection:
            return lost_requests(connection, self._rows, self.state, sorted(claims), timeout=timeout)

    async def claimed(self, since: float) -> Claimed:
        def at_work(session: int) -> bool:
            return session != self._session and self._presence.at_work(session)

        result: Claimed = await self._writer.durably(
            lambda: claimed(self._connection, self._path, since, at_work=at_work)
        )
        return result

    def close(self) -> JournalError | None:
        return self._writer.close()

    def _do(self, statement: str, values: Sequence[object] = ()) -> None:
        self._connection.execute(statement, values)

    def _one(self, statement: str, values: Sequence[object] = ()) -> int:
        value: int = self._connection.execute(statement, values).fetchone()[0]
        return value


_DOUBTS: Final = frozenset({PENDING, UNKNOWN})
"""Statuses that do not count for a row that another call has claimed since."""


def _packed(outcomes: Sequence[Outcome]) -> tuple[bytes, bytes]:
    """Pack outcomes of one bulk operation."""
    return pack_rows([outcome.position for outcome in outcomes]), pack_outcomes(outcomes)


def _written(spec: RunSpec) -> str:
    """Return a spec as JSON, the same for equal specs."""
    return json.dumps(asdict(spec), sort_keys=True)


def _nothing() -> None:
    """Add nothing to the next commit."""
