"""Numbers -> colours, with the ticks of their legend. Pure; every scale can be read without seeing red or green.

Viridis (CC0, by S. van der Walt and N. Smith) from dark to light where more is more; ColorBrewer's RdBu (Apache 2.0,
by C. Brewer) for differences, pale at zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor, isfinite, isinf, log10
from typing import Final, NamedTuple

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


class ColourPair(NamedTuple):
    """A colour, and the one in which text on it can be read: black or white, ``#rrggbb``."""

    colour: str
    ink: str


class Scale(NamedTuple):
    """Numbers from `low` to `high`; `is_around_zero` where they are differences."""

    low: float
    high: float
    is_around_zero: bool = False

    @property
    def stops(self) -> tuple[str, ...]:
        """The colours from low to high, at even distances, ``#rrggbb``."""
        return tuple(f"#{one}" for one in (RED_BLUE if self.is_around_zero else VIRIDIS))

    def share(self, number: float) -> float:
        """Return how far from low to high a number is, from 0 to 1; the middle where all are the same."""
        if isinf(number):
            return float(number > 0)
        width = self.high - self.low
        if isinf(width):  # more than the largest float: by halves, of which the smallest floats have none
            return min(1.0, max(0.0, (number / 2 - self.low / 2) / (self.high / 2 - self.low / 2)))
        return min(1.0, max(0.0, (number - self.low) / width)) if width else 0.5

    def paint(self, number: float) -> ColourPair:
        """Return the number's colour."""
        table = RED_BLUE if self.is_around_zero else VIRIDIS
        place = self.share(number) * (len(table) - 1)
        before = min(floor(place), len(table) - 2)
        pairs = zip(_channels(table[before]), _channels(table[before + 1]), strict=True)
        colour = [round(a + (b - a) * (place - before)) for a, b in pairs]
        return ColourPair("#{:02x}{:02x}{:02x}".format(*colour), _ink(colour))

    def ticks(self) -> list[float]:
        """Return round numbers between the ends, few enough to be read."""
        width = self.high - self.low
        if not (width > 0 and isfinite(width)):
            return []
        least = width / MAX_TICKS
        power = 10.0 ** floor(log10(least)) if least >= 1e-300 else 0.0
        step = next((power * factor for factor in (1, 2, 5, 10) if power * factor >= least), 0.0)
        if not step:
            return []
        found = (number * step for number in range(ceil(self.low / step), floor(self.high / step) + 1))
        return [tick for tick in found if self.low < tick < self.high]


def scale(numbers: Iterable[float], *, is_around_zero: bool = False) -> Scale | None:
    """Return the scale that these numbers fill; infinite ones are off its ends. None where there is no other.

    Around zero it is as wide to either side.
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
