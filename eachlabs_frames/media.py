"""Which media an output or a file is: the URLs in an execution's output, and the type of a file by its first bytes.

Never trusts an output or a file name. A string counts as a URL only if a browser can do nothing but fetch it; anything
else is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import PurePath
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from .models import Json

Kind: TypeAlias = Literal["image", "video", "audio", "link", "text"]

MAX_TEXT_LENGTH: Final = 300
MAX_URL_LENGTH: Final = 4_096
MAX_DATA_URL_LENGTH: Final = 32_768
"""Characters of a ``data:`` URL. A view shows fifty rows at once and sends each URL whole to the browser."""

MAX_NODES: Final = 1_000
MAX_DEPTH: Final = 20

EXTENSIONS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("apng", "avif", "bmp", "gif", "ico", "jfif", "jpeg", "jpg", "png", "svg", "webp"), "image"),
    **dict.fromkeys(("m4v", "mov", "mp4", "ogv", "webm"), "video"),
    **dict.fromkeys(("aac", "flac", "m4a", "mp3", "oga", "ogg", "opus", "wav", "weba"), "audio"),
}
"""File extensions that browsers can show. A TIFF is a link."""

_WEB: Final = re.compile(r"https?://[^/]", re.IGNORECASE)
_DATA_IMAGE: Final = re.compile(r"data:image/[a-z0-9.+-]+(;[a-z0-9=.+-]+)*,", re.IGNORECASE)
# White space and control characters, which browsers drop before they parse the scheme; backslashes, which they read as
# slashes; bidirectional marks, which hide the order of a URL; quotes and angle brackets, which no valid URL contains.
_NEVER_IN_A_URL: Final = re.compile(
    r'[\x00-\x20\x7f-\xa0\xad\\"<>`\s\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]'
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Media(NamedTuple):
    """What a view shows of an output: its `text`, and a `url` if it is safe to show as that kind."""

    kind: Kind
    url: str | None
    text: str


def read(output: Json) -> Media | None:
    """Return the media that represents an output; None if the output is None.

    That is the first image, video or audio URL among the first `MAX_NODES` values, else the first link, else the text.
    """
    if output is None:
        return None
    link = None
    for kind, string in urls(output):
        if kind == "link":
            link = link or string
        else:
            return Media(kind, string, text(output))
    return Media("text", None, text(output)) if link is None else Media("link", link, text(output))


def urls(output: Json, max_nodes: int | None = MAX_NODES, *, any_length: bool = False) -> Iterator[tuple[Kind, str]]:
    """Yield each safe URL of `output` and its kind, in order.

    A URL within a longer text does not count. Only the first `max_nodes` values are examined; None: all of them. A URL
    too long to be shown counts as text unless `any_length`.
    """
    for string in _strings(output, max_nodes):
        kind = kind_of(string, any_length=any_length)
        if kind != "text":
            yield kind, string


def with_links(output: Json, links: Mapping[str, str], *, depth: int = 0) -> Json:
    """Return a copy of `output` in which each string that is a key of `links` is replaced by its value."""
    if isinstance(output, str):
        return links.get(output, output)
    if depth > MAX_DEPTH:
        return output
    if isinstance(output, dict):
        return {key: with_links(value, links, depth=depth + 1) for key, value in output.items()}
    if isinstance(output, (list, tuple)):
        return [with_links(value, links, depth=depth + 1) for value in output]
    return output


def kind_of(string: str, *, any_length: bool = False) -> Kind:
    """Return the kind of media that a string is: "text" unless it is a safe URL that is short enough to be shown."""
    is_data = _DATA_IMAGE.match(string) is not None
    if not is_data and not _WEB.match(string):
        return "text"
    if not any_length and len(string) > (MAX_DATA_URL_LENGTH if is_data else MAX_URL_LENGTH):
        return "text"
    if _NEVER_IN_A_URL.search(string):
        return "text"
    if is_data:
        return "image"
    try:
        parts = urlsplit(string)
        _ = parts.port  # parsed on access, and raises ValueError if it is invalid
    except ValueError:
        return "text"
    if not parts.hostname or "@" in parts.netloc:
        return "text"
    _, dot, extension = parts.path.rpartition("/")[2].rpartition(".")
    return EXTENSIONS.get(extension.lower(), "link") if dot else "link"


def text(output: Json, max_length: int = MAX_TEXT_LENGTH, *, indent: int | None = None) -> str:
    """Return `output` as a short text: a string as it is, anything else as JSON with the text of paths. Never fails."""
    if isinstance(output, str):
        return cut(output, max_length)
    written, whole = "", False
    encoder = _encoder if indent is None else _indenting(indent)
    try:
        # Piece by piece, so that an output of many megabytes is not encoded whole for its first 300 characters.
        for piece in encoder.iterencode(output):
            written += piece
            if len(written) > max_length:
                break
        else:
            whole = True
    except (TypeError, ValueError, OverflowError, RuntimeError):
        written = written or _name(output)
    return cut(written if whole else f"{written}…", max_length)


def cut(string: str, max_length: int) -> str:
    """Return at most `max_length` characters of `string`, with an ellipsis if it was cut, and no surrogates."""
    if len(string) > max_length:
        string = f"{string[: max_length - 1]}…"
    return string if string.isascii() else _SURROGATE.sub("\ufffd", string)


def _strings(output: Json, max_nodes: int | None) -> Iterator[str]:
    """Yield the strings among the first `max_nodes` values of `output`, in order and down to `MAX_DEPTH` levels."""
    stack = [iter((output,))]
    for _ in count() if max_nodes is None else range(max_nodes):
        value = next(stack[-1], stack)
        while value is stack:
            stack.pop()
            if not stack:
                return
            value = next(stack[-1], stack)
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list, tuple)) and len(stack) <= MAX_DEPTH:
            stack.append(iter(value.values() if isinstance(value, dict) else value))


def _name(value: object) -> str:
    return str(value) if isinstance(value, PurePath) else f"<{type(value).__name__}>"


def _indenting(indent: int) -> json.JSONEncoder:
    return json.JSONEncoder(ensure_ascii=False, indent=indent, skipkeys=True, default=_name)


_encoder: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), skipkeys=True, default=_name)


# -- the type of a file -----------------------------------------------------------------------------------------------

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

CONTAINERS: Final = (
    frozenset({".png", ".apng"}),
    frozenset({".webm", ".mkv", ".weba"}),
    frozenset({".ogg", ".oga", ".opus", ".ogv"}),
    frozenset({".mp4", ".m4v", ".mov", ".m4a", ".avif", ".heic"}),
    frozenset({".mp3", ".aac"}),
)
"""Extensions whose files have the same first bytes."""

HEAD_BYTES: Final = 4_096
"""Number of first bytes that `media_type` needs: an SVG may begin with a comment."""

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
_BRANDS: Final = {
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"), "image/heic"),
    **dict.fromkeys((b"M4A ", b"M4B "), "audio/mp4"),
}
# The negative lookahead ends a comment at the first "-->"; otherwise many comments backtrack exponentially.
_SVG: Final = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*\?>\s*)?(<!--(?:(?!-->).)*-->\s*)*(<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]", re.S
)


def media_type(head: bytes) -> str | None:
    """Return the media type of an image, video or audio file from its content; None for anything else.

    Parameters
    ----------
    head : bytes
        The file's first `HEAD_BYTES` bytes.
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
    return "image/svg+xml" if _SVG.match(head[:HEAD_BYTES]) else None


