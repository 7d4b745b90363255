"""Fault injection: each fault over a real socket, and the schedule that selects faults."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eachlabs_frames.sandbox import Fault, Sandbox, start
from eachlabs_frames.sandbox.faults import KINDS, Schedule

PATH = "/v1/workflows/bulk-trigger/wf_abc123/v2"
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer sandbox-key"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox."""
    with start(configure=False, hold=True) as running:
        yield running


def call(
    sandbox: Sandbox,
    *,
    method: str = "POST",
    path: str = PATH,
    body: Any = None,
    timeout: float = 10,
) -> tuple[int, bytes, dict[str, str]]:
    """Send a request over a new connection; by default a trigger of two inputs."""
    if method == "POST" and body is None:
        body = {"inputs": [{"prompt": "a"}, {"prompt": "b"}]}
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=timeout)
    try:
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=HEADERS)
        response = connection.getresponse()
        return response.status, response.read(), dict(response.headers)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("rate_limit", 429),
        ("payment", 402),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("not_found", 404),
        ("bad_request", 400),
        ("unprocessable", 422),
        ("error_before", 500),
    ],
)
def test_a_refusal_has_no_effect(sandbox: Sandbox, kind: str, status: int) -> None:
    """The response has the API's status, and the details and Retry-After of the fault."""
    sandbox.faults(Fault(kind, times=1, retry_after=1.5, details="why"))
    got, body, headers = call(sandbox)
    document = json.loads(body)
    assert (got, set(document), document["details"]) == (status, {"error", "details"}, "why")
    assert headers["Retry-After"] == "1.5"
    assert sandbox.accepted == ()
    assert call(sandbox)[0] == 202
    first, second = sandbox.requests
    assert (first.status, first.faults, first.inputs, first.with_key) == (status, (kind,), 2, True)
    assert (second.status, second.faults, second.inputs) == (202, (), 2)


def test_a_server_error_may_come_before_or_after_the_effect(sandbox: Sandbox) -> None:
    """The responses are alike; only the ledger shows the difference."""
    sandbox.faults(Fault("error_before", at={1}, status=503), Fault("error_after", at={2}, status=502))
    assert [call(sandbox)[0], sandbox.accepted_count()] == [503, 0]
    assert [call(sandbox)[0], sandbox.accepted_count()] == [502, 2]


@pytest.mark.parametrize(("kind", "accepted"), [("error_before", 0), ("error_after", 2)])
@pytest.mark.parametrize(
    ("status", "text"),
    [(408, "Upstream request timed out"), (409, "Conflict"), (502, "Upstream service unavailable")],
)
def test_an_ambiguous_answer_may_come_with_or_without_the_effect(
    sandbox: Sandbox, kind: str, accepted: int, status: int, text: str
) -> None:
    """408, 409 and 502 have the API's texts, which do not mention the effect."""
    sandbox.faults(Fault(kind, status=status, times=1))
    got, body, _ = call(sandbox)
    assert (got, json.loads(body), sandbox.accepted_count()) == (status, {"error": text}, accepted)


@pytest.mark.parametrize(
    ("kind", "status"), [("forbidden", 403), ("gone", 410), ("bad_request", 400), ("not_found", 404)]
)
def test_the_details_of_one_execution_may_be_refused(sandbox: Sandbox, kind: str, status: int) -> None:
    """Other executions and other routes are not affected."""
    first, second = (entry["execution_id"] for entry in json.loads(call(sandbox)[1])["executions"])
    sandbox.faults(Fault(kind, on="details", execution_id=first))
    path = "/v1/workflows/executions/"
    statuses = [call(sandbox, method="GET", path=path + name)[0] for name in (second, first, first)]
    assert statuses == [200, status, status]
    assert call(sandbox, method="GET", path="/v1/workflows/wf_abc123/executions")[0] == 200


