"""Sends a request to the API and returns a reply or a fault. It decides nothing.

Owns the sessions, one per event loop, and is the only module that adds the key to a request. It masks secrets in all
that a server or a proxy sends, so that no other module sees them, and reads at most `MAX_REPLY` bytes of a reply,
however it is compressed. It never sends anything twice: aiohttp repeats an idempotent request if a kept connection is
closed, but never a POST (its ``IDEMPOTENT_METHODS``; a test checks that).
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import aiohttp
from yarl import URL

from ..aio.loop_thread import LoopResource, register_resource
from ..masking import Mask
from ..models import Fault, Reply, Request, Secret
from ..proxies import proxy_for, proxy_headers
from ..settings import Settings
from .content_encoding import PACKED, BrokenError, unpacked
from .requests import key_header

# Some servers close idle connections after 5 s. A POST on a closing connection gets no reply and leaves its rows
# unknown, so close ours first.
KEEPALIVE: Final = 4.0
CONNECT_TIMEOUT: Final = 10.0
MAX_REPLY: Final = 256 * 1024 * 1024
"""Bytes of a reply's body, decompressed: a page of 100 executions with outputs of 2.5 MB each."""

LARGE_BODY: Final = 512 * 1024
MAX_REASON: Final = 300
MAX_ENCODINGS: Final = 4
BREATH: Final = 1024 * 1024
"""Decompressed bytes after which other coroutines get to run."""

KEPT: Final = ("retry-after", "date")
"""The headers that are kept; aiohttp finds them in any case."""

_UNSENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)

_sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}


class Client:
    """A `Transport` over HTTP with the settings of a call; `hidden` are its secrets beside the key."""

    def __init__(self, settings: Settings, *, hidden: Iterable[Secret] = ()) -> None:
        self._base_url = settings.base_url
        self._key = settings.key()
        self._dialect = settings.dialect
        self._address = lru_cache(self._url)
        parts = urlsplit(settings.base_url)
        self._scheme = parts.scheme
        self._proxy = proxy_for(parts.scheme, parts.hostname or "")
        self._mask = Mask([self._key, *hidden, *(self._proxy.secrets if self._proxy is not None else ())])
        self._timeout = aiohttp.ClientTimeout(
            total=settings.timeout, connect=min(CONNECT_TIMEOUT, settings.timeout / 2)
        )

    async def send(self, request: Request) -> Reply | Fault:
        """Send `request` once. Raises nothing but `asyncio.CancelledError`."""
        deadline = asyncio.get_running_loop().time() + (self._timeout.total or 0.0)
        try:
            async with session().request(
                request.method,
                self._address(request.path, request.query),
                data=_payload(request.body),
                headers=self._headers(request),
                timeout=self._timeout,
                proxy=None if self._proxy is None else self._proxy.url,
                proxy_headers=proxy_headers(self._proxy, self._scheme)[1],
                allow_redirects=False,
            ) as response:
                return self._reply(response, await _body(response, deadline))
        except _UNSENT as exc:
            return Fault(sent=False, reason=self._reason(exc, "timed out while connecting"))
        except asyncio.TimeoutError:
            return Fault(sent=True, reason=f"timed out after {self._timeout.total:g} s")
        except BaseException as exc:  # noqa: BLE001 - an `Exception` is a fault, others are raised
            if isinstance(exc, Exception):
                return Fault(sent=True, reason=self._reason(exc, type(exc).__name__))
            # Without aiohttp's frames: their local variables contain the key.
            exc.__context__ = None
            raise exc.with_traceback(None) from None

    def _url(self, path: str, query: tuple[tuple[str, str], ...]) -> URL:
        return URL(self._base_url + path + ("?" + urlencode(query) if query else ""), encoded=True)

    def _headers(self, request: Request) -> dict[str, str]:
        name, value = key_header(self._dialect, self._key.reveal())
        headers = {
            name: value,
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            **proxy_headers(self._proxy, self._scheme)[0],
        }
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _reply(self, response: aiohttp.ClientResponse, body: bytes) -> Reply:
        headers = {name: self._mask.text(response.headers[name]) for name in KEPT if name in response.headers}
        return Reply(response.status, self._mask.bytes(body), headers, time.time())

    def _reason(self, exc: BaseException, otherwise: str) -> str:
        """Return why there is no reply. Text that aiohttp could not parse is left out: it may be a part of the key."""
        if isinstance(exc, aiohttp.ClientHttpProxyError):
            reason = f"the proxy answered HTTP {exc.status}: {exc.message}"
        elif isinstance(exc, aiohttp.ClientResponseError):
            reason = "the response is not valid HTTP"
        elif isinstance(exc, aiohttp.ClientPayloadError):
            reason = "the response was truncated or is not valid HTTP"
        else:
            reason = str(exc) or otherwise
        return self._mask.text(reason)[:MAX_REASON]


