"""The accessor of a Dask DataFrame."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import pytest

import eachlabs_frames as ef
import eachlabs_frames.dask
from eachlabs_frames.sandbox import Sandbox

WORKFLOW = "wf_abc123"

# Dask passes a keyword to pandas that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*The inplace keyword in DataFrame")


@pytest.fixture(autouse=True)
def _in_threads() -> Iterator[None]:
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


def table(rows: int = 6, partitions: int = 3) -> Any:
    """Return a Dask frame with a column of keys and an index of its own."""
    frame = pd.DataFrame({"id": range(rows), "prompt": [f"p{row}" for row in range(rows)]})
    frame.index = pd.Index(range(100, 100 + rows), name="label")
    return dd.from_pandas(frame, npartitions=partitions)


def trigger(ddf: Any, **options: Any) -> Any:
    """Trigger the run "sweep-7"."""
    return ddf.eachlabs.bulk_trigger(WORKFLOW, ["prompt"], **{"run": "sweep-7", "key": "id"} | options)


def test_the_frame_is_sent_once_and_computing_it_sends_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each of these computes the partitions again; index, divisions and column types are as announced."""
    ddf = table()
    done = trigger(ddf)
    assert len(sandbox.accepted) == 6
    sent = sum(request.method == "POST" for request in sandbox.requests)
    assert done.divisions == ddf.divisions
    out = done.compute()
    pd.testing.assert_series_equal(out.dtypes, done._meta.dtypes)
    assert out.index.tolist() == list(range(100, 106))
    assert out.index.name == "label"
    assert set(out["execution_id"]) == {execution.execution_id for execution in sandbox.accepted}
    assert out.eachlabs.refresh()["status"].notna().all(), "a pandas frame is found in the journal"
    assert len(done) == 6
    assert len(done.head(2)) == 2
    assert done["status"].compute().notna().all()
    assert len(done.set_index("id").compute()) == 6
    assert len(done.repartition(npartitions=1).persist().compute()) == 6
    done.to_parquet(tmp_path / "out")
    assert dd.read_parquet(tmp_path / "out")["execution_id"].nunique().compute() == 6
    assert trigger(ddf).compute()["execution_id"].equals(out["execution_id"])
    assert sum(request.method == "POST" for request in sandbox.requests) == sent


def test_results_are_waited_for_on_the_driver(sandbox: Sandbox) -> None:
    """The workflow is read once, not per partition, and the frame shows the new states when it is computed."""
    done = trigger(table(40, 20))
    assert sum(request.route == "version" for request in sandbox.requests) <= 1
    assert len([request for request in sandbox.requests if request.method == "GET"]) <= 1
    done.eachlabs.wait(progress=False)
    out = done.compute()
    assert set(out["status"]) == {"completed"}
    assert out["output"].notna().all()
    summary = done.eachlabs.summary()
    assert summary["rows"] == summary["keys"] == summary["executions"] == summary["completed"] == 40
    assert summary["cost"] == pytest.approx(out["cost"].sum())


def test_rows_with_a_common_key_are_one_execution_and_summary_shows_it(sandbox: Sandbox) -> None:
    """Twelve rows, six keys."""
    both = dd.concat([table(), table()])
    done = trigger(both, wait=True)
    assert len(sandbox.accepted) == 6
    assert done.eachlabs.summary()[["rows", "keys"]].tolist() == [12, 6]


@pytest.mark.parametrize("convert", [False, True])
def test_both_string_types_of_dask_are_read(sandbox: Sandbox, convert: bool) -> None:
    """Columns of Python objects and of Arrow strings."""
    with dask.config.set({"dataframe.convert-string": convert}):
        done = trigger(table())
        out = done.compute()
    pd.testing.assert_series_equal(out.dtypes, done._meta.dtypes)
    assert sorted(execution.inputs["prompt"] for execution in sandbox.accepted) == [f"p{row}" for row in range(6)]


@pytest.mark.parametrize("name", ["run", "key"])
def test_run_and_key_are_required(sandbox: Sandbox, name: str) -> None:
    """The message is that of `trigger_partition`."""
    with pytest.raises(ef.ConfigurationError, match=f"{name}=: an engine computes a partition again"):
        trigger(table(), **{name: None})
    with pytest.raises(ef.MappingError, match="did you mean 'id'"):
        trigger(table(), key="ID")
    with pytest.raises(ef.ColumnError, match="does not know its run"):
        table().eachlabs.refresh()
    assert not sandbox.accepted