ANY_TYPE: Final = "application/octet-stream"

_OTHER_STARTS: Final = (
    (b"%PDF-", "application/pdf"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"glTF", "model/gltf-binary"),
    (b"PK\x03\x04", "application/zip"),
)
_TYPE_OF: Final = {suffix: kind for kind, suffixes in reversed(list(TYPES.items())) for suffix in suffixes} | {
    ".txt": "text/plain",
}


def content_type(head: bytes, name: str) -> str:
    """Return the media type of any file: by its content where that has a signature, else by its name.

    A name that claims an image, a video or audio does not count if the content is neither: the file may be the error
    page that a download has left.

    Parameters
    ----------
    head : bytes
        The file's first `HEAD_BYTES` bytes.
    name : str
        Its name; "" if it has none.
    """
    suffix = "." + name.rpartition(".")[2].lower() if "." in name else ""
    by_name = _TYPE_OF.get(suffix)
    kind = media_type(head) or next((kind for start, kind in _OTHER_STARTS if head.startswith(start)), None)
    if kind is None:
        is_claim = suffix[1:] in EXTENSIONS or suffix in TYPES["image/heic"] + TYPES["image/tiff"]
        return ANY_TYPE if by_name is None or is_claim else by_name
    if by_name is not None:
        same = any(suffix in group and TYPES[kind][0] in group for group in CONTAINERS)
        # The formats of a package are zip files with a name of their own.
        return by_name if same or suffix in TYPES[kind] or (kind == "application/zip" and "+zip" in by_name) else kind
    if kind == "video/mp4" and head[8:12] == b"qt  ":
        return "video/quicktime"
    return kind
