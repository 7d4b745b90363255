"""The tables of the journal in PostgreSQL, as the steps that make them; brings a database to this version.

A step is never changed once it is released. Times are nanoseconds since the epoch by the server's clock.

Rows of a run are numbered from 0, without gaps, and stored in chunks (`sheets`); `records` has what `journal.records`
encodes, by these numbers. `rows` has the current state of each row, which decides whether a claim is granted:

===========  ==========================================================================================================
state        n: not sent; i: refused here, not sent; s: claimed, no response yet; d: has an outcome
session      The session that wrote `claim` or `answer` last
claim        The record of its latest claim; 0 if there is none
answer       The record that has its outcome (an answer or a correction); 0 if there is none
look         The latest update after that; 0 if there is none
accepted     Whether `answer` has an execution for it
occurrence   Which row with this digest it is: equal rows, or the inputs that a key has had
content      Fingerprint of its input; empty if that is the digest
===========  ==========================================================================================================

Whoever writes about rows locks them first, in the order of their numbers, and takes the numbers of its records after
that: so the records of one row are in the order of their numbers. `executions` has a digest of each execution that a
row of any run has. A session is running until `expires_at`, which each of its writes postpones, or until `ended_at`.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from ...errors import JournalError

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_PLANNED: Final[LiteralString] = """
    SET search_path = {schema}, pg_temp
    SET enable_seqscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET plan_cache_mode = force_custom_plan
"""

_TABLES: Final[LiteralString] = """
CREATE FUNCTION {schema}.now_ns() RETURNS bigint LANGUAGE sql VOLATILE
AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint $$;

CREATE TABLE {schema}.runs (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    pin text NOT NULL,
    index_names text NOT NULL,
    created_at bigint NOT NULL DEFAULT {schema}.now_ns(),
    note text,
    size int NOT NULL DEFAULT 0
);
CREATE TABLE {schema}.sessions (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run int NOT NULL REFERENCES {schema}.runs (id) ON DELETE CASCADE,
    host text NOT NULL,
    process int NOT NULL,
    started_at bigint NOT NULL DEFAULT {schema}.now_ns(),
    expires_at bigint NOT NULL,
    ended_at bigint,
    -- The number of its latest write, and what that returned: a write that is repeated is recognized.
    writes bigint NOT NULL DEFAULT 0,
    claims bigint[],
    denied int[]
);
CREATE INDEX sessions_of_run ON {schema}.sessions (run);
CREATE TABLE {schema}.sheets (
    run int NOT NULL,
    first int NOT NULL,
    size int NOT NULL,
    digests bytea NOT NULL,
    contents bytea,
    labels bytea NOT NULL,
    inputs bytea NOT NULL,  -- compressed by zlib
    PRIMARY KEY (run, first)
);
CREATE TABLE {schema}.rows (
    claim bigint NOT NULL DEFAULT 0,
    answer bigint NOT NULL DEFAULT 0,
    look bigint NOT NULL DEFAULT 0,
    run int NOT NULL,
    number int NOT NULL,
    session int NOT NULL DEFAULT 0,
    occurrence int NOT NULL,
    state "char" NOT NULL DEFAULT 'n',
    accepted boolean NOT NULL DEFAULT false,
    digest bytea NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (run, number),
    UNIQUE (run, digest, occurrence)
) WITH (fillfactor = 80);
CREATE SEQUENCE {schema}.record_ids AS bigint;
CREATE TABLE {schema}.records (
    id bigint PRIMARY KEY DEFAULT nextval('{schema}.record_ids'),
    at bigint NOT NULL DEFAULT {schema}.now_ns(),
    run int NOT NULL,
    session int NOT NULL,
    kind smallint NOT NULL,
    rows bytea NOT NULL,
    body bytea
);
CREATE INDEX records_of_run ON {schema}.records (run, id);
CREATE INDEX records_by_time ON {schema}.records (at);
CREATE TABLE {schema}.executions (
    hash bigint PRIMARY KEY,
    run int NOT NULL
);

CREATE TABLE {schema}.files (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    digest text NOT NULL,
    file_id text NOT NULL,
    public_url text NOT NULL,
    name text NOT NULL,
    size bigint NOT NULL,
    content_type text NOT NULL,
    presigned_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    uploaded_at bigint,
    deleted_at bigint,
    UNIQUE (account, file_id)
);
CREATE INDEX files_of_digest ON {schema}.files (account, digest);
CREATE TABLE {schema}.file_uses (
    file bigint NOT NULL REFERENCES {schema}.files (id) ON DELETE CASCADE,
    run int NOT NULL REFERENCES {schema}.runs (id) ON DELETE CASCADE,
    PRIMARY KEY (file, run)
);
CREATE INDEX file_uses_of_run ON {schema}.file_uses (run);
CREATE TABLE {schema}.caps (
    account text PRIMARY KEY,
    level int NOT NULL,
    cap int,
    at double precision NOT NULL
);
"""

_FUNCTIONS: Final = files(__package__).joinpath("functions.sql").read_text("utf-8")

MIGRATIONS: Final[tuple[LiteralString, ...]] = (_TABLES + _FUNCTIONS,)
"""Each brings a schema from the version of its index to the next; the table `meta` has how many were done."""

DELETED: Final = "EF001"
"""SQLSTATE of a write to a run that was deleted."""

OUTRUN: Final = "EF002"
"""SQLSTATE of an adoption that another call has made first."""


def version(connection: psycopg.Connection[Any], schema: str) -> int | None:
    """Return the version of a schema's tables; None if there are none."""
    # Not to_regclass: its cache does not notice what another session made while this one waited for an advisory lock.
    query = "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename = 'meta'"
    if connection.execute(query, (schema,)).fetchone() is None:
        return None
    row = connection.execute(sql.SQL("SELECT version FROM {}").format(sql.Identifier(schema, "meta"))).fetchone()
    return None if row is None else int(row[0])


def migrate(connection: psycopg.Connection[Any], schema: str) -> None:
    """Make the tables, or bring them to this version. The connection is not in a transaction.

    Raises
    ------
    JournalError
        They are of a newer version.
    psycopg.Error
        They cannot be made.
    """
    if (version(connection, schema) or 0) == len(MIGRATIONS):
        return
    with connection.transaction():
        # Until the end of the transaction: whoever comes second finds the tables made.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('eachlabs-frames'), hashtext(%s))", (schema,))
        done = version(connection, schema)
        check_version(done, schema)
        if done is None:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
            connection.execute(sql.SQL("CREATE TABLE {} (version int NOT NULL)").format(sql.Identifier(schema, "meta")))
            connection.execute(sql.SQL("INSERT INTO {} VALUES (0)").format(sql.Identifier(schema, "meta")))
        name = sql.Identifier(schema)
        planned = sql.SQL(_PLANNED).format(schema=name)
        for step in MIGRATIONS[done or 0 :]:
            connection.execute(sql.SQL(step).format(schema=name, planned=planned))
        meta = sql.Identifier(schema, "meta")
        connection.execute(sql.SQL("UPDATE {} SET version = {}").format(meta, sql.Literal(len(MIGRATIONS))))


def check_version(found: int | None, schema: str) -> None:
    """Raise if tables of this version are a newer package's.

    Raises
    ------
    JournalError
    """
    if found is not None and found > len(MIGRATIONS):
        msg = (
            f"the journal in the schema {schema} was written by a newer eachlabs-frames (version {found} of its "
            f"tables; this package reads up to {len(MIGRATIONS)}): upgrade the package, or use another database"
        )
        raise JournalError(msg)
