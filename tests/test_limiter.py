"""The limiter against an account of our own: who is let through, with how much, and when it stops asking."""

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
    """Refuse with a 429, as `core.wire.judge` reads it."""
    return Retry(reason, limited=True, cap=read_cap(reason))


def full(used: int, cap: int, asked: int) -> Retry:
    """Refuse with the cap and what is used of it."""
    details = f"{used} of {cap} concurrent executions in use, {asked} more asked for"
    return limited(f"HTTP 429: concurrency limit reached: {details}")


def capped(used: int, cap: int, asked: int) -> Retry:
    """Refuse with the documented text: the cap's number alone."""
    return limited(
        f"HTTP 429: Account rate limited: accounts with a balance of $10.00 or less are limited to {cap} concurrent "
        "executions."
    )


def vague(used: int, cap: int, asked: int) -> Retry:
    """Refuse without a number."""
    return limited("HTTP 429: too many concurrent executions")


class Account:
    """An API with a cap, and this run's executions: each lasts a random virtual time, and only a poll shows its end."""

    def __init__(
        self,
        cap: int,
        *,
        words: Callable[[int, int, int], Retry] = full,
        lasts: tuple[float, float] = (2, 30),
        tenant: int = 0,
        seed: int = 0,
    ) -> None:
        self.clock = ManualClock()
        self.cap, self.words, self.lasts, self.tenant = cap, words, lasts, tenant
        self.random = random.Random(seed)
        self.ends: list[float] = []
        self.known: list[float] = []
        self.others, self.until = 0, 0.0
        self.accepted: list[int] = []
        self.refused: list[int] = []
        self.polls = self.polling = 0
        self.peak = 0

    def used(self) -> int:
        """Count what runs, ours and the other tenant's, who takes or leaves slots now and then."""
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
            answer = self.words(used, self.cap, count)
            await self.clock.sleep(self.random.uniform(0.01, 0.2))
            return answer
        started = [self.clock.now() + self.random.uniform(*self.lasts) for _ in range(count)]
        self.ends += started
        self.peak = max(self.peak, used + count)
        await self.clock.sleep(self.random.uniform(0.01, 0.2))
        self.known += started
        self.accepted.append(count)
        return None

    async def poll(self) -> None:
        self.polls += 1
        self.polling += 1
        assert self.polling == 1, "two look at once"
        try:
            await self.clock.sleep(self.random.uniform(0.05, 0.3))
            self.known = [end for end in self.known if end > self.clock.now()]
        finally:
            self.polling -= 1


class HintJournal(NullJournal):
    """A journal that keeps one cap hint, and nothing else."""

    def __init__(self, hint: CapHint | None = None) -> None:
        self.hint = hint

    def cap_hint(self, account: str) -> CapHint | None:
        return self.hint

    def record_cap_hint(self, account: str, hint: CapHint | None) -> None:
        self.hint = hint


