"""A number as people read it: short, with its unit, and the same in a widget, a file and a picture."""

from __future__ import annotations

from math import isinf, isnan
from typing import Final, Literal, TypeAlias

from ...money import MINUS, format_usd

Unit: TypeAlias = Literal["usd", "seconds", "truth", "number"]

NOTHING: Final = "\N{EN DASH}"

HUGE: Final = 1e12
"""From here on digits say nothing."""


def quantity(number: float, unit: Unit = "number", *, signed: bool = False) -> str:
    """Return a number as a short text.

    Parameters
    ----------
    number : float
    unit : {"usd", "seconds", "truth", "number"}
        Of "truth" 1 is True and 0 is False, and what lies between is a share of trues.
    signed : bool
        Whether a plus stands before what is more than zero.
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
    """Return at most four digits, but for whole numbers all of them up to a million millions."""
    if number.is_integer() and number < HUGE:
        return f"{number:,.0f}"
    if 1_000 <= number < HUGE:
        return f"{number:,.0f}"
    return f"{number:.4g}"
