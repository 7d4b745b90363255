"""Tests of the gallery's page without JupyterLab: `gallery.js` in Chromium with the real model, and saved files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from playwright.sync_api import expect

from eachlabs_frames.models import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING, Outcome
from eachlabs_frames.sandbox import media
from eachlabs_frames.views.common.assets import WEB
from eachlabs_frames.views.common.card import Card, card
from eachlabs_frames.views.gallery.model import GalleryLayout, GalleryModel, find

from ..test_costs import AMOUNTS
from . import stage as stages
from .lab import SCREENSHOTS
from .stage import Json

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

NASTY = '"><script>window.ran = 1</script><img src=x onerror="window.ran = 1">\u202ejavascript:window.ran=1'
PROMPT = (
    "A lighthouse keeper's kitchen in winter, every surface covered in maps of places that do not exist, oil on board"
)
PNG = list(media.png({"prompt": "a fox"}))
SVG = list(media.svg({"prompt": "a fox"}))


class Stage(stages.Stage):
    """A page with a gallery, and the real model on the kernel's side."""

    sheet: GalleryModel

    def show(
        self, rows: list[Outcome], *, page: int = 100, columns: int = 4, size: int = 220, files: Any = (), **how: Any
    ) -> None:
        def make(outcomes: Sequence[Outcome]) -> list[Card]:
            return [make_card(outcome, files=files) for outcome in outcomes]

        self.sheet = GalleryModel(len(rows), make, first=page + 1)
        self.sheet.take(rows)
        self.sheet.settle("posters", None)
        shown: Any = self.sheet.snapshot("posters", None, 1_790_000_000.0, GalleryLayout(columns, size, page))
        self.start(shown, **how)

    def happen(self, *outcomes: Outcome) -> None:
        """Set new outcomes of rows, and send the updates."""
        self.sheet.take(outcomes)
        self.send_updates()

    def send_updates(self) -> None:
        """Process the browser's watch messages, and send all updates."""
        for message in self.sent():
            if message["kind"] == "watch":
                self.sheet.watch(message["rows"], message["missing"])
        while (update := self.sheet.update("posters", None, 1_790_000_001.0)) is not None:
            changes: Any = update
            self.push(changes)

    def rows(self) -> list[int]:
        """Return the rows whose cards are shown, in page order."""
        found: list[int] = self.page.evaluate(
            """async () => {
                await stage.painted()
                return [...document.querySelectorAll('.elf-card')].map(card => Number(card.dataset.row))
            }"""
        )
        return found

    def card(self, row: int) -> Any:
        return self.find(f".elf-card[data-row='{row}']")

    def expect_focus(self, label: str) -> None:
        """Wait until the element with this label has the focus; a closing dialog restores it with a delay."""
        expect(self.page.locator(":focus")).to_have_attribute("aria-label", label)

    def file(self, row: int, n: int, kind: str | None, content: list[int]) -> None:
        self.page.evaluate(
            "([message, bytes]) => stage.file(message, bytes)",
            [{"kind": "file", "row": row, "n": n, "type": kind}, content],
        )


def make_card(outcome: Outcome, *, files: Any = ()) -> Card:
    """Return the card of an outcome."""
    row = outcome.position
    sent = {"prompt": f"prompt {row}" if row != 3 else PROMPT, "style": "noir", "seed": row}
    return card(outcome, label=f"fox {row} · noir · seed {row}", sent=sent, files=files)


def done(row: int, output: Any = "", **values: Any) -> Outcome:
    """Return a completed outcome, by default with its own picture."""
    shown = f"https://cdn.test/{row}.svg" if output == "" else output
    return Outcome(
        row, COMPLETED, "b", f"e{row}", output=shown, cost=0.04, started_at=0, completed_at=4_200_000_000, **values
    )


def every_kind() -> list[Outcome]:
    """Return an outcome of each kind of output and status."""
    return [
        done(0),
        done(1, [f"https://cdn.test/1-{n}.svg" for n in range(6)]),
        Outcome(2, FAILED, "b", "e2", error=f"Model answered 422: {NASTY}"),
        done(3),
        done(4, "https://cdn.test/film.mp4"),
        done(5, "https://cdn.test/sound.mp3"),
        done(6, f"A poem. {NASTY}\n" * 40),
        done(7, {"score": 0.3, "note": NASTY, "tags": ["a", "b"] * 20}),
        done(8, "https://cdn.test/archive.zip"),
        Outcome(9, RUNNING, "b", "e9"),
        Outcome(10, QUEUED, "b", "e10"),
        Outcome(11, CANCELLED, "b", "e11"),
        Outcome(12, NASTY[:20], "b", "e12"),
    ]


