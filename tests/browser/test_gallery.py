"""Tests of the gallery in JupyterLab, during a run and with downloaded files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .lab import AXE
from .notebook import Notebook

pytestmark = pytest.mark.browser

Open = Callable[..., Notebook]

NASTY = "<img src=x onerror='window.ran=1'><script>window.ran=1</script>"
START = f"""
import eachlabs_frames as ef
sandbox = ef.sandbox.start(hold=True, fail_when=lambda inputs: inputs["seed"] == 3)
prompts = ["a fox in the snow, at dusk, seen from above by a very tired owl", {NASTY!r}]
sweep = ef.sweep(prompt=prompts, style=["noir", "ink"], seed=range(4))
run = sweep.eachlabs.start("wf_abc123")
run.interval = 0.2
"""
SHOW = "sheet = run.gallery()\nsheet"
RELEASE = """
import time
while len(sandbox.accepted) < 16:
    time.sleep(0.01)
sandbox.release(6)
"""
END = "sandbox.change(hold=False)\nsandbox.release()\nout = run.result(timeout=120)"
DISK = """
out = out.eachlabs.download("pictures", progress=False)
sandbox.stop()
kept = out.eachlabs.gallery(columns=5, size=180, page=10)
kept
"""
SHOWN = """([cell, status, rows]) => {
    const output = document.querySelectorAll(".jp-Notebook .jp-Cell")[cell]
    return output.querySelectorAll(`.elf-card[data-status=${status}]`).length === rows
}"""


def wait_for(notebook: Notebook, cell: int, status: str, rows: int) -> None:
    """Wait until the gallery of a cell has this number of cards with a status."""
    notebook.page.wait_for_function(SHOWN, arg=[cell, status, rows], timeout=30_000)


def test_gallery_updates_during_a_run(open_notebook: Open) -> None:
    """It continues after a reload of the page, and a notebook reopened without its kernel shows the last state."""
    notebook = open_notebook([START, SHOW, RELEASE, END])
    page = notebook.page
    for cell in (0, 1, 2):
        notebook.run_cell(cell)
    wait_for(notebook, 1, "completed", 5)
    wait_for(notebook, 1, "failed", 1)
    output = notebook.output(1)
    picture = output.locator(".elf-card img").first
    expect(picture).to_have_js_property("naturalWidth", 512)
    picture.click()
    viewer = output.locator(".elf-viewer")
    expect(viewer.locator(".elf-facts")).to_contain_text("very tired owl")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(viewer.locator(".elf-viewer-title")).to_contain_text("noir · seed 3")
    expect(viewer.locator(".elf-facts .elf-error")).not_to_be_empty()
    notebook.screenshot("gallery-enlarged")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    notebook.save()
    notebook.reload()
    wait_for(notebook, 1, "completed", 5)
    notebook.run_cell(3)
    wait_for(notebook, 1, "completed", 12)
    wait_for(notebook, 1, "failed", 4)
    stored = notebook.save(widgets=True)
    states = stored["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    (snapshot,) = [model["state"]["snapshot"] for model in states if "snapshot" in model["state"]]
    assert [card["label"] for card in snapshot["cards"]] == notebook.evaluate(
        "sheet._cards.labels(range(len(sheet._cards)))"
    )
    assert "<figure" in json.dumps(stored["cells"][1]["outputs"])
    assert page.evaluate("window.ran ?? null") is None
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 3 2"><rect width="3" height="2" fill="teal"/></svg>'
    page.route("**/media/**", lambda route: route.fulfill(content_type="image/svg+xml", body=svg))
    notebook.reopen()  # which also ends the sandbox that served the pictures
    wait_for(notebook, 1, "completed", 12)
    expect(notebook.page.locator(".elf-notice")).to_contain_text("No kernel is connected")


@pytest.mark.once
def test_downloaded_outputs_are_shown_from_disk(open_notebook: Open) -> None:
    """They are shown although their URLs are no longer served; axe-core, if set, finds no serious violation."""
    notebook = open_notebook([START.replace("hold=True, ", ""), "out = run.result(timeout=120)", DISK], width=1500)
    notebook.run_all()
    assert [output["ename"] for cell in range(3) for output in notebook.outputs(cell) if "ename" in output] == []
    output = notebook.output(2)
    output.locator(".elf-card").first.scroll_into_view_if_needed()
    first = output.locator(".elf-card img").first
    expect(first).to_have_js_property("naturalWidth", 512)
    assert (first.get_attribute("src") or "").startswith("data:image/svg+xml")
    output.locator(".elf-later").click()
    expect(output.locator(".elf-card")).to_have_count(6)
    expect(output.locator(".elf-card img").first).to_have_js_property("naturalWidth", 512)
    for theme, width in (("JupyterLab Light", 1500), ("JupyterLab Dark", 700)):
        notebook.set_theme(theme)
        notebook.page.set_viewport_size({"width": width, "height": 900})
        notebook.screenshot(f"gallery-lab-{width}")
        found = [] if AXE is None else notebook.violations(Path(AXE), ".eachlabs-gallery-box")
        serious = [violation for violation in found if violation["impact"] in ("serious", "critical")]
        assert [(violation["id"], [node["html"] for node in violation["nodes"]]) for violation in serious] == []
    assert notebook.page.evaluate("window.ran ?? null") is None
