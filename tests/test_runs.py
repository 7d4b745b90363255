"""Tests of named runs: repeated calls with the same or other rows, and loading runs from the journal."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.frames.display import CountsFrame
from eachlabs_frames.frames.rows import index_from_json, label_from_json, labels_to_json
from eachlabs_frames.frames.sent_inputs import checksums_of
from eachlabs_frames.frames.stored_inputs import StoredInputs, column_of
from eachlabs_frames.journal import open_journal
from eachlabs_frames.models import STATUSES
from eachlabs_frames.sandbox import Fault, Sandbox
from eachlabs_frames.settings import current

WF = "wf_abc123"
RESULT = ["bulk_id", "execution_id", "status", "error", "started_at", "completed_at", "output", "cost"]


def frame(size: int, *, start: int = 0) -> pd.DataFrame:
    """Return rows with different prompts, labelled from `start` on."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(start, start + size)]}, index=range(start, start + size))


def accepted_count(sandbox: Sandbox) -> int:
    """Return the number of accepted executions, which are paid."""
    return sandbox.accepted_count()


def test_a_repeated_call_sends_nothing_and_returns_the_same_executions(sandbox: Sandbox) -> None:
    """Running a cell twice with the raw frame does not pay twice."""
    first = frame(25).eachlabs.bulk_trigger(WF, run="one")
    again = frame(25).eachlabs.bulk_trigger(WF, run="one")
    assert accepted_count(sandbox) == 25
    assert again["execution_id"].tolist() == first["execution_id"].tolist()
    assert again["bulk_id"].tolist() == first["bulk_id"].tolist()
    assert again.attrs["eachlabs"]["run"] == "one"


def test_rows_are_identified_by_their_input_and_not_by_their_position(sandbox: Sandbox) -> None:
    """Of a sorted, filtered and extended frame only new rows are sent, and each row keeps its execution."""
    first = frame(20).eachlabs.bulk_trigger(WF, run="one")
    changed = pd.concat([frame(20).iloc[::-1].iloc[:12], frame(5, start=100)])
    second = changed.eachlabs.bulk_trigger(WF, run="one")
    assert accepted_count(sandbox) == 25
    old = second.index[second.index < 100]
    assert second.loc[old, "execution_id"].tolist() == first.loc[old, "execution_id"].tolist()
    assert second["execution_id"].is_unique


def test_a_frame_in_another_order_gets_what_the_run_knows_of_each_row(sandbox: Sandbox) -> None:
    """Accepted rows, rows that were not sent, and a row that is new to the run, in one frame."""
    sandbox.change(balance_usd=0.30)
    first = frame(40).eachlabs.bulk_trigger(WF, run="one", max_concurrency=1)
    sent = first[first["status"] == "queued"]
    assert len(sent) == 30
    sandbox.top_up(10)
    order = [*range(25, 30), *range(35, 40), *range(12), 100, *range(30, 33), 24, *range(12, 20)]
    mixed = pd.concat([frame(40), frame(1, start=100)]).loc[order]
    second = mixed.eachlabs.bulk_trigger(WF, run="one")
    assert second.index.tolist() == order
    assert (second["status"] == "queued").all()
    assert accepted_count(sandbox) == 30 + 5 + 1 + 3
    for name in ("execution_id", "bulk_id"):
        again = second[name].reindex(sent.index).dropna()
        assert again.to_dict() == sent.loc[again.index, name].to_dict()
    assert second["execution_id"].is_unique
    loaded = ef.load_run("one")
    known = second["execution_id"].to_dict()
    assert {label: id_ for label, id_ in loaded["execution_id"].items() if label in known} == known


def test_duplicate_inputs_are_separate_rows(sandbox: Sandbox) -> None:
    """Each occurrence of an input has its own execution, and one more occurrence is one more row."""
    doubled = pd.concat([frame(3), frame(3)], ignore_index=True)
    first = doubled.eachlabs.bulk_trigger(WF, run="one")
    assert accepted_count(sandbox) == 6
    assert first["execution_id"].is_unique
    extended = pd.concat([doubled, frame(1)], ignore_index=True).eachlabs.bulk_trigger(WF, run="one")
    assert accepted_count(sandbox) == 7
    assert extended["execution_id"].tolist()[:6] == first["execution_id"].tolist()


def test_a_pending_duplicate_is_sent_and_does_not_get_the_others_execution(sandbox: Sandbox) -> None:
    """Of equal rows some were sent; the others, alone in a filtered frame, are sent too."""
    sandbox.change(balance_usd=0.10)
    duplicates = pd.DataFrame({"prompt": ["same"] * 20})
    first = duplicates.eachlabs.bulk_trigger(WF, max_concurrency=1)
    assert first["status"].value_counts().to_dict() == {"queued": 10, "pending": 10}
    sandbox.top_up(10)
    rest = first[first["status"] == "pending"].eachlabs.bulk_trigger(WF)
    assert accepted_count(sandbox) == 20
    assert set(rest["execution_id"]).isdisjoint(first["execution_id"].dropna())


def test_a_changed_row_is_a_new_row(sandbox: Sandbox) -> None:
    """A frame with the old result is no exception, because a named run identifies rows by their input."""
    first = frame(4).eachlabs.bulk_trigger(WF, run="one")
    first.loc[2, "prompt"] = "another"
    second = first.eachlabs.bulk_trigger(WF, run="one")
    assert accepted_count(sandbox) == 5
    assert (second["execution_id"] == first["execution_id"]).tolist() == [True, True, False, True]
    assert sandbox.accepted_count({"prompt": "another"}) == 1


