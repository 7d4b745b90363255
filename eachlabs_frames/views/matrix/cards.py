"""The cards of a matrix, of one frame or of two. A number is a row, counted on into the second frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ...inputs.file_values import is_file_value
from ...inputs.json_values import MISSING, RefusedValueError, clean
from ...media import cut
from ...models import Json
from ...results import Results
from ..common.card import MAX_LABEL_LENGTH, Card
from ..common.input_files import file_text
from ..common.source import Cards
from .model import MatrixValues


class FrameSide(NamedTuple):
    """One frame as it is displayed."""

    cards: Cards
    labels: Sequence[str]  # of each row, from its values on the axes
    results: Results
    axes: Any  # of each label on an axis, its column
    column: Any  # what is displayed of each row
    values: MatrixValues
    run: str | None


class MatrixCards:
    """The cards and files of all rows.

    Parameters
    ----------
    sides : sequence of FrameSide
    names : sequence of str
        Of two frames; empty for one.
    shows_output : bool
        Whether cards show the output, else the column of the side.
    """

    def __init__(self, sides: Sequence[FrameSide], names: Sequence[str], *, shows_output: bool) -> None:
        self._sides = sides
        self._names = names
        self._shows_output = shows_output
        self.input_files: Final = sides[0].cards.input_files  # which both sides share
        self.size: Final = sum(len(side.cards) for side in sides)

    def cards(self, numbers: Sequence[int]) -> list[Card]:
        """Return the cards with these numbers."""
        cards: dict[int, Card] = {}
        for number, side in enumerate(self._sides):
            rows = [row for at, row in map(self._locate, numbers) if at == number]
            for row, card in zip(rows, self._side_cards(side, rows), strict=True):
                card["row"] = row + number * len(self._sides[0].cards)
                name = f"{self._names[number]}: " if self._names else ""
                card["label"] = cut(name + side.labels[row], MAX_LABEL_LENGTH)
                cards[card["row"]] = card
        return [cards[number] for number in numbers]

    def files(self, number: int) -> Sequence[str | None]:
        """Return the paths of a card's downloaded files, in the order of the URLs in its output."""
        if not (self._shows_output and 0 <= number < self.size):
            return ()
        side, row = self._locate(number)
        return self._sides[side].cards.files(row)

    def _side_cards(self, side: FrameSide, rows: Sequence[int]) -> list[Card]:
        outcomes = [side.results.outcome(row) for row in rows]
        if self._shows_output:
            return side.cards.make(outcomes)
        cards = side.cards.make([o._replace(output=_json(side.column.iloc[o.position])) for o in outcomes])
        for card in cards:
            for item in card["media"]:
                item["has_file"] = False
        return cards

    def _locate(self, number: int) -> tuple[int, int]:
        """Return the side and the row of a number."""
        first = len(self._sides[0].cards)
        return (0, number) if number < first else (1, number - first)


def _json(cell: object) -> Json:
    """Return a cell of the user's as a card shows it."""
    if is_file_value(cell):
        return file_text(cell)
    try:
        value = clean(cell)
    except RefusedValueError:
        return str(cell)
    return None if value is MISSING else value
