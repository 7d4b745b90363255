"""`bulk_trigger` and `retry_failed` against the sandbox: what is paid for, and what the frame says of it."""

from __future__ import annotations

import asyncio
import importlib.resources
import json
import logging
import math
import queue
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.frames.plan import Plan
from eachlabs_frames.inputs.mapping import Column
from eachlabs_frames.models import Workflow
from eachlabs_frames.sandbox import Fault, Sandbox
from eachlabs_frames.uploads.local_files import LocalFiles

WF = "wf_abc123"


def frame(rows: int, **columns: Any) -> pd.DataFrame:
    """Make a frame of distinct prompts, and other columns beside them."""
    return pd.DataFrame({"prompt": [f"a fox, number {row}" for row in range(rows)], **columns})


def in_place(out: pd.DataFrame, sandbox: Sandbox) -> bool:
    """Say whether every execution stands in the row whose prompt it was given."""
    given = {one.execution_id: one.inputs["prompt"] for one in sandbox.accepted}
    rows = zip(out["execution_id"].tolist(), out["prompt"].tolist(), strict=True)
    return all(given[execution_id] == prompt for execution_id, prompt in rows if isinstance(execution_id, str))


def real_prompts() -> list[str]:
    """1,632 real prompts where they are at hand, else as many of the package's own."""
    real = Path(__file__).resolve().parents[2] / "shared" / "data" / "PartiPrompts.tsv"
    if real.exists():
        return [str(prompt) for prompt in pd.read_csv(real, sep="\t")["Prompt"]]
    own = importlib.resources.files("eachlabs_frames") / "data" / "prompts.csv"
    with importlib.resources.as_file(own) as path:
        prompts = [prompt for prompt in pd.read_csv(path)["prompt"].dropna() if "[fail]" not in prompt]
    return [f"{prompts[number % len(prompts)]} ({number})" for number in range(1_632)]


def test_every_row_is_accepted_once_and_in_place(sandbox: Sandbox) -> None:
    """45 rows are five requests; the columns are the design's, the frame that was given is untouched."""
    df = frame(45)
    out = df.eachlabs.bulk_trigger(WF)
    assert len(sandbox.accepted) == 45
    assert sandbox.duplicates() == {}
    assert in_place(out, sandbox)
    assert out["status"].tolist() == ["queued"] * 45
    assert out["bulk_id"].nunique() == 5
    assert list(df.columns) == ["prompt"]
    assert out.attrs["eachlabs"]["workflow_id"] == WF
    assert out.attrs["eachlabs"]["version_id"] == "v2"


@pytest.mark.parametrize("dialect", ["current", "legacy"])
def test_both_dialects_do_the_whole_job(dialect: Any) -> None:
    """Trigger, wait, results: the legacy one by its base URL."""
    with ef.sandbox.start(dialect=dialect, queue_seconds=0, run_seconds=(0, 0)) as sandbox:
        out = frame(12).eachlabs.bulk_trigger(WF, wait=True)
        assert out["status"].tolist() == ["completed"] * 12
        assert out["output"].str.startswith(sandbox.url).all()
        assert out["cost"].tolist() == [0.01] * 12
        assert out.attrs["eachlabs"]["version_id"] == "v2"
        assert in_place(out, sandbox)
        assert ef.configure().dialect == dialect


def test_the_latest_version_is_resolved_once_and_said(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """One GET for the run; its result is in the log."""
    with caplog.at_level(logging.INFO, "eachlabs_frames"):
        frame(60).eachlabs.bulk_trigger(WF)
    assert Counter(record.route for record in sandbox.requests) == {"workflow": 1, "trigger": 6}
    assert {one.version_id for one in sandbox.accepted} == {"v2"}
    assert "version v2, the latest" in caplog.text


def test_a_named_version_is_the_one_that_runs(sandbox: Sandbox) -> None:
    """With its own schema."""
    out = frame(3).eachlabs.bulk_trigger(WF, version_id="v1")
    assert {one.version_id for one in sandbox.accepted} == {"v1"}
    assert out.attrs["eachlabs"]["version_id"] == "v1"


def test_a_named_version_without_validation_costs_no_look(sandbox: Sandbox) -> None:
    """There is no GET: the first batch goes alone instead."""
    frame(30).eachlabs.bulk_trigger(WF, version_id="v2", validate=False)
    assert Counter(record.route for record in sandbox.requests) == {"trigger": 3}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("unauthorized", ef.AuthenticationError),
        ("forbidden", ef.PermissionDeniedError),
        ("not_found", ef.NotFoundError),
    ],
)
@pytest.mark.parametrize("options", [{}, {"version_id": "v2", "validate": False}])
def test_a_refusal_raises_before_a_row_is_accepted(sandbox: Sandbox, fault: str, error: Any, options: Any) -> None:
    """By the workflow's GET, or by the first batch where there is none: one request in all."""
    sandbox.faults(Fault(fault, on="any"))
    with pytest.raises(error):
        frame(100).eachlabs.bulk_trigger(WF, **options)
    assert sandbox.accepted == ()
    assert len(sandbox.requests) == 1


