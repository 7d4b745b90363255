"""The client over real sockets: one request in, one reply or fault out."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import eachlabs_frames as ef
from eachlabs_frames.engine.client import Client, close_session
from eachlabs_frames.models import Fault, Reply, Request
from eachlabs_frames.settings import current

KEY = "sk-very-secret-123"
POST = Request("POST", "/x", body=b'{"inputs":[]}')
GET = Request("GET", "/x", (("bulk_id", "a b"), ("limit", "100")))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def server(answers: list[bytes | None], seen: list[bytes]) -> Iterator[str]:
    """Serve each request's answer on kept connections; None cuts the connection without a word."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while (line := self.rfile.readline()).strip():
                head = [line]
                while (one := self.rfile.readline()).strip():
                    head.append(one)
                length = next((int(h.split(b":")[1]) for h in head if h.lower().startswith(b"content-length")), 0)
                seen.append(b"".join(head) + self.rfile.read(length))
                answer = answers.pop(0)
                if answer is None:
                    return
                self.wfile.write(answer)
                if b"short" in answer:
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}/v1"
        finally:
            running.shutdown()
            thread.join()


def send(*requests: Request, **settings: object) -> list[Reply | Fault]:
    """Send requests one after another on one session."""
    ef.configure(api_key=KEY, **settings)  # type: ignore[arg-type]  # by the tests' names

    async def all_of_them() -> list[Reply | Fault]:
        client = Client(current())
        try:
            return [await client.send(request) for request in requests]
        finally:
            await close_session()

    return asyncio.run(all_of_them())


def test_a_post_on_a_connection_that_turns_out_dead_is_sent_once() -> None:
    """The server takes the second POST and hangs up: it arrives once, and the fault says that it was sent."""
    seen: list[bytes] = []
    with server([OK, None, OK], seen) as url:
        first, second = send(POST, POST, base_url=url)
    assert isinstance(first, Reply)
    assert isinstance(second, Fault)
    assert second.sent
    assert len(seen) == 2


def test_a_request_carries_the_key_and_what_it_is_made_of() -> None:
    """In the header of its dialect, and never in the URL."""
    seen: list[bytes] = []
    with server([OK, OK], seen) as url:
        send(POST, GET, base_url=url)
    post, get = seen
    assert b"POST /v1/x HTTP/1.1\r\n" in post
    assert b"Authorization: Bearer " + KEY.encode() in post
    assert b"Content-Type: application/json" in post
    assert post.endswith(b'{"inputs":[]}')
    assert b"GET /v1/x?bulk_id=a+b&limit=100 HTTP/1.1\r\n" in get
    assert all(KEY.encode() not in request.splitlines()[0] for request in seen)


def test_a_large_body_is_sent_without_a_warning_and_once() -> None:
    """Several megabytes in one request: aiohttp would warn, and here a warning is an error."""
    seen: list[bytes] = []
    with server([OK], seen) as url:
        (reply,) = send(Request("POST", "/x", body=b"x" * 3_000_000), base_url=url)
    assert isinstance(reply, Reply)
    assert len(seen) == 1
    assert b"Content-Length: 3000000\r\n" in seen[0]


def test_a_redirect_is_not_followed() -> None:
    """The answer is the redirect itself, and the key goes nowhere else."""
    seen: list[bytes] = []
    away = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /v1/elsewhere\r\nContent-Length: 0\r\n\r\n"
    with server([away, away], seen) as url:
        replies = send(POST, GET, base_url=url)
    assert [reply.status for reply in replies if isinstance(reply, Reply)] == [307, 307]
    assert len(seen) == 2


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{short",
        b"nonsense short\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nshort",
    ],
)
def test_an_answer_that_does_not_come_whole_is_a_fault_of_a_request_that_was_sent(answer: bytes | None) -> None:
    """Hung up, cut short, no HTTP, a broken chunk: it may have taken effect."""
    with server([answer], []) as url:
        (fault,) = send(POST, base_url=url)
    assert isinstance(fault, Fault)
    assert fault.sent
    assert fault.reason


def test_silence_is_a_fault_of_a_request_that_was_sent() -> None:
    """After `timeout` seconds."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        (fault,) = send(POST, base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=0.2)
    assert fault == Fault(sent=True, reason="nothing within 0.2 s")


def _closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("url", [_closed_port, lambda: "https://no-such-host.invalid"])
def test_a_connection_that_was_never_made_is_a_fault_of_a_request_that_was_not_sent(url: Callable[[], str]) -> None:
    """Refused, or no such name."""
    (fault,) = send(POST, base_url=url())
    assert isinstance(fault, Fault)
    assert not fault.sent


def test_an_answer_that_repeats_the_key_does_not_show_it() -> None:
    """Not in an error's text, nor anywhere else in a reply."""
    body = b'{"error":"bad key ' + KEY.encode() + b'"}'
    answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with server([answer], []) as url:
        (reply,) = send(GET, base_url=url)
    assert isinstance(reply, Reply)
    assert reply.body == b'{"error":"bad key ***"}'


def test_a_key_that_is_a_word_of_the_answers_does_not_spoil_them() -> None:
    """Nobody's key is so short; if it is, ids are worth more than hiding it in an error."""
    body = b'{"execution_id":"e1"}'
    with server([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body], []) as url:
        ef.configure(api_key="id", base_url=url)

        async def once() -> Reply | Fault:
            try:
                return await Client(current()).send(GET)
            finally:
                await close_session()

        answer = asyncio.run(once())
    assert isinstance(answer, Reply)
    assert answer.body == body


def test_retry_after_comes_along() -> None:
    """With the time when the answer came, for a date to count from."""
    answer = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    with server([answer], []) as url:
        (reply,) = send(POST, base_url=url)
    assert isinstance(reply, Reply)
    assert reply.headers == {"retry-after": "7"}
    assert reply.received_at > 1.7e9


def test_a_proxy_of_the_environment_is_not_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox is reached where every other address would go through a proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with server([OK], []) as url:
        (reply,) = send(GET, base_url=url)
    assert isinstance(reply, Reply)


def test_a_proxy_of_the_environment_is_used_for_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that cannot be reached means that nothing was sent."""
    monkeypatch.setenv("https_proxy", _closed_port())
    (fault,) = send(POST, base_url="https://api.invalid/v1")
    assert isinstance(fault, Fault)
    assert not fault.sent