def test_made_up_rows_are_never_sent(sandbox: Sandbox) -> None:
    """Dask calls a function with two of them to learn its result; so is a task without run= stopped."""
    ddf = table()
    made_up = [
        lambda part: part.eachlabs.bulk_trigger(WORKFLOW, ["prompt"], progress=False),
        lambda part: part.eachlabs.bulk_trigger(WORKFLOW, ["prompt"], progress=False, run="r"),
        lambda part: ef.trigger_partition(part, WORKFLOW, ["prompt"], run="r", key=ef.SAME_INPUT_ONCE),
    ]
    for function in made_up:
        with pytest.raises(Exception, match=r"made-up rows.*ddf\.eachlabs\.bulk_trigger.*trigger_partition"):
            ddf.map_partitions(function)
    mapped = ddf.map_partitions(made_up[0], meta=ef.result_schema(ddf._meta))
    with pytest.raises(ef.InputError, match="may be computed again"):
        mapped.compute()
    assert not sandbox.requests
    of_partition = ddf.map_partitions(
        ef.trigger_partition, WORKFLOW, ["prompt"], run="r", key="id", meta=ef.result_schema(ddf._meta)
    )
    assert of_partition.compute()["execution_id"].equals(of_partition.compute()["execution_id"])
    assert len(sandbox.accepted) == 6


def test_no_secret_is_in_the_graph(sandbox: Sandbox) -> None:
    """Neither the key nor a journal's password; a webhook's secret is refused."""
    done = trigger(table())
    graph = pickle.dumps(dict(done.__dask_graph__()))
    assert graph
    assert sandbox.api_key.encode() not in graph
    assert os.environ["EACHLABS_JOURNAL"].encode() not in graph
    with pytest.raises(ef.ConfigurationError, match="set EACHLABS_WEBHOOK_SECRET"):
        trigger(table(), webhook_url="https://example.com/hook", webhook_secret="s3cret")


def test_an_error_in_a_partition_ends_the_call_and_the_same_call_goes_on(sandbox: Sandbox) -> None:
    """Its message names the row; what was sent is in the journal."""
    trigger(table())
    other = table().assign(prompt="another")
    with pytest.raises(ef.InputError, match="its key was sent in run 'sweep-7' with another input"):
        trigger(other)
    assert len(sandbox.accepted) == 6


def test_a_run_in_the_background(sandbox: Sandbox) -> None:
    """It returns the same frame; one that is cancelled first sends nothing."""
    run = table().eachlabs.start(WORKFLOW, ["prompt"], run="sweep-7", key="id", wait=True)
    out = run.result(120).compute()
    assert run.done
    assert run.status == {"completed": 6}
    assert set(out["status"]) == {"completed"}


def test_a_cancelled_call_sends_no_further_partition(sandbox: Sandbox) -> None:
    """`result` raises `CancelledError`."""
    call = table().eachlabs._call(WORKFLOW, ["prompt"], "sweep-7", "id")
    call.cancel()
    with pytest.raises(CancelledError):
        call.send(table(), dask.base.get_scheduler(collections=[table()]))
    assert not sandbox.accepted


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client of a cluster with two processes, which serves all tests of the module."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def cluster(client: Any, sandbox: Sandbox) -> Iterator[Any]:
    """Give the workers the environment that their operator would."""
    names = {"EACHLABS_API_KEY": sandbox.api_key, "EACHLABS_BASE_URL": sandbox.base_url}
    client.run(_set_environment, {**names, "EACHLABS_JOURNAL": os.environ["EACHLABS_JOURNAL"]})
    with dask.config.set(scheduler=client):
        yield client


@pytest.mark.slow
def test_workers_send_each_partition_once(cluster: Any, sandbox: Sandbox) -> None:
    """In processes; what is computed afterwards sends nothing."""
    done = trigger(table(40, 8), wait=True)
    out = done.compute()
    assert set(out["status"]) == {"completed"}
    assert done["execution_id"].nunique().compute() == 40
    assert len(done.set_index("id").persist()) == 40
    trigger(table(40, 4))
    assert len(sandbox.accepted) == 40


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("EACHLABS_API_KEY", None, "set EACHLABS_API_KEY in the environment of each worker"),
        ("EACHLABS_BASE_URL", None, "set EACHLABS_BASE_URL"),
        ("EACHLABS_JOURNAL", "/tmp/eachlabs-frames-no-such-journal.sqlite", "EACHLABS_JOURNAL=postgresql://"),
    ],
)
def test_a_worker_that_is_set_up_otherwise_is_refused(
    cluster: Any, sandbox: Sandbox, name: str, value: str | None, message: str
) -> None:
    """Before anything is sent, with a sentence that says what to set."""
    cluster.run(_set_environment, {name: value})
    with pytest.raises(ef.EachlabsError, match=message):
        trigger(table())
    assert not sandbox.accepted


def test_the_example_of_the_documentation_runs(sandbox: Sandbox) -> None:
    """The section "Dask" of docs/scaling.md, as it is written there."""
    text = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")
    code = text.split("## Dask\n")[1].split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(sandbox.accepted) == 3
    assert names["done"].eachlabs.summary()["completed"] == 3
