"""Reads one state of the journal: the `Tables` of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from ...errors import JournalError
from ...postgres_url import PostgresUrl
from ..tables import Cursor
from .connection import Connection, reading

FETCHED: Final = 500
"""Rows that are in memory at a time: a journal may have millions of records."""


class DatabaseTables:
    """The `Tables` of a journal in a database.

    Parameters
    ----------
    connection : psycopg.Connection
        In a transaction.
    url : PostgresUrl
    cursors : contextlib.ExitStack
        Closes the cursors of the queries.
    """

    def __init__(self, connection: Connection, url: PostgresUrl, cursors: ExitStack) -> None:
        self._connection = connection
        self._cursors = cursors
        self._opened = 0
        self.where = str(url)

    def execute(self, query: str, values: Sequence[object] = ()) -> Cursor:
        """Run a query, whose values are marked by ``?``."""
        self._opened += 1
        cursor = self._cursors.enter_context(self._connection.cursor(name=f"query_{self._opened}"))
        cursor.itersize = FETCHED
        cursor.execute(query.replace("?", "%s"), values)
        return cursor

    def is_running(self, session: int) -> bool:
        """Return whether a session is running, by its latest sign."""
        query = "SELECT 1 FROM sessions WHERE id = ? AND ended_at IS NULL AND expires_at > now_ns()"
        return self.execute(query, (session,)).fetchone() is not None

    def damaged(self, problem: str) -> JournalError:
        """Return the error for content that cannot be right."""
        return JournalError(f"the journal {self.where} is damaged ({problem}): restore the database from a backup")


@contextmanager
def reading_state(url: PostgresUrl) -> Iterator[DatabaseTables | None]:
    """Open one state of the journal to read it; None if there are no tables. See `reading`."""
    with reading(url) as connection:
        if connection is None:
            yield None
            return
        with ExitStack() as cursors:
            yield DatabaseTables(connection, url, cursors)
