"""Checks inputs against a workflow's input schema.

Implements the JSON Schema keywords that the sandbox's workflows use. It never uses a schema library: the product does,
and the two must not share a mistake. Stricter than the standard in one place: 1.0 is not an integer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "null": lambda v: v is None,
}
_BOUNDS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (lambda v, bound: v >= bound, "at least"),
    "maximum": (lambda v, bound: v <= bound, "at most"),
    "exclusiveMinimum": (lambda v, bound: v > bound, "more than"),
    "exclusiveMaximum": (lambda v, bound: v < bound, "less than"),
}
_SIZES: Mapping[type, tuple[str, str, str]] = {
    str: ("minLength", "maxLength", "characters"),
    list: ("minItems", "maxItems", "items"),
}
_KEYWORDS = frozenset(
    {"type", "required", "properties", "additionalProperties", "items", "enum", "const", "pattern"}
    | set(_BOUNDS)
    | {word for low, high, _ in _SIZES.values() for word in (low, high)}
)
_NOTES = frozenset({"$schema", "title", "description", "default", "examples", "format"})


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise `ValueError` if the schema has a keyword that this checker does not support."""
    unknown = set(schema) - _KEYWORDS - _NOTES
    if unknown:
        msg = f"the sandbox does not know these words of JSON Schema: {sorted(unknown)}"
        raise ValueError(msg)
    for part in schema.get("properties", {}).values():
        check_schema(part)
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            check_schema(schema[word])


def problem(schema: Mapping[str, Any], inputs: Mapping[str, Any]) -> str | None:
    """Return what is wrong with `inputs`, in the API's words, or None."""
    found = next(_problems(schema, inputs, ""), None)
    return None if found is None else f"invalid input: {found}"


def _problems(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    name = f"field '{path}'" if path else "the input"
    kinds = schema.get("type")
    if kinds is not None:
        wanted = [kinds] if isinstance(kinds, str) else list(kinds)
        if not any(_TYPES[kind](value) for kind in wanted):
            yield f"{name} must be of type {' or '.join(wanted)}"
            return
    if "enum" in schema and not any(_same(value, choice) for choice in schema["enum"]):
        yield f"{name} must be one of {', '.join(map(repr, schema['enum']))}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{name} must be {schema['const']!r}"
    if isinstance(value, dict):
        yield from _object_problems(schema, value, path)
    elif isinstance(value, list) and "items" in schema:
        for position, item in enumerate(value):
            yield from _problems(schema["items"], item, f"{path}[{position}]")
    yield from _size_problems(schema, value, name)


def _object_problems(schema: Mapping[str, Any], value: Mapping[str, Any], path: str) -> Iterator[str]:
    inside = f"{path}." if path else ""
    for key in schema.get("required", ()):
        if key not in value:
            yield f"missing required field '{inside}{key}'"
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for key, item in value.items():
        if key in properties:
            yield from _problems(properties[key], item, f"{inside}{key}")
        elif others is False:
            yield f"unknown field '{inside}{key}'"
        elif isinstance(others, Mapping):
            yield from _problems(others, item, f"{inside}{key}")


def _size_problems(schema: Mapping[str, Any], value: Any, name: str) -> Iterator[str]:
    if _TYPES["number"](value):
        for word, (holds, phrase) in _BOUNDS.items():
            if word in schema and not holds(value, schema[word]):
                yield f"{name} must be {phrase} {schema[word]}"
    elif isinstance(value, (str, list)):
        low, high, noun = _SIZES[type(value)]
        if low in schema and len(value) < schema[low]:
            yield f"{name} must have at least {schema[low]} {noun}"
        if high in schema and len(value) > schema[high]:
            yield f"{name} must have at most {schema[high]} {noun}"
        if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{name} must match {schema['pattern']}"


def _same(value: Any, other: Any) -> bool:
    # In JSON, true is not 1.
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)
