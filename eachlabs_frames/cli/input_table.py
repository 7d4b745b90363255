"""The input of a command: a file, stdin, or a run of the journal."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ColumnError, UsageError
from ..frames.runs import load_run
from . import files
from .formats import SUFFIXES, suffix_of

if TYPE_CHECKING:
    from ..frames.table import Frame

STDIN: Final = "-"


def read(source: str, input_format: str | None) -> Frame:
    """Read a table from a file, or from stdin if `source` is ``-``.

    Raises
    ------
    UsageError
        It cannot be read, or `input_format` is given for a file.
    """
    if source != STDIN:
        if input_format is not None:
            msg = f"--input-format requires - (stdin); the suffix of {source} sets its format"
            raise UsageError(msg)
        return files.read(Path(source))
    if sys.stdin is None or sys.stdin.isatty():
        what = "closed" if sys.stdin is None else "a terminal"
        msg = f"-: stdin is {what}; pipe a table into the command, or name a file"
        raise UsageError(msg)
    return files.read(sys.stdin.buffer, suffix=f".{input_format or 'csv'}")


def load(args: argparse.Namespace) -> Frame:
    """Return the result that ``FILE|RUN`` names: a file if it has the suffix of a table, otherwise a run."""
    source: str = args.source
    if source == STDIN or suffix_of(Path(source)) in SUFFIXES:
        return read(source, args.input_format)
    if args.input_format is not None:
        msg = f"--input-format requires - (stdin); {source} is a run"
        raise UsageError(msg)
    return with_index_columns(load_run(source, prefix=args.prefix))


def with_index_columns(frame: Frame) -> Frame:
    """Return a run with its index as the first columns, unless it is 0, 1, 2, ...: files have no index."""
    index = frame.index
    plain_numbers = index.nlevels == 1 and index.name is None and index.dtype.kind in "iu"
    if not len(index) or (plain_numbers and index.tolist() == list(range(len(index)))):
        return frame
    default = ["index"] if index.nlevels == 1 else [f"level_{level}" for level in range(index.nlevels)]
    names = [_unused_name(str(name or other), frame) for name, other in zip(index.names, default, strict=True)]
    out: Frame = frame.reset_index(names=names)
    return out


def _unused_name(name: str, frame: Frame) -> str:
    while name in frame.columns:
        name += "_"
    return name


def refreshed(frame: Frame, workflow: str | None, *, prefix: str) -> Frame:
    """Return a result refreshed from the API, with its run, workflow and mapping if the journal has them.

    Raises
    ------
    UsageError
        The table is not a result, or its workflow is neither in the journal nor in `workflow`.
    """
    try:
        return frame.eachlabs.refresh(prefix=prefix)
    except ColumnError:
        if workflow is None:
            raise
    return frame.eachlabs.refresh(workflow_id=workflow, prefix=prefix)
