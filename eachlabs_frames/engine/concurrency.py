"""Computes how much may be in flight: request windows and execution quotas, and how a refusal cuts them.

Pure functions of numbers. It never waits and never counts anything itself: `engine.limiter` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ..api.verdicts import Cap

PROBE_AFTER: Final = 10
"""Requests accepted after a refusal before a quota may grow again: at most one in ten is refused for probing."""

OPENING: Final = 2
"""Requests with which a run begins; the whole pool sends once they were accepted."""

SMALL_POOL: Final = 4
"""Requests at once, up to which a run begins with all of them: a cap refuses too few of those to wait for."""

RECHECK_AFTER: Final = 50
"""Requests accepted before one more than the API's own cap is tried: a balance may be topped up during a run."""


@dataclass(frozen=True, slots=True)
class RequestWindow:
    """How many requests may be in flight at once: halved by a refusal, then a slow start, then one more per round.

    Attributes
    ----------
    size : int
        Requests at once.
    slow_until : int
        Up to this size it doubles per round; above, it grows by one per round.
    accepted : int
        Requests accepted in this round of the slow growth.
    opening : int
        Requests that have to be accepted before the whole pool may send; 0 once they were.
    """

    size: int
    slow_until: int
    accepted: int = 0
    opening: int = 0

    @classmethod
    def at_start(cls, workers: int) -> RequestWindow:
        """Return the window of a run that begins: `OPENING` requests, so that a cap refuses those and not the pool's.

        An account with a cap of 10 executions accepts one request of ten: a pool of eight would have seven refused.
        """
        if workers <= SMALL_POOL:
            return cls(workers, workers)
        return cls(OPENING, workers, opening=OPENING)

    def opened(self, workers: int) -> RequestWindow:
        """Return the window of a run whose first requests are answered, or are overdue."""
        return RequestWindow(workers, self.slow_until) if self.opening else self

    def cut(self) -> RequestWindow:
        """Return the window after a refusal: a slow start from 1 up to half of what it was."""
        reached = self.slow_until if self.opening else self.size
        return RequestWindow(1, max(1, reached // 2))

    def grown(self, workers: int) -> RequestWindow:
        """Return the window after a request was accepted; it is never larger than the pool of `workers`."""
        if self.opening > 1:
            return replace(self, opening=self.opening - 1)
        if self.opening:
            return self.opened(workers)
        if self.size >= workers:
            return self
        if self.size < self.slow_until:
            return RequestWindow(self.size + 1, self.slow_until)
        if self.accepted + 1 >= self.size:
            return RequestWindow(self.size + 1, self.slow_until)
        return replace(self, accepted=self.accepted + 1)


@dataclass(frozen=True, slots=True)
class ExecutionQuota:
    """How many executions of this run may be in flight at once: the API's cap, less what others seem to use of it.

    Attributes
    ----------
    level : int or None
        Executions at once, at least 1; None while nothing is known.
    cap : int or None
        The cap that the API last stated; None where it stated none, or where more than that was accepted since.
    accepted : int
        Requests accepted since the last refusal.
    is_hint : bool
        Whether an earlier call has learned it, and nothing was refused in this one.
    """

    level: int | None = None
    cap: int | None = None
    accepted: int = 0
    is_hint: bool = False

    def cut(self, stated: Cap, *, others_out: int, sent: int, out_before: int = 0) -> ExecutionQuota:
        """Return the quota after `sent` inputs were refused while `others_out` others were in flight or being sent.

        Parameters
        ----------
        stated : Cap
            What the refusal says. Where it says how much is free, that is believed. Where it names the cap alone and
            this run's own executions explain the refusal, the share is the cap. Else half of `sent` may fit.
        others_out : int
            This run's executions in flight, and inputs that other requests carry.
        sent : int
            Inputs of the refused request: fewer than these fit.
        out_before : int
            As `others_out`, when the request was sent: some of those may have ended since.
        """
        cap = stated.limit or self.cap
        if stated.limit is None:
            fits = others_out + sent // 2
        elif stated.used is not None:
            fits = others_out + max(0, min(sent - 1, stated.limit - stated.used))
        elif max(others_out, out_before) + sent > stated.limit:
            fits = stated.limit
        else:
            fits = others_out + sent // 2
        bounds = (fits, self.level, cap)
        return ExecutionQuota(max(1, min(bound for bound in bounds if bound is not None)), cap)

    def grown(self, out: int) -> ExecutionQuota:
        """Return the quota after a request was accepted and `out` executions and inputs are in flight or being sent.

        It grows by one, where it is used up, with each request after the first `PROBE_AFTER` (or `RECHECK_AFTER`,
        where that is more than the API's own cap). A hint is dropped if the API accepts more than the cap that was
        stated, or twice the level.
        """
        if self.level is None:
            return self
        if self.is_hint and out > (self.cap or 2 * self.level):
            return ExecutionQuota()
        accepted = self.accepted + 1
        at_cap = self.level == self.cap
        if out < self.level or accepted <= (RECHECK_AFTER if at_cap else PROBE_AFTER):
            return replace(self, accepted=accepted)
        return ExecutionQuota(self.level + 1, None if at_cap else self.cap, accepted)
