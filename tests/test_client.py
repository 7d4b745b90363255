"""The client over real sockets: one request in, one reply or fault out."""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import socket
import socketserver
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import eachlabs_frames as ef
from eachlabs_frames.api.client import MAX_REPLY, Client, close_session
from eachlabs_frames.models import Fault, Reply, Request, Secret
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
    assert fault == Fault(sent=True, reason="timed out after 0.2 s")


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


def test_all_proxy_is_used_where_no_other_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As curl does it: the scheme's own proxy comes first."""
    seen: list[bytes] = []
    with server([b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"], seen) as url:
        monkeypatch.setenv("all_proxy", url.removesuffix("/v1"))
        (fault,) = send(POST, base_url="https://api.invalid/v1")
        assert fault == Fault(sent=False, reason="the proxy answered HTTP 407: No")
        monkeypatch.setenv("https_proxy", _closed_port())
        (fault,) = send(POST, base_url="https://api.invalid/v1")
    assert isinstance(fault, Fault)
    assert not fault.sent
    assert len(seen) == 1


@pytest.mark.parametrize("name", ["ALL_PROXY", "HTTPS_PROXY"])
def test_a_socks_proxy_is_refused_with_what_to_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Before anything is sent, and without its password; a sandbox is reached all the same."""
    monkeypatch.setenv(name, "socks5h://user:pr0xy-passw0rd@127.0.0.1:1080")
    with pytest.raises(ef.ConfigurationError) as caught:
        send(POST, base_url="https://api.invalid/v1")
    assert f"{name} names a SOCKS proxy (socks5h://), which is not supported: set HTTPS_PROXY" in str(caught.value)
    assert "NO_PROXY=api.invalid" in str(caught.value)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "passw0rd" not in "".join(frames.format())
    with server([OK], []) as url:
        (reply,) = send(GET, base_url=url)
    assert isinstance(reply, Reply)


def answer(body: bytes, *headers: str) -> bytes:
    """Make an answer of HTTP."""
    head = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 200 OK\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def bare(body: bytes) -> bytes:
    """Compress as servers do that call it deflate and leave its head out."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("packed", "headers"),
    [
        (lambda body: body, ("Content-Encoding: identity",)),
        (gzip.compress, ("Content-Encoding: gzip",)),
        (gzip.compress, ("Content-Encoding: X-GZIP",)),
        (zlib.compress, ("Content-Encoding: deflate",)),
        (bare, ("Content-Encoding: deflate",)),
        (lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:]), ("Content-Encoding: gzip",)),
        (lambda body: gzip.compress(zlib.compress(body)), ("Content-Encoding: deflate, gzip",)),
        (lambda body: gzip.compress(zlib.compress(body)), ("Content-Encoding: deflate", "Content-Encoding: gzip")),
    ],
)
def test_an_answer_is_decompressed(packed: Callable[[bytes], bytes], headers: tuple[str, ...]) -> None:
    """By whatever encodings it names; the key in it is masked then."""
    body = b'{"a":["' + b"x" * 100_000 + KEY.encode() + b'"]}'
    with server([answer(packed(body), *headers)], []) as url:
        (reply,) = send(GET, base_url=url)
    assert isinstance(reply, Reply)
    assert reply.body == body.replace(KEY.encode(), b"***")


@pytest.mark.parametrize(
    ("body", "header", "reason"),
    [
        (b"x", "Content-Encoding: br", "encoded as br: only gzip and deflate"),
        (b"x", "Content-Encoding: gzip, gzip, gzip, gzip, gzip", "only gzip and deflate"),
        (gzip.compress(b"{}", mtime=0)[:-9], "Content-Encoding: gzip", "truncated"),
        (b"{}", "Content-Encoding: gzip", "cannot be decoded"),
    ],
)
def test_what_cannot_be_decompressed_is_no_answer(body: bytes, header: str, reason: str) -> None:
    """It may have taken effect."""
    with server([answer(body, header)], []) as url:
        (fault,) = send(POST, base_url=url)
    assert isinstance(fault, Fault)
    assert fault.sent
    assert reason in fault.reason


