"""Reads an execution's JSON into an outcome: statuses, times, costs, outputs and errors. It does no IO.

A listing's entry and an execution's details (also the body of a webhook) use different names: ``ended_at``,
``cost`` and ``output_json`` in the former, ``completed_at``, ``total_cost`` and ``workflow_output`` in the latter.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..decoding import replaced
from ..models import CANCELLED, COMPLETED, FAILED, INVALID, PENDING, QUEUED, RUNNING, UNKNOWN, Json, Outcome
from .requests import PAGE_SIZE

_WORDS: Final = {
    **{status: status for status in (QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED)},
    "succeeded": COMPLETED,
    "canceled": CANCELLED,
    **dict.fromkeys((PENDING, INVALID, UNKNOWN), QUEUED),
}
"""The API's words, one object for all rows; those of the platform's other endpoints (API reference, "Webhooks"); and
those that mean something of our own here, which must not be taken for it."""

_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?\s*(?:[Zz]|([+-])(\d\d):?(\d\d))?\Z"
)
NO_REASON: Final = "failed; the API gives no reason"

_NS: Final = 1_000_000_000
_LATEST_NS: Final = 2**63 - 1

_COST_KEYS: Final = ("total_usd", "cost_usd", "total_cost", "total", "amount", "cost", "usd")
"""A listing's cost may be an object whose "structure varies": the first key with a valid amount counts."""

MAX_USD: Final = 1e12
"""Larger amounts, and infinity, are ignored: they are no prices, and sums of them would be infinite."""


def canonical_status(word: object) -> str | None:
    """Return the status word of this package, an unknown word as it is, and None where there is none."""
    if not isinstance(word, str):
        return None
    known = _WORDS.get(word)
    if known is not None:
        return known
    plain = word.strip().lower()
    return _WORDS.get(plain, plain) or None


def parse_time(text: object) -> int | None:
    """Return an RFC 3339 time as nanoseconds since the epoch, UTC; None where it is none."""
    if not isinstance(text, str):
        return None
    found = _RFC3339.match(text)
    if found is None:
        return None
    fields = tuple(map(int, found.group(1, 2, 3, 4, 5, 6)))
    if not (1 <= fields[1] <= 12 and 1 <= fields[2] <= 31):
        return None
    try:
        seconds = timegm(fields)
    except ValueError:
        return None
    sign, hours, minutes = found.group(8, 9, 10)
    if sign:
        seconds -= (1 if sign == "+" else -1) * (int(hours) * 3600 + int(minutes) * 60)
    nanoseconds = seconds * _NS + int((found.group(7) or "0")[:9].ljust(9, "0"))
    return nanoseconds if abs(nanoseconds) < _LATEST_NS else None


def parse_amount(value: object) -> float | None:
    """Return an amount in USD, which may be negative, from a number or a numeric string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        return None
    return amount if abs(amount) < MAX_USD else None


def parse_cost(value: object) -> float | None:
    """Return a cost in USD, at least 0, from a number, a numeric string or an object that contains one."""
    if isinstance(value, Mapping):
        return next((cost for key in _COST_KEYS if (cost := parse_cost(value.get(key))) is not None), None)
    amount = parse_amount(value)
    return amount if amount is not None and amount >= 0 else None


def cost_of(entry: Mapping[str, Any]) -> float | None:
    """Return an execution's cost in USD: ``cost`` of a listing's entry, ``total_cost`` of the details."""
    cost = parse_cost(entry.get("cost"))
    return parse_cost(entry.get("total_cost")) if cost is None else cost


def _output_of(entry: Mapping[str, Any]) -> Json:
    """Return an execution's output: the structured one where there is one, as it is the whole output, else ``output``.

    An empty object does not hide a plain output, but it is an output where there is no other.
    """
    plain, structured = entry.get("output"), [entry.get("output_json"), entry.get("workflow_output")]
    outputs = [*(value for value in structured if value not in (None, {})), plain, *structured]
    return next((value for value in outputs if value is not None), None)


def entries(said: Json) -> Iterator[Mapping[str, Any]]:
    """Yield the executions of a page that have an id."""
    listed = said.get("executions") if isinstance(said, Mapping) else None
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("execution_id"), str):
            yield entry


def read(position: int, entry: Mapping[str, Any]) -> Outcome:
    """Return the outcome that a listing's entry or an execution's details give the row at `position`."""
    bulk_id = entry.get("bulk_id")
    status = canonical_status(entry.get("status")) or UNKNOWN
    error = reason(entry)
    if error is not None or status != FAILED:  # a failure without a reason is looked up, and must look like one
        error = with_note(error, entry)
    return Outcome(
        position=position,
        status=status,
        bulk_id=bulk_id if isinstance(bulk_id, str) and bulk_id else None,
        execution_id=entry["execution_id"],
        error=error,
        started_at=parse_time(entry.get("started_at")),
        completed_at=parse_time(entry.get("ended_at")) or parse_time(entry.get("completed_at")),
        output=_output_of(entry),
        cost=cost_of(entry),
    )


def says_too_little(outcome: Outcome) -> bool:
    """Say whether only the details can tell: why an execution failed, or what a completed one gave."""
    return (outcome.status == FAILED and outcome.error is None) or (
        outcome.status == COMPLETED and outcome.output is None
    )


def reason(entry: Mapping[str, Any]) -> str | None:
    """Return why something failed, by the more telling of the two fields that say it."""
    said = [entry.get("error_cause"), entry.get("error")]
    words = [word if isinstance(word, str) else str(word) for word in said if word]
    return words[0] if words else None


def with_note(error: str | None, entry: Mapping[str, Any]) -> str | None:
    """Return an execution's error with what was replaced in the API's JSON about it, where anything was."""
    note = replaced(entry)
    if note is None:
        return error
    return f"{error} ({note})" if error else note


def completed(outcome: Outcome) -> Outcome:
    """Return an outcome from an execution's details, which say all there is: a failure without a reason says so."""
    if outcome.status == FAILED and outcome.error is None:
        return outcome._replace(error=NO_REASON)
    return outcome


def is_details_of(details: Mapping[str, Json], execution_id: str) -> bool:
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
    is_full = size >= PAGE_SIZE or (type(limit) is int and 0 < limit <= size)
    more = type(total) is int and total > offset + size
    return offset + min(size, PAGE_SIZE) if is_full or more else None
