"""Cards: what is shown of a row, which input stands beside it, what it is called, and that all has its bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.media import urls
from eachlabs_frames.models import COMPLETED, FAILED, Outcome
from eachlabs_frames.views.common.card import (
    MAX_INPUT_LENGTH,
    MAX_LABEL_LENGTH,
    MAX_MEDIA,
    MAX_VALUE_LENGTH,
    Card,
    card,
)
from eachlabs_frames.views.common.source import Cards

PICTURE = "https://media.example/a.png"
FILM = "https://media.example/b.mp4"
SECOND = 1_000_000_000


def made(output: Any = None, **values: Any) -> Card:
    """Make the card of a completed row."""
    known = {key: values.pop(key) for key in ("label", "sent", "files") if key in values}
    return card(Outcome(3, COMPLETED, output=output, **values), **{"label": "a fox", "sent": {}} | known)


def result(**columns: Any) -> pd.DataFrame:
    """Make a frame that was triggered, with these columns of its user's."""
    size = len(next(iter(columns.values())))
    out = pd.DataFrame(columns)
    out["bulk_id"], out["status"], out["output"] = "b", COMPLETED, PICTURE
    out["execution_id"] = [f"e{row}" for row in range(size)]
    return out


def remembering(out: pd.DataFrame, inputs: dict[str, Any], **more: Any) -> pd.DataFrame:
    """Have a frame remember how its inputs were made."""
    out.attrs["eachlabs"] = {"workflow_id": "w", "prefix": "", "inputs": inputs, **more}
    return out


def labels(cards: Cards) -> list[str]:
    """Return what every row is called."""
    return cards.labels(range(len(cards)))


def first(out: pd.DataFrame, **how: Any) -> Card:
    """Make the card of a frame's first row."""
    those = Cards(out, **how)
    return those.make(those.outcomes()[:1])[0]


# -- one card -------------------------------------------------------------------------------------------------------


def test_a_card_says_how_a_row_stands() -> None:
    """Its place, its label, its status, what it cost and how long it took."""
    shown = made(PICTURE, started_at=2 * SECOND, completed_at=5 * SECOND, cost=0.25, error="odd")
    assert shown["row"] == 3
    assert (shown["label"], shown["status"], shown["error"]) == ("a fox", COMPLETED, "odd")
    assert (shown["cost_usd"], shown["seconds"]) == (0.25, 3.0)
    assert made(cost=float("nan"), started_at=5, completed_at=2)["cost_usd"] is None
    assert made(cost=float("nan"), started_at=5, completed_at=2)["seconds"] is None


def test_each_url_of_an_output_is_a_medium() -> None:
    """In their order, with their kinds, and numbered as a download numbers its files."""
    output = {"video": FILM, "note": "two of them", "images": [PICTURE, "data:image/png;base64,AA=="]}
    shown = made(output, files=[None, "a.png", None])
    assert [(item["kind"], item["n"], item["has_file"]) for item in shown["media"]] == [
        ("video", 0, False),
        ("image", 1, True),
        ("image", 2, False),
    ]
    assert shown["media"][0]["url"] == FILM
    assert shown["is_json"]
    assert json.loads(shown["text"] or "") == output


@pytest.mark.parametrize("output", [None, PICTURE, [PICTURE, FILM], [PICTURE]])
def test_an_output_that_its_media_say_has_no_text(output: Any) -> None:
    """A URL is not shown twice."""
    assert made(output)["text"] is None


@pytest.mark.parametrize(
    ("output", "said", "is_json"),
    [
        ("a poem", "a poem", False),
        ("", "", False),
        ([], "[]", True),
        ({"a": 1}, '{\n  "a": 1\n}', True),
        (7, "7", True),
    ],
)
def test_any_other_output_is_a_text(output: Any, said: str, is_json: bool) -> None:
    """A string as it is, anything else as JSON on several lines."""
    shown = made(output)
    assert (shown["text"], shown["is_json"], shown["media"]) == (said, is_json, [])


@pytest.mark.parametrize("long", ["data:image/png;base64," + "A" * 40_000, f"https://media.example/{'x' * 5_000}.png"])
def test_a_url_that_is_too_long_to_be_shown_has_its_file_and_no_other(long: str) -> None:
    """Its place counts, as it does for the download: the file of the next one is not shown in its stead."""
    shown = made([long, PICTURE], files=["first.png", "second.png"])
    assert [(item["n"], item["url"], item["has_file"]) for item in shown["media"]] == [
        (0, None, True),
        (1, PICTURE, True),
    ]
    assert (shown["text"], shown["more_media"]) == (None, 0)
    lost = made([long, PICTURE], files=[None, "second.png"])
    assert [(item["n"], item["url"], item["has_file"]) for item in lost["media"]] == [(1, PICTURE, True)]


@pytest.mark.parametrize("paths", [["second.png"], ["first.png", "second.png", "third.png"]])
def test_files_that_are_more_or_fewer_than_the_urls_are_nobodys(paths: list[str | None]) -> None:
    """As where the column of paths was taken apart, and the outputs were not."""
    shown = made([PICTURE, FILM], files=paths)
    assert [(item["url"], item["has_file"]) for item in shown["media"]] == [(PICTURE, False), (FILM, False)]


