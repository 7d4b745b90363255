"""Tests of the dashboard's page without JupyterLab: `dashboard.js` in Chromium with a model that the tests control."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import stage as stages
from .stage import PICTURE, Json

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

pytestmark = pytest.mark.browser

STATUSES = ["pending", "invalid", "queued", "running", "completed", "failed", "cancelled", "unknown"]
PENDING, INVALID, QUEUED, RUNNING, COMPLETED, FAILED = range(6)


class Stage(stages.Stage):
    """A page with a dashboard, and the kernel's side of its model."""

    seq = 1

    def start(self, snapshot: Json, *, views: int = 1, layout: Json | None = None) -> None:
        self.seq = snapshot["seq"]
        super().start(snapshot, views=views, layout=layout)

    def update(self, **changes: Any) -> None:
        self.seq += 1
        self.push({"kind": "update", "seq": self.seq, "now": time.time(), **changes})

    def rows(self, line: int, rows: list[Json], *, offset: int = 0, total: int | None = None) -> None:
        total = len(rows) if total is None else total
        self.push({"kind": "rows", "line": line, "offset": offset, "total": total, "rows": rows})

    def line(self, place: int) -> Locator:
        return self.page.locator(f"[data-line='{place}']")

    def expander(self, place: int) -> Locator:
        return self.line(place).locator(".elf-expand")

    def visible(self) -> list[int]:
        """Return the visible lines, from top to bottom."""
        places: list[int] = self.page.evaluate(
            """async () => {
                await stage.painted()
                const list = document.querySelector('.elf-list').getBoundingClientRect()
                return [...document.querySelectorAll('[data-line]')]
                    .map(line => [Number(line.dataset.line), line.getBoundingClientRect()])
                    .filter(([, box]) => box.bottom > list.top + 1 && box.top < list.bottom - 1)
                    .sort(([, a], [, b]) => a.top - b.top).map(([place]) => place)
            }"""
        )
        return places

    def focused(self) -> int | None:
        """Return the line that has the focus, if any."""
        place: int | None = self.page.evaluate(
            """() => {
                const line = document.activeElement?.closest('[data-line]')
                return line && Number(line.dataset.line)
            }"""
        )
        return place


@pytest.fixture
def open_stage(browser: Browser) -> Iterator[Callable[..., Stage]]:
    """Yield a function that opens pages; assert that none logs an error, opens a dialog or runs scripts."""
    with stages.stages(browser, "dashboard") as open_page:
        yield lambda **how: Stage(open_page(**how))


@pytest.fixture
def stage(open_stage: Callable[..., Stage]) -> Stage:
    """Open an empty page."""
    return open_stage()


def bulk(place: int) -> str:
    """Return the bulk_id of a line; its first eight characters are the line's index."""
    return f"{place:08d}-0000-4000-a000-000000000000"


def snapshot(lines: list[list[int]] | int, *, now: float | None = None, **head: Any) -> Json:
    """Return a snapshot of lines with these status codes and row counts, or of lines with ten completed rows each."""
    now = time.time() if now is None else now
    pairs = [[COMPLETED, 10]] * lines if isinstance(lines, int) else lines
    counts: dict[str, int] = {}
    for line in pairs:
        for code, rows in zip(line[::2], line[1::2], strict=True):
            counts[STATUSES[code]] = counts.get(STATUSES[code], 0) + rows
    total = sum(counts.values())
    usual = {"workflow": "posters", "version": "1f9c2ab0-77aa", "run": "spring", "phase": "tracking", "total": total}
    more = {"accepted": total, "counts": counts, "cost_usd": 1.5, "balance_usd": 20.0, "started_at": now - 65}
    return {
        "seq": 1,
        "now": now,
        "head": {**usual, **more, "ended_at": None, "rate": 118.2, **head},
        "statuses": STATUSES,
        "lines": [[bulk(place), now - 100 + place * 1e-3, line] for place, line in enumerate(pairs)],
        "errors": [],
        "more_errors": 0,
        "rows": {},
    }


def row(label: str = "7", **values: Any) -> Json:
    """Return a row of an opened line."""
    empty = {"title": "", "execution_id": "exec-0001-abcdef", "status": "completed", "error": None, "output": None}
    return {"label": label, **empty, "cost_usd": 0.03, "seconds": 12.4, **values}


# -- snapshots and updates ------------------------------------------------------------------------------------------


def test_snapshot_is_rendered(stage: Stage) -> None:
    """The page shows the header, the counts with their symbols, and a line per bulk operation."""
    stage.start(snapshot([[COMPLETED, 7, RUNNING, 2, FAILED, 1], [QUEUED, 10]]))
    assert stage.find(".elf-workflow").inner_text() == "posters"
    assert stage.find(".elf-version").get_attribute("title") == "version 1f9c2ab0-77aa"
    assert stage.find(".elf-run").inner_text() == "run spring"
    assert stage.find(".elf-phase").inner_text() == "◐Tracking"
    assert stage.find("[data-metric=settled]").inner_text() == "8 of 20 · 40%"
    assert stage.find("[data-metric=cost]").inner_text() == "$1.50"
    assert stage.find(".elf-bar-total").get_attribute("aria-label") == "7 completed, 1 failed, 2 running, 10 queued"
    legend = {
        status: stage.find(f".elf-legend [data-status={status}] .elf-count").inner_text() for status in STATUSES[2:6]
    }
    assert legend == {"queued": "10", "running": "2", "completed": "7", "failed": "1"}
    assert stage.line(0).locator(".elf-id").inner_text() == "00000000"
    assert stage.line(0).locator(".elf-bar").get_attribute("aria-label") == "7 completed, 1 failed, 2 running"
    assert stage.line(0).locator(".elf-counts [data-status=failed]").inner_text() == "✕1"
    assert stage.line(0).locator(".elf-age").inner_text() == "1 min"


