"""What passes between the rooms: frozen values, and the Protocols at the seams. It holds no behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

Json: TypeAlias = Any
"""A JSON value of plain Python types: None, bool, int, float, str, list, dict."""

DialectName: TypeAlias = Literal["current", "legacy"]

PENDING = "pending"
INVALID = "invalid"
QUEUED = "queued"
RUNNING = "running"
COMPLETED = "completed"
FAILED = "failed"
CANCELLED = "cancelled"
UNKNOWN = "unknown"

STATUSES = (PENDING, INVALID, QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED, UNKNOWN)
"""Every status word of this package; an unknown word of the API's is shown as it is."""

TERMINAL = frozenset({COMPLETED, FAILED, CANCELLED})
"""The words after which an execution never changes (API reference, "Executions")."""


SETTLED = TERMINAL | {INVALID, UNKNOWN}
"""The words that no further look changes."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a run triggers, and how: the same for each of its batches."""

    workflow_id: str
    version_id: str
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Workflow:
    """The version of a workflow that a run is pinned to, and that version's input schema."""

    workflow_id: str
    version_id: str
    input_schema: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """At most 10 encoded inputs, each with its row's position in the frame."""

    positions: tuple[int, ...]
    payloads: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, without the key: the client alone adds it."""

    method: Literal["GET", "POST"]
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP answer. ``headers`` has lower-case names; ``received_at`` is in epoch seconds."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    received_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """No whole answer came. ``sent`` is False only where the request certainly never left."""

    sent: bool
    reason: str


class Outcome(NamedTuple):
    """What is known of one row. Times are nanoseconds since the epoch, UTC; cost is in USD.

    One is made for each row of each answer: a tuple takes a quarter of a frozen dataclass's time.
    """

    position: int
    status: str
    bulk_id: str | None = None
    execution_id: str | None = None
    error: str | None = None
    started_at: int | None = None
    completed_at: int | None = None
    output: Json = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a run, as views and ``progress=`` callables see it.

    Attributes
    ----------
    kind : {"started", "answered", "refreshed", "waiting", "resumed", "stopped", "finished"}
        What happened.
    total : int
        Rows that this call is about.
    done : int
        Rows of those that need nothing more: settled where the call waits for that, else answered.
    accepted : int
        Rows of the whole frame that have an execution.
    tally : mapping of str to int
        Rows of the whole frame per status.
    changed : tuple of Outcome
        The rows that this step changed.
    waiting_for : str or None
        Why nothing is sent at the moment, in a sentence.
    """

    kind: Literal["started", "answered", "refreshed", "waiting", "resumed", "stopped", "finished"]
    total: int
    done: int
    accepted: int
    tally: Mapping[str, int]
    changed: tuple[Outcome, ...] = ()
    waiting_for: str | None = None


Observer: TypeAlias = Callable[[Event], None]
"""Told of each event, on the loop's thread: it must return soon. What it raises never reaches the run."""


class Transport(Protocol):
    """Carries one request. Values in, values out: a failure is a `Fault`, never an exception."""

    async def send(self, request: Request) -> Reply | Fault:
        """Send `request` once, and never a second time."""
        ...


class Clock(Protocol):
    """Time and chance, as the engine sees them; a test hands in its own."""

    def now(self) -> float:
        """Seconds that only grow."""
        ...

    def draw(self) -> float:
        """Return a random number of [0, 1)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
