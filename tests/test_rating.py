"""Tests of the rating widget without a browser: its messages, and the rows that scores are written to."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.models import COMPLETED, FAILED, PENDING
from eachlabs_frames.sandbox import Sandbox
from eachlabs_frames.views.common.cell_requests import alone
from eachlabs_frames.views.rating.source import RatingSource
from eachlabs_frames.views.rating.widget import Rating
from eachlabs_frames.views.review.stepper import AHEAD, WINDOW

PICTURE = "https://media.example/{}.png"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 24


def result(size: int = 4, *, index: Any = None, **columns: Any) -> pd.DataFrame:
    """Return a frame like the result of a call, with all rows completed."""
    out = pd.DataFrame({"prompt": [f"p{row}" for row in range(size)]}, index=index)
    out["bulk_id"], out["status"] = "b", COMPLETED
    out["execution_id"] = [f"e{row}" for row in range(size)]
    out["output"] = [PICTURE.format(row) for row in range(size)]
    for name, values in columns.items():
        out[name] = values
    return out


class Browser:
    """Sends messages to the widget like the browser."""

    def __init__(self, rating: Rating, name: str = "browser") -> None:
        self.rating = rating
        self.name = name
        self.number = 0

    def request(self, kind: str, **content: Any) -> None:
        self.number += 1
        self.send({"kind": kind, "sender": self.name, "number": self.number, **content})

    def send(self, content: Any) -> None:
        self.rating._handle_custom_msg(content, [])

    def mark(self, place: int, mark: Any) -> None:
        self.request("mark", place=place, mark=mark)


def rated(out: pd.DataFrame, **options: Any) -> Browser:
    """Return a browser that shows a rating of `out`."""
    return Browser(out.eachlabs.rate(**options))


def scores(out: pd.DataFrame, column: Any = "score") -> list[Any]:
    """Return the scores of a column, None for missing ones."""
    return [None if pd.isna(score) else score for score in out[column]]


# -- messages of the browser ------------------------------------------------------------------------------------------


def test_a_score_is_written_to_the_frame_at_once(sandbox: Sandbox) -> None:
    """It is written to the caller's frame and to the widget's copy."""
    out = pd.DataFrame({"prompt": ["a fox", "an owl"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
    browser = rated(out)
    assert (str(out["score"].dtype), scores(out)) == ("Int64", [None, None])
    browser.mark(1, "4")
    assert scores(out) == [None, 4] == scores(browser.rating.frame)
    assert browser.rating.frame is not out
    assert browser.rating.state["marks"] == ".4"


def test_every_mark_can_be_undone() -> None:
    """A mark that removed a score can be undone too."""
    out = result()
    browser = rated(out)
    for place, mark in ((0, "5"), (1, "2"), (0, "1"), (1, None)):
        browser.mark(place, mark)
    assert scores(out) == [1, None, None, None]
    assert browser.rating.state["steps"] == [(0, "."), (1, "."), (0, "5"), (1, "2")]
    for expected in ([1, 2, None, None], [5, 2, None, None], [5, None, None, None], [None] * 4, [None] * 4):
        browser.request("undo")
        assert scores(out) == expected
    assert browser.rating.state["steps"] == []


@pytest.mark.parametrize(
    "content",
    [
        None,
        "rate",
        [],
        {},
        {"kind": "mark", "place": 0, "mark": "3"},
        *(
            {"sender": "s", "number": 1, "kind": "mark", **wrong}
            for wrong in (
                {"place": 0, "mark": "6"},
                {"place": 0, "mark": "0"},
                {"place": 0, "mark": 3},
                {"place": 0, "mark": "³"},
                {"place": 0, "mark": "03"},
                {"place": 0, "mark": "1" * 5_000},
                {"place": 0, "mark": ["3"]},
                {"place": 4, "mark": "3"},
                {"place": -1, "mark": "3"},
                {"place": True, "mark": "3"},
                {"place": "0", "mark": "3"},
                {"mark": "3"},
            )
        ),
        {"sender": "s" * 99, "number": 1, "kind": "mark", "place": 0, "mark": "3"},
        {"sender": "s", "number": "1", "kind": "mark", "place": 0, "mark": "3"},
        {"sender": "s", "number": 1, "kind": "go", "place": 2.5},
        {"sender": "s", "number": 1, "kind": "reveal"},
        {"sender": "s", "number": 1, "kind": {"mark": 1}},
    ],
)
def test_malformed_messages_are_ignored(content: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A malformed message gives no score and no error."""
    out = result()
    browser = rated(out)
    browser.send(content)
    assert scores(out) == [None] * 4
    assert (browser.rating.state["at"], browser.rating.state["steps"]) == (0, [])
    assert caplog.records == []  # an exception in a widget's listener would be logged


