"""A run in the background: what its user sees of it while it goes on, how it is stopped, and what it never loses."""

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
    """Make rows of different prompts, with labels that are no positions."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(size)]}, index=[f"row {row}" for row in range(size)])


def count(sandbox: Sandbox, route: str) -> int:
    """Count the requests that were sent on one route."""
    return sum(request.route == route for request in sandbox.requests)


def in_place(out: pd.DataFrame, sandbox: Sandbox) -> bool:
    """Say whether each execution is in the row whose input it was given, and none is missing."""
    given = {record.execution_id: record.inputs["prompt"] for record in sandbox.accepted}
    known = out[out["execution_id"].notna()]
    return [given.pop(one) for one in known["execution_id"]] == known["prompt"].tolist() and not given


# While it goes on


def test_it_returns_before_anything_is_sent_and_the_notebook_goes_on(sandbox: Sandbox) -> None:
    """The rows are still being mapped when the caller has the run; what is wrong with the call is said at once."""
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
    assert in_place(out, sandbox)


def test_it_gives_what_bulk_trigger_gives(sandbox: Sandbox) -> None:
    """The same rows, index, dtypes and attrs; the caller's own frame is as it was, whatever becomes of it meanwhile."""
    df = frame(30)
    kept = df.copy()
    run = df.eachlabs.start(WF, run="same")
    df["prompt"] = "changed while it was on its way"
    out = run.result()
    waited = kept.eachlabs.bulk_trigger(WF, run="other", wait=True)
    assert list(df.columns) == ["prompt"]
    assert out["prompt"].tolist() == kept["prompt"].tolist()
    assert out.index.equals(kept.index)
    assert out.dtypes.to_dict() == waited.dtypes.to_dict()
    assert out.attrs["eachlabs"] == waited.attrs["eachlabs"] | {"run": "same"}
    assert run.name == "same"
    assert ef.load_run("same")["execution_id"].tolist() == out["execution_id"].tolist()


def test_the_frame_so_far_has_every_row_in_order(sandbox: Sandbox) -> None:
    """At any moment: what was accepted is with its own prompt, the rest pending, and the tallies add up."""
    sandbox.change(latency=0.01, hold=True)
    run = frame(200).eachlabs.start(WF, max_concurrency=2)
    seen = set()
    while not seen.issuperset({20, 100}):
        out = run.frame
        assert out["prompt"].tolist() == frame(200)["prompt"].tolist()
        assert out.index.equals(frame(200).index)
        known = out["execution_id"].notna()
        given = {record.execution_id: record.inputs["prompt"] for record in sandbox.accepted}
        assert [given[one] for one in out.loc[known, "execution_id"]] == out.loc[known, "prompt"].tolist()
        assert (out.loc[~known, "status"] == "pending").all()
        assert sum(run.status.values()) == 200
        seen.update(bound for bound in (20, 100) if known.sum() >= bound)
    sandbox.change(hold=False)
    sandbox.release()
    assert run.result()["status"].tolist() == ["completed"] * 200


def test_executions_are_tracked_while_others_are_still_sent(sandbox: Sandbox) -> None:
    """What completes is seen before the last row is sent."""
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


def test_without_tracking_it_ends_when_all_is_sent(sandbox: Sandbox) -> None:
    """No look is paid for; `wait` looks later."""
    sandbox.change(hold=True)
    run = frame(30).eachlabs.start(WF, track=False)
    out = run.result()
    assert out["status"].tolist() == ["queued"] * 30
    assert count(sandbox, "list") == 0
    assert "30 of 30 rows" in repr(run)
    sandbox.change(hold=False)
    sandbox.release()
    assert out.eachlabs.wait()["status"].tolist() == ["completed"] * 30


