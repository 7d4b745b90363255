"""Tests of `refresh`, `wait`, `summary`, `attach` and `preview` with the sandbox."""

from __future__ import annotations

import html
import json
import math
import os
import sqlite3
import uuid
import warnings
from collections import Counter
from contextlib import closing
from typing import Any, ClassVar

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

WF = "wf_abc123"


def frame(rows: int) -> pd.DataFrame:
    """Return a frame with a different prompt in each row."""
    return pd.DataFrame({"prompt": [f"a heron, number {row}" for row in range(rows)]})


def test_a_row_goes_from_queued_to_running_to_completed() -> None:
    """Each refresh reads the current status."""
    with ef.sandbox.start(queue_seconds=0, hold=True) as sandbox:
        out = frame(3).eachlabs.bulk_trigger(WF)
        assert out["status"].tolist() == ["queued"] * 3
        out = out.eachlabs.refresh()
        assert out["status"].tolist() == ["running"] * 3
        assert out["started_at"].notna().all()
        assert out["completed_at"].isna().all()
        sandbox.release(1)
        out = out.eachlabs.refresh()
        assert out["status"].tolist() == ["completed", "running", "running"]
        assert out["output"].notna().tolist() == [True, False, False]
        sandbox.release()
        out = out.eachlabs.wait()
        assert out["status"].tolist() == ["completed"] * 3
        assert (out["completed_at"] >= out["started_at"]).all()


def test_a_settled_frame_sends_no_request(sandbox: Sandbox) -> None:
    """Neither `refresh` nor `wait` sends one."""
    out = frame(3).eachlabs.bulk_trigger(WF, wait=True)
    before = len(sandbox.requests)
    out.eachlabs.refresh()
    out.eachlabs.wait()
    assert len(sandbox.requests) == before


def test_a_wait_timeout_returns_the_frame_with_a_warning() -> None:
    """The warning gives the number of open rows."""
    with ef.sandbox.start(hold=True, queue_seconds=0):
        out = frame(3).eachlabs.bulk_trigger(WF)
        with pytest.warns(ef.UnsettledWarning, match="3 of 3 rows are still open after 0.1 s") as caught:
            out = out.eachlabs.wait(timeout=0.1)
        assert caught[0].filename == __file__
        assert out["status"].tolist() == ["running"] * 3


def test_wait_continues_after_failed_polls(sandbox: Sandbox) -> None:
    """The server fails for three polls."""
    out = frame(15).eachlabs.bulk_trigger(WF)
    sandbox.faults(Fault("error_before", on="list", at={1, 2}), Fault("dropped", on="list", at={3}))
    out = out.eachlabs.wait()
    assert out["status"].tolist() == ["completed"] * 15


