"""Tests of the rerun guard and of edited result frames: no row is paid for twice without an explicit request."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.frames import sent_inputs
from eachlabs_frames.frames.calls import Calls
from eachlabs_frames.inputs.fingerprints import repeated
from eachlabs_frames.sandbox import Fault, Sandbox, Version
from eachlabs_frames.views.common.live_view import Subscriber
from eachlabs_frames.views.common.source import Cards

from .chaos.fork_server import until

WF = "wf_abc123"
INPUTS = ["prompt"]


def frame(size: int, *, start: int = 0) -> pd.DataFrame:
    """Return a frame with one distinct prompt per row."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(start, start + size)]})


def accepted(sandbox: Sandbox) -> int:
    """Return the number of executions that the sandbox has accepted."""
    return sandbox.accepted_count()


def prompts(sandbox: Sandbox, out: pd.DataFrame) -> list[Any]:
    """Return the prompt that each row's execution was triggered with."""
    inputs = {execution.execution_id: execution.inputs for execution in sandbox.accepted}
    return [inputs[execution_id]["prompt"] for execution_id in out["execution_id"]]


# -- the same call made twice ----------------------------------------------------------------------------------------


def test_repeated_call_without_a_run_is_refused_before_sending(sandbox: Sandbox) -> None:
    """The error names the row count, the time, the run and both options; the refused call creates no run."""
    first = frame(12).eachlabs.bulk_trigger(WF, INPUTS)
    name = first.attrs["eachlabs"]["run"]
    with pytest.raises(ef.RunError, match=r"all 12 rows were accepted before .*UTC") as refused:
        frame(12).eachlabs.bulk_trigger(WF, INPUTS)
    assert accepted(sandbox) == 12
    assert f"12 in run {name!r}" in str(refused.value)
    assert f"run={name!r} continues that run" in str(refused.value)
    assert "retrigger=True" in str(refused.value)
    assert ef.runs()["run"].tolist() == [name]


def test_run_and_retrigger_options_resolve_a_refused_rerun(sandbox: Sandbox) -> None:
    """`run=` returns the existing executions at no cost; `retrigger=True` triggers every row again."""
    first = frame(3).eachlabs.bulk_trigger(WF, INPUTS)
    same = frame(3).eachlabs.bulk_trigger(WF, INPUTS, run=first.attrs["eachlabs"]["run"])
    assert same["execution_id"].tolist() == first["execution_id"].tolist()
    assert accepted(sandbox) == 3
    again = frame(3).eachlabs.bulk_trigger(WF, INPUTS, retrigger=True)
    assert set(again["execution_id"]).isdisjoint(first["execution_id"])
    assert accepted(sandbox) == 6


def test_partly_repeated_rows_are_sent_with_a_warning(sandbox: Sandbox) -> None:
    """The warning counts the repeated rows, is issued before the first request and points at the caller's line."""
    frame(3).eachlabs.bulk_trigger(WF, INPUTS)
    with pytest.warns(UserWarning, match="3 of 5 rows were accepted before") as caught:
        out = frame(5).eachlabs.bulk_trigger(WF, INPUTS)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
    assert out["execution_id"].notna().all()
    assert accepted(sandbox) == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="5 of 6"):
            frame(6).eachlabs.bulk_trigger(WF, INPUTS)
    assert accepted(sandbox) == 8


@pytest.mark.slow
def test_rerun_guard_applies_across_processes(sandbox: Sandbox, tmp_path: Path) -> None:
    """A restarted process is refused too, because the journal records what other processes have sent."""
    frame(3).eachlabs.bulk_trigger(WF, INPUTS)
    settings = ef.configure()
    script = tmp_path / "cell.py"
    script.write_text(
        "import sys, pandas as pd, eachlabs_frames as ef\n"
        "ef.configure(api_key=sys.argv[1], base_url=sys.argv[2], journal=sys.argv[3])\n"
        "pd.DataFrame({'prompt': ['p0', 'p1', 'p2']}).eachlabs.bulk_trigger('wf_abc123', ['prompt'])\n"
    )
    arguments = [settings.key().reveal(), settings.base_url, str(settings.journal)]
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert "all 3 rows were accepted before" in done.stderr
    assert accepted(sandbox) == 3


