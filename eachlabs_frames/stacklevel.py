"""Issues warnings that name the user's line, however deep they are issued, and that never cost the user a frame."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from .errors import attach_frame


def find_stack_level() -> int:
    """Return the stacklevel at which a warning names the line that called this package."""
    package = __name__.partition(".")[0]
    level, here = 0, inspect.currentframe()
    while (
        here is not None and here.f_back is not None and here.f_globals.get("__name__", "").partition(".")[0] == package
    ):
        level, here = level + 1, here.f_back
    return level


def warn(message: str, category: type[Warning], frame: Any) -> None:
    """Warn of something in a `frame` that is about to be returned.

    Raises
    ------
    Warning
        Where the application's filters make an error of it: with the frame as its ``frame``.
    """
    try:
        warnings.warn(message, category, stacklevel=find_stack_level())
    except Warning as exc:
        attach_frame(exc, frame)
        raise
