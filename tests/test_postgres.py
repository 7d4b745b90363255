"""The journal in PostgreSQL: its setting, its connection, and what is wrong with either."""

from __future__ import annotations

import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.errors import ConfigurationError, JournalError
from eachlabs_frames.journal.postgres import migrations
from eachlabs_frames.journal.postgres.connection import connect, reading
from eachlabs_frames.postgres_url import PostgresUrl
from eachlabs_frames.sandbox import Sandbox
from eachlabs_frames.settings import current_journal

from .postgres import Server, free_port, running_pooler, until

SECRET = "pa55word"
WF = "wf_abc123"


# -- the setting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://ann:{SECRET}@db.example:5433/jobs", "postgresql://ann@db.example:5433/jobs"),
        (f"postgres://ann@db/jobs?password={SECRET}&sslmode=require", "postgresql://ann@db/jobs"),
        (f"postgresql:///jobs?host=/run/pg&sslpassword={SECRET}", "postgresql:///jobs?host=/run/pg"),
        (f"postgresql://db/jobs?pass%77ord={SECRET}", "postgresql://db/jobs"),
        (f"postgresql://ann:%20{SECRET}@a:1,b:2/jobs", "postgresql://ann@a:1,b:2/jobs"),
    ],
)
def test_a_postgres_url_is_shown_without_its_password(url: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By configure() and by the environment, in repr, str and the settings' repr."""
    settings = ef.configure(journal=url)
    assert repr(settings.journal) == str(settings.journal) == shown
    assert SECRET not in repr(settings)
    ef.configure(journal=True)
    monkeypatch.setenv("EACHLABS_JOURNAL", url)
    assert current_journal() == settings.journal


@pytest.mark.parametrize(
    "value",
    [
        f"postgresql://ann:{SECRET}/x@db/jobs",
        f"postgresql://ann:{SECRET}@x@db/jobs",
        f"postgresql:ann:{SECRET}@db",
        f"host=db user=ann password={SECRET}",
        f"dbname=jobs password = {SECRET}",
    ],
)
def test_an_unclear_postgres_url_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which part of it is the password cannot be told, so none of it is in the message; nor is it taken as a path."""
    with pytest.raises(ConfigurationError, match="postgresql://user:password@host:port/database") as caught:
        ef.configure(journal=value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    monkeypatch.setenv("EACHLABS_JOURNAL", value)
    with pytest.raises(ConfigurationError):
        current_journal()


def test_a_postgres_url_is_not_pickled() -> None:
    """A task graph that holds it would carry the password to other machines and into their logs."""
    settings = ef.configure(journal=f"postgresql://ann:{SECRET}@db/jobs")
    for value in (settings, settings.journal):
        with pytest.raises(TypeError, match="EACHLABS_JOURNAL"):
            pickle.dumps(value)


def test_a_schema_with_other_characters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema's name is written into statements."""
    monkeypatch.setenv("EACHLABS_SCHEMA", 'jobs"; DROP')
    with pytest.raises(ConfigurationError, match="EACHLABS_SCHEMA must be lower-case letters"):
        ef.configure(journal="postgresql://db/jobs")


# -- the connection ---------------------------------------------------------------------------------------------------


def _problem(url: str) -> str:
    """Return what connecting raises; neither its message nor its traceback has the password."""
    with pytest.raises(JournalError) as caught:
        connect(PostgresUrl(url))
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    return str(caught.value)


def test_a_server_that_is_away_is_said_in_a_sentence() -> None:
    """With the address, and without the password."""
    port = free_port()
    message = _problem(f"postgresql://ann:{SECRET}@127.0.0.1:{port}/jobs")
    assert message.startswith(f"the server of the journal postgresql://ann@127.0.0.1:{port}/jobs cannot be reached (")


def test_a_url_that_the_driver_refuses_is_not_quoted() -> None:
    """Its error quotes the part that it cannot decode, which may be the password."""
    assert "is not one that PostgreSQL accepts" in _problem(f"postgresql://ann:%zz{SECRET}@127.0.0.1/jobs")


@pytest.mark.postgres
def test_the_tables_are_made_once(postgres_url: PostgresUrl) -> None:
    """Reading makes none; four that make them at once, and a fifth later, find one version."""
    with reading(postgres_url) as connection:
        assert connection is None
    threads = [threading.Thread(target=lambda: connect(postgres_url).close()) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    with connect(postgres_url) as connection:
        assert migrations.version(connection, postgres_url.schema) == len(migrations.MIGRATIONS)
    with reading(postgres_url) as connection:
        assert connection is not None
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


@pytest.mark.postgres
def test_tables_of_a_newer_version_are_refused(postgres_url: PostgresUrl) -> None:
    """To write and to read."""
    with connect(postgres_url) as connection:
        connection.execute(f"UPDATE {postgres_url.schema}.meta SET version = 99")
    with pytest.raises(JournalError, match="written by a newer eachlabs-frames \\(version 99"):
        connect(postgres_url)
    with pytest.raises(JournalError, match="upgrade the package"), reading(postgres_url):
        pass


@pytest.fixture
def role(own_server: Server) -> Iterator[str]:
    """Return the name of a user that may log in, and nothing else."""
    own_server.execute("CREATE ROLE part LOGIN")
    yield "part"
    own_server.execute("DROP OWNED BY part CASCADE", "DROP ROLE part")


@pytest.fixture
def refusal(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Make a function that returns why a call is refused. Nothing is sent, and the password is shown nowhere."""
    caplog.set_level(logging.DEBUG)

    def call() -> str:
        with pytest.raises(JournalError) as caught:
            pd.DataFrame({"prompt": ["a"]}).eachlabs.bulk_trigger("wf_free", ["prompt"], run="r", progress=False)
        assert sandbox.accepted_count() == 0
        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        for shown in ("".join(frames.format()), repr(caught.value), caplog.text, repr(ef.configure())):
            assert SECRET not in shown
        message, lines = str(caught.value), str(caught.value).splitlines()
        assert lines == [message]
        return message

    return call


@pytest.mark.postgres
def test_a_login_that_fails_is_explained_without_the_password(
    own_server: Server, refusal: Callable[[], str], role: str
) -> None:
    """The password, the user, the database, the server's rules, the host, TLS."""
    own_server.execute("ALTER ROLE part PASSWORD 'another'")
    rules = own_server.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host postgres {role} all scram-sha-256\nhost template1 {role} all reject\n{before}")
    try:
        own_server.execute("SELECT pg_reload_conf()")
        until(lambda: "refuses the user or the password" in _refusal_of(refusal, own_server.url_of(f"{role}:{SECRET}")))
        for url, message in (
            (own_server.url_of(role), "refuses the user or the password .* no password supplied"),
            (own_server.url_of(f"nobody:{SECRET}"), 'or the user of the journal .* does not exist .*"nobody"'),
            (own_server.url_of(f"postgres:{SECRET}") + "2", 'does not exist .*"postgres2" does not exist'),
            (own_server.url_of(f"{role}:{SECRET}").replace("/postgres", "/template1"), r"change its pg_hba\.conf"),
            (own_server.url_of(f"postgres:{SECRET}") + "?sslmode=require", "cannot be reached .*SSL was required"),
            (f"postgresql://ann:{SECRET}@no-such-host.invalid/jobs", "cannot be reached .*no-such-host.invalid"),
        ):
            assert re.search(message, _refusal_of(refusal, url))
    finally:
        rules.write_text(before)
        own_server.execute("SELECT pg_reload_conf()")


def _refusal_of(refusal: Callable[[], str], url: str) -> str:
    ef.configure(journal=url)
    del url  # the traceback has no other variable with it than those of the product
    return refusal()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "synchronous_commit = off",
            "is not durable: its server has synchronous_commit=off.* for this database or user",
        ),
        ("default_transaction_read_only = on", "is on a read-only server"),
        ("default_transaction_isolation = serializable", "needs default_transaction_isolation='read committed', not"),
        ("standard_conforming_strings = off", "needs standard_conforming_strings='on', not 'off'"),
        ("statement_timeout = '1ms'", "has stopped a statement .*: raise statement_timeout"),
    ],
)
def test_settings_that_a_journal_cannot_work_with_are_refused(
    own_server: Server, refusal: Callable[[], str], role: str, setting: str, message: str
) -> None:
    """A claim that is forgotten means a row that is paid for twice."""
    own_server.execute("GRANT CREATE ON DATABASE postgres TO part", f"ALTER ROLE part SET {setting}")
    assert re.search(message, _refusal_of(refusal, own_server.url_of(f"{role}:{SECRET}")))


