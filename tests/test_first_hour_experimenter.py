"""Runs the tour of README.md in two processes, and continues a run from a frame that was stored as a CSV file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

TOUR = """
import asyncio, functools, inspect, json, sys
import eachlabs_frames as ef

# Shortens the executions; the tour's code itself is unchanged.
ef.sandbox.start = functools.partial(ef.sandbox.start, queue_seconds=0.01, run_seconds=(0.01, 0.02))
names = {"__name__": "__main__"}
report = {}


def run(source):
    result = eval(compile(source, "README.md", "exec", flags=0x2000), names)  # await is allowed, as in a notebook
    if inspect.iscoroutine(result):
        asyncio.run(result)


for source in json.load(sys.stdin):
    run(source)
    if ".download(" in source:
        report["pictures"] = names["out"]["path_error"].dropna().tolist()
out = names["out"]
report["tour"] = out["status"].tolist()
report["sandbox runs"] = ef.runs()["run"].tolist().count("sweep-7")
"""

CSV_FILE = """
import pandas as pd

sent = pd.DataFrame({"text": ["a fox", "[fail] an owl", "a heron"], "number": [1, 2, 3]})
sent = sent.eachlabs.bulk_trigger("wf_abc123", {"prompt": "text", "seed": "number"}, run="table", wait=True)
sent.to_csv("table.csv", index=False)
back = pd.read_csv("table.csv")
assert not back.attrs
executions = ef.runs().set_index("run").loc["table", "executions"]
again = back.eachlabs.retry_failed(wait=True)
report["retried"] = [
    int(ef.runs().set_index("run").loc["table", "executions"] - executions),
    (again["execution_id"] != sent["execution_id"]).tolist(),
    again["text"].tolist(),
    again.attrs["eachlabs"]["run"],
]
back.eachlabs.gallery().save("table.html")
report["gallery"] = "[fail] an owl" in open("table.html", encoding="utf-8").read()
report["dashboard"] = "table" in str(back.eachlabs.dashboard())
try:
    pd.DataFrame({"text": ["a crane"]}).eachlabs.retry_failed()
except ef.ColumnError as exc:
    report["never triggered"] = str(exc)
"""

REAL_JOURNAL = """
ef.configure(api_key=None, base_url=None)
report["real journal"] = str(ef.configure().journal)
report["real runs"] = ef.runs()["run"].tolist()
json.dump(report, sys.stdout)
"""


def tour() -> list[str]:
    """Return the Python blocks of the tour in README.md."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text.partition("## A tour")[2], re.DOTALL)
    assert any(".sweep(" in block for block in blocks)
    assert any("load_run(" in block for block in blocks)
    return blocks


def run_tour(folder: Path, script: str) -> dict[str, Any]:
    """Run the tour in a subprocess with `folder` as working directory and its own home; return its report."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EACHLABS_")}
    homes = dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_DATA_HOME"), str(folder / "home"))
    command = [sys.executable, "-W", "error", "-c", script]
    process = subprocess.run(
        command,
        cwd=folder,
        env=environment | homes,
        input=json.dumps(tour()),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    report: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return report


@pytest.mark.slow
def test_tour_can_be_repeated_and_leaves_the_real_journal_empty(tmp_path: Path) -> None:
    """Both processes report the same, the real journal has no run, and a frame from a CSV file can be continued."""
    (tmp_path / "home").mkdir()
    first = run_tour(tmp_path, TOUR + REAL_JOURNAL)
    second = run_tour(tmp_path, TOUR + CSV_FILE + REAL_JOURNAL)
    for report in (first, second):
        assert report["tour"] == ["completed", "completed", "invalid"]
        assert report["pictures"] == []
        assert report["sandbox runs"] == 1
        assert report["real runs"] == []
        assert Path(report["real journal"]).is_relative_to(tmp_path / "home")
    assert second["retried"] == [1, [False, True, False], ["a fox", "[fail] an owl", "a heron"], "table"]
    assert second["gallery"]
    assert second["dashboard"]
    assert second["never triggered"].startswith("nothing was triggered from this frame")
