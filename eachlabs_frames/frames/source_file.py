"""Records the file that a frame was read from: the original text of its cells and lines.

It travels in ``df.attrs`` within one process, and tells that the frame's text is a file's: what the schema calls a
number is text only because a file has nothing else. It opens no file, and never changes a cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import pandas as pd

from .rows import quoted_label

ATTRS: Final = "eachlabs_file"


class RowText(NamedTuple):
    """A row as it stands in a file: its text, and where in it each of its cells ends."""

    text: str
    ends: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True, eq=False)
class SourceFile:
    """A file as it was read.

    Attributes
    ----------
    name : str
        As the user has named it.
    suffix : str
        Its format.
    lines : sequence of int
        The line on which each row begins; empty where the format has no lines.
    values : mapping of str to sequence
        The cells of each column, as the frame has them.
    written : mapping of str to sequence of str or None
        How each of these cells is written in the file; None where the row has no such cell.
    header : mapping of str to str
        How each column's name is written in the file.
    rows : sequence of RowText
        Each row's text, of a format in which each row names its own columns.
    newline : str
        What ends a line.
    marked : bool
        Whether the file begins with a byte order mark.
    """

    name: str
    suffix: str
    lines: Sequence[int] = ()
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    written: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    header: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[RowText] = ()
    newline: str = "\n"
    marked: bool = False

    def __deepcopy__(self, memo: object) -> SourceFile:
        """Return itself: pandas copies ``attrs`` with every new frame, and nothing here ever changes."""
        return self

    def holds(self, name: str, row: int, cell: object) -> bool:
        """Say whether `cell` is still what the file has in this row and column."""
        column = self.values.get(name)
        if column is None or row >= len(column):
            return False
        read = column[row]
        return cell is read or (type(cell) is type(read) and type(cell) in _COMPARED and cell == read)


_COMPARED: Final = (str, int, bool)


def of(frame: pd.DataFrame) -> SourceFile | None:
    """Return the file that a frame was read from, or None."""
    found = frame.attrs.get(ATTRS)
    return found if isinstance(found, SourceFile) else None


def place(frame: pd.DataFrame, position: int) -> str:
    """Return the name of a row for a message: its line in the file that it came from, else its index label."""
    file = of(frame)
    if file is not None and position < len(file.lines):
        return f"{file.name}, line {file.lines[position]}"
    return f"row {quoted_label(frame.index, position)}"
