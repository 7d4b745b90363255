"""The observers of a call: each is given every event, and what one of them raises harms no other."""

from __future__ import annotations

import logging
import threading
from typing import Final

from ..models import Event, Observer

logger = logging.getLogger("eachlabs_frames")


def joined(audience: ObserverList | None, shown: Observer | None) -> Observer | None:
    """Return one observer that tells both."""
    if audience is None:
        return shown
    if shown is not None:
        audience.add(shown)
    return audience


class ObserverList:
    """An observer that passes each event on to others, and drops the one that raises.

    Attributes
    ----------
    latest : Event or None
        The last event.
    drops_raising : bool
        True: what is raised by calling this does not mean that it is to be called no more.
    """

    drops_raising: Final = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._observers: tuple[Observer, ...] = ()
        self.latest: Event | None = None

    def add(self, observer: Observer) -> None:
        """Tell `observer` of each event from now on, once."""
        with self._lock:
            self._observers = (*(one for one in self._observers if one != observer), observer)

    def remove(self, observer: Observer) -> None:
        """Tell it nothing more."""
        with self._lock:
            self._observers = tuple(one for one in self._observers if one != observer)

    def __call__(self, event: Event) -> None:
        """Pass an event on; then raise what is no `Exception` but was raised by an observer (SystemExit, for one)."""
        self.latest = event
        error: BaseException | None = None
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                self.remove(observer)
                logger.exception("an observer raised, and is not called again; the run goes on")
            except BaseException as exc:  # noqa: BLE001 - raised below
                self.remove(observer)
                error = error or exc
        if error is not None:
            raise error
