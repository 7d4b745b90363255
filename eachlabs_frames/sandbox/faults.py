"""Faults of the sandbox: their kinds, and which requests they affect. `routes` carries them out on the connection.

Owns the kinds of fault and the schedule that selects them. It never touches a socket, a clock or the account, and its
only source of randomness is the `random.Random` that it is given.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from .messages import Response, error_response

ROUTES = ("trigger", "list", "details", "workflow", "balance", "model", "media", "presign", "put", "file", "delete")

# Rejections: the request has no effect.
REFUSALS: Mapping[str, tuple[int, str]] = {
    "rate_limit": (429, "too many requests"),
    "payment": (402, "insufficient balance"),
    "unauthorized": (401, "invalid or missing API key"),
    "forbidden": (403, "forbidden"),
    "not_found": (404, "not found"),
    "gone": (410, "gone"),
    "bad_request": (400, "bad request"),
    "unprocessable": (422, "unprocessable inputs"),
    "error_before": (500, "internal server error"),
}
BEFORE = frozenset(REFUSALS) | {"dropped", "redirect"}
ENTRIES = frozenset({"too_few", "too_many", "no_ids"})
AFTER = ENTRIES | {"error_after", "lost_answer", "silence", "cut_short", "stalled", "altered", "garbage"}
KINDS = BEFORE | AFTER | {"latency"}
# A complete, well-formed 2xx response with wrong content.
CONFUSED = frozenset({"permuted", "replayed"})

REDIRECT_PATH = "/_sandbox/elsewhere"
_GARBAGE = b"<!doctype html><html><body><h1>Bad gateway</h1><p>Please try again.</p></body></html>"
# Statuses that do not tell whether the request took effect.
_AMBIGUOUS = frozenset({408, 409, *range(500, 600)})
_ERROR_TEXTS = {408: "Upstream request timed out", 409: "Conflict", 502: "Upstream service unavailable"}
_STATUSES: Mapping[str, Collection[int]] = {
    "error_before": _AMBIGUOUS,
    "error_after": _AMBIGUOUS,
    "redirect": (301, 302, 303, 307, 308),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault to inject, and the requests that it affects.

    Parameters
    ----------
    kind
        What happens. Before the request takes effect: `rate_limit`, `payment`, `unauthorized`, `forbidden`,
        `not_found`, `gone`, `bad_request`, `unprocessable`, `error_before`, `dropped` (the connection is closed; on
        `put` in the middle of the body), `redirect`. After it took effect: `error_after`, `lost_answer` (the connection
        is closed without a response), `silence` (no response for `seconds`; 0 means none at all), `cut_short` (half of
        the body, then the connection is closed), `stalled` (half of the body, and the rest after `seconds`; 0 means
        never), `altered` (the last byte of the body is changed), `garbage` (200 with HTML), `replayed` (on the trigger
        and the details: the response to the previous request on that route, as from a faulty proxy), and on the trigger
        `permuted` (the entries in reverse order), `too_few`, `too_many`, `no_ids`. `latency` delays the request by
        `seconds`, and can be combined with another fault.
    on
        The route: `trigger`, `list`, `details`, `workflow`, `balance`, `model`, `media`, `presign`, `put` (the upload
        to a presigned URL), `file` (a file at its public URL), `delete` (of a file) or `any` (all of them).
    at
        Positions of the affected requests on that route, counted from 1 since the faults were set.
    every
        Every n-th request on that route.
    chance
        Probability for each request on that route, by the sandbox's seed.
    times
        Maximum number of times. Without `at`, `every` and `chance`, every request is affected.
    retry_after
        Seconds for the `Retry-After` header of a rejection.
    seconds
        Duration of `latency`, `silence` and `stalled`.
    status
        The status of `error_before` and `error_after` (408, 409 or 5xx), or of `redirect` (302 by default).
    details
        The `details` of the error.
    location
        The target of a `redirect`; by default a path that always returns 404.
    execution_id
        Only requests for the details of this execution; `at` and `every` still count all requests on the route.

    Examples
    --------
    >>> from eachlabs_frames.sandbox import Fault
    >>> Fault("lost_answer", at={2}).on
    'trigger'
    """

    kind: str
    on: str = "trigger"
    at: Collection[int] | None = None
    every: int | None = None
    chance: float = 0.0
    times: int | None = None
    retry_after: float | None = None
    seconds: float = 0.0
    status: int | None = None
    details: str | None = None
    location: str | None = None
    execution_id: str | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ValueError(problem)
        if self.at is not None:
            object.__setattr__(self, "at", frozenset(self.at))

    def _problem(self) -> str | None:
        if self.kind not in KINDS | CONFUSED:
            return f"no fault of kind {self.kind!r}; there are: {', '.join(sorted(KINDS | CONFUSED))}"
        if self.on != "any" and self.on not in ROUTES:
            return f"no route {self.on!r}; there are: any, {', '.join(ROUTES)}"
        if self.kind == "replayed" and self.on not in ("trigger", "details"):
            return f"a 'replayed' fault goes with on='trigger' or on='details', not on={self.on!r}"
        if self.kind in ENTRIES | {"permuted"} and self.on != "trigger":
            return f"a {self.kind!r} fault changes a trigger's entries: on must be 'trigger', not {self.on!r}"
        if self.location is not None and self.kind != "redirect":
            return f"a {self.kind!r} fault has no target: location goes with 'redirect'"
        if self.execution_id is not None and self.on != "details":
            return f"execution_id goes with on='details', not on={self.on!r}"
        if self.status is not None and self.status not in _STATUSES.get(self.kind, ()):
            return f"status={self.status!r} does not go with a {self.kind!r} fault"
        return self._range_problem()

    def _range_problem(self) -> str | None:
        if not 0 <= self.chance <= 1:
            return f"chance={self.chance!r} must be between 0 and 1"
        if self.every is not None and self.every < 1:
            return f"every={self.every!r} must be at least 1"
        if self.at is not None and not all(isinstance(n, int) and n >= 1 for n in self.at):
            return f"at={self.at!r} must hold ordinals from 1"
        for name in ("seconds", "times", "retry_after"):
            number = getattr(self, name)
            if number is not None and not 0 <= number < math.inf:
                return f"{name}={number!r} must be a number that is not negative"
        return None

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Fault:
        """Return the fault that a JSON object of `POST /_sandbox/faults` describes."""
        unknown = set(document) - {f.name for f in fields(cls)}
        if unknown or "kind" not in document:
            msg = f"a fault needs 'kind' and knows no {sorted(unknown)}"
            raise ValueError(msg)
        return cls(**document)


