"""What executions cost: the published prices of models, and the calls of models that an execution consists of.

Owns the ``cost`` of a model's JSON and the amounts that are billed by it. It never touches the account or a clock: its
caller draws every random number, so that the same execution costs the same again.

The API documents the fields of ``cost`` and not their meaning. The sandbox takes ``amount``, ``min``, ``max`` and
``estimate`` for the price of one `unit`, which is a call unless it is a second or an image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from .schema import equal

if TYPE_CHECKING:
    from .workflows import Step

Draw: TypeAlias = Callable[[str], float]
"""Returns a number from 0 to 1 for a name, always the same."""

_FIELDS: Mapping[str, Any] = {
    "currency": "USD",
    "type": "fixed",
    "amount": None,
    "unit": "request",
    "estimate": None,
    "min": None,
    "max": None,
    "depends_on": [],
    "rows": [],
}
_AMOUNTS = ("amount", "estimate", "min", "max")
# Parameters that hold the number of units of a call.
_QUANTITIES = {"second": "duration", "image": "num_images"}
_REFERENCE = re.compile(r"\{\{\s*([\w.]+)\s*\}\}|\$\.([A-Za-z_]\w*(?:\.\w+)*)", re.ASCII)
# The value of a parameter that comes from an earlier step.
_UNKNOWN = object()


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the API: the JSON of its price and of its parameters.

    Parameters
    ----------
    cost
        The published price, with any of the API's fields: ``currency``, ``type`` ("fixed" or "usage_based"),
        ``amount``, ``unit``, ``estimate``, ``min``, ``max``, ``depends_on`` (names of parameters) and ``rows``
        (prices, each with the values of these parameters). None: not published.
    request_schema
        JSON Schema of the parameters. A parameter that a step leaves out has its default.
    billed_usd
        Lowest and highest cost of a call in USD, where that is not the published price.
    """

    slug: str
    cost: Mapping[str, Any] | None = None
    request_schema: Mapping[str, Any] = field(default_factory=dict)
    billed_usd: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        cost = self.cost or {}
        rows = cost.get("rows", [])
        unknown = sorted(set(cost) - set(_FIELDS)) + [key for row in rows for key in row if not self._is_column(key)]
        amounts = [holder[name] for holder in (cost, *rows) for name in _AMOUNTS if holder.get(name) is not None]
        if unknown or cost.get("type", "fixed") not in ("fixed", "usage_based"):
            msg = f"model {self.slug!r}: no field {unknown[0]!r}" if unknown else f"model {self.slug!r}: invalid type"
            raise ValueError(msg)
        if any(isinstance(usd, bool) or usd < 0 for usd in (*amounts, *(self.billed_usd or ()))):
            msg = f"model {self.slug!r}: amounts must not be negative"
            raise ValueError(msg)

    def _is_column(self, key: str) -> bool:
        return key in _AMOUNTS or key in (self.cost or {}).get("depends_on", [])

    def shown(self) -> dict[str, Any]:
        """Return the model's JSON."""
        return {
            "title": self.slug.replace("-", " ").title(),
            "slug": self.slug,
            "version": "0.0.1",
            "output_type": "string",
            "request_schema": self.request_schema,
            "cost": None if self.cost is None else {**_FIELDS, **self.cost},
        }

    def default(self, name: str) -> Any:
        """Return the default of a parameter, or None."""
        return self.request_schema.get("properties", {}).get(name, {}).get("default")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a model that an execution was billed for, in millionths of a dollar."""

    step_id: str
    model: str
    micros: int


@dataclass(frozen=True, slots=True)
class Charge:
    """The steps of an execution and what it costs, in millionths of a dollar. Without prices there are no calls.

    `failing` is the number of the step that fails, if any does.
    """

    steps: tuple[Step, ...]
    failing: int
    skipped: tuple[Step, ...]
    calls: tuple[Call, ...]
    micros: int


class PriceList:
    """The models of the API, by slug."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {"sandbox-model": Model("sandbox-model")}
        self._priced: set[str] = set()

    def add(self, model: Model) -> None:
        """Add a model, or replace the one of this slug. Executions that call it are billed by its price."""
        self._models[model.slug] = model
        self._priced.add(model.slug)

    def find(self, slug: str) -> Model | None:
        """Return a model, or None."""
        return self._models.get(slug)

    def _is_priced(self, steps: Sequence[Step]) -> bool:
        """Return whether any of these steps calls a model that was added."""
        return any(step.model in self._priced for step in all_steps(steps) if step.type == "model")

    def estimate(self, steps: Sequence[Step], inputs: Mapping[str, Any], default: int) -> int:
        """Return the micro-dollars that an execution reserves.

        `default` is the estimate of an execution of unpriced steps, and of a call whose price is not published.
        """
        return self._estimate(steps, inputs, default) if self._is_priced(steps) else default

    def _estimate(self, steps: Sequence[Step], inputs: Mapping[str, Any], default: int) -> int:
        """Return the sum of the estimates of these steps; of a choice, that of the dearest branch."""
        total = 0
        for step in steps:
            branches = [self._estimate(branch, inputs, default) for branch in step.branches]
            total += max(branches, default=0) if step.type == "choice" else sum(branches)
            if step.type == "model":
                total += self._call(step, inputs, default, None)
        return total

    def charge(
        self, steps: Sequence[Step], inputs: Mapping[str, Any], default: int, draw: Draw, *, failed: bool
    ) -> Charge:
        """Return which steps an execution runs and what it costs.

        A failed one is billed for the steps that are completed and the one that fails.
        """
        run, skipped = selected_steps(steps, inputs, draw)
        # In the middle, so that some steps are completed before it and some cancelled after it.
        failing = len(run) // 2
        if not self._is_priced(steps):
            return Charge(tuple(run), failing, tuple(skipped), (), default)
        billed = run[: failing + 1] if failed else run
        calls = tuple(
            Call(step.step_id, step.model, self._call(step, inputs, default, draw))
            for step in billed
            if step.type == "model"
        )
        return Charge(tuple(run), failing, tuple(skipped), calls, sum(call.micros for call in calls))

    def _call(self, step: Step, inputs: Mapping[str, Any], default: int, draw: Draw | None) -> int:
        """Return the micro-dollars that a call costs, or its estimate if nothing is drawn."""
        model = self._models.get(step.model)
        if model is None:
            return default
        if draw is not None and model.billed_usd is not None:
            low, high = map(micros, model.billed_usd)
            return low + round((high - low) * draw(step.step_id))
        if model.cost is None:
            return default
        params = {name: _resolved(value, inputs) for name, value in (step.params or {}).items()}
        row = _row(model, params, draw and draw(f"{step.step_id}:row"))
        usd = _price(model.cost, row, draw and draw(step.step_id))
        return default if usd is None else micros(usd * _quantity(model, params))


