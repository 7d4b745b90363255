"""The commands' arguments: their names, their words and their limits. It runs nothing."""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from .. import __version__
from ..core.mapping import lit
from ..errors import UsageError
from .codes import WRONG_CALL

KEY_HELP: Final = (
    "The key is read from the environment alone (EACHLABS_API_KEY; another address from EACHLABS_BASE_URL): "
    "an argument would stand in the list of processes for everybody to read."
)
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
        description="The rows of a table become executions of an each::labs workflow, and their results a table.",
        epilog=KEY_HELP,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"eachlabs-frames {__version__}")
    commands = parser.add_subparsers(required=True, metavar="{demo,trigger,runs,sandbox}")
    _add_demo(commands)
    _add_trigger(commands)
    _add_runs(commands)
    _add_sandbox(commands)
    return parser


def _add_command(commands: Any, name: str, *, about: str, epilog: str = "") -> Any:
    command = commands.add_parser(name, help=about, description=about, epilog=epilog, allow_abbrev=False)
    command.set_defaults(command=name)
    return command


def _add_demo(commands: Any) -> None:
    about = "See it work in a few seconds, against a sandbox on this machine: no account, key or network."
    add = _add_command(commands, "demo", about=about).add_argument
    add("--rows", type=_count, metavar="N", help="how many prompts; by default each of the package's once")
    add("--out", default=DEMO_FILE, metavar="FILE", help=f"the result, replaced if there ({DEMO_FILE})")


def _add_trigger(commands: Any) -> None:
    about = "Trigger a paid execution for each row of a file that has none yet, and write the rows with their results."
    add = _add_command(commands, "trigger", about=about, epilog=KEY_HELP).add_argument
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
    run = "the run's name: the same command with it, whatever ended the first, sends only what was not sent"
    add("--run", metavar="NAME", help=f"{run}; by default a name is made, and said in the end")
    add("--key", metavar="COL", help="a column of unique keys by which the run knows its rows; by default their input")
    unknown = "rows whose answer was lost and not found: leave them, or look once more and pay for them again (keep)"
    add("--on-unknown", choices=("keep", "resend"), default="keep", help=unknown)
    add("--max-cost", type=_usd, metavar="USD", help="stop before the run would cost more")
    add("--retrigger", action="store_true", help="trigger, and pay, also the rows that have an execution")
    add("--prefix", default="", metavar="P", help="put before the result's column names")
    add("--webhook-url", metavar="URL", help="where the API announces each execution's end")
    add("--max-concurrency", type=_count, metavar="N", help="requests in flight at once (8)")
    add("--wait", action="store_true", help="wait until every execution has ended")
    add("--timeout", type=_seconds, metavar="SECONDS", help="how long to --wait at most; for ever by default")
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
    look = "ask the API first: look for lost answers, and at what has not ended. Sends nothing; needs EACHLABS_API_KEY"
    add("--look", action="store_true", help=look)
    add("--delete", action="store_true", help="forget the run, after asking; its executions stay as they are")
    add("--yes", action="store_true", help="do not ask before --delete")
    accept = "go on with a journal that has lost records: rows without an execution then count as perhaps sent"
    add("--accept-loss", action="store_true", help=accept)


def _add_sandbox(commands: Any) -> None:
    about = "Run a local each::labs in the foreground, until Ctrl-C: it accepts everything and bills nothing."
    add = _add_command(commands, "sandbox", about=about).add_argument
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


def _usd(text: str) -> float:
    try:
        usd = float(text)
    except ValueError:
        usd = math.nan
    if not 0 < usd < math.inf:
        msg = f"{text!r} is no number of USD above 0"
        raise argparse.ArgumentTypeError(msg)
    return usd


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        msg = f"{text!r} is no number of seconds, 0 or more"
        raise argparse.ArgumentTypeError(msg)
    return seconds


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
