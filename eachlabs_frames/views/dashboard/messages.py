"""The messages between a dashboard's kernel side and ``web/dashboard_store.js``. All are JSON.

A *line* is one bulk operation (or all rows without one), identified by its place in the order of first appearance,
which never changes. A *code* is the place of a status in ``statuses``. Times are epoch seconds by the kernel's clock;
costs are USD. Each value is absolute, never a difference: a message that is lost or comes twice does no harm, and the
next ``sync`` repairs it.

Kernel to browser, at most four a second, with the synced trait ``snapshot`` as their start:

- ``update``: `DashboardUpdate`.
- ``rows``: `OpenedLine` and its ``line``, when a line was opened, and again when its rows change.
- ``found``: the ``lines`` with a row that contains ``text``; see `DashboardModel.find`.
- ``file``: a file to save, with its ``name`` and its media ``type``; its bytes are the message's one buffer.

Browser to kernel: ``sync``, ``open`` (``line``, and the ``offset`` of the first row), ``close`` (``line``) and ``find``
(``text``).
"""

from __future__ import annotations

from typing import Literal, TypedDict

from ...frames.run_status import RunStatus
from ...models import Json

Line = tuple[str, "float | None", list[int]] | tuple[str, "float | None", list[int], str]
"""``[bulk_id, created_at, [code, rows, code, rows, ...]]``; bulk_id is "" for rows without one.

Where several workers have sent a run, ``host:process`` of the line's follows.
"""

ErrorGroup = tuple[int, str, list[str]]
"""``[rows, message, labels]``: equal messages, and the labels of the first rows that have it, with their titles."""


class RowMessage(TypedDict):
    """One row of an opened line."""

    label: str  # in the frame's index
    title: str  # displayed beside the label, such as the row's prompt; "" if it has none
    execution_id: str | None
    status: str
    error: str | None
    output: dict[str, Json] | None  # kind (see `media.Kind`), text, and url if it is safe to show as that kind
    cost_usd: float | None
    seconds: float | None  # duration of its execution


class OpenedLine(TypedDict):
    """The rows of an opened line, from `offset` on."""

    offset: int
    total: int
    rows: list[RowMessage]


class DashboardSnapshot(TypedDict):
    """All that is displayed: the synced trait ``snapshot``, which a saved notebook keeps."""

    seq: int
    now: float
    head: RunStatus
    statuses: list[str]
    lines: list[Line]
    errors: list[ErrorGroup]
    more_errors: int  # messages that are not in `errors`
    rows: dict[str, OpenedLine]  # by line: what was open when this was written


class DashboardUpdate(TypedDict, total=False):
    """What has changed. Only ``kind``, ``seq`` and ``now`` are always there.

    A browser that sees `seq` skip a number asks for a ``sync``, and shows what it has in the meantime.
    """

    kind: Literal["update"]
    seq: int
    now: float
    head: RunStatus
    statuses: list[str]  # the whole list, if it grew
    added: list[Line]  # lines after the existing ones
    lines: list[list[int]]  # [line, code, rows, code, rows, ...] of changed lines
    errors: list[
        tuple[int, int] | tuple[int, int, str, list[str]]
    ]  # [group, rows] or a new [group, rows, message, labels]
    more_errors: int