def test_update_changes_only_the_values_it_contains(stage: Stage) -> None:
    """Existing nodes are kept, and a null value is removed."""
    stage.start(snapshot([[RUNNING, 10], [QUEUED, 10]]))
    stage.page.evaluate("() => { window.before = document.querySelector(\"[data-line='0']\") }")
    head = {"counts": {"completed": 4, "running": 6, "queued": 10}, "cost_usd": None}
    stage.update(head=head, lines=[[0, COMPLETED, 4, RUNNING, 6]])
    assert stage.line(0).locator(".elf-bar").get_attribute("aria-label") == "4 completed, 6 running"
    assert stage.line(1).locator(".elf-bar").get_attribute("aria-label") == "10 queued"
    assert stage.find("[data-metric=cost]").inner_text() == "\u2013"
    assert stage.find(".elf-workflow").inner_text() == "posters"
    assert stage.page.evaluate("() => window.before.isConnected")


def test_saved_state_equals_the_shown_state(stage: Stage) -> None:
    """The model's snapshot contains all updates and the opened rows, and is never written back to the kernel."""
    stage.start(snapshot([[RUNNING, 10]]))
    stage.click(stage.expander(0))
    stage.rows(0, [row()])
    stage.update(
        head={"phase": "settled", "ended_at": 5.0},
        lines=[[0, COMPLETED, 10]],
        added=[["late", None, [PENDING, 1]]],
        errors=[[0, 2, "no", ["1", "2"]]],
        more_errors=3,
    )
    saved = stage.saved()
    assert (saved["seq"], saved["head"]["phase"], saved["more_errors"]) == (2, "settled", 3)
    assert [line[2] for line in saved["lines"]] == [[COMPLETED, 10], [PENDING, 1]]
    assert saved["errors"] == [[2, "no", ["1", "2"]]]
    assert saved["rows"]["0"]["rows"][0]["label"] == "7"
    assert stage.page.evaluate("() => stage.model.saves") == 0


def test_unknown_status_is_shown_unchanged(stage: Stage) -> None:
    """A status that the package does not know is shown by its name with a generic symbol."""
    stage.start(snapshot([[RUNNING, 10]]))
    stage.update(statuses=[*STATUSES, "throttled"], lines=[[0, 8, 10]], head={"counts": {"throttled": 10}})
    assert stage.find(".elf-legend [data-status=throttled]").inner_text().split() == ["◇", "throttled", "10"]
    assert stage.line(0).locator(".elf-bar").get_attribute("aria-label") == "10 throttled"
    stage.update(head={"counts": {"running": 10}})
    assert stage.find(".elf-legend [data-status=throttled] .elf-count").inner_text() == "0"


def test_elapsed_time_follows_the_kernels_clock(open_stage: Callable[..., Stage]) -> None:
    """Elapsed time is correct although the clocks of kernel and browser differ by an hour."""
    stage = open_stage(clock=True)
    stage.start(snapshot(1, now=time.time() - 3600))
    assert stage.sent() == [{"kind": "sync"}]
    stage.seq += 1
    stage.push({"kind": "update", "seq": stage.seq, "now": time.time() - 3600})
    stage.page.clock.fast_forward(2_000)
    stage.page.wait_for_function(
        "() => ['1:07', '1:08'].includes(document.querySelector('[data-metric=elapsed]').innerText)"
    )
    stage.update(head={"ended_at": time.time() - 3600 - 60})
    assert stage.find("[data-metric=elapsed]").inner_text() == "0:05"


def test_live_region_contains_messages_but_no_counts(stage: Stage) -> None:
    """The polite live region has the wait, the time of the last response and the problem, but no counts."""
    stage.start(snapshot(3))
    top = stage.find(".elf-toolbar").bounding_box()
    notice = stage.find(".elf-notice[role=status][aria-live=polite]")
    assert "polled until they end" in notice.inner_text()
    stage.update(head={"waiting_for": "The cap of 10 executions."})
    assert notice.inner_text() == "The cap of 10 executions."
    assert stage.find(".elf-toolbar").bounding_box() == top
    stage.update(head={"waiting_for": None, "stale_since": time.time() - 5, "problem": "No balance."})
    assert notice.locator("[data-kind=problem]").inner_text() == "No balance."
    assert "Stale since " in notice.locator("[data-kind=stale]").inner_text()
    assert notice.locator(".elf-count").count() == 0


def test_frame_without_a_triggered_row_shows_a_notice(stage: Stage) -> None:
    """The notice is shown with and without rows, until rows are sent."""
    stage.start({**snapshot(0, phase="idle")})
    assert stage.find(".elf-empty").inner_text() == "No row of this frame has been triggered yet."
    stage.update(added=[["", None, [PENDING, 1200]]])
    assert stage.line(0).locator(".elf-id").inner_text() == "not sent"
    assert stage.find(".elf-empty").is_visible()
    stage.update(added=[[bulk(1), time.time(), [QUEUED, 10]]], lines=[[0, PENDING, 1190]])
    assert stage.find(".elf-empty").is_hidden()


def test_line_without_rows_is_hidden(stage: Stage) -> None:
    """A line is hidden when all its rows have moved to other lines, such as the line of unsent rows."""
    stage.start(snapshot([[PENDING, 2], [COMPLETED, 10]]))
    stage.page.mouse.move(0, 0)
    stage.update(lines=[[0]], added=[[bulk(2), None, [QUEUED, 2]]])
    assert stage.visible() == [1, 2]
    assert stage.find(".elf-shown").inner_text() == "showing 2 of 2"


