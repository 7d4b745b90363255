"""Files of the journal that are deleted, not copied, or put back from an older copy: nothing is paid twice silently."""

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

from .actors import rows_of
from .stage import Actor, Theatre, Trap, accepted, known, problems, tally, trigger, until, whole

pytestmark = pytest.mark.chaos

ROWS = 600
PROMPTS = [f"row {number}" for number in range(ROWS)]
ENDED: dict[str, Any] = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}
AGAIN: dict[str, Any] = {"timeout": 6.0, "settle_window": 0.5, "max_concurrency": 8}
SUFFIXES = ("", "-wal", "-shm", "-mark", "-owners")


def beside(journal: Path, suffix: str) -> Path:
    """Return the file of a journal that has this suffix."""
    return journal.with_name(journal.name + suffix)


def copied(journal: Path, folder: Path, *suffixes: str) -> Path:
    """Copy files of a journal into a folder of their own."""
    folder.mkdir()
    for suffix in suffixes:
        if beside(journal, suffix).exists():
            shutil.copy(beside(journal, suffix), folder)
    return folder / journal.name


def killed(theatre: Theatre, sandbox: Sandbox, trap: Trap, journal: Path, *, at: int) -> None:
    """Let a process trigger 600 rows, and kill it when so many were accepted."""
    victim = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=8)
    trap.set(at, victim.kill)
    victim.go().ended()
    assert victim.code == 9


def refused(actor: Actor) -> str:
    """Return the error of a call that was refused because of its journal."""
    [said] = actor.ended()
    assert said.get("raised") == "JournalError", said
    return str(said["text"])


def accepts_and_goes_on(theatre: Theatre, sandbox: Sandbox, journal: Path) -> None:
    """Accept the loss: the same call then adopts what it finds, and pays nothing twice; nor does resending."""
    assert set(open_journal(journal).accept_loss()) == {"chaos"}
    assert open_journal(journal).accept_loss() == {}
    for on_unknown in ("keep", "resend"):
        call = trigger(on_unknown=on_unknown)
        [said] = theatre.actor(sandbox, journal, call, prompts=PROMPTS, **AGAIN).go().ended()
        assert problems(said["rows"], sandbox) == []
        assert sorted(known(said["rows"])) == sorted(accepted(sandbox))
    assert sandbox.accepted_count() == ROWS


@pytest.mark.parametrize("kept", [("",), ("", "-owners"), ("", "-mark"), ("", "-mark", "-owners")])
def test_a_copy_without_the_log_after_a_kill_is_refused(
    theatre: Theatre, tmp_path: Path, kept: tuple[str, ...]
) -> None:
    """Whichever of the other files are copied, nothing is sent; accepted knowingly, what was paid is looked for."""
    trap = Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        killed(theatre, sandbox, trap, tmp_path / "j.sqlite", at=400)
        journal = copied(tmp_path / "j.sqlite", tmp_path / "copy", *kept)
        said = refused(theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).go())
        assert "not complete" in said
        assert "accept_journal_loss" in said
        assert sandbox.duplicates() == {}
        for read in (lambda path: open_journal(path).summaries(), lambda path: open_journal(path).load("chaos")):
            with pytest.raises(JournalError, match="not complete"):
                read(journal)
        accepts_and_goes_on(theatre, sandbox, journal)


@pytest.mark.parametrize("kept", [SUFFIXES, ("", "-wal"), ("", "-wal", "-mark"), ("", "-wal", "-owners")])
def test_a_copy_with_the_log_after_a_kill_is_gone_on_with(
    theatre: Theatre, tmp_path: Path, kept: tuple[str, ...]
) -> None:
    """The main file and its log hold everything; the process is dead, whether its lock was copied or not."""
    trap = Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        killed(theatre, sandbox, trap, tmp_path / "j.sqlite", at=400)
        journal = copied(tmp_path / "j.sqlite", tmp_path / "copy", *kept)
        [said] = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).go().ended()
        assert problems(said["rows"], sandbox) == []
        assert set(accepted(sandbox)) == set(known(said["rows"]))
        last = theatre.actor(sandbox, journal, trigger(on_unknown="resend"), prompts=PROMPTS, **AGAIN).go()
        whole(last.ended(), sandbox, rows=ROWS)


@pytest.mark.parametrize("kept", [SUFFIXES, ("",)])
def test_a_journal_that_nobody_uses_is_copied_and_moved_freely(
    theatre: Theatre, tmp_path: Path, kept: tuple[str, ...]
) -> None:
    """After the last call has ended the main file alone holds everything."""
    with ef.sandbox.start(configure=False, **ENDED) as sandbox:
        first = theatre.actor(sandbox, tmp_path / "j.sqlite", trigger(), prompts=PROMPTS[:40]).go()
        whole(first.ended(), sandbox, rows=40)
        journal = copied(tmp_path / "j.sqlite", tmp_path / "copy", *kept)
        again = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:40]).go()
        whole(again.ended(), sandbox, rows=40)
        moved = tmp_path / "moved.sqlite"
        for suffix in SUFFIXES:
            if beside(journal, suffix).exists():
                beside(journal, suffix).rename(beside(moved, suffix))
        again = theatre.actor(sandbox, moved, trigger(), prompts=PROMPTS[:40]).go()
        whole(again.ended(), sandbox, rows=40)


