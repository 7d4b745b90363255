"""Reads what executions cost: the prices of a workflow's models, and what its settled executions were paid.

Prices are a help: what cannot be read is unknown, and no reason for a call to fail. It never sends a POST.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from ..aio.tasks import run_workers
from ..models import COMPLETED, DialectName, Json, SettledExecution, Transport
from .reader import ExecutionPage, read_page, sender
from .requests import is_path_segment, model_request
from .responses import canonical_status, cost_in, seconds_in
from .verdicts import Success

logger = logging.getLogger("eachlabs_frames")

WORKERS: Final = 8
MAX_MODELS: Final = 50
"""Models of a workflow whose prices are read; those of further ones count as unknown."""


async def read_models(
    slugs: Iterable[str], *, transport: Transport, dialect: DialectName
) -> dict[str, Mapping[str, Json] | None]:
    """Return the JSON of each model; None for one that cannot be read. The legacy dialect has no models."""
    models: dict[str, Mapping[str, Json] | None] = dict.fromkeys(slugs)
    send = sender(transport)

    async def read(slug: str) -> None:
        verdict = await send(model_request(slug))
        if isinstance(verdict, Success) and isinstance(verdict.json, Mapping):
            models[slug] = verdict.json
        else:
            logger.info("the price of model %r cannot be read", slug)

    readable = [slug for slug in models if is_path_segment(slug)][:MAX_MODELS]
    if dialect != "legacy":
        await run_workers(iter(readable), read, workers=WORKERS)
    return models


async def read_settled(workflow_id: str, version_id: str | None, *, transport: Transport) -> list[SettledExecution]:
    """Return the completed executions of a version on the newest page of its workflow's listing, the newest first.

    Only that page, because costs change with the models and their prices. Costs of 0 do not count: they may come from
    a credit or a cache, and say nothing of the next execution.
    """
    page = await read_page(workflow_id, sender(transport))
    if not isinstance(page, ExecutionPage):
        logger.warning("the costs of earlier executions cannot be read: %s", page.reason)
        return []
    settled: list[SettledExecution] = []
    for entry in page.executions:
        is_other = version_id is not None and entry.get("version_id") not in (None, version_id)
        if is_other or canonical_status(entry.get("status")) != COMPLETED:
            continue
        cost, inputs = cost_in(entry), entry.get("inputs")
        inputs = inputs if isinstance(inputs, Mapping) else None
        settled.append(SettledExecution(entry["execution_id"], cost or None, seconds_in(entry), inputs))
    return settled
