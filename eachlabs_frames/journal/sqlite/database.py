"""The SQLite file: its permissions, tables, version, transactions and errors. Knows nothing of rows.

Whatever is wrong with the file, or missing from it, is found when it is opened, before anything is written. The file is
opened by SQLite alone: POSIX drops all of a process's locks on a file when any handle of it is closed, and another
process would then take the write-ahead log away from under a running call.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...errors import EachlabsError, JournalError
from ..tables import Cursor
from . import integrity
from .integrity import ELSEWHERE, damaged, file_size, log_of
from .migrations import MIGRATIONS
from .sessions import is_running, others_running

logger = logging.getLogger("eachlabs_frames")

APPLICATION_ID: Final = 0x45464A31
"""Tells this package's files from any other program's (SQLite's `application_id`)."""

BUSY_TIMEOUT: Final = 10.0
"""Seconds that a write waits for another program."""

MAX_LOCK_WAIT: Final = 300.0
"""Seconds that a write waits for other calls; for another program's lock it waits `BUSY_TIMEOUT`."""

LOG_PAGES: Final = 256
"""Pages of the write-ahead log (1 MiB) after which a commit writes it into the main file. This bounds what is lost with
a lost log: the records of some 50 to 100 commits, each of a few requests."""

_PAUSE: Final = 0.01
_LOCK_RETRY: Final = (0.0005, 0.0015)
"""Seconds between two requests for the write lock. A commit takes 2 to 5 ms."""

_ATTEMPTS: Final = 4
_NOTHING_SENT: Final = "Nothing is sent without a journal, but with journal=None"
_FULL: Final = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


class Connection(sqlite3.Connection):
    """A connection that can be referred to weakly, and the number of the session that writes by it."""

    session = 0


_creation_lock = threading.Lock()
_open_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[Any] = []


def _after_fork() -> None:
    """Keep the parent's connections from ever being closed here: that would take its log away."""
    global _creation_lock
    _creation_lock = threading.Lock()
    _inherited.extend(_open_connections)
    _open_connections.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# -- opening ----------------------------------------------------------------------------------------------------------


def connect(
    path: Path, *, timeout: float = BUSY_TIMEOUT, migrations: Sequence[str] = MIGRATIONS, incomplete: bool = False
) -> Connection:
    """Open the journal at `path` to write to it; create it if it is missing, and bring it to this version.

    Parameters
    ----------
    path : pathlib.Path
    timeout : float
        Seconds that a write waits for another program's lock.
    migrations : sequence of str
    incomplete : bool
        Also open a journal that has lost records, which is refused otherwise.

    Raises
    ------
    JournalError
        It cannot be opened, read or written, it has lost records, or it is not this package's, or a newer version's.
    """
    with translated(path, timeout):
        if not incomplete:
            integrity.check_not_deleted(path)
        _create(path)
        connection = _connect(path, timeout)
        try:
            _prepare(connection, path, timeout, migrations, incomplete=incomplete)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """Open the journal to read it: this waits for nobody, and works on a full disk.

    Raises
    ------
    JournalError
        It cannot be opened or read, or it is not this package's, or a newer version's.
    """
    with translated(path, to_send=False):
        connection = _connect_to_read(path) if path.exists() and path.stat().st_size else connect(path)
        try:
            yield connection
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class FileTables:
    """The `Tables` of a journal in an SQLite file."""

    connection: sqlite3.Connection
    path: Path

    def execute(self, query: str, values: Sequence[object] = ()) -> Cursor:
        """Run a query, whose values are marked by ``?``."""
        return self.connection.execute(query, values)

    def is_running(self, session: int) -> bool:
        """Return whether a session is running, which something proves."""
        try:
            return is_running(self.connection, self.path.resolve(), session, unproven=False)
        except OSError:
            return False  # a journal in a folder that cannot be written is read all the same

    @property
    def where(self) -> str:
        """The journal, as messages name it."""
        return str(self.path)

    def damaged(self, problem: str) -> JournalError:
        """Return the error for content that cannot be right."""
        return damaged(self.path, problem)


@contextmanager
def reading_tables(path: Path) -> Iterator[FileTables]:
    """Open one state of the journal to read it: see `reading`."""
    with reading(path) as connection, snapshot(connection):
        yield FileTables(connection, path)


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Read one state of the journal, whatever others write meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _connect_to_read(path: Path) -> Connection:
    _check_kind(path)
    try:
        connection, is_current = _checked(_connect(path, BUSY_TIMEOUT), path)
    except sqlite3.OperationalError:
        # In a folder that cannot be written there can be no log; where there is none, nothing is missing from the file.
        if file_size(log_of(path)):
            raise
        connection, is_current = _checked(_connect(path, BUSY_TIMEOUT, immutable=True), path)
    if is_current:
        return connection
    connection.close()
    return connect(path)


def _checked(connection: Connection, path: Path) -> tuple[Connection, bool]:
    """Check an open journal; return it, and whether it is of this version."""
    try:
        with snapshot(connection):
            is_current = _check_owner(connection, path, MIGRATIONS)
            integrity.check_not_truncated(connection, path)
        _check_complete(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection, is_current


def _connect(path: Path, timeout: float, *, immutable: bool = False) -> Connection:
    # By its URI: with mode=rw, a file that is gone by now is not created again, and readable for everybody.
    uri = f"{path.absolute().as_uri()}?{'immutable=1' if immutable else 'mode=rw'}"
    connection: Connection = sqlite3.connect(
        uri, timeout=timeout, isolation_level=None, check_same_thread=False, factory=Connection, uri=True
    )
    _open_connections.add(connection)
    return connection


def _create(path: Path) -> None:
    """Create the file if it is missing, readable for its owner alone: it holds prompts and results."""
    _check_kind(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Nobody else opens a journal before this handle is closed: see the rule of this module.
    with _creation_lock, contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if not file_size(path):
        with contextlib.suppress(PermissionError):
            path.chmod(0o600)


def _check_kind(path: Path) -> None:
    if path.exists() and not path.is_file():
        msg = f"the journal {path} is {'a folder' if path.is_dir() else 'not a regular file'}: {ELSEWHERE}"
        raise JournalError(msg)


def _prepare(
    connection: Connection, path: Path, timeout: float, migrations: Sequence[str], *, incomplete: bool
) -> None:
    with snapshot(connection):
        _check_owner(connection, path, migrations)
        # Before anything is written, for that would stand in the log and count as what is missing in the file.
        integrity.check_not_truncated(connection, path)
    if not incomplete:
        _check_complete(connection, path)
    mode = _enable_log(connection, timeout)
    if mode != "wal":
        msg = (
            f"the journal {path} is on a file system that does not support a write-ahead log (mode {mode!r}): "
            f"{ELSEWHERE}"
        )
        raise JournalError(msg)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    with transaction(connection, path, timeout):
        # Again: another process may have changed it meanwhile.
        _check_owner(connection, path, migrations)
        version = _pragma(connection, "user_version")
        # Also a proof that the file can be written, before anything is sent.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for step in migrations[version:]:
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _enable_log(connection: Connection, timeout: float) -> str:
    """Switch to a write-ahead log; SQLite itself does not wait for another process that is just doing so."""
    deadline = time.monotonic() + timeout
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
    """Check that the file is this package's; return whether it is of this version."""
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION_ID and (tables or version or application):
        msg = f"{path} is a database of another program: {ELSEWHERE}"
        raise JournalError(msg)
    if version > len(migrations):
        msg = (
            f"the journal {path} was written by a newer eachlabs-frames (version {version} of its tables; this "
            f"package reads up to {len(migrations)}): upgrade the package, or {ELSEWHERE}"
        )
        raise JournalError(msg)
    return version == len(migrations)


def _check_complete(connection: Connection, path: Path) -> None:
    """Check that no records are missing."""
    loss: str | None = None
    for attempt in range(_ATTEMPTS):
        mark, has_log = integrity.evidence(path)
        with snapshot(connection):
            if _pragma(connection, "user_version") < integrity.SINCE_VERSION:
                return
            loss = integrity.describe_loss(connection, mark, has_log=has_log)
        if loss is None:
            return
        # Another process may have begun or ended between the two readings.
        time.sleep(_PAUSE * attempt)
    raise integrity.incomplete(path, str(loss))


# -- transactions -----------------------------------------------------------------------------------------------------


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path, timeout: float = BUSY_TIMEOUT) -> Iterator[None]:
    """Commit everything inside durably, or nothing. What is raised inside is not changed.

    Raises
    ------
    JournalError
        It could not be begun, or not be written.
    """
    try:
        with translated(path, timeout):
            _begin(connection, path, timeout)
        yield
        with translated(path, timeout):
            connection.execute("COMMIT")
    except BaseException:
        # If the disk is full, SQLite may have done so already.
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _begin(connection: sqlite3.Connection, path: Path, timeout: float) -> None:
    """Wait for the write lock while its owner may be another session.

    SQLite's own busy handler sleeps longer each time, up to 0.1 s, so that the process that waits longest gets the lock
    last. Here every process tries equally often.
    """
    began = time.monotonic()
    deadline = began + timeout
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as exc:
                if "locked" not in str(exc):
                    raise
                now = time.monotonic()
                if now >= deadline:
                    if now - began >= MAX_LOCK_WAIT or not _has_others(connection, path):
                        raise
                    logger.warning("the journal %s is locked by another call for %.0f s: waiting", path, now - began)
                    deadline = now + timeout
                time.sleep(random.SystemRandom().uniform(*_LOCK_RETRY))
            else:
                return
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(timeout * 1_000)}")


def _has_others(connection: sqlite3.Connection, path: Path) -> bool:
    session: int = getattr(connection, "session", 0)
    with contextlib.suppress(sqlite3.Error, OSError):
        return others_running(connection, path.resolve(), but=session)
    return False


# -- errors -----------------------------------------------------------------------------------------------------------


@contextmanager
def translated(path: Path, timeout: float = BUSY_TIMEOUT, *, to_send: bool = True) -> Iterator[None]:
    """Raise errors of SQLite and of the system as a `JournalError`; `to_send`: requests depend on the journal.

    Raises
    ------
    JournalError
        In place of whatever SQLite or the system raises.
    """
    try:
        yield
    except EachlabsError:
        raise
    except (sqlite3.Error, OSError) as exc:
        message = _message(exc, path, timeout)
        msg = f"{message}. {_NOTHING_SENT}" if to_send else message
        raise JournalError(msg) from exc


def _message(exc: Exception, path: Path, timeout: float) -> str:
    detail = str(exc)
    if isinstance(exc, OSError):
        detail = exc.strerror or detail
        if exc.errno in _FULL:
            detail = f"the disk is full: {detail}"
        return f"the journal {path} cannot be used ({detail}): {ELSEWHERE}"
    if "not a database" in detail:
        return f"{path} is not a journal of this package ({detail}): {ELSEWHERE}"
    if "malformed" in detail or "corrupt" in detail:
        return str(damaged(path, detail))
    if "locked" in detail or "busy" in detail:
        return f"another process has locked the journal {path} ({detail}, for {timeout:g} s): try again, or {ELSEWHERE}"
    if "full" in detail:
        return f"the disk of the journal {path} is full ({detail}): free some space, or {ELSEWHERE}"
    if "disk I/O" in detail:
        return (
            f"the disk of the journal {path} fails ({detail}): check that it is mounted and has free space, or "
            f"{ELSEWHERE}"
        )
    return f"the journal {path} cannot be used ({detail}): {ELSEWHERE}"
