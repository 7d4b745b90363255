"""Tests of the rating and comparison pages without JupyterLab: unconfirmed marks, keys, focus and blinding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from . import stage as stages
from .stage import Json

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

OVER_HTTP = "http://localhost/media/{}"


def card(place: int, url: str | None = None, *, kind: str = "image", text: str | None = None, **more: Any) -> Json:
    """Return a card with one medium, or with a text."""
    media = [] if text is not None else [{"kind": kind, "url": url or OVER_HTTP.format(f"{place}.svg"), "n": 0}]
    for item in media:
        item["has_file"] = False
    shown = {"row": place, "label": f"row {place}", "status": "completed", "error": None, "media": media}
    known = {"more_media": 0, "text": text, "is_json": False, "input": [["prompt", f"p{place}"]]}
    return {**shown, **known, "cost_usd": None, "seconds": None, **more}


def state(
    marks: str, at: int, *, processed: dict[str, int] | None = None, problem: str | None = None, **more: Any
) -> Json:
    """Return a state of the widget's model as the kernel sends it."""
    details = {"scale": 5, "column": "score", "left_out": "", "others": 0, **more}
    return {"at": at, "marks": marks, "steps": [], "processed": processed or {}, "problem": problem, "details": details}


class Stage(stages.Stage):
    """A page with a rating or a comparison, and the kernel's side of its model."""

    def open(self, items: list[Json], initial: Json, **options: Any) -> None:
        states = {"state": initial, "window": {"first": 0, "items": items}}
        self.page.evaluate("([states, options]) => stage.open(states, options)", [states, options])

    def respond(self, new_state: Json) -> None:
        """Set the model's state, as the kernel does in response to a message."""
        self.page.evaluate("state => stage.put('state', state)", new_state)

    def press(self, *keys: str) -> None:
        self.find(".elf-stepper").focus()
        for key in keys:
            self.page.keyboard.press(key)

    def place(self) -> str:
        return self.find(".elf-step-place").inner_text()


@pytest.fixture
def rating(browser: Browser) -> Iterator[Callable[..., Stage]]:
    """Yield a function that opens pages with a rating."""
    with stages.stages(browser, "rating") as open_page:
        yield lambda **how: Stage(open_page(**how))


@pytest.fixture
def comparison(browser: Browser) -> Iterator[Callable[..., Stage]]:
    """Yield a function that opens pages with a comparison."""
    with stages.stages(browser, "comparison") as open_page:
        yield lambda **how: Stage(open_page(**how))


def test_unconfirmed_marks_are_shown_until_the_kernel_confirms_them(rating: Callable[..., Stage]) -> None:
    """Marks are shown at once, can be undone, are numbered and resent once; a new state confirms them."""
    stage = rating(clock=True)
    stage.open([card(place) for place in range(4)], state("....", 0))
    stage.press("3", "4", "2", "u", "ArrowLeft")
    assert stage.place() == "2 of 4"
    assert stage.find(".elf-step-score").inner_text() == "Rated 4 (not confirmed yet)"
    assert stage.find(".elf-step-count").inner_text() == "2 of 4 rated"
    assert stage.find(".elf-step-mark.elf-unsure").inner_text() == "4"
    messages = stage.sent()
    assert [(item["kind"], item.get("place"), item.get("mark"), item["number"]) for item in messages] == [
        ("mark", 0, "3", 1),
        ("mark", 1, "4", 2),
        ("mark", 2, "2", 3),
        ("undo", None, None, 4),
        ("go", 1, None, 5),
    ]
    stage.page.clock.fast_forward(3_000)
    assert "not confirmed" in stage.find(".elf-step-confirmation").inner_text()
    assert stage.sent() == []
    stage.page.clock.fast_forward(9_000)
    assert stage.sent() == messages  # resent once, unchanged
    stage.page.clock.fast_forward(11_000)
    assert stage.sent() == []
    sender = messages[0]["sender"]
    stage.respond(state("3...", 1, processed={sender: 1}))
    assert stage.find(".elf-step-score").inner_text() == "Rated 4 (not confirmed yet)"
    stage.respond(state("34..", 1, processed={sender: 5}))
    assert stage.find(".elf-step-score").inner_text() == "Rated 4"
    assert stage.find(".elf-step-confirmation").inner_text() == ""
    assert stage.find(".elf-stepper").get_attribute("data-waiting") == "0"


