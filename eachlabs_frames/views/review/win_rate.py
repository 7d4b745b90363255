"""Which of two is preferred: what is paired with what, and how sure a share of wins is. Values in, values out.

The interval is the score interval of E. B. Wilson, "Probable inference, the law of succession, and statistical
inference", Journal of the American Statistical Association 22 (1927), 209-212.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from math import nan, sqrt
from statistics import NormalDist
from typing import Final, NamedTuple

A: Final = "a"
B: Final = "b"
TIE: Final = "tie"
WINNERS: Final = (A, B, TIE)


class Judgement(NamedTuple):
    """What was judged of one pair: `A`, `B` or `TIE`, and whether whoever judged did not know which was which."""

    winner: str
    blind: bool


class RowPairing(NamedTuple):
    """Rows of two tables, by position: those that belong together, and those that have no partner."""

    pairs: list[tuple[int, int]]
    only_a: list[int]
    only_b: list[int]


def pair(a: Sequence[Hashable], b: Sequence[Hashable]) -> RowPairing:
    """Pair the rows of two tables by their keys: of several with one key, the first with the first, and so on."""
    waiting: dict[Hashable, deque[int]] = {}
    for row, key in enumerate(b):
        waiting.setdefault(key, deque()).append(row)
    pairs, only_a = [], []
    for row, key in enumerate(a):
        partners = waiting.get(key)
        if partners:
            pairs.append((row, partners.popleft()))
        else:
            only_a.append(row)
    return RowPairing(pairs, only_a, sorted(row for partners in waiting.values() for row in partners))


class WinRate(NamedTuple):
    """A share of wins between 0 and 1, and the interval that it is in; NaN, all three, where nothing was judged."""

    win_rate: float
    low: float
    high: float


class WinTally(NamedTuple):
    """What was judged of one side."""

    wins: int
    losses: int
    ties: int

    @property
    def judged(self) -> int:
        """How many pairs were judged."""
        return self.wins + self.losses + self.ties

    def share(self, confidence: float) -> WinRate:
        """Return the share of wins, a tie being half a win and half a loss, with its interval.

        With a tie as half a win the outcomes vary less than a coin of that share would: where there are ties, the
        interval is rather too wide than too narrow.
        """
        if not self.judged:
            return WinRate(nan, nan, nan)
        won = self.wins + self.ties / 2
        return WinRate(won / self.judged, *wilson(won, self.judged, confidence))


def tally(winners: Sequence[str], side: str) -> WinTally:
    """Count what was judged of `side`, `A` or `B`."""
    ties = winners.count(TIE)
    wins = winners.count(side)
    return WinTally(wins, len(winners) - wins - ties, ties)


def wilson(won: float, judged: int, confidence: float) -> tuple[float, float]:
    """Return the lower and the upper end of Wilson's score interval.

    Parameters
    ----------
    won : float
        Of `judged` pairs, how many were won: 0 to `judged`.
    judged : int
        At least 1.
    confidence : float
        Between 0 and 1, such as 0.95.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = won / judged
    scale = 1 + z * z / judged
    middle = (p + z * z / (2 * judged)) / scale
    reach = z * sqrt(p * (1 - p) / judged + z * z / (4 * judged * judged)) / scale
    # At the ends the two terms are equal, and their difference would be a rounding error.
    return (0.0 if p == 0 else max(0.0, middle - reach)), (1.0 if p == 1 else min(1.0, middle + reach))
