"""Matches executions of a listing to the rows of lost requests. Pure: values in, pairs out.

Owns the assignment: a lost request gets at most one bulk operation, a bulk operation belongs to at most one request, a
row gets at most one execution. It never decides how long to search and never guesses: what does not fit is left alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ...journal.base import LostRequest
from ...models import MAX_BATCH


@dataclass(frozen=True, slots=True)
class BulkMember:
    """One execution of a bulk operation; None where the API does not say its inputs, or when it was created.

    ``created`` is in epoch seconds, by this machine's clock.
    """

    execution_id: str
    fingerprint: bytes | None
    created: float | None


@dataclass(frozen=True, slots=True)
class BulkCandidate:
    """A bulk operation that no row owns, with the executions of it that were seen."""

    bulk_id: str
    members: tuple[BulkMember, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """A lost trigger's bulk operation: `lost` and `bulk` are places in what was given, `pairs` rows and executions."""

    lost: int
    bulk: int
    pairs: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class MatchResult:
    """What was paired, and the places in `lost` of those that got nothing because another may own it."""

    found: tuple[Match, ...]
    contested: frozenset[int]


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A time range in epoch seconds, by this machine's clock."""

    since: float
    until: float


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
    for one in sorted(lost, key=lambda one: one.since):
        if merged and one.since <= merged[-1].until + near:
            merged[-1] = replace(merged[-1], until=max(merged[-1].until, one.until + late))
        else:
            merged.append(TimeRange(one.since, one.until + late))
    return merged[::-1]


def candidates(lost: LostRequest, members: Iterable[BulkMember], *, early: float, late: float) -> Iterator[BulkMember]:
    """Yield the executions that may belong to a lost request, by their inputs and creation times."""
    wanted = set(lost.fingerprints)
    for member in members:
        if member.fingerprint in wanted and timely(lost, member, early=early, late=late):
            yield member


def timely(lost: LostRequest, member: BulkMember, *, early: float, late: float) -> bool:
    """Return whether an execution was created in the time range of a lost request."""
    return member.created is not None and lost.since - early <= member.created <= lost.until + late


def match(
    lost: Sequence[LostRequest],
    bulks: Sequence[BulkCandidate],
    *,
    early: float,
    late: float,
    last: Collection[int] = (),
    barred: Collection[int] = (),
) -> MatchResult:
    """Return which lost request gets which bulk operation, and which row which execution.

    A bulk operation that an unusable reply named goes to that request. Else equal inputs decide, as multisets; among
    equal candidates the oldest goes to the oldest. Only in a request's last search may its bulk operation have fewer
    executions than the request had rows, some of which may have been refused. As a listing may be incomplete, a bulk
    operation that may still grow into another request's is left for a later search.

    Parameters
    ----------
    lost : sequence of LostRequest
        In any order.
    bulks : sequence of BulkCandidate
        In any order.
    early, late : float
        Seconds by which an execution may have been created before `since` and after `until`.
    last : collection of int
        Indices in `lost` of requests for which this search is the last.
    barred : collection of int
        Indices in `lost` of requests that get nothing in this search, although executions may be theirs.
    """
    pairing = _Pairing(lost, bulks, early, late, frozenset(last) - frozenset(barred), frozenset(barred))
    pairing.named()
    pairing.equal()
    pairing.parts()
    return MatchResult(tuple(pairing.found), frozenset(pairing.contested))


def usual(member: BulkMember) -> tuple[float, str]:
    """Sort key by creation: the API creates in the order of the inputs, within the resolution of its clock."""
    return (member.created or 0.0, member.execution_id)


