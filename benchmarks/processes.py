"""Several processes that send in one run of one journal: their rate, and how evenly they get their turns."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from . import clients
from .journal import LATENCY, temporary_folder
from .measure import Result
from .server import serving

ROWS = 4_000
"""Rows of each process."""

WORKERS = 8
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Round:
    """What one round measured: the share of the possible rate, and the time of the fastest process by the slowest's."""

    share: float
    evenness: float


def four_processes() -> Result:
    return _processes(4, limit=0.6)


def eight_processes() -> Result:
    return _processes(8, limit=None)


def evenness() -> Result:
    """Compare the times that four processes take to send as many rows each."""
    value = median(_sent(4, run="one").evenness for _ in range(ROUNDS))
    return Result("four processes, fastest / slowest time", value, 0.85, at_least=True)


def _processes(count: int, *, limit: float | None) -> Result:
    one = median(_sent(count, run="one").share for _ in range(ROUNDS))
    own = _sent(count, run=None).share
    without = _sent(count, run=None, journal=False).share
    note = f"runs of their own {own:.2f}, no journal {without:.2f}"
    return Result(f"{count} processes, one run / possible rate", one, limit, at_least=True, note=note)


def _sent(count: int, *, run: str | None, journal: bool = True) -> Round:
    possible = ROWS / clients.BATCH / WORKERS * LATENCY
    with serving(LATENCY) as port, temporary_folder() as folder:
        spans = _together(count, port, folder / "journal.sqlite" if journal else None, run=run)
    times = [end - start for start, end in spans]
    share = possible / (max(end for _, end in spans) - min(start for start, _ in spans))
    return Round(share, min(times) / max(times))


def _together(count: int, port: int, journal: Path | None, *, run: str | None) -> list[tuple[float, float]]:
    """Return when each process started and ended."""
    command = [sys.executable, "-m", "benchmarks.sharer", str(port), str(journal or ""), run or ""]
    several = [
        subprocess.Popen([*command, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for place in range(count)
    ]
    for process in several:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in several:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [process.communicate()[0].split() for process in several]
    return [(float(start), float(end)) for start, end in ended]


MEASUREMENTS = (four_processes, eight_processes, evenness)
