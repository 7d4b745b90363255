"""Responses of the sandbox as values: status, body and headers.

Owns the JSON of responses and errors. It never touches a socket and never decides whether a request is rejected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_CANONICAL = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response before it is sent."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """The sandbox rejects a request; `answer` is the response to send."""

    def __init__(
        self, status: int, error: str, *, details: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(error)
        self.answer = refusal(status, error, details=details, retry_after=retry_after)


def as_json(value: Any, *, status: int = 200) -> Answer:
    """Return a JSON response."""
    return Answer(status, _COMPACT.encode(value).encode())


def refusal(status: int, error: str, *, details: str | None = None, retry_after: float | None = None) -> Answer:
    """Return an error response in the API's format."""
    document = {"error": error} if details is None else {"error": error, "details": details}
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return Answer(status, _COMPACT.encode(document).encode(), headers=headers)


def canonical(value: Any) -> str:
    """Return canonical JSON: equal values have equal texts."""
    return _CANONICAL.encode(value)
