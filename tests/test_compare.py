"""Comparing two results: who is paired with whom, that nothing tells them apart, and what comes of it."""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.models import COMPLETED, FAILED
from eachlabs_frames.sandbox import Sandbox
from eachlabs_frames.views.comparison.model import wilson
from eachlabs_frames.views.comparison.widget import Comparison

SECRETS = ("alpha", "beta", "wf_", "exec", "bulk", "run-", "model-", "9.87", "row label")


def result(who: str, prompts: list[Any], **columns: Any) -> pd.DataFrame:
    """Make a frame as it comes back, in which everything says whose it is but the pictures."""
    size = len(prompts)
    out = pd.DataFrame({"prompt": prompts, "model": [f"model-{who}"] * size})
    out.index = pd.Index([f"row label {who} {row}" for row in range(size)])
    out["bulk_id"], out["status"] = f"bulk-{who}", COMPLETED
    out["execution_id"] = [f"exec-{who}-{row}" for row in range(size)]
    out["output"] = [f"https://media.example/{zlib.crc32(f'{who} {row}'.encode())}.png" for row in range(size)]
    out["cost"] = 9.87
    for name, values in columns.items():
        out[name] = values
    out.attrs["eachlabs"] = {"workflow_id": f"wf_{who}", "prefix": "", "run": f"run-{who}"}
    return out


def pair_of(size: int = 6, **options: Any) -> Comparison:
    """Compare two results of the same prompts."""
    prompts = [f"p{row}" for row in range(size)]
    options = {"by": "prompt", "names": ("alpha", "beta"), "random_state": 7, **options}
    return ef.compare(result("alpha", prompts), result("beta", prompts), **options)


class Judge:
    """Asks as the browser does, and sees what it is sent."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.number = 0

    def ask(self, kind: str, **content: Any) -> None:
        self.number += 1
        message = {"kind": kind, "sender": "judge", "number": self.number, **content}
        self.comparison._handle_custom_msg(message, [])

    def mark(self, place: int, mark: str | None) -> None:
        self.ask("mark", place=place, mark=mark)

    @property
    def marks(self) -> str:
        return str(self.comparison.state["marks"])

    def choose(self, place: int, winner: str) -> None:
        """Choose the side on which a run stands, which only the kernel knows."""
        a_is_left = self.comparison._source.a_is_left(place)
        self.mark(place, "t" if winner == "tie" else "l" if (winner == "a") == a_is_left else "r")


def winners(comparison: Comparison) -> list[str | None]:
    """Return who won each pair, in the order of `a`."""
    return [None if pd.isna(one) else str(one) for one in comparison.frame["winner"]]


# -- what a judgement comes to --------------------------------------------------------------------------------------


def test_the_side_that_is_chosen_is_the_run_that_stands_there() -> None:
    """In every pair, whichever way round it is shown; the frame says which way that was."""
    judge = Judge(pair_of())
    for place in range(6):
        judge.mark(place, "l")
    frame = judge.comparison.frame
    assert frame["winner"].tolist() == frame["left"].tolist()
    assert Counter(frame["left"]) == {"a": 3, "b": 3}
    assert frame["prompt"].tolist() == [f"p{row}" for row in range(6)]
    assert frame["execution_id_b"].tolist() == [f"exec-beta-{row}" for row in range(6)]
    dtypes = {name: str(dtype) for name, dtype in frame.dtypes.items() if name != "prompt"}
    texts = dict.fromkeys(["execution_id_a", "execution_id_b", "left", "winner"], "string")
    assert dtypes == texts | {"blind": "boolean"}


def test_what_is_shown_on_a_side_is_that_runs_output() -> None:
    """Each pair's pictures are those of its two rows."""
    comparison = pair_of()
    outputs = [side.results.output for side in (comparison._source.a, comparison._source.b)]
    for place, pair in enumerate(comparison.window["items"]):
        row = int(pair["by"][0][1].removeprefix("p"))
        sides = ("left", "right") if comparison._source.a_is_left(place) else ("right", "left")
        assert [pair[side]["media"][0]["url"] for side in sides] == [outputs[0][row], outputs[1][row]]


