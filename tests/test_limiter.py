"""Tests of the limiter against a simulated account: admission, batch sizes, pauses, polls and giving up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.api.verdicts import Cap, Retry, read_cap
from eachlabs_frames.engine.cap_memory import CapMemory
from eachlabs_frames.engine.concurrency import PROBE_AFTER, RECHECK_AFTER, RequestWindow
from eachlabs_frames.engine.limiter import HINT_TRIAL, HOLD_FOR, OPENING_SECONDS, RESERVED_TRIES, Limiter
from eachlabs_frames.journal.base import MAX_HINT_AGE, CapHint, Journal
from eachlabs_frames.journal.none import NullJournal
from tests.fakes import ManualClock

SLOW = Retry("HTTP 429: too many requests: too many starts at once", limited=True)
UNSENT = Retry("no connection (connection refused)")


RESERVED = Retry(
    "HTTP 402: insufficient balance: the estimated cost ($1.10) of this request and of your in-flight executions "
    "exceeds your current balance ($1.00). please wait for an active execution to finish or top up",
    cap=Cap(),
    reserved=True,
)


def limited(reason: str) -> Retry:
    """Return the verdict on a 429 response with this text."""
    return Retry(reason, limited=True, cap=read_cap(reason))


def full(used: int, cap: int, requested: int) -> Retry:
    """Return a refusal that states the cap and its use."""
    details = f"{used} of {cap} concurrent executions in use, {requested} more asked for"
    return limited(f"HTTP 429: concurrency limit reached: {details}")


def capped(used: int, cap: int, requested: int) -> Retry:
    """Return a refusal with the documented text, which states only the cap."""
    return limited(
        f"HTTP 429: Account rate limited: accounts with a balance of $10.00 or less are limited to {cap} concurrent "
        "executions."
    )


def vague(used: int, cap: int, requested: int) -> Retry:
    """Return a refusal that states no number."""
    return limited("HTTP 429: too many concurrent executions")


class Account:
    """An API with a cap. Executions last a random virtual time, and only a poll shows that they have settled."""

    def __init__(
        self,
        cap: int,
        *,
        refuse: Callable[[int, int, int], Retry] = full,
        duration: tuple[float, float] = (2, 30),
        tenant: int = 0,
        seed: int = 0,
    ) -> None:
        self.clock = ManualClock()
        self.cap, self.refuse, self.duration, self.tenant = cap, refuse, duration, tenant
        self.random = random.Random(seed)
        self.ends: list[float] = []
        self.known: list[float] = []
        self.others, self.until = 0, 0.0
        self.accepted: list[int] = []
        self.refused: list[int] = []
        self.polls = self.polling = 0
        self.peak = 0

    def used(self) -> int:
        """Return the executions in flight, including those of another tenant, whose number changes over time."""
        now = self.clock.now()
        self.ends = [end for end in self.ends if end > now]
        if self.tenant and now >= self.until:
            self.until = now + self.random.uniform(5, 60)
            self.others = min(self.random.randint(0, self.tenant), self.cap - len(self.ends))
        return len(self.ends) + self.others

    async def trigger(self, count: int) -> Retry | None:
        await self.clock.sleep(self.random.uniform(0.05, 0.5))
        used = self.used()
        if used + count > self.cap:
            self.refused.append(count)
            refusal = self.refuse(used, self.cap, count)
            await self.clock.sleep(self.random.uniform(0.01, 0.2))
            return refusal
        started = [self.clock.now() + self.random.uniform(*self.duration) for _ in range(count)]
        self.ends += started
        self.peak = max(self.peak, used + count)
        await self.clock.sleep(self.random.uniform(0.01, 0.2))
        self.known += started
        self.accepted.append(count)
        return None

    async def poll(self) -> None:
        self.polls += 1
        self.polling += 1
        assert self.polling == 1, "two polls at once"
        try:
            await self.clock.sleep(self.random.uniform(0.05, 0.3))
            self.known = [end for end in self.known if end > self.clock.now()]
        finally:
            self.polling -= 1


class HintJournal(NullJournal):
    """A journal that stores only a cap hint."""

    def __init__(self, hint: CapHint | None = None) -> None:
        self.hint = hint

    def cap_hint(self, account: str) -> CapHint | None:
        return self.hint

    def record_cap_hint(self, account: str, hint: CapHint | None) -> None:
        self.hint = hint


class Run:
    """Workers that send `rows` rows through a `Limiter`, like the runner."""

    def __init__(
        self, account: Account, rows: int, *, workers: int = 8, max_wait: float = 900.0, journal: Journal | None = None
    ) -> None:
        self.account, self.left, self.workers, self.max_wait = account, rows, workers, max_wait
        self.caps = CapMemory(journal or NullJournal(), "account", account.clock)
        self.messages: list[str | None] = []
        self.limiter: Limiter

    def run(self) -> Run:
        asyncio.run(self._run())
        return self

    async def _run(self) -> None:
        self.limiter = Limiter(
            self.account.clock,
            workers=self.workers,
            max_wait=self.max_wait,
            on_waiting=self.messages.append,
            in_flight=lambda: len(self.account.known),
            poll=self.account.poll,
            caps=self.caps,
        )
        await asyncio.gather(*(self._work() for _ in range(self.workers)))
        await self.caps.flush()
        assert self.limiter._reserved == 0

    async def _work(self) -> None:
        while self.left:
            batch = min(10, self.left)
            self.left -= batch
            worker = object()
            while batch:
                count = await self.limiter.acquire(worker, batch)
                if not count:
                    self.left += batch
                    return
                self._check(count)
                verdict = await self.account.trigger(count)
                if verdict is not None:
                    await self.limiter.back_off(worker, verdict, count)
                else:
                    batch -= count
                    self.limiter.release(worker, count, count)

    def _check(self, count: int) -> None:
        """Assert that nothing beyond the learned level is reserved, except by a probe of one row."""
        level = None if self.limiter._quota.is_hint else self.limiter._quota.level
        out = len(self.account.known) + self.limiter._reserved
        assert level is None or out <= level or count == 1


@pytest.mark.slow
@pytest.mark.parametrize("refuse", [full, capped, vague])
@pytest.mark.parametrize(
    ("cap", "duration", "tenant"),
    [(10, (2.0, 30.0), 0), (10, (10.0, 10.0), 0), (10, (2.0, 30.0), 8), (3, (1.0, 5.0), 0), (25, (2.0, 30.0), 0)],
)
def test_thousand_rows_are_accepted_under_a_cap(
    cap: int, duration: tuple[float, float], tenant: int, refuse: Callable[[int, int, int], Retry]
) -> None:
    """For any refusal text and with other tenants, every row is accepted with under 2 refusals per 10 requests."""
    account = Account(cap, refuse=refuse, duration=duration, tenant=tenant, seed=cap)
    run = Run(account, 1_000).run()
    assert run.limiter.exhausted is None
    assert sum(account.accepted) == 1_000
    assert account.peak <= cap
    assert len(account.refused) * 10 < len(account.accepted) * 2


@pytest.mark.parametrize("refuse", [full, vague])
def test_cap_of_one_sends_rows_one_at_a_time(refuse: Callable[[int, int, int], Retry]) -> None:
    """Every request has one row, and every row is accepted."""
    account = Account(1, refuse=refuse, duration=(0.5, 2.0))
    Run(account, 200).run()
    assert account.accepted == [1] * 200
    assert len(account.refused) * 10 < len(account.accepted) * 2


@pytest.mark.slow
def test_stated_cap_is_rarely_rechecked() -> None:
    """A cap that the API has stated is probed once in `RECHECK_AFTER` requests, in case it was raised."""
    account = Account(10)
    Run(account, 1_000).run()
    assert len(account.refused) <= 8 + len(account.accepted) // RECHECK_AFTER + 1


def test_cap_raised_during_a_run_is_learned() -> None:
    """After a top-up the run uses the higher cap."""
    account = Account(3, duration=(2.0, 10.0))

    def refuse(used: int, cap: int, requested: int) -> Retry:
        if sum(account.accepted) > 150:
            account.cap = 60
        return full(used, cap, requested)

    account.refuse = refuse
    Run(account, 1_200).run()
    assert account.peak > 40
    assert sum(account.accepted) == 1_200


# -- hints of earlier calls -------------------------------------------------------------------------------------------


def hinted(level: int, cap: int | None = None, *, age: float = 0.0) -> HintJournal:
    """Return a journal with a cap hint that an earlier call recorded `age` seconds ago."""
    return HintJournal(CapHint(level, cap, ManualClock().epoch() - age))


@pytest.mark.parametrize("refuse", [full, capped, vague])
def test_call_starts_with_the_cap_learned_by_an_earlier_call(refuse: Callable[[int, int, int], Retry]) -> None:
    """The first call learns the cap from refusals; the next one is never refused and keeps the hint."""
    journal = HintJournal()
    first = Account(10, refuse=refuse, duration=(5.0, 10.0))
    Run(first, 60, journal=journal).run()
    assert first.refused
    hint = journal.hint
    assert hint is not None
    assert hint.level <= 10
    assert hint.cap == (None if refuse is vague else 10)
    second = Account(10, refuse=refuse, duration=(5.0, 10.0))
    Run(second, 30, journal=journal).run()
    assert second.refused == []
    assert journal.hint == hint


@pytest.mark.parametrize(("level", "cap"), [(1, 1), (1, None), (10, 10), (10, None)])
def test_hint_that_is_too_low_is_dropped(level: int, cap: int | None) -> None:
    """Without refusals the hint is exceeded after `HINT_TRIAL` seconds, so a thousand rows take little longer."""
    journal, account = hinted(level, cap), Account(100_000, duration=(20.0, 20.0))
    Run(account, 1_000, journal=journal).run()
    assert account.refused == []
    assert sum(account.accepted) == 1_000
    assert account.clock.now() < 2 * HINT_TRIAL
    assert journal.hint is None


def test_hint_that_is_too_high_is_replaced() -> None:
    """The call learns the lower cap from refusals, as without a hint, and records a lower hint."""
    journal, account = hinted(500), Account(10, refuse=vague, duration=(2.0, 10.0))
    Run(account, 200, journal=journal).run()
    assert sum(account.accepted) == 200
    assert journal.hint is not None
    assert journal.hint.level < 500


def test_expired_hint_is_ignored() -> None:
    """A hint older than `MAX_HINT_AGE` does not limit the run."""
    journal, account = hinted(1, 1, age=MAX_HINT_AGE + 1), Account(1_000, duration=(20.0, 20.0))
    Run(account, 100, journal=journal).run()
    assert account.clock.now() < 10
    assert (max(account.accepted), account.polls) == (10, 0)


class Harness:
    """A limiter whose clock, executions in flight and polls are controlled by the test."""

    def __init__(self, *, workers: int = 8, max_wait: float = 900.0) -> None:
        self.clock = ManualClock()
        self.known = 0
        self.settling: list[int] = []
        self.polls = 0
        self.messages: list[str | None] = []
        self.limiter = self.new_limiter(workers, max_wait)
        # As after the first requests of a run, so that the start of a run does not affect the tests.
        self.limiter._window = RequestWindow(workers, workers)

    def new_limiter(self, workers: int, max_wait: float) -> Limiter:
        return Limiter(
            self.clock,
            workers=workers,
            max_wait=max_wait,
            on_waiting=self.messages.append,
            in_flight=lambda: self.known,
            poll=self.poll,
        )

    async def poll(self) -> None:
        self.polls += 1
        self.known -= self.settling.pop(0) if self.settling else 0

    def accept(self, worker: object, count: int) -> None:
        """Simulate that the API accepts the rows that `worker` has sent."""
        self.known += count
        self.limiter.release(worker, count, count)

    async def learn(self, cap: int, *, out: int) -> None:
        """Have the limiter learn the cap from a past refusal, and set `out` executions in flight."""
        assert await self.limiter.acquire("refused", 10) == 10
        self.known = cap
        await self.limiter.back_off("refused", full(cap, cap, 10), 10)
        self.known = out
        self.limiter.abandon("refused")
        self.limiter._tries, self.limiter._until, self.limiter._stale, self.limiter._waiting_since = 0, 0.0, False, None

    def acquire(self, worker: object, wanted: int = 10) -> asyncio.Task[int]:
        return asyncio.ensure_future(self.limiter.acquire(worker, wanted))


async def yield_to_loop(count: int = 20) -> None:
    """Let other tasks run without advancing the clock: `ManualClock` advances after 30 idle turns."""
    for _ in range(count):
        await asyncio.sleep(0)


def scenario(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a coroutine as a test, and assert that it leaves no task running."""

    async def checked() -> None:
        await test()
        await yield_to_loop(3)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def run() -> None:
        asyncio.run(checked())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@scenario
