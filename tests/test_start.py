"""Tests of background runs: their state while they run, cancelling them, and errors."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.accessors.run import Run
from eachlabs_frames.aio import bridge as bridging
from eachlabs_frames.sandbox import Fault, Sandbox

from .waiting import until

WF = "wf_abc123"


def frame(size: int) -> pd.DataFrame:
    """Return rows with different prompts and labels that are not positions."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(size)]}, index=[f"row {row}" for row in range(size)])


def count(sandbox: Sandbox, route: str) -> int:
    """Return the number of requests that were sent on one route."""
    return sum(request.route == route for request in sandbox.requests)


def is_consistent(out: pd.DataFrame, sandbox: Sandbox) -> bool:
    """Return whether each execution is in the row with its input, and no accepted execution is missing."""
    given = {record.execution_id: record.inputs["prompt"] for record in sandbox.accepted}
    accepted = out[out["execution_id"].notna()]
    return [given.pop(id_) for id_ in accepted["execution_id"]] == accepted["prompt"].tolist() and not given


# A run in progress


def test_start_returns_before_anything_is_sent(sandbox: Sandbox) -> None:
    """The rows are still being mapped when the caller gets the run."""
    go = threading.Event()

    def mapped(row: dict[str, Any]) -> dict[str, Any]:
        go.wait(30)
        return {"prompt": row["prompt"]}

    run = frame(25).eachlabs.start(WF, mapped)
    assert not run.done
    assert run.status == {"pending": 25}
    assert run.frame["status"].tolist() == ["pending"] * 25
    assert count(sandbox, "trigger") == 0
    go.set()
    out = run.result()
    assert run.done
    assert out["status"].tolist() == ["completed"] * 25
    assert is_consistent(out, sandbox)


def test_a_run_gives_the_same_result_as_bulk_trigger(sandbox: Sandbox) -> None:
    """Rows, index, dtypes and attrs are the same; later changes of the caller's frame have no effect on the run."""
    df = frame(30)
    kept = df.copy()
    run = df.eachlabs.start(WF, run="same")
    df["prompt"] = "changed while the run was in progress"
    out = run.result()
    waited = kept.eachlabs.bulk_trigger(WF, run="other", wait=True)
    assert list(df.columns) == ["prompt"]
    assert out["prompt"].tolist() == kept["prompt"].tolist()
    assert out.index.equals(kept.index)
    assert out.dtypes.to_dict() == waited.dtypes.to_dict()
    assert out.attrs["eachlabs"] == waited.attrs["eachlabs"] | {"run": "same"}
    assert run.name == "same"
    assert ef.load_run("same")["execution_id"].tolist() == out["execution_id"].tolist()


def test_the_frame_of_a_run_in_progress_has_every_row_in_order(sandbox: Sandbox) -> None:
    """Accepted executions are in their own rows, other rows are pending, and the counts add up."""
    sandbox.change(latency=0.01, hold=True)
    run = frame(200).eachlabs.start(WF, max_concurrency=2)
    seen = set()
    while not seen.issuperset({20, 100}):
        out = run.frame
        assert out["prompt"].tolist() == frame(200)["prompt"].tolist()
        assert out.index.equals(frame(200).index)
        is_accepted = out["execution_id"].notna()
        given = {record.execution_id: record.inputs["prompt"] for record in sandbox.accepted}
        assert [given[id_] for id_ in out.loc[is_accepted, "execution_id"]] == out.loc[is_accepted, "prompt"].tolist()
        assert (out.loc[~is_accepted, "status"] == "pending").all()
        assert sum(run.status.values()) == 200
        seen.update(bound for bound in (20, 100) if is_accepted.sum() >= bound)
    sandbox.change(hold=False)
    sandbox.release()
    assert run.result()["status"].tolist() == ["completed"] * 200


def test_executions_are_tracked_while_others_are_still_sent(sandbox: Sandbox) -> None:
    """Completed executions are reported before the last row is sent."""
    events: list[ef.Event] = []
    sandbox.change(latency=0.02)
    run = frame(300).eachlabs.start(WF, max_concurrency=1, progress=events.append)
    run.interval = 0.01
    run.result()
    kinds = [event.kind for event in events]
    assert kinds.index("refreshed") < len(kinds) - 1 - kinds[::-1].index("answered")
    assert kinds.index("tracking") > len(kinds) - 1 - kinds[::-1].index("answered")
    assert {change.status for event in events if event.kind == "refreshed" for change in event.changed} == {"completed"}
    assert all(change.bulk_id for event in events for change in event.changed)


