"""Implements `UploadJournal` in the database. Its connection is opened with the first record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...postgres_url import PostgresUrl
from ..upload_queue import Statement, UploadQueue
from .connection import Connection, connect, transaction, translated


class PostgresUploadJournal(UploadQueue):
    """A `UploadJournal` in PostgreSQL."""

    def __init__(self, url: PostgresUrl, account: str) -> None:
        super().__init__(account)
        self._url = url
        self._connection: Connection | None = None

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url)
        return self._connection

    def _query(self, query: str, values: Sequence[object]) -> list[Any]:
        connection = self._open()
        with translated(self._url), transaction(connection, self._url):
            return connection.execute(query.replace("?", "%s"), values).fetchall()

    def _commit(self, statements: Sequence[Statement]) -> None:
        connection = self._open()
        with translated(self._url), transaction(connection, self._url):
            for statement, values in statements:
                connection.execute(statement.replace("?", "%s"), values)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
