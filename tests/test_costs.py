"""What a run may cost, and what the account has left: `max_cost=`, a 402, and what is shown of it."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.api.reader import watch_balance
from eachlabs_frames.engine.budget import Budget, Limits
from eachlabs_frames.engine.events import EventEmitter
from eachlabs_frames.frames.calls import Calls
from eachlabs_frames.frames.progress_bar import describe
from eachlabs_frames.models import Event
from eachlabs_frames.money import format_usd
from eachlabs_frames.results import Results
from eachlabs_frames.sandbox import Fault, Sandbox
from tests.fakes import FakeTransport, ManualClock, reply

from .waiting import until

WF = "wf_abc123"

AMOUNTS = [
    (0, "$0.00"),
    (0.01, "$0.01"),
    (0.1, "$0.10"),
    (0.1 + 0.2, "$0.30"),
    (0.0123, "$0.0123"),
    (0.0123456, "$0.01235"),
    (0.00042, "$0.00042"),
    (0.0000012, "$0.0000012"),
    (0.99996, "$1.00"),
    (1.005, "$1.01"),
    (12.125, "$12.13"),
    (99.994, "$99.99"),
    (99.996, "$100"),
    (124.5, "$125"),
    (1234567.891, "$1,234,568"),
    (-1.25, "\N{MINUS SIGN}$1.25"),
]
"""Amounts in USD and their text, in Python and in the browser."""


@pytest.fixture(autouse=True)
def _pays_again() -> None:
    """What is paid for here is paid for before, to make its cost known."""
    ef.configure(rerun_guard=None)


def frame(size: int) -> pd.DataFrame:
    """Make rows of different prompts."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(size)]})


def test_a_run_stops_before_the_batch_that_would_pass_max_cost(sandbox: Sandbox) -> None:
    """The cost is known from the workflow's listing: of 40 rows at 0.01 USD, 25 fit into 0.25, and not one more."""
    frame(3).eachlabs.bulk_trigger(WF, wait=True)
    out = frame(40).eachlabs.bulk_trigger(WF, max_cost=0.25)
    assert out["status"].value_counts().to_dict() == {"queued": 25, "pending": 15}
    assert sandbox.accepted_count() == 28
    assert out["error"].dropna().str.contains("max_cost=0.25 would be exceeded").all()


def test_what_earlier_calls_of_the_run_have_cost_counts(sandbox: Sandbox) -> None:
    """The limit is the run's: called again it sends nothing more, and with a higher one it goes on."""
    frame(3).eachlabs.bulk_trigger(WF, wait=True)
    frame(40).eachlabs.bulk_trigger(WF, run="one", max_cost=0.25)
    again = frame(40).eachlabs.bulk_trigger(WF, run="one", max_cost=0.25)
    assert sandbox.accepted_count() == 28
    assert again["status"].value_counts().to_dict() == {"queued": 25, "pending": 15}
    frame(40).eachlabs.bulk_trigger(WF, run="one", max_cost=0.30)
    assert sandbox.accepted_count() == 33
    more = frame(40).eachlabs.bulk_trigger(WF, run="one")
    assert sandbox.accepted_count() == 43
    assert more["execution_id"].is_unique


def test_a_single_row_goes_first_where_no_cost_is_known(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """It says so, waits until its execution has ended, and then one batch until more costs are known."""
    with caplog.at_level(logging.WARNING, "eachlabs_frames"):
        out = frame(40).eachlabs.bulk_trigger(WF, max_cost=0.25)
    assert "this workflow's cost is not known yet: one row is sent first" in caplog.text
    assert sandbox.accepted_count() == 25
    assert out["status"].isin(["pending"]).sum() == 15
    assert out.loc[:10, "status"].tolist() == ["completed"] * 11


def test_a_first_row_that_is_refused_teaches_nothing(sandbox: Sandbox) -> None:
    """The next one goes first then."""
    sandbox.faults(Fault("bad_request", at=range(1, 11)))
    out = frame(12).eachlabs.bulk_trigger(WF, max_cost=1.0, max_concurrency=1)
    assert out["status"].tolist() == ["failed"] * 10 + ["completed", "queued"]


def test_costs_that_the_api_never_states_stop_the_run_after_the_first_row() -> None:
    """A limit that cannot be held is not held by guessing."""
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0), cost_shape="none") as sandbox:
        out = frame(30).eachlabs.bulk_trigger(WF, max_cost=5)
        assert sandbox.accepted_count() == 1
    assert out["error"].dropna().str.contains("max_cost= cannot be enforced").all()
    assert (out["status"] == "pending").sum() == 29


