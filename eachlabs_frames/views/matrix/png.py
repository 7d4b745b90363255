"""Draws a matrix as a PNG with matplotlib, which is imported only here. Never uses the network.

Cells have sizes in pixels; matplotlib places the headers, the colour scale and the title around them. An image that was
not downloaded, or that cannot be drawn, such as an SVG, is replaced by its label and the reason.
"""

from __future__ import annotations

import base64
import io
import textwrap
import warnings
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from unicodedata import east_asian_width
from urllib.parse import unquote_to_bytes

from ...errors import ConfigurationError
from ...media import HEAD_BYTES, media_type
from ...models import COMPLETED, FAILED
from ..common import html_page, view_files
from ..common.static_html import plain
from .model import GAP, cell_lines

if TYPE_CHECKING:
    from pathlib import Path

    from ..common.card import Card
    from .cards import MatrixCards
    from .colours import Legend
    from .model import CellMark, MatrixCell, MatrixTable

MAX_PIXELS: Final = 48_000_000
MAX_SIDE: Final = 2**16 - 1
"""Pixels that matplotlib can draw along one side."""

MAX_SHARP_PIXELS: Final = 12_000_000
"""Pixels up to which everything is drawn at twice the size, for screens of high density."""

MIN_PICTURE: Final = 40
MIN_CELL: Final = 84
SLOTS_PER_LINE: Final = 4
PAD: Final = 8
LINE: Final = 16
CHARACTER: Final = 7.75
"""Height of a line and mean width of a character, in pixels, of text of 9 points."""

POINTS: Final = 0.72
"""Points of a pixel."""

MAX_HEAD_LINES: Final = 4
ROW_HEAD_LENGTH: Final = 24
HEAD_PICTURE: Final = 56
LEGEND_WIDTH, LEGEND_HEIGHT = 120, 160
INK, MUTED, EDGE, SHADE, RED = "#1f2328", "#59636e", "#d1d9e0", "#f4f5f7", "#c9252d"

FORMATS: Final = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "ICO", "AVIF")
"""Formats that are decoded: those that a browser shows. A decoder of others may start a program (EPS: Ghostscript)."""

FONTS: Final = (
    "DejaVu Sans",
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans SC"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS"),
    *("Noto Sans", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai"),
)
"""Tried in this order for each character, if installed."""


