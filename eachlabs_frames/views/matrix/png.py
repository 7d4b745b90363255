"""A matrix as a PNG. Owns where things stand and what is drawn of each; never the network.

A picture that was not downloaded, or that cannot be drawn, such as an SVG, is named, with the reason.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from ...errors import ConfigurationError
from ...media import HEAD_BYTES, media_type
from ...models import COMPLETED, FAILED
from ..common import html_page, local_files
from ..common.static_summary import plain
from .canvas import GROUND, INK, SMALL, TEXT, WIDE, Canvas, length, lines_of
from .model import spans, words
from .static import GAP

if TYPE_CHECKING:
    from pathlib import Path

    from ..common.card import Card
    from .colours import Legend
    from .model import CardSource, CellMark, MatrixCell, MatrixTable

MAX_PIXELS: Final = 48_000_000
MAX_SIDE: Final = 2**16 - 1
"""Pixels that matplotlib can draw along one side."""

MIN_CELL: Final = 40
IN_LINE: Final = 4
HEAD: Final = 150
LINE: Final = 16
PAD: Final = 8
BETWEEN: Final = 6
TOP: Final = 40
LEGEND: Final = 250
MAX_LINES: Final = 4
MUTED, SHADE, RED = "#59636e", "#f4f5f7", "#c9252d"


def save(path: Path, table: MatrixTable, source: CardSource) -> Path:
    """Draw a matrix into a PNG file and return its path.

    Raises
    ------
    ConfigurationError
        Matplotlib is not installed, or there are more cells than a picture can show.
    """
    drawing = _Drawing(table, source, _fitting(table))
    drawing.heads()
    for row in range(len(table["cells"])):
        drawing.line(row)
    drawing.foot()
    content = drawing.canvas.png(table["title"], " ".join(drawing.notes))
    with html_page.whole(path) as written:
        written.write_bytes(content)
    return path


# -- where things stand ---------------------------------------------------------------------------------------------


class _Sizes(NamedTuple):
    """Where columns and rows begin, and each level of the columns' headers, in pixels; the last is where they end."""

    picture: int
    columns: Sequence[int]
    rows: Sequence[int]
    levels: Sequence[int]
    width: int
    in_line: int  # slots beside one another
    foot: int  # for what is to be said of the whole

    @property
    def height(self) -> int:
        return self.rows[-1] + PAD + self.foot


