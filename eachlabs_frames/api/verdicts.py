"""What a reply of the API, or its absence, means: status codes, error messages and stated caps -> verdicts.

The only module that decides whether a POST may be sent again: only if it certainly created nothing. It sends nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import repeat
from typing import Final, TypeAlias

import orjson

from .. import decoding
from ..errors import APIError, AuthenticationError, EachlabsError, NotFoundError, PermissionDeniedError
from ..models import FAILED, QUEUED, UNKNOWN, Batch, Fault, Json, Outcome, Reply
from .responses import canonical_status, parse_time, with_replacements

MAX_REASON_LENGTH: Final = 500

MAX_RETRY_AFTER: Final = 60.0
"""Seconds until a GET is repeated, at most, whatever ``Retry-After`` says."""

_FAR_FUTURE: Final = 1e10
"""Seconds. Effectively never, but finite, so that it can be formatted and added."""


@dataclass(frozen=True, slots=True)
class Done:
    """The API answered for each input: accepted or refused."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """The API refused the request as a whole. Nothing was created, so its halves may be sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing was created; the same request may be sent later.

    Attributes
    ----------
    reason : str
        The API's message.
    after : float or None
        Minimum number of seconds before the next attempt.
    limited : bool
        Whether the status was 429.
    cap : Cap or None
        The concurrency cap that the message states. Executions have to end before another attempt can succeed. None:
        a pause is enough.
    reserved : bool
        Whether executions in flight reserve the balance: a 402 that speaks of them.
    """

    reason: str
    after: float | None = None
    limited: bool = False
    cap: Cap | None = None
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing was created, and nothing more should be sent. See `is_raised`."""

    reason: str
    error: type[APIError]
    status: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request may have taken effect, so it is never sent again. ``bulk_id`` if the response has one."""

    reason: str
    bulk_id: str | None = None


@dataclass(frozen=True, slots=True)
class Success:
    """The response to a GET."""

    json: Json


Verdict: TypeAlias = Done | Split | Retry | Stop | Unknown

_STOPS: Final[dict[int, type[APIError]]] = {
    401: AuthenticationError,
    402: APIError,
    403: PermissionDeniedError,
    404: NotFoundError,
}

_REDIRECT_OF_STORAGE: Final = (
    "the presigned URL redirects, which is not followed: a proxy or a login page of the network may answer for the "
    "storage"
)

_PAST_THE_END: Final = frozenset({400, 404, 416, 422})
"""Statuses with which a server may refuse an offset beyond the last execution."""


def is_past_the_end(verdict: Success | Retry | Stop, offset: int) -> bool:
    """Return whether a page was refused because its offset is beyond the last execution."""
    return offset > 0 and isinstance(verdict, Stop) and verdict.status in _PAST_THE_END


def judge_trigger(reply: Reply | Fault, batch: Batch) -> Verdict:
    """Return what the reply to a bulk trigger means for `batch` (API reference, "Bulk trigger", table of statuses)."""
    if isinstance(reply, Fault):
        if reply.sent:
            return Unknown(f"no response ({reply.reason}): it may have started")
        return Retry(f"no connection ({reply.reason})")
    status = reply.status
    if 200 <= status < 300:
        return _read_accepted(reply, batch)
    reason = error_message(reply)
    if status == HTTPStatus.PAYMENT_REQUIRED:
        return _judge_payment(reply, reason)
    if status in _STOPS:
        return Stop(reason, _STOPS[status], status)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Retry(reason, retry_after(reply), limited=True, cap=read_cap(reason))
    if status in (400, 413, 422):
        if len(batch) > 1:
            return Split(reason)
        return Done(tuple(Outcome(position, FAILED, error=reason) for position in batch.positions))
    return Unknown(f"{reason}: it may have started")


def _judge_payment(reply: Reply, reason: str) -> Retry | Stop:
    """Return what a 402 means: wait if the message speaks of executions in flight, stop otherwise.

    Executions in flight reserve their estimated cost until they end (API reference, "Errors"). How long a run waits for
    them is the limiter's decision.
    """
    if read_cap(reason) is not None:
        # The numbers in the message are amounts of money, not a cap.
        return Retry(reason, retry_after(reply), cap=Cap(), reserved=True)
    return Stop(reason, APIError, reply.status)


def is_raised(error: EachlabsError) -> bool:
    """Return whether a call that ends because of `error` raises it.

    Not if the balance is too low: accepted executions run on, and the remaining rows can be sent later.
    """
    return not (isinstance(error, APIError) and error.status == HTTPStatus.PAYMENT_REQUIRED)


def judge_read(reply: Reply | Fault) -> Success | Retry | Stop:
    """Return what the reply to a GET means: its content, a later attempt, or the end.

    A ``Retry-After`` beyond `MAX_RETRY_AFTER` is cut to that, and the reason says so: a GET may be repeated freely, and
    no header may block a run, a search or a dashboard for good.
    """
    if isinstance(reply, Fault):
        return Retry(reply.reason)
    if 200 <= reply.status < 300:
        data = decode_body(reply)
        return Retry(f"HTTP {reply.status} with a body that is no JSON") if data is None else Success(data)
    if reply.status in (408, 429) or reply.status >= 500:
        reason, after = error_message(reply), retry_after(reply)
        if after is not None and after > MAX_RETRY_AFTER:
            reason, after = f"{reason} (the API asks to wait {after:.0f} s)", MAX_RETRY_AFTER
        return Retry(reason, after, limited=reply.status == 429)
    return Stop(error_message(reply), _STOPS.get(reply.status, APIError), reply.status)


def judge_presign(reply: Reply | Fault) -> Success | Retry | Stop:
    """Return what the reply to a presign means; it may be sent again, because a URL that is not used costs nothing.

    A 402 means what it means for a trigger.
    """
    if isinstance(reply, Reply) and reply.status == HTTPStatus.PAYMENT_REQUIRED:
        return _judge_payment(reply, error_message(reply))
    return judge_read(reply)


def is_about_file(verdict: Stop) -> bool:
    """Return whether a presign was refused because of its file; otherwise no other file is accepted either."""
    return verdict.status in (400, 413, 415, 422)


def judge_upload(reply: Reply | Fault) -> Success | Retry | Stop:
    """Return what the storage's reply to a PUT means; it may be sent again, because the content is the same.

    A 403 may mean that the presigned URL is too old: the caller requests a new one.
    """
    if isinstance(reply, Reply) and 200 <= reply.status < 300:
        return Success(None)
    verdict = judge_read(reply)
    if isinstance(verdict, Stop) and isinstance(reply, Reply):
        code, message = (_xml_text(reply.body, name) for name in (b"Code", b"Message"))
        reason = ": ".join(filter(None, (f"HTTP {reply.status}", code, message)))[:MAX_REASON_LENGTH]
        if code == "RequestTimeout":
            return Retry(reason)  # the storage waited too long for the content
        if code:
            return Stop(reason, APIError, reply.status)
        if 300 <= reply.status < 400:
            return Stop(f"HTTP {reply.status} {_phrase(reply.status)} ({_REDIRECT_OF_STORAGE})", APIError, reply.status)
    return verdict


def _xml_text(body: bytes, name: bytes) -> str:
    """Return an element's text in an error of the storage, which is XML. Its other elements have parts of the URL."""
    match = re.search(rb"<%b>([^<]{1,300})</%b>" % (name, name), body[:4096])
    return match[1].decode("utf-8", "replace") if match else ""


