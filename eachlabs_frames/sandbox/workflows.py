"""The workflows that the sandbox serves, and their JSON.

Owns definitions and versions. It never touches executions or the account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .messages import RefusalError
from .options import Dialect
from .prices import all_steps
from .schema import check_schema

Output: TypeAlias = Literal["image", "images", "object", "text"] | Callable[[Mapping[str, Any]], Any]
Reject: TypeAlias = Literal["entry", "request", "unprocessable"]

_CREATED = "2026-01-05T09:00:00Z"
_UPDATED = "2026-03-01T12:00:00Z"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a workflow. `output` is not used for the last step: its output is the execution's.

    `params` are the parameters of a model, in which ``$.inputs.style`` or ``{{inputs.style}}`` stands for an input. A
    `parallel` step runs all of its `branches`. A `choice` has two: it runs the first if its `condition` is met, such as
    ``{"expression": "$.inputs.style", "operator": "equals", "value": "noir"}``, and otherwise the second. `fallback` is
    shown in the definition, and never needed.
    """

    step_id: str = "generate"
    model: str = "sandbox-model"
    type: Literal["model", "http", "python", "parallel", "choice", "pass"] = "model"
    output: Callable[[Mapping[str, Any]], Any] | None = None
    params: Mapping[str, Any] | None = None
    branches: tuple[tuple[Step, ...], ...] = ()
    condition: Mapping[str, Any] | None = None
    fallback: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        wanted = {"parallel": len(self.branches) > 0, "choice": len(self.branches) == 2 and self.condition is not None}
        if not wanted.get(self.type, not self.branches):
            msg = f"step {self.step_id!r}: a {self.type!r} step has other branches, or needs a condition"
            raise ValueError(msg)
        if self.condition is not None and self.condition.get("operator") != "equals":
            msg = f"step {self.step_id!r}: the sandbox supports conditions with the operator 'equals' only"
            raise ValueError(msg)

    def shown(self) -> dict[str, Any]:
        """Return the step's JSON in a workflow's definition."""
        document: dict[str, Any] = {"step_id": self.step_id, "type": self.type}
        if self.type == "model":
            document["model"] = self.model
        for name in ("params", "condition", "fallback"):
            if getattr(self, name) is not None:
                document[name] = getattr(self, name)
        branches = [{"steps": [step.shown() for step in branch]} for branch in self.branches]
        if self.type == "choice":
            document |= dict(zip(("condition_met_branch", "default_branch"), branches, strict=True))
        elif branches:
            document["branches"] = branches
        return document


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a workflow. Without `input_schema` it has no definition; without `steps` it has the workflow's."""

    version_id: str
    status: Literal["active", "archived", "deleted"] = "active"
    updated_at: str = _UPDATED
    input_schema: Mapping[str, Any] | None = None
    steps: tuple[Step, ...] | None = None

    def __post_init__(self) -> None:
        if self.input_schema is not None:
            check_schema(self.input_schema)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow. `reject` is how invalid inputs are rejected: by an entry each, or by a 400 or 422 for the request."""

    workflow_id: str
    slug: str
    name: str
    versions: tuple[Version, ...]
    output: Output = "image"
    reject: Reject = "entry"
    forbidden: bool = False
    steps: tuple[Step, ...] = (Step(),)

    def __post_init__(self) -> None:
        for steps in (self.steps, *(version.steps for version in self.versions if version.steps is not None)):
            ids = [step.step_id for step in all_steps(steps)]
            if not ids or len(set(ids)) < len(ids) or steps[-1].branches:
                msg = (
                    f"workflow {self.workflow_id!r}: it needs a step, and each its own step_id, and the last step "
                    "no branches"
                )
                raise ValueError(msg)

    def steps_of(self, version: Version) -> tuple[Step, ...]:
        """Return the steps of a version."""
        return self.steps if version.steps is None else version.steps

    def version(self, version_id: str | None) -> Version:
        """Return the version with this id, or the latest active one."""
        active = [v for v in self.versions if v.status == "active"]
        if version_id is None:
            if not active:
                raise RefusalError(404, "workflow has no active version")
            return max(active, key=lambda v: v.updated_at)
        for version in active:
            if version.version_id == version_id:
                return version
        raise RefusalError(404, "workflow version not found")

    def shown(self, dialect: Dialect, *, counts: Mapping[str, int]) -> dict[str, Any]:
        """Return the workflow's JSON. Only the legacy dialect has the latest version."""
        document: dict[str, Any] = {
            "workflow_id": self.workflow_id,
            "slug": self.slug,
            "name": self.name,
            "categories": ["sandbox"],
            "production": False,
            "status": "active",
            "trigger_count": sum(counts.values()),
            "created_at": _CREATED,
            "updated_at": max((v.updated_at for v in self.versions), default=_CREATED),
            "versions": [self._shown_version(v, dialect, counts.get(v.version_id, 0)) for v in self.versions],
        }
        if dialect == "current":
            return document | {"tags": [], "is_public": False, "clone_count": 0}
        document |= {"description": f"{self.name}, in the sandbox", "locked": False}
        if any(v.status == "active" for v in self.versions):
            document["latest_version_id"] = self.version(None).version_id
        return document

    def _shown_version(self, version: Version, dialect: Dialect, count: int) -> dict[str, Any]:
        document: dict[str, Any] = {
            "version_id": version.version_id,
            "slug": self.slug,
            "locked": False,
            "production": False,
            "allowed_to_share": False,
            "trigger_count": count,
            "created_at": _CREATED,
            "updated_at": version.updated_at,
            "status": version.status,
        }
        if dialect == "current":
            document |= {"published": False, "visibility": "private"}
        if version.input_schema is not None:
            document["definition"] = {
                "version": version.version_id,
                "input_schema": version.input_schema,
                "steps": [step.shown() for step in self.steps_of(version)],
            }
        return document


