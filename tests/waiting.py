"""Waits for other threads and processes by polling, with a deadline that a slow machine does not miss."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], *, seconds: float = 120.0) -> None:
    """Poll until `condition` is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition is not met after {seconds:g} s"
        time.sleep(0.005)
