"""Secrets in text that others wrote -> the same text without them. It knows no request and no header.

Servers and proxies repeat what they were sent: in an error's text, escaped as JSON or as a URL, or in base64. The
client masks every reply and every exception's text here before any other module sees it.
"""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

from .models import Secret

MIN_LENGTH: Final = 8
"""A shorter secret may be a word of the answers themselves: to mask it would spoil ids and statuses."""

HIDDEN: Final = b"***"

_RARITY: Final = b"^`~$!|#*@;<>()'QXJKZYVWHGqPNUMBLFDRIOSCETAzjx"
"""Bytes that an answer of the API seldom has, the rarest first. That one is missing is found out in almost no time."""


class Mask:
    """Replaces secrets, however they are written, by ``***``.

    Found are the secret itself; in base64, alone or within a longer text; and with any of its characters escaped as in
    JSON, in a URL or in HTML.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        words = {word for secret in secrets if len(word := secret.reveal()) >= MIN_LENGTH}
        found = {form: _substitute(word) for word in words for form in _forms(word)}
        longest_first = sorted(found.items(), key=lambda item: len(item[0]), reverse=True)
        self._forms = [(_rarest(form), form, substitute) for form, substitute in longest_first]
        self._escaped = [(_escaped(word), _substitute(word)) for word in words]
        codes = "|".join(sorted({f"{ord(char):02x}|{ord(char)}" for word in words for char in word}))
        self._suspicious = re.compile(rf"(?:\\u00|%|&#[xX]?0*)(?:{codes})".encode(), re.IGNORECASE) if codes else None

    def bytes(self, text: bytes) -> bytes:
        """Return `text` without the secrets; JSON stays JSON."""
        for rarest, form, substitute in self._forms:
            if rarest in text and form in text:
                text = text.replace(form, substitute)
        if self._suspicious is not None and _has_escapes(text) and self._suspicious.search(text):
            for pattern, substitute in self._escaped:
                text = pattern.sub(substitute, text)
        return text

    def text(self, text: str) -> str:
        """Return `text` without the secrets."""
        return self.bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def __repr__(self) -> str:
        return "Mask(...)"


def _rarest(form: bytes) -> int:
    """Return the byte of `form` that the fewest answers have."""
    return min(form, key=lambda byte: _RARITY.find(byte) % 256)


def _has_escapes(text: bytes) -> bool:
    """Say whether an escape of ASCII may begin in `text`, as in JSON, URLs or HTML."""
    # One byte is found much faster than two.
    return b"%" in text or (b"\\" in text and b"\\u00" in text) or (b"&" in text and b"&#" in text)


def _substitute(word: str) -> bytes:
    if not word.isdigit():
        return HIDDEN
    # A number in JSON has to stay one, and no secret is its own substitute.
    return (b"8" if set(word) == {"9"} else b"9") * len(word)


def _forms(word: str) -> set[bytes]:
    """Return the ways to write a secret that are found without a pattern."""
    texts = {word, quote(word, safe=""), quote_plus(word), html.escape(word)}
    in_json = {json.dumps(text)[1:-1] for text in texts}
    twice = {json.dumps(text)[1:-1] for text in in_json}
    slashed = {text.replace("/", "\\/") for text in in_json}
    return {text.encode() for text in texts | in_json | twice | slashed} | set(_in_base64(word.encode()))


def _in_base64(word: bytes) -> Iterable[bytes]:
    """Yield what base64 makes of a word, wherever in a longer text it begins: what depends on its neighbours is cut."""
    for before in range(3):
        written = b64encode(bytes(before) + word)
        certain = written[-(-before * 8 // 6) : (before + len(word)) * 8 // 6]
        if len(certain) >= MIN_LENGTH:
            yield certain
            yield certain.translate(bytes.maketrans(b"+/", b"-_"))


def _escaped(word: str) -> re.Pattern[bytes]:
    return re.compile(b"".join(map(_character, word)))


def _character(char: str) -> bytes:
    """Return a pattern for one character, escaped or not. Backslashes before an escape go with it: JSON stays JSON."""
    code = ord(char)
    plain = re.escape(char)
    slashed = rf"|\\+{plain}" if char in '"\\/' else ""
    return rf"(?:\\+u00(?i:{code:02x})|%(?i:{code:02x})|&#(?:0*{code}|[xX]0*(?i:{code:x}));{slashed}|{plain})".encode()
