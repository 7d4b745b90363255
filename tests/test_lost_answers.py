"""Lost responses, through the whole call: searched for, adopted, given up, searched for again, sent again."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

WF = "wf_abc123"


def frame(size: int) -> pd.DataFrame:
    """Make rows of different prompts."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(size)]})


def triggers(sandbox: Sandbox) -> int:
    """Count the bulk triggers that were sent."""
    return sum(request.route == "trigger" for request in sandbox.requests)


def in_place(out: pd.DataFrame, sandbox: Sandbox) -> bool:
    """Say whether each execution is in the row whose input it was given."""
    given = {record.execution_id: record.inputs["prompt"] for record in sandbox.accepted}
    known = out[out["execution_id"].notna()]
    return [given[one] for one in known["execution_id"]] == known["prompt"].tolist()


@pytest.mark.parametrize(
    "kind", ["lost_answer", "error_after", "cut_short", "garbage", "too_few", "too_many", "no_ids"]
)
@pytest.mark.parametrize("inputs", [True, False], ids=["listed inputs", "inputs in the details alone"])
def test_executions_of_a_lost_request_are_adopted(sandbox: Sandbox, kind: str, inputs: bool) -> None:
    """With its ids, in its rows; nothing is sent again."""
    ef.configure(settle_window=5.0)
    sandbox.change(listing_inputs=inputs)
    sandbox.faults(Fault(kind, at={2, 3}))
    out = frame(40).eachlabs.bulk_trigger(WF, run="one", max_concurrency=2)
    assert out["execution_id"].notna().all()
    assert out["error"].isna().all()
    assert out["execution_id"].is_unique
    assert in_place(out, sandbox)
    assert triggers(sandbox) == 4
    assert ef.load_run("one")["execution_id"].tolist() == out["execution_id"].tolist()


def test_a_clock_that_is_wrong_is_no_reason_to_lose_a_row(sandbox: Sandbox) -> None:
    """The API's clock may be ahead or behind: its Date header says by how much."""
    ef.configure(rerun_guard=None)
    ef.configure(settle_window=5.0)
    for skew in (-3600.0, 3600.0):
        sandbox.reset()
        sandbox.change(clock_skew=skew)
        sandbox.faults(Fault("lost_answer", at={1}))
        out = frame(10).eachlabs.bulk_trigger(WF)
        assert out["execution_id"].notna().all(), skew


def test_identical_batches_are_distinguished_by_count(sandbox: Sandbox) -> None:
    """Of four equal batches two are lost, one of them after it took effect: ten rows are found, ten stay unknown."""
    ef.configure(settle_window=0.5)
    sandbox.faults(Fault("lost_answer", at={1}), Fault("error_before", at={2}))
    same = pd.DataFrame({"prompt": ["same"] * 40})
    out = same.eachlabs.bulk_trigger(WF, max_concurrency=1)
    assert sandbox.accepted_count() == 30
    assert out["execution_id"].dropna().is_unique
    assert out["execution_id"].notna().sum() == 30
    assert (out["status"] == "unknown").sum() == 10


def test_a_listing_that_cannot_be_read_leaves_the_claim_open(sandbox: Sandbox) -> None:
    """A search that could not be made is no proof: the next call of the run searches, and finds."""
    ef.configure(settle_window=0.5)
    sandbox.faults(Fault("lost_answer", at={1}), Fault("forbidden", on="list"))
    out = frame(10).eachlabs.bulk_trigger(WF, run="one")
    assert out["status"].tolist() == ["unknown"] * 10
    assert "403" in out.loc[0, "error"]
    sandbox.faults()
    again = frame(10).eachlabs.bulk_trigger(WF, run="one")
    assert again["execution_id"].notna().all()
    assert triggers(sandbox) == 1


def looks(sandbox: Sandbox) -> int:
    """Count the pages of listings that were read."""
    return sum(request.route == "list" for request in sandbox.requests)


