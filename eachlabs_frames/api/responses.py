"""Parses the JSON of the API's responses: executions, listings, steps and workflows. It does no IO.

A listing's entry and an execution's details (also the body of a webhook) use different names: ``ended_at``,
``cost`` and ``output_json`` in the former, ``completed_at``, ``total_cost`` and ``workflow_output`` in the latter.
Nothing is assumed to have its documented shape: a field of another type counts as missing.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ..decoding import replaced
from ..errors import NotFoundError
from ..models import (
    CANCELLED,
    COMPLETED,
    FAILED,
    INVALID,
    PENDING,
    QUEUED,
    RUNNING,
    UNKNOWN,
    Json,
    Outcome,
    Secret,
    Workflow,
)
from ..suggestions import did_you_mean
from .requests import PAGE_SIZE

_STATUSES: Final = {
    **{status: status for status in (QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED)},
    "succeeded": COMPLETED,
    "canceled": CANCELLED,
    **dict.fromkeys((PENDING, INVALID, UNKNOWN), QUEUED),
}
"""The API's statuses; those of the platform's other endpoints (API reference, "Webhooks"); and statuses that only this
package sets, which must not be taken from a response."""

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

MAX_SECONDS: Final = 1e9
"""Seconds of a step; a larger number is ignored."""


def canonical_status(value: object) -> str | None:
    """Return this package's name of a status, an unknown status in lower case, and None if there is none."""
    if not isinstance(value, str):
        return None
    status = _STATUSES.get(value)
    if status is not None:
        return status
    plain = value.strip().lower()
    return _STATUSES.get(plain, plain) or None


def parse_time(text: object) -> int | None:
    """Return an RFC 3339 time as nanoseconds since the epoch, UTC; None if it is not one."""
    if not isinstance(text, str):
        return None
    match = _RFC3339.match(text)
    if match is None:
        return None
    fields = tuple(map(int, match.group(1, 2, 3, 4, 5, 6)))
    if not (1 <= fields[1] <= 12 and 1 <= fields[2] <= 31):
        return None
    try:
        seconds = timegm(fields)
    except ValueError:
        return None
    sign, hours, minutes = match.group(8, 9, 10)
    if sign:
        seconds -= (1 if sign == "+" else -1) * (int(hours) * 3600 + int(minutes) * 60)
    nanoseconds = seconds * _NS + int((match.group(7) or "0")[:9].ljust(9, "0"))
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


def cost_in(entry: Mapping[str, Any]) -> float | None:
    """Return an execution's cost in USD: ``cost`` of a listing's entry, ``total_cost`` of the details."""
    cost = parse_cost(entry.get("cost"))
    return parse_cost(entry.get("total_cost")) if cost is None else cost


def seconds_in(entry: Mapping[str, Any]) -> float | None:
    """Return how long an execution ran; None if its times are not known."""
    started_at = parse_time(entry.get("started_at"))
    completed_at = parse_time(entry.get("ended_at")) or parse_time(entry.get("completed_at"))
    if started_at is None or completed_at is None or completed_at < started_at:
        return None
    return (completed_at - started_at) / _NS


def _output_of(entry: Mapping[str, Any]) -> Json:
    """Return an execution's output: the structured one if there is one, as it is the whole output, else ``output``.

    An empty object does not hide a plain output, but is returned if there is no other.
    """
    plain, structured = entry.get("output"), [entry.get("output_json"), entry.get("workflow_output")]
    outputs = [*(value for value in structured if value not in (None, {})), plain, *structured]
    return next((value for value in outputs if value is not None), None)


def entries(data: Json) -> Iterator[Mapping[str, Any]]:
    """Yield the executions of a listing's page that have an id."""
    listed = data.get("executions") if isinstance(data, Mapping) else None
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, Mapping) and (execution_id := entry.get("execution_id")) and isinstance(execution_id, str):
            yield entry


