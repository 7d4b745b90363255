"""Tests of the dashboard in JupyterLab, whose counts are compared with those of the sandbox."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from .notebook import PANEL, Notebook

pytestmark = pytest.mark.browser

Open = Callable[..., Notebook]

START = """
import pandas as pd, eachlabs_frames as ef
ef.configure(journal="journal.sqlite")
sandbox = ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0), {options})
df = pd.DataFrame({{"prompt": [f"p{{row}}" for row in range({rows})]}}, index=[f"row {{row}}" for row in range({rows})])
"""
SHOW = """
run = df.eachlabs.start("wf_abc123", run="seen", max_concurrency=2)
dashboard = run.dashboard(interval=0.3)
dashboard
"""
BLOCK = """
import pathlib, time
pathlib.Path("blocking").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.01)
"""

FAKE = """
import pandas as pd, eachlabs_frames as ef, threading
from eachlabs_frames.models import Event, Outcome
from eachlabs_frames.views.dashboard.widget import Dashboard

class Subject:
    can_cancel = False
    frame = None
    interval = 2.0

    def __init__(self, rows):
        self.rows = rows
        self.labels = [f"row {outcome.position}" for outcome in rows]

    def titles(self, rows):
        return [f"prompt {row}" for row in rows]

    def searchable(self):
        return self.titles(range(len(self.rows)))

    def add_view(self, view):
        self.view = view

    def outcomes(self, view, meanwhile):
        meanwhile()
        return self.rows

    def head(self):
        return {"workflow": "wf_abc123", "version": "v2", "run": "made up", "phase": "tracking"}

    def refresh(self): ...
    def follow(self, view, on): ...
    def cancel(self): ...
    def retry(self, rows): ...
    def remove_view(self, view): ...

    def happen(self, rows, **changes):
        changed = tuple(self.rows[row]._replace(**changes) for row in rows)
        for outcome in changed:
            self.rows[outcome.position] = outcome
        self.view.on_event(Event("refreshed", len(self.rows), 0, len(self.rows), {}, changed))
"""


def run(notebook: Notebook) -> None:
    """Run all cells, and assert that none has raised an error."""
    notebook.run_all()
    cells = range(notebook.page.locator(".jp-Notebook .jp-Cell").count())
    assert [
        notebook.output_text(cell) for cell in cells for output in notebook.outputs(cell) if "ename" in output
    ] == []


def count(notebook: Notebook, status: str) -> int:
    """Return the number of rows with this status in the legend."""
    return int(notebook.page.locator(f".elf-legend [data-status={status}] .elf-count").inner_text().replace(",", ""))


def wait_for(notebook: Notebook, status: str, rows: str) -> None:
    """Wait until the legend's count satisfies a comparison such as ``>= 20``."""
    notebook.page.wait_for_function(
        f"""() => {{
            const text = document.querySelector(".elf-legend [data-status={status}] .elf-count")?.textContent
            return text !== undefined && Number(text.replace(",", "")) {rows}
        }}""",
        timeout=120_000,
    )


def phase(notebook: Notebook, name: str) -> None:
    """Wait until the dashboard shows this phase."""
    expect(notebook.page.locator(".elf-phase")).to_have_attribute("data-phase", name, timeout=120_000)


def button(notebook: Notebook, text: str | re.Pattern[str]) -> Locator:
    """Return the button above the dashboard with this text."""
    return notebook.page.locator(".eachlabs-dashboard-box button.jupyter-button", has_text=text)


def lines(notebook: Notebook) -> Locator:
    """Return the lines that are currently in the page."""
    return notebook.page.locator(".elf-line")


def release(notebook: Notebook) -> None:
    """Let the executions complete that the sandbox holds."""
    notebook.evaluate("1", setup="sandbox.change(hold=False); sandbox.release()")


def test_dashboard_follows_a_run_of_two_hundred_rows(open_notebook: Open) -> None:
    """The counts change as rows are sent and settle, and finally equal the sandbox's; static HTML is stored too."""
    notebook = open_notebook([START.format(rows=200, options="hold=True, latency=5.0"), SHOW])
    run(notebook)
    wait_for(notebook, "pending", "> 0")
    notebook.screenshot("sending")
    notebook.evaluate("1", setup="sandbox.change(latency=0.0)")
    wait_for(notebook, "pending", "== 0")
    assert count(notebook, "completed") == 0
    release(notebook)
    phase(notebook, "settled")
    assert count(notebook, "completed") == 200 == notebook.evaluate("sandbox.accepted_count()")
    expect(lines(notebook).first).to_contain_text("10")
    expect(notebook.page.locator("[data-metric=cost]")).to_contain_text("$2.00")
    expect(notebook.page.locator(".elf-run")).to_contain_text("seen")
    notebook.screenshot("settled")
    shown, _ = notebook.outputs(1)  # the static HTML, and the widget
    assert "wf_abc123" in "".join(shown["data"]["text/html"])


