"""Pairing, judgements and win rates of a comparison. Values in, values out; no data frames.

The interval is the score interval of E. B. Wilson, "Probable inference, the law of succession, and statistical
inference", Journal of the American Statistical Association 22 (1927), 209-212.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from math import nan, sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np

from ...errors import ColumnError, ConfigurationError
from ...inputs.file_values import content_key, is_file_value
from ...inputs.json_values import MISSING, RefusedValueError, clean
from ...media import MAX_TEXT_LENGTH, cut, text
from ..common.input_files import file_text

A: Final = "a"
B: Final = "b"
TIE: Final = "tie"
WINNERS: Final = (A, B, TIE)

SUMMARY_COLUMNS: Final = ("name", "wins", "losses", "ties", "judged", "win_rate", "low", "high")


class Judgement(NamedTuple):
    """The winner of a pair (`A`, `B` or `TIE`), and whether it was judged before the reveal."""

    winner: str
    blind: bool


def pair(a: Sequence[Hashable], b: Sequence[Hashable]) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pair the rows of two tables by their keys; rows with the same key are paired in order.

    Returns the pairs, and the rows of `a` and of `b` without a partner.
    """
    unpaired: dict[Hashable, deque[int]] = {}
    for row, key in enumerate(b):
        unpaired.setdefault(key, deque()).append(row)
    pairs, only_a = [], []
    for row, key in enumerate(a):
        partners = unpaired.get(key)
        if partners:
            pairs.append((row, partners.popleft()))
        else:
            only_a.append(row)
    return pairs, only_a, sorted(row for partners in unpaired.values() for row in partners)


def pair_key(cell: object) -> Hashable:
    """Return the key of a cell: equal numbers are equal, missing values too, and a list or a dict is its JSON."""
    if is_file_value(cell):
        return content_key(cell)
    try:
        value = clean(cell)
    except RefusedValueError:
        return str(cell)
    if value is MISSING:
        return None
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def cell_text(cell: object) -> str:
    """Return a cell as the widget shows it: of a path, only the name."""
    if is_file_value(cell):
        return cut(cell.name if isinstance(cell, Path) else file_text(cell), MAX_TEXT_LENGTH)
    key = pair_key(cell)
    return "missing" if key is None else text(key)


def match_judgements(
    lines: Sequence[Mapping[str, Any]], executions: Sequence[tuple[str | None, str | None]]
) -> Iterator[tuple[int, bool, Judgement]]:
    """Yield the number of a pair, whether `a` was on the left, and the judgement, for each line of earlier judgements.

    Raises
    ------
    ColumnError
        They are those of other pairs.
    """
    numbers: dict[tuple[Any, Any], deque[int]] = {}  # several for the same two executions, if rows are copies
    for number, pair_executions in enumerate(executions):
        numbers.setdefault(pair_executions, deque()).append(number)
    unknown = sum((line["execution_id_a"], line["execution_id_b"]) not in numbers for line in lines)
    unknown += sum(line["winner"] not in WINNERS for line in lines)
    if unknown:
        msg = (
            f"judged= holds {unknown} of {len(lines)} judgements that match no pair of a and b: were a and b "
            f"passed in this order, and paired by the same columns?"
        )
        raise ColumnError(msg)
    for line in lines:
        copies = numbers[line["execution_id_a"], line["execution_id_b"]]
        number = copies[0]
        copies.rotate(-1)
        yield number, line["left"] == A, Judgement(line["winner"], str(line["blind"]) != "False")


def win_rate(winners: Sequence[str], side: str, confidence: float) -> dict[str, Any]:
    """Return the counts and the win rate of `side`, `A` or `B`, by the names of `SUMMARY_COLUMNS` after the first.

    The rate and its interval are NaN if nothing was judged. A tie is half a win, so the outcomes vary less than those
    of a coin with that rate: with ties the interval is too wide rather than too narrow.
    """
    judged, wins, ties = len(winners), winners.count(side), winners.count(TIE)
    points = wins + ties / 2
    rates = (points / judged, *wilson(points, judged, confidence)) if judged else (nan, nan, nan)
    return dict(zip(SUMMARY_COLUMNS[1:], (wins, judged - wins - ties, ties, judged, *rates), strict=True))


def wilson(won: float, judged: int, confidence: float) -> tuple[float, float]:
    """Return the lower and the upper end of Wilson's score interval.

    Parameters
    ----------
    won : float
        How many of the `judged` pairs were won: 0 to `judged`.
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
    # At 0 and 1 the two terms are equal, and their difference would be a rounding error.
    return (0.0 if p == 0 else max(0.0, middle - reach)), (1.0 if p == 1 else min(1.0, middle + reach))


def check_confidence(confidence: object) -> float:
    """Return a confidence level, or raise `ConfigurationError` if it is not between 0 and 1."""
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
        msg = f"confidence must be between 0 and 1, such as 0.95; got {confidence!r}"
        raise ConfigurationError(msg)
    return float(confidence)


def check_names(names: Any) -> tuple[str, str]:
    """Return the names of the two results, or raise `ConfigurationError` if they are not two different texts."""
    is_pair = isinstance(names, tuple | list) and len(names) == 2 and all(isinstance(n, str) and n for n in names)
    if not is_pair or names[0] == names[1]:
        msg = f"names must be two different names, such as ('before', 'after'); got {names!r}"
        raise ConfigurationError(msg)
    return names[0], names[1]


def random_generator(random_state: Any) -> np.random.Generator:
    """Return the generator of the argument ``random_state``, or raise `ConfigurationError`."""
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as exc:
        msg = f"random_state must be a whole number, 0 or more, or a numpy.random.Generator; got {random_state!r}"
        raise ConfigurationError(msg) from exc


def listed(labels: Sequence[Hashable]) -> str:
    """Return labels as a list for a message."""
    return ", ".join(map(repr, labels))
