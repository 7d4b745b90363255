"""What a picture is drawn on: matplotlib, which is imported here alone and only when somebody asks for a picture.

No pyplot and no window. Whatever script a text is in, it is drawn without a warning; what no font has is a box.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias
from unicodedata import east_asian_width

from ...errors import ConfigurationError
from ..common.static_summary import plain

SHARP: Final = 12_000_000
"""Pixels up to which a picture is drawn at twice the size: it is looked at on screens that have them."""

TEXT: Final = 9.0
SMALL: Final = 8.0
WIDE: Final = 0.62
"""A character's width as a share of its height, on average and a little more."""

Colour: TypeAlias = str | tuple[float, ...]

MAX_TEXT_LENGTH: Final = 2_000

INK, EDGE, GROUND = "#1f2328", "#d1d9e0", "#ffffff"

FORMATS: Final = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "ICO", "AVIF")
"""What is decoded: a picture that a browser shows. A decoder of others may start a program (of EPS: Ghostscript)."""

FONTS: Final = (
    "DejaVu Sans",
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans SC"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS"),
    *("Noto Sans", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai"),
)
"""Looked through for each character, as far as they are installed."""


class Canvas:
    """What is drawn on, in pixels from its upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        try:
            with warnings.catch_warnings():
                # Matplotlib's own affair: an older one warns of what a newer library that it stands on thinks of it.
                warnings.simplefilter("ignore")
                from matplotlib.backends.backend_agg import FigureCanvasAgg
                from matplotlib.figure import Figure
        except ImportError as exc:
            msg = 'a picture of a matrix needs matplotlib: pip install "eachlabs-frames[plot]", or save it as .html'
            raise ConfigurationError(msg) from exc
        self._scale = 2 if width * height <= SHARP else 1
        self._height = height
        self._figure = Figure(figsize=(width / 100, height / 100), dpi=100 * self._scale, facecolor=GROUND)
        self._canvas = FigureCanvasAgg(self._figure)
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, width), ylim=(height, 0))
        self._axes.set_axis_off()
        self._fonts = _fonts()

    def box(
        self,
        box: tuple[float, float, float, float],
        colour: Colour,
        *,
        hatch: bool = False,
        edge: Colour = EDGE,
    ) -> None:
        """Draw a rectangle."""
        from matplotlib.patches import Rectangle

        left, top, right, bottom = box
        pattern = "////" if hatch else None
        patch = Rectangle(
            (left, top), right - left, bottom - top, facecolor=colour, edgecolor=edge, linewidth=0.6, hatch=pattern
        )
        self._axes.add_patch(patch)

    def text(
        self,
        text: str,
        x: float,
        y: float,
        *,
        align: str = "left",
        colour: str = INK,
        size: float = TEXT,
        bold: bool = False,
    ) -> None:
        """Draw one line, from its upper end down."""
        look: dict[str, Any] = {"ha": align, "va": "top", "color": colour, "fontsize": size, "family": self._fonts}
        # A dollar sign is a dollar sign, and no beginning of a formula.
        look |= {"fontweight": "bold" if bold else "normal", "parse_math": False, "usetex": False, "clip_on": True}
        self._axes.text(x, y, text, **look)

    def words(
        self,
        text: str,
        box: tuple[float, float, float, float],
        *,
        colour: str = INK,
        size: float = TEXT,
        bold: bool = False,
        lines: int | None = None,
    ) -> None:
        """Draw a text of several lines, cut to what its box holds."""
        left, top, right, bottom = box
        line = size * 100 / 72 * 1.25
        most = max(1, int((bottom - top) / line)) if lines is None else lines
        room = _room(right - left, size, bold=bold)
        for at, part in enumerate(_wrapped(plain(text, room * most * 2), room, most)):
            self.text(part, left, top + at * line, colour=colour, size=size, bold=bold)

    def gradient(self, stops: Sequence[str], box: tuple[float, float, float, float]) -> None:
        """Draw a bar that runs through these colours."""
        left, top, right, bottom = box
        colours = [[int(stop[at : at + 2], 16) / 255 for at in (1, 3, 5)] for stop in stops]
        steps = range(int(right - left))
        for step in steps:
            place = step / len(steps) * (len(stops) - 1)
            before = colours[int(place)]
            after = colours[min(int(place) + 1, len(stops) - 1)]
            mixed = tuple(a + (b - a) * (place % 1) for a, b in zip(before, after, strict=True))
            self.box((left + step, top, left + step + 1, bottom), mixed, edge=mixed)

    def picture(self, content: bytes, box: tuple[float, float, float, float]) -> bool:
        """Draw a picture into a square, whole; say whether it could be read."""
        import numpy as np
        from PIL import Image, ImageOps

        side = int((box[2] - box[0]) * self._scale)
        try:
            with warnings.catch_warnings():
                # A picture may be broken, or so large that it is meant to harm: neither is shown.
                warnings.simplefilter("error")
                Image.init()  # AVIF is decoded by a newer Pillow alone
                formats: list[str] = [name for name in FORMATS if name in Image.OPEN]
                with Image.open(io.BytesIO(content), formats=formats) as opened:
                    opened.draft("RGB", (side, side))
                    pixels = np.asarray(ImageOps.contain(opened.convert("RGBA"), (side, side)))
        except Exception:  # noqa: BLE001  # whatever a decoder makes of bytes from outside
            return False
        high, wide = pixels.shape[:2]
        left = box[0] * self._scale + (side - wide) // 2
        bottom = (self._height - box[3]) * self._scale + (side - high) // 2
        self._figure.figimage(pixels, left, bottom, origin="upper")
        return True

    def png(self, title: str, description: str) -> bytes:
        """Return the picture; the texts are in its metadata, for those who do not see it."""
        out = io.BytesIO()
        with warnings.catch_warnings():
            # Of characters that no font has, and of scripts that are not shaped: they are drawn as they can be.
            warnings.simplefilter("ignore")
            metadata = {"Title": title, "Description": description}
            self._canvas.print_png(out, metadata=metadata)  # type: ignore[no-untyped-call]  # matplotlib has types for most, not for this
        return out.getvalue()


def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in installed]


def lines_of(text: str, width: float) -> int:
    """Return how many lines a header's text takes in a box of so many pixels."""
    return sum(1 for _ in _wrapped(plain(text, MAX_TEXT_LENGTH), _room(width - 10, TEXT, bold=True), MAX_TEXT_LENGTH))


def _room(width: float, size: float, *, bold: bool) -> int:
    """Return how many characters stand beside one another."""
    return max(1, int(width / (size * 100 / 72 * (WIDE + 0.06 * bold))))


def length(text: str) -> int:
    """Return how many characters of usual width a text takes."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _wrapped(text: str, room: int, most: int) -> Iterator[str]:
    """Yield at most so many lines of a text, each of so many characters; the last one says whether it goes on."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}".strip()
        if length(joined) <= room:
            lines[-1] = joined
            continue
        lines += [""] if lines[-1] else []
        for character in word:
            if length(lines[-1] + character) > room:
                lines.append("")
            lines[-1] += character
    yield from lines[: most - 1]
    if len(lines) > most:
        yield f"{lines[most - 1][: max(0, room - 1)]}…"
    elif len(lines) == most:
        yield lines[-1]
