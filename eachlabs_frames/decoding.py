"""Decodes JSON from outside to plain Python values that every later step can store, compare and show.

Owns which JSON values cannot be kept and what replaces them. It reads bytes only: it knows no request and no status
code, and it never raises anything but `ValueError`, whatever the bytes are.

orjson decodes first, and nearly always alone. If it refuses (a lone surrogate, NaN, a number beyond a double, bytes
that are no UTF-8), or a value nests too deeply to be encoded again, the text is parsed here: without recursion,
and in at most `MAX_TOKENS` steps. One bad value must not hide the executions beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final, NoReturn

import orjson

from .models import Json

MAX_DEPTH: Final = 100
"""Levels of nesting that are kept. orjson encodes 254, and a value is encoded within other values."""

MAX_TOKENS: Final = 250_000
"""Values that the parser of this module reads before it gives up: about one second of work."""

TOO_DEEP: Final = "(nested too deeply to be kept)"
NOT_STORABLE: Final = "(cannot be written as JSON)"

REPLACED: Final = "eachlabs_frames:replaced"
"""The key under which an execution's object carries a sentence about what was replaced in it."""

_UNICODE: Final = "invalid Unicode replaced by U+FFFD"
_NOT_FINITE: Final = "NaN or an infinite number replaced by null"
_TOO_LARGE: Final = "an integer too large for a float replaced by its digits as text"
_NESTED: Final = f"values nested more than {MAX_DEPTH} levels deep replaced by text"

_NOT_IN_A_ROW: Final = frozenset({"inputs", "step_results", "step_outputs"})
"""Fields of an execution that never become part of a result row, so the row needs no note about them."""

_IDS: Final = frozenset({"execution_id", "bulk_id"})
_MAX_PLACES: Final = 4
_MAX_NAME: Final = 40

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LITERAL: Final = re.compile(r"-?[A-Za-z]+")
_LITERALS: Final[Mapping[str, Json]] = {"true": True, "false": False, "null": None}
_NOT_FINITE_LITERALS: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_BRACKET: Final = re.compile(r'[^"\[\]{}]*')
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_STRINGS: Final = json.JSONDecoder(strict=False)
_INTEGERS: Final = range(-(2**63), 2**64)
_MAX_DIGITS: Final = 20

_WRAPPING: Final = 255 - MAX_DEPTH
"""Levels around a value that leave `MAX_DEPTH` to it: orjson encodes 254 or 255, depending on its version. A value that
is refused with one level too few is parsed here, with the same result."""


def decode(body: bytes, *, check_depth: bool = True) -> Json:
    """Return the JSON value of `body`; what cannot be kept in it is replaced.

    A lone surrogate, or a byte that is no UTF-8, becomes U+FFFD; NaN, Infinity and 1e999 become None; an integer that
    is too large for a float becomes its digits as a str; what is nested more than `MAX_DEPTH` levels deep becomes
    `TOO_DEEP`. An id in which something would be replaced becomes None: it would name another execution, or none.

    If something was replaced, the execution's object (the whole body, or an entry of its ``executions``) has a
    sentence about it: see `replaced`.

    Parameters
    ----------
    body : bytes
    check_depth : bool, default True
        Whether nesting is checked if orjson has decoded `body`. Pass False if no nested value of it is kept.

    Returns
    -------
    JSON value

    Raises
    ------
    ValueError
        It is no JSON, or it would take more than `MAX_TOKENS` steps to find that out.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _Parser(body).document()
    if not check_depth or _is_shallow(body, value):
        return value
    return _Parser(body).document()


def replaced(execution: Mapping[str, Any]) -> str | None:
    """Return what `decode` replaced in an execution's object, in a sentence; None if nothing."""
    note = execution.get(REPLACED)
    return note if isinstance(note, str) else None


def storable(value: Json) -> Json:
    """Return a value that orjson cannot encode as `decode` would return it; `NOT_STORABLE` if that fails too."""
    try:
        # In a list, which gets no sentence about what was replaced.
        return decode(json.dumps([value], default=str).encode())[0]
    except (TypeError, ValueError, RecursionError):
        return NOT_STORABLE


def _is_shallow(body: bytes, value: Json) -> bool:
    """Return whether a value nests at most `MAX_DEPTH` levels."""
    if len(body) < _SHORT and body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return True
    for _ in range(_WRAPPING):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


_SHORT: Final = 4096
"""Bytes up to which brackets are counted faster than the value is encoded."""


