"""kill -9, at any instant: nothing is paid twice, nothing is lost, and the same call goes on.

Most instants are struck by what happens, not by the clock: by an execution that is accepted, or by an event that the
victim itself sees.
"""

from __future__ import annotations

import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

from .stage import Theatre, Trap, accepted, known, misplaced, problems, tally, trigger, until, whole

pytestmark = pytest.mark.chaos

ROWS = 400
WORKERS = 8
IN_FLIGHT = 10 * WORKERS
KILLS = 40
PROMPTS = [f"row {number}" for number in range(ROWS)]
ENDED = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}
RESUMED = {"timeout": 6.0, "settle_window": 0.5, "max_concurrency": WORKERS}


@dataclass
class Kill:
    """One kill: its instant, and where it happened."""

    number: int
    sandbox: Sandbox
    trap: Trap
    journal: Path
    at: int = 0
    pause: float = 0.0
    before: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"kill {self.number}: {self.pause:.4f} s after execution {self.at} ({len(self.before)} accepted)"


def struck(kill: Kill, theatre: Theatre) -> Kill:
    """Let a process trigger 400 rows, and kill it at its instant."""
    victim = theatre.actor(
        kill.sandbox, kill.journal, trigger(), prompts=PROMPTS, timeout=30.0, max_concurrency=WORKERS
    )
    later = threading.Timer(kill.pause, victim.kill)
    if kill.at:
        kill.trap.set(kill.at, later.start)
        victim.go()
    else:
        victim.go()
        later.start()
    victim.ended()
    later.cancel()
    kill.before = accepted(kill.sandbox)
    return kill


def resumed(kill: Kill, theatre: Theatre) -> list[str]:
    """Make the same call again; return what is wrong afterwards."""
    again = theatre.actor(
        kill.sandbox, kill.journal, trigger(), ("load_run", ["chaos"], {}), prompts=PROMPTS, **RESUMED
    ).go()
    called = again.ended()
    if [said.get("raised") for said in called] != [None, None]:
        return [f"it raised: {called}"]
    rows, loaded = called[0]["rows"], called[1]["rows"]
    found = problems(rows, kill.sandbox)
    lost = set(accepted(kill.sandbox)).difference(known(rows))
    if lost:
        found.append(f"{len(lost)} accepted executions stand in no row")
    if not set(tally(rows)) <= {"queued", "running", "completed", "unknown"}:
        found.append(f"rows without an outcome: {tally(rows)}")
    if tally(rows)["unknown"] > IN_FLIGHT:
        found.append(f"{tally(rows)['unknown']} unknown, of {IN_FLIGHT} that can have been in flight")
    if [row["execution_id"] for row in loaded] != [row["execution_id"] for row in rows]:
        found.append("load_run and the resumed call do not say the same")
    return found


def finished(kill: Kill, theatre: Theatre) -> list[str]:
    """Make the call once more, and have what was never accepted sent; return what is wrong then."""
    last = theatre.actor(kill.sandbox, kill.journal, trigger(on_unknown="resend"), prompts=PROMPTS, **RESUMED).go()
    said = last.ended()[0]
    found = problems(said["rows"] or [], kill.sandbox)
    if sorted(known(said["rows"])) != sorted(accepted(kill.sandbox)) or kill.sandbox.accepted_count() != ROWS:
        found.append(f"{kill.sandbox.accepted_count()} accepted, {len(known(said['rows']))} known at last")
    return found


def test_forty_kills_at_random_instants(theatre: Theatre, tmp_path: Path) -> None:
    """Each is followed by the same call with the same run=: no row is accepted twice, and none is without an outcome.

    What is unknown was in flight at the kill; sent again, it is accepted for the first time.
    """
    chance = random.Random(3)
    with ExitStack() as stack, ThreadPoolExecutor(4) as crew:
        kills = []
        for number in range(KILLS):
            trap = Trap()
            sandbox = stack.enter_context(
                ef.sandbox.start(configure=False, fail_when=trap, latency=chance.choice([0.0, 0.005, 0.02]), **ENDED)
            )
            kill = Kill(number, sandbox, trap, tmp_path / f"{number}.sqlite")
            # The first ones before anything was accepted, the others anywhere up to the last execution.
            kill.at = 0 if number < 8 else chance.randrange(1, ROWS + 1)
            kill.pause = chance.uniform(0.0, 0.15 if not kill.at else 0.006)
            kills.append(kill)
        list(crew.map(lambda kill: struck(kill, theatre), kills))
        wrong = list(crew.map(lambda kill: resumed(kill, theatre), kills))
        assert not any(wrong), "\n".join(f"{kill}: {said}" for kill, said in zip(kills, wrong, strict=True) if said)
        # Somewhere in all phases, or this has tried nothing.
        assert {len(kill.before) for kill in kills} & {0}
        assert sum(0 < len(kill.before) < ROWS for kill in kills) >= KILLS // 2
        wrong = list(crew.map(lambda kill: finished(kill, theatre), kills))
        assert not any(wrong), "\n".join(f"{kill}: {said}" for kill, said in zip(kills, wrong, strict=True) if said)


