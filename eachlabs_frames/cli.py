"""The command line: whatever ends a command, what it paid for is in a file first, and said in one line.

Owns the arguments, the signals and what is printed. The work is the library's, and the files are `files`'s. What is
heavy is imported when a command needs it.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import logging
import math
import os
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO, TypeVar

from . import __version__
from .errors import APIError, EachlabsError, UsageError

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

DONE, NOT_ALL, WRONG_CALL = 0, 1, 2
SIGNALLED: Final = 128

KEY_HELP: Final = (
    "The key is read from the environment alone (EACHLABS_API_KEY; another address from EACHLABS_BASE_URL): "
    "an argument would stand in the list of processes for everybody to read."
)
DEMO_FILE: Final = "eachlabs-demo.csv"
DEMO_INPUTS: Final = ["prompt", "style", "seed"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        0: every row was accepted, or there was nothing to accept. 1: some were not, or the API refused. 2: the call
        was wrong, and nothing was sent. 130, 143: interrupted, terminated.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without emoji is no reason to stop
    try:
        args = _parser().parse_args(argv)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else DONE
    with Signals() as signals, _in_one_line():
        try:
            code: int = args.command(args, signals)
        except UsageError as exc:
            _say(exc)
            return WRONG_CALL
        except EachlabsError as exc:
            _say(exc)
            return NOT_ALL
        except BrokenPipeError:
            # Whoever read our output has left; without this, Python would complain once more at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NOT_ALL
        except KeyboardInterrupt:
            _say("interrupted, nothing was sent")
            return signals.exit_code
    return code


# Arguments


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_CALL, f"eachlabs-frames: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="eachlabs-frames",
        description="The rows of a table become executions of an each::labs workflow, and their results a table.",
        epilog=KEY_HELP,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"eachlabs-frames {__version__}")
    commands = parser.add_subparsers(required=True, metavar="{demo,trigger,sandbox}")
    _add_demo(commands)
    _add_trigger(commands)
    _add_sandbox(commands)
    return parser


def _add_command(commands: Any, name: str, run: Callable[..., int], *, about: str, epilog: str = "") -> Any:
    command = commands.add_parser(name, help=about, description=about, epilog=epilog, allow_abbrev=False)
    command.set_defaults(command=run)
    return command


def _add_demo(commands: Any) -> None:
    about = "See it work in a few seconds, against a sandbox on this machine: no account, key or network."
    add = _add_command(commands, "demo", _demo, about=about).add_argument
    add("--rows", type=_count, metavar="N", help="how many prompts; by default each of the package's once")
    add("--out", default=DEMO_FILE, metavar="FILE", help=f"the result, replaced if there ({DEMO_FILE})")


def _add_trigger(commands: Any) -> None:
    about = "Trigger a paid execution for each row of a file that has none yet, and write the rows with their results."
    add = _add_command(commands, "trigger", _trigger, about=about, epilog=KEY_HELP).add_argument
    add("file", help="the rows: .csv, .tsv, .jsonl, .ndjson or .parquet. Rows of an earlier result are left alone")
    add("--workflow", required=True, metavar="ID", help="the workflow's id or slug")
    add("--out", required=True, metavar="FILE", help="the result, in the format that its suffix says")
    add("--force", action="store_true", help="replace the file at --out if there is one, be it the input itself")
    inputs = "columns that become inputs: col,col or key=col; by default those that the workflow's schema names"
    add("--inputs", metavar="COLS", help=inputs)
    constant = "a constant for every row, JSON where it can be read as JSON, else text; needs --inputs"
    add("--set", action="append", default=[], nargs="+", metavar="KEY=VALUE", help=constant)
    add("--version-id", metavar="V", help="the version to run; the latest by default")
    add("--na", choices=("omit", "null"), default="omit", help="what a missing value becomes (omit: no such key)")
    add("--no-validate", action="store_false", dest="validate", help="do not check rows against the input schema")
    add("--retrigger", action="store_true", help="trigger, and pay, also the rows that have an execution")
    add("--prefix", default="", metavar="P", help="put before the result's column names")
    add("--webhook-url", metavar="URL", help="where the API announces each execution's end")
    add("--max-concurrency", type=_count, metavar="N", help="requests in flight at once (8)")
    add("--wait", action="store_true", help="wait until every execution has ended")
    add("--timeout", type=_seconds, metavar="SECONDS", help="how long to --wait at most; for ever by default")
    progress = "a bar on stderr; by default where stdout is a terminal"
    add("--progress", action=argparse.BooleanOptionalAction, default=None, help=progress)


def _add_sandbox(commands: Any) -> None:
    about = "Run a local each::labs in the foreground, until Ctrl-C: it accepts everything and bills nothing."
    add = _add_command(commands, "sandbox", _sandbox, about=about).add_argument
    add("--port", type=_port, default=8088, help="on 127.0.0.1; 0 takes a free one (8088)")
    add("--dialect", choices=("current", "legacy"), default="current", help="which of the API's shapes is printed")
    add("--seed", type=int, default=0, help="decides lengths and failures (0)")
    add("--latency", type=float, default=0.0, metavar="S", help="seconds before any request is acted on (0)")
    add("--failure-rate", type=float, default=0.0, metavar="P", help="share of executions that end failed (0)")
    add("--queue-seconds", type=float, default=0.2, metavar="S", help="seconds in the queue (0.2)")
    seconds = "the shortest and the longest run in seconds (0.5 2)"
    add("--run-seconds", type=float, nargs=2, default=(0.5, 2.0), metavar=("LOW", "HIGH"), help=seconds)
    add("--account-cap", type=_count, metavar="N", help="most executions in flight; more are refused with 429")
    add("--trigger-rate", type=_count, metavar="N", help="most bulk triggers in one second; more are refused with 429")
    add("--balance", type=float, dest="balance_usd", metavar="USD", help="what the account may spend; then 402")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        msg = f"{text!r} is no whole number of 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        msg = f"{text!r} is no port: 0 to 65535"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        msg = f"{text!r} is no number of seconds, 0 or more"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _inputs(columns: str | None, constants: Sequence[str]) -> list[str] | dict[str, Any] | None:
    """Return ``inputs=`` from ``--inputs`` and ``--set``.

    Raises
    ------
    UsageError
        A pair that cannot be read, or a key that is filled twice.
    """
    from .core.mapping import lit

    if columns is None:
        if constants:
            msg = f"--set {constants[0]} needs --inputs: name the columns that are sent beside it"
            raise UsageError(msg)
        return None
    # As a line of CSV, so that a column's name with a comma in it can be quoted.
    pairs = [cell.strip() for cell in next(csv.reader([columns], skipinitialspace=True), [])]
    fields: list[tuple[str, Any]] = [(key, column or key) for key, _, column in (pair.partition("=") for pair in pairs)]
    plain = not constants and all("=" not in pair for pair in pairs)
    for constant in constants:
        key, equals, value = constant.partition("=")
        if not equals:
            msg = f"--set {constant}: write key=value"
            raise UsageError(msg)
        fields.append((key, lit(_json_or_text(value))))
    named = [key for key, _ in fields]
    for key in named:
        if not key or named.count(key) > 1:
            msg = f"--inputs and --set fill {key!r} twice" if key else f"--inputs {columns!r}: write col,col or key=col"
            raise UsageError(msg)
    return named if plain else dict(fields)


def _json_or_text(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)  # NaN and Infinity are Python's, not JSON's

    try:
        value = json.loads(text, parse_constant=refuse)
    except ValueError:
        return text
    return text if value is None else value


# Trigger


def _trigger(args: argparse.Namespace, signals: Signals) -> int:
    """Check everything, send, write; then wait where asked, and write again."""
    constants = [constant for given in args.set for constant in given]
    inputs = _inputs(args.inputs, constants)
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
    from . import files

    source, out = Path(args.file), Path(args.out)
    files.check_suffix(out)
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
            _say(f"{_tally(kept, sink)} -> {sink.saved}")
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
        _say(f"stopped waiting, the executions go on: {exc}")
        return frame, True
    sink.save(waited)
    return waited, False


def _conclude(frame: pd.DataFrame, sink: Sink, signals: Signals) -> int:
    """Say how it ended, and return the exit code."""
    if signals.number:
        name = signal.Signals(signals.number).name
        _say(f"{name}: stopped. {_tally(frame, sink)} -> {sink.saved}. The same command with that file goes on")
        return signals.exit_code
    print(f"{_tally(frame, sink)} -> {sink.saved}", flush=True)
    left = frame[frame[sink.execution_id].isna()]
    if len(left):
        reason = left[f"{sink.prefix}error"].dropna()
        first = f"; the first: {reason.iloc[0]}" if len(reason) else ""
        _say(f"{len(left)} of {len(frame)} rows have no execution, the error column says why{first}"[:500])
    return NOT_ALL if len(left) or sink.rescued else DONE


def _tally(frame: pd.DataFrame, sink: Sink) -> str:
    from .models import STATUSES

    accepted = frame[sink.execution_id].notna()
    statuses = frame[f"{sink.prefix}status"].astype(object)

    def counts(of: pd.Series[bool]) -> list[str]:
        found = Counter(map(str, statuses[of]))
        words = sorted(found, key=lambda word: (STATUSES.index(word) if word in STATUSES else len(STATUSES), word))
        return [f"{found[word]} {word}" for word in words]

    inside = ", ".join(counts(accepted))
    parts = [f"{int(accepted.sum())} accepted" + (f" ({inside})" if inside else ""), *counts(~accepted)]
    return f"{len(frame)} row{'' if len(frame) == 1 else 's'}: {', '.join(parts)}"


class Sink:
    """Where the result goes: to ``--out``, and where that fails, anywhere that it is safe.

    Parameters
    ----------
    path : pathlib.Path
        ``--out``.
    prefix : str
        The prefix of the result's columns.
    force : bool
        Whether a file that is there may be replaced.
    """

    def __init__(self, path: Path, *, prefix: str, force: bool) -> None:
        self.saved = path
        self.rescued = False
        self.prefix = prefix
        self.execution_id = f"{prefix}execution_id"
        self.packed = (f"{prefix}output",)
        self._ours = force

    def save(self, frame: pd.DataFrame) -> None:
        """Write `frame`; it never raises, because these rows are paid for."""
        from . import files

        try:
            if not self._ours and os.path.lexists(self.saved):
                msg = "a file of this name has appeared meanwhile"
                raise FileExistsError(msg)  # noqa: TRY301 - one way for all that goes wrong here
            files.write(frame, self.saved, packed=self.packed)
            self._ours = True
        except Exception as exc:  # noqa: BLE001 - whatever it is, the rows must get to the disk
            self._rescue(frame, exc)

    def _rescue(self, frame: pd.DataFrame, exc: Exception) -> None:
        from . import files

        wanted, self.rescued = self.saved, True
        try:
            self.saved, self._ours = files.rescue(frame, wanted), True
        except OSError:
            _say(f"{wanted} could not be written ({exc}), and nothing else; these are the executions:")
            ids = frame.loc[frame[self.execution_id].notna(), [f"{self.prefix}bulk_id", self.execution_id]]
            ids.to_csv(sys.stderr, index_label="row")
        else:
            _say(f"{wanted} could not be written ({exc}): the result is in {self.saved}")


# Demo


def _demo(args: argparse.Namespace, signals: Signals) -> int:  # noqa: ARG001 - the commands' shape
    """Show the library at work on the package's prompts."""
    from . import configure, files, sandbox

    out = Path(args.out)
    table = _prompts(args.rows)
    files.rehearse(table, out)
    print(f"{len(table)} rows of prompts become executions of the workflow wf_abc123, ten to a request:")
    print(f'\n    df.eachlabs.bulk_trigger("wf_abc123", inputs={DEMO_INPUTS})\n')
    print("A sandbox on this machine plays each::labs, so nothing is paid.", flush=True)
    try:
        with sandbox.start(latency=0.25, queue_seconds=0.3, run_seconds=(0.5, 3.0), timestamp_digits=3):
            sent = table.eachlabs.bulk_trigger("wf_abc123", DEMO_INPUTS, max_concurrency=2, progress=True)
            done = sent.eachlabs.wait(progress=True)
    finally:
        # What the environment says then is not the demo's: it is no reason to fail.
        with suppress(UsageError):
            configure(api_key=None, base_url=None)
    files.write(done, out, packed=("output",))
    _show(done)
    print(f"\nThe whole frame, {done.shape[0]} rows and {done.shape[1]} columns, is in {out}")
    print("Next: export EACHLABS_API_KEY=..., and see eachlabs-frames trigger --help for a table of your own;")
    print("or, in a notebook: import eachlabs_frames, then df.eachlabs.bulk_trigger(workflow_id).", flush=True)
    return DONE