def test_a_run_without_tracking_ends_when_all_rows_are_sent(sandbox: Sandbox) -> None:
    """It sends no status request; `wait` polls later."""
    sandbox.change(hold=True)
    run = frame(30).eachlabs.start(WF, track=False)
    out = run.result()
    assert out["status"].tolist() == ["queued"] * 30
    assert count(sandbox, "list") == 0
    assert "30 of 30 rows" in repr(run)
    sandbox.change(hold=False)
    sandbox.release()
    assert out.eachlabs.wait()["status"].tolist() == ["completed"] * 30


def test_two_concurrent_runs_keep_their_own_rows(sandbox: Sandbox) -> None:
    """Other calls can trigger and wait at the same time."""
    sandbox.change(latency=0.01)
    first = frame(60).eachlabs.start(WF, run="first")
    second = frame(60).add_prefix("").assign(prompt=lambda df: "other " + df["prompt"]).eachlabs.start(WF, run="second")
    third = frame(10).assign(prompt="third").eachlabs.bulk_trigger(WF, wait=True)
    first_out, second_out = first.result(), second.result()
    assert set(first_out["prompt"]).isdisjoint(second_out["prompt"])
    assert is_consistent(pd.concat([first_out, second_out, third]), sandbox)


@pytest.mark.parametrize("bridge", ["thread", "nest"])
def test_a_run_can_be_awaited(sandbox: Sandbox, bridge: Any) -> None:
    """The caller's loop stays free, and cancelling the wait does not cancel the run."""
    ef.configure(bridge=bridge)
    sandbox.change(hold=True)

    async def go() -> tuple[pd.DataFrame, int]:
        run = frame(20).eachlabs.start(WF)
        run.interval = 0.01
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(awaited(run), 0.05)
        assert not run.done
        turns = 0
        waiting = asyncio.ensure_future(awaited(run))
        while not waiting.done():
            turns += 1
            if turns == 3:
                sandbox.change(hold=False)
                sandbox.release()
            await asyncio.sleep(0.01)
        return waiting.result(), turns

    async def awaited(run: Run) -> pd.DataFrame:
        return await run

    out, turns = asyncio.run(go())
    assert out["status"].tolist() == ["completed"] * 20
    assert turns >= 3


# Cancelling


def test_a_cancelled_run_keeps_replies_in_flight(sandbox: Sandbox) -> None:
    """No more rows are sent, and every accepted execution is in the frame and in the journal."""
    sandbox.change(latency=0.2, hold=True)
    run = frame(400).eachlabs.start(WF, run="stop", max_concurrency=4)
    until(lambda: sandbox.accepted_count() >= 40)
    sandbox.change(latency=1.0)
    accepted = sandbox.accepted_count()
    until(lambda: sandbox.accepted_count() > accepted)
    run.cancel()
    out = run.result()
    assert run.done
    assert 40 <= out["execution_id"].notna().sum() < 400
    assert is_consistent(out, sandbox)
    assert set(out["status"]) == {"queued", "pending"} or set(out["status"]) == {"queued", "running", "pending"}
    assert out.loc[out["status"] == "pending", "error"].str.startswith("not sent").all()
    assert run.status == out["status"].value_counts().to_dict()
    assert "cancelled" in repr(run)
    assert run._calls.summary()["waiting_for"] is run._calls.summary()["problem"] is None
    sent = sandbox.accepted_count()
    sandbox.change(latency=0.0)
    again = frame(400).eachlabs.bulk_trigger(WF, run="stop")
    assert sandbox.accepted_count() == 400
    assert not sandbox.duplicates()
    assert again["execution_id"].notna().sum() == 400 > sent


