"""Builds inputs from the cells of a chunk."""

from __future__ import annotations

import tracemalloc
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.inputs.encoding import (
    MAX_PAYLOAD,
    Problem,
    encode,
    encode_all,
    from_columns,
    from_function,
    problems,
)
from eachlabs_frames.inputs.mapping import Column, resolve
from eachlabs_frames.inputs.schema import compile_check, integer_keys
from tests.test_json_values import plain, values

NO_KEYS: frozenset[str] = frozenset()


def made(columns: dict[Any, list[Any]], fields: Any = None, *, omit: bool = True, integers: Any = NO_KEYS) -> Any:
    """Make the inputs of columns, each under its own name by default."""
    size = len(next(iter(columns.values())))
    fields = fields or {name: Column(name) for name in columns}
    return from_columns(columns, size, fields, omit=omit, integers=integers)


def test_a_missing_cell_leaves_its_key_out_or_sends_null() -> None:
    """Depending on `na=`."""
    columns = {"a": ["x", None], "b": [1.0, float("nan")]}
    assert made(columns) == [{"a": "x", "b": 1.0}, {}]
    assert made(columns, omit=False) == [{"a": "x", "b": 1.0}, {"a": None, "b": None}]


def test_whole_floats_become_integers_where_the_schema_wants_them() -> None:
    """A column that is float because of NaN is sent as integers; other floats are not changed."""
    assert made({"n": [1.0, float("nan"), 2.5], "x": [1.0, 2.0, 3.0]}, integers=frozenset({"n"})) == [
        {"n": 1, "x": 1.0},
        {"x": 2.0},
        {"n": 2.5, "x": 3.0},
    ]
    assert type(made({"n": [1.0]}, integers=frozenset({"n"}))[0]["n"]) is int


def test_templates_format_cells_and_are_missing_if_a_cell_is() -> None:
    """Format specs, conversions, braces, dots in names; and no "nan" in a prompt."""
    columns = {"animal": ["fox", None], "price": [1.5, 2.0], "a.b": ["x", "y"], "when": [datetime(2026, 1, 2)] * 2}
    fields = {
        "t": ef.template("{{{animal:>5}}} {price:.2f} {a.b!r} {when:%Y}"),
        "u": ef.template("{price}"),
    }
    assert made(columns, fields) == [{"t": "{  fox} 1.50 'x' 2026", "u": "1.5"}, {"u": "2"}]


@pytest.mark.parametrize(
    "text",
    [
        "{n}",
        "{n:d}",
        "{n!r}",
        "{n!s:>8}",
        "{n:08}",
        "{n:,}",
        "{n:x}",
        "{n:.3}",
        "{n:8.3}",
        "{n:.1f}",
        "{n:g}",
        "{n:.0%}",
        "{n:^{w}}",
    ],
)
@pytest.mark.parametrize("integer", [0, 7, -3, 1990, 2**53, 1_230_000_000_000_000_000, -(10**18), 10**19])
def test_a_templates_text_does_not_depend_on_the_dtype_of_its_column(text: str, integer: int) -> None:
    """An integer beside a missing cell is a float64 (or a float32): the same text, so the same input."""
    kinds: list[Any] = [float, np.float64]
    if abs(integer) < 2**24:
        kinds.append(np.float32)
    columns = {"n": [integer, *(kind(integer) for kind in kinds)], "w": [9] + [9.0] * len(kinds)}
    texts = made(columns, {"t": ef.template(text)})
    assert len({str(row) for row in texts}) == 1, texts
    assert "t" in texts[0]


def test_a_template_formats_integers_of_a_column_that_became_float() -> None:
    """As the row without a year would otherwise change the others' prompts."""
    whole = made({"animal": ["fox"], "year": [1990]}, {"t": ef.template("{animal} in {year}")})
    beside = made({"animal": ["fox", "owl"], "year": [1990.0, float("nan")]}, {"t": ef.template("{animal} in {year}")})
    assert whole == [{"t": "fox in 1990"}]
    assert beside == [{"t": "fox in 1990"}, {}]
    assert made({"x": [0.5, 2.5]}, {"t": ef.template("{x}")}) == [{"t": "0.5"}, {"t": "2.5"}]


def test_an_integer_that_has_lost_digits_is_refused() -> None:
    """In a template, and where the schema wants an integer; a format spec for floats says that a float is meant."""
    lossy = float(1234567890123456789)
    problem = made({"n": [lossy, 1.0]}, {"t": ef.template("{n}")})[0]
    assert isinstance(problem, Problem)
    assert "its last digits are lost: give the column the dtype Int64" in problem.reason
    assert problem == made({"n": [lossy]}, {"t": ef.template("{n:d}")})[0]
    assert made({"n": [lossy]}, {"t": ef.template("{n:.0f}")}) == [{"t": "1234567890123456768"}]
    refused, kept = made({"n": [lossy, 2.0]}, integers=frozenset({"n"}))
    assert (kept, str(refused)[:10]) == ({"n": 2}, "column 'n'")
    assert made({"n": [lossy]}) == [{"n": lossy}]