def test_undo_of_earlier_steps_is_shown_at_once(rating: Callable[..., Stage]) -> None:
    """Without waiting for the kernel, the next score applies to the result that is shown after the undo."""
    stage = rating()
    stage.open([card(place) for place in range(4)], {**state("35..", 2), "steps": [[0, "."], [1, "4"], [1, "."]]})
    stage.press("u", "u", "2")
    assert [(message["kind"], message.get("place")) for message in stage.sent()] == [
        ("undo", None),
        ("undo", None),
        ("mark", 1),
    ]
    assert stage.find(".elf-step-count").inner_text() == "2 of 4 rated"
    stage.press("ArrowLeft")
    assert stage.find(".elf-step-score").inner_text() == "Rated 2 (not confirmed yet)"


def test_state_of_the_kernel_overrides_local_marks(rating: Callable[..., Stage]) -> None:
    """Once the kernel has processed all messages, its state replaces the local one and its problem is shown."""
    stage = rating()
    stage.open([card(place) for place in range(3)], state("...", 0))
    stage.press("3")
    stage.respond(state("...", 0, processed={stage.sent()[0]["sender"]: 1}, problem="the frame <b>was</b> changed"))
    assert stage.place() == "1 of 3"
    assert stage.find(".elf-step-score").is_hidden()
    assert stage.find("[data-kind=problem]").inner_text() == "the frame <b>was</b> changed"


def test_missing_kernel_gets_no_messages(rating: Callable[..., Stage]) -> None:
    """The page reports that the kernel is not connected and the number of marks that were not saved."""
    stage = rating()
    stage.open([card(place) for place in range(3)], state("...", 0), layout={"comm_live": True})
    stage.press("3")
    stage.page.evaluate("() => { stage.model.state.layout.comm_live = false; stage.model.emit('comm_live_update') }")
    stage.press("4", "u")
    assert len(stage.sent()) == 1
    assert stage.find(".elf-step-confirmation").inner_text() == "The kernel is not connected. 1 mark not saved."


def test_only_shown_results_can_be_marked(rating: Callable[..., Stage]) -> None:
    """A result that has not arrived yet cannot be marked, and holding a key down marks only one result."""
    stage = rating()
    stage.open([card(0)], state("...", 0))
    stage.press("3", "5", "0")
    assert [message["place"] for message in stage.sent()] == [0]
    assert stage.find(".elf-step-unseen").is_visible()
    stage.page.evaluate("([first, items]) => stage.put('window', {first, items})", [1, [card(1), card(2)]])
    assert stage.place() == "2 of 3"
    stage.find(".elf-stepper").focus()
    stage.page.keyboard.down("4")
    stage.page.keyboard.down("4")
    stage.page.keyboard.up("4")
    assert [message["place"] for message in stage.sent()] == [1]


def test_keys_do_not_leave_the_view_and_players_keep_theirs(rating: Callable[..., Stage]) -> None:
    """The surrounding page gets no keys; arrows control a focused video, while digits still set a score."""
    stage = rating()
    video = card(0, OVER_HTTP.format("video.mp4"), kind="video")
    stage.open([video, card(1)], state("..", 0))
    stage.page.evaluate("() => document.addEventListener('keydown', (event) => (window.heard ??= []).push(event.key))")
    stage.find("video").focus()
    for key in ("ArrowRight", "Home", "d", "3"):
        stage.page.keyboard.press(key)
    assert [(message["kind"], message["mark"]) for message in stage.sent()] == [("mark", "3")]
    stage.press("u", "ArrowRight", "Control+z")
    assert [message["kind"] for message in stage.sent()] == ["undo", "go"]
    assert stage.page.evaluate("() => (window.heard ?? []).filter(key => key !== 'Control')") == []
    stage.find(".elf-step-mark").last.focus()
    stage.page.keyboard.press(" ")
    assert [message["mark"] for message in stage.sent()] == ["5"]


