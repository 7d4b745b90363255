"""Rewrites the library's messages in the terms of the command line: its options, commands and environment variables.

The library speaks to Python users (``on_unknown=``, ``load_run()``). This module rewrites such names and nothing else;
quoted values stay as they are. A test runs it over every message that a command can show.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..models import INVALID, PENDING, UNKNOWN

if TYPE_CHECKING:
    from ..frames.table import Frame

OPTIONS: Final[Mapping[str, str]] = {
    "allow_private": "--allow-private",
    "ask": "--ask",
    "column": "--column",
    "expires_in": "--expires-in",
    "folder": "--to",
    "inputs": "--inputs",
    "key": "--key",
    "max_concurrency": "--max-concurrency",
    "max_cost": "--max-cost",
    "max_size": "--max-size",
    "max_wait": "--max-wait",
    "na": "--na",
    "name": "--name",
    "on_unknown": "--on-unknown",
    "overwrite": "--overwrite",
    "prefix": "--prefix",
    "progress": "--progress",
    "retrigger": "--retrigger",
    "root": "--root",
    "run": "--run",
    "timeout": "--timeout",
    "validate": "--no-validate",
    "version_id": "--version-id",
    "wait": "--wait",
    "webhook_url": "--webhook-url",
    "workflow_id": "--workflow",
}
"""Keywords of the library's methods and the options that set them."""

VARIABLES: Final[Mapping[str, str]] = {
    "api_key": "EACHLABS_API_KEY",
    "base_url": "EACHLABS_BASE_URL",
    "journal": "EACHLABS_JOURNAL",
    "webhook_secret": "EACHLABS_WEBHOOK_SECRET",
}
"""Keywords that the command line reads from the environment."""

LOAD: Final = "`eachlabs-frames runs {} --out FILE`"
REFRESH: Final = "`eachlabs-frames runs RUN --refresh`"

CALLS: Final[Mapping[str, str]] = {
    "accept_journal_loss": "`eachlabs-frames runs --accept-loss`",
    "delete_run": "`eachlabs-frames runs {} --delete`",
    "load_run": LOAD,
    "preview": "`eachlabs-frames trigger --dry-run`",
    "reconcile": REFRESH,
    "refresh": REFRESH,
    "retry_failed": "`eachlabs-frames retry`",
    "runs": "`eachlabs-frames runs`",
    "start": "`eachlabs-frames demo`",
    "wait": REFRESH,
}
"""Functions and methods, and the commands that do the same; {} is replaced by the run's name."""

# For messages in which replacing the names alone gives no proper sentence. Applied in order.
_PHRASES: Final = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"call (?:ef\.)?accept_journal_loss\(\) \(`[^`]*`\)", "call accept_journal_loss()"),
        (r",? or (?:call )?(?:eachlabs_frames\.|ef\.)?configure\(api_key=\.\.\.\)", ""),
        (r"A key that .* has given to configure\(\) does not reach this one: set", "Set"),
        (r"configure\(journal=\.\.\.\) or (?=EACHLABS_JOURNAL)", ""),
        (r", but with journal=None|[:;] configure\(journal=True\) turns it on(?: again)?", ""),
        (r"use dialect='current'", "set EACHLABS_BASE_URL to an address of the current API"),
        (r"[;,] the frame so far is in \.frame(?: of this exception| \([^)]*\))?", ""),
        (
            r"the frame's attrs were lost, and the journal",
            "the file does not say of which workflow it is, and the journal",
        ),
        (r", and its attrs were lost(?=: split)| \(its attrs were lost(?:, or the journal was off)?\)", ""),
        (r"the frame's attrs were lost, so it is not known", "it is not known"),
        (r"the frame's attrs were lost, and its columns", "its columns"),
        (r"load_run\(('(?:[^'\\]|\\.)*')\)\.eachlabs\.retry_failed\(\)", r"`eachlabs-frames retry \1`"),
        (r"load_run\(('(?:[^'\\]|\\.)*'|%r)\)\.eachlabs\.reconcile\(\)", REFRESH),
        (r"alone to bulk_trigger\(\) with retrigger=True", "alone, with --retrigger"),
        (r"pass workflow_id= to refresh, wait or dashboard", "pass --workflow"),
        (r"restore it with configure\(base_url=\.\.\.\)", "set EACHLABS_BASE_URL back to the earlier address"),
        (r"call bulk_trigger, with", "use `eachlabs-frames trigger`, with"),
        (r"call wait\(\) before download\(\)", "--refresh asks for them, now or later"),
        (r"call wait\(\) again", "reconcile() asks again"),
        (r"use the frame that wait\(\) returned, or load_run\(\)", "use the result file, or write one with load_run()"),
        (r"refresh\(\) the frame", "write the result anew with `eachlabs-frames runs RUN --refresh --out FILE`"),
        (r"another name= or folder", "another --name or --to"),
        (r"as in inputs=\{'key': 'column'\}", "as in --inputs KEY=COLUMN"),
        (r"inputs=\{[^{}]*: ef\.file\('column'\)\}|ef\.file\('column'\)", "--file KEY=COLUMN"),
        (r"; if the text itself is meant, pass str\(path\)", ""),
        (r"as in inputs=\['(\w+)'\]", r"as in --inputs \1"),
        (r"write lit\(.*\)$", "write --set KEY=VALUE"),
        (r", or send str\(path\) if the text itself is meant", ""),
        (r"call bulk_trigger first", "use `eachlabs-frames trigger` first"),
    )
]

