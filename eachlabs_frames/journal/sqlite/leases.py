"""The locks of sessions at work: each session holds one byte of the `-owners` file, and the system releases it.

A claim without an answer belongs to a session that is waiting for it, or to one that died: this tells the two apart,
also after a kill. Locks are the operating system's, one byte each, at the session's number. The byte itself says that
the file has seen the session: without it, the file is another one than the session has locked, and a free lock proves
nothing. POSIX drops all of a process's locks on a file when any handle of it is closed, so no file is ever open here
twice, and none is closed while it holds one.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

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


HELD: Final = "held"
FREE: Final = "free"
NOT_KNOWN: Final = "not known"

_REFUSED = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


@dataclass(slots=True)
class _File:
    """An open file of locks, and the sessions of this process in it."""

    handle: int
    key: tuple[int, int]
    path: Path
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
class Lease:
    """What `hold` gives and `release` takes."""

    file: _File
    session: int


def hold(path: Path, session: int) -> Lease:
    """Lock the byte of `session` of the journal at `path`, until `release` or the end of this process.

    `path` is to be without symbolic links, so that all who share a journal share its locks.
    """
    with _guard:
        file = _opened(path, create=True)
        assert file is not None
        try:
            _lock(file.handle, session)
            os.lseek(file.handle, session, os.SEEK_SET)
            os.write(file.handle, b"\1")
            file.ours.add(session)
        finally:
            _close_if_idle(file)
    return Lease(file, session)


def renewed(path: Path, lease: Lease) -> Lease:
    """Return a lock that others can see: the same one, or a new one if the file was deleted or replaced."""
    if _key(path) == lease.file.key:
        return lease
    new = hold(path, lease.session)
    release(lease)
    return new


def release(lease: Lease) -> None:
    """Release the lock of a session that has ended."""
    file = lease.file
    with _guard:
        if _files.get(file.key) is file and lease.session in file.ours:
            file.ours.discard(lease.session)
            _unlock(file.handle, lease.session)
            _close_if_idle(file)


def ask(path: Path, session: int) -> Literal["held", "free", "not known"]:
    """Say whether the lock of `session` is held, by this process or another, or whether the file does not know it."""
    with _guard:
        file = _opened(path, create=False)
        if file is None:
            return NOT_KNOWN
        try:
            # The system would grant this process a lock that it already has, and then take it away.
            if session in file.ours or _is_locked(file.handle, session):
                return HELD
            os.lseek(file.handle, session, os.SEEK_SET)
            return FREE if os.read(file.handle, 1) == b"\1" else NOT_KNOWN
        finally:
            _close_if_idle(file)


def is_ours(path: Path, session: int) -> bool:
    """Say whether this process holds the lock of `session`, be it in a file that was deleted or replaced since."""
    with _guard:
        return any(file.path == path and session in file.ours for file in _files.values())


def _is_locked(handle: int, session: int) -> bool:
    try:
        _try(handle, session)
    except OSError as exc:
        if exc.errno in _REFUSED:
            return True
        raise
    _unlock(handle, session)
    return False


def _opened(path: Path, *, create: bool) -> _File | None:
    """Return the file of a journal's locks that is in place now, opened once only; None if there is none."""
    key = _key(path)
    if key is not None and key in _files:
        return _files[key]
    try:
        handle = os.open(f"{path}-owners", os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        return None
    status = os.fstat(handle)
    key = (status.st_dev, status.st_ino)
    return _files.setdefault(key, _File(handle, key, path))


def _key(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(f"{path}-owners")  # noqa: PTH116 - with each commit, and pathlib takes five times as long
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _close_if_idle(file: _File) -> None:
    if not file.ours:
        del _files[file.key]
        os.close(file.handle)
