"""Refreshes a view on a thread of its own: soon after it is scheduled, at most four times a second, only while needed.

It knows nothing of what is displayed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("eachlabs_frames")

MIN_INTERVAL: Final = 0.25
"""Seconds between two refreshes, at least: more would slow down a notebook, and nobody reads faster."""


class Refresher:
    """Calls `refresh` soon after each `schedule`, and again after the seconds that it returns.

    Parameters
    ----------
    refresh : callable
        Returns after how many seconds to call it again even if nothing is scheduled; None: not at all.
    pause : callable
        Sleeps for so many seconds.
    """

    def __init__(self, refresh: Callable[[], float | None], *, pause: Callable[[float], None] = time.sleep) -> None:
        self._refresh = refresh
        self._pause = pause
        self._lock = threading.Lock()
        self._scheduled = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def schedule(self) -> None:
        """Refresh soon. Returns at once; may be called from any thread."""
        self._scheduled.set()
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="eachlabs-view", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop refreshing."""
        self._closed = True
        self._scheduled.set()

    def _run(self) -> None:
        while not self._closed:
            self._scheduled.clear()
            try:
                delay = self._refresh()
            except Exception:
                logger.exception("a view could not be updated")
                delay = None
            self._pause(MIN_INTERVAL)
            if delay is not None and not self._closed:
                self._scheduled.wait(max(delay - MIN_INTERVAL, 0.0))
            elif self._ends():
                return

    def _ends(self) -> bool:
        with self._lock:
            if self._scheduled.is_set() and not self._closed:
                return False
            self._thread = None
            return True