@pytest.fixture
def open_stage(browser: Browser) -> Iterator[Callable[..., Stage]]:
    """Yield a function that opens pages; assert that none logs an error, opens a dialog or runs scripts."""
    with stages.stages(browser, "gallery") as open_page:
        yield lambda **how: Stage(open_page(**how))


@pytest.fixture
def stage(open_stage: Callable[..., Stage]) -> Stage:
    """Open an empty page."""
    return open_stage()


# -- cards ----------------------------------------------------------------------------------------------------------


def test_browser_formats_amounts_like_the_kernel(browser: Browser) -> None:
    """`formatUsd` of `format.js` returns the same texts as `format_usd`."""
    page = browser.new_page()
    source = (WEB / "format.js").read_text("utf-8").replace("export ", "")
    texts = page.evaluate(
        "([source, amounts]) => amounts.map(new Function(`${source}; return formatUsd`)())",
        [source, [amount for amount, _ in AMOUNTS]],
    )
    page.close()
    assert texts == [text for _, text in AMOUNTS]


def test_card_shows_each_kind_of_output(stage: Stage) -> None:
    """Media are shown as such and other outputs as text; a status is a symbol and a word; cards have few nodes."""
    requested: list[str] = []
    stage.page.on("request", lambda request: requested.append(request.url))
    stage.show(every_kind())
    assert stage.rows() == list(range(13))
    picture = stage.card(0).locator("img")
    expect(picture).to_have_js_property("naturalWidth", 40)
    attributes = {name: picture.get_attribute(name) for name in ("loading", "decoding", "referrerpolicy")}
    assert attributes == {"loading": "lazy", "decoding": "async", "referrerpolicy": "no-referrer"}
    assert stage.card(1).locator("img").count() == 4
    assert stage.card(1).locator(".elf-more").inner_text() == "+2"
    assert stage.card(2).locator(".elf-card-error").inner_text() == f"Model answered 422: {NASTY}"
    assert [stage.card(row).locator(kind).get_attribute("preload") for row, kind in ((4, "video"), (5, "audio"))] == [
        "none"
    ] * 2
    assert stage.card(6).locator(".elf-output-text").inner_text().startswith("A poem. ")
    assert '"score": 0.3' in stage.card(7).locator("pre").inner_text()
    assert stage.card(8).locator("a").get_attribute("href") == "https://cdn.test/archive.zip"
    badges = stage.find(".elf-badge").all_inner_texts()
    assert [badge.replace("\n", "") for badge in badges][:3] == ["✓completed", "✓completed", "✕failed"]
    assert not any("film" in url or "sound" in url for url in requested)
    assert (
        stage.page.evaluate(
            "Math.max(...[...document.querySelectorAll('.elf-grid-cell')].map(c => c.querySelectorAll('*').length))"
        )
        < 60
    )
    assert (
        stage.page.evaluate("document.querySelectorAll('.eachlabs-gallery script, .eachlabs-gallery [onerror]').length")
        == 0
    )


def test_unavailable_picture_is_replaced_by_its_link(stage: Stage) -> None:
    """An expired URL is requested only once."""
    requested: list[str] = []
    stage.page.on("request", lambda request: requested.append(request.url))
    stage.show([done(0, "https://cdn.test/gone.png"), done(1)])
    link = stage.card(0).locator(".elf-placeholder a")
    expect(link).to_have_attribute("href", "https://cdn.test/gone.png")
    assert "unavailable" in stage.card(0).locator(".elf-placeholder").inner_text()
    stage.happen(Outcome(1, FAILED))
    assert sum("gone" in url for url in requested) == 1


@pytest.mark.parametrize(("width", "columns", "across"), [(1000, 3, 3), (1000, 1, 1), (540, 3, 2), (320, 3, 1)])
def test_number_of_columns_is_limited(open_stage: Callable[..., Stage], width: int, columns: int, across: int) -> None:
    """There are at most `columns` cards side by side, fewer on a narrow page, and no horizontal scrolling."""
    stage = open_stage(width=width)
    stage.show([done(row) for row in range(6)], columns=columns)
    tops = stage.page.evaluate("[...document.querySelectorAll('.elf-card')].map(c => c.getBoundingClientRect().top)")
    assert tops.count(tops[0]) == across
    assert stage.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# -- updates --------------------------------------------------------------------------------------------------------


