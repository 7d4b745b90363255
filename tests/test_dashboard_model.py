"""What the dashboard is told: all that changed, each thing in the end, never more at once than fits."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.models import STATUSES, Outcome
from eachlabs_frames.views.common.outcomes import MAX_STATUSES, OTHER
from eachlabs_frames.views.dashboard.messages import ErrorGroup
from eachlabs_frames.views.dashboard.model import MAX_MESSAGE_BYTES, DashboardModel
from eachlabs_frames.views.dashboard.row_groups import MAX_GROUPS

USUAL_LIMIT = 3_072 - 600
HARD_LIMIT = 6_144 - 600
SECOND = 1_000_000_000


def size(message: Any) -> int:
    """Return the bytes of a message as the issue counts them."""
    return len(json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())


def make_model(rows: int) -> DashboardModel:
    """Return a model of rows labelled "row 0" and so on."""
    return DashboardModel([f"row {row}" for row in range(rows)])


def errors(model: DashboardModel) -> list[ErrorGroup]:
    """Return every error message with its rows, also those that no message names, the most frequent first."""
    groups = [group for group in (*model._groups.shown, *model._groups._waiting.values()) if group.rows]
    return [model._error_group(group) for group in sorted(groups, key=lambda group: -len(group.rows))]


class Browser:
    """Applies messages as the dashboard's JavaScript does, in the plainest way."""

    def __init__(self, snapshot: Any) -> None:
        self.shown = json.loads(json.dumps(snapshot))

    def apply(self, update: Any) -> None:
        """Apply an update."""
        update, shown = json.loads(json.dumps(update)), self.shown
        assert update["seq"] == shown["seq"] + 1
        shown["seq"], shown["now"] = update["seq"], update["now"]
        shown["head"].update(update.get("head", {}))
        shown["statuses"] = update.get("statuses", shown["statuses"])
        shown["more_errors"] = update.get("more_errors", shown["more_errors"])
        shown["lines"] += update.get("added", [])
        for place, *pairs in update.get("lines", []):
            shown["lines"][place][2] = pairs
        for place, rows, *rest in update.get("errors", []):
            if not rest:
                shown["errors"][place][0] = rows
            elif place == len(shown["errors"]):
                shown["errors"].append([rows, *rest])
            else:
                shown["errors"][place] = [rows, *rest]

    def catch_up(self, model: DashboardModel, head: dict[str, Any]) -> int:
        """Apply updates until there is none; return how many there were."""
        count = 0
        while (update := model.update(head, self.shown["now"])) is not None:
            assert size(update) <= MAX_MESSAGE_BYTES
            self.apply(update)
            count += 1
        assert not model.behind
        return count


def plain(snapshot: Any) -> Any:
    """Return a snapshot as JSON, without the values that a head does not have."""
    shown = json.loads(json.dumps(snapshot))
    shown["head"] = {key: value for key, value in shown["head"].items() if value is not None}
    return shown


def unordered(snapshot: Any) -> Any:
    """Return what does not depend on the order in which things came."""
    words = snapshot["statuses"]
    lines = {
        bulk_id: {words[code]: rows for code, rows in zip(pairs[::2], pairs[1::2], strict=True)}
        for bulk_id, _, pairs in snapshot["lines"]
        if pairs
    }
    groups = sorted(group for group in snapshot["errors"] if group[0])
    return lines, groups, snapshot["more_errors"], snapshot["head"]


def by_word(snapshot: Any) -> dict[str, int]:
    """Add the lines up."""
    counts: dict[str, int] = {}
    for _, _, pairs in snapshot["lines"]:
        for code, rows in zip(pairs[::2], pairs[1::2], strict=True):
            counts[snapshot["statuses"][code]] = counts.get(snapshot["statuses"][code], 0) + rows
    return counts


# -- for any sequence of outcomes -----------------------------------------------------------------------------------

