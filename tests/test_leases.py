from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eachlabs_frames.journal.sqlite import sessions
from tests.forks import holds_in_fork

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


def _is_held(path: Path, session: int) -> bool:
    return sessions.lease_state(path, session) == "held"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return the path of a journal that does not exist yet."""
    return tmp_path / "j.sqlite"


def test_a_lease_of_another_process_is_held_until_it_is_killed(journal: Path) -> None:
    """The system releases the lock of a killed process; each session locks its own byte."""
    with _holder(journal, 7) as process:
        assert _is_held(journal, 7)
        assert not _is_held(journal, 8)
        process.kill()
        process.wait()
    assert not _is_held(journal, 7)


def test_a_lease_of_another_process_is_held_until_it_is_released(journal: Path) -> None:
    """After the release, the lease is free although its process is still running."""
    with _holder(journal, 7) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "released\n"
        assert not _is_held(journal, 7)
        process.kill()


def test_checking_or_releasing_a_lease_releases_no_other(journal: Path) -> None:
    """A session of this process stays held, also for other processes, while other leases are checked or released."""
    first, second = sessions.acquire_lease(journal, 1), sessions.acquire_lease(journal, 2)
    assert _is_held(journal, 1)
    assert not _is_held(journal, 3)
    sessions.release_lease(second, 2)
    sessions.release_lease(second, 2)
    code = "import sys; from pathlib import Path; from eachlabs_frames.journal.sqlite import sessions\n"
    code += "print([sessions.lease_state(Path(sys.argv[1]), number) == 'held' for number in (1, 2, 3)])"
    completed = subprocess.run([sys.executable, "-c", code, str(journal)], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "[True, False, False]"
    sessions.release_lease(first, 1)
    assert not _is_held(journal, 1)


def test_the_lock_file_is_closed_when_no_lease_is_held(journal: Path) -> None:
    """A process that uses a thousand journals does not run out of file descriptors."""
    assert not _is_held(journal, 1)
    lease = sessions.acquire_lease(journal, 1)
    assert len([file for file in sessions._files.values() if 1 in file.sessions]) == 1
    sessions.release_lease(lease, 1)
    inode = journal.with_name("j.sqlite-owners").stat().st_ino
    assert inode not in [os.fstat(file.handle).st_ino for file in sessions._files.values()]


def test_concurrent_checks_do_not_report_a_lease_as_held(journal: Path) -> None:
    """A check takes a shared lock, which only the owner's exclusive lock prevents."""
    sessions.release_lease(sessions.acquire_lease(journal, 1), 1)
    check = (
        "import fcntl, sys; file = open(sys.argv[1], 'r+')\n"
        "fcntl.lockf(file, fcntl.LOCK_SH, 1, 7); print('locked', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", check, f"{journal}-owners"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert not _is_held(journal, 7)
        other.kill()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_sees_its_parents_lease_and_cannot_release_it(journal: Path) -> None:
    """The child has none of its parent's locks; checking, releasing or exiting there does not release them."""
    lease = sessions.acquire_lease(journal, 5)

    def stays_held() -> bool:
        was_held = _is_held(journal, 5)
        sessions.release_lease(lease, 5)
        return was_held and _is_held(journal, 5)

    assert holds_in_fork(stays_held)
    code_ = "import sys; from pathlib import Path; from eachlabs_frames.journal.sqlite import sessions\n"
    code_ += "print(sessions.lease_state(Path(sys.argv[1]), 5) == 'held')"
    completed = subprocess.run([sys.executable, "-c", code_, str(journal)], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "True"
    sessions.release_lease(lease, 5)


def test_a_recreated_folder_has_its_own_leases(tmp_path: Path) -> None:
    """Sessions of a deleted journal and of its replacement are independent, although their numbers are equal."""
    folder = tmp_path / "here"
    folder.mkdir()
    old = sessions.acquire_lease(folder / "j", 1)
    shutil.rmtree(folder)
    folder.mkdir()
    assert not _is_held(folder / "j", 1)
    new = sessions.acquire_lease(folder / "j", 1)
    sessions.release_lease(old, 1)
    assert _is_held(folder / "j", 1)
    sessions.release_lease(new, 1)
    assert not _is_held(folder / "j", 1)


def test_the_lock_file_is_private(journal: Path) -> None:
    """The lock file has mode 0600 like the journal, whatever the umask."""
    before = os.umask(0)
    try:
        sessions.release_lease(sessions.acquire_lease(journal, 1), 1)
    finally:
        os.umask(before)
    assert journal.with_name("j.sqlite-owners").stat().st_mode & 0o777 == 0o600