def test_update_keeps_unchanged_cards(stage: Stage) -> None:
    """A playing video keeps its element and the focused button its focus while other cards change."""
    stage.show([done(1, "https://cdn.test/a.mp4")._replace(position=0), Outcome(1, RUNNING), Outcome(2, RUNNING)])
    stage.card(0).locator(".elf-enlarge").focus()
    stage.page.evaluate("() => { window.film = document.querySelector('video'); film.mark = 1 }")
    stage.happen(done(1), done(2, "a poem"))
    assert stage.card(1).locator("img").count() == 1
    assert stage.card(2).locator(".elf-output-text").inner_text() == "a poem"
    assert stage.page.evaluate("document.querySelector('video') === film && film.isConnected && film.mark === 1")
    stage.expect_focus("Enlarge fox 0 · noir · seed 0")
    assert [chip.replace("\n", "") for chip in stage.find(".elf-chip:visible").all_inner_texts()] == ["✓completed3"]


def test_lost_message_is_requested_again(stage: Stage) -> None:
    """The page detects the gap by the sequence number of the next update and requests a snapshot."""
    stage.show([Outcome(0, RUNNING), Outcome(1, RUNNING)])
    stage.sent()
    stage.sheet.take([done(0)])
    stage.sheet.update("posters", None, 0.0)
    stage.sheet.take([done(1)])
    update: Any = stage.sheet.update("posters", None, 0.0)
    stage.push(update)
    stage.page.wait_for_function("() => stage.model.sent.some(m => m.kind === 'watch' && m.seq === -1)")
    whole: Any = stage.sheet.snapshot("posters", None, 1_790_000_002.0, GalleryLayout(4, 220, 100))
    stage.page.evaluate("snapshot => stage.replace(snapshot)", whole)
    assert stage.find(".elf-card[data-status=completed]").count() == 2


def test_pages_filters_and_search(stage: Stage) -> None:
    """The cards of a page are requested when it is opened, and the kernel searches the texts of all cards."""
    stage.show([done(row) if row % 3 else Outcome(row, FAILED, error="no") for row in range(50)], page=10)
    assert stage.rows() == list(range(10))
    assert stage.find(".elf-shown").inner_text() == "1\u201310 of 50 results"
    stage.sent()
    stage.click(".elf-later")
    (watch,) = stage.sent()
    assert (watch["rows"], watch["missing"]) == (list(range(9, 21)), list(range(11, 21)))
    stage.sheet.watch(watch["rows"], watch["missing"])
    stage.send_updates()
    assert stage.rows() == list(range(10, 20))
    assert stage.card(19).locator("img").count() == 1
    assert stage.saved()["cards"][-1]["row"] == 20
    stage.click(".elf-legend [data-status=failed]")
    stage.send_updates()
    assert stage.rows() == list(range(0, 30, 3))
    assert stage.find(".elf-place").inner_text() == "Page 1 of 2"
    stage.find(".elf-search").fill("prompt 4")
    stage.page.wait_for_function("() => stage.model.sent.some(m => m.kind === 'find')")
    stage.push({"kind": "found", "text": "prompt 4", "rows": find("prompt 4", map(make_card, stage.sheet.outcomes))})
    assert stage.rows() == [42, 45, 48]
    assert stage.find(".elf-shown").inner_text() == "3 of 50 results"
    stage.click(".elf-clear")
    assert stage.rows() == list(range(10))


# -- the viewer -----------------------------------------------------------------------------------------------------


def test_card_is_enlarged_by_mouse_and_by_keyboard(stage: Stage) -> None:
    """The viewer shows the whole input; arrow keys show the next output, and Escape restores the focus."""
    stage.show(every_kind())
    viewer = stage.find("dialog.elf-viewer")
    stage.click(stage.card(3).locator("img"))
    assert viewer.locator(".elf-viewer-title").inner_text() == "fox 3 · noir · seed 3"
    assert PROMPT in viewer.locator(".elf-facts").inner_text()
    assert viewer.locator("img").get_attribute("src") == "https://cdn.test/3.svg"
    stage.page.mouse.click(3, 3)
    expect(viewer).to_be_hidden()
    stage.card(0).locator(".elf-enlarge").focus()
    stage.page.keyboard.press("ArrowRight")
    stage.expect_focus("Enlarge fox 1 · noir · seed 1")
    stage.page.keyboard.press("Enter")
    assert "1 of 6" in viewer.inner_text()
    for _ in range(6):
        stage.page.keyboard.press("ArrowRight")
    assert viewer.locator(".elf-viewer-title").inner_text() == "fox 2 · noir · seed 2"
    assert NASTY in viewer.locator(".elf-facts").inner_text()
    stage.page.keyboard.press("ArrowLeft")
    assert "6 of 6" in viewer.inner_text()
    stage.page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    stage.expect_focus("Enlarge fox 1 · noir · seed 1")