ROWS = 12
anything = st.text(st.characters(exclude_categories=()), max_size=30)
outcomes = st.builds(
    Outcome,
    position=st.integers(0, ROWS - 1),
    status=st.sampled_from([*STATUSES, "timed_out", "💥" * 30]),
    bulk_id=st.sampled_from([None, "", "b1", "b2", "b3", "ü" * 300]),
    execution_id=st.sampled_from([None, "e1", "e2"]),
    error=st.sampled_from([None, "", "no", "no money", "x" * 600, "\ud800", "\x00" * 500]) | anything,
    started_at=st.sampled_from([None, SECOND, 5 * SECOND]),
    completed_at=st.sampled_from([None, 7 * SECOND]),
    output=st.sampled_from([None, 1, float("nan"), ["https://example.com/a.png"]]),
    cost=st.sampled_from([None, 0.01, 0.1, 1e-7, float("nan"), float("inf")]),
)
heads = st.fixed_dictionaries(
    {},
    optional={
        "run": anything | st.none(),
        "phase": st.sampled_from(["sending", "settled"]),
        "waiting_for": anything.map(lambda text: text * 100) | st.none(),
        "problem": anything.map(lambda text: text * 100),
        "rate": st.floats() | st.none(),
    },
)
steps = st.lists(st.tuples(st.lists(outcomes, max_size=15), st.booleans(), st.none() | st.floats(0, 1e9), heads))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(steps)
def test_the_browser_shows_the_models_state_once_it_has_caught_up(steps: Any) -> None:
    """Whatever happens and whenever it is told: the updates lead to the same as a snapshot would."""
    model, now = make_model(ROWS), 0.0
    browser = Browser(model.snapshot({}, now, sent=True))
    for taken, tells, moment, head in steps:
        model.take(taken, now=moment)
        now += 0.25
        if tells and (update := model.update(head, now, budget=300)) is not None:
            assert size(update) <= HARD_LIMIT
            browser.apply(update)
    last = steps[-1][3] if steps else {}
    browser.shown["now"] = round(now, 3)
    browser.catch_up(model, last)
    assert plain(browser.shown) == plain(model.snapshot(last, now))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(outcomes, max_size=15)))
def test_a_model_depends_only_on_the_final_outcomes(taken: list[list[Outcome]]) -> None:
    """The way there does not matter, but for the places of lines and messages."""
    model, final = make_model(ROWS), {}
    for outcomes in taken:
        model.take(outcomes, now=1.0)
        final.update({outcome.position: outcome for outcome in outcomes})
        if len(final) % 2:
            model.snapshot({}, 1.0)
    fresh = make_model(ROWS)
    fresh.take(final.values(), now=None)
    shown = model.snapshot({}, 2.0)
    assert unordered(shown) == unordered(fresh.snapshot({}, 2.0))
    assert by_word(shown) == shown["head"]["counts"] == model.counts
    assert sum(model.counts.values()) == ROWS
    assert sorted(errors(model)) == sorted(errors(fresh))
    listed = [row for line in range(model.size) for row in model.rows(line, limit=ROWS)["rows"]]
    assert sorted(row["label"] for row in listed) == sorted(f"row {row}" for row in range(ROWS))
    json.dumps(listed, ensure_ascii=False, allow_nan=False).encode()
    assert model.find("") == list(range(model.size))


@settings(deadline=None)
@given(st.lists(outcomes, max_size=30))
def test_equal_outcomes_change_nothing(taken: list[Outcome]) -> None:
    """An outcome that a row has already makes no message."""
    model = make_model(ROWS)
    model.take(taken, now=1.0)
    model.snapshot({}, 1.0, sent=True)
    versions = [model.version(line) for line in range(model.size)]
    model.take({outcome.position: outcome for outcome in taken}.values(), now=2.0)
    assert model.update({}, 3.0) is None
    assert [model.version(line) for line in range(model.size)] == versions


# -- lines ----------------------------------------------------------------------------------------------------------


