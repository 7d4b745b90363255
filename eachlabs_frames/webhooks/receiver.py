"""``WebhookReceiver``: the public class that receives webhook deliveries.

Owns the address of the receiver and when it starts and stops. It never reads the content of a delivery.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ipaddress
import logging
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ..aio.bridge import Read, ReadCall, run, run_async
from ..checks import check_positive, check_whole
from ..errors import ConfigurationError
from ..models import DialectName
from ..settings import Secret, Settings, is_loopback
from . import dispatcher
from .late_deliveries import LateDeliveryRecorder
from .payload import Delivery
from .receiver_checks import (
    PATH,
    check_secret,
    checked_host,
    checked_public_url,
    checked_signatures,
)
from .signatures import SignaturePolicy, Verifier, path_token

if TYPE_CHECKING:
    import socket

    from .server import WebhookServer

MAX_BODY: Final = 4 * 1024 * 1024
SWEEP: Final = 180.0
TIMEOUT: Final = 10.0

logger = logging.getLogger("eachlabs_frames")

FATES: Final = (
    "received",
    "accepted",
    "repeated",
    "unfinished",
    "unknown",
    "mismatched",
    "forged",
    "expired",
    "oversized",
    "malformed",
    "misdirected",
    "cut_off",
    "refused",
    "redelivered",
    "waiting",
)


class WebhookReceiver:
    """An HTTP server that receives the API's webhook deliveries, so that calls need not poll for the end of executions.

    Use it as a context manager (``with`` or ``async with``), or call `start` and `stop`, for example in a notebook.
    Pass it to a call as ``webhook=hook``: the API then sends a delivery to this receiver when an execution of that call
    ends. Deliveries update the frame, the `Run`, its dashboard and the journal. The API is still polled, at most every
    `sweep` seconds, for executions whose delivery did not arrive.

    A delivery is accepted if it is signed with the receiver's secret, its timestamp is within 300 seconds of this
    machine's clock, and its execution belongs to an open call or is recorded in the journal. The body is parsed only
    after the signature is verified. Repeated deliveries of an execution's end have no effect. `counts` counts all
    deliveries; those that are not accepted are not stored.

    Parameters
    ----------
    port : int, default 0
        Port to listen on; 0 selects a free port.
    host : str, default "127.0.0.1"
        Address to listen on. The default is reachable from this machine only.
    secret : str, optional
        The key with which the API signs deliveries: 1 to 256 printable ASCII characters without spaces. The default is
        a new random secret. Set it if a receiver in a later process has to accept the deliveries.
    public_url : str, optional
        URL at which the API reaches this receiver, if that is not `host` and `port`: https, except for loopback
        addresses. A tunnel or reverse proxy must keep the path: requests for ``https://hooks.example.org/team`` must
        arrive at ``/team`` on this port. A URL without a path gets the path ``/eachlabs``. The legacy dialect does not
        sign deliveries; there, a path segment derived from the secret is appended to the URL and verified instead.
    signatures : {"required", "optional"}, default "required"
        With "optional", a delivery without a signature is accepted if its header ``X-Webhook-Secret`` is the secret, as
        the API sent it before 2026-09-21. A signature that is present is always verified.
    max_body : int, default 4 MiB
        Maximum size of a delivery's body, in bytes. A larger delivery is refused with status 413; polling reads its
        execution instead.
    sweep : float, default 180.0
        Minimum number of seconds between two polls of the API while deliveries are awaited.
    timeout : float, default 10.0
        Maximum duration of a delivery's connection, in seconds.

    Raises
    ------
    ConfigurationError
        A value is invalid.

    Examples
    --------
    >>> import pandas as pd, eachlabs_frames as ef
    >>> with ef.sandbox.start(), ef.WebhookReceiver() as hook:
    ...     df = pd.DataFrame({"prompt": ["a fox", "a heron"]})
    ...     out = df.eachlabs.bulk_trigger("wf_abc123", webhook=hook, wait=True)
    >>> out["status"].tolist(), hook.counts["accepted"]
    (['completed', 'completed'], 2)
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        secret: str | None = None,
        public_url: str | None = None,
        signatures: SignaturePolicy = "required",
        max_body: int = MAX_BODY,
        sweep: float = SWEEP,
        timeout: float = TIMEOUT,
    ) -> None:
        self._secret = Secret(secrets.token_urlsafe(32) if secret is None else secret)
        secret = None  # a traceback may show local variables
        check_secret(self._secret)
        self._port = check_whole("port", port, 0, 65_535)
        self._host = checked_host(host)
        self._public_url = None if public_url is None else checked_public_url(public_url)
        self._verifier = Verifier(self._secret.reveal(), checked_signatures(signatures))
        self._max_body = check_whole("max_body", max_body, 1, 2**31)
        self._sweep = check_positive("sweep", sweep)
        self._timeout = check_positive("timeout", timeout)
        self._lifecycle = threading.Lock()
        self._lock = threading.Lock()
        self._open_calls = 0
        self._address: tuple[str, int] | None = None
        self._listener: socket.socket | None = None
        self._server: WebhookServer | None = None
        self._dispatching: asyncio.Future[None] | None = None
        self._process = 0
        self._late_deliveries = LateDeliveryRecorder()
        self._dispatcher = dispatcher.Dispatcher(self._late_deliveries, holds_unknown=lambda: self._open_calls > 0)
        self._earlier_counts: dict[str, int] = dict.fromkeys(FATES, 0)

    # -- starting and stopping ----------------------------------------------------------------------------------------

    def start(self) -> WebhookReceiver:
        """Start listening, on a background thread. No effect if the receiver is already listening.

        Returns
        -------
        WebhookReceiver
            This receiver.

        Raises
        ------
        ConfigurationError
            The port is in use, or the host is not an address of this machine.
        BridgeError
            Called from a progress callback.
        """
        run(lambda: ReadCall(self._open))
        return self

    def stop(self) -> None:
        """Stop listening, and process the deliveries received so far. No effect if the receiver is not listening.

        Calls that are waiting for deliveries poll the API from now on. The receiver can be started again; with
        ``port=0`` it may then get another port.

        Raises
        ------
        BridgeError
            Called from a progress callback.
        """
        run(lambda: ReadCall(self._close))

    def __enter__(self) -> WebhookReceiver:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> WebhookReceiver:
        await run_async(lambda: ReadCall(self._open))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await run_async(lambda: ReadCall(self._close))

    def _open(self, read: Read) -> None:
        with self._lifecycle:
            if self.listening:
                return
            self._shut_down(read)  # a server whose loop has ended
            listener = self._listen()
            self._address = listener.getsockname()[:2]
            self._process = os.getpid()
            _started.add(self)
            try:
                read(self._open_server)
            except BaseException:
                if self._server is None:
                    listener.close()
                raise

    def _listen(self) -> socket.socket:
        from .server import listen  # imports aiohttp's server: only for processes that listen

        try:
            self._listener = listen(self._host, self._port)
        except OSError as exc:
            msg = (
                f"the receiver cannot listen on port {self._port} of {self._host} ({exc.strerror or exc}): stop what "
                "uses it, pass another port=, or port=0 for a free one"
            )
            raise ConfigurationError(msg) from exc
        return self._listener

    async def _open_server(self, _: asyncio.Event) -> None:
        from .server import WebhookServer

        assert self._listener is not None
        self._dispatching = asyncio.ensure_future(self._dispatcher.run())
        self._server = WebhookServer(
            self._listener,
            path=urlsplit(self.url).path,
            verifier=self._verifier,
            max_body=self._max_body,
            timeout=self._timeout,
            offer=self._dispatcher.offer,
        )
        self._server.on_stop(dispatcher.notify_all)
        self._dispatching.add_done_callback(_on_dispatcher_done)

    def _close(self, read: Read) -> None:
        with self._lifecycle:
            self._shut_down(read)

    def _shut_down(self, read: Read) -> None:
        server = self._server
        if server is None:
            return
        # If its loop has ended, there is no server left to close.
        unclaimed = read(lambda _: self._close_server(server)) if server.listening else self._dispatcher.drain()
        self._server = None
        _started.discard(self)
        for fate, count in server.counts.items():
            self._earlier_counts[fate] += count
        # In this thread: the loop can start no threads while the interpreter exits.
        self._dispatcher.count_recorded(unclaimed, self._late_deliveries(unclaimed))

    async def _close_server(self, server: WebhookServer) -> list[Delivery]:
        await server.stop()
        if self._dispatching is not None:
            self._dispatching.cancel()
            await asyncio.gather(self._dispatching, return_exceptions=True)
        return self._dispatcher.drain()

    # -- state --------------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL for deliveries, without the secret path segment that is appended for the legacy dialect.

        Raises
        ------
        ConfigurationError
            The receiver has no `public_url` and was never started, so its port is not known.
        """
        if self._public_url is not None:
            return self._public_url
        if self._address is None:
            msg = "the receiver has no address before it is started: hook.start(), or `with ... as hook`"
            raise ConfigurationError(msg)
        host, port = self._address
        address = ipaddress.ip_address(host)
        if address.is_unspecified:  # all addresses of this machine
            host = "127.0.0.1" if address.version == 4 else "::1"
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"

    @property
    def listening(self) -> bool:
        """Whether the receiver is running in this process."""
        server, dispatching = self._server, self._dispatching
        alive = server is not None and server.listening and dispatching is not None and not dispatching.done()
        return alive and self._process == os.getpid()

    @property
    def sweep(self) -> float:
        """Minimum number of seconds between two polls of the API while deliveries are awaited."""
        return self._sweep

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of requests per outcome, since the receiver was created. A new dict.

        ``received`` is the number of all requests. Each request is also counted under one of these keys:

        - ``accepted``: the first delivery of an execution's end;
        - ``repeated``: the end of this execution was accepted before;
        - ``unfinished``: the execution has not ended;
        - ``unknown``: the execution belongs to no open call and is not in the journal;
        - ``mismatched``: the execution is known, but with another ``bulk_id`` or workflow;
        - ``forged``: the signature is missing, malformed or wrong (401);
        - ``expired``: the timestamp differs from this machine's clock by more than 300 seconds (401); if this number
          grows, check the clock;
        - ``oversized``: the body is larger than ``max_body`` (413);
        - ``malformed``: the body is not the details of an execution (400);
        - ``misdirected``: the path or method is wrong (404, 405);
        - ``cut_off``: the connection ended, or ``timeout`` expired, before the request was complete;
        - ``refused``: there are too many deliveries at once (503; the API sends them again);
        - ``waiting``: not processed yet, or held until the call that owns the execution has its id.

        ``redelivered`` is the number of genuine deliveries that the API has marked as sent again; these are also
        counted above.
        """
        counts, server = dict(self._earlier_counts), self._server
        # Copied, because the loop's thread changes them.
        for source in (dict(self._dispatcher.counts), {} if server is None else dict(server.counts)):
            for fate, count in source.items():
                counts[fate] += count
        counts["waiting"] = self._dispatcher.waiting
        return counts

    def __repr__(self) -> str:
        where = "" if self._address is None and self._public_url is None else f" {self.url}"
        state = "listening" if self.listening else "stopped" if self._address else "not started"
        counts = self.counts
        return f"<WebhookReceiver{where} {state}: {counts['received']} received, {counts['accepted']} accepted>"

    def __reduce__(self) -> Any:
        msg = "a webhook receiver is not pickled: it is a server of this process"
        raise TypeError(msg)

    # -- for the calls that use it ------------------------------------------------------------------------------------

    def target(self, settings: Settings) -> tuple[str, Secret | None]:
        """Return the webhook URL and the secret for trigger requests. The legacy dialect has no secret (None).

        Raises
        ------
        ConfigurationError
            The receiver is not running, or the API cannot reach its URL.
        """
        if not self.listening:
            msg = "the webhook receiver is not running: hook.start(), or `with ... as hook`, before it is used"
            raise ConfigurationError(msg)
        hidden = self._public_url is None or _is_local(self._public_url)
        if hidden and not _is_local(settings.base_url):
            msg = (
                f"the API at {settings.base_url} cannot reach a receiver at {self.url}: pass public_url=, the https "
                "address of a tunnel or proxy that forwards to it and keeps the path"
            )
            raise ConfigurationError(msg)
        return self._target(settings.dialect)

    def _target(self, dialect: DialectName) -> tuple[str, Secret | None]:
        if dialect == "legacy":
            return f"{self.url}/{path_token(self._secret.reveal())}", None
        return self.url, self._secret

    @contextmanager
    def at_work(self, settings: Settings) -> Iterator[None]:
        """Hold deliveries of unknown executions: a call in this block may get their ids from a later response."""
        if settings.journal is not None:
            self._late_deliveries.journals.add(settings.journal)
        with self._lock:
            self._open_calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._open_calls -= 1

    def orphan(self) -> None:
        """In a forked child: close the inherited socket, so that the port is free when the parent exits."""
        self._lifecycle, self._lock = threading.Lock(), threading.Lock()
        self._server = self._dispatching = None
        if self._listener is not None:
            self._listener.close()


def _is_local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


def _on_dispatcher_done(dispatching: asyncio.Future[None]) -> None:
    """Make all waiting calls poll, because deliveries are no longer processed; log the error if there was one."""
    error = None if dispatching.cancelled() else dispatching.exception()
    if error is not None:
        logger.error("the webhook receiver has failed; its executions are polled: %r", error)
    dispatcher.notify_all()


_started: set[WebhookReceiver] = set()


def _after_fork() -> None:
    for hook in _started:
        hook.orphan()
    _started.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _stop_all() -> None:
    """Process what was received. Registered after the bridge's own handler, so it runs before it."""
    for hook in tuple(_started):
        with contextlib.suppress(Exception):
            hook.stop()
