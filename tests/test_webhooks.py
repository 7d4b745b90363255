"""Tests of webhook receivers, with deliveries of the sandbox and with forged or malformed deliveries."""

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

from .forks import holds_in_fork
from .waiting import until

WF = "wf_abc123"
SECRET = "s3cret-of-the-webhook-test"


@pytest.fixture
def hook() -> Iterator[WebhookReceiver]:
    """A running receiver with the default sweep interval, which is longer than any of these tests."""
    with WebhookReceiver(secret=SECRET) as listening:
        yield listening


def frame(size: int) -> pd.DataFrame:
    """Return a frame with a different prompt in each row."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(size)]}, index=[f"row {row}" for row in range(size)])


def count(sandbox: Sandbox, *routes: str) -> int:
    """Return the number of requests that were sent on these routes."""
    return sum(request.route in routes for request in sandbox.requests)


def post(hook: WebhookReceiver, content: Any, **headers: str) -> int:
    """Send a delivery without signing it; return the status of the reply."""
    return request(hook, "POST", urlsplit(hook.url).path, as_bytes(content), **headers)


def request(hook: WebhookReceiver, method: str, path: str, body: bytes, **headers: str) -> int:
    """Send any HTTP request to a receiver; return the status of the reply."""
    where = urlsplit(hook.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=120)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse().status
    finally:
        connection.close()


def as_bytes(content: Any) -> bytes:
    """Return the body of a delivery as bytes."""
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def signed(body: bytes, *, secret: str = SECRET, at: object = None) -> dict[str, str]:
    """Return the headers that sign a body, with the current time or another timestamp."""
    timestamp = str(int(time.time()) if at is None else at)
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return {"X_Webhook_Timestamp": timestamp, "X_Webhook_Signature": f"sha256={digest.hexdigest()}"}


def post_signed(hook: WebhookReceiver, content: Any) -> int:
    """Send a delivery with a valid signature; return the status of the reply."""
    return post(hook, content, **signed(as_bytes(content)))


def delivery_of(out: pd.DataFrame, row: int = 0, **fields: Any) -> dict[str, Any]:
    """Return the content of a delivery for a row's execution; `fields` are added or replaced."""
    ids = {name: out[name].iloc[row] for name in ("execution_id", "bulk_id")}
    return {**ids, "workflow_id": WF, "status": "completed", "output": "delivered", **fields}


def outcome_counts(hook: WebhookReceiver) -> dict[str, int]:
    """Return the nonzero counts of a receiver, except the number of deliveries received."""
    return {name: count for name, count in hook.counts.items() if count and name != "received"}


# Deliveries to open calls and to the journal


@pytest.mark.slow
@pytest.mark.parametrize(("dialect", "pages"), [("current", 0), ("legacy", 10)])
def test_a_burst_of_a_thousand_deliveries_settles_every_row(hook: WebhookReceiver, dialect: Any, pages: int) -> None:
    """All executions end at once, in any order. Legacy deliveries have no cost, so it is read from the listing."""
    with ef.sandbox.start(
        hold=True, webhook_burst=1000, webhook_shuffle=True, webhook_repeats=1, dialect=dialect
    ) as sandbox:
        run = frame(1000).eachlabs.start(WF, webhook=hook)
        until(lambda: sandbox.accepted_count() == 1000)
        sandbox.release()
        out = run.result()
        until(lambda: hook.counts["repeated"] == 1000)
        reads = count(sandbox, "list", "details")
    assert out["status"].tolist() == ["completed"] * 1000
    assert out["output"].str.contains("http").eq(True).all()
    assert outcome_counts(hook) == {"accepted": 1000, "repeated": 1000, "redelivered": 1000}
    assert hook.counts["received"] == 2000
    assert reads == pages
    assert out["cost"].tolist() == [0.01] * 1000
    loaded = ef.load_run(str(run.name))
    assert loaded["status"].tolist() == ["completed"] * 1000
    assert loaded["cost"].tolist() == [0.01] * 1000


def test_delivered_results_equal_polled_results(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Each row gets the status, error, output and cost that polling writes for it."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"].endswith("3"), webhook_shuffle=True)
    sandbox.add_workflow("wf_echo", output=lambda inputs: f"echo {inputs['prompt']}")
    out = frame(30).eachlabs.bulk_trigger("wf_echo", webhook=hook, wait=True)
    sandbox.reset()
    polled = frame(30).eachlabs.bulk_trigger("wf_echo", wait=True, retrigger=True)
    for name in ("status", "error", "output", "cost"):
        assert out[name].fillna("-").tolist() == polled[name].fillna("-").tolist()
    assert out["completed_at"].notna().all()
    assert out.dtypes.to_dict() == polled.dtypes.to_dict()
    assert outcome_counts(hook) == {"accepted": 30}


