"""Reads the details of many executions, side by side. A GET may be sent as often as one likes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from ..aio.tasks import run_workers
from ..errors import APIConnectionError, APIError, AuthenticationError, NotFoundError, PermissionDeniedError
from ..models import Clock, DialectName, Json, Transport
from .reader import fetch
from .requests import details_request
from .responses import is_details_of

PATIENCE: Final = 3
"""Executions in a row of each worker that get no answer, after which nothing more is asked."""

FORGOTTEN: Final = "the API no longer has this execution"
MAX_OTHERS: Final = 5
"""Answers that are not the details of the execution asked for, after which they are not asked for any more."""

UNREADABLE: Final = "the API refuses this execution's details: {reason} (load_run(run) and wait() request them again)"
NO_DETAILS: Final = "the output is not known: {reason}"
OTHER_EXECUTION: Final = (
    f"its details were requested {MAX_OTHERS} times; the API returned those of another execution, or none"
)

NOT_ASKED: Final = "not read: the API had stopped responding"


async def read(
    execution_ids: Collection[str],
    *,
    transport: Transport,
    clock: Clock,
    dialect: DialectName,
    workers: int,
    told: Callable[[str], None],
) -> dict[str, Mapping[str, Any] | str]:
    """Return each execution's details, or why there are none; `told` is given each one that is done with.

    Raises
    ------
    AuthenticationError, PermissionDeniedError
        401; 403 for each execution that was asked for.
    APIConnectionError
        Not one question was answered.
    """
    found: dict[str, Mapping[str, Any] | str] = {}
    silent, answered = 0, False
    forbidden: PermissionDeniedError | None = None

    async def one(execution_id: str) -> None:
        nonlocal silent, answered, forbidden
        if silent >= PATIENCE * workers:
            found[execution_id] = NOT_ASKED
        else:
            try:
                said = await fetch(details_request(dialect, execution_id), transport=transport, clock=clock)
            except AuthenticationError:
                raise
            except APIError as exc:
                is_gone = isinstance(exc, NotFoundError) or exc.status == 410
                found[execution_id] = FORGOTTEN if is_gone else f"not read: {exc}"
                # A 403 may be about one execution, or about the key: then no other is readable either.
                is_answer = exc.status not in (None, 403, 429)
                forbidden = exc if isinstance(exc, PermissionDeniedError) else forbidden
            else:
                found[execution_id] = _checked(said, execution_id)
                is_answer = True
            silent, answered = 0 if is_answer else silent + 1, answered or is_answer
        told(execution_id)

    await run_workers(iter(execution_ids), one, workers=workers)
    if found and not answered and forbidden is not None:
        raise forbidden
    if found and not answered:
        msg = f"no execution's details could be read: {next(iter(found.values()))}"
        raise APIConnectionError(msg)
    return found


def _checked(details: Json, execution_id: str) -> Mapping[str, Any] | str:
    if not isinstance(details, Mapping):
        return "not read: the response is not an object"
    return details if is_details_of(details, execution_id) else "not read: the API returned another execution's details"
