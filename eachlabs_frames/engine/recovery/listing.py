"""Reads a workflow's listing for a time range, and the bulk operations that lost requests may have created.

Owns which requests a search makes, and the server's clock skew. It only reads, and never assigns an execution to a row:
`matching` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence, Set
from itertools import islice
from typing import Any, Final, TypeAlias

from ...aio.tasks import run_workers
from ...api.reader import ExecutionPage, read_page
from ...api.requests import PAGE_SIZE, details_request, is_filter
from ...api.responses import details_of, parse_time
from ...api.verdicts import Retry, Stop, Success, judge_read, server_time
from ...inputs.fingerprints import content_of, contents
from ...journal.base import LostRequest
from ...models import ApiConnection, Json, Reply, Request, Target
from .matching import BulkMember, ClockSkew, TimeRange, candidates, timely

Entry: TypeAlias = Mapping[str, Any]
Entries: TypeAlias = dict[str, Entry]
"""Executions of a listing by their id."""

Facts: TypeAlias = tuple[tuple[bytes, ...], str | None]
"""What an execution's details say and a listing may lack: `contents` of its inputs, and its bulk operation."""

_NO_FACTS: Final[Facts] = ((), None)

NANO: Final = 1e9
BULK_SECONDS: Final = 5.0
"""Seconds between the first and the last execution of one bulk trigger, at most, by the API's own times."""

MAX_FAILURES: Final = 3
"""Requests of one search that may fail before it is given up."""

MAX_REPEATS: Final = 10
"""Consecutive pages without a new execution after which reading stops: the listing ignores the offset."""

MAX_PAGES: Final = 1_000
"""Pages of one time range, at most."""

MAX_OFFSET: Final = 100_000_000
"""Executions of a listing that are skipped, at most."""


class UnreadableError(Exception):
    """A search could not read the listing. ``after``: seconds to wait at least; ``hopeless``: do not try again."""

    def __init__(
        self,
        reason: str,
        *,
        what: str = "the listing could not be read",
        after: float | None = None,
        hopeless: bool = False,
    ) -> None:
        super().__init__(f"{what}: {reason}")
        self.after = after or 0.0
        self.hopeless = hopeless