def test_a_repeated_message_is_applied_once() -> None:
    """A message is identified by its sender and number; each sender has its own numbers."""
    out = result()
    browser = rated(out)
    browser.mark(0, "3")
    browser.number = 0
    browser.mark(0, "5")
    Browser(browser.rating, "another").mark(1, "2")
    assert scores(out) == [3, 2, None, None]
    assert browser.rating.state["processed"] == {"browser": 1, "another": 1}


def test_messages_are_applied_in_the_order_of_their_numbers() -> None:
    """A message that arrives early is applied after its predecessors, once."""
    out = result()
    browser = rated(out)
    messages = [
        {"kind": "mark", "place": 0, "mark": "1"},
        {"kind": "mark", "place": 1, "mark": "2"},
        {"kind": "undo"},
        {"kind": "mark", "place": 2, "mark": "3"},
    ]
    for number in (3, 4, 2, 2_000):
        browser.send({**messages[(number - 1) % 4], "sender": "fast", "number": number})
        assert scores(out) == [None] * 4
        assert browser.rating.state["processed"] == {"fast": 0}
    for number in (1, 3):
        browser.send({**messages[number - 1], "sender": "fast", "number": number})
    assert scores(out) == [1, None, 3, None]
    assert browser.rating.state["processed"] == {"fast": 4}


def test_only_the_latest_senders_are_remembered() -> None:
    """Each reload of the page is a new sender, so the number is bounded."""
    rating = rated(result()).rating
    for number in range(40):
        Browser(rating, f"browser {number}").request("go", place=1)
    assert list(rating.state["processed"]) == [f"browser {number}" for number in range(24, 40)]


def test_the_browser_cannot_set_state() -> None:
    """State that the browser writes into the traits is discarded."""
    browser = rated(result())
    before = dict(browser.rating.state), dict(browser.rating.window)
    browser.rating.set_state({"state": {"marks": "5555"}, "window": {"first": 0, "items": []}})
    assert (browser.rating.state, browser.rating.window) == before


def test_the_position_is_clamped() -> None:
    """A position before the first row or beyond the last one is clamped."""
    browser = rated(result())
    for place, at in ((2, 2), (-5, 0), (99, 4)):
        browser.request("go", place=place)
        assert browser.rating.state["at"] == at


def test_the_window_contains_the_cards_around_the_position() -> None:
    """The window has a fixed size and always contains the next cards."""
    browser = rated(result(200))
    for at in (0, 1, 20, 100, 99, 60, 199, 200, 0):
        browser.request("go", place=at)
        window = browser.rating.window
        rows = [card["row"] for card in window["items"]]
        assert rows == list(range(window["first"], window["first"] + WINDOW))
        assert set(range(at, min(at + AHEAD, 200))) <= set(rows)


def test_the_window_is_not_sent_again_while_it_suffices() -> None:
    """A step inside the window sends no cards."""
    browser = rated(result(200))
    before = browser.rating.window
    browser.mark(0, "4")
    assert browser.rating.window is before


# -- rows that are rated ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [5, {"text": 5}, {"text": {"column": ["x"]}}, {"text": {"column": [[]]}}])
def test_malformed_inputs_in_attrs_are_ignored(inputs: Any) -> None:
    """A frame's attrs are stored in files, so their content is not trusted."""
    out = result()
    out.attrs["eachlabs"] = {"workflow_id": "wf", "prefix": "", "inputs": inputs}
    browser = rated(out)
    browser.mark(1, "2")
    assert scores(out) == [None, 2, None, None]


