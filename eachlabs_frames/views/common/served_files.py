"""Files of the user's that a view shows in a notebook. The browser asks by row and place: it never names a path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import anywidget

from . import local_files as files
from .thumbnails import Thumbnails


class FileSource(Protocol):
    """What knows which file belongs where."""

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of the files that stand for the URLs of a row's output, in their order."""

    def path(self, row: int, n: int) -> str | None:
        """Return the path of the file that stands for the URL at place `n` of a row's output; None where none does."""


class FileServer:
    """Answers a widget's browser that asks for a file: with its bytes, or with none where it cannot be had.

    Parameters
    ----------
    widget : AnyWidget
    subject : FileSubject
    rows : iterable of int
        The rows that the widget shows, in the order in which they are seen: their pictures outlive their files.
    """

    def __init__(self, widget: anywidget.AnyWidget, subject: FileSource, rows: Iterable[int]) -> None:
        self._widget = widget
        self._subject = subject
        self._thumbnails = Thumbnails(path for row in rows for path in subject.files(row))
        widget.on_msg(lambda _, content, __: self._asked(content))

    def find(self, row: int, n: int, *, largest: int = files.MAX_FILE_BYTES) -> files.LocalFile | None:
        """Return the file that stands for the URL at place `n` of a row's output, or the copy of one that is gone."""
        return self._thumbnails.find(self._subject.path(row, n), largest=largest)

    def close(self) -> None:
        """Forget the copies."""
        self._thumbnails.close()

    def _asked(self, asked: Any) -> None:
        if not isinstance(asked, dict) or asked.get("kind") != "file":
            return
        row, n = asked.get("row"), asked.get("n")
        if type(row) is not int or type(n) is not int:
            return
        found = self.find(row, n)
        content = None if found is None else files.read(found)
        kind = None if found is None or content is None else found.media_type
        self._widget.send({"kind": "file", "row": row, "n": n, "type": kind}, None if content is None else [content])
