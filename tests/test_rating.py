"""Rating without a browser: what it is told, where scores go, and that none goes into a wrong row."""

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
    """Make a frame as it comes back, all completed."""
    out = pd.DataFrame({"prompt": [f"p{row}" for row in range(size)]}, index=index)
    out["bulk_id"], out["status"] = "b", COMPLETED
    out["execution_id"] = [f"e{row}" for row in range(size)]
    out["output"] = [PICTURE.format(row) for row in range(size)]
    for name, values in columns.items():
        out[name] = values
    return out


class Browser:
    """Asks as the browser does."""

    def __init__(self, rating: Rating, name: str = "browser") -> None:
        self.rating = rating
        self.name = name
        self.number = 0

    def ask(self, kind: str, **content: Any) -> None:
        self.number += 1
        self.send({"kind": kind, "sender": self.name, "number": self.number, **content})

    def send(self, content: Any) -> None:
        self.rating._handle_custom_msg(content, [])

    def mark(self, place: int, mark: Any) -> None:
        self.ask("mark", place=place, mark=mark)


def rated(out: pd.DataFrame, **options: Any) -> Browser:
    """Show a rating of `out` to a browser."""
    return Browser(out.eachlabs.rate(**options))


def scores(out: pd.DataFrame, column: Any = "score") -> list[Any]:
    """Return a column's scores, None where there is none."""
    return [None if pd.isna(score) else score for score in out[column]]


# -- what is asked --------------------------------------------------------------------------------------------------


