"""The tracker: which questions it asks, how many, and that a failing network ends nothing."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

import eachlabs_frames as ef
from benchmarks import waiting
from eachlabs_frames.aio.backoff import poll_delay
from eachlabs_frames.api.reader import FORGOTTEN, MAX_OTHERS, OTHER_EXECUTION
from eachlabs_frames.api.requests import is_filter
from eachlabs_frames.api.responses import NO_REASON
from eachlabs_frames.engine.events import EventEmitter
from eachlabs_frames.engine.poll_schedule import PollSchedule
from eachlabs_frames.engine.tracker import MIN_AGE, Tracker
from eachlabs_frames.inputs.fingerprints import fingerprint
from eachlabs_frames.models import ApiConnection, Event, Fault, Outcome, Reply, Request
from eachlabs_frames.results import Results
from tests.fakes import EPOCH, FakeTransport, ManualClock, reply

DONE = {"status": "completed", "output": "x", "ended_at": "2025-12-20T10:00:00Z", "cost": 0.01}


def bulk(number: int) -> str:
    """Return the id of a bulk operation."""
    return str(uuid.UUID(int=number))


class Api:
    """A listing of `size` executions in bulks of ten, newest first, beside those of other people."""

    def __init__(self, size: int, *, strangers: int = 0) -> None:
        self.entries = [{"execution_id": f"s{n}", "status": "running"} for n in range(strangers)]
        self.entries += [{"execution_id": f"e{n}", "bulk_id": bulk(n // 10), "status": "running"} for n in range(size)]
        self.by_id = {entry["execution_id"]: entry for entry in self.entries}
        self.asked: Counter[str] = Counter()

    def __call__(self, request: Request) -> Reply:
        query = dict(request.query)
        if "executions/" in request.path:
            self.asked["details"] += 1
            found = self.by_id.get(request.path.rpartition("/")[2])
            return reply(200, found) if found else reply(404, {"error": "no such execution"})
        if "bulk_id" in query:
            assert is_filter(query["bulk_id"])
            self.asked["bulk"] += 1
            return reply(200, {"executions": [e for e in self.entries if e.get("bulk_id") == query["bulk_id"]]})
        self.asked["page"] += 1
        start = int(query.get("offset", 0))
        return reply(200, {"executions": self.entries[start : start + int(query["limit"])]})

    def end(self, **said: Any) -> None:
        for entry in self.entries:
            entry.update({**DONE, **said})


class Trial:
    """Results of `size` accepted rows in bulks of ten, tracked through `answer`."""

    def __init__(self, size: int, answer: Callable[[Request], Any], *, workers: int = 8) -> None:
        self.results = Results(size)
        for row in range(size):
            self.results.replace(Outcome(row, "queued", bulk(row // 10), f"e{row}"))
        self.transport = FakeTransport(answer)
        self.clock = ManualClock()
        self.events: list[Event] = []
        self._workers = workers
        self.contents: list[bytes | None] = [None] * size
        self.corrected: list[Outcome] = []
        self.sent_times: list[float | None] = [None] * size

    def sent(self, *inputs: dict[str, Any]) -> None:
        """Say which inputs the rows were sent with."""
        self.contents = [fingerprint(one) for one in inputs]

    def _tracker(self) -> Tracker:
        return Tracker(
            "wf",
            self.results,
            ApiConnection(self.transport, self.clock, "current", self._workers),
            events=EventEmitter(self.events.append, self.results, total=self.results.size, until_settled=True),
            rows=self,
        )

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Take in ended executions, as the journal does."""

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        self.corrected.extend(outcomes)

    def content(self, row: int) -> bytes | None:
        return self.contents[row]

    def sent_at(self, row: int) -> float | None:
        return self.sent_times[row]

    def refresh(self) -> int:
        async def go() -> int:
            return await self._tracker().poll_once(asyncio.Event())

        return asyncio.run(go())

    def wait(self, timeout: float | None = None) -> int:
        async def go() -> int:
            return await self._tracker().wait(asyncio.Event(), timeout=timeout)

        return asyncio.run(go())