def test_two_runs_at_once_keep_to_their_own_rows(sandbox: Sandbox) -> None:
    """And the notebook can trigger, wait and look beside them."""
    sandbox.change(latency=0.01)
    first = frame(60).eachlabs.start(WF, run="first")
    second = frame(60).add_prefix("").assign(prompt=lambda df: "other " + df["prompt"]).eachlabs.start(WF, run="second")
    third = frame(10).assign(prompt="third").eachlabs.bulk_trigger(WF, wait=True)
    one, two = first.result(), second.result()
    assert set(one["prompt"]).isdisjoint(two["prompt"])
    assert in_place(pd.concat([one, two, third]), sandbox)


@pytest.mark.parametrize("bridge", ["thread", "nest"])
def test_it_can_be_awaited(sandbox: Sandbox, bridge: Any) -> None:
    """The caller's loop is free meanwhile, and giving up the wait does not give up the run."""
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


# Stopping


def test_a_cancelled_run_keeps_the_answers_in_flight(sandbox: Sandbox) -> None:
    """As an interrupt does: nothing new is sent, and what the API accepted is in the frame and in the journal."""
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
    assert in_place(out, sandbox)
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


def test_a_run_that_is_cancelled_twice_waits_for_no_answer(sandbox: Sandbox) -> None:
    """What was in flight is then unknown, and looked for by whoever goes on."""
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


def test_a_run_that_only_tracks_is_stopped_at_once(sandbox: Sandbox) -> None:
    """Its executions go on, and can be waited for."""
    sandbox.change(hold=True)
    run = frame(20).eachlabs.start(WF)
    until(lambda: "looking" in repr(run) or count(sandbox, "list") > 0)
    run.cancel()
    out = run.result()
    assert out["execution_id"].notna().all()
    sandbox.change(hold=False)
    sandbox.release()
    assert out.eachlabs.wait()["status"].tolist() == ["completed"] * 20


def test_one_that_is_cancelled_before_it_has_begun_sends_nothing(sandbox: Sandbox) -> None:
    """While its rows are mapped no job is under way: the first one is never started."""
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


def test_cancelling_what_has_ended_changes_nothing(sandbox: Sandbox) -> None:
    """Nor does it turn a result into something else."""
    run = frame(5).eachlabs.start(WF)
    out = run.result()
    run.cancel()
    pd.testing.assert_frame_equal(run.result(), out)
    assert run.status == {"completed": 5}
    assert "cancelled" not in repr(run)