def test_errors_are_grouped_below_the_list(stage: Stage) -> None:
    """A group without rows is hidden, and groups beyond the maximum are only counted."""
    start = {**snapshot(3), "errors": [[4, "No such model", ["1", "5", "8"]], [0, "gone", []]]}
    stage.start(start)
    assert stage.find(".elf-group").count() == 1
    assert stage.find(".elf-group .elf-labels").inner_text() == "rows 1, 5, 8, …"
    stage.update(errors=[[1, 2, "timeout", ["3", "4"]], [0, 5]], more_errors=7)
    assert stage.find(".elf-group .elf-count").all_inner_texts() == ["5", "2"]
    assert stage.find(".elf-errors-count").inner_text() == "9 messages"
    assert stage.find(".elf-others").inner_text() == "and 7 other messages"
    stage.update(errors=[[0, 0], [1, 0]], more_errors=0)
    assert stage.find(".elf-errors").is_hidden()


def test_error_group_can_be_searched(stage: Stage) -> None:
    """The group's button searches for the first line of its message."""
    stage.start({**snapshot(3), "errors": [[4, "No such model\nat all", ["1"]]]})
    stage.click(".elf-find")
    assert stage.sent() == [{"kind": "find", "text": "No such model"}]


# -- lost and repeated messages -------------------------------------------------------------------------------------


def test_gap_in_the_sequence_requests_one_sync(stage: Stage) -> None:
    """Absolute values are applied at once; added lines with an unknown index wait for the snapshot."""
    stage.start(snapshot([[RUNNING, 10]]))
    stage.seq += 1
    stage.update(lines=[[0, COMPLETED, 10]], added=[[bulk(9), None, [QUEUED, 1]]])
    stage.update(head={"rate": 1.0})
    assert stage.sent() == [{"kind": "sync"}]
    assert stage.line(0).locator(".elf-bar").get_attribute("aria-label") == "10 completed"
    assert stage.find("[data-line]").count() == 1
    stage.page.evaluate("snapshot => stage.replace(snapshot)", {**snapshot(3), "seq": stage.seq})
    stage.update(added=[[bulk(3), None, [QUEUED, 1]]])
    assert stage.visible() == [0, 1, 2, 3]
    assert stage.sent() == []


def test_sync_without_a_response_is_requested_again(open_stage: Callable[..., Stage]) -> None:
    """The request is repeated after five seconds, not earlier."""
    stage = open_stage(clock=True)
    stage.start(snapshot(1))
    stage.seq += 1
    stage.update()
    stage.update()
    assert stage.sent() == [{"kind": "sync"}]
    stage.page.clock.fast_forward(5_100)
    stage.update()
    assert stage.sent() == [{"kind": "sync"}]


def test_repeated_messages_are_ignored(stage: Stage) -> None:
    """An old update is skipped, and a line that the snapshot already contains is not added again."""
    stage.start(snapshot([[RUNNING, 10]]))
    stage.update(added=[[bulk(0), None, [COMPLETED, 10]], [bulk(1), None, [QUEUED, 1]]])
    assert stage.line(0).locator(".elf-bar").get_attribute("aria-label") == "10 completed"
    stage.push({"kind": "update", "seq": 2, "now": time.time(), "lines": [[0, RUNNING, 10]]})
    assert stage.line(0).locator(".elf-bar").get_attribute("aria-label") == "10 completed"
    assert stage.visible() == [0, 1]


def test_snapshot_replaced_without_an_event_is_detected(stage: Stage) -> None:
    """Backbone replaces the object by an equal one without a change event; updates apply to the new object."""
    stage.start(snapshot([[RUNNING, 10]]))
    stage.page.evaluate("() => { stage.model.state.snapshot = structuredClone(stage.model.state.snapshot) }")
    stage.update(lines=[[0, COMPLETED, 10]])
    assert stage.saved()["lines"][0][2] == [COMPLETED, 10]


def test_snapshot_keeps_the_users_choices(stage: Stage) -> None:
    """Opened lines, their rows, the sort and the filters are kept, except for lines with another bulk_id."""
    stage.start(snapshot([[FAILED, 1], [FAILED, 2], [COMPLETED, 3]]))
    stage.find(".elf-sort").select_option("failures")
    stage.click(".elf-legend [data-status=failed]")
    for place in (0, 1):
        stage.click(stage.expander(place))
        stage.rows(place, [row(str(place))])
    after = snapshot([[FAILED, 1], [FAILED, 2], [FAILED, 3]])
    after["lines"][0][0] = "another"
    stage.sent()
    stage.page.evaluate("snapshot => stage.replace(snapshot)", after)
    assert stage.visible() == [2, 1, 0]
    assert stage.expander(0).get_attribute("aria-expanded") == "false"
    assert stage.line(0).locator(".elf-id").inner_text() == "another"
    assert stage.line(1).locator(".elf-label").inner_text() == "1"
    assert stage.sent() == [{"kind": "close", "line": 0}]
    assert list(stage.saved()["rows"]) == ["1"]


# -- the list of lines ----------------------------------------------------------------------------------------------


def test_ten_thousand_lines_are_virtualized(stage: Stage) -> None:
    """Only the lines near the visible part are in the page, at any scroll position."""
    stage.start(snapshot(10_000))
    for place in (0, 5_000, 9_990):
        stage.find(".elf-list").evaluate("(list, top) => { list.scrollTop = top }", place * 36)
        stage.page.wait_for_function("place => document.querySelector(`[data-line='${place}']`)", arg=place)
        shown = stage.visible()
        assert place in shown
        assert shown == list(range(shown[0], shown[0] + len(shown)))
        assert stage.find("[data-line]").count() < 60
    assert stage.line(9_999).get_attribute("aria-posinset") == "10000"
    assert stage.line(9_999).get_attribute("aria-setsize") == "10000"


