"""Marks given one by one, and every step back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eachlabs_frames.views.review.undo_history import MarkHistory

SIZE = 6
PLACES = st.integers(0, SIZE - 1)
MARKS = st.one_of(st.none(), st.integers(1, 5))
BEFORE = st.dictionaries(PLACES, st.integers(1, 5))
STEPS = st.lists(st.one_of(st.tuples(PLACES, MARKS), st.integers(-3, SIZE + 3)))


def do(sitting: MarkHistory[int], steps: list[tuple[int, int | None] | int]) -> int:
    """Do them, and return how many can be taken back."""
    for step in steps:
        sitting.go(step) if isinstance(step, int) else sitting.mark(*step)
    return sum(not isinstance(step, int) for step in steps)


@given(BEFORE, STEPS)
def test_every_step_can_be_taken_back(before: dict[int, int], steps: list[tuple[int, int | None] | int]) -> None:
    """To what stood there before the first one, and no further."""
    sitting = MarkHistory(SIZE, before)
    for _ in range(do(sitting, steps)):
        (expected,) = sitting.steps(1)
        place = sitting.undo()
        assert (place, sitting.marks.get(sitting.at)) == (sitting.at, expected[1])
        assert place == expected[0]
    assert sitting.marks == before
    assert sitting.steps(9) == []
    assert sitting.undo() is None


@given(BEFORE, STEPS)
def test_one_is_always_somewhere(before: dict[int, int], steps: list[tuple[int, int | None] | int]) -> None:
    """At a place, or at the end behind the last one; marks are at places alone."""
    sitting = MarkHistory(SIZE, before)
    do(sitting, steps)
    assert 0 <= sitting.at <= SIZE
    assert set(sitting.marks) <= set(range(SIZE))
    assert sitting.is_done == (len(sitting.marks) == SIZE)


@given(BEFORE, st.integers(-1, SIZE))
def test_the_next_open_place_is_looked_for_all_round(marks: dict[int, int], after: int) -> None:
    """Behind where one is first, then from the beginning."""
    found = MarkHistory(SIZE, marks).next_open(after)
    order = [*range(after + 1, SIZE), *range(min(after + 1, SIZE))]
    assert found == next((place for place in order if place not in marks), None)


def test_one_begins_at_the_first_open_place() -> None:
    """At the end where all is marked, and where there is nothing."""
    assert MarkHistory(3, {0: 1, 2: 1}).at == 1
    assert MarkHistory(2, {0: 1, 1: 1}).at == 2
    assert MarkHistory(0, {}).at == 0


def test_a_mark_goes_on_and_taking_it_away_does_not() -> None:
    """Whoever clears a mark wants to give another one."""
    sitting: MarkHistory[int] = MarkHistory(3, {})
    sitting.mark(0, 4)
    assert sitting.at == 1
    sitting.mark(0, None)
    assert (sitting.at, sitting.marks) == (0, {})
