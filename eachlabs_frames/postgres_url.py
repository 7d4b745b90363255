"""The address of a journal in PostgreSQL. Its password is never shown and never pickled."""

from __future__ import annotations

import os
import re
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from .errors import ConfigurationError

DEFAULT_SCHEMA: Final = "eachlabs"

_FORM: Final = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^:@/?#\s]*)(?::(?P<password>[^:@/?#\s]*))?@)?(?P<host>[^@/?#\s]*)"
    r"(?P<database>/[^@/?#\s]*)?(?:\?(?P<query>[^?#\s]*))?"
)
_SHOWN: Final = ("host", "port", "dbname", "user")
"""Parameters of the query that tell where the journal is; others may be secret."""
_SECRETS: Final = ("password", "sslpassword")


class PostgresUrl:
    """A URL as libpq takes it, and the schema of the journal's tables.

    Its repr and str have no password. It cannot be pickled: each worker reads it from its own environment.

    Raises
    ------
    ConfigurationError
        It is no such URL, or the schema's name is not one.
    """

    __slots__ = ("_secrets", "_shown", "_url", "schema")

    def __init__(self, url: str, schema: str | None = None) -> None:
        match = _FORM.fullmatch(url)
        if match is None:
            # Without the URL: which part of it is the password cannot be told.
            msg = (
                "journal is not a URL of the form postgresql://user:password@host:port/database. In a user or a "
                "password, the characters : / ? # @ % and spaces are written as %3A %2F %3F %23 %40 %25 %20"
            )
            raise ConfigurationError(msg)
        self.schema = schema or os.environ.get("EACHLABS_SCHEMA") or DEFAULT_SCHEMA
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", self.schema):
            msg = f"EACHLABS_SCHEMA must be lower-case letters, digits and underscores, at most 63; got {self.schema!r}"
            raise ConfigurationError(msg)
        self._url = url
        query = parse_qsl(match["query"] or "")
        raw = [match["password"] or "", *(value for name, value in query if name in _SECRETS)]
        self._secrets = sorted({text for value in raw for text in (value, unquote(value)) if text}, key=len)[::-1]
        user = f"{match['user']}@" if match["user"] else ""
        shown = "&".join(f"{name}={value}" for name, value in query if name in _SHOWN)
        self._shown = f"postgresql://{user}{match['host']}{match['database'] or ''}{f'?{shown}' if shown else ''}"

    @staticmethod
    def matches(value: object) -> bool:
        """Return whether a setting is meant as an address of PostgreSQL (URL or keywords), not as a path."""
        pattern = r"\s*postgres(ql)?:|(.*\s)?(host|dbname|password)\s*="
        return isinstance(value, str) and re.match(pattern, value, re.IGNORECASE) is not None

    def reveal(self) -> str:
        """Return the URL with its password."""
        return self._url

    def masked(self, text: str) -> str:
        """Return a text without the URL and its password."""
        for secret in (self._url, *self._secrets):
            text = text.replace(secret, "***")
        return text

    def __repr__(self) -> str:
        return self._shown

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PostgresUrl) and (self._url, self.schema) == (other._url, other.schema)

    def __hash__(self) -> int:
        return hash((self._url, self.schema))

    def __reduce__(self) -> Any:
        msg = "a journal's URL, which may have a password, is not pickled: set EACHLABS_JOURNAL where it is needed"
        raise TypeError(msg)
