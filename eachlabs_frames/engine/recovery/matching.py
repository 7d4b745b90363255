"""Executions of a listing -> the rows whose answer was lost. Values in, pairs out.

Owns who gets what: a lost trigger at most one bulk operation, a bulk operation at most one lost trigger, a row at most
one execution. It never decides how long to look, and never guesses: what does not fit belongs to nobody.
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
    """A stretch of time in epoch seconds, by this machine's clock."""

    since: float
    until: float


def spans(lost: Iterable[LostRequest], *, late: float, near: float) -> list[TimeRange]:
    """Return when the executions of lost triggers can have been created, the latest stretch first.

    Parameters
    ----------
    lost : iterable of Lost
    late : float
        Seconds after a trigger's last moment in which it may still take effect.
    near : float
        Stretches with no more than so many seconds between them become one.
    """
    merged: list[TimeRange] = []
    for one in sorted(lost, key=lambda one: one.since):
        if merged and one.since <= merged[-1].until + near:
            merged[-1] = replace(merged[-1], until=max(merged[-1].until, one.until + late))
        else:
            merged.append(TimeRange(one.since, one.until + late))
    return merged[::-1]


def candidates(lost: LostRequest, members: Iterable[BulkMember], *, early: float, late: float) -> Iterator[BulkMember]:
    """Yield the executions that may be a lost trigger's, by their inputs and by when they were created."""
    wanted = set(lost.fingerprints)
    for member in members:
        if member.fingerprint in wanted and timely(lost, member, early=early, late=late):
            yield member


def timely(lost: LostRequest, member: BulkMember, *, early: float, late: float) -> bool:
    """Say whether an execution was created when a lost trigger can have taken effect."""
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
    """Say which lost trigger gets which bulk operation, and which row which execution.

    A bulk operation that an unusable answer named goes to that trigger. Then equal inputs decide, counted and in any
    order; of several equal ones the oldest goes with the oldest. Only where there is no later look, a bulk operation
    may have fewer executions than its trigger had rows: some may have been refused. As a listing may show a part of
    what is there, what may still grow into another trigger's is left for a later look.

    Parameters
    ----------
    lost : sequence of Lost
        In any order.
    bulks : sequence of Bulk
        In any order.
    early, late : float
        Seconds by which an execution may have been created before `since` and after `until`.
    last : collection of int
        Places in `lost` of those for which this look is the last.
    barred : collection of int
        Places in `lost` of those that get nothing now, though it may be theirs.
    """
    pairing = _Pairing(lost, bulks, early, late, frozenset(last) - frozenset(barred), frozenset(barred))
    pairing.named()
    pairing.equal()
    pairing.parts()
    return MatchResult(tuple(pairing.found), frozenset(pairing.contested))


def usual(member: BulkMember) -> tuple[float, str]:
    """Sort by creation: the API creates in the order of the inputs, as far as its clock can tell."""
    return (member.created or 0.0, member.execution_id)


class _Pairing:
    """What is left of both sides while they are paired."""

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
        """Give each trigger whose bulk operation is known that one, and nothing else."""
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
        """Give each bulk operation, the oldest first, to the trigger with equal inputs whose time ends first.

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
        """Give what is left to triggers that had these inputs and more, the largest part first."""
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
    """Return each execution once, the oldest first; none of what is larger than any trigger's."""
    seen = {member.execution_id: member for member in members}
    return sorted(seen.values(), key=usual) if len(seen) <= MAX_BATCH else []
