"""Tests of SIGKILL at any instant: nothing is paid twice, nothing is lost, and the same call resumes the run.

Most kills are triggered by an accepted execution or by an event in the killed process, not by the clock.
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

from .fork_server import ForkServer, Trap, accepted_ids, complete, count_of, ids_of, misplaced, problems, trigger, until

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
    """A kill: its instant and its sandbox and journal."""

    number: int
    sandbox: Sandbox
    trap: Trap
    journal: Path
    at: int = 0
    pause: float = 0.0
    before: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"kill {self.number}: {self.pause:.4f} s after execution {self.at} ({len(self.before)} accepted)"


def run_and_kill(kill: Kill, server: ForkServer) -> Kill:
    """Let a process trigger 400 rows, and kill it at its instant."""
    victim = server.worker(
        kill.sandbox, kill.journal, trigger(), prompts=PROMPTS, timeout=30.0, max_concurrency=WORKERS
    )
    timer = threading.Timer(kill.pause, victim.kill)
    if kill.at:
        kill.trap.set(kill.at, timer.start)
        victim.start()
    else:
        victim.start()
        timer.start()
    victim.wait()
    timer.cancel()
    kill.before = accepted_ids(kill.sandbox)
    return kill


def resume(kill: Kill, server: ForkServer) -> list[str]:
    """Make the same call again; return what is wrong afterwards."""
    again = server.worker(
        kill.sandbox, kill.journal, trigger(), ("load_run", ["chaos"], {}), prompts=PROMPTS, **RESUMED
    ).start()
    reports = again.wait()
    if [report.get("raised") for report in reports] != [None, None]:
        return [f"the call raised: {reports}"]
    rows, loaded = reports[0]["rows"], reports[1]["rows"]
    messages = problems(rows, kill.sandbox)
    lost = set(accepted_ids(kill.sandbox)).difference(ids_of(rows))
    if lost:
        messages.append(f"{len(lost)} accepted executions are in no row")
    if not set(count_of(rows)) <= {"queued", "running", "completed", "unknown"}:
        messages.append(f"rows without an outcome: {count_of(rows)}")
    if count_of(rows)["unknown"] > IN_FLIGHT:
        messages.append(f"{count_of(rows)['unknown']} unknown, of {IN_FLIGHT} that can have been in flight")
    if [row["execution_id"] for row in loaded] != [row["execution_id"] for row in rows]:
        messages.append("load_run and the resumed call return different executions")
    return messages


def finish(kill: Kill, server: ForkServer) -> list[str]:
    """Make the call with on_unknown="resend"; return what is wrong afterwards."""
    last = server.worker(kill.sandbox, kill.journal, trigger(on_unknown="resend"), prompts=PROMPTS, **RESUMED).start()
    report = last.wait()[0]
    messages = problems(report["rows"] or [], kill.sandbox)
    if sorted(ids_of(report["rows"])) != sorted(accepted_ids(kill.sandbox)) or kill.sandbox.accepted_count() != ROWS:
        messages.append(f"{kill.sandbox.accepted_count()} accepted, {len(ids_of(report['rows']))} known at last")
    return messages


def test_forty_kills_at_random_instants(server: ForkServer, tmp_path: Path) -> None:
    """The same call then resumes each run: no row is accepted twice, and every row has an outcome.

    Unknown rows were in flight at the kill; when they are sent again, they are accepted for the first time.
    """
    chance = random.Random(3)
    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        kills = []
        for number in range(KILLS):
            trap = Trap()
            sandbox = stack.enter_context(
                ef.sandbox.start(configure=False, fail_when=trap, latency=chance.choice([0.0, 0.005, 0.02]), **ENDED)
            )
            kill = Kill(number, sandbox, trap, tmp_path / f"{number}.sqlite")
            # The first kills are before anything is accepted, the others at any execution.
            kill.at = 0 if number < 8 else chance.randrange(1, ROWS + 1)
            kill.pause = chance.uniform(0.0, 0.15 if not kill.at else 0.006)
            kills.append(kill)
        list(pool.map(lambda kill: run_and_kill(kill, server), kills))
        wrong = list(pool.map(lambda kill: resume(kill, server), kills))
        assert not any(wrong), "\n".join(
            f"{kill}: {messages}" for kill, messages in zip(kills, wrong, strict=True) if messages
        )
        # The kills must cover all phases.
        assert {len(kill.before) for kill in kills} & {0}
        assert sum(0 < len(kill.before) < ROWS for kill in kills) >= KILLS // 2
        wrong = list(pool.map(lambda kill: finish(kill, server), kills))
        assert not any(wrong), "\n".join(
            f"{kill}: {messages}" for kill, messages in zip(kills, wrong, strict=True) if messages
        )


@pytest.fixture
def sandbox() -> Any:
    """A sandbox whose executions end at once, used only by the workers."""
    with ef.sandbox.start(configure=False, **ENDED) as running:
        yield running


@pytest.mark.parametrize(("kind", "at"), [("started", 1), ("answered", 1), ("answered", 5), ("answered", 10)])
def test_a_kill_between_a_reply_and_its_record(
    server: ForkServer, sandbox: Sandbox, tmp_path: Path, kind: str, at: int
) -> None:
    """The victim kills itself after it read a reply and before it records it; the executions are found again."""
    journal = tmp_path / "journal.sqlite"
    stop_at = {"on": kind, "at": at}
    victim = server.worker(
        sandbox, journal, trigger(), prompts=PROMPTS[:100], stop_at=stop_at, max_concurrency=1
    ).start()
    assert victim.wait() == []
    assert victim.code == 9
    assert sandbox.accepted_count() == (10 * at if kind == "answered" else 0)
    again = server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:100], **RESUMED).start()
    complete(again.wait(), sandbox, rows=100)


def test_a_kill_between_the_claim_and_the_post(server: ForkServer, tmp_path: Path) -> None:
    """Claimed rows that were not sent are unknown, and are sent again only with on_unknown="resend"."""
    journal = tmp_path / "journal.sqlite"
    options = {"version_id": "v1", "validate": False}  # so that the first request is a batch
    with closing(socket.create_server(("127.0.0.1", 0))) as silent_server:
        port = silent_server.getsockname()[1]
        victim = server.worker(
            f"http://127.0.0.1:{port}/v1", journal, trigger(**options), prompts=PROMPTS[:30], watch=False
        ).start()
        silent_server.settimeout(60)
        connection, _ = silent_server.accept()
        with connection:
            assert connection.recv(1) == b"P"
            victim.kill()
            victim.wait()
    with ef.sandbox.start(configure=False, port=port, **ENDED) as sandbox:
        settings = {"timeout": 1.0, "settle_window": 0.3}
        again = server.worker(sandbox, journal, trigger(**options), prompts=PROMPTS[:30], **settings).start()
        [report] = again.wait()
        assert count_of(report["rows"]) == {"queued": 20, "unknown": 10}
        assert problems(report["rows"], sandbox) == []
        assert sandbox.accepted_count() == 20
        last = server.worker(
            sandbox, journal, trigger(on_unknown="resend", **options), prompts=PROMPTS[:30], **settings
        ).start()
        complete(last.wait(), sandbox, rows=30)


@pytest.mark.parametrize("workers", [1, 8])
def test_a_kill_between_the_post_and_its_reply(
    server: ForkServer, sandbox: Sandbox, tmp_path: Path, workers: int
) -> None:
    """Every request took effect, and none was answered: all executions are adopted."""
    journal = tmp_path / "journal.sqlite"
    sandbox.faults(Fault("silence"))
    victim = server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:100], max_concurrency=workers).start()
    until(lambda: sandbox.accepted_count() == 10 * workers)
    victim.kill()
    victim.wait()
    sandbox.faults()
    before = accepted_ids(sandbox)
    again = server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:100], **RESUMED).start()
    rows = complete(again.wait(), sandbox, rows=100)
    assert set(before) <= set(ids_of(rows))


def test_a_request_that_takes_effect_after_its_sender_was_killed(
    server: ForkServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The resumed call searches during its settle window and adopts the executions that appear."""
    journal = tmp_path / "journal.sqlite"
    sandbox.faults(Fault("latency", seconds=2.0, at={1, 2, 3, 4}))
    victim = server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:100], max_concurrency=4).start()
    until(lambda: sandbox.peak_in_flight == 4)
    victim.kill()
    victim.wait()
    again = server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:100], timeout=30.0, settle_window=8.0).start()
    rows = complete(again.wait(), sandbox, rows=100)
    assert set(accepted_ids(sandbox)[:40]) <= set(ids_of(rows))


