"""Tests of calls that share a journal, a run or prompts: a row is accepted once, an execution has one owner."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

from .fork_server import WORKFLOW, ForkServer, Trap, accepted_ids, complete, count_of, ids_of, problems, trigger, until
from .worker import rows_of

pytestmark = pytest.mark.chaos

PROMPTS = [f"row {number}" for number in range(200)]
ENDED: dict[str, Any] = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}
AGAIN = {"timeout": 6.0, "settle_window": 0.5}


@pytest.fixture
def sandbox() -> Any:
    """A sandbox with some latency, used only by the workers."""
    with ef.sandbox.start(configure=False, latency=0.01, **ENDED) as running:
        yield running


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_processes_with_one_run_that_are_started_together(
    server: ForkServer, sandbox: Sandbox, tmp_path: Path, count: int, turn: int
) -> None:
    """Each row is accepted once, and each process gets all rows, including those that another process sent."""
    assert turn
    journal = tmp_path / "j.sqlite"
    workers = [server.worker(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=3) for _ in range(count)]
    for worker in workers:
        worker.start()
    results = [complete(worker.wait(), sandbox, rows=200) for worker in workers]
    assert all(ids_of(rows) == ids_of(results[0]) for rows in results)


def test_processes_with_one_run_and_lost_replies(server: ForkServer, sandbox: Sandbox, tmp_path: Path) -> None:
    """Each process searches for its lost requests, and both get every row in the end."""
    sandbox.faults(Fault("lost_answer", every=4), Fault("garbage", every=7))
    journal = tmp_path / "j.sqlite"
    settings: dict[str, Any] = {"max_concurrency": 3, "timeout": 10.0}
    workers = [server.worker(sandbox, journal, trigger(), prompts=PROMPTS, **settings) for _ in range(2)]
    for worker in workers:
        worker.start()
    both = [complete(worker.wait(), sandbox, rows=200) for worker in workers]
    assert ids_of(both[0]) == ids_of(both[1])


def test_processes_whose_frames_overlap(server: ForkServer, sandbox: Sandbox, tmp_path: Path) -> None:
    """Each has two thirds of the rows, in different orders: the common rows are accepted once."""
    journal = tmp_path / "j.sqlite"
    parts = [PROMPTS[:140], PROMPTS[60:][::-1]]
    workers = [server.worker(sandbox, journal, trigger(), prompts=part, max_concurrency=3) for part in parts]
    for worker in workers:
        worker.start()
    for worker, part in zip(workers, parts, strict=True):
        [report] = worker.wait()
        assert problems(report["rows"], sandbox) == []
        assert len(ids_of(report["rows"])) == len(part)
    assert sandbox.accepted_count() == 200


def test_one_of_two_processes_is_killed(server: ForkServer, tmp_path: Path) -> None:
    """The other continues, finds the requests that the killed one had in flight, and gets every row."""
    journal, trap = tmp_path / "j.sqlite", Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        victim = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=3)
        other = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=3, timeout=6.0)
        trap.set(60, victim.kill)
        victim.start()
        other.start()
        victim.wait()
        [report] = other.wait()
        assert victim.code == 9
        assert problems(report["rows"], sandbox) == []
        assert sorted(ids_of(report["rows"])) == sorted(accepted_ids(sandbox))
        assert sandbox.accepted_count() + count_of(report["rows"])["unknown"] == 200


def test_one_of_two_processes_hangs(server: ForkServer, sandbox: Sandbox, tmp_path: Path) -> None:
    """Rows that another call has sent and waits for are never sent again; they are found later."""
    journal = tmp_path / "j.sqlite"
    sandbox.faults(Fault("silence", at={1, 2}))
    slow = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=2, timeout=100.0).start()
    until(lambda: sandbox.accepted_count() == 20)
    other = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, timeout=1.0, settle_window=0.5).start()
    [report] = other.wait()
    assert problems(report["rows"], sandbox) == []
    assert count_of(report["rows"])["unknown"] == 20
    assert sandbox.accepted_count() == 200
    resending = server.worker(
        sandbox, journal, trigger(on_unknown="resend"), prompts=PROMPTS, timeout=1.0, settle_window=0.5
    ).start()
    [report] = resending.wait()
    assert problems(report["rows"], sandbox) == []
    assert sandbox.accepted_count() == 200
    slow.kill()
    slow.wait()
    last = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).start()
    complete(last.wait(), sandbox, rows=200)


def test_two_threads_with_one_run() -> None:
    """Both use trigger_rows bridge: each row is accepted once, and both get all rows."""
    with ef.sandbox.start(latency=0.01, **ENDED) as sandbox:
        gate = threading.Barrier(2)

        def trigger_rows(_: int) -> list[dict[str, Any]]:
            gate.wait(60)
            frame = pd.DataFrame({"prompt": PROMPTS})
            return rows_of(frame.eachlabs.bulk_trigger(WORKFLOW, run="threads", max_concurrency=3, progress=False))

        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(trigger_rows, range(2)))
        for rows in both:
            assert problems(rows, sandbox) == []
            assert sorted(ids_of(rows)) == sorted(accepted_ids(sandbox))
        assert sandbox.accepted_count() == 200


@pytest.mark.parametrize(
    ("kind", "lag"), [("lost_answer", 0.0), ("too_few", 0.0), ("error_after", 1.0), ("garbage", 1.0)]
)
def test_identical_rows_with_lost_replies(
    server: ForkServer, sandbox: Sandbox, tmp_path: Path, kind: str, lag: float
) -> None:
    """All 100 rows have one prompt: every accepted execution is adopted, and none twice."""
    sandbox.change(listing_lag=lag)
    sandbox.faults(Fault(kind, at={2, 3, 5, 8}), Fault("dropped", at={6}))
    calls, late = (trigger(), ("reconcile", [], {})), {"timeout": 1.5, "settle_window": 1.4}
    worker = server.worker(sandbox, tmp_path / "j.sqlite", *calls, prompts=["the same"] * 100, **late).start()
    report, later = worker.wait()
    for rows in (report["rows"], later["rows"]):
        assert problems(rows, sandbox, unique=False) == []
    assert sorted(ids_of(later["rows"])) == sorted(accepted_ids(sandbox))
    assert sandbox.accepted_count() == 90
    assert count_of(later["rows"])["unknown"] == 10


@pytest.mark.parametrize("prompts", [["the same"] * 100, PROMPTS[:100]])
@pytest.mark.parametrize("shared", [True, False])
def test_two_runs_with_the_same_prompts_and_lost_replies(
    server: ForkServer, sandbox: Sandbox, tmp_path: Path, prompts: list[str], shared: bool
) -> None:
    """Two concurrent processes with one journal together adopt every execution, and none twice.

    With a journal each, a run does not know the other's rows and may adopt their executions; only that nothing is sent
    twice is guaranteed then.
    """
    sandbox.faults(Fault("lost_answer", every=3))
    journals = [tmp_path / "one.sqlite", tmp_path / ("one.sqlite" if shared else "two.sqlite")]
    workers = [
        server.worker(
            sandbox,
            journal,
            trigger(run),
            ("reconcile", [], {}),
            prompts=prompts,
            timeout=4.0,
            settle_window=1.0,
            max_concurrency=3,
        )
        for journal, run in zip(journals, ("first", "second"), strict=True)
    ]
    for worker in workers:
        worker.start()
    reports = [worker.wait()[-1]["rows"] for worker in workers]
    assert sandbox.accepted_count() == 200
    for rows in reports:
        assert problems(rows, sandbox, unique=False) == []
    if not shared:
        return
    owners = Counter(ids_of(reports[0]) + ids_of(reports[1]))
    assert set(owners.values()) == {1}, "executions with two owners"
    # The requests of the other run are settled now.
    sandbox.faults()
    reports = []
    for run in ("first", "second"):
        calls = (("load_run", [run], {}), ("reconcile", [], {}))
        reports.append(server.worker(sandbox, journals[0], *calls, **AGAIN).start().wait()[-1]["rows"])
    owners = Counter(ids_of(reports[0]) + ids_of(reports[1]))
    assert set(owners.values()) == {1}, "executions with two owners"
    assert set(owners) == set(accepted_ids(sandbox))


def test_two_runs_with_overlapping_lost_requests_are_not_confused(
    server: ForkServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    """While a request of the first run is in flight, the second does not adopt executions that may be the first's."""
    journal = tmp_path / "j.sqlite"
    sandbox.faults(Fault("silence", at={1}))
    waiting = server.worker(sandbox, journal, trigger("first"), prompts=PROMPTS[:10], timeout=100.0).start()
    until(lambda: sandbox.accepted_count() == 10)
    sandbox.faults(Fault("dropped", at={1}))
    other = server.worker(sandbox, journal, trigger("second"), prompts=PROMPTS[:10], settle_window=0.5).start()
    [report] = other.wait()
    assert count_of(report["rows"]) == {"unknown": 10}
    waiting.kill()
    waiting.wait()
    sandbox.faults()
    again = server.worker(sandbox, journal, trigger("first"), prompts=PROMPTS[:10], **AGAIN).start()
    complete(again.wait(), sandbox, rows=10)
    last = server.worker(
        sandbox, journal, trigger("second", on_unknown="resend"), prompts=PROMPTS[:10], **AGAIN
    ).start()
    [report] = last.wait()
    assert len(ids_of(report["rows"])) == 10
    assert sandbox.accepted_count() == 20
    assert set(ids_of(report["rows"])) == set(accepted_ids(sandbox)[10:])


def test_two_runs_that_reconcile_concurrently(server: ForkServer, sandbox: Sandbox, tmp_path: Path) -> None:
    """Both lost a request with the same inputs, and only one took effect: exactly one run adopts it."""
    journal = tmp_path / "j.sqlite"
    sandbox.change(listing_lag=1000.0)
    sandbox.faults(Fault("lost_answer", at={1}), Fault("dropped", at={2}))
    short = {"timeout": 0.5, "settle_window": 0.2}
    for run in ("first", "second"):
        [report] = server.worker(sandbox, journal, trigger(run), prompts=PROMPTS[:10], **short).start().wait()
        assert count_of(report["rows"]) == {"unknown": 10}
    sandbox.change(listing_lag=0.0, latency=0.2)
    workers = [
        server.worker(sandbox, journal, ("load_run", [run], {}), ("reconcile", [], {}), **AGAIN)
        for run in ("first", "second")
    ]
    for worker in workers:
        worker.start()
    both = [row for worker in workers for row in worker.wait()[-1]["rows"]]
    assert Counter(ids_of(both)) == Counter(accepted_ids(sandbox)), "an execution with two owners, or with none"
