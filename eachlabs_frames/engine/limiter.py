"""How much of a run may be in flight, learned from 429s: who may send now, how many inputs, and when patience ends.

Owns every pause before a trigger. It never sends one and never decides whether one may be sent again.

- A 429 halves the window of requests, once for the whole run, and closes the gate. The worker that was refused
  first owns the pause: it alone knocks when the pause is over (never before ``Retry-After``), and opens the gate
  once the API takes something; a slow start follows.
- Words about executions at once are a cap: backoff does not clear it (API reference, "Bulk trigger"). So the run
  keeps a share of executions, and whoever is first in line looks at the run's own until some have settled.
- Nothing is paced while nothing was refused: then `Limiter.admitted` does not even wait for the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from ..core.caps import Share, Window, read_cap
from ..core.pacing import retry_delay, settle_delay
from ..core.wire import Retry
from ..models import Clock
from .pool import until

TENTH: Final = 10
"""A worker waits one more look to fill this part of the share, or its batch: 1 of 100 free slots is no batch."""

PROBES: Final = 4
"""Knocks of one row, spread over the patience, while nothing settles: other users of the cap may have left it."""

WHOLE_KNOCKS: Final = 2
"""Refusals in a row after which each knock is half as large: perhaps it is a cap, in words that nobody reads."""


class _Stake(NamedTuple):
    rows: int
    epoch: int


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
    tell : callable
        Told, in a sentence, what is waited for; None when sending goes on.
    in_flight : callable
        Counts this frame's executions that were accepted and are not known to have ended.
    poll : callable
        Looks at them once, so that `in_flight` may be smaller afterwards. Raises nothing but cancellation.

    Attributes
    ----------
    exhausted : str or None
        What was waited for, in the API's words, once patience has ended.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        workers: int,
        max_wait: float,
        tell: Callable[[str | None], None],
        in_flight: Callable[[], int],
        poll: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._clock, self._workers, self._max_wait = clock, workers, max_wait
        self._tell, self._in_flight, self._poll = tell, in_flight, poll
        self.exhausted: str | None = None
        self._over = asyncio.Event()
        # What is out, and how much more may be.
        self._stakes: dict[object, _Stake] = {}
        self._reserved = self._accepted = 0
        self._window, self._share = Window(workers, workers), Share()
        # Who waits, in order, and what wakes them; how often they looked, and whether what is known is too old.
        self._line: dict[object, None] = {}
        self._news = asyncio.Event()
        self._looking = self._stale = False
        self._looks = 0
        # The cooldown: whose it is, until when, its refusals, and which one the last cut was made in.
        self._owner: object = None
        self._until = 0.0
        self._tries = self._epoch = 0
        self._cut_epoch = -1
        # Patience: since when nothing goes on, and what is said of it.
        self._since: float | None = None
        self._probes = 0
        self._reason = ""
        self._told: str | None = None

    async def admitted(self, worker: object, wanted: int) -> int:
        """Wait until `worker` may send; return how many inputs, which are reserved for it.

        The reservation ends with `answered`, `refused` or `leave`. With little room a worker sends what fits,
        but it waits one further look for room for a tenth of the share.

        Returns
        -------
        int
            From 1 to `wanted`; 0 when the run is over or patience is at its end.
        """
        calm = not (self._line or self._tries or self._share.level or self._over.is_set())
        if calm and len(self._stakes) < self._window.size:
            return self._reserve(worker, wanted)
        self._line[worker] = None
        try:
            return await self._stand(worker, wanted)
        except BaseException:
            self.leave(worker)
            raise
        finally:
            self._line.pop(worker, None)
            self._wake()

    async def refused(self, worker: object, verdict: Retry, sent: int) -> bool:
        """Note that the API took nothing; the pause is then waited out in `admitted`.

        Returns
        -------
        bool
            False where patience, or the run, is at its end.
        """
        stake = self._give_back(worker)
        if self._over.is_set():
            return False
        self._reason = verdict.reason
        capped = verdict.limited and self._learn(verdict, sent, stake)
        now = self._clock.now()
        self._since = now if self._since is None else self._since
        self._owner = worker if self._owner is None else self._owner
        delay = verdict.after or 0.0
        if self._owner == worker:
            self._tries += 1
            if not (capped and self._in_flight()):
                delay = retry_delay(self._tries, floor=verdict.after, draw=self._clock.draw())
            if delay:
                self._say(f"{verdict.reason}; next try in {delay:.0f} s")
        self._until = max(self._until, now + delay)
        if self._until - self._since > self._max_wait:
            self._give_up()
        self._wake()
        return not self._over.is_set()

    def answered(self, worker: object, sent: int, accepted: int) -> None:
        """Note any other answer; `accepted` of the inputs are counted by `in_flight` from now on."""
        if worker not in self._stakes or not sent:
            self.leave(worker)
            return
        self._give_back(worker)
        self._progress(None)
        if accepted:
            self._accepted += accepted
            self._window = self._window.grown(self._workers)
            if self._share.level is not None:
                self._share = self._share.grown(self._in_flight() + self._reserved)
        if worker == self._owner:
            self._owner, self._until, self._tries, self._stale = None, 0.0, 0, False
            self._epoch += 1
            self._say(None)
        self._wake()

    def leave(self, worker: object) -> None:
        """Give back whatever `worker` holds: it goes without an answer, or was cancelled. Harmless to repeat."""
        self._give_back(worker)
        if worker == self._owner:
            self._owner = None
        self._wake()

    def end(self) -> None:
        """Let everybody through with nothing and end every pause: the run is over."""
        self._over.set()
        self._wake()

    async def _stand(self, worker: object, wanted: int) -> int:
        looked = False
        while not self._over.is_set():
            if not self._takes_turn(worker):
                await self._news.wait()
            elif (pause := self._until - self._clock.now()) > 0:
                await until(self._over, self._clock.sleep(pause))
            elif rows := self._room(wanted, looked=looked):
                if self._owner is None:
                    self._say(None)
                return self._reserve(worker, rows)
            elif self._looking or not self._in_flight():
                looked = looked or self._looking
                await self._news.wait()
            else:
                looked = True
                await self._look()
        return 0

    def _takes_turn(self, worker: object) -> bool:
        """Say whether it is on `worker` to go on: the owner's while there is one, else the first in line's."""
        if self._owner is None and worker == next(iter(self._line)):
            if not self._tries:
                return len(self._stakes) < self._window.size
            self._owner = worker  # The last owner went away, and the pause is not over.
        return worker == self._owner

    def _room(self, wanted: int, *, looked: bool) -> int:
        """Return how many inputs may be sent now; 0 where some of what is out has to settle first."""
        level = self._share.level
        if level is None:
            knocks = self._tries if self._cut_epoch == self._epoch else 0
            return max(1, wanted >> max(0, knocks - WHOLE_KNOCKS))
        own = self._in_flight()
        if not own:
            return min(wanted, max(0, level - self._reserved))
        room = 0 if self._stale else min(wanted, level - own - self._reserved)
        if room >= (1 if looked else max(1, min(wanted, level // TENTH))):
            return room
        return self._probe()

    def _probe(self) -> int:
        """Return 1 where nothing has settled for another quarter of the patience."""
        if self._since is None or self._reserved:
            return 0
        if (self._clock.now() - self._since) * PROBES < (self._probes + 1) * self._max_wait:
            return 0
        self._probes += 1
        return 1

    async def _look(self) -> None:
        """Wait a little and look once at the run's own executions; whoever waits for room hears of it."""
        now = self._clock.now()
        self._since = now if self._since is None else self._since
        left = self._max_wait - (now - self._since)
        if left <= 0:
            self._give_up()
            return
        before = self._settled()
        level = self._share.level or 1
        self._say(f"waiting for {min(self._in_flight(), level)} of {level} concurrent executions to settle")
        self._looks += 1
        self._looking = True
        try:
            pause = settle_delay(self._looks, draw=self._clock.draw())
            await until(self._over, self._clock.sleep(min(left, pause)))
            if not self._over.is_set():
                await until(self._over, self._poll())
            self._stale = False
        finally:
            self._looking = False
            self._wake()
        if self._settled() > before:
            self._progress(self._clock.now())

    def _settled(self) -> int:
        """Return a number that grows when executions settle, and not when more are accepted."""
        return self._accepted - self._in_flight()

    def _learn(self, verdict: Retry, sent: int, stake: _Stake | None) -> bool:
        """Learn from a 429; return whether it is about executions at once."""
        # What was admitted before the last cut is part of what the cut answered.
        if stake is not None and stake.epoch > self._cut_epoch:
            self._window, self._cut_epoch = self._window.cut(), self._epoch
        said = read_cap(verdict.reason)
        if said is None:
            return False
        self._share = self._share.cut(said, others_out=self._in_flight() + self._reserved, sent=sent)
        self._stale = True
        return True

    def _reserve(self, worker: object, rows: int) -> int:
        self._stakes[worker] = _Stake(rows, self._epoch)
        self._reserved += rows
        return rows

    def _give_back(self, worker: object) -> _Stake | None:
        stake = self._stakes.pop(worker, None)
        if stake is not None:
            self._reserved -= stake.rows
        return stake

    def _progress(self, since: float | None) -> None:
        self._since, self._looks, self._probes = since, 0, 0

    def _give_up(self) -> None:
        self.exhausted = self._reason
        self.end()

    def _wake(self) -> None:
        if self._line:
            self._news.set()
            self._news = asyncio.Event()

    def _say(self, sentence: str | None) -> None:
        if sentence != self._told:
            self._told = sentence
            self._tell(sentence)
