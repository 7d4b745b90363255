"""One tqdm bar for a whole call. Shown in a notebook and on a terminal; nowhere else, unless asked for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

from ..core.money import format_usd
from ..errors import ConfigurationError
from ..models import COMPLETED, FAILED, INVALID, UNKNOWN, Event, Observer
from .notebook_output import BarOutput, in_kernel

logger = logging.getLogger("eachlabs_frames")

FILES: Final = ("downloaded", "complete", "failed")
SHOWN: Final = (COMPLETED, FAILED, INVALID, UNKNOWN)
LONGEST_NOTE: Final = 100


def check(progress: object) -> None:
    """Refuse a ``progress=`` that is neither None, a bool nor a callable."""
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        msg = f"progress must be None, True, False or a callable; got {progress!r}"
        raise ConfigurationError(msg)


@contextmanager
def observing(
    progress: bool | Observer | None, *, total: int, what: str, unit: Literal["row", "file"] = "row"
) -> Iterator[Observer | None]:
    """Give the observer that ``progress=`` asks for, and close its bar in the end.

    Parameters
    ----------
    progress : bool, callable or None
        None shows a bar where somebody may be looking.
    total : int
        Rows that the call is about, or files.
    what : str
        What stands before the bar.
    unit : {"row", "file"}
        What is counted.
    """
    if callable(progress):
        yield progress
        return
    if progress is False or total == 0 or (progress is None and not somebody_looks()):
        yield None
        return
    from tqdm import notebook
    from tqdm.auto import tqdm  # chooses between a widget and text, and takes 10 ms to import

    in_notebook = in_kernel() and issubclass(tqdm, notebook.tqdm_notebook)
    options: dict[str, Any] = {"display": False} if in_notebook else {}
    bar = tqdm(total=total, desc=what, unit=unit, dynamic_ncols=True, **options)
    output = BarOutput(bar) if in_notebook else None
    try:
        yield Bar(bar, describe if unit == "row" else describe_files)
    finally:
        try:
            bar.close()
            if output is not None:
                output.finish()
        except Exception:
            # The terminal or the notebook is gone: no reason for a call that has paid for rows to fail.
            logger.exception("the progress bar could not be closed")


class Bar:
    """An observer that moves a tqdm bar."""

    def __init__(self, bar: Any, describe: Callable[[Event], str]) -> None:
        self._bar = bar
        self._describe = describe

    def __call__(self, event: Event) -> None:
        """Show one event; tqdm itself decides how often it draws."""
        self._bar.set_postfix_str(self._describe(event), refresh=event.kind in ("waiting", "resumed", "stopped"))
        self._bar.update(event.done - self._bar.n)


def describe(event: Event) -> str:
    """Return the counts that stand behind the bar, and what is waited for."""
    parts = [f"accepted={event.accepted}"]
    parts += [f"{status}={event.tally[status]}" for status in SHOWN if event.tally.get(status)]
    if event.balance_usd is not None:
        parts.append(f"balance {format_usd(event.balance_usd)}")
    if event.waiting_for:
        parts.append(event.waiting_for[:LONGEST_NOTE])
    return ", ".join(parts)


def describe_files(event: Event) -> str:
    """Return the counts that stand behind the bar of a download."""
    return ", ".join(f"{word}={event.tally[word]}" for word in FILES if event.tally.get(word))


def somebody_looks() -> bool:
    """Say whether what is shown may be seen: in a notebook or on a terminal."""
    return in_kernel() or (sys.stdout is not None and sys.stdout.isatty())
