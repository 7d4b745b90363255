"""Tests of the dashboard model: its snapshots and updates, their size limits, and the rows of opened lines."""

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
    """Return the size of a message as compact UTF-8 JSON in bytes."""
    return len(json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())


def make_model(rows: int) -> DashboardModel:
    """Return a model of rows labelled "row 0" and so on."""
    return DashboardModel([f"row {row}" for row in range(rows)])


def errors(model: DashboardModel) -> list[ErrorGroup]:
    """Return every error group, including those that are not shown, by descending number of rows."""
    groups = [group for group in (*model._groups.shown, *model._groups._waiting.values()) if group.rows]
    return [model._error_group(group) for group in sorted(groups, key=lambda group: -len(group.rows))]


class Browser:
    """Applies messages like the dashboard's JavaScript, in the simplest possible way."""

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
        """Apply updates until there are none left, and return their number."""
        count = 0
        while (update := model.update(head, self.shown["now"])) is not None:
            assert size(update) <= MAX_MESSAGE_BYTES
            self.apply(update)
            count += 1
        assert not model.behind
        return count


def plain(snapshot: Any) -> Any:
    """Return a snapshot as parsed JSON, without the head's null values."""
    shown = json.loads(json.dumps(snapshot))
    shown["head"] = {key: value for key, value in shown["head"].items() if value is not None}
    return shown


def unordered(snapshot: Any) -> Any:
    """Return the parts of a snapshot that do not depend on the order of the outcomes."""
    statuses = snapshot["statuses"]
    lines = {
        bulk_id: {statuses[code]: rows for code, rows in zip(pairs[::2], pairs[1::2], strict=True)}
        for bulk_id, _, pairs in snapshot["lines"]
        if pairs
    }
    groups = sorted(group for group in snapshot["errors"] if group[0])
    return lines, groups, snapshot["more_errors"], snapshot["head"]


def count_by_status(snapshot: Any) -> dict[str, int]:
    """Return the number of rows per status over all lines."""
    counts: dict[str, int] = {}
    for _, _, pairs in snapshot["lines"]:
        for code, rows in zip(pairs[::2], pairs[1::2], strict=True):
            counts[snapshot["statuses"][code]] = counts.get(snapshot["statuses"][code], 0) + rows
    return counts


# -- properties for any sequence of outcomes ------------------------------------------------------------------------

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
def test_applying_all_updates_yields_the_snapshot(steps: Any) -> None:
    """After any sequence of outcomes and updates, the browser's state equals a new snapshot of the model."""
    model, now = make_model(ROWS), 0.0
    browser = Browser(model.snapshot({}, now, sent=True))
    for taken, sends_update, moment, head in steps:
        model.take(taken, now=moment)
        now += 0.25
        if sends_update and (update := model.update(head, now, budget=300)) is not None:
            assert size(update) <= HARD_LIMIT
            browser.apply(update)
    last = steps[-1][3] if steps else {}
    browser.shown["now"] = round(now, 3)
    browser.catch_up(model, last)
    assert plain(browser.shown) == plain(model.snapshot(last, now))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(outcomes, max_size=15)))
def test_model_depends_only_on_the_final_outcomes(taken: list[list[Outcome]]) -> None:
    """Intermediate outcomes affect nothing except the order of lines and error messages."""
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
    assert count_by_status(shown) == shown["head"]["counts"] == model.counts
    assert sum(model.counts.values()) == ROWS
    assert sorted(errors(model)) == sorted(errors(fresh))
    listed = [row for line in range(model.size) for row in model.rows(line, limit=ROWS)["rows"]]
    assert sorted(row["label"] for row in listed) == sorted(f"row {row}" for row in range(ROWS))
    json.dumps(listed, ensure_ascii=False, allow_nan=False).encode()
    assert model.find("") == list(range(model.size))


