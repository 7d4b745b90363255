"""A sweep as a grid: what stands in its cells, what is said where no widget is, what it writes, and wrong calls."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import media
from eachlabs_frames.views.matrix import model, png, static, widget
from eachlabs_frames.views.matrix.widget import Matrix

NASTY = '"><img src=x onerror=alert(1)><script>window.ran=1</script>\u202e'
SECOND = pd.Timedelta(seconds=1)
START = pd.Timestamp("2026-01-05T09:00:00Z")


def result(rows: list[tuple[Any, ...]], names: str = "prompt style seed", **columns: Any) -> pd.DataFrame:
    """Make a frame that was triggered: completed rows, unless `columns` say something else."""
    out = pd.DataFrame(rows, columns=names.split())
    size = len(out)
    out["bulk_id"], out["status"], out["error"] = "b", "completed", None
    out["execution_id"] = [f"e{row}" for row in range(size)]
    out["started_at"] = START
    out["completed_at"] = [START + (row + 1) * SECOND for row in range(size)]
    out["output"] = [f"https://media.test/{row}.png" for row in range(size)]
    out["cost"] = [0.01 * (row + 1) for row in range(size)]
    for name, values in columns.items():
        out[name] = values
    return out


def sweep(**columns: Any) -> pd.DataFrame:
    """Make two prompts in two styles with two seeds."""
    rows = [(prompt, style, seed) for prompt in ("fox", "owl") for style in ("ink", "oil") for seed in (0, 1)]
    return result(rows, **columns)


def cell(shown: Matrix, row: int, column: int) -> model.MatrixCell:
    """Return one cell of what the browser is sent."""
    sent: model.MatrixCell = shown.table["cells"][row][column]
    return sent


def texts(one: model.MatrixCell) -> list[list[str | None]]:
    """Return the numbers in a cell, slot by slot; None where the frame has no row, or that has none."""
    return [[None if mark is None else mark["text"] for mark in slot["marks"]] for slot in one["slots"]]


def rows_of(one: model.MatrixCell) -> list[list[int | None]]:
    """Return the rows in a cell, slot by slot."""
    return [[None if mark is None else mark["at"] for mark in slot["marks"]] for slot in one["slots"]]


def bundle(shown: Matrix) -> dict[str, str]:
    """Return what a notebook stores."""
    found = shown._repr_mimebundle_()
    assert found is not None
    return found[0]


def downloaded(frame: pd.DataFrame, folder: Path, kinds: dict[int, bytes]) -> pd.DataFrame:
    """Have rows with a file of their own, as a download leaves them."""
    paths: list[str | None] = [None] * len(frame)
    for row, content in kinds.items():
        path = folder / f"{row}.bin"
        path.write_bytes(content)
        paths[row] = str(path)
    frame["path"] = pd.Series(paths, dtype=object)
    frame.attrs["eachlabs_download"] = {"column": "path"}
    return frame


def ask(shown: Matrix, content: Any) -> list[tuple[dict[str, Any], list[bytes]]]:
    """Do as the browser does that asks something, and return what it is sent."""
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    shown.send = lambda content, buffers=None: sent.append((content, buffers or []))
    shown._handle_custom_msg(content, [])
    return sent


# -- what stands in the cells -----------------------------------------------------------------------------------------


def test_a_cell_holds_its_rows_in_order_of_by() -> None:
    """And each says which it is; a row that the frame has not is marked among them."""
    out = sweep().sample(frac=1, random_state=1).query("not (prompt == 'owl' and style == 'oil' and seed == 0)")
    out["seed"] = pd.Categorical(out["seed"], categories=[0, 1])
    out = out.reset_index(drop=True)
    shown = out.eachlabs.matrix("prompt", "style", by="seed")
    places = [(place["label"], mark) for place in cell(shown, 0, 0)["slots"] for mark in place["marks"]]
    assert [label for label, _ in places] == ["seed 0", "seed 1"]
    keys = [(prompt, style) for prompt in out["prompt"].unique() for style in out["style"].unique()]
    for (prompt, style), one in zip(keys, [one for line in shown.table["cells"] for one in line], strict=True):
        for seed, (at,) in enumerate(rows_of(one)):
            is_it = (out["prompt"] == prompt) & (out["style"] == style) & (out["seed"] == seed)
            assert out.index[is_it].tolist() == ([] if at is None else [at])


def test_without_by_repeats_are_numbered() -> None:
    """As they come; one alone needs no number, and a combination that is not there has no slot."""
    out = result([("fox", "ink", 0), ("fox", "ink", 0), ("owl", "oil", 0)])
    shown = out.eachlabs.matrix("prompt", "style")
    assert [slot["label"] for slot in cell(shown, 0, 0)["slots"]] == ["#1", "#2"]
    assert rows_of(cell(shown, 0, 0)) == [[0], [1]]
    assert cell(shown, 0, 1)["slots"] == []
    assert [slot["label"] for slot in cell(shown, 1, 1)["slots"]] == [""]


def test_numbers_are_shown_and_their_mean_colours_the_cell() -> None:
    """On the scale of all means; a number that is missing has no text."""
    out = sweep(score=[1.0, 3.0, 4.0, None, None, None, 8.0, 8.0])
    shown = out.eachlabs.matrix("prompt", "style", "score", by="seed")
    assert shown.table["kind"] == "numbers"
    assert texts(cell(shown, 0, 0)) == [["1"], ["3"]]
    assert (cell(shown, 0, 0)["mean"], cell(shown, 0, 1)["mean"], cell(shown, 1, 1)["mean"]) == ("2", "4", "8")
    assert texts(cell(shown, 0, 1)) == [["4"], [None]]
    assert (cell(shown, 1, 0)["mean"], cell(shown, 1, 0)["paint"]) == (None, None)
    legend = shown.table["legend"]
    assert legend["ticks"][0] == (0, "2")
    assert legend["ticks"][-1] == (1, "8")
    assert cell(shown, 0, 0)["paint"] == (legend["stops"][0], "#ffffff")
    assert cell(shown, 1, 1)["paint"] == (legend["stops"][-1], "#000000")


@pytest.mark.parametrize(
    ("values", "said", "kind"),
    [
        ([1, 2], ["1", "2"], "numbers"),
        (pd.array([1, None], dtype="Int64"), ["1", None], "numbers"),
        ([True, False], ["True", "False"], "numbers"),
        (pd.to_timedelta([1.5, 60], unit="s"), ["1.5 s", "60 s"], "numbers"),
        (pd.Series([__import__("decimal").Decimal("0.25"), None], dtype=object), ["0.25", None], "numbers"),
        (pd.Series([10**400, -(10**400)], dtype=object), ["∞", "\N{MINUS SIGN}∞"], "numbers"),
        ([np.inf, -1.0], ["∞", "\N{MINUS SIGN}1"], "numbers"),
        ([None, None], [None, None], "cards"),
        (["a", "b"], [None, None], "cards"),
        (pd.to_datetime(["2026-01-01", "2026-01-02"]), [None, None], "cards"),
        (pd.Categorical([1, 2]), [None, None], "cards"),
        ([1 + 2j, 2j], [None, None], "cards"),
    ],
)
def test_what_is_a_number(values: Any, said: list[str | None], kind: str) -> None:
    """Numbers, truths and spans of time; a moment, a text and a category are shown as an output is."""
    out = result([("fox", "ink", 0), ("fox", "oil", 0)], score=values)
    shown = out.eachlabs.matrix("prompt", "style", "score")
    assert shown.table["kind"] == kind
    assert [texts(one)[0][0] for one in shown.table["cells"][0]] == said


def test_a_heat_map_of_scores_spans_their_whole_scale() -> None:
    """From 1 to the best score there can be, also where none of those was given; differences by all there can be."""
    out = sweep()
    out.eachlabs.rate(scale=5)
    out["score"] = pd.array([3, 4] * 4, dtype="Int64")[: len(out)]
    shown = out.eachlabs.matrix("prompt", "style", "score").table
    assert shown["legend"]["ticks"] == [(0, "1"), (0.25, "2"), (0.5, "3"), (0.75, "4"), (1, "5")]
    both = out.eachlabs.matrix("prompt", "style", "score", compare=out.assign(score=4)).table
    ends = [text for share, text in both["legend"]["ticks"] if share in (0, 1)]
    assert ends == ["\N{MINUS SIGN}4", "+4"]
    out.loc[out.index[0], "score"] = 9  # a number of before, which is none of the scale
    assert out.eachlabs.matrix("prompt", "style", "score", by="seed").table["legend"]["ticks"][0] == (0, "1")
    out.attrs["eachlabs_rating_scale"] = {"score": "best", 3: 4}
    assert out.eachlabs.matrix("prompt", "style", "score").table["legend"]["ticks"][0] != (0, "1")


def test_cost_duration_and_status_are_the_results_own() -> None:
    """In USD and in seconds; a column of the user's that is called duration comes first."""
    out = result([("fox", "ink", 0), ("fox", "oil", 0)], status=["completed", "unknown"])
    shown = out.eachlabs.matrix("prompt", "style", "duration")
    assert [texts(one) for one in shown.table["cells"][0]] == [[["1 s"]], [["2 s"]]]
    assert shown.frame["ink"].tolist() == [1.0]
    assert texts(cell(out.eachlabs.matrix("prompt", "style", "cost"), 0, 1)) == [["$0.02"]]
    words = out.eachlabs.matrix("prompt", "style", "status").table
    assert words["kind"] == "statuses"
    assert [one["slots"][0]["marks"][0]["status"] for one in words["cells"][0]] == ["completed", "unknown"]
    own = out.assign(duration=["short", "long"]).eachlabs.matrix("prompt", "style", "duration")
    assert own.frame["oil"].tolist() == ["long"]


