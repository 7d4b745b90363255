"""What executions cost in the sandbox: published prices of models, reservations, and bills to the cent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from eachlabs_frames.sandbox import Sandbox, Step, Version, start
from eachlabs_frames.sandbox.prices import Model
from tests.test_sandbox_api import DETAILS, FakeClock, call

FIXED = {"type": "fixed", "amount": 0.03, "estimate": 0.03, "min": 0.03, "max": 0.03}
TIERS = {
    "min": 0.02,
    "max": 0.16,
    "estimate": 0.05,
    "depends_on": ["resolution", "audio"],
    "rows": [
        {"resolution": "1K", "audio": False, "amount": 0.02},
        {"resolution": "4K", "audio": False, "amount": 0.08},
        {"resolution": "4K", "audio": True, "amount": 0.16},
    ],
}
USAGE = {"type": "usage_based", "unit": "token", "estimate": 0.03, "min": 0.01, "max": 0.09}


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that the test advances."""
    return FakeClock()


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[Sandbox]:
    """Run a sandbox on the fake clock."""
    with start(configure=False, clock=clock, queue_seconds=0.0, run_seconds=(1.0, 1.0)) as running:
        yield running


def trigger(sandbox: Sandbox, *inputs: dict[str, Any], version: str = "v1") -> tuple[int, Any]:
    """Trigger executions of the workflow ``wf_priced``."""
    path = f"/v1/workflows/bulk-trigger/wf_priced/{version}"
    return call(sandbox, "POST", path, body={"inputs": list(inputs)})[:2]


def costs(sandbox: Sandbox, clock: FakeClock, *inputs: dict[str, Any]) -> list[float]:
    """Trigger one execution for each input, let them end, and return what they cost by their details."""
    status, document = trigger(sandbox, *inputs)
    assert status == 202, document
    clock.now += 10
    paths = [DETAILS["current"] + entry["execution_id"] for entry in document["executions"]]
    return [call(sandbox, "GET", path)[1]["total_cost"] for path in paths]


def test_a_model_shows_its_price(sandbox: Sandbox) -> None:
    """Every field of a published price is shown; a price that is not published is null; the key is needed."""
    schema = {"type": "object", "properties": {"resolution": {"type": "string", "default": "1K"}}}
    sandbox.add_model("painter", cost=TIERS, request_schema=schema)
    status, document, _ = call(sandbox, "GET", "/v1/models/painter")
    assert status == 200
    assert set(document) == {"title", "slug", "version", "output_type", "request_schema", "cost"}
    assert document["request_schema"] == schema
    assert document["cost"] == {
        "currency": "USD",
        "type": "fixed",
        "amount": None,
        "unit": "request",
        **json.loads(json.dumps(TIERS)),
    }
    assert call(sandbox, "GET", "/v1/models/sandbox-model")[1]["cost"] is None
    assert call(sandbox, "GET", "/v1/models/nobody")[0] == 404
    assert call(sandbox, "GET", "/v1/models/painter", headers={})[0] == 401
    assert call(sandbox, "GET", "/api/v1/models/painter", dialect="legacy")[0] == 404


def test_a_fixed_price_is_paid_for_each_call(sandbox: Sandbox, clock: FakeClock) -> None:
    """The cost of an execution is the sum over its steps, those of all parallel branches included."""
    sandbox.add_model("painter", cost=FIXED)
    sandbox.add_model("writer", cost={"amount": 0.007})
    branches = ((Step("a", model="painter"), Step("b", type="http")), (Step("c", model="painter"),))
    steps = (Step("both", type="parallel", branches=branches), Step("d", model="writer"))
    sandbox.add_workflow("wf_priced", steps=steps, input_schema={"type": "object"})
    assert costs(sandbox, clock, {"n": 1}, {"n": 2}) == [0.067, 0.067]
    (bill, _) = sandbox.bills
    assert bill.calls == (("a", "painter", 0.03), ("c", "painter", 0.03), ("d", "writer", 0.007))
    assert sandbox.billed_usd == 0.134 == pytest.approx(53.475 - sandbox.balance_usd)
    shown = call(sandbox, "GET", "/v1/workflows/wf_priced")[1]["versions"][0]["definition"]["steps"]
    assert shown[0]["branches"][1] == {"steps": [{"step_id": "c", "type": "model", "model": "painter"}]}
    details = call(sandbox, "GET", DETAILS["current"] + sandbox.bills[0].execution_id)[1]
    assert list(details["step_outputs"]) == ["a", "b", "c", "d"]
    assert "cost" not in details


