"""Fingerprints of inputs, which identify a row in the journal and in the API's listing, and repeats among them.

Equal JSON values have the same fingerprint: key order does not matter, and 1 equals 1.0, so that a column that became
float because of a missing value in another row has the same inputs.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import numpy as np
import orjson

from ..models import Json
from .file_values import with_references

SIZE: Final = 16
"""Bytes of a fingerprint."""

SORTED: Final = orjson.OPT_SORT_KEYS


def fingerprint(value: Json) -> bytes:
    """Return the fingerprint of a JSON value: `SIZE` bytes, the same for equal values.

    Raises
    ------
    orjson.JSONEncodeError
        `value` is no JSON value.
    """
    return _digest(orjson.dumps(_whole(value), option=SORTED))


def try_fingerprint(inputs: Json) -> bytes | None:
    """Return the fingerprint of an execution's inputs, or None if no row can have sent them."""
    try:
        return fingerprint(inputs) if isinstance(inputs, dict) else None
    except (TypeError, ValueError, RecursionError):
        return None


def contents(inputs: Json, references: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the fingerprints of the inputs that an execution may have been sent with; none if no row can have sent it.

    The first is that of `inputs` themselves. There is a second one if they have public URLs of uploaded files: that of
    a row with the references of these files.
    """
    as_returned = try_fingerprint(inputs)
    if as_returned is None or not references:
        return () if as_returned is None else (as_returned,)
    as_sent = try_fingerprint(with_references(inputs, references))
    return (as_returned,) if as_sent in (None, as_returned) else (as_returned, as_sent)


def content_of(inputs: Json, references: Mapping[str, str], expected: Container[bytes]) -> bytes | None:
    """Return the fingerprint of the inputs that an execution was sent with; None if no row can have sent it.

    That is the first of `contents` which is expected, else the last one. `references` are not read if `inputs`
    themselves are expected.
    """
    as_returned = try_fingerprint(inputs)
    if as_returned is None or as_returned in expected:
        return as_returned
    return contents(inputs, references)[-1]


def fingerprints(rows: Sequence[dict[str, Json]], payloads: Sequence[bytes]) -> list[bytes]:
    """Return the fingerprint of each input, given their JSON with sorted keys."""
    return list(map(_digest, _normalized(rows, payloads)))


def checksum(value: Json) -> int:
    """Return a checksum of 32 bits of a JSON value, the same for equal values."""
    return zlib.crc32(orjson.dumps(_whole(value), option=SORTED))


def checksums(rows: Sequence[dict[str, Json]], payloads: Sequence[bytes]) -> list[int]:
    """Return the checksum of each input, given their JSON with sorted keys."""
    return list(map(zlib.crc32, _normalized(rows, payloads)))


def _normalized(rows: Sequence[dict[str, Json]], payloads: Sequence[bytes]) -> Sequence[bytes]:
    """Return the JSON of each input with whole floats written as integers: the same for equal inputs."""
    found = _whole_floats(b"".join(payloads))
    if not len(found):
        return payloads
    normalized = list(payloads)
    ends = np.cumsum(list(map(len, payloads)))
    for place in np.unique(np.searchsorted(ends, found, side="right")).tolist():
        normalized[place] = orjson.dumps(_whole(rows[place]), option=SORTED)
    return normalized


def _whole_floats(text: bytes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return where in JSON whole floats may be: orjson writes "7.0", and from 1e16 on "1e16" or, since 3.13, "1e+16".

    Texts may look like that too. The whole JSON is searched at once: to look at each value takes 20 times as long.
    """
    codes = np.frombuffer(text, dtype=np.uint8)
    dots = np.flatnonzero(codes[:-2] == ord("."))
    exponents = np.flatnonzero(codes[1:-1] == ord("e")) + 1
    return np.concatenate(
        [
            dots[(codes[dots + 1] == ord("0")) & _AFTER_A_NUMBER[codes[dots + 2]]],
            exponents[_DIGITS[codes[exponents - 1]] & _EXPONENTS[codes[exponents + 1]]],
        ]
    )


def _among(characters: bytes) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which of the 256 codes are those of `characters`."""
    table = np.zeros(256, dtype=bool)
    table[list(characters)] = True
    return table


_DIGITS: Final = _among(b"0123456789")
_EXPONENTS: Final = _among(b"+0123456789")
_AFTER_A_NUMBER: Final = _among(b",}]")


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=SIZE).digest()


def _whole(value: Json) -> Json:
    """Convert whole floats to integers, recursively, up to 64 bits: JSON parsers read larger ones as floats.

    A larger one is written as Python does, since versions of orjson differ ("1e22" and "1e+22").
    """
    if type(value) is float and value.is_integer():
        return int(value) if -(2.0**63) <= value < 2.0**64 else orjson.Fragment(repr(value))
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value


Fingerprints: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"
"""The first 8 bytes of each fingerprint: unique among millions of inputs, and small."""


def pack(contents: bytes | bytearray) -> Fingerprints:
    """Return fingerprints of `SIZE` bytes each as an array of their first 8 bytes."""
    packed: Fingerprints = np.frombuffer(bytes(contents), dtype="<u8")[:: SIZE // 8].copy()
    return packed


def repeated(inputs: Fingerprints, earlier: Fingerprints) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which of `inputs` are in `earlier`, counted by occurrence.

    The k-th occurrence of an input is a repeat where `earlier` has it at least k times: a sweep that asks for an
    input three times repeats one row of a run that has it once.
    """
    out = np.zeros(len(inputs), dtype=bool)
    distinct, counts = np.unique(earlier, return_counts=True)
    if not len(distinct) or not len(inputs):
        return out
    order = np.argsort(inputs, kind="stable")
    ordered = inputs[order]
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = np.maximum.accumulate(np.where(begins, np.arange(len(ordered)), 0))
    nearest = np.minimum(np.searchsorted(distinct, ordered), len(distinct) - 1)
    out[order] = (distinct[nearest] == ordered) & (np.arange(len(ordered)) - first < counts[nearest])
    return out
