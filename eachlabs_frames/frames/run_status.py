"""The status of a run as a view shows it: its phase, its counts, its cost and what it waits for.

JSON values only, without logic: `calls` fills it in.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict

Phase: TypeAlias = Literal["preparing", "sending", "tracking", "idle", "settled", "cancelled", "failed"]


class RunStatus(TypedDict, total=False):
    """The header of a view. An update has only the keys whose values changed; None removes a value.

    ``phase`` is "preparing" (rows are checked; nothing was sent), "sending", "tracking" (all rows are sent; executions
    are polled until they end), "idle" (executions are open, but not polled), "settled", "cancelled" (by the user) or
    "failed" (``problem`` is the reason).
    """

    workflow: str
    version: str | None
    run: str | None
    phase: Phase
    total: int  # rows
    accepted: int  # rows that have an execution
    counts: dict[str, int]  # rows per status; statuses without a row are omitted
    cost_usd: float | None  # sum of the known costs, with superseded executions; None if none is known
    superseded: int  # executions of rows that were triggered again since
    superseded_cost_usd: float  # the sum of their known costs; part of cost_usd
    balance_usd: float | None
    started_at: float | None  # of the current or last call; None for a frame without a call
    ended_at: float | None
    rate: float | None  # rows settled per minute, over the last minute
    waiting_for: str | None  # a sentence: a cooldown, a concurrency limit, a balance
    stale_since: float | None  # time of the last response, if the API does not respond now
    problem: str | None  # a sentence: what ended the call, or why a click had no effect