@pytest.mark.parametrize(
    ("inputs", "usd"),
    [
        ({"size": "4K", "sound": True}, 0.16),
        ({"size": "4K"}, 0.08),
        ({"sound": True}, 0.05),
        ({}, 0.02),
        ({"size": "8K"}, 0.05),
        ({"size": "4K", "sound": 1}, 0.05),
    ],
)
def test_a_tier_is_selected_by_the_parameters(
    sandbox: Sandbox, clock: FakeClock, inputs: dict[str, Any], usd: float
) -> None:
    """Parameters come from the input, or else from the model's defaults; where no row fits, the estimate is paid."""
    properties = {"resolution": {"default": "1K"}, "audio": {"default": False}}
    sandbox.add_model("painter", cost=TIERS, request_schema={"properties": properties})
    params = {"resolution": "$.inputs.size", "audio": "{{inputs.sound}}", "prompt": "a $.inputs.size picture"}
    sandbox.add_workflow("wf_priced", steps=[Step("draw", model="painter", params=params)])
    assert costs(sandbox, clock, inputs) == [usd]
    assert sandbox.bills[0].estimate_usd == usd


def test_a_price_by_the_second_or_image_is_multiplied(sandbox: Sandbox, clock: FakeClock) -> None:
    """A unit of a second counts `duration`, one of an image `num_images`, also as text or by the model's default."""
    rows = [{"resolution": "720p", "amount": 0.05}, {"resolution": "1080p", "amount": 0.2}]
    schema = {"properties": {"duration": {"default": 2}}}
    sandbox.add_model(
        "film", cost={"unit": "second", "depends_on": ["resolution"], "rows": rows}, request_schema=schema
    )
    params = {"resolution": "$.inputs.size", "duration": "$.inputs.seconds"}
    sandbox.add_workflow("wf_priced", steps=[Step("film", model="film", params=params)])
    inputs = ({"size": "720p"}, {"size": "1080p", "seconds": 10}, {"size": "1080p", "seconds": "5"})
    assert costs(sandbox, clock, *inputs) == [0.1, 2.0, 1.0]
    sandbox.add_model("film", cost={"unit": "image", "amount": 0.04})
    sandbox.add_workflow("wf_priced", steps=[Step("film", model="film", params={"num_images": "$.inputs.n"})])
    assert costs(sandbox, clock, {"n": 3}, {"n": "many"}) == [0.12, 0.04]


