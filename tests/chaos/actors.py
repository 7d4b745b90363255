"""A process that has imported everything, and forks one that plays a part for each who connects to its socket.

Run as a script with the socket's path. An actor is told its part as one line of JSON, says ``ready``, waits for a line
and begins; whatever it says are lines of JSON too. How it ended is told by the process that forked it, which never
reaps it: so its id stays its own.
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
import eachlabs_frames.sandbox.server  # so that no actor has to
from eachlabs_frames.aio import loop_thread
from tests.chaos.stage import WORKFLOW, known, problems, tally

Say = Callable[[Any], None]
TOLD = ("prompt", "bulk_id", "execution_id", "status", "error", "output", "cost", "path", "path_error")


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a result's rows, with None for what is missing."""
    known = frame[[name for name in TOLD if name in frame.columns]].astype(object)
    return list(known.where(known.notna(), None).to_dict("records"))


class Observer:
    """Tells when a run stops, and strikes the process itself at a call's n-th event of a kind: there, nowhere else."""

    def __init__(self, say: Say, strike: dict[str, Any] | None, clock: dict[str, Any] | None = None) -> None:
        self._say = say
        self._strike = strike
        self._clock = clock
        self._seen: Counter[str] = Counter()

    def __call__(self, event: ef.Event) -> None:
        self._seen[event.kind] += 1
        if event.kind == "stopped":
            self._say({"stopped": event.waiting_for})
        clock = self._clock
        if clock is not None and event.kind == clock["on"] and self._seen[event.kind] == clock["at"]:
            set_clock(clock["seconds"])
        strike = self._strike
        if strike is not None and event.kind == strike["on"] and self._seen[event.kind] == strike["at"]:
            os.kill(os.getpid(), strike.get("signal", signal.SIGKILL))


def set_clock(seconds: float) -> None:
    """Set this process's wall clock, and no other: the machine's own belongs to all."""
    whole, exact = time.time, time.time_ns
    time.time = lambda: whole() + seconds
    time.time_ns = lambda: exact() + int(seconds * 1e9)


def play(part: dict[str, Any], say: Say) -> None:
    """Make the calls of a part one after the other, each on the frame that the last one gave."""
    ef.configure(**part.get("settings", {}))
    frame = pd.DataFrame(part.get("frame", {}))
    at_first = left_over()
    for name, arguments, options in part["calls"]:
        for column in part.get("paths", ()):
            frame[column] = frame[column].map(Path)
        if name == "bulk_trigger" and part["anew"]:
            frame = pd.DataFrame(part["frame"])
        observer: Any = Observer(say, part["strike"], part.get("clock")) if part["watch"] else False
        try:
            if name in ("load_run", "delete_run"):
                frame = getattr(ef, name)(*arguments, **options)
            else:
                method = getattr(frame.eachlabs, name)
                watched = ("bulk_trigger", "wait", "reconcile", "download")
                watch = {"progress": observer} if name in watched else {}
                frame = method(*arguments, **watch, **options)
        except BaseException as exc:  # noqa: BLE001 - told, and the next call is made all the same
            kept = getattr(exc, "frame", None)
            told = {"call": name, "raised": type(exc).__name__, "text": str(exc), "rows": _kept(kept)}
            say({**told, "left": left_over()})
            frame = frame if kept is None else kept
        else:
            run = frame.attrs.get("eachlabs", {}).get("run")
            say({"call": name, "rows": rows_of(frame), "run": run, "left": left_over()})
    loop_thread.close()
    gc.collect()
    say({"closed": {**left_over(), "base_files": at_first["files"], "base_sockets": at_first["sockets"]}})


def play_cell(cell: dict[str, Any], say: Say) -> None:
    """Play a cell of the fault matrix, sandbox and all: the call, the same call again, and a look for what was lost."""
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
                # It says that nothing was sent.
                states.append({"accepted": sandbox.accepted_count() - before, "known": 0, "tally": {}})
            else:
                states.append(state_of(out, sandbox))
        if cell.get("reconcile"):
            sandbox.faults()
            out = out.eachlabs.reconcile(progress=False)
            states.append(state_of(out, sandbox))
        found = problems(rows_of(out), sandbox, unique=cell.get("unique", True))
        loaded = rows_of(ef.load_run("matrix"))
        if known(loaded) != known(rows_of(out)):
            found.append("load_run says something else than the call")
        say({"over": True, "found": {"first": states[0], "last": states[-1], "problems": found}})


def state_of(frame: pd.DataFrame, sandbox: ef.sandbox.Sandbox) -> dict[str, Any]:
    """Count what was accepted, what is known of it, and the rows per status."""
    rows = rows_of(frame)
    return {"accepted": sandbox.accepted_count(), "known": len(known(rows)), "tally": tally(rows)}


def _kept(frame: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    return None if frame is None else rows_of(frame)


def left_over() -> dict[str, Any]:
    """Say which threads and tasks there are, and how many files and sockets are open."""
    running = loop_thread._current
    places = [os.path.realpath(one) for one in Path("/dev/fd").iterdir()]
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "tasks": 0 if running is None else len(asyncio.all_tasks(running.loop)),
        "files": len(places),
        "sockets": sum("socket:" in place for place in places),
    }


def act(connection: socket.socket) -> None:
    """Play the part that comes over `connection`."""
    lines = connection.makefile("r")
    part = json.loads(lines.readline())
    os.environ.update(part.get("environment", {}))

    speech = threading.Lock()

    def say(news: Any) -> None:
        with speech:
            connection.sendall(json.dumps(news, default=str).encode() + b"\n")

    say({"ready": os.getpid()})
    if not lines.readline():
        return
    if "cell" in part:
        play_cell(part["cell"], say)
    else:
        play(part, say)
        say({"over": True})


class Stage:
    """The process that forks actors."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)
        self._actors: dict[int, socket.socket] = {}
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
                        self._tell_of_the_dead()

    def _fork(self, connection: socket.socket) -> None:
        pid = os.fork()
        if pid:
            self._actors[pid] = connection
            self._tell_of_the_dead()
            return
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for file in (self._listener, self._wake, self._wakes, *self._actors.values()):
                file.close()
            act(connection)
            code = 0
        finally:
            os._exit(code)

    def _tell_of_the_dead(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)
        for pid in tuple(self._actors):
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                with self._actors.pop(pid) as connection, contextlib.suppress(OSError):
                    connection.sendall(b"\n" + json.dumps({"ended": ended.si_status}).encode() + b"\n")


if __name__ == "__main__":
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Stage(sys.argv[1]).run()
