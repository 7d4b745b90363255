"""Pairs of two results that belong together, and what was judged of each: rows in, a frame of pairs out.

Owns who is paired with whom, which of the two stands on the left, and the columns that say so. Nothing is dropped
without being counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from ...errors import ColumnError
from ...frames import attrs, columns, lost_attrs
from ...inputs.values import MISSING, RefusedValueError, clean
from ...media import text
from ...models import COMPLETED
from ...suggestions import did_you_mean, hint
from ..common.source import name_of
from .win_rate import WINNERS, A, B, Judgement, pair, tally

OWN: Final = ("execution_id_a", "execution_id_b", "left", "winner", "blind")
SHARES: Final = ("name", "wins", "losses", "ties", "judged", "win_rate", "low", "high")


class PairSide:
    """One of the two results, as far as pairs need it."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.prefix: Final = lost_attrs.prefix_of(frame, None)
        columns.require_result(frame, self.prefix)
        columns.check_attrs(frame)
        self.frame: Final = columns.snapshot(frame)
        self.own: Final = columns.labels(frame, self.prefix)
        self.results: Final = columns.read(frame, self.prefix)
        self._files = attrs.paths(self.frame, self.prefix)

    def is_fit(self, row: int) -> bool:
        """Say whether there is something to look at."""
        return self.results.status[row] == COMPLETED and self.results.output[row] is not None

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of what was downloaded of a row's output, in the order of its URLs; empty where nothing."""
        return () if self._files is None else attrs.paths_in(self._files.iloc[row])

    def place(self, label: Hashable) -> int:
        """Return where a column is.

        Raises
        ------
        ColumnError
            Nowhere, or in two places.
        """
        whole = columns.label(self.frame, label, "") if isinstance(label, str) else label
        places = [place for place, known in enumerate(self.frame.columns) if known == whole]
        if len(places) != 1:
            how = "two columns" if places else f"no column{hint(label, self.frame.columns)}"
            msg = f"by= names {label!r}, of which one of the two frames has {how}"
            raise ColumnError(msg)
        return places[0]

    def keys(self, by: Sequence[Hashable]) -> list[Hashable]:
        """Return what each row is paired by."""
        cells = [self.frame.iloc[:, self.place(label)].tolist() for label in by]
        return [tuple(map(_key, row)) for row in zip(*cells, strict=True)] if cells else [()] * len(self.frame)


