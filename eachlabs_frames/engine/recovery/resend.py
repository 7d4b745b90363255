"""Searches for earlier executions of rows that are to be sent again. It only reads, and assigns no execution to a row.

Times are no evidence here: the clock of the API or of this machine may be wrong or may have been set. So an execution
with a row's input that no row owns blocks sending that row again, whatever its time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ...api.reader import FORGOTTEN, fetch, read_details
from ...api.requests import PAGE_SIZE, listing_request
from ...api.responses import entries, next_offset, parse_time
from ...api.verdicts import PAST_THE_END
from ...errors import APIError, EachlabsError
from ...inputs.fingerprints import fingerprint, try_fingerprint
from ...models import ApiConnection, Json, Target
from .listing import MAX_REPEATS

MIN_PAGES: Final = 10
"""Pages that are always read, whatever their times."""

MAX_PAGES: Final = 500
"""Pages that are read, at most: 50,000 executions. Where the listing goes on, nothing is sent again."""

MAX_AGE: Final = 7 * 86_400.0
"""Seconds by which an execution's time may be too early: no clock is trusted to less than a week."""

MAX_DETAILS: Final = 1_000
"""Details that are read, at most, where the listing does not show inputs; with more, nothing is sent again."""

CONTESTED: Final = (
    "not sent again: the workflow's listing has execution {execution_id} with this input, which no row owns, and its "
    "time does not show whether it belongs to this row (reconcile() searches again; retrigger=True pays again)"
)
UNCERTAIN: Final = "not sent again, because it is not certain that nothing was created: {reason}"


@dataclass(frozen=True, slots=True)
class Findings:
    """What blocks sending rows again.

    Attributes
    ----------
    contested : dict of int to str
        Rows whose input an execution has that no row owns, and such an execution.
    doubt : str or None
        Why the listing could not be read far enough, which stands in the way of all rows.
    """

    contested: Mapping[int, str]
    doubt: str | None = None


class InputMatcher:
    """Finds rows by the inputs that the API returns, which may have more keys and lack nulls.

    Parameters
    ----------
    payloads : mapping of int to bytes
        Each row's input as JSON.
    """

    def __init__(self, payloads: Mapping[int, bytes]) -> None:
        self._rows: dict[frozenset[str], dict[bytes, list[int]]] = {}
        for row, payload in payloads.items():
            inputs = {key: value for key, value in orjson.loads(payload).items() if value is not None}
            by_content = self._rows.setdefault(frozenset(inputs), defaultdict(list))
            by_content[fingerprint(inputs)].append(row)

    def rows(self, shown: Json) -> list[int]:
        """Return the rows whose input an execution may have."""
        if not isinstance(shown, Mapping):
            return []
        found: list[int] = []
        for keys, by_content in self._rows.items():
            content = try_fingerprint({key: shown.get(key) for key in keys})
            if content is not None:
                found += by_content.get(content, ())
        return found


class ResendCheck:
    """One search of a workflow's listing.

    Parameters
    ----------
    target : Target
        The workflow; executions of another version are ignored.
    connection : ApiConnection
    owned : callable
        Returns the executions that rows have, of any run.
    """

    def __init__(self, target: Target, connection: ApiConnection, *, owned: Callable[[], Awaitable[Set[str]]]) -> None:
        self._workflow_id = target.workflow_id
        self._version_id = target.version_id
        self._transport = connection.transport
        self._clock = connection.clock
        self._dialect = connection.dialect
        self._workers = connection.workers
        self._owned = owned

    async def run(self, payloads: Mapping[int, bytes], *, since: float) -> Findings:
        """Return what blocks sending rows again.

        Parameters
        ----------
        payloads : mapping of int to bytes
            Each row's input as JSON.
        since : float
            Epoch seconds of the first request whose answer was lost.
        """
        inputs = InputMatcher(payloads)
        shown: dict[str, list[int] | None] = {}
        try:
            doubt = await self._read_pages(inputs, shown, since)
            # Read after the listing: every execution in it is recorded by now.
            owned = await self._owned()
            shown = {known: rows for known, rows in shown.items() if known not in owned}
            doubt = await self._read_details(inputs, shown) or doubt
        except EachlabsError as exc:
            doubt = f"the listing or the journal could not be read ({exc})"
        contested = {row: known for known, rows in shown.items() for row in rows or ()}
        return Findings(contested, doubt)

    async def _read_pages(self, inputs: InputMatcher, shown: dict[str, list[int] | None], since: float) -> str | None:
        """Read the listing, newest first, page by page: entries that move down meanwhile are read twice."""
        offset, repeats = 0, 0
        known: set[str] = set()
        for number in range(MAX_PAGES):
            page, following = await self._page(offset)
            ids = {entry["execution_id"] for entry in page}
            repeats = repeats + 1 if ids <= known else 0
            known |= ids
            for entry in page:
                if not self._is_of_another_version(entry.get("version_id")):
                    listed = entry.get("inputs")
                    rows = None if listed is None else inputs.rows(listed)
                    if rows is None or rows:
                        shown[entry["execution_id"]] = rows
            times = [time / 1e9 for entry in page if (time := parse_time(entry.get("created_at"))) is not None]
            is_old = number >= MIN_PAGES and bool(times) and max(times) < since - MAX_AGE
            if following is None or is_old:
                return None
            offset = following
            if repeats >= MAX_REPEATS:
                return "the listing returns the same executions at every offset"
        return f"the workflow has more than {MAX_PAGES * PAGE_SIZE:,} executions to search"

    def _is_of_another_version(self, shown: Json) -> bool:
        return isinstance(shown, str) and shown.lower() != self._version_id.lower()

    async def _page(self, offset: int) -> tuple[list[Mapping[str, Any]], int | None]:
        """Return a page, and where the next one starts."""
        request = listing_request(self._workflow_id, offset=offset)
        try:
            answer = await fetch(request, transport=self._transport, clock=self._clock)
        except APIError as exc:
            if offset and exc.status in PAST_THE_END:
                return [], None
            raise
        if not isinstance(answer, Mapping) or not isinstance(answer.get("executions", 0), list | None):
            msg = "the response has no list of executions"
            raise APIError(msg)
        page = list(entries(answer))
        if len(page) < len(answer.get("executions") or ()):
            msg = "it has executions without an id"
            raise APIError(msg)
        return page, next_offset(answer, len(page), offset)

    async def _read_details(self, inputs: InputMatcher, shown: dict[str, list[int] | None]) -> str | None:
        """Add the rows of executions whose inputs the listing lacks; return why that is impossible, or None."""
        hidden = [known for known, rows in shown.items() if rows is None]
        if not hidden:
            return None
        if len(hidden) > MAX_DETAILS:
            return f"{len(hidden):,} executions that no row owns are listed without their inputs"
        read = await read_details(
            hidden,
            transport=self._transport,
            clock=self._clock,
            dialect=self._dialect,
            workers=self._workers,
        )
        for known, answer in read.items():
            if not isinstance(answer, str):
                shown[known] = inputs.rows(answer.get("inputs"))
            elif answer != FORGOTTEN:
                return f"execution {known}: {answer}"
        return None
