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
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np

from ..aio.bridge import Call
from ..aio.loop_thread import run_on_loop
from ..aio.tasks import in_thread
from ..engine.events import ObserverList
from ..engine.tracker import Tracker
from ..errors import APIError, ColumnError, Interrupted, JournalError, attach_frame
from ..models import UNKNOWN, Outcome
from ..results import Results
from ..settings import Settings
from ..tracebacks import is_bare
from . import attrs, columns, sent_inputs
from .columns import ResultMeta
from .rows import Positions
from .table import Frame

logger = logging.getLogger("eachlabs_frames")

UNANSWERED: Final = "sent; no response is recorded yet"

_lock = threading.Lock()
_written_into: set[int | None] = set()


class ResultFrame:
    """The frame of one call, from before the first request to after the last response.

    Parameters
    ----------
    frame : pandas.DataFrame
        As the user gave it.
    results : Results
        What is written, by position.
    meta : ResultMeta
        What the frame's attrs will say. The call may change it.
    inplace : bool
        Whether `frame` itself is written.

    Attributes
    ----------
    sent : tuple of numpy.ndarray and array, or None
        The rows that the call is about, and the checksums of their inputs.
    repeats : mapping of int to int
        Rows that get the outcome of an earlier one, because they have the same input.
    is_cut_short : bool
        Whether the call was stopped, or failed, before its rows were done.
    """

    def __init__(self, frame: Frame, results: Results, meta: ResultMeta, *, inplace: bool) -> None:
        self.source = columns.snapshot(frame)
        self.meta = meta
        self._earlier = meta
        self._results = results
        self._given = frame if inplace else None
        self._index = frame.index
        self._has_own_columns = False
        self._lock = threading.Lock()
        self._is_writing = False
        self._is_over = False
        self._accepted = results.accepted
        self._tally: Mapping[str, int] = {}
        self._written: Future[Frame] = Future()
        self.sent: tuple[Positions, array[int]] | None = None
        self.repeats: Mapping[int, int] = {}
        self.is_cut_short = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other calls out of this frame: each would send its rows, and one would write over the other's.

        Raises
        ------
        ColumnError
            Another call is writing into this very frame.
        """
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

    async def carry_out(
        self, work: Coroutine[Any, Any, None], stop: asyncio.Event, *, before_writing: Callable[[], None]
    ) -> Frame:
        """Await `work`, then write the frame and return it, whatever has ended the work.

        Parameters
        ----------
        work : coroutine
        stop : asyncio.Event
        before_writing : callable
            Called on a thread of its own: nothing may write into the results afterwards.

        Raises
        ------
        APIError, JournalError
            Raised by `work`, which has sent nothing or only read. The frame is not written.
        BaseException
            As `failed` returns it, if `work` has raised anything else.
        """
        error: BaseException | None = None
        try:
            await work
        except (APIError, JournalError):
            raise
        except BaseException as exc:  # noqa: BLE001 - raised below, with the frame
            error = exc
        self.is_cut_short = error is not None or stop.is_set()

        def finish() -> Frame:
            before_writing()
            return self.written()

        frame = await in_thread(finish)
        if error is None:
            return frame
        failed = self.failed(error)
        raise failed from (error.__cause__ if failed is error or is_bare(error) else error)

    def failed(self, error: BaseException) -> BaseException:
        """Write the frame, and return what to raise for `error`: with the frame as its ``frame``.

        A KeyboardInterrupt becomes an `Interrupted`. A cancellation keeps its class, which asyncio needs, and its
        message is that of an `Interrupted`.
        """
        if isinstance(error, APIError | JournalError) or getattr(error, "frame", None) is not None:
            return error
        frame = self.written()
        counts = f"{self._accepted} of {self._results.size} rows have an execution"
        if isinstance(error, KeyboardInterrupt):
            return self._interrupted(counts if self.is_cut_short else "all answers were written", frame, error)
        attach_frame(error, frame)
        if isinstance(error, asyncio.CancelledError):
            vars(error)["run"] = self.meta.run
            error.args = (self._sentence("cancelled", counts),)
            # Whoever cancels a task often drops its exception; `asyncio.run` of Python 3.10 does.
            logger.warning("%s", error.args[0], extra={"is_cancellation": True})
        else:
            logger.error("%s; the frame so far is in .frame of this exception", counts, exc_info=error)
        return error

    def so_far(self) -> Frame:
        """Return a new frame with the results as they are at this moment, in the rows' order; from any thread."""
        copy = self._copy(self._copied)
        if copy is None:
            return columns.snapshot(self._written.result())
        return self._describe(columns.write(columns.snapshot(self.source), copy, self.meta.prefix))

    def _copy(self, copied: Callable[[], Results | None]) -> Results | None:
        """Return what `copied` gives, at a moment when no task changes the results."""
        return copied() if self._is_writing or self._is_over else run_on_loop(copied)

    def end(self) -> None:
        """Note that nothing changes the results any more."""
        self._is_over = True

    @property
    def is_written(self) -> bool:
        """Whether a frame was written, so that what was paid for is in it."""
        return self._written.done()

    def outcomes(self, meanwhile: Callable[[], None]) -> list[Outcome]:
        """Return the outcome of each row, and call `meanwhile` at that very moment: no task runs in between."""

        def both() -> Results | None:
            meanwhile()
            return self._copied()

        results = self._copy(both)
        if results is None:
            results = columns.read(self._written.result(), self.meta.prefix)
        return [results.outcome(row) for row in range(results.size)]

    def mark_unanswered(self, rows: Iterable[int]) -> None:
        """Write what is known of rows that were sent, if no call waits for their responses."""
        for row in rows:
            self._results.note(row, status=UNKNOWN, error=UNANSWERED)

    def tally(self) -> Mapping[str, int]:
        """Return the number of rows per status."""
        return self._tally if self._is_writing else self._results.tally()

    def accepted(self) -> int:
        """Return the number of rows that have an execution."""
        return self._accepted if self._is_writing else self._results.accepted

    def _copied(self) -> Results | None:
        with self._lock:
            return None if self._is_writing else self._with_repeats(self._results.copy())

    def _with_repeats(self, results: Results) -> Results:
        """Give each repeated row the outcome of the row that it repeats. It was not paid in addition."""
        for row, first in self.repeats.items():
            results.correct(results.outcome(first)._replace(position=row))
        return results

    def written(self) -> Frame:
        """Write the results and return the frame; any later call returns the same frame.

        Raises
        ------
        ColumnError
            The frame was changed in place meanwhile. The exception's ``frame`` has the results, with the index of
            before.
        Warning
            The application's filters make errors of warnings, and pandas has warned. The ``frame`` is complete.
        """
        with self._lock:
            is_first = not self._is_writing
            if is_first:
                self._with_repeats(self._results)
                self._tally, self._accepted = dict(self._results.tally()), self._results.accepted
                self._is_writing = True  # which uses the results up
        if not is_first:
            return self._written.result()
        try:
            frame = self._write()
        except BaseException as exc:
            self._written.set_result(getattr(exc, "frame", self.source))
            raise
        self._written.set_result(frame)
        return frame

    def _write(self) -> Frame:
        arrays: dict[str, Any] = {}
        frames: list[Frame] = []
        warning = _insist(lambda: columns.arrays(self._results, self._index, made=arrays))
        try:
            warning = _insist(lambda: frames.append(self._attach(arrays))) or warning
        except Exception as exc:
            bare = columns.attach(columns.empty(self._index), arrays, self.meta.prefix)
            attach_frame(exc, self._describe(bare))
            raise
        if warning is not None:
            attach_frame(warning, frames[-1])
            raise warning
        return frames[-1]

    def _attach(self, made: dict[str, Any]) -> Frame:
        target = self.source.copy(deep=False) if self._given is None else self._given
        if self._given is not None and not self._is_unchanged(self._given):
            msg = "the frame was changed while its rows were in flight: the results are in .frame"
            raise ColumnError(msg)
        return self._describe(columns.attach(target, made, self.meta.prefix))

    def _is_unchanged(self, given: Frame) -> bool:
        """Say whether each row is still where it was: the same index, and the same cells in the columns of before."""
        if given.index is not self._index and not given.index.identical(self._index):
            return False
        held = columns.is_result(self.source, self.meta.prefix)
        if held != columns.is_result(given, self.meta.prefix) and not self._has_own_columns:
            return False
        self._has_own_columns = True
        width = self.source.shape[1]
        return held or bool(given.iloc[:, :width].equals(self.source))

    def _interrupted(self, words: str, frame: Frame, error: KeyboardInterrupt) -> Interrupted:
        reason = str(error)
        msg = self._sentence("interrupted" + (f" ({reason})" if reason else ""), words)
        if isinstance(error.__cause__, SystemExit):
            logger.error("%s", msg)  # which an exit does not say
            return _InterruptedExit(msg, frame, self.meta.run, error.__cause__.code)
        return Interrupted(msg, frame, self.meta.run)

    def _sentence(self, what: str, words: str) -> str:
        run = self.meta.run
        msg = f"{what}: {words}; the frame so far is in .frame (in a notebook: sys.last_value.frame)"
        if run is not None:
            msg += (
                f". This is run {run!r}: the same call with run={run!r} continues it and sends only rows that were "
                f"not sent, and load_run({run!r}) returns every row"
            )
        return msg

    def written_meta(self) -> ResultMeta:
        """Return what the frame's attrs say now, with the executions that this call has superseded."""
        before, results = self._earlier, self._results
        return replace(
            self.meta,
            superseded=before.superseded + results.superseded,
            superseded_cost=before.superseded_cost + results.superseded_cost,
            superseded_unknown=before.superseded_unknown + results.superseded_unknown,
        )

    def _describe(self, frame: Frame) -> Frame:
        columns.write_meta(frame, self.written_meta())
        self._record_inputs(frame)
        attrs.forget_stale(frame, self.source, self.meta.prefix)
        return frame

    def _record_inputs(self, frame: Frame) -> None:
        if self.sent is None:
            return
        rows, checksums = self.sent
        try:
            sent_inputs.record(frame, self.source, self.meta.prefix, rows, np.frombuffer(checksums, dtype="<u4"))
        except Exception:
            # To know which rows are edited later is worth less than a result that was paid for.
            logger.exception("the frame does not record what its rows were sent with")


