"""Writes text as HTML for front ends without widgets, such as GitHub: it needs no style, no script and no colour.

Text from outside is escaped and cut: it never becomes markup, nor a terminal's control sequence.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection
from html import escape
from typing import Final

from ...media import cut

MAX_CELL_LENGTH: Final = 200
MAX_HEADER_LENGTH: Final = 60
MAX_UNBROKEN_CAPTION: Final = 40

# Joiners hold emoji together; every other invisible character can reverse the order of a line.
_INVISIBLE: Final = re.compile(
    r"[^\S ]|[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
_TABLE: Final = "border-collapse:collapse;font-variant-numeric:tabular-nums"
_NUMBER: Final = "padding:2px 8px;text-align:right"
_TEXT: Final = "padding:2px 8px;text-align:left"


def plain(string: str, max_length: int = MAX_HEADER_LENGTH) -> str:
    """Return `string` on one line of at most `max_length` characters, without invisible characters."""
    return cut(_INVISIBLE.sub(" ", string[: max_length + 1]), max_length).strip()


def escaped(string: str, max_length: int | None = None) -> str:
    """Return a text as HTML, also inside an attribute; `plain` first if `max_length` is given."""
    return escape(string if max_length is None else plain(string, max_length), quote=True)


def table(caption: str, names: list[str], cells: list[list[str]], *, numbers: Collection[int]) -> str:
    """Return a table of plain texts, which are escaped here; the columns `numbers` are aligned to the right."""
    styles = [_NUMBER if column in numbers else _TEXT for column in range(len(names))]
    head = "".join(
        f'<th scope="col" style="{style}">{escaped(name, MAX_HEADER_LENGTH)}</th>'
        for name, style in zip(names, styles, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td dir="auto" style="{style}">{escaped(cell, MAX_CELL_LENGTH)}</td>'
            for cell, style in zip(row, styles, strict=True)
        )
        + "</tr>"
        for row in cells
    )
    # A caption is no wider than its table: a short one would be broken over a table of one number.
    style = "text-align:left" + (";white-space:nowrap" if len(caption) <= MAX_UNBROKEN_CAPTION else "")
    caption = f'<caption style="{style}">{escaped(caption, MAX_CELL_LENGTH)}</caption>'
    return f'<table style="{_TABLE}">{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def data_url(media_type: str, content: bytes) -> str:
    """Return a file as a ``data:`` URL."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
