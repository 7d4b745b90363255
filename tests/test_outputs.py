"""`outputs`: a result's outputs one a line, or the steps of its executions; every line stays with its row."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.api import reader
from eachlabs_frames.frames.columns import read as read_results
from eachlabs_frames.frames.columns import write
from eachlabs_frames.frames.output_rows import output_items
from eachlabs_frames.media import urls
from eachlabs_frames.models import Outcome, Reply, Request
from eachlabs_frames.results import Results
from eachlabs_frames.sandbox import Fault, Sandbox, Step
from tests.fakes import Answer, FakeTransport, ManualClock, reply
from tests.test_output_items import FOX, OWL, PAGE
from tests.test_output_items import outputs as any_outputs

COLUMNS = ["row", "n", "execution_id", "status", "kind", "output", "url", "key", "error"]
STEP_COLUMNS = ["row", "n", "execution_id", "status", "step_id", "step_status", "model", "started_at", "completed_at"]
STEP_COLUMNS += ["elapsed", "primary", "output", "error"]


def result(values: list[Any], index: Any = None, *, prefix: str = "") -> pd.DataFrame:
    """Make a frame of completed executions with these outputs; one without is failed."""
    results = Results(len(values))
    for row, value in enumerate(values):
        status, error = ("failed", "no") if value is None else ("completed", None)
        results.replace(Outcome(row, status, "b", f"e{row}", error, output=value))
    return write(pd.DataFrame({"prompt": [f"p{row}" for row in range(len(values))]}, index=index), results, prefix)


labels = st.sampled_from(["x", "y", None, 3])


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(any_outputs, labels), max_size=6), st.booleans())
def test_lines_stay_with_their_rows_and_nothing_is_lost(rows: list[tuple[Any, Any]], expand: bool) -> None:
    """Whatever the outputs and however often a label comes: by position, in order, each row at least once."""
    values = [value for value, _ in rows]
    index = pd.Index([label for _, label in rows], dtype=object, name="label")
    frame = result(values, index)
    lines = frame.eachlabs.outputs(expand=expand)
    assert lines.columns.tolist()[: len(COLUMNS)] == COLUMNS
    assert lines["row"].tolist() == sorted(lines["row"].tolist())
    assert lines.index.equals(frame.index.take(lines["row"]))
    assert lines.index.names == ["label"]
    for row, value in enumerate(values):
        here = lines[lines["row"] == row]
        assert here["n"].tolist() == list(range(len(here)))
        assert here["execution_id"].tolist() == [f"e{row}"] * len(here)
        found = output_items(value)
        assert len(here) == max(1, len(found))
        assert all(one is piece.value for one, piece in zip(here["output"], found, strict=False) if is_leaf(one))
        assert here["url"].dropna().tolist() == [url for _, url in urls(value, None, any_length=True)]
        if value is None:
            assert here["kind"].isna().all()
            assert here["error"].tolist() == ["no"]


def is_leaf(value: Any) -> bool:
    """Say whether a value is handed on as it is: lists and objects are looked through for arrays."""
    return isinstance(value, str)


def test_columns_have_their_dtypes_also_where_nothing_is() -> None:
    """The row and the line are numbers, what is said is text, and the output is whatever it is."""
    expected = dict.fromkeys(COLUMNS, "string") | {"row": "int64", "n": "int64", "output": "object"}
    for values in ([], [None], [FOX, "a fox", 1, [FOX, OWL], {"a": 1}]):
        lines = result(values).eachlabs.outputs()
        assert {name: str(dtype) for name, dtype in lines.dtypes.items()} == expected


def test_a_row_of_several_pictures_becomes_several_lines(sandbox: Sandbox) -> None:
    """Texts and objects too; a row that failed keeps one line with its error; the frame stays as it was."""
    df = pd.DataFrame({"prompt": ["a fox", "b [fail]", "c"], "num_images": [3, 2, 1]}, index=["x", "x", "y"])
    out = df.eachlabs.bulk_trigger("wf_images", wait=True)
    before = out.copy(deep=True)
    lines = out.eachlabs.outputs()
    assert lines.index.tolist() == ["x", "x", "x", "x", "y"]
    assert lines["row"].tolist() == [0, 0, 0, 1, 2]
    assert lines["n"].tolist() == [0, 1, 2, 0, 0]
    assert lines["kind"].tolist()[:3] == ["image"] * 3
    assert lines["url"].dropna().tolist() == [*out["output"].iloc[0], *out["output"].iloc[2]]
    assert "[fail]" in lines["error"].iloc[3]
    assert lines["status"].tolist() == ["completed"] * 3 + ["failed", "completed"]
    pd.testing.assert_frame_equal(out, before)


def test_a_multiindex_keeps_its_levels_and_names() -> None:
    """Each label as often as its row has lines."""
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["who", "what"])
    lines = result([[FOX, OWL], "x"], index).eachlabs.outputs()
    assert lines.index.tolist() == [("a", 1), ("a", 1), ("b", 2)]
    assert list(lines.index.names) == ["who", "what"]


def test_expanded_objects_have_a_column_for_each_key() -> None:
    """With the dtype of what they hold; the lines are the same, and the object stays."""
    values = [
        {"text": "hi", "words": 2, "score": 0.5, "safe": True, "meta": {"w": 1, "tags": ["a"]}},
        {"text": None, "words": 3, "score": 1, "meta": {"w": 2.5}},
        "not an object",
        [{"words": 4}, {"words": 5}],
    ]
    frame = result(values)
    lines = frame.eachlabs.outputs(expand=True)
    pd.testing.assert_frame_equal(lines[COLUMNS], frame.eachlabs.outputs())
    assert lines.columns.tolist()[len(COLUMNS) :] == ["text", "words", "score", "safe", "meta.w", "meta.tags"]
    dtypes = {name: str(lines[name].dtype) for name in lines.columns[len(COLUMNS) :]}
    assert dtypes == {
        "text": "string",
        "words": "Int64",
        "score": "float64",
        "safe": "boolean",
        "meta.w": "float64",
        "meta.tags": "object",
    }
    assert lines["words"].fillna(-1).tolist() == [2, 3, -1, 4, 5]
    assert lines["meta.tags"].tolist() == [["a"], None, None, None, None]
    whole = result([{"n": 1, "ok": True}, {"n": 2, "ok": False}]).eachlabs.outputs(expand=True)
    assert [str(whole[name].dtype) for name in ("n", "ok")] == ["int64", "bool"]


def test_an_object_with_pictures_is_a_line_for_each_with_its_keys_beside_it() -> None:
    """So the URLs are in one column, and what was said with them is in each of their lines."""
    lines = result([{"images": [{"url": FOX}, {"url": PAGE}], "seed": 5}]).eachlabs.outputs(expand=True)
    assert lines["url"].tolist() == [FOX, PAGE]
    assert lines["kind"].tolist() == ["image", "link"]
    assert lines["key"].tolist() == ["images.0.url", "images.1.url"]
    assert lines["seed"].tolist() == [5, 5]
    assert lines["output"].iloc[0] is lines["output"].iloc[1]


def test_a_key_with_another_columns_name_is_told_apart() -> None:
    """A status that the model gave is not the row's; two paths of one name are two columns."""
    lines = result([{"status": "ok", "a.b": 1, "a": {"b": 2}, "output": {"status": 3}}]).eachlabs.outputs(expand=True)
    assert lines["status"].tolist() == ["completed"]
    added = {name: lines[name].iloc[0] for name in lines.columns[len(COLUMNS) :]}
    assert added == {"output.status": "ok", "a.b": 1, "output.a.b": 2, "output.output.status": 3}


