"""The content of one file value, as it is uploaded: its digest, size and type, and where it is read from."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Final

from ..inputs.file_values import UnusableFileError
from .spool import ContentSpool

PIECE: Final = 1024 * 1024
"""Bytes that are read at once; more is never in memory for one file."""


_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode), "a device"),
)


@dataclass(frozen=True, slots=True)
class FileSource:
    """One content.

    Attributes
    ----------
    digest : str
        SHA-256 of the file, or of the pixels of an image that is in no file; in hexadecimal.
    size : int
        Bytes that are uploaded.
    content_type : str
    name : str
        The name of the file where the content was first found; of other values, a part of the digest.
    path : Path or None
        The file; None if the content is in `spool`, where it begins at `start`.
    """

    digest: str
    size: int
    content_type: str
    name: str
    path: Path | None = None
    spool: ContentSpool | None = field(default=None, repr=False)
    start: int = 0

    def pieces(self) -> Iterator[bytes]:
        """Yield the content, in pieces of at most `PIECE` bytes; of a file, the last one only if all are unchanged.

        Raises
        ------
        UnusableFileError
            The file is gone, or has another content now.
        """
        if self.path is not None:
            return _unchanged(self.path, self.size, self.digest)
        return self._spooled()

    def is_unchanged(self) -> bool:
        """Read the content once more, and return whether it is the same."""
        try:
            for _ in self.pieces():
                pass
        except UnusableFileError:
            return False
        return True

    def _spooled(self) -> Iterator[bytes]:
        if self.spool is not None:
            for done in range(0, self.size, PIECE):
                yield self.spool.read(self.start + done, min(PIECE, self.size - done))


def _unchanged(path: Path, size: int, digest: str) -> Iterator[bytes]:
    # Hashed again even if its times are what they were: a write to a page of a shared memory map that is dirty already
    # changes neither mtime nor ctime (measured on ext4 and tmpfs, 3 s after the write before).
    checksum, left = hashlib.sha256(), size
    try:
        with open_regular(path, str(path)) as file:
            while left:
                piece = file.read(min(PIECE, left))
                if not piece:
                    break
                checksum.update(piece)
                left -= len(piece)
                if not left and checksum.hexdigest() != digest:
                    break
                yield piece
            else:
                return
    except OSError as exc:
        msg = f"the file {str(path)!r} cannot be read any more: {exc.strerror or exc}"
        raise UnusableFileError(msg) from exc
    raise ChangedFileError(path)


def open_regular(path: str | Path, shown: str) -> FileIO:
    """Open a file that is read, but nothing that may block or has no end.

    Raises
    ------
    UnusableFileError
        It is a folder, a device or the like.
    OSError
    """
    # Before it is opened: to open a device may have an effect.
    _check_kind(Path(path).stat(), shown)
    # Not waiting for the writer of a pipe, in case it became one.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = FileIO(handle)
    try:
        _check_kind(os.fstat(handle), shown)
    except BaseException:
        file.close()
        raise
    return file


def _check_kind(status: os.stat_result, shown: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((kind for is_kind, kind in _KINDS if is_kind(status.st_mode)), "no file")
        msg = f"{shown!r} is {kind}, not a file"
        raise UnusableFileError(msg)


class ChangedFileError(UnusableFileError):
    """A file has another content than when it was hashed."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"the file {str(path)!r} has changed since its row was prepared: make the call again")
