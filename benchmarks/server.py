"""The other side: a process of its own that answers as quickly as it can, so that it is never what is measured.

Owns a port on 127.0.0.1 and just enough HTTP/1.1: the look at a workflow, the bulk trigger of the current dialect, a
picture of 200 KB, and uploads, whose bytes it drops. Never imports the product, and ends with the process that started
it: when its standard input closes.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

SCHEMA = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string"},
        "style": {"type": "string"},
        "seed": {"type": "integer"},
        "strength": {"type": "number"},
    },
    "required": ["prompt"],
}
WORKFLOW = orjson.dumps(
    {
        "workflow_id": "wf_bench",
        "versions": [
            {
                "version_id": "v1",
                "status": "active",
                "updated_at": "2026-01-01T00:00:00Z",
                "definition": {"input_schema": SCHEMA},
            }
        ],
    }
)
PICTURE_BYTES = 200_000
REFUSED = b"/wf_refused/"
_LENGTH = b"content-length:"
_numbers = itertools.count()


class Connection(asyncio.Protocol):
    """One kept connection; a request is answered after `latency` seconds."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._read = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left:
            dropped = min(self._left, len(data))
            self._left -= dropped
            if self._left:
                return
            self._transport.write(STORED)
            data = data[dropped:]
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            end += 4
            size = _content_length(self._read[:end])
            if self._read.startswith(b"PUT "):
                self._left = max(0, end + size - len(self._read))
                self._read = self._read[end + size :]
                if self._left:
                    return
                self._transport.write(STORED)
                continue
            if len(self._read) < end + size:
                return
            head, body, self._read = self._read[:end], self._read[end : end + size], self._read[end + size :]
            if head.startswith(b"POST /v1/upload/"):
                answer = presigned(head)
            elif head.startswith(b"POST "):
                answer = refused() if REFUSED in head else accepted(body)
            else:
                answer = looked_at(head)
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._transport.write, answer)
            else:
                self._transport.write(answer)


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.find(_LENGTH)
    return 0 if start < 0 else int(lowered[start + len(_LENGTH) : lowered.index(b"\r\n", start)])


def accepted(body: bytes) -> bytes:
    """Accept every input of a bulk trigger, with ids as long as the API's that say which prompt they are for."""
    bulk = next(_numbers)
    entries = [
        {"execution_id": f"{bulk:08x}-0000-4000-8000-{place:04x}{mark(sent.get('prompt'))}", "status": "queued"}
        for place, sent in enumerate(orjson.loads(body)["inputs"])
    ]
    said = {"bulk_id": f"{bulk:08x}-0000-4000-9000-000000000000", "executions": entries}
    return reply(b"202 Accepted", orjson.dumps(said))


def refused() -> bytes:
    """Refuse the key, which ends a call at its first request, and say when that came, by the machine's own clock."""
    return reply(b"401 Unauthorized", orjson.dumps({"error": f"at {time.monotonic()}"}))


def mark(prompt: str | None) -> str:
    """Return the last eight characters of the execution id of an input with this prompt."""
    return f"{zlib.crc32((prompt or '').encode()):08x}"


def presigned(head: bytes) -> bytes:
    """Give a URL of this server to upload to."""
    host = head.lower().partition(b"\r\nhost:")[2].partition(b"\r\n")[0].strip().decode()
    name = f"{next(_numbers):08x}-0000-4000-8000-000000000000"
    said = {
        "id": name,
        "presigned_url": f"http://{host}/storage/{name}?X-Amz-Signature={name}",
        "public_url": f"http://{host}/uploads/{name}",
        "expires_at": "2099-01-01T00:00:00Z",
        "required_headers": {"x-amz-meta-file-id": name},
    }
    return reply(b"200 OK", orjson.dumps(said))


def looked_at(head: bytes) -> bytes:
    """Give a picture, or the workflow."""
    return PICTURE if head.startswith(b"GET /media/") else reply(b"200 OK", WORKFLOW)


def reply(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


STORED = reply(b"200 OK", b"")
PICTURE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % PICTURE_BYTES
    + hashlib.shake_128(b"picture").digest(PICTURE_BYTES)
)


async def serve(latency: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(latency), "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def serving(latency: float = 0.0) -> Iterator[int]:
    """Start a server in a process of its own, give its port, and end it by its own handle."""
    command = [sys.executable, "-m", "benchmarks.server", str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
