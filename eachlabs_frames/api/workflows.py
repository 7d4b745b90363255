"""A workflow as the API describes it -> the version that a run is pinned to, and that version's input schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import NotFoundError
from ..models import Json, Workflow
from ..suggestions import did_you_mean
from .responses import parse_time


def choose_version(said: Json, *, workflow_id: str, version_id: str | None) -> Workflow:
    """Return the version that was asked for, or else the latest.

    The latest is ``latest_version_id`` where the API names it (legacy), else the active version with the newest
    ``updated_at`` (API reference, "Two dialects, one API").

    Raises
    ------
    NotFoundError
        No such version, or none that is active.
    """
    described = said if isinstance(said, Mapping) else {}
    listed = described.get("versions")
    versions = [v for v in listed if isinstance(v, Mapping)] if isinstance(listed, list) else []
    wanted = version_id or _latest(described, versions)
    found = next((v for v in versions if v.get("version_id") == wanted), None)
    if wanted is None or (version_id is not None and versions and found is None):
        known = [str(v.get("version_id")) for v in versions]
        names = ", ".join(known) or "none"
        what = f"no version {version_id!r}{did_you_mean(version_id, known)}" if version_id else "no active version"
        msg = f"workflow {workflow_id!r} has {what}; its versions: {names}"
        raise NotFoundError(msg, status=404)
    return Workflow(workflow_id, wanted, _input_schema(found))


def _latest(described: Mapping[str, Any], versions: list[Mapping[str, Any]]) -> str | None:
    named = described.get("latest_version_id")
    if isinstance(named, str) and named:
        return named
    active = [v for v in versions if v.get("status") == "active" and isinstance(v.get("version_id"), str)]
    if not active:
        return None
    newest = max(active, key=lambda version: parse_time(version.get("updated_at")) or 0)
    return str(newest["version_id"])


def _input_schema(version: Mapping[str, Any] | None) -> Mapping[str, Json] | None:
    definition = (version or {}).get("definition")
    schema = definition.get("input_schema") if isinstance(definition, Mapping) else None
    return schema if isinstance(schema, Mapping) else None
