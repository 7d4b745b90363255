"""Runs a check in a forked child."""

from __future__ import annotations

import os
from collections.abc import Callable


def holds_in_fork(check: Callable[[], bool]) -> bool:
    """Return whether `check` returns True in a forked child, which ends there: an exception counts as False."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
