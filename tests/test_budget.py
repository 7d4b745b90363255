"""What `max_cost=` reserves and gives back: the budget alone, runs on a fake transport, and a run that is killed."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.engine.budget import ELSEWHERE, NO_COSTS, Budget, Limits
from eachlabs_frames.models import COMPLETED, FAILED, Batch, Fault, Outcome, Request
from eachlabs_frames.results import Results
from eachlabs_frames.sandbox import Fault as SandboxFault
from eachlabs_frames.sandbox import Sandbox, Step
from tests.fakes import FakeTransport, ManualClock, accepted, inputs_of, reply, runner


def settle(results: Results, row: int, cost: float | None, status: str = COMPLETED) -> None:
    """Let the execution of a row end."""
    results.replace(Outcome(row, status, execution_id=f"e{row}", cost=cost))


def test_what_was_not_used_is_given_back() -> None:
    """Each row reserves the most that it may cost; the next fits when the cost of an earlier one is known."""
    results = Results(10)
    budget = Budget(1.0, price_of=lambda _: Limits(0.1, 0.4))
    assert budget.reserve(range(10)) == 2
    budget.keep([0, 1])
    assert budget.may_be_released(2)
    assert not budget.settle(results)
    settle(results, 0, 0.15)
    assert budget.settle(results)
    assert budget.reserve(range(2, 10)) == 1
    assert budget.stop_reason(3) == (
        "max_cost=1 would be exceeded: $0.95 is spent or in flight, and another execution may cost $0.40"
    )


def test_rows_that_created_nothing_reserve_nothing() -> None:
    """And with exact prices no wait can help."""
    budget = Budget(0.3, price_of=lambda _: Limits(0.1, 0.1))
    assert budget.reserve(range(5)) == 3
    assert not budget.may_be_released(3)
    budget.release([1, 2])
    assert budget.reserve(range(3, 9)) == 2


def test_a_row_that_is_sent_again_is_reserved_for_twice() -> None:
    """Its first response was lost: both may have been billed."""
    budget = Budget(0.3, price_of=lambda _: Limits(0.1, 0.1))
    assert budget.reserve([0]) == 1
    budget.keep([0])
    assert budget.reserve([0]) == 1
    budget.keep([0])
    assert budget.reserve([1, 2]) == 1


def test_a_row_without_a_price_reserves_the_upper_end_of_the_history() -> None:
    """The 95th percentile of the known costs; those of the run itself count too."""
    results = Results(40)
    budget = Budget(10.0, costs=[0.1] * 19 + [0.5, 5.0])
    assert budget.reserve(range(40)) == 20
    budget.keep(range(20))
    settle(results, 0, 9.0)
    budget.settle(results)
    assert budget.reserve([20]) == 0


def test_an_unknown_cost_is_learned_from_one_row() -> None:
    """A failure whose cost is not stated teaches nothing: another row is tried, ten in all."""
    results = Results(40)
    budget = Budget(5.0)
    for row in range(10):
        assert budget.reserve([row, row + 1]) == 1
        assert budget.reserve([row + 1]) == 0
        budget.keep([row])
        settle(results, row, None, FAILED)
        assert budget.settle(results)
    assert budget.reserve([20]) == 0
    assert budget.stop_reason(20) == NO_COSTS
    learned = Budget(5.0)
    learned.reserve([0])
    learned.keep([0])
    settle(results, 0, 0.1)
    learned.settle(results)
    assert learned.reserve(range(1, 40)) == 10
    assert learned.is_learning


def test_executions_that_no_row_has_count() -> None:
    """Those of rows that are not in the frame, or that were superseded before their cost was known."""
    budget = Budget(1.0, spent=0.2, open_=[ELSEWHERE, ELSEWHERE], price_of=lambda _: Limits(0.1, 0.1))
    assert budget.reserve(range(10)) == 6


# -- runs on a fake transport -----------------------------------------------------------------------------------------


class Platform:
    """Accepts, refuses, splits and loses requests at random, and bills the executions that it creates."""

    def __init__(self, seed: int, price: Callable[[int], tuple[float, float]]) -> None:
        self.random = random.Random(seed)
        self.price = price
        self.billed = 0.0
        self.costs: dict[str, float] = {}
        self.lost = False

    def answer(self, request: Request) -> Any:
        """Return the answer to a trigger."""
        draw = self.random.random()
        if draw < 0.1:
            return reply(429, {"error": "too many requests"}, retry_after="0")
        if draw < 0.2:
            return reply(400, {"error": "invalid"})
        answer = accepted(request)
        import orjson

        for entry, sent in zip(orjson.loads(answer.body)["executions"], inputs_of(request), strict=True):
            low, high = self.price(sent["n"])
            cost = low + (high - low) * self.random.random()
            self.costs[entry["execution_id"]] = cost
            self.billed += cost
        if draw < 0.3:
            return Fault(True, "the connection was reset")
        return answer


def simulate(seed: int, price: Callable[[int], tuple[float, float]], published: bool, max_cost: float) -> float:
    """Run 200 rows twice, as a killed run and its resumption, and return what the platform has billed."""
    platform = Platform(seed, price)
    results = Results(200)
    clock = ManualClock()

    async def poll() -> None:
        for row in range(200):
            execution_id = results.execution_id[row]
            if execution_id in platform.costs and results.status[row] != COMPLETED and platform.random.random() < 0.5:
                settle_id = platform.costs[execution_id]
                results.merge(Outcome(row, COMPLETED, execution_id=execution_id, cost=settle_id))

    def price_of(position: int) -> Limits | None:
        if not published:
            return None
        lows, highs = zip(*map(price, range(200)), strict=True)
        return Limits(min(lows), max(highs)) if position == ELSEWHERE else Limits(*price(position))

    async def call(stop_after: int | None) -> None:
        spent, open_ = results.paid()
        history = [] if published else [sum(price(row)) / 2 for row in range(0, 200, 7)]
        budget = Budget(max_cost, spent=spent, open_=open_, costs=history, price_of=price_of)
        transport = FakeTransport(platform.answer)
        stop = asyncio.Event()

        def answer(request: Request) -> Any:
            if stop_after is not None and len(transport.sent) >= stop_after:
                stop.set()  # the process is told to end: what is in flight is still answered
            return platform.answer(request)

        transport._answers = answer
        made = runner(
            results, transport=transport, clock=clock, workers=platform.random.choice([1, 4]), budget=budget, poll=poll
        )
        rows = [row for row in range(200) if results.execution_id[row] is None and results.status[row] == "pending"]
        batches = [Batch(tuple(part), tuple(b'{"n":%d}' % row for row in part)) for part in cut(rows)]
        await made.run(iter(batches), canary=False, stop=stop)

    asyncio.run(call(platform.random.randint(1, 8)))
    asyncio.run(call(None))
    return platform.billed


def cut(rows: list[int]) -> list[list[int]]:
    """Return rows in batches of ten."""
    return [rows[start : start + 10] for start in range(0, len(rows), 10)]


@pytest.mark.parametrize("seed", range(12))
def test_exact_prices_are_never_passed(seed: int) -> None:
    """Whatever is refused, split, lost and resumed: what the platform bills is at most `max_cost`."""
    draw = random.Random(seed)
    tiers = [round(draw.uniform(0.001, 0.3), 4) for _ in range(3)]
    max_cost = draw.uniform(0.2, 1.0) * 100 * sum(tiers) / 3

    def price(row: int) -> tuple[float, float]:
        return tiers[row * 7 % 3], tiers[row * 7 % 3]

    billed = simulate(seed, price, True, max_cost)
    assert billed <= max_cost * (1 + 1e-9)
    assert billed > 0.5 * max_cost - 10 * max(tiers)


@pytest.mark.parametrize("seed", range(6))
def test_a_published_range_is_never_passed_either(seed: int) -> None:
    """The upper ends are reserved, and what is given back is spent."""
    billed = simulate(seed, lambda row: (0.01, 0.05 + row % 5 / 100), True, 3.0)
    assert 1.0 < billed <= 3.0 * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_a_history_is_passed_by_less_than_a_batch(seed: int) -> None:
    """What is reserved is a high percentile, so that only the last rows can cost more than is left."""
    billed = simulate(seed, lambda row: (0.01, 0.05), False, 3.0)
    assert billed <= 3.0 + 10 * 0.05


# -- the whole way ----------------------------------------------------------------------------------------------------

TIERS = {"depends_on": ["size"], "rows": [{"size": "1K", "amount": 0.02}, {"size": "4K", "amount": 0.08}]}

KILLED = """
import os, sys
import pandas as pd
import eachlabs_frames as ef

