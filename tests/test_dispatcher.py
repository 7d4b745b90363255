"""What a delivery says and whether it may, without a socket; and who is told of it."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.models import Outcome
from eachlabs_frames.results import Results
from eachlabs_frames.webhooks import dispatcher
from eachlabs_frames.webhooks.dispatcher import Dispatcher, Mailbox, Word
from eachlabs_frames.webhooks.payload import Delivery, KnownExecution, agrees, read_delivery
from eachlabs_frames.webhooks.signatures import MAX_AGE, Credentials, Verifier, _matches, path_token
from eachlabs_frames.webhooks.subscription import Subscription

BULK = "5f0c1e9a-0d1b-4c4e-9f8a-0123456789ab"
OTHER = "6f0c1e9a-0d1b-4c4e-9f8a-0123456789ab"


def body(**said: Any) -> bytes:
    """Write a delivery as the API does."""
    whole = {"execution_id": "d1", "bulk_id": BULK, "workflow_id": "wf_abc123", "status": "completed", "output": "x"}
    return json.dumps(whole | said).encode()


def notice(execution_id: str = "d1", status: str = "completed", **said: Any) -> Delivery:
    """Make what `read_delivery` gives."""
    return Delivery(Outcome(-1, status, said.pop("bulk_id", BULK), execution_id, output="x", **said), "wf_abc123")


# What it says


def test_a_delivery_is_the_details_of_an_execution() -> None:
    """Its outcome, as a look would give it."""
    said = body(status="failed", output=None, error="E", error_cause="why", completed_at="2025-12-20T10:00:00Z")
    found = read_delivery(said)
    assert found is not None
    assert found.workflow_id == "wf_abc123"
    assert (found.outcome.status, found.outcome.error, found.outcome.bulk_id) == ("failed", "why", BULK)
    assert found.outcome.completed_at == 1_766_224_800 * 10**9
    assert (found.ended, found.brief) == (True, False)


@pytest.mark.parametrize(
    ("status", "word", "ended"),
    [("succeeded", "completed", True), ("running", "running", False), ("canceled", "cancelled", True)],
)
def test_the_platforms_other_words_are_taken(status: str, word: str, ended: bool) -> None:
    """`succeeded` is what predictions say for completed."""
    found = read_delivery(body(status=status))
    assert found is not None
    assert (found.outcome.status, found.ended) == (word, ended)


def test_an_end_without_what_came_of_it_is_brief() -> None:
    """The details are asked for it."""
    found = [read_delivery(body(output=None)), read_delivery(body(status="failed", output=None))]
    assert [one is not None and one.brief for one in found] == [True, True]


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
def test_what_has_another_shape_is_none(wrong: bytes) -> None:
    """No delivery, and no error."""
    assert read_delivery(wrong) is None


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.binary()
    | st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x)).map(json.dumps).map(str.encode)
)
def test_any_bytes_can_be_read(some: bytes) -> None:
    """Nothing that a stranger sends raises."""
    assert read_delivery(some) is None


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["execution_id", "bulk_id", "workflow_id", "status", "output", "error", "cost", "started_at"]),
        st.none() | st.text(max_size=5) | st.integers() | st.floats(allow_nan=False) | st.lists(st.text(max_size=2)),
    )
)
def test_any_object_can_be_read(some: dict[str, Any]) -> None:
    """What is taken has an id and a status."""
    found = read_delivery(json.dumps(some).encode())
    assert found is None or (found.execution_id == some["execution_id"] and found.outcome.status)


# Whether it may


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
    held = [getattr(verifier, name) for name in Verifier.__slots__]
    assert "s3cret" not in repr(verifier) + repr(held) + repr(Credentials(secrets=["s3cret"]))


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
def test_a_delivery_must_be_of_what_is_known(known: KnownExecution, fine: bool) -> None:
    """Of its bulk operation, and of its workflow where that is known by its id."""
    assert agrees(notice(), known) is fine


# Who is told


class Call:
    """Somebody who knows some executions."""

    def __init__(self, *ids: str, bulk_id: str = BULK) -> None:
        self.ids = set(ids)
        self.bulk_id = bulk_id
        self.box: Mailbox | None = None

    def find(self, wanted: Collection[str]) -> Mapping[str, KnownExecution]:
        return {one: KnownExecution(self.bulk_id, "wf_abc123") for one in self.ids & set(wanted)}

    def heard(self) -> list[str]:
        assert self.box is not None
        return [one.outcome.status for one in self.box.emptied()]


def sorter(*, known: Collection[str] = (), held: bool = False) -> Dispatcher:
    """Make one whose journal knows some executions."""

    def ask(notices: Sequence[Delivery]) -> list[Word]:
        return ["accepted" if one.execution_id in known else "unknown" for one in notices]

    return Dispatcher(ask, is_held=lambda: held)


async def settled(post: Dispatcher, *notices: Delivery, waiting: int = 0) -> None:
    """Take deliveries, and wait until each has its fate."""
    running = asyncio.ensure_future(post.run())
    for one in notices:
        assert post.take(one)
    while sum(post.counts.values()) + waiting < len(notices):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_later_word_is_told_to_nobody() -> None:
    """The first end of an execution counts: in one burst, and long after."""

    async def go() -> None:
        call, post = Call("d1"), sorter()
        with dispatcher.opened(call, lambda: None) as call.box:
            await settled(post, notice(), notice(status="failed"))
            assert call.heard() == ["completed"]
            assert post.counts == {"accepted": 1, "repeated": 1}
            post.counts.clear()
            await settled(post, notice(status="cancelled"), notice(status="running"))
            assert call.heard() == []
            assert post.counts == {"repeated": 1, "unfinished": 1}

    asyncio.run(go())


def test_a_false_delivery_does_not_stand_in_the_way_of_the_true_one() -> None:
    """Of another bulk operation, before it."""

    async def go() -> None:
        call, post = Call("d1"), sorter()
        with dispatcher.opened(call, lambda: None) as call.box:
            await settled(post, notice(status="failed", bulk_id=OTHER), notice())
            assert call.heard() == ["completed"]
        assert post.counts == {"mismatched": 1, "accepted": 1}

    asyncio.run(go())


def test_every_open_call_is_told_and_it_counts_once() -> None:
    """A run and a wait for the same frame."""

    async def go() -> None:
        one, two, post = Call("d1"), Call("d1", "d2"), sorter()
        with dispatcher.opened(one, lambda: None) as one.box, dispatcher.opened(two, lambda: None) as two.box:
            await settled(post, notice(), notice("d2"))
            assert (one.heard(), two.heard()) == (["completed"], ["completed", "completed"])
        assert post.counts == {"accepted": 2}

    asyncio.run(go())


def test_what_nobody_knows_is_held_while_a_call_may_learn_of_it() -> None:
    """And is told as soon as it is known; what is left in the end goes to the journal."""

    async def go() -> None:
        call, post = Call(), sorter(known=["d2"], held=True)
        with dispatcher.opened(call, lambda: None) as call.box:
            await settled(post, notice(), notice("d2"), notice("d3"), waiting=3)
            assert post.waiting == 3
            assert not post.counts
            call.ids.add("d1")
            await settled(post, notice(), waiting=0)
            assert call.heard() == ["completed"]
        rest = post.rest()
        assert [one.execution_id for one in rest] == ["d2", "d3"]
        assert post.counts == {"accepted": 1, "repeated": 1} or post.counts == {"accepted": 1}

    asyncio.run(go())


def test_what_the_journal_knows_counts_once_too() -> None:
    """Where no call is open."""

    async def go() -> None:
        post = sorter(known=["d1"])
        await settled(post, notice(), notice(), notice("d2"))
        assert post.counts == {"accepted": 1, "repeated": 1, "unknown": 1}
        assert "d1" in dispatcher.without_cost()

    asyncio.run(go())


def test_a_missing_cost_is_known_before_anybody_reads_of_the_end() -> None:
    """A refresh right after the journal says "completed" asks for it, however late the counting comes."""
    dispatcher.cost_is_known("d1")
    dispatcher.cost_is_known("d2")
    seen: list[bool] = []

    class Reader(Call):
        """One whose row is read the moment that it is told."""

        def find(self, wanted: Collection[str]) -> Mapping[str, KnownExecution]:
            seen.append("d2" in dispatcher.without_cost())
            return super().find(wanted)

    async def go() -> None:
        def ask(notices: Sequence[Delivery]) -> list[Word]:
            seen.append(all(one.execution_id in dispatcher.without_cost() for one in notices))
            return ["accepted"] * len(notices)

        call, post = Reader("d2"), Dispatcher(ask, is_held=lambda: False)
        with dispatcher.opened(call, lambda: None) as call.box:
            await settled(post, notice(), notice("d2"))

    asyncio.run(go())
    assert seen
    assert all(seen)


class Receiver:
    """A receiver as a call sees it; `listening` is set by the test."""

    listening = True
    sweep = 600.0


def test_a_receiver_that_stops_while_a_call_begins_to_wait_is_noticed() -> None:
    """The wait has chosen its pause by then, and must not sleep through it; after a poll, there is no news."""

    async def go() -> None:
        receiver = Receiver()
        subscription = Subscription(
            "wf_abc123", Results(1), feed=receiver, awaited=lambda: {"d1"}, write=lambda outcomes: None
        )
        attending = subscription.attend()
        receiver.listening = False
        task = asyncio.ensure_future(attending)
        await asyncio.sleep(0)
        subscription.news.clear()  # as a wait does when it begins to rest
        subscription.tell()
        assert subscription.news.is_set()
        assert not subscription.heard_all
        subscription.forget()
        subscription.news.clear()
        subscription.tell()
        assert not subscription.news.is_set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())


def test_a_failure_ends_all_of_it_and_loses_nothing() -> None:
    """So that whoever waits polls; what was not noted is left for the next to note."""

    async def go() -> None:
        def ask(notices: Sequence[Delivery]) -> list[Word]:
            raise RuntimeError

        post = Dispatcher(ask, is_held=lambda: False)
        post.take(notice())
        with pytest.raises(RuntimeError):
            await post.run()
        assert [one.execution_id for one in post.rest()] == ["d1"]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(go())


def test_no_more_is_taken_than_can_be_held() -> None:
    """The sender is told, and tries again."""
    post = sorter()
    assert all(post.take(notice()) for _ in range(dispatcher.MAX_PENDING))
    assert not post.take(notice())


def test_no_more_is_held_than_can_be() -> None:
    """The oldest goes to the journal, for one more."""

    async def go() -> None:
        post = sorter(held=True)
        over = dispatcher.MAX_PENDING + 5
        running = asyncio.ensure_future(post.run())
        for at in range(over):
            while not post.take(notice(f"d{at}")):
                await asyncio.sleep(0.01)
        while post.counts["unknown"] < 5:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert post.waiting == dispatcher.MAX_PENDING
        assert post.rest()[0].execution_id == "d5"

    asyncio.run(go())