def test_a_line_keeps_its_place() -> None:
    """Lines stand in order of first appearance, also when a retry has taken all their rows away."""
    model = make_model(3)
    model.take([Outcome(0, "failed", "b1"), Outcome(1, "failed", "b2"), Outcome(2, "queued", "b1")], now=1.0)
    model.take([Outcome(0, "queued", "b3"), Outcome(2, "queued", "b3")], now=2.5)
    shown = model.snapshot({}, 3.0)
    assert shown["lines"] == [("b1", 1.0, []), ("b2", 1.0, [5, 1]), ("b3", 2.5, [2, 2])]


def test_rows_without_a_bulk_operation_have_a_line_only_where_there_are_any() -> None:
    """A frame that is loaded with all its rows sent has none; one that is shown before that has it first."""
    loaded = make_model(2)
    loaded.take([Outcome(0, "queued", "b1"), Outcome(1, "queued", "b1")], now=None)
    assert [line[0] for line in loaded.snapshot({}, 1.0)["lines"]] == ["b1"]
    watched = make_model(2)
    assert watched.snapshot({}, 1.0)["lines"] == [("", None, [0, 2])]
    watched.take([Outcome(0, "queued", "b1")], now=1.0)
    assert watched.snapshot({}, 1.0)["lines"] == [("", None, [0, 1]), ("b1", 1.0, [2, 1])]
    assert make_model(0).snapshot({}, 1.0)["lines"] == []


def test_a_loaded_line_is_as_old_as_its_first_start() -> None:
    """And has no age where none of its rows has started."""
    model = make_model(3)
    starts = [None, 1_700_000_002_500_000_000, 1_700_000_001_250_000_000]
    model.take([Outcome(row, "running", "b1", started_at=start) for row, start in enumerate(starts)], now=None)
    assert model.snapshot({}, 1.0)["lines"][0][1] == 1_700_000_001.25
    model.take([Outcome(0, "queued", "b2")], now=None)
    assert model.snapshot({}, 1.0)["lines"][1][1] is None


def test_an_unknown_status_is_shown_as_it_is() -> None:
    """The words begin with this package's own; the browser hears of a new one with the first line that has it."""
    model = make_model(2)
    model.snapshot({}, 1.0, sent=True)
    model.take([Outcome(1, "timed_out", "b1")], now=1.0)
    update = model.update({}, 2.0)
    assert update is not None
    assert update["statuses"] == [*STATUSES, "timed_out"]
    assert update["added"] == [("b1", 1.0, [8, 1])]
    assert model.rows_with("timed_out") == 1
    model.take([Outcome(0, "timed_out", "b1")], now=2.0)
    update = model.update({}, 3.0)
    assert update is not None
    assert "statuses" not in update


def test_statuses_beyond_the_maximum_share_one_name() -> None:
    """An API that invents words does not make every head longer."""
    model = make_model(100)
    model.take([Outcome(row, f"word {row}") for row in range(100)], now=1.0)
    shown = model.snapshot({}, 1.0)
    assert len(shown["statuses"]) == MAX_STATUSES
    assert shown["statuses"][-1] == OTHER
    assert sum(by_word(shown).values()) == 100


# -- errors ---------------------------------------------------------------------------------------------------------


def test_equal_messages_are_one_group_with_its_first_rows() -> None:
    """Its rows are counted, and the first five in the frame's order are named, in whatever order they came."""
    model = make_model(10)
    model.take([Outcome(row, "failed", error="no fox") for row in reversed(range(10))], now=1.0)
    assert errors(model) == [(10, "no fox", [f"row {row}" for row in range(5)])]
    model.take([Outcome(0, "completed"), Outcome(3, "failed", error="no heron")], now=1.0)
    assert errors(model) == [(8, "no fox", [f"row {row}" for row in (1, 2, 4, 5, 6)]), (1, "no heron", ["row 3"])]