def test_a_template_reads_no_attributes() -> None:
    """`{a.__class__}` is a column that is not there, not a way into the interpreter."""
    with pytest.raises(ef.MappingError, match=r"no column 'a\.__class__'"):
        resolve({"x": ef.template("{a.__class__}")}, ["a"], None, ours=frozenset())


def test_a_template_that_does_not_fit_a_cell_is_that_rows_problem() -> None:
    """A bad format spec names the template."""
    rows = made({"a": ["x", 1]}, {"t": ef.template("{a:d}")})
    assert isinstance(rows[0], Problem)
    assert "'{a:d}'" in rows[0].reason
    assert rows[1] == {"t": "1"}


def test_the_problem_of_an_invalid_cell_is_of_its_row_and_names_the_column() -> None:
    """The neighbours are inputs."""
    rows = made({"a": ["x", b"y", "z"], "b": [1, 2, 3]})
    assert rows[0] == {"a": "x", "b": 1}
    assert rows[1] == Problem(
        "bytes cannot be sent as JSON: decode them to text, or write ef.file('column') to upload them as files",
        "column 'a'",
    )
    assert rows[2] == {"a": "z", "b": 3}


@pytest.mark.parametrize("bad", ["\udfff", 2**70, ["ok", "\udfff"], {"k": 2**70}])
def test_values_that_only_the_encoder_rejects_are_problems(bad: Any) -> None:
    """A lone surrogate or an endless integer in a column that looks plain names its key."""
    rows = made({"a": [bad, bad]})
    found = list(problems(rows, None))
    assert [place for place, _, _ in found] == [0, 1]
    assert all("'a'" in str(problem) for _, problem, _ in found)


def test_a_payload_over_ten_megabytes_is_a_problem() -> None:
    """With its size, and what to do."""
    problem = encode({"a": "x" * MAX_PAYLOAD})
    assert isinstance(problem, Problem)
    assert "10.0 MB" in problem.reason
    rows = made({"a": ["small", "x" * MAX_PAYLOAD]})
    assert [place for place, _, _ in problems(rows, None)] == [1]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda row: None, "must return a dict; it returned NoneType"),
        (lambda row: [1], "it returned list"),
        (lambda row: row["nope"], "raised KeyError"),
        (lambda row: {1: "a"}, "a key that is not a string: 1"),
        (lambda row: {"a": {1}}, "set"),
    ],
)
def test_a_failing_function_is_a_problem_of_the_row(function: Any, reason: str) -> None:
    """What it raises is no exception here."""
    assert reason in str(from_function(function, {"x": 1}, omit=True, integers=NO_KEYS))


def test_the_input_from_a_function_is_converted_like_any_other() -> None:
    """Missing values, dtypes and integers."""
    row = from_function(lambda row: {"a": None, "n": 2.0, "t": (1,)}, {}, omit=True, integers=frozenset({"n"}))
    assert row == {"n": 2, "t": [1]}


def test_the_schema_rejects_a_row_with_the_validators_reason() -> None:
    """And marks that it was the schema alone."""
    check = compile_check({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}})
    rows = made({"a": ["x", 3, None]})
    assert [(place, str(problem), alone) for place, problem, alone in problems(rows, check)] == [
        (1, 'a: 3 is not of type "string"', True),
        (2, '"a" is a required property', True),
    ]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"type": "integer"}, True),
        ({"type": ["integer", "null"]}, True),
        ({"type": "number"}, False),
        ({"type": ["integer", "number"]}, False),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, True),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, False),
        ({}, False),
        (True, False),
    ],
)
def test_which_properties_are_integers_in_a_schema(rule: Any, wanted: bool) -> None:
    """Only where a float would not do."""
    assert integer_keys({"properties": {"n": rule}}) == ({"n"} if wanted else set())


@pytest.mark.slow
@given(st.lists(values, max_size=8), st.booleans())
def test_a_column_gives_json_or_a_problem_for_every_row(cells: list[Any], omit: bool) -> None:
    """Any cells at all: as many rows out as in, each encodable with a second encoder's agreement, or a problem."""
    rows = made({"a": [*cells, "end"]}, omit=omit)
    assert len(rows) == len(cells) + 1
    bad = {place for place, _, _ in problems(rows, None)}
    for place, row in enumerate(rows):
        if place in bad:
            continue
        assert plain(row)
        payload = encode(row)
        assert isinstance(payload, bytes)
        assert orjson.loads(payload) == row


def test_encoded_rows_take_no_more_memory_than_their_json() -> None:
    """Not the 4 KB buffer in which each was built."""
    rows = [{"prompt": f"a watercolour of fox number {number}"} for number in range(1_000)]
    tracemalloc.start()
    payloads = encode_all(rows)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 200 * len(payloads)
