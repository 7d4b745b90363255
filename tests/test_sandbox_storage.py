"""Uploads to the sandbox: presigned URLs, files at their public URLs, deletion, and the faults of each."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from eachlabs_frames.sandbox import Fault, Sandbox, start

KEY = {"Authorization": "Bearer sandbox-key"}
JSON = {"Content-Type": "application/json", **KEY}
PICTURE = b"\x89PNG not really" * 20


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
    with start(configure=False, clock=clock, queue_seconds=0.0, run_seconds=(1.0, 1.0)) as running:
        yield running


def call(
    url: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """Send a request over a new connection; return status, body and headers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=120)
    try:
        connection.request(method, f"{parts.path}?{parts.query}".rstrip("?"), body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read(), dict(response.headers)
    finally:
        connection.close()


def presign(sandbox: Sandbox, **body: Any) -> dict[str, Any]:
    """Presign an upload."""
    content = json.dumps({"content_type": "image/png", **body})
    status, answer, _ = call(f"{sandbox.url}/v1/upload/presign", "POST", content, JSON)
    assert status == 200, answer
    return dict(json.loads(answer))


def put(answer: dict[str, Any], body: bytes = PICTURE, **headers: str) -> int:
    """Upload `body`; return the status."""
    required = {"Content-Type": "image/png", **answer["required_headers"], **headers}
    return call(answer["presigned_url"], "PUT", body, required)[0]


def delete(sandbox: Sandbox, file_id: str, headers: dict[str, str] = KEY) -> int:
    """Delete a file; return the status."""
    return call(f"{sandbox.url}/v1/files/{file_id}", "DELETE", headers=headers)[0]


def test_an_uploaded_file_can_be_read_by_anybody_until_it_is_deleted(sandbox: Sandbox) -> None:
    """The public URL is a 404 before the upload and after the deletion; deleting again has no effect."""
    answer = presign(sandbox, file_type="image")
    assert set(answer) == {"id", "presigned_url", "public_url", "expires_at", "required_headers"}
    assert str(uuid.UUID(answer["id"])) == answer["id"]
    assert answer["public_url"].endswith(f"{answer['id']}.png")
    assert call(answer["public_url"])[0] == 404
    assert put(answer) == 200
    status, body, headers = call(answer["public_url"])
    assert (status, body, headers["Content-Type"]) == (200, PICTURE, "image/png")
    status, body, headers = call(answer["public_url"], "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(PICTURE)))
    assert sandbox.files[0].status == "live"
    assert sandbox.files[0].sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert [delete(sandbox, answer["id"]) for _ in range(2)] == [204, 204]
    assert call(answer["public_url"])[0] == 404
    assert (sandbox.presigns, sandbox.puts, sandbox.files[0].status) == (1, 1, "deleted")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "content_type"),
        ({"content_type": "png"}, "content_type"),
        ({"content_type": "image/png; a=b"}, "content_type"),
        ({"content_type": ["image/png"]}, "content_type"),
        ({"content_type": "image/png", "file_type": "picture"}, "file_type"),
        ({"content_type": "image/png", "file_type": ["image"]}, "file_type"),
        ({"content_type": "image/png", "file_type": "video"}, "does not go with"),
        ({"content_type": "image/png", "expires_in_seconds": 59}, "expires_in_seconds"),
        ({"content_type": "image/png", "expires_in_seconds": 31_536_001}, "expires_in_seconds"),
        ({"content_type": "image/png", "expires_in_seconds": 60.0}, "expires_in_seconds"),
        ({"content_type": "image/png", "expires_in_seconds": True}, "expires_in_seconds"),
        ({"content_type": "image/png", "size": 3}, "unknown field 'size'"),
        ([], "must be a JSON object"),
    ],
)
def test_a_presign_request_is_checked(sandbox: Sandbox, body: Any, reason: str) -> None:
    """A field that is missing, wrong or unknown is a 400 with the reason."""
    status, answer, _ = call(f"{sandbox.url}/v1/upload/presign", "POST", json.dumps(body), JSON)
    assert status == 400
    assert reason in json.loads(answer)["details"]
    assert sandbox.presigns == 0


def test_the_key_is_for_the_api_and_not_for_the_storage(sandbox: Sandbox) -> None:
    """Presign and delete need the key; a PUT with any credential is refused, so that no client sends its key there."""
    content = json.dumps({"content_type": "image/png"})
    assert call(f"{sandbox.url}/v1/upload/presign", "POST", content, {"Content-Type": "application/json"})[0] == 401
    answer = presign(sandbox)
    assert delete(sandbox, answer["id"], {}) == 401
    for credential in (KEY, {"X-API-Key": "sandbox-key"}, {"Cookie": "session=1"}):
        assert put(answer, **credential) == 400
    assert put(answer) == 200


