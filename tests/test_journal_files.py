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

from .chaos.stage import until

PIN = RunSpec("wf", "v1", "http://localhost")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return where a journal is to be."""
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
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


def test_a_journal_is_made_with_its_folders_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds prompts and results: 0600, its log and its locks too, whatever the umask; folders of ours 0700."""
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


def test_an_empty_file_becomes_a_journal_for_its_owner_alone(journal: Path) -> None:
    """What a temporary-file function has made is as good as no file."""
    journal.touch()
    journal.chmod(0o644)
    _fill(journal)
    assert journal.stat().st_mode & 0o777 == 0o600
    assert [run.name for run in open_journal(journal).summaries()] == ["r"]


def test_a_commit_is_synchronous_on_the_connection_that_writes(journal: Path) -> None:
    """synchronous=FULL (2) and a write-ahead log, on this very connection: a claim survives a power cut."""
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
def test_a_file_that_is_no_journal_is_named_and_left_as_it_is(journal: Path, content: bytes) -> None:
    """A text, or half a header, is never written over."""
    journal.write_bytes(content)
    for use in (_enter, lambda path: open_journal(path).summaries()):
        with pytest.raises(JournalError, match=r"j\.sqlite is not a journal of this package .*configure\(journal="):
            use(journal)
    assert journal.read_bytes() == content


def test_a_database_of_another_program_is_left_as_it_is(journal: Path) -> None:
    """Tables that are not ours, or another program's mark alone, are never added to."""
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


def test_a_newer_version_is_refused_and_not_made_older(journal: Path) -> None:
    """What a newer package has written is read by a newer package."""
    database.connect(journal, migrations=(*MIGRATIONS, "CREATE TABLE more (a)")).close()
    for use in (_enter, lambda path: open_journal(path).summaries()):
        with pytest.raises(JournalError, match=r"newer eachlabs-frames .*upgrade"):
            use(journal)
    connection = sqlite3.connect(journal)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS) + 1
    connection.close()


def test_an_older_version_is_brought_forward_with_all_that_it_holds(journal: Path) -> None:
    """Each step is done once, in order, from whatever version a file has; a file with our mark and no tables too."""
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


def test_a_migration_that_fails_leaves_the_file_as_it_was(journal: Path) -> None:
    """All steps are one transaction."""
    _fill(journal)
    with pytest.raises(JournalError, match="cannot be used"):
        database.connect(journal, migrations=(*MIGRATIONS, "CREATE TABLE more (a); SELECT nonsense"))
    connection = database.connect(journal)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone()[0] == 0
    connection.close()


@pytest.mark.parametrize("percent", [*range(3, 100, 8), 99.99])
def test_a_file_that_was_cut_short_is_noticed_before_anything_is_sent(journal: Path, percent: float) -> None:
    """Wherever the end is missing, it is said when the run is entered, and never read as a shorter run."""
    _fill(journal)
    os.truncate(journal, int(journal.stat().st_size * percent / 100))
    with pytest.raises(JournalError, match=r"damaged|no journal of this package"):
        _enter(journal)


def test_a_file_that_was_cut_short_beside_its_log_is_noticed(journal: Path) -> None:
    """Where a log was left behind, SQLite itself does not count the file's pages; this package does."""
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


def test_rows_that_are_read_as_zeros_are_noticed(journal: Path) -> None:
    """A row that is not known again would be paid for again, so a fingerprint of zeros is a damaged file."""
    _fill(journal)
    connection = sqlite3.connect(journal)
    connection.execute("UPDATE sheets SET digests = zeroblob(8000)")
    connection.commit()
    connection.close()
    with pytest.raises(JournalError, match="damaged"):
        _enter(journal)


def test_a_record_that_cannot_be_read_is_a_damaged_journal(journal: Path) -> None:
    """Whatever stands in a record, what is raised says that the file is damaged, and which record."""
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


def test_a_run_that_cannot_be_read_harms_no_other(journal: Path) -> None:
    """It counts as unknown and can be deleted; other runs are listed, loaded, gone on with and searched for."""
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


def test_a_journal_of_the_first_version_is_brought_forward(journal: Path) -> None:
    """It has no mark and no state; what it holds is gone on with, and protected from then on."""
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
    """Its runs are as they were."""
    database.connect(journal, migrations=MIGRATIONS[:2]).close()
    _fill(journal, 1)
    database.connect(journal).close()
    assert open_journal(journal).uploads("a") == []
    assert [run.name for run in open_journal(journal).summaries()] == ["r"]


@pytest.mark.parametrize("is_used", [False, True])
def test_nothing_of_a_deleted_run_can_be_read_in_the_files(journal: Path, is_used: bool) -> None:
    """Its prompts are overwritten, in the log too; the file shrinks, unless others write to it meanwhile."""
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


