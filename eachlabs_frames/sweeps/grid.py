"""The cells of a Cartesian product by number, and each cell's places on the axes. It never sees a value.

Cell 0 is the first place of every axis, and the last axis varies fastest. Numbers are Python integers if 64 bits are
too few for the product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np

Places: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
"""Places on one axis, one per cell: int64, or Python integers if the axis is longer."""

RandomInteger: TypeAlias = Callable[[int], int]
"""Returns a uniformly distributed integer of [0, bound)."""

MAX_INT64: Final = 2**63 - 1

MIN_RANDOM_BYTES: Final = 4_096
"""Random bytes that are drawn at once: a call of NumPy takes longer than the bytes."""


def all_places(sizes: Sequence[int], *, repeats: int = 1) -> Iterator[Places]:
    """Yield the places of every cell on each axis, of these sizes; each cell `repeats` times in succession."""
    inner, outer = prod(sizes) * repeats, 1
    for size in sizes:
        inner //= size or 1
        yield np.tile(np.repeat(np.arange(size, dtype=np.int64), inner), outer)
        outer *= size


def places_of(cells: Sequence[int], sizes: Sequence[int], *, repeats: int = 1) -> Iterator[Places]:
    """Yield the places of the cells with these numbers, as `all_places` does."""
    inner = prod(sizes)
    is_large = inner > MAX_INT64
    remainder = np.repeat(np.array(cells, dtype=object if is_large else np.int64), repeats)
    for size in sizes:
        inner //= size or 1
        places = remainder // inner if inner else remainder
        remainder = remainder - places * inner
        yield places.astype(np.int64) if is_large and size <= MAX_INT64 else places


def shuffled(size: int, random_integer: RandomInteger) -> Iterator[int]:
    """Yield the numbers 0 to `size` - 1 in a random order, lazily.

    The algorithm of Fisher and Yates, with only those entries of the list that were moved, so `size` has no limit.
    """
    moved: dict[int, int] = {}
    for place in range(size):
        chosen = place + random_integer(size - place)
        yield moved.get(chosen, chosen)
        moved[chosen] = moved.pop(place, place)


def random_integers(random_bytes: Callable[[int], bytes]) -> RandomInteger:
    """Return a function that draws integers of any size from a source of random bytes."""
    pool, used = b"", 0

    def draw(bound: int) -> int:
        nonlocal pool, used
        bits = (bound - 1).bit_length()
        length = (bits + 7) // 8
        while True:
            if used + length > len(pool):
                pool, used = random_bytes(max(MIN_RANDOM_BYTES, length)), 0
            used += length
            number = int.from_bytes(pool[used - length : used], "little") >> (8 * length - bits)
            if number < bound:
                return number

    return draw
