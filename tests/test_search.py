"""The search for lost answers: what it adopts, what it gives up, when, and how many requests that costs."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from math import inf
from typing import Any

import orjson
import pytest

import eachlabs_frames as ef
from eachlabs_frames import settings
from eachlabs_frames.aio.backoff import search_delay
from eachlabs_frames.aio.bridge import call
from eachlabs_frames.aio.clock import SystemClock
from eachlabs_frames.api.client import Client
from eachlabs_frames.api.requests import is_filter, trigger_request
from eachlabs_frames.api.responses import next_offset
from eachlabs_frames.api.verdicts import server_time
from eachlabs_frames.engine.recovery.matching import ClockSkew
from eachlabs_frames.engine.recovery.search import RIVALS, LostRequestSearch
from eachlabs_frames.inputs.fingerprints import fingerprint
from eachlabs_frames.journal.base import Claimed, LostRequest
from eachlabs_frames.models import ApiConnection, Batch, Fault, Outcome, Reply, Request, Target, Transport
from tests.fakes import EPOCH, FakeTransport, ManualClock, reply


def fingerprints(inputs: Sequence[Any]) -> list[bytes]:
    """Give each input's fingerprint."""
    return [fingerprint(one) for one in inputs]


def bulk_id(name: str) -> str:
    """Return the id of a bulk operation."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


NOT_FOUND = "not found in the workflow's listing within 30 s of the request"


@dataclass
class Made:
    """One execution of the fake API: `created` and `seen` in seconds of the test's clock."""

    execution_id: str
    bulk_id: str | None
    inputs: Any
    created: float
    seen: float
    version_id: str = "v1"


@dataclass
class Api:
    """A workflow's listing, newest first; lists say no bulk_id, as the API's do not."""

    clock: ManualClock
    skew: float = 0.0
    digits: int = 3
    date: bool = True
    inputs: bool = True
    says_bulk: bool = False
    latency: Callable[[], None] = lambda: None
    made: list[Made] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)
    named: Callable[[str], str] = bulk_id
    asked: list[str] = field(default_factory=list)

    def bulk(
        self, name: str | None, *inputs: Any, at: float = 0.0, lag: float | Sequence[float] = 0.0, version: str = "v1"
    ) -> None:
        lags = [lag] * len(inputs) if isinstance(lag, float | int) else lag
        for place, one in enumerate(inputs):
            made = Made(f"{name}-{place}", name and self.named(name), one, at, at + lags[place], version)
            self.made.append(made)

    def __call__(self, request: Request) -> Reply | Fault:
        query = dict(request.query)
        kind = "details" if "executions/" in request.path else "bulk" if "bulk_id" in query else "page"
        self.asked.append(f"{kind} {request.path.rpartition('/')[2] if kind == 'details' else query.get('offset', 0)}")
        if kind == "bulk" and not is_filter(query["bulk_id"]):
            raise AssertionError(query)
        fault = self.faults.pop(0) if self.faults else None
        if callable(fault):
            fault = fault(kind)
        if fault is not None:
            return fault if isinstance(fault, Fault) else self._dated(fault)
        if kind == "details":
            return self._details(request.path.rpartition("/")[2])
        listed = [
            one for one in self.made if one.seen <= self.clock.time and query.get("bulk_id") in (None, one.bulk_id)
        ]
        listed.sort(key=lambda one: -one.created)
        start = int(query.get("offset", 0))
        return self._dated(reply(200, {"executions": [self._entry(one) for one in listed[start : start + 100]]}))

    def _dated(self, answer: Reply) -> Reply:
        date = {"date": formatdate(int(self.clock.epoch() + self.skew), usegmt=True)} if self.date else {}
        return Reply(answer.status, answer.body, {**answer.headers, **date}, self.clock.epoch())

    def _entry(self, one: Made) -> dict[str, Any]:
        moment = EPOCH + self.clock.offset + one.created + self.skew
        whole = int(moment)
        fraction = f".{int((moment - whole) * 10**self.digits):0{self.digits}d}" if self.digits else ""
        entry = {
            "execution_id": one.execution_id,
            "version_id": one.version_id,
            "status": "running",
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + fraction + "Z",
        }
        if self.inputs:
            entry["inputs"] = one.inputs
        if self.says_bulk:
            entry["bulk_id"] = one.bulk_id
        return entry

    def _details(self, execution_id: str) -> Reply:
        for one in self.made:
            if one.execution_id == execution_id:
                more = {} if one.bulk_id is None else {"bulk_id": one.bulk_id}
                return self._dated(reply(200, {"execution_id": execution_id, "inputs": one.inputs, **more}))
        return self._dated(reply(404, {"error": "execution not found"}))

    def count(self) -> dict[str, int]:
        return dict(Counter(one.split()[0] for one in self.asked))


