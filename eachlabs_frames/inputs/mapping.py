"""Resolves ``inputs=``: which column, constant or template fills which key of the input.

Owns the four forms of ``inputs=`` and their errors. It reads column labels and a schema, never a cell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any, Final, TypeAlias

from .. import media
from ..errors import MappingError
from ..models import Json
from ..suggestions import closest, hint
from .coercion import schema_types
from .json_values import MISSING, RefusedValueError, clean, whole_number

Label: TypeAlias = Hashable
RowFunction: TypeAlias = Callable[[dict[Any, Any]], Mapping[str, Any]]


class _ByName(Formatter):
    """Reads ``{a.b}`` as the column "a.b", and formats a whole float as an integer.

    A column of integers becomes float64 if one of its cells is missing. A row's text must not depend on that: the row
    would have another input, and be paid for again.
    """

    def get_field(self, field_name: str, _args: Any, kwargs: Any) -> tuple[Any, str]:
        return kwargs[field_name], field_name

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(whole_number(value) if conversion else value, conversion)

    def format_field(self, value: Any, format_spec: str) -> Any:
        if not _FLOAT_TYPE.search(format_spec):
            value = whole_number(value)
        if type(value) is int and _PRECISION_ALONE.fullmatch(format_spec):
            value = float(value)  # ".3" without a type is valid for floats only
        return super().format_field(value, format_spec)


_FLOAT_TYPE: Final = re.compile("[eEfFgG%]$")
_PRECISION_ALONE: Final = re.compile(r".*\.\d+", re.DOTALL)

FORMATTER: Final = _ByName()


@dataclass(frozen=True, slots=True)
class Column:
    """A key filled from a column.

    Attributes
    ----------
    label : hashable
    type : str or None
        The type that the user has given for it, one of `coercion.TYPES`.
    by_schema : tuple of str
        The types that its text is read as, if no type was given and the frame was read from a file.
    """

    label: Label
    type: str | None = None
    by_schema: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[Label, ...]:
        """The columns that it reads."""
        return (self.label,)


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: a key with the same value in every row. Created by `lit`."""

    value: Json

    @property
    def labels(self) -> tuple[Label, ...]:
        """The columns that it reads: none."""
        return ()


