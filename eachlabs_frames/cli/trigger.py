"""`eachlabs-frames trigger`: a file of rows in, a file of results out.

Everything is checked before anything is sent; whatever ends the command, what it paid for is in a file first.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import APIError, UsageError
from ..frames.rerun import RepeatedError
from ..models import PENDING, STATUSES, UNKNOWN
from . import files
from .arguments import read_inputs
from .codes import DONE, NOT_ALL
from .formats import check_suffix
from .messages import plain, say
from .signals import Signals
from .sink import Sink, run_of

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


def run(args: argparse.Namespace, signals: Signals) -> int:
    """Check everything, send, write; then wait where asked, and write again."""
    constants = [constant for given in args.set for constant in given]
    inputs = read_inputs(args.inputs, constants)
    if args.timeout is not None and not args.wait:
        msg = "--timeout goes with --wait"
        raise UsageError(msg)
    frame, sink = _prepare(args)
    interrupted = _send(frame, inputs, args, signals, sink)
    refused = False
    if args.wait and not interrupted:
        frame, refused = _wait(frame, args, signals, sink)
    return _conclude(frame, args, sink, signals) or (NOT_ALL if refused else DONE)


def _prepare(args: argparse.Namespace) -> tuple[pd.DataFrame, Sink]:
    """Read the rows, and try out that the result can be written."""
    source, out = Path(args.file), Path(args.out)
    check_suffix(out)
    files.check_free(out, force=args.force, source=source)
    sink = Sink(out, prefix=args.prefix, force=args.force)
    text = ("bulk_id", "execution_id", "status", "error", "output")
    frame = files.read(source, texts=[args.prefix + name for name in text])
    files.rehearse(frame, out, packed=sink.packed)
    return frame, sink


def _send(frame: pd.DataFrame, inputs: Any, args: argparse.Namespace, signals: Signals, sink: Sink) -> bool:
    """Trigger into `frame` itself, and write it; return whether that was interrupted.

    In place, and as a coroutine that a signal cancels: a KeyboardInterrupt can strike between the last answer and the
    assignment of a result, and then what was paid for is lost. A cancellation cannot.
    """
    given = {name: getattr(args, name) for name in OPTIONS}
    try:
        signals.run(frame.eachlabs.bulk_trigger_async(args.workflow, inputs, inplace=True, **given))
    except RepeatedError as exc:
        how = "sends and pays for such rows" if exc.is_own else "goes on with that run, and sends only what it has not"
        msg = (
            f"{exc.facts}: nothing was sent. --run {shlex.quote(exc.run)} {how}; --retrigger sends and pays for every "
            "row again"
        )
        raise UsageError(msg) from exc
    except asyncio.CancelledError as exc:
        if sink.execution_id not in frame.columns:
            raise KeyboardInterrupt from exc  # before anything was sent
        sink.save(frame)
        return True
    except BaseException as exc:
        kept = getattr(exc, "frame", None)  # it is there where something may have been sent
        if kept is not None:
            sink.save(kept)
            say(f"{_told(kept, sink)}. {_go_on(kept, args)}")
        raise
    sink.save(frame)
    return False


def _wait(frame: pd.DataFrame, args: argparse.Namespace, signals: Signals, sink: Sink) -> tuple[pd.DataFrame, bool]:
    """Return the frame as it is when all has ended, and whether the API refused to say.

    Where the wait ends early, that is the frame which is in the file already.
    """
    options = {"workflow_id": args.workflow, "prefix": args.prefix, "progress": args.progress}
    try:
        waited: pd.DataFrame = signals.run(frame.eachlabs.wait_async(args.timeout, **options))
    except asyncio.CancelledError:
        return frame, False
    except APIError as exc:
        say(f"stopped waiting, the executions go on: {exc}")
        return frame, True
    sink.save(waited)
    return waited, False


def _conclude(frame: pd.DataFrame, args: argparse.Namespace, sink: Sink, signals: Signals) -> int:
    """Say how it ended, and return the exit code."""
    if signals.number:
        name = signal.Signals(signals.number).name
        say(f"{name}: stopped. {_told(frame, sink)}. {_go_on(frame, args)}")
        return signals.exit_code
    print(_told(frame, sink), flush=True)
    left = frame[frame[sink.execution_id].isna()]
    if len(left):
        reason = left[f"{sink.prefix}error"].dropna()
        first = f"; the first: {reason.iloc[0]}" if len(reason) else ""
        say(f"{len(left)} of {len(frame)} rows have no execution, the error column says why{first}"[:500])
        _say_what_next(frame, args, left[f"{sink.prefix}status"])
    return NOT_ALL if len(left) or sink.rescued else DONE


def _say_what_next(frame: pd.DataFrame, args: argparse.Namespace, statuses: pd.Series[str]) -> None:
    run = run_of(frame)
    if (statuses == UNKNOWN).any() and run is not None:
        say(f"lost answers are looked for once more by: eachlabs-frames runs {shlex.quote(run)} --look")
    if (statuses == PENDING).any():
        say(_go_on(frame, args))


def _go_on(frame: pd.DataFrame, args: argparse.Namespace) -> str:
    """Say how to send what was not sent."""
    run = run_of(frame)
    if run is None:
        return "The same command with that file goes on"
    more = [] if args.run is not None else [f"--run {shlex.quote(run)}"]
    more += [] if args.force else ["--force"]
    how = f" with {' '.join(more)}" if more else ""
    how += " and without --retrigger" if args.retrigger else ""
    return f"The same command{how} goes on, and sends only what was not sent"


def _told(frame: pd.DataFrame, sink: Sink) -> str:
    run = run_of(frame)
    return f"{_tally(frame, sink)} -> {sink.saved}" + (f", run {plain(run)}" if run is not None else "")


def _tally(frame: pd.DataFrame, sink: Sink) -> str:
    accepted = frame[sink.execution_id].notna()
    statuses = frame[f"{sink.prefix}status"].astype(object)

    def counts(of: pd.Series[bool]) -> list[str]:
        found = Counter(map(str, statuses[of]))
        words = sorted(found, key=lambda word: (STATUSES.index(word) if word in STATUSES else len(STATUSES), word))
        return [f"{found[word]} {word}" for word in words]

    inside = ", ".join(counts(accepted))
    parts = [f"{int(accepted.sum())} accepted" + (f" ({inside})" if inside else ""), *counts(~accepted)]
    return f"{len(frame)} row{'' if len(frame) == 1 else 's'}: {', '.join(parts)}"