def test_usage_costs_something_in_its_range_and_the_same_again(clock: FakeClock) -> None:
    """The seed and the input decide; repeated inputs differ; the estimate is what is reserved."""
    seen = []
    for seed in (1, 1, 2):
        with start(configure=False, clock=clock, seed=seed, queue_seconds=0.0, run_seconds=(1.0, 1.0)) as sandbox:
            sandbox.add_model("writer", cost=USAGE)
            sandbox.add_workflow("wf_priced", steps=[Step("write", model="writer")])
            seen.append(costs(sandbox, clock, *[{"n": n // 2} for n in range(10)]))
            assert {bill.estimate_usd for bill in sandbox.bills} == {0.03}
    assert seen[0] == seen[1] != seen[2]
    assert len(set(seen[0])) == 10
    assert all(0.01 <= usd <= 0.09 for usd in seen[0])


def test_a_price_may_not_be_published_or_differ_from_what_is_billed(sandbox: Sandbox, clock: FakeClock) -> None:
    """Without amounts a call costs `cost_usd`; `billed_usd` overrides what is published."""
    sandbox.change(cost_usd=0.5, estimate_usd=0.6)
    for cost in (None, {"type": "usage_based"}):
        sandbox.add_model("writer", cost=cost)
        sandbox.add_workflow("wf_priced", steps=[Step("a", model="writer"), Step("b", model="writer")])
        assert costs(sandbox, clock, {}) == [1.0]
    sandbox.add_model("writer", cost=FIXED, billed_usd=(2.0, 2.0))
    assert costs(sandbox, clock, {}) == [4.0]
    assert [bill.estimate_usd for bill in sandbox.bills] == [1.2, 1.2, 0.06]


def test_a_choice_runs_one_branch_and_reserves_the_dearest(sandbox: Sandbox, clock: FakeClock) -> None:
    """A condition on an input decides by it, and one on an earlier step by chance; the other branch is skipped."""
    sandbox.add_model("cheap", cost={"amount": 0.01})
    sandbox.add_model("dear", cost={"amount": 0.1})
    branches = ((Step("a", model="dear"),), (Step("b", model="cheap"),))
    condition = {"expression": "$.inputs.style", "operator": "equals", "value": "noir"}
    last = Step("end", type="python")
    sandbox.add_workflow("wf_priced", steps=[Step("c", type="choice", condition=condition, branches=branches), last])
    assert costs(sandbox, clock, {"style": "noir"}, {"style": "pop"}, {}) == [0.1, 0.01, 0.01]
    assert {bill.estimate_usd for bill in sandbox.bills} == {0.1}
    steps = call(sandbox, "GET", DETAILS["current"] + sandbox.bills[1].execution_id)[1]["step_outputs"]
    assert {step_id: step["status"] for step_id, step in steps.items()} == {
        "b": "completed",
        "end": "completed",
        "a": "skipped",
    }
    earlier = condition | {"expression": "$.look.primary"}
    sandbox.add_workflow("wf_priced", steps=[Step("c", type="choice", condition=earlier, branches=branches), last])
    assert set(costs(sandbox, clock, *[{"n": n} for n in range(10)])) == {0.1, 0.01}


def test_estimates_are_reserved_until_executions_end(sandbox: Sandbox, clock: FakeClock) -> None:
    """A request beyond the balance is a 402; the reservation of an ended execution is free again, its cost is paid."""
    sandbox.add_model("writer", cost=USAGE | {"estimate": 0.09})
    sandbox.add_workflow("wf_priced", steps=[Step("write", model="writer")])
    sandbox.change(balance_usd=0.2)
    status, document = trigger(sandbox, {"n": 1}, {"n": 2}, {"n": 3})
    assert (status, document["details"]) == (
        402,
        "the estimated cost ($0.27) exceeds your current balance ($0.20)",
    )
    assert trigger(sandbox, {"n": 1}, {"n": 2})[0] == 202
    status, document = trigger(sandbox, {"n": 3})
    assert (status, "($0.27) of this request and of your in-flight" in document["details"]) == (402, True)
    assert sandbox.billed_usd == 0
    clock.now += 10
    assert trigger(sandbox, {"n": 3})[0] == (202 if sandbox.balance_usd >= 0.09 else 402)
    clock.now += 10
    paid = [bill.cost_usd for bill in sandbox.bills]
    assert round(0.2 - sum(usd for usd in paid if usd is not None), 6) == round(sandbox.balance_usd, 6)


def test_a_failed_execution_is_billed_up_to_the_step_that_failed(sandbox: Sandbox, clock: FakeClock) -> None:
    """Steps after it cost nothing."""
    sandbox.add_model("painter", cost=FIXED)
    sandbox.add_workflow("wf_priced", steps=[Step(name, model="painter") for name in "abc"])
    assert costs(sandbox, clock, {"text": "[fail]"}, {"text": "fine"}) == [0.06, 0.09]


def test_versions_have_steps_of_their_own(sandbox: Sandbox, clock: FakeClock) -> None:
    """A version without steps has those of the workflow."""
    sandbox.add_model("painter", cost=FIXED)
    versions = [
        Version("v1", input_schema={}),
        Version("v2", input_schema={}, steps=(Step("a", model="painter"), Step("b", model="painter"))),
    ]
    sandbox.add_workflow("wf_priced", versions=versions, steps=[Step("a", model="painter")])
    for version in ("v1", "v2"):
        assert trigger(sandbox, {}, version=version)[0] == 202
    clock.now += 10
    assert [bill.cost_usd for bill in sandbox.bills] == [0.03, 0.06]
    shown = call(sandbox, "GET", "/v1/workflows/wf_priced")[1]["versions"]
    assert [len(version["definition"]["steps"]) for version in shown] == [1, 2]


def test_invalid_prices_and_steps_are_refused() -> None:
    """An unknown field, a negative amount, a choice without two branches, another operator."""
    for cost in ({"price": 1}, {"amount": -1}, {"type": "free"}, {"rows": [{"size": 1, "amount": 1}]}):
        with pytest.raises(ValueError, match="model 'm'"):
            Model("m", cost)
    condition = {"expression": "$.inputs.a", "operator": "equals", "value": 1}
    with pytest.raises(ValueError, match="other branches"):
        Step("c", type="choice", condition=condition, branches=((Step("a"),),))
    with pytest.raises(ValueError, match="other branches"):
        Step("a", branches=((Step("b"),),))
    with pytest.raises(ValueError, match="'equals' only"):
        Step("c", type="choice", condition=condition | {"operator": "in"}, branches=((Step("a"),), ()))
