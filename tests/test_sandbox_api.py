"""The sandbox's endpoints, over a real socket and without the product's client."""

from __future__ import annotations

import http.client
import json
import math
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from eachlabs_frames.sandbox import Sandbox, Version, start

TRIGGER = {
    "current": "/v1/workflows/bulk-trigger/{workflow}/v2",
    "legacy": "/api/v1/{workflow}/bulk-trigger",
}
DETAILS = {"current": "/v1/workflows/executions/", "legacy": "/api/v1/executions/"}
PREFIX = {"current": "/v1", "legacy": "/api/v1"}
AUTH = {"current": {"Authorization": "Bearer sandbox-key"}, "legacy": {"X-API-Key": "sandbox-key"}}
DIALECTS = ("current", "legacy")


class FakeClock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Read the clock."""
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that the test advances."""
    return FakeClock()


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[Sandbox]:
    """Run a sandbox on the fake clock."""
    with start(configure=False, clock=clock, run_seconds=(1.0, 1.0)) as running:
        yield running


def call(
    sandbox: Sandbox,
    method: str,
    path: str,
    *,
    body: Any = None,
    raw: bytes | None = None,
    headers: dict[str, str] | None = None,
    dialect: str = "current",
) -> tuple[int, Any, dict[str, str]]:
    """Send a request over a new connection; return status, JSON and headers."""
    sent = raw if raw is not None else None if body is None else json.dumps(body).encode()
    all_headers = {"Content-Type": "application/json", **AUTH[dialect]} if headers is None else headers
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=120)
    try:
        connection.request(method, path, body=sent, headers=all_headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), dict(response.headers)
    finally:
        connection.close()


def trigger(
    sandbox: Sandbox, *inputs: Any, workflow: str = "wf_abc123", dialect: str = "current", **more: Any
) -> tuple[int, Any, dict[str, str]]:
    """Send a bulk trigger."""
    path = TRIGGER[dialect].format(workflow=workflow)
    if workflow in ("wf_text", "wf_free"):
        path = path.replace("/v2", "/v1")
    return call(sandbox, "POST", path, body={"inputs": list(inputs), **more}, dialect=dialect)


def listing(sandbox: Sandbox, query: str = "", *, workflow: str = "wf_abc123", dialect: str = "current") -> Any:
    """Return a page of a workflow's listing."""
    path = f"{PREFIX[dialect]}/workflows/{workflow}/executions{query}"
    status, document, _ = call(sandbox, "GET", path, dialect=dialect)
    assert status == 200, document
    return document


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_trigger_returns_an_entry_per_input_in_order(sandbox: Sandbox, dialect: str) -> None:
    """Accepted entries are queued and have an ID; rejected entries have a message and no ID."""
    status, document, _ = trigger(sandbox, {"prompt": "a"}, {"style": "noir"}, {"prompt": "c"}, dialect=dialect)
    assert status == 202
    assert set(document) == {"bulk_id", "executions"}
    assert str(uuid.UUID(document["bulk_id"])) == document["bulk_id"]
    first, second, third = document["executions"]
    wanted = {"execution_id", "status"} | ({"started_at"} if dialect == "legacy" else set())
    assert set(first) == set(third) == wanted
    assert first["status"] == third["status"] == "queued"
    assert second == {"status": "failed", "message": "invalid input: missing required field 'prompt'"}
    assert [record.inputs for record in sandbox.accepted] == [{"prompt": "a"}, {"prompt": "c"}]
    assert {record.version_id for record in sandbox.accepted} == {"v2"}


