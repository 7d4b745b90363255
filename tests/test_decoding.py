"""JSON that orjson refuses: what cannot be kept is replaced, and only there."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames import decoding
from eachlabs_frames.decoding import MAX_DEPTH, TOO_DEEP, decode, replaced, storable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def nested(levels: int) -> bytes:
    """Return arrays within arrays."""
    return b"[" * levels + b"]" * levels


def depth(value: Any) -> int:
    """Count the levels of a value that nests in its first items."""
    levels = 0
    while isinstance(value, list) and value:
        levels, value = levels + 1, value[0]
    return levels + isinstance(value, list)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'"half \\ud83d"', "half \ufffd"),
        (b'"\\ud83d\\ude00 whole, \\ude00 half"', "\U0001f600 whole, \ufffd half"),
        (b'"\xff\xc3\xa9"', "\ufffd\u00e9"),
        (b"[NaN, Infinity, -Infinity, 1e999, -1e999]", [None] * 5),
        (b"[1e999, 12345678901234567890123, 18446744073709551615]", [None, 1.2345678901234568e22, 2**64 - 1]),
        (b"[" + b"7" * 400 + b"]", ["7" * 400]),
        (b"7" * 5000, "7" * 5000),
        (b'\xef\xbb\xbf{"a": [true, false, null, {}, []]}', {"a": [True, False, None, {}, []]}),
        (b'"a line\nand another"', "a line\nand another"),
        (b"[1e999, 0.5, -0.5e-3, 0, -1]", [None, 0.5, -0.0005, 0, -1]),
    ],
)
def test_what_cannot_be_kept_is_replaced(text: bytes, value: Any) -> None:
    """By U+FFFD, None, or the digits; what can be kept is as it was sent."""
    assert decode(text) == value


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 254, 1000, 1024, 1025, 5000, 50_000])
def test_deep_nesting_becomes_a_text(levels: int) -> None:
    """Whether orjson decodes it, decodes it and cannot encode it, or refuses it."""
    value = decode(nested(levels))
    assert depth(value) == MAX_DEPTH
    assert TOO_DEEP.encode() in orjson.dumps(value)


def test_nesting_within_the_bound_is_kept() -> None:
    """Beside a value that is replaced, too."""
    assert decode(nested(MAX_DEPTH)) == orjson.loads(nested(MAX_DEPTH))
    assert depth(decode(b'{"a":NaN,"b":' + nested(MAX_DEPTH - 1) + b"}")["b"]) == MAX_DEPTH - 1


def test_brackets_in_strings_are_no_nesting() -> None:
    """Neither in what is kept nor in what is skipped."""
    value = {"prompt": "[[{{" * 200, "n": [["]"]]}
    assert decode(orjson.dumps(value)) == value
    assert decode(b"[" + nested(300)[:300] + b'"]]]}\\""' + nested(300)[300:] + b',"next"]')[1] == "next"


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b" ", b"<html>", b"\xff\xd8\xff", b"nan", b"True", b"'a'", b'"\\ud800', b'"\\u12x4"', b"[NaN", b"{"),
        *(b"[NaN,]", b'{"a":NaN,}', b'{"a"}', b'{"a":}', b"{NaN:1}", b"[NaN 1]", b"[NaN] 1", b"[NaN}", b"01e999"),
        *(b"[NaN, 1.]", b"[NaN, .5]", b"[NaN, +1]", b"[NaN, -]", b"[NaN, 0x1]", b"[" * 5000, b'[NaN, "'),
    ],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    """A body that was cut short above all: half an answer is no answer."""
    with pytest.raises(ValueError, match=r"."):
        decode(text)


@pytest.mark.slow
@pytest.mark.parametrize("text", [b"[NaN" + b",[]" * 300_000 + b"]", nested(300_000)])
def test_a_hostile_body_is_given_up(text: bytes) -> None:
    """After a bounded number of steps, without recursion."""
    with pytest.raises(ValueError, match="too many values"):
        decode(text)


def test_only_the_execution_with_the_bad_value_has_a_note() -> None:
    """The sentence names the field and the replacement; the neighbours are as they were sent."""
    entries = b",".join(b'{"execution_id":"e%d","output":"fine"}' % number for number in range(9))
    bad = b'{"execution_id":"bad","output":{"score":NaN,"text":"\\ud83d"},"error":"\\udc00","inputs":{"a":NaN}}'
    value = decode(b'{"executions":[' + entries + b"," + bad + b"]}")
    assert [replaced(entry) for entry in value["executions"][:9]] == [None] * 9
    assert replaced(value["executions"][9]) == (
        "the API's JSON cannot be kept unchanged: output: NaN or an infinite number replaced by null; "
        "output: invalid Unicode replaced by U+FFFD; error: invalid Unicode replaced by U+FFFD"
    )


def test_values_that_never_reach_a_row_need_no_note() -> None:
    """What the API repeats of the inputs, and its steps."""
    body = b'{"execution_id":"e","inputs":{"a":NaN},"step_outputs":{"s":{"output":1e999}},"output":"fine"}'
    assert decode(body) == {
        "execution_id": "e",
        "inputs": {"a": None},
        "step_outputs": {"s": {"output": None}},
        "output": "fine",
    }


def test_a_note_stays_short() -> None:
    """Whatever number of fields, with names of whatever length."""
    body = orjson.dumps({"n" * 10_000 + str(number): "?" for number in range(50)}).replace(b'"?"', b"NaN")
    assert len(replaced(decode(body)) or "") < 500


def test_an_id_is_never_replaced_by_another() -> None:
    """It is missing instead; a bad name beside it changes nothing."""
    value = decode(b'{"executions":[{"execution_id":"e\\ud800"},{"execution_id":"e","\\ud800":1}]}')
    assert [entry["execution_id"] for entry in value["executions"]] == [None, "e"]


def test_what_an_api_sends_under_the_key_of_the_note_is_no_note() -> None:
    """Unless it is a text."""
    assert replaced(decode(orjson.dumps({decoding.REPLACED: {"a": 1}}))) is None


@pytest.mark.slow
@settings(deadline=None)
@given(JSON)
def test_the_parser_reads_what_orjson_reads(value: Any) -> None:
    """Beside a value that orjson refuses, everything else is read as orjson reads it."""
    text = orjson.dumps(value)
    assert decode(b"[1e999," + text + b"]") == [None, orjson.loads(text)]


@settings(deadline=None)
@given(st.text(alphabet='[]{}",:\\ud80 \t-+.0e1NaInfity', max_size=40))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    """What is decoded can be encoded; nothing but ValueError is raised."""
    try:
        value = decode(text.encode())
    except ValueError:
        return
    orjson.dumps(value)


@pytest.mark.parametrize(
    "value", ["\ud800", math.nan, 10**400, {"a": {1, 2}}, {3: ["\udfff"]}, json.loads("[" * 400 + "]" * 400)]
)
def test_storable_values_can_be_encoded(value: Any) -> None:
    """Whatever they were."""
    orjson.dumps(storable(value))
