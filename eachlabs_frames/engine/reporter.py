"""Turns the steps of a run or a download into events, for one observer. What an observer raises stays here."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..core.outcomes import Results
from ..models import SETTLED, Event, EventKind, Observer, Outcome

logger = logging.getLogger("eachlabs_frames")


class Reporter:
    """Tells one observer how a call goes.

    Parameters
    ----------
    observer : Observer or None
    results : Results
    total : int
        Rows that the call is about.
    done : int
        Rows of those that needed nothing from the start.
    until_settled : bool
        Whether a row is done when its execution has ended, rather than when the API has answered for it.
    """

    def __init__(
        self,
        observer: Observer | None,
        results: Results,
        *,
        total: int,
        done: int = 0,
        until_settled: bool = False,
    ) -> None:
        self._observer = observer
        self._results = results
        self._total = total
        self._answered = done
        self._until_settled = until_settled
        self._waiting_for: str | None = None
        self._looking_for = 0
        self._stale_since: float | None = None
        self.balance_usd: float | None = None

    def started(self) -> None:
        """Say that the call begins."""
        self._tell("started")

    def answered(self, outcomes: Sequence[Outcome]) -> None:
        """Say that the API answered for these rows."""
        self._answered += len(outcomes)
        self._tell("answered", changed=outcomes)

    def refreshed(self, outcomes: Sequence[Outcome]) -> None:
        """Say that a look changed these rows."""
        self._tell("refreshed", changed=outcomes)

    def tracking(self) -> None:
        """Say that nothing more is sent, and that the executions are waited for."""
        self._tell("tracking")

    def stale(self, since: float | None) -> None:
        """Say when a look was last answered (epoch seconds), where the latest was not; None: it was."""
        if (since is None) != (self._stale_since is None):
            self._stale_since = since
            self._tell("stale")

    def waiting(self, reason: str | None) -> None:
        """Say what is waited for, or that it is over."""
        if reason is not None:
            logger.info("waiting: %s", reason)
        self._waiting_for = reason
        self._tell("resumed" if reason is None else "waiting")

    def looking(self, rows: int) -> None:
        """Say for how many rows a lost answer is looked for."""
        self._looking_for = rows
        self._tell("waiting" if rows or self._waiting_for else "resumed")

    def balance(self, balance_usd: float) -> None:
        """Say what the account may still spend."""
        self.balance_usd = balance_usd
        self._tell("balance")

    def stopped(self, reason: str) -> None:
        """Say that nothing more is sent."""
        logger.info("stopped: %s", reason)
        self._waiting_for = reason
        self._tell("stopped")

    def finished(self) -> None:
        """Say that the run is over."""
        self._tell("finished")

    def _tell(self, kind: EventKind, *, changed: Sequence[Outcome] = ()) -> None:
        if self._observer is None:
            return
        tally = self._results.tally()
        settled = sum(count for status, count in tally.items() if status in SETTLED)
        done = settled if self._until_settled else self._answered
        event = Event(
            kind,
            self._total,
            done,
            self._results.accepted,
            tally,
            # As they were written: an answer may leave unsaid what an earlier one has said.
            tuple(self._results.outcome(one.position) for one in changed),
            self._reason(),
            self.balance_usd,
            self._stale_since,
        )
        if not heard(self._observer, event):
            self._observer = None

    def _reason(self) -> str | None:
        """Return what is waited for, and what is looked for beside it."""
        looking = f"looking for the lost answers of {self._looking_for} rows" if self._looking_for else None
        return "; ".join(filter(None, (self._waiting_for, looking))) or None


class FileReporter:
    """Tells one observer how a download goes.

    Parameters
    ----------
    observer : Observer or None
    total : int
        Files that the call is about.
    complete : int
        Files of those that were there from the start.
    accepted : int
        Rows of the frame that have an execution.
    """

    def __init__(self, observer: Observer | None, *, total: int, complete: int, accepted: int) -> None:
        self._observer = observer
        self._total = total
        self._accepted = accepted
        self._tally = {"complete": complete, "downloaded": 0, "failed": 0}

    def started(self) -> None:
        """Say that the call begins."""
        self._tell("started")

    def fetched(self, *, failed: bool) -> None:
        """Say that a file has come, or will not."""
        self._tally["failed" if failed else "downloaded"] += 1
        self._tell("downloaded")

    def finished(self) -> None:
        """Say that the call is over."""
        self._tell("finished")

    def _tell(self, kind: EventKind) -> None:
        if self._observer is None:
            return
        tally = dict(self._tally)
        event = Event(kind, self._total, sum(tally.values()), self._accepted, tally)
        if not heard(self._observer, event):
            self._observer = None


def heard(observer: Observer, event: Event) -> bool:
    """Tell `observer`, and say whether it may be told again."""
    try:
        observer(event)
    except Exception:
        logger.exception("the progress observer raised, and is not called again; the run goes on")
        return False
    return True
