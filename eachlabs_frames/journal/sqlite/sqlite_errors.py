"""Turns errors of SQLite and of the file system into a `JournalError` that says what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ...errors import EachlabsError, JournalError

BUSY_TIMEOUT: Final = 10.0
"""Seconds that a write waits for another process."""

ELSEWHERE: Final = "name another file with configure(journal=...) or EACHLABS_JOURNAL"

_NOTHING_SENT: Final = "Nothing is sent without a journal, but with journal=None"
_FULL: Final = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextmanager
def translated(path: Path, patience: float = BUSY_TIMEOUT, *, to_send: bool = True) -> Iterator[None]:
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
        message = _message(exc, path, patience)
        msg = f"{message}. {_NOTHING_SENT}" if to_send else message
        raise JournalError(msg) from exc


def damaged(path: Path, detail: object) -> JournalError:
    """Return the error for a file with impossible content."""
    return JournalError(f"the journal {path} is damaged ({detail}): keep the file for recovery, and {ELSEWHERE}")


def _message(exc: Exception, path: Path, patience: float) -> str:
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
        return (
            f"another process has locked the journal {path} ({detail}, for {patience:g} s): try again, or {ELSEWHERE}"
        )
    if "full" in detail:
        return f"the disk of the journal {path} is full ({detail}): free some space, or {ELSEWHERE}"
    if "disk I/O" in detail:
        return (
            f"the disk of the journal {path} fails ({detail}): check that it is mounted and has free space, or "
            f"{ELSEWHERE}"
        )
    return f"the journal {path} cannot be used ({detail}): {ELSEWHERE}"
