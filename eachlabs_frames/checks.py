"""Checks of arguments that several packages share. Each returns the checked value, or raises `ConfigurationError`.

A check that one package alone needs stays there.
"""

from __future__ import annotations

from math import inf
from numbers import Integral

from .errors import ConfigurationError


def check_flag(name: str, value: object) -> bool:
    """Return a value that is True or False."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False; got {value!r}"
        raise ConfigurationError(msg)
    return value


def check_whole(name: str, value: object, low: int, high: int) -> int:
    """Return a whole number from `low` to `high` as an int. True and False are no numbers here."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        msg = f"{name} must be a whole number from {low} to {high}; got {value!r}"
        raise ConfigurationError(msg)
    return int(value)


def check_positive(name: str, value: object, unit: str = "seconds") -> float:
    """Return a positive, finite number of `unit` as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        msg = f"{name} must be a positive number of {unit}; got {value!r}"
        raise ConfigurationError(msg)
    return float(value)
