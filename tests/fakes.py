"""A fake transport and a fake clock: tests that use them open no socket and do not wait."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from eachlabs_frames.engine.budget import Budget
from eachlabs_frames.engine.events import EventEmitter
from eachlabs_frames.engine.recorder import Recorder
from eachlabs_frames.engine.runner import Runner
from eachlabs_frames.journal.base import LostRequest, RunJournal
from eachlabs_frames.journal.none import NullRunJournal
from eachlabs_frames.models import ApiConnection, Fault, Reply, Request, Target
from eachlabs_frames.results import Results
from eachlabs_frames.settings import Settings

Answer = Reply | Fault

EPOCH = 1_790_000_000.0
"""The wall-clock time at which a `ManualClock` starts, in seconds since the epoch."""


def reply(status: int, content: Any = None, **headers: str) -> Reply:
    """Return a reply with JSON or bytes; ``retry_after="3"`` becomes the header Retry-After."""
    body = b"" if content is None else content if isinstance(content, bytes) else orjson.dumps(content)
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def inputs_of(request: Request) -> list[Any]:
    """Return the inputs of a trigger request."""
    return list(orjson.loads(request.body or b"{}").get("inputs", []))


def accepted(request: Request) -> Reply:
    """Return the reply that accepts every input of a trigger."""
    entries = [{"execution_id": str(uuid.uuid4()), "status": "queued"} for _ in inputs_of(request)]
    return reply(202, {"bulk_id": str(uuid.uuid4()), "executions": entries})


class ManualClock:
    """A clock that advances only when all coroutines sleep, to the end of the next sleep.

    ``offset`` is the number of seconds by which the wall clock was changed.
    """

    def __init__(self, draw: float = 0.5) -> None:
        self.time = 0.0
        self.offset = 0.0
        self.slept: list[float] = []
        self._draw = draw
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    def since_boot(self) -> float:
        return self.time

    def epoch(self) -> float:
        return EPOCH + self.time + self.offset

    def draw(self) -> float:
        return self._draw

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, next(self._order), waker))
        asyncio.get_running_loop().call_soon(self._idle, 30)
        await waker

    def _idle(self, turns: int) -> None:
        """Let the loop run some iterations first, so that coroutines that do not sleep can continue."""
        if turns:
            asyncio.get_running_loop().call_soon(self._idle, turns - 1)
            return
        while self._sleepers:
            due, _, waker = heapq.heappop(self._sleepers)
            if not waker.done():
                self.time = max(self.time, due)
                waker.set_result(None)
                return


class QuietSearch:
    """A search that finds nothing and sends nothing; it keeps the lost requests."""

    busy = False

    def __init__(self) -> None:
        self.lost: list[LostRequest] = []

    def add(self, lost: LostRequest) -> None:
        self.lost.append(lost)

    def close(self) -> None:
        pass

    async def run(self, stop: asyncio.Event) -> None:
        pass


def runner(
    results: Results,
    *,
    transport: Any,
    clock: Any,
    observer: Any = None,
    max_wait: float = 900.0,
    workers: int = 1,
    journal: RunJournal | None = None,
    budget: Budget | None = None,
    poll: Callable[[], Any] | None = None,
) -> Runner:
    """Return a runner with a real recorder and limiter; everything else is a fake."""
    events = EventEmitter(observer, results, total=results.size)

    async def no_poll() -> None:
        pass

    return Runner(
        Target("wf", "v1"),
        ApiConnection(transport, clock, "current", workers),
        Recorder(results, events, journal=journal or NullRunJournal(), numbers=range(results.size)),
        settings=Settings(None, "https://api.example", "current", max_wait=max_wait),
        search=QuietSearch,  # type: ignore[arg-type]  # all of it that a runner uses
        poll=poll or no_poll,
        budget=budget,
    )


class FakeTransport:
    """Replies by a function, or from a list and then by accepting; records requests and the maximum in flight."""

    def __init__(
        self, answers: Iterable[Answer | Callable[[Request], Answer]] | Callable[[Request], Answer] = ()
    ) -> None:
        self._answers = answers if callable(answers) else list(answers)
        self.sent: list[Request] = []
        self.in_flight = 0
        self.peak = 0

    async def send(self, request: Request) -> Answer:
        self.sent.append(request)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.in_flight -= 1
        if callable(self._answers):
            return self._answers(request)
        answer = self._answers.pop(0) if self._answers else accepted
        return answer(request) if callable(answer) else answer
