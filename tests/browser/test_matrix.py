"""Tests of the matrix as a saved page that is opened offline, and as a widget in JupyterLab."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import expect

from eachlabs_frames.sandbox import media

from .lab import SCREENSHOTS
from .notebook import Notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

NASTY = "\"><img src=x onerror='window.ran=1'><script>window.ran=1</script>"
LONG = "a lighthouse at dusk, painted from a small boat that rocks in the swell while gulls cry overhead " * 3

Open = Callable[..., "Page"]
STYLES = ("ink", "oil", "noir", "pastel", "charcoal", "gouache", "woodcut", "neon")


def sweep(folder: Path, prompts: list[str], styles: tuple[str, ...], seeds: int, *, pictures: bool = True) -> Any:
    """Return the results of a sweep with downloaded pictures, one failed row and one missing combination."""
    rows = [
        {"prompt": prompt, "style": style, "seed": seed}
        for prompt, style, seed in itertools.product(prompts, styles, range(seeds))
        if (prompt, style) != (prompts[-1], styles[0])
    ]
    out = pd.DataFrame(rows)
    out["bulk_id"], out["execution_id"] = "b", [f"e{row}" for row in range(len(out))]
    out["status"], out["error"], out["output"] = "completed", None, [f"https://media.test/{n}.svg" for n in out.index]
    out["cost"] = [0.01 + 0.002 * (row % 7) for row in out.index]
    out.loc[1, ["status", "error", "output", "cost"]] = ["failed", f"out of memory {NASTY}", None, None]
    paths = [str(folder / f"{row}.svg") if pictures and row != 1 else None for row in out.index]
    for row, path in enumerate(paths):
        if path is not None:
            Path(path).write_bytes(media.svg(rows[row]))
    out["path"] = pd.Series(paths, dtype=object)
    out.attrs["eachlabs_download"] = {"column": "path"}
    return out


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Yield a function that saves a matrix and opens it offline; assert that no error is logged and no script runs."""
    contexts, problems = [], []

    def open_matrix(matrix: Any, *, width: int = 1500, dark: bool = False) -> Page:
        scheme = "dark" if dark else "light"
        context = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(error.message))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(matrix.save(tmp_path / f"{len(contexts)}.html").as_uri())
        expect(page.locator(".elf-table")).to_be_visible()
        return page

    yield open_matrix
    ran = [page.evaluate("window.ran ?? null") for context in contexts for page in context.pages]
    for context in contexts:
        context.close()
    assert problems == []
    assert not any(ran)


def shoot(page: Page, name: str) -> None:
    """Store a screenshot of the page, if a folder for screenshots is set."""
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"matrix-{name}.png")


def violations(page: Page, axe: Path) -> list[tuple[str, list[str]]]:
    """Return the violations that axe-core reports for the view."""
    # Evaluated instead of added as a script, because the page's content security policy allows only its own scripts.
    page.evaluate(f"() => {{ const define = undefined, module = undefined\n{axe.read_text('utf-8')}\n}}")
    found = page.evaluate("async () => (await axe.run('.eachlabs-matrix')).violations")
    return [(violation["id"], [node["html"] for node in violation["nodes"]]) for violation in found]


def box(where: Locator) -> dict[str, float]:
    """Return the bounding box of an element."""
    found = where.bounding_box()
    assert found is not None
    return dict(found)


def column(page: Page, text: str) -> Locator:
    """Return the header of a column."""
    return page.locator("th.elf-column", has_text=text)


def focused(page: Page) -> str:
    """Return the focused element: the number of a card, or the text of a header or of an empty cell."""
    found: str = page.evaluate(
        """() => {
            const it = document.activeElement
            return it.closest('[data-at]')?.dataset.at ?? it.textContent
        }"""
    )
    return found


