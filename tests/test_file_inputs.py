"""Files in cells: what counts as a file, the reference that stands for its content, and what becomes of each row."""

from __future__ import annotations

import io
import tempfile
from decimal import Decimal
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import orjson
import PIL.Image
import pytest

import eachlabs_frames as ef
from eachlabs_frames.inputs.encoding import Problem, file_problem, from_columns, from_function, problems
from eachlabs_frames.inputs.file_cells import FileCells
from eachlabs_frames.inputs.file_values import (
    RootedPath,
    UnusableFileError,
    digest_of,
    is_file_value,
    is_reference,
    reference,
    references,
    references_of,
    with_references,
    with_urls,
)
from eachlabs_frames.inputs.mapping import labels_of, resolve
from eachlabs_frames.inputs.mapping_spec import as_pinned, from_spec, to_spec
from eachlabs_frames.inputs.schema import array_keys, compile_check, uri_keys

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


# -- cells ---------------------------------------------------------------------------------------------------------


class Shelf:
    """Reads files as a call does, from a dict; records what was read."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = contents
        self.read: list[object] = []

    def __call__(self, value: object) -> str:
        self.read.append(value)
        if isinstance(value, RootedPath):
            value = value.root / value.text
        if isinstance(value, Path):
            value = self.contents.get(value.stem)
        if not isinstance(value, bytes):
            msg = f"no file: {value!r}"
            raise UnusableFileError(msg)
        return reference(sha256(value).hexdigest())


def rows(columns: dict[str, list[Any]], inputs: Any = None, **options: Any) -> list[Any]:
    """Return the inputs of the rows of these columns, whose files are on a shelf."""
    shelf = options.pop("shelf", Shelf(fox=b"fox", owl=b"owl"))
    fields = resolve(inputs, list(columns), None, ours=frozenset())
    files = FileCells(shelf, **options)
    size = len(next(iter(columns.values())))
    assert not callable(fields)
    return list(from_columns(columns, size, fields, omit=True, integers=frozenset(), files=files))


IMAGE = np.zeros((2, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"fox", reference(FOX)),
        ([b"fox", "text", b"owl"], [reference(FOX), "text", reference(OWL)]),
        ({"image_url": [b"fox"]}, {"image_url": [reference(FOX)]}),
        (np.array([b"fox", b"owl"], dtype=object), [reference(FOX), reference(OWL)]),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_contents_in_cells_become_references(value: Any, expected: Any) -> None:
    """Alone, in lists, in dicts and in arrays of objects; other values stay."""
    assert rows({"image": [value, "x"]}) == [{"image": expected}, {"image": "x"}]


def test_images_and_open_files_are_files_in_any_key() -> None:
    """They can be nothing else; bytes may be text."""
    shelf = Shelf()
    rows({"style": [IMAGE], "x": [io.BytesIO(b"x")], "y": [PIL.Image.new("RGB", (1, 1))]}, shelf=shelf)
    assert len(shelf.read) == 3
    (problem,) = rows({"prompt": [b"fox"]})
    assert "write ef.file('column') to upload them as files" in str(problem)


@pytest.mark.parametrize("key", ["image_url", "init_image", "Image", "video", "audio", "images", "mask_urls"])
def test_a_path_is_a_file_where_the_key_says_so(key: str) -> None:
    """Also in lists. A dict's own keys count for what is in it."""
    assert rows({key: [Path("fox.png")]}) == [{key: reference(FOX)}]
    assert rows({key: [[Path("fox.png"), Path("owl.png")]]}) == [{key: [reference(FOX), reference(OWL)]}]
    assert rows({"parts": [{key: Path("fox.png")}]}) == [{"parts": {key: reference(FOX)}}]


def test_a_path_is_a_file_where_the_schema_calls_for_a_uri() -> None:
    """Whatever the key's name is."""
    schema = {"properties": {"first": {"type": "string", "format": "uri"}, "n": {"type": "array"}}}
    assert uri_keys(schema) == {"first"}
    assert rows({"first": [Path("fox.png")]}, uri_keys=uri_keys(schema)) == [{"first": reference(FOX)}]


def test_a_path_elsewhere_is_an_error_that_says_what_to_write() -> None:
    """It may be meant as text, so nothing is guessed."""
    (problem,) = rows({"folder": [Path("fox.png")]})
    assert isinstance(problem, Problem)
    assert "write inputs={'key': ef.file('column')}" in str(problem)
    assert "pass str(path)" in str(problem)


def test_an_array_that_the_schema_asks_for_is_no_image() -> None:
    """Pixels as numbers are sent as they are; elsewhere they are a picture."""
    schema = {"properties": {"pixels": {"type": "array", "items": {"type": "array"}}}}
    (row,) = rows({"pixels": [IMAGE]}, array_keys=array_keys(schema))
    assert row == {"pixels": IMAGE.tolist()}
    shelf = Shelf()
    rows({"pixels": [IMAGE], "image_url": [np.zeros((2, 2))], "matrix": [np.zeros((2, 2))]}, shelf=shelf)
    assert [np.shape(value) for value in shelf.read] == [(2, 2, 3), (2, 2)]  # the second one is a wrong image


