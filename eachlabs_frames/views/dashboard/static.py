"""Renders a dashboard as text and as HTML, for front ends without widgets."""

from __future__ import annotations

from typing import Final

from ..common.static_html import escaped, plain, table
from ..common.status_text import MAX_ID_LENGTH, counted, is_untouched, shortened, state, tally, title
from .messages import DashboardSnapshot, Line

MAX_LINES: Final = 20
MAX_ERRORS: Final = 10
MAX_WORKER_LENGTH: Final = 40
MAX_LABEL_LENGTH: Final = 60
MAX_ERROR_LENGTH: Final = 200


def text(snapshot: DashboardSnapshot) -> str:
    """Return the text for a terminal: the title, a line per bulk operation, and the errors."""
    head = snapshot["head"]
    shown = [title(head), state(head)]
    if not is_untouched(head):
        lines, more_lines = _lines(snapshot)
        width = max((len(_bulk_id(line)) for line in lines), default=0)
        shown += [
            f"  {_bulk_id(line):<{width}}  {', '.join(filter(None, [*tally(_counts(line, snapshot)), _worker(line)]))}"
            for line in lines
        ]
        shown.append(more_lines and f"  {more_lines}")
    errors, more_errors = _errors(snapshot)
    if errors:
        shown.append("Errors:")
        shown += [f"  {counted(rows, 'row')}: {message} ({labels})" for rows, message, labels in errors]
        shown.append(more_errors and f"  {more_errors}")
    return "\n".join(filter(None, shown))


def html(snapshot: DashboardSnapshot) -> str:
    """Return the same as HTML tables, for GitHub and nbconvert."""
    head = snapshot["head"]
    parts = [f'<p dir="auto"><strong>{escaped(title(head))}</strong></p>']
    parts += [f'<p dir="auto">{escaped(text)}</p>' for text in [state(head)] if text]
    if not is_untouched(head):
        counts = head.get("counts", {})
        amounts = [f"{rows:,}" for rows in counts.values()]
        parts.append(table("Rows per status", list(counts), [amounts], numbers=range(len(counts))))
        parts += _lines_table(snapshot, list(counts))
    errors, more = _errors(snapshot)
    if errors:
        cells = [[f"{rows:,}", message, labels] for rows, message, labels in errors]
        parts.append(table("Errors", ["rows", "message", "labels"], cells, numbers=(0,)))
        parts += [f"<p>{more}</p>"] if more else []
    return f"<div>{''.join(parts)}</div>"


def _lines_table(snapshot: DashboardSnapshot, statuses: list[str]) -> list[str]:
    lines, more = _lines(snapshot)
    heads = ["bulk_id", "worker"] if any(map(_worker, lines)) else ["bulk_id"]
    cells = []
    for line in lines:
        counts = _counts(line, snapshot)
        names = [_bulk_id(line), _worker(line)][: len(heads)]
        cells.append([*names, *(f"{counts[status]:,}" if status in counts else "" for status in statuses)])
    numbers = range(len(heads), len(heads) + len(statuses))
    shown = table("Rows per bulk_id", [*heads, *statuses], cells, numbers=numbers)
    return [shown, f"<p>{more}</p>"] if more else [shown]


def _lines(snapshot: DashboardSnapshot) -> tuple[list[Line], str]:
    """Return the first lines that have rows (a retry leaves empty ones), and how many more there are."""
    lines = [line for line in snapshot["lines"] if line[2]]
    more = len(lines) - MAX_LINES
    return lines[:MAX_LINES], f"and {more:,} more" if more > 0 else ""


def _counts(line: Line, snapshot: DashboardSnapshot) -> dict[str, int]:
    codes = iter(line[2])
    return {snapshot["statuses"][code]: rows for code, rows in zip(codes, codes, strict=True)}


def _bulk_id(line: Line) -> str:
    return shortened(plain(line[0], MAX_ID_LENGTH)) or "no bulk_id"


def _worker(line: Line) -> str:
    return plain(line[3], MAX_WORKER_LENGTH) if len(line) > 3 else ""


def _errors(snapshot: DashboardSnapshot) -> tuple[list[tuple[int, str, str]], str]:
    """Return the rows, message and labels of the most frequent errors, and how many more messages there are."""
    groups = sorted((group for group in snapshot["errors"] if group[0]), key=lambda group: -group[0])
    more = max(0, len(groups) - MAX_ERRORS) + snapshot["more_errors"]
    shown = []
    for rows, message, labels in groups[:MAX_ERRORS]:
        names = ", ".join(plain(label, MAX_LABEL_LENGTH) for label in labels)
        shown.append((rows, plain(message, MAX_ERROR_LENGTH), f"{names}, …" if rows > len(labels) else names))
    return shown, f"and {counted(more, 'other message')}" if more else ""
