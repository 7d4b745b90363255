"""``compare``: pairs the rows of two results for blind judgement, and stores the judgements in a file.

What is sent to the browser for a pair does not identify the results: it has no row, label, input, execution, time or
cost.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from ...errors import ConfigurationError, FrameTypeError
from ...frames.unsupported import refusal
from ...models import COMPLETED, Outcome
from ..common.card import Card, card
from ..common.html_page import whole
from .pairs import Pairs, PairSide, said
from .win_rate import Judgement

if TYPE_CHECKING:
    from .comparison_widget import Comparison, Pair

logger = logging.getLogger("eachlabs_frames")

_TEXTS: Final = ("execution_id_a", "execution_id_b", "left", "winner")


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

    A row of `a` is paired with a row of `b` that has the same values in the columns `by`. If several rows have the same
    values, they are paired in order. Rows without a partner, pairs without two completed outputs, and pairs that show
    the same execution twice are left out; the widget says how many. The order of the pairs is random. Half of them,
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
    from .comparison_widget import Comparison  # takes 0.2 s to import, and is only for those who look

    for frame in (a, b):
        if not isinstance(frame, pd.DataFrame):
            raise FrameTypeError(refusal(frame))
    checked, sure = _checked(names), check_confidence(confidence)
    pairs = Pairs(a, b, _chosen(by, a), _generator(random_state))
    return Comparison(ComparisonSource(pairs, names=checked, judged=judged), confidence=sure)


class ComparisonSource:
    """The pairs of two results, as they are shown: places count them in the order that was drawn.

    Attributes
    ----------
    names : (str, str)
    left_out : str
        What is not judged, and why; empty where all is.
    problem : str or None
        Why judgements are not in their file, in a sentence.
    """

    def __init__(
        self,
        pairs: Pairs,
        *,
        names: tuple[str, str],
        judged: pd.DataFrame | str | os.PathLike[str] | None,
    ) -> None:
        self._pairs = pairs
        self.names: Final = names
        left_out = said(pairs.left_out)
        self.left_out: Final = f"Not compared: {left_out}" if left_out else ""
        self.problem: str | None = None
        self._file = None if judged is None or isinstance(judged, pd.DataFrame) else Path(judged)
        before = judged if isinstance(judged, pd.DataFrame) else _read(self._file)
        if before is not None:
            pairs.take(before)

    @property
    def frame(self) -> pd.DataFrame:
        """A new frame with a line per pair."""
        return self._pairs.frame

    @property
    def size(self) -> int:
        """How many pairs there are."""
        return len(self._pairs.order)

    def judged(self) -> Mapping[int, Judgement]:
        """Return what was judged before, by place."""
        held = ((place, self._pairs.judged.get(number)) for place, number in enumerate(self._pairs.order))
        return {place: judged for place, judged in held if judged is not None}

    def a_is_left(self, place: int) -> bool:
        """Say which of the two stands on the left."""
        return self._pairs.a_is_left[self._pairs.order[place]]

    def pair(self, place: int) -> Pair:
        """Return what is to be seen, of which nothing says whose it is."""
        left, right = (self._nameless(place, side) for side in (0, 1))
        return {"by": self._pairs.texts(self._pairs.order[place]), "left": left, "right": right}

    def judge(self, place: int, judged: Judgement | None) -> None:
        """Keep a judgement, or that there is none any more; in the file too, where there is one."""
        number = self._pairs.order[place]
        if judged is None:
            self._pairs.judged.pop(number, None)
        else:
            self._pairs.judged[number] = judged
        if self._file is not None:
            self.problem = _write(self._pairs.frame, self._file)

    def shares(self, confidence: float) -> list[dict[str, Any]]:
        """Return both sides' counts and shares."""
        return self._pairs.shares(self.names, confidence)

    def summary(self, by: Hashable | None, confidence: float) -> pd.DataFrame:
        """Return each side's share of wins as a frame."""
        return self._pairs.summary(by, self.names, check_confidence(confidence))

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of what was downloaded of an output, in the order of its URLs; `row` is a card's."""
        if not 0 <= row < 2 * self.size:
            return ()
        whose, its_row = self._whose(row // 2, row % 2)
        return whose.files(its_row)

    @property
    def rows(self) -> Sequence[int]:
        """The rows of all cards, in the order in which they are shown."""
        return range(2 * self.size)

    def _whose(self, place: int, side: int) -> tuple[PairSide, int]:
        """Return of which of the two results the left (0) or the right (1) one is, and its row there."""
        number = self._pairs.order[place]
        which = side if self._pairs.a_is_left[number] else 1 - side
        return (self._pairs.a, self._pairs.b)[which], self._pairs.rows[number][which]

    def _nameless(self, place: int, side: int) -> Card:
        whose, row = self._whose(place, side)
        bare = Outcome(2 * place + side, COMPLETED, output=whose.results.output[row])
        return card(bare, label="", sent={}, files=whose.files(row))


def _chosen(by: object, a: pd.DataFrame) -> list[Hashable] | None:
    """Return the labels that a user has written: a tuple is one where the frame has such a column."""
    if by is None:
        return None
    several = isinstance(by, list | pd.Index) or (isinstance(by, tuple) and by not in a.columns)
    return list(by) if several else [by]  # type: ignore[call-overload]  # it has items


def check_confidence(confidence: object) -> float:
    """Return a confidence level.

    Raises
    ------
    ConfigurationError
        It is not between 0 and 1.
    """
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
        msg = f"confidence must be between 0 and 1, such as 0.95; got {confidence!r}"
        raise ConfigurationError(msg)
    return float(confidence)


def _checked(names: Any) -> tuple[str, str]:
    fit = isinstance(names, tuple | list) and len(names) == 2 and all(isinstance(name, str) and name for name in names)
    if not fit or names[0] == names[1]:
        msg = f"names must be two different names, such as ('before', 'after'); got {names!r}"
        raise ConfigurationError(msg)
    return names[0], names[1]


def _generator(random_state: Any) -> np.random.Generator:
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as exc:
        msg = f"random_state must be a whole number, 0 or more, or a numpy.random.Generator; got {random_state!r}"
        raise ConfigurationError(msg) from exc


def _read(path: Path | None) -> pd.DataFrame | None:
    """Return what a file holds; None where there is none.

    Raises
    ------
    ConfigurationError
        It is no CSV file, or lies in no folder that is there.
    """
    if path is None:
        return None
    if not path.exists() and path.parent.is_dir():
        return None
    try:
        # Never packed, whatever it is called: it is written beside under another name, from which none could tell.
        held: pd.DataFrame = pd.read_csv(path, compression=None, dtype=dict.fromkeys(_TEXTS, "string"))
    except (OSError, ValueError) as exc:
        msg = f"judged={str(path)!r} cannot be read as a CSV file of judgements: {exc}"
        raise ConfigurationError(msg) from exc
    return held


def _write(frame: pd.DataFrame, path: Path) -> str | None:
    """Write judgements, whole or not at all; return why that was not possible, in a sentence."""
    try:
        with whole(path) as written:
            frame.to_csv(written, index=False, compression=None)
    except (OSError, ValueError, ConfigurationError) as exc:  # a text may be what no UTF-8 can hold
        logger.warning("the judgements could not be written: %s", exc)
        return f"judgements could not be written to {path.name}, but are kept in .frame of this widget ({exc})"
    return None
