"""Ray Data's `map_batches`: computed again, it sends nothing again; the sandbox's books are the judge."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import ray

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Sandbox

from .conftest import ROWS

WORKFLOW = "wf_abc123"
Recipe = Callable[[str, dict[str, Any]], dict[str, Any]]

# Ray leaves sockets to the interpreter's end, and warns of options that it sets itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def _cluster(account: Sandbox) -> Iterator[None]:
    """Two workers on this machine."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture
def ds(table: pd.DataFrame) -> Any:
    """The table in four blocks."""
    return ray.data.from_pandas(table).repartition(4)


def paid(sandbox: Sandbox) -> Counter[str]:
    """Count the accepted executions of each prompt."""
    return Counter(execution.inputs["prompt"] for execution in sandbox.accepted)


def arguments(run: str, **more: Any) -> dict[str, Any]:
    """Return the keywords of `trigger_partition`."""
    return {"workflow_id": WORKFLOW, "inputs": ["prompt"], "run": run, "key": "id"} | more


def test_the_recipe_of_the_docs_gives_each_row_its_execution(sandbox: Sandbox, ds: Any, recipe: Recipe) -> None:
    """Types are the declared ones, and whatever is computed afterwards sends nothing."""
    out = recipe("Ray", {"ds": ds})["out"]
    first = out.to_pandas().set_index("id")
    assert sandbox.accepted_count() == ROWS
    of_prompt = {execution.inputs["prompt"]: execution.execution_id for execution in sandbox.accepted}
    assert first["execution_id"].tolist() == first["prompt"].map(of_prompt).tolist()
    assert out.count() == ROWS
    assert len(out.take(3)) == 3
    again = out.repartition(3).to_pandas().set_index("id")
    assert again["execution_id"].sort_index().tolist() == first["execution_id"].sort_index().tolist()
    expected = ef.result_schema(
        pa.table({"id": pa.array([], pa.int64()), "prompt": pa.array([], pa.string())}), "arrow"
    )
    schema = out.schema()
    types = dict(zip(schema.names, schema.types, strict=True))
    assert {name: types[name] for name in ("execution_id", "started_at", "cost")} == {
        name: expected.field(name).type for name in ("execution_id", "started_at", "cost")
    }
    assert sandbox.accepted_count() == ROWS


def test_a_worker_that_dies_after_it_has_sent_is_replaced_without_sending(
    sandbox: Sandbox, ds: Any, tmp_path: Path
) -> None:
    """The first two tasks that have sent kill their process; Ray repeats them, and nobody pays twice."""
    marks = [str(tmp_path / "first"), str(tmp_path / "second")]

    def trigger(frame: pd.DataFrame, **keywords: Any) -> pd.DataFrame:
        out = ef.trigger_partition(frame, **keywords)
        for mark in marks:
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            os._exit(9)
        return out

    keywords = arguments("dying", json_output=True)
    out = ds.map_batches(trigger, batch_format="pandas", fn_kwargs=keywords).to_pandas()
    assert all(map(os.path.exists, marks))
    assert out["execution_id"].notna().all()
    assert len(out) == sandbox.accepted_count() == ROWS
    assert set(paid(sandbox).values()) == {1}


@pytest.mark.parametrize("batch_format", ["pandas", "pyarrow"])
def test_both_kinds_of_batches_come_back(sandbox: Sandbox, ds: Any, batch_format: str) -> None:
    """Under one run, the second kind sends nothing."""
    for _ in range(2):
        keywords = arguments(f"batches as {batch_format}", json_output=batch_format == "pandas")
        out = ds.map_batches(ef.trigger_partition, batch_format=batch_format, fn_kwargs=keywords)
        assert out.to_pandas()["execution_id"].nunique() == ROWS
    assert sandbox.accepted_count() == ROWS


def test_an_actor_has_an_event_loop_of_its_own(sandbox: Sandbox, table: pd.DataFrame) -> None:
    """`trigger_partition` may be called while a loop is running, as in Ray's async actors."""

    @ray.remote
    class Sender:
        async def send(self, frame: pd.DataFrame) -> pd.DataFrame:
            return ef.trigger_partition(frame, WORKFLOW, ["prompt"], run="actor", key="id")

    sender = Sender.remote()
    out = ray.get([sender.send.remote(table.iloc[start : start + 10]) for start in range(0, ROWS, 10)])
    assert pd.concat(out)["execution_id"].nunique() == ROWS == sandbox.accepted_count()


def test_a_worker_without_the_key_says_where_to_set_it(sandbox: Sandbox, ds: Any) -> None:
    """What the driver gives to `configure` stays in the driver."""

    def trigger(frame: pd.DataFrame) -> pd.DataFrame:
        os.environ.pop("EACHLABS_API_KEY", None)
        return ef.trigger_partition(frame, **arguments("no key"))

    with pytest.raises(ray.exceptions.RayTaskError, match="set EACHLABS_API_KEY in the environment of each worker"):
        ds.map_batches(trigger, batch_format="pandas").to_pandas()
    assert sandbox.accepted_count() == 0
