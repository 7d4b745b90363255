"""What a matrix asks of the frame that it shows. It holds no behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..common.card import Card
from ..common.served_files import FileSource


class CardSource(FileSource, Protocol):
    """Where a matrix has its cards from, by the numbers that the table's marks have."""

    @property
    def frame(self) -> Any:
        """The pivot."""

    @property
    def size(self) -> int:
        """How many cards there are."""

    def cards(self, numbers: Sequence[int]) -> list[Card]:
        """Return these cards."""