def test_a_column_that_became_float_gives_the_same_inputs(sandbox: Sandbox) -> None:
    """An appended row without a seed turns 7 into 7.0; the old rows are not paid again."""
    seeds = pd.DataFrame({"prompt": ["a", "b"], "seed": [7, 8]})
    seeds.eachlabs.bulk_trigger(WF, ["prompt", "seed"], run="one", validate=False, version_id="v2")
    more = pd.concat([seeds, pd.DataFrame({"prompt": ["c"]})], ignore_index=True)
    assert more["seed"].dtype == "float64"
    more.eachlabs.bulk_trigger(WF, ["prompt", "seed"], run="one", validate=False, version_id="v2")
    assert accepted_count(sandbox) == 3


def test_refused_rows_are_not_sent_again_unchanged() -> None:
    """A row that the API refused cost nothing, but would be refused again."""
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0), faults=[Fault("bad_request", at={1})]) as sandbox:
        df = pd.DataFrame({"prompt": ["only"]})
        assert df.eachlabs.bulk_trigger(WF, run="one")["status"].tolist() == ["failed"]
        again = df.eachlabs.bulk_trigger(WF, run="one")
        assert again["status"].tolist() == ["failed"]
        assert sandbox.accepted_count() == 0
        triggers = [request for request in sandbox.requests if request.route == "trigger"]
        assert len(triggers) == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"workflow": "wf_images"}, "workflow is 'wf_images', and was 'wf_abc123'"),
        ({"version_id": "v1"}, "version_id is 'v1', and was 'v2'"),
        ({"inputs": {"prompt": ef.template("A {prompt}")}}, "inputs is"),
        ({"na": "null"}, "na is 'null', and was 'omit'"),
        ({"key": "prompt"}, "key is 'prompt', and was None"),
    ],
)
def test_a_second_call_with_other_options_is_refused(sandbox: Sandbox, other: dict[str, object], message: str) -> None:
    """Workflow, version, mapping and key of a run are fixed; the error names the difference."""
    frame(3).eachlabs.bulk_trigger(WF, run="one")
    options = dict(other)
    workflow = str(options.pop("workflow", WF))
    inputs = options.pop("inputs", None)
    with pytest.raises(ef.RunError, match=r"run 'one' was made differently") as caught:
        frame(3).eachlabs.bulk_trigger(workflow, inputs, run="one", **options)
    assert message in str(caught.value)
    assert accepted_count(sandbox) == 3


def test_a_run_of_another_server_is_refused(sandbox: Sandbox) -> None:
    """Executions of a sandbox do not exist at the real API."""
    frame(3).eachlabs.bulk_trigger(WF, run="one")
    with ef.sandbox.start() as other, pytest.raises(ef.RunError, match="base_url is"):
        frame(3).eachlabs.bulk_trigger(WF, run="one")
    assert other.accepted_count() == 0


def test_a_run_keeps_its_version(sandbox: Sandbox) -> None:
    """A version that is published between two calls is not used."""
    frame(3).eachlabs.bulk_trigger(WF, run="one", version_id="v1")
    out = frame(6).eachlabs.bulk_trigger(WF, run="one")
    assert out.attrs["eachlabs"]["version_id"] == "v1"
    assert {record.version_id for record in sandbox.accepted} == {"v1"}


def test_a_run_keeps_its_mapping(sandbox: Sandbox) -> None:
    """A later call without `inputs=` maps the raw frame like the first one."""
    mapping = {"prompt": ef.template("A {animal}"), "style": ef.lit("noir")}
    animals = pd.DataFrame({"animal": ["fox", "owl"]})
    animals.eachlabs.bulk_trigger(WF, mapping, run="one")
    more = pd.DataFrame({"animal": ["owl", "hen"]}).eachlabs.bulk_trigger(WF, run="one")
    assert more["execution_id"].notna().all()
    assert sandbox.accepted_count({"prompt": "A hen", "style": "noir"}) == 1
    assert accepted_count(sandbox) == 3


def test_a_run_gets_a_readable_name_by_default(sandbox: Sandbox) -> None:
    """The name is in attrs, and two calls with raw frames are two runs."""
    first = frame(2).eachlabs.bulk_trigger(WF)
    second = frame(2, start=2).eachlabs.bulk_trigger(WF)
    names = [out.attrs["eachlabs"]["run"] for out in (first, second)]
    assert all(pd.Series(names).str.fullmatch(r"\d{4}-\d\d-\d\d-[a-z]+-[a-z]+"))
    assert len(set(names)) == 2
    assert sorted(ef.runs()["run"]) == sorted(names)
    assert accepted_count(sandbox) == 4


def test_a_result_frame_is_continued_in_its_own_run(sandbox: Sandbox) -> None:
    """Its pending rows and rows that were appended are sent in the same run."""
    sandbox.change(balance_usd=0.10)
    first = frame(15).eachlabs.bulk_trigger(WF, max_concurrency=1)
    sandbox.top_up(1)
    more = pd.concat([first, frame(2, start=50)])
    more.attrs = first.attrs
    out = more.eachlabs.bulk_trigger(WF)
    assert out.attrs["eachlabs"]["run"] == first.attrs["eachlabs"]["run"]
    assert accepted_count(sandbox) == 17
    assert ef.runs()["rows"].tolist() == [17]


def test_an_old_frame_does_not_resend_rows_of_a_newer_one(sandbox: Sandbox) -> None:
    """Rows that are pending in the old frame have executions in the journal."""
    sandbox.change(balance_usd=0.10)
    old = frame(20).eachlabs.bulk_trigger(WF, max_concurrency=1)
    sandbox.top_up(1)
    new = old.eachlabs.bulk_trigger(WF)
    again = old.eachlabs.bulk_trigger(WF)
    assert accepted_count(sandbox) == 20
    assert again["execution_id"].tolist() == new["execution_id"].tolist()