def test_a_request_not_found_is_searched_for_again_by_the_same_call(sandbox: Sandbox) -> None:
    """With one request, and no wait; it stays unknown, for the same reason, and is not sent."""
    ef.configure(settle_window=0.2)
    sandbox.faults(Fault("error_before", at={1}))
    out = frame(10).eachlabs.bulk_trigger(WF, run="one")
    assert out["status"].tolist() == ["unknown"] * 10
    assert "not found in the workflow's listing within 0.2 s" in out.loc[0, "error"]
    ef.configure(settle_window=300.0)
    before = looks(sandbox)
    again = frame(10).eachlabs.bulk_trigger(WF, run="one")
    assert again["status"].tolist() == ["unknown"] * 10
    assert again.loc[0, "error"].startswith(out.loc[0, "error"])
    assert looks(sandbox) == before + 1
    assert triggers(sandbox) == 1
    third = frame(10).eachlabs.bulk_trigger(WF, run="one")
    assert third["error"].tolist() == again["error"].tolist()


@pytest.mark.parametrize("rows", [10, 12])
def test_what_the_listing_shows_later_is_adopted_by_the_same_call(sandbox: Sandbox, rows: int) -> None:
    """Without reconcile(): beside rows that are new, or alone; in the frame and in the journal."""
    ef.configure(settle_window=0.2)
    sandbox.change(listing_lag=math.inf)
    sandbox.faults(Fault("lost_answer", at={1}))
    out = frame(10).eachlabs.bulk_trigger(WF, run="one")
    assert out["status"].tolist() == ["unknown"] * 10
    sandbox.change(listing_lag=0.0)
    before = looks(sandbox)
    again = frame(rows).eachlabs.bulk_trigger(WF, run="one")
    assert again["execution_id"].notna().all()
    assert in_place(again, sandbox)
    assert looks(sandbox) <= before + 2
    assert sandbox.duplicates() == {}
    assert ef.load_run("one")["execution_id"].tolist() == again["execution_id"].tolist()


def test_resend_sends_only_rows_that_were_not_found(sandbox: Sandbox) -> None:
    """Of two lost batches the one that took effect is adopted, and the other is sent once more."""
    ef.configure(settle_window=0.3)
    sandbox.faults(Fault("lost_answer", at={1}), Fault("error_before", at={2}))
    out = frame(30).eachlabs.bulk_trigger(WF, max_concurrency=1, on_unknown="resend")
    assert out["execution_id"].notna().all()
    assert sandbox.duplicates() == {}
    assert triggers(sandbox) == 4
    assert in_place(out, sandbox)


def test_resend_in_a_later_call_searches_again_first(sandbox: Sandbox) -> None:
    """What the listing shows by then is adopted, not paid again."""
    ef.configure(settle_window=0.2)
    sandbox.change(listing_lag=math.inf)
    sandbox.faults(Fault("lost_answer", at={1}), Fault("error_before", at={2}))
    first = frame(20).eachlabs.bulk_trigger(WF, run="one", max_concurrency=1)
    assert first["status"].tolist() == ["unknown"] * 20
    sandbox.change(listing_lag=0.0)
    second = frame(20).eachlabs.bulk_trigger(WF, run="one", on_unknown="resend")
    assert second["execution_id"].notna().all()
    assert sandbox.duplicates() == {}
    assert triggers(sandbox) == 3


def test_a_row_lost_twice_is_searched_for_and_not_sent_a_third_time(sandbox: Sandbox) -> None:
    """One more try was requested."""
    ef.configure(rerun_guard=None)
    ef.configure(settle_window=0.3)
    sandbox.faults(Fault("error_before", at={1}), Fault("lost_answer", at={2}))
    out = frame(10).eachlabs.bulk_trigger(WF, on_unknown="resend")
    assert out["execution_id"].notna().all()
    sandbox.reset()
    sandbox.faults(Fault("error_before"))
    out = frame(10).eachlabs.bulk_trigger(WF, on_unknown="resend")
    assert out["status"].tolist() == ["unknown"] * 10
    assert triggers(sandbox) == 2


def test_nothing_is_sent_again_without_a_complete_search(sandbox: Sandbox) -> None:
    """`on_unknown="resend"` pays twice only where the listing was read to the end."""
    ef.configure(settle_window=0.2)
    sandbox.faults(Fault("lost_answer", at={1}), Fault("forbidden", on="list"))
    out = frame(10).eachlabs.bulk_trigger(WF, on_unknown="resend")
    assert out["status"].tolist() == ["unknown"] * 10
    assert triggers(sandbox) == 1