def watch(event):
    if event.accepted >= 20:
        os._exit(9)

frame = pd.read_json(sys.argv[1], orient="records")
frame.eachlabs.bulk_trigger("wf_tiers", run="killed", max_cost=2.0, max_concurrency=2, progress=watch)
"""


def test_a_killed_run_and_its_resumption_never_pass_exact_prices(
    sandbox: Sandbox, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows in flight at the kill are priced by their own inputs; a lost answer and a refusal come on top."""
    sandbox.add_model("painter", cost=TIERS)
    steps = (Step("draw", model="painter", params={"size": "{{inputs.size}}"}),)
    sandbox.add_workflow("wf_tiers", steps=steps, input_schema={"type": "object"})
    sandbox.change(hold=True)
    frame = pd.DataFrame({"prompt": [f"p{row}" for row in range(60)], "size": ["1K", "4K", "4K"] * 20})
    frame.to_json(tmp_path / "frame.json", orient="records")
    monkeypatch.setenv("EACHLABS_API_KEY", sandbox.api_key)
    monkeypatch.setenv("EACHLABS_BASE_URL", sandbox.base_url)
    script = textwrap.dedent(KILLED)
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "frame.json")], timeout=120, check=False)
    assert ended.returncode == 9
    before = sandbox.accepted_count()
    assert 20 <= before < 60
    ef.configure(settle_window=0.2)
    sandbox.faults(SandboxFault("lost_answer", at={1}), SandboxFault("rate_limit", at={2}, retry_after=0))
    frame.eachlabs.bulk_trigger("wf_tiers", run="killed", max_cost=2.0, max_concurrency=1)
    sandbox.change(hold=False)
    sandbox.release()
    out = ef.load_run("killed").eachlabs.wait()
    assert sandbox.accepted_count() > before
    assert 1.0 < sandbox.billed_usd <= 2.0
    assert out.eachlabs.bill()["cost"].sum() == pytest.approx(sandbox.billed_usd, abs=1e-6)
    assert sandbox.duplicates() == {}


def test_a_run_waits_for_what_is_given_back(sandbox: Sandbox) -> None:
    """Rows by usage reserve the most that they may cost; more are sent as their costs become known."""
    sandbox.add_model("writer", cost={"type": "usage_based", "min": 0.01, "max": 0.10}, billed_usd=(0.01, 0.02))
    sandbox.add_workflow("wf_usage", steps=(Step("tell", model="writer"),), input_schema={"type": "object"})
    frame = pd.DataFrame({"prompt": [f"p{row}" for row in range(40)]})
    said = []
    out = frame.eachlabs.bulk_trigger(
        "wf_usage", max_cost=0.5, wait=True, progress=lambda event: said.append(event.waiting_for)
    )
    assert (out["status"] == COMPLETED).sum() > 20
    assert 0.38 < sandbox.billed_usd <= 0.5
    assert "executions to end: max_cost= reserves more for them than they may cost" in said
