"""Webhooks instead of polling, against the sandbox's real deliveries, and against those of a stranger."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames import WebhookReceiver
from eachlabs_frames.aio import loop_thread
from eachlabs_frames.sandbox import Fault, Sandbox
from eachlabs_frames.views.common.live_view import Subscriber
from eachlabs_frames.webhooks.server import WebhookServer, listen
from eachlabs_frames.webhooks.signatures import Verifier, path_token

from .waiting import until

WF = "wf_abc123"
SECRET = "s3cret-word-of-the-test"


@pytest.fixture
def hook() -> Iterator[WebhookReceiver]:
    """A receiver that listens; nothing of these tests waits for its sweep."""
    with WebhookReceiver(secret=SECRET) as listening:
        yield listening


def frame(size: int) -> pd.DataFrame:
    """Make rows of different prompts."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(size)]}, index=[f"row {row}" for row in range(size)])


def count(sandbox: Sandbox, *routes: str) -> int:
    """Count the requests that were sent on these routes."""
    return sum(request.route in routes for request in sandbox.requests)


def post(hook: WebhookReceiver, said: Any, **headers: str) -> int:
    """Deliver as a stranger would; return the status of the answer."""
    return request(hook, "POST", urlsplit(hook.url).path, as_bytes(said), **headers)


def request(hook: WebhookReceiver, method: str, path: str, body: bytes, **headers: str) -> int:
    """Send any request to a receiver."""
    where = urlsplit(hook.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=120)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse().status
    finally:
        connection.close()


def as_bytes(said: Any) -> bytes:
    """Return the body of a delivery."""
    return said if isinstance(said, bytes) else json.dumps(said).encode()


def signed(body: bytes, *, secret: str = SECRET, at: object = None) -> dict[str, str]:
    """Return the headers that sign a body, now or with another timestamp."""
    timestamp = str(int(time.time()) if at is None else at)
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return {"X_Webhook_Timestamp": timestamp, "X_Webhook_Signature": f"sha256={digest.hexdigest()}"}


def genuine(hook: WebhookReceiver, said: Any) -> int:
    """Deliver with a right signature."""
    return post(hook, said, **signed(as_bytes(said)))


def told(out: pd.DataFrame, row: int = 0, **said: Any) -> dict[str, Any]:
    """Make the delivery of a row's execution."""
    ids = {name: out[name].iloc[row] for name in ("execution_id", "bulk_id")}
    return {**ids, "workflow_id": WF, "status": "completed", "output": "told", **said}


def fates(hook: WebhookReceiver) -> dict[str, int]:
    """Return what became of the deliveries, but how many came."""
    return {fate: count for fate, count in hook.counts.items() if count and fate != "received"}


# What is delivered is what is known


@pytest.mark.slow
@pytest.mark.parametrize(("dialect", "pages"), [("current", 0), ("legacy", 10)])
def test_a_thousand_at_once_and_none_is_lost(hook: WebhookReceiver, dialect: Any, pages: int) -> None:
    """All end in the same moment, in any order; only legacy deliveries lack the cost, so that it is read from pages."""
    with ef.sandbox.start(
        hold=True, webhook_burst=1000, webhook_shuffle=True, webhook_repeats=1, dialect=dialect
    ) as sandbox:
        run = frame(1000).eachlabs.start(WF, webhook=hook)
        until(lambda: sandbox.accepted_count() == 1000)
        sandbox.release()
        out = run.result()
        until(lambda: hook.counts["repeated"] == 1000)
        asked = count(sandbox, "list", "details")
    assert out["status"].tolist() == ["completed"] * 1000
    assert out["output"].str.contains("http").eq(True).all()
    assert fates(hook) == {"accepted": 1000, "repeated": 1000, "redelivered": 1000}
    assert hook.counts["received"] == 2000
    assert asked == pages
    assert out["cost"].tolist() == [0.01] * 1000
    loaded = ef.load_run(str(run.name))
    assert loaded["status"].tolist() == ["completed"] * 1000
    assert loaded["cost"].tolist() == [0.01] * 1000


def test_deliveries_are_in_their_own_rows(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Outputs, errors and times are what polling would have given."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"].endswith("3"), webhook_shuffle=True)
    sandbox.add_workflow("wf_echo", output=lambda inputs: f"said {inputs['prompt']}")
    out = frame(30).eachlabs.bulk_trigger("wf_echo", webhook=hook, wait=True)
    sandbox.reset()
    polled = frame(30).eachlabs.bulk_trigger("wf_echo", wait=True, retrigger=True)
    for name in ("status", "error", "output", "cost"):
        assert out[name].fillna("-").tolist() == polled[name].fillna("-").tolist()
    assert out["completed_at"].notna().all()
    assert out.dtypes.to_dict() == polled.dtypes.to_dict()
    assert fates(hook) == {"accepted": 30}


@pytest.mark.parametrize("size", [25, 40])
@pytest.mark.parametrize("waits", ["call", "wait", "journal"])
def test_permuted_answers_give_no_row_what_was_delivered_for_another(
    sandbox: Sandbox, hook: WebhookReceiver, waits: str, size: int
) -> None:
    """Each answer names its executions in reverse order; each end is delivered to a call or to the journal."""
    sandbox.add_workflow("wf_echo", output=lambda inputs: f"said {inputs['prompt']}")
    sandbox.change(hold=True)
    sandbox.faults(Fault("permuted"))
    if waits == "call":
        run = frame(size).eachlabs.start("wf_echo", run="mixed up", webhook=hook)
        until(lambda: run.status == {"queued": size})
        sandbox.release()
        out = run.result()
    else:
        out = frame(size).eachlabs.bulk_trigger("wf_echo", run="mixed up", webhook=hook)
        sandbox.release()
        until(lambda: hook.counts["accepted"] == size)
        out = out.eachlabs.wait(webhook=hook) if waits == "wait" else ef.load_run("mixed up").eachlabs.wait()
    inputs = {one.execution_id: one.inputs["prompt"] for one in sandbox.accepted}
    assert out["status"].tolist() == ["completed"] * size
    assert [inputs[known] for known in out["execution_id"]] == out["prompt"].tolist()
    assert out["output"].tolist() == [f"said {prompt}" for prompt in out["prompt"]]
    assert ef.load_run("mixed up")["output"].tolist() == out["output"].tolist()
    assert sandbox.accepted_count() == size


