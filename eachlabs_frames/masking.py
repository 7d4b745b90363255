"""Removes secrets from text of other systems. It knows no request and no header.

Servers and proxies repeat what they were sent: in an error's text, escaped as JSON or as a URL, or in base64. The
client masks every response and every exception's text here before any other module sees it.
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
"""A shorter secret may occur in responses by chance: masking it would damage ids and statuses."""

HIDDEN: Final = b"***"

_RARITY: Final = b"^`~$!|#*@;<>()'QXJKZYVWHGqPNUMBLFDRIOSCETAzjx"
"""Bytes that are rare in responses of the API, the rarest first: testing that a byte is absent takes almost no time."""


class Mask:
    """Replaces secrets by ``***``, in whatever form.

    It finds a secret itself; in base64, alone or within a longer text; and with any of its characters escaped as in
    JSON, in a URL or in HTML.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        values = {value for secret in secrets if len(value := secret.reveal()) >= MIN_LENGTH}
        forms = {form: _substitute(value) for value in values for form in _forms(value)}
        longest_first = sorted(forms.items(), key=lambda item: len(item[0]), reverse=True)
        self._forms = [(_rarest(form), form, substitute) for form, substitute in longest_first]
        self._escaped = [(_escaped(value), _substitute(value)) for value in values]
        codes = "|".join(sorted({f"{ord(char):02x}|{ord(char)}" for value in values for char in value}))
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
    """Return the rarest byte of `form`."""
    return min(form, key=lambda byte: _RARITY.find(byte) % 256)


def _has_escapes(text: bytes) -> bool:
    """Return whether `text` may contain an escaped ASCII character, as in JSON, URLs or HTML."""
    # Searching one byte is much faster than searching two.
    return b"%" in text or (b"\\" in text and b"\\u00" in text) or (b"&" in text and b"&#" in text)


def _substitute(secret: str) -> bytes:
    if not secret.isdigit():
        return HIDDEN
    # A number in JSON must stay a number, and no secret is its own substitute.
    return (b"8" if set(secret) == {"9"} else b"9") * len(secret)


def _forms(secret: str) -> set[bytes]:
    """Return the forms of a secret that are found without a pattern."""
    texts = {secret, quote(secret, safe=""), quote_plus(secret), html.escape(secret)}
    in_json = {json.dumps(text)[1:-1] for text in texts}
    twice = {json.dumps(text)[1:-1] for text in in_json}
    slashed = {text.replace("/", "\\/") for text in in_json}
    return {text.encode() for text in texts | in_json | twice | slashed} | set(_in_base64(secret.encode()))


def _in_base64(secret: bytes) -> Iterable[bytes]:
    """Yield the base64 forms of a secret for each offset in a longer text, without characters that depend on others."""
    for before in range(3):
        encoded = b64encode(bytes(before) + secret)
        certain = encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        if len(certain) >= MIN_LENGTH:
            yield certain
            yield certain.translate(bytes.maketrans(b"+/", b"-_"))


def _escaped(secret: str) -> re.Pattern[bytes]:
    return re.compile(b"".join(map(_character, secret)))


def _character(char: str) -> bytes:
    """Return a pattern for one character, escaped or not. Backslashes before it are part of it: JSON stays JSON."""
    code = ord(char)
    plain = re.escape(char)
    slashed = rf"|\\+{plain}" if char in '"\\/' else ""
    return rf"(?:\\+u00(?i:{code:02x})|%(?i:{code:02x})|&#(?:0*{code}|[xX]0*(?i:{code:x}));{slashed}|{plain})".encode()
