"""Signals of a command (SIGINT, SIGTERM, SIGHUP): how they stop it, and the exit code."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, TypeVar

from .terminal import notify

T = TypeVar("T")

SIGNAL_CODE_BASE: Final = 128

NOTICE_DELAY: Final = 0.5
"""Seconds from a Ctrl-C to the message that explains the delay."""

STOPPING: Final = "stopping: waiting up to 10 s for responses in flight; interrupt again to stop immediately"


class Signals:
    """Handles SIGINT, SIGTERM and SIGHUP while a command runs.

    Before `run`, a signal raises KeyboardInterrupt. During `run` it cancels the coroutine. After `run` it is only
    recorded, so that it cannot interrupt the write of a result.

    Attributes
    ----------
    number : int
        The last signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.number = 0
        self._act: Callable[[], object] = _interrupt
        self._before: list[tuple[int, Any]] = []

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                # nohup ignores SIGHUP.
                if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                    self._before.append((number, signal.signal(number, self._on_signal)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before:
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is Python's
        self.number = number
        self._act()

    @property
    def exit_code(self) -> int:
        """The exit code of a process that was ended by a signal, as in a shell."""
        return SIGNAL_CODE_BASE + (self.number or signal.SIGINT)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; a signal cancels it.

        Raises
        ------
        asyncio.CancelledError
            A signal came before `work` had ended.
        """
        self._act = _ignore

        async def cancellable() -> T:
            loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
            notices: list[asyncio.TimerHandle] = []

            def stop() -> None:
                if not notices:
                    notices.append(loop.call_later(NOTICE_DELAY, notify, STOPPING))
                task.cancel()

            self._act = lambda: loop.call_soon_threadsafe(stop)
            if self.number:
                task.cancel()
            try:
                return await task
            finally:
                self._act = _ignore
                for handle in notices:
                    handle.cancel()

        return asyncio.run(cancellable())


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _ignore() -> None:
    return None
