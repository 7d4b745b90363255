"""The card of one row: what galleries, matrices and ratings show of it, cut to size. Values in, JSON out.

``web/cards.js`` draws it. An output, an error and an input come from outside: they are text here, and only `media`
decides which of them are URLs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Final, TypedDict

from ...media import Kind, cut, kind_of, text, urls
from ...models import Json, Outcome

MAX_MEDIA: Final = 12
MAX_DATA_URL_LENGTH: Final = 65_536
"""Characters of ``data:`` URLs in one card: a page of a hundred cards is sent to the browser at once."""

MAX_TEXT_LENGTH: Final = 6_000
MAX_ERROR_LENGTH: Final = 2_000
MAX_LABEL_LENGTH: Final = 300
MAX_STATUS_LENGTH: Final = 24
MAX_NAME_LENGTH: Final = 100
MAX_VALUE_LENGTH: Final = 8_000
MAX_INPUT_IMAGES: Final = 8
MAX_INPUT_LENGTH: Final = 24_000
"""Characters of all values of one input."""

_NANO: Final = 1_000_000_000


class CardMedia(TypedDict):
    """One URL of an output. With ``has_file``, a file of the user is shown instead."""

    kind: Kind
    url: str | None  # None if it is too long to be sent
    n: int  # its number among all URLs of the output, however long, as a download numbers its files
    has_file: bool


class Card(TypedDict):
    """One row of a frame."""

    row: int  # its position in the frame
    label: str
    status: str
    error: str | None
    media: list[CardMedia]
    more_media: int  # URLs that are not in `media`
    text: str | None  # the output, unless its URLs are all of it: a text, or JSON with line breaks
    is_json: bool  # of `text`
    input: list[tuple[str, str]]  # the input that was sent, each value as a text
    input_images: list[tuple[str, int]]  # names of inputs that are images, and the numbers of their pictures
    cost_usd: float | None
    seconds: float | None  # duration of its execution


def card(
    outcome: Outcome,
    *,
    label: str,
    sent: Mapping[str, Json],
    files: Sequence[str | None] = (),
    images: Sequence[tuple[str, int]] = (),
) -> Card:
    """Return the card of one row.

    Parameters
    ----------
    outcome : Outcome
    label : str
    sent : mapping of str to JSON
        The row's input.
    files : sequence of str or None
        Paths of the files downloaded from its output, in the order of the URLs. If there are more or fewer than URLs,
        it is unknown which belongs to which, and none is shown. The browser is only told that there is a file.
    images : sequence of (str, int)
        The names of inputs that are images, and the number of each picture.
    """
    files = files if len(files) == _count_urls(outcome.output, files) else ()
    media, more = _media(outcome.output, files)
    shown, is_json = _text(outcome.output, any_length=bool(files))
    return {
        "row": outcome.position,
        "label": cut(label, MAX_LABEL_LENGTH),
        "status": cut(outcome.status, MAX_STATUS_LENGTH),
        "error": cut(outcome.error, MAX_ERROR_LENGTH) if outcome.error else None,
        "media": media,
        "more_media": more,
        "text": shown,
        "is_json": is_json,
        "input": list(_input(sent)),
        "input_images": [(cut(name, MAX_NAME_LENGTH), number) for name, number in images[:MAX_INPUT_IMAGES]],
        "cost_usd": outcome.cost if outcome.cost is not None and isfinite(outcome.cost) else None,
        "seconds": seconds(outcome.started_at, outcome.completed_at),
    }


def _count_urls(output: Json, files: Sequence[str | None]) -> int:
    return sum(1 for _ in urls(output, None, any_length=True)) if files else 0


def _media(output: Json, files: Sequence[str | None]) -> tuple[list[CardMedia], int]:
    """Return the media of a card, and the number of others."""
    media: list[CardMedia] = []
    space, more = MAX_DATA_URL_LENGTH, 0
    # URLs that are too long to be shown are included: their files can be shown, and they have a number.
    for n, (kind, url) in enumerate(urls(output, any_length=True)):
        has_file, is_short = n < len(files) and files[n] is not None, _is_url(url)
        if not (has_file or is_short):
            continue
        if len(media) == MAX_MEDIA:
            more += 1
            continue
        is_data = is_short and url.startswith("data:")
        space -= len(url) if is_data else 0
        shown = url if is_short and not (is_data and space < 0) else None
        media.append({"kind": kind, "url": shown, "n": n, "has_file": has_file})
    return media, more


def _text(output: Json, *, any_length: bool) -> tuple[str | None, bool]:
    """Return the text of an output that is more than its URLs, and whether it is JSON."""
    items = output if isinstance(output, list) and output else [output]
    if output is None or all(_is_url(item, any_length=any_length) for item in items):
        return None, False
    if isinstance(output, str):
        return cut(output, MAX_TEXT_LENGTH), False
    return text(output, MAX_TEXT_LENGTH, indent=2), True


def _is_url(value: Json, *, any_length: bool = False) -> bool:
    return isinstance(value, str) and kind_of(value, any_length=any_length) != "text"


def _input(sent: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    space = MAX_INPUT_LENGTH
    for left, (name, value) in zip(range(len(sent), 0, -1), sent.items(), strict=True):
        if space <= 0:
            yield "…", f"{left} more"
            return
        shown = text(value, min(MAX_VALUE_LENGTH, space))
        space -= len(shown) + len(name)
        yield cut(name, MAX_NAME_LENGTH), shown


def seconds(started_at: int | None, completed_at: int | None) -> float | None:
    """Return the duration between two times in nanoseconds."""
    if started_at is None or completed_at is None or completed_at < started_at:
        return None
    return round((completed_at - started_at) / _NANO, 3)
