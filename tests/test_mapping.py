"""`inputs=`: the four forms, and each way to get them wrong."""

from __future__ import annotations

from typing import Any

import pytest

import eachlabs_frames as ef
from eachlabs_frames.inputs.mapping import Column, Literal, resolve, template
from eachlabs_frames.inputs.mapping_spec import from_spec, to_spec

NONE: frozenset[Any] = frozenset()
SCHEMA = {"properties": {"prompt": {"type": "string"}, "seed": {"type": "integer"}}}


def test_none_selects_the_columns_in_the_schema() -> None:
    """In the schema's order; other columns stay at home."""
    assert resolve(None, ["seed", "note", "prompt"], SCHEMA, ours=NONE) == {
        "prompt": Column("prompt"),
        "seed": Column("seed"),
    }


@pytest.mark.parametrize("schema", [None, {}, {"properties": {}}, {"type": "object"}, {"properties": "odd"}])
def test_none_selects_every_column_without_a_schema(schema: Any) -> None:
    """But never the result's own."""
    found = resolve(None, ["a", "b", "status"], schema, ours=frozenset({"status"}))
    assert found == {"a": Column("a"), "b": Column("b")}


def test_none_lists_the_keys_of_the_schema_if_no_column_matches() -> None:
    """With the nearest column, and with what to write."""
    with pytest.raises(ef.MappingError, match=r"takes 'prompt', 'seed'.*did you mean 'Prompt'.*inputs="):
        resolve(None, ["Prompt", "id"], SCHEMA, ours=NONE)


def test_a_list_selects_columns_under_their_own_names() -> None:
    """In the order of the list."""
    assert list(resolve(["b", "a"], ["a", "b"], None, ours=NONE)) == ["b", "a"]  # type: ignore[arg-type]


def test_a_dict_maps_columns_constants_and_templates() -> None:
    """A plain string is a column's name, and so is any other label."""
    found = resolve(
        {"p": "text", "s": ef.lit("noir"), "c": ef.template("{text}!"), "n": 0, "m": ("a", "b")},
        ["text", 0, ("a", "b")],
        None,
        ours=NONE,
    )
    assert found == {
        "p": Column("text"),
        "s": Literal("noir"),
        "c": template("{text}!"),
        "n": Column(0),
        "m": Column(("a", "b")),
    }


def test_a_callable_is_returned_unchanged() -> None:
    """The function itself makes the inputs."""
    assert resolve(dict, ["a"], None, ours=NONE) is dict


@pytest.mark.parametrize(
    ("inputs", "columns", "message"),
    [
        (["promt"], ["prompt"], r"no column 'promt' \(did you mean 'prompt'\?\)"),
        (["x"], ["prompt", "style"], r"no column 'x' \(it has 'prompt', 'style'\)"),
        ({"seed": 42}, ["prompt"], r"no column 42.*lit\(42\)"),
        ({"a": ef.template("{nope}")}, ["prompt"], "no column 'nope'"),
        ([], ["a"], "empty"),
        ({}, ["a"], "empty"),
        ("prompt", ["prompt"], r"write inputs=\['prompt'\]"),
        (3, ["a"], "must be None, a list of columns, a dict or a callable; got int"),
        (["a", "a"], ["a"], "names column 'a' twice"),
        (["a"], ["a", "a"], "2 columns named 'a'"),
        ({"x": ef.template("{a}")}, ["a", "a"], "2 columns named 'a'"),
        (dict, ["a", "a"], "2 columns named 'a'"),
        ([0], [0], r"0 is not a string.*inputs=\{'name': 0\}"),
        ({0: "a"}, ["a"], "0 is not a string"),
        (None, [0], "0 is not a string"),
        ({"a": ["x"]}, ["a"], r"lit\(\['x'\]\)"),
        ({"a": None}, ["a"], "got None"),
        ({"a": dict}, ["a"], "must be a column name"),
        (None, [], "empty"),
        ([{"prompt": "a"}], ["a"], r"a list with a dict in it \(\{'prompt': 'a'\}\): pass the dict without the list"),
        ([["a"]], ["a"], r"list of column names.*\['a'\] \(a list\) is no name"),
        ([ef.lit("x")], ["a"], "has no key: write a dict"),
    ],
)
def test_the_error_of_an_invalid_mapping_says_what_to_do(inputs: Any, columns: list[Any], message: str) -> None:
    """Each mistake has its own sentence."""
    with pytest.raises(ef.MappingError, match=message):
        resolve(inputs, columns, None, ours=NONE)


@pytest.mark.parametrize(
    ("text", "message"),
    [("no field", "names no column"), ("{}", "names no column"), ("{0}", "names no column"), ("{a", "cannot be read")],
)
def test_an_invalid_template_is_refused(text: str, message: str) -> None:
    """Positions, nothing, or a brace that is not closed."""
    with pytest.raises(ef.MappingError, match=message):
        ef.template(text)


def test_a_template_must_be_a_string() -> None:
    """Anything else is an error of ours, not of str.format."""
    with pytest.raises(ef.MappingError, match="takes a string; got int"):
        ef.template(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [b"x", float("inf"), None, float("nan")])
def test_a_constant_that_cannot_be_sent_is_refused_at_creation(value: object) -> None:
    """Not at the first of 10,000 rows."""
    with pytest.raises(ef.MappingError, match="lit"):
        ef.lit(value)


def test_a_mapping_is_unchanged_after_serialization() -> None:
    """What attrs carry gives the same fields back; a label that is no string cannot be carried."""
    fields = {"a": Column("x"), "b": Literal([1, {"c": None}]), "t": template("{x} {y:>5}")}
    spec = to_spec(fields)
    assert spec is not None
    assert from_spec(spec) == fields
    assert to_spec({"a": Column(("x", "y"))}) is None
