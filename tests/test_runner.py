"""The runner against a transport and a clock of our own: what is sent, how often, and what is written down."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.engine.limiter import OPENING_SECONDS
from eachlabs_frames.engine.runner import INTERRUPTED, MAX_UNANSWERED, StopReason
from eachlabs_frames.inputs.batches import batched
from eachlabs_frames.inputs.file_values import reference
from eachlabs_frames.inputs.fingerprints import fingerprint
from eachlabs_frames.journal.none import NullRunJournal
from eachlabs_frames.journal.records import RowState
from eachlabs_frames.models import Batch, Event, Fault, Outcome, Reply, Request
from eachlabs_frames.results import Results
from tests.fakes import FakeTransport, ManualClock, QuietSearch, accepted, inputs_of, reply, runner

LOST = Fault(sent=True, reason="connection reset")
UNSENT = Fault(sent=False, reason="connection refused")


class Trial:
    """One run of `size` rows, each of the input {"row": position}."""

    def __init__(
        self, size: int, answers: Any = (), *, workers: int = 1, canary: bool = False, max_wait: float = 900.0
    ):
        self.results = Results(size)
        self.transport = FakeTransport(answers)
        self.clock = ManualClock()
        self.events: list[Event] = []
        self.read = 0
        self.stop: asyncio.Event | None = None
        self._size, self._workers, self._canary = size, workers, canary
        self._max_wait = max_wait

    def run(self) -> StopReason | None:
        return asyncio.run(self._run())

    async def _run(self) -> StopReason | None:
        self.stop = asyncio.Event()
        made = runner(
            self.results,
            transport=self.transport,
            clock=self.clock,
            observer=self.events.append,
            max_wait=self._max_wait,
            workers=self._workers,
        )
        return await made.run(batched(self._items()), canary=self._canary, stop=self.stop)

    def _items(self) -> Iterator[tuple[list[int], list[bytes]]]:
        for row in range(self._size):
            self.read += 1
            yield [row], [orjson.dumps({"row": row})]

    @property
    def sent_rows(self) -> Counter[int]:
        return Counter(one["row"] for request in self.transport.sent for one in inputs_of(request))


def test_every_row_is_sent_once_in_batches_of_ten_in_row_order() -> None:
    """25 rows are three requests: 10, 10 and 5, in the frame's order."""
    trial = Trial(25)
    assert trial.run() is None
    assert [[one["row"] for one in inputs_of(request)] for request in trial.transport.sent] == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 25)),
    ]
    assert trial.results.status == ["queued"] * 25


def test_no_more_than_the_pool_is_in_flight() -> None:
    """Eight workers keep eight requests in flight: not fewer, and never more."""
    trial = Trial(500, workers=8)
    trial.run()
    assert trial.transport.peak == 8


def test_batches_are_read_as_they_are_sent() -> None:
    """With two workers, a run that stops at its first answer has read no more rows than those in flight."""
    trial = Trial(1_000, lambda _: reply(402, {"error": "balance too low"}), workers=2)
    trial.run()
    assert trial.read <= 31


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("bad", [{0}, {4}, {9}, {0, 9}, {2, 3, 7}, set(range(10))])
def test_a_refused_request_is_split_until_the_bad_row_stands_alone(status: int, bad: set[int]) -> None:
    """The culprits are failed with the API's message, all others accepted, and none is accepted twice."""

    def answer(request: Request) -> Reply:
        if any(one["row"] in bad for one in inputs_of(request)):
            return reply(status, {"error": "invalid input"})
        return accepted(request)

    trial = Trial(10, answer)
    assert trial.run() is None
    assert {row for row, word in enumerate(trial.results.status) if word == "failed"} == bad
    assert all(trial.results.error[row] == f"HTTP {status}: invalid input" for row in bad)
    assert all(trial.results.execution_id[row] is None for row in bad)
    assert all(trial.results.status[row] == "queued" for row in set(range(10)) - bad)
    taken = Counter(
        one["row"] for request in trial.transport.sent if answer(request).status == 202 for one in inputs_of(request)
    )
    assert taken == Counter(set(range(10)) - bad)


