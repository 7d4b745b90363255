"""What rows will cost: published prices of models, and forecasts from settled executions. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eachlabs_frames.frames.costs.cost_sources import CostSources, joined_by_id
from eachlabs_frames.frames.costs.estimate import Estimate, estimate_sentence, format_duration, make_estimate
from eachlabs_frames.models import SettledExecution
from eachlabs_frames.prices.forecast import MIN_SETTLED, forecast, predicted_sums
from eachlabs_frames.prices.model_cost import UNKNOWN, CostRange, ModelCost
from eachlabs_frames.prices.price_table import PriceTable, RowPrice

TIERS = {
    "currency": "USD",
    "type": "fixed",
    "depends_on": ["resolution", "audio"],
    "rows": [
        {"resolution": "1K", "audio": False, "amount": 0.02},
        {"resolution": "4K", "audio": False, "amount": 0.08},
        {"resolution": "4K", "audio": True, "amount": 0.16},
    ],
}


def settled(*costs: float | None, seconds: float | None = None, **inputs: Any) -> list[SettledExecution]:
    """Return executions with these costs and this input."""
    return [SettledExecution(f"e{number}-{inputs}", cost, seconds, inputs) for number, cost in enumerate(costs)]


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        ({"type": "fixed", "amount": 0.03, "currency": "USD"}, CostRange(0.03, 0.03, 0.03)),
        ({"type": "fixed", "amount": "0.03", "currency": "usd"}, CostRange(0.03, 0.03, 0.03)),
        ({"type": "usage_based", "min": 0.01, "max": 0.09, "estimate": 0.03}, CostRange(0.01, 0.03, 0.09)),
        ({"type": "usage_based", "min": 0.01, "max": 0.09, "amount": 0.0001}, CostRange(0.01, 0.05, 0.09)),
        ({"type": "usage_based", "max": 0.09}, CostRange(0.0, 0.045, 0.09)),
        ({"type": "usage_based", "estimate": 0.03}, CostRange(0.0, 0.03, float("inf"))),
        ({"type": "usage_based", "amount": None, "min": None, "max": None}, "depends on usage, and its range is not"),
        ({"type": "fixed", "amount": None}, "is not published"),
        ({"type": "fixed", "amount": -1}, "is not published"),
        ({"type": "fixed", "amount": True}, "is not published"),
        ({"type": "fixed", "amount": 0.5, "currency": "EUR"}, "is in EUR, not in USD"),
        ({"rows": [{"resolution": "1K"}], "depends_on": ["resolution"]}, "is published in a form that cannot be read"),
        (None, "is not published"),
        ("free", "is not published"),
    ],
)
def test_a_published_price_is_read(cost: Any, expected: CostRange | str) -> None:
    """Nothing is assumed to be there, and what cannot be read is unknown, never free."""
    got = ModelCost.read(cost).of({})
    if isinstance(expected, str):
        assert isinstance(got, str)
        assert got.startswith(expected)
    else:
        assert isinstance(got, CostRange)
        assert (got.low, got.expected, got.high) == pytest.approx((expected.low, expected.expected, expected.high))


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"resolution": "4K", "audio": True}, CostRange(0.16, 0.16, 0.16)),
        ({"resolution": "4k", "audio": "false"}, CostRange(0.08, 0.08, 0.08)),
        ({"resolution": UNKNOWN, "audio": False}, CostRange(0.02, 0.05, 0.08)),
        ({"resolution": "4K"}, CostRange(0.08, 0.12, 0.16)),
    ],
)
def test_a_tier_is_found_by_its_parameters(params: dict[str, Any], expected: CostRange) -> None:
    """A parameter that is not known beforehand widens the price to the tiers that remain."""
    got = ModelCost.read(TIERS).of(params)
    assert isinstance(got, CostRange)
    assert (got.low, got.expected, got.high) == pytest.approx((expected.low, expected.expected, expected.high))


def test_a_value_without_a_tier_has_the_price_of_no_other() -> None:
    """Its price is unknown, and the reason names the value, unless the model has a price beside the tiers."""
    values = {"resolution": "8K", "audio": True}
    assert ModelCost.read(TIERS).of(values) == "is not published for resolution='8K', audio=True"
    assert ModelCost.read(TIERS | {"amount": 0.5}).of(values) == CostRange(0.5, 0.5, 0.5)


def test_tiers_are_read_in_other_forms() -> None:
    """Values inside an object of their own, several values of one tier, and a price under another name."""
    rows = [{"when": {"duration": [5, "10"]}, "price": 0.1}, {"when": {"duration": 15}, "price": 0.3}]
    cost = ModelCost.read({"rows": rows})
    assert cost.depends_on == ("duration",)
    assert [cost.of({"duration": value}) for value in ("5", 10.0, 15)] == [
        CostRange(usd, usd, usd) for usd in (0.1, 0.1, 0.3)
    ]


@pytest.mark.parametrize(("params", "usd"), [({"duration": 8}, 0.4), ({"duration": "8"}, 0.4), ({}, 0.05)])
def test_a_price_by_the_second_is_multiplied(params: dict[str, Any], usd: float) -> None:
    """By the parameter that says how many; one, if it is left out."""
    got = ModelCost.read({"amount": 0.05, "unit": "per second"}).of(params)
    assert isinstance(got, CostRange)
    assert got.high == pytest.approx(usd)
    assert isinstance(ModelCost.read({"amount": 0.05, "unit": "second"}).of({"duration": UNKNOWN}), str)


def model(name: str, **more: Any) -> dict[str, Any]:
    """Return a model step."""
    return {"step_id": f"step_{name}", "type": "model", "model": name, **more}


MODELS: dict[str, Any] = {
    "cheap": {"cost": {"amount": 0.01}},
    "dear": {"cost": {"amount": 0.10}},
    "tiered": {"cost": TIERS, "request_schema": {"properties": {"audio": {"default": False}}}},
    "secret": {"cost": None},
    "gone": None,
}


@pytest.mark.parametrize(
    ("steps", "low", "expected", "high"),
    [
        ([model("cheap"), model("dear"), {"type": "http"}, {"type": "python"}, {"type": "pass"}], 0.11, 0.11, 0.11),
        (
            [{"type": "parallel", "branches": [{"steps": [model("cheap")]}, {"steps": [model("dear")]}]}],
            0.11,
            0.11,
            0.11,
        ),
        (
            [
                {
                    "type": "choice",
                    "condition_met_branch": {"steps": [model("cheap")]},
                    "default_branch": {"steps": [model("dear")]},
                }
            ],
            0.01,
            0.055,
            0.10,
        ),
        ([{"type": "choice", "condition_met_branch": {"steps": [model("dear")]}}], 0.0, 0.05, 0.10),
        ([model("dear", fallback={"enabled": True, "model": "cheap"})], 0.01, 0.10, 0.11),
        ([model("dear", fallback={"enabled": False, "model": "cheap"})], 0.10, 0.10, 0.10),
        ([model("tiered", params={"resolution": "{{inputs.size}}"})], 0.08, 0.08, 0.08),
        ([model("tiered", params={"resolution": "$.inputs.size", "audio": "$.step_x.primary"})], 0.08, 0.12, 0.16),
        ([{"type": "http", "cost": {"amount": 0.02}}], 0.02, 0.02, 0.02),
        ([], 0.0, 0.0, 0.0),
    ],
)
def test_the_steps_of_a_definition_are_added_up(steps: list[Any], low: float, expected: float, high: float) -> None:
    """All branches of a parallel step, one branch of a choice, and perhaps a fallback."""
    price = PriceTable(steps, MODELS).price({"size": "4K"})
    assert (price.cost.low, price.cost.expected, price.cost.high) == pytest.approx((low, expected, high))
    assert price.is_complete


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (model("secret"), "the price of model 'secret' is not published"),
        (model("gone"), "the price of model 'gone' is not published"),
        (model("dear", fallback={"model": "secret"}), "the price of model 'secret' is not published"),
        ({"id": "s", "type": "loop"}, "the price of step 's' (type 'loop') is not known"),
        ("nonsense", "the price of step None is not known"),
    ],
)
def test_an_unknown_part_is_called_unknown(step: Any, reason: str) -> None:
    """The known part is a lower limit, and there is no upper one."""
    price = PriceTable([model("cheap"), step], MODELS).price({})
    assert price.unknown == (reason,)
    assert not price.is_complete
    assert 0.01 <= price.cost.low <= 0.12
    made = make_estimate(20, CostSources(PriceTable([model("cheap"), model("secret")], MODELS)), max_concurrency=8)
    assert made.cost_usd is None  # a number of rows has no prices: `CostSources.price` gives them


def test_rows_of_one_tier_are_priced_once() -> None:
    """A row's tier is the values of the inputs on which the price depends; others do not matter."""
    table = PriceTable([model("tiered", params={"resolution": "$.inputs.size"}), model("cheap")], MODELS)
    assert table.keys == ("size",)
    rows = table.prices({"size": size, "prompt": str(number)} for number, size in enumerate(["1K", "4K", "1K", "9K"]))
    assert rows.codes.tolist() == [0, 1, 0, 2]
    assert [price.cost.high for price in rows.tiers] == pytest.approx([0.03, 0.09, float("inf")])
    assert rows.tiers[2].unknown == ("the price of model 'tiered' is not published for resolution='9K', audio=False",)
    assert table.price(None).cost.low == pytest.approx(0.03)


