"""Parsing, verifying and dispatching deliveries, without a socket."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.inputs.file_values import reference
from eachlabs_frames.inputs.fingerprints import fingerprint
from eachlabs_frames.models import Outcome
from eachlabs_frames.results import Results
from eachlabs_frames.webhooks import dispatcher
from eachlabs_frames.webhooks.dispatcher import Dispatcher, Fate, Mailbox
from eachlabs_frames.webhooks.payload import Delivery, KnownExecution, agrees, read_delivery
from eachlabs_frames.webhooks.signatures import MAX_AGE, Credentials, Verifier, _matches, path_token
from eachlabs_frames.webhooks.subscription import Subscription

BULK = "5f0c1e9a-0d1b-4c4e-9f8a-0123456789ab"
OTHER = "6f0c1e9a-0d1b-4c4e-9f8a-0123456789ab"


def body(**data: Any) -> bytes:
    """Write a delivery as the API does."""
    base = {"execution_id": "d1", "bulk_id": BULK, "workflow_id": "wf_abc123", "status": "completed", "output": "x"}
    return json.dumps(base | data).encode()


def delivered(execution_id: str = "d1", status: str = "completed", **data: Any) -> Delivery:
    """Return a delivery as `read_delivery` does."""
    return Delivery(Outcome(-1, status, data.pop("bulk_id", BULK), execution_id, output="x", **data), "wf_abc123")


# Parsing


def test_a_delivery_is_the_details_of_an_execution() -> None:
    """Its outcome is the one that a poll would read."""
    data = body(status="failed", output=None, error="E", error_cause="why", completed_at="2025-12-20T10:00:00Z")
    found = read_delivery(data)
    assert found is not None
    assert found.workflow_id == "wf_abc123"
    assert (found.outcome.status, found.outcome.error, found.outcome.bulk_id) == ("failed", "why", BULK)
    assert found.outcome.completed_at == 1_766_224_800 * 10**9
    assert (found.ended, found.needs_poll([None])) == (True, False)


@pytest.mark.parametrize(
    ("status", "expected", "ended"),
    [("succeeded", "completed", True), ("running", "running", False), ("canceled", "cancelled", True)],
)
def test_the_platforms_other_statuses_are_accepted(status: str, expected: str, ended: bool) -> None:
    """Predictions have the status `succeeded` instead of `completed`."""
    found = read_delivery(body(status=status))
    assert found is not None
    assert (found.outcome.status, found.ended) == (expected, ended)


def test_an_end_without_details_needs_a_poll() -> None:
    """The API is asked for an output or error that the delivery does not have."""
    found = [read_delivery(body(output=None)), read_delivery(body(status="failed", output=None))]
    assert [delivery is not None and delivery.needs_poll([None]) for delivery in found] == [True, True]


def test_a_delivery_of_a_row_with_a_file_has_its_url() -> None:
    """It is the row's, and needs no poll, if the URL is known; a URL that the row itself has is no file."""
    content = fingerprint({"image": reference("a" * 64)})
    found = read_delivery(body(inputs={"image": "https://storage.example/a"}))
    assert found is not None
    assert found.needs_poll([content])
    known = {"https://storage.example/a": reference("a" * 64)}
    assert not found.needs_poll([content], known)
    assert not found.needs_poll([fingerprint({"image": "https://storage.example/a"})], known)
    assert found.needs_poll([fingerprint({"image": reference("b" * 64)})], known)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"status": "completed"}',
        body(execution_id=""),
        body(execution_id=7),
        body(execution_id="e" * 201),
        body(status=None),
        body(status=""),
        body(bulk_id=7),
        body(workflow_id=["wf"]),
        b"[" * 100_000,
    ],
)
def test_a_body_of_another_shape_is_no_delivery(wrong: bytes) -> None:
    """None is returned; nothing raises."""
    assert read_delivery(wrong) is None


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.binary()
    | st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x)).map(json.dumps).map(str.encode)
)
def test_any_bytes_can_be_read(data: bytes) -> None:
    """No body of an unauthenticated client raises."""
    assert read_delivery(data) is None


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["execution_id", "bulk_id", "workflow_id", "status", "output", "error", "cost", "started_at"]),
        st.none() | st.text(max_size=5) | st.integers() | st.floats(allow_nan=False) | st.lists(st.text(max_size=2)),
    )
)
def test_any_object_can_be_read(data: dict[str, Any]) -> None:
    """A delivery that is returned has an id and a status."""
    found = read_delivery(json.dumps(data).encode())
    assert found is None or (found.execution_id == data["execution_id"] and found.outcome.status)


