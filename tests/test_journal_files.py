from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from eachlabs_frames.errors import JournalError, RunError
from eachlabs_frames.inputs.fingerprints import fingerprint
from eachlabs_frames.journal import open_journal
from eachlabs_frames.journal.base import RowChunk, RunSpec
from eachlabs_frames.journal.records import RowState
from eachlabs_frames.journal.sqlite import database, integrity, sessions
from eachlabs_frames.journal.sqlite.migrations import MIGRATIONS
from eachlabs_frames.journal.sqlite.run_journal import SqliteRunJournal
from eachlabs_frames.journal.sqlite.run_tables import CHUNK
from eachlabs_frames.models import Outcome

from .chaos.fork_server import until

PIN = RunSpec("wf", "v1", "http://localhost")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return the path of a journal that does not exist yet."""
    return tmp_path / "j.sqlite"


def _fill(path: Path, rows: int = 500) -> None:
    entry = SqliteRunJournal(path, "r")
    entry.enter(PIN)
    digests = [fingerprint(row) for row in range(rows)]
    payloads = [b'{"prompt":"%d"}' % row for row in range(rows)]
    entry.register([RowChunk(digests, digests, list(range(rows)), payloads, [True] * rows)])
    assert entry.close() is None


def _enter(path: Path) -> None:
    entry = SqliteRunJournal(path, "r", timeout=0.05)
    try:
        entry.enter(PIN)
    finally:
        entry.close()


def _python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.strip()


def test_a_new_journal_and_its_folders_are_private(tmp_path: Path) -> None:
    """Prompts and results are private: files get mode 0600 and folders that are created 0700, whatever the umask."""
    path = tmp_path / "a" / "b" / "j.sqlite"
    before = os.umask(0)
    try:
        entry = SqliteRunJournal(path, "r")
        entry.enter(PIN)
        files = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        entry.close()
    finally:
        os.umask(before)
    assert files == dict.fromkeys(
        ["j.sqlite", "j.sqlite-wal", "j.sqlite-shm", "j.sqlite-owners", "j.sqlite-mark"], 0o600
    )
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_an_empty_file_becomes_a_private_journal(journal: Path) -> None:
    """An empty file, as functions for temporary files create it, is treated like a missing one."""
    journal.touch()
    journal.chmod(0o644)
    _fill(journal)
    assert journal.stat().st_mode & 0o777 == 0o600
    assert [run.name for run in open_journal(journal).summaries()] == ["r"]


def test_the_writing_connection_commits_synchronously(journal: Path) -> None:
    """The connection has synchronous=FULL (2) and a write-ahead log, so a claim survives a power failure."""
    connection = database.connect(journal)
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    connection.close()


BAD_FILES = {
    "a text": b"dear journal\n",
    "a long text": b"x" * 5_000,
    "zeros": bytes(4_096),
    "a header alone": b"SQLite format 3\0" + bytes(50),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_no_journal_is_refused_and_unchanged(journal: Path, content: bytes) -> None:
    """The error contains the path, and the file is not overwritten, even if it starts like a SQLite file."""
    journal.write_bytes(content)
    for use in (_enter, lambda path: open_journal(path).summaries()):
        with pytest.raises(JournalError, match=r"j\.sqlite is not a journal of this package .*configure\(journal="):
            use(journal)
    assert journal.read_bytes() == content


def test_a_database_of_another_program_is_refused_and_unchanged(journal: Path) -> None:
    """A database with foreign tables, application_id or user_version gets no tables of the journal."""
    for statement in ("CREATE TABLE theirs (a)", "PRAGMA application_id = 77", "PRAGMA user_version = 3"):
        other = sqlite3.connect(journal)
        other.execute(statement)
        other.close()
        before = journal.read_bytes()
        for use in (_enter, lambda path: open_journal(path).summaries()):
            with pytest.raises(JournalError, match="database of another program"):
                use(journal)
        assert journal.read_bytes() == before
        journal.unlink()


def test_a_journal_of_a_newer_version_is_refused_and_unchanged(journal: Path) -> None:
    """The error asks to upgrade the package; the schema version of the file stays."""
    database.connect(journal, migrations=(*MIGRATIONS, "CREATE TABLE more (a)")).close()
    for use in (_enter, lambda path: open_journal(path).summaries()):
        with pytest.raises(JournalError, match=r"newer eachlabs-frames .*upgrade"):
            use(journal)
    connection = sqlite3.connect(journal)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS) + 1
    connection.close()


def test_an_older_schema_is_migrated_with_its_data(journal: Path) -> None:
    """Each migration runs once, in order; a file with the application_id but no tables is migrated from the start."""
    marked = sqlite3.connect(journal)
    marked.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
    marked.close()
    _fill(journal)
    later = (*MIGRATIONS, "ALTER TABLE runs ADD COLUMN colour TEXT DEFAULT 'blue'", "CREATE TABLE more (a)")
    for _ in range(2):
        connection = database.connect(journal, migrations=later)
        assert connection.execute("SELECT name, colour FROM runs").fetchall() == [("r", "blue")]
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(later)
        connection.close()


def test_a_failed_migration_leaves_the_file_unchanged(journal: Path) -> None:
    """All steps of a migration run in one transaction."""
    _fill(journal)
    with pytest.raises(JournalError, match="cannot be used"):
        database.connect(journal, migrations=(*MIGRATIONS, "CREATE TABLE more (a); SELECT nonsense"))
    connection = database.connect(journal)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone()[0] == 0
    connection.close()


@pytest.mark.parametrize("percent", [*range(3, 100, 8), 99.99])
def test_a_truncated_file_is_refused_when_the_run_is_entered(journal: Path, percent: float) -> None:
    """The error comes before anything is sent, wherever the file was cut; it is never read as a shorter run."""
    _fill(journal)
    os.truncate(journal, int(journal.stat().st_size * percent / 100))
    with pytest.raises(JournalError, match=r"damaged|no journal of this package"):
        _enter(journal)


def test_a_truncated_file_with_a_write_ahead_log_is_refused(journal: Path) -> None:
    """If a log is left, SQLite does not compare the file's size with its page count, so the journal does."""
    _fill(journal, 5_000)
    code = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('UPDATE runs SET note = 1'); os._exit(0)"
    )
    _python(code, journal)
    assert Path(f"{journal}-wal").stat().st_size
    os.truncate(journal, journal.stat().st_size // 2)
    with pytest.raises(JournalError, match="damaged"):
        _enter(journal)


def test_fingerprints_of_zeros_are_refused_as_damage(journal: Path) -> None:
    """A row that is not recognized would be paid again, so zeros in place of fingerprints count as damage."""
    _fill(journal)
    connection = sqlite3.connect(journal)
    connection.execute("UPDATE sheets SET digests = zeroblob(8000)")
    connection.commit()
    connection.close()
    with pytest.raises(JournalError, match="damaged"):
        _enter(journal)


def test_an_unreadable_record_is_refused_as_damage(journal: Path) -> None:
    """The error says that the journal is damaged and names the record."""
    _fill(journal)
    connection = sqlite3.connect(journal)
    for rows, body in ((b"\0\0\0\0", b"["), (b"\0", None), (b"\xff" * 4, None), (b"\0\0\0\0", b'["b",[[1,2,3,"x"]]]')):
        connection.execute("DELETE FROM records")
        connection.execute("INSERT INTO records VALUES (1, 1, 1, 1, 0, ?, ?)", (rows, body))
        connection.commit()
        for use in (_enter, lambda path: open_journal(path).load("r")):
            with pytest.raises(JournalError, match=r"damaged .*record 1"):
                use(journal)
    connection.close()


def test_an_unreadable_run_does_not_affect_other_runs(journal: Path) -> None:
    """Its rows count as unknown and it can be deleted; other runs are listed, loaded, resumed and searched."""
    _fill(journal, 5)
    entry = SqliteRunJournal(journal, "s")
    entry.enter(PIN)
    digests = [fingerprint("other")]
    entry.register([RowChunk(digests, digests, [0], [b"{}"], [0])])
    entry.settle([Outcome(0, "queued", "b", "e0")])
    entry.close()
    connection = sqlite3.connect(journal)
    now = time.time_ns()
    insert = "INSERT INTO records (run, session, kind, at, rows, body) VALUES (1, 1, ?, ?, ?, ?)"
    for body in (b"[", None):
        connection.execute(insert, (1, now, b"\0" * 4, body))
    connection.execute(insert, (0, now, b"\0", None))
    connection.execute("UPDATE sheets SET contents = x'00' WHERE run = 1")
    connection.commit()
    connection.close()
    assert {run.name: run.counts for run in open_journal(journal).summaries()} == {
        "r": {"unknown": 5},
        "s": {"queued": 1},
    }
    assert open_journal(journal).load("s").state.results.execution_id == ["e0"]
    assert open_journal(journal).runs_of_ids({"b", "other"}) == {"b": ("s", PIN)}
    assert open_journal(journal).settled("wf", None, "http://localhost", inputs=True) == []
    entry = SqliteRunJournal(journal, "s")
    entry.enter(PIN)
    assert asyncio.run(entry.claimed(0.0)).executions == {"e0"}
    assert asyncio.run(entry.claim([0]))[0].state == "new"
    entry.close()
    assert open_journal(journal).delete("r") == 5
    assert [run.name for run in open_journal(journal).summaries()] == ["s"]


def test_a_journal_of_the_first_version_is_migrated(journal: Path) -> None:
    """Its run can be resumed, and the mark that detects lost records is written from then on."""
    connection = sqlite3.connect(journal)
    connection.executescript(MIGRATIONS[0])
    connection.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.execute(
        "INSERT INTO runs VALUES (1, 'r', ?, '[null]', 1, NULL)", (json.dumps(asdict(PIN), sort_keys=True),)
    )
    digest = fingerprint("a")
    connection.execute("INSERT INTO sheets VALUES (1, 0, 1, ?, NULL, '[0]', '[{}]')", (digest,))
    connection.execute("INSERT INTO sessions VALUES (1, 1, 1, 1)")
    connection.execute("INSERT INTO records VALUES (7, 1, 1, 0, 1, ?, NULL)", (b"\0" * 4,))
    connection.commit()
    connection.close()
    entry = SqliteRunJournal(journal, "r")
    entry.enter(PIN)
    assert entry.row_state(0) == RowState("sent", is_live=False)
    entry.settle([Outcome(0, "queued", "b", "e0")])
    entry.close()
    marked = integrity.read_mark(journal)
    assert marked is not None
    assert marked[1] == 8


def test_a_journal_of_the_second_version_gets_the_tables_of_uploads(journal: Path) -> None:
    """Its runs are unchanged."""
    database.connect(journal, migrations=MIGRATIONS[:2]).close()
    _fill(journal, 1)
    database.connect(journal).close()
    assert open_journal(journal).uploads("a") == []
    assert [run.name for run in open_journal(journal).summaries()] == ["r"]


@pytest.mark.parametrize("is_used", [False, True])
def test_a_deleted_run_leaves_no_content_in_the_files(journal: Path, is_used: bool) -> None:
    """Its prompts are overwritten in the file and in the log; the file shrinks unless another call is writing to it."""
    _fill(journal, 1)
    other = SqliteRunJournal(journal, "s")
    if is_used:
        other.enter(PIN)
    entry = SqliteRunJournal(journal, "secret")
    entry.enter(PIN)
    digests = [fingerprint(row) for row in range(500)]
    payloads = [b'{"prompt":"a secret picture %d"}' % row for row in range(500)]
    entry.register([RowChunk(digests, digests, list(range(500)), payloads, [0] * 500)])
    entry.settle([Outcome(0, "failed", "b", "e", "a secret picture failed")])
    entry.close()
    before = journal.stat().st_size
    assert open_journal(journal).delete("secret") == 500
    files = {file.name: file.read_bytes() for file in journal.parent.iterdir()}
    assert [name for name, content in files.items() if b"secret picture" in content] == []
    assert is_used or journal.stat().st_size < before
    if is_used:
        other.register([RowChunk(digests[1:2], digests[1:2], [0], [b"{}"], [0])])
        assert asyncio.run(other.claim([0]))[0].state == "new"
    assert other.close() is None
    assert open_journal(journal).load("r").labels == [0]


def test_accept_loss_marks_rows_that_a_later_call_would_send(journal: Path) -> None:
    """Rows that are new or failed are marked as sent, in groups of a request; refused while a call uses the journal."""
    entry = SqliteRunJournal(journal, "r")
    entry.enter(PIN)
    digests = [fingerprint(row) for row in range(15)]
    entry.register([RowChunk(digests, digests, [0] * 15, [b"{}"] * 15, [0] * 15)])
    asyncio.run(entry.claim([0, 1]))
    results = [("queued", "e0"), ("failed", None), ("invalid", None)]
    entry.settle([Outcome(row, status, None, execution_id) for row, (status, execution_id) in enumerate(results)])
    asyncio.run(entry.claim([3]))
    marked = integrity.read_mark(journal)
    assert marked is not None
    lost = integrity.MarkWriter(journal, marked[0], 0)
    lost.open(99)
    lost.write(99)
    lost.close()
    with pytest.raises(JournalError, match=f"is in use \\(by process {os.getpid()}\\): stop that process"):
        open_journal(journal).accept_loss()
    entry.close()
    with pytest.raises(JournalError, match="not complete"):
        open_journal(journal).load("r")
    connection = sqlite3.connect(journal)
    with connection:
        connection.execute("UPDATE records SET at = at - 3600000000000")
        connection.execute("UPDATE runs SET created_at = created_at - 3600000000000")
    connection.close()
    assert open_journal(journal).accept_loss() == {"r": 12}
    assert open_journal(journal).accept_loss() == {}
    again = SqliteRunJournal(journal, "r")
    again.enter(PIN)
    assert [again.row_state(row).state for row in range(5)] == ["settled", "sent", "new", "sent", "sent"]
    assert [again.row_state(row).is_live for row in (1, 3)] == [False, False]
    requests = again.lost_requests([1, *range(4, 15)], timeout=1.0)
    assert [len(request.rows) for request in requests] == [10, 2]
    # They may have been sent at any time between the last remaining record and the loss.
    assert all(request.until - request.since > 3_000 for request in requests)
    again.close()


def test_record_numbers_are_not_reused(journal: Path) -> None:
    """After the run with the latest records is deleted, the mark must not report a loss."""
    for run in ("r", "s"):
        entry = SqliteRunJournal(journal, run)
        entry.enter(PIN)
        digests = [fingerprint(run)]
        entry.register([RowChunk(digests, digests, [0], [b"{}"], [0])])
        entry.settle([Outcome(0, "queued", "b", "e0")])
        entry.close()
    open_journal(journal).delete("s")
    entry = SqliteRunJournal(journal, "r")
    entry.enter(PIN)
    entry.settle([Outcome(0, "queued", "b", "e0")])
    entry.close()
    connection = sqlite3.connect(journal)
    assert [number for (number,) in connection.execute("SELECT id FROM records ORDER BY id")] == [1, 3]
    connection.close()


def _started(path: Path) -> SqliteRunJournal:
    """Return an open run of two rows, of which the first has an accepted execution on disk."""
    entry = SqliteRunJournal(path, "r")
    entry.enter(PIN)
    digests = [fingerprint(row) for row in range(2)]
    entry.register([RowChunk(digests, digests, [0, 1], [b"{}"] * 2, [0] * 2)])
    asyncio.run(entry.claim([0]))
    entry.settle([Outcome(0, "queued", "b", "e0")])
    asyncio.run(entry.flush())
    return entry


def test_records_that_vanish_during_a_call_stop_its_claims(journal: Path) -> None:
    """The call has read more records than the journal now contains, so claims raise."""
    entry = _started(journal)
    connection = sqlite3.connect(journal)
    with connection:
        connection.execute("DELETE FROM records WHERE id > 1")
    connection.close()
    with pytest.raises(JournalError, match=r"not complete: it holds 1 record\(s\), and held 2 a moment ago"):
        asyncio.run(entry.claim([1]))
    entry.close()


def test_a_deleted_log_is_recovered_on_close(journal: Path) -> None:
    """The records are in the main file after `close`, also if another program has the journal open."""
    entry = _started(journal)
    other = sqlite3.connect(journal)
    assert other.execute("SELECT count(*) FROM records").fetchone() == (2,)
    Path(f"{journal}-wal").unlink()
    entry.close()
    copied = journal.with_name("copied.sqlite")
    shutil.copy(journal, copied)
    connection = sqlite3.connect(copied)
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (2,)
    connection.close()
    other.close()


def test_rows_are_read_without_holding_the_lock(journal: Path) -> None:
    """Reading a frame may take long, so other calls can write while it is read, even the same rows."""
    first, second = SqliteRunJournal(journal, "r"), SqliteRunJournal(journal, "r", timeout=0.05)
    first.enter(PIN)
    second.enter(PIN)
    size = CHUNK
    digests = [fingerprint(row) for row in range(2 * size)]

    def chunks() -> Iterator[RowChunk]:
        for start in (0, size):
            part = digests[start : start + size]
            assert second.register([RowChunk(part[:2], part[:2], [0, 1], [b"{}"] * 2, [0] * 2)]) == [start, start + 1]
            yield RowChunk(part, part, list(range(size)), [b"{}"] * size, [0] * size)

    assert first.register(chunks()) == list(range(2 * size))
    first.close()
    second.close()
    assert len(open_journal(journal).load("r").inputs) == 2 * size


def test_a_frame_that_fails_while_it_is_read_leaves_no_rows(journal: Path) -> None:
    """Chunks that were already written are removed, unless another call has entered the run since."""
    digests = [fingerprint(row) for row in range(CHUNK)]
    entry, other = SqliteRunJournal(journal, "r"), SqliteRunJournal(journal, "r")
    entry.enter(PIN)

    def chunks() -> Iterator[RowChunk]:
        yield RowChunk(digests, digests, list(range(CHUNK)), [b"{}"] * CHUNK, [0] * CHUNK)
        msg = "the picture is not there"
        raise FileNotFoundError(msg)

    with pytest.raises(FileNotFoundError):
        entry.register(chunks())
    assert open_journal(journal).load("r").labels == []
    assert entry.register([RowChunk(digests[:1], digests[:1], [0], [b"{}"], [0])]) == [0]
    other.enter(PIN)
    with pytest.raises(FileNotFoundError):
        entry.register(chunks())
    assert len(open_journal(journal).load("r").labels) == CHUNK
    entry.close()
    other.close()


@pytest.mark.parametrize("extra", [0, 3])
def test_a_frame_that_fails_while_it_is_read_keeps_rows_of_another_call(journal: Path, extra: int) -> None:
    """Rows that the other call shares or has added, and that were accepted, stay in the run."""
    digests = [fingerprint(row) for row in range(2 * CHUNK + extra)]
    entry, other = SqliteRunJournal(journal, "r"), SqliteRunJournal(journal, "r")
    entry.enter(PIN)
    other.enter(PIN)

    def chunk(part: list[bytes]) -> RowChunk:
        return RowChunk(part, part, [0] * len(part), [b"{}"] * len(part), [0] * len(part))

    def chunks() -> Iterator[RowChunk]:
        yield chunk(digests[:CHUNK])
        [first, *added] = other.register([chunk([digests[0], *digests[2 * CHUNK :]])])
        assert (first, len(added)) == (0, extra)
        asyncio.run(other.claim([first, *added]))
        other.settle([Outcome(row, "queued", "b", f"e{row}") for row in (first, *added)])
        assert other.close() is None
        yield chunk(digests[CHUNK : 2 * CHUNK])
        msg = "the picture is not there"
        raise FileNotFoundError(msg)

    with pytest.raises(FileNotFoundError):
        entry.register(chunks())
    entry.close()
    loaded = open_journal(journal).load("r")
    assert loaded.state.results.accepted == 1 + extra
    assert len(loaded.inputs) == 2 * CHUNK + extra


def test_a_call_waits_for_the_lock_of_another_call(journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It waits longer than its timeout while another call of this package writes, and logs that it waits."""
    first, second = SqliteRunJournal(journal, "r", timeout=0.01), SqliteRunJournal(journal, "r")
    first.enter(PIN)
    second.enter(PIN)
    caplog.set_level("WARNING", logger="eachlabs_frames")
    with ThreadPoolExecutor(1) as pool:
        second._connection.execute("BEGIN IMMEDIATE")
        waiting = pool.submit(first.register, [RowChunk([fingerprint(0)], [fingerprint(0)], [0], [b"{}"], [0])])
        until(lambda: caplog.text.count("is locked by another call") > 2)
        second._connection.execute("ROLLBACK")
        assert waiting.result() == [0]
    first.close()
    second.close()


def test_a_session_of_unknown_state_counts_as_running_for_an_hour(journal: Path) -> None:
    """The session is of another machine and its lock is missing; the hour starts with its last record."""
    _fill(journal, 1)
    entry = SqliteRunJournal(journal, "r")
    entry.enter(PIN)
    connection = entry._connection
    host, boot, process, start = sessions.this_process()
    rows = [
        ("elsewhere", boot, process, start, time.time_ns()),
        ("elsewhere", boot, process, start, time.time_ns() - int(2e9 * sessions.UNPROVEN)),
        (host, "before the last boot", process, start, time.time_ns()),
        (host, boot, process, "another start", time.time_ns()),
        (host, boot, os.getppid(), sessions._start_of(os.getppid()), time.time_ns()),
        (host, boot, process, start, time.time_ns()),
    ]
    query = "INSERT INTO sessions (run, host, boot, process, began, started_at) VALUES (1, ?, ?, ?, ?, ?)"
    numbers = [connection.execute(query, row).lastrowid or 0 for row in rows]
    Path(f"{journal}-owners").unlink()
    assert [sessions.is_running(connection, journal, number) for number in numbers] == [
        True,
        False,
        False,
        False,
        True,
        False,
    ]
    sessions.end_session(connection, numbers[0])
    assert not sessions.is_running(connection, journal, numbers[0])
    entry.close()


def test_a_session_of_this_process_is_running_without_its_lock_file(journal: Path) -> None:
    """The process is alive even after the session ended, so the process looks up its own leases."""
    entry = _started(journal)
    other = SqliteRunJournal(journal, "r")
    Path(f"{journal}-owners").unlink()
    assert other._session.is_running(entry._session.number)
    entry.close()
    assert not other._session.is_running(entry._session.number)
    other.close()


def test_a_released_lock_proves_that_a_remote_session_ended(journal: Path) -> None:
    """The lock file has had the session's byte locked and nobody holds it now; the process cannot be checked."""
    entry = _started(journal)
    query = "INSERT INTO sessions (run, host, process, began, boot, started_at) VALUES (1, 'elsewhere', 1, '', '', ?)"
    number = entry._connection.execute(query, (time.time_ns(),)).lastrowid or 0
    assert entry._session.is_running(number)
    lease = sessions.acquire_lease(journal, number)
    assert entry._session.is_running(number)
    sessions.release_lease(lease, number)
    assert not entry._session.is_running(number)
    entry.close()


def test_a_path_that_cannot_be_a_journal_is_refused(tmp_path: Path) -> None:
    """The error distinguishes a folder, a device and a path inside a file."""
    with pytest.raises(JournalError, match="is a folder"):
        _enter(tmp_path)
    with pytest.raises(JournalError, match="not a regular file"):
        _enter(Path(os.devnull))
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot be used"):
        _enter(tmp_path / "file" / "j.sqlite")


NOBODY = """
import os, sys
from pathlib import Path
from eachlabs_frames.inputs.fingerprints import fingerprint
from eachlabs_frames.journal import open_journal
from eachlabs_frames.journal.sqlite.run_journal import SqliteRunJournal
from eachlabs_frames.errors import JournalError
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
path = Path(sys.argv[1])
try:
    SqliteRunJournal(path, "r")
except JournalError as exc:
    print(exc)
print([run.name for run in open_journal(path).summaries()], len(open_journal(path).load("r").inputs))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.slow
def test_a_read_only_journal_can_be_read_but_not_used_for_a_call(open_folder: Path) -> None:
    """A run cannot be opened for sending, but its summaries and rows can be loaded."""
    path = open_folder / "j.sqlite"
    _fill(path, 5)
    path.chmod(0o444)
    open_folder.chmod(0o555)
    refused, shown = _python(NOBODY, path).splitlines()
    assert "j.sqlite" in refused
    assert "configure(journal=...)" in refused
    assert shown == "['r'] 5"


def test_a_lock_of_another_program_raises_after_the_timeout(journal: Path) -> None:
    """Entering and registering raise an error that names the lock; reading does not wait."""
    _fill(journal, 5)
    entry = SqliteRunJournal(journal, "r", timeout=0.05)
    other = sqlite3.connect(journal, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for use in (lambda: entry.enter(PIN), lambda: _enter(journal)):
        with pytest.raises(JournalError, match=r"another process has locked the journal .*0\.05 s"):
            use()
    assert open_journal(journal).load("r").labels == [0, 1, 2, 3, 4]
    other.execute("ROLLBACK")
    entry.enter(PIN)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="another process has locked"):
        entry.register([])
    other.close()
    assert entry.close() is None


@pytest.mark.parametrize("step", ["enter", "register"])
def test_a_journal_that_was_moved_is_not_written(journal: Path, step: str) -> None:
    """Writes to a deleted file would succeed but be lost, so they raise."""
    entry = SqliteRunJournal(journal, "r")
    if step == "register":
        entry.enter(PIN)
    journal.rename(journal.with_name("moved"))
    with pytest.raises(JournalError, match="moved, deleted or replaced"):
        entry.enter(PIN) if step == "enter" else entry.register([])
    entry.close()


@pytest.mark.slow
def test_a_second_handle_in_this_process_keeps_the_log(journal: Path) -> None:
    """POSIX drops a process's locks when any handle of the file closes; another process must not delete the log."""
    entry = SqliteRunJournal(journal, "r")
    entry.enter(PIN)
    open_journal(journal).summaries()
    SqliteRunJournal(journal, "s").close()
    log = Path(f"{journal}-wal")
    before = log.stat().st_ino
    code = "import sys; from pathlib import Path; from eachlabs_frames.journal import open_journal\n"
    code += "open_journal(Path(sys.argv[1])).summaries()\nopen_journal(Path(sys.argv[1])).open('t').close()"
    _python(code, journal)
    assert log.stat().st_ino == before
    entry.close()


@pytest.mark.slow
def test_processes_can_create_one_journal_at_the_same_time(journal: Path) -> None:
    """SQLite does not wait for a lock when it switches to the write-ahead log, so this package does."""
    code = (
        "import sys; from pathlib import Path; from eachlabs_frames.journal.base import RunSpec\n"
        "from eachlabs_frames.journal.sqlite.run_journal import SqliteRunJournal\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for place in range(8):\n"
        "    entry = SqliteRunJournal(Path(sys.argv[1] + str(place)), 'r')\n"
        "    entry.enter(RunSpec('w', 'v', 'u')); entry.close()"
    )
    command = [sys.executable, "-c", code, str(journal)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [process.communicate() for process in processes]
    assert [error for _, error in ended] == [""] * 4


def test_an_unknown_run_is_refused_with_the_latest_names(journal: Path) -> None:
    """The error lists the latest runs, or says that the journal is empty."""
    with pytest.raises(RunError, match="holds none"):
        open_journal(journal).load("x")
    _fill(journal, 1)
    with pytest.raises(RunError, match="the latest are 'r'"):
        open_journal(journal).delete("x")
    assert open_journal(journal).delete("r") == 1
    assert open_journal(journal).summaries() == []