def test_a_trigger_that_alone_is_forbidden_raises_too(sandbox: Sandbox) -> None:
    """The workflow may be read and not be run: nothing was accepted, so nothing is lost."""
    sandbox.faults(Fault("forbidden"))
    with pytest.raises(ef.PermissionDeniedError):
        frame(100).eachlabs.bulk_trigger(WF)
    assert sandbox.accepted == ()


def test_rows_that_do_not_fit_the_schema_are_invalid_and_not_sent(sandbox: Sandbox) -> None:
    """With the validator's reason; the others go, each in its place."""
    df = frame(25, seed=[1] * 25)
    df.loc[3, "prompt"] = None
    df.loc[17, "seed"] = -5
    out = df.eachlabs.bulk_trigger(WF)
    assert out.index[out["status"] == "invalid"].tolist() == [3, 17]
    assert out.loc[3, "error"] == '"prompt" is a required property'
    assert out.loc[17, "error"].startswith("seed: -5")
    assert out.loc[[3, 17], ["execution_id", "bulk_id"]].isna().all(axis=None)
    assert len(sandbox.accepted) == 23
    assert in_place(out, sandbox)


def test_without_validation_the_api_refuses_rows_itself(sandbox: Sandbox) -> None:
    """A partial failure: its row is failed with the API's message and has no execution."""
    df = frame(12)
    df.loc[5, "prompt"] = None
    out = df.eachlabs.bulk_trigger(WF, ["prompt"], validate=False)
    assert out.loc[5, "status"] == "failed"
    assert "prompt" in out.loc[5, "error"]
    assert pd.isna(out.loc[5, "execution_id"])
    assert (out.drop(5)["status"] == "queued").all()
    assert in_place(out.drop(5), sandbox)


@pytest.mark.parametrize("reject", ["request", "unprocessable"])
def test_a_bad_row_in_a_request_that_is_refused_whole_harms_no_other(sandbox: Sandbox, reject: Any) -> None:
    """400 and 422: the culprits are found, every other row is accepted once."""
    schema = {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}}
    sandbox.add_workflow("wf_strict", input_schema=schema, reject=reject)
    df = frame(40)
    df.loc[[4, 5, 38], "prompt"] = None
    out = df.eachlabs.bulk_trigger("wf_strict", ["prompt"], validate=False)
    assert out.index[out["status"] == "failed"].tolist() == [4, 5, 38]
    assert sandbox.duplicates() == {}
    assert len(sandbox.accepted) == 37
    assert in_place(out.drop([4, 5, 38]), sandbox)


@pytest.mark.parametrize(
    "kind",
    ["lost_answer", "error_after", "error_before", "dropped", "cut_short", "garbage", "too_few", "too_many", "no_ids"],
)
def test_a_lost_answer_leaves_its_rows_unknown_and_is_not_sent_again(sandbox: Sandbox, kind: str) -> None:
    """Whether or not it took effect, where the listing never shows it: no input is accepted twice."""
    ef.configure(settle_window=0.3)
    sandbox.change(listing_lag=math.inf)
    sandbox.faults(Fault(kind, at={2}))
    out = frame(40).eachlabs.bulk_trigger(WF, max_concurrency=1)
    assert (out["status"] == "unknown").tolist() == [10 <= row < 20 for row in range(40)]
    assert out["error"][10:20].notna().all()
    assert sandbox.duplicates() == {}
    assert sum(record.route == "trigger" for record in sandbox.requests) == 4
    assert in_place(out, sandbox)


