"""What the sandbox answers, as values: a status, a body, headers, and refusals.

Owns the JSON that leaves the sandbox. It never touches a socket and never decides whether to refuse.
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
    """One HTTP answer before it is sent."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """A request that the sandbox refuses: carries the answer to send."""

    def __init__(
        self, status: int, error: str, *, details: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(error)
        self.answer = refusal(status, error, details=details, retry_after=retry_after)


def as_json(value: Any, *, status: int = 200) -> Answer:
    """Answer with a JSON document."""
    return Answer(status, _COMPACT.encode(value).encode())


def refusal(status: int, error: str, *, details: str | None = None, retry_after: float | None = None) -> Answer:
    """Answer with an error in the API's shape."""
    document = {"error": error} if details is None else {"error": error, "details": details}
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return Answer(status, _COMPACT.encode(document).encode(), headers=headers)


def canonical(value: Any) -> str:
    """Write a JSON value in the one way that makes equal values equal strings."""
    return _CANONICAL.encode(value)
