"""Tests of Ctrl-C once and twice, of SIGTERM, and of resources that a call must release."""

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

from .fork_server import WORKFLOW, ForkServer, Trap, accepted_ids, complete, count_of, ids_of, problems, trigger, until

pytestmark = pytest.mark.chaos

PROMPTS = [f"row {number}" for number in range(300)]
ENDED: dict[str, Any] = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}
AGAIN = {"timeout": 6.0, "settle_window": 0.5}


@pytest.fixture
def sandbox() -> Any:
    """A sandbox whose executions end at once, used only by the workers."""
    with ef.sandbox.start(configure=False, **ENDED) as running:
        yield running


def test_one_interrupt_keeps_replies_in_flight(server: ForkServer, sandbox: Sandbox, tmp_path: Path) -> None:
    """Every reply in flight is recorded, the exception names the run, and the same call resumes it."""
    sandbox.change(latency=0.1)
    stop_at = {"on": "answered", "at": 4, "signal": signal.SIGINT}
    calls = (trigger(), ("load_run", ["chaos"], {}))
    worker = server.worker(sandbox, tmp_path / "j.sqlite", *calls, prompts=PROMPTS, stop_at=stop_at, max_concurrency=4)
    report, loaded = worker.start().wait()
    assert worker.code == 0
    assert report["raised"] == "Interrupted"
    assert "run 'chaos'" in report["text"]
    assert "run='chaos'" in report["text"]
    assert sorted(ids_of(report["rows"])) == sorted(accepted_ids(sandbox))
    assert 40 <= sandbox.accepted_count() <= 100
    assert count_of(report["rows"])["unknown"] == 0
    assert [row["execution_id"] for row in loaded["rows"]] == [row["execution_id"] for row in report["rows"]]
    again = server.worker(sandbox, tmp_path / "j.sqlite", trigger(), prompts=PROMPTS, **AGAIN).start()
    complete(again.wait(), sandbox, rows=300)


def test_a_second_interrupt_ends_the_call_at_once(server: ForkServer, sandbox: Sandbox, tmp_path: Path) -> None:
    """It does not wait for replies that never come; their rows are unknown, and the next call finds them."""
    sandbox.faults(Fault("silence"))
    worker = server.worker(sandbox, tmp_path / "j.sqlite", trigger(), prompts=PROMPTS, max_concurrency=4).start()
    until(lambda: sandbox.accepted_count() == 40)
    worker.kill(signal.SIGINT)
    worker.wait_for("stopped")
    worker.kill(signal.SIGINT)
    [report] = worker.wait()
    assert report["raised"] == "Interrupted"
    assert "run 'chaos'" in report["text"]
    assert count_of(report["rows"]) == {"unknown": 40, "pending": 260}
    assert problems(report["rows"], sandbox) == []
    sandbox.faults()
    again = server.worker(sandbox, tmp_path / "j.sqlite", trigger(), prompts=PROMPTS, **AGAIN).start()
    complete(again.wait(), sandbox, rows=300)


@pytest.mark.parametrize("count", [1, 2])
def test_interrupts_at_random_instants(server: ForkServer, tmp_path: Path, count: int) -> None:
    """At any instant, once or twice in a row: nothing is paid twice, and the same call has every row."""
    chance = random.Random(count)
    instants = [(chance.randrange(1, 200), chance.uniform(0.0, 0.01)) for _ in range(10)]
    with ThreadPoolExecutor(4) as pool:

        def interrupt_and_resume(number: int) -> list[str]:
            trap = Trap()
            with ef.sandbox.start(configure=False, fail_when=trap, latency=0.02, **ENDED) as sandbox:
                journal = tmp_path / f"{number}.sqlite"
                worker = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=4)
                pauses = [instants[number][1] * (turn + 1) for turn in range(count)]
                timers = [threading.Timer(pause, worker.kill, [signal.SIGINT]) for pause in pauses]
                trap.set(instants[number][0], lambda: [timer.start() for timer in timers])
                reports = worker.start().wait()
                for timer in timers:
                    timer.join()
                if [call.get("raised") for call in reports] != ["Interrupted"] or "run 'chaos'" not in reports[0][
                    "text"
                ]:
                    return [f"no interrupt: {str(reports)[:300]}, {worker.code}"]
                messages = problems(reports[0]["rows"], sandbox)
                last = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).start().wait()
                messages += problems(last[0]["rows"], sandbox)
                if sorted(ids_of(last[0]["rows"])) != sorted(accepted_ids(sandbox)):
                    messages.append(f"{sandbox.accepted_count()} accepted, {len(ids_of(last[0]['rows']))} known")
                return messages

        wrong = list(pool.map(interrupt_and_resume, range(10)))
    assert not any(wrong), list(zip(instants, wrong, strict=True))