def test_an_input_that_is_left_out_has_the_default_of_the_schema() -> None:
    """In either spelling of the workflows' schemas."""
    steps = [model("tiered", params={"resolution": "$.inputs.size"})]
    for key in ("default", "default_value"):
        table = PriceTable(steps, MODELS, {"properties": {"size": {key: "4K"}}})
        assert table.price({}).cost == CostRange(0.08, 0.08, 0.08)


def test_a_tier_with_settled_executions_is_forecast_from_them() -> None:
    """Other tiers have their published price; a few executions count only where no price is published."""
    table = PriceTable([model("tiered", params={"resolution": "$.inputs.size"})], MODELS)
    history = settled(*[0.025] * MIN_SETTLED, size="1K") + settled(0.5, size="4K")
    made = forecast(table.prices([{"size": "1K"}] * 10 + [{"size": "4K"}] * 10), table, history)
    assert made.expected == made.low == made.high == pytest.approx(0.25 + 0.8)
    assert (made.settled, made.models) == (MIN_SETTLED, 1)
    unlisted = forecast(table.prices([{"size": "9K"}]), table, history)
    assert unlisted.expected == pytest.approx((5 * 0.025 + 0.5) / 6)
    assert unlisted.low is not None
    assert unlisted.low < unlisted.expected < (unlisted.high or 0)


