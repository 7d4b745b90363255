"""``compare``: pairs the rows of two results for blind judgement, and stores the judgements in a file.

Owns the pairs, the side on which each result is shown, and the frames of judgements and win rates. What is sent to the
browser for a pair does not identify the results: it has no row, label, input, execution, time or cost. Nothing is left
out without being counted.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from ...errors import ColumnError, ConfigurationError, FrameTypeError
from ...frames import attrs, columns, lost_attrs
from ...frames.unsupported import refusal
from ...models import COMPLETED, Outcome
from ...suggestions import did_you_mean, hint
from ..common.card import Card, card
from ..common.html_page import atomic
from ..common.input_files import InputFiles, as_labels
from ..common.source import name_of
from . import model
from .model import A, B, Judgement

if TYPE_CHECKING:
    from .widget import Comparison

logger = logging.getLogger("eachlabs_frames")

COLUMNS: Final = ("execution_id_a", "execution_id_b", "left", "winner", "blind")
"""The columns of ``Comparison.frame`` after those that pair the rows."""


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    by: Hashable | Sequence[Hashable] | None = None,
    *,
    names: tuple[str, str] = ("A", "B"),
    judged: pd.DataFrame | str | os.PathLike[str] | None = None,
    confidence: float = 0.95,
    random_state: int | np.random.Generator | None = None,
) -> Comparison:
    """Show two results pair by pair, side by side, to choose the better one blind.

    A row of `a` is paired with a row of `b` that has the same values in the columns `by`; rows with the same values are
    paired in order. Rows without a partner, pairs without two completed outputs, and pairs that show the same execution
    twice are left out; the widget says how many. The order of the pairs is random. Half of them,
    chosen at random, show `a` on the left. Until the result is revealed, the page contains nothing that identifies `a`
    and `b` except the outputs themselves. The URL of an output that was not downloaded is not displayed, but it is in
    the page's source.

    Parameters
    ----------
    a, b : pandas.DataFrame
        Results with outputs. They are copied and never modified.
    by : label or list of labels, optional
        Columns of both frames that identify matching rows; by default the axes that the sweeps of both frames share,
        else the index, if both have the same labels.
    names : (str, str), default ("A", "B")
        Names of `a` and `b`, shown in the summary and after the reveal.
    judged : pandas.DataFrame or path, optional
        Continue earlier judgements: the ``frame`` of an earlier comparison of the same results, or the path of a CSV
        file. The file is read if it exists, and written after each judgement, so a kernel restart loses none.
    confidence : float, default 0.95
        Confidence level of the interval around the win rates, between 0 and 1.
    random_state : int or numpy.random.Generator, optional
        Makes the order and the sides reproducible.

    Returns
    -------
    Comparison
        An ipywidget. ``comparison.frame`` has one row per pair, ``comparison.summary()`` the win rates.

    Raises
    ------
    FrameTypeError
        `a` or `b` is not a pandas DataFrame.
    ColumnError
        A frame holds no result; a column of `by` cannot be used, or `by` is required (the message lists the columns
        that both frames have); or `judged` belongs to other pairs.
    ConfigurationError
        `names`, `confidence` or `random_state` is invalid, or the file cannot be read.

    Examples
    --------
    >>> import pandas as pd, eachlabs_frames as ef
    >>> df = pd.DataFrame({"prompt": ["a fox", "a heron"]})
    >>> with ef.sandbox.start():
    ...     a = df.eachlabs.bulk_trigger("wf_abc123", run="before", wait=True)
    ...     b = df.eachlabs.bulk_trigger("wf_abc123", run="after", wait=True)
    >>> ef.compare(a, b)
    <Comparison: 0 of 2 pairs judged, blind>
    """
    from .widget import Comparison  # its import takes 0.2 s

    for frame in (a, b):
        if not isinstance(frame, pd.DataFrame):
            raise FrameTypeError(refusal(frame))
    names, confidence = model.check_names(names), model.check_confidence(confidence)
    pairs = ComparisonSource(a, b, _labels(by, a), names, model.random_generator(random_state))
    pairs.load(judged)
    return Comparison(pairs, confidence=confidence)


class ComparedResult:
    """One of the two results."""

    def __init__(self, frame: pd.DataFrame) -> None:
        prefix = lost_attrs.prefix_of(frame, None)
        columns.require_result(frame, prefix)
        columns.check_attrs(frame)
        self.frame: Final = columns.snapshot(frame)
        self.result_columns: Final = columns.labels(frame, prefix)
        self.results: Final = columns.read(frame, prefix)
        self._files = attrs.paths(self.frame, prefix)

    def has_output(self, row: int) -> bool:
        """Return whether a row has a completed output."""
        return self.results.status[row] == COMPLETED and self.results.output[row] is not None

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of a row's downloaded files, in the order of the URLs in its output."""
        return () if self._files is None else attrs.paths_in(self._files.iloc[row])

    def column(self, label: Hashable) -> pd.Series[Any]:
        """Return a column, or raise `ColumnError` if there is none of this name, or two."""
        full_label = columns.label(self.frame, label, "") if isinstance(label, str) else label
        places = [place for place, existing in enumerate(self.frame.columns) if existing == full_label]
        if len(places) != 1:
            how = "two columns" if places else f"no column{hint(label, self.frame.columns)}"
            msg = f"by= names {label!r}, of which one of the two frames has {how}"
            raise ColumnError(msg)
        column: pd.Series[Any] = self.frame.iloc[:, places[0]]
        return column

    def labels(self, label: Hashable, rows: Sequence[int]) -> pd.Series[Any]:
        """Return the cells of a column in these rows, with names for the files in memory."""
        cells = self.column(label).iloc[list(rows)].reset_index(drop=True)
        return pd.Series(as_labels(cells.tolist()), dtype=object) if cells.dtype == object else cells

    def keys(self, by: Sequence[Hashable]) -> list[Hashable]:
        """Return the key of each row."""
        cells = [self.column(label).tolist() for label in by]
        return (
            [tuple(map(model.pair_key, row)) for row in zip(*cells, strict=True)] if cells else [()] * len(self.frame)
        )