async def test_acquire_does_not_wait_without_refusals() -> None:
    """Without refusals a worker is admitted without yielding to the loop, and no wait is reported."""
    harness = Harness(workers=8)
    for round_ in range(50):
        for worker in range(8):
            with pytest.raises(StopIteration) as passed:
                harness.limiter.acquire(worker, 10).send(None)
            assert passed.value.value == 10
        for worker in range(8):
            harness.accept(worker, 10)
        assert harness.known == 80 * (round_ + 1)
    assert (harness.messages, harness.polls, harness.clock.slept) == ([], 0, [])


@scenario
async def test_one_worker_retries_before_a_slow_start() -> None:
    """Eight refusals cause one pause and one cut; then 1, 2 and 4 requests run at once, and one more per round."""
    harness = Harness()
    for worker in range(8):
        await harness.limiter.acquire(worker, 10)
    for worker in range(8):
        assert await harness.limiter.back_off(worker, SLOW, 10)
    tasks = {worker: harness.acquire(worker) for worker in range(8)}
    sizes: list[int] = []
    while len(sizes) < 9:
        await yield_to_loop(100)
        admitted = [worker for worker, task in tasks.items() if task.done()]
        sizes.append(len(admitted))
        for worker in admitted:
            harness.accept(worker, 10)
            tasks[worker] = harness.acquire(worker)
    assert harness.clock.slept == [0.5]
    assert sizes == [1, 2, 4, 5, 6, 7, 8, 8, 8]
    harness.limiter.end()
    await asyncio.gather(*tasks.values())


