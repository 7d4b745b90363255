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
        self._own: Mapping[str, str] = {}

    def follow(self, own: Mapping[str, str]) -> None:
        """Use these too from now on, which grow with the uploads of a call."""
        self._own = own

    def read_again(self) -> None:
        """Read the journal once more when it is needed: another process may have recorded uploads meanwhile."""
        self._known = None

    def __getitem__(self, url: str) -> str:
        own = self._own.get(url)
        return self._read()[url] if own is None else own

    def __iter__(self) -> Iterator[str]:
        return iter({**self._read(), **self._own})

    def __len__(self) -> int:
        return len({**self._read(), **self._own})

    def _read(self) -> Mapping[str, str]:
        if self._known is None:
            try:
                self._known = self._journal.file_references()
            except JournalError as exc:
                self._known = {}
                logger.warning("which files were uploaded cannot be read from the journal: %s", exc)
        return self._known