class ComparisonSource:
    """The pairs that can be judged, and their judgements.

    Pairs are numbered in the order of `a`; a place is the number of a pair in the random order of display.

    Parameters
    ----------
    a, b : pandas.DataFrame
        Results.
    by : sequence of labels, or None
        Columns of both that pair their rows. None: the axes of the sweep that both come from, else the index.
    names : (str, str)
    random : numpy.random.Generator
        Draws the sides and the order of display.

    Attributes
    ----------
    rows_of_pairs : list of (int, int)
        Each pair's positions in `a` and in `b`.
    is_a_left : list of bool
        Whether a pair shows `a` on the left; half of them do.
    order : list of int
        The pairs in the order of display.
    judgements : dict of int to Judgement
        By pair.
    left_out_counts : list of (int, str)
        Numbers of rows or pairs that are not judged, and the reason.
    left_out : str
        The same as a sentence; empty if there is none.
    problem : str or None
        Why judgements are not in their file, as a sentence.
    """

    def __init__(
        self,
        a: pd.DataFrame,
        b: pd.DataFrame,
        by: Sequence[Hashable] | None,
        names: tuple[str, str],
        random: np.random.Generator,
    ) -> None:
        self.names: Final = names
        self.input_files: Final = InputFiles()
        self.a, self.b = ComparedResult(a), ComparedResult(b)
        self.by: Final = _pairing_columns(self.a, self.b, by)
        pairs, only_a, only_b = model.pair(self.a.keys(self.by), self.b.keys(self.by))
        complete = [(i, j) for i, j in pairs if self.a.has_output(i) and self.b.has_output(j)]
        self.rows_of_pairs: Final = [(i, j) for i, j in complete if len({*self._execution_ids(i, j)}) == 2]
        self.left_out_counts: Final = [
            (len(only_a), "row{s} of a without a partner"),
            (len(only_b), "row{s} of b without a partner"),
            (len(pairs) - len(complete), "pair{s} without a completed output on one side"),
            (len(complete) - len(self.rows_of_pairs), "pair{s} with the same execution on both sides"),
        ]
        reasons = [f"{n:,} {why.format(s='' if n == 1 else 's')}" for n, why in self.left_out_counts if n]
        self.left_out: Final = f"Not compared: {'; '.join(reasons)}" if reasons else ""
        sides = np.arange(len(self.rows_of_pairs)) % 2 == random.integers(2)
        random.shuffle(sides)
        self.is_a_left: Final[list[bool]] = sides.tolist()
        self.order: Final[list[int]] = random.permutation(len(self.rows_of_pairs)).tolist()
        self.judgements: Final[dict[int, Judgement]] = {}
        self.problem: str | None = None
        self._path: Path | None = None

    # -- what the widget needs ---------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Number of pairs."""
        return len(self.order)

    @property
    def rows(self) -> Sequence[int]:
        """The rows of all cards, in display order."""
        return range(2 * self.size)

    def marks(self) -> Mapping[int, Judgement]:
        """Return the judgements, by place."""
        places = ((place, self.judgements.get(number)) for place, number in enumerate(self.order))
        return {place: judgement for place, judgement in places if judgement is not None}

    def a_is_left(self, place: int) -> bool:
        """Return whether `a` is on the left."""
        return self.is_a_left[self.order[place]]

    def item(self, place: int) -> dict[str, Any]:
        """Return the pair at a place as JSON: ``by`` (names and values of the columns), and two cards."""
        row = self.rows_of_pairs[self.order[place]][0]
        by = [(name_of(label), model.cell_text(self.a.column(label).iloc[row])) for label in self.by]
        return {"by": by, "left": self._anonymous_card(place, 0), "right": self._anonymous_card(place, 1)}

    def store(self, place: int, judgement: Judgement | None) -> None:
        """Store the judgement of a place, or remove it; in the file too, if there is one."""
        if judgement is None:
            self.judgements.pop(self.order[place], None)
        else:
            self.judgements[self.order[place]] = judgement
        if self._path is not None:
            self.problem = _write(self.frame, self._path)

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of a card's downloaded files, in the order of the URLs in its output."""
        if not 0 <= row < 2 * self.size:
            return ()
        result, result_row = self._result(row // 2, row % 2)
        return result.files(result_row)

    def _result(self, place: int, side: int) -> tuple[ComparedResult, int]:
        """Return the result on the left (0) or the right (1), and its row."""
        number = self.order[place]
        which = side if self.is_a_left[number] else 1 - side
        return (self.a, self.b)[which], self.rows_of_pairs[number][which]

    def _anonymous_card(self, place: int, side: int) -> Card:
        result, row = self._result(place, side)
        outcome = Outcome(2 * place + side, COMPLETED, output=result.results.output[row])
        return card(outcome, label="", sent={}, files=result.files(row))

    # -- frames ------------------------------------------------------------------------------------------------------

    @property
    def frame(self) -> pd.DataFrame:
        """A new frame with a row per pair."""
        rows = [row for row, _ in self.rows_of_pairs]
        # As a Series: pandas would infer another dtype from an array of texts.
        data: dict[Hashable, Any] = {name_of(label): self.a.labels(label, rows) for label in self.by}
        executions = [self._execution_ids(*pair) for pair in self.rows_of_pairs]
        judgements = [self.judgements.get(number) for number in range(self.size)]
        texts: dict[str, list[str | None]] = {
            "execution_id_a": [a for a, _ in executions],
            "execution_id_b": [b for _, b in executions],
            "left": [A if left else B for left in self.is_a_left],
            "winner": [judgement and judgement.winner for judgement in judgements],
        }
        for name, values in texts.items():
            data[name] = pd.array(values, dtype="string")
        data["blind"] = pd.array([judgement and judgement.blind for judgement in judgements], dtype="boolean")
        frame: pd.DataFrame = pd.DataFrame(data)
        return frame

    def win_rates(self, confidence: float, numbers: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Return the row of ``summary`` for each of the two results, over all pairs or those of `numbers`."""
        chosen = range(self.size) if numbers is None else numbers
        winners = [self.judgements[number].winner for number in chosen if number in self.judgements]
        return [
            {"name": name} | model.win_rate(winners, side, confidence)
            for name, side in zip(self.names, (A, B), strict=True)
        ]

    def summary(self, by: Hashable | None, confidence: float) -> pd.DataFrame:
        """Return the win rates: over all pairs, or for each value of a column that pairs the rows."""
        confidence = model.check_confidence(confidence)
        if by is None:
            summary: pd.DataFrame = pd.DataFrame(self.win_rates(confidence), columns=[*model.SUMMARY_COLUMNS])
            return summary
        if by not in self.by:
            near = did_you_mean(by, self.by)
            msg = f"by={by!r} is not one of the columns that the rows are paired by: {model.listed(self.by)}{near}"
            raise ColumnError(msg)
        cells = self.a.labels(by, [row for row, _ in self.rows_of_pairs]).tolist()
        groups: dict[Hashable, list[int]] = {}
        for number, cell in enumerate(cells):
            groups.setdefault(model.pair_key(cell), []).append(number)
        lines = [
            {name_of(by): cells[numbers[0]], **line}
            for numbers in groups.values()
            for line in self.win_rates(confidence, numbers)
        ]
        grouped: pd.DataFrame = pd.DataFrame(lines, columns=[name_of(by), *model.SUMMARY_COLUMNS])
        return grouped

    def load(self, judged: pd.DataFrame | str | os.PathLike[str] | None) -> None:
        """Continue earlier judgements, with the sides that were shown; a path is written to from now on."""
        if judged is not None and not isinstance(judged, pd.DataFrame):
            self._path = Path(judged)
            judged = _read(self._path)
        if judged is None:
            return
        missing = [name for name in COLUMNS if name not in judged.columns]
        if missing:
            msg = f"judged= is not the .frame of a comparison: it has no column {model.listed(missing)}"
            raise ColumnError(msg)
        lines = judged.loc[judged["winner"].notna(), list(COLUMNS)].astype(object).to_dict("records")
        for number, a_is_left, judgement in model.match_judgements(
            lines, [self._execution_ids(*r) for r in self.rows_of_pairs]
        ):
            self.is_a_left[number] = a_is_left
            self.judgements[number] = judgement

    def _execution_ids(self, row_a: int, row_b: int) -> tuple[str | None, str | None]:
        return self.a.results.execution_id[row_a], self.b.results.execution_id[row_b]


# -- columns that pair the rows ---------------------------------------------------------------------------------------


def _labels(by: object, a: pd.DataFrame) -> list[Hashable] | None:
    """Return the argument ``by`` as a list; a tuple is one label if the frame has such a column."""
    if by is None:
        return None
    if isinstance(by, tuple) and by in a.columns:
        return [by]
    return list(by) if isinstance(by, list | tuple | pd.Index) else [by]


def _pairing_columns(a: ComparedResult, b: ComparedResult, by: Sequence[Hashable] | None) -> list[Hashable]:
    """Return the columns that pair the rows.

    Raises `ColumnError` if they cannot be inferred, or if one is not in both frames, belongs to a result, or has the
    name of a column of the pairs.
    """
    result_columns = a.result_columns | b.result_columns
    if by is None:
        axes = attrs.axes(b.frame)
        by = [axis for axis in attrs.axes(a.frame) if axis in axes] or _index_columns(a, b)
    if not by:
        common = [label for label in a.frame.columns if label in b.frame.columns and label not in result_columns]
        which = f"both have {common[:8]!r}" if common else "they have no column in common"
        msg = f"by= must name the columns that identify the matching rows of a and b: {which}"
        raise ColumnError(msg)
    for label in by:
        a.column(label), b.column(label)
        if label in result_columns or name_of(label) in COLUMNS or by.count(label) > 1:
            msg = f"by= names {label!r}, which is a column of the result or of the pairs, or is named twice"
            raise ColumnError(msg)
    return list(by)


def _index_columns(a: ComparedResult, b: ComparedResult) -> list[Hashable]:
    """Make columns of the index if both have the same labels, and return them; none otherwise.

    Raises `ColumnError` if the labels are only row numbers, and the rows are in another order.
    """
    index, other = a.frame.index, b.frame.index
    is_unique = index.is_unique and other.is_unique and len(index) == len(other)
    if not (index.equals(other) or (index.nlevels == other.nlevels and is_unique and bool(index.isin(other).all()))):
        return []
    is_numbering = isinstance(index, pd.RangeIndex) and index.name is None and (index.start, index.step) == (0, 1)
    if is_numbering and (column := _reordered(a, b)) is not None:
        msg = (
            f"by= must name the columns that identify the matching rows of a and b: both are numbered from 0, but "
            f"the values of column {column!r} are in another order"
        )
        raise ColumnError(msg)
    taken = {name_of(label) for label in (*a.frame.columns, *b.frame.columns)}
    names: list[Hashable] = []
    for level, level_name in enumerate(index.names):
        name = str(level_name) if level_name is not None else "index" if index.nlevels == 1 else f"level_{level}"
        while name in taken:
            name += "_"
        taken.add(name)
        for side in (a, b):
            values = side.frame.index.get_level_values(level)
            side.frame.insert(side.frame.shape[1], columns.label(side.frame, name, ""), values)
        names.append(name)
    return names


def _reordered(a: ComparedResult, b: ComparedResult) -> Hashable | None:
    """Return a column that holds the same values in both, but in another order; None if there is none."""
    labels = [list(side.frame.columns) for side in (a, b)]
    for label in labels[0]:
        if label not in a.result_columns | b.result_columns and [one.count(label) for one in labels] == [1, 1]:
            keys_a, keys_b = (side.keys([label]) for side in (a, b))
            if keys_a != keys_b and Counter(keys_a) == Counter(keys_b):
                return label
    return None


# -- the file of judgements -------------------------------------------------------------------------------------------


def _read(path: Path) -> pd.DataFrame | None:
    """Return the judgements in a file; None if it does not exist."""
    if not path.exists() and path.parent.is_dir():
        return None
    try:
        # Never compressed, whatever its suffix: it is written under a temporary name without that suffix.
        frame: pd.DataFrame = pd.read_csv(path, compression=None, dtype=dict.fromkeys(COLUMNS[:4], "string"))
    except (OSError, ValueError) as exc:
        msg = f"judged={str(path)!r} cannot be read as a CSV file of judgements: {exc}"
        raise ConfigurationError(msg) from exc
    return frame


def _write(frame: pd.DataFrame, path: Path) -> str | None:
    """Write judgements atomically; return why that was not possible, as a sentence."""
    try:
        with atomic(path) as written:
            frame.to_csv(written, index=False, compression=None)
    except (OSError, ValueError, ConfigurationError) as exc:  # ValueError: a text that UTF-8 cannot encode
        logger.warning("the judgements could not be written: %s", exc)
        return f"judgements could not be written to {path.name}, but are kept in .frame of this widget ({exc})"
    return None
