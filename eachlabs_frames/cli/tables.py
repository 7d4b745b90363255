"""Aligned text of what is shown on a terminal. What comes from outside is text: nothing in it is obeyed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from .messages import plain

GAP = "  "


def aligned(header: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: frozenset[str] = frozenset()) -> str:
    """Return a table as lines of text.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequence of object
        None is shown as nothing.
    numbers : frozenset of str
        Columns that are aligned on their right.
    """
    lines = [list(header), *([*map(shown, row)] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        GAP.join(
            " " * (width - _width(cell)) + cell if name in numbers else cell + " " * (width - _width(cell))
            for name, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def shown(cell: object, length: int | None = None) -> str:
    """Return a cell in one line, cut to `length`."""
    text = "" if cell is None else plain(cell)
    return text if length is None or len(text) <= length else f"{text[: length - 1]}…"


def _width(text: str) -> int:
    """Return the columns that a terminal needs for `text`."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else not unicodedata.combining(char) for char in text)