def test_silence_leaves_its_rows_unknown(sandbox: Sandbox) -> None:
    """After `timeout` seconds the request counts as sent, and is looked for in vain."""
    ef.configure(timeout=0.3, settle_window=0.3)
    sandbox.change(listing_lag=math.inf)
    sandbox.faults(Fault("silence", at={1}))
    out = frame(20).eachlabs.bulk_trigger(WF, max_concurrency=1)
    assert out["status"].tolist() == ["unknown"] * 10 + ["queued"] * 10
    assert "timed out after 0.3 s" in out.loc[0, "error"]
    assert sandbox.duplicates() == {}


def test_unknown_rows_are_left_alone_by_the_next_call(sandbox: Sandbox) -> None:
    """They may be billed; `retrigger=True` alone sends them again."""
    ef.configure(settle_window=0.3)
    sandbox.change(listing_lag=math.inf)
    sandbox.faults(Fault("lost_answer", at={1}))
    first = frame(20).eachlabs.bulk_trigger(WF, max_concurrency=1)
    second = first.eachlabs.bulk_trigger(WF)
    assert sandbox.duplicates() == {}
    assert second["status"].tolist() == first["status"].tolist()
    second.eachlabs.bulk_trigger(WF, retrigger=True)
    assert len(sandbox.accepted) == 40


def test_running_the_cell_again_pays_nothing(sandbox: Sandbox) -> None:
    """Rows with an execution are left alone, and new rows among them are sent."""
    out = frame(15).eachlabs.bulk_trigger(WF)
    again = out.eachlabs.bulk_trigger(WF)
    assert len(sandbox.accepted) == 15
    assert again["execution_id"].tolist() == out["execution_id"].tolist()
    more = pd.concat([again, frame(18)[15:]], ignore_index=True)
    grown = more.eachlabs.bulk_trigger(WF)
    assert len(sandbox.accepted) == 18
    assert grown["execution_id"].tolist()[:15] == out["execution_id"].tolist()
    assert in_place(grown, sandbox)


def test_a_frame_from_a_csv_file_is_known_again(sandbox: Sandbox, tmp_path: Path) -> None:
    """Without attrs, by its columns: nothing is paid twice, and the dtypes are back."""
    out = frame(12).eachlabs.bulk_trigger(WF, wait=True)
    out.to_csv(tmp_path / "out.csv", index=False)
    back = pd.read_csv(tmp_path / "out.csv")
    again = back.eachlabs.bulk_trigger(WF)
    assert len(sandbox.accepted) == 12
    assert again["completed_at"].tolist() == out["completed_at"].tolist()
    assert again.dtypes[out.columns[1:]].tolist() == out.dtypes[out.columns[1:]].tolist()


def test_another_workflow_does_not_write_over_a_result(sandbox: Sandbox) -> None:
    """It asks for a prefix; with one, both results stand side by side and each is refreshed by its own name."""
    out = frame(5).eachlabs.bulk_trigger(WF, ["prompt"])
    with pytest.raises(ef.ColumnError, match=r"holds results of workflow 'wf_abc123'.*prefix="):
        out.eachlabs.bulk_trigger("wf_text", ["prompt"])
    assert len(sandbox.accepted) == 5
    both = out.eachlabs.bulk_trigger("wf_text", ["prompt"], prefix="text_")
    assert len(sandbox.accepted) == 10
    both = both.eachlabs.wait().eachlabs.wait(prefix="")
    assert both["status"].tolist() == both["text_status"].tolist() == ["completed"] * 5
    assert isinstance(both.loc[0, "text_output"], dict)
    assert isinstance(both.loc[0, "output"], str)


def test_a_prefix_that_was_forgotten_does_not_pay_again(sandbox: Sandbox) -> None:
    """The rows have their executions, under other names."""
    out = frame(5).eachlabs.bulk_trigger(WF, prefix="e_")
    with pytest.raises(ef.ColumnError, match="with prefix='e_': pass that prefix="):
        out.eachlabs.bulk_trigger(WF)
    assert len(out.eachlabs.bulk_trigger(WF, prefix="e_")) == 5
    assert len(sandbox.accepted) == 5