@pytest.mark.parametrize(
    "answer",
    [
        LOST,
        reply(500, {"error": "internal"}),
        reply(502, b"<html>bad gateway</html>"),
        reply(503),
        reply(504),
        reply(408),
        reply(302),
        reply(202, b'{"bulk_id": "b", "exec'),
        reply(202, b""),
        reply(200, b"<html></html>"),
        reply(202, {"bulk_id": "b"}),
        reply(202, {"bulk_id": "b", "executions": [{"execution_id": "e", "status": "queued"}]}),
    ],
)
def test_a_request_that_may_have_taken_effect_is_never_sent_again(answer: Any) -> None:
    """Its rows are unknown, with a reason and without an execution, and the other batches go on."""
    trial = Trial(30, [accepted, answer, accepted])
    assert trial.run() is None
    assert trial.sent_rows == Counter(range(30))
    assert trial.results.status == ["queued"] * 10 + ["unknown"] * 10 + ["queued"] * 10
    assert all(trial.results.error[row] for row in range(10, 20))
    assert trial.results.execution_id[10:20] == [None] * 10


@pytest.mark.parametrize("answer", [UNSENT, reply(429, {"error": "slow down"})])
def test_a_request_that_certainly_created_nothing_is_sent_again(answer: Any) -> None:
    """No connection, or a 429: the same inputs go once more, and are accepted."""
    trial = Trial(10, [answer, answer, accepted])
    assert trial.run() is None
    assert trial.sent_rows == Counter(dict.fromkeys(range(10), 3))
    assert trial.results.status == ["queued"] * 10


def test_retry_after_is_a_floor_of_the_wait() -> None:
    """A 429 that asks for 30 s is never answered sooner."""
    trial = Trial(10, [reply(429, {"error": "slow"}, retry_after="30")])
    trial.run()
    assert trial.clock.slept == [30.0]


def test_waits_grow_and_are_jittered() -> None:
    """Without Retry-After the wait is the draw's share of 1, 2, 4, 8 s."""
    trial = Trial(10, [reply(429)] * 4)
    trial.run()
    assert trial.clock.slept == [0.5, 1.0, 2.0, 4.0]


