"""What is not paid again unasked: a cell that is run twice, and the unchanged rows of an edited result frame."""

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
    """Make rows of different prompts."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(start, start + size)]})


def sent(sandbox: Sandbox) -> int:
    """Count what was paid."""
    return sandbox.accepted_count()


def prompts(sandbox: Sandbox, out: pd.DataFrame) -> list[Any]:
    """Return the prompt that each row's execution was made of."""
    inputs = {accepted.execution_id: accepted.inputs for accepted in sandbox.accepted}
    return [inputs[execution_id]["prompt"] for execution_id in out["execution_id"]]


# -- a cell that is run twice ----------------------------------------------------------------------------------------


def test_the_same_call_without_a_run_is_refused_before_anything_is_sent(sandbox: Sandbox) -> None:
    """The error says how many rows, when and in which run, and both ways on; the refused call leaves no run behind."""
    first = frame(12).eachlabs.bulk_trigger(WF, INPUTS)
    name = first.attrs["eachlabs"]["run"]
    with pytest.raises(ef.RunError, match=r"all 12 rows were accepted before .*UTC") as refused:
        frame(12).eachlabs.bulk_trigger(WF, INPUTS)
    assert sent(sandbox) == 12
    assert f"12 in run {name!r}" in str(refused.value)
    assert f"run={name!r} continues that run" in str(refused.value)
    assert "retrigger=True" in str(refused.value)
    assert ef.runs()["run"].tolist() == [name]


def test_both_ways_on_that_the_refusal_names_work(sandbox: Sandbox) -> None:
    """`run=` gives the executions back and pays nothing; `retrigger=True` pays again."""
    first = frame(3).eachlabs.bulk_trigger(WF, INPUTS)
    same = frame(3).eachlabs.bulk_trigger(WF, INPUTS, run=first.attrs["eachlabs"]["run"])
    assert same["execution_id"].tolist() == first["execution_id"].tolist()
    assert sent(sandbox) == 3
    again = frame(3).eachlabs.bulk_trigger(WF, INPUTS, retrigger=True)
    assert set(again["execution_id"]).isdisjoint(first["execution_id"])
    assert sent(sandbox) == 6


def test_some_repeated_rows_are_sent_with_a_warning_that_counts_them(sandbox: Sandbox) -> None:
    """It is given before the first request, and points at the caller's line."""
    frame(3).eachlabs.bulk_trigger(WF, INPUTS)
    with pytest.warns(UserWarning, match="3 of 5 rows were accepted before") as told:
        out = frame(5).eachlabs.bulk_trigger(WF, INPUTS)
    assert [Path(one.filename).name for one in told] == [Path(__file__).name]
    assert out["execution_id"].notna().all()
    assert sent(sandbox) == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="5 of 6"):
            frame(6).eachlabs.bulk_trigger(WF, INPUTS)
    assert sent(sandbox) == 8


@pytest.mark.slow
def test_a_restarted_process_is_refused_as_well(sandbox: Sandbox, tmp_path: Path) -> None:
    """Restart and run all is the same case: the journal knows what another process has sent."""
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
    assert sent(sandbox) == 3


def test_the_guard_holds_for_start_and_for_the_async_method(sandbox: Sandbox) -> None:
    """Whatever way the rows take, they are not paid again unasked."""
    import asyncio

    frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    with pytest.raises(ef.RunError, match="all 2 rows"):
        asyncio.run(frame(2).eachlabs.bulk_trigger_async(WF, INPUTS))
    with pytest.raises(ef.RunError, match="all 2 rows"):
        frame(2).eachlabs.start(WF, INPUTS).result()
    assert sent(sandbox) == 2


def test_what_is_another_call_is_not_refused(sandbox: Sandbox) -> None:
    """Another mapping, workflow, version, `na`, input or server is no rerun; nor is a call that names its run."""
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
    assert sent(sandbox) == 16


def test_a_workflow_is_the_same_by_its_slug_and_by_its_id(sandbox: Sandbox) -> None:
    """A version's UUID belongs to one workflow, whatever the call names it by."""
    workflow, version = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    sandbox.add_workflow(workflow, slug="fox-maker", versions=[Version(version)])
    frame(2).eachlabs.bulk_trigger("fox-maker", INPUTS)
    with pytest.raises(ef.RunError, match="all 2 rows were accepted before"):
        frame(2).eachlabs.bulk_trigger(workflow, INPUTS)
    assert sent(sandbox) == 2


def test_the_guard_can_be_turned_off_and_forgets_after_its_time(sandbox: Sandbox) -> None:
    """`rerun_guard=None` and a span that is over let the same call pass."""
    frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    assert ef.configure(rerun_guard=None).rerun_guard is None
    frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    ef.configure(rerun_guard=1e-9)
    frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    assert sent(sandbox) == 6