def test_statuses_follow_the_clock(sandbox: Sandbox, clock: FakeClock) -> None:
    """An execution has no start while it is queued, then it is running, then completed with an output and a cost."""
    _, document, _ = trigger(sandbox, {"prompt": "a"}, workflow="wf_text")
    path = DETAILS["current"] + document["executions"][0]["execution_id"]
    optional = ("started_at", "completed_at", "total_cost", "workflow_output")
    seen = []
    for moment in (0.0, 0.3, 1.3):
        clock.now = 1000.0 + moment
        _, shown, _ = call(sandbox, "GET", path)
        seen.append((shown["status"], shown["output"] is not None, [name for name in optional if name in shown]))
    assert seen == [("running", False, []), ("running", False, ["started_at"]), ("completed", True, list(optional))]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_only_the_response_to_a_trigger_has_the_status_queued(sandbox: Sandbox, dialect: str) -> None:
    """The details and the listing show a queued execution as running."""
    _, document, _ = trigger(sandbox, {"prompt": "a"}, dialect=dialect)
    path = DETAILS[dialect] + document["executions"][0]["execution_id"]
    assert call(sandbox, "GET", path, dialect=dialect)[1]["status"] == "running"
    entry = listing(sandbox, dialect=dialect)["executions"][0]
    assert (entry["status"], "started_at" in entry) == ("running", False)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_details_have_the_documented_shape(sandbox: Sandbox, clock: FakeClock, dialect: str) -> None:
    """A completed execution shows its steps, its output for each kind of workflow and, not in legacy, its cost."""
    kinds = {"wf_abc123": str, "wf_text": dict, "wf_images": list, "wf_free": str}
    if dialect == "current":
        ids = {w: trigger(sandbox, {"prompt": "a"}, workflow=w)[1]["executions"][0] for w in kinds}
    else:
        ids = {w: trigger(sandbox, {"prompt": "a"}, workflow=w, dialect=dialect)[1]["executions"][0] for w in kinds}
    clock.now += 60
    for workflow, kind in kinds.items():
        path = DETAILS[dialect] + ids[workflow]["execution_id"]
        status, shown, _ = call(sandbox, "GET", path, dialect=dialect)
        assert status == 200
        wanted = {
            "execution_id",
            "workflow_id",
            "bulk_id",
            "status",
            "started_at",
            "completed_at",
            "inputs",
            "step_outputs",
            "output",
        }
        if dialect == "current":
            wanted |= {"version_id", "total_cost"} | ({"workflow_output"} if kind is dict else set())
            assert shown["total_cost"] == 0.01
            assert shown.get("workflow_output", shown["output"]) == shown["output"]
        assert set(shown) == wanted
        assert isinstance(shown["output"], kind)
        (step,) = shown["step_outputs"].values()
        assert {"step_id", "status", "output", "primary", "metadata"} <= set(step)
        assert shown["started_at"].endswith("Z")
        assert "." not in shown["started_at"]


def test_a_listing_has_only_outputs_that_are_strings_or_objects(sandbox: Sandbox, clock: FakeClock) -> None:
    """A list of pictures is in the details only."""
    for workflow in ("wf_abc123", "wf_text", "wf_images"):
        trigger(sandbox, {"prompt": "a"}, workflow=workflow)
    clock.now += 60
    shown = {w: listing(sandbox, workflow=w)["executions"][0] for w in ("wf_abc123", "wf_text", "wf_images")}
    assert isinstance(shown["wf_abc123"]["output"], str)
    assert "output_json" not in shown["wf_abc123"]
    assert isinstance(shown["wf_text"]["output_json"], dict)
    assert "output" not in shown["wf_text"]
    assert not {"output", "output_json"} & set(shown["wf_images"])
    entry = shown["wf_abc123"]
    assert {"flow_id", "flow_name", "version_id", "created_at", "ended_at", "inputs"} <= set(entry)
    assert entry["cost"] == 0.01
    sandbox.change(cost_shape="object", listing_inputs=False)
    entry = listing(sandbox)["executions"][0]
    assert entry["cost"] == {"total": 0.01, "currency": "USD"}
    assert "inputs" not in entry
    sandbox.change(cost_shape="none")
    assert "cost" not in listing(sandbox)["executions"][0]