def test_an_object_of_very_many_keys_is_not_expanded_without_end() -> None:
    """The first 500; the others are where they were."""
    output = {f"k{n}": n for n in range(2_000)} | {"big": 2**70}
    lines = result([output]).eachlabs.outputs(expand=True)
    assert lines.shape[1] == len(COLUMNS) + 500
    assert lines["output"].iloc[0] == output


def test_mixed_and_large_values_stay_as_they_are() -> None:
    """No number is changed to fit beside another."""
    values = [{"a": 2**70, "b": 1, "c": 2**60 + 1}, {"a": 1, "b": "x", "c": 0.5}]
    lines = result(values).eachlabs.outputs(expand=True)
    assert [lines[name].tolist() for name in ("a", "b", "c")] == [[2**70, 1], [1, "x"], [2**60 + 1, 0.5]]


def test_files_stand_beside_their_urls() -> None:
    """Of a row's several files each beside its own; where their number differs, nothing is guessed."""
    frame = result([FOX, [FOX, "a text", {"clip": OWL, "page": PAGE}], "text", [FOX, OWL], None])
    paths: list[Any] = ["0.png", ["1-0.png", None, "1-2.html"], None, ["3.png"], None]
    frame["path"] = pd.Series(paths, dtype=object)
    assert "path" not in frame.eachlabs.outputs().columns
    frame.attrs["eachlabs_download"] = {"column": "path"}
    lines = frame.eachlabs.outputs()
    assert str(lines["path"].dtype) == "string"
    expected = ["0.png", "1-0.png", None, None, "1-2.html", None, None, None, None]
    assert [None if path is pd.NA else path for path in lines["path"].tolist()] == expected
    assert lines["kind"].tolist()[1:5] == ["image", "text", "video", "link"]
    frame.attrs["eachlabs_download"] = {"column": "gone"}
    assert "path" not in frame.eachlabs.outputs().columns


