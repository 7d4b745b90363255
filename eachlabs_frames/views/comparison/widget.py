"""``Comparison``: a widget to choose the better of two results, pair by pair, blind. Owns what is sent, and when.

Until the reveal, nothing that is sent to the browser identifies the result that an output belongs to: no name, label,
input, execution, row, time or cost.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import isnan
from typing import TYPE_CHECKING, Any, Final

from ..common import assets, static_html
from ..review.stepper import ReviewWidget
from .model import SUMMARY_COLUMNS, TIE, A, B, Judgement

if TYPE_CHECKING:
    from .source import ComparisonSource

LEFT: Final = "l"
RIGHT: Final = "r"
EVEN: Final = "t"


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

    _source: ComparisonSource

    def __init__(self, source: ComparisonSource, *, confidence: float) -> None:
        self._confidence = confidence
        self._is_revealed = False
        super().__init__(source)

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
        rates = self._source.win_rates(self._confidence) if self._is_open() else []
        cells = [[_cell(line[name]) for name in SUMMARY_COLUMNS] for line in rates]
        caption = repr(self).strip("<>")
        if not cells:
            return f'<p dir="auto">{static_html.escaped(caption)}</p>'
        return static_html.table(caption, [*SUMMARY_COLUMNS], cells, numbers=range(1, len(SUMMARY_COLUMNS)))

    def _is_open(self) -> bool:
        """Return whether the page may show which result is which; it stays so once all pairs are judged."""
        self._is_revealed = self._is_revealed or (self._history.is_done and self._history.size > 0)
        return self._is_revealed

    # -- hooks of ReviewWidget ---------------------------------------------------------------------------------------

    def _parse_mark(self, place: int, mark: object) -> Judgement | None:
        if mark not in (LEFT, RIGHT, EVEN):
            return None
        winner = TIE if mark == EVEN else A if (mark == LEFT) == self._source.a_is_left(place) else B
        return Judgement(winner, not self._is_revealed)

    def _format_mark(self, place: int, mark: Judgement) -> str:
        if mark.winner == TIE:
            return EVEN
        return LEFT if (mark.winner == A) == self._source.a_is_left(place) else RIGHT

    def _details(self) -> dict[str, Any]:
        revealed = self._revealed() if self._is_open() else None
        return {"left_out": self._source.left_out, "revealed": revealed}

    def _revealed(self) -> dict[str, Any]:
        sides = (self._source.a_is_left(place) for place in range(self._history.size))
        return {
            "names": self._source.names,
            "a_is_left": "".join("1" if left else "0" for left in sides),
            "win_rates": [_without_nan(line) for line in self._source.win_rates(self._confidence)],
            "confidence": f"{100 * self._confidence:g}%",
            "not_blind": sum(not judgement.blind for judgement in self._history.marks.values()),
        }

    def _on_other_request(self, request: Mapping[str, Any]) -> None:
        if request.get("kind") == "reveal":
            self._is_revealed = True


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _without_nan(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold: None for NaN."""
    return {name: None if isinstance(value, float) and isnan(value) else value for name, value in line.items()}
