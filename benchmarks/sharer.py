"""One of several processes that share a journal: a script with the port, the journal, the run and its own number."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import eachlabs_frames as ef

from . import clients
from .journal import keep
from .measure import prompts
from .processes import ROWS, WORKERS


def main(port: str, journal: str, run: str, place: str) -> None:
    """Send this process's part of the rows when a line comes; print when it began and ended."""
    first = int(place) * ROWS
    frame = prompts(first + ROWS).iloc[first:]
    keep(Path(journal) if journal else None)
    ef.configure(api_key=clients.KEY, base_url=f"http://127.0.0.1:{port}/v1", max_concurrency=WORKERS)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.time()
    out = frame.eachlabs.bulk_trigger("wf_bench", progress=False, run=run or None)
    print(start, time.time())
    assert out["execution_id"].nunique() == ROWS


if __name__ == "__main__":
    main(*sys.argv[1:])