def test_only_the_details_of_a_failed_execution_have_its_error(sandbox: Sandbox, clock: FakeClock) -> None:
    """The marker in the prompt fails the execution; the listing shows only the status."""
    _, document, _ = trigger(sandbox, {"prompt": "a [fail] b"})
    clock.now += 60
    entry = listing(sandbox)["executions"][0]
    assert entry["status"] == "failed"
    assert not {"error", "error_cause", "output"} & set(entry)
    _, shown, _ = call(sandbox, "GET", DETAILS["current"] + document["executions"][0]["execution_id"])
    assert shown["output"] is None
    assert shown["error"] == "ExecutionFailed"
    assert "[fail]" in shown["error_cause"]


def test_any_status_can_be_set(sandbox: Sandbox) -> None:
    """A cancelled execution has ended; one with an undocumented status has not."""
    _, document, _ = trigger(sandbox, {"prompt": "a"}, {"prompt": "b"})
    first, second = (entry["execution_id"] for entry in document["executions"])
    sandbox.set_status(first, "cancelled")
    sandbox.set_status(second, "paused")
    _, shown, _ = call(sandbox, "GET", DETAILS["current"] + first)
    assert (shown["status"], shown["output"], "completed_at" in shown) == ("cancelled", None, True)
    _, shown, _ = call(sandbox, "GET", DETAILS["current"] + second)
    assert (shown["status"], "completed_at" in shown) == ("paused", False)
    assert sandbox.in_flight == 1
    assert sandbox.release() == 1
    assert sandbox.in_flight == 0


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_wrong_or_missing_key_is_401(sandbox: Sandbox, dialect: str) -> None:
    """Each dialect takes its own header and not the other's."""
    other = AUTH["legacy" if dialect == "current" else "current"]
    wrong = {name: value + "x" for name, value in AUTH[dialect].items()}
    for headers in ({}, other, wrong, {"Authorization": "Basic sandbox-key"}):
        status, document, _ = call(sandbox, "GET", PREFIX[dialect] + "/workflows/wf_abc123", headers=headers)
        assert (status, set(document)) == (401, {"error"})
    path = TRIGGER[dialect].format(workflow="wf_abc123")
    assert call(sandbox, "POST", path, body={"inputs": [{}]}, headers={})[0] == 401
    assert sandbox.accepted == ()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/workflows/wf_forbidden", 403),
        ("GET", "/v1/workflows/wf_none", 404),
        ("GET", "/v1/workflows/wf_none/executions", 404),
        ("GET", "/v1/workflows/executions/nothing", 404),
        ("POST", "/v1/workflows/bulk-trigger/wf_abc123/v9", 404),
        ("POST", "/v1/workflows/bulk-trigger/wf_abc123/v3", 404),
        ("POST", "/v1/workflows/bulk-trigger/wf_none/v1", 404),
        ("POST", "/v1/workflows/bulk-trigger/wf_forbidden/v1", 403),
        ("POST", "/v1/workflows/bulk-trigger/wf_abc123", 404),
        ("GET", "/v1/workflows/bulk-trigger/wf_abc123/v2", 405),
        ("POST", "/v1/workflows/wf_abc123", 405),
        ("GET", "/v1/workflows/wf_abc123/", 404),
        ("GET", "/v1/workflows/wf_abc123?page=1", 400),
        ("GET", "/v1/billing/balance?x=1", 400),
        ("GET", "/", 404),
    ],
)
def test_unknown_paths_and_resources_are_errors_in_json(sandbox: Sandbox, method: str, path: str, status: int) -> None:
    """Every error has the API's shape."""
    body = {"inputs": [{"prompt": "a"}]} if method == "POST" else None
    got, document, headers = call(sandbox, method, path, body=body)
    assert got == status
    assert isinstance(document["error"], str)
    assert headers["Content-Type"].startswith("application/json")
    assert ("Allow" in headers) == (status == 405)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"inputs": {}}',
        b'{"inputs": []}',
        b'{"inputs": [1]}',
        b'{"inputs": [{"prompt": "a"}, null]}',
        b'{"inputs": [' + b",".join([b'{"prompt": "a"}'] * 11) + b"]}",
        b'{"inputs": [{"prompt": "a"}], "version_id": "v1"}',
        b'{"inputs": [{"prompt": "a"}], "extra": 1}',
        b'{"inputs": [{"prompt": "a", "guidance": NaN}]}',
        b'{"inputs": [{"prompt": "a", "guidance": Infinity}]}',
        b'{"inputs": [{"prompt": "a", "guidance": 1e999}]}',
        b'{"inputs": [{"prompt": "a", "prompt": "b"}]}',
        b'{"inputs": [{"prompt": "\xff"}]}',
        b'{"inputs": [{"prompt": "\\ud800"}]}',
        b'\xef\xbb\xbf{"inputs": [{"prompt": "a"}]}',
        b'{"inputs": [{"prompt": "a"}], "webhook_url": null}',
        b'{"inputs": [{"prompt": "a"}], "webhook_url": "ftp://127.0.0.1/x"}',
        b'{"inputs": [{"prompt": "a"}], "webhook_url": "http://"}',
        b'{"inputs": [{"prompt": "a"}], "webhook_url": "http://127.0.0.1/a b"}',
        b'{"inputs": [{"prompt": "a"}], "webhook_secret": "a\\r\\nb"}',
        b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda raw: repr(raw[:60]),
)
def test_a_malformed_trigger_is_refused_whole(sandbox: Sandbox, raw: bytes) -> None:
    """The response is a 400 with details, and no execution is accepted."""
    status, document, _ = call(sandbox, "POST", TRIGGER["current"].format(workflow="wf_abc123"), raw=raw)
    assert (status, set(document)) == (400, {"error", "details"})
    assert sandbox.accepted == ()


