"""`eachlabs-frames trigger`: triggers the rows of a table, and writes the table with their results.

Everything is checked before anything is sent. However the command ends, paid results are written first.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from ..errors import RunError, UsageError
from ..frames.options import TriggerOptions
from ..frames.runs import load_run
from ..frames.trigger import TriggerCall
from . import input_table, trigger_dry_run
from .exit_codes import DONE, NOT_ALL
from .output_table import open_output
from .sending import REFRESH_PREFIX, check_waiting, finish, has_failed, inputs_of, retry_failed, send, webhook_secret
from .signals import Signals
from .terminal import error_text, notify

if TYPE_CHECKING:
    from ..frames.table import Frame

OPTIONS: Final = (
    "version_id",
    "run",
    "key",
    "webhook_url",
    "na",
    "validate",
    "max_concurrency",
    "max_cost",
    "expires_in",
    "ask",
    "retrigger",
    "on_unknown",
    "prefix",
    "progress",
)


def run(args: argparse.Namespace, signals: Signals) -> int:
    """Check everything, send and write; with ``--wait``, wait and write again."""
    _check(args)
    inputs = inputs_of(args)
    frame = input_table.read(args.file, args.input_format)
    options = {name: getattr(args, name) for name in OPTIONS} | {"webhook_secret": webhook_secret(args)}
    if args.dry_run:
        return trigger_dry_run.run(frame, inputs, options, args, signals)
    sink = open_output(args.out, args.out_format, prefix=args.prefix, force=args.force, source=args.file)
    sink.check(frame)
    if args.retry_failed:
        frame = _refreshed(frame, args)
    try:
        given = TriggerOptions(**options)
        frame = send(lambda: TriggerCall(frame, args.workflow, inputs, given), args, signals, sink)
        refused = False
        if args.retry_failed and not signals.number and has_failed(frame, args.prefix):
            try:
                frame = retry_failed(frame, inputs, args, signals, sink)
            except UsageError as exc:
                refused = True  # not exit code 2, because other rows have been sent
                notify(f"the failed rows were not sent again: {error_text(exc)}")
        return finish(frame, args, sink, signals) or (NOT_ALL if refused else DONE)
    finally:
        sink.close()


def _check(args: argparse.Namespace) -> None:
    """Raise `UsageError` for options that conflict."""
    check_waiting(args)
    if args.json and not args.dry_run:
        msg = "--json requires --dry-run; for a result in JSON, use --out FILE.jsonl"
        raise UsageError(msg)
    if args.dry_run:
        with_out = [option for option in ("out", "out_format", "force", "wait", "ask") if getattr(args, option)]
        if with_out:
            option = with_out[0].replace("_", "-")
            msg = f"--{option} cannot be used with --dry-run, which sends and writes nothing; leave it out"
            raise UsageError(msg)
    elif args.out is None:
        msg = "--out FILE is required (- for stdout), or --dry-run"
        raise UsageError(msg)
    if args.retry_failed and (args.dry_run or args.retrigger):
        other = "--dry-run" if args.dry_run else "--retrigger, which triggers all rows again"
        msg = f"--retry-failed cannot be used with {other}"
        raise UsageError(msg)


def _refreshed(frame: Frame, args: argparse.Namespace) -> Frame:
    """Refresh the rows of the file and, in the journal, those of the run, to find the failed ones."""
    if args.run is not None:
        try:
            loaded = load_run(args.run, prefix=REFRESH_PREFIX)
        except RunError:
            pass  # a new run
        else:
            input_table.refreshed(loaded, args.workflow, prefix=REFRESH_PREFIX)
    is_result = f"{args.prefix}execution_id" in frame.columns
    return input_table.refreshed(frame, args.workflow, prefix=args.prefix) if is_result else frame
