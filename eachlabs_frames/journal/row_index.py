"""Finds the rows of a run by their digests: which rows of a frame the run has already.

A row is identified by its digest, and by which occurrence of that digest it is: so a frame may be sorted, filtered or
appended to, and equal rows are two rows. Knows digests only, never a row's content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ..inputs.fingerprints import SIZE

UNSEEN: Final = -1


class RowIndex:
    """The rows of a run; each is returned once.

    Parameters
    ----------
    digests : bytes
        `SIZE` bytes for each row of the run, in the order of their numbers.
    taken : iterable of int
        Rows of the run that are assigned already, by their executions.
    latest : bool
        Whether a digest means one row only, for runs with keys: its latest row that was sent, or else its latest.
    is_sent : callable, optional
        Whether a row of the run was sent; by default, all were.
    """

    def __init__(
        self,
        digests: bytes | bytearray,
        *,
        taken: Iterable[int] = (),
        latest: bool = False,
        is_sent: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._assigned = set(taken)
        self._latest = latest
        self._is_sent = is_sent
        # Of each digest: its first row, or latest; its other rows, if any, from the last to the second (with `latest`,
        # all its rows); and those that are preferred. Most digests have only one row, and there may be a million.
        self._first: dict[bytes, int] = {}
        self._others: dict[bytes, list[int]] = {}
        self._preferred: dict[tuple[bytes, int], list[int]] = {}
        self._digests = bytes(digests)
        self._in_order = 0
        if latest:
            self._build()

    def find_in_order(self, digests: Sequence[bytes]) -> range | None:
        """Return the numbers of these rows if they are the next ones of the run, in its order; else None.

        Most frames come back as they were. Their rows are found without the index, which takes ten times the memory of
        the digests.
        """
        first, end = self._in_order, self._in_order + len(digests)
        if self._assigned or self._digests[first * SIZE : end * SIZE] != b"".join(digests):
            return None
        self._in_order = end
        return range(first, end)

    def _build(self) -> None:
        """Index the digests that were given, which are not needed any more."""
        each, self._digests = self._digests, b""
        split = [each[start : start + SIZE] for start in range(0, len(each), SIZE)]
        if self._latest:
            self._first = dict(zip(split, range(len(split)), strict=True))
            if len(self._first) < len(split):
                self._first = {}
                for number, digest in enumerate(split):
                    self._add_latest(digest, number)
            return
        for number in range(len(split) - 1, -1, -1):
            later = self._first.get(split[number])
            if later is not None:
                self._others.setdefault(split[number], []).append(later)
            self._first[split[number]] = number

    def extend(self, first: int, digests: bytes | bytearray) -> None:
        """Add rows that were added to the run, numbered from `first` on: the highest numbers so far."""
        if digests and self._digests:
            self._build()
        each = bytes(digests)
        for number, start in enumerate(range(0, len(each), SIZE), start=first):
            digest = each[start : start + SIZE]
            if self._latest:
                self._add_latest(digest, number)
                continue
            if digest not in self._first:
                self._first[digest] = number
                continue
            self._others.setdefault(digest, []).insert(0, number)
            for key in [key for key in self._preferred if key[0] == digest]:
                del self._preferred[key]

    def _add_latest(self, digest: bytes, number: int) -> None:
        earlier = self._first.get(digest)
        if earlier is not None:
            self._others.setdefault(digest, [earlier]).append(number)
        if earlier is None or self._is_sent(number) or not self._is_sent(earlier):
            self._first[digest] = number

    def rows_of_key(self, digest: bytes) -> Sequence[int]:
        """Return all rows with the digest of a key."""
        return self._others.get(digest) or ([self._first[digest]] if digest in self._first else [])

    def __bool__(self) -> bool:
        """Whether the run has any row."""
        return bool(self._digests or self._first)

    def find(self, digest: bytes, prefers: Callable[[int], bool] | None = None, hint: int = 0) -> int:
        """Return the number of the row with this digest, or `UNSEEN`; the same number is never returned twice.

        Parameters
        ----------
        digest : bytes
        prefers : callable, optional
            Of several occurrences, the first for which it is true is taken; by default, and where it is true for
            none, the first of all. Its result for a number may not change.
        hint : int
            Which of several such callables this is.
        """
        if self._digests:
            self._build()
        number = self._first.get(digest, UNSEEN)
        others = None if self._latest else self._others.get(digest)
        if others is None:
            return self._assign(number)
        if prefers is not None:
            if (digest, hint) not in self._preferred:
                self._preferred[digest, hint] = [candidate for candidate in (*others, number) if prefers(candidate)]
            preferred = self._last(self._preferred[digest, hint])
            if preferred != UNSEEN:
                return preferred
        first = self._assign(number)
        return first if first != UNSEEN else self._last(others)

    def _last(self, numbers: list[int]) -> int:
        """Return the last number that was not returned yet, and drop all after it: each is tested once."""
        while numbers:
            number = self._assign(numbers.pop())
            if number != UNSEEN:
                return number
        return UNSEEN

    def _assign(self, number: int) -> int:
        if number < self._in_order or number in self._assigned:
            return UNSEEN
        self._assigned.add(number)
        return number
