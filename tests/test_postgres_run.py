from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from eachlabs_frames.errors import JournalError
from eachlabs_frames.journal import open_journal
from eachlabs_frames.journal.base import RunJournal
from eachlabs_frames.journal.postgres.connection import PostgresDatabase, connect
from eachlabs_frames.journal.postgres.run_journal import PostgresRunJournal
from eachlabs_frames.journal.postgres.upload_journal import PostgresUploadJournal
from eachlabs_frames.models import Outcome
from eachlabs_frames.postgres_url import PostgresUrl
from tests.forks import holds_in_fork
from tests.test_journal_contract import PIN, claim, queued, sheet, upload

pytestmark = pytest.mark.postgres


class LossyDatabase(PostgresDatabase):
    """A database whose connection is lost at one statement: before it, or after it is committed.

    Parameters
    ----------
    url : PostgresUrl
    at : int
        The number of the statement, of all connections; 0 for none.
    is_done : bool
        Whether the statement is done and its reply is lost.
    """

    def __init__(self, url: PostgresUrl, at: int = 0, *, is_done: bool = False) -> None:
        super().__init__(url)
        self.statements: list[str] = []
        self.at, self.is_done = at, is_done

    def connect(self) -> Any:
        return LossyConnection(super().connect(), self)


class LossyConnection:
    def __init__(self, connection: Any, database: LossyDatabase) -> None:
        self._connection, self._database = connection, database

    def execute(self, query: Any, values: Any = ()) -> Any:
        database = self._database
        database.statements.append(query if isinstance(query, str) else query.as_string())
        if len(database.statements) != database.at:
            return self._connection.execute(query, values)
        if database.is_done:
            self._connection.execute(query, values)
        self._connection.close()
        msg = "server closed the connection unexpectedly"
        raise psycopg.OperationalError(msg)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def opened(database: PostgresDatabase, rows: int = 20) -> PostgresRunJournal:
    """Open the run and register its rows."""
    entry = PostgresRunJournal(database, "r")
    try:
        entry.enter(PIN)
        assert entry.register([sheet(range(rows))]) == list(range(rows))
    except BaseException:
        entry.close()
        raise
    return entry


def executions(url: PostgresUrl) -> dict[int, str | None]:
    """Return the executions in the journal."""
    results = open_journal(url).load("r").state.results
    return {row: results.execution_id[row] for row in range(results.size) if results.execution_id[row]}


def test_each_row_is_granted_to_one_of_eight_calls(postgres_url: PostgresUrl) -> None:
    """They claim the same rows at once, each in an order of its own."""
    rows = 200
    registered = threading.Barrier(8)

    def claim_all(seed: int) -> list[int]:
        numbers = list(range(rows))
        random.Random(seed).shuffle(numbers)
        groups = [numbers[start : start + 10] for start in range(0, rows, 10)]
        with closing(opened(PostgresDatabase(postgres_url), rows)) as entry:
            registered.wait(120)
            said = asyncio.run(_claim_groups(entry, groups))
        return [row for row, state in zip(numbers, said, strict=True) if state == "new"]

    with ThreadPoolExecutor(8) as pool:
        granted = Counter(row for rows_of_one in pool.map(claim_all, range(8)) for row in rows_of_one)
    assert granted == Counter(range(rows))


async def _claim_groups(entry: RunJournal, groups: list[list[int]]) -> list[str]:
    claims = await asyncio.gather(*(entry.claim(group) for group in groups))
    return [state.state for states in claims for state in states]


def test_what_is_claimed_and_answered_at_once_is_one_statement(postgres_url: PostgresUrl) -> None:
    """Whatever is in a group takes one round trip."""
    database = LossyDatabase(postgres_url)
    with closing(opened(database)) as entry:
        claim(entry, 0, 1, 2)
        before = len(database.statements)
        entry.settle([*queued(0, 1), Outcome(2, "pending")])
        assert asyncio.run(_claim_groups(entry, [[3, 4], [5], [6, 7]])) == ["new"] * 5
        assert len(database.statements) == before + 1
    assert executions(postgres_url) == {0: "e0", 1: "e1"}


