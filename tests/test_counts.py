"""A call costs no more per row than `benchmarks/counts.json` says: counted, not timed."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.counts import ALLOWED, VERSION, count, recorded


def test_a_call_calls_and_holds_no_more_per_row_than_is_recorded() -> None:
    """What costs more on purpose is recorded in the same commit, and so is what costs less."""
    limits = {name: limit * ALLOWED for name, limit in recorded().get(VERSION, {}).items()}
    counts = count()
    excess = {name: (counts[name], limit) for name, limit in limits.items() if counts[name] > limit}
    assert not excess, "python -m benchmarks.counts --record, with each Python in benchmarks/counts.json"


def test_each_supported_python_has_its_counts() -> None:
    """Those that pyproject.toml names."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert set(recorded()) == set(re.findall(r"Python :: (3\.\d+)", text))