def test_steps_are_taken_back() -> None:
    """Choices, ties, and one that was cleared."""
    judge = Judge(pair_of())
    judge.mark(0, "l")
    judge.mark(1, "t")
    judge.mark(0, None)
    assert judge.marks == ".t...."
    for expected in ("lt....", "l.....", "......"):
        judge.ask("undo")
        assert judge.marks == expected


@pytest.mark.parametrize("mark", ["a", "left", "", 1, ["l"], {}, True])
def test_rubbish_is_no_judgement(mark: Any) -> None:
    """Only the two sides and the tie are."""
    judge = Judge(pair_of())
    judge.mark(0, mark)
    judge.mark(99, "l")
    assert judge.marks == "......"


def test_win_rates_are_counted_for_both() -> None:
    """Three won, one lost, one tie of five: by hand, and the interval by the formula."""
    judge = Judge(pair_of())
    for place, winner in enumerate(["a", "a", "b", "tie", "a"]):
        judge.choose(place, winner)
    summary = judge.comparison.summary().set_index("name")
    assert summary.loc["alpha", ["wins", "losses", "ties", "judged"]].tolist() == [3, 1, 1, 5]
    assert summary.loc["beta", ["wins", "losses", "ties", "judged"]].tolist() == [1, 3, 1, 5]
    assert summary["win_rate"].tolist() == pytest.approx([0.7, 0.3])
    assert (summary.loc["alpha", "low"], summary.loc["alpha", "high"]) == pytest.approx(wilson(3.5, 5, 0.95))
    wider = judge.comparison.summary(confidence=0.99).set_index("name")
    assert wider.loc["alpha", "low"] < summary.loc["alpha", "low"]
    assert {str(dtype) for dtype in summary[["wins", "judged"]].dtypes} == {"int64"}


def test_win_rates_of_each_value_of_an_axis() -> None:
    """A line for each value and each side; a value of which nothing was judged has none."""
    styles = ["noir", "ink", "noir", "ink"]
    a, b = (result(who, list("wxyz"), style=styles) for who in ("alpha", "beta"))
    judge = Judge(ef.compare(a, b, by=["prompt", "style"], random_state=1))
    frame = judge.comparison.frame
    for place, number in enumerate(judge.comparison._source.order):
        if frame["style"][number] == "ink":
            judge.choose(place, "b")
    summary = judge.comparison.summary(by="style")
    assert summary[["style", "name", "wins"]].values.tolist() == [
        ["noir", "A", 0],
        ["noir", "B", 0],
        ["ink", "A", 0],
        ["ink", "B", 2],
    ]
    assert summary["win_rate"].isna().tolist() == [True, True, False, False]
    with pytest.raises(ef.ColumnError, match="'prompt', 'style'"):
        judge.comparison.summary(by="model")


def test_nothing_judged_is_no_rate_and_no_error() -> None:
    """NaN for both; also where there is no pair at all."""
    for comparison in (pair_of(), pair_of(0)):
        summary = comparison.summary()
        assert summary["judged"].tolist() == [0, 0]
        assert all(map(math.isnan, summary[["win_rate", "low", "high"]].to_numpy().ravel().tolist()))
        comparison._handle_custom_msg({"kind": "reveal", "sender": "s", "number": 1}, [])
        json.dumps(comparison.state, allow_nan=False)
        assert comparison.summary(by="prompt") is not None


# -- who is paired with whom ----------------------------------------------------------------------------------------

