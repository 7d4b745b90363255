"""``Gallery``: a contact sheet of a frame or run, in a notebook or a file. Owns when the browser is updated.

It never uses the network. Files are read only if the frame names them, and slow work runs on the view's own thread, so
that neither the kernel nor a run waits for an image.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from ...frames.run_status import RunStatus
from ...media import cut
from ...models import Json, Outcome
from ..common import assets, html_page, local_files, static_summary
from ..common.card import Card
from ..common.live_view import BrowserWidget, LiveData, LiveView
from ..common.local_files import ViewFiles
from ..common.notebook_output import MAX_AGE
from ..common.refresher import MIN_INTERVAL
from . import static
from .model import GalleryLayout, GalleryModel, GalleryRequest, GallerySnapshot, cards_of, find

logger = logging.getLogger("eachlabs_frames")

MAX_BYTES_PER_REFRESH: Final = 12_000_000
"""Bytes of files that are sent in one refresh."""

MAX_QUERY_LENGTH: Final = 300
SAVE_TIMEOUT: Final = 1.0
"""Seconds that `save` waits for a refresh that reads rows: on the loop thread it would wait for ever."""


class GalleryData(LiveData, Protocol):
    """The result that a gallery displays."""

    @property
    def size(self) -> int:
        """Number of rows."""

    def make(self, outcomes: Sequence[Outcome]) -> list[Card]:
        """Return the cards of these rows."""

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of a row's files, in the order of its URLs."""


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

    _source: GalleryData

    def __init__(self, source: GalleryData, *, columns: int, size: int, page: int) -> None:
        self._layout: Final = GalleryLayout(columns, size, page)
        self._files = ViewFiles(source.files, range(source.size))
        self._taking = threading.Lock()  # outcomes that were read are taken before later events
        self._model = GalleryModel(source.size, source.make, first=page + 1)
        self._is_behind = False  # the browser, as it says itself
        self._query: str | None = None
        self._requested_files: deque[tuple[int, int]] = deque()
        super().__init__(source)
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
            other outputs are linked, and their URLs expire after about 24 hours.

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
            snapshot = self._snapshot()
            title = static_summary.title(self._head())
        cards = list(cards_of(outcomes, self._source.make))
        chosen = local_files.choose_embedded(cards, self._files.find)
        kept: Json = {**snapshot, "cards": cards}
        state = {"snapshot": kept, "is_page": True}
        script, style = assets.script("gallery"), assets.style("gallery")
        return html_page.write(
            target, title, script=script, style=style, state=state, files=local_files.read_embedded(chosen)
        )

    def close(self) -> None:
        """Stop updating and remove the widget. A run in progress continues."""
        super().close()
        self._files.close()

    def __repr__(self) -> str:
        self._catch_up()
        with self._lock:
            return static.text(
                static_summary.title(self._head()), self._first_cards(static.MAX_LINES), self._source.size
            )

    def _create_widgets(self) -> Sequence[Any]:
        self._model.settle(*self._texts())
        self._browser = _GalleryBrowser(self._snapshot, self._on_request, static_key=self._output.key)
        return [self._browser]

    def _static(self) -> dict[str, str]:
        self._catch_up()
        with self._lock:
            title, cards = static_summary.title(self._head()), self._first_cards(static.MAX_CARDS)
        sheet = static.html(title, cards, self._source.size, self._layout, pictures=self._picture)
        return {"text/html": sheet, "text/plain": repr(self)}

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

    def _on_request(self, request: GalleryRequest | object) -> None:
        """Note a request of the browser, which may hold anything; the next refresh answers it."""
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
            if type(row) is int and type(n) is int and 0 <= row < self._source.size and n >= 0:
                self._requested_files.append((row, n))
        self._wake()

    # -- display ----------------------------------------------------------------------------------------------------

    def _head(self) -> RunStatus:
        head = self._source.head()
        model = self._model
        head |= {"total": self._source.size, "counts": model.counts, "accepted": model.accepted}
        head["cost_usd"] = model.cost_usd
        return head

    def _texts(self) -> tuple[str, str | None]:
        """Return the heading, and a sentence on the state of the run unless all rows are settled without a problem."""
        head = self._head()
        is_well = head.get("phase") == "settled" and not head.get("problem")
        return static_summary.heading(head), None if is_well else static_summary.state(head) or None

    def _snapshot(self) -> GallerySnapshot:
        with self._lock:
            return self._model.snapshot(*self._texts(), time.time(), self._layout)

    def _first_cards(self, count: int) -> list[Card]:
        return self._source.make(self._model.outcomes[:count])

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
            rows = find(query, cards_of(self._model.outcomes[:], self._source.make))
            self._browser.send({"kind": "found", "text": query, "rows": rows})

    def _send_files(self) -> None:
        sent = 0
        while self._requested_files and sent < MAX_BYTES_PER_REFRESH:
            row, n = self._requested_files.popleft()
            sent += local_files.send(self._browser, row, n, self._files.find(row, n))

    def _picture(self, row: int, n: int, room: int) -> tuple[str, bytes] | None:
        file = self._files.find(row, n, max_bytes=min(room, static.MAX_PICTURE_BYTES))
        if file is None or not file.media_type.startswith("image/"):
            return None
        content = local_files.read(file)
        return None if content is None else (file.media_type, content)
