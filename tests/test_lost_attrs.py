"""Results whose attrs were lost: their run, workflow and mapping are found in the journal, or nothing is guessed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.frames.calls import Calls
from eachlabs_frames.sandbox import Sandbox
from eachlabs_frames.views.common.source import Cards

from .waiting import until

WF = "wf_abc123"
INPUTS: dict[str, Any] = {"prompt": ef.template("A {animal} at dawn"), "style": ef.lit("ink"), "seed": "number"}


def animals(*names: str) -> pd.DataFrame:
    """Make rows whose columns are not the inputs' keys."""
    return pd.DataFrame({"animal": names, "number": range(len(names))})


def through_csv(frame: pd.DataFrame) -> pd.DataFrame:
    """Write a frame as CSV and read it again."""
    back: pd.DataFrame = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert back.attrs == {}
    return back


def failing(sandbox: Sandbox, *names: str) -> None:
    """Have the executions of some animals fail, and no others."""
    sandbox.change(fail_when=lambda inputs: any(name in inputs["prompt"] for name in names))


def in_place(out: pd.DataFrame, sandbox: Sandbox) -> bool:
    """Say whether each row has an execution that was given the row's own input."""
    given = {one.execution_id: one.inputs["prompt"] for one in sandbox.accepted}
    return [given[one] for one in out["execution_id"]] == [f"A {animal} at dawn" for animal in out["animal"]]


def test_failed_rows_of_a_csv_file_are_retried_in_their_run(sandbox: Sandbox) -> None:
    """With the mapping of before; a second retry from the same file takes over the first one's results, unpaid."""
    failing(sandbox, "heron", "owl")
    out = animals("fox", "heron", "owl").eachlabs.bulk_trigger(WF, INPUTS, run="birds", wait=True)
    assert out["status"].tolist() == ["completed", "failed", "failed"]
    failing(sandbox)
    back = through_csv(out.iloc[::-1])
    for _ in range(2):
        again = back.eachlabs.retry_failed(wait=True)
        assert again["status"].tolist() == ["completed"] * 3
        assert in_place(again, sandbox)
        assert sandbox.accepted_count() == 5
    assert again.attrs["eachlabs"]["run"] == "birds"
    assert ef.load_run("birds")["status"].tolist() == ["completed"] * 3
    assert ef.runs()["run"].tolist() == ["birds"]


def test_a_retry_in_place_is_written_into_the_frame(sandbox: Sandbox) -> None:
    """Which says again what it was triggered with."""
    failing(sandbox, "heron")
    back = through_csv(animals("fox", "heron").eachlabs.bulk_trigger(WF, INPUTS, run="birds", wait=True))
    failing(sandbox)
    back.eachlabs.retry_failed(inplace=True, wait=True)
    assert back["status"].tolist() == ["completed"] * 2
    assert back.attrs["eachlabs"]["run"] == "birds"


def test_views_show_the_inputs_that_were_sent(sandbox: Sandbox) -> None:
    """A card of a frame from a CSV file has the keys of the input, not the frame's columns; the views are made."""
    out = animals("fox", "heron").eachlabs.bulk_trigger(WF, INPUTS, wait=True)
    back = through_csv(out)
    cards = Cards(back)
    [card, _] = cards.make(cards.outcomes())
    assert dict(card["input"]) == {"prompt": "A fox at dawn", "style": "ink", "seed": "0"}
    assert back.eachlabs.gallery() is not None
    assert back.eachlabs.matrix("animal", "number").frame.shape == (2, 2)
    with pytest.raises(ef.ColumnError, match="number"):
        back.eachlabs.rate("number")


def test_a_dashboard_of_a_merge_refreshes_and_retries(sandbox: Sandbox) -> None:
    """It knows the run, and its buttons do what they do for the result itself."""
    sandbox.change(hold=True)
    out = animals("fox", "heron").eachlabs.bulk_trigger(WF, INPUTS, run="birds")
    merged = animals("heron", "fox")[["animal"]].merge(out, on="animal")
    assert merged.attrs == {}
    failing(sandbox, "heron")
    calls = Calls(merged)
    assert calls.head()["run"] == "birds"
    sandbox.set_status(out["execution_id"].iloc[0], "completed")
    sandbox.set_status(out["execution_id"].iloc[1], "failed")
    calls.refresh()
    until(lambda: calls.status == {"completed": 1, "failed": 1})
    sandbox.change(hold=False, fail_when=None)
    calls.retry([0, 1])
    until(lambda: calls.status == {"completed": 2})
    assert in_place(calls.frame, sandbox)
    assert sandbox.accepted_count() == 3


def test_rows_of_two_runs_are_refreshed_and_not_retried(sandbox: Sandbox) -> None:
    """One workflow is enough to look; to pay, each row's run must be known, also after the look."""
    failing(sandbox, "heron", "owl")
    first = animals("fox", "heron").eachlabs.bulk_trigger(WF, INPUTS, run="first")
    second = animals("owl", "crane").eachlabs.bulk_trigger(WF, INPUTS, run="second")
    both = pd.concat([second, first], ignore_index=True).eachlabs.wait()
    assert both["status"].tolist() == ["failed", "completed", "completed", "failed"]
    assert in_place(both, sandbox)
    for frame in (both, through_csv(both)):
        with pytest.raises(ef.ColumnError, match=r"2 runs \(2 of run 'second', 2 of run 'first'\)"):
            frame.eachlabs.retry_failed()
    assert sandbox.accepted_count() == 4