def judge_delete(reply: Reply | Fault) -> Success | Retry | Stop:
    """Return what the reply to a DELETE of a file means: a 204 is a success, a 409 (it is processed) passes."""
    if isinstance(reply, Reply) and 200 <= reply.status < 300:
        return Success(None)
    if isinstance(reply, Reply) and reply.status == HTTPStatus.CONFLICT:
        return Retry(error_message(reply), retry_after(reply))
    return judge_read(reply)


def error_message(reply: Reply) -> str:
    """Return an error reply's status and its fields ``error``, ``message`` and ``details`` as one sentence."""
    data = decode_body(reply, check_depth=False)  # no nested value is kept
    parts = []
    if isinstance(data, dict):
        parts = [_as_text(data[name]) for name in ("error", "message", "details") if data.get(name)]
    head = f"HTTP {reply.status}"
    if not parts:
        head += f" {_phrase(reply.status)}"
        if 300 <= reply.status < 400:
            head += " (a redirect, which is not followed: check base_url)"
    return ": ".join([head, *dict.fromkeys(parts)])[:MAX_REASON_LENGTH]


def _as_text(value: Json) -> str:
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
    """Return ``Retry-After`` in seconds from now, whether it is given as seconds or as a date."""
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return min(float(value), _FAR_FUTURE)
    date = _http_date(value)
    if date is None:
        return None
    # Relative to the server's clock if it sends its time: this machine's may be wrong.
    now = server_time(reply)
    return max(0.0, date - (reply.received_at if now is None else now))


