"""What is said on stderr: one line at a time, above a progress bar where there is one."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from ..errors import UsageError
from .wording import reworded


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

    def show(
        message: Warning | str,
        category: type[Warning],  # noqa: ARG001 - the signature is Python's
        filename: str,  # noqa: ARG001
        lineno: int,  # noqa: ARG001
        file: TextIO | None = None,  # noqa: ARG001
        line: str | None = None,  # noqa: ARG001
    ) -> None:
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
