"""Deletes uploaded files at the API. A DELETE is idempotent, so it is repeated until there is an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from ..aio.backoff import retry_delay
from ..aio.tasks import cancel_on, run_workers
from ..api.reader import request_error
from ..api.requests import delete_request
from ..api.verdicts import Retry, Stop, Success, judge_delete
from ..errors import AuthenticationError
from ..models import ApiConnection

MAX_ATTEMPTS: Final = 5
"""Attempts of one deletion; a 409 says that the file is being processed, which takes seconds."""

INTERRUPTED: Final = "interrupted before it was deleted"


async def delete_files(
    file_ids: Sequence[str], connection: ApiConnection, stop: asyncio.Event
) -> dict[str, str | None]:
    """Return for each file why it was not deleted; None if the API does not have it any more (204 or 404).

    Raises
    ------
    AuthenticationError
        401.
    """
    errors: dict[str, str | None] = dict.fromkeys(file_ids, INTERRUPTED)

    async def delete(file_id: str) -> None:
        request, attempt = delete_request(file_id), 0
        while True:
            attempt += 1
            verdict = judge_delete(await connection.transport.send(request))
            if not isinstance(verdict, Retry) or attempt == MAX_ATTEMPTS:
                break
            await connection.clock.sleep(retry_delay(attempt, floor=verdict.after, draw=connection.clock.draw()))
        if isinstance(verdict, Stop) and verdict.error is AuthenticationError:
            raise request_error(verdict, request.path)
        if isinstance(verdict, Success) or (isinstance(verdict, Stop) and verdict.status == HTTPStatus.NOT_FOUND):
            errors[file_id] = None
        else:
            errors[file_id] = verdict.reason

    await cancel_on(stop, run_workers(iter(errors), delete, workers=connection.workers))
    return errors
