"""A run in PostgreSQL that processes share: they are killed, and the server stops. The sandbox keeps the books."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.postgres_url import PostgresUrl
from eachlabs_frames.sandbox import Sandbox

from ..postgres import Server, until

pytestmark = [pytest.mark.chaos, pytest.mark.postgres]

ROWS = 400
WF = "wf_free"
TRIALS = int(os.environ.get("EACHLABS_CHAOS_TRIALS", "1"))  # read before the tests' settings are cleared

_CALL = """
import sys, time
now, now_ns, shift = time.time, time.time_ns, float(sys.argv[2])
time.time = lambda: now() + shift
time.time_ns = lambda: now_ns() + int(shift * 1e9)
import pandas as pd
import eachlabs_frames as ef
ef.configure(timeout=5.0, settle_window=2.0, max_concurrency=2)
frame = pd.DataFrame({"prompt": [f"p{row}" for row in range(int(sys.argv[1]))]})
sys.stdout.write("ready"); sys.stdout.flush(); sys.stdin.readline()
frame.eachlabs.bulk_trigger("wf_free", ["prompt"], run="shared", progress=False)
"""

HOUR = 3_600


def prompts() -> pd.DataFrame:
    """Return rows of different inputs."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(ROWS)]})


def paid(sandbox: Sandbox) -> Counter[str]:
    """Count the accepted executions of each prompt."""
    return Counter(execution.inputs["prompt"] for execution in sandbox.accepted)


@pytest.mark.parametrize("seed", range(TRIALS))
def test_processes_that_are_killed_or_frozen_pay_for_no_row_twice(
    postgres_journal: PostgresUrl, sandbox: Sandbox, seed: int
) -> None:
    """Six processes, whose clocks differ by up to two hours, send the same rows.

    Two are killed at random instants, and two are frozen until the others take them for dead. A seventh call ends the
    run.
    """
    draw = random.Random(seed)
    sandbox.change(latency=0.05)
    environment = os.environ | {"EACHLABS_BASE_URL": sandbox.base_url, "EACHLABS_API_KEY": sandbox.api_key}
    calls: list[subprocess.Popen[bytes]] = []
    try:
        for shift in (0, HOUR, -HOUR, 0, HOUR, -HOUR):
            command = [sys.executable, "-c", _CALL, str(ROWS), str(shift)]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            calls.append(subprocess.Popen(command, env=environment, **pipes))
        for call in calls:
            assert call.stdout is not None
            assert call.stdout.read(5) == b"ready"
        for call in calls:
            assert call.stdin is not None
            call.stdin.close()
        draw.shuffle(calls)
        moments = sorted(draw.randrange(1, ROWS - 200) for _ in calls[:4])
        for call, at, number in zip(calls, moments, draw.sample([SIGKILL, SIGKILL, SIGSTOP, SIGSTOP], 4), strict=False):
            until(lambda at=at: sandbox.accepted_count() >= at)  # type: ignore[misc]
            call.send_signal(number)
        assert [call.wait(240) for call in calls[4:]] == [0, 0]  # after the others count as dead
        for call in calls[:4]:
            call.send_signal(SIGCONT)
        assert {call.wait(240) for call in calls[:4]} <= {-SIGKILL, 0}  # 0, too: it may have ended before the signal
    finally:
        for call in calls:
            call.kill()
            with call:  # closes its pipes
                call.wait()
    ef.configure(journal=postgres_journal.reveal(), timeout=5.0, settle_window=2.0)
    out = prompts().eachlabs.bulk_trigger(WF, ["prompt"], run="shared", progress=False)
    assert max(paid(sandbox).values()) == 1
    counts = out["status"].value_counts().to_dict()
    unknown = counts.pop("unknown", 0)
    assert set(counts) <= {"queued", "completed"}  # what a search has found may have ended
    # Claimed by a killed call before its request, and not found: at most what two calls had in flight.
    assert unknown <= 2 * 2 * 10
    assert sandbox.accepted_count() + unknown == ROWS
    assert_has_all(out, sandbox)