def _fitting(table: MatrixTable) -> _Sizes:
    """Return sizes that fit into a picture, with smaller ones of its own where they must be."""
    picture = table["size"]
    while True:
        sizes = _sizes(table, picture)
        if sizes.width * sizes.height <= MAX_PIXELS and max(sizes.width, sizes.height) <= MAX_SIDE:
            return sizes
        if table["kind"] != "cards" or picture <= MIN_CELL:
            rows, columns = len(table["rows"]["places"]), len(table["columns"]["places"])
            taken = f"{rows:,} by {columns:,} cells take {sizes.width:,} by {sizes.height:,} pixels"
            msg = f"{taken}, too many for a picture: save the matrix as .html, or make it of fewer rows and columns"
            raise ConfigurationError(msg)
        picture = max(MIN_CELL, picture * 3 // 4)


def _sizes(table: MatrixTable, picture: int) -> _Sizes:
    in_line = max(1, IN_LINE // max(1, len(table["sides"])))
    columns = [PAD + HEAD * len(table["rows"]["names"])]
    for column in zip(*table["cells"], strict=True):
        columns.append(columns[-1] + max(_cell_width(cell, table, picture, in_line) for cell in column))
    levels = [TOP]
    for level in range(len(table["columns"]["names"])):
        spans_ = spans(table["columns"]["places"], level)
        lines = max((lines_of(text, columns[end] - columns[start]) for start, end, text in spans_), default=1)
        levels.append(levels[-1] + LINE * min(lines, MAX_LINES) + PAD)
    rows = [levels[-1] + (LINE + 4 if table["sides"] else 0)]
    for place, cells in zip(table["rows"]["places"], table["cells"], strict=True):
        head = 2 * PAD + LINE * min(MAX_LINES, lines_of(place[-1], HEAD))
        rows.append(rows[-1] + max(head, *(_cell_height(cell, table, picture, in_line) for cell in cells)))
    title = 2 * PAD + int(length(table["title"]) * 11.5) + (LEGEND + PAD if table["legend"] else 0)
    foot = LINE * ((table["kind"] == "cards") + bool(table["cut"]))
    return _Sizes(picture, columns, rows, levels, max(columns[-1] + PAD, min(title, 900)), in_line, foot)


def _cell_width(cell: MatrixCell, table: MatrixTable, picture: int, in_line: int) -> int:
    if table["kind"] == "cards":
        pictures = min(max(1, len(cell["slots"])), in_line) * max(1, len(table["sides"]))
        return pictures * (picture + BETWEEN) - BETWEEN + 2 * PAD
    longest = max((length(line) for line, _ in _lines(cell, table)), default=0)
    return max(84, 2 * PAD + int(longest * TEXT * 100 / 72 * WIDE))


def _cell_height(cell: MatrixCell, table: MatrixTable, picture: int, in_line: int) -> int:
    if table["kind"] != "cards":
        return 2 * PAD + LINE * max(1, sum(1 for _ in _lines(cell, table)))
    lines = -(-max(1, len(cell["slots"])) // in_line)
    return 2 * PAD + lines * (picture + _label_height(cell) + BETWEEN) - BETWEEN


def _label_height(cell: MatrixCell) -> int:
    return LINE if any(slot["label"] for slot in cell["slots"]) else 0


def _lines(cell: MatrixCell, table: MatrixTable) -> Iterator[tuple[str, bool]]:
    """Yield what a cell of numbers or words says, line by line, and whether that counts most."""
    if not cell["slots"]:
        yield GAP, False
    if cell["mean"] is not None:
        yield f"mean {cell['mean']}", True
    for slot in cell["slots"]:
        marks = " | ".join(GAP if mark is None else words(mark, table["kind"]) for mark in slot["marks"])
        difference = f" ({slot['difference']})" if slot["difference"] else ""
        label = f"{plain(slot['label'], 24)}: " if slot["label"] else ""
        yield f"{label}{marks}{difference}", len(cell["slots"]) == 1
    if cell["more"]:
        yield f"and {cell['more']:,} more", False


# -- what is drawn --------------------------------------------------------------------------------------------------


class _Drawing:
    """One matrix on its canvas."""

    def __init__(self, table: MatrixTable, source: CardSource, sizes: _Sizes) -> None:
        self.canvas: Final = Canvas(sizes.width, sizes.height)
        self._table = table
        self._source = source
        self._sizes = sizes
        self._cards: dict[int, Card] = {}
        self._not_drawn = 0

    def heads(self) -> None:
        """Draw all that is around the cells."""
        table, sizes, canvas = self._table, self._sizes, self.canvas
        left, top = sizes.columns[0], sizes.rows[0]
        if table["legend"] is not None:
            self._legend(table["legend"], sizes.width - LEGEND)
        title = sizes.width - PAD - (LEGEND + PAD if table["legend"] else 0)
        canvas.words(table["title"], (PAD, 10, title, TOP), bold=True, size=11, lines=1)
        canvas.box((PAD, TOP, left, top), SHADE)
        down, across = (", ".join(table[axis]["names"]) for axis in ("rows", "columns"))
        names = f"{down} \N{DOWNWARDS ARROW}  {across} \N{RIGHTWARDS ARROW}"
        canvas.words(names, (PAD + 6, TOP + 4, left - 4, top), colour=MUTED, size=SMALL)
        for level in range(len(table["columns"]["names"])):
            for start, end, text in spans(table["columns"]["places"], level):
                self._head(
                    text, (sizes.columns[start], sizes.levels[level], sizes.columns[end], sizes.levels[level + 1])
                )
        for level in range(len(table["rows"]["names"])):
            for start, end, text in spans(table["rows"]["places"], level):
                x = PAD + level * HEAD
                self._head(text, (x, sizes.rows[start], x + HEAD, sizes.rows[end]))
        for column in range(len(sizes.columns) - 1) if table["sides"] else ():
            box = (sizes.columns[column], sizes.levels[-1], sizes.columns[column + 1], top)
            canvas.box(box, SHADE)
            canvas.words(" | ".join(table["sides"]), _inner(box, 2), colour=MUTED, size=SMALL, lines=1)

    def line(self, row: int) -> None:
        """Draw a line of cells."""
        cells, sizes = self._table["cells"][row], self._sizes
        numbers = [mark["at"] for cell in cells for slot in cell["slots"] for mark in slot["marks"] if mark]
        self._cards = {card["row"]: card for card in self._source.cards(numbers)}
        for column, cell in enumerate(cells):
            box = (sizes.columns[column], sizes.rows[row], sizes.columns[column + 1], sizes.rows[row + 1])
            colour = cell["paint"][0] if cell["paint"] else GROUND
            is_empty = not cell["slots"] or (self._table["kind"] == "numbers" and not cell["paint"])
            self.canvas.box(box, colour, hatch=is_empty)
            if self._table["kind"] != "cards" or not cell["slots"]:
                self._said(cell, box)
            else:
                self._slots(cell, box)

    @property
    def notes(self) -> list[str]:
        """What is to be said of the whole: what is not in it."""
        notes = [self._table["cut"]] if self._table["cut"] else []
        if self._not_drawn:
            pictures = f"{self._not_drawn:,} SVG picture{'' if self._not_drawn == 1 else 's'}"
            notes.append(f"{pictures} cannot be drawn in a PNG: save the matrix as .html to see them.")
        return notes

    def foot(self) -> None:
        """Draw the notes, below the cells."""
        for at, note in enumerate(self.notes):
            top = self._sizes.rows[-1] + PAD / 2 + at * LINE
            self.canvas.words(note, (PAD, top, self._sizes.width - PAD, top + LINE), colour=MUTED, size=SMALL, lines=1)

    def _head(self, text: str, box: Box) -> None:
        self.canvas.box(box, SHADE)
        self.canvas.words(text, _inner(box, 5), bold=True)

    def _legend(self, legend: Legend, left: int) -> None:
        wide, last = LEGEND - 2 * PAD, len(legend["ticks"]) - 1
        self.canvas.text(plain(legend["title"], 48), left + wide, 1, align="right", colour=MUTED, size=SMALL)
        self.canvas.gradient(legend["stops"], (left, 15, left + wide, 23))
        for at, (share, text) in enumerate(legend["ticks"]):
            align = "center" if not last or 0 < at < last else "right" if at else "left"
            self.canvas.text(text, left + share * wide, 24, align=align, size=SMALL)

    def _said(self, cell: MatrixCell, box: Box) -> None:
        lines = list(_lines(cell, self._table)) if self._table["kind"] != "cards" else [(GAP, False)]
        left, top, right, bottom = box
        colour = cell["paint"][1] if cell["paint"] else _tone(cell)
        y = top + (bottom - top - LINE * len(lines)) / 2
        for at, (line, is_main) in enumerate(lines):
            self.canvas.text(
                plain(line), (left + right) / 2, y + at * LINE, align="center", colour=colour, bold=is_main
            )

    def _slots(self, cell: MatrixCell, box: Box) -> None:
        picture, label = self._sizes.picture, _label_height(cell)
        for at, slot in enumerate(cell["slots"]):
            wide = len(slot["marks"]) * (picture + BETWEEN)
            x = box[0] + PAD + (at % self._sizes.in_line) * wide
            y = box[1] + PAD + (at // self._sizes.in_line) * (picture + label + BETWEEN)
            for side, mark in enumerate(slot["marks"]):
                self._mark(mark, (x + side * (picture + BETWEEN), y))
            where = (x, y + picture + 2, x + wide - BETWEEN, y + picture + LINE)
            self.canvas.words(slot["label"], where, colour=MUTED, size=SMALL, lines=1)

    def _mark(self, mark: CellMark | None, place: tuple[float, float]) -> None:
        picture = self._sizes.picture
        box = (*place, place[0] + picture, place[1] + picture)
        if mark is None:
            self.canvas.box(box, GROUND, hatch=True)
            middle = place[0] + picture / 2, place[1] + picture / 2 - LINE / 2
            self.canvas.text(GAP, *middle, align="center", colour=MUTED, size=SMALL)
            return
        card = self._cards[mark["at"]]
        content = _picture(card, self._source)
        if content is not None and self.canvas.picture(content, box):
            return
        self.canvas.box(box, SHADE)
        is_svg = content is not None and media_type(content[:HEAD_BYTES]) == "image/svg+xml"
        self._not_drawn += is_svg
        text, colour = _words(card, "SVG, not drawn" if is_svg else "cannot be read" if content else "not downloaded")
        self.canvas.words(text, _inner(box, 5), colour=colour, size=SMALL)


Box: TypeAlias = tuple[float, float, float, float]


def _inner(box: Box, above: int) -> Box:
    left, top, right, bottom = box
    return left + 6, top + above, right - 4, bottom


def _tone(cell: MatrixCell) -> str:
    statuses = {mark["status"] for slot in cell["slots"] for mark in slot["marks"] if mark}
    return RED if statuses == {FAILED} else INK if statuses else MUTED


def _words(card: Card, why: str) -> tuple[str, str]:
    """Return what stands for a card without a picture, and its colour; of a picture, why it is not drawn."""
    if card["status"] != COMPLETED:
        said = f"{card['status']}: {card['error']}" if card["error"] else card["status"]
        return said, RED if card["error"] else MUTED
    if card["text"] is not None and not card["media"]:
        return card["text"], INK
    kind = card["media"][0]["kind"] if card["media"] else "nothing"
    return f"({f'{kind}: {why}' if kind == 'image' else kind}) {card['label']}", MUTED


def _picture(card: Card, source: CardSource) -> bytes | None:
    """Return the bytes of the first picture that is here: one that was downloaded, or that the output itself holds."""
    for item in card["media"]:
        if item["kind"] != "image":
            continue
        found = local_files.find(source.files(card["row"])[item["n"]]) if item["has_file"] else None
        if found is not None:
            return local_files.read(found)
        head, _, data = (item["url"] or "").partition(",")
        if head.startswith("data:"):
            try:
                return base64.b64decode(data) if head.endswith(";base64") else unquote_to_bytes(data)
            except ValueError:
                return None
    return None