def test_a_result_of_one_run_is_refused_as_another_run(sandbox: Sandbox) -> None:
    """A mistyped name must not resend a frame; the error names the run of the results."""
    out = frame(3).eachlabs.bulk_trigger(WF, run="sweep-7")
    with pytest.raises(ef.ColumnError, match="holds results of run 'sweep-7', not of 'sweep-8'"):
        out.eachlabs.bulk_trigger(WF, run="sweep-8")
    assert accepted_count(sandbox) == 3


def test_a_result_without_attrs_is_recognized_by_its_executions(sandbox: Sandbox, tmp_path: Path) -> None:
    """After a round trip through CSV nothing is sent again, with or without the run's name."""
    frame(5).eachlabs.bulk_trigger(WF, run="one").to_csv(tmp_path / "out.csv")
    back = pd.read_csv(tmp_path / "out.csv", index_col=0)
    assert back.eachlabs.bulk_trigger(WF, run="one")["execution_id"].notna().all()
    assert back.eachlabs.bulk_trigger(WF)["execution_id"].notna().all()
    assert accepted_count(sandbox) == 5


def test_retrigger_sends_every_row_of_the_call_again(sandbox: Sandbox) -> None:
    """The run then has the new executions."""
    first = frame(5).eachlabs.bulk_trigger(WF, run="one")
    second = frame(3).eachlabs.bulk_trigger(WF, run="one", retrigger=True)
    assert accepted_count(sandbox) == 8
    loaded = ef.load_run("one")
    assert loaded["execution_id"].tolist() == [*second["execution_id"], *first["execution_id"][3:]]


def test_retrying_from_one_frame_twice_pays_once(sandbox: Sandbox) -> None:
    """A cell that runs again has the old frame; the journal's newer executions of failed rows are used."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] in {"p1", "p3"})
    out = frame(5).eachlabs.bulk_trigger(WF, wait=True)
    sandbox.change(fail_when=None)
    first = out.eachlabs.retry_failed(wait=True)
    second = out.eachlabs.retry_failed(wait=True)
    assert sandbox.accepted_count() == 7
    assert second["execution_id"].tolist() == first["execution_id"].tolist()
    assert second["status"].tolist() == ["completed"] * 5


def test_an_old_frame_of_duplicates_gets_the_results_of_its_own_rows(sandbox: Sandbox) -> None:
    """The journal finds each row by its previous execution, not as the first row with that input."""
    sandbox.change(fail_when=lambda inputs: True)
    out = pd.DataFrame({"prompt": ["a fox"] * 3}).eachlabs.bulk_trigger(WF, wait=True)
    sandbox.change(fail_when=None)
    last = out.iloc[2:]
    first = last.eachlabs.retry_failed(wait=True)
    second = last.eachlabs.retry_failed(wait=True)
    assert sandbox.accepted_count() == 4
    assert second["execution_id"].tolist() == first["execution_id"].tolist()
    again = out.eachlabs.retry_failed(wait=True)
    assert sandbox.accepted_count() == 6
    assert again["execution_id"].tolist()[2] == first["execution_id"].tolist()[0]


@pytest.mark.parametrize("order", [1, -1])
def test_a_row_with_its_old_and_new_failure_is_retried_once(sandbox: Sandbox, order: int) -> None:
    """A result and its retry are concatenated; with retrigger=True each row of the frame is sent."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] == "p1")
    out = frame(2).eachlabs.bulk_trigger(WF, wait=True)
    again = out.eachlabs.retry_failed(wait=True)
    sandbox.change(fail_when=None)
    both = pd.concat([out, again][::order])
    done = both[both["status"] == "failed"].eachlabs.retry_failed(wait=True)
    assert sandbox.accepted_count() == 4
    old, new = done["execution_id"].tolist()[::order]
    assert (old, new != again["execution_id"].tolist()[1]) == (again["execution_id"].tolist()[1], True)
    both.eachlabs.bulk_trigger(WF, ["prompt"], retrigger=True)
    assert sandbox.accepted_count() == 8


