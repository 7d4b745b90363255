"""Tests of the views in the example notebooks after Run All, and in a notebook that is reopened later."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .lab import SCREENSHOTS, Lab
from .notebook import Notebook

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"
PICTURES = {"dashboard": 0, "pipeline": 6, "prompt_sweep": 37, "quickstart": 4}
"""The number of pictures in the live views of each notebook; crash_and_resume has no views."""

MAX_ADDED = 500_000
"""The maximum number of bytes that a view adds to the notebook's file."""

START = """
import shutil, tempfile
import eachlabs_frames as ef
sandbox = ef.sandbox.start(seed=13, queue_seconds=0.0, run_seconds=(0.0, 0.2), failure_rate=0.1)
grid = ef.sweep(prompt=["A fox asleep", "Two herons", "An octopus"], style=["photo", "linocut"], seed=range(2))
out = grid.eachlabs.bulk_trigger("wf_abc123", run="first", wait=True)
other = grid.eachlabs.bulk_trigger("wf_abc123", run="second", wait=True, retrigger=True, progress=False)
folder = tempfile.mkdtemp()
out = out.eachlabs.download(folder, name="a-{row}")
other = other.eachlabs.download(folder, name="b-{row}", progress=False)
"""
VIEWS = {  # each is one cell
    "dashboard": "run = grid.eachlabs.start('wf_abc123', run='third', retrigger=True, progress=False)\nrun.dashboard()",
    "gallery": "out.eachlabs.gallery(columns=6, size=150)",
    "matrix": "out.eachlabs.matrix(rows='prompt', columns='style', by='seed', size=120)",
    "rating": "rating = out.eachlabs.rate(column='score')\nrating",
    "comparison": "ef.compare(out, other, by=['prompt', 'style', 'seed'], random_state=1)",
}
TEXTS = {
    "dashboard": "all settled",
    "gallery": "12 rows",
    "matrix": "Two herons",
    "rating": "1 of 11 rated",
    "comparison": "pairs judged, blind",
}
END = """
run.result()
sandbox.stop()
shutil.rmtree(folder)
slow = ef.sandbox.start(run_seconds=(900.0, 900.0))
"""
SLOW = "grid.eachlabs.bulk_trigger('wf_abc123', run='fourth', wait=True, retrigger=True)"

# Scrolls through the whole page, so that lazily rendered elements are rendered.
SCROLL = """async () => {
    const pause = () => new Promise(done => setTimeout(done, 60))
    const scroller = document.querySelector('.jp-WindowedPanel-outer')
    for (let top = 0; top < scroller.scrollHeight; top += 300) { scroller.scrollTop = top; await pause() }
    for (const seen of document.querySelectorAll('.elf-medium, .jp-OutputArea img')) {
        seen.scrollIntoView({block: 'center'})
        await pause()
    }
}"""
UNPAINTED = """() => {
    const pictures = '.jp-OutputArea img, .jp-OutputArea .elf-medium[data-kind=image], .jp-OutputArea .elf-placeholder'
    const isPainted = node => node.matches('img') ? node.complete && node.naturalWidth > 0 : node.querySelector('img')
    return [...document.querySelectorAll(pictures)]
        .filter(node => node.checkVisibility() && !isPainted(node)).map(node => node.outerHTML.slice(0, 200))
}"""


def see_all(notebook: Notebook) -> None:
    """Scroll through the notebook, and wait until every picture in its outputs is painted."""
    notebook.page.evaluate(SCROLL)
    notebook.page.wait_for_function(f"() => ({UNPAINTED})().length === 0", timeout=120_000)


def screens(notebook: Notebook, name: str) -> None:
    """Store screenshots in both themes and two widths, if a folder for screenshots is set."""
    if not SCREENSHOTS:
        return
    for theme in ("Light", "Dark"):
        notebook.set_theme(f"JupyterLab {theme}")
        for width in (700, 1440):
            notebook.page.set_viewport_size({"width": width, "height": 3600})
            see_all(notebook)
            notebook.screenshot(f"{name}-{theme.lower()}-{width}")


@pytest.mark.parametrize("name", PICTURES)
def test_run_all_shows_every_picture(name: str, lab: Lab, open_file: Callable[..., Notebook]) -> None:
    """After Run All the views of all cells show their pictures, including those that were scrolled out of view."""
    folder = lab.folder / "work" / "notebooks"
    folder.mkdir(exist_ok=True)
    notebook = open_file(Path(shutil.copy(NOTEBOOKS / f"{name}.ipynb", folder)))
    notebook.page.set_default_timeout(240_000)  # a notebook takes a minute on a loaded machine
    notebook.command("notebook:clear-all-cell-outputs")
    notebook.run_all()
    see_all(notebook)
    assert notebook.page.locator(".elf-medium[data-kind=image] img:visible").count() == PICTURES[name]
    assert notebook.page.locator(".eachlabs-static:visible").count() == 0
    screens(notebook, f"run-all-{name}")


def test_reopened_notebook_shows_static_views(lab: Lab, open_notebook: Callable[..., Notebook]) -> None:
    """Without a kernel, widget state or files, each view is shown once as static HTML."""
    from playwright.sync_api import expect

    notebook = open_notebook([START, *VIEWS.values(), END, SLOW], "views")
    last = len(VIEWS) + 2
    for cell in range(last):
        notebook.run_cell(cell)
    see_all(notebook)
    expect(notebook.page.locator(".eachlabs-static:visible")).to_have_count(0)
    notebook.page.locator(".elf-stepper").first.locator(".elf-step-label").click()
    notebook.page.keyboard.press("4")
    expect(notebook.output(4).locator(".eachlabs-static")).to_contain_text("1 of 11 rated")
    expect(notebook.output(1).locator(".eachlabs-static")).to_contain_text("all settled")
    screens(notebook, "today")
    notebook.run_cell(last, wait=False)
    expect(notebook.output(last).locator(".widget-hprogress")).to_be_visible()
    stored = notebook.save()
    assert "widgets" not in stored["metadata"]
    assert max(len(json.dumps(cell["outputs"])) for cell in stored["cells"]) < MAX_ADDED
    notebook.close()
    lab.restart()

    reopened = lab.open_file(notebook.path)
    try:
        errors = reopened.page.get_by_text("model not found")
        expect(errors).to_have_count(len(VIEWS) + 1)  # they are in the page, but hidden
        assert errors.evaluate_all("nodes => nodes.map(node => getComputedStyle(node).display)") == ["none"] * 6
        for cell, text in enumerate(TEXTS.values(), start=1):
            expect(reopened.output(cell).locator(".eachlabs-static")).to_be_visible()
            expect(reopened.output(cell)).to_contain_text(text)
        expect(reopened.output(0)).to_contain_text("12/12")
        expect(reopened.output(last).locator(".eachlabs-static")).to_be_visible()
        expect(reopened.output(last)).to_contain_text("eachlabs: running when this notebook was saved")
        see_all(reopened)
        assert reopened.page.locator(".jp-OutputArea img:visible").count() == 22
        assert [problem for problem in reopened.problems if "widget model not found" not in problem] == []
        screens(reopened, "tomorrow")
    finally:
        reopened.close()
