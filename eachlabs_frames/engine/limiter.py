"""How much of a run may be in flight, learned from 429s and 402s: who may send now, how much, and for how long to wait.

Owns every pause before a trigger. It never sends one and never decides whether one may be sent again, nor what a
refusal means: `core.wire.judge` does.

- A run begins with a few requests; the whole pool sends once they were taken.
- A refusal halves the window of requests, once for the whole run, and closes the gate. The worker that was refused
  first owns the pause: it alone sends when the pause is over (never before ``Retry-After``), and opens the gate
  once the API takes something; a slow start follows.
- A refusal about executions in flight is not cleared by a pause (API reference, "Bulk trigger"): a cap, or a balance
  that they hold. So the run keeps a share of executions, and the first worker in line polls the run's own until there
  is room for a full batch: few full requests, rather than one for each execution that ends.
- Nothing is paced once a run has begun and nothing was refused: `Limiter.acquire` does not even wait for the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Final, NamedTuple

from ..aio.backoff import retry_delay, settle_delay
from ..aio.tasks import cancel_on
from ..api.verdicts import Retry
from ..models import Clock
from .quota import ExecutionQuota, RequestWindow

HOLD_FOR: Final = 5.0
"""Seconds without an end, after which room for less than a full batch is used."""

HOLD_SHARE: Final = 1.0
"""It is held for this multiple of the time that the latest to end had taken, where that is longer."""

RESERVED_TRIES: Final = 3
"""Tries after a 402 about executions in flight while none of the run's own is: the API may free the balance late."""

OPENING_SECONDS: Final = 3.0
"""Seconds after which the whole pool sends, though the first requests are not answered: their answers may be lost."""

PROBES: Final = 4
"""Tries with one row, spread over ``max_wait``, while nothing settles: other users of the cap may have left it."""

WHOLE_TRIES: Final = 2
"""Refusals in a row after which each try is half as large: perhaps it is a cap, in a wording that is not known."""


class _Reservation(NamedTuple):
    rows: int
    epoch: int
    others_out: int
    """This run's executions in flight, and rows of other requests, when it was made."""


