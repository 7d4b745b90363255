"""Marks that are set one by one, and undo."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eachlabs_frames.views.review.undo_history import MarkHistory

SIZE = 6
PLACES = st.integers(0, SIZE - 1)
MARKS = st.one_of(st.none(), st.integers(1, 5))
BEFORE = st.dictionaries(PLACES, st.integers(1, 5))
STEPS = st.lists(st.one_of(st.tuples(PLACES, MARKS), st.integers(-3, SIZE + 3)))


def do(history: MarkHistory[int], steps: list[tuple[int, int | None] | int]) -> int:
    """Apply the steps and return how many can be undone."""
    for step in steps:
        history.go(step) if isinstance(step, int) else history.mark(*step)
    return sum(not isinstance(step, int) for step in steps)


@given(BEFORE, STEPS)
def test_every_step_can_be_undone(before: dict[int, int], steps: list[tuple[int, int | None] | int]) -> None:
    """Back to the initial marks, and no further."""
    history = MarkHistory(SIZE, before)
    for _ in range(do(history, steps)):
        (expected,) = history.steps(1)
        place = history.undo()
        assert (place, history.marks.get(history.at)) == (history.at, expected[1])
        assert place == expected[0]
    assert history.marks == before
    assert history.steps(9) == []
    assert history.undo() is None


@given(BEFORE, STEPS)
def test_the_place_is_always_valid(before: dict[int, int], steps: list[tuple[int, int | None] | int]) -> None:
    """A place or the end; marks are at places only."""
    history = MarkHistory(SIZE, before)
    do(history, steps)
    assert 0 <= history.at <= SIZE
    assert set(history.marks) <= set(range(SIZE))
    assert history.is_done == (len(history.marks) == SIZE)


@given(BEFORE, st.integers(-1, SIZE))
def test_the_search_for_an_open_place_wraps_around(marks: dict[int, int], after: int) -> None:
    """First after the given place, then from the start."""
    found = MarkHistory(SIZE, marks).next_open(after)
    order = [*range(after + 1, SIZE), *range(min(after + 1, SIZE))]
    assert found == next((place for place in order if place not in marks), None)


def test_it_starts_at_the_first_open_place() -> None:
    """At the end if everything is marked, or if there is nothing."""
    assert MarkHistory(3, {0: 1, 2: 1}).at == 1
    assert MarkHistory(2, {0: 1, 1: 1}).at == 2
    assert MarkHistory(0, {}).at == 0


def test_a_mark_goes_to_the_next_place_and_clearing_does_not() -> None:
    """A user who clears a mark wants to set another."""
    history: MarkHistory[int] = MarkHistory(3, {})
    history.mark(0, 4)
    assert history.at == 1
    history.mark(0, None)
    assert (history.at, history.marks) == (0, {})
