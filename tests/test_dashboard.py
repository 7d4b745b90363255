"""The dashboard without a browser: what it sends, when, how much of it, and what its buttons do."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.accessors.run import Run
from eachlabs_frames.frames.run_status import RunStatus
from eachlabs_frames.models import COMPLETED, FAILED, QUEUED, Event, Outcome
from eachlabs_frames.sandbox import Fault, Sandbox
from eachlabs_frames.views.common.refresher import MIN_INTERVAL, Refresher
from eachlabs_frames.views.dashboard.widget import Dashboard

from .waiting import until
from .wire import Wire, wire

__all__ = ["wire"]

WF = "wf_abc123"
ENVELOPE = 600
"""Bytes that Jupyter puts around each message, as they were measured in JupyterLab."""


pytestmark = pytest.mark.usefixtures("wire")


def sent_messages(dashboard: Dashboard, kind: str | None = None) -> list[dict[str, Any]]:
    """Return the custom messages that the browser was sent."""
    model = dashboard._browser.model_id
    contents = [data["content"] for known, _, data, _ in Wire.sent if known == model and data.get("method") == "custom"]
    return [content for content in contents if kind in (None, content["kind"])]


def sent_snapshots(dashboard: Dashboard) -> list[dict[str, Any]]:
    """Return the snapshots that the browser was sent."""
    model = dashboard._browser.model_id
    states = [data.get("state", {}) for known, _, data, _ in Wire.sent if known == model]
    return [state["snapshot"] for state in states if "snapshot" in state]


def request(dashboard: Dashboard, **content: Any) -> None:
    """Send a request as the browser does."""
    dashboard._browser._handle_custom_msg(content, [])


def click(dashboard: Dashboard, text: str) -> None:
    """Press a button."""
    button(dashboard, text).click()


def button(dashboard: Dashboard, text: str) -> Any:
    """Return the button with this text, or one that begins with it."""
    line, question, _ = dashboard.children
    found = [one for one in (*line.children, *question.children) if getattr(one, "description", "").startswith(text)]
    assert len(found) == 1, text
    return found[0]


def frame(size: int) -> pd.DataFrame:
    """Make rows of different prompts, with labels that are no positions."""
    return pd.DataFrame({"prompt": [f"p{row}" for row in range(size)]}, index=[f"row {row}" for row in range(size)])


def shown(dashboard: Dashboard) -> dict[str, Any]:
    """Return what a browser shows that was sent the first snapshot and then each message, as its script puts it in."""
    model = dashboard._browser.model_id
    store: dict[str, Any] = {}
    for known, _, data, _ in list(Wire.sent):
        state = data.get("state", {})
        if known == model and "snapshot" in state:
            store = json.loads(json.dumps(state["snapshot"]))
        elif known == model and data.get("content", {}).get("kind") == "update":
            update = json.loads(json.dumps(data["content"]))
            assert update["seq"] == store["seq"] + 1
            store["seq"] = update["seq"]
            store["head"] |= update.get("head", {})
            store["statuses"] = update.get("statuses", store["statuses"])
            store["lines"] += update.get("added", [])
            for line, *pairs in update.get("lines", []):
                store["lines"][line][2] = pairs
            for place, rows, *more in update.get("errors", []):
                groups = store["errors"]
                if place == len(groups):
                    groups.append([rows, *more])
                groups[place] = [rows, *(more or groups[place][1:])]
    return store


def counts(store: dict[str, Any]) -> dict[str, int]:
    """Add up the lines of what is shown."""
    found: dict[str, int] = {}
    for _, _, pairs in store["lines"]:
        for code, rows in zip(pairs[::2], pairs[1::2], strict=True):
            word = store["statuses"][code]
            found[word] = found.get(word, 0) + rows
    return found


class Fake:
    """Stands in for `Calls` and `RowTexts`: a test moves its rows."""

    def __init__(self, size: int) -> None:
        self.labels = [str(row) for row in range(size)]
        self.phase: Any = "tracking"
        self.can_cancel = True
        self.rows = [Outcome(row, QUEUED, f"{row // 10:032x}", f"{row:032x}") for row in range(size)]
        self.done: list[str] = []

    frame = pd.DataFrame({"b": [1]}, index=pd.Index([0], name="a"))

    def titles(self, rows: Sequence[int]) -> list[str]:
        return [f"prompt {row}" for row in rows]

    def searchable(self) -> list[str]:
        return [f"prompt {row}, seed {row % 7}" for row in range(len(self.rows))]

    def add_view(self, view: Any) -> None:
        self.view = view

    def outcomes(self, view: Any, meanwhile: Callable[[], None]) -> list[Outcome]:
        meanwhile()
        return self.rows

    def head(self) -> RunStatus:
        return {"workflow": WF, "version": None, "run": "fake", "phase": self.phase}

    def happen(self, rows: Sequence[int], status: str) -> None:
        """Change rows, and tell of it as a run does."""
        changed = tuple(self.rows[row]._replace(status=status) for row in rows)
        for outcome in changed:
            self.rows[outcome.position] = outcome
        self.view.on_event(Event("refreshed", len(self.rows), 0, len(self.rows), {}, changed))

    def refresh(self) -> None:
        self.done.append("refresh")

    def follow(self, view: Any, on: bool) -> None:
        self.done.append(f"follow {on}")

    @property
    def interval(self) -> float:
        raise AssertionError

    @interval.setter
    def interval(self, seconds: float) -> None:
        self.done.append(f"interval {seconds}")

    def cancel(self) -> None:
        self.done.append("cancel")

    def retry(self, rows: Collection[int]) -> None:
        self.done.append(f"retry {sorted(rows)}")

    def remove_view(self, view: Any) -> None:
        self.done.append("leave")


def show(fake: Fake) -> Dashboard:
    """Return a dashboard of a fake that does not poll by itself."""
    return Dashboard(fake, fake, auto_refresh=False, interval=2.0)


# When and how much


def test_the_first_state_holds_everything() -> None:
    """A line per bulk_id with its counts, before any message."""
    dashboard = show(Fake(95))
    (state,) = sent_snapshots(dashboard)
    assert len(state["lines"]) == 10
    assert counts(state) == {QUEUED: 95}
    assert state["head"]["total"] == 95
    assert [line[1] for line in state["lines"]] == [None] * 10
    dashboard.close()


def test_what_happens_while_it_is_made_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """An event that occurs before there is a widget waits for it."""

    class Early(Fake):
        def outcomes(self, view: Any, meanwhile: Callable[[], None]) -> list[Outcome]:
            rows = list(super().outcomes(view, meanwhile))
            self.happen([0], FAILED)
            time.sleep(0)  # lets the refresher's thread run
            return rows

    dashboard = show(Early(10))
    until(lambda: counts(shown(dashboard)) == {FAILED: 1, QUEUED: 9})
    assert not caplog.records
    dashboard.close()


def test_updates_keep_a_quarter_of_a_second_apart_whatever_the_rate_of_events() -> None:
    """Refreshes pause for at least the minimum interval; 5,000 events become a few updates."""
    pauses: list[float] = []
    refreshes = 0
    go, enough = threading.Semaphore(0), threading.Event()

    def refresh() -> float | None:
        nonlocal refreshes
        refreshes += 1
        return None

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            enough.set()
        go.acquire(timeout=120)

    refresher = Refresher(refresh, pause=pause)
    for _ in range(3):
        for _ in range(5_000):
            refresher.schedule()
        until(lambda: len(pauses) == refreshes > 0)
        go.release()
        until(lambda: len(pauses) > 1)
    assert MIN_INTERVAL >= 0.25
    assert set(pauses) == {MIN_INTERVAL}
    assert refreshes <= 4
    refresher.close()
    go.release(10)


def test_no_flood_of_messages_and_nothing_is_missing() -> None:
    """Ten thousand events from eight threads while it shows them: few messages, far apart, and the sum is right."""
    fake = Fake(2_000)
    dashboard = show(fake)
    began = len(Wire.sent)

    def work(mine: int) -> None:
        for turn in range(3):
            for row in range(mine, 2_000, 8):
                fake.happen([row], (FAILED, "running", COMPLETED)[turn])

    threads = [threading.Thread(target=work, args=(mine,)) for mine in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: counts(shown(dashboard)) == {COMPLETED: 2_000})
    times = [moment for known, moment, data, _ in Wire.sent[began:] if data.get("content", {}).get("kind") == "update"]
    assert all(after - before >= MIN_INTERVAL * 0.99 for before, after in pairwise(times))
    dashboard.close()


def is_sent(dashboard: Dashboard) -> bool:
    """Say whether the browser has everything; not in the middle of a refresh, which takes events before it sends."""
    with dashboard._lock:
        return not dashboard._model.behind and not dashboard._events


def test_an_update_of_100_changed_lines_is_one_message_of_at_most_3_kib() -> None:
    """With the head, and Jupyter's envelope; what is shown is then the same as what is known."""
    fake = Fake(10_000)
    dashboard = show(fake)
    for turn in range(4):
        before = len(Wire.sent)
        with dashboard._lock:
            for line in range(100):
                start = (turn * 100 + line) * 10
                fake.happen(range(start, start + 3), COMPLETED)
                fake.happen(range(start + 3, start + 5), "running")
        until(lambda: is_sent(dashboard))
        messages = [data for _, _, data, _ in Wire.sent[before:]]
        assert len(messages) <= 3
        assert len(json.dumps(messages[0], separators=(",", ":"))) + ENVELOPE <= 3 * 1024
    assert counts(shown(dashboard)) == {COMPLETED: 1_200, "running": 800, QUEUED: 8_000}
    dashboard.close()


