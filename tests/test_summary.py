"""What is shown where no widget can be: right words and numbers, and nothing from outside that is more than text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any, get_args

import pytest

from eachlabs_frames.frames.run_status import Phase
from eachlabs_frames.models import Outcome
from eachlabs_frames.views.common.static_html import table
from eachlabs_frames.views.common.status_text import PHASES, sentence, title
from eachlabs_frames.views.dashboard.messages import DashboardSnapshot
from eachlabs_frames.views.dashboard.model import DashboardModel
from eachlabs_frames.views.dashboard.static import html, text

HEAD = {"workflow": "wf_abc123", "version": "3f2a1111-2222-3333-4444-555555555555", "run": "sweep-7"}
HOSTILE = [
    "<script>alert(1)</script>",
    "\"onmouseover='alert(1)'",
    "</td></table><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "\u202eevil\u2066",
    "\x1b[31mred\x07",
    "a\nb\r\nc",
    "x" * 100_000,
    "\ud800",
]


def snapshot(outcomes: list[Outcome], rows: int, **head: Any) -> DashboardSnapshot:
    """Return what a board of these rows shows."""
    board = DashboardModel([f"row {row}" for row in range(rows)])
    board.take(outcomes, now=None)
    return board.snapshot({**HEAD, **head}, 1_700_000_000.0)


def thousand() -> list[Outcome]:
    """Return a run of a thousand rows, of which fifteen failed for two reasons and five are running."""
    outcomes = []
    for row in range(1_000):
        status = "failed" if row < 15 else "running" if row < 20 else "completed"
        error = None if status != "failed" else "the model refused" if row < 10 else "no fox"
        cost = 0.01 if status == "completed" else None
        outcomes.append(Outcome(row, status, f"bulk-{row // 10:04}-0000-0000", f"e{row}", error, cost=cost))
    return outcomes


class Tags(HTMLParser):
    """Collects elements, attributes and text."""

    def __init__(self, shown: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(shown)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def test_the_title_says_what_became_of_a_run() -> None:
    """Its name, workflow and version, its counts and its cost."""
    shown = snapshot(thousand(), 1_000, phase="tracking")
    assert title(shown["head"]) == (
        "Run 'sweep-7' of wf_abc123, version 3f2a1111…5555: 1,000 rows, 980 completed, 15 failed, 5 running; $9.80"
    )


def test_the_sentence_says_what_a_run_is_doing() -> None:
    """And what it waits for."""
    head = {"phase": "sending", "waiting_for": "2 of 8 executions to settle"}
    shown = snapshot([Outcome(row, "completed", "b", f"e{row}") for row in range(340)], 1_000, **head)
    assert sentence(shown["head"]) == (
        "Run 'sweep-7' of wf_abc123: sending; 340 of 1,000 rows accepted, 340 completed; "
        "waiting for: 2 of 8 executions to settle"
    )


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("preparing", "preparing"),
        ("sending", "sending"),
        ("tracking", "all sent, executions in progress"),
        ("idle", "executions in progress, not polled"),
        ("settled", "all settled"),
        ("cancelled", "cancelled"),
        ("failed", "stopped by an error"),
    ],
)
def test_each_phase_has_its_words(phase: str, words: str) -> None:
    """In the sentence, in the text and in the HTML."""
    shown = snapshot([Outcome(0, "queued", "b1", "e1")], 1, phase=phase, problem="ServerError: <no>")
    expected = f"Run 'sweep-7' of wf_abc123: {words}; 1 of 1 row accepted, 1 queued; ServerError: <no>"
    assert sentence(shown["head"]) == expected
    assert f"{words}; ServerError: <no>" in text(shown)
    assert f"{words}; ServerError: &lt;no&gt;" in html(shown)


def test_no_phase_is_forgotten() -> None:
    """Those of the test above are all."""
    assert set(PHASES) == set(get_args(Phase))


def test_a_run_that_prepares_is_not_an_untouched_frame() -> None:
    """Nothing was sent, but somebody is about to."""
    assert sentence(snapshot([], 3, phase="preparing")["head"]) == (
        "Run 'sweep-7' of wf_abc123: preparing; 0 of 3 rows accepted"
    )


def test_words_for_what_is_stale_and_for_a_run_without_a_name() -> None:
    """A moment in UTC; nonsense from a clock harms nothing."""
    shown = snapshot([Outcome(0, "queued", "b1", "e1")], 1, phase="tracking", run=None, stale_since=1_700_000_000.0)
    assert sentence(shown["head"]) == (
        "A run of wf_abc123: all sent, executions in progress; 1 of 1 row accepted, 1 queued; "
        "stale since 2023-11-14 22:13:20 UTC"
    )
    assert "stale since long ago" in sentence({**shown["head"], "stale_since": 1e300})
    assert sentence({"phase": "sending"}) == "A run: sending; 0 of 0 rows accepted"


@pytest.mark.parametrize("rows", [0, 3])
def test_a_frame_with_no_triggered_row_says_so(rows: int) -> None:
    """In each of its forms, and with no empty table."""
    board = DashboardModel([str(row) for row in range(rows)])
    shown = board.snapshot({"workflow": "", "version": None, "run": None, "phase": "settled"}, 1.0)
    said = f"No row of this frame has been triggered yet ({rows} rows)"
    assert sentence(shown["head"]) == title(shown["head"]) == text(shown) == said
    assert html(shown) == f'<div><p dir="auto"><strong>{said}</strong></p></div>'


def test_an_untouched_frame_still_shows_what_is_invalid() -> None:
    """With the reason, and the rows that have it."""
    shown = snapshot([Outcome(1, "invalid", error="prompt is missing")], 3, phase="settled")
    assert text(shown).splitlines() == [
        "No row of this frame has been triggered yet (3 rows, 1 of them invalid)",
        "Errors:",
        "  1 row: prompt is missing (row 1)",
    ]


def test_a_lost_answer_is_not_an_untouched_frame() -> None:
    """It was sent, and is perhaps billed."""
    assert "1 unknown" in title(snapshot([Outcome(0, "unknown")], 1, phase="settled")["head"])


def test_the_text_lists_lines_and_errors() -> None:
    """Twenty lines, the most frequent errors first, and how many more there are."""
    shown = text(snapshot(thousand(), 1_000, phase="tracking")).splitlines()
    assert shown[1] == "all sent, executions in progress"
    assert shown[2] == "  bulk-000…0000  10 failed"
    assert shown[3] == "  bulk-000…0000  5 failed, 5 running"
    assert shown[22:] == [
        "  and 80 more",
        "Errors:",
        "  10 rows: the model refused (row 0, row 1, row 2, row 3, row 4, …)",
        "  5 rows: no fox (row 10, row 11, row 12, row 13, row 14)",
    ]


def test_the_html_has_the_same_in_tables() -> None:
    """Plain tables, which mean as much where their style is taken away; no colour of their own."""
    shown = html(snapshot(thousand(), 1_000, phase="tracking"))
    tags = Tags(shown)
    allowed = {"div", "p", "strong", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert tags.names == allowed
    assert tags.attributes == {"dir", "scope", "style"}
    assert "color" not in shown
    assert "\nand 80 more\n" in tags.text
    assert "\n980\n" in tags.text
    assert "\nthe model refused\n" in tags.text
    assert shown.count("<tr>") == 2 + 21 + 3
    assert len(shown) < 20_000


def test_workers_are_named_where_there_were_several() -> None:
    """A column of the table and a word of the text; a line whose worker is not known has none."""
    names = {"b0": "<alpha>:1", "b1": "beta:2"}
    board = DashboardModel([str(row) for row in range(3)], workers=names)
    board.take([Outcome(row, "queued", f"b{row}", f"e{row}") for row in range(3)], now=1.0)
    snapshot = board.snapshot({"phase": "settled"}, 1.0)
    assert [line[3:] for line in snapshot["lines"]] == [("<alpha>:1",), ("beta:2",), ()]
    assert "beta:2" in text(snapshot)
    page = html(snapshot)
    assert ">worker</th>" in page
    assert "&lt;alpha&gt;:1" in page
    alone = DashboardModel(["0"])
    alone.take([Outcome(0, "queued", "b0", "e0")], now=1.0)
    assert "worker" not in html(alone.snapshot({"phase": "settled"}, 1.0))


def test_a_short_caption_is_not_broken_over_a_narrow_table() -> None:
    """A browser makes a caption as narrow as its table; a long one has to be broken."""
    assert "nowrap" in table("Rows per status", ["failed"], [["1"]], numbers=[0])
    assert "nowrap" not in table("Rows per status " * 4, ["failed"], [["1"]], numbers=[0])


def test_more_errors_than_ten_are_counted() -> None:
    """Those that the snapshot has, and those that it only counts."""
    outcomes = [Outcome(row, "failed", "b", f"e{row}", f"error {row}") for row in range(61)]
    assert text(snapshot(outcomes, 61)).endswith("(row 9)\n  and 51 other messages")
    assert text(snapshot(outcomes[:11], 11)).endswith("(row 9)\n  and 1 other message")


def test_lines_that_a_retry_left_empty_are_not_shown() -> None:
    """Nor are messages that no row has any more."""
    board = DashboardModel(["row 0"])
    board.take([Outcome(0, "failed", "old", "e1", "no fox")], now=1.0)
    board.take([Outcome(0, "completed", "new", "e2")], now=2.0)
    shown = text(board.snapshot(HEAD, 3.0))
    assert shown.splitlines()[1:] == ["  new  1 completed"]


@pytest.mark.parametrize("foreign", HOSTILE)
def test_what_comes_from_outside_is_text(foreign: str) -> None:
    """Wherever it stands: no element, no attribute, no control sequence, no reversed line, and no novel."""
    board = DashboardModel([foreign])
    board.take([Outcome(0, foreign, foreign, foreign, foreign, output=foreign)], now=1.0)
    head = dict.fromkeys(("workflow", "version", "run", "waiting_for", "problem"), foreign)
    shown = board.snapshot({**head, "phase": "sending"}, 2.0)
    # As from a hand that has cut nothing.
    shown["head"] |= head  # type: ignore[typeddict-item]
    shown["errors"] = [(1, foreign, [foreign] * 5)]
    shown["lines"] = [(foreign, 1.0, [len(shown["statuses"]) - 1, 1])]
    written = html(shown)
    tags = Tags(written)
    assert tags.names == {"div", "p", "strong", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert tags.attributes == {"dir", "scope", "style"}
    assert len(written) < 8_000
    for said in (text(shown), sentence(shown["head"]), title(shown["head"])):
        assert len(said) < 3_000
        said.encode()
        assert not set(said.replace("\n", "")) & {"\x1b", "\x07", "\r", "\u202e", "\u2066"}
    assert "\n" not in sentence(shown["head"])


def test_writing_from_right_to_left_and_emoji_stay_as_they_are() -> None:
    """They are text like any other; each cell finds its own direction."""
    shown = snapshot([Outcome(0, "failed", "b1", "e1", "שגיאה 👨‍👩‍👧")], 1)
    assert "שגיאה 👨‍👩‍👧" in text(shown)
    assert '<td dir="auto" style="padding:2px 8px;text-align:left">שגיאה 👨‍👩‍👧</td>' in html(shown)
