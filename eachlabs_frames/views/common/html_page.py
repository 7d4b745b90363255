"""A view as a file: one HTML page without network, notebook and kernel, which runs no script but the view's.

The content of the page is data, never markup: it is escaped so that no text can end the element that holds it, and the
page's own policy forbids everything that is not listed there. It is written in pieces, because a page may hold many
images.
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
_ESCAPES: Final = {"\u2028": "\\u2028", "\u2029": "\\u2029", "<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
_STYLE: Final = """
html { color-scheme: light dark; }
body { max-width: 1600px; margin: 0 auto; padding: 16px; background: Canvas; }
"""


def write(
    path: Path, title: str, *, script: str, style: str, state: Mapping[str, Json], files: Iterable[PageFile] = ()
) -> Path:
    """Write a page to a file, completely or not at all, and return its path.

    Parameters
    ----------
    path : Path
        An existing file is replaced.
    title, script, style, state, files
        See `page`.

    Raises
    ------
    ConfigurationError
        `path` is a folder, or its folder does not exist.
    """
    parts = page(title, script=script, style=style, state=state, files=files)
    with atomic(path) as written, written.open("x", encoding="utf-8", errors="replace", newline="\n") as out:
        out.writelines(parts)
    return path


def page(
    title: str, *, script: str, style: str, state: Mapping[str, Json], files: Iterable[PageFile] = ()
) -> Iterator[str]:
    """Yield a page in pieces.

    Parameters
    ----------
    title : str
        As text.
    script, style : str
        Those of the view, as `assets` joins them: a module whose default export has ``initialize`` and ``render``,
        which are called with ``{model, el, files}``.
    state : mapping of str to JSON
        The state of the view's model.
    files : iterable of PageFile
        Read one at a time while the page is written.
    """
    module, sheet = _module(script), _STYLE + style
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_policy(module, sheet)}">\n'
    yield '<meta name="referrer" content="no-referrer">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{escape(title)}</title>\n<style>{sheet}</style>\n</head>\n<body>\n<main></main>\n"
    yield "<noscript>This page shows its results with a script of its own, which is switched off here.</noscript>\n"
    yield f'<script type="application/json" id="eachlabs-state">{_data(state)}</script>\n'
    for row, n, media_type, content in files:
        text = base64.b64encode(content).decode("ascii")
        kind = escape(media_type, quote=True)
        yield f'<script type="text/plain" id="eachlabs-file-{row}-{n}" data-type="{kind}">{text}</script>\n'
    yield f'<script type="module">{module}</script>\n</body>\n</html>\n'


def check_suffix(path: Path, view: str, *suffixes: str) -> str:
    """Return a path's suffix in lower case (".html" for .htm) if `view` can be saved with it.

    A folder passes: it is refused when it is written to.

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
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces it at the end unless an exception is raised.

    Raises
    ------
    ConfigurationError
        `path` is a folder, or its folder does not exist.
    """
    if path.is_dir() or not path.parent.is_dir():
        why = (
            "is a folder: name a file in it, as in 'sheet.html'"
            if path.is_dir()
            else "is in a folder that does not exist"
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


def _module(script: str) -> str:
    """Return a view's module as one that renders itself, because nothing can import a script in a page."""
    before, export, after = script.rpartition(f"\n{EXPORT}")
    assert export, "the view's script exports no default"
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
    """Return `state` as JSON that contains no markup."""
    text = orjson.dumps(state).decode()
    for character, escaped in _ESCAPES.items():
        text = text.replace(character, escaped)
    return text