def test_repeats_within_a_frame_are_counted_by_occurrence(sandbox: Sandbox) -> None:
    """A sweep that asks for an input three times is no rerun of itself; beside one of before, one of three is."""
    pd.DataFrame({"prompt": ["a"]}).eachlabs.bulk_trigger(WF, INPUTS)
    with pytest.warns(UserWarning, match="1 of 3 rows was accepted before"):
        pd.DataFrame({"prompt": ["a", "a", "a"]}).eachlabs.bulk_trigger(WF, INPUTS)
    assert sent(sandbox) == 4


def test_occurrences_are_compared_with_those_of_before() -> None:
    """The k-th occurrence is a repeat where there were k before."""
    inputs = np.array([7, 5, 7, 7, 9], dtype=np.uint64)
    earlier = np.array([9, 7, 7, 3, 9], dtype=np.uint64)
    assert repeated(inputs, earlier).tolist() == [True, False, True, False, True]
    assert repeated(inputs, earlier[:0]).tolist() == [False] * 5
    assert repeated(inputs[:0], earlier).tolist() == []


def test_rows_without_an_answer_count_as_perhaps_billed(sandbox: Sandbox) -> None:
    """A row that was sent and never answered may have been accepted, so it is not sent again unasked."""
    ef.configure(settle_window=0.05)
    sandbox.faults(Fault("error_before", at={1}), Fault("error_before", on="list"))
    out = frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    assert out["status"].tolist() == ["unknown", "unknown"]
    with pytest.raises(ef.RunError, match=r"all 2 rows.*2 without a response so far, perhaps billed"):
        frame(2).eachlabs.bulk_trigger(WF, INPUTS)


def test_rows_that_a_call_at_work_is_about_to_send_count(sandbox: Sandbox) -> None:
    """The first request of a call in another thread is on its way; its other rows are not paid twice either."""
    sandbox.faults(Fault("silence", at={1}))
    run = frame(30).eachlabs.start(WF, INPUTS, max_concurrency=1)
    until(lambda: sandbox.accepted_count() > 0)
    try:
        with pytest.raises(ef.RunError, match=r"all 10 rows.*10 without a response so far, perhaps billed"):
            frame(10, start=20).eachlabs.bulk_trigger(WF, INPUTS)
    finally:
        run.cancel()
    assert sandbox.duplicates() == {}


