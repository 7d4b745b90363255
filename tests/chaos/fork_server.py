"""Workers: processes in which tests make calls, and checks of their results against the sandbox's executions."""

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
TIMEOUT = 120.0
"""Seconds after which a wait fails, long enough for a slow machine."""

Row = dict[str, Any]
Call = tuple[str, Sequence[Any], Mapping[str, Any]]


class Worker:
    """A process that runs one task."""

    def __init__(self, connection: socket.socket, task: Mapping[str, Any]) -> None:
        self._connection = connection
        self._lines = connection.makefile("r")
        self.messages: list[dict[str, Any]] = []
        self.code: int | None = None
        self.closed = False
        self._send(json.dumps(task))
        self.pid: int = self._next()["ready"]

    def _send(self, line: str) -> None:
        self._connection.sendall(line.encode() + b"\n")

    def _next(self) -> dict[str, Any]:
        while True:
            line = self._lines.readline()
            assert line, "the fork server has ended"
            if line.strip().endswith("}"):
                try:
                    message: dict[str, Any] = json.loads(line)
                except ValueError:
                    continue  # a line that was truncated by a kill
                return message

    def start(self) -> Worker:
        """Start the calls."""
        self._send("go")
        return self

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; the process id is not reused while the fork server runs."""
        os.kill(self.pid, number)

    def wait_for(self, key: str) -> dict[str, Any]:
        """Wait for a message that has this key, and return it."""
        while True:
            message = self._next()
            if "ended" in message:
                self.code = message["ended"]
            self.messages.append(message)
            if key in message:
                return message
            assert self.code is None, f"it ended with {self.code} and did not send {key!r}: {self.messages}"

    def wait(self) -> list[dict[str, Any]]:
        """Wait until the process ends; return its reports of calls."""
        if self.code is None:
            self.wait_for("ended")
        self.closed = True
        self._lines.close()
        self._connection.close()
        return [message for message in self.messages if "call" in message]


class ForkServer:
    """The process that forks workers."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "socket")
        script = Path(__file__).with_name("worker.py")
        self._log = (folder / "fork-server.log").open("w+")
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._workers: list[Worker] = []
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

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_workers()
        self._process.communicate(timeout=TIMEOUT)
        self._log.close()

    def kill_workers(self) -> None:
        """Kill workers that a test left running."""
        while self._workers:
            worker = self._workers.pop()
            if not worker.closed:
                worker.kill()
                worker.wait()

    def log(self) -> str:
        """Return the last lines that the processes wrote to stderr."""
        self._log.flush()
        return Path(self._log.name).read_text()[-4000:]

    def worker(
        self,
        sandbox: Sandbox | str,
        journal: Path,
        *calls: Call,
        prompts: Iterable[str] = (),
        stop_at: Mapping[str, Any] | None = None,
        clock: Mapping[str, Any] | None = None,
        frame: Mapping[str, Any] | None = None,
        watch: bool = True,
        fresh_frame: bool = False,
        paths: Sequence[str] = (),
        **settings: Any,
    ) -> Worker:
        """Return a worker that makes these calls on a frame with these prompts once it is started.

        ``stop_at`` sends ``signal`` (default: SIGKILL) to the worker at the ``at``-th event of the kind ``on``;
        ``clock`` shifts its wall clock by ``seconds`` there. ``paths`` are columns of the frame with names of files.
        """
        where = sandbox if isinstance(sandbox, str) else sandbox.base_url
        task = {
            "environment": {
                "EACHLABS_BASE_URL": where,
                "EACHLABS_API_KEY": "sandbox-key",
                "EACHLABS_JOURNAL": str(journal),
            },
            "settings": {"timeout": 30.0, "settle_window": 1.0, **settings},
            "frame": frame if frame is not None else {"prompt": list(prompts)},
            "calls": calls,
            "stop_at": stop_at,
            "clock": clock,
            "watch": watch,
            "fresh_frame": fresh_frame,
            "paths": paths,
        }
        return self._connected(task)

    def cell(self, journal: Path, cell: Mapping[str, Any]) -> Worker:
        """Return a worker that runs a cell of the fault matrix once it is started."""
        return self._connected({"environment": {"EACHLABS_JOURNAL": str(journal)}, "cell": cell})

    def _connected(self, task: Mapping[str, Any]) -> Worker:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT)
        connection.connect(self._path)
        worker = Worker(connection, task)
        self._workers.append(worker)
        return worker