def test_a_lost_answer_counts_as_paid() -> None:
    """It may be billed, whatever the listing shows."""
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0)) as sandbox:
        ef.configure(settle_window=0.2)
        frame(3).eachlabs.bulk_trigger(WF, wait=True)
        sandbox.faults(Fault("error_before", at={1}))
        out = frame(40).eachlabs.bulk_trigger(WF, max_cost=0.25, max_concurrency=1)
        assert sandbox.accepted_count() == 3 + 15
    assert out["status"].value_counts().to_dict() == {"queued": 15, "unknown": 10, "pending": 15}


def test_refused_rows_cost_nothing(sandbox: Sandbox) -> None:
    """What was reserved for them is given back, and others are sent for it."""
    frame(3).eachlabs.bulk_trigger(WF, wait=True)
    sandbox.faults(Fault("rate_limit", at={2, 3}, retry_after=0))
    out = frame(25).eachlabs.bulk_trigger(WF, max_cost=0.25, max_concurrency=1)
    assert out["status"].tolist() == ["queued"] * 25


@pytest.mark.parametrize("cost", [0, -1, float("nan"), float("inf"), "5", True])
def test_an_invalid_max_cost_is_refused(sandbox: Sandbox, cost: object) -> None:
    """Before anything is sent."""
    with pytest.raises(ef.ConfigurationError, match="max_cost must be a positive number of USD"):
        frame(2).eachlabs.bulk_trigger(WF, max_cost=cost)
    assert sandbox.accepted_count() == 0


def test_after_a_402_the_same_call_goes_on(sandbox: Sandbox) -> None:
    """Topped up, the same call with the same run sends the rest, and nothing twice."""
    sandbox.change(balance_usd=0.20)
    out = frame(50).eachlabs.bulk_trigger(WF, run="one", max_concurrency=2)
    assert (out["status"] == "pending").sum() == 30
    assert out["error"].dropna().str.contains(r"insufficient balance: the estimated cost \(\$0.10\) exceeds").all()
    sandbox.top_up(1.0)
    again = frame(50).eachlabs.bulk_trigger(WF, run="one")
    assert again["status"].isin(["queued", "completed"]).all()
    assert sandbox.accepted_count() == 50
    assert sandbox.duplicates() == {}


@pytest.mark.parametrize(
    ("wanted", "max_cost", "spent", "open_", "fits"),
    [(10, 1.0, 0.0, 0, 10), (10, 1.0, 0.95, 0, 0), (10, 1.0, 0.5, 2, 3), (10, 0.1, 0.0, 0, 1), (10, 0.3, 0.0, 0, 3)],
)
def test_a_budget_counts_what_is_spent_and_what_is_under_way(
    wanted: int, max_cost: float, spent: float, open_: int, fits: int
) -> None:
    """At 0.1 USD each; ten times 0.1 is 1.0."""
    budget = Budget(max_cost, spent=spent, open_=[-1] * open_, costs=[0.1] * 3)
    assert budget.reserve(range(wanted)) == fits
    priced = Budget(max_cost, spent=spent, open_=[-1] * open_, price_of=lambda _: Limits(0.1, 0.1))
    assert priced.reserve(range(wanted)) == fits


def test_costs_of_zero_do_not_count() -> None:
    """Executions that were free (credits, failures) are no licence: one row goes first."""
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0), cost_usd=0.0) as sandbox:
        frame(12).eachlabs.bulk_trigger(WF, wait=True)
        sandbox.change(cost_usd=1.0)
        out = frame(40).eachlabs.bulk_trigger(WF, max_cost=15)
        assert sandbox.accepted_count() == 12 + 15
    assert (out["status"] == "pending").sum() == 25


def test_a_first_row_whose_answer_is_lost_for_good_stops_the_run(sandbox: Sandbox) -> None:
    """It may be billed, and its cost is not known: no second row goes first."""
    ef.configure(settle_window=0.3)
    sandbox.change(listing_lag=1e9)
    sandbox.faults(Fault("lost_answer"))
    out = frame(60).eachlabs.bulk_trigger(WF, max_cost=0.05)
    assert sandbox.accepted_count() == 1
    assert out["status"].value_counts().to_dict() == {"unknown": 1, "pending": 59}


