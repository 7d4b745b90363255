"""What a dashboard calls rows, and which of their texts it searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.frames.columns import ResultMeta
from eachlabs_frames.views.common.source import MAX_TITLE_LENGTH, RowTexts


def named(frame: pd.DataFrame, label: Any = None, inputs: Any = None) -> RowTexts:
    """Return the labels of a frame whose inputs were made as `inputs` says, in the words of a frame's attrs."""
    return RowTexts(frame, label, origin=lambda: ResultMeta("wf", inputs=inputs))


FRAME = pd.DataFrame(
    {
        "n": [1, 2, 3, 4],
        "picture": ["https://e.com/a.png", "https://e.com/b.png", "data:image/png;base64,AA", None],
        "prompt": ["a fox\n in  snow", "", None, "a heron"],
        "style": ["ink", "oil", "noir", "ink"],
    },
    index=list("wxyz"),
)


def test_the_first_text_input_names_a_row() -> None:
    """On one line; a URL only where there is no text, and nothing where there is neither."""
    assert named(FRAME[["n", "picture", "prompt"]]).titles([0, 1, 3, 2]) == [
        "a fox in snow",
        "https://e.com/b.png",
        "a heron",
        "",
    ]


def test_inputs_as_they_were_mapped_name_a_row() -> None:
    """In the mapping's order, made as they are sent; what is the same in every row names none."""
    mapped = {"model": {"lit": "best"}, "text": {"template": "{prompt} at dusk"}, "style": {"column": "style"}}
    assert named(FRAME, inputs=mapped).titles([0, 2]) == ["a fox in snow at dusk", "noir"]
    assert named(FRAME, inputs={"gone": {"column": "gone"}, "no": {"sense": 1}}).titles([0]) == ["a fox in snow"]


@pytest.mark.parametrize(
    ("label", "called"),
    [
        ("style", ["ink", "noir"]),
        (["style", "n"], ["ink · n 1", "noir · n 3"]),
        (("style", "prompt"), ["ink · a fox in snow", "noir"]),
    ],
)
def test_columns_that_were_asked_for_name_a_row(label: Any, called: list[str]) -> None:
    """Beside each other; a missing cell is left out."""
    assert named(FRAME, label).titles([0, 2]) == called


def test_a_sweeps_axes_name_its_rows() -> None:
    """As in a gallery."""
    assert named(ef.sweep(prompt=["a fox"], style=["ink", "oil"])).titles([1]) == ["a fox · oil"]


def test_a_label_is_cut_and_each_part_is_seen() -> None:
    """At 200 characters."""
    long = pd.DataFrame({"prompt": ["x" * 5_000], "style": ["ink"]})
    assert named(long).titles([0]) == ["x" * (MAX_TITLE_LENGTH - 1) + "…"]
    (called,) = named(long, ["prompt", "style"]).titles([0])
    assert called.endswith("… · ink")
    assert len(called) <= MAX_TITLE_LENGTH


@pytest.mark.parametrize("label", ["promt", ["style", "promt"]])
def test_a_label_that_is_no_column_is_refused(label: Any) -> None:
    """With the column that was probably meant, before anything is shown."""
    with pytest.raises(ef.ColumnError, match=r"no column 'promt' \(did you mean 'prompt'\?\)"):
        FRAME.eachlabs.dashboard(label=label)


def test_inputs_are_searched_and_nothing_else() -> None:
    """Numbers and nested ones too, and the label's columns, but no column of the result."""
    frame = FRAME.assign(chat=[[{"role": "user", "content": "hi"}], np.nan, None, []])
    for name in ("bulk_id", "execution_id", "status", "error"):
        frame[name] = "completed"
    first, second, *_ = named(frame).searchable()
    nested = '[{"role":"user","content":"hi"}]'
    assert first.splitlines() == ["1", "https://e.com/a.png", "a fox", " in  snow", "ink", nested]
    assert second.split() == ["2", "https://e.com/b.png", "oil"]
    mapped = {"text": {"template": "{prompt} at dusk"}, "model": {"lit": "best"}}
    assert named(frame, "style", mapped).searchable()[3].split("\n") == ["ink", "a heron"]