def test_a_balance_that_ends_leaves_the_rest_pending() -> None:
    """402 is no exception: what was accepted stays, and the next call after a top-up goes on."""
    with ef.sandbox.start(balance_usd=0.25, cost_usd=0.01, run_seconds=(0, 0)) as sandbox:
        out = frame(60).eachlabs.bulk_trigger(WF, max_concurrency=1)
        assert (out["status"] == "pending").sum() == 40
        assert out["error"][out["status"] == "pending"].str.contains("not sent: HTTP 402").all()
        sandbox.top_up(10)
        done = out.eachlabs.bulk_trigger(WF)
        assert done["status"].isin(["queued", "completed"]).all()
        assert done["error"].isna().all()
        assert sandbox.duplicates() == {}


def test_the_rest_of_a_result_is_sent_as_its_first_rows_were(sandbox: Sandbox) -> None:
    """Called again without `inputs=`, the frame's own mapping counts, not the schema's columns."""
    sandbox.faults(Fault("payment", at={2}))
    mapping = {"prompt": ef.template("{prompt}, by night"), "seed": ef.lit(3)}
    out = frame(20, style=["noir"] * 20).eachlabs.bulk_trigger(WF, mapping, max_concurrency=1)
    assert out["status"].value_counts().to_dict() == {"queued": 10, "pending": 10}
    out.eachlabs.bulk_trigger(WF)
    assert [one.inputs for one in sandbox.accepted] == [
        {"prompt": f"a fox, number {row}, by night", "seed": 3} for row in range(20)
    ]


def test_the_rest_of_a_result_that_a_function_made_needs_the_function(sandbox: Sandbox) -> None:
    """Rather than another mapping by default, which would be paid for."""
    sandbox.faults(Fault("payment", at={2}))
    out = frame(20).eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"]}, max_concurrency=1)
    with pytest.raises(ef.MappingError, match="pass inputs="):
        out.eachlabs.bulk_trigger(WF)
    assert len(sandbox.accepted) == 10


def test_a_cap_is_waited_for(sandbox: Sandbox) -> None:
    """429s without a row lost, failed or sent twice."""
    sandbox.faults(Fault("rate_limit", every=3, retry_after=0))
    out = frame(100).eachlabs.bulk_trigger(WF)
    assert out["status"].tolist() == ["queued"] * 100
    assert sandbox.duplicates() == {}
    assert len(sandbox.accepted) == 100


def test_patience_with_a_cap_ends(sandbox: Sandbox) -> None:
    """After `max_wait` the rows are pending, with the API's details."""
    ef.configure(max_wait=0.2)
    sandbox.faults(Fault("rate_limit", details="10 of 10 in use"))
    out = frame(20).eachlabs.bulk_trigger(WF)
    assert out["status"].tolist() == ["pending"] * 20
    assert out["error"].str.contains("10 of 10 in use").all()


def test_concurrency_is_what_was_asked_for() -> None:
    """The sandbox sees that many triggers at once, and no more."""
    with ef.sandbox.start(latency=0.05) as sandbox:
        frame(200).eachlabs.bulk_trigger(WF, max_concurrency=5)
        assert sandbox.peak_in_flight == 5


def test_1632_real_prompts_through_an_api_that_delays_and_fails_one_request_in_ten() -> None:
    """Every row has an outcome, none is accepted twice, every execution is in place."""
    prompts = real_prompts()
    faults = (
        Fault("error_after", chance=0.05),
        Fault("rate_limit", chance=0.05, retry_after=0),
        Fault("latency", seconds=0.01),
    )
    with ef.sandbox.start(seed=7, faults=faults, queue_seconds=0, run_seconds=(0, 0)) as sandbox:
        df = pd.DataFrame({"prompt": prompts, "number": range(len(prompts))})
        out = df.eachlabs.bulk_trigger(WF, {"prompt": "prompt", "seed": "number"}, wait=True)
        assert sandbox.duplicates() == {}
        assert set(out["status"]) == {"completed"}
        given = {one.execution_id: one.inputs["seed"] for one in sandbox.accepted}
        known = out[out["execution_id"].notna()]
        assert [given[one] for one in known["execution_id"]] == known["number"].tolist()
        assert known.equals(out)
        assert sum(record.inputs for record in sandbox.requests if "error_after" in record.faults) > 0


