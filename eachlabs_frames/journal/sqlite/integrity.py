"""Detects lost records and moved or replaced files. Repairs nothing: `SqliteJournal.accept_loss` does.

Commits are in the `-wal` file first, and only a checkpoint brings them into the main file. So a journal can lose
records without being damaged: its `-wal` is deleted or not copied, or an older copy is put in its place. Two things
outside the `-wal` tell:

- the `-mark` file has the *high-water mark*: the highest record number that was committed. A journal with a lower one
  has lost records;
- the main file says that it is *open*, from before the first claim of a session until the last session has ended.
  Without a `-wal` file, and without a mark, records may be missing from a main file that is open.

A copy of everything, or of the main file alone after all sessions have ended, is complete. An older copy of *all*
files cannot be told from the newest one.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import zlib
from pathlib import Path
from typing import Final, TypeAlias

from ...errors import JournalError

SINCE_VERSION: Final = 2
"""The version of the tables that brought the table `journal`: older ones cannot tell."""

ELSEWHERE: Final = "name another file with configure(journal=...) or EACHLABS_JOURNAL"

Mark: TypeAlias = tuple[bytes, int]
"""The id of the journal that a mark belongs to, and the highest record number."""

FileId: TypeAlias = tuple[int, int]
"""A file's device and inode."""


# -- lost records -----------------------------------------------------------------------------------------------------


def evidence(path: Path) -> tuple[Mark | None, bool]:
    """Return the mark, and whether the write-ahead log has any content.

    Call this before reading the database, which only grows meanwhile.
    """
    try:
        has_log = file_size(log_of(path)) > 0
    except OSError:
        has_log = False
    return read_mark(path), has_log


def read_state(connection: sqlite3.Connection) -> tuple[bytes, bool, int]:
    """Return the journal's id, whether it is open, and the highest record number that it has had."""
    query = "SELECT id, is_open, max(floor, coalesce((SELECT max(id) FROM records), 0)) FROM journal"
    row: tuple[bytes, int, int] = connection.execute(query).fetchone()
    return row[0], bool(row[1]), row[2]


def set_open(connection: sqlite3.Connection, *, is_open: bool) -> None:
    """Record whether records may be missing from the main file alone."""
    connection.execute("UPDATE journal SET is_open = ? WHERE is_open <> ?", (is_open, is_open))


def describe_loss(connection: sqlite3.Connection, mark: Mark | None, *, has_log: bool) -> str | None:
    """Return what the journal has lost, in a sentence, or None if nothing."""
    journal, is_open, written = read_state(connection)
    if mark is not None and mark[0] == journal:
        if written < mark[1]:
            return f"its last {mark[1] - written} record(s), numbers {written + 1} to {mark[1]}, are missing"
        return None
    if is_open and not has_log:
        return (
            f"it was in use, and its -wal file is not there (nor its -mark): records after record {written}"
            " may be missing"
        )
    return None


def check_not_deleted(path: Path) -> None:
    """Check that the main file was not deleted alone: a new one in its place would not know what was paid.

    Raises
    ------
    JournalError
        The mark of a journal with records is there, and the main file is not.
    """
    mark = read_mark(path) if not file_size(path) else None
    if mark is not None and mark[1]:
        what = (
            f"it is missing, and its -mark says that it had {mark[1]} record(s) (to start a new journal, "
            f"delete the files beside it too)"
        )
        raise incomplete(path, what)


