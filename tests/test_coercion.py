"""The text of a cell is read as what a schema or a named type asks for, exactly, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from eachlabs_frames.inputs.coercion import TYPES, convert, read_as, schema_types
from eachlabs_frames.inputs.encoding import Problem, from_columns
from eachlabs_frames.inputs.json_values import RefusedValueError
from eachlabs_frames.inputs.mapping import Column, Fields, with_types
from eachlabs_frames.inputs.mapping_spec import as_pinned, from_spec, to_spec

EXACT = 1234567890123456789


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"type": "integer"}, ("integer",)),
        ({"type": ["number", "null"]}, ("number",)),
        ({"type": ["integer", "string"]}, ()),
        ({"type": "string"}, ()),
        ({}, ()),
        (None, ()),
        (True, ()),
        ({"enum": [1, 2]}, ("integer",)),
        ({"enum": ["1", "2"]}, ()),
        ({"const": True}, ("boolean",)),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, ("integer",)),
        ({"oneOf": [{"type": "boolean"}, {"type": "array"}]}, ("boolean", "array")),
        ({"anyOf": [{"type": "integer"}, {}]}, ()),
        ({"allOf": [{"$ref": "#/$defs/Seed"}], "description": "pydantic writes this"}, ("integer",)),
        ({"$ref": "#/$defs/Seed"}, ("integer",)),
        ({"$ref": "#/$defs/Loop"}, ()),
        ({"$ref": "#/$defs/None/at/all"}, ()),
        ({"$ref": "https://example.org/schema"}, ()),
        ({"type": "integer", "enum": [1, 2]}, ("integer",)),
        ({"type": {"no": "type"}, "enum": 7, "anyOf": "x", "allOf": 5}, ()),
    ],
)
def test_a_schema_says_what_text_is_read_as(rule: Any, wanted: tuple[str, ...]) -> None:
    """Where it takes text, or does not say, text stays text; a broken or circular schema does not say."""
    schema = {"$defs": {"Seed": {"type": "integer"}, "Loop": {"$ref": "#/$defs/Loop"}}}
    assert schema_types(rule, schema) == wanted


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        ("integer", "7", 7),
        ("integer", "-7", -7),
        ("integer", "0400", 400),
        ("integer", " 7\n", 7),
        ("integer", "7.0", 7),
        ("integer", "7e2", 700),
        ("integer", str(EXACT), EXACT),
        ("integer", f"{EXACT}.0", EXACT),
        ("integer", "18446744073709551615", 18446744073709551615),
        ("number", "7", 7),
        ("number", "1.10", 1.1),
        ("number", "-.5", -0.5),
        ("number", "1e3", 1000.0),
        ("number", str(EXACT), EXACT),
        ("number", f"{EXACT}.0", EXACT),
        ("boolean", "TRUE", True),
        ("boolean", "false", False),
        ("array", '["0400", 1234567890123456789]', ["0400", EXACT]),
        ("object", '{"a": null}', {}),
    ],
)
def test_text_is_read_exactly(kind: str, text: str, wanted: Any) -> None:
    """A value of another type that is equal would be another JSON."""
    found = read_as(text, (kind,), omit=True)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(
            ("integer", text)
            for text in ("", "seven", "7.5", "1_000", "0x1F", "٣", "1e-3", "1e99", "inf", "7 8", "9" * 5000)
        ),
        *(("integer", text) for text in ("18446744073709551616", "1e999999999999", "TRUE")),
        *(("number", text) for text in ("nan", "inf", "1e999", "1,5", "18446744073709551616", "1_0.5")),
        *(("boolean", text) for text in ("1", "0", "yes", "t", "on")),
        *(("array", text) for text in ("a", "{}", "[NaN]", "[1", "null", "[" * 100_000)),
        *(("object", text) for text in ("[]", '{"a": 1} x', '"{}"')),
    ],
)
def test_text_that_is_no_such_value_stays_text(kind: str, text: str) -> None:
    """The schema refuses the row then, and nothing is paid for a guess."""
    assert read_as(text, (kind,), omit=True) == text


@pytest.mark.parametrize(
    ("type_", "cell", "wanted"),
    [
        ("int", "0400", 400),
        ("int", 7.0, 7),
        ("int", 7, 7),
        ("float", "7", 7.0),
        ("float", "1.10", 1.1),
        ("float", str(EXACT), EXACT),
        ("bool", "True", True),
        ("bool", False, False),
        ("json", "[1.10]", [1.1]),
        ("json", '"x"', "x"),
        ("json", {"a": 1}, {"a": 1}),
        ("str", "0400", "0400"),
        ("str", 400, "400"),
        ("str", True, "true"),
        ("str", ["é"], '["é"]'),
    ],
)
def test_a_named_type_is_kept_to(type_: str, cell: Any, wanted: Any) -> None:
    """Also for cells that are no text, as of JSON lines."""
    found = convert(cell, type_, omit=True)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(
    ("type_", "cell"),
    [
        ("int", "7.5"),
        ("int", "x"),
        ("int", True),
        ("float", "x"),
        ("float", [1]),
        ("bool", "1"),
        ("bool", 1),
        ("json", "{"),
    ],
)
def test_a_cell_that_is_not_of_its_named_type_is_refused(type_: str, cell: Any) -> None:
    """The reason names the cell."""
    with pytest.raises(RefusedValueError):
        convert(cell, type_, omit=True)


def test_the_types_of_columns_make_inputs_and_travel() -> None:
    """One column may fill two keys in two ways; a gap stays one; what the schema says is no part of a run's pin."""
    fields: Fields = {"seed": Column("n"), "label": Column("n"), "id": Column("n", "str"), "extra": Column("n")}
    schema: Any = {"properties": {"seed": {"type": "integer"}, "id": {"type": "integer"}, "label": {"type": "string"}}}
    typed = with_types(fields, schema | {"additionalProperties": {"type": "number"}})
    rows = from_columns({"n": ["007", None, "x"]}, 3, typed, omit=True, integers=frozenset())
    assert rows[:2] == [{"seed": 7, "label": "007", "id": "007", "extra": 7}, {}]
    assert from_columns({"n": ["x"]}, 1, {"n": Column("n", "int")}, omit=True, integers=frozenset()) == [
        Problem("'x' cannot be read as int", "column 'n'")
    ]
    spec = to_spec(typed)
    assert spec is not None
    assert from_spec(spec) == typed
    assert as_pinned(spec) == to_spec(fields)
    for wrong in ({"column": "n", "type": "word"}, {"column": "n", "by_schema": ["word"]}, {"column": []}):
        with pytest.raises((KeyError, TypeError)):
            from_spec({"n": wrong})
    assert [to_spec({"n": Column("n", name)}) for name in TYPES] == [
        {"n": {"column": "n", "type": name}} for name in TYPES
    ]