def read_outcome(position: int, entry: Mapping[str, Any]) -> Outcome:
    """Return the outcome of the row at `position` from a listing's entry or an execution's details."""
    bulk_id = entry.get("bulk_id")
    status = canonical_status(entry.get("status")) or UNKNOWN
    error = error_of(entry)
    if error is not None or status != FAILED:  # `lacks_details` recognizes a failure without a reason by its error
        error = with_replacements(error, entry)
    return Outcome(
        position=position,
        status=status,
        bulk_id=bulk_id if isinstance(bulk_id, str) and bulk_id else None,
        execution_id=entry["execution_id"],
        error=error,
        started_at=parse_time(entry.get("started_at")),
        completed_at=parse_time(entry.get("ended_at")) or parse_time(entry.get("completed_at")),
        output=_output_of(entry),
        cost=cost_in(entry),
    )


def lacks_details(outcome: Outcome) -> bool:
    """Return whether the details have to be read: for the reason of a failure, or a completed execution's output."""
    return (outcome.status == FAILED and outcome.error is None) or (
        outcome.status == COMPLETED and outcome.output is None
    )


def error_of(entry: Mapping[str, Any]) -> str | None:
    """Return why an execution or a step failed: ``error_cause``, which is more specific, else ``error``."""
    error = entry.get("error_cause") or entry.get("error")
    return str(error) if error else None


def with_replacements(error: str | None, entry: Mapping[str, Any]) -> str | None:
    """Return an execution's error, with a note if something was replaced in its JSON: see `decoding.decode`."""
    note = replaced(entry)
    if note is None:
        return error
    return f"{error} ({note})" if error else note


def with_default_error(outcome: Outcome) -> Outcome:
    """Return an outcome that was read from details; a failure without a reason gets `NO_REASON`."""
    if outcome.status == FAILED and outcome.error is None:
        return outcome._replace(error=NO_REASON)
    return outcome


def complete_outcome(brief: Outcome, details: Mapping[str, Any]) -> Outcome:
    """Return an outcome that was read from a listing's entry, with what the entry lacked from the details."""
    more = read_outcome(brief.position, details)
    return with_default_error(
        brief._replace(
            error=more.error,
            output=more.output,
            bulk_id=more.bulk_id,
            started_at=brief.started_at or more.started_at,
            completed_at=brief.completed_at or more.completed_at,
            cost=more.cost if brief.cost is None else brief.cost,
        )
    )


def details_of(data: Json, execution_id: str) -> Mapping[str, Any] | None:
    """Return a response's details under the id that was requested; None if they are another's: a proxy may mix up."""
    named = data.get("execution_id") if isinstance(data, Mapping) else None
    if isinstance(named, str) and named.lower() == execution_id.lower():
        return {**data, "execution_id": execution_id}
    return None


def next_offset(data: Json, size: int, offset: int) -> int | None:
    """Return the offset of the page after one of `size` entries at `offset`; None after the last page.

    A page with fewer entries than requested is the last, unless the response says that it was cut: by a ``limit``
    smaller than the one requested, or a ``total_count`` beyond what was read.
    """
    if not size:
        return None
    data = data if isinstance(data, Mapping) else {}
    limit, total = data.get("limit"), data.get("total_count")
    is_full = size >= PAGE_SIZE or (type(limit) is int and 0 < limit <= size)
    more = type(total) is int and total > offset + size
    return offset + min(size, PAGE_SIZE) if is_full or more else None


# -- steps ------------------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """A step of an execution. Times are nanoseconds since the epoch, UTC; `elapsed` is in seconds, `cost` in USD."""

    step_id: str | None
    status: str | None = None
    model: str | None = None
    started_at: int | None = None
    completed_at: int | None = None
    elapsed: float | None = None
    primary: Json = None
    output: Json = None
    error: str | None = None
    cost: float | None = None


def read_steps(details: Mapping[str, Any]) -> list[Step]:
    """Return an execution's steps by their start (API reference, "StepOutput"); those not yet started are last."""
    outputs = details.get("step_outputs")
    named = outputs.items() if isinstance(outputs, Mapping) else ()
    steps = [_read_step(str(name), entry) for name, entry in named if isinstance(entry, Mapping)]
    return sorted(steps, key=lambda step: (step.started_at is None, step.started_at or 0))


