"""Output on the terminal: one-line messages on stderr, and tables as aligned text.

Text from outside is data: control characters are replaced.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from ..errors import UsageError
from .wording import reworded

GAP: Final = "  "


def notify(message: object) -> None:
    """Print a one-line message on stderr."""
    print_stderr(f"eachlabs-frames: {one_line(message)}")


def print_stderr(line: str) -> None:
    """Print a line on stderr, above a progress bar if there is one.

    If nobody reads it, that changes neither the exit code nor stdout: after a shell's ``2>&-`` stderr is None, and
    print would use stdout, which may have the table.
    """
    if sys.stderr is None:
        return
    tqdm = sys.modules.get("tqdm")
    with contextlib.suppress(OSError):
        if tqdm is not None:
            tqdm.tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)
        sys.stderr.flush()


def error_text(error: Exception) -> str:
    """Return the message of an exception in the terms of the command line.

    Only the commands raise `UsageError` itself, and those messages are not reworded.
    """
    return str(error) if type(error) is UsageError else reworded(error)


def one_line(message: object) -> str:
    """Return text in one line without control characters, which texts of the API and of cells may contain."""
    return "".join(char if char.isprintable() else "\ufffd" for char in " ".join(str(message).split()))


class _OneLineHandler(logging.Handler):
    """Prints the library's log without tracebacks, and without cancellations, which the command reports."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "is_cancellation", False):
            notify(reworded(record.getMessage()))


@contextmanager
def in_one_line() -> Iterator[None]:
    """Print the library's log and Python's warnings as one line each; warnings never raise."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        notify(reworded(message))

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


def format_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: frozenset[str] = frozenset()
) -> str:
    """Return a table as lines of text.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequence of object
        None is an empty cell.
    numbers : frozenset of str
        Columns that are right-aligned.
    """
    lines = [list(header), *([*map(cell_text, row)] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        GAP.join(
            " " * (width - _width(cell)) + cell if name in numbers else cell + " " * (width - _width(cell))
            for name, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def cell_text(cell: object, length: int | None = None) -> str:
    """Return a cell in one line, truncated to `length`."""
    text = "" if cell is None else one_line(cell)
    return text if length is None or len(text) <= length else f"{text[: length - 1]}…"


def _width(text: str) -> int:
    """Return the width of `text` in columns of a terminal."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else not unicodedata.combining(char) for char in text)
