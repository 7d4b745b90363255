"""Partitions of a table, which an engine computes anywhere and more than once."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.inputs.fingerprints import fingerprint
from eachlabs_frames.journal import open_journal
from eachlabs_frames.journal.base import RowChunk, RunJournal
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
    with pytest.raises(ef.InputError, match="row 0 and row 1 have the same key 1 in column 'id': drop"):
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


def test_two_inputs_of_one_key_at_the_same_time_are_one_execution(sandbox: Sandbox) -> None:
    """Whichever call claims the key first sends it; the other row is an error, or `invalid` with the reason."""
    pinned = ef.pin_version(WORKFLOW)
    barrier = threading.Barrier(2)

    def partition(side: str) -> list[Any]:
        barrier.wait(120)
        try:
            out = trigger(table(*(f"{side}{row}" for row in range(40))), max_concurrency=2, **pinned)
        except ef.InputError as exc:
            return [str(exc)]
        return out["error"].dropna().unique().tolist()

    with ThreadPoolExecutor(2) as pool:
        errors = [error for of_one in pool.map(partition, "xy") for error in of_one]
    assert all("its key was sent" in error and "with another input" in error for error in errors)
    assert errors
    keys = [execution.inputs["prompt"][1:] for execution in sandbox.accepted]
    assert len(keys) == len(set(keys))


def test_many_partitions_at_once_in_threads_and_in_a_running_loop(sandbox: Sandbox) -> None:
    """Workers compute the same and other partitions at the same time; each row is sent once."""
    pinned = ef.pin_version(WORKFLOW)
    parts = [table(*(f"p{row}" for row in range(first, first + 5)), first=first) for first in (0, 5, 10)] * 2
    with ThreadPoolExecutor(6) as pool:
        outs = list(pool.map(lambda part: trigger(part, **pinned), parts))

    shared = table("same", "p0", "same")
    with ThreadPoolExecutor(4) as pool:
        once = list(pool.map(lambda _: trigger(shared, run="s", key=ef.SAME_INPUT_ONCE, **pinned), range(4)))
    assert all(out["execution_id"][0] == out["execution_id"][2] == once[0]["execution_id"][0] for out in once)

    async def in_a_loop() -> Any:
        return trigger(parts[0], **pinned)

    assert len(sandbox.accepted) == 15 + 2
    again = asyncio.run(in_a_loop())
    assert again["execution_id"].notna().all()
    assert len(ef.load_run("sweep-7")) == 15
    assert {status for out in outs for status in out["status"]} <= {"queued", "running", "completed", "unknown"}


def _in_a_worker(prompt: str) -> str:
    """Trigger in a process of its own, whose settings are those of its environment."""
    try:
        trigger(table(prompt))
    except ef.ConfigurationError as exc:
        return str(exc)
    return "sent"


def test_a_key_that_the_driver_alone_was_given_is_missing_in_a_worker(sandbox: Sandbox) -> None:
    """The error says where to set it; the key itself can be sent to no worker."""
    ef.configure(api_key="driver-key")
    with get_context("spawn").Pool(1) as pool:
        message = pool.apply(_in_a_worker, ("a",))
    assert "set EACHLABS_API_KEY in the environment of each worker" in message
    assert "driver-key" not in message
    assert not sandbox.accepted


def test_without_a_journal_a_partition_is_refused(sandbox: Sandbox) -> None:
    """Nothing would know what was sent."""
    with pytest.warns(UserWarning, match="the journal is off"):
        ef.configure(journal=None)
    with pytest.raises(ef.ConfigurationError, match="needs the journal"):
        trigger(table("a"))
    assert not sandbox.requests


@pytest.mark.parametrize("key", [None, float("nan"), pd.NA, pd.NaT])
def test_a_missing_key_is_refused_before_any_request(sandbox: Sandbox, key: Any) -> None:
    """Also in a column of integers, which a missing value makes floats."""
    frame = table("a", "b").astype({"id": object})
    frame.loc[1, "id"] = key
    with pytest.raises(ef.InputError, match="row 1 has no key in column 'id'"):
        trigger(frame)
    with pytest.raises(ef.MappingError, match=r"key='ID': the frame has no columns of this name \(did you mean 'id'"):
        trigger(frame, key="ID")
    assert not sandbox.requests


def test_a_schema_without_its_version_is_refused(sandbox: Sandbox) -> None:
    """It could be that of another version."""
    with pytest.raises(ef.ConfigurationError, match="pass its version_id= too"):
        trigger(table("a"), schema={})
    assert not sandbox.requests


def test_a_workflow_without_a_schema_takes_every_column(sandbox: Sandbox) -> None:
    """`pin_version` then returns an empty schema, which is not read again."""
    before = len(sandbox.requests)
    ef.trigger_partition(table("a"), "wf_free", run="r", key="id", version_id="v1", schema={})
    assert [execution.inputs for execution in sandbox.accepted] == [{"id": 0, "prompt": "a"}]
    assert len(sandbox.requests) == before + 1


def test_a_shared_execution_is_paid_and_retried_once(sandbox: Sandbox) -> None:
    """`summary` counts it once, and `retry_failed` sends it once, for all rows with its input."""
    sandbox.stop()
    with ef.sandbox.start(
        queue_seconds=0, run_seconds=(0, 0), fail_when=lambda inputs: "a" in inputs.values()
    ) as server:
        ef.configure(journal=os.environ["EACHLABS_JOURNAL"])
        out = trigger(table("a", "b", "a", "a"), key=ef.SAME_INPUT_ONCE, wait=True)
        assert out["status"].tolist() == ["failed", "completed", "failed", "failed"]
        assert out.eachlabs.summary()["cost"].sum() == pytest.approx(out.drop_duplicates("execution_id")["cost"].sum())
        again = out.eachlabs.retry_failed(progress=False)
        assert len(server.accepted) == 3
        assert again["execution_id"].nunique() == 2
        assert again["execution_id"][0] == again["execution_id"][3] != out["execution_id"][0]
        assert again.attrs["eachlabs"]["superseded"] == 1
        assert ef.load_run("sweep-7").columns[0] == "prompt"


def test_one_run_has_one_kind_of_key(sandbox: Sandbox) -> None:
    """A run with a column of keys is not continued with SAME_INPUT_ONCE, which would send its rows again."""
    trigger(table("a"))
    with pytest.raises(ef.RunError, match=r"key is 'eachlabs\.SAME_INPUT_ONCE', and was 'id'"):
        trigger(table("a"), key=ef.SAME_INPUT_ONCE)
    assert len(sandbox.accepted) == 1


def test_a_row_that_was_sent_and_has_no_response_is_unknown_in_the_results(sandbox: Sandbox) -> None:
    """`partition_results` neither searches for it nor says that it was not sent."""
    pinned = ef.pin_version(WORKFLOW)
    trigger(table("a"), **pinned)
    journal = open_journal(Path(os.environ["EACHLABS_JOURNAL"]))
    spec = journal.spec_of("sweep-7")
    assert spec is not None
    call = journal.open("sweep-7")
    call.enter(spec)
    keys = [fingerprint({"key": key}) for key in (0, 1)]
    contents = [fingerprint({"prompt": prompt}) for prompt in "ab"]
    (_, number) = call.register([RowChunk(keys, contents, [[0, 0], [1, 1]], [b"{}", b"{}"], [0, 0])], keyed=True)
    assert asyncio.run(_claim(call, number)) == ["new"]
    before = len(sandbox.requests)
    results = ef.partition_results(table("a", "b"), WORKFLOW, ["prompt"], run="sweep-7", key="id", **pinned)
    call.close()
    assert results["status"].tolist() == ["queued", "unknown"]
    assert results["error"][1] == "sent; no response is recorded yet"
    assert len(sandbox.requests) == before


async def _claim(call: RunJournal, number: int) -> list[str]:
    return [state.state for state in await call.claim([number])]