def test_the_legacy_body_may_name_a_version_but_no_secret(sandbox: Sandbox) -> None:
    """The two dialects' bodies are not the same."""
    assert trigger(sandbox, {"prompt": "a"}, dialect="legacy", version_id="v1")[0] == 202
    assert trigger(sandbox, {"prompt": "a"}, dialect="legacy")[0] == 202
    assert [record.version_id for record in sandbox.accepted] == ["v1", "v2"]
    assert trigger(sandbox, {"prompt": "a"}, dialect="legacy", version_id="v9")[0] == 404
    assert trigger(sandbox, {"prompt": "a"}, dialect="legacy", version_id="v3")[0] == 404
    assert trigger(sandbox, {"prompt": "a"}, dialect="legacy", version_id=None)[0] == 400
    assert trigger(sandbox, {"prompt": "a"}, dialect="legacy", webhook_secret="s")[0] == 400


def test_a_trigger_must_be_declared_as_json_and_may_not_be_huge(sandbox: Sandbox) -> None:
    """400 without the content type, 413 above 12 MiB, 202 just below."""
    path = TRIGGER["current"].format(workflow="wf_abc123")
    for kind in ({}, {"Content-Type": "text/plain"}):
        status, _, _ = call(
            sandbox, "POST", path, body={"inputs": [{"prompt": "a"}]}, headers={**AUTH["current"], **kind}
        )
        assert status == 400
    charset = {**AUTH["current"], "Content-Type": "application/json; charset=utf-8"}
    assert call(sandbox, "POST", path, body={"inputs": [{"prompt": "a"}]}, headers=charset)[0] == 202
    assert trigger(sandbox, {"text": "x" * 11_000_000}, workflow="wf_free")[0] == 202
    assert trigger(sandbox, {"text": "x" * 13_000_000}, workflow="wf_free")[0] == 413
    assert sandbox.accepted_count() == 2


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "missing required field 'prompt'"),
        ({"prompt": ""}, "at least 1 characters"),
        ({"prompt": "x" * 4001}, "at most 4000 characters"),
        ({"prompt": None}, "must be of type string"),
        ({"prompt": 5}, "must be of type string"),
        ({"prompt": "a", "seed": 1.0}, "must be of type integer"),
        ({"prompt": "a", "seed": True}, "must be of type integer"),
        ({"prompt": "a", "seed": -1}, "at least 0"),
        ({"prompt": "a", "guidance": "7"}, "must be of type number"),
        ({"prompt": "a", "guidance": 31}, "at most 30"),
        ({"prompt": "a", "aspect_ratio": "2:1"}, "must be one of"),
        ({"prompt": "a", "tags": ["x", 1]}, "field 'tags[1]' must be of type string"),
        ({"prompt": "a", "unheard_of": 1}, "unknown field 'unheard_of'"),
    ],
)
def test_an_invalid_input_fails_alone(sandbox: Sandbox, inputs: Any, message: str) -> None:
    """The schema's refusal is an entry; its neighbour is accepted."""
    status, document, _ = trigger(sandbox, inputs, {"prompt": "fine", "seed": 0, "guidance": 7})
    assert status == 202
    refused, accepted = document["executions"]
    assert refused["status"] == "failed"
    assert refused["message"].startswith("invalid input: ")
    assert message in refused["message"]
    assert accepted["status"] == "queued"
    assert sandbox.accepted_count() == 1


