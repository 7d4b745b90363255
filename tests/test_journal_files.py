from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eachlabs_frames.core.identity import fingerprint
from eachlabs_frames.engine.journal import archive, store
from eachlabs_frames.engine.journal.entry import Entry
from eachlabs_frames.errors import JournalError, RunError
from eachlabs_frames.models import Pin, Sheet

PIN = Pin("wf", "v1", "http://localhost")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return where a journal is to be."""
    return tmp_path / "j.sqlite"


def _fill(path: Path, rows: int = 500) -> None:
    entry = Entry(path, "r")
    entry.enter(PIN)
    digests = [fingerprint(row) for row in range(rows)]
    payloads = [b'{"prompt":"%d"}' % row for row in range(rows)]
    entry.register([Sheet(digests, digests, list(range(rows)), payloads, [True] * rows)])
    assert entry.close() is None


def _enter(path: Path) -> None:
    entry = Entry(path, "r", patience=0.05)
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
        entry = Entry(path, "r")
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
    assert [run.name for run in archive.summaries(journal)] == ["r"]


def test_a_commit_is_synchronous_on_the_connection_that_writes(journal: Path) -> None:
    """synchronous=FULL (2) and a write-ahead log, on this very connection: a claim survives a power cut."""
    connection = store.connect(journal)
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
    for use in (_enter, archive.summaries):
        with pytest.raises(JournalError, match=r"j\.sqlite is no journal of this package .*configure\(journal="):
            use(journal)
    assert journal.read_bytes() == content


def test_a_database_of_another_program_is_left_as_it_is(journal: Path) -> None:
    """Tables that are not ours, or another program's mark alone, are never added to."""
    for statement in ("CREATE TABLE theirs (a)", "PRAGMA application_id = 77", "PRAGMA user_version = 3"):
        other = sqlite3.connect(journal)
        other.execute(statement)
        other.close()
        before = journal.read_bytes()
        for use in (_enter, archive.summaries):
            with pytest.raises(JournalError, match="database of another program"):
                use(journal)
        assert journal.read_bytes() == before
        journal.unlink()


def test_a_newer_version_is_refused_and_not_made_older(journal: Path) -> None:
    """What a newer package has written is read by a newer package."""
    store.connect(journal, migrations=(*store.MIGRATIONS, "CREATE TABLE more (a)")).close()
    for use in (_enter, archive.summaries):
        with pytest.raises(JournalError, match=r"newer eachlabs-frames .*upgrade"):
            use(journal)
    connection = sqlite3.connect(journal)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == len(store.MIGRATIONS) + 1
    connection.close()


def test_an_older_version_is_brought_forward_with_all_that_it_holds(journal: Path) -> None:
    """Each step is done once, in order, from whatever version a file has; a file with our mark and no tables too."""
    marked = sqlite3.connect(journal)
    marked.execute(f"PRAGMA application_id = {store.APPLICATION_ID}")
    marked.close()
    _fill(journal)
    later = (*store.MIGRATIONS, "ALTER TABLE runs ADD COLUMN colour TEXT DEFAULT 'blue'", "CREATE TABLE more (a)")
    for _ in range(2):
        connection = store.connect(journal, migrations=later)
        assert connection.execute("SELECT name, colour FROM runs").fetchall() == [("r", "blue")]
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(later)
        connection.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(journal: Path) -> None:
    """All steps are one transaction."""
    _fill(journal)
    with pytest.raises(JournalError, match="cannot be used"):
        store.connect(journal, migrations=(*store.MIGRATIONS, "CREATE TABLE more (a); SELECT nonsense"))
    connection = store.connect(journal)
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
        for use in (_enter, archive.summaries, lambda path: archive.load(path, "r")):
            with pytest.raises(JournalError, match=r"damaged .*record 1"):
                use(journal)
    connection.close()


def test_a_folder_or_a_device_in_its_place_is_named(tmp_path: Path) -> None:
    """A path that can hold no journal is told from one that is broken."""
    with pytest.raises(JournalError, match="is a folder"):
        _enter(tmp_path)
    with pytest.raises(JournalError, match="no regular file"):
        _enter(Path(os.devnull))
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot be used"):
        _enter(tmp_path / "file" / "j.sqlite")


NOBODY = """
import os, sys
from pathlib import Path
from eachlabs_frames.core.identity import fingerprint
from eachlabs_frames.engine.journal import archive
from eachlabs_frames.engine.journal.entry import Entry
from eachlabs_frames.errors import JournalError
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
path = Path(sys.argv[1])
try:
    Entry(path, "r")
except JournalError as exc:
    print(exc)
print([run.name for run in archive.summaries(path)], len(archive.load(path, "r").inputs))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


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
    entry = Entry(journal, "r", patience=0.05)
    other = sqlite3.connect(journal, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for use in (lambda: entry.enter(PIN), lambda: _enter(journal)):
        with pytest.raises(JournalError, match=r"another process holds the journal .*0\.05 s"):
            use()
    assert archive.load(journal, "r").labels == [0, 1, 2, 3, 4]
    other.execute("ROLLBACK")
    entry.enter(PIN)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="another process holds"):
        entry.register([])
    other.close()
    assert entry.close() is None


@pytest.mark.parametrize("step", ["enter", "register"])
def test_a_journal_that_was_replaced_meanwhile_is_not_written(journal: Path, step: str) -> None:
    """What goes to a deleted file nobody will ever read: it is an error, though the system takes it."""
    entry = Entry(journal, "r")
    if step == "register":
        entry.enter(PIN)
    journal.rename(journal.with_name("moved"))
    with pytest.raises(JournalError, match="moved, deleted or replaced"):
        entry.enter(PIN) if step == "enter" else entry.register([])
    entry.close()


def test_a_second_handle_in_this_process_keeps_the_log_where_it_is(journal: Path) -> None:
    """POSIX drops a process's locks when any handle of a file is closed: another process must not end the log then."""
    entry = Entry(journal, "r")
    entry.enter(PIN)
    archive.summaries(journal)
    Entry(journal, "s").close()
    log = Path(f"{journal}-wal")
    before = log.stat().st_ino
    code = "import sys; from pathlib import Path; from eachlabs_frames.engine.journal import archive\n"
    code += "archive.summaries(Path(sys.argv[1])); from eachlabs_frames.engine.journal.entry import Entry\n"
    code += "Entry(Path(sys.argv[1]), 't').close()"
    _python(code, journal)
    assert log.stat().st_ino == before
    entry.close()


def test_many_processes_make_one_journal_together(journal: Path) -> None:
    """To switch the log on, SQLite waits for nobody; this package does."""
    code = (
        "import sys; from pathlib import Path; from eachlabs_frames.engine.journal.entry import Entry\n"
        "from eachlabs_frames.models import Pin; print('ready', flush=True); sys.stdin.readline()\n"
        "for place in range(8):\n"
        "    entry = Entry(Path(sys.argv[1] + str(place)), 'r'); entry.enter(Pin('w', 'v', 'u')); entry.close()"
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
        archive.load(journal, "x")
    _fill(journal, 1)
    with pytest.raises(RunError, match="the latest are 'r'"):
        archive.delete(journal, "x")
    assert archive.delete(journal, "r") == 1
    assert archive.summaries(journal) == []
