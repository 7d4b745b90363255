"""What a gallery is about: one frame or run, its cards, and what a user may say of how they are laid out.

What is wrong with the call is an error before anything is shown.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Final

from ...errors import ConfigurationError
from ...frames.calls import Calls
from ...models import Observer, Outcome
from ..common.card import Card
from ..common.source import Cards
from ..dashboard.controller import DashboardController

if TYPE_CHECKING:
    from ...frames.run_status import RunStatus
    from .widget import Gallery

MAX_COLUMNS: Final = 50
SMALLEST, LARGEST = 80, 2_000
MAX_PAGE_SIZE: Final = 1_000


class GallerySource:
    """The rows of a desk, as a gallery shows them.

    Parameters
    ----------
    desk : Desk
        What it knows of the call that is at work; it looks at nothing by itself.
    cards : Cards
    """

    def __init__(self, desk: DashboardController, cards: Cards) -> None:
        self._desk = desk
        self._cards = cards

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self._cards)

    def attend(self, hear: Observer, turned: Callable[[], None]) -> None:
        """Have `hear` told of each event, and `turned` of a call's end; from any thread."""
        self._desk.attend(hear, turned)

    def outcomes(self, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Return how each row stands, and do `meanwhile` at that moment."""
        return self._desk.outcomes(meanwhile)

    def head(self) -> RunStatus:
        """Return what is to be said of the call."""
        return self._desk.head()

    def make(self, outcomes: Sequence[Outcome]) -> list[Card]:
        """Return the cards of these rows."""
        return self._cards.make(outcomes)

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of a row's files, in the order of its URLs."""
        return self._cards.files(row)

    def close(self) -> None:
        """Look no more."""
        self._desk.close()


def gallery(
    calls: Calls, *, label: Hashable | Sequence[Hashable] | None, columns: object, size: object, page: object
) -> Gallery:
    """Return a gallery of a result.

    Raises
    ------
    ColumnError
        `label` names no column.
    ConfigurationError
        `columns`, `size` or `page` is no number that can be used.
    """
    across = _whole("columns", columns, 1, MAX_COLUMNS)
    width = round(_number("size", size, SMALLEST, LARGEST))
    on_page = _whole("page", page, 1, MAX_PAGE_SIZE)
    cards = Cards(calls.frame, label=label, prefix=calls.origin.prefix, origin=lambda: calls.origin)
    from .widget import Gallery  # takes 0.2 s to import, and is only for those who look

    return Gallery(GallerySource(DashboardController(calls), cards), columns=across, size=width, page=on_page)


def _whole(name: str, value: object, least: int, most: int) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # it raises where it is none
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or not least <= number <= most:
        msg = f"{name} must be a whole number of {least:,} to {most:,}; got {value!r}"
        raise ConfigurationError(msg)
    return number


def _number(name: str, value: object, least: int, most: int) -> float:
    is_number = not isinstance(value, bool | str | bytes)
    try:
        number = float(value) if is_number else 0.0  # type: ignore[arg-type]  # it raises where it is none
    except (TypeError, ValueError):
        number = 0.0
    if not isfinite(number) or not least <= number <= most:
        msg = f"{name} must be a number of pixels, {least:,} to {most:,}; got {value!r}"
        raise ConfigurationError(msg)
    return number
