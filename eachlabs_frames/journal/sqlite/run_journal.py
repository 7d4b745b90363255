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
from ...models import INVALID, PENDING, UNKNOWN, Outcome
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
from ..tables import add_record, read_digests, read_records, read_spec, spec_of
from .database import BUSY_TIMEOUT, FileTables, connect, reading, transaction, translated
from .in_flight import claimed, executions_since
from .key_rivals import KeyRivals
from .run_tables import (
    RowTable,
    in_transactions,
    lost_requests,
)
from .session_writer import Session, SqliteWriter

_NEW_ROW: Final = RowState("new")


class SqliteRunJournal:
    """A `RunJournal` in an SQLite file.

    Parameters
    ----------
    path : pathlib.Path
        The journal's file.
    name : str
        The run's name.
    timeout : float
        Seconds that a write waits for another process.

    Raises
    ------
    JournalError
        The file cannot be opened, read or written.
    """

    def __init__(self, path: Path, name: str, *, timeout: float = BUSY_TIMEOUT) -> None:
        self.name = name
        self.lifetime = 0.0
        self._path = path
        self._timeout = timeout
        self._connection = connect(path, timeout=timeout)
        self._tables = FileTables(self._connection, path)
        self._session = Session(self._connection, path)
        self._writer = SqliteWriter(self._connection, path, self._session, begin=self._begin)
        self._run = 0
        self._last_record = 0
        self._data_version = -1
        self._stored_spec = ""
        self._read_extent: tuple[int, int] | None = None
        self._rows_of_others: set[int] = set()
        self._rows = RowTable(self._connection, path, 0)
        self._rivals = KeyRivals()
        self.state = RunState(0)

    # -- before anything is sent ------------------------------------------------------------------------------------

    def spec(self) -> RunSpec | None:
        with translated(self._path):
            return spec_of(self._tables, self.name)

    def enter(
        self, spec: RunSpec, *, index_names: Sequence[str | None] = (None,), rename: Callable[[], str] | None = None
    ) -> None:
        with transaction(self._connection, self._path, self._timeout), translated(self._path, self._timeout):
            self._session.check()
            stored = _encoded(spec)
            query = "SELECT id, pin, EXISTS (SELECT 1 FROM sheets WHERE run = runs.id) FROM runs WHERE name = ?"
            row = self._connection.execute(query, (self.name,)).fetchone()
            while row is not None and rename is not None:
                self.name = rename()
                row = self._connection.execute(query, (self.name,)).fetchone()
            if row is not None and not row[2]:
                # A call that was refused before it registered a row left its name behind: its spec binds nobody.
                self._do("UPDATE runs SET pin = ? WHERE id = ?", (stored, row[0]))
                self._run = row[0]
            elif row is None:
                values = (self.name, stored, json.dumps(list(index_names)), time.time_ns())
                self._do("INSERT INTO runs (name, pin, index_names, created_at) VALUES (?, ?, ?, ?)", values)
                self._run = self._value("SELECT last_insert_rowid()")
            elif _encoded(read_spec(self._tables, self.name, row[1])) != stored:
                raise _other_settings(self.name)
            else:
                self._run = row[0]
            self._stored_spec = stored
            self._session.begin(self._run)
            self._read()

    def withdraw(self) -> None:
        with suppress(JournalError), translated(self._path):
            self._do(
                "DELETE FROM runs WHERE id = ? AND NOT EXISTS (SELECT 1 FROM sheets WHERE run = runs.id) "
                "AND NOT EXISTS (SELECT 1 FROM sessions WHERE run = runs.id AND id <> ?)",
                (self._run, self._session.number),
            )

    def _extent(self) -> tuple[int, int]:
        records = self._value("SELECT coalesce(max(id), 0) FROM records WHERE run = ?", (self._run,))
        return records, self._value("SELECT count(*) FROM sheets WHERE run = ?", (self._run,))

    def _read(self) -> None:
        self._rows = RowTable(self._connection, self._path, self._run)
        self.state = RunState(len(self._rows))
        self._last_record = 0
        for record in read_records(self._tables, self._run):
            add_record(self._tables, self.state, record)
            self._last_record = record[0]
        self._read_extent = self._extent()

    def read_all(self) -> None:
        pass  # `enter` has

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
        before: tuple[int, int] | None = None
        last_record = 0
        try:
            # Chunks are read between the transactions: reading is slow and may call the user's functions.
            for group in in_transactions(chunks):
                with transaction(self._connection, self._path, self._timeout), translated(self._path):
                    self._session.check()
                    index = self._updated(index, assigned, latest=keyed)
                    if before is None:
                        before, last_record = self._rows.extent(), self._last_record
                    for chunk in group:
                        registered = self._rows.register(
                            chunk,
                            index,
                            self.state,
                            on_changed=on_changed if keyed else None,
                            add=add,
                            before=len(numbers),
                        )
                        numbers += registered
                        if keyed:
                            self._rivals.watch(chunk.digests, registered, index, self.state)
                    self.state.grow(len(self._rows))
            if keyed and index is not None and before is not None:
                self._rivals.watch_later(index, before[0], len(self._rows))
        except BaseException:
            if before is not None:
                self._unregister(before, last_record)
            raise
        with translated(self._path):
            self._session.publish()
        return numbers

    def _updated(self, index: RowIndex | None, assigned: Sequence[int], *, latest: bool) -> RowIndex:
        """Read the rows that other calls have added, perhaps the same ones, and return the up-to-date index."""
        if index is not None:
            first, digests = len(self._rows), self._rows.catch_up()
            self.state.grow(len(self._rows))
            self._catch_up()
            index.extend(first, digests)
            return index
        self._check_spec()
        if self._extent() != self._read_extent:
            self._read()
        self._read_extent = None
        return self._rows.index(self.state, taken=assigned, latest=latest)

    def _unregister(self, before: tuple[int, int], last_record: int) -> None:
        """Delete the rows of a frame that cannot be registered as a whole, unless another call may rely on them."""
        with suppress(JournalError), transaction(self._connection, self._path), translated(self._path):
            if not self._session.others_running():
                self._rows.remove_since(before, last_record)

    def _check_spec(self) -> None:
        """Raise if another call has changed the run's spec while the run had no rows."""
        (stored,) = self._connection.execute("SELECT pin FROM runs WHERE id = ?", (self._run,)).fetchone()
        if _encoded(read_spec(self._tables, self.name, stored)) != self._stored_spec:
            raise _other_settings(self.name)

    def content(self, number: int) -> bytes | None:
        return (self._rows.content(number) or None) if number >= 0 else None

    # -- while it is sent -------------------------------------------------------------------------------------------

    async def claim(self, rows: Sequence[int]) -> Sequence[RowState]:
        states: Sequence[RowState] = await self._writer.durably(lambda: self._claim(rows))
        return states

    def _begin(self) -> None:
        """Read what others have written; nobody can write more until this transaction ends."""
        self._session.check()
        data_version = self._value("PRAGMA data_version")  # changes when another connection has written
        if data_version != self._data_version:
            self._catch_up()
            self._data_version = data_version

    def _claim(self, rows: Sequence[int]) -> Sequence[RowState]:
        states = [self._state_to_claim(row) for row in rows]
        granted = [row for row, row_state in zip(rows, states, strict=True) if row_state.state == "new"]
        if granted:
            self._session.append(CLAIM, pack_rows(granted), None)
        return states

    def _state_to_claim(self, row: int) -> RowState:
        if self._rivals.was_sent(row, self.state):
            error = f"its key was sent with another input, by another call of run {self.name!r}: keys must be unique"
            return RowState("settled", Outcome(row, INVALID, error=error))
        return self._row_state(row) if row in self._rows_of_others else _NEW_ROW

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        self._record(ANSWER, outcomes)

    async def adopt(self, outcomes: Sequence[Outcome], *, since: float) -> bool:
        adopted: bool = await self._writer.durably(lambda: self._adopt(outcomes, since))
        return adopted

    def _adopt(self, outcomes: Sequence[Outcome], since: float) -> bool:
        # In the transaction that writes, and after the records that are before it in the same one: two searches may
        # have read the same listing.
        self._session.write_records()
        existing = executions_since(self._tables, since)
        if any(outcome.execution_id in existing for outcome in outcomes):
            return False
        self._session.append(ANSWER, *_packed(outcomes))
        return True

    def update(self, outcomes: Sequence[Outcome]) -> None:
        self._record(UPDATE, outcomes)

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        self._record(CORRECTION, outcomes)

    def _record(self, kind: int, outcomes: Sequence[Outcome]) -> None:
        """Pack the outcomes now, because they may change; write them with the next commit."""
        uncertain = [outcome for outcome in outcomes if kind == ANSWER and outcome.status in _UNCERTAIN]
        certain = [outcome for outcome in outcomes if kind != ANSWER or outcome.status not in _UNCERTAIN]
        packed = _packed_by_bulk(certain)
        if packed or uncertain:
            self._writer.soon(partial(self._append, kind, packed, uncertain))

    def _append(self, kind: int, packed: list[tuple[bytes, bytes]], uncertain: list[Outcome]) -> None:
        own = [outcome for outcome in uncertain if not self._is_superseded(outcome)]
        for rows, body in _packed_by_bulk(own) + packed:
            self._session.append(kind, rows, body)

    def _is_superseded(self, outcome: Outcome) -> bool:
        """Return whether another call has claimed the row since, so that an uncertain outcome does not apply to it."""
        row = outcome.position
        if row not in self._rows_of_others or self.state.phases[row] != SENT:
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
        recorded = [row in self._rows_of_others or self.state.phases[row] == SENT for row in rows]
        return [
            self._row_state(row) if is_recorded else _NEW_ROW for row, is_recorded in zip(rows, recorded, strict=True)
        ]

    def _catch_up(self) -> None:
        """Apply the records that other calls have written since."""
        for record in read_records(self._tables, self._run, after=self._last_record):
            number, session, kind, packed_rows, _ = record
            if session != self._session.number:
                self.state.grow(max(unpack_rows(packed_rows), default=-1) + 1)
                rows = add_record(self._tables, self.state, record)
                if kind != UPDATE:
                    self._rows_of_others.update(rows)
                    self._rivals.find(rows, self._digests_from)
            self._last_record = number

    def _digests_from(self, row: int) -> bytearray:
        return read_digests(self._tables, self._run, first=row)[0]

    # -- what was sent, without a response --------------------------------------------------------------------------

    def _row_state(self, number: int) -> RowState:
        row_state = self.state.row_state(number)
        if row_state.state == "sent":
            return RowState("sent", is_live=self._session.is_running(self.state.sessions[number]))
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
        def is_other(session: int) -> bool:
            return session != self._session.number and self._session.is_running(session)

        result: Claimed = await self._writer.durably(lambda: claimed(self._tables, since, is_running=is_other))
        return result

    def close(self) -> JournalError | None:
        failure = self._writer.close()
        self.state = RunState(0)  # it may take as much memory as the frame, which is written now
        return failure

    def _do(self, statement: str, values: Sequence[object] = ()) -> None:
        self._connection.execute(statement, values)

    def _value(self, statement: str, values: Sequence[object] = ()) -> int:
        value: int = self._connection.execute(statement, values).fetchone()[0]
        return value


_UNCERTAIN: Final = frozenset({PENDING, UNKNOWN})
"""Statuses that do not apply to a row that another call has claimed since."""


def _packed_by_bulk(outcomes: Iterable[Outcome]) -> list[tuple[bytes, bytes]]:
    return [_packed(list(group)) for _, group in groupby(outcomes, key=attrgetter("bulk_id"))]


def _packed(outcomes: Sequence[Outcome]) -> tuple[bytes, bytes]:
    """Pack outcomes of one bulk operation."""
    return pack_rows([outcome.position for outcome in outcomes]), pack_outcomes(outcomes)


def _encoded(spec: RunSpec) -> str:
    """Return a spec as JSON, the same for equal specs."""
    return json.dumps(asdict(spec), sort_keys=True)


def _other_settings(name: str) -> RunError:
    return RunError(f"run {name!r} was created by another call in the meantime, with other settings: try again")


def _nothing() -> None:
    """Add nothing to the next commit."""
