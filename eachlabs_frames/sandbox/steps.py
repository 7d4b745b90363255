"""The steps of an execution at a given time, as its details show them (OpenAPI, "StepOutput").

Distributes the run time over the steps, and decides which step fails: the one in the middle, so that some steps are
completed before it and some cancelled after it. It never reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .workflows import Step


@dataclass(frozen=True, slots=True)
class Span:
    """The times of an execution: its start, its end (infinite while it is held), and the current time."""

    begun: float
    ends: float
    now: float


@dataclass(frozen=True, slots=True)
class Stage:
    """The state of a step. `completed` is set if it has ended."""

    status: str
    started: float | None = None
    completed: float | None = None


def failing(steps: Sequence[Step]) -> int:
    """Return the position of the step that fails in a failed execution."""
    return len(steps) // 2


def stages(steps: Sequence[Step], status: str, span: Span) -> list[Stage]:
    """Return the state of each step of an execution with this status."""
    last = failing(steps) if status == "failed" else len(steps) - 1
    share = (span.ends - span.begun) / (last + 1)
    return [_stage(number, last, status, share, span) for number in range(len(steps))]


def _stage(number: int, last: int, status: str, share: float, span: Span) -> Stage:
    started = span.begun + number * share if number else span.begun
    completed = span.begun + (number + 1) * share
    if number > last or (number and status == "cancelled"):
        return Stage("cancelled")
    if status == "cancelled":
        return Stage("cancelled", started, span.ends)
    if status == "failed" and number == last:
        return Stage("failed", started, span.ends)
    if status in ("completed", "failed") or completed <= span.now:
        return Stage("completed", started, completed)
    return Stage("running", started) if started <= span.now else Stage("queued")


def metadata(step: Step, stage: Stage, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a step, by its type."""
    took = None if stage.started is None or stage.completed is None else stage.completed - stage.started
    if step.type == "http":
        http: dict[str, Any] = {"type": "http", "method": "POST", "url": f"https://example.com/{step.step_id}"}
        return http | {"params": params} | ({} if took is None else {"elapsed_seconds": took})
    if step.type == "python":
        return {"type": "python", "params": params} | ({} if took is None else {"execution_time": took})
    return {"model": step.model, "version": "0.0.1", "params": params}