def test_only_the_count_of_a_sent_group_is_sent_again() -> None:
    """Message and labels come again only where the labels are others."""
    model = make_model(20)
    model.take([Outcome(row, "failed", error="no fox") for row in range(6)], now=1.0)
    model.snapshot({}, 1.0, sent=True)
    model.take([Outcome(6, "failed", error="no fox")], now=1.0)
    update = model.update({}, 1.0)
    assert update is not None
    assert update["errors"] == [(0, 7)]
    model.take([Outcome(0, "completed")], now=1.0)
    update = model.update({}, 1.0)
    assert update is not None
    assert update["errors"] == [(0, 6, "no fox", [f"row {row}" for row in range(1, 6)])]


def test_fifty_messages_are_shown_and_the_rest_counted() -> None:
    """A message keeps its place as long as a row has it; a place that is free goes to one that waits."""
    model = make_model(60)
    model.take([Outcome(row, "failed", error=f"error {row}") for row in range(60)], now=1.0)
    shown = model.snapshot({}, 1.0, sent=True)
    assert [message for _, message, _ in shown["errors"]] == [f"error {row}" for row in range(MAX_GROUPS)]
    assert shown["more_errors"] == 10
    assert len(errors(model)) == 60
    browser = Browser(shown)
    model.take([Outcome(7, "completed"), Outcome(55, "completed")], now=1.0)
    browser.catch_up(model, {})
    assert browser.shown["errors"][7] == [1, "error 50", ["row 50"]]
    assert browser.shown["errors"][8] == [1, "error 8", ["row 8"]]
    assert browser.shown["more_errors"] == 8
    model.take([Outcome(row, "completed") for row in range(60)], now=1.0)
    browser.catch_up(model, {})
    assert [rows for rows, _, _ in browser.shown["errors"]] == [0] * MAX_GROUPS
    assert browser.shown["more_errors"] == 0
    assert errors(model) == []


def test_a_message_that_comes_back_has_its_old_place() -> None:
    """Unless another needed it; while a row has it, nobody takes it."""
    model = make_model(60)
    model.take([Outcome(row, "failed", error=f"error {row}") for row in range(MAX_GROUPS)], now=1.0)
    model.take([Outcome(7, "completed")], now=1.0)
    model.take([Outcome(59, "failed", error="error 7"), Outcome(58, "failed", error="new")], now=1.0)
    shown = model.snapshot({}, 1.0)
    assert shown["errors"][7] == (1, "error 7", ["row 59"])
    assert shown["more_errors"] == 1


def test_what_comes_from_outside_is_cut_and_sound() -> None:
    """Lone surrogates, control characters and 100,000 characters neither break a message nor fill it."""
    model = DashboardModel(["\ud800" * 100_000])
    model.take([Outcome(0, "failed", "\udfff" * 100_000, "\ud83d", error="\x00\ud800<script>" * 10_000)], now=1.0)
    shown, opened = model.snapshot({"run": "\ud800" * 1_000}, 1.0), model.rows(0)
    assert size(shown) < 4_000
    assert size(opened) < 30_000
    assert len(shown["errors"][0][1]) <= 500
    assert len(opened["rows"][0]["error"] or "") == 2_000


# -- updates --------------------------------------------------------------------------------------------------------


def test_now_alone_is_no_change() -> None:
    """Nor is a head that says the same."""
    model = make_model(1)
    assert model.update({"phase": "sending"}, 1.0) is not None
    assert model.update({"phase": "sending"}, 2.0) is None
    assert model.seq == 1
    update = model.update({"phase": "sending", "rate": 2.0}, 3.0)
    assert update == {"kind": "update", "seq": 2, "now": 3.0, "head": {"rate": 2.0}}
    update = model.update({"phase": "sending"}, 3.0)
    assert update is not None
    assert update["head"] == {"rate": None}