class _Parser:
    """One pass over a text that orjson refuses. Open containers are on a stack of its own: nothing is recursive."""

    def __init__(self, body: bytes) -> None:
        # Bytes that are no UTF-8 become lone surrogates here, and are replaced together with those of the text.
        self._text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        self._at = 0
        self._left = MAX_TOKENS
        self._open: list[dict[str, Json] | list[Json]] = []
        self._keys: list[Any] = []
        self._notes: dict[int | None, dict[tuple[str, str], None]] = {}

    def document(self) -> Json:
        """Parse the whole text.

        Raises
        ------
        ValueError
        """
        value, is_opened = self._value()
        while True:
            if is_opened and not self._takes("}" if isinstance(value, dict) else "]"):
                self._open.append(value)
                self._keys.append("")
                self._keys[-1] = self._key()
            else:
                while self._open and not self._attach(value):
                    value = self._open.pop()
                    self._keys.pop()
                if not self._open:
                    break
            value, is_opened = self._value()
        if self._peek():
            self._fail("more than one value")
        return self._annotated(value)

    def _attach(self, value: Json) -> bool:
        """Add a complete value to its container; return whether another value follows."""
        container: Any = self._open[-1]
        if isinstance(container, dict):
            container[self._keys[-1]] = value
        else:
            container.append(value)
        if self._takes(","):
            self._keys[-1] = ""  # a replacement within a name belongs to no field
            self._keys[-1] = self._key()
            return True
        self._needs("}" if isinstance(container, dict) else "]")
        return False

    def _key(self) -> str | int:
        container = self._open[-1]
        if isinstance(container, list):
            return len(container)
        if self._peek() != '"':
            self._fail("expected a name")
        name = self._string()
        self._needs(":")
        return name

    def _value(self) -> tuple[Json, bool]:
        """Read a scalar, or the beginning of a container; return it, and whether it is such a beginning."""
        char = self._peek()
        if char in ("{", "["):
            if len(self._open) >= MAX_DEPTH:
                self._skip()
                return TOO_DEEP, False
            self._step()
            return ({} if char == "{" else []), True
        self._step(0)
        if char == '"':
            return self._string(), False
        number = _NUMBER.match(self._text, self._at)
        if number:
            self._at = number.end()
            return self._number(number.group(), is_whole=number.group(1) is None and number.group(2) is None), False
        return self._literal(), False

    def _string(self) -> str:
        text, self._at = _STRINGS.raw_decode(self._text, self._at)
        if not text.isascii() and _SURROGATE.search(text):
            self._note(_UNICODE)
            text = _SURROGATE.sub("\ufffd", text)
        return str(text)

    def _number(self, text: str, *, is_whole: bool) -> Json:
        if is_whole and len(text) <= _MAX_DIGITS and int(text) in _INTEGERS:
            return int(text)
        value = float(text)
        if isfinite(value):
            return value
        self._note(_TOO_LARGE if is_whole else _NOT_FINITE)
        return text if is_whole else None

    def _literal(self) -> Json:
        match = _LITERAL.match(self._text, self._at)
        literal = match.group() if match else ""
        if literal in _NOT_FINITE_LITERALS:
            self._note(_NOT_FINITE)
        elif literal not in _LITERALS:
            self._fail("expected a value")
        self._at += len(literal)
        return _LITERALS.get(literal)

    def _skip(self) -> None:
        """Skip a container without reading its content."""
        self._note(_NESTED)
        depth = 0
        while True:
            match = _BRACKET.match(self._text, self._at)
            self._at = match.end() if match else self._at
            char = self._peek()
            if char == '"':
                self._at = _STRINGS.raw_decode(self._text, self._at)[1]
                self._step(0)
                continue
            if not char:
                self._fail("the text ends too early")
            self._step()
            depth += 1 if char in "[{" else -1
            if depth == 0:
                return

    def _peek(self) -> str:
        match = _SPACE.match(self._text, self._at)
        if match:
            self._at = match.end()
        return self._text[self._at : self._at + 1]

    def _takes(self, char: str) -> bool:
        if self._peek() != char:
            return False
        self._at += 1
        return True

    def _needs(self, char: str) -> None:
        if not self._takes(char):
            self._fail(f"{char!r} was expected")

    def _step(self, characters: int = 1) -> None:
        self._at += characters
        self._left -= 1
        if self._left < 0:
            self._fail("too many values")

    def _fail(self, reason: str) -> NoReturn:
        msg = f"not JSON: {reason} at character {self._at}"
        raise ValueError(msg)

    def _note(self, what: str) -> None:
        """Note a replacement: for the entry of ``executions`` in which it was made, else for the whole body."""
        keys = self._keys
        entry = keys[1] if len(keys) > 1 and keys[0] == "executions" and isinstance(keys[1], int) else None
        depth = 0 if entry is None else 2
        field = str(keys[depth])[:_MAX_NAME] if len(keys) > depth else ""
        if field not in _NOT_IN_A_ROW:
            notes = self._notes.setdefault(entry, {})
            if len(notes) <= _MAX_PLACES:
                notes[field, what] = None

    def _annotated(self, value: Json) -> Json:
        if not isinstance(value, dict):
            return value
        for entry, notes in self._notes.items():
            execution = value if entry is None else value["executions"][entry]
            if not isinstance(execution, dict):
                continue
            for field, _ in notes:
                if field in _IDS:
                    execution[field] = None
            places = [f"{field}: {what}" if field else what for field, what in notes]
            more = ["and more"] if len(places) > _MAX_PLACES else []
            execution[REPLACED] = "the API's JSON cannot be kept unchanged: " + "; ".join(places[:_MAX_PLACES] + more)
        return value