def test_a_score_is_in_the_frame_at_once(sandbox: Sandbox) -> None:
    """In the very frame that was asked, and in the widget's own."""
    out = pd.DataFrame({"prompt": ["a fox", "an owl"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
    browser = rated(out)
    assert (str(out["score"].dtype), scores(out)) == ("Int64", [None, None])
    browser.mark(1, "4")
    assert scores(out) == [None, 4] == scores(browser.rating.frame)
    assert browser.rating.frame is not out
    assert browser.rating.state["marks"] == ".4"


def test_every_step_can_be_taken_back() -> None:
    """Also one that took a score away."""
    out = result()
    browser = rated(out)
    for place, mark in ((0, "5"), (1, "2"), (0, "1"), (1, None)):
        browser.mark(place, mark)
    assert scores(out) == [1, None, None, None]
    assert browser.rating.state["steps"] == [(0, "."), (1, "."), (0, "5"), (1, "2")]
    for expected in ([1, 2, None, None], [5, 2, None, None], [5, None, None, None], [None] * 4, [None] * 4):
        browser.ask("undo")
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
def test_rubbish_is_passed_over(content: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever speaks to the kernel may say anything: no score comes of it, and no error."""
    out = result()
    browser = rated(out)
    browser.send(content)
    assert scores(out) == [None] * 4
    assert (browser.rating.state["at"], browser.rating.state["steps"]) == (0, [])
    assert caplog.records == []  # what a widget's listener raises is logged


def test_what_comes_twice_counts_once() -> None:
    """A request is known by its sender and its number; each sender has numbers of its own."""
    out = result()
    browser = rated(out)
    browser.mark(0, "3")
    browser.number = 0
    browser.mark(0, "5")
    Browser(browser.rating, "another").mark(1, "2")
    assert scores(out) == [3, 2, None, None]
    assert browser.rating.state["processed"] == {"browser": 1, "another": 1}


def test_what_comes_early_waits_for_its_turn() -> None:
    """Messages may overtake each other on their way: they are done in the order in which they were asked, each once."""
    out = result()
    browser = rated(out)
    asked = [
        {"kind": "mark", "place": 0, "mark": "1"},
        {"kind": "mark", "place": 1, "mark": "2"},
        {"kind": "undo"},
        {"kind": "mark", "place": 2, "mark": "3"},
    ]
    for number in (3, 4, 2, 2_000):
        browser.send({**asked[(number - 1) % 4], "sender": "fast", "number": number})
        assert scores(out) == [None] * 4
        assert browser.rating.state["processed"] == {"fast": 0}
    for number in (1, 3):
        browser.send({**asked[number - 1], "sender": "fast", "number": number})
    assert scores(out) == [1, None, 3, None]
    assert browser.rating.state["processed"] == {"fast": 4}


def test_many_browsers_are_not_remembered_for_ever() -> None:
    """Each reload is another one: the latest are known."""
    rating = rated(result()).rating
    for number in range(40):
        Browser(rating, f"browser {number}").ask("go", place=1)
    assert list(rating.state["processed"]) == [f"browser {number}" for number in range(24, 40)]


def test_the_browser_cannot_set_state() -> None:
    """It asks; what it writes into the traits is not taken."""
    browser = rated(result())
    before = dict(browser.rating.state), dict(browser.rating.window)
    browser.rating.set_state({"state": {"marks": "5555"}, "window": {"first": 0, "items": []}})
    assert (browser.rating.state, browser.rating.window) == before


def test_one_moves_within_bounds() -> None:
    """Beyond the last one is the end."""
    browser = rated(result())
    for place, at in ((2, 2), (-5, 0), (99, 4)):
        browser.ask("go", place=place)
        assert browser.rating.state["at"] == at


def test_the_browser_has_what_comes_next() -> None:
    """However many there are, it holds some, and always those around where one is, each in its place."""
    browser = rated(result(200))
    for at in (0, 1, 20, 100, 99, 60, 199, 200, 0):
        browser.ask("go", place=at)
        window = browser.rating.window
        rows = [card["row"] for card in window["items"]]
        assert rows == list(range(window["first"], window["first"] + WINDOW))
        assert set(range(at, min(at + AHEAD, 200))) <= set(rows)


def test_only_what_is_new_goes_to_the_browser() -> None:
    """A step within what it holds does not send the cards again."""
    browser = rated(result(200))
    before = browser.rating.window
    browser.mark(0, "4")
    assert browser.rating.window is before


# -- which rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [5, {"text": 5}, {"text": {"column": ["x"]}}, {"text": {"column": [[]]}}])
def test_what_others_wrote_of_its_inputs_is_passed_over(inputs: Any) -> None:
    """A frame's attrs travel in a file, and are anybody's to write."""
    out = result()
    out.attrs["eachlabs"] = {"workflow_id": "wf", "prefix": "", "inputs": inputs}
    browser = rated(out)
    browser.mark(1, "2")
    assert scores(out) == [None, 2, None, None]


def test_a_word_of_the_api_is_one_line_of_plain_text() -> None:
    """A status that nobody knows is shown as it is, but never as a terminal's control sequence."""
    out = result(2, status=[COMPLETED, "\x1b[31mon\nhold\u202e"])
    assert repr(rated(out).rating).endswith("; 1 row is left out: 1 [31mon hold>")


def test_rows_without_a_result_are_left_out_and_counted() -> None:
    """Those that failed, that wait, and that have no output; places count the others."""
    out = result(6, status=[FAILED, COMPLETED, PENDING, COMPLETED, COMPLETED, FAILED])
    out.loc[3, "output"] = None
    browser = rated(out)
    assert (
        browser.rating.state["details"]["left_out"] == "4 rows are left out: 2 failed, 1 pending, 1 without an output"
    )
    browser.mark(1, "2")
    assert scores(out) == [None, None, None, None, 2, None]


def test_it_goes_on_with_scores_of_before() -> None:
    """At the first row without one; `only_unrated` shows no other."""
    out = result(4, score=[5, None, 2, None])
    browser = rated(out)
    assert (browser.rating.state["marks"], browser.rating.state["at"]) == ("5.2.", 1)
    only = rated(out, only_unrated=True)
    assert only.rating.state["marks"] == ".."
    assert only.rating.state["details"]["left_out"] == "2 rows are left out: 2 rated before"
    only.mark(1, "1")
    assert scores(out) == [5, None, 2, 1]


@pytest.mark.parametrize(
    ("held", "dtype", "left"),
    [
        ([1, 2, 3, 4], "Int64", [1, 2, 3, 5]),
        ([1.0, None, 3.0, None], "Int64", [1, None, 3, 5]),
        ([1.5, None, 9.0, None], "Float64", [1.5, None, 9, 5]),
        (pd.array([1, None, 3, None], dtype="Int8"), "Int64", [1, None, 3, 5]),
        ([None] * 4, "Int64", [None, None, None, 5]),
        (pd.Series([1, None, 2.0, None], dtype=object), "Int64", [1, None, 2, 5]),
    ],
)
def test_a_column_of_numbers_is_gone_on_with(held: Any, dtype: str, left: list[Any]) -> None:
    """Whatever numbers it holds; it becomes a column that knows missing values."""
    out = result(4)
    out["score"] = held
    browser = rated(out)
    browser.mark(3, "5")
    assert (str(out["score"].dtype), scores(out)) == (dtype, left)
    assert scores(browser.rating.frame) == left


def test_a_number_that_is_no_score_counts_and_comes_back() -> None:
    """It is shown as one of another scale; taking a step back gives it back, though it is not whole."""
    out = result(2, score=[3.5, None])
    browser = rated(out)
    assert browser.rating.state["marks"] == "x."
    assert browser.rating.state["details"]["others"] == 1
    browser.mark(0, "4")
    assert (str(out["score"].dtype), scores(out)) == ("Int64", [4, None])
    browser.ask("undo")
    assert scores(out) == [3.5, None]


@pytest.mark.parametrize("scale", [2, 9])
def test_the_scale_is_ones_own(scale: int) -> None:
    """From 1 to what was asked for."""
    out = result(2)
    browser = rated(out, scale=scale)
    browser.mark(0, str(scale))
    browser.mark(1, str(scale + 1))
    assert scores(out) == [scale, None]


# -- what cannot be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": "status"}, "column of the result"),
        ({"column": "prompt"}, "holds 'p0'"),
        ({"column": "seed"}, "is an input"),
        ({"label": "gone"}, "no column 'gone'"),
    ],
)
def test_a_column_that_cannot_hold_scores_is_an_error(options: dict[str, Any], message: str) -> None:
    """Which says why; the frame is left as it was."""
    out = result(seed=[1, 2, 3, 4])
    out.attrs["eachlabs"] = {"workflow_id": "w", "prefix": "", "inputs": {"seed": {"column": "seed"}}}
    before = out.copy()
    with pytest.raises(ef.ColumnError, match=message):
        out.eachlabs.rate(**options)
    pd.testing.assert_frame_equal(out, before)


def test_other_mistakes_are_said_before_anything_happens() -> None:
    """A frame without a result, two columns of one name, a scale."""
    with pytest.raises(ef.ColumnError, match="call bulk_trigger first"):
        pd.DataFrame({"prompt": ["a"]}).eachlabs.rate()
    out = result()
    twice = pd.concat([out, pd.DataFrame({"score": [1] * 4}), pd.DataFrame({"score": [2] * 4})], axis=1)
    with pytest.raises(ef.ColumnError, match="two columns named 'score'"):
        twice.eachlabs.rate()
    for scale in (1, 10, True, "5"):
        with pytest.raises(ef.ConfigurationError, match="scale must be"):
            out.eachlabs.rate(scale=scale)
    assert "score" not in out


def test_columns_that_take_no_new_one_are_said() -> None:
    """Or they take it: that is for pandas to know."""
    out = result()
    out.columns = pd.CategoricalIndex(out.columns)
    try:
        out.eachlabs.rate()
    except ef.ColumnError as error:
        assert "take no column" in str(error)  # noqa: PT017 - either way is right, by what pandas can do
    else:
        assert "score" in out


# -- whose frame it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "index", [["a", "a", "b", "a"], [3, 1, 2, 0], pd.MultiIndex.from_product([["x", "y"], [1, 2]])]
)
def test_rows_are_written_by_position(index: Any) -> None:
    """Whatever the index is; nothing else of the frame changes."""
    out = result(index=index)
    before = out.copy()
    rated(out).mark(3, "4")
    assert scores(out) == [None, None, None, 4]
    pd.testing.assert_frame_equal(out.drop(columns="score"), before)


def test_columns_may_have_levels() -> None:
    """The name of the scores is filled up."""
    out = result()
    out.columns = pd.MultiIndex.from_tuples([(name, "") for name in out.columns])
    rated(out).mark(0, "4")
    assert out["score", ""].tolist()[0] == 4


def test_a_part_of_another_frame_is_written_and_the_other_is_not() -> None:
    """And pandas warns of nothing, in no version."""
    whole = result(6)
    out = whole[whole["prompt"] > "p2"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        browser = rated(out)
        browser.mark(1, "3")
    assert scores(out) == [None, 3, None]
    assert "score" not in whole


def test_a_frame_of_many_columns_gets_another_one_without_a_warning() -> None:
    """Which pandas gives for over 100 that were put in one by one."""
    out = result()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        for number in range(120):
            out[f"column {number}"] = number
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rated(out).mark(0, "3")
    assert scores(out) == [3, None, None, None]


class Stubborn(pd.DataFrame):
    """A frame that cannot be written."""

    def isetitem(self, loc: Any, value: Any) -> None:
        msg = "no room"
        raise RuntimeError(msg)


def test_a_frame_that_cannot_be_written_loses_no_score() -> None:
    """The widget says why, and the next score tries again."""
    scored = RatingSource(Stubborn(result()), "score", scale=5)
    scored.store(1, 4)
    assert "no room" in (scored.problem or "")
    assert scored.values == [None, 4, None, None]


def test_a_column_is_shared_with_its_owner() -> None:
    """What the owner writes into it meanwhile is kept, and so is what another rating writes."""
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


def ascending(out: pd.DataFrame, **options: Any) -> None:
    """Sort a frame itself, which pandas 3.1 wants nobody to do any more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out.sort_values("place", inplace=True, **options)


def without_second(out: pd.DataFrame) -> None:
    """Take a row out of the frame itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out.drop(index=1, inplace=True)


@pytest.mark.parametrize(
    "change",
    [
        ascending,
        lambda out: ascending(out, ignore_index=True),
        without_second,
        lambda out: out.__setitem__("execution_id", ["n0", "n1", "n2", "n3"]),
        lambda out: out.pop("status"),
        lambda out: out.pop("score"),
        lambda out: out.__setitem__("score", list("abcd")),
    ],
)
def test_a_frame_that_was_changed_is_not_written(change: Any) -> None:
    """The widget says so, the frame is as its owner left it, and the scores go on in the widget's."""
    out = result(place=[4, 3, 2, 1])
    browser = rated(out)
    browser.mark(0, "1")
    change(out)
    left = out.copy()
    browser.mark(1, "5")
    pd.testing.assert_frame_equal(out, left)
    assert ".frame" in browser.rating.state["problem"]
    assert scores(browser.rating.frame) == [1, 5, None, None]
    assert browser.rating.frame["prompt"].tolist() == ["p0", "p1", "p2", "p3"]


def test_what_was_held_back_is_written_when_the_frame_is_as_it_was() -> None:
    """Sorted there and back again: nothing is lost."""
    out = result(place=[4, 3, 2, 1])
    browser = rated(out)
    ascending(out)
    browser.mark(0, "1")
    out["place"] = -out["place"]
    ascending(out)
    browser.mark(1, "2")
    assert scores(out) == [1, 2, None, None]
    assert browser.rating.state["problem"] is None


def test_rows_without_an_execution_are_known_by_the_index() -> None:
    """Some come from elsewhere."""
    out = result()
    out["execution_id"] = pd.Series([None, "e1", None, "e3"], dtype=object)
    scored = RatingSource(out, "score", scale=5)
    scored.store(0, 3)
    assert scored.problem is None
    out.index = [4, 5, 6, 7]
    scored.store(1, 3)
    assert scored.problem is not None


def test_a_row_that_is_sent_again_is_not_judged_yet(sandbox: Sandbox) -> None:
    """Its score is of the execution before: it would be shown beside an output that nobody has seen."""
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


def test_a_column_that_holds_something_else_by_now_is_no_error_after_paying(sandbox: Sandbox) -> None:
    """It is left as it is."""
    out = pd.DataFrame({"prompt": ["a fox"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
    rated(out)
    again = out.assign(score="good").eachlabs.bulk_trigger("wf_abc123", retrigger=True)
    assert again["score"].tolist() == ["good"]
    again = out.drop(columns="score").eachlabs.bulk_trigger("wf_abc123", retrigger=True)
    assert "score" not in again


def test_a_score_is_no_input(sandbox: Sandbox) -> None:
    """Where a workflow publishes no schema, every column is one, but for the product's own."""
    sandbox.add_workflow("wf_any")
    out = pd.DataFrame({"prompt": ["a fox"]}).eachlabs.bulk_trigger("wf_abc123", wait=True)
    for one in (rated(out).rating.frame, out):
        assert one.eachlabs.preview("wf_any")["payload"].tolist() == [{"prompt": "a fox"}]
    out.attrs["eachlabs_rating"] = "rubbish"
    assert out.assign(score=3).eachlabs.preview("wf_any")["payload"].tolist() == [{"prompt": "a fox", "score": 3}]


def test_the_widgets_frame_is_the_callers_own() -> None:
    """What becomes of it reaches neither the widget nor the frame that is rated."""
    out = result()
    browser = rated(out)
    browser.mark(0, "5")
    taken = browser.rating.frame
    taken.loc[0, "score"], taken.loc[0, "prompt"] = 1, "gone"
    assert scores(browser.rating.frame) == [5, None, None, None]
    assert out.loc[0, "prompt"] == "p0"


# -- what is shown --------------------------------------------------------------------------------------------------


def test_where_there_are_no_widgets_there_is_a_table() -> None:
    """With each row's label and score, as text alone."""
    out = result(3, score=[4, None, 2.5])
    out["prompt"] = ["<b>", "p1", "p2"]
    rating = out.eachlabs.rate(label="prompt")
    bundle, _ = rating._repr_mimebundle_()
    assert bundle["text/plain"] == "<Rating in column 'score': 2 of 3 rated>" == repr(rating)
    assert "&lt;b&gt;" in bundle["text/html"]
    assert "<b>" not in bundle["text/html"]
    assert "2.5" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_a_long_table_is_cut() -> None:
    """It says how many rows more there are."""
    bundle, _ = result(201).eachlabs.rate()._repr_mimebundle_()
    assert "and 1 more" in bundle["text/html"]


def test_a_downloaded_file_is_sent_by_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Never by a path: of what was not downloaded, is gone, or is no medium, there is none."""
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


def test_all_that_is_sent_is_json() -> None:
    """Whatever scores there were."""
    out = result(3, score=[4, None, 2.5])
    state = out.eachlabs.rate().get_state()
    json.dumps([state["state"], state["window"]], allow_nan=False)


def test_a_rating_of_nothing_says_so() -> None:
    """An empty frame, and one whose rows have all failed."""
    assert rated(result(0)).rating.state["marks"] == ""
    browser = rated(result(2, status=FAILED))
    assert browser.rating.state["details"]["left_out"] == "2 rows are left out: 2 failed"
    browser.mark(0, "3")
    browser.ask("undo")
    assert repr(browser.rating).endswith("0 of 0 rated; 2 rows are left out: 2 failed>")


def test_a_closed_rating_is_gone_and_the_scores_stay() -> None:
    """Closing it twice does no harm."""
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
def test_cells_that_one_action_has_run_are_not_run_alone(times: list[float | None], expected: float | None) -> None:
    """Run All asks for all of its cells at once; nobody runs two by hand within 0.3 seconds."""
    assert alone(times) == expected
