"""The HTTP server for deliveries, and the only importer of aiohttp's server. It does not interpret deliveries.

Owns the limits on unauthenticated clients: a bounded number of connections, one request on each, a bounded time for it,
and bounded memory for all bodies together. A body is read only if the headers may be genuine, parsed only after its
signature is verified, and never logged.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeAlias

from aiohttp import web

from .payload import Delivery, read_delivery
from .signatures import (
    REDELIVERY_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    UNSIGNED_AUTH_HEADER,
    Credentials,
    Verifier,
)

logger = logging.getLogger("eachlabs_frames")

MAX_CONNECTIONS: Final = 256
"""Concurrent connections; more wait in the system's queue, so that a burst uses no file handles."""

MAX_BUFFERED: Final = 64 * 1024 * 1024
"""Bytes of all bodies that are being read. A signature can only be verified over a whole body, so unauthenticated
bodies are read too."""

BACKLOG: Final = 2_048

ACCEPT_PAUSE: Final = 0.005
SHUTDOWN_TIMEOUT: Final = 2.0
LINGER: Final = 1.0
"""Seconds in which a refused body is read and discarded, so that its sender reads the response."""

# aiohttp would log what unauthenticated clients send.
_SILENT: Final = logging.Logger("eachlabs_frames.receiver", level=logging.CRITICAL + 1)

_Result: TypeAlias = tuple[int, str | None]
"""The status of the response, and the count for a request that was not accepted."""


class WebhookServer:
    """A server on the running loop.

    Parameters
    ----------
    listener : socket.socket
        Bound and listening; closed by `stop`.
    path : str
        The only path that is served: with a signature in the headers, or with a token as a further segment.
    verifier : Verifier
    max_body : int
        Bytes of one body.
    max_buffered : int
        Bytes of all bodies that are being read; a request beyond them is refused (503), and sent again by the API.
    timeout : float
        Seconds that a connection may last.
    offer : callable
        Given each genuine delivery; False where there is no room for it now.

    Attributes
    ----------
    counts : Counter
        Requests that were not accepted, per reason; ``received`` is all requests, and ``redelivered`` is genuine
        deliveries that the API has marked as sent again.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        path: str,
        verifier: Verifier,
        max_body: int,
        timeout: float,
        offer: Callable[[Delivery], bool],
        max_buffered: int = MAX_BUFFERED,
    ) -> None:
        self._listener = listener
        self._path = path
        self._verifier = verifier
        self._max_body = max_body
        self._max_buffered = max(max_buffered, max_body)
        self._buffered = 0
        self._timeout = timeout
        self._offer = offer
        self.counts: Counter[str] = Counter()
        self._server = web.Server(
            self._handle, access_log=None, logger=_SILENT, lingering_time=LINGER, auto_decompress=False
        )
        listener.setblocking(False)
        self._accepting = asyncio.ensure_future(self._accept())

    @property
    def listening(self) -> bool:
        """Whether deliveries can arrive."""
        return not self._accepting.done()

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the server stops listening, for whatever reason."""
        self._accepting.add_done_callback(lambda _: callback())

    async def stop(self) -> None:
        """Accept no more connections, and close open ones after a grace period."""
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        self._server.pre_shutdown()
        await self._server.shutdown(SHUTDOWN_TIMEOUT)

    async def _accept(self) -> None:
        """Accept connections one by one while there is room; asyncio's own servers accept without limit."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                while len(self._server.connections) >= MAX_CONNECTIONS:
                    await asyncio.sleep(ACCEPT_PAUSE)
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                    transport, _ = await loop.connect_accepted_socket(self._server, connection)
                except OSError as exc:
                    logger.warning("a delivery could not connect: %s", exc)
                    await asyncio.sleep(1.0)
                else:
                    # Also ends a client that sends a byte now and then, or none.
                    loop.call_later(self._timeout, transport.abort)
        finally:
            self._listener.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.counts["received"] += 1
        try:
            status, fate = await self._judge(request)
        except (OSError, asyncio.CancelledError):
            self.counts["cut_off"] += 1
            raise
        except Exception:
            logger.exception("a delivery could not be processed")
            status, fate = 500, "malformed"
        if fate is not None:
            self.counts[fate] += 1
        response = web.Response(status=status)
        response.force_close()  # one request to a connection, so that `timeout` limits the request
        return response

    async def _judge(self, request: web.BaseRequest) -> _Result:
        """Verify and accept a delivery. An unverified body is not parsed."""
        path, _, token = request.rel_url.raw_path.partition(f"{self._path}/")
        by_token = not path and bool(token)
        if request.rel_url.raw_path != self._path and not by_token:
            return 404, "misdirected"
        if request.method != "POST":
            return 405, "misdirected"
        credentials = _credentials(request)
        if by_token:
            # The legacy dialect has no secret, and so nothing is signed.
            refusal: str | None = None if self._verifier.is_token(token) else "forged"
        else:
            refusal = self._verifier.refusal(credentials, now=time.time())
        if refusal is not None:
            return 401, refusal
        body = await self._read(request)
        if not isinstance(body, bytes):
            return body
        if not by_token and not self._verifier.is_genuine(credentials, body):
            return 401, "forged"
        delivery = read_delivery(body)
        if delivery is None:
            return 400, "malformed"
        if request.headers.get(REDELIVERY_HEADER, "").lower() == "true":
            self.counts["redelivered"] += 1
        return (204, None) if self._offer(delivery) else (503, "refused")

    async def _read(self, request: web.BaseRequest) -> bytes | _Result:
        """Return the body, or a refusal as soon as it is too large."""
        if (request.content_length or 0) > self._max_body:
            return 413, "oversized"
        body = bytearray()
        try:
            while chunk := await request.content.readany():
                body += chunk
                self._buffered += len(chunk)
                if len(body) > self._max_body:
                    return 413, "oversized"
                if self._buffered > self._max_buffered:
                    return 503, "refused"
            return bytes(body)
        finally:
            self._buffered -= len(body)


def _credentials(request: web.BaseRequest) -> Credentials:
    headers = request.headers
    return Credentials(
        signatures=headers.getall(SIGNATURE_HEADER, []),
        timestamps=headers.getall(TIMESTAMP_HEADER, []),
        secrets=headers.getall(UNSIGNED_AUTH_HEADER, []),
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address of this machine.

    Raises
    ------
    OSError
        The address is in use, or is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)
