"""What `wait` costs while 10,000 executions settle over 60 s, against an oracle that knows when each will end.

The tracker is the real one. The API, its latency and time itself are simulated, so that requests and seconds are the
same on any machine.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Any

import orjson

from eachlabs_frames.api.requests import PAGE_SIZE
from eachlabs_frames.engine.events import EventEmitter
from eachlabs_frames.engine.tracker import Tracker
from eachlabs_frames.models import ApiConnection, Outcome, Reply, Request
from eachlabs_frames.results import Results

from .clients import BATCH
from .measure import Result

ROWS = 10_000
SECONDS = 60.0
LATENCY = 0.05
WORKERS = 8
SLOW_EVERY, SLOWER = 50, 20


def wait_requests() -> Result:
    """Count requests while executions end in any order."""
    return _requests("requests of wait / oracle, ends in any order", in_any_order(ROWS), 1.3)


def wait_requests_in_order() -> Result:
    """Count requests while executions end in the order in which they were sent."""
    return _requests("the same, ends in the order of the rows", in_order(ROWS), None)


def wait_wall() -> Result:
    """Measure simulated seconds from the first execution's start to the end of `wait`; some requests are slow."""
    ends = in_any_order(ROWS)
    waited = wait(ends, slow_every=SLOW_EVERY)
    ratio = waited.seconds / (max(ends) + LATENCY)
    return Result("time of wait / ideal, 1 in 50 requests slow", ratio, 1.25, note=f"{waited.seconds:.1f} s")


MEASUREMENTS = (wait_requests, wait_requests_in_order, wait_wall)


def in_any_order(rows: int) -> list[float]:
    """Return the times at which executions end, evenly distributed."""
    generator = random.Random(1)
    return [generator.random() * SECONDS for _ in range(rows)]


def in_order(rows: int) -> list[float]:
    return [SECONDS * (row + 1) / rows for row in range(rows)]


@dataclass(frozen=True, slots=True)
class Waited:
    """What a call took: requests, seconds, and the mean seconds from an execution's end to its row."""

    requests: int
    seconds: float
    delay: float


def wait(ends: Sequence[float], *, slow_every: int | None = None) -> Waited:
    """Wait for executions that end at these times, in seconds since the call."""
    with closing(_SimulatedLoop()) as loop:
        api = _Api(ends, loop, slow_every)
        loop.run_until_complete(_waited(api, loop))
        return Waited(api.requests, loop.time(), sum(api.delays) / len(ends))


async def _waited(api: _Api, loop: asyncio.AbstractEventLoop) -> None:
    results = Results(len(api.ends))
    for row in range(results.size):
        results.replace(Outcome(row, "queued", _bulk(row), f"e{row}"))
    clock = _Clock(loop)
    tracker = Tracker(
        "wf_bench",
        results,
        ApiConnection(api, clock, "current", WORKERS),
        events=EventEmitter(None, results, total=results.size, until_settled=True),
        rows=api,
    )
    assert await tracker.wait(asyncio.Event()) == 0


def oracle(ends: Sequence[float], delay: float) -> int:
    """Return the fewest requests with which every end is known, after `delay` seconds in the mean at most.

    The oracle reads at each poll only pages on which an execution has ended, and polls at the best times for its number
    of polls.
    """
    times = sorted(ends)
    for polls in range(1, len(times)):
        chosen = _best_times(times, polls)
        if sum(chosen[bisect_right(chosen, time - 1e-9)] - time for time in times) / len(times) <= delay:
            pages = {(row // PAGE_SIZE, bisect_right(chosen, end - 1e-9)) for row, end in enumerate(ends)}
            return len(pages)
    raise AssertionError


def _best_times(times: Sequence[float], polls: int) -> list[float]:
    """Return the times of so many polls that make the mean delay least, among a hundred of the ends."""
    step = max(1, len(times) // 100)
    grid = [*times[step - 1 :: step]]
    if grid[-1] != times[-1]:
        grid.append(times[-1])
    counts = [0, *(bisect_right(times, time) for time in grid)]
    sums = [0.0, *accumulate(times)]
    best = [0.0, *([inf] * len(grid))]
    choices: list[list[int]] = []
    for _ in range(polls):
        row, choice = [inf] * len(best), [0] * len(best)
        for end in range(1, len(best)):
            for start in range(end):
                cost = (
                    best[start]
                    + (counts[end] - counts[start]) * grid[end - 1]
                    - (sums[counts[end]] - sums[counts[start]])
                )
                if cost < row[end]:
                    row[end], choice[end] = cost, start
        best = row
        choices.append(choice)
    chosen, end = [], len(grid)
    for choice in reversed(choices):
        if end == 0:
            break
        chosen.append(grid[end - 1])
        end = choice[end]
    return sorted(chosen)


def _requests(what: str, ends: Sequence[float], limit: float | None) -> Result:
    waited = wait(ends)
    least = oracle(ends, waited.delay)
    note = f"{waited.requests:,} to {least:,}; mean delay {waited.delay:.1f} s, {waited.seconds:.1f} s in all"
    return Result(what, waited.requests / least, limit, note=note)


def _bulk(row: int) -> str:
    return f"{row // BATCH:08x}-0000-4000-8000-000000000000"


class _SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in which nothing takes time but sleeping, which takes none of ours."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Selector(self._advance))

    def time(self) -> float:
        return self._now

    def _advance(self, seconds: float) -> None:
        self._now += seconds


class _Selector(selectors.SelectSelector):
    def __init__(self, advance: Any) -> None:
        super().__init__()
        self._advance = advance

    def select(self, timeout: float | None = None) -> list[Any]:
        self._advance(timeout or 0.0)
        return super().select(0)


class _Clock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()

    def since_boot(self) -> float:
        return self._loop.time()

    def epoch(self) -> float:
        return 1_790_000_000.0 + self._loop.time()

    def draw(self) -> float:
        return 0.5

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Api:
    """The transport, with the workflow's listing behind it, newest first; and what the tracker records."""

    def __init__(self, ends: Sequence[float], loop: asyncio.AbstractEventLoop, slow_every: int | None) -> None:
        self.ends = ends
        self.requests = 0
        self.delays: list[float] = []
        self._loop = loop
        self._slow_every = slow_every

    async def send(self, request: Request) -> Reply:
        self.requests += 1
        is_slow = self._slow_every is not None and self.requests % self._slow_every == 0
        latency = LATENCY * (SLOWER if is_slow else 1)
        await asyncio.sleep(latency / 2)
        query = dict(request.query)
        body = orjson.dumps({"executions": list(self._listed(query))})
        await asyncio.sleep(latency / 2)
        return Reply(200, body, {})

    def _listed(self, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        if "bulk_id" in query:
            first = int(query["bulk_id"][:8], 16) * BATCH
            rows = range(min(first + BATCH, len(self.ends)) - 1, first - 1, -1)
        else:
            newest = len(self.ends) - 1 - int(query.get("offset", 0))
            rows = range(newest, max(-1, newest - int(query["limit"])), -1)
        for row in rows:
            entry = {"execution_id": f"e{row}", "bulk_id": _bulk(row), "status": "running"}
            if self.ends[row] <= self._loop.time():
                entry |= {"status": "completed", "output": "x", "ended_at": "2026-01-01T00:00:00Z", "cost": 0.01}
            yield entry

    def record(self, outcomes: Sequence[Outcome]) -> None:
        self.delays += [self._loop.time() - self.ends[outcome.position] for outcome in outcomes]

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        raise AssertionError(outcomes)

    def content(self, _row: int) -> None:
        return None

    def sent_at(self, _row: int) -> None:
        return None
