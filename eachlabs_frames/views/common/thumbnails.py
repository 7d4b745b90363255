"""Small copies of downloaded pictures, held in memory so that a view outlives its files. Owns their size and number.

A copy is made from a file that the frame itself names. The file is used as long as it exists; the copy is what is shown
in static HTML, where a whole file has no room, and in the live view once the file was moved or deleted.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final, cast

from . import local_files
from .local_files import MAX_FILE_BYTES, LocalFile

logger = logging.getLogger("eachlabs_frames")

MAX_SIDE: Final = 192
"""Pixels of a copy's longer side."""

MAX_UNCHANGED: Final = 16_000
"""Bytes of a file that is held as it is."""

MAX_UNDECODED: Final = 200_000
"""Bytes of a picture that is held as it is because it is not decoded here, such as an SVG."""

MAX_HELD: Final = 32_000_000
"""Bytes of all copies of one view: about 6,000 photographs."""

MAX_AT_ONCE: Final = 100
"""Pictures that are copied before the view is shown, about a second of work; others are copied in the background."""

MAX_PIXELS: Final = 100_000_000
"""Of a picture that is decoded: a small file can claim to be a very large picture."""

_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


class Thumbnails:
    """Copies of a view's pictures, by path.

    Parameters
    ----------
    paths : iterable of str or None
        The files of the view, those that are seen first at the beginning.
    """

    def __init__(self, paths: Iterable[str | None]) -> None:
        self._held: dict[str, tuple[str, bytes]] = {}
        self._left = MAX_HELD
        self._closed = False
        self._thread: threading.Thread | None = None
        distinct = _distinct(paths)
        first = list(islice(distinct, MAX_AT_ONCE))
        if first:
            with ThreadPoolExecutor(4, "eachlabs-thumbnails") as pool:
                self._keep(pool.map(_copied, first))
        if len(first) == MAX_AT_ONCE:
            others = map(_copied, distinct)
            self._thread = threading.Thread(target=self._keep, args=[others], name="eachlabs-thumbnails", daemon=True)
            self._thread.start()

    def find(self, path: str | None, *, largest: int = MAX_FILE_BYTES) -> LocalFile | None:
        """Return the file at a path, or its copy where the file is gone or has more than `largest` bytes."""
        found = local_files.find(path, largest=largest)
        if found is not None:
            return found
        kind, content = self._held.get(path or "", ("", b""))
        return LocalFile(Path(path), kind, len(content), content) if path and 0 < len(content) <= largest else None

    def wait(self) -> None:
        """Return when everything is copied that is going to be."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Copy no more, and forget the copies."""
        self._closed = True
        self._held = {}

    def _keep(self, copies: Iterable[tuple[str, str, bytes] | None]) -> None:
        for copy in copies:
            if self._closed or self._left <= 0:
                return
            if copy is not None and len(copy[2]) <= self._left:
                path, kind, content = copy
                self._left -= len(content)
                self._held[path] = kind, content


def _distinct(paths: Iterable[str | None]) -> Iterator[str]:
    seen: set[str | None] = {None}
    for path in paths:
        if path not in seen:
            seen.add(path)
            yield cast("str", path)


def _copied(path: str) -> tuple[str, str, bytes] | None:
    """Return a path with the type and the bytes of its copy; None for what is no picture or cannot be copied."""
    found = local_files.find(path)
    if found is None or not found.media_type.startswith("image/"):
        return None
    content = local_files.read(found)
    if content is None:
        return None
    if found.size <= MAX_UNCHANGED:
        return path, found.media_type, content
    small = None if found.media_type == "image/svg+xml" else _shrunk(content)
    if small is not None:
        return path, "image/webp", small
    return (path, found.media_type, content) if found.size <= MAX_UNDECODED else None


def _shrunk(content: bytes) -> bytes | None:
    """Return a picture as a small WebP; None where it cannot be decoded."""
    from PIL import Image, ImageOps  # only for those who look at pictures

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return None
            picture.draft("RGB", (2 * MAX_SIDE, 2 * MAX_SIDE))
            picture.thumbnail((MAX_SIDE, MAX_SIDE))
            upright = ImageOps.exif_transpose(picture)
            mode = "RGBA" if upright.has_transparency_data else "RGB"
            written = io.BytesIO()
            upright.convert(mode).save(written, "WEBP", quality=60)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        logger.debug("a picture could not be copied", exc_info=True)
        return None
    return written.getvalue()
