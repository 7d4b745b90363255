"""The browser's side of a dashboard, as the kernel sees it: one anywidget, whose only trait is its last snapshot.

What changes is sent as messages, and is no state; what is saved or reloaded is the snapshot as it is at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from ..common import assets
from ..common.messages import (
    DashboardRequest,
    DashboardSnapshot,
    DashboardUpdate,
    FileMessage,
    FoundLines,
    OpenedLine,
    RowsMessage,
)


def _written(value: Callable[[], object], _: object) -> object:
    return value()


class BrowserWidget(anywidget.AnyWidget):
    """Shows what it is told, in the way of whoever derives from it: ``_esm`` and ``_css`` are its files.

    Parameters
    ----------
    written : callable
        Gives the snapshot, from any thread: whenever somebody asks for this widget's state.
    asked : callable
        Called with what the browser asks.
    static_key : str
        Of the static output that is hidden while this is alive.
    """

    snapshot = traitlets.Any().tag(sync=True, to_json=_written)
    static_key = traitlets.Unicode().tag(sync=True)

    def __init__(self, written: Callable[[], object], asked: Callable[[Any], None], *, static_key: str) -> None:
        super().__init__(snapshot=written, static_key=static_key)
        self.on_msg(lambda _, content, __: asked(content))

    def keep(self) -> None:
        """Send the snapshot: for the browser that asks for it, and for whoever saves the notebook."""
        self.send_state("snapshot")


class DashboardBrowser(BrowserWidget):
    """Shows a dashboard."""

    # As texts: of a path anywidget would hold each widget for ever, to tell it of changes of the file.
    _esm = assets.script("dashboard")
    _css = assets.style("dashboard")

    def __init__(
        self, written: Callable[[], DashboardSnapshot], asked: Callable[[DashboardRequest], None], *, static_key: str
    ) -> None:
        super().__init__(written, asked, static_key=static_key)

    def tell(self, update: DashboardUpdate) -> None:
        """Send what has changed."""
        self.send(dict(update))

    def show_rows(self, line: int, opened: OpenedLine) -> None:
        """Send an opened line's rows."""
        rows: RowsMessage = {"kind": "rows", "line": line, **opened}
        self.send(rows)

    def show_found(self, text: str, lines: list[int]) -> None:
        """Send the lines that hold a text."""
        found: FoundLines = {"kind": "found", "text": text, "lines": lines}
        self.send(found)

    def save_file(self, name: str, content: bytes, *, media_type: str) -> None:
        """Have the browser save a file."""
        file: FileMessage = {"kind": "file", "name": name, "type": media_type}
        self.send(file, [content])
