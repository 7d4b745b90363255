"""``Gallery``: a contact sheet of a frame or run, in a notebook or a file. Owns when the browser is updated.

It never uses the network. Files are read only if the frame names them, and slow work runs on the view's own thread, so
that neither the kernel nor a run waits for an image.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...checks import check_whole
from ...errors import ConfigurationError
from ...media import cut
from ...models import Json, Outcome
from ..common import assets, html_page, view_files
from ..common.card import Card
from ..common.input_files import INPUTS
from ..common.live_view import BrowserWidget, LiveView
from ..common.notebook_output import MAX_AGE
from ..common.refresher import MIN_INTERVAL
from ..common.source import Cards
from ..common.status_text import heading, state, title
from ..common.view_files import ViewFiles
from . import static
from .model import GalleryLayout, GalleryModel, GallerySnapshot, find, make_cards

if TYPE_CHECKING:
    from ...frames.calls import Calls
    from ...frames.run_status import RunStatus

MAX_COLUMNS: Final = 50
MIN_SIZE, MAX_SIZE = 80, 2_000
MAX_PAGE_SIZE: Final = 1_000

MAX_BYTES_PER_REFRESH: Final = 12_000_000
"""Bytes of files that are sent in one refresh."""

MAX_QUERY_LENGTH: Final = 300
SAVE_TIMEOUT: Final = 1.0
"""Seconds that `save` waits for a refresh that reads rows: on the loop thread it would wait for ever."""


class _GalleryBrowser(BrowserWidget):
    """The browser side."""

    # Texts, because anywidget watches a path for changes and so keeps each widget alive for ever.
    _esm = assets.script("gallery")
    _css = assets.style("gallery")


class Gallery(LiveView):
    """A contact sheet: a card for each row, with its outputs, its status and its input.

    ``df.eachlabs.gallery()`` and ``run.gallery()`` return it. During a run, cards are updated as executions complete,
    at most four times a second. Without widgets it shows the first 60 cards as HTML, or the first 20 rows as text; in
    a notebook, these are updated at most every 30 s, and when a call starts or ends. `save` writes a file.
    """

    def __init__(self, calls: Calls, cards: Cards, layout: GalleryLayout) -> None:
        self._cards = cards
        self._layout: Final = layout
        self._files = ViewFiles(cards.files, range(len(cards)), cards.input_files)
        self._taking = threading.Lock()  # outcomes that were read are taken before later events
        self._model = GalleryModel(len(cards), cards.make, first=layout.page + 1)
        self._is_behind = False  # the browser, as it reports itself
        self._query: str | None = None
        self._requested_files: deque[tuple[int, int]] = deque()
        super().__init__(calls)
        self.add_class("eachlabs-gallery-box")

    def save(self, path: str | Path) -> Path:
        """Write the current sheet to one HTML file, which opens without a notebook.

        Parameters
        ----------
        path : str or Path
            With the suffix ``.html`` or ``.htm``. An existing file is replaced.

        Returns
        -------
        pathlib.Path
            Path of the file. Downloaded images, videos and audio are embedded, up to 32 MB each and 200 MB in total;
            other outputs are linked, and their URLs expire after about 24 hours. Input images are embedded as small
            pictures.

        Raises
        ------
        ConfigurationError
            The suffix is another one, `path` is a folder, or its folder does not exist.
        OSError
            The file cannot be written.

        Examples
        --------
        >>> import pandas as pd, eachlabs_frames
        >>> sheet = pd.DataFrame({"prompt": ["a fox"]}).eachlabs.gallery()
        >>> sheet.save("sheet.html")  # doctest: +SKIP
        PosixPath('sheet.html')
        """
        target = Path(path)
        html_page.check_suffix(target, "gallery", ".html")
        self._catch_up()
        with self._lock:
            outcomes = self._model.outcomes[:]
            snapshot: Json = self._snapshot()
            page_title = title(self._head())
        cards = snapshot["cards"] = list(make_cards(outcomes, self._cards.make))
        outputs = view_files.read_embedded(view_files.choose_embedded(cards, self._files.find))
        return html_page.write(
            target,
            page_title,
            script=assets.script("gallery"),
            style=assets.style("gallery"),
            state={"snapshot": snapshot, "is_page": True},
            files=chain(outputs, self._cards.input_files.page_files(cards)),
        )

    def close(self) -> None:
        """Stop updating and remove the widget. A run in progress continues."""
        super().close()
        self._files.close()

    def __repr__(self) -> str:
        self._catch_up()
        with self._lock:
            return static.text(title(self._head()), self._first_cards(static.MAX_LINES), len(self._cards))

    def _create_widgets(self) -> Sequence[Any]:
        self._model.settle(*self._texts())
        self._browser = _GalleryBrowser(self._snapshot, self._on_request, static_key=self._output.key)
        return [self._browser]

    def _static(self) -> dict[str, str]:
        self._catch_up()
        with self._lock:
            caption, cards = title(self._head()), self._first_cards(static.MAX_CARDS)
        html = static.html(caption, cards, len(self._cards), self._layout, read_picture=self._read_picture)
        return {"text/html": html, "text/plain": repr(self)}

    # -- events and requests ----------------------------------------------------------------------------------------

    def _take(self, outcomes: list[Outcome] | None) -> None:
        if outcomes is not None:
            self._model.take(outcomes)
        while self._events:
            self._model.take(self._events.popleft().changed)

    def _catch_up(self) -> None:
        """Take the events since the last refresh: a run may have ended just now."""
        if self._taking.acquire(timeout=SAVE_TIMEOUT):
            try:
                with self._lock:
                    self._take(None)
            finally:
                self._taking.release()

    def _on_request(self, request: object) -> None:
        """Record a request of the browser, which may hold anything; the next refresh answers it."""
        if not isinstance(request, dict):
            return
        kind = request.get("kind")
        if kind == "watch":
            rows, missing = request.get("rows"), request.get("missing")
            with self._lock:
                if isinstance(rows, list) and isinstance(missing, list):
                    self._model.watch(rows, missing)
                self._is_behind = self._is_behind or request.get("seq") != self._model.seq
        elif kind == "find":
            self._query = cut(str(request.get("text", "")), MAX_QUERY_LENGTH)
        elif kind == "file":
            row, n = request.get("row"), request.get("n")
            if type(row) is int and type(n) is int and INPUTS <= row < len(self._cards) and n >= 0:
                self._requested_files.append((row, n))
        self._wake()

    # -- display ----------------------------------------------------------------------------------------------------

    def _head(self) -> RunStatus:
        head, model = self._calls.head(), self._model
        head |= {"total": len(self._cards), "counts": model.counts, "accepted": model.accepted}
        head["cost_usd"] = model.cost_usd
        return head

    def _texts(self) -> tuple[str, str | None]:
        """Return the heading, and a sentence on the state of the run unless all rows are settled without a problem."""
        head = self._head()
        is_well = head.get("phase") == "settled" and not head.get("problem")
        return heading(head), None if is_well else state(head) or None

    def _snapshot(self) -> GallerySnapshot:
        with self._lock:
            return self._model.snapshot(*self._texts(), time.time(), self._layout)

    def _first_cards(self, count: int) -> list[Card]:
        return self._cards.make(self._model.outcomes[:count])

    def _refresh(self) -> float | None:
        with self._taking:
            outcomes = self._fetch()
            with self._lock:
                self._take(outcomes)
        with self._lock:
            update = self._model.update(*self._texts(), time.time())
            if update is not None:
                self._browser.send(dict(update))
            if outcomes is not None or self._is_behind:
                self._browser.send_snapshot()
            self._is_behind = False
            has_more = self._model.behind
        self._output.refresh(0.0 if outcomes is not None else MAX_AGE)
        self._answer_query()
        self._send_files()
        return MIN_INTERVAL if has_more or self._requested_files else None

    def _answer_query(self) -> None:
        """Answer the latest search. It reads every card, so it does not hold the lock, which a click may wait for."""
        query, self._query = self._query, None
        if query is not None:
            rows = find(query, make_cards(self._model.outcomes[:], self._cards.make))
            self._browser.send({"kind": "found", "text": query, "rows": rows})

    def _send_files(self) -> None:
        sent = 0
        while self._requested_files and sent < MAX_BYTES_PER_REFRESH:
            row, n = self._requested_files.popleft()
            sent += view_files.send(self._browser, row, n, self._files.find(row, n))

    def _read_picture(self, row: int, n: int, max_bytes: int) -> tuple[str, bytes] | None:
        file = self._files.find(row, n, max_bytes=min(max_bytes, static.MAX_PICTURE_BYTES))
        if file is None or not file.media_type.startswith("image/"):
            return None
        content = view_files.read(file)
        return None if content is None else (file.media_type, content)


def gallery(
    calls: Calls, *, label: Hashable | Sequence[Hashable] | None, columns: object, size: object, page: object
) -> Gallery:
    """Return a gallery of a result.

    Raises
    ------
    ColumnError
        `label` names no column.
    ConfigurationError
        `columns`, `size` or `page` is not a valid number.
    """
    across = check_whole("columns", columns, 1, MAX_COLUMNS)
    pixels = float(size) if isinstance(size, Real) and not isinstance(size, bool) else 0.0
    if not MIN_SIZE <= pixels <= MAX_SIZE:
        msg = f"size must be a number of pixels, {MIN_SIZE:,} to {MAX_SIZE:,}; got {size!r}"
        raise ConfigurationError(msg)
    layout = GalleryLayout(across, round(pixels), check_whole("page", page, 1, MAX_PAGE_SIZE))
    cards = Cards(calls.frame, label=label, prefix=calls.origin.prefix, origin=lambda: calls.origin)
    return Gallery(calls, cards, layout)