def _read_step(name: str, entry: Mapping[str, Any]) -> Step:
    step_id, metadata = entry.get("step_id"), entry.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    started_at, completed_at = parse_time(entry.get("started_at")), parse_time(entry.get("completed_at"))
    return Step(
        step_id=step_id if isinstance(step_id, str) and step_id else name,
        status=canonical_status(entry.get("status")),
        model=_text(metadata.get("model")) or _text(metadata.get("type")),
        started_at=started_at,
        completed_at=completed_at,
        elapsed=_elapsed(started_at, completed_at, metadata),
        primary=entry.get("primary"),
        output=entry.get("output"),
        error=error_of(entry),
        cost=cost_in(metadata) if cost_in(entry) is None else cost_in(entry),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _elapsed(started_at: int | None, completed_at: int | None, metadata: Mapping[str, Any]) -> float | None:
    """Return a step's duration from its times, else from the metadata of an http or python step."""
    if started_at is not None and completed_at is not None:
        return (completed_at - started_at) / 1e9
    seconds = metadata.get("elapsed_seconds", metadata.get("execution_time"))
    is_valid = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < MAX_SECONDS
    return float(seconds) if is_valid else None


# -- workflows --------------------------------------------------------------------------------------------------------


def choose_version(data: Json, *, workflow_id: str, version_id: str | None) -> Workflow:
    """Return the requested version of a workflow, its input schema and its steps, or the latest.

    The latest is ``latest_version_id`` if the API names it (legacy), else the active version with the newest
    ``updated_at`` (API reference, "Two dialects, one API").

    Raises
    ------
    NotFoundError
        There is no such version, or none that is active.
    """
    data = data if isinstance(data, Mapping) else {}
    listed = data.get("versions")
    versions = [v for v in listed if isinstance(v, Mapping)] if isinstance(listed, list) else []
    chosen_id = version_id or _latest(data, versions)
    version = next((v for v in versions if v.get("version_id") == chosen_id), None)
    if chosen_id is None or (version_id is not None and versions and version is None):
        ids = [str(v.get("version_id")) for v in versions]
        names = ", ".join(ids) or "none"
        what = f"no version {version_id!r}{did_you_mean(version_id, ids)}" if version_id else "no active version"
        msg = f"workflow {workflow_id!r} has {what}; its versions: {names}"
        raise NotFoundError(msg, status=404)
    definition = (version or {}).get("definition")
    definition = definition if isinstance(definition, Mapping) else {}
    schema, steps = definition.get("input_schema"), definition.get("steps")
    return Workflow(
        workflow_id,
        chosen_id,
        schema if isinstance(schema, Mapping) else None,
        steps if isinstance(steps, list) else (),
    )


def _latest(workflow: Mapping[str, Any], versions: list[Mapping[str, Any]]) -> str | None:
    named = workflow.get("latest_version_id")
    if isinstance(named, str) and named:
        return named
    active = [v for v in versions if v.get("status") == "active" and isinstance(v.get("version_id"), str)]
    if not active:
        return None
    newest = max(active, key=lambda version: parse_time(version.get("updated_at")) or 0)
    return str(newest["version_id"])


# -- uploads ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Presigned:
    """Where a file is uploaded to, and where it is then.

    Attributes
    ----------
    file_id : str
    upload_url : Secret
        Whoever has it can upload in this account's name.
    public_url : str
    expires_at : int or None
        When the file is deleted, in nanoseconds since the epoch, UTC.
    headers : mapping of str to str
        The headers that the upload must have; they may be part of the signature.
    """

    file_id: str
    upload_url: Secret
    public_url: str
    expires_at: int | None
    headers: Mapping[str, str] = field(repr=False)


def read_presigned(data: Json) -> Presigned | None:
    """Return the response to a presign request (API reference, "PresignUploadResponse"); None if it is no such."""
    data = data if isinstance(data, Mapping) else {}
    file_id, upload_url, public_url = (_text(data.get(name)) for name in ("id", "presigned_url", "public_url"))
    headers = data.get("required_headers")
    headers = {} if headers is None else headers
    if not (file_id and upload_url and public_url and isinstance(headers, Mapping)):
        return None
    if not all(isinstance(text, str) for pair in headers.items() for text in pair):
        return None
    return Presigned(file_id, Secret(upload_url), public_url, parse_time(data.get("expires_at")), dict(headers))
