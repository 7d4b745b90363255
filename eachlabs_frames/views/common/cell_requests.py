"""Records when the front end requested each cell, to tell a cell that was run alone from Run All.

Only in a Jupyter kernel, and only times: never what a cell contains.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

MAX_APART: Final = 0.3
"""Seconds between the requests of two cells that one action, such as Run All, has run."""

_requested: deque[float | None] = deque(maxlen=2)


def watch() -> None:
    """Record the request of the running cell and of each later one; does nothing outside of a kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and hasattr(shell, "kernel"):
        shell.events.register("pre_run_cell", lambda *_: _requested.append(_request_time(shell.kernel)))
        _requested.append(_request_time(shell.kernel))


def requested_alone() -> float | None:
    """Return when the running cell was requested (epoch seconds); None if unknown, or with the cell before it."""
    return alone(list(_requested))


def alone(times: Sequence[float | None]) -> float | None:
    """Return the last of these times, unless the one before it is part of the same action."""
    if not times or times[-1] is None:
        return None
    before = times[-2] if len(times) > 1 else None
    return None if before is not None and abs(times[-1] - before) <= MAX_APART else times[-1]


def _request_time(kernel: Any) -> float | None:
    """Return the date in the request's header: by the clock of the browser, which is the one to compare it with."""
    try:
        date = kernel.get_parent("shell")["header"]["date"]
    except Exception:  # noqa: BLE001  # another kernel's internals: without them the focus stays where it is
        return None
    return date.timestamp() if isinstance(date, datetime) else None
