"""Files in inputs as views show them: names, small pictures of images, and nothing of a text that is only a path."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import eachlabs_frames as ef
from eachlabs_frames.inputs.file_values import RootedPath
from eachlabs_frames.sandbox import Sandbox
from eachlabs_frames.views.common import view_files
from eachlabs_frames.views.common.input_files import INPUTS, SIDE, InputFiles, file_key, names_of
from eachlabs_frames.views.common.source import RowTexts
from eachlabs_frames.views.matrix.static import MAX_HTML_BYTES

RED = Image.new("RGB", (30, 20), "red")
NASTY = "<img src=x onerror=alert(1)>.png"


def saved(path: Path, image: Image.Image = RED, **options: Any) -> Path:
    """Write an image, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, path.suffix[1:].upper().replace("JPG", "JPEG"), **options)
    return path


def result(images: list[Any], styles: tuple[str, ...] = ("ink", "oil"), column: str = "image") -> pd.DataFrame:
    """Return a completed result with each image in each style."""
    out = ef.sweep({column: images, "style": styles})
    rows = [f"{row}" for row in range(len(out))]
    columns = {"bulk_id": "b", "execution_id": rows, "status": "completed", "error": None, "output": "a text"}
    return out.assign(**columns, cost=0.01)


def sent_by(view: Any, request: dict[str, Any]) -> list[tuple[dict[str, Any], Any]]:
    """Return what a view sends to its browser as the answer to a request."""
    answers: list[tuple[dict[str, Any], Any]] = []
    view.send = lambda content, buffers=None: answers.append((content, buffers))
    view._handle_custom_msg(request, [])
    return answers


def test_files_have_the_shortest_names_that_distinguish_them() -> None:
    """Folders only where names repeat; contents in memory are numbered."""
    paths = [Path(path) for path in ("p/a/1.png", "p/b/1.png", "p/b/2.png", "q/b/1.png", "1.png", "/x/3.png")]
    names = names_of([*paths, paths[0], "a text", RED, RED.copy(), b"\x89PNG\r\n\x1a\n", None])
    assert [names[file_key(path)] for path in paths] == ["a/1.png", "p/b/1.png", "2.png", "q/b/1.png", "1.png", "3.png"]
    assert list(names.values())[-3:] == ["image, 30 x 20", "image, 30 x 20 (2)", "image/png, 0.0 kB"]
    assert len(set(names.values())) == len(names)