def test_a_workflow_may_refuse_the_whole_request_for_one_bad_input(sandbox: Sandbox) -> None:
    """With 400 or 422, and nothing is accepted."""
    schema = {"type": "object", "required": ["prompt"], "additionalProperties": {"type": "integer"}}
    for reject, status in (("request", 400), ("unprocessable", 422)):
        sandbox.add_workflow(f"wf_{reject}", versions=[Version("v2", input_schema=schema)], reject=reject)
        got, document, _ = trigger(sandbox, {"prompt": 1}, {"prompt": 1, "x": "y"}, workflow=f"wf_{reject}")
        assert got == status
        assert document["details"].startswith("inputs[1]: invalid input: field 'x'")
    assert sandbox.accepted == ()
    assert trigger(sandbox, {"prompt": 1}, workflow="wf_request")[0] == 202


def test_a_schema_that_would_be_ignored_is_refused(sandbox: Sandbox) -> None:
    """A schema keyword that the sandbox does not support raises an error."""
    with pytest.raises(ValueError, match="anyOf"):
        sandbox.add_workflow("wf_x", input_schema={"properties": {"a": {"anyOf": []}}})


def test_only_a_legacy_workflow_has_its_latest_version(sandbox: Sandbox) -> None:
    """Elsewhere the client chooses: the newest active version stands neither first nor last nor newest."""
    shown = {}
    for dialect in DIALECTS:
        for name in ("wf_abc123", "text-to-image"):
            _, shown[dialect], _ = call(sandbox, "GET", f"{PREFIX[dialect]}/workflows/{name}", dialect=dialect)
            assert shown[dialect]["workflow_id"] == "wf_abc123"
    assert shown["legacy"]["latest_version_id"] == "v2"
    assert "latest_version_id" not in shown["current"]
    versions = shown["current"]["versions"]
    assert [(v["version_id"], v["status"]) for v in versions] == [
        ("v1", "active"),
        ("v2", "active"),
        ("v3", "archived"),
    ]
    assert sorted(versions, key=lambda v: v["updated_at"])[-1]["version_id"] == "v3"
    assert versions[1]["definition"]["input_schema"]["additionalProperties"] is False
    _, free, _ = call(sandbox, "GET", "/v1/workflows/wf_free")
    assert "definition" not in free["versions"][0]