@pytest.mark.slow
@pytest.mark.parametrize("encodings", [1, 2])
def test_an_answer_beyond_the_bound_is_no_answer(encodings: int) -> None:
    """A small body that decompresses to gigabytes is left at the bound, and other coroutines run meanwhile."""
    body = gzip.compress(bytes(1024 * 1024)) * (2 * MAX_REPLY // 1024**2)
    for _ in range(encodings - 1):
        body = gzip.compress(body)
    turns = itertools.count()

    async def both() -> Reply | Fault:
        async def others() -> None:
            while True:
                next(turns)
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        try:
            return await Client(current()).send(POST)
        finally:
            beside.cancel()
            await close_session()

    with server([answer(body, "Content-Encoding: " + ", ".join(["gzip"] * encodings))], []) as url:
        ef.configure(api_key=KEY, base_url=url)
        fault = asyncio.run(both())
    assert fault == Fault(sent=True, reason="the response is larger than 256 MiB")
    assert next(turns) >= MAX_REPLY // 1024**2 // 2


def test_an_answer_that_never_ends_is_left() -> None:
    """Empty gzip members without end: they hold no byte, so that no bound on bytes is reached."""
    members = gzip.compress(b"", mtime=0) * 50
    chunks = b"%x\r\n" % len(members) + members + b"\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
                try:
                    while True:
                        connection.sendall(chunks * 50)
                except OSError:
                    return

        serving = threading.Thread(target=serve)
        serving.start()
        (fault,) = send(POST, base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=1.0)
        serving.join()
    assert isinstance(fault, Fault)
    assert fault.sent


SECRET_FORMS = (
    KEY,
    "".join(f"\\u{ord(char):04x}" for char in KEY),
    base64.b64encode(f"user:{KEY}".encode()).decode(),
)


@pytest.mark.parametrize("form", SECRET_FORMS)
@pytest.mark.parametrize(
    "template",
    [
        b'HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n{"error":"bad key %b"}',
        b"HTTP/1.1 429 Too Many\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Echo: \x00 Bearer %b\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nBearer %b\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nX Echo: %b\r\n\r\nshort",
        b"HTTP/1.1 %b\r\n\r\nshort",
        b"Bearer %b short\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_no_answer_shows_the_key_however_broken_it_is(template: bytes, form: str) -> None:
    """Neither whole nor in part: where aiohttp quotes what it cannot parse, its text is not kept."""
    text = form.encode()
    parts = (len(text) + 20, text) if b"%d" in template else (text,)
    with server([template % parts], []) as url:
        (got,) = send(POST, base_url=url)
    shown = repr(got)
    assert not any(form[begin : begin + 12] in shown for begin in range(len(form) - 11))


def test_a_proxys_password_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is given it, repeats it, and refuses: no connection was made."""
    seen: list[bytes] = []
    login = "user:pr%40xy-passw0rd"
    token = base64.b64encode(b"user:pr@xy-passw0rd")
    refusal = b"HTTP/1.1 407 %b and pr@xy-passw0rd\r\nContent-Length: 0\r\n\r\n" % token
    with server([refusal], seen) as url:
        monkeypatch.setenv("https_proxy", url.replace("http://", f"http://{login}@").removesuffix("/v1"))
        (fault,) = send(POST, base_url="https://api.invalid/v1")
    assert fault == Fault(sent=False, reason="the proxy answered HTTP 407: *** and ***")
    assert b"Proxy-Authorization: Basic " + token in seen[0]


@pytest.mark.parametrize("proxy", ["http://user:pr0xy-passw0rd@[::", "http://user:pr0xy-passw0rd@host:99999999"])
def test_a_proxy_that_cannot_be_read_does_not_show_its_password(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """The request has not left."""
    monkeypatch.setenv("https_proxy", proxy)
    (fault,) = send(POST, base_url="https://api.invalid/v1")
    assert isinstance(fault, Fault)
    assert "passw0rd" not in repr(fault)


def test_a_request_that_is_cancelled_shows_no_secret() -> None:
    """Aiohttp's frames hold the headers: the traceback ends before them."""

    async def cancelled() -> str:
        client = Client(current(), hidden=[Secret("a-webhook-secret")])
        sending = asyncio.create_task(client.send(Request("POST", "/x", body=b'{"webhook_secret":"a-webhook-secret"}')))
        while not connected.is_set():
            await asyncio.sleep(0.01)
        sending.cancel()
        try:
            await sending
        except asyncio.CancelledError as exc:
            return shown(exc)
        finally:
            await close_session()
        return ""

    connected = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connected.set()
                connection.recv(65_536)

        serving = threading.Thread(target=accept)
        serving.start()
        ef.configure(api_key=KEY, base_url=f"http://127.0.0.1:{listening.getsockname()[1]}")
        text = asyncio.run(cancelled())
        serving.join()
    assert "CancelledError" in text
    assert "in send" in text
    assert KEY not in text
    assert "a-webhook-secret" not in text


def shown(exc: BaseException) -> str:
    """Return an exception as tools show it that print local variables, with all that it is chained to."""
    texts = []
    waiting: list[BaseException | None] = [exc]
    while waiting:
        one = waiting.pop()
        if one is not None:
            texts += traceback.TracebackException.from_exception(one, capture_locals=True).format()
            waiting += [one.__cause__, one.__context__]
    return "".join(texts)
