"""Generates pictures from inputs, as SVG and PNG. The same inputs give the same bytes.

It never reads a file or the network, and escapes all texts.
"""

from __future__ import annotations

import hashlib
import json
import struct
import textwrap
import zlib
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

_SIZE = 512
_CELLS = 8
_PNG_OVERHEAD = 57
"""Bytes of a PNG without its IDAT data and padding: the signature, two chunks, and the header of the padding chunk."""


def svg(inputs: Mapping[str, Any], *, index: int = 0) -> bytes:
    """Return an SVG with a gradient, shapes and the prompt."""
    digest = _digest(inputs, index)
    hue = digest[0] * 360 // 256
    shapes = "".join(_shape(digest[3 + 5 * n : 8 + 5 * n], hue) for n in range(9))
    lines, small = _caption(inputs)
    top = _SIZE - 44 - 30 * len(lines)
    caption = "".join(
        f'<text x="32" y="{top + 30 * n}" font-size="24" font-weight="600">{escape(line)}</text>'
        for n, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SIZE}" height="{_SIZE}"'
        f' viewBox="0 0 {_SIZE} {_SIZE}" role="img">'
        f'<defs><linearGradient id="sky" gradientTransform="rotate({20 + digest[1] * 50 // 256})">'
        f'<stop offset="0" stop-color="hsl({hue},72%,56%)"/>'
        f'<stop offset="1" stop-color="hsl({(hue + 50 + digest[2] * 80 // 256) % 360},70%,34%)"/>'
        '</linearGradient><linearGradient id="shade" x1="0" y1="0" x2="0" y2="1">'
        '<stop offset="0" stop-color="#000" stop-opacity="0"/>'
        '<stop offset="1" stop-color="#000" stop-opacity=".65"/></linearGradient></defs>'
        f'<rect width="{_SIZE}" height="{_SIZE}" fill="url(#sky)"/>{shapes}'
        f'<rect y="{top - 90}" width="{_SIZE}" height="{_SIZE - top + 90}" fill="url(#shade)"/>'
        f'<g fill="#fff" font-family="system-ui,Helvetica,Arial,sans-serif">{caption}'
        f'<text x="32" y="{_SIZE - 30}" font-size="14" opacity=".8">{escape(small)}</text></g></svg>'
    ).encode()


def png(inputs: Mapping[str, Any], *, index: int = 0, at_least: int = 0) -> bytes:
    """Return a PNG of 256 by 256 pixels, padded to at least `at_least` bytes."""
    digest = _digest(inputs, index)
    cell = 256 // _CELLS
    low, high = digest[0:3], digest[3:6]
    rows = []
    for y in range(_CELLS):
        half = [_mix(low, high, digest[6 + (y * _CELLS // 2 + x) % 58]) for x in range(_CELLS // 2)]
        line = b"\0" + b"".join(colour * cell for colour in half + half[::-1])
        rows.append(line * cell)
    header = struct.pack(">IIBBBBB", 256, 256, 8, 2, 0, 0, 0)
    pixels = _chunk(b"IDAT", zlib.compress(b"".join(rows), 6))
    # Readers skip unknown chunks. The data is pseudorandom, so that it cannot be compressed.
    missing = at_least - len(pixels) - _PNG_OVERHEAD
    padding = _chunk(b"paDd", hashlib.shake_128(digest).digest(missing)) if missing > 0 else b""
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + padding + pixels + _chunk(b"IEND", b"")


def _digest(inputs: Mapping[str, Any], index: int) -> bytes:
    text = json.dumps([inputs, index], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=64).digest()


def _shape(digest: bytes, hue: int) -> str:
    x, y, size = digest[0] * 2, digest[1] * 2, 24 + digest[2] // 2
    fill = f"hsl({(hue + digest[3]) % 360},85%,{55 + digest[4] % 30}%)"
    style = f'fill="{fill}" opacity="{0.18 + digest[4] / 640:.2f}"'
    if digest[4] % 3 == 0:
        rotation = f"rotate({digest[3]} {x} {y})"
        return f'<rect x="{x}" y="{y}" width="{size}" height="{size}" rx="14" transform="{rotation}" {style}/>'
    if digest[4] % 3 == 1:
        return f'<path d="M{x} {y - size}L{x + size} {y + size}L{x - size} {y + size}Z" {style}/>'
    return f'<circle cx="{x}" cy="{y}" r="{size}" {style}/>'


def _caption(inputs: Mapping[str, Any]) -> tuple[list[str], str]:
    rest = {key: value for key, value in inputs.items() if key != "prompt"}
    prompt = _plain(str(inputs.get("prompt", "(no prompt)")))
    small = _plain(", ".join(f"{key}: {value}" for key, value in rest.items()))
    lines = textwrap.wrap(prompt, 34, max_lines=4, placeholder=" …") or [""]
    return lines, small if len(small) <= 62 else small[:61] + "…"


def _plain(text: str) -> str:
    # XML cannot carry control characters, even escaped.
    return "".join(c if c.isprintable() else " " for c in text[:4000])


def _mix(low: bytes, high: bytes, share: int) -> bytes:
    return bytes((a * (255 - share) + b * share) // 255 for a, b in zip(low, high, strict=True))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
