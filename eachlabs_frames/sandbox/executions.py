"""One execution: where it stands at a moment, and how the API shows it.

Owns an execution's life and its two shapes, the summary and the details. It never reads a clock: the moment
is an argument.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .options import Clock, Dialect, Options
from .steps import Span, Stage, failing, metadata, stages
from .workflows import Step, Workflow

TERMINAL = frozenset({"completed", "failed", "cancelled"})
_CAUSES = (
    "Step 'generate' failed: Model timeout after 30s",
    "Step 'generate' failed: the model refused the prompt",
    "Step 'generate' failed: out of memory on the worker",
)
FAIL_MARKER = "[fail]"


@dataclass(slots=True, eq=False)
class Execution:
    """One accepted execution; times are on the sandbox's monotonic clock, `ends` is infinite while held."""

    execution_id: str
    bulk_id: str
    workflow: Workflow
    version_id: str
    inputs: dict[str, Any]
    fingerprint: str
    cost_usd: float
    created: float
    starts: float
    ends: float
    cause: str | None
    word: str | None = None
    occurrence: int = 0
    reserved_micros: int = 0
    webhook_url: str | None = None
    webhook_secret: str | None = None

    def status(self, now: float) -> str:
        """Give the status on the wire at `now`."""
        if self.word is not None:
            return self.word
        if now >= self.ends:
            return "completed" if self.cause is None else "failed"
        return "running" if now >= self.starts else "queued"

    def ended(self, now: float) -> bool:
        """Tell whether the execution is over at `now`."""
        return self.status(now) in TERMINAL


@dataclass(frozen=True, slots=True)
class Fate:
    """What an execution will come to, known when it is accepted."""

    run_seconds: float
    cause: str | None


def fate(inputs: Mapping[str, Any], options: Options, *, fingerprint: str, occurrence: int) -> Fate:
    """Decide an execution's length and end from the seed, its inputs and how often they have come."""
    text = f"{options.seed}:{occurrence}:{fingerprint}"
    digest = hashlib.blake2b(text.encode(), digest_size=12).digest()
    length, luck, pick = (int.from_bytes(digest[i : i + 4], "big") / 2**32 for i in (0, 4, 8))
    low, high = options.run_seconds
    cause = None
    if any(isinstance(value, str) and FAIL_MARKER in value for value in inputs.values()):
        cause = f"Step 'generate' failed: the input asks for it with {FAIL_MARKER}"
    elif luck < options.failure_rate or (options.fail_when is not None and options.fail_when(inputs)):
        cause = _CAUSES[int(pick * len(_CAUSES))]
    return Fate(low + (high - low) * length, cause)


class Stamps:
    """Moments of the monotonic clock written as RFC 3339."""

    def __init__(self, clock: Clock) -> None:
        self._epoch = time.time() - clock()

    def wall(self, moment: float, options: Options) -> float:
        """Give seconds since the epoch, by the sandbox's own (skewed) reckoning."""
        return self._epoch + moment + options.clock_skew

    def text(self, moment: float, options: Options) -> str:
        """Give the RFC 3339 timestamp, cut (not rounded) to the digits asked for."""
        wall = self.wall(moment, options) + options.timestamp_skew
        seconds = math.floor(wall)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        digits = options.timestamp_digits
        if digits:
            fraction = min(int((wall - seconds) * 10**digits), 10**digits - 1)
            stamp += f".{fraction:0{digits}d}"
        return stamp + "Z"


@dataclass(frozen=True, slots=True)
class View:
    """What the shapes need to know beside the execution: the moment, the dialect, where media are served."""

    now: float
    dialect: Dialect
    options: Options
    stamps: Stamps
    media_url: str

    def stamp(self, moment: float) -> str:
        """Write a moment as the API does."""
        return self.stamps.text(moment, self.options)

    def status(self, execution: Execution) -> str:
        """Return the status as the API shows it: `queued` is a word of the trigger's answer alone."""
        status = execution.status(self.now)
        return "running" if status == "queued" else status

    def started(self, execution: Execution) -> bool:
        """Tell whether the execution has left the queue; until then it has no `started_at` and no steps."""
        return execution.status(self.now) != "queued"


def pictures(execution: Execution) -> int:
    """Count the pictures that an execution makes."""
    if execution.workflow.output == "image":
        return 1
    if execution.workflow.output == "images":
        wanted = execution.inputs.get("num_images")
        return wanted if isinstance(wanted, int) and 1 <= wanted <= 4 else 3
    return 0


