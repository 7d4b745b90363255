"""Reads what the account has left and what executions have cost. A GET may be sent as often as one likes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from ..core import wire
from ..core.executions import canonical_status, cost_of, entries, parse_amount
from ..models import COMPLETED, Clock, DialectName, Prices, Transport
from .reporter import Reporter

logger = logging.getLogger("eachlabs_frames")

BALANCE_PAUSE: Final = 20.0
"""Seconds between two looks at the balance, of which the API takes three a second from a whole organization."""


async def balance(*, transport: Transport, dialect: DialectName) -> float | None:
    """Return what the account may still spend, in USD; None where the API does not say (a 503 is not zero)."""
    if dialect == "legacy":
        return None
    verdict = wire.judge_look(await transport.send(wire.balance_request()))
    said = verdict.json if isinstance(verdict, wire.Said) else None
    return parse_amount(said.get("balance_usd")) if isinstance(said, Mapping) else None


async def watch_balance(reporter: Reporter, *, transport: Transport, clock: Clock, dialect: DialectName) -> None:
    """Tell the balance now and then, until cancelled or the API does not say."""
    while True:
        left = await balance(transport=transport, dialect=dialect)
        if left is None:
            return
        reporter.balance(left)
        await clock.sleep(BALANCE_PAUSE)


async def prices(workflow_id: str, *, transport: Transport, dialect: DialectName) -> Prices:
    """Return what is known of money before a run."""
    left, cost = await asyncio.gather(
        balance(transport=transport, dialect=dialect), mean_cost(workflow_id, transport=transport)
    )
    return Prices(left, cost)


async def mean_cost(workflow_id: str, *, transport: Transport) -> float | None:
    """Return the mean cost in USD of the workflow's latest executions that were completed; None where none is known.

    Of the newest page of its listing, for costs change with the model and its price. What cost nothing is no measure
    of what the next one costs: it may have been a failure, a credit or a cache.
    """
    verdict = wire.judge_look(await transport.send(wire.listing_request(workflow_id)))
    if not isinstance(verdict, wire.Said):
        logger.warning("the costs of earlier executions cannot be read: %s", verdict.reason)
        return None
    ended = [entry for entry in entries(verdict.json) if canonical_status(entry.get("status")) == COMPLETED]
    costs = [cost for entry in ended if (cost := cost_of(entry)) is not None and cost > 0]
    return sum(costs) / len(costs) if costs else None