class Trial:
    """One search over a fake API, with its inputs and everything that it reports."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.api = Api(self.clock, **options)
        self.transport = FakeTransport(self.api)
        self.owned: set[str] = set()
        self.outrun = 0
        self.rivals: Callable[[], dict[bytes, float]] = dict
        self.asked_since: list[float] = []
        self.adopted: dict[int, Outcome] = {}
        self.given_up: dict[int, str] = {}
        self.found_at: dict[int, float] = {}
        self.told: list[int] = []
        self.search = LostRequestSearch(
            Target("wf", "v1"),
            ApiConnection(self.transport, self.clock, "current", 4),
            settle_window=30.0,
            records=self,
            on_count=self.told.append,
        )

    async def claimed(self, since: float) -> Claimed:
        self.asked_since.append(since)
        return Claimed(frozenset(self.owned), self.rivals())

    async def adopt(self, lost: LostRequest, outcomes: Sequence[Outcome]) -> bool:
        if self.outrun:
            self.outrun -= 1
            return False
        for outcome in outcomes:
            assert outcome.position in lost.rows
            assert outcome.position not in self.adopted
            assert outcome.execution_id not in self.owned
            self.adopted[outcome.position] = outcome
            self.found_at[outcome.position] = self.clock.time
            self.owned.add(str(outcome.execution_id))
        return True

    def give_up(self, lost: LostRequest, rows: Sequence[int], reason: str, complete: bool) -> None:
        assert not self.adopted.keys() & set(rows)
        assert not self.given_up.keys() & set(rows)
        self.given_up.update(dict.fromkeys(rows, reason))
        self.found_at.update(dict.fromkeys(rows, self.clock.time))

    def lose(
        self, *inputs: Any, first: int = 0, since: float = -1.0, until: float = 0.0, name: str | None = None
    ) -> None:
        rows = tuple(range(first, first + len(inputs)))
        self.search.add(
            LostRequest(rows, tuple(fingerprints(inputs)), EPOCH + since, EPOCH + until, name and self.api.named(name))
        )

    def run(self, *later: tuple[float, Callable[[], None]], close: bool = True) -> None:
        """Run to the end; `later` happens at its times meanwhile."""

        async def go() -> None:
            stop = asyncio.Event()
            if not later and close:
                self.search.close()
            searching = asyncio.ensure_future(self.search.run(stop))
            for moment, act in later:
                await self.clock.sleep(moment - self.clock.time)
                act()
            self.search.close()
            await searching
            assert len(asyncio.all_tasks()) == 1

        asyncio.run(go())
        assert self.told == [] or self.told[-1] == 0
        assert self.transport.peak <= 4

    def ids(self) -> dict[int, str | None]:
        return {row: outcome.execution_id for row, outcome in self.adopted.items()}


A, B, C = {"seed": 1, "prompt": "a"}, {"seed": 2, "prompt": "b"}, {"seed": 3, "prompt": "c"}


def test_what_was_lost_is_adopted_with_its_ids() -> None:
    """One search: the listing, one execution's details for the bulk_id, and the bulk operation."""
    trial = Trial()
    trial.api.bulk("x", {"prompt": "a", "seed": 1.0}, B, C)
    trial.lose(C, A, B)
    trial.run()
    assert trial.ids() == {0: "x-2", 1: "x-0", 2: "x-1"}
    assert {outcome.bulk_id for outcome in trial.adopted.values()} == {bulk_id("x")}
    assert {outcome.status for outcome in trial.adopted.values()} == {"running"}
    assert trial.given_up == {}
    assert trial.told == [3, 0]
    assert trial.api.count() == {"page": 1, "details": 1, "bulk": 1}


def test_a_listing_with_bulk_ids_saves_the_details() -> None:
    """No API must, and one that does is believed."""
    trial = Trial(says_bulk=True)
    trial.api.bulk("x", A, B)
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    assert trial.api.count() == {"page": 1, "bulk": 1}


@pytest.mark.parametrize("says_bulk", [True, False])
@pytest.mark.parametrize("inputs", [True, False])
@pytest.mark.parametrize("name", [None, "x"])
def test_a_bulk_id_that_is_no_uuid_is_never_a_filter(says_bulk: bool, inputs: bool, name: str | None) -> None:
    """The executions of such a bulk operation are found in the listing itself, whole, and by their details."""
    trial = Trial(says_bulk=says_bulk, inputs=inputs, named=lambda name: f"bulk_{name}")
    trial.api.bulk("other", A, {"prompt": "z"})
    trial.api.bulk("x", A, B, C, at=0.5)
    trial.lose(C, A, B, name=name)
    trial.run()
    assert trial.ids() == {0: "x-2", 1: "x-0", 2: "x-1"}
    assert {outcome.bulk_id for outcome in trial.adopted.values()} == {"bulk_x"}
    assert "bulk" not in trial.api.count()


def test_nothing_is_requested_where_nothing_is_lost() -> None:
    """Closed before anything was lost, a search is over; and a trigger of no rows is none."""
    trial = Trial()
    trial.search.add(LostRequest((), (), EPOCH, EPOCH))
    trial.run()
    assert trial.api.asked == []
    assert trial.told == []