def test_a_poll_that_was_overtaken_reports_the_row_as_it_is_now() -> None:
    """A delivery may say the end while the API still answers what was so before: no view goes back for it."""

    def answer(_: Request) -> Reply:
        trial.results.merge(Outcome(0, "completed", execution_id="e0", output="x"))
        return reply(200, {"execution_id": "e0", "status": "running", "started_at": "2025-12-20T09:00:00Z"})

    trial = Trial(1, answer)
    trial.results.replace(Outcome(0, "queued", None, "e0"))
    trial.refresh()
    told = [outcome for event in trial.events for outcome in event.changed]
    assert [(outcome.status, outcome.output) for outcome in told] == [("completed", "x")]


def test_a_poll_makes_one_request_per_bulk_with_open_rows() -> None:
    """Settled rows, and rows that were never sent, are not requested."""
    api = Api(50)
    trial = Trial(50, api)
    for row in range(20):
        trial.results.merge(Outcome(row, "completed", execution_id=f"e{row}", output="x"))
    api.end()
    assert trial.refresh() == 0
    assert api.asked == {"bulk": 3}
    assert trial.results.tally() == {"completed": 50}


def test_ten_thousand_open_rows_cost_at_most_110_requests_a_poll() -> None:
    """A thousand bulks are read from the workflow's own listing, a hundred executions a page."""
    api = Api(10_000)
    trial = Trial(10_000, api)
    assert trial.refresh() == 10_000
    assert sum(api.asked.values()) <= 110
    assert api.asked["bulk"] == 0
    assert trial.results.tally() == {"running": 10_000}


def test_a_listing_that_speaks_of_others_is_left_for_the_bulks() -> None:
    """Where pages hold nothing of ours, they are not worth their requests."""
    api = Api(200, strangers=5_000)
    trial = Trial(200, api)
    trial.refresh()
    assert api.asked["page"] <= 2
    assert api.asked["bulk"] == 20
    assert trial.results.tally() == {"running": 200}


def test_rows_are_matched_by_id_whatever_the_order_of_the_listing() -> None:
    """The listing comes newest first, so a bulk's rows come backwards."""
    api = Api(10)
    for number, entry in enumerate(api.entries):
        entry.update(DONE, output=f"picture {number}")
    api.entries.reverse()
    trial = Trial(10, api)
    trial.refresh()
    assert trial.results.output == [f"picture {number}" for number in range(10)]


def test_a_failure_gets_its_cause_from_the_details() -> None:
    """Which the listing does not say."""
    api = Api(10)
    api.end()
    api.by_id["e3"].update(status="failed", output=None)
    listed = {**api.by_id["e3"]}
    api.entries[3] = listed
    api.by_id["e3"].update(error="step failed", error_cause="NSFW filter")
    trial = Trial(10, api)
    trial.refresh()
    assert api.asked == {"bulk": 1, "details": 1}
    assert trial.results.status[3] == "failed"
    assert trial.results.error[3] == "NSFW filter"
    assert trial.results.error[4] is None


def test_a_failure_without_a_cause_is_not_requested_again() -> None:
    """The row is settled."""
    api = Api(1)
    api.end(status="failed", output=None)
    trial = Trial(1, api)
    assert trial.wait() == 0
    assert trial.results.error == [NO_REASON]


def test_an_output_that_the_listing_leaves_out_comes_from_the_details() -> None:
    """A list of pictures, say."""
    api = Api(1)
    api.entries[0] = {"execution_id": "e0", "bulk_id": bulk(0), "status": "completed", "cost": 0.02}
    api.by_id["e0"].update(status="completed", output=["u1", "u2"], completed_at="2025-12-20T10:00:00Z")
    trial = Trial(1, api)
    trial.refresh()
    assert trial.results.output == [["u1", "u2"]]
    assert trial.results.cost[0] == 0.02
    assert trial.results.completed_at[0] == 1_766_224_800_000_000_000