def test_pages_go_from_the_newest_to_the_oldest(sandbox: Sandbox) -> None:
    """Each execution is listed once for any limit; the current dialect returns the limit, legacy the next offset."""
    for n in range(7):
        trigger(sandbox, {"prompt": f"p{n}"})
    for dialect in DIALECTS:
        seen: list[str] = []
        offsets = []
        while True:
            page = listing(sandbox, f"?limit=3&offset={len(seen)}", dialect=dialect)
            assert page["total_count"] == 7
            seen += [entry["inputs"]["prompt"] for entry in page["executions"]]
            offsets.append(page.get("offset", page.get("limit")))
            assert set(page) == {"executions", "total_count", "limit" if dialect == "current" else "offset"}
            if len(page["executions"]) < 3:
                break
        assert seen == [f"p{n}" for n in reversed(range(7))]
        assert offsets == ([3, 3, 3] if dialect == "current" else [3, 6, None])
    assert listing(sandbox, "?offset=100")["executions"] == []
    assert len(listing(sandbox, "?limit=100")["executions"]) == 7


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=-1",
        "limit=",
        "offset=-1",
        "offset=1.5",
        "bulk_id=abc",
        "bulk_id=",
        "bulk_id=urn:uuid:550e8400-e29b-41d4-a716-446655440000",
        "status=running",
        "limit=5&limit=6",
    ],
)
def test_a_wrong_query_is_400(sandbox: Sandbox, query: str) -> None:
    """Values out of range and unknown parameters are rejected."""
    assert call(sandbox, "GET", f"/v1/workflows/wf_abc123/executions?{query}")[0] == 400


def test_a_bulk_is_found_by_its_id(sandbox: Sandbox) -> None:
    """Only its own executions, only under its own workflow."""
    trigger(sandbox, {"prompt": "other"})
    _, document, _ = trigger(sandbox, {"prompt": "a"}, {"prompt": "b"})
    query = f"?bulk_id={document['bulk_id']}"
    page = listing(sandbox, query)
    assert [entry["inputs"]["prompt"] for entry in page["executions"]] == ["b", "a"]
    assert page["total_count"] == 2
    assert "offset" not in listing(sandbox, query, dialect="legacy")
    assert listing(sandbox, query, workflow="wf_text")["total_count"] == 0
    assert listing(sandbox, f"?bulk_id={uuid.uuid4()}")["total_count"] == 0


def test_a_listing_may_lag(sandbox: Sandbox, clock: FakeClock) -> None:
    """An execution appears after the lag, or never; its details are there at once."""
    sandbox.change(listing_lag=5.0)
    _, document, _ = trigger(sandbox, {"prompt": "a"})
    clock.now += 3
    trigger(sandbox, {"prompt": "b"})
    assert listing(sandbox)["total_count"] == 0
    clock.now += 2
    assert [entry["inputs"] for entry in listing(sandbox)["executions"]] == [{"prompt": "a"}]
    assert listing(sandbox, f"?bulk_id={document['bulk_id']}")["total_count"] == 1
    sandbox.change(listing_lag=math.inf)
    assert listing(sandbox)["total_count"] == 0
    assert call(sandbox, "GET", DETAILS["current"] + document["executions"][0]["execution_id"])[0] == 200


def test_held_executions_run_until_released(sandbox: Sandbox, clock: FakeClock) -> None:
    """The oldest are released first, and end at once."""
    sandbox.change(hold=True)
    trigger(sandbox, *({"prompt": f"p{n}"} for n in range(4)))
    clock.now += 1_000_000
    assert {record.status for record in sandbox.executions} == {"running"}
    assert sandbox.release(1) == 1
    assert [record.status for record in sandbox.executions] == ["completed", *["running"] * 3]
    status, document, _ = call(sandbox, "POST", "/_sandbox/release", body={"n": 2})
    assert (status, document) == (200, {"released": 2})
    assert sandbox.in_flight == 1
    assert sandbox.release() == 1
    assert {record.status for record in sandbox.executions} == {"completed"}


def test_the_cap_refuses_a_request_whole(sandbox: Sandbox, clock: FakeClock) -> None:
    """The 429 has the documented text with the cap, creates nothing, and ends when executions end."""
    sandbox.change(account_cap=5)
    assert trigger(sandbox, *[{"prompt": "a"}] * 3)[0] == 202
    status, document, headers = trigger(sandbox, *[{"prompt": "b"}] * 3)
    assert status == 429
    assert document["error"] == "Account rate limited"
    assert "accounts with a balance of $10.00 or less are limited to 5 concurrent executions." in document["details"]
    assert "Retry-After" not in headers
    sandbox.change(cap_retry_after=2)
    assert trigger(sandbox, *[{"prompt": "b"}] * 3)[2]["Retry-After"] == "2"
    assert trigger(sandbox, {"bad": 1}, {"prompt": "b"}, {"prompt": "b"})[0] == 202
    assert (sandbox.accepted_count(), sandbox.in_flight) == (5, 5)
    clock.now += 60
    assert sandbox.in_flight == 0
    assert trigger(sandbox, *[{"prompt": "c"}] * 5)[0] == 202


