"""A widget that steps through things one by one and has each marked: what a rating and a comparison have in common.

Owns what the kernel's side and the browser's say to each other. The browser asks; what is so is said here alone: a
mark counts when it is in ``state``, and one that was asked for and is not answered yet is shown as such. Each request
has its sender's name and a number, and ``heard`` says up to which number each sender was heard, so that none is lost
while the kernel is busy, and none is taken twice.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, Generic, TypedDict, TypeVar

import anywidget
import traitlets

from ..common import cell_requests
from ..common.local_files import FileServer
from ..common.notebook_output import NotebookOutput
from ..common.refresher import Refresher
from .undo_history import MarkHistory

Mark = TypeVar("Mark")

OPEN: Final = "."
"""In ``marks``: a place that has none."""

WINDOW: Final = 24
"""Things that the browser holds at once: so far it can go on while the kernel is busy."""

AHEAD: Final = 8
STEPS: Final = 50
"""Steps that the browser can take back by itself, until it is answered."""

MAX_SENDERS: Final = 16
MAX_EARLY: Final = 1_000
MAX_SENDER_LENGTH: Final = 40


class ReviewState(TypedDict):
    """The synced trait ``state``: how things stand. ``marks`` has a character for each place."""

    at: int  # the place that is shown; behind the last one: the end
    marks: str
    steps: list[tuple[int, str]]  # the latest that can be taken back: a place, and its mark of before
    heard: dict[str, int]
    problem: str | None  # a sentence
    more: dict[str, Any]  # what the widget itself says


class ReviewWindow(TypedDict):
    """The synced trait ``window``: what is at the places from ``first`` on."""

    first: int
    things: list[Any]


class ReviewRequest(TypedDict, total=False):
    """Browser to kernel."""

    kind: str  # "mark", "undo", "go", or one of the widget's own
    place: int  # mark, go
    mark: str | None  # mark: as in `ReviewState`; None takes it away
    sender: str
    number: int


def _kept(name: str) -> Any:
    """Return a trait's reader that takes nothing from the browser."""
    return lambda _, widget: getattr(widget, name)