def test_a_failure_whose_details_did_not_come_stays_open() -> None:
    """So that the next poll requests its cause again."""
    api = Api(1)
    api.end(status="failed", output=None)
    trial = Trial(1, lambda request: reply(503) if "executions/" in request.path else api(request))
    assert trial.refresh() == 1
    assert trial.results.status == ["queued"]


def test_waiting_survives_whatever_the_network_does() -> None:
    """5xx, 429, silence, garbage: the next poll repeats the request, and the rows settle."""
    api = Api(20)
    faults: list[Any] = [
        reply(500),
        reply(503),
        Fault(sent=False, reason="refused"),
        Fault(sent=True, reason="timeout"),
        reply(200, b"{"),
        reply(429),
    ]

    def answer(request: Request) -> Any:
        if faults:
            return faults.pop()
        api.end()
        return api(request)

    trial = Trial(20, answer)
    assert trial.wait() == 0
    assert trial.results.tally() == {"completed": 20}


def test_polls_come_at_growing_intervals() -> None:
    """From 1 s to 15 s."""
    api = Api(10)
    trial = Trial(10, api)
    assert trial.wait(timeout=100) == 10
    waits = trial.clock.slept[:-1]
    assert waits == sorted(waits)
    assert waits[0] == 1.0
    assert max(waits) == 15.0
    assert sum(trial.clock.slept) == pytest.approx(100)


def test_waiting_costs_few_requests_more_than_the_least_and_slow_ones_hold_up_no_others() -> None:
    """10,000 executions end within 60 s; a request in 50 takes 20 times the latency."""
    ends = waiting.in_any_order(10_000)
    waited = waiting.wait(ends, slow_every=50)
    assert waited.requests <= 1.3 * waiting.oracle(ends, waited.delay)
    assert waited.seconds <= 1.25 * (max(ends) + waiting.LATENCY)


def test_a_wait_begins_with_a_sample_of_many_pages() -> None:
    """No execution on a few pages has ended: the others are read by the next poll, whatever that few show."""
    api = Api(2_000)
    trial = Trial(2_000, api, workers=4)
    asked: list[int] = []

    def answer(request: Request) -> Any:
        if len(trial.clock.slept) > len(asked):
            asked.append(api.asked["page"])
        if asked and "offset=700" not in str(request.query):
            api.end()
        return api(request)

    trial.transport = FakeTransport(answer)
    assert trial.wait() == 0
    assert asked == [4]
    assert api.asked == {"page": 4 + 20}


def test_a_wait_whose_sample_shows_an_end_reads_all_at_once() -> None:
    """Results of yesterday are not waited for."""
    api = Api(2_000)
    api.end()
    trial = Trial(2_000, api, workers=4)
    assert trial.wait() == 0
    assert trial.clock.slept == []
    assert api.asked == {"page": 4 + 20}


def test_a_wait_with_a_deadline_begins_with_every_page() -> None:
    """Its first poll may be the only one."""
    api = Api(2_000)
    api.entries[950].update(DONE)
    trial = Trial(2_000, api, workers=4)
    assert trial.wait(timeout=0.5) == 1_999
    assert api.asked == {"page": 20}


@pytest.mark.parametrize(
    ("is_open", "asked"),
    [
        pytest.param(lambda row: row % 130 == 0, {"bulk": 16}, id="16 rows on 20 pages"),
        pytest.param(lambda row: row < 200, {"page": 2}, id="the 200 newest rows"),
    ],
)
def test_the_last_open_rows_are_read_with_the_fewest_requests(
    is_open: Callable[[int], bool], asked: dict[str, int]
) -> None:
    """Bulk by bulk where a poll has found them on more pages; else from the listing."""
    api = Api(2_000)
    trial = Trial(2_000, api)
    for row, entry in enumerate(api.entries):
        entry.update({} if is_open(row) else DONE)

    async def go() -> None:
        tracker = trial._tracker()
        await tracker.poll_once(asyncio.Event())
        assert api.asked == {"page": 20}
        api.asked.clear()
        await tracker.poll_once(asyncio.Event())

    asyncio.run(go())
    assert api.asked == asked


