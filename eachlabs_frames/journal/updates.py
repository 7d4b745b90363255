"""Records in the journal how executions of a frame have ended.

What is recorded here can be read from the API again, so a journal that cannot be written only causes a warning.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import cached_property

from ..errors import JournalError
from ..models import Outcome
from ..results import Results
from .base import Journal, RunJournal

logger = logging.getLogger("eachlabs_frames")


class JournalUpdater:
    """The records of one call that only polls; the run is opened when it is first needed.

    Parameters
    ----------
    journal : Journal
    run : str or None
        None if the executions' run is not known: nothing is recorded.
    results : Results, optional
        The frame's rows, if the call is about those of a frame.
    """

    def __init__(self, journal: Journal, run: str | None, results: Results | None = None) -> None:
        self._journal = journal
        self._run = run
        self._results = Results(0) if results is None else results
        self._is_tried = False
        self._run_journal: RunJournal | None = None
        self._numbers: dict[str, int] = {}
        self._rows: list[int] = []

    def known(self, execution_id: str) -> Outcome | None:
        """Return the state of an execution when the journal was opened; None if it is not of this run."""
        run_journal = self._opened()
        number = self._numbers.get(execution_id)
        return None if run_journal is None or number is None else run_journal.state.results.outcome(number)

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Record how these executions have ended."""
        run_journal = self._opened() if outcomes else None
        if run_journal is not None:
            numbers = [self._numbers.get(str(outcome.execution_id), -1) for outcome in outcomes]
            pairs = zip(outcomes, numbers, strict=True)
            run_journal.update([outcome._replace(position=number) for outcome, number in pairs if number >= 0])

    def content(self, row: int) -> bytes | None:
        """Return the fingerprint of a row's input, if the journal knows the row's execution."""
        run_journal = self._opened()
        return None if run_journal is None else run_journal.content(self._rows[row])

    def content_of(self, execution_id: str) -> bytes | None:
        """Return the fingerprint of the input that an execution was started with, if the journal knows it."""
        if self._run_journal is None:
            return None
        return self._run_journal.content(self._numbers.get(execution_id, -1))

    def sent_at(self, row: int) -> float | None:
        """Return the epoch seconds before which a row was sent, if the journal knows the row's execution."""
        return None if self._opened() is None or self._rows[row] < 0 else self._last_sent

    @cached_property
    def _last_sent(self) -> float | None:
        assert self._run is not None
        try:
            return self._journal.last_sent(self._run)
        except JournalError as exc:
            logger.warning("when the rows were sent cannot be read from the journal: %s", exc)
            return None

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        """Record that rows have other executions than the journal says."""
        if self._run_journal is None:
            return
        numbered = [outcome._replace(position=self._rows[outcome.position]) for outcome in outcomes]
        self._run_journal.correct([outcome for outcome in numbered if outcome.position >= 0])
        for outcome in numbered:
            if outcome.execution_id is not None:
                self._numbers[outcome.execution_id] = outcome.position

    def _opened(self) -> RunJournal | None:
        if not self._is_tried and self._run is not None:
            self._is_tried = True
            self._open(self._run)
        return self._run_journal

    def _open(self, run: str) -> None:
        try:
            self._run_journal = run_journal = self._journal.open(run)
            spec = run_journal.spec()
            if spec is None:
                self.close()
                return
            run_journal.enter(spec)
            run_journal.read_all()
        except JournalError as exc:
            logger.warning("the new states are not recorded: %s", exc)
            self.close()
            return
        self._numbers = run_journal.state.executions()
        # By the rows' present executions: a correction may change them.
        self._rows = [self._numbers.get(str(execution_id), -1) for execution_id in self._results.execution_id]

    def close(self) -> None:
        """Write what is left, and leave the run."""
        if self._run_journal is not None:
            run_journal, self._run_journal = self._run_journal, None
            failure = run_journal.close()
            if failure is not None:
                logger.warning("the new states could not be recorded: %s", failure)


class RunRows:
    """The rows of a running call, as a tracker reads and records them.

    Parameters
    ----------
    run_journal : RunJournal
    numbers : sequence of int
        The number in the run of each row of the frame, by position; empty if no row has one.
    """

    def __init__(self, run_journal: RunJournal, numbers: Sequence[int]) -> None:
        self._run_journal = run_journal
        self._numbers = numbers

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Record how executions have ended."""
        self._run_journal.update(self._numbered(outcomes))

    def content(self, row: int) -> bytes | None:
        """Return the fingerprint of a row's input."""
        return self._run_journal.content(self._numbers[row]) if len(self._numbers) else None

    def sent_at(self, _row: int) -> float:
        """Return the epoch seconds before which a row was sent: now, for this call sends rows while it polls."""
        return time.time()

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        """Record that rows have other executions than in the API's responses."""
        self._run_journal.correct(self._numbered(outcomes))

    def _numbered(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        if not len(self._numbers):
            return []
        numbered = [outcome._replace(position=self._numbers[outcome.position]) for outcome in outcomes]
        return [outcome for outcome in numbered if outcome.position >= 0]
