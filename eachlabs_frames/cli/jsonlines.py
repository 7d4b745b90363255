"""Parses and writes JSON lines. It opens no file.

The text of each line and cell is kept, so that numbers keep all digits and unchanged cells are written as they were.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, NoReturn


class JsonCell(NamedTuple):
    """A cell of a line: its value, its text and the position of its end."""

    value: Any
    written: str
    end: int


class JsonLine(NamedTuple):
    """A row: the number and text of its line, and its cells by name."""

    number: int
    text: str
    members: Mapping[str, JsonCell]


def _refuse(constant: str) -> NoReturn:
    msg = f"{constant} is not a JSON value"
    raise ValueError(msg)


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)
_SPACE: Final = re.compile(r"[ \t\r\n]*")


def lines(text: str) -> Iterator[JsonLine]:
    """Yield the rows. Blank lines are skipped.

    Raises
    ------
    ValueError
        A line is not a JSON object; the message begins with the line number.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.strip(" \t\r")
        if not bare:
            continue
        if not bare.startswith("{"):
            msg = f"line {number} is not a JSON object: each line is a row, such as {{...}}"
            raise ValueError(msg)
        try:
            yield JsonLine(number, bare, _members(bare))
        except json.JSONDecodeError as exc:
            msg = f"line {number} is not JSON: {exc.msg} at column {exc.colno}"
            raise ValueError(msg) from exc
        except RecursionError as exc:
            msg = f"line {number}: values are nested too deeply"
            raise ValueError(msg) from exc
        except ValueError as exc:  # such as a number with thousands of digits
            msg = f"line {number}: {exc}"
            raise ValueError(msg) from exc


def _members(text: str) -> dict[str, JsonCell]:
    """Parse an object member by member, because `json` does not return the positions of values."""
    members: dict[str, JsonCell] = {}
    place = _after(text, 1)
    closed = text.startswith("}", place)
    while not closed:
        name, place = _name(text, place)
        if name in members:
            msg = f"the key {name!r} occurs twice"
            raise ValueError(msg)
        place = _after(text, _expect(text, _after(text, place), ":"))
        value, end = _DECODER.raw_decode(text, place)
        members[name] = JsonCell(value, text[place:end], end)
        place = _after(text, end)
        closed = text.startswith("}", place)
        if not closed:
            place = _after(text, _expect(text, place, ","))
    if place + 1 < len(text):
        msg = "Extra data"
        raise json.JSONDecodeError(msg, text, _after(text, place + 1))
    return members


def _name(text: str, place: int) -> tuple[str, int]:
    if not text.startswith('"', place):
        msg = "Expecting property name enclosed in double quotes"
        raise json.JSONDecodeError(msg, text, place)
    name, end = _DECODER.raw_decode(text, place)
    return name, end


def _expect(text: str, place: int, mark: str) -> int:
    if not text.startswith(mark, place):
        msg = f"Expecting {mark!r} delimiter"
        raise json.JSONDecodeError(msg, text, place)
    return place + 1


def _after(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    assert match is not None  # the pattern matches an empty text
    return match.end()


def extended(head: str, cells: Mapping[str, str]) -> str:
    """Return a line that begins with `head` and has more cells.

    Parameters
    ----------
    head : str
        The text of an object up to the end of a cell, or "{".
    cells : mapping of str to str
        The cells to append, as JSON text by name.
    """
    more = ", ".join(f"{dumped(name)}: {cell}" for name, cell in cells.items())
    return f"{head}{', ' if more and head != '{' else ''}{more}}}"


def dumped(cell: Any) -> str:
    """Return a cell as JSON text."""
    return json.dumps(plain(cell), ensure_ascii=False)


def plain(value: Any) -> Any:
    """Return a cell as a JSON value: None for missing values, a string for types that JSON does not have."""
    import pandas as pd

    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)
