"""Records the file that a frame was read from: the original text of its cells and lines.

It is stored in ``df.attrs`` within one process, and says that text cells may be numbers in the schema: files have
only text. It opens no file, and never changes a cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ..inputs.schema import commonest
from .rows import quoted_label
from .table import Frame

ATTRS: Final = "eachlabs_file"


class RowText(NamedTuple):
    """The text of a row in a file, and the end of each of its cells in that text."""

    text: str
    ends: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True, eq=False)
class SourceFile:
    """A file as it was read.

    Attributes
    ----------
    name : str
        As the user passed it.
    suffix : str
        Its format, as a file suffix.
    lines : sequence of int
        The line on which each row begins; empty if the format has no lines.
    values : mapping of str to sequence
        The cells of each column, as in the frame.
    written : mapping of str to sequence of str or None
        The text of each of these cells in the file; None if the row has no such cell.
    header : mapping of str to str
        The text of each column's name in the file.
    rows : sequence of RowText
        Each row's text, for formats in which each row names its columns.
    newline : str
        The line ending.
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
        """Return itself: pandas copies ``attrs`` with every new frame, and the object is immutable."""
        return self

    def holds(self, name: str, row: int, cell: object) -> bool:
        """Return whether `cell` is unchanged from the file in this row and column."""
        column = self.values.get(name)
        if column is None or row >= len(column):
            return False
        original = column[row]
        return cell is original or (type(cell) is type(original) and type(cell) in _COMPARED and cell == original)


_COMPARED: Final = (str, int, bool)


def of(frame: Frame) -> SourceFile | None:
    """Return the file that a frame was read from, or None."""
    file = frame.attrs.get(ATTRS)
    return file if isinstance(file, SourceFile) else None


def place(frame: Frame, position: int) -> str:
    """Return the name of a row for a message: its line or row in the source file, else its index label."""
    file = of(frame)
    if file is not None and position < len(file.lines):
        return f"{file.name}, line {file.lines[position]}"
    row = f"row {quoted_label(frame.index, position)}"
    return row if file is None else f"{file.name}, {row}"


def commonest_problem(problems: Mapping[int, str], frame: Frame) -> str:
    """Return the most frequent of these problems, by position, with the number of its rows and the first of them."""
    reason, count = commonest(problems.values())
    position = next(position for position, problem in problems.items() if problem == reason)
    rows = "row" if count == 1 else "rows"
    share = "" if count == len(problems) else f" (the most common reason, of {count:,} {rows})"
    return f"{reason}{share}, as in {place(frame, position)}"
