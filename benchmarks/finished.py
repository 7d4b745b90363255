"""A run of 1,000,000 rows whose executions have all ended: continued with its frame, and loaded, in a new process each.

Run as ``python -m benchmarks.finished resume|load PORT JOURNAL`` it is that process: it goes once through a small call,
takes its baseline, and prints the seconds of the call and the growth of the peak resident set in bytes.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import eachlabs_frames as ef

from . import clients
from .journal import finish, keep, temporary_folder
from .measure import Result, peak_resident, prompts, reset_peak
from .server import serving

ROWS = 1_000_000
RUN = "big"


def resume_time() -> Result:
    return Result("continuing 1,000,000 finished rows", _readings()["resume"][0], 4, unit=" s", note="nothing is sent")


def resume_memory() -> Result:
    """Its limit is that of a first call and 200 MiB."""
    return Result("the same, peak resident set", _readings()["resume"][1] / 2**20, 486, unit=" MiB")


def load_time() -> Result:
    return Result("load_run of 1,000,000 rows", _readings()["load"][0], unit=" s")


def load_memory() -> Result:
    return Result("the same, peak resident set", _readings()["load"][1] / 2**20, unit=" MiB", note="with the frame")


@cache
def _readings() -> dict[str, tuple[float, int]]:
    with serving() as port, temporary_folder() as folder:
        path = folder / "journal.sqlite"
        keep(path)
        clients.triggered(port, prompts(ROWS), run=RUN)
        finish(path, RUN)
        return {kind: _reading(kind, port, path) for kind in ("resume", "load")}


def _reading(kind: str, port: int, path: Path) -> tuple[float, int]:
    command = [sys.executable, "-m", "benchmarks.finished", kind, str(port), str(path)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=900).stdout
    seconds, size = output.split()
    return float(seconds), int(size)


def _read(kind: str, port: int, path: Path) -> tuple[float, int]:
    frame = prompts(ROWS if kind == "resume" else 1)
    keep(path)
    clients.triggered(port, prompts(320), run=f"small {kind}")
    ef.load_run(f"small {kind}")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # glibc: gives back what was left over before
    reset_peak()
    before, start = peak_resident(), time.perf_counter()
    out = clients.triggered(port, frame, run=RUN) if kind == "resume" else ef.load_run(RUN)
    reading = time.perf_counter() - start, peak_resident() - before
    assert len(out) == ROWS
    assert (out["status"] == "completed").all()
    return reading


MEASUREMENTS = (resume_time, resume_memory, load_time, load_memory)

if __name__ == "__main__":
    print(*_read(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
