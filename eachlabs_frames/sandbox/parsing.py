"""Strict parsing of requests: the bodies of a bulk trigger and a presign, the query of a listing.

Decides which requests are well-formed. It never looks at schemas or accounts, and rejects everything that the real API
is not known to accept.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

from .messages import RefusalError, Request
from .options import Dialect

MAX_INPUTS = 10
_FIELDS: Mapping[Dialect, frozenset[str]] = {
    "current": frozenset({"inputs", "webhook_url", "webhook_secret"}),
    "legacy": frozenset({"inputs", "webhook_url", "version_id"}),
}
_PRESIGN_FIELDS = frozenset({"content_type", "file_type", "expires_in_seconds"})
_FILE_TYPES = ("image", "video", "audio", "other")
# A media type without parameters, as RFC 6838 restricts its names.
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(body: bytes) -> Any:
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
    except (ValueError, RecursionError) as exc:
        raise RefusalError(400, "malformed JSON", details=str(exc)[:200]) from exc
    return value


def parse_trigger(request: Request) -> dict[str, Any]:
    """Return the valid body of a bulk trigger, or raise a 400 refusal.

    A `webhook_url` in the query, which only the current dialect has, is added; that of the body takes precedence.
    """
    dialect = request.dialect
    query = parse_query(request.query, allowed=["webhook_url"] if dialect == "current" else [])
    if "webhook_url" in query:
        _check_webhook_url(query["webhook_url"])
    document = _parse_body(request, _FIELDS[dialect])
    for name, value in document.items():
        if name != "inputs" and (not isinstance(value, str) or not value):
            _refuse(f"{name} must be a string that is not empty")
    if "webhook_url" in document:
        _check_webhook_url(document["webhook_url"])
    if "webhook_secret" in document and not re.fullmatch(r"[\x21-\x7e]{1,256}", document["webhook_secret"]):
        _refuse("webhook_secret must be 1 to 256 visible ASCII characters")
    _check_inputs(document.get("inputs"))
    return query | document


def _parse_body(request: Request, allowed: Collection[str]) -> dict[str, Any]:
    """Return the JSON object of a request's body, which has only allowed keys, or raise a 400 refusal."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        _refuse("Content-Type must be application/json")
    document = parse_json(request.body)
    if not isinstance(document, dict):
        _refuse("the body must be a JSON object")
    unknown = sorted(set(document).difference(allowed))
    if unknown:
        _refuse(f"unknown field {unknown[0]!r}")
    return document


def parse_presign(request: Request) -> dict[str, Any]:
    """Return the valid body of a presign request, or raise a 400 refusal.

    The real API clamps a retention that is out of range; the sandbox refuses it, so that no client relies on that.
    """
    parse_query(request.query)
    document = _parse_body(request, _PRESIGN_FIELDS)
    content_type = document.get("content_type")
    if not isinstance(content_type, str) or not _MEDIA_TYPE.fullmatch(content_type):
        _refuse("content_type must be a media type such as image/png")
    file_type = document.get("file_type", "other")
    if file_type not in _FILE_TYPES:
        _refuse(f"file_type must be one of {', '.join(_FILE_TYPES)}")
    if file_type not in ("other", content_type.partition("/")[0]):
        _refuse(f"file_type {file_type} does not go with {content_type}")
    seconds = document.get("expires_in_seconds", 60)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 60 <= seconds <= 31_536_000:
        _refuse("expires_in_seconds must be a whole number from 60 to 31536000")
    return document


def parse_uuid(text: str, *, name: str) -> str:
    """Return a UUID in lower case, or raise a 400 refusal."""
    if not _UUID.fullmatch(text):
        _refuse(f"{name} must be a UUID")
    return text.lower()


def _check_inputs(inputs: Any) -> None:
    if not isinstance(inputs, list):
        _refuse("inputs must be an array")
    if not 1 <= len(inputs) <= MAX_INPUTS:
        _refuse(f"inputs must hold 1 to {MAX_INPUTS} objects, got {len(inputs)}")
    for position, item in enumerate(inputs):
        if not isinstance(item, dict):
            _refuse(f"inputs[{position}] must be an object")


def count_inputs(body: bytes) -> int:
    """Return the number of a trigger's inputs for the record, even if the body is invalid otherwise."""
    try:
        return len(json.loads(body)["inputs"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0


def parse_page(query: Sequence[tuple[str, str]]) -> tuple[str | None, int, int]:
    """Return the `bulk_id`, offset and limit of a listing's query, or raise a 400 refusal."""
    parameters = parse_query(query, allowed={"bulk_id", "offset", "limit"})
    bulk_id = parameters.get("bulk_id")
    if bulk_id is not None and not _UUID.fullmatch(bulk_id):
        _refuse("bulk_id must be a UUID")
    for name in ("limit", "offset"):
        if not _NUMBER.fullmatch(parameters.get(name, "0")):
            _refuse(f"{name} must be a whole number that is not negative")
    limit = int(parameters.get("limit", 50))
    if not 1 <= limit <= 100:
        _refuse("limit must be 1 to 100")
    return bulk_id and bulk_id.lower(), int(parameters.get("offset", 0)), limit


def parse_query(query: Sequence[tuple[str, str]], *, allowed: Collection[str] = ()) -> dict[str, str]:
    """Return the query as a dict, or raise a 400 refusal for a parameter that is unknown or repeated."""
    names = [name for name, _ in query]
    for name in names:
        if name not in allowed:
            _refuse(f"unknown query parameter {name!r}")
        if names.count(name) > 1:
            _refuse(f"query parameter {name!r} given more than once")
    return dict(query)


def _check_webhook_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or len(url) > 2048 or not re.fullmatch(r"[\x21-\x7e]+", url):
        _refuse("webhook_url must be an http or https URI")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        msg = "a key comes more than once in one object"
        raise ValueError(msg)
    return value


def _no_constant(text: str) -> NoReturn:
    msg = f"{text} is not JSON"
    raise ValueError(msg)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        msg = f"{text[:40]} is out of range"
        raise ValueError(msg)
    return value


def _refuse(details: str) -> NoReturn:
    raise RefusalError(400, "invalid request", details=details)