@pytest.mark.once
def test_cancel_button_stops_the_run(open_notebook: Open) -> None:
    """Nothing more is sent, accepted executions are tracked until they settle, and the counts equal the sandbox's."""
    notebook = open_notebook([START.format(rows=200, options="hold=True, latency=3.0"), SHOW])
    run(notebook)
    wait_for(notebook, "pending", "<= 180")
    button(notebook, "Cancel").click()
    expect(button(notebook, "Cancel")).to_be_disabled(timeout=120_000)
    notebook.evaluate("1", setup="sandbox.change(latency=0.0)")
    release(notebook)
    phase(notebook, "cancelled")
    accepted = notebook.evaluate("sandbox.accepted_count()")
    assert 20 <= accepted < 200
    assert count(notebook, "completed") == accepted
    assert count(notebook, "pending") == 200 - accepted
    assert notebook.evaluate("int(run.result()['execution_id'].notna().sum())") == accepted
    expect(notebook.page.locator(".elf-errors")).to_contain_text("not sent")
    notebook.screenshot("cancelled")


@pytest.mark.once
def test_retry_of_failed_rows_requires_confirmation(open_notebook: Open) -> None:
    """The question states the number of rows and that they cost money; only a confirmed retry sends them."""
    failing = "fail_when=lambda inputs: inputs['prompt'] in {'p3', 'p17', 'p41'}"
    notebook = open_notebook([START.format(rows=60, options=failing), SHOW])
    run(notebook)
    phase(notebook, "settled")
    assert count(notebook, "failed") == 3
    question = notebook.page.locator(".elf-confirm")
    expect(question).to_be_hidden()
    button(notebook, "Retry failed").click()
    expect(question).to_contain_text("3 failed rows")
    expect(question).to_contain_text("paid for")
    expect(button(notebook, "Do not retry")).to_be_focused()
    notebook.screenshot("question")
    button(notebook, "Do not retry").click()
    expect(question).to_be_hidden()
    assert notebook.evaluate("sandbox.accepted_count()") == 60
    notebook.evaluate("1", setup="sandbox.change(fail_when=None)")
    button(notebook, "Retry failed").click()
    button(notebook, "Retry 3 failed rows").click()
    wait_for(notebook, "completed", "== 60")
    assert notebook.evaluate("sandbox.accepted_count()") == 63
    assert notebook.evaluate("int(dashboard.frame['execution_id'].nunique())") == 60
    expect(button(notebook, "Retry failed")).to_be_disabled()


def test_dashboard_updates_while_another_cell_blocks(open_notebook: Open) -> None:
    """The counts change while a cell blocks the kernel, and queued cells run afterwards."""
    cells = [START.format(rows=100, options="latency=3.0"), SHOW, BLOCK, "'next cell'"]
    notebook = open_notebook(cells)
    notebook.run_cell(0)
    notebook.run_cell(1)
    before = count(notebook, "completed")
    notebook.run_cell(2, wait=False)
    notebook.run_cell(3, wait=False)
    wait_for(notebook, "completed", f"> {before}")
    phase(notebook, "settled")
    assert count(notebook, "completed") == 100
    assert notebook.is_running(2)
    (notebook.path.parent / "go").touch()
    notebook.finish_cell(3)
    assert "next cell" in notebook.output_text(3)


@pytest.mark.once
def test_dashboard_is_restored_after_a_reload(open_notebook: Open) -> None:
    """A reloaded page shows the same counts and receives further updates."""
    notebook = open_notebook([START.format(rows=100, options="hold=True"), SHOW])
    run(notebook)
    wait_for(notebook, "pending", "== 0")
    notebook.save()
    notebook.reload()
    wait_for(notebook, "completed", "== 0")
    expect(lines(notebook).first).to_be_visible()
    release(notebook)
    phase(notebook, "settled")
    assert count(notebook, "completed") == 100


