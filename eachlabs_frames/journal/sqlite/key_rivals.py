"""Finds the rows of other calls that have the key of a row of this call, and another input: one of them may be sent.

A key that two calls register at the same time with different inputs is two rows of the run, because neither was sent
yet. Whoever claims its row first sends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...inputs.fingerprints import SIZE
from ..records import RowHint, RunState
from ..row_index import UNSEEN, RowIndex


class KeyRivals:
    """The rivals of one call's rows, in a run with keys."""

    def __init__(self) -> None:
        self._own: dict[bytes, int] = {}
        self._rivals: dict[int, list[int]] = {}
        self._first = -1
        self._later = bytearray()  # the digests of rows from `_first` on, which were added after this call's

    def watch(self, digests: Sequence[bytes], numbers: Sequence[int], index: RowIndex, state: RunState) -> None:
        """Note rows of this call, and those that have the same key and were not sent so far."""
        for digest, number in zip(digests, numbers, strict=True):
            if number == UNSEEN:
                continue
            self._own[digest] = number
            rivals = [row for row in index.rows_of_key(digest) if row != number and state.matches(RowHint.UNSENT, row)]
            if rivals:
                self._rivals[number] = rivals

    def watch_later(self, index: RowIndex, before: int, size: int) -> None:
        """Note the rivals that other calls have added meanwhile, to a run of `before` rows that has `size` rows now."""
        for digest, number in self._own.items():
            rivals = [row for row in index.rows_of_key(digest) if row >= before and row != number]
            if rivals:
                self._rivals.setdefault(number, []).extend(rivals)
        self._first = size

    def find(self, rows: Sequence[int], read_digests: Callable[[int], bytearray]) -> None:
        """Note which of the rows that another call has claimed have the key of a row of this call.

        `read_digests` returns the digests of the run's rows from a number on.
        """
        later = [row - self._first for row in rows if row >= self._first] if self._own and self._first >= 0 else []
        if later and max(later) * SIZE >= len(self._later):
            self._later += read_digests(self._first + len(self._later) // SIZE)
        for place in later:
            number = self._own.get(bytes(self._later[place * SIZE : (place + 1) * SIZE]))
            if number is not None:
                self._rivals.setdefault(number, []).append(self._first + place)

    def was_sent(self, number: int, state: RunState) -> bool:
        """Return whether a rival of a row of this call was sent, or may have been."""
        return any(not state.matches(RowHint.UNSENT, rival) for rival in self._rivals.get(number, ()))