def _prompts(rows: int | None) -> pd.DataFrame:
    """Return the package's prompts: each once, or as many as asked for, from the top again where there are fewer."""
    from importlib.resources import as_file, files

    from .files import read

    with as_file(files("eachlabs_frames") / "data" / "prompts.csv") as path:
        table = read(path)
    if rows is None:
        return table
    chosen: pd.DataFrame = table.take([row % len(table) for row in range(rows)]).reset_index(drop=True)
    return chosen


def _show(done: pd.DataFrame, *, lines: int = 10) -> None:
    """Print the counts of each bulk operation and the first rows, in 100 columns."""
    summary = done.eachlabs.summary()
    counts = [name for name in summary.columns[1:] if summary[name].any()]
    short = summary[["bulk_id", *counts]].fillna({"bulk_id": "(not sent)"})
    print("\nEach bulk operation, df.eachlabs.summary():\n")
    print(short.head(lines).to_string(index=False))
    if len(short) > lines:
        print(f"... and {len(short) - lines} more")
    head = done[["prompt", "style", "status", "output"]].head(5).astype(object)
    head = head.where(head.notna(), "")
    head["prompt"] = [_shortened(text, 44) for text in head["prompt"]]
    head["output"] = [_shortened(text, 26) for text in head["output"]]
    print("\nThe first rows of the result:\n")
    print(head.to_string(index=False))


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