@pytest.mark.slow
def test_10_000_bulk_ids_that_all_change_at_once_stay_under_6_kib_an_update() -> None:
    """What does not fit waits its turn, and comes."""
    fake = Fake(100_000)
    dashboard = show(fake)
    before = len(Wire.sent)
    fake.happen(range(0, 100_000, 10), COMPLETED)
    until(lambda: len(sent_messages(dashboard, "update")) >= 4)
    sizes = [len(json.dumps(data, separators=(",", ":"))) + ENVELOPE for _, _, data, _ in Wire.sent[before:]]
    assert max(sizes) <= 6 * 1024
    while dashboard._model.behind:  # the rest without the waiting
        dashboard._refresh()
    assert counts(shown(dashboard)) == {COMPLETED: 10_000, QUEUED: 90_000}
    dashboard.close()


def test_nothing_is_sent_while_nothing_happens() -> None:
    """No thread is left at work either, once all is settled."""
    fake = Fake(20)
    fake.phase = "settled"
    dashboard = show(fake)
    until(lambda: dashboard._refresher._thread is None)
    before = len(Wire.sent)
    dashboard._refresh()
    assert len(Wire.sent) == before
    dashboard.close()


def test_the_last_snapshot_is_sent_when_a_call_ends() -> None:
    """So whoever saves a notebook that was run without a browser has it too."""
    fake = Fake(20)
    dashboard = show(fake)
    fake.happen(range(20), COMPLETED)
    fake.phase = "settled"
    fake.view.on_call_changed()
    until(lambda: len(sent_snapshots(dashboard)) == 2)
    assert counts(sent_snapshots(dashboard)[-1]) == {COMPLETED: 20}
    assert sent_snapshots(dashboard)[-1]["head"]["phase"] == "settled"
    dashboard.close()