def test_a_run_that_is_cancelled_twice_does_not_wait_for_replies(sandbox: Sandbox) -> None:
    """Rows in flight are then unknown, and a call that resumes the run searches for them."""
    ef.configure(timeout=60.0)
    sandbox.faults(Fault("silence", at={2}, seconds=0))
    run = frame(20).eachlabs.start(WF, run="twice", max_concurrency=1)
    until(lambda: sandbox.accepted_count() == 20)
    run.cancel()
    assert not run.done
    run.cancel()
    out = run.result(timeout=8.0)
    assert out["status"].tolist()[10:] == ["unknown"] * 10
    sandbox.faults()
    assert frame(20).eachlabs.bulk_trigger(WF, run="twice")["execution_id"].notna().all()
    assert sandbox.accepted_count() == 20


def test_a_run_that_only_polls_is_cancelled_at_once(sandbox: Sandbox) -> None:
    """Its executions continue and can be waited for later."""
    sandbox.change(hold=True)
    run = frame(20).eachlabs.start(WF)
    until(lambda: "looking" in repr(run) or count(sandbox, "list") > 0)
    run.cancel()
    out = run.result()
    assert out["execution_id"].notna().all()
    sandbox.change(hold=False)
    sandbox.release()
    assert out.eachlabs.wait()["status"].tolist() == ["completed"] * 20


def test_a_run_that_is_cancelled_before_it_sends_sends_nothing(sandbox: Sandbox) -> None:
    """It is cancelled while its rows are mapped."""
    go, mapping = threading.Event(), threading.Event()

    def mapped(row: dict[str, Any]) -> dict[str, Any]:
        mapping.set()
        go.wait(30)
        return {"prompt": row["prompt"]}

    run = frame(20).eachlabs.start(WF, mapped)
    assert mapping.wait(30)
    run.cancel()
    go.set()
    out = run.result()
    assert out["status"].tolist() == ["pending"] * 20
    assert count(sandbox, "trigger") == 0


def test_cancelling_a_finished_run_has_no_effect(sandbox: Sandbox) -> None:
    """The result, the status and the repr stay the same."""
    run = frame(5).eachlabs.start(WF)
    out = run.result()
    run.cancel()
    pd.testing.assert_frame_equal(run.result(), out)
    assert run.status == {"completed": 5}
    assert "cancelled" not in repr(run)


