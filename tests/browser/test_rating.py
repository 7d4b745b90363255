"""Tests of rating and comparing in JupyterLab by keyboard and mouse, without triggering the notebook's shortcuts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from .notebook import PANEL, Notebook

pytestmark = pytest.mark.browser

Open = Callable[..., Notebook]

START = """
import pandas as pd, eachlabs_frames as ef
ef.configure(journal="journal.sqlite")
failing = lambda inputs: inputs["prompt"].startswith("no")
sandbox = ef.sandbox.start(queue_seconds=0.0, run_seconds=(0.0, 0.0), fail_when=failing)
prompts = ["a fox in the snow", "<img src=x onerror='window.ran=1'>", "no way", "a heron", "a lighthouse", "a cat"]
df = pd.DataFrame({"prompt": prompts, "style": ["noir", "ink"] * 3})
out = df.eachlabs.bulk_trigger("wf_abc123", wait=True, progress=False)
"""
RATE = """
rating = out.eachlabs.rate(label=["prompt", "style"])
rating
"""
COMPARE = """
other = df.eachlabs.bulk_trigger("wf_abc123", wait=True, progress=False, run="the second run")
comparison = ef.compare(out, other, by=["prompt", "style"], names=("plain", "with a longer name"), random_state=1)
comparison
"""
BLOCK = """
import pathlib, time
while not pathlib.Path("go").exists():
    time.sleep(0.01)
"""
SCORES = "[None if pd.isna(score) else int(score) for score in out['score']]"


def stepper(notebook: Notebook) -> Locator:
    """Return the rating or comparison widget."""
    return notebook.page.locator(".elf-stepper")


def button(notebook: Notebook, text: str) -> Locator:
    """Return a button of the widget by its accessible name."""
    return stepper(notebook).get_by_role("button", name=text, exact=True)


def press(notebook: Notebook, *keys: str) -> None:
    """Press keys one after the other on the focused element."""
    for key in keys:
        notebook.page.keyboard.press(key)


def cells(notebook: Notebook) -> list[str]:
    """Return each cell's type and source, which a shortcut of the notebook would change."""
    found: list[str] = notebook.page.evaluate(
        f"() => {PANEL}.content.widgets.map(cell => cell.model.type + ': ' + cell.model.sharedModel.getSource())"
    )
    return found


def wait_for_place(notebook: Notebook, text: str) -> None:
    """Wait until the kernel has processed all marks and the widget shows this place."""
    expect(stepper(notebook)).to_have_attribute("data-waiting", "0")
    expect(stepper(notebook).locator(".elf-step-place")).to_have_text(text)


def screenshot(notebook: Notebook, name: str) -> None:
    """Store a screenshot of the widget, if a folder for screenshots is set."""
    stepper(notebook).scroll_into_view_if_needed()
    notebook.screenshot(name)


def serious_violations(notebook: Notebook, axe: Path) -> list[str]:
    """Return the serious and critical violations that axe-core reports for the widget."""
    found = notebook.violations(axe, ".elf-stepper")
    serious = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    return [f"{violation['id']}: {violation['help']}" for violation in serious]


def test_results_are_rated_by_keyboard(open_notebook: Open, axe: Path) -> None:
    """Scores, arrows and undo change the frame at once, and no key reaches the notebook."""
    notebook = open_notebook([START, RATE, "'last'"], width=1500, height=1000)
    notebook.run_all()
    wait_for_place(notebook, "1 of 5")
    before = cells(notebook)
    stepper(notebook).locator(".elf-step-label").click()
    expect(stepper(notebook)).to_be_focused()
    press(notebook, "4", "5", "d", "d", "x", "a", "m", "1")
    wait_for_place(notebook, "4 of 5")
    assert notebook.evaluate(SCORES) == [4, 5, None, 1, None, None]
    screenshot(notebook, "rating")
    press(notebook, "ArrowLeft", "ArrowLeft", "2", "u", "Control+z", "Backspace")
    wait_for_place(notebook, "2 of 5")
    assert notebook.evaluate(SCORES) == [4, None, None, None, None, None]
    press(notebook, "ArrowLeft", "0", "End")
    expect(stepper(notebook).locator(".elf-step-end-title")).to_have_text("5 results not rated yet")
    expect(stepper(notebook)).to_have_attribute("data-waiting", "0")  # shown before the kernel has handled the keys
    assert notebook.evaluate("[str(out['score'].dtype), int(out['score'].isna().sum())]") == ["Int64", 6]
    press(notebook, "Home", "3", "ArrowRight", "n")
    wait_for_place(notebook, "4 of 5")
    assert cells(notebook) == before
    assert notebook.page.evaluate("() => window.ran ?? null") is None
    assert serious_violations(notebook, axe) == []