def test_a_sync_sends_the_current_state() -> None:
    """A page that is loaded again asks the kernel: deltas are no state, the snapshot is made when it is asked for."""
    fake = Fake(20)
    dashboard = show(fake)
    fake.happen(range(5), FAILED)
    until(lambda: counts(shown(dashboard)) == {FAILED: 5, QUEUED: 15})
    assert counts(dashboard._browser.get_state()["snapshot"]) == {FAILED: 5, QUEUED: 15}
    request(dashboard, kind="sync")
    assert counts(sent_snapshots(dashboard)[-1]) == {FAILED: 5, QUEUED: 15}
    fake.happen([6], FAILED)
    until(lambda: counts(shown(dashboard)) == {FAILED: 6, QUEUED: 14})
    dashboard.close()


# Questions of the browser


def test_opened_lines_get_their_rows_and_again_when_they_change() -> None:
    """Until they are closed; beside an update at most two of them."""
    fake = Fake(50)
    dashboard = show(fake)
    for line in range(5):
        request(dashboard, kind="open", line=line, offset=0)
    first = sent_messages(dashboard, "rows")
    assert [message["line"] for message in first] == [0, 1, 2, 3, 4]
    assert [row["label"] for row in first[1]["rows"]] == [str(row) for row in range(10, 20)]
    request(dashboard, kind="close", line=4)
    with dashboard._lock:
        fake.happen([3, 13, 23, 33, 43], FAILED)
    until(lambda: len(sent_messages(dashboard, "rows")) == 9)
    again = sent_messages(dashboard, "rows")[5:]
    assert sorted(message["line"] for message in again) == [0, 1, 2, 3]
    assert again[0]["rows"][3]["status"] == FAILED
    times = [moment for _, moment, data, _ in Wire.sent if data.get("content", {}).get("kind") == "rows"][5:]
    assert times[2] - times[1] >= MIN_INTERVAL * 0.99
    dashboard.close()


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"kind": "open"},
        {"kind": "open", "line": "0"},
        {"kind": "open", "line": 10**9},
        {"kind": "open", "line": -1},
        {"kind": "open", "line": 0, "offset": "x"},
        {"kind": "open", "line": 0, "offset": -5},
        {"kind": "close", "line": None},
        {"kind": "find", "text": 5},
        {"kind": "somethingelse"},
    ],
)
def test_invalid_requests_of_a_browser_are_harmless(nonsense: dict[str, Any]) -> None:
    """Whatever a page sends."""
    fake = Fake(10)
    dashboard = show(fake)
    request(dashboard, **nonsense)
    fake.happen([1], FAILED)
    until(lambda: counts(shown(dashboard)) == {FAILED: 1, QUEUED: 9})
    dashboard.close()


def test_a_search_covers_rows() -> None:
    """By label, execution and error; the answer names the question."""
    fake = Fake(50)
    fake.rows[33] = fake.rows[33]._replace(error="Out of PAINT")
    dashboard = show(fake)
    request(dashboard, kind="find", text="paint")
    assert sent_messages(dashboard, "found") == [{"kind": "found", "text": "paint", "lines": [3]}]
    dashboard.close()


# Buttons


def test_each_button_calls_its_action() -> None:
    """And the intervals and the box beside them."""
    fake = Fake(10)
    dashboard = show(fake)
    line = dashboard.children[0].children
    click(dashboard, "Refresh")
    click(dashboard, "Cancel")
    line[1].value = True
    line[2].value = 15.0
    assert fake.done == ["follow False", "refresh", "cancel", "follow True", "interval 15.0"]
    click(dashboard, "Export")
    assert sent_messages(dashboard, "file") == [{"kind": "file", "name": "fake.csv", "type": "text/csv"}]
    assert Wire.sent[-1][3] == [b'"a","b"\n0,1\n']
    dashboard.close()


