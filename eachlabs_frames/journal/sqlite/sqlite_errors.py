"""What can be wrong with the journal's file, in words that say what to do. Any trouble with it is a JournalError."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ...errors import EachlabsError, JournalError

BUSY_TIMEOUT: Final = 10.0
"""Seconds that a write waits for another process's."""

ELSEWHERE: Final = "name another file with configure(journal=...) or EACHLABS_JOURNAL"

_NOTHING_SENT: Final = "Nothing is sent without a journal, but with journal=None"
_FULL: Final = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextmanager
def translated(path: Path, patience: float = BUSY_TIMEOUT, *, to_send: bool = True) -> Iterator[None]:
    """Say what is wrong with the file in words that help; `to_send` where requests depend on it.

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
        words = _words(exc, path, patience)
        msg = f"{words}. {_NOTHING_SENT}" if to_send else words
        raise JournalError(msg) from exc


def damaged(path: Path, said: object) -> JournalError:
    """Make the error for a file whose content cannot be right."""
    return JournalError(f"the journal {path} is damaged ({said}): keep the file for recovery, and {ELSEWHERE}")


def _words(exc: Exception, path: Path, patience: float) -> str:
    said = str(exc)
    if isinstance(exc, OSError):
        said = exc.strerror or said
        if exc.errno in _FULL:
            said = f"the disk is full: {said}"
        return f"the journal {path} cannot be used ({said}): {ELSEWHERE}"
    if "not a database" in said:
        return f"{path} is not a journal of this package ({said}): {ELSEWHERE}"
    if "malformed" in said or "corrupt" in said:
        return str(damaged(path, said))
    if "locked" in said or "busy" in said:
        return f"another process has locked the journal {path} ({said}, for {patience:g} s): try again, or {ELSEWHERE}"
    if "full" in said:
        return f"the disk of the journal {path} is full ({said}): free some space, or {ELSEWHERE}"
    if "disk I/O" in said:
        return (
            f"the disk of the journal {path} fails ({said}): check that it is mounted and has free space, or "
            f"{ELSEWHERE}"
        )
    return f"the journal {path} cannot be used ({said}): {ELSEWHERE}"