ROWS = st.lists(st.tuples(st.sampled_from("xyz"), st.booleans()), max_size=12)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(ROWS, ROWS, st.integers(0, 99))
def test_every_row_is_in_a_pair_or_counted(a: list[tuple[str, bool]], b: list[tuple[str, bool]], seed: int) -> None:
    """Whatever failed, is there twice or has no partner: the counts add up."""
    frames = [
        result(who, [prompt for prompt, _ in rows], status=[COMPLETED if fit else FAILED for _, fit in rows])
        for who, rows in (("alpha", a), ("beta", b))
    ]
    comparison = ef.compare(*frames, by="prompt", random_state=seed)
    pairs = comparison.frame
    left_out = [number for number, *_ in comparison._source.left_out_counts]
    assert len(a) == left_out[0] + left_out[2] + len(pairs)
    assert len(b) == left_out[1] + left_out[2] + len(pairs)
    assert pairs["execution_id_a"].is_unique
    assert pairs["execution_id_b"].is_unique
    assert abs((pairs["left"] == "a").sum() - (pairs["left"] == "b").sum()) <= 1
    assert sorted(comparison._source.order) == list(range(len(pairs)))


def test_rows_of_one_combination_are_paired_in_their_order() -> None:
    """The first with the first; one that failed keeps its place."""
    a = result("alpha", ["x", "x", "x"])
    b = result("beta", ["x", "x", "x"], status=[COMPLETED, FAILED, COMPLETED])
    comparison = ef.compare(a, b, by="prompt")
    assert comparison.frame["execution_id_a"].tolist() == ["exec-alpha-0", "exec-alpha-2"]
    assert comparison.frame["execution_id_b"].tolist() == ["exec-beta-0", "exec-beta-2"]
    assert comparison.state["details"]["left_out"] == "Not compared: 1 pair without a completed output on one side"
    assert "blind; not compared: 1 pair" in repr(comparison)


def test_values_that_mean_the_same_are_paired() -> None:
    """A whole number and a float, missing values, lists."""
    a = result("alpha", [1, None, "x"], more=[[1, 2], None, {"k": 1}])
    b = result("beta", [None, "x", 1.0], more=[np.nan, {"k": 1}, [1, 2]])
    frame = ef.compare(a, b, by=["prompt", "more"]).frame
    assert frame["execution_id_b"].tolist() == ["exec-beta-2", "exec-beta-0", "exec-beta-1"]
    shown = [dict(pair["by"]) for pair in ef.compare(a, b, by=["prompt", "more"]).window["items"]]
    assert sorted((one["prompt"], one["more"]) for one in shown) == [
        ("1", "[1, 2]"),
        ("missing", "missing"),
        ("x", '{"k": 1}'),
    ]


def test_an_execution_is_not_compared_with_itself() -> None:
    """It is counted instead."""
    a = result("alpha", ["x", "y"])
    comparison = ef.compare(a, a, by="prompt")
    assert len(comparison.frame) == 0
    assert "2 pairs with the same execution on both sides" in repr(comparison)


def test_a_sweep_is_paired_by_its_axes(sandbox: Sandbox) -> None:
    """Those that both have, and which repetition it is, without anybody naming them."""
    cells = ef.sweep(prompt=["a fox", "an owl"], style=["noir", "ink"], repeats=2)
    a = cells.eachlabs.bulk_trigger("wf_abc123", wait=True, inputs=["prompt", "style"], retrigger=True)
    b = cells.eachlabs.bulk_trigger("wf_abc123", wait=True, inputs=["prompt", "style"], retrigger=True)
    comparison = ef.compare(a, b.iloc[::-1])
    assert list(comparison.frame.columns[:3]) == ["prompt", "style", "repeat"]
    assert len(comparison.frame) == 8
    assert comparison.frame["execution_id_b"].tolist() == b["execution_id"].tolist()
    a.attrs["eachlabs_sweep"] = {"axes": {"prompt": ["prompt"], "style": ["style"]}, "repeat": None}
    b.attrs["eachlabs_sweep"] = {"axes": {"prompt": ["prompt"]}, "repeat": None}
    assert list(ef.compare(a, b).frame.columns[:2]) == ["prompt", "execution_id_a"]


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (pd.RangeIndex(3), "index"),
        (pd.Index(["x", "y", "z"], name="sku"), "sku"),
        (pd.Index([7, 7, 8], name="prompt"), "prompt_"),
        (pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["letter", None]), "letter"),
    ],
)
def test_two_results_of_one_index_are_paired_by_it(index: pd.Index[Any], name: str) -> None:
    """Whatever their columns hold; the index is a column of the pairs, and the frames are as they were."""
    a, b = result("alpha", ["p", "q", "r"]).set_axis(index), result("beta", ["P", "Q", "R"]).set_axis(index)
    columns = list(a.columns)
    comparison = ef.compare(a, b)
    assert comparison.frame["execution_id_a"].str[-1].tolist() == comparison.frame["execution_id_b"].str[-1].tolist()
    assert len(comparison.frame) == 3
    assert comparison.frame.columns[0] == name
    assert comparison.frame[name].tolist() == index.get_level_values(0).tolist()
    assert list(a.columns) == columns
    if index.is_unique and not isinstance(index, pd.RangeIndex):
        shuffled = ef.compare(a, b.iloc[[2, 0, 1]]).frame
        assert shuffled["execution_id_b"].tolist() == comparison.frame["execution_id_b"].tolist()