class Pairs:
    """The pairs that can be judged, in the order of `a`.

    Parameters
    ----------
    a, b : pandas.DataFrame
        Results.
    by : sequence of labels, or None
        The columns that both have and that pair their rows; None: the axes of the sweep that both come from, else the
        index, if both have the same.
    draw : numpy.random.Generator
        Draws the sides, and the order in which pairs are shown.

    Attributes
    ----------
    rows : list of (int, int)
        Each pair's positions in `a` and in `b`.
    a_is_left : list of bool
        Whether a pair shows `a` on the left: half of them do.
    order : list of int
        The pairs as they are shown.
    judged : dict of int to Judged
        By pair.
    left_out : list of (int, str, str)
        How many rows or pairs are not judged, which of the two they are, and why.
    """

    def __init__(
        self, a: pd.DataFrame, b: pd.DataFrame, by: Sequence[Hashable] | None, draw: np.random.Generator
    ) -> None:
        self.a, self.b = PairSide(a), PairSide(b)
        self.by: Final = _by(self.a, self.b, by)
        found = pair(self.a.keys(self.by), self.b.keys(self.by))
        fit = [(i, j) for i, j in found.pairs if self.a.is_fit(i) and self.b.is_fit(j)]
        self.rows: Final = [(i, j) for i, j in fit if self._executions(i, j)[0] != self._executions(i, j)[1]]
        self.left_out: Final = [
            (len(found.only_a), "row", "of a without a partner"),
            (len(found.only_b), "row", "of b without a partner"),
            (len(found.pairs) - len(fit), "pair", "without a completed output on one side"),
            (len(fit) - len(self.rows), "pair", "with the same execution on both sides"),
        ]
        sides = np.arange(len(self.rows)) % 2 == draw.integers(2)
        draw.shuffle(sides)
        self.a_is_left: Final[list[bool]] = sides.tolist()
        self.order: Final[list[int]] = draw.permutation(len(self.rows)).tolist()
        self.judged: Final[dict[int, Judgement]] = {}

    def texts(self, number: int) -> list[tuple[str, str]]:
        """Return what a pair is paired by: each column's name, and its value."""
        row = self.rows[number][0]
        cells = ((label, _key(self.a.frame.iloc[row, self.a.place(label)])) for label in self.by)
        return [(name_of(label), "missing" if value is None else text(value)) for label, value in cells]

    @property
    def frame(self) -> pd.DataFrame:
        """A new frame with a line per pair."""
        rows_a = [row for row, _ in self.rows]
        data: dict[Hashable, Any] = {
            # Not its bare array: of texts pandas would make another dtype, which takes less than was there.
            name_of(label): self.a.frame.iloc[rows_a, self.a.place(label)].reset_index(drop=True)
            for label in self.by
        }
        executions = [self._executions(*rows) for rows in self.rows]
        judged = [self.judged.get(number) for number in range(len(self.rows))]
        data["execution_id_a"] = pd.array([one for one, _ in executions], dtype="string")
        data["execution_id_b"] = pd.array([one for _, one in executions], dtype="string")
        data["left"] = pd.array([A if left else B for left in self.a_is_left], dtype="string")
        data["winner"] = pd.array([one and one.winner for one in judged], dtype="string")
        data["blind"] = pd.array([None if one is None else one.blind for one in judged], dtype="boolean")
        pairs: pd.DataFrame = pd.DataFrame(data)
        return pairs

    def summary(self, by: Hashable | None, names: tuple[str, str], confidence: float) -> pd.DataFrame:
        """Return each side's share of wins: in all, or of each value of a column that the rows are paired by.

        Raises
        ------
        ColumnError
            The rows are not paired by that column.
        """
        if by is None:
            return _table(self.shares(names, confidence), [*SHARES])
        if by not in self.by:
            near = did_you_mean(by, self.by)
            msg = f"by={by!r} is not one of the columns that the rows are paired by: {_listed(self.by)}{near}"
            raise ColumnError(msg)
        cells = self.a.frame.iloc[[row for row, _ in self.rows], self.a.place(by)].tolist()
        groups: dict[Hashable, list[int]] = {}
        for number, cell in enumerate(cells):
            groups.setdefault(_key(cell), []).append(number)
        lines = [
            {name_of(by): cells[numbers[0]], **share}
            for numbers in groups.values()
            for share in self._shares(numbers, names, confidence)
        ]
        return _table(lines, [name_of(by), *SHARES])

    def shares(self, names: tuple[str, str], confidence: float) -> list[dict[str, Any]]:
        """Return the counts and the share of each side, over all pairs."""
        return self._shares(range(len(self.rows)), names, confidence)

    def _shares(self, numbers: Sequence[int], names: tuple[str, str], confidence: float) -> list[dict[str, Any]]:
        winners = [self.judged[number].winner for number in numbers if number in self.judged]
        counted = [(name, tally(winners, side)) for name, side in zip(names, (A, B), strict=True)]
        return [
            {"name": name} | one._asdict() | {"judged": one.judged} | one.share(confidence)._asdict()
            for name, one in counted
        ]

    def take(self, judged: pd.DataFrame) -> None:
        """Take over what was judged before, with the sides that were shown.

        Raises
        ------
        ColumnError
            It is no frame of pairs, or one of other pairs than these.
        """
        missing = [name for name in OWN if name not in judged.columns]
        if missing:
            msg = f"judged= is not the .frame of a comparison: it has no column {_listed(missing)}"
            raise ColumnError(msg)
        lines = judged.loc[judged["winner"].notna(), list(OWN)].astype(object).to_dict("records")
        # Several, where rows are copies: of one and the same two executions.
        numbers: dict[tuple[Any, Any], list[int]] = {}
        for number, rows in enumerate(self.rows):
            numbers.setdefault(self._executions(*rows), []).append(number)
        strange = sum((line["execution_id_a"], line["execution_id_b"]) not in numbers for line in lines)
        strange += sum(line["winner"] not in WINNERS for line in lines)
        if strange:
            msg = (
                f"judged= holds {strange} of {len(lines)} judgements that match no pair of a and b: were a and b "
                f"passed in this order, and paired by the same columns?"
            )
            raise ColumnError(msg)
        for line in lines:
            copies = numbers[line["execution_id_a"], line["execution_id_b"]]
            copies.append(number := copies.pop(0))
            self.a_is_left[number] = line["left"] == A
            self.judged[number] = Judgement(line["winner"], str(line["blind"]) != "False")

    def _executions(self, row_a: int, row_b: int) -> tuple[str | None, str | None]:
        return self.a.results.execution_id[row_a], self.b.results.execution_id[row_b]


