"""Tests of SIGKILL during uploads: no complete file is uploaded again, no row is paid twice, and none is lost."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

import eachlabs_frames as ef

from .fork_server import ForkServer, complete, count_of, problems, trigger

pytestmark = pytest.mark.chaos

ROWS = 60
FILES = 20
ENDED = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}
RESUMED = {"timeout": 6.0, "settle_window": 0.5, "max_concurrency": 4}


@pytest.mark.parametrize(("kind", "at"), [("uploading", 4), ("answered", 1), ("answered", 4)])
def test_a_kill_during_uploads(server: ForkServer, tmp_path: Path, kind: str, at: int) -> None:
    """The same call resumes: the executions of rows in flight are found by the URLs of their files."""
    paths = [tmp_path / f"{number}.png" for number in range(FILES)]
    for number, path in enumerate(paths):
        path.write_bytes(f"picture {number}".encode() * 2_000)
    frame = {
        "prompt": [f"row {number}" for number in range(ROWS)],
        "image": [str(paths[number % FILES]) for number in range(ROWS)],
    }
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
        # Each row got its own file.
        digests = {file.public_url: file.sha256 for file in sandbox.files}
        contents = [sha256(path.read_bytes()).hexdigest() for path in paths]
        for execution in sandbox.accepted:
            row = int(execution.inputs["prompt"].split()[1])
            assert digests[execution.inputs["image"]] == contents[row % FILES]
