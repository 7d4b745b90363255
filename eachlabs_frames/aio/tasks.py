"""How work is done side by side, and how it is left: a pool on one lazy stream, a read that nobody waits for.

It knows nothing of what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

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


async def beside(main: Coroutine[Any, Any, T], others: Iterable[Coroutine[Any, Any, None]]) -> T:
    """Do `main`, and `others` for as long as it takes; what those raise is nobody's concern."""
    tasks = [asyncio.ensure_future(other) for other in others]
    try:
        return await main
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(stop: asyncio.Event, reading: Coroutine[Any, Any, T]) -> T | None:
    """Return what `reading` gives, or leave it and return None as soon as `stop` is set.

    For what only reads: work that may have cost something is never left.
    """
    doing = asyncio.ensure_future(reading)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not doing.done():
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)
    return None if doing.cancelled() else doing.result()
