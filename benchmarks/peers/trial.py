"""One arm in a process of its own: the first call, which is cold, and warm ones after it, each checked.

``python -m benchmarks.peers.trial ARM PORT ROWS CONCURRENCY CALLS`` prints a line of JSON. What a script imports at its
top and the frame are there before the first call; what the library imports later, its threads and its connections are
part of the call. This module imports no more than pandas does, so that no arm finds it warm.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import NamedTuple

import pandas as pd

from ..measure import peak_resident, prompts, reset_peak
from .arms import ARMS, NO_TELEMETRY, Call

TIMEOUT = 1_800


class Point(NamedTuple):
    """What a trial is made at: rows, seconds until an answer, and requests at once."""

    rows: int
    latency: float
    concurrency: int


BASE = Point(10_000, 0.05, 32)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one call took.

    Attributes
    ----------
    wall, cpu : float
        Seconds; the CPU of all threads and of children.
    memory : int
        Bytes of the resident set, at its peak over what it was before the call.
    misplaced : int
        Rows without an id of their own.
    """

    wall: float
    cpu: float
    memory: int
    misplaced: int


def run(arm: str, port: int, point: Point, calls: int) -> tuple[float, list[Reading]]:
    """Run an arm in a fresh process; return the seconds of its imports, and a reading for each call.

    Raises
    ------
    RuntimeError
        The process failed; the message has the end of its standard error.
    """
    command = [sys.executable, "-m", "benchmarks.peers.trial", arm]
    command += map(str, (port, point.rows, point.concurrency, calls))
    environment = {**os.environ, **NO_TELEMETRY}
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT, env=environment)
    if ended.returncode:
        msg = f"{arm}, {point}: exit code {ended.returncode}\n{ended.stderr[-3000:]}"
        raise RuntimeError(msg)
    written = json.loads(ended.stdout.splitlines()[-1])
    return written["imports"], [Reading(**reading) for reading in written["readings"]]


def _reading(call: Call, port: int, frame: pd.DataFrame, concurrency: int) -> Reading:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # glibc: gives back what was left over before
    reset_peak()
    resident, cpu, start = peak_resident(), _cpu(), time.perf_counter()
    out = call(port, frame, concurrency)
    wall, cpu, memory = time.perf_counter() - start, _cpu() - cpu, peak_resident() - resident
    from .check import misplaced

    return Reading(wall, cpu, memory, misplaced(frame, out))


def _cpu() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main(arm: str, port: int, rows: int, concurrency: int, calls: int) -> None:
    start = time.perf_counter()
    call = ARMS[arm].load()
    imports = time.perf_counter() - start
    frame = prompts(rows)
    readings = [asdict(_reading(call, port, frame, concurrency)) for _ in range(calls)]
    print(json.dumps({"imports": imports, "readings": readings}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
