"""Files in cells: what counts as a file, the reference that stands for its content, and what becomes of each row."""

from __future__ import annotations

import io
import tempfile
from hashlib import sha256
from pathlib import Path, PurePosixPath

import numpy as np
import orjson
import PIL.Image
import pytest

from eachlabs_frames.inputs.file_values import (
    digest_of,
    is_file_value,
    is_reference,
    reference,
    references,
    references_of,
    with_references,
    with_urls,
)

FOX = sha256(b"fox").hexdigest()
OWL = sha256(b"owl").hexdigest()
FOX_URL = "https://storage.example/fox.png"

# -- references ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        Path("a.png"),
        b"\x89PNG",
        bytearray(b"x"),
        memoryview(b"x"),
        io.BytesIO(b"x"),
        PIL.Image.new("RGB", (1, 1)),
        np.zeros((2, 2, 3), np.uint8),
        np.zeros((2, 2, 4), np.uint8),
    ],
)
def test_a_file_value_is_known_by_its_type(value: object) -> None:
    """Paths, bytes, PIL images, image arrays and open binary files are files."""
    assert is_file_value(value)


@pytest.mark.parametrize(
    "value",
    [
        "a.png",
        PurePosixPath("a.png"),
        io.StringIO("x"),
        np.zeros((2, 2), np.uint8),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((2, 2, 3), np.float32),
        [b"x"],
        None,
        1.0,
    ],
)
def test_other_values_are_no_files(value: object) -> None:
    """Text, text files, pure paths and arrays of another shape or type are no files."""
    assert not is_file_value(value)


def test_an_open_file_is_one_only_in_binary_mode(tmp_path: Path) -> None:
    """Files opened as text are none; a temporary file, which `tempfile` wraps, is one."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    with path.open("rb") as binary, path.open() as text:
        assert is_file_value(binary)
        assert not is_file_value(text)
    with tempfile.NamedTemporaryFile() as named, tempfile.SpooledTemporaryFile() as spooled:
        assert is_file_value(named)
        assert is_file_value(spooled)
    with tempfile.NamedTemporaryFile("w") as named_text:
        assert not is_file_value(named_text)


def test_references_are_found_in_the_json_of_an_input() -> None:
    """Each content counts once, in the order of its first use, also in lists and nested objects."""
    row = {"image": reference(FOX), "more": [reference(OWL), {"deep": reference(FOX)}], "prompt": "a fox"}
    payload = orjson.dumps(row)
    assert references(payload) == [FOX, OWL]
    assert references_of([payload, orjson.dumps({"image": reference(OWL)})]) == [FOX, OWL]
    assert references(orjson.dumps({"prompt": "a fox"})) == []
    assert digest_of(reference(FOX)) == FOX


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": f"say {reference(FOX)}"},
        {"prompt": f'say "{reference(FOX)}"'},
        {"prompt": f'"{reference(FOX)}'},
        {"prompt": f'{reference(FOX)}"'},
        {reference(FOX): 1},
        {"prompt": reference(FOX).upper()},
        {"prompt": reference(FOX)[:-1]},
    ],
)
def test_text_that_contains_a_reference_is_no_reference(row: dict[str, object]) -> None:
    """Only a whole string stands for a file, never a part of a text, a quotation or a key."""
    payload = orjson.dumps(row)
    assert references(payload) == []
    assert with_urls(payload, {}) == payload


def test_an_input_is_sent_with_urls() -> None:
    """Each reference is replaced by its URL, encoded as JSON; a file without a URL is never sent."""
    payload = orjson.dumps({"image": reference(FOX), "images": [reference(FOX)], "prompt": reference(FOX) + "."})
    url = 'https://storage.example/"fox\\'
    assert orjson.loads(with_urls(payload, {FOX: url})) == {
        "image": url,
        "images": [url],
        "prompt": reference(FOX) + ".",
    }
    with pytest.raises(KeyError):
        with_urls(payload, {OWL: FOX_URL})


def test_the_api_s_inputs_get_their_references_back() -> None:
    """A known URL is replaced wherever it is a whole string; other values stay."""
    inputs = {"image": FOX_URL, "images": [FOX_URL, "https://else.example"], "deep": {"url": FOX_URL}, "n": 1}
    assert with_references(inputs, {FOX_URL: reference(FOX)}) == {
        "image": reference(FOX),
        "images": [reference(FOX), "https://else.example"],
        "deep": {"url": reference(FOX)},
        "n": 1,
    }
    assert with_references(inputs, {}) is inputs


def test_a_reference_is_recognized_as_a_whole_text() -> None:
    """Other text, and values that are no text, are no references."""
    assert is_reference(reference(FOX))
    assert not any(map(is_reference, (reference(FOX) + "\n", f" {reference(FOX)}", FOX, None, 1)))
