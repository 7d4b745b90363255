"""Which calls are still at work: each holds one byte of a file beside the journal, and the system lets go of it.

A claim without an answer belongs to a call that is waiting for it, or to one that died: this tells the two apart,
also where the process was killed. Locks are of the operating system, of one byte each, at the session's number. POSIX
drops all of a process's locks on a file when any handle of it is closed, so no file is ever open here twice, and none
is closed while it holds one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, place: int) -> None:
        os.lseek(file, place, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_LOCK, 1)

    def _try(file: int, place: int) -> None:
        os.lseek(file, place, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _unlock(file: int, place: int) -> None:
        os.lseek(file, place, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: int, place: int) -> None:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, place, os.SEEK_SET)

    def _try(file: int, place: int) -> None:
        # A shared one, for two who ask at once must not take each other for the owner.
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, place, os.SEEK_SET)

    def _unlock(file: int, place: int) -> None:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, place, os.SEEK_SET)


_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


@dataclass(slots=True)
class _File:
    """An open file of locks, and the sessions of this process in it."""

    handle: int
    key: tuple[int, int]
    ours: set[int] = field(default_factory=set)


_guard = threading.Lock()
_files: dict[tuple[int, int], _File] = {}


def _after_fork() -> None:
    """Leave the locks to the parent: they are its process's own, and closing its files here opens none of them."""
    global _guard
    _guard = threading.Lock()
    for file in _files.values():
        os.close(file.handle)
    _files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True, slots=True)
class Hold:
    """What `hold` gives and `release` takes."""

    file: _File
    session: int


def hold(path: Path, session: int) -> Hold:
    """Say that `session` of the journal at `path` is at work, until `release` or the end of this process.

    `path` is to be without symbolic links, so that all who share a journal share its locks.
    """
    with _guard:
        file = _opened(path)
        try:
            _lock(file.handle, session)
            file.ours.add(session)
        finally:
            _close_if_idle(file)
    return Hold(file, session)


def release(held: Hold) -> None:
    """Say that a session is over."""
    file = held.file
    with _guard:
        if _files.get(file.key) is file and held.session in file.ours:
            file.ours.discard(held.session)
            _unlock(file.handle, held.session)
            _close_if_idle(file)


def at_work(path: Path, session: int) -> bool:
    """Say whether `session` is at work, in this process or in another."""
    with _guard:
        file = _opened(path)
        try:
            # The system would give this process a lock that it has already, and then take it away.
            return session in file.ours or _is_locked(file.handle, session)
        finally:
            _close_if_idle(file)


def _is_locked(handle: int, session: int) -> bool:
    try:
        _try(handle, session)
    except OSError as exc:
        if exc.errno in _HELD:
            return True
        raise
    _unlock(handle, session)
    return False


def _opened(path: Path) -> _File:
    """Return the file of a journal's locks: the one that is there now, which is not open here yet or used again."""
    name = f"{path}-owners"
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(name)  # noqa: PTH116 - for each row without an answer, and pathlib takes five times as long
        known = _files.get((found.st_dev, found.st_ino))
        if known is not None:
            return known
    handle = os.open(name, os.O_CREAT | os.O_RDWR, 0o600)
    found = os.fstat(handle)
    key = (found.st_dev, found.st_ino)
    return _files.setdefault(key, _File(handle, key))


def _close_if_idle(file: _File) -> None:
    if not file.ours:
        del _files[file.key]
        os.close(file.handle)
