"""A process that has imported everything and forks a worker for each connection to its socket.

Run as a script with the path of the socket. A worker reads its task as one line of JSON, sends ``ready``, waits for a
line and makes its calls; it reports as lines of JSON. The parent process sends the exit status of a worker. It never
reaps a worker, so that the process id is not reused.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import os
import resource
import selectors
import signal
import socket
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import eachlabs_frames as ef
import eachlabs_frames.aio.nested
import eachlabs_frames.api.client
import eachlabs_frames.frames.trigger
import eachlabs_frames.journal.sqlite.journal
import eachlabs_frames.sandbox.server  # imported before the fork
from eachlabs_frames.aio import loop_thread
from tests.chaos.fork_server import WORKFLOW, count_of, ids_of, problems

Send = Callable[[Any], None]
REPORTED_COLUMNS = ("prompt", "bulk_id", "execution_id", "status", "error", "output", "cost", "path", "path_error")


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a result, with None for missing values."""
    values = frame[[name for name in REPORTED_COLUMNS if name in frame.columns]].astype(object)
    return list(values.where(values.notna(), None).to_dict("records"))


class Observer:
    """Reports when a run stops, and sends a signal to its own process at the n-th event of a kind."""

    def __init__(self, send: Send, stop_at: dict[str, Any] | None, clock: dict[str, Any] | None = None) -> None:
        self._send = send
        self._stop_at = stop_at
        self._clock = clock
        self._seen: Counter[str] = Counter()

    def __call__(self, event: ef.Event) -> None:
        self._seen[event.kind] += 1
        if event.kind == "stopped":
            self._send({"stopped": event.waiting_for})
        clock = self._clock
        if clock is not None and event.kind == clock["on"] and self._seen[event.kind] == clock["at"]:
            set_clock(clock["seconds"])
        stop_at = self._stop_at
        if stop_at is not None and event.kind == stop_at["on"] and self._seen[event.kind] == stop_at["at"]:
            os.kill(os.getpid(), stop_at.get("signal", signal.SIGKILL))


def set_clock(seconds: float) -> None:
    """Shift the wall clock of this process only."""
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + int(seconds * 1e9)


def run_task(task: dict[str, Any], send: Send) -> None:
    """Make the calls of a task one after the other, each on the frame that the previous call returned."""
    ef.configure(**task.get("settings", {}))
    frame = pd.DataFrame(task.get("frame", {}))
    at_start = open_resources()
    for name, arguments, options in task["calls"]:
        for column in task.get("paths", ()):
            frame[column] = frame[column].map(Path)
        if name == "bulk_trigger" and task["fresh_frame"]:
            frame = pd.DataFrame(task["frame"])
        observer: Any = Observer(send, task["stop_at"], task.get("clock")) if task["watch"] else False
        try:
            if name in ("load_run", "delete_run"):
                frame = getattr(ef, name)(*arguments, **options)
            else:
                method = getattr(frame.eachlabs, name)
                watched = ("bulk_trigger", "wait", "reconcile", "download")
                watch = {"progress": observer} if name in watched else {}
                frame = method(*arguments, **watch, **options)
        except BaseException as exc:  # noqa: BLE001 - reported, and the next call is made
            kept = getattr(exc, "frame", None)
            report = {"call": name, "raised": type(exc).__name__, "text": str(exc), "rows": _kept(kept)}
            send({**report, "left": open_resources()})
            frame = frame if kept is None else kept
        else:
            run = frame.attrs.get("eachlabs", {}).get("run")
            send({"call": name, "rows": rows_of(frame), "run": run, "left": open_resources()})
    loop_thread.close()
    gc.collect()
    send({"closed": {**open_resources(), "base_files": at_start["files"], "base_sockets": at_start["sockets"]}})