class Listing:
    """A workflow's executions as one search sees them.

    Parameters
    ----------
    target : Target
    connection : ApiConnection
    facts : dict of str to Facts
        Of the executions whose details earlier searches have read: those of each execution are read once.

    Attributes
    ----------
    skew : ClockSkew
    trouble : UnreadableError or None
        Why a part of the listing could not be read.
    """

    def __init__(self, target: Target, connection: ApiConnection, facts: dict[str, Facts]) -> None:
        self._target = target
        self._connection = connection
        self._facts = facts
        self._listed: Entries = {}
        self._failures = 0
        self._expected: Set[bytes] = frozenset()
        self.skew = ClockSkew()
        self.trouble: UnreadableError | None = None

    # -- pages of the workflow's listing ----------------------------------------------------------------------------

    async def read(self, ranges: Sequence[TimeRange]) -> None:
        """Read the executions created in these time ranges, latest first, and others on the same pages.

        Raises
        ------
        UnreadableError
            A page could not be read.
        """
        offset = 0
        for since, until in ranges:
            offset = await self._read_range(since, until, offset)

    async def _read_range(self, since: float, until: float, offset: int) -> int:
        """Read the pages of a time range, from an offset that is newer; return the offset of the last one."""
        page, times = await self._page(offset)
        if self._is_newer(times, until):
            offset = await self._skip(offset, until)
            page, times = await self._page(offset)
        repeats = 0
        for _ in range(MAX_PAGES):
            count = len(self._listed)
            self._listed.update((entry["execution_id"], entry) for entry in page.executions)
            if page.next_offset is None or times[-1] < since - self.skew.margin:
                return offset
            # New executions shift pages down, but only an ignored offset repeats this many.
            repeats = repeats + 1 if len(self._listed) == count else 0
            if repeats >= MAX_REPEATS:
                msg = "it returns the same executions at every offset"
                raise UnreadableError(msg)
            offset = page.next_offset
            page, times = await self._page(offset)
        msg = f"it has more than {MAX_PAGES * PAGE_SIZE:,} executions of the {until - since:.0f} s around the request"
        raise UnreadableError(msg)

    async def _skip(self, low: int, until: float) -> int:
        """Return the first offset that may be in a time range, from one that is newer: exponential, then binary search.

        An offset that is newer stays newer: executions created meanwhile only move the rest further down.
        """
        step = PAGE_SIZE
        while await self._is_newer_at(low + step, until):
            low, step = low + step, step * 2
            if low > MAX_OFFSET:
                msg = "it returns newer executions at every offset"
                raise UnreadableError(msg)
        high = low + step
        while high - low > PAGE_SIZE:
            middle = low + (high - low) // 2 // PAGE_SIZE * PAGE_SIZE
            if await self._is_newer_at(middle, until):
                low = middle
            else:
                high = middle
        return low + PAGE_SIZE

    async def _is_newer_at(self, offset: int, until: float) -> bool:
        return self._is_newer((await self._page(offset))[1], until)

    def _is_newer(self, times: Sequence[float], until: float) -> bool:
        return bool(times) and min(times) > until + self.skew.margin

    async def _page(self, offset: int) -> tuple[ExecutionPage, list[float]]:
        """Return a page, and when its executions were created, by this machine's clock."""
        page = await read_page(self._target.workflow_id, self._get, offset=offset)
        if isinstance(page, Stop):
            raise UnreadableError(page.reason, hopeless=True)
        if isinstance(page, Retry):
            raise UnreadableError(page.reason, after=page.after)
        if page.size is None:
            msg = "the response has no list of executions"
            raise UnreadableError(msg)
        times = self._times(page.executions)
        if page.size and not times:
            msg = "it does not say when an execution was created"
            raise UnreadableError(msg)
        return page, times

    def _created(self, entry: Entry) -> float | None:
        created = parse_time(entry.get("created_at"))
        return None if created is None else created / NANO - self.skew.ahead

    def _times(self, entries: Iterable[Entry]) -> list[float]:
        return [created for entry in entries if (created := self._created(entry)) is not None]

    # -- bulk operations --------------------------------------------------------------------------------------------

    async def find_bulks(
        self, lost: Sequence[LostRequest], *, owned: Set[str], late: float
    ) -> tuple[dict[str, list[BulkMember]], Entries]:
        """Return the bulk operations that lost requests may have created, and the entry of each of their executions.

        Executions that are `owned` by a row are left out.

        Raises
        ------
        UnreadableError
            Too many requests failed. If only a few did, `trouble` is the reason.
        """
        early, late = self.skew.margin, late + self.skew.margin
        self._expected = {content for request in lost for content in request.fingerprints}
        inputs = {request.bulk_id: set(request.fingerprints) for request in lost if request.bulk_id is not None}
        bulks: dict[str, Entries] = {bulk_id: {} for bulk_id in inputs}
        await self._read_bulks(bulks, inputs)
        unnamed = [request for request in lost if request.bulk_id is None]
        free = {
            execution_id: entry
            for execution_id, entry in self._listed.items()
            if execution_id not in owned
            and self._is_of_version(entry)
            and any(timely(request, self._created(entry), early=early, late=late) for request in unnamed)
        }
        await self._read_details(id_ for id_, entry in free.items() if entry.get("inputs") is None)
        members = [self._member(entry) for entry in free.values()]
        fitting = [list(candidates(request, members, early=early, late=late)) for request in unnamed]
        examined: set[str] = set()
        while True:
            # One execution per lost request at a time: its bulk operation then lists the others.
            chosen: set[str] = set()
            for matches in fitting:
                new = (member.execution_id for member in matches if member.execution_id not in examined | chosen)
                chosen.update(islice(new, 1))
            if not chosen:
                break
            await self._read_bulks_of({id_: free[id_] for id_ in sorted(chosen)}, bulks)
            examined.update(chosen, *bulks.values())
        return await self._unowned(bulks, named=inputs, owned=owned)

    async def _read_bulks_of(self, chosen: Entries, bulks: dict[str, Entries]) -> None:
        """Read the bulk operations of some executions."""
        await self._read_details(id_ for id_, entry in chosen.items() if _text(entry.get("bulk_id")) is None)
        new: dict[str, Entries] = {}
        for execution_id, entry in chosen.items():
            bulk_id = self._bulk_id(entry)
            # None: it was not made by a bulk trigger, or the API does not say which.
            if bulk_id is not None and bulk_id not in bulks:
                new.setdefault(bulk_id, {})[execution_id] = entry
        await self._read_bulks(new, {})
        bulks.update(new)

    async def _read_bulks(self, bulks: Mapping[str, Entries], inputs: Mapping[str, Collection[bytes]]) -> None:
        """Add the executions of bulk operations; `inputs` are those of the operations of which none is known."""
        filters = [bulk_id for bulk_id in bulks if is_filter(bulk_id)]
        await self._for_each(filters, lambda bulk_id: self._read_bulk(bulk_id, bulks[bulk_id]))
        for bulk_id in bulks.keys() - filters:
            await self._find_in_pages(bulk_id, bulks[bulk_id], inputs.get(bulk_id, ()))

    async def _find_in_pages(self, bulk_id: str, members: Entries, inputs: Collection[bytes]) -> None:
        """Find a bulk operation whose id cannot be a filter among the pages that were read.

        If one of its executions is known, the others were created within seconds. Otherwise their inputs show which
        executions may be part of it.
        """
        times = self._times(members.values())

        def may_belong(entry: Entry) -> bool:
            if not members:
                return entry.get("inputs") is None or self._content(entry["inputs"]) in inputs
            created = self._created(entry)
            return created is not None and any(abs(created - time) <= BULK_SECONDS for time in times)

        near = {id_: entry for id_, entry in self._listed.items() if id_ not in members and may_belong(entry)}
        await self._read_details(id_ for id_, entry in near.items() if _text(entry.get("bulk_id")) is None)
        members.update((id_, entry) for id_, entry in near.items() if self._bulk_id(entry) == bulk_id)

    async def _read_bulk(self, bulk_id: str, members: Entries) -> None:
        page = await read_page(self._target.workflow_id, self._get, bulk_id=bulk_id)
        if isinstance(page, ExecutionPage):
            listed = (entry for entry in page.executions if _text(entry.get("bulk_id")) in (None, bulk_id))
            members.update((entry["execution_id"], entry) for entry in listed)
            return
        members.clear()  # one of the executions that were not read may be owned by a row
        if isinstance(page, Retry):
            self._count_failure(page)
        elif page.status in (401, 403):
            raise UnreadableError(page.reason, hopeless=True)

    async def _unowned(
        self, bulks: Mapping[str, Entries], *, named: Collection[str], owned: Set[str]
    ) -> tuple[dict[str, list[BulkMember]], Entries]:
        """Return the bulk operations without those that rows own, and the entries of their executions."""
        unowned: dict[str, Entries] = {}
        for bulk_id, members in bulks.items():
            if bulk_id in named:
                unowned[bulk_id] = {id_: entry for id_, entry in members.items() if id_ not in owned}
            elif owned.isdisjoint(members) and all(map(self._is_of_version, members.values())):
                unowned[bulk_id] = members
        entries = {id_: entry for members in unowned.values() for id_, entry in members.items()}
        await self._read_details(id_ for id_, entry in entries.items() if entry.get("inputs") is None)
        return {bulk_id: list(map(self._member, members.values())) for bulk_id, members in unowned.items()}, entries

    # -- executions -------------------------------------------------------------------------------------------------

    def _member(self, entry: Entry) -> BulkMember:
        execution_id, inputs = entry["execution_id"], entry.get("inputs")
        if inputs is not None:
            return BulkMember(execution_id, self._content(inputs), self._created(entry))
        sent = self._facts.get(execution_id, _NO_FACTS)[0]
        content = next((content for content in sent if content in self._expected), sent[-1] if sent else None)
        return BulkMember(execution_id, content, self._created(entry))

    def _content(self, inputs: Json) -> bytes | None:
        """Return the fingerprint of an execution's inputs; of files, their content counts, unless a URL was sent."""
        return content_of(inputs, self._connection.references, self._expected)

    def _bulk_id(self, entry: Entry) -> str | None:
        return _text(entry.get("bulk_id")) or self._facts.get(entry["execution_id"], _NO_FACTS)[1]

    def _is_of_version(self, entry: Entry) -> bool:
        """Return whether an execution may be of our version; the API need not name it."""
        version_id = _text(entry.get("version_id"))
        return version_id is None or self._target.version_id in (None, version_id)

    async def _read_details(self, execution_ids: Iterable[str]) -> None:
        """Read the details of executions that were not read before."""
        await self._for_each([id_ for id_ in execution_ids if id_ not in self._facts], self._read_facts)

    async def _read_facts(self, execution_id: str) -> None:
        verdict = await self._get(details_request(self._connection.dialect, execution_id))
        if isinstance(verdict, Retry):
            self._count_failure(verdict)
        elif isinstance(verdict, Success):
            details = details_of(verdict.json, execution_id)
            if details is not None:
                inputs = contents(details.get("inputs"), self._connection.references)
                self._facts[execution_id] = (inputs, _text(details.get("bulk_id")))

    async def _for_each(self, ids: Collection[str], read: Callable[[str], Awaitable[None]]) -> None:
        await run_workers(iter(ids), read, workers=min(self._connection.workers, len(ids)))

    # -- requests ---------------------------------------------------------------------------------------------------

    async def _get(self, request: Request) -> Success | Retry | Stop:
        clock = self._connection.clock
        before = clock.epoch()
        reply = await self._connection.transport.send(request)
        date = server_time(reply) if isinstance(reply, Reply) else None
        if date is not None:
            self.skew.note(date, before=before, after=clock.epoch())
        return judge_read(reply)

    def _count_failure(self, verdict: Retry) -> None:
        """Count a failed request; give the search up after a few, or if the API is busy."""
        self._failures += 1
        after = max(verdict.after or 0.0, self.trouble.after if self.trouble is not None else 0.0)
        self.trouble = UnreadableError(verdict.reason, after=after)
        if verdict.limited or self._failures >= MAX_FAILURES:
            raise self.trouble


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None