def test_viewer_continues_on_the_next_page(stage: Stage) -> None:
    """The gallery turns to that page, and the enlarged card is updated."""
    stage.show([done(row) for row in range(7)] + [Outcome(7, RUNNING)], page=4)
    stage.card(3).locator(".elf-enlarge").focus()
    stage.page.keyboard.press("Enter")
    stage.page.keyboard.press("ArrowRight")
    stage.send_updates()
    assert stage.rows() == [4, 5, 6, 7]
    for _ in range(3):
        stage.page.keyboard.press("ArrowRight")
    assert stage.find(".elf-viewer-title").inner_text() == "fox 7 · noir · seed 7"
    stage.happen(done(7))
    expect(stage.find(".elf-viewer img")).to_have_attribute("src", "https://cdn.test/7.svg")
    stage.page.keyboard.press("Escape")
    stage.expect_focus("Enlarge fox 7 · noir · seed 7")


# -- files ----------------------------------------------------------------------------------------------------------


def test_downloaded_files_are_loaded_from_the_kernel(stage: Stage) -> None:
    """Each is requested once when it comes near; SVG is shown as a data URL, unavailable files by their own URL."""
    stage.show([done(row) for row in range(3)], files=["somewhere"])
    stage.page.wait_for_function("() => stage.model.sent.filter(m => m.kind === 'file').length === 3")
    assert [m for m in stage.sent() if m["kind"] == "file"] == [
        {"kind": "file", "row": row, "n": 0} for row in range(3)
    ]
    stage.file(0, 0, "image/png", PNG)
    stage.file(1, 0, "image/svg+xml", SVG)
    stage.file(2, 0, None, [])
    for row, start in ((0, "blob:"), (1, "data:image/svg+xml"), (2, "https://cdn.test/2.svg")):
        stage.page.wait_for_function(
            "([row, start]) => document.querySelector(`.elf-card[data-row='${row}'] img`)?.src.startsWith(start)",
            arg=[row, start],
        )
        expect(stage.card(row).locator("img")).not_to_have_js_property("naturalWidth", 0)
    assert all(m["kind"] != "file" for m in stage.sent())


def test_downloaded_video_is_loaded_on_click(stage: Stage) -> None:
    """It may be large; if its file is unavailable, the URL is used."""
    stage.show([done(0, "https://cdn.test/a.mp4")], files=["somewhere"])
    assert not [m for m in stage.sent() if m["kind"] == "file"]
    stage.click(".elf-play")
    assert [m for m in stage.sent() if m["kind"] == "file"] == [{"kind": "file", "row": 0, "n": 0}]
    stage.file(0, 0, None, [])
    expect(stage.card(0).locator("video")).to_have_attribute("src", "https://cdn.test/a.mp4")


def test_saved_cards_are_shown_without_a_kernel(stage: Stage) -> None:
    """Files are shown by their URLs, with a notice; cards that were not saved are placeholders."""
    stage.show([done(row) for row in range(12)], page=5, files=["somewhere"], layout={"comm_live": False})
    expect(stage.card(0).locator("img")).to_have_attribute("src", "https://cdn.test/0.svg")
    assert "No kernel is connected" in stage.find(".elf-notice").inner_text()
    stage.click(".elf-last")
    assert stage.rows() == [10, 11]
    assert stage.card(11).locator(".elf-card-label").inner_text() == "…"
    stage.find(".elf-search").fill("prompt 2")
    stage.page.wait_for_function("() => document.querySelectorAll('.elf-card').length === 1")
    assert stage.rows() == [2]


# -- saved files ----------------------------------------------------------------------------------------------------


def save_gallery(folder: Path) -> Path:
    """Save a gallery with every kind of output, of which three pictures are downloaded."""
    rows = [*every_kind(), *(done(row) for row in range(13, 40))]
    out = pd.DataFrame({"prompt": [PROMPT if row.position == 3 else f"prompt {row.position} {NASTY}" for row in rows]})
    for name in ("status", "bulk_id", "execution_id", "error", "output"):
        out[name] = pd.Series([getattr(row, name) for row in rows], dtype=object)
    paths: list[str | None] = [None] * len(rows)
    for row, content in ((0, bytes(PNG)), (3, bytes(SVG)), (13, bytes(PNG))):
        paths[row] = str(folder / f"{row}.bin")
        (folder / f"{row}.bin").write_bytes(content)
    out["path"] = pd.Series(paths, dtype=object)
    out.attrs["eachlabs_download"] = {"column": "path"}
    out.attrs["eachlabs"] = {"workflow_id": NASTY, "prefix": "", "inputs": {"prompt": {"column": "prompt"}}}
    shown = out.eachlabs.gallery(label="prompt", page=12)
    path: Path = shown.save(folder / "sheet.html")
    shown.close()
    return path


