"""Partitions of a table, which an engine computes anywhere and more than once."""

from __future__ import annotations

import pickle
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Sandbox

WORKFLOW = "wf_abc123"


def table(*prompts: str, first: int = 0) -> pd.DataFrame:
    """Return a partition with the ids from `first` on."""
    return pd.DataFrame({"id": range(first, first + len(prompts)), "prompt": list(prompts)})


def trigger(frame: Any, **options: Any) -> Any:
    """Trigger a partition of the run "sweep-7"."""
    return ef.trigger_partition(frame, WORKFLOW, ["prompt"], **{"run": "sweep-7", "key": "id"} | options)


def test_a_partition_that_is_computed_again_is_not_sent_again(sandbox: Sandbox) -> None:
    """The second result equals the first: rows are known by the run and their keys."""
    once = trigger(table("a", "b"))
    again = trigger(table("a", "b"))
    assert len(sandbox.accepted) == 2
    pd.testing.assert_frame_equal(once, again)
    assert set(once["status"]) == {"queued"}


def test_a_partition_with_a_pinned_version_asks_nothing_of_the_api(sandbox: Sandbox) -> None:
    """The version and the schema are handed in, so the only request is the trigger."""
    pinned = ef.pin_version(WORKFLOW)
    before = len(sandbox.requests)
    out = trigger(table("a", "b"), **pinned)
    assert [request.method for request in sandbox.requests[before:]] == ["POST"]
    assert out.attrs["eachlabs"]["version_id"] == pinned["version_id"]
    assert trigger(table("x" * 5000, first=7), **pinned)["status"].tolist() == ["invalid"], "the schema is used"


def test_pin_version_returns_the_version_of_the_run(sandbox: Sandbox) -> None:
    """A run that has begun goes on with its version, whatever was published since."""
    trigger(table("a"), version_id="v1")
    assert ef.pin_version(WORKFLOW, run="sweep-7")["version_id"] == "v1"
    assert ef.pin_version(WORKFLOW, run="other")["version_id"] == "v2"
    assert ef.pin_version(WORKFLOW, "v2", run="sweep-7")["version_id"] == "v2"
    pickle.dumps(ef.pin_version(WORKFLOW))


@pytest.mark.parametrize("name", ["run", "key"])
def test_run_and_key_are_required_and_the_error_says_why(sandbox: Sandbox, name: str) -> None:
    """Without them, a partition that is computed again would be paid for again."""
    with pytest.raises(ef.ConfigurationError, match=f"{name}=: an engine computes a partition again"):
        trigger(table("a"), **{name: None})
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("name", "value"), [("inplace", True), ("retrigger", True), ("max_cost", 1.0), ("ask", True), ("progress", print)]
)
def test_options_that_harm_in_a_partition_are_refused(sandbox: Sandbox, name: str, value: Any) -> None:
    """The message names the option and says what to do instead; a misspelt one is a TypeError."""
    with pytest.raises(ef.ConfigurationError, match=f"takes no {name}=: "):
        trigger(table("a"), **{name: value})
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'wiat' \(did you mean 'wait'\?\)"):
        trigger(table("a"), wiat=True)
    assert not sandbox.requests


def test_a_key_twice_in_one_partition_is_refused_before_any_request(sandbox: Sandbox) -> None:
    """So are the equal rows that an engine makes up to learn the result's columns."""
    with pytest.raises(ef.InputError, match="row 0 and row 1 have the same key 1 in column 'id'"):
        trigger(pd.DataFrame({"id": [1, 1], "prompt": ["foo", "foo"]}))
    assert not sandbox.requests


def test_a_key_in_two_partitions_is_one_execution(sandbox: Sandbox) -> None:
    """With the same input. With another one it is an error, before that row is sent."""
    first = trigger(table("a", "b"))
    second = trigger(table("b", "c", first=1))
    assert len(sandbox.accepted) == 3
    assert first["execution_id"][1] == second["execution_id"][0]
    with pytest.raises(ef.InputError, match="row 0: its key was sent in run 'sweep-7' with another input"):
        trigger(table("another", "d", first=2))
    assert len(sandbox.accepted) == 3


def test_equal_inputs_are_one_execution(sandbox: Sandbox) -> None:
    """SAME_INPUT_ONCE: within a partition, across partitions, and in a later call; each row has its result."""
    once = {"key": ef.SAME_INPUT_ONCE}
    first = trigger(table("a", "b", "a"), **once)
    second = trigger(table("c", "a", "c"), **once, wait=True)
    assert len(sandbox.accepted) == 3
    assert first["execution_id"].nunique() == 2
    assert first["execution_id"][0] == first["execution_id"][2] == second["execution_id"][1]
    assert second["execution_id"][0] == second["execution_id"][2]
    assert second["output"][0] == second["output"][2]
    assert second["status"].tolist() == ["completed"] * 3


def test_a_function_of_rows_is_called_once_per_row_with_equal_inputs(sandbox: Sandbox) -> None:
    """What it returned first is what is sent."""
    calls: list[int] = []

    def prompt(row: dict[str, Any]) -> dict[str, Any]:
        calls.append(row["id"])
        return {"prompt": row["prompt"]}

    ef.trigger_partition(table("a", "a", "b"), WORKFLOW, prompt, run="f", key=ef.SAME_INPUT_ONCE)
    assert calls == [0, 1, 2]
    assert [execution.inputs["prompt"] for execution in sandbox.accepted] == ["a", "b"]


def test_same_input_once_is_itself_after_pickling() -> None:
    """Engines send it to workers."""
    assert pickle.loads(pickle.dumps(ef.SAME_INPUT_ONCE)) is ef.SAME_INPUT_ONCE
    assert repr(ef.SAME_INPUT_ONCE) == "SAME_INPUT_ONCE"


def test_partition_results_sends_and_records_nothing(sandbox: Sandbox) -> None:
    """It equals what was returned, and rows that are not in the run are pending."""
    pinned = ef.pin_version(WORKFLOW)
    results = {"run": "sweep-7", "key": "id", **pinned}
    out = trigger(table("a", "b"), **pinned)
    before = len(sandbox.requests)
    read = ef.partition_results(table("a", "b"), WORKFLOW, ["prompt"], **results)
    pd.testing.assert_frame_equal(read, out)
    assert ef.partition_results(table("c", first=5), WORKFLOW, ["prompt"], **results)["status"].tolist() == ["pending"]
    assert ef.partition_results(table("c"), WORKFLOW, ["prompt"], **results | {"run": "no"})["status"][0] == "pending"
    assert len(sandbox.requests) == before
    assert ef.runs()["run"].tolist() == ["sweep-7"]
    assert len(ef.load_run("sweep-7")) == 2


def test_result_schema_is_that_of_the_result(sandbox: Sandbox) -> None:
    """Of a frame with any index, and of one without rows."""
    frame = table("a", "b").set_index(pd.Index(["x", "x"], name="label"))
    schema = ef.result_schema(frame)
    for part in (frame, frame.iloc[:1], frame.iloc[:0]):
        out = trigger(part)
        pd.testing.assert_series_equal(out.dtypes, schema.dtypes)
        pd.testing.assert_index_equal(out.index, part.index)
    assert len(schema) == 0
    assert schema.index.name == "label"
