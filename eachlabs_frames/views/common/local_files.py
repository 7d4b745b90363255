"""Files of the user's, as a view may show them: a picture, a film or a sound, by its own first bytes, within a bound.

A path comes from the frame alone, never from a browser. What is something else, too large or not there is None.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from ...media_formats import HEAD, media_type

MAX_FILE_BYTES: Final = 32_000_000
"""Bytes of a file that is shown."""


class LocalFile(NamedTuple):
    """A file that can be shown, not read yet; with `copy`, the bytes that are held of one that is gone."""

    path: Path
    media_type: str
    size: int
    copy: bytes | None = None


def find(path: str | None, *, largest: int = MAX_FILE_BYTES) -> LocalFile | None:
    """Return what is at a path, where it can be shown and has at most `largest` bytes."""
    if path is None:
        return None
    place = Path(path)
    try:
        if not place.is_file():  # to open a device may do something
            return None
        with _opened(place) as file:
            size = os.fstat(file.fileno()).st_size
            kind = media_type(file.read(HEAD)) if 0 < size <= largest else None
    except (OSError, ValueError):  # a name with a zero byte is a ValueError
        return None
    return None if kind is None else LocalFile(place, kind, size)


def read(found: LocalFile) -> bytes | None:
    """Return its bytes, no more than there were; None where it cannot be read any more."""
    if found.copy is not None:
        return found.copy
    try:
        with _opened(found.path) as file:
            return file.read(found.size)
    except OSError:
        return None


def _opened(path: Path) -> BinaryIO:
    """Open what is a file, and still is when it is open: a pipe would be waited for, and a device has no end."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        msg = f"{str(path)!r} is no file"
        raise OSError(msg)
    return os.fdopen(handle, "rb")