def test_an_expired_execution_is_in_no_response(sandbox: Sandbox) -> None:
    """Retention has removed it: 404 in the details and absent from both listings, but it was billed."""
    document = json.loads(call(sandbox)[1])
    first, second = (entry["execution_id"] for entry in document["executions"])
    sandbox.expire(first)
    sandbox.expire(first)
    assert call(sandbox, method="GET", path=f"/v1/workflows/executions/{first}")[0] == 404
    assert call(sandbox, method="GET", path=f"/v1/workflows/executions/{second}")[0] == 200
    for query in ("", f"?bulk_id={document['bulk_id']}"):
        listing = json.loads(call(sandbox, method="GET", path=f"/v1/workflows/wf_abc123/executions{query}")[1])
        assert ([entry["execution_id"] for entry in listing["executions"]], listing["total_count"]) == ([second], 1)
    assert sandbox.accepted_count() == 2
    with pytest.raises(KeyError):
        sandbox.expire("nobody")


@pytest.mark.parametrize(("kind", "accepted"), [("lost_answer", 2), ("dropped", 0)])
def test_a_cut_connection_gives_no_byte(sandbox: Sandbox, kind: str, accepted: int) -> None:
    """The caller sees the same with and without an effect."""
    sandbox.faults(Fault(kind, times=1))
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        call(sandbox)
    assert sandbox.accepted_count() == accepted
    assert call(sandbox)[0] == 202
    assert sandbox.requests[0].status is None


def test_a_response_may_be_cut_short(sandbox: Sandbox) -> None:
    """The body is shorter than Content-Length, and the executions exist."""
    sandbox.faults(Fault("cut_short", times=1))
    with pytest.raises(http.client.IncompleteRead) as caught:
        call(sandbox)
    assert caught.value.partial.startswith(b'{"bulk_id":')
    assert caught.value.expected
    assert sandbox.accepted_count() == 2


def test_a_response_may_stall_after_half_of_its_body(sandbox: Sandbox) -> None:
    """The rest is sent late or never; the server still stops at once."""
    sandbox.faults(Fault("stalled", at={1}, seconds=0.01), Fault("stalled", at={2}))
    status, body, _ = call(sandbox)
    assert (status, len(json.loads(body)["executions"])) == (202, 2)
    with pytest.raises(TimeoutError):
        call(sandbox, timeout=0.2)
    sandbox.stop()


def test_a_byte_of_the_body_may_be_altered(sandbox: Sandbox) -> None:
    """The length is right and the content is not."""
    whole = call(sandbox)[1]
    sandbox.faults(Fault("altered"))
    status, body, headers = call(sandbox)
    assert (status, len(body), headers["Content-Length"]) == (202, len(whole), str(len(whole)))
    with pytest.raises(ValueError, match=r"Extra data|delimiter|Expecting"):
        json.loads(body)


def test_a_redirect_has_the_location_of_its_fault(sandbox: Sandbox) -> None:
    """Other faults cannot have a location."""
    sandbox.faults(Fault("redirect", on="balance", location="http://127.0.0.1:1/x"))
    status, _, headers = call(sandbox, method="GET", path="/v1/billing/balance")
    assert (status, headers["Location"]) == (302, "http://127.0.0.1:1/x")
    with pytest.raises(ValueError, match="location goes with 'redirect'"):
        Fault("dropped", location="http://127.0.0.1:1/x")


def test_a_response_may_never_be_sent(sandbox: Sandbox) -> None:
    """The caller times out after the effect, and the server still stops at once."""
    sandbox.faults(Fault("silence", times=1))
    with pytest.raises(TimeoutError):
        call(sandbox, timeout=0.2)
    assert sandbox.accepted_count() == 2
    assert call(sandbox)[0] == 202
    sandbox.stop()


def test_a_silence_may_end(sandbox: Sandbox) -> None:
    """The response is sent after the given seconds."""
    sandbox.faults(Fault("silence", seconds=0.01))
    assert call(sandbox)[0] == 202


