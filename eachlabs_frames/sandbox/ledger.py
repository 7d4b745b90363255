"""The record of requests and accepted executions, for tests.

It never holds a key, a header or a query.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Accepted:
    """An execution that was accepted, and so billed. `at` is in seconds since the epoch."""

    execution_id: str
    bulk_id: str
    workflow_id: str
    version_id: str
    inputs: Mapping[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """An execution and its current status. Times are in seconds since the epoch."""

    execution_id: str
    bulk_id: str
    workflow_id: str
    version_id: str
    inputs: Mapping[str, Any]
    status: str
    created_at: float
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request. `status` is None if no complete response was sent.

    `inputs` is the number of a trigger's inputs, accepted or not; `with_key` is whether the request had a credential.
    """

    route: str
    method: str
    path: str
    status: int | None
    inputs: int
    with_key: bool
    faults: tuple[str, ...]


class Ledger:
    """The requests, and the maximum number of concurrent triggers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[RequestRecord] = []
        self._triggers = 0
        self._peak = 0

    def begin(self, route: str) -> None:
        """Record that a request has arrived."""
        if route == "trigger":
            with self._lock:
                self._triggers += 1
                self._peak = max(self._peak, self._triggers)

    def end(self, record: RequestRecord) -> None:
        """Record that a request has ended."""
        with self._lock:
            self._requests.append(record)
            if record.route == "trigger":
                self._triggers -= 1

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """All completed requests, in order of completion."""
        with self._lock:
            return tuple(self._requests)

    @property
    def peak(self) -> int:
        """The maximum number of concurrent triggers."""
        with self._lock:
            return self._peak

    def counts(self) -> dict[str, int]:
        """Return the number of requests per route."""
        return dict(Counter(record.route for record in self.requests))

    def reset(self) -> None:
        """Delete the completed requests; those in progress still count."""
        with self._lock:
            self._requests.clear()
            self._peak = self._triggers
