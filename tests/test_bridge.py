"""The bridge: from every place that calls, interrupted and cancelled, after a fork, and nested in the caller's loop.

What ends a process, forks it or patches asyncio runs in a process of its own, against a sandbox in this one.
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
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and forks are POSIX's")


def rows(count: int, name: str = "row") -> pd.DataFrame:
    """Make a frame of so many different prompts."""
    return pd.DataFrame({"prompt": [f"{name} {number}" for number in range(count)]})


def run_on(kind: str, main: Coroutine[Any, Any, Any]) -> Any:
    """Run `main` on a loop of this kind, and close the loop."""
    if kind == "asyncio":
        return asyncio.run(main)
    own = pytest.importorskip("uvloop").new_event_loop()
    try:
        return own.run_until_complete(main)
    finally:
        own.run_until_complete(own.shutdown_default_executor())
        own.close()


def in_place(frame: pd.DataFrame, sandbox: Sandbox) -> bool:
    """Say whether each row holds the one execution that its own input became."""
    became = {one.inputs["prompt"]: one.execution_id for one in sandbox.accepted}
    return [became[prompt] for prompt in frame["prompt"]] == frame["execution_id"].tolist()


# Debug mode tells of slow steps, and a loop that is blocked on purpose has them. Its errors are still told.
PRELUDE = "import logging; logging.getLogger('asyncio').setLevel(logging.ERROR)\n"


class Script:
    """A process of its own that knows the sandbox by its environment."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "EACHLABS_BASE_URL": sandbox.base_url, "EACHLABS_API_KEY": sandbox.api_key}

    def start(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        path = self._folder / "script.py"
        path.write_text(PRELUDE + textwrap.dedent(code))
        # Python 3.12 and later warn of a fork beside threads, whoever does it: it is what is tried here.
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
        """Return what it printed, as JSON; it must end well and say nothing else."""
        return ended(self.start(code, *arguments))


def ended(process: subprocess.Popen[str], *, quiet: bool = True) -> Any:
    """Wait for the end of a process, and return what it printed, as JSON."""
    try:
        out, err = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, err
    # asyncio's development mode notes callbacks that take over 0.1 s, as they do on a busy machine.
    said = [line for line in err.splitlines() if not line.startswith("Executing <")]
    assert not quiet or said == []
    return json.loads(out)


@pytest.fixture
def script(sandbox: Sandbox, tmp_path: Path) -> Script:
    """Run scripts against the sandbox, in a folder of their own."""
    return Script(sandbox, tmp_path)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Each test has a bridge of its own, and leaves none behind."""
    yield
    close()
    assert "eachlabs-frames" not in {thread.name for thread in threading.enumerate()}


# Plain coroutines


def test_a_call_returns_what_its_job_returns_and_raises_what_it_raises() -> None:
    """The job runs on the bridge's thread, and its result or its error comes back to the caller's."""

    async def name(_: asyncio.Event) -> str:
        return threading.current_thread().name

    async def fail(_: asyncio.Event) -> None:
        msg = "the job's own"
        raise LookupError(msg)

    assert call(name) == "eachlabs-frames"
    with pytest.raises(LookupError, match="the job's own"):
        call(fail)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_job_does_not_end_the_bridge(error: type[BaseException]) -> None:
    """A SystemExit out of an observer is raised in its own caller, and the loop goes on for everybody else."""

    async def leave(_: asyncio.Event) -> None:
        raise error

    async def stay(_: asyncio.Event) -> int:
        return 1

    before = loop_thread()
    with pytest.raises(error):
        call(leave)
    assert call(stay) == 1
    assert loop_thread() is before


def test_a_loop_policy_of_the_application_does_not_reach_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that sets uvloop for its own loops leaves the bridge on asyncio's."""
    uvloop = pytest.importorskip("uvloop")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)
        own = loop_thread().loop
    assert isinstance(own, asyncio.SelectorEventLoop)