def test_a_retry_asks_first_and_names_its_cost() -> None:
    """How many rows, that they are paid again, and about how much; it can be declined."""
    fake = Fake(40)
    fake.can_cancel = False
    fake.rows = [one._replace(status=COMPLETED, cost=0.05) for one in fake.rows]
    dashboard = show(fake)
    assert button(dashboard, "Retry failed").disabled
    fake.happen(range(12), FAILED)
    until(lambda: not button(dashboard, "Retry failed").disabled)
    question = dashboard.children[1]
    assert question.layout.display == "none"
    click(dashboard, "Retry failed")
    assert question.layout.display != "none"
    assert dashboard.children[0].layout.display is None
    assert "12 failed rows" in question.children[0].value
    assert "paid for" in question.children[0].value
    assert "$0.60" in question.children[0].value
    click(dashboard, "Do not")
    assert question.layout.display == "none"
    assert not any("retry" in done for done in fake.done)
    with pytest.warns(UserWarning, match="the journal is off"):
        ef.configure(journal=None)
    click(dashboard, "Retry failed")
    assert "The journal is off, so another cell" in question.children[0].value
    yes = button(dashboard, "Retry 12")
    yes.click()
    yes.click()
    assert fake.done.count(f"retry {list(range(12))}") == 1
    assert question.layout.display == "none"
    dashboard.close()


def test_a_retry_triggers_the_rows_of_the_question() -> None:
    """Whatever has failed since the question was put."""
    fake = Fake(40)
    fake.can_cancel = False
    dashboard = show(fake)
    fake.happen([3, 7], FAILED)
    until(lambda: not button(dashboard, "Retry failed").disabled)
    click(dashboard, "Retry failed")
    fake.happen(range(20, 40), FAILED)
    until(lambda: counts(shown(dashboard)).get(FAILED) == 22)
    click(dashboard, "Retry 2")
    assert fake.done[-1] == "retry [3, 7]"
    dashboard.close()


def test_a_callback_may_do_anything_with_a_dashboard(sandbox: Sandbox) -> None:
    """On the loop's thread: print it, close it, press its buttons. Nobody waits for anybody for ever."""
    dashboards: list[Dashboard] = []
    said: list[str] = []

    def meddle(event: Event) -> None:
        if dashboards:
            said.append(str(dashboards[0]))
            dashboards[0]._calls.follow(dashboards[0]._subscriber, len(said) % 2 == 0)
            if event.kind == "finished":
                dashboards[0].close()

    run = frame(300).eachlabs.start(WF, progress=meddle, max_concurrency=2)
    run.interval = 0.2
    dashboards.append(run.dashboard(auto_refresh=True, interval=0.2))
    assert run.result(timeout=240)["status"].tolist() == ["completed"] * 300
    assert said


@pytest.mark.slow
def test_the_frame_of_a_dashboard_is_the_runs_result_from_the_first_moment(sandbox: Sandbox) -> None:
    """Whoever waits for the run and asks its dashboard right then sees every execution."""
    for turn in range(5):
        rows = frame(50)
        run = rows.assign(prompt=[f"{prompt}, turn {turn}" for prompt in rows["prompt"]]).eachlabs.start(WF)
        go = threading.Event()
        background = run._calls._current
        assert background is not None
        # In front of all others: the dashboards hear of the end later.
        background._task.future._done_callbacks.insert(0, lambda _: go.wait(30))  # type: ignore[attr-defined]  # noqa: B023
        dashboards = [run.dashboard(auto_refresh=False) for _ in range(2)]
        out = run.result()
        pd.testing.assert_frame_equal(dashboards[0].frame, out)
        click(dashboards[1], "Refresh")
        go.set()
        for dashboard in dashboards:
            pd.testing.assert_frame_equal(dashboard.frame, out)
            assert dashboard.frame.attrs == out.attrs
        until(lambda: all(shown(one)["head"]["phase"] == "settled" for one in dashboards))  # noqa: B023
        until(lambda: all(counts(shown(one)) == {"completed": 50} for one in dashboards))  # noqa: B023
        for dashboard in dashboards:
            dashboard.close()


def test_a_retry_pays_for_the_result_that_is_shown(sandbox: Sandbox) -> None:
    """Of a frame that holds two, with two prefixes."""
    ef.configure(rerun_guard=None)
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] in {"p1", "p2"})
    out = frame(20).eachlabs.bulk_trigger(WF, ["prompt"], prefix="a_", wait=True)
    sandbox.change(fail_when=lambda inputs: True)
    out = out.eachlabs.bulk_trigger(WF, ["prompt"], prefix="b_", wait=True)
    sandbox.change(fail_when=None)
    dashboard = out.eachlabs.dashboard(prefix="a_", auto_refresh=False)
    assert shown(dashboard)["head"]["counts"] == {"completed": 18, "failed": 2}
    before = sandbox.accepted_count()
    click(dashboard, "Retry failed")
    click(dashboard, "Retry 2")
    until(lambda: shown(dashboard)["head"]["counts"] == {"completed": 20})
    assert sandbox.accepted_count() == before + 2
    assert set(dashboard.frame["b_status"]) == {"failed"}
    dashboard.close()


