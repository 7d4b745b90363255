"""Requests in both dialects, and the verdict on every reply."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.api.requests import check_webhook, checked_id, details_request, key_header, trigger_request
from eachlabs_frames.api.verdicts import (
    MAX_REASON_LENGTH,
    MAX_RETRY_AFTER,
    Cap,
    Done,
    Retry,
    Split,
    Stop,
    Success,
    Unknown,
    error_message,
    is_raised,
    judge_presign,
    judge_read,
    judge_trigger,
    retry_after,
)
from eachlabs_frames.models import Batch, Fault, Reply, Secret, Target
from tests.fakes import reply

PAIR = Batch((3, 7), (b'{"a":1}', b'{"a":2}'))
ONE = Batch((3,), (b'{"a":1}',))
ID1, ID2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


IN_FLIGHT = (
    "the estimated cost ($1.10) of this request and of your in-flight executions exceeds your current balance ($1.00). "
    "please wait for an active execution to finish or top up"
)


def test_a_402_about_executions_in_flight_waits_and_any_other_stops() -> None:
    """Amounts of money are no cap; a balance that is too low for the request alone ends the run, without an error."""
    batch = Batch((0,), (b"{}",))
    waits = judge_trigger(reply(402, {"error": "insufficient balance", "details": IN_FLIGHT}), batch)
    assert isinstance(waits, Retry)
    assert (waits.cap, waits.reserved, waits.limited) == (Cap(), True, False)
    alone = "the estimated cost ($0.10) exceeds your current balance ($0.00)"
    stops = judge_trigger(reply(402, {"error": "insufficient balance", "details": alone}), batch)
    assert isinstance(stops, Stop)
    assert not is_raised(stops.error(stops.reason, status=stops.status))
    assert (judge_presign(reply(402, {"error": "insufficient balance", "details": IN_FLIGHT}))) == waits
    assert (judge_presign(reply(402, {"error": "insufficient balance", "details": alone}))) == stops


@pytest.mark.parametrize("status", [408, 409, 502])
def test_ambiguous_errors_of_a_trigger_are_lost_answers(status: int) -> None:
    """They may have taken effect: such a POST is never sent again by itself."""
    assert isinstance(judge_trigger(reply(status, {"error": "conflict"}), Batch((0,), (b"{}",))), Unknown)


@pytest.mark.parametrize("asked", ["999999999", "9" * 400, "Thu, 31 Dec 2099 23:59:59 GMT"])
def test_a_long_retry_after_of_a_get_is_cut_and_reported(asked: str) -> None:
    """Every GET is judged by this function; a POST keeps the number, which ends the run where it is too long."""
    verdict = judge_read(reply(429, {"error": "slow"}, retry_after=asked))
    assert isinstance(verdict, Retry)
    assert verdict.after == MAX_RETRY_AFTER
    assert "the API asks to wait" in verdict.reason
    posted = judge_trigger(reply(429, {"error": "slow"}, retry_after=asked), Batch((0,), (b"{}",)))
    assert isinstance(posted, Retry)
    assert posted.after is not None
    assert posted.after > 1e8


def test_the_current_dialect_names_the_version_in_the_path() -> None:
    """Its body is inputs and webhook."""
    target = Target("wf_abc", "v2", "https://example.org/h", Secret("s3cret"))
    request = trigger_request("current", target, PAIR)
    assert (request.method, request.path) == ("POST", "/workflows/bulk-trigger/wf_abc/v2")
    assert orjson.loads(request.body or b"") == {
        "inputs": [{"a": 1}, {"a": 2}],
        "webhook_url": "https://example.org/h",
        "webhook_secret": "s3cret",
    }


def test_the_legacy_dialect_names_the_version_in_the_body() -> None:
    """Its path is the workflow's own."""
    request = trigger_request("legacy", Target("wf_abc", "v2"), ONE)
    assert (request.method, request.path) == ("POST", "/wf_abc/bulk-trigger")
    assert orjson.loads(request.body or b"") == {"inputs": [{"a": 1}], "version_id": "v2"}


def test_the_key_has_each_dialects_own_header() -> None:
    """Bearer, and X-API-Key."""
    assert key_header("current", "k") == ("Authorization", "Bearer k")
    assert key_header("legacy", "k") == ("X-API-Key", "k")


def test_details_have_each_dialects_own_path() -> None:
    """An id that the API gives is quoted whatever it is."""
    assert details_request("current", "e/1").path == "/workflows/executions/e%2F1"
    assert details_request("legacy", "e1").path == "/executions/e1"


@pytest.mark.parametrize(
    "value", ["", None, 3, "a/b", "..", ".", "a b", "a?b", "a#b", "a%2fb", "a\\b", "wf\n", "ü", "@x"]
)
def test_an_id_that_would_change_the_url_is_refused(value: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ef.ConfigurationError, match="workflow_id"):
        checked_id("workflow_id", value)


