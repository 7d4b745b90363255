"""Reads a workflow's listing for a time range, and the bulk operations that lost requests may have created.

Owns which requests a search makes, and the server's clock skew. It only reads, and never assigns an execution to a row:
`matching` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from ...aio.tasks import run_workers
from ...api.requests import PAGE_SIZE, details_request, is_filter, listing_request
from ...api.responses import entries, is_details_of, next_offset, parse_time
from ...api.verdicts import Retry, Stop, Success, is_past_the_end, judge_read, server_time
from ...inputs.fingerprints import try_fingerprint
from ...journal.base import LostRequest
from ...models import ApiConnection, Json, Reply, Request, Target
from .clock_skew import ClockSkew
from .matching import BulkCandidate, BulkMember, TimeRange, candidates, timely

Entry = Mapping[str, Any]

NANO: Final = 1e9
BULK_SECONDS: Final = 5.0
"""Seconds between the first and the last execution of one bulk trigger, at most, by the API's own times."""

FAILURES: Final = 3
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


@dataclass(frozen=True, slots=True)
class ListingPage:
    """A page of the listing: its executions, when these were created, by our clock, and where the next page starts."""

    found: list[Entry]
    times: list[float]
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class ExecutionFacts:
    """Facts from the details that a listing may lack."""

    fingerprint: bytes | None
    bulk_id: str | None


