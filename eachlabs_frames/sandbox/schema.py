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
    | {keyword for low, high, _ in _SIZES.values() for keyword in (low, high)}
)
_ANNOTATIONS = frozenset({"$schema", "title", "description", "default", "examples", "format"})


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise `ValueError` if the schema has a keyword that this checker does not support."""
    unknown = set(schema) - _KEYWORDS - _ANNOTATIONS
    if unknown:
        msg = f"the sandbox does not support these keywords of JSON Schema: {sorted(unknown)}"
        raise ValueError(msg)
    for part in schema.get("properties", {}).values():
        check_schema(part)
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), Mapping):
            check_schema(schema[keyword])


def validation_error(schema: Mapping[str, Any], inputs: Mapping[str, Any]) -> str | None:
    """Return the API's message if `inputs` does not match the schema, or None."""
    message = next(_errors(schema, inputs, ""), None)
    return None if message is None else f"invalid input: {message}"


def _errors(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    name = f"field '{path}'" if path else "the input"
    if "type" in schema:
        types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(_TYPES[kind](value) for kind in types):
            yield f"{name} must be of type {' or '.join(types)}"
            return
    if "enum" in schema and not any(equal(value, choice) for choice in schema["enum"]):
        yield f"{name} must be one of {', '.join(map(repr, schema['enum']))}"
    if "const" in schema and not equal(value, schema["const"]):
        yield f"{name} must be {schema['const']!r}"
    if isinstance(value, dict):
        yield from _object_errors(schema, value, path)
    elif isinstance(value, list) and "items" in schema:
        for position, item in enumerate(value):
            yield from _errors(schema["items"], item, f"{path}[{position}]")
    yield from _size_errors(schema, value, name)


def _object_errors(schema: Mapping[str, Any], value: Mapping[str, Any], path: str) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    for key in schema.get("required", ()):
        if key not in value:
            yield f"missing required field '{prefix}{key}'"
    properties = schema.get("properties", {})
    additional = schema.get("additionalProperties", True)
    for key, item in value.items():
        if key in properties:
            yield from _errors(properties[key], item, f"{prefix}{key}")
        elif additional is False:
            yield f"unknown field '{prefix}{key}'"
        elif isinstance(additional, Mapping):
            yield from _errors(additional, item, f"{prefix}{key}")


def _size_errors(schema: Mapping[str, Any], value: Any, name: str) -> Iterator[str]:
    if _TYPES["number"](value):
        for keyword, (is_within, phrase) in _BOUNDS.items():
            if keyword in schema and not is_within(value, schema[keyword]):
                yield f"{name} must be {phrase} {schema[keyword]}"
    elif isinstance(value, (str, list)):
        low, high, noun = _SIZES[type(value)]
        if low in schema and len(value) < schema[low]:
            yield f"{name} must have at least {schema[low]} {noun}"
        if high in schema and len(value) > schema[high]:
            yield f"{name} must have at most {schema[high]} {noun}"
        if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{name} must match {schema['pattern']}"


def equal(value: Any, other: Any) -> bool:
    """Return whether two JSON values are equal; true is not 1."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)