def test_one_worker_alone_retries_while_the_run_is_refused() -> None:
    """The first two requests are refused; after that one worker alone asks, until the API takes something."""
    refusals = [reply(429, {"error": "slow"})] * (2 + 5)
    trial = Trial(200, refusals, workers=8)
    assert trial.run() is None
    assert trial.clock.slept == [OPENING_SECONDS, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    refused = trial.transport.sent[: 2 + 5]
    assert len({request.body for request in refused[:2]}) == 2
    assert {inputs_of(request)[0]["row"] for request in refused[2:]} == {inputs_of(refused[0])[0]["row"]}
    assert trial.results.status == ["queued"] * 200


def test_patience_ends_and_the_rows_stay_pending() -> None:
    """After max_wait seconds of nothing but 429 the run stops, with the API's words, and no row is lost."""
    trial = Trial(40, lambda _: reply(429, {"error": "too many", "details": "12 of 10 in use"}), max_wait=20)
    halt = trial.run()
    assert halt is not None
    assert "max_wait=20" in halt.reason
    assert "12 of 10 in use" in halt.reason
    assert trial.clock.time <= 20
    assert trial.results.status == ["pending"] * 40


def test_a_retry_after_beyond_patience_ends_the_run_at_once() -> None:
    """The run does not wait an hour to find that max_wait is over."""
    trial = Trial(10, [reply(429, {"error": "slow"}, retry_after="3600")])
    assert trial.run() is not None
    assert trial.clock.slept == []


def test_patience_counts_from_the_last_thing_that_was_taken() -> None:
    """A run that goes on slowly is not given up: each acceptance starts the clock anew."""
    slow = [reply(429, {"error": "slow"}, retry_after="15"), accepted]
    trial = Trial(100, slow * 10, max_wait=20)
    assert trial.run() is None
    assert trial.clock.time == 150
    assert trial.results.status == ["queued"] * 100


def test_the_reason_for_waiting_is_reported() -> None:
    """An observer hears of the wait in the API's words, and of its end."""
    trial = Trial(10, [reply(429, {"error": "slow", "details": "too many starts"}, retry_after="7")])
    trial.run()
    kinds = [event.kind for event in trial.events]
    assert kinds == ["waiting", "answered", "resumed"]
    assert trial.events[0].waiting_for == "HTTP 429: slow: too many starts; retrying in 7 s"
    assert trial.events[-1].waiting_for is None


@pytest.mark.parametrize("asked", ["1200", "999999999", "Thu, 31 Dec 2099 23:59:59 GMT"])
def test_a_retry_after_beyond_max_wait_stops_at_once(asked: str) -> None:
    """It does not sleep: the rest is pending, and the reason states the requested delay."""
    trial = Trial(30, [accepted, reply(429, {"error": "slow"}, retry_after=asked)])
    halt = trial.run()
    assert halt is not None
    assert halt.reason.startswith("the API asks to wait ")
    assert "s, more than max_wait=900 s: HTTP 429: slow" in halt.reason
    assert trial.clock.slept == []
    assert trial.results.tally() == {"queued": 10, "pending": 20}


def test_an_interrupt_ends_a_wait_for_executions_in_flight_at_once() -> None:
    """A 402 about them is waited for; a stop sends nothing more and lets no time pass."""
    details = "your in-flight executions exceeds your current balance ($1.00). please wait for an active execution"

    def answer(request: Request) -> Reply:
        if len(trial.transport.sent) == 1:
            return accepted(request)
        assert trial.stop is not None
        asyncio.get_running_loop().call_later(0, trial.stop.set)
        return reply(402, {"error": "insufficient balance", "details": details})

    trial = Trial(30, answer)
    assert trial.run() == StopReason(INTERRUPTED)
    assert trial.results.tally() == {"queued": 10, "pending": 20}
    assert len(trial.transport.sent) == 2


def test_a_balance_that_is_too_low_stops_the_run_without_an_exception() -> None:
    """402: what was accepted stays, the rest is pending, nothing more is sent."""
    trial = Trial(100, [accepted, reply(402, {"error": "insufficient balance", "details": "0.03 short"})])
    halt = trial.run()
    assert halt is not None
    assert "0.03 short" in halt.reason
    assert len(trial.transport.sent) == 2
    assert trial.results.tally() == {"queued": 10, "pending": 90}


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, ef.AuthenticationError), (403, ef.PermissionDeniedError), (404, ef.NotFoundError)],
)
def test_a_refusal_before_anything_was_taken_is_an_exception(status: int, error: type[ef.APIError]) -> None:
    """401, 403 and 404 raise where the canary batch meets them, and no second batch is sent."""
    trial = Trial(100, lambda _: reply(status, {"error": "no"}), workers=8, canary=True)
    with pytest.raises(error, match=f"HTTP {status}: no") as caught:
        trial.run()
    assert caught.value.status == status
    assert len(trial.transport.sent) == 1


def test_a_refusal_in_the_middle_keeps_what_was_accepted() -> None:
    """A key that is revoked while a run is on its way ends it: no exception takes the accepted rows along."""
    trial = Trial(50, [accepted, accepted, reply(401, {"error": "revoked"})])
    halt = trial.run()
    assert halt is not None
    assert trial.results.tally() == {"queued": 20, "pending": 30}


def test_the_canary_goes_alone() -> None:
    """The first batch's answer is there before the second is sent, and then the pool is used."""
    flights: list[int] = []

    def answer(request: Request) -> Reply:
        flights.append(len(trial.transport.sent))
        return accepted(request)

    trial = Trial(200, answer, workers=8, canary=True)
    trial.run()
    assert flights[0] == 1
    assert trial.transport.peak == 8


def test_ten_lost_answers_in_a_row_stop_the_run() -> None:
    """Each may be billed and none can be undone, so an API that is down is not fed the whole frame."""
    trial = Trial(1_000, lambda _: reply(503, {"error": "down"}))
    halt = trial.run()
    assert halt is not None
    assert "down" in halt.reason
    assert len(trial.transport.sent) == MAX_UNANSWERED
    assert trial.results.tally() == {"unknown": 100, "pending": 900}