class Listing:
    """A workflow's executions as one search sees them; the details of each are read once."""

    def __init__(self, target: Target, connection: ApiConnection) -> None:
        self._workflow_id = target.workflow_id
        self._version_id = target.version_id
        self._transport = connection.transport
        self._clock = connection.clock
        self._dialect = connection.dialect
        self._workers = connection.workers
        self._known: dict[str, ExecutionFacts] = {}
        self._seen: Mapping[str, Entry] = {}
        self._inputs: dict[str, set[bytes]] = {}
        self._failures = 0
        self.skew = ClockSkew()
        self.trouble: UnreadableError | None = None

    def begin(self) -> None:
        """Begin a new search."""
        self._failures = 0
        self.skew = ClockSkew()
        self.trouble = None

    # -- pages of the workflow's listing ----------------------------------------------------------------------------

    async def read(self, stretches: Sequence[TimeRange]) -> dict[str, Entry]:
        """Return the executions created in these time ranges, latest first, and others on the same pages.

        Raises
        ------
        UnreadableError
            A page could not be read.
        """
        found: dict[str, Entry] = {}
        offset = 0
        for stretch in stretches:
            offset = await self._read(stretch, offset, found)
        return found

    async def _read(self, stretch: TimeRange, offset: int, found: dict[str, Entry]) -> int:
        page = await self._page(offset)
        if self._newer(page, stretch):
            offset = await self._skip(offset, stretch)
            page = await self._page(offset)
        repeats = 0
        for _ in range(MAX_PAGES):
            known = len(found)
            found.update((entry["execution_id"], entry) for entry in page.found)
            if page.next_offset is None or page.times[-1] < stretch.since - self.skew.margin:
                return offset
            # New executions shift pages down, but only an ignored offset repeats this many.
            repeats = repeats + 1 if len(found) == known else 0
            if repeats >= MAX_REPEATS:
                msg = "it returns the same executions at every offset"
                raise UnreadableError(msg)
            offset = page.next_offset
            page = await self._page(offset)
        seconds = stretch.until - stretch.since
        msg = f"it has more than {MAX_PAGES * PAGE_SIZE:,} executions of the {seconds:.0f} s around the request"
        raise UnreadableError(msg)

    async def _skip(self, low: int, stretch: TimeRange) -> int:
        """Return the first offset that may be in a time range, from one that is newer: exponential, then binary search.

        An offset that is newer stays newer: executions created meanwhile only move the rest further down.
        """
        step = PAGE_SIZE
        while self._newer(await self._page(low + step), stretch):
            low, step = low + step, step * 2
            if low > MAX_OFFSET:
                msg = "it returns newer executions at every offset"
                raise UnreadableError(msg)
        high = low + step
        while high - low > PAGE_SIZE:
            middle = low + (high - low) // 2 // PAGE_SIZE * PAGE_SIZE
            if self._newer(await self._page(middle), stretch):
                low = middle
            else:
                high = middle
        return low + PAGE_SIZE

    def _newer(self, page: ListingPage, stretch: TimeRange) -> bool:
        return bool(page.times) and min(page.times) > stretch.until + self.skew.margin

    async def _page(self, offset: int) -> ListingPage:
        verdict = await self._ask(listing_request(self._workflow_id, offset=offset))
        if is_past_the_end(verdict, offset):
            return ListingPage([], [], None)
        if isinstance(verdict, Stop):
            raise UnreadableError(verdict.reason, hopeless=True)
        if isinstance(verdict, Retry):
            raise UnreadableError(verdict.reason, after=verdict.after)
        said = verdict.json
        listed = said.get("executions", 0) if isinstance(said, Mapping) else 0
        if listed is None:
            listed = []
        if not isinstance(listed, list):
            msg = "the response has no list of executions"
            raise UnreadableError(msg)
        found = list(_entries(said))
        times = [created for entry in found if (created := self._created(entry)) is not None]
        if listed and not times:
            msg = "it does not say when an execution was created"
            raise UnreadableError(msg)
        return ListingPage(found, times, next_offset(said, len(listed), offset))

    def _created(self, entry: Entry) -> float | None:
        created = parse_time(entry.get("created_at"))
        return None if created is None else created / NANO - self.skew.ahead

    # -- bulk operations --------------------------------------------------------------------------------------------

    async def bulks(
        self, lost: Sequence[LostRequest], seen: Mapping[str, Entry], *, taken: Collection[str], late: float
    ) -> tuple[list[BulkCandidate], dict[str, Entry]]:
        """Return the bulk operations that lost requests may have created, and the entry of each of their executions.

        Raises
        ------
        UnreadableError
            Too many requests failed. If only a few did, `trouble` is the reason.
        """
        early, late = self.skew.margin, late + self.skew.margin
        self._seen = seen
        self._inputs = {one.bulk_id: set(one.fingerprints) for one in lost if one.bulk_id is not None}
        unnamed = [one for one in lost if one.bulk_id is None]
        named = dict.fromkeys(one.bulk_id for one in lost if one.bulk_id is not None)
        read: dict[str, dict[str, Entry]] = {bulk_id: {} for bulk_id in named}
        await self._read_bulks(read)
        free = {
            known: entry
            for known, entry in seen.items()
            if known not in taken
            and self._ours(entry)
            and any(
                timely(one, BulkMember(known, None, self._created(entry)), early=early, late=late) for one in unnamed
            )
        }
        await self._learn(known for known, entry in free.items() if entry.get("inputs") is None)
        fitting = [list(candidates(one, map(self._member, free.values()), early=early, late=late)) for one in unnamed]
        examined: set[str] = set()
        while True:
            # One execution per lost request at a time: its bulk operation then lists the others.
            chosen: set[str] = set()
            for members in fitting:
                new = (member.execution_id for member in members if member.execution_id not in examined | chosen)
                chosen.update(islice(new, 1))
            if not chosen:
                return await self._gathered(read, named, taken)
            await self._follow({known: free[known] for known in sorted(chosen)}, read)
            examined.update(chosen, *read.values())

    async def _follow(self, chosen: Mapping[str, Entry], read: dict[str, dict[str, Entry]]) -> None:
        """Read the bulk operations of some executions."""
        await self._learn(execution_id for execution_id, entry in chosen.items() if _text(entry.get("bulk_id")) is None)
        new: dict[str, dict[str, Entry]] = {}
        for execution_id, entry in chosen.items():
            bulk_id = _text(entry.get("bulk_id")) or self._about(execution_id).bulk_id
            # None: it was not made by a bulk trigger, or the API does not say which.
            if bulk_id is not None and bulk_id not in read:
                new.setdefault(bulk_id, {})[execution_id] = entry
        await self._read_bulks(new)
        read.update(new)

    async def _read_bulks(self, read: Mapping[str, dict[str, Entry]]) -> None:
        filters = [bulk_id for bulk_id in read if is_filter(bulk_id)]
        await self._each(filters, lambda bulk_id: self._read_bulk(bulk_id, read[bulk_id]))
        for bulk_id in read.keys() - filters:
            await self._find_bulk(bulk_id, read[bulk_id])

    async def _find_bulk(self, bulk_id: str, found: dict[str, Entry]) -> None:
        """Find a bulk operation whose id cannot be a filter among the pages that were read.

        If one of its executions is known, the others were created within seconds. Otherwise their inputs show which
        executions may be part of it.
        """
        times = [time for entry in found.values() if (time := self._created(entry)) is not None]
        inputs = self._inputs.get(bulk_id, set()) if not found else set()
        near = {
            known: entry
            for known, entry in self._seen.items()
            if known not in found and (self._is_near(entry, times) if found else self._may_have(entry, inputs))
        }
        await self._learn(known for known, entry in near.items() if _text(entry.get("bulk_id")) is None)
        of_bulk = [
            known
            for known, entry in near.items()
            if (_text(entry.get("bulk_id")) or self._about(known).bulk_id) == bulk_id
        ]
        found.update((known, near[known]) for known in of_bulk)

    def _is_near(self, entry: Entry, times: Sequence[float]) -> bool:
        created = self._created(entry)
        return created is not None and any(abs(created - time) <= BULK_SECONDS for time in times)

    def _may_have(self, entry: Entry, inputs: Collection[bytes]) -> bool:
        return entry.get("inputs") is None or try_fingerprint(entry.get("inputs")) in inputs

    async def _read_bulk(self, bulk_id: str, found: dict[str, Entry]) -> None:
        verdict = await self._ask(listing_request(self._workflow_id, bulk_id=bulk_id))
        if isinstance(verdict, Success):
            for entry in _entries(verdict.json):
                if _text(entry.get("bulk_id")) in (None, bulk_id):
                    found[entry["execution_id"]] = entry
            return
        found.clear()  # one of the executions that were not read may be owned by a row
        if isinstance(verdict, Retry):
            self._failed(verdict)
        elif verdict.status in (401, 403):
            raise UnreadableError(verdict.reason, hopeless=True)

    async def _gathered(
        self, read: Mapping[str, dict[str, Entry]], named: Collection[str | None], taken: Collection[str]
    ) -> tuple[list[BulkCandidate], dict[str, Entry]]:
        ours: dict[str, dict[str, Entry]] = {}
        for bulk_id, found in read.items():
            if bulk_id in named:
                ours[bulk_id] = {one: entry for one, entry in found.items() if one not in taken}
            elif all(one not in taken and self._ours(entry) for one, entry in found.items()):
                ours[bulk_id] = found
        whole = {one: entry for found in ours.values() for one, entry in found.items()}
        await self._learn(one for one, entry in whole.items() if entry.get("inputs") is None)
        made = [BulkCandidate(bulk_id, tuple(map(self._member, found.values()))) for bulk_id, found in ours.items()]
        return made, whole

    # -- executions -------------------------------------------------------------------------------------------------

    def _member(self, entry: Entry) -> BulkMember:
        execution_id, inputs = entry["execution_id"], entry.get("inputs")
        content = self._about(execution_id).fingerprint if inputs is None else try_fingerprint(inputs)
        return BulkMember(execution_id, content, self._created(entry))

    def _ours(self, entry: Entry) -> bool:
        """Return whether an execution may be of our version; the API need not name it."""
        version_id = _text(entry.get("version_id"))
        return version_id is None or self._version_id is None or version_id == self._version_id

    def _about(self, execution_id: str) -> ExecutionFacts:
        return self._known.get(execution_id, _NOTHING)

    async def _learn(self, executions: Iterable[str]) -> None:
        """Read the details of executions that were not read before."""
        await self._each([one for one in executions if one not in self._known], self._learn_one)

    async def _learn_one(self, execution_id: str) -> None:
        verdict = await self._ask(details_request(self._dialect, execution_id))
        if isinstance(verdict, Retry):
            self._failed(verdict)
        elif isinstance(verdict, Success):
            said = verdict.json
            if isinstance(said, Mapping) and is_details_of(said, execution_id):
                self._known[execution_id] = ExecutionFacts(
                    try_fingerprint(said.get("inputs")), _text(said.get("bulk_id"))
                )

    async def _each(self, names: Collection[str], ask: Callable[[str], Awaitable[None]]) -> None:
        await run_workers(iter(names), ask, workers=min(self._workers, len(names)))

    # -- requests ---------------------------------------------------------------------------------------------------

    async def _ask(self, request: Request) -> Success | Retry | Stop:
        before = self._clock.epoch()
        answer = await self._transport.send(request)
        said = server_time(answer) if isinstance(answer, Reply) else None
        if said is not None:
            self.skew.note(said, before=before, after=self._clock.epoch())
        return judge_read(answer)

    def _failed(self, verdict: Retry) -> None:
        """Count a failed request; give the search up after a few, or if the API is busy."""
        self._failures += 1
        after = max(verdict.after or 0.0, self.trouble.after if self.trouble is not None else 0.0)
        self.trouble = UnreadableError(verdict.reason, after=after)
        if verdict.limited or self._failures >= FAILURES:
            raise self.trouble


_NOTHING: Final = ExecutionFacts(None, None)


def _entries(said: Json) -> Iterator[Entry]:
    return (entry for entry in entries(said) if entry["execution_id"])


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None