@pytest.mark.parametrize("size", [25, 40])
@pytest.mark.parametrize("via", ["call", "wait", "journal"])
def test_a_permuted_trigger_reply_gives_no_row_the_result_of_another(
    sandbox: Sandbox, hook: WebhookReceiver, via: str, size: int
) -> None:
    """The reply lists its executions in reverse order; deliveries reach an open call, a later wait or the journal."""
    sandbox.add_workflow("wf_echo", output=lambda inputs: f"echo {inputs['prompt']}")
    sandbox.change(hold=True)
    sandbox.faults(Fault("permuted"))
    if via == "call":
        run = frame(size).eachlabs.start("wf_echo", run="mixed up", webhook=hook)
        until(lambda: run.status == {"queued": size})
        sandbox.release()
        out = run.result()
    else:
        out = frame(size).eachlabs.bulk_trigger("wf_echo", run="mixed up", webhook=hook)
        sandbox.release()
        until(lambda: hook.counts["accepted"] == size)
        out = out.eachlabs.wait(webhook=hook) if via == "wait" else ef.load_run("mixed up").eachlabs.wait()
    inputs = {execution.execution_id: execution.inputs["prompt"] for execution in sandbox.accepted}
    assert out["status"].tolist() == ["completed"] * size
    assert [inputs[execution_id] for execution_id in out["execution_id"]] == out["prompt"].tolist()
    assert out["output"].tolist() == [f"echo {prompt}" for prompt in out["prompt"]]
    assert ef.load_run("mixed up")["output"].tolist() == out["output"].tolist()
    assert sandbox.accepted_count() == size


