"""File extensions by media type, URL and content. Never returns an extension that a double click would execute."""

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
"""What a file is called by its type. None of these is run by a double click; a page of HTML is kept as a text."""

KNOWN: Final = frozenset(one for several in TYPES.values() for one in several) | {
    ".txt",
    ".ply",
    ".npy",
    ".npz",
    ".safetensors",
    ".srt",
}


def extension(content_type: str, url: str) -> str:
    """Return what a file ends in: by its type, else by its URL's path, else ``.bin``; never what may be run."""
    kind = content_type.partition(";")[0].strip().lower()
    by_type = TYPES.get(kind, ())
    by_path = suffix(url)
    if by_path in by_type or (not by_type and by_path):
        return by_path
    if by_type:
        return by_type[0]
    return ".txt" if kind.startswith("text/") else ANY


def suffix(url: str) -> str:
    """Return the extension in a URL's path, where it is a known one; else ""."""
    last = unquote(urlsplit(url).path).rpartition("/")[2]
    _, dot, ending = last.rpartition(".")
    return dot + ending.lower() if dot + ending.lower() in KNOWN else ""


def promises_media(url: str) -> bool:
    """Say whether a URL's path names a picture, a film or a sound."""
    return suffix(url)[1:] in EXTENSIONS


_DOCUMENT: Final = re.compile(r"text/.*|application/(?:.*\+)?(?:xml|json)")
"""What is sent in place of a file: an error page, or an error message (RFC 6839 for the suffixes)."""


def may_be_media(kind: str, url: str) -> bool:
    """Say whether a body of media type `kind` may be the picture, film or sound that `url` names."""
    if suffix(url) == ".svg" and kind in ("text/xml", "application/xml"):
        return True  # its first bytes decide
    return _DOCUMENT.fullmatch(kind) is None


_CONTAINERS: Final = (
    frozenset({".png", ".apng"}),
    frozenset({".webm", ".mkv", ".weba"}),
    frozenset({".ogg", ".oga", ".opus", ".ogv"}),
    frozenset({".mp4", ".m4v", ".mov", ".m4a", ".avif"}),
    frozenset({".mp3", ".aac"}),
)
"""Extensions that the first bytes do not tell apart."""

_MP4_BOXES: Final = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot"})
"""What an MP4 or QuickTime file may begin with (ISO/IEC 14496-12; QuickTime File Format)."""

_NO_SIGNATURE: Final = frozenset({".mp3", ".aac", ".ico", ".bmp"})
"""Media files that may begin with almost anything; text is none of them all the same."""

_TEXT: Final = frozenset(range(0x20, 0x7F)) | {0x09, 0x0A, 0x0D}


def by_content(promised: str, head: bytes) -> str | None:
    """Return the extension of a file of which `promised` is expected; None where its first bytes contradict that.

    Only pictures, films and sounds are looked into. One of another kind than promised has its own kind's extension.

    Parameters
    ----------
    promised : str
        The extension by headers and URL.
    head : bytes
        The first bytes, of which `media.HEAD_BYTES` are enough.
    """
    if promised[1:] not in EXTENSIONS:
        return promised
    kind = media_type(head)
    if kind is None:
        return promised if _may_be(promised, head) else None
    known = TYPES[kind]
    same = any(promised in group and known[0] in group for group in _CONTAINERS)
    return promised if same or promised in known else known[0]


def _may_be(promised: str, head: bytes) -> bool:
    """Say whether a file whose kind is not recognized may be of the promised one."""
    if promised == ".svg":
        return b"<svg" in head  # after a comment or a document type of its own
    if promised in (".mp4", ".m4v", ".mov", ".m4a"):
        return head[4:8] in _MP4_BOXES
    return promised in _NO_SIGNATURE and not _TEXT.issuperset(head)


def belongs(file: str, stem: str) -> bool:
    """Say whether `file` is `stem` with an extension that this module gives."""
    return file.startswith(stem) and (file[len(stem) :] in KNOWN or file[len(stem) :] == ANY)