def server_time(reply: Reply) -> float | None:
    """Return the header ``Date`` in epoch seconds, by the server's clock: whole seconds, cut off (RFC 9110, 6.6.1)."""
    return _http_date(reply.headers.get("date", "").strip())


def _http_date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        return date.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def decode_body(reply: Reply, *, check_depth: bool = True) -> Json:
    """Return a reply's JSON value as `decoding.decode` gives it, or None if the body is not JSON."""
    try:
        return decoding.decode(reply.body, check_depth=check_depth)
    except ValueError:
        return None


def _read_accepted(reply: Reply, batch: Batch) -> Done | Unknown:
    """Read a 2xx reply. Entries are never matched by guessing if their number is wrong."""
    data = decode_body(reply, check_depth=False)  # no nested value is kept
    if not isinstance(data, dict):
        return Unknown(f"HTTP {reply.status} with a body that is not a JSON object: it may have started")
    bulk_id = data.get("bulk_id")
    bulk_id = bulk_id if isinstance(bulk_id, str) and bulk_id else None
    entries = data.get("executions")
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
        return Outcome(position, QUEUED, bulk_id, execution_id)  # nearly every entry of nearly every reply
    status = canonical_status(entry.get("status"))
    message = entry.get("message") or entry.get("error")
    error = with_replacements(_as_text(message)[:MAX_REASON_LENGTH] if message else None, entry)
    if isinstance(execution_id, str) and execution_id:
        started_at = parse_time(entry.get("started_at"))
        return Outcome(position, status or QUEUED, bulk_id, execution_id, error, started_at)
    if status == FAILED and execution_id in (None, ""):
        return Outcome(position, FAILED, bulk_id, error=error or "refused by the API, without a reason")
    reason = "the response names no execution for this input: it may have started"
    return Outcome(position, UNKNOWN, bulk_id, error=f"{reason} ({error})" if error else reason)


_RUN: Final = r"(?:executions?|runs?|jobs?|workflows?|flows?|tasks?|predictions?|generations?)"
_CALL: Final = r"(?:requests?|calls?|connections?|starts?)"
_TOGETHER: Final = r"(?:concurren\w*|simultaneous\w*|parallel|in[ -]?flight)"

# Compiled when a request is refused: that takes as long as a fifth of this package's own imports in a first call.
_OF_CALLS: Final = rf"\b{_TOGETHER}\s+(?:api\s+|http\s+)?{_CALL}\b|\b{_CALL}\s+(?:in\s+)?{_TOGETHER}\b(?!\s+{_RUN}\b)"
_OF_RUNS: Final = rf"""(?x)\bconcurren | \bin[ -]?flight\b
    | \b(?:simultaneous|parallel|running|active|ongoing|in[ -]progress)\s+{_RUN}\b
    | \b(?:executions|runs|jobs|workflows|tasks)\s+(?:(?!start)\w+\s+){{0,3}}
      (?:running|active|in\ parallel|simultaneously|in\ progress|at\ once|at\ the\ same\ time)\b
    | \b\d+\s*(?:/|of)\s*\d+\s+(?:{_RUN}\s+)?(?:running|active|in\ progress)\b""".replace("[ -]", r"[\ -]")