@pytest.mark.parametrize(
    ("inputs", "sent"),
    [
        (None, {"prompt": "a fox", "style": "noir", "seed": 3}),
        (["prompt"], {"prompt": "a fox"}),
        ({"prompt": "note", "style": ef.lit("photo")}, {"prompt": "by night", "style": "photo"}),
        ({"prompt": ef.template("{prompt} {note} {seed:03d}")}, {"prompt": "a fox by night 003"}),
        (lambda row: {"prompt": row["prompt"].upper(), "seed": row["seed"] + 1}, {"prompt": "A FOX", "seed": 4}),
    ],
)
def test_the_four_forms_of_inputs_arrive(sandbox: Sandbox, inputs: Any, sent: Any) -> None:
    """As the API sees them."""
    df = pd.DataFrame({"prompt": ["a fox"], "note": ["by night"], "style": ["noir"], "seed": [3]})
    df.eachlabs.bulk_trigger(WF, inputs)
    assert [one.inputs for one in sandbox.accepted] == [sent]


def test_a_function_is_called_once_a_row_in_order_in_the_callers_thread(sandbox: Sandbox) -> None:
    """It may upload a file, or ask a person: never twice."""
    called: list[Any] = []

    def make(row: dict[str, Any]) -> dict[str, Any]:
        called.append((row["prompt"], row["missing"], threading.current_thread()))
        return {"prompt": row["prompt"]}

    frame(2_500, missing=[float("nan")] * 2_500).eachlabs.bulk_trigger(WF, make)
    assert [prompt for prompt, _, _ in called] == frame(2_500)["prompt"].tolist()
    assert {missing for _, missing, _ in called} == {None}
    assert {thread for _, _, thread in called} == {threading.current_thread()}


@pytest.mark.parametrize(
    "inputs",
    [{"prompt": ef.template("{prompt} in {year}")}, lambda row: {"prompt": f"{row['prompt']} in {row['year'] or 0}"}],
    ids=["template", "function"],
)
def test_an_appended_row_without_a_year_changes_no_other_rows_input(sandbox: Sandbox, inputs: Any) -> None:
    """The column of years becomes float64; the rows that were sent before are known again, and not paid twice."""
    first = frame(3, year=[1990, 1991, 1992])
    first.eachlabs.bulk_trigger(WF, inputs, run="years")
    longer = pd.concat([first, pd.DataFrame({"prompt": ["no year"]})], ignore_index=True)
    assert str(longer["year"].dtype) == "float64"
    out = longer.eachlabs.bulk_trigger(WF, inputs, run="years")
    sent = [one.inputs["prompt"] for one in sandbox.accepted]
    assert sent[:3] == [f"{prompt} in {year}" for prompt, year in zip(first["prompt"], first["year"], strict=True)]
    assert sent[3:] == ([] if out["status"].iloc[3] == "invalid" else ["no year in 0"])


def test_a_float_column_beside_nan_is_sent_as_integers_where_the_schema_wants_them(sandbox: Sandbox) -> None:
    """And the missing ones are left out."""
    frame(3, seed=[7.0, None, 9.0]).eachlabs.bulk_trigger(WF)
    assert [one.inputs.get("seed") for one in sandbox.accepted] == [7, None, 9]
    assert {type(one.inputs.get("seed")) for one in sandbox.accepted} == {int, type(None)}