def run_cell(cell: dict[str, Any], send: Send) -> None:
    """Run a cell of the fault matrix with its own sandbox: the call, the same call again, and `reconcile`."""
    ef.configure(**cell["settings"])
    options = {**cell["options"]}
    if options.get("listing_lag", 0.0) is None:
        options["listing_lag"] = math.inf
    frame = pd.DataFrame({"prompt": [f"row {number}" for number in range(100)]})
    faults = [ef.sandbox.Fault(**fault) for fault in cell["faults"]]
    with ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0), faults=faults, **options) as sandbox:
        states, out = [], frame
        for _ in range(2):
            before = sandbox.accepted_count()
            try:
                out = frame.eachlabs.bulk_trigger(
                    WORKFLOW, run="matrix", max_concurrency=3, progress=False, **cell.get("call", {})
                )
            except ef.APIError:
                # An APIError means that no request of the call took effect.
                states.append({"accepted": sandbox.accepted_count() - before, "known": 0, "tally": {}})
            else:
                states.append(state_of(out, sandbox))
        if cell.get("reconcile"):
            sandbox.faults()
            out = out.eachlabs.reconcile(progress=False)
            states.append(state_of(out, sandbox))
        found = problems(rows_of(out), sandbox, unique=cell.get("unique", True))
        loaded = rows_of(ef.load_run("matrix"))
        if ids_of(loaded) != ids_of(rows_of(out)):
            found.append("load_run and the call return different executions")
        send({"over": True, "found": {"first": states[0], "last": states[-1], "problems": found}})


def state_of(frame: pd.DataFrame, sandbox: ef.sandbox.Sandbox) -> dict[str, Any]:
    """Return the number of accepted executions, how many of them the rows have, and the rows per status."""
    rows = rows_of(frame)
    return {"accepted": sandbox.accepted_count(), "known": len(ids_of(rows)), "tally": count_of(rows)}


def _kept(frame: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    return None if frame is None else rows_of(frame)


def open_resources() -> dict[str, Any]:
    """Return the loop threads and tasks, and the numbers of open files and sockets."""
    loop = loop_thread._current
    places = [os.path.realpath(path) for path in Path("/dev/fd").iterdir()]
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "tasks": 0 if loop is None else len(asyncio.all_tasks(loop.loop)),
        "files": len(places),
        "sockets": sum("socket:" in place for place in places),
    }


def serve(connection: socket.socket) -> None:
    """Run the task that is received from `connection`."""
    lines = connection.makefile("r")
    task = json.loads(lines.readline())
    os.environ.update(task.get("environment", {}))

    lock = threading.Lock()

    def send(message: Any) -> None:
        with lock:
            connection.sendall(json.dumps(message, default=str).encode() + b"\n")

    send({"ready": os.getpid()})
    if not lines.readline():
        return
    if "cell" in task:
        run_cell(task["cell"], send)
    else:
        run_task(task, send)
        send({"over": True})


class Parent:
    """The process that forks workers."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)
        self._workers: dict[int, socket.socket] = {}
        self._wake, wakes = socket.socketpair()
        self._wake.setblocking(False)
        wakes.setblocking(False)
        self._wakes = wakes
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Serve until stdin is closed."""
        with selectors.DefaultSelector() as selector:
            for file in (self._listener, self._wake, sys.stdin):
                selector.register(file, selectors.EVENT_READ)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            while True:
                for key, _ in selector.select():
                    if key.fileobj is sys.stdin:
                        return
                    if key.fileobj is self._listener:
                        self._fork(self._listener.accept()[0])
                    else:
                        self._report_exits()

    def _fork(self, connection: socket.socket) -> None:
        pid = os.fork()
        if pid:
            self._workers[pid] = connection
            self._report_exits()
            return
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for file in (self._listener, self._wake, self._wakes, *self._workers.values()):
                file.close()
            serve(connection)
            code = 0
        finally:
            os._exit(code)

    def _report_exits(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)
        for pid in tuple(self._workers):
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                with self._workers.pop(pid) as connection, contextlib.suppress(OSError):
                    connection.sendall(b"\n" + json.dumps({"ended": ended.si_status}).encode() + b"\n")


if __name__ == "__main__":
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Parent(sys.argv[1]).run()