def test_the_forecast_is_the_same_again() -> None:
    """Equal input, equal numbers; a history of equal costs has no range, one execution has none either."""
    costs = np.array([0.01, 0.02, 0.07])
    assert (predicted_sums(costs, 300) == predicted_sums(costs, 300)).all()
    alike = forecast(20, None, settled(0.01, 0.01, 0.01))
    assert (alike.low, alike.expected, alike.high) == pytest.approx((0.2, 0.2, 0.2))
    single = forecast(20, None, settled(0.01))
    assert (single.expected, single.low, single.high) == (pytest.approx(0.2), None, None)
    assert forecast(20, None, settled(None)).expected is None


def random_case(seed: int) -> tuple[bool, bool]:
    """Return whether the interval covers the true bill of a random price table and history, and if it is from one.

    The true costs are drawn within the published prices; the history is drawn as the bill is.
    """
    rng = np.random.default_rng(seed)
    sizes, count = ["1K", "2K", "4K"], int(rng.choice([12, 60, 300, 1_500]))
    lows = rng.uniform(0.005, 0.2, 3)
    highs = lows * rng.choice([1.0, rng.uniform(1.5, 8)], 3)
    is_usage = bool((highs > lows).any())
    rows_of_price = [
        {"resolution": size, "min": low, "max": high, "amount": None if is_usage else low}
        for size, low, high in zip(sizes, lows.tolist(), highs.tolist(), strict=True)
    ]
    cost = {"type": "usage_based" if is_usage else "fixed", "depends_on": ["resolution"], "rows": rows_of_price}
    is_published = rng.random() < 0.5
    models = {"m": {"cost": cost if is_published else None}}
    table = PriceTable([model("m", params={"resolution": "$.inputs.size"})], models)
    shape = rng.choice(["uniform", "skewed", "two"])

    def draw(tiers: Any) -> Any:
        share = {
            "uniform": lambda: rng.random(len(tiers)),
            "skewed": lambda: np.minimum(rng.lognormal(-1.5, 0.8, len(tiers)), 1.0),
            "two": lambda: (rng.random(len(tiers)) < 0.3).astype(float),
        }[str(shape)]()
        return lows[tiers] + (highs[tiers] - lows[tiers]) * share

    mix = rng.dirichlet([2.0, 2.0, 2.0])
    before = rng.choice(3, int(rng.choice([0, 6, 15, 60, 340])) if is_published else 30, p=mix)
    history = [
        SettledExecution(f"e{number}", float(usd), 1.0, {"size": sizes[tier]})
        for number, (tier, usd) in enumerate(zip(before.tolist(), draw(before), strict=True))
    ]
    tiers = rng.choice(3, count, p=mix)
    made = forecast(table.prices([{"size": sizes[tier]} for tier in tiers.tolist()]), table, history)
    true = float(draw(tiers).sum())
    assert made.low is not None
    assert made.high is not None
    return made.low - 1e-9 <= true <= made.high + 1e-9, made.settled > 0