@settings(deadline=None)
@given(st.lists(outcomes, max_size=30))
def test_repeated_outcomes_produce_no_update(taken: list[Outcome]) -> None:
    """An outcome equal to the row's current one changes no line version and produces no update."""
    model = make_model(ROWS)
    model.take(taken, now=1.0)
    model.snapshot({}, 1.0, sent=True)
    versions = [model.version(line) for line in range(model.size)]
    model.take({outcome.position: outcome for outcome in taken}.values(), now=2.0)
    assert model.update({}, 3.0) is None
    assert [model.version(line) for line in range(model.size)] == versions


# -- lines ----------------------------------------------------------------------------------------------------------


def test_lines_keep_their_order_of_first_appearance() -> None:
    """A line keeps its index even when a retry moves all its rows to another bulk operation."""
    model = make_model(3)
    model.take([Outcome(0, "failed", "b1"), Outcome(1, "failed", "b2"), Outcome(2, "queued", "b1")], now=1.0)
    model.take([Outcome(0, "queued", "b3"), Outcome(2, "queued", "b3")], now=2.5)
    shown = model.snapshot({}, 3.0)
    assert shown["lines"] == [("b1", 1.0, []), ("b2", 1.0, [5, 1]), ("b3", 2.5, [2, 2])]


def test_line_of_unsent_rows_exists_only_if_there_are_unsent_rows() -> None:
    """A frame with all rows sent has no such line; a frame shown before sending has it as its first line."""
    loaded = make_model(2)
    loaded.take([Outcome(0, "queued", "b1"), Outcome(1, "queued", "b1")], now=None)
    assert [line[0] for line in loaded.snapshot({}, 1.0)["lines"]] == ["b1"]
    watched = make_model(2)
    assert watched.snapshot({}, 1.0)["lines"] == [("", None, [0, 2])]
    watched.take([Outcome(0, "queued", "b1")], now=1.0)
    assert watched.snapshot({}, 1.0)["lines"] == [("", None, [0, 1]), ("b1", 1.0, [2, 1])]
    assert make_model(0).snapshot({}, 1.0)["lines"] == []


def test_age_of_a_loaded_line_is_its_earliest_start() -> None:
    """A line has no age if none of its rows has started."""
    model = make_model(3)
    starts = [None, 1_700_000_002_500_000_000, 1_700_000_001_250_000_000]
    model.take([Outcome(row, "running", "b1", started_at=start) for row, start in enumerate(starts)], now=None)
    assert model.snapshot({}, 1.0)["lines"][0][1] == 1_700_000_001.25
    model.take([Outcome(0, "queued", "b2")], now=None)
    assert model.snapshot({}, 1.0)["lines"][1][1] is None


def test_unknown_status_is_shown_unchanged() -> None:
    """A new status is appended to the package's statuses and sent with the first line that has it."""
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


def test_statuses_beyond_the_maximum_are_grouped() -> None:
    """Further unknown statuses are counted as `OTHER`, so the head of a message cannot grow without limit."""
    model = make_model(100)
    model.take([Outcome(row, f"word {row}") for row in range(100)], now=1.0)
    shown = model.snapshot({}, 1.0)
    assert len(shown["statuses"]) == MAX_STATUSES
    assert shown["statuses"][-1] == OTHER
    assert sum(count_by_status(shown).values()) == 100


# -- errors ---------------------------------------------------------------------------------------------------------


def test_equal_error_messages_form_one_group() -> None:
    """A group has the number of its rows and the labels of the first five in the frame's order."""
    model = make_model(10)
    model.take([Outcome(row, "failed", error="no fox") for row in reversed(range(10))], now=1.0)
    assert errors(model) == [(10, "no fox", [f"row {row}" for row in range(5)])]
    model.take([Outcome(0, "completed"), Outcome(3, "failed", error="no heron")], now=1.0)
    assert errors(model) == [(8, "no fox", [f"row {row}" for row in (1, 2, 4, 5, 6)]), (1, "no heron", ["row 3"])]


def test_update_of_an_error_group_contains_only_its_count() -> None:
    """The message and the labels are sent again only if the labels have changed."""
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


