"""What the tracker needs to know of webhook deliveries, as Protocols.

It imports nothing of `webhooks`: a call passes in its subscription.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from ..models import Outcome


class DeliveryFeed(Protocol):
    """Webhook deliveries to a call, as its tracker sees them.

    Attributes
    ----------
    news : asyncio.Event
        Set when everything that is awaited was delivered, or when nothing can be delivered any more.
    """

    news: asyncio.Event

    @property
    def heard_all(self) -> bool:
        """Whether it has listened since before the first of the open rows was sent."""
        ...

    @property
    def has_feed(self) -> bool:
        """Whether the call was given a receiver."""
        ...

    @property
    def sweep(self) -> float | None:
        """Seconds between two polls while the receiver listens; None where it does not."""
        ...

    async def attend(self) -> None:
        """Write deliveries into the rows until cancelled."""
        ...

    def close(self) -> None:
        """Write nothing more."""
        ...

    def miss(self) -> None:
        """Note that others have sent some of the rows, so that their end may be delivered to others."""
        ...

    def forget(self) -> None:
        """Clear executions whose delivery lacked details; a poll for them has started."""
        ...

    def tell(self) -> None:
        """Set `news` if nothing that is awaited is left to be delivered."""
        ...

    def without_cost(self) -> Collection[str]:
        """Return executions whose end was delivered without a cost."""
        ...

    def cost_is_known(self, execution_id: str) -> None:
        """Note that the cost of an execution was read."""
        ...


class OpenFeed(Protocol):
    """Opens the feed of a tracker."""

    def __call__(
        self, *, awaited: Callable[[], Collection[str]], write: Callable[[Sequence[Outcome]], None]
    ) -> DeliveryFeed:
        """Return a feed of the executions that `awaited` returns; it passes their outcomes to `write`."""
        ...
