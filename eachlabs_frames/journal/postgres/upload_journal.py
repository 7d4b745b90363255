"""Implements `UploadJournal` in the database. Its connection is opened with the first record.

All that it does may be done twice: a lost connection is replaced, and a server that is away is waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..upload_queue import Statement, UploadQueue
from .connection import Connection, PostgresDatabase, transaction
from .server_session import MAX_OUTAGE, ServerSession


class PostgresUploadJournal(UploadQueue):
    """A `UploadJournal` in PostgreSQL.

    Parameters
    ----------
    database : PostgresDatabase
    account : str
    max_outage : float
        See `server_session`.
    """

    def __init__(self, database: PostgresDatabase, account: str, *, max_outage: float = MAX_OUTAGE) -> None:
        super().__init__(account)
        self._schema = database.schema
        self._session = ServerSession(database, max_outage=max_outage)

    def close(self) -> None:
        self._session.hurry()
        super().close()

    def _query(self, query: str, values: Sequence[object]) -> list[Any]:
        def read(connection: Connection) -> list[Any]:
            with transaction(connection, self._schema):
                return connection.execute(query.replace("?", "%s"), values).fetchall()

        return self._session.do(read)

    def _commit(self, statements: Sequence[Statement]) -> None:
        def write(connection: Connection) -> None:
            with transaction(connection, self._schema):
                for statement, values in statements:
                    connection.execute(statement.replace("?", "%s"), values)

        self._session.do(write)

    def _close(self) -> None:
        self._session.end()