def test_a_users_column_is_shown_as_an_output_and_enlarged_with_the_input() -> None:
    """Its text in the cell; no file of the real output is taken for it."""
    out = result([("fox", "ink", 0)], caption=["a red fox"])
    out["path"] = ["a.png"]
    out.attrs["eachlabs_download"] = {"column": "path"}
    (card,) = out.eachlabs.matrix("prompt", "style", "caption").cards
    assert card["text"] == "a red fox"
    assert dict(card["input"])["prompt"] == "fox"
    picture = out.assign(caption=["https://media.test/x.png"]).eachlabs.matrix("prompt", "style", "caption").cards[0]
    assert [item["has_file"] for item in picture["media"]] == [False]


def test_a_prefix_is_heeded() -> None:
    """The result's columns are found behind it, whatever the user's own are called."""
    out = result([("fox", "ink", 0)]).rename(columns=lambda name: name if name in ("prompt", "style") else f"x_{name}")
    out["output"] = "mine"
    shown = out.eachlabs.matrix("prompt", "style", prefix="x_")
    assert shown.cards[0]["media"][0]["url"] == "https://media.test/0.png"
    assert shown.frame["ink"].tolist() == ["https://media.test/0.png"]
    assert out.eachlabs.matrix("prompt", "style", "cost", prefix="x_").frame["ink"].tolist() == [0.01]


