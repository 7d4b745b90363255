"""What is marked one by one, in the page alone: what is not confirmed yet, which keys are heard, and what is hidden."""

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
    """A card of one medium, or of words."""
    media = [] if text is not None else [{"kind": kind, "url": url or OVER_HTTP.format(f"{place}.svg"), "n": 0}]
    for item in media:
        item["has_file"] = False
    shown = {"row": place, "label": f"row {place}", "status": "completed", "error": None, "media": media}
    known = {"more_media": 0, "text": text, "is_json": False, "input": [["prompt", f"p{place}"]]}
    return {**shown, **known, "cost_usd": None, "seconds": None, **more}


def state(
    marks: str, at: int, *, processed: dict[str, int] | None = None, problem: str | None = None, **more: Any
) -> Json:
    """What the kernel says."""
    said = {"scale": 5, "column": "score", "left_out": "", "others": 0, **more}
    return {"at": at, "marks": marks, "steps": [], "processed": processed or {}, "problem": problem, "details": said}


class Stage(stages.Stage):
    """A page with a rating or a comparison, and the kernel's side of its model."""

    def open(self, items: list[Json], said: Json, **options: Any) -> None:
        states = {"state": said, "window": {"first": 0, "items": items}}
        self.page.evaluate("([states, options]) => stage.open(states, options)", [states, options])

    def say(self, said: Json) -> None:
        """Do as the kernel does that answers."""
        self.page.evaluate("said => stage.put('state', said)", said)

    def press(self, *keys: str) -> None:
        self.find(".elf-stepper").focus()
        for key in keys:
            self.page.keyboard.press(key)

    def where(self) -> str:
        return self.find(".elf-step-place").inner_text()


@pytest.fixture
def rating(browser: Browser) -> Iterator[Callable[..., Stage]]:
    """Open pages with a rating."""
    with stages.stages(browser, "rating") as open_page:
        yield lambda **how: Stage(open_page(**how))


@pytest.fixture
def comparison(browser: Browser) -> Iterator[Callable[..., Stage]]:
    """Open pages with a comparison."""
    with stages.stages(browser, "comparison") as open_page:
        yield lambda **how: Stage(open_page(**how))


