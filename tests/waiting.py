"""How a test waits for what another thread or process does: by looking, with a deadline that no slow machine misses."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], *, seconds: float = 120.0) -> None:
    """Look until `condition` holds; to wait longer than any machine needs is a failure."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)
