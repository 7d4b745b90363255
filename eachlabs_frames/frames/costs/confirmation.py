"""Asks a person whether rows are sent: the question of ``ask=True``, in a terminal or a notebook."""

from __future__ import annotations

import sys
from typing import Final

from ...errors import ConfigurationError, DeclinedError
from ...notebook import in_kernel
from .estimate import Estimate, estimate_sentence

NOBODY: Final = (
    "ask= needs a person who answers, in a terminal or a notebook, and there is none here: leave it out, and limit the "
    "costs with max_cost="
)


def check_person(is_asked: bool) -> None:
    """Check that a question can be answered here.

    Raises
    ------
    ConfigurationError
        The standard input is no terminal, and this is no notebook.
    """
    has_terminal = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    if is_asked and not in_kernel() and not has_terminal:
        raise ConfigurationError(NOBODY)


def ask(made: Estimate) -> None:
    """Show an estimate and wait for yes.

    Raises
    ------
    DeclinedError
        The answer was anything but yes, or the end of the input.
    ConfigurationError
        The notebook cannot ask.
    """
    line = estimate_sentence(made)
    question = f"{line}\nSend them? [y/N] "
    try:
        if not in_kernel():
            # Not on the standard output, which may be a result's file.
            print(question, end="", file=sys.stderr, flush=True)
        answer = input(question if in_kernel() else "")
    except EOFError:
        answer = ""  # Ctrl-D in a terminal
    except NotImplementedError as exc:
        # IPython's StdinNotImplementedError: a notebook that is run without a front end.
        raise ConfigurationError(NOBODY) from exc
    if answer.strip().casefold() not in ("y", "yes"):
        msg = f"nothing was sent: the answer was no ({line})"
        raise DeclinedError(msg)
