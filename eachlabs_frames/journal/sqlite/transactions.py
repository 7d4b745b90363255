"""Write transactions: who may write next, and how long the others wait. Knows nothing of what is written."""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from . import sessions
from .sqlite_errors import BUSY_TIMEOUT, translated

logger = logging.getLogger("eachlabs_frames")

MAX_LOCK_WAIT: Final = 300.0
"""Seconds that a write waits for other calls; for another program's lock it waits `BUSY_TIMEOUT`."""


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path, patience: float = BUSY_TIMEOUT) -> Iterator[None]:
    """Commit everything inside durably, or nothing. What is raised inside is not changed.

    Raises
    ------
    JournalError
        It could not be begun, or not be written.
    """
    try:
        with translated(path, patience):
            _begin(connection, path, patience)
        yield
        with translated(path, patience):
            connection.execute("COMMIT")
    except BaseException:
        # Where the disk is full, SQLite may have done so already.
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _begin(connection: sqlite3.Connection, path: Path, patience: float) -> None:
    """Wait for the write lock while its owner may be another session.

    SQLite's own busy handler sleeps longer each time, up to 0.1 s, so that the process that waits longest gets the lock
    last. Here every process tries equally often.
    """
    began = time.monotonic()
    deadline = began + patience
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
                    deadline = now + patience
                time.sleep(random.uniform(*_TURN))  # noqa: S311 - no secret
            else:
                return
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(patience * 1_000)}")


_TURN: Final = (0.0005, 0.0015)
"""Seconds between two requests for the write lock. A commit takes 2 to 5 ms."""


def _has_others(connection: sqlite3.Connection, path: Path) -> bool:
    session: int = getattr(connection, "session", 0)
    with contextlib.suppress(sqlite3.Error, OSError):
        return sessions.others_at_work(connection, path.resolve(), but=session)
    return False
