"""A frame's results as what is rated: which rows can be, what is to be seen of them, and where scores go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import pandas as pd

from ...checks import check_flag
from ...errors import ConfigurationError
from ...frames import columns
from ...models import COMPLETED, Outcome
from ..common.card import MAX_STATUS_LENGTH, Card
from ..common.source import Cards
from ..common.static_summary import plain
from .scores import Scores

if TYPE_CHECKING:
    from .rating_widget import Rating

WORST_SCALE, BEST_SCALE = 2, 9


class RatingSource:
    """The rows of one frame that can be rated, in the frame's order.

    Attributes
    ----------
    column : str
        The name of the scores.
    left_out : str
        How many rows cannot be rated, and why; empty where there is none.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        column: Hashable,
        *,
        label: Hashable | Sequence[Hashable] | None,
        scale: int,
        only_unrated: bool,
        prefix: str | None,
    ) -> None:
        self._cards = Cards(frame, label=label, prefix=prefix)
        columns.require_result(frame, self._cards.prefix)
        outcomes = self._cards.outcomes()
        self._scores = Scores(frame, column, self._cards.prefix, best=scale)
        held = self._scores.values
        fit = [one for one in outcomes if _is_fit(one)]
        self._outcomes: Final = [one for one in fit if not only_unrated or held[one.position] is None]
        self.column: Final = str(column)
        self.left_out: Final = _left_out(outcomes, len(fit) - len(self._outcomes))

    @property
    def frame(self) -> pd.DataFrame:
        """A new frame with the scores as they are."""
        return self._scores.frame

    @property
    def problem(self) -> str | None:
        """Why the frame that was given is not written, in a sentence."""
        return self._scores.problem

    @property
    def size(self) -> int:
        """How many rows can be rated."""
        return len(self._outcomes)

    def scores(self) -> Mapping[int, float]:
        """Return the scores that were there before, by place."""
        held = ((place, self._scores.values[one.position]) for place, one in enumerate(self._outcomes))
        return {place: score for place, score in held if score is not None}

    def label(self, place: int) -> str:
        """Return what a row is called."""
        return self._cards.labels([self._outcomes[place].position])[0]

    def card(self, place: int) -> Card:
        """Return what is to be seen."""
        return self._cards.make([self._outcomes[place]])[0]

    def rate(self, place: int, score: float | None) -> None:
        """Write a score, or that there is none any more."""
        self._scores.put(self._outcomes[place].position, score)

    def path(self, row: int, n: int) -> str | None:
        """Return the path of what was downloaded of a row's output."""
        files = self.files(row)
        return files[n] if 0 <= n < len(files) else None

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of what was downloaded of a row's output, in the order of its URLs."""
        return self._cards.files(row) if 0 <= row < len(self._cards) else ()

    @property
    def rows(self) -> Sequence[int]:
        """The rows that can be rated, in the order in which they are shown."""
        return [one.position for one in self._outcomes]


def rate(
    frame: pd.DataFrame,
    column: Hashable,
    *,
    label: Hashable | Sequence[Hashable] | None,
    scale: int,
    only_unrated: bool,
    prefix: str | None,
) -> Rating:
    """Return the widget that rates the results of `frame`."""
    from .rating_widget import Rating  # takes 0.2 s to import, and is only for those who look

    if isinstance(scale, bool) or not isinstance(scale, int) or not WORST_SCALE <= scale <= BEST_SCALE:
        msg = f"scale must be the best score, a whole number from {WORST_SCALE} to {BEST_SCALE}; got {scale!r}"
        raise ConfigurationError(msg)
    check_flag("only_unrated", only_unrated)
    rated = RatingSource(frame, column, label=label, scale=scale, only_unrated=only_unrated, prefix=prefix)
    return Rating(rated, scale=scale)


def _is_fit(outcome: Outcome) -> bool:
    return outcome.status == COMPLETED and outcome.output is not None


def _left_out(outcomes: Sequence[Outcome], rated: int) -> str:
    unfit = [one.status for one in outcomes if not _is_fit(one)]
    words = Counter(
        "without an output" if status == COMPLETED else plain(status, MAX_STATUS_LENGTH) for status in unfit
    )
    parts = [f"{rows:,} {word}" for word, rows in words.most_common()]
    parts += [f"{rated:,} rated before"] if rated else []
    total = len(unfit) + rated
    return f"{total:,} {'row is' if total == 1 else 'rows are'} left out: {', '.join(parts)}" if total else ""