def test_a_listing_that_lags_is_read_again_with_growing_pauses() -> None:
    """After 0.5, 1, 2, 4 and 8 seconds, until it is there."""
    trial = Trial()
    trial.api.bulk("x", A, B, lag=20)
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    assert trial.clock.slept == pytest.approx([0.5, 1, 2, 4, 8, 8])
    assert trial.api.count() == {"page": 7, "details": 1, "bulk": 1}


def test_a_request_not_found_in_the_window_is_given_up() -> None:
    """With a last search at its end, and none after."""
    trial = Trial()
    trial.api.bulk("x", A, B, lag=31)
    trial.lose(A, B)
    trial.run()
    assert trial.adopted == {}
    assert trial.given_up == {0: NOT_FOUND, 1: NOT_FOUND}
    assert trial.clock.time == pytest.approx(30, abs=0.1)


def test_a_part_that_came_first_waits_for_the_rest() -> None:
    """A bulk operation whose executions appear one by one is taken when it is whole."""
    trial = Trial()
    trial.api.bulk("x", A, B, C, lag=[0, 10, 3])
    trial.lose(A, B, C)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1", 2: "x-2"}
    assert 10 <= trial.found_at[0] < 20
    assert trial.api.count()["details"] == 1


@pytest.mark.parametrize("inputs", [True, False])
def test_refused_entries_of_a_lost_answer_are_given_up(inputs: bool) -> None:
    """What is there at the end of the window is adopted, and what is not is named as missing from it."""
    trial = Trial(inputs=inputs)
    trial.api.bulk("x", A, C)
    trial.lose(A, B, C)
    trial.run()
    assert trial.ids() == {0: "x-0", 2: "x-1"}
    assert trial.given_up == {1: f"not among the executions found for bulk operation {bulk_id('x')}"}
    assert trial.found_at[0] == pytest.approx(30, abs=0.1)
    assert trial.api.count()["details"] == (1 if inputs else 2)


def test_omitted_inputs_are_read_from_the_details_once() -> None:
    """However often the listing is read."""
    trial = Trial(inputs=False)
    trial.api.bulk("stranger", {"prompt": "z"}, {"prompt": "y"})
    trial.api.bulk("x", A, B, lag=[0, 5])
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    details = [one for one in trial.api.asked if one.startswith("details")]
    assert sorted(details) == ["details stranger-0", "details stranger-1", "details x-0", "details x-1"]


def test_details_of_another_execution_are_ignored() -> None:
    """A confused proxy: neither its inputs nor its bulk operation are used; the next search requests them again."""
    trial = Trial(inputs=False)
    trial.api.bulk("x", A, B)
    other = reply(200, {"execution_id": "other-0", "inputs": C, "bulk_id": bulk_id("other")})
    trial.api.faults = [None, other, other]
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    assert (
        sorted(one for one in trial.api.asked if one.startswith("details")) == ["details x-0"] * 2 + ["details x-1"] * 2
    )


@pytest.mark.parametrize("skew", [-500.0, -5.0, 5.0, 500.0])
@pytest.mark.parametrize("digits", [0, 6])
def test_a_clock_that_differs_is_allowed_for(skew: float, digits: int) -> None:
    """The header Date says by how much; whole seconds are cut off."""
    trial = Trial(skew=skew, digits=digits)
    trial.api.bulk("x", A, at=-0.9)
    trial.api.bulk("early", A, at=-6)
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}


@pytest.mark.parametrize(("skew", "found"), [(-25.0, True), (25.0, True), (-40.0, False)])
def test_without_a_date_the_margin_is_generous(skew: float, found: bool) -> None:
    """Half a minute to either side."""
    trial = Trial(skew=skew, date=False)
    trial.api.bulk("x", A)
    trial.lose(A)
    trial.run()
    assert trial.ids() == ({0: "x-0"} if found else {})


def test_identical_batches_are_distinguished_by_count() -> None:
    """Three lost at once, two of which took effect: two are adopted, one stays unknown."""
    trial = Trial()
    trial.api.bulk("x", A, A, B, at=-0.5)
    trial.api.bulk("y", A, B, A, at=-0.4, lag=12)
    for first in (0, 3, 6):
        trial.lose(A, A, B, first=first)
    trial.run()
    assert {outcome.bulk_id for row, outcome in trial.adopted.items() if row < 3} == {bulk_id("x")}
    assert {outcome.bulk_id for row, outcome in trial.adopted.items() if row >= 3} == {bulk_id("y")}
    assert trial.given_up == dict.fromkeys((6, 7, 8), NOT_FOUND)
    assert len(set(trial.ids().values())) == 6


def test_a_request_that_another_call_has_adopted_is_searched_for_again() -> None:
    """Another call adopted it after the listing was read: the next search decides again."""
    trial = Trial()
    trial.outrun = 1
    trial.api.bulk("x", A, B)
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    assert trial.given_up == {}


