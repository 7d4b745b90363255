"""Reads the published ``cost`` of a model, and says what a call with certain parameters costs.

The API documents the fields of ``cost`` and not their combinations (API reference, "One model"), so nothing is assumed
to be there. What cannot be read is unknown, with the reason; it is never taken for free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf, isfinite
from typing import Final, Literal, TypeAlias

from ..models import Json

MAX_USD: Final = 1e12
"""Larger amounts are ignored: they are no prices, and sums of them would be infinite."""

PRICE_KEYS: Final = ("amount", "cost", "price", "cost_usd", "amount_usd", "price_usd")
"""Keys of a tier that may hold its price."""

CONDITION_KEYS: Final = ("values", "when", "match", "conditions", "params")
"""Keys of a tier that may hold the values of the parameters on which it depends."""


QUANTITIES: Final = {"second": "duration", "image": "num_images"}
"""Units of which a parameter says how many a call takes, and that parameter. Any other unit is a call."""


class UnknownValue(Enum):
    """The value of a parameter that only the execution itself knows, such as the output of an earlier step."""

    UNKNOWN = "unknown"


UNKNOWN: Final = UnknownValue.UNKNOWN
Value: TypeAlias = "Json | Literal[UnknownValue.UNKNOWN]"


@dataclass(frozen=True, slots=True)
class CostRange:
    """What one call or one execution costs, in USD: at least `low`, at most `high` (infinite if there is no limit)."""

    low: float
    expected: float
    high: float

    def plus(self, other: CostRange) -> CostRange:
        """Return the cost of both."""
        return CostRange(self.low + other.low, self.expected + other.expected, self.high + other.high)


FREE: Final = CostRange(0.0, 0.0, 0.0)


def either(ranges: Sequence[CostRange]) -> CostRange:
    """Return the cost of one of these, of which it is not known which one."""
    return CostRange(
        min(cost.low for cost in ranges),
        sum(cost.expected for cost in ranges) / len(ranges),
        max(cost.high for cost in ranges),
    )


@dataclass(frozen=True, slots=True)
class Tier:
    """The cost of a call whose parameters have these values; a parameter that is left out may have any value."""

    values: Mapping[str, frozenset[str]]
    cost: CostRange

    def fits(self, params: Mapping[str, Value]) -> bool:
        """Return whether the parameters may have the values of this tier."""
        given = {name: params.get(name) for name in self.values}
        return all(given[name] in (None, UNKNOWN) or _text(given[name]) in of for name, of in self.values.items())


@dataclass(frozen=True, slots=True)
class ModelCost:
    """The published price of one model.

    Attributes
    ----------
    depends_on : tuple of str
        The parameters on which it depends.
    tiers : tuple of Tier
    flat : CostRange or None
        What a call costs that no tier is about; None if that is unknown.
    quantity : str or None
        The parameter that has the number of units of a call; None if a call is the unit.
    unknown : str or None
        Why nothing is known, as in "is not published".
    """

    depends_on: tuple[str, ...] = ()
    tiers: tuple[Tier, ...] = ()
    flat: CostRange | None = None
    quantity: str | None = None
    unknown: str | None = None

    @classmethod
    def read(cls, cost: Json) -> ModelCost:
        """Return the price from the ``cost`` of a model's JSON."""
        if not isinstance(cost, Mapping):
            return cls(unknown="is not published")
        currency = cost.get("currency")
        if isinstance(currency, str) and currency.strip() and currency.strip().upper() != "USD":
            return cls(unknown=f"is in {currency.strip()[:12]}, not in USD")
        is_fixed = cost.get("type") != "usage_based"
        names = _names(cost.get("depends_on"))
        rows = cost.get("rows")
        tiers = [_tier(row, names, is_fixed=is_fixed) for row in rows] if isinstance(rows, list) else []
        flat = _range(cost, is_fixed=is_fixed)
        if any(tier is None for tier in tiers):
            return cls(unknown="is published in a form that cannot be read")
        read = tuple(tier for tier in tiers if tier is not None)
        names = names or tuple(dict.fromkeys(name for tier in read for name in tier.values))
        if flat is None and not read:
            return cls(unknown="is not published" if is_fixed else "depends on usage, and its range is not published")
        return cls(names, read, flat, _quantity(cost.get("unit")))

    @property
    def params(self) -> tuple[str, ...]:
        """The parameters that matter for the price."""
        return self.depends_on if self.quantity is None else (*self.depends_on, self.quantity)

    def of(self, params: Mapping[str, Value]) -> CostRange | str:
        """Return what a call with these parameters costs, or why that is unknown."""
        if self.unknown is not None:
            return self.unknown
        cost = self._of_unit(params)
        if self.quantity is None or isinstance(cost, str):
            return cost
        count = _number(params.get(self.quantity))
        if count is None:
            return f"is by the {self.quantity}, which is not known"
        return CostRange(cost.low * count, cost.expected * count, cost.high * count)

    def _of_unit(self, params: Mapping[str, Value]) -> CostRange | str:
        fitting = [tier.cost for tier in self.tiers if tier.fits(params)]
        # A parameter that is left out, and has no published default, has the model's own.
        is_certain = not any(params.get(name) in (None, UNKNOWN) for name in self.depends_on)
        if fitting:
            return fitting[0] if is_certain else either(fitting)
        if self.flat is not None:
            return self.flat
        values = ", ".join(f"{name}={_shown(params.get(name))}" for name in self.depends_on)
        return f"is not published for {values}"


