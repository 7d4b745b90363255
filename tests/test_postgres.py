"""The journal in PostgreSQL: its setting, its connection, and what is wrong with either."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import traceback

import psycopg
import pytest

import eachlabs_frames as ef
from eachlabs_frames.errors import ConfigurationError, JournalError
from eachlabs_frames.journal.postgres import migrations
from eachlabs_frames.journal.postgres.connection import connect, reading
from eachlabs_frames.postgres_url import PostgresUrl
from eachlabs_frames.sandbox import Sandbox
from eachlabs_frames.settings import current_journal

from .postgres import free_port

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
    """Reading makes none; two that make them at once, and a third later, find one version."""
    with reading(postgres_url) as connection:
        assert connection is None
    threads = [threading.Thread(target=lambda: connect(postgres_url).close()) for _ in range(2)]
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


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("synchronous_commit = off", "is not durable: its server has synchronous_commit=off"),
        ("default_transaction_read_only = on", "is on a read-only server"),
    ],
)
def test_a_server_that_cannot_keep_a_claim_is_refused(postgres_url: PostgresUrl, setting: str, message: str) -> None:
    """A claim that is forgotten means a row that is paid for twice."""
    role = f"{postgres_url.schema}_role"
    with psycopg.connect(postgres_url.reveal(), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
        try:
            admin.execute(f"ALTER ROLE {role} SET {setting}")
            with pytest.raises(JournalError, match=message):
                connect(PostgresUrl(postgres_url.reveal().replace("postgres@", f"{role}@"), postgres_url.schema))
        finally:
            admin.execute(f"DROP ROLE {role}")


@pytest.mark.postgres
def test_a_user_without_the_right_to_make_the_schema_is_told_which(postgres_url: PostgresUrl) -> None:
    """The message names the right that is missing."""
    role = f"{postgres_url.schema}_role"
    with psycopg.connect(postgres_url.reveal(), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN")
        try:
            with pytest.raises(
                JournalError, match=r"has not the rights that it needs .*: grant CREATE on the database"
            ):
                connect(PostgresUrl(postgres_url.reveal().replace("postgres@", f"{role}@"), postgres_url.schema))
        finally:
            admin.execute(f"DROP ROLE {role}")


@pytest.mark.postgres
def test_a_database_that_does_not_exist_is_said(postgres_url: PostgresUrl) -> None:
    """The message names it."""
    other = PostgresUrl(postgres_url.reveal().replace("/postgres", "/missing"))
    with pytest.raises(JournalError, match=r'does not exist .*"missing"'):
        connect(other)


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
    frame = frame.eachlabs.wait(progress=False)
    assert set(frame["status"]) == {"completed"}
    assert set(ef.load_run("shared")["status"]) == {"completed"}
    frame.eachlabs.dashboard()
    assert ef.delete_run("shared") == 200
    assert ef.runs().empty
