"""An execution: its status at a given time, and its JSON in listings and details.

Owns the life cycle of an execution and of its steps, and the two representations: the summary and the details. It never
reads a clock: the time is an argument.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .options import Dialect, Options

if TYPE_CHECKING:
    from .prices import Charge
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
    occurrence: int
    charge: Charge
    reserved_micros: int
    created: float
    starts: float
    ends: float
    cause: str | None
    webhook_url: str | None
    webhook_secret: str | None
    forced_status: str | None = None
    is_expired: bool = False

    @property
    def cost_usd(self) -> float:
        """What the execution costs, in USD."""
        return self.charge.micros / 1_000_000

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

    def fraction(self, name: str) -> float:
        """Return a number from 0 to 1 that depends on `name`, the inputs and the number of earlier ones like them."""
        return fraction(f"{name}:{self.occurrence}:{self.fingerprint}")

    def media_count(self) -> int:
        """Return the number of pictures that the execution generates."""
        if self.workflow.output == "image":
            return 1
        if self.workflow.output == "images":
            count = self.inputs.get("num_images")
            return count if isinstance(count, int) and 1 <= count <= 4 else 3
        return 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """An execution that was accepted, and so billed. `at` is in seconds since the epoch."""

    execution_id: str
    bulk_id: str
    workflow_id: str
    version_id: str
    inputs: Mapping[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """An execution and its current status. Times are in seconds since the epoch."""

    execution_id: str
    bulk_id: str
    workflow_id: str
    version_id: str
    inputs: Mapping[str, Any]
    status: str
    created_at: float
    ended_at: float | None


def _fractions(text: str, count: int) -> list[float]:
    digest = hashlib.blake2b(text.encode(), digest_size=4 * count).digest()
    return [int.from_bytes(digest[4 * i : 4 * i + 4], "big") / 2**32 for i in range(count)]


def fraction(text: str) -> float:
    """Return a number from 0 to 1 that depends on a text only."""
    return _fractions(text, 1)[0]


@dataclass(frozen=True, slots=True)
class Bill:
    """What an execution reserved from the balance, and what it costs, in USD; the cost is None until it has ended.

    `calls` has the step, the model and the cost of each call of a model, for workflows whose models have prices.
    """

    execution_id: str
    status: str
    estimate_usd: float
    cost_usd: float | None
    calls: tuple[tuple[str, str, float], ...]


def draw(inputs: Mapping[str, Any], options: Options, *, fingerprint: str, occurrence: int) -> tuple[float, str | None]:
    """Derive the run time and the cause of a failure from the seed, the inputs and the number of earlier ones alike."""
    duration, failure, cause = _fractions(f"{options.seed}:{occurrence}:{fingerprint}", 3)
    low, high = options.run_seconds
    seconds = low + (high - low) * duration
    if any(isinstance(value, str) and FAIL_MARKER in value for value in inputs.values()):
        return seconds, f"Step 'generate' failed: the input asks for it with {FAIL_MARKER}"
    if failure < options.failure_rate or (options.fail_when is not None and options.fail_when(inputs)):
        return seconds, _CAUSES[int(cause * len(_CAUSES))]
    return seconds, None


@dataclass(frozen=True, slots=True)
class View:
    """The context of a representation: the time, the dialect, the options and the URL of media.

    `epoch` converts a time of the sandbox's clock to seconds since the epoch.
    """

    now: float
    dialect: Dialect
    options: Options
    epoch: Callable[[float], float]
    media_url: str

    def timestamp(self, moment: float) -> str:
        """Return a time in RFC 3339, truncated to `timestamp_digits`."""
        seconds = self.epoch(moment) + self.options.timestamp_skew
        digits = self.options.timestamp_digits
        text = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds")
        return text[: 20 + digits if digits else 19] + "Z"

    def status(self, execution: Execution) -> str:
        """Return the status as the API shows it: only the response to a trigger has `queued`."""
        status = execution.status(self.now)
        return "running" if status == "queued" else status

    def started(self, execution: Execution) -> bool:
        """Return whether the execution has left the queue; before that it has no `started_at` and no steps."""
        return execution.status(self.now) != "queued"


def _output(execution: Execution, media_url: str) -> Any:
    kind = execution.workflow.output
    if callable(kind):
        return kind(execution.inputs)
    if kind == "image":
        return f"{media_url}/{execution.execution_id}-0.svg"
    if kind == "images":
        return [f"{media_url}/{execution.execution_id}-{n}.png" for n in range(execution.media_count())]
    prompt = str(execution.inputs.get("prompt", execution.fingerprint))
    if kind == "object":
        return {"text": f"On {prompt}", "words": len(prompt.split()), "model": "sandbox-model"}
    return f"You said: {prompt}"


def summary(execution: Execution, view: View) -> dict[str, Any]:
    """Return an entry of a listing: no error text, and an output only if it is a string or an object."""
    status = view.status(execution)
    has_ended, started = status in TERMINAL, view.started(execution)
    updated = execution.ends if has_ended else execution.starts if started else execution.created
    document: dict[str, Any] = {
        "execution_id": execution.execution_id,
        "flow_id": execution.workflow.workflow_id,
        "flow_name": execution.workflow.name,
        "version_id": execution.version_id,
        "api_key": "sandbox-user",
        "status": status,
        "created_at": view.timestamp(execution.created),
        "updated_at": view.timestamp(updated),
    }
    if started:
        document["started_at"] = view.timestamp(execution.starts)
    if has_ended:
        document["ended_at"] = view.timestamp(execution.ends)
        if view.options.cost_shape == "number":
            document["cost"] = execution.cost_usd
        elif view.options.cost_shape == "object":
            document["cost"] = {"total": execution.cost_usd, "currency": "USD"}
    if view.options.listing_inputs:
        document["inputs"] = execution.inputs
    if status == "completed":
        output = _output(execution, view.media_url)
        if isinstance(output, str):
            document["output"] = output
        elif isinstance(output, dict):
            document["output_json"] = output
    return document


def details(execution: Execution, view: View) -> dict[str, Any]:
    """Return an execution's details: the response to a GET, and the body of a webhook delivery."""
    status = view.status(execution)
    has_ended, started = status in TERMINAL, view.started(execution)
    output = _output(execution, view.media_url) if status == "completed" else None
    document: dict[str, Any] = {
        "execution_id": execution.execution_id,
        "workflow_id": execution.workflow.workflow_id,
        "bulk_id": execution.bulk_id,
        "status": status,
        "inputs": execution.inputs,
        "step_outputs": _steps(execution, view, status, output) if started else {},
        "output": output,
    }
    if started:
        document["started_at"] = view.timestamp(execution.starts)
    if has_ended:
        document["completed_at"] = view.timestamp(execution.ends)
    if view.dialect == "current":
        document["version_id"] = execution.version_id
        if isinstance(output, dict):
            document["workflow_output"] = output
        if has_ended and view.options.cost_shape != "none":
            document["total_cost"] = execution.cost_usd
    if status == "failed":
        document |= {"error": "ExecutionFailed", "error_cause": _cause(execution)}
    return document