def _send(entry: RunJournal, accepted: Counter[str]) -> None:
    """Send all rows that are granted, and note what the API has accepted."""
    for first in (0, 10):
        rows = range(first, first + 10)
        states = asyncio.run(_claim_groups(entry, [list(rows)]))
        granted = [row for row, state in zip(rows, states, strict=True) if state == "new"]
        accepted.update(f"e{row}" for row in granted)
        if granted:
            entry.settle(queued(*granted))


def recorded(connection: Any, schema: str) -> dict[str, int]:
    """Count the claims of requests, and the rows in all answers: one that is written twice counts twice."""
    query = (
        "SELECT count(*) FILTER (WHERE kind = 0), coalesce(sum(length(rows) / 4) FILTER (WHERE kind = 1), 0) "
        f"FROM {schema}.records"
    )
    claims, answers = connection.execute(query).fetchone()
    return {"claims": claims, "answers": int(answers)}


@pytest.mark.parametrize("is_done", [False, True], ids=["not-done", "done"])
def test_a_connection_lost_at_any_statement_loses_and_repeats_nothing(postgres_url: PostgresUrl, is_done: bool) -> None:
    """Also if the statement was a claim, and was committed, and its reply was lost."""
    with connect(postgres_url) as connection:
        for at in range(1, 30):
            database = LossyDatabase(postgres_url, at, is_done=is_done)
            accepted: Counter[str] = Counter()
            for _ in range(3):  # a call that could not begin is made again
                try:
                    entry = opened(database)
                except JournalError:
                    continue
                with closing(entry):
                    _send(entry, accepted)
                break
            assert accepted == Counter(f"e{row}" for row in range(20))
            assert executions(postgres_url) == {row: f"e{row}" for row in range(20)}
            assert recorded(connection, postgres_url.schema) == {"claims": 2, "answers": 20}
            if len(database.statements) < at:
                return
            for table in ("sheets", "rows", "records", "executions", "runs"):
                connection.execute(f"DELETE FROM {postgres_url.schema}.{table}")  # type: ignore[arg-type]
    pytest.fail("a call has more statements than were tried")


def test_a_late_answer_of_a_replaced_claim_takes_nothing_away(postgres_url: PostgresUrl) -> None:
    """The row keeps the execution of the call that claimed it last; giving back and doubts do not apply."""
    late, other = opened(PostgresDatabase(postgres_url)), opened(PostgresDatabase(postgres_url))
    with closing(late), closing(other):
        claim(late, 0, 1)
        with connect(postgres_url) as connection:
            connection.execute(f"UPDATE {postgres_url.schema}.sessions SET expires_at = 0")  # type: ignore[arg-type]
        again = opened(PostgresDatabase(postgres_url))
        with closing(again):
            again.settle([Outcome(row, "unknown", error="lost") for row in (0, 1)])
            assert claim(again, 0, 1) == ["new", "new"]
            again.settle(queued(0, by="again"))
            asyncio.run(again.flush())
            late.settle([*queued(0, by="late"), Outcome(1, "pending")])
            asyncio.run(late.flush())
            assert claim(other, 1) == ["sent"]
            (state,) = asyncio.run(other.claim([0]))
            assert state.outcome is not None
            assert (state.state, state.outcome.execution_id) == ("settled", "again0")
    assert executions(postgres_url) == {0: "again0"}


def test_no_statement_reads_all_of_a_table(postgres_url: PostgresUrl) -> None:
    """Also while the planner knows that the tables are small: it would keep such a plan when they are large."""
    connect(postgres_url).close()  # the tables' indexes are made by reading all of them
    database = CountingDatabase(postgres_url)
    with closing(opened(database)) as entry, connect(postgres_url) as connection:
        for table in ("rows", "records", "executions", "sheets"):
            connection.execute(f"VACUUM ANALYZE {postgres_url.schema}.{table}")  # type: ignore[arg-type]
        claim(entry, 0, 1)
        entry.settle(queued(0, 1))
        asyncio.run(entry.flush())
        assert claim(entry, 2) == ["new"]
    assert database.scans
    assert set(database.scans) == {0}


