"""Who gets which execution: counted by inputs, never guessed, never twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.engine.recovery.matching import (
    BulkMember,
    candidates,
    match,
    spans,
)
from eachlabs_frames.journal.base import LostRequest


def lost(
    inputs: str, *, first: int = 0, since: float = 100.0, until: float = 110.0, bulk_id: str | None = None
) -> LostRequest:
    """Make a trigger of one row per letter, numbered from `first`."""
    rows = tuple(range(first, first + len(inputs)))
    return LostRequest(rows, tuple(letter.encode() for letter in inputs), since, until, bulk_id)


Bulk = tuple[str, list[BulkMember]]


def bulk(name: str, inputs: str, *, at: float | None = 105.0) -> Bulk:
    """Return a bulk operation with one execution per letter; the inputs of "?" are unknown."""
    return name, [
        BulkMember(f"{name}-{place}", None if letter == "?" else letter.encode(), at)
        for place, letter in enumerate(inputs)
    ]


def paired(
    triggers: list[LostRequest],
    bulks: list[Bulk],
    *,
    last: Any = (),
    barred: Any = (),
    early: float = 2.5,
    late: float = 30.0,
) -> dict[int, int]:
    """Return the place of each lost trigger's bulk operation, with the margins of an API that states its time."""
    matches, _ = match(triggers, dict(bulks), early=early, late=late, last=last, barred=barred)
    names = [name for name, _ in bulks]
    return {place: names.index(name) for place, (name, _) in matches.items()}


def test_rows_get_executions_by_their_inputs_whatever_the_order() -> None:
    """Equal inputs within a batch are given in the order of their creation."""
    name, members = bulk("b", "cabba")
    matches, contested = match([lost("abcab")], {name: members[::-1]}, early=2.5, late=30.0)
    assert matches == {0: ("b", [(0, "b-1"), (1, "b-2"), (2, "b-0"), (3, "b-4"), (4, "b-3")])}
    assert contested == set()


def test_equal_batches_are_told_apart_by_count() -> None:
    """Two were lost and one is there: one row set gets it, the older; then the other."""
    triggers = [lost("ab", first=2, since=103, until=113), lost("ab")]
    assert paired(triggers, [bulk("x", "ab")]) == {1: 0}
    assert paired(triggers, [bulk("y", "ba", at=108), bulk("x", "ab")]) == {1: 1, 0: 0}
    assert paired(triggers, [bulk("x", "ab"), bulk("y", "ab"), bulk("z", "ab")], last={0, 1}) == {1: 0, 0: 1}


def test_as_many_are_paired_as_can_be() -> None:
    """What only one trigger's time allows goes to that one, though another is older."""
    triggers = [lost("a", since=100, until=160), lost("a", first=1, since=130, until=131)]
    assert paired(triggers, [bulk("x", "a", at=105), bulk("y", "a", at=131)], late=5) == {0: 0, 1: 1}
    assert paired(triggers, [bulk("x", "a", at=131), bulk("y", "a", at=150)], late=5) == {1: 0, 0: 1}


def test_a_name_decides_before_anything_else() -> None:
    """A trigger whose bulk operation is known gets that one, at any time, and it goes to no other."""
    triggers = [lost("ab", since=1, until=2, bulk_id="y"), lost("ab", first=2)]
    bulks = [bulk("x", "ab"), bulk("y", "ab")]
    assert paired(triggers, bulks) == {0: 1, 1: 0}
    assert paired(triggers, bulks[1:], last={0, 1}) == {0: 0}
    assert paired([lost("ab", bulk_id="z")], bulks, last={0}) == {}
    assert paired([lost("ab", bulk_id="y"), lost("ab", first=2, bulk_id="y")], bulks, last={0, 1}) == {0: 1}


def test_a_name_waits_for_the_rest_until_the_last_look() -> None:
    """A part of it may be all there is, but only then."""
    one = lost("abc", bulk_id="x")
    assert paired([one], [bulk("x", "ab")]) == {}
    assert paired([one, lost("ab", first=3)], [bulk("x", "ab")], last={1}) == {}
    assert match([one], dict([bulk("x", "a?z")]), early=0, late=0, last={0})[0] == {0: ("x", [(0, "x-0")])}
    assert paired([one], [bulk("x", "cbad")]) == {0: 0}
    assert paired([one], [bulk("x", "abc")], barred={0}, last={0}) == {}


