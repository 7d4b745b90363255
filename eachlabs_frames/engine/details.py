"""Reads the details of many executions, side by side. A GET may be sent as often as one likes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from ..core import wire
from ..errors import APIConnectionError, APIError, AuthenticationError, NotFoundError, PermissionDeniedError
from ..models import Clock, DialectName, Transport
from .lookups import fetch
from .pool import drain
from .tracker import FORGOTTEN

PATIENCE: Final = 3
"""Executions in a row of each worker that get no answer, after which nothing more is asked."""

NOT_ASKED: Final = "not read: the API had ceased to answer"


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
        401, 403.
    APIConnectionError
        Not one question was answered.
    """
    found: dict[str, Mapping[str, Any] | str] = {}
    silent, answered = 0, False

    async def one(execution_id: str) -> None:
        nonlocal silent, answered
        if silent >= PATIENCE * workers:
            found[execution_id] = NOT_ASKED
        else:
            try:
                said = await fetch(wire.details_request(dialect, execution_id), transport=transport, clock=clock)
            except (AuthenticationError, PermissionDeniedError):
                raise
            except APIError as exc:
                found[execution_id] = FORGOTTEN if isinstance(exc, NotFoundError) else f"not read: {exc}"
                is_answer = exc.status not in (None, 429)
            else:
                found[execution_id] = said if isinstance(said, Mapping) else "not read: the answer is no object"
                is_answer = True
            silent, answered = 0 if is_answer else silent + 1, answered or is_answer
        told(execution_id)

    await drain(iter(execution_ids), one, workers=workers)
    if found and not answered:
        msg = f"no execution's details could be read: {next(iter(found.values()))}"
        raise APIConnectionError(msg)
    return found