def all_steps(steps: Sequence[Step]) -> Iterator[Step]:
    """Yield these steps and those of their branches."""
    for step in steps:
        yield step
        for branch in step.branches:
            yield from all_steps(branch)


def selected_steps(steps: Sequence[Step], inputs: Mapping[str, Any], draw: Draw) -> tuple[list[Step], list[Step]]:
    """Return the steps without branches that an execution runs, and those that it skips."""
    run: list[Step] = []
    skipped: list[Step] = []
    for step in steps:
        if not step.branches:
            run.append(step)
            continue
        chosen = _chosen(step, inputs, draw) if step.type == "choice" else None
        for number, branch in enumerate(step.branches):
            if chosen in (None, number):
                inner = selected_steps(branch, inputs, draw)
                run += inner[0]
                skipped += inner[1]
            else:
                skipped += [inner for inner in all_steps(branch) if not inner.branches]
    return run, skipped


def _chosen(step: Step, inputs: Mapping[str, Any], draw: Draw) -> int:
    """Return the number of the branch that a choice runs: 0 if its condition is met, else 1.

    A condition on the output of an earlier step is met by chance.
    """
    value = _resolved((step.condition or {}).get("expression", "$.earlier"), inputs)
    if value is _UNKNOWN:
        return int(draw(step.step_id) * 2)
    return 0 if equal(value, (step.condition or {}).get("value")) else 1


def _resolved(value: Any, inputs: Mapping[str, Any]) -> Any:
    """Return the value of a parameter: an input keeps its type if the parameter is nothing but a reference to it."""
    if not isinstance(value, str):
        return value
    references = [(match[1] or match[2]).split(".") for match in _REFERENCE.finditer(value)]
    if any(path[0] != "inputs" or len(path) != 2 for path in references):
        return _UNKNOWN
    if len(references) == 1 and _REFERENCE.fullmatch(value):
        return inputs.get(references[0][1])
    return _REFERENCE.sub(lambda match: str(inputs.get((match[1] or match[2]).split(".")[1], "")), value)


def _row(model: Model, params: Mapping[str, Any], fraction: float | None) -> Mapping[str, Any]:
    """Return the row of the price for these parameters, or an empty one.

    If several may fit, because a parameter is unknown, it is drawn, or is the dearest one if nothing is drawn.
    """
    cost = model.cost or {}
    values = {}
    for name in cost.get("depends_on", ()):
        value = params.get(name)
        values[name] = model.default(name) if value is None else value
    rows: list[Mapping[str, Any]] = [
        row
        for row in cost.get("rows", ())
        if all(value is _UNKNOWN or name not in row or equal(row[name], value) for name, value in values.items())
    ]
    if not rows or _UNKNOWN not in values.values():
        return rows[0] if rows else {}
    if fraction is None:
        return max(rows, key=lambda row: _price(cost, row, None) or 0.0)
    return rows[min(int(fraction * len(rows)), len(rows) - 1)]


def _price(cost: Mapping[str, Any], row: Mapping[str, Any], fraction: float | None) -> float | None:
    """Return the price of a unit in USD, or its estimate if nothing is drawn; None if none is published."""
    prices = row if any(row.get(name) is not None for name in _AMOUNTS) else cost
    amount, estimate, low, high = (prices.get(name) for name in _AMOUNTS)
    if cost.get("type", "fixed") == "fixed" and amount is not None:
        return float(amount)
    if cost.get("type") == "usage_based" and fraction is not None and low is not None and high is not None:
        return float(low + (high - low) * fraction)
    return next((float(usd) for usd in (estimate, high, low) if usd is not None), None)


def _quantity(model: Model, params: Mapping[str, Any]) -> float:
    """Return the number of units of a call; 1 if it is unknown."""
    name = _QUANTITIES.get((model.cost or {}).get("unit", ""), "")
    value = params.get(name)
    value = model.default(name) if value is None else value
    try:
        return float(value)
    except (TypeError, ValueError):
        return 1.0


def micros(usd: float) -> int:
    """Return an amount in whole micro-dollars: ten times 0.01 must be 0.1."""
    return round(usd * 1_000_000)
