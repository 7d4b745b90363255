"""Applies webhook deliveries to the rows of one call. It never sends a request; the tracker polls.

Owns what a delivery changes: rows whose execution has not ended, once, and only if the delivery has the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..models import TERMINAL, Outcome
from ..results import Results
from . import dispatcher
from .dispatcher import Mailbox
from .payload import Delivery, KnownExecution

if TYPE_CHECKING:
    from .receiver import WebhookReceiver


class Subscription:
    """The deliveries of one call.

    Parameters
    ----------
    workflow_id : str
    results : Results
    receiver : WebhookReceiver or None
        The receiver that the call was given; deliveries to other receivers of this process are applied too.
    awaited : callable
        Returns the executions that the call waits for.
    write : callable
        Writes outcomes to the rows.
    content : callable, optional
        Returns the fingerprint of a row's input, or None if it is not known.
    references : mapping of str to str, optional
        The reference of each uploaded file by its public URL.

    Attributes
    ----------
    is_complete : bool
        Whether the ends of all open rows are delivered to this process: the subscription began before they were sent,
        and no other session has sent any of them.
    """

    def __init__(
        self,
        workflow_id: str,
        results: Results,
        *,
        receiver: WebhookReceiver | None,
        awaited: Callable[[], Collection[str]],
        write: Callable[[Sequence[Outcome]], None],
        content: Callable[[int], bytes | None] | None = None,
        references: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._workflow_id = workflow_id
        self._results = results
        self._receiver = receiver
        self._awaited = awaited
        self._write = write
        self._content = content
        self._references = references
        self._began = self._closed = False
        self._to_poll: set[str] = set()
        self._must_poll = False  # the receiver has stopped, and no poll has started since
        self._delivered = asyncio.Event()
        self.is_complete = False

    def close(self) -> None:
        """Write no more outcomes."""
        self._closed = True

    @property
    def poll_interval(self) -> float | None:
        """Seconds between two polls while the call's receiver is listening; None if it is not."""
        receiver = self._receiver
        return receiver.sweep if receiver is not None and receiver.listening else None

    def poll_started(self) -> None:
        """Note that a poll has started, for executions whose delivery lacked details and after the receiver stopped."""
        self._to_poll.clear()
        self._must_poll = False

    def delivered(self) -> asyncio.Event:
        """Return an event that is set when no awaited execution is left to be delivered.

        That is when all were delivered, or when the receiver has stopped since the last poll.
        """
        self._delivered.clear()
        self._check_delivered()
        return self._delivered

    def _check_delivered(self) -> None:
        if self._must_poll or self._to_poll.issuperset(self._awaited()):
            self._delivered.set()

    def receive(self) -> Coroutine[Any, Any, None]:
        """Return a coroutine that applies deliveries until cancelled."""
        # Read now, and not when the coroutine starts: the receiver may stop in between, and the caller has chosen its
        # next poll by what it is now.
        return self._receive(was_listening=self.poll_interval is not None)

    async def _receive(self, *, was_listening: bool) -> None:
        if not self._began:
            self._began = True
            self.is_complete = next(self._results.open_rows(), None) is None
        notified = asyncio.Event()
        mailbox: Mailbox | None = None
        try:
            with dispatcher.open_mailbox(self._find, notified.set) as mailbox:
                while True:
                    if was_listening and self.poll_interval is None:
                        was_listening = self.is_complete = False
                        self._must_poll = True
                        self._delivered.set()
                    await notified.wait()
                    notified.clear()
                    self._apply(mailbox.take_all())
        finally:
            if mailbox is not None:
                self._apply(mailbox.take_all())

    def _find(self, execution_ids: Collection[str]) -> Mapping[str, KnownExecution]:
        """Return what the call knows of these executions. Thread-safe."""
        ids, bulk_ids = self._results.execution_id, self._results.bulk_id
        if self._closed or ids is None or bulk_ids is None:
            return {}  # closed: the results belong to the frame now
        rows = [row for row, execution_id in enumerate(ids) if execution_id in execution_ids]
        return {str(ids[row]): KnownExecution(bulk_ids[row], self._workflow_id) for row in rows}

    def _apply(self, deliveries: Sequence[Delivery]) -> None:
        """Write deliveries to rows: of each execution the first end, or its latest state if it has not ended."""
        if self._closed or not deliveries:
            return
        latest = {delivery.execution_id: delivery for delivery in deliveries if not delivery.ended}
        latest |= {delivery.execution_id: delivery for delivery in reversed(deliveries) if delivery.ended}
        rows: dict[str, list[int]] = {}
        for row, execution_id in enumerate(self._results.execution_id):
            if execution_id in latest and self._results.status[row] not in TERMINAL:
                rows.setdefault(execution_id, []).append(row)
        content = self._content or (lambda _: None)
        self._to_poll.update(
            execution_id
            for execution_id, positions in rows.items()
            if latest[execution_id].needs_poll(map(content, positions), self._references)
        )
        self._write(
            [
                latest[execution_id].outcome._replace(position=row)
                for execution_id, positions in rows.items()
                if execution_id not in self._to_poll
                for row in positions
            ]
        )
        self._check_delivered()