# Sandbox


def _sandbox(args: argparse.Namespace, signals: Signals) -> int:  # noqa: ARG001 - the commands' shape
    """Run the sandbox until a signal ends it."""
    from .sandbox import Options, serve

    def ready(running: Any) -> None:
        print(f"each::labs, the sandbox, listens at {running.base_url}; Ctrl-C stops it. To use it:\n")
        print(f"    export EACHLABS_BASE_URL={running.base_url}")
        print(f"    export EACHLABS_API_KEY={running.api_key}", flush=True)

    names = ["seed", "latency", "failure_rate", "queue_seconds", "account_cap", "trigger_rate", "balance_usd"]
    try:
        options = Options(run_seconds=tuple(args.run_seconds), **{name: getattr(args, name) for name in names})
        serve(args.port, ready=ready, dialect=args.dialect, options=options)
    except BrokenPipeError:
        raise
    except OSError as exc:
        msg = f"port {args.port} cannot be used: {exc.strerror}; --port 0 takes a free one"
        raise UsageError(msg) from exc
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    return DONE


# Signals and messages


class Signals:
    """Ctrl-C, SIGTERM and a closed terminal, for as long as one command runs.

    Until `run`, one raises a KeyboardInterrupt. During `run` it cancels the work; after it, it is only remembered, so
    that nothing strikes while a result is being written.

    Attributes
    ----------
    number : int
        The signal that came last; 0 where none did.
    """

    def __init__(self) -> None:
        self.number = 0
        self._act: Callable[[], object] = _interrupt
        self._before: list[tuple[int, Any]] = []

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                # nohup has the closed terminal ignored.
                if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                    self._before.append((number, signal.signal(number, self._on_signal)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before:
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is Python's
        self.number = number
        self._act()

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return SIGNALLED + (self.number or signal.SIGINT)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end; a signal cancels it.

        Raises
        ------
        asyncio.CancelledError
            A signal came before `work` had ended.
        """
        self._act = _nothing

        async def cancellable() -> T:
            loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
            self._act = lambda: loop.call_soon_threadsafe(task.cancel)
            if self.number:
                task.cancel()
            try:
                return await task
            finally:
                self._act = _nothing

        return asyncio.run(cancellable())


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _nothing() -> None:
    return None


def _say(message: object) -> None:
    """Say something on stderr, in one line, above a bar where there is one."""
    line = f"eachlabs-frames: {' '.join(str(message).split())}"
    tqdm = sys.modules.get("tqdm")
    if tqdm is not None:
        tqdm.tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr)
    sys.stderr.flush()


class _OneLine(logging.Handler):
    """The library's log, without tracebacks: an interruption is nobody's mistake."""

    def emit(self, record: logging.LogRecord) -> None:
        if not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)):
            _say(record.getMessage())


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Show the library's log and Python's warnings as one line each, and raise for none of them."""

    def show(
        message: Warning | str,
        category: type[Warning],  # noqa: ARG001 - the signature is Python's
        filename: str,  # noqa: ARG001
        lineno: int,  # noqa: ARG001
        file: TextIO | None = None,  # noqa: ARG001
        line: str | None = None,  # noqa: ARG001
    ) -> None:
        _say(message)

    logger, handler = logging.getLogger("eachlabs_frames"), _OneLine(logging.WARNING)
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            yield
    finally:
        logger.removeHandler(handler)


if __name__ == "__main__":
    sys.exit(main())
