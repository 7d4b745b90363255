"""`eachlabs-frames completion`: prints a shell completion script."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final

import shtab

from .arguments import parser
from .exit_codes import DONE
from .signals import Signals

COMPLETED_AS: Final = {"FILE": shtab.FILE, "FILE|RUN": shtab.FILE, "DIR": shtab.DIRECTORY}
"""How the value of an argument is completed, by its metavar."""


def run(args: argparse.Namespace, _signals: Signals) -> int:
    """Print the script."""
    commands = parser()
    for action in _actions(commands):
        if isinstance(action.metavar, str) and action.metavar in COMPLETED_AS:
            action.complete = COMPLETED_AS[action.metavar]  # type: ignore[attr-defined]  # shtab's protocol
    print(shtab.complete(commands, args.shell), flush=True)
    return DONE


def _actions(commands: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in commands._actions:  # noqa: SLF001 - argparse has no public way to list them; shtab does the same
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for command in action.choices.values():
                yield from _actions(command)
