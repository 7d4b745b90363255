"""Signals of a command (SIGINT, SIGTERM, SIGHUP): how they stop it, and the exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..aio.interrupts import InterruptHandler
from .exit_codes import SIGNAL_CODE_BASE
from .terminal import notify

if TYPE_CHECKING:
    from ..aio.bridge import Call

T = TypeVar("T")

NOTICE_DELAY: Final = 0.5
"""Seconds from a Ctrl-C to the message that explains the delay."""

STOPPING: Final = "stopping: waiting up to 10 s for responses in flight; interrupt again to stop immediately"


class Signals(InterruptHandler):
    """Handles SIGINT, SIGTERM and SIGHUP while a command runs.

    Before `run`, a signal raises KeyboardInterrupt. During `run` it stops the call. After `run` it is only recorded, so
    that it cannot interrupt the write of a result.

    Attributes
    ----------
    number : int
        The last signal; 0 if there was none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self._replaced: list[tuple[int, Any]] = []
        self._is_running = False
        self._notice: threading.Timer | None = None

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                # nohup ignores SIGHUP.
                if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                    self._replaced.append((number, signal.signal(number, self._handle)))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._replaced:
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def restore(self) -> None:
        """Keep handling signals: they are recorded until the command ends."""

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        if self._is_running and self.action is not None and self._notice is None:
            self._notice = threading.Timer(NOTICE_DELAY, notify, [STOPPING])
            self._notice.start()
        super()._handle(number, frame)

    @property
    def exit_code(self) -> int:
        """The exit code of a process that was ended by a signal, as in a shell."""
        return SIGNAL_CODE_BASE + (self.number or signal.SIGINT)

    def run(self, make: Callable[[], Call[T]]) -> T:
        """Run a call to its end; a signal stops it.

        Raises
        ------
        KeyboardInterrupt
            There was a signal before the call had ended. If rows may have been sent, it is an `Interrupted`.
        """
        from ..aio.bridge import run

        self._is_running = True
        try:
            return run(make, handler=self)
        finally:
            self._is_running = False
            if self._notice is not None:
                self._notice.cancel()