def test_file_reads_names_from_a_column() -> None:
    """Names are relative to root, which the reader checks; URLs and references stay, missing cells are left out."""
    shelf = Shelf(fox=b"fox")
    cells = ["fox.png", "https://x.example/a.png", "data:image/png;base64,AA", reference(OWL), None, ["fox.png"]]
    made = rows({"name": cells}, {"first": ef.file("name", root="/data")}, shelf=shelf)
    assert made == [
        {"first": reference(FOX)},
        *({"first": text} for text in cells[1:4]),
        {},
        {"first": [reference(FOX)]},
    ]
    assert shelf.read == [RootedPath(Path("/data"), "fox.png")] * 2


def test_file_formats_names_with_a_template_or_names_one_file() -> None:
    """A template leaves rows with missing cells out; a path is the same file in every row."""
    inputs = {"image": ef.file(ef.template("{animal}.png")), "mask": ef.file(Path("owl.png"))}
    assert rows({"animal": ["fox", None]}, inputs) == [
        {"image": reference(FOX), "mask": reference(OWL)},
        {"mask": reference(OWL)},
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("none.png", "no file"),
        ("", "the name of the file is empty"),
        ("file:///fox.png", "'file:///fox.png': write the path of the file, without file:"),
        (7, "a value of type int is no file"),
        (io.StringIO("x"), "a value of type StringIO is no file"),
        ("https://me:secret@x.example/a.png", "the URL of 'x.example' contains a password"),
        ("https://[x/a@b.png", "a URL that cannot be parsed"),
        ("data:," + "x" * 10_000_000, "a data: URL of 10.0 MB is longer than the limit of 10 MB"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_problem_of_its_row_alone(value: Any, reason: str) -> None:
    """The reason stands in the row, without a password; the other row is fine."""
    bad, good = rows({"name": [value, "fox.png"]}, {"image": ef.file("name")})
    (found,) = problems([bad, good], None)
    assert (found[0], found[2]) == (0, True)
    assert str(found[1]).startswith(f"key 'image': {reason}")
    assert "secret" not in repr(bad)


def test_urls_with_passwords_are_refused_where_a_key_takes_urls() -> None:
    """Not in other texts, and not without validation."""
    url = "https://me:secret@x.example/a.png"
    for key, checks, refused in [("image_url", True, True), ("image_url", False, False), ("prompt", True, False)]:
        (row,) = rows({key: [url]}, checks_urls=checks)
        assert (file_problem(row) is not None) == refused


def test_cells_without_files_are_not_touched() -> None:
    """The list of cells is the same object: no row of a call without files takes longer."""
    files = FileCells(Shelf(), checks_urls=True)
    for cells in (["a", None], [1, 2.5], [True], [Decimal(1)]):
        assert files.replaced("prompt", cells, set(map(type, cells))) is cells


def test_a_row_function_may_return_files() -> None:
    """As values of any type, or as `ef.file(Path(...))` in a key of any name."""

    def inputs(row: dict[str, Any]) -> dict[str, Any]:
        return {"image": Path(f"{row['animal']}.png"), "video": b"owl", "other": ef.file(Path("fox.png")), "n": 1}

    files = FileCells(Shelf(fox=b"fox"))
    made = from_function(inputs, {"animal": "fox"}, omit=True, integers=frozenset(), files=files)
    assert made == {"image": reference(FOX), "video": reference(OWL), "other": reference(FOX), "n": 1}


def test_a_mapping_with_files_is_written_and_read_again() -> None:
    """A run stores it without the folder, so that files may move."""
    inputs = {"a": ef.file("photo", root="/data"), "b": ef.file(ef.template("{x}.png")), "c": ef.file(Path("m.png"))}
    fields = resolve(inputs, ["photo", "x"], None, ours=frozenset())
    assert not callable(fields)
    spec = to_spec(fields)
    assert spec == {
        "a": {"file": {"column": "photo"}, "root": "/data"},
        "b": {"file": {"template": "{x}.png"}},
        "c": {"file": {"path": "m.png"}},
    }
    assert from_spec(spec) == fields
    pinned = as_pinned(spec)
    assert pinned is not None
    assert pinned["a"] == {"file": {"column": "photo"}}
    assert from_spec(pinned)["a"] == ef.file("photo")
    assert labels_of(fields) == {"photo", "x"}


@pytest.mark.parametrize("source", [None, len, ef.lit("a"), ["photo"], ef.file("photo"), b"x"])
def test_file_takes_a_column_a_template_or_a_path(source: Any) -> None:
    """Anything else is an error at once."""
    with pytest.raises(ef.MappingError, match=r"file\(\) takes a column, template\(...\) or a pathlib.Path; got"):
        ef.file(source)


def test_file_s_root_is_a_folder() -> None:
    """A wrong type and a missing column are errors before anything is sent."""
    with pytest.raises(ef.MappingError, match=r"file\(root=\) takes the name of a folder; got int"):
        ef.file("photo", root=7)  # type: ignore[arg-type]
    with pytest.raises(ef.MappingError, match="the frame has no column 'photo'"):
        resolve({"image": ef.file("photo")}, ["prompt"], None, ours=frozenset())


def test_a_schema_is_checked_with_the_url_that_a_file_will_have() -> None:
    """A pattern for https passes, and a wrong type is named without the reference."""
    check = compile_check({"properties": {"image": {"pattern": "^https://"}, "n": {"type": "integer"}}})
    assert check({"image": reference(FOX)}) is None
    assert check({"n": reference(FOX)}) == 'n: the URL of a file is not of type "integer"'