def test_starts_can_be_too_many_at_once(sandbox: Sandbox, clock: FakeClock) -> None:
    """The rate is per second."""
    sandbox.change(trigger_rate=2)
    assert [trigger(sandbox, {"prompt": "a"})[0] for _ in range(3)] == [202, 202, 429]
    clock.now += 1
    assert trigger(sandbox, {"prompt": "a"})[0] == 202


def test_the_balance_is_spent_and_topped_up(sandbox: Sandbox, clock: FakeClock) -> None:
    """A request that would cost more than is left is refused whole with 402."""
    sandbox.change(balance_usd=0.1)
    assert trigger(sandbox, *[{"prompt": "a"}] * 9)[0] == 202
    status, document, _ = trigger(sandbox, {"prompt": "b"}, {"prompt": "c"})
    assert status == 402
    assert document["details"] == (
        "the estimated cost ($0.11) of this request and of your in-flight executions exceeds your current balance "
        "($0.10). please wait for an active execution to finish or top up"
    )
    assert trigger(sandbox, {"prompt": "b"})[0] == 202
    assert sandbox.balance_usd == 0.1
    clock.now += 60
    status, document, _ = trigger(sandbox, {"prompt": "b"})
    assert status == 402
    assert document["details"] == "the estimated cost ($0.01) exceeds your current balance ($0.00)"
    assert call(sandbox, "GET", "/v1/billing/balance")[1] == {"balance_usd": 0}
    sandbox.top_up(1)
    assert call(sandbox, "GET", "/v1/billing/balance")[1] == {"balance_usd": 1}
    assert trigger(sandbox, {"prompt": "c"})[0] == 202
    assert call(sandbox, "GET", "/v1/billing/balance")[0] == 200
    status, _, headers = call(sandbox, "GET", "/v1/billing/balance")
    assert (status, headers["Retry-After"]) == (429, "1")
    clock.now += 1
    assert call(sandbox, "GET", "/v1/billing/balance")[0] == 200
    assert call(sandbox, "GET", "/api/v1/billing/balance", dialect="legacy")[0] == 404


@pytest.mark.parametrize("dialect", ["current", "legacy"])
def test_running_executions_reserve_their_estimate(sandbox: Sandbox, clock: FakeClock, dialect: Any) -> None:
    """What they reserve is given back when they end and what they cost is paid, which may leave less than nothing."""
    sandbox.change(balance_usd=1.0, estimate_usd=0.5, cost_usd=0.1)
    assert trigger(sandbox, {"prompt": "a"}, {"prompt": "b"}, dialect=dialect)[0] == 202
    status, document, _ = trigger(sandbox, {"prompt": "c"}, dialect=dialect)
    assert (status, "in-flight executions exceeds your current balance ($1.00)" in document["details"]) == (402, True)
    clock.now += 60
    assert sandbox.balance_usd == 0.8
    sandbox.change(cost_usd=2.0)
    assert trigger(sandbox, {"prompt": "c"}, dialect=dialect)[0] == 202
    clock.now += 60
    assert sandbox.balance_usd == pytest.approx(-1.2)
    assert call(sandbox, "GET", "/v1/billing/balance")[1] == {"balance_usd": -1.2}


