"""``LiveView``: what the dashboard's and the gallery's widgets share. It follows the calls that work on a result.

Owns the refresh thread, the collected events, the static output and closing. Never decides what is displayed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anywidget
import ipywidgets
import traitlets

from ...models import Event, Observer, Outcome
from .notebook_output import NotebookOutput
from .refresher import Refresher

if TYPE_CHECKING:
    from ...frames.calls import Calls


class Subscriber(NamedTuple):
    """The callbacks of one view, a `ResultView` of `Calls`; they are called from any thread."""

    on_event: Observer
    on_call_changed: Callable[[], None]


def _snapshot_to_json(snapshot: Callable[[], object], _: object) -> object:
    return snapshot()


class BrowserWidget(anywidget.AnyWidget):
    """The browser side of a live view; subclasses set ``_esm`` and ``_css``.

    Changes are sent as messages and are no state: the only state is the snapshot as it is when somebody reads it, such
    as a browser that reloads or a notebook that is saved.

    Parameters
    ----------
    snapshot : callable
        Returns the current snapshot, from any thread.
    on_request : callable
        Called with each message of the browser.
    static_key : str
        Key of the static output that the browser hides while the widget is alive.
    """

    snapshot = traitlets.Any().tag(sync=True, to_json=_snapshot_to_json)
    static_key = traitlets.Unicode().tag(sync=True)

    def __init__(self, snapshot: Callable[[], object], on_request: Callable[[Any], None], *, static_key: str) -> None:
        super().__init__(snapshot=snapshot, static_key=static_key)
        self.on_msg(lambda _, content, __: on_request(content))

    def send_snapshot(self) -> None:
        """Send the snapshot, for a browser that asks for it and for a notebook that is saved."""
        self.send_state("snapshot")


class LiveView(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A widget that is updated while calls work on its result.

    Events arrive on the loop's thread, requests of the browser on the kernel's, and `_refresh` runs on a thread of the
    view: code that reads or writes the model must hold `_lock`.

    Parameters
    ----------
    calls : Calls
        The result, and the calls that work on it.
    """

    _browser: BrowserWidget

    def __init__(self, calls: Calls) -> None:
        self._lock = threading.RLock()
        self._events: deque[Event] = deque()
        self._call_changed = True
        self._is_ready = False  # events before that are displayed once there is something to display them in
        self._calls: Final = calls
        self._subscriber: Final = Subscriber(self._on_event, self._on_call_changed)
        self._output = NotebookOutput(self._repr_mimebundle_, self._static)
        self._refresher = Refresher(self._refresh)
        calls.add_view(self._subscriber)
        self._take(self._fetch())
        super().__init__(self._create_widgets())
        self._is_ready = True
        if self._events or self._call_changed:
            self._refresher.schedule()

    def close(self) -> None:
        """Stop updating and remove the widget."""
        self._refresher.close()
        self._output.remove()
        self._calls.remove_view(self._subscriber)
        for widget in (self._browser, self):
            if widget.comm is not None:
                widget.layout.close()
        self._browser.close()
        super().close()

    def _ipython_display_(self, **_: Any) -> None:
        """Display the widget, and static HTML that stays when the widget is gone."""
        self._output.display()

    def _repr_mimebundle_(self, **more: Any) -> dict[str, Any]:
        """Return the widget's MIME bundle, with static HTML and text for front ends without widgets."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**more)
        return bundle | self._static()

    # -- what a view implements -------------------------------------------------------------------------------------

    def _create_widgets(self) -> Sequence[Any]:
        """Create the children, and set `_browser`. Called once, after the rows were read."""
        raise NotImplementedError

    def _take(self, outcomes: list[Outcome] | None) -> None:
        """Pass the outcomes, if any, and then the collected events to the model."""
        raise NotImplementedError

    def _refresh(self) -> float | None:
        """Update the browser. Return after how many seconds to do so again without an event; None: not at all."""
        raise NotImplementedError

    def _static(self) -> dict[str, str]:
        """Return ``text/html`` and ``text/plain``."""
        raise NotImplementedError

    # -- events -----------------------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        self._events.append(event)
        self._wake()

    def _on_call_changed(self) -> None:
        self._call_changed = True
        self._wake()

    def _wake(self) -> None:
        if self._is_ready:
            self._refresher.schedule()

    def _fetch(self) -> list[Outcome] | None:
        """Read all rows if a call has started or ended. May block on the loop thread, so do not hold the lock."""
        if not self._call_changed:
            return None
        self._call_changed = False
        return self._calls.outcomes(self._subscriber, self._events.clear)