@pytest.mark.parametrize("value", ["wf_abc123", "50741f40-8621-4d46-8a91-dff4d873be98", "text-to-image", "a.b", "~x"])
def test_an_id_or_slug_is_taken_as_it_is(value: str) -> None:
    """Letters, digits, '_', '-', '~' and dots inside."""
    assert checked_id("workflow_id", value) == value


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "example.org",
        "https://",
        "https:// x",
        "https://[",
        "https://:80",
        "https://u:p@h/",
        "https://h/\ud800",
        3,
        "javascript:alert(1)",
        "",
    ],
)
def test_a_webhook_url_must_be_http(url: Any) -> None:
    """With a host."""
    with pytest.raises(ef.ConfigurationError, match="webhook_url"):
        check_webhook("current", url, None)


@pytest.mark.parametrize(
    ("dialect", "url", "secret", "message"),
    [
        ("current", None, "s", "needs webhook_url"),
        ("current", "https://x", "", "not empty"),
        ("current", "https://x", "a\r\nb", "printable ASCII"),
        ("legacy", "https://x", "s", "legacy dialect has no webhook_secret"),
    ],
)
def test_a_webhook_secret_must_have_somewhere_to_go(dialect: Any, url: Any, secret: Any, message: str) -> None:
    """A URL, and a dialect that knows it."""
    with pytest.raises(ef.ConfigurationError, match=message):
        check_webhook(dialect, url, Secret.wrap(secret))


def test_an_answer_is_read_by_position() -> None:
    """Accepted and refused entries, each at its own row."""
    entries = [
        {"execution_id": ID1, "status": "queued", "started_at": "2025-12-20T10:00:00Z"},
        {"status": "failed", "message": "invalid input: missing required field 'prompt'"},
    ]
    verdict = judge_trigger(reply(202, {"bulk_id": "b", "executions": entries}), PAIR)
    assert isinstance(verdict, Done)
    first, second = verdict.outcomes
    assert (first.position, first.status, first.execution_id, first.bulk_id) == (3, "queued", ID1, "b")
    assert first.started_at == 1_766_224_800_000_000_000
    assert (second.position, second.status, second.execution_id) == (7, "failed", None)
    assert second.error == "invalid input: missing required field 'prompt'"


def test_an_entry_without_an_id_is_unknown_rather_than_refused() -> None:
    """It may have started; only `failed` says that it did not."""
    entries = [{"status": "queued"}, "odd"]
    verdict = judge_trigger(reply(202, {"bulk_id": "b", "executions": entries}), PAIR)
    assert isinstance(verdict, Done)
    assert [outcome.status for outcome in verdict.outcomes] == ["unknown", "unknown"]
    assert all("may have started" in (outcome.error or "") for outcome in verdict.outcomes)


def test_an_entry_that_is_odd_in_every_field_is_read_all_the_same() -> None:
    """A time that is none, a message that no encoder takes: the execution was accepted, and is kept."""
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    entries = [
        {"execution_id": ID1, "status": "queued", "started_at": "0000-01-01T00:00:00Z", "message": {"deep": 1}},
        {"execution_id": ID2, "status": "pending"},
    ]
    verdict = judge_trigger(reply(202, {"bulk_id": "b", "executions": entries}), PAIR)
    assert isinstance(verdict, Done)
    assert [one.execution_id for one in verdict.outcomes] == [ID1, ID2]
    assert [one.status for one in verdict.outcomes] == ["queued", "queued"]
    assert error_message(reply(400, json.dumps({"error": deep}).encode())).startswith("HTTP 400: (details nested")


def test_a_failed_entry_with_an_odd_id_may_have_started() -> None:
    """Only one without an id says that nothing did."""
    entries = [{"execution_id": 7, "status": "failed"}, {"status": "failed", "message": "no"}]
    verdict = judge_trigger(reply(202, {"bulk_id": "b", "executions": entries}), PAIR)
    assert isinstance(verdict, Done)
    assert [one.status for one in verdict.outcomes] == ["unknown", "failed"]


@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_an_answer_of_another_length_is_never_guessed_at(count: int) -> None:
    """Its rows are unknown; the bulk_id that it names is kept."""
    entries = [{"execution_id": f"e{n}", "status": "queued"} for n in range(count)]
    verdict = judge_trigger(reply(202, {"bulk_id": "b", "executions": entries}), PAIR)
    assert isinstance(verdict, Unknown)
    assert verdict.bulk_id == "b"
    assert f"{count} entries for 2 inputs" in verdict.reason


