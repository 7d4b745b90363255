"""What a gallery shows, kept as outcomes come in: a status for each row, and the cards of the rows that are looked at.

It owns what is told and in which order, never when: no thread, no clock, no widget. One thread at a time may use it.
All messages between the kernel and `web/gallery_store.js` are here. Everything is JSON, each value is absolute, and a
*code* is the place of a status in ``words``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from math import fsum, isfinite
from typing import Final, Literal, NamedTuple, TypedDict

import orjson

from ...media import cut
from ...models import PENDING, STATUSES, Outcome
from ..common.card import MAX_STATUS_LENGTH, Card

MAX_MESSAGE_BYTES: Final = 240_000
"""Bytes of cards in an update, as compact JSON; and of those in a snapshot, which a saved notebook keeps."""

MAX_CODES: Final = 5_000
MAX_WATCHED: Final = 2_500
"""Rows that are looked at, at most: two views of the largest page, and what stands beside it."""

CHUNK: Final = 500
FEW: Final = 50
MAX_STATUSES: Final = 20
OTHER: Final = "other"
"""The word for all words beyond `MAX_STATUSES`."""

Make = Callable[[Sequence[Outcome]], list[Card]]


class GalleryLayout(NamedTuple):
    """How cards are laid out: how many across at most, how many pixels wide, and how many on a page."""

    columns: int
    size: int
    page: int


class GallerySnapshot(TypedDict):
    """All that is shown: the synced trait ``snapshot``, which a saved notebook keeps."""

    seq: int
    now: float  # epoch seconds, by the kernel's clock
    title: str
    said: str | None  # what is to be said of the call, where there is something: a sentence
    columns: int
    size: int  # pixels
    page: int  # cards
    words: list[str]
    codes: list[int]  # a row each
    cards: list[Card]  # some of those that are looked at


class GalleryUpdate(TypedDict, total=False):
    """Kernel to browser, at most four a second. Only ``kind``, ``seq`` and ``now`` are always there.

    A browser that sees `seq` skip a number says so by its next ``watch``, and gets a whole snapshot.
    """

    kind: Literal["update"]
    seq: int
    now: float
    title: str
    said: str | None
    words: list[str]  # the whole list, where it grew
    codes: list[int]  # [row, code, row, code, ...]
    cards: list[Card]


class FoundRows(TypedDict):
    """Kernel to browser: the rows whose card holds a text."""

    kind: Literal["found"]
    text: str
    rows: list[int]


class GalleryFile(TypedDict):
    """Kernel to browser: a file of a row; its bytes are the message's one buffer, of which there is none otherwise."""

    kind: Literal["file"]
    row: int
    n: int
    type: str | None


class GalleryRequest(TypedDict, total=False):
    """Browser to kernel."""

    kind: Literal["watch", "find", "file"]
    seq: int  # watch: of what the browser heard last
    rows: list[int]  # watch: all that is looked at now
    missing: list[int]  # watch: those of them whose card is not there
    text: str  # find
    row: int  # file
    n: int