def test_rows_of_two_workflows_are_an_error(sandbox: Sandbox) -> None:
    """That names both, before anything is asked; what only shows results shows them."""
    sandbox.add_workflow("wf_other", output="text")
    one = animals("fox").eachlabs.bulk_trigger(WF, INPUTS, run="one", wait=True)
    other = animals("heron").eachlabs.bulk_trigger("wf_other", INPUTS, run="other", wait=True)
    both = pd.concat([one, other], ignore_index=True)
    asked = len(sandbox.requests)
    for call in (both.eachlabs.refresh, both.eachlabs.wait, both.eachlabs.retry_failed, both.eachlabs.reconcile):
        with pytest.raises(ef.ColumnError, match="different workflows, 'wf_abc123' and 'wf_other'"):
            call()
    calls = Calls(both)
    calls.refresh()
    assert "different workflows" in str(calls.head()["problem"])
    assert len(sandbox.requests) == asked
    cards = Cards(both)
    assert [dict(card["input"])["animal"] for card in cards.make(cards.outcomes())] == ["fox", "heron"]


def test_rows_that_the_journal_does_not_know_are_an_error(sandbox: Sandbox) -> None:
    """Of another journal, or a run that was deleted: they may be another workflow's."""
    both = pd.concat([animals(name).eachlabs.bulk_trigger(WF, INPUTS, run=name) for name in ("fox", "heron")])
    ef.delete_run("heron")
    with pytest.raises(ef.ColumnError, match="has 1 of its 2 sent rows"):
        both.eachlabs.refresh()
    assert both.eachlabs.wait(workflow_id=WF)["status"].tolist() == ["completed"] * 2


def test_without_a_journal_to_ask_it_says_what_to_name(sandbox: Sandbox, tmp_path: Path) -> None:
    """And where the rows are of another server, that they are."""
    back = through_csv(animals("fox").eachlabs.bulk_trigger(WF, INPUTS, run="fox"))
    with ef.sandbox.start(), pytest.raises(ef.ColumnError, match=r"restore it with configure\(base_url=...\)"):
        back.eachlabs.retry_failed()
    ef.configure(base_url=sandbox.base_url, journal=tmp_path / "none.sqlite")
    with pytest.raises(ef.ColumnError, match="is empty: pass workflow_id="):
        back.eachlabs.refresh()
    with pytest.warns(UserWarning, match="the journal is off"):
        ef.configure(journal=None)
    with pytest.raises(ef.ColumnError, match="is off: pass workflow_id="):
        back.eachlabs.retry_failed()


@pytest.mark.parametrize("call", ["refresh", "wait", "summary", "retry_failed", "reconcile", "outputs"])
def test_a_frame_that_was_never_triggered_is_told_so(call: str) -> None:
    """In one sentence; so is one of which no row was sent."""
    with pytest.raises(ef.ColumnError) as caught:
        getattr(animals("fox").eachlabs, call)()
    assert str(caught.value) == (
        "nothing was triggered from this frame: it has no column 'bulk_id', 'execution_id', 'status'; call "
        "bulk_trigger first"
    )


def test_a_result_of_which_no_row_was_sent_says_so(sandbox: Sandbox) -> None:
    """Nobody can know its run then."""
    out = through_csv(pd.DataFrame({"prompt": [None], "style": ["ink"]}).eachlabs.bulk_trigger(WF))
    with pytest.raises(ef.ColumnError, match="none is known to have been sent"):
        out.eachlabs.retry_failed()


def test_columns_that_are_not_those_of_before_are_not_sent(sandbox: Sandbox) -> None:
    """`load_run` has a column for each key: there, the mapping of before would put texts under wrong keys."""
    sandbox.add_workflow("wf_free")
    failing(sandbox, "heron", "fox")
    df = pd.DataFrame({"prompt": ["a fox", "a heron"], "caption": ["red", "grey heron, fox"]})
    df.eachlabs.bulk_trigger("wf_free", {"prompt": "caption", "caption": "prompt"}, run="crossed", wait=True)
    loaded = through_csv(ef.load_run("crossed"))
    with pytest.raises(ef.ColumnError, match="no row produces the input"):
        loaded.eachlabs.retry_failed()
    failing(sandbox)
    again = loaded.eachlabs.retry_failed(["prompt", "caption"], wait=True)
    assert again["status"].tolist() == ["completed"] * 2
    assert sandbox.accepted[-1].inputs == sandbox.accepted[1].inputs


def test_a_row_that_was_refused_is_no_ground_to_guess(sandbox: Sandbox) -> None:
    """It has no id, so it may be of any run; the run itself has it."""
    sandbox.add_workflow("wf_strict", input_schema={"type": "object", "required": ["prompt"]}, reject="request")
    out = animals("fox", "heron")
    out = out.eachlabs.bulk_trigger(
        "wf_strict", lambda row: {"prompt": row["animal"]} if row["number"] else {"x": 1}, validate=False, run="r"
    )
    assert out["status"].iloc[0] == "failed"
    with pytest.raises(ef.ColumnError, match="row 0 failed without an execution"):
        through_csv(out).eachlabs.retry_failed(["animal"])


def test_the_prefix_is_found_by_the_columns(sandbox: Sandbox) -> None:
    """Where there is one; of several, nobody knows which is meant."""
    out = animals("fox").eachlabs.bulk_trigger(WF, INPUTS, prefix="a_", wait=True)
    back = through_csv(out)
    assert back.eachlabs.refresh()["a_status"].tolist() == ["completed"]
    assert back.eachlabs.summary()["completed"].tolist() == [1]
    both = through_csv(out.eachlabs.bulk_trigger(WF, INPUTS, prefix="b_", retrigger=True))
    with pytest.raises(ef.ColumnError, match="pass prefix=, one of 'a_', 'b_'"):
        both.eachlabs.refresh()
    assert both.eachlabs.wait(prefix="b_")["b_status"].tolist() == ["completed"]