def test_a_part_is_taken_only_at_the_last_look() -> None:
    """Some of the inputs may have been refused; the largest part goes first."""
    bulks = [bulk("x", "a"), bulk("y", "ab")]
    assert paired([lost("abc")], bulks) == {}
    assert paired([lost("abc")], bulks, last={0}) == {0: 1}
    assert paired([lost("abc")], bulks, last={0}, barred={0}) == {}
    assert paired([lost("aab")], [bulk("x", "abb")], last={0}) == {}


def test_what_is_larger_or_other_fits_nobody() -> None:
    """More executions than rows, an unknown input, none at all, more than a bulk operation can have."""
    for inputs in ("abc", "a?", "", "ac"):
        assert paired([lost("ab")], [bulk("x", inputs)], last={0}) == {}
    assert paired([lost("a", bulk_id="x")], [bulk("x", "a" * 11)], last={0}) == {}
    assert paired([lost("a" * 10)], [bulk("x", "a" * 10)]) == {0: 0}


def test_what_may_grow_into_anothers_is_left() -> None:
    """A listing may show a part of a larger trigger's bulk operation, which is all of a smaller one's."""
    triggers = [lost("ab"), lost("abc", first=2)]
    bulks = [bulk("x", "ab")]
    assert match(triggers, dict(bulks), early=0, late=30) == ({}, {0})
    assert paired(triggers, [*bulks, bulk("y", "abc")]) == {0: 0, 1: 1}
    assert paired(triggers, bulks, last={0}) == {0: 0}
    assert paired(triggers, bulks, barred={1}) == {}


def test_a_part_that_may_be_anothers_whole_is_left() -> None:
    """Until the other's time is over too."""
    triggers = [lost("abcd"), lost("abc", first=4, since=101, until=120)]
    bulks = [bulk("x", "ab")]
    assert match(triggers, dict(bulks), early=0, late=30, last={0}) == ({}, {0})
    assert match(triggers, dict(bulks), early=0, late=30, last={1})[1] == {1}
    assert paired(triggers, bulks, last={0, 1}) == {1: 0} or paired(triggers, bulks, last={0, 1}) == {0: 0}
    assert match([triggers[0], lost("ab", first=9)], dict(bulks), early=0, late=30, last={0}, barred={1})[0] == {}


def test_time_decides() -> None:
    """All of a bulk operation lies between just before the request and when it can no longer take effect."""
    for at, fits in ((97.4, False), (97.5, True), (140.0, True), (140.1, False), (None, False)):
        assert paired([lost("a")], [bulk("x", "a", at=at)]) == ({0: 0} if fits else {})
        assert paired([lost("ab")], [bulk("x", "a", at=at)], last={0}) == ({0: 0} if fits else {})
    halves = ("x", [BulkMember("e", b"a", 105.0), BulkMember("f", b"b", 141.0)])
    assert paired([lost("ab")], [halves], last={0}) == {}


def test_stretches_of_time_that_touch_are_one() -> None:
    """The latest comes first, as the listing has it."""
    triggers = [lost("a", since=500, until=501), lost("a", since=100, until=160), lost("a", since=150, until=151)]
    assert spans(triggers, late=30, near=60) == [(500, 531), (100, 190)]
    assert spans(triggers, late=30, near=310) == [(100, 531)]
    assert spans([], late=30, near=60) == []


def test_candidates_have_the_inputs_and_the_time() -> None:
    """Neither alone is enough."""
    members = [
        BulkMember("e", b"a", 105.0),
        BulkMember("f", b"z", 105.0),
        BulkMember("g", b"a", 99.0),
        BulkMember("h", b"a", None),
        BulkMember("i", None, 105.0),
    ]
    assert [one.execution_id for one in candidates(lost("ab"), members, early=0.5, late=0)] == ["e"]


LETTERS = st.text("ab", min_size=1, max_size=4)
MOMENTS = st.integers(0, 6).map(float)


@st.composite
def triggers(draw: st.DrawFn) -> list[LostRequest]:
    """Draw lost triggers, some of whose bulk operation is known."""
    made: list[LostRequest] = []
    for inputs in draw(st.lists(LETTERS, max_size=5)):
        since = draw(MOMENTS)
        first = sum(len(one.rows) for one in made)
        name = draw(st.none() | st.sampled_from(["b0", "b1"]))
        made.append(lost(inputs, first=first, since=since, until=since + draw(MOMENTS), bulk_id=name))
    return made


