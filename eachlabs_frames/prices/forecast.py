"""Forecasts the bill of rows from executions that were paid for, and from published prices where there are too few.

A forecast from history is a prediction: it allows for the spread of the costs and for what a small history does not
show. Equal input gives an equal forecast. Nothing is read here.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any, Final

import numpy as np

from ..models import SettledExecution
from .price_table import PriceTable, RowPrices

LEVELS: Final = (0.05, 0.95)
REPLICATES: Final = 2_000

MIN_SETTLED: Final = 5
"""Executions from which on a history is a better forecast than a complete published price."""

MAX_SETTLED: Final = 1_000
"""Executions of which a bootstrap is made: the newest."""

DRAWN: Final = 100
"""Rows of which each cost is drawn; for more, the sum is nearly normal."""

MARGIN: Final = 1.15
"""The intervals are wider by this factor: simulated, 5 of 100 true sums are outside of them, and not 10 or more."""

MISSING_TAIL: Final = 5.0
"""Over the size of the history: by how much deviations to the dearer side are widened in addition."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What rows are expected to cost, in USD.

    Attributes
    ----------
    expected : float or None
        None if nothing is known.
    low, high : float or None
        The 5th and 95th percentile of the sum where it is from history, the limits where it is from published prices;
        None if there is no limit, or a single execution says nothing of one.
    settled : int
        Settled executions that it is from.
    models : int
        Models whose published prices it is from.
    unknown : tuple of str
        The parts that are not in it: `expected` is then the least that is known.
    """

    expected: float | None = None
    low: float | None = None
    high: float | None = None
    settled: int = 0
    models: int = 0
    unknown: tuple[str, ...] = ()


def forecast(rows: RowPrices | int, table: PriceTable | None, history: Sequence[SettledExecution]) -> Forecast:
    """Return the forecast for rows.

    Parameters
    ----------
    rows : RowPrices or int
        The rows' prices by `table`; their number, if there is no table.
    table : PriceTable or None
    history : sequence of SettledExecution
        Of the same version, the newest first.

    Notes
    -----
    Rows of one tier have the same values in the inputs on which the price depends. The rows of a tier are forecast
    from the settled executions of that tier, if there are `MIN_SETTLED`; else from the tier's published price, if it is
    complete; else from what there is: the tier's few executions, all executions, or the known part of the price.
    """
    history = [execution for execution in history if execution.cost is not None][:MAX_SETTLED]
    if not isinstance(rows, RowPrices) or table is None:
        size = rows if isinstance(rows, int) else len(rows.codes)
        return _from_history(size, history)
    by_tier = tiers_of(history, table)
    total = _Sum()
    for count, price, values in zip(rows.counts(), rows.tiers, rows.values, strict=True):
        same = by_tier.get(values, [])
        if len(same) >= MIN_SETTLED:
            total.add_history(count, same)
        elif price.is_complete:
            total.add_published(count, price.cost.low, price.cost.expected, price.cost.high)
        elif same or history:
            total.add_history(count, same or history)
        else:
            total.add_published(count, price.cost.low, price.cost.low, price.cost.high)
            total.unknown.update(price.unknown)
    return total.forecast(models=len(table.priced))


def tiers_of(
    history: Iterable[SettledExecution], table: PriceTable
) -> Mapping[tuple[str, ...], Sequence[SettledExecution]]:
    """Return the executions of each tier; those whose input is not known are of none, unless there is just one tier."""
    tiers: dict[tuple[str, ...], list[SettledExecution]] = {}
    for execution in history:
        if execution.inputs is not None or not table.keys:
            tiers.setdefault(table.tier(execution.inputs or {}), []).append(execution)
    return tiers


def _from_history(size: int, history: Sequence[SettledExecution]) -> Forecast:
    if not history:
        return Forecast()
    total = _Sum()
    total.add_history(size, history)
    return total.forecast(models=0)


class _Sum:
    """Adds up the forecasts of tiers."""

    def __init__(self) -> None:
        self._expected = self._low = self._high = 0.0
        self._sums: Floats | None = None
        self._used: dict[str, None] = {}
        self._has_spread = True
        self._published = False
        self.unknown: Counter[str] = Counter()

    def add_published(self, count: int, low: float, expected: float, high: float) -> None:
        self._published = True
        self._expected += count * expected
        self._low += count * low
        self._high += count * high

    def add_history(self, count: int, history: Sequence[SettledExecution]) -> None:
        costs = np.array([execution.cost for execution in history], dtype=np.float64)
        self._used.update(dict.fromkeys(execution.execution_id for execution in history))
        self._expected += count * float(costs.mean())
        # Of one execution nobody knows by how much the next differs.
        self._has_spread &= len(costs) > 1
        sums = predicted_sums(costs, count)
        self._sums = sums if self._sums is None else self._sums + sums

    def forecast(self, *, models: int) -> Forecast:
        low, high = self._low, self._high
        if self._sums is not None:
            first, last = np.quantile(self._sums, LEVELS)
            low, high = low + max(0.0, float(first)), high + float(last)
        has_range = self._has_spread and isfinite(high) and not self.unknown
        is_nothing = bool(self.unknown) and not self._expected
        return Forecast(
            None if is_nothing else self._expected,
            min(low, self._expected) if has_range else None,
            max(high, self._expected) if has_range else None,
            len(self._used),
            models if self._published and not is_nothing else 0,
            tuple(reason for reason, _ in self.unknown.most_common()),
        )


def predicted_sums(costs: Floats, count: int) -> Floats:
    """Return `REPLICATES` equally likely sums of the costs of `count` further executions.

    Each replicate draws a history from the history (the bootstrap), and the further costs from that one. The deviations
    are widened as Student's t distribution is against the normal one: a history of five shows too little spread.
    """
    size = len(costs)
    mean = float(costs.mean())
    if size < 2 or not count or bool(np.all(costs == costs[0])):
        return np.full(REPLICATES, count * mean)
    draw = np.random.default_rng(zlib.crc32(costs.tobytes(), count))
    resampled = costs[draw.integers(0, size, (REPLICATES, size))]
    if count <= DRAWN:
        picked = draw.integers(0, size, (REPLICATES, count))
        sums = np.take_along_axis(resampled, picked, axis=1).sum(axis=1)
    else:
        noise = draw.standard_normal(REPLICATES) * sqrt(count)
        sums = resampled.mean(axis=1) * count + resampled.std(axis=1) * noise
    deviations = (sums - count * mean) * widening(size)
    # The expensive executions are the rare ones, which a small history most likely lacks.
    widened: Floats = count * mean + np.where(deviations > 0, deviations * (1 + MISSING_TAIL / size), deviations)
    return widened


def widening(size: int) -> float:
    """Return by how much the deviations of a bootstrap of `size` costs are widened."""
    degrees = size - 1
    # The 95th percentile of Student's t over the normal one's, by the Cornish-Fisher expansion.
    z = 1.6448536269514722
    t = z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    return MARGIN * sqrt(size / degrees) * t / z
