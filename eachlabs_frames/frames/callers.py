"""Where a warning points: at the line of the user's that called, however deep it is raised."""

from __future__ import annotations

import sys


def callers_level() -> int:
    """Return the stacklevel at which a warning names the line that called this package."""
    package = __name__.partition(".")[0]
    level, here = 1, sys._getframe(1)  # noqa: SLF001 - as the warnings module itself does
    while here.f_back is not None and here.f_globals.get("__name__", "").partition(".")[0] == package:
        level, here = level + 1, here.f_back
    return level
