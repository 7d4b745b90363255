"""The end of a command that triggers: the wait for its executions, the message that says how it ended, the exit code.

It sends nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
from collections import Counter
from typing import TYPE_CHECKING

from ..errors import APIError
from ..models import COMPLETED, PENDING, SETTLED, STATUSES, UNKNOWN
from .output_table import OutputFile, run_of
from .signals import Signals
from .terminal import DONE, NOT_ALL, explain, plain, say
from .wording import with_errors_reworded

if TYPE_CHECKING:
    import pandas as pd

MAX_MESSAGE = 500


def finish(
    frame: pd.DataFrame, args: argparse.Namespace, sink: OutputFile, signals: Signals, *, interrupted: bool
) -> int:
    """Wait where that was asked for, write the result, say how it ended, and return the exit code."""
    refused = False
    if args.wait and not interrupted:
        frame, refused = _wait(frame, args, signals, sink)
    return _conclude(frame, args, sink, signals) or (NOT_ALL if refused else DONE)


def _wait(
    frame: pd.DataFrame, args: argparse.Namespace, signals: Signals, sink: OutputFile
) -> tuple[pd.DataFrame, bool]:
    """Return the frame once all executions have ended, and whether the API refused to say.

    Where the wait ends early, it is the frame that was saved before.
    """
    options = {"workflow_id": args.workflow, "prefix": sink.prefix, "progress": args.progress}
    try:
        waited: pd.DataFrame = signals.run(frame.eachlabs.wait_async(args.timeout, **options))
    except asyncio.CancelledError:
        return frame, False
    except APIError as exc:
        say(f"stopped waiting; the executions continue: {explain(exc)}")
        return frame, True
    sink.save(waited)
    return waited, False


def _conclude(frame: pd.DataFrame, args: argparse.Namespace, sink: OutputFile, signals: Signals) -> int:
    frame = with_errors_reworded(frame, sink.prefix)
    sink.close()
    if signals.number:
        name = signal.Signals(signals.number).name
        say(f"{name}: stopped. {told(frame, sink)}. {go_on(frame, args)}")
        return signals.exit_code
    print(told(frame, sink), file=sink.messages, flush=True)
    code = NOT_ALL if sink.failed else DONE
    without = frame[sink.execution_id].isna()
    if without.any():
        _say_how_many(frame, without, "have no execution", sink)
        _say_what_next(frame, args, frame.loc[without, f"{sink.prefix}status"])
        code = NOT_ALL
    if args.wait and not args.ok_if_failed:
        statuses = frame[f"{sink.prefix}status"].astype(object)
        incomplete = ~without & (statuses != COMPLETED)
        ended = incomplete & statuses.isin(SETTLED)  # of the others, the end of the wait has been reported
        if ended.any():
            _say_how_many(frame, ended, "have not completed", sink)
        if incomplete.any():
            code = NOT_ALL
    return code


def _say_how_many(frame: pd.DataFrame, rows: pd.Series[bool], what: str, sink: OutputFile) -> None:
    reasons = frame.loc[rows, f"{sink.prefix}error"].dropna()
    first = f". First error: {reasons.iloc[0]}" if len(reasons) else ""
    say(f"{int(rows.sum())} of {len(frame)} rows {what}; see the error column{first}"[:MAX_MESSAGE])


def _say_what_next(frame: pd.DataFrame, args: argparse.Namespace, statuses: pd.Series[str]) -> None:
    run = run_of(frame)
    if (statuses == UNKNOWN).any() and run is not None:
        say(f"to search for lost responses again: eachlabs-frames runs {shlex.quote(run)} --refresh")
    if (statuses == PENDING).any():
        say(go_on(frame, args))


def go_on(frame: pd.DataFrame, args: argparse.Namespace) -> str:
    """Say how to send what was not sent."""
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


def told(frame: pd.DataFrame, sink: OutputFile) -> str:
    """Return how many rows there are of each kind, where they are, and in which run."""
    run = run_of(frame)
    return f"{_tally(frame, sink)} -> {sink.name}" + (f", run {plain(run)}" if run is not None else "")


def _tally(frame: pd.DataFrame, sink: OutputFile) -> str:
    accepted = frame[sink.execution_id].notna()
    statuses = frame[f"{sink.prefix}status"].astype(object)

    def counts(of: pd.Series[bool]) -> list[str]:
        found = Counter(map(str, statuses[of]))
        words = sorted(found, key=lambda word: (STATUSES.index(word) if word in STATUSES else len(STATUSES), word))
        return [f"{found[word]} {word}" for word in words]

    inside = ", ".join(counts(accepted))
    parts = [f"{int(accepted.sum())} accepted" + (f" ({inside})" if inside else ""), *counts(~accepted)]
    return f"{len(frame)} row{'' if len(frame) == 1 else 's'}: {', '.join(parts)}"
