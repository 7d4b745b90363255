"""The `-mark` file beside a journal: which journal it belongs to, and the highest record number that was committed.

Owns the layout of that file. It never reads the database and decides nothing: `completeness` compares the two.

A claim is written to the mark after its commit and before its request is sent, so a mark is never ahead of a healthy
journal, whenever the process is killed. It is not synced to the disk: a power failure may leave an older mark, which
proves less but never accuses a healthy journal. Each session writes a slot of its own, so no lock is needed and no
session can set the mark of another one back.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

_MAGIC: Final = b"EFJMARK1"
_HEADER: Final = struct.Struct("<8s16sI4x")
_SLOT: Final = struct.Struct("<QI4x")
_SLOTS: Final = 254
"""Slots of a file of 4 KiB. Two sessions share one only if 254 others began in between."""


class MarkContent(NamedTuple):
    """What a mark says: the id of its journal, and the highest record number."""

    journal: bytes
    written: int


def path_of(path: Path) -> Path:
    """Return where the mark of the journal at `path` is."""
    real = path.resolve()
    return real.with_name(f"{real.name}-mark")


def read(path: Path) -> MarkContent | None:
    """Return what the mark of the journal at `path` says, or None if there is none that can be read."""
    try:
        content = path_of(path).read_bytes()
    except OSError:
        return None
    if len(content) < _HEADER.size:
        return None
    magic, journal, checksum = _HEADER.unpack_from(content)
    if magic != _MAGIC or checksum != zlib.crc32(journal):
        return None
    slots = _SLOT.iter_unpack(content[_HEADER.size :][: (len(content) - _HEADER.size) // _SLOT.size * _SLOT.size])
    return MarkContent(journal, max((number for number, check in slots if check == _check(journal, number)), default=0))


class MarkWriter:
    """The slot of one session in the mark. `open` must be called inside a write transaction of the journal.

    Parameters
    ----------
    path : pathlib.Path
        The journal.
    journal : bytes
        The journal's id.
    session : int
    """

    def __init__(self, path: Path, journal: bytes, session: int) -> None:
        self._path = path_of(path)
        self._journal_path = path
        self._journal = journal
        self._place = _HEADER.size + session % _SLOTS * _SLOT.size
        self._handle = -1
        self._stamp: tuple[int, int] | None = None

    def open(self, written: int) -> None:
        """Open the file, create it if it is missing or another journal's, and see that it still is the one in place."""
        if self._stamp is not None and self._found() == self._stamp:
            return
        self.close()
        existing = read(self._journal_path)
        self._handle = os.open(self._path, os.O_CREAT | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o600)
        if existing is None or existing.journal != self._journal:
            # All of its 4 KiB at once: a full disk is then noticed here, and never after a commit.
            header = _HEADER.pack(_MAGIC, self._journal, zlib.crc32(self._journal))
            self._put(0, header + bytes(_SLOTS * _SLOT.size))
            self.write(written)
        status = os.fstat(self._handle)
        self._stamp = status.st_dev, status.st_ino

    def write(self, number: int) -> None:
        """Note that the records up to `number` are committed."""
        self._put(self._place, _SLOT.pack(number, _check(self._journal, number)))

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle, self._stamp = -1, None

    def _put(self, place: int, content: bytes) -> None:
        os.lseek(self._handle, place, os.SEEK_SET)
        os.write(self._handle, content)

    def _found(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - with each commit, and pathlib takes five times as long
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


def _check(journal: bytes, number: int) -> int:
    return zlib.crc32(number.to_bytes(8, "little"), zlib.crc32(journal))
