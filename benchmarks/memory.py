"""Peak memory of a `bulk_trigger` over the frame that it is given, 100,000 rows: each reading in a fresh process.

Run as ``python -m benchmarks.memory objects|resident PORT [JOURNAL]`` it is that process: it makes the frame, goes once
through a small call so that what is imported late is there, takes its baseline, and prints the peak over it in bytes.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from statistics import median

from . import clients
from .journal import keep
from .measure import Result, peak_resident, prompts, reset_peak
from .server import serving

ROWS = 100_000
READINGS = 5


def objects_with_journal() -> Result:
    """Measure by tracemalloc, with a journal."""
    with serving() as port, tempfile.TemporaryDirectory() as folder:
        reading = _reading("objects", port, f"{folder}/journal.sqlite")
    return Result("the same, with a journal", reading / ROWS, None, unit=" bytes a row", note="1 process")


def objects() -> Result:
    """Measure by tracemalloc: what Python and NumPy allocate; Arrow's own buffers are not seen."""
    return _result("objects", "peak memory, tracemalloc")


def resident() -> Result:
    """Measure by the process's peak resident set: everything, Arrow's buffers and unused pages too."""
    return _result("resident", "peak memory, resident set")


def _result(kind: str, what: str) -> Result:
    with serving() as port:
        readings = [_reading(kind, port) for _ in range(1 if kind == "objects" else READINGS)]
    return Result(what, median(readings) / ROWS, 300, unit=" bytes a row", note=f"{len(readings)} processes")


def _reading(kind: str, port: int, *journal: str) -> int:
    command = [sys.executable, "-m", "benchmarks.memory", kind, str(port), *journal]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)


def _read(kind: str, port: int, journal: str | None = None) -> int:
    keep(None if journal is None else Path(journal))
    frame = prompts(ROWS)
    clients.triggered(port, frame.head(320))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # glibc: gives back what the making of the frame left over
    if kind == "objects":
        tracemalloc.start()
        clients.triggered(port, frame)
        return tracemalloc.get_traced_memory()[1]
    reset_peak()
    before = peak_resident()
    clients.triggered(port, frame)
    return peak_resident() - before


if __name__ == "__main__":
    print(_read(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