# Numbers that count money, time or requests are not caps, nor are those that count what is used or requested.
_NUMBER: Final = r"(?<![\d$.,/-])(\d{1,9})(?!\d|[.,]\d|%)"
_NO_COUNT: Final = rf"(?!\s*(?:{_CALL}\b|s\b|sec|ms\b|min|hour|usd\b|eur\b|dollar|credit|cent|per\b))"
_NO_USE: Final = (
    r"(?!\s*(?:/|>|more\b|over\b|already|(?:are\s+|is\s+|were\s+)?(?:currently\s+|now\s+)?"
    rf"(?:in\s+use|used|asked|requested|queued|running|active|in[ -]?flight)\b(?!\s+{_RUN})))"
)
_LINK: Final = (
    r"(?:\W|(?:of|is|to|at|a|are|for|was|the|run|have|your|this|account|reached|exceeded"
    rf"|{_TOGETHER}|running|active|{_RUN})\b)"
)
# "accounts with a balance of $10.00 or less are limited to 10 concurrent executions" (API reference, "Errors").
_DOCUMENTED: Final = rf"\blimited to (\d{{1,9}}) {_TOGETHER} executions?\b"
_USED_OF_CAP: Final = (
    rf"{_NUMBER}\s*(?:/|(?:\s(?!more\b|over\b)[a-z-]+){{0,2}}\s+of\b)\s*"
    rf"(?:(?:your|the|a|an|of|at most|max|maximum|limit|total|allowed)\s+){{0,4}}"
    rf"(\d{{1,9}})(?![\d/%]|[.,]\d){_NO_COUNT}"
)
_CAP: Final = (
    rf"\b(?:(?:rate)?limit(?:ed|s|ing)?|throttled|restricted|cap(?:ped)?|maximum|max|quota|ceiling|at most|up to"
    rf"|no more than|only|allow\w*|permit\w*){_LINK}{{0,40}}?"
    rf"{_NUMBER}{_NO_COUNT}{_NO_USE}"
    rf"|{_NUMBER}(?:\s+(?:{_TOGETHER}|{_RUN}|running|active|are|is|the|can be|may be))+"
    r"\s+(?:allowed|permitted|maximum|max|limit|cap)\b"
)


@dataclass(frozen=True, slots=True)
class Cap:
    """What a refusal says about concurrent executions; None for each number that it does not state."""

    limit: int | None = None
    used: int | None = None


def read_cap(reason: str) -> Cap | None:
    """Return the cap on concurrent executions that a message states, or None if it is about anything else.

    The documented wording takes precedence, with the smallest number if it occurs more than once; other usual wordings
    are recognized too. A misread number costs a few refusals and no row: the quota adapts to the replies.

    Examples
    --------
    >>> from eachlabs_frames.api.verdicts import read_cap
    >>> read_cap("HTTP 429: concurrency limit reached: 7 of 10 concurrent executions in use, 5 more asked for")
    Cap(limit=10, used=7)
    >>> read_cap("HTTP 429: accounts with a balance of $10.00 or less are limited to 2 concurrent executions.")
    Cap(limit=2, used=None)
    >>> read_cap("HTTP 429: too many concurrent executions")
    Cap(limit=None, used=None)
    >>> read_cap("HTTP 429: too many requests: too many starts at once") is None
    True
    """
    separate = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", reason)  # maxConcurrentExecutions
    text = re.sub(r'[_"\'`]', " ", re.sub(r"^http \d+\b", "", separate.lower()))
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text, of_calls = re.subn(_OF_CALLS, " ", text)
    if not re.search(_OF_RUNS, text) or (of_calls and not re.search(rf"\b{_RUN}\b", text)):
        return None
    if documented := [int(number) for number in re.findall(_DOCUMENTED, text) if int(number)]:
        return Cap(min(documented))
    if (match := re.search(_USED_OF_CAP, text)) and int(match[2]):
        return Cap(int(match[2]), int(match[1]))
    limits = (int(match[1] or match[2]) for match in re.finditer(_CAP, text))
    return Cap(next(filter(None, limits), None))