def test_a_kill_during_a_search(server: ForkServer, sandbox: Sandbox, tmp_path: Path) -> None:
    """The next call continues the search for requests that were not found yet."""
    journal = tmp_path / "journal.sqlite"
    sandbox.change(listing_lag=1000.0)
    sandbox.faults(Fault("lost_answer", at={3}), Fault("garbage", at={6}))
    victim = server.worker(
        sandbox, journal, trigger(), prompts=PROMPTS[:100], max_concurrency=1, settle_window=60.0
    ).start()
    until(lambda: sandbox.accepted_count() == 100 and sum(request.route == "list" for request in sandbox.requests) > 1)
    victim.kill()
    victim.wait()
    assert victim.code == 9
    sandbox.change(listing_lag=0.0)
    sandbox.faults()
    again = server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:100], **RESUMED).start()
    complete(again.wait(), sandbox, rows=100)


def test_a_kill_during_a_wait(server: ForkServer, tmp_path: Path) -> None:
    """Half of the executions have ended by then: load_run and wait return all, and nothing is triggered."""
    journal = tmp_path / "journal.sqlite"
    with ef.sandbox.start(configure=False, hold=True) as sandbox:
        victim = server.worker(
            sandbox, journal, trigger(wait=True), prompts=PROMPTS[:100], stop_at={"on": "refreshed", "at": 2}
        ).start()
        until(lambda: has_reads(sandbox))
        sandbox.release(50)
        victim.wait()
        assert victim.code == 9
        triggers = sum(request.route == "trigger" for request in sandbox.requests)
        waiter = server.worker(sandbox, journal, ("load_run", ["chaos"], {}), ("wait", [], {})).start()
        loaded = waiter.wait_for("call")
        assert problems(loaded["rows"], sandbox) == []
        assert len(ids_of(loaded["rows"])) == 100
        sandbox.release()
        rows = waiter.wait()[-1]["rows"]
        assert count_of(rows) == {"completed": 100}
        assert sorted(ids_of(rows)) == sorted(accepted_ids(sandbox))
        assert misplaced(rows, sandbox) == []
        assert sum(request.route == "trigger" for request in sandbox.requests) == triggers


