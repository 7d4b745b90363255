"""Reads what the account has left and what executions have cost. A GET may be sent as often as one likes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from ..aio.backoff import retry_delay
from ..aio.tasks import cancel_on
from ..models import COMPLETED, Clock, DialectName, Prices, Transport
from .requests import balance_request, listing_request
from .responses import canonical_status, cost_of, entries, parse_amount
from .verdicts import Stop, Success, judge_read

logger = logging.getLogger("eachlabs_frames")

BALANCE_PAUSE: Final = 20.0
"""Seconds between two reads of the balance, of which the API takes three a second from a whole organization."""

BALANCE_TRIES: Final = 3
"""Tries of one read, where the API answers 429 (with ``Retry-After: 1``) or 503."""

Report: TypeAlias = Callable[[float | None], None]
"""Receives a balance in USD, or None while it is unknown."""

MAX_BALANCE_DELAY: Final = 2.0
"""Seconds: a try that would have to wait longer is not made."""


async def balance(*, transport: Transport, clock: Clock, dialect: DialectName) -> float | None:
    """Return the account's balance in USD, which may be negative; None where the API does not give it.

    A 429 or 503 is not zero: the read is repeated a few times, and the balance is unknown after that.
    """
    return None if dialect == "legacy" else (await _read_balance(transport, clock))[0]


async def _read_balance(transport: Transport, clock: Clock) -> tuple[float | None, bool]:
    """Return the balance, or None, and whether a later read may succeed."""
    for attempt in range(1, BALANCE_TRIES + 1):
        verdict = judge_read(await transport.send(balance_request()))
        if isinstance(verdict, Success):
            amount = parse_amount(verdict.json.get("balance_usd")) if isinstance(verdict.json, Mapping) else None
            return amount, amount is not None
        if isinstance(verdict, Stop):
            return None, False
        delay = retry_delay(attempt, floor=verdict.after, draw=clock.draw())
        if attempt == BALANCE_TRIES or delay > MAX_BALANCE_DELAY:
            logger.info("the balance could not be read: %s", verdict.reason)
            break
        await clock.sleep(delay)
    return None, True


async def watch_balance(report: Report, *, transport: Transport, clock: Clock, dialect: DialectName) -> None:
    """Call `report` with the balance now and then, until cancelled; with None while it cannot be read."""
    readable = dialect != "legacy"
    while readable:
        amount, readable = await _read_balance(transport, clock)
        report(amount)
        if readable:
            await clock.sleep(BALANCE_PAUSE)


async def read_balance_again(
    stop: asyncio.Event,
    report: Callable[[float | None], None],
    *,
    transport: Transport,
    clock: Clock,
    dialect: DialectName,
) -> None:
    """Call `report` with the balance after the last execution has ended, if it can be read at once."""

    async def read() -> float | None:
        return await asyncio.wait_for(balance(transport=transport, clock=clock, dialect=dialect), MAX_BALANCE_DELAY)

    with suppress(asyncio.TimeoutError):
        amount = await cancel_on(stop, read())
        if amount is not None:
            report(amount)


async def prices(workflow_id: str, *, transport: Transport, clock: Clock, dialect: DialectName) -> Prices:
    """Return what is known of money before a run."""
    left, cost = await asyncio.gather(
        balance(transport=transport, clock=clock, dialect=dialect), mean_cost(workflow_id, transport=transport)
    )
    return Prices(left, cost)


async def mean_cost(workflow_id: str, *, transport: Transport) -> float | None:
    """Return the mean cost in USD of the workflow's latest executions that were completed; None where none is known.

    Of the newest page of its listing, for costs change with the model and its price. What cost nothing is no measure
    of what the next one costs: it may have been a failure, a credit or a cache.
    """
    verdict = judge_read(await transport.send(listing_request(workflow_id)))
    if not isinstance(verdict, Success):
        logger.warning("the costs of earlier executions cannot be read: %s", verdict.reason)
        return None
    ended = [entry for entry in entries(verdict.json) if canonical_status(entry.get("status")) == COMPLETED]
    costs = [cost for entry in ended if (cost := cost_of(entry)) is not None and cost > 0]
    return sum(costs) / len(costs) if costs else None
