"""What the journal costs: time and CPU of a run with it over one without, a run resumed, and bytes on the disk."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import orjson
import pandas as pd

import eachlabs_frames as ef
from eachlabs_frames.inputs.fingerprints import fingerprints
from eachlabs_frames.journal.base import RowChunk, RunSpec
from eachlabs_frames.journal.sqlite.run_journal import SqliteRunJournal
from eachlabs_frames.models import Outcome

from . import clients
from .measure import CPU, WALL, Result, Timer, in_turn, prompts
from .server import serving

ROWS = 10_000
RESUMED = 100_000
NOTED = 1_000_000
LATENCY = 0.05
SHEET = 1_000
WORKERS = 32
OUTPUT = "https://media.example/outputs/2026/11/24/0123456789abcdef0123456789abcdef01234567/image-0000.png"


def journal_wall() -> Result:
    return _against_none("journal on / off, time at 50 ms", WALL, limit=1.05, rounds=9)


def journal_cpu() -> Result:
    return _against_none("journal on / off, CPU at 50 ms", CPU, limit=1.25, rounds=9)


def _against_none(what: str, timer: Timer, *, limit: float, rounds: int) -> Result:
    frame = prompts(ROWS)
    with serving(LATENCY) as port, temporary_folder() as folder:
        pair = in_turn(_triggered(port, frame, folder), _triggered(port, frame, None), timer, rounds=rounds)
    return Result(what, pair.ratio, limit, note=f"{pair.first:.3f} s to {pair.second:.3f} s")


def _triggered(port: int, frame: pd.DataFrame, folder: Path | None) -> Callable[[], object]:
    def call() -> None:
        keep(None if folder is None else folder / "journal.sqlite")
        assert len(set(clients.package(port, frame))) == len(frame)

    return call


def resuming() -> Result:
    """Resume a finished run of 100,000 rows, from the frame in memory to the result; nothing is sent."""
    frame = prompts(RESUMED)
    with serving() as port, temporary_folder() as folder:
        keep(folder / "journal.sqlite")
        clients.triggered(port, frame, run="big")
        finish(folder / "journal.sqlite", "big")
        readings = []
        for _ in range(5):
            start = time.perf_counter()
            out = clients.triggered(port, frame, run="big")
            readings.append(time.perf_counter() - start)
            assert (out["status"] == "completed").all()
    return Result("resuming 100,000 finished rows", median(readings), 1.5, unit=" s", note="nothing is sent")


def finish(path: Path, run: str) -> None:
    """Note that every execution of a run has ended."""
    entry = SqliteRunJournal(path, run)
    pin = entry.spec()
    assert pin is not None
    entry.enter(pin)
    ids, bulk_ids = entry.state.results.execution_id, entry.state.results.bulk_id
    ended = [_ended(row, str(ids[row]))._replace(bulk_id=bulk_ids[row]) for row in range(len(ids))]
    for first in range(0, len(ended), clients.BATCH):
        entry.update(ended[first : first + clients.BATCH])  # a record for each bulk operation, as polls make them
    assert entry.close() is None


def _ended(row: int, execution_id: str) -> Outcome:
    moment = 1_790_000_000_000_000_000 + row * 1_234_567_891
    return Outcome(row, "completed", None, execution_id, None, moment, moment + 7_654_321_000, OUTPUT, 0.01)


def disk() -> Result:
    """Note 1,000,000 rows, each claimed, accepted and ended with an output of 96 characters."""
    with temporary_folder() as folder:
        path = folder / "journal.sqlite"
        inputs = asyncio.run(_note(path))
        size = sum(one.stat().st_size for one in folder.iterdir())
    beyond = (size - inputs) / NOTED
    return Result("disk beyond the inputs", beyond, 400, unit=" bytes a row", note=f"{size / 1e6:.0f} MB in all")


async def _note(path: Path) -> int:
    entry = SqliteRunJournal(path, "large")
    entry.enter(RunSpec("wf_bench", "v1", "http://127.0.0.1/v1", {"prompt": {"column": "prompt"}}))
    sizes: list[int] = []
    entry.register(_sheets(sizes))
    batches = iter(range(0, NOTED, clients.BATCH))

    async def work() -> None:
        for first in batches:
            rows = range(first, first + clients.BATCH)
            await entry.claim(rows)
            bulk_id = str(uuid.uuid4())
            accepted = [Outcome(row, "queued", bulk_id, str(uuid.uuid4())) for row in rows]
            entry.settle(accepted)
            entry.update([_ended(one.position, str(one.execution_id)) for one in accepted])

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    assert entry.close() is None
    return sum(sizes)


def _sheets(sizes: list[int]) -> Iterator[RowChunk]:
    frame = prompts(NOTED)
    for first in range(0, NOTED, SHEET):
        rows = frame.iloc[first : first + SHEET].to_dict("records")
        payloads = [orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows]
        contents = fingerprints(rows, payloads)  # type: ignore[arg-type]  # its keys are texts
        sizes.append(sum(map(len, payloads)))
        yield RowChunk(contents, contents, list(range(first, first + SHEET)), payloads, [True] * SHEET)


def keep(path: Path | None) -> None:
    """Keep the journal in this file, or none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ef.configure(journal=path, rerun_guard=None)  # each round sends the same rows


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder)
        finally:
            keep(None)
