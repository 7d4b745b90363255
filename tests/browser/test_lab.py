"""Tests of the browser fixtures with other widgets, and of the behaviour of JupyterLab that the views rely on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .lab import Lab
from .notebook import Notebook

pytestmark = pytest.mark.browser

# Blocks the kernel's main thread until the test creates the file.
BLOCK = """
import pathlib, time
while not pathlib.Path("over").exists():
    time.sleep(0.01)
print("over")
"""

SLIDER = """
import threading, time
import ipywidgets
slider = ipywidgets.IntSlider(max=1_000_000)
slider.add_class("the-slider")
def move():
    while slider.value < slider.max:
        slider.value += 1
        time.sleep(0.05)
threading.Thread(target=move, daemon=True).start()
slider
"""

TOY = """
import threading
import anywidget, traitlets
class Toy(anywidget.AnyWidget):
    snapshot = traitlets.Unicode("shown").tag(sync=True)
    _esm = '''
    let heard = []
    const live = model => model.get("layout").comm_live
    export default {
        initialize({model}) { model.on("msg:custom", message => heard.push(message.n)) },
        render({model, el}) {
            const show = () => { el.textContent = [model.get("snapshot"), live(model), heard].join(" ") }
            el.classList.add("the-toy")
            model.on("msg:custom", show)
            model.on("comm_live_update", show)
            model.on("change:snapshot", show)
            show()
        }
    }
    '''
toy = Toy()
toy.send({"n": 1})
def send(*numbers):
    def work():
        for n in numbers:
            toy.send({"n": n})
    threading.Thread(target=work).start()
toy
"""

WIDGETS = "application/vnd.jupyter.widget-state+json"


def test_kernel_uses_this_environment_without_the_machines_settings(
    open_notebook: Callable[..., Notebook], lab: Lab
) -> None:
    """The kernel runs this interpreter, its journal is in the lab's folder, and no API key is set."""
    notebook = open_notebook(["print('hello')\n1 + 1", "1 / 0"])
    notebook.run_all()
    assert notebook.output_text(0) == "hello\n2"
    assert "ZeroDivisionError" in notebook.output_text(1)
    names = notebook.evaluate("{k: v for k, v in os.environ.items() if k.startswith('EACHLABS_')}", setup="import os")
    assert names == {"EACHLABS_JOURNAL": str(lab.folder / "journal.sqlite")}
    assert notebook.evaluate("sys.executable", setup="import sys") == sys.executable


def test_slider_moves_while_a_cell_blocks(open_notebook: Callable[..., Notebook]) -> None:
    """A widget that a kernel thread changes is updated while the main thread is blocked."""
    notebook = open_notebook([SLIDER, BLOCK])
    notebook.run_cell(0)
    slider = notebook.page.locator(".the-slider .widget-readout")
    slider.wait_for()
    notebook.run_cell(1, wait=False)
    before = slider.text_content()
    notebook.page.wait_for_function(
        "before => document.querySelector('.the-slider .widget-readout').textContent !== before", arg=before
    )
    assert notebook.is_running(1)
    (notebook.path.parent / "over").touch()
    notebook.finish_cell(1)
    assert notebook.output_text(1) == "over\n"


@pytest.mark.once
def test_theme_survives_a_reload_but_not_the_next_notebook(open_notebook: Callable[..., Notebook]) -> None:
    """The next notebook opens in the light theme again."""
    notebook = open_notebook(["1"])
    notebook.set_theme("JupyterLab Dark")
    notebook.reload()
    assert notebook.theme() == "JupyterLab Dark"
    assert open_notebook(["1"]).theme() == "JupyterLab Light"


def test_messages_of_a_thread_arrive_from_idle_and_blocked_kernels(open_notebook: Callable[..., Notebook]) -> None:
    """Messages sent before a view exists arrive too, and a reloaded widget receives new messages."""
    from playwright.sync_api import expect

    notebook = open_notebook([TOY, "send(4, 5)" + BLOCK])
    notebook.run_cell(0)
    toy = notebook.page.locator(".the-toy")
    expect(toy).to_have_text("shown true 1")
    notebook.evaluate("0", setup="send(2, 3)")
    expect(toy).to_have_text("shown true 1,2,3")
    notebook.run_cell(1, wait=False)
    expect(toy).to_have_text("shown true 1,2,3,4,5")
    assert notebook.is_running(1)
    sent = [frame.content["data"]["content"] for frame in notebook.received() if "content" in frame.content["data"]]
    assert sent == [{"n": number} for number in range(1, 6)]
    assert all(0 < frame.size < 1000 for frame in notebook.received())
    (notebook.path.parent / "over").touch()
    notebook.finish_cell(1)
    notebook.save()
    notebook.reload()
    expect(toy).to_have_text("shown true ")
    notebook.evaluate("0", setup="send(6)")
    expect(toy).to_have_text("shown true 6")


@pytest.mark.once
def test_axe_reports_violations(open_notebook: Callable[..., Notebook], axe: Path) -> None:
    """A picture without an alternative text is reported, which shows that axe-core runs."""
    notebook = open_notebook(["import ipywidgets\nipywidgets.HTML('<img src=\"data:,\">')"])
    notebook.run_all()
    notebook.output(0).locator("img").wait_for(state="attached")
    assert "image-alt" in [violation["id"] for violation in notebook.violations(axe, ".jp-OutputArea")]


def test_saved_widget_is_shown_with_a_new_kernel_and_is_not_live(
    open_notebook: Callable[..., Notebook],
) -> None:
    """Its state is restored from the notebook's file, and its layout's `comm_live` is false."""
    from playwright.sync_api import expect

    notebook = open_notebook([TOY])
    notebook.run_all()
    toy = notebook.page.locator(".the-toy")
    expect(toy).to_have_text("shown true 1")
    assert "widgets" not in notebook.save()["metadata"]
    notebook.evaluate("0", setup="toy.snapshot = 'saved'")
    expect(toy).to_have_text("saved true 1")
    state = notebook.save(widgets=True)["metadata"]["widgets"][WIDGETS]["state"]
    assert "saved" in [model["state"].get("snapshot") for model in state.values()]
    notebook.reopen()
    expect(toy).to_have_text("saved false ")