def test_an_older_copy_in_place_of_a_newer_one_is_refused(theatre: Theatre, tmp_path: Path) -> None:
    """Also one of a journal that nobody used: its mark knows how many records it once had."""
    journal = tmp_path / "j.sqlite"
    with ef.sandbox.start(configure=False, **ENDED) as sandbox:
        whole(theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:40]).go().ended(), sandbox, rows=40)
        older = copied(journal, tmp_path / "older", "")
        whole(theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:80]).go().ended(), sandbox, rows=80)
        shutil.copy(older, journal)
        said = refused(theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:80]).go())
        assert "record(s), numbers" in said
        journal.unlink()
        assert "it is missing" in refused(theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:80]).go())
        assert sandbox.accepted_count() == 80


def replace(path: Path) -> None:
    """Put another file of the same content in a file's place."""
    other = path.with_name("other")
    shutil.copy(path, other)
    other.replace(path)


@pytest.mark.parametrize("harm", [Path.unlink, replace], ids=["deleted", "replaced"])
def test_a_log_that_is_lost_during_a_run_stops_it(
    theatre: Theatre, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    """The next claim notices: the rest is pending, and the same call goes on, or is refused and its loss accepted."""
    journal, trap = tmp_path / "j.sqlite", Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        actor = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=8)
        trap.set(200, lambda: harm(beside(journal, "-wal")))
        [said] = actor.go().ended()
        # What was in flight when the log was lost has still been accepted.
        assert 200 <= sandbox.accepted_count() <= 400
        assert tally(said["rows"])["pending"] >= 200, said
        assert any("while it was in use" in str(row["error"]) for row in said["rows"])
        [said] = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).go().ended()
        if said.get("raised") is None:
            assert problems(said["rows"], sandbox) == []
            last = theatre.actor(sandbox, journal, trigger(on_unknown="resend"), prompts=PROMPTS, **AGAIN).go()
            whole(last.ended(), sandbox, rows=ROWS)
        else:
            assert "not complete" in said["text"]
            accepts_and_goes_on(theatre, sandbox, journal)


def test_a_log_that_is_deleted_before_a_kill_is_missed(theatre: Theatre, tmp_path: Path) -> None:
    """Nobody could save what was in it, and nothing of it is paid twice."""
    journal, trap = tmp_path / "j.sqlite", Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        victim = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=8)

        def strike() -> None:
            victim.kill()
            beside(journal, "-wal").unlink()

        trap.set(300, strike)
        victim.go().ended()
        assert "not complete" in refused(theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).go())
        assert sandbox.duplicates() == {}
        accepts_and_goes_on(theatre, sandbox, journal)


@pytest.mark.parametrize("harm", [Path.unlink, replace], ids=["deleted", "replaced"])
def test_a_lost_owners_file_makes_no_live_call_look_dead(
    theatre: Theatre, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    """A call waits for 80 answers while its lock is lost: another one neither sends nor gives up its rows."""
    journal = tmp_path / "j.sqlite"
    with ef.sandbox.start(configure=False, listing_lag=1000.0, **ENDED) as sandbox:
        sandbox.faults(Fault("silence"))
        slow = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:80], timeout=100.0, max_concurrency=8).go()
        until(lambda: sandbox.accepted_count() == 80)
        harm(beside(journal, "-owners"))
        short: dict[str, Any] = {"timeout": 1.0, "settle_window": 0.3}
        asking = theatre.actor(sandbox, journal, trigger(on_unknown="resend"), prompts=PROMPTS[:80], **short).go()
        [said] = asking.ended()
        assert tally(said["rows"]) == {"unknown": 80}
        assert sandbox.accepted_count() == 80
        slow.kill()
        slow.ended()
        sandbox.faults()
        sandbox.change(listing_lag=0.0)
        last = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:80], **AGAIN).go()
        whole(last.ended(), sandbox, rows=80)


def test_a_mark_and_a_lock_that_are_deleted_during_a_run_are_made_again(theatre: Theatre, tmp_path: Path) -> None:
    """The run goes on, and what protects it is there again with its next commit."""
    journal, trap = tmp_path / "j.sqlite", Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        actor = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=8)

        def strike() -> None:
            beside(journal, "-mark").unlink()
            beside(journal, "-owners").unlink()

        trap.set(100, strike)
        whole(actor.go().ended(), sandbox, rows=ROWS)
        assert beside(journal, "-mark").stat().st_size
        assert beside(journal, "-owners").stat().st_size
        os.truncate(journal, 0)
        assert "it is missing" in refused(theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).go())


def test_an_accepted_loss_is_shown_as_perhaps_sent(theatre: Theatre, tmp_path: Path) -> None:
    """In what `load_run` gives, too, no row that may have been paid is pending."""
    journal, trap = tmp_path / "j.sqlite", Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        killed(theatre, sandbox, trap, journal, at=300)
        beside(journal, "-wal").unlink()
    ef.configure(journal=journal)
    assert sum(ef.accept_journal_loss().values()) > 0
    assert "pending" not in tally(rows_of(ef.load_run("chaos")))
