"""Tests with journal files that are deleted, not copied or replaced by an older copy: nothing is paid twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eachlabs_frames as ef
from eachlabs_frames.errors import JournalError
from eachlabs_frames.journal import open_journal
from eachlabs_frames.sandbox import Fault, Sandbox

from .fork_server import ForkServer, Trap, Worker, accepted_ids, complete, count_of, ids_of, problems, trigger, until
from .worker import rows_of

pytestmark = pytest.mark.chaos

ROWS = 600
PROMPTS = [f"row {number}" for number in range(ROWS)]
ENDED: dict[str, Any] = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}
AGAIN: dict[str, Any] = {"timeout": 6.0, "settle_window": 0.5, "max_concurrency": 8}
SUFFIXES = ("", "-wal", "-shm", "-mark", "-owners")


def file_of(journal: Path, suffix: str) -> Path:
    """Return the file of a journal that has this suffix."""
    return journal.with_name(journal.name + suffix)


def copy_files(journal: Path, folder: Path, *suffixes: str) -> Path:
    """Copy files of a journal into a new folder; return the journal's path there."""
    folder.mkdir()
    for suffix in suffixes:
        if file_of(journal, suffix).exists():
            shutil.copy(file_of(journal, suffix), folder)
    return folder / journal.name


def run_and_kill(server: ForkServer, sandbox: Sandbox, trap: Trap, journal: Path, *, at: int) -> None:
    """Let a process trigger 600 rows, and kill it when `at` executions are accepted."""
    victim = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=8)
    trap.set(at, victim.kill)
    victim.start().wait()
    assert victim.code == 9


def refusal(worker: Worker) -> str:
    """Return the error of a call that was refused because of its journal."""
    [report] = worker.wait()
    assert report.get("raised") == "JournalError", report
    return str(report["text"])


def accept_loss_and_resume(server: ForkServer, sandbox: Sandbox, journal: Path) -> None:
    """Accept the loss; the same call then adopts what it finds, and nothing is paid twice, not even with "resend"."""
    assert set(open_journal(journal).accept_loss()) == {"chaos"}
    assert open_journal(journal).accept_loss() == {}
    for on_unknown in ("keep", "resend"):
        call = trigger(on_unknown=on_unknown)
        [report] = server.worker(sandbox, journal, call, prompts=PROMPTS, **AGAIN).start().wait()
        assert problems(report["rows"], sandbox) == []
        assert sorted(ids_of(report["rows"])) == sorted(accepted_ids(sandbox))
    assert sandbox.accepted_count() == ROWS


@pytest.mark.parametrize("kept", [("",), ("", "-owners"), ("", "-mark"), ("", "-mark", "-owners")])
def test_a_copy_without_the_log_after_a_kill_is_refused(
    server: ForkServer, tmp_path: Path, kept: tuple[str, ...]
) -> None:
    """Nothing is sent, whichever other files are copied; accepting the loss starts a search for paid executions."""
    trap = Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        run_and_kill(server, sandbox, trap, tmp_path / "j.sqlite", at=400)
        journal = copy_files(tmp_path / "j.sqlite", tmp_path / "copy", *kept)
        error = refusal(server.worker(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).start())
        assert "not complete" in error
        assert "accept_journal_loss" in error
        assert sandbox.duplicates() == {}
        for read in (lambda path: open_journal(path).summaries(), lambda path: open_journal(path).load("chaos")):
            with pytest.raises(JournalError, match="not complete"):
                read(journal)
        accept_loss_and_resume(server, sandbox, journal)


@pytest.mark.parametrize("kept", [SUFFIXES, ("", "-wal"), ("", "-wal", "-mark"), ("", "-wal", "-owners")])
def test_a_copy_with_the_log_after_a_kill_can_be_resumed(
    server: ForkServer, tmp_path: Path, kept: tuple[str, ...]
) -> None:
    """File and log are complete; the process counts as dead, whether its lock file was copied or not."""
    trap = Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        run_and_kill(server, sandbox, trap, tmp_path / "j.sqlite", at=400)
        journal = copy_files(tmp_path / "j.sqlite", tmp_path / "copy", *kept)
        [report] = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).start().wait()
        assert problems(report["rows"], sandbox) == []
        assert set(accepted_ids(sandbox)) == set(ids_of(report["rows"]))
        last = server.worker(sandbox, journal, trigger(on_unknown="resend"), prompts=PROMPTS, **AGAIN).start()
        complete(last.wait(), sandbox, rows=ROWS)


@pytest.mark.parametrize("kept", [SUFFIXES, ("",)])
def test_an_unused_journal_can_be_copied_and_moved(server: ForkServer, tmp_path: Path, kept: tuple[str, ...]) -> None:
    """After the last call has ended, the main file alone is complete."""
    with ef.sandbox.start(configure=False, **ENDED) as sandbox:
        first = server.worker(sandbox, tmp_path / "j.sqlite", trigger(), prompts=PROMPTS[:40]).start()
        complete(first.wait(), sandbox, rows=40)
        journal = copy_files(tmp_path / "j.sqlite", tmp_path / "copy", *kept)
        again = server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:40]).start()
        complete(again.wait(), sandbox, rows=40)
        moved = tmp_path / "moved.sqlite"
        for suffix in SUFFIXES:
            if file_of(journal, suffix).exists():
                file_of(journal, suffix).rename(file_of(moved, suffix))
        again = server.worker(sandbox, moved, trigger(), prompts=PROMPTS[:40]).start()
        complete(again.wait(), sandbox, rows=40)