def test_an_accepted_loss_claims_what_a_later_call_would_send(journal: Path) -> None:
    """Rows that are new or were refused, in groups of a request; not while a call is at work in the journal."""
    entry = SqliteRunJournal(journal, "r")
    entry.enter(PIN)
    digests = [fingerprint(row) for row in range(15)]
    entry.register([RowChunk(digests, digests, [0] * 15, [b"{}"] * 15, [0] * 15)])
    asyncio.run(entry.claim([0, 1]))
    answers = [("queued", "e0"), ("failed", None), ("invalid", None)]
    entry.settle([Outcome(row, status, None, known) for row, (status, known) in enumerate(answers)])
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
    found = again.lost_requests([1, *range(4, 15)], timeout=1.0)
    assert [len(one.rows) for one in found] == [10, 2]
    # They can have been sent at any time between the last record that is left and the loss.
    assert all(one.until - one.since > 3_000 for one in found)
    again.close()


def test_numbers_of_records_are_not_given_twice(journal: Path) -> None:
    """Where the run with the latest records is deleted, the mark does not accuse the journal."""
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
    """Return a call that has got an answer for the first of its two rows, on the disk."""
    entry = SqliteRunJournal(path, "r")
    entry.enter(PIN)
    digests = [fingerprint(row) for row in range(2)]
    entry.register([RowChunk(digests, digests, [0, 1], [b"{}"] * 2, [0] * 2)])
    asyncio.run(entry.claim([0]))
    entry.settle([Outcome(0, "queued", "b", "e0")])
    asyncio.run(entry.flush())
    return entry


def test_records_that_vanish_while_a_call_is_at_work_stop_it(journal: Path) -> None:
    """It has seen more records than the journal holds now, so nothing more is claimed."""
    entry = _started(journal)
    connection = sqlite3.connect(journal)
    with connection:
        connection.execute("DELETE FROM records WHERE id > 1")
    connection.close()
    with pytest.raises(JournalError, match=r"not complete: it holds 1 record\(s\), and held 2 a moment ago"):
        asyncio.run(entry.claim([1]))
    entry.close()


def test_a_log_that_was_deleted_is_saved_when_its_call_ends(journal: Path) -> None:
    """What the call has written is in the main file then, also where another program has the journal open."""
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


def test_rows_are_read_without_the_lock(journal: Path) -> None:
    """Reading a sheet calls functions of the user's, and takes long: others write meanwhile, also the same rows."""
    first, second = SqliteRunJournal(journal, "r"), SqliteRunJournal(journal, "r", timeout=0.05)
    first.enter(PIN)
    second.enter(PIN)
    size = CHUNK
    digests = [fingerprint(row) for row in range(2 * size)]

    def sheets() -> Iterator[RowChunk]:
        for start in (0, size):
            part = digests[start : start + size]
            assert second.register([RowChunk(part[:2], part[:2], [0, 1], [b"{}"] * 2, [0] * 2)]) == [start, start + 1]
            yield RowChunk(part, part, list(range(size)), [b"{}"] * size, [0] * size)

    assert first.register(sheets()) == list(range(2 * size))
    first.close()
    second.close()
    assert len(open_journal(journal).load("r").inputs) == 2 * size


def test_a_large_frame_that_cannot_be_read_leaves_nothing_behind(journal: Path) -> None:
    """Also where a part of it was written already, unless another call relies on that."""
    digests = [fingerprint(row) for row in range(CHUNK)]
    entry, other = SqliteRunJournal(journal, "r"), SqliteRunJournal(journal, "r")
    entry.enter(PIN)

    def sheets() -> Iterator[RowChunk]:
        yield RowChunk(digests, digests, list(range(CHUNK)), [b"{}"] * CHUNK, [0] * CHUNK)
        msg = "the picture is not there"
        raise FileNotFoundError(msg)

    with pytest.raises(FileNotFoundError):
        entry.register(sheets())
    assert open_journal(journal).load("r").labels == []
    assert entry.register([RowChunk(digests[:1], digests[:1], [0], [b"{}"], [0])]) == [0]
    other.enter(PIN)
    with pytest.raises(FileNotFoundError):
        entry.register(sheets())
    assert len(open_journal(journal).load("r").labels) == CHUNK
    entry.close()
    other.close()


@pytest.mark.parametrize("extra", [0, 3])
def test_a_frame_that_cannot_be_read_takes_no_row_of_another_call_with_it(journal: Path, extra: int) -> None:
    """Rows that the other call has found there, or has added, and had accepted stay in the run after it has ended."""
    digests = [fingerprint(row) for row in range(2 * CHUNK + extra)]
    entry, other = SqliteRunJournal(journal, "r"), SqliteRunJournal(journal, "r")
    entry.enter(PIN)
    other.enter(PIN)

    def sheet(part: list[bytes]) -> RowChunk:
        return RowChunk(part, part, [0] * len(part), [b"{}"] * len(part), [0] * len(part))

    def sheets() -> Iterator[RowChunk]:
        yield sheet(digests[:CHUNK])
        [first, *added] = other.register([sheet([digests[0], *digests[2 * CHUNK :]])])
        assert (first, len(added)) == (0, extra)
        asyncio.run(other.claim([first, *added]))
        other.settle([Outcome(row, "queued", "b", f"e{row}") for row in (first, *added)])
        assert other.close() is None
        yield sheet(digests[CHUNK : 2 * CHUNK])
        msg = "the picture is not there"
        raise FileNotFoundError(msg)

    with pytest.raises(FileNotFoundError):
        entry.register(sheets())
    entry.close()
    loaded = open_journal(journal).load("r")
    assert loaded.state.results.accepted == 1 + extra
    assert len(loaded.inputs) == 2 * CHUNK + extra