def test_a_put_has_exactly_the_required_headers(sandbox: Sandbox) -> None:
    """A required header that is missing or altered, another type, or a further x-amz header is a 403."""
    answer = presign(sandbox)
    name = "x-amz-meta-check"
    value = answer["required_headers"].pop(name)
    assert put(answer) == 403
    assert put(answer, **{name: value.upper()}) == 403
    assert put(answer, **{name: value, "Content-Type": "image/jpeg"}) == 403
    assert put(answer, **{name: value, "x-amz-acl": "public-read"}) == 403
    assert put(answer, **{name: value, "Content-Encoding": "gzip"}) == 400
    assert sandbox.files[0].status == "pending"
    assert put(answer, **{name: value}) == 200
    assert sandbox.files[0].puts == 6


def test_a_put_states_its_length(sandbox: Sandbox) -> None:
    """A chunked body is a 411, an empty one a 400, and one over 100 MB a 413 before its bytes are sent."""
    answer = presign(sandbox)
    headers = {"Content-Type": "image/png", **answer["required_headers"]}
    assert call(answer["presigned_url"], "PUT", iter([b"a", b"b"]), headers)[0] == 411
    assert put(answer, b"") == 400
    assert call(answer["presigned_url"], "PUT", None, headers | {"Content-Length": "100000001"})[0] == 413
    assert sandbox.puts == 0


def test_a_presigned_url_accepts_one_upload_within_15_minutes(sandbox: Sandbox, clock: FakeClock) -> None:
    """An altered URL, a second upload, one after 15 minutes and one to a deleted file are a 403, as XML."""
    first, late, gone = presign(sandbox), presign(sandbox), presign(sandbox)
    assert put(first | {"presigned_url": first["presigned_url"][:-1]}) == 403
    assert put(first | {"presigned_url": late["presigned_url"]}) == 403
    assert put(first) == 200
    status, body, headers = call(
        first["presigned_url"], "PUT", b"other", {"Content-Type": "image/png", **first["required_headers"]}
    )
    assert (status, headers["Content-Type"]) == (403, "application/xml")
    assert b"<Code>AccessDenied</Code>" in body
    assert call(first["public_url"])[1] == PICTURE
    assert delete(sandbox, gone["id"]) == 204
    assert put(gone) == 403
    clock.now += 900
    assert put(late) == 403
    assert sandbox.puts == 1


def test_a_file_is_kept_for_as_long_as_was_asked(sandbox: Sandbox, clock: FakeClock) -> None:
    """A file expires at its time, 180 days later by default, or by `expire_files`; its URL is a 404 then."""
    short, default, forced = presign(sandbox, expires_in_seconds=60), presign(sandbox), presign(sandbox)
    assert [put(answer) for answer in (short, default, forced)] == [200, 200, 200]
    lives = [round(file.expires_at - file.created_at) for file in sandbox.files]
    assert lives == [60, 180 * 86_400, 180 * 86_400]
    clock.now += 60
    sandbox.expire_files(forced["id"])
    assert [file.status for file in sandbox.files] == ["expired", "live", "expired"]
    assert [call(answer["public_url"])[0] for answer in (short, default, forced)] == [404, 200, 404]
    assert delete(sandbox, short["id"]) == 204


def test_only_issued_ids_can_be_deleted_and_not_while_processed(sandbox: Sandbox, clock: FakeClock) -> None:
    """An unknown ID is a 404, text that is no UUID a 400, and a file that is being processed a 409."""
    sandbox.change(processing_seconds=5.0)
    answer = presign(sandbox)
    assert put(answer) == 200
    assert delete(sandbox, str(uuid.uuid4())) == 404
    assert delete(sandbox, "nothing") == 400
    assert delete(sandbox, answer["id"]) == 409
    clock.now += 5
    assert delete(sandbox, answer["id"]) == 204


def test_an_execution_fails_if_its_file_is_not_live(sandbox: Sandbox, clock: FakeClock) -> None:
    """A URL that was sent before its upload, at any depth of the input, makes the execution fail and names it."""
    early, ready = presign(sandbox), presign(sandbox)
    assert put(ready) == 200
    inputs = [{"images": [{"url": answer["public_url"]}]} for answer in (early, ready)]
    url = f"{sandbox.url}/v1/workflows/bulk-trigger/wf_free/v1"
    status, body, _ = call(url, "POST", json.dumps({"inputs": inputs}), JSON)
    assert status == 202
    clock.now += 10
    assert [record.status for record in sandbox.executions] == ["failed", "completed"]
    execution_id = json.loads(body)["executions"][0]["execution_id"]
    details = json.loads(call(f"{sandbox.url}/v1/workflows/executions/{execution_id}", headers=KEY)[1])
    assert f"the input file cannot be read: {early['public_url']}" in details["error_cause"]


