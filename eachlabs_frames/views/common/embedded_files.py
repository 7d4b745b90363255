"""Which of the user's files a page holds, within a bound; the others it links. They are read as the page is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from . import html_page, local_files
from .card import Card

logger = logging.getLogger("eachlabs_frames")

MAX_TOTAL_BYTES: Final = 200_000_000
"""Bytes of files in a page: a larger one no browser opens readily."""


class EmbeddedFile(NamedTuple):
    """A file that a page holds, for the medium at place `n` of a row's output."""

    row: int
    n: int
    found: local_files.LocalFile


def choose(cards: Iterable[Card], find: Callable[[int, int], local_files.LocalFile | None]) -> list[EmbeddedFile]:
    """Return the files that a page of these cards holds, and have the cards say which.

    Parameters
    ----------
    cards : iterable of Card
    find : callable
        Gives the file that was downloaded of a row's output, from its URL at a place; None where nothing is there.
    """
    room, beyond = MAX_TOTAL_BYTES, 0
    chosen: list[EmbeddedFile] = []
    for card in cards:
        for item in card["media"]:
            found = find(card["row"], item["n"]) if item["has_file"] else None
            item["has_file"] = found is not None and found.size <= room
            if found is not None and item["has_file"]:
                room -= found.size
                chosen.append(EmbeddedFile(card["row"], item["n"], found))
            elif found is not None:
                beyond += 1
    if beyond:
        logger.warning(
            "%d files are linked, not held: the page has %d MB of others", beyond, MAX_TOTAL_BYTES // 1_000_000
        )
    return chosen


def read(chosen: Iterable[EmbeddedFile]) -> Iterator[html_page.PageFile]:
    """Yield each file with its bytes; one that is gone meanwhile is left out."""
    for row, n, found in chosen:
        content = local_files.read(found)
        if content is not None:
            yield html_page.PageFile(row, n, found.media_type, content)
