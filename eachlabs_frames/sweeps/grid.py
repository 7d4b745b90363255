"""The cells of a Cartesian product by their numbers, and each cell's places on the axes. It never sees a value.

Cell 0 is the first place of every axis, and the last axis varies fastest. Numbers are Python's own integers where 64
bits are too few for the product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np

Places: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
"""Places on one axis, an entry a cell: int64, or Python's integers where an axis is longer than that."""

Draw: TypeAlias = Callable[[int], int]
"""Gives a whole number of [0, bound), each with the same chance."""

GREATEST: Final = 2**63 - 1

POOL: Final = 4_096
"""Random bytes that are asked for at once: NumPy takes longer to be asked than to answer."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A product of axes, by how long each is."""

    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many cells there are."""
        return prod(self.sizes)

    def whole(self, *, times: int = 1) -> Iterator[Places]:
        """Yield the places of every cell on axis after axis; each cell `times` times, next to each other."""
        inner, outer = self.size * times, 1
        for size in self.sizes:
            inner //= size or 1
            yield np.tile(np.repeat(np.arange(size, dtype=np.int64), inner), outer)
            outer *= size

    def places(self, cells: Sequence[int], *, times: int = 1) -> Iterator[Places]:
        """Yield the places of the cells with these numbers, as `whole` does."""
        wide = self.size > GREATEST
        left = np.repeat(np.array(cells, dtype=object if wide else np.int64), times)
        inner = self.size
        for size in self.sizes:
            inner //= size or 1
            found = left // inner if inner else left
            left = left - found * inner
            yield found.astype(np.int64) if wide and size <= GREATEST else found


def shuffled(size: int, draw: Draw) -> Iterator[int]:
    """Yield the numbers 0 to `size` - 1 in a random order, each made as it is asked for.

    Fisher and Yates, with only those entries of the list that were moved: `size` may be as large as one likes.
    """
    moved: dict[int, int] = {}
    for place in range(size):
        chosen = place + draw(size - place)
        yield moved.get(chosen, chosen)
        moved[chosen] = moved.pop(place, place)


def drawing(source: Callable[[int], bytes]) -> Draw:
    """Return what draws numbers from a source of random bytes, however large their bound is."""
    pool, used = b"", 0

    def draw(bound: int) -> int:
        nonlocal pool, used
        bits = (bound - 1).bit_length()
        length = (bits + 7) // 8
        while True:
            if used + length > len(pool):
                pool, used = source(max(POOL, length)), 0
            used += length
            number = int.from_bytes(pool[used - length : used], "little") >> (8 * length - bits)
            if number < bound:
                return number

    return draw