@st.composite
def listings(draw: st.DrawFn) -> list[Bulk]:
    """Draw bulk operations."""
    made = []
    for number, inputs in enumerate(draw(st.lists(st.text("ab?", max_size=4), max_size=5))):
        made.append(bulk(f"b{number}", inputs, at=draw(st.none() | MOMENTS)))
    return made


PLACES = st.sets(st.integers(0, 4))


@settings(deadline=None)
@given(triggers(), listings(), PLACES, PLACES)
def test_nothing_is_given_twice_and_nothing_that_does_not_fit(
    wanted: list[LostRequest], bulks: list[Bulk], last: set[int], barred: set[int]
) -> None:
    """No trigger, bulk operation, row or execution is paired twice; what is paired has the same inputs."""
    members_of = dict(bulks)
    matches, contested = match(wanted, members_of, early=1, late=1, last=last, barred=barred)
    rows = [row for _, pairs in matches.values() for row, _ in pairs]
    executions = [execution_id for _, pairs in matches.values() for _, execution_id in pairs]
    assert len(set(rows)) == len(rows)
    assert len(set(executions)) == len(executions)
    assert len({name for name, _ in matches.values()}) == len(matches)
    assert not matches.keys() & (barred | contested)
    for place, (name, pairs) in matches.items():
        trigger, members = wanted[place], members_of[name]
        content = dict(zip(trigger.rows, trigger.fingerprints, strict=True))
        inputs = {member.execution_id: member.fingerprint for member in members}
        assert all(content[row] == inputs[execution_id] for row, execution_id in pairs)
        assert trigger.bulk_id in (None, name)
        assert len(pairs) == len(trigger.rows) or place in last
        if trigger.bulk_id is None:
            assert len(pairs) == len(members)
            times = [-9.0 if member.created is None else member.created for member in members]
            assert trigger.since - 1 <= min(times) <= max(times) <= trigger.until + 1
            assert name not in {other.bulk_id for other in wanted}


@settings(deadline=None)
@given(triggers(), listings(), PLACES, st.randoms(use_true_random=False))
def test_the_order_of_the_listing_changes_nothing(
    wanted: list[LostRequest], bulks: list[Bulk], last: set[int], random: Any
) -> None:
    """Nor does the order in which triggers were lost."""

    def names(triggers: list[LostRequest], listed: list[Bulk], ends: set[int]) -> set[Any]:
        matches, _ = match(triggers, dict(listed), early=1, late=1, last=ends)
        return {(triggers[place].rows, name, tuple(pairs)) for place, (name, pairs) in matches.items()}

    mixed = [(name, random.sample(members, len(members))) for name, members in bulks]
    random.shuffle(mixed)
    order = random.sample(range(len(wanted)), len(wanted))
    moved = [wanted[place] for place in order]
    ends = {new for new, old in enumerate(order) if old in last}
    assert names(moved, mixed, ends) == names(wanted, bulks, last)


@settings(deadline=None)
@given(st.lists(MOMENTS, max_size=5), st.lists(MOMENTS, max_size=5))
def test_of_equal_batches_as_many_are_found_as_times_allow(starts: list[float], made: list[float]) -> None:
    """No better pairing exists: checked against trying all of them."""
    wanted = [lost("a", first=row, since=since, until=since + row) for row, since in enumerate(starts)]
    bulks = [bulk(f"b{number}", "a", at=at) for number, at in enumerate(made)]

    def best(place: int, free: frozenset[int]) -> int:
        if place == len(wanted):
            return 0
        one = wanted[place]
        fits = [number for number in free if one.since <= made[number] <= one.until]
        return max([best(place + 1, free), *(1 + best(place + 1, free - {number}) for number in fits)])

    assert len(paired(wanted, bulks, early=0, late=0)) == best(0, frozenset(range(len(bulks))))


@settings(deadline=None)
@given(LETTERS, st.integers(0, 4), st.integers(0, 4))
def test_identical_batches_are_counted(inputs: str, sent: int, there: int) -> None:
    """As many get a bulk operation as there are."""
    wanted = [lost(inputs, first=number * len(inputs)) for number in range(sent)]
    bulks = [bulk(f"b{number}", inputs) for number in range(there)]
    assert Counter(paired(wanted, bulks).values()) == Counter(range(min(sent, there)))
