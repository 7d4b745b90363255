"""The three clients that are compared: this package, bare sockets, and threads with requests.

Each is given a port and the rows, sends the same bytes in batches of 10, 32 at a time unless the caller says otherwise,
and returns every execution id in row order, which the caller checks. Each opens its own connections, inside of what is
measured.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.request import urlopen

import orjson
import pandas as pd

CONCURRENCY = 32
BATCH = 10
KEY = "benchmark"
PATH = "/v1/workflows/bulk-trigger/wf_bench/v1"

Row = dict[str, Any]


def package(port: int, frame: pd.DataFrame, *, concurrency: int = CONCURRENCY) -> list[str]:
    """Do all that a user's call does: look at the workflow, check each row, send, and write the columns."""
    ids: list[str] = triggered(port, frame, concurrency=concurrency)["execution_id"].tolist()
    return ids


def triggered(
    port: int, frame: pd.DataFrame, *, run: str | None = None, concurrency: int = CONCURRENCY
) -> pd.DataFrame:
    import eachlabs_frames as ef  # here, as the other clients do without it
    from eachlabs_frames.aio import loop_thread

    ef.configure(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1", max_concurrency=concurrency)
    loop_thread.close()  # and with it the connections of the call before
    out: pd.DataFrame = frame.eachlabs.bulk_trigger("wf_bench", progress=False, run=run)
    return out


def sockets(port: int, rows: list[Row], *, look: bool = False, concurrency: int = CONCURRENCY) -> list[str]:
    """Encode, send, read, decode and keep the ids: bare non-blocking sockets on asyncio, and nothing else.

    The dicts are made before. No check, no time-outs, no result frame, no error but the one that ends it, and no
    look at the workflow unless `look` asks for it: the floor.
    """
    return asyncio.run(_sockets(port, rows, look, concurrency))


async def _sockets(port: int, rows: list[Row], look: bool, concurrency: int) -> list[str]:
    if look:
        await asyncio.to_thread(lambda: urlopen(f"http://127.0.0.1:{port}/v1/workflows/wf_bench").read())
    answers: list[list[str]] = [[]] * ((len(rows) + BATCH - 1) // BATCH)
    batches = enumerate(batched(rows))
    await asyncio.gather(*(_socket(port, batches, answers) for _ in range(concurrency)))
    return [execution_id for ids in answers for execution_id in ids]


async def _socket(port: int, batches: Iterator[tuple[int, list[Row]]], answers: list[list[str]]) -> None:
    loop = asyncio.get_running_loop()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {KEY}\r\n"
        "Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: "
    ).encode()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        for place, batch in batches:
            body = orjson.dumps({"inputs": batch})
            await loop.sock_sendall(sock, b"%b%d\r\n\r\n%b" % (head, len(body), body))
            said = orjson.loads(await _body(loop, sock))
            answers[place] = [entry["execution_id"] for entry in said["executions"]]


async def _body(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    data = await loop.sock_recv(sock, 65536)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += await loop.sock_recv(sock, 65536)
    assert data.startswith(b"HTTP/1.1 202 ")
    start = data.index(b"Content-Length: ") + 16
    whole = end + 4 + int(data[start : data.index(b"\r\n", start)])
    while len(data) < whole:
        data += await loop.sock_recv(sock, 65536)
    return data[end + 4 :]


class Sessions:
    """A `requests.Session` for each thread, as code with threads is written by hand."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}{PATH}"
        self._local = threading.local()
        self._opened: list[Any] = []

    def post(self, batch: list[Row]) -> list[str]:
        """Send a batch and return its execution ids."""
        answer = self._session().post(self._url, json={"inputs": batch}, timeout=60)
        answer.raise_for_status()
        return [entry["execution_id"] for entry in answer.json()["executions"]]

    def close(self) -> None:
        for session in self._opened:
            session.close()

    def _session(self) -> Any:
        import requests  # nothing but the clients with threads needs it

        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.headers["Authorization"] = f"Bearer {KEY}"
            self._opened.append(self._local.session)
        return self._local.session


def threads(port: int, rows: list[Row], *, concurrency: int = CONCURRENCY) -> list[str]:
    """Send with `requests` from a pool of threads: what is written by hand where nothing else is at hand."""
    with closing(Sessions(port)) as sessions, ThreadPoolExecutor(concurrency) as pool:
        return [execution_id for ids in pool.map(sessions.post, batched(rows)) for execution_id in ids]


def batched(rows: list[Row]) -> Iterator[list[Row]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
