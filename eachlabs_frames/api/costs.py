"""Asks what executions cost that have ended, with as few requests as can be. What is not answered stays unsaid.

Owns which pages are read: those of a few bulk operations, or those of the workflow's own listing, newest first.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from math import ceil, isnan
from typing import Any, Final, TypeAlias

from ..aio.tasks import run_workers
from ..models import COMPLETED, TERMINAL, Request, Transport
from ..results import Results
from .requests import PAGE_SIZE, is_filter, listing_request
from .responses import cost_of, entries
from .verdicts import Success, judge_read

logger = logging.getLogger("eachlabs_frames")

FEW_BULKS: Final = 2
"""Up to so many bulk operations are asked for one by one."""

Read: TypeAlias = Callable[[Request], Awaitable[int]]

EMPTY_ROUNDS: Final = 2
"""Rounds of pages in a row that speak of none that is wanted, after which the listing is left."""


def wanted(results: Results, unasked: Collection[str], *, all_completed: bool) -> dict[str, list[int]]:
    """Return the executions that have ended and of which no cost is known, with their rows.

    Of those that are `unasked`, or else of all that have completed: the API need not say what a failure cost.
    """
    found: dict[str, list[int]] = {}
    for row, execution_id in enumerate(results.execution_id):
        status = results.status[row]
        if execution_id is None or status not in TERMINAL or not isnan(results.cost[row]):
            continue
        if execution_id in unasked or (all_completed and status == COMPLETED):
            found.setdefault(execution_id, []).append(row)
    return found


async def look(
    workflow_id: str, rows: Mapping[str, list[int]], *, results: Results, transport: Transport, workers: int
) -> dict[str, float | None]:
    """Return what executions cost, each given with its rows; None where the API does not say, none that it hides."""
    found: dict[str, float | None] = {}

    async def read(request: Request) -> int:
        listed = await _page(request, transport)
        found.update((entry["execution_id"], cost_of(entry)) for entry in listed)
        return len(listed)

    bulks = {bulk_id for places in rows.values() if (bulk_id := results.bulk_id[places[0]]) is not None}
    if len(bulks) <= FEW_BULKS and all(map(is_filter, bulks)):
        for bulk_id in bulks:
            await read(listing_request(workflow_id, bulk_id=bulk_id))
    else:
        await _read_listing(workflow_id, set(rows), found, read, workers=workers)
    return {execution_id: found[execution_id] for execution_id in rows if execution_id in found}


async def _read_listing(
    workflow_id: str, wanted: set[str], found: Mapping[str, float | None], read: Read, *, workers: int
) -> None:
    """Read the workflow's listing until all were seen, or it speaks of others alone."""
    offset, empty = 0, 0
    while empty < EMPTY_ROUNDS and (left := wanted - found.keys()):
        width = min(workers, ceil(len(left) / PAGE_SIZE))
        sizes: list[int] = []

        async def one(start: int, sizes: list[int] = sizes) -> None:
            sizes.append(await read(listing_request(workflow_id, offset=start)))

        await run_workers(iter(range(offset, offset + width * PAGE_SIZE, PAGE_SIZE)), one, workers=width)
        if min(sizes) < PAGE_SIZE:
            return
        offset += width * PAGE_SIZE
        empty = empty + 1 if left.isdisjoint(found) else 0


async def _page(request: Request, transport: Transport) -> list[Mapping[str, Any]]:
    verdict = judge_read(await transport.send(request))
    if isinstance(verdict, Success):
        return list(entries(verdict.json))
    logger.info("the costs of executions could not be requested: %s", verdict.reason)
    return []
