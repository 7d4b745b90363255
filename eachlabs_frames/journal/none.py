"""Implements the Protocols for a journal that is turned off: every row may be sent, and nothing is remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ..errors import RunError
from ..models import Outcome, SettledExecution
from .base import CapHint, Claimed, InputsReader, LostRequest, RecentRun, RowChunk, RunContents, RunSpec, RunSummary
from .records import RowState, RunState
from .upload_records import UploadRecord

_NEW: Final = RowState("new")


class NullRunJournal:
    """A `RunJournal` that numbers rows as they come, and forgets what becomes of them."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lifetime = 0.0
        self.state = RunState(0)

    def spec(self) -> RunSpec | None:
        return None

    def enter(
        self, spec: RunSpec, *, index_names: Sequence[str | None] = (None,), rename: Callable[[], str] | None = None
    ) -> None:
        pass

    def read_all(self) -> None:
        pass

    def register(
        self,
        chunks: Iterable[RowChunk],
        *,
        assigned: Sequence[int] = (),
        keyed: bool = False,
        on_changed: Callable[[int], None] | None = None,
        add: bool = True,
    ) -> list[int]:
        first = self.state.results.size
        rows = sum(len(chunk.digests) for chunk in chunks)
        if not add:
            return [-1] * rows
        self.state.grow(first + rows)
        return list(range(first, first + rows))

    def content(self, number: int) -> bytes | None:
        return None

    def row_state(self, number: int) -> RowState:
        return _NEW

    async def claim(self, rows: Sequence[int]) -> Sequence[RowState]:
        return [_NEW] * len(rows)

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        pass

    async def adopt(self, outcomes: Sequence[Outcome], *, since: float) -> bool:
        return True

    def update(self, outcomes: Sequence[Outcome]) -> None:
        pass

    def correct(self, outcomes: Sequence[Outcome]) -> None:
        pass

    def note_stop(self, reason: str | None) -> None:
        pass

    async def flush(self) -> None:
        pass

    async def row_states(self, rows: Sequence[int]) -> Sequence[RowState]:
        return [_NEW] * len(rows)

    def lost_requests(self, rows: Sequence[int], *, timeout: float) -> list[LostRequest]:
        return []

    async def claimed(self, since: float) -> Claimed:
        return Claimed(frozenset(), {})

    def withdraw(self) -> None:
        pass

    def close(self) -> None:
        pass


class NullUploadJournal:
    """A `UploadJournal` that remembers nothing."""

    async def find(self, digest: str) -> list[UploadRecord]:
        return []

    async def begin(self, record: UploadRecord) -> None:
        pass

    def complete(self, file_id: str, uploaded_at: int) -> None:
        pass

    def delete(self, file_id: str, deleted_at: int) -> None:
        pass

    def add_use(self, file_id: str, run: str) -> None:
        pass

    def close(self) -> None:
        pass


class NullJournal:
    """A `Journal` without a run."""

    def exists(self) -> bool:
        return False

    def open(self, run: str) -> NullRunJournal:
        return NullRunJournal(run)

    def summaries(self) -> list[RunSummary]:
        return []

    def load(self, run: str, take: InputsReader | None = None) -> RunContents:
        raise _missing(run)

    def delete(self, run: str) -> int:
        raise _missing(run)

    def accept_loss(self) -> dict[str, int]:
        return {}

    def spec_of(self, run: str) -> RunSpec | None:
        return None

    def runs_of_ids(self, ids: set[str]) -> dict[str, tuple[str, RunSpec]]:
        return {}

    def workflow_ids(self, base_url: str) -> list[str]:
        return []

    def settled(
        self, workflow_id: str, version_id: str | None, base_url: str, *, inputs: bool
    ) -> list[SettledExecution]:
        return []

    def recent_runs(self, spec: RunSpec, since: int, *, without: str | None = None) -> list[RecentRun]:
        return []

    def last_sent(self, run: str) -> float | None:
        return None

    def workers(self, run: str) -> dict[str, str]:
        return {}

    def cap_hint(self, account: str) -> CapHint | None:
        return None

    def record_cap_hint(self, account: str, hint: CapHint | None) -> None:
        pass

    def file_references(self) -> dict[str, str]:
        return {}

    def uploads(self, account: str) -> list[UploadRecord]:
        return []

    def open_uploads(self, account: str) -> NullUploadJournal:
        return NullUploadJournal()


def _missing(run: str) -> RunError:
    return RunError(f"there is no run {run!r}: the journal is off")
