"""Finds local paths in inputs where the workflow expects a URL.

Decides which keys of an input hold URLs and which texts may be paths. It never reads the disk: the caller passes a
function that checks whether a file exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ..models import Json
from .encoding import LocalFileCheck, Problem, Row
from .file_cells import is_file_name
from .file_values import SCHEME
from .mapping import Column, Fields, RowFunction
from .schema import uri_keys

MAX_PATH: Final = 4096
"""Bytes of a path, at most (Linux, ``PATH_MAX``)."""
MAX_SHOWN: Final = 80
MAX_CACHED: Final = 10_000
"""Size of the cache of checked texts: a sweep has the same image in many rows."""

_REMOTE: Final = ("http://", "https://", "data:", "//", "\\\\")
"""Texts that begin so are never checked: on Windows, to look for ``//host/a.png`` would be a request to that host."""


def local_file_check(
    fields: Fields | RowFunction, schema: Mapping[str, Json] | None, is_file: Callable[[str], bool]
) -> LocalFileCheck | None:
    """Return a function that finds the first local file in an input; None if no key of these inputs holds URLs.

    A key holds URLs if its name, or that of the column it is filled from, ends in ``_url``, ``image`` or a similar
    ending, or if the schema gives it a URI format.

    Parameters
    ----------
    fields : Fields or callable
        What fills each key.
    schema : mapping or None
        The workflow's input schema.
    is_file : callable
        Returns whether a path is that of a file on this machine.
    """
    by_schema = uri_keys(schema)
    if callable(fields):
        return _check(lambda row: [key for key in row if key in by_schema or is_file_name(key)], is_file)
    keys = [key for key, source in fields.items() if key in by_schema or is_file_name(key) or _is_url_column(source)]
    return _check(lambda row: [key for key in keys if key in row], is_file) if keys else None


def _check(keys_of: Callable[[Row], list[str]], is_file: Callable[[str], bool]) -> LocalFileCheck:
    checked: dict[str, bool] = {}

    def is_local(text: str) -> bool:
        if text[:5].lower() == "file:":
            return True
        if not may_be_path(text):
            return False
        if text not in checked:
            if len(checked) >= MAX_CACHED:
                checked.clear()
            checked[text] = is_file(text)
        return checked[text]

    def check(row: Row) -> Problem | None:
        for key in keys_of(row):
            for text in _texts(row[key]):
                if is_local(text):
                    shown = text if len(text) <= MAX_SHOWN else f"...{text[-MAX_SHOWN:]}"
                    return Problem(
                        f"{shown!r} is a local file, which a workflow cannot read: to upload it and send its URL, "
                        f"write inputs={{{key!r}: ef.file('column')}} (validate=False sends the text as it is)",
                        f"key {key!r}",
                    )
        return None

    return check


def may_be_path(text: str) -> bool:
    """Return whether a text may be a path, without access to the disk."""
    is_remote = text[:8].lower().startswith(_REMOTE) or text.startswith(SCHEME)
    return 0 < len(text) < MAX_PATH and not is_remote and text.isprintable()


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, str):
                yield item


def _is_url_column(source: Any) -> bool:
    return isinstance(source, Column) and isinstance(source.label, str) and is_file_name(source.label)
