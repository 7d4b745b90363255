"""What the commands that send rows share: they send, save the result, wait, and print a summary.

However a call ends, paid results are written first.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import configure
from ..errors import APIError, Interrupted, UsageError
from ..frames import retry
from ..frames.options import TriggerOptions
from ..frames.track import WaitCall
from ..frames.trigger import TriggerCall
from ..models import COMPLETED, FAILED, PENDING, SETTLED, STATUSES, UNKNOWN, Secret
from .arguments import read_inputs
from .exit_codes import DONE, NOT_ALL
from .output_table import OutputFile, run_of
from .signals import Signals
from .terminal import error_text, notify, one_line
from .wording import with_errors_reworded

if TYPE_CHECKING:
    from ..frames.table import Frame

MAX_MESSAGE = 500

REFRESH_PREFIX = "eachlabs_refreshed_"
"""Prefix of the result columns of an internal frame, so that they conflict with no input column."""


def check_waiting(args: argparse.Namespace) -> None:
    """Raise `UsageError` for options that require ``--wait``."""
    for option, is_given in (("--timeout", args.timeout is not None), ("--ok-if-failed", args.ok_if_failed)):
        if is_given and not args.wait:
            msg = f"{option} requires --wait"
            raise UsageError(msg)


def inputs_of(args: argparse.Namespace) -> Any:
    """Return ``inputs=`` from the options; apply ``--max-wait``."""
    if args.max_wait is not None:
        configure(max_wait=args.max_wait)
    return read_inputs(args.inputs, [constant for given in args.set for constant in given], args.files, args.root)


def webhook_secret(args: argparse.Namespace) -> Secret | None:
    """Return the secret for ``--webhook-url``, which is read from the environment like the key."""
    return Secret.wrap(os.environ.get("EACHLABS_WEBHOOK_SECRET") if args.webhook_url is not None else None)


def has_failed(frame: Frame, prefix: str) -> bool:
    """Return whether a row of a result has failed."""
    return bool((frame[f"{prefix}status"].astype(object) == FAILED).any())


def retry_failed(frame: Frame, inputs: Any, args: argparse.Namespace, signals: Signals, sink: OutputFile) -> Frame:
    """Trigger the failed rows of `frame` again, save the result and return it."""
    options = TriggerOptions(
        run=getattr(args, "run", None),  # the command `retry` has no such option
        webhook_url=args.webhook_url,
        webhook_secret=webhook_secret(args),
        max_concurrency=args.max_concurrency,
        max_cost=args.max_cost,
        expires_in=args.expires_in,
        ask=args.ask,
        progress=args.progress,
    )
    return send(lambda: retry.retry_failed(frame, inputs, options, prefix=args.prefix), args, signals, sink)


def send(make: Callable[[], TriggerCall], args: argparse.Namespace, signals: Signals, sink: OutputFile) -> Frame:
    """Run a call that triggers, save its frame and return it, also if a signal has stopped the call."""
    frame: Frame
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


def finish(frame: Frame, args: argparse.Namespace, sink: OutputFile, signals: Signals) -> int:
    """With ``--wait``, wait for the executions; then write the result, print a summary and return the exit code."""
    refused = False
    if args.wait and not signals.number:
        frame, refused = _wait(frame, args, signals, sink)
    return _report(frame, args, sink, signals) or (NOT_ALL if refused else DONE)


def _wait(frame: Frame, args: argparse.Namespace, signals: Signals, sink: OutputFile) -> tuple[Frame, bool]:
    """Return the frame once all executions have ended, and whether the API returned an error.

    If the wait ends early, return the frame that was saved before.
    """
    options = {"workflow_id": args.workflow, "prefix": sink.prefix, "progress": args.progress}
    try:
        waited = signals.run(lambda: WaitCall(frame, timeout=args.timeout, **options))
    except Interrupted as exc:
        waited = exc.frame
    except KeyboardInterrupt:
        return frame, False
    except APIError as exc:
        notify(f"stopped waiting; the executions continue: {error_text(exc)}")
        return frame, True
    sink.save(waited)
    return waited, False


def _report(frame: Frame, args: argparse.Namespace, sink: OutputFile, signals: Signals) -> int:
    frame = with_errors_reworded(frame, sink.prefix)
    sink.close()
    if signals.number:
        name = signal.Signals(signals.number).name
        notify(f"{name}: stopped. {result_summary(frame, sink)}. {resume_hint(frame, args)}")
        return signals.exit_code
    sink.print_summary(result_summary(frame, sink))
    code = NOT_ALL if sink.failed else DONE
    without = frame[sink.execution_id].isna()
    if without.any():
        _report_rows(frame, without, "have no execution", sink)
        _report_next_steps(frame, args, frame.loc[without, f"{sink.prefix}status"])
        code = NOT_ALL
    if args.wait and not args.ok_if_failed:
        statuses = frame[f"{sink.prefix}status"].astype(object)
        incomplete = ~without & (statuses != COMPLETED)
        ended = incomplete & statuses.isin(SETTLED)  # open rows have been reported at the end of the wait
        if ended.any():
            _report_rows(frame, ended, "have not completed", sink)
        if incomplete.any():
            code = NOT_ALL
    return code


def _report_rows(frame: Frame, rows: Any, what: str, sink: OutputFile) -> None:
    reasons = frame.loc[rows, f"{sink.prefix}error"].dropna()
    first = f". First error: {reasons.iloc[0]}" if len(reasons) else ""
    notify(f"{int(rows.sum())} of {len(frame)} rows {what}; see the error column{first}"[:MAX_MESSAGE])


def _report_next_steps(frame: Frame, args: argparse.Namespace, statuses: Any) -> None:
    run = run_of(frame)
    if (statuses == UNKNOWN).any() and run is not None:
        notify(f"to search for lost responses again: eachlabs-frames runs {shlex.quote(run)} --refresh")
    if (statuses == PENDING).any():
        notify(resume_hint(frame, args))


def resume_hint(frame: Frame, args: argparse.Namespace) -> str:
    """Return a sentence that says how to send the remaining rows."""
    run = run_of(frame)
    if args.command == "retry":
        return "To resume, run eachlabs-frames retry with the result"
    if run is None:
        return "To resume, run the same command with the result file"
    more = [] if args.run is not None else [f"--run {shlex.quote(run)}"]
    more += [] if args.force or args.out == "-" else ["--force"]
    how = f" with {' '.join(more)}" if more else ""
    how += " and without --retrigger" if args.retrigger else ""
    return f"To resume, run the same command{how}; it sends only rows that were not sent"


def result_summary(frame: Frame, sink: OutputFile) -> str:
    """Return the number of rows by status, the name of the output, and the run."""
    run = run_of(frame)
    return f"{_status_counts(frame, sink)} -> {sink.name}" + (f", run {one_line(run)}" if run is not None else "")


def _status_counts(frame: Frame, sink: OutputFile) -> str:
    accepted = frame[sink.execution_id].notna()
    statuses = frame[f"{sink.prefix}status"].astype(object)
    return count_statuses(Counter(map(str, statuses[accepted])), Counter(map(str, statuses[~accepted])))


def count_statuses(accepted: Counter[str], others: Counter[str]) -> str:
    """Return the numbers of rows by status: of those that have an execution, and of the others."""

    def counts(by_status: Counter[str]) -> list[str]:
        order = sorted(by_status, key=lambda name: (STATUSES.index(name) if name in STATUSES else len(STATUSES), name))
        return [f"{by_status[name]} {name}" for name in order]

    total, inside = accepted.total(), ", ".join(counts(accepted))
    rows = total + others.total()
    parts = [f"{total} accepted" + (f" ({inside})" if inside else ""), *counts(others)]
    return f"{rows} row{'' if rows == 1 else 's'}: {', '.join(parts)}"