def test_rows_that_fail_after_the_question_are_not_paid(sandbox: Sandbox) -> None:
    """The look goes on while the question stands: those that were asked about are triggered, no others."""
    sandbox.change(hold=True)
    out = frame(20).eachlabs.bulk_trigger(WF)
    sandbox.set_status(out["execution_id"].iloc[1], "failed")
    dashboard = out.eachlabs.dashboard(auto_refresh=True, interval=0.2)
    until(lambda: not button(dashboard, "Retry failed").disabled)
    click(dashboard, "Retry failed")
    for execution_id in out["execution_id"].iloc[5:15]:
        sandbox.set_status(execution_id, "failed")
    until(lambda: counts(shown(dashboard)).get(FAILED) == 11)
    click(dashboard, "Retry 1 failed row")
    until(lambda: counts(shown(dashboard)).get(FAILED) == 10)
    sandbox.change(hold=False)
    sandbox.release()
    until(lambda: counts(shown(dashboard)) == {"completed": 10, FAILED: 10})
    assert sandbox.accepted_count() == 21
    dashboard.close()


def test_another_server_is_neither_asked_nor_paid(sandbox: Sandbox) -> None:
    """A dashboard stays with the server and the journal that it was made with, and says so."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] == "p1", hold=True)
    out = frame(20).eachlabs.bulk_trigger(WF)
    sandbox.set_status(out["execution_id"].iloc[1], "failed")
    out = out.eachlabs.refresh()
    dashboard = out.eachlabs.dashboard(auto_refresh=False)
    with ef.sandbox.start() as other:
        click(dashboard, "Retry failed")
        click(dashboard, "Retry 1")
        until(lambda: other.base_url in (shown(dashboard)["head"]["problem"] or ""))
        click(dashboard, "Refresh")
        dashboard.children[0].children[1].value = True
        until(lambda: other.base_url in (shown(dashboard)["head"]["problem"] or ""))
        assert other.requests == ()
    assert "unknown" not in set(dashboard.frame["status"])
    dashboard.close()


def test_the_dashboard_of_a_run_stays_with_the_runs_server(sandbox: Sandbox) -> None:
    """Also where it is made after the settings have changed."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] == "p1")
    run = frame(5).eachlabs.start(WF)
    run.result()
    with ef.sandbox.start() as other:
        dashboard = run.dashboard(auto_refresh=False)
        click(dashboard, "Retry failed")
        click(dashboard, "Retry 1")
        until(lambda: "ConfigurationError" in (shown(dashboard)["head"]["problem"] or ""))
        assert other.requests == ()
    dashboard.close()


def test_a_retry_that_the_api_refuses_leaves_the_rows_as_they_are(sandbox: Sandbox) -> None:
    """They have failed still, with their reason, and can be retried later."""
    rows = pd.DataFrame({"prompt": ["p0", None, "p2"], "style": ["photo", "ink", "oil"]})
    out = rows.eachlabs.bulk_trigger(WF, ["prompt", "style"], validate=False, wait=True)
    assert out["status"].tolist() == ["completed", "failed", "completed"]
    dashboard = out.eachlabs.dashboard(auto_refresh=False)
    sandbox.faults(Fault("unauthorized", on="any"))
    click(dashboard, "Retry failed")
    click(dashboard, "Retry 1")
    until(lambda: "AuthenticationError" in (shown(dashboard)["head"].get("problem") or ""))
    sandbox.faults()
    assert dashboard.frame["status"].tolist() == out["status"].tolist()
    assert dashboard.frame["error"].tolist()[1] == out["error"].tolist()[1]
    until(lambda: not button(dashboard, "Retry failed").disabled)
    dashboard.close()


def test_clicks_that_look_do_not_pile_up(sandbox: Sandbox) -> None:
    """One look at a time, and none after the run's end."""
    sandbox.change(hold=True, latency=0.05)
    run = frame(20).eachlabs.start(WF)
    run.interval = 60.0
    dashboard = run.dashboard(auto_refresh=False)
    until(lambda: shown(dashboard)["head"]["phase"] == "tracking")
    before = len(sandbox.requests)
    for _ in range(50):
        click(dashboard, "Refresh")
    assert sum(thread.name == "eachlabs-look" for thread in threading.enumerate()) <= 1
    until(lambda: len(sandbox.requests) > before)
    run.cancel()
    run.result()
    assert len(sandbox.requests) < before + 10
    dashboard.close()


def test_a_closed_dashboard_is_released(sandbox: Sandbox) -> None:
    """Nothing keeps it, its frames or its widgets."""
    known = set(ipywidgets.widgets.widget._instances)
    run = frame(20).eachlabs.start(WF)
    dashboard = run.dashboard(auto_refresh=False)
    run.result()
    reference = weakref.ref(dashboard)
    until(lambda: not any(thread.name == "eachlabs-view" for thread in threading.enumerate()))
    dashboard.close()
    assert set(ipywidgets.widgets.widget._instances) <= known
    del dashboard
    gc.collect()
    assert reference() is None


def test_closing_ends_everything() -> None:
    """Its subject, its thread and its widgets; a later event is no error."""
    fake = Fake(10)
    dashboard = show(fake)
    dashboard.close()
    fake.happen([1], FAILED)
    assert fake.done[-1] == "leave"
    until(lambda: dashboard._refresher._thread is None or not dashboard._refresher._thread.is_alive())
    assert dashboard.comm is None
    assert dashboard._browser.comm is None


# Where there are no widgets


