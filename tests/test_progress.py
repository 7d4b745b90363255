"""The progress bar, and `progress=` callables."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tqdm.auto

import eachlabs_frames as ef
from eachlabs_frames.aio.bridge import call
from eachlabs_frames.frames.progress_bar import describe
from eachlabs_frames.models import Batch, Event
from eachlabs_frames.results import Results
from eachlabs_frames.sandbox import Fault, Sandbox

from .fakes import FakeTransport, ManualClock, runner

WF = "wf_abc123"


def frame(rows: int) -> pd.DataFrame:
    """Make a frame of distinct prompts."""
    return pd.DataFrame({"prompt": [f"a fox, number {row}" for row in range(rows)]})


def test_nothing_is_printed_where_nobody_looks(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    """No terminal, no notebook: not a word, on either stream."""
    frame(20).eachlabs.bulk_trigger(WF).eachlabs.wait()
    assert capfd.readouterr() == ("", "")


def test_one_bar_for_the_whole_run_where_it_is_asked_for(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    """From nothing to all rows settled, with what was accepted and what failed."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"].endswith("3"))
    df = frame(20)
    df.loc[5, "prompt"] = None
    df.eachlabs.bulk_trigger(WF, wait=True, progress=True)
    _, shown = capfd.readouterr()
    last = shown.rstrip("\n").rpartition("\r")[2]
    assert "20/20" in last
    assert "accepted=19, completed=17, failed=2, invalid=1" in last
    assert shown.count("\n") == 1


def test_a_callable_is_given_every_step(sandbox: Sandbox) -> None:
    """In order, with counts that only grow; all rows are done in the end."""
    events: list[Event] = []
    frame(45).eachlabs.bulk_trigger(WF, progress=events.append)
    assert events[0].kind == "started"
    assert events[-1].kind == "finished"
    assert [event.kind for event in events[1:-1] if event.kind != "balance"] == ["answered"] * 5
    done = [event.done for event in events]
    assert done == sorted(done)
    assert (events[-1].done, events[-1].total, events[-1].accepted) == (45, 45, 45)
    assert sorted(outcome.position for event in events for outcome in event.changed) == list(range(45))


def test_a_callable_hears_what_is_waited_for(sandbox: Sandbox) -> None:
    """The API's own words."""
    sandbox.faults(Fault("rate_limit", at={1}, retry_after=0, details="10 of 10 in use"))
    events: list[Event] = []
    frame(5).eachlabs.bulk_trigger(WF, progress=events.append)
    (waiting,) = [event for event in events if event.kind == "waiting"]
    assert "10 of 10 in use" in str(waiting.waiting_for)


