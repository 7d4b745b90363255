"""The steps of an execution at a moment, as its details show them (OpenAPI, "StepOutput").

Owns how a run's time is shared among its steps, and which of them a failure hits: the one in the middle, so that there
are steps that were completed before it and cancelled after it. It never reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .workflows import Step


@dataclass(frozen=True, slots=True)
class Span:
    """An execution's time: when it began, when it ends (infinite while held), and the moment that is looked at."""

    begun: float
    ends: float
    now: float


@dataclass(frozen=True, slots=True)
class Stage:
    """Where one step stands; `completed` only where it is over."""

    status: str
    started: float | None = None
    completed: float | None = None


def failing(steps: Sequence[Step]) -> int:
    """Give the position of the step that fails where the execution does."""
    return len(steps) // 2


def stages(steps: Sequence[Step], status: str, span: Span) -> list[Stage]:
    """Say how each step stands in an execution of that status."""
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
    """Give what a step says of itself, by its type."""
    took = None if stage.started is None or stage.completed is None else stage.completed - stage.started
    if step.type == "http":
        said: dict[str, Any] = {"type": "http", "method": "POST", "url": f"https://example.com/{step.step_id}"}
        return said | {"params": params} | ({} if took is None else {"elapsed_seconds": took})
    if step.type == "python":
        return {"type": "python", "params": params} | ({} if took is None else {"execution_time": took})
    return {"model": step.model, "version": "0.0.1", "params": params}