def test_a_kill_during_a_separate_wait(server: ForkServer, tmp_path: Path) -> None:
    """The results it had read are in the journal or are read again; none is lost."""
    journal = tmp_path / "journal.sqlite"
    with ef.sandbox.start(configure=False, hold=True) as sandbox:
        victim = server.worker(
            sandbox, journal, trigger(), ("wait", [], {}), prompts=PROMPTS[:40], stop_at={"on": "refreshed", "at": 2}
        ).start()
        victim.wait_for("call")
        sandbox.release(20)
        until(lambda: has_reads(sandbox))
        sandbox.release()
        victim.wait()
        assert victim.code == 9
        again = server.worker(sandbox, journal, ("load_run", ["chaos"], {}), ("wait", [], {})).start()
        rows = again.wait()[-1]["rows"]
        assert count_of(rows) == {"completed": 40}
        assert sandbox.accepted_count() == 40
        assert problems(rows, sandbox) == []


def has_reads(sandbox: Sandbox) -> bool:
    """Return whether executions were read from the API."""
    return any(request.route in ("list", "details") for request in sandbox.requests)


def test_a_resumed_call_is_killed_repeatedly(server: ForkServer, tmp_path: Path) -> None:
    """Each call gets a little further before it is killed: the last one has every row, and each is accepted once."""
    journal = tmp_path / "journal.sqlite"
    trap = Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, **ENDED) as sandbox:
        for round_ in range(5):
            victim = server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:200], max_concurrency=3)
            trap.set(25 + round_, victim.kill)
            victim.start().wait()
            assert victim.code == 9
        again = server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:200], **RESUMED).start()
        [report] = again.wait()
        assert problems(report["rows"], sandbox) == []
        assert set(accepted_ids(sandbox)) == set(ids_of(report["rows"]))
        last = server.worker(sandbox, journal, trigger(on_unknown="resend"), prompts=PROMPTS[:200], **RESUMED).start()
        complete(last.wait(), sandbox, rows=200)


def test_a_killed_run_with_a_key(server: ForkServer, tmp_path: Path) -> None:
    """The rows have different keys but the same input: each gets its own execution."""
    journal = tmp_path / "journal.sqlite"
    trap = Trap()
    frame = {"prompt": ["the same"] * 100, "name": [f"key {number}" for number in range(100)]}
    with ef.sandbox.start(configure=False, fail_when=trap, **ENDED) as sandbox:
        options = {"key": "name", "inputs": ["prompt"]}
        victim = server.worker(sandbox, journal, trigger(**options), frame=frame, max_concurrency=4)
        trap.set(45, victim.kill)
        victim.start().wait()
        again = server.worker(sandbox, journal, trigger(**options), frame=frame, **RESUMED).start()
        [report] = again.wait()
        assert problems(report["rows"], sandbox, unique=False) == []
        assert sorted(ids_of(report["rows"])) == sorted(accepted_ids(sandbox))
        assert sandbox.accepted_count() + count_of(report["rows"])["unknown"] == 100


def test_identical_rows_of_a_killed_run(server: ForkServer, tmp_path: Path) -> None:
    """All 100 rows have one prompt, and the kill loses eight replies: all accepted executions are adopted."""
    journal = tmp_path / "journal.sqlite"
    with ef.sandbox.start(configure=False, **ENDED) as sandbox:
        sandbox.faults(Fault("silence"))
        victim = server.worker(sandbox, journal, trigger(), prompts=["the same"] * 100, max_concurrency=8).start()
        until(lambda: sandbox.accepted_count() == 80)
        victim.kill()
        victim.wait()
        sandbox.faults()
        again = server.worker(sandbox, journal, trigger(), prompts=["the same"] * 100, **RESUMED).start()
        [report] = again.wait()
        assert problems(report["rows"], sandbox, unique=False) == []
        assert sorted(ids_of(report["rows"])) == sorted(accepted_ids(sandbox))
        assert sandbox.accepted_count() == 100