def test_a_delivery_before_the_trigger_reply_is_held(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """The delivery is applied when the trigger reply names its execution; no poll is sent."""
    sandbox.faults(Fault("silence", on="trigger", seconds=2.0))
    run = frame(20).eachlabs.start(WF, webhook=hook)
    until(lambda: hook.counts["waiting"] == 20)
    assert run.status == {"pending": 20}
    out = run.result()
    assert out["status"].tolist() == ["completed"] * 20
    assert outcome_counts(hook) == {"accepted": 20}
    assert count(sandbox, "list", "details") == 0


def test_a_delivery_without_an_output_is_completed_by_a_poll(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """A terminal delivery without an output or an error is no result, so the details are polled at once."""
    sandbox.change(hold=True)
    run = frame(2).eachlabs.start(WF, webhook=hook)
    until(lambda: run.status == {"queued": 2})
    sandbox.change(webhook_loss=1.0)
    sandbox.release()
    assert post_signed(hook, delivery_of(run.frame, 0, output=None)) == 204
    assert post_signed(hook, delivery_of(run.frame, 1, status="succeeded", output=None)) == 204
    out = run.result()
    assert out["status"].tolist() == ["completed"] * 2
    assert out["output"].str.startswith("http").eq(True).all()


def test_the_sweep_settles_executions_whose_delivery_was_lost(sandbox: Sandbox) -> None:
    """The call polls every `sweep` seconds, so each row ends although some deliveries are lost."""
    sandbox.change(webhook_loss=0.4)
    with WebhookReceiver(sweep=0.2) as hook:
        out = frame(50).eachlabs.bulk_trigger(WF, webhook=hook, wait=True)
        until(lambda: len(sandbox.deliveries) == 50)
    assert out["status"].tolist() == ["completed"] * 50
    lost = sum(delivery.outcome == "lost" for delivery in sandbox.deliveries)
    assert 0 < lost < 50
    assert outcome_counts(hook) == {"accepted": 50 - lost}


def test_the_sweep_settles_executions_whose_delivery_was_refused(sandbox: Sandbox) -> None:
    """The body is larger than `max_body`, so all three attempts of the API get status 413."""
    sandbox.change(webhook_pause=0.0)
    with WebhookReceiver(max_body=10, sweep=0.2) as small:
        out = frame(1).eachlabs.bulk_trigger(WF, webhook=small, wait=True)
        until(lambda: len(sandbox.deliveries) == 3)
    assert out["status"].tolist() == ["completed"]
    assert [delivery.status for delivery in sandbox.deliveries] == [413] * 3
    assert outcome_counts(small) == {"oversized": 3}


# Subscribers of a delivery


def test_deliveries_update_a_run_and_its_dashboard_without_polling(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Each delivery updates one row; no status request is sent to the API."""
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


def test_a_later_wait_receives_deliveries(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """`wait` on a frame that an earlier call triggered with the same receiver."""
    sandbox.change(hold=True)
    out = frame(3).eachlabs.bulk_trigger(WF, webhook=hook)

    def release(event: ef.Event) -> None:
        if event.kind == "refreshed":
            sandbox.release()

    out = out.eachlabs.wait(webhook=hook, progress=release)
    assert out["status"].tolist() == ["completed"] * 3
    assert out["cost"].tolist() == [0.01] * 3
    assert count(sandbox, "details") == 0


def test_deliveries_without_an_open_call_are_recorded_in_the_journal(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """`load_run` returns the results with their costs, and no request is sent."""
    sandbox.change(hold=True, webhook_repeats=2)
    first = frame(12).eachlabs.bulk_trigger(WF, run="first", webhook=hook)
    frame(5).eachlabs.bulk_trigger(WF, {"prompt": ef.lit("x")}, run="second", webhook=hook)
    requests_before = len(sandbox.requests)
    sandbox.release()
    until(lambda: hook.counts["accepted"] == 17)
    until(lambda: (ef.load_run("first")["status"] == "completed").all())
    until(lambda: (ef.load_run("second")["status"] == "completed").all())
    loaded = ef.load_run("first")
    assert loaded["execution_id"].tolist() == first["execution_id"].tolist()
    assert loaded["output"].str.startswith("http").eq(True).all()
    assert len(sandbox.requests) == requests_before
    until(lambda: hook.counts["repeated"] == 34)
    assert outcome_counts(hook) == {"accepted": 17, "repeated": 34, "redelivered": 34}
    assert loaded["cost"].tolist() == [0.01] * 12


def test_refresh_reads_the_cost_that_legacy_deliveries_lack(hook: WebhookReceiver) -> None:
    """Deliveries of the legacy dialect have no cost, but its listing has."""
    with ef.sandbox.start(hold=True, dialect="legacy") as sandbox:
        frame(12).eachlabs.bulk_trigger(WF, run="first", webhook=hook)
        sandbox.release()
        until(lambda: (ef.load_run("first")["status"] == "completed").all())
        loaded = ef.load_run("first")
        assert loaded["cost"].isna().all()
        assert loaded.eachlabs.refresh()["cost"].tolist() == [0.01] * 12
        assert ef.load_run("first")["cost"].tolist() == [0.01] * 12


def test_a_delivery_is_recorded_in_its_calls_journal(sandbox: Sandbox, hook: WebhookReceiver, tmp_path: Path) -> None:
    """The journal that was configured when the call was made is used, not the current one."""
    ef.configure(journal=tmp_path / "first.sqlite")
    sandbox.change(hold=True)
    frame(3).eachlabs.bulk_trigger(WF, run="first", webhook=hook)
    ef.configure(journal=tmp_path / "second.sqlite")
    sandbox.release()
    until(lambda: hook.counts["accepted"] == 3)
    ef.configure(journal=tmp_path / "first.sqlite")
    hook.stop()
    assert ef.load_run("first")["status"].tolist() == ["completed"] * 3


def test_without_a_journal_a_later_wait_polls_first(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """The deliveries came while no call was open and are dropped as unknown; `wait` starts with a poll."""
    with pytest.warns(UserWarning, match="journal is off"):
        ef.configure(journal=None)
    sandbox.change(hold=True)
    out = frame(3).eachlabs.bulk_trigger(WF, webhook=hook)
    sandbox.release()
    until(lambda: hook.counts["unknown"] == 3)
    assert out.eachlabs.wait(webhook=hook)["status"].tolist() == ["completed"] * 3


def test_a_delivery_without_an_output_leaves_the_journal_row_open(sandbox: Sandbox) -> None:
    """The delivery is accepted, but the row stays open and the next refresh polls it."""
    sandbox.change(hold=True, webhook_loss=1.0)
    with WebhookReceiver(secret=SECRET) as hook:
        out = frame(1).eachlabs.bulk_trigger(WF, run="brief", webhook=hook)
        assert post_signed(hook, delivery_of(out, output=None)) == 204
    assert outcome_counts(hook) == {"accepted": 1}
    sandbox.release()
    loaded = ef.load_run("brief")
    assert loaded["status"].tolist() == ["queued"]
    assert loaded.eachlabs.refresh()["output"].str.startswith("http").eq(True).all()


def test_a_cancelled_run_resumes_after_its_deliveries_were_dropped(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """The executions ended before any call knew their ids; the resumed call polls instead of waiting for a delivery."""
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


def test_rows_of_an_earlier_call_are_polled_once(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Their executions ended before the receiver started, so no delivery comes; new rows of the same frame are sent."""
    before = frame(2).eachlabs.bulk_trigger(WF)
    df = pd.concat([before, pd.DataFrame({"prompt": ["new"]}, index=["new"])])
    df.attrs = before.attrs
    out = df.eachlabs.bulk_trigger(WF, webhook=hook, wait=True)
    assert out["status"].tolist() == ["completed"] * 3
    assert sandbox.accepted_count() == 3


def test_rows_that_a_concurrent_call_sent_are_polled(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """The other call passed no receiver, so no delivery comes for rows that this call shares with it."""
    sandbox.faults(Fault("silence", on="trigger", at={1}, seconds=1.5))
    other = frame(3).eachlabs.start(WF, run="shared", track=False)
    until(lambda: sandbox.accepted_count() == 3)
    out = frame(3).eachlabs.bulk_trigger(WF, run="shared", webhook=hook, wait=True)
    assert out["status"].tolist() == ["completed"] * 3
    assert other.result()["execution_id"].tolist() == out["execution_id"].tolist()
    assert sandbox.accepted_count() == 3


def test_stop_returns_after_accepted_deliveries_are_recorded(sandbox: Sandbox) -> None:
    """Every delivery that was answered with 204 is in the journal when `stop` returns."""
    sandbox.change(hold=True)
    with WebhookReceiver(secret=SECRET) as hook:
        out = frame(10).eachlabs.bulk_trigger(WF, run="noted", webhook=hook)
        for row in range(10):
            assert post_signed(hook, delivery_of(out, row)) == 204
    assert ef.load_run("noted")["output"].tolist() == ["delivered"] * 10
    assert outcome_counts(hook) == {"accepted": 10}


@pytest.mark.slow
def test_another_process_can_receive_the_deliveries(sandbox: Sandbox) -> None:
    """A receiver with the same secret and port in another process records them in the same journal."""
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
        until(lambda: sum(delivery.outcome == "delivered" for delivery in sandbox.deliveries) == 3)
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "3\n"
    assert ef.load_run("handed over")["status"].tolist() == ["completed"] * 3


def test_a_dashboard_of_a_run_that_does_not_track_receives_deliveries(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """The dashboard polls once when it starts to follow the run; later changes come from deliveries."""
    sandbox.change(hold=True)
    run = frame(3).eachlabs.start(WF, webhook=hook, track=False)
    run.result()
    calls, view = run._calls, Subscriber(lambda event: None, lambda: None)
    calls.interval = 0.2
    calls.follow(view, True)
    until(lambda: calls.frame["status"].tolist() == ["running"] * 3)
    reads_before = count(sandbox, "list", "details")
    sandbox.release(1)
    until(lambda: calls.frame["status"].tolist() == ["completed", "running", "running"])
    sandbox.release()
    until(lambda: calls.frame["status"].tolist() == ["completed"] * 3)
    until(lambda: calls.frame["cost"].tolist() == [0.01] * 3)
    assert (reads_before, count(sandbox, "list", "details")) == (1, 1)
    calls.remove_view(view)


def test_retried_rows_are_delivered_too(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """A dashboard's retry uses the receiver of its run, and `retry_failed` accepts `webhook=`."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] in ("p1", "p4"))
    run = frame(6).eachlabs.start(WF, webhook=hook)
    run.result()
    calls = run._calls
    calls.retry([4])
    until(lambda: sandbox.accepted_count() == 7 and not calls.can_cancel)
    sandbox.change(fail_when=None)
    out = calls.frame.eachlabs.retry_failed(webhook=hook, wait=True)
    assert out["status"].tolist() == ["completed"] * 6
    assert outcome_counts(hook) == {"accepted": 9}
    assert len(sandbox.deliveries) == 9


def test_the_legacy_dialect_carries_the_token_in_the_url_path() -> None:
    """Legacy deliveries have no secret header, so their URL ends in a token of the secret, which `hook.url` omits."""
    with ef.sandbox.start(dialect="legacy", queue_seconds=0, run_seconds=(0, 0)) as sandbox, WebhookReceiver() as hook:
        out = frame(12).eachlabs.bulk_trigger(WF, webhook=hook, wait=True)
        assert out["status"].tolist() == ["completed"] * 12
        assert outcome_counts(hook) == {"accepted": 12}
        sent = {delivery.url for delivery in sandbox.deliveries}
        assert len(sent) == 1
        assert sent.pop().startswith(f"{hook.url}/")
        assert request(hook, "POST", f"{urlsplit(hook.url).path}/guessed", json.dumps(delivery_of(out)).encode()) == 401
    assert hook.counts["forged"] == 1


# Life cycle of a receiver


def test_an_open_call_polls_when_its_receiver_stops(sandbox: Sandbox) -> None:
    """The call switches to polling at once, at the usual interval."""
    sandbox.change(hold=True)
    hook = WebhookReceiver().start()
    run = frame(3).eachlabs.start(WF, webhook=hook)
    until(lambda: run.status == {"queued": 3})
    assert count(sandbox, "list") == 0
    hook.stop()
    until(lambda: count(sandbox, "list") > 0)
    sandbox.release()
    assert run.result()["status"].tolist() == ["completed"] * 3


def test_start_and_stop_are_idempotent(sandbox: Sandbox) -> None:
    """A stopped receiver can be started again with the same secret, and its counts continue."""
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
    assert outcome_counts(hook) == {"accepted": 2}


def test_a_receiver_can_be_started_again_after_its_loop_was_closed(sandbox: Sandbox) -> None:
    """`listening` is False after the loop was closed, and the counts continue."""
    hook = WebhookReceiver().start()
    frame(1).eachlabs.bulk_trigger(WF, webhook=hook, wait=True)
    loop_thread.close()
    assert not hook.listening
    with hook:
        frame(1).eachlabs.bulk_trigger(WF, webhook=hook, wait=True, retrigger=True)
        loop_thread.close()
    assert outcome_counts(hook) == {"accepted": 2}


def test_two_receivers_get_only_the_deliveries_of_their_calls(sandbox: Sandbox) -> None:
    """The deliveries of each call go to the receiver that was passed to it."""
    with WebhookReceiver() as first, WebhookReceiver() as second:
        frame(3).eachlabs.bulk_trigger(WF, webhook=first, wait=True)
        frame(4).eachlabs.bulk_trigger(WF, webhook=second, wait=True, retrigger=True)
    assert (outcome_counts(first), outcome_counts(second)) == ({"accepted": 3}, {"accepted": 4})


def test_async_calls_use_a_receiver(sandbox: Sandbox) -> None:
    """`async with` works inside a running event loop."""

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
    """A forked child does not listen but can start the receiver again; the parent's keeps working."""
    url = hook.url

    def starts_anew() -> bool:
        was_listening = hook.listening
        hook.start()
        return not was_listening and hook.listening and hook.url != url

    with hook._lifecycle:  # another thread may hold it when the process forks
        assert holds_in_fork(starts_anew)
    assert hook.listening
    assert post_signed(hook, {"execution_id": "nobody's", "status": "completed"}) == 204


@pytest.mark.slow
def test_accepted_deliveries_are_recorded_when_the_process_exits(sandbox: Sandbox) -> None:
    """A script that does not stop its receiver loses no delivery."""
    sandbox.change(hold=True)
    code = f"""
        import hmac, json, sys, time, http.client
        import pandas as pd, eachlabs_frames as ef
        from urllib.parse import urlsplit

        ef.configure(api_key={sandbox.api_key!r}, base_url={sandbox.base_url!r})
        hook = ef.WebhookReceiver(secret="s3cret-of-the-test").start()
        df = pd.DataFrame({{"prompt": [f"p{{row}}" for row in range(40)]}})
        out = df.eachlabs.bulk_trigger({WF!r}, run="forgotten", webhook=hook)
        where = urlsplit(hook.url)
        for row in range(40):
            content = {{"execution_id": out.execution_id[row], "bulk_id": out.bulk_id[row], "status": "completed"}}
            body = json.dumps(content | {{"output": "x"}}).encode()
            connection = http.client.HTTPConnection(where.hostname, where.port)
            now = str(int(time.time()))
            digest = hmac.new(b"s3cret-of-the-test", now.encode() + b"." + body, "sha256").hexdigest()
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


# Forged, malformed and unknown deliveries


@pytest.fixture
def open_run(sandbox: Sandbox, hook: WebhookReceiver) -> Iterator[Any]:
    """A run of three executions that stay open until the end of the test."""
    sandbox.change(hold=True)
    run = frame(3).eachlabs.start(WF, webhook=hook)
    until(lambda: run.status == {"queued": 3})
    yield run
    sandbox.release()
    run.result()


def forged_headers(body: bytes, policy: str) -> list[dict[str, str]]:
    """Return sets of headers of which none authenticates a delivery of this body."""
    valid = signed(body)
    repeats_secret = {"X_Webhook_Secret": SECRET}
    wrong: list[dict[str, str]] = [
        {},
        {"X_Webhook_Secret": SECRET[:-1]},
        {"X_Webhook_Secret": ""},
        {"X_Webhook_Secret": path_token(SECRET)},
        signed(body, secret="another"),
        signed(body + b" "),
        {"X_Webhook_Signature": valid["X_Webhook_Signature"], **repeats_secret},
        {"X_Webhook_Timestamp": valid["X_Webhook_Timestamp"], **repeats_secret},
        {**valid, "X_Webhook_Signature": valid["X_Webhook_Signature"].removeprefix("sha256=")},
        {**valid, "X_Webhook_Signature": valid["X_Webhook_Signature"][:-2]},
        {**valid, "X_Webhook_Signature": "sha256=", **repeats_secret},
        {**valid, "X_Webhook_Timestamp": str(int(valid["X_Webhook_Timestamp"]) + 1), **repeats_secret},
        *(
            signed(body, at=at) | repeats_secret
            for at in ("", "now", "1e9", "-1", "+1", "0x1", "1_0", "9" * 400, "Mon, 30 Nov 2026 07:32:20 GMT")
        ),
    ]
    return wrong if policy == "optional" else [*wrong, repeats_secret]


@pytest.mark.parametrize("policy", ["required", "optional"])
def test_a_forged_delivery_is_refused(sandbox: Sandbox, policy: Any) -> None:
    """A missing, malformed or wrong signature gets status 401 and changes no row; a valid delivery is then accepted."""
    sandbox.change(hold=True)
    with WebhookReceiver(secret=SECRET, signatures=policy) as hook:
        run = frame(3).eachlabs.start(WF, webhook=hook)
        until(lambda: run.status == {"queued": 3})
        body = as_bytes(delivery_of(run.frame, status="failed", error="forged"))
        wrong = forged_headers(body, policy)
        assert [post(hook, body, **headers) for headers in wrong] == [401] * len(wrong)
        assert outcome_counts(hook) == {"forged": len(wrong)}
        assert run.status == {"queued": 3}
        assert post_signed(hook, delivery_of(run.frame)) == 204
        until(lambda: run.status == {"completed": 1, "queued": 2})
        sandbox.release()
        run.result()


@pytest.mark.parametrize("offset", [-310, 310, -(10**9)])
def test_a_delivery_with_an_expired_timestamp_is_refused(open_run: Any, hook: WebhookReceiver, offset: int) -> None:
    """A timestamp over 300 seconds in the past or future gets status 401, though signature and secret are valid."""
    body = as_bytes(delivery_of(open_run.frame))
    at = max(0, int(time.time()) + offset)
    assert post(hook, body, X_Webhook_Secret=SECRET, **signed(body, at=at)) == 401
    assert outcome_counts(hook) == {"expired": 1}
    assert open_run.status == {"queued": 3}


def test_the_secret_header_alone_suffices_only_if_signatures_are_optional(sandbox: Sandbox) -> None:
    """Deliveries before 2026-09-21 had the secret header but no signature."""
    sandbox.change(webhook_pause=0.0, webhook_faults=("stripped",) * 3)
    with WebhookReceiver(signatures="optional") as hook:
        out = frame(2).eachlabs.bulk_trigger(WF, webhook=hook, wait=True)
    assert out["status"].tolist() == ["completed"] * 2
    assert outcome_counts(hook) == {"accepted": 2}
    with WebhookReceiver(sweep=0.2) as hook:
        out = frame(2).eachlabs.bulk_trigger(WF, run="strict", webhook=hook, wait=True)
        until(lambda: hook.counts["forged"] == 6)
    assert out["status"].tolist() == ["completed"] * 2
    assert outcome_counts(hook) == {"forged": 6}


def test_a_valid_attempt_after_refused_attempts_is_accepted(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """The first two attempts of each delivery are refused and counted; the third is valid."""
    sandbox.add_workflow("wf_echo", output=lambda inputs: f"echo {inputs['prompt']}")
    for wrong, counts in (
        (("forged", "altered"), {"forged": 2}),
        (("aged", "early"), {"expired": 2}),
        (("undated", "stripped"), {"forged": 2}),
    ):
        sandbox.change(webhook_pause=0.0, webhook_faults=wrong, webhook_repeats=1)
        before = dict(hook.counts)
        out = frame(4).eachlabs.bulk_trigger("wf_echo", run=repr(wrong), webhook=hook, wait=True)
        assert out["output"].tolist() == [f"echo p{row}" for row in range(4)]
        until(lambda before=before: hook.counts["repeated"] == before["repeated"] + 4)
        added = {name: count - before[name] for name, count in hook.counts.items() if count != before[name]}
        expected = {name: 4 * count for name, count in counts.items()}
        assert added == {"received": 16, "accepted": 4, "repeated": 4, "redelivered": 4, **expected}


def test_buffered_bodies_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Bodies are buffered until their signature is verified; beyond `max_buffered` bytes in all, the reply is 503."""

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
        headers = f"Content-Length: {len(body)}\r\n{header_lines(signed(body))}"
        head = f"POST /h HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()
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
    """Wait for a condition without blocking the running loop."""
    await asyncio.get_running_loop().run_in_executor(None, until, condition)


def test_the_log_of_a_receiver_error_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the message nor the locals of the traceback contain the secret. The reply is 500, so the API retries."""

    def fail(_: object) -> bool:
        msg = "provoked"
        raise RuntimeError(msg)

    async def go() -> int:
        listener = listen("127.0.0.1", 0)
        receiver = WebhookServer(listener, path="/h", verifier=Verifier(SECRET), max_body=1000, timeout=20, offer=fail)
        body = as_bytes({"execution_id": "e", "status": "running"})
        headers = f"Content-Length: {len(body)}\r\n{header_lines(signed(body))}"
        head = f"POST /h HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()
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


def test_a_delivery_with_another_execution_bulk_or_workflow_is_not_applied(
    open_run: Any, hook: WebhookReceiver
) -> None:
    """A signed delivery is answered with 204 in this case too, but counted as mismatched or unknown and not stored."""
    out = open_run.frame
    wrong = [
        delivery_of(out, execution_id="00000000-0000-4000-8000-000000000000"),
        delivery_of(out, bulk_id="00000000-0000-4000-8000-000000000000"),
        delivery_of(out, workflow_id="wf_images"),
    ]
    assert [post_signed(hook, content) for content in wrong] == [204] * 3
    until(lambda: hook.counts["mismatched"] == 2)
    # Deliveries are applied in order, shortly after they are counted, so the valid delivery is sent last.
    assert post_signed(hook, delivery_of(out, 1, status="cancelled", output=None)) == 204
    until(lambda: open_run.status != {"queued": 3})
    assert open_run.status == {"queued": 2, "cancelled": 1}
    assert hook.counts["accepted"] == 1


def test_a_delivery_with_the_inputs_of_another_row_is_not_applied(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """The executions may be assigned to the wrong rows, so the call polls at once to find out."""
    sandbox.change(hold=True)
    run = frame(3).eachlabs.start(WF, webhook=hook)
    until(lambda: run.status == {"queued": 3})
    for row in range(3):
        content = delivery_of(run.frame, row, inputs={"prompt": f"p{(row + 1) % 3}"}, output="of another row")
        assert post_signed(hook, content) == 204
    until(lambda: hook.counts["accepted"] == 3)
    until(lambda: count(sandbox, "list") == 1)
    assert run.frame["output"].isna().all()
    sandbox.release()
    with WebhookReceiver(secret=SECRET) as other:
        for row in range(3):
            content = delivery_of(run.frame, row, inputs={"prompt": f"p{row}"}, output=f"of row {row}")
            assert post_signed(other, content) == 204
        out = run.result()
    assert out["output"].str.contains("another").eq(False).all()


def test_the_journal_does_not_settle_a_row_with_the_inputs_of_another(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Such rows stay open in the journal until the next refresh; a row with its own inputs is settled."""
    sandbox.change(hold=True, webhook_loss=1.0)
    out = frame(3).eachlabs.bulk_trigger(WF, run="mixed up", webhook=hook)
    for row, inputs in enumerate(("p1", "p0", "p2")):
        assert post_signed(hook, delivery_of(out, row, inputs={"prompt": inputs})) == 204
    until(lambda: hook.counts["accepted"] == 3)
    hook.stop()
    assert ef.load_run("mixed up")["status"].tolist() == ["queued", "queued", "completed"]


def test_an_unknown_delivery_is_counted_and_not_stored(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """No call is open, and the journal has no such execution or has it with another bulk_id or workflow."""
    sandbox.change(hold=True)
    out = frame(2).eachlabs.bulk_trigger(WF, run="mine", webhook=hook)
    unknown = delivery_of(out, execution_id="e", bulk_id="00000000-0000-4000-8000-000000000000")
    for content in (
        unknown,
        delivery_of(out, execution_id="e"),
        delivery_of(out, bulk_id=None),
        delivery_of(out, workflow_id="wf_images"),
    ):
        assert post_signed(hook, content) == 204
    until(lambda: hook.counts["unknown"] == 3 and hook.counts["mismatched"] == 1)
    assert ef.load_run("mine")["status"].tolist() == ["queued"] * 2


def test_a_late_delivery_does_not_change_a_settled_row(open_run: Any, hook: WebhookReceiver) -> None:
    """The first terminal status of an execution is kept; later deliveries are counted as repeated."""
    out = open_run.frame
    assert post_signed(hook, delivery_of(out, status="running", output=None)) == 204
    until(lambda: open_run.status == {"running": 1, "queued": 2})
    for status in ("completed", "failed", "cancelled", "running"):
        error = None if status == "completed" else "late"
        assert post_signed(hook, delivery_of(out, status=status, error=error)) == 204
    # Deliveries are applied in order, shortly after they are counted, so that of the other row is sent last.
    assert post_signed(hook, delivery_of(out, 1, status="cancelled", output=None)) == 204
    until(lambda: "cancelled" in open_run.status)
    assert open_run.status == {"completed": 1, "cancelled": 1, "queued": 1}
    assert open_run.frame["error"].isna().iloc[0]
    assert outcome_counts(hook) == {"accepted": 2, "repeated": 2, "unfinished": 2}


def test_a_late_delivery_to_a_second_receiver_does_not_change_a_settled_row(
    open_run: Any, hook: WebhookReceiver
) -> None:
    """The other receiver accepts and counts the delivery, but the row keeps its first terminal status."""
    out = open_run.frame
    with WebhookReceiver(secret=SECRET) as other:
        assert post_signed(hook, delivery_of(out)) == 204
        until(lambda: open_run.status == {"completed": 1, "queued": 2})
        assert post_signed(other, delivery_of(out, status="failed", error="late")) == 204
        until(lambda: other.counts["accepted"] == 1)
        assert post_signed(other, delivery_of(out, 1)) == 204
        until(lambda: open_run.status == {"completed": 2, "queued": 1})
    assert open_run.frame["error"].isna().all()


def test_a_late_delivery_does_not_change_a_settled_row_in_the_journal(sandbox: Sandbox) -> None:
    """The first terminal status is kept, also if a second receiver gets a later delivery."""
    sandbox.change(hold=True)
    deliveries = (("completed", None), ("failed", "late"))
    with WebhookReceiver(secret=SECRET) as hook:
        out = frame(1).eachlabs.bulk_trigger(WF, run="once", webhook=hook)
        for status, error in deliveries:
            post_signed(hook, delivery_of(out, status=status, error=error))
    with WebhookReceiver(secret=SECRET) as hook:
        post_signed(hook, delivery_of(out, status="failed", error="later still"))
    loaded = ef.load_run("once")
    assert loaded["status"].tolist() == ["completed"]
    assert loaded["error"].isna().all()


@pytest.mark.parametrize("wrong", [b"", b"{", b"[]", b'{"status": "completed"}', b'{"execution_id": 1, "status": "x"}'])
def test_a_malformed_body_is_refused(hook: WebhookReceiver, wrong: bytes) -> None:
    """The reply is 400, and the delivery is counted as malformed."""
    assert post_signed(hook, wrong) == 400
    assert outcome_counts(hook) == {"malformed": 1}


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
def test_an_output_that_cannot_be_stored_is_replaced_and_its_row_settled(
    open_run: Any, hook: WebhookReceiver, raw: bytes, output: Any, note: str
) -> None:
    """The raw body is verified; the row ends at once, with a note on what was replaced in the output."""
    body = as_bytes(delivery_of(open_run.frame, output="@", total_cost=0.25)).replace(b'"@"', raw)
    assert post_signed(hook, body) == 204
    until(lambda: open_run.status == {"completed": 1, "queued": 2})
    row = open_run.frame.iloc[0]
    assert note in row["error"]
    if output is not None:
        assert row["output"] == output
    assert outcome_counts(hook) == {"accepted": 1}


def test_only_a_post_to_the_receiver_path_is_accepted(hook: WebhookReceiver) -> None:
    """Any other path gets status 404 and any other method 405."""
    body = json.dumps({"execution_id": "e", "status": "completed"}).encode()
    path = urlsplit(hook.url).path
    headers = signed(body)
    for wrong in ("/", f"{path}x", f"/x{path}", f"{path}?a=1/", f"{path}/"):
        status = request(hook, "POST", wrong, body, **headers)
        assert status == (204 if "?" in wrong else 404)
    assert request(hook, "GET", path, b"", **signed(b"")) == 405
    assert hook.counts["misdirected"] == 5


def test_an_oversized_body_is_refused_before_it_is_read() -> None:
    """The reply is 413 while the body is still being sent, with a Content-Length or in chunks."""
    with WebhookReceiver(secret=SECRET, max_body=1000) as hook:
        head = f"POST {urlsplit(hook.url).path} HTTP/1.1\r\nHost: x\r\n{header_lines(signed(b'unsent'))}"
        assert status_of_partial(hook, f"{head}Content-Length: 1001\r\n\r\n".encode()) == 413
        chunk = b"200\r\n" + b"x" * 512 + b"\r\n"
        assert status_of_partial(hook, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + 2 * chunk) == 413
        assert post_signed(hook, json.dumps({"execution_id": "e", "status": "running", "x": "x" * 900}).encode()) == 204
    assert hook.counts["oversized"] == 2


@pytest.mark.parametrize("headers", [{}, {"X_Webhook_Secret": SECRET}, signed(b"", at=1)])
def test_an_unsigned_or_expired_delivery_is_refused_before_its_body_is_read(
    hook: WebhookReceiver, headers: dict[str, str]
) -> None:
    """The reply is 401 although the body was not sent."""
    head = f"POST {urlsplit(hook.url).path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n{header_lines(headers)}\r\n"
    assert status_of_partial(hook, head.encode()) == 401


def header_lines(headers: dict[str, str]) -> str:
    """Return headers as text of an HTTP request."""
    return "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())


def status_of_partial(hook: WebhookReceiver, sent: bytes) -> int:
    """Send the beginning of a request; return the status of the reply that comes before the rest."""
    where = urlsplit(hook.url)
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        connection.sendall(sent)
        return int(connection.recv(100).split()[1])


def test_a_slow_client_is_disconnected() -> None:
    """Clients that send an incomplete body, request line or nothing are cut off; others are answered meanwhile."""
    with WebhookReceiver(secret=SECRET, timeout=1.5) as hook:
        where = urlsplit(hook.url)
        head = f"POST {where.path} HTTP/1.1\r\nHost: x\r\n{header_lines(signed(b'x'))}Content-Length: 9\r\n\r\n{{"
        slow = [socket.create_connection((where.hostname, where.port), timeout=20) for _ in range(3)]
        for connection, sent in zip(slow, (head, "POST /", ""), strict=True):
            connection.sendall(sent.encode())
        assert post_signed(hook, {"execution_id": "e", "status": "running"}) == 204
        for connection in slow:
            with connection:
                assert is_closed(connection)
        until(lambda: hook.counts["cut_off"] == 1)


def is_closed(connection: socket.socket) -> bool:
    """Wait until the other side closes the connection; return False if it sent anything."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def test_idle_connections_do_not_block_a_delivery() -> None:
    """There are more idle connections than the receiver serves at once; they time out, so the delivery is served."""
    with WebhookReceiver(secret=SECRET, timeout=1.5) as hook:
        where = urlsplit(hook.url)
        idle = [socket.create_connection((where.hostname, where.port), timeout=20) for _ in range(300)]
        assert post_signed(hook, {"execution_id": "e", "status": "running"}) == 204
        for connection in idle:
            connection.close()


# Invalid arguments


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"port": "80"}, "port must be a whole number"),
        ({"port": 70_000}, "port must be a whole number"),
        ({"host": ""}, "host must be an address"),
        ({"secret": "two parts"}, "secret must be"),
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
def test_invalid_receiver_arguments_are_refused(wrong: dict[str, Any], message: str) -> None:
    """The constructor raises `ConfigurationError`, whose message repeats no password or secret."""
    with pytest.raises(ef.ConfigurationError, match=message) as caught:
        WebhookReceiver(**wrong)
    assert "pass@" not in str(caught.value)
    assert "two parts" not in str(caught.value)


@pytest.mark.parametrize(
    ("public_url", "url"),
    [
        ("https://hooks.example.org", "https://hooks.example.org/eachlabs"),
        ("https://hooks.example.org/team/", "https://hooks.example.org/team"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x"),
    ],
)
def test_a_public_url_keeps_its_path(public_url: str, url: str) -> None:
    """The receiver serves the path of `public_url` on its local port."""
    with WebhookReceiver(public_url=public_url, secret=SECRET) as hook:
        assert hook.url == url
        port = hook._address[1]  # type: ignore[index]  # it listens
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        headers = {name.replace("_", "-"): value for name, value in signed(b"{}").items()}
        connection.request("POST", urlsplit(url).path, b"{}", headers)
        assert connection.getresponse().status == 400
        connection.close()


def test_nothing_is_sent_if_no_delivery_can_arrive(sandbox: Sandbox, hook: WebhookReceiver) -> None:
    """Refused: a stopped receiver, one the API cannot reach, a second webhook_url=, a URL instead of a receiver."""
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


def test_a_port_in_use_is_refused_with_its_number(hook: WebhookReceiver) -> None:
    """The error names the port and the alternative `port=0`; the receiver does not listen."""
    port = urlsplit(hook.url).port
    other = WebhookReceiver(int(port or 0))
    with pytest.raises(ef.ConfigurationError, match=f"cannot listen on port {port} of 127.0.0.1 .*port=0"):
        other.start()
    assert not other.listening


def test_all_addresses_are_bound_only_on_request(hook: WebhookReceiver) -> None:
    """The default is loopback; with host="0.0.0.0", `url` still contains the loopback address."""
    assert urlsplit(hook.url).hostname == "127.0.0.1"
    with WebhookReceiver(host="0.0.0.0", secret=SECRET) as wide:
        assert urlsplit(wide.url).hostname == "127.0.0.1"
        assert post_signed(wide, {"execution_id": "e", "status": "running"}) == 204


def test_the_url_of_a_receiver_that_was_never_started_is_refused() -> None:
    """The port is not known before the receiver listens."""
    with pytest.raises(ef.ConfigurationError, match="before it is started"):
        _ = WebhookReceiver().url


# Secrets


def test_the_secret_is_shown_nowhere(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """No repr, log, error, journal, attrs or pickle contains it, in either dialect, even if the API repeats it."""
    caplog.set_level(logging.DEBUG)
    journal = tmp_path / "journal.sqlite"
    ef.configure(journal=journal)
    secrets = (SECRET, path_token(SECRET))
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
    for secret in secrets:
        assert not any(secret in text for text in shown)
        for path in tmp_path.iterdir():
            assert secret.encode() not in path.read_bytes()
