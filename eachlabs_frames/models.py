"""Frozen values that pass between packages, the result columns, and the Protocols at the boundaries. No behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

Json: TypeAlias = Any
"""A JSON value of plain Python types: None, bool, int, float, str, list, dict."""

DialectName: TypeAlias = Literal["current", "legacy"]

MAX_BATCH = 10
"""Inputs of one bulk trigger (API reference, "Bulk trigger": 1..10)."""

PENDING = "pending"
INVALID = "invalid"
QUEUED = "queued"
RUNNING = "running"
COMPLETED = "completed"
FAILED = "failed"
CANCELLED = "cancelled"
UNKNOWN = "unknown"

STATUSES = (PENDING, INVALID, QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED, UNKNOWN)
"""The statuses of this package. An unknown status of the API is shown as it is."""

TERMINAL = frozenset({COMPLETED, FAILED, CANCELLED})
"""Statuses after which an execution never changes (API reference, "Executions")."""


SETTLED = TERMINAL | {INVALID, UNKNOWN}
"""Statuses that polling does not change."""


class Secret:
    """A string that no repr, str, format or pickle shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def wrap(cls, value: str | Secret | None) -> Secret | None:
        """Return `value` as a secret; None and a secret as they are."""
        return value if value is None or isinstance(value, Secret) else cls(value)

    def reveal(self) -> str:
        """Return the string itself."""
        return self._value

    def __repr__(self) -> str:
        return "'***'"

    def __reduce__(self) -> Any:
        msg = "a secret is not pickled"
        raise TypeError(msg)


@dataclass(frozen=True, slots=True)
class Target:
    """What a run triggers, and how: the same for each of its batches."""

    workflow_id: str
    version_id: str
    webhook_url: str | None = field(default=None, repr=False)
    webhook_secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Workflow:
    """The version of a workflow that a run is pinned to, that version's input schema, and its steps."""

    workflow_id: str
    version_id: str
    input_schema: Mapping[str, Json] | None = None
    steps: Sequence[Json] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """At most 10 encoded inputs, each with its row's position in the frame."""

    positions: tuple[int, ...]
    payloads: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, without the key: the client alone adds it. Its repr has no body, which may hold a secret."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete HTTP response. ``headers`` has lower-case names; ``received_at`` is in epoch seconds."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    received_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """There was no complete response. ``sent`` is False only if the request was certainly not sent."""

    sent: bool
    reason: str


class Outcome(NamedTuple):
    """The current state of a row: its position, and a field for each result column. Missing values are None.

    Times are nanoseconds since the epoch, UTC; cost is in USD. A tuple, because one is built for each row of each
    response: that takes a quarter of a frozen dataclass's time.
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


ColumnKind: TypeAlias = Literal["text", "time", "number", "json"]

COLUMNS: Mapping[str, ColumnKind] = {
    "bulk_id": "text",
    "execution_id": "text",
    "status": "text",
    "error": "text",
    "started_at": "time",
    "completed_at": "time",
    "output": "json",
    "cost": "number",
}
"""The result columns in the frame's order, and what each holds.

A new column is a field at the end of `Outcome` and a line here: the dtype in frames, the storage in `results.Results`
and in the journal, and the list of columns follow from these two. Only `api.responses` has to read its value.
"""


EventKind: TypeAlias = Literal[
    "started",
    "answered",
    "refreshed",
    "tracking",
    "stale",
    "waiting",
    "resumed",
    "uploading",
    "balance",
    "downloaded",
    "stopped",
    "finished",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a run, as views and ``progress=`` callables see it.

    Attributes
    ----------
    kind : EventKind
        What happened. ``tracking``: nothing more is sent, and the executions are polled until they have ended.
        ``stale``: polls get no response any more, or do again. ``uploading``: files of inputs are
        uploaded, or no longer; ``waiting_for`` says how many. ``downloaded``: a file was downloaded, or failed.
    total : int
        Rows that this call is about; of a download, files.
    done : int
        Rows of those that need nothing more: settled if the call waits for that, else answered. Of a download,
        files that are complete or have failed.
    accepted : int
        Rows of the whole frame that have an execution.
    tally : mapping of str to int
        Rows of the whole frame per status; of a download, files: ``complete`` from before, ``downloaded``, ``failed``.
    changed : tuple of Outcome
        The current state of the rows that this step changed.
    waiting_for : str or None
        Why nothing is sent at the moment, what is being searched for, or how far uploads are, in a sentence.
    balance_usd : float or None
        The balance of the account, as last read.
    stale_since : float or None
        When a poll last got a response, in epoch seconds, if the latest did not.
    """

    kind: EventKind
    total: int
    done: int
    accepted: int
    tally: Mapping[str, int]
    changed: tuple[Outcome, ...] = ()
    waiting_for: str | None = None
    balance_usd: float | None = None
    stale_since: float | None = None


class SettledExecution(NamedTuple):
    """What is known of an execution that has completed: its cost in USD, how long it ran, and its input."""

    execution_id: str
    cost: float | None
    seconds: float | None = None
    inputs: Mapping[str, Json] | None = None


Observer: TypeAlias = Callable[[Event], None]
"""Called with each event, on the loop's thread: it must return soon. What it raises never reaches the run."""


@dataclass(frozen=True, slots=True)
class ApiConnection:
    """How the engine reaches the API: transport, clock, dialect, and the number of concurrent requests.

    ``references`` has the reference of each uploaded file by its public URL, which the API repeats in inputs: see
    `inputs.file_values`. It may grow while it is used.
    """

    transport: Transport
    clock: Clock
    dialect: DialectName
    workers: int
    references: Mapping[str, str] = field(default_factory=dict)


class Transport(Protocol):
    """Carries one request. Values in, values out: a failure is a `Fault`, never an exception."""

    async def send(self, request: Request) -> Reply | Fault:
        """Send `request` once, and never a second time."""
        ...


class Clock(Protocol):
    """Time and random numbers for the engine; tests pass their own."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    def epoch(self) -> float:
        """Return seconds since 1970, UTC."""
        ...

    def since_boot(self) -> float:
        """Return monotonic seconds that go on while the machine is suspended."""
        ...

    def draw(self) -> float:
        """Return a random number of [0, 1)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
