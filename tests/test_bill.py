"""What a run has cost, by status and model; and the question before it is paid."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.frames.costs.bill import _parts
from eachlabs_frames.sandbox import Sandbox, Step

TIERS = {
    "depends_on": ["resolution"],
    "rows": [{"resolution": "1K", "amount": 0.021}, {"resolution": "4K", "amount": 0.087}],
}


@pytest.fixture
def priced(sandbox: Sandbox) -> Iterator[Sandbox]:
    """Return a sandbox with the workflow ``wf_priced``: a model with tiers, and one that is billed by usage."""
    ef.configure(rerun_guard=None)
    sandbox.add_model("painter", cost=TIERS)
    sandbox.add_model("writer", cost={"type": "usage_based", "min": 0.001, "max": 0.004, "estimate": 0.002})
    steps = (Step("draw", model="painter", params={"resolution": "$.inputs.size"}), Step("tell", model="writer"))
    sandbox.add_workflow("wf_priced", steps=steps, input_schema={"type": "object"})
    return sandbox


def rows(size: int) -> pd.DataFrame:
    """Return rows of both tiers."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(size)], "size": ["1K", "4K"] * (size // 2)})


@pytest.mark.parametrize("journal", [True, False])
def test_the_bill_is_that_of_the_sandboxs_books(priced: Sandbox, journal: bool) -> None:
    """Failed rows that were retried are superseded; the sum of the costs is what was paid, to the cent."""
    if not journal:
        with pytest.warns(UserWarning, match="the journal is off"):
            ef.configure(journal=None)
    priced.change(fail_when=lambda inputs: inputs["prompt"] in ("p1", "p2", "p5"))
    out = rows(12).eachlabs.bulk_trigger("wf_priced", wait=True)
    priced.change(fail_when=lambda inputs: inputs["prompt"] == "p5")
    out = out.eachlabs.retry_failed(wait=True)
    bill = out.eachlabs.bill()
    assert bill["status"].tolist() == ["completed", "failed", "superseded"]
    assert bill["executions"].tolist() == [11, 1, 3]
    assert bill["cost"].sum() == pytest.approx(priced.billed_usd, abs=1e-6)
    assert bill["share"].sum() == pytest.approx(1.0)
    assert bill["unknown"].tolist() == [0, 0, 0]
    assert {name: str(dtype) for name, dtype in bill.dtypes.items()} == {
        "status": "string",
        "executions": "int64",
        "cost": "float64",
        "share": "float64",
        "unknown": "int64",
    }
    assert bill.attrs["eachlabs_bill"]["from"] == ("the journal" if journal else "the frame")


@pytest.mark.parametrize(("journal", "key"), [(True, None), (True, "prompt"), (False, None)])
def test_superseded_executions_of_unknown_cost_are_counted(priced: Sandbox, journal: bool, key: str | None) -> None:
    """Rows that were triggered again while their executions ran, and whose costs nobody has asked for since."""
    if not journal:
        with pytest.warns(UserWarning, match="the journal is off"):
            ef.configure(journal=None)
    named: dict[str, Any] = {"run": "one", "key": key} if key is not None else {}
    out = rows(4).eachlabs.bulk_trigger("wf_priced", ["prompt", "size"], wait=True, **named)
    priced.change(hold=True)
    again = {"retrigger": True, **named}
    out = out.eachlabs.bulk_trigger("wf_priced", ["prompt", "size"], **again)
    if key is not None:  # another input under each key
        out["size"] = "2K"
    out = out.eachlabs.bulk_trigger("wf_priced", ["prompt", "size"], **again)
    bill = out.eachlabs.bill().set_index("status")
    assert bill.loc["superseded", ["executions", "unknown"]].tolist() == [8, 4]
    assert bill.loc["superseded", "cost"] == pytest.approx(priced.billed_usd, abs=1e-6)
    assert out.attrs["eachlabs"]["superseded_unknown"] == 4
    if journal:
        assert ef.load_run(out.attrs["eachlabs"]["run"]).attrs["eachlabs"]["superseded_unknown"] == 4


def test_the_bill_is_that_of_the_whole_run(priced: Sandbox) -> None:
    """Also for a frame that has some of its rows, and that was made before their costs were known."""
    priced.change(hold=True)
    early = rows(12).eachlabs.bulk_trigger("wf_priced", run="one")
    open_bill = early.eachlabs.bill()
    assert (open_bill["cost"].sum(), open_bill["unknown"].sum(), open_bill["executions"].sum()) == (0.0, 12, 12)
    assert open_bill["share"].isna().all()
    priced.change(hold=False)
    priced.release()
    ef.load_run("one").eachlabs.wait()
    bill = early.iloc[:3].eachlabs.bill()
    assert bill["executions"].tolist() == [12]
    assert bill["cost"].sum() == pytest.approx(priced.billed_usd, abs=1e-6)


def test_a_lost_row_is_on_the_bill_as_unknown(priced: Sandbox) -> None:
    """It may have been billed; rows that were never sent are not on it."""
    ef.configure(settle_window=0.2)
    from eachlabs_frames.sandbox import Fault

    priced.faults(Fault("error_before", at={1}))
    frame = pd.concat([rows(20), pd.DataFrame({"prompt": [None], "size": [None]})], ignore_index=True)
    out = frame.eachlabs.bulk_trigger("wf_priced", max_concurrency=1, wait=True)
    bill = out.eachlabs.bill().set_index("status")
    assert bill.loc["unknown", ["executions", "unknown"]].tolist() == [10, 10]
    assert bill["cost"].sum() == pytest.approx(priced.billed_usd, abs=1e-6)


