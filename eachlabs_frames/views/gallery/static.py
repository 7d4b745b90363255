"""Renders a gallery as text and as HTML, for front ends without widgets. Its size is bounded: a notebook stores it.

Text from outside is escaped and cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from ...money import format_usd
from ..common.card import Card, CardMedia
from ..common.static_html import data_url, escaped, plain
from .model import GalleryLayout

MAX_CARDS: Final = 60
MAX_LINES: Final = 20
MAX_PICTURE_BYTES: Final = 32_000
"""Bytes of an embedded image; of a larger one, a small copy is embedded."""

MAX_EMBEDDED_BYTES: Final = 300_000
"""Bytes of all embedded images."""

MAX_TITLE_LENGTH: Final = 300
MAX_LABEL_LENGTH: Final = 120
MAX_STATUS_LENGTH: Final = 24
MAX_TEXT_LENGTH: Final = 240
MAX_ERROR_LENGTH: Final = 200
MAX_LINE_LENGTH: Final = 100
SYMBOLS: Final = {
    "completed": "✓",
    "failed": "✕",
    "cancelled": "⊘",
    "invalid": "△",
    "unknown": "?",
    "running": "◐",
    "queued": "≡",
    "pending": "○",
}
OTHER: Final = "◇"

ReadPicture: TypeAlias = Callable[[int, int, int], "tuple[str, bytes] | None"]
"""Returns the media type and the content of a downloaded image, by row, URL number and maximum number of bytes."""

_GRID: Final = "display:flex;flex-wrap:wrap;gap:12px"
_CARD: Final = "margin:0;border:1px solid rgba(128,128,128,.4);border-radius:8px;overflow:hidden;box-sizing:border-box"
_STAGE: Final = "display:block;width:100%;object-fit:contain;background:rgba(128,128,128,.12)"
_SYMBOL: Final = "text-align:center;font-size:28px;opacity:.7"
_TEXT: Final = "padding:8px 10px;overflow:hidden;overflow-wrap:anywhere;white-space:pre-wrap;font-size:12px"
_CAPTION: Final = "padding:6px 10px 8px;overflow-wrap:anywhere;font-size:13px;line-height:1.4"
_QUIET: Final = "font-size:12px;opacity:.8"


def text(title: str, cards: list[Card], total: int) -> str:
    """Return the text for a terminal: the title, and a line for each of these cards."""
    lines = [f"  {plain(card['label'], MAX_LABEL_LENGTH)}: {_line(card)}" for card in cards]
    more = [f"  and {total - len(cards):,} more"] if total > len(cards) else []
    return "\n".join([title, *lines, *more])


def html(title: str, cards: list[Card], total: int, layout: GalleryLayout, *, read_picture: ReadPicture) -> str:
    """Return the first cards as HTML.

    Parameters
    ----------
    title : str
    cards : list of Card
    total : int
        Number of rows.
    layout : GalleryLayout
        Only one page is written.
    read_picture : callable
        Reads a downloaded image.
    """
    columns, size, page = layout
    bytes_left = MAX_EMBEDDED_BYTES
    figures: list[str] = []
    for card in cards[: min(page, MAX_CARDS)]:
        figure, embedded = _figure(card, read_picture, bytes_left, size)
        bytes_left -= embedded
        figures.append(figure)
    width = columns * (size + 12) - 12
    more = f'<p style="{_QUIET}">and {total - len(figures):,} more</p>' if total > len(figures) else ""
    grid = f'<div style="{_GRID};max-width:{width}px">{"".join(figures)}</div>'
    return f'<div><p dir="auto"><strong>{escaped(title, MAX_TITLE_LENGTH)}</strong></p>{grid}{more}</div>'


def _figure(card: Card, read_picture: ReadPicture, bytes_left: int, size: int) -> tuple[str, int]:
    """Return a card, and the bytes of the images embedded in it."""
    output, embedded = _output(card, read_picture, bytes_left, size)
    status = plain(card["status"], MAX_STATUS_LENGTH)
    facts = [f"{SYMBOLS.get(status, OTHER)} {status}"]
    facts += [] if card["cost_usd"] is None else [format_usd(card["cost_usd"])]
    facts += [] if card["seconds"] is None else [f"{card['seconds']:,.1f} s"]
    caption = f'<div dir="auto">{escaped(card["label"], MAX_LABEL_LENGTH)}</div>'
    caption += f'<div style="{_QUIET}">{escaped(" · ".join(facts))}</div>'
    if card["error"]:
        caption += f'<div dir="auto" style="{_QUIET}">{escaped(card["error"], MAX_ERROR_LENGTH)}</div>'
    body = f'{output}<figcaption style="{_CAPTION}">{caption}</figcaption>'
    return f'<figure style="{_CARD};width:{size}px;max-width:100%">{body}</figure>', embedded


def _output(card: Card, read_picture: ReadPicture, bytes_left: int, size: int) -> tuple[str, int]:
    for item in card["media"]:
        picture = read_picture(card["row"], item["n"], bytes_left) if item["has_file"] and bytes_left > 0 else None
        if picture is not None:
            return _picture(data_url(*picture), card, size), len(picture[1])
        url = item["url"]
        embedded = len(url) if url is not None and url.startswith("data:") else 0
        if url is not None and embedded <= bytes_left:
            return _medium(item, url, card, size), embedded
    if card["text"] is not None:
        style = f"{_TEXT};max-height:{size}px"
        return f'<div dir="auto" style="{style}">{escaped(card["text"][:MAX_TEXT_LENGTH])}</div>', 0
    symbol = SYMBOLS.get(card["status"], OTHER)
    return f'<div style="{_STAGE};height:{size}px;line-height:{size}px;{_SYMBOL}" aria-hidden="true">{symbol}</div>', 0


def _medium(item: CardMedia, url: str, card: Card, size: int) -> str:
    if item["kind"] == "image":
        return _picture(url, card, size)
    link = f'<a href="{escaped(url)}" target="_blank" rel="noopener noreferrer">{item["kind"]}</a>'
    return f'<div style="{_TEXT}">{link}</div>'


def _picture(source: str, card: Card, size: int) -> str:
    label = escaped(card["label"], MAX_LABEL_LENGTH)
    attributes = f'width="{size}" loading="lazy" decoding="async" referrerpolicy="no-referrer"'
    return f'<img src="{escaped(source)}" alt="{label}" {attributes} style="{_STAGE};height:{size}px">'


def _line(card: Card) -> str:
    urls = [url for item in card["media"] if (url := item["url"]) and not url.startswith("data:")]
    detail = card["error"] or (urls[0] if urls else card["text"] or "")
    return " ".join(filter(None, [plain(card["status"], MAX_STATUS_LENGTH), plain(detail, MAX_LINE_LENGTH)]))