def test_executions_that_a_row_owns_are_never_taken() -> None:
    """Nor their bulk operation, where only one of its members is owned."""
    trial = Trial()
    trial.owned = {"x-1"}
    trial.api.bulk("x", A, B)
    trial.lose(A, B)
    trial.run()
    assert trial.adopted == {}
    assert trial.given_up == {0: NOT_FOUND, 1: NOT_FOUND}
    assert trial.asked_since[0] <= EPOCH - 3
    assert trial.api.count()["details"] == 1  # of the one that is nobody's


@pytest.mark.parametrize("kind", ["version", "alone", "early", "inputs"])
def test_what_is_not_ours_is_left_alone(kind: str) -> None:
    """Another version, no bulk trigger, before the request, other inputs."""
    trial = Trial()
    if kind == "version":
        trial.api.bulk("x", A, version="v2")
    elif kind == "alone":
        trial.api.bulk(None, A)
    elif kind == "early":
        trial.api.bulk("x", A, at=-10)
    else:
        trial.api.bulk("x", {**A, "seed": True})
    trial.lose(A)
    trial.run()
    assert trial.given_up == {0: NOT_FOUND}


def test_a_rival_is_waited_for() -> None:
    """While a request with the same inputs waits for its answer, what is there may be its own."""
    trial = Trial()
    waiting = dict.fromkeys(fingerprints([A]), EPOCH - 1)
    trial.rivals = lambda: waiting if trial.clock.time < 40 else {}
    trial.api.bulk("x", A)
    trial.api.bulk("y", A, at=0.5, lag=35)

    def answered() -> None:
        trial.owned.add("x-0")

    trial.lose(A)
    trial.run((39, answered))
    assert trial.ids() == {0: "y-0"}
    assert trial.found_at[0] >= 40


def test_a_rival_without_a_response_leaves_the_row_unknown() -> None:
    """After one more window; it is never guessed."""
    trial = Trial()
    trial.rivals = lambda: dict.fromkeys(fingerprints([B]), EPOCH)
    trial.api.bulk("x", A, B)
    trial.lose(A, B)
    trial.run()
    assert trial.given_up == {0: RIVALS, 1: RIVALS}
    assert trial.clock.time == pytest.approx(60, abs=0.1)


def test_a_request_sent_after_the_window_is_no_rival() -> None:
    """What it made was created later than anything that was lost."""
    trial = Trial()
    trial.rivals = lambda: dict.fromkeys(fingerprints([A]), EPOCH + 40)
    trial.api.bulk("x", A)
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}


def test_a_named_bulk_operation_is_requested_directly() -> None:
    """An unusable answer named the bulk operation: no page is read, no time compared, no rival feared."""
    trial = Trial()
    trial.rivals = lambda: dict.fromkeys(fingerprints([A]), EPOCH)
    trial.owned = {"x-2"}
    trial.api.bulk("x", B, A, C, at=-3000)
    trial.lose(A, B, name="x")
    trial.run()
    assert trial.ids() == {0: "x-1", 1: "x-0"}
    assert trial.api.count() == {"bulk": 1}


def test_an_owned_execution_is_not_taken_by_name_either() -> None:
    """Some rows of that request were found before: the others get what is left."""
    trial = Trial()
    trial.owned = {"x-0"}
    trial.api.bulk("x", A, A)
    trial.lose(A, name="x")
    trial.run()
    assert trial.ids() == {0: "x-1"}


def test_a_part_waits_for_whoever_may_own_the_whole() -> None:
    """Until the other has found its own; then it is clear whose the part is."""
    trial = Trial()
    trial.api.bulk("x", A, B, at=6)
    trial.api.bulk("y", A, B, C, at=7, lag=29)
    trial.lose(A, B, C, {"seed": 4})
    trial.lose(A, B, C, first=4, since=-1, until=10)
    trial.run()
    assert trial.ids() == {4: "y-0", 5: "y-1", 6: "y-2", 0: "x-0", 1: "x-1"}
    assert trial.given_up == dict.fromkeys((2, 3), f"not among the executions found for bulk operation {bulk_id('x')}")
    assert trial.clock.time < 50


def test_a_name_that_lists_nothing_is_given_up_at_the_end() -> None:
    """A 404 for it is no end of the search: it may lag as well."""
    trial = Trial()
    trial.api.faults = [reply(404, {"error": "no such bulk"})] * 50
    trial.lose(A, name="x")
    trial.run()
    assert trial.given_up == {0: f"bulk operation {bulk_id('x')} lists no such executions within 30 s"}
    assert trial.clock.time == pytest.approx(30, abs=0.1)


def test_an_old_claim_costs_one_search() -> None:
    """After a crash there is nothing to wait for; stretches of time that lie apart are read apart."""
    trial = Trial()
    for number in range(30_000):
        trial.api.bulk(f"s{number}", {"prompt": "s"}, at=-float(number))
    trial.api.bulk("x", A, at=-20_000)
    trial.api.bulk("y", B, at=-9_000)
    trial.lose(A, since=-20_030, until=-19_970)
    trial.lose(B, first=1, since=-9_001, until=-9_000)
    trial.lose(C, first=2, since=-9_001, until=-9_000)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "y-0"}
    assert trial.given_up == {2: NOT_FOUND}
    assert trial.clock.slept == []
    assert trial.api.count()["page"] < 45