@pytest.mark.postgres
@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_may_forget_what_it_has_committed_is_refused(
    own_server: Server, refusal: Callable[[], str], setting: str
) -> None:
    """These are settings of the whole server."""
    own_server.execute(f"ALTER SYSTEM SET {setting} = off", "SELECT pg_reload_conf()")
    try:
        until(lambda: own_server.setting(setting) == "off")
        message = _refusal_of(refusal, own_server.url_of(f"postgres:{SECRET}"))
        assert f"its server has {setting}=off, so it may forget what was sent" in message
    finally:
        own_server.execute(f"ALTER SYSTEM RESET {setting}", "SELECT pg_reload_conf()")
        until(lambda: own_server.setting(setting) == "on")


@pytest.mark.postgres
def test_a_replica_is_read_and_not_written(
    own_server: Server, postgres_schema: str, refusal: Callable[[], str], sandbox: Sandbox
) -> None:
    """A server in recovery has the runs of its primary."""
    connect(PostgresUrl(own_server.url)).close()
    own_server.stop("fast")
    try:
        own_server.start(standby=True)
        assert "is on a read-only server (a replica?)" in _refusal_of(refusal, own_server.url_of(f"postgres:{SECRET}"))
        assert ef.runs().empty
    finally:
        own_server.promote()


