"""An experimenter's first hour: README's tour on two days, as it stands, and a table that went through a CSV file."""

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

DAY = """
import asyncio, functools, inspect, json, sys
import eachlabs_frames as ef

# Only so that the executions take no time: what the tour says is what is run.
ef.sandbox.start = functools.partial(ef.sandbox.start, queue_seconds=0.01, run_seconds=(0.01, 0.02))
names = {"__name__": "__main__"}
told = {}


def run(source):
    made = eval(compile(source, "README.md", "exec", flags=0x2000), names)  # await is allowed, as in a notebook
    if inspect.iscoroutine(made):
        asyncio.run(made)


for source in json.load(sys.stdin):
    run(source)
    if ".download(" in source:
        told["pictures"] = names["out"]["path_error"].dropna().tolist()
out = names["out"]
told["tour"] = out["status"].tolist()
told["sandbox's runs"] = ef.runs()["run"].tolist().count("sweep-7")
"""

AFTERNOON = """
import pandas as pd

sent = pd.DataFrame({"text": ["a fox", "[fail] an owl", "a heron"], "number": [1, 2, 3]})
sent = sent.eachlabs.bulk_trigger("wf_abc123", {"prompt": "text", "seed": "number"}, run="table", wait=True)
sent.to_csv("table.csv", index=False)
back = pd.read_csv("table.csv")
assert not back.attrs
paid = ef.runs().set_index("run").loc["table", "executions"]
again = back.eachlabs.retry_failed(wait=True)
told["retried"] = [
    int(ef.runs().set_index("run").loc["table", "executions"] - paid),
    (again["execution_id"] != sent["execution_id"]).tolist(),
    again["text"].tolist(),
    again.attrs["eachlabs"]["run"],
]
back.eachlabs.gallery().save("table.html")
told["gallery"] = "[fail] an owl" in open("table.html", encoding="utf-8").read()
told["dashboard"] = "table" in str(back.eachlabs.dashboard())
try:
    pd.DataFrame({"text": ["a crane"]}).eachlabs.retry_failed()
except ef.ColumnError as exc:
    told["never triggered"] = str(exc)
"""

EVENING = """
ef.configure(api_key=None, base_url=None)
told["real journal"] = str(ef.configure().journal)
told["real runs"] = ef.runs()["run"].tolist()
json.dump(told, sys.stdout)
"""


def tour() -> list[str]:
    """Return the blocks of README's tour."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text.partition("## A tour")[2], re.DOTALL)
    assert any(".sweep(" in block for block in blocks)
    assert any("load_run(" in block for block in blocks)
    return blocks


def day(folder: Path, script: str) -> dict[str, Any]:
    """Follow the tour in a process of its own, in one folder with one home; return what came of it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("EACHLABS_")}
    homes = dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_DATA_HOME"), str(folder / "home"))
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=own | homes, input=json.dumps(tour()), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.slow
def test_the_tour_works_on_two_days_and_leaves_no_run_behind(tmp_path: Path) -> None:
    """The second day is as the first; the real journal has no run of either. What a CSV file holds is gone on with."""
    (tmp_path / "home").mkdir()
    first = day(tmp_path, DAY + EVENING)
    second = day(tmp_path, DAY + AFTERNOON + EVENING)
    for told in (first, second):
        assert told["tour"] == ["completed", "completed", "invalid"]
        assert told["pictures"] == []
        assert told["sandbox's runs"] == 1
        assert told["real runs"] == []
        assert Path(told["real journal"]).is_relative_to(tmp_path / "home")
    assert second["retried"] == [1, [False, True, False], ["a fox", "[fail] an owl", "a heron"], "table"]
    assert second["gallery"]
    assert second["dashboard"]
    assert second["never triggered"].startswith("nothing was triggered from this frame")
