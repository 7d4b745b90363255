"""Text of the command line -> numbers, with the limits of each option. For argparse's ``type=``."""

from __future__ import annotations

import argparse
import math


def count(text: str) -> int:
    """Return a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        msg = f"{text!r} is not a whole number of 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def port(text: str) -> int:
    """Return a port, 0 for a free one."""
    if not text.isdecimal() or int(text) > 65535:
        msg = f"{text!r} is not a port (0 to 65535)"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def usd(text: str) -> float:
    """Return a sum of money above 0."""
    amount = _finite(text)
    if not amount > 0:
        msg = f"{text!r} is not a number of USD above 0"
        raise argparse.ArgumentTypeError(msg)
    return amount


def seconds(text: str) -> float:
    """Return seconds, 0 or more."""
    number = _finite(text)
    if not number >= 0:
        msg = f"{text!r} is not a number of seconds, 0 or more"
        raise argparse.ArgumentTypeError(msg)
    return number


def _finite(text: str) -> float:
    """Return a number, NaN for what is none that is finite."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
