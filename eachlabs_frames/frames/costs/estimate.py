"""Estimates what rows come to before any is sent: requests, costs and time, and where each number comes from.

Triggers nothing, and prints only where a person may read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Final

from ...models import MAX_BATCH, SettledExecution
from ...money import format_usd
from ...prices.forecast import Forecast, forecast
from ...prices.price_table import RowPrices
from ..progress_bar import somebody_looks
from .cost_sources import CostSources

CAP: Final = 10
"""Executions at once of an account with a balance of $10.00 or less (API reference, "Bulk trigger"). The API does not
state the cap of other accounts, so it is assumed for them too."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What triggering rows would come to; money in USD, None where nobody knows.

    Attributes
    ----------
    cost_usd : float or None
        The expected cost; the least that is known, if parts are unknown.
    cost_low_usd, cost_high_usd : float or None
        The range that the cost is expected in: see `docs/costs.md`.
    cost_from : str or None
        Where the cost is from.
    cost_unknown : tuple of str
        The parts that are not in the cost, and why.
    seconds : float or None
        How long the executions take.
    time_from : str or None
        Where that is from, and what is assumed.
    """

    rows: int
    requests: int
    cost_usd: float | None
    balance_usd: float | None
    cost_low_usd: float | None = None
    cost_high_usd: float | None = None
    cost_from: str | None = None
    cost_unknown: tuple[str, ...] = ()
    seconds: float | None = None
    time_from: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return what is known, for a frame's attrs: four numbers always, and the others where they are known."""
        always = ("rows", "requests", "cost_usd", "balance_usd")
        known = {name: value for name, value in asdict(self).items() if name in always or value not in (None, ())}
        return known | ({"cost_unknown": list(self.cost_unknown)} if self.cost_unknown else {})


def make_estimate(prices: RowPrices | int, sources: CostSources, *, max_concurrency: int) -> Estimate:
    """Return what rows come to.

    Parameters
    ----------
    prices : RowPrices or int
        As `CostSources.price` returns them.
    sources : CostSources
    max_concurrency : int
        Requests at once.
    """
    rows = len(prices.codes) if isinstance(prices, RowPrices) else prices
    made = forecast(prices, sources.table, sources.history)
    seconds, time_from = _duration(rows, sources.history, max_concurrency)
    return Estimate(
        rows,
        ceil(rows / MAX_BATCH),
        made.expected,
        sources.balance_usd,
        made.low,
        made.high,
        _source(made),
        made.unknown,
        seconds,
        time_from,
    )


def _source(made: Forecast) -> str | None:
    parts = []
    if made.settled:
        parts.append(f"{counted(made.settled, 'settled execution')} of this version")
    if made.models:
        whose = "its model" if made.models == 1 else f"its {made.models} models"
        parts.append(f"the published {'price' if made.models == 1 else 'prices'} of {whose}")
    return " and ".join(parts) or None


def _duration(rows: int, history: Sequence[SettledExecution], max_concurrency: int) -> tuple[float | None, str | None]:
    """Return how long the rows take in waves of as many as the cap allows, each of the mean duration."""
    known = [execution.seconds for execution in history if execution.seconds is not None]
    if not known or not rows:
        return None, None
    mean, at_once = sum(known) / len(known), min(CAP, MAX_BATCH * max_concurrency)
    of = counted(len(known), "settled execution")
    return (
        ceil(rows / at_once) * mean,
        f"the mean duration of {of}, {mean:.3g} s, with {at_once} at once: the cap of an account with a balance of "
        "$10.00 or less, which is assumed",
    )


def estimate_sentence(made: Estimate) -> str:
    """Return an estimate as one line."""
    parts = [f"{counted(made.rows, 'row')}, {counted(made.requests, 'request')}, {_cost(made)}"]
    if made.balance_usd is not None:
        parts.append(f"balance {format_usd(made.balance_usd)}")
    if made.seconds is not None:
        parts.append(f"at a cap of {CAP} {format_duration(made.seconds)}")
    return "; ".join(parts)


def _cost(made: Estimate) -> str:
    if made.cost_unknown:
        more = len(made.cost_unknown) - 1
        others = f", and {counted(more, 'more price')} unknown" if more else ""
        least = f"at least {format_usd(made.cost_usd)}" if made.cost_usd else "cost not known"
        return f"{least}: {made.cost_unknown[0]}{others}"
    if made.cost_usd is None:
        return "cost not known yet"
    cost, source = format_usd(made.cost_usd), made.cost_from or ""
    is_history = source[:1].isdigit()
    low, high = made.cost_low_usd, made.cost_high_usd
    has_range = low is not None and high is not None and format_usd(low) != format_usd(high)
    if has_range:
        cost += f" ({format_usd(low or 0.0)[1:]} to {format_usd(high or 0.0)[1:]})"
    about = "about " if has_range or is_history else ""
    return f"{about}{cost}, {'from' if is_history else 'by'} {source}"


def format_duration(seconds: float) -> str:
    """Return a duration as text, such as "about 7 min"."""
    for unit, length, until in (("s", 1, 90), ("min", 60, 90), ("h", 3_600, 48)):
        if seconds < until * length:
            count = round(seconds / length)
            return f"about {count} {unit}" if count else "less than 1 s"
    return f"about {round(seconds / 86_400)} days"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is one."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def show_estimate(made: Estimate, *, notes: Sequence[str] = ()) -> None:
    """Print an estimate where somebody may be looking, with each note on a line of its own."""
    if somebody_looks():
        print(estimate_sentence(made))
        for note in notes:
            print(note)
