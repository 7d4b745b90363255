"""Webhook deliveries: sent when an execution ends.

Owns the deliveries and their record. It never sends to another machine, and implements HTTP itself: the sandbox shares
no HTTP client with the product.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import math
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from .executions import Execution
from .options import Clock, Options, WebhookFault

ATTEMPTS = 3
_TIMEOUT = 5.0
_AT_ONCE = 128
_SECONDS_AWAY = {"aged": -360, "early": 360}


@dataclass(frozen=True, slots=True)
class Delivery:
    """An attempt to send a delivery. `status` is None if there was no response.

    `outcome` is `refused` if the host is not this machine, and `lost` by `webhook_loss`: nothing was sent.
    `redelivery` is true if it had been delivered before.
    """

    execution_id: str
    url: str
    attempt: int
    status: int | None
    outcome: Literal["delivered", "failed", "refused", "lost"]
    redelivery: bool = False


class Webhooks:
    """The deliveries to send, and the record of attempts."""

    def __init__(
        self, clock: Clock, *, wall: Clock, payload: Callable[[Execution], bytes], options: Callable[[], Options]
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._payload = payload
        self._options = options
        self._lock = threading.Lock()
        self._waiting: list[Execution] = []
        self._due: list[Execution] = []
        self._deliveries: list[Delivery] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._wakeup = asyncio.Event()
        # Some systems limit the connections of a process.
        self._room = asyncio.Semaphore(_AT_ONCE)

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """All attempts."""
        with self._lock:
            return tuple(self._deliveries)

    def expect(self, execution: Execution) -> None:
        """Send a delivery when this execution ends. Called in the server's loop."""
        if execution.webhook_url is not None:
            with self._lock:
                self._waiting.append(execution)
            self._wakeup.set()

    def wake(self) -> None:
        """Check again which executions have ended. Called in the server's loop."""
        self._wakeup.set()

    def forget(self) -> None:
        """Delete pending deliveries and the record."""
        with self._lock:
            self._waiting.clear()
            self._due.clear()
            self._deliveries.clear()

    async def run(self) -> None:
        """Send deliveries that are due, until cancelled."""
        try:
            while True:
                self._wakeup.clear()
                timeout = self._send_due()
                try:
                    await asyncio.wait_for(self._wakeup.wait(), timeout)
                except asyncio.TimeoutError:  # another class than TimeoutError on Python 3.10
                    continue
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _send_due(self) -> float | None:
        """Start the deliveries that are due, and return the seconds until the next one, or None."""
        now = self._clock()
        with self._lock:
            self._due += [e for e in self._waiting if e.ended(now)]
            self._waiting = [e for e in self._waiting if not e.ended(now)]
            soonest = min((e.ends for e in self._waiting), default=math.inf)
            due: list[Execution] = []
            if len(self._due) >= self._options().webhook_burst:
                due, self._due = self._due, due
        if self._options().webhook_shuffle:
            random.Random(self._options().seed).shuffle(due)  # noqa: S311 - not for security
        for execution in due:
            task = asyncio.get_running_loop().create_task(self._deliver(execution))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return None if soonest == math.inf else max(soonest - now, 0.001)

    async def _deliver(self, execution: Execution) -> None:
        url = execution.webhook_url or ""
        parts = urlsplit(url)
        if not is_loopback(parts.hostname or ""):
            self._record(Delivery(execution.execution_id, url, 1, None, "refused"))
            return
        if self._is_lost(execution):
            self._record(Delivery(execution.execution_id, url, 1, None, "lost"))
            return
        body = self._payload(execution)
        for attempt in range(1, ATTEMPTS + 1):
            if await self._attempt(execution, parts, body, attempt):
                for again in range(self._options().webhook_repeats):
                    await self._attempt(execution, parts, body, attempt + again + 1, redelivery=True)
                return
            if attempt < ATTEMPTS:
                await asyncio.sleep(self._options().webhook_pause)

    async def _attempt(
        self, execution: Execution, parts: SplitResult, body: bytes, attempt: int, *, redelivery: bool = False
    ) -> bool:
        faults = self._options().webhook_faults
        fault = faults[attempt - 1] if attempt <= len(faults) else None
        try:
            async with self._room:
                headers = credentials(execution.webhook_secret, body, wall=self._wall(), fault=fault)
                if redelivery:
                    headers["X-Webhook-Redelivery"] = "true"
                sent = altered(body) if fault == "altered" else body
                status = await asyncio.wait_for(post(parts, sent, headers), _TIMEOUT)
        except (OSError, EOFError, ValueError, asyncio.TimeoutError):
            status = None
        fine = status is not None and 200 <= status < 300
        outcome: Literal["delivered", "failed"] = "delivered" if fine else "failed"
        url = execution.webhook_url or ""
        self._record(Delivery(execution.execution_id, url, attempt, status, outcome, redelivery))
        return fine

    def _is_lost(self, execution: Execution) -> bool:
        options = self._options()
        # A hash of its own, so that losses are independent of failures.
        text = f"webhook:{options.seed}:{execution.occurrence}:{execution.fingerprint}"
        digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") / 2**32 < options.webhook_loss

    def _record(self, delivery: Delivery) -> None:
        with self._lock:
            self._deliveries.append(delivery)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by its name or address. Nothing is resolved."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def credentials(secret: str | None, body: bytes, *, wall: float, fault: WebhookFault | None) -> dict[str, str]:
    """Return the headers of an attempt, signed at `wall` seconds since the epoch; none without a secret."""
    if secret is None:
        return {}
    if fault == "stripped":
        return {"X-Webhook-Secret": secret}
    if fault == "forged":
        secret = "not-the-secret"  # noqa: S105 - not a real secret
    seconds = int(wall) + _SECONDS_AWAY.get(fault or "", 0)
    timestamp = formatdate(seconds, usegmt=True) if fault == "undated" else str(seconds)
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "X-Webhook-Secret": secret,
        "X-Webhook-Timestamp": timestamp,
        "X-Webhook-Signature": f"sha256={digest}",
    }


def altered(body: bytes) -> bytes:
    """Return another, well-formed body."""
    return json.dumps({**json.loads(body), "output": "altered on the way"}).encode()


async def post(parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
    """POST JSON over a new connection, and return the status of the response."""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = [
        f"POST {target} HTTP/1.1",
        f"Host: {parts.netloc.rpartition('@')[2]}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=True if secure else None)
    try:
        writer.write("\r\n".join([*head, "", ""]).encode("ascii") + body)
        await writer.drain()
        answer = await reader.readuntil(b"\r\n")
        version, status = answer.split(b" ", 2)[:2]
        if not version.startswith(b"HTTP/1."):
            msg = "the webhook's answer is no HTTP"
            raise ValueError(msg)
        return int(status)
    finally:
        # Not close(), which waits for a receiver that never closes its side.
        writer.transport.abort()
