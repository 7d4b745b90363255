"""`eachlabs-frames retry`: triggers the failed rows of a result again. Other rows are not changed."""

from __future__ import annotations

import argparse

from ..errors import UsageError
from . import input_table
from .output_table import open_output
from .sending import check_waiting, finish, has_failed, inputs_of, retry_failed
from .signals import Signals
from .terminal import notify


def run(args: argparse.Namespace, signals: Signals) -> int:
    """Refresh the result, trigger its failed rows again, and write it."""
    check_waiting(args)
    if args.out is None:
        msg = "--out FILE is required (- for stdout)"
        raise UsageError(msg)
    inputs = inputs_of(args)
    frame = input_table.load(args)
    sink = open_output(args.out, args.out_format, prefix=args.prefix, force=args.force, source=args.source)
    frame = input_table.refreshed(frame, args.workflow, prefix=args.prefix)
    sink.check(frame)
    try:
        if not has_failed(frame, args.prefix):
            notify("no row has failed; nothing is sent")
            sink.save(frame)
            return finish(frame, args, sink, signals)
        return finish(retry_failed(frame, inputs, args, signals, sink), args, sink, signals)
    finally:
        sink.close()
