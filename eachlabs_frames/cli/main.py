"""Runs one command and turns whatever ends it into one line and an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ..errors import EachlabsError, UsageError
from .arguments import parser
from .signals import Signals
from .terminal import DONE, NOT_ALL, WRONG_CALL, explain, in_one_line, say


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        0: every row was accepted and, where that was waited for, has completed. 1: some were not or have not, or the
        API refused. 2: the call was wrong, and nothing was sent. 130, 143: interrupted, terminated.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without emoji is no reason to stop
    try:
        args = parser().parse_args(argv)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else DONE
    with Signals() as signals, in_one_line():
        try:
            # Each command is a module of its own, imported only when it is called.
            command = import_module(f".{args.command}_command", __package__)
            code: int = command.run(args, signals)
        except UsageError as exc:
            say(explain(exc))
            return WRONG_CALL
        except EachlabsError as exc:
            say(explain(exc))
            return NOT_ALL
        except BrokenPipeError:
            # Whoever read our output has left; without this, Python would complain once more at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NOT_ALL
        except KeyboardInterrupt:
            say("interrupted; nothing was sent")
            return signals.exit_code
    return code
