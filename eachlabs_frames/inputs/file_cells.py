"""Replaces the files in cells by their references, before the cells become JSON.

Decides which cells are files: by their type, by the key, or because the mapping says `file`. It never opens a file: the
caller passes a `FileReader`. A file that cannot be used leaves a text with the reason, which makes its row invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from .file_values import (
    SCHEME,
    UNUSABLE,
    FileReader,
    RootedPath,
    UnusableFileError,
    is_file_type,
    is_file_value,
)
from .json_values import MISSING, RefusedValueError, clean_local
from .mapping import File

MAX_DATA_URL: Final = 10_000_000
"""Characters of a ``data:`` URL."""
MAX_DEPTH: Final = 8
"""Lists and dicts in each other in which files are searched for."""

_URL_SUFFIXES: Final = ("_url", "_urls", "_uri", "_uris")
_URL_NAMES: Final = frozenset({"url", "urls", "uri", "uris"})
_MEDIA_SUFFIXES: Final = tuple(f"{media}{plural}" for media in ("image", "video", "audio") for plural in ("", "s"))
_AMBIGUOUS: Final = (Path, bytes, bytearray, memoryview)
_WEB: Final = ("http://", "https://")
_MAX_SCHEME: Final = 8


def is_url_name(name: str) -> bool:
    """Return whether a name says that the values are URLs."""
    folded = name.casefold()
    return folded.endswith(_URL_SUFFIXES) or folded in _URL_NAMES


def is_file_name(name: str) -> bool:
    """Return whether a key's name says that its values are files, so that a path there is one."""
    return is_url_name(name) or name.casefold().endswith(_MEDIA_SUFFIXES)


@dataclass(frozen=True, slots=True)
class FileCells:
    """The files in the cells of one call.

    Attributes
    ----------
    read : FileReader
    uri_keys : frozenset of str
        Keys whose values are URIs by the schema.
    array_keys : frozenset of str
        Keys whose values are arrays of other things by the schema: an array there is no image.
    checks_urls : bool
        Whether URLs in cells of these keys are checked although they are no files.
    any_key : bool
        Whether paths and bytes are files in every key: the cells are known to have been sent.
    images_are_arrays : bool
        Whether an image array is sent as numbers in every key.
    read_ahead : callable
        Called with paths that `read` will soon get, in that order.
    """

    read: FileReader
    uri_keys: frozenset[str] = frozenset()
    array_keys: frozenset[str] = frozenset()
    checks_urls: bool = False
    any_key: bool = False
    images_are_arrays: bool = False
    read_ahead: Callable[[Iterable[Path | RootedPath]], object] = lambda _: None

    def replaced(self, key: str, cells: Sequence[Any], types: set[type]) -> Sequence[Any]:
        """Return the cells of a key with references for files; `types` are those of the cells."""
        kinds = {kind for kind in types if may_hold_file(kind)}
        if self.checks_urls and str in types and self._is_url_key(key) and _may_be_refused(cells):
            cells = [checked_url(cell) if type(cell) is str else cell for cell in cells]
        if not kinds:
            return cells
        if self._is_file_key(key):
            self.read_ahead(cell for cell in cells if isinstance(cell, Path))
        return [self.cell(key, cell) if type(cell) in kinds else cell for cell in cells]

    def cell(self, key: str, value: Any, depth: int = 0) -> Any:
        """Return a cell with references for the files in it.

        Paths and bytes stay where nothing says that they are files: they may be meant as text.
        """
        kind: Any = type(value)
        if not may_hold_file(kind) or depth > MAX_DEPTH:
            return value
        if _is_list(value):
            items = [self.cell(key, item, depth + 1) for item in value]
            return items if any(map(_is_other, items, value)) else value
        if isinstance(value, Mapping):
            return self._mapping(key, value, depth)
        if isinstance(value, np.ndarray):
            return self._reference(value) if self._is_image(key, value) else value
        if isinstance(value, _AMBIGUOUS) and not self._is_file_key(key):
            return value
        return self._reference(value) if is_file_value(value) else value

    def files(self, cells: Sequence[Any], root: Path | None) -> list[Any]:
        """Return the cells of a `file` source with references: see `file`."""
        named = (_named(cell, root) for cell in cells if isinstance(cell, str))
        self.read_ahead(path for path in named if not isinstance(path, str))
        return [self.file(cell, root) for cell in cells]

    def file(self, value: Any, root: Path | None, depth: int = 0) -> Any:
        """Return a cell of a `file` source, where text is the name of a file, with references for the files in it."""
        if isinstance(value, str):
            return self._text(value, root)
        if _is_list(value) and depth <= MAX_DEPTH:
            return [self.file(item, root, depth + 1) for item in value]
        if isinstance(value, Path) and root is not None:
            return self._reference(RootedPath(root, str(value)))
        if isinstance(value, np.ndarray) or is_file_value(value):
            return self._reference(value)
        try:
            is_missing = clean_local(value) is MISSING
        except RefusedValueError:
            is_missing = False
        if is_missing:
            return value
        return (
            f"{UNUSABLE}a value of type {type(value).__name__} is no file: pass a path, bytes, an image or an open file"
        )

    def returned(self, key: str, value: Any) -> Any:
        """Return a value of a row function's dict with references for the files in it."""
        if isinstance(value, File):
            return self.file(value.source, value.root) if isinstance(value.source, Path) else value
        if self.checks_urls and type(value) is str and self._is_url_key(key):
            return checked_url(value)
        return self.cell(key, value)

    def _mapping(self, key: str, value: Mapping[Any, Any], depth: int) -> Any:
        """Return a dict; the nearest key says whether a path is a file."""
        items = {
            name: self.cell(name if isinstance(name, str) else key, item, depth + 1) for name, item in value.items()
        }
        return items if any(map(_is_other, items.values(), value.values())) else value

    def _text(self, text: str, root: Path | None) -> str:
        named = _named(text, root)
        return named if isinstance(named, str) else self._reference(named)

    def _reference(self, value: object) -> str:
        try:
            return self.read(value)
        except UnusableFileError as exc:
            return f"{UNUSABLE}{exc.reason}"

    def _is_url_key(self, key: str) -> bool:
        return key in self.uri_keys or is_url_name(key)

    def _is_file_key(self, key: str) -> bool:
        return self.any_key or key in self.uri_keys or is_file_name(key)

    def _is_image(self, key: str, value: np.ndarray[Any, Any]) -> bool:
        """Return whether an array is an image, or is meant to be one because the key takes URLs."""
        if self.images_are_arrays or key in self.array_keys:
            return False
        return is_file_value(value) or (value.ndim > 1 and self._is_url_key(key))


