"""Several who share a journal, a run, or the very prompts: each row is accepted once, each execution has one owner."""

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

from .actors import rows_of
from .stage import WORKFLOW, Theatre, Trap, accepted, known, problems, tally, trigger, until, whole

pytestmark = pytest.mark.chaos

PROMPTS = [f"row {number}" for number in range(200)]
ENDED: dict[str, Any] = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}
AGAIN = {"timeout": 6.0, "settle_window": 0.5}


@pytest.fixture
def sandbox() -> Any:
    """A local each::labs that takes a moment; the processes alone are pointed at it."""
    with ef.sandbox.start(configure=False, latency=0.01, **ENDED) as running:
        yield running


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_processes_with_one_run_that_are_started_together(
    theatre: Theatre, sandbox: Sandbox, tmp_path: Path, count: int, turn: int
) -> None:
    """Each row is accepted once, and each process has all of them, also those that another has sent."""
    assert turn
    journal = tmp_path / "j.sqlite"
    actors = [theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=3) for _ in range(count)]
    for actor in actors:
        actor.go()
    everybody = [whole(actor.ended(), sandbox, rows=200) for actor in actors]
    assert all(known(rows) == known(everybody[0]) for rows in everybody)


def test_processes_with_one_run_that_lose_answers(theatre: Theatre, sandbox: Sandbox, tmp_path: Path) -> None:
    """Each looks for what it has lost, and both have every row in the end."""
    sandbox.faults(Fault("lost_answer", every=4), Fault("garbage", every=7))
    journal = tmp_path / "j.sqlite"
    settings: dict[str, Any] = {"max_concurrency": 3, "timeout": 10.0}
    actors = [theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, **settings) for _ in range(2)]
    for actor in actors:
        actor.go()
    both = [whole(actor.ended(), sandbox, rows=200) for actor in actors]
    assert known(both[0]) == known(both[1])


def test_processes_whose_frames_overlap(theatre: Theatre, sandbox: Sandbox, tmp_path: Path) -> None:
    """One has the first two thirds of the rows and one the last, in another order: the middle is accepted once."""
    journal = tmp_path / "j.sqlite"
    parts = [PROMPTS[:140], PROMPTS[60:][::-1]]
    actors = [theatre.actor(sandbox, journal, trigger(), prompts=part, max_concurrency=3) for part in parts]
    for actor in actors:
        actor.go()
    for actor, part in zip(actors, parts, strict=True):
        [said] = actor.ended()
        assert problems(said["rows"], sandbox) == []
        assert len(known(said["rows"])) == len(part)
    assert sandbox.accepted_count() == 200


def test_one_of_two_processes_is_killed(theatre: Theatre, tmp_path: Path) -> None:
    """The other goes on, finds what the dead one had in flight, and has every row."""
    journal, trap = tmp_path / "j.sqlite", Trap()
    with ef.sandbox.start(configure=False, fail_when=trap, latency=0.01, **ENDED) as sandbox:
        victim = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=3)
        other = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=3, timeout=6.0)
        trap.set(60, victim.kill)
        victim.go()
        other.go()
        victim.ended()
        [said] = other.ended()
        assert victim.code == 9
        assert problems(said["rows"], sandbox) == []
        assert sorted(known(said["rows"])) == sorted(accepted(sandbox))
        assert sandbox.accepted_count() + tally(said["rows"])["unknown"] == 200


def test_one_of_two_processes_hangs(theatre: Theatre, sandbox: Sandbox, tmp_path: Path) -> None:
    """Rows that another call has sent and waits for are never sent, however long it takes; later they are known."""
    journal = tmp_path / "j.sqlite"
    sandbox.faults(Fault("silence", at={1, 2}))
    slow = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, max_concurrency=2, timeout=100.0).go()
    until(lambda: sandbox.accepted_count() == 20)
    other = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, timeout=1.0, settle_window=0.5).go()
    [said] = other.ended()
    assert problems(said["rows"], sandbox) == []
    assert tally(said["rows"])["unknown"] == 20
    assert sandbox.accepted_count() == 200
    asking = theatre.actor(
        sandbox, journal, trigger(on_unknown="resend"), prompts=PROMPTS, timeout=1.0, settle_window=0.5
    ).go()
    [said] = asking.ended()
    assert problems(said["rows"], sandbox) == []
    assert sandbox.accepted_count() == 200
    slow.kill()
    slow.ended()
    last = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, **AGAIN).go()
    whole(last.ended(), sandbox, rows=200)


def test_two_threads_with_one_run() -> None:
    """In one process, with one bridge between them: each row is accepted once, and both have all of them."""
    with ef.sandbox.start(latency=0.01, **ENDED) as sandbox:
        gate = threading.Barrier(2)

        def one(_: int) -> list[dict[str, Any]]:
            gate.wait(60)
            frame = pd.DataFrame({"prompt": PROMPTS})
            return rows_of(frame.eachlabs.bulk_trigger(WORKFLOW, run="threads", max_concurrency=3, progress=False))

        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(one, range(2)))
        for rows in both:
            assert problems(rows, sandbox) == []
            assert sorted(known(rows)) == sorted(accepted(sandbox))
        assert sandbox.accepted_count() == 200