def test_an_interrupted_wait_does_not_stop_the_run(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the waiting cell but not the run."""
    sandbox.change(hold=True)
    run = frame(10).eachlabs.start(WF)

    class Interrupting:
        @staticmethod
        def wait(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(bridging.BridgeTask, "wait", Interrupting.wait)
        with pytest.raises(KeyboardInterrupt):
            run.result()
    assert not run.done
    sandbox.change(hold=False)
    sandbox.release()
    assert run.result()["status"].tolist() == ["completed"] * 10


def test_result_raises_after_its_timeout_and_the_run_continues(sandbox: Sandbox) -> None:
    """The error gives the timeout."""
    sandbox.change(hold=True)
    run = frame(10).eachlabs.start(WF)
    with pytest.raises(TimeoutError, match=r"not done after 0\.01 s"):
        run.result(timeout=0.01)
    run.cancel()
    run.result()


# Errors


def test_an_exception_of_a_run_is_raised_by_result_and_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call of `result` raises it; the repr shows it, and it is logged in case nobody calls `result`."""
    run = frame(3).eachlabs.start("wf_nowhere")
    for _ in range(2):
        with pytest.raises(ef.NotFoundError, match="wf_nowhere"):
            run.result()
    assert "NotFoundError" in repr(run)
    assert "NotFoundError" in run._repr_html_()
    assert run.frame["status"].tolist() == ["pending"] * 3
    assert "wf_nowhere" in caplog.text
    assert sandbox.accepted_count() == 0


def test_a_row_that_cannot_be_encoded_ends_the_run_before_anything_is_sent(sandbox: Sandbox) -> None:
    """`result` raises the error of the row; invalid arguments are raised by `start` itself."""
    df = frame(20)
    df["prompt"] = df["prompt"].astype(object)
    df.iloc[7, 0] = b"bytes"
    with pytest.raises(ef.InputError, match="row 7"):
        df.eachlabs.start(WF, ["prompt"]).result()
    for wrong in ({"inputs": ["nothing"]}, {"track": "yes"}, {"run": ""}, {"max_concurrency": 0}):
        with pytest.raises(ef.UsageError):
            df.eachlabs.start(WF, **wrong)
    assert count(sandbox, "trigger") == 0


def test_a_run_that_fails_keeps_accepted_executions(sandbox: Sandbox) -> None:
    """An observer that raises SystemExit ends the run; executions accepted by then are in its frame."""

    def leave(event: ef.Event) -> None:
        if event.kind == "tracking":
            raise SystemExit(3)

    run = frame(30).eachlabs.start(WF, progress=leave)
    with pytest.raises(SystemExit):
        run.result()
    assert is_consistent(run.frame, sandbox)
    assert "SystemExit" in repr(run)


def test_an_observer_that_raises_does_not_stop_the_run(sandbox: Sandbox) -> None:
    """It is not called again."""
    calls: list[str] = []

    def bad(event: ef.Event) -> None:
        calls.append(event.kind)
        raise ValueError

    run = frame(30).eachlabs.start(WF, progress=bad)
    assert run.result()["status"].tolist() == ["completed"] * 30
    assert calls == ["started"]


def test_result_inside_an_observer_is_refused(sandbox: Sandbox) -> None:
    """The run would wait for itself; its frame and status can be read."""
    seen: list[Any] = []
    runs: list[Run] = []
    ready = threading.Event()

    def observe(event: ef.Event) -> None:
        if event.kind == "answered" and not seen:
            ready.wait(30)
            seen.extend([runs[0].status, len(runs[0].frame)])
            try:
                runs[0].result()
            except ef.BridgeError as exc:
                seen.append(exc)

    runs.append(frame(30).eachlabs.start(WF, progress=observe))
    ready.set()
    runs[0].result()
    assert sum(seen[0].values()) == 30
    assert seen[1] == 30
    assert isinstance(seen[2], ef.BridgeError)


def test_failed_polls_are_reported_and_retried(sandbox: Sandbox) -> None:
    """`stale_since` is the time of the last reply, and is reset when a poll succeeds."""
    events: list[ef.Event] = []
    sandbox.change(hold=True)
    run = frame(10).eachlabs.start(WF, progress=events.append)
    run.interval = 0.01
    until(lambda: count(sandbox, "list") > 2)
    before = time.time()
    sandbox.faults(Fault("error_before", on="any"))
    until(lambda: events[-1].kind == "stale")
    assert before - 5 < (events[-1].stale_since or 0) < time.time()
    sandbox.faults()
    until(lambda: events[-1].stale_since is None)
    sandbox.change(hold=False)
    sandbox.release()
    assert run.result()["status"].tolist() == ["completed"] * 10


def test_a_402_leaves_the_rest_pending_with_the_reason(sandbox: Sandbox) -> None:
    """Accepted executions are tracked to their end."""
    sandbox.change(balance_usd=0.2)
    run = frame(40).eachlabs.start(WF, max_concurrency=1)
    out = run.result()
    assert out["status"].value_counts().to_dict() == {"completed": 20, "pending": 20}
    assert "balance" in repr(run)
    assert "balance" in (run._calls.summary()["problem"] or "")
    assert run._calls.summary()["waiting_for"] is None


def test_frames_of_a_run_are_copies(sandbox: Sandbox) -> None:
    """Changes to a returned frame do not affect the run, while it is in progress and afterwards."""
    sandbox.change(hold=True)
    df = frame(10)
    run = df.eachlabs.start(WF)
    until(lambda: sandbox.accepted_count() == 10)
    early = run.frame
    early.loc[:, "prompt"] = "changed"
    sandbox.change(hold=False)
    sandbox.release()
    out = run.result()
    assert out["prompt"].tolist() == df["prompt"].tolist()
    out.index = out.index[::-1]
    del out["status"]
    assert run.result().index.tolist() == df.index.tolist() == run.frame.index.tolist()
    assert set(run.result()["status"]) == {"completed"}


def test_cancelling_twice_abandons_a_blocking_observer(sandbox: Sandbox) -> None:
    """The run ends, and its frame has the executions accepted by then."""
    go, blocking = threading.Event(), threading.Event()

    def block(event: ef.Event) -> None:
        if event.kind == "answered":
            blocking.set()
            go.wait(60)

    run = frame(20).eachlabs.start(WF, progress=block, max_concurrency=1)
    assert blocking.wait(30)
    run.cancel()
    run.cancel()
    try:
        out = run.result(timeout=120)
        assert out["execution_id"].notna().sum() == 10
        assert run.frame["execution_id"].notna().sum() == 10
    finally:
        go.set()


@pytest.mark.parametrize("interval", [0, -1, float("nan"), "2", None, True])
def test_an_invalid_interval_is_refused(sandbox: Sandbox, interval: Any) -> None:
    """A very small interval is raised to the minimum of 0.1 s."""
    run = frame(1).eachlabs.start(WF)
    with pytest.raises(ef.ConfigurationError, match="interval"):
        run.interval = interval
    run.interval = 1e-9
    assert run.interval >= 0.1
    run.result()


def test_an_awaited_failure_is_not_logged_by_asyncio(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """The exception is raised to the caller, so asyncio must not log it as never retrieved."""

    async def go() -> None:
        run = frame(3).eachlabs.start("wf_nowhere")
        with pytest.raises(ef.NotFoundError):
            await run

    asyncio.run(go(), debug=True)
    assert "never retrieved" not in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_its_parents_run(sandbox: Sandbox) -> None:
    """`result` raises in the child, and the run continues in the parent."""
    sandbox.change(hold=True)
    run = frame(10).eachlabs.start(WF)
    until(lambda: sandbox.accepted_count() == 10)
    child = os.fork()
    if child == 0:
        try:
            run.result(timeout=20)
        except ef.BridgeError:
            os._exit(7)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    sandbox.change(hold=False)
    sandbox.release()
    assert run.result()["status"].tolist() == ["completed"] * 10


# The end of the process


@pytest.mark.slow
def test_a_process_that_exits_keeps_replies_in_flight(sandbox: Sandbox, tmp_path: Path) -> None:
    """The run is stopped like by an interrupt: each execution is in the journal, and no row is unknown."""
    sandbox.change(latency=0.2, hold=True)
    journal = str(tmp_path / "ends.sqlite")
    code = """
        import pandas as pd, eachlabs_frames as ef, time
        run = pd.DataFrame({"prompt": [f"p{row}" for row in range(400)]}).eachlabs.start("wf_abc123", run="ends")
        while run.status.get("queued", 0) < 20:
            time.sleep(0.01)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={
            **os.environ,
            "EACHLABS_BASE_URL": sandbox.base_url,
            "EACHLABS_API_KEY": sandbox.api_key,
            "EACHLABS_JOURNAL": journal,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "1 run(s) were still running" in ended.stderr
    assert "Traceback" not in ended.stderr
    ef.configure(journal=journal)
    loaded = ef.load_run("ends")
    assert 20 <= loaded["execution_id"].notna().sum() < 400
    assert loaded["execution_id"].notna().sum() == sandbox.accepted_count()
    assert "unknown" not in set(loaded["status"])
    assert is_consistent(loaded, sandbox)


# Display and context


def test_the_repr_shows_name_workflow_and_counts(sandbox: Sandbox) -> None:
    """It does so while the run is in progress and afterwards; text is escaped in HTML."""
    sandbox.change(hold=True)
    df = pd.DataFrame({"prompt": ["<script>alert(1)</script>", None]})
    run = df.eachlabs.start(WF, ["prompt"], run="<b>bold</b>")
    until(lambda: count(sandbox, "list") > 0)
    text, html = repr(run), run._repr_html_()
    assert "<b>bold</b>" in text
    assert WF in text
    assert "1 invalid" in text
    assert "<b>bold" not in html
    assert "&lt;b&gt;bold" in html
    sandbox.change(hold=False)
    sandbox.release()
    run.result()
    assert "1 completed" in repr(run)
    assert json.dumps(run._calls.summary())


def test_a_run_has_the_context_variables_of_its_caller(sandbox: Sandbox) -> None:
    """Log contexts and traces reach the row function and the progress callable."""
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="lost")
    seen: set[str] = set()

    def inputs(row: dict[str, Any]) -> dict[str, Any]:
        seen.add(f"inputs {trace.get()}")
        return row

    token = trace.set("kept")
    try:
        run = pd.DataFrame({"prompt": ["a fox"]}).eachlabs.start(
            "wf_abc123", inputs, progress=lambda event: seen.add(f"{event.kind} {trace.get()}")
        )
    finally:
        trace.reset(token)
    run.result(60)
    assert {"inputs kept", "answered kept", "finished kept"} <= seen
    assert not any("lost" in text for text in seen)
