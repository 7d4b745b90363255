"""kill -9 while files are uploaded: none that was complete goes up again, no row is paid for twice, none is lost."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

import eachlabs_frames as ef

from .stage import Theatre, problems, tally, trigger, whole

pytestmark = pytest.mark.chaos

ROWS = 60
FILES = 20
ENDED = {"queue_seconds": 0.0, "run_seconds": (0.0, 0.0)}
RESUMED = {"timeout": 6.0, "settle_window": 0.5, "max_concurrency": 4}


@pytest.mark.parametrize(("kind", "at"), [("uploading", 4), ("answered", 1), ("answered", 4)])
def test_a_kill_in_the_middle_of_uploads(theatre: Theatre, tmp_path: Path, kind: str, at: int) -> None:
    """The same call goes on: rows in flight are found again by the URLs of their files."""
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
        victim = theatre.actor(
            sandbox, journal, call, strike={"on": kind, "at": at}, max_concurrency=4, max_uploads=3, **options
        ).go()
        assert victim.ended() == []
        assert victim.code == 9
        complete = {file.sha256 for file in sandbox.files if file.status == "live"}
        assert len(complete) < FILES or kind == "answered"

        again = theatre.actor(sandbox, journal, call, **options, **RESUMED).go()
        (called,) = again.ended()
        assert called.get("raised") is None, called
        assert problems(called["rows"], sandbox) == []
        assert set(tally(called["rows"])) <= {"queued", "running", "completed", "unknown"}
        last = theatre.actor(
            sandbox, journal, trigger(workflow="wf_free", on_unknown="resend"), **options, **RESUMED
        ).go()
        whole(last.ended(), sandbox, rows=ROWS)
        live = Counter(file.sha256 for file in sandbox.files if file.status == "live")
        assert len(live) == FILES
        assert {digest for digest, count in live.items() if count > 1} & complete == set()
        # Each row got the file of its own.
        digests = {file.public_url: file.sha256 for file in sandbox.files}
        contents = [sha256(path.read_bytes()).hexdigest() for path in paths]
        for execution in sandbox.accepted:
            row = int(execution.inputs["prompt"].split()[1])
            assert digests[execution.inputs["image"]] == contents[row % FILES]
