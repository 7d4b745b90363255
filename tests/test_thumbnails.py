"""Copies of downloaded pictures: small, in the order in which they are seen, and there when the files are gone."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import eachlabs_frames as ef
from eachlabs_frames.frames.attrs import DOWNLOAD
from eachlabs_frames.sandbox import Sandbox
from eachlabs_frames.views.common import view_files
from eachlabs_frames.views.common.view_files import MAX_SIDE, ViewFiles
from eachlabs_frames.views.gallery.static import MAX_EMBEDDED_BYTES
from eachlabs_frames.views.matrix.static import MAX_HTML_BYTES

MAX_ADDED = 500_000


def photograph(path: Path, kind: str = "JPEG", *, side: int = 700, mode: str = "RGB", **options: Any) -> str:
    """Write a picture that has as much detail as a photograph, and return its path."""
    noise = Image.frombytes("RGB", (side // 16, side // 16), os.urandom(3 * (side // 16) ** 2)).convert(mode)
    noise.resize((side, side), Image.Resampling.BICUBIC).save(path, kind, **options)
    return str(path)


def files_of(paths: Sequence[str | None]) -> ViewFiles:
    """Return the files of a view of one row."""
    return ViewFiles(lambda row: paths, range(1))


def copy_of(files: ViewFiles, n: int, path: str) -> tuple[str, Image.Image]:
    """Delete a file, and return the type and the pixels of its copy."""
    Path(path).unlink()
    found = files.find(0, n)
    assert found is not None
    content = view_files.read(found)
    assert content is not None
    return found.media_type, Image.open(io.BytesIO(content))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_picture_outlives_its_file_as_a_small_copy(tmp_path: Path, kind: str) -> None:
    """While the file is there it is used as it is."""
    path = photograph(tmp_path / "picture", kind)
    files = files_of([None, path, path])
    assert files.find(0, 1) == view_files.find(path)
    media_type, picture = copy_of(files, 2, path)
    assert media_type == "image/webp"
    assert max(picture.size) == MAX_SIDE


def test_a_copy_stands_upright_and_keeps_its_transparency(tmp_path: Path) -> None:
    """As a browser shows the picture itself."""
    turned = Image.Exif()
    turned[0x0112] = 6  # by a quarter, as a phone writes it
    wide = Image.new("RGB", (900, 600), "red")
    wide.putdata([(x % 251, x % 241, x % 239) for x in range(900 * 600)])
    wide.save(tmp_path / "turned.jpg", exif=turned)
    clear = photograph(tmp_path / "clear.png", "PNG", mode="RGBA")
    files = files_of([str(tmp_path / "turned.jpg"), clear])
    assert copy_of(files, 0, str(tmp_path / "turned.jpg"))[1].size == (128, 192)
    assert copy_of(files, 1, clear)[1].mode in ("RGBA", "RGB")


def test_a_small_file_is_held_as_it_is_and_what_is_no_picture_is_not(tmp_path: Path) -> None:
    """A drawing too; a film, a broken picture that is large, and a picture of too many pixels are not held."""
    (tmp_path / "drawing").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'>" + b" " * 50_000 + b"</svg>")
    (tmp_path / "film").write_bytes(b"\0\0\0\x20ftypisom" + b"\0" * 100)
    (tmp_path / "broken").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 300_000)
    paths = [str(tmp_path / name) for name in ("drawing", "film", "broken", "nothing")]
    small = photograph(tmp_path / "small.png", "PNG", side=40)
    before = Path(small).read_bytes()
    files = files_of([*paths, small])
    shutil.rmtree(tmp_path)
    assert [files.find(0, n) is not None for n in range(4)] == [True, False, False, False]
    found = files.find(0, 4)
    assert found is not None
    assert view_files.read(found) == before


def test_copies_have_a_bound_and_the_first_ones_are_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is seen first is held; what has no room is not, and the others are copied in the background."""
    first = photograph(tmp_path / "0.png", "PNG", side=40)
    paths = [first, *(str(shutil.copy(first, tmp_path / f"{n}.png")) for n in range(1, 5))]
    size = Path(paths[0]).stat().st_size
    monkeypatch.setattr(view_files, "MAX_COPIES_BYTES", 3 * size + size // 2)
    bounded = files_of(paths)
    monkeypatch.setattr(view_files, "MAX_COPIES_BYTES", 100 * size)
    monkeypatch.setattr(view_files, "MAX_AT_ONCE", 2)
    late = files_of(paths)
    assert late._thread is not None
    late._thread.join()
    shutil.rmtree(tmp_path)
    assert [bounded.find(0, n) is not None for n in range(5)] == [True, True, True, False, False]
    assert [late.find(0, n) is not None for n in range(5)] == [True] * 5


def with_photographs(folder: Path, rows: int) -> pd.DataFrame:
    """Return results whose pictures were downloaded, each too large to be held as it is."""
    df = pd.DataFrame({"prompt": [f"fox {row}" for row in range(rows // 2)] * 2, "style": ["ink", "oil"] * (rows // 2)})
    out = df.sort_values("prompt").eachlabs.bulk_trigger("wf_abc123", wait=True, progress=False)
    out["path"] = [photograph(folder / f"{row}.jpg", side=600, quality=95) for row in range(rows)]
    out.attrs[DOWNLOAD] = {"column": "path"}
    return out


@pytest.mark.slow
def test_views_outlive_their_files_and_stay_small(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each view answers for a file that is gone, its static HTML shows pictures, and it stays within its bound."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    out = with_photographs(folder, 64)
    other = out.eachlabs.bulk_trigger("wf_abc123", retrigger=True, wait=True, progress=False)
    views = [out.eachlabs.gallery(), out.eachlabs.matrix("prompt", "style"), out.eachlabs.rate()]
    views.append(ef.compare(out, other, by=["prompt", "style"]))
    shutil.rmtree(folder)
    for view in views:
        bundle = view._repr_mimebundle_()
        html = (bundle[0] if isinstance(bundle, tuple) else bundle)["text/html"]
        assert len(html.encode()) < MAX_ADDED
    gallery, matrix, rating, _ = views
    assert gallery._repr_mimebundle_()["text/html"].count("data:image/webp;base64,") > 25
    assert matrix._repr_mimebundle_()[0]["text/html"].count("data:image/webp;base64,") > 15
    assert all(view._files.find(0, 0) is not None for view in (matrix, rating))
    page = gallery.save(tmp_path / "sheet.html").read_text("utf-8")
    assert page.count('id="eachlabs-file-') == 64


def test_what_a_static_view_may_hold_fits_into_its_bound() -> None:
    """Base64 makes four characters of three bytes; the rest is for words."""
    assert MAX_EMBEDDED_BYTES * 4 / 3 + 60 * 1_500 < MAX_ADDED
    assert MAX_HTML_BYTES <= MAX_ADDED
