"""Matches executions of a listing to the rows of lost requests. Pure: values in, pairs out.

Owns the assignment, and the margins by which times may differ. A lost request gets at most one bulk operation, a bulk
operation belongs to at most one request, a row gets at most one execution. It never decides how long to search and
never guesses: what does not fit is left alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, TypeAlias

from ...journal.base import LostRequest
from ...models import MAX_BATCH

SURE: Final = 2.0
"""Seconds by which times may differ beyond the known skew: ``created_at`` is truncated to whole seconds."""

UNSURE: Final = 30.0
"""The same if the API does not send its own time."""

TimeRange: TypeAlias = tuple[float, float]
"""The begin and the end of a time range in epoch seconds, by this machine's clock."""

Matches: TypeAlias = dict[int, tuple[str, list[tuple[int, str]]]]
"""For the index of a lost request: its bulk operation, and pairs of a row and its execution."""


class ClockSkew:
    """How far the server's clock is ahead of ours, from the times in its replies. It reads neither clock."""

    def __init__(self) -> None:
        self._low, self._high = -inf, inf

    def note(self, server_time: float, *, before: float, after: float) -> None:
        """Take in a server time in whole seconds that was read between two of our times."""
        self._low, self._high = max(self._low, server_time - after), min(self._high, server_time + 1.0 - before)

    @property
    def ahead(self) -> float:
        """The most likely difference in seconds."""
        return 0.0 if self._low == -inf else (self._low + self._high) / 2

    @property
    def margin(self) -> float:
        """Seconds by which a corrected server time may still be off."""
        return UNSURE if self._low == -inf else min(UNSURE, SURE + abs(self._high - self._low) / 2)


@dataclass(frozen=True, slots=True)
class BulkMember:
    """One execution of a bulk operation; None where the API does not say its inputs, or when it was created.

    ``created`` is in epoch seconds, by this machine's clock.
    """

    execution_id: str
    fingerprint: bytes | None
    created: float | None


def spans(lost: Iterable[LostRequest], *, late: float, near: float) -> list[TimeRange]:
    """Return the time ranges in which executions of lost requests can have been created, latest first.

    Parameters
    ----------
    lost : iterable of LostRequest
    late : float
        Seconds after a trigger's last moment in which it may still take effect.
    near : float
        Ranges with at most this many seconds between them are merged.
    """
    merged: list[TimeRange] = []
    for since, until in sorted((request.since, request.until + late) for request in lost):
        if merged and since <= merged[-1][1] + near:
            merged[-1] = (merged[-1][0], max(merged[-1][1], until))
        else:
            merged.append((since, until))
    return merged[::-1]


def candidates(lost: LostRequest, members: Iterable[BulkMember], *, early: float, late: float) -> Iterator[BulkMember]:
    """Yield the executions that may belong to a lost request, by their inputs and creation times."""
    fingerprints = set(lost.fingerprints)
    for member in members:
        if member.fingerprint in fingerprints and timely(lost, member.created, early=early, late=late):
            yield member


def timely(lost: LostRequest, created: float | None, *, early: float, late: float) -> bool:
    """Return whether an execution was created in the time range of a lost request."""
    return created is not None and lost.since - early <= created <= lost.until + late


def match(
    lost: Sequence[LostRequest],
    bulks: Mapping[str, Sequence[BulkMember]],
    *,
    early: float,
    late: float,
    last: Collection[int] = (),
    barred: Collection[int] = (),
) -> tuple[Matches, set[int]]:
    """Match lost requests with bulk operations, and their rows with executions.

    A bulk operation that an unusable reply named goes to that request. Else equal inputs decide, as multisets; among
    equal candidates the oldest goes to the oldest. Only in a request's last search may its bulk operation have fewer
    executions than the request had rows, some of which may have been refused. As a listing may be incomplete, a bulk
    operation that may still grow into another request's is left for a later search.

    Parameters
    ----------
    lost : sequence of LostRequest
        In any order.
    bulks : mapping of str to sequence of BulkMember
        Bulk operations that no row owns, in any order, with the executions that were seen.
    early, late : float
        Seconds by which an execution may have been created before `since` and after `until`.
    last : collection of int
        Indices in `lost` of requests for which this search is the last.
    barred : collection of int
        Indices in `lost` of requests that get nothing in this search, although executions may be theirs.

    Returns
    -------
    matches : Matches
    contested : set of int
        Indices in `lost` of requests that got nothing because another may own the bulk operation.
    """
    pairing = _Pairing(lost, bulks, early, late, frozenset(last) - frozenset(barred), frozenset(barred))
    pairing.match_named()
    pairing.match_equal()
    pairing.match_parts()
    return pairing.matches, pairing.contested


