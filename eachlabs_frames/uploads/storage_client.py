"""Sends a file's content to a presigned URL, and asks whether a public URL has it. It decides nothing.

It never has the API key. A presigned URL is a secret: it is in no error and in no log, whatever aiohttp's exceptions
contain. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from ..inputs.file_values import UnusableFileError
from ..masking import Mask
from ..models import Fault, Reply, Secret
from ..proxies import proxy_for, proxy_headers
from ..settings import is_loopback
from .file_source import FileSource

CONNECT_TIMEOUT: Final = 10.0
MAX_REPLY: Final = 64 * 1024
READER_THREADS: Final = 2
"""Threads that read and hash. More would only wait for the disk."""

FIRST_BYTES: Final = 1024
"""Bytes of a body that are written with the headers: aiohttp joins both, which would copy a whole piece."""

_NO_HEADERS: Final = frozenset({"Accept", "Accept-Encoding", "User-Agent"})
"""Headers that aiohttp adds; a presigned URL states which ones it expects."""

_NO_HEAD: Final = frozenset({200, 403, 405, 501})
"""Statuses of a HEAD after which a GET may tell more."""

_PASSING: Final = frozenset({408, 429})
"""Statuses below 500 that say nothing of the file."""

_LENGTH: Final = "content-length"
_KEPT: Final = ("retry-after", "date", _LENGTH)


class RefusedUrlError(Exception):
    """A URL that the API has returned, and that must not be used. The message does not contain it."""


def check_url(url: Secret, *, what: str, loopback: bool) -> None:
    """Check a URL that the API has returned: it must be https; http only on this machine, where the API is.

    Raises
    ------
    RefusedUrlError
    """
    try:
        parts = urlsplit(url.reveal())
        host, _ = parts.hostname, parts.port
        is_plain = url.reveal().isascii() and url.reveal().isprintable() and " " not in url.reveal()
    except ValueError:
        host, is_plain = None, False
    if not host or not is_plain or "@" in parts.netloc:
        msg = f"the API's {what} is not a URL that can be used"
        raise RefusedUrlError(msg)
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback and is_loopback(host)):
        msg = f"the API's {what} is not https"
        raise RefusedUrlError(msg)


class StorageClient:
    """The connections of one call to the storage; an async context manager.

    Parameters
    ----------
    timeout : float
        Seconds without progress after which a request counts as broken.
    """

    def __init__(self, *, timeout: float) -> None:
        self._timeout = timeout
        self._proxy = lru_cache(proxy_for)

    async def __aenter__(self) -> StorageClient:
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="eachlabs-upload")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NO_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT, sock_read=self._timeout),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        self._readers.shutdown(wait=False)

    async def put(
        self, url: Secret, source: FileSource, headers: Mapping[str, str], on_sent: Callable[[int], object]
    ) -> Reply | Fault:
        """Upload a content.

        Parameters
        ----------
        url : Secret
        source : FileSource
        headers : mapping of str to str
            The only headers, beside those of HTTP itself.
        on_sent : callable
            Called with the bytes of each piece that was sent, and with a negative number if all is sent again.

        Raises
        ------
        UnusableFileError
            The file cannot be read, or has changed. The upload was not completed then.
        """
        body = _Body(source, self._readers, on_sent)
        answer = await self._send("PUT", url, {**headers, "Content-Length": str(source.size)}, body)
        if body.error is not None:
            raise body.error
        return answer

    async def size(self, url: str) -> int | None:
        """Return the size of the file at a public URL; None if it is not there, or cannot be told."""
        for method in ("HEAD", "GET"):
            answer = await self._send(method, Secret(url), {}, None)
            if not isinstance(answer, Reply):
                return None
            if answer.status == 200 and answer.headers.get(_LENGTH, "").isdecimal():
                return int(answer.headers[_LENGTH])
            if answer.status not in _NO_HEAD:
                return None
        return None

    async def is_gone(self, url: str) -> bool:
        """Return whether the file at a public URL is refused, as to a workflow; False if that cannot be told."""
        for method in ("HEAD", "GET"):
            answer = await self._send(method, Secret(url), {}, None)
            if not isinstance(answer, Reply) or not 400 <= answer.status < 500 or answer.status in _PASSING:
                return False
            if answer.status not in _NO_HEAD:
                return True
        return True

    async def _send(self, method: str, url: Secret, headers: Mapping[str, str], body: _Body | None) -> Reply | Fault:
        """Send a request once; give up if neither a byte is sent nor received for `timeout` seconds."""
        task = asyncio.ensure_future(self._request(method, url, headers, body))
        sent = -1
        try:
            while not task.done() and (body is None or body.sent != sent):
                sent = sent if body is None else body.sent
                await asyncio.wait({task}, timeout=None if body is None else self._timeout + CONNECT_TIMEOUT)
            if task.done():
                return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return Fault(sent=True, reason=f"no data was taken within {self._timeout:g} s")

    async def _request(self, method: str, url: Secret, headers: Mapping[str, str], body: _Body | None) -> Reply | Fault:
        try:
            parts = urlsplit(url.reveal())
            proxy = self._proxy(parts.scheme, parts.hostname or "")
            own, of_tunnel = proxy_headers(proxy, parts.scheme)
            async with self._session.request(
                method,
                URL(url.reveal(), encoded=True),  # unchanged: any change would invalidate its signature
                data=body,
                headers={**headers, **own},
                proxy=None if proxy is None else proxy.url,
                proxy_headers=of_tunnel,
                allow_redirects=False,
            ) as response:
                kept = {name: response.headers[name] for name in _KEPT if name in response.headers}
                content = b"" if body is None else await response.content.read(MAX_REPLY)
                # A mask takes 50 ms to build, and the body of a success is not read by anybody.
                shown = _mask(url).bytes(content) if content and response.status >= 300 else b""
                return Reply(response.status, shown, kept, time.time())
        except asyncio.TimeoutError:
            return Fault(sent=True, reason=f"no response within {self._timeout:g} s")
        except Exception as exc:  # noqa: BLE001 - its text may contain the URL
            return Fault(sent=True, reason=_reason(exc))


def _reason(exc: BaseException) -> str:
    """Return what has failed. Never with the text of an exception that may contain the URL."""
    if isinstance(exc, aiohttp.ClientConnectorError):
        return f"no connection to {exc.host}: {exc.os_error.strerror or type(exc.os_error).__name__}"
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return f"the proxy answered HTTP {exc.status}"
    if isinstance(exc, OSError) and exc.errno is not None:
        return f"the connection failed: {os.strerror(exc.errno)}"
    return f"the connection failed ({type(exc).__name__})"


def _mask(url: Secret) -> Mask:
    return Mask([url, Secret(urlsplit(url.reveal()).query)])


class _Body(aiohttp.Payload):
    """A content as a request's body, which is read and hashed in another thread, a piece at a time.

    It may be written twice: aiohttp sends a PUT again whose kept connection was closed.
    """

    def __init__(self, source: FileSource, readers: ThreadPoolExecutor, on_sent: Callable[[int], object]) -> None:
        super().__init__(None, content_type=source.content_type)
        self._source = source
        self._readers = readers
        self._on_sent = on_sent
        self._size = source.size
        self.error: UnusableFileError | None = None
        self.sent = 0

    def decode(self, *_args: Any, **_options: Any) -> str:
        """Refuse: it is never text."""
        raise TypeError

    async def write(self, writer: Any) -> None:
        """Write the content; an error of the file is in `error`, and ends the request."""
        loop = asyncio.get_running_loop()
        pieces: Iterator[bytes] = self._source.pieces()
        self._on_sent(-self.sent)
        self.sent = 0
        try:
            # Not until the end of the pieces: aiohttp keeps a connection only if the body ends before its response.
            while self.sent < self._source.size:
                piece = await loop.run_in_executor(self._readers, next, pieces)
                start = 0 if self.sent else FIRST_BYTES
                if start:
                    await writer.write(piece[:start])
                await writer.write(memoryview(piece)[start:])
                self.sent += len(piece)
                self._on_sent(len(piece))
        except UnusableFileError as exc:
            self.error = exc
            raise
