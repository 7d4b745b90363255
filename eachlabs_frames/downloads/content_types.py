"""File extensions by media type, URL and content. It never returns an extension that a double click would execute."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from ..media import CONTAINERS, EXTENSIONS, TYPES, media_type

ANY: Final = ".bin"
MAX_EXTENSION_LENGTH: Final = 12

KNOWN: Final = frozenset(suffix for suffixes in TYPES.values() for suffix in suffixes) | {
    ".txt",
    ".ply",
    ".npy",
    ".npz",
    ".safetensors",
    ".srt",
}


def extension(content_type: str, url: str) -> str:
    """Return a file's extension: by its type, else by its URL's path, else ``.bin``; never an executable one."""
    kind = content_type.partition(";")[0].strip().lower()
    by_type = TYPES.get(kind, ())
    by_path = suffix(url)
    if by_path in by_type or (not by_type and by_path):
        return by_path
    if by_type:
        return by_type[0]
    return ".txt" if kind.startswith("text/") else ANY


def suffix(url: str) -> str:
    """Return the extension in a URL's path if it is known, else ""."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    ending = "." + name.rpartition(".")[2].lower()
    return ending if "." in name and ending in KNOWN else ""


def names_media(url: str) -> bool:
    """Return whether a URL's path has the extension of an image, video or audio file."""
    return suffix(url)[1:] in EXTENSIONS


_DOCUMENT: Final = re.compile(r"text/.*|application/(?:.*\+)?(?:xml|json)")
"""Types of error pages and messages, which servers send instead of a file (RFC 6839 for the suffixes)."""


def may_be_media(kind: str, url: str) -> bool:
    """Return whether a body of media type `kind` may be the image, video or audio file that `url` names."""
    if suffix(url) == ".svg" and kind in ("text/xml", "application/xml"):
        return True  # the first bytes decide
    return _DOCUMENT.fullmatch(kind) is None


_MP4_BOXES: Final = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot"})
"""The boxes that an MP4 or QuickTime file may begin with (ISO/IEC 14496-12; QuickTime File Format)."""

_NO_SIGNATURE: Final = frozenset({".mp3", ".aac", ".ico", ".bmp"})
"""Media files without a fixed signature. They do not begin with text."""

_TEXT: Final = frozenset(range(0x20, 0x7F)) | {0x09, 0x0A, 0x0D}


def by_content(expected: str, head: bytes) -> str | None:
    """Return the extension by a file's first bytes; None if they are not those of a file with extension `expected`.

    Only images, video and audio are checked. A media file of another kind gets the extension of its kind.

    Parameters
    ----------
    expected : str
        The extension by headers and URL.
    head : bytes
        The first `media.HEAD_BYTES` bytes.
    """
    if expected[1:] not in EXTENSIONS:
        return expected
    kind = media_type(head)
    if kind is None:
        return expected if _may_be(expected, head) else None
    extensions = TYPES[kind]
    same = any(expected in group and extensions[0] in group for group in CONTAINERS)
    return expected if same or expected in extensions else extensions[0]


def _may_be(expected: str, head: bytes) -> bool:
    """Return whether a file of an unrecognized kind may be of the expected one."""
    if expected == ".svg":
        return b"<svg" in head  # a comment or document type may precede it
    if expected in (".mp4", ".m4v", ".mov", ".m4a"):
        return head[4:8] in _MP4_BOXES
    return expected in _NO_SIGNATURE and not _TEXT.issuperset(head)


def belongs(file: str, stem: str) -> bool:
    """Return whether `file` is `stem` with one of this module's extensions."""
    return file.startswith(stem) and (file[len(stem) :] in KNOWN or file[len(stem) :] == ANY)
