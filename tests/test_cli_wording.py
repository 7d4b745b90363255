"""The library's messages, as the command line shows them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.cli.arguments import parser
from eachlabs_frames.cli.wording import OPTIONS, reworded

PACKAGE = Path(ef.__file__).parent

NOT_SHOWN = (
    "cli",  # the command line's own words
    "sandbox",
    "data",
    # Views, sweeps, comparisons, background runs, receivers and lists of uploads exist in Python alone.
    *(
        "views/",
        "sweeps/",
        "accessors/",
        "frames/background_run",
        "frames/output_rows",
        "frames/progress_bar",
        "frames/uploaded_files",
        "notebook.py",
    ),
    # No command uses frames of other libraries.
    *("polars.py", "frames/arrow", "frames/unsupported"),
    *(
        "webhooks/endpoint",
        "webhooks/late_deliveries",
        "webhooks/receiver",
        "webhooks/server",
        "aio/background",
        "aio/nested",
    ),
)
"""Modules of which no command shows a message."""

NEVER_REACHED = re.compile(
    # A command gives every argument the right type, and never these: a callable, an object, another kind of frame.
    r"must be (True or False|a string|None, True, False|a WebhookReceiver|a callable|a path, True)|, or None for"
    r"|must return a dict|returned a key|^inputs= raised|inputs= must be None|the inputs= function|template\(\) takes"
    r"|^lit\(|^template |DataFrameGroupBy|is one string: write|webhook= brings its own|\(inplace=True\)"
    r"|results are in \.frame|is a list with a dict in it|this dashboard|unexpected keyword argument|^\w+ \| None$"
    r"|^label=|^inputs\[|; for a constant: lit\(|for the same file in every row|^file\("
    r"|file\.read\(\)|image\.convert\("
    r"|works on a pandas DataFrame|^dask DataFrame|ddf\.compute|df\.columns|df\.attrs|name must be a template"
    r"|this Dask frame|follow the run with|^schema= is"
    r"|map it, as in inputs=|bulk_id must be a UUID|must be a number of bytes|must be a WebhookReceiver"
)
PYTHON = re.compile(
    r"[a-z_]=(?!=)|\w\((?!s\))|\b(True|False|None)\b|\bef\.|\.eachlabs\.|eachlabs_frames\.|\b[Ff]rame\b|\battrs\b|DataFrame"
)
QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"")
KEYWORDS = set(inspect.signature(pd.DataFrame().eachlabs.bulk_trigger).parameters)
KEYWORDS |= set(inspect.signature(ef.configure).parameters) | {"bulk_trigger", "retry_failed", "load_run"}


def messages() -> Iterator[tuple[str, str]]:
    """Every text of a sentence's kind in the modules that commands use, with its place; values are filled in."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith(NOT_SHOWN):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        silent = {
            id(inner) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for inner in ast.walk(node)
        } - {id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)}
        silent |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            text = None if id(node) in silent else text_of(node)
            if text is not None and " " in text and not re.match(r"\s*[A-Z]{4,} |.*\\", text):  # SQL, patterns
                yield f"{name}:{node.lineno}", text  # type: ignore[attr-defined]


def text_of(node: ast.AST) -> str | None:
    """A string, or an f-string with a value in each of its places."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else value_of(part) for part in node.values]
        return "".join(map(str, parts))
    return None


def value_of(part: ast.AST) -> str:
    """What stands for a value: quoted where it is shown by its repr."""
    return "'a b'" if isinstance(part, ast.FormattedValue) and part.conversion == ord("r") else "7"


def python_in(text: str) -> set[str]:
    """What of Python's names is left in a message, outside of quoted values."""
    bare = QUOTED.sub("''", text)
    words = set(re.findall(r"(?<![\w.-])[a-z]+_[a-z_]+\b", bare))
    return {match[0] for match in PYTHON.finditer(bare)} | (words & KEYWORDS)


def test_no_message_that_a_command_can_show_has_a_python_name() -> None:
    """A new message with one needs an entry in `cli/wording.py`, or in the lists above where no command shows it."""
    found = {place: text for place, text in messages() if python_in(text)}
    assert len(found) > 50, "the messages were not found"
    left = {
        place: (reworded(text), python_in(reworded(text)))
        for place, text in found.items()
        if not NEVER_REACHED.search(text) and python_in(reworded(text))
    }
    assert left == {}


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("go on with run='fox, red'; retrigger=True pays again", "go on with --run 'fox, red'; --retrigger pays again"),
        ("validate=False", "--no-validate"),
        ("map them, as in inputs={'key': 'column'}", "map them, as in --inputs KEY=COLUMN"),
        (
            "max_cost=0.5 would be exceeded: $0.40 is spent",
            "--max-cost 0.5 would be exceeded: $0.40 is spent",
        ),
        ("load_run('r-1') returns every row", "`eachlabs-frames runs r-1 --out FILE` returns every row"),
        ("ef.delete_run(run)", "`eachlabs-frames runs RUN --delete`"),
        ("run must be a name; got ''", "--run must be a name; got ''"),
        ("na is 'null', and was 'omit'", "--na is 'null', and was 'omit'"),
        ("set EACHLABS_API_KEY, or call eachlabs_frames.configure(api_key=...).", "set EACHLABS_API_KEY."),
    ],
)
def test_names_become_options(message: str, wanted: str) -> None:
    """A keyword becomes its option with the value as a shell takes it, a function the command that does the same."""
    assert reworded(message) == wanted


@pytest.mark.parametrize(
    "message",
    [
        "row 3, column 'run=1': the value 'retrigger=True' cannot be sent",
        "the run's rows wait for nobody's key",
        '"max_cost" is a required property',
        "HTTP 400: seed must be >= 0",
    ],
)
def test_values_and_other_peoples_words_stay(message: str) -> None:
    """Text in quotes is a value; an apostrophe begins none."""
    assert reworded(message) == message


def test_every_option_that_is_named_exists() -> None:
    """The table names no option that no command has."""
    commands = next(action for action in parser()._actions if isinstance(action.choices, dict))
    assert isinstance(commands.choices, dict)
    known = {option for command in commands.choices.values() for option in command._option_string_actions}
    assert set(OPTIONS.values()) <= known


def test_every_keyword_of_a_trigger_has_an_option() -> None:
    """But for what only Python has: a receiver object, and a frame to write into."""
    commands = next(action for action in parser()._actions if isinstance(action.choices, dict))
    assert isinstance(commands.choices, dict)
    given = {action.dest for action in commands.choices["trigger"]._actions}
    wanted = set(inspect.signature(pd.DataFrame().eachlabs.bulk_trigger).parameters)
    from_environment = {"webhook_secret"}
    assert wanted - given - from_environment == {"workflow_id", "webhook", "inplace"}
