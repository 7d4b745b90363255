"""From the call to its first request at the server: in that time, all rows are read, checked and entered into the run.

The server refuses the key and says when the request came (CLOCK_MONOTONIC, which all processes of a machine share), so
that the call ends there. Imports are warm, and the look at the workflow is in it.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from statistics import median

import pandas as pd

import eachlabs_frames as ef

from . import clients
from .journal import keep, temporary_folder
from .measure import Result, prompts
from .server import serving

ROUNDS = 5


def first_request() -> Result:
    return _result("first request of 10,000 rows", 10_000, None, limit=0.06)


def first_request_with_journal() -> Result:
    with temporary_folder() as folder:
        return _result("the same, with a journal", 10_000, folder, limit=None)


def first_request_of_a_million() -> Result:
    return _result("first request of 1,000,000 rows", 1_000_000, None, limit=0.5, rounds=3)


def _result(what: str, rows: int, folder: Path | None, *, limit: float | None, rounds: int = ROUNDS) -> Result:
    frame = prompts(rows)
    with serving() as port:
        _seconds(port, frame.head(320), folder)
        seconds = [_seconds(port, frame, folder) for _ in range(rounds)]
    return Result(what, median(seconds), limit, unit=" s", note=f"{min(seconds):.3f} to {max(seconds):.3f} s")


def _seconds(port: int, frame: pd.DataFrame, folder: Path | None) -> float:
    keep(None if folder is None else folder / "journal.sqlite")
    ef.configure(api_key=clients.KEY, base_url=f"http://127.0.0.1:{port}/v1", max_concurrency=clients.CONCURRENCY)
    begin = time.monotonic()
    try:
        frame.eachlabs.bulk_trigger("wf_refused", progress=False)
    except ef.AuthenticationError as error:
        return float(re.findall(r"at ([0-9.]+)", str(error))[0]) - begin
    msg = "the server has not refused the key"
    raise AssertionError(msg)
