"""Tests of the search for lost requests: what it adopts and gives up, when, and with how many requests."""

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
    """Return the fingerprint of each input."""
    return [fingerprint(values) for values in inputs]


def bulk_id(name: str) -> str:
    """Return the id of a bulk operation."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


NOT_FOUND = "not found in the workflow's listing within 30 s of the request"


@dataclass
class FakeExecution:
    """An execution of the fake API; `created` and `seen` (in the listing) are in seconds of the test's clock."""

    execution_id: str
    bulk_id: str | None
    inputs: Any
    created: float
    seen: float
    version_id: str = "v1"


@dataclass
class FakeApi:
    """A workflow's listing, newest first; like the real API's it has no bulk_id by default."""

    clock: ManualClock
    skew: float = 0.0
    digits: int = 3
    date: bool = True
    inputs: bool = True
    lists_bulk_id: bool = False
    latency: Callable[[], None] = lambda: None
    made: list[FakeExecution] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)
    named: Callable[[str], str] = bulk_id
    requests: list[str] = field(default_factory=list)

    def bulk(
        self, name: str | None, *inputs: Any, at: float = 0.0, lag: float | Sequence[float] = 0.0, version: str = "v1"
    ) -> None:
        lags = [lag] * len(inputs) if isinstance(lag, float | int) else lag
        for place, values in enumerate(inputs):
            execution = FakeExecution(
                f"{name}-{place}", name and self.named(name), values, at, at + lags[place], version
            )
            self.made.append(execution)

    def __call__(self, request: Request) -> Reply | Fault:
        query = dict(request.query)
        kind = "details" if "executions/" in request.path else "bulk" if "bulk_id" in query else "page"
        self.requests.append(
            f"{kind} {request.path.rpartition('/')[2] if kind == 'details' else query.get('offset', 0)}"
        )
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
            execution
            for execution in self.made
            if execution.seen <= self.clock.time and query.get("bulk_id") in (None, execution.bulk_id)
        ]
        listed.sort(key=lambda execution: -execution.created)
        start = int(query.get("offset", 0))
        return self._dated(
            reply(200, {"executions": [self._entry(execution) for execution in listed[start : start + 100]]})
        )

    def _dated(self, answer: Reply) -> Reply:
        date = {"date": formatdate(int(self.clock.epoch() + self.skew), usegmt=True)} if self.date else {}
        return Reply(answer.status, answer.body, {**answer.headers, **date}, self.clock.epoch())

    def _entry(self, execution: FakeExecution) -> dict[str, Any]:
        moment = EPOCH + self.clock.offset + execution.created + self.skew
        whole = int(moment)
        fraction = f".{int((moment - whole) * 10**self.digits):0{self.digits}d}" if self.digits else ""
        entry = {
            "execution_id": execution.execution_id,
            "version_id": execution.version_id,
            "status": "running",
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + fraction + "Z",
        }
        if self.inputs:
            entry["inputs"] = execution.inputs
        if self.lists_bulk_id:
            entry["bulk_id"] = execution.bulk_id
        return entry

    def _details(self, execution_id: str) -> Reply:
        for execution in self.made:
            if execution.execution_id == execution_id:
                more = {} if execution.bulk_id is None else {"bulk_id": execution.bulk_id}
                return self._dated(reply(200, {"execution_id": execution_id, "inputs": execution.inputs, **more}))
        return self._dated(reply(404, {"error": "execution not found"}))

    def count(self) -> dict[str, int]:
        return dict(Counter(request.split()[0] for request in self.requests))


