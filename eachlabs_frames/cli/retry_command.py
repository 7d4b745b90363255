"""`eachlabs-frames retry`: the failed rows of a result are triggered again; all others are left as they are."""

from __future__ import annotations

import argparse

from ..errors import UsageError
from . import input_table
from .finish import finish
from .output_table import sink_for
from .signals import Signals
from .terminal import say
from .trigger_command import check_waiting, has_failed, inputs_of, retry_failed


def run(args: argparse.Namespace, signals: Signals) -> int:
    """Ask which rows have failed, send these, and write the whole result."""
    check_waiting(args)
    if args.out is None:
        msg = "--out FILE is required (- for stdout)"
        raise UsageError(msg)
    inputs = inputs_of(args)
    frame = input_table.load(args)
    sink = sink_for(args.out, args.out_format, prefix=args.prefix, force=args.force, source=args.source)
    frame = input_table.refreshed(frame, args.workflow, prefix=args.prefix)
    sink.check(frame)
    try:
        if not has_failed(frame, args.prefix):
            say("no row has failed; nothing is sent")
            sink.save(frame)
            return finish(frame, args, sink, signals, interrupted=False)
        interrupted = retry_failed(frame, inputs, args, signals, sink)
        return finish(frame, args, sink, signals, interrupted=interrupted)
    finally:
        sink.close()