def test_a_failed_retry_is_retried_only_from_its_own_frame(sandbox: Sandbox) -> None:
    """The old frame gets the newer failure; the newer frame retries it once more."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] == "p1")
    out = frame(5).eachlabs.bulk_trigger(WF, wait=True)
    first = out.eachlabs.retry_failed(wait=True)
    second = out.eachlabs.retry_failed(wait=True)
    assert sandbox.accepted_count() == 6
    assert second["execution_id"].tolist() == first["execution_id"].tolist()
    assert second["status"].tolist() == first["status"].tolist()
    second.eachlabs.retry_failed(wait=True)
    assert sandbox.accepted_count() == 7


def test_a_lost_retry_is_not_resent_from_the_old_frame(sandbox: Sandbox) -> None:
    """Its row stays unknown until it is found."""
    ef.configure(settle_window=0.5)
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] == "p1")
    out = frame(5).eachlabs.bulk_trigger(WF, wait=True)
    sandbox.faults(Fault("error_before", at={1}))
    first = out.eachlabs.retry_failed()
    assert first["status"].tolist()[1] == "unknown"
    second = out.eachlabs.retry_failed()
    assert second["status"].tolist()[1] == "unknown"
    assert sandbox.accepted_count() == 5


def test_concurrent_retries_pay_once(sandbox: Sandbox) -> None:
    """Calls of several dashboards, cells or processes do not send the same rows."""
    sandbox.change(fail_when=lambda inputs: int(inputs["prompt"][1:]) % 2 == 0)
    out = frame(40).eachlabs.bulk_trigger(WF, wait=True)
    sandbox.change(fail_when=None, latency=0.05)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: out.eachlabs.retry_failed(wait=True), range(4)))
    assert sandbox.accepted_count() == 60
    assert {tuple(out["execution_id"]) for out in done} == {tuple(done[0]["execution_id"])}


def test_retry_failed_continues_the_run(sandbox: Sandbox) -> None:
    """Only the failed rows are sent again, in their own positions of the run, also among equal rows."""
    rows = pd.DataFrame({"prompt": ["same", "[fail] x", "same", "[fail] x"]})
    out = rows.eachlabs.bulk_trigger(WF, run="one", wait=True)
    assert out["status"].tolist() == ["completed", "failed", "completed", "failed"]
    again = out.eachlabs.retry_failed()
    assert accepted_count(sandbox) == 6
    loaded = ef.load_run("one")
    assert sorted(loaded["execution_id"]) == sorted(again["execution_id"])
    assert loaded["execution_id"].tolist() == again["execution_id"].tolist()


# -- keys -------------------------------------------------------------------------------------------------------------


def keyed(prompts: list[str]) -> pd.DataFrame:
    """Return rows with the keys k0, k1, ..."""
    return pd.DataFrame({"sku": [f"k{row}" for row in range(len(prompts))], "prompt": prompts})


def test_rows_are_identified_by_their_keys(sandbox: Sandbox) -> None:
    """Equal prompts with different keys are different rows, in any order and any part of the frame."""
    rows = keyed(["same", "same", "other"])
    first = rows.eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku")
    second = rows.iloc[[1, 0]].eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku")
    assert second["execution_id"].tolist() == first["execution_id"].iloc[[1, 0]].tolist()
    assert accepted_count(sandbox) == 3


def test_a_key_with_another_input_is_refused(sandbox: Sandbox) -> None:
    """The error names the row, and no row is sent; `retrigger=True` sends the new input."""
    keyed(["a", "b"]).eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku")
    changed = keyed(["a", "B", "c"])
    with pytest.raises(ef.InputError, match=r"row 1: its key was sent in run 'one' with another input"):
        changed.eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku")
    assert accepted_count(sandbox) == 2
    out = changed.iloc[[1]].eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku", retrigger=True)
    assert accepted_count(sandbox) == 3
    loaded = ef.load_run("one")
    assert loaded["prompt"].tolist() == ["a", "B"]
    assert loaded["execution_id"].tolist()[1] == out["execution_id"].iloc[0]
    changed.eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku")
    assert accepted_count(sandbox) == 4


def test_the_input_of_a_key_that_was_never_sent_may_change(sandbox: Sandbox) -> None:
    """A pending row costs nothing, so its input is replaced."""
    sandbox.change(balance_usd=0.0)
    keyed(["a"]).eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku")
    sandbox.top_up(1)
    out = keyed(["A"]).eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku")
    assert out["status"].tolist() == ["queued"]
    assert ef.load_run("one")["prompt"].tolist() == ["A"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["a", "a"], r"row 0 and row 1 have the same key 'a' in column 'sku'"),
        (["a", None], r"row 1 has no key in column 'sku'"),
        ([1, 1.0], r"have the same key"),
        (["a", b"x"], r"row 1, key column 'sku'"),
    ],
)
def test_invalid_keys_are_refused_before_anything_is_sent(sandbox: Sandbox, keys: list[object], message: str) -> None:
    """Keys that are missing, duplicated or not serializable are invalid."""
    rows = pd.DataFrame({"sku": pd.Series(keys, dtype=object), "prompt": ["x", "y"]})
    with pytest.raises(ef.InputError, match=message):
        rows.eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku")
    assert accepted_count(sandbox) == 0


def test_a_key_that_is_no_column_is_refused(sandbox: Sandbox) -> None:
    """The error names the column, and nothing is sent."""
    with pytest.raises(ef.MappingError, match="key='nope': the frame has no columns of this name"):
        frame(2).eachlabs.bulk_trigger(WF, run="one", key="nope")


# -- loading runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(3),
        pd.Index(["x", "y", "y"], name="sku"),
        pd.Index([1.5, np.nan, 2.5]),
        pd.DatetimeIndex(["2026-01-01", "2026-01-02T03:04:05.000006", "2026-01-03"], tz="UTC", name="when"),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["left", None]),
        pd.to_timedelta(["1s", "2s", "3s"]),
        pd.Index([True, False, True]),
    ],
    ids=str,
)
def test_a_loaded_run_has_its_inputs_labels_and_results(sandbox: Sandbox, index: pd.Index) -> None:
    """The frame is built from the journal alone."""
    rows = pd.DataFrame({"prompt": ["a", "b", "c"], "seed": [1, 2, 3]}, index=index)
    out = rows.eachlabs.bulk_trigger(WF, ["prompt", "seed"], run="one", wait=True)
    loaded = ef.load_run("one")
    assert loaded.index.equals(out.index) or list(loaded.index) == list(out.index) or index.hasnans
    assert list(loaded.index.names) == list(out.index.names)
    assert loaded[["prompt", "seed"]].to_numpy().tolist() == rows.to_numpy().tolist()
    for name in RESULT:
        pd.testing.assert_series_equal(
            loaded[name].reset_index(drop=True), out[name].reset_index(drop=True), check_names=False
        )


SUMMER_TIME = pd.date_range("2026-10-24 23:30", periods=5, freq="h", tz="UTC").tz_convert("Europe/Berlin")


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("2026-03-28", periods=3, tz="America/New_York"),
        pd.date_range("2026-03-07", periods=3, tz="America/New_York"),
        SUMMER_TIME[:3],
        SUMMER_TIME[1:4],
        pd.date_range("2026-03-07", periods=3).as_unit("s"),
        pd.Index([date(2026, 1, 2), date(2026, 1, 3), date(2025, 2, 28)], dtype=object),
        pd.Index([time(1, 2), time(3, 4, 5, 6), time(0)], dtype=object),
        pd.period_range("2026-01", periods=3, freq="M"),
        pd.period_range("2026-01", periods=3, freq="W-TUE"),
        pd.interval_range(0, 3, closed="left"),
        pd.interval_range(pd.Timestamp("2026-01-01"), periods=3, freq="D"),
        pd.Index([UUID(int=1), UUID(int=2), UUID(int=2**127)], dtype=object),
        pd.Index([Decimal("1.10"), Decimal("NaN"), Decimal(3)], dtype=object),
        pd.Index([b"x", b"\xff", b""], dtype=object),
        pd.Index([2**70, -1, 0], dtype=object),
        pd.Index([1, None, "x"], dtype=object),
        pd.Index([1, pd.NA, 3], dtype="Int64"),
        pd.MultiIndex.from_product([[date(2026, 1, 2)], SUMMER_TIME[:3]]),
    ],
    ids=str,
)
def test_index_labels_survive_a_json_round_trip(index: pd.Index) -> None:
    """Values and types stay the same, with time zones at a DST change, dates, periods, intervals and UUIDs."""
    written = json.loads(json.dumps(list(labels_to_json(index.tolist()))))
    loaded = index_from_json(written, [None] * index.nlevels).tolist()
    for label, original in zip(loaded, index.tolist(), strict=True):
        if not isinstance(original, tuple) and pd.isna(original):
            assert pd.isna(label)
            continue
        assert type(label) is type(original)
        assert str(label) == str(original)
        assert label == original
    if isinstance(index, pd.DatetimeIndex):
        assert str(index_from_json(written, [None]).tz) == str(index.tz)


def test_a_timestamp_with_an_unknown_zone_keeps_its_instant() -> None:
    """Its UTC offset is used."""
    label = label_from_json({"kind": "timestamp", "value": "2026-07-01T12:00:00+02:00", "zone": "Mars/Olympus"})
    assert label == pd.Timestamp("2026-07-01T10:00:00Z")


def test_a_loaded_run_can_be_continued(sandbox: Sandbox) -> None:
    """Its pending rows are sent in the same run with their recorded inputs."""
    sandbox.change(balance_usd=0.10)
    animals = pd.DataFrame({"animal": [f"fox {row}" for row in range(20)]})
    inputs = {"prompt": ef.template("A {animal}"), "style": ef.lit("noir")}
    animals.eachlabs.bulk_trigger(WF, inputs, run="one", max_concurrency=1)
    loaded = ef.load_run("one")
    assert loaded["status"].value_counts().to_dict() == {"queued": 10, "pending": 10}
    assert loaded["error"].dropna().str.contains("not sent: HTTP 402").all()
    sandbox.top_up(1)
    out = loaded.eachlabs.bulk_trigger(WF, wait=True)
    assert out["status"].tolist() == ["completed"] * 20
    assert accepted_count(sandbox) == 20
    again = animals.eachlabs.bulk_trigger(WF, inputs, run="one")
    assert again["execution_id"].tolist() == out["execution_id"].tolist()
    assert accepted_count(sandbox) == 20


def test_results_of_wait_are_recorded_in_the_journal(sandbox: Sandbox) -> None:
    """Outputs, times and costs are loaded, not only the results of the call that triggered."""
    out = frame(12).eachlabs.bulk_trigger(WF, run="one")
    done = out.eachlabs.wait()
    loaded = ef.load_run("one")
    assert loaded["output"].tolist() == done["output"].tolist()
    assert loaded["status"].tolist() == ["completed"] * 12
    assert loaded["cost"].tolist() == done["cost"].tolist()


def test_runs_are_listed_with_their_counts(sandbox: Sandbox) -> None:
    """The newest is first; a row that does not match the schema counts as invalid."""
    frame(12).eachlabs.bulk_trigger(WF, run="older", wait=True)
    mixed = pd.DataFrame({"prompt": ["a", None, "b"]})
    mixed.eachlabs.bulk_trigger(WF, run="newer")
    listed = ef.runs()
    assert listed["run"].tolist() == ["newer", "older"]
    assert listed["rows"].tolist() == [3, 12]
    assert listed[["queued", "invalid", "completed"]].to_numpy().tolist() == [[2, 1, 0], [0, 0, 12]]
    assert listed["cost"].tolist()[1] == pytest.approx(0.12)
    assert str(listed["created_at"].dtype) == "datetime64[ns, UTC]"


def test_runs_say_how_many_calls_are_running_in_them(sandbox: Sandbox) -> None:
    """The display has the column only while there are any."""
    frame(2).eachlabs.bulk_trigger(WF, run="older")
    frame(2).eachlabs.bulk_trigger(WF, run="newer")
    journal = open_journal(current().journal)
    spec = journal.spec_of("older")
    assert spec is not None
    entry = journal.open("older")
    entry.enter(spec)
    try:
        assert ef.runs()["workers"].tolist() == [0, 1]
        assert "workers" in (ef.runs()._repr_html_() or "").partition("</table>")[0]
    finally:
        entry.close()
    assert ef.runs()["workers"].tolist() == [0, 0]
    assert "workers" not in (ef.runs()._repr_html_() or "").partition("</table>")[0]


def test_a_dashboard_names_the_workers_of_a_run(sandbox: Sandbox) -> None:
    """Where a bulk operation was sent by another process than the others; one process is not worth a column."""
    frame(2).eachlabs.bulk_trigger(WF, run="both")
    frame(2, start=2).eachlabs.bulk_trigger(WF, run="both")
    assert f":{os.getpid()}" not in repr(ef.load_run("both").eachlabs.dashboard())
    with closing(sqlite3.connect(str(current().journal))) as connection, connection:
        connection.execute("UPDATE sessions SET host = 'other', process = 7 WHERE id = 1")
    board = ef.load_run("both").eachlabs.dashboard()
    try:
        assert "other:7" in repr(board)
        assert f":{os.getpid()}" in repr(board)
    finally:
        board.close()


def test_tables_of_runs_and_bulk_operations_fit_a_page(sandbox: Sandbox) -> None:
    """They have 120 characters, under 1,000 px in Chromium; columns left out are named and are in the data."""
    out = frame(12).eachlabs.bulk_trigger(WF, run="a-run-with-quite-a-long-name", wait=True)
    listed = ef.runs().assign(**dict.fromkeys(["version_id", "workflow_id"], str(UUID(int=7))))
    for counts in (listed, listed.assign(**dict.fromkeys(STATUSES, 1_000)), out.eachlabs.summary()):
        page = CountsFrame(counts)._repr_html_() or ""
        table, _, remark = page.partition("</table>")
        head, cells = (re.findall(rf"<{tag}>(.*?)</{tag}>", table) for tag in ("th", "td"))
        names = [name for name in head if name in counts.columns]
        assert sum(max(len(name), len(cell)) + 2 for name, cell in zip(names, cells, strict=False)) <= 120
        assert set(names) | set(re.findall(r"\w+", remark)) >= set(counts.columns)
    assert "base_url" not in ef.runs()._repr_html_().partition("</table>")[0]
    assert ef.runs().columns[-1] == "base_url"
    assert re.search(r">\d{4}-\d\d-\d\d \d\d:\d\d:\d\d<", ef.runs()._repr_html_())
    assert type(ef.runs().head()) is pd.DataFrame


def test_an_empty_journal_lists_no_runs() -> None:
    """The frame has no rows but every column."""
    listed = ef.runs()
    assert listed.empty
    assert {"run", "workflow_id", "version_id", "created_at", "rows", "unknown"} <= set(listed.columns)


def test_a_deleted_run_is_forgotten(sandbox: Sandbox) -> None:
    """A repeated call sends its rows again; unknown names are refused with suggestions."""
    frame(3).eachlabs.bulk_trigger(WF, run="one")
    assert ef.delete_run("one") == 3
    frame(1).eachlabs.bulk_trigger(WF, run="another")
    with pytest.raises(ef.RunError, match=r"there is no run 'one'.*the latest are 'another'"):
        ef.load_run("one")
    with pytest.raises(ef.RunError, match=r"there is no run 'anothr'.*did you mean 'another'\?"):
        ef.load_run("anothr")
    ef.delete_run("another")
    with pytest.raises(ef.RunError, match="there is no run 'one'"):
        ef.delete_run("one")
    frame(3).eachlabs.bulk_trigger(WF, run="one")
    assert accepted_count(sandbox) == 7


def test_a_frame_without_attrs_finds_its_run_by_its_bulk_operations(sandbox: Sandbox) -> None:
    """`wait` after a round trip through CSV needs no workflow_id, and its results are recorded."""
    out = frame(4).eachlabs.bulk_trigger(WF, run="one")
    out.attrs.clear()
    done = out.eachlabs.wait()
    assert done.attrs["eachlabs"]["run"] == "one"
    assert ef.load_run("one")["status"].tolist() == ["completed"] * 4


@pytest.mark.parametrize("run", ["", "  ", 7, "a\nb", "x" * 201])
def test_an_invalid_run_name_is_refused(sandbox: Sandbox, run: object) -> None:
    """Nothing is sent for a name that is empty, too long or has control characters."""
    with pytest.raises(ef.ConfigurationError, match="run must be a name"):
        frame(2).eachlabs.bulk_trigger(WF, run=run)
    assert accepted_count(sandbox) == 0


def test_without_a_journal_there_are_no_named_runs(sandbox: Sandbox) -> None:
    """Disabling the journal warns once; a run name is then refused, and a call without a name works."""
    with pytest.warns(UserWarning, match="the journal is off") as caught:
        ef.configure(journal=None)
    assert len(caught) == 1
    with pytest.raises(ef.ConfigurationError, match="needs the journal, which is off"):
        frame(2).eachlabs.bulk_trigger(WF, run="one")
    with pytest.raises(ef.ConfigurationError, match="the journal is off"):
        ef.runs()
    out = frame(2).eachlabs.bulk_trigger(WF)
    assert out["status"].tolist() == ["queued"] * 2
    assert out.attrs["eachlabs"]["run"] is None


def test_a_journal_that_cannot_be_used_stops_a_call_before_anything_is_sent(sandbox: Sandbox, tmp_path: Path) -> None:
    """A call never continues without the configured journal."""
    (tmp_path / "notes.txt").write_text("these are my notes, not a database" * 100)
    ef.configure(journal=tmp_path / "notes.txt")
    with pytest.raises(ef.JournalError, match=r"configure\(journal=\.\.\.\)"):
        frame(2).eachlabs.bulk_trigger(WF)
    assert len(sandbox.requests) == 0
    assert (tmp_path / "notes.txt").read_text().startswith("these are my notes")


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=12), min_size=1, max_size=4))
def test_overlapping_frames_of_a_run_pay_each_occurrence_once(sandbox: Sandbox, calls: list[list[int]]) -> None:
    """For any frames, the executions of a prompt are as many as the most that one frame had."""
    sandbox.reset()
    name = f"run-{np.random.default_rng().integers(2**60)}"
    most: dict[str, int] = {}
    for rows in calls:
        prompts = [f"p{row}" for row in rows]
        out = pd.DataFrame({"prompt": prompts}).eachlabs.bulk_trigger(WF, run=name)
        assert out["execution_id"].is_unique
        inputs = {record.execution_id: record.inputs["prompt"] for record in sandbox.accepted}
        assert [inputs[execution_id] for execution_id in out["execution_id"]] == prompts
        for prompt in prompts:
            most[prompt] = max(most.get(prompt, 0), prompts.count(prompt))
    assert {prompt: sandbox.accepted_count({"prompt": prompt}) for prompt in most} == most


# -- edge cases -------------------------------------------------------------------------------------------------------


def test_a_key_with_another_input_is_refused_in_a_result_too(sandbox: Sandbox) -> None:
    """The frame has the execution of the old input, but the new one is not sent."""
    out = keyed(["a", "b"]).eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku")
    out["prompt"] = ["a", "B"]
    with pytest.raises(ef.InputError, match="row 1: its key was sent"):
        out.eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku")
    assert accepted_count(sandbox) == 2


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [1, 2, 3, 0], [0, 2, 1, 3]])
def test_swapped_inputs_in_a_result_keep_their_executions(sandbox: Sandbox, order: list[int]) -> None:
    """Each input was sent, whichever row has it now."""
    out = frame(4).eachlabs.bulk_trigger(WF, run="one")
    owner = dict(zip(out["prompt"], out["execution_id"], strict=True))
    out["prompt"] = out["prompt"].to_numpy()[order]
    moved = out.eachlabs.bulk_trigger(WF, run="one")
    assert accepted_count(sandbox) == 4
    assert moved["execution_id"].tolist() == [owner[prompt] for prompt in moved["prompt"]]


def test_refused_duplicates_are_retried_in_their_own_rows(sandbox: Sandbox) -> None:
    """Of equal inputs some were accepted; retrying the refused ones does not replace paid executions."""
    sandbox.faults(Fault("bad_request", at=range(2, 40)))
    same = pd.DataFrame({"prompt": ["same"] * 20})
    out = same.eachlabs.bulk_trigger(WF, run="one", max_concurrency=1)
    assert out["status"].value_counts().to_dict() == {"queued": 10, "failed": 10}
    sandbox.faults()
    out[out["status"] == "failed"].eachlabs.retry_failed()
    loaded = ef.load_run("one")
    assert accepted_count(sandbox) == 20
    assert set(loaded["execution_id"]) == {record.execution_id for record in sandbox.accepted}


def test_unknown_duplicates_do_not_get_the_executions_of_others(sandbox: Sandbox) -> None:
    """In a filtered frame they are still the rows whose reply was lost."""
    ef.configure(settle_window=0.2)
    sandbox.change(listing_lag=1e9)
    sandbox.faults(Fault("lost_answer", at={2}))
    same = pd.DataFrame({"prompt": ["same"] * 20})
    out = same.eachlabs.bulk_trigger(WF, run="one", max_concurrency=1)
    lost = out[out["status"] == "unknown"]
    assert (lost.eachlabs.reconcile()["status"] == "unknown").all()
    sandbox.change(listing_lag=0.0)
    reconciled = lost.eachlabs.reconcile()
    assert reconciled["execution_id"].notna().all()
    assert set(reconciled["execution_id"]).isdisjoint(out["execution_id"].dropna())


def test_copies_that_are_triggered_again_are_separate_rows(sandbox: Sandbox) -> None:
    """Each copy is paid, so each is in the run."""
    out = frame(2).eachlabs.bulk_trigger(WF, run="one")
    doubled = pd.concat([out, out], ignore_index=True)
    doubled.attrs = out.attrs
    again = doubled.eachlabs.bulk_trigger(WF, run="one", retrigger=True)
    assert accepted_count(sandbox) == 6
    assert set(again["execution_id"]) <= set(ef.load_run("one")["execution_id"])


def test_large_integers_are_loaded_exactly(sandbox: Sandbox) -> None:
    """Next to a missing value pandas would convert them to floats, which is another input."""
    seeds = pd.DataFrame({"prompt": ["a", "b", "c"], "seed": pd.array([2**53 + 1, None, 3], dtype="Int64")})
    seeds.eachlabs.bulk_trigger(WF, ["prompt", "seed"], run="one")
    loaded = ef.load_run("one")
    assert loaded["seed"].tolist()[0] == 2**53 + 1
    loaded.eachlabs.bulk_trigger(WF, run="one")
    assert accepted_count(sandbox) == 3


def test_a_loaded_run_with_different_input_keys_needs_inputs(sandbox: Sandbox) -> None:
    """With na="null" a column cannot express that a row had no such key; the error suggests `inputs=`."""
    sandbox.add_workflow("wf_open")
    rows = pd.DataFrame({"prompt": ["a", "b"], "style": ["x", None]})

    def make(row: dict[str, object]) -> dict[str, object]:
        return {key: value for key, value in row.items() if value is not None}

    rows.eachlabs.bulk_trigger("wf_open", make, run="one", na="null")
    with pytest.raises(ef.MappingError, match="pass inputs="):
        ef.load_run("one").eachlabs.bulk_trigger("wf_open", run="one", na="null")
    assert accepted_count(sandbox) == 2


def test_a_run_of_frames_with_different_indexes_can_be_loaded(sandbox: Sandbox) -> None:
    """Labels of mixed shape do not prevent loading the results."""
    df = frame(2).set_index(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]))
    df.eachlabs.bulk_trigger(WF, run="one")
    pd.concat([df.reset_index(drop=True), frame(1, start=9)]).eachlabs.bulk_trigger(WF, run="one")
    assert ef.load_run("one")["execution_id"].notna().all()
    assert accepted_count(sandbox) == 3


def test_a_reply_is_recorded_before_observers_are_called(sandbox: Sandbox) -> None:
    """An observer that ends the process loses no execution."""

    def leave(event: ef.Event) -> None:
        if event.kind == "answered":
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        frame(10).eachlabs.bulk_trigger(WF, run="one", progress=leave)
    assert ef.load_run("one")["execution_id"].notna().sum() == accepted_count(sandbox) == 10


def test_results_in_the_frame_are_kept_if_the_journal_is_older(sandbox: Sandbox) -> None:
    """A wait with the journal off is not recorded; a later call does not replace its results by older ones."""
    out = frame(3).eachlabs.bulk_trigger(WF, run="one")
    path = ef.configure().journal
    with pytest.warns(UserWarning, match="journal is off"):
        ef.configure(journal=None)
    done = out.eachlabs.wait()
    ef.configure(journal=path)
    again = done.eachlabs.bulk_trigger(WF, run="one")
    assert again["status"].tolist() == ["completed"] * 3
    assert again["output"].tolist() == done["output"].tolist()


def test_a_call_that_only_waits_records_the_results(sandbox: Sandbox) -> None:
    """No row was left to send."""
    out = frame(3).eachlabs.bulk_trigger(WF, run="one")
    out.eachlabs.bulk_trigger(WF, wait=True)
    assert ef.load_run("one")["status"].tolist() == ["completed"] * 3


def test_a_refused_call_leaves_no_run(sandbox: Sandbox) -> None:
    """Its name and the options that the run would be fixed to are free."""
    rows = pd.DataFrame({"prompt": ["a", b"bytes"]})
    with pytest.raises(ef.InputError):
        rows.eachlabs.bulk_trigger(WF, ["prompt"], run="one")
    with pytest.raises(ef.InputError):
        rows.eachlabs.bulk_trigger(WF, ["prompt"])
    assert ef.runs().empty
    frame(2).eachlabs.bulk_trigger(WF, {"prompt": ef.template("A {prompt}")}, run="one")
    assert accepted_count(sandbox) == 2


def test_a_run_with_keys_is_loaded_with_them_and_can_be_continued(sandbox: Sandbox) -> None:
    """The key column is loaded although it is no part of the input."""
    sandbox.change(balance_usd=0.10)
    rows = keyed([f"p{row}" for row in range(15)])
    rows.eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku", max_concurrency=1)
    loaded = ef.load_run("one")
    assert loaded["sku"].tolist() == rows["sku"].tolist()
    assert loaded["prompt"].tolist() == rows["prompt"].tolist()
    sandbox.top_up(1)
    out = loaded.iloc[::-1].eachlabs.bulk_trigger(WF, run="one")
    assert out["execution_id"].notna().all()
    assert accepted_count(sandbox) == 15
    assert out.eachlabs.reconcile()["execution_id"].tolist() == out["execution_id"].tolist()


def test_a_loaded_run_marks_superseded_rows(sandbox: Sandbox) -> None:
    """Rows whose input was edited after they were sent or refused are marked; duplicate labels in one call are not."""
    df = pd.DataFrame({"prompt": ["a", "b", "c", None]}, index=["x", "y", "y", "z"])
    out = df.eachlabs.bulk_trigger(WF, run="edits", wait=True)
    assert "superseded" not in ef.load_run("edits")
    out.iloc[0, 0], out.iloc[3, 0] = "a2", "d"
    out = out.eachlabs.bulk_trigger(WF, wait=True)
    loaded = ef.load_run("edits")
    assert loaded.loc[loaded["superseded"], "prompt"].fillna("-").tolist() == ["a", "-"]
    assert loaded["superseded"].dtype == bool
    current = loaded[~loaded["superseded"]]
    assert sorted(current["prompt"]) == ["a2", "b", "c", "d"]
    assert set(current["execution_id"]) == set(out["execution_id"])
    again = loaded.eachlabs.bulk_trigger(WF, wait=True)
    assert sandbox.accepted_count() == 5
    assert len(again) == 6


def test_columns_of_inputs_do_not_depend_on_chunks() -> None:
    """Missing keys, kinds that only a later chunk has, and integers that pandas would make floats."""
    rows: list[dict[str, Any]] = [
        {"text": "a", "whole": 1, "flag": True, "mixed": 1, "list": [1]},
        {"text": "b", "whole": 2, "flag": False, "mixed": 2, "list": [2]},
        {"whole": 2**62 + 1, "mixed": "x", "list": [], "number": 0.5},
        {"text": None, "whole": None, "number": None, "late": "z", "mixed": 0.5, "flag": True},
    ]
    keys = ["text", "whole", "flag", "mixed", "list", "number", "late"]
    expected = {key: column_of([row.get(key) for row in rows]) for key in keys}
    for size in (1, 2, 3, 4):
        stored = StoredInputs()
        for start in range(0, len(rows), size):
            stored.add(rows[start : start + size])
        assert not stored.has_all_keys
        columns = stored.columns()
        assert list(columns) == keys
        for key, column in expected.items():
            pd.testing.assert_series_equal(columns[key], column)
        assert stored.checksums.tolist() == checksums_of(rows).tolist()
