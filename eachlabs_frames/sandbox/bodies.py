"""Strict parsing of requests: the body of a bulk trigger, the query of a listing.

Decides which requests are well-formed. It never looks at schemas or accounts, and rejects everything that the real API
is not known to accept.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

from .answers import RefusalError
from .options import Dialect

MAX_INPUTS = 10
_FIELDS: Mapping[Dialect, frozenset[str]] = {
    "current": frozenset({"inputs", "webhook_url", "webhook_secret"}),
    "legacy": frozenset({"inputs", "webhook_url", "version_id"}),
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class TriggerBody:
    """A well-formed bulk trigger."""

    inputs: tuple[dict[str, Any], ...]
    webhook_url: str | None = None
    webhook_secret: str | None = None
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The requested part of a listing."""

    bulk_id: str | None
    offset: int
    limit: int


def read_json(body: bytes) -> Any:
    """Parse strict JSON: UTF-8, no repeated key, no NaN or infinity, no lone surrogate."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as problem:
        raise RefusalError(400, "malformed JSON", details=str(problem)[:200]) from problem
    return value


def read_trigger(body: bytes, content_type: str, dialect: Dialect) -> TriggerBody:
    """Parse the body of a bulk trigger, or raise a 400 refusal."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        _bad("Content-Type must be application/json")
    document = read_json(body)
    if not isinstance(document, dict):
        _bad("the body must be a JSON object")
    unknown = sorted(set(document) - _FIELDS[dialect])
    if unknown:
        _bad(f"unknown field {unknown[0]!r}")
    texts = {name: document[name] for name in document if name != "inputs"}
    for name, text in texts.items():
        if not isinstance(text, str) or not text:
            _bad(f"{name} must be a string that is not empty")
    if "webhook_url" in texts:
        _check_webhook_url(texts["webhook_url"])
    if "webhook_secret" in texts and not re.fullmatch(r"[\x21-\x7e]{1,256}", texts["webhook_secret"]):
        _bad("webhook_secret must be 1 to 256 visible ASCII characters")
    return TriggerBody(_read_inputs(document.get("inputs")), **texts)


def _read_inputs(inputs: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(inputs, list):
        _bad("inputs must be an array")
    if not 1 <= len(inputs) <= MAX_INPUTS:
        _bad(f"inputs must hold 1 to {MAX_INPUTS} objects, got {len(inputs)}")
    for position, item in enumerate(inputs):
        if not isinstance(item, dict):
            _bad(f"inputs[{position}] must be an object")
    return tuple(inputs)


def read_trigger_query(query: Sequence[tuple[str, str]], dialect: Dialect) -> str | None:
    """Return the `webhook_url` of a trigger's query (current dialect only); that of the body takes precedence."""
    check_query(query, allowed=frozenset({"webhook_url"} if dialect == "current" else ()))
    url = dict(query).get("webhook_url")
    if url is not None:
        _check_webhook_url(url)
    return url


def count_inputs(body: bytes) -> int:
    """Return the number of a trigger's inputs for the record, even if the body is invalid otherwise."""
    try:
        return len(json.loads(body)["inputs"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0


def read_page(query: Sequence[tuple[str, str]]) -> Page:
    """Parse the query of a listing, or raise a 400 refusal."""
    check_query(query, allowed=frozenset({"bulk_id", "offset", "limit"}))
    given = dict(query)
    bulk_id = given.get("bulk_id")
    if bulk_id is not None and not _UUID.fullmatch(bulk_id):
        _bad("bulk_id must be a UUID")
    limit = _whole(given, "limit", 50)
    if not 1 <= limit <= 100:
        _bad("limit must be 1 to 100")
    return Page(bulk_id.lower() if bulk_id else None, _whole(given, "offset", 0), limit)


def check_query(query: Sequence[tuple[str, str]], *, allowed: frozenset[str] = frozenset()) -> None:
    """Raise a 400 refusal for a query parameter that is unknown or repeated."""
    names = [name for name, _ in query]
    for name in names:
        if name not in allowed:
            _bad(f"unknown query parameter {name!r}")
        if names.count(name) > 1:
            _bad(f"query parameter {name!r} given more than once")


def _whole(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        _bad(f"{name} must be a whole number that is not negative")
    return int(text)


def _check_webhook_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or len(url) > 2048 or not re.fullmatch(r"[\x21-\x7e]+", url):
        _bad("webhook_url must be an http or https URI")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        msg = "a key comes more than once in one object"
        raise ValueError(msg)
    return made


def _no_constant(text: str) -> NoReturn:
    msg = f"{text} is not JSON"
    raise ValueError(msg)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        msg = f"{text[:40]} is out of range"
        raise ValueError(msg)
    return value


def _bad(details: str) -> NoReturn:
    raise RefusalError(400, "invalid request", details=details)