def test_latency_goes_with_another_fault(sandbox: Sandbox) -> None:
    """One request has both faults."""
    sandbox.faults(Fault("latency", seconds=0.01), Fault("rate_limit"))
    assert call(sandbox)[0] == 429
    assert sandbox.requests[0].faults == ("latency", "rate_limit")


def test_a_response_may_be_garbage(sandbox: Sandbox) -> None:
    """200 with HTML, and the executions exist."""
    sandbox.faults(Fault("garbage"))
    status, body, headers = call(sandbox)
    assert status == 200
    assert body.startswith(b"<!doctype html>")
    assert headers["Content-Type"].startswith("text/html")
    assert sandbox.accepted_count() == 2


@pytest.mark.parametrize(("kind", "count"), [("too_few", 1), ("too_many", 3), ("no_ids", 2)])
def test_a_response_may_not_match_its_request(sandbox: Sandbox, kind: str, count: int) -> None:
    """Another number of entries, or entries without an id."""
    sandbox.faults(Fault(kind))
    status, body, _ = call(sandbox)
    entries = json.loads(body)["executions"]
    assert (status, len(entries)) == (202, count)
    assert all(("execution_id" in entry) == (kind != "no_ids") for entry in entries)
    assert sandbox.accepted_count() == 2


def test_a_response_may_belong_to_another_request(sandbox: Sandbox) -> None:
    """The entries are in reverse order, or the response is that of the previous request."""
    sandbox.faults(Fault("permuted", at={1}), Fault("replayed", at={2}), Fault("replayed", on="details"))
    first, second = (json.loads(call(sandbox)[1]) for _ in range(2))
    assert [entry["execution_id"] for entry in first["executions"]] == [
        record.execution_id for record in sandbox.accepted[1::-1]
    ]
    assert second["executions"] == first["executions"][::-1]
    ids = [record.execution_id for record in sandbox.accepted[:2]]
    for execution_id in ids:
        status, body, _ = call(sandbox, method="GET", path=f"/v1/workflows/executions/{execution_id}")
        assert (status, json.loads(body)["execution_id"]) == (200, ids[0])


@pytest.mark.parametrize("status", [None, 307])
def test_a_redirect_without_a_location_is_a_404_and_recorded(sandbox: Sandbox, status: int | None) -> None:
    """Nothing takes effect; a follower is seen in the ledger."""
    sandbox.faults(Fault("redirect", status=status))
    got, _, headers = call(sandbox)
    assert got == (status or 302)
    assert sandbox.accepted == ()
    assert call(sandbox, method="GET", path=headers["Location"])[0] == 404
    assert [request.route for request in sandbox.requests] == ["trigger", "elsewhere"]


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ("list", "/v1/workflows/wf_abc123/executions"),
        ("workflow", "/api/v1/workflows/wf_abc123"),
        ("balance", "/v1/billing/balance"),
        ("details", "/v1/workflows/executions/none"),
        ("media", "/media/none.svg"),
    ],
)
def test_every_route_can_have_faults(sandbox: Sandbox, route: str, path: str) -> None:
    """A fault meets its own route and no other."""
    sandbox.faults(Fault("error_before", on=route, status=503))
    assert call(sandbox, method="GET", path=path)[0] == 503
    assert call(sandbox)[0] == 202
    sandbox.faults(Fault("error_before", on="any", times=2))
    assert call(sandbox, method="GET", path=path)[0] == 500
    assert call(sandbox)[0] == 500
    assert call(sandbox)[0] == 202


