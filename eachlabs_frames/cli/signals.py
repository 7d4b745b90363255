"""Ctrl-C, SIGTERM and a closed terminal: what they do to a command, and the exit code that tells of them."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, TypeVar

from .terminal import say

T = TypeVar("T")

SIGNALLED: Final = 128

PATIENCE: Final = 0.5
"""Seconds after which somebody who has pressed Ctrl-C should hear why nothing happens."""

STOPPING: Final = "stopping: waiting up to 10 s for responses in flight; interrupt again to stop immediately"


class Signals:
    """Ctrl-C, SIGTERM and a closed terminal, for as long as one command runs.

    Until `run`, one raises a KeyboardInterrupt. During `run` it cancels the work; after it, it is only remembered, so
    that nothing strikes while a result is being written.

    Attributes
    ----------
    number : int
        The signal that came last; 0 where none did.
    """

    def __init__(self) -> None:
        self.number = 0
        self._act: Callable[[], object] = _interrupt
        self._before: list[tuple[int, Any]] = []

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                # nohup has the closed terminal ignored.
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
        """What a shell expects of a process that a signal ended."""
        return SIGNALLED + (self.number or signal.SIGINT)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end; a signal cancels it.

        Raises
        ------
        asyncio.CancelledError
            A signal came before `work` had ended.
        """
        self._act = _nothing

        async def cancellable() -> T:
            loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
            told: list[asyncio.TimerHandle] = []

            def stop() -> None:
                if not told:
                    told.append(loop.call_later(PATIENCE, say, STOPPING))
                task.cancel()

            self._act = lambda: loop.call_soon_threadsafe(stop)
            if self.number:
                task.cancel()
            try:
                return await task
            finally:
                self._act = _nothing
                for handle in told:
                    handle.cancel()

        return asyncio.run(cancellable())


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _nothing() -> None:
    return None