def test_rerun_guard_applies_to_start_and_to_the_async_method(sandbox: Sandbox) -> None:
    """`start` and `bulk_trigger_async` refuse repeated rows like `bulk_trigger`."""
    import asyncio

    frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    with pytest.raises(ef.RunError, match="all 2 rows"):
        asyncio.run(frame(2).eachlabs.bulk_trigger_async(WF, INPUTS))
    with pytest.raises(ef.RunError, match="all 2 rows"):
        frame(2).eachlabs.start(WF, INPUTS).result()
    assert accepted(sandbox) == 2


def test_calls_that_differ_are_not_reruns(sandbox: Sandbox) -> None:
    """A different mapping, workflow, version, `na` or input is not a rerun, nor is a call with a `run` name."""
    sandbox.add_workflow("other")
    sandbox.add_workflow("two", versions=[Version("v1"), Version("v2")])
    frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame(2).eachlabs.bulk_trigger(WF, {"prompt": "prompt", "style": ef.lit("noir")})
        frame(2).eachlabs.bulk_trigger("other", INPUTS)
        frame(2).eachlabs.bulk_trigger("two", INPUTS, version_id="v1")
        frame(2).eachlabs.bulk_trigger("two", INPUTS, version_id="v2")
        frame(2).eachlabs.bulk_trigger(WF, INPUTS, na="null")
        frame(2, start=2).eachlabs.bulk_trigger(WF, INPUTS)
        frame(2).eachlabs.bulk_trigger(WF, INPUTS, run="named")
    assert accepted(sandbox) == 16


def test_rerun_guard_matches_a_workflow_by_slug_or_id(sandbox: Sandbox) -> None:
    """A version's UUID identifies the workflow whether the call names it by slug or by id."""
    workflow, version = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    sandbox.add_workflow(workflow, slug="fox-maker", versions=[Version(version)])
    frame(2).eachlabs.bulk_trigger("fox-maker", INPUTS)
    with pytest.raises(ef.RunError, match="all 2 rows were accepted before"):
        frame(2).eachlabs.bulk_trigger(workflow, INPUTS)
    assert accepted(sandbox) == 2


def test_rerun_guard_can_be_disabled_and_expires(sandbox: Sandbox) -> None:
    """The same call is sent again with `rerun_guard=None` or after the guard's period has passed."""
    frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    assert ef.configure(rerun_guard=None).rerun_guard is None
    frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    ef.configure(rerun_guard=1e-9)
    frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    assert accepted(sandbox) == 6


def test_duplicate_inputs_within_a_frame_are_counted_by_occurrence(sandbox: Sandbox) -> None:
    """Three equal rows are not reruns of each other; if one was accepted before, one of the three is a rerun."""
    pd.DataFrame({"prompt": ["a"]}).eachlabs.bulk_trigger(WF, INPUTS)
    with pytest.warns(UserWarning, match="1 of 3 rows was accepted before"):
        pd.DataFrame({"prompt": ["a", "a", "a"]}).eachlabs.bulk_trigger(WF, INPUTS)
    assert accepted(sandbox) == 4


def test_repeated_compares_occurrence_counts() -> None:
    """The k-th occurrence of an input is a repeat if at least k were accepted earlier."""
    inputs = np.array([7, 5, 7, 7, 9], dtype=np.uint64)
    earlier = np.array([9, 7, 7, 3, 9], dtype=np.uint64)
    assert repeated(inputs, earlier).tolist() == [True, False, True, False, True]
    assert repeated(inputs, earlier[:0]).tolist() == [False] * 5
    assert repeated(inputs[:0], earlier).tolist() == []


def test_rows_with_a_lost_response_count_as_possibly_billed(sandbox: Sandbox) -> None:
    """A row that was sent but got no response may have been accepted, so the rerun is refused."""
    ef.configure(settle_window=0.05)
    sandbox.faults(Fault("error_before", at={1}), Fault("error_before", on="list"))
    out = frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    assert out["status"].tolist() == ["unknown", "unknown"]
    with pytest.raises(ef.RunError, match=r"all 2 rows.*2 without a response so far, perhaps billed"):
        frame(2).eachlabs.bulk_trigger(WF, INPUTS)


