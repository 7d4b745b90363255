"""Describes the status of a run in text: its name, its counts, its cost, and what it waits for. Never HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Final

from ...frames.run_status import RunStatus
from ...models import COMPLETED, FAILED, INVALID, PENDING
from ...money import format_usd
from .static_html import plain

MAX_NAME_LENGTH: Final = 60
MAX_ID_LENGTH: Final = 200
MAX_REMARK_LENGTH: Final = 300
FIRST, LAST = 8, 4  # characters of an id that are shown: those of one day may begin alike

PHASES: Final = {
    "preparing": "preparing",
    "sending": "sending",
    "tracking": "all sent, executions in progress",
    "idle": "executions in progress, not polled",
    "settled": "all settled",
    "cancelled": "cancelled",
    "failed": "stopped by an error",
}
ACTIVE_PHASES: Final = ("preparing", "sending", "tracking")
NOTHING: Final = "No row of this frame has been triggered yet"


def sentence(head: RunStatus) -> str:
    """Describe a run: "Run 'sweep-7' of wf_abc123: sending; 340 of 1,000 rows accepted, 120 completed"."""
    if is_untouched(head):
        return "; ".join([_untouched(head), *_remarks(head)])
    accepted = f"{head.get('accepted', 0):,} of {counted(head.get('total', 0), 'row')} accepted"
    counts = {status: rows for status, rows in head.get("counts", {}).items() if status != PENDING}
    rows = ", ".join([accepted, *tally(counts)])
    return f"{_name(head)}: " + "; ".join(filter(None, [_phase(head), rows, _cost(head), *_remarks(head)]))


def title(head: RunStatus) -> str:
    """Name a run and its counts: "Run 'sweep-7' of wf_abc123, version 3f2a: 1,000 rows, 980 completed; $9.80"."""
    if is_untouched(head):
        return _untouched(head)
    version = plain(head.get("version") or "", MAX_ID_LENGTH)
    rows = ", ".join([counted(head.get("total", 0), "row"), *tally(head.get("counts", {}))])
    name = f"{_name(head)}, version {shortened(version)}" if version else _name(head)
    return f"{name}: " + "; ".join(filter(None, [rows, _cost(head)]))


def heading(head: RunStatus) -> str:
    """Name a run: "Run 'sweep-7' of wf_abc123"; or say that nothing was triggered."""
    return NOTHING if is_untouched(head) else _name(head)


def state(head: RunStatus) -> str:
    """Return the phase of a run, with what it waits for and its problem."""
    return "; ".join(filter(None, ["" if is_untouched(head) else _phase(head), *_remarks(head)]))


def is_untouched(head: RunStatus) -> bool:
    """Return whether nothing was ever sent, and no call is about to send."""
    is_active = head.get("phase") in ACTIVE_PHASES or head.get("started_at") is not None
    return not is_active and not head.get("accepted") and {PENDING, INVALID}.issuperset(head.get("counts", {}))


def tally(counts: Mapping[str, int]) -> list[str]:
    """Return ``["980 completed", ...]``, the most important statuses first."""
    first = {COMPLETED: 0, FAILED: 1}
    statuses = sorted((status for status in counts if counts[status]), key=lambda status: first.get(status, 2))
    return [f"{counts[status]:,} {plain(status)}" for status in statuses]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 row", "1,000 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shortened(text: str) -> str:
    """Return the first and last characters of a long id."""
    return text if len(text) <= FIRST + LAST + 3 else f"{text[:FIRST]}…{text[-LAST:]}"


def _untouched(head: RunStatus) -> str:
    invalid = head.get("counts", {}).get(INVALID, 0)
    refused = f", {invalid:,} of them invalid" if invalid else ""
    return f"{NOTHING} ({counted(head.get('total', 0), 'row')}{refused})"


def _name(head: RunStatus) -> str:
    run, workflow = (plain(text or "", MAX_NAME_LENGTH) for text in (head.get("run"), head.get("workflow")))
    return " of ".join(filter(None, [f"Run '{run}'" if run else "A run", workflow]))


def _phase(head: RunStatus) -> str:
    return PHASES.get(head.get("phase", ""), "")


SENTENCES: Final = ("waiting", "looking", "uploading")
"""How reasons of a wait begin that say by themselves that the run waits."""


def _remarks(head: RunStatus) -> Iterator[str]:
    """Yield what there is to report besides the counts."""
    waiting_for = plain(head.get("waiting_for") or "", MAX_REMARK_LENGTH)
    if waiting_for:
        is_sentence = head.get("phase") not in ACTIVE_PHASES or waiting_for.startswith(SENTENCES)
        yield waiting_for if is_sentence else f"waiting for: {waiting_for}"
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


def _cost(head: RunStatus) -> str:
    cost, superseded = head.get("cost_usd"), head.get("superseded", 0)
    if cost is None:
        return ""
    if not superseded:
        return format_usd(cost)
    part = format_usd(head.get("superseded_cost_usd", 0.0))
    return f"{format_usd(cost)}, of which {part} for {counted(superseded, 'superseded execution')}"
