"""The sandbox's thread, webhooks, media files and effect on the settings."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from eachlabs_frames import settings
from eachlabs_frames.sandbox import Dialect, Fault, Options, Sandbox, start
from eachlabs_frames.sandbox.media import png, svg

HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer sandbox-key"}
SVG = "{http://www.w3.org/2000/svg}"


class FakeClock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Read the clock."""
        return self.now


def trigger(sandbox: Sandbox, *inputs: Any, workflow: str = "wf_abc123", **more: Any) -> Any:
    """Send a bulk trigger that is accepted."""
    version = "v1" if workflow in ("wf_text", "wf_free") else "v2"
    request = urllib.request.Request(
        f"{sandbox.current_base_url}/workflows/bulk-trigger/{workflow}/{version}",
        data=json.dumps({"inputs": list(inputs), **more}).encode(),
        headers=HEADERS,
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


def get(sandbox: Sandbox, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Send a GET request without a key."""
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=120)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(), dict(response.headers)
    finally:
        connection.close()


def until(sandbox: Sandbox, holds: Callable[[], bool]) -> None:
    """Send requests until `holds` is true, so that the server's loop runs."""
    for _ in range(5000):
        if holds():
            return
        get(sandbox, "/_sandbox/ledger")
    pytest.fail("the condition is not met after 5,000 requests")


def test_stop_leaves_nothing_behind() -> None:
    """No thread and no listener; a second stop has no effect, and records can still be read."""
    before = set(threading.enumerate())
    sandbox = start(configure=False, faults=[Fault("silence", at={2})])
    trigger(sandbox, {"prompt": "a"})
    silent = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=0.1)
    silent.request("POST", "/v1/workflows/bulk-trigger/wf_free/v1", body='{"inputs":[{}]}', headers=HEADERS)
    with pytest.raises(TimeoutError):
        silent.getresponse()
    silent.close()
    sandbox.stop()
    sandbox.stop()
    assert set(threading.enumerate()) == before
    assert sandbox.accepted_count() == 2
    assert sandbox.deliveries == ()
    sandbox.faults()
    assert sandbox.release() == 0
    with pytest.raises(ConnectionRefusedError):
        get(sandbox, "/")
    assert "stopped" in repr(sandbox)
    assert "sandbox-key" not in repr(sandbox)


def test_a_port_in_use_is_an_error_and_leaves_no_thread() -> None:
    """The caller gets the error."""
    with start(configure=False) as sandbox:
        before = set(threading.enumerate())
        with pytest.raises(OSError, match=r".+"):
            start(configure=False, port=sandbox.port)
        assert set(threading.enumerate()) == before


def test_the_addresses_follow_the_dialect() -> None:
    """Both dialects are served, and `base_url` is that of the selected dialect."""
    with Sandbox(dialect="legacy", api_key="other", options=Options(seed=3)) as sandbox:
        assert sandbox.url == f"http://127.0.0.1:{sandbox.port}"
        assert sandbox.base_url == sandbox.legacy_base_url == sandbox.url + "/api/v1"
        assert sandbox.current_base_url == sandbox.url + "/v1"
        request = urllib.request.Request(f"{sandbox.base_url}/workflows/wf_abc123", headers={"X-API-Key": "other"})
        with urllib.request.urlopen(request, timeout=120) as response:
            assert json.load(response)["latest_version_id"] == "v2"
    with pytest.raises(ValueError, match="dialect"):
        Sandbox(dialect="newest")  # type: ignore[arg-type]  # what is being tested


@pytest.mark.parametrize(
    "wrong",
    [{"run_seconds": (2.0, 1.0)}, {"failure_rate": 2.0}, {"account_cap": 0}, {"listing_lag": -1.0}],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    """The error has the name of the option, and nothing is started."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        start(configure=False, **wrong)


@pytest.mark.slow
def test_importing_the_sandbox_imports_no_server() -> None:
    """The server is imported when `Sandbox` is accessed."""
    code = (
        "import sys; import eachlabs_frames.sandbox as s;"
        "before = {m for m in sys.modules if m.startswith('eachlabs_frames.sandbox.')};"
        "s.Sandbox; print('eachlabs_frames.sandbox.server' in before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_a_running_sandbox_does_not_keep_the_interpreter() -> None:
    """It is stopped at exit, without output."""
    code = "from eachlabs_frames.sandbox import start; s = start(configure=False); print(s.port)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip().isdigit()
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent the POSIX way")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_foreground_sandbox_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    """It shows its URL, and exits with 0."""
    code = "from eachlabs_frames.sandbox import serve\nserve(0, ready=lambda sandbox: print(sandbox.url, flush=True))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(url + "/_sandbox/ledger", timeout=120) as response:
            assert json.load(response)["accepted_count"] == 0
        os.kill(process.pid, number)
        assert process.wait(timeout=120) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("dialect", ["current", "legacy"])
def test_start_points_the_settings_at_the_sandbox(dialect: Dialect) -> None:
    """`start()` sets the key and the base URL."""
    try:
        with start(dialect=dialect, api_key="k-1") as sandbox:
            now = settings.current()
            assert now.base_url.rstrip("/") == sandbox.base_url
            assert now.dialect == dialect
    finally:
        settings.configure(api_key=None, base_url=None, dialect=None)


def test_peak_counts_the_triggers_handled_at_once() -> None:
    """Concurrent requests are counted as concurrent."""
    with start(configure=False, faults=[Fault("silence", at=range(1, 5))]) as sandbox:
        threads = [threading.Thread(target=_swallow, args=(sandbox, n), name=f"caller-{n}") for n in range(4)]
        for thread in threads:
            thread.start()
        until(sandbox, lambda: sandbox.accepted_count() == 4)
        assert sandbox.peak_in_flight == 4
        sandbox.stop()
        for thread in threads:
            thread.join()
    sandbox.reset()
    assert (sandbox.requests, sandbox.accepted, sandbox.peak_in_flight) == ((), (), 0)


def _swallow(sandbox: Sandbox, n: int) -> None:
    with contextlib.suppress(OSError):
        trigger(sandbox, {"prompt": str(n)})


@pytest.mark.slow
def test_ten_thousand_executions_keep_a_listing_by_bulk_small() -> None:
    """A bulk's page is found by its index, and nothing is accepted twice."""
    with start(configure=False, hold=True) as sandbox:
        connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=120)
        try:
            for batch in range(1000):
                inputs = [{"prompt": f"{batch}-{n}"} for n in range(10)]
                connection.request(
                    "POST",
                    "/v1/workflows/bulk-trigger/wf_abc123/v2",
                    body=json.dumps({"inputs": inputs}),
                    headers=HEADERS,
                )
                document = json.loads(connection.getresponse().read())
            path = f"/v1/workflows/wf_abc123/executions?bulk_id={document['bulk_id']}"
            connection.request("GET", path, headers=HEADERS)
            assert json.loads(connection.getresponse().read())["total_count"] == 10
        finally:
            connection.close()
        assert sandbox.accepted_count() == len({record.execution_id for record in sandbox.accepted}) == 10_000
        assert sandbox.duplicates() == {}


class Receiver:
    """A webhook receiver: the requests, and the statuses to return."""

    def __init__(self) -> None:
        self.received: queue.Queue[tuple[dict[str, str], Any]] = queue.Queue()
        self.bodies: list[bytes] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.bodies.append(raw)
                body = json.loads(raw)
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                # Before the answer: a repetition, which another thread takes in, must not overtake it.
                receiver.received.put((dict(self.headers), body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Do not log."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?a=1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        """Stop the server."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run a receiver of webhooks."""
    running = Receiver()
    yield running
    running.close()


def test_each_execution_notifies_when_it_ends(receiver: Receiver) -> None:
    """The body is the details with the bulk ID; the header has the secret."""
    with start(configure=False, hold=True) as sandbox:
        document = trigger(
            sandbox,
            {"prompt": "a"},
            {"prompt": "b [fail]"},
            webhook_url=receiver.url,
            webhook_secret="s3cret",
        )
        assert receiver.received.empty()
        sandbox.release()
        notes = [receiver.received.get(timeout=120) for _ in range(2)]
    by_id = {body["execution_id"]: (headers, body) for headers, body in notes}
    assert set(by_id) == {entry["execution_id"] for entry in document["executions"]}
    for headers, body in by_id.values():
        assert headers["X-Webhook-Secret"] == "s3cret"
        assert body["bulk_id"] == document["bulk_id"]
        assert body["completed_at"]
    bodies = [by_id[entry["execution_id"]][1] for entry in document["executions"]]
    assert [body["status"] for body in bodies] == ["completed", "failed"]
    assert [body["output"] is None for body in bodies] == [False, True]
    assert bodies[1]["error_cause"]


def test_a_delivery_is_sent_without_a_request_at_the_end(receiver: Receiver) -> None:
    """The end of an execution needs no request."""
    with start(configure=False, queue_seconds=0.01, run_seconds=(0.01, 0.02)) as sandbox:
        trigger(sandbox, {"prompt": "a"}, webhook_url=receiver.url)
        headers, body = receiver.received.get(timeout=120)
    assert body["status"] == "completed"
    assert not any(name.startswith("X-Webhook") for name in headers)


def test_a_delivery_is_tried_three_times(receiver: Receiver) -> None:
    """Attempts end with a 2xx, and each is recorded."""
    receiver.statuses = [500, 302, 200]
    with start(configure=False, hold=True, webhook_pause=0.0) as sandbox:
        trigger(sandbox, {"prompt": "a"}, webhook_url=receiver.url)
        sandbox.release()
        for _ in range(3):
            receiver.received.get(timeout=120)
        until(sandbox, lambda: len(sandbox.deliveries) == 3)
        made = [(d.attempt, d.status, d.outcome) for d in sandbox.deliveries]
    assert made == [(1, 500, "failed"), (2, 302, "failed"), (3, 200, "delivered")]


def notified(receiver: Receiver, count: int) -> list[str]:
    """Return the executions of the next notifications."""
    return [receiver.received.get(timeout=120)[1]["execution_id"] for _ in range(count)]


def test_notifications_are_lost_by_the_seed(receiver: Receiver) -> None:
    """The same deliveries are lost each time; each is recorded, and the others are sent."""
    lost = []
    for _ in range(2):
        with start(configure=False, hold=True, webhook_loss=0.5, seed=3) as sandbox:
            trigger(sandbox, *({"prompt": str(n)} for n in range(10)), webhook_url=receiver.url)
            sandbox.release()
            until(sandbox, lambda: len(sandbox.deliveries) == 10)
            outcomes = {d.execution_id: d.outcome for d in sandbox.deliveries}
            lost.append([outcomes[record.execution_id] == "lost" for record in sandbox.executions])
            received = notified(receiver, lost[-1].count(False))
            assert {outcomes[execution_id] for execution_id in received} == {"delivered"}
    assert lost[0] == lost[1]
    assert 0 < sum(lost[0]) < 10
    assert receiver.received.empty()


def test_notifications_are_repeated(receiver: Receiver) -> None:
    """Each delivery is sent again after it succeeded."""
    with start(configure=False, hold=True, webhook_repeats=2) as sandbox:
        trigger(sandbox, {"prompt": "a"}, webhook_url=receiver.url)
        sandbox.release()
        assert len(set(notified(receiver, 3))) == 1
        until(sandbox, lambda: len(sandbox.deliveries) == 3)
        assert [d.attempt for d in sandbox.deliveries] == [1, 2, 3]
        assert [d.redelivery for d in sandbox.deliveries] == [False, True, True]


def is_signed(headers: dict[str, str], body: bytes, secret: str = "s3cret") -> bool:
    """Return whether a delivery has the documented signature."""
    digest = hmac.digest(secret.encode(), headers["X-Webhook-Timestamp"].encode() + b"." + body, "sha256")
    return headers["X-Webhook-Signature"] == f"sha256={digest.hex()}"


def attempts(receiver: Receiver, count: int, **options: Any) -> list[tuple[dict[str, str], bytes]]:
    """Return the headers and bodies of one execution's notifications."""
    with start(configure=False, hold=True, webhook_pause=0.0, **options) as sandbox:
        trigger(sandbox, {"prompt": "a"}, webhook_url=receiver.url, webhook_secret="s3cret")
        sandbox.release()
        headers = [receiver.received.get(timeout=120)[0] for _ in range(count)]
    return list(zip(headers, receiver.bodies, strict=True))


def test_notifications_are_signed(receiver: Receiver) -> None:
    """The signature covers timestamp and raw body; a redelivery has its header and the same body."""
    began = int(time.time())
    first, again = attempts(receiver, 2, webhook_repeats=1)
    assert is_signed(*first)
    assert is_signed(*again)
    assert began <= int(first[0]["X-Webhook-Timestamp"]) <= int(time.time())
    assert "X-Webhook-Redelivery" not in first[0]
    assert again[0]["X-Webhook-Redelivery"] == "true"
    assert first[1] == again[1]


def test_deliveries_have_faults(receiver: Receiver) -> None:
    """Forged, altered, aged, ahead of time, without a number, without a signature; then right."""
    began = int(time.time())
    sent: dict[str, tuple[dict[str, str], bytes]] = {}
    for faults in (("forged", "altered"), ("aged", "early"), ("undated", "stripped")):
        receiver.statuses, receiver.bodies = [401, 401], []
        *wrong, right = attempts(receiver, 3, webhook_faults=faults)
        assert is_signed(*right)
        sent |= dict(zip(faults, wrong, strict=True))
    assert not is_signed(*sent["forged"])
    assert sent["forged"][0]["X-Webhook-Secret"] != "s3cret"
    assert not is_signed(*sent["altered"])
    assert json.loads(sent["altered"][1])["output"] == "altered on the way"
    for fault, seconds in (("aged", -360), ("early", 360)):
        assert is_signed(*sent[fault])
        assert began <= int(sent[fault][0]["X-Webhook-Timestamp"]) - seconds <= int(time.time())
    assert is_signed(*sent["undated"])
    assert sent["undated"][0]["X-Webhook-Timestamp"].endswith("GMT")
    assert sent["stripped"][0]["X-Webhook-Secret"] == "s3cret"
    assert "X-Webhook-Signature" not in sent["stripped"][0]


@pytest.mark.parametrize("faults", ["forged", ("unheard",), ["forged"]])
def test_an_unknown_fault_of_notifications_is_refused(faults: Any) -> None:
    """The error has the name of the option."""
    with pytest.raises(ValueError, match="webhook_faults"):
        Options(webhook_faults=faults)


def test_notifications_wait_for_each_other(receiver: Receiver) -> None:
    """None is sent before `webhook_burst` are due, and then all are."""
    with start(configure=False, hold=True, webhook_burst=3, webhook_shuffle=True) as sandbox:
        document = trigger(sandbox, *({"prompt": str(n)} for n in range(3)), webhook_url=receiver.url)
        sandbox.release(2)
        until(sandbox, lambda: sandbox.in_flight == 1)
        assert sandbox.deliveries == ()
        sandbox.release()
        assert set(notified(receiver, 3)) == {entry["execution_id"] for entry in document["executions"]}


@pytest.mark.parametrize("url", ["https://example.com/hook", "http://10.0.0.1/", "http://127.0.0.1.example.com/"])
def test_nothing_is_delivered_to_another_machine(url: str) -> None:
    """The delivery is recorded as refused."""
    with start(configure=False, hold=True) as sandbox:
        trigger(sandbox, {"prompt": "a"}, webhook_url=url)
        sandbox.release()
        until(sandbox, lambda: len(sandbox.deliveries) == 1)
        (delivery,) = sandbox.deliveries
    assert (delivery.url, delivery.status, delivery.outcome) == (url, None, "refused")


def test_pictures_are_served_once_they_are_made() -> None:
    """Without a key, with type, length and tag; not before their execution is completed."""
    clock = FakeClock()
    with start(configure=False, clock=clock) as sandbox:
        one = trigger(sandbox, {"prompt": "a <b> & c"})["executions"][0]["execution_id"]
        many = trigger(sandbox, {"prompt": "a", "num_images": 2}, workflow="wf_images")["executions"][0]
        assert get(sandbox, f"/media/{one}-0.svg")[0] == 404
        clock.now += 60
        status, body, headers = get(sandbox, f"/media/{one}-0.svg")
        assert (status, headers["Content-Type"]) == (200, "image/svg+xml")
        assert int(headers["Content-Length"]) == len(body)
        assert body == svg({"prompt": "a <b> & c"})
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert headers["Repr-Digest"] == f"sha-256=:{digest}:"
        assert get(sandbox, f"/media/{one}-0.svg", **{"If-None-Match": headers["ETag"]})[:2] == (304, b"")
        assert get(sandbox, f"/media/{one}-0.png")[2]["Content-Type"] == "image/png"
        paths = [f"/media/{many['execution_id']}-{n}.png" for n in range(3)]
        answers = [get(sandbox, path) for path in paths]
        assert [status for status, _, _ in answers] == [200, 200, 404]
        assert answers[0][1] != answers[1][1]
        sandbox.change(media_bytes=200_000)
        assert len(get(sandbox, paths[0])[1]) == 200_000
        assert len(png({"prompt": "a"}, at_least=1)) == len(png({"prompt": "a"}))
        for path in ("/media/x.svg", f"/media/{one}-1.svg", f"/media/{one}-0.gif", "/media/..%2fserver.py"):
            assert get(sandbox, path)[0] == 404


@pytest.mark.parametrize(
    "inputs",
    [
        {"prompt": "a cat"},
        {"prompt": "<script>alert(1)</script> & \"'\x00\x1b\ufffe", "style": "<i>"},
        {"prompt": "x" * 4000},
        {"prompt": ""},
        {"n": [1, {"a": None}]},
        {"prompt": "日本語 " * 50},
    ],
)
def test_pictures_are_sound_and_repeat(inputs: dict[str, Any]) -> None:
    """The SVG is XML without a script, the PNG holds its rows; both are the same bytes each time."""
    tree = ET.fromstring(svg(inputs))
    assert {element.tag.removeprefix(SVG) for element in tree.iter()} <= {
        "svg",
        "defs",
        "linearGradient",
        "stop",
        "rect",
        "circle",
        "path",
        "g",
        "text",
    }
    assert svg(inputs) == svg(inputs) != svg(inputs, index=1)
    picture = png(inputs)
    assert picture == png(inputs) != png(inputs, index=1)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(picture):
        size = int.from_bytes(picture[at : at + 4], "big")
        kind, data = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + size]
        assert int.from_bytes(picture[at + 8 + size : at + 12 + size], "big") == zlib.crc32(kind + data)
        chunks[kind] = data
        at += 12 + size
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert len(zlib.decompress(chunks[b"IDAT"])) == 256 * (1 + 3 * 256)