@pytest.mark.parametrize(
    ("fault", "status", "live"),
    [
        (Fault("error_before", on="put", status=503), 503, False),
        (Fault("error_after", on="put", status=500), 500, True),
        (Fault("forbidden", on="put"), 403, False),
        (Fault("rate_limit", on="put"), 429, False),
        (Fault("dropped", on="put"), None, False),
        (Fault("lost_answer", on="put"), None, True),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else str(value),
)
def test_faults_of_an_upload(sandbox: Sandbox, fault: Fault, status: int | None, live: bool) -> None:
    """Before a fault takes effect nothing is stored; after it the file is live. A dropped upload ends in its middle."""
    sandbox.faults(fault)
    answer = presign(sandbox)
    if status is None:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            put(answer, PICTURE * 10_000)
    else:
        assert put(answer) == status
    assert sandbox.files[0].status == ("live" if live else "pending")
    sandbox.faults()
    assert put(answer) == (403 if live else 200)


def test_an_upload_that_its_client_abandons_is_not_stored(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """As if its process was killed: the URL can still be used, and nothing is logged."""
    answer = presign(sandbox)
    parts = urlsplit(answer["presigned_url"])
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=120)
    connection.putrequest("PUT", f"{parts.path}?{parts.query}")
    for name, value in {"Content-Type": "image/png", "Content-Length": "1000", **answer["required_headers"]}.items():
        connection.putheader(name, value)
    connection.endheaders(b"x" * 500)
    connection.close()
    deadline = time.monotonic() + 120
    while not any(record.route == "put" for record in sandbox.requests):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [record.status for record in sandbox.requests if record.route == "put"] == [None]
    assert put(answer) == 200
    assert caplog.records == []


@pytest.mark.parametrize("on", ["presign", "delete", "file"])
def test_faults_of_the_other_routes(sandbox: Sandbox, on: str) -> None:
    """Presign, delete and the public URL can fail too; what took effect before the answer was lost stays."""
    answer = presign(sandbox)
    assert put(answer) == 200
    sandbox.faults(Fault("error_before", on=on, at={1}, status=502), Fault("lost_answer", on=on, at={2}))
    requests: dict[str, tuple[Any, ...]] = {
        "presign": (f"{sandbox.url}/v1/upload/presign", "POST", json.dumps({"content_type": "image/png"}), JSON),
        "delete": (f"{sandbox.url}/v1/files/{answer['id']}", "DELETE", None, KEY),
        "file": (answer["public_url"],),
    }
    assert call(*requests[on])[0] == 502
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        call(*requests[on])
    assert sandbox.presigns == (2 if on == "presign" else 1)
    assert sandbox.files[0].status == ("deleted" if on == "delete" else "live")


def test_bytes_are_in_temporary_files_until_the_sandbox_stops(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rejected, cut and deleted uploads leave no file behind, and `reset` and `stop` leave none at all."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with start(configure=False) as sandbox:
        kept, deleted, repeated = (presign(sandbox) for _ in range(3))
        for answer in (kept, deleted, repeated):
            assert put(answer) == 200
        assert put(repeated) == 403
        assert delete(sandbox, deleted["id"]) == 204
        sandbox.faults(Fault("dropped", on="put"))
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            put(presign(sandbox))
        (folder,) = tmp_path.glob("eachlabs-sandbox-files-*")
        assert len(list(folder.iterdir())) == 2
        sandbox.reset()
        assert list(folder.iterdir()) == []
        assert sandbox.files == ()
    assert list(tmp_path.glob("eachlabs-sandbox-files-*")) == []


def test_the_ledger_has_the_files(sandbox: Sandbox) -> None:
    """Another process can read which files were presigned and uploaded; no signature is shown."""
    answer = presign(sandbox)
    assert put(answer) == 200
    ledger = call(f"{sandbox.url}/_sandbox/ledger")[1]
    (file,) = json.loads(ledger)["files"]
    assert (file["file_id"], file["status"], file["size"]) == (answer["id"], "live", len(PICTURE))
    assert answer["required_headers"]["x-amz-meta-check"].encode() not in ledger