def test_headers_say_what_a_value_is() -> None:
    """A missing one too, an empty text, and each level of several."""
    out = result([("", 1.5, None), ("owl", 2.5, [1])])
    shown = out.eachlabs.matrix(["prompt", "seed"], "style").table
    assert shown["rows"] == {
        "names": ["prompt", "seed"],
        "places": [['""', "missing"], ["owl", "[1]"]],
        "images": [[None, None], [None, None]],
    }
    assert shown["columns"]["places"] == [["1.5"], ["2.5"]]


def test_the_frame_is_taken_as_it_is_now_and_never_written() -> None:
    """Later changes of it, and of the pivot that was handed out, reach nothing."""
    out = sweep()
    before = out.copy()
    shown = out.eachlabs.matrix("prompt", "style", "cost", by="seed")
    handed_out = shown.frame
    handed_out.iloc[:, :] = 9.0
    out.loc[:, "cost"] = 5.0
    assert shown.frame.loc["fox", ("ink", 0)] == 0.01
    pd.testing.assert_frame_equal(out.drop(columns="cost"), before.drop(columns="cost"))


# -- two frames -------------------------------------------------------------------------------------------------------


def test_two_frames_stand_side_by_side() -> None:
    """Matched by their keys, with the union of both; what one of them has not is marked."""
    first = result([("fox", "ink", 0), ("owl", "ink", 0)], cost=[0.5, 0.25])
    second = result([("owl", "ink", 0), ("cat", "ink", 0)], cost=[0.75, 1.0])
    shown = first.eachlabs.matrix("prompt", "style", "cost", by="seed", compare=second)
    assert shown.table["sides"] == ["A", "B"]
    assert [place[0] for place in shown.table["rows"]["places"]] == ["fox", "owl", "cat"]
    assert [rows_of(line[0]) for line in shown.table["cells"]] == [[[0, None]], [[1, 2]], [[None, 3]]]
    assert [line[0]["slots"][0]["difference"] for line in shown.table["cells"]] == [None, "+$0.50", None]
    assert shown.table["legend"]["ticks"][0][1] == "\N{MINUS SIGN}$0.50"
    assert shown.frame.columns.names == ["run", "style", "seed"]
    assert shown.frame.loc["owl"].tolist() == [0.25, 0.75]
    assert [(card["row"], card["label"][:2]) for card in shown.cards] == [(0, "A:"), (1, "A:"), (2, "B:"), (3, "B:")]