@pytest.mark.slow
def test_a_run_that_continues_makes_no_search_expensive() -> None:
    """A loss at its start is searched for at its place, however many executions followed."""
    trial = Trial()
    for number in range(100_000):
        trial.api.made.append(Made(f"e{number}", "s", {}, 100 + number / 100, 0))
    trial.api.bulk("x", A, lag=5)
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}
    looks = trial.api.asked.count("page 0")
    assert trial.api.count()["page"] <= looks * 25


def test_pages_that_move_while_they_are_read_hide_nothing() -> None:
    """New executions push older ones down: they come twice, and none is missed."""
    trial = Trial()
    for number in range(950):
        trial.api.bulk(f"s{number}", {"prompt": "s"}, at=0.001 * number)
    trial.api.bulk("x", A, at=-0.5)
    trial.api.bulk("later", C, at=-50)
    new = iter(range(10**6))

    def push(kind: str) -> None:
        for _ in range(77):
            trial.api.bulk(f"n{next(new)}", {"prompt": "s"}, at=trial.clock.time + 1)

    trial.api.faults = [push] * 20
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}
    assert trial.clock.time == 0


def test_a_time_range_found_by_binary_search_is_complete_though_pages_move() -> None:
    """What is newer stays newer: the binary search never passes the time range."""
    trial = Trial()
    for number in range(5_000):
        trial.api.bulk(f"s{number}", {"prompt": "s"}, at=1_000 + number)
    for number in range(30):
        trial.api.bulk(f"x{number}", {"seed": number}, at=0.001 * number)
        trial.lose({"seed": number}, first=number)
    new = iter(range(10**6))

    def push(kind: str) -> None:
        for _ in range(61):
            trial.api.bulk(f"n{next(new)}", {"prompt": "s"}, at=9_000 + next(new))

    trial.api.faults = [push] * 30
    for one in trial.api.made:
        one.seen = 0.0
    trial.api.made.sort(key=lambda one: one.created)
    trial.run()
    assert trial.ids() == {number: f"x{number}-0" for number in range(30)}
    assert trial.clock.time == 0


BUSY = reply(429, {"error": "slow down"}, retry_after="5")


@pytest.mark.parametrize("fault", [BUSY, reply(503), Fault(sent=True, reason="reset"), reply(200, b"<html>")])
def test_a_search_that_fails_is_repeated(fault: Any) -> None:
    """A 429, a 5xx, a silence, garbage: it decided nothing."""
    trial = Trial()
    trial.api.bulk("x", A)
    trial.api.faults = [fault]
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}
    assert trial.clock.time == pytest.approx(5 if fault is BUSY else 0.5)


def test_a_last_search_that_fails_is_repeated() -> None:
    """What was not seen is not "not there"."""
    trial = Trial()
    trial.api.bulk("x", A, lag=29.9)
    trial.api.faults = [lambda kind: reply(503) if 30 <= trial.clock.time < 35 else None] * 100
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}
    assert trial.found_at[0] >= 35


def test_a_last_search_that_was_incomplete_adopts_no_part() -> None:
    """What could not be read may be the larger part."""
    trial = Trial()
    trial.api.bulk("x", A)
    trial.api.bulk("y", A, B, at=0.5)
    answered = trial.api._details

    def flaky(known: str) -> Reply:
        return reply(503) if known.startswith("y") and trial.clock.time < 33 else answered(known)

    trial.api._details = flaky  # type: ignore[method-assign]
    trial.lose(A, B, C)
    trial.run()
    assert trial.ids() == {0: "y-0", 1: "y-1"}
    assert trial.found_at[0] >= 33


@pytest.mark.parametrize("on", ["page", "bulk", "details"])
def test_what_cannot_be_read_at_all_is_given_up_with_the_reason(on: str) -> None:
    """After a second window, not with "not found"."""
    trial = Trial()
    trial.api.bulk("x", A)
    trial.api.faults = [lambda kind: reply(503, {"error": "down"}) if kind == on else None] * 500
    trial.lose(A)
    trial.run()
    assert trial.given_up == {0: "the listing could not be read: HTTP 503: down"}
    assert trial.clock.time == pytest.approx(60, abs=0.1)


def test_an_unreadable_execution_hides_no_other() -> None:
    """Its details never come; what is whole without it is adopted all the same."""
    trial = Trial(inputs=False)
    trial.api.bulk("s", {"prompt": "s"})
    trial.api.bulk("x", A, B)
    answered = trial.api._details
    trial.api._details = lambda known: reply(500) if known == "s-0" else answered(known)  # type: ignore[method-assign]
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    assert trial.clock.time == 0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_where_asking_again_is_pointless_it_ends_at_once(status: int) -> None:
    """The key, the permission, the workflow are gone."""
    trial = Trial()
    trial.api.faults = [reply(status, {"error": "no"})]
    trial.lose(A)
    trial.run()
    assert trial.given_up == {0: f"the listing could not be read: HTTP {status}: no"}
    assert len(trial.api.asked) == 1


