"""Parses and writes CSV (RFC 4180) and TSV (IANA's text/tab-separated-values). It opens no file.

Every cell is text. Invalid input is an error with its line, because a lenient parser guesses: Python's csv module, for
example, reads the lines after a lone quote as one cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

COMMA: Final = ","
TAB: Final = "\t"

_CELL: Final = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|\r?\n|\Z)')
_QUOTED: Final = re.compile(r'"[^"]*(?:""[^"]*)*"')
_UNQUOTED: Final = re.compile(r'[^",\r\n]*')
_SPECIAL: Final = re.compile(r'[",\r\n]')
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+\Z")
_BREAKS_TSV: Final = re.compile(r"[\t\r\n]")


class CsvRecord(NamedTuple):
    """A record: the number of its first line, its cells, and the text of each cell."""

    line: int
    cells: Sequence[str]
    written: Sequence[str]


def records(text: str, separator: str) -> Iterator[CsvRecord]:
    """Yield the header and the rows of a table, each with as many cells as the header.

    Parameters
    ----------
    text : str
        The whole file, without its byte order mark. Lines end with LF or CRLF.
    separator : str
        `COMMA` or `TAB`.

    Raises
    ------
    ValueError
        The text is not valid in this format; the message begins with the line number.
    """
    if "\0" in text:
        msg = f"line {_line_of(text, text.index(chr(0)))}: a NUL character: save the file as UTF-8 text"
        raise ValueError(msg)
    width: int | None = None
    for record in _csv(text) if separator == COMMA else _tsv(text):
        if width is None:
            width = len(record.cells)
        if record.written == [""]:
            hint = ', or write "" where the only cell of a row is empty' if width == 1 and separator == COMMA else ""
            msg = f"line {record.line} is empty: delete it{hint}"
            raise ValueError(msg)
        if len(record.cells) != width:
            count = len(record.cells)
            if count < width:
                advice = f"add the missing cells, each after a {'comma' if separator == COMMA else 'tab'}"
            else:
                advice = "quote cells that contain a comma" if separator == COMMA else "remove the tabs inside of cells"
            msg = f"line {record.line} has {_cells(count)}, but the header has {width}: {advice}"
            raise ValueError(msg)
        yield record
    if width is None:
        msg = "the file is empty: the first line must name the columns"
        raise ValueError(msg)


def _csv(text: str) -> Iterator[CsvRecord]:
    start, line = 0, 1
    while start < len(text):
        end = text.find("\n", start)
        plain = text[start:] if end < 0 else text[start:end].removesuffix("\r")
        if '"' in plain or "\r" in plain:
            cells, written, end = _quoted_record(text, start)
            yield CsvRecord(line, cells, written)
            line += text.count("\n", start, end)
            start = end
        else:
            cells = plain.split(COMMA)
            yield CsvRecord(line, cells, cells)
            start, line = (len(text) if end < 0 else end + 1), line + 1


def _quoted_record(text: str, start: int) -> tuple[list[str], list[str], int]:
    """Return the cells of a record, the text of each, and the position of the next record."""
    cells: list[str] = []
    written: list[str] = []
    place = start
    while True:
        match = _CELL.match(text, place)
        if match is None:
            raise ValueError(_fault(text, place, len(cells) + 1))
        quoted, plain, end = match.groups()
        cells.append(plain if quoted is None else quoted.replace('""', '"'))
        written.append(match.group()[: len(match.group()) - len(end)])
        place = match.end()
        if end != COMMA:
            return cells, written, place


def _fault(text: str, start: int, cell: int) -> str:
    """Return the error of the cell that begins at `start`."""
    place = f"line {_line_of(text, start)}, cell {cell}"
    if not text.startswith('"', start):
        match = _UNQUOTED.match(text, start)
        assert match is not None  # the pattern matches an empty text
        if text.startswith("\r", match.end()):
            return f"{place}: a carriage return alone does not end a line: use LF or CRLF, or quote the cell"
        return f"{place}: a quote in an unquoted cell: quote the cell, and double each quote in it"
    closed = _QUOTED.match(text, start)
    if closed is None:
        return f"{place}: the opening quote is never closed"
    place = f"line {_line_of(text, closed.end())}, cell {cell}"
    return f"{place}: text after the closing quote: double each quote within the cell"


def _line_of(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def _tsv(text: str) -> Iterator[CsvRecord]:
    for number, line in enumerate(_LINE.findall(text), start=1):
        plain = line[:-1].removesuffix("\r") if line.endswith("\n") else line
        if "\r" in plain:
            msg = f"line {number}: a carriage return alone does not end a line: use LF or CRLF"
            raise ValueError(msg)
        cells = plain.split(TAB)
        yield CsvRecord(number, cells, cells)


def breaks_tsv(cell: str) -> bool:
    """Return whether TSV cannot hold a cell: it has no quotes or escapes."""
    return _BREAKS_TSV.search(cell) is not None


def written(cell: str, separator: str) -> str:
    """Return the text of a cell in this format.

    Raises
    ------
    ValueError
        A cell of TSV contains a tab or a line break.
    """
    if separator == COMMA:
        return f'"{cell.replace(chr(34), chr(34) * 2)}"' if _SPECIAL.search(cell) else cell
    if breaks_tsv(cell):
        msg = f"a cell with a tab or a line break ({cell[:40]!r})"
        raise ValueError(msg)
    return cell


def joined(cells: Iterable[str], separator: str, newline: str) -> str:
    """Return a record of encoded cells.

    Raises
    ------
    ValueError
        The only cell of a TSV row is empty.
    """
    line = separator.join(cells)
    if line:
        return line + newline
    if separator == COMMA:
        return '""' + newline
    msg = "a row of one empty cell"
    raise ValueError(msg)
