"""The CSV file of a dashboard, which people open in a spreadsheet."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest

from eachlabs_frames.frames.calls import Calls
from eachlabs_frames.sandbox import Sandbox
from eachlabs_frames.views.dashboard.source import to_csv

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", '=HYPERLINK("http://x")']


def rows(data: bytes) -> list[list[str]]:
    """Return the cells as a reader sees them."""
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_run_by_a_spreadsheet(text: str) -> None:
    """Texts, index labels, and the names of both; the text itself is still there behind the apostrophe."""
    frame = pd.DataFrame({"prompt": [text, "a fox"], text: [1, -2]}, index=pd.Index([text, "b"], name=text))
    cells = rows(to_csv(frame))
    assert cells == [[f"'{text}", "prompt", f"'{text}"], [f"'{text}", f"'{text}", "1"], ["b", "a fox", "-2"]]


def test_numbers_and_texts_within_a_cell_are_as_they_were() -> None:
    """A negative number is none of them, and a separator of another country begins no cell."""
    frame = pd.DataFrame({"cost": [-0.5, None], "prompt": ["a;=1+1", None], "when": pd.to_datetime(["2026-01-02"] * 2)})
    text = to_csv(frame).decode()
    assert '"a;=1+1"' in text
    assert rows(text.encode())[1][:3] == ["0", "-0.5", "a;=1+1"]


@pytest.mark.parametrize(
    "index", [pd.MultiIndex.from_tuples([("=a", 1), ("b", 2)], names=["x", None]), pd.RangeIndex(2)]
)
def test_any_index_and_columns_are_written(index: pd.Index) -> None:
    """Several levels, duplicates and nothing at all."""
    frame = pd.DataFrame([["=1", "=2"], ["x", "y"]], index=index)
    frame.columns = pd.MultiIndex.from_tuples([("=p", ""), ("=p", "")])
    text = to_csv(frame.copy()).decode()
    assert '"\'=1"' in text
    assert ",=" not in text
    assert to_csv(frame.iloc[:0].copy())


def test_a_dashboards_file_is_written_so(sandbox: Sandbox) -> None:
    """The frame itself is left as it is."""
    frame = pd.DataFrame({"prompt": ["=cmd|' /C calc'!A0"]})
    out = frame.eachlabs.bulk_trigger("wf_abc123", wait=True)
    data = to_csv(Calls(out).frame)
    assert b"\"'=cmd|" in data
    assert out["prompt"][0] == "=cmd|' /C calc'!A0"
