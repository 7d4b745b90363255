"""The rerun guard: a call that would pay again for inputs that the journal knows as accepted is refused, or warns.

It reads the journal and raises or warns; it never decides which rows a call is about. Two calls that begin within the
same moment may both pass: neither has sent anything yet that the other could find.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from ..errors import JournalError, RunError
from ..inputs.fingerprints import Fingerprints, repeated
from ..journal import open_journal
from ..journal.base import RecentRun, RunSpec
from ..settings import Settings
from ..stacklevel import find_stack_level

logger = logging.getLogger("eachlabs_frames")

NANO: Final = 1_000_000_000
MAX_NAMED: Final = 3
"""Runs that a message names."""


@dataclass(frozen=True, slots=True)
class RepeatedRows:
    """The rows of a call whose inputs were sent lately.

    Attributes
    ----------
    rows : int
        Rows that the call would send.
    runs : sequence of (RecentRun, int)
        The runs that have sent some of them, and how many; the newest first.
    unanswered : int
        Rows of those that have no execution yet: their answer was lost, or a call at work is about to send them.
    """

    rows: int
    runs: Sequence[tuple[RecentRun, int]]
    unanswered: int

    @property
    def count(self) -> int:
        """How many of the rows were sent."""
        return sum(count for _, count in self.runs)

    @property
    def run(self) -> RecentRun:
        """The run that has sent most of them."""
        return max(self.runs, key=lambda pair: pair[1])[0]

    def facts(self) -> str:
        """Say how many, when and in which run; the sentence is not ended."""
        if self.rows == 1:
            how_many = "the row was"
        elif self.count == self.rows:
            how_many = f"all {self.rows} rows were"
        else:
            how_many = f"{self.count} of {self.rows} rows {'was' if self.count == 1 else 'were'}"
        named = [f"{count} in run {run.name!r} at {_moment(run.at)}" for run, count in self.runs[:MAX_NAMED]]
        more = len(self.runs) - MAX_NAMED
        where = ", ".join(named) + (f" and {more} older run(s)" if more > 0 else "")
        doubts = f"; {self.unanswered} without a response so far, perhaps billed" if self.unanswered else ""
        return f"{how_many} accepted before with the same input ({where}{doubts})"


class RerunGuard:
    """What other runs of the same workflow, version, server and mapping have sent within `Settings.rerun_guard`.

    Parameters
    ----------
    settings : Settings
    pin : RunSpec
        What this call agrees with the other runs on.
    own : str, optional
        The call's own run, whose rows its journal entry knows.
    retries : bool
        Whether the call retries failed rows, so that no run's name makes it go on with another run.
    """

    def __init__(self, settings: Settings, pin: RunSpec, *, own: str | None = None, retries: bool = False) -> None:
        self._pin = pin
        self._own = own
        self._retries = retries
        self._runs = _recent_runs(settings, pin, own)

    def __bool__(self) -> bool:
        """Whether there is any such run."""
        return bool(self._runs)

    def find(self, inputs: Fingerprints) -> RepeatedRows | None:
        """Return what is known of these inputs, None where no other run has sent any of them."""
        rows, left = len(inputs), inputs
        runs: list[tuple[RecentRun, int]] = []
        unanswered = 0
        for run in self._runs:
            before = len(left)
            left = left[~repeated(left, run.accepted)]
            accepted = before - len(left)
            left = left[~repeated(left, run.unanswered)]
            unanswered += before - accepted - len(left)
            if len(left) < before:
                runs.append((run, before - len(left)))
        return RepeatedRows(rows, runs, unanswered) if runs else None

    def check(self, inputs: Fingerprints) -> None:
        """Refuse a call that would send nothing but these inputs, or warn of those that are paid again.

        Raises
        ------
        RunError
            Every one of them was sent before.
        """
        repeats = self.find(inputs) if self else None
        if repeats is None:
            return
        facts, run = repeats.facts(), repeats.run
        if repeats.count == repeats.rows:
            msg = f"{facts}: nothing was sent. {self._ways_on(run)}"
            raise RunError(msg)
        msg = f"{facts}: these are sent and paid for again; in run {run.name!r}, only the other rows would be"
        # Before anything is sent: where warnings are errors, this refuses the call.
        warnings.warn(msg, UserWarning, stacklevel=find_stack_level())

    def _ways_on(self, run: RecentRun) -> str:
        if self._retries:
            return (
                f"load_run({run.name!r}) gives their results; to pay for them once more, trigger these rows with "
                "retrigger=True"
            )
        if self._own is not None:
            return (
                f"run={self._own!r}, the frame's own run, sends and pays for such rows; load_run({run.name!r}) "
                f"returns their results"
            )
        go_on = f"run={run.name!r} continues that run, and sends only what it has not sent"
        if self._pin.key not in (None, run.key):
            go_on = f"load_run({run.name!r}) returns that run's results"
        return f"{go_on}; retrigger=True sends and pays for every row again"


def _recent_runs(settings: Settings, pin: RunSpec, own: str | None) -> Sequence[RecentRun]:
    if settings.rerun_guard is None:
        return ()
    since = time.time_ns() - int(settings.rerun_guard * NANO)
    try:
        return open_journal(settings.journal).recent_runs(pin, since, without=own)
    except JournalError as exc:
        logger.warning("what was sent before cannot be read from the journal: %s", exc)
        return ()


def _moment(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // NANO, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
