"""``Comparison``: of two results, pair by pair, the better one is chosen blind. Owns what may be told, and when.

Until it is revealed, nothing that goes to the browser says which of the two a result is of: no name, no label, no
input, no execution, no row, no time and no cost.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import isnan
from typing import Any, Final, Protocol, TypedDict

from ..core.preference import TIE, A, B, Judged
from . import assets, summary
from .cards import Card
from .served import Files, FileSubject
from .stepper import Stepper

LEFT: Final = "l"
RIGHT: Final = "r"
EVEN: Final = "t"


class Pair(TypedDict):
    """Two results beside each other."""

    by: list[tuple[str, str]]  # what they are paired by: each column's name, and its value
    left: Card
    right: Card


class Subject(FileSubject, Protocol):
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

    @property
    def rows(self) -> Sequence[int]:
        """The rows of all cards, in the order in which they are shown."""

    def judged(self) -> Mapping[int, Judged]:
        """Return what was judged before, by place."""

    def a_is_left(self, place: int) -> bool:
        """Say which of the two stands on the left."""

    def pair(self, place: int) -> Pair:
        """Return what is to be seen, of which nothing says whose it is."""

    def judge(self, place: int, judged: Judged | None) -> None:
        """Keep a judgement, or that there is none any more."""

    def shares(self, confidence: float) -> list[dict[str, Any]]:
        """Return both sides' counts and shares, as `summary` does."""

    def summary(self, by: Hashable | None, confidence: float) -> Any:
        """Return each side's share of wins as a frame."""


class Comparison(Stepper[Judged]):
    """Pairs of results, side by side, to choose the better one of; blind until all are judged, or it is revealed.

    Keys, while it has the focus: left (1, A) and right (2, B) choose that side and go on, T (=, space) is a tie, S
    skips the pair; U, Backspace and Ctrl+Z take the last step back, and each one before it; 0 and Delete take a
    judgement away; N goes to the next pair without one; page up and down, Home and End move; Escape gives the focus
    back to the notebook. It takes the focus when it is shown in a cell that was run by itself.
    """

    # As texts: of a path anywidget would hold each widget for ever, to tell it of changes of the file.
    _esm = assets.script("pieces", "files", "cards", "stepper", "comparison")
    _css = assets.style("pieces", "cards", "stepper")

    def __init__(self, subject: Subject, *, confidence: float) -> None:
        self._subject = subject
        self._confidence = confidence
        self._is_revealed = False
        super().__init__(subject.size, subject.judged())
        self._files = Files(self, subject, subject.rows)

    @property
    def frame(self) -> Any:
        """A new frame (pandas.DataFrame) with a line per pair, in the order of ``a``.

        The columns of ``by``; ``execution_id_a`` and ``execution_id_b`` (string); ``left``, which of the two stood on
        the left (string, "a" or "b"); ``winner`` ("a", "b" or "tie"; missing where it was not judged); and ``blind``
        (boolean), whether it was judged before the reveal. ``compare(..., judged=this)`` goes on from it.
        """
        with self._lock:
            return self._subject.frame

    def summary(self, by: Hashable | None = None, *, confidence: float | None = None) -> Any:
        """Return how often each side was preferred.

        Parameters
        ----------
        by : label, optional
            One of the columns that pair the rows: a line for each of its values and each side.
        confidence : float, optional
            Of the interval; that of the comparison by default.

        Returns
        -------
        pandas.DataFrame
            A line for each side: ``name`` (and the column of `by`), ``wins``, ``losses``, ``ties``, ``judged`` (int64),
            ``win_rate``, ``low`` and ``high`` (float64; NaN where nothing was judged).

            The win rate is (wins + ties / 2) / judged. ``low`` and ``high`` are the Wilson score interval around it (E.
            B. Wilson, J. Am. Stat. Assoc. 22, 1927, 209-212): with p the win rate, n judged and z the normal quantile
            of (1 + confidence) / 2, they are (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n). A tie as half a win
            varies less than a coin does, so with ties the interval is rather too wide.

        Raises
        ------
        ColumnError
            The rows are not paired by that column.
        ConfigurationError
            `confidence` is not between 0 and 1.
        """
        with self._lock:
            return self._subject.summary(by, self._confidence if confidence is None else confidence)

    def __repr__(self) -> str:
        judged, size = len(self._sitting.marks), self._sitting.size
        note = self._subject.left_out
        left_out = f"; {note[0].lower()}{note[1:]}" if note else ""
        return f"<Comparison: {judged:,} of {size:,} pairs judged{'' if self._is_open() else ', blind'}{left_out}>"

    def _html(self) -> str:
        names = ["name", "wins", "losses", "ties", "judged", "win_rate", "low", "high"]
        shares = self._subject.shares(self._confidence) if self._is_open() else []
        cells = [[_cell(share[name]) for name in names] for share in shares]
        said = repr(self).strip("<>")
        if not cells:
            return f'<p dir="auto">{summary.escaped(said)}</p>'
        return summary.table(said, names, cells, numbers=range(1, len(names)))

    def _is_open(self) -> bool:
        """Say whether it may be told which is which; once all is judged it may for ever."""
        self._is_revealed = self._is_revealed or (self._sitting.is_done and self._sitting.size > 0)
        return self._is_revealed

    # -- what a stepper asks ----------------------------------------------------------------------------------------

    def _read(self, place: int, mark: object) -> Judged | None:
        if mark not in (LEFT, RIGHT, EVEN):
            return None
        winner = TIE if mark == EVEN else A if (mark == LEFT) == self._subject.a_is_left(place) else B
        return Judged(winner, not self._is_revealed)

    def _written(self, place: int, mark: Judged) -> str:
        if mark.winner == TIE:
            return EVEN
        return LEFT if (mark.winner == A) == self._subject.a_is_left(place) else RIGHT

    def _thing(self, place: int) -> Pair:
        return self._subject.pair(place)

    def _more(self) -> dict[str, Any]:
        revealed = self._revealed() if self._is_open() else None
        return {"left_out": self._subject.left_out, "revealed": revealed}

    def _revealed(self) -> dict[str, Any]:
        sides = (self._subject.a_is_left(place) for place in range(self._sitting.size))
        return {
            "names": self._subject.names,
            "a_is_left": "".join("1" if left else "0" for left in sides),
            "shares": [_without_nan(share) for share in self._subject.shares(self._confidence)],
            "confidence": f"{100 * self._confidence:g}%",
            "seeing": sum(not judged.blind for judged in self._sitting.marks.values()),
        }

    def _marked(self, place: int) -> None:
        self._subject.judge(place, self._sitting.marks.get(place))

    def _do(self, asked: Mapping[str, Any]) -> None:
        if asked.get("kind") == "reveal":
            self._is_revealed = True

    @property
    def _problem(self) -> str | None:
        return self._subject.problem


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _without_nan(share: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold: None where nothing was judged."""
    return {name: None if isinstance(value, float) and isnan(value) else value for name, value in share.items()}
