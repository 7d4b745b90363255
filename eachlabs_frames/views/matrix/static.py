"""A matrix for front ends without widgets: a text, or an HTML table that is complete without styles.

Values are escaped and shortened: they never become markup or a terminal's control sequences.
"""

from __future__ import annotations

from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Final

from ...models import COMPLETED
from ..common import view_files
from ..common.static_html import data_url, plain
from .model import GAP, mark_text

if TYPE_CHECKING:
    from ..common.card import Card, CardMedia
    from ..common.view_files import ViewFiles
    from .cards import MatrixCards
    from .colours import Legend
    from .model import CellMark, CellSlot, Kind, MatrixCell, MatrixTable

MAX_HTML_BYTES: Final = 500_000
"""Characters of the HTML, which is stored in the notebook."""

MAX_PICTURE_BYTES: Final = 32_000
"""Bytes of a picture that is embedded in the HTML."""

MAX_PICTURES_BYTES: Final = 400_000
"""Characters of all embedded pictures; others are links."""

MAX_HEAD_PICTURES_BYTES: Final = 100_000
"""The same of the pictures in headers."""

MAX_HEAD_PICTURES: Final = 40
"""Images that are opened for headers: each takes about 10 ms."""

MAX_COLUMNS: Final = 40
MAX_SLOTS: Final = 12
MAX_NARROW_LENGTH: Final = 40
MAX_UNBROKEN_PARTS: Final = 5
"""Parts of a cell that are never broken into lines."""

MAX_HEAD_LENGTH: Final = 200
MAX_TEXT_LENGTH: Final = 240
MAX_SIDE: Final = 120

TEXT_ROWS, TEXT_COLUMNS, TEXT_WIDTH = 20, 8, 22

_CELL: Final = "padding:4px 8px;text-align:left;vertical-align:top;border:1px solid #8884"
_NUMBER: Final = "padding:4px 8px;text-align:center;border:1px solid #8884"
_SMALL: Final = "font-size:smaller"


