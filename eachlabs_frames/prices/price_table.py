"""Prices executions by their inputs: the models of a version's steps, added up.

A step's parameters are read from the definition and, where they refer to it, from the row's input. What depends on an
earlier step's output is an interval. Which branch of a choice runs, and whether a fallback is needed, is not decided
here: both widen the interval.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Final

import numpy as np

from ..models import Json
from .model_cost import FREE, UNKNOWN, CostRange, ModelCost, Value, either

REFERENCE: Final = re.compile(r"\{\{\s*([\w.\[\]-]+)\s*\}\}|\$\.([A-Za-z_][\w.\[\]-]*\w|\w)")
"""A reference in a parameter, in either notation: ``{{inputs.style}}`` and ``$.inputs.style``."""

FREE_STEPS: Final = frozenset({"http", "python", "pass"})
MAX_DEPTH: Final = 20
"""Levels of branches inside branches; deeper ones have an unknown price."""

Codes = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class RowPrice:
    """What one execution costs: the sum of the known parts, and the parts that are unknown."""

    cost: CostRange = FREE
    unknown: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether the whole price is known, with an upper limit."""
        return not self.unknown and isfinite(self.cost.high)

    def plus(self, other: RowPrice) -> RowPrice:
        """Return the price of both."""
        return RowPrice(self.cost.plus(other.cost), tuple(dict.fromkeys((*self.unknown, *other.unknown))))


@dataclass(frozen=True, slots=True)
class RowPrices:
    """The prices of some rows: the number of each row's tier, and the price of each tier."""

    codes: Codes
    tiers: Sequence[RowPrice]
    values: Sequence[tuple[str, ...]]

    def counts(self) -> list[int]:
        """Return the number of rows of each tier."""
        counted: list[int] = np.bincount(self.codes, minlength=len(self.tiers)).tolist()
        return counted


class PriceTable:
    """What an execution of one version costs, by its input.

    Parameters
    ----------
    steps : sequence of JSON values
        The ``steps`` of the version's definition.
    models : mapping of str to JSON value
        The JSON of each model by its slug; None if it could not be read.
    input_schema : mapping, optional
        Has the defaults of inputs that a row leaves out.

    Attributes
    ----------
    keys : tuple of str
        The keys of an input on which the price depends.
    models : tuple of str
        The slugs of its models.
    priced : tuple of str
        Those whose price is known.
    """

    def __init__(
        self, steps: Sequence[Json], models: Mapping[str, Json], input_schema: Mapping[str, Json] | None = None
    ) -> None:
        self._steps = steps
        self._costs = {slug: ModelCost.read(_field(model, "cost")) for slug, model in models.items()}
        self._defaults = {slug: _defaults(_field(model, "request_schema")) for slug, model in models.items()}
        self._input_defaults = _defaults(input_schema)
        self.keys: Final = tuple(dict.fromkeys(self._keys()))
        self.models: Final = tuple(dict.fromkeys(str(call["model"]) for call in calls_of(steps)))
        costs = [(slug, self._costs.get(slug)) for slug in self.models]
        self.priced: Final = tuple(slug for slug, cost in costs if cost is not None and cost.unknown is None)

    def price(self, row: Mapping[str, Json] | None) -> RowPrice:
        """Return the price of an execution with this input; of one with any input if it is None."""
        return self._sequence(self._steps, row, MAX_DEPTH)

    def tier(self, row: Mapping[str, Json]) -> tuple[str, ...]:
        """Return what executions of the same price have in common: the values of `keys`."""
        return tuple([str(row.get(key)) for key in self.keys])

    def prices(self, rows: Iterable[Mapping[str, Json]]) -> RowPrices:
        """Return the prices of executions with these inputs. Each combination of `keys` is priced once."""
        keys, codes = self.keys, []
        numbers: dict[tuple[str, ...], int] = {}
        tiers: list[RowPrice] = []
        if not keys:
            count = sum(1 for _ in rows)
            return RowPrices(np.zeros(count, dtype=np.int64), [self.price({})], [()])
        for row in rows:
            values = tuple([str(row.get(key)) for key in keys])
            number = numbers.get(values)
            if number is None:
                number = numbers[values] = len(tiers)
                tiers.append(self.price(row))
            codes.append(number)
        return RowPrices(np.array(codes, dtype=np.int64), tiers, list(numbers))

    # -- steps --------------------------------------------------------------------------------------------------------

    def _sequence(self, steps: Json, row: Mapping[str, Json] | None, depth: int) -> RowPrice:
        total = RowPrice()
        for step in steps if isinstance(steps, list | tuple) else ():
            total = total.plus(self._step(step, row, depth))
        return total

    def _step(self, step: Json, row: Mapping[str, Json] | None, depth: int) -> RowPrice:
        kind, name = _field(step, "type"), _field(step, "step_id") or _field(step, "id")
        if not isinstance(step, Mapping) or depth <= 0:
            return _unknown(f"the price of step {name!r} is not known")
        if kind == "model" or (kind is None and isinstance(step.get("model"), str)):
            return self._model_step(step, row)
        if kind == "parallel":
            total = RowPrice()
            for branch in branches_of(step):
                total = total.plus(self._sequence(branch, row, depth - 1))
            return total
        if kind == "choice":
            options = [self._sequence(branch, row, depth - 1) for branch in branches_of(step)]
            if not options:
                return RowPrice()
            reasons = tuple(dict.fromkeys(reason for option in options for reason in option.unknown))
            return RowPrice(either([option.cost for option in options]), reasons)
        if kind in FREE_STEPS:
            if step.get("cost") is None:
                return RowPrice()
            return _priced(ModelCost.read(step["cost"]).of({}), f"step {name!r}")
        return _unknown(f"the price of step {name!r} (type {kind!r}) is not known")

    def _model_step(self, step: Mapping[str, Json], row: Mapping[str, Json] | None) -> RowPrice:
        first = self._call(step, row)
        fallback = step.get("fallback")
        if not isinstance(fallback, Mapping) or fallback.get("enabled") is False or not fallback.get("model"):
            return first
        second = self._call(fallback, row)
        # Whether a call that failed is billed is not stated: at most, both are.
        low, high = min(first.cost.low, second.cost.low), first.cost.high + second.cost.high
        reasons = tuple(dict.fromkeys((*first.unknown, *second.unknown)))
        return RowPrice(CostRange(low, first.cost.expected, high), reasons)

    def _call(self, step: Mapping[str, Json], row: Mapping[str, Json] | None) -> RowPrice:
        slug = str(step.get("model"))
        cost = self._costs.get(slug) or ModelCost.read(None)
        given = step.get("params")
        params = given if isinstance(given, Mapping) else {}
        defaults = self._defaults.get(slug, {})
        values = {name: self._value(params.get(name), defaults.get(name), row) for name in cost.params}
        return _priced(cost.of(values), f"model {slug!r}")

    def _value(self, param: Json, default: Json, row: Mapping[str, Json] | None) -> Value:
        """Return the value of a parameter, as far as it is known before the execution; None if it is left out."""
        if param is None:
            return default
        if not isinstance(param, str):
            return UNKNOWN if REFERENCE.search(str(param)) else param
        whole = REFERENCE.fullmatch(param.strip())
        if whole is not None:
            value = self._input(whole, row)
            return default if value is None else value
        parts = [self._input(match, row) for match in REFERENCE.finditer(param)]
        if UNKNOWN in parts or None in parts:
            return UNKNOWN
        texts = iter(parts)
        return REFERENCE.sub(lambda _: str(next(texts)), param)

    def _input(self, reference: re.Match[str], row: Mapping[str, Json] | None) -> Value:
        source, _, path = (reference[1] or reference[2]).partition(".")
        key, _, inner = path.partition(".")
        if source != "inputs" or row is None or not key or inner or "[" in key:
            return UNKNOWN
        value = row.get(key)
        return self._input_defaults.get(key) if value is None else value

    # -- the definition -----------------------------------------------------------------------------------------------

    def _keys(self) -> Iterator[str]:
        """Yield the keys of an input to which the parameters refer on which a price depends."""
        for call in calls_of(self._steps):
            cost, params = self._costs.get(str(call.get("model"))), call.get("params")
            if cost is None or not isinstance(params, Mapping):
                continue
            for name in cost.params:
                for match in REFERENCE.finditer(str(params.get(name, ""))):
                    source, _, path = (match[1] or match[2]).partition(".")
                    if source == "inputs":
                        yield path.partition(".")[0]