class _Pairing:
    """Requests and bulk operations that are not yet paired. A request is given by its index."""

    def __init__(
        self,
        lost: Sequence[LostRequest],
        bulks: Mapping[str, Sequence[BulkMember]],
        early: float,
        late: float,
        last: frozenset[int],
        barred: frozenset[int],
    ) -> None:
        self.matches: Matches = {}
        self.contested: set[int] = set()
        self._lost = lost
        self._early, self._late = early, late
        self._last, self._barred = last, barred
        self._open = sorted(
            range(len(lost)), key=lambda index: (lost[index].until, lost[index].since, lost[index].rows)
        )
        self._wanted: list[Counter[bytes | None]] = [Counter(request.fingerprints) for request in lost]
        members = {bulk_id: _distinct(listed) for bulk_id, listed in bulks.items()}
        self._members = {bulk_id: listed for bulk_id, listed in members.items() if listed}
        self._inputs = {
            bulk_id: Counter(member.fingerprint for member in listed) for bulk_id, listed in self._members.items()
        }
        self._free = sorted(self._members, key=lambda bulk_id: (self._members[bulk_id][0].created or 0.0, bulk_id))
        self._rows: set[int] = set()
        self._executions: set[str] = set()

    def match_named(self) -> None:
        """Pair each request whose bulk operation is known with that one, and with nothing else."""
        names = {request.bulk_id for request in self._lost if request.bulk_id is not None}
        unpaired = set(self._free)
        for request in [request for request in self._open if self._lost[request].bulk_id is not None]:
            self._open.remove(request)
            bulk_id = str(self._lost[request].bulk_id)
            if bulk_id not in unpaired:
                continue
            unpaired.remove(bulk_id)
            is_whole = self._wanted[request] <= self._inputs[bulk_id]
            if request not in self._barred and (is_whole or request in self._last):
                self._pair(request, bulk_id)
        self._free = [bulk_id for bulk_id in self._free if bulk_id not in names]

    def match_equal(self) -> None:
        """Pair each bulk operation, oldest first, with the request with equal inputs whose time ends first.

        That pairs as many as can be paired, whichever of several equal triggers were refused. The largest go first:
        what is left then cannot be a part of theirs.
        """
        for bulk_id in sorted(self._free, key=lambda bulk_id: -len(self._members[bulk_id])):
            equal = (
                request for request in self._open if request not in self._barred and self._equals(request, bulk_id)
            )
            request = next(equal, None)
            if request is None:
                continue
            if request not in self._last and any(self._contains(other, bulk_id) for other in self._open):
                self.contested.add(request)
            else:
                self._open.remove(request)
                self._pair(request, bulk_id)

    def match_parts(self) -> None:
        """Pair the rest with requests that had these inputs and more, the largest part first."""
        later = [request for request in self._open if request not in self._last]
        fitting = []
        for order, bulk_id in enumerate(self._free):
            is_disputed = any(self._contains(other, bulk_id) or self._equals(other, bulk_id) for other in later)
            for rank, request in enumerate(self._open):
                if request in self._last and self._contains(request, bulk_id):
                    if is_disputed:
                        self.contested.add(request)
                    else:
                        fitting.append((-len(self._members[bulk_id]), order, rank, request, bulk_id))
        for _, _, _, request, bulk_id in sorted(fitting):
            if request in self._open and bulk_id in self._free:
                self._open.remove(request)
                self._pair(request, bulk_id)
        self.contested.intersection_update(self._open)

    def _equals(self, request: int, bulk_id: str) -> bool:
        return self._wanted[request] == self._inputs[bulk_id] and self._is_timely(request, bulk_id)

    def _contains(self, request: int, bulk_id: str) -> bool:
        return self._inputs[bulk_id] < self._wanted[request] and self._is_timely(request, bulk_id)

    def _is_timely(self, request: int, bulk_id: str) -> bool:
        lost, margins = self._lost[request], {"early": self._early, "late": self._late}
        return all(timely(lost, member.created, **margins) for member in self._members[bulk_id])

    def _pair(self, request: int, bulk_id: str) -> None:
        self._free.remove(bulk_id)
        executions: defaultdict[bytes | None, deque[str]] = defaultdict(deque)
        for member in self._members[bulk_id]:
            if member.execution_id not in self._executions:
                executions[member.fingerprint].append(member.execution_id)
        pairs = []
        lost = self._lost[request]
        for row, content in zip(lost.rows, lost.fingerprints, strict=True):
            if executions[content] and row not in self._rows:
                pairs.append((row, executions[content].popleft()))
                self._rows.add(row)
        self._executions.update(execution_id for _, execution_id in pairs)
        if pairs:
            self.matches[request] = (bulk_id, pairs)


def _distinct(members: Iterable[BulkMember]) -> list[BulkMember]:
    """Return each execution once, oldest first; none if there are more than a request can create."""
    unique = {member.execution_id: member for member in members}
    if len(unique) > MAX_BATCH:
        return []
    # The API creates in the order of the inputs, within the resolution of its clock.
    return sorted(unique.values(), key=lambda member: (member.created or 0.0, member.execution_id))
