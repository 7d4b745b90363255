"""JSON lines: text <-> rows of cells. It opens no file.

A number keeps all of its digits, and each line is kept as it stands, so that what nobody changes is written as it was.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, NoReturn


class JsonCell(NamedTuple):
    """One cell of a line: its value, how it is written, and where on the line it ends."""

    value: Any
    written: str
    end: int


class JsonLine(NamedTuple):
    """One row: its line's number and text, and its cells by name."""

    number: int
    text: str
    members: Mapping[str, JsonCell]


def _refuse(constant: str) -> NoReturn:
    msg = f"{constant} is not a JSON value"
    raise ValueError(msg)


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)
_SPACE: Final = re.compile(r"[ \t\r\n]*")


def lines(text: str) -> Iterator[JsonLine]:
    """Yield the rows. Blank lines are none.

    Raises
    ------
    ValueError
        A line is no JSON object; the message begins with the line.
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
        except ValueError as exc:  # a number of thousands of digits among them
            msg = f"line {number}: {exc}"
            raise ValueError(msg) from exc


def _members(text: str) -> dict[str, JsonCell]:
    """Read one object. Member by member, because Python's reader does not say where a value stands."""
    found: dict[str, JsonCell] = {}
    place = _after(text, 1)
    closed = text.startswith("}", place)
    while not closed:
        name, place = _name(text, place)
        if name in found:
            msg = f"the key {name!r} occurs twice"
            raise ValueError(msg)
        place = _after(text, _expect(text, _after(text, place), ":"))
        value, end = _DECODER.raw_decode(text, place)
        found[name] = JsonCell(value, text[place:end], end)
        place = _after(text, end)
        closed = text.startswith("}", place)
        if not closed:
            place = _after(text, _expect(text, place, ","))
    if place + 1 < len(text):
        msg = "Extra data"
        raise json.JSONDecodeError(msg, text, _after(text, place + 1))
    return found


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
    found = _SPACE.match(text, place)
    assert found is not None  # it matches nothing, too
    return found.end()


def extended(head: str, cells: Mapping[str, str]) -> str:
    """Return the line that begins with `head` and goes on with more cells.

    Parameters
    ----------
    head : str
        An object up to the end of a cell; "{" where it has none yet.
    cells : mapping of str to str
        What follows: names, and cells as they are written.
    """
    more = ", ".join(f"{dumped(name)}: {cell}" for name, cell in cells.items())
    return f"{head}{', ' if more and head != '{' else ''}{more}}}"


def dumped(cell: Any) -> str:
    """Return how a cell is written."""
    return json.dumps(plain(cell), ensure_ascii=False)


def plain(value: Any) -> Any:
    """Return a cell as JSON knows it: null for what is missing, text for what JSON has no value for."""
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
