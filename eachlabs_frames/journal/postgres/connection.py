"""Connections to the journal's database: opens them, checks the server, and translates its errors.

A connection keeps no state in the session, so that a pooler in transaction mode may stand between. Knows nothing of
rows. No message has the password.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from ...errors import EachlabsError, JournalError
from ...postgres_url import PostgresUrl
from . import migrations

CONNECT_TIMEOUT: Final = 10
"""Seconds that opening a connection may take, unless the URL says otherwise."""

_DEFAULTS: Final = {
    "connect_timeout": CONNECT_TIMEOUT,
    "client_encoding": "UTF8",
    "application_name": "eachlabs-frames",
    # A server that vanishes without a word is noticed: libpq itself would wait for as long as TCP does.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

_AWAY: Final = ("08", "25006", "25P03", "57P01", "57P02", "57P03", "57P05")
"""SQLSTATEs of a connection that is lost or was idle too long, or of a server that stops, starts or is a replica."""

_PROTOCOL_VIOLATION: Final = "08P01"

Connection = psycopg.Connection[tuple[Any, ...]]


def connect(url: PostgresUrl) -> Connection:
    """Open the journal to write to it; make its tables if they are missing, and bring them to this version.

    Raises
    ------
    JournalError
        The server cannot be reached or refuses the connection, does not store commits durably or is a read-only
        replica, or the tables cannot be made or are a newer version's.
    """
    with translated(url):
        return PostgresDatabase(url).connect()


class PostgresDatabase:
    """A journal's database, for whoever translates errors later, because it tries again.

    Parameters
    ----------
    url : PostgresUrl
    """

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url
        self.schema = url.schema

    def __str__(self) -> str:
        return str(self._url)

    def connect(self) -> Connection:
        """Open the journal as `connect` does; raises `psycopg.Error` if the server is away."""
        connection = _open(self._url)
        try:
            _check_server(connection, self._url)
            migrations.migrate(connection, self.schema)
        except BaseException:
            connection.close()
            raise
        return connection

    def error(self, exc: psycopg.Error) -> JournalError:
        """Return what an error means to the user, without the password."""
        return journal_error(exc, self._url)


@contextmanager
def reading(url: PostgresUrl) -> Iterator[Connection | None]:
    """Open the journal to read one state of it, whatever others write meanwhile; None if it has no tables.

    Raises
    ------
    JournalError
        The server cannot be reached or refuses the connection, or the tables are a newer version's.
    """
    with translated(url), closing(_open(url)) as connection:
        found = migrations.version(connection, url.schema)
        migrations.check_version(found, url.schema)
        if found is None:
            yield None
            return
        if found < len(migrations.MIGRATIONS):
            migrations.migrate(connection, url.schema)
        with transaction(connection, url.schema):
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection


@contextmanager
def transaction(connection: Connection, schema: str) -> Iterator[None]:
    """Commit everything inside, or nothing. Inside, tables are named without their schema."""
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))
        yield


def is_away(exc: psycopg.Error) -> bool:
    """Return whether the connection was lost: another one may succeed, now or later."""
    if exc.sqlstate is None:
        return isinstance(exc, psycopg.OperationalError)
    return exc.sqlstate.startswith(_AWAY)


def _open(url: PostgresUrl) -> Connection:
    # The driver's frames are not shown with an error: their variables, and one of its messages, have the password.
    try:
        named = set(conninfo_to_dict(url.reveal()))
    except psycopg.ProgrammingError as exc:
        problem = f"the URL of the journal, {url}, is not one that PostgreSQL accepts ({_detail(exc, url)}): correct it"
    else:
        more: dict[str, Any] = {name: value for name, value in _DEFAULTS.items() if name not in named}
        try:
            # A pooler may hand the next transaction to another server process, which knows no statement of this one.
            return psycopg.connect(url.reveal(), autocommit=True, prepare_threshold=None, **more)
        except psycopg.Error as exc:
            exc.__cause__ = exc.__context__ = None
            raise exc.with_traceback(None)  # noqa: B904 - it is the same exception
    raise JournalError(problem)


def _refusal(detail: str, url: PostgresUrl) -> str | None:
    """Return what the server, or a pooler, says when it refuses a connection: most such errors have no SQLSTATE."""
    if "password authentication failed" in detail or "no password supplied" in detail:
        return (
            f"PostgreSQL refuses the user or the password for the journal {url} ({detail}): correct them in the URL, "
            "or set PGPASSWORD or a password file"
        )
    if "statement pooling" in detail:
        return f"the pooler of the journal {url} uses statement pooling ({detail}): use transaction or session pooling"
    if "pg_hba.conf" in detail:
        return f"the server of the journal {url} does not admit this connection ({detail}): change its pg_hba.conf"
    if "does not exist" in detail:
        return f"the database or the user of the journal {url} does not exist ({detail}): create it, or correct the URL"
    if "too many" in detail or "connection slots" in detail:
        return (
            f"the server of the journal {url} has no connection left ({detail}): each running call needs one; raise "
            "max_connections, or put a pooler in front of it"
        )
    return None


def _check_server(connection: Connection, url: PostgresUrl) -> None:
    query = (
        "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean, "
        "current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), "
        "current_setting('transaction_isolation'), current_setting('standard_conforming_strings')"
    )
    row = connection.execute(query).fetchone()
    assert row is not None
    is_read_only, *durability, isolation, strings = row
    if is_read_only:
        raise errors.ReadOnlySqlTransaction  # a running call waits: another server may become the primary
    for setting, found, needed in (
        ("default_transaction_isolation", isolation, "read committed"),
        ("standard_conforming_strings", strings, "on"),  # the driver would store other bytes
    ):
        if found != needed:
            msg = f"the journal {url} needs {setting}={needed!r}, not {found!r}: change it for this database or user"
            raise JournalError(msg)
    if "off" in durability:
        setting = ("fsync", "full_page_writes", "synchronous_commit")[durability.index("off")]
        scope = " for this database or user" if setting == "synchronous_commit" else ""
        msg = (
            f"the journal {url} is not durable: its server has {setting}=off, so it may forget what was sent, and rows "
            f"would be paid for twice. Set {setting}=on{scope}"
        )
        raise JournalError(msg)


@contextmanager
def translated(url: PostgresUrl) -> Iterator[None]:
    """Raise errors of the server and of the connection as a `JournalError`.

    Raises
    ------
    JournalError
        In place of whatever psycopg raises.
    """
    try:
        yield
    except EachlabsError:
        raise
    except psycopg.Error as exc:
        raise journal_error(exc, url) from exc


def journal_error(exc: psycopg.Error, url: PostgresUrl) -> JournalError:
    """Return what an error of an open connection means to the user."""
    detail = _detail(exc, url)
    refusal = _refusal(detail, url) if exc.sqlstate in (None, _PROTOCOL_VIOLATION) else None
    if refusal is not None:
        msg = refusal
    elif isinstance(exc, errors.DiskFull):
        msg = f"the disk of the journal {url} is full ({detail}): free some space on the server"
    elif isinstance(exc, errors.ReadOnlySqlTransaction):
        msg = f"the journal {url} is on a read-only server (a replica?): use the URL of the primary server"
    elif is_away(exc):
        msg = f"the server of the journal {url} cannot be reached ({detail}): check that it is running, and the URL"
    elif isinstance(exc, errors.InsufficientPrivilege):
        msg = (
            f"the user of the journal {url} has not the rights that it needs ({detail}): connect as the user that owns "
            f"the schema {url.schema}, or grant CREATE on the database if there is none yet"
        )
    elif isinstance(exc, errors.QueryCanceled | errors.LockNotAvailable):
        msg = (
            f"the server of the journal {url} has stopped a statement ({detail}): raise statement_timeout and "
            "lock_timeout for this database or user"
        )
    elif isinstance(exc, errors.UndefinedTable | errors.InvalidSchemaName):
        msg = f"the tables of the journal {url} are missing from the schema {url.schema} ({detail}): were they dropped?"
    else:
        msg = f"the journal {url} cannot be used ({detail})"
    return JournalError(msg)


def _detail(exc: psycopg.Error, url: PostgresUrl) -> str:
    """Return the first line of an error, without the password."""
    text = url.masked(str(exc)).strip().partition("\n")[0].removeprefix("connection failed: ")
    return text or type(exc).__name__