@pytest.mark.parametrize("on_unknown", ["again", None, True])
def test_an_invalid_on_unknown_is_refused(sandbox: Sandbox, on_unknown: object) -> None:
    """The error says what each word means."""
    with pytest.raises(ef.ConfigurationError, match="on_unknown must be 'keep'"):
        frame(2).eachlabs.bulk_trigger(WF, on_unknown=on_unknown)
    assert triggers(sandbox) == 0


def test_reconcile_finds_later_what_a_lagging_listing_did_not_show(sandbox: Sandbox) -> None:
    """It sends nothing, leaves every other row as it is, and the run knows what was found."""
    ef.configure(settle_window=0.2)
    sandbox.change(listing_lag=math.inf)
    sandbox.faults(Fault("lost_answer", at={2}))
    out = frame(30).eachlabs.bulk_trigger(WF, run="one", max_concurrency=1)
    assert (out["status"] == "unknown").sum() == 10
    same = out.eachlabs.reconcile()
    assert same["status"].tolist() == out["status"].tolist()
    sandbox.change(listing_lag=0.0)
    found = out.sort_index(ascending=False).eachlabs.reconcile()
    assert found["execution_id"].notna().all()
    assert in_place(found, sandbox)
    assert triggers(sandbox) == 3
    assert ef.load_run("one")["execution_id"].notna().all()
    kept = out[out["execution_id"].notna()]
    assert found.loc[kept.index, "execution_id"].tolist() == kept["execution_id"].tolist()


def test_reconcile_works_on_a_loaded_run(sandbox: Sandbox) -> None:
    """After a crash nothing else is there."""
    ef.configure(settle_window=0.2)
    sandbox.change(listing_lag=math.inf)
    sandbox.faults(Fault("lost_answer", at={1}))
    rows = pd.DataFrame({"animal": [f"fox {row}" for row in range(10)]})
    rows.eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["animal"].upper()}, run="one")
    sandbox.change(listing_lag=0.0)
    found = ef.load_run("one").eachlabs.reconcile()
    assert found["execution_id"].notna().all()
    assert in_place(found, sandbox)


def test_reconcile_refuses_a_frame_that_belongs_to_no_run(sandbox: Sandbox) -> None:
    """It is not known when its rows were sent. A frame that has lost its attrs is found by its ids."""
    out = frame(2).eachlabs.bulk_trigger(WF)
    out.attrs.clear()
    assert out.eachlabs.reconcile()["execution_id"].tolist() == out["execution_id"].tolist()
    with pytest.warns(UserWarning, match="the journal is off"):
        ef.configure(journal=None)
    with pytest.raises(ef.ColumnError, match="attrs"):
        out.eachlabs.reconcile()
    with pytest.raises(ef.ColumnError, match="call bulk_trigger first"):
        frame(2).eachlabs.reconcile()


def test_the_search_does_not_hold_up_the_sending(sandbox: Sandbox) -> None:
    """The first of twenty batches is lost for good: the others are all taken before it is given up."""
    ef.configure(settle_window=1.0)
    sandbox.faults(Fault("error_before", at={1}))
    seen: list[tuple[int, int]] = []
    frame(200).eachlabs.bulk_trigger(
        WF, max_concurrency=2, progress=lambda event: seen.append((event.accepted, event.tally.get("unknown", 0)))
    )
    assert seen[-1] == (190, 10)
    assert triggers(sandbox) == 20


def test_lost_responses_are_searched_for_without_a_journal(sandbox: Sandbox) -> None:
    """Within the call, which remembers what it has sent."""
    with pytest.warns(UserWarning, match="journal is off"):
        ef.configure(journal=None, settle_window=5.0)
    sandbox.faults(Fault("lost_answer", at={1}), Fault("error_before", at={2}))
    ef.configure(settle_window=0.3)
    out = frame(30).eachlabs.bulk_trigger(WF, max_concurrency=1, on_unknown="resend")
    assert out["execution_id"].notna().all()
    assert sandbox.duplicates() == {}