@pytest.mark.once
def test_headers_are_sticky_and_cells_are_rendered_lazily(open_page: Open, tmp_path: Path) -> None:
    """Headers stay visible above the cells in both directions, and cells are rendered when they come near."""
    prompts = [f"prompt {n}" for n in range(9)]
    page = open_page(sweep(tmp_path, prompts, STYLES, 2).eachlabs.matrix("prompt", "style", by="seed"))
    scroll = page.locator(".elf-scroll")
    before = box(column(page, "woodcut")), box(page.locator("th.elf-row", has_text="prompt 6"))
    assert page.locator(".elf-mark").count() < 9 * 8 * 2
    scroll.evaluate("it => it.scrollTo(1300, 900)")
    head, row = column(page, "woodcut"), page.locator("th.elf-row", has_text="prompt 6")
    assert (box(head)["y"], box(row)["x"]) == (before[0]["y"], before[1]["x"])
    assert box(head)["x"] == before[0]["x"] - 1300
    assert box(row)["y"] == before[1]["y"] - 900
    expect(page.locator("tbody tr").nth(6).locator("td").nth(6).locator("img").first).to_be_visible()
    middle = {"x": box(head)["x"] + 20, "y": box(head)["y"] + 10}
    for at, tag in ((middle, "elf-column"), ({"x": box(row)["x"] + 20, "y": box(row)["y"] + 10}, "elf-row")):
        assert page.evaluate("({x, y}) => document.elementFromPoint(x, y).closest('th')?.className", at) == tag
    shoot(page, "scrolled")


@pytest.mark.once
def test_result_is_enlarged_by_mouse_and_by_keyboard(open_page: Open, tmp_path: Path) -> None:
    """The viewer shows the whole input; arrow keys move between cells, and closing restores the focus."""
    out = sweep(tmp_path, ["a fox", LONG, "a heron"], STYLES[:3], 2)
    page = open_page(out.eachlabs.matrix("prompt", "style", by="seed"))
    viewer = page.locator("dialog.elf-viewer")
    page.locator("[data-at='6']").hover()
    page.locator("[data-at='6'] .elf-open").click()
    expect(viewer).to_be_visible()
    expect(viewer.locator(".elf-viewer-facts")).to_contain_text(LONG.strip()[-60:])
    expect(viewer.locator("img")).to_be_visible()
    shoot(page, "enlarged")
    page.keyboard.press("ArrowRight")
    expect(viewer.locator(".elf-viewer-title")).to_contain_text("seed 1")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    assert focused(page) == "6"
    expect(page.locator(".elf-open:focus")).to_have_css("opacity", "1")
    expect(page.locator(".elf-open:focus")).to_have_css("outline-width", "3px")
    visited = []
    for key in ("Right", "Right", "Up", "Left", "Home", "Down", "Down", "Left", "Right", "Right"):
        page.keyboard.press(key if key == "Home" else f"Arrow{key}")
        visited.append(focused(page))
    assert visited == ["7", "8", "2", "1", "0", "6", "no row", "a heron", "no row", "12"]
    for key, at in (("Control+End", "15"), ("Control+Home", "0"), ("ArrowUp", "ink"), ("ArrowDown", "0")):
        page.keyboard.press(key)
        assert focused(page) == at
    page.keyboard.press("Enter")
    expect(viewer.locator(".elf-viewer-facts")).to_contain_text("a fox")
    page.keyboard.press("Escape")
    page.locator("[data-at='1'] .elf-open").focus()
    page.keyboard.press("Enter")
    expect(viewer.locator(".elf-error")).to_have_text(f"out of memory {NASTY}")


@pytest.mark.once
def test_input_images_are_shown_in_headers_and_in_the_viewer(open_page: Open, tmp_path: Path) -> None:
    """A file that is not an image is shown by its name only."""
    images = [tmp_path / "fox.png", tmp_path / "heron.png", tmp_path / f"{NASTY[2:20]}.png"]
    for at, size in enumerate([(600, 400), (300, 500)]):
        Image.new("RGB", size, ("red", "blue")[at]).save(images[at])
    images[2].write_text("no image")
    out = sweep(tmp_path, ["a", "b", "c"], STYLES[:2], 1)
    out["image"] = [images[0]] * 2 + [images[1]] * 2 + [images[2]]
    page = open_page(out.eachlabs.matrix("image", "style"))
    heads = page.locator("th.elf-row")
    expect(heads.locator("img")).to_have_count(2)
    expect(heads.nth(0).locator("img")).to_have_js_property("naturalWidth", 480)
    expect(heads.locator(".elf-thumbnail")).to_have_count(2)
    expect(heads.nth(2).locator(".elf-head-text")).to_have_text(images[2].name)
    page.locator("[data-at='2'] .elf-open").focus()
    page.keyboard.press("Enter")
    facts = page.locator(".elf-viewer-facts")
    expect(facts.get_by_alt_text("Input image")).to_have_js_property("naturalHeight", 480)
    shoot(page, "input-images")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(facts).to_contain_text(images[2].name)
    expect(facts.locator("img")).to_have_count(0)