def test_a_poll_of_many_requests_is_followed_later() -> None:
    """100 requests: 10 s, not 1 s. Growing delays, and their limit of 15 s, are as they were."""
    assert [poll_delay(polls, requests=100, floor=None, draw=0.5) for polls in (1, 6, 8)] == [10, 10, 15]
    assert poll_delay(1, requests=10, floor=None, draw=0.5) == 1
    assert poll_delay(1, requests=9_999, floor=None, draw=0.5) == 15


def test_the_next_poll_comes_when_the_last_end_is_expected() -> None:
    """Two thirds ended within 10 s: the last third is expected within 5 s."""
    clock = ManualClock()
    schedule = PollSchedule(clock)
    schedule.polled(still_open=900, requests=100)
    clock.time += 10
    schedule.polled(still_open=300, requests=100)
    assert schedule.delay(floor=0.0) == pytest.approx(5.5)
    assert schedule.delay(floor=40.0) == 40
    clock.time += 5.5
    schedule.polled(still_open=299, requests=100)
    assert schedule.delay(floor=0.0) == 10


def test_retry_after_is_a_floor_between_polls() -> None:
    """An API that asks for 40 s of rest gets them."""
    api = Api(10)
    refusals = [reply(429, {"error": "slow"}, retry_after="40")]

    def answer(request: Request) -> Any:
        if refusals:
            return refusals.pop()
        api.end()
        return api(request)

    trial = Trial(10, answer)
    trial.wait()
    assert trial.clock.slept == [40.0]


@pytest.mark.parametrize("asked", ["999999999", "Thu, 31 Dec 2099 23:59:59 GMT"])
def test_a_long_retry_after_stops_no_wait_and_is_reported(asked: str) -> None:
    """The next poll comes after 60 s, and an observer gets the requested delay until the API replies again."""
    api = Api(10)
    refusals = [reply(429, {"error": "slow"}, retry_after=asked)]

    def answer(request: Request) -> Any:
        if refusals:
            return refusals.pop()
        api.end()
        return api(request)

    trial = Trial(10, answer)
    trial.wait()
    assert trial.clock.slept == [60.0]
    waits = [event.waiting_for for event in trial.events if event.kind in ("waiting", "resumed")]
    assert "the API asks to wait" in (waits[0] or "")
    assert waits[-1] is None


def test_an_execution_that_the_api_no_longer_has_becomes_unknown() -> None:
    """Three polls that do not list it, and details that are 404, end the wait."""
    api = Api(0)
    trial = Trial(2, api)
    assert trial.wait() == 0
    assert trial.results.status == ["unknown", "unknown"]
    assert trial.results.error == [FORGOTTEN] * 2
    assert api.asked == {"bulk": 3, "details": 2}


@pytest.mark.parametrize("knows", ["journal", "started_at"])
@pytest.mark.parametrize("in_bulk", [True, False])
def test_a_refresh_settles_an_old_execution_that_the_api_forgot(knows: str, in_bulk: bool) -> None:
    """It has one poll only; a young execution may be late, and stays open."""
    trial = Trial(2, Api(0))
    if not in_bulk:
        trial.results.bulk_id[:] = [None] * 2
    sent = [EPOCH - MIN_AGE - 1, EPOCH - MIN_AGE + 60]
    if knows == "journal":
        trial.sent_times = [*sent]
    else:
        for row, time in enumerate(sent):
            trial.results.started_at[row] = int(time * 1e9)
    for _ in range(2):
        assert trial.refresh() == 1
    assert trial.results.status == ["unknown", "queued"]
    assert trial.results.error == [FORGOTTEN, None]
    assert trial.wait() == 0


def test_an_old_execution_that_has_details_is_not_gone() -> None:
    """Whatever the listing leaves out."""
    api = Api(1)
    api.end()
    api.entries = []
    trial = Trial(1, api)
    trial.sent_times = [EPOCH - 2 * MIN_AGE]
    assert trial.refresh() == 0
    assert trial.results.status == ["completed"]