@pytest.mark.parametrize(
    ("kind", "lag"), [("lost_answer", 0.0), ("too_few", 0.0), ("error_after", 1.0), ("garbage", 1.0)]
)
def test_identical_rows_with_lost_answers(
    theatre: Theatre, sandbox: Sandbox, tmp_path: Path, kind: str, lag: float
) -> None:
    """All 100 rows are one prompt: as many executions are adopted as were accepted, and none twice."""
    sandbox.change(listing_lag=lag)
    sandbox.faults(Fault(kind, at={2, 3, 5, 8}), Fault("dropped", at={6}))
    calls, late = (trigger(), ("reconcile", [], {})), {"timeout": 1.5, "settle_window": 1.4}
    actor = theatre.actor(sandbox, tmp_path / "j.sqlite", *calls, prompts=["the same"] * 100, **late).go()
    said, later = actor.ended()
    for rows in (said["rows"], later["rows"]):
        assert problems(rows, sandbox, unique=False) == []
    assert sorted(known(later["rows"])) == sorted(accepted(sandbox))
    assert sandbox.accepted_count() == 90
    assert tally(later["rows"])["unknown"] == 10


@pytest.mark.parametrize("prompts", [["the same"] * 100, PROMPTS[:100]])
@pytest.mark.parametrize("shared", [True, False])
def test_two_runs_of_the_same_prompts_with_lost_answers(
    theatre: Theatre, sandbox: Sandbox, tmp_path: Path, prompts: list[str], shared: bool
) -> None:
    """At the same time, in two processes with one journal: between them they adopt every execution, and none twice.

    With a journal each, neither knows of the other's rows; then what could be the other's may still be taken, so no
    more is promised than that nothing is sent twice.
    """
    sandbox.faults(Fault("lost_answer", every=3))
    journals = [tmp_path / "one.sqlite", tmp_path / ("one.sqlite" if shared else "two.sqlite")]
    actors = [
        theatre.actor(
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
    for actor in actors:
        actor.go()
    said = [actor.ended()[-1]["rows"] for actor in actors]
    assert sandbox.accepted_count() == 200
    for rows in said:
        assert problems(rows, sandbox, unique=False) == []
    if not shared:
        return
    owners = Counter(known(said[0]) + known(said[1]))
    assert set(owners.values()) == {1}, "executions with two owners"
    # What stood in the other's way is over now.
    sandbox.faults()
    said = []
    for run in ("first", "second"):
        calls = (("load_run", [run], {}), ("reconcile", [], {}))
        said.append(theatre.actor(sandbox, journals[0], *calls, **AGAIN).go().ended()[-1]["rows"])
    owners = Counter(known(said[0]) + known(said[1]))
    assert set(owners.values()) == {1}, "executions with two owners"
    assert set(owners) == set(accepted(sandbox))


def test_two_runs_whose_lost_answers_overlap_are_not_taken_for_each_other(
    theatre: Theatre, sandbox: Sandbox, tmp_path: Path
) -> None:
    """One call's request is under way while the other has lost an answer: what may be the first's is left alone."""
    journal = tmp_path / "j.sqlite"
    sandbox.faults(Fault("silence", at={1}))
    waiting = theatre.actor(sandbox, journal, trigger("first"), prompts=PROMPTS[:10], timeout=100.0).go()
    until(lambda: sandbox.accepted_count() == 10)
    sandbox.faults(Fault("dropped", at={1}))
    other = theatre.actor(sandbox, journal, trigger("second"), prompts=PROMPTS[:10], settle_window=0.5).go()
    [said] = other.ended()
    assert tally(said["rows"]) == {"unknown": 10}
    waiting.kill()
    waiting.ended()
    sandbox.faults()
    again = theatre.actor(sandbox, journal, trigger("first"), prompts=PROMPTS[:10], **AGAIN).go()
    whole(again.ended(), sandbox, rows=10)
    last = theatre.actor(sandbox, journal, trigger("second", on_unknown="resend"), prompts=PROMPTS[:10], **AGAIN).go()
    [said] = last.ended()
    assert len(known(said["rows"])) == 10
    assert sandbox.accepted_count() == 20
    assert set(known(said["rows"])) == set(accepted(sandbox)[10:])


def test_two_runs_that_look_at_once(theatre: Theatre, sandbox: Sandbox, tmp_path: Path) -> None:
    """Both have lost an answer to the same inputs and only one took effect: just one of them adopts it."""
    journal = tmp_path / "j.sqlite"
    sandbox.change(listing_lag=1000.0)
    sandbox.faults(Fault("lost_answer", at={1}), Fault("dropped", at={2}))
    short = {"timeout": 0.5, "settle_window": 0.2}
    for run in ("first", "second"):
        [said] = theatre.actor(sandbox, journal, trigger(run), prompts=PROMPTS[:10], **short).go().ended()
        assert tally(said["rows"]) == {"unknown": 10}
    sandbox.change(listing_lag=0.0, latency=0.2)
    looks = [
        theatre.actor(sandbox, journal, ("load_run", [run], {}), ("reconcile", [], {}), **AGAIN)
        for run in ("first", "second")
    ]
    for actor in looks:
        actor.go()
    both = [row for actor in looks for row in actor.ended()[-1]["rows"]]
    assert Counter(known(both)) == Counter(accepted(sandbox)), "an execution with two owners, or with none"
