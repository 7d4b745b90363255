"""Runs coroutines side by side: a fixed pool of workers, background tasks of a main task, a cancellable read.

Owns the rule that no task is left running when its caller is done. It knows nothing of what the tasks do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


async def run_workers(items: Iterator[T], handle: Callable[[T], Awaitable[None]], *, workers: int) -> None:
    """Await `handle` for every item, `workers` at a time. An item is read only when a worker is free for it.

    The first error cancels the other workers, waits for them, and is raised.
    """

    async def work() -> None:
        for item in items:
            await handle(item)

    tasks = [asyncio.ensure_future(work()) for _ in range(workers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _cancel(tasks)


async def run_alongside(main: Coroutine[Any, Any, T], others: Iterable[Coroutine[Any, Any, None]]) -> T:
    """Await `main` and run `others` until it ends. Exceptions of `others` are ignored."""
    tasks = [asyncio.ensure_future(other) for other in others]
    try:
        return await main
    finally:
        await _cancel(tasks)


async def cancel_on(stop: asyncio.Event, coro: Coroutine[Any, Any, T]) -> T | None:
    """Await `coro`, or cancel it and return None once `stop` is set. Only for reads: never cancel a paid request."""
    task = asyncio.ensure_future(coro)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not task.done():
            await _cancel([task])
    return None if task.cancelled() else task.result()


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
