"""The journal's file: its permissions, its tables and their version. Knows nothing of runs.

Whatever is wrong with the file, or missing from it, is found when it is opened, before anything is written. The file is
opened by SQLite alone: POSIX drops all of a process's locks on a file when any handle of it is closed, and another
process would then take the write-ahead log away from under a call that is at work.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ...errors import JournalError
from . import completeness, mark
from .file_identity import log_of
from .sqlite_errors import BUSY_TIMEOUT, ELSEWHERE, damaged, translated
from .transactions import transaction

APPLICATION_ID: Final = 0x45464A31
"""Tells this package's files from any other program's (SQLite's `application_id`)."""

_PAUSE: Final = 0.01

LOG_PAGES: Final = 256
"""Pages of the write-ahead log (1 MiB) after which a commit writes it into the main file. This bounds what is lost with
a lost log: the records of some 50 to 100 commits, each of a few requests."""

MIGRATIONS: Final = (
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        pin TEXT NOT NULL,
        index_names TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        note TEXT
    );
    CREATE TABLE sheets (
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        first INTEGER NOT NULL,
        size INTEGER NOT NULL,
        digests BLOB NOT NULL,
        contents BLOB,
        labels BLOB NOT NULL,
        inputs BLOB NOT NULL,
        PRIMARY KEY (run, first)
    );
    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        process INTEGER NOT NULL,
        started_at INTEGER NOT NULL
    );
    CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        session INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        at INTEGER NOT NULL,
        rows BLOB NOT NULL,
        body BLOB
    );
    CREATE INDEX records_of_run ON records (run, id);
    """,
    # What tells whether records are missing (`completeness`), and whether a session is at work (`sessions`).
    """
    CREATE TABLE journal (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        id BLOB NOT NULL,
        is_open INTEGER NOT NULL,
        floor INTEGER NOT NULL
    );
    INSERT INTO journal VALUES (1, randomblob(16), 0, 0);
    ALTER TABLE sessions ADD COLUMN ended_at INTEGER;
    ALTER TABLE sessions ADD COLUMN host TEXT;
    ALTER TABLE sessions ADD COLUMN boot TEXT;
    ALTER TABLE sessions ADD COLUMN began TEXT;
    """,
)
"""Each brings a file from the version of its place to the next; `PRAGMA user_version` says how many were done."""


class Connection(sqlite3.Connection):
    """A connection that can be referred to weakly, and the number of the session that writes by it."""

    session = 0


_making = threading.Lock()
_open: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[Any] = []


def _after_fork() -> None:
    """Keep the parent's connections from ever being closed here: that would take its log away."""
    global _making
    _making = threading.Lock()
    _inherited.extend(_open)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def connect(
    path: Path, *, patience: float = BUSY_TIMEOUT, migrations: Sequence[str] = MIGRATIONS, incomplete: bool = False
) -> Connection:
    """Open the journal at `path`, created if it is missing, and brought to this version.

    Parameters
    ----------
    path : pathlib.Path
    patience : float
        Seconds that a write waits for another program's lock.
    migrations : sequence of str
    incomplete : bool
        Also open a journal that has lost records, which is refused otherwise.

    Raises
    ------
    JournalError
        It cannot be opened, read or written, it has lost records, or it is not this package's, or a newer version's.
    """
    with translated(path, patience):
        if not incomplete:
            _check_not_deleted(path)
        _make(path)
        connection = _opened(path, patience)
        try:
            _prepare(connection, path, patience, migrations, incomplete=incomplete)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """Open the journal for as long as it is read: nobody is waited for, and a disk that takes no more does not matter.

    Raises
    ------
    JournalError
        It cannot be opened or read, or it is not this package's, or a newer version's.
    """
    with translated(path, to_send=False):
        connection = _opened_to_read(path) if path.exists() and path.stat().st_size else connect(path)
        try:
            yield connection
        finally:
            connection.close()


def _opened_to_read(path: Path) -> Connection:
    _check_kind(path)
    try:
        connection, current = _checked(_opened(path, BUSY_TIMEOUT), path)
    except sqlite3.OperationalError:
        # In a folder that cannot be written there can be no log; where there is none, nothing is missing from the file.
        if _size(log_of(path)):
            raise
        connection, current = _checked(_opened(path, BUSY_TIMEOUT, immutable=True), path)
    if current:
        return connection
    connection.close()
    return connect(path)


