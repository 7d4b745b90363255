"""One of several processes that send the partitions of a table, each in a call of its own.

A script with the sandbox's base URL, a folder, ``shared`` or ``apart``, the rows of a partition, and the process's
number. With ``shared``, all calls of all processes have one journal and one run; with ``apart`` each call has a journal
of its own, and so knows nothing of the calls before it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

import eachlabs_frames as ef
from tests.chaos.fork_server import WORKFLOW

PARTITIONS = 3
WORKERS = 8


def main(base_url: str, folder: str, journals: str, rows: str, place: str) -> None:
    """Send the partitions of this process."""
    for partition in range(PARTITIONS):
        name = "shared" if journals == "shared" else f"{place}-{partition}"
        ef.configure(
            api_key=ef.sandbox.API_KEY,
            base_url=base_url,
            journal=Path(folder) / f"{name}.sqlite",
            max_concurrency=WORKERS,
        )
        frame = pd.DataFrame({"prompt": [f"row {place} {partition} {row}" for row in range(int(rows))]})
        out = frame.eachlabs.bulk_trigger(WORKFLOW, ["prompt"], run="table", wait=True, progress=False)
        assert out["execution_id"].nunique() == int(rows), out[["status", "error"]]


if __name__ == "__main__":
    main(*sys.argv[1:])
