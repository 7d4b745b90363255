"""Reads the details of many executions, side by side. A GET may be sent as often as one likes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    execution_ids: Collection[str], *, transport: Transport, clock: Clock, dialect: DialectName, workers: int
) -> dict[str, Mapping[str, Any] | str]:
    """Return each execution's details, or why there are none.

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
            return
        try:
            said = await fetch(wire.details_request(dialect, execution_id), transport=transport, clock=clock)
        except (AuthenticationError, PermissionDeniedError):
            raise
        except NotFoundError:
            found[execution_id] = FORGOTTEN
        except APIError as exc:
            found[execution_id] = f"not read: {exc}"
            if exc.status is None or exc.status == 429:
                silent += 1
                return
        else:
            found[execution_id] = said if isinstance(said, Mapping) else "not read: the answer is no object"
        silent, answered = 0, True

    await drain(iter(execution_ids), one, workers=workers)
    if found and not answered:
        msg = f"no execution's details could be read: {next(iter(found.values()))}"
        raise APIConnectionError(msg)
    return found