def test_the_bill_by_model_has_what_the_details_state(priced: Sandbox) -> None:
    """What they do not state of a step is a part without a model, so that the sum is what was paid all the same."""
    out = rows(4).eachlabs.bulk_trigger("wf_priced", wait=True)
    bill = out.eachlabs.bill(steps=True)
    assert bill["model"].isna().all()
    assert bill["cost"].sum() == pytest.approx(priced.billed_usd, abs=1e-6)
    stated: dict[str, Any] = {
        "step_outputs": {
            "draw": {"step_id": "draw", "metadata": {"model": "painter", "cost": 0.02}},
            "more": {"step_id": "more", "metadata": {"model": "painter", "cost": "0.01"}},
            "tell": {"step_id": "tell", "metadata": {"model": "writer"}},
        }
    }
    parts = [(item.status, item.model, item.cost) for item in _parts("completed", 0.05, stated)]
    assert parts == [("completed", "painter", pytest.approx(0.03)), ("completed", None, pytest.approx(0.02))]
    assert [item.cost for item in _parts("completed", 0.01, stated)] == [0.01]


# -- ask=True ---------------------------------------------------------------------------------------------------------

SCRIPT = """
import signal
import sys
import pandas as pd
import eachlabs_frames as ef

signal.signal(signal.SIGINT, signal.default_int_handler)  # a runner of tests may ignore it
calls = []
def inputs(row):
    calls.append(row["prompt"])
    return {"prompt": row["prompt"], "image_url": bytes.fromhex("89504e470d0a1a0a") + bytes(99)}

frame = pd.DataFrame({"prompt": [f"p{row}" for row in range(12)]})
call = {
    "trigger": lambda: frame.eachlabs.bulk_trigger("wf_abc123", inputs, ask=True, wait=True),
    "start": lambda: frame.eachlabs.start("wf_abc123", inputs, ask=True).result(),
}[sys.argv[1]]
try:
    out = call()
except (ef.EachlabsError, KeyboardInterrupt) as exc:
    print("ENDED", type(exc).__name__, exc)
else:
    print("SENT", out["status"].value_counts().to_dict())
print("CALLS", len(calls), "RUNS", len(ef.runs()))
"""


def answered(kind: str, answer: str, sandbox: Sandbox) -> str:
    """Run the script in a terminal, type the answer to its question (or interrupt it), and return what it showed."""
    environment = os.environ | {"EACHLABS_API_KEY": sandbox.api_key, "EACHLABS_BASE_URL": sandbox.base_url}
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, kind], stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    )
    os.close(terminal)
    shown = b""
    is_answered = False
    while select.select([main], [], [], 120)[0]:
        try:
            shown += os.read(main, 4096)
        except OSError:  # the process has ended
            break
        if b"[y/N]" in shown and not is_answered:
            is_answered = True
            if answer:
                os.write(main, answer.encode())
            else:
                process.send_signal(signal.SIGINT)
    process.kill()
    process.wait(120)
    os.close(main)
    return shown.decode()


def test_a_no_leaves_nothing_behind_and_a_yes_sends(sandbox: Sandbox) -> None:
    """The question states the estimate. After a no, the journal has no run; a user's function is called once."""
    shown = answered("trigger", "no\n", sandbox)
    assert "12 rows, 2 requests, cost not known: the price of model 'sandbox-model'" in shown
    assert "ENDED DeclinedError nothing was sent" in shown
    assert "CALLS 12 RUNS 0" in shown
    assert sandbox.accepted_count() == 0
    shown = answered("trigger", "\x04", sandbox)  # Ctrl-D
    assert "ENDED DeclinedError nothing was sent" in shown
    assert sandbox.accepted_count() == 0
    shown = answered("start", "y\n", sandbox)
    assert "SENT {'completed': 12}" in shown
    assert "CALLS 12 RUNS 1" in shown
    assert (sandbox.accepted_count(), sandbox.puts) == (12, 1)


def test_an_interrupt_at_the_question_sends_nothing(sandbox: Sandbox) -> None:
    """It is an ordinary KeyboardInterrupt."""
    shown = answered("start", "", sandbox)
    assert "ENDED KeyboardInterrupt" in shown
    assert "RUNS 0" in shown
    assert sandbox.accepted_count() == 0


def test_without_a_person_a_question_is_an_error(sandbox: Sandbox) -> None:
    """Before anything is requested; a retry asks as well, and an async call never does."""
    with pytest.raises(ef.ConfigurationError, match="ask= needs a person who answers"):
        rows(2).eachlabs.bulk_trigger("wf_abc123", ask=True)
    with pytest.raises(ef.ConfigurationError, match="ask= needs a person who answers"):
        rows(2).eachlabs.start("wf_abc123", ask=True)
    assert sandbox.requests == ()
    assert not Path(os.environ["EACHLABS_JOURNAL"]).exists()
    with pytest.raises(ef.ConfigurationError, match="ask must be True or False"):
        rows(2).eachlabs.bulk_trigger("wf_abc123", ask="yes")  # type: ignore[arg-type]  # what is tested
    failed = rows(2).assign(prompt="a [fail]").eachlabs.bulk_trigger("wf_abc123", wait=True)
    with pytest.raises(ef.ConfigurationError, match="ask= needs a person who answers"):
        failed.eachlabs.retry_failed(ask=True)


def test_an_async_call_does_not_ask(sandbox: Sandbox) -> None:
    """A question would block its loop."""
    with pytest.raises(ef.ConfigurationError, match="would block the event loop"):
        asyncio.run(rows(2).eachlabs.bulk_trigger_async("wf_abc123", ask=True))
