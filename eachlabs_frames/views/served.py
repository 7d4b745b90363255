"""Files of the user's that a view shows in a notebook. The browser asks by row and place: it never names a path."""

from __future__ import annotations

import logging
import mimetypes
from pathlib import Path
from typing import Any, Final, Protocol

import anywidget

logger = logging.getLogger("eachlabs_frames")

LARGEST: Final = 64 * 1024 * 1024
"""Bytes: a larger file would hold up whatever else the kernel has to say."""

KINDS: Final = ("image/", "video/", "audio/")


class FileSubject(Protocol):
    """What knows which file belongs where."""

    def path(self, row: int, n: int) -> str | None:
        """Return the path of the file that stands for the URL at place `n` of a row's output; None where none does."""


class Files:
    """Answers a widget's browser that asks for a file: with its bytes, or with none where it cannot be had.

    Parameters
    ----------
    widget : AnyWidget
    subject : FileSubject
    """

    def __init__(self, widget: anywidget.AnyWidget, subject: FileSubject) -> None:
        self._widget = widget
        self._subject = subject
        widget.on_msg(lambda _, content, __: self._asked(content))

    def _asked(self, content: Any) -> None:
        if not isinstance(content, dict) or content.get("kind") != "file":
            return
        row, n = content.get("row"), content.get("n")
        if type(row) is not int or type(n) is not int:
            return
        path = self._subject.path(row, n)
        found = None if path is None else read(Path(path))
        answer = {"kind": "file", "row": row, "n": n, "type": found[0] if found else None}
        self._widget.send(answer, [found[1]] if found else None)


def read(path: Path) -> tuple[str, bytes] | None:
    """Return a file's media type and its bytes; None where it is gone, too large, or nothing that a browser plays."""
    kind, _ = mimetypes.guess_type(path.name)
    if kind is None or not kind.startswith(KINDS):
        return None
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        return kind, path.read_bytes()
    except OSError as exc:
        logger.warning("a downloaded file could not be shown: %s", exc)
        return None
