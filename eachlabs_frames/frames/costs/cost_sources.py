"""Reads what is known of a version's costs before rows are sent: prices, settled executions and the balance.

Owns which source is read, and how the journal's executions and the API's are joined. It estimates nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from ...aio.bridge import Read, cancellable
from ...aio.clock import SystemClock
from ...api import reader
from ...api.client import Client
from ...api.cost_reader import read_models, read_settled
from ...engine.budget import ELSEWHERE, Limits, PriceOf, no_prices
from ...errors import JournalError
from ...inputs.encoding import Problem
from ...journal import open_journal
from ...models import Json, SettledExecution, Workflow
from ...prices.price_table import PriceTable, RowPrices
from ...settings import Settings

if TYPE_CHECKING:
    from ..plan import Plan

logger = logging.getLogger("eachlabs_frames")


@dataclass(frozen=True, slots=True)
class CostSources:
    """What is known of the costs of one version.

    Attributes
    ----------
    table : PriceTable or None
        The published prices of its models; None if its definition names none.
    history : sequence of SettledExecution
        Its completed executions, each once.
    balance_usd : float or None
        The balance of the account, if it was read.
    """

    table: PriceTable | None = None
    history: Sequence[SettledExecution] = ()
    balance_usd: float | None = None

    def price(self, rows: Iterable[Mapping[str, Json]], count: int) -> RowPrices | int:
        """Return the prices of rows with these inputs, which are read if they matter; else their number."""
        if self.table is None:
            return count
        return self.table.prices(rows if self.table.keys else [{}] * count)

    def costs(self) -> list[float]:
        """Return what settled executions have cost."""
        return [execution.cost for execution in self.history if execution.cost is not None]


def read_sources(
    workflow: Workflow, read: Read, settings: Settings, *, client: Client, balance: bool = True
) -> CostSources:
    """Return what the API and the journal know of the costs of a version; of all of them if its id is empty."""
    clock, dialect = SystemClock(), settings.dialect
    table = PriceTable(workflow.steps, {})

    async def read_balance() -> float | None:
        return await reader.read_balance(transport=client, clock=clock, dialect=dialect) if balance else None

    def requests() -> asyncio.Future[tuple[float | None, list[SettledExecution], dict[str, Mapping[str, Json] | None]]]:
        return asyncio.gather(
            read_balance(),
            read_settled(workflow.workflow_id, workflow.version_id or None, transport=client),
            read_models(table.models, transport=client, dialect=dialect),
        )

    async def read_all() -> tuple[float | None, list[SettledExecution], dict[str, Mapping[str, Json] | None]]:
        return await requests()

    balance_usd, listed, models = read(cancellable(read_all))
    if table.models:
        table = PriceTable(workflow.steps, models, workflow.input_schema)
    recorded = journaled(workflow.workflow_id, workflow.version_id or None, settings, inputs=bool(table.keys))
    return CostSources(table if table.models else None, joined_by_id(listed, recorded), balance_usd)


def journaled(
    workflow_id: str, version_id: str | None, settings: Settings, *, inputs: bool = False
) -> list[SettledExecution]:
    """Return the completed executions of a version that the journal has; none if it cannot be read."""
    try:
        return open_journal(settings.journal).settled(workflow_id, version_id, settings.base_url, inputs=inputs)
    except JournalError as exc:
        logger.warning("the costs of earlier executions cannot be read from the journal: %s", exc)
        return []


def joined_by_id(listed: Sequence[SettledExecution], recorded: Sequence[SettledExecution]) -> list[SettledExecution]:
    """Return the executions of both, each once, with what either of them knows."""
    joined = {execution.execution_id: execution for execution in listed}
    for execution in recorded:
        other = joined.setdefault(execution.execution_id, execution)
        cost = execution.cost if other.cost is None else other.cost
        seconds = execution.seconds if other.seconds is None else other.seconds
        inputs = execution.inputs if other.inputs is None else other.inputs
        joined[execution.execution_id] = SettledExecution(execution.execution_id, cost, seconds, inputs)
    return list(joined.values())


def price_of_rows(sources: CostSources, plan: Plan, rows: Collection[int]) -> PriceOf:
    """Return the published price of each of these rows of a plan, by position, where it is complete."""
    table = sources.table
    if table is None:
        return no_prices
    anywhere = _limits(table, None)
    if not table.keys:
        return lambda _: anywhere
    wanted = rows if isinstance(rows, range | set) else set(rows)
    tiers: dict[tuple[str, ...], int] = {}
    limits: list[Limits | None] = [anywhere]
    codes = np.zeros(len(plan.frame), dtype=np.int32)
    for positions, inputs in plan.source.rows():
        for position, row in zip(positions, inputs, strict=True):
            if position not in wanted or isinstance(row, Problem):
                continue
            tier = table.tier(row)
            if tier not in tiers:
                tiers[tier] = len(limits)
                limits.append(_limits(table, row))
            codes[position] = tiers[tier]
    return lambda position: anywhere if position == ELSEWHERE else limits[codes[position]]


def _limits(table: PriceTable, row: Mapping[str, Json] | None) -> Limits | None:
    """Return what an execution with this input costs, at least and at most; None if that is not known."""
    price = table.price(row)
    return Limits(price.cost.low, price.cost.high) if price.is_complete and isfinite(price.cost.high) else None
