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
from typing import Final, TypeAlias

from ..errors import JournalError
from ..journal import open_journal
from ..journal.file_references import FileReferences
from ..journal.updates import JournalUpdater
from ..models import TERMINAL, Outcome
from ..postgres_url import PostgresUrl
from ..settings import current_journal
from .dispatcher import Fate
from .payload import Delivery, KnownExecution, agrees

logger = logging.getLogger("eachlabs_frames")

MAX_REMEMBERED: Final = 10_000

_Run: TypeAlias = "tuple[Path | PostgresUrl, str, str]"
"""A journal, the name of a run in it, and the run's workflow."""


class LateDeliveryRecorder:
    """Records deliveries in the journal and returns their fates. Thread-safe.

    Attributes
    ----------
    journals : set of pathlib.Path or PostgresUrl
        The journals of calls whose executions may be delivered, beside the configured one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self.journals: set[Path | PostgresUrl] = set()

    def __call__(self, deliveries: Sequence[Delivery]) -> list[Fate]:
        """Record deliveries of executions that are in the journal, and return each delivery's fate."""
        with self._lock:
            fates: list[Fate] = ["unknown"] * len(deliveries)
            self._find_runs({str(delivery.outcome.bulk_id) for delivery in deliveries} - {"None"})
            by_run: dict[_Run, list[int]] = {}
            for position, delivery in enumerate(deliveries):
                run = self._runs.get(str(delivery.outcome.bulk_id))
                if run is not None:
                    by_run.setdefault(run, []).append(position)
            for run, positions in by_run.items():
                recorded = _record(run, [deliveries[position] for position in positions])
                for position, fate in zip(positions, recorded, strict=True):
                    fates[position] = fate
            return fates

    def _find_runs(self, bulk_ids: set[str]) -> None:
        """Look up the runs of these bulk operations."""
        for where in {current_journal(), *self.journals}:
            missing = bulk_ids.difference(self._runs)
            if where is None or not missing:
                continue
            try:
                runs = open_journal(where).runs_of_ids(missing)
            except JournalError as exc:
                logger.warning("which runs the delivered executions belong to cannot be read from the journal: %s", exc)
                continue
            self._runs.update((bulk_id, (where, run, spec.workflow_id)) for bulk_id, (run, spec) in runs.items())
        while len(self._runs) > MAX_REMEMBERED:
            self._runs.popitem(last=False)


def _record(run: _Run, deliveries: Sequence[Delivery]) -> list[Fate]:
    """Record the deliveries of one run, except for executions that the journal knows to have ended."""
    where, name, workflow_id = run
    fates: list[Fate] = []
    ended: dict[str, Outcome] = {}
    journal = open_journal(where)
    references = FileReferences(journal)
    with closing(JournalUpdater(journal, name)) as updater:
        for delivery in deliveries:
            before = updater.known(delivery.execution_id)
            if before is None:
                fates.append("unknown")
                continue
            if not agrees(delivery, KnownExecution(before.bulk_id, workflow_id)):
                fates.append("mismatched")
                continue
            fates.append("accepted")
            needs_poll = delivery.needs_poll([updater.content_of(delivery.execution_id)], references)
            if delivery.ended and not needs_poll and before.status not in TERMINAL:
                ended.setdefault(delivery.execution_id, delivery.outcome)
        updater.record(list(ended.values()))
    return fates
