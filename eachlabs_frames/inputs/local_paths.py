"""Finds local paths in inputs where the workflow expects a URL.

Decides which keys of an input hold URLs and which texts may be paths. It never reads the disk: the caller passes a
function that checks whether a file exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ..models import Json
from .encoding import LocalFileCheck, Problem, Row
from .mapping import Column, Fields, RowFunction, properties

MAX_PATH: Final = 4096
"""Bytes of a path, at most (Linux, ``PATH_MAX``)."""
MAX_SHOWN: Final = 80
MAX_CACHED: Final = 10_000
"""Size of the cache of checked texts: a sweep has the same image in many rows."""

_SUFFIXES: Final = ("_url", "_urls", "_uri", "_uris")
_FORMATS: Final = frozenset({"uri", "uri-reference", "iri", "iri-reference", "url"})
_REMOTE: Final = ("http://", "https://", "data:", "//", "\\\\")
"""Texts that begin so are never checked: on Windows, to look for ``//host/a.png`` would be a request to that host."""


def local_file_check(
    fields: Fields | RowFunction, schema: Mapping[str, Json] | None, is_file: Callable[[str], bool]
) -> LocalFileCheck | None:
    """Return a function that finds the first local file in an input; None if no key of these inputs holds URLs.

    A key holds URLs if its name, or that of the column it is filled from, ends in ``_url`` or a similar ending, or if
    the schema gives it a URI format.

    Parameters
    ----------
    fields : Fields or callable
        What fills each key.
    schema : mapping or None
        The workflow's input schema.
    is_file : callable
        Returns whether a path is that of a file on this machine.
    """
    by_schema = frozenset(key for key, rule in properties(schema).items() if _is_uri(rule))
    if callable(fields):
        return _check(lambda row: [key for key in row if key in by_schema or _is_url_name(key)], is_file)
    keys = [key for key, source in fields.items() if key in by_schema or _is_url_name(key) or _is_url_column(source)]
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
                        f"{shown!r} is a local file, which a workflow cannot read: upload it and send its "
                        "URL (validate=False sends the text as it is)",
                        f"key {key!r}",
                    )
        return None

    return check


def may_be_path(text: str) -> bool:
    """Return whether a text may be a path, without access to the disk."""
    return 0 < len(text) < MAX_PATH and not text[:8].lower().startswith(_REMOTE) and text.isprintable()


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, str):
                yield item


def _is_url_name(name: str) -> bool:
    folded = name.casefold()
    return folded.endswith(_SUFFIXES) or folded in ("url", "urls", "uri", "uris")


def _is_url_column(source: Any) -> bool:
    return isinstance(source, Column) and isinstance(source.label, str) and _is_url_name(source.label)


def _is_uri(rule: Json) -> bool:
    """Return whether a schema's rule requires a URI, or a list of them."""
    if not isinstance(rule, Mapping):
        return False
    form = rule.get("format")
    if isinstance(form, str) and form in _FORMATS:
        return True
    listed = [rule.get("anyOf"), rule.get("oneOf")]
    choices = [choice for choices in listed if isinstance(choices, list) for choice in choices]
    return any(_is_uri(part) for part in [rule.get("items"), *choices] if isinstance(part, Mapping))
