"""Notes into the journal how executions have ended that a frame's owner waits for. A help, never a hindrance.

What it notes can be asked of the API again, so a journal that cannot be written only costs a warning here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ..engine.journal.entry import Entry
from ..errors import JournalError
from ..models import Outcome

logger = logging.getLogger("eachlabs_frames")


class Notes:
    """The notes of one call; the journal is opened with the first."""

    def __init__(self, journal: Path | None, run: str | None) -> None:
        self._path = journal
        self._run = run
        self._entry: Entry | None = None
        self._numbers: dict[str, int] = {}

    def known(self, execution_id: str) -> Outcome | None:
        """Return what the journal knew of an execution when it was opened; None where it is none of this run's."""
        if self._entry is None and not self._open():
            return None
        assert self._entry is not None
        number = self._numbers.get(execution_id)
        return None if number is None else self._entry.book.results.outcome(number)

    def __call__(self, outcomes: Sequence[Outcome]) -> None:
        """Note how these executions have ended."""
        if not outcomes or (self._entry is None and not self._open()):
            return
        assert self._entry is not None
        numbers = [self._numbers.get(str(one.execution_id), -1) for one in outcomes]
        known = zip(outcomes, numbers, strict=True)
        self._entry.look([one._replace(position=number) for one, number in known if number >= 0])

    def _open(self) -> bool:
        path, run, self._path = self._path, self._run, None
        if path is None or run is None:
            return False
        try:
            entry = Entry(path, run)
        except JournalError as exc:
            logger.warning("what is seen now is not noted: %s", exc)
            return False
        self._entry = entry
        try:
            pin = entry.pin()
            if pin is None:
                self.close()
                return False
            entry.enter(pin)
        except JournalError as exc:
            logger.warning("what is seen now is not noted: %s", exc)
            self.close()
            return False
        executions = entry.book.results.execution_id
        self._numbers = {known: number for number, known in enumerate(executions) if known is not None}
        return True

    def close(self) -> None:
        """Write what is left."""
        if self._entry is not None:
            entry, self._entry = self._entry, None
            failure = entry.close()
            if failure is not None:
                logger.warning("what was seen could not be noted: %s", failure)
