"""Runs a command, and turns every exception into one line and an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ..errors import EachlabsError, UsageError
from .arguments import parser
from .exit_codes import DONE, NOT_ALL, WRONG_CALL
from .signals import Signals
from .terminal import error_text, in_one_line, notify


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        0: every row was accepted and, with ``--wait``, completed. 1: some rows were not, or the API returned an error.
        2: invalid command, nothing was sent. 130, 143: interrupted, terminated.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for terminals that are not UTF-8
    try:
        args = parser().parse_args(argv)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else DONE
    with Signals() as signals, in_one_line():
        try:
            # Each command is a module of its own, imported only when it is called.
            on_dask = args.command == "trigger" and args.dask is not None
            command = import_module(".trigger_dask" if on_dask else f".{args.command}_command", __package__)
            code: int = command.run(args, signals)
        except UsageError as exc:
            notify(error_text(exc))
            return WRONG_CALL
        except EachlabsError as exc:
            notify(error_text(exc))
            return NOT_ALL
        except BrokenPipeError:
            # The reader has closed the pipe. Without this, Python reports the error again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NOT_ALL
        except KeyboardInterrupt:
            notify("interrupted; nothing was sent")
            return signals.exit_code
    return code
