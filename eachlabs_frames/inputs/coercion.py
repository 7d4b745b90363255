"""Converts the text of a cell to the type in the schema, or to a type that the user has given.

Owns the parsing of text as a number, boolean, list or object, because CSV files have only text. It never guesses: text
that is not exactly of the type stays text, or is an error if the user has given the type.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NoReturn

from ..models import Json
from .json_values import MAX_INTEGER, MIN_INTEGER, RefusedValueError, clean, whole_number

TYPES: Final = ("int", "float", "bool", "json", "str")
"""The types that a user may give for a column."""

READABLE: Final = ("integer", "number", "boolean", "array", "object")
"""The types of JSON Schema that text can be read as, in the order in which they are tried."""

MAX_REFERENCES: Final = 8

_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DIGITS: Final = re.compile(r"[+-]?\d+", re.ASCII)
_MAX_DIGITS: Final = 100
_EXACT: Final = 2**53
_BOOLEANS: Final = {"true": True, "false": False}
_KINDS: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


def schema_types(rule: Json, schema: Mapping[str, Json] | None) -> tuple[str, ...]:
    """Return the types that text for a property is read as; none if the schema allows text or any type.

    Parameters
    ----------
    rule : JSON
        The property's own schema.
    schema : mapping or None
        The whole schema, for references within it.
    """
    types = _types(rule, schema or {}, 0)
    return () if types is None or "string" in types else tuple(kind for kind in READABLE if kind in types)


def _types(rule: Json, schema: Mapping[str, Json], depth: int) -> frozenset[str] | None:
    """Return the types that a schema allows, or None if it allows any."""
    if not isinstance(rule, Mapping) or depth > MAX_REFERENCES:
        return None
    constraints: list[frozenset[str] | None] = []
    named = rule.get("type")
    if named is not None:
        listed = named if isinstance(named, list) else [named]
        constraints.append(frozenset(kind for kind in listed if isinstance(kind, str)))
    constants = [rule.get("enum"), [rule["const"]] if "const" in rule else None]
    constraints += [
        frozenset(_KINDS[type(value)] for value in values) for values in constants if isinstance(values, list)
    ]
    if isinstance(rule.get("$ref"), str):
        constraints.append(_types(_referred(rule["$ref"], schema), schema, depth + 1))
    for keyword in ("anyOf", "oneOf"):
        if isinstance(rule.get(keyword), list):
            choices = [_types(choice, schema, depth + 1) for choice in rule[keyword]]
            constraints.append(None if None in choices else frozenset().union(*filter(None, choices)))
    if isinstance(rule.get("allOf"), list):
        constraints += [_types(part, schema, depth + 1) for part in rule["allOf"]]
    known = [types for types in constraints if types is not None]
    return frozenset.intersection(*known) or known[0] if known else None


def _referred(pointer: str, schema: Mapping[str, Json]) -> Json:
    """Return what a reference within the schema, such as ``#/$defs/Seed``, points to; None if it points to nothing."""
    if not pointer.startswith("#/"):
        return None
    target: Any = schema
    for step in pointer[2:].split("/"):
        target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
    return target


def read_as(cell: Json, types: tuple[str, ...], *, omit: bool) -> Json:
    """Return a cell's text as the first of `types` that it can be read as; else return the cell unchanged.

    Parameters
    ----------
    cell : JSON
        Not a missing value.
    types : tuple of str
        Some of `READABLE`.
    omit : bool
        Whether a missing value inside a JSON object leaves its key out; it becomes null otherwise.

    Raises
    ------
    RefusedValueError
        JSON text with a value that cannot be sent, such as an integer beyond 64 bits.
    """
    if not isinstance(cell, str):
        return cell
    for kind in types:
        value = _READERS[kind](cell)
        if value is not None:
            return clean(value, omit=omit)
    return cell


def convert(cell: Json, type_: str, *, omit: bool) -> Json:
    """Return a cell as the type that the user has given for its column.

    Parameters
    ----------
    cell : JSON
        Not a missing value.
    type_ : str
        One of `TYPES`.
    omit : bool
        As for `read_as`.

    Raises
    ------
    RefusedValueError
        The cell cannot be read as this type.
    """
    if type_ == "str":
        return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
    if type_ == "json":
        return clean(_parsed(cell), omit=omit) if isinstance(cell, str) else cell
    value = read_as(cell, _NAMED[type_], omit=omit)
    if type_ == "bool":
        fits = isinstance(value, bool)
    else:
        value = whole_number(value) if type_ == "int" else value
        fits = isinstance(value, int if type_ == "int" else int | float) and not isinstance(value, bool)
    if not fits:
        shown = repr(cell) if len(repr(cell)) <= 60 else f"{repr(cell)[:60]}..."
        msg = f"{shown} cannot be read as {type_}"
        raise RefusedValueError(msg)
    return float(value) if type_ == "float" and isinstance(value, int) and abs(value) <= _EXACT else value


_NAMED: Final[Mapping[str, tuple[str, ...]]] = {"int": ("integer",), "float": ("number",), "bool": ("boolean",)}


def _integer(text: str) -> int | None:
    """Read an integer of 64 bits, exactly: "7", "0400" and "7.0", as pandas writes integers next to a missing cell."""
    text = text.strip()
    if len(text) > _MAX_DIGITS or not _NUMBER.fullmatch(text):
        return None
    value = Decimal(text)
    if not MIN_INTEGER <= value <= MAX_INTEGER or value != value.to_integral_value():
        return None
    return int(value)


def _number(text: str) -> int | float | None:
    """Read a number; one without a fraction stays an exact integer."""
    text = text.strip()
    if len(text) > _MAX_DIGITS or not _NUMBER.fullmatch(text):
        return None
    whole = _integer(text)
    if _DIGITS.fullmatch(text) or (whole is not None and abs(whole) > _EXACT):
        return whole
    value = float(text)
    return value if math.isfinite(value) else None


def _boolean(text: str) -> bool | None:
    return _BOOLEANS.get(text.strip().lower())


def _array(text: str) -> Json:
    return _container(text, list)


def _object(text: str) -> Json:
    return _container(text, dict)


def _container(text: str, kind: type) -> Json:
    try:
        value = _parsed(text)
        return value if isinstance(value, kind) else None
    except RefusedValueError:
        return None


def _parsed(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)  # NaN and Infinity, which JSON does not have

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as exc:
        msg = f"{text[:60]!r} is not JSON"
        raise RefusedValueError(msg) from exc


_READERS: Final = {"integer": _integer, "number": _number, "boolean": _boolean, "array": _array, "object": _object}
