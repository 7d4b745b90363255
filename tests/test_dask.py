"""The accessor of a Dask DataFrame."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import pytest

import eachlabs_frames as ef
import eachlabs_frames.dask
from eachlabs_frames import cli
from eachlabs_frames.dask.partition_call import wait_for_workers
from eachlabs_frames.sandbox import Sandbox
from tests.waiting import until

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


# eachlabs-frames trigger --dask


@pytest.fixture
def command(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command on the cluster, in a folder with three files; give its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a", "b", "more/c")):
        path = Path("rows", f"{name}.parquet")
        path.parent.mkdir(exist_ok=True, parents=True)
        ids = range(4 * number, 4 * number + 4)
        pd.DataFrame({"id": ids, "prompt": [f"p{row}" for row in ids]}).to_parquet(path)

    def run(*argv: str, **options: str) -> tuple[int, str, str]:
        given = {"dask": cluster.scheduler.address, "run": "r", "key": "id", "out": "out"} | options
        named = [word for name, value in given.items() if value for word in (f"--{name}", value)]
        code = cli.main(["trigger", "rows", "--workflow", WORKFLOW, "--inputs", "prompt", *named, *argv])
        return code, *capsys.readouterr()

    return run


def results(folder: str = "out") -> pd.DataFrame:
    """Return the rows of all files of a folder."""
    return pd.concat([pd.read_parquet(path) for path in sorted(Path(folder).rglob("*.parquet"))])


@pytest.mark.slow
def test_a_folder_is_triggered_and_written_file_by_file(
    command: Callable[..., tuple[int, str, str]], sandbox: Sandbox
) -> None:
    """The same command again pays nothing, and writes only the files that are missing or not done."""
    code, printed, err = command("--prefix", "p_")
    assert (code, printed, err) == (0, "12 rows: 12 accepted (12 queued) -> out, run r\n", "")
    assert sandbox.accepted_count() == 12
    assert sorted(path.as_posix() for path in Path("out").rglob("*.parquet")) == [
        "out/a.parquet",
        "out/b.parquet",
        "out/more/c.parquet",
    ]
    inputs = {execution.execution_id: execution.inputs["prompt"] for execution in sandbox.accepted}
    assert results()["prompt"].tolist() == results()["p_execution_id"].map(inputs).tolist()
    assert not [path for path in Path("out").iterdir() if path.suffix == ".part"]
    assert "prefix 'p_', and this one has 'q_'" in command("--prefix", "q_")[2]
    code, printed, _ = command("--prefix", "p_", "--wait")
    assert (code, printed) == (0, "12 rows: 12 accepted (12 completed) -> out, run r\n")
    assert results()["p_output"].notna().all()
    Path("out/b.parquet").unlink()
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.parquet")}
    assert command("--prefix", "p_", "--wait")[:2] == (code, printed)
    assert Path("out/b.parquet").exists()
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert results()["p_execution_id"].nunique() == 12
    Path("out/more/c.parquet").unlink()
    Path("out/more").rmdir()
    Path("out/more").touch()
    code, printed, err = command("--prefix", "p_", "--wait")
    assert (code, printed) == (1, "")
    assert "out/more does not exist; create it first. To resume, run the same command" in err
    assert sandbox.accepted_count() == 12


@pytest.mark.slow
def test_rows_that_are_not_accepted_are_reported_and_sent_by_the_next_command(
    command: Callable[..., tuple[int, str, str]], sandbox: Sandbox
) -> None:
    """Exit code 1; a file with such a row is not done."""
    sandbox.change(balance_usd=0.0)
    sandbox.reset()
    code, printed, err = command()
    assert (code, printed) == (1, "12 rows: 0 accepted, 12 pending -> out, run r\n")
    assert "12 of 12 rows have no execution: not sent: HTTP 402: insufficient balance" in err
    sandbox.top_up(1.0)
    assert command()[:2] == (0, "12 rows: 12 accepted (12 queued) -> out, run r\n")


@pytest.mark.slow
def test_an_error_of_one_file_says_what_was_sent(
    command: Callable[..., tuple[int, str, str]], sandbox: Sandbox
) -> None:
    """Exit code 1 if other files have been sent, and the same command goes on when the file is mended."""
    rows = pd.DataFrame({"id": [8, 8], "prompt": ["x", "y"]})
    good = Path("rows/more/c.parquet").read_bytes()
    rows.to_parquet("rows/more/c.parquet")
    code, printed, err = command()
    assert (code, printed) == (1 if sandbox.accepted_count() else 2, "")
    assert "more/c.parquet" in err
    assert "key" in err
    Path("rows/more/c.parquet").write_bytes(good)
    assert command()[:2] == (0, "12 rows: 12 accepted (12 queued) -> out, run r\n")
    assert sandbox.accepted_count() == 12


@pytest.mark.slow
def test_a_command_that_cannot_be_used_sends_nothing(
    command: Callable[..., tuple[int, str, str]], sandbox: Sandbox
) -> None:
    """Exit code 2 and one line; the output folder is not left behind."""

    def refused(*argv: str, **options: str) -> str:
        code, printed, err = command(*argv, **options)
        assert (code, printed, err.count("\n")) == (2, "", 1), err
        return err

    assert "--dask requires --run NAME" in refused(run="")
    assert "--dask requires --key COL" in refused(key="")
    assert "--dask requires --out FOLDER" in refused(out="")
    assert "--dask requires --out FOLDER" in refused(out="-")
    assert "rows/a.parquet: no column 'ID', which --key names; it has id, prompt" in refused(key="ID")
    assert "neither local nor the address of a scheduler" in refused(dask="somewhere")
    with dask.config.set({"distributed.comm.timeouts.connect": "0.1s"}):
        assert "--dask tcp://127.0.0.1:1: no Dask scheduler answers: " in refused(dask="tcp://127.0.0.1:1")
    assert "--retrigger cannot be used with --dask" in refused("--retrigger")
    assert "must be neither the input folder" in refused(out="rows/out")
    assert "/no does not exist; create it first" in refused(out="no/out")
    Path("mine").mkdir()
    assert "no column 'ID'" in refused(out="mine", key="ID")
    Path("mine/a.parquet").write_bytes(b"")
    assert "was not made by this command" in refused(out="mine")
    pd.DataFrame({"id": [1]}).to_parquet("rows/other.parquet")
    assert "rows/other.parquet: its columns are ['id']" in refused()
    Path("rows/other.parquet").write_bytes(b"PAR")
    assert "rows/other.parquet: cannot be read as parquet" in refused()
    for path in Path("rows").rglob("*.parquet"):
        path.unlink()
    assert "rows: it has no Parquet files" in refused()
    assert not Path("out").exists()
    assert not sandbox.requests


@pytest.mark.slow
def test_a_local_cluster_is_stopped_by_a_signal(command: Callable[..., tuple[int, str, str]], sandbox: Sandbox) -> None:
    """A file that is being sent stops too; the same command, on another cluster, sends and writes the rest."""
    rows = 60
    for name in ("a", "b", "more/c"):
        ids = [f"{name}{row}" for row in range(rows)]
        pd.DataFrame({"id": ids, "prompt": ids}).to_parquet(f"rows/{name}.parquet")
    sandbox.faults(ef.sandbox.Fault("latency", seconds=4.0))
    given = ["--workflow", WORKFLOW, "--inputs", "prompt", "--run", "r", "--key", "id", "--out", "out"]
    argv = [
        sys.executable,
        "-m",
        "eachlabs_frames.cli",
        "trigger",
        "rows",
        *given,
        "--dask",
        "local",
        "--max-concurrency",
        "1",
    ]
    environment = os.environ | {"EACHLABS_API_KEY": sandbox.api_key, "EACHLABS_BASE_URL": sandbox.base_url}
    pipe = subprocess.PIPE
    child = subprocess.Popen(argv, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    try:
        until(lambda: sandbox.accepted_count() > 0)
        os.killpg(child.pid, signal.SIGINT)  # as a terminal sends it: to the workers too
        printed, err = child.communicate(timeout=120)
    finally:
        child.kill()
    assert (child.returncode, printed) == (130, ""), err
    assert err.splitlines()[-1].startswith("eachlabs-frames: SIGINT: stopped. ")
    assert "To resume, run the same command; it sends only rows that were not sent" in err
    assert "Traceback" not in err
    assert sandbox.accepted_count() < 3 * rows
    sandbox.faults()
    assert command()[:2] == (0, f"{3 * rows} rows: {3 * rows} accepted ({3 * rows} queued) -> out, run r\n")
    assert sandbox.accepted_count() == 3 * rows


def test_a_cluster_without_workers_is_an_error(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """After a warning, and before anything is sent; a cancelled call does not wait."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        with pytest.raises(ef.ConfigurationError, match=r"no workers for 0\.5 s, and nothing was sent: start workers"):
            wait_for_workers(client, notice=0.0, timeout=0.5)
        with pytest.raises(CancelledError):
            wait_for_workers(client, is_cancelled=lambda: True)
    warnings = [record.message for record in caplog.records if record.name == "eachlabs_frames"]
    assert warnings == ["the Dask cluster has no workers; waiting up to 0.5 s for the first one"]


def test_the_example_of_the_documentation_runs(sandbox: Sandbox) -> None:
    """The section "Dask" of docs/scaling.md, as it is written there."""
    text = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")
    code = text.split("## Dask\n")[1].split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(sandbox.accepted) == 3
    assert names["done"].eachlabs.summary()["completed"] == 3
