"""`eachlabs-frames trigger --dask`: triggers the rows of a folder of Parquet files on a Dask cluster.

Each input file is a partition, and has an output file of the same name. Everything is checked before anything is sent.
However the command ends, the journal has what was sent, and the same command goes on with it.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import APIError, EachlabsError, Interrupted, UsageError
from ..frames.runs import load_run
from ..frames.track import WaitCall
from ..models import COMPLETED, INVALID, PENDING, SETTLED
from . import output_folder
from .exit_codes import DONE, NOT_ALL
from .partition_files import PartitionFiles, empty_table
from .sending import MAX_MESSAGE, REFRESH_PREFIX, check_waiting, count_statuses, inputs_of
from .signals import STOPPING, Signals
from .terminal import error_text, notify, one_line

if TYPE_CHECKING:
    from ..dask import DaskRun
    from ..frames.table import Frame

MAX_LOCAL_WORKERS: Final = 4
"""The account's cap is the limit, not this machine: more processes would only share it."""
NO_DASK: Final = '--dask needs Dask: pip install "eachlabs-frames[dask]"'

_REFUSED: Final[Mapping[str, str]] = {
    "input_format": "the input is a folder of Parquet files",
    "out_format": "the output is a folder of Parquet files",
    "force": "the same command continues its folder, and another needs another --out",
    "dry_run": "run it on one of the files, without --dask",
    "json": "run --dry-run on one of the files, without --dask",
    "retrigger": "a worker may compute a file again, and would pay again each time: use another --run",
    "retry_failed": "use `eachlabs-frames retry` with the run afterwards",
    "max_cost": "each file would have a budget of its own: compare the cost of one with the balance first",
    "ask": "run --dry-run on one of the files first",
    "max_wait": "each worker has its own settings",
}
_OPTIONS: Final = (
    "version_id",
    "webhook_url",
    "na",
    "validate",
    "max_concurrency",
    "expires_in",
    "on_unknown",
    "prefix",
)
_RESUME: Final = "To resume, run the same command; it sends only rows that were not sent"
_WAIT_STEP: Final = 0.5


def run(args: argparse.Namespace, signals: Signals) -> int:
    """Check everything, send, with ``--wait`` wait, and write the files that are not there yet."""
    _check(args)
    inputs = inputs_of(args)
    source, out = Path(args.file).absolute(), Path(args.out).absolute()
    names = output_folder.input_files(source)
    identity = {"workflow": args.workflow, "run": args.run, "key": args.key, "prefix": args.prefix}
    identity["input folder"] = os.path.realpath(source)
    output_folder.check_output(out, source, identity)
    empty = empty_table(source / names[0])
    if args.key not in empty.columns:
        columns = ", ".join(map(str, empty.columns))
        msg = f"{source / names[0]}: no column {args.key!r}, which --key names; it has {columns}"
        raise UsageError(msg)
    output_folder.create(out, identity)
    files = PartitionFiles(source, out, identity, [str(label) for label in empty.columns], args.prefix, args.wait)
    try:
        with _client(args.dask, len(names)) as client:
            return _Command(args, signals, files, client).run(names, inputs, empty)
    except UsageError:
        output_folder.discard(out)  # nothing was sent
        raise
    except EachlabsError:
        raise
    except Exception as exc:
        msg = f"the Dask cluster failed ({type(exc).__name__}: {exc}). The journal has what was sent. {_RESUME}"
        raise EachlabsError(msg) from exc


def _check(args: argparse.Namespace) -> None:
    """Raise `UsageError` for options that conflict, and without Dask."""
    check_waiting(args)
    for name, reason in _REFUSED.items():
        if getattr(args, name) not in (None, False):
            msg = f"--{name.replace('_', '-')} cannot be used with --dask: {reason}"
            raise UsageError(msg)
    for name, what in (("run", "NAME"), ("key", "COL")):
        if getattr(args, name) is None:
            msg = (
                f"--dask requires --{name} {what}: rows that were sent are recognized by the name of the run and by a "
                "column of keys that are unique in the whole folder"
            )
            raise UsageError(msg)
    if args.out in (None, "-"):
        msg = "--dask requires --out FOLDER"
        raise UsageError(msg)
    if args.root is not None:
        args.root = str(Path(args.root).absolute())  # workers have other working directories
    elif args.files and args.dask != "local":
        msg = "--file with workers on other machines requires --root DIR, a folder that they share"
        raise UsageError(msg)
    if importlib.util.find_spec("dask") is None or importlib.util.find_spec("distributed") is None:
        raise UsageError(NO_DASK)