class Run:
    """Workers that bring `rows` rows through a `Limiter`, as the runner does."""

    def __init__(
        self, account: Account, rows: int, *, workers: int = 8, max_wait: float = 900.0, journal: Journal | None = None
    ) -> None:
        self.account, self.left, self.workers, self.max_wait = account, rows, workers, max_wait
        self.caps = CapMemory(journal or NullJournal(), "account", account.clock)
        self.told: list[str | None] = []
        self.limiter: Limiter

    def run(self) -> Run:
        asyncio.run(self._run())
        return self

    async def _run(self) -> None:
        self.limiter = Limiter(
            self.account.clock,
            workers=self.workers,
            max_wait=self.max_wait,
            on_waiting=self.told.append,
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
        """No reservation beyond what is learned, except for a retry with one row that tests whether it still holds."""
        level = None if self.limiter._quota.is_hint else self.limiter._quota.level
        out = len(self.account.known) + self.limiter._reserved
        assert level is None or out <= level or count == 1


@pytest.mark.slow
@pytest.mark.parametrize("words", [full, capped, vague])
@pytest.mark.parametrize(
    ("cap", "lasts", "tenant"),
    [(10, (2.0, 30.0), 0), (10, (10.0, 10.0), 0), (10, (2.0, 30.0), 8), (3, (1.0, 5.0), 0), (25, (2.0, 30.0), 0)],
)
def test_a_thousand_rows_get_through_a_cap(
    cap: int, lasts: tuple[float, float], tenant: int, words: Callable[[int, int, int], Retry]
) -> None:
    """Whatever the words and whoever else is there: every row is accepted, and under 2 requests refused per 10."""
    account = Account(cap, words=words, lasts=lasts, tenant=tenant, seed=cap)
    run = Run(account, 1_000).run()
    assert run.limiter.exhausted is None
    assert sum(account.accepted) == 1_000
    assert account.peak <= cap
    assert len(account.refused) * 10 < len(account.accepted) * 2


@pytest.mark.parametrize("words", [full, vague])
def test_a_cap_of_one_is_a_queue(words: Callable[[int, int, int], Retry]) -> None:
    """One row at a time, and no row lost."""
    account = Account(1, words=words, lasts=(0.5, 2.0))
    Run(account, 200).run()
    assert account.accepted == [1] * 200
    assert len(account.refused) * 10 < len(account.accepted) * 2


@pytest.mark.slow
def test_a_stated_cap_is_rarely_tested_again() -> None:
    """Once the API named its cap, it is tried again once in fifty requests, in case it was raised."""
    account = Account(10)
    Run(account, 1_000).run()
    assert len(account.refused) <= 8 + len(account.accepted) // RECHECK_AFTER + 1


def test_a_cap_that_is_raised_during_a_run_is_learned() -> None:
    """After a top-up the run uses what it is allowed now."""
    account = Account(3, lasts=(2.0, 10.0))

    def words(used: int, cap: int, asked: int) -> Retry:
        if sum(account.accepted) > 150:
            account.cap = 60
        return full(used, cap, asked)

    account.words = words
    Run(account, 1_200).run()
    assert account.peak > 40
    assert sum(account.accepted) == 1_200


# -- hints of earlier calls -------------------------------------------------------------------------------------------


def hinted(level: int, cap: int | None = None, *, age: float = 0.0) -> HintJournal:
    """Return a journal in which a call has left what it had learned, `age` seconds ago."""
    return HintJournal(CapHint(level, cap, ManualClock().epoch() - age))


@pytest.mark.parametrize("words", [full, capped, vague])
def test_a_call_begins_with_what_an_earlier_one_has_learned(words: Callable[[int, int, int], Retry]) -> None:
    """The first call learns the cap by refusals; the next one meets none, and keeps what was learned."""
    journal = HintJournal()
    first = Account(10, words=words, lasts=(5.0, 10.0))
    Run(first, 60, journal=journal).run()
    assert first.refused
    hint = journal.hint
    assert hint is not None
    assert hint.level <= 10
    assert hint.cap == (None if words is vague else 10)
    second = Account(10, words=words, lasts=(5.0, 10.0))
    Run(second, 30, journal=journal).run()
    assert second.refused == []
    assert journal.hint == hint


@pytest.mark.parametrize(("level", "cap"), [(1, 1), (1, None), (10, 10), (10, None)])
def test_a_hint_that_is_too_low_is_found_out(level: int, cap: int | None) -> None:
    """No row is refused, so after `HINT_TRIAL` more is tried: a thousand rows take little longer than these seconds."""
    journal, account = hinted(level, cap), Account(100_000, lasts=(20.0, 20.0))
    Run(account, 1_000, journal=journal).run()
    assert account.refused == []
    assert sum(account.accepted) == 1_000
    assert account.clock.now() < 2 * HINT_TRIAL
    assert journal.hint is None


def test_a_hint_that_is_too_high_is_replaced() -> None:
    """The cap is lower now: the call learns it as one without a hint does, and leaves a lower hint behind."""
    journal, account = hinted(500), Account(10, words=vague, lasts=(2.0, 10.0))
    Run(account, 200, journal=journal).run()
    assert sum(account.accepted) == 200
    assert journal.hint is not None
    assert journal.hint.level < 500


def test_a_hint_that_is_an_hour_old_is_not_used() -> None:
    """Nothing is held back by it, and it stays until something else is learned."""
    journal, account = hinted(1, 1, age=MAX_HINT_AGE + 1), Account(1_000, lasts=(20.0, 20.0))
    Run(account, 100, journal=journal).run()
    assert account.clock.now() < 10
    assert (max(account.accepted), account.polls) == (10, 0)


class Desk:
    """A limiter with hands on everything that it sees."""

    def __init__(self, *, workers: int = 8, max_wait: float = 900.0) -> None:
        self.clock = ManualClock()
        self.known = 0
        self.settling: list[int] = []
        self.polls = 0
        self.told: list[str | None] = []
        self.limiter = self.new_limiter(workers, max_wait)
        # As after the first requests of a run: what these tests are about begins then.
        self.limiter._window = RequestWindow(workers, workers)

    def new_limiter(self, workers: int, max_wait: float) -> Limiter:
        return Limiter(
            self.clock,
            workers=workers,
            max_wait=max_wait,
            on_waiting=self.told.append,
            in_flight=lambda: self.known,
            poll=self.poll,
        )

    async def poll(self) -> None:
        self.polls += 1
        self.known -= self.settling.pop(0) if self.settling else 0

    def take(self, worker: object, count: int) -> None:
        """Have the API accept what `worker` sent."""
        self.known += count
        self.limiter.release(worker, count, count)

    async def learn(self, cap: int, *, out: int) -> None:
        """Have `out` executions in flight, and the cap known from a refusal that is over."""
        assert await self.limiter.acquire("teacher", 10) == 10
        self.known = cap
        await self.limiter.back_off("teacher", full(cap, cap, 10), 10)
        self.known = out
        self.limiter.abandon("teacher")
        self.limiter._tries, self.limiter._until, self.limiter._stale, self.limiter._waiting_since = 0, 0.0, False, None

    def ask(self, worker: object, wanted: int = 10) -> asyncio.Task[int]:
        return asyncio.ensure_future(self.limiter.acquire(worker, wanted))


async def turns(count: int = 20) -> None:
    """Let everybody go on who can without time: `ManualClock` jumps after 30 turns."""
    for _ in range(count):
        await asyncio.sleep(0)


def scenario(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a loop, and see that it leaves no task behind."""

    async def checked() -> None:
        await test()
        await turns(3)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def run() -> None:
        asyncio.run(checked())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@scenario
async def test_no_worker_waits_while_nothing_is_refused() -> None:
    """A run without refusals is admitted without yielding to the loop, and nothing is reported."""
    desk = Desk(workers=8)
    for round_ in range(50):
        for worker in range(8):
            with pytest.raises(StopIteration) as passed:
                desk.limiter.acquire(worker, 10).send(None)
            assert passed.value.value == 10
        for worker in range(8):
            desk.take(worker, 10)
        assert desk.known == 80 * (round_ + 1)
    assert (desk.told, desk.polls, desk.clock.slept) == ([], 0, [])


@scenario
async def test_one_worker_retries_and_a_slow_start_follows() -> None:
    """Eight refusals are one pause and one cut: then 1, 2 and 4 requests at once, and one more with each round."""
    desk = Desk()
    for worker in range(8):
        await desk.limiter.acquire(worker, 10)
    for worker in range(8):
        assert await desk.limiter.back_off(worker, SLOW, 10)
    line = {worker: desk.ask(worker) for worker in range(8)}
    sizes: list[int] = []
    while len(sizes) < 9:
        await turns(100)
        through = [worker for worker, task in line.items() if task.done()]
        sizes.append(len(through))
        for worker in through:
            desk.take(worker, 10)
            line[worker] = desk.ask(worker)
    assert desk.clock.slept == [0.5]
    assert sizes == [1, 2, 4, 5, 6, 7, 8, 8, 8]
    desk.limiter.end()
    await asyncio.gather(*line.values())


@scenario
async def test_the_worker_that_was_refused_first_retries() -> None:
    """The gate stays closed for everybody else, new workers too, until its answer is there."""
    desk = Desk()
    for worker in "ab":
        await desk.limiter.acquire(worker, 10)
    await desk.limiter.back_off("b", SLOW, 10)
    await desk.limiter.back_off("a", SLOW, 10)
    line = [desk.ask(worker) for worker in "acdb"]
    await turns(100)
    assert [task.done() for task in line] == [False, False, False, True]
    desk.take("b", 10)
    await turns()
    assert [task.done() for task in line] == [True, True, False, True]
    desk.limiter.end()
    await asyncio.gather(*line)


@scenario
async def test_a_late_refusal_of_the_same_burst_is_no_second_cut() -> None:
    """What was sent before the cut and is refused after the pause does not slow the run down again."""
    desk = Desk()
    for worker in range(8):
        await desk.limiter.acquire(worker, 10)
    await desk.limiter.back_off(0, SLOW, 10)
    assert await desk.limiter.acquire(0, 10) == 10
    desk.take(0, 10)
    await desk.limiter.back_off(7, SLOW, 10)
    assert desk.limiter._window.slow_until == 4
    desk.limiter.end()


@scenario
async def test_a_new_refusal_after_the_pause_cuts_again() -> None:
    """What was admitted after the last cut and is refused halves what was reached."""
    desk = Desk()
    for _ in range(2):
        before = desk.limiter._window.size
        assert await desk.limiter.acquire(0, 10) == 10
        await desk.limiter.back_off(0, SLOW, 10)
        assert desk.limiter._window.slow_until == max(1, before // 2)
        await desk.limiter.acquire(0, 10)
        desk.take(0, 10)
    desk.limiter.end()


@scenario
async def test_no_connection_is_a_pause_without_a_cut() -> None:
    """An API that cannot be reached says nothing of its limits."""
    desk = Desk()
    await desk.limiter.acquire(0, 10)
    for _ in range(3):
        assert await desk.limiter.back_off(0, UNSENT, 10)
        assert await desk.limiter.acquire(0, 10) == 10
    desk.take(0, 10)
    assert desk.clock.slept == [0.5, 1.0, 2.0]
    assert desk.limiter._window.size == 8
    assert desk.told[-1] is None


@scenario
async def test_retries_grow_smaller_when_the_refusal_is_not_understood() -> None:
    """A cap in words that are not understood: a batch that cannot fit is halved until it does."""
    desk = Desk()
    sizes = []
    for _ in range(7):
        sizes.append(await desk.limiter.acquire(0, 10))
        await desk.limiter.back_off(0, SLOW, sizes[-1])
    assert sizes == [10, 10, 10, 5, 2, 1, 1]
    await desk.limiter.acquire(0, 10)
    desk.take(0, 1)
    assert await desk.limiter.acquire(0, 10) == 10
    desk.take(0, 10)


@pytest.mark.parametrize("verdict", [SLOW, full(10, 10, 10), vague(10, 10, 10), UNSENT])
@pytest.mark.parametrize("own", [0, 10])
def test_retry_after_is_a_floor(verdict: Retry, own: int) -> None:
    """No worker retries before the API's own time, whatever the refusal is about."""

    @scenario
    async def test() -> None:
        desk = Desk()
        desk.settling = [3]
        await desk.limiter.acquire(0, 10)
        desk.known = own
        await desk.limiter.back_off(0, Retry(verdict.reason, 30.0, verdict.limited), 10)
        assert desk.told == [f"{verdict.reason}; retrying in 30 s"]
        assert await desk.limiter.acquire(0, 10) > 0
        assert desk.clock.time >= 30
        desk.take(0, 1)

    test()


@scenario
async def test_a_second_workers_retry_after_counts_too() -> None:
    """The pause is as long as the longest that any response requested."""
    desk = Desk()
    for worker in range(2):
        await desk.limiter.acquire(worker, 10)
    await desk.limiter.back_off(0, SLOW, 10)
    await desk.limiter.back_off(1, Retry(SLOW.reason, 20.0, limited=True), 10)
    await desk.limiter.acquire(0, 10)
    assert desk.clock.time == 20
    desk.limiter.end()


@scenario
async def test_at_the_cap_executions_are_waited_for_until_a_full_batch_fits() -> None:
    """Ten of ten are in flight: polls, no requests, until all have settled; then ten rows go in one request."""
    desk = Desk()
    desk.settling = [0, 0, 0, 3, 3, 4]
    await desk.limiter.acquire(0, 10)
    desk.known = 10
    assert await desk.limiter.back_off(0, capped(10, 10, 10), 10)
    assert await desk.limiter.acquire(0, 10) == 10
    assert desk.polls == 6
    assert desk.told == [f"waiting for {count} of 10 concurrent executions to settle" for count in (10, 7, 4)]
    desk.take(0, 10)
    assert desk.told[3:] == [None]


@scenario
async def test_an_execution_that_runs_on_holds_no_batch_twice() -> None:
    """Nine of ten slots are free for a while: nine rows go; the next nine go as soon as nine have settled."""
    desk = Desk()
    await desk.learn(10, out=10)
    desk.settling = [9]
    assert await desk.limiter.acquire(0, 10) == 9
    assert desk.clock.time > HOLD_FOR
    desk.take(0, 9)
    desk.settling = [9]
    before = desk.polls
    assert await desk.limiter.acquire(0, 10) == 9
    assert desk.polls == before + 1
    desk.limiter.end()


@scenario
async def test_a_batch_is_never_held_for_longer_than_max_wait() -> None:
    """A short max_wait ends the hold, not the run, where there is room."""
    desk = Desk(max_wait=1.0)
    await desk.learn(10, out=6)
    assert await desk.limiter.acquire(0, 10) == 4
    assert desk.limiter.exhausted is None
    desk.limiter.end()


@scenario
async def test_polls_grow_rarer_until_something_settles() -> None:
    """From 0.25 s on, half as long again each time, to 10 s; a settled execution starts anew."""
    desk = Desk()
    await desk.learn(10, out=10)
    desk.settling = [0] * 12 + [1]
    assert await desk.limiter.acquire(0, 1) == 1
    assert desk.clock.slept == [pytest.approx(min(10, 0.25 * 1.5**look)) for look in range(13)]
    desk.settling = [1]
    desk.take(0, 1)
    assert await desk.limiter.acquire(0, 1) == 1
    assert desk.clock.slept[-1] == 0.25
    desk.limiter.end()


@scenario
async def test_where_others_use_the_cap_backoff_is_all_there_is() -> None:
    """No execution of ours is in flight: nothing is polled, and the pause is the ordinary one."""
    desk = Desk()
    sizes = []
    for _ in range(4):
        sizes.append(await desk.limiter.acquire(0, 10))
        await desk.limiter.back_off(0, full(10, 10, sizes[-1]), sizes[-1])
    assert await desk.limiter.acquire(0, 10) == 1
    assert sizes == [10, 1, 1, 1]
    assert (desk.polls, desk.clock.slept) == (0, [0.5, 1.0, 2.0, 4.0])
    desk.limiter.end()


@scenario
async def test_eight_workers_together_never_overshoot_the_cap() -> None:
    """Rows that are on their way count: with four of ten free, four go, whoever carries them."""
    desk = Desk()
    await desk.learn(10, out=6)
    desk.limiter._window = desk.limiter._window.__class__(8, 8)
    line = [desk.ask(worker, 3) for worker in range(8)]
    await turns(500)
    assert [task.result() for task in line if task.done()] == [3, 1]
    desk.limiter.end()
    await asyncio.gather(*line)
    for worker in range(8):
        desk.limiter.abandon(worker)
    assert desk.limiter._reserved == 0


@scenario
async def test_one_worker_polls_and_the_others_wait_for_it() -> None:
    """Eight wait for room: there is one poll, not eight, and its slots go to the first in the queue."""
    desk = Desk()
    await desk.learn(10, out=10)
    desk.limiter._window = desk.limiter._window.__class__(8, 8)
    desk.settling = [0, 2]
    line = [desk.ask(worker, 2) for worker in range(8)]
    while not line[0].done():
        await asyncio.sleep(0)
    assert desk.polls == 2
    assert [task.done() for task in line] == [True] + [False] * 7
    desk.limiter.end()
    await asyncio.gather(*line)


@pytest.mark.parametrize(
    ("cap", "out", "settling", "sent"),
    [(100, 99, [8], 9), (100, 99, [], 1), (100, 90, [], 10), (10, 9, [8], 9), (10, 9, [9], 10), (2, 1, [1], 2)],
)
def test_room_for_less_than_a_batch_is_held_for_a_while(cap: int, out: int, settling: list[int], sent: int) -> None:
    """Until the batch fits, or nothing has settled for a time: then what fits is sent."""

    @scenario
    async def test() -> None:
        desk = Desk()
        await desk.learn(cap, out=out)
        desk.settling = list(settling)
        assert await desk.limiter.acquire(0, 10) == sent
        assert (desk.clock.time > HOLD_FOR) == (sent < min(10, cap))
        desk.limiter.end()

    test()


@scenario
async def test_patience_ends_once_and_for_everybody() -> None:
    """Nothing taken and nothing settled for max_wait seconds: all are let go with nothing, and the reason is kept."""
    desk = Desk(max_wait=60)
    await desk.learn(10, out=10)
    line = [desk.ask(worker) for worker in range(4)]
    while not all(task.done() for task in line):
        await asyncio.sleep(0)
        for worker, task in enumerate(line):
            if task.done() and task.result() and await desk.limiter.back_off(worker, full(10, 10, 1), 1):
                line[worker] = desk.ask(worker)
    assert not any(task.result() for task in line if task.result() != 1)
    assert desk.limiter.exhausted is not None
    assert "10 of 10" in desk.limiter.exhausted
    assert 59 < desk.clock.time <= 60
    assert await desk.limiter.acquire("late", 10) == 0
    assert not await desk.limiter.back_off("later", SLOW, 10)


@scenario
async def test_no_worker_waits_longer_than_max_wait() -> None:
    """A Retry-After beyond max_wait ends the run at once, and the reason says so."""
    desk = Desk(max_wait=60)
    await desk.limiter.acquire(0, 10)
    assert not await desk.limiter.back_off(0, Retry(SLOW.reason, 3600.0, limited=True), 10)
    assert desk.limiter.exhausted == f"the API asks to wait 3600 s, more than max_wait=60 s: {SLOW.reason}"
    assert desk.clock.slept == []


@scenario
async def test_patience_starts_anew_with_each_execution_that_settles() -> None:
    """A poll that frees a slot, in a run that may send nothing for long, is progress."""
    desk = Desk(max_wait=60)
    await desk.learn(10, out=20)
    desk.settling = ([0] * 7 + [1]) * 11
    assert await desk.limiter.acquire(0, 10) == 1
    assert desk.clock.time > 60
    assert desk.limiter.exhausted is None
    desk.limiter.end()


@scenario
async def test_patience_starts_anew_with_each_request_that_is_taken() -> None:
    """Fifteen seconds of pause per request, ten times, are no twenty in a row."""
    desk = Desk(max_wait=20)
    for _ in range(10):
        await desk.limiter.acquire(0, 10)
        assert await desk.limiter.back_off(0, Retry(SLOW.reason, 15.0, limited=True), 10)
        await desk.limiter.acquire(0, 10)
        desk.take(0, 10)
    assert desk.clock.time == 150


@scenario
async def test_while_nothing_settles_a_single_row_knocks_now_and_then() -> None:
    """Others may have left the account meanwhile: a run whose own execution hangs finds out before it gives up."""
    desk = Desk(max_wait=100)
    await desk.limiter.acquire(0, 10)
    desk.known = 1
    await desk.limiter.back_off(0, full(10, 10, 10), 10)
    knocks = []
    while await desk.limiter.acquire(0, 10) == 1:
        knocks.append(desk.clock.time)
        await desk.limiter.back_off(0, full(10, 10, 1), 1)
    assert len(knocks) == 4
    assert desk.limiter.exhausted is not None


@scenario
async def test_answers_without_an_execution_give_the_room_back() -> None:
    """Inputs that were refused on their own, or whose answer was lost, hold no slot; nor does what was never sent."""
    desk = Desk()
    await desk.learn(10, out=0)
    for sent, accepted in ((10, 0), (10, 0), (0, 0)):
        assert await desk.limiter.acquire(0, 10) == 10
        desk.limiter.release(0, sent, accepted)
    desk.limiter.release(0, 10, 10)
    assert desk.limiter._reserved == 0
    assert desk.limiter._accepted == 0


@scenario
async def test_the_end_of_the_run_lets_everybody_through_with_nothing() -> None:
    """In a pause, in the queue, or during a poll that hangs: all return at once, without time passing."""
    desk = Desk()
    await desk.learn(10, out=10)
    hung = asyncio.Event()

    async def hanging() -> None:
        hung.set()
        await asyncio.Event().wait()

    desk.limiter._poll = hanging
    line = [desk.ask(worker) for worker in range(4)]
    await hung.wait()
    before = desk.clock.time
    desk.limiter.end()
    assert await asyncio.gather(*line) == [0] * 4
    assert desk.clock.time == before
    assert desk.limiter.exhausted is None


@scenario
async def test_the_end_of_the_run_ends_a_pause() -> None:
    """Nobody sits out a Retry-After of a run that is over."""
    desk = Desk()
    await desk.limiter.acquire(0, 10)
    await desk.limiter.back_off(0, Retry(SLOW.reason, 600.0, limited=True), 10)
    waiting = desk.ask(0)
    await turns(5)
    desk.limiter.end()
    assert await waiting == 0
    assert desk.clock.time == 0


@scenario
async def test_who_is_cancelled_in_the_pause_hands_it_over() -> None:
    """The next in line takes the pause over, to its end: the others do not hang, and Retry-After still holds."""
    desk = Desk()
    await desk.limiter.acquire("owner", 10)
    await desk.limiter.back_off("owner", Retry(SLOW.reason, 30.0, limited=True), 10)
    owner, second, third = desk.ask("owner"), desk.ask("second"), desk.ask("third")
    await turns(5)
    owner.cancel()
    assert await second == 10
    assert desk.clock.time == 30
    await turns(100)
    assert not third.done()
    desk.take("second", 10)
    assert await third == 10
    desk.limiter.abandon("third")
    assert desk.limiter._reserved == 0


@scenario
async def test_who_goes_away_before_it_knocks_hands_the_pause_over() -> None:
    """A worker that ends between its refusal and its retry leaves the cooldown to the others."""
    desk = Desk()
    await desk.limiter.acquire("owner", 10)
    await desk.limiter.back_off("owner", SLOW, 10)
    second = desk.ask("second")
    await turns()
    desk.limiter.abandon("owner")
    assert await second == 10
    desk.take("second", 10)
    assert await desk.limiter.acquire("third", 10) == 10


@scenario
async def test_a_worker_cancelled_during_its_poll_is_replaced() -> None:
    """The next in the queue polls instead."""
    desk = Desk()
    await desk.learn(10, out=10)
    desk.settling = [0, 0, 5]
    first, second = desk.ask(1), desk.ask(2)
    await turns(5)
    first.cancel()
    assert await second == 5
    desk.limiter.end()


@scenario
async def test_a_poll_precedes_the_retry_after_a_refusal_for_the_cap() -> None:
    """The state of our own executions may be old: one poll, and then all that is free."""
    desk = Desk()
    await desk.limiter.acquire(0, 10)
    desk.known = 3
    await desk.limiter.back_off(0, full(3, 10, 10), 10)
    assert await desk.limiter.acquire(0, 7) == 7
    assert desk.polls == 1
    desk.take(0, 3)
    assert await desk.limiter.acquire(0, 4) == 4
    assert desk.polls == 1
    desk.limiter.end()


@scenario
async def test_the_rows_of_other_requests_count_when_a_cap_is_learned() -> None:
    """Five in flight and ten on their way: a refusal of ten more says nothing against those fifteen."""
    desk = Desk()
    await desk.limiter.acquire("other", 10)
    await desk.limiter.acquire(0, 10)
    desk.known = 5
    await desk.limiter.back_off(0, vague(0, 0, 0), 10)
    assert desk.limiter._quota.level == 20
    desk.limiter.end()


@scenario
async def test_answers_are_waited_for_where_nothing_is_in_flight_yet() -> None:
    """All the room is reserved, and nothing of ours runs: there is nothing to poll."""
    desk = Desk()
    await desk.learn(10, out=0)
    desk.limiter._window = desk.limiter._window.__class__(8, 8)
    assert await desk.limiter.acquire("first", 10) == 10
    second = desk.ask("second")
    await turns(200)
    assert (second.done(), desk.polls) == (False, 0)
    desk.limiter.release("first", 10, 0)
    assert await second == 10
    desk.limiter.end()


@scenario
async def test_the_end_of_a_wait_is_reported() -> None:
    """A wait for room that no refusal began is reported as ended; the same sentence is not reported twice."""
    desk = Desk()
    await desk.learn(10, out=10)
    desk.settling = [0, 0, 1]
    await desk.limiter.acquire(0, 1)
    assert desk.told == ["waiting for 10 of 10 concurrent executions to settle", None]
    desk.limiter.end()


@scenario
async def test_executions_accepted_during_a_poll_do_not_hide_those_that_settled() -> None:
    """Three more and two fewer is progress."""
    desk = Desk()
    await desk.learn(10, out=10)

    async def poll() -> None:
        desk.limiter._reserve("other", 3)
        desk.known -= 2
        desk.take("other", 3)
        desk.limiter._poll = desk.poll
        desk.limiter._waiting_since = -100.0

    desk.limiter._poll = poll
    waiting = desk.ask(0)
    while desk.limiter._waiting_since != 0.25:
        assert desk.clock.time < 1
        await asyncio.sleep(0)
    desk.limiter.end()
    await waiting


@scenario
async def test_what_was_never_sent_is_no_progress() -> None:
    """A worker that finds nothing left to send leaves the pause and the patience as they are."""
    desk = Desk()
    await desk.limiter.acquire("idle", 10)
    await desk.limiter.acquire(0, 10)
    await desk.limiter.back_off(0, SLOW, 10)
    desk.limiter.release("idle", 0, 0)
    assert desk.limiter._waiting_since == 0.0
    desk.limiter.end()


@pytest.mark.parametrize(("cap", "most"), [(10, 9), (2, 33), (1, 63)])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lasts", [(0.2, 0.6), (0.5, 2.0), (2.0, 6.0)])
def test_sixty_rows_take_few_requests_against_a_cap(cap: int, most: int, seed: int, lasts: tuple[float, float]) -> None:
    """The documented text names the cap: a few requests are refused at first, and each later one is full."""
    account = Account(cap, words=capped, lasts=lasts, seed=seed)
    Run(account, 60).run()
    assert sum(account.accepted) == 60
    assert len(account.accepted) + len(account.refused) <= most


@scenario
async def test_a_run_begins_with_two_requests() -> None:
    """The whole pool sends once they were taken, whatever the API says of their inputs."""
    desk = Desk()
    desk.limiter = desk.new_limiter(8, 900.0)
    line = [desk.ask(worker) for worker in range(8)]
    await turns()
    assert [task.done() for task in line] == [True] * 2 + [False] * 6
    desk.take(0, 10)
    desk.limiter.release(1, 10, 0)
    await asyncio.gather(*line)
    assert desk.clock.time == 0.0
    desk.limiter.end()


@scenario
async def test_first_requests_without_an_answer_hold_up_the_others_for_seconds_only() -> None:
    """Their answers may be lost: a time-out of a minute is not waited for by the whole pool."""
    desk = Desk()
    desk.limiter = desk.new_limiter(8, 900.0)
    assert await asyncio.gather(*(desk.ask(worker) for worker in range(8))) == [10] * 8
    assert desk.clock.time == OPENING_SECONDS
    desk.limiter.end()


@scenario
async def test_a_402_about_executions_in_flight_waits_for_them() -> None:
    """They are polled, an observer hears what is waited for, and then the rest goes on."""
    desk = Desk()
    await desk.limiter.acquire(0, 10)
    desk.known = 10
    desk.settling = [0, 0, 10]
    assert await desk.limiter.back_off(0, RESERVED, 10)
    assert await desk.limiter.acquire(0, 10) == 10
    assert desk.polls == 3
    assert desk.told == [
        "waiting for 10 of 15 concurrent executions to settle, which releases their part of the balance "
        f"({RESERVED.reason})"
    ]
    desk.take(0, 10)
    assert desk.told[1:] == [None]


@scenario
async def test_a_402_about_executions_in_flight_stops_a_run_without_any() -> None:
    """After a few smaller tries, as the API may free the balance late, or for less than a full request."""
    desk = Desk()
    sizes = [await desk.limiter.acquire(0, 10)]
    while await desk.limiter.back_off(0, RESERVED, sizes[-1]):
        sizes.append(await desk.limiter.acquire(0, 10))
    assert sizes == [10, 5, 2, 1]
    assert len(sizes) == RESERVED_TRIES + 1
    assert desk.limiter.exhausted is not None
    assert desk.limiter.exhausted.startswith(
        "no execution of this run is in flight that could release a part of the balance: HTTP"
    )
    assert desk.polls == 0


@scenario
async def test_a_402_that_waiting_does_not_clear_ends_with_max_wait() -> None:
    """The run's own executions never end: a few tries of one row, and then it is over."""
    desk = Desk(max_wait=100)
    await desk.limiter.acquire(0, 10)
    desk.known = 3
    await desk.limiter.back_off(0, RESERVED, 10)
    tries = 0
    while count := await desk.limiter.acquire(0, 10):
        tries += 1
        await desk.limiter.back_off(0, RESERVED, count)
    assert tries <= 7
    assert desk.clock.time <= 100
    assert desk.limiter.exhausted == f"gave up after max_wait=100 s: {RESERVED.reason}"


@pytest.mark.parametrize("stated", ["a cap of 0", "0 concurrent executions"])
def test_a_cap_of_zero_ends_with_max_wait(stated: str) -> None:
    """No number is learned from it, and the run is bounded."""

    @scenario
    async def test() -> None:
        desk = Desk(max_wait=60)
        refusal = limited(f"HTTP 429: concurrency: you are limited to {stated}")
        assert refusal.cap == Cap()
        while count := await desk.limiter.acquire(0, 10):
            await desk.limiter.back_off(0, refusal, count)
        assert desk.clock.time <= 60
        assert desk.limiter.exhausted is not None

    test()


def test_a_cap_that_is_lowered_in_the_middle_is_kept() -> None:
    """A balance falls below a limit during a run: the smaller cap is learned with a few refusals."""
    account = Account(25, words=capped, lasts=(1.0, 4.0))

    def words(used: int, cap: int, asked: int) -> Retry:
        if sum(account.accepted) > 100:
            account.cap = 4
        return capped(used, account.cap, asked)

    account.words = words
    run = Run(account, 300).run()
    assert sum(account.accepted) == 300
    assert run.limiter.exhausted is None


def test_429_and_402_in_turn_bring_every_row_through() -> None:
    """A cap, and a balance that executions in flight hold: each is waited for, and neither number is mistaken."""
    account = Account(10, words=capped, lasts=(1.0, 4.0))
    account.words = lambda used, cap, asked: account.random.choice([capped(used, cap, asked), RESERVED, SLOW])
    run = Run(account, 300).run()
    assert sum(account.accepted) == 300
    assert run.limiter.exhausted is None
    assert account.peak <= 10


KINDS = st.sampled_from(
    [SLOW, UNSENT, RESERVED, full(3, 10, 5), full(0, 2, 5), vague(0, 0, 0), Retry("HTTP 429", 4.0, True)]
)
STEPS = st.tuples(
    st.integers(0, 4),
    st.sampled_from(["ask", "ask", "ask", "cancel", "take", "lose", "refuse", "leave", "rest"]),
    KINDS,
)


class Chaos(Desk):
    """Five workers who ask, are cancelled, answered and refused in any order; and the books that they keep."""

    def __init__(self) -> None:
        super().__init__(max_wait=1e9)
        self.held: dict[int, int] = {}
        self.asked: dict[int, asyncio.Task[int]] = {}

    async def poll(self) -> None:
        self.known = max(0, self.known - 1)

    async def step(self, worker: int, action: str, verdict: Retry) -> None:
        if action == "rest":
            await turns(60)
        elif worker in self.asked:
            if action == "cancel":
                self.asked[worker].cancel()
        elif worker not in self.held:
            if action == "ask":
                self.asked[worker] = self.ask(worker)
        elif action != "ask" and action != "cancel":
            await self.release(worker, action, verdict)
        await self.collect()

    async def release(self, worker: int, action: str, verdict: Retry) -> None:
        count = self.held.pop(worker)
        if action == "take":
            self.take(worker, count)
        elif action == "lose":
            self.limiter.release(worker, count, 0)
        elif action == "refuse":
            await self.limiter.back_off(worker, verdict, count)
        else:
            self.limiter.abandon(worker)

    async def collect(self) -> None:
        await turns(6)
        for worker, task in list(self.asked.items()):
            if task.done():
                del self.asked[worker]
                if not task.cancelled():
                    self.held[worker] = task.result()
        assert self.limiter._reserved == sum(self.held.values())
        assert set(self.limiter._reservations) == set(self.held)

    async def leave_alone(self, survivor: int) -> None:
        """Cancel and let go everybody but one."""
        for worker in set(range(5)) - {survivor}:
            if worker in self.asked:
                self.asked[worker].cancel()
        await self.collect()
        for worker in set(range(5)) - {survivor}:
            self.held.pop(worker, None)
            self.limiter.abandon(worker)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=60), survivor=st.integers(0, 4))
def test_a_cancelled_worker_leaves_no_reservation_and_blocks_no_other(
    steps: list[tuple[int, str, Retry]], survivor: int
) -> None:
    """The books agree with what the workers hold at each step, and whoever is left is let through in the end."""

    @scenario
    async def test() -> None:
        desk = Chaos()
        for worker, action, verdict in steps:
            await desk.step(worker, action, verdict)
        await desk.leave_alone(survivor)
        if survivor not in desk.held:
            assert await asyncio.wait_for(desk.asked.get(survivor) or desk.ask(survivor), 30) > 0
        desk.limiter.abandon(survivor)
        assert desk.limiter._reserved == 0
        assert not desk.limiter._queue

    test()


@pytest.mark.slow
def test_a_share_that_is_a_guess_is_probed_once_in_ten_at_most() -> None:
    """Without a number in its words, an account refuses no more than one request in ten, but for the learning."""
    account = Account(10, words=vague)
    Run(account, 1_000).run()
    assert len(account.refused) <= 8 + 5 + len(account.accepted) // PROBE_AFTER