def test_opened_line_moves_the_lines_below_it(stage: Stage) -> None:
    """They move by the height of its rows, also at other scroll positions."""
    stage.start(snapshot(1_000))
    stage.click(stage.expander(2))
    stage.rows(2, [row(str(label)) for label in range(10)])
    opened, below = stage.line(2).bounding_box(), stage.line(3).bounding_box()
    assert opened
    assert below
    assert opened["y"] + opened["height"] == pytest.approx(below["y"], abs=0.5)
    stage.find(".elf-list").evaluate("list => { list.scrollTop = 500 * 36 + 433 }")
    stage.page.wait_for_function("() => document.querySelector(\"[data-line='500']\")")
    assert stage.visible()[0] == 500


def test_added_lines_do_not_change_the_height_of_the_list(stage: Stage) -> None:
    """While rows are sent, the list already has its final height."""
    stage.start(snapshot([[PENDING, 200]], phase="sending"))
    before = stage.find(".elf-list").bounding_box()
    stage.update(added=[[bulk(place), time.time(), [QUEUED, 10]] for place in range(1, 30)])
    assert stage.find(".elf-list").bounding_box() == before
    assert stage.find(".elf-shown").inner_text() == "showing 30 of 30"


@pytest.mark.parametrize(("width", "rows"), [(700, 24), (1_000, 400)])
def test_updates_do_not_change_the_height(open_stage: Callable[..., Stage], width: int, rows: int) -> None:
    """Errors, notices and new lines keep the height of the dashboard; only opening a line may increase it."""
    stage = open_stage(width=width)
    whole = stage.find(".eachlabs-dashboard")
    unknown = dict.fromkeys(("run", "version", "cost_usd", "balance_usd", "rate"))
    stage.start(snapshot([[PENDING, rows]], phase="preparing", **unknown))
    before = whole.bounding_box()
    assert before
    lines = [[bulk(place), time.time(), [QUEUED, 10]] for place in range(1, rows // 10)]
    refused = "the prompt was refused by a filter " * 9
    for changes in (
        {"head": {"phase": "sending", "run": "spring", "version": "v1"}, "added": lines},
        {"head": {"waiting_for": "the balance does not pay for the next request: " * 4}},
        {"errors": [[0, 1, refused, ["7 “a fox”"]]], "head": {"counts": {"failed": 1, "queued": rows - 1}}},
        {"errors": [[1, 3, refused, ["8 “a heron”"]], [2, 1, "no such model", ["9"]]], "more_errors": 2},
        {"head": {"stale_since": time.time() - 60, "counts": {"unknown": 1, "invalid": 1, "cancelled": 3, "odd": 1}}},
        {"head": {"waiting_for": None, "stale_since": None, "cost_usd": 1_234.5, "balance_usd": 9.0, "rate": 700.0}},
        {"errors": [[0, 0], [1, 0]], "more_errors": 0},
        {"head": {"phase": "settled", "ended_at": time.time()}},
        {"lines": [[0], *([place, COMPLETED, 10] for place in range(1, rows // 10))]},
    ):
        stage.update(**changes)
        assert whole.bounding_box() == before
        assert stage.find(".elf-list").evaluate("list => list.clientHeight") >= 90
    stage.click(stage.expander(1))
    after = whole.bounding_box()
    assert after
    assert after["height"] > before["height"] or rows == 400


def test_space_for_errors_is_reserved_only_during_a_run(stage: Stage) -> None:
    """The space is reserved while the run is active, released when it settles, and reserved again for a retry."""
    spare = "list => list.clientHeight - 3 * 36"
    stage.start(snapshot(3, phase="sending"))
    assert stage.find(".elf-list").evaluate(spare) > 100
    stage.update(head={"phase": "settled", "ended_at": time.time()})
    assert stage.find(".elf-list").evaluate(spare) == 0
    stage.update(head={"phase": "tracking"})
    assert stage.find(".elf-list").evaluate(spare) > 100


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("sent", [0, 1, 2, 3]),
        ("newest", [3, 2, 1, 0]),
        ("failures", [2, 1, 0, 3]),
        ("least", [3, 0, 1, 2]),
        ("most", [1, 2, 0, 3]),
    ],
)
def test_lines_are_sorted(stage: Stage, sort: str, order: list[int]) -> None:
    """Equal lines keep the order in which they were sent."""
    lines = [[COMPLETED, 5, RUNNING, 5], [COMPLETED, 9, FAILED, 1], [FAILED, 10], [QUEUED, 10]]
    stage.start(snapshot(lines))
    stage.find(".elf-sort").select_option(sort)
    assert stage.visible() == order


def test_lines_are_filtered_by_any_status(stage: Stage) -> None:
    """With several statuses, lines with any of them are shown."""
    stage.start(snapshot([[COMPLETED, 10], [FAILED, 1, COMPLETED, 9], [QUEUED, 10], [RUNNING, 10]]))
    for status, shown in (("failed", [1]), ("queued", [1, 2])):
        stage.click(f".elf-legend [data-status={status}]")
        assert stage.find(f".elf-legend [data-status={status}]").get_attribute("aria-pressed") == "true"
        assert stage.visible() == shown
    assert stage.find(".elf-shown").inner_text() == "showing 2 of 4"
    stage.click(".elf-clear")
    assert stage.visible() == [0, 1, 2, 3]


def test_search_combines_local_matches_and_matches_of_the_kernel(stage: Stage) -> None:
    """A bulk_id is matched at once; the kernel's matches are added when they arrive, if the text is unchanged."""
    stage.start(snapshot(5))
    stage.find(".elf-search").fill("00000002")
    stage.page.wait_for_function("() => document.querySelectorAll('[data-line]').length === 1")
    assert stage.sent() == [{"kind": "find", "text": "00000002"}]
    stage.push({"kind": "found", "text": "older", "lines": [0]})
    assert stage.visible() == [2]
    stage.push({"kind": "found", "text": "00000002", "lines": [4]})
    assert stage.visible() == [2, 4]
    stage.find(".elf-search").press("Escape")
    assert stage.find(".elf-search").input_value() == ""
    assert stage.visible() == [0, 1, 2, 3, 4]
    stage.find(".elf-search").fill("nowhere")
    stage.page.wait_for_function("() => document.querySelector('.elf-empty').innerText === 'No rows match.'")


def test_lines_are_not_reordered_under_the_pointer_or_the_focus(open_stage: Callable[..., Stage]) -> None:
    """Changes and new lines do not move a hovered or focused line; the lines are sorted again afterwards."""
    stage = open_stage(clock=True)
    stage.start(snapshot([[RUNNING, 10], [RUNNING, 10]]))
    stage.find(".elf-sort").select_option("failures")
    stage.line(1).hover()
    stage.page.clock.fast_forward(4_000)
    stage.update(lines=[[1, FAILED, 3]], added=[[bulk(2), None, [FAILED, 9]]])
    assert stage.visible() == [0, 1, 2]
    stage.expander(0).focus()
    stage.page.mouse.move(0, 0)
    stage.page.clock.fast_forward(4_000)
    assert stage.visible() == [0, 1, 2]
    stage.find(".elf-sort").focus()
    stage.page.clock.fast_forward(4_000)
    stage.page.wait_for_function(
        "() => document.querySelector(\"[data-line='2']\").getAttribute('aria-posinset') === '1'"
    )
    assert stage.visible() == [2, 1, 0]


# -- opened lines ---------------------------------------------------------------------------------------------------


def test_line_is_opened_and_closed(stage: Stage) -> None:
    """Its rows are requested from the kernel and updated; rows that arrive after closing are ignored."""
    stage.start(snapshot([[RUNNING, 1, FAILED, 1]]))
    stage.click(stage.expander(0))
    assert stage.sent() == [{"kind": "open", "line": 0, "offset": 0}]
    assert stage.expander(0).get_attribute("aria-expanded") == "true"
    assert stage.find(".elf-message").inner_text() == "asking the kernel…"
    stage.rows(0, [row("a", status="running", seconds=None, cost_usd=None), row("b", status="failed", error="No!")])
    cells = stage.find(".elf-row").first.get_by_role("cell")
    assert [text.split() for text in cells.all_inner_texts()] == [["a"], ["exec-000"], ["◐", "running"], [], [], []]
    assert stage.find(".elf-row .elf-error").inner_text() == "No!"
    stage.page.evaluate("() => { window.before = document.querySelectorAll('.elf-row .elf-error')[0] }")
    output = {"kind": "text", "text": "done"}
    stage.rows(0, [row("a", output=output), row("b", status="failed", error="No!", cost_usd=0.01)])
    assert stage.find(".elf-row").first.inner_text().replace("\n", " ") == "a exec-000 ✓ completed done $0.03 12.4 s"
    assert stage.page.evaluate("() => window.before.isConnected")
    stage.click(stage.expander(0))
    assert stage.sent() == [{"kind": "close", "line": 0}]
    stage.rows(0, [row()])
    assert stage.find(".elf-row").count() == 0
    assert stage.saved()["rows"] == {}


def test_rows_have_column_headers_and_titles(stage: Stage) -> None:
    """The column of titles is hidden if no row has a title."""
    stage.start(snapshot(2))
    assert stage.find(".elf-heads").inner_text().split("\n") == ["bulk_id", "Progress", "Rows by status", "Age"]
    stage.click(stage.expander(0))
    stage.rows(0, [row("7", title="a fox in the snow"), row("8", title="")])
    heads, titles = stage.find("[role=columnheader]"), stage.find(".elf-row-title")
    assert heads.all_inner_texts() == ["Row", "Label", "Execution", "Status", "Result", "Cost", "Time"]
    assert titles.all_inner_texts() == ["a fox in the snow", ""]
    head, cell = heads.nth(1).bounding_box(), titles.nth(0).bounding_box()
    assert head
    assert cell
    assert head["x"] == pytest.approx(cell["x"], abs=0.5)
    stage.rows(0, [row("7"), row("8")])
    assert titles.nth(0).is_hidden()
    assert heads.nth(1).is_hidden()


def test_rows_are_paginated(stage: Stage) -> None:
    """Rows of another page than the requested one are ignored."""
    stage.start(snapshot([[PENDING, 120]]))
    stage.click(stage.expander(0))
    stage.rows(0, [row(str(label)) for label in range(50)], total=120)
    assert "rows 1\u201350 of 120" in stage.find(".elf-foot").inner_text()
    assert stage.find(".elf-earlier").is_disabled()
    stage.click(".elf-more")
    assert stage.sent()[-1] == {"kind": "open", "line": 0, "offset": 50}
    stage.rows(0, [row("late")], total=120)
    assert stage.find(".elf-label").first.inner_text() == "0"
    stage.rows(0, [row(str(label)) for label in range(50, 100)], offset=50, total=120)
    assert stage.find(".elf-label").first.inner_text() == "50"
    stage.click(".elf-earlier")
    assert stage.sent() == [{"kind": "open", "line": 0, "offset": 0}]


def test_page_beyond_the_last_row_is_replaced_by_the_last_page(stage: Stage) -> None:
    """If rows have moved away, the kernel clips the offset and the page requests a valid one."""
    stage.start(snapshot([[PENDING, 120]]))
    stage.click(stage.expander(0))
    stage.rows(0, [row(str(label)) for label in range(50)], total=120)
    stage.click(".elf-more")
    stage.sent()
    stage.rows(0, [], offset=30, total=30)
    assert stage.sent() == [{"kind": "open", "line": 0, "offset": 0}]
    stage.rows(0, [row("first")], total=30)
    assert stage.find(".elf-label").first.inner_text() == "first"


def test_saved_state_is_shown_without_a_kernel(open_stage: Callable[..., Stage]) -> None:
    """Saved rows are shown, other lines report that they need a kernel, and the elapsed time stops."""
    stage = open_stage(clock=True)
    saved = snapshot(3, now=time.time() - 86_400 * 30)
    saved["rows"] = {"1": {"offset": 0, "total": 1, "rows": [row("kept")]}}
    stage.start(saved)
    assert stage.line(1).locator(".elf-label").inner_text() == "kept"
    stage.click(stage.expander(2))
    stage.page.clock.fast_forward(4_000)
    stage.page.wait_for_function(
        "() => /The kernel has not responded yet/.test(document.querySelector('.elf-notice').innerText)"
    )
    stage.page.wait_for_function(
        "() => /needs a running kernel/.test(document.querySelector('[data-line=\"2\"] .elf-message').innerText)"
    )
    assert stage.find("[data-metric=elapsed]").inner_text() == "1:05"
    assert stage.saved()["rows"]["1"]["rows"][0]["label"] == "kept"


def test_click_on_an_id_copies_it_in_full(stage: Stage) -> None:
    """The button shows "copied" for a moment."""
    stage.start(snapshot(1))
    stage.click(stage.expander(0))
    stage.rows(0, [row()])
    for button, text in ((".elf-line-main .elf-id", bulk(0)), (".elf-row .elf-id", "exec-0001-abcdef")):
        stage.click(button)
        stage.page.wait_for_function("button => document.querySelector(button).innerText === 'copied'", arg=button)
        assert stage.page.evaluate("() => navigator.clipboard.readText()") == text
        stage.page.wait_for_function("button => document.querySelector(button).innerText !== 'copied'", arg=button)


def test_ids_are_copied_without_the_clipboard_api(stage: Stage) -> None:
    """On an insecure page `execCommand` is used, and the focus is kept."""
    stage.start(snapshot(1))
    stage.page.evaluate(
        """() => {
            Object.defineProperty(navigator, 'clipboard', {value: undefined})
            document.execCommand = command => {
                window.copied = [command, String(document.activeElement.value)]
                return true
            }
        }"""
    )
    stage.line(0).locator(".elf-id").click()
    stage.page.wait_for_function("() => document.querySelector('.elf-line-main .elf-id').innerText === 'copied'")
    assert stage.page.evaluate("() => window.copied") == ["copy", bulk(0)]
    assert stage.focused() == 0


def test_file_message_is_downloaded(stage: Stage) -> None:
    """The download has the name and the bytes of the message."""
    stage.start(snapshot(1))
    with stage.page.expect_download() as download:
        stage.page.evaluate("() => stage.file({kind: 'file', name: 'a.csv', type: 'text/csv'}, [97, 44, 98, 10])")
    assert download.value.suggested_filename == "a.csv"
    assert Path(download.value.path()).read_bytes() == b"a,b\n"


# -- untrusted text -------------------------------------------------------------------------------------------------

SCRIPT = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'><svg onload='window.ran = 1'>"
RTL = "\u202e\u0645\u0631\u062d\u0628\u0627 שלום 👩‍👩‍👧‍👦 \u202d\u0000"
LONG = "x" * 100_000


@pytest.mark.parametrize("text", [SCRIPT, RTL, LONG, "{{7*7}} ${7*7} __proto__"], ids=["html", "rtl", "long", "code"])
def test_untrusted_text_is_shown_as_text(stage: Stage, text: str) -> None:
    """Every value from outside is rendered as text and does not break the layout."""
    start = snapshot([[COMPLETED, 1], []], workflow=text, version=text, run=text, problem=text, waiting_for=text)
    start["statuses"] = [*STATUSES, text]
    start["lines"][1][2] = [len(STATUSES), 1]
    start["head"]["counts"][text] = 1
    start["lines"][0][0] = text
    start["errors"] = [[1, text, [text]]]
    stage.start(start)
    stage.click(stage.expander(0))
    outputs = [{"kind": kind, "url": text, "text": text} for kind in ("image", "video", "audio", "link", "text", text)]
    stage.rows(0, [row(text, execution_id=text, status=text, error=text, output=output) for output in outputs])
    assert stage.find(".elf-row").count() == 6
    assert stage.find(".eachlabs-dashboard :is(script, img, svg, video, audio, a, iframe, style)").count() == 0
    shown = stage.find(".elf-row .elf-output").first.text_content()
    assert shown
    assert shown.startswith(text[:100])
    box = stage.find(".eachlabs-dashboard").bounding_box()
    assert box
    assert (box["x"], box["width"]) == (12, 1000 - 24)
    assert stage.find(".eachlabs-dashboard").evaluate("root => root.scrollWidth <= root.clientWidth")
    row_heights = stage.find(".elf-row").evaluate_all("rows => rows.map(row => row.getBoundingClientRect().height)")
    assert set(row_heights) == {40}


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("link", "javascript:window.ran=1"),
        ("link", " java\tscript:window.ran=1"),
        ("image", "javascript:window.ran=1"),
        ("image", "data:text/html,<script>window.ran=1</script>"),
        ("video", "data:text/html,<script>window.ran=1</script>"),
        ("link", "data:image/svg+xml,<svg onload='window.ran=1'/>"),
        ("link", "vbscript:x"),
        ("link", "file:///etc/passwd"),
        ("image", "blob:http://localhost/1"),
        ("link", "//evil.example/x"),
        ("link", "/relative"),
        ("link", ""),
    ],
)
def test_only_safe_urls_become_more_than_text(stage: Stage, kind: str, url: str) -> None:
    """Unsafe URLs stay text even if the kernel sends them as links or media."""
    stage.start(snapshot(1))
    stage.click(stage.expander(0))
    stage.rows(0, [row(output={"kind": kind, "url": url, "text": f"text {url}"})])
    assert stage.find(".elf-row .elf-output").inner_text().startswith("text")
    assert stage.find(".elf-row :is(a, img, video, audio)").count() == 0


def test_media_and_links_do_not_leak_the_page(stage: Stage) -> None:
    """Pictures are loaded lazily without a referrer, and links open a new tab without an opener."""
    stage.start(snapshot(1))
    stage.click(stage.expander(0))
    urls = {"image": "https://cdn.test/a/pic.svg", "video": "https://cdn.test/v.mp4", "link": "https://cdn.test/f.pdf"}
    rows = [row(kind, output={"kind": kind, "url": url, "text": url}) for kind, url in urls.items()]
    rows.append(row("audio", output={"kind": "audio", "url": "https://cdn.test/a.mp3", "text": "a"}))
    rows.append(row("data", output={"kind": "image", "url": f"data:image/svg+xml,{PICTURE}", "text": "d"}))
    stage.rows(0, rows)
    picture = stage.find(".elf-row img").first
    assert picture.get_attribute("src") == urls["image"]
    assert picture.get_attribute("loading") == "lazy"
    assert picture.get_attribute("referrerpolicy") == "no-referrer"
    assert picture.get_attribute("alt") == "output of row image"
    stage.page.wait_for_function(
        "() => [...document.querySelectorAll('.elf-row img')].every(image => image.naturalWidth > 0)"
    )
    links = stage.find(".elf-row a")
    assert links.count() >= 3
    for link in links.all():
        assert link.get_attribute("rel") == "noopener noreferrer"
        assert link.get_attribute("target") == "_blank"
    assert stage.find(".elf-row audio").get_attribute("preload") == "none"


# -- keyboard, several views and the kernel's connection ------------------------------------------------------------


def test_list_is_operable_by_keyboard(stage: Stage) -> None:
    """Tab stops at one line only; arrow keys move between lines, and the list scrolls with the focus."""
    stage.start(snapshot(1_000))
    stage.find(".elf-sort").focus()
    stage.page.keyboard.press("Tab")
    assert stage.focused() == 0
    steps = {"ArrowDown": 1, "PageDown": 12, "ArrowUp": 11, "End": 999, "PageUp": 988, "Home": 0}
    for key, place in steps.items():
        stage.page.keyboard.press(key)
        assert stage.focused() == place
        assert place in stage.visible()
    stage.page.keyboard.press("Enter")
    # On a slow machine the page may have sent a sync message meanwhile.
    assert [message for message in stage.sent() if message["kind"] != "sync"] == [
        {"kind": "open", "line": 0, "offset": 0}
    ]
    stage.page.keyboard.press("Space")
    assert stage.sent() == [{"kind": "close", "line": 0}]
    stage.page.keyboard.press("Tab")
    assert stage.page.evaluate("() => document.activeElement.className") == "elf-id"
    stage.page.keyboard.press("Tab")
    assert stage.focused() is None


def test_focus_survives_updates_and_scrolling(stage: Stage) -> None:
    """The focused line keeps the focus during updates, when lines are added, and while it is scrolled out of view."""
    stage.start(snapshot(1_000))
    stage.expander(5).focus()
    stage.update(lines=[[place, FAILED, 10] for place in range(20)], added=[[bulk(1_000), None, [QUEUED, 1]]])
    assert stage.focused() == 5
    for top in (300 * 36, 2 * 36, 0):
        stage.find(".elf-list").evaluate("(list, top) => { list.scrollTop = top }", top)
        stage.page.wait_for_function("place => document.querySelector(`[data-line='${place}']`)", arg=top // 36)
        assert stage.focused() == 5
    stage.page.wait_for_function(
        """() => {
            const places = [...document.querySelectorAll('[data-line]')].map(node => Number(node.dataset.line))
            return places.every((place, at) => place === at)
        }"""
    )
    stage.page.keyboard.press("ArrowDown")
    assert stage.focused() == 6


def test_keys_do_not_leave_the_dashboard(stage: Stage) -> None:
    """The notebook gets no key presses except combinations with Ctrl."""
    stage.start(snapshot(2))
    stage.page.evaluate(
        "() => { window.heard = []; document.addEventListener('keydown', event => heard.push(event.key)) }"
    )
    stage.find(".elf-search").press("d")
    stage.find(".elf-search").press("Escape")  # clears the search, which may hide all lines
    stage.expander(0).press("ArrowDown")
    stage.expander(0).press("Control+s")
    assert stage.page.evaluate("() => heard") == ["Control", "s"]
    assert stage.find(".eachlabs-dashboard[data-lm-suppress-shortcuts=true]").count() == 1


def test_views_of_one_model_share_its_store(stage: Stage) -> None:
    """Each view has its own sort and opened lines; the kernel is notified by the first open and the last close."""
    stage.start(snapshot([[QUEUED, 1], [FAILED, 1]]), views=2)
    first, second = stage.find(".eachlabs-dashboard").all()
    first.locator(".elf-sort").select_option("failures")
    assert second.locator(".elf-sort").input_value() == "sent"
    for view in (first, second):
        view.locator("[data-line='0'] .elf-expand").click()
    assert stage.sent() == [{"kind": "open", "line": 0, "offset": 0}]
    stage.rows(0, [row()])
    assert stage.find(".elf-row").count() == 2
    assert len(set(stage.find(".elf-rows").evaluate_all("blocks => blocks.map(block => block.id)"))) == 2
    first.locator("[data-line='0'] .elf-expand").click()
    assert stage.sent() == []
    stage.page.evaluate("() => stage.views[1].close()")
    assert stage.sent() == [{"kind": "close", "line": 0}]
    stage.update(lines=[[0, COMPLETED, 1]])
    assert first.locator("[data-line='0'] .elf-bar").get_attribute("aria-label") == "1 completed"


def test_closed_views_and_models_are_cleaned_up(open_stage: Callable[..., Stage]) -> None:
    """A closed view leaves no nodes or timers and a closed model no listeners; the next view shows the opened rows."""
    stage = open_stage(clock=True)
    stage.start(snapshot(3))
    stage.click(stage.expander(1))
    stage.rows(1, [row("kept")])
    stage.page.evaluate(
        """() => {
            window.timers = 0
            const start = window.setInterval, stop = window.clearInterval
            window.setInterval = (...given) => { timers += 1; return start(...given) }
            window.clearInterval = id => { timers -= 1; stop(id) }
            stage.views[0].close()
            timers = 0
        }"""
    )
    assert stage.find(".eachlabs-dashboard").count() == 0
    stage.page.evaluate("() => stage.show()")
    assert stage.line(1).locator(".elf-label").inner_text() == "kept"
    stage.page.evaluate("() => { stage.views[1].close(); stage.closeModel() }")
    assert stage.page.evaluate("() => [timers, stage.model.listeners.length]") == [0, 0]
    stage.update(lines=[[0, FAILED, 1]])


def test_list_restores_its_scroll_position(stage: Stage) -> None:
    """A notebook removes invisible outputs from the page and inserts them again later."""
    stage.start(snapshot(1_000))
    stage.find(".elf-list").evaluate("list => { list.scrollTop = 100 * 36 }")
    stage.page.wait_for_function("() => document.querySelector(\"[data-line='100']\")")
    stage.page.evaluate("() => { window.main = document.querySelector('main'); main.remove() }")
    stage.page.evaluate("async () => { await stage.painted(); document.body.append(main); await stage.painted() }")
    stage.page.wait_for_function("() => document.querySelector('.elf-list').scrollTop === 3600")
    assert stage.visible()[0] == 100


def test_failed_send_is_reported_as_a_missing_kernel(stage: Stage) -> None:
    """If sending raises because the connection is closed, the page shows a notice and the line a short message."""
    stage.start(snapshot(1))
    stage.page.evaluate("() => { stage.model.send = () => { throw new Error('Cannot send') } }")
    stage.click(stage.expander(0))
    assert stage.find(".elf-message").inner_text() == "showing rows needs a running kernel"
    assert stage.find(".elf-notice").inner_text().endswith("No kernel is connected.")
    assert stage.find(".elf-rows").evaluate("node => node.offsetHeight") < 2 * 40


@pytest.mark.parametrize("gone", ["comm_live = false", "comm.jsServicesComm.isDisposed = true"])
def test_lost_kernel_is_detected_within_a_second(open_stage: Callable[..., Stage], gone: str) -> None:
    """Jupyter does not report a shutdown; the elapsed time returns to that of the last message and stops."""
    stage = open_stage(clock=True)
    layout = {"comm_live": True, "comm": {"jsServicesComm": {"isDisposed": False}}}
    stage.start(snapshot(2, now=time.time()), layout=layout)
    stage.page.clock.fast_forward(60_000)
    stage.page.wait_for_function("() => /^2:0[5-9]/.test(document.querySelector('[data-metric=elapsed]').innerText)")
    assert "kernel" not in stage.find(".elf-notice").inner_text()
    stage.page.evaluate(f"() => {{ stage.model.state.layout.{gone} }}")
    stage.page.clock.fast_forward(1_000)
    stage.page.wait_for_function("() => document.querySelector('[data-metric=elapsed]').innerText === '1:05'")
    assert stage.find(".elf-notice").inner_text().endswith("No kernel is connected.")


def test_recently_saved_notebook_without_a_kernel_is_detected(stage: Stage) -> None:
    """A false `comm_live` takes precedence over a recent snapshot."""
    stage.start(snapshot(2, now=time.time()), layout={"comm_live": False})
    assert stage.find(".elf-notice").inner_text().endswith("No kernel is connected.")
    assert stage.sent() == []


@pytest.mark.parametrize("width", [600, 1400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_violation(open_stage: Callable[..., Stage], axe: Path, width: int, dark: bool) -> None:
    """Every status, an opened line, all messages and a filter pass in both themes."""
    stage = open_stage(width=width, dark=dark)
    every = [number for code in range(8) for number in (code, code + 1)]
    head = {"problem": "No balance.", "waiting_for": "A cap. " * 60, "stale_since": time.time()}
    stage.start({**snapshot([every] * 40, **head), "errors": [[3, LONG[:500], ["1"]]], "more_errors": 2})
    stage.click(stage.expander(0))
    outputs = [
        {"kind": "image", "url": "https://cdn.test/a.svg", "text": "a"},
        {"kind": "link", "url": "https://cdn.test/a.pdf", "text": "a"},
        {"kind": "audio", "url": "https://cdn.test/a.mp3", "text": "a"},
        {"kind": "text", "text": "word " * 50},
    ]
    rows = [
        row(status, status=status, output=output, error="Why? " * 40, title="a fox in the snow " * 9)
        for status, output in zip(STATUSES, outputs * 2, strict=True)
    ]
    stage.rows(0, rows, total=90)
    stage.click(".elf-legend [data-status=failed]")
    stage.page.add_script_tag(content=axe.read_text("utf-8"))
    found = stage.page.evaluate("async () => (await axe.run('.eachlabs-dashboard')).violations")
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found] == []