def test_lost_answers_among_good_ones_do_not_stop_a_run() -> None:
    """One request in two is lost, and all are sent."""
    trial = Trial(400, [accepted, LOST] * 20)
    assert trial.run() is None
    assert trial.results.tally() == {"queued": 200, "unknown": 200}


def test_stopping_sends_nothing_new_and_keeps_the_answers_in_flight() -> None:
    """After `stop`, the requests that are out are answered and written, and the rest stays pending."""

    def answer(request: Request) -> Reply:
        assert trial.stop is not None
        trial.stop.set()
        return accepted(request)

    trial = Trial(300, answer, workers=4)
    halt = trial.run()
    assert halt == StopReason(INTERRUPTED)
    sent = len(trial.transport.sent)
    assert sent <= 8
    assert trial.results.tally() == {"queued": sent * 10, "pending": 300 - sent * 10}


def test_a_request_that_is_cancelled_in_flight_may_have_started() -> None:
    """Its rows are unknown, not pending: they would be sent again otherwise."""

    async def scenario() -> Results:
        trial.transport = Hanging()
        run = asyncio.ensure_future(trial._run())
        await trial.transport.out.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return trial.results

    class Hanging(FakeTransport):
        def __init__(self) -> None:
            super().__init__()
            self.out = asyncio.Event()

        async def send(self, request: Request) -> Any:
            if len(self.sent) == 2:
                self.out.set()
                await asyncio.Event().wait()
            return await super().send(request)

    trial = Trial(50)
    results = asyncio.run(scenario())
    assert results.status == ["queued"] * 20 + ["unknown"] * 10 + ["pending"] * 20


def test_requests_in_flight_of_an_abandoned_run_stay_unknown() -> None:
    """Given up, its rows may have started; an answer that comes later is not written into a frame that is out."""

    async def scenario() -> Results:
        gate, out = asyncio.Event(), asyncio.Event()

        class Late(FakeTransport):
            async def send(self, request: Request) -> Any:
                out.set()
                await gate.wait()
                return await super().send(request)

        results = Results(30)
        made = runner(results, transport=Late(), clock=ManualClock())
        batches = batched([(range(30), [b"{}"] * 30)])
        run = asyncio.ensure_future(made.run(batches, canary=False, stop=asyncio.Event()))
        await out.wait()
        made.abandon()
        gate.set()
        await run
        return results

    results = asyncio.run(scenario())
    assert results.status == ["unknown"] * 10 + ["pending"] * 20
    assert results.accepted == 0


def test_a_response_that_cannot_be_read_leaves_its_rows_unknown() -> None:
    """A mistake of ours in reading is no reason to call rows unsent: the next call would pay for them again."""
    unreadable = Reply(429, b"", None)  # type: ignore[arg-type]  # no headers: reading Retry-After fails
    trial = Trial(20, [unreadable, accepted])
    assert trial.run() is None
    assert trial.results.tally() == {"unknown": 10, "queued": 10}
    assert trial.sent_rows == Counter(range(20))


def test_stopping_ends_a_wait() -> None:
    """A run that waits out a 429 ends when it is stopped, without the wait's end."""

    async def scenario() -> tuple[StopReason | None, ManualClock]:
        never = asyncio.Event()

        class Sleepless(ManualClock):
            async def sleep(self, seconds: float) -> None:
                self.slept.append(seconds)
                trial.stop.set()  # type: ignore[union-attr]  # set before a batch is sent
                await never.wait()

        trial.clock = Sleepless()
        return await trial._run(), trial.clock

    trial = Trial(20, lambda _: reply(429))
    halt, clock = asyncio.run(scenario())
    assert halt == StopReason(INTERRUPTED)
    assert len(clock.slept) == 1


def test_an_observer_that_raises_does_not_touch_the_run() -> None:
    """It is dropped after its first error, and every row is sent."""
    calls = []

    def observer(event: Event) -> None:
        calls.append(event)
        raise RuntimeError

    async def run() -> Results:
        results = Results(30)
        made = runner(results, transport=FakeTransport(), clock=ManualClock(), observer=observer, workers=2)
        items = [(range(30), [b"{}"] * 30)]
        await made.run(batched(items), canary=False, stop=asyncio.Event())
        return results

    assert asyncio.run(run()).status == ["queued"] * 30
    assert len(calls) == 1


