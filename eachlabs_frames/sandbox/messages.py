"""Requests and responses of the sandbox as values.

Owns the JSON of responses and errors. It never touches a socket and never decides whether a request is rejected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .options import Dialect

_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_CANONICAL = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)


@dataclass(slots=True)
class ReceivedBody:
    """The body of an upload, in a file that is deleted after the request unless the storage keeps it."""

    path: Path
    size: int = 0
    sha256: str = ""


@dataclass(slots=True)
class Request:
    """A request to the API. `body` is set when it has been read; `received` is the body of an upload."""

    route: str
    dialect: Dialect
    names: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes = b""
    received: ReceivedBody | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response before it is sent."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """The sandbox rejects a request; `response` is what it sends."""

    def __init__(
        self, status: int, error: str, *, details: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(error)
        self.response = error_response(status, error, details=details, retry_after=retry_after)


def json_response(value: Any, *, status: int = 200) -> Response:
    """Return a JSON response."""
    return Response(status, _COMPACT.encode(value).encode())


def error_response(
    status: int, error: str, *, details: str | None = None, retry_after: float | None = None
) -> Response:
    """Return an error response in the API's format."""
    document = {"error": error} if details is None else {"error": error, "details": details}
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return Response(status, _COMPACT.encode(document).encode(), headers=headers)


def canonical(value: Any) -> str:
    """Return canonical JSON: equal values have equal texts."""
    return _CANONICAL.encode(value)
