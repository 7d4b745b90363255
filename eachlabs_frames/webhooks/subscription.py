"""Applies webhook deliveries to the rows of one call. It never sends a request; the tracker polls.

Owns what a delivery changes: rows whose execution has not ended, once, and only if the delivery has the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from ..models import TERMINAL, Outcome
from ..results import Results
from . import dispatcher
from .dispatcher import DeliverySource, Mailbox
from .payload import Delivery, KnownExecution


class Subscription:
    """The deliveries of one call.

    Parameters
    ----------
    workflow_id : str
    results : Results
    feed : Feed or None
        The receiver that the call was given; deliveries to other receivers of this process are applied too.
    awaited : callable
        Returns the executions that the call waits for.
    write : callable
        Writes outcomes to the rows.
    content : callable, optional
        Returns the fingerprint of a row's input, or None if it is not known.

    Attributes
    ----------
    news : asyncio.Event
        Set when all awaited executions were delivered, or the receiver has stopped.
    heard_all : bool
        Whether it was open before the first of the open rows was sent.
    """

    def __init__(
        self,
        workflow_id: str,
        results: Results,
        *,
        feed: DeliverySource | None,
        awaited: Callable[[], Collection[str]],
        write: Callable[[Sequence[Outcome]], None],
        content: Callable[[int], bytes | None] | None = None,
    ) -> None:
        self._workflow_id = workflow_id
        self._results = results
        self._feed = feed
        self._awaited = awaited
        self._write = write
        self._content = content
        self._began = self._closed = False
        self._brief: set[str] = set()
        self._must_poll = False  # the receiver has stopped, and no poll has started since
        self.news = asyncio.Event()
        self.heard_all = False

    def close(self) -> None:
        """Write no more outcomes."""
        self._closed = True

    @property
    def has_feed(self) -> bool:
        """Whether the call was given a receiver."""
        return self._feed is not None

    @property
    def sweep(self) -> float | None:
        """Seconds between two polls while the call's receiver is listening; None if it is not."""
        return self._feed.sweep if self._feed is not None and self._feed.listening else None

    def miss(self) -> None:
        """Note that other sessions sent some rows, so that their deliveries may go elsewhere."""
        self.heard_all = False

    def forget(self) -> None:
        """Clear executions whose delivery lacked details; a poll for them has started."""
        self._brief.clear()
        self._must_poll = False

    def tell(self) -> None:
        """Set `news` if all awaited executions were delivered, or the receiver has stopped since the last poll."""
        if self._must_poll or self._brief.issuperset(self._awaited()):
            self.news.set()

    def attend(self) -> Coroutine[Any, Any, None]:
        """Return a coroutine that applies deliveries until cancelled."""
        # Read now, and not when the coroutine starts: the receiver may stop in between, and the caller has chosen its
        # next poll by what it is now.
        return self._attend(was_listening=self.sweep is not None)

    async def _attend(self, *, was_listening: bool) -> None:
        if not self._began:
            self._began = True
            self.heard_all = next(self._results.open_rows(), None) is None
        some = asyncio.Event()
        box: Mailbox | None = None
        try:
            with dispatcher.opened(self, some.set) as box:
                while True:
                    if was_listening and self.sweep is None:
                        was_listening = self.heard_all = False
                        self._must_poll = True
                        self.news.set()
                    await some.wait()
                    some.clear()
                    self._take_in(box.emptied())
        finally:
            if box is not None:
                self._take_in(box.emptied())

    def find(self, wanted: Collection[str]) -> Mapping[str, KnownExecution]:
        """Return what the call knows of these executions. Thread-safe."""
        listed, bulks = self._results.execution_id, self._results.bulk_id
        if self._closed or listed is None or bulks is None:
            return {}  # closed: the results belong to the frame now
        rows = [row for row, execution_id in enumerate(listed) if execution_id in wanted]
        return {str(listed[row]): KnownExecution(bulks[row], self._workflow_id) for row in rows}

    def without_cost(self) -> Collection[str]:
        """Return executions whose end was delivered to this process without a cost."""
        return dispatcher.without_cost()

    def cost_is_known(self, execution_id: str) -> None:
        """Note that the cost of an execution was read."""
        dispatcher.cost_is_known(execution_id)

    def _take_in(self, notices: Sequence[Delivery]) -> None:
        """Write deliveries to rows: of each execution the first end, or its latest state if it has not ended."""
        if self._closed or not notices:
            return
        latest = {notice.execution_id: notice for notice in notices if not notice.ended}
        latest |= {notice.execution_id: notice for notice in reversed(notices) if notice.ended}
        rows: dict[str, list[int]] = {}
        for row, execution_id in enumerate(self._results.execution_id):
            if execution_id in latest and self._results.status[row] not in TERMINAL:
                rows.setdefault(execution_id, []).append(row)
        # Polling decides about an end without a result, and about an execution that may be another row's.
        self._brief.update(
            execution_id
            for execution_id, places in rows.items()
            if latest[execution_id].brief or self._is_doubtful(latest[execution_id], places)
        )
        self._write(
            [
                latest[execution_id].outcome._replace(position=row)
                for execution_id, places in rows.items()
                if execution_id not in self._brief
                for row in places
            ]
        )
        self.tell()

    def _is_doubtful(self, notice: Delivery, rows: Sequence[int]) -> bool:
        content = self._content
        return notice.ended and content is not None and all(notice.differs(content(row)) for row in rows)
