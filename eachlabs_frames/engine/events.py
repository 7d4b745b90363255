"""Emits the steps of a run or a download as events to observers.

Owns the handling of exceptions that an observer raises: they never pass through the code that sends and records.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from ..api.verdicts import MAX_RETRY_AFTER
from ..models import SETTLED, Event, EventKind, Observer, Outcome
from ..results import Results

logger = logging.getLogger("eachlabs_frames")


class GuardedObserver:
    """Calls one observer, and stops the job if it raises SystemExit, KeyboardInterrupt or the like.

    If it raises an `Exception`, that is logged, and the call continues without the observer.
    """

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer
        self._error: BaseException | None = None
        self._reason = ""
        self._stop: Callable[[], object] | None = None

    @property
    def has_observer(self) -> bool:
        """Whether events are observed."""
        return self._observer is not None

    @contextmanager
    def stopping(self, stop: asyncio.Event) -> Iterator[None]:
        """Set `stop` if the observer raises meanwhile, and raise that at the end of this block, on the running loop.

        Raises
        ------
        KeyboardInterrupt
            Raised from the observer's exception. Replies in flight are recorded by then.
        """
        loop, thread = asyncio.get_running_loop(), threading.get_ident()

        def stop_soon() -> None:
            if threading.get_ident() == thread:
                stop.set()  # at once: nothing more is sent in this step of the loop
            else:
                loop.call_soon_threadsafe(stop.set)

        self._stop = stop_soon
        try:
            yield
        finally:
            self._stop = None
        if self._error is not None:
            raise KeyboardInterrupt(self._reason) from self._error

    def interrupt(self, error: BaseException, who: str) -> None:
        """Stop the job because code of the user (`who`) raised `error`; raise at once if there is no job."""
        reason = f"{who} raised {described(error)}"
        if self._stop is None:
            # This is the caller's thread, where a KeyboardInterrupt may also be a Ctrl-C.
            if isinstance(error, KeyboardInterrupt):
                raise error
            raise KeyboardInterrupt(reason) from error
        if self._error is None:
            self._error, self._reason = error, reason
        logger.error("%s: nothing more is sent; responses in flight are kept", reason)
        self._stop()

    def _emit(self, event: Event) -> None:
        if self._observer is None:
            return
        try:
            self._observer(event)
        except Exception:
            self._observer = None
            logger.exception("the progress observer raised, and is not called again; the run continues")
        except BaseException as exc:  # noqa: BLE001 - raised again when nothing is in flight
            # An ObserverList has dropped the one that raised; the others still get events of replies in flight.
            if not getattr(self._observer, "drops_raising", False):
                self._observer = None
            self.interrupt(exc, "the progress callable")


def described(error: BaseException) -> str:
    """Return the name and the text of an exception, which may be of a class of the user's."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the name is enough
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class ObserverList:
    """An observer that passes each event on to others, and drops those that raise.

    Attributes
    ----------
    latest : Event or None
        The latest event.
    drops_raising : bool
        True: it may be called again after an exception.
    """

    drops_raising: Final = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._observers: tuple[Observer, ...] = ()
        self.latest: Event | None = None

    def add(self, observer: Observer) -> None:
        """Pass each event from now on to `observer`, once."""
        with self._lock:
            self._observers = (*(other for other in self._observers if other != observer), observer)

    def remove(self, observer: Observer) -> None:
        """Pass no more events to `observer`."""
        with self._lock:
            self._observers = tuple(other for other in self._observers if other != observer)

    def __call__(self, event: Event) -> None:
        """Pass an event on; then raise the first exception that is not an `Exception` (such as SystemExit)."""
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


def joined(audience: ObserverList | None, shown: Observer | None) -> Observer | None:
    """Return one observer that passes events to both."""
    if audience is None:
        return shown
    if shown is not None:
        audience.add(shown)
    return audience


