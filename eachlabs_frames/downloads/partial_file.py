"""A partial file: writing, hashing and renaming it. It does not know which execution the file belongs to.

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
PIECE: Final = 1024 * 1024
"""Bytes that are written, or read again, at once."""

_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EINVAL})


class PartialFile:
    """A file written in pieces and hashed as it is written; it is created with its first bytes.

    Attributes
    ----------
    path : str
    size : int
        Bytes so far.
    sha256 : hashlib's object
    head : bytes
        The first `HEAD_BYTES` bytes, which say what kind of file it is.
    named : bool
        Whether it has its name, so that nothing of it is left to clear away.
    etag : str or None
        The strong entity tag of the whole file, by which the rest of it may be asked for.
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
        self._begun = False

    @classmethod
    def reopened(cls, path: str, etag: str) -> PartialFile:
        """Return a part whose first bytes are in the file at `path` already; they are read once, for the checksum."""
        part = cls(path)
        part._begun = True
        with Path(path).open("rb") as file:
            while piece := file.read(PIECE):
                part._take_in(piece)
        part._file = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        part.etag = etag
        return part

    def write(self, pieces: Sequence[bytes]) -> None:
        """Add some bytes."""
        if self._file is None:
            self._file = os.open(self.path, _NEW, 0o666)
            self._begun = True
        joined = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        self._take_in(joined)
        while joined:
            joined = joined[os.write(self._file, joined) :]

    def _take_in(self, data: bytes | memoryview) -> None:
        self.sha256.update(data)
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(data[: HEAD_BYTES - len(self.head)])
        self.size += len(data)

    def digest(self, name: str) -> bytes:
        """Return its checksum by that name."""
        return self.sha256.digest() if name == "sha256" else digest(self.path, name)

    def close(self) -> int:
        """Write no more; return when it was last written, in nanoseconds since 1970."""
        if self._file is None:
            return 0
        try:
            return os.fstat(self._file).st_mtime_ns
        finally:
            os.close(self._file)
            self._file = None

    def discard(self) -> None:
        """Remove what was written, unless it has got a name; another file may be written in its place."""
        with contextlib.suppress(OSError):
            self.close()
        if self._begun and not self.named:
            with contextlib.suppress(OSError):
                os.unlink(self.path)  # noqa: PTH108 - the paths are str
        self._reset()


def move_without_replacing(source: str, target: str, *, link: Callable[[str, str], None]) -> None:
    """Rename, but raise `FileExistsError` where there is a file: in one step, so that no race can lose one."""
    if os.name == "nt":
        os.rename(source, target)  # noqa: PTH104 - which does just that there
        return
    try:
        link(source, target)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        # A file system without links: the name is taken first, by an empty file.
        os.close(os.open(target, _NEW, 0o666))
        os.replace(source, target)  # noqa: PTH105 - the paths are str
    else:
        os.unlink(source)  # noqa: PTH108 - the paths are str


def is_same(path: str, part: PartialFile) -> bool:
    """Say whether a file holds the very bytes of a part."""
    try:
        found = os.lstat(path)
        same = stat.S_ISREG(found.st_mode) and found.st_size == part.size
        return same and digest(path, "sha256") == part.sha256.digest()
    except OSError:
        return False


def digest(path: str, name: str) -> bytes:
    """Return a file's checksum by that name, read piece by piece."""
    found: Any = hashlib.new(name, usedforsecurity=False)
    with Path(path).open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    told: bytes = found.digest()
    return told