class Trial:
    """A search over a fake API, with the outcomes that it reports."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.api = FakeApi(self.clock, **options)
        self.transport = FakeTransport(self.api)
        self.owned: set[str] = set()
        self.refused_adoptions = 0
        self.rivals: Callable[[], dict[bytes, float]] = dict
        self.queried_since: list[float] = []
        self.adopted: dict[int, Outcome] = {}
        self.given_up: dict[int, str] = {}
        self.decided_at: dict[int, float] = {}
        self.counts: list[int] = []
        self.search = LostRequestSearch(
            Target("wf", "v1"),
            ApiConnection(self.transport, self.clock, "current", 4),
            settle_window=30.0,
            records=self,
            on_count=self.counts.append,
        )

    async def claimed(self, since: float) -> Claimed:
        self.queried_since.append(since)
        return Claimed(frozenset(self.owned), self.rivals())

    async def adopt(self, lost: LostRequest, outcomes: Sequence[Outcome]) -> bool:
        if self.refused_adoptions:
            self.refused_adoptions -= 1
            return False
        for outcome in outcomes:
            assert outcome.position in lost.rows
            assert outcome.position not in self.adopted
            assert outcome.execution_id not in self.owned
            self.adopted[outcome.position] = outcome
            self.decided_at[outcome.position] = self.clock.time
            self.owned.add(str(outcome.execution_id))
        return True

    def give_up(self, lost: LostRequest, rows: Sequence[int], reason: str, complete: bool) -> None:
        assert not self.adopted.keys() & set(rows)
        assert not self.given_up.keys() & set(rows)
        self.given_up.update(dict.fromkeys(rows, reason))
        self.decided_at.update(dict.fromkeys(rows, self.clock.time))

    def lose(
        self, *inputs: Any, first: int = 0, since: float = -1.0, until: float = 0.0, name: str | None = None
    ) -> None:
        rows = tuple(range(first, first + len(inputs)))
        self.search.add(
            LostRequest(rows, tuple(fingerprints(inputs)), EPOCH + since, EPOCH + until, name and self.api.named(name))
        )

    def run(self, *later: tuple[float, Callable[[], None]], close: bool = True) -> None:
        """Run the search to its end; each function of `later` is called at its time."""

        async def go() -> None:
            stop = asyncio.Event()
            if not later and close:
                self.search.close()
            searching = asyncio.ensure_future(self.search.run(stop))
            for moment, function in later:
                await self.clock.sleep(moment - self.clock.time)
                function()
            self.search.close()
            await searching
            assert len(asyncio.all_tasks()) == 1

        asyncio.run(go())
        assert self.counts == [] or self.counts[-1] == 0
        assert self.transport.peak <= 4

    def ids(self) -> dict[int, str | None]:
        return {row: outcome.execution_id for row, outcome in self.adopted.items()}


A, B, C = {"seed": 1, "prompt": "a"}, {"seed": 2, "prompt": "b"}, {"seed": 3, "prompt": "c"}


def test_a_lost_request_is_adopted_with_its_ids() -> None:
    """One search reads the listing, the details of one execution for the bulk_id, and the bulk operation."""
    trial = Trial()
    trial.api.bulk("x", {"prompt": "a", "seed": 1.0}, B, C)
    trial.lose(C, A, B)
    trial.run()
    assert trial.ids() == {0: "x-2", 1: "x-0", 2: "x-1"}
    assert {outcome.bulk_id for outcome in trial.adopted.values()} == {bulk_id("x")}
    assert {outcome.status for outcome in trial.adopted.values()} == {"running"}
    assert trial.given_up == {}
    assert trial.counts == [3, 0]
    assert trial.api.count() == {"page": 1, "details": 1, "bulk": 1}


def test_a_listing_with_bulk_ids_needs_no_details() -> None:
    """The API need not list bulk_ids, but they are used if it does."""
    trial = Trial(lists_bulk_id=True)
    trial.api.bulk("x", A, B)
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    assert trial.api.count() == {"page": 1, "bulk": 1}


@pytest.mark.parametrize("lists_bulk_id", [True, False])
@pytest.mark.parametrize("inputs", [True, False])
@pytest.mark.parametrize("name", [None, "x"])
def test_a_bulk_id_that_is_no_uuid_is_never_a_filter(lists_bulk_id: bool, inputs: bool, name: str | None) -> None:
    """Executions of such a bulk operation are found in the whole listing and by their details."""
    trial = Trial(lists_bulk_id=lists_bulk_id, inputs=inputs, named=lambda name: f"bulk_{name}")
    trial.api.bulk("other", A, {"prompt": "z"})
    trial.api.bulk("x", A, B, C, at=0.5)
    trial.lose(C, A, B, name=name)
    trial.run()
    assert trial.ids() == {0: "x-2", 1: "x-0", 2: "x-1"}
    assert {outcome.bulk_id for outcome in trial.adopted.values()} == {"bulk_x"}
    assert "bulk" not in trial.api.count()


def test_no_request_is_sent_if_nothing_is_lost() -> None:
    """A closed search without lost requests ends at once; a request without rows is ignored."""
    trial = Trial()
    trial.search.add(LostRequest((), (), EPOCH, EPOCH))
    trial.run()
    assert trial.api.requests == []
    assert trial.counts == []


def test_a_listing_that_lags_is_read_again_with_growing_pauses() -> None:
    """It is read again after 0.5, 1, 2, 4 and 8 seconds until the executions appear."""
    trial = Trial()
    trial.api.bulk("x", A, B, lag=20)
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    assert trial.clock.slept == pytest.approx([0.5, 1, 2, 4, 8, 8])
    assert trial.api.count() == {"page": 7, "details": 1, "bulk": 1}


def test_a_request_not_found_in_the_window_is_given_up() -> None:
    """The last search is at the end of the window."""
    trial = Trial()
    trial.api.bulk("x", A, B, lag=31)
    trial.lose(A, B)
    trial.run()
    assert trial.adopted == {}
    assert trial.given_up == {0: NOT_FOUND, 1: NOT_FOUND}
    assert trial.clock.time == pytest.approx(30, abs=0.1)


def test_a_partly_listed_bulk_operation_waits_for_the_rest() -> None:
    """A bulk operation whose executions appear one by one is adopted when it is complete."""
    trial = Trial()
    trial.api.bulk("x", A, B, C, lag=[0, 10, 3])
    trial.lose(A, B, C)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1", 2: "x-2"}
    assert 10 <= trial.decided_at[0] < 20
    assert trial.api.count()["details"] == 1


@pytest.mark.parametrize("inputs", [True, False])
def test_refused_entries_of_a_lost_request_are_given_up(inputs: bool) -> None:
    """Executions listed at the end of the window are adopted; the reason of the others names the bulk operation."""
    trial = Trial(inputs=inputs)
    trial.api.bulk("x", A, C)
    trial.lose(A, B, C)
    trial.run()
    assert trial.ids() == {0: "x-0", 2: "x-1"}
    assert trial.given_up == {1: f"not among the executions found for bulk operation {bulk_id('x')}"}
    assert trial.decided_at[0] == pytest.approx(30, abs=0.1)
    assert trial.api.count()["details"] == (1 if inputs else 2)


def test_omitted_inputs_are_read_from_the_details_once() -> None:
    """Repeated searches do not request the same details again."""
    trial = Trial(inputs=False)
    trial.api.bulk("stranger", {"prompt": "z"}, {"prompt": "y"})
    trial.api.bulk("x", A, B, lag=[0, 5])
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    details = [request for request in trial.api.requests if request.startswith("details")]
    assert sorted(details) == ["details stranger-0", "details stranger-1", "details x-0", "details x-1"]


def test_details_of_another_execution_are_ignored() -> None:
    """Neither the inputs nor the bulk_id of such a reply are used; the next search requests the details again."""
    trial = Trial(inputs=False)
    trial.api.bulk("x", A, B)
    other = reply(200, {"execution_id": "other-0", "inputs": C, "bulk_id": bulk_id("other")})
    trial.api.faults = [None, other, other]
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    assert (
        sorted(request for request in trial.api.requests if request.startswith("details"))
        == ["details x-0"] * 2 + ["details x-1"] * 2
    )


@pytest.mark.parametrize("skew", [-500.0, -5.0, 5.0, 500.0])
@pytest.mark.parametrize("digits", [0, 6])
def test_clock_skew_is_corrected(skew: float, digits: int) -> None:
    """The skew is computed from the Date header; times may be truncated to whole seconds."""
    trial = Trial(skew=skew, digits=digits)
    trial.api.bulk("x", A, at=-0.9)
    trial.api.bulk("early", A, at=-6)
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}


@pytest.mark.parametrize(("skew", "is_adopted"), [(-25.0, True), (25.0, True), (-40.0, False)])
def test_without_a_date_header_the_margin_is_30_seconds(skew: float, is_adopted: bool) -> None:
    """The margin applies to either side."""
    trial = Trial(skew=skew, date=False)
    trial.api.bulk("x", A)
    trial.lose(A)
    trial.run()
    assert trial.ids() == ({0: "x-0"} if is_adopted else {})


def test_identical_batches_are_distinguished_by_count() -> None:
    """Of three identical lost requests two took effect: two are adopted, one is given up."""
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
    """Another call adopted the executions after the listing was read, so the next search decides again."""
    trial = Trial()
    trial.refused_adoptions = 1
    trial.api.bulk("x", A, B)
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    assert trial.given_up == {}


def test_owned_executions_are_never_adopted() -> None:
    """Their bulk operation is not adopted either, even if a row owns only one of its executions."""
    trial = Trial()
    trial.owned = {"x-1"}
    trial.api.bulk("x", A, B)
    trial.lose(A, B)
    trial.run()
    assert trial.adopted == {}
    assert trial.given_up == {0: NOT_FOUND, 1: NOT_FOUND}
    assert trial.queried_since[0] <= EPOCH - 3
    assert trial.api.count()["details"] == 1  # of the execution that no row owns


@pytest.mark.parametrize("kind", ["version", "alone", "early", "inputs"])
def test_executions_of_other_requests_are_not_adopted(kind: str) -> None:
    """Another version, no bulk trigger, created before the request, or other inputs."""
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


def test_the_search_waits_for_a_rival_request() -> None:
    """While a request with the same inputs waits for its reply, the listed executions may belong to it."""
    trial = Trial()
    waiting = dict.fromkeys(fingerprints([A]), EPOCH - 1)
    trial.rivals = lambda: waiting if trial.clock.time < 40 else {}
    trial.api.bulk("x", A)
    trial.api.bulk("y", A, at=0.5, lag=35)

    def on_answered() -> None:
        trial.owned.add("x-0")

    trial.lose(A)
    trial.run((39, on_answered))
    assert trial.ids() == {0: "y-0"}
    assert trial.decided_at[0] >= 40


def test_a_rival_without_a_response_leaves_the_row_unknown() -> None:
    """The row is given up after a second window; the search never guesses."""
    trial = Trial()
    trial.rivals = lambda: dict.fromkeys(fingerprints([B]), EPOCH)
    trial.api.bulk("x", A, B)
    trial.lose(A, B)
    trial.run()
    assert trial.given_up == {0: RIVALS, 1: RIVALS}
    assert trial.clock.time == pytest.approx(60, abs=0.1)


def test_a_request_sent_after_the_window_is_no_rival() -> None:
    """Its executions were created later than any of the lost request."""
    trial = Trial()
    trial.rivals = lambda: dict.fromkeys(fingerprints([A]), EPOCH + 40)
    trial.api.bulk("x", A)
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}


def test_a_named_bulk_operation_is_requested_directly() -> None:
    """An unusable reply contained the bulk_id, so no page is read, and times and rivals do not matter."""
    trial = Trial()
    trial.rivals = lambda: dict.fromkeys(fingerprints([A]), EPOCH)
    trial.owned = {"x-2"}
    trial.api.bulk("x", B, A, C, at=-3000)
    trial.lose(A, B, name="x")
    trial.run()
    assert trial.ids() == {0: "x-1", 1: "x-0"}
    assert trial.api.count() == {"bulk": 1}


def test_an_owned_execution_of_a_named_bulk_operation_is_not_adopted() -> None:
    """Some rows of that request were found before; the others get the remaining executions."""
    trial = Trial()
    trial.owned = {"x-0"}
    trial.api.bulk("x", A, A)
    trial.lose(A, name="x")
    trial.run()
    assert trial.ids() == {0: "x-1"}


def test_a_part_waits_for_a_request_that_may_own_the_whole() -> None:
    """When the other request has adopted its own bulk operation, the owner of the part is certain."""
    trial = Trial()
    trial.api.bulk("x", A, B, at=6)
    trial.api.bulk("y", A, B, C, at=7, lag=29)
    trial.lose(A, B, C, {"seed": 4})
    trial.lose(A, B, C, first=4, since=-1, until=10)
    trial.run()
    assert trial.ids() == {4: "y-0", 5: "y-1", 6: "y-2", 0: "x-0", 1: "x-1"}
    assert trial.given_up == dict.fromkeys((2, 3), f"not among the executions found for bulk operation {bulk_id('x')}")
    assert trial.clock.time < 50


def test_an_empty_named_bulk_operation_is_given_up_at_the_end() -> None:
    """A 404 does not end the search, because the bulk operation may lag as well."""
    trial = Trial()
    trial.api.faults = [reply(404, {"error": "no such bulk"})] * 50
    trial.lose(A, name="x")
    trial.run()
    assert trial.given_up == {0: f"bulk operation {bulk_id('x')} lists no such executions within 30 s"}
    assert trial.clock.time == pytest.approx(30, abs=0.1)


def test_an_old_claim_costs_one_search() -> None:
    """After a crash there is no need to wait; time ranges that lie far apart are read separately."""
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
def test_the_cost_of_a_search_does_not_grow_with_the_listing() -> None:
    """The time range of a loss is found by binary search, however many executions followed."""
    trial = Trial()
    for number in range(100_000):
        trial.api.made.append(FakeExecution(f"e{number}", "s", {}, 100 + number / 100, 0))
    trial.api.bulk("x", A, lag=5)
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}
    searches = trial.api.requests.count("page 0")
    assert trial.api.count()["page"] <= searches * 25


def test_pages_that_shift_while_they_are_read_hide_nothing() -> None:
    """New executions shift older ones to later pages: they are read twice, and none is missed."""
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


def test_binary_search_is_complete_while_pages_shift() -> None:
    """The order of executions does not change, so the binary search never skips the time range."""
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
    for execution in trial.api.made:
        execution.seen = 0.0
    trial.api.made.sort(key=lambda execution: execution.created)
    trial.run()
    assert trial.ids() == {number: f"x{number}-0" for number in range(30)}
    assert trial.clock.time == 0


BUSY = reply(429, {"error": "slow down"}, retry_after="5")


@pytest.mark.parametrize("fault", [BUSY, reply(503), Fault(sent=True, reason="reset"), reply(200, b"<html>")])
def test_a_search_that_fails_is_repeated(fault: Any) -> None:
    """A 429, a 5xx, a lost connection or an unreadable reply decides nothing."""
    trial = Trial()
    trial.api.bulk("x", A)
    trial.api.faults = [fault]
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}
    assert trial.clock.time == pytest.approx(5 if fault is BUSY else 0.5)


def test_a_last_search_that_fails_is_repeated() -> None:
    """An execution that could not be read does not count as missing."""
    trial = Trial()
    trial.api.bulk("x", A, lag=29.9)
    trial.api.faults = [lambda kind: reply(503) if 30 <= trial.clock.time < 35 else None] * 100
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}
    assert trial.decided_at[0] >= 35


def test_a_last_search_that_was_incomplete_adopts_no_part() -> None:
    """The part that could not be read may be the larger one."""
    trial = Trial()
    trial.api.bulk("x", A)
    trial.api.bulk("y", A, B, at=0.5)
    details = trial.api._details

    def flaky(execution_id: str) -> Reply:
        return reply(503) if execution_id.startswith("y") and trial.clock.time < 33 else details(execution_id)

    trial.api._details = flaky  # type: ignore[method-assign]
    trial.lose(A, B, C)
    trial.run()
    assert trial.ids() == {0: "y-0", 1: "y-1"}
    assert trial.decided_at[0] >= 33


@pytest.mark.parametrize("on", ["page", "bulk", "details"])
def test_an_unreadable_listing_is_given_up_with_the_reason(on: str) -> None:
    """The rows are given up after a second window, and not as "not found"."""
    trial = Trial()
    trial.api.bulk("x", A)
    trial.api.faults = [lambda kind: reply(503, {"error": "down"}) if kind == on else None] * 500
    trial.lose(A)
    trial.run()
    assert trial.given_up == {0: "the listing could not be read: HTTP 503: down"}
    assert trial.clock.time == pytest.approx(60, abs=0.1)


def test_an_unreadable_execution_hides_no_other() -> None:
    """Its details always fail; a bulk operation that is complete without it is adopted."""
    trial = Trial(inputs=False)
    trial.api.bulk("s", {"prompt": "s"})
    trial.api.bulk("x", A, B)
    details = trial.api._details
    trial.api._details = lambda execution_id: reply(500) if execution_id == "s-0" else details(execution_id)  # type: ignore[method-assign]
    trial.lose(A, B)
    trial.run()
    assert trial.ids() == {0: "x-0", 1: "x-1"}
    assert trial.clock.time == 0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_permanent_error_ends_the_search_at_once(status: int) -> None:
    """The key, the permission or the workflow is gone."""
    trial = Trial()
    trial.api.faults = [reply(status, {"error": "no"})]
    trial.lose(A)
    trial.run()
    assert trial.given_up == {0: f"the listing could not be read: HTTP {status}: no"}
    assert len(trial.api.requests) == 1


def test_a_retry_after_beyond_the_window_ends_the_search() -> None:
    """The search does not wait an hour for a row that may not exist."""
    trial = Trial()
    trial.api.faults = [reply(429, {"error": "no"}, retry_after="3600")]
    trial.lose(A)
    trial.run()
    assert trial.given_up == {0: "the listing could not be read: HTTP 429: no (the API asks to wait 3600 s)"}
    assert len(trial.api.requests) == 1


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
def test_malformed_replies_do_not_stop_the_search(body: bytes) -> None:
    """The search continues and adopts the execution when it is listed properly."""
    trial = Trial()
    trial.api.bulk("x", A)
    trial.api.faults = [reply(200, body)]
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}
    assert trial.clock.time == pytest.approx(0.5)


def test_malformed_entries_hide_no_others() -> None:
    """Entries without a time, an id or valid inputs are on the same page."""
    trial = Trial()
    trial.api.bulk("x", A)
    entry_of = trial.api._entry

    def spoiled(execution: FakeExecution) -> dict[str, Any]:
        entry = entry_of(execution)
        if execution.bulk_id == "bad":
            entry.update(created_at=None, inputs={"prompt": [None]}, cost={"cost": {"cost": []}}, error=[1])
        return entry

    trial.api._entry = spoiled  # type: ignore[method-assign]
    trial.api.bulk("bad", *[A] * 150, at=0.5)
    trial.api.bulk("good", *[C] * 40, at=0.7)
    trial.lose(A)
    trial.run()
    assert trial.ids() == {0: "x-0"}


def test_a_partly_readable_entry_is_adopted_with_its_ids() -> None:
    """A cost that is nested too deeply does not lose the execution."""
    trial = Trial(lists_bulk_id=True)
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
    ("fields", "status"),
    [
        ({"status": "completed", "output": "u"}, "completed"),
        ({"status": "completed"}, "running"),
        ({"status": "failed"}, "running"),
        ({"status": None}, "queued"),
        ({"status": "cancelled"}, "cancelled"),
    ],
)
def test_an_adopted_execution_without_its_output_is_not_settled(fields: dict[str, Any], status: str) -> None:
    """A terminal status without its output or error is adopted as open, so that polling reads the details."""
    trial = Trial()
    trial.api.bulk("x", A)
    entry_of = trial.api._entry
    trial.api._entry = lambda execution: {**entry_of(execution), **fields}  # type: ignore[method-assign]
    trial.lose(A)
    trial.run()
    assert trial.adopted[0].status == status


def test_a_request_lost_later_is_searched_for_soon() -> None:
    """A new lost request shortens the pause, however long it has grown."""
    trial = Trial()
    trial.api.bulk("x", A, lag=29)
    trial.api.bulk("y", B, at=17)
    trial.lose(A)
    trial.run((17.0, lambda: trial.lose(B, first=1, since=16, until=17)))
    assert trial.ids() == {0: "x-0", 1: "y-0"}
    assert trial.decided_at[1] == pytest.approx(17, abs=0.5)


def test_many_losses_do_not_cause_many_searches() -> None:
    """There is at least half a second between two searches."""
    trial = Trial()

    def lose(number: int) -> Callable[[], None]:
        return lambda: trial.lose(B, first=number, since=0, until=number / 10)

    trial.lose(A)
    trial.run(*[(number / 10, lose(number)) for number in range(1, 40)])
    assert len(trial.given_up) == 40
    assert trial.api.count()["page"] <= 30


def test_a_search_waits_for_lost_requests_until_it_is_closed() -> None:
    """It sends no request before a request is lost."""
    trial = Trial()
    trial.api.bulk("x", A, at=50)
    trial.run((50.0, lambda: trial.lose(A, since=49, until=50)), (52.0, lambda: None))
    assert trial.ids() == {0: "x-0"}
    assert trial.api.count()["page"] == 1


def test_a_stopped_search_ends_at_once_and_gives_nothing_up() -> None:
    """Open rows stay open for a call that resumes the run; no task is left behind."""
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
    assert trial.counts == [1, 0]


def test_a_cancelled_search_leaves_no_task_behind() -> None:
    """It is cancelled during a request."""
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
    assert trial.counts == [1, 0]


def test_no_decision_is_made_while_the_journal_cannot_be_read() -> None:
    """Without the journal, the listed executions may belong to other rows."""
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
    assert trial.decided_at[0] >= 5


def test_a_clock_that_was_set_back_causes_no_wait_of_hours() -> None:
    """The window starts at most the duration of the request from now."""
    trial = Trial()
    trial.lose(A, since=7_200, until=7_260)
    trial.run()
    assert trial.given_up == {0: NOT_FOUND}
    assert trial.clock.time == pytest.approx(90, abs=0.1)


@pytest.mark.parametrize("step", [-3_600.0, -120.0, -5.0, 120.0, 3_600.0])
def test_a_clock_change_during_the_search_hides_nothing(step: float) -> None:
    """A request from before the change is searched for at its time by both settings of the clock."""
    trial = Trial()
    trial.api.bulk("x", A, lag=3)
    trial.lose(A)

    def set_clock() -> None:
        trial.clock.offset = step
        # The clock of the API is not changed.
        trial.api.skew = -step

    trial.run((1.0, set_clock), (2.0, lambda: None))
    assert trial.ids() == {0: "x-0"}
    assert min(trial.queried_since) <= EPOCH + min(0.0, step)


def test_a_page_beyond_the_end_may_be_refused() -> None:
    """An error for an offset beyond the end marks the end of the listing."""
    trial = Trial()
    trial.api.bulk("s", *[{"prompt": "s"}] * 100, at=100)
    for execution in trial.api.made:
        execution.seen = 0.0
    trial.api.faults = [None, reply(400, {"error": "offset"}), reply(400, {"error": "offset"})]
    trial.lose(A, since=-101, until=-100)
    trial.run()
    assert trial.given_up == {0: NOT_FOUND}


@pytest.mark.parametrize("at", [0.0, 500.0])
def test_a_listing_that_ignores_the_offset_is_given_up_with_the_reason(at: float) -> None:
    """Without the check it would be read forever, whether its executions are in the time range or newer."""
    trial = Trial()
    trial.api.bulk("s", *[{"prompt": "s"}] * 200, at=at)
    for execution in trial.api.made:
        execution.seen = 0.0
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
    """The reply's own limit or total count shows that more executions follow."""
    full = {"limit": 20}
    assert next_offset(full, 20, 40) == 60
    assert next_offset({"limit": 100, "total_count": 61}, 20, 40) == 60
    assert next_offset({"limit": 100, "total_count": 60}, 20, 40) is None
    assert next_offset({"limit": 100, "total_count": 10**9}, 0, 40) is None
    assert next_offset({"limit": "20", "total_count": [1]}, 20, 0) is None
    assert next_offset({"total_count": 3}, 100, 0) == 100
    assert next_offset(full, 5_000, 0) == 100


