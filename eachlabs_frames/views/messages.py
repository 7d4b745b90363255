"""What a dashboard's kernel side and its browser side say to each other: the one place that holds these shapes.

Everything is JSON. A *line* is one bulk operation (or all rows that went with none), known by its place in the order
of first appearance, which never changes. A *code* is the place of a status word in ``words``. Times are epoch seconds
by the kernel's clock; costs are USD. Each value is absolute, never a difference: a message that is lost or comes twice
does no harm, and the next ``sync`` mends it.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, TypedDict

Phase: TypeAlias = Literal["preparing", "sending", "tracking", "idle", "settled", "cancelled", "failed"]


class Head(TypedDict, total=False):
    """What stands above the lines. An update brings only the keys whose values changed; None takes a value away.

    ``phase`` is "preparing" (rows are checked; nothing was sent), "sending", "tracking" (all is sent; executions are
    looked at until they end), "idle" (nobody looks, though executions are open), "settled", "cancelled" (by its user)
    or "failed" (``problem`` says why).
    """

    workflow: str
    version: str | None
    run: str | None
    phase: Phase
    total: int  # rows
    accepted: int  # rows that have an execution
    counts: dict[str, int]  # rows per status word; words without a row are left out
    cost_usd: float | None  # all that is known to be paid, superseded executions too; None where nothing is known
    superseded: int  # executions of rows that were triggered again since
    superseded_cost_usd: float  # what these cost, as far as it is known; part of cost_usd
    balance_usd: float | None
    started_at: float | None  # of the call that is or was at work; None for a frame that was only looked at
    ended_at: float | None
    rate: float | None  # rows settled per minute, over the last minute
    waiting_for: str | None  # a cooldown, a cap, a balance: a sentence
    stale_since: float | None  # when the API last answered, where it does not answer now
    problem: str | None  # what ended the call, or why a click did nothing: a sentence


Line = tuple[str, "float | None", list[int]]
"""``[bulk_id, created_at, [code, rows, code, rows, ...]]``; bulk_id is "" for rows that went with none."""

ErrorGroup = tuple[int, str, list[str]]
"""``[rows, message, labels]``: equal messages, and the labels of the first rows that have it, with their titles."""


class Media(TypedDict, total=False):
    """What an output shows: ``text`` always, ``url`` only where it is safe to show as that kind of media."""

    kind: Literal["image", "video", "audio", "link", "text"]
    url: str
    text: str


class Row(TypedDict):
    """One row of an opened line."""

    label: str  # in the frame's index
    title: str  # what it is called beside that, such as its prompt; "" where it has none
    execution_id: str | None
    status: str
    error: str | None
    output: Media | None
    cost_usd: float | None
    seconds: float | None  # that its execution took


class Snapshot(TypedDict):
    """All that is shown: the synced trait ``snapshot``, which a saved notebook keeps."""

    seq: int
    now: float
    head: Head
    words: list[str]
    lines: list[Line]
    errors: list[ErrorGroup]
    more_errors: int  # messages beside those of `errors`
    rows: dict[str, Opened]  # by line: what was opened when this was written


class Opened(TypedDict):
    """The rows of an opened line, from `offset` on."""

    offset: int
    total: int
    rows: list[Row]


class Update(TypedDict, total=False):
    """Kernel to browser, at most four a second. Only ``kind``, ``seq`` and ``now`` are always there.

    A browser that sees `seq` skip a number asks for a ``sync``, and shows what it has meanwhile.
    """

    kind: Literal["update"]
    seq: int
    now: float
    head: Head
    words: list[str]  # the whole list, where it grew
    added: list[Line]  # lines behind those that are there
    lines: list[list[int]]  # [line, code, rows, code, rows, ...] of changed lines
    errors: list[
        tuple[int, int] | tuple[int, int, str, list[str]]
    ]  # [group, rows] or a new [group, rows, message, labels]
    more_errors: int


class Rows(TypedDict):
    """Kernel to browser: the rows of a line that was opened, and again when they change."""

    kind: Literal["rows"]
    line: int
    offset: int
    total: int
    rows: list[Row]


class Found(TypedDict):
    """Kernel to browser: the lines that hold a text; see `Board.find`."""

    kind: Literal["found"]
    text: str
    lines: list[int]


class File(TypedDict):
    """Kernel to browser: a file to be saved; its bytes are the message's one buffer."""

    kind: Literal["file"]
    name: str
    type: str


class Asked(TypedDict, total=False):
    """Browser to kernel."""

    kind: Literal["sync", "open", "close", "find"]
    line: int  # open, close
    offset: int  # open: the first row that is wanted
    text: str  # find


Message = dict[str, Any]
"""Any of these, as ipywidgets carries it."""