def _shown(value: Value) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _quantity(unit: Json) -> str | None:
    name = unit.strip().casefold().removeprefix("per ").removesuffix("s") if isinstance(unit, str) else ""
    return QUANTITIES.get(name)


def _number(value: Value) -> float | None:
    """Return the number of units of a call: 1 if its parameter is left out, None if it is not known."""
    if value is None:
        return 1.0
    return None if value is UNKNOWN else _usd(value)


def _names(depends_on: Json) -> tuple[str, ...]:
    if isinstance(depends_on, str) and depends_on:
        return (depends_on,)
    return tuple(name for name in depends_on if isinstance(name, str)) if isinstance(depends_on, list) else ()


def _tier(row: Json, names: Sequence[str], *, is_fixed: bool) -> Tier | None:
    if not isinstance(row, Mapping):
        return None
    inner = next((row[key] for key in CONDITION_KEYS if key not in names and isinstance(row.get(key), Mapping)), row)
    keys = names or (list(inner) if inner is not row else [])
    values = {name: _texts(inner[name]) for name in keys if inner.get(name) is not None}
    cost = _range(row, is_fixed=is_fixed, but=names)
    if cost is None and not is_fixed:
        cost = _range(row, is_fixed=True, but=names)
    return None if cost is None else Tier(values, cost)


def _texts(value: Json) -> frozenset[str]:
    return frozenset(map(_text, value)) if isinstance(value, list) else frozenset([_text(value)])


def _text(value: Value) -> str:
    """Return a value as it is compared: 5, 5.0 and "5" are one, and so are True and "true"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip().casefold()
    if isinstance(value, str) and text.endswith(".0") and text[:-2].isdigit():
        return text[:-2]
    return text


def _range(cost: Mapping[str, Json], *, is_fixed: bool, but: Sequence[str] = ()) -> CostRange | None:
    """Return the cost that the fields of a price or of a tier state.

    The ``amount`` of a price by usage is that of one unit, which says nothing of a call.
    """
    if is_fixed:
        amount = next((usd for key in PRICE_KEYS if key not in but and (usd := _usd(cost.get(key))) is not None), None)
        if amount is not None:
            return CostRange(amount, amount, amount)
    low, high, estimate = (_usd(cost.get(key)) for key in ("min", "max", "estimate"))
    if high is None and estimate is None:
        return None
    low = 0.0 if low is None else low
    if high is None:
        return CostRange(min(low, estimate or 0.0), estimate or 0.0, inf)
    low, high = min(low, high), max(low, high)
    expected = (low + high) / 2 if estimate is None else estimate
    return CostRange(min(low, expected), expected, max(high, expected))


def _usd(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        return None
    return amount if isfinite(amount) and 0 <= amount < MAX_USD else None
