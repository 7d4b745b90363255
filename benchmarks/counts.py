"""What a call costs per row, in counts: calls of this package's functions, and what it holds when it has every answer.

Counts are the same on each run, where times are not, so a test compares them with `counts.json`. It has those of each
version of Python, which differ in comprehensions and objects. Only what this package's own lines call and allocate is
counted, because the versions of its dependencies change by themselves.

    python -m benchmarks.counts            what is counted now, and what is recorded
    python -m benchmarks.counts --record   record it for this version of Python

Run as ``python -m benchmarks.counts PORT`` it is the process that is counted.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import eachlabs_frames as ef
from eachlabs_frames.aio import loop_thread

from . import clients
from .journal import keep
from .measure import prompts
from .server import serving

ROWS = 1_000
ALLOWED = 1.05
"""How much of what is recorded a count may be."""

RECORD = Path(__file__).with_name("counts.json")
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"

_ROOT = str(Path(ef.__file__).parent) + os.sep


def recorded() -> dict[str, dict[str, float]]:
    """Return the recorded counts of each version of Python."""
    counts: dict[str, dict[str, float]] = json.loads(RECORD.read_text())
    return counts


def record(counts: dict[str, float]) -> None:
    """Record these counts for this version of Python."""
    RECORD.write_text(json.dumps(recorded() | {VERSION: counts}, indent=2, sort_keys=True) + "\n")


def count() -> dict[str, float]:
    """Return each count per row, without and with a journal, of a call in a new process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EACHLABS_")}
    with serving() as port:
        command = [sys.executable, "-m", "benchmarks.counts", str(port)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300, env=environment).stdout
    counts: dict[str, float] = json.loads(output)
    return counts


def _count(port: int) -> dict[str, float]:
    frame = prompts(ROWS)
    counts: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for arm, journal in (("", None), (", with a journal", Path(folder, "journal.sqlite"))):
            keep(journal)

            def call(rows: int = ROWS, progress: Callable[[ef.Event], None] | None = None) -> None:
                # One request at a time: what runs beside others depends on their times.
                ef.configure(api_key=clients.KEY, base_url=f"http://127.0.0.1:{port}/v1", max_concurrency=1)
                frame.head(rows).eachlabs.bulk_trigger("wf_bench", progress=progress or False)

            call(10)  # with what is imported, compiled and kept once
            counts[f"calls{arm}"] = round(_calls(call) / ROWS, 2)
            counts[f"bytes held{arm}"] = round(_held(call) / ROWS, 1)
        keep(None)
    return counts


def _calls(call: Callable[[], None]) -> int:
    """Return how often functions of this package are called, of every thread."""
    calls = itertools.count()

    def profile(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_ROOT):
            next(calls)  # which no other thread can interrupt

    loop_thread.close()  # a new thread is profiled from its start
    threading.setprofile(profile)
    sys.setprofile(profile)
    call()
    sys.setprofile(None)
    threading.setprofile(None)
    return next(calls)


def _held(call: Callable[..., None]) -> int:
    """Return the bytes that lines of this package have allocated and hold once every row is answered."""
    held = 0

    def observe(event: ef.Event) -> None:
        nonlocal held
        if event.kind == "finished":
            snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, _ROOT + "*")])
            held = sum(trace.size for trace in snapshot.traces)

    tracemalloc.start()
    call(progress=observe)
    tracemalloc.stop()
    return held


def main(arguments: list[str]) -> None:
    if arguments and arguments[0].isdigit():
        print(json.dumps(_count(int(arguments[0]))))
        return
    counts = count()
    if "--record" in arguments:
        record(counts)
    for name, now in counts.items():
        print(f"{name} per row: {now}, recorded {recorded()[VERSION].get(name)}")


if __name__ == "__main__":
    main(sys.argv[1:])