def test_disabled_button_keeps_the_focus(rating: Callable[..., Stage]) -> None:
    """A focused button without effect is only marked as disabled, so that the next key does not reach the notebook."""
    stage = rating()
    stage.open([card(0)], state(".", 0))
    stage.click(".elf-step-mark >> nth=0")
    assert stage.find(".elf-step-end").is_visible()
    stage.click(".elf-step-undo")
    stage.page.keyboard.press("Enter")
    assert [message["kind"] for message in stage.sent()] == ["mark", "undo"]
    assert stage.page.evaluate("() => document.activeElement.textContent") == "Undo"
    assert stage.find(".elf-step-undo").get_attribute("aria-disabled") == "true"


def test_view_takes_the_focus_when_the_focused_element_is_removed(rating: Callable[..., Stage]) -> None:
    """The button of the end page and a link in a result are removed while focused; the view then has the focus."""
    stage = rating()
    stage.open([card(0, text="a poem"), card(1, OVER_HTTP.format("x.bin"), kind="link")], state(".5", 2))
    stage.click(".elf-step-end > .elf-step-button")
    assert stage.place() == "1 of 2"
    assert stage.page.evaluate("() => document.activeElement.className") == "eachlabs-view elf-stepper"
    stage.press("ArrowRight")
    stage.find(".elf-step-stage a").focus()
    stage.page.keyboard.press("1")
    assert stage.page.evaluate("() => document.activeElement.className") == "eachlabs-view elf-stepper"
    stage.page.keyboard.press("Escape")
    assert stage.page.evaluate("() => document.activeElement.localName") == "body"


def test_comparison_shows_no_names_until_the_reveal(comparison: Callable[..., Stage]) -> None:
    """Links and missing pictures reveal no name either; afterwards the names and win rates are shown."""
    stage = comparison()
    left = card(0, OVER_HTTP.format("run-a-secret.bin"), kind="link", label="")
    right = card(1, text="<img src=x onerror='window.ran = 1'>", label="")
    items = [{"by": [["style", "<b>noir</b>"]], "left": left, "right": right}] * 2
    blind = {"revealed": None}
    stage.open(items, state("..", 0, **blind))
    assert "secret" not in stage.find(".elf-stepper").inner_text()
    assert "secret" not in stage.find(".elf-stepper").evaluate('node => node.outerHTML.replace(/href="[^"]*"/, \'\')')
    assert stage.find(".elf-step-pairing").inner_text() == "style<b>noir</b>"
    stage.press("ArrowRight", "=", "u", "ArrowLeft")
    assert [message.get("mark") for message in stage.sent()] == ["r", "t", None, "l"]
    share = {
        "name": "<i>a</i>",
        "wins": 1,
        "losses": 1,
        "ties": 0,
        "judged": 2,
        "win_rate": 0.5,
        "low": 0.1,
        "high": 0.9,
    }
    none = {**share, "win_rate": None, "low": None, "high": None}
    revealed = {
        "names": ["first", "second"],
        "a_is_left": "01",
        "win_rates": [share, none],
        "confidence": "95%",
        "not_blind": 1,
    }
    stage.respond(state("rl", 2, processed={}, revealed=revealed))
    assert stage.find(".elf-step-share").all_inner_texts()[0].split("\n")[:2] == ["<i>a</i>", "50.0%"]
    assert "%" not in stage.find(".elf-step-share").last.inner_text()
    assert "1 pair judged after the reveal" in stage.find(".elf-step-mean").inner_text()