@lru_cache(maxsize=1024)
def may_hold_file(kind: Any) -> bool:
    """Return whether values of a type are files, or may contain files."""
    return issubclass(kind, np.ndarray | list | tuple | Mapping) or is_file_type(kind)


def checked_url(text: str) -> str:
    """Return a text, or the reason why it cannot be used: a password in a URL, or a ``data:`` URL that is too long."""
    start = text[:_MAX_SCHEME].lower()
    if start.startswith("data:"):
        if len(text) <= MAX_DATA_URL:
            return text
        size = f"a data: URL of {len(text) / 1e6:.1f} MB is longer than the limit of {MAX_DATA_URL / 1e6:.0f} MB"
        return f"{UNUSABLE}{size}: write the data to a file and pass its path"
    if not start.startswith(_WEB) or "@" not in text:
        return text
    try:
        parts = urlsplit(text)
        host, password = parts.hostname, parts.password
    except ValueError:
        return f"{UNUSABLE}a URL that cannot be parsed"
    if password is None:
        return text
    return f"{UNUSABLE}the URL of {host!r} contains a password, which the workflow and the journal would get: remove it"


def _named(text: str, root: Path | None) -> Path | RootedPath | str:
    """Return the file that a text of a `file` source names; a URL as it is; or the reason why it is none of them."""
    if text.startswith(SCHEME):
        return text  # of `load_run`
    if text[:_MAX_SCHEME].lower().startswith((*_WEB, "data:")):
        return checked_url(text)
    if not text.strip():
        return f"{UNUSABLE}the name of the file is empty"
    if text[:_MAX_SCHEME].lower().startswith("file:"):
        return f"{UNUSABLE}{text!r}: write the path of the file, without file:"
    return Path(text).expanduser() if root is None else RootedPath(root, text)


def _may_be_refused(cells: Sequence[Any]) -> bool:
    """Return whether `checked_url` may refuse one of these cells: one search of all texts, instead of one of each."""
    texts = "".join([cell for cell in cells if type(cell) is str])
    return "@" in texts or len(texts) > MAX_DATA_URL


def _is_list(value: object) -> bool:
    """Return whether a value is a list, or an array that pandas or Arrow makes of one."""
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype.kind in "OUS")


def _is_other(new: object, old: object) -> bool:
    return new is not old