# Verifying


def signed(body: bytes, *, secret: str = "s3cret", timestamp: str = "1000") -> Credentials:
    """Sign a body by the standard library alone."""
    digest = hmac.digest(secret.encode(), timestamp.encode() + b"." + body, "sha256").hex()
    return Credentials([f"sha256={digest}"], [timestamp])


def accepts(credentials: Credentials, body: bytes = b"", *, policy: Any = "required", now: float = 1000.0) -> bool:
    """Return whether a delivery is genuine and fresh."""
    verifier = Verifier("s3cret", policy)
    return verifier.refusal(credentials, now=now) is None and verifier.is_genuine(credentials, body)


def test_the_documented_signature_is_genuine() -> None:
    """A value that was computed by openssl: ``printf '1790000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret``."""
    digest = "b3e592eceaf8e8b6c5101a58c2678f5ff4e74c21bed3a56a3130ecc5c7f6ed82"
    for written in (digest, digest.upper()):
        assert accepts(Credentials([f"sha256={written}"], ["1790000000"]), b'{"a":1}', now=1790000000)


@pytest.mark.parametrize(("now", "fine"), [(700, True), (699.9, False), (1300, True), (1300.1, False), (0, False)])
def test_a_signature_is_fresh_for_five_minutes_either_way(now: float, fine: bool) -> None:
    """By the receiver's clock, to the second."""
    assert accepts(signed(b"x"), b"x", now=now) == fine
    assert (Verifier("s3cret").refusal(signed(b"x"), now=now) == "expired") == (not fine)
    assert MAX_AGE == 300


def test_each_header_is_sent_once() -> None:
    """Two values may be two senders' values."""
    (signature,), (timestamp,) = signed(b"x").signatures, signed(b"x").timestamps
    assert accepts(Credentials([signature], [timestamp]), b"x")
    assert not accepts(Credentials([signature] * 2, [timestamp]), b"x")
    assert not accepts(Credentials([signature], [timestamp] * 2), b"x")
    assert not accepts(Credentials([f"{signature},{signature}"], [timestamp]), b"x")


@pytest.mark.parametrize(
    "timestamp", ["", " 1000", "1000 ", "1000\n", "-1000", "1e3", "1000.0", "\u0661", "\udc80", "1" * 999]
)
def test_a_timestamp_is_plain_digits(timestamp: str) -> None:
    """Anything else is refused, and nothing raises."""
    assert not accepts(Credentials(signed(b"x").signatures, [timestamp]), b"x")
    assert Verifier("s3cret").refusal(Credentials(signed(b"x").signatures, [timestamp]), now=1000) is not None


def test_only_the_secret_itself_is_accepted_without_a_signature() -> None:
    """Once, and only where signatures are optional; whatever a header may hold instead."""
    assert accepts(Credentials(secrets=["s3cret"]), policy="optional")
    assert not accepts(Credentials(secrets=["s3cret"]))
    wrong: list[list[str]] = [[], [""], ["s3cre"], ["s3cret "], ["S3CRET"], ["s3cret", "s3cret"], ["é"], ["\udc80"]]
    assert not any(accepts(Credentials(secrets=given), policy="optional") for given in wrong)
    assert not accepts(Credentials(["sha256="], [], ["s3cret"]), policy="optional")
    assert not accepts(Credentials([], ["1000"], ["s3cret"]), policy="optional")


def test_signatures_and_secrets_are_compared_in_constant_time() -> None:
    """By the library's own function, on bytes: a time cannot be asserted on."""
    assert "compare_digest" in Verifier.is_genuine.__code__.co_names
    assert "compare_digest" in _matches.__code__.co_names


def test_a_verifier_shows_no_secret() -> None:
    """Nor do the headers of a delivery that repeats it."""
    verifier = Verifier("s3cret")
    attributes = [getattr(verifier, name) for name in Verifier.__slots__]
    assert "s3cret" not in repr(verifier) + repr(attributes) + repr(Credentials(secrets=["s3cret"]))


