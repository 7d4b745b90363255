"""Files of the user's, as a view may show them: a picture, a film or a sound, by its own first bytes, within a bound.

A path comes from the frame alone, never from a browser. What is something else, too large or not there is None.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from ..core.formats import HEAD, media_type

LARGEST: Final = 32_000_000
"""Bytes of a file that is shown."""


class Found(NamedTuple):
    """A file that can be shown, not read yet."""

    path: Path
    media_type: str
    size: int


def find(path: str | None, *, largest: int = LARGEST) -> Found | None:
    """Return what is at a path, where it can be shown and has at most `largest` bytes."""
    if path is None:
        return None
    place = Path(path)
    try:
        size = place.stat().st_size
        if not place.is_file() or not 0 < size <= largest:
            return None
        with place.open("rb") as file:
            kind = media_type(file.read(HEAD))
    except (OSError, ValueError):  # a name with a zero byte is a ValueError
        return None
    return None if kind is None else Found(place, kind, size)


def read(found: Found) -> bytes | None:
    """Return its bytes, no more than there were; None where it cannot be read any more."""
    try:
        with found.path.open("rb") as file:
            return file.read(found.size)
    except OSError:
        return None
