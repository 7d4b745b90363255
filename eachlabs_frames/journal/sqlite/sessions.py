"""The sessions of a journal, one per running call: their leases, and whether a session is still running.

A claim without an answer belongs to a session that is waiting for it, or to one that died. Each session has a *lease*:
a lock of the operating system on one byte of the `-owners` file, at the session's number, which the system releases
when the process ends. A locked byte proves that the session is running. A free one proves nothing, because the file may
have been deleted or replaced: then the process decides, by its id, its start and the machine's boot. If that cannot be
known (another machine, a system without /proc), a free lock decides if the file has recorded the session: the session
has written its byte; else the session counts as running for `UNPROVEN` seconds after its last record.

POSIX drops all of a process's locks on a file when any handle of it is closed, so no file is ever open here twice, and
none is closed while this process has a lock in it.
"""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

from .integrity import FileId, file_id

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int, session: int) -> None:
        os.lseek(handle, session, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)

    def _try_lock(handle: int, session: int) -> None:
        os.lseek(handle, session, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _unlock(handle: int, session: int) -> None:
        os.lseek(handle, session, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(handle: int, session: int) -> None:
        fcntl.lockf(handle, fcntl.LOCK_EX, 1, session, os.SEEK_SET)

    def _try_lock(handle: int, session: int) -> None:
        # A shared lock: two processes that test a lease at once must not take each other for its owner.
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, session, os.SEEK_SET)

    def _unlock(handle: int, session: int) -> None:
        fcntl.lockf(handle, fcntl.LOCK_UN, 1, session, os.SEEK_SET)


UNPROVEN: Final = 3_600.0
"""Seconds after its last record for which a session counts as running that cannot be proved to have ended."""

_REFUSED: Final = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


# -- leases -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class LeaseFile:
    """An open `-owners` file, and the sessions of this process that have a lease in it."""

    handle: int
    id: FileId
    path: Path
    sessions: set[int] = field(default_factory=set)


_lock_of_files = threading.Lock()
_files: dict[FileId, LeaseFile] = {}


def _after_fork() -> None:
    """Leave the locks to the parent: they belong to its process, and closing its files here releases none of them."""
    global _lock_of_files
    _lock_of_files = threading.Lock()
    for file in _files.values():
        os.close(file.handle)
    _files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def acquire_lease(path: Path, session: int) -> LeaseFile:
    """Lock the byte of `session` of the journal at `path`, until `release_lease` or the end of this process.

    `path` must be without symbolic links, so that all who share a journal share its locks.
    """
    with _lock_of_files:
        file = _open(path, create=True)
        assert file is not None
        try:
            _lock(file.handle, session)
            os.lseek(file.handle, session, os.SEEK_SET)
            os.write(file.handle, b"\1")
            file.sessions.add(session)
        finally:
            _close_if_unused(file)
    return file


def renew_lease(file: LeaseFile, session: int, path: Path) -> LeaseFile:
    """Return the file with a lease that others can see: a new one if the file was deleted or replaced."""
    if file_id(f"{path}-owners") == file.id:
        return file
    new = acquire_lease(path, session)
    release_lease(file, session)
    return new


def release_lease(file: LeaseFile, session: int) -> None:
    """Release the lock of a session that has ended."""
    with _lock_of_files:
        if _files.get(file.id) is file and session in file.sessions:
            file.sessions.discard(session)
            _unlock(file.handle, session)
            _close_if_unused(file)


def lease_state(path: Path, session: int) -> Literal["held", "free", "not known"]:
    """Return whether this process or another has the lease of `session`; "not known" if the file has not seen it."""
    with _lock_of_files:
        file = _open(path, create=False)
        if file is None:
            return "not known"
        try:
            # The system would grant this process a lock that it already has, and then take it away.
            if session in file.sessions or _is_locked(file.handle, session):
                return "held"
            os.lseek(file.handle, session, os.SEEK_SET)
            return "free" if os.read(file.handle, 1) == b"\1" else "not known"
        finally:
            _close_if_unused(file)


def _has_lease(path: Path, session: int) -> bool:
    """Return whether this process has the lease of `session`, even in a file that was deleted or replaced since."""
    with _lock_of_files:
        return any(file.path == path and session in file.sessions for file in _files.values())


def _is_locked(handle: int, session: int) -> bool:
    try:
        _try_lock(handle, session)
    except OSError as exc:
        if exc.errno in _REFUSED:
            return True
        raise
    _unlock(handle, session)
    return False


def _open(path: Path, *, create: bool) -> LeaseFile | None:
    """Return the `-owners` file that is in place now, opened only once; None if there is none."""
    existing = file_id(f"{path}-owners")
    if existing is not None and existing in _files:
        return _files[existing]
    try:
        handle = os.open(f"{path}-owners", os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        return None
    status = os.fstat(handle)
    opened = status.st_dev, status.st_ino
    return _files.setdefault(opened, LeaseFile(handle, opened, path))


def _close_if_unused(file: LeaseFile) -> None:
    if not file.sessions:
        del _files[file.id]
        os.close(file.handle)


# -- sessions ---------------------------------------------------------------------------------------------------------


def begin_session(connection: sqlite3.Connection, run: int) -> int:
    """Record that this process runs a call in a run; return the session's number."""
    query = "INSERT INTO sessions (run, host, boot, process, began, started_at) VALUES (?, ?, ?, ?, ?, ?)"
    number = connection.execute(query, (run, *this_process(), time.time_ns())).lastrowid
    assert number is not None
    return number


def end_session(connection: sqlite3.Connection, session: int) -> None:
    """Record that a session has ended."""
    connection.execute("UPDATE sessions SET ended_at = ? WHERE id = ?", (time.time_ns(), session))


def end_dead_sessions(connection: sqlite3.Connection, path: Path, *, but: int) -> bool:
    """Record that killed sessions have ended; return whether any session other than `but` is running."""
    query = "SELECT id FROM sessions WHERE ended_at IS NULL AND id <> ?"
    unended = [session for (session,) in connection.execute(query, (but,))]
    alive = {session for session in unended if is_running(connection, path, session)}
    for session in unended:
        if session not in alive:
            end_session(connection, session)
    return bool(alive)


def is_running(connection: sqlite3.Connection, path: Path, session: int, *, unproven: bool = True) -> bool:
    """Return whether a session of the journal at `path` (without symbolic links) is running, or may be.

    If nothing proves either, the result is `unproven` for `UNPROVEN` seconds.
    """
    lease = lease_state(path, session)
    if lease == "held":
        return True
    query = "SELECT host, boot, process, began, started_at, ended_at FROM sessions WHERE id = ?"
    row = connection.execute(query, (session,)).fetchone()
    if row is None:
        return False
    owner, (host, *_, started_at, ended_at) = row[:4], row
    # In a session of an older version of the tables, which has no host, the lock alone decides.
    if host is None or ended_at is not None:
        return False
    if owner == this_process():
        return _has_lease(path, session)
    # Also if the lock is free: the file may be a copy that took the place of the locked one.
    alive = _is_alive(owner)
    if alive is not None:
        return alive
    if lease == "free":
        return False
    query = "SELECT max(at) FROM records WHERE session = ?"
    latest = connection.execute(query, (session,)).fetchone()[0] or 0
    since: float = max(started_at, latest) / 1e9
    return unproven and time.time() - since < UNPROVEN


def others_running(connection: sqlite3.Connection, path: Path, *, but: int, run: int | None = None) -> bool:
    """Return whether any session other than `but` is running in the journal, or in one run of it."""
    query = "SELECT id FROM sessions WHERE ended_at IS NULL AND id <> ? AND (? IS NULL OR run = ?) ORDER BY id DESC"
    rows = connection.execute(query, (but, run, run)).fetchall()
    return any(is_running(connection, path, session) for (session,) in rows)


# -- processes --------------------------------------------------------------------------------------------------------

Process: TypeAlias = tuple[str, str, int, str]
"""Identifies a process: its machine, the machine's boot, its id and its start."""


def this_process() -> Process:
    """Return the identity of this process."""
    process = os.getpid()
    return *_machine(), process, _start_of(process)


def _is_alive(owner: Process) -> bool | None:
    """Return whether a process is alive; None if that cannot be known from here."""
    host, boot, process, start = owner
    this_host, this_boot, _, this_start = this_process()
    if host != this_host or not this_start:
        return None
    if boot != this_boot:
        return False
    return _start_of(process) == start


@cache
def _machine() -> tuple[str, str]:
    """Return this machine and its boot; a container counts as a machine, because its process ids are its own."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        namespace = boot = ""
    return f"{socket.gethostname()} {namespace}".strip(), boot


def _start_of(process: int) -> str:
    """Return when a process started, in clock ticks since the boot; empty if there is no such process."""
    if not sys.platform.startswith("linux"):
        return ""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    # proc(5): the name, in brackets, may hold spaces; the state is field 3, the start field 22.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