def test_what_was_downloaded_stands_beside_its_url(sandbox: Sandbox, tmp_path: Any) -> None:
    """The whole way: several pictures a row, one, and a row that failed."""
    df = pd.DataFrame({"prompt": ["a", "b [fail]", "c"], "num_images": [2, 2, 1]})
    out = df.eachlabs.bulk_trigger("wf_images", wait=True).eachlabs.download(tmp_path, progress=False)
    lines = out.eachlabs.outputs()
    assert lines["path"].isna().tolist() == [False, False, True, False]
    for url, path in lines[["url", "path"]].dropna().to_numpy().tolist():
        assert Path(path).read_bytes() == urlopen(url).read()


def test_a_frame_from_a_parquet_file_can_be_downloaded(sandbox: Sandbox, tmp_path: Any) -> None:
    """And keeps its files beside their URLs when it goes through a file once more."""
    df = pd.DataFrame({"prompt": ["a", "b"], "num_images": [2, 1]})
    df.eachlabs.bulk_trigger("wf_images", wait=True).to_parquet(tmp_path / "out.parquet")
    got = pd.read_parquet(tmp_path / "out.parquet").eachlabs.download(tmp_path / "files", progress=False)
    assert [len(paths) if isinstance(paths, list) else 1 for paths in got["path"]] == [2, 1]
    lines = got.eachlabs.outputs()
    assert lines["path"].notna().tolist() == [True] * 3


def test_a_row_that_was_sent_again_has_its_former_files_no_more(sandbox: Sandbox, tmp_path: Any) -> None:
    """A picture of the execution before is not shown beside the new one's URL; the other rows keep theirs."""
    df = pd.DataFrame({"prompt": ["a", "b", "c"]}, index=["x", "x", "y"])
    out = df.eachlabs.bulk_trigger("wf_abc123", run="files", wait=True).eachlabs.download(tmp_path, progress=False)
    out.isetitem(0, pd.Series(["a", "another", "c"], index=out.index))
    before = out.copy(deep=True)
    for inplace in (False, True):
        again = out.eachlabs.bulk_trigger("wf_abc123", ["prompt"], run="files", inplace=inplace, wait=True)
        assert (again is out) == inplace
        assert again["path"].isna().tolist() == [False, True, False]
        assert again.eachlabs.outputs()["path"].isna().tolist() == [False, True, False]
        assert inplace or out.equals(before)
    whole = again.eachlabs.download(tmp_path, name="{index}-{row}", progress=False)
    assert whole["path"].notna().all()
    anew = whole.eachlabs.bulk_trigger("wf_abc123", ["prompt"], retrigger=True, wait=True)
    assert anew["path"].isna().all()
    assert anew["path"].dtype == object
    assert whole.eachlabs.refresh()["path"].notna().all()


