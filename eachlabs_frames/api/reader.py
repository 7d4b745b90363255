"""Every GET: workflows, listings and their pages, details, costs and the balance.

Owns which requests a question takes, and the retries of reads. It never sends a POST, and never decides what a status
code means: see `verdicts`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from math import ceil, isnan
from typing import Any, Final, NamedTuple, TypeAlias

from ..aio.backoff import retry_delay
from ..aio.tasks import cancel_on, run_workers
from ..errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)
from ..models import COMPLETED, TERMINAL, Clock, DialectName, Json, Request, Transport, Workflow
from ..results import Results
from .requests import PAGE_SIZE, balance_request, details_request, is_filter, listing_request, workflow_request
from .responses import (
    choose_version,
    cost_in,
    details_of,
    entries,
    next_offset,
    parse_amount,
)
from .verdicts import Retry, Stop, Success, is_past_the_end, judge_read

logger = logging.getLogger("eachlabs_frames")

Details: TypeAlias = Mapping[str, Any]

MAX_ATTEMPTS: Final = 4
MAX_PAUSE: Final = 30.0
"""Seconds. A longer ``Retry-After`` is reported at once, because the caller is waiting."""


Judged: TypeAlias = Success | Retry | Stop
Send: TypeAlias = Callable[[Request], Awaitable[Judged]]
"""Sends a GET and judges its reply."""


def sender(transport: Transport) -> Send:
    """Return a `Send` that sends each request once."""

    async def send(request: Request) -> Judged:
        return judge_read(await transport.send(request))

    return send


def retrying_sender(
    transport: Transport, clock: Clock, *, attempts: int = MAX_ATTEMPTS, max_pause: float = MAX_PAUSE
) -> Send:
    """Return a `Send` that makes several attempts if the API is busy or unreachable.

    It does not make an attempt for which it would have to wait more than `max_pause` seconds.
    """

    async def send(request: Request) -> Judged:
        attempt = 1
        while True:
            verdict = judge_read(await transport.send(request))
            if not isinstance(verdict, Retry):
                return verdict
            delay = retry_delay(attempt, floor=verdict.after, draw=clock.draw())
            if attempt == attempts or delay > max_pause:
                return verdict
            await clock.sleep(delay)
            attempt += 1

    return send


async def fetch(request: Request, *, transport: Transport, clock: Clock) -> Json:
    """Return the JSON of a GET, after up to `MAX_ATTEMPTS` attempts if the API is busy or unreachable.

    Raises
    ------
    APIError
        Refused (the class depends on the status), or no usable response.
    """
    verdict = await retrying_sender(transport, clock)(request)
    if isinstance(verdict, Success):
        return verdict.json
    raise request_error(verdict, request.path)


def request_error(verdict: Retry | Stop, path: str) -> APIError:
    """Return the exception for a request that was refused, or that has no usable response after the last attempt."""
    if isinstance(verdict, Retry):
        if verdict.limited:
            return RateLimitError(verdict.reason, status=429, details=verdict.reason)
        return APIConnectionError(f"no usable response from the API: {verdict.reason} (is base_url correct?)")
    hints = {
        401: "check EACHLABS_API_KEY, or configure(api_key=...)",
        403: f"the key is not allowed to do this ({path})",
        404: f"no such resource ({path})",
    }
    hint = hints.get(verdict.status)
    message = f"{verdict.reason}: {hint}" if hint else verdict.reason
    return verdict.error(message, status=verdict.status, details=verdict.reason)


async def read_workflow(workflow_id: str, *, version_id: str | None, transport: Transport, clock: Clock) -> Workflow:
    """Return the requested version of a workflow, or the latest. Every run starts with this request.

    Raises
    ------
    AuthenticationError, PermissionDeniedError, NotFoundError
        401, 403, 404.
    """
    data = await fetch(workflow_request(workflow_id), transport=transport, clock=clock)
    workflow = choose_version(data, workflow_id=workflow_id, version_id=version_id)
    if version_id is None:
        logger.info("workflow %s: using version %s, the latest", workflow_id, workflow.version_id)
    return workflow


# -- the listing -------------------------------------------------------------------------------------------------------


class ExecutionPage(NamedTuple):
    """A page of a workflow's listing.

    Attributes
    ----------
    executions : list of mapping
        Those that have an id.
    size : int or None
        Number of entries, with and without an id; None if the response has no list of executions.
    next_offset : int or None
        None for the last page.
    """

    executions: list[Mapping[str, Any]]
    size: int | None
    next_offset: int | None

    @property
    def is_last(self) -> bool:
        """Whether the page is shorter than requested."""
        return len(self.executions) < PAGE_SIZE


async def read_page(
    workflow_id: str, send: Send, *, offset: int = 0, bulk_id: str | None = None
) -> ExecutionPage | Retry | Stop:
    """Return a page of a workflow's listing; an empty one at an offset beyond its end, however that is refused."""
    verdict = await send(listing_request(workflow_id, bulk_id=bulk_id, offset=offset))
    if is_past_the_end(verdict, offset):
        return ExecutionPage([], 0, None)
    if not isinstance(verdict, Success):
        return verdict
    data = verdict.json
    listed = data.get("executions", 0) if isinstance(data, Mapping) else 0
    size = 0 if listed is None else len(listed) if isinstance(listed, list) else None
    return ExecutionPage(list(entries(data)), size, next_offset(data, size or 0, offset))


