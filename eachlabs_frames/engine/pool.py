"""A fixed pool of workers on one lazy stream. It knows nothing of what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


async def drain(stream: Iterator[T], do: Callable[[T], Awaitable[None]], *, workers: int) -> None:
    """Do every item of `stream`, `workers` at a time, each read only when a worker is free for it.

    The first error cancels the other workers, waits for them, and is raised: none is left running.
    """

    async def work() -> None:
        for item in stream:
            await do(item)

    tasks = [asyncio.ensure_future(work()) for _ in range(workers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
