"""The first bytes of a file -> what it is, where that is something a browser shows. A name is never believed."""

from __future__ import annotations

import re
from typing import Final

HEAD: Final = 4_096
"""Bytes that are enough to know: an SVG may begin with a comment."""

_STARTS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
)
_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_BRANDS: Final = {b"avif": "image/avif", b"avis": "image/avif", b"M4A ": "audio/mp4", b"M4B ": "audio/mp4"}
# A comment ends where it first can, and nowhere else: of many, each way to divide them would be tried otherwise.
_SVG: Final = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*\?>\s*)?(<!--(?:(?!-->).)*-->\s*)*(<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]", re.S
)


def media_type(head: bytes) -> str | None:
    """Return the media type of a picture, a film or a sound; None for anything else.

    Parameters
    ----------
    head : bytes
        The file's first bytes, of which `HEAD` are enough.
    """
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # the sync word of an MPEG frame
        return "audio/aac" if head[1] & 0xF6 == 0xF0 else "audio/mpeg"
    return "image/svg+xml" if _SVG.match(head[:HEAD]) else None