def test_a_recovered_first_row_teaches_the_cost(sandbox: Sandbox) -> None:
    """What was adopted ends like any other execution."""
    sandbox.faults(Fault("lost_answer", at={1}))
    out = frame(40).eachlabs.bulk_trigger(WF, max_cost=0.25)
    assert sandbox.accepted_count() == 25
    assert out["execution_id"].notna().sum() == 25


def test_what_was_triggered_again_is_paid_all_the_same(sandbox: Sandbox) -> None:
    """The run's limit counts the executions that rows had before."""
    frame(3).eachlabs.bulk_trigger(WF, wait=True)
    for _ in range(4):
        frame(10).eachlabs.bulk_trigger(WF, run="one", retrigger=True, max_cost=0.20, wait=True)
    assert sandbox.accepted_count() == 3 + 20


def test_a_preview_states_what_the_rows_would_cost(sandbox: Sandbox) -> None:
    """In its attrs: rows, requests, cost and balance; a row with a problem is not counted."""
    sandbox.change(balance_usd=5.0)
    frame(2).eachlabs.bulk_trigger(WF, wait=True)
    rows = pd.concat([frame(24), pd.DataFrame({"prompt": [None]})])
    said = rows.eachlabs.preview(WF).attrs["eachlabs_preview"]
    amounts = {name: said.pop(name) for name in ("cost_usd", "cost_low_usd", "cost_high_usd", "balance_usd")}
    assert list(amounts.values()) == pytest.approx([0.24, 0.24, 0.24, 4.98])
    assert said.pop("seconds") >= 0
    assert said.pop("time_from").startswith("the mean duration of 2 settled executions")
    assert said == {"rows": 24, "requests": 3, "cost_from": "2 settled executions of this version"}


def test_a_preview_without_prices_works() -> None:
    """A balance that cannot be read (503 is not zero), and a workflow that has never run."""
    with ef.sandbox.start(faults=[Fault("error_before", on="balance", status=503)]):
        out = frame(2).eachlabs.preview(WF)
    assert out["problem"].isna().all()
    assert out.attrs["eachlabs_preview"]["balance_usd"] is None
    assert out.attrs["eachlabs_preview"]["cost_usd"] is None


def test_a_preview_without_a_workflow_counts_and_requests_nothing(sandbox: Sandbox) -> None:
    """Rows and requests; no cost is guessed, and no journal is made."""
    journal = Path(os.environ["EACHLABS_JOURNAL"])
    said = ef.sweep(prompt=["a", "b"], seed=range(6)).eachlabs.preview().attrs["eachlabs_preview"]
    assert said == {"rows": 12, "requests": 2, "cost_usd": None, "balance_usd": None}
    assert sandbox.requests == ()
    assert frame(2).eachlabs.preview(WF).attrs["eachlabs_preview"]["cost_usd"] is None
    assert not journal.exists()


def test_where_the_api_knows_no_cost_the_journal_may(sandbox: Sandbox) -> None:
    """The mean of completed executions of this version on this server; the preview states its source."""
    frame(4).eachlabs.bulk_trigger(WF, wait=True)
    sandbox.change(cost_usd=0.03)
    out = frame(4).eachlabs.bulk_trigger(WF, run="dear", retrigger=True, wait=True)
    pd.DataFrame({"prompt": ["b [fail]"]}).eachlabs.bulk_trigger(WF, wait=True)
    frame(2).eachlabs.bulk_trigger("wf_images", wait=True)
    sandbox.change(cost_shape="none")
    said = frame(30).eachlabs.preview(WF).attrs["eachlabs_preview"]
    assert said["cost_usd"] == pytest.approx(30 * 0.02)
    assert said["cost_from"] == "8 settled executions of this version"
    asked = len(sandbox.requests)
    own = out.eachlabs.preview().attrs["eachlabs_preview"]
    assert (own["rows"], own["cost_usd"]) == (4, pytest.approx(4 * 0.02))
    assert len(sandbox.requests) == asked
    assert frame(3).eachlabs.preview("wf_text").attrs["eachlabs_preview"]["cost_usd"] is None
    assert frame(3).eachlabs.preview().attrs["eachlabs_preview"]["cost_usd"] is None
    other = frame(3).eachlabs.preview(WF, version_id="v1").attrs["eachlabs_preview"]
    assert "cost_from" not in other
    sandbox.change(cost_shape="number")
    ef.configure(journal=os.environ["EACHLABS_JOURNAL"] + ".other")
    both = frame(3).eachlabs.preview(WF).attrs["eachlabs_preview"]
    assert both["cost_from"] == "8 settled executions of this version"


