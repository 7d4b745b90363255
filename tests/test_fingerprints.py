"""Tests of fingerprints and checksums: two inputs share a fingerprint exactly when they are equal as JSON."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.inputs.fingerprints import SIZE, SORTED, checksum, checksums, fingerprint, fingerprints

WHOLE = st.integers(-(2**53), 2**53)
SCALARS = st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
CELLS = SCALARS | st.recursive(
    WHOLE | st.floats(0, 9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


def shuffled(value: Any, random: Any) -> Any:
    """Return an equal JSON value with its keys reordered and some integers as floats."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    if isinstance(value, list):
        return [shuffled(item, random) for item in value]
    if type(value) is int and random.random() < 0.5:
        return float(value)
    return value


def json_equal(left: Any, right: Any) -> bool:
    """Return whether two values are equal as JSON: Python's equality, except that True is not 1."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(json_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and left == right


@pytest.mark.slow
@settings(deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_equal_json_values_have_equal_fingerprints(value: Any, random: Any) -> None:
    """Key order and the difference between 1 and 1.0 are ignored at every depth."""
    assert fingerprint(shuffled(value, random)) == fingerprint(value)


@pytest.mark.slow
@settings(deadline=None)
@given(VALUES, VALUES)
def test_fingerprints_are_equal_only_for_equal_json_values(left: Any, right: Any) -> None:
    """Two arbitrary values share a fingerprint exactly when they are equal as JSON."""
    assert (fingerprint(left) == fingerprint(right)) == json_equal(left, right)


@pytest.mark.slow
@settings(deadline=None)
@given(VALUES)
def test_fingerprint_survives_a_json_round_trip(value: Any) -> None:
    """Serializing and parsing a value keeps its fingerprint."""
    assert fingerprint(orjson.loads(orjson.dumps(value))) == fingerprint(value)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"seed": True}, {"seed": 1}),
        ({"seed": False}, {"seed": 0}),
        ({"seed": "1"}, {"seed": 1}),
        ({"seed": "1.0"}, {"seed": "1"}),
        ({"seed": None}, {}),
        ({"seed": 1}, {"seed": 1.5}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": [[1], 2]}, {"a": [[1, 2]]}),
        ({"a": {"b": True}}, {"a": {"b": 1.0}}),
        ({"a": 2**53}, {"a": 2**53 + 1}),
        ({"text": "1e3"}, {"text": "1000"}),
    ],
)
def test_different_json_values_have_different_fingerprints(left: Any, right: Any) -> None:
    """Booleans and strings are not numbers, null is not a missing key, and lists are ordered."""
    assert fingerprint(left) != fingerprint(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 0}, {"a": -0.0}),
        ({"a": [{"b": 1e3, "c": 2}]}, {"a": [{"c": 2.0, "b": 1000}]}),
        ({"a": 1e22}, {"a": 10.0**22}),
        ({"a": -3}, {"a": -3.0}),
    ],
)
def test_equal_values_that_data_frames_produce_have_equal_fingerprints(left: Any, right: Any) -> None:
    """An integer column becomes float when another row's cell is missing; its values keep their fingerprints."""
    assert fingerprint(left) == fingerprint(right)


@pytest.mark.parametrize(
    "value", [7.0, -0.0, [1.0], {"b": 2.0}, 1e16, 1.5e18, 1e22, -1.5e300, 5e-324, "1e16", "a.0, b"]
)
def test_batch_fingerprints_normalize_whole_floats(value: Any) -> None:
    """A row with a whole float among rows without any has the same fingerprint and checksum as on its own."""
    rows = [{"a": "fox"}, {"a": value}, {"a": 0.5}]
    payloads = [orjson.dumps(row, option=SORTED) for row in rows]
    assert fingerprints(rows, payloads) == [fingerprint(row) for row in rows]
    assert checksums(rows, payloads) == [checksum(row) for row in rows]


@pytest.mark.parametrize("text", ["1e22", "1e+22", "10000000000000000000000.0"])
def test_fingerprint_does_not_depend_on_the_orjson_version(text: str) -> None:
    """Versions of orjson before 3.13 writes 1e22, later versions write 1e+22."""
    expected = hashlib.blake2b(b'{"a":1e+22}', digest_size=SIZE).digest()
    payload = b'{"a":%s}' % text.encode()
    assert fingerprints([orjson.loads(payload)], [payload]) == [expected]


def test_fingerprint_has_the_documented_size() -> None:
    """A fingerprint is `SIZE` bytes long, because the journal stores one per row."""
    assert len(fingerprint({})) == SIZE


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(), CELLS, max_size=3), max_size=4))
def test_batch_fingerprints_equal_single_fingerprints(rows: list[dict[str, Any]]) -> None:
    """`fingerprints` with payloads that are serialized already returns what `fingerprint` returns for each row."""
    payloads = [orjson.dumps(row, option=SORTED) for row in rows]
    assert fingerprints(rows, payloads) == [fingerprint(row) for row in rows]


@pytest.mark.parametrize("value", [{"a": {1, 2}}, {"a": b"x"}, {"a": 2**70}])
def test_fingerprint_rejects_values_that_are_not_json(value: Any) -> None:
    """A value that JSON cannot represent raises `TypeError`."""
    with pytest.raises(TypeError):
        fingerprint(value)
