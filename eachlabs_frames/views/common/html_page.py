"""A view as a file: one HTML page that needs no network, no notebook and no kernel, and runs no script but the view's.

What the page shows is data in it, never markup: it is escaped so that no text can end the element that holds it, and
the page's own policy forbids whatever is not named there. It is written piece by piece: a page may hold many pictures.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Final, TypeAlias

import orjson

from ...errors import ConfigurationError
from ...models import Json
from . import assets

PageFile: TypeAlias = tuple[int, int, str, bytes]
"""An embedded file: its row, its number among the URLs of the row's output, its media type, and its content."""

EXPORT: Final = "export default "
_LINES: Final = {"\u2028": "\\u2028", "\u2029": "\\u2029", "<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
_STYLE: Final = """
html { color-scheme: light dark; }
body { max-width: 1600px; margin: 0 auto; padding: 16px; background: Canvas; }
"""


def page(title: str, *, script: str, style: str, state: Mapping[str, Json], files: Iterable[PageFile] = ()) -> str:
    """Return the page as a text; see `write` for what it is made of."""
    return "".join(_parts(title, script, style, state, files))


def write(
    path: Path, title: str, *, script: str, style: str, state: Mapping[str, Json], files: Iterable[PageFile] = ()
) -> Path:
    """Write a page into a file, whole or not at all, and return its path.

    Parameters
    ----------
    path : Path
        A file that is there is written over.
    title : str
        The page's, as a text.
    script, style : str
        The view's, as `assets` joins them: a module whose default export gives ``initialize`` and ``render``, which
        are called with ``{model, el, files}``.
    state : mapping of str to JSON
        What the view's model holds.
    files : iterable of File
        Asked for one after the other as the page is written.

    Raises
    ------
    ConfigurationError
        `path` is a folder, or lies in one that is not there.
    """
    with whole(path) as written, written.open("x", encoding="utf-8", errors="replace", newline="\n") as out:
        out.writelines(_parts(title, script, style, state, files))
    return path


def check_suffix(path: Path, view: str, *suffixes: str) -> str:
    """Return a path's suffix in lower case (of .htm: .html), where a view can be saved as that.

    A folder passes: it is refused when it is written to.

    Parameters
    ----------
    path : Path
    view : str
        What is to be saved, such as "gallery".
    suffixes : str
        Those that it can be saved as.

    Raises
    ------
    ConfigurationError
        It is none of `suffixes`.
    """
    suffix = ".html" if path.suffix.lower() == ".htm" else path.suffix.lower()
    if suffix not in suffixes and not path.is_dir():
        msg = f"a {view} is saved as {' or '.join(suffixes)}; got {str(path)!r}"
        raise ConfigurationError(msg)
    return suffix


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Have a file written beside `path`, and put into its place when that is done: whole, or not at all.

    Raises
    ------
    ConfigurationError
        `path` is a folder, or lies in one that is not there.
    """
    if path.is_dir() or not path.parent.is_dir():
        why = (
            "is a folder: name a file in it, as in 'sheet.html'" if path.is_dir() else "lies in no folder that is there"
        )
        msg = f"{str(path)!r} {why}"
        raise ConfigurationError(msg)
    written = path.with_name(f".{path.name[:40]}-{secrets.token_hex(4)}.part")
    try:
        yield written
        written.replace(path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise


def _parts(title: str, script: str, style: str, state: Mapping[str, Json], files: Iterable[PageFile]) -> Iterator[str]:
    runs = _module(script)
    looks = _STYLE + style
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_policy(runs, looks)}">\n'
    yield '<meta name="referrer" content="no-referrer">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{escape(title)}</title>\n<style>{looks}</style>\n</head>\n<body>\n<main></main>\n"
    yield "<noscript>This page shows its results with a script of its own, which is switched off here.</noscript>\n"
    yield f'<script type="application/json" id="eachlabs-state">{_data(state)}</script>\n'
    for row, n, media_type, content in files:
        text = base64.b64encode(content).decode("ascii")
        kind = escape(media_type, quote=True)
        yield f'<script type="text/plain" id="eachlabs-file-{row}-{n}" data-type="{kind}">{text}</script>\n'
    yield f'<script type="module">{runs}</script>\n</body>\n</html>\n'


def _module(script: str) -> str:
    """Return a view's module as one that shows itself: nobody can import from a script in a page."""
    before, found, after = script.rpartition(f"\n{EXPORT}")
    assert found, "the view's script exports no default"
    return f"{before}\nconst view = {after}{assets.script('page')}\nawait showPage(view);\n"


def _policy(script: str, style: str) -> str:
    media = "http: https: data: blob:"
    return (
        f"default-src 'none'; img-src {media}; media-src {media}; script-src '{_digest(script)}'; "
        f"style-src '{_digest(style)}'; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _data(state: Mapping[str, Json]) -> str:
    """Return `state` as JSON in which nothing can be taken for markup."""
    text = orjson.dumps(state).decode()
    for character, written in _LINES.items():
        text = text.replace(character, written)
    return text