async def read_pages(
    workflow_id: str, send: Send, offsets: Iterable[int], *, workers: int
) -> list[ExecutionPage | Retry | Stop]:
    """Return several pages of a workflow's listing, read concurrently, in the order of `offsets`."""
    pages: dict[int, ExecutionPage | Retry | Stop] = {}
    offsets = list(offsets)

    async def read(offset: int) -> None:
        pages[offset] = await read_page(workflow_id, send, offset=offset)

    await run_workers(iter(offsets), read, workers=workers)
    return [pages[offset] for offset in offsets]


async def fetch_page(
    workflow_id: str, *, transport: Transport, clock: Clock, offset: int = 0, bulk_id: str | None = None
) -> ExecutionPage:
    """Return a page of a workflow's listing as `read_page` does, after several attempts if necessary.

    Raises
    ------
    APIError
        Refused, or no usable response.
    """
    page = await read_page(workflow_id, retrying_sender(transport, clock), offset=offset, bulk_id=bulk_id)
    if isinstance(page, ExecutionPage):
        return page
    raise request_error(page, listing_request(workflow_id).path)


async def read_bulk(workflow_id: str, bulk_id: str, *, transport: Transport, clock: Clock) -> list[Mapping[str, Any]]:
    """Return the executions of a bulk operation, oldest first.

    Raises
    ------
    NotFoundError
        The workflow has none with this ``bulk_id``.
    """
    page = await fetch_page(workflow_id, transport=transport, clock=clock, bulk_id=bulk_id)
    if not page.executions:
        msg = f"workflow {workflow_id!r} has no executions with bulk_id {bulk_id!r}"
        raise NotFoundError(msg, status=404)
    # The listing is newest first. Times may be of whole seconds: reversing first keeps the order of equal times.
    oldest_first = page.executions[::-1]
    return sorted(oldest_first, key=lambda entry: str(entry.get("created_at", "")))


# -- details -----------------------------------------------------------------------------------------------------------

MAX_UNANSWERED: Final = 3
"""Consecutive executions without a response, per worker, after which no more are requested."""

MAX_OTHERS: Final = 5
"""Responses that are not the details of the requested execution, after which they are not requested any more."""

FORGOTTEN: Final = "the API no longer has this execution"
UNREADABLE: Final = "the API refuses this execution's details: {reason} (load_run(run) and wait() request them again)"
NO_DETAILS: Final = "the output is not known: {reason}"
OTHER_EXECUTION: Final = (
    f"its details were requested {MAX_OTHERS} times; the API returned those of another execution, or none"
)
NOT_REQUESTED: Final = "not read: the API had stopped responding"


async def read_details(
    execution_ids: Collection[str],
    *,
    transport: Transport,
    clock: Clock,
    dialect: DialectName,
    workers: int,
    on_read: Callable[[str], None] | None = None,
) -> dict[str, Details | str]:
    """Return each execution's details, or why there are none; `on_read` is called with each id that is done.

    Raises
    ------
    AuthenticationError, PermissionDeniedError
        401; 403 for each requested execution.
    APIConnectionError
        No request was answered.
    """
    results: dict[str, Details | str] = {}
    unanswered, any_answer = 0, False
    forbidden: PermissionDeniedError | None = None

    async def read(execution_id: str) -> None:
        nonlocal unanswered, any_answer, forbidden
        if unanswered >= MAX_UNANSWERED * workers:
            results[execution_id] = NOT_REQUESTED
        else:
            try:
                data = await fetch(details_request(dialect, execution_id), transport=transport, clock=clock)
            except AuthenticationError:
                raise
            except APIError as exc:
                is_gone = isinstance(exc, NotFoundError) or exc.status == 410
                results[execution_id] = FORGOTTEN if is_gone else f"not read: {exc}"
                # A 403 may be about one execution, or about the key: then no other is readable either.
                is_answer = exc.status not in (None, 403, 429)
                forbidden = exc if isinstance(exc, PermissionDeniedError) else forbidden
            else:
                results[execution_id] = _checked_details(data, execution_id)
                is_answer = True
            unanswered, any_answer = 0 if is_answer else unanswered + 1, any_answer or is_answer
        if on_read is not None:
            on_read(execution_id)

    await run_workers(iter(execution_ids), read, workers=workers)
    if results and not any_answer and forbidden is not None:
        raise forbidden
    if results and not any_answer:
        msg = f"no execution's details could be read: {next(iter(results.values()))}"
        raise APIConnectionError(msg)
    return results


def _checked_details(details: Json, execution_id: str) -> Details | str:
    if not isinstance(details, Mapping):
        return "not read: the response is not an object"
    return details_of(details, execution_id) or "not read: the API returned another execution's details"


# -- costs -------------------------------------------------------------------------------------------------------------