class ReviewWidget(anywidget.AnyWidget, Generic[Mark]):
    """Things that are marked one by one.

    Parameters
    ----------
    size : int
        How many things there are.
    marks : mapping of int to mark
        What was marked before, by place.
    """

    state = traitlets.Dict().tag(sync=True, from_json=_kept("state"))
    window = traitlets.Dict().tag(sync=True, from_json=_kept("window"))
    requested_at = traitlets.Float(None, allow_none=True).tag(sync=True, from_json=_kept("requested_at"))
    """When the cell that displays it was run, alone (epoch seconds by the browser's clock): it may take the focus."""
    static_key = traitlets.Unicode().tag(sync=True, from_json=_kept("static_key"))
    _files: FileServer

    def __init__(self, size: int, marks: Mapping[int, Mark]) -> None:
        self._lock = threading.RLock()
        self._sitting = MarkHistory(size, marks)
        self._senders: dict[str, tuple[int, dict[int, Mapping[str, Any]]]] = {}
        self._output = NotebookOutput(self._repr_mimebundle_, self._static)
        self._refresher = Refresher(self._output.refresh)
        # The widget's state goes out with its first message: it is whole by then.
        super().__init__(window=self._window(), state=self._state(), static_key=self._output.key)
        self.on_msg(lambda _, content, __: self._take(content))

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
        """Offer the widget, and for where there is none a table, and a sentence."""
        self.requested_at = cell_requests.requested_alone()
        bundle, metadata = super()._repr_mimebundle_(**more) or ({}, {})
        return bundle | self._static(), metadata

    def _static(self) -> dict[str, str]:
        with self._lock:
            return {"text/plain": repr(self), "text/html": self._html()}

    # -- what a widget says of its own ------------------------------------------------------------------------------

    def _read(self, place: int, mark: object) -> Mark | None:
        """Return the mark that the browser means at a place; None where it is none."""
        raise NotImplementedError

    def _written(self, place: int, mark: Mark) -> str:
        """Return the mark of a place as the browser is told of it: one character."""
        raise NotImplementedError

    def _thing(self, place: int) -> Any:
        """Return what is to be seen at a place, as JSON."""
        raise NotImplementedError

    def _html(self) -> str:
        """Return what is shown where there are no widgets."""
        raise NotImplementedError

    def _more(self) -> dict[str, Any]:
        """Return what is to be said beside the marks, as JSON."""
        raise NotImplementedError

    def _marked(self, place: int) -> None:
        """Keep what was marked, or taken away, at a place."""
        raise NotImplementedError

    @property
    def _problem(self) -> str | None:
        """What went wrong with keeping it, in a sentence."""
        raise NotImplementedError

    def _do(self, asked: Mapping[str, Any]) -> None:
        """Do what only this widget can be asked for."""

    # -- what is asked ----------------------------------------------------------------------------------------------

    def _take(self, asked: object) -> None:
        """Do what the browser asks, which may ask anything, from whatever thread the kernel takes for it."""
        if not isinstance(asked, dict):
            return
        sender, number = asked.get("sender"), asked.get("number")
        if type(sender) is not str or not 0 < len(sender) <= MAX_SENDER_LENGTH or type(number) is not int:
            return
        with self._lock:
            for one in self._due(sender, number, asked):
                self._act(one)
            self._tell()
        self._refresher.schedule()

    def _due(self, sender: str, number: int, asked: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return what is to be done now, in the order in which it was asked.

        The first messages may go another way to the kernel than those behind them (JupyterLab opens a subshell for
        them meanwhile), and come later: what is early waits. What comes twice is passed over.
        """
        heard, early = self._senders.pop(sender, (0, {}))
        if heard < number <= heard + MAX_EARLY:
            early[number] = asked
        due: list[Mapping[str, Any]] = []
        while heard + 1 in early:
            heard += 1
            due.append(early.pop(heard))
        self._senders[sender] = heard, early  # the latest is the last: of many senders those are known
        for old in list(self._senders)[:-MAX_SENDERS]:
            del self._senders[old]
        return due

    def _act(self, asked: Mapping[str, Any]) -> None:
        kind, place, sitting = asked.get("kind"), asked.get("place"), self._sitting
        if kind == "undo":
            undone = sitting.undo()
            if undone is not None:
                self._marked(undone)
        elif kind == "go" and type(place) is int:
            sitting.go(place)
        elif kind == "mark" and type(place) is int and 0 <= place < sitting.size:
            mark = asked.get("mark")
            read = None if mark is None else self._read(place, mark)
            if mark is None or read is not None:
                sitting.mark(place, read)
                self._marked(place)
        else:
            self._do(asked)

    # -- what is told -----------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        at, first, end = self._sitting.at, self.window["first"], self.window["first"] + len(self.window["things"])
        if at < first or min(at + AHEAD, self._sitting.size) > end:
            self.window = dict(self._window())
        self.state = dict(self._state())

    def _window(self) -> ReviewWindow:
        first = max(0, min(self._sitting.at - AHEAD, self._sitting.size - WINDOW))
        places = range(first, min(first + WINDOW, self._sitting.size))
        return {"first": first, "things": [self._thing(place) for place in places]}

    def _state(self) -> ReviewState:
        sitting = self._sitting
        marks = [self._character(place, sitting.marks.get(place)) for place in range(sitting.size)]
        return {
            "at": sitting.at,
            "marks": "".join(marks),
            "steps": [(place, self._character(place, mark)) for place, mark in sitting.steps(STEPS)],
            "heard": {sender: heard for sender, (heard, _) in self._senders.items()},
            "problem": self._problem,
            "more": self._more(),
        }

    def _character(self, place: int, mark: Mark | None) -> str:
        return OPEN if mark is None else self._written(place, mark)