@pytest.fixture
def sandbox() -> Any:
    """A local each::labs whose executions end at once; the processes alone are pointed at it."""
    with ef.sandbox.start(configure=False, **ENDED) as running:
        yield running


@pytest.mark.parametrize(("kind", "at"), [("started", 1), ("answered", 1), ("answered", 5), ("answered", 10)])
def test_a_kill_between_an_answer_and_its_note(
    theatre: Theatre, sandbox: Sandbox, tmp_path: Path, kind: str, at: int
) -> None:
    """The victim strikes itself when it has read an answer and has not noted it: the answer is found again."""
    journal = tmp_path / "journal.sqlite"
    strike = {"on": kind, "at": at}
    victim = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:100], strike=strike, max_concurrency=1).go()
    assert victim.ended() == []
    assert victim.code == 9
    assert sandbox.accepted_count() == (10 * at if kind == "answered" else 0)
    again = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:100], **RESUMED).go()
    whole(again.ended(), sandbox, rows=100)


def test_a_kill_between_the_claim_and_the_post(theatre: Theatre, tmp_path: Path) -> None:
    """What was claimed and never heard of is unknown, and is sent again only where that is asked for."""
    journal = tmp_path / "journal.sqlite"
    options = {"version_id": "v1", "validate": False}  # so that nothing is asked before the first batch
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        port = deaf.getsockname()[1]
        victim = theatre.actor(
            f"http://127.0.0.1:{port}/v1", journal, trigger(**options), prompts=PROMPTS[:30], watch=False
        ).go()
        deaf.settimeout(60)
        heard, _ = deaf.accept()
        with heard:
            assert heard.recv(1) == b"P"
            victim.kill()
            victim.ended()
    with ef.sandbox.start(configure=False, port=port, **ENDED) as sandbox:
        settings = {"timeout": 1.0, "settle_window": 0.3}
        again = theatre.actor(sandbox, journal, trigger(**options), prompts=PROMPTS[:30], **settings).go()
        [said] = again.ended()
        assert tally(said["rows"]) == {"queued": 20, "unknown": 10}
        assert problems(said["rows"], sandbox) == []
        assert sandbox.accepted_count() == 20
        last = theatre.actor(
            sandbox, journal, trigger(on_unknown="resend", **options), prompts=PROMPTS[:30], **settings
        ).go()
        whole(last.ended(), sandbox, rows=30)


@pytest.mark.parametrize("workers", [1, 8])
def test_a_kill_between_the_post_and_its_answer(
    theatre: Theatre, sandbox: Sandbox, tmp_path: Path, workers: int
) -> None:
    """Every request of the victim took effect, and not one was answered: all executions are adopted."""
    journal = tmp_path / "journal.sqlite"
    sandbox.faults(Fault("silence"))
    victim = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:100], max_concurrency=workers).go()
    until(lambda: sandbox.accepted_count() == 10 * workers)
    victim.kill()
    victim.ended()
    sandbox.faults()
    before = accepted(sandbox)
    again = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:100], **RESUMED).go()
    rows = whole(again.ended(), sandbox, rows=100)
    assert set(before) <= set(known(rows))