def run_by_keys(notebook: Notebook, index: int, keys: str) -> None:
    """Click into a cell's editor, press the keys that run it, and wait until its widget has the focus."""
    cell = notebook.page.locator(".jp-Notebook .jp-Cell").nth(index)
    cell.locator(".cm-content").click()
    notebook.page.keyboard.press(keys)
    expect(cell.locator(".elf-stepper")).to_be_focused()


def has_focus(notebook: Notebook) -> bool:
    """Return whether the focus is inside a widget."""
    return bool(notebook.page.evaluate("() => document.activeElement?.closest('.elf-stepper') != null"))


def fits(notebook: Notebook, index: int) -> bool:
    """Return whether the whole widget of a cell is inside the visible part of the notebook."""
    found: bool = notebook.page.evaluate(
        """index => {
            const widget = document.querySelectorAll('.jp-Notebook .jp-Cell')[index].querySelector('.elf-stepper')
            const seen = widget.getBoundingClientRect()
            const panel = widget.closest('.jp-WindowedPanel-outer').getBoundingClientRect()
            return seen.top > panel.top - 1 && seen.bottom < panel.bottom + 1
        }""",
        index,
    )
    return found


KEYS = [*"00iiddaabbxxyymmcvzrnust=123456789", "Home", "End", "PageUp", "PageDown", "ArrowLeft", "ArrowRight"]
KEYS += ["Backspace", "Delete", "Enter", "Space", "ArrowUp", "ArrowDown", "Shift+Enter", "Control+z"]
"""The keys of both views, and the shortcuts of JupyterLab's notebooks."""


@pytest.mark.once
def test_widget_takes_the_focus_only_if_its_cell_is_run_alone(open_notebook: Open) -> None:
    """It is then wholly visible; Run All and an editor in use keep the focus, and keys never leave a widget."""
    notebook = open_notebook([START, COMPARE, BLOCK + RATE, RATE], width=1440, height=800)
    page = notebook.page
    (notebook.path.parent / "go").touch()
    notebook.run_all()
    expect(stepper(notebook)).to_have_count(3)
    assert not has_focus(notebook)
    for index, keys in ((1, "Control+Enter"), (3, "Shift+Enter")):  # which adds a cell behind the last one
        run_by_keys(notebook, index, keys)
        assert fits(notebook, index)
        notebook.screenshot(f"focus-{index}")
        before = cells(notebook)
        widget = page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".elf-stepper")
        press(notebook, *KEYS)
        widget.get_by_role("button", name="Undo").click()
        press(notebook, *KEYS, "End", *KEYS[:2], "End")
        widget.locator(".elf-step-end .elf-step-button").first.click()
        press(notebook, *KEYS)
        assert has_focus(notebook)
        assert page.locator(".jp-Dialog").count() == 0
        assert cells(notebook) == before
        press(notebook, "Escape")
        assert not has_focus(notebook)
        assert page.evaluate("() => document.activeElement.matches('.jp-Cell')")
    (notebook.path.parent / "go").unlink()
    blocked = page.locator(".jp-Notebook .jp-Cell").nth(2)
    blocked.locator(".cm-content").click()
    press(notebook, "Control+Enter")
    expect(blocked.locator(".elf-stepper")).to_have_count(0)
    page.locator(".jp-Notebook .jp-Cell").nth(4).locator(".cm-content").click()
    page.keyboard.type("d = 0")
    (notebook.path.parent / "go").touch()
    expect(blocked.locator(".elf-stepper")).to_have_count(1)
    page.keyboard.type("0")
    assert cells(notebook)[4] == "code: d = 00"