@dataclass(frozen=True, slots=True)
class Template:
    """A key with text formatted from the columns of each row. Created by `template`."""

    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A key filled with the content of a file. Created by `file`."""

    source: Column | Template | Path
    root: Path | None = None

    @property
    def labels(self) -> tuple[Label, ...]:
        """The columns that it reads."""
        return () if isinstance(self.source, Path) else self.source.labels


Source: TypeAlias = Column | Literal | Template | File
Fields: TypeAlias = Mapping[str, Source]

MAX_SHOWN: Final = 60
"""Characters of a value in a message."""
MAX_UNUSED: Final = 200
"""Columns that are compared with the names in the schema."""


def lit(value: object) -> Literal:
    """Return a constant for ``inputs=``, the same for every row. A plain string there is a column name instead.

    Parameters
    ----------
    value : object
        Any value that a cell may contain: text, a number, a list, a dict, a timestamp.

    Returns
    -------
    Literal
        For use as a value in an ``inputs=`` dict.

    Raises
    ------
    MappingError
        The value is missing (None, NaN), or cannot be sent as JSON.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> ef.lit("noir")
    Literal(value='noir')
    """
    try:
        cleaned = clean(value)
    except RefusedValueError as exc:
        msg = f"lit({type(value).__name__}): {exc}"
        raise MappingError(msg) from exc
    if cleaned is MISSING:
        msg = "lit() of a missing value: leave the key out of inputs= instead"
        raise MappingError(msg)
    return Literal(cleaned)


def template(text: str) -> Template:
    """Return a template for ``inputs=`` that formats text from the columns of each row.

    If one of the columns is missing in a row, the key is left out of its input, or sent as null, as ``na=`` says.

    A float with an integer value is formatted as an integer ("in 1990", not "in 1990.0"), so that the text does not
    depend on whether pandas converted the column to float64 because of a missing value in another row. A float with an
    integer value beyond 2**53 and more than 15 significant digits may be inexact: the row's input is refused, unless
    the format spec has a float type, as in ``{amount:.2f}``.

    Parameters
    ----------
    text : str
        A format string as for `str.format`, with column names as fields: ``"{animal} at {price:.2f}"``. Write ``{{``
        and ``}}`` for literal braces.

    Returns
    -------
    Template
        For use as a value in an ``inputs=`` dict.

    Raises
    ------
    MappingError
        `text` is not a valid format string, or names no column.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> ef.template("A {animal} in {place}").labels
    ('animal', 'place')
    """
    if not isinstance(text, str):
        msg = f"template() takes a string; got {type(text).__name__}"
        raise MappingError(msg)
    try:
        labels = tuple(dict.fromkeys(_labels(text)))
    except ValueError as exc:
        msg = f"template {text!r} cannot be read: {exc}"
        raise MappingError(msg) from exc
    if not labels:
        msg = f"template {text!r} names no column: write {{column}}, or lit(...) for a constant"
        raise MappingError(msg)
    return Template(text, labels)


def file(source: object, *, root: str | Path | None = None) -> File:
    """Return a file for ``inputs=``: its content is uploaded once, and the workflow gets its URL.

    A row whose file is missing, empty, unreadable or larger than 100 MB is ``invalid`` and not sent; the other rows
    are. Anybody who has the URL of an uploaded file can read the file until it expires.

    Parameters
    ----------
    source : column, template or pathlib.Path
        A column with the names of files, or with files: `pathlib.Path`, bytes, PIL images, NumPy image arrays (height x
        width x 3 or 4, uint8) or open binary files; also with lists of them. A `template` formats the names from other
        columns. A `pathlib.Path` is the same file in every row, and can be returned by a row function. Text that begins
        with ``http://``, ``https://`` or ``data:`` is sent as it is.
    root : str or pathlib.Path, optional
        The folder that names are relative to. A name that leaves it, such as ``../key.pem``, makes its row invalid. By
        default, names are relative to the working directory and may point anywhere.

    Returns
    -------
    File
        For use as a value in an ``inputs=`` dict.

    Raises
    ------
    MappingError
        `source` is no column, template or path, or `root` is no name of a folder.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> ef.file(ef.template("photos/{id}.jpg"), root="/data").labels
    ('id',)
    """
    if not isinstance(root, str | Path | None):
        msg = f"file(root=) takes the name of a folder; got {type(root).__name__}"
        raise MappingError(msg)
    root = None if root is None else Path(root).expanduser().absolute()
    if isinstance(source, Template | Path | Column):
        return File(source, root)
    is_label = isinstance(source, Hashable) and not isinstance(source, Literal | File | bytes)
    if source is None or callable(source) or not is_label:
        shown = media.text(repr(source), MAX_SHOWN)
        msg = f"file() takes a column, template(...) or a pathlib.Path; got {shown}"
        raise MappingError(msg)
    return File(Column(source), root)


def _labels(text: str) -> list[str]:
    labels: list[str] = []
    for _, name, spec, _ in FORMATTER.parse(text):
        if name is None:
            continue
        if not name or name.isdigit():
            msg = f"{{{name}}} names no column"
            raise ValueError(msg)
        labels.append(name)
        labels += _labels(spec or "")
    return labels


def resolve(
    inputs: object, labels: Sequence[Label], schema: Mapping[str, Json] | None, *, ours: frozenset[Label]
) -> Fields | RowFunction:
    """Return what fills each key of an input, or the callable that builds it.

    Parameters
    ----------
    inputs : None, sequence of labels, mapping, or callable
        As the user wrote it (design: "``inputs`` says how a row becomes an input object").
    labels : sequence of hashable
        The frame's columns.
    schema : mapping or None
        The workflow's input schema.
    ours : frozenset of hashable
        The result columns, and those that number a sweep's repeats: inputs only if named.

    Raises
    ------
    MappingError
        A column does not exist (with the nearest name) or exists twice, or the mapping is empty or invalid.
    """
    counts = Counter(labels)
    if isinstance(inputs, str | bytes):
        msg = f"inputs={inputs!r} is one string: write inputs=[{inputs!r}] for a column"
        raise MappingError(msg)
    if callable(inputs):
        _check_unique([label for label in labels if label not in ours], counts)
        return inputs
    fields = _fields(inputs, labels, schema, ours)
    if not fields:
        msg = "inputs= is empty: name at least one column, as in inputs=['prompt']"
        raise MappingError(msg)
    for source in fields.values():
        _check_source(source, counts)
    return fields


def _fields(
    inputs: object, labels: Sequence[Label], schema: Mapping[str, Json] | None, ours: frozenset[Label]
) -> dict[str, Source]:
    if inputs is None:
        return _by_schema(labels, schema, ours)
    if isinstance(inputs, Mapping):
        return {_key(key): _source(key, value) for key, value in inputs.items()}
    if isinstance(inputs, Sequence):
        _check_labels(inputs)
        twice = [label for label, count in Counter(inputs).items() if count > 1]
        if twice:
            msg = f"inputs= names column {twice[0]!r} twice"
            raise MappingError(msg)
        return {_key(label): Column(label) for label in inputs}
    msg = f"inputs= must be None, a list of columns, a dict or a callable; got {type(inputs).__name__}"
    raise MappingError(msg)


def _check_labels(inputs: Sequence[object]) -> None:
    """Raise `MappingError` if an entry of a list of columns cannot be a column's label, such as a dict."""
    for entry in inputs:
        if isinstance(entry, Hashable) and not isinstance(entry, Literal | Template | File):
            continue
        shown = media.text(repr(entry), MAX_SHOWN)
        if isinstance(entry, Mapping):
            msg = (
                f"inputs= is a list with a dict in it ({shown}): pass the dict without the list, as in "
                "inputs={'key': 'column'}; it applies to every row. For inputs that are complete already, make a frame "
                "of them: pd.DataFrame([{...}, {...}])"
            )
        elif isinstance(entry, Literal | Template | File):
            msg = f"inputs= is a list, and {shown} in it has no key: write a dict, as in inputs={{'key': ...}}"
        else:
            kind = type(entry).__name__
            msg = f"inputs= takes a list of column names, as in inputs=['prompt']; {shown} (a {kind}) is no name"
        raise MappingError(msg)