def text(table: MatrixTable) -> str:
    """Return the title, and the first cells in columns."""
    places = table["columns"]["places"][:TEXT_COLUMNS]
    names = [", ".join(place) for place in places]
    lines = [["", *names]]
    for place, cells in zip(table["rows"]["places"][:TEXT_ROWS], table["cells"], strict=False):
        lines.append([", ".join(place), *(_cell_text(cell, table["kind"]) for cell in cells[:TEXT_COLUMNS])])
    lines = [[plain(cell, TEXT_WIDTH) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["  ".join(f"{cell:<{wide}}" for cell, wide in zip(line, widths, strict=True)).rstrip() for line in lines]
    more = _remainder(len(lines) - 1, len(places), table)
    title = plain(table["title"], MAX_TEXT_LENGTH)
    return "\n".join([title, *(shown if names else ["no rows"]), *([more] if more else [])])


def html(table: MatrixTable, source: MatrixCards, files: ViewFiles) -> str:
    """Return the matrix as a table with its pictures, for a notebook on GitHub or exported by nbconvert."""
    return _TableWriter(table, source, files).html()


def _remainder(rows: int, columns: int, table: MatrixTable) -> str:
    """Return what is left out, as a sentence."""
    parts = [
        f"{len(places) - shown:,} more {what}"
        for shown, places, what in (
            (rows, table["rows"]["places"], "rows"),
            (columns, table["columns"]["places"], "columns"),
        )
        if shown < len(places)
    ]
    return " ".join(filter(None, [f"And {' and '.join(parts)}." if parts else "", table["cut"]]))


def _cell_text(cell: MatrixCell, kind: Kind) -> str:
    """Return a cell as one short text."""
    if not cell["slots"]:
        return "-"
    if cell["mean"] is not None:
        return f"mean {cell['mean']}"
    texts = []
    for slot in cell["slots"]:
        differences = [f"({slot['difference']})"] if slot["difference"] else []
        texts.append(" | ".join([*(mark_text(mark, kind) for mark in slot["marks"]), *differences]))
    return ", ".join(texts) if len(set(texts)) > 1 or len(texts) == 1 else f"{len(texts)} {texts[0]}"


# -- HTML -----------------------------------------------------------------------------------------------------------


class _TableWriter:
    """Writes one table within the size limits."""

    def __init__(self, table: MatrixTable, source: MatrixCards, files: ViewFiles) -> None:
        self._table = table
        self._source = source
        self._files = files
        self._columns = min(len(table["columns"]["places"]), MAX_COLUMNS)
        self._pictures = MAX_PICTURES_BYTES - MAX_HEAD_PICTURES_BYTES
        self._head_pictures = MAX_HEAD_PICTURES_BYTES
        self._opened = 0
        self._cards: dict[int, Card] = {}

    def html(self) -> str:
        """Return the table with as many rows as the limit allows."""
        table = self._table
        parts = _legend(table["legend"])
        parts.append(f'<table style="border-collapse:collapse">{self._heads()}<tbody>')
        room = MAX_HTML_BYTES - sum(map(len, parts)) - 500
        shown = 0
        for row, place in enumerate(table["rows"]["places"]):
            heads = zip(place, table["rows"]["images"][row], strict=True)
            headers = "".join(self._head(text, image, "row", f"{_CELL};max-width:16em") for text, image in heads)
            line = f"<tr>{headers}{self._line(row)}</tr>"
            room -= len(line)
            if room < 0:
                break
            parts.append(line)
            shown += 1
        more = _remainder(shown, self._columns, table)
        parts += ["</tbody></table>", *([f"<p>{_escaped(more)}</p>"] if more else [])]
        return f"<div>{''.join(parts)}</div>"

    def _heads(self) -> str:
        """Return the lines of the columns' headers."""
        table = self._table
        names = table["columns"]["names"]
        corner = f"{', '.join(table['rows']['names'])} / {', '.join(names)}"
        lines = []
        for level in range(len(names)):
            span = f'colspan="{len(table["rows"]["names"])}" rowspan="{len(names)}"'
            first = "" if level else f'<td {span} style="{_CELL}">{_escaped(corner)}</td>'
            places = zip(table["columns"]["places"], table["columns"]["images"], strict=True)
            shown = islice(places, self._columns)
            heads = "".join(self._head(place[level], images[level], "col", _CELL) for place, images in shown)
            lines.append(f"<tr>{first}{heads}</tr>")
        sides = f" ({table['sides'][0]} | {table['sides'][1]})" if table["sides"] else ""
        title = f"<strong>{_escaped(table['title'] + sides)}</strong>"
        caption = f'<caption dir="auto" style="text-align:left">{title}</caption>'
        return f"{caption}<thead>{''.join(lines)}</thead>"

    def _head(self, text: str, image: int | None, scope: str, style: str) -> str:
        """Return a header, with its picture if there is room for it."""
        content = None
        if image is not None and self._head_pictures > 0 and self._opened < MAX_HEAD_PICTURES:
            self._opened += 1
            content = self._source.input_files.small_picture(image)
        url = "" if content is None else data_url(view_files.COPY_TYPE, content)
        self._head_pictures -= len(url)
        picture = f'<img src="{url}" alt="" style="max-width:none"><br>' if url else ""
        return f'<th scope="{scope}" dir="auto" style="{style}">{picture}{_escaped(text, MAX_HEAD_LENGTH)}</th>'

    def _line(self, row: int) -> str:
        cells = self._table["cells"][row][: self._columns]
        numbers = [mark["at"] for cell in cells for slot in cell["slots"][:MAX_SLOTS] for mark in slot["marks"] if mark]
        self._cards = {card["row"]: card for card in self._source.cards(numbers)}
        return "".join(map(self._cell, cells))

    def _cell(self, cell: MatrixCell) -> str:
        style = _CELL if self._table["kind"] == "cards" else _NUMBER
        if cell["paint"]:
            colour, ink = cell["paint"]
            style += f";background:{colour};color:{ink}"
        if not cell["slots"]:
            return f'<td style="{style}"><em>{GAP}</em></td>'
        parts = [f"<div><strong>mean {_escaped(cell['mean'])}</strong></div>"] if cell["mean"] is not None else []
        parts += map(self._slot, cell["slots"][:MAX_SLOTS])
        more = max(0, len(cell["slots"]) - MAX_SLOTS) + cell["more"]
        parts += [f"<div>and {more:,} more</div>"] if more else []
        style += ";white-space:nowrap" if len(parts) <= MAX_UNBROKEN_PARTS else ""
        return f'<td dir="auto" style="{style}">{" ".join(parts)}</td>'

    def _slot(self, slot: CellSlot) -> str:
        marks = list(map(self._mark, slot["marks"]))
        # A browser computes a cell's width without line breaks, so a slot with lines of text has a fixed width.
        wide = "" if all(map(_is_narrow, marks)) else "width:14em;"
        label = f'<div style="{_SMALL}">{_escaped(slot["label"])}</div>' if slot["label"] else ""
        difference = f"<div><strong>{_escaped(slot['difference'])}</strong></div>" if slot["difference"] else ""
        style = f"display:inline-block;vertical-align:top;margin:2px;white-space:normal;{wide}"
        return f'<div style="{style}">{" | ".join(marks)}{difference}{label}</div>'

    def _mark(self, mark: CellMark | None) -> str:
        if mark is None:
            return f"<em>{GAP}</em>"
        kind, card = self._table["kind"], self._cards[mark["at"]]
        if mark["text"] is not None or (kind == "numbers" and mark["status"] == COMPLETED):
            return _escaped(mark_text(mark, kind))
        shown = self._output(card) if kind == "cards" else ""
        if mark["status"] == COMPLETED and shown:
            return shown
        error = ": " + _escaped(card["error"]) if card["error"] else ""
        return f"{shown} <em>{_escaped(mark['status'])}</em>{error}".strip()

    def _output(self, card: Card) -> str:
        """Return the first picture of an output, else a link to its first file, else its text."""
        media = [item for item in card["media"] if item["kind"] != "text"]
        if not media:
            return f"<span>{_escaped(card['text'])}</span>" if card["text"] else ""
        item = next((item for item in media if item["kind"] == "image"), media[0])
        more = len(media) - 1 + card["more_media"]
        counted = f" +{more:,}" if more else ""
        source = self._embedded(card, item) or item["url"] or ""
        if item["kind"] == "image" and source:
            size = min(self._table["size"], MAX_SIDE)
            named = f'alt="{_escaped(card["label"], MAX_HEAD_LENGTH)}" width="{size}"'
            # With a front end's `img {max-width: 100%}`, pictures would overflow a narrow column.
            how = 'loading="lazy" referrerpolicy="no-referrer" style="max-width:none"'
            return f'<img src="{escape(source, quote=True)}" {named} {how}>{counted}'
        if source and not source.startswith("data:"):
            return f'<a href="{escape(source, quote=True)}" rel="noopener noreferrer">{item["kind"]}</a>{counted}'
        return f"{item['kind']}{counted}"

    def _embedded(self, card: Card, item: CardMedia) -> str | None:
        """Return a downloaded picture as a ``data:`` URL if it is within the limits; else None."""
        room = min(MAX_PICTURE_BYTES, self._pictures * 3 // 4)
        is_picture = item["has_file"] and item["kind"] == "image"
        file = self._files.find(card["row"], item["n"], max_bytes=room) if is_picture else None
        content = None if file is None or not file.media_type.startswith("image/") else view_files.read(file)
        if file is None or content is None:
            return None
        url = data_url(file.media_type, content)
        self._pictures -= len(url)
        return url


def _is_narrow(mark: str) -> bool:
    return mark.startswith("<img") or len(mark) < MAX_NARROW_LENGTH


def _legend(legend: Legend | None) -> list[str]:
    if legend is None:
        return []
    texts = [text for _, text in legend["ticks"]]
    blocks = "".join(f'<span style="background:{stop};padding:0 6px">&nbsp;</span>' for stop in legend["stops"])
    # "from" and "to" remain if a front end removes the colours, as GitHub does.
    low, high = _escaped(texts[0]), _escaped(texts[-1])
    ends = f"from {low} {blocks} to {high}" if len(texts) > 1 else f"{low} {blocks}"
    return [f"<p>{_escaped(legend['title'])}: {ends}</p>"]


def _escaped(string: str, longest: int = MAX_TEXT_LENGTH) -> str:
    return escape(plain(string, longest), quote=True)
