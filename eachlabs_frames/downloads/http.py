"""Streams the response to a GET of any URL. Decides nothing.

It never has the key, stores no cookie, follows no redirect, and connects only to public addresses unless the URL is
trusted. The address checked is that of the socket itself, so that a name cannot resolve differently after the check.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, NamedTuple

import aiohttp
from yarl import URL

from .. import media
from ..api.content_encoding import BUFFER, PACKED, UNREADABLE, BrokenError, unpacked
from ..errors import ConfigurationError
from ..masking import Mask
from ..proxies import Proxy, proxy_for, proxy_headers
from . import url_policy
from .url_policy import UrlPolicy

CONNECT_TIMEOUT: Final = 10.0
MAX_REASON_LENGTH: Final = 200
HEADERS: Final = {
    "Accept": "*/*",
    # A compressed body has neither the size nor the checksum that the headers state.
    "Accept-Encoding": "identity",
    "User-Agent": "eachlabs-frames",
}


class Response(NamedTuple):
    """A response's status, its headers with lower-case names, and its body in pieces as they arrive."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]


class HttpClient:
    """The connections of one call; an async context manager.

    Parameters
    ----------
    policy : UrlPolicy
    timeout : float
        Seconds without data after which a response counts as broken; also the time for its headers to arrive.
    """

    def __init__(self, policy: UrlPolicy, *, timeout: float) -> None:
        self._policy = policy
        self._proxy = lru_cache(proxy_for)  # the environment is read again for each call
        connect = min(CONNECT_TIMEOUT, timeout)
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect, sock_connect=CONNECT_TIMEOUT, sock_read=timeout
        )
        self._headers_timeout = connect + timeout

    async def __aenter__(self) -> HttpClient:
        # Separate, so that a kept connection of a trusted URL is never used for another.
        self._guarded = self._session(_public_socket)
        self._trusting = self._session(None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._guarded.close()
        await self._trusting.close()

    def _session(self, factory: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, socket_factory=factory),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            timeout=self._timeout,
            read_bufsize=BUFFER,
            auto_decompress=False,  # older versions of aiohttp decompress a piece whole, whatever its size
            trust_env=False,
        )

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[Response]:
        """Request `url` once, with these headers beside the usual ones, and yield the response.

        Raises
        ------
        RefusedAddressError
            It may not be fetched.
        BrokenError
        """
        scheme = url.partition(":")[0].lower()
        try:
            proxy = self._proxy(scheme, url_policy.origin(url)[0])
        except ConfigurationError as exc:
            raise url_policy.RefusedAddressError(str(exc)) from exc
        url_policy.check(url, self._policy, proxied=proxy is not None)
        # A proxy may have a private address, and resolves the name itself.
        session = self._trusting if proxy is not None or self._policy.trusts(url) else self._guarded
        try:
            # Not in local variables, which a traceback may show.
            response_context = session.get(
                _address(url),
                proxy=None if proxy is None else proxy.url,
                proxy_headers=proxy_headers(proxy, scheme)[1],
                allow_redirects=False,
                headers={**(headers or {}), **proxy_headers(proxy, scheme)[0]},
            )
            # Headers that arrive byte by byte, or repeated "100 Continue", never trigger the read timeout.
            async with await asyncio.wait_for(response_context, self._headers_timeout) as response:
                headers = _headers(response)
                yield Response(response.status, headers, _body(response, headers.get("content-encoding", "")))
        except aiohttp.ClientConnectorError as exc:
            if isinstance(exc.os_error, _PrivateAddressError):
                raise url_policy.RefusedAddressError(url_policy.private(url_policy.origin(url)[0])) from exc
            raise BrokenError(_reason(exc, proxy)) from exc
        except asyncio.TimeoutError as exc:
            msg = f"no data within {self._timeout.sock_read:g} s"
            raise BrokenError(msg) from exc
        except (aiohttp.ClientError, ConnectionError, UnicodeError) as exc:
            raise BrokenError(_reason(exc, proxy)) from exc


def _body(response: aiohttp.ClientResponse, encoding: str) -> AsyncIterator[bytes]:
    encoding = encoding.strip().lower()
    body = response.content.iter_any()
    return unpacked(body, encoding) if encoding in PACKED | UNREADABLE else body


class _PrivateAddressError(OSError):
    """A name that resolves to an address that is not public."""


def _public_socket(info: Any) -> socket.socket:
    family, kind, protocol, _, address = info
    if not url_policy.is_public(address[0]):
        # The same text for each address: of several errors with one text, the connector raises the first unchanged.
        msg = "a private address"
        raise _PrivateAddressError(msg)
    return socket.socket(family, kind, protocol)


def _address(url: str) -> URL:
    # Unchanged: any change of its query would invalidate a signature.
    try:
        return URL(url, encoded=True) if url.isascii() else URL(url)
    except ValueError as exc:
        msg = "not an http or https URL"
        raise url_policy.RefusedAddressError(msg) from exc


def _headers(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        lower = name.lower()
        headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    return headers


def _reason(exc: BaseException, proxy: Proxy | None) -> str:
    if isinstance(exc, aiohttp.InvalidURL):
        return "not an http or https URL"
    reason = str(exc)
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        reason = f"the proxy answered HTTP {exc.status}: {exc.message}"
    elif isinstance(exc, aiohttp.ClientResponseError):
        # Its text contains the URL, which may be signed, and a status that was not sent.
        reason = f"the response cannot be read: {exc.message}"
    reason = Mask(() if proxy is None else proxy.secrets).text(reason)
    return media.cut(reason.partition("\n")[0], MAX_REASON_LENGTH) or type(exc).__name__