def test_a_listing_that_lags_is_waited_for() -> None:
    """A row that is not listed yet keeps its state, and is found by a later poll."""
    late, api = Api(0), Api(10)
    api.end()
    calls: list[Request] = []

    def answer(request: Request) -> Any:
        calls.append(request)
        return (late if len(calls) <= 2 else api)(request)

    trial = Trial(10, answer)
    assert trial.wait() == 0
    assert trial.results.tally() == {"completed": 10}


def test_a_row_without_a_bulk_id_is_requested_alone() -> None:
    """As after a merge that dropped the column."""
    api = Api(3)
    api.end()
    trial = Trial(3, api)
    trial.results.bulk_id[:] = [None] * 3
    assert trial.refresh() == 0
    assert api.asked == {"details": 3}


def test_rows_without_a_bulk_id_beside_many_bulks_are_requested_once() -> None:
    """The workflow's listing may settle them before they are requested alone."""
    api = Api(120)
    api.end()
    trial = Trial(120, api)
    trial.results.bulk_id[5] = None
    assert trial.refresh() == 0
    assert trial.results.tally() == {"completed": 120}


def test_an_execution_that_stands_in_several_rows_settles_in_all() -> None:
    """As after pd.concat([out, out])."""
    api = Api(10)
    api.end(status="failed", output=None)
    api.by_id["e3"].update(error_cause="why")
    results = Results(20)
    for row in range(20):
        results.replace(Outcome(row, "queued", bulk(0), f"e{row % 10}"))
    trial = Trial(10, api)
    trial.results = results
    assert trial.wait() == 0
    assert results.status == ["failed"] * 20
    assert results.error[3] == results.error[13] == "why"


def test_a_listing_that_never_turns_the_page_is_left() -> None:
    """An API that ignores `offset` does not cause endless requests."""
    api = Api(2_000)

    def answer(request: Request) -> Reply:
        if "bulk_id" in dict(request.query):
            return api(request)
        api.asked["page"] += 1
        return reply(200, {"executions": api.entries[:100]})

    trial = Trial(2_000, answer)
    trial.refresh()
    assert api.asked["page"] <= 24
    assert trial.results.tally() == {"running": 2_000}


def test_an_unknown_status_is_shown_and_waited_for() -> None:
    """It is no end."""
    api = Api(1)
    api.end(status="rebalancing")
    trial = Trial(1, api)
    assert trial.refresh() == 1
    assert trial.results.status == ["rebalancing"]


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, ef.AuthenticationError), (403, ef.PermissionDeniedError), (404, ef.NotFoundError)],
)
def test_a_refusal_ends_the_wait(status: int, error: type[ef.APIError]) -> None:
    """No amount of asking mends a key."""
    with pytest.raises(error):
        Trial(10, lambda _: reply(status, {"error": "no"})).wait()


def test_a_refresh_without_any_answer_is_an_error() -> None:
    """Rather than a frame that looks as if it were new."""
    with pytest.raises(ef.APIConnectionError, match="HTTP 503"):
        Trial(30, lambda _: reply(503)).refresh()


def test_a_refresh_with_some_answers_keeps_them() -> None:
    """One bulk of three failed to answer."""
    api = Api(30)
    api.end()
    trial = Trial(30, lambda request: reply(503) if dict(request.query)["bulk_id"] == bulk(1) else api(request))
    assert trial.refresh() == 10
    assert trial.results.tally() == {"completed": 20, "queued": 10}


def test_a_settled_row_never_goes_back() -> None:
    """A listing that lags behind the details does not undo them."""
    results = Results(1)
    results.replace(Outcome(0, "queued", "b", "e"))
    results.merge(Outcome(0, "completed", execution_id="e", output="x"))
    results.merge(Outcome(0, "running", execution_id="e"))
    assert (results.status, results.output) == (["completed"], ["x"])


def test_progress_counts_what_is_settled() -> None:
    """The last event's `done` is every row."""
    api = Api(20)
    api.end()
    trial = Trial(20, api)
    trial.wait()
    assert trial.events[-1].done == trial.events[-1].total == 20


