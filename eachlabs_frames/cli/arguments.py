"""The commands' arguments: their names, their words and their limits. It runs nothing."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from .. import __version__
from ..core.coercion import TYPES
from ..core.mapping import Column, lit
from ..errors import UsageError
from .codes import WRONG_CALL
from .converters import count, port, seconds, usd
from .formats import SUFFIXES

KEY_HELP: Final = (
    "The key is read from the environment alone (EACHLABS_API_KEY; another address from EACHLABS_BASE_URL): "
    "an argument would stand in the list of processes for everybody to read."
)
CODES_HELP: Final = (
    "Exit codes: 0, every row was accepted and, with --wait, has completed; 1, some were not or have not, or the API "
    "refused; 2, the command was wrong and nothing was sent; 130 and 143, interrupted and terminated."
)
DOWNLOAD_CODES_HELP: Final = (
    "Exit codes: 0, every file is there; 1, some are not; 2, the command was wrong; 130 and 143, interrupted and "
    "terminated. No key is needed, unless links have expired."
)
NAMED_FORMATS: Final = tuple(suffix[1:] for suffix in SUFFIXES if suffix != ".ndjson")
FORMATS: Final = ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}"
DEMO_FILE: Final = "eachlabs-demo.csv"
DEMO_INPUTS: Final = ["prompt", "style", "seed"]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_CALL, f"eachlabs-frames: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; the command's name is in ``command``."""
    parser = _Parser(
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
    about = "See it work in a few seconds, against a sandbox on this machine: no account, key or network."
    add = _add_command(commands, "demo", about=about).add_argument
    add("--rows", type=count, metavar="N", help="how many prompts; by default each of the package's once")
    add("--out", default=DEMO_FILE, metavar="FILE", help=f"the result, replaced if there ({DEMO_FILE})")


def _add_trigger(commands: Any) -> None:
    about = "Trigger a paid execution for each row of a table that has none yet, and write the rows with their results."
    add = _add_command(commands, "trigger", about=about, epilog=f"{CODES_HELP} {KEY_HELP}").add_argument
    add("file", metavar="FILE", help=f"the rows: {FORMATS}, or - for stdin. Rows of an earlier result are left alone")
    _add_input_format(add)
    add("--workflow", required=True, metavar="ID", help="the workflow's id or slug")
    _add_output(add)
    add("--dry-run", action="store_true", help="send nothing: show what would be sent, what is wrong and the cost")
    add("--json", action="store_true", help="with --dry-run: as one JSON object on stdout")
    _add_inputs(add)
    add("--version-id", metavar="V", help="the version to run; the latest by default")
    add("--na", choices=("omit", "null"), default="omit", help="what a missing value becomes (omit: no such key)")
    add("--no-validate", action="store_false", dest="validate", help="do not check rows against the input schema")
    run = "the run's name: the same command with it sends only what was not sent, however the first one ended"
    add("--run", metavar="NAME", help=f"{run}; by default a name is made up and shown at the end")
    add("--key", metavar="COL", help="a column of unique keys by which the run knows its rows; by default their input")
    unknown = "rows whose answer was lost and not found: leave them, or search once more and pay for them again (keep)"
    add("--on-unknown", choices=("keep", "resend"), default="keep", help=unknown)
    add("--retry-failed", action="store_true", help="also trigger, and pay for, rows again whose execution has failed")
    add("--retrigger", action="store_true", help="also trigger, and pay for, all rows again that have an execution")
    _add_sending(add)
    _add_waiting(add)


def _add_retry(commands: Any) -> None:
    about = "Trigger the failed rows of a result again: a new paid execution each. All other rows are left as they are."
    add = _add_command(commands, "retry", about=about, epilog=f"{CODES_HELP} {KEY_HELP}").add_argument
    _add_source(add)
    _add_output(add)
    add("--workflow", metavar="ID", help="the workflow, where the journal of this machine does not know the file's run")
    _add_inputs(add)
    _add_sending(add)
    _add_waiting(add)


def _add_download(commands: Any) -> None:
    about = "Download the files that a result's outputs name. The same command again fetches only what is missing."
    add = _add_command(commands, "download", about=about, epilog=DOWNLOAD_CODES_HELP).add_argument
    _add_source(add)
    add("--to", required=True, metavar="DIR", help="the folder; made where there is none")
    name = (
        "how files are named: {index}, {row}, {n}, {execution_id} and columns, as in {style}/{seed:04d} ({index}-{n})"
    )
    add("--name", default="{index}-{n}", metavar="TEMPLATE", help=name)
    _add_output(add, "the table with a column of paths; by default none is written")
    add("--column", default="path", metavar="COL", help="the column of paths; errors go to COL_error (path)")
    refresh = "ask the API first how executions stand that have not ended; needs EACHLABS_API_KEY"
    add("--refresh", action="store_true", help=refresh)
    add("--workflow", metavar="ID", help="with --refresh: the workflow, where the journal does not know the file's run")
    add("--overwrite", action="store_true", help="replace files of other origin that are in the way")
    add("--allow-private", action="store_true", help="fetch from addresses of this machine or its network too")
    add("--max-size", type=count, metavar="BYTES", help="of one file (2 GiB)")
    add("--max-concurrency", type=count, metavar="N", help="files at once (8)")
    _add_progress(add)


def _add_completion(commands: Any) -> None:
    about = "Print a script that completes commands and options in a shell."
    how = (
        'bash: eval "$(eachlabs-frames completion bash)" in ~/.bashrc. '
        "zsh: eachlabs-frames completion zsh > _eachlabs-frames, in a folder of $fpath."
    )
    add = _add_command(commands, "completion", about=about, epilog=how).add_argument
    add("shell", choices=("bash", "zsh", "tcsh"))


def _add_source(add: Any) -> None:
    add("source", metavar="FILE|RUN", help=f"a result: {FORMATS}, or - for stdin; else a run's name in the journal")
    _add_input_format(add)


def _add_input_format(add: Any) -> None:
    add("--input-format", choices=NAMED_FORMATS, help="the format of stdin (csv)")


def _add_output(add: Any, what: str = "the result, in the format that its suffix says") -> None:
    add("--out", metavar="FILE", help=f"{what}; - for stdout, which then holds nothing else")
    add("--out-format", choices=NAMED_FORMATS, help="the format of stdout (csv)")
    add("--force", action="store_true", help="replace the file at --out if there is one, be it the input itself")
    add("--prefix", default="", metavar="P", help="put before the result's column names")


def _add_inputs(add: Any) -> None:
    inputs = (
        "columns that become inputs: col,col or key=col; by default those that the workflow's schema names. col:int "
        "(float, bool, json, str) says what a cell's text is read as; by default the schema does, else it stays text"
    )
    add("--inputs", metavar="COLS", help=inputs)
    constant = "a constant for every row, JSON where it can be read as JSON, else text; needs --inputs"
    add("--set", action="append", default=[], nargs="+", metavar="KEY=VALUE", help=constant)


def _add_sending(add: Any) -> None:
    add("--max-cost", type=usd, metavar="USD", help="stop before the run would cost more")
    webhook = "where the API announces each execution's end; its secret is read from EACHLABS_WEBHOOK_SECRET"
    add("--webhook-url", metavar="URL", help=webhook)
    add("--max-concurrency", type=count, metavar="N", help="requests in flight at once (8)")
    max_wait = "how long to go on trying while the API accepts nothing (900)"
    add("--max-wait", type=seconds, metavar="SECONDS", help=max_wait)


def _add_waiting(add: Any) -> None:
    add("--wait", action="store_true", help="wait until every execution has ended")
    add("--timeout", type=seconds, metavar="SECONDS", help="how long to --wait at most; without a limit by default")
    add("--ok-if-failed", action="store_true", help="with --wait: exit with 0 also where executions have not completed")
    _add_progress(add)


def _add_progress(add: Any) -> None:
    progress = "a bar on stderr; by default where stdout is a terminal"
    add("--progress", action=argparse.BooleanOptionalAction, default=None, help=progress)


def _add_runs(commands: Any) -> None:
    about = "List the runs of this machine's journal, show one, or write it to a file, after whatever ended it."
    where = "The journal is the file that EACHLABS_JOURNAL names, else one in the user's data folder. No key is needed."
    add = _add_command(commands, "runs", about=about, epilog=where).add_argument
    add("run", nargs="?", metavar="RUN", help="a run's name: its counts and first rows are shown")
    add("--out", metavar="FILE", help="write the run's rows, inputs and results, in the format that the suffix says")
    add("--force", action="store_true", help="replace the file at --out if there is one")
    add("--prefix", default="", metavar="P", help="put before the result's column names, where an input has the same")
    refresh = (
        "ask the API first: look for lost answers, and at what has not ended. Sends nothing; needs EACHLABS_API_KEY"
    )
    add("--refresh", action="store_true", help=refresh)
    add("--delete", action="store_true", help="forget the run, after asking; its executions stay as they are")
    add("--yes", action="store_true", help="do not ask before --delete")
    accept = "go on with a journal that has lost records: rows without an execution then count as perhaps sent"
    add("--accept-loss", action="store_true", help=accept)


def _add_sandbox(commands: Any) -> None:
    about = "Run a local each::labs in the foreground, until Ctrl-C: it accepts everything and bills nothing."
    add = _add_command(commands, "sandbox", about=about).add_argument
    add("--port", type=port, default=8088, help="on 127.0.0.1; 0 takes a free one (8088)")
    add("--dialect", choices=("current", "legacy"), default="current", help="which of the API's shapes is printed")
    add("--seed", type=int, default=0, help="decides lengths and failures (0)")
    add("--latency", type=float, default=0.0, metavar="S", help="seconds before any request is acted on (0)")
    add("--failure-rate", type=float, default=0.0, metavar="P", help="share of executions that end failed (0)")
    add("--queue-seconds", type=float, default=0.2, metavar="S", help="seconds in the queue (0.2)")
    seconds = "the shortest and the longest run in seconds (0.5 2)"
    add("--run-seconds", type=float, nargs=2, default=(0.5, 2.0), metavar=("LOW", "HIGH"), help=seconds)
    add("--account-cap", type=count, metavar="N", help="most executions in flight; more are refused with 429")
    add("--trigger-rate", type=count, metavar="N", help="most bulk triggers in one second; more are refused with 429")
    add("--balance", type=float, dest="balance_usd", metavar="USD", help="what the account may spend; then 402")


def read_inputs(columns: str | None, constants: Sequence[str]) -> list[str] | dict[str, Any] | None:
    """Return ``inputs=`` from ``--inputs`` and ``--set``.

    Raises
    ------
    UsageError
        A pair that cannot be read, or a key that is filled twice.
    """
    if columns is None:
        if constants:
            msg = f"--set {constants[0]} needs --inputs: name the columns that are sent beside it"
            raise UsageError(msg)
        return None
    # As a line of CSV, so that a column's name with a comma in it can be quoted.
    pairs = [cell.strip() for cell in next(csv.reader([columns], skipinitialspace=True), [])]
    fields: list[tuple[str, Any]] = [_field(pair) for pair in pairs]
    plain = not constants and all(key == column for key, column in fields)
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


def _field(pair: str) -> tuple[str, Any]:
    """Return the key and the column that ``col``, ``key=col``, ``col:type`` or ``key=col:type`` names."""
    key, equals, column = pair.partition("=")
    name, _, type_ = (column if equals else key).rpartition(":")
    if not name or type_ not in TYPES:  # a column's own name may have a colon
        return key, column or key
    return (key if equals else name), Column(name, type_)


def _json_or_text(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)  # NaN and Infinity are Python's, not JSON's

    try:
        value = json.loads(text, parse_constant=refuse)
    except ValueError:
        return text
    return text if value is None else value
