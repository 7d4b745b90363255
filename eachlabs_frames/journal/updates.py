"""Notes into the journal how executions have ended that a frame's owner waits for. A help, never a hindrance.

What it notes can be asked of the API again, so a journal that cannot be written only costs a warning here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from ..errors import JournalError
from ..models import Outcome
from ..results import Results
from .recent import last_sent
from .sqlite import SqliteRunJournal

logger = logging.getLogger("eachlabs_frames")


class JournalUpdater:
    """The notes of one call; the journal is opened when it is first needed.

    Parameters
    ----------
    journal : pathlib.Path or None
    run : str or None
    results : Results, optional
        The rows that the call is about, where it is about a frame's.
    """

    def __init__(self, journal: Path | None, run: str | None, results: Results | None = None) -> None:
        self._path = self._journal = journal
        self._run = run
        self._results = Results(0) if results is None else results
        self._entry: SqliteRunJournal | None = None
        self._numbers: dict[str, int] = {}
        self._rows: list[int] = []

    def known(self, execution_id: str) -> Outcome | None:
        """Return what the journal knew of an execution when it was opened; None where it is none of this run's."""
        if self._entry is None and not self._open():
            return None
        assert self._entry is not None
        number = self._numbers.get(execution_id)
        return None if number is None else self._entry.book.results.outcome(number)

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Note how these executions have ended."""
        if not outcomes or (self._entry is None and not self._open()):
            return
        assert self._entry is not None
        numbers = [self._numbers.get(str(one.execution_id), -1) for one in outcomes]
        known = zip(outcomes, numbers, strict=True)
        self._entry.look([one._replace(position=number) for one, number in known if number >= 0])

    def content(self, row: int) -> bytes | None:
        """Return the fingerprint of a row's input, where the journal knows the row's execution."""
        if self._entry is None and not self._open():
            return None
        assert self._entry is not None
        return self._entry.known_content(self._rows[row])

    def content_of(self, execution_id: str) -> bytes | None:
        """Return the fingerprint of the input that an execution was started with, where the journal knows it."""
        return None if self._entry is None else self._entry.known_content(self._numbers.get(execution_id, -1))

    def sent_at(self, row: int) -> float | None:
        """Return the epoch seconds before which a row was sent, where the journal knows the row's execution."""
        if (self._entry is None and not self._open()) or self._rows[row] < 0:
            return None
        return self._last_sent

    @cached_property
    def _last_sent(self) -> float | None:
        assert self._journal is not None
        assert self._run is not None
        try:
            return last_sent(self._journal, self._run)
        except JournalError as exc:
            logger.warning("when the rows were sent cannot be read from the journal: %s", exc)
            return None

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        """Note that rows have other executions than the journal says."""
        if self._entry is None:
            return
        placed = [one._replace(position=self._rows[one.position]) for one in outcomes]
        self._entry.correct([one for one in placed if one.position >= 0])
        for one in placed:
            if one.execution_id is not None:
                self._numbers[one.execution_id] = one.position

    def _open(self) -> bool:
        path, run, self._path = self._path, self._run, None
        if path is None or run is None:
            return False
        try:
            entry = SqliteRunJournal(path, run)
        except JournalError as exc:
            logger.warning("the new states are not recorded: %s", exc)
            return False
        self._entry = entry
        try:
            pin = entry.pin()
            if pin is None:
                self.close()
                return False
            entry.enter(pin)
        except JournalError as exc:
            logger.warning("the new states are not recorded: %s", exc)
            self.close()
            return False
        executions = entry.book.results.execution_id
        self._numbers = {known: number for number, known in enumerate(executions) if known is not None}
        # By the executions that the rows hold now: a correction may give them others.
        self._rows = [self._numbers.get(str(execution_id), -1) for execution_id in self._results.execution_id]
        return True

    def close(self) -> None:
        """Write what is left."""
        if self._entry is not None:
            entry, self._entry = self._entry, None
            failure = entry.close()
            if failure is not None:
                logger.warning("the new states could not be recorded: %s", failure)


class RunRows:
    """The rows of a call that is at work in a run: what a tracker needs to know of them, and notes of them.

    Parameters
    ----------
    entry : Entry
        The call's place in the run.
    numbers : sequence of int
        The number in the run of each row of the frame, by position; empty where no row has one.
    """

    def __init__(self, entry: SqliteRunJournal, numbers: Sequence[int]) -> None:
        self._entry = entry
        self._numbers = numbers

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Note how executions have ended."""
        self._entry.look(self._placed(outcomes))

    def content(self, row: int) -> bytes | None:
        """Return the fingerprint of a row's input."""
        return self._entry.known_content(self._numbers[row]) if len(self._numbers) else None

    def sent_at(self, _row: int) -> float:
        """Return the epoch seconds before which a row was sent: now, for this call sends rows while it is polled."""
        return time.time()

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        """Note that rows have other executions than the API's answers said."""
        self._entry.correct(self._placed(outcomes))

    def _placed(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        placed = [one._replace(position=self._numbers[one.position]) for one in outcomes if len(self._numbers)]
        return [one for one in placed if one.position >= 0]
