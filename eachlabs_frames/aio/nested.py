"""The nested bridge: waits inside the caller's own running loop, by nest-asyncio2. Importing it patches nothing.

Owns which loops may be nested. It knows nothing of calls, and no loop is its own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import nest_asyncio2

from ..errors import BridgeError
from .loop_thread import close_resources

T = TypeVar("T")

_borrowed: set[asyncio.AbstractEventLoop] = set()


@contextmanager
def nested(running: asyncio.AbstractEventLoop) -> Iterator[Callable[[Callable[[], Coroutine[Any, Any, T]]], T]]:
    """Give a function that runs coroutine functions inside the caller's running loop; at the end, close what it opened.

    Raises
    ------
    BridgeError
        The loop cannot be nested, or not without losing a notebook's queued cells. Nothing was started.
    """
    if not isinstance(running, asyncio.BaseEventLoop):
        kind = f"{type(running).__module__}.{type(running).__name__}"
        msg = f"bridge='nest' cannot work inside {kind}: use configure(bridge='thread'), or the _async methods"
        raise BridgeError(msg)
    _check_kernel()
    nest_asyncio2.apply(running)
    # Another coroutine of the caller's may make a nested call during this one: the outermost, which ends last,
    # closes what was opened.
    outermost = running not in _borrowed
    _borrowed.add(running)
    try:
        yield lambda function: running.run_until_complete(function())
    finally:
        if outermost:
            _borrowed.discard(running)
            running.run_until_complete(close_resources())


def _check_kernel() -> None:
    """Refuse a notebook in which cells that wait in the queue would be lost.

    Seen with five queued cells on ipykernel 7.1.0, 7.2.0 and 7.4.0: from 7.1 on, the kernel hands out its messages
    in the context that the running cell is in ("cannot enter context: ... is already entered"), so a cell that
    arrives during a nested call is dropped without a reply. nest-asyncio2 holds such steps back since 1.7.3, which
    this package requires; the archived nest-asyncio never does, and keeps a loop that it has patched. ipykernel
    6.29, 6.31 and 7.0.0 lose none.
    """
    ipykernel, ipython = sys.modules.get("ipykernel"), sys.modules.get("IPython")
    if ipykernel is None or ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return
    if ipykernel.version_info[:2] < (7, 1):
        return
    if hasattr(asyncio, "_nest_patched") and not hasattr(asyncio, "_nest_asyncio2"):
        msg = (
            "bridge='nest' would lose queued cells here, because nest_asyncio has already patched asyncio: "
            "restart the kernel without nest_asyncio.apply(), or use configure(bridge='thread')"
        )
        raise BridgeError(msg)
