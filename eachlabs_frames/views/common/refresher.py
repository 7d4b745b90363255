"""When a view is brought up to date: on a thread of its own, at most four times a second, and only while it has to be.

It knows nothing of what is shown.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("eachlabs_frames")

MIN_INTERVAL: Final = 0.25
"""Seconds between two beats, at least: what a notebook takes without getting slow, and faster than anybody reads."""


class Refresher:
    """Calls `beat` soon after each `wake`, and as often as it asks for.

    Parameters
    ----------
    beat : callable
        Returns the seconds after which it wants to be called though nothing wakes it; None: not at all.
    pause : callable
        Waits so many seconds.
    """

    def __init__(self, beat: Callable[[], float | None], *, pause: Callable[[float], None] = time.sleep) -> None:
        self._beat = beat
        self._pause = pause
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def wake(self) -> None:
        """Have a beat soon. Returns at once, whatever thread calls."""
        self._some.set()
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="eachlabs-view", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Beat no more."""
        self._closed = True
        self._some.set()

    def _run(self) -> None:
        while not self._closed:
            self._some.clear()
            try:
                again = self._beat()
            except Exception:
                logger.exception("a view could not be brought up to date")
                again = None
            self._pause(MIN_INTERVAL)
            if again is not None and not self._closed:
                self._some.wait(max(again - MIN_INTERVAL, 0.0))
            elif self._ends():
                return

    def _ends(self) -> bool:
        with self._lock:
            if self._some.is_set() and not self._closed:
                return False
            self._thread = None
            return True