def test_a_snapshot_that_is_not_sent_changes_nothing() -> None:
    """It is a picture for whoever saves it; one that is sent is told, and is a step of its own."""
    model = make_model(2)
    model.snapshot({}, 1.0, sent=True)
    model.take([Outcome(0, "queued", "b1")], now=1.0)
    seq = model.seq
    assert model.snapshot({}, 1.0)["seq"] == seq
    assert model.behind
    shown = model.snapshot({}, 1.0, sent=True)
    assert shown["seq"] == seq + 1
    assert model.snapshot({}, 1.0, sent=True)["seq"] == seq + 1
    assert not model.behind
    assert model.update({}, 2.0) is None


LONG_HEAD = {
    "workflow": "wf_abc123",
    "version": "3f2a1111-2222-3333-4444-555555555555",
    "run": "2026-01-01-brave-badger",
    "phase": "sending",
    "balance_usd": 1234.5678,
    "started_at": 1_700_000_000.123,
    "rate": 1234.5,
    "waiting_for": "a very long sentence, " * 100,
    "problem": "another very long sentence, " * 100,
}


def changed(rows: int, *, lines: int, first: int = 0) -> list[Outcome]:
    """Return outcomes that give each of these lines three statuses; rows are dealt out to lines in turn."""
    words = ("completed", "failed", "running")
    return [Outcome(row, words[row // lines % 3], f"bulk-{row % lines:036}") for row in range(first, rows)]


@pytest.mark.parametrize("lines", [1_000, 10_000])
def test_a_hundred_changed_lines_fit_into_three_kibibytes(lines: int) -> None:
    """With the longest head, and the words of the API; what does not fit comes with the next."""
    model = make_model(lines * 3)
    model.take([Outcome(row, "queued", f"bulk-{row % lines:036}") for row in range(lines * 3)], now=1.0)
    browser = Browser(model.snapshot({}, 1.0, sent=True))
    model.take([one for one in changed(lines * 3, lines=lines) if one.position % lines >= lines - 100], now=1.0)
    update = model.update(LONG_HEAD, 1.0)
    assert size(update) <= USUAL_LIMIT
    browser.apply(update)
    while (update := model.update(LONG_HEAD, 1.0)) is not None:
        assert size(update) <= USUAL_LIMIT
        browser.apply(update)
    assert browser.shown["lines"] == plain(model.snapshot(LONG_HEAD, 1.0))["lines"]


def test_a_hundred_changed_lines_are_one_update_where_only_counts_change() -> None:
    """The usual: of a thousand lines a hundred with two statuses each."""
    model = make_model(10_000)
    model.take([Outcome(row, "queued", f"bulk-{row // 10}") for row in range(10_000)], now=1.0)
    model.snapshot({}, 1.0, sent=True)
    model.take([Outcome(row * 10, "completed", f"bulk-{row}", cost=0.01) for row in range(800, 900)], now=1.0)
    update = model.update({"phase": "tracking", "rate": 100.0}, 1_700_000_000.0)
    assert update is not None
    assert len(update["lines"]) == 100
    assert size(update) <= USUAL_LIMIT
    assert not model.behind


def test_a_backlog_is_sent_in_order_and_within_the_limit() -> None:
    """Ten thousand new lines and as many changed: none is told before it is added, and none is forgotten."""
    model = make_model(30_000)
    browser = Browser(model.snapshot({}, 1.0, sent=True))
    model.take(changed(30_000, lines=10_000), now=1_700_000_000.123)
    sizes = []
    while (update := model.update(LONG_HEAD, 1.0)) is not None:
        sizes.append(size(update))
        known = len(browser.shown["lines"])
        assert all(place < known for place, *_ in update.get("lines", []))
        browser.apply(update)
    assert max(sizes) <= HARD_LIMIT
    assert max(sizes) > USUAL_LIMIT
    assert plain(browser.shown)["lines"] == plain(model.snapshot(LONG_HEAD, 1.0))["lines"]


def test_the_oldest_change_is_sent_first() -> None:
    """A line that changes all the time does not hold up one that changed once."""
    model = make_model(1_000)
    model.take([Outcome(row, "queued", f"bulk-{row}") for row in range(1_000)], now=1.0)
    browser = Browser(model.snapshot({}, 1.0, sent=True))
    model.take([Outcome(row, "running", f"bulk-{row}") for row in range(1_000)], now=1.0)
    waiting = 0
    while any(pairs == [2, 1] for _, _, pairs in browser.shown["lines"]):
        busy = ("completed", "failed")[waiting % 2]
        model.take([Outcome(row, busy, f"bulk-{row}") for row in range(300)], now=1.0)
        update = model.update({}, 1.0)
        assert update is not None
        browser.apply(update)
        waiting += 1
    assert waiting <= 10


def test_the_longest_values_still_fit_into_updates() -> None:
    """Each text as long as it may be, in characters of four bytes: the limit holds, and all is told."""
    model = DashboardModel(["🦊" * 1_000] * 200)
    words = [f"{row}{'🦊' * 30}" for row in range(31)]
    noise = "\x01" * 1_000
    browser = Browser(model.snapshot({}, 1.0, sent=True))
    model.take(
        [Outcome(row, words[row % 31], f"{row}{'🦊' * 300}", error=f"{row}{noise}") for row in range(200)],
        now=1_700_000_000.123,
    )
    long = dict.fromkeys(("workflow", "version", "run", "waiting_for", "problem"), "🦊" * 1_000)
    count = 0
    while model.behind:
        count += 1
        head = {**long, "phase": "tracking", "waiting_for": f"{count}{long['waiting_for']}"}
        update = model.update(head, 1_700_000_000.0 + count)
        assert size(update) <= HARD_LIMIT
        browser.apply(update)
        assert count < 300
    assert len(browser.shown["lines"]) == 201
    assert len(browser.shown["errors"]) == MAX_GROUPS


# -- opened lines, and what is found --------------------------------------------------------------------------------


def test_an_opened_line_shows_its_rows_in_order() -> None:
    """As they stand now; with what may be shown of an output."""
    model = make_model(5)
    url = "https://example.com/fox.png"
    model.take([Outcome(3, "running", "b1", "e3", started_at=SECOND), Outcome(4, "failed", "b2", error="no")], now=1.0)
    done = Outcome(1, "completed", "b1", "e1", None, SECOND, 3_500_000_000, [url], 0.01)
    version = model.version(0)
    model.take([done], now=1.0)
    assert model.version(0) > version
    opened = model.rows(0)
    assert opened["total"] == 2
    assert opened["rows"] == [
        {
            "label": "row 1",
            "title": "",
            "execution_id": "e1",
            "status": "completed",
            "error": None,
            "output": {"kind": "image", "url": url, "text": f'["{url}"]'},
            "cost_usd": 0.01,
            "seconds": 2.5,
        },
        {
            "label": "row 3",
            "title": "",
            "execution_id": "e3",
            "status": "running",
            "error": None,
            "output": None,
            "cost_usd": None,
            "seconds": None,
        },
    ]
    assert [row["label"] for row in model.rows(2)["rows"]] == ["row 0", "row 2"]


def test_an_opened_line_is_shown_in_parts() -> None:
    """Whatever the browser asks for, even of a line that is not there."""
    model = make_model(120)
    opened = model.rows(0, 100)
    assert (opened["offset"], opened["total"], len(opened["rows"])) == (100, 120, 20)
    assert len(model.rows(0)["rows"]) == 50
    assert model.rows(0, 10**30)["rows"] == []
    assert model.rows(0, -5)["offset"] == 0
    for line in (1, -1, 10**30):
        assert model.rows(line) == {"offset": 0, "total": 0, "rows": []}


@pytest.mark.parametrize(
    ("text", "found"),
    [("", [0, 1, 2]), ("ROW 1", [0]), ("e-77", [1]), ("STRASSE", [1]), ("B2", [1]), ("row", [0, 1, 2]), ("zzz", [])],
)
def test_a_line_is_found_by_what_its_rows_hold(text: str, found: list[int]) -> None:
    """Label, execution id, error or bulk_id, in upper or lower case."""
    model = make_model(4)
    model.take([Outcome(1, "queued", "b1"), Outcome(2, "failed", "b2", "e-77", error="Straße")], now=1.0)
    assert model.find(text) == found


def test_words_of_inputs_are_found_in_one_row() -> None:
    """In any order and whatever their case, beside its label and error; words of two rows are none."""
    model = make_model(4)
    model.take([Outcome(1, "queued", "b1"), Outcome(2, "failed", "b2", "e-77", error="refused")], now=1.0)
    inputs = ["a fox in snow", "a HERON at dusk\nseed 7", "a fox at dusk", ""]
    assert model.find("heron", inputs) == [0]
    assert model.find("dusk Heron", inputs) == [0]
    assert model.find("fox heron", inputs) == []
    assert model.find("row 2 fox refused", inputs) == [1]
    assert model.find("fox 77", inputs) == []
    assert model.find("-77", inputs) == [1]
    assert model.find("fox", inputs) == [1, 2]
    assert model.find("fox") == []


def test_titles_are_read_only_for_rows_that_are_shown() -> None:
    """The rows of a page and the first of an error; a title is cut, and the label stays whole beside it."""
    asked: list[int] = []

    def titles(rows: Sequence[int]) -> list[str]:
        asked.extend(rows)
        return [f"a fox in the snow, number {row}, " + "x" * 500 for row in rows]

    model = DashboardModel([str(row) for row in range(1_000)], titles)
    model.take([Outcome(row, "failed", f"b{row // 10}", error="no") for row in range(1_000)], now=1.0)
    assert model.find("number") == []
    assert asked == []
    _, _, labels = model.snapshot({}, 1.0)["errors"][0]
    assert labels[1] == "1 “a fox in the snow, number 1, xxxxxxxxxxxxxxxxxxxxxxxxxx…”"
    assert {len(label) for label in labels} == {60}
    assert set(asked) == set(range(5))
    asked.clear()
    (row, *_) = model.rows(2, 3)["rows"]
    assert row["label"] == "23"
    assert row["title"].startswith("a fox in the snow, number 23, x")
    assert len(row["title"]) == 200
    assert asked == list(range(23, 30))


def test_costs_are_added_up_where_they_are_known() -> None:
    """Exactly, however often they change; None as long as none is known."""
    model = make_model(1_000)
    assert model.cost_usd is None
    assert model.mean_cost_usd is None
    model.take([Outcome(row, "completed", cost=5.0) for row in range(1_000)], now=1.0)
    model.take([Outcome(row, "completed", execution_id=f"e{row}", cost=0.1) for row in range(500)], now=1.0)
    model.take([Outcome(row, "completed", cost=None) for row in range(500, 1_000)], now=1.0)
    assert model.cost_usd == 50.0
    assert model.mean_cost_usd == 0.1
    assert model.accepted == 500
    model.take([Outcome(row, "completed", cost=0.07 if row < 3 else None) for row in range(1_000)], now=1.0)
    assert model.cost_usd == 0.21


def calls_to_take_in(rows: int) -> int:
    """Count the calls, ours and the interpreter's, in which a board takes in that many rows twice."""
    outcomes = [Outcome(row, "failed", f"b{row // 10}", f"e{row}", error="no fox", cost=0.01) for row in range(rows)]
    again = [outcome._replace(status="completed", error=None) for outcome in outcomes]
    calls = itertools.count()
    sys.setprofile(lambda frame, event, argument: next(calls))
    try:
        made = make_model(rows)
        made.take(outcomes, now=None)
        made.take(again, now=None)
        made.snapshot({}, 1.0, sent=True)
    finally:
        sys.setprofile(None)
    return next(calls)


def test_ten_times_the_rows_are_at_most_ten_times_the_work() -> None:
    """Also where all fail alike, and where all of them get well again."""
    assert calls_to_take_in(10_000) <= 10.5 * calls_to_take_in(1_000)