def test_the_skew_satisfies_the_bounds_of_each_reply() -> None:
    """Whole seconds give bounds of one second, which each reply narrows; a slow reply narrows nothing."""
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


def test_the_server_time_is_read_from_the_date_header() -> None:
    """A missing or invalid header gives None."""
    assert server_time(Reply(200, headers={"date": "Mon, 21 Sep 2026 13:33:20 GMT"})) == 1_789_997_600.0
    for text in ("", "yesterday", "99", "Mon, 99 Sep 2026 13:33:20 GMT"):
        assert server_time(Reply(200, headers={"date": text})) is None
    assert server_time(Reply(200)) is None


def test_pauses_grow_to_eight_seconds() -> None:
    """They vary by a fifth, and are never below the delay that the API requests."""
    assert [search_delay(attempt, floor=None, draw=0.5) for attempt in range(1, 7)] == [0.5, 1, 2, 4, 8, 8]
    assert search_delay(1, floor=None, draw=0.0) == pytest.approx(0.4)
    assert search_delay(99, floor=None, draw=0.99) == 8.0
    assert search_delay(1, floor=60.0, draw=0.5) == 60.0


# -- the sandbox, over a real socket ----------------------------------------------------------------------------------


class LossyCalls:
    """Sends triggers whose replies are lost, and then searches for them."""

    def __init__(self, *batches: Sequence[Any], window: float = 3.0, send: bool = True) -> None:
        self.adopted: dict[int, Outcome] = {}
        self.given_up: dict[int, str] = {}
        self.batches, self.window, self.send = batches, window, send
        call(self._go)

    async def adopt(self, lost: LostRequest, outcomes: Sequence[Outcome]) -> bool:
        self.adopted.update((outcome.position, outcome) for outcome in outcomes)
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
            batch = Batch(rows, tuple(orjson.dumps(values) for values in inputs))
            await client.send(trigger_request(settings.current().dialect, Target("wf_free", "v1"), batch))
        return LostRequest(rows, tuple(fingerprints(inputs)), since, clock.epoch())

    async def claimed(self, since: float) -> Claimed:
        return Claimed({str(outcome.execution_id) for outcome in self.adopted.values()}, {})


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
def test_lost_requests_to_the_sandbox_are_adopted(options: dict[str, Any]) -> None:
    """With a lag, without inputs, with clock skew, with whole seconds, and in either dialect."""
    with ef.sandbox.start(**options) as sandbox:
        sandbox.faults(*[ef.sandbox.Fault("lost_answer", on="trigger")])
        calls = LossyCalls([A, B, {"z": 1, "a": [1.0, {"c": None}]}], [A, B, {"z": 1.0, "a": [1, {"c": None}]}], [C])
        made = {execution.execution_id: execution for execution in sandbox.accepted}
    assert {outcome.execution_id for outcome in calls.adopted.values()} == made.keys()
    inputs = [values for batch in calls.batches for values in batch]
    assert all(made[str(outcome.execution_id)].inputs == inputs[row] for row, outcome in calls.adopted.items())
    assert all(made[str(outcome.execution_id)].bulk_id == outcome.bulk_id for outcome in calls.adopted.values())
    assert [len({calls.adopted[row].bulk_id for row in rows}) for rows in ((0, 1, 2), (3, 4, 5), (6,))] == [1, 1, 1]
    assert calls.given_up == {}


def test_requests_that_the_sandbox_never_lists_are_given_up() -> None:
    """The listing never shows the executions, or the request never took effect."""
    with ef.sandbox.start(listing_lag=inf):
        calls = LossyCalls([A], window=0.4)
        assert calls.adopted == {}
        assert calls.given_up == {0: "not found in the workflow's listing within 0.4 s of the request"}
    with ef.sandbox.start():
        assert LossyCalls([A, B], window=0.4, send=False).given_up.keys() == {0, 1}
