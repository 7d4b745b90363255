"""How far the uploads of a call are, as a text. It prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..models import Clock

INTERVAL: Final = 0.5
"""Seconds between two reports while bytes are sent."""


class UploadProgress:
    """Counts uploads and bytes, and reports them.

    Parameters
    ----------
    clock : Clock
    report : callable
        Called with a text, and with None when nothing is left to upload.
    """

    def __init__(self, clock: Clock, report: Callable[[str | None], object]) -> None:
        self._clock = clock
        self._report = report
        self._reported_at = 0.0
        self._total = self._done = self._sent = 0

    def add(self) -> None:
        """Count a content that is to be uploaded."""
        self._total += 1

    def send(self, size: int) -> None:
        """Count bytes that were sent."""
        self._sent += size
        if self._clock.now() - self._reported_at >= INTERVAL:
            self.show()

    def finish(self) -> None:
        """Count a content that was uploaded or has failed."""
        self._done += 1
        self.show()

    def end(self) -> None:
        """Report that nothing is uploaded any more."""
        self._report(None)

    def show(self) -> None:
        """Report now."""
        self._reported_at = self._clock.now()
        is_over = self._done == self._total
        self._report(None if is_over else f"uploading {self._done} of {self._total}, {format_size(self._sent)}")


def format_size(size: float) -> str:
    """Return a number of bytes for a reader.

    Examples
    --------
    >>> from eachlabs_frames.uploads.progress import format_size
    >>> format_size(340_000_000), format_size(1_250), format_size(12)
    ('340 MB', '1 kB', '12 bytes')
    """
    for limit, unit, digits in ((1e9, "GB", 1), (1e6, "MB", 0), (1e3, "kB", 0)):
        if size >= limit:
            return f"{size / limit:.{digits}f} {unit}"
    return f"{size:.0f} bytes"
