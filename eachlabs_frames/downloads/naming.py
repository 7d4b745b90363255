"""Makes file names from arbitrary text: valid on every file system, inside the folder, and unique.

Owns the ``name=`` template. It never reads the disk.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from ..errors import ConfigurationError, MappingError
from ..inputs.coercion import read_as
from ..inputs.mapping import FORMATTER
from ..suggestions import MAX_LISTED, closest
from .content_types import KNOWN, MAX_EXTENSION_LENGTH

MAX_NAME_BYTES: Final = 255
"""Bytes of UTF-8 in a file name with its extension: the limit of all common file systems."""

MAX_FIELD_LENGTH: Final = 100
"""Bytes of one field, so that a long prompt leaves room for the fields after it."""

OWN: Final = ("index", "row", "n", "execution_id")
"""Fields beside the frame's columns."""

_RESERVED: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])[ ]*(\..*)?", re.IGNORECASE)
_NUMBER_SPEC: Final = re.compile("[bcdeEfFgGnoxX%]$")
# Query parameters of signed URLs: S3 and compatible stores, Google, CloudFront, Azure.
_SIGNING_PARAMETER: Final = re.compile(
    r"(x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id|s(e|t|p|v|r|pr|ig|k[a-z]+))(=.*)?$",
    re.IGNORECASE,
)
_SIGNATURE: Final = re.compile(r"(x-(amz|goog)-signature|signature|sig)=.", re.IGNORECASE)
"""Without one of these the URL is not signed, and a parameter such as "sp" may identify the file."""

_UNSAFE: Final = frozenset('<>:"/\\|?*')
_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})


class FileKey(NamedTuple):
    """Identifies a file of an output.

    Attributes
    ----------
    execution_id : str
        "" if the frame does not have it.
    n : int
        Position among the files of its row.
    source : str
        A hash of the URL without its signature: in a row that holds a part of an output, `n` may be another file's.
    """

    execution_id: str
    n: int
    source: str


TemplatePart: TypeAlias = tuple[str, str | None, str | None, str | None]
"""Literal text of a template, and the field after it, its format spec and its conversion; see `Formatter.parse`."""


class NameTemplate:
    """A checked ``name=``."""

    def __init__(self, parts: Sequence[TemplatePart]) -> None:
        self._parts = parts
        self.fields = frozenset(field for _, field, _, _ in parts if field is not None)

    def stem(self, values: Mapping[str, Any], *, n: int, several: bool) -> str:
        """Return a name without its extension: safe path components, separated by "/".

        Parameters
        ----------
        values : mapping of str to object
            A value for each field but ``n``; None if it is missing.
        n : int
            Position among the files of the row.
        several : bool
            Whether the row has more than one file: ``-n`` is appended if the template has no ``{n}``.
        """
        text = "".join(part[0] + _filled(part, {**values, "n": n}) for part in self._parts)
        if several and "n" not in self.fields:
            text += f"-{n}"
        return "/".join(fit(component) for component in text.split("/"))


def read(name: object, columns: Collection[str]) -> NameTemplate:
    """Return the template of ``name=``.

    Parameters
    ----------
    name : str
        A format string as for `str.format`, with the fields of `OWN` and columns; "/" separates sub-folders.
    columns : collection of str
        The columns that may be fields.

    Raises
    ------
    ConfigurationError
        It is no string, no valid format string, or leads out of the folder.
    MappingError
        A field that does not exist.
    """
    if not isinstance(name, str):
        msg = f"name must be a template such as '{{index}}-{{n}}'; got {type(name).__name__}"
        raise ConfigurationError(msg)
    try:
        parts: list[TemplatePart] = list(FORMATTER.parse(name))
    except ValueError as exc:
        msg = f"name={name!r} is not a valid template: {exc}; write {{{{ and }}}} for braces"
        raise ConfigurationError(msg) from exc
    unknown = next((field for _, field, _, _ in parts if field not in (None, *OWN, *columns)), None)
    if unknown is not None:
        raise MappingError(_unknown_field(name, unknown, columns))
    _check_components(name, parts)
    return NameTemplate((*parts[:-1], _without_extension(parts[-1])))


def _unknown_field(name: str, field: str, columns: Collection[str]) -> str:
    """Return the error message for a field that is neither one of `OWN` nor a column."""
    others = [column for column in columns if column not in OWN]
    match = closest(field, [*OWN, *others])
    if match is not None:
        return f"name={name!r} uses {{{field}}}, which does not exist (did you mean {{{match}}}?)"
    available = ", ".join(f"{{{known}}}" for known in [*OWN, *others[:MAX_LISTED]])
    more = ", ..." if len(others) > MAX_LISTED else ""
    return f"name={name!r} uses {{{field}}}, which does not exist; available are {available}{more}"