def test_each_execution_is_announced_to_the_webhook(sandbox: Sandbox) -> None:
    """With the secret in its header; the frame does not keep it."""
    heard: queue.Queue[tuple[str | None, dict[str, Any]]] = queue.Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            heard.put((self.headers["X-Webhook-Secret"], said))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as hook:
        threading.Thread(target=hook.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{hook.server_port}/h"
        out = frame(3).eachlabs.bulk_trigger(WF, webhook_url=url, webhook_secret="s3cret-word")
        came = [heard.get(timeout=120) for _ in range(3)]
        hook.shutdown()
    assert {secret for secret, _ in came} == {"s3cret-word"}
    assert sorted(said["execution_id"] for _, said in came) == sorted(out["execution_id"])
    assert {said["bulk_id"] for _, said in came} == set(out["bulk_id"])
    assert "s3cret-word" not in repr(out.attrs)


def test_inplace_writes_into_the_same_frame(sandbox: Sandbox) -> None:
    """And returns it."""
    df = frame(3)
    assert df.eachlabs.bulk_trigger(WF, inplace=True) is df
    assert df["status"].tolist() == ["queued"] * 3


def test_retry_failed_pays_for_the_failed_rows_alone(sandbox: Sandbox) -> None:
    """A new execution each, in the version and with the mapping of the first time."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"].endswith(("3", "7")))
    df = frame(10, style=["noir"] * 10)
    out = df.eachlabs.bulk_trigger(WF, {"prompt": "prompt", "style": ef.lit("photo")}, version_id="v1", wait=True)
    assert out.index[out["status"] == "failed"].tolist() == [3, 7]
    assert out.loc[3, "error"]
    sandbox.change(fail_when=None)
    sandbox.reset()
    again = out.eachlabs.retry_failed(wait=True)
    assert [one.inputs for one in sandbox.accepted] == [
        {"prompt": "a fox, number 3", "style": "photo"},
        {"prompt": "a fox, number 7", "style": "photo"},
    ]
    assert {one.version_id for one in sandbox.accepted} == {"v1"}
    assert again["status"].tolist() == ["completed"] * 10
    assert again.loc[3, "execution_id"] != out.loc[3, "execution_id"]
    assert again.drop([3, 7])["execution_id"].tolist() == out.drop([3, 7])["execution_id"].tolist()
    assert again["error"].isna().all()


def test_retry_failed_keeps_the_old_execution_where_the_new_one_was_not_sent(sandbox: Sandbox) -> None:
    """A balance that ends does not wipe out what is known."""
    sandbox.change(fail_when=lambda inputs: True)
    out = frame(3).eachlabs.bulk_trigger(WF, wait=True)
    sandbox.faults(Fault("payment"))
    again = out.eachlabs.retry_failed()
    assert again["execution_id"].tolist() == out["execution_id"].tolist()
    assert again["status"].tolist() == ["failed"] * 3


def test_retry_failed_needs_the_mapping_that_a_function_was(sandbox: Sandbox) -> None:
    """Which no frame remembers; given anew, it serves."""
    sandbox.change(fail_when=lambda inputs: True)
    out = frame(2).eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"]}, wait=True)
    with pytest.raises(ef.MappingError, match="pass inputs="):
        out.eachlabs.retry_failed()
    out.eachlabs.retry_failed(["prompt"])
    assert len(sandbox.accepted) == 4


def test_retry_failed_of_a_frame_that_lost_its_attrs_says_so(sandbox: Sandbox) -> None:
    """Where the journal does not know it either, it does not guess a workflow."""
    out = frame(2).eachlabs.bulk_trigger(WF)
    ef.delete_run(out.attrs["eachlabs"]["run"])
    out.attrs.clear()
    with pytest.raises(ef.ColumnError, match="attrs were lost"):
        out.eachlabs.retry_failed()


def test_the_async_methods_do_the_same(sandbox: Sandbox) -> None:
    """From a running loop, which goes on meanwhile."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def main() -> pd.DataFrame:
        ticking = asyncio.ensure_future(tick())
        out = await frame(25).eachlabs.bulk_trigger_async(WF, ["prompt"], max_concurrency=2)
        out = await out.eachlabs.refresh_async()
        out = await out.eachlabs.wait_async()
        ticking.cancel()
        return out

    out = asyncio.run(main())
    assert out["status"].tolist() == ["completed"] * 25
    assert in_place(out, sandbox)
    assert ticks > 10


def test_an_empty_frame_asks_nothing(sandbox: Sandbox) -> None:
    """And has the columns all the same."""
    out = frame(0).eachlabs.bulk_trigger(WF, ["prompt"], wait=True)
    assert sandbox.requests == ()
    assert list(out.columns) == [
        "prompt",
        "bulk_id",
        "execution_id",
        "status",
        "error",
        "started_at",
        "completed_at",
        "output",
        "cost",
    ]


def test_a_schema_that_cannot_be_used_leaves_the_inputs_to_the_api(caplog: pytest.LogCaptureFixture) -> None:
    """A workflow's author's mistake is no reason to refuse its user."""
    workflow = Workflow("wf", "v1", {"type": "objectx", "properties": {"prompt": {"type": "string"}}})
    rows = np.arange(3, dtype=np.int64)
    fields = {"prompt": Column("prompt")}
    plan = Plan.of(frame(3), rows, fields, workflow=workflow, omit=True, validate=True, files=LocalFiles())
    assert [positions for positions, _, _ in plan.checked()] == [[0, 1, 2]]
    assert plan.refused == {}
    assert "input schema cannot be used" in caplog.text


def test_what_cannot_be_sent_in_time_is_not_lost_when_waiting_is_refused(sandbox: Sandbox) -> None:
    """With wait=True a key that is revoked while polling costs the outputs, not the frame."""
    sandbox.faults(Fault("unauthorized", on="list"))
    out = frame(10).eachlabs.bulk_trigger(WF, wait=True)
    assert out["status"].tolist() == ["queued"] * 10
    assert out["execution_id"].notna().all()


def test_a_frame_that_is_changed_meanwhile_gets_no_misplaced_results(sandbox: Sandbox) -> None:
    """In place, its rows are somewhere else now: the results come apart from it, in the order of before."""
    df = frame(20)

    def disturb(event: ef.Event) -> None:
        if event.kind == "answered":
            df.index = range(100, 120)

    with pytest.raises(ef.ColumnError, match="changed while its rows were in flight") as caught:
        df.eachlabs.bulk_trigger(WF, inplace=True, max_concurrency=1, progress=disturb)
    apart = caught.value.frame  # type: ignore[attr-defined]
    given = {one.execution_id: one.inputs["prompt"] for one in sandbox.accepted}
    assert [given[one] for one in apart["execution_id"]] == frame(20)["prompt"].tolist()
    assert list(df.columns) == ["prompt"]


def test_a_frame_whose_rows_change_places_under_the_same_index_gets_no_misplaced_results(sandbox: Sandbox) -> None:
    """An index that is equal says nothing of the rows."""
    df = frame(20)

    def disturb(event: ef.Event) -> None:
        if event.kind == "answered" and df.loc[0, "prompt"] == "a fox, number 0":
            df["prompt"] = df["prompt"].tolist()[::-1]

    with pytest.raises(ef.ColumnError, match="changed while its rows were in flight") as caught:
        df.eachlabs.bulk_trigger(WF, inplace=True, max_concurrency=1, progress=disturb)
    assert caught.value.frame["execution_id"].notna().all()  # type: ignore[attr-defined]


def test_two_calls_in_one_frame_do_not_pay_its_rows_twice(sandbox: Sandbox) -> None:
    """The second is refused before it sends anything."""
    df = frame(20)
    refused: list[BaseException] = []

    def other(event: ef.Event) -> None:
        if event.kind == "started":
            thread = threading.Thread(target=second)
            thread.start()
            thread.join(20)

    def second() -> None:
        try:
            df.eachlabs.bulk_trigger(WF, inplace=True, version_id="v2", validate=False)
        except ef.ColumnError as exc:
            refused.append(exc)

    df.eachlabs.bulk_trigger(WF, inplace=True, version_id="v2", validate=False, progress=other)
    assert len(sandbox.accepted) == 20
    assert df["execution_id"].notna().all()
    assert "another call is writing into this frame" in str(refused[0])


def test_a_cancellation_in_the_last_step_carries_the_frame(sandbox: Sandbox) -> None:
    """Every answer was there already."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def cancel(event: ef.Event) -> None:
            if event.kind == "answered" and event.done == event.total:
                cancelled = threading.Event()
                loop.call_soon_threadsafe(lambda: (task.cancel(), cancelled.set()))
                cancelled.wait(20)

        kept: list[pd.DataFrame] = []

        async def triggering() -> None:
            # Caught in the task itself: on Python 3.10, whoever awaits a task is given an exception made anew.
            try:
                await frame(10).eachlabs.bulk_trigger_async(WF, progress=cancel)
            except asyncio.CancelledError as exc:
                kept.append(exc.frame)  # type: ignore[attr-defined]
                raise

        task = asyncio.ensure_future(triggering())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert kept[0]["execution_id"].notna().all()

    asyncio.run(main())


def test_copies_of_a_failed_row_are_not_each_paid_again(sandbox: Sandbox) -> None:
    """A frame that was put together from copies is refused."""
    sandbox.change(fail_when=lambda inputs: True)
    out = frame(2).eachlabs.bulk_trigger(WF, wait=True)
    twice = pd.concat([out, out], ignore_index=True)
    twice.attrs = out.attrs
    with pytest.raises(ef.ColumnError, match="drop the duplicates"):
        twice.eachlabs.retry_failed()
    assert len(sandbox.accepted) == 2