def test_a_failed_row_has_the_reason(sandbox: Sandbox) -> None:
    """The reason is read from the details, because the listing does not have it."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"].endswith("1"))
    out = frame(3).eachlabs.bulk_trigger(WF, wait=True)
    assert out["status"].tolist() == ["completed", "failed", "completed"]
    assert len(out.loc[1, "error"]) > 5
    assert pd.isna(out.loc[0, "error"])
    assert out.loc[1, "output"] is None


@pytest.mark.parametrize(
    ("workflow", "inputs", "kind"), [("wf_text", {"prompt": "prompt"}, dict), ("wf_images", {"prompt": "prompt"}, list)]
)
def test_outputs_keep_their_json_type(sandbox: Sandbox, workflow: str, inputs: Any, kind: type) -> None:
    """An object comes from the listing, a list from the details."""
    out = frame(3).eachlabs.bulk_trigger(workflow, inputs, wait=True)
    assert {type(output) for output in out["output"]} == {kind}


def test_a_cost_object_becomes_a_number(sandbox: Sandbox) -> None:
    """The number is in USD."""
    sandbox.change(cost_shape="object")
    assert frame(2).eachlabs.bulk_trigger(WF, wait=True)["cost"].tolist() == [0.01, 0.01]


def test_an_unknown_status_is_shown_and_counted(sandbox: Sandbox) -> None:
    """`summary` has a column for it."""
    sandbox.change(hold=True)
    out = frame(2).eachlabs.bulk_trigger(WF)
    sandbox.set_status(out.loc[0, "execution_id"], "rebalancing")
    sandbox.set_status(out.loc[1, "execution_id"], "cancelled")
    out = out.eachlabs.refresh()
    assert out["status"].tolist() == ["rebalancing", "cancelled"]
    assert out.eachlabs.summary()[["total", "cancelled", "rebalancing"]].values.tolist() == [[2, 1, 1]]


def test_lost_attrs_are_replaced_by_workflow_id(sandbox: Sandbox) -> None:
    """A merge drops attrs; if the journal has no such run either, `workflow_id=` sets the workflow again."""
    out = frame(3).eachlabs.bulk_trigger(WF)
    ef.delete_run(out.attrs["eachlabs"]["run"])
    out.attrs.clear()
    with pytest.raises(ef.ColumnError, match="pass workflow_id="):
        out.eachlabs.refresh()
    out = out.eachlabs.refresh(workflow_id=WF)
    assert out.eachlabs.wait()["status"].tolist() == ["completed"] * 3


def test_passing_the_known_workflow_id_keeps_the_attrs(sandbox: Sandbox) -> None:
    """The mapping stays available for `retry_failed`."""
    out = frame(2).eachlabs.bulk_trigger(WF, ["prompt"], na="null")
    again = out.eachlabs.refresh(workflow_id=WF)
    assert again.attrs["eachlabs"] == out.attrs["eachlabs"]


@pytest.mark.parametrize("method", ["refresh", "wait", "summary"])
def test_a_frame_without_results_is_refused(method: str) -> None:
    """The error suggests `bulk_trigger`."""
    with pytest.raises(ef.ColumnError, match=r"nothing was triggered.*bulk_trigger"):
        getattr(frame(2).eachlabs, method)()


def test_the_summary_has_a_line_per_bulk_and_a_count_per_status(sandbox: Sandbox) -> None:
    """Lines are in the order of first appearance; rows without a bulk_id have a line of their own."""
    df = frame(25)
    df.loc[24, "prompt"] = None
    summary = df.eachlabs.bulk_trigger(WF, wait=True).eachlabs.summary()
    assert list(summary.columns) == ["bulk_id", "total", *ef.models.STATUSES, "superseded", "cost"]
    assert summary["total"].tolist() == [10, 10, 4, 1]
    assert summary["completed"].tolist() == [10, 10, 4, 0]
    assert summary["invalid"].tolist() == [0, 0, 0, 1]
    assert summary["bulk_id"].isna().tolist() == [False, False, False, True]
    assert summary["superseded"].tolist() == [0, 0, 0, 0]
    assert summary["cost"].fillna(-1).tolist() == pytest.approx([0.1, 0.1, 0.04, -1])
    assert {str(dtype) for dtype in summary.dtypes[1:-1]} == {"int64"}


@pytest.mark.slow
def test_ten_thousand_open_rows_cost_at_most_110_requests_a_poll() -> None:
    """Over a real socket, with a listing of 100 executions a page."""
    with ef.sandbox.start(hold=True, queue_seconds=0) as sandbox:
        out = frame(10_000).eachlabs.bulk_trigger(WF, max_concurrency=16, validate=False, version_id="v2")
        before = len(sandbox.requests)
        out = out.eachlabs.refresh()
        assert len(sandbox.requests) - before <= 110
        assert out["status"].tolist() == ["running"] * 10_000


def test_executions_that_are_never_listed_do_not_block_wait(sandbox: Sandbox) -> None:
    """After three polls without them, their details are requested."""
    sandbox.change(listing_lag=math.inf)
    out = frame(2).eachlabs.bulk_trigger(WF, wait=True)
    assert out["status"].tolist() == ["completed"] * 2
    assert Counter(record.route for record in sandbox.requests)["details"] == 2


def test_an_execution_removed_by_retention_becomes_unknown_and_is_not_resent(sandbox: Sandbox) -> None:
    """Only after the journal says that it was sent long ago. It was paid, so no call sends it again."""
    sandbox.change(hold=True)
    out = frame(3).eachlabs.bulk_trigger(WF, run="one")
    sandbox.expire(out.loc[1, "execution_id"])
    out = out.eachlabs.refresh()
    assert out["status"].tolist() == ["running", "queued", "running"]
    with closing(sqlite3.connect(os.environ["EACHLABS_JOURNAL"])) as connection, connection:
        connection.execute("UPDATE records SET at = at - 172800000000000")
    out = out.eachlabs.refresh()
    assert out["status"].tolist() == ["running", "unknown", "running"]
    assert out.loc[1, "error"] == "the API no longer has this execution"
    again = out.eachlabs.bulk_trigger(WF, run="one", on_unknown="resend")
    assert again["execution_id"].tolist() == out["execution_id"].tolist()
    out.eachlabs.retry_failed()
    out.eachlabs.reconcile()
    out.eachlabs.bulk_trigger(WF, on_unknown="resend")
    with pytest.warns(UserWarning, match="the journal is off"):
        ef.configure(journal=False)
    out.eachlabs.bulk_trigger(WF, on_unknown="resend")
    out.eachlabs.retry_failed()
    assert len(sandbox.accepted) == 3


@pytest.mark.parametrize(("workflow", "kind"), [(WF, str), ("wf_text", dict), ("wf_images", list)])
def test_the_details_alone_give_output_and_cost(sandbox: Sandbox, workflow: str, kind: type) -> None:
    """An execution that is never listed gets the same columns as a listed one."""
    listed = frame(2).eachlabs.bulk_trigger(workflow, wait=True)
    sandbox.change(listing_lag=math.inf)
    out = frame(2).eachlabs.bulk_trigger(workflow, retrigger=True, wait=True)
    assert [type(output) for output in out["output"]] == [type(output) for output in listed["output"]] == [kind] * 2
    assert out["cost"].tolist() == listed["cost"].tolist() == [0.01] * 2


def test_attach_returns_a_frame_of_an_existing_bulk_operation(sandbox: Sandbox) -> None:
    """The frame has the inputs and results, and can be refreshed."""
    out = frame(7).eachlabs.bulk_trigger(WF)
    other = ef.attach(out.loc[0, "bulk_id"], WF)
    assert sorted(other["execution_id"]) == sorted(out["execution_id"])
    assert other["prompt"].tolist() == out["prompt"].tolist()
    by_id = dict(zip(out["execution_id"], out["prompt"], strict=True))
    assert [by_id[execution_id] for execution_id in other["execution_id"]] == other["prompt"].tolist()
    assert other["status"].tolist() == ["completed"] * 7
    assert other["output"].notna().all()
    assert len(other.eachlabs.refresh()) == 7


def test_attach_with_an_input_named_like_a_result_column_needs_a_prefix(sandbox: Sandbox) -> None:
    """As for any frame with such a column."""
    df = pd.DataFrame({"text": ["x"]})
    out = df.eachlabs.bulk_trigger("wf_free", {"status": "text"})
    with pytest.raises(ef.ColumnError, match="'status'"):
        ef.attach(out.loc[0, "bulk_id"], "wf_free")
    other = ef.attach(out.loc[0, "bulk_id"], "wf_free", prefix="r_")
    assert (other.loc[0, "status"], other.loc[0, "r_status"]) == ("x", "completed")


@pytest.mark.parametrize(
    ("bulk_id", "error", "message"),
    [
        ("nope", ef.ConfigurationError, "must be a UUID"),
        (None, ef.ConfigurationError, "must be a UUID"),
        (str(uuid.UUID(int=5)), ef.NotFoundError, "no executions with bulk_id"),
    ],
)
def test_attach_to_an_unknown_bulk_operation_is_refused(
    sandbox: Sandbox, bulk_id: Any, error: Any, message: str
) -> None:
    """No request is sent for a bulk_id that is not a UUID."""
    with pytest.raises(error, match=message):
        ef.attach(bulk_id, WF)


def test_preview_needs_neither_key_nor_network() -> None:
    """Without a workflow it shows payloads and values that cannot be encoded."""
    df = pd.DataFrame({"prompt": ["a fox", None, "b"], "extra": [1.5, 2, float("inf")]}, index=["x", "y", "y"])
    shown = df.eachlabs.preview()
    assert shown.index.tolist() == ["x", "y", "y"]
    assert shown["payload"].tolist() == [{"prompt": "a fox", "extra": 1.5}, {"extra": 2.0}, None]
    assert shown["problem"].isna().tolist() == [True, True, False]
    assert shown["problem"].iloc[2] == "column 'extra': inf is not a JSON number"
    assert df.eachlabs.preview(na="null")["payload"].iloc[1] == {"prompt": None, "extra": 2.0}


def test_preview_validates_against_the_schema_and_triggers_nothing(sandbox: Sandbox) -> None:
    """It selects the columns of the schema and shows the validator's messages."""
    df = pd.DataFrame({"prompt": ["a fox", "b"], "seed": [1.0, -1.0], "note": ["x", "y"]})
    shown = df.eachlabs.preview(WF)
    assert shown["payload"].tolist() == [{"prompt": "a fox", "seed": 1}, {"prompt": "b", "seed": -1}]
    assert shown["problem"].iloc[1].startswith("seed: -1")
    assert {record.method for record in sandbox.requests} == {"GET"}


