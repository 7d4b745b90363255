"""A GET of anybody's URL, streamed: beside `client`, the only importer of aiohttp's client. It decides nothing.

It never has the key, keeps no cookie, follows no redirect, and connects to no address that is not public, unless the
URL is trusted: what is looked at is the address of the very socket, so that no name can lead elsewhere meanwhile.
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
from ..proxies import HEADER, Proxy, proxy_for
from . import url_policy
from .url_policy import UrlPolicy

CONNECT_TIMEOUT: Final = 10.0
MAX_REASON_LENGTH: Final = 200
HEADERS: Final = {
    "Accept": "*/*",
    # What is packed on its way has neither the size nor the checksum that is promised.
    "Accept-Encoding": "identity",
    "User-Agent": "eachlabs-frames",
}


class Response(NamedTuple):
    """The head of an answer, its names in lower case, and the body in pieces as they come."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]


class HttpClient:
    """The connections of one call; an async context manager.

    Parameters
    ----------
    bounds : Bounds
    timeout : float
        Seconds without a single byte after which an answer counts as broken, and in which its head has to be there.
    """

    def __init__(self, bounds: UrlPolicy, *, timeout: float) -> None:
        self._bounds = bounds
        self._proxy = lru_cache(proxy_for)  # the environment is read anew for each call
        connect = min(CONNECT_TIMEOUT, timeout)
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect, sock_connect=CONNECT_TIMEOUT, sock_read=timeout
        )
        self._until_head = connect + timeout

    async def __aenter__(self) -> HttpClient:
        # Apart, so that a kept connection of the one is never used for the other.
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
            auto_decompress=False,  # an older aiohttp unpacks a piece at once, however much is in it
            trust_env=False,
        )

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[Response]:
        """Ask for `url` once, with these headers beside the usual ones, and give its answer.

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
        url_policy.check(url, self._bounds, proxied=proxy is not None)
        # A proxy's own address is its owner's business, and it alone sees where the name leads.
        session = self._trusting if proxy is not None or self._bounds.trusts(url) else self._guarded
        try:
            asked = session.get(
                _address(url),
                proxy=None if proxy is None else proxy.url,
                proxy_headers=_login(proxy, scheme)[1],
                allow_redirects=False,
                headers={**(headers or {}), **_login(proxy, scheme)[0]},
            )
            # A head that comes byte by byte, or "100 Continue" again and again, is never silent and never ends.
            async with await asyncio.wait_for(asked, self._until_head) as response:
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
    packed = encoding.strip().lower()
    body = response.content.iter_any()
    return unpacked(body, packed) if packed in PACKED | UNREADABLE else body


class _PrivateAddressError(OSError):
    """A name that leads to an address which is not public."""


def _public_socket(info: Any) -> socket.socket:
    family, kind, protocol, _, where = info
    if not url_policy.is_public(where[0]):
        # The same words for each address: of several errors with one text the connector raises the first as it is.
        msg = "a private address"
        raise _PrivateAddressError(msg)
    return socket.socket(family, kind, protocol)


def _login(proxy: Proxy | None, scheme: str) -> tuple[dict[str, str], dict[str, str] | None]:
    """Return the headers that log in to a proxy: of the request itself, and of the request for a tunnel."""
    if proxy is None or proxy.authorization is None:
        return {}, None
    headers = {HEADER: proxy.authorization.reveal()}
    return (headers, None) if scheme == "http" else ({}, headers)


def _address(url: str) -> URL:
    # As it is: a signature may not outlive the slightest change of its query.
    try:
        return URL(url, encoded=True) if url.isascii() else URL(url)
    except ValueError as exc:
        msg = "not an http or https URL"
        raise url_policy.RefusedAddressError(msg) from exc


def _headers(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in response.headers.items():
        known = name.lower()
        found[known] = f"{found[known]}, {value}" if known in found else value
    return found


def _reason(exc: BaseException, proxy: Proxy | None) -> str:
    if isinstance(exc, aiohttp.InvalidURL):
        return "not an http or https URL"
    said = str(exc)
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        said = f"the proxy answered HTTP {exc.status}: {exc.message}"
    elif isinstance(exc, aiohttp.ClientResponseError):
        # Its own text has the URL, and with it a signature; and a status that nobody has sent.
        said = f"the response cannot be read: {exc.message}"
    said = Mask(() if proxy is None else proxy.secrets).text(said)
    return media.cut(said.partition("\n")[0], MAX_REASON_LENGTH) or type(exc).__name__
