"""One result as a card: what is shown of it, cut to size. Values in, JSON out.

A card is what a gallery, a grid and a rating show of a row, and `web/cards.js` draws. An output, an error and an input
come from outside: they are text here, and only `core.media` says what of them is a URL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Final, TypedDict

from ...media import Kind, cut, kind_of, text, urls
from ...models import Json, Outcome

MAX_MEDIA: Final = 12
MAX_DATA_URL_LENGTH: Final = 65_536
"""Characters of ``data:`` URLs in one card: a page of a hundred cards goes to the browser at once."""

MAX_TEXT_LENGTH: Final = 6_000
MAX_ERROR_LENGTH: Final = 2_000
MAX_LABEL_LENGTH: Final = 300
MAX_STATUS_LENGTH: Final = 24
MAX_NAME_LENGTH: Final = 100
MAX_VALUE_LENGTH: Final = 8_000
MAX_INPUT_LENGTH: Final = 24_000
"""Characters of all values of one input."""

_NANO: Final = 1_000_000_000


class CardMedia(TypedDict):
    """One URL of an output; with ``has_file`` also a file of the user's, which is shown in its place."""

    kind: Kind
    url: str | None  # None where it is too long to be sent
    n: int  # its place among all URLs of the output, however long, as a download numbers its files
    has_file: bool


class Card(TypedDict):
    """One row of a frame, as it is shown."""

    row: int  # its position in the frame
    label: str
    status: str
    error: str | None
    media: list[CardMedia]
    more_media: int  # URLs beside those of `media`
    text: str | None  # the output where its URLs do not say it all: a text, or JSON with line breaks
    is_json: bool  # of `text`
    input: list[tuple[str, str]]  # what was sent, each value as a text
    cost_usd: float | None
    seconds: float | None  # that its execution took


def card(outcome: Outcome, *, label: str, sent: Mapping[str, Json], files: Sequence[str | None] = ()) -> Card:
    """Return the card of one row.

    Parameters
    ----------
    outcome : Outcome
        How the row stands.
    label : str
        What it is called.
    sent : mapping of str to JSON
        Its input.
    files : sequence of str or None
        The paths of what was downloaded of its output, in the order of its URLs; where there are more or fewer, nobody
        knows which is whose, and none is shown. They stay here: the browser is only told that there is a file.
    """
    files = files if len(files) == _count(outcome.output, files) else ()
    media, more = _media(outcome.output, files)
    said, is_json = _said(outcome.output, any_length=bool(files))
    return {
        "row": outcome.position,
        "label": cut(label, MAX_LABEL_LENGTH),
        "status": cut(outcome.status, MAX_STATUS_LENGTH),
        "error": cut(outcome.error, MAX_ERROR_LENGTH) if outcome.error else None,
        "media": media,
        "more_media": more,
        "text": said,
        "is_json": is_json,
        "input": list(_input(sent)),
        "cost_usd": outcome.cost if outcome.cost is not None and isfinite(outcome.cost) else None,
        "seconds": seconds(outcome.started_at, outcome.completed_at),
    }


def _count(output: Json, files: Sequence[str | None]) -> int:
    return sum(1 for _ in urls(output, None, any_length=True)) if files else 0


def _media(output: Json, files: Sequence[str | None]) -> tuple[list[CardMedia], int]:
    found: list[CardMedia] = []
    room, more = MAX_DATA_URL_LENGTH, 0
    # Those too, that are too long to be shown: their files can be, and they have their numbers.
    for n, (kind, url) in enumerate(urls(output, any_length=True)):
        has_file, is_short = n < len(files) and files[n] is not None, _is_url(url)
        if not (has_file or is_short):
            continue
        if len(found) == MAX_MEDIA:
            more += 1
            continue
        is_data = is_short and url.startswith("data:")
        room -= len(url) if is_data else 0
        shown = url if is_short and not (is_data and room < 0) else None
        found.append({"kind": kind, "url": shown, "n": n, "has_file": has_file})
    return found, more


def _said(output: Json, *, any_length: bool) -> tuple[str | None, bool]:
    """Return what an output says beside its URLs, and whether that is JSON."""
    several = output if isinstance(output, list) and output else [output]
    if output is None or all(_is_url(one, any_length=any_length) for one in several):
        return None, False
    if isinstance(output, str):
        return cut(output, MAX_TEXT_LENGTH), False
    return text(output, MAX_TEXT_LENGTH, indent=2), True


def _is_url(value: Json, *, any_length: bool = False) -> bool:
    return isinstance(value, str) and kind_of(value, any_length=any_length) != "text"


def _input(sent: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    room = MAX_INPUT_LENGTH
    for left, (name, value) in zip(range(len(sent), 0, -1), sent.items(), strict=True):
        if room <= 0:
            yield "…", f"{left} more"
            return
        said = text(value, min(MAX_VALUE_LENGTH, room))
        room -= len(said) + len(name)
        yield cut(name, MAX_NAME_LENGTH), said


def seconds(started_at: int | None, completed_at: int | None) -> float | None:
    """Return what an execution took, of two moments in nanoseconds."""
    if started_at is None or completed_at is None or completed_at < started_at:
        return None
    return round((completed_at - started_at) / _NANO, 3)