def _image_schema(*, closed: bool) -> dict[str, Any]:
    """Return the input schema of the image workflows."""
    properties: dict[str, Any] = {
        "prompt": {"type": "string", "minLength": 1, "maxLength": 4000, "description": "What to draw"},
        "style": {"type": "string", "description": "How to draw it"},
        "seed": {"type": "integer", "minimum": 0},
        "guidance": {"type": "number", "minimum": 0, "maximum": 30},
        "steps": {"type": "integer", "minimum": 1, "maximum": 100},
        "num_images": {"type": "integer", "minimum": 1, "maximum": 4},
        "aspect_ratio": {"type": "string", "enum": ["1:1", "4:3", "3:4", "16:9", "9:16"]},
        "negative_prompt": {"type": "string"},
        "image_url": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 20},
        "upscale": {"type": "boolean"},
        "options": {"type": "object"},
    }
    schema: dict[str, Any] = {"type": "object", "required": ["prompt"], "properties": properties}
    return schema | ({"additionalProperties": False} if closed else {})


def default_workflows() -> tuple[Workflow, ...]:
    """Return the workflows of every sandbox.

    The newest version of `wf_abc123` is archived and the newest active one is in the middle, so that a client that
    takes the first, the last or the newest version is wrong.
    """
    opened, closed = _image_schema(closed=False), _image_schema(closed=True)
    text = {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}}
    images = (
        Version("v1", "active", "2026-01-10T08:00:00Z", opened),
        Version("v2", "active", "2026-02-20T16:30:00Z", closed),
        Version("v3", "archived", "2026-03-15T10:45:00Z", closed),
    )
    return (
        Workflow("wf_abc123", "text-to-image", "Text to Image", images, "image"),
        Workflow("wf_text", "text-to-text", "Text to Text", (Version("v1", input_schema=text),), "object"),
        Workflow("wf_images", "text-to-images", "Text to Images", images[:2], "images"),
        Workflow("wf_free", "anything-goes", "Anything Goes", (Version("v1"),), "text"),
        Workflow("wf_forbidden", "forbidden", "Forbidden", (Version("v1"),), "text", forbidden=True),
    )
