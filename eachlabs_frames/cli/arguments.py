"""The command line's arguments: names, help texts, types and limits. It runs no command."""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from .. import __version__
from ..errors import UsageError
from ..inputs.coercion import TYPES
from ..inputs.mapping import Column, file, lit
from .exit_codes import WRONG_CALL
from .formats import SUFFIXES

KEY_HELP: Final = (
    "The API key is read from EACHLABS_API_KEY only, because other users of the machine can see a command's arguments. "
    "EACHLABS_BASE_URL sets another API address."
)
CODES_HELP: Final = (
    "Exit codes: 0, every row was accepted and, with --wait, completed; 1, some rows were not, or the API returned an "
    "error; 2, invalid command, nothing was sent; 130 and 143, interrupted and terminated."
)
DOWNLOAD_CODES_HELP: Final = (
    "Exit codes: 0, every file was downloaded; 1, some are missing, or executions are open; 2, invalid command; 130 "
    "and 143, interrupted and terminated. The API key is needed only if links have expired."
)
NAMED_FORMATS: Final = tuple(suffix[1:] for suffix in SUFFIXES if suffix != ".ndjson")
FORMATS: Final = ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}"
DEMO_FILE: Final = "eachlabs-demo.csv"
DEMO_INPUTS: Final = ["prompt", "style", "seed"]


