"""Implements `UploadJournal` in the SQLite file.

Its commits are not synced to the disk: they survive the death of the process, and the claim of a row, which is synced
and comes later, brings them to the disk with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..upload_queue import Statement, UploadQueue
from .database import Connection, connect, transaction, translated


class SqliteUploadJournal(UploadQueue):
    """A `UploadJournal` in an SQLite file, which is opened with the first record."""

    def __init__(self, path: Path, account: str) -> None:
        super().__init__(account)
        self._path = path
        self._connection: Connection | None = None

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = connect(self._path)
            self._connection.execute("PRAGMA synchronous = NORMAL")
        return self._connection

    def _query(self, query: str, values: Sequence[object]) -> list[Any]:
        with translated(self._path):
            return self._open().execute(query, values).fetchall()

    def _commit(self, statements: Sequence[Statement]) -> None:
        connection = self._open()
        with transaction(connection, self._path), translated(self._path):
            for statement, values in statements:
                connection.execute(statement, values)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
