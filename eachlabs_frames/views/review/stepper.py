"""``ReviewWidget``: steps through items one by one and marks each. Base class of `Rating` and `Comparison`.

Owns the messages between kernel and browser. The kernel has the truth: a mark counts once it is in ``state``, and the
browser displays a mark without an answer as pending. Each request has a ``sender`` and a ``number``, and ``processed``
holds the last number that was processed of each sender, so that no request is lost while the kernel is busy or
processed twice. Its ``kind`` is "mark" (``place``, and ``mark`` as in `ReviewState`, None to remove it), "undo", "go"
(``place``), or one of the subclass.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypedDict, TypeVar

import anywidget
import traitlets

from ..common import cell_requests
from ..common.input_files import InputFiles
from ..common.notebook_output import NotebookOutput
from ..common.refresher import Refresher
from ..common.view_files import ViewFiles
from .undo_history import MarkHistory

Mark = TypeVar("Mark")

OPEN: Final = "."
"""In ``marks``: a place without a mark."""

WINDOW: Final = 24
"""Items that the browser has at a time: it can go on with these while the kernel is busy."""

AHEAD: Final = 8
STEPS: Final = 50
"""Steps that the browser can undo without the kernel."""

MAX_SENDERS: Final = 16
MAX_EARLY: Final = 1_000
MAX_SENDER_LENGTH: Final = 40


class ReviewState(TypedDict):
    """The synced trait ``state``. ``marks`` has a character for each place."""

    at: int  # the place that is displayed; the number of places at the end
    marks: str
    steps: list[tuple[int, str]]  # the latest that can be undone: a place, and its mark before
    processed: dict[str, int]
    problem: str | None  # a sentence
    details: dict[str, Any]  # of the subclass


class ReviewSource(Protocol[Mark]):
    """The items, by place, and the store of their marks."""

    @property
    def size(self) -> int:
        """Number of items."""

    @property
    def frame(self) -> Any:
        """A new frame with the current marks."""

    @property
    def problem(self) -> str | None:
        """Why marks could not be stored, as a sentence."""

    @property
    def rows(self) -> Sequence[int]:
        """The rows of all cards, in display order."""

    @property
    def input_files(self) -> InputFiles:
        """The files in the inputs of the items."""

    def files(self, row: int) -> Sequence[str | None]:
        """Return the paths of a row's downloaded files, in the order of the URLs in its output."""

    def marks(self) -> Mapping[int, Mark]:
        """Return the marks, by place."""

    def item(self, place: int) -> Any:
        """Return the item at a place, as JSON."""

    def store(self, place: int, mark: Mark | None, /) -> None:
        """Store the mark of a place, or remove it (None)."""


def _read_only(name: str) -> Any:
    """Return a ``from_json`` that ignores the browser's value of a trait."""
    return lambda _, widget: getattr(widget, name)