def calls_of(steps: Json, depth: int = MAX_DEPTH) -> Iterator[Mapping[str, Json]]:
    """Yield each call of a model in a definition's steps: model steps, and their fallbacks."""
    for step in steps if isinstance(steps, list | tuple) and depth > 0 else ():
        if not isinstance(step, Mapping):
            continue
        for call in (step, step.get("fallback")):
            if isinstance(call, Mapping) and isinstance(call.get("model"), str):
                yield call
        for branch in branches_of(step):
            yield from calls_of(branch, depth - 1)


def branches_of(step: Mapping[str, Json]) -> list[Json]:
    """Return the steps of each branch of a parallel step or a choice."""
    listed = step.get("branches", step.get("choices"))
    named = [step[name] for name in ("condition_met_branch", "default_branch") if step.get(name) is not None]
    # A choice without a default branch may run nothing.
    if step.get("type") == "choice" and len(named) == 1:
        named.append([])
    branches = [*(listed if isinstance(listed, list) else []), *named]
    return [branch.get("steps", []) if isinstance(branch, Mapping) else branch for branch in branches]


def _field(value: Json, name: str) -> Json:
    return value.get(name) if isinstance(value, Mapping) else None


def _defaults(schema: Json) -> dict[str, Json]:
    """Return the defaults of a JSON Schema's properties; workflows also write them as ``default_value``."""
    properties = _field(schema, "properties")
    found: dict[str, Json] = {}
    for name, of in properties.items() if isinstance(properties, Mapping) else ():
        default = _field(of, "default")
        default = _field(of, "default_value") if default is None else default
        if default is not None:
            found[name] = default
    return found


def _priced(cost: CostRange | str, whose: str) -> RowPrice:
    return _unknown(f"the price of {whose} {cost}") if isinstance(cost, str) else RowPrice(cost)


def _unknown(reason: str) -> RowPrice:
    return RowPrice(CostRange(0.0, 0.0, inf), (reason,))