def _checked(connection: Connection, path: Path) -> tuple[Connection, bool]:
    try:
        with _one_state(connection):
            current = _check_owner(connection, path, MIGRATIONS)
            _check_whole(connection, path)
        check_complete(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection, current


def _opened(path: Path, patience: float, *, immutable: bool = False) -> Connection:
    # By its URI: with mode=rw, a file that is gone by now is not made again, and readable for everybody.
    uri = f"{path.absolute().as_uri()}?{'immutable=1' if immutable else 'mode=rw'}"
    connection: Connection = sqlite3.connect(
        uri, timeout=patience, isolation_level=None, check_same_thread=False, factory=Connection, uri=True
    )
    _open.add(connection)
    return connection


def _make(path: Path) -> None:
    """Make the file where there is none, for its owner's eyes alone: it holds prompts and results."""
    _check_kind(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Nobody else opens a journal before this handle is closed: see the rule of this module.
    with _making, contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if not _size(path):
        with contextlib.suppress(PermissionError):
            path.chmod(0o600)


def _check_kind(path: Path) -> None:
    if path.exists() and not path.is_file():
        msg = f"the journal {path} is {'a folder' if path.is_dir() else 'not a regular file'}: {ELSEWHERE}"
        raise JournalError(msg)


def _prepare(
    connection: Connection, path: Path, patience: float, migrations: Sequence[str], *, incomplete: bool
) -> None:
    with _one_state(connection):
        _check_owner(connection, path, migrations)
        # Before anything is written, for that would stand in the log and count as what is missing in the file.
        _check_whole(connection, path)
    if not incomplete:
        check_complete(connection, path)
    mode = _logged(connection, patience)
    if mode != "wal":
        msg = (
            f"the journal {path} is on a file system that does not support a write-ahead log (mode {mode!r}): "
            f"{ELSEWHERE}"
        )
        raise JournalError(msg)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    with transaction(connection, path, patience):
        # Again, for another process may have been at it meanwhile.
        _check_owner(connection, path, migrations)
        version = _pragma(connection, "user_version")
        # Also a proof that the file can be written, before anything is sent.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for step in migrations[version:]:
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


@contextmanager
def _one_state(connection: Connection) -> Iterator[None]:
    """Read one state of the file: another process may be making it."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _logged(connection: Connection, patience: float) -> str:
    """Switch the log on; SQLite itself does not wait for another process that is just doing so."""
    deadline = time.monotonic() + patience
    while True:
        try:
            mode: str = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return mode


def _pragma(connection: Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _check_owner(connection: Connection, path: Path, migrations: Sequence[str]) -> bool:
    """See that the file is this package's; return whether it is of this version."""
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    holds = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION_ID and (holds or version or application):
        msg = f"{path} is a database of another program: {ELSEWHERE}"
        raise JournalError(msg)
    if version > len(migrations):
        msg = (
            f"the journal {path} was written by a newer eachlabs-frames (version {version} of its tables; this "
            f"package reads up to {len(migrations)}): upgrade the package, or {ELSEWHERE}"
        )
        raise JournalError(msg)
    return version == len(migrations)


def _check_whole(connection: Connection, path: Path) -> None:
    """See that no pages are missing at the file's end. SQLite does not look for them where a log was left behind."""
    pages, size = _pragma(connection, "page_count"), _pragma(connection, "page_size")
    # The log first: what is moved out of it meanwhile is in the file afterwards.
    logged = -(-_size(log_of(path)) // size)
    if pages - logged > _size(path) // size:
        raise damaged(path, "it is truncated")


def _check_not_deleted(path: Path) -> None:
    """See that the main file was not deleted alone: a new one in its place would know of nothing that was paid."""
    marked = mark.read(path) if not _size(path) else None
    if marked is not None and marked.written:
        what = (
            f"it is missing, and its -mark says that it had {marked.written} record(s) (to start a new journal, "
            f"delete the files beside it too)"
        )
        raise completeness.incomplete(path, what)


def check_complete(connection: Connection, path: Path) -> None:
    """See that no records are missing.

    Raises
    ------
    JournalError
        Some are, or may be.
    """
    what: str | None = None
    for attempt in range(_ATTEMPTS):
        outside = completeness.evidence(path)
        with _one_state(connection):
            if _pragma(connection, "user_version") < completeness.SINCE_VERSION:
                return
            what = completeness.missing(completeness.state(connection), outside)
        if what is None:
            return
        # Another process may have begun or ended between the two readings.
        time.sleep(_PAUSE * attempt)
    raise completeness.incomplete(path, str(what))


_ATTEMPTS: Final = 4


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