def test_a_response_that_names_an_execution_twice_is_unknown() -> None:
    """Two rows cannot share an execution."""
    entries = [{"execution_id": ID1, "status": "queued"}] * 2
    assert isinstance(judge_trigger(reply(202, {"bulk_id": "b", "executions": entries}), PAIR), Unknown)


@pytest.mark.parametrize(
    ("answer", "pair", "one"),
    [
        (Fault(sent=False, reason="refused"), Retry, Retry),
        (Fault(sent=True, reason="reset"), Unknown, Unknown),
        (reply(400), Split, Done),
        (reply(422), Split, Done),
        (reply(413), Split, Done),
        (reply(409), Unknown, Unknown),
        (reply(415), Unknown, Unknown),
        (reply(401), Stop, Stop),
        (reply(402), Stop, Stop),
        (reply(403), Stop, Stop),
        (reply(404), Stop, Stop),
        (reply(408), Unknown, Unknown),
        (reply(429), Retry, Retry),
        (reply(301), Unknown, Unknown),
        (reply(307), Unknown, Unknown),
        (reply(500), Unknown, Unknown),
        (reply(502), Unknown, Unknown),
        (reply(599), Unknown, Unknown),
        (reply(100), Unknown, Unknown),
        (reply(202, b"null"), Unknown, Unknown),
        (reply(202, b"[]"), Unknown, Unknown),
        (reply(204), Unknown, Unknown),
    ],
)
def test_the_verdict_on_each_reply(answer: Any, pair: type, one: type) -> None:
    """By the API reference's table; what it does not promise to have created nothing is unknown."""
    assert type(judge_trigger(answer, PAIR)) is pair
    verdict = judge_trigger(answer, ONE)
    assert type(verdict) is one
    if isinstance(verdict, Done):
        (outcome,) = verdict.outcomes
        assert (outcome.position, outcome.status, outcome.execution_id) == (ONE.positions[0], "failed", None)
        assert outcome.error


@settings(max_examples=400)
@given(
    st.integers(100, 599),
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.text(max_size=5)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(
                    st.sampled_from(["executions", "bulk_id", "error", "details", "status", "execution_id"]), inner
                ),
            ),
        ).map(lambda said: orjson.dumps(said)),
    ),
    st.text(max_size=20),
)
@example(429, b"", "Wed, 21 Oct 2015 07:28:00 GMT")
@example(429, b"", "Wed, 99 Xxx 2015")
def test_no_reply_raises_and_only_a_plain_refusal_is_ever_sent_again(status: int, body: bytes, header: str) -> None:
    """Any garbage has a verdict; `Retry` and `Split` come from 429, 400, 413 and 422 alone."""
    answer = Reply(status, body, {"retry-after": header})
    verdict = judge_trigger(answer, PAIR)
    if isinstance(verdict, Retry | Split):
        assert status in {400, 413, 422, 429}
    if isinstance(verdict, Done):
        assert len(verdict.outcomes) == len(PAIR)
    judge_read(answer)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("soon", None),
        ("Fri, 99999999999999999999 Dec 2020 00:00:00 GMT", None),
        ("-3", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    """A date counts from when the answer came."""
    answer = Reply(429, b"", {"retry-after": header}, received_at=1_445_412_480.0)
    assert retry_after(answer) == seconds


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (reply(402, {"error": "low", "details": "needs 0.5"}), "HTTP 402: low: needs 0.5"),
        (reply(400, {"error": "bad", "details": {"field": "prompt"}}), 'HTTP 400: bad: {"field":"prompt"}'),
        (reply(400, {"error": "bad", "message": "bad"}), "HTTP 400: bad"),
        (reply(502, b"<html>long</html>"), "HTTP 502 Bad Gateway"),
        (reply(599), "HTTP 599 "),
        (reply(302), "HTTP 302 Found (a redirect, which is not followed: check base_url)"),
    ],
)
def test_an_error_response_becomes_a_sentence(answer: Reply, sentence: str) -> None:
    """The API's own words with its details, and no HTML."""
    assert error_message(answer) == sentence


def test_a_sentence_has_an_end() -> None:
    """An API that answers a novel does not fill a frame with it."""
    assert len(error_message(reply(400, {"error": "x" * 100_000}))) == MAX_REASON_LENGTH


def test_a_read_is_a_success_a_retry_or_a_stop() -> None:
    """A GET may be tried again after anything but a refusal."""
    assert judge_read(reply(200, {"a": 1})) == Success({"a": 1})
    for again in (reply(429), reply(500), reply(408), reply(200, b"{"), Fault(sent=True, reason="reset")):
        assert isinstance(judge_read(again), Retry)
    for end in (reply(400), reply(401), reply(404), reply(302)):
        assert isinstance(judge_read(end), Stop)