ANSWERS = st.sampled_from(
    [
        accepted,
        accepted,
        accepted,
        LOST,
        UNSENT,
        reply(400, {"error": "bad"}),
        reply(422, {"error": "bad"}),
        reply(429),
        reply(500),
        reply(202, {"bulk_id": "b", "executions": []}),
        reply(202, b"{"),
    ]
)


@settings(max_examples=200, deadline=None)
@given(size=st.integers(0, 60), answers=st.lists(ANSWERS, max_size=30), workers=st.integers(1, 5))
def test_whatever_the_api_answers_no_row_is_lost_or_accepted_twice(size: int, answers: list[Any], workers: int) -> None:
    """Each row has one verdict; the execution that it holds is the one that its own input was given."""
    given_out: dict[str, int] = {}
    maybe: Counter[int] = Counter()
    left = list(answers)

    def answer(request: Request) -> Any:
        one = left.pop(0) if left else accepted
        made = one(request) if callable(one) else one
        rows = [taken["row"] for taken in inputs_of(request)]
        if isinstance(made, Reply) and made.status == 202 and one is accepted:
            entries = orjson.loads(made.body)["executions"]
            given_out.update(zip((entry["execution_id"] for entry in entries), rows, strict=True))
            maybe.update(rows)
        elif (isinstance(made, Fault) and made.sent) or (isinstance(made, Reply) and made.status in (202, 500)):
            maybe.update(rows)
        return made

    trial = Trial(size, answer, workers=workers)
    trial.run()
    assert all(count == 1 for count in maybe.values())
    for row in range(size):
        execution_id, status = trial.results.execution_id[row], trial.results.status[row]
        assert (execution_id is not None) == (status == "queued")
        if execution_id is not None:
            assert given_out[execution_id] == row
        assert (status == "unknown") == (maybe[row] == 1 and execution_id is None)
        assert status in {"queued", "unknown", "failed", "pending"}
    assert len(given_out) == sum(one is not None for one in trial.results.execution_id)


def test_a_row_that_can_no_longer_be_read_ends_the_run_and_loses_nothing() -> None:
    """A frame that changes under a run is no reason to drop what was accepted."""

    async def run() -> tuple[StopReason | None, Results]:
        results = Results(20)

        def items() -> Iterator[Batch]:
            yield Batch(tuple(range(10)), (b"{}",) * 10)
            msg = "row 10 is gone"
            raise ValueError(msg)

        made = runner(results, transport=FakeTransport(), clock=ManualClock())
        return await made.run(items(), canary=False, stop=asyncio.Event()), results

    halt, results = asyncio.run(run())
    assert halt is not None
    assert "row 10 is gone" in halt.reason
    assert results.tally() == {"queued": 10, "pending": 10}


# -- files -----------------------------------------------------------------------------------------------------------


class RecordingJournal(NullRunJournal):
    """Keeps what is claimed and settled."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[list[int]] = []
        self.settled: list[Outcome] = []

    async def claim(self, rows: Sequence[int]) -> Sequence[RowState]:
        self.claims.append([*rows])
        return await super().claim(rows)

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        self.settled += outcomes


class FakeUploads:
    """Uploads files when they are asked for, after `release`; some fail."""

    def __init__(self, *failing: str, released: bool = True) -> None:
        self.urls: dict[str, str] = {}
        self.asked: list[str] = []
        self._failing = failing
        self._released = asyncio.Event()
        if released:
            self._released.set()

    def release(self) -> None:
        """Let the uploads complete."""
        self._released.set()

    async def ensure(self, digests: Sequence[str]) -> dict[str, str]:
        """Complete the uploads."""
        self.asked += digests
        await self._released.wait()
        self.urls.update({digest: f"https://storage.example/{digest[:4]}" for digest in digests})
        return {digest: "HTTP 413: too large" for digest in digests if digest in self._failing}


def file_batches(*digests: str) -> Iterator[Batch]:
    """Yield a batch of one row per file."""
    payloads = tuple(orjson.dumps({"image": reference(digest)}) for digest in digests)
    yield Batch(tuple(range(len(digests))), payloads)


def digest(letter: str) -> str:
    """Return a SHA-256."""
    return letter * 64


def test_a_request_has_the_urls_of_files_and_the_record_their_content() -> None:
    """Only the body has URLs: a lost request is searched for by its files' content."""
    transport = FakeTransport([Fault(sent=True, reason="reset")])
    results, uploads = Results(2), FakeUploads()
    made = runner(results, transport=transport, clock=ManualClock())
    asyncio.run(made.run(file_batches(digest("a"), digest("b")), canary=False, stop=asyncio.Event(), uploads=uploads))
    assert orjson.loads(transport.sent[0].body or b"")["inputs"] == [
        {"image": "https://storage.example/aaaa"},
        {"image": "https://storage.example/bbbb"},
    ]
    assert isinstance(made._search, QuietSearch)
    (lost,) = made._search.lost
    assert lost.fingerprints == tuple(fingerprint({"image": reference(digest(letter))}) for letter in "ab")


