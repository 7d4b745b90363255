"""What happened, kept as proof for tests.

Owns the records of requests and of accepted executions. It never holds a key, a header or a query.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Accepted:
    """One execution that was accepted, and so billed; `at` is in seconds since the epoch."""

    execution_id: str
    bulk_id: str
    workflow_id: str
    version_id: str
    inputs: Mapping[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """One execution and where it stands now; times are in seconds since the epoch."""

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
    """One request that came in; `status` is None where no whole answer went out.

    `inputs` counts the inputs of a trigger, accepted or not; `with_key` says whether a credential came along.
    """

    route: str
    method: str
    path: str
    status: int | None
    inputs: int
    with_key: bool
    faults: tuple[str, ...]


class Ledger:
    """The requests, and how many triggers were handled at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[RequestRecord] = []
        self._triggers = 0
        self._peak = 0

    def begin(self, route: str) -> None:
        """Count a request in."""
        if route == "trigger":
            with self._lock:
                self._triggers += 1
                self._peak = max(self._peak, self._triggers)

    def end(self, record: RequestRecord) -> None:
        """Count a request out, and keep its record."""
        with self._lock:
            self._requests.append(record)
            if record.route == "trigger":
                self._triggers -= 1

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every request so far, in the order in which they were over."""
        with self._lock:
            return tuple(self._requests)

    @property
    def peak(self) -> int:
        """The most triggers handled at the same time."""
        with self._lock:
            return self._peak

    def counts(self) -> dict[str, int]:
        """Count the requests per route."""
        return dict(Counter(record.route for record in self.requests))

    def reset(self) -> None:
        """Forget what is over; what is under way still counts."""
        with self._lock:
            self._requests.clear()
            self._peak = self._triggers
