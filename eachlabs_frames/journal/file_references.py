"""Which public URLs stand for which files, as a journal knows it. It asks nothing of the API."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from ..errors import JournalError
from .base import Journal

logger = logging.getLogger("eachlabs_frames")


class FileReferences(Mapping[str, str]):
    """The reference of each uploaded file, of any account, by its public URL.

    The journal is read when inputs do not match otherwise: most calls have no file.

    Parameters
    ----------
    journal : Journal
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: Mapping[str, str] | None = None

    def follow(self, known: Mapping[str, str]) -> None:
        """Use these from now on, which grow with the uploads of a call."""
        self._known = known

    def __getitem__(self, url: str) -> str:
        return self._read()[url]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> Mapping[str, str]:
        if self._known is None:
            try:
                self._known = self._journal.file_references()
            except JournalError as exc:
                self._known = {}
                logger.warning("which files were uploaded cannot be read from the journal: %s", exc)
        return self._known
