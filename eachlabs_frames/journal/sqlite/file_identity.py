"""Checks that the files of an open journal are still in place. Never opens one: see `database`."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from ...errors import JournalError
from .sqlite_errors import ELSEWHERE, translated


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Identifies the files of a journal, to notice others in their place."""

    path: Path
    log: Path
    files: tuple[tuple[int, int], tuple[int, int]]

    @classmethod
    def of(cls, path: Path) -> FileIdentity:
        """Return the identity of an open journal, whose log exists."""
        log = log_of(path)
        with translated(path):
            return cls(path, log, (_identity(path), _identity(log)))

    def check(self) -> None:
        """Check that both files are in place: what is written to a deleted one is lost.

        Raises
        ------
        JournalError
            One was moved, deleted or replaced.
        """
        with contextlib.suppress(FileNotFoundError):
            if _identity(self.path) == self.files[0]:
                if self.has_log():
                    return
                msg = (
                    f"the log of the journal, {self.log}, was moved, deleted or replaced while it was in use: put it "
                    "back if you can, and make the call again; no other program may touch it while a call is running"
                )
                raise JournalError(msg)
        msg = f"the journal {self.path} was moved, deleted or replaced while it was in use: put it back, or {ELSEWHERE}"
        raise JournalError(msg)

    def has_log(self) -> bool:
        """Return whether the log is still in place."""
        try:
            return _identity(self.log) == self.files[1]
        except FileNotFoundError:
            return False

    def lost_log(self) -> bool:
        """Return whether the log was deleted, and the main file, still in place, has no other log yet."""
        with contextlib.suppress(FileNotFoundError):
            return _identity(self.path) == self.files[0] and not self.log.exists()
        return False


def log_of(path: Path) -> Path:
    """Return where the write-ahead log of a journal is."""
    real = path.resolve()
    return real.with_name(f"{real.name}-wal")


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - with each commit, and pathlib takes five times as long
    return status.st_dev, status.st_ino