@pytest.mark.parametrize(
    ("runs", "called"),
    [
        (("one", "two"), ["one", "two"]),
        (("one", "one"), ["one (A)", "one (B)"]),
        ((None, "two"), ["A", "two"]),
        ((None, None), ["A", "B"]),
    ],
)
def test_they_are_called_by_their_runs(runs: tuple[str | None, str | None], called: list[str]) -> None:
    """Or by letters, where there is none or both have the same."""
    frames = [result([("fox", "ink", 0)]) for _ in runs]
    for frame, run in zip(frames, runs, strict=True):
        frame.attrs["eachlabs"] = {"workflow_id": "wf", "run": run}
    assert frames[0].eachlabs.matrix("prompt", "style", compare=frames[1]).table["sides"] == called


def test_files_of_both_frames_are_told_apart(tmp_path: Path) -> None:
    """The browser asks by number, and gets what belongs to it; what it makes up is nothing."""
    first = downloaded(result([("fox", "ink", 0)]), tmp_path, {0: media.png({"prompt": "first"})})
    (tmp_path / "b").mkdir()
    second = downloaded(result([("fox", "ink", 0)]), tmp_path / "b", {0: media.png({"prompt": "second"})})
    shown = first.eachlabs.matrix("prompt", "style", compare=second)
    for number, folder in ((0, tmp_path), (1, tmp_path / "b")):
        ((answer, buffers),) = ask(shown, {"kind": "file", "row": number, "n": 0})
        assert answer == {"kind": "file", "row": number, "n": 0, "type": "image/png"}
        assert buffers == [(folder / "0.bin").read_bytes()]
    for row, n in ((0, 1), (2, 0), (-1, 0), (0, -1)):
        assert ask(shown, {"kind": "file", "row": row, "n": n})[0][1] == []
    for made_up in (None, [], {}, {"kind": "cards"}, {"kind": "cards", "at": 1}, {"kind": "file", "row": "0", "n": 0}):
        assert ask(shown, made_up) == []


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_cards_beyond_the_first_are_sent_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order, and none that is not there."""
    monkeypatch.setattr(widget, "FIRST", 1_000)
    shown = sweep().eachlabs.matrix("prompt", "style", by="seed")
    assert 0 < len(shown.cards) < 8
    ((answer, _),) = ask(shown, {"kind": "cards", "at": [7, 3, 99, -1, "x", None, True]})
    assert [(card["row"], dict(card["input"])["seed"]) for card in answer["cards"]] == [(7, "1"), (3, "1")]
    json.dumps(answer)


def test_what_is_too_much_is_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """But never of the pivot."""
    monkeypatch.setattr(model, "MAX_ROWS", 40)
    monkeypatch.setattr(model, "MAX_COLUMNS", 4)
    monkeypatch.setattr(model, "MAX_REPEATS", 2)
    out = result([(row, column, 0) for row in range(9) for column in range(6) for _ in range(3)])
    shown = out.eachlabs.matrix("prompt", "style")
    assert (len(shown.table["cells"]), len(shown.table["cells"][0])) == (5, 4)
    assert shown.table["cut"].startswith("Shown: the first 5 of 9 rows and the first 4 of 6 columns.")
    assert (len(cell(shown, 0, 0)["slots"]), cell(shown, 0, 0)["more"]) == (2, 1)
    assert shown.frame.shape == (9, 18)
    assert "4 more rows" in bundle(shown)["text/html"] or "5 of 9 rows" in bundle(shown)["text/html"]


def test_by_that_names_moments_marks_no_gaps() -> None:
    """A cell with one row of fifty is no cell with forty-nine holes."""
    out = result([*(("fox", "ink", moment) for moment in range(50)), ("owl", "ink", 7)])
    shown = out.eachlabs.matrix("prompt", "style", by="seed").table["cells"]
    assert [len(line[0]["slots"]) for line in shown] == [50, 1]
    few = out.query("seed < 9").eachlabs.matrix("prompt", "style", by="seed").table["cells"]
    assert [len(line[0]["slots"]) for line in few] == [9, 9]


# -- where there is no widget -----------------------------------------------------------------------------------------


def test_a_table_stands_in_the_notebook() -> None:
    """With pictures, statuses, errors and what is missing; and a text for a terminal."""
    out = result(
        [("fox", "ink", 0), ("fox", "oil", 0), ("owl", "ink", 0)],
        status=["completed", "failed", "pending"],
        error=[None, "out of memory", None],
        output=["https://media.test/0.png?a=1&b=2", None, None],
    )
    shown = bundle(out.eachlabs.matrix("prompt", "style"))
    html = shown["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert '<img src="https://media.test/0.png?a=1&amp;b=2"' in html
    assert html.count("<img") == html.count('referrerpolicy="no-referrer"') == html.count("max-width:none")
    assert "<em>failed</em>: out of memory" in html
    assert "<em>pending</em>" in html
    assert "<em>no row</em>" in html
    assert '<th scope="col"' in html
    assert '<th scope="row"' in html
    assert "<script" not in html
    lines = shown["text/plain"].splitlines()
    assert lines[0] == "output by prompt and style"
    assert lines[2].split() == ["fox", "completed", "failed"]
    assert lines[3].split() == ["owl", "pending", "-"]


def test_numbers_stand_there_with_their_colours() -> None:
    """And the scale; of two frames with the difference."""
    shown = bundle(sweep().eachlabs.matrix("prompt", "style", "cost", by="seed", compare=sweep(cost=1.0)))
    assert re.search(r"background:#[0-9a-f]{6};color:#(000000|ffffff)", shown["text/html"])
    assert re.search(r"<p>[^<]*: from \S+ <span .*</span> to \S+</p>", shown["text/html"])
    assert "$0.01 | $1.00" in shown["text/html"]
    assert "+$0.99" in shown["text/html"]
    assert "mean +$0.985" in shown["text/plain"]


def test_nothing_from_outside_becomes_markup() -> None:
    """Not a prompt, an output, an error, a status, a column's name or a run's."""
    out = result([(NASTY, NASTY, NASTY)], names=f"{'p'} {'s'} {'b'}", output=NASTY, error=NASTY, status=NASTY)
    out = out.rename(columns={"p": NASTY})
    out.attrs["eachlabs"] = {"workflow_id": "wf", "run": NASTY}
    for shown in (
        out.eachlabs.matrix(NASTY, "s", by="b"),
        out.eachlabs.matrix(NASTY, "s", "cost", by="b", compare=out),
        out.eachlabs.matrix(NASTY, "s", "status"),
    ):
        stored = bundle(shown)
        assert "<script" not in stored["text/html"]
        assert "<img" not in stored["text/html"]
        assert "\u202e" not in stored["text/html"] + stored["text/plain"]


def test_a_column_of_objects_stays_one() -> None:
    """Also where it holds nothing but texts, or what pandas could not make texts of."""
    for values in (["a", "b"], ["a", "\ud800"], [1, 2], [[1], None]):
        out = result([("fox", "ink", 0), ("owl", "ink", 0)], note=pd.Series(values, dtype=object))
        out["prompt"] = pd.Series(["fox", "\ud800"], dtype=object)
        shown = out.eachlabs.matrix("prompt", "style", "note").frame
        assert shown["ink"].dtype == object
        assert shown.index.dtype == object
        assert shown["ink"].tolist() == values


@pytest.mark.slow
def test_the_table_is_bounded(tmp_path: Path) -> None:
    """However many rows there are, and however large the pictures are; it says what is left out."""
    out = result([(f"{row} " + "long " * 400, column, 0) for row in range(40) for column in range(44)])
    out = downloaded(out, tmp_path, {row: b"\x89PNG\r\n\x1a\n" + bytes(12_000) for row in range(120)})
    html = bundle(out.eachlabs.matrix("prompt", "style"))["text/html"]
    assert len(html) <= static.MAX_HTML_BYTES
    assert "data:image/png;base64," in html
    assert re.search(r"And \d+ more rows and 4 more columns\.", html)
    assert html.endswith("</div>")
    one = bundle(out.eachlabs.matrix("seed", "style"))["text/html"]
    assert len(one) <= static.MAX_HTML_BYTES


# -- files ------------------------------------------------------------------------------------------------------------


def test_it_is_saved_as_a_page(tmp_path: Path) -> None:
    """Which holds what was downloaded, and links what was not."""
    content = media.png({"prompt": "fox"})
    out = downloaded(result([("fox", "ink", 0), ("fox", NASTY, 0)]), tmp_path, {0: content})
    path = out.eachlabs.matrix("prompt", "style").save(tmp_path / "grid.html")
    page = path.read_text("utf-8")
    assert page.count('id="eachlabs-file-') == 1
    assert "https://media.test/1.png" in page
    assert "<script>window.ran" not in page
    (state,) = re.findall(r'id="eachlabs-state">(.*?)</script>', page)
    assert [card["row"] for card in json.loads(state)["cards"]] == [0, 1]


def pixels(path: Path) -> Any:
    """Open a picture as an array of red, green and blue."""
    from PIL import Image

    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"))


@pytest.mark.slow
def test_a_heat_map_is_saved_as_a_picture(tmp_path: Path) -> None:
    """With the cells' colours in it, and the scale's."""
    shown = sweep().eachlabs.matrix("prompt", "style", "cost", by="seed")
    found = pixels(shown.save(str(tmp_path / "grid.PNG")))
    colours = {tuple(one) for one in np.unique(found.reshape(-1, 3), axis=0).tolist()}
    assert found.shape[0] > 200
    assert found.shape[1] > 600
    for line in shown.table["cells"]:
        for one in line:
            assert tuple(bytes.fromhex(one["paint"][0][1:])) in colours


def test_pictures_that_were_downloaded_are_in_it(tmp_path: Path) -> None:
    """PNG, JPEG and WebP as they are; what cannot be read, and what is not here, is named."""
    from PIL import Image

    def picture(kind: str, colour: tuple[int, int, int]) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (30, 60), colour).save(out, kind, **({"lossless": True} if kind == "WEBP" else {}))
        return out.getvalue()

    kinds = {0: picture("PNG", (250, 0, 0)), 1: picture("JPEG", (0, 250, 0)), 2: picture("WEBP", (0, 0, 250))}
    kinds |= {3: b"\x89PNG\r\n\x1a\n broken", 4: media.svg({"prompt": "owl"})}
    out = downloaded(sweep(), tmp_path, kinds)
    found = pixels(out.eachlabs.matrix("prompt", "style", by="seed", size=64).save(tmp_path / "grid.png")).astype(int)
    for channel, bound in ((0, 245), (1, 240), (2, 245)):
        others = [other for other in range(3) if other != channel]
        of_colour = (found[..., channel] > bound) & (found[..., others] < 12).all(axis=-1)
        # Half as wide as high, so half of the square that a slot is.
        assert of_colour.sum() == pytest.approx(128 * 64, rel=0.05)
    with Image.open(tmp_path / "grid.png") as opened:
        assert opened.text["Title"] == "output by prompt and style"  # type: ignore[attr-defined]  # of a PNG
        assert opened.text["Description"] == (  # type: ignore[attr-defined]
            "1 SVG picture cannot be drawn in a PNG: save the matrix as .html to see them."
        )
    assert (found[-png.LINE * 2 :] < 200).any()  # the same stands below the cells


def test_a_picture_that_is_not_drawn_says_why() -> None:
    """In its place: an SVG, a broken file and a picture that was not downloaded are three things."""
    shown = sweep().eachlabs.matrix("prompt", "style")
    card = shown._source.cards([0])[0] | {"label": "a fox"}
    assert png._caption(card, "SVG, not drawn") == ("(image: SVG, not drawn) a fox", png.MUTED)


@pytest.mark.slow
@pytest.mark.parametrize("value", ["output", "cost", "status"])
def test_any_script_is_drawn_without_a_warning(tmp_path: Path, value: str) -> None:
    """What no font has is a box, a dollar sign is no formula, and pyplot is not touched."""
    words = ["雪の中の狐", "الثعلب في الثلج", "лиса", "🦊🦊", "$\\nosuch{$ costs", "\x00\x07", "𒀀𒁀", NASTY]
    out = result([(word, word, 0) for word in words], status=["failed"] * 4 + ["completed"] * 4, error=words)
    out["output"] = pd.Series([*words[1:], "\ud800"], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = out.eachlabs.matrix("prompt", "style", value).save(tmp_path / "grid.png")
    assert pixels(path).std() > 5


def test_no_decoder_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of PostScript that says it is a picture: Pillow would hand it to Ghostscript."""
    started = tmp_path / "started"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\n: > {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    url = f"data:image/png;base64,{base64.b64encode(page).decode()}"
    result([("fox", "ink", 0)], output=[url]).eachlabs.matrix("prompt", "style").save(tmp_path / "grid.png")
    assert not started.exists()


@pytest.mark.slow
def test_drawing_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    """No figure is open, no back end was chosen, and what the user has set changes nothing."""
    code = f"""
import matplotlib, sys
matplotlib.rcParams.update({{"text.usetex": True, "savefig.bbox": "tight", "font.size": 40}})
import eachlabs_frames, pandas
ids = {{"bulk_id": "b", "execution_id": "e", "status": "completed"}}
out = pandas.DataFrame([{{"prompt": "fox", "style": "ink", "cost": 0.5, **ids}}])
out.eachlabs.matrix("prompt", "style", "cost").save({str(tmp_path / "grid.png")!r})
print("matplotlib.pyplot" in sys.modules, matplotlib.rcParams["text.usetex"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False", "True"]


def test_a_picture_that_would_be_too_large_is_made_smaller_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pictures shrink first; in the end the error says what to do."""
    out = sweep()
    monkeypatch.setattr(png, "MAX_PIXELS", 300_000)
    shown = out.eachlabs.matrix("prompt", "style", by="seed")
    assert png._fit(shown.table).picture == 120
    assert pixels(shown.save(tmp_path / "a.png")).shape[1] < 2 * 800
    monkeypatch.setattr(png, "MAX_PIXELS", 1_000)
    for value in ("output", "cost"):
        with pytest.raises(ef.ConfigurationError, match=r"2 by 2 cells take .* pixels, too many .* save the matrix as"):
            out.eachlabs.matrix("prompt", "style", value).save(tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


def test_without_matplotlib_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And everything else works."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    shown = sweep().eachlabs.matrix("prompt", "style")
    with pytest.raises(ef.ConfigurationError, match=r'pip install "eachlabs-frames\[plot\]"'):
        shown.save(tmp_path / "grid.png")
    assert shown.save(tmp_path / "grid.html").exists()


def test_names_that_are_no_sound_text_are_written_too(tmp_path: Path) -> None:
    """Half a character in the name of a column or of a run: JSON in a page knows no such thing."""
    out = result([("fox", "ink", 0)])
    out.columns = pd.Index(list(out.columns), dtype=object)
    out["\ud800"] = [0.5]
    other = out.copy()
    out.attrs["eachlabs"] = {"run": "before\ud800"}
    path = out.eachlabs.matrix("prompt", "style", "\ud800", compare=other).save(tmp_path / "grid.html")
    assert "\ufffd by prompt and style" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["grid", "grid.jpg", "grid.svg"])
def test_other_suffixes_say_which_there_are(tmp_path: Path, name: str) -> None:
    """Before anything is written."""
    with pytest.raises(ef.ConfigurationError, match=r"saved as \.html or \.png; got"):
        sweep().eachlabs.matrix("prompt", "style").save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Of a page and of a picture."""
    for name in ("grid.html", "grid.png"):
        with pytest.raises(ef.ConfigurationError, match="in a folder that does not exist"):
            sweep().eachlabs.matrix("prompt", "style").save(tmp_path / "nowhere" / name)


def test_a_text_is_wrapped_by_what_it_takes() -> None:
    """Wide characters count twice, long words break, and a text that goes on says so."""
    assert png._wrap("one two three", 7, 5) == ["one two", "three"]
    assert png._wrap("abcdefghij", 4, 5) == ["abcd", "efgh", "ij"]
    assert png._wrap("雪の中の狐", 4, 5) == ["雪の", "中の", "狐"]
    assert png._wrap("one two three four", 5, 2) == ["one", "two…"]
    assert png._wrap("", 5, 2) == [""]


# -- wrong calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": "promt"}, r"rows='promt': the frame has no such column \(did you mean 'prompt'\?\)"),
        ({"columns": ["style", "seeds"]}, r"columns='seeds': .*did you mean 'seed'\?"),
        ({"by": "styl"}, r"by='styl': "),
        ({"value": "scor"}, r"value='scor': "),
        ({"rows": ["prompt", "style"]}, r"rows= and columns= name column 'style' more than once"),
        ({"rows": ["prompt", "prompt"]}, r"rows= name column 'prompt' more than once"),
        ({"by": "style"}, r"columns= and by= name column 'style'"),
        ({"rows": []}, r"rows= takes a column's name, or a list of names; got \[\]"),
        ({"rows": None}, r"rows=None: the frame has no such column"),
        ({"columns": [["style"]]}, r"columns= takes a column's name"),
        ({"rows": {"a": 1}}, r"rows= takes a column's name"),
    ],
)
def test_a_column_that_cannot_be_meant_is_an_error(arguments: dict[str, Any], message: str) -> None:
    """It says which argument, what is wrong with it, and the nearest name."""
    with pytest.raises(ef.ColumnError, match=message):
        sweep().eachlabs.matrix(**{"rows": "prompt", "columns": "style"} | arguments)


def test_columns_that_are_there_twice_are_an_error() -> None:
    """Nobody can say which is meant."""
    out = sweep()
    out.insert(0, "prompt", "x", allow_duplicates=True)
    with pytest.raises(ef.ColumnError, match="rows='prompt': the frame has 2 columns of this name"):
        out.eachlabs.matrix("prompt", "style")


def test_a_frame_without_results_is_an_error() -> None:
    """The frame's own, and the one to compare with, which is named."""
    bare = sweep()[["prompt", "style", "seed"]]
    with pytest.raises(ef.ColumnError, match="nothing was triggered from this frame"):
        bare.eachlabs.matrix("prompt", "style")
    with pytest.raises(ef.ColumnError, match="compare= nothing was triggered"):
        sweep().eachlabs.matrix("prompt", "style", compare=bare)
    with pytest.raises(ef.ColumnError, match="compare= rows='prompt'"):
        sweep().eachlabs.matrix("prompt", "style", compare=sweep().drop(columns="prompt"))
    with pytest.raises(ef.FrameTypeError, match=r"compare= takes a second result, a pandas DataFrame; got str"):
        sweep().eachlabs.matrix("prompt", "style", compare="other")


@pytest.mark.parametrize("size", [0, 31, 1_025, 100.0, "100", True, None])
def test_a_size_out_of_bounds_is_an_error(size: Any) -> None:
    """It says which are within."""
    with pytest.raises(ef.ConfigurationError, match=r"size= is the pixels of a picture's side, 32 to 1024"):
        sweep().eachlabs.matrix("prompt", "style", size=size)


def test_no_rows_are_no_error(tmp_path: Path) -> None:
    """A sweep of which everything was filtered away has an empty grid, in each form."""
    for value in ("output", "cost"):
        shown = sweep().iloc[:0].eachlabs.matrix("prompt", "style", value, by="seed", compare=sweep().iloc[:0])
        assert shown.frame.shape == (0, 0)
        assert bundle(shown)["text/plain"].endswith("no rows")
        assert shown.save(tmp_path / "grid.html").exists()
        assert shown.save(tmp_path / "grid.png").exists()


def test_columns_of_several_levels_are_named_by_their_tuple() -> None:
    """A tuple that is a column's label is one column, and no list of two."""
    out = sweep()
    out.columns = pd.MultiIndex.from_tuples([(name, "") for name in out.columns])
    shown = out.eachlabs.matrix(("prompt", ""), ("style", ""), by=("seed", ""))
    assert shown.table["rows"]["names"] == ["prompt"]
    assert shown.frame.shape == (2, 4)


def test_a_real_run_is_shown(sandbox: Any) -> None:
    """From a sweep in the sandbox to its grid."""
    grid = ef.sweep(prompt=["fox", "owl"], style=["ink", "oil"], repeats=2)
    out = grid.eachlabs.bulk_trigger("wf_abc123", wait=True, progress=False)
    shown = out.eachlabs.matrix("prompt", "style", by="repeat")
    assert shown.frame.notna().all(axis=None)
    assert shown.frame.loc["owl", ("ink", 2)] == out["output"].iloc[5]
    assert [dict(card["input"]) for card in shown.cards][:2] == [{"prompt": "fox", "style": "ink"}] * 2
