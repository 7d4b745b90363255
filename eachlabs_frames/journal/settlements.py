"""Reads what executions have cost and how long they ran, from the newest records of all runs.

Only reads; records that cannot be read are left out. A large run is not read as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Final

from ..errors import JournalError
from ..models import COMPLETED, Json, Outcome, SettledExecution
from .records import CLAIM, NANO, unpack_outcomes, unpack_rows
from .tables import UNREADABLE, Tables, read_inputs, read_spec

MIN_SETTLED: Final = 100
"""Executions that are enough: a page of the API's listing, because prices change. No run is cut off at this number."""

MAX_SETTLED: Final = 1_000
"""Executions that are read, at most."""


def read(
    tables: Tables, workflow_id: str, version_id: str | None, base_url: str, *, inputs: bool
) -> list[SettledExecution]:
    """Return the latest completed executions of a version on that server, each once, the newest first.

    Costs of 0 count as unknown: they may come from a credit or a cache.
    """
    runs = _runs(tables, workflow_id, version_id, base_url)
    found: dict[str, tuple[int, Outcome]] = {}
    latest_run = -1
    for run, outcome in _completed(tables, runs):
        if len(found) >= MAX_SETTLED or (len(found) >= MIN_SETTLED and run != latest_run):
            break
        latest_run = run
        if outcome.execution_id is not None:
            found.setdefault(outcome.execution_id, (run, outcome))
    stored = _Inputs(tables) if inputs else None
    return [
        _settled(outcome, None if stored is None else stored.of(run, outcome.position))
        for run, outcome in found.values()
    ]


def _runs(tables: Tables, workflow_id: str, version_id: str | None, base_url: str) -> set[int]:
    runs: set[int] = set()
    for run, name, stored in tables.execute("SELECT id, name, pin FROM runs"):
        with suppress(JournalError):
            spec = read_spec(tables, name, stored)
            is_same = (spec.workflow_id, spec.base_url) == (workflow_id, base_url)
            if is_same and version_id in (None, spec.version_id):
                runs.add(run)
    return runs


def _completed(tables: Tables, runs: Collection[int]) -> Iterator[tuple[int, Outcome]]:
    """Yield each recorded outcome of a completed execution with its run, the newest first."""
    query = "SELECT run, rows, body FROM records WHERE kind <> ? ORDER BY id DESC"
    for run, packed, body in tables.execute(query, (CLAIM,)):
        if run not in runs:
            continue
        with suppress(*UNREADABLE):
            for outcome in list(unpack_outcomes(unpack_rows(packed), body)):
                if outcome.status == COMPLETED:
                    yield run, outcome


def _settled(outcome: Outcome, inputs: Mapping[str, Json] | None) -> SettledExecution:
    started_at, completed_at = outcome.started_at, outcome.completed_at
    seconds: float | None = None
    if started_at is not None and completed_at is not None and completed_at >= started_at:
        seconds = (completed_at - started_at) / NANO
    return SettledExecution(str(outcome.execution_id), outcome.cost or None, seconds, inputs)


class _Inputs:
    """The inputs of rows, read chunk by chunk."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._chunks: dict[int, tuple[int, list[Json]]] = {}

    def of(self, run: int, row: int) -> Mapping[str, Json] | None:
        """Return the input of a row; None if it cannot be read. The latest chunk of each run is kept."""
        first, chunk = self._chunks.get(run, (0, []))
        if not first <= row < first + len(chunk):
            query = "SELECT first, inputs FROM sheets WHERE run = ? AND first <= ? ORDER BY first DESC LIMIT 1"
            stored = self._tables.execute(query, (run, row)).fetchone()
            chunk = []
            if stored is not None:
                with suppress(ValueError):
                    first, chunk = stored[0], read_inputs(stored[1])
            self._chunks[run] = first, chunk
        value = chunk[row - first] if first <= row < first + len(chunk) else None
        return value if isinstance(value, Mapping) else None