def test_what_the_kernel_has_not_heard_is_shown_as_such(rating: Callable[..., Stage]) -> None:
    """It is there at once and can be taken back; each request has its number; an answer confirms it."""
    stage = rating(clock=True)
    stage.open([card(place) for place in range(4)], state("....", 0))
    stage.press("3", "4", "2", "u", "ArrowLeft")
    assert stage.where() == "2 of 4"
    assert stage.find(".elf-step-score").inner_text() == "Rated 4 (not confirmed yet)"
    assert stage.find(".elf-step-count").inner_text() == "2 of 4 rated"
    assert stage.find(".elf-step-mark.elf-unsure").inner_text() == "4"
    asked = stage.sent()
    assert [(one["kind"], one.get("place"), one.get("mark"), one["number"]) for one in asked] == [
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
    assert stage.sent() == asked  # asked once more, as it was
    stage.page.clock.fast_forward(11_000)
    assert stage.sent() == []
    sender = asked[0]["sender"]
    stage.say(state("3...", 1, processed={sender: 1}))
    assert stage.find(".elf-step-score").inner_text() == "Rated 4 (not confirmed yet)"
    stage.say(state("34..", 1, processed={sender: 5}))
    assert stage.find(".elf-step-score").inner_text() == "Rated 4"
    assert stage.find(".elf-step-confirmation").inner_text() == ""
    assert stage.find(".elf-stepper").get_attribute("data-waiting") == "0"


def test_a_step_of_before_is_taken_back_at_once(rating: Callable[..., Stage]) -> None:
    """However slow the kernel is: the next score is for what is seen by then."""
    stage = rating()
    stage.open([card(place) for place in range(4)], {**state("35..", 2), "steps": [[0, "."], [1, "4"], [1, "."]]})
    stage.press("u", "u", "2")
    assert [(one["kind"], one.get("place")) for one in stage.sent()] == [("undo", None), ("undo", None), ("mark", 1)]
    assert stage.find(".elf-step-count").inner_text() == "2 of 4 rated"
    stage.press("ArrowLeft")
    assert stage.find(".elf-step-score").inner_text() == "Rated 2 (not confirmed yet)"


def test_what_the_kernel_says_counts(rating: Callable[..., Stage]) -> None:
    """Where it has heard all and says otherwise, that is so; its problem is said."""
    stage = rating()
    stage.open([card(place) for place in range(3)], state("...", 0))
    stage.press("3")
    stage.say(state("...", 0, processed={stage.sent()[0]["sender"]: 1}, problem="the frame <b>was</b> changed"))
    assert stage.where() == "1 of 3"
    assert stage.find(".elf-step-score").is_hidden()
    assert stage.find("[data-kind=problem]").inner_text() == "the frame <b>was</b> changed"


def test_a_kernel_that_is_gone_is_asked_for_nothing(rating: Callable[..., Stage]) -> None:
    """It says so, and how many marks did not reach it."""
    stage = rating()
    stage.open([card(place) for place in range(3)], state("...", 0), layout={"comm_live": True})
    stage.press("3")
    stage.page.evaluate("() => { stage.model.state.layout.comm_live = false; stage.model.emit('comm_live_update') }")
    stage.press("4", "u")
    assert len(stage.sent()) == 1
    assert stage.find(".elf-step-confirmation").inner_text() == "The kernel is not connected. 1 mark not saved."


def test_nothing_is_marked_unseen(rating: Callable[..., Stage]) -> None:
    """One that the kernel has not sent yet waits, and a key that is held down marks one, not all."""
    stage = rating()
    stage.open([card(0)], state("...", 0))
    stage.press("3", "5", "0")
    assert [one["place"] for one in stage.sent()] == [0]
    assert stage.find(".elf-step-unseen").is_visible()
    stage.page.evaluate("([first, items]) => stage.put('window', {first, items})", [1, [card(1), card(2)]])
    assert stage.where() == "2 of 3"
    stage.find(".elf-stepper").focus()
    stage.page.keyboard.down("4")
    stage.page.keyboard.down("4")
    stage.page.keyboard.up("4")
    assert [one["place"] for one in stage.sent()] == [1]


def test_keys_reach_nobody_else_and_players_keep_theirs(rating: Callable[..., Stage]) -> None:
    """The page around hears none; arrows in a film are the film's, digits are scores there too."""
    stage = rating()
    film = card(0, OVER_HTTP.format("film.mp4"), kind="video")
    stage.open([film, card(1)], state("..", 0))
    stage.page.evaluate("() => document.addEventListener('keydown', (event) => (window.heard ??= []).push(event.key))")
    stage.find("video").focus()
    for key in ("ArrowRight", "Home", "d", "3"):
        stage.page.keyboard.press(key)
    assert [(one["kind"], one["mark"]) for one in stage.sent()] == [("mark", "3")]
    stage.press("u", "ArrowRight", "Control+z")
    assert [one["kind"] for one in stage.sent()] == ["undo", "go"]
    assert stage.page.evaluate("() => (window.heard ?? []).filter(key => key !== 'Control')") == []
    stage.find(".elf-step-mark").last.focus()
    stage.page.keyboard.press(" ")
    assert [one["mark"] for one in stage.sent()] == ["5"]


def test_the_focus_is_never_lost(rating: Callable[..., Stage]) -> None:
    """A button that does nothing any more stays one: else the next key would be the notebook's."""
    stage = rating()
    stage.open([card(0)], state(".", 0))
    stage.click(".elf-step-mark >> nth=0")
    assert stage.find(".elf-step-end").is_visible()
    stage.click(".elf-step-undo")
    stage.page.keyboard.press("Enter")
    assert [one["kind"] for one in stage.sent()] == ["mark", "undo"]
    assert stage.page.evaluate("() => document.activeElement.textContent") == "Undo"
    assert stage.find(".elf-step-undo").get_attribute("aria-disabled") == "true"


def test_the_focus_stays_inside_when_what_had_it_is_gone(rating: Callable[..., Stage]) -> None:
    """The end's button disappears with the end, and a link with its result: the whole has the focus then."""
    stage = rating()
    stage.open([card(0, text="a poem"), card(1, OVER_HTTP.format("x.bin"), kind="link")], state(".5", 2))
    stage.click(".elf-step-end > .elf-step-button")
    assert stage.where() == "1 of 2"
    assert stage.page.evaluate("() => document.activeElement.className") == "eachlabs-view elf-stepper"
    stage.press("ArrowRight")
    stage.find(".elf-step-stage a").focus()
    stage.page.keyboard.press("1")
    assert stage.page.evaluate("() => document.activeElement.className") == "eachlabs-view elf-stepper"
    stage.page.keyboard.press("Escape")
    assert stage.page.evaluate("() => document.activeElement.localName") == "body"


def test_a_comparison_shows_no_name_until_it_is_told(comparison: Callable[..., Stage]) -> None:
    """Not of a link either, nor of a picture that is gone; then which is which, per pair."""
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
    assert [one.get("mark") for one in stage.sent()] == ["r", "t", None, "l"]
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
    told = {
        "names": ["first", "second"],
        "a_is_left": "01",
        "win_rates": [share, none],
        "confidence": "95%",
        "not_blind": 1,
    }
    stage.say(state("rl", 2, processed={}, revealed=told))
    assert stage.find(".elf-step-share").all_inner_texts()[0].split("\n")[:2] == ["<i>a</i>", "50.0%"]
    assert "%" not in stage.find(".elf-step-share").last.inner_text()
    assert "1 pair judged after the reveal" in stage.find(".elf-step-mean").inner_text()