def test_another_process_can_set_faults_and_read_the_ledger(sandbox: Sandbox) -> None:
    """Over HTTP, as JSON and without a key; invalid faults are rejected."""
    body = {"faults": [{"kind": "rate_limit", "at": [1, 2]}]}
    assert call(sandbox, path="/_sandbox/faults", body=body)[0] == 200
    assert [call(sandbox)[0] for _ in range(4)] == [429, 429, 202, 202]
    for wrong in ({"kind": "nonsense"}, {"on": "trigger"}, {"kind": "latency", "when": 1}, 5):
        assert call(sandbox, path="/_sandbox/faults", body={"faults": [wrong]})[0] == 400
    ledger = json.loads(call(sandbox, method="GET", path="/_sandbox/ledger")[1])
    assert ledger["accepted_count"] == 4
    assert ledger["duplicates"] == {'{"prompt":"a"}': 2, '{"prompt":"b"}': 2} == sandbox.duplicates()
    assert ledger["requests"] == {"trigger": 4}
    assert ledger["in_flight"] == 4
    assert ledger["peak_in_flight"] == 1
    assert [entry["inputs"] for entry in ledger["accepted"]] == [{"prompt": "a"}, {"prompt": "b"}] * 2
    assert "sandbox-key" not in json.dumps(ledger)
    assert sandbox.accepted_count({"prompt": "a"}) == 2
    assert sandbox.accepted_count({"prompt": "z"}) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "replayed", "on": "list"},
        {"kind": "permuted", "on": "details"},
        {"kind": "nonsense"},
        {"kind": "latency", "on": "nowhere"},
        {"kind": "too_few", "on": "list"},
        {"kind": "latency", "chance": 1.5},
        {"kind": "latency", "every": 0},
        {"kind": "latency", "at": {0}},
        {"kind": "latency", "seconds": -1.0},
        {"kind": "latency", "seconds": float("nan")},
        {"kind": "latency", "times": -1},
        {"kind": "rate_limit", "retry_after": -1},
        {"kind": "rate_limit", "status": 500},
        {"kind": "error_after", "status": 404},
        {"kind": "error_before", "status": 410},
        {"kind": "redirect", "status": 304},
        {"kind": "gone", "on": "list", "execution_id": "e"},
    ],
)
def test_an_invalid_fault_is_an_error(wrong: dict[str, Any]) -> None:
    """Invalid faults raise an error, so that no test passes without its fault."""
    with pytest.raises(ValueError, match=r"\w+"):
        Fault(**wrong)


def pattern(fault: Fault, *, count: int, seed: int = 0, others: tuple[Fault, ...] = ()) -> list[int]:
    """Return the ordinals of the requests that a fault affects."""
    schedule = Schedule([*others, fault], random.Random(seed))
    return [n for n in range(1, count + 1) if fault in schedule.next("trigger")]


def test_the_schedule_counts_from_one() -> None:
    """`at`, `every` and `times` are exact."""
    assert pattern(Fault("rate_limit", at=(2, 5)), count=9) == [2, 5]
    assert pattern(Fault("rate_limit", every=3), count=9) == [3, 6, 9]
    assert pattern(Fault("rate_limit", every=3, at={1}), count=9) == [1, 3, 6, 9]
    assert pattern(Fault("rate_limit", every=3, times=2), count=9) == [3, 6]
    assert pattern(Fault("rate_limit", times=2), count=9) == [1, 2]
    assert pattern(Fault("rate_limit", on="list"), count=9) == []
    schedule = Schedule([Fault("garbage", on="any", at={3})], random.Random(0))
    assert [len(schedule.next(route)) for route in ("list", "trigger", "media", "list")] == [0, 0, 1, 0]


@given(st.integers(), st.floats(0.0, 1.0), st.integers(0, 5))
def test_chance_is_repeated_by_its_seed(seed: int, chance: float, times: int) -> None:
    """The same seed affects the same requests, and at most `times`."""
    fault = Fault("rate_limit", chance=chance, times=times)
    met = pattern(fault, count=50, seed=seed)
    assert met == pattern(fault, count=50, seed=seed)
    assert len(met) <= times


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=6))
def test_a_request_has_at_most_one_fault_beside_latency(kinds: list[str]) -> None:
    """It is the first in the list."""
    chosen = Schedule([Fault(kind) for kind in kinds], random.Random(0)).next("trigger")
    rest = [fault.kind for fault in chosen if fault.kind != "latency"]
    assert rest == [kind for kind in kinds if kind != "latency"][:1]
    assert len(chosen) - len(rest) == kinds.count("latency")