def test_the_interval_covers_the_true_bill() -> None:
    """Of 100 random price tables and histories, the bill is inside the interval in at least 90."""
    cases = [random_case(seed) for seed in range(100)]
    assert sum(covered for covered, _ in cases) >= 90
    assert sum(from_history for _, from_history in cases) >= 60


def test_executions_of_the_listing_and_the_journal_count_once() -> None:
    """Each one has what either of them knows."""
    listed = [SettledExecution("a", 0.1, None, None), SettledExecution("b", None, 2.0, None)]
    recorded = [SettledExecution("b", 0.2, 3.0, {"x": 1}), SettledExecution("c", 0.3, None, None)]
    assert joined_by_id(listed, recorded) == [
        SettledExecution("a", 0.1, None, None),
        SettledExecution("b", 0.2, 2.0, {"x": 1}),
        SettledExecution("c", 0.3, None, None),
    ]


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (
            Estimate(200, 20, 2.0, 53.475, 1.6, 2.9, "340 settled executions of this version", (), 420.0, "..."),
            "200 rows, 20 requests, about $2.00 (1.60 to 2.90), from 340 settled executions of this version; "
            "balance $53.48; at a cap of 10 about 7 min",
        ),
        (
            Estimate(24, 3, 0.24, 4.98, 0.24, 0.24, "the published price of its model"),
            "24 rows, 3 requests, $0.24, by the published price of its model; balance $4.98",
        ),
        (
            Estimate(24, 3, 0.24, -1.25, 0.24, 0.24, "2 settled executions of this version"),
            "24 rows, 3 requests, about $0.24, from 2 settled executions of this version; balance \N{MINUS SIGN}$1.25",
        ),
        (Estimate(1, 1, None, None), "1 row, 1 request, cost not known yet"),
        (
            Estimate(60, 6, 1.2, None, None, None, "...", ("the price of model 'x' is not published",)),
            "60 rows, 6 requests, at least $1.20: the price of model 'x' is not published",
        ),
        (
            Estimate(60, 6, None, None, cost_unknown=("the price of model 'x' is in EUR, not in USD", "b", "c")),
            "60 rows, 6 requests, cost not known: the price of model 'x' is in EUR, not in USD, "
            "and 2 more prices unknown",
        ),
    ],
)
def test_an_estimate_in_words(made: Estimate, sentence: str) -> None:
    """Known amounts are stated with where they come from, and unknown ones are called unknown."""
    assert estimate_sentence(made) == sentence


def test_the_time_is_in_waves_of_the_cap() -> None:
    """Two hundred rows of 21 s, ten at once, are twenty waves; without durations nothing is stated."""
    made = make_estimate(200, CostSources(history=settled(0.01, 0.01, seconds=21.0)), max_concurrency=8)
    assert made.seconds == pytest.approx(420)
    assert made.time_from is not None
    assert "with 10 at once" in made.time_from
    assert make_estimate(200, CostSources(history=settled(0.01)), max_concurrency=8).seconds is None
    texts = [format_duration(seconds) for seconds in (0.2, 42, 600, 7_200, 400_000)]
    assert texts == ["less than 1 s", "about 42 s", "about 10 min", "about 2 h", "about 5 days"]


def test_prices_without_any_known_part_are_no_cost() -> None:
    """An unknown price is not a price of zero."""
    assert RowPrice().is_complete
    table = PriceTable([model("secret")], MODELS)
    made = make_estimate(table.prices([{}] * 20), CostSources(table), max_concurrency=8)
    assert (made.cost_usd, made.cost_from) == (None, None)
    assert made.facts()["cost_unknown"] == ["the price of model 'secret' is not published"]
    partly = PriceTable([model("cheap"), model("secret")], MODELS)
    least = make_estimate(partly.prices([{}] * 20), CostSources(partly), max_concurrency=8)
    assert least.cost_usd == pytest.approx(0.2)
    assert "at least $0.20: the price of model 'secret'" in estimate_sentence(least)