def test_queued_rows_of_a_running_call_count(sandbox: Sandbox) -> None:
    """Rows that a call in another thread has claimed but not yet sent are not sent a second time."""
    sandbox.faults(Fault("silence", at={1}))
    run = frame(30).eachlabs.start(WF, INPUTS, max_concurrency=1)
    until(lambda: sandbox.accepted_count() > 0)
    try:
        with pytest.raises(ef.RunError, match=r"all 10 rows.*10 without a response so far, perhaps billed"):
            frame(10, start=20).eachlabs.bulk_trigger(WF, INPUTS)
    finally:
        run.cancel()
    assert sandbox.duplicates() == {}


def test_rejected_rows_do_not_count_as_accepted(sandbox: Sandbox) -> None:
    """Rows rejected for lack of balance were never accepted, so a new call sends them without a warning."""
    sandbox.change(balance_usd=0.10)
    frame(15).eachlabs.bulk_trigger(WF, INPUTS, max_concurrency=1)
    assert accepted(sandbox) == 10
    sandbox.top_up(10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame(5, start=10).eachlabs.bulk_trigger(WF, INPUTS)
    assert accepted(sandbox) == 15


def test_row_function_is_compared_by_the_inputs_it_returns(sandbox: Sandbox) -> None:
    """Functions cannot be recorded, so the guard compares the inputs that they return."""
    frame(2).eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"]})
    with pytest.raises(ef.RunError, match="all 2 rows"):
        frame(2).eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"]})
    frame(2).eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"] + "!"})
    assert accepted(sandbox) == 4


def test_unreadable_run_does_not_disable_the_guard(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Rows with an unreadable recorded response count as possibly billed; an unreadable run is skipped and logged."""
    first = frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    frame(2, start=2).eachlabs.bulk_trigger(WF, INPUTS)
    connection = sqlite3.connect(str(ef.configure().journal))
    with connection:
        connection.execute("UPDATE records SET body = x'5b' WHERE kind = 1 AND run = 1")
    with pytest.raises(ef.RunError, match=r"all 4 rows.*2 without a response so far, perhaps billed"):
        frame(4).eachlabs.bulk_trigger(WF, INPUTS)
    with connection:
        columns = "name, pin, index_names, created_at"
        connection.execute(f"INSERT INTO runs ({columns}) SELECT 'damaged', pin || '}}', '[]', 0 FROM runs LIMIT 1")
        connection.execute("UPDATE sheets SET contents = x'00' WHERE run = 1")
    connection.close()
    with pytest.raises(ef.RunError, match="all 2 rows"):
        frame(2, start=2).eachlabs.bulk_trigger(WF, INPUTS)
    assert f"run {first.attrs['eachlabs']['run']!r} is left out of the comparison" in caplog.text
    assert accepted(sandbox) == 4


def test_preview_counts_rows_accepted_before(sandbox: Sandbox) -> None:
    """`preview` reports in `attrs` how many rows would be paid for again, and sends nothing."""
    assert "eachlabs_accepted_before" not in frame(3).eachlabs.preview(WF, INPUTS).attrs
    frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    assert frame(3).eachlabs.preview(WF, INPUTS).attrs["eachlabs_accepted_before"] == 2
    assert accepted(sandbox) == 2


# -- edited rows of a result frame ----------------------------------------------------------------------------------


def test_only_the_edited_row_of_a_result_is_sent(sandbox: Sandbox) -> None:
    """The edited row gets a new execution and the others keep theirs, in any row order."""
    out = frame(5).eachlabs.bulk_trigger(WF, INPUTS)
    out.loc[0, "prompt"] = "new"
    again = out.iloc[::-1].eachlabs.bulk_trigger(WF)
    assert accepted(sandbox) == 6
    assert prompts(sandbox, again) == ["p4", "p3", "p2", "p1", "new"]
    assert again["execution_id"].tolist()[:4] == out["execution_id"].tolist()[:0:-1]
    unchanged = again.eachlabs.bulk_trigger(WF)
    assert accepted(sandbox) == 6
    assert unchanged["execution_id"].tolist() == again["execution_id"].tolist()


def test_reverted_edit_reuses_the_recorded_execution(sandbox: Sandbox) -> None:
    """The run keeps the execution of the old input; rows that swap their inputs swap their executions at no cost."""
    out = frame(3).eachlabs.bulk_trigger(WF, INPUTS)
    edited = out.copy()
    edited.loc[0, "prompt"] = "new"
    edited = edited.eachlabs.bulk_trigger(WF)
    edited.loc[0, "prompt"] = "p0"
    back = edited.eachlabs.bulk_trigger(WF)
    assert back["execution_id"].tolist() == out["execution_id"].tolist()
    swapped = back.copy()
    swapped["prompt"] = ["p1", "p0", "p2"]
    swapped = swapped.eachlabs.bulk_trigger(WF)
    assert prompts(sandbox, swapped) == ["p1", "p0", "p2"]
    assert accepted(sandbox) == 4


@pytest.mark.filterwarnings("ignore:the journal is off")
def test_edit_is_detected_without_a_journal(sandbox: Sandbox) -> None:
    """The frame itself records the inputs that were sent; without an edit, no request is made."""
    ef.configure(journal=None)
    out = frame(3).eachlabs.bulk_trigger(WF, INPUTS)
    before = len(sandbox.requests)
    assert out.eachlabs.bulk_trigger(WF)["execution_id"].tolist() == out["execution_id"].tolist()
    assert len(sandbox.requests) == before
    out.loc[1, "prompt"] = "new"
    again = out.eachlabs.bulk_trigger(WF)
    assert accepted(sandbox) == 4
    assert prompts(sandbox, again) == ["p0", "new", "p2"]


@pytest.mark.filterwarnings("ignore:the journal is off")
def test_a_row_whose_execution_was_cleared_gets_no_details_of_the_earlier_one(sandbox: Sandbox) -> None:
    """A user clears the id and the status to send a row again, and leaves its output, cost and times in the frame."""
    ef.configure(journal=None)
    out = frame(2).eachlabs.bulk_trigger(WF, INPUTS, wait=True)
    assert out["output"].notna().all()
    out.loc[0, ["execution_id", "status"]] = None
    sandbox.change(hold=True)
    again = out.eachlabs.bulk_trigger(WF, INPUTS)
    assert accepted(sandbox) == 3
    assert again.loc[0, ["started_at", "completed_at", "output", "cost"]].isna().all()
    assert again.loc[1, "output"] == out.loc[1, "output"]


@pytest.mark.filterwarnings("ignore:the journal is off")
def test_edit_does_not_mark_other_rows_as_edited(sandbox: Sandbox) -> None:
    """The checksum of a large whole float does not depend on the values of the other rows."""
    ef.configure(journal=None)
    options = pd.DataFrame({"prompt": ["p0", "p1"], "options": [{"scale": 1e16}, {"scale": 0.5}]})
    out = options.eachlabs.bulk_trigger(WF, ["prompt", "options"])
    out.at[1, "options"] = {"scale": 7.0}
    again = out.eachlabs.bulk_trigger(WF)
    assert accepted(sandbox) == 3
    assert again.loc[0, "execution_id"] == out.loc[0, "execution_id"]


@pytest.mark.parametrize("through", ["parquet", "pickle", "copy", "load_run", "floats"])
def test_storing_a_frame_is_not_an_edit(sandbox: Sandbox, through: str) -> None:
    """A dtype that changes in storage does not change the input; a later edit does."""
    df = frame(4).assign(seed=range(4), score=[0.5, 1.0, 2.0, 3.25], tags=[["a"], [], ["b", "c"], ["d"]])
    inputs = {"prompt": ef.template("{prompt} {seed}"), "seed": "seed", "guidance": "score", "tags": "tags"}
    sandbox.add_workflow("free")
    out = df.eachlabs.bulk_trigger("free", inputs)
    stored = io.BytesIO()
    if through == "parquet":
        out.to_parquet(stored)
        out = pd.read_parquet(stored)
    elif through == "pickle":
        out.to_pickle(stored)
        out = pd.read_pickle(io.BytesIO(stored.getvalue()))
    elif through == "load_run":
        out = ef.load_run(out.attrs["eachlabs"]["run"])
    elif through == "floats":
        out["seed"] = out["seed"].astype("float32")
    out = out.copy().eachlabs.bulk_trigger("free")
    assert accepted(sandbox) == 4
    out["seed"] = [0, 1, 2, 99]
    out.eachlabs.bulk_trigger("free")
    assert accepted(sandbox) == 5


def test_result_frame_with_another_version_or_mapping_is_refused(sandbox: Sandbox) -> None:
    """The error offers `prefix=` and `retrigger=True`, and nothing is sent."""
    sandbox.add_workflow("two", versions=[Version("v1"), Version("v2")])
    out = frame(3).assign(style="noir").eachlabs.bulk_trigger("two", INPUTS, version_id="v1")
    calls: list[dict[str, Any]] = [{"version_id": "v2"}, {"inputs": ["prompt", "style"]}, {"na": "null"}]
    for call in calls:
        with pytest.raises(ef.ColumnError, match=r"made differently.*prefix=.*retrigger=True"):
            out.eachlabs.bulk_trigger("two", **call)
    assert accepted(sandbox) == 3
    out.eachlabs.bulk_trigger("two", INPUTS, version_id="v2", prefix="second_")
    out.eachlabs.bulk_trigger("two", INPUTS, version_id="v2", retrigger=True, run="second")
    assert accepted(sandbox) == 9


def test_row_function_that_changes_every_input_is_refused(sandbox: Sandbox) -> None:
    """A different or non-deterministic function raises an error instead of triggering every row again."""
    out = frame(3).eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"]})
    with pytest.raises(ef.ColumnError, match="none of the 3 rows"):
        out.eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"] + "!"})
    out.loc[0, "prompt"] = "new"
    out.eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"]})
    assert accepted(sandbox) == 4


def test_edited_row_that_another_run_accepted_is_refused(sandbox: Sandbox) -> None:
    """The guard finds the row in the other run; naming the frame's own run with `run=` sends it anyway."""
    pd.DataFrame({"prompt": ["new"]}).eachlabs.bulk_trigger(WF, INPUTS)
    out = frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    out.loc[0, "prompt"] = "new"
    own = out.attrs["eachlabs"]["run"]
    with pytest.raises(ef.RunError, match=f"run={own!r}, the frame's own run"):
        out.eachlabs.bulk_trigger(WF)
    assert prompts(sandbox, out.eachlabs.bulk_trigger(WF, run=own)) == ["new", "p1"]
    assert accepted(sandbox) == 4


def test_refresh_and_retry_work_on_an_edited_frame(sandbox: Sandbox) -> None:
    """A refresh polls the row's execution; a retry of a failed row sends its current input."""
    sandbox.change(failure_rate=1.0)
    out = frame(2).eachlabs.bulk_trigger(WF, INPUTS, wait=True)
    assert out["status"].tolist() == ["failed", "failed"]
    out.loc[0, "prompt"] = "new"
    refreshed = out.eachlabs.refresh()
    assert refreshed["execution_id"].tolist() == out["execution_id"].tolist()
    again = refreshed.eachlabs.retry_failed()
    assert prompts(sandbox, again) == ["new", "p1"]
    assert again.eachlabs.bulk_trigger(WF)["execution_id"].tolist() == again["execution_id"].tolist()
    assert accepted(sandbox) == 4


def test_reconcile_keeps_edited_rows_marked(sandbox: Sandbox) -> None:
    """An edited row stays marked, whether it has an execution or lost its response."""
    ef.configure(settle_window=0.05)
    sandbox.faults(Fault("error_before", at={2}))
    out = frame(20).eachlabs.bulk_trigger(WF, INPUTS, run="one", max_concurrency=1)
    assert out["status"].tolist()[10:] == ["unknown"] * 10
    out.loc[[0, 15], "prompt"] = "new"
    reconciled = out.eachlabs.reconcile()
    marked = reconciled.eachlabs.outputs()["error"].fillna("").str.endswith(sent_inputs.EDITED)
    assert marked[marked].index.tolist() == [0, 15]


def test_unreadable_checksums_in_attrs_are_ignored() -> None:
    """Anyone can write to `attrs`: a value that cannot be decoded counts as no checksums."""
    broken = pd.DataFrame({"prompt": ["a"]})
    for value in ("not base64!", "QUJD", 7, None):
        broken.attrs[sent_inputs.ATTRS] = {"": value}
        assert not sent_inputs.of(broken, "")
    broken.attrs[sent_inputs.ATTRS] = "text"
    assert not sent_inputs.of(broken, "")


# -- edited rows in outputs, views and downloads ---------------------------------------------------------------------


@pytest.fixture
def edited(sandbox: Sandbox) -> pd.DataFrame:
    """A completed result of three rows whose second prompt was edited afterwards."""
    out = frame(3).assign(sku=["a", "b", "c"]).eachlabs.bulk_trigger(WF, INPUTS, wait=True)
    out.loc[1, "prompt"] = "new"
    return out


def test_outputs_mark_edited_rows(edited: pd.DataFrame) -> None:
    """`outputs` notes that an edited row's output belongs to another input, until the row is sent again."""
    assert edited.eachlabs.outputs()["error"].fillna("").tolist() == ["", sent_inputs.EDITED, ""]
    refreshed = edited.eachlabs.refresh()
    assert refreshed.eachlabs.outputs()["error"].notna().tolist() == [False, True, False]
    again = edited.eachlabs.bulk_trigger(WF, wait=True)
    assert again.eachlabs.outputs()["error"].isna().all()


def test_views_mark_edited_rows(edited: pd.DataFrame, tmp_path: Path) -> None:
    """Gallery cards, matrix cells and dashboard rows are marked; the frame's own columns are unchanged."""
    cards = Cards(edited)
    errors = [card["error"] for card in cards.make(cards.outcomes())]
    assert errors == [None, sent_inputs.EDITED, None]
    view = Subscriber(lambda event: None, lambda: None)
    row_errors = [outcome.error for outcome in Calls(edited).outcomes(view, lambda: None)]
    assert row_errors == [None, sent_inputs.EDITED, None]
    edited.eachlabs.gallery().save(tmp_path / "sheet.html")
    assert (tmp_path / "sheet.html").read_text().count(sent_inputs.EDITED) == 1
    edited.eachlabs.matrix(rows="prompt", columns="sku").save(tmp_path / "grid.html")
    assert sent_inputs.EDITED in (tmp_path / "grid.html").read_text()
    assert edited["error"].isna().all()


def test_views_without_the_input_column_mark_nothing(edited: pd.DataFrame) -> None:
    """Without the prompt column an edit cannot be detected, so no row is marked."""
    reduced = edited.drop(columns="prompt")
    cards = Cards(reduced)
    assert [card["error"] for card in cards.make(cards.outcomes())] == [None] * 3
    assert reduced.eachlabs.outputs()["error"].isna().all()


def test_download_does_not_name_an_old_output_after_an_edited_prompt(edited: pd.DataFrame, tmp_path: Path) -> None:
    """The row gets no file and an error; with a name from unedited columns it gets a file and a note."""
    named = edited.eachlabs.download(tmp_path / "named", name="{prompt}")
    assert named["path"].notna().tolist() == [True, False, True]
    assert "edited after this execution was sent" in named["path_error"].iloc[1]
    assert not list((tmp_path / "named").glob("new*"))
    numbered = edited.eachlabs.download(tmp_path / "numbered", name="{sku}")
    assert numbered["path"].notna().all()
    assert numbered["path_error"].notna().tolist() == [False, True, False]
    again = edited.eachlabs.bulk_trigger(WF, wait=True).eachlabs.download(tmp_path / "named", name="{prompt}")
    assert again["path"].notna().all()
    assert again["path_error"].isna().all()