@contextmanager
def calling(results: list[pd.DataFrame]) -> Iterator[None]:
    """Trigger the rows in a thread, and wait for the end of the call."""
    call = threading.Thread(
        target=lambda: results.append(prompts().eachlabs.bulk_trigger(WF, ["prompt"], run="r", progress=False))
    )
    call.start()
    yield
    call.join(240)


def test_a_server_that_stops_for_some_seconds_loses_nothing(
    own_server: Server, postgres_schema: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent meanwhile, the responses in flight are kept, and the call says what it waits for.

    When it is back, it is a replica at first, as at a failover.
    """
    sandbox.change(latency=0.05)
    ef.configure(journal=own_server.url, max_concurrency=4)
    results: list[pd.DataFrame] = []
    with calling(results):
        until(lambda: sandbox.accepted_count() >= 60)
        own_server.stop()
        until(lambda: "Waiting for it" in caplog.text)
        in_flight = 4 * 10
        sent = sandbox.accepted_count()
        time.sleep(4.0)  # the outage itself
        own_server.start(standby=True)
        until(lambda: "is on a read-only server" in caplog.text)
        assert sandbox.accepted_count() <= sent + in_flight
        own_server.promote()
    (out,) = results
    assert set(out["status"]) == {"queued"}
    assert paid(sandbox) == Counter(out["prompt"])
    assert ef.load_run("r")["execution_id"].tolist() == out["execution_id"].tolist()
    assert own_server.url.partition("@")[2] in caplog.text


_FULL = """
CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file "base/1/2": No space left on device' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON {schema}.records EXECUTE FUNCTION {schema}.refuse()
"""
_GONE = (
    r"the server of the journal \S+ cannot be reached \(.*\): check that it is running, and the URL\. It has been away "
    r"for \d+ s, so nothing more is sent: once it is back, repeat the call, which sends only rows that were not sent"
)


@pytest.mark.parametrize("is_full", [False, True], ids=["gone", "disk full"])
def test_a_server_that_is_gone_or_full_ends_the_call_with_its_results(
    own_server: Server, postgres_schema: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, is_full: bool
) -> None:
    """The frame has every execution, and says what to do; once the server is back, the same call goes on."""
    sandbox.change(latency=0.05)
    ef.configure(journal=own_server.url, max_concurrency=4, max_wait=1.0)
    results: list[pd.DataFrame] = []
    try:
        with calling(results):
            until(lambda: sandbox.accepted_count() >= 60)
            if is_full:
                own_server.execute(_FULL.format(schema=postgres_schema))
            else:
                own_server.stop()
    finally:
        if not is_full:
            own_server.start()
    (out,) = results
    assert_has_all(out, sandbox)
    assert set(out["status"]) == {"queued", "pending"}
    (reason,) = out["error"].dropna().unique()
    full = r"the disk of the journal \S+ is full \(could not extend file.*\): free some space on the server"
    assert re.fullmatch(f"not sent: {full if is_full else _GONE}", reason)
    assert "the frame has results that the journal does not have, so keep the frame" in caplog.text
    if is_full:
        own_server.execute(f"DROP TRIGGER full_disk ON {postgres_schema}.records")
    own_server.execute(f"UPDATE {postgres_schema}.sessions SET expires_at = 0")  # instead of waiting for it
    ef.configure(timeout=2.0, settle_window=1.0, max_wait=None)
    again = prompts().eachlabs.bulk_trigger(WF, ["prompt"], run="r", progress=False)
    assert max(paid(sandbox).values()) == 1
    assert_has_all(again, sandbox)
    # Claims of which the server was gone before it replied were not sent; nothing tells this to the second call.
    assert (again["status"] == "unknown").sum() <= 4 * 10
    assert "pending" not in set(again["status"])


def assert_has_all(out: pd.DataFrame, sandbox: Sandbox) -> None:
    """Check that each accepted execution is in its row, and that rows have no others."""
    executions = {execution.inputs["prompt"]: execution.execution_id for execution in sandbox.accepted}
    known = out[out["execution_id"].notna()]
    assert dict(zip(known["prompt"], known["execution_id"], strict=True)) == executions