# -- what an answer is about -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 300])
@pytest.mark.parametrize("listed", [True, False])
def test_a_bulk_id_that_is_no_uuid_is_never_a_filter(size: int, listed: bool) -> None:
    """A few executions are requested one by one, many are read from the workflow's listing where it has them."""
    api = Api(size, strangers=0 if listed else 5_000)
    trial = Trial(size, api)
    trial.results.bulk_id[:] = [f"bulk_{row // 10}" for row in range(size)]
    api.end()
    assert trial.refresh() == 0
    assert api.asked["bulk"] == 0
    assert sum(api.asked.values()) <= (5 if size == 5 or listed else 308)


@pytest.mark.parametrize("status", [400, 403, 404, 410])
@pytest.mark.parametrize("listed", [True, False])
def test_a_refusal_of_one_execution_ends_no_wait(status: int, listed: bool) -> None:
    """Its row is unknown and says why, or has what the listing says of it; the others are completed."""
    api = Api(10)
    api.end()
    api.entries[3].update(output=None)
    if not listed:
        del api.entries[3]

    def answer(request: Request) -> Reply:
        return reply(status, {"error": "no"}) if request.path.endswith("/e3") else api(request)

    trial = Trial(10, answer)
    assert trial.wait() == 0
    assert trial.results.tally() == ({"completed": 10} if listed else {"completed": 9, "unknown": 1})
    reason = FORGOTTEN if status in (404, 410) else f"HTTP {status}: no"
    assert reason in str(trial.results.error[3])
    assert trial.results.error[4] is None


def test_a_page_beyond_the_end_may_be_refused() -> None:
    """Pages are read concurrently, so some are requested that do not exist."""
    api = Api(200)
    api.end()

    def answer(request: Request) -> Reply:
        beyond = int(dict(request.query).get("offset", 0)) >= 200
        return reply(400, {"error": "offset"}) if beyond else api(request)

    trial = Trial(200, answer)
    trial.results.bulk_id[:] = ["bulk_x"] * 150 + ["bulk_y"] * 50
    assert trial.wait() == 0


@pytest.mark.parametrize("brief", ["failed", "completed", "unlisted"])
def test_details_of_another_execution_are_no_answer(brief: str) -> None:
    """They are requested again, up to a limit; then the row has the listing's values, or is unknown."""
    api = Api(10)
    api.end(status=brief, output=None, cost=0.5)
    if brief == "unlisted":
        api.entries = []
    other = {"execution_id": "e99", "status": "completed", "output": "another picture", "error": "another reason"}
    trial = Trial(10, lambda request: reply(200, other) if "executions/" in request.path else api(request))
    assert trial.wait() == 0
    assert trial.results.tally() == {("unknown" if brief == "unlisted" else brief): 10}
    assert trial.results.output == [None] * 10
    assert all(OTHER_EXECUTION in str(error) for error in trial.results.error)
    assert sum("executions/" in request.path for request in trial.transport.sent) == 10 * MAX_OTHERS


@pytest.mark.parametrize("answer", [[], "text", 7, {}, {"execution_id": 5}])
def test_details_of_other_executions_are_requested_a_few_times(answer: Any) -> None:
    """An API that answers with another kind of value for ever keeps no row open for ever."""
    api = Api(10)
    api.end(status="completed", output=None)
    trial = Trial(10, lambda request: reply(200, answer) if "executions/" in request.path else api(request))
    assert trial.wait(timeout=1e6) == 0
    assert trial.results.tally() == {"completed": 10}
    assert all(OTHER_EXECUTION in str(error) for error in trial.results.error)
    assert sum("executions/" in request.path for request in trial.transport.sent) == 10 * MAX_OTHERS


INPUTS = [{"prompt": f"p{row}", "seed": row} for row in range(20)]


def test_permuted_executions_get_into_the_rows_whose_inputs_they_have() -> None:
    """Whatever the order of a response: the listing's inputs decide, and the journal is corrected."""
    api = Api(10)
    api.end()
    for row, entry in enumerate(api.entries):
        entry.update(inputs=INPUTS[9 - row], output=f"picture {9 - row}")
    trial = Trial(10, api)
    trial.sent(*INPUTS[:10])
    assert trial.refresh() == 0
    assert trial.results.output == [f"picture {row}" for row in range(10)]
    assert trial.results.execution_id == [f"e{9 - row}" for row in range(10)]
    assert api.asked == {"bulk": 1}
    assert {one.position: one.execution_id for one in trial.corrected} == {row: f"e{9 - row}" for row in range(10)}