@pytest.mark.once
def test_long_headers_are_shown_in_full_on_hover_and_focus(open_page: Open, tmp_path: Path) -> None:
    """Otherwise they are truncated to a few lines."""
    page = open_page(sweep(tmp_path, [LONG, "a fox"], STYLES[:2], 1).eachlabs.matrix("prompt", "style"))
    head, tip = page.locator("th.elf-row").first, page.locator(".elf-tip")
    assert box(head.locator(".elf-head-text"))["height"] < 100
    expect(tip).to_be_hidden()
    head.hover()
    expect(tip).to_have_text(LONG)
    page.locator(".elf-title").hover()
    expect(tip).to_be_hidden()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    expect(tip).to_be_visible()


@pytest.mark.once
def test_numbers_are_shown_as_a_heat_map_with_a_scale(open_page: Open, tmp_path: Path) -> None:
    """Cells have the computed colours; a comparison of two frames shows each pair with its difference."""
    out = sweep(tmp_path, ["a fox", NASTY, "a heron"], STYLES[:3], 2, pictures=False)
    matrix = out.eachlabs.matrix("prompt", "style", "cost", by="seed")
    page = open_page(matrix)
    colour, ink = (tuple(bytes.fromhex(code[1:])) for code in matrix.table["cells"][0][1]["paint"])
    cell = page.locator("tbody tr").first.locator("td").nth(1)
    expect(cell).to_have_css("background-color", "rgb({}, {}, {})".format(*colour))
    expect(cell.locator(".elf-mark").first).to_have_css("color", "rgb({}, {}, {})".format(*ink))
    expect(cell.locator(".elf-mean")).to_contain_text("$0.015")
    legend = page.locator(".elf-legend")
    texts = [text for _, text in matrix.table["legend"]["ticks"]]
    assert legend.get_attribute("aria-label") == f"Scale of cost: from {texts[0]} to {texts[-1]}"
    boxes = [box(tick) for tick in legend.locator(".elf-tick").all()]
    assert all(a["x"] + a["width"] < b["x"] for a, b in itertools.pairwise(boxes))
    expect(page.locator("[data-at='1']")).to_contain_text("failed")
    shoot(page, "numbers")
    other = out.assign(cost=0.02)
    other.attrs["eachlabs"] = {"workflow_id": "wf", "run": f"second {NASTY}"}
    page = open_page(out.eachlabs.matrix("prompt", "style", "cost", by="seed", compare=other), width=700, dark=True)
    expect(page.locator(".elf-side").first).to_have_text(f"Asecond {NASTY}")
    expect(page.locator(".elf-slot").first).to_contain_text("$0.01$0.02+$0.01")
    shoot(page, "compared-numbers")


@pytest.mark.once
@pytest.mark.parametrize(("width", "dark"), [(1500, False), (700, True)])
def test_axe_finds_no_violation(open_page: Open, tmp_path: Path, axe: Path, width: int, dark: bool) -> None:
    """Pictures, comparisons, statuses, numbers, header levels and missing cells pass in both themes."""
    out = sweep(tmp_path, ["a fox", LONG, "a heron"], STYLES[:3], 2)
    out.loc[[2, 3, 4], "status"] = ["pending", "unknown", "running"]
    out.loc[[2, 3, 4], "output"] = None
    out.loc[5, "output"] = "words of an output " * 30
    views = {
        "grid": out.eachlabs.matrix("prompt", "style", by="seed"),
        "levels": out.eachlabs.matrix(["prompt", "seed"], ["style"], compare=out.iloc[1:], size=120),
        "statuses": out.eachlabs.matrix("prompt", ["style", "seed"], "status"),
        "score": out.assign(score=range(len(out))).eachlabs.matrix("prompt", "style", "score", by="seed"),
    }
    for name, matrix in views.items():
        page = open_page(matrix, width=width, dark=dark)
        shoot(page, f"{name}-{width}")
        assert violations(page, axe) == []