def session() -> aiohttp.ClientSession:
    """Return the running loop's session; it is opened on first use."""
    loop = asyncio.get_running_loop()
    current = _sessions.get(loop)
    if current is None or current.closed:
        # No limit: the runner bounds the requests in flight, and waiting for a connection would count as a timeout.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE)
        current = _sessions[loop] = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # aiohttp does not bound the result's size
        )
    return current


async def close_session() -> None:
    """Close the running loop's session, if there is one."""
    current = _sessions.pop(asyncio.get_running_loop(), None)
    if current is not None:
        await current.close()


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp warns about large bytes, and a warning may be an error, in the middle of a paid request.
    return io.BytesIO(body) if body is not None and len(body) > LARGE_BODY else body


async def _body(response: aiohttp.ClientResponse, deadline: float) -> bytes:
    """Return the whole body, decompressed.

    Raises
    ------
    BrokenError
        It is larger than `MAX_REPLY`, or cannot be decompressed.
    asyncio.TimeoutError
        It was not complete at `deadline`, in the loop's time.
    """
    length = response.content_length
    encoded = response.headers.getall("Content-Encoding", [])
    if length is not None and length <= BREATH and not encoded:
        # Nearly every reply. aiohttp reads as many bytes as the header says, and no more.
        return await response.read()
    if (length or 0) > MAX_REPLY:
        raise _too_large()
    body: AsyncIterator[bytes] = response.content.iter_any()
    for encoding in _encodings(encoded):
        body = unpacked(body, encoding)
    pieces, size, breath = [], 0, BREATH
    async for piece in body:
        pieces.append(piece)
        size += len(piece)
        if size > MAX_REPLY:
            raise _too_large()
        if size >= breath:
            breath = size + BREATH
            await asyncio.sleep(0)
        # aiohttp checks its timeout only while it waits for data.
        if asyncio.get_running_loop().time() > deadline:
            raise asyncio.TimeoutError
    return b"".join(pieces)


def _too_large() -> BrokenError:
    return BrokenError(f"the response is larger than {MAX_REPLY // 1024**2} MiB")


def _encodings(headers: Iterable[str]) -> list[str]:
    """Return the encodings of a body, outermost first."""
    named = [name.strip().lower() for header in headers for name in header.split(",")]
    encodings = [name for name in reversed(named) if name not in ("", "identity")]
    unsupported = [name for name in encodings if name not in PACKED]
    if unsupported or len(encodings) > MAX_ENCODINGS:
        msg = f"the response is encoded as {', '.join(reversed(encodings))}: only gzip and deflate are accepted"
        raise BrokenError(msg)
    return encodings


def forget_sessions() -> Any:
    """After a fork: forget the parent's sessions without closing them.

    Their sockets and selector are shared with the parent, so closing them would close its connections. The caller must
    keep the returned object alive for as long as the process lives.
    """
    kept = dict(_sessions)
    _sessions.clear()
    return kept


register_resource(LoopResource(close_session, forget_sessions))
