"""What a dashboard's kernel side and its browser side say to each other: the one place that holds these shapes.

Everything is JSON. A *line* is one bulk operation (or all rows that went with none), known by its place in the order
of first appearance, which never changes. A *code* is the place of a status word in ``words``. Times are epoch seconds
by the kernel's clock; costs are USD. Each value is absolute, never a difference: a message that is lost or comes twice
does no harm, and the next ``sync`` mends it.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from ...frames.run_status import RunStatus

Line = tuple[str, "float | None", list[int]]
"""``[bulk_id, created_at, [code, rows, code, rows, ...]]``; bulk_id is "" for rows that went with none."""

ErrorGroup = tuple[int, str, list[str]]
"""``[rows, message, labels]``: equal messages, and the labels of the first rows that have it, with their titles."""


class MediaMessage(TypedDict, total=False):
    """What an output shows: ``text`` always, ``url`` only where it is safe to show as that kind of media."""

    kind: Literal["image", "video", "audio", "link", "text"]
    url: str
    text: str


class RowMessage(TypedDict):
    """One row of an opened line."""

    label: str  # in the frame's index
    title: str  # what it is called beside that, such as its prompt; "" where it has none
    execution_id: str | None
    status: str
    error: str | None
    output: MediaMessage | None
    cost_usd: float | None
    seconds: float | None  # that its execution took


class DashboardSnapshot(TypedDict):
    """All that is shown: the synced trait ``snapshot``, which a saved notebook keeps."""

    seq: int
    now: float
    head: RunStatus
    words: list[str]
    lines: list[Line]
    errors: list[ErrorGroup]
    more_errors: int  # messages beside those of `errors`
    rows: dict[str, OpenedLine]  # by line: what was opened when this was written


class OpenedLine(TypedDict):
    """The rows of an opened line, from `offset` on."""

    offset: int
    total: int
    rows: list[RowMessage]


class DashboardUpdate(TypedDict, total=False):
    """Kernel to browser, at most four a second. Only ``kind``, ``seq`` and ``now`` are always there.

    A browser that sees `seq` skip a number asks for a ``sync``, and shows what it has meanwhile.
    """

    kind: Literal["update"]
    seq: int
    now: float
    head: RunStatus
    words: list[str]  # the whole list, where it grew
    added: list[Line]  # lines behind those that are there
    lines: list[list[int]]  # [line, code, rows, code, rows, ...] of changed lines
    errors: list[
        tuple[int, int] | tuple[int, int, str, list[str]]
    ]  # [group, rows] or a new [group, rows, message, labels]
    more_errors: int


class RowsMessage(TypedDict):
    """Kernel to browser: the rows of a line that was opened, and again when they change."""

    kind: Literal["rows"]
    line: int
    offset: int
    total: int
    rows: list[RowMessage]


class FoundLines(TypedDict):
    """Kernel to browser: the lines that hold a text; see `Board.find`."""

    kind: Literal["found"]
    text: str
    lines: list[int]


class FileMessage(TypedDict):
    """Kernel to browser: a file to be saved; its bytes are the message's one buffer."""

    kind: Literal["file"]
    name: str
    type: str


class DashboardRequest(TypedDict, total=False):
    """Browser to kernel."""

    kind: Literal["sync", "open", "close", "find"]
    line: int  # open, close
    offset: int  # open: the first row that is wanted
    text: str  # find


Message = dict[str, Any]
"""Any of these, as ipywidgets carries it."""
