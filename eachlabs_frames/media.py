"""What an execution's output shows first: a picture, a film, a sound, a link or a short text.

Never trusts it: an output comes from outside. A string is a URL only where a browser can do nothing but fetch what it
names; anything else is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from .models import Json

Kind: TypeAlias = Literal["image", "video", "audio", "link", "text"]

MAX_TEXT_LENGTH: Final = 300
MAX_URL_LENGTH: Final = 4_096
MAX_DATA_URL_LENGTH: Final = 32_768
"""Characters of a ``data:`` URL: fifty rows are shown at once, and each goes to the browser whole."""

MAX_NODES: Final = 1_000
DEEPEST: Final = 20

EXTENSIONS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("apng", "avif", "bmp", "gif", "ico", "jfif", "jpeg", "jpg", "png", "svg", "webp"), "image"),
    **dict.fromkeys(("m4v", "mov", "mp4", "ogv", "webm"), "video"),
    **dict.fromkeys(("aac", "flac", "m4a", "mp3", "oga", "ogg", "opus", "wav", "weba"), "audio"),
}
"""By what browsers show: a TIFF is a link."""

_WEB: Final = re.compile(r"https?://[^/]", re.IGNORECASE)
_DATA_IMAGE: Final = re.compile(r"data:image/[a-z0-9.+-]+(;[a-z0-9=.+-]+)*,", re.IGNORECASE)
# White space and control characters, which browsers drop or trim before they look at the scheme; backslashes, which
# they read as slashes; marks that hide a URL's true order; quotes and angle brackets, which no valid URL holds.
_NEVER_IN_A_URL: Final = re.compile(
    r'[\x00-\x20\x7f-\xa0\xad\\"<>`\s\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]'
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Media(NamedTuple):
    """What is shown of an output: `text` always, `url` where it is safe to show as that kind."""

    kind: Kind
    url: str | None
    text: str


def read(output: Json) -> Media | None:
    """Return what `output` shows; None where there is none.

    Of many URLs the first picture, film or sound counts, else the first link, among the first 1,000 values.
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


def urls(output: Json, most: int | None = MAX_NODES, *, any_length: bool = False) -> Iterator[tuple[Kind, str]]:
    """Yield each URL of `output` that is safe, with what it may be shown as, in their order.

    A string inside a longer text is no URL. Of values, the first `most` are looked at; None: all of them. For what is
    shown, a very long one is a text; with `any_length` it is a URL too.
    """
    for string in _strings(output, most):
        kind = kind_of(string, any_length=any_length)
        if kind != "text":
            yield kind, string


def with_links(output: Json, links: Mapping[str, str], *, depth: int = 0) -> Json:
    """Return a copy of `output` in which each string that is a key of `links` is replaced by its value."""
    if isinstance(output, str):
        return links.get(output, output)
    if depth > DEEPEST:
        return output
    if isinstance(output, dict):
        return {key: with_links(value, links, depth=depth + 1) for key, value in output.items()}
    if isinstance(output, (list, tuple)):
        return [with_links(value, links, depth=depth + 1) for value in output]
    return output


def kind_of(string: str, *, any_length: bool = False) -> Kind:
    """Return what `string` may be shown as: "text" unless it is a URL that is safe, and not too long to be shown."""
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
        parts.port  # noqa: B018  # it is looked at only when it is asked for, and raises where it is none
    except ValueError:
        return "text"
    if not parts.hostname or "@" in parts.netloc:
        return "text"
    _, dot, extension = parts.path.rpartition("/")[2].rpartition(".")
    return EXTENSIONS.get(extension.lower(), "link") if dot else "link"


def text(output: Json, longest: int = MAX_TEXT_LENGTH, *, indent: int | None = None) -> str:
    """Return `output` as a short text: a string as it is, anything else as JSON, on one line or not. Never fails."""
    if isinstance(output, str):
        return cut(output, longest)
    written, whole = "", False
    encoder = _encoder if indent is None else _indenting(indent)
    try:
        # Piece by piece: an output of many megabytes must not be written out for its first 300 characters.
        for piece in encoder.iterencode(output):
            written += piece
            if len(written) > longest:
                break
        else:
            whole = True
    except (TypeError, ValueError, OverflowError, RuntimeError):
        written = written or _name(output)
    return cut(written if whole else f"{written}…", longest)


def cut(string: str, longest: int) -> str:
    """Return at most `longest` characters of `string`, the last one an ellipsis where it goes on; sound Unicode."""
    if len(string) > longest:
        string = f"{string[: longest - 1]}…"
    return string if string.isascii() else _SURROGATE.sub("\ufffd", string)


def _strings(output: Json, most: int | None) -> Iterator[str]:
    """Yield the strings of `output` in their order, among its first values, not too deep."""
    open_ones = [iter((output,))]
    for _ in count() if most is None else range(most):
        value = next(open_ones[-1], open_ones)
        while value is open_ones:
            open_ones.pop()
            if not open_ones:
                return
            value = next(open_ones[-1], open_ones)
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list, tuple)) and len(open_ones) <= DEEPEST:
            open_ones.append(iter(value.values() if isinstance(value, dict) else value))


def _name(value: object) -> str:
    return f"<{type(value).__name__}>"


def _indenting(indent: int) -> json.JSONEncoder:
    return json.JSONEncoder(ensure_ascii=False, indent=indent, skipkeys=True, default=_name)


_encoder: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), skipkeys=True, default=_name)