def test_a_retry_after_beyond_the_end_ends_it() -> None:
    """Nobody waits an hour for a row that may not be there."""
    trial = Trial()
    trial.api.faults = [reply(429, {"error": "no"}, retry_after="3600")]
    trial.lose(A)
    trial.run()
    assert trial.given_up == {0: "the listing could not be read: HTTP 429: no (the API asks to wait 3600 s)"}
    assert len(trial.api.asked) == 1


DEEP = b"[" * 900 + b"]" * 900
COST = b'{"total":' * 900 + b"1" + b"}" * 900


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b"7",
        b"{}",
        b'{"executions":7}',
        b'{"executions":{"execution_id":"x"}}',
        b'{"executions":[null,7,"x",[],{},{"execution_id":7},{"execution_id":""}]}',
        b'{"executions":[{"execution_id":"q","created_at":7,"inputs":"?"}]}',
        b'{"executions":[{"execution_id":"q","created_at":"2026-09-21T13:33:20Z","inputs":' + DEEP + b"}]}",
        b'{"executions":[{"execution_id":"q","created_at":"2026-09-21T13:33:20Z","inputs":[1]}]}',
        b'{"executions":[{"execution_id":"../q","created_at":"2026-09-21T13:33:20Z","bulk_id":[]}]}',
    ],
)
def test_garbage_is_nothing(body: bytes) -> None:
    """Whatever the API says, the search goes on, and finds what it finds later."""
    trial = Trial()
    trial.api.bulk("x", A)
    trial.api.faults = [reply(200, body)]
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}
    assert trial.clock.time == pytest.approx(0.5)


def test_garbage_beside_what_was_lost_hides_nothing() -> None:
    """Entries without a time, an id or sense stand on the same page."""
    trial = Trial()
    trial.api.bulk("x", A)
    whole = trial.api._entry

    def spoiled(one: Made) -> dict[str, Any]:
        entry = whole(one)
        if one.bulk_id == "bad":
            entry.update(created_at=None, inputs={"prompt": [None]}, cost={"cost": {"cost": []}}, error=[1])
        return entry

    trial.api._entry = spoiled  # type: ignore[method-assign]
    trial.api.bulk("bad", *[A] * 150, at=0.5)
    trial.api.bulk("good", *[C] * 40, at=0.7)
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}


def test_an_entry_that_cannot_be_read_whole_is_adopted_with_its_ids() -> None:
    """A cost nested too deep to read is no reason to lose an execution."""
    trial = Trial(says_bulk=True)
    trial.api.bulk("x", A)
    body = (
        b'{"executions":[{"execution_id":"x-0","created_at":"2026-09-21T14:13:20Z","bulk_id":"x","status":"running",'
        b'"inputs":{"seed":1,"prompt":"a"},"cost":' + COST + b"}]}"
    )
    trial.api.faults = [lambda kind: reply(200, body)] * 9
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}
    assert (trial.adopted[0].bulk_id, trial.adopted[0].cost) == ("x", None)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"status": "completed", "output": "u"}, "completed"),
        ({"status": "completed"}, "running"),
        ({"status": "failed"}, "running"),
        ({"status": None}, "queued"),
        ({"status": "cancelled"}, "cancelled"),
    ],
)
def test_what_the_listing_lacks_is_left_for_a_later_search(said: dict[str, Any], status: str) -> None:
    """An execution that ended, but whose output or reason only the details know, is not settled yet."""
    trial = Trial()
    trial.api.bulk("x", A)
    whole = trial.api._entry
    trial.api._entry = lambda one: {**whole(one), **said}  # type: ignore[method-assign]
    trial.lose(A)
    trial.run()
    assert trial.adopted[0].status == status


def test_a_request_lost_later_is_searched_for_soon() -> None:
    """It shortens the pause, however long that has grown."""
    trial = Trial()
    trial.api.bulk("x", A, lag=29)
    trial.api.bulk("y", B, at=17)
    trial.lose(A)
    trial.run((17.0, lambda: trial.lose(B, first=1, since=16, until=17)))
    assert trial.ids() == {0: "x-0", 1: "y-0"}
    assert trial.found_at[1] == pytest.approx(17, abs=0.5)


def test_many_losses_do_not_cause_many_searches() -> None:
    """Two searches have half a second between them, whatever is lost or due."""
    trial = Trial()

    def lose(number: int) -> Callable[[], None]:
        return lambda: trial.lose(B, first=number, since=0, until=number / 10)

    trial.lose(A)
    trial.run(*[(number / 10, lose(number)) for number in range(1, 40)])
    assert len(trial.given_up) == 40
    assert trial.api.count()["page"] <= 30


def test_a_search_waits_for_what_is_lost_until_it_is_closed() -> None:
    """Nothing is requested before."""
    trial = Trial()
    trial.api.bulk("x", A, at=50)
    trial.run((50.0, lambda: trial.lose(A, since=49, until=50)), (52.0, lambda: None))
    assert trial.ids() == {0: "x-0"}
    assert trial.api.count()["page"] == 1


