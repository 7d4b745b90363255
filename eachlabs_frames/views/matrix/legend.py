"""A scale of colours as it is shown beside a heat map: what is measured, its colours, and where numbers stand on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypedDict

from ...money import MINUS
from .colours import Scale
from .quantity import Unit, quantity

CHARACTER: Final = 0.025
"""Of a legend's width, what one character of its ticks takes."""


class Legend(TypedDict):
    """The scale of the colours; `ticks` are shares of its width with their texts, its ends among them."""

    title: str
    stops: list[str]
    ticks: list[tuple[float, str]]


def legend(known: Scale, name: str, unit: Unit, sides: Sequence[str]) -> Legend:
    """Return the legend of a scale.

    Parameters
    ----------
    known : Scale
    name : str
        What is measured.
    unit : Unit
    sides : sequence of str
        What two frames are called, whose difference it is; empty for one.
    """
    signed = bool(sides)
    title = f"{name}, {sides[1]} {MINUS} {sides[0]}" if signed else name
    stops = [known.paint(known.low).colour] if known.low == known.high else list(known.stops)
    inner = [] if unit == "truth" and not signed else known.ticks()
    ticks = [known.low, *inner, known.high] if known.low < known.high else [known.low]
    written = [(round(known.share(tick), 4), quantity(tick, unit, signed=signed)) for tick in ticks]
    return {"title": title, "stops": stops, "ticks": _apart(written)}


def _apart(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return the ends, and what else can be read beside them: the ends' texts lie within the scale."""
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
