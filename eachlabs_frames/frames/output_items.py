"""An output -> its pieces, one a line; an object -> its keys, one a column. Nothing of an output is lost on the way.

Never trusts it: an output comes from outside, and may be anything that JSON can say, however deep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from ..media import MAX_DEPTH, kind_of
from ..models import Json

Path: TypeAlias = tuple[str, ...]

JSON: Final = "json"


class OutputItem(NamedTuple):
    """One result of an output.

    Attributes
    ----------
    kind : str
        Of a URL what it may be shown as ("image", "video", "audio", "link"); else "text", "number", "boolean", "json".
    value : JSON value
        The piece itself: a URL, a text, a number, an object.
    url : str or None
        The URL that the piece is, or that its object holds.
    key : str or None
        Where in the output the piece or its URL stands, as in ``images.0.url``; None where it is the whole output.
    """

    kind: str
    value: Json
    url: str | None = None
    key: str | None = None


def pieces(output: Json) -> list[OutputItem]:
    """Return the pieces of an output, in their order; none where there is none.

    A list gives the pieces of each of its values, unless it holds nothing but numbers, which is one value, a vector
    or a box. An object is a piece for each URL in it, each with the whole object, or one piece where it holds none.
    The URLs are those of `media.urls`, each once, in the same order.
    """
    return [] if output is None else list(_split(output, (), 1))


def _split(value: Json, path: Path, level: int) -> Iterator[OutputItem]:
    if level <= MAX_DEPTH and isinstance(value, list | tuple) and not _is_vector(value):
        for number, one in enumerate(value):
            yield from _split(one, (*path, str(number)), level + 1)
    elif level <= MAX_DEPTH and isinstance(value, dict):
        found = False
        for kind, url, key in _urls(value, path, level):
            found = True
            yield OutputItem(kind, value, url, key)
        if not found:
            yield OutputItem(JSON, value, None, _key(path))
    else:
        yield _single(value, path)


def _is_vector(values: Sequence[Json]) -> bool:
    return not any(isinstance(one, str | dict | list | tuple) for one in values)


def _single(value: Json, path: Path) -> OutputItem:
    if isinstance(value, str):
        kind = kind_of(value, any_length=True)
        return OutputItem(kind, value, None if kind == "text" else value, _key(path))
    kind_of_value = "boolean" if isinstance(value, bool) else "number" if isinstance(value, int | float) else JSON
    return OutputItem(kind_of_value, value, None, _key(path))


def _urls(value: Json, path: Path, level: int) -> Iterator[tuple[str, str, str | None]]:
    """Yield each URL inside of `value`: its kind, itself, and where it stands."""
    if isinstance(value, str):
        kind = kind_of(value, any_length=True)
        if kind != "text":
            yield kind, value, _key(path)
    elif isinstance(value, dict | list | tuple) and level <= MAX_DEPTH:
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _urls(one, (*path, str(name)), level + 1)


def _key(path: Path) -> str | None:
    return ".".join(path) if path else None


def leaves(value: Any) -> dict[Path, Json]:
    """Return what an object holds by the path of its keys: of objects inside of it their own keys, a list as it is."""
    return dict(_leaves(value, (), 1)) if isinstance(value, dict) else {}


def _leaves(value: dict[Any, Json], path: Path, level: int) -> Iterator[tuple[Path, Json]]:
    for name, one in value.items():
        inner = (*path, str(name))
        if isinstance(one, dict) and one and level < MAX_DEPTH:
            yield from _leaves(one, inner, level + 1)
        else:
            yield inner, one
