"""Pairs and win rates: the pure part of a comparison."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eachlabs_frames.views.comparison.model import TIE, A, B, pair, wilson, win_rate

COUNTS = st.integers(1, 2_000).flatmap(
    lambda n: st.tuples(st.integers(0, 2 * n).map(lambda half: half / 2), st.just(n))
)
CONFIDENCE = st.floats(0.5, 0.999)
KEYS = st.lists(st.integers(0, 4), max_size=30)


# R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3; the last one is 0 of 29 turned round.
@pytest.mark.parametrize(
    ("won", "judged", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_the_interval_is_that_of_the_tables(won: int, judged: int, low: float, high: float) -> None:
    """To the four decimals that are printed there."""
    assert wilson(won, judged, 0.95) == pytest.approx((low, high), abs=5e-5)


@given(COUNTS, CONFIDENCE)
def test_its_ends_are_where_the_score_test_turns(counts: tuple[float, int], confidence: float) -> None:
    """At each end the distance to the share is z of that end's own standard errors: Wilson's definition itself."""
    won, judged = counts
    share = won / judged
    z = math.sqrt(2) * _inverse_erf(confidence)
    for end in wilson(won, judged, confidence):
        assert (share - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / judged, rel=1e-6, abs=1e-9)


def _inverse_erf(value: float) -> float:
    """Halve the interval until nothing is left of it: slow, and sure."""
    low, high = 0.0, 6.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < value else (low, middle)
    return low


@given(COUNTS, CONFIDENCE)
def test_it_holds_the_share_and_stays_a_share(counts: tuple[float, int], confidence: float) -> None:
    """Whatever was counted, and also at 0 and 1."""
    won, judged = counts
    low, high = wilson(won, judged, confidence)
    assert 0 <= low <= won / judged <= high <= 1
    assert low < high


@given(COUNTS, CONFIDENCE)
def test_what_one_side_wins_the_other_loses(counts: tuple[float, int], confidence: float) -> None:
    """The interval of the losses is that of the wins, turned round."""
    won, judged = counts
    low, high = wilson(won, judged, confidence)
    assert wilson(judged - won, judged, confidence) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(COUNTS, CONFIDENCE, st.integers(2, 10))
def test_more_judgements_make_it_narrower(counts: tuple[float, int], confidence: float, times: int) -> None:
    """And more confidence wider."""
    won, judged = counts
    low, high = wilson(won, judged, confidence)
    closer_low, closer_high = wilson(times * won, times * judged, confidence)
    assert closer_high - closer_low < high - low
    surer_low, surer_high = wilson(won, judged, (1 + confidence) / 2)
    assert surer_low <= low
    assert high <= surer_high


def test_a_tie_is_half_a_win() -> None:
    """Of ten pairs, six won and two tied: seven of ten."""
    counted = win_rate([A] * 6 + [TIE] * 2 + [B] * 2, A, 0.95)
    assert [counted[name] for name in ("wins", "losses", "ties", "judged")] == [6, 2, 2, 10]
    assert [counted[name] for name in ("win_rate", "low", "high")] == pytest.approx([0.7, *wilson(7, 10, 0.95)])


def test_nothing_judged_is_no_share() -> None:
    """NaN three times, and no error."""
    counted = win_rate([], A, 0.95)
    assert all(math.isnan(counted[name]) for name in ("win_rate", "low", "high"))


@given(st.lists(st.sampled_from([A, B, TIE])))
def test_both_sides_are_counted_alike(winners: list[str]) -> None:
    """One side's wins are the other's losses."""
    one, other = win_rate(winners, A, 0.95), win_rate(winners, B, 0.95)
    assert (one["wins"], one["losses"], one["ties"]) == (other["losses"], other["wins"], other["ties"])
    assert one["judged"] == len(winners)


@given(KEYS, KEYS)
def test_each_row_is_in_one_pair_or_left_over(a: list[int], b: list[int]) -> None:
    """Nothing is lost, nothing is there twice, and a pair has one key."""
    pairs, only_a, only_b = pair(a, b)
    assert sorted([*(row for row, _ in pairs), *only_a]) == list(range(len(a)))
    assert sorted([*(row for _, row in pairs), *only_b]) == list(range(len(b)))
    assert all(a[row_a] == b[row_b] for row_a, row_b in pairs)
    left_over = Counter(a[row] for row in only_a), Counter(b[row] for row in only_b)
    assert left_over == (Counter(a) - Counter(b), Counter(b) - Counter(a))


@given(KEYS, KEYS)
def test_rows_of_one_key_are_paired_in_their_order(a: list[int], b: list[int]) -> None:
    """The first with the first, the second with the second."""
    pairs, _, _ = pair(a, b)
    assert pairs == sorted(pairs)
    for row_a, row_b in pairs:
        assert a[:row_a].count(a[row_a]) == b[:row_b].count(b[row_b])
