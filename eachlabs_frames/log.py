"""The package's logger. No handler or filter of the application's ends a call that has paid for something."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import traceback


def guard(name: str = "eachlabs_frames") -> None:
    """Have a logger report what its handlers and filters raise as the standard library's handlers do: on stderr.

    A log call stands between a paid request and the record of its answer, also on the event loop's thread. There a
    KeyboardInterrupt can only come from a handler; in the main thread it may be a Ctrl-C and is raised.
    """
    logger = logging.getLogger(name)
    handle = logger.handle

    def guarded(record: logging.LogRecord) -> None:
        try:
            handle(record)
        except BaseException as exc:
            if not isinstance(exc, Exception) and threading.current_thread() is threading.main_thread():
                raise
            if logging.raiseExceptions and sys.stderr is not None:
                with contextlib.suppress(OSError, ValueError):
                    traceback.print_exc()

    logger.handle = guarded  # type: ignore[method-assign]  # whatever class the application gave its loggers
