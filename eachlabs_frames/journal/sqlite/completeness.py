"""Decides whether a journal still has every record that it ever had. Repairs nothing: `loss` does.

Commits are in the `-wal` file first, and only a checkpoint brings them into the main file. So a journal can lose
records without being damaged: its `-wal` is deleted or not copied, or an older copy is put in its place. Two things
outside the `-wal` tell:

- the `-mark` file has the highest record number. A journal with a lower one has lost records;
- the main file says that it is *open*, from before the first claim of a session until the last session has ended.
  Without a `-wal` file, and without a mark, records may be missing from a main file that is open.

A copy of everything, or of the main file alone after all sessions have ended, is complete. An older copy of *all*
files cannot be told from the newest one.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from ...errors import JournalError
from . import mark
from .file_identity import log_of

SINCE_VERSION: Final = 2
"""The version of the tables that brought the table `journal`: older ones cannot tell."""


class JournalState(NamedTuple):
    """The row of the table `journal`, with the highest record number that the journal has had."""

    id: bytes
    is_open: bool
    written: int


class Evidence(NamedTuple):
    """What the files beside the database show."""

    marked: mark.MarkContent | None
    has_log: bool


def evidence(path: Path) -> Evidence:
    """Read the files beside the database; call this before reading the database, which only grows meanwhile."""
    try:
        has_log = log_of(path).stat().st_size > 0
    except OSError:
        has_log = False
    return Evidence(mark.read(path), has_log)


def state(connection: sqlite3.Connection) -> JournalState:
    """Read the state of a journal."""
    query = "SELECT id, is_open, max(floor, coalesce((SELECT max(id) FROM records), 0)) FROM journal"
    row: tuple[bytes, int, int] = connection.execute(query).fetchone()
    return JournalState(row[0], bool(row[1]), row[2])


def missing(journal: JournalState, outside: Evidence) -> str | None:
    """Return what a journal has lost, in a sentence, or None if nothing."""
    marked = outside.marked
    if marked is not None and marked.journal == journal.id:
        if journal.written < marked.written:
            lost = marked.written - journal.written
            return f"its last {lost} record(s), numbers {journal.written + 1} to {marked.written}, are missing"
        return None
    if journal.is_open and not outside.has_log:
        return (
            f"it was in use, and its -wal file is not there (nor its -mark): records after record {journal.written}"
            " may be missing"
        )
    return None


def incomplete(path: Path, what: str) -> JournalError:
    """Return the error for a journal that has lost records."""
    return JournalError(
        f"the journal {path} is not complete: {what}. Rows that were sent and paid for would count as not sent. "
        f"Put {path.name}, {path.name}-wal, {path.name}-mark and {path.name}-owners back together, as they were; or, "
        f"if the records are lost, call ef.accept_journal_loss() (`eachlabs-frames runs --accept-loss`): "
        "rows without an execution then count as possibly sent, and are searched for before anything is sent"
    )


def set_open(connection: sqlite3.Connection, *, is_open: bool) -> None:
    """Record whether records may be missing from the main file alone."""
    connection.execute("UPDATE journal SET is_open = ? WHERE is_open <> ?", (is_open, is_open))