def test_error_groups_beyond_the_maximum_are_only_counted() -> None:
    """A message keeps its index while any row has it; a free index is given to the next waiting message."""
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


def test_recurring_error_message_gets_its_old_index() -> None:
    """A message that disappears and returns has the same index if no other message has taken it."""
    model = make_model(60)
    model.take([Outcome(row, "failed", error=f"error {row}") for row in range(MAX_GROUPS)], now=1.0)
    model.take([Outcome(7, "completed")], now=1.0)
    model.take([Outcome(59, "failed", error="error 7"), Outcome(58, "failed", error="new")], now=1.0)
    shown = model.snapshot({}, 1.0)
    assert shown["errors"][7] == (1, "error 7", ["row 59"])
    assert shown["more_errors"] == 1


def test_external_text_is_truncated_and_sanitized() -> None:
    """Lone surrogates, control characters and 100,000 characters neither break a message nor exceed its size."""
    model = DashboardModel(["\ud800" * 100_000])
    model.take([Outcome(0, "failed", "\udfff" * 100_000, "\ud83d", error="\x00\ud800<script>" * 10_000)], now=1.0)
    shown, opened = model.snapshot({"run": "\ud800" * 1_000}, 1.0), model.rows(0)
    assert size(shown) < 4_000
    assert size(opened) < 30_000
    assert len(shown["errors"][0][1]) <= 500
    assert len(opened["rows"][0]["error"] or "") == 2_000


# -- updates --------------------------------------------------------------------------------------------------------


def test_no_update_without_changes() -> None:
    """A new time or an equal head produces no update; a changed head sends only its changed values."""
    model = make_model(1)
    assert model.update({"phase": "sending"}, 1.0) is not None
    assert model.update({"phase": "sending"}, 2.0) is None
    assert model.seq == 1
    update = model.update({"phase": "sending", "rate": 2.0}, 3.0)
    assert update == {"kind": "update", "seq": 2, "now": 3.0, "head": {"rate": 2.0}}
    update = model.update({"phase": "sending"}, 3.0)
    assert update is not None
    assert update["head"] == {"rate": None}