class GalleryModel:
    """The rows of one frame or run, all pending at first.

    Parameters
    ----------
    size : int
        How many rows there are.
    make : callable
        Makes cards of outcomes.
    first : int
        Rows that are looked at before a browser says which.
    """

    def __init__(self, size: int, make: Make, *, first: int) -> None:
        self.seq = 0
        self.outcomes: Final = [Outcome(row, PENDING) for row in range(size)]
        self._make = make
        self._words = list(STATUSES)
        self._codes = [0] * size
        self._watched: dict[int, None] = dict.fromkeys(range(min(first, size)))
        self._late: dict[int, None] = {}  # rows that are looked at, and whose card was not told as it is now
        self._changed: dict[int, None] = {}  # rows whose code was not told
        self._told_words = len(self._words)
        self._told: tuple[str, str | None] | None = None

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Take in how rows stand; one that stands as before changes nothing."""
        for outcome in outcomes:
            row = outcome.position
            before = self.outcomes[row]
            if before is outcome or _equal(before, outcome):
                continue
            self.outcomes[row] = outcome
            code = self._code(outcome.status)
            if code != self._codes[row]:
                self._codes[row] = code
                self._changed[row] = None
            if row in self._watched:
                self._late[row] = None

    def watch(self, rows: Iterable[object], missing: Iterable[object]) -> None:
        """Have the cards of these rows told as they change, of those that are missing now, and of others no longer."""
        self._watched = dict.fromkeys(islice(self._known(rows), MAX_WATCHED))
        late = [*self._late, *self._known(missing)]
        self._late = {row: None for row in late if row in self._watched}

    def snapshot(self, title: str, said: str | None, now: float, layout: GalleryLayout) -> GallerySnapshot:
        """Return all that is shown, with as many cards as a notebook keeps."""
        cards: list[Card] = []
        spent = 0
        for card in self._made(list(self._watched)):
            spent += _weight(card)
            if spent > MAX_MESSAGE_BYTES:
                break
            cards.append(card)
        return {
            "seq": self.seq,
            "now": round(now, 3),
            "title": title,
            "said": said,
            "columns": layout.columns,
            "size": layout.size,
            "page": layout.page,
            "words": self._words[:],
            "codes": self._codes[:],
            "cards": cards,
        }

    def settle(self, title: str, said: str | None) -> None:
        """Take everything as told, because the first snapshot tells it; a card that it lacks is asked for."""
        self._told = (title, said)
        self._told_words = len(self._words)
        self._changed.clear()
        self._late.clear()

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each status word; those that none has are left out."""
        return {self._words[code]: rows for code, rows in sorted(Counter(self._codes).items())}

    @property
    def accepted(self) -> int:
        """How many rows have an execution."""
        return sum(outcome.execution_id is not None for outcome in self.outcomes)

    @property
    def cost_usd(self) -> float | None:
        """What the executions cost whose cost is known; None where none is."""
        costs = [outcome.cost for outcome in self.outcomes if outcome.cost is not None and isfinite(outcome.cost)]
        return fsum(costs) if costs else None

    @property
    def behind(self) -> bool:
        """Whether there is more to tell than one update took."""
        return bool(self._late or self._changed)

    def update(self, title: str, said: str | None, now: float) -> GalleryUpdate | None:
        """Return what has changed since the last time, as much of it as fits; None where nothing has."""
        if not self.behind and self._told == (title, said):
            return None
        self.seq += 1
        message: GalleryUpdate = {"kind": "update", "seq": self.seq, "now": round(now, 3)}
        if self._told != (title, said):
            message |= {"title": title, "said": said}
            self._told = (title, said)
        if self._told_words < len(self._words):
            message["words"] = self._words[:]
            self._told_words = len(self._words)
        rows = list(islice(self._changed, MAX_CODES))
        if rows:
            message["codes"] = [one for row in rows for one in (row, self._codes[row])]
            for row in rows:
                del self._changed[row]
        cards = self._due()
        if cards:
            message["cards"] = cards
        return message

    def _due(self) -> list[Card]:
        """Return cards that are late, at least one where one is, and no more than fit."""
        cards: list[Card] = []
        spent = 0
        for card in self._made(list(self._late)):
            spent += _weight(card)
            if cards and spent > MAX_MESSAGE_BYTES:
                break
            cards.append(card)
            del self._late[card["row"]]
        return cards

    def _made(self, rows: Sequence[int]) -> Iterator[Card]:
        for start in range(0, len(rows), FEW):
            yield from self._make([self.outcomes[row] for row in rows[start : start + FEW]])

    def _known(self, rows: Iterable[object]) -> Iterator[int]:
        """Yield what of `rows`, which a browser may have made up, are rows."""
        return (row for row in rows if type(row) is int and 0 <= row < len(self.outcomes))

    def _code(self, status: str) -> int:
        word = cut(status, MAX_STATUS_LENGTH)
        if word not in self._words:
            word = word if len(self._words) < MAX_STATUSES - 1 else OTHER
        if word not in self._words:
            self._words.append(word)
        return self._words.index(word)


def cards_of(outcomes: Sequence[Outcome], make: Make) -> Iterator[Card]:
    """Yield the cards of these rows, made a few at a time: it takes its time, and holds nobody up."""
    for start in range(0, len(outcomes), CHUNK):
        yield from make(outcomes[start : start + CHUNK])


def find(text: str, cards: Iterable[Card]) -> list[int]:
    """Return the rows whose card holds a text: in its label, its input, its error or its output."""
    wanted = text.casefold()
    return [card["row"] for card in cards if any(wanted in one.casefold() for one in _texts(card))]


def _equal(before: Outcome, outcome: Outcome) -> bool:
    try:
        return before == outcome
    except Exception:  # noqa: BLE001  # an output may be nested too deep, or hold what refuses to be compared
        return False


def _weight(card: Card) -> int:
    return len(orjson.dumps(card))


def _texts(card: Card) -> Iterator[str]:
    yield card["label"]
    yield card["error"] or ""
    yield card["text"] or ""
    for _, value in card["input"]:
        yield value
