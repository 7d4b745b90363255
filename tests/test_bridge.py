"""Tests of the sync/async bridge: callers, interrupts, cancellation, forks and calls nested in the caller's loop.

Code that ends or forks a process or patches asyncio runs in a subprocess, against a sandbox in this process.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.aio import bridge as bridging
from eachlabs_frames.aio import interrupts
from eachlabs_frames.aio.bridge import BridgeTask, Call, Read, call, run, run_async
from eachlabs_frames.aio.loop_thread import close, loop_thread
from eachlabs_frames.api.client import session
from eachlabs_frames.frames.result_frame import ResultFrame
from eachlabs_frames.sandbox import Fault, Sandbox

from .waiting import until

WORKFLOW = "wf_abc123"
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and forks require POSIX")


def rows(count: int, name: str = "row") -> pd.DataFrame:
    """Return a frame of `count` distinct prompts."""
    return pd.DataFrame({"prompt": [f"{name} {number}" for number in range(count)]})


def run_on(kind: str, main: Coroutine[Any, Any, Any]) -> Any:
    """Run `main` on a new event loop of this kind, and close the loop."""
    if kind == "asyncio":
        return asyncio.run(main)
    loop = pytest.importorskip("uvloop").new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def has_own_executions(frame: pd.DataFrame, sandbox: Sandbox) -> bool:
    """Return whether each row has the execution that was triggered with its own prompt."""
    execution_ids = {execution.inputs["prompt"]: execution.execution_id for execution in sandbox.accepted}
    return [execution_ids[prompt] for prompt in frame["prompt"]] == frame["execution_id"].tolist()


# Debug mode warns about slow callbacks, which a deliberately blocked loop has. Errors are still logged.
PRELUDE = "import logging; logging.getLogger('asyncio').setLevel(logging.ERROR)\n"


class Script:
    """Runs code in a subprocess whose environment points at the sandbox."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "EACHLABS_BASE_URL": sandbox.base_url, "EACHLABS_API_KEY": sandbox.api_key}

    def start(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        path = self._folder / "script.py"
        path.write_text(PRELUDE + textwrap.dedent(code))
        # Python 3.12 and later warn about a fork in a process with threads, which these tests do on purpose.
        flags = ["-X", "dev", "-W", "error", "-W", "ignore:This process"]
        return subprocess.Popen(
            [sys.executable, *flags, str(path), *arguments],
            env=self._environment,
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, *arguments: str) -> Any:
        """Run the code and return its output parsed as JSON; it must succeed and write nothing to stderr."""
        return read_output(self.start(code, *arguments))


def read_output(process: subprocess.Popen[str], *, quiet: bool = True) -> Any:
    """Wait for the process to succeed and return its output parsed as JSON; `quiet` requires an empty stderr."""
    try:
        out, err = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, err
    # asyncio's debug mode logs callbacks that take over 0.1 s, which happens on a busy machine.
    lines = [line for line in err.splitlines() if not line.startswith("Executing <")]
    assert not quiet or lines == []
    return json.loads(out)


@pytest.fixture
def script(sandbox: Sandbox, tmp_path: Path) -> Script:
    """Return a runner of subprocesses that use the sandbox and a temporary folder."""
    return Script(sandbox, tmp_path)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the bridge after each test and check that its thread has ended."""
    yield
    close()
    assert "eachlabs-frames" not in {thread.name for thread in threading.enumerate()}


# Calls


def test_call_returns_the_result_of_the_job_or_raises_its_error() -> None:
    """The job runs on the loop thread, and its result or exception is passed to the calling thread."""

    async def name(_: asyncio.Event) -> str:
        return threading.current_thread().name

    async def fail(_: asyncio.Event) -> None:
        msg = "raised by the job"
        raise LookupError(msg)

    assert call(name) == "eachlabs-frames"
    with pytest.raises(LookupError, match="raised by the job"):
        call(fail)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_exit_exception_of_a_job_does_not_stop_the_loop_thread(error: type[BaseException]) -> None:
    """`SystemExit` or `KeyboardInterrupt` in a job is raised in its caller; the loop keeps running for others."""

    async def leave(_: asyncio.Event) -> None:
        raise error

    async def stay(_: asyncio.Event) -> int:
        return 1

    before = loop_thread()
    with pytest.raises(error):
        call(leave)
    assert call(stay) == 1
    assert loop_thread() is before


def test_bridge_ignores_the_event_loop_policy_of_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop thread uses asyncio's selector loop even if the application makes uvloop the default."""
    uvloop = pytest.importorskip("uvloop")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)
        loop = loop_thread().loop
    assert isinstance(loop, asyncio.SelectorEventLoop)


