"""One line on what a preview's rows would cost. Shown in a notebook and on a terminal; nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from ..models import MAX_BATCH, Prices
from .progress import somebody_looks


@dataclass(frozen=True, slots=True)
class Estimate:
    """What triggering a preview's rows would come to; money in USD, None where the API does not say."""

    rows: int
    requests: int
    cost_usd: float | None
    balance_usd: float | None


def estimate(rows: int, prices: Prices) -> Estimate:
    """Return what `rows` rows that can be sent come to."""
    cost = None if prices.cost_usd is None else rows * prices.cost_usd
    return Estimate(rows, ceil(rows / MAX_BATCH), cost, prices.balance_usd)


def words(made: Estimate) -> str:
    """Return an estimate as a sentence."""
    cost = "cost not known yet" if made.cost_usd is None else f"about {made.cost_usd:.2f} USD"
    said = f"{_counted(made.rows, 'row')} can be sent, in {_counted(made.requests, 'request')}: {cost}"
    return said if made.balance_usd is None else f"{said}; the balance is {made.balance_usd:.2f} USD"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def show(made: Estimate) -> None:
    """Print an estimate where somebody may be looking."""
    if somebody_looks():
        print(words(made))
