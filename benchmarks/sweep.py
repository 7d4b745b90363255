"""A sweep of 1,000,000 cells against pandas' own product of the same axes, in time and in memory.

Three grids: numbers, the texts and numbers of a real sweep, and one axis of a thousand texts with one of floats. The
other side is `MultiIndex.from_product(...).to_frame()`; cell for cell both are the same. Memory is tracemalloc's peak,
which sees what Python and NumPy allocate, and not Arrow's buffers, which hold the texts of both sides.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import eachlabs_frames as ef

from .measure import WALL, Result, in_turn

Axes = dict[str, Any]

GRIDS: dict[str, Axes] = {
    "numbers": {"a": range(100), "b": range(100), "c": range(100)},
    "texts": {
        "prompt": [f"a watercolour of fox number {number}" for number in range(100)],
        "style": [f"style {number}" for number in range(100)],
        "seed": range(100),
    },
    "two long axes": {
        "prompt": [f"a watercolour of fox number {number}" for number in range(1_000)],
        "strength": np.linspace(0, 1, 1_000),
    },
}


def sweep_time() -> Result:
    """Report the worst of the grids."""
    pairs = {name: in_turn(lambda a=axes: ours(a), lambda a=axes: theirs(a), WALL) for name, axes in GRIDS.items()}
    for axes in GRIDS.values():
        _check_same(axes)
    note = "; ".join(f"{name} {pair.first:.3f} s to {pair.second:.3f} s" for name, pair in pairs.items())
    return Result("sweep of 1,000,000 / from_product", max(pair.ratio for pair in pairs.values()), 3, note=note)


def sweep_memory() -> Result:
    peaks = {name: (_peak(lambda a=axes: ours(a)), _peak(lambda a=axes: theirs(a))) for name, axes in GRIDS.items()}
    note = "; ".join(f"{name} {first / 1e6:.0f} MB to {second / 1e6:.0f} MB" for name, (first, second) in peaks.items())
    worst = max(first / second for first, second in peaks.values())
    return Result("the same, peak memory", worst, 1.5, note=note)


def sweep_sample() -> Result:
    """Draw from a product that nobody could make: what grows with it is only the numbers' length."""
    few, many = ({"a": range(length), "b": range(1_000)} for length in (10**3, 10**12))
    pair = in_turn(lambda: _drawn(many), lambda: _drawn(few), WALL)
    note = f"{pair.first:.3f} s to {pair.second:.3f} s"
    return Result("10,000 of 10^15 cells / of 10^6", pair.ratio, note=note)


def ours(axes: Axes) -> pd.DataFrame:
    return ef.sweep(axes, allow_large=True)


def theirs(axes: Axes) -> pd.DataFrame:
    return pd.MultiIndex.from_product(list(axes.values()), names=list(axes)).to_frame()


def _drawn(axes: Axes) -> pd.DataFrame:
    return ef.sweep(axes, sample=10_000, random_state=0)


def _peak(make: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        make()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _check_same(axes: Axes) -> None:
    mine, other = ours(axes), theirs(axes)
    assert all((mine[name].to_numpy() == other[name].to_numpy()).all() for name in axes)
