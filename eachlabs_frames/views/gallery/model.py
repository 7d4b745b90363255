"""The state of a gallery: a status for each row, and the cards of the rows that are displayed.

Owns what is sent and in which order, never when: no thread, no clock, no widget. One thread at a time may use it.

All messages between the kernel and ``web/gallery_store.js`` are here, as JSON. Each value is absolute, and a *code* is
the place of a status in ``statuses``. Kernel to browser, with the synced trait ``snapshot`` as their start:

- ``update``: `GalleryUpdate`.
- ``found``: the ``rows`` whose card contains ``text``.
- ``file``: the file of URL number ``n`` of a ``row``, or picture ``n`` of the inputs (``row`` -1), with its media
  ``type``; its bytes are the message's one buffer, which is missing if there is no file.

Browser to kernel: ``watch`` (``seq`` of the latest message, ``rows`` that are displayed, and those of them whose card
is ``missing``), ``find`` (``text``) and ``file`` (``row``, ``n``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from math import fsum, isfinite
from typing import Final, Literal, NamedTuple, TypeAlias, TypedDict

from ...models import PENDING, Outcome
from ..common.card import Card
from ..common.outcomes import StatusCodes, is_same, json_size

MAX_MESSAGE_BYTES: Final = 240_000
"""Bytes of the cards in an update, as compact JSON, and in a snapshot, which a saved notebook keeps."""

MAX_CODES: Final = 5_000
MAX_WATCHED: Final = 2_500
"""Rows that are displayed, at most: two views of the largest page, and their neighbours."""

CHUNK: Final = 500
SMALL_CHUNK: Final = 50

MakeCards: TypeAlias = Callable[[Sequence[Outcome]], list[Card]]


class GalleryLayout(NamedTuple):
    """The layout: the maximum number of cards side by side, their width in pixels, and the cards per page."""

    columns: int
    size: int
    page: int


class GallerySnapshot(TypedDict):
    """All that is displayed: the synced trait ``snapshot``, which a saved notebook keeps."""

    seq: int
    now: float  # epoch seconds, by the kernel's clock
    title: str
    notice: str | None  # the state of the run, unless all is well: a sentence
    columns: int
    size: int  # pixels
    page: int  # cards
    statuses: list[str]
    codes: list[int]  # one per row
    cards: list[Card]  # some of those that are displayed


class GalleryUpdate(TypedDict, total=False):
    """What has changed. Only ``kind``, ``seq`` and ``now`` are always there.

    A browser that sees `seq` skip a number says so with its next ``watch``, and gets a snapshot.
    """

    kind: Literal["update"]
    seq: int
    now: float
    title: str
    notice: str | None
    statuses: list[str]  # the whole list, if it grew
    codes: list[int]  # [row, code, row, code, ...]
    cards: list[Card]


class GalleryModel:
    """The rows of one frame or run, all pending at first.

    Parameters
    ----------
    size : int
        Number of rows.
    make : callable
        Makes cards of outcomes.
    first : int
        Rows that are displayed until a browser says which.
    """

    def __init__(self, size: int, make: MakeCards, *, first: int) -> None:
        self.seq = 0
        self.outcomes: Final = [Outcome(row, PENDING) for row in range(size)]
        self._make = make
        self._statuses = StatusCodes()
        self._codes = [0] * size
        self._watched: dict[int, None] = dict.fromkeys(range(min(first, size)))
        self._stale: dict[int, None] = {}  # displayed rows whose current card was not sent
        self._changed: dict[int, None] = {}  # rows whose code was not sent
        self._sent_statuses = len(self._statuses.names)
        self._sent_texts: tuple[str, str | None] | None = None

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Take in outcomes; one that is equal to the row's current outcome changes nothing."""
        for outcome in outcomes:
            row = outcome.position
            if is_same(self.outcomes[row], outcome):
                continue
            self.outcomes[row] = outcome
            code = self._statuses.code(outcome.status)
            if code != self._codes[row]:
                self._codes[row] = code
                self._changed[row] = None
            if row in self._watched:
                self._stale[row] = None

    def watch(self, rows: Iterable[object], missing: Iterable[object]) -> None:
        """Send the cards of these rows when they change, of `missing` ones now, and of others no longer."""
        self._watched = dict.fromkeys(islice(self._valid(rows), MAX_WATCHED))
        stale = [*self._stale, *self._valid(missing)]
        self._stale = {row: None for row in stale if row in self._watched}

    def snapshot(self, title: str, notice: str | None, now: float, layout: GalleryLayout) -> GallerySnapshot:
        """Return all that is displayed, with as many cards as a notebook keeps."""
        return {
            "seq": self.seq,
            "now": round(now, 3),
            "title": title,
            "notice": notice,
            "columns": layout.columns,
            "size": layout.size,
            "page": layout.page,
            "statuses": self._statuses.names[:],
            "codes": self._codes[:],
            "cards": self._fitting(self._watched, at_least=0),
        }

    def settle(self, title: str, notice: str | None) -> None:
        """Mark everything as sent, because the first snapshot contains it; the browser requests a missing card."""
        self._sent_texts = (title, notice)
        self._sent_statuses = len(self._statuses.names)
        self._changed.clear()
        self._stale.clear()

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows by status, without zeros."""
        return {self._statuses.names[code]: rows for code, rows in sorted(Counter(self._codes).items())}

    @property
    def accepted(self) -> int:
        """Number of rows that have an execution."""
        return sum(outcome.execution_id is not None for outcome in self.outcomes)

    @property
    def cost_usd(self) -> float | None:
        """Cost of the executions whose cost is known; None if none is."""
        costs = [outcome.cost for outcome in self.outcomes if outcome.cost is not None and isfinite(outcome.cost)]
        return fsum(costs) if costs else None

    @property
    def behind(self) -> bool:
        """Whether cards or codes wait to be sent."""
        return bool(self._stale or self._changed)

    def update(self, title: str, notice: str | None, now: float) -> GalleryUpdate | None:
        """Return what has changed since the last message, as much of it as fits; None if nothing has."""
        if not self.behind and self._sent_texts == (title, notice):
            return None
        self.seq += 1
        message: GalleryUpdate = {"kind": "update", "seq": self.seq, "now": round(now, 3)}
        if self._sent_texts != (title, notice):
            message |= {"title": title, "notice": notice}
            self._sent_texts = (title, notice)
        if self._sent_statuses < len(self._statuses.names):
            message["statuses"] = self._statuses.names[:]
            self._sent_statuses = len(self._statuses.names)
        rows = list(islice(self._changed, MAX_CODES))
        if rows:
            message["codes"] = [number for row in rows for number in (row, self._codes[row])]
            for row in rows:
                del self._changed[row]
        cards = self._fitting(self._stale, at_least=1)
        if cards:
            message["cards"] = cards
            for card in cards:
                del self._stale[card["row"]]
        return message

    def _fitting(self, rows: Iterable[int], *, at_least: int) -> list[Card]:
        """Return the cards of the first of these rows that fit into one message."""
        cards: list[Card] = []
        size = 0
        for card in make_cards([self.outcomes[row] for row in rows], self._make, SMALL_CHUNK):
            size += json_size(card)
            if size > MAX_MESSAGE_BYTES and len(cards) >= at_least:
                break
            cards.append(card)
        return cards

    def _valid(self, rows: Iterable[object]) -> Iterator[int]:
        """Yield the items that are rows; a browser may send anything."""
        return (row for row in rows if type(row) is int and 0 <= row < len(self.outcomes))


def make_cards(outcomes: Sequence[Outcome], make: MakeCards, chunk: int = CHUNK) -> Iterator[Card]:
    """Yield the cards of these rows. They are made in chunks, so that other threads do not wait long."""
    for start in range(0, len(outcomes), chunk):
        yield from make(outcomes[start : start + chunk])


def find(text: str, cards: Iterable[Card]) -> list[int]:
    """Return the rows whose card contains a text: in its label, its input, its error or its output."""
    needle = text.casefold()
    return [card["row"] for card in cards if any(needle in string.casefold() for string in _texts(card))]


def _texts(card: Card) -> Iterator[str]:
    yield card["label"]
    yield card["error"] or ""
    yield card["text"] or ""
    for _, value in card["input"]:
        yield value
