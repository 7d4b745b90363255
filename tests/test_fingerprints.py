"""What a row is known by: equal as JSON is equal, and nothing else is."""

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
    """Give the same JSON another way: other key order, whole numbers as floats."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    if isinstance(value, list):
        return [shuffled(item, random) for item in value]
    if type(value) is int and random.random() < 0.5:
        return float(value)
    return value


def same(one: Any, other: Any) -> bool:
    """Say whether two values are equal as JSON: as Python has it, but that True is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


@pytest.mark.slow
@settings(deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_what_is_equal_as_json_has_one_fingerprint(value: Any, random: Any) -> None:
    """Key order does not count, and 1 and 1.0 are one number, however deep."""
    assert fingerprint(shuffled(value, random)) == fingerprint(value)


@pytest.mark.slow
@settings(deadline=None)
@given(VALUES, VALUES)
def test_one_fingerprint_is_equality_as_json(one: Any, other: Any) -> None:
    """And what differs, differs."""
    assert (fingerprint(one) == fingerprint(other)) == same(one, other)


@pytest.mark.slow
@settings(deadline=None)
@given(VALUES)
def test_the_wire_changes_no_fingerprint(value: Any) -> None:
    """Written, sent and read again, it is the same input."""
    assert fingerprint(orjson.loads(orjson.dumps(value))) == fingerprint(value)


@pytest.mark.parametrize(
    ("one", "other"),
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
def test_what_differs_as_json_has_another_fingerprint(one: Any, other: Any) -> None:
    """A truth is no number, a text is none either, null is not nothing, and a list has an order."""
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 0}, {"a": -0.0}),
        ({"a": [{"b": 1e3, "c": 2}]}, {"a": [{"c": 2.0, "b": 1000}]}),
        ({"a": 1e22}, {"a": 10.0**22}),
        ({"a": -3}, {"a": -3.0}),
    ],
)
def test_what_is_equal_is_equal_in_the_cases_that_tables_make(one: Any, other: Any) -> None:
    """An integer column turns float because another row's cell is missing."""
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    "value", [7.0, -0.0, [1.0], {"b": 2.0}, 1e16, 1.5e18, 1e22, -1.5e300, 5e-324, "1e16", "a.0, b"]
)
def test_whole_floats_are_found_in_the_json_of_many_rows(value: Any) -> None:
    """They are between rows that have none, and each row's checksum is the same whatever the others are."""
    rows = [{"a": "fox"}, {"a": value}, {"a": 0.5}]
    payloads = [orjson.dumps(row, option=SORTED) for row in rows]
    assert fingerprints(rows, payloads) == [fingerprint(row) for row in rows]
    assert checksums(rows, payloads) == [checksum(row) for row in rows]


@pytest.mark.parametrize("text", ["1e22", "1e+22", "10000000000000000000000.0"])
def test_no_version_of_orjson_changes_a_fingerprint(text: str) -> None:
    """Versions before 3.13 write 1e22, later ones 1e+22."""
    expected = hashlib.blake2b(b'{"a":1e+22}', digest_size=SIZE).digest()
    payload = b'{"a":%s}' % text.encode()
    assert fingerprints([orjson.loads(payload)], [payload]) == [expected]


def test_a_fingerprint_is_short() -> None:
    """A journal holds one for each row."""
    assert len(fingerprint({})) == SIZE


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(), CELLS, max_size=3), max_size=4))
def test_json_that_is_there_already_saves_work_and_changes_nothing(rows: list[dict[str, Any]]) -> None:
    """One fingerprint for each input, in order, equal to that of `fingerprint`; few and small rows, many examples."""
    payloads = [orjson.dumps(row, option=SORTED) for row in rows]
    assert fingerprints(rows, payloads) == [fingerprint(row) for row in rows]


@pytest.mark.parametrize("value", [{"a": {1, 2}}, {"a": b"x"}, {"a": 2**70}])
def test_what_is_no_json_has_none(value: Any) -> None:
    """It says so, rather than hash something."""
    with pytest.raises(TypeError):
        fingerprint(value)