def test_an_unlimited_balance_goes_down_as_executions_are_paid(sandbox: Sandbox, clock: FakeClock) -> None:
    """It is never used up: what it costs more than there is is topped up, and nothing is refused."""
    assert trigger(sandbox, {"prompt": "a"}, {"prompt": "b"})[0] == 202
    assert sandbox.balance_usd == 53.475
    clock.now += 60
    assert call(sandbox, "GET", "/v1/billing/balance")[1] == {"balance_usd": 53.455}
    sandbox.change(cost_usd=43.4)
    assert trigger(sandbox, {"prompt": "c"})[0] == 202
    clock.now += 60
    assert sandbox.balance_usd == pytest.approx(10.055)
    assert trigger(sandbox, {"prompt": "d"})[0] == 202
    clock.now += 60
    assert sandbox.balance_usd == 53.475


def test_the_same_seed_gives_the_same_results() -> None:
    """Lengths and failures come from the seed and the inputs, not from the order of arrival."""
    inputs = [{"prompt": f"p{n}"} for n in range(10)]
    runs = []
    for order, seed in ((inputs, 1), (inputs[::-1], 1), (inputs, 2)):
        clock = FakeClock()
        with start(configure=False, clock=clock, seed=seed, failure_rate=0.5) as sandbox:
            trigger(sandbox, *order)
            clock.now += 60
            runs.append(
                {r.inputs["prompt"]: (r.status, round((r.ended_at or 0) - r.created_at, 3)) for r in sandbox.executions}
            )
    assert runs[0] == runs[1] != runs[2]
    assert {status for status, _ in runs[0].values()} == {"completed", "failed"}
    assert len({length for _, length in runs[0].values()}) == 10


def test_failures_can_be_chosen_and_outputs_be_made(sandbox: Sandbox, clock: FakeClock) -> None:
    """In-process tests may decide both."""
    sandbox.change(fail_when=lambda inputs: inputs["n"] == 2)
    sandbox.add_workflow("wf_own", versions=[Version("v2")], output=lambda inputs: f"<b>{inputs['n']}</b>")
    trigger(sandbox, {"n": 1}, {"n": 2}, workflow="wf_own")
    clock.now += 60
    two, one = listing(sandbox, workflow="wf_own")["executions"]
    assert (one["status"], one["output"]) == ("completed", "<b>1</b>")
    assert two["status"] == "failed"


def test_timestamps_are_rfc_3339_and_may_be_skewed(sandbox: Sandbox) -> None:
    """Timestamps have whole seconds by default; the Date header has the clock skew too."""
    trigger(sandbox, {"prompt": "a"})
    plain = listing(sandbox)["executions"][0]["created_at"]
    sandbox.change(timestamp_digits=3, clock_skew=86400 * 365.0)
    _, page, headers = call(sandbox, "GET", "/v1/workflows/wf_abc123/executions")
    skewed = page["executions"][0]["created_at"]
    assert (len(plain), len(skewed)) == (len("2026-01-01T00:00:00Z"), len("2026-01-01T00:00:00.000Z"))
    assert int(skewed[:4]) == int(plain[:4]) + 1
    assert skewed[:4] in headers["Date"]
    sandbox.change(clock_skew=0.0, timestamp_skew=86400 * 365.0)
    _, page, headers = call(sandbox, "GET", "/v1/workflows/wf_abc123/executions")
    assert page["executions"][0]["created_at"][:4] == skewed[:4]
    assert plain[:4] in headers["Date"]


def test_every_response_has_a_request_id(sandbox: Sandbox) -> None:
    """A printable request ID is returned, else a new one; errors and unknown paths have it too."""
    for path in ("/v1/workflows/wf_abc123", "/v1/workflows/nobody", "/nowhere"):
        _, _, made = call(sandbox, "GET", path)
        _, _, echoed = call(sandbox, "GET", path, headers={**AUTH["current"], "X-Request-Id": "mine-1"})
        assert (str(uuid.UUID(made["X-Request-Id"])), echoed["X-Request-Id"]) == (made["X-Request-Id"], "mine-1")
    odd = call(sandbox, "GET", "/v1/workflows/wf_abc123", headers={**AUTH["current"], "X-Request-Id": "\xe9"})
    assert (odd[0], str(uuid.UUID(odd[2]["X-Request-Id"]))) == (200, odd[2]["X-Request-Id"])