def test_it_is_a_table_where_there_are_no_widgets() -> None:
    """HTML and text beside the widget, with everything from outside escaped."""
    fake = Fake(20)
    fake.rows[3] = Outcome(3, FAILED, fake.rows[3].bulk_id, "e", "<script>alert(1)</script>")
    dashboard = show(fake)
    bundle = dashboard._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert "19 queued" in bundle["text/plain"]
    assert "&lt;script&gt;" in bundle["text/html"]
    assert "<script" not in bundle["text/html"]
    dashboard.close()


def test_a_frame_without_a_triggered_row_says_so() -> None:
    """It is no error: it is what is shown."""
    dashboard = frame(3).eachlabs.dashboard()
    assert "No row of this frame has been triggered yet" in repr(dashboard)
    assert "No row of this frame has been triggered yet" in dashboard._repr_mimebundle_()["text/html"]
    dashboard.close()


# With the sandbox


def test_a_run_as_its_dashboard_shows_it(sandbox: Sandbox) -> None:
    """From the first row to the last, the counts are the sandbox's; nobody looks after the end."""
    sandbox.change(latency=0.02, failure_rate=0.1)
    run = frame(200).eachlabs.start(WF, run="shown")
    dashboard = run.dashboard(interval=0.2)
    out = run.result()
    until(lambda: shown(dashboard)["head"]["phase"] == "settled")
    until(lambda: len(sent_snapshots(dashboard)) > 1)
    truth = out["status"].value_counts().to_dict()
    until(lambda: counts(shown(dashboard)) == truth)
    assert counts(shown(dashboard)) == truth == shown(dashboard)["head"]["counts"]
    assert shown(dashboard)["head"]["cost_usd"] == pytest.approx(out["cost"].sum())
    assert shown(dashboard)["head"]["run"] == "shown"
    assert {line[0] for line in shown(dashboard)["lines"] if line[2]} == set(out["bulk_id"])
    looks = len(sandbox.requests)
    until(lambda: dashboard._refresher._thread is None)
    assert len(sandbox.requests) == looks
    pd.testing.assert_frame_equal(dashboard.frame, out)
    dashboard.close()


def test_rows_are_named_and_found_by_their_prompts(sandbox: Sandbox) -> None:
    """By default those that the schema asks for; in opened lines, in errors, and where there are no widgets."""
    prompts = ["a fox in the snow", "a heron\n at dusk", "a fox at dusk"] * 5
    df = pd.DataFrame({"note": ["mine"] * 15, "prompt": prompts, "seed": range(15)})
    sandbox.change(fail_when=lambda inputs: inputs["seed"] == 13)
    run = df.eachlabs.start(WF, ["prompt", "seed"])
    dashboard, other = run.dashboard(auto_refresh=False), run.dashboard(label=["note", "seed"], auto_refresh=False)
    run.result()
    until(lambda: shown(dashboard)["head"]["phase"] == shown(other)["head"]["phase"] == "settled")
    # The phase is the run's, which a view may show before it has taken in the last rows.
    until(lambda: counts(shown(dashboard)) == counts(shown(other)) == {"completed": 14, "failed": 1})
    place = {bulk_id: line for line, (bulk_id, *_) in enumerate(shown(dashboard)["lines"])}
    line = place[run.frame["bulk_id"][13]]
    for one, titles in ((dashboard, {"a fox in the snow", "a heron at dusk"}), (other, {"mine · seed 13"})):
        request(one, kind="open", line=line)
        assert titles <= {row["title"] for row in sent_messages(one, "rows")[-1]["rows"]}
    request(dashboard, kind="find", text="Dusk heron seed")
    assert sent_messages(dashboard, "found")[-1]["lines"] == []
    request(dashboard, kind="find", text="13 HERON")
    assert sent_messages(dashboard, "found")[-1]["lines"] == [line]
    for words in (repr(dashboard), dashboard._repr_mimebundle_()["text/html"], run._repr_html_()):
        assert "13 “a heron at dusk”" in words
    assert "13 “mine · seed 13”" in repr(other)
    for one in (dashboard, other):
        one.close()


def test_a_cancelled_run_is_followed_by_its_dashboard(sandbox: Sandbox) -> None:
    """What was accepted goes on and is shown to its end; the rest stays pending, with the reason."""
    sandbox.change(latency=0.1, hold=True)
    run = frame(300).eachlabs.start(WF, max_concurrency=2)
    dashboard = run.dashboard(auto_refresh=True, interval=0.2)
    until(lambda: sandbox.accepted_count() >= 40)
    click(dashboard, "Cancel")
    out = run.result()
    accepted = int(out["execution_id"].notna().sum())
    assert accepted == sandbox.accepted_count() < 300
    sandbox.change(hold=False)
    sandbox.release()
    until(lambda: shown(dashboard)["head"]["counts"] == {"pending": 300 - accepted, "completed": accepted})
    until(lambda: shown(dashboard)["head"]["phase"] == "cancelled")
    assert dashboard.frame["status"].value_counts().to_dict() == {"pending": 300 - accepted, "completed": accepted}
    assert any("not sent" in message for _, message, _ in shown(dashboard)["errors"])
    until(lambda: button(dashboard, "Cancel").disabled)
    dashboard.close()


