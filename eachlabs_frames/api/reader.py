"""Reads from the API: a workflow, a bulk operation, or any page. A GET may be sent as often as one likes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from ..aio.backoff import retry_delay
from ..errors import APIConnectionError, APIError, NotFoundError, RateLimitError
from ..models import Clock, Json, Request, Transport, Workflow
from .requests import listing_request, workflow_request
from .responses import entries
from .verdicts import Retry, Stop, Success, judge_read
from .workflows import choose_version

logger = logging.getLogger("eachlabs_frames")

TRIES: Final = 4
MAX_PAUSE: Final = 30.0
"""Seconds: a ``Retry-After`` beyond it is reported at once, for a person is waiting."""


async def fetch(request: Request, *, transport: Transport, clock: Clock) -> Json:
    """Return the JSON that a GET gives, after a few tries where the API is busy or out of reach.

    Raises
    ------
    APIError
        Refused (by its status), or no usable answer.
    """
    for attempt in range(1, TRIES + 1):
        verdict = judge_read(await transport.send(request))
        if isinstance(verdict, Success):
            return verdict.json
        if isinstance(verdict, Stop):
            raise _refused(verdict, request)
        delay = retry_delay(attempt, floor=verdict.after, draw=clock.draw())
        if attempt == TRIES or delay > MAX_PAUSE:
            raise _given_up(verdict)
        await clock.sleep(delay)
    raise AssertionError  # the last try returns or raises


def _refused(verdict: Stop, request: Request) -> APIError:
    hints = {
        401: "check EACHLABS_API_KEY, or configure(api_key=...)",
        403: f"the key is not allowed to do this ({request.path})",
        404: f"no such resource ({request.path})",
    }
    hint = hints.get(verdict.status)
    message = f"{verdict.reason}: {hint}" if hint else verdict.reason
    return verdict.error(message, status=verdict.status, details=verdict.reason)


def _given_up(verdict: Retry) -> APIError:
    if verdict.limited:
        return RateLimitError(verdict.reason, status=429, details=verdict.reason)
    return APIConnectionError(f"no usable response from the API: {verdict.reason} (is base_url correct?)")


async def workflow(workflow_id: str, *, version_id: str | None, transport: Transport, clock: Clock) -> Workflow:
    """Return the version to run: the one named, or the latest. The canary of a run.

    Raises
    ------
    AuthenticationError, PermissionDeniedError, NotFoundError
        401, 403, 404.
    """
    said = await fetch(workflow_request(workflow_id), transport=transport, clock=clock)
    found = choose_version(said, workflow_id=workflow_id, version_id=version_id)
    if version_id is None:
        logger.info("workflow %s: using version %s, the latest", workflow_id, found.version_id)
    return found


async def bulk(workflow_id: str, bulk_id: str, *, transport: Transport, clock: Clock) -> list[Mapping[str, Any]]:
    """Return the executions of a bulk operation, oldest first.

    Raises
    ------
    NotFoundError
        The workflow has none with this ``bulk_id``.
    """
    request = listing_request(workflow_id, bulk_id=bulk_id)
    found = list(entries(await fetch(request, transport=transport, clock=clock)))
    if not found:
        msg = f"workflow {workflow_id!r} has no executions with bulk_id {bulk_id!r}"
        raise NotFoundError(msg, status=404)
    # The listing is newest first, and its times may be of whole seconds: turned round, equal times keep their order.
    return sorted(reversed(found), key=lambda entry: str(entry.get("created_at", "")))  # noqa: C414 - see above
