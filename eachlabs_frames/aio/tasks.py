"""Runs coroutines side by side (a pool of workers, tasks beside a main task, a cancellable read), and work in a thread.

Owns the rule that no task is left running when its caller is done. It knows nothing of what the tasks do.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from .interrupts import ended

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


async def in_thread(work: Callable[[], T], *, on_left: Callable[[], object] | None = None) -> T:
    """Run `work` in a thread of its own, in a copy of the current context, and return its result.

    Not `asyncio.to_thread`: the loop's pool waits at exit for a function that hangs, and takes no work after that.

    Parameters
    ----------
    work : callable
    on_left : callable, optional
        A cancellation leaves the thread to itself, which calls this when `work` has ended. By default a cancellation
        waits for `work` and has no effect.
    """
    result: concurrent.futures.Future[T] = concurrent.futures.Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result.set_result(context.run(work))
        except BaseException as exc:  # noqa: BLE001 - raised in the task that waits
            result.set_exception(exc)

    thread = threading.Thread(target=run, name="eachlabs-frames-work", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be started any more when the interpreter ends
        return work()
    while not result.done():
        try:
            await ended(result)
        except asyncio.CancelledError:
            if on_left is not None:
                result.add_done_callback(lambda _: on_left())
                raise
    thread.join()
    return result.result()