def test_failed_rows_are_retried_by_a_click(sandbox: Sandbox) -> None:
    """Only those, each once; their lines are new, and the dashboard's frame has the new executions."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] in ("p3", "p27"))
    run = frame(30).eachlabs.start(WF, lambda row: {"prompt": row["prompt"]})
    dashboard = run.dashboard(auto_refresh=True, interval=0.2)
    first = run.result()
    sandbox.change(fail_when=None)
    until(lambda: not button(dashboard, "Retry failed").disabled)
    click(dashboard, "Retry failed")
    click(dashboard, "Retry 2")
    until(lambda: shown(dashboard)["head"]["counts"] == {"completed": 30})
    assert sandbox.accepted_count() == 32
    out = dashboard.frame
    assert (out["execution_id"] != first["execution_id"]).sum() == 2
    assert sandbox.duplicates() == dict.fromkeys(sandbox.duplicates(), 2)
    assert counts(shown(dashboard)) == {"completed": 30}
    assert ef.load_run(str(run.name))["execution_id"].tolist() == out["execution_id"].tolist()
    dashboard.close()


@pytest.mark.parametrize("journal", [True, False])
@pytest.mark.filterwarnings("ignore:the journal is off")
def test_a_retry_in_a_dashboard_is_part_of_its_run(sandbox: Sandbox, tmp_path: Path, journal: bool) -> None:
    """`frame`, `status`, `done`, `result`, `await` and every other view follow; each failed row is paid once more."""
    ef.configure(journal=journal and tmp_path / "runs.sqlite")
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] in ("p3", "p27"))
    run = frame(30).eachlabs.start(WF, ["prompt"])
    dashboard, other = (run.dashboard(auto_refresh=False) for _ in range(2))
    sheet = run.gallery()
    first = run.result()
    sandbox.change(fail_when=None, hold=True)
    for one in (dashboard, other):  # both at once, as a reader of two cells may do
        until(lambda: not button(one, "Retry failed").disabled)  # noqa: B023
        click(one, "Retry failed")
    for one in (dashboard, other):
        click(one, "Retry 2")
    until(lambda: sandbox.accepted_count() == 32)
    assert not run.done
    with pytest.raises(TimeoutError, match="not done after"):
        run.result(timeout=0.01)
    awaited = asyncio.new_event_loop()
    waiting = threading.Thread(target=lambda: awaited.run_until_complete(_await(run)))
    waiting.start()
    until(lambda: run.status.get("failed") is None)
    assert "all sent" in repr(run) or "sending" in repr(run)
    assert "2 failed" not in run._repr_html_()
    assert run.frame.index.equals(first.index)
    sandbox.change(hold=False)
    sandbox.release()
    out = run.result(timeout=120)
    waiting.join(120)
    awaited.close()
    assert run.done
    assert run.status == {"completed": 30}
    assert "30 completed" in repr(run)
    pd.testing.assert_frame_equal(run.frame, out)
    pd.testing.assert_frame_equal(other.frame, out)
    changed = first["execution_id"] != out["execution_id"]
    assert out.loc[changed, "prompt"].tolist() == ["p3", "p27"]
    assert out["prompt"].tolist() == first["prompt"].tolist()
    given = {record.execution_id: record.inputs["prompt"] for record in sandbox.accepted}
    assert [given[one] for one in out["execution_id"]] == out["prompt"].tolist()
    assert sandbox.accepted_count() == 32
    until(lambda: all(shown(one)["head"]["counts"] == {"completed": 30} for one in (dashboard, other)))
    until(lambda: sheet._head()["counts"] == {"completed": 30})
    pd.testing.assert_frame_equal(run.dashboard(auto_refresh=False).frame, out)


async def _await(run: Run) -> None:
    out = await run
    assert out["status"].tolist() == ["completed"] * 30


def test_a_retry_that_cannot_begin_leaves_the_run_as_it_was(sandbox: Sandbox) -> None:
    """The result is still there, the dashboard and the repr show the error, and the next retry is part of the run."""
    sandbox.change(fail_when=lambda inputs: inputs["prompt"] == "p1")
    run = frame(3).eachlabs.start(WF, ["prompt"])
    dashboard = run.dashboard(auto_refresh=False)
    first = run.result()
    sandbox.faults(Fault("unauthorized", on="any"))
    until(lambda: not button(dashboard, "Retry failed").disabled)
    click(dashboard, "Retry failed")
    click(dashboard, "Retry 1")
    pd.testing.assert_frame_equal(run.result(timeout=120), first)
    assert "AuthenticationError" in repr(run)
    assert "1 failed" in repr(run)
    until(lambda: "AuthenticationError" in (shown(dashboard)["head"].get("problem") or ""))
    sandbox.faults()
    sandbox.change(fail_when=None)
    until(lambda: not button(dashboard, "Retry failed").disabled)
    click(dashboard, "Retry failed")
    click(dashboard, "Retry 1")
    assert run.result(timeout=120)["status"].tolist() == ["completed"] * 3
    assert sandbox.accepted_count() == 4


def test_what_a_dashboard_sees_after_the_end_is_in_the_run(sandbox: Sandbox) -> None:
    """Of a run that has only sent: its frame and status follow the looks, and it stays done."""
    sandbox.change(hold=True)
    run = frame(3).eachlabs.start(WF, track=False)
    run.result()
    dashboard = run.dashboard(auto_refresh=True, interval=0.2)
    sandbox.change(hold=False)
    sandbox.release()
    until(lambda: run.status == {"completed": 3})
    assert run.done
    assert run.result(timeout=120)["status"].tolist() == ["completed"] * 3
    dashboard.close()


def test_a_retry_that_cannot_be_is_said(sandbox: Sandbox) -> None:
    """A frame does not remember a function that made its inputs: nothing is sent, and the dashboard says why."""
    sandbox.change(fail_when=lambda inputs: True)
    out = frame(3).eachlabs.bulk_trigger(WF, lambda row: {"prompt": row["prompt"]}, wait=True)
    dashboard = out.eachlabs.dashboard(auto_refresh=False)
    click(dashboard, "Retry failed")
    click(dashboard, "Retry 3")
    until(lambda: "inputs=" in (shown(dashboard)["head"].get("problem") or ""))
    assert sandbox.accepted_count() == 3
    dashboard.close()


def test_a_frame_is_followed_until_all_is_settled(sandbox: Sandbox) -> None:
    """In the background; the frame that was given is not written."""
    sandbox.change(hold=True)
    out = frame(40).eachlabs.bulk_trigger(WF)
    dashboard = out.eachlabs.dashboard(auto_refresh=True, interval=0.2)
    until(lambda: shown(dashboard)["head"]["counts"] == {"running": 40})
    sandbox.change(hold=False)
    sandbox.release()
    until(lambda: shown(dashboard)["head"]["phase"] == "settled")
    assert set(out["status"]) == {"queued"}
    assert set(dashboard.frame["status"]) == {"completed"}
    until(lambda: counts(shown(dashboard)) == {"completed": 40})
    dashboard.close()


def test_a_click_looks_once(sandbox: Sandbox) -> None:
    """Without auto-refresh nothing is asked by itself."""
    sandbox.change(hold=True)
    out = frame(10).eachlabs.bulk_trigger(WF)
    dashboard = out.eachlabs.dashboard(auto_refresh=False)
    looks = len(sandbox.requests)
    sandbox.change(hold=False)
    sandbox.release()
    assert len(sandbox.requests) == looks
    click(dashboard, "Refresh")
    until(lambda: shown(dashboard)["head"]["counts"] == {"completed": 10})
    assert len(sandbox.requests) == looks + 1
    dashboard.close()


def test_a_network_that_is_gone_makes_it_stale_not_dead(sandbox: Sandbox) -> None:
    """It says since when, and goes on when answers come again."""
    sandbox.change(hold=True)
    out = frame(10).eachlabs.bulk_trigger(WF)
    dashboard = out.eachlabs.dashboard(auto_refresh=True, interval=0.2)
    sandbox.faults(Fault("dropped", on="any"))
    until(lambda: shown(dashboard)["head"].get("stale_since") is not None)
    sandbox.faults()
    until(lambda: shown(dashboard)["head"]["stale_since"] is None)
    sandbox.change(hold=False)
    sandbox.release()
    until(lambda: shown(dashboard)["head"]["phase"] == "settled")
    dashboard.close()


def test_an_api_that_refuses_ends_the_looking_and_says_so(sandbox: Sandbox) -> None:
    """A click tries again."""
    sandbox.change(hold=True)
    out = frame(10).eachlabs.bulk_trigger(WF)
    dashboard = out.eachlabs.dashboard(auto_refresh=True, interval=0.2)
    sandbox.release(4)
    until(lambda: counts(shown(dashboard)).get(COMPLETED) == 4)
    sandbox.faults(Fault("unauthorized", on="list"))
    until(lambda: "AuthenticationError" in (shown(dashboard)["head"].get("problem") or ""))
    until(lambda: not any(thread.name == "eachlabs-run" for thread in threading.enumerate()))
    looks = len(sandbox.requests)
    assert dashboard.frame["status"].tolist().count("completed") == 4
    assert counts(shown(dashboard)).get(COMPLETED) == 4
    sandbox.faults()
    sandbox.change(hold=False)
    sandbox.release()
    assert len(sandbox.requests) == looks
    click(dashboard, "Refresh")
    until(lambda: shown(dashboard)["head"]["counts"] == {"completed": 10})
    assert shown(dashboard)["head"]["problem"] is None
    dashboard.close()


def test_a_closed_dashboard_looks_no_more_and_its_run_goes_on(sandbox: Sandbox) -> None:
    """The run is its user's."""
    sandbox.change(hold=True)
    run = frame(10).eachlabs.start(WF)
    dashboard = run.dashboard()
    dashboard.close()
    assert not run.done
    sandbox.change(hold=False)
    sandbox.release()
    assert run.result()["status"].tolist() == ["completed"] * 10


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf"), "2", None, True])
def test_an_interval_that_is_none_is_refused(interval: Any) -> None:
    """Before anything is shown."""
    with pytest.raises(ef.ConfigurationError, match="interval"):
        frame(1).eachlabs.dashboard(interval=interval)
