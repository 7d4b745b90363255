"""`eachlabs-frames trigger`: triggers the rows of a table, and writes the table with their results.

Everything is checked before anything is sent. However the command ends, paid results are written first.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .. import configure
from ..errors import Interrupted, RunError, UsageError
from ..frames import retry
from ..frames.options import TriggerOptions
from ..frames.runs import load_run
from ..frames.trigger import TriggerCall
from ..models import FAILED, Secret
from . import input_table, trigger_dry_run
from .arguments import read_inputs
from .finish import finish, result_summary, resume_hint
from .output_table import OutputFile, open_output
from .signals import Signals
from .terminal import DONE, NOT_ALL, error_text, notify

if TYPE_CHECKING:
    import pandas as pd

OPTIONS: Final = (
    "version_id",
    "run",
    "key",
    "webhook_url",
    "na",
    "validate",
    "max_concurrency",
    "max_cost",
    "retrigger",
    "on_unknown",
    "prefix",
    "progress",
)

REFRESH_PREFIX: Final = "eachlabs_refreshed_"
"""Prefix of the result columns of an internal frame, so that they conflict with no input column."""


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
        with_out = [option for option in ("out", "out_format", "force", "wait") if getattr(args, option)]
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


def check_waiting(args: argparse.Namespace) -> None:
    """Raise `UsageError` for options that require ``--wait``."""
    for option, is_given in (("--timeout", args.timeout is not None), ("--ok-if-failed", args.ok_if_failed)):
        if is_given and not args.wait:
            msg = f"{option} requires --wait"
            raise UsageError(msg)


def inputs_of(args: argparse.Namespace) -> Any:
    """Return ``inputs=`` from ``--inputs`` and ``--set``; apply ``--max-wait``."""
    if args.max_wait is not None:
        configure(max_wait=args.max_wait)
    return read_inputs(args.inputs, [constant for given in args.set for constant in given])


def webhook_secret(args: argparse.Namespace) -> Secret | None:
    """Return the secret for ``--webhook-url``, which is read from the environment like the key."""
    return Secret.wrap(os.environ.get("EACHLABS_WEBHOOK_SECRET") if args.webhook_url is not None else None)


def _refreshed(frame: pd.DataFrame, args: argparse.Namespace) -> pd.DataFrame:
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


def has_failed(frame: pd.DataFrame, prefix: str) -> bool:
    """Return whether a row of a result has failed."""
    return bool((frame[f"{prefix}status"].astype(object) == FAILED).any())


def retry_failed(
    frame: pd.DataFrame, inputs: Any, args: argparse.Namespace, signals: Signals, sink: OutputFile
) -> pd.DataFrame:
    """Trigger the failed rows of `frame` again, save the result and return it."""
    options = TriggerOptions(
        run=getattr(args, "run", None),  # the command `retry` has no such option
        webhook_url=args.webhook_url,
        webhook_secret=webhook_secret(args),
        max_concurrency=args.max_concurrency,
        max_cost=args.max_cost,
        progress=args.progress,
    )
    return send(lambda: retry.retry_failed(frame, inputs, options, prefix=args.prefix), args, signals, sink)


def send(make: Callable[[], TriggerCall], args: argparse.Namespace, signals: Signals, sink: OutputFile) -> pd.DataFrame:
    """Run a call that triggers, save its frame and return it, also if a signal has stopped the call."""
    try:
        frame = signals.run(make)
    except Interrupted as exc:
        frame = exc.frame
    except BaseException as exc:
        kept = getattr(exc, "frame", None)  # set if something may have been sent
        if kept is not None:
            sink.save(kept)
            notify(f"{result_summary(kept, sink)}. {resume_hint(kept, args)}")
        raise
    sink.save(frame)
    return frame
