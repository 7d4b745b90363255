"""The progress bar, and `progress=` callables."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.models import Event
from eachlabs_frames.sandbox import Fault, Sandbox
from eachlabs_frames.views.progress import describe

WF = "wf_abc123"


def frame(rows: int) -> pd.DataFrame:
    """Make a frame of distinct prompts."""
    return pd.DataFrame({"prompt": [f"a fox, number {row}" for row in range(rows)]})


def test_nothing_is_printed_where_nobody_looks(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    """No terminal, no notebook: not a word, on either stream."""
    frame(20).eachlabs.bulk_trigger(WF).eachlabs.wait()
    assert capfd.readouterr() == ("", "")


def test_one_bar_for_the_whole_run_where_it_is_asked_for(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    """From nothing to all rows settled, with what was accepted and what failed."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"].endswith("3"))
    df = frame(20)
    df.loc[5, "prompt"] = None
    df.eachlabs.bulk_trigger(WF, wait=True, progress=True)
    _, shown = capfd.readouterr()
    last = shown.rstrip("\n").rpartition("\r")[2]
    assert "20/20" in last
    assert "accepted=19, completed=17, failed=2, invalid=1" in last
    assert shown.count("\n") == 1


def test_a_callable_is_given_every_step(sandbox: Sandbox) -> None:
    """In order, with counts that only grow; all rows are done in the end."""
    events: list[Event] = []
    frame(45).eachlabs.bulk_trigger(WF, progress=events.append)
    assert events[0].kind == "started"
    assert events[-1].kind == "finished"
    assert [event.kind for event in events[1:-1] if event.kind != "balance"] == ["answered"] * 5
    done = [event.done for event in events]
    assert done == sorted(done)
    assert (events[-1].done, events[-1].total, events[-1].accepted) == (45, 45, 45)
    assert sorted(outcome.position for event in events for outcome in event.changed) == list(range(45))


def test_a_callable_hears_what_is_waited_for(sandbox: Sandbox) -> None:
    """The API's own words."""
    sandbox.faults(Fault("rate_limit", at={1}, retry_after=0, details="10 of 10 in use"))
    events: list[Event] = []
    frame(5).eachlabs.bulk_trigger(WF, progress=events.append)
    (waiting,) = [event for event in events if event.kind == "waiting"]
    assert "10 of 10 in use" in str(waiting.waiting_for)


def test_a_callable_that_raises_costs_nothing(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, logged, and not called again."""
    calls = []

    def raising(event: Event) -> None:
        calls.append(event)
        msg = "no paper left"
        raise RuntimeError(msg)

    with caplog.at_level(logging.ERROR, "eachlabs_frames"):
        out = frame(30).eachlabs.bulk_trigger(WF, progress=raising)
    assert out["status"].tolist() == ["queued"] * 30
    assert len(calls) == 1
    assert "no paper left" in caplog.text


@pytest.mark.parametrize(
    ("tally", "waiting", "text"),
    [
        ({"queued": 5}, None, "accepted=5"),
        ({"completed": 3, "failed": 1, "unknown": 1}, None, "accepted=5, completed=3, failed=1, unknown=1"),
        ({}, "HTTP 429: slow; next try in 3 s", "accepted=5, HTTP 429: slow; next try in 3 s"),
        ({}, "x" * 500, "accepted=5, " + "x" * 100),
    ],
)
def test_what_stands_behind_the_bar(tally: Any, waiting: Any, text: str) -> None:
    """Counts that are not zero, and what is waited for, never longer than a line."""
    assert describe(Event("answered", 9, 5, 5, tally, (), waiting)) == text


def test_an_empty_frame_shows_no_bar(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    """There is nothing to wait for."""
    frame(0).eachlabs.bulk_trigger(WF, ["prompt"], progress=True)
    assert capfd.readouterr().err == ""
    assert ef.__version__