@pytest.mark.postgres
def test_a_user_without_the_rights_is_told_which(
    own_server: Server, postgres_schema: str, refusal: Callable[[], str], role: str, sandbox: Sandbox
) -> None:
    """To make the schema, to use that of another user, to write in it, and to delete a run."""
    _refusal_of(refusal, own_server.url_of(f"{role}:{SECRET}"))
    denied = "has not the rights that it needs \\(permission denied for {}.*connect as the user that owns the schema"
    assert re.search(denied.format("database postgres"), refusal())
    connect(PostgresUrl(own_server.url)).close()
    assert re.search(denied.format(f"schema {postgres_schema}"), refusal())
    own_server.execute(
        f"GRANT USAGE ON SCHEMA {postgres_schema} TO part",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {postgres_schema} TO part",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {postgres_schema} TO part",
    )
    assert re.search(denied.format("table runs"), refusal())
    own_server.execute(f"GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA {postgres_schema} TO part")
    pd.DataFrame({"prompt": ["a"]}).eachlabs.bulk_trigger("wf_free", ["prompt"], run="r", progress=False)
    with pytest.raises(JournalError, match=denied.format("table rows")):
        ef.delete_run("r")
    assert ef.load_run("r")["status"].tolist() == ["queued"]


@pytest.mark.postgres
def test_a_connection_that_the_server_ends_when_it_is_idle_is_replaced(
    own_server: Server, postgres_schema: str, role: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Between two requests of a call: nobody notices."""
    own_server.execute(
        "GRANT CREATE ON DATABASE postgres TO part",
        "ALTER ROLE part SET idle_session_timeout = '1s'",  # a busy machine may leave a new connection idle for less
        "ALTER ROLE part SET idle_in_transaction_session_timeout = '10s'",
    )
    sandbox.change(latency=1.3)
    ef.configure(journal=own_server.url_of(role), max_concurrency=1)
    frame = pd.DataFrame({"prompt": [f"p{row}" for row in range(20)]})
    out = frame.eachlabs.bulk_trigger("wf_free", ["prompt"], run="r", progress=False)
    assert set(out["status"]) == {"queued"}
    assert out["execution_id"].nunique() == sandbox.accepted_count() == 20
    assert ef.load_run("r")["execution_id"].tolist() == out["execution_id"].tolist()
    assert not caplog.records


@pytest.mark.postgres
def test_calls_share_a_transaction_pooler(own_server: Server, postgres_schema: str, sandbox: Sandbox) -> None:
    """More of them than it has connections: each transaction of a call may use another one, which is reset."""
    sandbox.change(latency=0.02)
    frame = pd.DataFrame({"prompt": [f"p{row}" for row in range(100)]})
    with running_pooler(own_server, "transaction") as url, ThreadPoolExecutor(4) as pool:
        ef.configure(journal=url, max_concurrency=2)
        calls = [
            pool.submit(frame.eachlabs.bulk_trigger, "wf_free", ["prompt"], run="r", progress=False) for _ in range(4)
        ]
        executions = [call.result(240)["execution_id"].tolist() for call in calls]
        assert executions == [ef.load_run("r")["execution_id"].tolist()] * 4
        assert len(set(executions[0])) == sandbox.accepted_count() == 100
        assert ef.delete_run("r") == 100


@pytest.mark.postgres
def test_a_statement_pooler_is_refused(own_server: Server, postgres_schema: str, refusal: Callable[[], str]) -> None:
    """It has no transactions."""
    with running_pooler(own_server, "statement") as url:
        message = _refusal_of(refusal, url.replace("anyone", f"anyone:{SECRET}"))
    assert message.endswith(": use transaction or session pooling")


# -- a run ------------------------------------------------------------------------------------------------------------

_CALL = """
import pandas as pd, sys
import eachlabs_frames
frame = pd.DataFrame({"prompt": [f"p{row}" for row in range(200)]})
frame.eachlabs.bulk_trigger(sys.argv[1], {"prompt": "prompt"}, run="shared", progress=False)
"""


@pytest.mark.postgres
def test_two_processes_that_share_a_run_send_each_row_once(postgres_journal: PostgresUrl, sandbox: Sandbox) -> None:
    """Then the run is read, refreshed, shown and deleted by a third, as with a file."""
    environment = os.environ | {"EACHLABS_BASE_URL": sandbox.base_url, "EACHLABS_API_KEY": sandbox.api_key}
    command = [sys.executable, "-c", _CALL, WF]
    calls = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [call.wait(240) for call in calls] == [0, 0]
    ef.configure(journal=postgres_journal.reveal())
    runs = ef.runs()
    assert runs["run"].tolist() == ["shared"]
    frame = ef.load_run("shared")
    assert frame["execution_id"].nunique() == len(frame) == 200
    assert len(sandbox.executions) == 200
    assert set(frame.eachlabs.refresh()["status"]) == {"completed"}
    assert set(ef.load_run("shared")["status"]) == {"completed"}
    frame = frame.eachlabs.wait(progress=False)
    assert set(frame["status"]) == {"completed"}
    assert frame.eachlabs.summary()["total"].sum() == 200
    assert set(frame.eachlabs.dashboard().frame["status"]) == {"completed"}
    assert ef.accept_journal_loss() == {}
    assert ef.delete_run("shared") == 200
    assert ef.runs().empty