class _Pairing:
    """Requests and bulk operations that are not yet paired."""

    def __init__(
        self,
        lost: Sequence[LostRequest],
        bulks: Sequence[BulkCandidate],
        early: float,
        late: float,
        last: frozenset[int],
        barred: frozenset[int],
    ) -> None:
        self.found: list[Match] = []
        self.contested: set[int] = set()
        self._lost, self._bulks = lost, bulks
        self._early, self._late = early, late
        self._last, self._barred = last, barred
        self._open = sorted(range(len(lost)), key=lambda one: _age(lost[one]))
        self._members = [_distinct(bulk.members) for bulk in bulks]
        self._inputs = [Counter(member.fingerprint for member in members) for members in self._members]
        self._wanted: list[Counter[bytes | None]] = [Counter(one.fingerprints) for one in lost]
        self._free = sorted((place for place in range(len(bulks)) if self._members[place]), key=self._order)
        self._rows: set[int] = set()
        self._executions: set[str] = set()

    def named(self) -> None:
        """Pair each request whose bulk operation is known with that one, and with nothing else."""
        places = {self._bulks[place].bulk_id: place for place in reversed(self._free)}
        names = {one.bulk_id for one in self._lost if one.bulk_id is not None}
        for one in [one for one in self._open if self._lost[one].bulk_id is not None]:
            self._open.remove(one)
            place = places.pop(str(self._lost[one].bulk_id), None)
            whole = place is not None and self._wanted[one] <= self._inputs[place]
            if place is not None and one not in self._barred and (whole or one in self._last):
                self._pair(one, place)
        self._free = [place for place in self._free if self._bulks[place].bulk_id not in names]

    def equal(self) -> None:
        """Pair each bulk operation, oldest first, with the request with equal inputs whose time ends first.

        That pairs as many as can be paired, whichever of several equal triggers were refused. The largest go first:
        what is left then cannot be a part of theirs.
        """
        for place in sorted(self._free, key=lambda place: -len(self._members[place])):
            one = next((one for one in self._open if self._equal(one, place)), None)
            if one is None:
                continue
            if one not in self._last and any(self._part(other, place) for other in self._open):
                self.contested.add(one)
            else:
                self._open.remove(one)
                self._pair(one, place)

    def parts(self) -> None:
        """Pair the rest with requests that had these inputs and more, the largest part first."""
        later = [one for one in self._open if one not in self._last]
        fitting = []
        for order, place in enumerate(self._free):
            disputed = any(self._part(other, place) or self._same(other, place) for other in later)
            for rank, one in enumerate(self._open):
                if one in self._last and self._part(one, place):
                    if disputed:
                        self.contested.add(one)
                    else:
                        fitting.append((-len(self._members[place]), order, rank, one, place))
        for _, _, _, one, place in sorted(fitting):
            if one in self._open and place in self._free:
                self._open.remove(one)
                self._pair(one, place)
        self.contested.intersection_update(self._open)

    def _order(self, place: int) -> tuple[float, str]:
        return usual(self._members[place][0])[0], self._bulks[place].bulk_id

    def _equal(self, one: int, place: int) -> bool:
        return one not in self._barred and self._same(one, place)

    def _same(self, one: int, place: int) -> bool:
        return self._wanted[one] == self._inputs[place] and self._timely(one, place)

    def _part(self, one: int, place: int) -> bool:
        return self._inputs[place] < self._wanted[one] and self._timely(one, place)

    def _timely(self, one: int, place: int) -> bool:
        lost = self._lost[one]
        return all(timely(lost, member, early=self._early, late=self._late) for member in self._members[place])

    def _pair(self, one: int, place: int) -> None:
        self._free.remove(place)
        executions: defaultdict[bytes | None, deque[str]] = defaultdict(deque)
        for member in self._members[place]:
            if member.execution_id not in self._executions:
                executions[member.fingerprint].append(member.execution_id)
        pairs = []
        for row, content in zip(self._lost[one].rows, self._lost[one].fingerprints, strict=True):
            if executions[content] and row not in self._rows:
                pairs.append((row, executions[content].popleft()))
                self._rows.add(row)
        self._executions.update(execution_id for _, execution_id in pairs)
        if pairs:
            self.found.append(Match(one, place, tuple(pairs)))


def _age(lost: LostRequest) -> tuple[float, float, tuple[int, ...]]:
    return lost.until, lost.since, lost.rows


def _distinct(members: Iterable[BulkMember]) -> list[BulkMember]:
    """Return each execution once, oldest first; none if there are more than a request can create."""
    seen = {member.execution_id: member for member in members}
    return sorted(seen.values(), key=usual) if len(seen) <= MAX_BATCH else []
