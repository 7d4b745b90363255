"""Values of cells -> JSON: the table of design section 2, and what is refused."""

from __future__ import annotations

import enum
import io
import json
import math
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pandas as pd
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eachlabs_frames.frames import rows  # noqa: F401 - registers pandas.NA
from eachlabs_frames.inputs.json_values import MAX_DEPTH, MISSING, RefusedValueError, clean, clean_local


class Style(enum.Enum):
    NOIR = "noir"
    SEVEN = 7


class Word(str, enum.Enum):
    FOX = "fox"


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, np.float32("nan"), pd.NaT, pd.NA, Decimal("NaN")])
def test_missing_values_are_missing(missing: object) -> None:
    """None, NaN, NaT and NA are one and the same."""
    assert clean(missing) is MISSING


@pytest.mark.parametrize("missing", [np.datetime64("NaT", "s"), np.timedelta64("NaT", "s")])
def test_numpy_not_a_time_is_missing(missing: object) -> None:
    """NumPy's NaT is missing as pandas' is."""
    assert clean(missing) is MISSING


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(7), 7),
        (np.uint8(7), 7),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("fox"), "fox"),
        (True, True),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc), "2026-01-02T03:04:05+00:00"),
        (pd.Timestamp("2026-01-02 03:04:05", tz="Europe/Berlin"), "2026-01-02T03:04:05+01:00"),
        (np.datetime64("2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4, 5), "03:04:05"),
        (timedelta(minutes=1.5), 90.0),
        (pd.Timedelta("90s"), 90.0),
        (np.timedelta64(90, "s"), 90.0),
        (Decimal("5"), 5),
        (Decimal("5.50"), 5.5),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("a/b"), "a/b"),
        (Style.NOIR, "noir"),
        (Style.SEVEN, "SEVEN"),
        (Word.FOX, "fox"),
        ((1, "a"), [1, "a"]),
        ([None, float("nan"), 1], [None, None, 1]),
        ({"a": np.int64(1), "b": {"c": (Style.NOIR,)}}, {"a": 1, "b": {"c": ["noir"]}}),
        ({"a": None, "b": 1}, {"b": 1}),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.5, np.nan]), [1.5, None]),
        (np.array(["2026-01-02"], dtype="datetime64[ns]"), ["2026-01-02T00:00:00"]),
        (np.array(3), 3),
    ],
)
def test_a_value_becomes_the_json_value_that_the_design_names(value: object, expected: object) -> None:
    """Equal, and of exactly Python's plain type."""
    cleaned = clean(value)
    assert cleaned == expected
    assert type(cleaned) is type(expected)


def test_null_is_kept_inside_a_dict_where_it_is_asked_for() -> None:
    """`na="null"` reaches into a cell."""
    assert clean({"a": None, "b": [{"c": pd.NA}]}, omit=False) == {"a": None, "b": [{"c": None}]}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"x", "bytes"),
        (bytearray(b"x"), "bytes"),
        (np.bytes_(b"x"), "bytes"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (np.float64("inf"), "inf"),
        (Decimal("Infinity"), "inf"),
        ({1, 2}, "set"),
        (frozenset(), "frozenset"),
        ("\ud800", "lone surrogate"),
        (2**64, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        (1 + 2j, "complex"),
        (np.complex128(1), "complex"),
        (object(), "object"),
        (pd.Series([1]), "Series"),
        ({1: "a"}, "not a string"),
        ({"\ud800": 1}, "lone surrogate"),
        (lambda: 1, "function"),
        (
            Path("a.png"),
            r"a local path cannot be sent.*ef.file\('column'\)}; if the text itself is meant, pass str\(path\)",
        ),
        ([{"image": Path("a.png")}], r"a local path cannot be sent.*\(at \[0\]\.image in the value\)"),
        (io.BytesIO(b"x"), "an open file cannot be sent"),
        (PIL.Image.new("RGB", (1, 1)), "a PIL image cannot be sent as JSON: as a column of its own it is uploaded"),
    ],
)
def test_what_is_no_json_is_refused_with_a_reason(value: object, reason: str) -> None:
    """Bytes, infinities, sets, lone surrogates, and anything that is not in the table."""
    with pytest.raises(RefusedValueError, match=reason):
        clean(value)


def test_on_this_machine_a_path_is_its_text() -> None:
    """As a key or a label; everything else is as it would be sent."""
    assert clean_local(Path("a.png")) == "a.png"
    assert clean_local(np.int64(3)) == 3


def test_a_refusal_says_where_in_the_value() -> None:
    """A culprit three levels down is found by its path."""
    with pytest.raises(RefusedValueError, match=r"bytes.*\(at \.a\[1\]\.b in the value\)"):
        clean({"a": [0, {"b": b""}]})


def test_a_value_that_contains_itself_is_refused() -> None:
    """No endless recursion."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(RefusedValueError, match=f"more than {MAX_DEPTH} deep"):
        clean(loop)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(max_size=3),
    st.datetimes(),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    st.sampled_from([pd.NA, pd.NaT, np.float32(1.5), np.int8(3), np.datetime64("2026-01-01"), Style.NOIR, {1}]),
    st.floats().map(np.float64),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.characters(categories=["Cs"]),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=4),
    ),
    max_leaves=12,
)


def plain(value: object) -> bool:
    """Say whether a value is JSON of exactly Python's own types."""
    if isinstance(value, dict):
        return all(type(key) is str and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or (type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)))


@given(values, st.booleans())
def test_whatever_comes_out_is_valid_json_of_plain_python_types(value: object, omit: bool) -> None:
    """Any value at all is either refused, missing, or JSON that two encoders agree on."""
    try:
        cleaned = clean(value, omit=omit)
    except RefusedValueError:
        return
    if cleaned is MISSING:
        return
    assert plain(cleaned)
    assert orjson.loads(orjson.dumps(cleaned)) == json.loads(json.dumps(cleaned, allow_nan=False))
