"""Clocks that are wrong, ahead of an API's own, or set while a call is at work: nothing is paid twice for it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

from .actors import rows_of
from .stage import WORKFLOW, Theatre, accepted, known, problems, tally, trigger, until

pytestmark = pytest.mark.chaos

PROMPTS = [f"row {number}" for number in range(30)]
YEAR = 365 * 86_400.0


@pytest.fixture
def frame(sandbox: Sandbox) -> pd.DataFrame:
    """Thirty rows, and settings that look for lost answers for a moment only."""
    ef.configure(settle_window=0.4, timeout=30.0)
    return pd.DataFrame({"prompt": PROMPTS})


def call(frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Make the call, which pays again for what is not found."""
    options = {"run": "chaos", "max_concurrency": 1, "on_unknown": "resend", **options}
    return frame.eachlabs.bulk_trigger(WORKFLOW, progress=False, **options)


@pytest.mark.parametrize("seconds", [3.0, 60.0, 3_600.0, YEAR, -3.0, -60.0, -3_600.0, -YEAR])
@pytest.mark.parametrize("inputs", [True, False], ids=["listed inputs", "inputs in the details alone"])
def test_a_listing_whose_times_are_not_its_dates(
    frame: pd.DataFrame, sandbox: Sandbox, seconds: float, inputs: bool
) -> None:
    """What stands in it with a row's input is adopted, or contested: the row is not sent again, by no later call."""
    sandbox.change(timestamp_skew=seconds, listing_inputs=inputs)
    sandbox.faults(Fault("lost_answer", at={2}), Fault("error_before", at={3}))
    out = call(frame)
    assert sandbox.accepted_count() == 30
    assert sandbox.duplicates() == {}
    assert problems(rows_of(out), sandbox) == []
    unknown = out[out["status"] == "unknown"]
    assert len(known(rows_of(out))) == 30 - len(unknown)
    assert unknown.index.tolist() in ([], list(range(10, 20)))
    assert unknown["error"].str.contains("not sent again: the workflow's listing").all()
    again = call(frame)
    assert (sandbox.accepted_count(), sandbox.duplicates()) == (30, {})
    assert again["error"].tolist() == out["error"].tolist()


@pytest.mark.parametrize("seconds", [0.0, -120.0, -3_600.0, 120.0, 3_600.0])
def test_a_clock_that_is_set_between_the_request_and_the_search(
    theatre: Theatre, tmp_path: Path, seconds: float
) -> None:
    """The executions are found all the same, and nothing is sent again that had taken effect."""
    faults = [Fault("lost_answer", at={1}), Fault("error_before", at={2})]
    with ef.sandbox.start(configure=False, queue_seconds=0.0, run_seconds=(0.0, 0.0), faults=faults) as sandbox:
        calls = [trigger(on_unknown="resend", max_concurrency=1)]
        clock = {"on": "answered", "at": 1, "seconds": seconds}
        actor = theatre.actor(sandbox, tmp_path / "j.sqlite", *calls, prompts=PROMPTS, clock=clock)
        [said] = actor.go().ended()
        assert said.get("raised") is None, said
        assert problems(said["rows"], sandbox) == []
        assert sandbox.duplicates() == {}
        assert sorted(known(said["rows"])) == sorted(accepted(sandbox))
        assert tally(said["rows"]).get("unknown") is None


def test_a_clock_that_is_set_back_between_two_calls(theatre: Theatre, tmp_path: Path) -> None:
    """A later call, by another clock, cannot tell when its rows were sent: it sends none again that is listed."""
    with ef.sandbox.start(configure=False, queue_seconds=0.0, run_seconds=(0.0, 0.0)) as sandbox:
        sandbox.change(listing_lag=1e6)
        sandbox.faults(Fault("lost_answer", at={2}))
        first = theatre.actor(sandbox, tmp_path / "j.sqlite", trigger(max_concurrency=1), prompts=PROMPTS)
        [said] = first.go().ended()
        assert tally(said["rows"])["unknown"] == 10
        sandbox.change(listing_lag=0.0)
        clock = {"on": "started", "at": 1, "seconds": -120.0}
        later = theatre.actor(
            sandbox, tmp_path / "j.sqlite", trigger(on_unknown="resend"), prompts=PROMPTS, clock=clock
        )
        [said] = later.go().ended()
        assert (sandbox.accepted_count(), sandbox.duplicates()) == (30, {})
        assert problems(said["rows"], sandbox) == []


def test_a_listing_that_shows_what_was_lost_only_after_the_search(frame: pd.DataFrame, sandbox: Sandbox) -> None:
    """Given up by the search, it is seen by the look that comes before anything is sent again."""
    ef.configure(settle_window=0.2)
    sandbox.change(listing_lag=1e6)
    sandbox.faults(Fault("lost_answer", at={2}))
    given_up = threading.Event()

    def observe(event: ef.Event) -> None:
        if any("not found in the workflow's listing" in str(one.error) for one in event.changed):
            sandbox.change(listing_lag=0.0)
            given_up.set()

    out = frame.eachlabs.bulk_trigger(WORKFLOW, run="chaos", max_concurrency=1, on_unknown="resend", progress=observe)
    until(given_up.is_set)
    assert (sandbox.accepted_count(), sandbox.duplicates()) == (30, {})
    assert out.loc[10:19, "error"].str.contains("not sent again: the workflow's listing").all()
    last = call(frame)
    assert sorted(known(rows_of(last))) == sorted(accepted(sandbox))
    assert sandbox.accepted_count() == 30
