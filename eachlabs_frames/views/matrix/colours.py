"""The colour scale of a matrix, its legend, and how numbers are written. Pure; readable with colour blindness.

Viridis (CC0, by S. van der Walt and N. Smith) from dark to light where more is more; ColorBrewer's RdBu (Apache 2.0,
by C. Brewer) for differences, pale at zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, isfinite, isinf, isnan, log10
from typing import Final, Literal, NamedTuple, TypeAlias, TypedDict

from ...money import MINUS, format_usd

# fmt: off
VIRIDIS: Final = (
    "440154", "48186a", "472d7b", "424086", "3b528b", "33638d", "2c728e", "26828e", "21918c", "1fa088", "28ae80",
    "3fbc73", "5ec962", "84d44b", "addc30", "d8e219", "fde725",
)
RED_BLUE: Final = (
    "053061", "2065ab", "4393c3", "90c4dd", "d1e5f0", "f7f6f6", "fddbc7", "f3a481", "d6604d", "b1182b", "67001f",
)
# fmt: on

MAX_TICKS: Final = 4


class Scale(NamedTuple):
    """Numbers from `low` to `high`; `is_around_zero` where they are differences."""

    low: float
    high: float
    is_around_zero: bool = False

    @property
    def stops(self) -> tuple[str, ...]:
        """The colours from low to high, at even distances, ``#rrggbb``."""
        return tuple(f"#{colour}" for colour in (RED_BLUE if self.is_around_zero else VIRIDIS))

    def share(self, number: float) -> float:
        """Return the position of a number between low and high, from 0 to 1; 0.5 if these are equal."""
        if isinf(number):
            return float(number > 0)
        width = self.high - self.low
        if isinf(width):  # more than the largest float, so halves are used; the smallest floats have none
            return min(1.0, max(0.0, (number / 2 - self.low / 2) / (self.high / 2 - self.low / 2)))
        return min(1.0, max(0.0, (number - self.low) / width)) if width else 0.5

    def paint(self, number: float) -> tuple[str, str]:
        """Return the number's colour, and that of a text on it (black or white), as ``#rrggbb``."""
        table = RED_BLUE if self.is_around_zero else VIRIDIS
        place = self.share(number) * (len(table) - 1)
        before = min(floor(place), len(table) - 2)
        pairs = zip(_channels(table[before]), _channels(table[before + 1]), strict=True)
        colour = [round(a + (b - a) * (place - before)) for a, b in pairs]
        return ("#{:02x}{:02x}{:02x}".format(*colour), _ink(colour))

    def ticks(self) -> list[float]:
        """Return a few round numbers between the ends."""
        width = self.high - self.low
        if not (width > 0 and isfinite(width)):
            return []
        least = width / MAX_TICKS
        power = 10.0 ** floor(log10(least)) if least >= 1e-300 else 0.0
        step = next((power * factor for factor in (1, 2, 5, 10) if power * factor >= least), 0.0)
        if not step:
            return []
        ticks = (number * step for number in range(ceil(self.low / step), floor(self.high / step) + 1))
        return [tick for tick in ticks if self.low < tick < self.high]


def scale(numbers: Iterable[float], *, is_around_zero: bool = False) -> Scale | None:
    """Return the scale from the least to the greatest finite number; None if there is none.

    If it is around zero, both ends have the same distance from it.
    """
    finite = [number for number in numbers if isfinite(number)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    if is_around_zero:
        high = max(-low, high)
        low = -high
    return Scale(low, high, is_around_zero)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[at : at + 2], 16) for at in (0, 2, 4))


def _ink(colour: Iterable[int]) -> str:
    """Return black or white, whichever WCAG 2 gives the higher contrast: 4.5 at the least."""
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
        for share in (channel / 255 for channel in colour)
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#000000" if luminance > 0.179 else "#ffffff"


Unit: TypeAlias = Literal["usd", "seconds", "truth", "number"]

NOTHING: Final = "\N{EN DASH}"

HUGE: Final = 1e12
"""Numbers from here on are written with an exponent."""


def quantity(number: float, unit: Unit = "number", *, signed: bool = False) -> str:
    """Return a number as a short text.

    Parameters
    ----------
    number : float
    unit : {"usd", "seconds", "truth", "number"}
        For "truth", 1 is True, 0 is False, and other numbers are a share of True.
    signed : bool
        Whether positive numbers get a plus sign.
    """
    if isnan(number):
        return NOTHING
    sign = MINUS if number < 0 else "+" if signed and number > 0 else ""
    return sign + _unsigned(abs(float(number)), unit, is_share=signed or number not in (0, 1))


def _unsigned(number: float, unit: Unit, *, is_share: bool) -> str:
    if isinf(number):
        return "∞"
    if unit == "usd":
        return format_usd(number)
    if unit == "seconds":
        return f"{_short(number)} s"
    if unit == "truth":
        return f"{_short(number * 100)} %" if is_share else str(bool(number))
    return _short(number)


def _short(number: float) -> str:
    """Return four significant digits; all digits of whole numbers and of those from 1,000 on, up to `HUGE`."""
    if number.is_integer() and number < HUGE:
        return f"{number:,.0f}"
    if 1_000 <= number < HUGE:
        return f"{number:,.0f}"
    return f"{number:.4g}"


CHARACTER: Final = 0.025
"""Width of a character of the ticks, as a share of the legend's width."""


class Legend(TypedDict):
    """The scale of the colours; `ticks` are shares of its width with their texts, its ends among them."""

    title: str
    stops: list[str]
    ticks: list[tuple[float, str]]


def legend(scale: Scale, name: str, unit: Unit, sides: Sequence[str]) -> Legend:
    """Return the legend of a scale.

    Parameters
    ----------
    scale : Scale
    name : str
        Of the numbers.
    unit : Unit
    sides : sequence of str
        Names of the two frames whose difference it is; empty for one frame.
    """
    signed = bool(sides)
    title = f"{name}, {sides[1]} {MINUS} {sides[0]}" if signed else name
    stops = [scale.paint(scale.low)[0]] if scale.low == scale.high else list(scale.stops)
    inner = [] if unit == "truth" and not signed else scale.ticks()
    ticks = [scale.low, *inner, scale.high] if scale.low < scale.high else [scale.low]
    texts = [(round(scale.share(tick), 4), quantity(tick, unit, signed=signed)) for tick in ticks]
    return {"title": title, "stops": stops, "ticks": _without_overlap(texts)}


def _without_overlap(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return the ends, and the inner ticks whose texts do not overlap; the ends' texts lie within the scale."""
    if len(ticks) < 3:
        return ticks
    low, *inner, high = ticks
    shown = [low]
    taken, end = len(low[1]) * CHARACTER, 1 - len(high[1]) * CHARACTER
    for share, text in inner:
        half = len(text) * CHARACTER / 2
        if share - half > taken + CHARACTER and share + half < end - CHARACTER:
            shown.append((share, text))
            taken = share + half
    return [*shown, high]
