"""``Gallery``: a contact sheet of a frame or run, in a notebook or a file. Owns when the browser is updated.

It never uses the network. Files are read only if the frame names them, and slow work runs on the view's own thread, so
that neither the kernel nor a run waits for an image.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import ipywidgets

from ...frames.run_status import RunStatus
from ...media import cut
from ...models import Event, Json, Observer, Outcome
from ..common import assets, html_page, local_files, static_summary
from ..common.card import Card
from ..common.local_files import Thumbnails
from ..common.notebook_output import MAX_AGE, NotebookOutput
from ..common.refresher import MIN_INTERVAL, Refresher
from ..dashboard.browser import BrowserWidget
from . import static
from .model import GalleryLayout, GalleryModel, GalleryRequest, GallerySnapshot, cards_of, find

logger = logging.getLogger("eachlabs_frames")

SENT_AT_ONCE: Final = 12_000_000
"""Bytes of files that go out with one beat."""

MAX_QUERY_LENGTH: Final = 300
PATIENCE: Final = 1.0
"""Seconds that whoever saves a sheet waits for a beat that takes in rows; on the loop itself it would wait for ever."""


class GalleryData(Protocol):
    """What a gallery is about."""

    @property
    def size(self) -> int:
        """How many rows there are."""

    def attend(self, hear: Observer, turned: Callable[[], None]) -> None:
        """Have `hear` told of each event, and `turned` of a call's end; from any thread."""

    def outcomes(self, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Return how each row stands, and do `meanwhile` at that moment."""

    def head(self) -> RunStatus:
        """Return what is to be said of the call."""

    def make(self, outcomes: Sequence[Outcome]) -> list[Card]:
        """Return the cards of these rows."""

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of a row's files, in the order of its URLs."""

    def close(self) -> None:
        """Look no more."""


class _GalleryBrowser(BrowserWidget):
    """The browser's side."""

    # As texts: of a path anywidget would hold each widget for ever, to tell it of changes of the file.
    _esm = assets.script("gallery")
    _css = assets.style("gallery")


class Gallery(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A contact sheet: a card for each row, with its outputs, its status and its input.

    ``df.eachlabs.gallery()`` and ``run.gallery()`` return it. During a run, cards are updated as executions complete,
    at most four times a second. Without widgets it shows the first 60 cards as HTML, or the first 20 rows as text; in
    a notebook, these are updated at most every 30 s, and when a call starts or ends. `save` writes a file.
    """

    def __init__(self, subject: GalleryData, *, columns: int, size: int, page: int) -> None:
        self._subject = subject
        self._laid_out: Final = GalleryLayout(columns, size, page)
        self._thumbnails = Thumbnails(path for row in range(subject.size) for path in subject.files(row))
        self._lock = threading.RLock()
        self._taking = threading.Lock()  # what was fetched is taken in before what is heard later
        self._sheet = GalleryModel(subject.size, subject.make, first=page + 1)
        self._heard: deque[Event] = deque()
        self._has_turned = True
        self._is_behind = False  # the browser, by its own words
        self._sought: str | None = None
        self._wanted: deque[tuple[int, int]] = deque()
        self._output = NotebookOutput(self._repr_mimebundle_, self._static)
        self._pulse = Refresher(self._beat)
        self._is_made = False  # what is heard before is shown when there is something to show it
        subject.attend(self._hear, self._turn)
        self._take(self._fetched())
        self._sheet.settle(*self._words())
        self._window = _GalleryBrowser(self._written, self._asked, static_key=self._output.key)
        super().__init__([self._window])
        self.add_class("eachlabs-gallery-box")
        self._is_made = True
        if self._heard or self._has_turned:
            self._pulse.wake()

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
            outcomes = self._sheet.outcomes[:]
            snapshot = self._written()
            title = static_summary.title(self._head())
        cards = list(cards_of(outcomes, self._subject.make))
        chosen = local_files.choose_embedded(cards, self._find_file)
        kept: Json = {**snapshot, "cards": cards}
        state = {"snapshot": kept, "is_page": True}
        script, style = assets.script("gallery"), assets.style("gallery")
        return html_page.write(
            target, title, script=script, style=style, state=state, files=local_files.read_embedded(chosen)
        )

    def close(self) -> None:
        """Stop updating and remove the widget. A run in progress continues."""
        self._pulse.close()
        self._output.remove()
        self._thumbnails.close()
        self._subject.close()
        for widget in (self._window, self):
            if widget.comm is not None:
                widget.layout.close()
        self._window.close()
        super().close()

    def __repr__(self) -> str:
        self._catch_up()
        with self._lock:
            return static.text(static_summary.title(self._head()), self._first(static.MAX_LINES), self._subject.size)

    def _ipython_display_(self, **_: Any) -> None:
        """Display the widget, and static HTML that stays when the widget is gone."""
        self._output.display()

    def _repr_mimebundle_(self, **more: Any) -> dict[str, Any]:
        """Offer the widget, and for where there is none a sheet in HTML and a text."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**more)
        return bundle | self._static()

    def _static(self) -> dict[str, str]:
        self._catch_up()
        with self._lock:
            title, cards = static_summary.title(self._head()), self._first(static.MAX_CARDS)
        sheet = static.html(title, cards, self._subject.size, self._laid_out, pictures=self._picture)
        return {"text/html": sheet, "text/plain": repr(self)}

    # -- what is heard ----------------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        self._heard.append(event)
        self._wake()

    def _turn(self) -> None:
        self._has_turned = True
        self._wake()

    def _wake(self) -> None:
        if self._is_made:
            self._pulse.wake()

    def _fetched(self) -> list[Outcome] | None:
        """Return how each row stands, where a call has ended. It may wait for the loop: not under the lock."""
        if not self._has_turned:
            return None
        self._has_turned = False
        return self._subject.outcomes(self._heard.clear)

    def _take(self, outcomes: list[Outcome] | None) -> None:
        if outcomes is not None:
            self._sheet.take(outcomes)
        while self._heard:
            self._sheet.take(self._heard.popleft().changed)

    def _catch_up(self) -> None:
        """Take in what was heard since the last beat: a run may have ended just now."""
        if self._taking.acquire(timeout=PATIENCE):
            try:
                with self._lock:
                    self._take(None)
            finally:
                self._taking.release()

    def _asked(self, asked: GalleryRequest | object) -> None:
        """Note what the browser asks, which may be anything; the pulse answers."""
        if not isinstance(asked, dict):
            return
        kind = asked.get("kind")
        if kind == "watch":
            rows, missing = asked.get("rows"), asked.get("missing")
            with self._lock:
                if isinstance(rows, list) and isinstance(missing, list):
                    self._sheet.watch(rows, missing)
                self._is_behind = self._is_behind or asked.get("seq") != self._sheet.seq
        elif kind == "find":
            self._sought = cut(str(asked.get("text", "")), MAX_QUERY_LENGTH)
        elif kind == "file":
            row, n = asked.get("row"), asked.get("n")
            if type(row) is int and type(n) is int and 0 <= row < self._subject.size and n >= 0:
                self._wanted.append((row, n))
        self._wake()

    # -- what is shown ----------------------------------------------------------------------------------------------

    def _head(self) -> RunStatus:
        head = self._subject.head()
        sheet = self._sheet
        head |= {"total": self._subject.size, "counts": sheet.counts, "accepted": sheet.accepted}
        head["cost_usd"] = sheet.cost_usd
        return head

    def _words(self) -> tuple[str, str | None]:
        """Return what the run is called, and what there is to say of it where not all is well and done."""
        head = self._head()
        is_well = head.get("phase") == "settled" and not head.get("problem")
        return static_summary.heading(head), None if is_well else static_summary.state(head) or None

    def _written(self) -> GallerySnapshot:
        with self._lock:
            return self._sheet.snapshot(*self._words(), time.time(), self._laid_out)

    def _first(self, most: int) -> list[Card]:
        return self._subject.make(self._sheet.outcomes[:most])

    def _beat(self) -> float | None:
        with self._taking:
            outcomes = self._fetched()
            with self._lock:
                self._take(outcomes)
        with self._lock:
            update = self._sheet.update(*self._words(), time.time())
            if update is not None:
                self._window.send(dict(update))
            if outcomes is not None or self._is_behind:
                self._window.keep()
            self._is_behind = False
            has_more = self._sheet.behind
        self._output.refresh(0.0 if outcomes is not None else MAX_AGE)
        self._find()
        self._send_files()
        return MIN_INTERVAL if has_more or self._wanted else None

    def _find(self) -> None:
        """Answer what was sought last. It looks at every card: not under the lock, which a click may wait for."""
        sought, self._sought = self._sought, None
        if sought is not None:
            rows = find(sought, cards_of(self._sheet.outcomes[:], self._subject.make))
            self._window.send({"kind": "found", "text": sought, "rows": rows})

    def _send_files(self) -> None:
        sent = 0
        while self._wanted and sent < SENT_AT_ONCE:
            row, n = self._wanted.popleft()
            sent += local_files.send(self._window, row, n, self._find_file(row, n))

    def _picture(self, row: int, n: int, room: int) -> tuple[str, bytes] | None:
        found = self._thumbnails.find(self._path(row, n), max_bytes=min(room, static.MAX_PICTURE_BYTES))
        if found is None or not found.media_type.startswith("image/"):
            return None
        content = local_files.read(found)
        return None if content is None else (found.media_type, content)

    def _find_file(self, row: int, n: int) -> local_files.LocalFile | None:
        return self._thumbnails.find(self._path(row, n))

    def _path(self, row: int, n: int) -> str | None:
        paths = self._subject.files(row)
        return paths[n] if n < len(paths) else None