def test_a_request_that_takes_effect_after_its_sender_was_killed(
    theatre: Theatre, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The resumed call looks for as long as its settle window, and adopts what has come of it meanwhile."""
    journal = tmp_path / "journal.sqlite"
    sandbox.faults(Fault("latency", seconds=2.0, at={1, 2, 3, 4}))
    victim = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:100], max_concurrency=4).go()
    until(lambda: sandbox.peak_in_flight == 4)
    victim.kill()
    victim.ended()
    again = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:100], timeout=30.0, settle_window=8.0).go()
    rows = whole(again.ended(), sandbox, rows=100)
    assert set(accepted(sandbox)[:40]) <= set(known(rows))


def test_a_kill_in_the_middle_of_a_search(theatre: Theatre, sandbox: Sandbox, tmp_path: Path) -> None:
    """What was looked for and not found yet is looked for by the next call, without being asked to."""
    journal = tmp_path / "journal.sqlite"
    sandbox.change(listing_lag=1000.0)
    sandbox.faults(Fault("lost_answer", at={3}), Fault("garbage", at={6}))
    victim = theatre.actor(
        sandbox, journal, trigger(), prompts=PROMPTS[:100], max_concurrency=1, settle_window=60.0
    ).go()
    until(lambda: sandbox.accepted_count() == 100 and sum(one.route == "list" for one in sandbox.requests) > 1)
    victim.kill()
    victim.ended()
    assert victim.code == 9
    sandbox.change(listing_lag=0.0)
    sandbox.faults()
    again = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:100], **RESUMED).go()
    whole(again.ended(), sandbox, rows=100)


def test_a_kill_in_the_middle_of_a_wait(theatre: Theatre, tmp_path: Path) -> None:
    """After half of the executions have ended: load_run and wait give everything, and nothing is triggered."""
    journal = tmp_path / "journal.sqlite"
    with ef.sandbox.start(configure=False, hold=True) as sandbox:
        victim = theatre.actor(
            sandbox, journal, trigger(wait=True), prompts=PROMPTS[:100], strike={"on": "refreshed", "at": 2}
        ).go()
        until(lambda: is_seen_looking(sandbox))
        sandbox.release(50)
        victim.ended()
        assert victim.code == 9
        asked = sum(request.route == "trigger" for request in sandbox.requests)
        waiter = theatre.actor(sandbox, journal, ("load_run", ["chaos"], {}), ("wait", [], {})).go()
        loaded = waiter.hears("call")
        assert problems(loaded["rows"], sandbox) == []
        assert len(known(loaded["rows"])) == 100
        sandbox.release()
        rows = waiter.ended()[-1]["rows"]
        assert tally(rows) == {"completed": 100}
        assert sorted(known(rows)) == sorted(accepted(sandbox))
        assert misplaced(rows, sandbox) == []
        assert sum(request.route == "trigger" for request in sandbox.requests) == asked


def test_a_kill_of_a_wait_that_was_called_by_itself(theatre: Theatre, tmp_path: Path) -> None:
    """What it had seen of the executions is in the journal, or is seen again; none is lost."""
    journal = tmp_path / "journal.sqlite"
    with ef.sandbox.start(configure=False, hold=True) as sandbox:
        victim = theatre.actor(
            sandbox, journal, trigger(), ("wait", [], {}), prompts=PROMPTS[:40], strike={"on": "refreshed", "at": 2}
        ).go()
        victim.hears("call")
        sandbox.release(20)
        until(lambda: is_seen_looking(sandbox))
        sandbox.release()
        victim.ended()
        assert victim.code == 9
        again = theatre.actor(sandbox, journal, ("load_run", ["chaos"], {}), ("wait", [], {})).go()
        rows = again.ended()[-1]["rows"]
        assert tally(rows) == {"completed": 40}
        assert sandbox.accepted_count() == 40
        assert problems(rows, sandbox) == []


def is_seen_looking(sandbox: Sandbox) -> bool:
    """Say whether somebody has looked at executions."""
    return any(request.route in ("list", "details") for request in sandbox.requests)


def test_a_resumed_call_that_is_killed_too(theatre: Theatre, tmp_path: Path) -> None:
    """Killed again and again, each time a little further on: the last call has every row, each accepted once."""
    journal = tmp_path / "journal.sqlite"
    trap = Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, **ENDED) as sandbox:
        for round_ in range(5):
            victim = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:200], max_concurrency=3)
            trap.set(25 + round_, victim.kill)
            victim.go().ended()
            assert victim.code == 9
        again = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:200], **RESUMED).go()
        [said] = again.ended()
        assert problems(said["rows"], sandbox) == []
        assert set(accepted(sandbox)) == set(known(said["rows"]))
        last = theatre.actor(sandbox, journal, trigger(on_unknown="resend"), prompts=PROMPTS[:200], **RESUMED).go()
        whole(last.ended(), sandbox, rows=200)


def test_a_killed_run_with_a_key(theatre: Theatre, tmp_path: Path) -> None:
    """Rows that are known by a key and have one input among them all: each gets an execution of its own."""
    journal = tmp_path / "journal.sqlite"
    trap = Trap()
    frame = {"prompt": ["the same"] * 100, "name": [f"key {number}" for number in range(100)]}
    with ef.sandbox.start(configure=False, fail_when=trap, **ENDED) as sandbox:
        options = {"key": "name", "inputs": ["prompt"]}
        victim = theatre.actor(sandbox, journal, trigger(**options), frame=frame, max_concurrency=4)
        trap.set(45, victim.kill)
        victim.go().ended()
        again = theatre.actor(sandbox, journal, trigger(**options), frame=frame, **RESUMED).go()
        [said] = again.ended()
        assert problems(said["rows"], sandbox, unique=False) == []
        assert sorted(known(said["rows"])) == sorted(accepted(sandbox))
        assert sandbox.accepted_count() + tally(said["rows"])["unknown"] == 100


def test_identical_rows_of_a_killed_run(theatre: Theatre, tmp_path: Path) -> None:
    """All 100 rows are one prompt, and eight answers are lost by the kill: as many are adopted as were accepted."""
    journal = tmp_path / "journal.sqlite"
    with ef.sandbox.start(configure=False, **ENDED) as sandbox:
        sandbox.faults(Fault("silence"))
        victim = theatre.actor(sandbox, journal, trigger(), prompts=["the same"] * 100, max_concurrency=8).go()
        until(lambda: sandbox.accepted_count() == 80)
        victim.kill()
        victim.ended()
        sandbox.faults()
        again = theatre.actor(sandbox, journal, trigger(), prompts=["the same"] * 100, **RESUMED).go()
        [said] = again.ended()
        assert problems(said["rows"], sandbox, unique=False) == []
        assert sorted(known(said["rows"])) == sorted(accepted(sandbox))
        assert sandbox.accepted_count() == 100