class Schedule:
    """The active faults, and the number of requests and uses of each."""

    def __init__(self, faults: Iterable[Fault], rng: random.Random) -> None:
        self._faults = tuple(faults)
        self._rng = rng
        self._requests: Counter[str] = Counter()
        self._uses: Counter[int] = Counter()

    def next(self, route: str, execution_id: str | None = None) -> tuple[Fault, ...]:
        """Count a request, and return its latency faults and at most one other fault."""
        self._requests[route] += 1
        self._requests["any"] += 1
        selected: list[Fault] = []
        for position, fault in enumerate(self._faults):
            if fault.on not in (route, "any") or fault.execution_id not in (None, execution_id):
                continue
            if not self._is_due(position, fault):
                continue
            if fault.kind != "latency" and any(other.kind != "latency" for other in selected):
                continue
            self._uses[position] += 1
            selected.append(fault)
        return tuple(selected)

    def _is_due(self, position: int, fault: Fault) -> bool:
        # Drawn before `times` is checked, so that the limit of a fault does not change the draws of others.
        is_drawn = fault.chance > 0 and self._rng.random() < fault.chance
        if fault.times is not None and self._uses[position] >= fault.times:
            return False
        if fault.at is None and fault.every is None and not fault.chance:
            return True
        ordinal = self._requests[fault.on]
        is_listed = fault.at is not None and ordinal in fault.at
        return is_drawn or is_listed or (fault.every is not None and ordinal % fault.every == 0)


def early_response(fault: Fault) -> Response | None:
    """Return the response that is sent instead of processing the request, or None to close the connection."""
    if fault.kind == "redirect":
        return Response(fault.status or 302, headers={"Location": fault.location or REDIRECT_PATH})
    if fault.kind in REFUSALS:
        status, error = REFUSALS[fault.kind]
        if fault.status is not None:
            status, error = fault.status, _ERROR_TEXTS.get(fault.status, error)
        return error_response(status, error, details=fault.details, retry_after=fault.retry_after)
    return None


def altered_response(fault: Fault, response: Response) -> Response:
    """Return the response with the fault applied. Faults of the connection do not change it."""
    if fault.kind == "error_after":
        status = fault.status or 500
        return error_response(status, _ERROR_TEXTS.get(status, "internal server error"), details=fault.details)
    if fault.kind == "garbage":
        return Response(200, _GARBAGE, content_type="text/html")
    if fault.kind == "altered" and response.body:
        return replace(response, body=response.body[:-1] + bytes([response.body[-1] ^ 1]))
    if fault.kind in ENTRIES | {"permuted"} and response.status == 202:
        return _other_entries(fault, response)
    return response


def _other_entries(fault: Fault, response: Response) -> Response:
    document = json.loads(response.body)
    entries = document["executions"]
    if fault.kind == "permuted":
        entries.reverse()
    elif fault.kind == "too_few":
        entries.pop()
    elif fault.kind == "too_many":
        entries.append({"execution_id": "00000000-0000-4000-8000-000000000000", "status": "queued"})
    else:
        for entry in entries:
            entry.pop("execution_id", None)
    return Response(response.status, json.dumps(document).encode(), headers=response.headers)