def test_nothing_is_claimed_before_its_files_are_at_the_api() -> None:
    """Rows without files are sent meanwhile; a stop ends the waiting, and leaves the rows pending."""

    async def play() -> tuple[list[str], list[str]]:
        transport, results, uploads = FakeTransport(), Results(2), FakeUploads(released=False)
        stop = asyncio.Event()
        made = runner(results, transport=transport, clock=ManualClock(), workers=2)
        batches = iter([*file_batches(digest("a")), Batch((1,), (b'{"n":1}',))])
        running = asyncio.ensure_future(made.run(batches, canary=False, stop=stop, uploads=uploads))
        while not (transport.sent and uploads.asked):
            await asyncio.sleep(0)
        stop.set()
        await running
        return list(results.status), uploads.asked

    assert asyncio.run(play()) == (["pending", "queued"], [digest("a")])


def test_rows_whose_files_cannot_be_uploaded_are_invalid_and_never_claimed() -> None:
    """The other rows of their batch are sent, and the journal gets the reason."""
    journal = RecordingJournal()
    transport, results = FakeTransport(), Results(3)
    made = runner(results, transport=transport, clock=ManualClock(), journal=journal)
    batches = file_batches(digest("a"), digest("b"), digest("c"))
    uploads = FakeUploads(digest("b"))
    asyncio.run(made.run(batches, canary=False, stop=asyncio.Event(), uploads=uploads))
    assert list(results.status) == ["queued", "invalid", "queued"]
    assert results.error[1] == "HTTP 413: too large"
    assert journal.claims == [[0, 2]]
    assert [outcome.status for outcome in journal.settled if outcome.position == 1] == ["invalid"]


def test_a_row_that_was_sent_before_stays_as_it_is_if_its_file_cannot_be_uploaded() -> None:
    """A lost response may be billed: the row must not become one that was never sent."""
    results = Results(2)
    results.note(0, status="unknown", error="lost")
    results.replace(Outcome(1, "failed", "b", "e1"))
    transport = FakeTransport()
    made = runner(results, transport=transport, clock=ManualClock())
    batches = file_batches(digest("a"), digest("b"))
    uploads = FakeUploads(digest("a"), digest("b"))
    asyncio.run(made.run(batches, canary=False, stop=asyncio.Event(), uploads=uploads))
    assert list(results.status) == ["unknown", "failed"]
    assert transport.sent == []


def test_a_reference_without_an_upload_is_never_sent() -> None:
    """Such as one of `load_run` on another machine, whose journal does not know the file."""
    transport, results = FakeTransport(), Results(1)
    made = runner(results, transport=transport, clock=ManualClock())
    asyncio.run(made.run(file_batches(digest("a")), canary=False, stop=asyncio.Event()))
    assert (results.status[0], results.error[0]) == ("invalid", "its file is not known here: pass the file again")
    assert transport.sent == []


