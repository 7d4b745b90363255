"""Formats amounts of money as text: the only place that does. ``formatUsd`` in ``views/web/format.js`` is its copy.

Never used for values in frames, files or JSON: those are numbers.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final

MINUS: Final = "\N{MINUS SIGN}"
MAX_DIGITS: Final = 4
"""Significant digits, unless there are more digits before the decimal point."""

MAX_DECIMALS: Final = 10
MAX_WRITTEN_OUT: Final = 1e15
"""Larger amounts are written with an exponent."""


def format_usd(amount: float) -> str:
    """Return an amount in USD as text, such as ``$0.01``.

    Parameters
    ----------
    amount : float
        Not NaN.

    Returns
    -------
    str
        At most four significant digits: whole dollars from $100 (never rounded any further), cents from $1, and as
        many decimals as needed, at least two, below $1. Half a unit is rounded up.

    Examples
    --------
    >>> from eachlabs_frames.money import format_usd
    >>> format_usd(0.01), format_usd(0.1), format_usd(0.0123456), format_usd(12.345), format_usd(1234.5)
    ('$0.01', '$0.10', '$0.01235', '$12.35', '$1,235')
    """
    amount = float(amount)
    return f"{MINUS if amount < 0 else ''}${_digits(abs(amount))}"


def _digits(amount: float) -> str:
    if amount >= MAX_WRITTEN_OUT:
        return f"{amount:.{MAX_DIGITS}g}"
    # The shortest decimal that stands for the float, as browsers round it: 1.005 is "1.01".
    exact = Decimal(repr(amount))
    decimals = 0 if amount >= 99.995 else 2 if amount >= 1 or not amount else MAX_DIGITS - 1 - exact.adjusted()
    rounded = exact.quantize(Decimal(1).scaleb(-min(decimals, MAX_DECIMALS)), ROUND_HALF_UP)
    dollars, point, cents = f"{rounded:,f}".partition(".")
    return dollars + point + cents.rstrip("0").ljust(2, "0") if point else dollars