def test_what_is_no_safe_url_is_text() -> None:
    """A script is never a URL of a card."""
    shown = made(["javascript:alert(1)", "data:text/html,<script>1</script>", PICTURE])
    assert [item["url"] for item in shown["media"]] == [PICTURE]


def test_pictures_in_the_output_itself_have_their_bound() -> None:
    """A page of cards goes to the browser at once: beyond the bound a card says that there is one, not what it is."""
    picture = "data:image/png;base64," + "A" * 30_000
    shown = made([picture, picture, picture, PICTURE])
    assert [item["url"] is None for item in shown["media"]] == [False, False, True, False]


def test_of_many_media_the_first_are_shown_and_all_counted() -> None:
    """An output of hundreds of URLs stays a card."""
    shown = made([f"https://media.example/{n}.png" for n in range(40)])
    assert len(shown["media"]) == MAX_MEDIA
    assert shown["more_media"] == 40 - MAX_MEDIA


def test_a_file_is_no_secret_of_its_path() -> None:
    """The browser learns that there is one, and nothing else."""
    shown = made(PICTURE, files=["/home/somebody/secret/a.png"])
    assert shown["media"][0]["has_file"]
    assert "secret" not in json.dumps(shown)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([PICTURE, FILM]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.slow
@given(output=_json, sent=st.dictionaries(st.text(), _json), error=st.none() | st.text(), label=st.text())
@settings(max_examples=60, deadline=None)
def test_whatever_comes_from_outside_a_card_is_json_of_bounded_size(
    output: Any, sent: Any, error: str | None, label: str
) -> None:
    """And its media are the output's URLs, in their order."""
    shown = card(Outcome(0, FAILED, output=output, error=error), label=label, sent=sent)
    json.dumps(shown, allow_nan=False).encode()
    assert [item["url"] for item in shown["media"]] == [url for _, url in urls(output)][:MAX_MEDIA]
    assert len(shown["label"]) <= MAX_LABEL_LENGTH


def test_long_inputs_are_cut_and_say_so() -> None:
    """Each value, and all of them together."""
    shown = made(sent={"prompt": "x" * 20_000, "b": "y" * 7_000, "c": "z" * 10_000, "d": "w" * 9_000, "e": 1})
    lengths = [len(value) for _, value in shown["input"]]
    assert lengths[0] == MAX_VALUE_LENGTH
    assert shown["input"][0][1].endswith("…")
    assert sum(lengths) <= MAX_INPUT_LENGTH + 20
    assert shown["input"][-1] == ("…", "1 more")


# -- a frame's cards ------------------------------------------------------------------------------------------------


def test_the_input_is_what_was_sent() -> None:
    """By the mapping that the frame remembers: columns under their keys, constants, and texts made of columns."""
    out = remembering(
        result(animal=["fox"], place=["snow"], n=[3], other=["no"]),
        {"prompt": {"template": "A {animal} in {place}"}, "style": {"lit": "noir"}, "seed": {"column": "n"}},
    )
    assert first(out)["input"] == [("prompt", "A fox in snow"), ("style", "noir"), ("seed", "3")]


@pytest.mark.parametrize("rows", [[0, 2, 1, 3], [3, 0], [1, 1, 0]])
def test_each_row_has_its_own_input_in_whatever_order_they_are_asked_for(rows: list[int]) -> None:
    """As a grid asks, whose cells are not in the frame's order."""
    those = Cards(remembering(result(prompt=list("abcd")), {"prompt": {"column": "prompt"}}))
    outcomes = those.outcomes()
    made = those.make([outcomes[row] for row in rows])
    assert [dict(one["input"])["prompt"] for one in made] == ["abcd"[row] for row in rows]
    assert [one["row"] for one in made] == rows


def test_where_nothing_is_remembered_the_input_is_the_users_columns() -> None:
    """Of a function nothing is written down; the result's own columns and the files are no input."""
    out = result(prompt=["a fox"], seed=[1], gone=[None], path=["a.png"])
    out.attrs["eachlabs_download"] = {"column": "path"}
    assert first(out)["input"] == [("prompt", "a fox"), ("seed", "1")]
    assert first(out)["media"][0]["has_file"]


def test_a_column_that_is_gone_takes_only_its_own_key_along() -> None:
    """A user may have dropped what was sent."""
    out = remembering(result(prompt=["a fox"]), {"prompt": {"column": "prompt"}, "style": {"column": "style"}})
    assert first(out)["input"] == [("prompt", "a fox")]


@pytest.mark.parametrize("inputs", [{"prompt": 3}, {"prompt": {"odd": 1}}, "text", {"prompt": {"template": "{"}}])
def test_attrs_that_somebody_else_wrote_do_no_harm(inputs: Any) -> None:
    """They are shown as if there were none."""
    out = remembering(result(prompt=["a fox"]), inputs)
    out.attrs["eachlabs_sweep"] = out.attrs["eachlabs_download"] = "odd"
    assert first(out)["input"] == [("prompt", "a fox")]
    assert first(out)["label"] == "a fox"
    out.attrs["eachlabs_sweep"] = {"axes": {"prompt": 7, "more": [["prompt"]]}, "repeat": {}}
    assert first(out)["label"] == "a fox"


def test_a_row_is_called_by_the_first_text_among_its_inputs() -> None:
    """Where nobody names columns, and outside of a sweep; one without a text by its index."""
    out = result(seed=[7, 8, 9], prompt=["a fox\nin snow", "a heron", None])
    out["image"] = [None, "https://a.test/x.png", None]
    assert labels(Cards(out.set_axis(["x", "y", "z"]))) == ["a fox in snow", "a heron", "z"]
    mapped = remembering(out.assign(note="a note"), {"text": {"column": "note"}, "prompt": {"column": "prompt"}})
    assert labels(Cards(mapped)) == ["a note"] * 3


def test_a_row_without_a_text_is_called_by_its_index() -> None:
    """A MultiIndex by all its parts."""
    out = result(seed=[1, 2])
    assert labels(Cards(out.set_axis(["x", 7]))) == ["x", "7"]
    several = pd.MultiIndex.from_tuples([("x", 1), ("y", 2)])
    assert labels(Cards(out.set_axis(several))) == ["x, 1", "y, 2"]


def test_a_row_of_a_sweep_is_called_by_its_axes() -> None:
    """A text is its own name; of anything else the axis says what it is."""
    out = result(prompt=["a fox", "an owl"], seed=[1, 2], take=[0, 1])
    out.attrs["eachlabs_sweep"] = {"axes": {"prompt": ["prompt"], "more": ["seed", "gone"]}, "repeat": "take"}
    assert labels(Cards(out)) == ["a fox · seed 1 · take 0", "an owl · seed 2 · take 1"]
    assert labels(Cards(out, label="prompt")) == ["a fox", "an owl"]


def test_rows_are_called_by_columns() -> None:
    """One or several, in the order named; what is missing is left out."""
    out = result(prompt=["a fox", None], style=["noir", "ink"], n=[1.5, None])
    assert labels(Cards(out, label=["style", "prompt", "n"])) == ["noir · a fox · n 1.5", "ink"]


def test_a_label_that_is_no_column_is_an_error() -> None:
    """Which names it, and those that are there."""
    out = result(prompt=["a fox"])
    with pytest.raises(ef.ColumnError, match=r"no column 'promt'.*'prompt'"):
        Cards(out, label=["promt"])
    twice = pd.concat([out, out[["prompt"]]], axis=1)
    with pytest.raises(ef.ColumnError, match="2 columns named 'prompt'"):
        Cards(twice, label="prompt")


def test_columns_of_several_levels_are_named_by_their_parts() -> None:
    """As a label, and as a key of the input."""
    out = pd.DataFrame({("a", "x"): ["fox"], ("b", ""): [1]})
    assert labels(Cards(out, label=[("a", "x")])) == ["fox"]
    assert labels(Cards(out, label=("a", "x"))) == ["fox"]
    assert first(out)["input"] == [("a, x", "fox"), ("b", "1")]


def test_files_are_those_of_the_download(tmp_path: Path) -> None:
    """One path where a row has one, several in the order of its URLs, and nothing where a file failed."""
    out = result(prompt=["a", "b", "c"])
    out["path"] = pd.Series([str(tmp_path / "a.png"), [None, "b.png"], None], dtype=object)
    assert list(Cards(out).files(0)) == []
    out.attrs["eachlabs_download"] = {"column": "path"}
    those = Cards(out)
    assert [list(those.files(row)) for row in range(3)] == [[str(tmp_path / "a.png")], [None, "b.png"], [None]]


def test_a_file_is_shown_beside_its_own_execution_alone() -> None:
    """A run that goes on meanwhile may bring the row another output."""
    out = result(prompt=["a", "b"])
    out["path"] = ["a.png", "b.png"]
    out.attrs["eachlabs_download"] = {"column": "path"}
    those = Cards(out)
    again = Outcome(1, COMPLETED, execution_id="another", output=PICTURE)
    shown = those.make([those.outcomes()[0], again])
    assert [card["media"][0]["has_file"] for card in shown] == [True, False]


def test_what_downloads_and_ratings_have_written_was_not_sent() -> None:
    """So it does not stand beside the result as its input, where nothing says how that was made."""
    out = result(prompt=["a"])
    out["path"], out["path_error"], out["score"] = "a.png", None, 3
    out.attrs["eachlabs_download"] = {"column": "path"}
    out.attrs["eachlabs_rating"] = {"score": ""}
    assert first(out)["input"] == [("prompt", "a")]


def test_the_frame_is_never_written() -> None:
    """And later changes of it do not reach the cards."""
    out = result(prompt=["a fox"])
    before = out.copy()
    those = Cards(out)
    out.loc[0, "prompt"] = "other"
    assert those.make(those.outcomes())[0]["input"] == [("prompt", "a fox")]
    assert list(out.columns) == list(before.columns)