@pytest.mark.parametrize("inputs_in", ["listing", "details"])
def test_answers_that_were_exchanged_are_put_right(inputs_in: str) -> None:
    """Two POSTs that got each other's answers: rows, executions and bulk operations are exchanged again."""
    api = Api(20)
    api.end(output=None if inputs_in == "details" else "x")
    for row, entry in enumerate(api.entries):
        api.by_id[f"e{row}"] = {**entry, "inputs": INPUTS[(row + 10) % 20], "output": row}
        if inputs_in == "listing":
            entry.update(inputs=INPUTS[(row + 10) % 20], output=row)
    trial = Trial(20, api)
    trial.sent(*INPUTS)
    assert trial.refresh() == 0
    assert trial.results.output == [(row + 10) % 20 for row in range(20)]
    assert trial.results.bulk_id == [bulk(1)] * 10 + [bulk(0)] * 10


@pytest.mark.parametrize("change", [{"steps": 30}, {"prompt": "other"}])
def test_inputs_that_the_api_has_changed_are_no_proof(change: dict[str, Any]) -> None:
    """Defaults that it fills in, though another row has sent just that; no request more, and nothing is moved."""
    api = Api(10)
    api.end()
    for row, entry in enumerate(api.entries):
        entry.update(inputs={**INPUTS[row], **change}, output=row)
    trial = Trial(10, api)
    trial.sent(*INPUTS[:9], {**INPUTS[0], **change})
    api.entries[9].update(inputs={**INPUTS[0], **change})
    assert trial.refresh() == 0
    assert trial.results.output == list(range(10))
    assert trial.corrected == []
    assert api.asked == {"bulk": 1}


def test_an_execution_with_another_rows_input_is_not_its_own() -> None:
    """Where the row's own execution is nowhere, the row is unknown, without anything of the other's."""
    api = Api(3)
    api.end()
    for entry, row in zip(api.entries, (1, 5, 2), strict=True):
        entry.update(inputs=INPUTS[row], output=f"picture {row}")
    trial = Trial(3, api)
    trial.sent(*INPUTS[:3])
    assert trial.refresh() == 0
    assert trial.results.status == ["unknown", "completed", "completed"]
    assert trial.results.output == [None, "picture 1", "picture 2"]
    assert trial.results.execution_id == [None, "e0", "e2"]
    assert "execution e0, which has the inputs of another row" in str(trial.results.error[0])


def test_the_other_half_of_a_mistake_may_come_later() -> None:
    """While executions are not listed, nothing is decided, for a number of polls."""
    api = Api(2)
    api.end()
    for row, entry in enumerate(api.entries):
        entry.update(inputs=INPUTS[1 - row], output=row)
    late = api.entries.pop()

    def answer(request: Request) -> Reply:
        if len(trial.transport.sent) == looks:
            api.entries.append(late)
        return api(request)

    for looks in (2, 7):
        api.entries = api.entries[:1]
        api.by_id.pop("e1", None)
        trial = Trial(2, lambda request: reply(503) if "executions/" in request.path else answer(request))
        trial.sent(*INPUTS[:2])
        trial.wait(timeout=200)
        assert trial.results.output == [1, 0], looks


class Unseen(Api):
    """Three executions that have ended, with defaults in their inputs; the third is neither listed nor readable."""

    def __init__(self, **ended: Any) -> None:
        super().__init__(3)
        self.end(**ended)
        for row, entry in enumerate(self.entries):
            entry.update(inputs={**INPUTS[row], "steps": 30})
        self.entries.pop()

    def __call__(self, request: Request) -> Reply:
        return reply(503) if request.path.endswith("/e2") else super().__call__(request)