def test_an_older_copy_in_place_of_a_newer_one_is_refused(server: ForkServer, tmp_path: Path) -> None:
    """The mark has the number of records, so the loss is detected even if the journal was not in use."""
    journal = tmp_path / "j.sqlite"
    with ef.sandbox.start(configure=False, **ENDED) as sandbox:
        complete(server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:40]).start().wait(), sandbox, rows=40)
        older = copy_files(journal, tmp_path / "older", "")
        complete(server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:80]).start().wait(), sandbox, rows=80)
        shutil.copy(older, journal)
        error = refusal(server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:80]).start())
        assert "record(s), numbers" in error
        journal.unlink()
        assert "it is missing" in refusal(server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:80]).start())
        assert sandbox.accepted_count() == 80


def replace(path: Path) -> None:
    """Replace a file by a copy of itself."""
    other = path.with_name("other")
    shutil.copy(path, other)
    other.replace(path)


@pytest.mark.parametrize("harm", [Path.unlink, replace], ids=["deleted", "replaced"])
def test_a_log_that_is_lost_during_a_run_stops_it(
    server: ForkServer, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    """The next claim detects it; the same call then resumes, or is refused until the loss is accepted."""
    journal, trap = tmp_path / "j.sqlite", Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        worker = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=8)
        trap.set(200, lambda: harm(file_of(journal, "-wal")))
        [report] = worker.start().wait()
        # Requests in flight when the log was lost were accepted.
        assert 200 <= sandbox.accepted_count() <= 400
        assert count_of(report["rows"])["pending"] >= 200, report
        assert any("while it was in use" in str(row["error"]) for row in report["rows"])
        [report] = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).start().wait()
        if report.get("raised") is None:
            assert problems(report["rows"], sandbox) == []
            last = server.worker(sandbox, journal, trigger(on_unknown="resend"), prompts=PROMPTS, **AGAIN).start()
            complete(last.wait(), sandbox, rows=ROWS)
        else:
            assert "not complete" in report["text"]
            accept_loss_and_resume(server, sandbox, journal)


def test_a_log_that_is_deleted_at_a_kill_is_detected(server: ForkServer, tmp_path: Path) -> None:
    """Its records are lost, and nothing of them is paid twice."""
    journal, trap = tmp_path / "j.sqlite", Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        victim = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=8)

        def kill_and_delete() -> None:
            victim.kill()
            file_of(journal, "-wal").unlink()

        trap.set(300, kill_and_delete)
        victim.start().wait()
        assert "not complete" in refusal(server.worker(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).start())
        assert sandbox.duplicates() == {}
        accept_loss_and_resume(server, sandbox, journal)


@pytest.mark.parametrize("harm", [Path.unlink, replace], ids=["deleted", "replaced"])
def test_a_lost_owners_file_makes_no_live_call_look_dead(
    server: ForkServer, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    """A call waits for 80 replies while its lock file is lost: another call neither sends nor gives up its rows."""
    journal = tmp_path / "j.sqlite"
    with ef.sandbox.start(configure=False, listing_lag=1000.0, **ENDED) as sandbox:
        sandbox.faults(Fault("silence"))
        slow = server.worker(
            sandbox, journal, trigger(), prompts=PROMPTS[:80], timeout=100.0, max_concurrency=8
        ).start()
        until(lambda: sandbox.accepted_count() == 80)
        harm(file_of(journal, "-owners"))
        short: dict[str, Any] = {"timeout": 1.0, "settle_window": 0.3}
        other = server.worker(sandbox, journal, trigger(on_unknown="resend"), prompts=PROMPTS[:80], **short).start()
        [report] = other.wait()
        assert count_of(report["rows"]) == {"unknown": 80}
        assert sandbox.accepted_count() == 80
        slow.kill()
        slow.wait()
        sandbox.faults()
        sandbox.change(listing_lag=0.0)
        last = server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:80], **AGAIN).start()
        complete(last.wait(), sandbox, rows=80)


def test_deleted_mark_and_lock_files_are_recreated_during_a_run(server: ForkServer, tmp_path: Path) -> None:
    """The run continues, and the files exist again after its next commit."""
    journal, trap = tmp_path / "j.sqlite", Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        worker = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=8)

        def delete_files() -> None:
            file_of(journal, "-mark").unlink()
            file_of(journal, "-owners").unlink()

        trap.set(100, delete_files)
        complete(worker.start().wait(), sandbox, rows=ROWS)
        assert file_of(journal, "-mark").stat().st_size
        assert file_of(journal, "-owners").stat().st_size
        os.truncate(journal, 0)
        assert "it is missing" in refusal(server.worker(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).start())


def test_rows_of_an_accepted_loss_are_not_pending(server: ForkServer, tmp_path: Path) -> None:
    """`load_run` shows no row as pending that may have been paid."""
    journal, trap = tmp_path / "j.sqlite", Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        run_and_kill(server, sandbox, trap, journal, at=300)
        file_of(journal, "-wal").unlink()
    ef.configure(journal=journal)
    assert sum(ef.accept_journal_loss().values()) > 0
    assert "pending" not in count_of(rows_of(ef.load_run("chaos")))
