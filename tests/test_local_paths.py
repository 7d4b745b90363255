"""Local files where a URL is wanted: refused before anything is sent, and not a text that is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.inputs.local_paths import MAX_PATH, local_file_check
from eachlabs_frames.inputs.mapping import Column
from eachlabs_frames.sandbox import Sandbox

WF = "wf_abc123"


def asked(
    row: dict[str, Any], schema: dict[str, Any] | None = None, fields: Any = dict, held: str = "a.png"
) -> tuple[str | None, list[str]]:
    """Check one input on a machine that has one file; return the problem, and which paths were looked up."""
    paths: list[str] = []

    def is_file(path: str) -> bool:
        paths.append(path)
        return path == held

    check = local_file_check(fields, schema, is_file)
    problem = None if check is None else check(row)
    return (None if problem is None else str(problem)), paths


@pytest.mark.parametrize("key", ["image_url", "IMAGE_URL", "url", "image_urls", "source_uri", "image", "video"])
def test_a_key_that_is_called_a_url_takes_no_local_file(key: str) -> None:
    """The error names the key, the file and what to do."""
    problem, _ = asked({"prompt": "a.png", key: "a.png"})
    assert problem == (
        f"key {key!r}: 'a.png' is a local file, which a workflow cannot read: to upload it and send its URL, write "
        f"inputs={{{key!r}: ef.file('column')}} (validate=False sends the text as it is)"
    )


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "string", "format": "uri"},
        {"type": "array", "items": {"format": "uri"}},
        {"anyOf": [{"type": "null"}, {"format": "uri-reference"}]},
    ],
)
def test_a_key_that_the_schema_calls_a_uri_takes_no_local_file(rule: dict[str, Any]) -> None:
    """Whatever its name, alone or in a list."""
    schema = {"properties": {"first": rule, "prompt": {"type": "string"}}}
    assert asked({"first": ["https://x.example/b.png", "a.png"], "prompt": "a.png"}, schema)[0] is not None
    assert asked({"first": "b.png", "prompt": "a.png"}, schema) == (None, ["b.png"])


def test_the_column_that_a_key_is_filled_from_counts_too() -> None:
    """The user called it a URL, or a picture."""
    assert asked({"first": "a.png"}, fields={"first": Column("photo_url")})[0] is not None
    assert asked({"first": "a.png"}, fields={"first": Column("init_image")})[0] is not None
    assert asked({"first": "a.png"}, fields={"first": Column("photo")}) == (None, [])


@pytest.mark.parametrize(
    "text",
    [
        "https://x.example/a.png",
        "//x.example/a.png",
        "\\\\x.example\\a.png",
        "HTTP://x.example/a",
        "data:image/png;base64,AAAA",
        "a\nb",
        "",
        "x" * MAX_PATH,
        7,
        None,
    ],
)
def test_no_disk_is_asked_about_what_cannot_be_a_path(text: Any) -> None:
    """URLs, texts of several lines, long ones, and what is no text."""
    assert asked({"image_url": text}) == (None, [])


def test_a_file_url_is_local_without_a_look() -> None:
    """No server can read it."""
    problem, paths = asked({"image_url": "file:///nowhere/a.png"})
    assert problem is not None
    assert paths == []


def test_one_text_in_many_rows_is_looked_up_once() -> None:
    """A sweep has one picture in thousands of rows."""
    paths: list[str] = []
    check = local_file_check({"image_url": Column("image_url")}, None, lambda path: bool(paths.append(path)))
    assert check is not None
    assert [check({"image_url": "b.png"}) for _ in range(5)] == [None] * 5
    assert paths == ["b.png"]


def test_a_local_file_is_a_problem_in_preview_and_an_error_before_anything_is_sent(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Named with its row and column; the other row is fine."""
    reason = "cat.png' is a local file, which a workflow cannot read: to upload it"
    file = tmp_path / "cat.png"
    file.write_bytes(b"\x89PNG")
    frame = pd.DataFrame({"prompt": ["a", "b"], "image_url": ["https://x.example/a.png", str(file)]}, index=["x", "y"])
    shown = frame.eachlabs.preview(WF)
    assert shown["problem"].isna().tolist() == [True, False]
    assert reason in shown.loc["y", "problem"]
    with pytest.raises(ef.InputError, match=rf"row 'y' \(position 1\), (key|column) 'image_url': .*{reason}"):
        frame.eachlabs.bulk_trigger(WF)
    assert sandbox.accepted == ()


def test_validate_false_sends_the_text_as_it_is(sandbox: Sandbox, tmp_path: Path) -> None:
    """A name may mean something to the workflow, and be a file here all the same."""
    file = tmp_path / "cat.png"
    file.write_bytes(b"\x89PNG")
    out = pd.DataFrame({"prompt": ["a"], "image_url": [str(file)]}).eachlabs.bulk_trigger(WF, validate=False)
    assert out["status"].tolist() == ["queued"]
