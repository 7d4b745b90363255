"""The sessions of a journal, one per running call, and whether a session is still running.

A held lock in the `-owners` file proves that it is (`leases`). A free one proves nothing, because the file may have
been deleted or replaced: then the process decides, by its id, its start and the machine's boot. If that cannot be known
(another machine, a system without /proc), a free lock decides if the file has recorded the session; else the session
counts as running for `UNPROVEN` seconds after its last record.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
import time
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from . import leases

UNPROVEN: Final = 3_600.0
"""Seconds after its last record for which a session counts as running that cannot be proved to have ended."""

_NANO: Final = 1_000_000_000


class ProcessIdentity(NamedTuple):
    """Identifies a process: its machine, the machine's boot, its id and its start."""

    host: str
    boot: str
    process: int
    began: str


def begin(connection: sqlite3.Connection, run: int) -> int:
    """Record that this process runs a call in a run; return the session's number."""
    here = this_process()
    query = "INSERT INTO sessions (run, process, started_at, host, boot, began) VALUES (?, ?, ?, ?, ?, ?)"
    values = (run, here.process, time.time_ns(), here.host, here.boot, here.began)
    number = connection.execute(query, values).lastrowid
    assert number is not None
    return number


def end(connection: sqlite3.Connection, session: int) -> None:
    """Record that a session has ended."""
    connection.execute("UPDATE sessions SET ended_at = ? WHERE id = ?", (time.time_ns(), session))


def at_work(connection: sqlite3.Connection, path: Path, session: int, *, unproven: bool = True) -> bool:
    """Return whether a session of the journal at `path` (without symbolic links) is running, or may be.

    If nothing proves either, the result is `unproven` for `UNPROVEN` seconds.
    """
    lease = leases.ask(path, session)
    if lease == leases.HELD:
        return True
    query = "SELECT process, host, boot, began, started_at, ended_at FROM sessions WHERE id = ?"
    row = connection.execute(query, (session,)).fetchone()
    # In a session of an older version of the tables, which has no host, the lock alone decides.
    if row is None or row[1] is None or row[5] is not None:
        return False
    owner = ProcessIdentity(row[1], row[2], row[0], row[3])
    if owner == this_process():
        return leases.is_ours(path, session)
    # Also where the lock is free: the file may be a copy that took the place of the one that is locked.
    alive = _is_alive(owner)
    if alive is not None:
        return alive
    if lease == leases.FREE:
        return False
    started_at = row[4]
    query = "SELECT max(at) FROM records WHERE session = ?"
    latest = connection.execute(query, (session,)).fetchone()[0] or 0
    since: float = max(started_at, latest) / _NANO
    return unproven and time.time() - since < UNPROVEN


def others_at_work(connection: sqlite3.Connection, path: Path, *, but: int, run: int | None = None) -> bool:
    """Return whether any other session is running in the journal, or in one run of it."""
    query = "SELECT id FROM sessions WHERE ended_at IS NULL AND id <> ? AND (? IS NULL OR run = ?) ORDER BY id DESC"
    rows = connection.execute(query, (but, run, run)).fetchall()
    return any(at_work(connection, path, session) for (session,) in rows)


def end_dead(connection: sqlite3.Connection, path: Path, *, but: int) -> bool:
    """Record that killed sessions have ended; return whether any other session is running."""
    query = "SELECT id FROM sessions WHERE ended_at IS NULL AND id <> ?"
    unended = [session for (session,) in connection.execute(query, (but,))]
    alive = {session for session in unended if at_work(connection, path, session)}
    for session in unended:
        if session not in alive:
            end(connection, session)
    return bool(alive)


def _is_alive(owner: ProcessIdentity) -> bool | None:
    """Return whether a process is alive; None if that cannot be known from here."""
    here = this_process()
    if owner.host != here.host or not here.began:
        return None
    if owner.boot != here.boot:
        return False
    return _began(owner.process) == owner.began


def this_process() -> ProcessIdentity:
    """Return the identity of this process."""
    process = os.getpid()
    return ProcessIdentity(*_machine(), process, _began(process))


@cache
def _machine() -> tuple[str, str]:
    """Return this machine and its boot; a container counts as a machine, because its process ids are its own."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        space = boot = ""
    return f"{socket.gethostname()} {space}".strip(), boot


def _began(process: int) -> str:
    """Return when a process has begun, in the kernel's own ticks since the boot; empty if it is not there."""
    if not sys.platform.startswith("linux"):
        return ""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    # proc(5): the name, in brackets, may hold spaces; the state is field 3, the start field 22.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