def test_an_error_of_the_uploads_ends_the_run() -> None:
    """Such as a refused key; nothing was sent, so it is raised."""

    class Refused(FakeUploads):
        async def ensure(self, digests: Sequence[str]) -> dict[str, str]:
            msg = "the key is not valid"
            raise ef.AuthenticationError(msg, status=401)

    made = runner(Results(1), transport=FakeTransport(), clock=ManualClock())
    with pytest.raises(ef.AuthenticationError, match="the key is not valid"):
        asyncio.run(made.run(file_batches(digest("a")), canary=False, stop=asyncio.Event(), uploads=Refused()))


# -- claims ----------------------------------------------------------------------------------------------------------


class FrozenJournal(RecordingJournal):
    """Its process is frozen for `seconds` in each of the first `times` claims; `taken` rows are then another call's."""

    def __init__(self, clock: ManualClock, seconds: float, times: int, taken: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self._clock, self._seconds, self._times, self._taken = clock, seconds, times, taken

    async def claim(self, rows: Sequence[int]) -> Sequence[RowState]:
        states = await super().claim(rows)
        if len(self.claims) > 1:
            states = [
                RowState("sent") if row in self._taken else state for row, state in zip(rows, states, strict=True)
            ]
        if len(self.claims) <= self._times:
            self._clock.time += self._seconds
        return states


def plain_batch(size: int) -> Iterator[Batch]:
    """Yield one batch."""
    yield Batch(tuple(range(size)), tuple(orjson.dumps({"row": row}) for row in range(size)))


@pytest.mark.parametrize(("seconds", "claims"), [(9.9, 1), (10.1, 2)])
def test_an_old_claim_is_given_back_and_made_anew(seconds: float, claims: int) -> None:
    """A process that was frozen after its claim looks dead to others, who may have sent its rows: it asks again."""
    clock, results, transport = ManualClock(), Results(3), FakeTransport()
    journal = FrozenJournal(clock, seconds, times=1, taken=frozenset({1}))
    made = runner(results, transport=transport, clock=clock, journal=journal)
    asyncio.run(made.run(plain_batch(3), canary=False, stop=asyncio.Event()))
    assert journal.claims == [[0, 1, 2]] * claims
    sent_rows = [one["row"] for request in transport.sent for one in inputs_of(request)]
    assert sent_rows == ([0, 1, 2] if claims == 1 else [0, 2])
    released = [outcome.position for outcome in journal.settled if outcome.status == "pending"]
    assert released == ([] if claims == 1 else [0, 1, 2])


def test_claims_that_always_take_too_long_end_the_run() -> None:
    """Nothing is sent, and every claim is given back."""
    clock, results, transport = ManualClock(), Results(3), FakeTransport()
    journal = FrozenJournal(clock, 11.0, times=100)
    made = runner(results, transport=transport, clock=clock, journal=journal)
    with pytest.raises(ef.JournalError, match="takes more than 10 s to record a claim"):
        asyncio.run(made.run(plain_batch(3), canary=False, stop=asyncio.Event()))
    assert transport.sent == []
    assert len(journal.claims) == 5
    assert [outcome.position for outcome in journal.settled if outcome.status == "pending"] == [0, 1, 2] * 5


class DyingSession(RecordingJournal):
    """Another call has claimed all rows and died; that is known after `lifetime` seconds."""

    def __init__(self, clock: ManualClock, lifetime: float) -> None:
        super().__init__()
        self.lifetime = lifetime
        self._clock = clock

    async def claim(self, rows: Sequence[int]) -> Sequence[RowState]:
        return [RowState("sent", is_live=True) for _ in rows]

    async def row_states(self, rows: Sequence[int]) -> Sequence[RowState]:
        return [RowState("sent", is_live=self._clock.time < self.lifetime) for _ in rows]


def test_a_call_is_followed_until_its_end_can_be_known() -> None:
    """Also where a request may take less time than that: its rows are searched for, and not left to the next call."""
    clock, results = ManualClock(), Results(3)
    journal = DyingSession(clock, lifetime=90.0)  # more than the timeout of a request
    made = runner(results, transport=FakeTransport(), clock=clock, journal=journal)
    asyncio.run(made.run(plain_batch(3), canary=False, stop=asyncio.Event()))
    assert not made._recorder.elsewhere
    assert 90.0 <= clock.time < 91.0