def _table(lines: list[dict[str, Any]], names: list[str]) -> pd.DataFrame:
    table: pd.DataFrame = pd.DataFrame(lines, columns=names)
    return table


def _by(a: PairSide, b: PairSide, by: Sequence[Hashable] | None) -> list[Hashable]:
    """Return the columns that pair the rows.

    Raises
    ------
    ColumnError
        Nobody says which; or one is not in both frames, is a result's, or has the name of a column of the pairs'.
    """
    if by is None:
        other = attrs.axes(b.frame)
        by = [axis for axis in attrs.axes(a.frame) if axis in other] or _by_index(a, b)
    if not by:
        common = [label for label in a.frame.columns if label in b.frame.columns and label not in a.own | b.own]
        said = f"both have {common[:8]!r}" if common else "they have no column in common"
        msg = f"by= must name the columns that identify the matching rows of a and b: {said}"
        raise ColumnError(msg)
    chosen = list(by)
    for label in chosen:
        a.place(label), b.place(label)
        if label in a.own | b.own or name_of(label) in OWN or chosen.count(label) > 1:
            msg = f"by= names {label!r}, which is a column of the result or of the pairs, or is named twice"
            raise ColumnError(msg)
    return chosen


def _by_index(a: PairSide, b: PairSide) -> list[Hashable]:
    """Make columns of the index, if both have the same labels, and return them; none otherwise.

    Raises
    ------
    ColumnError
        The labels are only numbers of rows, and the rows are in another order.
    """
    one, other = a.frame.index, b.frame.index
    is_unique = one.is_unique and other.is_unique and len(one) == len(other)
    if not (one.equals(other) or (one.nlevels == other.nlevels and is_unique and bool(one.isin(other).all()))):
        return []
    if _is_numbering(one) and (column := _reordered(a, b)) is not None:
        msg = (
            f"by= must name the columns that identify the matching rows of a and b: both are numbered from 0, but "
            f"the values of column {column!r} are in another order"
        )
        raise ColumnError(msg)
    taken = {name_of(label) for label in (*a.frame.columns, *b.frame.columns)}
    names: list[Hashable] = []
    for level, named in enumerate(one.names):
        name = str(named) if named is not None else "index" if one.nlevels == 1 else f"level_{level}"
        while name in taken:
            name += "_"
        taken.add(name)
        for side in (a, b):
            values = side.frame.index.get_level_values(level)
            side.frame.insert(side.frame.shape[1], columns.label(side.frame, name, ""), values)
        names.append(name)
    return names


def _is_numbering(index: pd.Index[Any]) -> bool:
    return isinstance(index, pd.RangeIndex) and index.name is None and (index.start, index.step) == (0, 1)


def _reordered(a: PairSide, b: PairSide) -> Hashable | None:
    """Return a column that holds the same values in both, but in another order; None where there is none."""
    for label in a.frame.columns:
        if label in a.own | b.own or list(b.frame.columns).count(label) != 1 or list(a.frame.columns).count(label) != 1:
            continue
        mine, theirs = (side.keys([label]) for side in (a, b))
        if mine != theirs and Counter(mine) == Counter(theirs):
            return label
    return None


def _key(cell: object) -> Hashable:
    """Return what a cell is paired by: equal numbers are equal, missing values too, a list or a dict is its JSON."""
    try:
        value = clean(cell)
    except RefusedValueError:
        return str(cell)
    if value is MISSING:
        return None
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def _listed(labels: Sequence[Hashable]) -> str:
    return ", ".join(map(repr, labels))


def said(left_out: Sequence[tuple[int, str, str]]) -> str:
    """Say what is left out in one sentence; nothing where nothing is."""
    parts = (f"{number:,} {noun}{'' if number == 1 else 's'} {why}" for number, noun, why in left_out if number)
    return "; ".join(parts)