def test_numbered_rows_in_another_order_are_not_paired_by_their_numbers() -> None:
    """A result that was sorted and numbered anew has the same index, and other rows there."""
    a, b = (result(who, ["p", "q"]).reset_index(drop=True) for who in ("alpha", "beta"))
    turned = b.iloc[::-1].reset_index(drop=True)
    with pytest.raises(ef.ColumnError, match="'prompt' are in another order"):
        ef.compare(a, turned)
    assert len(ef.compare(a, turned, by="prompt").frame) == 2


def test_it_must_be_known_what_pairs_the_rows() -> None:
    """The message lists what both have; a column that one has not, or that is the result's, is an error."""
    a, b = result("alpha", ["x"], seed=1), result("beta", ["x"], style="noir")
    with pytest.raises(ef.ColumnError, match=r"both have \['prompt', 'model'\]"):
        ef.compare(a, b)
    for by, message in (
        ("seed", "no column"),
        (["prompt", "style"], "no column"),
        ("status", "column of the result"),
        (["prompt", "prompt"], "named twice"),
        ([], "must name"),
    ):
        with pytest.raises(ef.ColumnError, match=message):
            ef.compare(a, b, by=by)
    with pytest.raises(ef.ColumnError, match="call bulk_trigger first"):
        ef.compare(a, pd.DataFrame({"prompt": ["x"]}), by="prompt")
    with pytest.raises(ef.FrameTypeError):
        ef.compare(a, [b], by="prompt")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"names": ("A", "A")},
        {"names": "AB"},
        {"names": ("A", "")},
        {"confidence": 0},
        {"confidence": 95},
        {"confidence": True},
        {"random_state": "x"},
        {"random_state": -1},
        {"judged": "no/such/folder/judged.csv"},
    ],
)
def test_what_cannot_be_used_is_an_error(options: dict[str, Any]) -> None:
    """And names the keyword."""
    with pytest.raises(ef.ConfigurationError, match=next(iter(options))):
        pair_of(**options)


def test_the_same_random_state_draws_the_same() -> None:
    """Sides and order; another one another."""
    first, again, other = (pair_of(40, random_state=seed) for seed in (1, 1, 2))
    assert first.window == again.window
    assert first.window != other.window
    assert first._source.order != list(range(40))


# -- blind ----------------------------------------------------------------------------------------------------------


def spoken(comparison: Comparison) -> str:
    """Return all that goes to a browser or a saved notebook, without the addresses of the pictures."""
    bundle, _ = comparison._repr_mimebundle_()
    said = json.dumps([comparison.get_state(["state", "window"]), bundle])
    for output in [*comparison._source.a.results.output, *comparison._source.b.results.output]:
        said = said.replace(output, "")
    return said


def test_nothing_says_whose_a_result_is_until_all_is_judged() -> None:
    """No name, label, input, execution, cost or row; afterwards the names."""
    judge = Judge(pair_of())
    for place in range(6):
        assert [word for word in SECRETS if word in spoken(judge.comparison)] == []
        assert judge.comparison.state["details"]["revealed"] is None
        judge.choose(place, "a" if place % 2 else "b")
    revealed = judge.comparison.state["details"]["revealed"]
    assert list(revealed["names"]) == ["alpha", "beta"]
    assert revealed["not_blind"] == 0
    assert "alpha" in spoken(judge.comparison)
    assert "execution" not in spoken(judge.comparison)


