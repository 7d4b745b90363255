"""The pure parts of `python -m benchmarks peers`."""

from __future__ import annotations

from pathlib import Path

import orjson

from benchmarks import server
from benchmarks.measure import prompts
from benchmarks.peers import report
from benchmarks.peers.check import misplaced


def test_an_id_in_another_row_is_misplaced() -> None:
    """Each row that has not its own id counts, and so does one that has the same as another."""
    frame = prompts(20)
    ids = [id_ for rows in (frame[:10], frame[10:]) for id_ in _accepted(rows.to_dict("records"))]
    assert misplaced(frame, frame.assign(execution_id=ids)) == 0
    assert misplaced(frame, frame.assign(execution_id=[ids[1], ids[0], *ids[2:]])) == 2
    assert misplaced(frame, frame.assign(execution_id=[ids[0], ids[0], *ids[2:]])) == 2
    assert misplaced(frame, frame.assign(execution_id=_accepted(frame.to_dict("records")))) == 20
    assert misplaced(frame, frame.assign(execution_id=ids)[::-1]) == 20


def test_the_table_shows_medians_and_misplaced_rows(tmp_path: Path) -> None:
    """Each point has a table with a line for each arm."""
    lines = [_trial("ours", 2.0), _trial("ours", 4.0), _trial("ours", 3.0), _trial("tqdm", 1.0, misplaced=7)]
    (tmp_path / report.TRIALS).write_bytes(b"\n".join(map(orjson.dumps, lines)))
    table = report.table(report.read(tmp_path / report.TRIALS))
    assert "**1,000 rows, 50 ms, 32 at once** (answers alone: 0.20 s)" in table
    assert "| ours | 0.10 s | 3.000 s |  | 0.500 s |  | 2,000 B/row |  | all own |" in table
    assert "| tqdm + aiohttp by hand | 0.10 s | 1.000 s |  | 0.500 s |  | 2,000 B/row |  | 7 misplaced |" in table
    assert "Left out: " in table


def _accepted(rows: list[dict[str, object]]) -> list[str]:
    answer = server.accepted(orjson.dumps({"inputs": rows})).partition(b"\r\n\r\n")[2]
    return [entry["execution_id"] for entry in orjson.loads(answer)["executions"]]


def _trial(arm: str, wall: float, *, misplaced: int = 0) -> report.Trial:
    return {
        "arm": arm,
        "rows": 1_000,
        "latency": 0.05,
        "concurrency": 32,
        "round": 0,
        "imports": 0.1,
        "versions": ["a 1"],
        "python": "3.11",
        "machine": "2 cores",
        "load": 0.5,
        "at": "2026-12-01T00:00:00+00:00",
        "cold": {"wall": wall, "cpu": 0.5, "memory": 2_000_000, "misplaced": misplaced},
        "warm": None,
    }
