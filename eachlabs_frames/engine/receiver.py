"""An HTTP server for deliveries, and the only importer of aiohttp's server. It decides nothing of what they mean.

Owns what a stranger can do to this process: at most so many connections at once, each for at most so long and with one
request, no body before its secret was found right, none that is too large, and not a word of any in a log.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

from aiohttp import web

from ..core.deliveries import HEADER, Notice, is_genuine, path_token, read_delivery
from ..settings import Secret

logger = logging.getLogger("eachlabs_frames")

MOST_CONNECTIONS: Final = 256
"""Connections at once; more wait in the system's queue, so that a burst costs no file handles."""

BACKLOG: Final = 2_048

BREATH: Final = 0.005
FAREWELL: Final = 2.0
LINGER: Final = 1.0
"""Seconds in which a body that is not wanted is thrown away, so that its sender reads why."""

# What strangers send is nobody's log: aiohttp's own would repeat lines of it.
_SILENT: Final = logging.Logger("eachlabs_frames.receiver", level=logging.CRITICAL + 1)


class Receiver:
    """A server on the running loop.

    Parameters
    ----------
    listener : socket.socket
        Bound and listening; closed by `stop`.
    path : str
        The only one that is served: with the secret in a header, or with a token behind it.
    secret : Secret
    max_body : int
        Bytes.
    timeout : float
        Seconds that a connection may last.
    take : callable
        Given each genuine delivery; False where there is no room for it now.

    Attributes
    ----------
    counts : Counter
        Requests per fate, of those that were not taken; ``received`` is all of them.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        path: str,
        secret: Secret,
        max_body: int,
        timeout: float,
        take: Callable[[Notice], bool],
    ) -> None:
        self._listener = listener
        self._path = path
        self._secret = secret
        self._token = Secret(path_token(secret.reveal()))
        self._max_body = max_body
        self._timeout = timeout
        self._take = take
        self.counts: Counter[str] = Counter()
        self._server = web.Server(
            self._answer, access_log=None, logger=_SILENT, lingering_time=LINGER, auto_decompress=False
        )
        listener.setblocking(False)
        self._accepting = asyncio.ensure_future(self._accept())

    @property
    def listening(self) -> bool:
        """Whether deliveries can come."""
        return not self._accepting.done()

    def when_over(self, act: Callable[[], None]) -> None:
        """Call `act` when it listens no more, whatever has ended it."""
        self._accepting.add_done_callback(lambda _: act())

    async def stop(self) -> None:
        """Take no more connections, and give those that are there a moment."""
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        self._server.pre_shutdown()
        await self._server.shutdown(FAREWELL)

    async def _accept(self) -> None:
        """Take connections one by one, for as long as there is room: the loop's own servers take all that come."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                while len(self._server.connections) >= MOST_CONNECTIONS:
                    await asyncio.sleep(BREATH)
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                    transport, _ = await loop.connect_accepted_socket(self._server, connection)
                except OSError as exc:
                    logger.warning("a delivery could not connect: %s", exc)
                    await asyncio.sleep(1.0)
                else:
                    # Whoever sends a byte now and then, or none, has as long as everybody.
                    loop.call_later(self._timeout, transport.abort)
        finally:
            self._listener.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.counts["received"] += 1
        try:
            status, fate = await self._judge(request)
        except (OSError, asyncio.CancelledError):
            self.counts["cut_off"] += 1
            raise
        except Exception:
            logger.exception("a delivery could not be taken")
            status, fate = 500, "malformed"
        if fate is not None:
            self.counts[fate] += 1
        response = web.Response(status=status)
        response.force_close()  # one request to a connection, so that its time is that request's
        return response

    async def _judge(self, request: web.BaseRequest) -> tuple[int, str | None]:
        """Return the status to answer with, and the fate to count where the delivery was not taken."""
        path, _, token = request.rel_url.raw_path.partition(f"{self._path}/")
        by_token = not path and bool(token)
        if request.rel_url.raw_path != self._path and not by_token:
            return 404, "misdirected"
        if request.method != "POST":
            return 405, "misdirected"
        if by_token:
            genuine = is_genuine([token], self._token.reveal())
        else:
            genuine = is_genuine(request.headers.getall(HEADER, []), self._secret.reveal())
        if not genuine:
            return 401, "forged"
        body = await self._read(request)
        if body is None:
            return 413, "oversized"
        notice = read_delivery(body)
        if notice is None:
            return 400, "malformed"
        return (204, None) if self._take(notice) else (503, "refused")

    async def _read(self, request: web.BaseRequest) -> bytes | None:
        """Return the body, or None as soon as it is known to be too large."""
        if (request.content_length or 0) > self._max_body:
            return None
        body = bytearray()
        while chunk := await request.content.readany():
            body += chunk
            if len(body) > self._max_body:
                return None
        return bytes(body)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address of this machine.

    Raises
    ------
    OSError
        It is in use, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)
