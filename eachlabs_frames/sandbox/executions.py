"""An execution: its status at a given time, and its JSON in listings and details.

Owns the life cycle of an execution and its two representations, the summary and the details. It never reads a clock:
the time is an argument.
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
    """An accepted execution. Times are those of the sandbox's monotonic clock; `ends` is infinite while it is held."""

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
    forced_status: str | None = None
    occurrence: int = 0
    reserved_micros: int = 0
    webhook_url: str | None = None
    webhook_secret: str | None = None

    def status(self, now: float) -> str:
        """Return the status at `now`."""
        if self.forced_status is not None:
            return self.forced_status
        if now >= self.ends:
            return "completed" if self.cause is None else "failed"
        return "running" if now >= self.starts else "queued"

    def ended(self, now: float) -> bool:
        """Return whether the execution has ended at `now`."""
        return self.status(now) in TERMINAL


@dataclass(frozen=True, slots=True)
class Fate:
    """The run time and the result of an execution, decided when it is accepted."""

    run_seconds: float
    cause: str | None


def fate(inputs: Mapping[str, Any], options: Options, *, fingerprint: str, occurrence: int) -> Fate:
    """Derive an execution's run time and result from the seed, its inputs and the number of earlier ones like it."""
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
    """Converts times of the monotonic clock to RFC 3339."""

    def __init__(self, clock: Clock) -> None:
        self._epoch = time.time() - clock()

    def wall(self, moment: float, options: Options) -> float:
        """Return seconds since the epoch by the sandbox's (skewed) clock."""
        return self._epoch + moment + options.clock_skew

    def text(self, moment: float, options: Options) -> str:
        """Return the RFC 3339 timestamp, truncated to `timestamp_digits`."""
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
    """The context of a representation: the time, the dialect, the options and the URL of media."""

    now: float
    dialect: Dialect
    options: Options
    stamps: Stamps
    media_url: str

    def stamp(self, moment: float) -> str:
        """Return a time as an RFC 3339 timestamp."""
        return self.stamps.text(moment, self.options)

    def status(self, execution: Execution) -> str:
        """Return the status as the API shows it: only the response to a trigger has `queued`."""
        status = execution.status(self.now)
        return "running" if status == "queued" else status

    def started(self, execution: Execution) -> bool:
        """Return whether the execution has left the queue; before that it has no `started_at` and no steps."""
        return execution.status(self.now) != "queued"


def pictures(execution: Execution) -> int:
    """Return the number of pictures that an execution generates."""
    if execution.workflow.output == "image":
        return 1
    if execution.workflow.output == "images":
        wanted = execution.inputs.get("num_images")
        return wanted if isinstance(wanted, int) and 1 <= wanted <= 4 else 3
    return 0


def output(execution: Execution, media_url: str) -> Any:
    """Return the output of a completed execution."""
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
    """Return an entry of a listing: no error text, and an output only if it is a string or an object."""
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
    """Return an execution's details: the response to a GET, and the body of a webhook delivery."""
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
    """Return why an execution failed, with the name of the failed step."""
    steps = execution.workflow.steps
    cause = execution.cause or "the sandbox was told to fail it"
    return cause.replace("'generate'", repr(steps[failing(steps)].step_id), 1)


def _steps(execution: Execution, view: View, status: str, made: Any) -> dict[str, Any]:
    steps = execution.workflow.steps
    current = stages(steps, status, Span(execution.starts, execution.ends, view.now))
    return {step.step_id: _step(execution, view, step, stage, made) for step, stage in zip(steps, current, strict=True)}


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
