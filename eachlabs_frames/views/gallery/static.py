"""A contact sheet where no widget can be shown: a text, or HTML without script that means as much without style.

A notebook stores it, so that it has its bounds. Whatever comes from outside is escaped and cut.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final, TypeAlias

from ...money import format_usd
from ..common.card import Card, CardMedia
from ..common.static_summary import escaped, plain
from .model import GalleryLayout

MAX_CARDS: Final = 60
MAX_LINES: Final = 20
MAX_PICTURE_BYTES: Final = 32_000
"""Bytes of a picture that is in the sheet itself; of a larger one it is a small copy."""

HELD: Final = 300_000
"""Bytes of all pictures that are in the sheet itself."""

MAX_LABEL_LENGTH: Final = 120
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

Pictures: TypeAlias = Callable[[int, int, int], "tuple[str, bytes] | None"]
"""Of a row, a place among its URLs and the bytes that there is room for: a picture's type and bytes, from the disk."""

_SHEET: Final = "display:flex;flex-wrap:wrap;gap:12px"
_CARD: Final = "margin:0;border:1px solid rgba(128,128,128,.4);border-radius:8px;overflow:hidden;box-sizing:border-box"
_STAGE: Final = "display:block;width:100%;object-fit:contain;background:rgba(128,128,128,.12)"
_SYMBOL: Final = "text-align:center;font-size:28px;opacity:.7"
_WORDS: Final = "padding:8px 10px;overflow:hidden;overflow-wrap:anywhere;white-space:pre-wrap;font-size:12px"
_CAPTION: Final = "padding:6px 10px 8px;overflow-wrap:anywhere;font-size:13px;line-height:1.4"
_QUIET: Final = "font-size:12px;opacity:.8"


def text(title: str, cards: list[Card], total: int) -> str:
    """Return what a terminal shows: the title, and a line for each of the first rows."""
    lines = [f"  {plain(card['label'], MAX_LABEL_LENGTH)}: {_line(card)}" for card in cards]
    more = [f"  and {total - len(cards):,} more"] if total > len(cards) else []
    return "\n".join([title, *lines, *more])


def html(title: str, cards: list[Card], total: int, layout: GalleryLayout, *, pictures: Pictures) -> str:
    """Return the first cards as HTML.

    Parameters
    ----------
    title : str
    cards : list of Card
    total : int
        Rows that there are.
    layout : Layout
        There is one page.
    pictures : callable
        Gives a picture that is on the disk.
    """
    columns, size, page = layout
    most = min(page, MAX_CARDS)
    room = HELD
    parts: list[str] = []
    for card in cards[:most]:
        part, spent = _figure(card, pictures, room, size)
        room -= spent
        parts.append(part)
    width = columns * (size + 12) - 12
    more = f'<p style="{_QUIET}">and {total - len(parts):,} more</p>' if total > len(parts) else ""
    sheet = f'<div style="{_SHEET};max-width:{width}px">{"".join(parts)}</div>'
    return f'<div><p dir="auto"><strong>{escaped(plain(title, 300))}</strong></p>{sheet}{more}</div>'


def _figure(card: Card, pictures: Pictures, room: int, size: int) -> tuple[str, int]:
    """Return a card, and the bytes of pictures in it."""
    shown, spent = _shown(card, pictures, room, size)
    status = plain(card["status"], 24)
    facts = [f"{SYMBOLS.get(status, OTHER)} {status}"]
    facts += [] if card["cost_usd"] is None else [format_usd(card["cost_usd"])]
    facts += [] if card["seconds"] is None else [f"{card['seconds']:,.1f} s"]
    caption = f'<div dir="auto">{escaped(plain(card["label"], MAX_LABEL_LENGTH))}</div>'
    caption += f'<div style="{_QUIET}">{escaped(" · ".join(facts))}</div>'
    if card["error"]:
        caption += f'<div dir="auto" style="{_QUIET}">{escaped(plain(card["error"], MAX_ERROR_LENGTH))}</div>'
    body = f'{shown}<figcaption style="{_CAPTION}">{caption}</figcaption>'
    return f'<figure style="{_CARD};width:{size}px;max-width:100%">{body}</figure>', spent


def _shown(card: Card, pictures: Pictures, room: int, size: int) -> tuple[str, int]:
    for item in card["media"]:
        held = pictures(card["row"], item["n"], room) if item["has_file"] and room > 0 else None
        if held is not None:
            kind, content = held
            source = f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
            return _picture(source, card, size), len(content)
        url = item["url"]
        embedded = len(url) if url is not None and url.startswith("data:") else 0
        if url is not None and embedded <= room:
            return _medium(item, url, card, size), embedded
    if card["text"] is not None:
        return (
            f'<div dir="auto" style="{_WORDS};max-height:{size}px">{escaped(card["text"][:MAX_TEXT_LENGTH])}</div>',
            0,
        )
    symbol = SYMBOLS.get(card["status"], OTHER)
    return f'<div style="{_STAGE};height:{size}px;line-height:{size}px;{_SYMBOL}" aria-hidden="true">{symbol}</div>', 0


def _medium(item: CardMedia, url: str, card: Card, size: int) -> str:
    if item["kind"] == "image":
        return _picture(url, card, size)
    link = f'<a href="{escaped(url)}" target="_blank" rel="noopener noreferrer">{item["kind"]}</a>'
    return f'<div style="{_WORDS}">{link}</div>'


def _picture(source: str, card: Card, size: int) -> str:
    name = escaped(plain(card["label"], MAX_LABEL_LENGTH))
    how = f'width="{size}" loading="lazy" decoding="async" referrerpolicy="no-referrer"'
    return f'<img src="{escaped(source)}" alt="{name}" {how} style="{_STAGE};height:{size}px">'


def _line(card: Card) -> str:
    said = [url for item in card["media"] if (url := item["url"]) and not url.startswith("data:")]
    what = card["error"] or (said[0] if said else card["text"] or "")
    return " ".join(filter(None, [plain(card["status"], 24), plain(what, MAX_LINE_LENGTH)]))
