"""What is said on stderr: one line at a time, above a progress bar where there is one."""

from __future__ import annotations

import logging
import sys
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from ..errors import UsageError
from .wording import reworded

DONE: Final = 0
NOT_ALL: Final = 1
WRONG_CALL: Final = 2
"""Exit codes. Those of a signal are in `signals`."""

GAP: Final = "  "


def say(message: object) -> None:
    """Say something on stderr, in one line, above a bar where there is one."""
    line = f"eachlabs-frames: {plain(message)}"
    tqdm = sys.modules.get("tqdm")
    if tqdm is not None:
        tqdm.tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr)
    sys.stderr.flush()


def explain(error: Exception) -> str:
    """Return what an exception says, in the words of the command line.

    The library raises subclasses of `UsageError`; the class itself is raised by the commands, in their own words.
    """
    return str(error) if type(error) is UsageError else reworded(error)


def plain(message: object) -> str:
    """Return text in one line without what a terminal would obey: an API's words, or a cell's, may hold anything."""
    return "".join(char if char.isprintable() else "\ufffd" for char in " ".join(str(message).split()))


class _OneLineHandler(logging.Handler):
    """The library's log, without tracebacks. A cancellation is left out: the command itself says what it stopped."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "is_cancellation", False):
            say(reworded(record.getMessage()))


@contextmanager
def in_one_line() -> Iterator[None]:
    """Show the library's log and Python's warnings as one line each, and raise for none of them."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        say(reworded(message))

    logger, handler = logging.getLogger("eachlabs_frames"), _OneLineHandler(logging.WARNING)
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            yield
    finally:
        logger.removeHandler(handler)


def aligned(header: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: frozenset[str] = frozenset()) -> str:
    """Return a table as lines of text.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequence of object
        None is shown as nothing.
    numbers : frozenset of str
        Columns that are aligned on their right.
    """
    lines = [list(header), *([*map(shown, row)] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        GAP.join(
            " " * (width - _width(cell)) + cell if name in numbers else cell + " " * (width - _width(cell))
            for name, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def shown(cell: object, length: int | None = None) -> str:
    """Return a cell in one line, cut to `length`."""
    text = "" if cell is None else plain(cell)
    return text if length is None or len(text) <= length else f"{text[: length - 1]}…"


def _width(text: str) -> int:
    """Return the columns that a terminal needs for `text`."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else not unicodedata.combining(char) for char in text)
