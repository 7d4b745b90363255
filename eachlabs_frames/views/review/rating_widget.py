"""``Rating``: a widget to score results one by one. Owns the scale; its source stores the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from ..common import assets, static_summary
from ..common.card import Card
from ..common.local_files import ViewFiles
from .stepper import ReviewWidget

OTHER: Final = "x"
"""The mark of a score that is none of this scale: it was there before, and counts."""

MAX_LINES: Final = 200


class RatingData(Protocol):
    """What is rated, and what keeps the scores. Places count the rows that can be rated."""

    @property
    def column(self) -> str:
        """What the scores are called."""

    @property
    def left_out(self) -> str:
        """How many rows cannot be rated, and why; empty where there is none."""

    @property
    def frame(self) -> Any:
        """A new frame with the scores as they are."""

    @property
    def problem(self) -> str | None:
        """Why the frame that was given is not written, in a sentence."""

    @property
    def size(self) -> int:
        """How many rows can be rated."""

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of a row's downloaded files, in the order of the URLs in its output."""

    @property
    def rows(self) -> Sequence[int]:
        """The rows that can be rated, in the order in which they are shown."""

    def scores(self) -> Mapping[int, float]:
        """Return the scores that were there before, by place."""

    def label(self, place: int) -> str:
        """Return what a row is called."""

    def card(self, place: int) -> Card:
        """Return what is to be seen."""

    def rate(self, place: int, score: float | None) -> None:
        """Keep a score, or that there is none any more."""


class Rating(ReviewWidget[float]):
    """A widget to score results one by one, by keyboard or mouse, returned by ``df.eachlabs.rate()``.

    Keys while it has the focus: a digit scores and moves to the next result; the left and right arrows move; U,
    Backspace and Ctrl+Z undo, repeatedly; 0 and Delete clear the score; N moves to the next result without a score;
    Home and End move to the first result and to the end; Escape returns the focus to the notebook. It takes the focus
    if its cell is run alone.

    Each score is written to the column of the original frame as soon as the kernel receives it. Without widgets it is a
    table of the scores.
    """

    # Texts, because anywidget watches a path for changes and so keeps each widget alive for ever.
    _esm = assets.script("rating")
    _css = assets.style("rating")

    def __init__(self, source: RatingData, *, scale: int) -> None:
        self._source = source
        self._scores: Final = range(1, scale + 1)
        super().__init__(source.size, source.scores())
        self._files = ViewFiles(source.files, source.rows)
        self._files.serve(self)

    @property
    def frame(self) -> Any:
        """The rows as they were when the widget was created, with the current scores: a new pandas.DataFrame."""
        with self._lock:
            return self._source.frame

    def __repr__(self) -> str:
        rated, size = len(self._history.marks), self._history.size
        left_out = f"; {self._source.left_out}" if self._source.left_out else ""
        return f"<Rating in column {self._source.column!r}: {rated:,} of {size:,} rated{left_out}>"

    def _html(self) -> str:
        marks, size = self._history.marks, self._history.size
        cells = [
            [self._source.label(place), f"{marks[place]:g}" if place in marks else ""]
            for place in range(min(size, MAX_LINES))
        ]
        caption = repr(self).strip("<>")
        beyond = f"<p>and {size - MAX_LINES:,} more</p>" if size > MAX_LINES else ""
        return f"<div>{static_summary.table(caption, ['row', self._source.column], cells, numbers=(1,))}{beyond}</div>"

    # -- hooks of ReviewWidget ---------------------------------------------------------------------------------------

    def _read(self, place: int, mark: object) -> float | None:  # noqa: ARG002 - a stepper's
        return next((score for score in self._scores if mark == str(score)), None)

    def _written(self, place: int, mark: float) -> str:  # noqa: ARG002 - a stepper's
        return str(int(mark)) if mark in self._scores else OTHER

    def _thing(self, place: int) -> Card:
        return self._source.card(place)

    def _more(self) -> dict[str, Any]:
        others = sum(score not in self._scores for score in self._history.marks.values())
        return {
            "scale": len(self._scores),
            "column": self._source.column,
            "left_out": self._source.left_out,
            "others": others,
        }

    def _marked(self, place: int) -> None:
        self._source.rate(place, self._history.marks.get(place))

    @property
    def _problem(self) -> str | None:
        return self._source.problem
