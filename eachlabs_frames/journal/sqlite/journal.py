"""Implements `Journal` on one SQLite file. A help that is only read, such as past costs, never creates the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..base import RecentRun, RunContents, RunSpec, RunSummary
from . import history, loss, stored_runs
from .run_journal import SqliteRunJournal


@dataclass(frozen=True, slots=True)
class SqliteJournal:
    """The `Journal` in the file at `path`; each method opens and closes it."""

    path: Path

    def exists(self) -> bool:
        return self.path.exists()

    def open(self, run: str) -> SqliteRunJournal:
        return SqliteRunJournal(self.path, run)

    def summaries(self) -> list[RunSummary]:
        return stored_runs.summaries(self.path)

    def load(self, run: str) -> RunContents:
        return stored_runs.load(self.path, run)

    def delete(self, run: str) -> int:
        return stored_runs.delete(self.path, run)

    def accept_loss(self) -> dict[str, int]:
        return loss.accept(self.path)

    def spec_of(self, run: str) -> RunSpec | None:
        return stored_runs.spec_of_run(self.path, run) if self.exists() else None

    def runs_of_ids(self, ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
        return history.runs_of_ids(self.path, ids)

    def workflow_ids(self, base_url: str) -> list[str]:
        return history.workflow_ids(self.path, base_url) if self.exists() else []

    def costs(self, workflow_id: str, base_url: str) -> list[float]:
        return history.costs(self.path, workflow_id, base_url) if self.exists() else []

    def recent_runs(self, spec: RunSpec, since: int, *, without: str | None = None) -> list[RecentRun]:
        return history.recent_runs(self.path, spec, since, without=without) if self.exists() else []

    def last_sent(self, run: str) -> float | None:
        return history.last_sent(self.path, run)