def test_only_a_sent_snapshot_advances_the_sequence() -> None:
    """A snapshot for saving leaves the pending updates as they are; a sent one replaces them."""
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
    """Return outcomes that give each line three statuses; rows are distributed over the lines in turn."""
    statuses = ("completed", "failed", "running")
    return [Outcome(row, statuses[row // lines % 3], f"bulk-{row % lines:036}") for row in range(first, rows)]


@pytest.mark.parametrize("lines", [1_000, 10_000])
def test_update_of_a_hundred_lines_fits_into_three_kibibytes(lines: int) -> None:
    """Also with the longest head; changes that do not fit are sent with the next update."""
    model = make_model(lines * 3)
    model.take([Outcome(row, "queued", f"bulk-{row % lines:036}") for row in range(lines * 3)], now=1.0)
    browser = Browser(model.snapshot({}, 1.0, sent=True))
    outcomes = [outcome for outcome in changed(lines * 3, lines=lines) if outcome.position % lines >= lines - 100]
    model.take(outcomes, now=1.0)
    update = model.update(LONG_HEAD, 1.0)
    assert size(update) <= USUAL_LIMIT
    browser.apply(update)
    while (update := model.update(LONG_HEAD, 1.0)) is not None:
        assert size(update) <= USUAL_LIMIT
        browser.apply(update)
    assert browser.shown["lines"] == plain(model.snapshot(LONG_HEAD, 1.0))["lines"]


def test_changed_counts_of_a_hundred_lines_fit_into_one_update() -> None:
    """The usual case: a hundred of a thousand lines change and have two statuses each."""
    model = make_model(10_000)
    model.take([Outcome(row, "queued", f"bulk-{row // 10}") for row in range(10_000)], now=1.0)
    model.snapshot({}, 1.0, sent=True)
    model.take([Outcome(row * 10, "completed", f"bulk-{row}", cost=0.01) for row in range(800, 900)], now=1.0)
    update = model.update({"phase": "tracking", "rate": 100.0}, 1_700_000_000.0)
    assert update is not None
    assert len(update["lines"]) == 100
    assert size(update) <= USUAL_LIMIT
    assert not model.behind


def test_backlog_is_sent_in_order_and_within_the_limit() -> None:
    """With ten thousand new and changed lines, each line is added before it is updated, and none is omitted."""
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


def test_oldest_change_is_sent_first() -> None:
    """A line that changes constantly does not delay a line that changed once."""
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


def test_longest_values_fit_into_updates() -> None:
    """With texts of maximum length in four-byte characters, every change is sent within the size limit."""
    model = DashboardModel(["🦊" * 1_000] * 200)
    statuses = [f"{row}{'🦊' * 30}" for row in range(31)]
    noise = "\x01" * 1_000
    browser = Browser(model.snapshot({}, 1.0, sent=True))
    model.take(
        [Outcome(row, statuses[row % 31], f"{row}{'🦊' * 300}", error=f"{row}{noise}") for row in range(200)],
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


# -- opened lines and search ----------------------------------------------------------------------------------------


def test_opened_line_lists_its_rows_in_order() -> None:
    """Each row has its current state and a preview of its output."""
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


def test_rows_of_an_opened_line_are_paginated() -> None:
    """Any offset is accepted, and a line that does not exist has no rows."""
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
def test_find_matches_the_values_of_rows(text: str, found: list[int]) -> None:
    """A line is found by label, execution id, error or bulk_id, ignoring case."""
    model = make_model(4)
    model.take([Outcome(1, "queued", "b1"), Outcome(2, "failed", "b2", "e-77", error="Straße")], now=1.0)
    assert model.find(text) == found


def test_find_requires_all_words_in_one_row() -> None:
    """The words may be in any order and case, in the row's inputs, label and error."""
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
    """Titles are read for a page's rows and an error's first rows; a title is truncated, the label is not."""
    requested: list[int] = []

    def titles(rows: Sequence[int]) -> list[str]:
        requested.extend(rows)
        return [f"a fox in the snow, number {row}, " + "x" * 500 for row in rows]

    model = DashboardModel([str(row) for row in range(1_000)], titles)
    model.take([Outcome(row, "failed", f"b{row // 10}", error="no") for row in range(1_000)], now=1.0)
    assert model.find("number") == []
    assert requested == []
    _, _, labels = model.snapshot({}, 1.0)["errors"][0]
    assert labels[1] == "1 “a fox in the snow, number 1, xxxxxxxxxxxxxxxxxxxxxxxxxx…”"
    assert {len(label) for label in labels} == {60}
    assert set(requested) == set(range(5))
    requested.clear()
    (row, *_) = model.rows(2, 3)["rows"]
    assert row["label"] == "23"
    assert row["title"].startswith("a fox in the snow, number 23, x")
    assert len(row["title"]) == 200
    assert requested == list(range(23, 30))


def test_known_costs_are_summed_exactly() -> None:
    """The sum stays exact however often costs change, and is None while no cost is known."""
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


def count_calls(rows: int) -> int:
    """Return the number of function calls, Python and C, for a model that takes outcomes of all rows twice."""
    outcomes = [Outcome(row, "failed", f"b{row // 10}", f"e{row}", error="no fox", cost=0.01) for row in range(rows)]
    again = [outcome._replace(status="completed", error=None) for outcome in outcomes]
    calls = itertools.count()
    sys.setprofile(lambda frame, event, argument: next(calls))
    try:
        model = make_model(rows)
        model.take(outcomes, now=None)
        model.take(again, now=None)
        model.snapshot({}, 1.0, sent=True)
    finally:
        sys.setprofile(None)
    return next(calls)


def test_cost_of_outcomes_is_linear_in_the_number_of_rows() -> None:
    """Also if all rows fail with the same error and complete later."""
    assert count_calls(10_000) <= 10.5 * count_calls(1_000)
