"""Ctrl-C once and twice, SIGTERM, and what a call leaves behind: nothing but its results."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

from .stage import WORKFLOW, Theatre, Trap, accepted, known, problems, tally, trigger, until, whole

pytestmark = pytest.mark.chaos

PROMPTS = [f"row {number}" for number in range(300)]
ENDED: dict[str, Any] = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}
AGAIN = {"timeout": 6.0, "settle_window": 0.5}


@pytest.fixture
def sandbox() -> Any:
    """A local each::labs whose executions end at once; the processes alone are pointed at it."""
    with ef.sandbox.start(configure=False, **ENDED) as running:
        yield running


def test_one_interrupt_keeps_what_is_in_flight(theatre: Theatre, sandbox: Sandbox, tmp_path: Path) -> None:
    """Every answer in flight is read and noted, the exception names the run, and the same call goes on."""
    sandbox.change(latency=0.1)
    strike = {"on": "answered", "at": 4, "signal": signal.SIGINT}
    calls = (trigger(), ("load_run", ["chaos"], {}))
    actor = theatre.actor(sandbox, tmp_path / "j.sqlite", *calls, prompts=PROMPTS, strike=strike, max_concurrency=4)
    said, loaded = actor.go().ended()
    assert actor.code == 0
    assert said["raised"] == "Interrupted"
    assert "run 'chaos'" in said["text"]
    assert "run='chaos'" in said["text"]
    assert sorted(known(said["rows"])) == sorted(accepted(sandbox))
    assert 40 <= sandbox.accepted_count() <= 100
    assert tally(said["rows"])["unknown"] == 0
    assert [row["execution_id"] for row in loaded["rows"]] == [row["execution_id"] for row in said["rows"]]
    again = theatre.actor(sandbox, tmp_path / "j.sqlite", trigger(), prompts=PROMPTS, **AGAIN).go()
    whole(again.ended(), sandbox, rows=300)


def test_a_second_interrupt_ends_at_once(theatre: Theatre, sandbox: Sandbox, tmp_path: Path) -> None:
    """Answers that will never come are not waited for; the frame calls them unknown, and the next call finds them."""
    sandbox.faults(Fault("silence"))
    actor = theatre.actor(sandbox, tmp_path / "j.sqlite", trigger(), prompts=PROMPTS, max_concurrency=4).go()
    until(lambda: sandbox.accepted_count() == 40)
    actor.kill(signal.SIGINT)
    actor.hears("stopped")
    actor.kill(signal.SIGINT)
    [said] = actor.ended()
    assert said["raised"] == "Interrupted"
    assert "run 'chaos'" in said["text"]
    assert tally(said["rows"]) == {"unknown": 40, "pending": 260}
    assert problems(said["rows"], sandbox) == []
    sandbox.faults()
    again = theatre.actor(sandbox, tmp_path / "j.sqlite", trigger(), prompts=PROMPTS, **AGAIN).go()
    whole(again.ended(), sandbox, rows=300)


@pytest.mark.parametrize("count", [1, 2])
def test_interrupts_at_random_instants(theatre: Theatre, tmp_path: Path, count: int) -> None:
    """Wherever it strikes, once or twice in a row: nothing is paid twice, and the same call has every row."""
    chance = random.Random(count)
    instants = [(chance.randrange(1, 200), chance.uniform(0.0, 0.01)) for _ in range(10)]
    with ThreadPoolExecutor(4) as crew:

        def one(number: int) -> list[str]:
            trap = Trap()
            with ef.sandbox.start(configure=False, fail_when=trap, latency=0.02, **ENDED) as own:
                journal = tmp_path / f"{number}.sqlite"
                actor = theatre.actor(own, journal, trigger(), prompts=PROMPTS, max_concurrency=4)
                pauses = [instants[number][1] * (turn + 1) for turn in range(count)]
                timers = [threading.Timer(pause, actor.kill, [signal.SIGINT]) for pause in pauses]
                trap.set(instants[number][0], lambda: [timer.start() for timer in timers])
                said = actor.go().ended()
                for timer in timers:
                    timer.join()
                if [call.get("raised") for call in said] != ["Interrupted"] or "run 'chaos'" not in said[0]["text"]:
                    return [f"no interrupt: {str(said)[:300]}, {actor.code}"]
                found = problems(said[0]["rows"], own)
                last = theatre.actor(own, journal, trigger(), prompts=PROMPTS, **AGAIN).go().ended()
                found += problems(last[0]["rows"], own)
                if sorted(known(last[0]["rows"])) != sorted(accepted(own)):
                    found.append(f"{own.accepted_count()} accepted, {len(known(last[0]['rows']))} known")
                return found

        wrong = list(crew.map(one, range(10)))
    assert not any(wrong), list(zip(instants, wrong, strict=True))


def test_an_interrupted_search_and_an_interrupted_wait(theatre: Theatre, tmp_path: Path) -> None:
    """Looking and waiting are left at once; what was found stays, the rest is found by a later call."""
    with ef.sandbox.start(configure=False, hold=True, listing_lag=1000.0) as sandbox:
        sandbox.faults(Fault("lost_answer", at={3}))
        settings: dict[str, Any] = {"timeout": 30.0, "settle_window": 60.0}
        strike = {"on": "waiting", "at": 1, "signal": signal.SIGINT}
        journal = tmp_path / "j.sqlite"
        actor = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS[:100], strike=strike, **settings).go()
        [said] = actor.ended()
        assert said["raised"] == "Interrupted"
        assert tally(said["rows"])["unknown"] == 10
        sandbox.change(listing_lag=0.0)
        actor = theatre.actor(sandbox, journal, trigger(wait=True), prompts=PROMPTS[:100], **AGAIN).go()
        until(lambda: sum(request.route == "list" for request in sandbox.requests) > 8)
        actor.kill(signal.SIGINT)
        [said] = actor.ended()
        assert said["raised"] == "Interrupted"
        sandbox.release()
        last = theatre.actor(sandbox, journal, trigger(wait=True), prompts=PROMPTS[:100], **AGAIN).go()
        rows = whole(last.ended(), sandbox, rows=100)
        assert tally(rows) == {"completed": 100}


@pytest.mark.parametrize("times", [1, 2])
def test_sigterm_of_the_command_line(sandbox: Sandbox, tmp_path: Path, times: int) -> None:
    """It exits with 143, whatever it paid for is in the file and in the journal, and the same command goes on."""
    trap = Trap()
    sandbox.change(fail_when=trap, latency=0.02)
    source, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    pd.DataFrame({"prompt": PROMPTS}).to_csv(source, index=False)
    command = [sys.executable, "-m", "eachlabs_frames.cli", "trigger", str(source), "--workflow", WORKFLOW]
    command += ["--out", str(out), "--run", "chaos", "--max-concurrency", "4"]
    environment = {
        **os.environ,
        "EACHLABS_BASE_URL": sandbox.base_url,
        "EACHLABS_API_KEY": sandbox.api_key,
        "EACHLABS_JOURNAL": str(tmp_path / "j.sqlite"),
    }
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    struck = threading.Event()
    trap.set(60, struck.set)
    try:
        assert struck.wait(60)
        for _ in range(times):
            process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 143, said
    assert "chaos" in said[1]
    before = pd.read_csv(out)
    assert problems(as_rows(before), sandbox) == []
    if times == 1:
        assert sorted(known(as_rows(before))) == sorted(accepted(sandbox))
    done = subprocess.run(
        [*command, "--force"], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done
    rows = as_rows(pd.read_csv(out))
    assert problems(rows, sandbox) == []
    assert sorted(known(rows)) == sorted(accepted(sandbox))
    assert sandbox.accepted_count() == 300


def as_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a file's rows, with None for what is missing."""
    return list(frame.astype(object).where(frame.notna(), None).to_dict("records"))