def _check_components(name: str, parts: Sequence[TemplatePart]) -> None:
    path = "".join(text + ("x" if field is not None else "") for text, field, _, _ in parts)
    has_empty = any(component.strip(" .") == "" for component in path.split("/"))
    has_nested = any("{" in (spec or "") for _, _, spec, _ in parts)
    if has_empty or "\\" in path or re.match("[A-Za-z]:", path) or has_nested:
        msg = f"name={name!r} must name a file inside the folder; only / separates sub-folders"
        raise ConfigurationError(msg)


def _without_extension(last: TemplatePart) -> TemplatePart:
    """Remove a known extension at the end of the template: the file's content decides about its extension."""
    text, field, spec, conversion = last
    stem, dot, extension = text.rpartition(".")
    is_known = field is None and dot + extension.lower() in KNOWN and not stem.endswith("/")
    return (stem if is_known else text, field, spec, conversion)


def _filled(part: TemplatePart, values: Mapping[str, Any]) -> str:
    _, field, spec, conversion = part
    if field is None:
        return ""
    value = values[field]
    if value is None:
        return "_"
    if isinstance(value, tuple):
        value = "-".join(map(str, value))
    try:
        if conversion:
            value = FORMATTER.convert_field(value, conversion)
        elif _NUMBER_SPEC.search(spec or ""):
            value = read_as(value, ("number",), omit=True)  # cells of CSV files are text
        text = FORMATTER.format_field(value, spec or "")
    except (ValueError, TypeError) as exc:
        msg = f"name= cannot write {value!r} as {{{field}:{spec}}}: {exc}"
        raise MappingError(msg) from exc
    return cut(safe(text), MAX_FIELD_LENGTH)


def safe(text: str) -> str:
    """Return `text` as a file name that is valid on every file system, except for its length."""
    plain = "".join(map(_safe_character, unicodedata.normalize("NFC", text))).strip(" ").rstrip(" .")
    if plain.startswith("."):
        plain = "_" + plain[1:]  # a hidden file, "..", or this package's folder
    return f"_{plain}" if not plain or _RESERVED.fullmatch(plain) else plain


def _safe_character(character: str) -> str:
    unsafe = character in _UNSAFE or unicodedata.category(character) in _UNSAFE_CATEGORIES
    return "_" if unsafe else character


def cut(text: str, max_bytes: int) -> str:
    """Return the beginning of `text`, at most `max_bytes` bytes of UTF-8, without a space or dot at the end."""
    encoded = text.encode()
    if len(encoded) <= max_bytes:
        return text
    return encoded[:max_bytes].decode(errors="ignore").rstrip(" .") or "_"


def fit(component: str, end: str = "") -> str:
    """Return a safe path component that ends with `end` and leaves room for any extension."""
    # `safe` twice: cutting may leave a reserved name.
    return safe(cut(safe(component), MAX_NAME_BYTES - MAX_EXTENSION_LENGTH - 1 - len(end.encode()))) + end


def key(stem: str) -> str:
    """Return a form of a name that is equal for two names that are the same on some file system."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold())


def distinct(stems_by_file: Mapping[FileKey, Iterable[str]]) -> dict[tuple[FileKey, str], str]:
    """Return a unique stem for each file and stem, no two of them the same on any file system.

    Files with the same stem all get their execution's id appended, so that names do not depend on the order of rows.

    Parameters
    ----------
    stems_by_file : mapping of FileKey to stems
        A file may have several stems, from several rows; the same stem is the same file.
    """
    names = {(file, stem): stem for file, stems in stems_by_file.items() for stem in stems}
    attempt = 0
    while True:
        clashes = _clashes(names)
        if not clashes:
            return names
        for file, stem in clashes:
            folder, slash, last = stem.rpartition("/")
            names[file, stem] = folder + slash + fit(last, _end(file, stem, attempt))
        attempt += 1


def _clashes(names: Mapping[tuple[FileKey, str], str]) -> list[tuple[FileKey, str]]:
    by_key: dict[str, list[tuple[FileKey, str]]] = {}
    for file_and_stem, name in names.items():
        by_key.setdefault(key(name), []).append(file_and_stem)
    return [file_and_stem for same in by_key.values() if len(same) > 1 for file_and_stem in same]


def mark(url: str) -> str:
    """Return a hash of a URL without its signature, which does not reveal the URL."""
    plain = url
    if url[:5].lower() != "data:":
        head, _, query = url.partition("#")[0].partition("?")
        parameters = [parameter for parameter in query.split("&") if parameter]
        is_signed = any(map(_SIGNATURE.match, parameters))
        plain = "&".join([head, *(item for item in parameters if not (is_signed and _SIGNING_PARAMETER.match(item)))])
    return _hash(plain)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _end(file: FileKey, stem: str, attempt: int) -> str:
    if attempt < 2:
        # The last characters: ids that begin with a time have the same first characters in a whole bulk operation.
        end = f"-{safe(file.execution_id[-8:])}"
        return end if attempt == 0 else f"{end}-{file.n}"
    text = ":".join((str(attempt), *map(str, file), stem))
    return f"-{_hash(text)}"
