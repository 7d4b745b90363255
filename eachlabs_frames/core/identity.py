"""An input -> its fingerprint: what a row is known by, in a journal and in the API's listing.

Two inputs that are equal as JSON have one fingerprint: key order does not count, and 1 and 1.0 are one number, so a
column that became float because another row's cell is missing is still the same input.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import orjson

from ..models import Json

SIZE: Final = 16
"""Bytes of a fingerprint."""

_SORTED: Final = orjson.OPT_SORT_KEYS
_PERHAPS_WHOLE: Final = re.compile(rb"\d(?:\.0|[eE])").search
"""Finds whatever may be a whole float; a text that looks like one costs time, nothing else."""


def fingerprint(value: Json) -> bytes:
    """Return the fingerprint of a JSON value: `SIZE` bytes, the same for equal values.

    Raises
    ------
    orjson.JSONEncodeError
        No JSON value.
    """
    text = orjson.dumps(value, option=_SORTED)
    if _PERHAPS_WHOLE(text) is not None:
        text = orjson.dumps(_whole(value), option=_SORTED)
    return blake2b(text, digest_size=SIZE).digest()


def fingerprints(values: Sequence[Json]) -> list[bytes]:
    """Return the fingerprint of each value."""
    return [fingerprint(value) for value in values]


def _whole(value: Json) -> Json:
    """Make whole floats integers, all the way down; one beyond 64 bits stays the float that both sides read it as."""
    if type(value) is float and value.is_integer() and abs(value) < 2.0**63:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value
