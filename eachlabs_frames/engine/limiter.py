"""Limits how much of a run is in flight, learned from 429s and 402s: which worker may send, how much, and when.

Owns every pause before a trigger. It never sends and never decides what a refusal means: `api.verdicts` does.

- A run begins with a few requests; the whole pool sends once these were accepted.
- A refusal halves the request window, once for the whole run, and stops sending. The worker that was refused first
  owns the cooldown: it alone sends when the pause is over (never before ``Retry-After``), and the others follow once
  the API accepts a request; a slow start follows.
- A pause does not clear a refusal about executions in flight (API reference, "Bulk trigger"): a cap, or a balance that
  they reserve. So the run keeps a quota of executions, and the first worker in the queue polls the run's own until
  there is room for a full batch: few full requests instead of one per execution that ends.
- A call may begin with a quota that an earlier call has learned. Only a refusal confirms it: once it has held requests
  back for `HINT_TRIAL` seconds, more is sent, one request at a time, until one is refused or the hint is dropped.
- Until the first refusal, nothing is paced: `Limiter.acquire` does not even yield to the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Final

from ..aio.backoff import retry_delay, settle_delay
from ..aio.tasks import cancel_on
from ..api.verdicts import Retry
from ..models import Clock
from .cap_memory import CapMemory
from .concurrency import ExecutionQuota, RequestWindow

HOLD_FOR: Final = 5.0
"""Seconds without an ended execution after which a batch that is not full is sent."""

HOLD_SHARE: Final = 1.0
"""A full batch is awaited for this multiple of the duration of the latest execution to end, if that is longer."""

RESERVED_TRIES: Final = 3
"""Tries after a 402 about executions in flight while this run has none: the API may release the balance late."""

OPENING_SECONDS: Final = 3.0
"""Seconds after which the whole pool sends although the first requests have no reply, which may be lost."""

PROBES: Final = 4
"""Tries with one row, spread over ``max_wait``, while nothing settles: other users of the cap may have freed it."""

HINT_TRIAL: Final = 30.0
"""Seconds for which a hint may hold requests back before it is tested: a wrong one costs no more than these."""

HINT_TRIES: Final = 2
"""Tries by which pauses are longer where the cap was known from the start: room comes when executions end."""

WHOLE_TRIES: Final = 2
"""Consecutive refusals after which each try is half as large: it may be a cap in an unknown wording."""


class Limiter:
    """Admits workers to sending, like a semaphore.

    It runs on one event loop. A worker is anything hashable, and has at most one reservation.

    Parameters
    ----------
    clock : Clock
    workers : int
        Requests at once, at most.
    max_wait : float
        Seconds that a run waits while nothing is accepted and nothing settles.
    on_waiting : callable
        Gets a sentence that says why the run waits; None when sending goes on.
    in_flight : callable
        Counts this frame's executions that were accepted and have not ended.
    poll : callable
        Polls them once, so that `in_flight` may be smaller afterwards. Raises nothing but cancellation.
    caps : CapMemory, optional
        Has the hint of earlier calls, and is told what this one learns.

    Attributes
    ----------
    exhausted : str or None
        Why the run must not wait any longer, with the API's reason; None while it may.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        workers: int,
        max_wait: float,
        on_waiting: Callable[[str | None], None],
        in_flight: Callable[[], int],
        poll: Callable[[], Coroutine[Any, Any, None]],
        caps: CapMemory | None = None,
    ) -> None:
        self._clock, self._workers, self._max_wait = clock, workers, max_wait
        self._on_waiting, self._in_flight, self._poll = on_waiting, in_flight, poll
        self.exhausted: str | None = None
        self._ended = asyncio.Event()
        # For each worker: the rows that it has reserved, the cooldown's number, and this run's executions in flight and
        # rows of other requests at that time.
        self._reservations: dict[object, tuple[int, int, int]] = {}
        self._reserved = self._accepted = 0
        self._began = inf  # when the first request was sent
        self._window, self._quota = RequestWindow.at_start(workers), ExecutionQuota()
        self._caps, self._hint = caps, None if caps is None else caps.hint
        if self._hint is not None:
            self._quota = ExecutionQuota(self._hint.level, self._hint.cap, is_hint=True)
        self._held_since = inf  # since when the hint has held requests back
        # Waiting workers in order, what wakes them, the number of polls, and whether a poll is needed first.
        self._queue: dict[object, None] = {}
        self._changed = asyncio.Event()
        self._polling = self._stale = False
        self._polls = 0
        # When a request was last accepted, when executions last settled, and those no batch waits for any more.
        self._accepted_at = self._settled_at = 0.0
        self._settled_before = self._stragglers = 0
        # The cooldown: its owner, its end, its refusals, its number, and the number at the last cut.
        self._owner: object = None
        self._until = 0.0
        self._tries = self._epoch = 0
        self._cut_epoch = -1
        # Since when there is no progress, and what was reported of it.
        self._waiting_since: float | None = None
        self._probes = 0
        self._reason, self._effect = "", ""
        self._reported: str | None = None

    async def acquire(self, worker: object, count: int) -> int:
        """Wait until `worker` may send; return how many inputs, which are then reserved.

        The reservation ends with `release`, `back_off` or `abandon`. With little room a worker sends what
        fits, after waiting a while for room for a full batch.

        Returns
        -------
        int
            From 1 to `count`; 0 when the run is over or has waited too long.
        """
        is_unlimited = not (self._queue or self._tries or self._quota.level or self._ended.is_set())
        if is_unlimited and len(self._reservations) < self._window.size:
            return self._reserve(worker, count)
        self._queue[worker] = None
        try:
            return await self._wait_in_line(worker, count)
        except BaseException:
            self.abandon(worker)
            raise
        finally:
            self._queue.pop(worker, None)
            self._wake()

    async def back_off(self, worker: object, verdict: Retry, sent: int) -> bool:
        """Release the reservation after a refusal; `acquire` then waits for the pause.

        Returns
        -------
        bool
            False if the run is over or has waited too long.
        """
        epoch, out_before = self._end_reservation(worker)
        if self._ended.is_set():
            return False
        self._reason = verdict.reason
        capped = self._adjust(verdict, sent, epoch, out_before)
        now = self._clock.now()
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        self._owner = worker if self._owner is None else self._owner
        delay = verdict.after or 0.0
        if self._owner == worker:
            self._tries += 1
            if not (capped and self._in_flight()):
                tries = self._tries + (HINT_TRIES if capped and self._hint is not None else 0)
                delay = retry_delay(tries, floor=verdict.after, draw=self._clock.draw())
            if delay:
                self._report(f"{verdict.reason}; retrying in {delay:.0f} s")
        self._until = max(self._until, now + delay)
        if verdict.reserved and not self._is_cleared_by_own(out_before):
            self._give_up("no execution of this run is in flight that could release a part of the balance")
        elif (verdict.after or 0.0) > self._max_wait:
            self._give_up(f"the API asks to wait {verdict.after:.0f} s, more than max_wait={self._max_wait:g} s")
        elif self._until - self._waiting_since > self._max_wait:
            self._give_up(f"gave up after max_wait={self._max_wait:g} s")
        self._wake()
        return not self._ended.is_set()

    def _is_cleared_by_own(self, out_before: int) -> bool:
        """Return whether executions of this run that end may clear a 402, or ended only a few tries ago."""
        return bool(out_before or self._reserved or self._in_flight() or self._tries <= RESERVED_TRIES)

    def release(self, worker: object, sent: int, accepted: int) -> None:
        """Release the reservation after any other reply; `in_flight` counts the `accepted` inputs from now on."""
        if worker not in self._reservations or not sent:
            self.abandon(worker)
            return
        self._end_reservation(worker)
        self._reset_patience(None)
        # A refusal of inputs also shows that the API has room for the request.
        self._window = self._window.grown(self._workers)
        if accepted:
            self._accepted += accepted
            self._accepted_at = self._settled_at = self._clock.now()
            if self._quota.level is not None:
                self._set_quota(self._quota.grown(self._in_flight() + self._reserved))
        if worker == self._owner:
            self._owner, self._until, self._tries, self._stale = None, 0.0, 0, False
            self._epoch += 1
            self._report(None)
        self._wake()

    def abandon(self, worker: object) -> None:
        """Release the worker's reservation without a reply. Idempotent."""
        self._end_reservation(worker)
        if worker == self._owner:
            self._owner = None
        self._wake()

    def end(self) -> None:
        """End every wait with 0 inputs: the run is over."""
        self._ended.set()
        self._wake()

    async def _wait_in_line(self, worker: object, count: int) -> int:
        while not self._ended.is_set():
            if not self._takes_turn(worker):
                await self._wait_for_turn(worker)
            elif (pause := self._until - self._clock.now()) > 0:
                await cancel_on(self._ended, self._clock.sleep(pause))
            elif rows := self._room(count):
                if self._owner is None:
                    self._report(None)
                return self._reserve(worker, rows)
            elif self._polling or not self._in_flight():
                await self._changed.wait()
            else:
                await self._poll_once()
        return 0

    async def _wait_for_turn(self, worker: object) -> None:
        """Wait for a change; the first in the queue waits at most `OPENING_SECONDS` for the first replies."""
        left = self._began + OPENING_SECONDS - self._clock.now()
        if not self._window.opening or self._tries or worker != next(iter(self._queue)):
            await self._changed.wait()
        elif left > 0:
            await cancel_on(self._changed, self._clock.sleep(left))
        else:
            self._window = self._window.opened(self._workers)
            self._wake()

    def _takes_turn(self, worker: object) -> bool:
        """Return whether it is the turn of `worker`: the owner of the cooldown, else the first in the queue."""
        if self._owner is None and worker == next(iter(self._queue)):
            if not self._tries:
                return len(self._reservations) < self._window.size
            self._owner = worker  # The last owner left before the pause was over.
        return worker == self._owner

    def _room(self, count: int) -> int:
        """Return how many inputs may be sent now; 0 if executions have to settle first."""
        level = self._quota.level
        if level is None:
            tries = self._tries if self._cut_epoch == self._epoch else 0
            return max(1, count >> max(0, tries - WHOLE_TRIES))
        own = self._in_flight()
        self._stragglers = min(self._stragglers, own)
        if self._settled() != self._settled_before:
            self._settled_before, self._settled_at = self._settled(), self._clock.now()
        if own and self._stale:
            return self._probe()
        room = max(0, min(count, level - own - self._reserved))
        if room and (room >= min(count, level - self._stragglers) or self._is_held_enough()):
            return room
        if self._is_hint_tested():
            return count
        return self._probe() if own else 0

    def _set_quota(self, quota: ExecutionQuota, *, keeps: bool = True) -> None:
        before, self._quota = self._quota, quota
        changed = quota.level != before.level or quota.is_hint != before.is_hint
        if self._caps is not None and changed and keeps:
            self._caps.learn(quota.level, quota.cap)

    def _is_hint_tested(self) -> bool:
        """Return whether the hint has held requests back for so long that one more is to be sent."""
        if not self._quota.is_hint:
            return False
        self._held_since = min(self._held_since, self._clock.now())
        return not self._reserved and self._clock.now() - self._held_since >= HINT_TRIAL

    def _is_held_enough(self) -> bool:
        """Return whether no execution has ended for so long that a batch that is not full is to be sent.

        The executions that run on are not waited for again, however long they take.
        """
        hold = min(max(HOLD_FOR, HOLD_SHARE * (self._settled_at - self._accepted_at)), self._max_wait / PROBES)
        if self._clock.now() - self._settled_at < hold:
            return False
        self._stragglers = self._in_flight()
        return True

    def _probe(self) -> int:
        """Return 1 if nothing has settled for another quarter of `max_wait`."""
        if self._waiting_since is None or self._reserved:
            return 0
        if (self._clock.now() - self._waiting_since) * PROBES < (self._probes + 1) * self._max_wait:
            return 0
        self._probes += 1
        return 1

    async def _poll_once(self) -> None:
        """Wait a little, poll the run's own executions once, and wake the queue."""
        now = self._clock.now()
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        left = self._max_wait - (now - self._waiting_since)
        if left <= 0:
            self._give_up(f"gave up after max_wait={self._max_wait:g} s")
            return
        before = self._settled()
        level = self._quota.level or 1
        running = min(self._in_flight(), level)
        self._report(f"waiting for {running} of {level} concurrent executions to settle{self._effect}")
        self._polls += 1
        self._polling = True
        try:
            pause = settle_delay(self._polls, draw=self._clock.draw())
            await cancel_on(self._ended, self._clock.sleep(min(left, pause)))
            if not self._ended.is_set():
                await cancel_on(self._ended, self._poll())
            self._stale = False
        finally:
            self._polling = False
            self._wake()
        if self._settled() > before:
            self._reset_patience(self._clock.now())

    def _settled(self) -> int:
        """Return a number that grows when executions settle, and not when more are accepted."""
        return self._accepted - self._in_flight()

    def _adjust(self, verdict: Retry, sent: int, epoch: int, out_before: int) -> bool:
        """Learn from a refusal; return whether it is about executions in flight."""
        if not (verdict.limited or verdict.cap):
            return False
        # What was sent before the last cut is already covered by that cut.
        if epoch > self._cut_epoch:
            self._window, self._cut_epoch = self._window.cut(), self._epoch
        if verdict.cap is None:
            return False
        self._effect = f", which releases their part of the balance ({verdict.reason})" if verdict.reserved else ""
        others_out = self._in_flight() + self._reserved
        quota = self._quota.cut(verdict.cap, others_out=others_out, sent=sent, out_before=out_before)
        # What a balance has room for says nothing of the cap.
        self._set_quota(quota, keeps=not verdict.reserved)
        self._stale = True
        return True

    def _reserve(self, worker: object, rows: int) -> int:
        self._reservations[worker] = (rows, self._epoch, self._in_flight() + self._reserved)
        self._reserved += rows
        self._began = min(self._began, self._clock.now())
        return rows

    def _end_reservation(self, worker: object) -> tuple[int, int]:
        """Return the cooldown's number and what else was in flight when `worker` made its reservation."""
        rows, epoch, out_before = self._reservations.pop(worker, (0, -1, 0))
        self._reserved -= rows
        return epoch, out_before

    def _reset_patience(self, since: float | None) -> None:
        self._waiting_since, self._polls, self._probes = since, 0, 0

    def _give_up(self, why: str) -> None:
        self.exhausted = f"{why}: {self._reason}"
        self.end()

    def _wake(self) -> None:
        if self._queue:
            self._changed.set()
            self._changed = asyncio.Event()

    def _report(self, sentence: str | None) -> None:
        if sentence != self._reported:
            self._reported = sentence
            self._on_waiting(sentence)
