"""Tests of SIGKILL during uploads: no complete file is uploaded again, no row is paid twice, and none is lost."""

from __future__ import annotations

import random
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Fault, Sandbox

from .fork_server import ForkServer, complete, count_of, problems, trigger

pytestmark = pytest.mark.chaos

ROWS = 60
FILES = 20
ENDED = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}
RESUMED = {"timeout": 6.0, "settle_window": 0.5, "max_concurrency": 4}


def pictures(folder: Path, *, files: int, rows: int) -> tuple[list[Path], dict[str, list[str]]]:
    """Write files, and return them and the columns of a frame that refers to them in turn."""
    paths = [folder / f"{number}.png" for number in range(files)]
    for number, path in enumerate(paths):
        path.write_bytes(f"picture {number}".encode() * 2_000)
    prompts = [f"row {number}" for number in range(rows)]
    return paths, {"prompt": prompts, "image": [str(paths[number % files]) for number in range(rows)]}


@pytest.mark.parametrize(("kind", "at"), [("uploading", 4), ("answered", 1), ("answered", 4)])
def test_a_kill_during_uploads(server: ForkServer, tmp_path: Path, kind: str, at: int) -> None:
    """The same call resumes: the executions of rows in flight are found by the URLs of their files."""
    paths, frame = pictures(tmp_path, files=FILES, rows=ROWS)
    journal = tmp_path / "journal.sqlite"
    with ef.sandbox.start(configure=False, latency=0.005, **ENDED) as sandbox:
        call, options = trigger(workflow="wf_free"), {"frame": frame, "paths": ["image"]}
        victim = server.worker(
            sandbox, journal, call, stop_at={"on": kind, "at": at}, max_concurrency=4, max_uploads=3, **options
        ).start()
        assert victim.wait() == []
        assert victim.code == 9
        uploaded = {file.sha256 for file in sandbox.files if file.status == "live"}
        assert len(uploaded) < FILES or kind == "answered"

        again = server.worker(sandbox, journal, call, **options, **RESUMED).start()
        (report,) = again.wait()
        assert report.get("raised") is None, report
        assert problems(report["rows"], sandbox) == []
        assert set(count_of(report["rows"])) <= {"queued", "running", "completed", "unknown"}
        last = server.worker(
            sandbox, journal, trigger(workflow="wf_free", on_unknown="resend"), **options, **RESUMED
        ).start()
        complete(last.wait(), sandbox, rows=ROWS)
        live = Counter(file.sha256 for file in sandbox.files if file.status == "live")
        assert len(live) == FILES
        assert {digest for digest, count in live.items() if count > 1} & uploaded == set()
        check_files(sandbox, paths)


def contents_since(sandbox: Sandbox, presigned: int) -> set[str | None]:
    """Return the contents at the API whose uploads were presigned after the first `presigned`."""
    return {file.sha256 for file in sandbox.files[presigned:] if file.status == "live"}


def check_files(sandbox: Sandbox, paths: list[Path]) -> None:
    """Check that each row was sent with its own file."""
    digests = {file.public_url: file.sha256 for file in sandbox.files}
    contents = [sha256(path.read_bytes()).hexdigest() for path in paths]
    for execution in sandbox.accepted:
        row = int(execution.inputs["prompt"].split()[1])
        assert digests[execution.inputs["image"]] == contents[row % len(paths)]


def test_two_processes_with_kills_and_faults_upload_a_known_file_once(server: ForkServer, tmp_path: Path) -> None:
    """In each round two processes start together; what is at the API after a round is not uploaded by a later one."""
    chance, rows, files = random.Random(14), 24, 12
    paths, frame = pictures(tmp_path, files=files, rows=rows)
    options = {"frame": frame, "paths": ["image"], "max_uploads": 2, **RESUMED}
    journal = tmp_path / "journal.sqlite"
    known: set[str | None] = set()
    seen = 0
    with ef.sandbox.start(configure=False, latency=0.005, seed=14, **ENDED) as sandbox:
        sandbox.faults(
            Fault("error_before", on="presign", status=503, chance=0.1),
            Fault("dropped", on="put", chance=0.1),
            Fault("lost_answer", on="put", chance=0.1),
            Fault("lost_answer", on="trigger", at={chance.randint(1, 4)}),
        )
        for kinds in (("uploading", "uploading"), ("uploading", "answered"), (None, None)):
            pair = [
                server.worker(
                    sandbox,
                    journal,
                    trigger(workflow="wf_free"),
                    stop_at=None
                    if kind is None
                    else {"on": kind, "at": 1 if kind == "answered" else chance.randint(2, 4)},
                    **options,
                )
                for kind in kinds
            ]
            for worker in pair:
                worker.start()
            for worker in pair:
                for report in worker.wait():
                    assert report.get("raised") is None, report
                    assert problems(report["rows"], sandbox) == []
            assert known & contents_since(sandbox, seen) == set()
            known, seen = contents_since(sandbox, 0), len(sandbox.files)
        sandbox.faults()
        last = trigger(workflow="wf_free", on_unknown="resend")
        complete(server.worker(sandbox, journal, last, **options).start().wait(), sandbox, rows=rows)
        assert len(known) == files
        assert contents_since(sandbox, seen) == set()
        check_files(sandbox, paths)