@settings(deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1), st.text(), st.binary())
def test_no_other_secret_is_accepted(secret: str, word: str, body: bytes) -> None:
    """Nor a signature of it; a path's token is derived from the secret, the same each time, and does not hold it."""
    verifier = Verifier(secret, "optional")
    assert verifier.is_genuine(Credentials(secrets=[word]), body) == (word == secret)
    assert verifier.is_genuine(signed(body, secret=secret), body)
    assert verifier.is_genuine(signed(body, secret=word), body) == (word.rstrip("\0") == secret)  # HMAC pads keys
    assert not verifier.is_genuine(signed(body, secret=secret), body + b"x")
    token = path_token(secret)
    assert token == path_token(secret)
    assert verifier.is_token(token)
    assert not verifier.is_token(secret)
    assert len(token) == 43
    assert (secret == word) or path_token(word) != token


@pytest.mark.parametrize(
    ("known", "fine"),
    [
        (KnownExecution(BULK, "wf_abc123"), True),
        (KnownExecution(BULK.upper(), "wf_abc123"), True),
        (KnownExecution(None, None), True),
        (KnownExecution(BULK, "a-slug"), True),
        (KnownExecution(OTHER, "wf_abc123"), False),
        (KnownExecution(BULK, "wf_images"), False),
        (KnownExecution(None, OTHER), False),
    ],
)
def test_a_delivery_must_agree_with_the_known_execution(known: KnownExecution, fine: bool) -> None:
    """In the bulk operation, and in the workflow if it is known by its id."""
    assert agrees(delivered(), known) is fine


# Dispatching


class Call:
    """A call that owns executions."""

    def __init__(self, *ids: str, bulk_id: str = BULK) -> None:
        self.ids = set(ids)
        self.bulk_id = bulk_id
        self.mailbox: Mailbox | None = None

    def find(self, execution_ids: Collection[str]) -> Mapping[str, KnownExecution]:
        return {found: KnownExecution(self.bulk_id, "wf_abc123") for found in self.ids & set(execution_ids)}

    def received(self) -> list[str]:
        assert self.mailbox is not None
        return [delivery.outcome.status for delivery in self.mailbox.take_all()]


def make_dispatcher(*, known: Collection[str] = (), hold: bool = False) -> Dispatcher:
    """Return a dispatcher whose journal has the executions `known`."""

    def record(deliveries: Sequence[Delivery]) -> list[Fate]:
        return ["accepted" if delivery.execution_id in known else "unknown" for delivery in deliveries]

    return Dispatcher(record, holds_unknown=lambda: hold)


async def settled(routing: Dispatcher, *deliveries: Delivery, waiting: int = 0) -> None:
    """Offer deliveries, and wait until each has its fate."""
    running = asyncio.ensure_future(routing.run())
    for delivery in deliveries:
        assert routing.offer(delivery)
    while sum(routing.counts.values()) + waiting < len(deliveries):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_delivery_after_the_end_reaches_no_call() -> None:
    """The first end of an execution counts: in one burst, and long after."""

    async def go() -> None:
        call, routing = Call("d1"), make_dispatcher()
        with dispatcher.open_mailbox(call.find, lambda: None) as call.mailbox:
            await settled(routing, delivered(), delivered(status="failed"))
            assert call.received() == ["completed"]
            assert routing.counts == {"accepted": 1, "repeated": 1}
            routing.counts.clear()
            await settled(routing, delivered(status="cancelled"), delivered(status="running"))
            assert call.received() == []
            assert routing.counts == {"repeated": 1, "unfinished": 1}

    asyncio.run(go())


def test_a_false_delivery_does_not_stand_in_the_way_of_the_true_one() -> None:
    """Of another bulk operation, before it."""

    async def go() -> None:
        call, routing = Call("d1"), make_dispatcher()
        with dispatcher.open_mailbox(call.find, lambda: None) as call.mailbox:
            await settled(routing, delivered(status="failed", bulk_id=OTHER), delivered())
            assert call.received() == ["completed"]
        assert routing.counts == {"mismatched": 1, "accepted": 1}

    asyncio.run(go())


def test_a_delivery_reaches_every_open_call_and_counts_once() -> None:
    """A run and a wait for the same frame."""

    async def go() -> None:
        first, second, routing = Call("d1"), Call("d1", "d2"), make_dispatcher()
        with (
            dispatcher.open_mailbox(first.find, lambda: None) as first.mailbox,
            dispatcher.open_mailbox(second.find, lambda: None) as second.mailbox,
        ):
            await settled(routing, delivered(), delivered("d2"))
            assert (first.received(), second.received()) == (["completed"], ["completed", "completed"])
        assert routing.counts == {"accepted": 2}

    asyncio.run(go())


