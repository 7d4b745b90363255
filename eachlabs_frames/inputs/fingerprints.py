"""Fingerprints of inputs, which identify a row in the journal and in the API's listing.

Equal JSON values have the same fingerprint: key order does not matter, and 1 equals 1.0, so that a column that became
float because of a missing value in another row has the same inputs.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import orjson

from ..models import Json

SIZE: Final = 16
"""Bytes of a fingerprint."""

SORTED: Final = orjson.OPT_SORT_KEYS
_PLAIN: Final = frozenset({str, int, bool, type(None)})


def fingerprint(value: Json) -> bytes:
    """Return the fingerprint of a JSON value: `SIZE` bytes, the same for equal values.

    Raises
    ------
    orjson.JSONEncodeError
        No JSON value.
    """
    plain = _is_plain(value) if type(value) is dict else type(value) in _PLAIN
    return _digest(orjson.dumps(value if plain else _whole(value), option=SORTED))


def try_fingerprint(inputs: Json) -> bytes | None:
    """Return the fingerprint of the inputs of an execution, or None where no row can have sent them."""
    try:
        return fingerprint(inputs) if isinstance(inputs, dict) else None
    except (TypeError, ValueError, RecursionError):
        return None


def fingerprints(rows: Sequence[dict[str, Json]], payloads: Sequence[bytes]) -> list[bytes]:
    """Return the fingerprint of each input, of which the JSON with sorted keys is there already."""
    return [
        _digest(payload) if _is_plain(row) else fingerprint(row) for row, payload in zip(rows, payloads, strict=True)
    ]


def checksum(value: Json) -> int:
    """Return a checksum of 32 bits of a JSON value, the same for equal values."""
    return zlib.crc32(orjson.dumps(_whole(value), option=SORTED))


def checksums(rows: Sequence[dict[str, Json]], payloads: Sequence[bytes]) -> list[int]:
    """Return the checksum of each input, of which the JSON with sorted keys is there already."""
    joined = b"".join(payloads)
    if not any(mark in joined for mark in _WHOLE_FLOATS):
        return list(map(zlib.crc32, payloads))
    pairs = zip(rows, payloads, strict=True)
    return [zlib.crc32(payload) if _is_plain(row) else checksum(row) for row, payload in pairs]


_WHOLE_FLOATS: Final = (b".0", b"e1", b"e2", b"e3")
"""What the JSON of any whole float has in it, as orjson writes it: "7.0", and from 1e16 on "1e16" to "1e308"."""


def _is_plain(row: dict[str, Json]) -> bool:
    """Say whether the JSON of an input is the same for every equal input: no whole float is in it, and nothing deep."""
    cells = row.values()
    if _PLAIN.issuperset(map(type, cells)):
        return True
    return all(type(cell) in _PLAIN or (type(cell) is float and not cell.is_integer()) for cell in cells)


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=SIZE).digest()


def _whole(value: Json) -> Json:
    """Make whole floats integers, all the way down; one beyond 64 bits stays the float that both sides read it as."""
    if type(value) is float and value.is_integer() and -(2.0**63) <= value < 2.0**64:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value
