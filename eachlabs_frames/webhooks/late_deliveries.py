"""Records deliveries in the journal that belong to no open call.

It records only how executions ended; deliveries of executions that are not in the journal are not stored.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import JournalError
from ..journal import open_journal
from ..journal.base import RunSpec
from ..journal.updates import JournalUpdater
from ..models import TERMINAL, Outcome
from ..settings import journal_path
from .dispatcher import Word
from .payload import Delivery, KnownExecution, agrees

logger = logging.getLogger("eachlabs_frames")

REMEMBERED: Final = 10_000


class _RunOfBulk(NamedTuple):
    """The run and workflow of a bulk operation."""

    path: Path
    run: str
    workflow_id: str


class LateDeliveryRecorder:
    """Records deliveries in the journal and returns their fates. Thread-safe.

    Attributes
    ----------
    paths : set of pathlib.Path
        The journals of calls whose executions may be delivered, beside the configured one.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._places: OrderedDict[str, _RunOfBulk] = OrderedDict()
        self.paths: set[Path] = set()

    def __call__(self, notices: Sequence[Delivery]) -> list[Word]:
        """Record deliveries of executions that are in the journal, and return each delivery's fate."""
        with self._turn:
            return self._noted(notices)

    def _noted(self, notices: Sequence[Delivery]) -> list[Word]:
        words: list[Word] = ["unknown"] * len(notices)
        self._find({str(notice.outcome.bulk_id) for notice in notices} - {"None"})
        by_run: dict[_RunOfBulk, list[int]] = {}
        for at, notice in enumerate(notices):
            place = self._places.get(str(notice.outcome.bulk_id))
            if place is not None:
                by_run.setdefault(place, []).append(at)
        for place, mine in by_run.items():
            for at, word in zip(mine, _note(place, [notices[at] for at in mine]), strict=True):
                words[at] = word
        return words

    def _find(self, bulk_ids: set[str]) -> None:
        """Look up the runs of these bulk operations."""
        for path in {journal_path(), *self.paths}:
            wanted = bulk_ids.difference(self._places)
            if path is None or not wanted:
                continue
            for bulk_id, (run, pin) in _runs_of(path, wanted).items():
                self._places[bulk_id] = _RunOfBulk(path, run, pin.workflow_id)
        while len(self._places) > REMEMBERED:
            self._places.popitem(last=False)


def _runs_of(path: Path, bulk_ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
    try:
        return open_journal(path).runs_of_ids(bulk_ids)
    except JournalError as exc:
        logger.warning("which runs the delivered executions belong to cannot be read from the journal: %s", exc)
        return {}


def _note(place: _RunOfBulk, notices: Sequence[Delivery]) -> list[Word]:
    """Record the deliveries of one run, except for executions that the journal knows to have ended."""
    words: list[Word] = []
    ended: dict[str, Outcome] = {}
    with closing(JournalUpdater(open_journal(place.path), place.run)) as notes:
        for notice in notices:
            before = notes.known(notice.execution_id)
            if before is None:
                words.append("unknown")
                continue
            if not agrees(notice, KnownExecution(before.bulk_id, place.workflow_id)):
                words.append("mismatched")
                continue
            words.append("accepted")
            # Polling decides about an end without a result, and about an execution that may be another row's.
            is_clear = not notice.brief and not notice.differs(notes.content_of(notice.execution_id))
            if notice.ended and is_clear and before.status not in TERMINAL:
                ended.setdefault(notice.execution_id, notice.outcome)
        notes.record(list(ended.values()))
    return words
