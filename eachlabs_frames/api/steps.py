"""An execution's details -> its steps, in the order in which they began (API reference, "StepOutput").

Never trusts them: whatever has not the shape that the reference gives it is left out, and is no error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ..models import Json
from .responses import canonical_status, parse_time, reason

MAX_SECONDS: Final = 1e9
"""Seconds of a step, at most: whatever is more is no time."""


class Step(NamedTuple):
    """What became of one step. Times are nanoseconds since the epoch, UTC; `elapsed` is in seconds."""

    step_id: str | None
    status: str | None = None
    model: str | None = None
    started_at: int | None = None
    completed_at: int | None = None
    elapsed: float | None = None
    primary: Json = None
    output: Json = None
    error: str | None = None


def steps(details: Mapping[str, Any]) -> list[Step]:
    """Return the steps of an execution; those that have not begun stand last, in the API's own order."""
    said = details.get("step_outputs")
    entries = said.items() if isinstance(said, Mapping) else ()
    found = [_read(str(name), entry) for name, entry in entries if isinstance(entry, Mapping)]
    return sorted(found, key=lambda step: (step.started_at is None, step.started_at or 0))


def _read(name: str, entry: Mapping[str, Any]) -> Step:
    step_id, metadata = entry.get("step_id"), entry.get("metadata")
    about = metadata if isinstance(metadata, Mapping) else {}
    started_at, completed_at = parse_time(entry.get("started_at")), parse_time(entry.get("completed_at"))
    return Step(
        step_id=step_id if isinstance(step_id, str) and step_id else name,
        status=canonical_status(entry.get("status")),
        model=_text(about.get("model")) or _text(about.get("type")),
        started_at=started_at,
        completed_at=completed_at,
        elapsed=_elapsed(started_at, completed_at, about),
        primary=entry.get("primary"),
        output=entry.get("output"),
        error=reason(entry),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _elapsed(started_at: int | None, completed_at: int | None, about: Mapping[str, Any]) -> float | None:
    """Return what a step took: by its times, else as an http or python step says it."""
    if started_at is not None and completed_at is not None:
        return (completed_at - started_at) / 1e9
    said = about.get("elapsed_seconds", about.get("execution_time"))
    sound = isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said < MAX_SECONDS
    return float(said) if sound else None
