"""The status of a run as a view shows it: its phase, its counts, its cost and what it waits for.

JSON values only. It holds no logic: `calls` fills it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict

Phase: TypeAlias = Literal["preparing", "sending", "tracking", "idle", "settled", "cancelled", "failed"]


class RunStatus(TypedDict, total=False):
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
