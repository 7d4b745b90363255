"""Builds the frame returned to the caller. Accepted executions are always written, however the run ends.

Owns the time after the last response: a second Ctrl-C, a frame that was changed meanwhile or an internal error never
loses an execution.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from array import array
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..aio.background import between
from ..errors import APIError, ColumnError, Interrupted, JournalError
from ..models import Outcome
from ..results import Results
from ..tracebacks import is_bare
from . import attrs, columns, sent_inputs
from .columns import ResultMeta
from .rows import Positions

logger = logging.getLogger("eachlabs_frames")

_lock = threading.Lock()
_written_into: set[int | None] = set()


class ResultFrame:
    """The frame of one call, from before the first request to after the last answer.

    Parameters
    ----------
    frame : pandas.DataFrame
        As the user gave it.
    results : Results
        What is written, by position.
    origin : ResultMeta
        What the frame's attrs will say; a call may change it on its way.
    inplace : bool
        Whether `frame` itself is written.

    Attributes
    ----------
    sent : tuple of numpy.ndarray and array, or None
        The rows that the call is about, and the checksums of their inputs.
    before_writing : callable or None
        Called on the bridge's thread before the results are used up: nobody may write into them afterwards.
    """

    def __init__(self, frame: pd.DataFrame, results: Results, origin: ResultMeta, *, inplace: bool) -> None:
        self.source = columns.snapshot(frame)
        self.origin = origin
        self._superseded = origin.superseded, origin.superseded_cost
        self._results = results
        self._given = frame if inplace else None
        self._index = frame.index
        self._begun = False
        self._lock = threading.Lock()
        self._writing = False
        self._over = False
        self._written: Future[pd.DataFrame] = Future()
        self.sent: tuple[Positions, array[int]] | None = None
        self.before_writing: Callable[[], None] | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Attach the frame to whatever ends the run; a KeyboardInterrupt becomes an `Interrupted`.

        A cancellation keeps its class, which asyncio needs, and says what an `Interrupted` says.

        Raises
        ------
        ColumnError
            Another call is writing into this very frame.
        """
        with self._alone():
            try:
                yield
            except (APIError, JournalError):
                raise  # raised only where nothing was sent, or only read
            except BaseException as exc:
                words = f"{self._results.accepted} of {self._results.size} rows have an execution"
                frame = self.written()
                if isinstance(exc, KeyboardInterrupt):
                    raise self._interrupted(words, frame, exc) from (None if is_bare(exc) else exc)
                exc.frame = frame  # type: ignore[attr-defined]  # any exception may carry it
                if isinstance(exc, asyncio.CancelledError):
                    exc.run = self.origin.run  # type: ignore[attr-defined]  # as above
                    exc.args = (self._sentence("cancelled", words),)
                    # Whoever cancels a task often drops its exception; `asyncio.run` of Python 3.10 does.
                    logger.warning("%s", exc.args[0], extra={"is_cancellation": True})
                else:
                    logger.exception("%s; the frame so far is in .frame of this exception", words)
                raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two calls in one frame would each send its rows, and one would write over the other's."""
        key = None if self._given is None else id(self._given)
        with _lock:
            if key in _written_into:
                msg = "another call is writing into this frame (inplace=True): wait for it, or trigger a copy"
                raise ColumnError(msg)
            if key is not None:
                _written_into.add(key)
        try:
            yield
        finally:
            with _lock:
                _written_into.discard(key)

    def so_far(self) -> pd.DataFrame:
        """Return a new frame with the results as they are at this moment, in the rows' order; from any thread."""
        copy = self._held(self._copied)
        if copy is None:
            return columns.snapshot(self._written.result())
        return self._describe(columns.write(columns.snapshot(self.source), copy, self.origin.prefix))

    def _held(self, copied: Callable[[], Results | None]) -> Results | None:
        """Return what `copied` gives; where no step can come between any more, nobody is waited for."""
        return copied() if self._writing or self._over else between(copied)

    def end(self) -> None:
        """Say that no step comes any more."""
        self._over = True

    @property
    def is_written(self) -> bool:
        """Whether a frame was written, so that what was paid for is in it."""
        return self._written.done()

    def outcomes(self, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Return how each row stands, and do `meanwhile` at that very moment: no step comes between."""

        def both() -> Results | None:
            meanwhile()
            return self._copied()

        results = self._held(both)
        if results is None:
            results = columns.read(self._written.result(), self.origin.prefix)
        return [results.outcome(row) for row in range(results.size)]

    def tally(self) -> Mapping[str, int]:
        """Return the rows per status, before the first step."""
        return self._results.tally()

    def accepted(self) -> int:
        """Return how many rows have an execution, before the first step."""
        return self._results.accepted

    def _copied(self) -> Results | None:
        with self._lock:
            return None if self._writing else self._results.copy()

    def written(self) -> pd.DataFrame:
        """Write the results, and return the frame.

        Raises
        ------
        ColumnError
            The frame was changed in place meanwhile; its ``frame`` holds the results, with the index of before.
        Interrupted
            By Ctrl-C: after all is written, never before.
        """
        if self.before_writing is not None:
            between(self.before_writing)
        with self._lock:
            self._writing = True  # which uses the results up
        try:
            frame = self._write()
        except BaseException as exc:
            self._tell(getattr(exc, "frame", self.source))
            raise
        self._tell(frame)
        return frame

    def _tell(self, frame: pd.DataFrame) -> None:
        if not self._written.done():
            self._written.set_result(frame)

    def _write(self) -> pd.DataFrame:
        made: dict[str, Any] = {}
        early = _insisting(lambda: columns.arrays(self._results, self._index, made=made))
        whole: list[pd.DataFrame] = []
        try:
            late = _insisting(lambda: whole.append(self._attach(made)))
        except Exception as exc:
            bare = columns.attach(pd.DataFrame(index=self._index), made, self.origin.prefix)
            exc.frame = self._describe(bare)  # type: ignore[attr-defined]  # any exception may carry it
            raise
        struck = late or early
        if isinstance(struck, KeyboardInterrupt):
            words = "all answers were written"
            raise self._interrupted(words, whole[-1], struck) from (None if is_bare(struck) else struck)
        if struck is not None:
            struck.frame = whole[-1]  # type: ignore[attr-defined]  # any exception may carry it
            raise struck
        return whole[-1]

    def interrupted_late(self, error: KeyboardInterrupt) -> Interrupted:
        """Return what to raise for a Ctrl-C that came after the last answer: with the whole frame."""
        return self._interrupted("all answers were written", self.written(), error)

    def _attach(self, made: dict[str, Any]) -> pd.DataFrame:
        target = self.source.copy(deep=False) if self._given is None else self._given
        if self._given is not None and not self._is_unchanged(self._given):
            msg = "the frame was changed while its rows were in flight: the results are in .frame"
            raise ColumnError(msg)
        return self._describe(columns.attach(target, made, self.origin.prefix))

    def _is_unchanged(self, given: pd.DataFrame) -> bool:
        """Say whether each row is still where it was: the same index, and the same cells in the columns of before."""
        if given.index is not self._index and not given.index.identical(self._index):
            return False
        held = columns.is_result(self.source, self.origin.prefix)
        if held != columns.is_result(given, self.origin.prefix) and not self._begun:
            return False
        self._begun = True
        width = self.source.shape[1]
        return held or bool(given.iloc[:, :width].equals(self.source))

    def _interrupted(self, words: str, frame: pd.DataFrame, error: KeyboardInterrupt) -> Interrupted:
        reason = str(error)
        msg = self._sentence("interrupted" + (f" ({reason})" if reason else ""), words)
        if isinstance(error.__cause__, SystemExit):
            logger.error("%s", msg)  # which an exit does not say
            return _InterruptedExit(msg, frame, self.origin.run, error.__cause__.code)
        return Interrupted(msg, frame, self.origin.run)

    def _sentence(self, what: str, words: str) -> str:
        run = self.origin.run
        msg = f"{what}: {words}; the frame so far is in .frame (in a notebook: sys.last_value.frame)"
        if run is not None:
            msg += (
                f". This is run {run!r}: the same call with run={run!r} continues it and sends only rows that were "
                f"not sent, and load_run({run!r}) returns every row"
            )
        return msg

    def described(self) -> ResultMeta:
        """Return what the frame's attrs say now, with the executions that this call has superseded."""
        count, cost = self._superseded
        results = self._results
        return replace(
            self.origin, superseded=count + results.superseded, superseded_cost=cost + results.superseded_cost
        )

    def _describe(self, frame: pd.DataFrame) -> pd.DataFrame:
        columns.write_meta(frame, self.described())
        self._record_inputs(frame)
        attrs.forget_stale(frame, self.source, self.origin.prefix)
        return frame

    def _record_inputs(self, frame: pd.DataFrame) -> None:
        if self.sent is None:
            return
        rows, checksums = self.sent
        try:
            sent_inputs.record(frame, self.source, self.origin.prefix, rows, np.frombuffer(checksums, dtype="<u4"))
        except Exception:
            # To know which rows are edited later is worth less than a result that was paid for.
            logger.exception("the frame does not record what its rows were sent with")


class _InterruptedExit(Interrupted, SystemExit):
    """An `Interrupted` by ``sys.exit()`` in a function of the user's: the process still ends with that exit code."""

    def __init__(self, message: str, frame: Any, run: str | None, code: str | int | None) -> None:
        super().__init__(message, frame, run)
        self.code = code


def _insisting(work: Callable[[], object]) -> KeyboardInterrupt | Warning | None:
    """Do `work` to its end, from the start again after each Ctrl-C; return the last Ctrl-C that came.

    A warning of pandas' that the application's filters make an error of is ignored the next time, and returned too.
    """
    struck: KeyboardInterrupt | Warning | None = None
    while True:
        try:
            with warnings.catch_warnings() if isinstance(struck, Warning) else nullcontext():
                if isinstance(struck, Warning):
                    warnings.simplefilter("ignore")
                work()
        except (KeyboardInterrupt, Warning) as exc:
            struck = exc
        else:
            return struck