MAX_BULKS: Final = 2
"""Bulk operations whose costs are read one by one; for more, the workflow's listing is read."""

MAX_EMPTY_ROUNDS: Final = 2
"""Consecutive rounds of pages without a requested execution, after which no more pages are read."""


def rows_without_cost(results: Results, requested: Collection[str], *, all_completed: bool) -> dict[str, list[int]]:
    """Return the executions that have ended and whose cost is not known, with their rows.

    These are the executions in `requested`, and with `all_completed` all that have completed: the API need not state
    the cost of a failure.
    """
    rows: dict[str, list[int]] = {}
    for row, execution_id in enumerate(results.execution_id):
        status = results.status[row]
        if execution_id is None or status not in TERMINAL or not isnan(results.cost[row]):
            continue
        if execution_id in requested or (all_completed and status == COMPLETED):
            rows.setdefault(execution_id, []).append(row)
    return rows


async def read_costs(
    workflow_id: str, rows: Mapping[str, list[int]], *, results: Results, transport: Transport, workers: int
) -> dict[str, float | None]:
    """Return the costs of executions, given with their rows, with as few requests as possible.

    None is a cost that the API does not state. An execution that the listing does not show is left out.
    """
    costs: dict[str, float | None] = {}
    send = sender(transport)

    def add(page: ExecutionPage | Retry | Stop) -> bool:
        """Add the costs on a page; return whether another page may follow."""
        if isinstance(page, Retry | Stop):
            logger.info("the costs of executions could not be requested: %s", page.reason)
            return False
        costs.update((entry["execution_id"], cost_in(entry)) for entry in page.executions)
        return not page.is_last

    bulks = {bulk_id for places in rows.values() if (bulk_id := results.bulk_id[places[0]]) is not None}
    if len(bulks) <= MAX_BULKS and all(map(is_filter, bulks)):
        for bulk_id in bulks:
            add(await read_page(workflow_id, send, bulk_id=bulk_id))
    else:
        offset, empty_rounds = 0, 0
        while empty_rounds < MAX_EMPTY_ROUNDS and (missing := rows.keys() - costs.keys()):
            width = min(workers, ceil(len(missing) / PAGE_SIZE))
            end = offset + width * PAGE_SIZE
            pages = await read_pages(workflow_id, send, range(offset, end, PAGE_SIZE), workers=width)
            more = [add(page) for page in pages]
            if not all(more):
                break
            offset = end
            empty_rounds = empty_rounds + 1 if missing.isdisjoint(costs) else 0
    return {execution_id: costs[execution_id] for execution_id in rows if execution_id in costs}


# -- the balance -------------------------------------------------------------------------------------------------------

BALANCE_PAUSE: Final = 20.0
"""Seconds between two reads of the balance; the API allows three a second for a whole organization."""

MAX_BALANCE_ATTEMPTS: Final = 3
"""Attempts of one read if the API answers 429 (with ``Retry-After: 1``) or 503."""

MAX_BALANCE_DELAY: Final = 2.0
"""Seconds. An attempt that would have to wait longer is not made."""

BalanceObserver: TypeAlias = Callable[[float | None], None]
"""Receives a balance in USD, or None while it is unknown."""


async def read_balance(*, transport: Transport, clock: Clock, dialect: DialectName) -> float | None:
    """Return the account's balance in USD, which may be negative; None if the API does not return it.

    A 429 or 503 is not a balance of zero: the read is repeated, and the balance is unknown after that.
    """
    return None if dialect == "legacy" else (await _read_balance(transport, clock))[0]


async def _read_balance(transport: Transport, clock: Clock) -> tuple[float | None, bool]:
    """Return the balance, or None, and whether a later read may succeed."""
    send = retrying_sender(transport, clock, attempts=MAX_BALANCE_ATTEMPTS, max_pause=MAX_BALANCE_DELAY)
    verdict = await send(balance_request())
    if isinstance(verdict, Success):
        amount = parse_amount(verdict.json.get("balance_usd")) if isinstance(verdict.json, Mapping) else None
        return amount, amount is not None
    if isinstance(verdict, Retry):
        logger.info("the balance could not be read: %s", verdict.reason)
    return None, isinstance(verdict, Retry)


async def watch_balance(report: BalanceObserver, *, transport: Transport, clock: Clock, dialect: DialectName) -> None:
    """Call `report` with the balance every `BALANCE_PAUSE` seconds, until cancelled; with None if it is unknown."""
    readable = dialect != "legacy"
    while readable:
        amount, readable = await _read_balance(transport, clock)
        report(amount)
        if readable:
            await clock.sleep(BALANCE_PAUSE)


async def read_balance_again(
    stop: asyncio.Event, report: BalanceObserver, *, transport: Transport, clock: Clock, dialect: DialectName
) -> None:
    """Call `report` with the balance after the last execution has ended, if it can be read at once."""

    async def read() -> float | None:
        return await asyncio.wait_for(
            read_balance(transport=transport, clock=clock, dialect=dialect), MAX_BALANCE_DELAY
        )

    with suppress(asyncio.TimeoutError):
        amount = await cancel_on(stop, read())
        if amount is not None:
            report(amount)