def test_it_may_be_delivered_before_the_triggers_own_answer(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """It is held until the answer names its execution, and nobody looks meanwhile."""
    sandbox.faults(Fault("silence", on="trigger", seconds=2.0))
    run = frame(20).eachlabs.start(WF, webhook=hook)
    until(lambda: hook.counts["waiting"] == 20)
    assert run.status == {"pending": 20}
    out = run.result()
    assert out["status"].tolist() == ["completed"] * 20
    assert fates(hook) == {"accepted": 20}
    assert count(sandbox, "list", "details") == 0


def test_an_execution_that_says_too_little_is_asked_for(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """An end without an output or a reason is no result: the details are, at once."""
    sandbox.change(hold=True)
    run = frame(2).eachlabs.start(WF, webhook=hook)
    until(lambda: run.status == {"queued": 2})
    sandbox.change(webhook_loss=1.0)
    sandbox.release()
    assert genuine(hook, told(run.frame, 0, output=None)) == 204
    assert genuine(hook, told(run.frame, 1, status="succeeded", output=None)) == 204
    out = run.result()
    assert out["status"].tolist() == ["completed"] * 2
    assert out["output"].str.startswith("http").eq(True).all()


def test_what_was_never_delivered_is_swept_up(sandbox: Sandbox) -> None:
    """By a look every `sweep` seconds; each row ends, told or not."""
    sandbox.change(webhook_loss=0.4)
    with WebhookReceiver(sweep=0.2) as hook:
        out = frame(50).eachlabs.bulk_trigger(WF, webhook=hook, wait=True)
        until(lambda: len(sandbox.deliveries) == 50)
    assert out["status"].tolist() == ["completed"] * 50
    lost = sum(one.outcome == "lost" for one in sandbox.deliveries)
    assert 0 < lost < 50
    assert fates(hook) == {"accepted": 50 - lost}


def test_what_was_refused_is_swept_up_too(sandbox: Sandbox) -> None:
    """A receiver that takes no body of that size; the API tries three times."""
    sandbox.change(webhook_pause=0.0)
    with WebhookReceiver(max_body=10, sweep=0.2) as small:
        out = frame(1).eachlabs.bulk_trigger(WF, webhook=small, wait=True)
        until(lambda: len(sandbox.deliveries) == 3)
    assert out["status"].tolist() == ["completed"]
    assert [one.status for one in sandbox.deliveries] == [413] * 3
    assert fates(small) == {"oversized": 3}


# Who hears of it


def test_a_run_and_its_dashboard_move_by_deliveries_alone(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Row by row, with no look at the API."""
    sandbox.change(hold=True)
    run = frame(15).eachlabs.start(WF, webhook=hook)
    board = run.dashboard(auto_refresh=False, interval=0.2)
    until(lambda: run.status == {"queued": 15})
    sandbox.release(4)
    until(lambda: run.status == {"completed": 4, "queued": 11})
    assert run.frame["status"].tolist() == ["completed"] * 4 + ["queued"] * 11
    until(lambda: board.frame["status"].tolist().count("completed") == 4)
    until(lambda: "4 completed" in repr(run))
    assert count(sandbox, "list", "details") == 0
    sandbox.release()
    assert run.result()["status"].tolist() == ["completed"] * 15
    until(lambda: board.frame["status"].tolist() == ["completed"] * 15)
    board.close()


def test_a_plain_wait_hears_of_it_too(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """In another cell, of a frame that was triggered with a receiver before."""
    sandbox.change(hold=True)
    out = frame(3).eachlabs.bulk_trigger(WF, webhook=hook)

    def release(event: ef.Event) -> None:
        if event.kind == "refreshed":
            sandbox.release()

    out = out.eachlabs.wait(webhook=hook, progress=release)
    assert out["status"].tolist() == ["completed"] * 3
    assert out["cost"].tolist() == [0.01] * 3
    assert count(sandbox, "details") == 0


def test_the_journal_hears_of_it_where_nobody_waits(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """`load_run` shows it, the cost included, and nothing is requested."""
    sandbox.change(hold=True, webhook_repeats=2)
    first = frame(12).eachlabs.bulk_trigger(WF, run="first", webhook=hook)
    frame(5).eachlabs.bulk_trigger(WF, {"prompt": ef.lit("x")}, run="second", webhook=hook)
    asked = len(sandbox.requests)
    sandbox.release()
    until(lambda: hook.counts["accepted"] == 17)
    until(lambda: (ef.load_run("first")["status"] == "completed").all())
    until(lambda: (ef.load_run("second")["status"] == "completed").all())
    loaded = ef.load_run("first")
    assert loaded["execution_id"].tolist() == first["execution_id"].tolist()
    assert loaded["output"].str.startswith("http").eq(True).all()
    assert len(sandbox.requests) == asked
    until(lambda: hook.counts["repeated"] == 34)
    assert fates(hook) == {"accepted": 17, "repeated": 34, "redelivered": 34}
    assert loaded["cost"].tolist() == [0.01] * 12


def test_a_cost_that_no_delivery_says_is_read_by_the_next_refresh(hook: WebhookReceiver) -> None:
    """The legacy dialect's deliveries have no cost, its listing has."""
    with ef.sandbox.start(hold=True, dialect="legacy") as sandbox:
        frame(12).eachlabs.bulk_trigger(WF, run="first", webhook=hook)
        sandbox.release()
        until(lambda: (ef.load_run("first")["status"] == "completed").all())
        loaded = ef.load_run("first")
        assert loaded["cost"].isna().all()
        assert loaded.eachlabs.refresh()["cost"].tolist() == [0.01] * 12
        assert ef.load_run("first")["cost"].tolist() == [0.01] * 12


def test_the_journal_of_the_call_hears_of_it(sandbox: Sandbox, hook: WebhookReceiver, tmp_path: Path) -> None:
    """Whatever is configured since."""
    ef.configure(journal=tmp_path / "first.sqlite")
    sandbox.change(hold=True)
    frame(3).eachlabs.bulk_trigger(WF, run="first", webhook=hook)
    ef.configure(journal=tmp_path / "second.sqlite")
    sandbox.release()
    until(lambda: hook.counts["accepted"] == 3)
    ef.configure(journal=tmp_path / "first.sqlite")
    hook.stop()
    assert ef.load_run("first")["status"].tolist() == ["completed"] * 3


def test_without_a_journal_the_next_wait_sees_it(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Nobody knew the executions when their ends came: the wait begins with a look."""
    with pytest.warns(UserWarning, match="journal is off"):
        ef.configure(journal=None)
    sandbox.change(hold=True)
    out = frame(3).eachlabs.bulk_trigger(WF, webhook=hook)
    sandbox.release()
    until(lambda: hook.counts["unknown"] == 3)
    assert out.eachlabs.wait(webhook=hook)["status"].tolist() == ["completed"] * 3


def test_what_says_too_little_stays_open_in_the_journal(sandbox: Sandbox) -> None:
    """Accepted, and asked for by the next look."""
    sandbox.change(hold=True, webhook_loss=1.0)
    with WebhookReceiver(secret=SECRET) as hook:
        out = frame(1).eachlabs.bulk_trigger(WF, run="brief", webhook=hook)
        assert genuine(hook, told(out, output=None)) == 204
    assert fates(hook) == {"accepted": 1}
    sandbox.release()
    loaded = ef.load_run("brief")
    assert loaded["status"].tolist() == ["queued"]
    assert loaded.eachlabs.refresh()["output"].str.startswith("http").eq(True).all()


def test_a_run_that_was_cut_off_is_gone_on_with(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Its executions have ended and were delivered before anybody knew them: nothing is waited for in vain."""
    sandbox.faults(Fault("silence", on="trigger"))
    run = frame(3).eachlabs.start(WF, run="cut off", webhook=hook)
    until(lambda: hook.counts["waiting"] == 3)
    run.cancel()
    run.cancel()
    until(lambda: run.done)
    until(lambda: hook.counts["unknown"] == 3)
    sandbox.faults()
    out = frame(3).eachlabs.bulk_trigger(WF, run="cut off", webhook=hook, wait=True)
    assert out["status"].tolist() == ["completed"] * 3
    assert sandbox.accepted_count() == 3


def test_rows_that_were_open_before_are_looked_at(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """They have ended before anybody listened, and stand beside rows that are sent now."""
    before = frame(2).eachlabs.bulk_trigger(WF)
    df = pd.concat([before, pd.DataFrame({"prompt": ["new"]}, index=["new"])])
    df.attrs = before.attrs
    out = df.eachlabs.bulk_trigger(WF, webhook=hook, wait=True)
    assert out["status"].tolist() == ["completed"] * 3
    assert sandbox.accepted_count() == 3


def test_rows_that_another_call_has_sent_are_looked_at(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Their ends are announced to nobody here, and are there before this call begins to wait."""
    sandbox.faults(Fault("silence", on="trigger", at={1}, seconds=1.5))
    other = frame(3).eachlabs.start(WF, run="shared", track=False)
    until(lambda: sandbox.accepted_count() == 3)
    out = frame(3).eachlabs.bulk_trigger(WF, run="shared", webhook=hook, wait=True)
    assert out["status"].tolist() == ["completed"] * 3
    assert other.result()["execution_id"].tolist() == out["execution_id"].tolist()
    assert sandbox.accepted_count() == 3


def test_stopping_waits_until_all_is_noted(sandbox: Sandbox) -> None:
    """What was taken is in the journal when `stop` returns."""
    sandbox.change(hold=True)
    with WebhookReceiver(secret=SECRET) as hook:
        out = frame(10).eachlabs.bulk_trigger(WF, run="noted", webhook=hook)
        for row in range(10):
            assert genuine(hook, told(out, row)) == 204
    assert ef.load_run("noted")["output"].tolist() == ["told"] * 10
    assert fates(hook) == {"accepted": 10}


@pytest.mark.slow
def test_another_process_can_take_its_deliveries(sandbox: Sandbox) -> None:
    """With the same secret and port: the journal knows the executions."""
    sandbox.change(hold=True)
    with WebhookReceiver(secret=SECRET) as hook:
        frame(3).eachlabs.bulk_trigger(WF, run="handed over", webhook=hook)
        port = urlsplit(hook.url).port
    code = f"""
        import sys
        import eachlabs_frames as ef

        with ef.WebhookReceiver({port}, secret={SECRET!r}) as hook:
            print("listening", flush=True)
            sys.stdin.readline()
        print(hook.counts["accepted"])
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "listening\n"
        sandbox.release()
        until(lambda: sum(one.outcome == "delivered" for one in sandbox.deliveries) == 3)
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "3\n"
    assert ef.load_run("handed over")["status"].tolist() == ["completed"] * 3


def test_a_dashboard_that_looks_on_hears_of_it(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Of a run that has only sent: one look, and from then on what is delivered."""
    sandbox.change(hold=True)
    run = frame(3).eachlabs.start(WF, webhook=hook, track=False)
    run.result()
    calls, view = run._calls, Subscriber(lambda event: None, lambda: None)
    calls.interval = 0.2
    calls.follow(view, True)
    until(lambda: calls.frame["status"].tolist() == ["running"] * 3)
    asked = count(sandbox, "list", "details")
    sandbox.release(1)
    until(lambda: calls.frame["status"].tolist() == ["completed", "running", "running"])
    sandbox.release()
    until(lambda: calls.frame["status"].tolist() == ["completed"] * 3)
    until(lambda: calls.frame["cost"].tolist() == [0.01] * 3)
    assert (asked, count(sandbox, "list", "details")) == (1, 1)
    calls.remove_view(view)


def test_a_retry_is_announced_as_well(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """By `retry_failed`, and by a dashboard's button with what its run was made with."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] in ("p1", "p4"))
    run = frame(6).eachlabs.start(WF, webhook=hook)
    run.result()
    calls = run._calls
    calls.retry([4])
    until(lambda: sandbox.accepted_count() == 7 and not calls.can_cancel)
    sandbox.change(fail_when=None)
    out = calls.frame.eachlabs.retry_failed(webhook=hook, wait=True)
    assert out["status"].tolist() == ["completed"] * 6
    assert fates(hook) == {"accepted": 9}
    assert len(sandbox.deliveries) == 9


def test_the_legacy_dialect_brings_the_secret_in_its_path() -> None:
    """It has no header for it: what cannot be guessed is in the URL, and the URL is shown nowhere."""
    with ef.sandbox.start(dialect="legacy", queue_seconds=0, run_seconds=(0, 0)) as sandbox, WebhookReceiver() as hook:
        out = frame(12).eachlabs.bulk_trigger(WF, webhook=hook, wait=True)
        assert out["status"].tolist() == ["completed"] * 12
        assert fates(hook) == {"accepted": 12}
        sent = {one.url for one in sandbox.deliveries}
        assert len(sent) == 1
        assert sent.pop().startswith(f"{hook.url}/")
        assert request(hook, "POST", f"{urlsplit(hook.url).path}/guessed", json.dumps(told(out)).encode()) == 401
    assert hook.counts["forged"] == 1


# When it ends before its calls


def test_who_waits_polls_on_when_the_receiver_stops(sandbox: Sandbox) -> None:
    """At once, and at the usual pace."""
    sandbox.change(hold=True)
    hook = WebhookReceiver().start()
    run = frame(3).eachlabs.start(WF, webhook=hook)
    until(lambda: run.status == {"queued": 3})
    assert count(sandbox, "list") == 0
    hook.stop()
    until(lambda: count(sandbox, "list") > 0)
    sandbox.release()
    assert run.result()["status"].tolist() == ["completed"] * 3


def test_starting_and_stopping_twice_is_starting_and_stopping(sandbox: Sandbox) -> None:
    """And a receiver that was stopped can listen again, on the same secret, its counts going on."""
    hook = WebhookReceiver()
    hook.stop()
    assert not hook.listening
    assert hook.start() is hook
    url = hook.url
    assert hook.start().url == url
    frame(1).eachlabs.bulk_trigger(WF, webhook=hook, wait=True)
    hook.stop()
    hook.stop()
    assert not hook.listening
    with hook:
        frame(1).eachlabs.bulk_trigger(WF, webhook=hook, wait=True, retrigger=True)
    assert fates(hook) == {"accepted": 2}


def test_a_receiver_whose_loop_has_ended_can_begin_again(sandbox: Sandbox) -> None:
    """It says that it is at work no more, and forgets no count."""
    hook = WebhookReceiver().start()
    frame(1).eachlabs.bulk_trigger(WF, webhook=hook, wait=True)
    loop_thread.close()
    assert not hook.listening
    with hook:
        frame(1).eachlabs.bulk_trigger(WF, webhook=hook, wait=True, retrigger=True)
        loop_thread.close()
    assert fates(hook) == {"accepted": 2}


def test_two_receivers_keep_to_their_own(sandbox: Sandbox) -> None:
    """Each call's deliveries come to the one that it was given."""
    with WebhookReceiver() as one, WebhookReceiver() as two:
        frame(3).eachlabs.bulk_trigger(WF, webhook=one, wait=True)
        frame(4).eachlabs.bulk_trigger(WF, webhook=two, wait=True, retrigger=True)
    assert (fates(one), fates(two)) == ({"accepted": 3}, {"accepted": 4})


def test_an_async_cell_uses_it(sandbox: Sandbox) -> None:
    """`async with`, inside a loop that is running."""

    async def go() -> tuple[pd.DataFrame, dict[str, int]]:
        async with WebhookReceiver() as hook:
            out = await frame(5).eachlabs.bulk_trigger_async(WF, webhook=hook, wait=True)
            out = await out.eachlabs.wait_async(webhook=hook)
        assert not hook.listening
        return out, dict(hook.counts)

    out, counts = asyncio.run(go())
    assert out["status"].tolist() == ["completed"] * 5
    assert counts["accepted"] == 5


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_no_receiver(hook: WebhookReceiver) -> None:
    """It may start its own; the parent's goes on."""
    url = hook.url
    with hook._lifecycle:  # as another thread may hold, which the child does not have
        child = os.fork()
        if child == 0:
            heard = hook.listening
            hook.start()
            os._exit(0 if not heard and hook.listening and hook.url != url else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert hook.listening
    assert genuine(hook, {"execution_id": "nobody's", "status": "completed"}) == 204


@pytest.mark.slow
def test_at_the_end_of_a_process_what_came_is_noted(sandbox: Sandbox) -> None:
    """A script that forgets to stop its receiver."""
    sandbox.change(hold=True)
    code = f"""
        import hmac, json, sys, time, http.client
        import pandas as pd, eachlabs_frames as ef
        from urllib.parse import urlsplit

        ef.configure(api_key={sandbox.api_key!r}, base_url={sandbox.base_url!r})
        hook = ef.WebhookReceiver(secret="w0rd-of-the-test").start()
        df = pd.DataFrame({{"prompt": [f"p{{row}}" for row in range(40)]}})
        out = df.eachlabs.bulk_trigger({WF!r}, run="forgotten", webhook=hook)
        where = urlsplit(hook.url)
        for row in range(40):
            said = {{"execution_id": out.execution_id[row], "bulk_id": out.bulk_id[row], "status": "completed"}}
            body = json.dumps(said | {{"output": "x"}}).encode()
            connection = http.client.HTTPConnection(where.hostname, where.port)
            now = str(int(time.time()))
            digest = hmac.new(b"w0rd-of-the-test", now.encode() + b"." + body, "sha256").hexdigest()
            headers = {{"X-Webhook-Timestamp": now, "X-Webhook-Signature": "sha256=" + digest}}
            connection.request("POST", where.path, body, headers)
            connection.getresponse().close()
            connection.close()
        print(hook.counts["received"])
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (ended.stdout, ended.stderr) == ("40\n", "")
    assert ef.load_run("forgotten")["status"].tolist() == ["completed"] * 40


# What a stranger sends


@pytest.fixture
def open_run(sandbox: Sandbox, hook: WebhookReceiver) -> Iterator[Any]:
    """A run whose executions do not end by themselves."""
    sandbox.change(hold=True)
    run = frame(3).eachlabs.start(WF, webhook=hook)
    until(lambda: run.status == {"queued": 3})
    yield run
    sandbox.release()
    run.result()


def forgeries(body: bytes, policy: str) -> list[dict[str, str]]:
    """Return headers that make no delivery of this body genuine."""
    true = signed(body)
    repeats_secret = {"X_Webhook_Secret": SECRET}
    wrong: list[dict[str, str]] = [
        {},
        {"X_Webhook_Secret": SECRET[:-1]},
        {"X_Webhook_Secret": ""},
        {"X_Webhook_Secret": path_token(SECRET)},
        signed(body, secret="another"),
        signed(body + b" "),
        {"X_Webhook_Signature": true["X_Webhook_Signature"], **repeats_secret},
        {"X_Webhook_Timestamp": true["X_Webhook_Timestamp"], **repeats_secret},
        {**true, "X_Webhook_Signature": true["X_Webhook_Signature"].removeprefix("sha256=")},
        {**true, "X_Webhook_Signature": true["X_Webhook_Signature"][:-2]},
        {**true, "X_Webhook_Signature": "sha256=", **repeats_secret},
        {**true, "X_Webhook_Timestamp": str(int(true["X_Webhook_Timestamp"]) + 1), **repeats_secret},
        *(
            signed(body, at=at) | repeats_secret
            for at in ("", "now", "1e9", "-1", "+1", "0x1", "1_0", "9" * 400, "Mon, 30 Nov 2026 07:32:20 GMT")
        ),
    ]
    return wrong if policy == "optional" else [*wrong, repeats_secret]


@pytest.mark.parametrize("policy", ["required", "optional"])
def test_a_forged_delivery_changes_nothing(sandbox: Sandbox, policy: Any) -> None:
    """A signature that is missing, malformed, of another secret or of another body: 401; the true one is accepted."""
    sandbox.change(hold=True)
    with WebhookReceiver(secret=SECRET, signatures=policy) as hook:
        run = frame(3).eachlabs.start(WF, webhook=hook)
        until(lambda: run.status == {"queued": 3})
        body = as_bytes(told(run.frame, status="failed", error="forged"))
        wrong = forgeries(body, policy)
        assert [post(hook, body, **headers) for headers in wrong] == [401] * len(wrong)
        assert fates(hook) == {"forged": len(wrong)}
        assert run.status == {"queued": 3}
        assert genuine(hook, told(run.frame)) == 204
        until(lambda: run.status == {"completed": 1, "queued": 2})
        sandbox.release()
        run.result()


@pytest.mark.parametrize("away", [-310, 310, -(10**9)])
def test_a_delivery_of_another_time_changes_nothing(open_run: Any, hook: WebhookReceiver, away: int) -> None:
    """More than 300 seconds ago, or ahead: 401, though it is signed and repeats the secret."""
    body = as_bytes(told(open_run.frame))
    at = max(0, int(time.time()) + away)
    assert post(hook, body, X_Webhook_Secret=SECRET, **signed(body, at=at)) == 401
    assert fates(hook) == {"expired": 1}
    assert open_run.status == {"queued": 3}


def test_the_secret_alone_suffices_only_where_signatures_are_optional(sandbox: Sandbox) -> None:
    """As deliveries were before 2026-09-21."""
    sandbox.change(webhook_pause=0.0, webhook_faults=("stripped",) * 3)
    with WebhookReceiver(signatures="optional") as hook:
        out = frame(2).eachlabs.bulk_trigger(WF, webhook=hook, wait=True)
    assert out["status"].tolist() == ["completed"] * 2
    assert fates(hook) == {"accepted": 2}
    with WebhookReceiver(sweep=0.2) as hook:
        out = frame(2).eachlabs.bulk_trigger(WF, run="strict", webhook=hook, wait=True)
        until(lambda: hook.counts["forged"] == 6)
    assert out["status"].tolist() == ["completed"] * 2
    assert fates(hook) == {"forged": 6}


def test_a_delivery_is_accepted_once_it_comes_right(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Each wrong attempt is refused and counted, and the third attempt is the one that counts."""
    sandbox.add_workflow("wf_echo", output=lambda inputs: f"said {inputs['prompt']}")
    for wrong, counts in (
        (("forged", "altered"), {"forged": 2}),
        (("aged", "early"), {"expired": 2}),
        (("undated", "stripped"), {"forged": 2}),
    ):
        sandbox.change(webhook_pause=0.0, webhook_faults=wrong, webhook_repeats=1)
        before = dict(hook.counts)
        out = frame(4).eachlabs.bulk_trigger("wf_echo", run=repr(wrong), webhook=hook, wait=True)
        assert out["output"].tolist() == [f"said p{row}" for row in range(4)]
        until(lambda before=before: hook.counts["repeated"] == before["repeated"] + 4)
        added = {fate: count - before[fate] for fate, count in hook.counts.items() if count != before[fate]}
        expected = {fate: 4 * count for fate, count in counts.items()}
        assert added == {"received": 16, "accepted": 4, "repeated": 4, "redelivered": 4, **expected}


def test_bodies_take_bounded_memory(caplog: pytest.LogCaptureFixture) -> None:
    """Signatures are verified over whole bodies: strangers' bodies are refused beyond a sum of bytes, and let go."""

    async def go() -> tuple[list[int], dict[str, int], int]:
        listener = listen("127.0.0.1", 0)
        receiver = WebhookServer(
            listener,
            path="/h",
            verifier=Verifier(SECRET),
            max_body=1000,
            max_buffered=1500,
            timeout=20,
            offer=lambda _: True,
        )
        port = listener.getsockname()[1]
        body = as_bytes({"execution_id": "e", "status": "running", "x": "x" * 900})
        head = f"POST /h HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines(signed(body))}\r\n".encode()
        slow_reader, slow = await asyncio.open_connection("127.0.0.1", port)
        slow.write(head + body[:-1])
        await until_async(lambda: receiver._buffered == len(body) - 1)
        statuses = []
        for finish in (False, True):
            if finish:
                slow.write(body[-1:])
                statuses.append(int((await slow_reader.readline()).split()[1]))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + body)
            statuses.append(int((await reader.readline()).split()[1]))
            writer.close()
        slow.close()
        await receiver.stop()
        return statuses, dict(receiver.counts), receiver._buffered

    assert asyncio.run(go()) == ([503, 204, 204], {"received": 3, "refused": 1}, 0)
    assert SECRET not in caplog.text


async def until_async(condition: Callable[[], bool]) -> None:
    """Wait for a condition while the running loop goes on."""
    await asyncio.get_running_loop().run_in_executor(None, until, condition)


def test_a_failing_receiver_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the log nor in the local variables of its traceback; the API is asked to try again."""

    def fail(_: object) -> bool:
        msg = "provoked"
        raise RuntimeError(msg)

    async def go() -> int:
        listener = listen("127.0.0.1", 0)
        receiver = WebhookServer(listener, path="/h", verifier=Verifier(SECRET), max_body=1000, timeout=20, offer=fail)
        body = as_bytes({"execution_id": "e", "status": "running"})
        head = f"POST /h HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines(signed(body))}\r\n".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        writer.write(head + body)
        status = int((await reader.readline()).split()[1])
        writer.close()
        await receiver.stop()
        return status

    assert asyncio.run(go()) == 500
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.exc_info is not None
    shown = "".join(traceback.TracebackException(*record.exc_info, capture_locals=True).format())  # type: ignore[arg-type]
    assert "provoked" in shown
    assert SECRET not in shown + caplog.text
    assert path_token(SECRET) not in shown


def test_only_what_is_known_is_taken(open_run: Any, hook: WebhookReceiver) -> None:
    """With the right secret too: of another execution, bulk operation or workflow it is counted, and not stored."""
    out = open_run.frame
    wrong = [
        told(out, execution_id="00000000-0000-4000-8000-000000000000"),
        told(out, bulk_id="00000000-0000-4000-8000-000000000000"),
        told(out, workflow_id="wf_images"),
    ]
    assert [genuine(hook, said) for said in wrong] == [204] * 3
    until(lambda: hook.counts["mismatched"] == 2)
    # Deliveries are applied in their order and shortly after they are counted: the right one comes last.
    assert genuine(hook, told(out, 1, status="cancelled", output=None)) == 204
    until(lambda: open_run.status != {"queued": 3})
    assert open_run.status == {"queued": 2, "cancelled": 1}
    assert hook.counts["accepted"] == 1


def test_a_delivery_with_the_inputs_of_another_row_is_not_trusted(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """The executions may be in each other's rows: at once, polling decides."""
    sandbox.change(hold=True)
    run = frame(3).eachlabs.start(WF, webhook=hook)
    until(lambda: run.status == {"queued": 3})
    for row in range(3):
        said = told(run.frame, row, inputs={"prompt": f"p{(row + 1) % 3}"}, output="of another row")
        assert genuine(hook, said) == 204
    until(lambda: hook.counts["accepted"] == 3)
    until(lambda: count(sandbox, "list") == 1)
    assert run.frame["output"].isna().all()
    sandbox.release()
    with WebhookReceiver(secret=SECRET) as other:
        for row in range(3):
            assert genuine(other, told(run.frame, row, inputs={"prompt": f"p{row}"}, output=f"of row {row}")) == 204
        out = run.result()
    assert out["output"].str.contains("another").eq(False).all()


def test_the_journal_does_not_trust_the_inputs_of_another_row(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """The rows stay open there, for the next refresh; one whose inputs are its own ends."""
    sandbox.change(hold=True, webhook_loss=1.0)
    out = frame(3).eachlabs.bulk_trigger(WF, run="mixed up", webhook=hook)
    for row, inputs in enumerate(("p1", "p0", "p2")):
        assert genuine(hook, told(out, row, inputs={"prompt": inputs})) == 204
    until(lambda: hook.counts["accepted"] == 3)
    hook.stop()
    assert ef.load_run("mixed up")["status"].tolist() == ["queued", "queued", "completed"]


def test_what_nobody_knows_is_counted_and_not_stored(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """No call is at work, and the journal does not know it, or knows it otherwise."""
    sandbox.change(hold=True)
    out = frame(2).eachlabs.bulk_trigger(WF, run="mine", webhook=hook)
    stranger = told(out, execution_id="e", bulk_id="00000000-0000-4000-8000-000000000000")
    for said in (stranger, told(out, execution_id="e"), told(out, bulk_id=None), told(out, workflow_id="wf_images")):
        assert genuine(hook, said) == 204
    until(lambda: hook.counts["unknown"] == 3 and hook.counts["mismatched"] == 1)
    assert ef.load_run("mine")["status"].tolist() == ["queued"] * 2


def test_a_later_delivery_changes_nothing(open_run: Any, hook: WebhookReceiver) -> None:
    """The first end counts; a state that is no end is harmless, before it and after."""
    out = open_run.frame
    assert genuine(hook, told(out, status="running", output=None)) == 204
    until(lambda: open_run.status == {"running": 1, "queued": 2})
    for status in ("completed", "failed", "cancelled", "running"):
        assert genuine(hook, told(out, status=status, error=None if status == "completed" else "late")) == 204
    # Deliveries are applied in their order and shortly after they are counted: the other row's comes last.
    assert genuine(hook, told(out, 1, status="cancelled", output=None)) == 204
    until(lambda: "cancelled" in open_run.status)
    assert open_run.status == {"completed": 1, "cancelled": 1, "queued": 1}
    assert open_run.frame["error"].isna().iloc[0]
    assert fates(hook) == {"accepted": 2, "repeated": 2, "unfinished": 2}


def test_a_later_delivery_to_another_receiver_changes_nothing(open_run: Any, hook: WebhookReceiver) -> None:
    """Each counts what it was told; the row keeps the first word."""
    out = open_run.frame
    with WebhookReceiver(secret=SECRET) as other:
        assert genuine(hook, told(out)) == 204
        until(lambda: open_run.status == {"completed": 1, "queued": 2})
        assert genuine(other, told(out, status="failed", error="late")) == 204
        until(lambda: other.counts["accepted"] == 1)
        assert genuine(other, told(out, 1)) == 204
        until(lambda: open_run.status == {"completed": 2, "queued": 1})
    assert open_run.frame["error"].isna().all()


def test_a_later_delivery_changes_nothing_in_the_journal(sandbox: Sandbox) -> None:
    """Nor one that comes to the next receiver, which remembers nothing."""
    sandbox.change(hold=True)
    words = (("completed", None), ("failed", "late"))
    with WebhookReceiver(secret=SECRET) as hook:
        out = frame(1).eachlabs.bulk_trigger(WF, run="once", webhook=hook)
        for status, error in words:
            genuine(hook, told(out, status=status, error=error))
    with WebhookReceiver(secret=SECRET) as hook:
        genuine(hook, told(out, status="failed", error="later still"))
    loaded = ef.load_run("once")
    assert loaded["status"].tolist() == ["completed"]
    assert loaded["error"].isna().all()


@pytest.mark.parametrize("wrong", [b"", b"{", b"[]", b'{"status": "completed"}', b'{"execution_id": 1, "status": "x"}'])
def test_what_cannot_be_read_is_refused(hook: WebhookReceiver, wrong: bytes) -> None:
    """400, and counted."""
    assert genuine(hook, wrong) == 400
    assert fates(hook) == {"malformed": 1}


@pytest.mark.parametrize(
    ("raw", "output", "note"),
    [
        (b'"half \\ud83d"', "half \ufffd", "invalid Unicode"),
        (b'"\xff"', "\ufffd", "invalid Unicode"),
        (b'{"score": NaN, "most": 1e999}', {"score": None, "most": None}, "NaN or an infinite number"),
        (b"[" + b"7" * 400 + b"]", ["7" * 400], "too large"),
        (b"[" * 1000 + b"]" * 1000, None, "nested"),
    ],
)
def test_a_delivery_with_an_output_that_cannot_be_kept_is_not_lost(
    open_run: Any, hook: WebhookReceiver, raw: bytes, output: Any, note: str
) -> None:
    """It is verified as it was sent, and its row ends at once, with a sentence about what was replaced."""
    body = as_bytes(told(open_run.frame, output="@", total_cost=0.25)).replace(b'"@"', raw)
    assert genuine(hook, body) == 204
    until(lambda: open_run.status == {"completed": 1, "queued": 2})
    row = open_run.frame.iloc[0]
    assert note in row["error"]
    if output is not None:
        assert row["output"] == output
    assert fates(hook) == {"accepted": 1}


def test_only_a_post_to_its_own_path_is_answered(hook: WebhookReceiver) -> None:
    """Anything else is not there, whoever asks."""
    said = json.dumps({"execution_id": "e", "status": "completed"}).encode()
    path = urlsplit(hook.url).path
    headers = signed(said)
    for wrong in ("/", f"{path}x", f"/x{path}", f"{path}?a=1/", f"{path}/"):
        status = request(hook, "POST", wrong, said, **headers)
        assert status == (204 if "?" in wrong else 404)
    assert request(hook, "GET", path, b"", **signed(b"")) == 405
    assert hook.counts["misdirected"] == 5


def test_a_body_that_is_too_large_is_never_read_whole() -> None:
    """With its length said before, and without: the answer comes while it is still being sent."""
    with WebhookReceiver(secret=SECRET, max_body=1000) as hook:
        head = f"POST {urlsplit(hook.url).path} HTTP/1.1\r\nHost: x\r\n{lines(signed(b'unsent'))}"
        assert answered(hook, f"{head}Content-Length: 1001\r\n\r\n".encode()) == 413
        chunk = b"200\r\n" + b"x" * 512 + b"\r\n"
        assert answered(hook, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + 2 * chunk) == 413
        assert genuine(hook, json.dumps({"execution_id": "e", "status": "running", "x": "x" * 900}).encode()) == 204
    assert hook.counts["oversized"] == 2


@pytest.mark.parametrize("headers", [{}, {"X_Webhook_Secret": SECRET}, signed(b"", at=1)])
def test_a_body_without_a_fresh_signature_is_not_read(hook: WebhookReceiver, headers: dict[str, str]) -> None:
    """The answer does not wait for the body."""
    head = f"POST {urlsplit(hook.url).path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n{lines(headers)}\r\n"
    assert answered(hook, head.encode()) == 401


def lines(headers: dict[str, str]) -> str:
    """Return headers as they are sent."""
    return "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())


def answered(hook: WebhookReceiver, sent: bytes) -> int:
    """Send the beginning of a request, and return the status that comes without the rest."""
    where = urlsplit(hook.url)
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        connection.sendall(sent)
        return int(connection.recv(100).split()[1])


def test_who_is_slow_is_left() -> None:
    """With its first line, with its body, or with nothing at all: others are answered meanwhile."""
    with WebhookReceiver(secret=SECRET, timeout=1.5) as hook:
        where = urlsplit(hook.url)
        head = f"POST {where.path} HTTP/1.1\r\nHost: x\r\n{lines(signed(b'x'))}Content-Length: 9\r\n\r\n{{"
        slow = [socket.create_connection((where.hostname, where.port), timeout=20) for _ in range(3)]
        for connection, sent in zip(slow, (head, "POST /", ""), strict=True):
            connection.sendall(sent.encode())
        assert genuine(hook, {"execution_id": "e", "status": "running"}) == 204
        for connection in slow:
            with connection:
                assert is_cut(connection)
        until(lambda: hook.counts["cut_off"] == 1)


def is_cut(connection: socket.socket) -> bool:
    """Wait for the other side to end the connection without an answer."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def test_many_who_wait_keep_nobody_out() -> None:
    """More connections than are taken at once: the others' turn comes."""
    with WebhookReceiver(secret=SECRET, timeout=1.5) as hook:
        where = urlsplit(hook.url)
        idle = [socket.create_connection((where.hostname, where.port), timeout=20) for _ in range(300)]
        assert genuine(hook, {"execution_id": "e", "status": "running"}) == 204
        for connection in idle:
            connection.close()


# What is wrong with a call


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"port": "80"}, "port must be a whole number"),
        ({"port": 70_000}, "port must be a whole number"),
        ({"host": ""}, "host must be an address"),
        ({"secret": "two words"}, "secret must be"),
        ({"secret": ""}, "secret must be"),
        ({"secret": "snowm\u2603n"}, "secret must be"),
        ({"public_url": "http://hooks.example.org"}, "use https"),
        ({"public_url": "https://me:pass@hooks.example.org"}, "no user, password"),
        ({"public_url": "https://hooks.example.org/x?y"}, "no user, password"),
        ({"public_url": 7}, "no user, password"),
        ({"signatures": "off"}, "signatures must be 'required', or 'optional'"),
        ({"max_body": 0}, "max_body must be"),
        ({"sweep": 0}, "sweep must be"),
        ({"timeout": float("nan")}, "timeout must be"),
    ],
)
def test_a_receiver_that_cannot_work_is_none(wrong: dict[str, Any], words: str) -> None:
    """Said at once, and nothing secret is repeated."""
    with pytest.raises(ef.ConfigurationError, match=words) as caught:
        WebhookReceiver(**wrong)
    assert "pass@" not in str(caught.value)
    assert "two words" not in str(caught.value)


@pytest.mark.parametrize(
    ("public_url", "url"),
    [
        ("https://hooks.example.org", "https://hooks.example.org/eachlabs"),
        ("https://hooks.example.org/team/", "https://hooks.example.org/team"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x"),
    ],
)
def test_a_public_url_keeps_its_path(public_url: str, url: str) -> None:
    """What arrives there is to arrive at the same path of the port."""
    with WebhookReceiver(public_url=public_url, secret=SECRET) as hook:
        assert hook.url == url
        port = hook._address[1]  # type: ignore[index]  # it listens
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        headers = {name.replace("_", "-"): value for name, value in signed(b"{}").items()}
        connection.request("POST", urlsplit(url).path, b"{}", headers)
        assert connection.getresponse().status == 400
        connection.close()


def test_nothing_is_sent_where_no_delivery_could_come(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """A receiver that is not at work, or out of the API's reach; a URL beside it; no receiver at all."""
    df = frame(2)
    stopped = WebhookReceiver()
    for call in (df.eachlabs.bulk_trigger, df.eachlabs.start):
        with pytest.raises(ef.ConfigurationError, match=r"not running: hook\.start\(\)"):
            call(WF, webhook=stopped)
        with pytest.raises(ef.ConfigurationError, match="leave webhook_url= and webhook_secret= out"):
            call(WF, webhook=hook, webhook_url="https://example.org/h")
        with pytest.raises(ef.ConfigurationError, match="goes into webhook_url="):
            call(WF, webhook="https://example.org/h")
    ef.configure(base_url="https://api.example.org/v1")
    with WebhookReceiver(public_url="http://127.0.0.1:9") as near:
        for out_of_reach in (hook, near):
            with pytest.raises(ef.ConfigurationError, match="pass public_url="):
                df.eachlabs.bulk_trigger(WF, webhook=out_of_reach)
    ef.configure(base_url=sandbox.base_url)
    out = df.eachlabs.bulk_trigger(WF)
    with pytest.raises(ef.ConfigurationError, match="not running"):
        out.eachlabs.wait(webhook=stopped)
    assert sandbox.accepted_count() == 2


def test_a_port_that_is_taken_is_named(hook: WebhookReceiver) -> None:
    """And what to do about it; nothing listens then."""
    port = urlsplit(hook.url).port
    other = WebhookReceiver(int(port or 0))
    with pytest.raises(ef.ConfigurationError, match=f"cannot listen on port {port} of 127.0.0.1 .*port=0"):
        other.start()
    assert not other.listening


def test_every_address_is_listened_on_only_when_asked_for(hook: WebhookReceiver) -> None:
    """Only loopback by default; with all addresses, its URL still names that one."""
    assert urlsplit(hook.url).hostname == "127.0.0.1"
    with WebhookReceiver(host="0.0.0.0", secret=SECRET) as wide:
        assert urlsplit(wide.url).hostname == "127.0.0.1"
        assert genuine(wide, {"execution_id": "e", "status": "running"}) == 204


def test_a_receiver_without_an_address_says_so() -> None:
    """Nobody knows its port before it listens."""
    with pytest.raises(ef.ConfigurationError, match="before it is started"):
        _ = WebhookReceiver().url


# What is secret


def test_the_secret_is_shown_nowhere(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """In no repr, log, error, journal, attrs or pickle, in either dialect, though the API repeat it."""
    caplog.set_level(logging.DEBUG)
    journal = tmp_path / "journal.sqlite"
    ef.configure(journal=journal)
    words = (SECRET, path_token(SECRET))
    shown: list[str] = []
    for dialect in ("current", "legacy"):
        ef.configure(base_url=sandbox.current_base_url if dialect == "current" else sandbox.legacy_base_url)
        with WebhookReceiver(secret=SECRET) as hook:
            run = frame(3).eachlabs.start(WF, webhook=hook)
            out = run.result()
            post(hook, b"x", X_Webhook_Secret=SECRET)
            post(hook, b"x", X_Webhook_Secret=SECRET, **signed(b"x"))
            post(hook, b"x", X_Webhook_Secret=f"{SECRET}x")
            sandbox.faults(Fault("bad_request", details=f"cannot reach {hook._target(dialect)}"))  # type: ignore[arg-type]
            refused = frame(1).eachlabs.bulk_trigger(WF, webhook=hook, retrigger=True)
            sandbox.faults()
            shown += [repr(hook), str(hook), repr(dict(hook.counts)), hook.url, repr(run), run._repr_html_()]
            shown += [repr(out.attrs), refused.to_csv(), out.to_csv(), repr(vars(hook))]
            assert refused["error"].str.contains("cannot reach").all()
            with pytest.raises(TypeError, match="not pickled"):
                pickle.dumps(hook)
    shown += [caplog.text, *capsys.readouterr()]
    for word in words:
        assert not any(word in text for text in shown)
        for file in tmp_path.iterdir():
            assert word.encode() not in file.read_bytes()
