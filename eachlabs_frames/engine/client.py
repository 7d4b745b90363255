"""The only importer of aiohttp's client: a request in, a reply or a fault out. It decides nothing.

It owns the sessions, one per event loop, and it alone puts the key on a request. It never sends anything twice:
aiohttp sends an idempotent request again by itself when a kept connection turns out to be dead, and never a POST
(its own ``IDEMPOTENT_METHODS``); a test holds it to that.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from ..core.wire import key_header
from ..models import Fault, Reply, Request
from ..settings import Settings, is_loopback

# Servers close idle connections, some after 5 s. A POST written to one that is closing has no answer and would
# leave its rows unknown, so connections are let go first.
KEEPALIVE: Final = 4.0
LONGEST_CONNECT: Final = 10.0
LARGEST_REPLY: Final = 256 * 1024 * 1024
LARGE_BODY: Final = 512 * 1024
HIDDEN: Final = b"***"
SHORTEST_HIDDEN: Final = 8
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
    """A `Transport` over HTTP, with one call's settings; `hidden` is what no answer may repeat, beside the key."""

    def __init__(self, settings: Settings, *, hidden: Sequence[str] = ()) -> None:
        self._hidden = hidden
        self._base_url = settings.base_url
        self._key = settings.key()
        self._dialect = settings.dialect
        self._address = lru_cache(self._url)
        self._proxy = _proxy(settings.base_url)
        self._timeout = aiohttp.ClientTimeout(
            total=settings.timeout, connect=min(LONGEST_CONNECT, settings.timeout / 2)
        )

    async def send(self, request: Request) -> Reply | Fault:
        """Send `request` once. Never raises but for being cancelled."""
        try:
            async with session().request(
                request.method,
                self._address(request.path, request.query),
                data=_payload(request.body),
                headers=self._headers(request),
                timeout=self._timeout,
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                return self._reply(response, await _body(response))
        except _UNSENT as exc:
            return Fault(sent=False, reason=_reason(exc, "no connection in time"))
        except asyncio.TimeoutError:
            return Fault(sent=True, reason=f"nothing within {self._timeout.total:g} s")
        except Exception as exc:  # noqa: BLE001 - whatever it was, the request may have left
            return Fault(sent=True, reason=_reason(exc, type(exc).__name__))

    def _url(self, path: str, query: tuple[tuple[str, str], ...]) -> URL:
        return URL(self._base_url + path + ("?" + urlencode(query) if query else ""), encoded=True)

    def _headers(self, request: Request) -> dict[str, str]:
        name, value = key_header(self._dialect, self._key.reveal())
        headers = {name: value, "Accept": "application/json"}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _reply(self, response: aiohttp.ClientResponse, body: bytes) -> Reply:
        """Make the reply, without the key: an API that repeats it must not get it into a frame, a log or an error."""
        for word in (self._key.reveal(), *self._hidden):
            key = word.encode()
            # A shorter key could be a word of the answers themselves, and to hide it would spoil them.
            if len(key) >= SHORTEST_HIDDEN and key in body:
                body = body.replace(key, HIDDEN)
        return Reply(response.status, body, _kept(response.headers), time.time())


def session() -> aiohttp.ClientSession:
    """Return the running loop's session, opened when it is first asked for."""
    loop = asyncio.get_running_loop()
    found = _sessions.get(loop)
    if found is None or found.closed:
        # No limit here: how many are in flight is the runner's to say, and waiting for a free connection would
        # count as a time-out.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE)
        found = _sessions[loop] = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
    return found


async def close_session() -> None:
    """Close the running loop's session, where there is one."""
    found = _sessions.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.close()


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp warns of large bytes, which for some is an error, and one in the middle of a paid request.
    return io.BytesIO(body) if body is not None and len(body) > LARGE_BODY else body


async def _body(response: aiohttp.ClientResponse) -> bytes:
    if (response.content_length or 0) > LARGEST_REPLY:
        msg = f"an answer of over {LARGEST_REPLY} bytes"
        raise ValueError(msg)
    return await response.read()


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in KEPT if name in headers}


def _reason(exc: BaseException, otherwise: str) -> str:
    return str(exc) or otherwise


def _proxy(base_url: str) -> str | None:
    """Return the proxy that the environment names for the API; none for loopback."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)


def forget_sessions() -> Any:
    """After a fork: let go of the parent's sessions without closing them.

    Their sockets and their selector are shared with the parent: to close them here would take its connections
    away. What is returned must be kept for as long as the process lives.
    """
    kept = dict(_sessions)
    _sessions.clear()
    return kept