def test_synchronous_call_on_the_loop_thread_is_refused() -> None:
    """It would deadlock, with `bridge="nest"` as well, because the loop thread's loop is not the caller's."""

    async def inner(_: asyncio.Event) -> None:
        return None

    async def outer(_: asyncio.Event) -> list[str]:
        messages = []
        for kind in ("thread", "nest"):
            with pytest.raises(ef.BridgeError) as caught:
                call(inner, kind=kind)
            messages.append(str(caught.value))
        return messages

    assert all("use the _async method" in message for message in call(outer))
    assert not hasattr(asyncio, "_nest_patched")


def test_second_cancellation_does_not_wait_for_responses() -> None:
    """The job is cancelled and finishes its cleanup before the caller gets `CancelledError`."""
    steps: list[str] = []
    stopping = threading.Event()

    async def stubborn(stop: asyncio.Event) -> None:
        try:
            steps.append("started")
            await stop.wait()
            stopping.set()
            await asyncio.Event().wait()
        finally:
            for _ in range(1000):
                await asyncio.sleep(0)
            steps.append("cleaned up")

    async def main() -> None:
        task = asyncio.create_task(run_async(lambda: Execution(stubborn)))
        await asyncio.to_thread(until, lambda: steps == ["started"])
        task.cancel()
        await asyncio.to_thread(stopping.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert steps == ["started", "cleaned up"]

    asyncio.run(main())


class Execution(Call[Any]):
    """A call whose `execute` runs a job and whose other parts do nothing."""

    def __init__(self, job: bridging.Job[Any]) -> None:
        self._job = job

    async def execute(self, stop: asyncio.Event) -> Any:
        return await self._job(stop)


class RecordingCall(Call[int]):
    """A call that records which of its parts run, and on which thread; `prepare` reads with a job that fails."""

    def __init__(self, parts: list[tuple[str, str]]) -> None:
        self._parts = parts

    def _record(self, part: str) -> None:
        self._parts.append((part, threading.current_thread().name))

    def prepare(self, read: Read) -> None:
        self._record("prepare")

        async def fail(_: asyncio.Event) -> None:
            self._record("read")
            raise LookupError

        with pytest.raises(LookupError):
            read(fail)

    async def execute(self, stop: asyncio.Event) -> int:
        self._record("execute")
        return 2

    def close(self) -> None:
        self._record("close")

    def conclude(self, result: int) -> int:
        self._record("conclude")
        return result + 1


def test_parts_of_a_call_run_in_order_and_on_their_threads() -> None:
    """Only `execute` and the jobs of `read` run on the loop thread; `read` raises a job's error in `prepare`."""
    parts: list[tuple[str, str]] = []
    assert run(lambda: RecordingCall(parts)) == 3
    loop, main, worker = "eachlabs-frames", "MainThread", "eachlabs-frames-work"
    assert parts == [("prepare", main), ("read", loop), ("execute", loop), ("close", main), ("conclude", main)]
    parts.clear()
    assert asyncio.run(run_async(lambda: RecordingCall(parts))) == 3
    assert parts == [("prepare", worker), ("read", loop), ("execute", loop), ("close", worker), ("conclude", main)]


def test_cancellation_during_prepare_skips_execute() -> None:
    """`prepare` runs to completion; then the call is closed without being executed."""
    inside, go = threading.Event(), threading.Event()
    seen: list[str] = []

    class Blocked(Call[None]):
        def prepare(self, read: Read) -> None:
            inside.set()
            assert go.wait(30)
            seen.append("prepared")

        async def execute(self, stop: asyncio.Event) -> None:
            seen.append("executed")

        def close(self) -> None:
            seen.append("closed")

    async def main() -> None:
        task = asyncio.create_task(run_async(Blocked))
        await asyncio.to_thread(inside.wait)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["prepared", "closed"]


def test_callers_share_one_http_session_until_the_bridge_closes() -> None:
    """Calls from any thread or loop use the same session; `close` closes it, and the next call opens a new one."""

    async def current_session(_: asyncio.Event) -> aiohttp.ClientSession:
        return session()

    first = call(current_session)
    with ThreadPoolExecutor() as pool:
        others = [
            pool.submit(call, current_session).result(),
            asyncio.run(run_async(lambda: Execution(current_session))),
        ]
    assert all(other is first for other in others)
    assert not first.closed
    close()
    assert first.closed
    assert call(current_session) is not first


# Threads, running loops and scripts


@pytest.mark.slow
def test_sixteen_threads_trigger_at_once(sandbox: Sandbox) -> None:
    """Each thread sends its own frame: every row is accepted once and gets its own execution."""
    with ThreadPoolExecutor(16) as pool:
        frames = list(
            pool.map(lambda name: rows(25, name).eachlabs.bulk_trigger(WORKFLOW, wait=True), map(str, range(16)))
        )
    assert all(has_own_executions(frame, sandbox) for frame in frames)
    assert {status for frame in frames for status in frame["status"]} == {"completed"}
    assert (sandbox.accepted_count(), sandbox.duplicates()) == (400, {})


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_blocking_call_inside_a_running_loop(sandbox: Sandbox, kind: str) -> None:
    """A synchronous call blocks the caller's running loop and completes."""

    async def main() -> pd.DataFrame:
        return rows(25).eachlabs.bulk_trigger(WORKFLOW, wait=True)

    frame = run_on(kind, main())
    assert has_own_executions(frame, sandbox)
    assert sandbox.accepted_count() == 25


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_async_methods_do_not_block_the_callers_loop(sandbox: Sandbox, kind: str) -> None:
    """Each method waits for a gate that only another coroutine on the caller's loop opens."""
    gate = threading.Event()
    passed: list[bool] = []

    def watch(event: ef.Event) -> None:
        if event.kind == "answered":
            passed.append(gate.wait(30))

    def output(inputs: Any) -> str:
        passed.append(gate.wait(30))
        return str(inputs["prompt"])

    async def run_with_ticks(work: Coroutine[Any, Any, pd.DataFrame]) -> pd.DataFrame:
        async def tick() -> None:
            for _ in range(10):
                await asyncio.sleep(0)
            gate.set()

        gate.clear()
        task = asyncio.create_task(work)
        await tick()
        return await task

    async def main() -> pd.DataFrame:
        frame = await run_with_ticks(rows(3).eachlabs.bulk_trigger_async("wf_gate", progress=watch))
        frame = await run_with_ticks(frame.eachlabs.refresh_async())
        return await run_with_ticks(frame.eachlabs.wait_async())

    sandbox.add_workflow("wf_gate", output=output)
    frame = run_on(kind, main())
    assert frame["output"].tolist() == frame["prompt"].tolist()
    assert passed
    assert all(passed)


def test_synchronous_call_in_a_progress_callback_is_logged_as_its_error(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The callback's `BridgeError` is logged, and the run continues without the callback."""

    def watch(event: ef.Event) -> None:
        if event.kind == "answered":
            rows(1, "from the callback").eachlabs.bulk_trigger(WORKFLOW)

    with caplog.at_level(logging.ERROR, logger="eachlabs_frames"):
        frame = rows(3).eachlabs.bulk_trigger(WORKFLOW, progress=watch)
    assert has_own_executions(frame, sandbox)
    assert sandbox.accepted_count() == 3
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ef.BridgeError]


def test_script_exits_without_output_on_stderr(script: Script, sandbox: Sandbox) -> None:
    """With warnings as errors and asyncio's debug mode, nothing is written to stderr, also not at exit."""
    statuses = script.run(
        """
        import asyncio, json, threading
        import pandas as pd
        import eachlabs_frames as ef

        frame = pd.DataFrame({"prompt": list("abc")}).eachlabs.bulk_trigger("wf_abc123", wait=True)
        asyncio.run(pd.DataFrame({"prompt": list("def")}).eachlabs.bulk_trigger_async("wf_abc123"))
        thread = threading.Thread(target=lambda: pd.DataFrame({"prompt": ["g"]}).eachlabs.bulk_trigger("wf_abc123"))
        thread.start()
        thread.join()
        print(json.dumps(frame["status"].tolist()))
        """
    )
    assert statuses == ["completed"] * 3
    assert sandbox.accepted_count() == 7


# Forks and other processes


@pytest.mark.slow
@posix
@pytest.mark.parametrize("way", ["sys.exit", "os._exit"])
def test_fork_leaves_parent_and_child_working(script: Script, sandbox: Sandbox, way: str) -> None:
    """The child opens its own session, the parent keeps its session, and both exit without output on stderr."""
    result = script.run(
        """
        import json, os, sys
        import pandas as pd
        import eachlabs_frames as ef
        from eachlabs_frames.api.client import session
        from eachlabs_frames.aio import loop_thread
        from eachlabs_frames.aio.bridge import call

        def trigger(name):
            return pd.DataFrame({"prompt": [name]}).eachlabs.bulk_trigger("wf_abc123")["status"].tolist()

        async def current_session(_):
            return session()

        trigger("parent")
        before = call(current_session)
        lock = loop_thread._lock
        lock.acquire()  # as if by another thread, which does not exist in the child
        child = os.fork()
        if child == 0:
            passed = trigger("child") == ["queued"] and call(current_session) is not before
            getattr(*{"sys.exit": (sys, "exit"), "os._exit": (os, "_exit")}[sys.argv[1]])(0 if passed else 1)
        lock.release()
        _, status = os.waitpid(child, 0)
        print(json.dumps([status, trigger("parent again"), call(current_session) is before and not before.closed]))
        """,
        way,
    )
    assert result == [0, ["queued"], True]
    assert sorted(execution.inputs["prompt"] for execution in sandbox.accepted) == ["child", "parent", "parent again"]


@pytest.mark.slow
@posix
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_can_trigger(script: Script, sandbox: Sandbox, method: str) -> None:
    """Forked and spawned workers, alone or in a pool, send their rows and exit, also if the parent has sent before."""
    result = script.run(
        """
        import json, multiprocessing, sys
        from concurrent.futures import ProcessPoolExecutor
        import pandas as pd
        import eachlabs_frames as ef

        def trigger(name):
            return pd.DataFrame({"prompt": [f"{name} {n}" for n in range(12)]}).eachlabs.bulk_trigger("wf_abc123")

        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[1])
            trigger("parent")
            worker = context.Process(target=trigger, args=("process",))
            worker.start()
            worker.join()
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                frames = list(pool.map(trigger, ["one", "two", "three"]))
            counts = [int(frame["execution_id"].nunique()) for frame in frames]
            print(json.dumps([worker.exitcode, counts, len(trigger("parent again"))]))
        """,
        method,
    )
    assert result == [0, [12, 12, 12], 12]
    assert (sandbox.accepted_count(), sandbox.duplicates()) == (72, {})


# Interrupts and cancellations

INTERRUPTED = """
    import json, sys, threading
    import pandas as pd
    import eachlabs_frames as ef
    from eachlabs_frames.aio import bridge

    def watch(event):
        if event.kind == "stopped":
            print("stopped", file=sys.stderr, flush=True)

    bridge.GRACE = 3600.0  # so that only an interrupt can end the call
    frame = pd.DataFrame({"prompt": [str(n) for n in range(300)]})
    try:
        frame.eachlabs.bulk_trigger("wf_abc123", max_concurrency=4, progress=watch)
    except ef.Interrupted as exc:
        async def count_tasks(_):
            import asyncio
            return len(asyncio.all_tasks()) - 1

        frame = exc.frame
        known = frame.loc[frame["execution_id"].notna()]
        print(json.dumps({
            "known": dict(zip(known["prompt"], known["execution_id"])),
            "statuses": frame["status"].value_counts().to_dict(),
            "tasks": bridge.call(count_tasks),
            "threads": sorted(thread.name for thread in threading.enumerate() if not thread.daemon),
        }))
"""


@posix
def test_interrupt_waits_for_responses_in_flight(script: Script, sandbox: Sandbox) -> None:
    """After Ctrl-C nothing new is sent, and the exception's frame has every accepted execution."""
    sandbox.change(latency=0.1)
    process = script.start(INTERRUPTED)
    until(lambda: sandbox.accepted_count() >= 40)
    process.send_signal(signal.SIGINT)
    output = read_output(process, quiet=False)
    assert output["known"] == {execution.inputs["prompt"]: execution.execution_id for execution in sandbox.accepted}
    assert 40 <= len(output["known"]) < 300
    assert (output["tasks"], output["threads"]) == (0, ["MainThread"])


def interrupt_twice(script: Script, sandbox: Sandbox) -> Any:
    """Interrupt a trigger while four accepted requests wait for responses that never come; return its output."""
    sandbox.faults(Fault("silence", at={4, 5, 6, 7}))
    process = script.start(INTERRUPTED)
    until(lambda: sandbox.accepted_count() == 70)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == "stopped\n"
    process.send_signal(signal.SIGINT)
    return read_output(process, quiet=False)


@pytest.mark.slow
@posix
def test_second_interrupt_ends_the_call_at_once(script: Script, sandbox: Sandbox) -> None:
    """The call stops waiting; the frame has every execution whose response arrived, and nothing more is sent."""
    output = interrupt_twice(script, sandbox)
    assert (len(output["known"]), sandbox.accepted_count()) == (30, 70)
    assert (output["tasks"], output["threads"]) == (0, ["MainThread"])


@pytest.mark.slow
@posix
def test_rows_in_flight_at_a_second_interrupt_are_unknown(script: Script, sandbox: Sandbox) -> None:
    """The API may have accepted them, so reporting them as pending would have them paid for twice."""
    output = interrupt_twice(script, sandbox)
    assert output["statuses"] == {"queued": 30, "unknown": 40, "pending": 230}


def test_frame_being_written_in_place_cannot_be_triggered(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """While results are written into the frame, it does not show yet that its rows were sent; a call is refused."""
    frame, writing, go = rows(20), threading.Event(), threading.Event()
    write = ResultFrame.written

    def blocking_write(self: ResultFrame) -> pd.DataFrame:
        writing.set()
        assert go.wait(120)
        return write(self)

    monkeypatch.setattr(ResultFrame, "written", blocking_write)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(frame.eachlabs.bulk_trigger, WORKFLOW, inplace=True)
        assert writing.wait(120)
        threading.Timer(1.0, go.set).start()  # so that the test ends even if the second call is not refused
        with pytest.raises(ef.ColumnError, match="another call is writing"):
            frame.eachlabs.bulk_trigger(WORKFLOW, inplace=True, retrigger=True)
        go.set()
        first.result()
    assert sandbox.accepted_count() == 20


@pytest.mark.parametrize("is_abandoned", [False, True])
def test_nothing_is_sent_after_a_cancellation_while_an_observer_blocks_the_loop(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, is_abandoned: bool
) -> None:
    """Nothing is sent when the observer returns, nor over a kept-alive connection, so no row is paid for twice."""
    if is_abandoned:
        monkeypatch.setattr(bridging, "GRACE", 0.1)
        monkeypatch.setattr(bridging, "SHUTDOWN_TIMEOUT", 0.1)
    with pytest.warns(UserWarning, match="the journal is off"):
        ef.configure(journal=None)
    rows(1, "first").eachlabs.bulk_trigger(WORKFLOW)
    frame, inside, go = rows(30), threading.Event(), threading.Event()
    blocked = loop_thread().loop

    def watch(event: ef.Event) -> None:
        if event.kind == "started":
            inside.set()
            assert go.wait(120)

    async def main() -> None:
        options: dict[str, Any] = {"version_id": "v1", "validate": False, "inplace": True, "progress": watch}
        task = asyncio.create_task(frame.eachlabs.bulk_trigger_async(WORKFLOW, **options))
        assert await asyncio.to_thread(inside.wait, 120)
        task.cancel()
        await (asyncio.wait([task]) if is_abandoned else asyncio.sleep(0))
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    async def count_tasks() -> int:
        return len(asyncio.all_tasks()) - 1

    until(lambda: asyncio.run_coroutine_threadsafe(count_tasks(), blocked).result() == 0)
    assert sandbox.accepted_count() == 1
    assert frame["status"].unique().tolist() == ["pending"]


def test_call_succeeds_while_an_abandoned_observer_blocks_the_loop(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets a new loop; the blocked loop ends its own call once the observer returns, and sends nothing."""
    monkeypatch.setattr(bridging, "GRACE", 0.1)
    monkeypatch.setattr(bridging, "SHUTDOWN_TIMEOUT", 0.1)
    inside, go = threading.Event(), threading.Event()
    blocked = loop_thread()

    def watch(event: ef.Event) -> None:
        if event.kind == "started":
            inside.set()
            assert go.wait(120)

    async def main() -> None:
        task = asyncio.create_task(rows(10, "abandoned").eachlabs.bulk_trigger_async(WORKFLOW, progress=watch))
        assert await asyncio.to_thread(inside.wait, 120)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    out = rows(10, "later").eachlabs.bulk_trigger(WORKFLOW)
    assert out["status"].tolist() == ["queued"] * 10
    assert loop_thread() is not blocked
    go.set()

    async def count_tasks() -> int:
        return len(asyncio.all_tasks()) - 1

    until(lambda: asyncio.run_coroutine_threadsafe(count_tasks(), blocked.loop).result() == 0)
    assert sandbox.accepted_count() == 10


def test_cancelled_trigger_waits_for_responses_in_flight(sandbox: Sandbox) -> None:
    """With ``inplace=True`` the frame has every accepted execution, and nothing is sent after the cancellation."""
    sandbox.change(latency=0.1)
    frame = rows(300)

    async def main() -> None:
        task = asyncio.create_task(frame.eachlabs.bulk_trigger_async(WORKFLOW, inplace=True, max_concurrency=4))
        await asyncio.to_thread(until, lambda: sandbox.accepted_count() >= 40)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    known = frame.loc[frame["execution_id"].notna()]
    assert has_own_executions(known, sandbox)
    assert 40 <= len(known) == sandbox.accepted_count() < 300


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_wait_for_timeout_stops_a_trigger(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """`TimeoutError` is raised, the log names the run, which has every accepted row, and nothing more is sent."""
    ef.configure(journal=tmp_path / "j.sqlite")
    sandbox.change(latency=0.1)

    async def main() -> None:
        work = asyncio.ensure_future(rows(300).eachlabs.bulk_trigger_async(WORKFLOW, max_concurrency=2, run="timed"))
        await asyncio.to_thread(until, lambda: sandbox.accepted_count() >= 20)
        await asyncio.wait_for(work, 0.01)

    with pytest.raises(asyncio.TimeoutError):
        run_on(kind, main())
    accepted = sorted(execution.execution_id for execution in sandbox.accepted)
    assert 20 <= len(accepted) < 300
    assert sorted(ef.load_run("timed")["execution_id"].dropna()) == accepted
    assert any(text.startswith("cancelled: ") and "load_run('timed')" in text for text in caplog.messages)


@pytest.mark.slow
@posix
@pytest.mark.parametrize("call", ["await frame.eachlabs.bulk_trigger_async", "frame.eachlabs.bulk_trigger"])
def test_interrupt_of_asyncio_run_stops_the_call(script: Script, sandbox: Sandbox, call: str) -> None:
    """One Ctrl-C stops an awaited or blocking call, and the run that is named has every accepted row."""
    sandbox.change(latency=0.1)
    process = script.start(
        f"""
        import asyncio, json
        import pandas as pd
        import eachlabs_frames as ef

        ef.configure(journal="j.sqlite")
        frame = pd.DataFrame({{"prompt": [str(n) for n in range(600)]}})

        async def main():
            {call}("wf_abc123", max_concurrency=2, run="stopped")

        try:
            asyncio.run(main())
        except KeyboardInterrupt as exc:
            ended = type(exc).__name__
        print(json.dumps([ended, ef.load_run("stopped")["execution_id"].dropna().tolist()]))
        """
    )
    until(lambda: sandbox.accepted_count() >= 40)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    name, known = json.loads(out)
    assert sorted(known) == sorted(execution.execution_id for execution in sandbox.accepted)
    assert 40 <= len(known) < 600
    assert name == "Interrupted" or "load_run('stopped')" in err


def test_closing_the_coroutine_cancels_and_closes_its_call() -> None:
    """As when a second Ctrl-C ends the loop: the execution is cancelled, then the call is closed."""
    seen: list[str] = []
    started = threading.Event()

    class Endless(Call[None]):
        async def execute(self, stop: asyncio.Event) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("executed")

        def close(self) -> None:
            seen.append("closed")

    loop = asyncio.new_event_loop()
    work = run_async(Endless)
    task = loop.create_task(work)

    async def wait_until_started() -> None:
        await asyncio.to_thread(started.wait)

    loop.run_until_complete(wait_until_started())
    work.close()
    assert seen == ["executed", "closed"]
    task.cancel()
    with pytest.raises((RuntimeError, asyncio.CancelledError)):
        loop.run_until_complete(task)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_cancellation_does_not_wait_for_a_blocked_prepare(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's loop continues; when `prepare` returns later, the call is closed without being executed."""
    monkeypatch.setattr(bridging, "GRACE", 0.0)
    inside, go, over = threading.Event(), threading.Event(), threading.Event()
    seen: list[str] = []

    class Hanging(Call[None]):
        def prepare(self, read: Read) -> None:
            inside.set()
            assert go.wait(30)

        async def execute(self, stop: asyncio.Event) -> None:
            seen.append("executed")

        def close(self) -> None:
            seen.append("closed")
            over.set()

    async def main() -> None:
        task = asyncio.create_task(run_async(Hanging))
        await asyncio.to_thread(inside.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()

    asyncio.run(main())
    assert over.wait(30)
    assert seen == ["closed"]


# Calls nested in the caller's loop


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["asyncio", "no loop"])
def test_nested_bridge_runs_on_the_callers_loop_or_the_loop_thread(script: Script, sandbox: Sandbox, kind: str) -> None:
    """The caller's coroutines continue during the call and no session is kept; without a loop, the thread is used."""
    result = script.run(
        """
        import asyncio, json, sys, threading
        import pandas as pd
        import eachlabs_frames as ef
        from eachlabs_frames.api import client

        ef.configure(bridge="nest")
        gate = threading.Event()

        def watch(event):
            if event.kind == "answered":
                seen.append(threading.current_thread().name)

        async def tick():
            for _ in range(10):
                await asyncio.sleep(0)
                ticks.append(1)

        async def main():
            task = asyncio.ensure_future(tick())
            out = trigger()
            return out, len(ticks), len(client._sessions)

        def trigger():
            return pd.DataFrame({"prompt": list("abc")}).eachlabs.bulk_trigger("wf_abc123", progress=watch)

        ticks, seen = [], []
        out, ticked, sessions = asyncio.run(main()) if sys.argv[1] == "asyncio" else (trigger(), 0, 0)
        print(json.dumps([out["status"].tolist(), ticked, sessions, seen, hasattr(asyncio, "_nest_patched")]))
        """,
        kind,
    )
    thread, ticks, patched = ("MainThread", 10, True) if kind == "asyncio" else ("eachlabs-frames", 0, False)
    assert result == [["queued"] * 3, ticks, 0, [thread], patched]
    assert sandbox.accepted_count() == 3


@pytest.mark.slow
def test_loop_thread_works_after_the_caller_patches_asyncio(script: Script, sandbox: Sandbox) -> None:
    """`nest_asyncio2.apply` in a notebook also patches the class of the loop thread's running loop."""
    result = script.run(
        """
        import asyncio, json
        import nest_asyncio2
        import pandas as pd
        import eachlabs_frames as ef

        def trigger(name):
            frame = pd.DataFrame({"prompt": [f"{name} {n}" for n in range(25)]})
            return frame.eachlabs.bulk_trigger("wf_abc123", wait=True)["status"].unique().tolist()

        async def main():
            before = trigger("before")
            nest_asyncio2.apply()
            asyncio.run(asyncio.sleep(0))
            later = pd.DataFrame({"prompt": ["later"]}).eachlabs.bulk_trigger_async("wf_abc123")
            return [before, trigger("after"), len(await later)]

        print(json.dumps(asyncio.run(main())))
        """
    )
    assert result == [["completed"], ["completed"], 1]
    assert (sandbox.accepted_count(), sandbox.duplicates()) == (51, {})


@pytest.mark.slow
def test_overlapping_nested_calls_share_a_session_until_the_outermost_ends(script: Script, sandbox: Sandbox) -> None:
    """A coroutine may make a nested call during another one; it does not close the session of the outer call."""
    sandbox.change(latency=0.05)
    result = script.run(
        """
        import asyncio, json
        import pandas as pd
        import eachlabs_frames as ef
        from eachlabs_frames.api import client

        ef.configure(bridge="nest")

        def trigger(name, count, watch=False):
            frame = pd.DataFrame({"prompt": [f"{name} {n}" for n in range(count)]})
            out = frame.eachlabs.bulk_trigger("wf_abc123", max_concurrency=2, progress=watch)
            return out["status"].unique().tolist()

        async def inner():
            return trigger("inner", 3)

        def watch(event):
            if event.kind == "answered" and not inners:
                inners.append(asyncio.ensure_future(inner()))

        async def main():
            return [trigger("outer", 120, watch), await inners[0], len(client._sessions)]

        inners = []
        print(json.dumps(asyncio.run(main())))
        """
    )
    assert result == [["queued"], ["queued"], 0]
    assert sandbox.accepted_count() == 123


def test_nested_bridge_refuses_uvloop_before_sending(sandbox: Sandbox) -> None:
    """The error names the loop class and the setting to use instead."""
    ef.configure(bridge="nest")

    async def main() -> None:
        rows(3).eachlabs.bulk_trigger(WORKFLOW)

    with pytest.raises(ef.BridgeError, match=r"cannot work inside uvloop\.Loop: use configure\(bridge='thread'\)"):
        run_on("uvloop", main())
    assert sandbox.requests == ()


@pytest.mark.slow
@posix
def test_interrupt_of_a_nested_call_does_not_end_the_callers_tasks(script: Script, sandbox: Sandbox) -> None:
    """Only the call is interrupted, even though another coroutine of the caller is running most of the time."""
    sandbox.change(latency=0.1)
    process = script.start(
        """
        import asyncio, json, signal, sys
        import pandas as pd
        import eachlabs_frames as ef

        ef.configure(bridge="nest")

        async def busy():
            while True:
                sum(range(10_000))
                await asyncio.sleep(0)

        async def main():
            signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a notebook's cell
            background = asyncio.ensure_future(busy())
            frame = pd.DataFrame({"prompt": [str(n) for n in range(300)]})
            try:
                frame.eachlabs.bulk_trigger("wf_abc123", max_concurrency=4)
            except ef.Interrupted as exc:
                restored = signal.getsignal(signal.SIGINT) is signal.default_int_handler
                return exc.frame["execution_id"].dropna().tolist(), background.done(), restored
            finally:
                background.cancel()

        print(json.dumps(asyncio.run(main())))
        """
    )
    until(lambda: sandbox.accepted_count() >= 40)
    process.send_signal(signal.SIGINT)
    known, task_ended, restored = read_output(process, quiet=False)
    assert sorted(known) == sorted(execution.execution_id for execution in sandbox.accepted)
    assert 40 <= len(known) < 300
    assert (task_ended, restored) == (False, True)


def test_task_stopped_before_it_starts_sees_the_stop_event() -> None:
    """An interrupt may arrive between creating and starting a task; the job then starts with the event set."""
    seen: list[bool] = []

    async def job(stop: asyncio.Event) -> None:
        seen.append(stop.is_set())

    task = BridgeTask(job)
    task.stop()
    task.start()
    assert task.wait(20)
    assert seen == [True]


def test_interrupt_just_before_a_call_ends_it() -> None:
    """The SIGINT handler of `asyncio.run` (Python 3.11) only cancels the task, which a blocking call ignores."""
    executed: list[int] = []

    async def job(_: asyncio.Event) -> None:
        executed.append(1)

    async def main() -> None:
        signal.raise_signal(signal.SIGINT)
        run(lambda: Execution(job))

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert executed == []


def test_long_wait_adds_one_callback_to_its_future(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow while the caller's loop waits for hours."""
    monkeypatch.setattr(interrupts, "MAX_IDLE", 0.001)
    checks: list[int] = []
    future: concurrent.futures.Future[None] = concurrent.futures.Future()

    def check() -> float:
        checks.append(len(future._done_callbacks))
        if len(checks) == 20:
            future.set_result(None)
        return 0.0

    asyncio.run(interrupts.ended(future, check))
    assert set(checks) == {1}


def test_result_of_a_stopped_task_is_released() -> None:
    """The timer that cancels the task after `GRACE` seconds does not keep a reference to its result."""

    class Result:
        pass

    async def job(stop: asyncio.Event) -> Result:
        await stop.wait()
        return Result()

    async def yield_once() -> None:
        await asyncio.sleep(0)

    task = BridgeTask(job).start()
    task.stop()
    assert task.wait(20)
    result = weakref.ref(task.future.result())
    call(lambda _: yield_once())  # so that the loop has finished the task
    del task
    gc.collect()
    assert result() is None


def test_interrupt_suppressed_in_prepare_ends_the_call() -> None:
    """User code may catch `KeyboardInterrupt` and a finalizer drops it; the call is not executed even so."""
    executed: list[int] = []

    class Suppressing(Call[None]):
        def prepare(self, read: Read) -> None:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

        async def execute(self, stop: asyncio.Event) -> None:
            executed.append(1)

    with pytest.raises(KeyboardInterrupt):
        run(Suppressing)
    assert executed == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