class Limiter:
    """The gate that every worker passes before it sends.

    All of it runs on one event loop. A worker is anything hashable, and holds one reservation at most.

    Parameters
    ----------
    clock : Clock
    workers : int
        Requests at once, at most.
    max_wait : float
        Seconds that a run waits in a row, with nothing taken and nothing settled in between.
    on_waiting : callable
        Told, in a sentence, what is waited for; None when sending goes on.
    in_flight : callable
        Counts this frame's executions that were accepted and are not known to have ended.
    poll : callable
        Looks at them once, so that `in_flight` may be smaller afterwards. Raises nothing but cancellation.

    Attributes
    ----------
    exhausted : str or None
        Why the run should not wait any longer, with what the API says; None while it may.
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
    ) -> None:
        self._clock, self._workers, self._max_wait = clock, workers, max_wait
        self._on_waiting, self._in_flight, self._poll = on_waiting, in_flight, poll
        self.exhausted: str | None = None
        self._ended = asyncio.Event()
        # What is out, and how much more may be.
        self._reservations: dict[object, _Reservation] = {}
        self._reserved = self._accepted = 0
        self._began = inf  # when the first request was sent
        self._window, self._quota = RequestWindow.at_start(workers), ExecutionQuota()
        # Who waits, in order, and what wakes them; how often they looked, and whether what is known is too old.
        self._queue: dict[object, None] = {}
        self._changed = asyncio.Event()
        self._polling = self._stale = False
        self._polls = 0
        # When the latest request was taken, when executions last settled, and those that no batch is held for.
        self._taken_at = self._settled_at = 0.0
        self._settled_before = self._stragglers = 0
        # The cooldown: whose it is, until when, its refusals, and which one the last cut was made in.
        self._owner: object = None
        self._until = 0.0
        self._tries = self._epoch = 0
        self._cut_epoch = -1
        # Patience: since when nothing goes on, and what is said of it.
        self._waiting_since: float | None = None
        self._probes = 0
        self._reason, self._frees = "", ""
        self._reported: str | None = None

    async def acquire(self, worker: object, count: int) -> int:
        """Wait until `worker` may send; return how many inputs, which are reserved for it.

        The reservation ends with `release`, `back_off` or `abandon`. With little room a worker sends what fits,
        but it is held for a while until there is room for a full batch.

        Returns
        -------
        int
            From 1 to `count`; 0 when the run is over or patience is at its end.
        """
        calm = not (self._queue or self._tries or self._quota.level or self._ended.is_set())
        if calm and len(self._reservations) < self._window.size:
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
        """Note that the API took nothing; the pause is then waited out in `acquire`.

        Returns
        -------
        bool
            False where patience, or the run, is at its end.
        """
        reservation = self._end_reservation(worker)
        if self._ended.is_set():
            return False
        self._reason = verdict.reason
        capped = self._adjust(verdict, sent, reservation)
        now = self._clock.now()
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        self._owner = worker if self._owner is None else self._owner
        delay = verdict.after or 0.0
        if self._owner == worker:
            self._tries += 1
            if not (capped and self._in_flight()):
                delay = retry_delay(self._tries, floor=verdict.after, draw=self._clock.draw())
            if delay:
                self._report(f"{verdict.reason}; retrying in {delay:.0f} s")
        self._until = max(self._until, now + delay)
        if verdict.reserved and not self._is_cleared_by_own(reservation):
            self._give_up("no execution of this run is in flight that could release a part of the balance")
        elif (verdict.after or 0.0) > self._max_wait:
            self._give_up(f"the API asks to wait {verdict.after:.0f} s, more than max_wait={self._max_wait:g} s")
        elif self._until - self._waiting_since > self._max_wait:
            self._give_up(f"gave up after max_wait={self._max_wait:g} s")
        self._wake()
        return not self._ended.is_set()

    def _is_cleared_by_own(self, reservation: _Reservation | None) -> bool:
        """Return whether executions of this run that end may clear a 402, or have ended only a few tries ago."""
        others_out = 0 if reservation is None else reservation.others_out
        return bool(others_out or self._reserved or self._in_flight() or self._tries <= RESERVED_TRIES)

    def release(self, worker: object, sent: int, accepted: int) -> None:
        """Note any other answer; `accepted` of the inputs are counted by `in_flight` from now on."""
        if worker not in self._reservations or not sent:
            self.abandon(worker)
            return
        self._end_reservation(worker)
        self._reset_patience(None)
        # A refusal of inputs, too, is an answer of an API that has room for the request.
        self._window = self._window.grown(self._workers)
        if accepted:
            self._accepted += accepted
            self._taken_at = self._settled_at = self._clock.now()
            if self._quota.level is not None:
                self._quota = self._quota.grown(self._in_flight() + self._reserved)
        if worker == self._owner:
            self._owner, self._until, self._tries, self._stale = None, 0.0, 0, False
            self._epoch += 1
            self._report(None)
        self._wake()

    def abandon(self, worker: object) -> None:
        """Give back whatever `worker` holds: it goes without an answer, or was cancelled. Harmless to repeat."""
        self._end_reservation(worker)
        if worker == self._owner:
            self._owner = None
        self._wake()

    def end(self) -> None:
        """Let everybody through with nothing and end every pause: the run is over."""
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
        """Wait for news; the first in line waits `OPENING_SECONDS` at most for answers to a run's first requests."""
        left = self._began + OPENING_SECONDS - self._clock.now()
        if not self._window.opening or self._tries or worker != next(iter(self._queue)):
            await self._changed.wait()
        elif left > 0:
            await cancel_on(self._changed, self._clock.sleep(left))
        else:
            self._window = self._window.opened(self._workers)
            self._wake()

    def _takes_turn(self, worker: object) -> bool:
        """Say whether it is on `worker` to go on: the owner's while there is one, else the first in line's."""
        if self._owner is None and worker == next(iter(self._queue)):
            if not self._tries:
                return len(self._reservations) < self._window.size
            self._owner = worker  # The last owner went away, and the pause is not over.
        return worker == self._owner

    def _room(self, count: int) -> int:
        """Return how many inputs may be sent now; 0 where some of what is out has to settle first."""
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
        return self._probe() if own else 0

    def _is_held_enough(self) -> bool:
        """Return whether executions have not ended for so long that room for less than a full batch is to be used.

        Those that run on are then not waited for again, however long they take.
        """
        hold = min(max(HOLD_FOR, HOLD_SHARE * (self._settled_at - self._taken_at)), self._max_wait / PROBES)
        if self._clock.now() - self._settled_at < hold:
            return False
        self._stragglers = self._in_flight()
        return True

    def _probe(self) -> int:
        """Return 1 where nothing has settled for another quarter of the patience."""
        if self._waiting_since is None or self._reserved:
            return 0
        if (self._clock.now() - self._waiting_since) * PROBES < (self._probes + 1) * self._max_wait:
            return 0
        self._probes += 1
        return 1

    async def _poll_once(self) -> None:
        """Wait a little and look once at the run's own executions; whoever waits for room hears of it."""
        now = self._clock.now()
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        left = self._max_wait - (now - self._waiting_since)
        if left <= 0:
            self._give_up(f"gave up after max_wait={self._max_wait:g} s")
            return
        before = self._settled()
        level = self._quota.level or 1
        running = min(self._in_flight(), level)
        self._report(f"waiting for {running} of {level} concurrent executions to settle{self._frees}")
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

    def _adjust(self, verdict: Retry, sent: int, reservation: _Reservation | None) -> bool:
        """Learn from a refusal; return whether it is about executions in flight."""
        if not (verdict.limited or verdict.cap):
            return False
        # What was sent before the last cut is already covered by that cut.
        if reservation is not None and reservation.epoch > self._cut_epoch:
            self._window, self._cut_epoch = self._window.cut(), self._epoch
        if verdict.cap is None:
            return False
        self._frees = f", which releases their part of the balance ({verdict.reason})" if verdict.reserved else ""
        self._quota = self._quota.cut(
            verdict.cap,
            others_out=self._in_flight() + self._reserved,
            sent=sent,
            out_before=0 if reservation is None else reservation.others_out,
        )
        self._stale = True
        return True

    def _reserve(self, worker: object, rows: int) -> int:
        self._reservations[worker] = _Reservation(rows, self._epoch, self._in_flight() + self._reserved)
        self._reserved += rows
        self._began = min(self._began, self._clock.now())
        return rows

    def _end_reservation(self, worker: object) -> _Reservation | None:
        reservation = self._reservations.pop(worker, None)
        if reservation is not None:
            self._reserved -= reservation.rows
        return reservation

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
