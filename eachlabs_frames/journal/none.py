"""What stands in for the journal where it is turned off: everything may be sent, and nothing is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..models import Claimed, LostRequest, Outcome, RowState

_NEW: Final = RowState("new")
_NOTHING: Final = Claimed(frozenset(), {})


class NullJournal:
    """A `models.Journal` without a memory."""

    async def claim(self, run: str, rows: Sequence[int]) -> Sequence[RowState]:  # noqa: ARG002 - the Protocol
        """Let every row be sent."""
        return [_NEW] * len(rows)

    def settle(self, run: str, outcomes: Sequence[Outcome]) -> None:
        """Forget."""

    async def adopt(self, run: str, outcomes: Sequence[Outcome], *, since: float) -> bool:  # noqa: ARG002 - the Protocol
        """Know of no other owner."""
        return True

    async def flush(self) -> None:
        """Have nothing to write."""

    async def standings(self, run: str, rows: Sequence[int]) -> Sequence[RowState]:  # noqa: ARG002 - the Protocol
        """Know of no other call."""
        return [_NEW] * len(rows)

    def lost(self, rows: Sequence[int], *, timeout: float) -> list[LostRequest]:  # noqa: ARG002 - the Protocol
        """Remember no request."""
        return []

    async def taken(self, since: float) -> Claimed:  # noqa: ARG002 - the Protocol
        """Know of no other run."""
        return _NOTHING
