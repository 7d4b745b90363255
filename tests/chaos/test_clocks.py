"""Tests with clock skew and with clocks that change during a call: nothing is paid twice."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

from .fork_server import WORKFLOW, ForkServer, accepted_ids, count_of, ids_of, problems, trigger, until
from .worker import rows_of

pytestmark = pytest.mark.chaos

PROMPTS = [f"row {number}" for number in range(30)]
YEAR = 365 * 86_400.0


@pytest.fixture
def frame(sandbox: Sandbox) -> pd.DataFrame:
    """Thirty rows; settings with a short search for lost requests."""
    ef.configure(settle_window=0.4, timeout=30.0)
    return pd.DataFrame({"prompt": PROMPTS})


def call(frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Make the call with on_unknown="resend"."""
    options = {"run": "chaos", "max_concurrency": 1, "on_unknown": "resend", **options}
    return frame.eachlabs.bulk_trigger(WORKFLOW, progress=False, **options)


@pytest.mark.parametrize("seconds", [3.0, 60.0, 3_600.0, YEAR, -3.0, -60.0, -3_600.0, -YEAR])
@pytest.mark.parametrize("inputs", [True, False], ids=["listed inputs", "inputs in the details alone"])
def test_a_listing_with_wrong_times(frame: pd.DataFrame, sandbox: Sandbox, seconds: float, inputs: bool) -> None:
    """An execution with a row's input is adopted, or no call sends the row again."""
    sandbox.change(timestamp_skew=seconds, listing_inputs=inputs)
    sandbox.faults(Fault("lost_answer", at={2}), Fault("error_before", at={3}))
    out = call(frame)
    assert sandbox.accepted_count() == 30
    assert sandbox.duplicates() == {}
    assert problems(rows_of(out), sandbox) == []
    unknown = out[out["status"] == "unknown"]
    assert len(ids_of(rows_of(out))) == 30 - len(unknown)
    assert unknown.index.tolist() in ([], list(range(10, 20)))
    assert unknown["error"].str.contains("not sent again: the workflow's listing").all()
    again = call(frame)
    assert (sandbox.accepted_count(), sandbox.duplicates()) == (30, {})
    assert again["error"].tolist() == out["error"].tolist()


@pytest.mark.parametrize("seconds", [0.0, -120.0, -3_600.0, 120.0, 3_600.0])
def test_a_clock_change_between_the_request_and_the_search(server: ForkServer, tmp_path: Path, seconds: float) -> None:
    """The executions are found, and nothing that took effect is sent again."""
    faults = [Fault("lost_answer", at={1}), Fault("error_before", at={2})]
    with ef.sandbox.start(configure=False, queue_seconds=0.0, run_seconds=(0.0, 0.0), faults=faults) as sandbox:
        calls = [trigger(on_unknown="resend", max_concurrency=1)]
        clock = {"on": "answered", "at": 1, "seconds": seconds}
        worker = server.worker(sandbox, tmp_path / "j.sqlite", *calls, prompts=PROMPTS, clock=clock)
        [report] = worker.start().wait()
        assert report.get("raised") is None, report
        assert problems(report["rows"], sandbox) == []
        assert sandbox.duplicates() == {}
        assert sorted(ids_of(report["rows"])) == sorted(accepted_ids(sandbox))
        assert count_of(report["rows"]).get("unknown") is None


def test_a_clock_set_back_between_two_calls(server: ForkServer, tmp_path: Path) -> None:
    """The later call cannot tell when its rows were sent, so it sends no row whose input is listed."""
    with ef.sandbox.start(configure=False, queue_seconds=0.0, run_seconds=(0.0, 0.0)) as sandbox:
        sandbox.change(listing_lag=1e6)
        sandbox.faults(Fault("lost_answer", at={2}))
        first = server.worker(sandbox, tmp_path / "j.sqlite", trigger(max_concurrency=1), prompts=PROMPTS)
        [report] = first.start().wait()
        assert count_of(report["rows"])["unknown"] == 10
        sandbox.change(listing_lag=0.0)
        clock = {"on": "started", "at": 1, "seconds": -120.0}
        later = server.worker(
            sandbox, tmp_path / "j.sqlite", trigger(on_unknown="resend"), prompts=PROMPTS, clock=clock
        )
        [report] = later.start().wait()
        assert (sandbox.accepted_count(), sandbox.duplicates()) == (30, {})
        assert problems(report["rows"], sandbox) == []


def test_lost_executions_that_are_listed_after_the_search(frame: pd.DataFrame, sandbox: Sandbox) -> None:
    """The search gives them up, but the check before rows are sent again finds them."""
    ef.configure(settle_window=0.2)
    sandbox.change(listing_lag=1e6)
    sandbox.faults(Fault("lost_answer", at={2}))
    given_up = threading.Event()

    def observe(event: ef.Event) -> None:
        if any("not found in the workflow's listing" in str(outcome.error) for outcome in event.changed):
            sandbox.change(listing_lag=0.0)
            given_up.set()

    out = frame.eachlabs.bulk_trigger(WORKFLOW, run="chaos", max_concurrency=1, on_unknown="resend", progress=observe)
    until(given_up.is_set)
    assert (sandbox.accepted_count(), sandbox.duplicates()) == (30, {})
    assert out.loc[10:19, "error"].str.contains("not sent again: the workflow's listing").all()
    last = call(frame)
    assert sorted(ids_of(rows_of(last))) == sorted(accepted_ids(sandbox))
    assert sandbox.accepted_count() == 30