class _ArgumentParser(argparse.ArgumentParser):
    """Reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_CALL, f"eachlabs-frames: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; the command's name is in ``command``."""
    parser = _ArgumentParser(
        prog="eachlabs-frames",
        description="Trigger an each::labs workflow for each row of a table, and write the results as a table.",
        epilog=KEY_HELP,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"eachlabs-frames {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_demo(commands)
    _add_trigger(commands)
    _add_retry(commands)
    _add_download(commands)
    _add_runs(commands)
    _add_sandbox(commands)
    _add_completion(commands)
    return parser


def _add_command(commands: Any, name: str, *, about: str, epilog: str = "") -> Any:
    command = commands.add_parser(name, help=about, description=about, epilog=epilog, allow_abbrev=False)
    command.set_defaults(command=name)
    return command


def _add_demo(commands: Any) -> None:
    about = "Run an example in a few seconds against a local sandbox. Needs no account, API key or network."
    add = _add_command(commands, "demo", about=about).add_argument
    add("--rows", type=count, metavar="N", help="number of prompts (default: all prompts of the package)")
    add(
        "--out",
        default=DEMO_FILE,
        metavar="FILE",
        help=f"file for the result; an existing file is replaced (default: {DEMO_FILE})",
    )


def _add_trigger(commands: Any) -> None:
    about = "Trigger a paid execution for each row without one, and write the rows with their results."
    add = _add_command(commands, "trigger", about=about, epilog=f"{CODES_HELP} {KEY_HELP}").add_argument
    add(
        "file",
        metavar="FILE",
        help=f"the rows: {FORMATS}, or - for stdin. Rows that already have an execution are not sent. With --dask, a "
        "folder of Parquet files",
    )
    _add_input_format(add)
    add("--workflow", required=True, metavar="ID", help="id or slug of the workflow")
    _add_output(add)
    dask = (
        "trigger the rows of a folder of Parquet files, in processes of this machine (local) or on the cluster of a "
        "Dask scheduler; --out is a folder with a file for each of them; requires --run and --key"
    )
    add("--dask", type=dask_scheduler, metavar="local|tcp://HOST:PORT", help=dask)
    add(
        "--dry-run",
        action="store_true",
        help="send nothing; show what would be sent, rows with problems and the estimated cost",
    )
    add("--json", action="store_true", help="with --dry-run: print one JSON object")
    _add_inputs(add)
    add("--version-id", metavar="V", help="the version to run (default: the latest)")
    add(
        "--na",
        choices=("omit", "null"),
        default="omit",
        help="missing values: omit their keys from the input, or send null (default: omit)",
    )
    add(
        "--no-validate",
        action="store_false",
        dest="validate",
        help="do not check rows against the workflow's input schema",
    )
    run = "name of the run; the same command with the same name sends only rows that were not sent"
    add("--run", metavar="NAME", help=f"{run} (default: a generated name, shown at the end)")
    add(
        "--key",
        metavar="COL",
        help="column of unique keys that identify rows in the run (default: their input identifies them)",
    )
    unknown = "rows whose response was lost: keep them, or search again and resend those not found (default: keep)"
    add("--on-unknown", choices=("keep", "resend"), default="keep", help=unknown)
    add("--retry-failed", action="store_true", help="also trigger failed rows again: a new paid execution for each")
    add(
        "--retrigger",
        action="store_true",
        help="trigger all rows, also those that have an execution: each is billed again",
    )
    _add_sending(add)
    _add_waiting(add)


def _add_retry(commands: Any) -> None:
    about = "Trigger the failed rows of a result again: a new paid execution for each. Other rows are not changed."
    add = _add_command(commands, "retry", about=about, epilog=f"{CODES_HELP} {KEY_HELP}").add_argument
    _add_source(add)
    _add_output(add)
    add(
        "--workflow",
        metavar="ID",
        help="id or slug of the workflow, if the journal of this machine does not have the file's run",
    )
    _add_inputs(add)
    _add_sending(add)
    _add_waiting(add)


def _add_download(commands: Any) -> None:
    about = "Download the output files of a result. Run it again to fetch only missing files."
    add = _add_command(commands, "download", about=about, epilog=DOWNLOAD_CODES_HELP).add_argument
    _add_source(add)
    add("--to", required=True, metavar="DIR", help="the folder; created if it does not exist")
    name = (
        "file names, from {index}, {row}, {n}, {execution_id} and columns, as in {style}/{seed} (default: {index}-{n})"
    )
    add("--name", default="{index}-{n}", metavar="TEMPLATE", help=name)
    _add_output(add, "write the table with a column of file paths, in the format of the suffix")
    add(
        "--column",
        default="path",
        metavar="COL",
        help="name of the column for file paths; errors are in COL_error (default: path)",
    )
    refresh = "update open executions from the API first; needs EACHLABS_API_KEY"
    add("--refresh", action="store_true", help=refresh)
    add(
        "--workflow",
        metavar="ID",
        help="with --refresh: id or slug of the workflow, if the journal does not have the file's run",
    )
    add("--overwrite", action="store_true", help="replace existing files that do not belong to this result")
    add("--allow-private", action="store_true", help="also download from private addresses")
    add("--max-size", type=count, metavar="BYTES", help="maximum size of a file (default: 2 GiB)")
    add("--max-concurrency", type=count, metavar="N", help="maximum number of parallel downloads (default: 8)")
    _add_progress(add)


def _add_completion(commands: Any) -> None:
    about = "Print a shell completion script."
    how = (
        'bash: eval "$(eachlabs-frames completion bash)" in ~/.bashrc. '
        "zsh: eachlabs-frames completion zsh > _eachlabs-frames, in a folder of $fpath."
    )
    add = _add_command(commands, "completion", about=about, epilog=how).add_argument
    add("shell", choices=("bash", "zsh", "tcsh"))


def _add_source(add: Any) -> None:
    add(
        "source",
        metavar="FILE|RUN",
        help=f"a result file ({FORMATS}), - for stdin, or the name of a run in the journal",
    )
    _add_input_format(add)


def _add_input_format(add: Any) -> None:
    add("--input-format", choices=NAMED_FORMATS, help="format of stdin (default: csv)")


def _add_output(add: Any, what: str = "write the result, in the format of the suffix") -> None:
    add("--out", metavar="FILE", help=f"{what}; - for stdout")
    add("--out-format", choices=NAMED_FORMATS, help="format of stdout (default: csv)")
    add("--force", action="store_true", help="replace --out if it exists, even if it is the input")
    add("--prefix", default="", metavar="P", help="prefix of the result columns")


def _add_inputs(add: Any) -> None:
    inputs = (
        "columns to send: col,col or key=col (default: the columns that the workflow's schema names). Append a type to "
        "a column, as in col:int (float, bool, json, str; default: the schema's type, or text)"
    )
    add("--inputs", metavar="COLS", help=inputs)
    constant = "a constant value for every row, JSON or text; requires --inputs"
    add("--set", action="append", default=[], nargs="+", metavar="KEY=VALUE", help=constant)
    files = (
        "a key filled with files: COLUMN has their names, and their content is uploaded once; anybody who has the URL "
        "of an uploaded file can read it. Repeat it for other keys; requires --inputs"
    )
    add("--file", action="append", default=[], metavar="KEY=COLUMN", help=files, dest="files")
    root = "with --file: the folder that the names are relative to; names that leave it are not sent (default: .)"
    add("--root", metavar="DIR", help=root)
    expires = "how long the API keeps uploaded files, 60 to 31536000 (default: the API's, 180 days)"
    add("--expires-in", type=count, metavar="SECONDS", help=expires)


def _add_sending(add: Any) -> None:
    add("--max-cost", type=usd, metavar="USD", help="stop before the run costs more")
    add("--ask", action="store_true", help="show what the rows would cost, and send them only after a yes")
    webhook = "URL that the API calls when an execution ends; the secret is read from EACHLABS_WEBHOOK_SECRET"
    add("--webhook-url", metavar="URL", help=webhook)
    add("--max-concurrency", type=count, metavar="N", help="maximum number of parallel requests (default: 8)")
    max_wait = "how long to retry while the API accepts nothing (default: 900)"
    add("--max-wait", type=seconds, metavar="SECONDS", help=max_wait)


def _add_waiting(add: Any) -> None:
    add("--wait", action="store_true", help="wait until every execution has ended")
    add(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="with --wait: stop waiting after this time (default: no limit)",
    )
    add(
        "--ok-if-failed",
        action="store_true",
        help="with --wait: exit with 0 even if executions failed or are still open",
    )
    _add_progress(add)


def _add_progress(add: Any) -> None:
    progress = "show a progress bar on stderr (default: if stdout is a terminal)"
    add("--progress", action=argparse.BooleanOptionalAction, default=None, help=progress)


def _add_runs(commands: Any) -> None:
    about = "List the runs in the journal of this machine, show a run, or write it to a file."
    where = (
        "The journal is the file at EACHLABS_JOURNAL, or else in the user's data folder. Only --refresh needs a key."
    )
    add = _add_command(commands, "runs", about=about, epilog=where).add_argument
    add("run", nargs="?", metavar="RUN", help="name of a run: show its counts and first rows")
    add("--out", metavar="FILE", help="write the run's inputs and results, in the format of the suffix")
    add("--force", action="store_true", help="replace --out if it exists")
    add(
        "--prefix", default="", metavar="P", help="prefix of the result columns, if an input column has the name of one"
    )
    refresh = "update lost and open executions from the API first; triggers nothing; needs EACHLABS_API_KEY"
    add("--refresh", action="store_true", help=refresh)
    add(
        "--delete",
        action="store_true",
        help="delete the run from the journal after confirmation; its executions continue",
    )
    add("--yes", action="store_true", help="with --delete: do not ask for confirmation")
    accept = "accept that the journal has lost records; rows without an execution then count as possibly sent"
    add("--accept-loss", action="store_true", help=accept)


def _add_sandbox(commands: Any) -> None:
    about = "Run a local sandbox of the API in the foreground until Ctrl-C. Nothing is billed."
    add = _add_command(commands, "sandbox", about=about).add_argument
    add("--port", type=port, default=8088, help="port on 127.0.0.1; 0 chooses a free port (default: 8088)")
    add(
        "--dialect",
        choices=("current", "legacy"),
        default="current",
        help="the API dialect of the printed address (default: current)",
    )
    add("--seed", type=int, default=0, help="random seed of run times and failures (default: 0)")
    add("--latency", type=float, default=0.0, metavar="S", help="seconds before each response (default: 0)")
    add(
        "--failure-rate",
        type=float,
        default=0.0,
        metavar="P",
        help="fraction of executions that fail, 0 to 1 (default: 0)",
    )
    add(
        "--queue-seconds",
        type=float,
        default=0.2,
        metavar="S",
        help="seconds that an execution is queued (default: 0.2)",
    )
    seconds = "shortest and longest run time in seconds (default: 0.5 2)"
    add("--run-seconds", type=float, nargs=2, default=(0.5, 2.0), metavar=("LOW", "HIGH"), help=seconds)
    add("--account-cap", type=count, metavar="N", help="limit of concurrent executions; requests beyond it get 429")
    add("--trigger-rate", type=count, metavar="N", help="limit of bulk triggers per second; requests beyond it get 429")
    add(
        "--balance",
        type=float,
        dest="balance_usd",
        metavar="USD",
        help="balance of the account; requests beyond it get 402",
    )


def count(text: str) -> int:
    """Return a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        msg = f"{text!r} is not a whole number of 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def dask_scheduler(text: str) -> str:
    """Return ``local``, or the address of a Dask scheduler."""
    if text != "local" and not re.fullmatch(r"(tcp|tls)://\S+:\d+", text):
        msg = f"{text!r} is neither local nor the address of a scheduler, as in tcp://host:8786"
        raise argparse.ArgumentTypeError(msg)
    return text


def port(text: str) -> int:
    """Return a port; 0 selects a free port."""
    if not text.isdecimal() or int(text) > 65535:
        msg = f"{text!r} is not a port (0 to 65535)"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def usd(text: str) -> float:
    """Return an amount in USD above 0."""
    amount = _finite(text)
    if not amount > 0:
        msg = f"{text!r} is not a number of USD above 0"
        raise argparse.ArgumentTypeError(msg)
    return amount


def seconds(text: str) -> float:
    """Return seconds, 0 or more."""
    number = _finite(text)
    if not number >= 0:
        msg = f"{text!r} is not a number of seconds, 0 or more"
        raise argparse.ArgumentTypeError(msg)
    return number


def _finite(text: str) -> float:
    """Return a finite number, or NaN if the text is not one."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def read_inputs(
    columns: str | None, constants: Sequence[str], files: Sequence[str] = (), root: str | None = None
) -> list[str] | dict[str, Any] | None:
    """Return ``inputs=`` from ``--inputs``, ``--set``, ``--file`` and ``--root``.

    Raises
    ------
    UsageError
        A pair is invalid, or a key is set twice.
    """
    if root is not None and not files:
        msg = "--root requires --file"
        raise UsageError(msg)
    if columns is None:
        if constants or files:
            given = f"--set {constants[0]}" if constants else f"--file {files[0]}"
            msg = f"{given} requires --inputs: name the other columns to send, or --inputs '' for none"
            raise UsageError(msg)
        return None
    # Parsed as CSV, so that a column name with a comma can be quoted.
    pairs = [cell.strip() for cell in next(csv.reader([columns], skipinitialspace=True), [])]
    fields: list[tuple[str, Any]] = [_field(pair) for pair in pairs]
    plain = not constants and not files and all(key == column for key, column in fields)
    for constant in constants:
        key, equals, value = constant.partition("=")
        if not equals:
            msg = f"--set {constant}: write key=value"
            raise UsageError(msg)
        fields.append((key, lit(_json_or_text(value))))
    fields += [_file_field(pair, root) for pair in files]
    named = [key for key, _ in fields]
    for key in named:
        if not key or named.count(key) > 1:
            options = "--inputs, --set and --file set" if files else "--inputs and --set set"
            msg = f"{options} {key!r} twice" if key else f"--inputs {columns!r}: write col,col or key=col"
            raise UsageError(msg)
    return named if plain else dict(fields)


def _field(pair: str) -> tuple[str, Any]:
    """Return the key and the column that ``col``, ``key=col``, ``col:type`` or ``key=col:type`` names."""
    key, equals, column = pair.partition("=")
    name, _, type_ = (column if equals else key).rpartition(":")
    if not name or type_ not in TYPES:  # a column name may contain a colon
        return key, column or key
    return (key if equals else name), Column(name, type_)


def _file_field(pair: str, root: str | None) -> tuple[str, Any]:
    """Return the key and the column of file names that ``key=column`` names."""
    key, _, column = pair.partition("=")
    if not key or not column:
        msg = f"--file {pair}: write key=column"
        raise UsageError(msg)
    return key, file(column, root=root)


def _json_or_text(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)  # NaN and Infinity are Python's, not JSON's

    try:
        value = json.loads(text, parse_constant=refuse)
    except ValueError:
        return text
    return text if value is None else value
