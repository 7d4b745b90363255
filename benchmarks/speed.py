"""Throughput and CPU of a whole `bulk_trigger`, against bare sockets and against threads: 10,000 rows, 4 columns.

Nothing of the call is left out: the look at the workflow, the check of each row, and the writing of the result.
"""

from __future__ import annotations

from . import clients
from .measure import CPU, WALL, Result, in_turn, prompts
from .server import serving

ROWS = 10_000
LATENCY = 0.05


def throughput() -> Result:
    return _throughput("throughput at 50 ms / sockets", look=False, limit=0.93)


def throughput_of_same_requests() -> Result:
    return _throughput("the same, sockets look at the workflow too", look=True, limit=0.96)


def throughput_of_100_at_once() -> Result:
    return _throughput("the same, 100 requests at once", look=True, limit=0.88, concurrency=100)


def _throughput(what: str, *, look: bool, limit: float | None, concurrency: int = clients.CONCURRENCY) -> Result:
    frame = prompts(ROWS)
    rows = frame.to_dict("records")
    with serving(LATENCY) as port:
        pair = in_turn(
            lambda: _all(clients.sockets(port, rows, look=look, concurrency=concurrency)),
            lambda: _all(clients.package(port, frame, concurrency=concurrency)),
            WALL,
        )
    note = f"{ROWS / pair.second:,.0f} rows/s to {ROWS / pair.first:,.0f}"
    return Result(what, pair.ratio, limit, at_least=True, note=note)


def cpu_against_sockets() -> Result:
    frame = prompts(ROWS)
    rows = frame.to_dict("records")
    with serving() as port:
        pair = in_turn(
            lambda: _all(clients.package(port, frame)), lambda: _all(clients.sockets(port, rows)), CPU, rounds=15
        )
    return Result("CPU at 0 ms / sockets", pair.ratio, 3.2, note=f"{pair.first:.3f} s to {pair.second:.3f} s")


def cpu_against_threads() -> Result:
    frame = prompts(ROWS)
    rows = frame.to_dict("records")
    with serving() as port:
        pair = in_turn(
            lambda: _all(clients.package(port, frame)), lambda: _all(clients.threads(port, rows)), CPU, rounds=15
        )
    return Result(
        "CPU at 0 ms / threads with requests", pair.ratio, 0.2, note=f"{pair.first:.3f} s to {pair.second:.3f} s"
    )


def _all(ids: list[str]) -> None:
    assert len(ids) == ROWS
    assert len(set(ids)) == ROWS
    assert all(isinstance(execution_id, str) for execution_id in ids)