def test_the_newest_runs_tell_the_cost(sandbox: Sandbox) -> None:
    """A hundred executions are enough: what was paid long before does not count."""
    frame(20).eachlabs.bulk_trigger(WF, wait=True)
    sandbox.change(cost_usd=0.05)
    frame(100).eachlabs.bulk_trigger(WF, run="new", wait=True)
    sandbox.change(cost_shape="none")
    said = frame(1).eachlabs.preview(WF).attrs["eachlabs_preview"]
    assert said["cost_usd"] == pytest.approx(0.05)
    assert said["cost_from"] == "100 settled executions of this version"


def test_another_servers_costs_are_not_this_ones(sandbox: Sandbox) -> None:
    """Nor are those of a journal that is off, or that cannot be read."""
    out = frame(2).eachlabs.bulk_trigger(WF, wait=True)
    assert out.eachlabs.preview().attrs["eachlabs_preview"]["cost_usd"] == pytest.approx(0.02)
    ef.configure(base_url=sandbox.legacy_base_url)
    assert out.eachlabs.preview().attrs["eachlabs_preview"]["cost_usd"] is None
    with pytest.warns(UserWarning, match="the journal is off"):
        ef.configure(base_url=sandbox.base_url, journal=None)
    assert out.eachlabs.preview().attrs["eachlabs_preview"]["cost_usd"] is None


def test_a_broken_journal_does_not_hinder_a_preview(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the cost is not known."""
    out = frame(2).eachlabs.bulk_trigger(WF, wait=True)
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"no journal" * 1_000)
    ef.configure(journal=broken)
    assert out.eachlabs.preview().attrs["eachlabs_preview"]["cost_usd"] is None
    assert "the costs of earlier executions cannot be read from the journal" in caplog.text


@pytest.mark.parametrize(("amount", "expected"), AMOUNTS)
def test_amounts_have_at_most_four_significant_digits(amount: float, expected: str) -> None:
    """Cents up to $100, whole dollars from there, and no zeros behind the cents."""
    assert format_usd(amount) == expected


@pytest.mark.parametrize("amount", [1e-12, 5e-324, 1e15, 1.7e308, float("inf")])
def test_extreme_amounts_are_short(amount: float) -> None:
    """They are no reason to raise, nor to fill a line."""
    assert format_usd(amount).startswith("$")
    assert len(format_usd(amount)) < 20


def test_the_balance_is_in_the_progress_line(sandbox: Sandbox) -> None:
    """Where the API gives it, an observer hears of it and the line shows it."""
    sandbox.change(balance_usd=5.0, latency=0.05)
    events: list[Event] = []
    frame(60).eachlabs.bulk_trigger(WF, progress=events.append, max_concurrency=1)
    last = events[-1]
    assert last.balance_usd == pytest.approx(5.0, abs=0.6)
    assert "balance $" in describe(last)


def test_the_last_balance_is_that_after_the_executions(sandbox: Sandbox) -> None:
    """A run in the background reads it once more at its end: its dashboard shows no older one."""
    sandbox.change(balance_usd=5.0, hold=True)
    events: list[Event] = []
    run = frame(12).eachlabs.start(WF, progress=events.append)
    kinds = lambda: [event.kind for event in events]  # noqa: E731
    until(lambda: "tracking" in kinds() and "balance" in kinds()[kinds().index("tracking") :])
    sandbox.change(balance_usd=3.0, hold=False)
    sandbox.release()
    run.result()
    assert events[-1].balance_usd == pytest.approx(3.0 - 0.12)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("rate_limit", on="balance", times=1, retry_after=0),
        Fault("error_before", on="balance", times=1, status=503),
    ],
)
def test_a_balance_that_is_busy_is_read_again_and_may_be_negative(fault: Fault) -> None:
    """429 and 503 are not zero, and a debt is shown as it is: in a preview, and in a run's events."""
    with ef.sandbox.start(balance_usd=-1.25, faults=[fault]) as sandbox:
        made = frame(2).eachlabs.preview(WF).attrs["eachlabs_preview"]
        assert made["balance_usd"] == -1.25
        events: list[Event] = []
        out = frame(5).eachlabs.bulk_trigger(WF, progress=events.append)
        assert out["status"].eq("pending").all()
        assert sandbox.accepted_count() == 0
    assert {event.balance_usd for event in events} <= {None, -1.25}


class Balances:
    """An observer's reporter and a clock: each sleep is recorded, and the loop ends with the answers."""

    def __init__(self, answers: list[Any]) -> None:
        self.transport = FakeTransport([*answers, reply(404, {"error": "no such route"})])
        self.clock = ManualClock()
        self.events: list[Event] = []

    def watch(self) -> list[float | None]:
        reporter = EventEmitter(self.events.append, Results(1), total=1)
        watching = watch_balance(reporter.balance, transport=self.transport, clock=self.clock, dialect="current")
        asyncio.run(watching)
        return [event.balance_usd for event in self.events]


def test_an_unreadable_balance_is_unknown_and_requested_again() -> None:
    """After a few tries it is None, never zero; the next read shows it again, and a route that is gone ends it."""
    busy, gone = reply(429, {"error": "slow"}, retry_after="1"), reply(503, {"error": "down"})
    trial = Balances([reply(200, {"balance_usd": 5.0}), busy, gone, busy, reply(200, {"balance_usd": -2.5})])
    assert trial.watch() == [5.0, None, -2.5, None]
    assert trial.clock.slept == [20.0, 1.0, 1.0, 20.0, 20.0]


@pytest.mark.parametrize("asked", ["999999999", "Thu, 31 Dec 2099 23:59:59 GMT"])
def test_a_long_retry_after_does_not_delay_the_balance(asked: str) -> None:
    """It is unknown at once, and requested again at the usual interval."""
    trial = Balances([reply(429, {"error": "slow"}, retry_after=asked), reply(200, {"balance_usd": 1.0})])
    assert trial.watch() == [1.0, None]
    assert max(trial.clock.slept) == 20.0


def test_executions_in_flight_hold_the_balance_until_they_end(tmp_path: Path) -> None:
    """A 402 about them waits: they are polled, what they reserve comes back, and every row is sent once."""
    with ef.sandbox.start(
        queue_seconds=0.0, run_seconds=(0.1, 0.3), balance_usd=3.0, estimate_usd=0.1, cost_usd=0.01
    ) as sandbox:
        events: list[Event] = []
        out = frame(60).eachlabs.bulk_trigger(WF, progress=events.append, max_cost=5.0)
        assert out["execution_id"].notna().all()
        assert (sandbox.accepted_count(), sandbox.duplicates()) == (60, {})
        assert len([one for one in sandbox.requests if one.route == "trigger" and one.status == 402]) >= 1
    assert any("releases their part of the balance" in (event.waiting_for or "") for event in events)


@pytest.mark.parametrize(("cap", "most"), [(10, 9), (2, 33)])
def test_sixty_rows_take_few_requests_against_a_cap(cap: int, most: int) -> None:
    """The cap's own text is enough: 6 requests are needed for 10 at once, and 30 for 2."""
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.1), account_cap=cap) as sandbox:
        out = frame(60).eachlabs.bulk_trigger(WF, progress=False)
        assert out["execution_id"].notna().all()
        assert sum(request.route == "trigger" for request in sandbox.requests) <= most