def test_an_interrupted_search_and_an_interrupted_wait(server: ForkServer, tmp_path: Path) -> None:
    """Both end at once; adopted executions are kept, and a later call finds the rest."""
    with ef.sandbox.start(configure=False, hold=True, listing_lag=1000.0) as sandbox:
        sandbox.faults(Fault("lost_answer", at={3}))
        settings: dict[str, Any] = {"timeout": 30.0, "settle_window": 60.0}
        stop_at = {"on": "waiting", "at": 1, "signal": signal.SIGINT}
        journal = tmp_path / "j.sqlite"
        worker = server.worker(sandbox, journal, trigger(), prompts=PROMPTS[:100], stop_at=stop_at, **settings).start()
        [report] = worker.wait()
        assert report["raised"] == "Interrupted"
        assert count_of(report["rows"])["unknown"] == 10
        sandbox.change(listing_lag=0.0)
        worker = server.worker(sandbox, journal, trigger(wait=True), prompts=PROMPTS[:100], **AGAIN).start()
        until(lambda: sum(request.route == "list" for request in sandbox.requests) > 8)
        worker.kill(signal.SIGINT)
        [report] = worker.wait()
        assert report["raised"] == "Interrupted"
        sandbox.release()
        last = server.worker(sandbox, journal, trigger(wait=True), prompts=PROMPTS[:100], **AGAIN).start()
        rows = complete(last.wait(), sandbox, rows=100)
        assert count_of(rows) == {"completed": 100}


@pytest.mark.parametrize("times", [1, 2])
def test_sigterm_of_the_command_line(sandbox: Sandbox, tmp_path: Path, times: int) -> None:
    """The exit code is 143, paid executions are in the file and the journal, and the same command resumes the run."""
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
    reached = threading.Event()
    trap.set(60, reached.set)
    try:
        assert reached.wait(60)
        for _ in range(times):
            process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 143, output
    assert "chaos" in output[1]
    before = pd.read_csv(out)
    assert problems(as_rows(before), sandbox) == []
    if times == 1:
        assert sorted(ids_of(as_rows(before))) == sorted(accepted_ids(sandbox))
    completed = subprocess.run(
        [*command, "--force"], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert completed.returncode == 0, completed
    rows = as_rows(pd.read_csv(out))
    assert problems(rows, sandbox) == []
    assert sorted(ids_of(rows)) == sorted(accepted_ids(sandbox))
    assert sandbox.accepted_count() == 300


def as_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a file, with None for missing values."""
    return list(frame.astype(object).where(frame.notna(), None).to_dict("records"))


CALLS = {
    "plain": [trigger(None)],
    "waited": [trigger(None, wait=True), ("refresh", [], {}), ("wait", [], {})],
    "reconciled": [trigger(None), ("reconcile", [], {}), ("retry_failed", [], {})],
}


@pytest.mark.parametrize("kind", [*CALLS, "faults", "refused", "interrupted"])
def test_fifty_calls_leak_no_resources(server: ForkServer, sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    """Threads, tasks and files are as many as after the first calls; closing the bridge releases all."""
    calls = CALLS.get(kind, CALLS["plain"])
    times = -(-50 // len(calls)) + 2
    stop_at = {"on": "answered", "at": 2, "signal": signal.SIGINT} if kind == "interrupted" else None
    if kind == "faults":
        sandbox.faults(Fault("lost_answer", every=7), Fault("cut_short", every=5), Fault("garbage", every=11))
    if kind == "refused":
        sandbox.faults(Fault("unauthorized", every=2), Fault("error_before", on="workflow", every=9))
    settings: dict[str, Any] = {"settle_window": 0.3, "timeout": 30.0, "rerun_guard": None}
    settings["max_concurrency"] = 8 if stop_at is None else 1
    worker = server.worker(
        sandbox,
        tmp_path / "j.sqlite",
        *(calls * times),
        prompts=PROMPTS[:40],
        stop_at=stop_at,
        fresh_frame=True,
        **settings,
    ).start()
    reports = worker.wait()
    assert worker.code == 0
    assert len(reports) >= 50
    raised = {call.get("raised") for call in reports}
    assert raised <= {None, "Interrupted", "AuthenticationError"}
    assert ("Interrupted" in raised) == (kind == "interrupted")
    # The connection pool keeps as many sockets as there are concurrent requests.
    early, late = reports[2 * len(calls)]["left"], reports[-1]["left"]
    assert late["threads"] == early["threads"] == ["MainThread", "eachlabs-frames"]
    assert late["files"] - late["sockets"] <= early["files"] - early["sockets"]
    assert late["sockets"] <= early["sockets"] + 8
    assert late["tasks"] <= early["tasks"] + 1
    [closed] = [message["closed"] for message in worker.messages if "closed" in message]
    assert closed["threads"] == ["MainThread"]
    assert closed["files"] <= closed["base_files"]
