"""``Comparison``: a widget to choose the better of two results, pair by pair, blind. Owns what is sent, and when.

Until the reveal, nothing that is sent to the browser identifies the result that an output belongs to: no name, label,
input, execution, row, time or cost.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import isnan
from typing import Any, Final, Protocol, TypedDict

from ..common import assets
from ..common import static_summary as summary
from ..common.card import Card
from ..common.local_files import ViewFiles
from .stepper import ReviewWidget
from .win_rate import TIE, A, B, Judgement

LEFT: Final = "l"
RIGHT: Final = "r"
EVEN: Final = "t"


class Pair(TypedDict):
    """Two results beside each other."""

    by: list[tuple[str, str]]  # what they are paired by: each column's name, and its value
    left: Card
    right: Card


class ComparisonData(Protocol):
    """What is compared, and what keeps the judgements. Places count the pairs as they are shown."""

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called."""

    @property
    def left_out(self) -> str:
        """What is not judged, and why; empty where all is."""

    @property
    def frame(self) -> Any:
        """A new frame with a line per pair."""

    @property
    def problem(self) -> str | None:
        """Why judgements are not in their file, in a sentence."""

    @property
    def size(self) -> int:
        """How many pairs there are."""

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of a row's downloaded files, in the order of the URLs in its output."""

    @property
    def rows(self) -> Sequence[int]:
        """The rows of all cards, in the order in which they are shown."""

    def judged(self) -> Mapping[int, Judgement]:
        """Return what was judged before, by place."""

    def a_is_left(self, place: int) -> bool:
        """Say which of the two stands on the left."""

    def pair(self, place: int) -> Pair:
        """Return what is to be seen, of which nothing says whose it is."""

    def judge(self, place: int, judged: Judgement | None) -> None:
        """Keep a judgement, or that there is none any more."""

    def shares(self, confidence: float) -> list[dict[str, Any]]:
        """Return both sides' counts and shares, as `summary` does."""

    def summary(self, by: Hashable | None, confidence: float) -> Any:
        """Return each side's share of wins as a frame."""


class Comparison(ReviewWidget[Judgement]):
    """A widget to choose the better of two results, pair by pair, returned by `compare`.

    It is blind until all pairs are judged, or until you reveal the result.

    Keys while it has the focus: the left arrow (1, A) and the right arrow (2, B) choose a side and move to the next
    pair; T (=, space) is a tie; S skips the pair; U, Backspace and Ctrl+Z undo, repeatedly; 0 and Delete clear the
    judgement; N moves to the next pair without a judgement; Page Up, Page Down, Home and End move; Escape returns the
    focus to the notebook. It takes the focus if its cell is run alone. Without widgets it is a table of the win rates,
    or a sentence while it is blind.
    """

    # Texts, because anywidget watches a path for changes and so keeps each widget alive for ever.
    _esm = assets.script("comparison")
    _css = assets.style("comparison")

    def __init__(self, source: ComparisonData, *, confidence: float) -> None:
        self._source = source
        self._confidence = confidence
        self._is_revealed = False
        super().__init__(source.size, source.judged())
        self._files = ViewFiles(source.files, source.rows)
        self._files.serve(self)

    @property
    def frame(self) -> Any:
        """The judgements as a new pandas.DataFrame, with one row per pair in the order of ``a``.

        Its columns are those of ``by``; ``execution_id_a`` and ``execution_id_b`` (string); ``left`` (string: "a" or
        "b", the result on the left); ``winner`` (string: "a", "b" or "tie"; missing if not judged); and ``blind``
        (boolean: whether it was judged before the reveal; missing if not judged). Pass it to ``compare(..., judged=)``
        to continue.
        """
        with self._lock:
            return self._source.frame

    def summary(self, by: Hashable | None = None, *, confidence: float | None = None) -> Any:
        """Return the win rate of each side.

        Parameters
        ----------
        by : label, optional
            One of the columns that pair the rows, to return the win rates for each of its values.
        confidence : float, optional
            Confidence level of the interval; that of the comparison by default.

        Returns
        -------
        pandas.DataFrame
            One row per side (with `by`, per value and side): the column of `by`, if given, ``name``, ``wins``,
            ``losses``, ``ties``, ``judged`` (int64), ``win_rate``, ``low`` and ``high`` (float64; NaN if no pair was
            judged).

            The win rate is (wins + ties / 2) / judged. ``low`` and ``high`` are its Wilson score interval (E. B.
            Wilson, J. Am. Stat. Assoc. 22, 1927, 209-212): with the win rate p, n judged pairs, and z the normal
            quantile of (1 + confidence) / 2, they are (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n). A tie counts
            as half a win, which reduces the variance, so with ties the interval is conservative.

        Raises
        ------
        ColumnError
            `by` is not one of the columns that pair the rows.
        ConfigurationError
            `confidence` is not between 0 and 1.
        """
        with self._lock:
            return self._source.summary(by, self._confidence if confidence is None else confidence)

    def __repr__(self) -> str:
        judged, size = len(self._history.marks), self._history.size
        note = self._source.left_out
        left_out = f"; {note[0].lower()}{note[1:]}" if note else ""
        return f"<Comparison: {judged:,} of {size:,} pairs judged{'' if self._is_open() else ', blind'}{left_out}>"

    def _html(self) -> str:
        names = ["name", "wins", "losses", "ties", "judged", "win_rate", "low", "high"]
        shares = self._source.shares(self._confidence) if self._is_open() else []
        cells = [[_cell(share[name]) for name in names] for share in shares]
        said = repr(self).strip("<>")
        if not cells:
            return f'<p dir="auto">{summary.escaped(said)}</p>'
        return summary.table(said, names, cells, numbers=range(1, len(names)))

    def _is_open(self) -> bool:
        """Say whether it may be told which is which; once all is judged it may for ever."""
        self._is_revealed = self._is_revealed or (self._history.is_done and self._history.size > 0)
        return self._is_revealed

    # -- hooks of ReviewWidget ---------------------------------------------------------------------------------------

    def _read(self, place: int, mark: object) -> Judgement | None:
        if mark not in (LEFT, RIGHT, EVEN):
            return None
        winner = TIE if mark == EVEN else A if (mark == LEFT) == self._source.a_is_left(place) else B
        return Judgement(winner, not self._is_revealed)

    def _written(self, place: int, mark: Judgement) -> str:
        if mark.winner == TIE:
            return EVEN
        return LEFT if (mark.winner == A) == self._source.a_is_left(place) else RIGHT

    def _thing(self, place: int) -> Pair:
        return self._source.pair(place)

    def _more(self) -> dict[str, Any]:
        revealed = self._revealed() if self._is_open() else None
        return {"left_out": self._source.left_out, "revealed": revealed}

    def _revealed(self) -> dict[str, Any]:
        sides = (self._source.a_is_left(place) for place in range(self._history.size))
        return {
            "names": self._source.names,
            "a_is_left": "".join("1" if left else "0" for left in sides),
            "shares": [_without_nan(share) for share in self._source.shares(self._confidence)],
            "confidence": f"{100 * self._confidence:g}%",
            "seeing": sum(not judged.blind for judged in self._history.marks.values()),
        }

    def _marked(self, place: int) -> None:
        self._source.judge(place, self._history.marks.get(place))

    def _do(self, request: Mapping[str, Any]) -> None:
        if request.get("kind") == "reveal":
            self._is_revealed = True

    @property
    def _problem(self) -> str | None:
        return self._source.problem


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _without_nan(share: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold: None where nothing was judged."""
    return {name: None if isinstance(value, float) and isnan(value) else value for name, value in share.items()}
