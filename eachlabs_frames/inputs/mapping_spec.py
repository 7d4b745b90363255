"""Writes a mapping as JSON, for the journal and a frame's attrs, and reads it again.

Owns the form of the JSON. It never decides what a mapping means: `mapping` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..models import Json
from .coercion import READABLE, TYPES
from .mapping import Column, Fields, File, Literal, Source, Template, template


def to_spec(fields: Fields) -> dict[str, Json] | None:
    """Return `fields` as JSON that `from_spec` reads, or None if a column's label is no string."""
    spec: dict[str, Json] = {}
    for key, source in fields.items():
        if isinstance(source, Literal):
            spec[key] = {"lit": source.value}
        elif isinstance(source, File):
            named = _path_to_entry(source.source) if isinstance(source.source, Path) else _to_entry(source.source)
            if named is None:
                return None
            spec[key] = {"file": named} | ({} if source.root is None else {"root": str(source.root)})
        else:
            entry = _to_entry(source)
            if entry is None:
                return None
            spec[key] = entry
    return spec


def _to_entry(source: Column | Template) -> dict[str, Json] | None:
    """Return a column or a template as JSON, or None if the column's label is no string."""
    if isinstance(source, Template):
        return {"template": source.text}
    if not isinstance(source.label, str):
        return None
    typed: dict[str, Json] = {} if source.type is None else {"type": source.type}
    by_schema: dict[str, Json] = {"by_schema": list(source.by_schema)} if source.by_schema else {}
    return {"column": source.label} | typed | by_schema


def _path_to_entry(path: Path) -> dict[str, Json]:
    return {"path": str(path)}


_NOT_PINNED: Final = ("by_schema", "root")


def as_pinned(spec: Mapping[str, Json] | None) -> dict[str, Json] | None:
    """Return a spec as a run stores it: what determines inputs, and is the same in every call of the run.

    The types of the schema are left out, because the run's version determines them, and so are the places of files,
    because a file's content alone determines an input.
    """
    if not isinstance(spec, Mapping):
        return None
    return {
        key: {name: entry[name] for name in entry if name not in _NOT_PINNED} if isinstance(entry, Mapping) else entry
        for key, entry in spec.items()
    }


def _column_from_entry(entry: Mapping[str, Any]) -> Column:
    label, type_, by_schema = entry["column"], entry.get("type"), tuple(entry.get("by_schema", ()))
    hash(label)  # raises TypeError: users may write anything into a frame's attrs
    if type_ not in (None, *TYPES) or not set(by_schema).issubset(READABLE):
        raise KeyError(type_)
    return Column(label, type_, by_schema)


def from_spec(spec: Mapping[str, Json]) -> Fields:
    """Return the fields of a spec that `to_spec` returned."""
    return {key: _from_entry(entry) for key, entry in spec.items()}


def _from_entry(entry: Mapping[str, Any]) -> Source:
    if "lit" in entry:
        return Literal(entry["lit"])
    if "file" in entry:
        return _file_from_entry(entry)
    return template(entry["template"]) if "template" in entry else _column_from_entry(entry)


def _file_from_entry(entry: Mapping[str, Any]) -> File:
    named, root = entry["file"], entry.get("root")
    if not isinstance(root, str | None):
        raise TypeError(root)
    source: Column | Template | Path
    if "path" in named:
        source = Path(named["path"])
    else:
        source = template(named["template"]) if "template" in named else _column_from_entry(named)
    return File(source, None if root is None else Path(root))