@pytest.mark.once
def test_saved_notebook_shows_the_last_snapshot(open_notebook: Open) -> None:
    """Reopened with a new kernel, it shows the same counts, lines and opened rows without errors."""
    notebook = open_notebook([START.format(rows=60, options=""), SHOW])
    run(notebook)
    phase(notebook, "settled")
    lines(notebook).first.locator(".elf-expand").click()
    expect(notebook.page.locator(".elf-row")).to_have_count(10)
    stored = notebook.save(widgets=True)
    states = stored["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    (snapshot,) = [model["state"]["snapshot"] for model in states if "snapshot" in model["state"]]
    assert snapshot["head"]["counts"] == {"completed": 60}
    picture = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 3 2"><rect width="3" height="2" fill="teal"/></svg>'
    notebook.page.route("**/media/**", lambda route: route.fulfill(content_type="image/svg+xml", body=picture))
    notebook.reopen()  # which also ends the sandbox that served the pictures
    wait_for(notebook, "completed", "== 60")
    expect(notebook.page.locator(".elf-row")).to_have_count(10)
    expect(notebook.page.locator(".elf-notice")).to_contain_text("No kernel is connected")
    notebook.page.locator("[aria-posinset='2'] .elf-expand").click()
    expect(notebook.page.locator("[aria-posinset='2'] .elf-message")).to_have_text(
        "showing rows needs a running kernel"
    )
    notebook.screenshot("reopened")


@pytest.mark.parametrize("end", ["dies", "is shut down", "is started again"])
def test_dashboard_reports_a_missing_kernel(open_notebook: Open, end: str) -> None:
    """The last state stays visible, with a notice, and the elapsed time stops."""
    notebook = open_notebook([START.format(rows=20, options="hold=True"), SHOW])
    run(notebook)
    wait_for(notebook, "pending", "== 0")
    pid = notebook.evaluate("__import__('os').getpid()")
    if end == "dies":
        os.kill(pid, signal.SIGKILL)
    elif end == "is shut down":
        notebook.page.evaluate(f"() => {PANEL}.sessionContext.shutdown()")
    else:
        notebook.page.evaluate(f"() => {PANEL}.sessionContext.session.kernel.restart()")
    notebook.page.clock.set_fixed_time(1000 * (time.time() + 3600))
    expect(notebook.page.locator(".elf-notice")).to_contain_text("No kernel is connected")
    expect(notebook.page.locator("[data-metric=elapsed]")).to_have_text(re.compile(r"^0:\d\d$"))
    expect(lines(notebook)).to_have_count(2)
    assert count(notebook, "pending") == 0


@pytest.mark.once
def test_updates_are_small_on_the_websocket(open_notebook: Open) -> None:
    """An update of 100 of 1,000 lines takes at most 3 messages with 3 KiB in total."""
    show = """
subject = Subject([Outcome(row, "queued", f"{row // 10:032x}", f"{row:032x}") for row in range(10_000)])
dashboard = Dashboard(subject, subject, auto_refresh=False, interval=2.0)
dashboard
"""
    notebook = open_notebook([FAKE, show])
    run(notebook)
    expect(notebook.page.locator(".elf-shown")).to_have_text("showing 1,000 of 1,000")
    for turn in range(5):
        notebook.frames.clear()
        rows = [(turn * 100 + line) * 10 + row for line in range(100) for row in range(4)]
        notebook.evaluate("1", setup=f"subject.happen({rows}, status='completed')")
        wait_for(notebook, "completed", f"== {400 * (turn + 1)}")
        frames = [frame for frame in notebook.received() if frame.content["data"].get("method") == "custom"]
        assert 1 <= len(frames) <= 3
        assert sum(frame.size for frame in frames) <= 3 * 1024, [frame.size for frame in frames]
        assert json.loads(json.dumps(frames[0].content["data"]["content"]["kind"])) == "update"


@pytest.mark.once
def test_dashboard_is_operable_by_keyboard(open_notebook: Open) -> None:
    """Arrow keys move between lines, Enter opens one, and no key reaches the notebook."""
    notebook = open_notebook([START.format(rows=60, options=""), SHOW])
    page = notebook.page
    run(notebook)
    phase(notebook, "settled")
    page.locator("[aria-posinset='1'] .elf-expand").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("[aria-posinset='3'] .elf-expand")).to_have_attribute("aria-expanded", "true")
    expect(page.locator("[aria-posinset='3'] .elf-row")).to_have_count(10)
    page.keyboard.press("d")
    page.keyboard.press("d")
    assert notebook.page.locator(".jp-Notebook .jp-Cell").count() == 2