class ReviewWidget(anywidget.AnyWidget, Generic[Mark]):
    """Items that are marked one by one."""

    state = traitlets.Dict().tag(sync=True, from_json=_read_only("state"))
    window = traitlets.Dict().tag(sync=True, from_json=_read_only("window"))
    """``items`` at the places from ``first`` on."""
    requested_at = traitlets.Float(None, allow_none=True).tag(sync=True, from_json=_read_only("requested_at"))
    """When its cell was run alone (epoch seconds by the browser's clock), so that it may take the focus; else None."""
    static_key = traitlets.Unicode().tag(sync=True, from_json=_read_only("static_key"))

    def __init__(self, source: ReviewSource[Mark]) -> None:
        self._source = source
        self._lock = threading.RLock()
        self._history = MarkHistory(source.size, source.marks())
        self._senders: dict[str, tuple[int, dict[int, Mapping[str, Any]]]] = {}
        self._output = NotebookOutput(self._repr_mimebundle_, self._static)
        self._refresher = Refresher(self._output.refresh)
        # The first message contains the state, so it is complete by then.
        super().__init__(window=self._window(), state=self._state(), static_key=self._output.key)
        self.on_msg(lambda _, content, __: self._on_request(content))
        self._files = ViewFiles(source.files, source.rows, source.input_files)
        self._files.serve(self)

    def close(self) -> None:
        """Remove the widget."""
        self._refresher.close()
        self._output.remove()
        self._files.close()
        if self.comm is not None:
            self.layout.close()
        super().close()

    def _ipython_display_(self, **_: Any) -> None:
        """Display the widget, and static HTML that stays when the widget is gone."""
        self._output.display()

    def _repr_mimebundle_(self, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget's MIME bundle, with static HTML and text for front ends without widgets."""
        self.requested_at = cell_requests.requested_alone()
        bundle, metadata = super()._repr_mimebundle_(**more) or ({}, {})
        return bundle | self._static(), metadata

    def _static(self) -> dict[str, str]:
        with self._lock:
            return {"text/plain": repr(self), "text/html": self._html()}

    # -- hooks of subclasses ----------------------------------------------------------------------------------------

    def _parse_mark(self, place: int, mark: object, /) -> Mark | None:
        """Parse a mark from the browser; None if it is invalid."""
        raise NotImplementedError

    def _format_mark(self, place: int, mark: Mark, /) -> str:
        """Return a mark as the character that the browser gets."""
        raise NotImplementedError

    def _html(self) -> str:
        """Return static HTML for front ends without widgets."""
        raise NotImplementedError

    def _details(self) -> dict[str, Any]:
        """Return the ``details`` of ``state``, as JSON."""
        raise NotImplementedError

    def _on_other_request(self, request: Mapping[str, Any]) -> None:
        """Handle a request of a kind that only the subclass defines."""

    # -- requests ---------------------------------------------------------------------------------------------------

    def _on_request(self, request: object) -> None:
        """Handle a request, which may hold anything. May be called from several threads of the kernel."""
        if not isinstance(request, dict):
            return
        sender, number = request.get("sender"), request.get("number")
        if type(sender) is not str or not 0 < len(sender) <= MAX_SENDER_LENGTH or type(number) is not int:
            return
        with self._lock:
            for due in self._due(sender, number, request):
                self._handle(due)
            self._send_state()
        self._refresher.schedule()

    def _due(self, sender: str, number: int, request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the requests to process now, in the order of their numbers.

        The first messages may take another way to the kernel than later ones (JupyterLab opens a subshell for those)
        and arrive after them, so early requests wait. Duplicates are ignored.
        """
        processed, early = self._senders.pop(sender, (0, {}))
        if processed < number <= processed + MAX_EARLY:
            early[number] = request
        due: list[Mapping[str, Any]] = []
        while processed + 1 in early:
            processed += 1
            due.append(early.pop(processed))
        self._senders[sender] = processed, early  # moves to the end: only the latest senders are kept
        for old in list(self._senders)[:-MAX_SENDERS]:
            del self._senders[old]
        return due

    def _handle(self, request: Mapping[str, Any]) -> None:
        kind, place, history = request.get("kind"), request.get("place"), self._history
        if kind == "undo":
            undone = history.undo()
            if undone is not None:
                self._source.store(undone, history.marks.get(undone))
        elif kind == "go" and type(place) is int:
            history.go(place)
        elif kind == "mark" and type(place) is int and 0 <= place < history.size:
            mark = request.get("mark")
            parsed = None if mark is None else self._parse_mark(place, mark)
            if mark is None or parsed is not None:
                history.mark(place, parsed)
                self._source.store(place, parsed)
        else:
            self._on_other_request(request)

    # -- state ------------------------------------------------------------------------------------------------------

    def _send_state(self) -> None:
        at, first, end = self._history.at, self.window["first"], self.window["first"] + len(self.window["items"])
        if at < first or min(at + AHEAD, self._history.size) > end:
            self.window = self._window()
        self.state = dict(self._state())

    def _window(self) -> dict[str, Any]:
        first = max(0, min(self._history.at - AHEAD, self._history.size - WINDOW))
        places = range(first, min(first + WINDOW, self._history.size))
        return {"first": first, "items": [self._source.item(place) for place in places]}

    def _state(self) -> ReviewState:
        history = self._history
        marks = [self._character(place, history.marks.get(place)) for place in range(history.size)]
        return {
            "at": history.at,
            "marks": "".join(marks),
            "steps": [(place, self._character(place, mark)) for place, mark in history.steps(STEPS)],
            "processed": {sender: number for sender, (number, _) in self._senders.items()},
            "problem": self._source.problem,
            "details": self._details(),
        }

    def _character(self, place: int, mark: Mark | None) -> str:
        return OPEN if mark is None else self._format_mark(place, mark)
