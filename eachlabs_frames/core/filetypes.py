"""What a file is called by its type. Never trusts it: no extension is one that a double click would run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from .media import EXTENSIONS

ANY: Final = ".bin"
LONGEST_EXTENSION: Final = 12

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


def belongs(file: str, stem: str) -> bool:
    """Say whether `file` is `stem` with an extension that this module gives."""
    return file.startswith(stem) and (file[len(stem) :] in KNOWN or file[len(stem) :] == ANY)
