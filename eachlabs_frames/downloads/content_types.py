"""File extensions by media type, URL and content. It never returns an extension that a double click would execute."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from ..media import EXTENSIONS, media_type

ANY: Final = ".bin"
MAX_EXTENSION_LENGTH: Final = 12

TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "image/png": (".png",),
    "image/apng": (".apng",),
    "image/jpeg": (".jpg", ".jpeg", ".jfif"),
    "image/jpg": (".jpg", ".jpeg", ".jfif"),
    "image/webp": (".webp",),
    "image/gif": (".gif",),
    "image/avif": (".avif",),
    "image/bmp": (".bmp",),
    "image/heic": (".heic",),
    "image/tiff": (".tif", ".tiff"),
    "image/x-icon": (".ico",),
    "image/vnd.microsoft.icon": (".ico",),
    "image/svg+xml": (".svg",),
    "video/mp4": (".mp4", ".m4v"),
    "video/x-m4v": (".m4v",),
    "video/webm": (".webm",),
    "video/quicktime": (".mov",),
    "video/x-matroska": (".mkv",),
    "video/ogg": (".ogv",),
    "audio/mpeg": (".mp3",),
    "audio/wav": (".wav",),
    "audio/x-wav": (".wav",),
    "audio/wave": (".wav",),
    "audio/vnd.wave": (".wav",),
    "audio/ogg": (".ogg", ".oga", ".opus"),
    "audio/opus": (".opus",),
    "audio/flac": (".flac",),
    "audio/x-flac": (".flac",),
    "audio/aac": (".aac",),
    "audio/mp4": (".m4a",),
    "audio/x-m4a": (".m4a",),
    "audio/webm": (".weba",),
    "application/json": (".json",),
    "application/x-ndjson": (".jsonl",),
    "application/pdf": (".pdf",),
    "application/zip": (".zip",),
    "application/vnd.apache.parquet": (".parquet",),
    "text/csv": (".csv",),
    "text/markdown": (".md",),
    "text/vtt": (".vtt",),
    "text/html": (".txt",),
    "model/gltf-binary": (".glb",),
    "model/gltf+json": (".gltf",),
    "model/stl": (".stl",),
    "model/obj": (".obj",),
    "model/vnd.usdz+zip": (".usdz",),
    "model/ply": (".ply",),
}
"""Extensions by media type. No desktop executes files with these extensions; HTML is stored as text."""

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


_CONTAINERS: Final = (
    frozenset({".png", ".apng"}),
    frozenset({".webm", ".mkv", ".weba"}),
    frozenset({".ogg", ".oga", ".opus", ".ogv"}),
    frozenset({".mp4", ".m4v", ".mov", ".m4a", ".avif"}),
    frozenset({".mp3", ".aac"}),
)
"""Extensions whose files have the same first bytes."""

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
    same = any(expected in group and extensions[0] in group for group in _CONTAINERS)
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