_QUOTED: Final = r"(?<!\w)'(?:[^'\\]|\\.)*'(?!\w)|\"(?:[^\"\\]|\\.)*\"|`[^`]*`"
_VALUE: Final = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|True|False|-?\d+(?:\.\d+)?(?![\w.]*\w)|\.\.\."
_KEYWORDS: Final = "|".join([*OPTIONS, *VARIABLES])
_SNAKE: Final = "|".join(name for name in (*OPTIONS, *VARIABLES) if "_" in name)
_PYTHON: Final = re.compile(
    rf"(?P<quoted>{_QUOTED})"
    rf"|(?<![\w.-])(?P<keyword>{_KEYWORDS})=(?!=)(?P<value>{_VALUE})?"
    rf"|(?:\b(?:ef|eachlabs_frames|out|df)\.)?(?:eachlabs\.|sandbox\.)?\b(?P<call>{'|'.join(CALLS)})"
    rf"\((?P<argument>{_VALUE}|run)?\)"
    rf"|(?<![\w.-])(?P<bare>{_SNAKE})(?![\w=])"
    rf"|(?:^|(?<=[:;,] ))(?P<subject>{_KEYWORDS}|workflow)(?= must | is .*, and was )"
    r"|\b(?P<noun>[Ff]rame|same call)\b"
)
_NOUNS: Final = {"frame": "table", "Frame": "Table", "same call": "same command"}


def reworded(message: object) -> str:
    """Return a message of the library in the terms of the command line.

    Parameters
    ----------
    message : object
        An exception, a warning or a text. Text in quotes is a value, and is not changed.

    Returns
    -------
    str
    """
    text = str(message)
    for pattern, replacement in _PHRASES:
        text = pattern.sub(replacement, text)
    return _PYTHON.sub(_replaced, text)


def with_errors_reworded(frame: Frame, prefix: str) -> Frame:
    """Return a result whose ``error`` column is in the terms of the command line, except for messages of the API."""
    column, status = f"{prefix}error", f"{prefix}status"
    if not {column, status} <= set(frame.columns):
        return frame
    ours = frame[status].astype(object).isin([PENDING, UNKNOWN, INVALID]) & frame[column].notna()
    if not ours.any():
        return frame
    worded: Frame = frame.copy(deep=False)
    worded[column] = frame[column].mask(ours, frame.loc[ours, column].astype(object).map(reworded))
    return worded


def _replaced(match: re.Match[str]) -> str:
    if match["quoted"]:
        return match["quoted"]
    if match["call"]:
        argument = match["argument"]
        return CALLS[match["call"]].format("RUN" if argument in (None, "run", "...") else _shell(argument))
    if match["noun"]:
        return _NOUNS[match["noun"]]
    name = match["keyword"] or match["bare"] or match["subject"]
    value = match["value"]
    if name in VARIABLES:
        return VARIABLES[name]
    option = OPTIONS.get(name, f"--{name}")
    if value == "False" and not option.startswith("--no-"):
        return option.replace("--", "--no-", 1)
    return option if value in (None, "True", "False", "...") else f"{option} {_shell(value)}"


def _shell(value: str) -> str:
    """Return a Python literal as a shell word."""
    return shlex.quote(str(ast.literal_eval(value)))