def output(execution: Execution, media_url: str) -> Any:
    """Give what a completed execution puts out."""
    kind = execution.workflow.output
    prompt = str(execution.inputs.get("prompt", execution.fingerprint))
    if callable(kind):
        return kind(execution.inputs)
    if kind == "image":
        return f"{media_url}/{execution.execution_id}-0.svg"
    if kind == "images":
        return [f"{media_url}/{execution.execution_id}-{n}.png" for n in range(pictures(execution))]
    if kind == "object":
        return {"text": f"On {prompt}", "words": len(prompt.split()), "model": "sandbox-model"}
    return f"You said: {prompt}"


def summary(execution: Execution, view: View) -> dict[str, Any]:
    """Return an entry of a listing: no error text, and output only where it is a string or an object."""
    status = view.status(execution)
    over = status in TERMINAL
    started = view.started(execution)
    touched = execution.ends if over else execution.starts if started else execution.created
    document: dict[str, Any] = {
        "execution_id": execution.execution_id,
        "flow_id": execution.workflow.workflow_id,
        "flow_name": execution.workflow.name,
        "version_id": execution.version_id,
        "api_key": "sandbox-user",
        "status": status,
        "created_at": view.stamp(execution.created),
        "updated_at": view.stamp(touched),
    }
    if started:
        document["started_at"] = view.stamp(execution.starts)
    if over:
        document["ended_at"] = view.stamp(execution.ends)
        if view.options.cost_shape == "number":
            document["cost"] = execution.cost_usd
        elif view.options.cost_shape == "object":
            document["cost"] = {"total": execution.cost_usd, "currency": "USD"}
    if view.options.listing_inputs:
        document["inputs"] = execution.inputs
    if status == "completed":
        made = output(execution, view.media_url)
        if isinstance(made, str):
            document["output"] = made
        elif isinstance(made, dict):
            document["output_json"] = made
    return document


def details(execution: Execution, view: View) -> dict[str, Any]:
    """Return an execution's details: the answer to a GET, and the body of a webhook."""
    status = view.status(execution)
    over, started = status in TERMINAL, view.started(execution)
    made = output(execution, view.media_url) if status == "completed" else None
    document: dict[str, Any] = {
        "execution_id": execution.execution_id,
        "workflow_id": execution.workflow.workflow_id,
        "bulk_id": execution.bulk_id,
        "status": status,
        "inputs": execution.inputs,
        "step_outputs": _steps(execution, view, status, made) if started else {},
        "output": made,
    }
    if started:
        document["started_at"] = view.stamp(execution.starts)
    if over:
        document["completed_at"] = view.stamp(execution.ends)
    if view.dialect == "current":
        document["version_id"] = execution.version_id
        if isinstance(made, dict):
            document["workflow_output"] = made
        if over and view.options.cost_shape != "none":
            document["total_cost"] = execution.cost_usd
    if status == "failed":
        document["error"] = "ExecutionFailed"
        document["error_cause"] = _cause(execution)
    return document


def _cause(execution: Execution) -> str:
    """Say why an execution failed, by the name of the step that did."""
    steps = execution.workflow.steps
    said = execution.cause or "the sandbox was told to fail it"
    return said.replace("'generate'", repr(steps[failing(steps)].step_id), 1)


def _steps(execution: Execution, view: View, status: str, made: Any) -> dict[str, Any]:
    steps = execution.workflow.steps
    found = stages(steps, status, Span(execution.starts, execution.ends, view.now))
    return {step.step_id: _step(execution, view, step, stage, made) for step, stage in zip(steps, found, strict=True)}


def _step(execution: Execution, view: View, step: Step, stage: Stage, made: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "step_id": step.step_id,
        "status": stage.status,
        "metadata": metadata(step, stage, execution.inputs),
    }
    if stage.started is not None:
        shown["started_at"] = view.stamp(stage.started)
    if stage.completed is not None:
        shown["completed_at"] = view.stamp(stage.completed)
    if stage.status == "completed":
        if step is not execution.workflow.steps[-1]:
            made = f"{step.step_id} is done" if step.output is None else step.output(execution.inputs)
        shown["output"] = made
        shown["primary"] = made[0] if isinstance(made, list) and made else made
    if stage.status == "failed":
        shown["error"] = "StepFailed"
        shown["error_cause"] = _cause(execution)
    return shown