def test_the_balance_is_not_requested_without_an_observer(sandbox: Sandbox) -> None:
    """It has a rate limit for the whole organization."""
    frame(5).eachlabs.bulk_trigger(WF, progress=False)
    assert not [request for request in sandbox.requests if request.route == "balance"]


# -- what was paid for executions that were superseded ---------------------------------------------------------------


def billed(sandbox: Sandbox) -> float:
    """Return what the executions cost that the sandbox has accepted, once all have ended: 0.01 USD each."""
    return 0.01 * len(sandbox.accepted)


def journal_off() -> None:
    """Turn the journal off, which warns."""
    with pytest.warns(UserWarning, match="the journal is off"):
        ef.configure(journal=None)


@pytest.mark.parametrize("journal", [True, False])
def test_retries_count_what_superseded_executions_cost(sandbox: Sandbox, journal: bool) -> None:
    """After three retries all that was paid is in runs(), summary(), the dashboard and attrs."""
    if not journal:
        journal_off()
    sandbox.change(failure_rate=0.4)
    out = frame(20).eachlabs.bulk_trigger(WF, wait=True)
    for _ in range(3):
        out = out.eachlabs.retry_failed(wait=True)
    executions, paid = len(sandbox.accepted), billed(sandbox)
    assert executions > 20
    meta = out.attrs["eachlabs"]
    assert meta["superseded"] == executions - 20
    assert meta["superseded_cost"] + out["cost"].sum() == pytest.approx(paid)
    summary = out.eachlabs.summary()
    assert summary["total"].sum() == 20
    assert summary["superseded"].sum() == executions - 20
    assert summary["cost"].sum() == pytest.approx(paid)
    assert summary["bulk_id"].isna().tolist() == [False] * (len(summary) - 1) + [True]
    head = Calls(out).head()
    assert (head["superseded"], head["superseded_cost_usd"]) == (executions - 20, meta["superseded_cost"])
    if journal:
        line = ef.runs().iloc[0]
        assert (line["rows"], line["executions"]) == (20, executions)
        assert line["cost"] == pytest.approx(paid)
        loaded = ef.load_run(line["run"])
        assert loaded.attrs["eachlabs"]["superseded"] == executions - 20
        assert loaded.eachlabs.summary()["cost"].sum() == pytest.approx(paid)