def trigger(run: str | None = "chaos", *, workflow: str = WORKFLOW, **options: Any) -> Call:
    """Return the `bulk_trigger` call of a task."""
    return ("bulk_trigger", [workflow], {"run": run, **options})


class Trap:
    """Calls a function when the n-th execution is accepted; pass it to the sandbox as `fail_when`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = 0
        self._action: Callable[[], object] | None = None

    def set(self, at: int, action: Callable[[], object]) -> None:
        """Call `action` when `at` more executions are accepted."""
        with self._lock:
            self._left, self._action = at, action

    def __call__(self, inputs: Mapping[str, Any]) -> bool:
        """Count one execution; no execution fails."""
        with self._lock:
            self._left -= 1
            action = self._action if self._left == 0 else None
        if action is not None:
            action()
        return False


def until(condition: Callable[[], bool]) -> None:
    """Poll until `condition` is true; fail after a long time."""
    deadline = time.monotonic() + TIMEOUT / 2
    while not condition():
        assert time.monotonic() < deadline, "the condition is not met"
        time.sleep(0.002)


def complete(called: list[dict[str, Any]], sandbox: Sandbox, *, rows: int) -> list[Row]:
    """Check that a call returned all rows, each with its own execution, and that none was accepted twice."""
    assert [report.get("raised") for report in called] == [None] * len(called), called
    rows_: list[Row] = called[-1]["rows"]
    assert problems(rows_, sandbox) == []
    assert sorted(ids_of(rows_)) == sorted(accepted_ids(sandbox))
    assert sandbox.accepted_count() == rows, count_of(rows_)
    return rows_


def misplaced(rows: Iterable[Row], sandbox: Sandbox) -> list[Row]:
    """Return the rows with an unknown execution or with the execution of another input."""
    accepted = {
        execution.execution_id: (execution.inputs["prompt"], execution.bulk_id) for execution in sandbox.accepted
    }
    return [
        row
        for row in rows
        if row["execution_id"] is not None
        and accepted.get(row["execution_id"]) != (row["prompt"], row["bulk_id"] or accepted[row["execution_id"]][1])
    ]


def ids_of(rows: Iterable[Row]) -> list[str]:
    """Return the execution ids of rows."""
    return [row["execution_id"] for row in rows if row["execution_id"] is not None]


def accepted_ids(sandbox: Sandbox) -> list[str]:
    """Return the ids of the accepted executions."""
    return [execution.execution_id for execution in sandbox.accepted]


def count_of(rows: Iterable[Row]) -> Counter[str]:
    """Return the number of rows per status."""
    return Counter(row["status"] for row in rows)


def problems(rows: Sequence[Row], sandbox: Sandbox, *, unique: bool = True) -> list[str]:
    """Return what is wrong with a result; an empty list if it is correct."""
    messages = []
    if unique and sandbox.duplicates():
        messages.append(f"accepted twice: {dict(list(sandbox.duplicates().items())[:3])}")
    if wrong := misplaced(rows, sandbox):
        messages.append(f"{len(wrong)} misplaced, the first: {wrong[0]}")
    duplicated = [execution_id for execution_id, count in Counter(ids_of(rows)).items() if count > 1]
    if duplicated:
        messages.append(f"{len(duplicated)} executions in two rows")
    without = [row for row in rows if row["status"] is None or (row["execution_id"] is None and not row["error"])]
    if without:
        messages.append(f"{len(without)} rows without an outcome, the first: {without[0]}")
    return messages
