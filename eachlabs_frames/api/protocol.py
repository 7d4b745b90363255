"""Both dialects: a batch -> a request; a reply or a fault -> a verdict.

Owns every path, body and status code of the API. It alone says whether a POST may be sent again: only when it
certainly created nothing. It sends nothing and never sees the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from itertools import repeat
from typing import Final, TypeAlias
from urllib.parse import quote

import orjson

from .. import decoding
from ..errors import APIError, AuthenticationError, ConfigurationError, NotFoundError, PermissionDeniedError
from ..models import FAILED, QUEUED, UNKNOWN, Batch, DialectName, Fault, Json, Outcome, Reply, Request, Secret, Target
from .responses import canonical_status, parse_time, with_note
from .stated_cap import Cap, read_cap

PAGE: Final = 100
"""Executions of one page, at most (API reference, "Pagination")."""

MAX_REASON_LENGTH: Final = 500

MAX_RETRY_AFTER: Final = 60.0
"""Seconds: a GET is repeated after at most this long, whatever ``Retry-After`` says."""

_FAR_FUTURE: Final = 1e10
"""Seconds: as good as for ever, and still a number that can be shown and added to."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

_WEBHOOK: Final = r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?([/?#][!-\[\]-~]*)?"


@dataclass(frozen=True, slots=True)
class Done:
    """The API answered for each input: accepted, or refused on its own."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The API refused the request, and it can be no smaller: nothing was created."""

    reason: str


@dataclass(frozen=True, slots=True)
class Split:
    """The API refused the request as a whole: nothing was created, so its halves may be tried."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing was created; the same request may be sent later.

    Attributes
    ----------
    reason : str
        What the API says.
    after : float or None
        The least number of seconds before the next try.
    limited : bool
        Whether the answer was a 429.
    cap : Cap or None
        What the answer says about executions in flight, if it is about those: they have to end before another try can
        succeed. None: a pause is enough.
    reserved : bool
        Whether the balance is what they hold: a 402 about executions in flight.
    """

    reason: str
    after: float | None = None
    limited: bool = False
    cap: Cap | None = None
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing was created, and nothing more should be sent.

    ``raises`` says whether that is an error of the call: not so for a balance that is too low, as what was accepted
    goes on and the rest can follow.
    """

    reason: str
    error: type[APIError]
    status: int
    raises: bool = True


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request may have taken effect: it is never sent again. ``bulk_id`` where an answer named it."""

    reason: str
    bulk_id: str | None = None


@dataclass(frozen=True, slots=True)
class Success:
    """What a GET gave."""

    json: Json


Verdict: TypeAlias = Done | Refused | Split | Retry | Stop | Unknown

_STOPS: Final[dict[int, type[APIError]]] = {
    401: AuthenticationError,
    402: APIError,
    403: PermissionDeniedError,
    404: NotFoundError,
}


PAST_THE_END: Final = frozenset({400, 404, 416, 422})
"""How an API may refuse an offset beyond its last execution."""


def key_header(dialect: DialectName, key: str) -> tuple[str, str]:
    """Return the header that carries the key."""
    return ("X-API-Key", key) if dialect == "legacy" else ("Authorization", f"Bearer {key}")


def checked_id(name: str, value: object) -> str:
    """Return `value` where it can be one segment of a path, and nothing else.

    Raises
    ------
    ConfigurationError
        Empty, no string, or with a character that would change the URL.
    """
    if not isinstance(value, str) or not value:
        msg = f"{name} must be a non-empty string, as in 'wf_abc123'; got {value!r}"
        raise ConfigurationError(msg)
    if not re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*", value):
        msg = (
            f"{name} {value!r} would change the URL: it may contain letters, digits, '_', '-', '~', and dots except "
            f"at the ends"
        )
        raise ConfigurationError(msg)
    return value


@lru_cache
def _segment(name: str) -> str:
    """Quote an id that stands in each request of a run."""
    return quote(name, safe="")


def check_webhook(dialect: DialectName, url: object, secret: Secret | None) -> None:
    """Make sure that a webhook can be asked for.

    Raises
    ------
    ConfigurationError
        No http(s) URL; a secret without a URL, or where the dialect has none.
    """
    # Printable ASCII without a backslash; a host that is a name or an address; no user and no password.
    if url is not None and not (isinstance(url, str) and re.fullmatch(_WEBHOOK, url)):
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
    """Return the bulk trigger of `batch`."""
    if dialect == "legacy":
        path = f"/{_segment(target.workflow_id)}/bulk-trigger"
    else:
        path = f"/workflows/bulk-trigger/{_segment(target.workflow_id)}/{_segment(target.version_id)}"
    # In no local variable, which a traceback may show: the body has the webhook's secret.
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
    """Return the look at a workflow and its versions."""
    return Request("GET", f"/workflows/{_segment(workflow_id)}")


def is_filter(bulk_id: str) -> bool:
    """Return whether a listing can be filtered by `bulk_id`.

    The API names some bulk operations ``bulk_abc123``, and answers 400 to a filter that is not a UUID (API reference,
    "List executions"). Their executions are read from the whole listing, or from the details of each.
    """
    return _UUID.fullmatch(bulk_id) is not None


def listing_request(workflow_id: str, *, bulk_id: str | None = None, offset: int = 0) -> Request:
    """Return the request for a page of a workflow's executions, of one bulk operation where `bulk_id` is given.

    Raises
    ------
    ValueError
        The `bulk_id` cannot be a filter; see `is_filter`.
    """
    query = [("limit", str(PAGE))]
    if bulk_id is not None:
        if not is_filter(bulk_id):
            msg = f"bulk_id {bulk_id!r} is not a UUID: a listing cannot be filtered by it"
            raise ValueError(msg)
        query.insert(0, ("bulk_id", bulk_id))
    if offset:
        query.append(("offset", str(offset)))
    return Request("GET", f"/workflows/{_segment(workflow_id)}/executions", tuple(query))


def details_request(dialect: DialectName, execution_id: str) -> Request:
    """Return the look at one execution."""
    prefix = "" if dialect == "legacy" else "/workflows"
    return Request("GET", f"{prefix}/executions/{quote(execution_id, safe='')}")


def names(details: Mapping[str, Json], execution_id: str) -> bool:
    """Return whether details are of the execution that was asked for: a proxy may mix answers up."""
    known = details.get("execution_id")
    return isinstance(known, str) and known.lower() == execution_id.lower()


def next_offset(said: Json, size: int, offset: int) -> int | None:
    """Return where the page after one of `size` entries at `offset` starts; None after the last page.

    A page with fewer entries than were asked for is the last, unless the answer says that it was cut: by a ``limit``
    that is smaller than the one asked for, or by a ``total_count`` beyond what was read.
    """
    if not size:
        return None
    said = said if isinstance(said, Mapping) else {}
    limit, total = said.get("limit"), said.get("total_count")
    is_full = size >= PAGE or (type(limit) is int and 0 < limit <= size)
    more = type(total) is int and total > offset + size
    return offset + min(size, PAGE) if is_full or more else None


def is_past_the_end(verdict: Success | Retry | Stop, offset: int) -> bool:
    """Return whether a page was refused because its offset is beyond the last execution."""
    return offset > 0 and isinstance(verdict, Stop) and verdict.status in PAST_THE_END


def balance_request() -> Request:
    """Return the look at the account's balance; the legacy dialect has none."""
    return Request("GET", "/billing/balance")


def judge(reply: Reply | Fault, batch: Batch) -> Verdict:
    """Say what a bulk trigger's answer means for `batch` (API reference, "Bulk trigger", the table of statuses)."""
    if isinstance(reply, Fault):
        if reply.sent:
            return Unknown(f"no response ({reply.reason}): it may have started")
        return Retry(f"no connection ({reply.reason})")
    status = reply.status
    if 200 <= status < 300:
        return _read_answer(reply, batch)
    reason = explain(reply)
    if status == HTTPStatus.PAYMENT_REQUIRED:
        return _judge_payment(reply, reason)
    if status in _STOPS:
        return Stop(reason, _STOPS[status], status)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Retry(reason, retry_after(reply), limited=True, cap=read_cap(reason))
    if status in (400, 413, 422):
        return Split(reason) if len(batch) > 1 else Refused(reason)
    return Unknown(f"{reason}: it may have started")


def _judge_payment(reply: Reply, reason: str) -> Retry | Stop:
    """Return what a 402 means: executions in flight reserve their estimate until they end, or nothing clears it."""
    if read_cap(reason) is not None:
        # Its numbers are amounts of money.
        return Retry(reason, retry_after(reply), cap=Cap(), reserved=True)
    return Stop(reason, APIError, reply.status, raises=False)


def judge_look(reply: Reply | Fault) -> Success | Retry | Stop:
    """Return what the answer to a GET means: its content, a later try, or the end.

    A ``Retry-After`` beyond `MAX_RETRY_AFTER` is cut to that, and the reason says so: a GET may be repeated freely, and
    no header may stop a run, a search or a dashboard for good.
    """
    if isinstance(reply, Fault):
        return Retry(reply.reason)
    if 200 <= reply.status < 300:
        said = decode(reply)
        return Retry(f"HTTP {reply.status} with a body that is no JSON") if said is None else Success(said)
    if reply.status in (408, 429) or reply.status >= 500:
        reason, after = explain(reply), retry_after(reply)
        if after is not None and after > MAX_RETRY_AFTER:
            reason, after = f"{reason} (the API asks to wait {after:.0f} s)", MAX_RETRY_AFTER
        return Retry(reason, after, limited=reply.status == 429)
    return Stop(explain(reply), _STOPS.get(reply.status, APIError), reply.status)


def explain(reply: Reply) -> str:
    """Return one sentence of what an error answer says, its ``details`` first read where there are any."""
    said = decode(reply, check_depth=False)  # no nested value of it is kept
    words = []
    if isinstance(said, dict):
        words = [_words(said[name]) for name in ("error", "message", "details") if said.get(name)]
    head = f"HTTP {reply.status}"
    if not words:
        head += f" {_phrase(reply.status)}"
        if 300 <= reply.status < 400:
            head += " (a redirect, which is not followed: check base_url)"
    return ": ".join([head, *dict.fromkeys(words)])[:MAX_REASON_LENGTH]


def _words(value: Json) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return "(details nested too deep to show)"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def retry_after(reply: Reply) -> float | None:
    """Return ``Retry-After`` in seconds from now, whether it was written as seconds or as a date."""
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return min(float(value), _FAR_FUTURE)
    moment = _http_date(value)
    if moment is None:
        return None
    # By the server's own clock where it says its time: this machine's may be wrong.
    now = server_time(reply)
    return max(0.0, moment - (reply.received_at if now is None else now))


def server_time(reply: Reply) -> float | None:
    """Return the header ``Date`` in epoch seconds, by the server's clock: whole seconds, cut off (RFC 9110, 6.6.1)."""
    return _http_date(reply.headers.get("date", "").strip())


def _http_date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def decode(reply: Reply, *, check_depth: bool = True) -> Json:
    """Return an answer's JSON value as `core.decoding` gives it, or None where the body is no JSON."""
    try:
        return decoding.decode(reply.body, check_depth=check_depth)
    except ValueError:
        return None


def _read_answer(reply: Reply, batch: Batch) -> Done | Unknown:
    """Read a 2xx answer. One of another shape or length than the request's is never guessed at."""
    said = decode(reply, check_depth=False)  # no nested value of it is kept
    if not isinstance(said, dict):
        return Unknown(f"HTTP {reply.status} with a body that is not a JSON object: it may have started")
    bulk_id = said.get("bulk_id")
    bulk_id = bulk_id if isinstance(bulk_id, str) and bulk_id else None
    entries = said.get("executions")
    if not isinstance(entries, list) or len(entries) != len(batch):
        count = f"{len(entries)} entries" if isinstance(entries, list) else "no list of executions"
        return Unknown(f"the response has {count} for {len(batch)} inputs, so they cannot be matched", bulk_id)
    outcomes = tuple(map(_read_entry, batch.positions, entries, repeat(bulk_id)))
    named = [outcome.execution_id for outcome in outcomes if outcome.execution_id is not None]
    if len(set(named)) != len(named):
        return Unknown("the response names one execution for two inputs, so they cannot be matched", bulk_id)
    return Done(outcomes)


def _read_entry(position: int, entry: Json, bulk_id: str | None) -> Outcome:
    if not isinstance(entry, dict):
        entry = {}
    execution_id = entry.get("execution_id")
    if len(entry) == 2 and entry.get("status") == QUEUED and type(execution_id) is str and execution_id:
        return Outcome(position, QUEUED, bulk_id, execution_id)  # nearly every entry of nearly every answer
    status = canonical_status(entry.get("status"))
    message = entry.get("message") or entry.get("error")
    error = with_note(_words(message)[:MAX_REASON_LENGTH] if message else None, entry)
    if isinstance(execution_id, str) and execution_id:
        started_at = parse_time(entry.get("started_at"))
        return Outcome(position, status or QUEUED, bulk_id, execution_id, error, started_at)
    if status == FAILED and execution_id in (None, ""):
        return Outcome(position, FAILED, bulk_id, error=error or "refused by the API, without a reason")
    reason = "the response names no execution for this input: it may have started"
    return Outcome(position, UNKNOWN, bulk_id, error=f"{reason} ({error})" if error else reason)
