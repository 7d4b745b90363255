"""Webhook deliveries: sent when an execution ends.

Owns the deliveries and their record. It never sends to another machine, and implements HTTP itself: the sandbox shares
no HTTP client with the product.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit

from .account import Account
from .executions import Execution
from .options import WebhookFault

Outcome: TypeAlias = Literal["delivered", "failed", "refused", "lost"]

ATTEMPTS = 3
_TIMEOUT = 5.0
_MAX_CONNECTIONS = 128
_TIMESTAMP_OFFSETS = {"aged": -360, "early": 360}


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
    outcome: Outcome
    redelivery: bool = False


class Webhooks:
    """The deliveries to send, and the record of attempts."""

    def __init__(self, account: Account, *, payload: Callable[[Execution], bytes]) -> None:
        self._account = account
        self._payload = payload
        self._lock = threading.Lock()
        self._pending: list[Execution] = []
        self._due: list[Execution] = []
        self._deliveries: list[Delivery] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._wakeup = asyncio.Event()
        # Some systems limit the connections of a process.
        self._connections = asyncio.Semaphore(_MAX_CONNECTIONS)

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """All attempts."""
        with self._lock:
            return tuple(self._deliveries)

    def expect(self, execution: Execution) -> None:
        """Send a delivery when this execution ends. Called in the server's loop."""
        if execution.webhook_url is not None:
            with self._lock:
                self._pending.append(execution)
            self._wakeup.set()

    def wake(self) -> None:
        """Check again which executions have ended. Called in the server's loop."""
        self._wakeup.set()

    def reset(self) -> None:
        """Delete pending deliveries and the record."""
        with self._lock:
            self._pending.clear()
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
        now, options = self._account.now(), self._account.options
        with self._lock:
            self._due += [e for e in self._pending if e.ended(now)]
            self._pending = [e for e in self._pending if not e.ended(now)]
            next_end = min((e.ends for e in self._pending), default=math.inf)
            due: list[Execution] = []
            if len(self._due) >= options.webhook_burst:
                due, self._due = self._due, due
        if options.webhook_shuffle:
            due.sort(key=lambda e: e.fraction(f"shuffle:{options.seed}"))
        for execution in due:
            task = asyncio.get_running_loop().create_task(self._deliver(execution))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return None if next_end == math.inf else max(next_end - now, 0.001)

    async def _deliver(self, execution: Execution) -> None:
        options = self._account.options
        host = urlsplit(execution.webhook_url or "").hostname
        if not is_loopback(host or ""):
            self._record(execution, 1, None, "refused")
            return
        if execution.fraction(f"webhook:{options.seed}") < options.webhook_loss:
            self._record(execution, 1, None, "lost")
            return
        body = self._payload(execution)
        for attempt in range(1, ATTEMPTS + 1):
            if await self._attempt(execution, body, attempt):
                for repeat in range(self._account.options.webhook_repeats):
                    await self._attempt(execution, body, attempt + repeat + 1, redelivery=True)
                return
            if attempt < ATTEMPTS:
                await asyncio.sleep(self._account.options.webhook_pause)

    async def _attempt(self, execution: Execution, body: bytes, attempt: int, *, redelivery: bool = False) -> bool:
        """Send a delivery once, and return whether the response is a 2xx."""
        faults = self._account.options.webhook_faults
        fault = faults[attempt - 1] if attempt <= len(faults) else None
        try:
            async with self._connections:
                seconds = self._account.epoch(self._account.now())
                headers = signature_headers(execution.webhook_secret, body, seconds=seconds, fault=fault)
                if redelivery:
                    headers["X-Webhook-Redelivery"] = "true"
                if fault == "altered":
                    body = json.dumps({**json.loads(body), "output": "altered on the way"}).encode()
                parts = urlsplit(execution.webhook_url or "")
                status = await asyncio.wait_for(post(parts, body, headers), _TIMEOUT)
        except (OSError, EOFError, ValueError, asyncio.TimeoutError):
            status = None
        is_delivered = status is not None and 200 <= status < 300
        self._record(execution, attempt, status, "delivered" if is_delivered else "failed", redelivery=redelivery)
        return is_delivered

    def _record(
        self, execution: Execution, attempt: int, status: int | None, outcome: Outcome, *, redelivery: bool = False
    ) -> None:
        url = execution.webhook_url or ""
        delivery = Delivery(execution.execution_id, url, attempt, status, outcome, redelivery)
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


def signature_headers(secret: str | None, body: bytes, *, seconds: float, fault: WebhookFault | None) -> dict[str, str]:
    """Return the headers of an attempt, signed at `seconds` since the epoch; none without a secret."""
    if secret is None:
        return {}
    if fault == "stripped":
        return {"X-Webhook-Secret": secret}
    if fault == "forged":
        secret = f"{secret}-forged"
    seconds = int(seconds) + _TIMESTAMP_OFFSETS.get(fault or "", 0)
    timestamp = formatdate(seconds, usegmt=True) if fault == "undated" else str(seconds)
    digest = hmac.digest(secret.encode(), f"{timestamp}.".encode() + body, "sha256").hex()
    return {
        "X-Webhook-Secret": secret,
        "X-Webhook-Timestamp": timestamp,
        "X-Webhook-Signature": f"sha256={digest}",
    }


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
        version, status = (await reader.readuntil(b"\r\n")).split(b" ", 2)[:2]
        if not version.startswith(b"HTTP/1."):
            msg = "the webhook's response is not HTTP"
            raise ValueError(msg)
        return int(status)
    finally:
        # Not close(), which waits for a receiver that never closes its side.
        writer.transport.abort()
