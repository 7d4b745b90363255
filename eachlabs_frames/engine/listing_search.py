"""Chooses which pages of a workflow's listing a poll reads to find open executions. It sends nothing itself.

Owns when the listing is worth its requests, compared with a request for each bulk operation, and when a search is over.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from math import ceil
from typing import Final

from ..api.reader import ExecutionPage
from ..api.requests import PAGE_SIZE, is_filter

FEW_BULKS: Final = 10
"""Up to this many bulk operations are read one by one, whatever the listing would cost."""

WORTH: Final = 5
"""The listing is read if that takes this many times fewer requests, where executions follow each other in it."""

POOR_YIELD: Final = 2
"""Open bulk operations that a page of the listing must contain to be worth its request."""

SPARSE: Final = PAGE_SIZE / 2
"""Open executions on a page, below which it is known that they do not follow each other in the listing."""


def is_worth_reading(bulks: Mapping[str, set[str]], *, depth: int | None, thrifty: bool) -> bool:
    """Return whether to read the listing rather than each of these bulk operations.

    Parameters
    ----------
    bulks : mapping of str to set of str
        The open executions by bulk operation.
    depth : int or None
        Pages among which they are distributed, if that is known.
    thrifty : bool
        Whether the executions are new, and therefore on the first pages.
    """
    # What the listing cannot be filtered by costs a request for each execution.
    requests = sum(1 if is_filter(bulk_id) else len(ids) for bulk_id, ids in bulks.items())
    pages = ceil(sum(map(len, bulks.values())) / PAGE_SIZE)
    if thrifty:
        return requests > 1 and requests >= pages
    return requests > FEW_BULKS and requests >= (WORTH * pages if depth is None else max(depth, pages))


def sample(executions: int, workers: int) -> list[int]:
    """Return the offsets of one page for each worker, evenly distributed; none if few pages are expected."""
    pages = ceil(executions / PAGE_SIZE)
    return [n * pages // workers * PAGE_SIZE for n in range(workers)] if pages > 2 * workers else []


class ListingSearch:
    """A search for open executions in the listing, newest first.

    Pages are read in waves, concurrently. A wave has as many pages as the missing executions fill. It ends early if its
    pages contain little, until it is known whether the listing is worth its requests.

    Parameters
    ----------
    bulks : mapping of str to set of str
        The open executions by bulk operation.
    workers : int
        Number of pages that are read at a time.
    """

    def __init__(self, bulks: Mapping[str, set[str]], *, workers: int) -> None:
        self._missing = {bulk_id: set(ids) for bulk_id, ids in bulks.items()}
        self._bulk_of = {execution_id: bulk_id for bulk_id, ids in bulks.items() for execution_id in ids}
        self._workers = workers
        self._offset = 0
        # Since the listing was last found to be worth its requests: pages, and open bulk operations on them.
        self._pages = 0
        self._touched: set[str] = set()
        self._found: list[tuple[int, str]] = []  # the page and the execution
        self._has_failed = self._is_poor = self._has_ended = False

    @property
    def is_over(self) -> bool:
        """Whether to read no further pages."""
        return self._has_failed or self._has_ended or self._is_poor or not self._missing

    def wave(self) -> Iterator[int]:
        """Yield the offsets of the next pages, as long as the pages that have been read are worth it."""
        self._pages, self._touched = 0, set()
        for _ in range(self._pages_missing()):
            if self.is_over or self._finds_little():
                return
            self._offset += PAGE_SIZE
            yield self._offset - PAGE_SIZE

    def add(self, offset: int, page: ExecutionPage | None) -> None:
        """Take in a page of the wave; None is one that could not be read."""
        if page is None:
            self._has_failed = True
            return
        enough = min(self._workers, self._pages_missing())
        self._has_ended = self._has_ended or page.is_last
        self._pages += 1
        for entry in page.executions:
            bulk_id = self._bulk_of.pop(entry["execution_id"], None)
            if bulk_id is not None:
                self._found.append((offset // PAGE_SIZE, entry["execution_id"]))
                self._touched.add(bulk_id)
                self._missing[bulk_id].discard(entry["execution_id"])
                if not self._missing[bulk_id]:
                    del self._missing[bulk_id]
        if self._pages >= enough:
            self._is_poor = self._finds_little()
            self._pages, self._touched = 0, set()

    def depth(self, still_open: Container[str]) -> int | None:
        """Return the number of pages among which the executions that are still open are distributed.

        None if they follow each other in the listing, or if not all have been found.
        """
        pages = [page for page, execution_id in self._found if execution_id in still_open]
        depth = max(pages, default=0) + 1
        return None if self._missing or len(pages) >= SPARSE * depth else depth

    def unlisted(self) -> list[str]:
        """Return the open executions that the listing, read to its end, does not contain."""
        return list(self._bulk_of) if self._has_ended and not self._has_failed else []

    def unread(self) -> dict[str, set[str]]:
        """Return the bulk operations that are better read one by one."""
        return self._missing if self._is_poor and not (self._has_failed or self._has_ended) else {}

    def _finds_little(self) -> bool:
        return len(self._touched) < POOR_YIELD * self._pages

    def _pages_missing(self) -> int:
        return max(1, ceil(len(self._bulk_of) / PAGE_SIZE))