def test_a_picture_is_small_and_has_no_metadata(tmp_path: Path) -> None:
    """Of a path, of bytes, of a PIL image and of an array; the user's image is not changed."""
    large = Image.new("RGB", (2_000, 1_000), "blue")
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    path = saved(tmp_path / "large.jpg", large, exif=exif)
    files = InputFiles()
    for value in (path, path.read_bytes(), large, np.asarray(large)):
        number = files.image(value)
        assert number is not None
        content = view_files.read(files.picture(number))
        assert content is not None
        assert b"where I live" not in content
        assert Image.open(io.BytesIO(content)).size == (SIDE, SIDE // 2)
    assert large.size == (2_000, 1_000)


def test_what_is_no_image_has_no_picture(tmp_path: Path) -> None:
    """An SVG from the disk neither, a folder, a pipe, an image that is broken, a text that is a path, and no number."""
    (tmp_path / "drawing.svg").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'></svg>")
    (tmp_path / "text.png").write_text("no image")
    os.mkfifo(tmp_path / "pipe.png")
    picture = saved(tmp_path / "a.png")
    files = InputFiles()
    for value in ("drawing.svg", "text.png", "pipe.png", ".", "nothing.png"):
        assert files.image(tmp_path / value) is None
    assert files.image(str(picture)) is None
    (tmp_path / "root").mkdir()
    references = [files.reference(RootedPath(tmp_path / folder, "../a.png")) for folder in ("root", "root/..", "none")]
    described = [files.describe(reference) for reference in references]
    assert described == [("../a.png", [])] * 3
    assert files.describe(files.reference(RootedPath(tmp_path, "a.png"))) == ("a.png", [0])
    assert files.image(b"no image") is None
    broken = files.image(b"\x89PNG\r\n\x1a\n broken")
    assert broken is not None
    assert [files.picture(number) for number in (broken, broken + 1, -1)] == [None] * 3


def test_an_image_that_was_changed_has_no_picture_any_more(tmp_path: Path) -> None:
    """It is not what was sent; that of an image that was moved stays if it was shown before."""
    paths = [saved(tmp_path / f"{name}.png") for name in ("changed", "moved", "moved unseen")]
    files = InputFiles()
    numbers = [files.image(path) for path in paths]
    assert files.picture(numbers[0] or 0) is not None
    assert files.picture(numbers[1] or 0) is not None
    saved(paths[0], Image.new("RGB", (40, 40), "blue"))
    paths[1].unlink()
    paths[2].unlink()
    assert [files.picture(number or 0) is None for number in numbers] == [True, False, True]


def test_the_large_view_of_a_card_has_its_input_images(tmp_path: Path) -> None:
    """Each distinct image once, also in lists and dicts; the browser gets it by number, and a page embeds it once."""
    a, b = saved(tmp_path / "a.png"), saved(tmp_path / "b.png", Image.new("RGB", (9, 9), "blue"))
    cells = [[a, b], {"first": b, "rest": ["a text", a]}, str(a)]
    out = result(cells)
    view = out.eachlabs.gallery()
    cards = view._first_cards(6)
    assert [card["input_images"] for card in cards[::2]] == [
        [("image", 0), ("image", 1)],
        [("image", 1), ("image", 0)],
        [],
    ]
    assert dict(cards[0]["input"])["image"] == f'["{a}","{b}"]'
    page = view.save(tmp_path / "sheet.html").read_text("utf-8")
    assert [page.count(f'id="eachlabs-file-{INPUTS}-{number}"') for number in range(3)] == [1, 1, 0]
    rating = out.eachlabs.rate()
    rating._source.item(0)
    (answer, buffers), (nothing, no_buffers) = (
        sent_by(rating, {"kind": "file", "row": INPUTS, "n": number})[0] for number in (0, 2)
    )
    assert (answer["type"], len(buffers)) == ("image/webp", 1)
    assert (nothing["type"], no_buffers) == (None, None)


def test_the_headers_of_a_matrix_have_names_and_pictures_of_images(tmp_path: Path) -> None:
    """On either axis; the static table within its bound, and names are text."""
    images = [saved(tmp_path / name) for name in ("a/fox.png", "b/fox.png", NASTY)]
    out = result(images)
    names = ["a/fox.png", "b/fox.png", NASTY]
    matrix = out.eachlabs.matrix("image", "style")
    assert matrix.table["rows"] == {"names": ["image"], "places": [[name] for name in names], "images": [[0], [1], [2]]}
    assert matrix.table["columns"]["images"] == [[None], [None]]
    assert out.eachlabs.matrix("style", "image").table["columns"]["images"] == [[0], [1], [2]]
    html = matrix._static()["text/html"]
    assert html.count("data:image/webp;base64,") == 3
    assert "<img src=x" not in html
    page = matrix.save(tmp_path / "grid.html").read_text("utf-8")
    assert page.count(f'id="eachlabs-file-{INPUTS}-') == 3
    assert "<img src=x" not in page
    assert [path.name for path in matrix.frame.index] == ["fox.png", "fox.png", NASTY]


def test_a_run_of_files_shows_them_until_they_change(sandbox: Sandbox, tmp_path: Path) -> None:
    """By the mapping of the run: a text is opened if that says `ef.file`, and no image is shown that was not sent."""
    fox, heron = (saved(tmp_path / f"{name}.png", Image.new("RGB", (9, 9), name)) for name in ("red", "blue"))
    out = ef.sweep(image_url=[fox, heron], prompt=["ink", "oil"]).eachlabs.bulk_trigger("wf_abc123", wait=True)
    named = pd.DataFrame({"name": ["red.png", "gone.png"], "prompt": ["a", ""], "path": str(fox)})
    mapping = {"image_url": ef.file("name", root=tmp_path), "prompt": "prompt"}
    other = named.eachlabs.bulk_trigger("wf_abc123", mapping, wait=True)
    cards = other.eachlabs.gallery()._first_cards(2)
    assert [card["label"] for card in cards] == ["a", "gone.png"]
    assert [card["input_images"] for card in cards] == [[("image_url", 0)], []]
    assert dict(cards[1]["input"])["image_url"] == "gone.png"
    loaded = ef.load_run(out.attrs["eachlabs"]["run"])
    assert all(len(place[0]) < 20 for place in loaded.eachlabs.matrix("image_url", "prompt").table["rows"]["places"])
    shown: list[Any] = []
    for change in ("nothing", "prompt", "image"):
        if change == "prompt":
            out.loc[0, "prompt"] = "noir"
        if change == "image":
            saved(fox, Image.new("RGB", (9, 9), "lime"))
        matrix = out.eachlabs.matrix("image_url", "prompt")
        rating = out.eachlabs.rate(only_unrated=False)
        numbers = [rating._source.item(place)["input_images"] != [] for place in range(4)]
        shown.append((matrix.table["rows"]["images"], numbers))
    assert shown == [
        ([[0], [1]], [True] * 4),
        ([[0], [1]], [False, True, True, True]),
        ([[None], [1]], [False, False, True, True]),
    ]


@pytest.mark.slow
def test_headers_of_a_png_have_pictures(tmp_path: Path) -> None:
    """Beside rows of numbers too, where they are as small as the rows."""
    blue, green = (saved(tmp_path / f"{name}.png", Image.new("RGB", (60, 60), name)) for name in ("blue", "lime"))
    out = result([blue, green])
    for axes, side in ((("image", "style"), 28), (("style", "image"), 56)):
        path = out.eachlabs.matrix(*axes, "cost").save(tmp_path / "grid.png")
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        for colour in ((0, 0, 255), (0, 255, 0)):
            count = (abs(pixels - colour).max(axis=2) < 12).sum()
            assert (side - 2) ** 2 * 4 <= count <= (side + 2) ** 2 * 4


@pytest.mark.slow
def test_many_headers_stay_within_the_bound_of_the_static_table(tmp_path: Path) -> None:
    """Those that have no room are names."""
    noise = Image.frombytes("RGB", (60, 60), os.urandom(10_800)).resize((300, 300))
    out = result([saved(tmp_path / f"{n}.png", noise) for n in range(60)], ("ink",))
    html = out.eachlabs.matrix("image", "style")._static()["text/html"]
    assert 5 < html.count("data:image/webp;base64,") < 60
    assert len(html) < MAX_HTML_BYTES


CONTENTS: dict[str, Callable[[int], Any]] = {
    "path": lambda n: Path(f"nothing/{n}.png"),
    "bytes": lambda n: b"\x00" * 100_000 + bytes([n]),
    "bytearray": lambda n: bytearray([n]),
    "PIL image": lambda n: Image.new("RGB", (300, 200), (n, n, n)),
    "array": lambda n: np.full((200, 300, 3), n, dtype=np.uint8),
    "open file": lambda n: io.BytesIO(bytes([n])),
    "paths": lambda n: [Path(f"{n}.png"), Path("other.png")],
    "numbers": lambda n: [n, n],
    "nothing": lambda n: None if n else pd.NA,
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_any_cell_has_a_short_text_in_every_view(kind: str, tmp_path: Path) -> None:
    """Neither bytes nor pixels nor an address in memory, and no view fails."""
    cells = [CONTENTS[kind](n) for n in range(1 if kind == "nothing" else 3)]
    out = result(cells)
    other = out.assign(execution_id=[f"other {row}" for row in range(len(out))])
    gallery, rating, comparison = out.eachlabs.gallery(), out.eachlabs.rate(), ef.compare(out, other)
    matrix = out.eachlabs.matrix("image", "style", compare=other)
    assert (
        len(matrix.table["rows"]["places"])
        == len({str(place) for place in matrix.table["rows"]["places"]})
        == len(cells)
    )
    assert comparison.frame.shape[0] == len(out)
    gallery.save(tmp_path / "sheet.html")
    matrix.save(tmp_path / "grid.html")
    texts = [
        *(str(card["label"]) + str(card["input"]) for card in gallery._first_cards(9)),
        str(matrix.table["rows"]),
        str(matrix.frame.index.tolist()),
        *comparison.frame["image"].map(str),
        *comparison.summary("image")["image"].map(str),
        *(str(comparison._source.item(place)["by"]) for place in range(len(out))),
        *(rating._source.label(place) for place in range(len(out))),
        *(str(card["text"]) for card in out.eachlabs.matrix("style", "cost", value="image")._source.cards([0, 1])),
        *RowTexts(out, origin=lambda: None).searchable(),
    ]
    for shown in texts:
        assert len(shown) < 400
        assert " at 0x" not in shown
        assert "\\x00" not in shown