def save(path: Path, table: MatrixTable, source: MatrixCards) -> Path:
    """Draw a matrix into a PNG file and return its path.

    Raises
    ------
    ConfigurationError
        Matplotlib is not installed, or there are more cells than an image can show.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # older versions warn of deprecations in what they import themselves
            from matplotlib import font_manager, style
            from matplotlib.figure import Figure
    except ImportError as exc:
        msg = 'a picture of a matrix needs matplotlib: pip install "eachlabs-frames[plot]", or save it as .html'
        raise ConfigurationError(msg) from exc
    layout = _fit(table)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    fonts = {"font.family": [name for name in FONTS if name in installed], "font.size": 9, "text.parse_math": False}
    colours = {"text.color": INK, "axes.labelcolor": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK}
    out = io.BytesIO()
    with style.context(["default", fonts, colours]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of characters that no font has, and of scripts that are not shaped
        figure = Figure((layout.width / 100, layout.height / 100), dpi=100 * layout.scale)
        drawing = _Drawing(figure, table, source, layout)
        drawing.draw()
        metadata = {"Title": table["title"], "Description": " ".join(drawing.notes)}
        figure.savefig(out, format="png", dpi="figure", bbox_inches="tight", pad_inches=0.1, metadata=metadata)
    with html_page.atomic(path) as written:
        written.write_bytes(out.getvalue())
    return path


# -- sizes ------------------------------------------------------------------------------------------------------------


class _Layout(NamedTuple):
    """Where columns and rows begin and end, in pixels from the upper left cell, and the texts of their headers."""

    picture: int
    columns: Sequence[int]
    rows: Sequence[int]
    column_heads: Sequence[str]
    row_heads: Sequence[str]
    scale: int = 1

    @property
    def width(self) -> int:
        return max(MIN_CELL, self.columns[-1])

    @property
    def height(self) -> int:
        return max(MIN_CELL, self.rows[-1])


def _fit(table: MatrixTable) -> _Layout:
    """Return a layout that fits into an image, with smaller pictures if necessary."""
    picture = table["size"]
    while True:
        layout = _layout(table, picture)
        heads = [head.split("\n") for head in layout.row_heads]
        around = max((_length(line) for head in heads for line in head), default=0) * CHARACTER
        width = int(layout.width + around + 2 * PAD) + (LEGEND_WIDTH if table["legend"] else 0)
        above = max((head.count("\n") for head in layout.column_heads), default=0)
        height = layout.height + LINE * (above + 5)
        if width * height <= MAX_PIXELS and max(width, height) <= MAX_SIDE:
            return layout._replace(scale=2 if width * height <= MAX_SHARP_PIXELS else 1)
        if table["kind"] != "cards" or picture <= MIN_PICTURE:
            cells = f"{len(layout.row_heads):,} by {len(layout.column_heads):,} cells"
            msg = (
                f"{cells} take {width:,} by {height:,} pixels, too many for a picture: save the matrix as .html, or "
                f"make it of fewer rows and columns"
            )
            raise ConfigurationError(msg)
        picture = max(MIN_PICTURE, picture * 3 // 4)


def _layout(table: MatrixTable, picture: int) -> _Layout:
    sizes = [[_cell_size(cell, table, picture) for cell in row] for row in table["cells"]]
    widths = [max(width for width, _ in column) for column in zip(*sizes, strict=True)]
    columns = [
        "\n".join(line for text in place for line in _wrap(text, int(width / CHARACTER), MAX_HEAD_LINES))
        for place, width in zip(table["columns"]["places"], widths, strict=False)
    ]
    rows, heights = [], []
    for place, cells in zip(table["rows"]["places"], sizes, strict=True):
        height = max(height for _, height in cells)
        head = _wrap(" · ".join(place), ROW_HEAD_LENGTH, max(MAX_HEAD_LINES, height // LINE - 1))
        rows.append("\n".join(head))
        heights.append(max(height, LINE * len(head) + PAD))
    column_edges, row_edges = (list(accumulate(lengths, initial=0)) for lengths in (widths, heights))
    return _Layout(picture, column_edges, row_edges, columns, rows)


def _cell_size(cell: MatrixCell, table: MatrixTable, picture: int) -> tuple[int, int]:
    if table["kind"] != "cards":
        lines = [plain(line) for line in cell_lines(cell, table["kind"])]
        return max(MIN_CELL, 2 * PAD + int(max(map(_length, lines)) * CHARACTER)), 2 * PAD + LINE * len(lines)
    slots, sides = max(1, len(cell["slots"])), max(1, len(table["sides"]))
    per_line = _slots_per_line(table)
    width = PAD + min(slots, per_line) * sides * (picture + PAD)
    return width, PAD + -(-slots // per_line) * (picture + _label_height(cell) + PAD)


def _slots_per_line(table: MatrixTable) -> int:
    return max(1, SLOTS_PER_LINE // max(1, len(table["sides"])))


def _label_height(cell: MatrixCell) -> int:
    return LINE if any(slot["label"] for slot in cell["slots"]) else 0


def _length(text: str) -> int:
    """Return how many characters of usual width a text takes."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _wrap(text: str, width: int, max_lines: int) -> list[str]:
    """Return at most so many lines of a text, each of so many characters; the last one says whether it goes on."""
    text = plain(text, 2 * width * max_lines)
    width = max(2, width * len(text) // max(1, _length(text)))
    return textwrap.wrap(text, width, max_lines=max_lines, placeholder="…", break_on_hyphens=False) or [""]


# -- drawing ----------------------------------------------------------------------------------------------------------


class _Drawing:
    """One matrix on the axes of a figure, whose coordinates are pixels from the upper left cell."""

    def __init__(self, figure: Any, table: MatrixTable, source: MatrixCards, layout: _Layout) -> None:
        self._axes = figure.add_axes((0, 0, 1, 1), xlim=(0, layout.width), ylim=(layout.height, 0), frame_on=False)
        self._figure = figure
        self._table = table
        self._source = source
        self._layout = layout
        self._svg_count = 0

    @property
    def notes(self) -> list[str]:
        """What the picture does not show, as sentences."""
        notes = [self._table["cut"]] if self._table["cut"] else []
        if self._svg_count:
            pictures = f"{self._svg_count:,} SVG picture{'' if self._svg_count == 1 else 's'}"
            notes.append(f"{pictures} cannot be drawn in a PNG: save the matrix as .html to see them.")
        return notes

    def draw(self) -> None:
        """Draw all of it."""
        from matplotlib.colors import to_rgb

        colours = [
            [to_rgb(cell["paint"][0] if cell["paint"] else "white") for cell in row] for row in self._table["cells"]
        ]
        if colours and colours[0]:
            self._axes.pcolormesh(self._layout.columns, self._layout.rows, colours, edgecolors=EDGE, linewidth=0.6)
        for row, cells in enumerate(self._table["cells"]):
            numbers = [mark["at"] for cell in cells for slot in cell["slots"] for mark in slot["marks"] if mark]
            cards = {card["row"]: card for card in self._source.cards(numbers)}
            for column, cell in enumerate(cells):
                self._draw_cell(cell, row, column, cards)
        self._draw_heads()
        if self._table["legend"] is not None:
            self._draw_legend(self._table["legend"])
        for line, note in enumerate(self.notes):
            self._axes.text(0, self._layout.height + LINE * line + PAD, note, va="top", color=MUTED, fontsize=8)

    def _draw_heads(self) -> None:
        table, layout, axes = self._table, self._layout, self._axes
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xticks([(start + end) / 2 for start, end in pairwise(layout.columns)], layout.column_heads)
        axes.set_yticks([(start + end) / 2 for start, end in pairwise(layout.rows)], layout.row_heads)
        axes.tick_params(length=0, pad=6)
        self._draw_head_pictures("x", table["columns"]["images"])
        self._draw_head_pictures("y", table["rows"]["images"])
        sides = f" ({' | '.join(table['sides'])})" if table["sides"] else ""
        room = int(layout.width / CHARACTER)
        axes.set_xlabel("\n".join(_wrap(", ".join(table["columns"]["names"]) + sides, room, 2)))
        axes.set_ylabel("\n".join(_wrap(", ".join(table["rows"]["names"]), int(layout.height / CHARACTER), 2)))
        title = "\n".join(_wrap(table["title"], max(40, room), 2))
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")

    def _draw_head_pictures(self, name: Literal["x", "y"], places: Sequence[Sequence[int | None]]) -> None:
        """Draw the last picture of each header on an axis between the cells and its text."""
        numbers = [next((number for number in reversed(place) if number is not None), None) for place in places]
        if all(number is None for number in numbers):
            return
        edges = self._layout.columns if name == "x" else self._layout.rows
        size = min(HEAD_PICTURE, *(end - start - 4 for start, end in pairwise(edges)))
        self._axes.tick_params(axis=name, pad=(size + PAD) * POINTS + 6)
        for (start, end), number in zip(pairwise(edges), numbers, strict=True):
            content = None if number is None else view_files.read(self._source.input_files.picture(number))
            pixels = None if content is None else _decode(content, size * self._layout.scale)
            if pixels is not None:
                along, across = (start + end) / 2, -(size + PAD) / 2
                x, y = (along, across) if name == "x" else (across, along)
                self._draw_pixels(pixels, x, y, size).set_clip_on(False)

    def _draw_pixels(self, pixels: Any, x: float, y: float, size: int) -> Any:
        """Draw an image around a place, its longer side `size` long."""
        height, width = (size * length / max(pixels.shape[:2]) / 2 for length in pixels.shape[:2])
        return self._axes.imshow(pixels, extent=(x - width, x + width, y + height, y - height), aspect="auto", zorder=2)

    def _draw_legend(self, legend: Legend) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LinearSegmentedColormap

        colours = LinearSegmentedColormap.from_list("", legend["stops"] * (1 if len(legend["stops"]) > 1 else 2))
        width, height = self._layout.width, self._layout.height
        axes = self._figure.add_axes((1 + 24 / width, 1 - LEGEND_HEIGHT / height, 12 / width, LEGEND_HEIGHT / height))
        bar = self._figure.colorbar(ScalarMappable(cmap=colours), cax=axes, label=plain(legend["title"], 48))
        bar.set_ticks([share for share, _ in legend["ticks"]], labels=[text for _, text in legend["ticks"]])

    def _draw_cell(self, cell: MatrixCell, row: int, column: int, cards: dict[int, Card]) -> None:
        layout, kind = self._layout, self._table["kind"]
        left, right = layout.columns[column : column + 2]
        top, bottom = layout.rows[row : row + 2]
        if not cell["slots"] or (kind == "numbers" and not cell["paint"]):
            self._draw_box(left, top, right - left, bottom - top, is_empty=True)
        if kind == "cards" and cell["slots"]:
            self._draw_slots(cell, left, top, cards)
            return
        lines = [plain(line) for line in cell_lines(cell, kind)]
        text = self._axes.text(
            (left + right) / 2,
            (top + bottom) / 2,
            "\n".join(lines),
            ha="center",
            va="center",
            color=cell["paint"][1] if cell["paint"] else _tone(cell),
            fontweight="bold" if len(lines) == 1 and cell["slots"] else "normal",
        )
        text.set_in_layout(False)  # it does not reach beyond the axes, and measuring it takes time

    def _draw_slots(self, cell: MatrixCell, left: int, top: int, cards: dict[int, Card]) -> None:
        picture, per_line = self._layout.picture, _slots_per_line(self._table)
        for at, slot in enumerate(cell["slots"]):
            width = len(slot["marks"]) * (picture + PAD)
            x = left + PAD + at % per_line * width
            y = top + PAD + at // per_line * (picture + _label_height(cell) + PAD)
            for side, mark in enumerate(slot["marks"]):
                self._draw_mark(mark, x + side * (picture + PAD), y, cards)
            (label,) = _wrap(slot["label"], int(width / CHARACTER), 1)
            self._axes.text(x, y + picture + 2, label, va="top", color=MUTED, fontsize=8)

    def _draw_mark(self, mark: CellMark | None, x: int, y: int, cards: dict[int, Card]) -> None:
        picture, content = self._layout.picture, None
        text, colour = GAP, MUTED
        if mark is not None:
            card = cards[mark["at"]]
            content = _picture(card, self._source)
            pixels = _decode(content, picture * self._layout.scale) if content else None
            if pixels is not None:
                self._draw_pixels(pixels, x + picture // 2, y + picture // 2, picture)
                return
            is_svg = content is not None and media_type(content[:HEAD_BYTES]) == "image/svg+xml"
            self._svg_count += is_svg
            why = "SVG, not drawn" if is_svg else "cannot be read" if content else "not downloaded"
            text, colour = _caption(card, why)
        self._draw_box(x, y, picture, picture, is_empty=mark is None)
        lines = _wrap(text, int((picture - PAD) / CHARACTER * 1.125), (picture - PAD) // LINE)
        self._axes.text(x + 5, y + 5, "\n".join(lines), va="top", color=colour, fontsize=8)

    def _draw_box(self, x: int, y: int, width: int, height: int, *, is_empty: bool) -> None:
        from matplotlib.patches import Rectangle

        style: dict[str, Any] = {"facecolor": "white", "hatch": "////"} if is_empty else {"facecolor": SHADE}
        self._axes.add_patch(Rectangle((x, y), width, height, edgecolor=EDGE, linewidth=0.6, **style))


def _tone(cell: MatrixCell) -> str:
    statuses = {mark["status"] for slot in cell["slots"] for mark in slot["marks"] if mark}
    return RED if statuses == {FAILED} else INK if statuses else MUTED


def _caption(card: Card, why: str) -> tuple[str, str]:
    """Return the text of a card without a picture, and its colour; for a picture, why it is not drawn."""
    if card["status"] != COMPLETED:
        text = f"{card['status']}: {card['error']}" if card["error"] else card["status"]
        return text, RED if card["error"] else MUTED
    if card["text"] is not None and not card["media"]:
        return card["text"], INK
    kind = card["media"][0]["kind"] if card["media"] else "nothing"
    return f"({f'{kind}: {why}' if kind == 'image' else kind}) {card['label']}", MUTED


def _picture(card: Card, source: MatrixCards) -> bytes | None:
    """Return the bytes of the first image that was downloaded, or that the output itself contains."""
    for item in card["media"]:
        if item["kind"] != "image":
            continue
        file = view_files.find(source.files(card["row"])[item["n"]]) if item["has_file"] else None
        if file is not None:
            return view_files.read(file)
        head, _, data = (item["url"] or "").partition(",")
        if head.startswith("data:"):
            try:
                return base64.b64decode(data) if head.endswith(";base64") else unquote_to_bytes(data)
            except ValueError:
                return None
    return None


def _decode(content: bytes, side: int) -> Any:
    """Return an image as an array of pixels, the longer side `side` long; None if it cannot be read."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of images that are broken, or suspiciously large
            Image.init()  # AVIF is decoded by newer versions of Pillow only
            formats: list[str] = [name for name in FORMATS if name in Image.OPEN]
            with Image.open(io.BytesIO(content), formats=formats) as opened:
                opened.draft("RGB", (side, side))
                return np.asarray(ImageOps.contain(opened.convert("RGBA"), (side, side)))
    except Exception:  # noqa: BLE001  # a decoder may raise anything for bytes from outside
        return None