def test_the_rows_of_the_cards_say_nothing_either() -> None:
    """They are places on the page, whichever row of whichever result stands there."""
    for place, pair in enumerate(pair_of().window["items"]):
        assert (pair["left"]["row"], pair["right"]["row"]) == (2 * place, 2 * place + 1)
        assert all(pair[side]["cost_usd"] is None and pair[side]["seconds"] is None for side in ("left", "right"))


def test_a_side_says_nothing_of_the_run() -> None:
    """Over many draws each run stands on either side of each place."""
    drawn = [pair_of(4, random_state=seed)._source for seed in range(40)]
    assert len({(place, one.a_is_left(place)) for one in drawn for place in range(4)}) == 8
    assert len({tuple(one.is_a_left) for one in drawn}) == 6  # all ways to put two of four on the left


def test_what_is_judged_after_the_reveal_is_not_blind() -> None:
    """The frame says so, also of a step that is taken back."""
    judge = Judge(pair_of())
    judge.choose(0, "a")
    judge.ask("reveal")
    assert judge.comparison.state["details"]["revealed"]["not_blind"] == 0
    assert "blind" not in repr(judge.comparison)
    judge.choose(1, "b")
    judge.choose(0, "b")
    judged = judge.comparison.frame["blind"].dropna().tolist()
    assert judged == [False, False]
    assert judge.comparison.state["details"]["revealed"]["not_blind"] == 2
    judge.ask("undo")
    assert sorted(judge.comparison.frame["blind"].dropna().tolist()) == [False, True]


