"""`eachlabs-frames download`: downloads a result's output files to a folder. It triggers nothing."""

from __future__ import annotations

import argparse
import json
import signal
from typing import Any, Final

import numpy as np

from ..accessors.outputs import MAX_SIZE
from ..frames.download import Download, DownloadOptions
from ..frames.table import Frame
from ..models import SETTLED
from . import input_table
from .exit_codes import DONE, NOT_ALL
from .output_table import OutputFile, open_output
from .sending import MAX_MESSAGE
from .signals import Signals
from .terminal import notify
from .wording import reworded

OPTIONS: Final = ("name", "column", "overwrite", "allow_private", "max_concurrency", "prefix", "progress")
ERROR: Final = "_error"


def run(args: argparse.Namespace, signals: Signals) -> int:
    """Download the files, and with ``--out`` write the table with their paths."""
    frame = input_table.load(args)
    sink = None
    if args.out is not None:
        sink = open_output(args.out, args.out_format, prefix=args.prefix, force=args.force, source=args.source)
        sink.packed = (*sink.packed, args.column)
        sink.check(frame)
    if args.refresh:
        frame = input_table.refreshed(frame, args.workflow, prefix=args.prefix)
    given = {name: getattr(args, name) for name in OPTIONS}
    given["max_size"] = MAX_SIZE if args.max_size is None else args.max_size
    readable = _with_outputs(_with_earlier_paths(frame, args), f"{args.prefix}output")
    try:
        fetched = signals.run(lambda: Download(readable, args.to, DownloadOptions(**given)))
    except KeyboardInterrupt:
        notify(
            f"{signal.Signals(signals.number).name}: stopped. Run the same command again to fetch only missing files"
        )
        return signals.exit_code
    if f"{args.prefix}output" in frame.columns:
        fetched[f"{args.prefix}output"] = frame[f"{args.prefix}output"].array
    return _report(fetched, args, sink)


def _with_earlier_paths(frame: Frame, args: argparse.Namespace) -> Frame:
    """Return `frame`, marked as the result of an earlier download if it has the columns of one."""
    if {args.column, args.column + ERROR} <= set(frame.columns):
        frame.attrs["eachlabs_download"] = {"column": args.column, "prefix": args.prefix}
    return frame


def _with_outputs(frame: Frame, column: str) -> Frame:
    """Return `frame` with outputs in JSON text parsed to lists and objects."""
    if column not in frame.columns:
        return frame
    read: Frame = frame.copy(deep=False)
    read[column] = np.fromiter(map(_parsed, frame[column].astype(object)), dtype=object, count=len(frame))
    return read


def _parsed(cell: object) -> Any:
    if not isinstance(cell, str) or not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell  # text that only looks like JSON


def _report(fetched: Frame, args: argparse.Namespace, sink: OutputFile | None) -> int:
    if sink is not None:
        sink.save(fetched)
        sink.close()
    count = sum(len(_files(cell)) for cell in fetched[args.column])
    where = f" -> {sink.name}" if sink is not None else ""
    message = f"{count} file{'' if count == 1 else 's'} in {args.to}{where}"
    if sink is None:
        print(message, flush=True)
    else:
        sink.print_summary(message)
    errors = fetched[args.column + ERROR].dropna()
    if len(errors):
        first = f"{len(errors)} row(s) have missing files. First error: {reworded(errors.iloc[0])}"
        notify(first[:MAX_MESSAGE])
    ended = fetched[f"{args.prefix}execution_id"].isna() | fetched[f"{args.prefix}status"].isin(SETTLED)
    return NOT_ALL if len(errors) or not ended.all() or (sink is not None and sink.failed) else DONE


def _files(cell: object) -> list[str]:
    if isinstance(cell, str):
        return [cell]
    return [file for file in cell if file is not None] if isinstance(cell, list) else []