def test_an_unknown_status_is_shown_as_one_line_of_plain_text() -> None:
    """Control characters of the terminal are removed."""
    out = result(2, status=[COMPLETED, "\x1b[31mon\nhold\u202e"])
    assert repr(rated(out).rating).endswith("; 1 row is left out: 1 [31mon hold>")


def test_rows_without_a_result_are_left_out_and_counted() -> None:
    """Failed and pending rows and rows without an output are left out; positions count only the others."""
    out = result(6, status=[FAILED, COMPLETED, PENDING, COMPLETED, COMPLETED, FAILED])
    out.loc[3, "output"] = None
    browser = rated(out)
    assert (
        browser.rating.state["details"]["left_out"] == "4 rows are left out: 2 failed, 1 pending, 1 without an output"
    )
    browser.mark(1, "2")
    assert scores(out) == [None, None, None, None, 2, None]


def test_rating_continues_with_existing_scores() -> None:
    """It starts at the first row without a score; `only_unrated` leaves out rows that have one."""
    out = result(4, score=[5, None, 2, None])
    browser = rated(out)
    assert (browser.rating.state["marks"], browser.rating.state["at"]) == ("5.2.", 1)
    unrated = rated(out, only_unrated=True)
    assert unrated.rating.state["marks"] == ".."
    assert unrated.rating.state["details"]["left_out"] == "2 rows are left out: 2 rated before"
    unrated.mark(1, "1")
    assert scores(out) == [5, None, 2, 1]


@pytest.mark.parametrize(
    ("before", "dtype", "after"),
    [
        ([1, 2, 3, 4], "Int64", [1, 2, 3, 5]),
        ([1.0, None, 3.0, None], "Int64", [1, None, 3, 5]),
        ([1.5, None, 9.0, None], "Float64", [1.5, None, 9, 5]),
        (pd.array([1, None, 3, None], dtype="Int8"), "Int64", [1, None, 3, 5]),
        ([None] * 4, "Int64", [None, None, None, 5]),
        (pd.Series([1, None, 2.0, None], dtype=object), "Int64", [1, None, 2, 5]),
    ],
)
def test_an_existing_numeric_column_is_continued(before: Any, dtype: str, after: list[Any]) -> None:
    """The column gets a nullable dtype that can hold its values."""
    out = result(4)
    out["score"] = before
    browser = rated(out)
    browser.mark(3, "5")
    assert (str(out["score"].dtype), scores(out)) == (dtype, after)
    assert scores(browser.rating.frame) == after


def test_a_number_outside_the_scale_counts_as_rated_and_is_restored_by_undo() -> None:
    """It is shown as a score of another scale; undo restores it although it is no integer."""
    out = result(2, score=[3.5, None])
    browser = rated(out)
    assert browser.rating.state["marks"] == "x."
    assert browser.rating.state["details"]["others"] == 1
    browser.mark(0, "4")
    assert (str(out["score"].dtype), scores(out)) == ("Int64", [4, None])
    browser.request("undo")
    assert scores(out) == [3.5, None]


@pytest.mark.parametrize("scale", [2, 9])
def test_the_scale_is_configurable(scale: int) -> None:
    """Scores are 1 to `scale`."""
    out = result(2)
    browser = rated(out, scale=scale)
    browser.mark(0, str(scale))
    browser.mark(1, str(scale + 1))
    assert scores(out) == [scale, None]


# -- invalid arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": "status"}, "column of the result"),
        ({"column": "prompt"}, "holds 'p0'"),
        ({"column": "seed"}, "is an input"),
        ({"label": "gone"}, "no column 'gone'"),
    ],
)
def test_a_column_that_cannot_hold_scores_is_refused(options: dict[str, Any], message: str) -> None:
    """The error gives the reason, and the frame is unchanged."""
    out = result(seed=[1, 2, 3, 4])
    out.attrs["eachlabs"] = {"workflow_id": "w", "prefix": "", "inputs": {"seed": {"column": "seed"}}}
    before = out.copy()
    with pytest.raises(ef.ColumnError, match=message):
        out.eachlabs.rate(**options)
    pd.testing.assert_frame_equal(out, before)


