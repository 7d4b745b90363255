"""``Rating``: a widget to score results one by one. Owns the scale; its source stores the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..common import assets, static_html
from ..review.stepper import ReviewWidget

if TYPE_CHECKING:
    from .source import RatingSource

OTHER: Final = "x"
"""The mark of an earlier score that is not on this scale."""

MAX_LINES: Final = 200


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

    _source: RatingSource

    def __init__(self, source: RatingSource, *, scale: int) -> None:
        self._scores: Final = range(1, scale + 1)
        super().__init__(source)

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
        return f"<div>{static_html.table(caption, ['row', self._source.column], cells, numbers=(1,))}{beyond}</div>"

    # -- hooks of ReviewWidget ---------------------------------------------------------------------------------------

    def _parse_mark(self, _place: int, mark: object) -> float | None:
        return next((score for score in self._scores if mark == str(score)), None)

    def _format_mark(self, _place: int, mark: float) -> str:
        return str(int(mark)) if mark in self._scores else OTHER

    def _details(self) -> dict[str, Any]:
        others = sum(score not in self._scores for score in self._history.marks.values())
        return {
            "scale": len(self._scores),
            "column": self._source.column,
            "left_out": self._source.left_out,
            "others": others,
        }
