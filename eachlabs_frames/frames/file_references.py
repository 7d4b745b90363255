"""Which public URLs stand for which files, as the journal knows it. It only reads, and asks nothing of the API."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from ..errors import EachlabsError
from ..inputs.file_values import reference
from ..journal import open_journal
from ..settings import Settings
from ..uploads.account import account_of

logger = logging.getLogger("eachlabs_frames")


class FileReferences(Mapping[str, str]):
    """The reference of each file that an account has uploaded, by its public URL.

    The journal is read when an input is compared for the first time: most calls have no file.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
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
            self._known = {}
            try:
                if self._settings.dialect != "legacy":
                    records = open_journal(self._settings.journal).uploads(account_of(self._settings))
                    self._known = {record.public_url: reference(record.digest) for record in records}
            except EachlabsError as exc:
                logger.warning("which files were uploaded cannot be read from the journal: %s", exc)
        return self._known
