"""The rows of one bulk operation: how many have which status, and how a browser is told of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..common.messages import Line
from .error_groups import NOWHERE, fit

MAX_ID_LENGTH: Final = 200


class BulkLine:
    """The rows of one bulk operation."""

    __slots__ = ("_order", "bulk_id", "counts", "created_at", "place", "rows", "version")

    def __init__(self, bulk_id: str | None, rows: Iterable[int] = ()) -> None:
        self.bulk_id = bulk_id
        self.created_at: float | None = None
        self.place = NOWHERE
        self.rows = set(rows)
        self.counts = {0: len(self.rows)}
        self.version = 0
        self._order: list[int] | None = None

    def join(self, row: int, code: int) -> None:
        """Count a row in."""
        self.rows.add(row)
        self.counts[code] = self.counts.get(code, 0) + 1
        self._order = None

    def leave(self, row: int, code: int) -> None:
        """Count a row out."""
        self.rows.discard(row)
        self.counts[code] -= 1
        self._order = None

    def in_order(self) -> list[int]:
        """Return its rows, in the frame's order."""
        if self._order is None:
            self._order = sorted(self.rows)
        return self._order

    def pairs(self) -> list[int]:
        """Return ``[code, rows, code, rows, ...]``."""
        return [number for code in sorted(self.counts) if self.counts[code] for number in (code, self.counts[code])]

    def whole(self) -> Line:
        """Return it as a browser is told of a new one."""
        return (fit(self.bulk_id or "", MAX_ID_LENGTH), self.created_at, self.pairs())