def test_an_interrupted_wait_leaves_the_run_at_work(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the waiting cell, not the run."""
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


def test_a_wait_that_takes_too_long_says_so_and_the_run_goes_on(sandbox: Sandbox) -> None:
    """The message says how it stands."""
    sandbox.change(hold=True)
    run = frame(10).eachlabs.start(WF)
    with pytest.raises(TimeoutError, match=r"not done after 0\.01 s"):
        run.result(timeout=0.01)
    run.cancel()
    run.result()


# What goes wrong


def test_an_exception_is_raised_by_the_result_and_shown(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Each time it is asked for; and the log has it, should nobody ask."""
    run = frame(3).eachlabs.start("wf_nowhere")
    for _ in range(2):
        with pytest.raises(ef.NotFoundError, match="wf_nowhere"):
            run.result()
    assert "NotFoundError" in repr(run)
    assert "NotFoundError" in run._repr_html_()
    assert run.frame["status"].tolist() == ["pending"] * 3
    assert "wf_nowhere" in caplog.text
    assert sandbox.accepted_count() == 0


def test_a_row_that_cannot_be_sent_ends_it_before_anything_is_sent(sandbox: Sandbox) -> None:
    """As in the foreground; and what is wrong with the call itself is raised by `start`."""
    df = frame(20)
    df["prompt"] = df["prompt"].astype(object)
    df.iloc[7, 0] = b"bytes"
    with pytest.raises(ef.InputError, match="row 7"):
        df.eachlabs.start(WF, ["prompt"]).result()
    for wrong in ({"inputs": ["nothing"]}, {"track": "yes"}, {"run": ""}, {"max_concurrency": 0}):
        with pytest.raises(ef.UsageError):
            df.eachlabs.start(WF, **wrong)
    assert count(sandbox, "trigger") == 0


def test_what_was_paid_is_in_the_frame_of_a_run_that_fails_midway(sandbox: Sandbox) -> None:
    """An observer that exits ends the call; what the API accepted until then is kept."""

    def leave(event: ef.Event) -> None:
        if event.kind == "tracking":
            raise SystemExit(3)

    run = frame(30).eachlabs.start(WF, progress=leave)
    with pytest.raises(SystemExit):
        run.result()
    assert in_place(run.frame, sandbox)
    assert "SystemExit" in repr(run)


def test_an_observer_that_raises_harms_neither_the_run_nor_another(sandbox: Sandbox) -> None:
    """It is not called again."""
    calls: list[str] = []

    def bad(event: ef.Event) -> None:
        calls.append(event.kind)
        raise ValueError

    run = frame(30).eachlabs.start(WF, progress=bad)
    assert run.result()["status"].tolist() == ["completed"] * 30
    assert calls == ["started"]


def test_waiting_inside_a_callback_is_refused(sandbox: Sandbox) -> None:
    """It would wait for itself; the frame and the tallies can be looked at all the same."""
    seen: list[Any] = []
    runs: list[Run] = []
    ready = threading.Event()

    def look(event: ef.Event) -> None:
        if event.kind == "answered" and not seen:
            ready.wait(30)
            seen.extend([runs[0].status, len(runs[0].frame)])
            try:
                runs[0].result()
            except ef.BridgeError as exc:
                seen.append(exc)

    runs.append(frame(30).eachlabs.start(WF, progress=look))
    ready.set()
    runs[0].result()
    assert sum(seen[0].values()) == 30
    assert seen[1] == 30
    assert isinstance(seen[2], ef.BridgeError)


def test_looks_without_an_answer_are_said_and_waited_out(sandbox: Sandbox) -> None:
    """`stale_since` is the moment of the last answer, and goes when answers come again."""
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
    """And what was accepted is tracked to its end."""
    sandbox.change(balance_usd=0.2)
    run = frame(40).eachlabs.start(WF, max_concurrency=1)
    out = run.result()
    assert out["status"].value_counts().to_dict() == {"completed": 20, "pending": 20}
    assert "balance" in repr(run)
    assert "balance" in (run._calls.summary()["problem"] or "")
    assert run._calls.summary()["waiting_for"] is None


def test_what_becomes_of_a_result_does_not_reach_the_runs_own(sandbox: Sandbox) -> None:
    """Each frame that a run gives is its caller's, while it is at work and afterwards."""
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


def test_an_observer_that_blocks_can_be_left(sandbox: Sandbox) -> None:
    """Cancelled twice, the run ends; its frame has what the API has accepted by then."""
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
def test_a_pace_that_is_none_is_refused(sandbox: Sandbox, interval: Any) -> None:
    """Nor can the API be asked without a pause."""
    run = frame(1).eachlabs.start(WF)
    with pytest.raises(ef.ConfigurationError, match="interval"):
        run.interval = interval
    run.interval = 1e-9
    assert run.interval >= 0.1
    run.result()


def test_nothing_is_logged_of_a_failure_that_was_awaited(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """The exception is the caller's; asyncio has nothing to add."""

    async def go() -> None:
        run = frame(3).eachlabs.start("wf_nowhere")
        with pytest.raises(ef.NotFoundError):
            await run

    asyncio.run(go(), debug=True)
    assert "never retrieved" not in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_its_parents_run(sandbox: Sandbox) -> None:
    """It goes on there; here it is said."""
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
def test_a_process_that_ends_keeps_the_answers_in_flight(sandbox: Sandbox, tmp_path: Path) -> None:
    """The run is stopped as by an interrupt: each execution is in the journal, and nothing is unknown."""
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
    assert in_place(loaded, sandbox)


# What it says of itself


def test_its_repr_says_what_it_is_doing(sandbox: Sandbox) -> None:
    """Before, while and after: the run's name, the workflow, the counts; foreign text is escaped in HTML."""
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
    """As the other calls do: log contexts and traces reach the row function and the progress callable."""
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
