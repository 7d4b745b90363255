"""Names for files, from what anybody may have written: always valid, never outside of their folder, never the same.

It owns the template, and what is made safe and told apart. It never looks at a disk.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ..errors import ConfigurationError, MappingError
from ..inputs.coercion import read_as
from ..inputs.mapping import FORMATTER
from ..suggestions import MAX_LISTED, closest
from .content_types import KNOWN, MAX_EXTENSION_LENGTH

MAX_NAME_BYTES: Final = 255
"""Bytes of UTF-8 in one name, the extension included: what every common file system takes."""

MAX_FIELD_LENGTH: Final = 100
"""Bytes of one field, so that a long prompt leaves room for what tells its files apart."""

OWN: Final = ("index", "row", "n", "execution_id")
"""Fields beside the frame's columns."""

_RESERVED: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])[ ]*(\..*)?", re.IGNORECASE)
_NUMBER_SPEC: Final = re.compile("[bcdeEfFgGnoxX%]$")
# S3 and its likes, Google, CloudFront, Azure.
_SIGNS: Final = re.compile(
    r"(x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id|s(e|t|p|v|r|pr|ig|k[a-z]+))(=.*)?$",
    re.IGNORECASE,
)
_SIGNATURE: Final = re.compile(r"(x-(amz|goog)-signature|signature|sig)=.", re.IGNORECASE)
"""Without it, nothing is signed, and a word such as "sp" may well be what tells one file from another."""

_UNSAFE: Final = frozenset('<>:"/\\|?*')
_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})


class FileKey(NamedTuple):
    """Whose file it is.

    Attributes
    ----------
    execution_id : str
        "" where the frame does not say it.
    n : int
        Which of its row's files.
    source : str
        A mark of the URL without what signs it: a row that was taken apart has the second URL as its first.
    """

    execution_id: str
    n: int
    source: str


class TemplatePart(NamedTuple):
    """Some text of a template, and the field after it."""

    text: str
    field: str | None
    conversion: str | None
    spec: str


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """A checked ``name=``."""

    pieces: tuple[TemplatePart, ...]

    @property
    def fields(self) -> frozenset[str]:
        """What it asks for."""
        return frozenset(piece.field for piece in self.pieces if piece.field is not None)

    def stem(self, values: Mapping[str, Any], *, n: int, several: bool) -> str:
        """Return a name without its extension: parts divided by "/", each of them safe.

        Parameters
        ----------
        values : mapping of str to object
            A value for each field but ``n``; None where it is missing.
        n : int
            Which of the row's files.
        several : bool
            Whether the row has more than one: a template without ``{n}`` gets it at its end.
        """
        text = "".join(piece.text + _filled(piece, {**values, "n": n}) for piece in self.pieces)
        if several and "n" not in self.fields:
            text += f"-{n}"
        return "/".join(fit(part) for part in text.split("/"))


def read(name: object, columns: Collection[str]) -> NameTemplate:
    """Return the template that ``name=`` is.

    Parameters
    ----------
    name : str
        As for `str.format`, by the names of `OWN` and of columns; "/" makes sub-folders.
    columns : collection of str
        The columns that may be named.

    Raises
    ------
    ConfigurationError
        No string, unreadable, or one that leads out of the folder.
    MappingError
        A field that there is not.
    """
    if not isinstance(name, str):
        msg = f"name must be a template such as '{{index}}-{{n}}'; got {type(name).__name__}"
        raise ConfigurationError(msg)
    try:
        parsed = [
            TemplatePart(text, field, conversion, spec or "") for text, field, spec, conversion in FORMATTER.parse(name)
        ]
    except ValueError as exc:
        msg = f"name={name!r} is not a valid template: {exc}; write {{{{ and }}}} for braces"
        raise ConfigurationError(msg) from exc
    for piece in parsed:
        if piece.field is not None and piece.field not in OWN and piece.field not in columns:
            raise MappingError(_unknown_field(name, piece.field, columns))
    _check_parts(name, parsed)
    return NameTemplate((*parsed[:-1], _without_extension(parsed[-1])))


def _unknown_field(name: str, field: str, columns: Collection[str]) -> str:
    """Return the error message for a field that is neither one of `OWN` nor a column."""
    others = [column for column in columns if column not in OWN]
    match = closest(field, [*OWN, *others])
    if match is not None:
        return f"name={name!r} uses {{{field}}}, which does not exist (did you mean {{{match}}}?)"
    known = ", ".join(f"{{{one}}}" for one in [*OWN, *others[:MAX_LISTED]])
    more = ", ..." if len(others) > MAX_LISTED else ""
    return f"name={name!r} uses {{{field}}}, which does not exist; available are {known}{more}"