def test_invalid_calls_are_refused_before_the_frame_is_changed() -> None:
    """Refused: a frame without a result, two columns with the same name, an invalid scale."""
    with pytest.raises(ef.ColumnError, match="call bulk_trigger first"):
        pd.DataFrame({"prompt": ["a"]}).eachlabs.rate()
    out = result()
    duplicated = pd.concat([out, pd.DataFrame({"score": [1] * 4}), pd.DataFrame({"score": [2] * 4})], axis=1)
    with pytest.raises(ef.ColumnError, match="two columns named 'score'"):
        duplicated.eachlabs.rate()
    for scale in (1, 10, True, "5"):
        with pytest.raises(ef.ConfigurationError, match="scale must be"):
            out.eachlabs.rate(scale=scale)
    assert "score" not in out


def test_columns_that_cannot_be_extended_are_refused() -> None:
    """Whether a categorical column index can be extended depends on the version of pandas."""
    out = result()
    out.columns = pd.CategoricalIndex(out.columns)
    try:
        out.eachlabs.rate()
    except ef.ColumnError as error:
        assert "take no column" in str(error)  # noqa: PT017 - depends on the version of pandas
    else:
        assert "score" in out


# -- the caller's frame -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "index", [["a", "a", "b", "a"], [3, 1, 2, 0], pd.MultiIndex.from_product([["x", "y"], [1, 2]])]
)
def test_rows_are_written_by_position(index: Any) -> None:
    """Any index works, and nothing else in the frame changes."""
    out = result(index=index)
    before = out.copy()
    rated(out).mark(3, "4")
    assert scores(out) == [None, None, None, 4]
    pd.testing.assert_frame_equal(out.drop(columns="score"), before)


def test_columns_may_have_levels() -> None:
    """With MultiIndex columns, the name of the score column is padded with empty levels."""
    out = result()
    out.columns = pd.MultiIndex.from_tuples([(name, "") for name in out.columns])
    rated(out).mark(0, "4")
    assert out["score", ""].tolist()[0] == 4


