"""The tests' side of `actors`: parts that are played in processes of their own, and what the ledger must say."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from eachlabs_frames.sandbox import Sandbox

WORKFLOW = "wf_text"
PATIENCE = 120.0
"""Seconds after which something hangs, whatever the machine."""

Row = dict[str, Any]
Call = tuple[str, Sequence[Any], Mapping[str, Any]]


class Actor:
    """One process, from before its part begins to its end."""

    def __init__(self, connection: socket.socket, part: Mapping[str, Any]) -> None:
        self._connection = connection
        self._lines = connection.makefile("r")
        self.said: list[dict[str, Any]] = []
        self.code: int | None = None
        self.gone = False
        self._send(json.dumps(part))
        self.pid: int = self._next()["ready"]

    def _send(self, line: str) -> None:
        self._connection.sendall(line.encode() + b"\n")

    def _next(self) -> dict[str, Any]:
        while True:
            line = self._lines.readline()
            assert line, "the stage is gone"
            if line.strip().endswith("}"):
                try:
                    found: dict[str, Any] = json.loads(line)
                except ValueError:
                    continue  # it was killed in the middle of a word
                return found

    def go(self) -> Actor:
        """Let it begin."""
        self._send("go")
        return self

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal; its id stays its own for as long as the stage is there."""
        os.kill(self.pid, number)

    def hears(self, word: str) -> dict[str, Any]:
        """Wait until it says something that has this key."""
        while True:
            said = self._next()
            if "ended" in said:
                self.code = said["ended"]
            self.said.append(said)
            if word in said:
                return said
            assert self.code is None, f"it ended with {self.code} and never said {word!r}: {self.said}"

    def ended(self) -> list[dict[str, Any]]:
        """Wait for its end; return what it said of each of its calls."""
        if self.code is None:
            self.hears("ended")
        self.gone = True
        self._lines.close()
        self._connection.close()
        return [said for said in self.said if "call" in said]


class Theatre:
    """The stage's process."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "stage")
        script = Path(__file__).with_name("actors.py")
        self._log = (folder / "stage.log").open("w+")
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._actors: list[Actor] = []
        self._process = subprocess.Popen(
            [sys.executable, str(script), self._path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": paths},
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", self.log()

    def __enter__(self) -> Theatre:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.dismiss()
        self._process.communicate(timeout=PATIENCE)
        self._log.close()

    def dismiss(self) -> None:
        """End the actors that a test has left behind."""
        while self._actors:
            actor = self._actors.pop()
            if not actor.gone:
                actor.kill()
                actor.ended()

    def log(self) -> str:
        """Return what the processes wrote to stderr."""
        self._log.flush()
        return Path(self._log.name).read_text()[-4000:]

    def actor(
        self,
        sandbox: Sandbox | str,
        journal: Path,
        *calls: Call,
        prompts: Iterable[str] = (),
        strike: Mapping[str, Any] | None = None,
        clock: Mapping[str, Any] | None = None,
        frame: Mapping[str, Any] | None = None,
        watch: bool = True,
        anew: bool = False,
        paths: Sequence[str] = (),
        **settings: Any,
    ) -> Actor:
        """Return an actor that will make these calls on a frame of these prompts, once it is let go.

        ``paths`` are columns of the frame with names of files.
        ``clock`` sets its wall clock by so many ``seconds`` at the ``at``-th event of the kind ``on``.
        """
        where = sandbox if isinstance(sandbox, str) else sandbox.base_url
        part = {
            "environment": {
                "EACHLABS_BASE_URL": where,
                "EACHLABS_API_KEY": "sandbox-key",
                "EACHLABS_JOURNAL": str(journal),
            },
            "settings": {"timeout": 30.0, "settle_window": 1.0, **settings},
            "frame": frame if frame is not None else {"prompt": list(prompts)},
            "calls": calls,
            "strike": strike,
            "clock": clock,
            "watch": watch,
            "anew": anew,
            "paths": paths,
        }
        return self._connected(part)

    def cell(self, journal: Path, cell: Mapping[str, Any]) -> Actor:
        """Return an actor that will play a cell of the fault matrix."""
        return self._connected({"environment": {"EACHLABS_JOURNAL": str(journal)}, "cell": cell})

    def _connected(self, part: Mapping[str, Any]) -> Actor:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(self._path)
        actor = Actor(connection, part)
        self._actors.append(actor)
        return actor


def trigger(run: str | None = "chaos", *, workflow: str = WORKFLOW, **options: Any) -> Call:
    """Return the call that is killed, and made again."""
    return ("bulk_trigger", [workflow], {"run": run, **options})


class Trap:
    """Strikes when the n-th execution is accepted: give it to the sandbox as `fail_when`, and then set it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = 0
        self._strike: Callable[[], object] | None = None

    def set(self, at: int, strike: Callable[[], object]) -> None:
        """Strike when the `at`-th more is accepted."""
        with self._lock:
            self._left, self._strike = at, strike

    def __call__(self, inputs: Mapping[str, Any]) -> bool:
        """Count one execution; none of them fails."""
        with self._lock:
            self._left -= 1
            strike = self._strike if self._left == 0 else None
        if strike is not None:
            strike()
        return False


def until(condition: Callable[[], bool]) -> None:
    """Look until `condition` holds; to wait longer than any machine needs is a failure."""
    deadline = time.monotonic() + PATIENCE / 2
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


def whole(called: list[dict[str, Any]], sandbox: Sandbox, *, rows: int) -> list[Row]:
    """See that a call's rows are all there, each with its own execution, and that none was accepted twice."""
    assert [said.get("raised") for said in called] == [None] * len(called), called
    found: list[Row] = called[-1]["rows"]
    assert problems(found, sandbox) == []
    assert sorted(known(found)) == sorted(accepted(sandbox))
    assert sandbox.accepted_count() == rows, tally(found)
    return found


def misplaced(rows: Iterable[Row], sandbox: Sandbox) -> list[Row]:
    """Return the rows that hold an execution which the ledger does not know, or which another input became."""
    became = {one.execution_id: (one.inputs["prompt"], one.bulk_id) for one in sandbox.accepted}
    return [
        row
        for row in rows
        if row["execution_id"] is not None
        and became.get(row["execution_id"]) != (row["prompt"], row["bulk_id"] or became[row["execution_id"]][1])
    ]


def known(rows: Iterable[Row]) -> list[str]:
    """Return the executions that rows hold."""
    return [row["execution_id"] for row in rows if row["execution_id"] is not None]


def accepted(sandbox: Sandbox) -> list[str]:
    """Return the executions that were accepted."""
    return [one.execution_id for one in sandbox.accepted]


def tally(rows: Iterable[Row]) -> Counter[str]:
    """Count rows per status."""
    return Counter(row["status"] for row in rows)


def problems(rows: Sequence[Row], sandbox: Sandbox, *, unique: bool = True) -> list[str]:
    """Return what is wrong with a result, whatever went wrong on its way: nothing, one hopes."""
    found = []
    if unique and sandbox.duplicates():
        found.append(f"accepted twice: {dict(list(sandbox.duplicates().items())[:3])}")
    if wrong := misplaced(rows, sandbox):
        found.append(f"{len(wrong)} misplaced, the first: {wrong[0]}")
    twice = [one for one, count in Counter(known(rows)).items() if count > 1]
    if twice:
        found.append(f"{len(twice)} executions in two rows")
    without = [row for row in rows if row["status"] is None or (row["execution_id"] is None and not row["error"])]
    if without:
        found.append(f"{len(without)} rows without an outcome, the first: {without[0]}")
    return found
