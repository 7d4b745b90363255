"""What comes after: a balance that was topped up, rows that failed, a listing that has caught up, another trigger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

from .actors import rows_of
from .stage import WORKFLOW, Theatre, Trap, accepted, known, problems, tally, trigger

pytestmark = pytest.mark.chaos

PROMPTS = [f"row {number}" for number in range(100)]
ENDED: dict[str, Any] = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}


@pytest.fixture
def frame(sandbox: Sandbox) -> pd.DataFrame:
    """A hundred rows, and settings that look for lost answers for a moment only."""
    ef.configure(settle_window=0.4, timeout=30.0)
    return pd.DataFrame({"prompt": PROMPTS})


def call(frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Make the call."""
    return frame.eachlabs.bulk_trigger(WORKFLOW, run="chaos", progress=False, **options)


def test_a_balance_that_is_topped_up(frame: pd.DataFrame, sandbox: Sandbox) -> None:
    """The rest is pending with the API's words, and the same call sends just the rest."""
    sandbox.change(balance_usd=0.45, cost_usd=0.01)
    out = call(frame, max_concurrency=1)
    assert tally(rows_of(out)) == {"queued": 40, "pending": 60}
    assert out["error"].dropna().str.contains("insufficient balance").all()
    again = call(frame)
    assert sandbox.accepted_count() == 40
    sandbox.top_up(10.0)
    again = call(frame)
    assert tally(rows_of(again)) == {"queued": 100}
    assert problems(rows_of(again), sandbox) == []
    assert again["execution_id"][:40].tolist() == out["execution_id"][:40].tolist()


def test_refusals_and_splits_are_settled_in_the_journal(frame: pd.DataFrame, sandbox: Sandbox) -> None:
    """429s, refused requests and no connection at all: each row is accepted once, and load_run knows each."""
    sandbox.faults(
        Fault("rate_limit", at={2, 5}), Fault("bad_request", at={3, 4, 7}), Fault("unprocessable", at={9, 10, 12})
    )
    out = call(frame, max_concurrency=2)
    assert problems(rows_of(out), sandbox) == []
    assert sorted(known(rows_of(out))) == sorted(accepted(sandbox))
    assert known(rows_of(ef.load_run("chaos"))) == known(rows_of(out))
    assert len(accepted(sandbox)) == 100


def test_a_listing_that_catches_up_later(frame: pd.DataFrame, sandbox: Sandbox) -> None:
    """What was not found in time is unknown, is left alone by the same call, and is found by reconcile."""
    ef.configure(timeout=0.8)
    sandbox.change(listing_lag=1000.0)
    sandbox.faults(Fault("lost_answer", at={2}), Fault("cut_short", at={6}), Fault("error_before", at={8}))
    out = call(frame, max_concurrency=2)
    assert tally(rows_of(out)) == {"queued": 70, "unknown": 30}
    assert call(frame)["execution_id"].isna().sum() == 30
    assert sandbox.accepted_count() == 90
    sandbox.change(listing_lag=0.0)
    later = out.eachlabs.reconcile(progress=False)
    assert tally(rows_of(later))["unknown"] == 10
    assert sorted(known(rows_of(later))) == sorted(accepted(sandbox))
    assert problems(rows_of(later), sandbox) == []
    loaded = rows_of(ef.load_run("chaos"))
    assert known(loaded) == known(rows_of(later))
    assert sandbox.accepted_count() == 90
    last = call(frame, on_unknown="resend")
    assert sorted(known(rows_of(last))) == sorted(accepted(sandbox))
    assert sandbox.accepted_count() == 100
    assert sandbox.duplicates() == {}


@pytest.mark.parametrize("fault", ["lost_answer", "garbage", "rate_limit"])
def test_failed_rows_are_retried_in_the_run(frame: pd.DataFrame, sandbox: Sandbox, fault: str) -> None:
    """The failed rows alone get a new execution each, and the run knows the new ones: it sends nothing more."""
    sandbox.change(fail_when=lambda inputs: int(inputs["prompt"].split()[1]) % 4 == 0)
    out = call(frame, wait=True)
    assert tally(rows_of(out)) == {"completed": 75, "failed": 25}
    sandbox.change(fail_when=None)
    sandbox.faults(Fault(fault, at={2}))
    again = out.eachlabs.retry_failed(progress=False, wait=True)
    assert tally(rows_of(again)) == {"completed": 100}
    assert sandbox.accepted_count() == 125
    assert problems(rows_of(again), sandbox, unique=False) == []
    assert set(known(rows_of(again))) >= set(accepted(sandbox)[100:])
    assert known(rows_of(ef.load_run("chaos"))) == known(rows_of(again))
    assert known(rows_of(call(frame))) == known(rows_of(again))
    assert sandbox.accepted_count() == 125


def test_a_killed_retrigger(theatre: Theatre, tmp_path: Path) -> None:
    """Every row is paid once more at most, by the call that asked for it: the one after it sends nothing."""
    trap, journal = Trap(), tmp_path / "j.sqlite"
    with ef.sandbox.start(configure=False, fail_when=trap, **ENDED) as sandbox:
        theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS).go().ended()
        assert sandbox.accepted_count() == 100
        victim = theatre.actor(sandbox, journal, trigger(retrigger=True), prompts=PROMPTS, max_concurrency=2)
        trap.set(50, victim.kill)
        victim.go().ended()
        paid = sandbox.accepted_count()
        assert 150 <= paid < 200
        settings: dict[str, Any] = {"timeout": 2.0, "settle_window": 0.4}
        [said] = theatre.actor(sandbox, journal, trigger(), prompts=PROMPTS, **settings).go().ended()
        assert sandbox.accepted_count() == paid
        assert problems(said["rows"], sandbox, unique=False) == []
        assert set(sandbox.duplicates().values()) == {2}
        newest = {one.inputs["prompt"]: one.execution_id for one in sandbox.accepted}
        held = {row["prompt"]: row["execution_id"] for row in said["rows"] if row["execution_id"] is not None}
        assert held.items() <= newest.items(), "a row holds an execution that is not its newest"
        assert len(held) + tally(said["rows"])["unknown"] == 100


def test_a_run_that_is_deleted_while_another_goes_on(frame: pd.DataFrame, sandbox: Sandbox) -> None:
    """The journal forgets that run alone: the other one is whole, and sends nothing more."""
    out = call(frame)
    frame.eachlabs.bulk_trigger(WORKFLOW, run="other", progress=False)
    assert ef.delete_run("other") == 100
    assert known(rows_of(call(frame))) == known(rows_of(out))
    assert sandbox.accepted_count() == 200