def test_a_downloaded_file_is_sent_without_its_name(tmp_path: Path) -> None:
    """By its side of the page: the left picture is the left run's."""
    frames = []
    for who in ("alpha", "beta"):
        (tmp_path / f"{who}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + who.encode())
        out = result(who, ["x"], path=[str(tmp_path / f"{who}.png")])
        out.attrs["eachlabs_download"] = {"column": "path"}
        frames.append(out)
    comparison = ef.compare(*frames, by="prompt")
    sent: list[tuple[Any, Any]] = []
    comparison.send = lambda content, buffers=None: sent.append((content, buffers))
    for row in (0, 1, 2, -1):
        comparison._handle_custom_msg({"kind": "file", "row": row, "n": 0}, [])
    first = "alpha" if comparison.frame["left"][0] == "a" else "beta"
    assert first.encode() in sent[0][1][0]
    assert {"alpha", "beta"} == {buffers[0][8:].decode() for _, buffers in sent[:2]}
    assert [buffers for _, buffers in sent[2:]] == [None, None]
    assert not any(word in json.dumps([content for content, _ in sent]) for word in SECRETS)
    assert not any(word in json.dumps(comparison.window) for word in ("alpha.png", "beta.png"))


# -- going on -------------------------------------------------------------------------------------------------------


def test_it_goes_on_with_what_was_judged() -> None:
    """From its frame, with the sides of then; drawn in another order."""
    judge = Judge(pair_of())
    for place, winner in enumerate(["a", "b", "tie"]):
        judge.choose(place, winner)
    before = judge.comparison.frame
    after = pair_of(judged=before, random_state=99)
    assert after.frame["winner"].equals(before["winner"])
    assert (after.frame["left"] == before["left"])[before["winner"].notna()].all()
    assert Counter(after.state["marks"])["."] == 3
    Judge(after).ask("undo")
    assert winners(after) == winners(judge.comparison)


def test_each_copy_of_a_pair_keeps_its_own_judgement() -> None:
    """Rows may be there twice: their executions are the same, and what was judged of each is not."""
    a, b = (pd.concat([result(who, ["fox"])] * 2, ignore_index=True) for who in "ab")
    judge = Judge(ef.compare(a, b, by="prompt", random_state=1))
    judge.choose(0, "a")
    judge.choose(1, "tie")
    before = judge.comparison.frame
    assert winners(ef.compare(a, b, by="prompt", judged=before, random_state=2)) == winners(judge.comparison)


def test_a_file_keeps_every_judgement(tmp_path: Path) -> None:
    """Written as it goes, read where it is there: a kernel may end at any moment."""
    path = tmp_path / "judged.csv"
    judge = Judge(pair_of(judged=path))
    assert not path.exists()
    judge.choose(0, "a")
    judge.choose(1, "tie")
    again = Judge(pair_of(judged=str(path), random_state=3))
    assert winners(again.comparison) == winners(judge.comparison)
    assert again.comparison.frame["blind"].dropna().tolist() == [True, True]
    again.ask("reveal")
    again.mark(again.comparison.state["at"], "l")
    third = pair_of(judged=path)
    assert winners(third) == winners(again.comparison)
    assert Counter(third.frame["blind"].dropna()) == {True: 2, False: 1}
    assert [one.name for one in tmp_path.iterdir()] == ["judged.csv"]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """The judgement is kept in the widget."""
    folder = tmp_path / "gone"
    folder.mkdir()
    judge = Judge(pair_of(judged=folder / "judged.csv"))
    folder.rmdir()
    judge.choose(0, "a")
    assert "judged.csv" in judge.comparison.state["problem"]
    assert "a" in winners(judge.comparison)


def test_a_file_by_any_name_is_gone_on_with(tmp_path: Path) -> None:
    """It is a plain one."""
    path = tmp_path / "judged.csv.gz"
    judge = Judge(pair_of(judged=path))
    judge.choose(0, "a")
    assert winners(pair_of(judged=path)) == winners(judge.comparison)


def test_what_no_file_can_hold_is_said(tmp_path: Path) -> None:
    """Half a character in what pairs the rows: the judgement is kept in the widget, and the next one is heard."""
    a, b = (result(name, ["p0", "p1"]) for name in ("alpha", "beta"))
    for one in (a, b):
        one["prompt"] = pd.Series(["p0", "\ud800"], one.index, dtype=object)
    judge = Judge(ef.compare(a, b, by="prompt", names=("alpha", "beta"), judged=tmp_path / "judged.csv"))
    judge.choose(0, "a")
    assert "judged.csv" in judge.comparison.state["problem"]
    assert judge.comparison.state["processed"] == {"judge": judge.number}
    assert sorted(judge.comparison.frame["prompt"]) == ["p0", "\ud800"]
    assert list(tmp_path.iterdir()) == []


def test_judgements_of_other_pairs_are_refused(tmp_path: Path) -> None:
    """Nothing of them is lost, and their file is not written over."""
    judge = Judge(pair_of())
    judge.choose(0, "a")
    prompts = [f"p{row}" for row in range(6)]
    turned = {"by": "prompt", "judged": judge.comparison.frame}
    with pytest.raises(ef.ColumnError, match="1 of 1 judgements"):
        ef.compare(result("beta", prompts), result("alpha", prompts), **turned)
    with pytest.raises(ef.ColumnError, match="no column 'execution_id_a'"):
        pair_of(judged=pd.DataFrame({"winner": ["a"]}))
    other = tmp_path / "other.csv"
    other.write_text("x,y\n1,2\n")
    with pytest.raises(ef.ColumnError, match="no column"):
        pair_of(judged=other)
    assert other.read_text() == "x,y\n1,2\n"
    odd = judge.comparison.frame.assign(winner="alpha")
    with pytest.raises(ef.ColumnError, match="6 of 6"):
        pair_of(judged=odd)


# -- where there are no widgets -------------------------------------------------------------------------------------


def test_where_there_are_no_widgets_there_is_a_sentence_and_then_a_table() -> None:
    """Escaped: a name may be anything."""
    comparison = pair_of(2, names=("<b>", "beta"))
    judge = Judge(comparison)
    assert "0 of 2 pairs judged, blind" in comparison._repr_mimebundle_()[0]["text/html"]
    judge.choose(0, "a")
    judge.choose(1, "a")
    shown = comparison._repr_mimebundle_()[0]["text/html"]
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert "1.000" in shown
