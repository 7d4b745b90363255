"""Worker pools, and reads that are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from eachlabs_frames.aio.tasks import cancel_on, run_workers


def test_a_pool_reads_an_item_only_when_a_worker_is_free_for_it() -> None:
    """Three workers never have more than three items, nor read a fourth before one is done."""
    read: list[int] = []
    done: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            assert len(read) - len(done) < 3
            read.append(number)
            yield number

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    asyncio.run(run_workers(items(), work, workers=3))
    assert sorted(done) == list(range(20))


def test_the_first_error_leaves_no_worker_running() -> None:
    """The others are cancelled, and waited for, before it is raised."""
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            if number == 2:
                msg = "the third fails"
                raise RuntimeError(msg)
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    with pytest.raises(RuntimeError, match="the third fails"):
        asyncio.run(run_workers(iter(range(5)), work, workers=5))
    assert sorted(ended) == [0, 1, 2, 3, 4]


def test_a_read_is_left_when_it_is_stopped() -> None:
    """At once, although its answer never comes; and it is over then."""

    async def scenario() -> tuple[int | None, bool]:
        stop, left = asyncio.Event(), asyncio.Event()

        async def reading() -> int:
            stop.set()
            try:
                return await asyncio.get_running_loop().create_future()
            finally:
                left.set()

        return await cancel_on(stop, reading()), left.is_set()

    assert asyncio.run(scenario()) == (None, True)


def test_a_read_that_ends_gives_its_value_or_its_error() -> None:
    """As if it had been awaited."""

    async def value() -> int:
        return 7

    async def error() -> int:
        msg = "no"
        raise LookupError(msg)

    async def scenario() -> None:
        assert await cancel_on(asyncio.Event(), value()) == 7
        with pytest.raises(LookupError):
            await cancel_on(asyncio.Event(), error())

    asyncio.run(scenario())