def check_not_truncated(connection: sqlite3.Connection, path: Path) -> None:
    """Check that no pages are missing at the file's end. SQLite does not if a log was left behind."""
    (pages,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    # The log first: what is moved out of it meanwhile is in the file afterwards.
    logged = -(-file_size(log_of(path)) // size)
    if pages - logged > file_size(path) // size:
        raise damaged(path, "it is truncated")


def damaged(path: Path, detail: object) -> JournalError:
    """Return the error for a file with impossible content."""
    return JournalError(f"the journal {path} is damaged ({detail}): keep the file for recovery, and {ELSEWHERE}")


def incomplete(path: Path, what: str) -> JournalError:
    """Return the error for a journal that has lost records."""
    return JournalError(
        f"the journal {path} is not complete: {what}. Rows that were sent and paid for would count as not sent. "
        f"Put {path.name}, {path.name}-wal, {path.name}-mark and {path.name}-owners back together, as they were; or, "
        f"if the records are lost, call ef.accept_journal_loss() (`eachlabs-frames runs --accept-loss`): "
        "rows without an execution then count as possibly sent, and are searched for before anything is sent"
    )


# -- the high-water mark ----------------------------------------------------------------------------------------------

_MAGIC: Final = b"EFJMARK1"
_HEADER: Final = struct.Struct("<8s16sI4x")
_SLOT: Final = struct.Struct("<QI4x")
_SLOTS: Final = 254
"""Slots of a file of 4 KiB. Two sessions share one only if 254 others began in between."""


def read_mark(path: Path) -> Mark | None:
    """Return the mark of the journal at `path`, or None if there is none that can be read."""
    try:
        content = _mark_of(path).read_bytes()
    except OSError:
        return None
    if len(content) < _HEADER.size:
        return None
    magic, journal, checksum = _HEADER.unpack_from(content)
    if magic != _MAGIC or checksum != zlib.crc32(journal):
        return None
    slots = _SLOT.iter_unpack(content[_HEADER.size :][: (len(content) - _HEADER.size) // _SLOT.size * _SLOT.size])
    return journal, max((number for number, checksum in slots if checksum == _checksum(journal, number)), default=0)


class MarkWriter:
    """The slot of one session in the mark. `open` must be called inside a write transaction of the journal.

    A claim is written to the mark after its commit and before its request is sent, so a mark is never ahead of a
    healthy journal, whenever the process is killed. It is not synced to the disk: a power failure may leave an older
    mark, which proves less but never accuses a healthy journal. Each session writes a slot of its own, so no lock is
    needed and no session can set the mark of another one back.

    Parameters
    ----------
    path : pathlib.Path
        The journal.
    journal : bytes
        The journal's id.
    session : int
    """

    def __init__(self, path: Path, journal: bytes, session: int) -> None:
        self._path = path
        self._mark_path = _mark_of(path)
        self._journal = journal
        self._slot = _HEADER.size + session % _SLOTS * _SLOT.size
        self._handle = -1
        self._id: FileId | None = None

    def open(self, written: int) -> None:
        """Open the file, unless the open one is still in place; create it if it is missing or another journal's."""
        if self._id is not None and file_id(self._mark_path) == self._id:
            return
        self.close()
        existing = read_mark(self._path)
        self._handle = os.open(self._mark_path, os.O_CREAT | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o600)
        if existing is None or existing[0] != self._journal:
            # All of its 4 KiB at once: a full disk is then noticed here, and never after a commit.
            header = _HEADER.pack(_MAGIC, self._journal, zlib.crc32(self._journal))
            self._write_at(0, header + bytes(_SLOTS * _SLOT.size))
            self.write(written)
        status = os.fstat(self._handle)
        self._id = status.st_dev, status.st_ino

    def write(self, number: int) -> None:
        """Record that the records up to `number` are committed."""
        self._write_at(self._slot, _SLOT.pack(number, _checksum(self._journal, number)))

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle, self._id = -1, None

    def _write_at(self, offset: int, content: bytes) -> None:
        os.lseek(self._handle, offset, os.SEEK_SET)
        os.write(self._handle, content)


def _mark_of(path: Path) -> Path:
    real = path.resolve()
    return real.with_name(f"{real.name}-mark")


def _checksum(journal: bytes, number: int) -> int:
    return zlib.crc32(number.to_bytes(8, "little"), zlib.crc32(journal))


# -- files that were moved or replaced --------------------------------------------------------------------------------


def log_of(path: Path) -> Path:
    """Return the path of a journal's write-ahead log."""
    real = path.resolve()
    return real.with_name(f"{real.name}-wal")


def file_size(path: Path) -> int:
    """Return a file's size; 0 if it is missing."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def file_id(path: str | Path) -> FileId | None:
    """Return the identity of the file at `path` now; None if it is missing."""
    try:
        status = os.stat(path)  # noqa: PTH116 - with each commit, and pathlib takes five times as long
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def check_in_place(path: Path, log: Path, main_id: FileId | None, log_id: FileId | None) -> None:
    """Check that the files of an open journal are those that were opened: what is written to a deleted file is lost.

    Raises
    ------
    JournalError
        One was moved, deleted or replaced.
    """
    if main_id is None or file_id(path) != main_id:
        msg = f"the journal {path} was moved, deleted or replaced while it was in use: put it back, or {ELSEWHERE}"
        raise JournalError(msg)
    if log_id is None or file_id(log) != log_id:
        msg = (
            f"the log of the journal, {log}, was moved, deleted or replaced while it was in use: put it "
            "back if you can, and make the call again; no other program may touch it while a call is running"
        )
        raise JournalError(msg)
