"""The requests of the API, in both dialects: paths, queries and bodies.

It sends nothing. Only `key_header` sees the API key.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote

import orjson

from ..errors import ConfigurationError
from ..models import Batch, DialectName, Request, Secret, Target

PAGE_SIZE: Final = 100
"""Executions per page, at most (API reference, "Pagination")."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

# Printable ASCII without a backslash; the host is a name or an address, without user and password.
_WEBHOOK_URL: Final = r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?([/?#][!-\[\]-~]*)?"


def key_header(dialect: DialectName, key: str) -> tuple[str, str]:
    """Return the header that carries the key."""
    return ("X-API-Key", key) if dialect == "legacy" else ("Authorization", f"Bearer {key}")


def checked_id(name: str, value: object) -> str:
    """Return `value` if it is valid as one segment of a URL's path.

    Raises
    ------
    ConfigurationError
        It is empty, not a string, or has a character that would change the URL.
    """
    if not isinstance(value, str) or not value:
        msg = f"{name} must be a non-empty string, as in 'wf_abc123'; got {value!r}"
        raise ConfigurationError(msg)
    if not is_path_segment(value):
        msg = (
            f"{name} {value!r} would change the URL: it may contain letters, digits, '_', '-', '~', and dots except "
            f"at the ends"
        )
        raise ConfigurationError(msg)
    return value


def is_path_segment(value: str) -> bool:
    """Return whether a text is valid as one segment of a URL's path."""
    return re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*", value) is not None


@lru_cache
def _segment(name: str) -> str:
    """Quote an id that every request of a run contains."""
    return quote(name, safe="")


def check_webhook(dialect: DialectName, url: object, secret: Secret | None) -> None:
    """Check the webhook options of a call.

    Raises
    ------
    ConfigurationError
        The URL is not http(s); or there is a secret without a URL, or in a dialect that has no secrets.
    """
    if url is not None and not (isinstance(url, str) and re.fullmatch(_WEBHOOK_URL, url)):
        got = "a URL that may contain a password" if isinstance(url, str) and "@" in url else repr(url)
        msg = f"webhook_url must be an http(s) URL, as in 'https://example.org/hook'; got {got}"
        raise ConfigurationError(msg)
    if secret is None:
        return
    if not isinstance(secret.reveal(), str) or not re.fullmatch("[ -~]+", secret.reveal()):
        msg = "webhook_secret must be printable ASCII and not empty: the API sends it in a header"
        raise ConfigurationError(msg)
    if url is None:
        msg = "webhook_secret needs webhook_url"
        raise ConfigurationError(msg)
    if dialect == "legacy":
        msg = "the legacy dialect has no webhook_secret: leave it out, or use dialect='current'"
        raise ConfigurationError(msg)


def trigger_request(dialect: DialectName, target: Target, batch: Batch) -> Request:
    """Return the bulk trigger request of `batch`."""
    if dialect == "legacy":
        path = f"/{_segment(target.workflow_id)}/bulk-trigger"
    else:
        path = f"/workflows/bulk-trigger/{_segment(target.workflow_id)}/{_segment(target.version_id)}"
    # Not in a local variable, which a traceback may show: the body contains the webhook's secret.
    return Request("POST", path, body=b'{"inputs":[' + b",".join(batch.payloads) + b"]" + _body_end(dialect, target))


def _body_end(dialect: DialectName, target: Target) -> bytes:
    """Return the end of a trigger's body, which is the same for all batches of a run."""
    if dialect == "current" and target.webhook_url is None and target.webhook_secret is None:
        return b"}"
    fields: dict[str, str | Secret | None] = {
        "webhook_url": target.webhook_url,
        "webhook_secret": target.webhook_secret,
        "version_id": target.version_id if dialect == "legacy" else None,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return b"," + orjson.dumps(given, default=Secret.reveal)[1:] if given else b"}"


def workflow_request(workflow_id: str) -> Request:
    """Return the request for a workflow and its versions."""
    return Request("GET", f"/workflows/{_segment(workflow_id)}")


def is_filter(bulk_id: str) -> bool:
    """Return whether a listing can be filtered by `bulk_id`.

    Some ids have the form ``bulk_abc123``, and the API answers 400 to a filter that is not a UUID (API reference, "List
    executions"). The executions of such a bulk operation are read from the workflow's listing, or one by one.
    """
    return _UUID.fullmatch(bulk_id) is not None


def listing_request(workflow_id: str, *, bulk_id: str | None = None, offset: int = 0) -> Request:
    """Return the request for a page of a workflow's executions, optionally of one bulk operation.

    Raises
    ------
    ValueError
        The listing cannot be filtered by `bulk_id`; see `is_filter`.
    """
    query = [("limit", str(PAGE_SIZE))]
    if bulk_id is not None:
        if not is_filter(bulk_id):
            msg = f"bulk_id {bulk_id!r} is not a UUID: a listing cannot be filtered by it"
            raise ValueError(msg)
        query.insert(0, ("bulk_id", bulk_id))
    if offset:
        query.append(("offset", str(offset)))
    return Request("GET", f"/workflows/{_segment(workflow_id)}/executions", tuple(query))


def details_request(dialect: DialectName, execution_id: str) -> Request:
    """Return the request for an execution's details."""
    prefix = "" if dialect == "legacy" else "/workflows"
    return Request("GET", f"{prefix}/executions/{quote(execution_id, safe='')}")


def model_request(slug: str) -> Request:
    """Return the request for a model and its price; the legacy dialect has none."""
    return Request("GET", f"/models/{_segment(slug)}")


def balance_request() -> Request:
    """Return the request for the account's balance; the legacy dialect has none."""
    return Request("GET", "/billing/balance")


def presign_request(content_type: str, expires_in: int | None = None) -> Request:
    """Return the request for a URL to upload a file to. It may be sent again: one that is not used costs nothing."""
    category = content_type.partition("/")[0]
    fields: dict[str, str | int] = {
        "content_type": content_type,
        "file_type": category if category in ("image", "video", "audio") else "other",
    }
    if expires_in is not None:
        fields["expires_in_seconds"] = expires_in
    return Request("POST", "/upload/presign", body=orjson.dumps(fields))


def is_file_id(text: str) -> bool:
    """Return whether a text may be the id of an uploaded file (API reference, "Delete File": a UUID)."""
    return _UUID.fullmatch(text) is not None


def delete_request(file_id: str) -> Request:
    """Return the request that deletes an uploaded file; it is idempotent."""
    return Request("DELETE", f"/files/{quote(file_id, safe='')}")
