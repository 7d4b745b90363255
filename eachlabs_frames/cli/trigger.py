"""`eachlabs-frames trigger`: a file of rows in, a file of results out.

Everything is checked before anything is sent; whatever ends the command, what it paid for is in a file first.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import APIError, UsageError
from ..models import STATUSES
from . import files
from .arguments import read_inputs
from .codes import DONE, NOT_ALL
from .formats import check_suffix
from .messages import say
from .signals import Signals
from .sink import Sink

if TYPE_CHECKING:
    import pandas as pd


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
    return _conclude(frame, sink, signals) or (NOT_ALL if refused else DONE)


def _prepare(args: argparse.Namespace) -> tuple[pd.DataFrame, Sink]:
    """Read the rows, and try out that the result can be written."""
    source, out = Path(args.file), Path(args.out)
    check_suffix(out)
    if os.path.lexists(out) and not args.force and not out.is_dir():
        which = "exists already"
        with suppress(OSError):
            which = "is the input itself" if out.samefile(source) else which
        msg = f"{out}: the file {which}: name another --out, or replace it with --force"
        raise UsageError(msg)
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
    options = ("version_id", "webhook_url", "na", "validate", "max_concurrency", "retrigger", "prefix", "progress")
    given = {name: getattr(args, name) for name in options}
    try:
        signals.run(frame.eachlabs.bulk_trigger_async(args.workflow, inputs, inplace=True, **given))
    except asyncio.CancelledError as exc:
        if sink.execution_id not in frame.columns:
            raise KeyboardInterrupt from exc  # before anything was sent
        sink.save(frame)
        return True
    except BaseException as exc:
        kept = getattr(exc, "frame", None)  # it is there where something may have been sent
        if kept is not None:
            sink.save(kept)
            say(f"{_tally(kept, sink)} -> {sink.saved}")
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


def _conclude(frame: pd.DataFrame, sink: Sink, signals: Signals) -> int:
    """Say how it ended, and return the exit code."""
    if signals.number:
        name = signal.Signals(signals.number).name
        say(f"{name}: stopped. {_tally(frame, sink)} -> {sink.saved}. The same command with that file goes on")
        return signals.exit_code
    print(f"{_tally(frame, sink)} -> {sink.saved}", flush=True)
    left = frame[frame[sink.execution_id].isna()]
    if len(left):
        reason = left[f"{sink.prefix}error"].dropna()
        first = f"; the first: {reason.iloc[0]}" if len(reason) else ""
        say(f"{len(left)} of {len(frame)} rows have no execution, the error column says why{first}"[:500])
    return NOT_ALL if len(left) or sink.rescued else DONE


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