def test_files_of_another_result_do_not_stand_beside_its_urls(sandbox: Sandbox, tmp_path: Any) -> None:
    """In a frame of two results, of which one was downloaded: for the other no file is guessed."""
    both = pd.DataFrame({"prompt": ["a"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
    both = both.eachlabs.bulk_trigger("wf_images", ["prompt"], prefix="b_", wait=True)
    for downloaded, other in (("", "b_"), ("b_", "")):
        got = both.eachlabs.download(tmp_path / f"x{downloaded}", prefix=downloaded, progress=False)
        assert got.eachlabs.outputs(prefix=downloaded)["path"].notna().all()
        assert "path" not in got.eachlabs.outputs(prefix=other)


def test_a_frame_with_a_prefix_and_one_that_lost_its_attrs() -> None:
    """The prefix is known from the attrs, else from the columns; it may be named."""
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0)):
        df = pd.DataFrame({"prompt": ["a"], "status": ["mine"]})
        out = df.eachlabs.bulk_trigger("wf_abc123", ["prompt"], prefix="r_", wait=True)
    assert out.eachlabs.outputs()["kind"].tolist() == ["image"]
    out.attrs.clear()
    assert out.eachlabs.outputs(prefix="r_")["kind"].tolist() == ["image"]
    assert out.eachlabs.outputs()["kind"].tolist() == ["image"]
    with pytest.raises(ef.ColumnError, match="no result with prefix=''"):
        out.eachlabs.outputs(prefix="")


def test_what_went_through_a_file_is_read_again(tmp_path: Any) -> None:
    """Parquet gives lists back as arrays, and objects that lack each other's keys; of CSV a list is one text."""
    frame = result([[FOX, OWL], [PAGE], None])
    frame.to_parquet(tmp_path / "out.parquet")
    again = pd.read_parquet(tmp_path / "out.parquet")
    assert isinstance(again["output"].iloc[0], np.ndarray)
    pd.testing.assert_frame_equal(again.eachlabs.outputs(), frame.eachlabs.outputs())
    assert read_results(again, "").output == [[FOX, OWL], [PAGE], None]
    nested = result([{"images": [{"url": FOX}, {"url": OWL}]}, {"seed": 1}])
    nested.to_parquet(tmp_path / "out.parquet")
    lines = pd.read_parquet(tmp_path / "out.parquet").eachlabs.outputs()
    assert lines["url"].dropna().tolist() == [FOX, OWL]
    read = pd.read_csv(io.StringIO(result([FOX, ["a"], None]).to_csv()), index_col=0)
    lines = read.eachlabs.outputs()
    assert lines["url"].dropna().tolist() == [FOX]
    assert lines["output"].tolist()[1:] == ["['a']", None]


@pytest.mark.parametrize("name", ["expand", "steps"])
def test_an_option_is_a_word_of_two(name: str) -> None:
    """Before anything is asked."""
    options: dict[str, Any] = {name: "yes"}
    with pytest.raises(ef.ConfigurationError, match=f"{name} must be True or False"):
        result([FOX]).eachlabs.outputs(**options)


# -- steps ------------------------------------------------------------------------------------------------------------

THREE = (
    Step("story", model="gpt-mini", output=lambda inputs: {"story": f"On {inputs['prompt']}", "words": 2}),
    Step("post", type="http", output=lambda inputs: [1, 2]),
    Step("draw", model="flux-dev"),
)


def test_steps_are_one_a_line_in_the_order_of_their_start(sandbox: Sandbox) -> None:
    """With what each took; of a failed execution those before and after the culprit."""
    sandbox.add_workflow("wf_three", steps=THREE)
    sandbox.change(run_seconds=(0.03, 0.03), timestamp_digits=6)
    df = pd.DataFrame({"prompt": ["a fox", "b [fail]"]}, index=["x", "y"])
    out = df.eachlabs.bulk_trigger("wf_three", wait=True)
    lines = out.eachlabs.outputs(steps=True)
    assert lines.columns.tolist() == STEP_COLUMNS
    assert lines.index.tolist() == ["x"] * 3 + ["y"] * 3
    assert lines["row"].tolist() == [0, 0, 0, 1, 1, 1]
    assert lines["n"].tolist() == [0, 1, 2] * 2
    assert lines["step_id"].tolist() == ["story", "post", "draw"] * 2
    assert lines["model"].tolist() == ["gpt-mini", "http", "flux-dev"] * 2
    assert lines["step_status"].tolist() == ["completed"] * 3 + ["completed", "failed", "cancelled"]
    assert lines["output"].tolist()[:3] == [{"story": "On a fox", "words": 2}, [1, 2], out.loc["x", "output"]]
    assert lines["primary"].tolist()[1] == 1
    assert lines["elapsed"].tolist()[:3] == pytest.approx([0.01] * 3, abs=1e-4)
    assert lines["elapsed"].isna().tolist() == [False] * 5 + [True]
    assert "Step 'post' failed" in lines["error"].iloc[4]
    assert lines["error"].drop(lines.index[4:5]).isna().sum() == 3
    times = lines[["started_at", "completed_at"]].dtypes
    assert times.astype(str).tolist() == ["datetime64[ns, UTC]"] * 2
    assert str(lines["elapsed"].dtype) == "float64"
    assert lines["started_at"].iloc[:3].is_monotonic_increasing


def test_steps_that_are_objects_can_be_expanded(sandbox: Sandbox) -> None:
    """Beside the others."""
    sandbox.add_workflow("wf_three", steps=THREE)
    out = pd.DataFrame({"prompt": ["a fox"]}).eachlabs.bulk_trigger("wf_three", wait=True)
    lines = out.eachlabs.outputs(steps=True, expand=True)
    assert lines.columns.tolist() == [*STEP_COLUMNS, "story", "words"]
    assert lines["words"].fillna(0).tolist() == [2, 0, 0]


@pytest.mark.parametrize("dialect", ["current", "legacy"])
def test_rows_without_steps_keep_a_line(dialect: Any) -> None:
    """Not sent, still queued, forgotten by the API: each says what is known, and the others are unharmed."""
    with ef.sandbox.start(dialect=dialect, queue_seconds=0.0, run_seconds=(0.0, 0.0)) as sandbox:
        df = pd.DataFrame({"prompt": ["a", None, "c", "d"]})
        out = df.eachlabs.bulk_trigger("wf_abc123", wait=True)
        out.loc[2, "execution_id"] = "00000000-0000-0000-0000-000000000005"
        out = pd.concat([out, out.iloc[[0]]])
        before = len(sandbox.requests)
        lines = out.eachlabs.outputs(steps=True)
        assert len(sandbox.requests) - before == 3
    assert lines["row"].tolist() == [0, 1, 2, 3, 4]
    assert lines["step_id"].fillna("-").tolist() == ["generate", "-", "-", "generate", "generate"]
    assert lines["status"].iloc[1] == "invalid"
    assert "prompt" in lines["error"].iloc[1]
    assert lines["error"].iloc[2] == "the API no longer has this execution"
    assert lines["elapsed"].isna().tolist() == [False, True, True, False, False]


def test_an_execution_that_is_still_queued_has_no_step_yet() -> None:
    """Its line is there all the same."""
    with ef.sandbox.start(queue_seconds=60.0):
        out = pd.DataFrame({"prompt": ["a"]}).eachlabs.bulk_trigger("wf_abc123")
        lines = out.eachlabs.outputs(steps=True)
    assert lines["step_id"].isna().tolist() == [True]
    assert lines["status"].tolist() == ["queued"]


def test_one_answer_that_is_refused_harms_no_other(sandbox: Sandbox) -> None:
    """Its line says why; an answer that comes late is waited for."""
    out = pd.DataFrame({"prompt": ["a", "b", "c"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
    sandbox.faults(Fault("bad_request", on="details", at={1}))
    lines = out.eachlabs.outputs(steps=True)
    assert lines["step_id"].notna().sum() == 2
    assert lines["error"].dropna().str.startswith("not read: HTTP 400").tolist() == [True]
    sandbox.faults(Fault("error_before", on="details", at={1}, status=503))
    assert out.eachlabs.outputs(steps=True)["step_id"].notna().all()


def _details(request: Request, **more: Any) -> Reply:
    """Answer with the details of the execution that was asked for."""
    return reply(200, {"execution_id": request.path.rpartition("/")[2], "step_outputs": {}, **more})


@pytest.mark.parametrize("status", [400, 403, 410])
def test_details_that_one_execution_is_refused_stay_with_it(status: int) -> None:
    """A 403 may be about one execution alone; the others are read."""

    def answer(request: Request) -> Reply:
        return reply(status, {"error": "no"}) if request.path.endswith("e3") else _details(request)

    found = asyncio.run(_read(answer, size=20))
    assert [known for known, one in found.items() if isinstance(one, str)] == ["e3"]
    assert found["e3"].startswith(reader.FORGOTTEN if status == 410 else f"not read: HTTP {status}")


def test_details_of_another_execution_are_no_answer() -> None:
    """Nothing of them gets into the line of the execution that was asked for."""
    found = asyncio.run(_read(lambda request: _details(request, execution_id="other"), size=2))
    assert set(found.values()) == {"not read: the API returned another execution's details"}


@pytest.mark.parametrize(("status", "error"), [(401, ef.AuthenticationError), (403, ef.PermissionDeniedError)])
def test_a_key_that_may_not_read_is_an_error(status: int, error: type[Exception]) -> None:
    """Not a reason in every line."""
    with pytest.raises(error):
        asyncio.run(_read(lambda request: reply(status, {"error": "no"}), size=20))


def test_an_api_that_is_out_of_reach_is_asked_only_so_often() -> None:
    """Where nothing is answered that is an error; where it ceases to answer, the rest of the lines say so."""
    transport = FakeTransport(lambda request: reply(503))
    with pytest.raises(ef.APIConnectionError, match="no execution's details could be read: not read"):
        asyncio.run(_read(transport, size=500))
    assert len(transport.sent) < 100
    left = iter(range(5))
    found = asyncio.run(_read(lambda request: reply(503) if next(left, None) is None else _details(request), size=500))
    assert len(found) == 500
    assert sum(isinstance(one, dict) for one in found.values()) == 5
    assert list(found.values()).count(reader.NOT_REQUESTED) > 400


def test_a_few_executions_are_read_at_once() -> None:
    """As many as there are workers, and no more."""
    transport = FakeTransport(lambda request: reply(200, {}))
    found = asyncio.run(_read(transport, size=50))
    assert (len(found), len(transport.sent), transport.peak) == (50, 50, 2)


async def _read(answers: Any, *, size: int) -> dict[str, Any]:
    transport = answers if isinstance(answers, FakeTransport) else FakeTransport(_typed(answers))
    ids = [f"e{n}" for n in range(size)]
    return await reader.read_details(ids, transport=transport, clock=ManualClock(), dialect="current", workers=2)


def _typed(answers: Any) -> Any:
    def answer(request: Request) -> Answer:
        made: Answer = answers(request)
        return made

    return answer


def test_whoever_waits_for_steps_sees_how_far_it_is(sandbox: Sandbox) -> None:
    """Rows that are read of those that have an execution; a bar where one is asked for."""
    out = pd.DataFrame({"prompt": ["a", None, "c"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
    events: list[ef.Event] = []
    pd.concat([out, out]).eachlabs.outputs(steps=True, progress=events.append)
    assert [(event.kind, event.done, event.total) for event in events] == [
        ("started", 0, 4),
        ("answered", 2, 4),
        ("answered", 4, 4),
        ("finished", 4, 4),
    ]
    with pytest.raises(ef.ConfigurationError, match="progress must be"):
        out.eachlabs.outputs(progress="yes")


def test_outputs_can_be_awaited(sandbox: Sandbox) -> None:
    """With the same options, on the caller's own loop."""
    out = pd.DataFrame({"prompt": ["a"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)

    async def both() -> tuple[pd.DataFrame, pd.DataFrame]:
        return await out.eachlabs.outputs_async(), await out.eachlabs.outputs_async(steps=True)

    lines, steps = asyncio.run(both())
    pd.testing.assert_frame_equal(lines, out.eachlabs.outputs())
    assert steps["step_id"].tolist() == ["generate"]


def test_outputs_need_neither_key_nor_network() -> None:
    """All is in the frame."""
    assert len(result([FOX]).eachlabs.outputs()) == 1
    with pytest.raises(ef.ConfigurationError, match="EACHLABS_API_KEY"):
        result([FOX]).eachlabs.outputs(steps=True)
    assert len(pd.DataFrame(result([]).iloc[:0]).eachlabs.outputs(steps=True)) == 0