# Steps, as in the OpenAPI document's "StepOutput". The run time is distributed evenly over the steps.


def _cause(execution: Execution) -> str:
    """Return why an execution failed, with the name of the failed step."""
    cause = execution.cause or "the sandbox was told to fail it"
    charge = execution.charge
    return cause.replace("'generate'", repr(charge.steps[charge.failing].step_id), 1)


def _steps(execution: Execution, view: View, status: str, output: Any) -> dict[str, Any]:
    steps = execution.charge.steps
    documents = {}
    for number, step in enumerate(steps):
        step_status, started, completed = _step_state(execution, number, status, view.now)
        duration = None if started is None or completed is None else completed - started
        document = {
            "step_id": step.step_id,
            "status": step_status,
            "metadata": _metadata(step, execution.inputs, duration),
        }
        if started is not None:
            document["started_at"] = view.timestamp(started)
        if completed is not None:
            document["completed_at"] = view.timestamp(completed)
        if step_status == "completed":
            value = output
            if step is not steps[-1]:
                value = f"{step.step_id} is done" if step.output is None else step.output(execution.inputs)
            document |= {"output": value, "primary": value[0] if isinstance(value, list) and value else value}
        if step_status == "failed":
            document |= {"error": "StepFailed", "error_cause": _cause(execution)}
        documents[step.step_id] = document
    for step in execution.charge.skipped:
        metadata = _metadata(step, execution.inputs, None)
        documents[step.step_id] = {"step_id": step.step_id, "status": "skipped", "metadata": metadata}
    return documents


def _step_state(execution: Execution, number: int, status: str, now: float) -> tuple[str, float | None, float | None]:
    """Return the status of a step and the times of its start and end, if it has started or ended."""
    charge = execution.charge
    last = charge.failing if status == "failed" else len(charge.steps) - 1
    if number > last or (number and status == "cancelled"):
        return "cancelled", None, None
    duration = (execution.ends - execution.starts) / (last + 1)
    # The duration is infinite while an execution is held, and 0 times infinity is not a number.
    started = execution.starts + number * duration if number else execution.starts
    completed = execution.starts + (number + 1) * duration
    if status == "cancelled" or (status == "failed" and number == last):
        return status, started, execution.ends
    if status in ("completed", "failed") or completed <= now:
        return "completed", started, completed
    return ("running", started, None) if started <= now else ("queued", None, None)


def _metadata(step: Step, params: Mapping[str, Any], duration: float | None) -> dict[str, Any]:
    """Return the metadata of a step, by its type."""
    if step.type == "model":
        return {"model": step.model, "version": "0.0.1", "params": params}
    document: dict[str, Any] = {"type": step.type, "params": params}
    if step.type == "http":
        document |= {"method": "POST", "url": f"https://example.com/{step.step_id}"}
    if duration is not None:
        document["elapsed_seconds" if step.type == "http" else "execution_time"] = duration
    return document
