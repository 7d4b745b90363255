"""How things are measured: two of them in turn in one run, and the middle of their ratios. Measures nothing itself.

Machines are shared and their speed changes from minute to minute: a number of seconds says little, a ratio of two
neighbours does.
"""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

ROUNDS = 7

Timer = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table: what was measured, its limit where there is one, and the numbers behind it."""

    what: str
    measured: float
    limit: float | None = None
    at_least: bool = False
    unit: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        if self.limit is None:
            return True
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(frozen=True, slots=True)
class Pair:
    """Two things that ran in turn: the medians of both, and of `first / second` of each round."""

    first: float
    second: float
    ratio: float


def in_turn(
    first: Callable[[], object], second: Callable[[], object], timer: Timer, *, rounds: int = ROUNDS, warm: bool = True
) -> Pair:
    """Run first, second, first, second, ...; with `warm`, each once before that counts."""
    if warm:
        first()
        second()
    pairs = [(cost(first, timer), cost(second, timer)) for _ in range(rounds)]
    firsts, seconds = zip(*pairs, strict=True)
    return Pair(median(firsts), median(seconds), median(one / other for one, other in pairs))


def cost(call: Callable[[], object], timer: Timer) -> float:
    """Return what one call takes by `timer`: `time.perf_counter`, or `time.process_time` for all threads' CPU."""
    gc.collect()
    start = timer()
    call()
    return timer() - start


WALL: Timer = time.perf_counter
CPU: Timer = time.process_time


def reset_peak() -> None:
    """Begin the peak anew (Linux, proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_resident() -> int:
    """Return the peak resident set in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def prompts(rows: int) -> pd.DataFrame:
    """Return the frame that is sent: a prompt, a style, a seed and a strength."""
    numbers = np.arange(rows)
    return pd.DataFrame(
        {
            "prompt": [f"a watercolour of fox number {number} in an autumn forest, soft light" for number in numbers],
            "style": [("noir", "anime", "oil", "pencil")[number % 4] for number in numbers],
            "seed": numbers * 7919 % 100_000,
            "strength": (numbers % 97) / 97,
        }
    )


def mixed(rows: int) -> pd.DataFrame:
    """Return a frame of nine columns, of each kind that a row's input is commonly made from."""
    numbers = np.arange(rows)
    strengths = (numbers % 97) / 97
    return pd.DataFrame(
        {
            "text": [f"a watercolour of fox number {number}" for number in numbers],
            "maybe_text": [None if number % 5 == 0 else f"style {number % 7}" for number in numbers],
            "integer": numbers * 7919,
            "number": strengths,
            "maybe_number": np.where(numbers % 4 == 0, np.nan, strengths),
            "flag": numbers % 2 == 0,
            "moment": pd.date_range("2026-01-01", periods=rows, freq="min"),
            "category": pd.Categorical.from_codes(numbers % 3, ["noir", "anime", "oil"]),
            "list": [[int(number), "tag"] for number in numbers],
        }
    )
