"""Implements `Journal` on the tables of one schema. What only reads never makes them.

The records are those of every implementation: `journal.history`, `journal.settlements` and `journal.stored_runs` read
them. A run's end is its sessions' end: see `migrations`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Final, TypeVar

from ...errors import RunError
from ...models import SettledExecution
from ...postgres_url import PostgresUrl
from .. import history, settlements, stored_runs
from ..base import CapHint, InputsReader, RecentRun, RunContents, RunSpec, RunSummary
from ..tables import Tables, spec_of
from ..upload_queue import read_references, read_uploads
from ..upload_records import UploadRecord
from .connection import Connection, PostgresDatabase, connect, transaction, translated
from .run_journal import PostgresRunJournal
from .server_session import MAX_OUTAGE
from .state import reading_state
from .upload_journal import PostgresUploadJournal

T = TypeVar("T")

_RUNNING: Final = """
    SELECT host, process FROM sessions
    WHERE run = %s AND ended_at IS NULL AND expires_at > now_ns() ORDER BY id LIMIT 1
"""
_RECORD_HINT: Final = """
    INSERT INTO caps (account, level, cap, at) VALUES (%s, %s, %s, %s)
    ON CONFLICT (account) DO UPDATE SET level = excluded.level, cap = excluded.cap, at = excluded.at
"""


@dataclass(frozen=True, slots=True)
class PostgresJournal:
    """The `Journal` in the database at `url`; each method opens and closes a connection.

    `max_wait` is the seconds that a running call waits for a server that is away, if that is less than `MAX_OUTAGE`.
    """

    url: PostgresUrl
    max_wait: float = MAX_OUTAGE

    @property
    def _max_outage(self) -> float:
        return min(self.max_wait, MAX_OUTAGE)

    def exists(self) -> bool:
        with reading_state(self.url) as tables:
            return tables is not None

    def open(self, run: str) -> PostgresRunJournal:
        return PostgresRunJournal(PostgresDatabase(self.url), run, max_outage=self._max_outage)

    def summaries(self) -> list[RunSummary]:
        return self._read(stored_runs.summaries, [])

    def load(self, run: str, take: InputsReader | None = None) -> RunContents:
        with reading_state(self.url) as tables:
            if tables is None:
                raise self._missing(run)
            return stored_runs.load(tables, run, take)

    def delete(self, run: str) -> int:
        if not self.exists():
            raise self._missing(run)
        with (
            closing(connect(self.url)) as connection,
            translated(self.url),
            transaction(connection, self.url.schema),
        ):
            return self._delete(connection, run)

    def _delete(self, connection: Connection, name: str) -> int:
        # A call that enters the run locks it too: it comes before this, and is seen, or after, and finds no run.
        row = connection.execute("SELECT id, size FROM runs WHERE name = %s FOR UPDATE", (name,)).fetchone()
        if row is None:
            raise self._missing(name)
        run, size = row
        running = connection.execute(_RUNNING, (run,)).fetchone()
        if running is not None:
            msg = f"run {name!r} is in progress (in process {running[1]} on {running[0]}): stop it first"
            raise RunError(msg)
        connection.execute("DELETE FROM rows WHERE run = %s", (run,))
        connection.execute("DELETE FROM sheets WHERE run = %s", (run,))
        connection.execute("DELETE FROM records WHERE run = %s", (run,))
        connection.execute("DELETE FROM executions WHERE run = %s", (run,))
        connection.execute("DELETE FROM runs WHERE id = %s", (run,))
        return int(size)

    def _missing(self, run: str) -> RunError:
        with reading_state(self.url) as tables:
            if tables is None:
                return RunError(f"there is no run {run!r} in the journal {self.url} (it holds none)")
            return stored_runs.missing(tables, run)

    def accept_loss(self) -> dict[str, int]:
        # A server that has lost records does not know it; what it keeps is complete (see `connection`).
        return {}

    def spec_of(self, run: str) -> RunSpec | None:
        return self._read(lambda tables: spec_of(tables, run), None)

    def runs_of_ids(self, ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
        return self._read(lambda tables: history.runs_of_ids(tables, ids), {})

    def workflow_ids(self, base_url: str) -> list[str]:
        return self._read(lambda tables: history.workflow_ids(tables, base_url), [])

    def settled(
        self, workflow_id: str, version_id: str | None, base_url: str, *, inputs: bool
    ) -> list[SettledExecution]:
        return self._read(lambda tables: settlements.read(tables, workflow_id, version_id, base_url, inputs=inputs), [])

    def recent_runs(self, spec: RunSpec, since: int, *, without: str | None = None) -> list[RecentRun]:
        return self._read(lambda tables: history.recent_runs(tables, spec, since, without=without), [])

    def last_sent(self, run: str) -> float | None:
        return self._read(lambda tables: history.last_sent(tables, run), None)

    def workers(self, run: str) -> dict[str, str]:
        return self._read(lambda tables: history.workers(tables, run), {})

    def cap_hint(self, account: str) -> CapHint | None:
        return self._read(lambda tables: stored_runs.cap_hint(tables, account), None)

    def record_cap_hint(self, account: str, hint: CapHint | None) -> None:
        with (
            closing(connect(self.url)) as connection,
            translated(self.url),
            transaction(connection, self.url.schema),
        ):
            if hint is None:
                connection.execute("DELETE FROM caps WHERE account = %s", (account,))
            else:
                connection.execute(_RECORD_HINT, (account, hint.level, hint.cap, hint.at))

    def file_references(self) -> dict[str, str]:
        return self._read(read_references, {})

    def uploads(self, account: str) -> list[UploadRecord]:
        return self._read(lambda tables: read_uploads(tables, account), [])

    def open_uploads(self, account: str) -> PostgresUploadJournal:
        return PostgresUploadJournal(PostgresDatabase(self.url), account, max_outage=self._max_outage)

    def _read(self, read: Callable[[Tables], T], absent: T) -> T:
        with reading_state(self.url) as tables:
            return absent if tables is None else read(tables)
