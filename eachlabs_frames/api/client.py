"""A request to the API -> a reply or a fault. It decides nothing.

It owns the sessions, one per event loop, and it alone puts the key on a request. Whatever a server or a proxy wrote is
masked here, so that no other module sees a secret in it; a reply is read within `MAX_REPLY` bytes, however it is
compressed. It never sends anything twice: aiohttp repeats an idempotent request by itself when a kept connection turns
out to be dead, and never a POST (its own ``IDEMPOTENT_METHODS``); a test holds it to that.
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

from ..aio.bridge import LoopResource, register_resource
from ..masking import Mask
from ..models import Fault, Reply, Request, Secret
from ..proxies import HEADER, proxy_for
from ..settings import Settings
from .content_encoding import PACKED, BrokenError, unpacked
from .requests import key_header

# Servers close idle connections, some after 5 s. A POST written to one that is closing has no answer and would
# leave its rows unknown, so connections are let go first.
KEEPALIVE: Final = 4.0
CONNECT_TIMEOUT: Final = 10.0
MAX_REPLY: Final = 256 * 1024 * 1024
"""Bytes of a reply's body, decompressed: a page of 100 executions with outputs of 2.5 MB each."""

LARGE_BODY: Final = 512 * 1024
MAX_REASON: Final = 300
MAX_ENCODINGS: Final = 4
BREATH: Final = 1024 * 1024
"""Decompressed bytes after which other coroutines have their turn."""

KEPT: Final = ("retry-after", "date")
"""Headers that are read; an answer's own are found whatever their case."""

_UNSENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)

_sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}


class Client:
    """A `Transport` over HTTP, with one call's settings; `hidden` are secrets of the call, beside the key."""

    def __init__(self, settings: Settings, *, hidden: Iterable[Secret] = ()) -> None:
        self._base_url = settings.base_url
        self._key = settings.key()
        self._dialect = settings.dialect
        self._address = lru_cache(self._url)
        parts = urlsplit(settings.base_url)
        self._proxy = proxy_for(parts.scheme, parts.hostname or "")
        self._mask = Mask([self._key, *hidden, *(self._proxy.secrets if self._proxy is not None else ())])
        self._timeout = aiohttp.ClientTimeout(
            total=settings.timeout, connect=min(CONNECT_TIMEOUT, settings.timeout / 2)
        )

    async def send(self, request: Request) -> Reply | Fault:
        """Send `request` once. Never raises but for being cancelled."""
        deadline = asyncio.get_running_loop().time() + (self._timeout.total or 0.0)
        try:
            async with session().request(
                request.method,
                self._address(request.path, request.query),
                data=_payload(request.body),
                headers=self._headers(request),
                timeout=self._timeout,
                proxy=None if self._proxy is None else self._proxy.url,
                proxy_headers=self._proxy_headers(),
                allow_redirects=False,
            ) as response:
                return self._reply(response, await _body(response, deadline))
        except _UNSENT as exc:
            return Fault(sent=False, reason=self._reason(exc, "timed out while connecting"))
        except asyncio.TimeoutError:
            return Fault(sent=True, reason=f"timed out after {self._timeout.total:g} s")
        except Exception as exc:  # noqa: BLE001 - whatever it was, the request may have left
            return Fault(sent=True, reason=self._reason(exc, type(exc).__name__))
        except BaseException as exc:  # noqa: BLE001 - it was cancelled, and goes on as it is
            # Without aiohttp's frames: their local variables hold the key.
            exc.__context__ = None
            raise exc.with_traceback(None) from None

    def _url(self, path: str, query: tuple[tuple[str, str], ...]) -> URL:
        return URL(self._base_url + path + ("?" + urlencode(query) if query else ""), encoded=True)

    def _headers(self, request: Request) -> dict[str, str]:
        name, value = key_header(self._dialect, self._key.reveal())
        headers = {name: value, "Accept": "application/json", "Accept-Encoding": "gzip, deflate"}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _proxy_headers(self) -> dict[str, str] | None:
        if self._proxy is None or self._proxy.authorization is None:
            return None
        return {HEADER: self._proxy.authorization.reveal()}

    def _reply(self, response: aiohttp.ClientResponse, body: bytes) -> Reply:
        headers = {name: self._mask.text(response.headers[name]) for name in KEPT if name in response.headers}
        return Reply(response.status, self._mask.bytes(body), headers, time.time())

    def _reason(self, exc: BaseException, otherwise: str) -> str:
        """Say why no reply came. aiohttp quotes what it cannot parse, perhaps half a key: that is left out."""
        if isinstance(exc, aiohttp.ClientHttpProxyError):
            words = f"the proxy answered HTTP {exc.status}: {exc.message}"
        elif isinstance(exc, aiohttp.ClientResponseError):
            words = "the response is not valid HTTP"
        elif isinstance(exc, aiohttp.ClientPayloadError):
            words = "the response was truncated or is not valid HTTP"
        else:
            words = str(exc) or otherwise
        return self._mask.text(words)[:MAX_REASON]


def session() -> aiohttp.ClientSession:
    """Return the running loop's session, opened when it is first asked for."""
    loop = asyncio.get_running_loop()
    found = _sessions.get(loop)
    if found is None or found.closed:
        # No limit here: how many are in flight is the runner's to say, and waiting for a free connection would
        # count as a time-out.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE)
        found = _sessions[loop] = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # aiohttp's own has no bound
        )
    return found


async def close_session() -> None:
    """Close the running loop's session, where there is one."""
    found = _sessions.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.close()


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp warns of large bytes, which for some is an error, and one in the middle of a paid request.
    return io.BytesIO(body) if body is not None and len(body) > LARGE_BODY else body


async def _body(response: aiohttp.ClientResponse, deadline: float) -> bytes:
    """Return the whole body, decompressed.

    Raises
    ------
    BrokenError
        It is larger than `MAX_REPLY`, or cannot be decompressed.
    asyncio.TimeoutError
        It was not there by `deadline`, in the loop's time.
    """
    length = response.content_length
    encoded = response.headers.getall("Content-Encoding", [])
    if length is not None and length <= BREATH and not encoded:
        # Nearly every answer. aiohttp reads as many bytes as the header says, and no more.
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
        # aiohttp looks at the time only where it waits for a byte.
        if asyncio.get_running_loop().time() > deadline:
            raise asyncio.TimeoutError
    return b"".join(pieces)


def _too_large() -> BrokenError:
    return BrokenError(f"the response is larger than {MAX_REPLY // 1024**2} MiB")


def _encodings(headers: Iterable[str]) -> list[str]:
    """Return the encodings of a body, the outermost first."""
    named = [name.strip().lower() for header in headers for name in header.split(",")]
    found = [name for name in reversed(named) if name not in ("", "identity")]
    unknown = [name for name in found if name not in PACKED]
    if unknown or len(found) > MAX_ENCODINGS:
        msg = f"the response is encoded as {', '.join(reversed(found))}: only gzip and deflate are accepted"
        raise BrokenError(msg)
    return found


def forget_sessions() -> Any:
    """After a fork: let go of the parent's sessions without closing them.

    Their sockets and their selector are shared with the parent: to close them here would take its connections
    away. What is returned must be kept for as long as the process lives.
    """
    kept = dict(_sessions)
    _sessions.clear()
    return kept


register_resource(LoopResource(close_session, forget_sessions))