@scenario
async def test_worker_refused_first_retries_alone() -> None:
    """All other workers, including new ones, wait until the retry's response arrives."""
    harness = Harness()
    for worker in "ab":
        await harness.limiter.acquire(worker, 10)
    await harness.limiter.back_off("b", SLOW, 10)
    await harness.limiter.back_off("a", SLOW, 10)
    tasks = [harness.acquire(worker) for worker in "acdb"]
    await yield_to_loop(100)
    assert [task.done() for task in tasks] == [False, False, False, True]
    harness.accept("b", 10)
    await yield_to_loop()
    assert [task.done() for task in tasks] == [True, True, False, True]
    harness.limiter.end()
    await asyncio.gather(*tasks)


@scenario
async def test_late_refusal_of_the_same_burst_does_not_cut_again() -> None:
    """A request sent before the cut and refused after the pause does not reduce the window again."""
    harness = Harness()
    for worker in range(8):
        await harness.limiter.acquire(worker, 10)
    await harness.limiter.back_off(0, SLOW, 10)
    assert await harness.limiter.acquire(0, 10) == 10
    harness.accept(0, 10)
    await harness.limiter.back_off(7, SLOW, 10)
    assert harness.limiter._window.slow_until == 4
    harness.limiter.end()


@scenario
async def test_new_refusal_after_the_pause_cuts_again() -> None:
    """A request admitted after the last cut and refused halves the window size reached."""
    harness = Harness()
    for _ in range(2):
        before = harness.limiter._window.size
        assert await harness.limiter.acquire(0, 10) == 10
        await harness.limiter.back_off(0, SLOW, 10)
        assert harness.limiter._window.slow_until == max(1, before // 2)
        await harness.limiter.acquire(0, 10)
        harness.accept(0, 10)
    harness.limiter.end()


@scenario
async def test_failed_connection_pauses_without_a_cut() -> None:
    """An API that cannot be reached gives no information about its limits, so the window keeps its size."""
    harness = Harness()
    await harness.limiter.acquire(0, 10)
    for _ in range(3):
        assert await harness.limiter.back_off(0, UNSENT, 10)
        assert await harness.limiter.acquire(0, 10) == 10
    harness.accept(0, 10)
    assert harness.clock.slept == [0.5, 1.0, 2.0]
    assert harness.limiter._window.size == 8
    assert harness.messages[-1] is None


@scenario
async def test_retries_shrink_after_unrecognized_refusals() -> None:
    """If the refusal's text is not recognized as a cap, the batch is halved until it is accepted."""
    harness = Harness()
    sizes = []
    for _ in range(7):
        sizes.append(await harness.limiter.acquire(0, 10))
        await harness.limiter.back_off(0, SLOW, sizes[-1])
    assert sizes == [10, 10, 10, 5, 2, 1, 1]
    await harness.limiter.acquire(0, 10)
    harness.accept(0, 1)
    assert await harness.limiter.acquire(0, 10) == 10
    harness.accept(0, 10)


@pytest.mark.parametrize("verdict", [SLOW, full(10, 10, 10), vague(10, 10, 10), UNSENT])
@pytest.mark.parametrize("own", [0, 10])
def test_retry_after_is_a_floor(verdict: Retry, own: int) -> None:
    """No worker retries earlier than the API's Retry-After, for any kind of refusal."""

    @scenario
    async def test() -> None:
        harness = Harness()
        harness.settling = [3]
        await harness.limiter.acquire(0, 10)
        harness.known = own
        await harness.limiter.back_off(0, Retry(verdict.reason, 30.0, verdict.limited), 10)
        assert harness.messages == [f"{verdict.reason}; retrying in 30 s"]
        assert await harness.limiter.acquire(0, 10) > 0
        assert harness.clock.time >= 30
        harness.accept(0, 1)

    test()


@scenario
async def test_longest_retry_after_of_all_workers_applies() -> None:
    """The pause lasts as long as the longest Retry-After of any response."""
    harness = Harness()
    for worker in range(2):
        await harness.limiter.acquire(worker, 10)
    await harness.limiter.back_off(0, SLOW, 10)
    await harness.limiter.back_off(1, Retry(SLOW.reason, 20.0, limited=True), 10)
    await harness.limiter.acquire(0, 10)
    assert harness.clock.time == 20
    harness.limiter.end()


@scenario
async def test_limiter_polls_at_the_cap_until_a_full_batch_fits() -> None:
    """With ten of ten in flight it only polls until all have settled; then ten rows are sent in one request."""
    harness = Harness()
    harness.settling = [0, 0, 0, 3, 3, 4]
    await harness.limiter.acquire(0, 10)
    harness.known = 10
    assert await harness.limiter.back_off(0, capped(10, 10, 10), 10)
    assert await harness.limiter.acquire(0, 10) == 10
    assert harness.polls == 6
    assert harness.messages == [f"waiting for {count} of 10 concurrent executions to settle" for count in (10, 7, 4)]
    harness.accept(0, 10)
    assert harness.messages[3:] == [None]


@scenario
async def test_long_execution_delays_a_batch_only_once() -> None:
    """With nine of ten slots free, nine rows are sent after a hold; the next nine as soon as nine have settled."""
    harness = Harness()
    await harness.learn(10, out=10)
    harness.settling = [9]
    assert await harness.limiter.acquire(0, 10) == 9
    assert harness.clock.time > HOLD_FOR
    harness.accept(0, 9)
    harness.settling = [9]
    before = harness.polls
    assert await harness.limiter.acquire(0, 10) == 9
    assert harness.polls == before + 1
    harness.limiter.end()


@scenario
async def test_batch_is_held_for_max_wait_at_most() -> None:
    """A short max_wait ends the hold but not the run if there is room for some rows."""
    harness = Harness(max_wait=1.0)
    await harness.learn(10, out=6)
    assert await harness.limiter.acquire(0, 10) == 4
    assert harness.limiter.exhausted is None
    harness.limiter.end()


@scenario
async def test_poll_interval_grows_until_an_execution_settles() -> None:
    """The interval grows from 0.25 s by half each time up to 10 s, and is reset when an execution settles."""
    harness = Harness()
    await harness.learn(10, out=10)
    harness.settling = [0] * 12 + [1]
    assert await harness.limiter.acquire(0, 1) == 1
    assert harness.clock.slept == [pytest.approx(min(10, 0.25 * 1.5**poll)) for poll in range(13)]
    harness.settling = [1]
    harness.accept(0, 1)
    assert await harness.limiter.acquire(0, 1) == 1
    assert harness.clock.slept[-1] == 0.25
    harness.limiter.end()


@scenario
async def test_limiter_backs_off_if_others_use_the_cap() -> None:
    """Without executions of its own in flight, it does not poll and pauses with the usual backoff."""
    harness = Harness()
    sizes = []
    for _ in range(4):
        sizes.append(await harness.limiter.acquire(0, 10))
        await harness.limiter.back_off(0, full(10, 10, sizes[-1]), sizes[-1])
    assert await harness.limiter.acquire(0, 10) == 1
    assert sizes == [10, 1, 1, 1]
    assert (harness.polls, harness.clock.slept) == (0, [0.5, 1.0, 2.0, 4.0])
    harness.limiter.end()


@scenario
async def test_workers_together_do_not_exceed_the_cap() -> None:
    """Reserved rows count: with four of ten slots free, four rows are admitted over all workers."""
    harness = Harness()
    await harness.learn(10, out=6)
    harness.limiter._window = harness.limiter._window.__class__(8, 8)
    tasks = [harness.acquire(worker, 3) for worker in range(8)]
    await yield_to_loop(500)
    assert [task.result() for task in tasks if task.done()] == [3, 1]
    harness.limiter.end()
    await asyncio.gather(*tasks)
    for worker in range(8):
        harness.limiter.abandon(worker)
    assert harness.limiter._reserved == 0


@scenario
async def test_only_one_worker_polls_at_a_time() -> None:
    """Eight waiting workers share one poll, and the slots it frees go to the first in the queue."""
    harness = Harness()
    await harness.learn(10, out=10)
    harness.limiter._window = harness.limiter._window.__class__(8, 8)
    harness.settling = [0, 2]
    tasks = [harness.acquire(worker, 2) for worker in range(8)]
    while not tasks[0].done():
        await asyncio.sleep(0)
    assert harness.polls == 2
    assert [task.done() for task in tasks] == [True] + [False] * 7
    harness.limiter.end()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("cap", "out", "settling", "sent"),
    [(100, 99, [8], 9), (100, 99, [], 1), (100, 90, [], 10), (10, 9, [8], 9), (10, 9, [9], 10), (2, 1, [1], 2)],
)
def test_partial_batch_is_held_for_a_while(cap: int, out: int, settling: list[int], sent: int) -> None:
    """The limiter waits until the batch fits or nothing has settled for a while, and then admits what fits."""

    @scenario
    async def test() -> None:
        harness = Harness()
        await harness.learn(cap, out=out)
        harness.settling = list(settling)
        assert await harness.limiter.acquire(0, 10) == sent
        assert (harness.clock.time > HOLD_FOR) == (sent < min(10, cap))
        harness.limiter.end()

    test()