def test_stopped_it_ends_at_once_and_gives_nothing_up() -> None:
    """What is open stays so, for whoever resumes the run; no task is left behind."""
    trial = Trial()
    trial.lose(A)

    async def go() -> None:
        stop = asyncio.Event()
        searching = asyncio.ensure_future(trial.search.run(stop))
        await trial.clock.sleep(3)
        stop.set()
        await searching
        assert len(asyncio.all_tasks()) == 1
        await trial.search.run(stop)

    asyncio.run(go())
    assert trial.adopted == {}
    assert trial.given_up == {}
    assert trial.told == [1, 0]


def test_cancelled_it_leaves_no_task_behind() -> None:
    """In the middle of a request."""
    trial = Trial()
    trial.lose(A)

    async def go() -> None:
        searching = asyncio.ensure_future(trial.search.run(asyncio.Event()))
        while not trial.transport.sent:
            await asyncio.sleep(0)
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(go())
    assert trial.told == [1, 0]


def test_a_journal_that_cannot_say_what_is_taken_decides_nothing() -> None:
    """Without that, what is there may be somebody's."""
    trial = Trial()
    trial.api.bulk("x", A)

    def broken() -> dict[bytes, float]:
        if trial.clock.time < 5:
            msg = "the disk is gone"
            raise ef.JournalError(msg)
        return {}

    trial.rivals = broken
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}
    assert trial.found_at[0] >= 5


def test_a_clock_that_was_set_back_causes_no_wait_of_hours() -> None:
    """The window counts from the request's own length at most."""
    trial = Trial()
    trial.lose(A, since=7_200, until=7_260)
    trial.run()
    assert trial.given_up == {0: NOT_FOUND}
    assert trial.clock.time == pytest.approx(90, abs=0.1)


@pytest.mark.parametrize("step", [-3_600.0, -120.0, -5.0, 120.0, 3_600.0])
def test_a_clock_that_is_set_while_the_search_is_at_work_hides_nothing(step: float) -> None:
    """A request sent before is searched for at its time by both settings of the clock."""
    trial = Trial()
    trial.api.bulk("x", A, lag=3)
    trial.lose(A)

    def set_clock() -> None:
        trial.clock.offset = step
        # The API's own clock goes on as it was.
        trial.api.skew = -step

    trial.run((1.0, set_clock), (2.0, lambda: None))
    assert trial.ids() == {0: "x-0"}
    assert min(trial.asked_since) <= EPOCH + min(0.0, step)


def test_a_page_beyond_the_end_may_be_refused() -> None:
    """An API that refuses an offset shows where the listing ends."""
    trial = Trial()
    trial.api.bulk("s", *[{"prompt": "s"}] * 100, at=100)
    for one in trial.api.made:
        one.seen = 0.0
    trial.api.faults = [None, reply(400, {"error": "offset"}), reply(400, {"error": "offset"})]
    trial.lose(A, since=-101, until=-100)
    trial.run()
    assert trial.given_up == {0: NOT_FOUND}


@pytest.mark.parametrize("at", [0.0, 500.0])
def test_a_listing_that_ignores_the_offset_is_given_up_with_the_reason(at: float) -> None:
    """It would be read for ever: both where its executions are of the time, and where they are newer."""
    trial = Trial()
    trial.api.bulk("s", *[{"prompt": "s"}] * 200, at=at)
    for one in trial.api.made:
        one.seen = 0.0
    answer = trial.api
    pages = 0

    def first_page(request: Request) -> Reply | Fault:
        nonlocal pages
        pages += "bulk_id" not in dict(request.query)
        assert pages < 5_000
        return answer(Request(request.method, request.path, tuple(kv for kv in request.query if kv[0] != "offset")))

    trial.transport._answers = first_page
    trial.lose(A)
    trial.run()
    assert "at every offset" in trial.given_up[0]


def test_pages_smaller_than_requested_are_not_the_end() -> None:
    """Where the API cuts a page, its own limit or its count of all says that more follows."""
    full = {"limit": 20}
    assert next_offset(full, 20, 40) == 60
    assert next_offset({"limit": 100, "total_count": 61}, 20, 40) == 60
    assert next_offset({"limit": 100, "total_count": 60}, 20, 40) is None
    assert next_offset({"limit": 100, "total_count": 10**9}, 0, 40) is None
    assert next_offset({"limit": "20", "total_count": [1]}, 20, 0) is None
    assert next_offset({"total_count": 3}, 100, 0) == 100
    assert next_offset(full, 5_000, 0) == 100


def test_the_skew_is_between_what_each_answer_allows() -> None:
    """Whole seconds leave a second of doubt, less with every answer; a slow answer adds none."""
    skew = ClockSkew()
    assert (skew.ahead, skew.margin) == (0.0, 30.0)
    skew.note(105.0, before=100.2, after=100.3)
    assert skew.ahead == pytest.approx(5.25)
    assert skew.margin == pytest.approx(2.55)
    skew.note(120.0, before=100.0, after=130.0)
    assert skew.ahead == pytest.approx(5.25)
    skew.note(106.0, before=100.9, after=100.9)
    assert skew.ahead == pytest.approx(5.45)
    skew.note(500.0, before=101.0, after=101.0)
    assert skew.margin == 30.0