def test_an_unknown_delivery_is_held_while_a_call_may_learn_its_id() -> None:
    """It is dispatched as soon as a call knows the id; what is left at the end goes to the journal."""

    async def go() -> None:
        call, routing = Call(), make_dispatcher(known=["d2"], hold=True)
        with dispatcher.open_mailbox(call.find, lambda: None) as call.mailbox:
            await settled(routing, delivered(), delivered("d2"), delivered("d3"), waiting=3)
            assert routing.waiting == 3
            assert not routing.counts
            call.ids.add("d1")
            await settled(routing, delivered(), waiting=0)
            assert call.received() == ["completed"]
        rest = routing.drain()
        assert [delivery.execution_id for delivery in rest] == ["d2", "d3"]
        assert routing.counts == {"accepted": 1, "repeated": 1} or routing.counts == {"accepted": 1}

    asyncio.run(go())


def test_a_delivery_in_the_journal_counts_once_too() -> None:
    """No call is open."""

    async def go() -> None:
        routing = make_dispatcher(known=["d1"])
        await settled(routing, delivered(), delivered(), delivered("d2"))
        assert routing.counts == {"accepted": 1, "repeated": 1, "unknown": 1}
        assert "d1" in dispatcher.without_cost()

    asyncio.run(go())


def test_a_missing_cost_is_noted_before_a_call_reads_the_end() -> None:
    """A refresh right after the journal has "completed" reads the cost, however late the delivery is counted."""
    dispatcher.cost_was_read("d1")
    dispatcher.cost_was_read("d2")
    seen: list[bool] = []

    class Reader(Call):
        """A call whose row is read as soon as the delivery arrives."""

        def find(self, execution_ids: Collection[str]) -> Mapping[str, KnownExecution]:
            seen.append("d2" in dispatcher.without_cost())
            return super().find(execution_ids)

    async def go() -> None:
        def record(deliveries: Sequence[Delivery]) -> list[Fate]:
            seen.append(all(delivery.execution_id in dispatcher.without_cost() for delivery in deliveries))
            return ["accepted"] * len(deliveries)

        call, routing = Reader("d2"), Dispatcher(record, holds_unknown=lambda: False)
        with dispatcher.open_mailbox(call.find, lambda: None) as call.mailbox:
            await settled(routing, delivered(), delivered("d2"))

    asyncio.run(go())
    assert seen
    assert all(seen)


class Receiver:
    """A receiver as a call sees it; `listening` is set by the test."""

    listening = True
    sweep = 600.0


def test_a_receiver_that_stops_while_a_call_begins_to_wait_is_noticed() -> None:
    """The wait has chosen its pause by then, and must not sleep through it; a poll clears the event."""

    async def go() -> None:
        receiver = Receiver()
        subscription = Subscription(
            "wf_abc123", Results(1), receiver=cast(Any, receiver), awaited=lambda: {"d1"}, write=lambda outcomes: None
        )
        receiving = subscription.receive()
        receiver.listening = False
        task = asyncio.ensure_future(receiving)
        await asyncio.sleep(0)
        assert subscription.delivered().is_set()
        assert not subscription.is_complete
        subscription.poll_started()
        assert not subscription.delivered().is_set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())


def test_a_failure_ends_the_dispatcher_and_loses_nothing() -> None:
    """Waiting calls poll then; deliveries that were not recorded are left for `drain`."""

    async def go() -> None:
        def record(deliveries: Sequence[Delivery]) -> list[Fate]:
            raise RuntimeError

        routing = Dispatcher(record, holds_unknown=lambda: False)
        routing.offer(delivered())
        with pytest.raises(RuntimeError):
            await routing.run()
        assert [delivery.execution_id for delivery in routing.drain()] == ["d1"]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(go())


def test_a_full_dispatcher_accepts_no_delivery() -> None:
    """The sender gets a 503 and sends it again."""
    routing = make_dispatcher()
    assert all(routing.offer(delivered()) for _ in range(dispatcher.MAX_PENDING))
    assert not routing.offer(delivered())


def test_the_number_of_held_deliveries_is_limited() -> None:
    """The oldest ones go to the journal."""

    async def go() -> None:
        routing = make_dispatcher(hold=True)
        total = dispatcher.MAX_PENDING + 5
        running = asyncio.ensure_future(routing.run())
        for number in range(total):
            while not routing.offer(delivered(f"d{number}")):
                await asyncio.sleep(0.01)
        while routing.counts["unknown"] < 5:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert routing.waiting == dispatcher.MAX_PENDING
        assert routing.drain()[0].execution_id == "d5"

    asyncio.run(go())