@pytest.mark.parametrize("timeout", [None, 1.0])
@pytest.mark.parametrize("brief", [False, True])
def test_changed_inputs_hold_back_no_result_when_the_call_ends(timeout: float | None, brief: bool) -> None:
    """A refresh or a short wait polls too few times to see a row that stays away; the others are written."""
    api = Unseen(**({"status": "failed", "output": None} if brief else {}))
    trial = Trial(3, api)
    trial.sent(*INPUTS[:3])
    assert (trial.refresh() if timeout is None else trial.wait(timeout=timeout)) == 1
    assert trial.results.status == [*["failed" if brief else "completed"] * 2, "queued"]
    assert trial.results.error == [NO_REASON if brief else None] * 2 + [None]


class Slow(FakeTransport):
    """Answers of which some take their time."""

    def __init__(self, answer: Callable[[Request], Any], delay: Callable[[Request], Awaitable[None]]) -> None:
        super().__init__(answer)
        self._delay = delay

    async def send(self, request: Request) -> Any:
        await self._delay(request)
        return await super().send(request)


def test_a_short_wait_has_the_time_left_for_the_details_of_what_it_releases() -> None:
    """They take longer than nothing, which is what is left in the end."""
    trial = Trial(3, api := Unseen(status="failed", output=None))
    trial.sent(*INPUTS[:3])

    async def delay(request: Request) -> None:
        for _ in range(50 if "executions/" in request.path else 0):
            await trial.clock.sleep(0.01)

    trial.transport = Slow(api, delay)
    assert trial.wait(timeout=1) == 1
    assert trial.results.error == [NO_REASON, NO_REASON, None]


def test_a_wait_that_ends_in_the_midst_of_a_poll_writes_what_was_answered() -> None:
    """Also what has other inputs: one bulk operation is answered, another is not."""
    api = Api(20)
    api.end()
    for row, entry in enumerate(api.entries):
        entry.update(inputs={**INPUTS[row], "steps": 30})
    trial = Trial(20, api)
    trial.sent(*INPUTS)

    async def delay(request: Request) -> None:
        if dict(request.query).get("bulk_id") == bulk(1):
            await trial.clock.sleep(10)
            await asyncio.Event().wait()

    trial.transport = Slow(api, delay)
    assert trial.wait(timeout=0.5) == 10
    assert trial.results.status == ["completed"] * 10 + ["queued"] * 10


@pytest.mark.parametrize("other", [2, 0])
def test_what_may_be_another_rows_is_held_back_when_the_call_ends(other: int) -> None:
    """Execution e1 has exactly the input of a row: of one that was not seen, or of one whose execution has another."""
    api = Unseen()
    api.by_id["e1"].update(inputs=INPUTS[other])
    trial = Trial(3, api)
    trial.sent(*INPUTS[:3])
    for _ in range(4):
        trial.refresh()
        trial.wait(timeout=1)
    assert trial.results.status == ["queued" if other == 0 else "completed", "queued", "queued"]
    assert trial.corrected == []


def test_equal_inputs_are_interchangeable() -> None:
    """Rows with one input keep their executions, or get any with that input."""
    api = Api(4)
    api.end()
    for row, entry in enumerate(api.entries):
        entry.update(inputs=INPUTS[(0, 1, 0, 0)[row]], output=row)
    trial = Trial(4, api)
    trial.sent(INPUTS[0], INPUTS[0], INPUTS[0], INPUTS[1])
    assert trial.refresh() == 0
    assert trial.results.output == [0, 3, 2, 1]


def test_inputs_are_compared_once() -> None:
    """However often an execution is polled."""
    api = Api(10)
    for row, entry in enumerate(api.entries):
        entry.update(inputs=INPUTS[row])
    trial = Trial(10, api)
    trial.sent(*INPUTS[:10])
    asked: list[int] = []
    contents, trial.contents = trial.contents, []
    tracker = trial._tracker()
    assert tracker._assignments is not None
    tracker._assignments._content = lambda row: (asked.append(row), contents[row])[1]
    asyncio.run(tracker.wait(asyncio.Event(), timeout=30))
    assert sorted(asked) == list(range(10))