def test_a_lock_of_another_call_is_waited_for(journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However long another call of this package writes, nobody fails for it; what is waited for is logged."""
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


def test_a_session_that_cannot_be_proved_dead_counts_as_at_work_for_an_hour(journal: Path) -> None:
    """Of another machine, and without its lock: until an hour after its last record, and not for ever."""
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


def test_a_session_of_this_process_is_at_work_without_its_lock_too(journal: Path) -> None:
    """The process is alive whether its call has ended or not, so it looks up which locks it has taken."""
    entry = _started(journal)
    other = SqliteRunJournal(journal, "r")
    Path(f"{journal}-owners").unlink()
    assert other._session.is_running(entry._session.number)
    entry.close()
    assert not other._session.is_running(entry._session.number)
    other.close()


def test_a_lock_that_was_released_proves_the_end_of_a_session_elsewhere(journal: Path) -> None:
    """The file has seen the session and nobody holds its byte: it ended, though its process cannot be asked after."""
    entry = _started(journal)
    query = "INSERT INTO sessions (run, host, process, began, boot, started_at) VALUES (1, 'elsewhere', 1, '', '', ?)"
    number = entry._connection.execute(query, (time.time_ns(),)).lastrowid or 0
    assert entry._session.is_running(number)
    lease = sessions.acquire_lease(journal, number)
    assert entry._session.is_running(number)
    sessions.release_lease(lease, number)
    assert not entry._session.is_running(number)
    entry.close()


def test_a_folder_or_a_device_in_its_place_is_named(tmp_path: Path) -> None:
    """A path that can hold no journal is told from one that is broken."""
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
def test_a_file_that_may_only_be_read_is_read_and_nothing_is_sent(open_folder: Path) -> None:
    """No call is made with a journal that cannot be written; what it holds is shown all the same."""
    path = open_folder / "j.sqlite"
    _fill(path, 5)
    path.chmod(0o444)
    open_folder.chmod(0o555)
    refused, shown = _python(NOBODY, path).splitlines()
    assert "j.sqlite" in refused
    assert "configure(journal=...)" in refused
    assert shown == "['r'] 5"


def test_a_lock_that_another_holds_is_waited_for_and_then_named(journal: Path) -> None:
    """At each step before anything is sent, a lock is an error that says so; reading waits for nobody."""
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
def test_a_journal_that_was_replaced_meanwhile_is_not_written(journal: Path, step: str) -> None:
    """What goes to a deleted file nobody will ever read: it is an error, though the system takes it."""
    entry = SqliteRunJournal(journal, "r")
    if step == "register":
        entry.enter(PIN)
    journal.rename(journal.with_name("moved"))
    with pytest.raises(JournalError, match="moved, deleted or replaced"):
        entry.enter(PIN) if step == "enter" else entry.register([])
    entry.close()


@pytest.mark.slow
def test_a_second_handle_in_this_process_keeps_the_log_where_it_is(journal: Path) -> None:
    """POSIX drops a process's locks when any handle of a file is closed: another process must not end the log then."""
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
def test_many_processes_make_one_journal_together(journal: Path) -> None:
    """To switch the log on, SQLite waits for nobody; this package does."""
    code = (
        "import sys; from pathlib import Path; from eachlabs_frames.journal.base import RunSpec\n"
        "from eachlabs_frames.journal.sqlite.run_journal import SqliteRunJournal\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for place in range(8):\n"
        "    entry = SqliteRunJournal(Path(sys.argv[1] + str(place)), 'r')\n"
        "    entry.enter(RunSpec('w', 'v', 'u')); entry.close()"
    )
    command = [sys.executable, "-c", code, str(journal)]
    several = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in several:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in several:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [process.communicate() for process in several]
    assert [error for _, error in ended] == [""] * 4


def test_a_run_that_is_not_there_is_named_with_those_that_are(journal: Path) -> None:
    """Whoever mistypes a run sees the latest ones; an empty journal is made, and says that it is empty."""
    with pytest.raises(RunError, match="holds none"):
        open_journal(journal).load("x")
    _fill(journal, 1)
    with pytest.raises(RunError, match="the latest are 'r'"):
        open_journal(journal).delete("x")
    assert open_journal(journal).delete("r") == 1
    assert open_journal(journal).summaries() == []
