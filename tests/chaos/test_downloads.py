"""Tests of downloads that are killed, interrupted or concurrent: every file under its final name is complete."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

from .fork_server import Call, ForkServer

pytestmark = pytest.mark.chaos

ROWS = 5
WORKERS = 4
FILES = 3 * ROWS
SIZE = 2_200_000
"""Bytes of a file, enough for several writes."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with large files; this process uses it too, to make the frames."""
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0), media_bytes=SIZE) as running:
        yield running


def frame(rows: int = ROWS, *, prefix: str = "row") -> dict[str, list[Any]]:
    """Return a result as the columns of a worker's frame."""
    df = pd.DataFrame({"prompt": [f"{prefix} {row}" for row in range(rows)]})
    out = df.eachlabs.bulk_trigger("wf_images", wait=True)
    columns = ["prompt", "bulk_id", "execution_id", "status", "output"]
    return {name: out[name].tolist() for name in columns}


def download(folder: Path) -> Call:
    """Return the download call, which is killed and repeated."""
    return ("download", [str(folder)], {})


def digests(folder: Path) -> dict[str, bytes]:
    """Return the digest of each file under its final name."""
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.glob("*.png")}


def completed_requests(sandbox: Sandbox) -> int:
    """Return the number of files that were sent completely."""
    return sum(record.route == "media" and record.status == 200 for record in sandbox.requests)


@pytest.fixture
def expected(sandbox: Sandbox, tmp_path: Path) -> tuple[dict[str, list[Any]], dict[str, bytes]]:
    """A frame, and the files that its folder must contain in the end."""
    columns = frame()
    pd.DataFrame(columns).eachlabs.download(tmp_path / "expected")
    return columns, digests(tmp_path / "expected")


@pytest.mark.parametrize("at", [1, FILES - 1])
def test_a_killed_download_leaves_no_truncated_file(
    server: ForkServer, sandbox: Sandbox, tmp_path: Path, expected: tuple[Any, dict[str, bytes]], at: int
) -> None:
    """It is killed while a body is incomplete; a repeated call downloads only what is missing."""
    columns, complete_files = expected
    folder = tmp_path / "folder"
    sandbox.faults(Fault("stalled", on="media", at={at}))
    stop_at = {"on": "downloaded", "at": at}
    worker = server.worker(
        sandbox, tmp_path / "j", download(folder), frame=columns, stop_at=stop_at, max_concurrency=WORKERS
    )
    worker.start().wait()
    assert worker.code == signal.SIGKILL
    existing = digests(folder)
    assert at <= len(existing) < FILES
    assert existing.items() <= complete_files.items()
    sandbox.faults()
    before = completed_requests(sandbox)
    (report,) = server.worker(sandbox, tmp_path / "j", download(folder), frame=columns).start().wait()
    assert [row["path_error"] for row in report["rows"]] == [None] * ROWS
    assert digests(folder) == complete_files
    # A complete file that is not listed is downloaded once more and recognized by its content. Requests that were in
    # flight at the kill may be counted late.
    assert FILES - len(existing) <= completed_requests(sandbox) - before <= FILES - at + WORKERS


def test_two_processes_can_download_into_one_folder(
    server: ForkServer, sandbox: Sandbox, tmp_path: Path, expected: tuple[Any, dict[str, bytes]]
) -> None:
    """Both get every file, no file is truncated, and the list is readable."""
    columns, complete_files = expected
    folder = tmp_path / "folder"
    workers = [server.worker(sandbox, tmp_path / "j", download(folder), frame=columns) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        (report,) = worker.wait()
        assert [row["path_error"] for row in report["rows"]] == [None] * ROWS
    assert digests(folder) == complete_files
    assert not list((folder / ".eachlabs").glob("*.part"))
    lines = [line for line in (folder / ".eachlabs" / "downloads.jsonl").read_text().splitlines() if line]
    assert {json.loads(line)["file"] for line in lines} == set(complete_files)


def test_two_runs_with_equal_names_in_one_folder(server: ForkServer, sandbox: Sandbox, tmp_path: Path) -> None:
    """Each name is a complete file of one of them; the other gets an error and does not replace it."""
    runs = [frame(2, prefix=prefix) for prefix in ("fox", "owl")]
    folder = tmp_path / "folder"
    workers = [server.worker(sandbox, tmp_path / "j", download(folder), frame=run) for run in runs]
    for worker in workers:
        worker.start()
    rows = [worker.wait()[0]["rows"] for worker in workers]
    owners: dict[str, int] = {}
    for run, run_rows in enumerate(rows):
        for row in run_rows:
            owners |= {path: run for path in row["path"] if path is not None and path not in owners}
            assert row["path_error"] is None or "another file named" in row["path_error"]
    assert len(owners) == len(digests(folder)) == 6
    paths = [path for run_rows in rows for row in run_rows for path in row["path"] if path is not None]
    assert len(paths) == 6


def test_an_interrupted_download_reports_its_files(
    server: ForkServer, sandbox: Sandbox, tmp_path: Path, expected: tuple[Any, dict[str, bytes]]
) -> None:
    """SIGINT during a body that never ends: the call ends soon, no file is truncated, and a repeated call completes."""
    columns, complete_files = expected
    folder = tmp_path / "folder"
    sandbox.faults(Fault("stalled", on="media", at={3}))
    stop_at = {"on": "downloaded", "at": 5, "signal": signal.SIGINT}
    (report,) = server.worker(sandbox, tmp_path / "j", download(folder), frame=columns, stop_at=stop_at).start().wait()
    assert report["raised"] == "Interrupted"
    paths = [path for row in report["rows"] for path in row["path"] if path is not None]
    assert 5 <= len(paths) < FILES
    assert {Path(path).name for path in paths} <= set(complete_files)
    parts = list((folder / ".eachlabs").glob("*.part"))
    assert all(part.name.startswith("kept-") for part in parts)  # which the next call may resume
    (again,) = server.worker(sandbox, tmp_path / "j", download(folder), frame=columns).start().wait()
    assert [row["path_error"] for row in again["rows"]] == [None] * ROWS
    assert not list((folder / ".eachlabs").glob("*.part"))
    assert digests(folder) == complete_files