class CountingDatabase(PostgresDatabase):
    """Counts the sequential scans of the tables that grow, in each statement."""

    def __init__(self, url: PostgresUrl) -> None:
        super().__init__(url)
        self.scans: list[int] = []
        self.connections = 0

    def connect(self) -> Any:
        self.connections += 1
        return CountingConnection(super().connect(), self)


class CountingConnection:
    def __init__(self, connection: Any, database: CountingDatabase) -> None:
        self._connection, self._database = connection, database

    def execute(self, query: Any, values: Any = ()) -> Any:
        with self._connection.transaction():
            cursor = self._connection.execute(query, values)
            scans = (
                "SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_xact_user_tables "
                "WHERE schemaname = %s AND relname IN ('rows', 'records', 'executions', 'sheets')"
            )
            row = self._connection.execute(scans, (self._database.schema,)).fetchone()
            self._database.scans.append(int(row[0]))
        return cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_an_upload_is_recorded_though_the_connection_is_lost(postgres_url: PostgresUrl) -> None:
    """At any statement: the next connection does it again."""
    for at in range(1, 20):
        database = LossyDatabase(postgres_url, at)
        account = PostgresUploadJournal(database, f"a{at}")
        with closing(account):
            asyncio.run(account.begin(upload(1)))
            account.complete("f1", 2_000)
        assert open_journal(postgres_url).uploads(f"a{at}") == [replace(upload(1), uploaded_at=2_000)]
        if len(database.statements) < at:
            return
    pytest.fail("an upload has more statements than were tried")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_use_its_parents_connection(postgres_url: PostgresUrl) -> None:
    """It is told to call again, and its own calls have a connection of their own; the parent's goes on."""
    database = CountingDatabase(postgres_url)
    entry = opened(database)
    claim(entry, 0)

    def is_refused_and_has_its_own() -> bool:
        with pytest.raises(JournalError, match="fork"):
            claim(entry, 1)
        with closing(opened(PostgresDatabase(postgres_url))) as own:
            is_granted = claim(own, 2) == ["new"]
        return entry.close() is None and is_granted

    assert holds_in_fork(is_refused_and_has_its_own)
    assert claim(entry, 1) == ["new"]
    entry.settle(queued(0, 1))
    assert entry.close() is None
    assert executions(postgres_url) == {0: "e0", 1: "e1"}
    assert database.connections == 1


@pytest.mark.parametrize("seconds", [3_600.0, -3_600.0])
def test_a_machine_with_a_wrong_clock_judges_others_by_the_servers(
    postgres_url: PostgresUrl, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Whether they are running; and when they sent what is lost is in its own time."""
    first = opened(PostgresDatabase(postgres_url))
    with closing(first):
        claim(first, 0)
        now, now_ns = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: now() + seconds)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(seconds * 1e9))
        other = opened(PostgresDatabase(postgres_url))
        with closing(other):
            assert other.row_state(0).is_live
            (lost,) = other.lost_requests([0], timeout=10.0)
            assert lost.since <= time.time() + 1.0
            assert lost.since >= time.time() - 120.0
            claimed = asyncio.run(other.claimed(time.time() - 120.0))
            assert all(abs(at - time.time()) < 120.0 for at in claimed.fingerprints.values())
            assert len(claimed.fingerprints) == 1


def test_two_schemas_of_a_database_are_two_journals(postgres_url: PostgresUrl) -> None:
    """A row, and an execution, may be in both."""
    other_url = PostgresUrl(postgres_url.reveal(), f"{postgres_url.schema}_b")
    try:
        for url in (postgres_url, other_url):
            with closing(opened(PostgresDatabase(url))) as entry:
                assert claim(entry, 0) == ["new"]
                assert asyncio.run(entry.adopt(queued(0), since=0.0))
            assert executions(url) == {0: "e0"}
        assert open_journal(postgres_url).delete("r") == 20
        assert executions(other_url) == {0: "e0"}
    finally:
        with connect(postgres_url) as connection:
            connection.execute(f"DROP SCHEMA {other_url.schema} CASCADE")  # type: ignore[arg-type]