CALLS = {
    "fine": [trigger(None)],
    "waited": [trigger(None, wait=True), ("refresh", [], {}), ("wait", [], {})],
    "looked": [trigger(None), ("reconcile", [], {}), ("retry_failed", [], {})],
}


@pytest.mark.parametrize("kind", [*CALLS, "faults", "refused", "interrupted"])
def test_fifty_calls_leave_nothing_behind(theatre: Theatre, sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    """No thread, task or open file more than after the first calls; after the bridge is closed, none at all."""
    calls = CALLS.get(kind, CALLS["fine"])
    times = -(-50 // len(calls)) + 2
    strike = {"on": "answered", "at": 2, "signal": signal.SIGINT} if kind == "interrupted" else None
    if kind == "faults":
        sandbox.faults(Fault("lost_answer", every=7), Fault("cut_short", every=5), Fault("garbage", every=11))
    if kind == "refused":
        sandbox.faults(Fault("unauthorized", every=2), Fault("error_before", on="workflow", every=9))
    settings: dict[str, Any] = {"settle_window": 0.3, "timeout": 30.0, "rerun_guard": None}
    settings["max_concurrency"] = 8 if strike is None else 1
    actor = theatre.actor(
        sandbox, tmp_path / "j.sqlite", *(calls * times), prompts=PROMPTS[:40], strike=strike, anew=True, **settings
    ).go()
    said = actor.ended()
    assert actor.code == 0
    assert len(said) >= 50
    raised = {call.get("raised") for call in said}
    assert raised <= {None, "Interrupted", "AuthenticationError"}
    assert ("Interrupted" in raised) == (kind == "interrupted")
    # Sockets of the session's pool: as many as requests at once.
    early, late = said[2 * len(calls)]["left"], said[-1]["left"]
    assert late["threads"] == early["threads"] == ["MainThread", "eachlabs-frames"]
    assert late["files"] - late["sockets"] <= early["files"] - early["sockets"]
    assert late["sockets"] <= early["sockets"] + 8
    assert late["tasks"] <= early["tasks"] + 1
    [closed] = [news["closed"] for news in actor.said if "closed" in news]
    assert closed["threads"] == ["MainThread"]
    assert closed["files"] <= closed["base_files"]