def test_rating_a_slice_does_not_change_the_original_frame() -> None:
    """No version of pandas gives a warning."""
    whole = result(6)
    out = whole[whole["prompt"] > "p2"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        browser = rated(out)
        browser.mark(1, "3")
    assert scores(out) == [None, 3, None]
    assert "score" not in whole


def test_a_fragmented_frame_gets_the_column_without_a_warning() -> None:
    """If over 100 columns were added one by one, pandas may give a PerformanceWarning."""
    out = result()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        for number in range(120):
            out[f"column {number}"] = number
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rated(out).mark(0, "3")
    assert scores(out) == [3, None, None, None]


class ReadOnlyFrame(pd.DataFrame):
    """A frame that cannot be written."""

    def isetitem(self, loc: Any, value: Any) -> None:
        msg = "is read-only"
        raise RuntimeError(msg)


def test_a_frame_that_cannot_be_written_loses_no_score() -> None:
    """The widget shows the reason, and the next score tries again."""
    scored = RatingSource(ReadOnlyFrame(result()), "score", scale=5)
    scored.store(1, 4)
    assert "is read-only" in (scored.problem or "")
    assert scored.values == [None, 4, None, None]


def test_the_score_column_may_be_changed_by_others() -> None:
    """Values that the owner or another rating writes are kept."""
    out = result()
    first, second = rated(out), rated(out)
    first.mark(0, "1")
    out.loc[1, "score"] = 2
    second.mark(2, "3")
    out.loc[0, "score"] = 5
    first.mark(3, "4")
    assert scores(out) == [5, 2, 3, 4]
    out["more"] = 1
    out.insert(0, "first", 0)
    first.mark(0, "1")
    assert scores(out) == [1, 2, 3, 4]


def sort_in_place(out: pd.DataFrame, **options: Any) -> None:
    """Sort a frame in place without pandas' warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out.sort_values("place", inplace=True, **options)


def drop_second_row(out: pd.DataFrame) -> None:
    """Remove a row of the frame in place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out.drop(index=1, inplace=True)


@pytest.mark.parametrize(
    "change",
    [
        sort_in_place,
        lambda out: sort_in_place(out, ignore_index=True),
        drop_second_row,
        lambda out: out.__setitem__("execution_id", ["n0", "n1", "n2", "n3"]),
        lambda out: out.pop("status"),
        lambda out: out.pop("score"),
        lambda out: out.__setitem__("score", list("abcd")),
    ],
)
def test_a_frame_that_was_reordered_or_replaced_is_not_written(change: Any) -> None:
    """The widget shows the problem, the frame is unchanged, and scores are kept in the widget's copy."""
    out = result(place=[4, 3, 2, 1])
    browser = rated(out)
    browser.mark(0, "1")
    change(out)
    before = out.copy()
    browser.mark(1, "5")
    pd.testing.assert_frame_equal(out, before)
    assert ".frame" in browser.rating.state["problem"]
    assert scores(browser.rating.frame) == [1, 5, None, None]
    assert browser.rating.frame["prompt"].tolist() == ["p0", "p1", "p2", "p3"]


def test_held_scores_are_written_when_the_order_is_restored() -> None:
    """The frame is sorted and sorted back; no score is lost."""
    out = result(place=[4, 3, 2, 1])
    browser = rated(out)
    sort_in_place(out)
    browser.mark(0, "1")
    out["place"] = -out["place"]
    sort_in_place(out)
    browser.mark(1, "2")
    assert scores(out) == [1, 2, None, None]
    assert browser.rating.state["problem"] is None


def test_rows_without_an_execution_are_identified_by_the_index() -> None:
    """Rows may come from other sources than the API."""
    out = result()
    out["execution_id"] = pd.Series([None, "e1", None, "e3"], dtype=object)
    scored = RatingSource(out, "score", scale=5)
    scored.store(0, 3)
    assert scored.problem is None
    out.index = [4, 5, 6, 7]
    scored.store(1, 3)
    assert scored.problem is not None


def test_a_row_that_is_sent_again_loses_its_score(sandbox: Sandbox) -> None:
    """The score belongs to the previous execution, not to the new output."""
    out = pd.DataFrame({"prompt": ["a fox", "an owl"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
    browser = rated(out)
    browser.mark(0, "4")
    browser.mark(1, "2")
    out["mine"] = [1, 2]
    changed = out.assign(prompt=["a fox", "a heron"])
    again = changed.eachlabs.bulk_trigger("wf_abc123", run=out.attrs["eachlabs"]["run"], wait=True)
    assert (again["execution_id"] == out["execution_id"]).tolist() == [True, False]
    assert (scores(again), again["mine"].tolist(), scores(out)) == ([4, None], [1, 2], [4, 2])
    assert again["score"].dtype == out["score"].dtype


def test_a_replaced_score_column_does_not_fail_a_paid_call(sandbox: Sandbox) -> None:
    """The column is left unchanged."""
    out = pd.DataFrame({"prompt": ["a fox"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
    rated(out)
    again = out.assign(score="good").eachlabs.bulk_trigger("wf_abc123", retrigger=True)
    assert again["score"].tolist() == ["good"]
    again = out.drop(columns="score").eachlabs.bulk_trigger("wf_abc123", retrigger=True)
    assert "score" not in again


def test_a_score_is_no_input(sandbox: Sandbox) -> None:
    """Without a schema every column is an input, except the columns that the package wrote."""
    sandbox.add_workflow("wf_any")
    out = pd.DataFrame({"prompt": ["a fox"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
    for scored in (rated(out).rating.frame, out):
        assert scored.eachlabs.preview("wf_any")["payload"].tolist() == [{"prompt": "a fox"}]
    out.attrs["eachlabs_rating"] = "malformed"
    assert out.assign(score=3).eachlabs.preview("wf_any")["payload"].tolist() == [{"prompt": "a fox", "score": 3}]


def test_the_frame_property_returns_a_copy() -> None:
    """Changes to it affect neither the widget nor the frame that is rated."""
    out = result()
    browser = rated(out)
    browser.mark(0, "5")
    copy = browser.rating.frame
    copy.loc[0, "score"], copy.loc[0, "prompt"] = 1, "gone"
    assert scores(browser.rating.frame) == [5, None, None, None]
    assert out.loc[0, "prompt"] == "p0"


# -- display ----------------------------------------------------------------------------------------------------------


def test_without_widgets_a_table_is_shown() -> None:
    """The table has the label and score of each row, escaped."""
    out = result(3, score=[4, None, 2.5])
    out["prompt"] = ["<b>", "p1", "p2"]
    rating = out.eachlabs.rate(label="prompt")
    bundle, _ = rating._repr_mimebundle_()
    assert bundle["text/plain"] == "<Rating in column 'score': 2 of 3 rated>" == repr(rating)
    assert "&lt;b&gt;" in bundle["text/html"]
    assert "<b>" not in bundle["text/html"]
    assert "2.5" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_a_long_table_is_truncated() -> None:
    """It shows the number of rows that were left out."""
    bundle, _ = result(201).eachlabs.rate()._repr_mimebundle_()
    assert "and 1 more" in bundle["text/html"]


def test_a_downloaded_file_is_sent_by_row_and_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The browser sends no path; a file that was not downloaded, is missing or is no media file is not sent."""
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.txt").write_text("key")
    paths = [str(tmp_path / name) for name in ("a.png", "b.txt", "gone.png")]
    out = result(5, path=[*paths, None, paths[0]])
    out.attrs["eachlabs_download"] = {"column": "path"}
    rating = out.eachlabs.rate()
    sent: list[tuple[Any, Any]] = []
    rating.send = lambda content, buffers=None: sent.append((content, buffers))
    for row, n in ((0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (9, 0), (-1, 0), ("0", 0)):
        rating._handle_custom_msg({"kind": "file", "row": row, "n": n}, [])
    assert sent[0] == ({"kind": "file", "row": 0, "n": 0, "type": "image/png"}, [PNG])
    assert [buffers for _, buffers in sent[1:]] == [None] * 6
    json.dumps([content for content, _ in sent])
    assert caplog.records == []


def test_the_state_is_valid_json() -> None:
    """Missing and fractional scores are valid JSON too."""
    out = result(3, score=[4, None, 2.5])
    state = out.eachlabs.rate().get_state()
    json.dumps([state["state"], state["window"]], allow_nan=False)


def test_a_rating_without_rows_works() -> None:
    """The frame is empty, or all of its rows have failed."""
    assert rated(result(0)).rating.state["marks"] == ""
    browser = rated(result(2, status=FAILED))
    assert browser.rating.state["details"]["left_out"] == "2 rows are left out: 2 failed"
    browser.mark(0, "3")
    browser.request("undo")
    assert repr(browser.rating).endswith("0 of 0 rated; 2 rows are left out: 2 failed>")


def test_closing_a_rating_keeps_the_scores() -> None:
    """It can be closed twice."""
    out = result()
    browser = rated(out)
    browser.mark(0, "3")
    browser.rating.close()
    browser.rating.close()
    assert scores(out) == [3, None, None, None]


@pytest.mark.parametrize(
    ("times", "expected"),
    [([], None), ([None], None), ([5.0], 5.0), ([1.0, 5.0], 5.0), ([4.9, 5.0], None), ([None, 5.0], 5.0)],
)
def test_cells_run_by_one_action_do_not_count_as_run_alone(times: list[float | None], expected: float | None) -> None:
    """Run All requests all cells at once; a user does not run two within 0.3 seconds."""
    assert alone(times) == expected