class EventEmitter(GuardedObserver):
    """Emits the events of a call.

    Parameters
    ----------
    observer : Observer or None
    results : Results
    total : int
        Rows of the call.
    done : int
        Rows of those that needed nothing from the start.
    until_settled : bool
        Whether a row is done when its execution has ended, rather than when the API has answered for it.
    """

    def __init__(
        self,
        observer: Observer | None,
        results: Results,
        *,
        total: int,
        done: int = 0,
        until_settled: bool = False,
    ) -> None:
        super().__init__(observer)
        self._results = results
        self._total = total
        self._answered = done
        self._until_settled = until_settled
        self._waiting_for: str | None = None
        self._searching_for = 0
        self._throttled: str | None = None
        self._uploading: str | None = None
        self._stale_since: float | None = None
        self.balance_usd: float | None = None

    def started(self) -> None:
        """Report that the call begins."""
        self._report("started")

    def answered(self, outcomes: Sequence[Outcome]) -> None:
        """Report that the API answered for these rows."""
        self._answered += len(outcomes)
        self._report("answered", changed=outcomes)

    def refreshed(self, outcomes: Sequence[Outcome]) -> None:
        """Report that a poll changed these rows."""
        self._report("refreshed", changed=outcomes)

    def tracking(self) -> None:
        """Report that nothing more is sent and that the executions are awaited."""
        self._report("tracking")

    def stale(self, since: float | None) -> None:
        """Report since when polls have no reply (epoch seconds); None: the latest had one."""
        if (since is None) != (self._stale_since is None):
            self._stale_since = since
            self._report("stale")

    def waiting(self, reason: str | None) -> None:
        """Report why the run waits; None: it no longer does."""
        if reason is not None:
            logger.info("waiting: %s", reason)
        self._waiting_for = reason
        self._report("resumed" if reason is None else "waiting")

    def searching(self, rows: int) -> None:
        """Report for how many rows a lost reply is searched for."""
        self._searching_for = rows
        self._report("waiting" if self._waits_for() else "resumed")

    def balance(self, balance_usd: float | None) -> None:
        """Report the account's balance; None where it cannot be read."""
        if balance_usd is None and self.balance_usd is None:
            return
        self.balance_usd = balance_usd
        self._report("balance")

    def throttled(self, reason: str | None) -> None:
        """Report that the API asks to wait longer between reads than this library does; None: it no longer does."""
        if reason != self._throttled:
            if reason is not None:
                logger.warning("reads resume after at most %g s: %s", MAX_RETRY_AFTER, reason)
            self._throttled = reason
            self._report("waiting" if self._waits_for() else "resumed")

    def uploading(self, progress: str | None) -> None:
        """Report how far the uploads of files are; None: nothing is left to upload."""
        if progress != self._uploading:
            self._uploading = progress
            self._report("uploading")

    def stopped(self, reason: str) -> None:
        """Report that nothing more is sent."""
        logger.info("stopped: %s", reason)
        self._waiting_for = reason
        self._report("stopped")

    def finished(self) -> None:
        """Report that the run is over."""
        self._report("finished")

    def _report(self, kind: EventKind, *, changed: Sequence[Outcome] = ()) -> None:
        if self._observer is None:
            return
        tally = self._results.tally()
        settled = sum(count for status, count in tally.items() if status in SETTLED)
        done = settled if self._until_settled else self._answered
        event = Event(
            kind,
            self._total,
            done,
            self._results.accepted,
            tally,
            # As they are recorded: a reply may lack what an earlier one had.
            tuple(self._results.outcome(outcome.position) for outcome in changed),
            self._waits_for(),
            self.balance_usd,
            self._stale_since,
        )
        self._emit(event)

    def _waits_for(self) -> str | None:
        """Return why the run waits, for how many rows it searches, and how far its uploads are."""
        rows = self._searching_for
        search = f"searching for the executions of {rows} rows without a response" if rows else None
        return "; ".join(filter(None, (self._waiting_for, search, self._throttled, self._uploading))) or None


class DownloadEvents(GuardedObserver):
    """Emits the events of a download.

    Parameters
    ----------
    observer : Observer or None
    total : int
        Files of the call.
    complete : int
        Files of those that were there from the start.
    accepted : int
        Rows of the frame that have an execution.
    """

    def __init__(self, observer: Observer | None, *, total: int, complete: int, accepted: int) -> None:
        super().__init__(observer)
        self._total = total
        self._accepted = accepted
        self._tally = {"complete": complete, "downloaded": 0, "failed": 0}

    def started(self) -> None:
        """Report that the call begins."""
        self._report("started")

    def fetched(self, *, failed: bool) -> None:
        """Report that a file was downloaded or has failed."""
        self._tally["failed" if failed else "downloaded"] += 1
        self._report("downloaded")

    def finished(self) -> None:
        """Report that the call is over."""
        self._report("finished")

    def _report(self, kind: EventKind) -> None:
        if self._observer is None:
            return
        tally = dict(self._tally)
        event = Event(kind, self._total, sum(tally.values()), self._accepted, tally)
        self._emit(event)
