"""A run or a frame where no widget can be shown: a sentence, a text, or tables in HTML that mean as much without style.

Whatever comes from outside is escaped and cut: it never becomes markup, nor a terminal's control sequence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timezone
from html import escape
from typing import Final

from ...frames.run_status import RunStatus
from ...media import cut
from ...models import COMPLETED, FAILED, INVALID, PENDING
from ...money import format_usd
from .messages import DashboardSnapshot, ErrorGroup, Line

MAX_LINES: Final = 20
MAX_ERRORS: Final = 10
MAX_NAME_LENGTH: Final = 60
MAX_ID_LENGTH: Final = 200
MAX_LABEL_LENGTH: Final = 60
MAX_ERROR_LENGTH: Final = 200
MAX_REMARK_LENGTH: Final = 300
MAX_UNBROKEN_CAPTION: Final = 40
FIRST, LAST = 8, 4  # characters of an id that are shown: those of one day may begin alike

DOING: Final = {
    "preparing": "preparing",
    "sending": "sending",
    "tracking": "all sent, executions in progress",
    "idle": "executions in progress, not polled",
    "settled": "all settled",
    "cancelled": "cancelled",
    "failed": "stopped by an error",
}
AT_WORK: Final = ("preparing", "sending", "tracking")
UNSENT: Final = frozenset({PENDING, INVALID})
NOTHING: Final = "No row of this frame has been triggered yet"

# Joiners hold emoji together; every other invisible mark can turn a line's order round.
_UNSEEN: Final = re.compile(
    r"[^\S ]|[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
_TABLE: Final = "border-collapse:collapse;font-variant-numeric:tabular-nums"
_NUMBER: Final = "padding:2px 8px;text-align:right"
_WORDS: Final = "padding:2px 8px;text-align:left"


def sentence(head: RunStatus) -> str:
    """Say how a run stands: "Run 'sweep-7' of wf_abc123: sending; 340 of 1,000 rows accepted, 120 completed"."""
    if _is_untouched(head):
        return "; ".join([_untouched(head), *_remarks(head)])
    doing = DOING.get(head.get("phase", ""), "")
    accepted = f"{_amount(head.get('accepted', 0))} of {_counted(head.get('total', 0), 'row')} accepted"
    said = ", ".join([accepted, *_tally(head.get("counts", {}), besides=frozenset({PENDING}))])
    return f"{name(head)}: " + "; ".join(filter(None, [doing, said, _cost(head), *_remarks(head)]))


def title(head: RunStatus) -> str:
    """Name a run and its counts: "Run 'sweep-7' of wf_abc123, version 3f2a: 1,000 rows, 980 completed; $9.80"."""
    if _is_untouched(head):
        return _untouched(head)
    said = ", ".join([_counted(head.get("total", 0), "row"), *_tally(head.get("counts", {}))])
    return f"{name(head)}{_version(head)}: " + "; ".join(filter(None, [said, _cost(head)]))


def heading(head: RunStatus) -> str:
    """Name a run, or say that there is none."""
    return NOTHING if _is_untouched(head) else name(head)


def text(snapshot: DashboardSnapshot) -> str:
    """Return what a terminal shows: the title, a line per bulk operation, and the errors."""
    head = snapshot["head"]
    shown = [title(head), state(head)]
    if not _is_untouched(head):
        lines = _filled(snapshot)
        width = max((len(_short(line)) for line in lines[:MAX_LINES]), default=0)
        tallies = [", ".join(_tally(_counts(line, snapshot))) for line in lines[:MAX_LINES]]
        shown += [f"  {_short(line):<{width}}  {tally}" for line, tally in zip(lines, tallies, strict=False)]
        shown.append(_beyond(lines) and f"  {_beyond(lines)}")
    groups, more = _errors(snapshot)
    if groups:
        shown.append("Errors:")
        for rows, message, labels in groups:
            shown.append(f"  {_counted(rows, 'row')}: {plain(message, MAX_ERROR_LENGTH)} ({_labels(rows, labels)})")
        shown.append(more and f"  {more}")
    return "\n".join(filter(None, shown))


def html(snapshot: DashboardSnapshot) -> str:
    """Return the same as tables: what GitHub shows of a saved notebook, and what nbconvert writes of it."""
    head = snapshot["head"]
    said = state(head)
    parts = [f'<p dir="auto"><strong>{escaped(title(head))}</strong></p>']
    parts += [f'<p dir="auto">{escaped(said)}</p>'] if said else []
    if not _is_untouched(head):
        counts = head.get("counts", {})
        words = list(counts)
        amounts = [_amount(counts[word]) for word in words]
        parts.append(table("Rows per status", words, [amounts], numbers=range(len(words))))
        parts.append(_lines_table(snapshot, words))
    groups, more = _errors(snapshot)
    if groups:
        cells = [
            [_amount(rows), plain(message, MAX_ERROR_LENGTH), _labels(rows, labels)] for rows, message, labels in groups
        ]
        parts.append(table("Errors", ["rows", "message", "labels"], cells, numbers=(0,)))
        parts += [f"<p>{more}</p>"] if more else []
    return f"<div>{''.join(parts)}</div>"


# -- sentences ------------------------------------------------------------------------------------------------------


def _is_untouched(head: RunStatus) -> bool:
    """Say whether nothing was ever sent, and nobody is about to."""
    at_work = head.get("phase") in AT_WORK or head.get("started_at") is not None
    return not at_work and not head.get("accepted") and UNSENT.issuperset(head.get("counts", {}))


def _untouched(head: RunStatus) -> str:
    total, invalid = head.get("total", 0), head.get("counts", {}).get(INVALID, 0)
    refused = f", {_amount(invalid)} of them invalid" if invalid else ""
    return f"{NOTHING} ({_counted(total, 'row')}{refused})"


def name(head: RunStatus) -> str:
    """Name a run: "Run 'sweep-7' of wf_abc123"."""
    run, workflow = plain(head.get("run") or "", MAX_NAME_LENGTH), plain(head.get("workflow") or "", MAX_NAME_LENGTH)
    return " of ".join(filter(None, [f"Run '{run}'" if run else "A run", workflow]))


def _version(head: RunStatus) -> str:
    version = plain(head.get("version") or "", MAX_ID_LENGTH)
    return f", version {_shortened(version)}" if version else ""


def _remarks(head: RunStatus) -> Iterator[str]:
    """Yield what there is to say beside the counts."""
    waiting_for = plain(head.get("waiting_for") or "", MAX_REMARK_LENGTH)
    if waiting_for:
        begun = head.get("phase") not in AT_WORK or waiting_for.startswith(("waiting", "looking"))
        yield waiting_for if begun else f"waiting for: {waiting_for}"
    stale_since = head.get("stale_since")
    if stale_since is not None:
        yield f"stale since {_moment(stale_since)}"
    if problem := plain(head.get("problem") or "", MAX_REMARK_LENGTH):
        yield problem


def _moment(epoch: float) -> str:
    try:
        return f"{datetime.fromtimestamp(epoch, tz=timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "long ago"


def state(head: RunStatus) -> str:
    """Return what a run is doing, and what there is to say of it."""
    doing = "" if _is_untouched(head) else DOING.get(head.get("phase", ""), "")
    return "; ".join(filter(None, [doing, *_remarks(head)]))


def _cost(head: RunStatus) -> str:
    cost, superseded = head.get("cost_usd"), head.get("superseded", 0)
    if cost is None:
        return ""
    if not superseded:
        return format_usd(cost)
    part = format_usd(head.get("superseded_cost_usd", 0.0))
    return f"{format_usd(cost)}, of which {part} for {_counted(superseded, 'superseded execution')}"


def _tally(counts: Mapping[str, int], *, besides: frozenset[str] = frozenset()) -> list[str]:
    """Return ``["980 completed", ...]``, the words that matter most first."""
    first = {COMPLETED: 0, FAILED: 1}
    words = sorted((word for word in counts if counts[word]), key=lambda word: first.get(word, 2))
    return [f"{_amount(counts[word])} {plain(word)}" for word in words if word not in besides]


# -- parts ----------------------------------------------------------------------------------------------------------


def _filled(snapshot: DashboardSnapshot) -> list[Line]:
    """Return the lines that have a row: a retry leaves empty ones behind."""
    return [line for line in snapshot["lines"] if line[2]]


def _counts(line: Line, snapshot: DashboardSnapshot) -> dict[str, int]:
    codes = iter(line[2])
    return {snapshot["words"][code]: rows for code, rows in zip(codes, codes, strict=True)}


def _beyond(lines: list[Line]) -> str:
    more = len(lines) - MAX_LINES
    return f"and {_amount(more)} more" if more > 0 else ""


def _short(line: Line) -> str:
    return _shortened(plain(line[0], MAX_ID_LENGTH)) or "no bulk_id"


def _shortened(name: str) -> str:
    return name if len(name) <= FIRST + LAST + 3 else f"{name[:FIRST]}…{name[-LAST:]}"


def _errors(snapshot: DashboardSnapshot) -> tuple[list[ErrorGroup], str]:
    """Return the most frequent errors, and how many more messages there are."""
    groups = sorted((group for group in snapshot["errors"] if group[0]), key=lambda group: -group[0])
    more = len(groups) - MAX_ERRORS if len(groups) > MAX_ERRORS else 0
    more += snapshot["more_errors"]
    return groups[:MAX_ERRORS], f"and {_counted(more, 'other message')}" if more else ""


def _labels(rows: int, labels: list[str]) -> str:
    shown = ", ".join(plain(label, MAX_LABEL_LENGTH) for label in labels)
    return f"{shown}, …" if rows > len(labels) else shown


def _lines_table(snapshot: DashboardSnapshot, words: list[str]) -> str:
    lines = _filled(snapshot)
    cells = []
    for line in lines[:MAX_LINES]:
        counts = _counts(line, snapshot)
        cells.append([_short(line), *(_amount(counts[word]) if word in counts else "" for word in words)])
    written = table("Rows per bulk_id", ["bulk_id", *words], cells, numbers=range(1, len(words) + 1))
    beyond = _beyond(lines)
    return f"{written}<p>{beyond}</p>" if beyond else written


def table(caption: str, names: list[str], cells: list[list[str]], *, numbers: Collection[int]) -> str:
    """Return a table of plain texts, which are escaped here."""
    styles = [_NUMBER if column in numbers else _WORDS for column in range(len(names))]
    head = "".join(
        f'<th scope="col" style="{style}">{escaped(plain(name))}</th>'
        for name, style in zip(names, styles, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td dir="auto" style="{style}">{escaped(plain(cell, MAX_ID_LENGTH))}</td>'
            for cell, style in zip(row, styles, strict=True)
        )
        + "</tr>"
        for row in cells
    )
    # A caption is no wider than its table: a short one would be broken over a table of one number.
    style = "text-align:left" + (";white-space:nowrap" if len(caption) <= MAX_UNBROKEN_CAPTION else "")
    caption = f'<caption style="{style}">{escaped(plain(caption, MAX_ERROR_LENGTH))}</caption>'
    return f'<table style="{_TABLE}">{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


# -- words ----------------------------------------------------------------------------------------------------------


def _amount(number: int) -> str:
    return f"{number:,}"


def _counted(number: int, what: str) -> str:
    return f"{_amount(number)} {what}{'' if number == 1 else 's'}"


def plain(string: str, longest: int = MAX_NAME_LENGTH) -> str:
    """Return one line of `string`, with nothing in it that cannot be seen."""
    return cut(_UNSEEN.sub(" ", string[: longest + 1]), longest).strip()


def escaped(string: str) -> str:
    """Return a text as HTML, also inside an attribute."""
    return escape(string, quote=True)