def test_saved_gallery_works_offline(browser: Browser, tmp_path: Path) -> None:
    """Embedded pictures are shown, linked ones become links, and pages, search and filters work without errors."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_offline(True)
    page, problems, requested = context.new_page(), [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(error.message))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(save_gallery(tmp_path).as_uri())
    for row in (0, 3):
        expect(page.locator(f".elf-card[data-row='{row}'] img")).not_to_have_js_property("naturalWidth", 0)
    assert "offline" in page.locator(".elf-card[data-row='1'] .elf-placeholder").first.inner_text()
    page.locator(".elf-card[data-row='3'] img").click()
    expect(page.locator(".elf-viewer img")).not_to_have_js_property("naturalWidth", 0)
    assert PROMPT in page.locator(".elf-viewer .elf-facts").inner_text()
    page.keyboard.press("Escape")
    page.locator(".elf-card").last.scroll_into_view_if_needed()
    page.locator(".elf-later").click()
    expect(page.locator(".elf-card").first).to_have_attribute("data-row", "12")
    expect(page.locator(".elf-card").first).to_be_in_viewport()
    expect(page.locator(".elf-card[data-row='13'] img")).not_to_have_js_property("naturalWidth", 0)
    page.locator(".elf-search").fill("lighthouse")
    expect(page.locator(".elf-card")).to_have_count(1)
    assert page.locator(".elf-shown").inner_text() == "1 of 40 results"
    page.locator(".elf-clear").click()
    page.locator(".elf-legend [data-status=failed]").click()
    expect(page.locator(".elf-card")).to_have_count(1)
    assert page.title().startswith("A run of ")
    assert page.evaluate("window.ran ?? null") is None
    assert problems == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requested)
    context.close()


# -- accessibility --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "dark"), [(1500, False), (700, True)])
def test_axe_finds_no_violation(open_stage: Callable[..., Stage], axe: Path, width: int, dark: bool) -> None:
    """Every kind of card and the viewer pass in both themes."""
    stage = open_stage(width=width, dark=dark)
    stage.show(every_kind() + [done(row) for row in range(13, 40)], page=20)
    stage.page.add_script_tag(content=axe.read_text("utf-8"))
    screenshot(stage.page, f"gallery-{width}")
    assert_no_violations(stage.page)
    stage.card(3).locator(".elf-enlarge").focus()
    stage.page.keyboard.press("Enter")
    expect(stage.find(".elf-viewer img")).not_to_have_js_property("naturalWidth", 0)
    screenshot(stage.page, f"gallery-{width}-large")
    assert_no_violations(stage.page)


def assert_no_violations(page: Page) -> None:
    """Assert that axe-core reports no violation in the gallery."""
    found: list[Json] = page.evaluate("async () => (await axe.run('.eachlabs-gallery')).violations")
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found] == []


def screenshot(page: Page, name: str) -> None:
    """Store a screenshot of the page, if a folder for screenshots is set."""
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def test_narrow_cards_are_not_clipped_and_are_left_aligned(stage: Stage) -> None:
    """Status, cost, time, a short error and a placeholder are wholly visible at the smallest size."""
    rows = [done(0), Outcome(1, FAILED, "b", "e1", error="the model refused this"), Outcome(2, CANCELLED, "b", "e2")]
    stage.show([*rows, done(3, "data:image/png;base64,AAAA")], size=80, columns=8)
    stage.find(".elf-card[data-row='3'] .elf-placeholder").wait_for()
    cut = stage.page.evaluate(
        """() => [...document.querySelectorAll('.elf-card-line, .elf-card-line *, .elf-card-error, .elf-stage')]
            .filter(it => it.clientHeight && getComputedStyle(it).overflow !== 'visible')
            .filter(it => it.scrollWidth > it.clientWidth + 1 || it.scrollHeight > it.clientHeight + 1)
            .map(it => `${it.className}: ${it.textContent}`)"""
    )
    assert cut == []
    selectors = (".elf-sheet-title", ".elf-card[data-row='0']")
    lefts = [stage.find(selector).bounding_box()["x"] for selector in selectors]  # type: ignore[index]
    assert abs(lefts[0] - lefts[1]) < 2