class FrameCall(Call[Frame]):
    """A call that returns a frame. It can also run in the background, where other threads observe it.

    Parameters
    ----------
    result : ResultFrame
    settings : Settings
        What the call was made with, whatever is configured later.

    Attributes
    ----------
    result : ResultFrame
    settings : Settings
    observers : ObserverList or None
        Called with each event, besides ``progress=``.
    pace : callable or None
        Returns the seconds between two polls. With it, a call that waits polls executions already while it sends.
    tracker : Tracker or None
        Polls the executions; None before the rows were checked.
    """

    def __init__(self, result: ResultFrame, settings: Settings) -> None:
        self.result = result
        self.settings = settings
        self.observers: ObserverList | None = None
        self.pace: Callable[[], float] | None = None
        self.tracker: Tracker | None = None
        self._resources = ExitStack()  # closed before the frame is written
        self._display = ExitStack()  # closed in the caller's thread, as a notebook requires
        self._state: Literal["new", "begun", "ended"] = "new"

    async def work(self, stop: asyncio.Event) -> None:
        """Do what the call is for; the frame is written afterwards."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Note that nobody waits for `work` any more, which an observer of the user's blocks."""

    async def execute(self, stop: asyncio.Event) -> Frame:
        """Do the work and return the frame."""
        self._state = "begun"
        try:
            return await self.result.carry_out(self.work(stop), stop, before_writing=self._resources.close)
        finally:
            self._state = "ended"

    def close(self) -> None:
        """Close what `prepare` has opened."""
        self._display.close()
        self._resources.close()

    def interrupted(self, error: BaseException) -> BaseException:
        """Return what to raise: with the frame, once rows may have been sent."""
        if self._state == "new":
            return error
        if self._state == "begun":
            self.result.is_cut_short = True
            self.abandon()
        return self.result.failed(error)


class _InterruptedExit(Interrupted, SystemExit):
    """An `Interrupted` by ``sys.exit()`` in a function of the user's: the process still ends with that exit code."""

    def __init__(self, message: str, frame: Any, run: str | None, code: str | int | None) -> None:
        super().__init__(message, frame, run)
        self.code = code


def _insist(work: Callable[[], object]) -> Warning | None:
    """Do `work`. If the application's filters make an error of a warning, ignore warnings, do it again, return it."""
    try:
        work()
    except Warning as exc:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
        return exc
    return None
