"""The sandbox's workflows of several steps: the status of each step at a time, in the API's format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from eachlabs_frames.sandbox import Sandbox, Step, start
from tests.test_sandbox_api import DETAILS, FakeClock, call, trigger

STEPS = (Step("story", model="gpt-mini"), Step("post", type="http"), Step("check", type="python"), Step("draw"))


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that the test advances."""
    return FakeClock()


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[Sandbox]:
    """Run a sandbox on the fake clock, with a workflow of four steps that take a second each."""
    with start(configure=False, clock=clock, queue_seconds=0.0, run_seconds=(4.0, 4.0)) as running:
        running.add_workflow("wf_steps", steps=STEPS)
        yield running


def shown(sandbox: Sandbox, execution_id: str) -> Any:
    """Return the steps of an execution."""
    return call(sandbox, "GET", DETAILS["current"] + execution_id)[1]["step_outputs"]


def triggered(sandbox: Sandbox, prompt: str) -> str:
    """Trigger an execution and return its ID."""
    _, document, _ = call(
        sandbox, "POST", "/v1/workflows/bulk-trigger/wf_steps/v1", body={"inputs": [{"prompt": prompt}]}
    )
    return str(document["executions"][0]["execution_id"])


def test_steps_run_one_after_the_other(sandbox: Sandbox, clock: FakeClock) -> None:
    """Each takes an equal part of the time; a completed step has its output, a queued one only its status."""
    execution_id = triggered(sandbox, "a fox")
    seen = []
    for moment in (0.0, 1.5, 3.5, 4.0):
        clock.now = 1000.0 + moment
        steps = shown(sandbox, execution_id)
        assert list(steps) == [step["step_id"] for step in steps.values()] == ["story", "post", "check", "draw"]
        seen.append([step["status"] for step in steps.values()])
        for step in steps.values():
            assert ("started_at" in step) == (step["status"] != "queued")
            over = step["status"] == "completed"
            assert [name in step for name in ("completed_at", "output", "primary")] == [over] * 3
    assert seen == [
        ["running", "queued", "queued", "queued"],
        ["completed", "running", "queued", "queued"],
        ["completed", "completed", "completed", "running"],
        ["completed"] * 4,
    ]
    assert steps["story"]["metadata"]["model"] == "gpt-mini"
    assert "model" not in steps["post"]["metadata"]
    assert steps["post"]["metadata"]["elapsed_seconds"] == pytest.approx(1.0)
    assert steps["check"]["metadata"]["execution_time"] == pytest.approx(1.0)


def test_a_failure_completes_what_was_before_it_and_cancels_what_comes_after(
    sandbox: Sandbox, clock: FakeClock
) -> None:
    """The step in the middle fails, and the error of the execution has its ID."""
    execution_id = triggered(sandbox, "[fail]")
    clock.now += 60
    steps = shown(sandbox, execution_id)
    assert [step["status"] for step in steps.values()] == ["completed", "completed", "failed", "cancelled"]
    assert "Step 'check' failed" in steps["check"]["error_cause"]
    assert "started_at" not in steps["draw"]
    details = call(sandbox, "GET", DETAILS["current"] + execution_id)[1]
    assert details["error_cause"] == steps["check"]["error_cause"]


def test_the_definition_of_a_workflow_has_its_steps(sandbox: Sandbox) -> None:
    """The definition has them, and their IDs must differ."""
    sandbox.add_workflow("wf_defined", steps=STEPS, input_schema={"type": "object"})
    document = call(sandbox, "GET", "/v1/workflows/wf_defined")[1]
    steps = document["versions"][0]["definition"]["steps"]
    assert steps[:2] == [
        {"step_id": "story", "type": "model", "model": "gpt-mini"},
        {"step_id": "post", "type": "http"},
    ]
    for invalid in ((), (Step("a"), Step("a"))):
        with pytest.raises(ValueError, match="needs a step, and each its own step_id"):
            sandbox.add_workflow("wf_bad", steps=invalid)


def test_other_workflows_have_one_step(sandbox: Sandbox, clock: FakeClock) -> None:
    """A cancelled execution has a cancelled step."""
    _, document, _ = trigger(sandbox, {"prompt": "a"})
    execution_id = document["executions"][0]["execution_id"]
    sandbox.set_status(execution_id, "cancelled")
    assert [step["status"] for step in shown(sandbox, execution_id).values()] == ["cancelled"]