def _by_schema(labels: Sequence[Label], schema: Mapping[str, Json] | None, ours: frozenset[Label]) -> dict[str, Source]:
    mine = [label for label in labels if label not in ours]
    named = properties(schema)
    if not named:
        return {_key(label): Column(label) for label in mine}
    fields: dict[str, Source] = {label: Column(label) for label in named if label in mine}
    if not fields:
        expected = ", ".join(map(repr, named))
        close = hint(next(iter(named)), mine)
        example = "map them, as in inputs={'key': 'column'}"
        msg = f"the workflow takes {expected}, but no column has such a name{close}: {example}"
        raise MappingError(msg)
    return fields


def properties(schema: Mapping[str, Json] | None) -> Mapping[str, Json]:
    """Return the properties of a schema; empty if it has none, or invalid ones."""
    named = schema.get("properties") if schema else None
    return named if isinstance(named, Mapping) else {}


def _key(key: object) -> str:
    if not isinstance(key, str):
        msg = f"{key!r} is not a string, so it cannot be an input's key: map it, as in inputs={{'name': {key!r}}}"
        raise MappingError(msg)
    return key


def _source(key: str, value: object) -> Source:
    if isinstance(value, Column | Literal | Template | File):
        return value
    must_be = f"inputs[{key!r}] must be a column name, lit(...), template(...) or file(...)"
    try:
        hash(value)
    except TypeError as exc:
        msg = f"{must_be}; for a constant: lit({value!r})"
        raise MappingError(msg) from exc
    if value is None or callable(value):
        msg = f"{must_be}; got {value!r}"
        raise MappingError(msg)
    if isinstance(value, Path | bytes):
        msg = f"{must_be}; got {value!r}: for the same file in every row, write ef.file(pathlib.Path(...))"
        raise MappingError(msg)
    return Column(value)


def _check_source(source: Source, counts: Counter[Label]) -> None:
    for label in source.labels:
        if label not in counts:
            msg = f"the frame has no column {label!r}{hint(label, counts)}; for a constant write lit({label!r})"
            raise MappingError(msg)
    _check_unique(source.labels, counts)


def _check_unique(labels: Sequence[Label], counts: Counter[Label]) -> None:
    for label in labels:
        if counts[label] > 1:
            msg = f"the frame has {counts[label]} columns named {label!r}: rename one of them"
            raise MappingError(msg)


def labels_of(fields: Fields) -> set[Label]:
    """Return the columns that inputs are built from."""
    return {label for source in fields.values() for label in source.labels}


def unused_columns(fields: Fields, labels: Sequence[Label], *, ours: frozenset[Label]) -> list[Label]:
    """Return the user's columns that fill no key, in their order."""
    used = labels_of(fields)
    return [label for label in dict.fromkeys(labels) if label not in used and label not in ours]


def misspelling_notes(
    fields: Fields, unused: Sequence[Label], schema: Mapping[str, Json] | None
) -> tuple[list[str], list[Label]]:
    """Return a note for each name that is probably misspelt, and the other unused columns.

    Parameters
    ----------
    fields : Fields
    unused : sequence of labels
        Columns that fill no key.
    schema : mapping or None
        The workflow's input schema, which has the correct names.
    """
    named = properties(schema)
    free = [key for key in named if key not in fields]
    notes = []
    for key in fields:
        match = closest(key, free) if named and key not in named else None
        if match is not None:
            notes.append(f"{key!r} is sent, but the workflow's schema has no such key; did you mean {match!r}?")
    unknown = [label for label in unused[:MAX_UNUSED] if label not in named]  # the others are replaced by a constant
    near = {label: match for label in unknown if (match := closest(label, free)) is not None}
    notes += [f"{label!r} is not sent; did you mean {match!r}?" for label, match in near.items()]
    return notes, [label for label in unused if label not in near]


def with_types(fields: Fields, schema: Mapping[str, Json] | None) -> Fields:
    """Return `fields` for a frame that was read from a file: the schema determines the types that text is read as.

    A type that the user has given is kept. ``additionalProperties`` applies to properties that the schema does not
    name.
    """
    named = properties(schema)
    additional = schema.get("additionalProperties") if schema else None

    def typed(key: str, source: Source) -> Source:
        if not isinstance(source, Column) or source.type is not None:
            return source
        return Column(source.label, by_schema=schema_types(named.get(key, additional), schema))

    return {key: typed(key, source) for key, source in fields.items()}