def test_a_synchronous_call_on_the_bridge_is_refused() -> None:
    """It would wait for itself; also where nesting was asked for, for the bridge's loop is not the caller's."""

    async def inner(_: asyncio.Event) -> None:
        return None

    async def outer(_: asyncio.Event) -> list[str]:
        said = []
        for kind in ("thread", "nest"):
            with pytest.raises(ef.BridgeError) as caught:
                call(inner, kind=kind)
            said.append(str(caught.value))
        return said

    assert all("use the _async method" in said for said in call(outer))
    assert not hasattr(asyncio, "_nest_patched")


def test_a_second_cancellation_does_not_wait_for_answers() -> None:
    """The job is cancelled, and has cleaned up before the cancellation reaches the caller."""
    told: list[str] = []
    asked = threading.Event()

    async def stubborn(stop: asyncio.Event) -> None:
        try:
            told.append("started")
            await stop.wait()
            asked.set()
            await asyncio.Event().wait()
        finally:
            for _ in range(1000):
                await asyncio.sleep(0)
            told.append("cleaned up")

    async def main() -> None:
        task = asyncio.create_task(run_async(lambda: Execution(stubborn)))
        await asyncio.to_thread(until, lambda: told == ["started"])
        task.cancel()
        await asyncio.to_thread(asked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == ["started", "cleaned up"]

    asyncio.run(main())


class Execution(Call[Any]):
    """A call that only executes a job."""

    def __init__(self, job: bridging.Job[Any]) -> None:
        self._job = job

    async def execute(self, stop: asyncio.Event) -> Any:
        return await self._job(stop)


class Noted(Call[int]):
    """A call that notes which of its parts run, and on which thread; `prepare` reads."""

    def __init__(self, parts: list[tuple[str, str]]) -> None:
        self._parts = parts

    def _note(self, part: str) -> None:
        self._parts.append((part, threading.current_thread().name))

    def prepare(self, read: Read) -> None:
        self._note("prepare")

        async def fail(_: asyncio.Event) -> None:
            self._note("read")
            raise LookupError

        with pytest.raises(LookupError):
            read(fail)

    async def execute(self, stop: asyncio.Event) -> int:
        self._note("execute")
        return 2

    def close(self) -> None:
        self._note("close")

    def conclude(self, result: int) -> int:
        self._note("conclude")
        return result + 1


def test_a_call_runs_its_parts_in_order_and_on_their_threads() -> None:
    """`prepare` gets what a job raises that it reads with; only jobs and `execute` run on the loop thread."""
    parts: list[tuple[str, str]] = []
    assert run(lambda: Noted(parts)) == 3
    loop, here, own = "eachlabs-frames", "MainThread", "eachlabs-frames-work"
    assert parts == [("prepare", here), ("read", loop), ("execute", loop), ("close", here), ("conclude", here)]
    parts.clear()
    assert asyncio.run(run_async(lambda: Noted(parts))) == 3
    assert parts == [("prepare", own), ("read", loop), ("execute", loop), ("close", own), ("conclude", here)]


def test_a_cancellation_during_prepare_sends_nothing() -> None:
    """`prepare` is not torn: it comes to its end, and then the call is closed and never executed."""
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


def test_one_session_is_kept_for_every_caller_and_closed_with_the_bridge() -> None:
    """Calls from any thread or loop share the bridge's session; `close` ends it, and the next call opens another."""

    async def mine(_: asyncio.Event) -> aiohttp.ClientSession:
        return session()

    first = call(mine)
    with ThreadPoolExecutor() as pool:
        others = [pool.submit(call, mine).result(), asyncio.run(run_async(lambda: Execution(mine)))]
    assert all(other is first for other in others)
    assert not first.closed
    close()
    assert first.closed
    assert call(mine) is not first


# Where people work


@pytest.mark.slow
def test_sixteen_threads_at_once(sandbox: Sandbox) -> None:
    """Each sends its own frame: every row is accepted once, and every result stands in its place."""
    with ThreadPoolExecutor(16) as pool:
        frames = list(
            pool.map(lambda name: rows(25, name).eachlabs.bulk_trigger(WORKFLOW, wait=True), map(str, range(16)))
        )
    assert all(in_place(frame, sandbox) for frame in frames)
    assert {status for frame in frames for status in frame["status"]} == {"completed"}
    assert (sandbox.accepted_count(), sandbox.duplicates()) == (400, {})


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_blocking_call_inside_a_running_loop(sandbox: Sandbox, kind: str) -> None:
    """It blocks that loop, as it must, and works."""

    async def main() -> pd.DataFrame:
        return rows(25).eachlabs.bulk_trigger(WORKFLOW, wait=True)

    frame = run_on(kind, main())
    assert in_place(frame, sandbox)
    assert sandbox.accepted_count() == 25


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_the_async_methods_leave_the_callers_loop_free(sandbox: Sandbox, kind: str) -> None:
    """Each of them cannot go on before a coroutine on the caller's loop has opened its gate."""
    gate = threading.Event()
    passed: list[bool] = []

    def watch(event: ef.Event) -> None:
        if event.kind == "answered":
            passed.append(gate.wait(30))

    def output(inputs: Any) -> str:
        passed.append(gate.wait(30))
        return str(inputs["prompt"])

    async def beside(work: Coroutine[Any, Any, pd.DataFrame]) -> pd.DataFrame:
        async def tick() -> None:
            for _ in range(10):
                await asyncio.sleep(0)
            gate.set()

        gate.clear()
        task = asyncio.create_task(work)
        await tick()
        return await task

    async def main() -> pd.DataFrame:
        frame = await beside(rows(3).eachlabs.bulk_trigger_async("wf_gate", progress=watch))
        frame = await beside(frame.eachlabs.refresh_async())
        return await beside(frame.eachlabs.wait_async())

    sandbox.add_workflow("wf_gate", output=output)
    frame = run_on(kind, main())
    assert frame["output"].tolist() == frame["prompt"].tolist()
    assert passed
    assert all(passed)


def test_a_synchronous_call_in_a_progress_callback_is_an_error_of_the_callback(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what to do, the run goes on without the callback, and nothing hangs."""

    def watch(event: ef.Event) -> None:
        if event.kind == "answered":
            rows(1, "from the callback").eachlabs.bulk_trigger(WORKFLOW)

    with caplog.at_level(logging.ERROR, logger="eachlabs_frames"):
        frame = rows(3).eachlabs.bulk_trigger(WORKFLOW, progress=watch)
    assert in_place(frame, sandbox)
    assert sandbox.accepted_count() == 3
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ef.BridgeError]


def test_a_script_ends_without_a_word(script: Script, sandbox: Sandbox) -> None:
    """With every warning an error and asyncio's debug mode on: nothing on stderr, at exit neither."""
    counted = script.run(
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
    assert counted == ["completed"] * 3
    assert sandbox.accepted_count() == 7


# Forks and other processes


@pytest.mark.slow
@posix
@pytest.mark.parametrize("way", ["sys.exit", "os._exit"])
def test_a_fork_leaves_both_sides_whole(script: Script, sandbox: Sandbox, way: str) -> None:
    """The child opens a connection of its own, the parent keeps its own, and neither says a word at its end."""
    said = script.run(
        """
        import json, os, sys
        import pandas as pd
        import eachlabs_frames as ef
        from eachlabs_frames.api.client import session
        from eachlabs_frames.aio import loop_thread
        from eachlabs_frames.aio.bridge import call

        def trigger(name):
            return pd.DataFrame({"prompt": [name]}).eachlabs.bulk_trigger("wf_abc123")["status"].tolist()

        async def mine(_):
            return session()

        trigger("parent")
        before = call(mine)
        held = loop_thread._lock
        held.acquire()  # as another thread may, which the child does not have
        child = os.fork()
        if child == 0:
            fine = trigger("child") == ["queued"] and call(mine) is not before
            getattr(*{"sys.exit": (sys, "exit"), "os._exit": (os, "_exit")}[sys.argv[1]])(0 if fine else 1)
        held.release()
        _, status = os.waitpid(child, 0)
        print(json.dumps([status, trigger("parent again"), call(mine) is before and not before.closed]))
        """,
        way,
    )
    assert said == [0, ["queued"], True]
    assert sorted(one.inputs["prompt"] for one in sandbox.accepted) == ["child", "parent", "parent again"]


@pytest.mark.slow
@posix
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_pools(script: Script, sandbox: Sandbox, method: str) -> None:
    """Worker processes of either kind, bare or in a pool, send and come to their end, after the parent did too."""
    said = script.run(
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
    assert said == [0, [12, 12, 12], 12]
    assert (sandbox.accepted_count(), sandbox.duplicates()) == (72, {})


# Interrupts and cancellations

INTERRUPTED = """
    import json, sys, threading
    import pandas as pd
    import eachlabs_frames as ef
    from eachlabs_frames.aio import bridge

    def watch(event):
        if event.kind == "stopped":
            print("heard", file=sys.stderr, flush=True)

    bridge.GRACE = 3600.0  # so that only the interrupts that are sent can end it
    frame = pd.DataFrame({"prompt": [str(n) for n in range(300)]})
    try:
        frame.eachlabs.bulk_trigger("wf_abc123", max_concurrency=4, progress=watch)
    except ef.Interrupted as exc:
        async def left(_):
            import asyncio
            return len(asyncio.all_tasks()) - 1

        frame = exc.frame
        known = frame.loc[frame["execution_id"].notna()]
        print(json.dumps({
            "known": dict(zip(known["prompt"], known["execution_id"])),
            "statuses": frame["status"].value_counts().to_dict(),
            "tasks": bridge.call(left),
            "threads": sorted(thread.name for thread in threading.enumerate() if not thread.daemon),
        }))
"""


@posix
def test_an_interrupt_keeps_every_answer_in_flight(script: Script, sandbox: Sandbox) -> None:
    """Interrupted in the middle: nothing new is sent, and every accepted execution is in the exception's frame."""
    sandbox.change(latency=0.1)
    process = script.start(INTERRUPTED)
    until(lambda: sandbox.accepted_count() >= 40)
    process.send_signal(signal.SIGINT)
    said = ended(process, quiet=False)
    assert said["known"] == {one.inputs["prompt"]: one.execution_id for one in sandbox.accepted}
    assert 40 <= len(said["known"]) < 300
    assert (said["tasks"], said["threads"]) == (0, ["MainThread"])


def interrupted_twice(script: Script, sandbox: Sandbox) -> Any:
    """Interrupt a trigger while four of its requests, accepted all the same, wait for answers that never come."""
    sandbox.faults(Fault("silence", at={4, 5, 6, 7}))
    process = script.start(INTERRUPTED)
    until(lambda: sandbox.accepted_count() == 70)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == "heard\n"
    process.send_signal(signal.SIGINT)
    return ended(process, quiet=False)


@pytest.mark.slow
@posix
def test_a_second_interrupt_ends_at_once(script: Script, sandbox: Sandbox) -> None:
    """It waits no longer; what was answered is in the frame, and nothing more was sent."""
    said = interrupted_twice(script, sandbox)
    assert (len(said["known"]), sandbox.accepted_count()) == (30, 70)
    assert (said["tasks"], said["threads"]) == (0, ["MainThread"])


@pytest.mark.slow
@posix
def test_what_a_second_interrupt_cut_off_is_unknown(script: Script, sandbox: Sandbox) -> None:
    """The API took them: to say that they were not sent would have them paid for again."""
    said = interrupted_twice(script, sandbox)
    assert said["statuses"] == {"queued": 30, "unknown": 40, "pending": 230}


def test_a_frame_that_is_being_written_in_place_is_not_triggered_again(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing a large frame takes seconds, in which it does not show yet that its rows were sent."""
    frame, writing, go = rows(20), threading.Event(), threading.Event()
    write = ResultFrame.written

    def held(self: ResultFrame) -> pd.DataFrame:
        writing.set()
        assert go.wait(120)
        return write(self)

    monkeypatch.setattr(ResultFrame, "written", held)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(frame.eachlabs.bulk_trigger, WORKFLOW, inplace=True)
        assert writing.wait(120)
        threading.Timer(1.0, go.set).start()  # if the second call is not refused, it ends all the same
        with pytest.raises(ef.ColumnError, match="another call is writing"):
            frame.eachlabs.bulk_trigger(WORKFLOW, inplace=True, retrigger=True)
        go.set()
        first.result()
    assert sandbox.accepted_count() == 20


@pytest.mark.parametrize("is_abandoned", [False, True])
def test_nothing_is_sent_after_a_cancellation_while_an_observer_blocks_the_loop(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, is_abandoned: bool
) -> None:
    """Neither when the observer returns at last, nor over a connection that is kept; so no row is paid for twice."""
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

    async def left() -> int:
        return len(asyncio.all_tasks()) - 1

    until(lambda: asyncio.run_coroutine_threadsafe(left(), blocked).result() == 0)
    assert sandbox.accepted_count() == 1
    assert frame["status"].unique().tolist() == ["pending"]


def test_a_call_works_while_an_abandoned_observer_still_blocks(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets a loop of its own; the observer's loop ends its call when the observer returns, and sends nothing."""
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

    async def left() -> int:
        return len(asyncio.all_tasks()) - 1

    until(lambda: asyncio.run_coroutine_threadsafe(left(), blocked.loop).result() == 0)
    assert sandbox.accepted_count() == 10


def test_a_cancelled_trigger_keeps_the_answers_in_flight(sandbox: Sandbox) -> None:
    """With ``inplace=True`` the frame holds every execution that was accepted, and nothing is sent afterwards."""
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
    assert in_place(known, sandbox)
    assert 40 <= len(known) == sandbox.accepted_count() < 300


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_timeout_of_the_callers_stops_a_trigger(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """It ends as a timeout; the log names the run, in which every accepted row is, and nothing is sent afterwards."""
    ef.configure(journal=tmp_path / "j.sqlite")
    sandbox.change(latency=0.1)

    async def main() -> None:
        work = asyncio.ensure_future(rows(300).eachlabs.bulk_trigger_async(WORKFLOW, max_concurrency=2, run="timed"))
        await asyncio.to_thread(until, lambda: sandbox.accepted_count() >= 20)
        await asyncio.wait_for(work, 0.01)

    with pytest.raises(asyncio.TimeoutError):
        run_on(kind, main())
    accepted = sorted(one.execution_id for one in sandbox.accepted)
    assert 20 <= len(accepted) < 300
    assert sorted(ef.load_run("timed")["execution_id"].dropna()) == accepted
    assert any(text.startswith("cancelled: ") and "load_run('timed')" in text for text in caplog.messages)


@pytest.mark.slow
@posix
@pytest.mark.parametrize("call", ["await frame.eachlabs.bulk_trigger_async", "frame.eachlabs.bulk_trigger"])
def test_an_interrupt_of_asyncio_run(script: Script, sandbox: Sandbox, call: str) -> None:
    """One Ctrl-C stops the call, awaited or blocking the loop; the run is named, and has every accepted row."""
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
    assert sorted(known) == sorted(one.execution_id for one in sandbox.accepted)
    assert 40 <= len(known) < 600
    assert name == "Interrupted" or "load_run('stopped')" in err


def test_a_coroutine_that_is_closed_ends_its_call() -> None:
    """As at the end of a loop that a second Ctrl-C ended: the execution is cancelled, and the call is closed."""
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

    own = asyncio.new_event_loop()
    work = run_async(Endless)
    task = own.create_task(work)

    async def begin() -> None:
        await asyncio.to_thread(started.wait)

    own.run_until_complete(begin())
    work.close()
    assert seen == ["executed", "closed"]
    task.cancel()
    with pytest.raises((RuntimeError, asyncio.CancelledError)):
        own.run_until_complete(task)
    own.run_until_complete(own.shutdown_default_executor())
    own.close()


def test_a_cancellation_leaves_a_function_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's loop is free; when the function returns after all, the call is closed there and not executed."""
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


# Nested in the caller's own loop


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["asyncio", "no loop"])
def test_the_nested_bridge(script: Script, sandbox: Sandbox, kind: str) -> None:
    """The caller's coroutines go on during the call, its loop keeps no session; without a loop, it is the thread."""
    said = script.run(
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
    where = ["MainThread", 10, True] if kind == "asyncio" else ["eachlabs-frames", 0, False]
    assert said == [["queued"] * 3, where[1], 0, [where[0]], where[2]]
    assert sandbox.accepted_count() == 3


@pytest.mark.slow
def test_the_thread_works_where_the_caller_has_patched_asyncio(script: Script, sandbox: Sandbox) -> None:
    """Many a notebook begins with a nest-asyncio: it patches the class of the bridge's loop too, while that runs."""
    said = script.run(
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
    assert said == [["completed"], ["completed"], 1]
    assert (sandbox.accepted_count(), sandbox.duplicates()) == (51, {})


@pytest.mark.slow
def test_nested_calls_that_overlap_share_a_session_until_the_outermost_ends(script: Script, sandbox: Sandbox) -> None:
    """A coroutine that runs during one nested call may make another, which does not take the first one's session."""
    sandbox.change(latency=0.05)
    said = script.run(
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
    assert said == [["queued"], ["queued"], 0]
    assert sandbox.accepted_count() == 123


def test_the_nested_bridge_refuses_uvloop_before_anything_is_sent(sandbox: Sandbox) -> None:
    """The error names the loop and says what to do instead."""
    ef.configure(bridge="nest")

    async def main() -> None:
        rows(3).eachlabs.bulk_trigger(WORKFLOW)

    with pytest.raises(ef.BridgeError, match=r"cannot work inside uvloop\.Loop: use configure\(bridge='thread'\)"):
        run_on("uvloop", main())
    assert sandbox.requests == ()


@pytest.mark.slow
@posix
def test_an_interrupt_of_a_nested_call_harms_no_task_of_the_callers(script: Script, sandbox: Sandbox) -> None:
    """The caller's own coroutine is busy nearly all the time, and yet the interrupt is the call's alone."""
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
            beside = asyncio.ensure_future(busy())
            frame = pd.DataFrame({"prompt": [str(n) for n in range(300)]})
            try:
                frame.eachlabs.bulk_trigger("wf_abc123", max_concurrency=4)
            except ef.Interrupted as exc:
                restored = signal.getsignal(signal.SIGINT) is signal.default_int_handler
                return exc.frame["execution_id"].dropna().tolist(), beside.done(), restored
            finally:
                beside.cancel()

        print(json.dumps(asyncio.run(main())))
        """
    )
    until(lambda: sandbox.accepted_count() >= 40)
    process.send_signal(signal.SIGINT)
    known, harmed, restored = ended(process, quiet=False)
    assert sorted(known) == sorted(one.execution_id for one in sandbox.accepted)
    assert 40 <= len(known) < 300
    assert (harmed, restored) == (False, True)


def test_a_task_that_is_stopped_before_it_was_started_knows_it() -> None:
    """An interrupt may come between the making of a task and its start: its first step finds the event set."""
    seen: list[bool] = []

    async def job(stop: asyncio.Event) -> None:
        seen.append(stop.is_set())

    task = BridgeTask(job)
    task.stop()
    task.start()
    assert task.wait(20)
    assert seen == [True]


def test_an_interrupt_just_before_a_call_still_ends_it() -> None:
    """The handler of `asyncio.run` (Python 3.11) only cancels the task, which code that blocks the loop ignores."""
    executed: list[int] = []

    async def job(_: asyncio.Event) -> None:
        executed.append(1)

    async def main() -> None:
        signal.raise_signal(signal.SIGINT)
        run(lambda: Execution(job))

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert executed == []


def test_a_long_wait_adds_one_callback_to_its_future(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait of hours on the caller's loop does not fill the memory."""
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


def test_the_result_of_a_stopped_task_is_released() -> None:
    """The timer that would cancel it after `GRACE` seconds does not keep it alive."""

    class Result:
        pass

    async def job(stop: asyncio.Event) -> Result:
        await stop.wait()
        return Result()

    async def pass_() -> None:
        await asyncio.sleep(0)

    task = BridgeTask(job).start()
    task.stop()
    assert task.wait(20)
    result = weakref.ref(task.future.result())
    call(lambda _: pass_())  # the loop has come to the end of the task
    del task
    gc.collect()
    assert result() is None


def test_an_interrupt_that_prepare_suppresses_still_ends_the_call() -> None:
    """A function of the user's may catch KeyboardInterrupt, and a finalizer drops it: nothing is sent all the same."""
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