def test_preview_notes_columns_that_are_not_sent_and_suggests_names(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """It also notes the most common problem; a call that triggers logs the same notes."""
    df = pd.DataFrame({"prompt": ["a fox", "b", "c", None], "seed": [1, -1, -2, 3], "styel": "noir", "id": 1, "x": 2})
    notes = df.eachlabs.preview(WF).attrs["eachlabs_notes"]
    assert notes == [
        "'styel' is not sent; did you mean 'style'?",
        "columns that are not sent: 'id', 'x'",
        "3 rows have a problem: seed: -1 is less than the minimum of 0 (the most common reason, of 2 rows), "
        "as in row 1",
    ]
    mapped = df.eachlabs.preview("wf_images", {"prompt": "prompt", "aspect_ration": ef.lit("1:1")}, version_id="v1")
    assert mapped.attrs["eachlabs_notes"][0] == (
        "'aspect_ration' is sent, but the workflow's schema has no such key; did you mean 'aspect_ratio'?"
    )
    with caplog.at_level("WARNING", "eachlabs_frames"):
        df.eachlabs.bulk_trigger(WF)
    assert "'styel' is not sent; did you mean 'style'?" in caplog.messages
    assert (
        "3 rows cannot be sent: seed: -1 is less than the minimum of 0 (the most common reason, of 2 rows), as in row 1"
    ) in caplog.messages
    assert "eachlabs_notes" not in df[["prompt"]].dropna().eachlabs.preview(WF).attrs


def test_a_preview_truncates_payloads_unless_full() -> None:
    """With `full=True` payloads are shown completely; the data are the same, and problems are never truncated."""
    df = pd.DataFrame({"prompt": ["a fox " * 50, float("inf")], "style": "noir"})
    short, full = df.eachlabs.preview(), df.eachlabs.preview(full=True)
    assert short["payload"].tolist() == full["payload"].tolist()
    whole = json.dumps(full["payload"].iloc[0], separators=(",", ":"))
    assert whole in html.unescape(full._repr_html_() or "")
    assert whole not in html.unescape(short._repr_html_() or "")
    assert whole in repr(full)
    assert "column 'prompt': inf is not a JSON number" in html.unescape(short._repr_html_() or "")
    assert type(full.head()) is pd.DataFrame


def test_an_unsettled_warning_raised_as_an_error_carries_the_frame(sandbox: Sandbox) -> None:
    """With warnings as errors, a wait that timed out raises, and its results are not lost."""
    sandbox.change(hold=True)
    out = pd.DataFrame({"prompt": ["a fox", "a heron"]}).eachlabs.bulk_trigger("wf_abc123")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ef.UnsettledWarning, match="still open") as caught:
            out.eachlabs.wait(timeout=0)
    frame = caught.value.frame  # type: ignore[attr-defined]
    assert frame["execution_id"].tolist() == out["execution_id"].tolist()


def test_a_pandas_warning_raised_as_an_error_carries_the_frame(sandbox: Sandbox) -> None:
    """The results are written again without the warning as an error, and the exception has the whole frame."""

    class Deprecated(pd.DataFrame):
        _metadata: ClassVar[list[str]] = []

        @property
        def _constructor(self) -> Any:
            return Deprecated

        def copy(self, deep: bool = True) -> Any:
            if sandbox.accepted_count():
                warnings.warn("deprecated", FutureWarning, stacklevel=2)
            return super().copy(deep)

    with warnings.catch_warnings():
        # The oldest pandas warns whenever a subclass is constructed.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("error", FutureWarning)
        with pytest.raises(FutureWarning) as caught:
            Deprecated({"prompt": ["a fox", "a heron"]}).eachlabs.bulk_trigger("wf_abc123")
    assert caught.value.frame["execution_id"].tolist() == [execution.execution_id for execution in sandbox.accepted]  # type: ignore[attr-defined]
