"""The libraries whose concurrency is asyncio's. They have one HTTP client, aiohttp, and one JSON, orjson."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain

import aiohttp
import orjson
import pandas as pd

from ..clients import BATCH, KEY, PATH, batched
from .arms import Call

Post = Callable[[bytes], Awaitable[list[str]]]
"""Sends the body of a bulk trigger and returns the execution ids."""

Send = Callable[[Post, pd.DataFrame, int], Awaitable[Iterable[list[str]]]]
"""Sends a frame's rows, and returns the ids of each batch in the order of the rows."""


def by_hand() -> Call:
    from tqdm.asyncio import tqdm

    async def send(post: Post, frame: pd.DataFrame, concurrency: int) -> Iterable[list[str]]:
        semaphore = asyncio.Semaphore(concurrency)

        async def bounded(body: bytes) -> list[str]:
            async with semaphore:
                return await post(body)

        answers: list[list[str]] = await tqdm.gather(*map(bounded, _bodies(frame)), disable=True)
        return answers

    return partial(_run, send)


def openaivec() -> Call:
    from openaivec._cache import AsyncBatchCache  # what its `.aio` accessor maps the rows of a frame with

    async def send(post: Post, frame: pd.DataFrame, concurrency: int) -> Iterable[list[str]]:
        async def mapped(rows: list[bytes]) -> list[str]:
            return await post(b'{"inputs":[%b]}' % b",".join(rows))

        cache = AsyncBatchCache[bytes, str](batch_size=BATCH, max_concurrency=concurrency, show_progress=False)
        # Its items must be hashable: the accessor gives it the rows as JSON, too.
        return [await cache.map(list(map(orjson.dumps, frame.to_dict("records"))), mapped)]

    return partial(_run, send)


def langchain() -> Call:
    from langchain_core.runnables import RunnableLambda

    async def send(post: Post, frame: pd.DataFrame, concurrency: int) -> Iterable[list[str]]:
        async def posted(body: bytes) -> list[str]:
            return await post(body)

        return await RunnableLambda(posted).abatch(list(_bodies(frame)), {"max_concurrency": concurrency})

    return partial(_run, send)


def daft() -> Call:
    import daft

    def call(port: int, frame: pd.DataFrame, concurrency: int) -> pd.DataFrame:
        sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}  # of the loop that its runner owns

        @daft.func(return_dtype=daft.DataType.list(daft.DataType.string()), max_concurrency=concurrency)
        async def posted(body: bytes) -> list[str]:
            loop = asyncio.get_running_loop()
            if loop not in sessions:
                sessions[loop] = _session(concurrency)
            return await _post(sessions[loop], _url(port), body)

        bodies = daft.from_pydict({"body": list(_bodies(frame))})
        try:
            answers = bodies.select(posted(bodies["body"]).alias("ids")).to_pydict()["ids"]
        finally:
            for loop, session in sessions.items():
                asyncio.run_coroutine_threadsafe(session.close(), loop).result(10)
        return _with_ids(frame, answers)

    return call


def _run(send: Send, port: int, frame: pd.DataFrame, concurrency: int) -> pd.DataFrame:
    async def answers() -> Iterable[list[str]]:
        async with _posting(port, concurrency) as post:
            return await send(post, frame, concurrency)

    return _with_ids(frame, asyncio.run(answers()))


@asynccontextmanager
async def _posting(port: int, concurrency: int) -> AsyncIterator[Post]:
    async with _session(concurrency) as session:
        yield partial(_post, session, _url(port))


def _session(concurrency: int) -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency), headers=headers)


async def _post(session: aiohttp.ClientSession, url: str, body: bytes) -> list[str]:
    async with session.post(url, data=body) as answer:
        answer.raise_for_status()
        return [entry["execution_id"] for entry in orjson.loads(await answer.read())["executions"]]


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}{PATH}"


def _bodies(frame: pd.DataFrame) -> Iterator[bytes]:
    return (orjson.dumps({"inputs": batch}) for batch in batched(frame.to_dict("records")))


def _with_ids(frame: pd.DataFrame, answers: Iterable[list[str]]) -> pd.DataFrame:
    return frame.assign(execution_id=list(chain.from_iterable(answers)))
