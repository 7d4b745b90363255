"""Records uploads in groups, on a thread of its own: which contents are at the API, and which runs have sent them.

A subclass commits a group: what a commit survives is its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from ..inputs.file_values import reference
from .tables import Tables
from .upload_records import UploadRecord

T = TypeVar("T")

logger = logging.getLogger("eachlabs_frames")

LINGER: Final = 0.05
"""Seconds that the end of an upload waits for others to share a commit; without its record, its URL is asked."""

_READ: Final = """
    SELECT id, digest, file_id, public_url, name, size, content_type, presigned_at, expires_at, uploaded_at, deleted_at
    FROM files WHERE account = ? ORDER BY id
"""
_FIND: Final = """
    SELECT digest, file_id, public_url, name, size, content_type, presigned_at, expires_at, uploaded_at
    FROM files WHERE account = ? AND digest = ? AND deleted_at IS NULL ORDER BY id DESC
"""
_BEGIN: Final = """
    INSERT INTO files (account, digest, file_id, public_url, name, size, content_type, presigned_at, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (account, file_id) DO UPDATE SET digest = excluded.digest, public_url = excluded.public_url,
    name = excluded.name, size = excluded.size, content_type = excluded.content_type,
    presigned_at = excluded.presigned_at, expires_at = excluded.expires_at, uploaded_at = NULL, deleted_at = NULL
"""
_COMPLETE: Final = "UPDATE files SET uploaded_at = ? WHERE account = ? AND file_id = ?"
_DELETE: Final = "UPDATE files SET deleted_at = ? WHERE account = ? AND file_id = ?"
_ADD_USE: Final = """
    INSERT INTO file_uses (file, run)
    SELECT files.id, runs.id FROM files, runs WHERE account = ? AND file_id = ? AND runs.name = ?
    ON CONFLICT DO NOTHING
"""


Statement: TypeAlias = tuple[str, Sequence[object]]
"""A statement, and the values of its question marks."""


def read_uploads(tables: Tables, account: str) -> list[UploadRecord]:
    """Return all uploads of an account, the oldest first."""
    uses: dict[int, list[str]] = {}
    query = "SELECT file, runs.name FROM file_uses JOIN runs ON runs.id = run ORDER BY run"
    for file, run in tables.execute(query):
        uses.setdefault(file, []).append(run)
    rows = tables.execute(_READ, (account,)).fetchall()
    return [replace(UploadRecord(*columns), runs=tuple(uses.get(file, ()))) for file, *columns in rows]


def read_references(tables: Tables) -> dict[str, str]:
    """Return the reference of each uploaded file, of any account, by its public URL."""
    rows = tables.execute("SELECT public_url, digest FROM files").fetchall()
    return {url: reference(digest) for url, digest in rows}


class UploadQueue:
    """A `UploadJournal`. A subclass implements `_query`, `_commit` and `_close`, which are called on its thread alone.

    Parameters
    ----------
    account : str
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self._pending: deque[tuple[str, Sequence[object], asyncio.Future[None] | None]] = deque()
        self._lookups: deque[tuple[str, asyncio.Future[list[UploadRecord]]]] = deque()
        self._is_scheduled = False
        self._is_submitted = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="eachlabs-frames-files")

    async def find(self, digest: str) -> list[UploadRecord]:
        found: asyncio.Future[list[UploadRecord]] = asyncio.get_running_loop().create_future()
        self._lookups.append((digest, found))
        self._submit()
        return await found

    async def begin(self, record: UploadRecord) -> None:
        values = (
            self._account,
            record.digest,
            record.file_id,
            record.public_url,
            record.name,
            record.size,
            record.content_type,
            record.presigned_at,
            record.expires_at,
        )
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((_BEGIN, values, written))
        self._submit()
        await written

    def complete(self, file_id: str, uploaded_at: int) -> None:
        self._soon(_COMPLETE, (uploaded_at, self._account, file_id))

    def delete(self, file_id: str, deleted_at: int) -> None:
        self._soon(_DELETE, (deleted_at, self._account, file_id))

    def add_use(self, file_id: str, run: str) -> None:
        self._soon(_ADD_USE, (self._account, file_id, run))

    def close(self) -> None:
        with suppress(RuntimeError):  # closed before
            self._thread.submit(self._flush)
            self._thread.submit(self._close)
        self._thread.shutdown()

    def _query(self, query: str, values: Sequence[object]) -> list[Any]:
        """Return the rows of a query."""
        raise NotImplementedError

    def _commit(self, statements: Sequence[Statement]) -> None:
        """Run statements in one transaction."""
        raise NotImplementedError

    def _close(self) -> None:
        """Close the connection, if one was opened."""
        raise NotImplementedError

    def _soon(self, statement: str, values: Sequence[object]) -> None:
        self._pending.append((statement, values, None))
        if not self._is_scheduled:
            self._is_scheduled = True
            try:
                asyncio.get_running_loop().call_later(LINGER, self._flush_soon)
            except RuntimeError:  # no loop is running: nothing else comes at the same time
                self._flush_soon()

    def _flush_soon(self) -> None:
        self._is_scheduled = False
        with suppress(RuntimeError):  # closed, and flushed by that
            self._submit()

    def _submit(self) -> None:
        """Let the thread flush, unless it is about to: what is pending before a flush begins is a part of it."""
        if not self._is_submitted:
            self._is_submitted = True
            self._thread.submit(self._flush)

    def _flush(self) -> None:
        """Commit what is pending, all at once, and answer the lookups: a commit takes as long as ten statements.

        The event loop is woken once for all of them, because that takes as long as a lookup.
        """
        self._is_submitted = False  # before anything is taken: what is appended later submits another flush
        answers = [*self._write(_drained(self._pending)), *self._read(_drained(self._lookups))]
        for loop in {answer.future.get_loop() for answer in answers}:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever has waited
                loop.call_soon_threadsafe(_settle, [each for each in answers if each.future.get_loop() is loop])

    def _write(self, group: Sequence[tuple[str, Sequence[object], asyncio.Future[None] | None]]) -> list[_Answer]:
        if not group:
            return []
        error: Exception | None = None
        try:
            self._commit([(statement, values) for statement, values, _ in group])
        except Exception as exc:  # noqa: BLE001 - raised where the commit is awaited
            logger.warning("uploads are not recorded, and may be repeated by a later call: %s", exc)
            error = exc
        return [_Answer(written, None, error) for _, _, written in group if written is not None]

    def _read(self, group: Sequence[tuple[str, asyncio.Future[list[UploadRecord]]]]) -> Iterator[_Answer]:
        for digest, found in group:
            try:
                rows = self._query(_FIND, (self._account, digest))
                yield _Answer(found, [UploadRecord(*row) for row in rows], None)
            except Exception as exc:  # noqa: BLE001 - raised where the records are awaited
                yield _Answer(found, None, exc)


class _Answer(NamedTuple):
    """What a caller that waits in the event loop gets: a result, or an exception."""

    future: asyncio.Future[Any]
    result: object
    error: Exception | None


def _settle(answers: Sequence[_Answer]) -> None:
    for future, result, error in answers:
        if future.done():  # nobody waits any more
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _drained(queue: deque[T]) -> list[T]:
    return [queue.popleft() for _ in range(len(queue))]
