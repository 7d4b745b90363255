"""Numbers as colours and as texts: in order, readable, and never a failure whatever the numbers are."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eachlabs_frames.views.matrix.colours import RED_BLUE, VIRIDIS, Scale, legend, quantity, scale

NUMBERS = st.floats(allow_nan=False, allow_infinity=True)


def luminance(colour: str) -> float:
    """Return a colour's relative luminance, as WCAG 2 defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours, as WCAG 2 defines it."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@given(st.lists(NUMBERS, max_size=20), NUMBERS, st.booleans())
def test_any_number_has_a_colour_and_readable_text(numbers: list[float], number: float, around: bool) -> None:
    """Of any scale, and off its ends; a scale there is as soon as one number is finite."""
    found = scale(numbers, is_around_zero=around)
    assert (found is None) == (not any(map(math.isfinite, numbers)))
    if found is not None:
        colour, ink = found.paint(number)
        assert contrast(colour, ink) >= 4.5
        assert 0 <= found.share(number) <= 1


def test_more_is_lighter() -> None:
    """All the way, so that it reads in grey too, and to whoever sees no red or green."""
    found = Scale(0.0, 100.0)
    shown = [luminance(found.paint(number)[0]) for number in range(101)]
    assert all(low < high for low, high in pairwise(shown))
    assert found.paint(0)[0] == f"#{VIRIDIS[0]}"
    assert found.paint(100)[0] == f"#{VIRIDIS[-1]}"


def test_differences_are_palest_at_zero_and_as_wide_to_either_side() -> None:
    """Though all of them may be on one."""
    found = scale([1.0, 4.0], is_around_zero=True)
    assert found == Scale(-4.0, 4.0, True)
    assert found.paint(0)[0] == f"#{RED_BLUE[5]}"
    assert found.paint(-4)[0] == f"#{RED_BLUE[0]}"
    assert scale([-4.0, 1.0], is_around_zero=True) == found
    assert luminance(found.paint(2)[0]) == pytest.approx(luminance(found.paint(-2)[0]), abs=0.1)


def test_infinite_numbers_are_off_the_ends_and_move_them_not() -> None:
    """One of them would leave the others without a difference."""
    found = scale([1.0, 2.0, math.inf, -math.inf])
    assert found == Scale(1.0, 2.0)
    assert (found.share(math.inf), found.share(-math.inf)) == (1.0, 0.0)


def test_the_widest_scale_has_a_middle() -> None:
    """Though the distance of its ends is more than the largest float."""
    found = Scale(-1.7e308, 1.7e308)
    assert [found.share(number) for number in (-1.7e308, 0.0, 1.7e308)] == [0.0, 0.5, 1.0]
    assert found.ticks() == []


def test_the_same_number_everywhere_is_in_the_middle() -> None:
    """And its legend names it once."""
    found = scale([3.0, 3.0])
    assert found is not None
    assert found.share(3.0) == 0.5
    assert legend(found, "score", "number", []) == {
        "title": "score",
        "stops": [found.paint(3.0)[0]],
        "ticks": [(0.5, "3")],
    }


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8), st.booleans())
def test_ticks_are_few_and_between_the_ends(numbers: list[float], around: bool) -> None:
    """In order; and those of a legend begin and end with its ends."""
    found = scale(numbers, is_around_zero=around)
    assert found is not None
    ticks = found.ticks()
    assert len(ticks) <= 5
    assert ticks == sorted(ticks)
    assert all(found.low < tick < found.high for tick in ticks)
    shares = [share for share, _ in legend(found, "x", "number", ["A", "B"] if around else [])["ticks"]]
    assert shares == sorted(shares)
    if found.low < found.high:
        assert (shares[0], shares[-1]) == (0, 1)


def test_ticks_are_round() -> None:
    """Steps of one, two or five, in tens."""
    assert Scale(0.0, 1.0).ticks() == [0.5]
    assert Scale(0.0, 10.0).ticks() == [5.0]
    assert Scale(1.3, 8.9).ticks() == [2.0, 4.0, 6.0, 8.0]
    assert Scale(-4.0, 4.0).ticks() == [-2.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("number", "unit", "said"),
    [
        (0.0123, "usd", "$0.0123"),
        (-2, "usd", "\N{MINUS SIGN}$2.00"),
        (3.14159, "seconds", "3.142 s"),
        (75, "seconds", "75 s"),
        (1, "truth", "True"),
        (0, "truth", "False"),
        (2 / 3, "truth", "66.67 %"),
        (4, "number", "4"),
        (12345.678, "number", "12,346"),
        (1e15, "number", "1e+15"),
        (-0.25, "number", "\N{MINUS SIGN}0.25"),
        (math.inf, "number", "∞"),
        (-math.inf, "usd", "\N{MINUS SIGN}∞"),
        (math.nan, "usd", "\N{EN DASH}"),
    ],
)
def test_a_quantity_is_short_and_has_its_unit(number: float, unit: str, said: str) -> None:
    """With a true minus sign; money as `format_usd` writes it."""
    assert quantity(number, unit) == said  # type: ignore[arg-type]  # the words are right


def test_differences_have_a_sign() -> None:
    """But for none."""
    assert quantity(0.5, "usd", signed=True) == "+$0.50"
    assert quantity(-1, signed=True) == "\N{MINUS SIGN}1"
    assert quantity(0, signed=True) == "0"
    assert quantity(1, "truth", signed=True) == "+100 %"


@given(st.floats(), st.sampled_from(["usd", "seconds", "truth", "number"]), st.booleans())
def test_any_number_can_be_said(number: float, unit: str, signed: bool) -> None:
    """In few characters."""
    assert 0 < len(quantity(number, unit, signed=signed)) <= 24  # type: ignore[arg-type]  # as above
