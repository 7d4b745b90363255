"""Downloads that are killed, interrupted, or made by two at once: a file is whole, or it has no name."""

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

from .stage import Call, Theatre

pytestmark = pytest.mark.chaos

ROWS = 5
WORKERS = 4
FILES = 3 * ROWS
SIZE = 2_200_000
"""So that a file is written in several pieces."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A local each::labs with large pictures; this process is pointed at it too, to make the frames."""
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0), media_bytes=SIZE) as running:
        yield running


def frame(rows: int = ROWS, *, word: str = "row") -> dict[str, list[Any]]:
    """Return a result as an actor is told it."""
    df = pd.DataFrame({"prompt": [f"{word} {row}" for row in range(rows)]})
    out = df.eachlabs.bulk_trigger("wf_images", wait=True)
    columns = ["prompt", "bulk_id", "execution_id", "status", "output"]
    return {name: out[name].tolist() for name in columns}


def download(folder: Path) -> Call:
    """Return the call that is killed, and made again."""
    return ("download", [str(folder)], {})


def named(folder: Path) -> dict[str, bytes]:
    """Return the digest of each file that has a name."""
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.glob("*.png")}


def asked(sandbox: Sandbox) -> int:
    """Return how many pictures were sent whole."""
    return sum(record.route == "media" and record.status == 200 for record in sandbox.requests)


@pytest.fixture
def expected(sandbox: Sandbox, tmp_path: Path) -> tuple[dict[str, list[Any]], dict[str, bytes]]:
    """Return a frame, and what its folder must hold in the end."""
    told = frame()
    pd.DataFrame(told).eachlabs.download(tmp_path / "expected")
    return told, named(tmp_path / "expected")


@pytest.mark.parametrize("at", [1, FILES - 1])
def test_a_killed_download_leaves_no_half_a_file(
    theatre: Theatre, sandbox: Sandbox, tmp_path: Path, expected: tuple[Any, dict[str, bytes]], at: int
) -> None:
    """With one file in its very middle; the same call fetches what is missing and nothing else."""
    told, whole = expected
    folder = tmp_path / "folder"
    sandbox.faults(Fault("stalled", on="media", at={at}))
    strike = {"on": "downloaded", "at": at}
    actor = theatre.actor(sandbox, tmp_path / "j", download(folder), frame=told, strike=strike, max_concurrency=WORKERS)
    actor.go().ended()
    assert actor.code == signal.SIGKILL
    left = named(folder)
    assert at <= len(left) < FILES
    assert left.items() <= whole.items()
    sandbox.faults()
    before = asked(sandbox)
    (said,) = theatre.actor(sandbox, tmp_path / "j", download(folder), frame=told).go().ended()
    assert [row["path_error"] for row in said["rows"]] == [None] * ROWS
    assert named(folder) == whole
    # A file that has its name and was not noted is fetched once more, and is known by its bytes; what was on its way
    # to the dead may be counted late.
    assert FILES - len(left) <= asked(sandbox) - before <= FILES - at + WORKERS


def test_two_processes_in_one_folder_harm_no_file(
    theatre: Theatre, sandbox: Sandbox, tmp_path: Path, expected: tuple[Any, dict[str, bytes]]
) -> None:
    """Both find every file; none is torn, none is left without a name, and the list can be read."""
    told, whole = expected
    folder = tmp_path / "folder"
    actors = [theatre.actor(sandbox, tmp_path / "j", download(folder), frame=told) for _ in range(2)]
    for actor in actors:
        actor.go()
    for actor in actors:
        (said,) = actor.ended()
        assert [row["path_error"] for row in said["rows"]] == [None] * ROWS
    assert named(folder) == whole
    assert not list((folder / ".eachlabs").glob("*.part"))
    lines = [line for line in (folder / ".eachlabs" / "downloads.jsonl").read_text().splitlines() if line]
    assert {json.loads(line)["file"] for line in lines} == set(whole)


def test_two_runs_in_one_folder_lose_nothing(theatre: Theatre, sandbox: Sandbox, tmp_path: Path) -> None:
    """Each name is one of the two's, whole; the other says that it is taken, and neither ever replaces it."""
    runs = [frame(2, word=word) for word in ("fox", "owl")]
    folder = tmp_path / "folder"
    actors = [theatre.actor(sandbox, tmp_path / "j", download(folder), frame=run) for run in runs]
    for actor in actors:
        actor.go()
    rows = [actor.ended()[0]["rows"] for actor in actors]
    owners: dict[str, int] = {}
    for run, found in enumerate(rows):
        for row in found:
            owners |= {path: run for path in row["path"] if path is not None and path not in owners}
            assert row["path_error"] is None or "another file named" in row["path_error"]
    assert len(owners) == len(named(folder)) == 6
    paths = [path for found in rows for row in found for path in row["path"] if path is not None]
    assert len(paths) == 6


def test_an_interrupted_process_says_what_it_has(
    theatre: Theatre, sandbox: Sandbox, tmp_path: Path, expected: tuple[Any, dict[str, bytes]]
) -> None:
    """A real Ctrl-C, with a body on its way that never ends: soon over, nothing torn, and it goes on."""
    told, whole = expected
    folder = tmp_path / "folder"
    sandbox.faults(Fault("stalled", on="media", at={3}))
    strike = {"on": "downloaded", "at": 5, "signal": signal.SIGINT}
    (said,) = theatre.actor(sandbox, tmp_path / "j", download(folder), frame=told, strike=strike).go().ended()
    assert said["raised"] == "Interrupted"
    there = [path for row in said["rows"] for path in row["path"] if path is not None]
    assert 5 <= len(there) < FILES
    assert {Path(path).name for path in there} <= set(whole)
    parts = list((folder / ".eachlabs").glob("*.part"))
    assert all(part.name.startswith("kept-") for part in parts)  # the next call may go on with these
    (again,) = theatre.actor(sandbox, tmp_path / "j", download(folder), frame=told).go().ended()
    assert [row["path_error"] for row in again["rows"]] == [None] * ROWS
    assert not list((folder / ".eachlabs").glob("*.part"))
    assert named(folder) == whole