@scenario
async def test_max_wait_ends_the_run_for_all_workers() -> None:
    """If nothing is accepted or settles for max_wait seconds, all workers get 0 rows and the reason is recorded."""
    harness = Harness(max_wait=60)
    await harness.learn(10, out=10)
    tasks = [harness.acquire(worker) for worker in range(4)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        for worker, task in enumerate(tasks):
            if task.done() and task.result() and await harness.limiter.back_off(worker, full(10, 10, 1), 1):
                tasks[worker] = harness.acquire(worker)
    assert not any(task.result() for task in tasks if task.result() != 1)
    assert harness.limiter.exhausted is not None
    assert "10 of 10" in harness.limiter.exhausted
    assert 59 < harness.clock.time <= 60
    assert await harness.limiter.acquire("late", 10) == 0
    assert not await harness.limiter.back_off("later", SLOW, 10)


@scenario
async def test_retry_after_beyond_max_wait_ends_the_run() -> None:
    """The run ends at once, and the reason states both durations."""
    harness = Harness(max_wait=60)
    await harness.limiter.acquire(0, 10)
    assert not await harness.limiter.back_off(0, Retry(SLOW.reason, 3600.0, limited=True), 10)
    assert harness.limiter.exhausted == f"the API asks to wait 3600 s, more than max_wait=60 s: {SLOW.reason}"
    assert harness.clock.slept == []


@scenario
async def test_settled_execution_resets_max_wait() -> None:
    """A poll that frees a slot counts as progress, even if the run cannot send for longer than max_wait."""
    harness = Harness(max_wait=60)
    await harness.learn(10, out=20)
    harness.settling = ([0] * 7 + [1]) * 11
    assert await harness.limiter.acquire(0, 10) == 1
    assert harness.clock.time > 60
    assert harness.limiter.exhausted is None
    harness.limiter.end()


@scenario
async def test_accepted_request_resets_max_wait() -> None:
    """Ten pauses of 15 s with an accepted request after each do not exceed a max_wait of 20 s."""
    harness = Harness(max_wait=20)
    for _ in range(10):
        await harness.limiter.acquire(0, 10)
        assert await harness.limiter.back_off(0, Retry(SLOW.reason, 15.0, limited=True), 10)
        await harness.limiter.acquire(0, 10)
        harness.accept(0, 10)
    assert harness.clock.time == 150


@scenario
async def test_single_row_probes_while_nothing_settles() -> None:
    """Other users may have freed slots: a run whose own execution hangs probes with one row before it gives up."""
    harness = Harness(max_wait=100)
    await harness.limiter.acquire(0, 10)
    harness.known = 1
    await harness.limiter.back_off(0, full(10, 10, 10), 10)
    probes = []
    while await harness.limiter.acquire(0, 10) == 1:
        probes.append(harness.clock.time)
        await harness.limiter.back_off(0, full(10, 10, 1), 1)
    assert len(probes) == 4
    assert harness.limiter.exhausted is not None


@scenario
async def test_release_without_executions_frees_the_reservation() -> None:
    """Rejected inputs, lost responses and rows that were never sent hold no slot."""
    harness = Harness()
    await harness.learn(10, out=0)
    for sent, accepted in ((10, 0), (10, 0), (0, 0)):
        assert await harness.limiter.acquire(0, 10) == 10
        harness.limiter.release(0, sent, accepted)
    harness.limiter.release(0, 10, 10)
    assert harness.limiter._reserved == 0
    assert harness.limiter._accepted == 0


@scenario
async def test_end_returns_zero_to_all_waiting_workers() -> None:
    """Workers in the queue or in a poll that hangs return 0 at once, without time passing."""
    harness = Harness()
    await harness.learn(10, out=10)
    hung = asyncio.Event()

    async def hanging() -> None:
        hung.set()
        await asyncio.Event().wait()

    harness.limiter._poll = hanging
    tasks = [harness.acquire(worker) for worker in range(4)]
    await hung.wait()
    before = harness.clock.time
    harness.limiter.end()
    assert await asyncio.gather(*tasks) == [0] * 4
    assert harness.clock.time == before
    assert harness.limiter.exhausted is None


@scenario
async def test_end_interrupts_a_pause() -> None:
    """A worker in a Retry-After pause returns 0 at once when the run ends."""
    harness = Harness()
    await harness.limiter.acquire(0, 10)
    await harness.limiter.back_off(0, Retry(SLOW.reason, 600.0, limited=True), 10)
    waiting = harness.acquire(0)
    await yield_to_loop(5)
    harness.limiter.end()
    assert await waiting == 0
    assert harness.clock.time == 0


@scenario
async def test_pause_of_a_cancelled_worker_passes_to_the_next() -> None:
    """The next worker in the queue waits for the rest of the pause, so Retry-After applies and no worker hangs."""
    harness = Harness()
    await harness.limiter.acquire("owner", 10)
    await harness.limiter.back_off("owner", Retry(SLOW.reason, 30.0, limited=True), 10)
    owner, second, third = harness.acquire("owner"), harness.acquire("second"), harness.acquire("third")
    await yield_to_loop(5)
    owner.cancel()
    assert await second == 10
    assert harness.clock.time == 30
    await yield_to_loop(100)
    assert not third.done()
    harness.accept("second", 10)
    assert await third == 10
    harness.limiter.abandon("third")
    assert harness.limiter._reserved == 0


@scenario
async def test_pause_of_an_abandoned_worker_passes_to_the_next() -> None:
    """If a worker ends between its refusal and its retry, the next worker in the queue retries instead."""
    harness = Harness()
    await harness.limiter.acquire("owner", 10)
    await harness.limiter.back_off("owner", SLOW, 10)
    second = harness.acquire("second")
    await yield_to_loop()
    harness.limiter.abandon("owner")
    assert await second == 10
    harness.accept("second", 10)
    assert await harness.limiter.acquire("third", 10) == 10


@scenario
async def test_worker_cancelled_during_its_poll_is_replaced() -> None:
    """The next worker in the queue polls instead."""
    harness = Harness()
    await harness.learn(10, out=10)
    harness.settling = [0, 0, 5]
    first, second = harness.acquire(1), harness.acquire(2)
    await yield_to_loop(5)
    first.cancel()
    assert await second == 5
    harness.limiter.end()


@scenario
async def test_poll_precedes_the_retry_after_a_cap_refusal() -> None:
    """The known executions may be out of date: the limiter polls once and then admits all rows that fit."""
    harness = Harness()
    await harness.limiter.acquire(0, 10)
    harness.known = 3
    await harness.limiter.back_off(0, full(3, 10, 10), 10)
    assert await harness.limiter.acquire(0, 7) == 7
    assert harness.polls == 1
    harness.accept(0, 3)
    assert await harness.limiter.acquire(0, 4) == 4
    assert harness.polls == 1
    harness.limiter.end()


@scenario
async def test_learned_cap_includes_rows_of_other_requests() -> None:
    """With five rows in flight and ten reserved, refusing ten more does not lower the level below those fifteen."""
    harness = Harness()
    await harness.limiter.acquire("other", 10)
    await harness.limiter.acquire(0, 10)
    harness.known = 5
    await harness.limiter.back_off(0, vague(0, 0, 0), 10)
    assert harness.limiter._quota.level == 20
    harness.limiter.end()


@scenario
async def test_worker_waits_for_responses_while_nothing_is_in_flight() -> None:
    """If all slots are reserved and no execution is in flight, there is nothing to poll."""
    harness = Harness()
    await harness.learn(10, out=0)
    harness.limiter._window = harness.limiter._window.__class__(8, 8)
    assert await harness.limiter.acquire("first", 10) == 10
    second = harness.acquire("second")
    await yield_to_loop(200)
    assert (second.done(), harness.polls) == (False, 0)
    harness.limiter.release("first", 10, 0)
    assert await second == 10
    harness.limiter.end()


@scenario
async def test_end_of_a_wait_is_reported() -> None:
    """A wait for free slots is reported as ended, and the same message is not reported twice."""
    harness = Harness()
    await harness.learn(10, out=10)
    harness.settling = [0, 0, 1]
    await harness.limiter.acquire(0, 1)
    assert harness.messages == ["waiting for 10 of 10 concurrent executions to settle", None]
    harness.limiter.end()


@scenario
async def test_executions_accepted_during_a_poll_do_not_hide_those_that_settled() -> None:
    """Two settled executions count as progress even if three were accepted during the same poll."""
    harness = Harness()
    await harness.learn(10, out=10)

    async def poll() -> None:
        harness.limiter._reserve("other", 3)
        harness.known -= 2
        harness.accept("other", 3)
        harness.limiter._poll = harness.poll
        harness.limiter._waiting_since = -100.0

    harness.limiter._poll = poll
    waiting = harness.acquire(0)
    while harness.limiter._waiting_since != 0.25:
        assert harness.clock.time < 1
        await asyncio.sleep(0)
    harness.limiter.end()
    await waiting


@scenario
async def test_release_of_unsent_rows_is_not_progress() -> None:
    """A worker with nothing left to send affects neither the pause nor max_wait."""
    harness = Harness()
    await harness.limiter.acquire("idle", 10)
    await harness.limiter.acquire(0, 10)
    await harness.limiter.back_off(0, SLOW, 10)
    harness.limiter.release("idle", 0, 0)
    assert harness.limiter._waiting_since == 0.0
    harness.limiter.end()


@pytest.mark.parametrize(("cap", "max_requests"), [(10, 9), (2, 33), (1, 63)])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("duration", [(0.2, 0.6), (0.5, 2.0), (2.0, 6.0)])
def test_sixty_rows_take_few_requests_against_a_cap(
    cap: int, max_requests: int, seed: int, duration: tuple[float, float]
) -> None:
    """The documented text states the cap: a few requests are refused at first, and later requests are full."""
    account = Account(cap, refuse=capped, duration=duration, seed=seed)
    Run(account, 60).run()
    assert sum(account.accepted) == 60
    assert len(account.accepted) + len(account.refused) <= max_requests


@scenario
async def test_run_starts_with_two_requests() -> None:
    """All workers send once the first two requests have responses, even if their inputs were rejected."""
    harness = Harness()
    harness.limiter = harness.new_limiter(8, 900.0)
    tasks = [harness.acquire(worker) for worker in range(8)]
    await yield_to_loop()
    assert [task.done() for task in tasks] == [True] * 2 + [False] * 6
    harness.accept(0, 10)
    harness.limiter.release(1, 10, 0)
    await asyncio.gather(*tasks)
    assert harness.clock.time == 0.0
    harness.limiter.end()


@scenario
async def test_first_requests_delay_the_others_for_opening_seconds_at_most() -> None:
    """Their responses may be lost, and the other workers do not wait for a timeout of a minute."""
    harness = Harness()
    harness.limiter = harness.new_limiter(8, 900.0)
    assert await asyncio.gather(*(harness.acquire(worker) for worker in range(8))) == [10] * 8
    assert harness.clock.time == OPENING_SECONDS
    harness.limiter.end()


@scenario
async def test_402_about_reserved_balance_waits_for_executions_in_flight() -> None:
    """They are polled, the wait is reported, and the run continues when they have settled."""
    harness = Harness()
    await harness.limiter.acquire(0, 10)
    harness.known = 10
    harness.settling = [0, 0, 10]
    assert await harness.limiter.back_off(0, RESERVED, 10)
    assert await harness.limiter.acquire(0, 10) == 10
    assert harness.polls == 3
    assert harness.messages == [
        "waiting for 10 of 15 concurrent executions to settle, which releases their part of the balance "
        f"({RESERVED.reason})"
    ]
    harness.accept(0, 10)
    assert harness.messages[1:] == [None]


@scenario
async def test_402_about_reserved_balance_stops_a_run_without_executions() -> None:
    """It stops after a few smaller tries, as the API may release the balance late or only for a part of a request."""
    harness = Harness()
    sizes = [await harness.limiter.acquire(0, 10)]
    while await harness.limiter.back_off(0, RESERVED, sizes[-1]):
        sizes.append(await harness.limiter.acquire(0, 10))
    assert sizes == [10, 5, 2, 1]
    assert len(sizes) == RESERVED_TRIES + 1
    assert harness.limiter.exhausted is not None
    assert harness.limiter.exhausted.startswith(
        "no execution of this run is in flight that could release a part of the balance: HTTP"
    )
    assert harness.polls == 0


@scenario
async def test_402_that_waiting_does_not_clear_ends_after_max_wait() -> None:
    """If the run's executions never settle, it makes a few tries with one row and gives up after max_wait."""
    harness = Harness(max_wait=100)
    await harness.limiter.acquire(0, 10)
    harness.known = 3
    await harness.limiter.back_off(0, RESERVED, 10)
    tries = 0
    while count := await harness.limiter.acquire(0, 10):
        tries += 1
        await harness.limiter.back_off(0, RESERVED, count)
    assert tries <= 7
    assert harness.clock.time <= 100
    assert harness.limiter.exhausted == f"gave up after max_wait=100 s: {RESERVED.reason}"


@pytest.mark.parametrize("stated", ["a cap of 0", "0 concurrent executions"])
def test_cap_of_zero_ends_after_max_wait(stated: str) -> None:
    """A stated cap of zero is not learned, and the run gives up after max_wait."""

    @scenario
    async def test() -> None:
        harness = Harness(max_wait=60)
        refusal = limited(f"HTTP 429: concurrency: you are limited to {stated}")
        assert refusal.cap == Cap()
        while count := await harness.limiter.acquire(0, 10):
            await harness.limiter.back_off(0, refusal, count)
        assert harness.clock.time <= 60
        assert harness.limiter.exhausted is not None

    test()


def test_cap_lowered_during_a_run_is_learned() -> None:
    """If the balance falls below a limit, the lower cap is learned from a few refusals and every row is accepted."""
    account = Account(25, refuse=capped, duration=(1.0, 4.0))

    def refuse(used: int, cap: int, requested: int) -> Retry:
        if sum(account.accepted) > 100:
            account.cap = 4
        return capped(used, account.cap, requested)

    account.refuse = refuse
    run = Run(account, 300).run()
    assert sum(account.accepted) == 300
    assert run.limiter.exhausted is None


def test_mixed_429_and_402_refusals_lose_no_row() -> None:
    """With a cap and a reserved balance, both are waited for and every row is accepted."""
    account = Account(10, refuse=capped, duration=(1.0, 4.0))
    account.refuse = lambda used, cap, requested: account.random.choice([capped(used, cap, requested), RESERVED, SLOW])
    run = Run(account, 300).run()
    assert sum(account.accepted) == 300
    assert run.limiter.exhausted is None
    assert account.peak <= 10


KINDS = st.sampled_from(
    [SLOW, UNSENT, RESERVED, full(3, 10, 5), full(0, 2, 5), vague(0, 0, 0), Retry("HTTP 429", 4.0, True)]
)
STEPS = st.tuples(
    st.integers(0, 4),
    st.sampled_from(["acquire", "acquire", "acquire", "cancel", "accept", "lose", "refuse", "abandon", "wait"]),
    KINDS,
)


class RandomWorkers(Harness):
    """Five workers that acquire, are cancelled, get responses and are refused in any order, and their reservations."""

    def __init__(self) -> None:
        super().__init__(max_wait=1e9)
        self.held: dict[int, int] = {}
        self.acquiring: dict[int, asyncio.Task[int]] = {}

    async def poll(self) -> None:
        self.known = max(0, self.known - 1)

    async def step(self, worker: int, action: str, verdict: Retry) -> None:
        if action == "wait":
            await yield_to_loop(60)
        elif worker in self.acquiring:
            if action == "cancel":
                self.acquiring[worker].cancel()
        elif worker not in self.held:
            if action == "acquire":
                self.acquiring[worker] = self.acquire(worker)
        elif action != "acquire" and action != "cancel":
            await self.release(worker, action, verdict)
        await self.collect()

    async def release(self, worker: int, action: str, verdict: Retry) -> None:
        count = self.held.pop(worker)
        if action == "accept":
            self.accept(worker, count)
        elif action == "lose":
            self.limiter.release(worker, count, 0)
        elif action == "refuse":
            await self.limiter.back_off(worker, verdict, count)
        else:
            self.limiter.abandon(worker)

    async def collect(self) -> None:
        await yield_to_loop(6)
        for worker, task in list(self.acquiring.items()):
            if task.done():
                del self.acquiring[worker]
                if not task.cancelled():
                    self.held[worker] = task.result()
        assert self.limiter._reserved == sum(self.held.values())
        assert set(self.limiter._reservations) == set(self.held)

    async def abandon_others(self, survivor: int) -> None:
        """Cancel and abandon all workers except `survivor`."""
        for worker in set(range(5)) - {survivor}:
            if worker in self.acquiring:
                self.acquiring[worker].cancel()
        await self.collect()
        for worker in set(range(5)) - {survivor}:
            self.held.pop(worker, None)
            self.limiter.abandon(worker)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=60), survivor=st.integers(0, 4))
def test_cancelled_worker_leaves_no_reservation_and_blocks_no_other(
    steps: list[tuple[int, str, Retry]], survivor: int
) -> None:
    """After each step the reservations equal the rows the workers hold, and the last worker is admitted at the end."""

    @scenario
    async def test() -> None:
        harness = RandomWorkers()
        for worker, action, verdict in steps:
            await harness.step(worker, action, verdict)
        await harness.abandon_others(survivor)
        if survivor not in harness.held:
            assert await asyncio.wait_for(harness.acquiring.get(survivor) or harness.acquire(survivor), 30) > 0
        harness.limiter.abandon(survivor)
        assert harness.limiter._reserved == 0
        assert not harness.limiter._queue

    test()


@pytest.mark.slow
def test_estimated_cap_is_probed_once_in_ten_requests_at_most() -> None:
    """If refusals state no number, at most one request in `PROBE_AFTER` is refused after the cap is learned."""
    account = Account(10, refuse=vague)
    Run(account, 1_000).run()
    assert len(account.refused) <= 8 + 5 + len(account.accepted) // PROBE_AFTER
