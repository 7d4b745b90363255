"""Local files that a view shows: images, videos and audio that were downloaded, within a size limit.

Owns reading them, sending them to a widget's browser, embedding them in a saved page, and the thumbnails that stay
when a file is moved or deleted. A path comes from the frame only, never from a browser; the media type comes from the
file's first bytes. A file that is missing, too large or of another type is None.
"""

from __future__ import annotations

import io
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

import numpy as np

from ...media import HEAD_BYTES, media_type
from .html_page import PageFile

if TYPE_CHECKING:
    import anywidget
    from PIL import Image

    from .card import Card
    from .input_files import InputFiles

logger = logging.getLogger("eachlabs_frames")

MAX_FILE_BYTES: Final = 32_000_000
"""Bytes of a file that is shown."""

MAX_TOTAL_BYTES: Final = 200_000_000
"""Bytes of all files embedded in a page: browsers do not open much larger pages."""

MAX_SIDE: Final = 192
"""Pixels of a copy's longer side."""

MAX_UNCHANGED: Final = 16_000
"""Bytes of a file that is copied unchanged."""

MAX_UNDECODED: Final = 200_000
"""Bytes of an image that is copied unchanged because it is not decoded here, such as an SVG."""

MAX_COPIES_BYTES: Final = 32_000_000
"""Bytes of all copies of one view: about 6,000 photographs."""

MAX_AT_ONCE: Final = 100
"""Images that are copied before the view is shown, about a second of work; others are copied in the background."""

MAX_PIXELS: Final = 100_000_000
"""Pixels of an image that is decoded: a small file can claim to be a very large image."""

_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
DECODED: Final = frozenset(f"image/{name.lower()}" for name in _FORMATS)
"""Media types of images that are decoded here; `shrink` returns `COPY_TYPE`."""

COPY_TYPE: Final = "image/webp"


class LocalFile(NamedTuple):
    """A file that can be shown and is not read yet; `copy` holds the thumbnail of a file that cannot be used."""

    path: Path
    media_type: str
    size: int
    copy: bytes | None = None


def find(path: str | None, *, max_bytes: int = MAX_FILE_BYTES) -> LocalFile | None:
    """Return the file at a path if it can be shown and has at most `max_bytes` bytes."""
    if path is None:
        return None
    place = Path(path)
    try:
        if not place.is_file():  # opening a device may have side effects
            return None
        with _open(place) as file:
            size = os.fstat(file.fileno()).st_size
            kind = media_type(file.read(HEAD_BYTES)) if 0 < size <= max_bytes else None
    except (OSError, ValueError):  # a path with a zero byte raises ValueError
        return None
    return None if kind is None else LocalFile(place, kind, size)


def read(file: LocalFile | None) -> bytes | None:
    """Return the file's bytes, at most `file.size` of them; None if there is no file or it cannot be read any more."""
    if file is None or file.copy is not None:
        return None if file is None else file.copy
    try:
        with _open(file.path) as opened:
            return opened.read(file.size)
    except OSError:
        return None


def _open(path: Path) -> BinaryIO:
    """Open a regular file. Checked once it is open, because reading a pipe blocks and a device has no end."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        msg = f"{str(path)!r} is no file"
        raise OSError(msg)
    return os.fdopen(handle, "rb")


# -- the files of a view ---------------------------------------------------------------------------------------------


class ViewFiles:
    """The downloaded files of a view, with small copies of its images in memory.

    A file is used as long as it exists. Its copy is shown in static HTML, where a whole file has no room, and in the
    live view once the file was moved or deleted.

    Parameters
    ----------
    files : callable
        Returns the paths of a row's downloaded files, in the order of the URLs in its output.
    rows : iterable of int
        The rows that the view shows, in display order. Copies are made in this order.
    inputs : InputFiles, optional
        The files in the rows' inputs.
    """

    def __init__(
        self, files: Callable[[int], Sequence[str | None]], rows: Iterable[int], inputs: InputFiles | None = None
    ) -> None:
        self._files = files
        self._inputs = inputs
        self._copies: dict[Path, LocalFile] = {}
        self._bytes_left = MAX_COPIES_BYTES
        self._closed = False
        self._thread: threading.Thread | None = None
        distinct = _distinct(path for row in rows for path in files(row))
        first = list(islice(distinct, MAX_AT_ONCE))
        if first:
            with ThreadPoolExecutor(4, "eachlabs-thumbnails") as pool:
                self._keep(pool.map(_copy, first))
        if len(first) == MAX_AT_ONCE:
            others = map(_copy, distinct)
            self._thread = threading.Thread(target=self._keep, args=[others], name="eachlabs-thumbnails", daemon=True)
            self._thread.start()

    def find(self, row: int, n: int, *, max_bytes: int = MAX_FILE_BYTES) -> LocalFile | None:
        """Return the file downloaded from URL number `n` of a row's output; for row -1 picture `n` of the inputs.

        Its copy if the file is gone or has more than `max_bytes` bytes; None if there is neither.
        """
        if row < 0:
            return None if self._inputs is None else self._inputs.picture(n)
        paths = self._files(row)
        path = paths[n] if 0 <= n < len(paths) else None
        file = find(path, max_bytes=max_bytes)
        if file is not None:
            return file
        copy = self._copies.get(Path(path)) if path else None
        return copy if copy is not None and copy.size <= max_bytes else None

    def serve(self, widget: anywidget.AnyWidget) -> None:
        """Answer the file requests of a widget's browser, which name a row and a number, never a path."""

        def answer(_: object, request: object, __: object) -> None:
            if not isinstance(request, dict) or request.get("kind") != "file":
                return
            row, n = request.get("row"), request.get("n")
            if type(row) is int and type(n) is int:
                send(widget, row, n, self.find(row, n))

        widget.on_msg(answer)

    def close(self) -> None:
        """Stop copying and release the copies."""
        self._closed = True
        self._copies = {}
        if self._inputs is not None:
            self._inputs.close()

    def _keep(self, copies: Iterable[LocalFile | None]) -> None:
        for copy in copies:
            if self._closed or self._bytes_left <= 0:
                return
            if copy is not None and copy.size <= self._bytes_left:
                self._bytes_left -= copy.size
                self._copies[copy.path] = copy


