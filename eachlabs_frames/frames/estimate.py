"""One line on what a preview's rows would come to. Shown in a notebook and on a terminal; nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from ..models import MAX_BATCH, Prices
from ..money import format_usd
from .progress_bar import somebody_looks


@dataclass(frozen=True, slots=True)
class Estimate:
    """What triggering a preview's rows would come to; money in USD, None where nobody knows.

    Attributes
    ----------
    cost_from : str or None
        Whose knowledge the cost is, where it is not the API's.
    """

    rows: int
    requests: int
    cost_usd: float | None
    balance_usd: float | None
    cost_from: str | None = None


def estimate(rows: int, prices: Prices, *, journaled: Sequence[float] = ()) -> Estimate:
    """Return what `rows` rows that can be sent come to.

    Parameters
    ----------
    rows : int
    prices : Prices
        What the API says of money.
    journaled : sequence of float
        What executions have cost by the journal, in USD: it counts where the API says nothing.
    """
    each, cost_from = prices.cost_usd, None
    if each is None and journaled:
        each = sum(journaled) / len(journaled)
        cost_from = f"the mean of {_counted(len(journaled), 'execution')} in the journal"
    cost = None if each is None else rows * each
    return Estimate(rows, ceil(rows / MAX_BATCH), cost, prices.balance_usd, cost_from)


def words(made: Estimate) -> str:
    """Return an estimate as a sentence."""
    cost = "cost not known yet" if made.cost_usd is None else f"about {format_usd(made.cost_usd)}"
    if made.cost_from is not None:
        cost += f" (by {made.cost_from})"
    said = f"{_counted(made.rows, 'row')} can be sent, in {_counted(made.requests, 'request')}: {cost}"
    return said if made.balance_usd is None else f"{said}; the balance is {format_usd(made.balance_usd)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def show(made: Estimate, *, notes: Sequence[str] = ()) -> None:
    """Print an estimate where somebody may be looking, with each note on a line of its own."""
    if somebody_looks():
        print(words(made))
        for note in notes:
            print(note)