def test_a_row_with_a_new_input_under_its_key_was_paid_twice(sandbox: Sandbox) -> None:
    """The rows that `runs` counts are the latest of each key; what is paid is more."""
    rows = pd.DataFrame({"prompt": ["a", "b"], "sku": ["x", "y"]})
    rows.eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku", wait=True)
    rows.loc[0, "prompt"] = "c"
    rows.iloc[:1].eachlabs.bulk_trigger(WF, ["prompt"], run="one", key="sku", retrigger=True, wait=True)
    line = ef.runs().iloc[0]
    assert (line["rows"], line["executions"]) == (2, 3)
    assert line["cost"] == pytest.approx(billed(sandbox))
    assert ef.load_run("one").attrs["eachlabs"]["superseded"] == 1


@pytest.mark.parametrize("journal", [True, False])
def test_retry_failed_stops_at_max_cost(sandbox: Sandbox, journal: bool) -> None:
    """What was paid before counts: of ten failed rows at 0.01 USD, five more fit into 0.15 USD."""
    if not journal:
        journal_off()
    pd.DataFrame({"prompt": ["x", "y"]}).eachlabs.bulk_trigger(WF, wait=True)  # which teaches what one costs
    sandbox.change(failure_rate=1.0)
    out = frame(10).eachlabs.bulk_trigger(WF, wait=True)
    out.eachlabs.retry_failed(wait=True, max_cost=0.15)
    assert len(sandbox.accepted) == 2 + 15


@pytest.mark.parametrize("journal", [True, False])
def test_superseded_executions_of_unknown_cost_count_toward_max_cost(sandbox: Sandbox, journal: bool) -> None:
    """They run or have run, and may cost as much as others: of ten rows, two more fit into 0.22 USD."""
    if not journal:
        journal_off()
    pd.DataFrame({"prompt": ["x", "y"]}).eachlabs.bulk_trigger(WF, wait=True)  # which teaches what one costs
    sandbox.change(hold=True)
    out = frame(10).eachlabs.bulk_trigger(WF)
    out = out.eachlabs.bulk_trigger(WF, retrigger=True)
    sandbox.change(hold=False)
    sandbox.release()
    out.eachlabs.bulk_trigger(WF, retrigger=True, max_cost=0.22)
    assert len(sandbox.accepted) == 2 + 22


def test_failed_rows_that_are_not_sent_again_are_counted_with_the_reason(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """They keep their execution and its error, so only the log says that they were not sent, and why."""
    frame(1).eachlabs.bulk_trigger(WF, wait=True)  # which teaches what one costs
    sandbox.change(fail_when=lambda inputs: True)
    out = frame(20).eachlabs.bulk_trigger(WF, wait=True)
    with caplog.at_level(logging.WARNING, logger="eachlabs_frames"):
        again = out.eachlabs.retry_failed(max_cost=0.25)
    assert sandbox.accepted_count() == 1 + 20 + 5
    assert (again["execution_id"] == out["execution_id"]).sum() == 15
    assert "15 row(s) were not sent again and keep their earlier execution: max_cost=0.25" in caplog.text


def test_nothing_is_sent_to_learn_a_cost_where_max_cost_is_spent(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """What failed executions have cost is no measure of the next one's cost, but it is spent all the same."""
    sandbox.change(fail_when=lambda inputs: True)
    out = frame(20).eachlabs.bulk_trigger(WF, wait=True)
    with caplog.at_level(logging.WARNING, logger="eachlabs_frames"):
        out.eachlabs.retry_failed(max_cost=0.2)
    assert sandbox.accepted_count() == 20
    assert "max_cost=0.2 would be exceeded: $0.20 is spent" in caplog.text