def test_the_server_time_is_read_from_the_header_date() -> None:
    """Or says none that can be read."""
    assert server_time(Reply(200, headers={"date": "Mon, 21 Sep 2026 13:33:20 GMT"})) == 1_789_997_600.0
    for text in ("", "yesterday", "99", "Mon, 99 Sep 2026 13:33:20 GMT"):
        assert server_time(Reply(200, headers={"date": text})) is None
    assert server_time(Reply(200)) is None


def test_pauses_grow_to_eight_seconds() -> None:
    """A fifth less or more by chance, and never below the delay that the API requests."""
    assert [search_delay(look, floor=None, draw=0.5) for look in range(1, 7)] == [0.5, 1, 2, 4, 8, 8]
    assert search_delay(1, floor=None, draw=0.0) == pytest.approx(0.4)
    assert search_delay(99, floor=None, draw=0.99) == 8.0
    assert search_delay(1, floor=60.0, draw=0.5) == 60.0


# -- the sandbox, over a real socket -----------------------------------------------------------------------------------


class Lossy:
    """Sends triggers whose answers are lost, and then searches for them."""

    def __init__(self, *batches: Sequence[Any], window: float = 3.0, send: bool = True) -> None:
        self.adopted: dict[int, Outcome] = {}
        self.given_up: dict[int, str] = {}
        self.batches, self.window, self.send = batches, window, send
        call(self._go)

    async def adopt(self, lost: LostRequest, outcomes: Sequence[Outcome]) -> bool:
        self.adopted.update((one.position, one) for one in outcomes)
        return True

    def give_up(self, lost: LostRequest, rows: Sequence[int], reason: str, complete: bool) -> None:
        self.given_up.update(dict.fromkeys(rows, reason))

    async def _go(self, stop: asyncio.Event) -> None:
        clock = SystemClock()
        client = Client(settings.current())
        search = LostRequestSearch(
            Target("wf_free", "v1"),
            ApiConnection(client, clock, settings.current().dialect, 4),
            settle_window=self.window,
            records=self,
            on_count=lambda rows: None,
        )
        first = 0
        for inputs in self.batches:
            search.add(await self._lose(client, clock, inputs, first))
            first += len(inputs)
        search.close()
        await search.run(stop)

    async def _lose(self, client: Transport, clock: SystemClock, inputs: Sequence[Any], first: int) -> LostRequest:
        rows = tuple(range(first, first + len(inputs)))
        since = clock.epoch()
        if self.send:
            batch = Batch(rows, tuple(orjson.dumps(one) for one in inputs))
            await client.send(trigger_request(settings.current().dialect, Target("wf_free", "v1"), batch))
        return LostRequest(rows, tuple(fingerprints(inputs)), since, clock.epoch())

    async def claimed(self, since: float) -> Claimed:
        return Claimed({str(one.execution_id) for one in self.adopted.values()}, {})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"listing_lag": 1.2},
        {"listing_inputs": False},
        {"clock_skew": 5.0, "timestamp_digits": 6},
        {"clock_skew": -5.0, "timestamp_digits": 0},
        {"dialect": "legacy", "listing_inputs": False, "clock_skew": 90.0, "listing_lag": 0.4},
    ],
)
def test_the_sandbox_gives_lost_answers_back(options: dict[str, Any]) -> None:
    """With a lag, without inputs, by another clock, in whole seconds, in either dialect."""
    with ef.sandbox.start(**options) as sandbox:
        sandbox.faults(*[ef.sandbox.Fault("lost_answer", on="trigger")])
        lossy = Lossy([A, B, {"z": 1, "a": [1.0, {"c": None}]}], [A, B, {"z": 1.0, "a": [1, {"c": None}]}], [C])
        made = {one.execution_id: one for one in sandbox.accepted}
    assert {one.execution_id for one in lossy.adopted.values()} == made.keys()
    inputs = [one for batch in lossy.batches for one in batch]
    assert all(made[str(one.execution_id)].inputs == inputs[row] for row, one in lossy.adopted.items())
    assert all(made[str(one.execution_id)].bulk_id == one.bulk_id for one in lossy.adopted.values())
    assert [len({lossy.adopted[row].bulk_id for row in rows}) for rows in ((0, 1, 2), (3, 4, 5), (6,))] == [1, 1, 1]
    assert lossy.given_up == {}


def test_the_sandbox_gives_nothing_back_that_is_not_there() -> None:
    """A listing that never shows it, and a request that never took effect."""
    with ef.sandbox.start(listing_lag=inf):
        lossy = Lossy([A], window=0.4)
        assert lossy.adopted == {}
        assert lossy.given_up == {0: "not found in the workflow's listing within 0.4 s of the request"}
    with ef.sandbox.start():
        assert Lossy([A, B], window=0.4, send=False).given_up.keys() == {0, 1}