def _check_parts(name: str, pieces: Sequence[TemplatePart]) -> None:
    shown = "".join(piece.text + ("x" if piece.field is not None else "") for piece in pieces)
    wrong = next((part for part in shown.split("/") if part.strip(" .") == ""), None)
    if wrong is not None or "\\" in shown or re.match("[A-Za-z]:", shown) or any("{" in one.spec for one in pieces):
        msg = f"name={name!r} must name a file inside the folder; only / separates sub-folders"
        raise ConfigurationError(msg)


def _without_extension(last: TemplatePart) -> TemplatePart:
    """Drop an extension that the template itself ends in: what was sent says what it is."""
    stem, dot, extension = last.text.rpartition(".")
    known = last.field is None and dot + extension.lower() in KNOWN and not stem.endswith("/")
    return last._replace(text=stem) if known else last


def _filled(piece: TemplatePart, values: Mapping[str, Any]) -> str:
    if piece.field is None:
        return ""
    value = values[piece.field]
    if value is None:
        return "_"
    if isinstance(value, tuple):
        value = "-".join(map(str, value))
    try:
        if piece.conversion:
            value = FORMATTER.convert_field(value, piece.conversion)
        elif _NUMBER_SPEC.search(piece.spec):
            value = read_as(value, ("number",), omit=True)  # a cell of a CSV file is text
        text = FORMATTER.format_field(value, piece.spec)
    except (ValueError, TypeError) as exc:
        msg = f"name= cannot write {value!r} as {{{piece.field}:{piece.spec}}}: {exc}"
        raise MappingError(msg) from exc
    return cut(safe(text), MAX_FIELD_LENGTH)


def safe(text: str) -> str:
    """Return `text` as a name that every file system takes, whatever its length."""
    plain = "".join(map(_safe_character, unicodedata.normalize("NFC", text))).strip(" ").rstrip(" .")
    if plain.startswith("."):
        plain = "_" + plain[1:]  # hidden, or "..", or this package's own
    return f"_{plain}" if not plain or _RESERVED.fullmatch(plain) else plain


def _safe_character(character: str) -> str:
    unsafe = character in _UNSAFE or unicodedata.category(character) in _UNSAFE_CATEGORIES
    return "_" if unsafe else character


def cut(text: str, longest: int) -> str:
    """Return as much of `text` as `longest` bytes of UTF-8 hold, without a space or dot at the end."""
    encoded = text.encode()
    if len(encoded) <= longest:
        return text
    return encoded[:longest].decode(errors="ignore").rstrip(" .") or "_"


def fit(part: str, end: str = "") -> str:
    """Return one part of a name, safe, with `end` behind it and room for any extension."""
    # Twice: what was cut off may have been all that kept it from being a reserved name.
    return safe(cut(safe(part), MAX_NAME_BYTES - MAX_EXTENSION_LENGTH - 1 - len(end.encode()))) + end


def key(stem: str) -> str:
    """Return what two names have in common that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold())


def distinct(wanted: Mapping[FileKey, Iterable[str]]) -> dict[tuple[FileKey, str], str]:
    """Return a stem for each that is wanted, no two of them the same on any file system.

    Where several want the same, each gets its execution's id behind it, so that it depends on no order.

    Parameters
    ----------
    wanted : mapping of identity to stems
        A row that is there twice wants each of its files twice; the same stem is the same file.
    """
    found = {(identity, stem): stem for identity, stems in wanted.items() for stem in stems}
    attempt = 0
    while True:
        clashes = _clashes(found)
        if not clashes:
            return found
        for identity, stem in clashes:
            folder, slash, last = stem.rpartition("/")
            found[identity, stem] = folder + slash + fit(last, _end(identity, stem, attempt))
        attempt += 1


def _clashes(found: Mapping[tuple[FileKey, str], str]) -> list[tuple[FileKey, str]]:
    claims: dict[str, dict[tuple[FileKey, str], None]] = {}
    for claim, stem in found.items():
        claims.setdefault(key(stem), {})[claim] = None
    # One identity that wants "A" and "a" has two files as well.
    return [claim for several in claims.values() if len(several) > 1 for claim in several]


def mark(url: str) -> str:
    """Return what tells a URL from another, the same however it is signed; the URL cannot be read from it."""
    plain = url
    if url[:5].lower() != "data:":
        head, _, query = url.partition("#")[0].partition("?")
        parameters = [parameter for parameter in query.split("&") if parameter]
        is_signed = any(map(_SIGNATURE.match, parameters))
        plain = "&".join([head, *(word for word in parameters if not (is_signed and _SIGNS.match(word)))])
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _end(identity: FileKey, stem: str, attempt: int) -> str:
    if attempt < 2:
        # The last characters: the first ones of an id that begins with a time are the same for a whole bulk.
        end = f"-{safe(identity.execution_id[-8:])}"
        return end if attempt == 0 else f"{end}-{identity.n}"
    told = ":".join((str(attempt), *map(str, identity), stem)).encode("utf-8", "surrogatepass")
    return f"-{hashlib.sha256(told).hexdigest()[:16]}"
