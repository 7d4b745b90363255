"""Keeps contents that are in no file of the user's, such as bytes and images, until they are uploaded."""

from __future__ import annotations

import tempfile
import threading
import weakref
from typing import Final

MAX_IN_MEMORY: Final = 16 * 1024 * 1024
"""Bytes of all contents of a call; beyond that, they are in a temporary file, which has no name on most systems."""


class ContentSpool:
    """Contents one after another, in memory and then in one temporary file, which `close` removes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file = tempfile.SpooledTemporaryFile(max_size=MAX_IN_MEMORY)  # noqa: SIM115 - closed by `close`
        self._end = 0
        self.close = weakref.finalize(self, self._file.close)

    @property
    def size(self) -> int:
        """Bytes of all contents, which is where the next one begins."""
        return self._end

    def write(self, piece: bytes | memoryview) -> None:
        """Append a piece to the last content."""
        with self._lock:
            self._file.seek(self._end)
            self._file.write(piece)
            self._end += len(piece)

    def forget_since(self, start: int) -> None:
        """Drop what was appended since `size` was `start`."""
        self._end = start

    def read(self, start: int, size: int) -> bytes:
        """Return a part. Any thread may read."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)
