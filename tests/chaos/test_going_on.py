"""Tests of calls after a first one: with a new balance, failed rows, a listing that has caught up, or `retrigger`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

from .fork_server import WORKFLOW, ForkServer, Trap, accepted_ids, count_of, ids_of, problems, trigger
from .worker import rows_of

pytestmark = pytest.mark.chaos

PROMPTS = [f"row {number}" for number in range(100)]
ENDED: dict[str, Any] = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}


@pytest.fixture
def frame(sandbox: Sandbox) -> pd.DataFrame:
    """A hundred rows; settings with a short search for lost requests."""
    ef.configure(settle_window=0.4, timeout=30.0)
    return pd.DataFrame({"prompt": PROMPTS})


def call(frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Make the call."""
    return frame.eachlabs.bulk_trigger(WORKFLOW, run="chaos", progress=False, **options)


def test_a_call_after_the_balance_was_topped_up(frame: pd.DataFrame, sandbox: Sandbox) -> None:
    """Rows that the balance did not cover are pending with the API's message, and the same call sends only them."""
    sandbox.change(balance_usd=0.45, cost_usd=0.01)
    out = call(frame, max_concurrency=1)
    assert count_of(rows_of(out)) == {"queued": 40, "pending": 60}
    assert out["error"].dropna().str.contains("insufficient balance").all()
    again = call(frame)
    assert sandbox.accepted_count() == 40
    sandbox.top_up(10.0)
    again = call(frame)
    assert count_of(rows_of(again)) == {"queued": 100}
    assert problems(rows_of(again), sandbox) == []
    assert again["execution_id"][:40].tolist() == out["execution_id"][:40].tolist()


def test_refusals_and_splits_are_settled_in_the_journal(frame: pd.DataFrame, sandbox: Sandbox) -> None:
    """With 429s and refused requests, each row is accepted once, and load_run has each execution."""
    sandbox.faults(
        Fault("rate_limit", at={2, 5}), Fault("bad_request", at={3, 4, 7}), Fault("unprocessable", at={9, 10, 12})
    )
    out = call(frame, max_concurrency=2)
    assert problems(rows_of(out), sandbox) == []
    assert sorted(ids_of(rows_of(out))) == sorted(accepted_ids(sandbox))
    assert ids_of(rows_of(ef.load_run("chaos"))) == ids_of(rows_of(out))
    assert len(accepted_ids(sandbox)) == 100


def test_a_listing_that_catches_up_later(frame: pd.DataFrame, sandbox: Sandbox) -> None:
    """Rows not found in time are unknown; the same call does not send them, and `reconcile` finds them."""
    ef.configure(timeout=0.8)
    sandbox.change(listing_lag=1000.0)
    sandbox.faults(Fault("lost_answer", at={2}), Fault("cut_short", at={6}), Fault("error_before", at={8}))
    out = call(frame, max_concurrency=2)
    assert count_of(rows_of(out)) == {"queued": 70, "unknown": 30}
    assert call(frame)["execution_id"].isna().sum() == 30
    assert sandbox.accepted_count() == 90
    sandbox.change(listing_lag=0.0)
    later = out.eachlabs.reconcile(progress=False)
    assert count_of(rows_of(later))["unknown"] == 10
    assert sorted(ids_of(rows_of(later))) == sorted(accepted_ids(sandbox))
    assert problems(rows_of(later), sandbox) == []
    loaded = rows_of(ef.load_run("chaos"))
    assert ids_of(loaded) == ids_of(rows_of(later))
    assert sandbox.accepted_count() == 90
    last = call(frame, on_unknown="resend")
    assert sorted(ids_of(rows_of(last))) == sorted(accepted_ids(sandbox))
    assert sandbox.accepted_count() == 100
    assert sandbox.duplicates() == {}


@pytest.mark.parametrize("fault", ["lost_answer", "garbage", "rate_limit"])
def test_failed_rows_are_retried_in_the_run(frame: pd.DataFrame, sandbox: Sandbox, fault: str) -> None:
    """Only failed rows get a new execution, which the run then has; a repeated call sends nothing."""
    sandbox.change(fail_when=lambda inputs: int(inputs["prompt"].split()[1]) % 4 == 0)
    out = call(frame, wait=True)
    assert count_of(rows_of(out)) == {"completed": 75, "failed": 25}
    sandbox.change(fail_when=None)
    sandbox.faults(Fault(fault, at={2}))
    again = out.eachlabs.retry_failed(progress=False, wait=True)
    assert count_of(rows_of(again)) == {"completed": 100}
    assert sandbox.accepted_count() == 125
    assert problems(rows_of(again), sandbox, unique=False) == []
    assert set(ids_of(rows_of(again))) >= set(accepted_ids(sandbox)[100:])
    assert ids_of(rows_of(ef.load_run("chaos"))) == ids_of(rows_of(again))
    assert ids_of(rows_of(call(frame))) == ids_of(rows_of(again))
    assert sandbox.accepted_count() == 125


def test_retrigger_is_killed(server: ForkServer, tmp_path: Path) -> None:
    """Every row is paid at most once more by the killed call; the call after it sends nothing."""
    trap, journal = Trap(), tmp_path / "j.sqlite"
    with ef.sandbox.start(configure=False, fail_when=trap, **ENDED) as sandbox:
        server.worker(sandbox, journal, trigger(), prompts=PROMPTS).start().wait()
        assert sandbox.accepted_count() == 100
        victim = server.worker(sandbox, journal, trigger(retrigger=True), prompts=PROMPTS, max_concurrency=2)
        trap.set(50, victim.kill)
        victim.start().wait()
        paid = sandbox.accepted_count()
        assert 150 <= paid < 200
        settings: dict[str, Any] = {"timeout": 2.0, "settle_window": 0.4}
        [report] = server.worker(sandbox, journal, trigger(), prompts=PROMPTS, **settings).start().wait()
        assert sandbox.accepted_count() == paid
        assert problems(report["rows"], sandbox, unique=False) == []
        assert set(sandbox.duplicates().values()) == {2}
        newest = {execution.inputs["prompt"]: execution.execution_id for execution in sandbox.accepted}
        executions = {row["prompt"]: row["execution_id"] for row in report["rows"] if row["execution_id"] is not None}
        assert executions.items() <= newest.items(), "a row has an execution that is not its newest"
        assert len(executions) + count_of(report["rows"])["unknown"] == 100


def test_deleting_a_run_does_not_affect_another_run(frame: pd.DataFrame, sandbox: Sandbox) -> None:
    """The other run is complete, and its repeated call sends nothing."""
    out = call(frame)
    frame.eachlabs.bulk_trigger(WORKFLOW, run="other", progress=False)
    assert ef.delete_run("other") == 100
    assert ids_of(rows_of(call(frame))) == ids_of(rows_of(out))
    assert sandbox.accepted_count() == 200