@contextmanager
def _client(address: str, files: int) -> Iterator[Any]:
    """Start a cluster on this machine, or connect to a scheduler; close what was opened."""
    from distributed import Client, LocalCluster

    from .dask_worker import LocalWorker

    if address == "local":
        workers = min(MAX_LOCAL_WORKERS, os.cpu_count() or 1, files)
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            client.register_plugin(LocalWorker())
            yield client
        return
    try:
        client = Client(address, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as exc:
        msg = f"--dask {address}: no Dask scheduler answers: {exc}"
        raise UsageError(msg) from exc
    with client:
        yield client


class _Command:
    """One command, on a cluster.

    Parameters
    ----------
    args : argparse.Namespace
    signals : Signals
    files : PartitionFiles
    client : distributed.Client
    """

    def __init__(self, args: argparse.Namespace, signals: Signals, files: PartitionFiles, client: Any) -> None:
        self._args = args
        self._signals = signals
        self._files = files
        self._client = client

    def run(self, names: list[str], inputs: Any, empty: Frame) -> int:
        """Send and write the files that are not done, print a summary and return the exit code."""
        done, names = self._checked(names)
        refused = False
        if names:
            import dask.dataframe as dd

            with self._client.as_current():
                read = self._files.read
                frame = dd.from_map(read, names, meta=empty, enforce_metadata=False)
                try:
                    result = self._sent(frame, inputs)
                    try:
                        refused = self._args.wait and not self._waited()
                        done.append(self._written(result))
                    except UsageError as exc:  # not exit code 2, because rows have been sent
                        msg = f"{error_text(exc)}. {_RESUME}, and writes the files that are missing"
                        raise EachlabsError(msg) from exc
                except KeyboardInterrupt:
                    return self._stopped()
        return self._report(done) or (NOT_ALL if refused else DONE)

    def _checked(self, names: list[str]) -> tuple[list[Frame], list[str]]:
        """Return the counts of the files that are done, and the names of the others.

        Raises
        ------
        UsageError
            A file cannot be used.
        """
        from ..dask.partition_call import wait_for_workers

        wait_for_workers(self._client)
        found = self._client.gather(self._client.map(self._files.check, names, pure=False))
        for problem in found:
            if isinstance(problem, str):
                raise UsageError(problem)
        missing = [name for name, counts in zip(names, found, strict=True) if counts is None]
        return [counts for counts in found if counts is not None], missing

    def _sent(self, frame: Any, inputs: Any) -> Any:
        """Send the rows of a Dask frame, and return the Dask frame of their results.

        Raises
        ------
        KeyboardInterrupt
            There was a signal. Nothing is sent any more.
        EachlabsError
            As for `bulk_trigger`. A `UsageError` only if nothing was sent.
        """
        from ..dask import DaskAccessor

        args = self._args
        options = {name: getattr(args, name) for name in _OPTIONS}
        call = DaskAccessor(frame).start(args.workflow, inputs, run=args.run, key=args.key, **options)
        try:
            return _result(call)
        except BaseException as exc:
            if isinstance(exc, KeyboardInterrupt):
                notify(STOPPING)
            call.cancel()
            sent = [status for status, count in call.status.items() if count and status not in (PENDING, INVALID)]
            if isinstance(exc, UsageError) and sent:  # not exit code 2, because rows have been sent
                msg = f"{error_text(exc)}. {self._sent_so_far(call)}. {_RESUME}"
                raise EachlabsError(msg) from exc
            raise

    def _sent_so_far(self, call: DaskRun) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in call.status.items())
        return f"In run {one_line(call.name)}: {counts}"

    def _waited(self) -> bool:
        """Wait until the executions of the run have ended, or for a signal; return whether the API allowed it."""
        args = self._args
        loaded = load_run(args.run, prefix=REFRESH_PREFIX)
        options = {"workflow_id": args.workflow, "prefix": REFRESH_PREFIX, "progress": args.progress}
        try:
            self._signals.run(lambda: WaitCall(loaded, timeout=args.timeout, **options))
        except (Interrupted, KeyboardInterrupt):
            return True
        except APIError as exc:
            notify(f"stopped waiting; the executions continue: {error_text(exc)}")
            return False
        return True

    def _written(self, result: Any) -> Frame:
        """Write the files, and return their counts. Another signal raises KeyboardInterrupt."""
        from ..dask.partition_call import NO_COUNTS

        self._signals.action = None
        counts: Frame = result.map_partitions(self._files.save, meta=NO_COUNTS, enforce_metadata=False).compute(
            scheduler=self._client
        )
        return counts

    def _stopped(self) -> int:
        name = signal.Signals(self._signals.number or signal.SIGINT).name
        notify(f"{name}: stopped. The journal has what was sent. {_RESUME}, and writes the files that are missing")
        return self._signals.exit_code

    def _report(self, done: list[Frame]) -> int:
        """Print a summary, and return the exit code."""
        accepted: Counter[str] = Counter()
        others: Counter[str] = Counter()
        errors: dict[str, Any] = {}
        for counts in done:
            for status, is_accepted, rows, error in counts.itertuples(index=False):
                (accepted if is_accepted else others)[str(status)] += int(rows)
                if isinstance(error, str):
                    errors.setdefault("others" if not is_accepted else status, error)
        text = f"{count_statuses(accepted, others)} -> {self._args.out}, run {one_line(self._args.run)}"
        if self._signals.number:
            notify(f"{signal.Signals(self._signals.number).name}: stopped. {text}. {_RESUME}")
            return self._signals.exit_code
        print(text, flush=True)
        code, total = DONE, accepted.total() + others.total()
        if others:
            code = NOT_ALL
            if "others" in errors:  # the reason of rows that were not sent is not in the journal, and was a warning
                _notify_rows(others.total(), total, "have no execution", errors["others"])
        if self._args.wait and not self._args.ok_if_failed:
            ended = sum(count for status, count in accepted.items() if status in SETTLED and status != COMPLETED)
            if ended:
                first = next((error for status, error in errors.items() if status in SETTLED), None)
                _notify_rows(ended, total, "have not completed", first)
            if accepted.total() != accepted[COMPLETED]:
                code = NOT_ALL
        return code


def _result(call: DaskRun) -> Any:
    """Wait for a call in steps: a longer wait cannot be interrupted on every system."""
    while not call.done:
        try:
            return call.result(_WAIT_STEP)
        except FutureTimeoutError:
            if call.done:
                break
    return call.result()


def _notify_rows(rows: int, total: int, what: str, error: str | None) -> None:
    first = f". First error: {error}" if error is not None else ""
    notify(f"{rows} of {total} rows {what}; see the error column{first}"[:MAX_MESSAGE])