@pytest.mark.once
def test_results_are_rated_by_mouse(open_notebook: Open, axe: Path) -> None:
    """The buttons work like the keys, also while a cell runs; a reload keeps the place, and the end shows the mean."""
    notebook = open_notebook([START, RATE, BLOCK], width=700, height=1000)
    notebook.set_theme("JupyterLab Dark")
    notebook.run_cell(0)
    notebook.run_cell(1)
    wait_for_place(notebook, "1 of 5")
    button(notebook, "3").click()
    wait_for_place(notebook, "2 of 5")
    screenshot(notebook, "rating-narrow")
    button(notebook, "5").click()
    button(notebook, "Undo").click()
    wait_for_place(notebook, "2 of 5")
    press(notebook, "d", "d", "4")
    wait_for_place(notebook, "3 of 5")
    notebook.save()
    notebook.reload()
    wait_for_place(notebook, "3 of 5")
    expect(stepper(notebook).locator(".elf-step-count")).to_have_text("2 of 5 rated")
    notebook.run_cell(2, wait=False)
    for _ in range(3):
        button(notebook, "5").click()
    expect(stepper(notebook).locator(".elf-step-count")).to_have_text("5 of 5 rated")
    (notebook.path.parent / "go").touch()
    notebook.finish_cell(2)
    expect(stepper(notebook).locator(".elf-step-end-title")).to_have_text("All 5 results rated")
    expect(stepper(notebook).locator(".elf-step-mean")).to_have_text("mean 4.40")
    expect(stepper(notebook)).to_have_attribute("data-waiting", "0")
    assert notebook.evaluate(SCORES) == [3, 4, None, 5, 5, 5]
    assert serious_violations(notebook, axe) == []
    screenshot(notebook, "rated-narrow")


@pytest.mark.once
def test_two_runs_are_compared_blind_and_then_revealed(open_notebook: Open, axe: Path) -> None:
    """Until all pairs are judged the page does not reveal the run of a result; then it shows the win rates."""
    notebook = open_notebook([START, COMPARE, "'last'"], width=1500, height=1000)
    notebook.run_all()
    wait_for_place(notebook, "1 of 5")
    before = cells(notebook)
    screenshot(notebook, "compare")
    executions = notebook.evaluate("[*out['execution_id'].dropna(), *other['execution_id'].dropna()]")
    shown = stepper(notebook).evaluate('node => node.innerText + node.outerHTML.replace(/ src="[^"]*"/g, \'\')')
    assert not any(word in shown for word in [*executions, "plain", "longer name", "second run", "wf_abc123"])
    stepper(notebook).locator(".elf-step-by").click()
    press(notebook, "ArrowLeft", "b", "t", "u", "Space", "s", "PageUp", "1", "=")
    expect(stepper(notebook).locator(".elf-step-end-title")).to_have_text("All 5 pairs judged")
    shares = stepper(notebook).locator(".elf-step-share")
    expect(shares).to_have_count(2)
    expect(shares.first).to_contain_text("plain")
    assert notebook.evaluate("comparison.frame['winner'].notna().all().item()")
    assert notebook.evaluate("int(comparison.summary()['ties'].sum())") == 4
    screenshot(notebook, "compared")
    assert cells(notebook) == before
    assert serious_violations(notebook, axe) == []
    notebook.page.set_viewport_size({"width": 700, "height": 1000})
    notebook.screenshot("compared-narrow")
    press(notebook, "Home")
    wait_for_place(notebook, "1 of 5")
    expect(stepper(notebook).locator(".elf-step-caption").first).to_contain_text("Left: ")
    notebook.screenshot("compare-narrow")