def test_refused_rows_do_not_count(sandbox: Sandbox) -> None:
    """Rows that the balance did not suffice for were never accepted: only they are sent, in the run or beside it."""
    sandbox.change(balance_usd=0.10)
    frame(15).eachlabs.bulk_trigger(WF, INPUTS, max_concurrency=1)
    assert sent(sandbox) == 10
    sandbox.top_up(10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame(5, start=10).eachlabs.bulk_trigger(WF, INPUTS)
    assert sent(sandbox) == 15


def test_a_function_is_compared_by_the_inputs_that_it_makes(sandbox: Sandbox) -> None:
    """It cannot be written down; what it makes can be compared."""
    frame(2).eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"]})
    with pytest.raises(ef.RunError, match="all 2 rows"):
        frame(2).eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"]})
    frame(2).eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"] + "!"})
    assert sent(sandbox) == 4


def test_a_run_that_cannot_be_read_does_not_turn_the_guard_off(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """An unreadable answer leaves its rows perhaps billed; a run of which nothing can be read is left out."""
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
    assert sent(sandbox) == 4


def test_a_preview_says_what_was_accepted_before(sandbox: Sandbox) -> None:
    """Before the first cent: how many of the rows would be paid again."""
    assert "eachlabs_accepted_before" not in frame(3).eachlabs.preview(WF, INPUTS).attrs
    frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    assert frame(3).eachlabs.preview(WF, INPUTS).attrs["eachlabs_accepted_before"] == 2
    assert sent(sandbox) == 2


# -- an edited row of a result frame --------------------------------------------------------------------------------


def test_an_edited_row_of_a_result_is_a_new_row(sandbox: Sandbox) -> None:
    """It is sent, and the others are left alone, in whatever order the rows are."""
    out = frame(5).eachlabs.bulk_trigger(WF, INPUTS)
    out.loc[0, "prompt"] = "new"
    again = out.iloc[::-1].eachlabs.bulk_trigger(WF)
    assert sent(sandbox) == 6
    assert prompts(sandbox, again) == ["p4", "p3", "p2", "p1", "new"]
    assert again["execution_id"].tolist()[:4] == out["execution_id"].tolist()[:0:-1]
    once_more = again.eachlabs.bulk_trigger(WF)
    assert sent(sandbox) == 6
    assert once_more["execution_id"].tolist() == again["execution_id"].tolist()


def test_an_edit_that_is_taken_back_costs_nothing(sandbox: Sandbox) -> None:
    """The run still knows the execution of the old input; two rows that swap their inputs swap their executions."""
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
    assert sent(sandbox) == 4


@pytest.mark.filterwarnings("ignore:the journal is off")
def test_an_edit_is_known_without_a_journal(sandbox: Sandbox) -> None:
    """The frame knows by itself what its rows were sent with; nothing is asked where none was edited."""
    ef.configure(journal=None)
    out = frame(3).eachlabs.bulk_trigger(WF, INPUTS)
    before = len(sandbox.requests)
    assert out.eachlabs.bulk_trigger(WF)["execution_id"].tolist() == out["execution_id"].tolist()
    assert len(sandbox.requests) == before
    out.loc[1, "prompt"] = "new"
    again = out.eachlabs.bulk_trigger(WF)
    assert sent(sandbox) == 4
    assert prompts(sandbox, again) == ["p0", "new", "p2"]


@pytest.mark.filterwarnings("ignore:the journal is off")
def test_an_edit_does_not_make_another_row_look_edited(sandbox: Sandbox) -> None:
    """A large whole float is the same input, whatever the other rows are."""
    ef.configure(journal=None)
    options = pd.DataFrame({"prompt": ["p0", "p1"], "options": [{"scale": 1e16}, {"scale": 0.5}]})
    out = options.eachlabs.bulk_trigger(WF, ["prompt", "options"])
    out.at[1, "options"] = {"scale": 7.0}
    again = out.eachlabs.bulk_trigger(WF)
    assert sent(sandbox) == 3
    assert again.loc[0, "execution_id"] == out.loc[0, "execution_id"]


@pytest.mark.parametrize("through", ["parquet", "pickle", "copy", "load_run", "floats"])
def test_a_frame_that_was_stored_is_not_edited(sandbox: Sandbox, through: str) -> None:
    """A dtype that changed on the way makes no other input; an edit afterwards does."""
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
    assert sent(sandbox) == 4
    out["seed"] = [0, 1, 2, 99]
    out.eachlabs.bulk_trigger("free")
    assert sent(sandbox) == 5


def test_another_version_or_mapping_of_a_result_is_refused(sandbox: Sandbox) -> None:
    """As another workflow is, with both ways on; nothing is sent."""
    sandbox.add_workflow("two", versions=[Version("v1"), Version("v2")])
    out = frame(3).assign(style="noir").eachlabs.bulk_trigger("two", INPUTS, version_id="v1")
    calls: list[dict[str, Any]] = [{"version_id": "v2"}, {"inputs": ["prompt", "style"]}, {"na": "null"}]
    for call in calls:
        with pytest.raises(ef.ColumnError, match=r"made differently.*prefix=.*retrigger=True"):
            out.eachlabs.bulk_trigger("two", **call)
    assert sent(sandbox) == 3
    out.eachlabs.bulk_trigger("two", INPUTS, version_id="v2", prefix="second_")
    out.eachlabs.bulk_trigger("two", INPUTS, version_id="v2", retrigger=True, run="second")
    assert sent(sandbox) == 9


def test_a_function_that_gives_every_row_another_input_is_refused(sandbox: Sandbox) -> None:
    """It is another function, or one that never gives the same twice: nobody pays for every row once more unasked."""
    out = frame(3).eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"]})
    with pytest.raises(ef.ColumnError, match="none of the 3 rows"):
        out.eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"] + "!"})
    out.loc[0, "prompt"] = "new"
    out.eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"]})
    assert sent(sandbox) == 4


def test_an_edited_row_that_was_accepted_in_another_run_is_not_paid_unasked(sandbox: Sandbox) -> None:
    """The guard knows the other run; the frame's own run, named, sends it all the same."""
    pd.DataFrame({"prompt": ["new"]}).eachlabs.bulk_trigger(WF, INPUTS)
    out = frame(2).eachlabs.bulk_trigger(WF, INPUTS)
    out.loc[0, "prompt"] = "new"
    own = out.attrs["eachlabs"]["run"]
    with pytest.raises(ef.RunError, match=f"run={own!r}, the frame's own run"):
        out.eachlabs.bulk_trigger(WF)
    assert prompts(sandbox, out.eachlabs.bulk_trigger(WF, run=own)) == ["new", "p1"]
    assert sent(sandbox) == 4


def test_refresh_and_retry_keep_working_on_an_edited_frame(sandbox: Sandbox) -> None:
    """A look is at the execution that the row has; a retry of a failed row sends the input that it has now."""
    sandbox.change(failure_rate=1.0)
    out = frame(2).eachlabs.bulk_trigger(WF, INPUTS, wait=True)
    assert out["status"].tolist() == ["failed", "failed"]
    out.loc[0, "prompt"] = "new"
    looked = out.eachlabs.refresh()
    assert looked["execution_id"].tolist() == out["execution_id"].tolist()
    again = looked.eachlabs.retry_failed()
    assert prompts(sandbox, again) == ["new", "p1"]
    assert again.eachlabs.bulk_trigger(WF)["execution_id"].tolist() == again["execution_id"].tolist()
    assert sent(sandbox) == 4


def test_looking_for_lost_answers_does_not_take_an_edit_for_what_was_sent(sandbox: Sandbox) -> None:
    """Neither of a row with an execution nor of one without an answer: both stay marked."""
    ef.configure(settle_window=0.05)
    sandbox.faults(Fault("error_before", at={2}))
    out = frame(20).eachlabs.bulk_trigger(WF, INPUTS, run="one", max_concurrency=1)
    assert out["status"].tolist()[10:] == ["unknown"] * 10
    out.loc[[0, 15], "prompt"] = "new"
    looked = out.eachlabs.reconcile()
    marked = looked.eachlabs.outputs()["error"].fillna("").str.endswith(sent_inputs.EDITED)
    assert marked[marked].index.tolist() == [0, 15]


def test_checksums_in_attrs_are_small_and_anybodys_to_write() -> None:
    """16 characters a row; what cannot be read knows nothing."""
    broken = pd.DataFrame({"prompt": ["a"]})
    for value in ("not base64!", "QUJD", 7, None):
        broken.attrs[sent_inputs.ATTRS] = {"": value}
        assert not sent_inputs.of(broken, "")
    broken.attrs[sent_inputs.ATTRS] = "text"
    assert not sent_inputs.of(broken, "")


# -- what is shown of an edited row ----------------------------------------------------------------------------------


@pytest.fixture
def edited(sandbox: Sandbox) -> pd.DataFrame:
    """A result of three rows, the second of which was edited since."""
    out = frame(3).assign(sku=["a", "b", "c"]).eachlabs.bulk_trigger(WF, INPUTS, wait=True)
    out.loc[1, "prompt"] = "new"
    return out


def test_outputs_say_which_rows_were_edited(edited: pd.DataFrame) -> None:
    """The old output stands beside the new prompt, so its line says that it is of another input; until it is sent."""
    assert edited.eachlabs.outputs()["error"].fillna("").tolist() == ["", sent_inputs.EDITED, ""]
    looked = edited.eachlabs.refresh()
    assert looked.eachlabs.outputs()["error"].notna().tolist() == [False, True, False]
    again = edited.eachlabs.bulk_trigger(WF, wait=True)
    assert again.eachlabs.outputs()["error"].isna().all()


def test_views_say_which_rows_were_edited(edited: pd.DataFrame, tmp_path: Path) -> None:
    """A gallery's card, a matrix's cell and a dashboard's row; the frame's own columns stay as they were."""
    cards = Cards(edited)
    errors = [card["error"] for card in cards.make(cards.outcomes())]
    assert errors == [None, sent_inputs.EDITED, None]
    view = Subscriber(lambda event: None, lambda: None)
    said = [outcome.error for outcome in Calls(edited).outcomes(view, lambda: None)]
    assert said == [None, sent_inputs.EDITED, None]
    edited.eachlabs.gallery().save(tmp_path / "sheet.html")
    assert (tmp_path / "sheet.html").read_text().count(sent_inputs.EDITED) == 1
    edited.eachlabs.matrix(rows="prompt", columns="sku").save(tmp_path / "grid.html")
    assert sent_inputs.EDITED in (tmp_path / "grid.html").read_text()
    assert edited["error"].isna().all()


def test_views_of_a_frame_without_the_column_of_its_inputs_claim_nothing(edited: pd.DataFrame) -> None:
    """Where the prompt was dropped nobody knows whether it was edited."""
    short = edited.drop(columns="prompt")
    cards = Cards(short)
    assert [card["error"] for card in cards.make(cards.outcomes())] == [None] * 3
    assert short.eachlabs.outputs()["error"].isna().all()


def test_a_download_never_names_an_old_picture_by_a_new_prompt(edited: pd.DataFrame, tmp_path: Path) -> None:
    """Such a row has no file, and says why; by another name it has, with a note."""
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
