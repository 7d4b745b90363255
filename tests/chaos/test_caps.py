"""Tests of several processes at a cap on concurrent executions: what one call has learned, the next ones know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import eachlabs_frames as ef

from .partitions import PARTITIONS

pytestmark = pytest.mark.chaos

PROCESSES = 4
SECONDS = 300


@pytest.mark.parametrize(("cap", "rows"), [(10, 12), (50, 60)])
def test_a_hint_lowers_the_refusals_of_four_processes(tmp_path: Path, cap: int, rows: int) -> None:
    """Each partition is a call of its own. With one journal, they begin with the cap that was learned before.

    The refusals fall to less than half on an idle machine. A slow one meets the cap less often.
    """
    alone = _refused(tmp_path / "apart", "apart", cap, rows)
    shared = _refused(tmp_path / "shared", "shared", cap, rows)
    assert shared * 4 <= alone * 3


def _refused(folder: Path, journals: str, cap: int, rows: int) -> int:
    """Have four processes send their partitions; return how many requests the API has refused for its cap."""
    folder.mkdir()
    with ef.sandbox.start(
        configure=False, account_cap=cap, latency=0.01, queue_seconds=0.0, run_seconds=(0.3, 0.9)
    ) as sandbox:
        command = [sys.executable, "-m", "tests.chaos.partitions", sandbox.base_url, str(folder), journals, str(rows)]
        processes = [subprocess.Popen([*command, str(place)]) for place in range(PROCESSES)]
        assert [process.wait(SECONDS) for process in processes] == [0] * PROCESSES
        assert sandbox.accepted_count() == PROCESSES * PARTITIONS * rows
        assert sandbox.duplicates() == {}
        assert sandbox.peak_in_flight <= cap
        return sum(request.status == 429 for request in sandbox.requests)
