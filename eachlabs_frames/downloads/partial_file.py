"""Writes, hashes and renames a partial file. It does not know which execution the file belongs to.

One thread at a time writes and hashes a partial file. It gets its final name in one step or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ..media import HEAD_BYTES

PART: Final = ".part"
CHUNK_SIZE: Final = 1024 * 1024
"""Bytes that are written or read at once."""

_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EINVAL})


class PartialFile:
    """A file that is hashed as it is written, and created with its first bytes.

    Attributes
    ----------
    path : str
    size : int
        Bytes written so far.
    sha256 : hashlib's object
    head : bytes
        The first `HEAD_BYTES` bytes, which identify the media type.
    named : bool
        Whether it was renamed, so that there is nothing to remove.
    etag : str or None
        The strong entity tag of the whole file, with which the rest of it can be requested.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.named = False
        self.etag: str | None = None
        self._file: int | None = None
        self._reset()

    def _reset(self) -> None:
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.head = b""
        self._exists = False

    @classmethod
    def reopened(cls, path: str, etag: str) -> PartialFile:
        """Return a partial file that exists at `path`; it is read once, for the checksum."""
        part = cls(path)
        part._exists = True
        with Path(path).open("rb") as file:
            while chunk := file.read(CHUNK_SIZE):
                part._hash(chunk)
        part._file = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        part.etag = etag
        return part

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append bytes."""
        if self._file is None:
            self._file = os.open(self.path, _NEW, 0o666)
            self._exists = True
        joined = memoryview(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        self._hash(joined)
        while joined:
            joined = joined[os.write(self._file, joined) :]

    def _hash(self, data: bytes | memoryview) -> None:
        self.sha256.update(data)
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(data[: HEAD_BYTES - len(self.head)])
        self.size += len(data)

    def digest(self, name: str) -> bytes:
        """Return its checksum by the algorithm `name`."""
        return self.sha256.digest() if name == "sha256" else digest(self.path, name)

    def close(self) -> int:
        """Close the file; return its modification time, in nanoseconds since 1970."""
        if self._file is None:
            return 0
        try:
            return os.fstat(self._file).st_mtime_ns
        finally:
            os.close(self._file)
            self._file = None

    def discard(self) -> None:
        """Remove the file unless it was renamed. It can be written again from the start."""
        with contextlib.suppress(OSError):
            self.close()
        if self._exists and not self.named:
            with contextlib.suppress(OSError):
                Path(self.path).unlink()
        self._reset()


def move_without_replacing(source: str, target: str, *, link: Callable[[str, str], None]) -> None:
    """Rename atomically, but raise `FileExistsError` instead of replacing a file."""
    if os.name == "nt":
        Path(source).rename(target)  # raises FileExistsError on Windows
        return
    try:
        link(source, target)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        # A file system without hard links: an empty file reserves the name.
        os.close(os.open(target, _NEW, 0o666))
        Path(source).replace(target)
    else:
        Path(source).unlink()


def is_same(path: str, part: PartialFile) -> bool:
    """Return whether a file has the same bytes as a partial file."""
    try:
        info = os.lstat(path)
        same = stat.S_ISREG(info.st_mode) and info.st_size == part.size
        return same and digest(path, "sha256") == part.sha256.digest()
    except OSError:
        return False


def digest(path: str, name: str) -> bytes:
    """Return a file's checksum by the algorithm `name`."""
    checksum: Any = hashlib.new(name, usedforsecurity=False)
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK_SIZE):
            checksum.update(chunk)
    value: bytes = checksum.digest()
    return value
