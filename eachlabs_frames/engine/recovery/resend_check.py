"""Checks that rows may be sent again: searches for earlier executions of theirs. It only reads, and assigns none.

Times are no evidence here: the clock of the API or of this machine may be wrong or may have been set. So an execution
with a row's input that no row owns blocks sending that row again, whatever its time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Final

import orjson

from ...api.reader import FORGOTTEN, ExecutionPage, fetch_page, read_details
from ...api.requests import PAGE_SIZE
from ...api.responses import parse_time
from ...errors import APIError, EachlabsError
from ...inputs.file_values import with_references
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
        self._target = target
        self._connection = connection
        self._owned = owned
        # Each row by the keys of its input, without nulls, and then by the fingerprint of that input.
        self._rows: dict[frozenset[str], dict[bytes, list[int]]] = {}

    async def run(self, payloads: Mapping[int, bytes], *, since: float) -> dict[int, str]:
        """Return why rows must not be sent again: all of them, if the listing could not be read far enough.

        Parameters
        ----------
        payloads : mapping of int to bytes
            Each row's input as JSON.
        since : float
            Epoch seconds of the first request whose answer was lost.
        """
        self._rows = {}
        for row, payload in payloads.items():
            row_inputs = self._with_references(orjson.loads(payload))
            inputs = {key: value for key, value in row_inputs.items() if value is not None}
            by_content = self._rows.setdefault(frozenset(inputs), defaultdict(list))
            by_content[fingerprint(inputs)].append(row)
        listed: dict[str, list[int] | None] = {}
        try:
            doubt = await self._read_pages(listed, since)
            # Read after the listing: every execution in it is recorded by now.
            owned = await self._owned()
            listed = {execution_id: rows for execution_id, rows in listed.items() if execution_id not in owned}
            doubt = await self._read_details(listed) or doubt
        except EachlabsError as exc:
            doubt = f"the listing or the journal could not be read ({exc})"
        reasons = {} if doubt is None else dict.fromkeys(payloads, UNCERTAIN.format(reason=doubt))
        for execution_id, rows in listed.items():
            reasons.update(dict.fromkeys(rows or (), CONTESTED.format(execution_id=execution_id)))
        return reasons

    def _rows_with(self, inputs: Json) -> list[int]:
        """Return the rows whose input an execution may have; the API's form may have more keys, and lack nulls."""
        if not isinstance(inputs, Mapping):
            return []
        shown = self._with_references(inputs)
        rows: list[int] = []
        for keys, by_content in self._rows.items():
            content = try_fingerprint({key: shown.get(key) for key in keys})
            if content is not None:
                rows += by_content.get(content, ())
        return rows

    def _with_references(self, inputs: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return inputs with a file's reference for its URL, in rows too: a URL may have been sent as text."""
        try:
            converted = with_references(inputs, self._connection.references)
        except RecursionError:
            return inputs
        return converted if isinstance(converted, dict) else inputs

    async def _read_pages(self, listed: dict[str, list[int] | None], since: float) -> str | None:
        """Add the executions of the listing with their rows, or None where it does not show inputs.

        Pages are read one by one, newest first: entries that move down meanwhile are read twice. Return why the
        listing could not be read far enough, or None.
        """
        offset, repeats = 0, 0
        seen: set[str] = set()
        for number in range(MAX_PAGES):
            page = await self._page(offset)
            ids = {entry["execution_id"] for entry in page.executions}
            repeats = repeats + 1 if ids <= seen else 0
            seen |= ids
            for entry in page.executions:
                if not self._is_of_another_version(entry.get("version_id")):
                    inputs = entry.get("inputs")
                    rows = None if inputs is None else self._rows_with(inputs)
                    if rows is None or rows:
                        listed[entry["execution_id"]] = rows
            times = [
                time / 1e9 for entry in page.executions if (time := parse_time(entry.get("created_at"))) is not None
            ]
            is_old = number >= MIN_PAGES and bool(times) and max(times) < since - MAX_AGE
            if page.next_offset is None or is_old:
                return None
            offset = page.next_offset
            if repeats >= MAX_REPEATS:
                return "the listing returns the same executions at every offset"
        return f"the workflow has more than {MAX_PAGES * PAGE_SIZE:,} executions to search"

    def _is_of_another_version(self, version_id: Json) -> bool:
        return isinstance(version_id, str) and version_id.lower() != self._target.version_id.lower()

    async def _page(self, offset: int) -> ExecutionPage:
        connection = self._connection
        page = await fetch_page(
            self._target.workflow_id, transport=connection.transport, clock=connection.clock, offset=offset
        )
        if page.size is None:
            msg = "the response has no list of executions"
            raise APIError(msg)
        if len(page.executions) < page.size:
            msg = "it has executions without an id"
            raise APIError(msg)
        return page

    async def _read_details(self, listed: dict[str, list[int] | None]) -> str | None:
        """Add the rows of executions whose inputs the listing lacks; return why that is impossible, or None."""
        hidden = [execution_id for execution_id, rows in listed.items() if rows is None]
        if not hidden:
            return None
        if len(hidden) > MAX_DETAILS:
            return f"{len(hidden):,} executions that no row owns are listed without their inputs"
        connection = self._connection
        read = await read_details(
            hidden,
            transport=connection.transport,
            clock=connection.clock,
            dialect=connection.dialect,
            workers=connection.workers,
        )
        for execution_id, details in read.items():
            if not isinstance(details, str):
                listed[execution_id] = self._rows_with(details.get("inputs"))
            elif details != FORGOTTEN:
                return f"execution {execution_id}: {details}"
        return None