def test_a_callable_that_raises_costs_nothing(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, logged, and not called again."""
    calls = []

    def raising(event: Event) -> None:
        calls.append(event)
        msg = "no paper left"
        raise RuntimeError(msg)

    with caplog.at_level(logging.ERROR, "eachlabs_frames"):
        out = frame(30).eachlabs.bulk_trigger(WF, progress=raising)
    assert out["status"].tolist() == ["queued"] * 30
    assert len(calls) == 1
    assert "no paper left" in caplog.text


@pytest.mark.parametrize(
    ("tally", "waiting", "text"),
    [
        ({"queued": 5}, None, "accepted=5"),
        ({"completed": 3, "failed": 1, "unknown": 1}, None, "accepted=5, completed=3, failed=1, unknown=1"),
        ({}, "HTTP 429: slow; retrying in 3 s", "accepted=5, HTTP 429: slow; retrying in 3 s"),
        ({}, "x" * 500, "accepted=5, " + "x" * 100),
    ],
)
def test_what_stands_behind_the_bar(tally: Any, waiting: Any, text: str) -> None:
    """Counts that are not zero, and what is waited for, never longer than a line."""
    assert describe(Event("answered", 9, 5, 5, tally, (), waiting)) == text


def test_an_empty_frame_shows_no_bar(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    """There is nothing to wait for."""
    frame(0).eachlabs.bulk_trigger(WF, ["prompt"], progress=True)
    assert capfd.readouterr().err == ""
    assert ef.__version__


class Leaving:
    """A progress callable that raises at the third answer, and counts its calls afterwards."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error
        self.answers = 0
        self.late = 0

    def __call__(self, event: Event) -> None:
        if self.answers >= 3:
            self.late += 1
        if event.kind == "answered":
            self.answers += 1
            if self.answers == 3:
                raise self.error


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("way", ["bulk_trigger", "bulk_trigger_async", "start"])
def test_a_progress_callable_that_leaves_ends_the_run_as_an_interrupt_does(
    sandbox: Sandbox, tmp_path: Path, error: type[BaseException], way: str
) -> None:
    """Nothing new is sent; every accepted row is in the exception's frame and in the journal, the rest is pending."""
    ef.configure(journal=tmp_path / "j.sqlite")
    sandbox.change(latency=0.1)
    leaving = Leaving(error)
    options: dict[str, Any] = {"run": "leaves", "max_concurrency": 4, "progress": leaving}

    def call() -> Any:
        if way == "bulk_trigger_async":
            return asyncio.run(frame(300).eachlabs.bulk_trigger_async(WF, **options))
        if way == "start":
            return frame(300).eachlabs.start(WF, **options).result(60)
        return frame(300).eachlabs.bulk_trigger(WF, **options)

    with pytest.raises(ef.Interrupted) as caught:
        call()
    assert f"the progress callable raised {error.__name__}" in str(caught.value)
    assert "load_run('leaves')" in str(caught.value)
    accepted = sorted(one.execution_id for one in sandbox.accepted)
    assert 30 <= len(accepted) < 300
    out = caught.value.frame
    assert sorted(out["execution_id"].dropna()) == accepted
    assert set(out.loc[out["execution_id"].isna(), "status"]) == {"pending"}
    assert sorted(ef.load_run("leaves")["execution_id"].dropna()) == accepted
    assert leaving.late == 0


def test_an_exit_in_a_progress_callable_keeps_its_exit_code(sandbox: Sandbox) -> None:
    """``sys.exit(3)`` ends the process with 3, as anywhere else, unless the interrupt is caught."""

    def leave(event: Event) -> None:
        if event.kind == "answered":
            sys.exit(3)

    with pytest.raises(SystemExit) as caught:
        frame(3).eachlabs.bulk_trigger(WF, progress=leave)
    assert isinstance(caught.value, ef.Interrupted)
    assert caught.value.code == 3
    assert caught.value.frame["execution_id"].notna().all()


def test_a_log_handler_that_raises_ends_no_call(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """What it raises is shown on stderr, and every row has its execution."""

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            msg = "the handler is broken"
            raise (SystemExit if threading.current_thread() is not threading.main_thread() else OSError)(msg)

    sandbox.faults(Fault("rate_limit", at={1}, retry_after=0))
    logger, failing = logging.getLogger("eachlabs_frames"), Failing()
    level = logger.level
    logger.addHandler(failing)
    logger.setLevel(logging.DEBUG)
    try:
        out = frame(30).eachlabs.bulk_trigger(WF, progress=False, wait=True)
    finally:
        logger.removeHandler(failing)
        logger.setLevel(level)
    assert set(out["status"]) == {"completed"}
    assert "SystemExit: the handler is broken" in capsys.readouterr().err


def test_a_row_function_that_leaves_while_rows_are_sent_keeps_the_answers(sandbox: Sandbox) -> None:
    """It is read again for rows whose payloads were not kept: what it raises then stops the run, and tears nothing."""
    results, exit_ = Results(40), SystemExit(2)

    def batches() -> Iterator[Batch]:
        yield from (Batch(tuple(range(n, n + 10)), (b"{}",) * 10) for n in (0, 10))
        raise exit_

    transport = FakeTransport()
    running = runner(results, transport=transport, clock=ManualClock(), workers=4)

    async def job(stop: asyncio.Event) -> None:
        with running._events.stopping(stop):
            await running.run(batches(), canary=False, stop=stop)

    with pytest.raises(KeyboardInterrupt, match="raised SystemExit: 2") as caught:
        call(job)
    assert caught.value.__cause__ is exit_
    assert results.accepted == 10 * len(transport.sent) == 20


def test_a_bar_that_cannot_be_closed_costs_nobody_a_frame(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal may be gone by the end of a call: the result is returned."""

    class Broken(tqdm.auto.tqdm):  # type: ignore[type-arg]
        def close(self) -> None:
            closed, self.disable = self.disable, True  # as closed, for its finalizer
            if not closed:
                raise BrokenPipeError

    monkeypatch.setattr(tqdm.auto, "tqdm", Broken)
    out = frame(3).eachlabs.bulk_trigger(WF, progress=True)
    assert out["execution_id"].notna().all()
