"""Results -> the frame that its user gets, whatever ends the run. What was paid for is never dropped here.

Owns the moment after the last answer: a second Ctrl-C, a frame that was changed meanwhile or an error of ours must
not stand between an execution and its row.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

import pandas as pd

from ..core.outcomes import Results
from ..errors import APIError, ColumnError, Interrupted
from . import results as columns
from .results import Origin

logger = logging.getLogger("eachlabs_frames")

T = TypeVar("T")


class Handover:
    """The frame of one call, from before the first request to after the last answer.

    Parameters
    ----------
    frame : pandas.DataFrame
        As the user gave it.
    results : Results
        What is written, by position.
    origin : Origin
        What the frame's attrs will say; a call may change it on its way.
    inplace : bool
        Whether `frame` itself is written.
    """

    def __init__(self, frame: pd.DataFrame, results: Results, origin: Origin, *, inplace: bool) -> None:
        self.source = columns.snapshot(frame)
        self.origin = origin
        self._results = results
        self._given = frame if inplace else None
        self._index = frame.index

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Let whatever ends the run take the frame along: a KeyboardInterrupt as `Interrupted`."""
        try:
            yield
        except APIError:
            raise  # raised only where nothing was sent
        except BaseException as exc:
            words = f"{self._results.accepted} of {self._results.size} rows have an execution"
            frame = self.written()
            if isinstance(exc, KeyboardInterrupt):
                raise _interrupted(words, frame) from exc
            exc.frame = frame  # type: ignore[attr-defined]  # any exception may carry it
            logger.exception("%s; the frame as it stands is in .frame of this exception", words)
            raise

    def written(self) -> pd.DataFrame:
        """Write the results, and return the frame.

        Raises
        ------
        ColumnError
            The frame was changed in place meanwhile; its ``frame`` holds the results, with the index of before.
        Interrupted
            By Ctrl-C: after all is written, never before.
        """
        frame, interrupted = _unbroken(self._write)
        if interrupted is not None:
            words = "all answers were written"
            raise _interrupted(words, frame) from interrupted
        return frame

    def _write(self) -> pd.DataFrame:
        target = self.source if self._given is None else self._given
        if target.index is not self._index and not target.index.identical(self._index):
            apart = pd.DataFrame(index=self._index)
            msg = "the frame was changed while its rows were on their way: the results are in .frame of this exception"
            error = ColumnError(msg)
            error.frame = self._describe(columns.write(apart, self._results, self.origin.prefix))  # type: ignore[attr-defined]
            raise error
        return self._describe(columns.write(target, self._results, self.origin.prefix))

    def _describe(self, frame: pd.DataFrame) -> pd.DataFrame:
        columns.describe(frame, self.origin)
        return frame


def _interrupted(words: str, frame: pd.DataFrame) -> Interrupted:
    msg = f"interrupted: {words}; the frame as it stood is in .frame (in a notebook: sys.last_value.frame)"
    return Interrupted(msg, frame)


def _unbroken(work: Callable[[], T]) -> tuple[T, KeyboardInterrupt | None]:
    """Do `work` in a thread, where no Ctrl-C reaches it; return its value, and the Ctrl-C that came meanwhile."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as exc:  # noqa: BLE001 - carried to the thread that waits
            done.set_exception(exc)

    thread = threading.Thread(target=run, name="eachlabs-frames-handover")
    thread.start()
    interrupted: KeyboardInterrupt | None = None
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as exc:
            interrupted = exc
    return done.result(), interrupted
