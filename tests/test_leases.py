from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eachlabs_frames.journal.sqlite import sessions

HOLDER = """
import sys
from pathlib import Path
from eachlabs_frames.journal.sqlite import sessions
lease = sessions.acquire_lease(Path(sys.argv[1]), int(sys.argv[2]))
print("held", flush=True)
sys.stdin.readline()
sessions.release_lease(lease, int(sys.argv[2]))
print("released", flush=True)
sys.stdin.readline()
"""


def _holder(path: Path, session: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(path), str(session)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _held(path: Path, session: int) -> bool:
    return sessions.lease_state(path, session) == "held"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return where a journal is to be."""
    return tmp_path / "j.sqlite"


def test_a_session_of_another_process_is_at_work_until_it_is_killed(journal: Path) -> None:
    """The system lets go of a lock, also where nobody could clean up; another session's byte is another lock."""
    with _holder(journal, 7) as process:
        assert _held(journal, 7)
        assert not _held(journal, 8)
        process.kill()
        process.wait()
    assert not _held(journal, 7)


def test_a_session_of_another_process_is_at_work_until_it_is_released(journal: Path) -> None:
    """A call that has ended is not at work, though its process lives on."""
    with _holder(journal, 7) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "released\n"
        assert not _held(journal, 7)
        process.kill()


def test_asking_after_one_session_lets_go_of_no_other(journal: Path) -> None:
    """In the process that holds it, a session stays at work for all others, whoever else is asked after or released."""
    first, second = sessions.acquire_lease(journal, 1), sessions.acquire_lease(journal, 2)
    assert _held(journal, 1)
    assert not _held(journal, 3)
    sessions.release_lease(second, 2)
    sessions.release_lease(second, 2)
    code = "import sys; from pathlib import Path; from eachlabs_frames.journal.sqlite import sessions\n"
    code += "print([sessions.lease_state(Path(sys.argv[1]), number) == 'held' for number in (1, 2, 3)])"
    said = subprocess.run([sys.executable, "-c", code, str(journal)], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[True, False, False]"
    sessions.release_lease(first, 1)
    assert not _held(journal, 1)


def test_no_file_stays_open_where_nobody_is_at_work(journal: Path) -> None:
    """A process that uses a thousand journals does not run out of files."""
    assert not _held(journal, 1)
    lease = sessions.acquire_lease(journal, 1)
    assert len([file for file in sessions._files.values() if 1 in file.sessions]) == 1
    sessions.release_lease(lease, 1)
    inode = journal.with_name("j.sqlite-owners").stat().st_ino
    assert inode not in [os.fstat(file.handle).st_ino for file in sessions._files.values()]


def test_two_who_ask_at_once_do_not_take_each_other_for_the_owner(journal: Path) -> None:
    """A question is a shared lock: only the owner's own stands in its way."""
    sessions.release_lease(sessions.acquire_lease(journal, 1), 1)
    asking = (
        "import fcntl, sys; file = open(sys.argv[1], 'r+')\n"
        "fcntl.lockf(file, fcntl.LOCK_SH, 1, 7); print('asked', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", asking, f"{journal}-owners"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "asked\n"
        assert not _held(journal, 7)
        other.kill()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_sees_its_parent_at_work_and_takes_nothing_from_it(journal: Path) -> None:
    """A child has none of its parent's locks, and neither asking nor releasing nor ending there opens them."""
    lease = sessions.acquire_lease(journal, 5)
    child = os.fork()
    if not child:
        code = 1
        try:
            seen = _held(journal, 5)
            sessions.release_lease(lease, 5)
            code = 0 if seen and _held(journal, 5) else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    code_ = "import sys; from pathlib import Path; from eachlabs_frames.journal.sqlite import sessions\n"
    code_ += "print(sessions.lease_state(Path(sys.argv[1]), 5) == 'held')"
    said = subprocess.run([sys.executable, "-c", code_, str(journal)], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "True"
    sessions.release_lease(lease, 5)


def test_a_folder_that_was_made_anew_has_locks_of_its_own(tmp_path: Path) -> None:
    """Sessions of a deleted journal and of the one in its place do not meet, though their numbers are the same."""
    folder = tmp_path / "here"
    folder.mkdir()
    old = sessions.acquire_lease(folder / "j", 1)
    shutil.rmtree(folder)
    folder.mkdir()
    assert not _held(folder / "j", 1)
    new = sessions.acquire_lease(folder / "j", 1)
    sessions.release_lease(old, 1)
    assert _held(folder / "j", 1)
    sessions.release_lease(new, 1)
    assert not _held(folder / "j", 1)


def test_the_locks_are_for_their_owner_alone(journal: Path) -> None:
    """The file beside the journal is as private as the journal, whatever the umask."""
    before = os.umask(0)
    try:
        sessions.release_lease(sessions.acquire_lease(journal, 1), 1)
    finally:
        os.umask(before)
    assert journal.with_name("j.sqlite-owners").stat().st_mode & 0o777 == 0o600