@pytest.mark.once
def test_large_grid_renders_only_cells_near_the_viewport(open_page: Open, tmp_path: Path) -> None:
    """Of fifty by fifty cells with three repeats, only those that came near the viewport have content."""
    prompts, styles = [f"prompt {n}" for n in range(50)], tuple(f"style {n}" for n in range(50))
    out = sweep(tmp_path, prompts, styles, 3, pictures=False)
    out["output"] = "a text"
    page = open_page(out.eachlabs.matrix("prompt", "style", by="seed", size=80))
    assert page.locator("tbody td").count() == 2_500
    marks = page.locator(".elf-mark").count()
    assert 0 < marks < 7_500 / 4
    page.evaluate(
        """async () => {
            const scroll = document.querySelector('.elf-scroll')
            for (let step = 0; step < 20; step++) {
                scroll.scrollBy(300, 300)
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
            }
        }"""
    )
    expect(page.locator("tbody tr").nth(49).locator("td").nth(22).locator(".elf-mark").first).to_be_visible()
    assert page.locator(".elf-mark").count() < 7_500 / 2


START = """
import eachlabs_frames as ef
ef.configure(journal="journal.sqlite")
sandbox = ef.sandbox.start(
    queue_seconds=0.0, run_seconds=(0.0, 0.0), fail_when=lambda inputs: inputs["style"] == "oil" and inputs["seed"] == 1
)
prompts = ["a fox in the snow", "a lighthouse at dusk, waves and rocks in the last light", "a heron in the reeds"]
df = ef.sweep(prompt=prompts, style=["ink", "oil", "noir"], seed=range(3))
out = df.drop(index=9).eachlabs.bulk_trigger("wf_abc123", wait=True, progress=False)
import eachlabs_frames.views.matrix.widget as view
view.FIRST = 3_000
"""
DOWNLOAD = "out = out.eachlabs.download('pictures', allow_private=True, progress=False)"
SHOW = "matrix = out.eachlabs.matrix('prompt', 'style', by='seed')\nmatrix"


def test_matrix_is_a_widget_in_jupyterlab(open_notebook: Callable[..., Notebook], axe: Path) -> None:
    """Cards and files are loaded on demand, keys do not reach the notebook, and the view uses its theme."""
    notebook = open_notebook([START, DOWNLOAD, SHOW], width=1500)
    notebook.run_all()
    assert [notebook.output_text(cell) for cell in range(2)] == ["", ""]
    page = notebook.page
    expect(page.locator(".eachlabs-matrix img").nth(8)).to_be_visible()
    assert notebook.evaluate("len(matrix.cards)") < 10
    assert page.locator(".eachlabs-matrix img").first.evaluate("it => it.src").startswith(("blob:", "data:"))
    page.locator("[data-at='0'] .elf-open").focus()
    for key in ("ArrowDown", "ArrowRight", "b"):
        page.keyboard.press(key)
    assert focused(page) == "9"
    assert page.locator(".jp-Notebook .jp-Cell").count() == 3
    notebook.screenshot("matrix-lab")
    page.keyboard.press("Enter")
    expect(page.locator("dialog.elf-viewer .elf-viewer-facts")).to_contain_text("seed")
    notebook.screenshot("matrix-lab-enlarged")
    page.keyboard.press("Escape")
    notebook.set_theme("JupyterLab Dark")
    assert [violation["id"] for violation in notebook.violations(axe, ".eachlabs-matrix")] == []
    notebook.screenshot("matrix-lab-dark")
    shown, _ = notebook.outputs(2)  # the static HTML, and the widget
    assert "data:image/svg+xml;base64," in "".join(shown["data"]["text/html"])