def _distinct(paths: Iterable[str | None]) -> Iterator[str]:
    seen: set[str | None] = {None}
    for path in paths:
        if path not in seen:
            seen.add(path)
            yield cast("str", path)


def _copy(path: str) -> LocalFile | None:
    """Return a copy of an image; None if the file is no image or cannot be copied."""
    file = find(path)
    content = read(file) if file is not None and file.media_type.startswith("image/") else None
    if file is None or not content:
        return None
    if file.size <= MAX_UNCHANGED:
        return file._replace(size=len(content), copy=content)
    small = None if file.media_type == "image/svg+xml" else shrink(content, MAX_SIDE)
    if small is not None:
        return LocalFile(file.path, COPY_TYPE, len(small), small)
    return file._replace(size=len(content), copy=content) if file.size <= MAX_UNDECODED else None


def shrink(content: bytes, side: int) -> bytes | None:
    """Return a small copy of an image, its longer side at most `side` pixels; None if it cannot be decoded."""
    from PIL import Image  # imported when the first image is copied

    return _encode(lambda: Image.open(io.BytesIO(content), formats=_FORMATS), side)


def shrink_image(image: Any, side: int) -> bytes | None:
    """Return a small copy of a PIL image or an image array, which are not changed; None if that is not possible."""
    from PIL import Image

    return _encode(lambda: Image.fromarray(image) if isinstance(image, np.ndarray) else image.copy(), side)


def _encode(open_image: Callable[[], Image.Image], side: int) -> bytes | None:
    from PIL import Image, ImageOps

    try:
        with open_image() as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return None
            picture.draft("RGB", (2 * side, 2 * side))
            picture.thumbnail((side, side))
            upright = ImageOps.exif_transpose(picture)
            mode = "RGBA" if upright.has_transparency_data else "RGB"
            written = io.BytesIO()
            upright.convert(mode).save(written, "WEBP", quality=60, method=1)  # half the time, and hardly larger
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        logger.debug("an image could not be copied", exc_info=True)
        return None
    return written.getvalue()


def send(widget: anywidget.AnyWidget, row: int, n: int, file: LocalFile | None) -> int:
    """Send a file to the widget's browser, or that there is none, and return the number of bytes sent."""
    content = read(file)
    kind = None if file is None or content is None else file.media_type
    widget.send({"kind": "file", "row": row, "n": n, "type": kind}, [content] if content else None)
    return len(content or b"")


# -- files in a saved page ------------------------------------------------------------------------------------------


def choose_embedded(
    cards: Iterable[Card], find: Callable[[int, int], LocalFile | None]
) -> list[tuple[int, int, LocalFile]]:
    """Return the files to embed in a page, by row and URL number, and set ``has_file`` of the cards accordingly.

    Parameters
    ----------
    cards : iterable of Card
    find : callable
        Returns the file downloaded from a URL of a row's output, by row and number; None if there is none.
    """
    bytes_left, linked = MAX_TOTAL_BYTES, 0
    chosen: list[tuple[int, int, LocalFile]] = []
    for card in cards:
        for item in card["media"]:
            file = find(card["row"], item["n"]) if item["has_file"] else None
            item["has_file"] = file is not None and file.size <= bytes_left
            if file is not None and item["has_file"]:
                bytes_left -= file.size
                chosen.append((card["row"], item["n"], file))
            elif file is not None:
                linked += 1
    if linked:
        logger.warning(
            "%d files are linked, not embedded: the page has %d MB of others", linked, MAX_TOTAL_BYTES // 1_000_000
        )
    return chosen


def read_embedded(chosen: Iterable[tuple[int, int, LocalFile]]) -> Iterator[PageFile]:
    """Yield each file with its content, read one at a time. Files that cannot be read any more are left out."""
    for row, n, file in chosen:
        content = read(file)
        if content is not None:
            yield row, n, file.media_type, content