# -- answers that are about something else -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"run": "one"}, {}, {"run": "one", "max_concurrency": 1}])
def test_another_posts_answer_is_a_lost_answer(sandbox: Sandbox, options: dict[str, Any]) -> None:
    """A proxy that mixes up responses gives no row another row's execution: its own are searched for."""
    ef.configure(settle_window=5.0)
    sandbox.faults(Fault("replayed", at={2, 4}))
    out = frame(40).eachlabs.bulk_trigger(WF, **options)
    assert out["execution_id"].notna().all()
    assert out["execution_id"].is_unique
    assert in_place(out, sandbox)
    assert triggers(sandbox) == 4
    run = out.attrs["eachlabs"]["run"]
    assert ef.load_run(run)["execution_id"].tolist() == out["execution_id"].tolist()


def test_an_answer_to_an_earlier_call_of_the_run_is_a_lost_answer(sandbox: Sandbox) -> None:
    """Also where the rows that have those executions are not in the frame."""
    ef.configure(settle_window=5.0)
    frame(10).eachlabs.bulk_trigger(WF, run="one")
    sandbox.faults(Fault("replayed", at={1}))
    more = frame(20)[10:].eachlabs.bulk_trigger(WF, run="one")
    assert in_place(more, sandbox)
    assert more["execution_id"].notna().all()
    assert ef.load_run("one")["execution_id"].is_unique


@pytest.mark.parametrize("together", [True, False], ids=["waiting call", "later wait"])
def test_permuted_entries_are_put_right_by_the_listings_inputs(sandbox: Sandbox, together: bool) -> None:
    """Outputs, ids and costs are those of the row's own input, in the frame and in the journal, and paid once."""
    sandbox.faults(Fault("permuted"))
    out = frame(40).eachlabs.bulk_trigger(WF, run="one", wait=together)
    out = out if together else out.eachlabs.wait()
    assert out["status"].tolist() == ["completed"] * 40
    assert in_place(out, sandbox)
    assert all(known in output for known, output in zip(out["execution_id"], out["output"], strict=True))
    loaded = ef.load_run("one")
    for column in ("execution_id", "status", "output", "bulk_id"):
        assert loaded[column].tolist() == out[column].tolist(), column
    assert ef.runs().loc[0, ["executions", "cost"]].tolist() == [40, pytest.approx(0.4)]
    assert out.attrs["eachlabs"]["superseded"] == 0
    assert frame(40).eachlabs.bulk_trigger(WF, run="one")["execution_id"].tolist() == out["execution_id"].tolist()
    assert sandbox.accepted_count() == 40


def test_details_of_another_execution_get_into_no_row(sandbox: Sandbox) -> None:
    """Rows whose details never come right are unknown or have what the listing says; none has another's result."""
    sandbox.add_workflow("wf_lists", output=lambda inputs: [inputs["prompt"]])
    sandbox.faults(Fault("replayed", on="details"))
    out = frame(10).eachlabs.bulk_trigger("wf_lists", run="one", max_concurrency=1, wait=True)
    known = out[out["output"].notna()]
    assert [output[0] for output in known["output"]] == known["prompt"].tolist()
    assert len(known) <= 1
    assert out["error"].isna().sum() == len(known)
    assert in_place(out, sandbox)


@pytest.mark.parametrize("kind", ["not_found", "gone", "forbidden", "bad_request"])
def test_an_execution_that_cannot_be_read_ends_no_wait(sandbox: Sandbox, kind: str) -> None:
    """Its row says so, the others have their results."""
    sandbox.add_workflow("wf_lists", output=lambda inputs: [inputs["prompt"]])
    out = frame(10).eachlabs.bulk_trigger("wf_lists", run="one")
    sandbox.faults(Fault(kind, on="details", execution_id=out.loc[3, "execution_id"]))
    done = out.eachlabs.wait()
    assert done["output"].isna().tolist() == [row == 3 for row in range(10)]
    assert done["error"].notna().tolist() == [row == 3 for row in range(10)]


def test_executions_that_retention_removed_settle_their_rows(sandbox: Sandbox) -> None:
    """They are in no listing, and their details are a 404: unknown, with that reason."""
    sandbox.change(hold=True)
    out = frame(20).eachlabs.bulk_trigger(WF, run="one")
    sandbox.expire(out.loc[3, "execution_id"], out.loc[13, "execution_id"])
    sandbox.release()
    done = out.eachlabs.wait()
    assert done["status"].value_counts().to_dict() == {"completed": 18, "unknown": 2}
    assert done.loc[[3, 13], "error"].tolist() == ["the API no longer has this execution"] * 2
